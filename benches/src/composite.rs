//! One operation of the scheme at a level of a preset, as the compiler lowers it.

use crate::Result;
use anyhow::Context;
use fhe_core::ckks::{Encoder, Encryptor};
use fhe_core::math::sampling::Randomness;
use fhe_core::params::{Level, Preset};
use fhe_core::ring::Ring;
use fhe_core::rlwe::KeyGenerator;
use host::profile::Profile;
use host::{LoadedProgram, Session};
use kernels_gpu::abi::KernelId;
use scheduler::compile::compile_placed;
use scheduler::{Options, ckks_ir};
use std::time::Duration;

/// An operation as a placed program; `TOP` and `NEXT` stand for its level and the one below.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Name of the bench.
    pub name: &'static str,
    /// Lines of `ckks_ir` after `%0`, the input; the last defines what is returned.
    lines: &'static [&'static str],
    /// Kernels whose time and work do not belong to the operation: they only bring its operand about.
    left_out: &'static [KernelId],
}

const ROTATE: &[&str] = &["rotate %0, 1 {level TOP canonical degree 1}"];

/// Every composite. A key switch is a rotation without its automorphisms and its addition of `c_0`.
pub const ALL: [Shape; 5] = [
    Shape { name: "add", lines: &["add %0, %0 {level TOP canonical degree 1}"], left_out: &[] },
    Shape { name: "key_switch", lines: ROTATE, left_out: &[KernelId::AutomorphismEval, KernelId::Add] },
    Shape { name: "rotate", lines: ROTATE, left_out: &[] },
    Shape {
        name: "mul_relinearize_rescale",
        lines: &[
            "mul %0, %0 {level TOP product degree 2}",
            "relinearize_rescale %1 {level NEXT canonical degree 1}",
        ],
        left_out: &[],
    },
    Shape {
        name: "rescale",
        lines: &[
            "mul_scalar %0, 0.5 {level TOP product degree 1}",
            "rescale %1 {level NEXT canonical degree 1}",
        ],
        left_out: &[KernelId::MulScalar],
    },
];

/// A shape on a session's backend with its keys and an input.
pub struct Loaded {
    shape: Shape,
    program: LoadedProgram,
    input: Vec<u8>,
}

impl Loaded {
    /// Compiles, makes keys, encrypts.
    ///
    /// # Errors
    /// Those of the rooms.
    pub fn new(shape: Shape, preset: Preset, top: Level, session: &Session) -> Result<Self> {
        let params = preset.params()?;
        let mut text = format!("function \"{}\" {{\n  input \"x\" period 1\n", shape.name);
        text += &format!("  %0 = input 0 {{level {top} canonical degree 1}}\n");
        for (i, line) in shape.lines.iter().enumerate() {
            let line = line.replace("TOP", &top.to_string()).replace("NEXT", &(top.0 - 1).to_string());
            text += &format!("  %{} = {line}\n", i + 1);
        }
        text += &format!("  output \"y\" slots 1 %{}\n}}\n", shape.lines.len());
        let placed = ckks_ir::text::parse(&text, &[])?;
        let compiled = compile_placed(placed, &params, &Options::default())?;

        let mut randomness = Randomness::insecure_reproducible(1);
        let ring = Ring::<u32>::new(&params)?;
        let generator = KeyGenerator::new(&ring);
        let secret = generator.secret_key(&mut randomness);
        let (relinearization, elements) =
            (compiled.manifest.needs_relinearization, &compiled.manifest.galois_elements);
        let keys =
            generator.evaluation_keys(&secret, relinearization, elements, &mut randomness, |_, _| ())?;
        let slots = vec![0.5; params.n_slots()];
        let plain = Encoder::new(&ring).encode_real(&slots, top, params.level(top)?.log_scale)?;
        let input = Encryptor::new(&ring).encrypt_seeded(&plain, &secret, &mut randomness)?.to_bytes();

        let mut program = session.load(compiled, &params)?;
        program.load_keys(&keys.to_bytes()).context("keys")?;
        Ok(Self { shape, program, input })
    }

    fn counts(&self, kernel: KernelId) -> bool {
        !self.shape.left_out.contains(&kernel)
    }

    /// Word products and bytes of a run.
    pub fn work(&self) -> (u64, u64) {
        let kernels = self.program.work_by_kernel();
        let counted = kernels.iter().filter(|(kernel, _)| self.counts(*kernel));
        counted.fold((0, 0), |(m, b), (_, w)| (m + w.multiplications, b + w.bytes))
    }

    /// Runs once; the time of the calls as the host sees it: submission, launches, synchronization.
    ///
    /// # Errors
    /// Those of the run.
    pub fn run_calls(&mut self) -> Result<Duration> {
        self.program.run(&[("x", &self.input)])?;
        Ok(self.program.last_run().compute)
    }

    /// The profile of the last run of a session that makes one.
    pub fn profile(&self) -> &Profile {
        &self.program.last_run().profile
    }

    /// Runs once, in a session that makes a profile; the time of the launches.
    ///
    /// # Errors
    /// Those of the run.
    pub fn run(&mut self) -> Result<Duration> {
        self.program.run(&[("x", &self.input)])?;
        let profile = &self.program.last_run().profile;
        Ok(profile.by_kernel().filter(|(kernel, _)| self.counts(*kernel)).map(|(_, entry)| entry.time).sum())
    }
}

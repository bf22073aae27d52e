//! Runs a program as compiled and as written by hand, on one backend with one set of keys, and times both in turn.

use crate::programs::Case;
use anyhow::{Context, Result, ensure};
use ferrocerium::fhe_core::Complex64;
use ferrocerium::fhe_core::ckks::{Ciphertext, Decryptor, Encoder, Encryptor};
use ferrocerium::fhe_core::math::sampling::Randomness;
use ferrocerium::fhe_core::params::Params;
use ferrocerium::fhe_core::ring::Ring;
use ferrocerium::fhe_core::rlwe::{KeyGenerator, SecretKey};
use ferrocerium::host::Session;
use ferrocerium::host::profile::overhead::median;
use ferrocerium::host::session::LoadedProgram;
use ferrocerium::scheduler::compile::{Manifest, compile_placed, compile_with};
use ferrocerium::scheduler::cost::CostTable;
use ferrocerium::scheduler::passes::{Event, Stage};
use ferrocerium::scheduler::report::Counts;
use ferrocerium::scheduler::{Compiled, Options, interp, noise};
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A line of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub name: String,
    pub preset: String,
    /// Rotations, conjugations, relinearizations.
    pub key_switches: usize,
    pub key_switches_formula: usize,
    pub formula: String,
    pub key_switches_by_hand: usize,
    /// Transforms of a limb in a run.
    pub ntts: u64,
    pub ntts_by_hand: u64,
    pub rescales: usize,
    /// Level of the input.
    pub levels: u32,
    pub levels_by_hand: u32,
    pub measured_us: f64,
    pub hand_written_us: f64,
    pub predicted_us: f64,
    /// Bytes of a run's launches; of the same operations by a kernel each.
    pub bytes: u64,
    pub bytes_unfused: u64,
    /// Largest difference from the program's meaning on plain numbers.
    pub error: f64,
    pub error_by_hand: f64,
    /// What the noise model says of the root of the mean square.
    pub estimated_error: f64,
    pub compile_ms: f64,
}

/// What a pass left.
pub struct PassLine {
    pub pass: &'static str,
    pub time: Duration,
    pub counts: Counts,
}

/// Compiles, with the time and the counts of every pass.
///
/// # Errors
/// Of the compiler.
pub fn compile_watched(case: &Case, params: &Params) -> Result<(Compiled, Vec<PassLine>)> {
    let mut lines = Vec::new();
    let mut begun = Instant::now();
    let mut broken = None;
    let compiled = compile_with(&case.program, params, &Options::default(), &mut |event| match event {
        Event::Begin(_) => begun = Instant::now(),
        Event::End(stat, stage) => {
            let time = begun.elapsed();
            match Counts::of(stage, params) {
                Ok(counts) => lines.push(PassLine { pass: stat.pass, time, counts }),
                Err(error) => broken = Some(error),
            }
        }
    })?;
    broken.map_or(Ok((compiled, lines)), |error| Err(error.into()))
}

/// A client with all keys that two programs need.
struct Client<'p> {
    params: &'p Params,
    ring: Ring<u32>,
    secret: SecretKey<u32>,
    randomness: Randomness,
    keys: Vec<u8>,
}

impl<'p> Client<'p> {
    fn new(params: &'p Params, manifests: &[&Manifest]) -> Result<Self> {
        let ring = Ring::new(params)?;
        let mut randomness = Randomness::from_os()?;
        let generator = KeyGenerator::new(&ring);
        let secret = generator.secret_key(&mut randomness);
        let elements: BTreeSet<_> = manifests.iter().flat_map(|m| m.galois_elements.clone()).collect();
        let elements: Vec<_> = elements.into_iter().collect();
        let relinearization = manifests.iter().any(|m| m.needs_relinearization);
        let keys = generator
            .evaluation_keys(&secret, relinearization, &elements, &mut randomness, |_, _| {})?
            .to_bytes();
        Ok(Self { params, ring, secret, randomness, keys })
    }

    /// Encrypts, runs and decrypts; the largest difference from `expected`.
    fn run(
        &mut self,
        program: &mut LoadedProgram,
        input: &[Complex64],
        expected: &[Complex64],
    ) -> Result<f64> {
        program.load_keys(&self.keys)?;
        let spec = program.manifest().inputs.first().context("no input")?.clone();
        let slots = interp::repeat(input, self.params.n_slots());
        let plain = Encoder::new(&self.ring).encode(&slots, spec.level, spec.log_scale)?;
        let fresh = Encryptor::new(&self.ring).encrypt_seeded(&plain, &self.secret, &mut self.randomness)?;
        let outputs = program.run(&[(&spec.name, &fresh.to_bytes())])?;
        let found = Ciphertext::from_bytes(&self.ring, outputs.first().context("no output")?)?;
        let found = Decryptor::new(&self.ring).decrypt(&found, &self.secret)?;
        let found = Encoder::new(&self.ring).decode(&found)?;
        Ok(expected.iter().zip(&found).map(|(x, y)| (x - y).norm()).fold(0.0, f64::max))
    }
}

/// Measures one program.
///
/// # Errors
/// What fails; a result that is wrong.
pub fn measure(
    case: &Case,
    session: &Session,
    preset: &str,
    params: &Params,
    costs: &CostTable,
    samples: u32,
) -> Result<Line> {
    let clock = Instant::now();
    let (compiled, passes) = compile_watched(case, params)?;
    let compile_ms = clock.elapsed().as_secs_f64() * 1e3;
    let hand = compile_placed(case.by_hand(params.max_level())?, params, &Options::default())?;
    let counts = |compiled: &Compiled| {
        let ckks = Counts::of(Stage::Ckks(&compiled.placed), params)?;
        Ok::<_, anyhow::Error>((ckks, Counts::of(Stage::Plan(&compiled.plan), params)?))
    };
    let ((ckks, plan), (hand_ckks, hand_plan)) = (counts(&compiled)?, counts(&hand)?);
    let unfused = passes.iter().find(|line| line.pass == "lower_ckks").and_then(|line| line.counts.bytes);

    let input: Vec<Complex64> = case.input.iter().map(|&x| Complex64::new(x, 0.0)).collect();
    let largest = case.input.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    let estimates = noise::estimate(&compiled.placed, params, &[largest])?;
    let output = compiled.placed.outputs.first().context("no output")?;
    let slots = output.slots as usize;
    let estimated_error = estimates[output.value.0 as usize].error;
    let meaning =
        interp::slots::run(case.program.function(), params.n_slots(), std::slice::from_ref(&input))?;
    let expected = meaning.first().context("no output")?.get(..slots).context("slots")?;

    let levels = |compiled: &Compiled| compiled.manifest.inputs.first().map_or(0, |input| input.level.0);
    let (top, top_by_hand) = (levels(&compiled), levels(&hand));
    let mut client = Client::new(params, &[&compiled.manifest, &hand.manifest])?;
    let (mut ours, mut theirs) = (session.load(compiled, params)?, session.load(hand, params)?);
    let error = client.run(&mut ours, &input, expected)?;
    let error_by_hand = client.run(&mut theirs, &input, expected)?;
    for (who, found) in [("compiled", error), ("by hand", error_by_hand)] {
        ensure!(
            found <= case.tolerance,
            "{} {who}: off by {found:e}, expected at most {:e}",
            case.name,
            case.tolerance
        );
    }
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        our_times.push(ours.replay(1)?);
        their_times.push(theirs.replay(1)?);
    }
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    Ok(Line {
        name: case.name.to_owned(),
        preset: preset.to_owned(),
        key_switches: ckks.key_switches.unwrap_or(0),
        key_switches_formula: case.key_switches_formula,
        formula: case.formula.to_owned(),
        key_switches_by_hand: hand_ckks.key_switches.unwrap_or(0),
        ntts: plan.ntts.unwrap_or(0),
        ntts_by_hand: hand_plan.ntts.unwrap_or(0),
        rescales: ckks.rescales.unwrap_or(0),
        levels: top,
        levels_by_hand: top_by_hand,
        measured_us: us(median(our_times)),
        hand_written_us: us(median(their_times)),
        predicted_us: us(ours.predict(costs).total()),
        bytes: plan.bytes.unwrap_or(0),
        bytes_unfused: unfused.unwrap_or(0),
        error,
        error_by_hand,
        estimated_error,
        compile_ms,
    })
}

//! One operation of the scheme at a level of a chain, as the compiler lowers it.

mod copies;
mod floor;

use crate::Result;
use crate::chain::Chain;
use crate::client::Client;
use crate::kernels::machine_products;
use crate::measure::Machine;
use crate::row::{Case, Cost, Row};
use anyhow::{Context, bail};
use copies::with_copies;
use fhe_core::params::Level;
use floor::{Floor, Sizes};
use host::LoadedProgram;
use host::profile::Roof;
use kernels_gpu::abi::KernelId;
use scheduler::compile::{compile_placed, refit};
use scheduler::poly_ir::{Function, Op, PolyId};
use scheduler::{Compiled, Options, ckks_ir};
use std::collections::BTreeMap;

/// An operation as a placed program.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Name in rows.
    pub name: &'static str,
    /// Ciphertexts that it takes: `%0`, and `%1` where there are two.
    inputs: u32,
    /// Lines of `ckks_ir` after the inputs. `HERE`, `PRODUCT` and `NEXT` stand for the kinds of values at the level, of
    /// products there, and at the level below.
    lines: &'static [&'static str],
    /// Whether every line is an output that can be one (products cannot), not only the last.
    all_out: bool,
    /// Kernels that only bring the operand about. With them the time is the sum of the others, launch by launch.
    left_out: &'static [KernelId],
    /// Which polynomials are returned in the place of the outputs, so that no more is computed: `ckks_ir` returns no product that is
    /// not rescaled, and no plaintext.
    only: Option<fn(&Function, PolyId) -> bool>,
    /// Whether the operand takes the place of its product by a scalar: `ckks_ir` rescales what is a product.
    no_scalar: bool,
    /// Whether plaintexts are encoded in the run.
    encode_on_device: bool,
    /// The figure is for one of so many of the same in a run.
    parts: u32,
    /// The least work.
    floor: fn(&Sizes) -> Floor,
}

const ROTATIONS: &[&str] = &[
    "rotate %0, 1 HERE",
    "rotate %0, 2 HERE",
    "rotate %0, 3 HERE",
    "rotate %0, 4 HERE",
    "rotate %0, 5 HERE",
    "rotate %0, 6 HERE",
    "rotate %0, 7 HERE",
    "rotate %0, 8 HERE",
];

/// Sixteen ciphertexts times sixteen plaintexts, summed: the inner loop of a matrix product. The rescale makes it a program and
/// is not measured.
const ACCUMULATE: &[&str] = &[
    "mul_plain %0, #0 PRODUCT",
    "mul_plain %1, #1 PRODUCT",
    "mul_plain %2, #2 PRODUCT",
    "mul_plain %3, #3 PRODUCT",
    "mul_plain %4, #4 PRODUCT",
    "mul_plain %5, #5 PRODUCT",
    "mul_plain %6, #6 PRODUCT",
    "mul_plain %7, #7 PRODUCT",
    "mul_plain %8, #8 PRODUCT",
    "mul_plain %9, #9 PRODUCT",
    "mul_plain %10, #10 PRODUCT",
    "mul_plain %11, #11 PRODUCT",
    "mul_plain %12, #12 PRODUCT",
    "mul_plain %13, #13 PRODUCT",
    "mul_plain %14, #14 PRODUCT",
    "mul_plain %15, #15 PRODUCT",
    "add %16, %17 PRODUCT",
    "add %32, %18 PRODUCT",
    "add %33, %19 PRODUCT",
    "add %34, %20 PRODUCT",
    "add %35, %21 PRODUCT",
    "add %36, %22 PRODUCT",
    "add %37, %23 PRODUCT",
    "add %38, %24 PRODUCT",
    "add %39, %25 PRODUCT",
    "add %40, %26 PRODUCT",
    "add %41, %27 PRODUCT",
    "add %42, %28 PRODUCT",
    "add %43, %29 PRODUCT",
    "add %44, %30 PRODUCT",
    "add %45, %31 PRODUCT",
    "rescale %46 NEXT",
];

/// Eight programs side by side with two plaintexts each.
const PLAINTEXTS: &[&str] = &[
    "mul_plain %0, #0 PRODUCT",
    "mul_plain %0, #1 PRODUCT",
    "add %1, %2 PRODUCT",
    "rescale %3 NEXT",
    "mul_plain %0, #2 PRODUCT",
    "mul_plain %0, #3 PRODUCT",
    "add %5, %6 PRODUCT",
    "rescale %7 NEXT",
    "mul_plain %0, #4 PRODUCT",
    "mul_plain %0, #5 PRODUCT",
    "add %9, %10 PRODUCT",
    "rescale %11 NEXT",
    "mul_plain %0, #6 PRODUCT",
    "mul_plain %0, #7 PRODUCT",
    "add %13, %14 PRODUCT",
    "rescale %15 NEXT",
    "mul_plain %0, #8 PRODUCT",
    "mul_plain %0, #9 PRODUCT",
    "add %17, %18 PRODUCT",
    "rescale %19 NEXT",
    "mul_plain %0, #10 PRODUCT",
    "mul_plain %0, #11 PRODUCT",
    "add %21, %22 PRODUCT",
    "rescale %23 NEXT",
    "mul_plain %0, #12 PRODUCT",
    "mul_plain %0, #13 PRODUCT",
    "add %25, %26 PRODUCT",
    "rescale %27 NEXT",
    "mul_plain %0, #14 PRODUCT",
    "mul_plain %0, #15 PRODUCT",
    "add %29, %30 PRODUCT",
    "rescale %31 NEXT",
];

/// What most composites are.
const BASE: Shape = Shape {
    name: "",
    inputs: 1,
    lines: &[],
    all_out: false,
    left_out: &[],
    only: None,
    no_scalar: false,
    encode_on_device: false,
    parts: 1,
    floor: |s| s.add(),
};

/// Every composite. A key switch is a rotation without its automorphisms and its addition of `c_0`, as far as these are launches
/// of their own: folded into the last step of the division they cost next to nothing.
pub const ALL: [Shape; 11] = [
    Shape { name: "add", inputs: 2, lines: &["add %0, %1 HERE"], floor: |s| s.add(), ..BASE },
    Shape {
        name: "key_switch",
        lines: &["rotate %0, 1 HERE"],
        left_out: &[KernelId::AutomorphismEval, KernelId::Add],
        floor: |s| s.rotations(1),
        ..BASE
    },
    Shape { name: "rotate", lines: &["rotate %0, 1 HERE"], floor: |s| s.rotations(1), ..BASE },
    Shape { name: "rotate_8_hoisted", lines: ROTATIONS, all_out: true, floor: |s| s.rotations(8), ..BASE },
    Shape {
        name: "mul_relinearize_rescale",
        inputs: 2,
        lines: &[
            "mul %0, %1 {level LEVEL product degree 2}",
            "relinearize %2 {level LEVEL product degree 1 raised}",
            "mod_down_rescale %3 NEXT",
        ],
        floor: |s| s.mul_relinearize_rescale(),
        ..BASE
    },
    Shape {
        name: "mul_plain_rescale",
        lines: &["mul_plain %0, #0 PRODUCT", "rescale %1 NEXT"],
        floor: |s| s.rescale(s.limbs),
        ..BASE
    },
    Shape {
        name: "mul_plain_accumulate_16",
        inputs: 16,
        lines: ACCUMULATE,
        only: Some(is_inner_product),
        floor: |s| s.mul_plain_accumulate(16),
        ..BASE
    },
    Shape {
        name: "mul_scalar_rescale",
        lines: &["mul_scalar %0, 0.5 PRODUCT", "rescale %1 NEXT"],
        floor: |s| s.rescale(0),
        ..BASE
    },
    Shape {
        name: "rescale",
        lines: &["mul_scalar %0, 0.5 PRODUCT", "rescale %1 NEXT"],
        no_scalar: true,
        floor: |s| s.rescale(0),
        ..BASE
    },
    // From slots in memory to residues: what the client's `encode` gives, one of two and one of sixteen in a run. A program returns
    // polynomials by twos.
    Shape {
        name: "encode_device_16",
        lines: PLAINTEXTS,
        all_out: true,
        only: Some(is_encoded),
        encode_on_device: true,
        parts: 16,
        floor: |s| s.encode(),
        ..BASE
    },
    Shape {
        name: "encode_device",
        lines: &[
            "mul_plain %0, #0 PRODUCT",
            "mul_plain %0, #1 PRODUCT",
            "add %1, %2 PRODUCT",
            "rescale %3 NEXT",
        ],
        only: Some(is_encoded),
        encode_on_device: true,
        parts: 2,
        floor: |s| s.encode(),
        ..BASE
    },
];

fn is_inner_product(poly: &Function, id: PolyId) -> bool {
    matches!(poly.value(id).op, Op::InnerProduct { .. })
}

/// A plaintext that is encoded on the device, as values.
fn is_encoded(poly: &Function, id: PolyId) -> bool {
    match poly.value(id).op {
        Op::Ntt(a) => matches!(poly.value(a).op, Op::RoundResidues(_)),
        _ => false,
    }
}

/// Reads operands in the place of their products by scalars.
fn without_scalars(poly: &mut Function) {
    let operand: BTreeMap<PolyId, PolyId> = poly
        .ids()
        .filter_map(|id| match poly.value(id).op {
            Op::MulScalar(a, _) => Some((id, a)),
            _ => None,
        })
        .collect();
    for value in &mut poly.values {
        value.op = value.op.map(|a| operand.get(&a).copied().unwrap_or(a));
    }
}

impl Shape {
    /// The case at a level.
    ///
    /// # Errors
    /// No such level.
    pub fn case(&self, chain: &Chain, level: Level) -> Result<Case> {
        let (what, name) = (self.name.to_owned(), Some(chain.name.clone()));
        let (log_n, word) = (chain.params.log_n(), chain.params.word());
        let limbs = chain.params.level(level)?.basis.len();
        Ok(Case { what, chain: name, log_n, limbs, word })
    }

    /// Whether a level has what it needs.
    pub fn fits(&self, level: Level) -> bool {
        level.0 > 0 || !self.lines.iter().any(|line| line.contains("NEXT"))
    }

    /// Constants that the lines name: `#0` and so on.
    fn constants(&self) -> u32 {
        let named = |i: u32| self.lines.iter().any(|line| line.contains(&format!("#{i} ")));
        (0..).take_while(|&i| named(i)).count() as u32
    }

    fn text(&self, level: Level) -> String {
        let here = format!("{{level {level} canonical degree 1}}");
        let product = format!("{{level {level} product degree 1}}");
        let next = format!("{{level {} canonical degree 1}}", level.0.saturating_sub(1));
        let mut text = format!("function \"{}\" {{\n", self.name);
        for i in 0..self.inputs {
            text += &format!("  input \"x{i}\" period 1\n");
        }
        for i in 0..self.constants() {
            text += &format!("  constant #{i} \"w{i}\" [{:?}]\n", 0.5 + f64::from(i) / 64.0);
        }
        for i in 0..self.inputs {
            text += &format!("  %{i} = input {i} {here}\n");
        }
        for (i, line) in (self.inputs..).zip(self.lines) {
            let line = line.replace("HERE", &here).replace("PRODUCT", &product).replace("NEXT", &next);
            text += &format!("  %{i} = {}\n", line.replace("LEVEL", &level.to_string()));
        }
        let last = self.lines.len().saturating_sub(1);
        for (at, (i, line)) in (self.inputs..).zip(self.lines).enumerate() {
            if at == last || (self.all_out && !line.contains("PRODUCT")) {
                text += &format!("  output \"y{i}\" slots 1 %{i}\n");
            }
        }
        text + "}\n"
    }

    /// Fresh ciphertexts, with the names of the inputs.
    fn operands(&self, client: &mut dyn Client, level: Level) -> Result<Vec<(String, Vec<u8>)>> {
        (0..self.inputs).map(|i| Ok((format!("x{i}"), client.encrypt(level)?))).collect()
    }

    fn compile(&self, chain: &Chain, level: Level) -> Result<Compiled> {
        let mut placed = ckks_ir::text::parse(&self.text(level), &[])?;
        // As many values as slots: plaintexts that are stored and read whole (docs/adr/0015).
        for constant in &mut placed.constants {
            constant.values = constant.values.iter().copied().cycle().take(chain.params.n_slots()).collect();
        }
        let options = Options { encode_on_device: self.encode_on_device, ..Options::default() };
        let mut compiled = compile_placed(placed, &chain.params, &options)?;
        if self.no_scalar {
            without_scalars(&mut compiled.poly);
            return Ok(refit(&compiled, &chain.params, &options)?);
        }
        let Some(only) = self.only else { return Ok(compiled) };
        let poly = &mut compiled.poly;
        let found: Vec<PolyId> = poly.ids().filter(|&id| only(poly, id)).collect();
        if found.len() != poly.outputs.len() {
            bail!("{}: {} values, expected {}", self.name, found.len(), poly.outputs.len());
        }
        for (output, value) in poly.outputs.iter_mut().zip(found) {
            output.value = value;
        }
        // What comes back has the limbs of the level.
        for output in &mut compiled.manifest.outputs {
            output.level = level;
        }
        Ok(refit(&compiled, &chain.params, &options)?)
    }
}

/// Evaluation keys of a chain on the wire, made once for each need.
#[derive(Default)]
pub struct KeyStore(BTreeMap<(bool, Vec<u32>), Vec<u8>>);

impl KeyStore {
    fn keys(&mut self, client: &mut dyn Client, compiled: &Compiled) -> Result<&[u8]> {
        let manifest = &compiled.manifest;
        let elements: Vec<u32> = manifest.galois_elements.iter().map(|g| g.0).collect();
        let need = (manifest.needs_relinearization, elements);
        if !self.0.contains_key(&need) {
            let keys = client.keys(manifest.needs_relinearization, &manifest.galois_elements)?;
            self.0.insert(need.clone(), keys);
        }
        Ok(self.0.get(&need).map_or(&[], |keys| keys))
    }
}

/// Measures a composite.
///
/// # Errors
/// Those of the rooms, with the case.
pub fn measure(
    shape: Shape,
    chain: &Chain,
    level: Level,
    client: &mut dyn Client,
    keys: &mut KeyStore,
    machine: &Machine,
) -> Result<Row> {
    let case = shape.case(chain, level)?;
    measure_case(shape, chain, level, &case, client, keys, machine).with_context(|| case.to_string())
}

fn measure_case(
    shape: Shape,
    chain: &Chain,
    level: Level,
    case: &Case,
    client: &mut dyn Client,
    keys: &mut KeyStore,
    machine: &Machine,
) -> Result<Row> {
    let params = &chain.params;
    let floor = (shape.floor)(&Sizes::of(params, level)?);
    let mut compiled = shape.compile(chain, level)?;
    let row_bytes = compiled.plan.row_bytes() as u64;
    let buffer_rows: u64 = compiled.plan.buffers[1..].iter().map(|b| u64::from(b.rows)).sum();
    let polynomials = 2 * u64::from(shape.inputs) + u64::from(shape.constants());
    let operand_bytes = (floor.keys + polynomials * case.limbs as u64) * row_bytes;
    let copies = machine.protocol.copies(operand_bytes, buffer_rows * row_bytes);
    let key_bytes = keys.keys(client, &compiled)?;
    compiled.plan = with_copies(compiled.plan, copies);

    let events = !shape.left_out.is_empty();
    let session = if events { &machine.profiled } else { &machine.session };
    let mut program = session.load(compiled, params)?;
    program.load_keys(key_bytes)?;
    let ciphertexts = shape.operands(client, level)?;
    let inputs = by_name(&ciphertexts);
    program.run(&inputs)?;

    let work: Vec<_> = program.work_by_kernel();
    let counted = work.iter().filter(|(kernel, _)| !shape.left_out.contains(kernel));
    let mut cost = Cost::default();
    let mut launches = 0;
    for (kernel, work) in counted {
        cost.bytes += work.bytes / u64::from(copies);
        cost.operations += work.multiplications / u64::from(copies);
        cost.products += machine_products(*kernel, work.multiplications) / f64::from(copies);
        launches += work.launches / u64::from(copies);
    }
    let (method, time) = match events {
        true => ("sum of launches", sum_of_launches(shape, &mut program, &inputs, copies, machine)?),
        false => {
            let replay = |n| Ok(program.replay(n)?);
            ("replays of a graph for each copy", machine.protocol.median(copies, replay)?)
        }
    };
    let parts = shape.parts;
    cost.bytes /= u64::from(parts);
    cost.operations /= u64::from(parts);
    cost.products /= f64::from(parts);
    let mut row = Row::new(case, method, time / f64::from(parts), cost, &machine.roofs).under(params);
    row.floor_parts = floor.parts(params, &machine.roofs);
    let least = row.floor_parts.values().sum();
    row = row.with_floor(least);
    (row.copies, row.launches) = (copies, Some(launches));
    Ok(row)
}

/// The launches of a composite, those that take longest first. They are timed one by one and share no time, so that their sum is more
/// than the composite takes as a graph.
///
/// # Errors
/// Those of the rooms.
pub fn launches(
    shape: Shape,
    chain: &Chain,
    level: Level,
    client: &mut dyn Client,
    keys: &mut KeyStore,
    machine: &Machine,
) -> Result<String> {
    let compiled = shape.compile(chain, level)?;
    let key_bytes = keys.keys(client, &compiled)?;
    let mut program = machine.profiled.load(compiled, &chain.params)?;
    program.load_keys(key_bytes)?;
    let ciphertexts = shape.operands(client, level)?;
    // The first run loads kernels.
    for _ in 0..2 {
        program.run(&by_name(&ciphertexts))?;
    }
    let roof = Roof { bytes_per_second: machine.roofs.copy };
    let profile = &program.last_run().profile;
    Ok(format!("{}\n\n{}", profile.kernel_table(Some(roof)), profile.launch_table(usize::MAX, Some(roof))))
}

/// Ciphertexts by the names of the inputs.
fn by_name(ciphertexts: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
    ciphertexts.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect()
}

/// Median of the launches that are not left out, of runs that time every launch.
fn sum_of_launches(
    shape: Shape,
    program: &mut LoadedProgram,
    inputs: &[(&str, &[u8])],
    copies: u32,
    machine: &Machine,
) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..machine.protocol.samples.min(3) {
        program.run(inputs)?;
        let profile = &program.last_run().profile;
        let counted = profile.by_kernel().filter(|(kernel, _)| !shape.left_out.contains(kernel));
        let total: f64 = counted.map(|(_, entry)| entry.time.as_secs_f64() * 1e6).sum();
        times.push(total / f64::from(copies));
    }
    median(times)
}

fn median(mut times: Vec<f64>) -> Result<f64> {
    times.sort_by(f64::total_cmp);
    match times.get(times.len() / 2) {
        Some(&time) => Ok(time),
        None => bail!("0 samples, expected at least 1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhe_core::params::Preset;
    use host::check::CheckedPlan;

    #[test]
    fn a_plaintext_is_encoded_from_its_slots() {
        let chain = Chain::preset(Preset::N13).unwrap();
        for name in ["encode_device", "encode_device_16"] {
            let shape = ALL.iter().find(|s| s.name == name).unwrap();
            let level = chain.levels[0];
            let limbs = chain.params.level(level).unwrap().basis.len() as u64;
            let plan = CheckedPlan::new(shape.compile(&chain, level).unwrap().plan).unwrap();
            let work = plan.work_by_kernel();
            let kernels: Vec<KernelId> = work.iter().map(|(kernel, _)| *kernel).collect();
            assert_eq!(kernels, [KernelId::Ntt, KernelId::EmbedInverse, KernelId::RoundResidues]);
            let written: Vec<u64> = work.iter().map(|(_, work)| work.rows_written).collect();
            let parts = u64::from(shape.parts);
            assert_eq!(written, [parts * limbs, parts * 2, parts * limbs]);
            assert!(work.iter().all(|(_, work)| work.launches == 1));
        }
    }

    #[test]
    fn a_rescale_is_the_division_alone() {
        let chain = Chain::preset(Preset::N13).unwrap();
        let level = chain.levels[0];
        let kernels = |name| -> Vec<(KernelId, u64)> {
            let shape = ALL.iter().find(|s| s.name == name).unwrap();
            let plan = CheckedPlan::new(shape.compile(&chain, level).unwrap().plan).unwrap();
            plan.work_by_kernel().iter().map(|(kernel, work)| (*kernel, work.items)).collect()
        };
        let mut with_product = kernels("mul_scalar_rescale");
        assert!(with_product.iter().any(|(kernel, _)| *kernel == KernelId::MulScalar));
        with_product.retain(|(kernel, _)| *kernel != KernelId::MulScalar);
        assert_eq!(kernels("rescale"), with_product);
    }

    #[test]
    fn products_by_plaintexts_are_one_launch_that_reads_each_operand_once() {
        let chain = Chain::preset(Preset::N13).unwrap();
        let shape = ALL.iter().find(|s| s.name == "mul_plain_accumulate_16").unwrap();
        let level = chain.levels[0];
        let limbs = chain.params.level(level).unwrap().basis.len() as u64;
        let plan = CheckedPlan::new(shape.compile(&chain, level).unwrap().plan).unwrap();
        let [(kernel, work)] = plan.work_by_kernel()[..] else { panic!("{:?}", plan.work_by_kernel()) };
        assert_eq!((kernel, work.launches, work.items), (KernelId::InnerProduct, 1, limbs));
        assert_eq!((work.rows_read, work.rows_written), (48 * limbs, 2 * limbs));
        let floor = (shape.floor)(&Sizes::of(&chain.params, level).unwrap());
        assert_eq!((floor.rows, floor.transforms, floor.macs, floor.keys), (50 * limbs, 0, 0, 0));
    }
}

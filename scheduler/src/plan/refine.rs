//! Whether a plan computes its `poly_ir` function: translation validation by value numbering.
//!
//! Every row of the function, and every row that a launch of the plan writes, gets a number: equal numbers
//! mean equal computations from the same inputs, keys and constants. Outputs must have equal numbers. So a
//! row that is overwritten while its value is still needed, a wrong operand, constant, copy or order is found,
//! whatever the memory planner thought. The numbers know nothing of devices: those of a row and of its copy are equal.

use std::collections::BTreeMap;

use fhe_core::params::{LimbIdx, Params};
use kernels_gpu::abi::{KernelId, RowRef};

use super::{
    BufferId, BufferKind, CopyKind, DeviceIdx, Form, HostStep, Item, KeyId, Place, Plan, PlanStep, Read,
    RowCopy, Sharding, Step, sums,
};
use crate::ckks_ir::{ConstId, InputIdx};
use crate::error::{Error, Result};
use crate::lower::constants::{inverse_mod, product_mod, scaled};
use crate::poly_ir::{Domain, Encoded, Function, Op, PolyId, inline_all};

/// What a row is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Number {
    Input(InputIdx, u32),
    /// Constant, level, bits of the scale, raised or not, position.
    Constant(ConstId, u32, u64, bool, u32),
    /// A row of a constant whose values are repeated: as a constant, log2 of the runs, device of a group, row.
    Packed(ConstId, u32, u64, bool, u32, DeviceIdx, u32),
    /// A limb of such a row: its number, which part.
    Part(u32, u32),
    Key(KeyId, u32),
    /// As a constant; real or imaginary parts.
    Slots(ConstId, u32, u64, u32),
    /// Real or imaginary parts.
    Factors(u32),
    /// Kernel, prime, scalar or Galois element, operands in order.
    Made(KernelId, u32, u64, Vec<u32>),
    /// The end of a division: prime, scalar, whether there is an addend, Galois element, operands.
    Divided(u32, u64, bool, u32, Vec<u32>),
    /// An inner product: prime, what times the addend if there is one, Galois element, operands.
    Summed(u32, Option<u64>, u32, Vec<u32>),
    /// Prime, `big`, sources with their constants, matrix row.
    Converted(u32, u64, Vec<(u32, u64, u32)>, Vec<u64>),
}

#[derive(Debug, Default)]
struct Numbering {
    seen: BTreeMap<Number, u32>,
}

impl Numbering {
    fn number(&mut self, row: Number) -> u32 {
        // Adding nothing is a copy.
        if let Number::Made(KernelId::AddScalar, _, 0, operands) = &row {
            return operands[0];
        }
        let next = self.seen.len() as u32;
        *self.seen.entry(row).or_insert(next)
    }
}

/// Checks that a verified plan computes a verified function, with the bodies of calls in their place.
///
/// # Errors
/// [`Error::Verify`] with rule `refine` for the first output row that differs.
pub fn refines(plan: &Plan, function: &Function, params: &Params) -> Result<()> {
    let broken = |problem: String| Error::Verify { after: "lower_plan".to_owned(), rule: "refine", problem };
    let inlined;
    let function = match function.calls.is_empty() {
        true => function,
        false => {
            inlined = inline_all(function);
            &inlined
        }
    };
    let mut numbering = Numbering::default();
    let of = number_function(function, params, plan.sharding(), &mut numbering);
    let buffers = number_plan(plan, function, params, &mut numbering).map_err(broken)?;
    let sharding = plan.sharding();
    for output in &function.outputs {
        let expected = &of[output.value.0 as usize];
        let basis = &function.value(output.value).basis;
        let kind = BufferKind::Output(output.output);
        let home = plan.buffers.iter().find(|b| b.kind == kind);
        let group = home.map_or(0, |b| sharding.group(b.device));
        for (position, &number) in expected.iter().enumerate() {
            let place = sharding.row(group, basis, output.poly.into(), position);
            let (device, row) = place.unwrap_or((DeviceIdx(0), u32::MAX));
            let buffer = plan.buffer_of(kind, device);
            let buffer =
                buffer.ok_or_else(|| broken(format!("no buffer for {kind} on device {}", device.0)))?;
            if buffers[buffer.0 as usize].get(row as usize) != Some(&Some(number)) {
                return Err(broken(format!(
                    "row {row} of {kind} on device {} is not limb {position} of {}",
                    device.0, output.value
                )));
            }
        }
    }
    Ok(())
}

fn number_function(
    function: &Function,
    params: &Params,
    sharding: Sharding,
    numbering: &mut Numbering,
) -> Vec<Vec<u32>> {
    let mut of: Vec<Vec<u32>> = Vec::with_capacity(function.values.len());
    for id in function.ids() {
        let value = function.value(id);
        let limb_of = |a: PolyId, limb: LimbIdx| {
            let position = function.value(a).basis.iter().position(|&l| l == limb);
            position.map_or(u32::MAX, |p| of[a.0 as usize][p])
        };
        if let Op::EmbedInverse(slots) = value.op {
            let s = &function.slots[slots.0 as usize];
            let scale = s.log_scale.parts().0.to_bits();
            let slots = [0, 1].map(|part| Number::Slots(s.constant, s.level.0, scale, part));
            let read = slots.into_iter().chain([0, 1].map(Number::Factors));
            let operands: Vec<u32> = read.map(|row| numbering.number(row)).collect();
            let made = |part| Number::Made(KernelId::EmbedInverse, part, 0, operands.clone());
            of.push([0, 1].map(|part| numbering.number(made(part))).to_vec());
            continue;
        }
        let mut numbers = Vec::with_capacity(value.basis.len());
        for (position, &limb) in value.basis.iter().enumerate() {
            let at = position as u32;
            let all = |kernel, scalar| {
                let operands = value.op.operands().map(|a| limb_of(a, limb)).collect();
                Number::Made(kernel, limb.0, scalar, operands)
            };
            let row = match &value.op {
                Op::Slice(a) => {
                    numbers.push(limb_of(*a, limb));
                    continue;
                }
                Op::Concat(parts) => {
                    let number = parts.iter().map(|&p| limb_of(p, limb)).find(|&n| n != u32::MAX);
                    numbers.push(number.unwrap_or(u32::MAX));
                    continue;
                }
                Op::Input { input, poly } => {
                    Number::Input(*input, u32::from(*poly) * value.basis.len() as u32 + at)
                }
                Op::Constant(e) => {
                    let Encoded { constant, level, log_scale, raised, log_repeat } =
                        function.encoded[e.0 as usize];
                    let scale = log_scale.parts().0.to_bits();
                    match sharding.part(0, &value.basis, log_repeat, position).filter(|_| log_repeat > 0) {
                        None => Number::Constant(constant, level.0, scale, raised, at),
                        Some((device, row, part)) => {
                            let row =
                                Number::Packed(constant, level.0, scale, raised, log_repeat, device, row);
                            Number::Part(numbering.number(row), part)
                        }
                    }
                }
                Op::EmbedInverse(_) | Op::Result { .. } => continue,
                Op::RoundResidues(a) => {
                    let scale = function.slots_of(*a).map_or(0.0, |s| s.log_scale.exp2());
                    let real = of[a.0 as usize].clone();
                    Number::Made(KernelId::RoundResidues, limb.0, scale.to_bits(), real)
                }
                Op::Key { key, digit, half } => {
                    let limbs = key.limbs(params).unwrap_or_default();
                    let block = (digit * 2 + u32::from(*half)) as usize * limbs.len();
                    let at = limbs.iter().position(|l| *l == limb).map(|at| (block + at) as u32);
                    // One that is not of the key is no row of a buffer.
                    Number::Key(*key, at.unwrap_or(u32::MAX))
                }
                Op::Ntt(_) => all(KernelId::Ntt, 0),
                Op::Intt(_) => all(KernelId::Intt, 0),
                Op::Add(..) => all(KernelId::Add, 0),
                Op::Sub(..) => all(KernelId::Sub, 0),
                Op::Neg(_) => all(KernelId::Neg, 0),
                Op::InnerProduct { init, times, galois, .. } => {
                    let operands = value.op.operands().map(|a| limb_of(a, limb)).collect();
                    let times = init.map(|_| times.get(position).copied().unwrap_or(1));
                    Number::Summed(limb.0, times, galois.0, operands)
                }
                Op::MulScalar(_, s) => all(KernelId::MulScalar, s[position]),
                Op::AddScalar(_, s) => all(KernelId::AddScalar, s[position]),
                Op::SubMulScalar { scalars, add, galois, .. } => {
                    let operands = value.op.operands().map(|a| limb_of(a, limb)).collect();
                    Number::Divided(limb.0, scalars[position], add.is_some(), galois.0, operands)
                }
                Op::Automorphism(_, g) if value.domain == Domain::Eval => {
                    all(KernelId::AutomorphismEval, u64::from(g.0))
                }
                Op::Automorphism(_, g) => all(KernelId::AutomorphismCoeff, u64::from(g.0)),
                Op::ConvertBasis { a, before, after } => {
                    let from = &function.value(*a).basis;
                    let others = |i: LimbIdx| from.iter().copied().filter(|&l| l != i).collect::<Vec<_>>();
                    let source = |(at, &l): (usize, &LimbIdx)| {
                        let inverse = inverse_mod(params, &others(l), l);
                        (limb_of(*a, l), scaled(params, inverse, before, at, l), l.0)
                    };
                    let product = |factors: &[LimbIdx]| {
                        scaled(params, product_mod(params, factors, limb), after, position, limb)
                    };
                    let entry = |&i: &LimbIdx| product(&others(i));
                    Number::Converted(
                        limb.0,
                        product(from),
                        from.iter().enumerate().map(source).collect(),
                        from.iter().map(entry).collect(),
                    )
                }
            };
            numbers.push(numbering.number(row));
        }
        of.push(numbers);
    }
    of
}

type Rows = Vec<Vec<Option<u32>>>;

fn number_plan(
    plan: &Plan,
    function: &Function,
    params: &Params,
    numbering: &mut Numbering,
) -> core::result::Result<Rows, String> {
    let mut rows: Rows = plan.buffers.iter().map(|b| vec![None; b.rows as usize]).collect();
    for step in &plan.setup {
        number_host(plan, function, params, step, &mut rows, numbering)?;
    }
    for step in &plan.schedule {
        let (segment, bindings) = match step {
            PlanStep::Host(step) => {
                number_host(plan, function, params, step, &mut rows, numbering)?;
                continue;
            }
            PlanStep::Copy(copies) => {
                copies.iter().try_for_each(|copy| number_copy(plan, copy, &mut rows))?;
                continue;
            }
            PlanStep::Record { .. } | PlanStep::Wait { .. } => continue,
            PlanStep::Call { segment, bindings } => (segment, bindings),
        };
        let Some(segment) = plan.segment(*segment) else { return Err("a call of no segment".to_owned()) };
        for Step::Launch { launch, .. } in &segment.steps {
            let place = |r: RowRef| (bindings[r.slot as usize].0 as usize, r.row as usize);
            let read = |r: RowRef, rows: &Rows| {
                let (buffer, at) = place(r);
                rows[buffer][at].ok_or_else(|| format!("{r:?} is read before it is written"))
            };
            let mut written = Vec::new();
            for item in plan.items(launch)? {
                let mut operands = Vec::new();
                for Read { row, form, .. } in item.reads(launch.kernel) {
                    let number = read(row, &rows)?;
                    operands.push(match form {
                        Form::Repeated { part, .. } => numbering.number(Number::Part(number, part)),
                        Form::Whole | Form::Begun | Form::BegunInverse => number,
                    });
                }
                let numbers = number_item(launch.kernel, &item, &operands, numbering);
                written.extend(numbers.into_iter().map(|(dst, number)| (place(dst), number)));
            }
            for ((buffer, at), number) in written {
                rows[buffer][at] = Some(number);
            }
        }
    }
    Ok(rows)
}

/// Numbers of the rows that a step of the host writes: those of the object that its device owns.
fn number_host(
    plan: &Plan,
    function: &Function,
    params: &Params,
    step: &HostStep,
    rows: &mut Rows,
    numbering: &mut Numbering,
) -> core::result::Result<(), String> {
    let sharding = plan.sharding();
    let mut fill = |buffer: BufferId,
                    of_object: &dyn Fn(DeviceIdx) -> Vec<u32>,
                    f: &dyn Fn(u32) -> Number| {
        let device = plan.buffer(buffer).map_or(DeviceIdx(0), |b| b.device);
        let expected = of_object(device);
        let found = rows.get_mut(buffer.0 as usize).filter(|rows| rows.len() == expected.len());
        let found = found.ok_or_else(|| format!("`{step}`, expected a buffer of {} rows", expected.len()))?;
        for (row, at) in found.iter_mut().zip(expected) {
            *row = Some(numbering.number(f(at)));
        }
        Ok(())
    };
    let doubles = |_| vec![0, 1];
    match *step {
        HostStep::Encode { encoded, buffer } => {
            let Encoded { constant, level, log_scale, raised, log_repeat } = encoded;
            let (scale, basis) = (log_scale.parts().0.to_bits(), encoded.basis(params).unwrap_or_default());
            if log_repeat > 0 {
                let device = plan.buffer(buffer).map_or(DeviceIdx(0), |b| b.device);
                let n_rows = |device| sharding.rows(device, &basis, 1).len().div_ceil(1 << log_repeat) as u32;
                // Groups have the same rows, device by device.
                let in_group = DeviceIdx(device.0 % sharding.in_group());
                return fill(buffer, &|device| (0..n_rows(device)).collect(), &|row| {
                    Number::Packed(constant, level.0, scale, raised, log_repeat, in_group, row)
                });
            }
            fill(buffer, &|device| sharding.rows(device, &basis, 1), &|at| {
                Number::Constant(constant, level.0, scale, raised, at)
            })
        }
        HostStep::LoadSlots { encoded: Encoded { constant, level, log_scale, .. }, buffer } => {
            let scale = log_scale.parts().0.to_bits();
            fill(buffer, &doubles, &|at| Number::Slots(constant, level.0, scale, at))
        }
        HostStep::LoadFactors { buffer } => fill(buffer, &doubles, &Number::Factors),
        HostStep::LoadKey { key, buffer } => {
            let (limbs, n_blocks) = (plan.key_limbs(key), key.n_blocks(params));
            fill(buffer, &|device| sharding.rows(device, &limbs, n_blocks), &|at| Number::Key(key, at))
        }
        HostStep::Upload { input, buffer } => {
            let basis = function.inputs.get(input.0 as usize).map_or(&[][..], Vec::as_slice);
            fill(buffer, &|device| sharding.rows(device, basis, 2), &|at| Number::Input(input, at))
        }
        HostStep::Download { .. } => Ok(()),
    }
}

/// Numbers go with their rows; a spill leaves none behind.
fn number_copy(plan: &Plan, copy: &RowCopy, rows: &mut Rows) -> core::result::Result<(), String> {
    for at in 0..copy.rows {
        let outside = || format!("`{copy}` is outside of its buffers");
        let mut row = |place: Place, set: Option<u32>| {
            let held = rows.get_mut(place.buffer.0 as usize)?.get_mut(place.row as usize + at as usize)?;
            Some(core::mem::replace(held, set))
        };
        let number = row(copy.from, None).ok_or_else(outside)?;
        if plan.copy_kind(copy) != Some(CopyKind::Spill) {
            row(copy.from, number);
        }
        let number = number.ok_or_else(|| format!("`{copy}` reads before it is written"))?;
        row(copy.to, Some(number)).ok_or_else(outside)?;
    }
    Ok(())
}

fn number_item(
    kernel: KernelId,
    item: &Item,
    operands: &[u32],
    numbering: &mut Numbering,
) -> Vec<(RowRef, u32)> {
    // A transform in two parts is one, whoever ends it; it has its number since it was begun.
    if let (KernelId::NttRows, Item::Row(i)) = (kernel, item) {
        return vec![(i.dst, operands[0])];
    }
    let begins = kernel == KernelId::ConvertBasisColumns;
    let kernel = match kernel {
        KernelId::NttColumns => KernelId::Ntt,
        KernelId::InttRows => KernelId::Intt,
        KernelId::NttRowsSubMulScalar => KernelId::SubMulScalar,
        kernel => kernel,
    };
    let made = |prime: u32, scalar: u64| Number::Made(kernel, prime, scalar, operands.to_vec());
    let numbers: Vec<(RowRef, Number)> = match item {
        Item::Row(i) if kernel == KernelId::SubMulScalar => {
            let add = i.c != RowRef::NONE;
            vec![(i.dst, Number::Divided(i.prime, i.scalar, add, i.galois, operands.to_vec()))]
        }
        Item::Row(i) => vec![(i.dst, made(i.prime, i.scalar))],
        Item::InnerProduct { dst, init, times, prime, galois, .. } => {
            let mut rest = operands;
            let mut numbers = Vec::with_capacity(2);
            for (h, dst) in sums(dst) {
                let (own, others) = rest.split_at(item.reads_of_sum(h).len());
                rest = others;
                let add = (init[h] != RowRef::NONE).then_some(times[h]);
                numbers.push((dst, Number::Summed(*prime, add, *galois, own.to_vec())));
            }
            numbers
        }
        Item::Automorphism(i) => vec![(i.dst, made(i.prime, u64::from(i.galois)))],
        Item::EmbedInverse(i) => (0..).zip(i.dst).map(|(part, row)| (row, made(part, 0))).collect(),
        Item::RoundResidues { scale, targets, .. } => {
            targets.iter().map(|t| (t.row, made(t.prime, *scale))).collect()
        }
        Item::ConvertBasis { sources, targets, matrix } => {
            let sources: Vec<(u32, u64, u32)> =
                sources.iter().zip(operands).map(|(s, &o)| (o, s.inv, s.prime)).collect();
            let converted = |(t, row): (&kernels_gpu::abi::ConvertTarget, &[u64])| {
                (t.row, Number::Converted(t.prime, t.big, sources.clone(), row.to_vec()))
            };
            targets.iter().zip(matrix.chunks(sources.len())).map(converted).collect()
        }
    };
    let number = |(row, number): (RowRef, Number)| {
        let transform = match number {
            Number::Converted(prime, ..) if begins => Some(prime),
            _ => None,
        };
        let number = numbering.number(number);
        let begun = |prime| numbering.number(Number::Made(KernelId::Ntt, prime, 0, vec![number]));
        (row, transform.map_or(number, begun))
    };
    numbers.into_iter().map(number).collect()
}

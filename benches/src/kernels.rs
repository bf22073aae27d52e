//! Plans of one kernel: some repetitions of it, each over rows of its own, in one call.
//!
//! A new kernel shows up here as soon as it is in [`KernelId::ALL`]; one whose items are of a new kind needs its arm in
//! `rows` and `launch`, and the compiler says so.

use crate::Result;
use crate::measure::Machine;
use crate::row::{Case, Cost, Row};
use anyhow::Context;
use bytemuck::Pod;
use fhe_core::math::primes::{descending, root_of_unity};
use fhe_core::math::word::WordKind;
use host::BackendKind;
use host::backend::Instance;
use host::check::CheckedPlan;
use kernels_gpu::abi::{
    self, ABI_VERSION, AutomorphismItem, ConvertBasisItem, ConvertSource, ConvertTarget, InnerProductItem,
    ItemKind, KernelId, Launch, RowItem, RowRef, Term, fraction_bits,
};
use scheduler::ckks_ir::{InputIdx, OutputIdx};
use scheduler::plan::{
    Access, Buffer, BufferId, BufferKind, DeviceIdx, NodeId, Peak, Plan, PlanStep, Segment, SegmentId,
    SlotUse, Step, Tier,
};
use std::sync::Arc;

/// Primes of a digit, of the special ones, and digits of a key switch, as in the chains at N = 2^16.
const DIGIT: usize = 12;
/// Terms of an inner product with a key: the digits.
const TERMS: usize = 4;
/// Most primes of a ring: more limbs use them again, as a batch of polynomials does.
const MOST_PRIMES: usize = 60;

/// What to measure: kernel, log N, limbs.
pub type Size = (KernelId, u32, usize);

/// Every kernel at 24 limbs for each N and at 3 and 48 limbs at the largest; transforms at every number of limbs.
pub fn sizes(quick: bool) -> Vec<Size> {
    let size = |kernel: KernelId| -> Vec<Size> {
        if quick {
            return vec![(kernel, 12, 3)];
        }
        let all = (12..=16).flat_map(|log_n| [1, 3, 20, 24, 48, 96].map(|limbs| (kernel, log_n, limbs)));
        let transform = matches!(kernel, KernelId::Ntt | KernelId::Intt);
        all.filter(|&(_, log_n, l)| transform || l == 24 || (log_n == 16 && (l == 3 || l == 48))).collect()
    };
    KernelId::ALL.into_iter().flat_map(size).collect()
}

/// Products of the machine that so many word products of a kernel need at least. Those by a constant (transforms,
/// scalars) are modular at once: three with a precomputed quotient (Shoup; Harvey, J. Symb. Comp. 60, 2014). Sums of products
/// are reduced once a sum, which is not counted.
pub fn machine_products(kernel: KernelId, operations: u64) -> f64 {
    let each = match kernel {
        KernelId::Ntt
        | KernelId::Intt
        | KernelId::MulScalar
        | KernelId::SubMulScalar
        | KernelId::MulScalarAdd => 3.0,
        _ => 1.0,
    };
    each * operations as f64
}

/// Operand and result rows of a repetition, each once.
fn rows(kernel: KernelId, limbs: usize) -> (usize, usize) {
    match kernel.item() {
        ItemKind::Row if kernel.reads_b() => (2 * limbs, limbs),
        ItemKind::Row | ItemKind::Automorphism => (limbs, limbs),
        // Digits, and both halves of a key.
        ItemKind::InnerProduct => (3 * TERMS * limbs, 2 * limbs),
        // Every digit to the other limbs and the special ones.
        ItemKind::ConvertBasis => {
            let targets = digits(limbs).map(|d| limbs - d.len() + DIGIT).sum();
            (limbs, targets)
        }
    }
}

fn digits(limbs: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..limbs).step_by(DIGIT).map(move |from| from..(from + DIGIT).min(limbs))
}

/// Appends a table to the pool.
fn table<T: Pod>(plan: &mut Plan, entries: &[T]) -> u32 {
    let at = plan.pool.len() as u32;
    plan.pool.extend(bytemuck::pod_collect_to_vec::<T, u64>(entries));
    at
}

fn input(row: usize) -> RowRef {
    RowRef { slot: 1, row: row as u32 }
}

fn output(row: usize) -> RowRef {
    RowRef { slot: 2, row: row as u32 }
}

/// Appends the items of a repetition that reads rows from `from` on and writes rows from `to` on.
fn launch(plan: &mut Plan, kernel: KernelId, limbs: usize, from: usize, to: usize) -> Launch {
    let n_primes = plan.primes.len();
    let prime = |i: usize| (i % n_primes) as u32;
    let largest = |plan: &Plan, i: usize| plan.primes[i % n_primes] - 1;
    let (items_at, n_items) = match kernel.item() {
        ItemKind::Row => {
            let item = |i: usize| RowItem {
                dst: output(to + i),
                a: input(from + i),
                b: if kernel.reads_b() { input(from + limbs + i) } else { RowRef::NONE },
                scalar: if kernel.reads_scalar() { largest(plan, i) } else { 0 },
                prime: prime(i),
                pad: 0,
            };
            let items: Vec<RowItem> = (0..limbs).map(item).collect();
            (table(plan, &items), limbs)
        }
        ItemKind::Automorphism => {
            let (dst, a) = (|i| output(to + i), |i| input(from + i));
            let item = |i| AutomorphismItem { dst: dst(i), a: a(i), galois: 5, prime: prime(i) };
            (table(plan, &(0..limbs).map(item).collect::<Vec<_>>()), limbs)
        }
        ItemKind::InnerProduct => {
            let mut items = Vec::with_capacity(2 * limbs);
            for (half, i) in [0, 1].into_iter().flat_map(|half| (0..limbs).map(move |i| (half, i))) {
                let digit = |t: usize| input(from + t * limbs + i);
                let key = |t: usize| input(from + (TERMS + 2 * t + half) * limbs + i);
                let terms: Vec<Term> = (0..TERMS).map(|t| Term { a: digit(t), b: key(t) }).collect();
                items.push(InnerProductItem {
                    dst: output(to + half * limbs + i),
                    init: RowRef::NONE,
                    terms_at: table(plan, &terms),
                    n_terms: TERMS as u32,
                    prime: prime(i),
                    pad: 0,
                });
            }
            (table(plan, &items), items.len())
        }
        ItemKind::ConvertBasis => {
            let items = conversions(plan, limbs, from, to);
            (table(plan, &items), items.len())
        }
    };
    Launch { kernel, items_at, n_items: n_items as u32 }
}

/// Residues as large as any in place of the constants: the time does not depend on them.
fn conversions(plan: &mut Plan, limbs: usize, from: usize, to: usize) -> Vec<ConvertBasisItem> {
    let n_primes = plan.primes.len();
    let shift = fraction_bits(plan.word.bits()) + plan.word.bits();
    let mut dst = to;
    let mut items = Vec::new();
    for digit in digits(limbs) {
        let source = |i: usize| {
            let q = plan.primes[i % n_primes];
            let frac = ((1u128 << shift) / u128::from(q)) as u64;
            ConvertSource { row: input(from + i), inv: q - 1, frac, prime: (i % n_primes) as u32, pad: 0 }
        };
        let sources: Vec<ConvertSource> = digit.clone().map(source).collect();
        let others: Vec<usize> = (0..limbs + DIGIT).filter(|i| !digit.contains(i)).collect();
        let target = |(k, &i): (usize, &usize)| {
            let big = plan.primes[i % n_primes] - 1;
            ConvertTarget { row: output(dst + k), big, prime: (i % n_primes) as u32, pad: 0 }
        };
        let targets: Vec<ConvertTarget> = others.iter().enumerate().map(target).collect();
        let entry = |t: &ConvertTarget| vec![t.big; digit.len()];
        let matrix: Vec<u64> = targets.iter().flat_map(entry).collect();
        dst += targets.len();
        items.push(ConvertBasisItem {
            src_at: table(plan, &sources),
            n_src: sources.len() as u32,
            dst_at: table(plan, &targets),
            n_dst: targets.len() as u32,
            matrix_at: table(plan, &matrix),
            pad: 0,
        });
    }
    items
}

/// A plan of one call: `repetitions` launches, one after another.
fn plan(size: Size, word: WordKind, repetitions: u32) -> Result<Plan> {
    let (kernel, log_n, limbs) = size;
    let special = if kernel.item() == ItemKind::ConvertBasis { DIGIT } else { 0 };
    let n_primes = (limbs + special).min(MOST_PRIMES);
    let primes: Vec<u64> = descending(word.max_prime_bits(), log_n + 1).take(n_primes).collect();
    let roots = primes.iter().map(|&q| Ok(root_of_unity(q, log_n + 1)?)).collect::<Result<_>>()?;
    let (n_read, n_written) = rows(kernel, limbs);
    let of = |rows: usize| rows as u32 * repetitions;
    let kinds = [BufferKind::Arena, BufferKind::Input(InputIdx(0)), BufferKind::Output(OutputIdx(0))];
    let sizes = [1, of(n_read), of(n_written)];
    let access = [Access::ReadWrite, Access::Read, Access::Write];
    let buffer = |(rows, kind)| Buffer { device: DeviceIdx(0), tier: Tier::Device, rows, kind };
    let slot = |(rows, access)| SlotUse { rows, access };
    let total: u64 = sizes.iter().map(|&r| u64::from(r)).sum();
    let mut plan = Plan {
        abi_version: ABI_VERSION,
        name: kernel.name().to_owned(),
        params_digest: [0; 16],
        word,
        log_n,
        primes,
        roots,
        pool: Vec::new(),
        buffers: sizes.into_iter().zip(kinds).map(buffer).collect(),
        segments: Vec::new(),
        setup: Vec::new(),
        schedule: vec![PlanStep::Call {
            segment: SegmentId(0),
            bindings: vec![BufferId(abi::ARENA), BufferId(1), BufferId(2)],
        }],
        peaks: Vec::new(),
    };
    let bytes = total * plan.row_bytes() as u64;
    plan.peaks = vec![Peak { device: DeviceIdx(0), tier: Tier::Device, rows: total, bytes }];
    let repetition = |r: u32| Step::Launch {
        launch: launch(&mut plan, kernel, limbs, r as usize * n_read, r as usize * n_written),
        node: NodeId(r),
    };
    let steps = (0..repetitions).map(repetition).collect();
    let slots = sizes.into_iter().zip(access).map(slot).collect();
    plan.segments = vec![Segment { name: "all".to_owned(), slots, steps }];
    Ok(plan)
}

/// Fills the input with canonical residues that look random.
fn fill(instance: &mut dyn Instance, n_rows: u32) -> Result<()> {
    let (n, word, least) = {
        let plan = instance.plan().plan();
        (1u64 << plan.log_n, plan.word, plan.primes.iter().copied().min().unwrap_or(1))
    };
    let residue = |k: u64| (k.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 3) % least;
    let row: Vec<u8> = match word {
        WordKind::U32 => (0..n).flat_map(|k| (residue(k) as u32).to_le_bytes()).collect(),
        WordKind::U64 => (0..n).flat_map(|k| residue(k).to_le_bytes()).collect(),
    };
    (0..n_rows).try_for_each(|r| Ok(instance.write(BufferId(1), r, &row)?))
}

/// The case of a size.
pub fn case(size: Size, word: WordKind) -> Case {
    let (kernel, log_n, limbs) = size;
    Case { what: kernel.name().to_owned(), chain: None, log_n, limbs, word }
}

/// Whether a backend has kernels for the word.
pub fn supports(kind: BackendKind, word: WordKind) -> bool {
    kind != BackendKind::Cuda || word == WordKind::U32
}

/// Measures a kernel.
///
/// # Errors
/// Those of the backend, with the case.
pub fn measure(size: Size, word: WordKind, machine: &Machine) -> Result<Row> {
    let case = case(size, word);
    let (kernel, log_n, limbs) = size;
    let (n_read, n_written) = rows(kernel, limbs);
    let bytes = ((n_read + n_written) as u64 * u64::from(word.bits() / 8)) << log_n;
    let repetitions = machine.protocol.copies(bytes, bytes);
    let checked = CheckedPlan::new(plan(size, word, repetitions)?)?;
    let operations = checked.work(SegmentId(0), 0).multiplications;
    let mut instance = machine.backend.load(Arc::new(checked)).with_context(|| case.to_string())?;
    fill(&mut *instance, n_read as u32 * repetitions)?;
    let time = machine.pool.install(|| machine.protocol.median(repetitions, |n| Ok(instance.replay(n)?)))?;
    let cost = Cost { bytes, operations, products: machine_products(kernel, operations) };
    let mut row = Row::new(&case, "replays of a graph of all copies", time, cost, &machine.roofs);
    (row.copies, row.launches) = (repetitions, Some(1));
    Ok(row)
}

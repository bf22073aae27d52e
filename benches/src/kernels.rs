//! Plans of one kernel: some repetitions of it, each over rows of its own, in one call.
//!
//! A new kernel shows up here as soon as it is in [`KernelId::ALL`]; one whose items are of a new kind needs its arms in
//! `rows` and `Repetition::items`, and the compiler says so.

use crate::Result;
use crate::measure::Machine;
use crate::row::{Case, Cost, Row};
use anyhow::Context;
use fhe_core::math::primes::{descending, root_of_unity};
use fhe_core::math::word::WordKind;
use host::BackendKind;
use host::backend::Instance;
use host::check::CheckedPlan;
use kernels_gpu::abi::{
    self, ABI_VERSION, AutomorphismItem, ConvertSource, ConvertTarget, EmbedInverseItem, ItemKind, KernelId,
    RoundTarget, RowItem, RowRef, Term, fraction_bits,
};
use scheduler::ckks_ir::{InputIdx, OutputIdx};
use scheduler::plan::{
    Access, Buffer, BufferId, BufferKind, DeviceIdx, Item, NodeId, Peak, Plan, PlanStep, PoolWriter, Segment,
    SegmentId, SlotUse, Step, Tier,
};
use std::sync::Arc;

/// Primes of a digit, of the special ones, and digits of a key switch, as in the chains at N = 2^16.
const DIGIT: usize = 12;
/// A Galois element: the rotation by one slot.
const GALOIS: u32 = 5;
/// Terms of an inner product with a key: the digits.
const TERMS: usize = 4;
/// Most primes of a ring: more limbs use them again, as a batch of polynomials does.
const MOST_PRIMES: usize = 60;

/// What to measure: kernel, log N, limbs.
pub type Size = (KernelId, u32, usize);

/// Every kernel at 24 limbs for each N and at 3 and 48 limbs at that of the chains; transforms at every number of limbs.
pub fn sizes(quick: bool) -> Vec<Size> {
    let size = |kernel: KernelId| -> Vec<Size> {
        if quick {
            return vec![(kernel, 12, 3)];
        }
        let all = (12..=17).flat_map(|log_n| [1, 3, 20, 24, 48, 96].map(|limbs| (kernel, log_n, limbs)));
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
        | KernelId::NttColumns
        | KernelId::NttRows
        | KernelId::InttRows
        | KernelId::Intt
        | KernelId::MulScalar
        | KernelId::SubMulScalar
        | KernelId::NttRowsSubMulScalar
        | KernelId::MulScalarAdd => 3.0,
        _ => 1.0,
    };
    each * operations as f64
}

/// Operand and result rows of a repetition, each once.
fn rows(kernel: KernelId, limbs: usize) -> (usize, usize) {
    match kernel.item() {
        ItemKind::Row => {
            let operands = 1 + usize::from(kernel.reads_b()) + usize::from(kernel.reads_c());
            (operands * limbs, limbs)
        }
        ItemKind::Automorphism => (limbs, limbs),
        // Digits, and both halves of a key.
        ItemKind::InnerProduct => (3 * TERMS * limbs, 2 * limbs),
        // Every digit to the other limbs and the special ones.
        ItemKind::ConvertBasis => {
            let targets = digits(limbs).map(|d| limbs - d.len() + DIGIT).sum();
            (limbs, targets)
        }
        // As many plaintexts as limbs: slots, and factors, which a program has once.
        ItemKind::EmbedInverse => (4 * limbs, 2 * limbs),
        // One plaintext.
        ItemKind::RoundResidues => (2, limbs),
    }
}

fn digits(limbs: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..limbs).step_by(DIGIT).map(move |from| from..(from + DIGIT).min(limbs))
}

/// A repetition: which rows it reads and writes, and the ring.
struct Repetition<'a> {
    kernel: KernelId,
    limbs: usize,
    primes: &'a [u64],
    word: WordKind,
    /// First row that is read, and first that is written.
    from: usize,
    to: usize,
}

impl Repetition<'_> {
    /// Operand `which` of limb `i`.
    fn input(&self, which: usize, i: usize) -> RowRef {
        RowRef { slot: 1, row: (self.from + which * self.limbs + i) as u32 }
    }

    fn output(&self, i: usize) -> RowRef {
        RowRef { slot: 2, row: (self.to + i) as u32 }
    }

    /// The prime of a limb, and its index.
    fn prime(&self, i: usize) -> (u64, u32) {
        let idx = i % self.primes.len();
        (self.primes[idx], idx as u32)
    }

    fn items(&self) -> Vec<Item> {
        match self.kernel.item() {
            ItemKind::Row => (0..self.limbs).map(|i| Item::Row(self.row(i))).collect(),
            ItemKind::Automorphism => {
                let item = |i| AutomorphismItem {
                    dst: self.output(i),
                    a: self.input(0, i),
                    galois: GALOIS,
                    prime: self.prime(i).1,
                };
                (0..self.limbs).map(|i| Item::Automorphism(item(i))).collect()
            }
            ItemKind::InnerProduct => (0..self.limbs).map(|i| self.inner_product(i)).collect(),
            ItemKind::ConvertBasis => self.conversions(),
            ItemKind::EmbedInverse => {
                let pair = |which: usize, i: usize| [self.input(which, i), self.input(which + 1, i)];
                let dst = |i: usize| [self.output(i), self.output(self.limbs + i)];
                let item = |i| EmbedInverseItem { dst: dst(i), src: pair(0, i), factors: pair(2, i) };
                (0..self.limbs).map(|i| Item::EmbedInverse(item(i))).collect()
            }
            ItemKind::RoundResidues => {
                let row = |part: usize| RowRef { slot: 1, row: (self.from + part) as u32 };
                let target = |i| RoundTarget { row: self.output(i), prime: self.prime(i).1, pad: 0 };
                let targets: Vec<RoundTarget> = (0..self.limbs).map(target).collect();
                let (src, scale) = ([row(0), row(1)], 1f64.to_bits());
                // As the lowering shares them out.
                let item =
                    |targets: &[RoundTarget]| Item::RoundResidues { src, scale, targets: targets.to_vec() };
                targets.chunks(8).map(item).collect()
            }
        }
    }

    /// With every operand that the kernel can take.
    fn row(&self, i: usize) -> RowItem {
        let (q, prime) = self.prime(i);
        let in_place = self.kernel == KernelId::NttRows;
        let a = if in_place { self.output(i) } else { self.input(0, i) };
        let mut item = RowItem::new(self.output(i), a, prime);
        if self.kernel.reads_b() {
            item.b = self.input(1, i);
        }
        if self.kernel.reads_c() {
            (item.c, item.galois) = (self.input(2, i), GALOIS);
        }
        if self.kernel.reads_scalar() {
            item.scalar = q - 1;
        }
        item
    }

    /// A limb of the digits times both halves of a key.
    fn inner_product(&self, i: usize) -> Item {
        let half = |t: usize, h: usize| self.input(TERMS + 2 * t + h, i);
        let term = |t: usize| Term::new(self.input(t, i), [half(t, 0), half(t, 1)]);
        Item::InnerProduct {
            dst: [self.output(i), self.output(self.limbs + i)],
            init: [RowRef::NONE; 2],
            times: [1; 2],
            prime: self.prime(i).1,
            terms: (0..TERMS).map(term).collect(),
            begun: if self.kernel == KernelId::NttRowsInnerProduct { (1 << TERMS) - 1 } else { 0 },
            galois: GALOIS,
        }
    }

    /// Residues as large as any in place of the constants: the time does not depend on them.
    fn conversions(&self) -> Vec<Item> {
        let shift = fraction_bits(self.word.bits()) + self.word.bits();
        let mut at = 0;
        let mut items = Vec::new();
        for digit in digits(self.limbs) {
            let source = |i: usize| {
                let (q, prime) = self.prime(i);
                let frac = ((1u128 << shift) / u128::from(q)) as u64;
                ConvertSource { row: self.input(0, i), inv: q - 1, frac, prime, pad: 0 }
            };
            let target = |(k, i): (usize, usize)| {
                let (q, prime) = self.prime(i);
                ConvertTarget { row: self.output(at + k), big: q - 1, prime, pad: 0 }
            };
            let others = (0..self.limbs + DIGIT).filter(|i| !digit.contains(i));
            let targets: Vec<ConvertTarget> = others.enumerate().map(target).collect();
            let matrix = targets.iter().flat_map(|t| vec![t.big; digit.len()]).collect();
            at += targets.len();
            items.push(Item::ConvertBasis { sources: digit.map(source).collect(), targets, matrix });
        }
        items
    }
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
    // What ends a transform does so where it is.
    let written = if kernel == KernelId::NttRows { Access::ReadWrite } else { Access::Write };
    let access = [Access::ReadWrite, Access::Read, written];
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
        sparse_limbs: Vec::new(),
        pool: Vec::new(),
        buffers: sizes.into_iter().zip(kinds).map(buffer).collect(),
        segments: Vec::new(),
        setup: Vec::new(),
        schedule: vec![PlanStep::Call {
            segment: SegmentId(0),
            bindings: vec![BufferId(abi::ARENA), BufferId(1), BufferId(2)],
        }],
        peaks: Vec::new(),
        n_groups: 1,
    };
    let bytes = total * plan.row_bytes() as u64;
    plan.peaks = vec![Peak { device: DeviceIdx(0), tier: Tier::Device, rows: total, bytes }];
    let mut pool = PoolWriter::new(&plan.primes, word);
    let mut steps = Vec::with_capacity(repetitions as usize);
    for r in 0..repetitions {
        let (from, to) = (r as usize * n_read, r as usize * n_written);
        let repetition = Repetition { kernel, limbs, primes: &plan.primes, word, from, to };
        steps.push(Step::Launch { launch: pool.launch(kernel, &repetition.items())?, node: NodeId(r) });
    }
    plan.pool = pool.finish();
    let slots = sizes.into_iter().zip(access).map(slot).collect();
    plan.segments = vec![Segment { name: "all".to_owned(), device: DeviceIdx(0), slots, steps }];
    Ok(plan)
}

/// Fills the input with what looks random: canonical residues, or doubles.
fn fill(kernel: KernelId, instance: &mut dyn Instance, n_rows: u32) -> Result<()> {
    let (n, word, least) = {
        let plan = instance.plan().plan();
        (1u64 << plan.log_n, plan.word, plan.primes.iter().copied().min().unwrap_or(1))
    };
    let random = |k: u64| k.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 3;
    if matches!(kernel.item(), ItemKind::EmbedInverse | ItemKind::RoundResidues) {
        // Doubles in [1, 2): residues as doubles are so small that processors take their time.
        let bits = |k: u64| (1f64.to_bits() | (random(k) & ((1 << 52) - 1))).to_le_bytes();
        let mut row: Vec<u8> = (0..n / 2).flat_map(bits).collect();
        row.resize(n as usize * word.bytes(), 0);
        return (0..n_rows).try_for_each(|r| Ok(instance.write(BufferId(1), r, &row)?));
    }
    let residue = |k: u64| random(k) % least;
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
    fill(kernel, &mut *instance, n_read as u32 * repetitions)?;
    let time = machine.pool.install(|| machine.protocol.median(repetitions, |n| Ok(instance.replay(n)?)))?;
    let cost = Cost { bytes, operations, products: machine_products(kernel, operations) };
    let mut row = Row::new(&case, "replays of a graph of all copies", time, cost, &machine.roofs);
    (row.copies, row.launches) = (repetitions, Some(1));
    Ok(row)
}

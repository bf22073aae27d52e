//! One transform of one row, with the widest lanes of the processor.

use fhe_core::math::primes::{descending, root_of_unity};
use host::backend::cpu::available_lanes;
use kernels_gpu::abi::{KernelId, RowItem, RowRef};
use kernels_gpu::body::tables::{PrimeConstants, PrimeTables, RingTables, fill_twiddles};
use kernels_gpu::cpu::{Base, Bindings, CpuWord, LaneKind};

/// The two transforms.
pub const KERNELS: [KernelId; 2] = [KernelId::Ntt, KernelId::Intt];

/// A row of canonical residues, transformed in place.
pub struct Row<W> {
    log_n: u32,
    lanes: LaneKind,
    constants: PrimeConstants<W>,
    twiddles: Vec<W>,
    words: Vec<W>,
    item: RowItem,
}

impl<W: CpuWord> Row<W> {
    /// A row of `2^log_n` words modulo the largest prime of the word, `None` if there is no such prime.
    pub fn new(log_n: u32) -> Option<Self> {
        let bits = W::BITS - if W::BITS == 32 { 2 } else { 4 };
        let q = descending(bits, log_n + 1).next()?;
        let psi = W::from_u64(root_of_unity(q, log_n + 1).ok()?);
        let lanes = available_lanes().into_iter().max().unwrap_or(LaneKind::Scalar);
        let constants = PrimeConstants::new(W::from_u64(q), psi, log_n);
        let mut twiddles = vec![W::ZERO; 1 << log_n];
        fill_twiddles(&constants, psi, log_n, W::log_lanes(lanes), &mut twiddles);
        let words =
            (0..1u64 << log_n).map(|k| W::from_u64(k.wrapping_mul(0x9e37_79b9_7f4a_7c15) % q)).collect();
        let row = RowRef { slot: 0, row: 0 };
        let item = RowItem::new(row, row, 0);
        Some(Self { log_n, lanes, constants, twiddles, words, item })
    }

    fn run(&mut self, kernel: KernelId) {
        let primes = [PrimeTables { constants: self.constants, twiddles: &self.twiddles }];
        let ring = RingTables { log_n: self.log_n, primes: &primes };
        let bases = [Base(self.words.as_mut_ptr().cast())];
        let bindings = Bindings { bases: &bases };
        let pool: &[u64] = bytemuck::cast_slice(std::slice::from_ref(&self.item));
        // SAFETY: one bound row of canonical residues, tables of its prime arranged for these lanes, which the
        // processor has.
        unsafe { W::run_item_on(self.lanes, kernel, pool, 0, 0..1 << self.log_n, &bindings, &ring) };
    }
}

/// A row of either word.
#[expect(missing_docs, reason = "named for the word")]
pub enum AnyRow {
    U32(Row<u32>),
    U64(Row<u64>),
}

impl From<Row<u32>> for AnyRow {
    fn from(row: Row<u32>) -> Self {
        Self::U32(row)
    }
}

impl From<Row<u64>> for AnyRow {
    fn from(row: Row<u64>) -> Self {
        Self::U64(row)
    }
}

impl AnyRow {
    /// Transforms it.
    pub fn run(&mut self, kernel: KernelId) {
        match self {
            Self::U32(row) => row.run(kernel),
            Self::U64(row) => row.run(kernel),
        }
    }

    /// `u32` or `u64`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::U32(_) => "u32",
            Self::U64(_) => "u64",
        }
    }

    fn log_n(&self) -> u32 {
        match self {
            Self::U32(row) => row.log_n,
            Self::U64(row) => row.log_n,
        }
    }

    /// Radix-2 butterflies of a transform: `N / 2 log N`.
    pub fn butterflies(&self) -> u64 {
        u64::from(self.log_n()) << (self.log_n() - 1)
    }

    /// Bytes of a row read and written, and of its twiddles.
    pub fn bytes(&self) -> u64 {
        let word = if matches!(self, Self::U32(_)) { 4 } else { 8 };
        (3 * word) << self.log_n()
    }
}

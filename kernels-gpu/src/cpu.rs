//! Running the items of a launch on a CPU: what a CPU backend calls.
//!
//! ```text
//! item x lanes -> rows -> groups of lanes -> body
//! ```
//!
//! [`run_item`] is generic over lanes and must be inlined into code compiled for their instruction set;
//! [`CpuWord::run_item_on`] does that for each [`LaneKind`]. Finding out which kinds the CPU has, and threads, are the
//! caller's: items of a launch are independent, and all kernels but the transforms also split by ranges of words
//! ([`splits`]).

use crate::abi::{
    AutomorphismItem, ConvertBasisItem, ConvertTarget, InnerProductItem, ItemKind, KernelId,
    RoundResiduesItem, RowItem, RowRef,
};
use crate::body::tables::RingTables;
use crate::encode;
#[cfg(target_arch = "x86_64")]
use crate::lanes::{Avx2, Avx512};
use crate::lanes::{Lanes, Scalar, Word};
pub use crate::pointwise::SPLIT_WORDS;
use crate::pointwise::{self, Call};
use crate::row::{intt_row, ntt_row};
use bytemuck::{Zeroable, cast_slice, pod_read_unaligned};
use core::mem::size_of;
use core::ops::Range;

/// The address a slot is bound to.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Base(pub *mut u8);

// SAFETY: an address; whoever reads or writes through it (`run_item`) answers for races there.
unsafe impl Send for Base {}
// SAFETY: as above.
unsafe impl Sync for Base {}

/// The binding table of a call: one address a slot, aligned to the word.
#[derive(Clone, Copy, Debug)]
pub struct Bindings<'a> {
    /// Indexed by [`RowRef::slot`].
    pub bases: &'a [Base],
}

impl Bindings<'_> {
    /// The first word of a row: `base[slot] + row * N * size_of::<W>()`.
    ///
    /// # Safety
    /// The slot must be bound to memory that holds the row.
    #[inline(always)]
    pub unsafe fn row<W: Word>(&self, row: RowRef, log_n: u32) -> *mut W {
        let offset = ((row.row as usize) << log_n) * size_of::<W>();
        // SAFETY: the caller's promise.
        unsafe { self.bases.get_unchecked(row.slot as usize).0.add(offset).cast() }
    }
}

/// The instruction sets that rows can be run with. `u64` rows take one word at a time with each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LaneKind {
    /// One word.
    Scalar,
    /// Eight `u32` words; needs the CPU features `avx2` and `bmi2`.
    Avx2,
    /// Sixteen `u32` words; needs the CPU features `avx512f` and `bmi2`.
    Avx512,
}

impl LaneKind {
    /// Every kind, the widest last.
    pub const ALL: [Self; 3] = [Self::Scalar, Self::Avx2, Self::Avx512];

    /// The name in profiles.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

/// Whether an item may be run over parts of its rows ([`SPLIT_WORDS`]); the transforms take whole rows.
pub const fn splits(kernel: KernelId) -> bool {
    !matches!(
        kernel,
        KernelId::Ntt | KernelId::Intt | KernelId::NttColumns | KernelId::InttRows | KernelId::EmbedInverse
    )
}

/// The transforms that an item of [`KernelId::ConvertBasisColumns`] begins: items of [`KernelId::NttColumns`], which whoever runs the item
/// runs once all parts of it are done. Of any other kernel there are none.
pub fn transforms_after(
    kernel: KernelId,
    pool: &[u64],
    item_at: usize,
) -> impl Iterator<Item = RowItem> + use<'_> {
    let entry = |at: usize, words: usize| pool.get(at..).and_then(|rest| rest.get(..words));
    let item = entry(item_at, ItemKind::ConvertBasis.pool_words());
    let item = item.filter(|_| kernel == KernelId::ConvertBasisColumns);
    let item: ConvertBasisItem =
        item.map_or_else(Zeroable::zeroed, |words| pod_read_unaligned(cast_slice(words)));
    const TARGET: usize = size_of::<ConvertTarget>() / 8;
    let targets = entry(item.dst_at as usize, item.n_dst as usize * TARGET).unwrap_or_default();
    targets.chunks_exact(TARGET).map(|words| {
        let ConvertTarget { row, prime, .. } = pod_read_unaligned(cast_slice(words));
        RowItem::new(row, row, prime)
    })
}

/// Runs words `range` of the item at `item_at` in the pool.
///
/// Ranges: canonical residues in and out.
///
/// # Safety
/// * `pool` holds at `item_at` an item of `kernel`'s type, and what the item points at, as the ABI says;
/// * every row it names lies in memory bound in `bindings`, valid for reading or writing, and holds canonical residues of
///   the item's prime; nobody else writes it, or reads what this writes, during the call;
/// * every prime is an index into `ring.primes`; `ring.log_n` is in `MIN_LOG_N ..= MAX_LOG_N`; the twiddles have `N` words
///   and are arranged for `L`;
/// * `range` lies in `0 .. N`, its ends are multiples of [`SPLIT_WORDS`], and it is all of `0 .. N` unless [`splits`]; parts
///   of an item that run at the same time do not overlap;
/// * the CPU has the instruction set of `L`.
#[inline(always)]
pub unsafe fn run_item<W: Word, L: Lanes<W>>(
    kernel: KernelId,
    pool: &[u64],
    item_at: usize,
    range: Range<usize>,
    bindings: &Bindings<'_>,
    ring: &RingTables<'_, W>,
) {
    let call = Call { pool, bindings, ring };
    // SAFETY: the caller's promises.
    unsafe {
        match kernel.item() {
            ItemKind::Row => {
                let item: RowItem = call.entry(item_at, 0);
                match kernel {
                    // Begun is ended here, so that who ends it is as any other kernel.
                    KernelId::Ntt | KernelId::Intt | KernelId::NttColumns | KernelId::InttRows => {
                        let tables = ring.primes.get_unchecked(item.prime as usize);
                        let (dst, a) = (call.row(item.dst), call.row(item.a));
                        if matches!(kernel, KernelId::Ntt | KernelId::NttColumns) {
                            ntt_row::<W, L>(dst, a, tables, ring.log_n);
                        } else {
                            intt_row::<W, L>(dst, a, tables, ring.log_n);
                        }
                    }
                    KernelId::NttRows => {}
                    KernelId::SubMulScalar | KernelId::NttRowsSubMulScalar => {
                        pointwise::sub_mul_scalar::<W, L>(&call, &item, range);
                    }
                    _ => pointwise::elementwise::<W, L>(&call, kernel, &item, range),
                }
            }
            ItemKind::InnerProduct => {
                let item: InnerProductItem = call.entry(item_at, 0);
                pointwise::inner_product::<W, L>(&call, &item, range);
            }
            ItemKind::ConvertBasis => {
                let item: ConvertBasisItem = call.entry(item_at, 0);
                pointwise::convert_basis::<W, L>(&call, &item, range);
            }
            ItemKind::Automorphism => {
                let item: AutomorphismItem = call.entry(item_at, 0);
                if kernel == KernelId::AutomorphismEval {
                    pointwise::automorphism_eval::<W, L>(&call, &item, range);
                } else {
                    pointwise::automorphism_coeff::<W>(&call, &item, range);
                }
            }
            ItemKind::EmbedInverse => encode::embed_inverse(&call, &call.entry(item_at, 0)),
            ItemKind::RoundResidues => {
                let item: RoundResiduesItem = call.entry(item_at, 0);
                encode::round_residues(&call, &item, range);
            }
        }
    }
}

/// A word that a CPU backend runs.
pub trait CpuWord: Word {
    /// `log2` of the lanes that `kind` has for this word: what the twiddles are to be arranged for.
    fn log_lanes(kind: LaneKind) -> u32;

    /// [`run_item`] with the lanes of `kind`.
    ///
    /// # Safety
    /// As [`run_item`], with [`CpuWord::log_lanes`] for the arrangement; the CPU has the features that `kind` names.
    unsafe fn run_item_on(
        kind: LaneKind,
        kernel: KernelId,
        pool: &[u64],
        item_at: usize,
        range: Range<usize>,
        bindings: &Bindings<'_>,
        ring: &RingTables<'_, Self>,
    );
}

/// [`run_item`] compiled for one instruction set.
macro_rules! shell {
    ($name:ident, $feature:literal, $word:ty, $lanes:ty) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $feature)]
        unsafe fn $name(
            kernel: KernelId,
            pool: &[u64],
            item_at: usize,
            range: Range<usize>,
            bindings: &Bindings<'_>,
            ring: &RingTables<'_, $word>,
        ) {
            // SAFETY: the caller's promises; the instruction set is this function's.
            unsafe { run_item::<$word, $lanes>(kernel, pool, item_at, range, bindings, ring) };
        }
    };
}

shell!(run_item_avx2, "avx2,bmi2", u32, Avx2);
shell!(run_item_avx512, "avx512f,bmi2", u32, Avx512);
// One word, but with `mulx`, which leaves rax and rdx alone.
shell!(run_item_bmi2, "bmi2", u64, Scalar<u64>);

/// [`run_item`] one word at a time, out of line: one copy a word.
///
/// # Safety
/// As [`run_item`].
unsafe fn run_item_scalar<W: Word>(
    kernel: KernelId,
    pool: &[u64],
    item_at: usize,
    range: Range<usize>,
    bindings: &Bindings<'_>,
    ring: &RingTables<'_, W>,
) {
    // SAFETY: the caller's promises; one word needs no instruction set.
    unsafe { run_item::<W, Scalar<W>>(kernel, pool, item_at, range, bindings, ring) };
}

impl CpuWord for u32 {
    fn log_lanes(kind: LaneKind) -> u32 {
        match kind {
            LaneKind::Scalar => 0,
            LaneKind::Avx2 => 3,
            LaneKind::Avx512 => 4,
        }
    }

    unsafe fn run_item_on(
        kind: LaneKind,
        kernel: KernelId,
        pool: &[u64],
        item_at: usize,
        range: Range<usize>,
        bindings: &Bindings<'_>,
        ring: &RingTables<'_, Self>,
    ) {
        // SAFETY: the caller's promises.
        unsafe {
            match kind {
                #[cfg(target_arch = "x86_64")]
                LaneKind::Avx2 => run_item_avx2(kernel, pool, item_at, range, bindings, ring),
                #[cfg(target_arch = "x86_64")]
                LaneKind::Avx512 => run_item_avx512(kernel, pool, item_at, range, bindings, ring),
                _ => run_item_scalar(kernel, pool, item_at, range, bindings, ring),
            }
        }
    }
}

impl CpuWord for u64 {
    fn log_lanes(_kind: LaneKind) -> u32 {
        0
    }

    unsafe fn run_item_on(
        kind: LaneKind,
        kernel: KernelId,
        pool: &[u64],
        item_at: usize,
        range: Range<usize>,
        bindings: &Bindings<'_>,
        ring: &RingTables<'_, Self>,
    ) {
        // SAFETY: the caller's promises.
        unsafe {
            match kind {
                #[cfg(target_arch = "x86_64")]
                LaneKind::Avx2 | LaneKind::Avx512 => {
                    run_item_bmi2(kernel, pool, item_at, range, bindings, ring);
                }
                _ => run_item_scalar(kernel, pool, item_at, range, bindings, ring),
            }
        }
    }
}

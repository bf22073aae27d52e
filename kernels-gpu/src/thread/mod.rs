//! The kernels as one GPU thread runs them, generic over the machine.
//!
//! A [`ThreadKernel`] is cut into phases at its barriers, which some run in rounds; between threads nothing but shared and global
//! memory passes from one phase to the next, in a thread its state does too. A [`Machine`] is what a thread can reach. On a GPU (`device`) it is PTX instructions, and the phases
//! follow one another with `bar.sync` between; on the host (`emulator`) it is checked memory, and the threads of a
//! block take turns phase by phase. So the code that tests run is the code that is compiled to PTX.
//!
//! No slice is indexed here, and arrays only by constants: they are registers.

pub mod addressed;
pub mod convert_basis;
pub mod encode;
pub mod inner_product;
pub mod ntt;
pub mod pointwise;
pub mod tile;

use crate::abi::launch::{GPU_MIN_LOG_N, KernelArgs, LaunchContract, contract};
use crate::abi::{KernelId, RowRef};
use crate::body::inner_product::Reducer;
use crate::body::ntt::unrolled;
use crate::body::shoup::{ButterflyConstants, Factor};
use crate::body::tables::PrimeConstants;
use crate::lanes::{Scalar, Word};
use core::mem::{MaybeUninit, size_of};
use tile::{Known, LANE_TARGETS, Residues, Tile};

/// Four words that are loaded and stored at once, at an index that is a multiple of four.
pub type Quad<W> = [W; 4];

/// Two words that are loaded and stored at once, at an even index.
pub type Pair<W> = [W; 2];

/// What a thread can reach.
pub trait Machine<W: Word> {
    /// A row whose slot has been looked up.
    type Row: Copy;
    /// The factors of a prime's transforms.
    type Table: Copy;

    /// The kernel's argument.
    fn args(&self) -> &KernelArgs;
    /// Index of the block in the grid.
    fn block(&self) -> u32;
    /// Index of the thread in the block.
    fn thread(&self) -> u32;

    /// `x`, made where this stands: what follows from it is not found before and kept in registers.
    fn here(&self, x: u32) -> u32;

    /// Waits for the launches before this one. A GPU may start a launch while the one before it still runs; what a kernel
    /// reads of tables that no kernel writes needs no waiting. Each kernel calls it once, in phase 0, before it touches a row.
    fn wait_for_rows(&self);

    /// Word `at + plus` of the pool.
    ///
    /// # Safety
    /// The pool must hold it.
    unsafe fn pool_word(&self, at: u32, plus: u32) -> u64;
    /// [`Machine::pool_word`], loaded where it stands: no register keeps it from an earlier load.
    ///
    /// # Safety
    /// The pool must hold it.
    unsafe fn pool_word_anew(&self, at: u32, plus: u32) -> u64;
    /// Word `idx` of the table of words at `at` in the pool.
    ///
    /// # Safety
    /// The pool must hold it.
    unsafe fn table_word(&self, at: u32, idx: u32) -> W;
    /// Words `idx ..= idx + 3` of that table; `at` even, `idx` a multiple of four.
    ///
    /// # Safety
    /// The pool must hold them.
    unsafe fn table_quad(&self, at: u32, idx: u32) -> Quad<W>;
    /// A row.
    ///
    /// # Safety
    /// The slot must be bound.
    unsafe fn row(&self, row: RowRef) -> Self::Row;
    /// A row as words that shared memory can keep.
    fn words_of_row(row: Self::Row) -> Pair<W>;
    /// The row that these words stand for.
    fn row_of_words(words: Pair<W>) -> Self::Row;
    /// The constants of a prime.
    ///
    /// # Safety
    /// `prime` must be below the number of primes.
    unsafe fn prime(&self, prime: u32) -> PrimeConstants<W>;
    /// What its transforms need.
    ///
    /// # Safety
    /// As [`Machine::prime`].
    unsafe fn butterflies(&self, prime: u32) -> (ButterflyConstants<W>, Self::Table);

    /// Factor `at` of a table, which are [`n_factors`](crate::abi::launch::n_factors) factors `w` and, behind them,
    /// [`n_powers`](crate::abi::launch::n_powers) powers.
    ///
    /// # Safety
    /// The table must hold it.
    unsafe fn factor(&self, table: Self::Table, at: u32) -> Factor<W>;
    /// Factors `at + plus`, `at + plus + 1` of a table, `at + plus` even. `plus` is a constant.
    ///
    /// # Safety
    /// As [`Machine::factor`] for each.
    unsafe fn factor_pair(&self, table: Self::Table, at: u32, plus: u32) -> [Factor<W>; 2];

    /// Word `at + plus` of a row. Here and below `plus` is a constant, which becomes part of the instruction.
    ///
    /// # Safety
    /// `at + plus < N`; the row valid for reading, and no other thread of the launch writes the word.
    unsafe fn load(&self, row: Self::Row, at: u32, plus: u32) -> W;
    /// Words `at + plus ..` of a row; `at + plus` a multiple of four.
    ///
    /// # Safety
    /// As [`Machine::load`] for each.
    unsafe fn load_quad(&self, row: Self::Row, at: u32, plus: u32) -> Quad<W>;
    /// Writes word `at + plus` of a row.
    ///
    /// # Safety
    /// `at + plus < N`; the row valid for writing, and no other thread of the launch reads or writes the word.
    unsafe fn store(&self, row: Self::Row, at: u32, plus: u32, word: W);
    /// Writes words `at + plus ..` of a row; `at + plus` a multiple of four.
    ///
    /// # Safety
    /// As [`Machine::store`] for each.
    unsafe fn store_quad(&self, row: Self::Row, at: u32, plus: u32, words: Quad<W>);

    /// Writes words `at + plus ..` of a row; `at + plus` even.
    ///
    /// # Safety
    /// As [`Machine::store`] for each.
    unsafe fn store_pair(&self, row: Self::Row, at: u32, plus: u32, words: Pair<W>);

    /// Double `at` of a row.
    ///
    /// # Safety
    /// `at < N / 2`; as [`Machine::load`] for its words.
    unsafe fn load_double(&self, row: Self::Row, at: u32) -> f64;
    /// Writes double `at` of a row.
    ///
    /// # Safety
    /// `at < N / 2`; as [`Machine::store`] for its words.
    unsafe fn store_double(&self, row: Self::Row, at: u32, x: f64);

    /// Begins to copy words `at + plus ..` of a row to words `to ..` of shared memory, `at + plus` and `to` multiples of four. They are
    /// there for this thread after [`Machine::wait_for_fetched`].
    ///
    /// # Safety
    /// As [`Machine::load`] and [`Machine::shared_store`] for each.
    unsafe fn fetch_quad(&self, row: Self::Row, at: u32, plus: u32, to: u32);
    /// Waits for what the thread has begun to copy.
    fn wait_for_fetched(&self);

    /// Word `at + plus` of shared memory.
    ///
    /// # Safety
    /// Inside the contract's; written by this thread, or by another before the last barrier.
    unsafe fn shared_load(&self, at: u32, plus: u32) -> W;
    /// Words `at + plus ..` of shared memory; `at + plus` even.
    ///
    /// # Safety
    /// As [`Machine::shared_load`] for each.
    unsafe fn shared_load_pair(&self, at: u32, plus: u32) -> Pair<W>;
    /// Words `at + plus ..` of shared memory; `at + plus` a multiple of four.
    ///
    /// # Safety
    /// As [`Machine::shared_load`] for each.
    unsafe fn shared_load_quad(&self, at: u32, plus: u32) -> Quad<W>;
    /// Writes word `at + plus` of shared memory.
    ///
    /// # Safety
    /// Inside the contract's; no other thread reads or writes it before the next barrier.
    unsafe fn shared_store(&self, at: u32, plus: u32, word: W);
    /// Writes words `at + plus ..` of shared memory; `at + plus` even.
    ///
    /// # Safety
    /// As [`Machine::shared_store`] for each.
    unsafe fn shared_store_pair(&self, at: u32, plus: u32, words: Pair<W>);
    /// Writes words `at + plus ..` of shared memory; `at + plus` a multiple of four.
    ///
    /// # Safety
    /// As [`Machine::shared_store`] for each.
    unsafe fn shared_store_quad(&self, at: u32, plus: u32, words: Quad<W>);

    /// What a lane keeps from tile to tile of the same targets: nothing, without a matrix unit ([`Tile::held`]).
    ///
    /// # Safety
    /// As [`Machine::tile`]; `G` is the number of groups of sources, or 0.
    #[inline(always)]
    unsafe fn held<const G: usize>(&self, _tile: &Tile) -> [Quad<W>; G] {
        [[W::ZERO; 4]; G]
    }

    /// The lane's results of a tile: `(sum over the sources of digit times matrix word + v minus_big) / R mod q`, canonical. All threads
    /// of a warp call it together, with the same tile.
    ///
    /// # Safety
    /// The digits in shared memory, written before the last barrier, and the matrix in the pool as the ABI says, all below
    /// `2^PRIME_BITS`; `v` at most 64; `held` from [`Machine::held`].
    #[inline(always)]
    unsafe fn tile<const G: usize>(
        &self,
        tile: &Tile,
        _held: &[Quad<W>; G],
        known: &[Known<W>; LANE_TARGETS],
        v: Pair<W>,
    ) -> Residues<W>
    where
        Self: Sized,
    {
        // SAFETY: the caller's promises.
        unsafe { tile::plain(self, tile, known, v) }
    }
}

/// One kernel function.
pub trait ThreadKernel<W: Word> {
    /// The kernel of the ABI.
    const KERNEL: KernelId;
    /// Which of its entries.
    const ENTRY_IDX: u32 = 0;
    /// The ring size it is compiled for; any, if its contract does not depend on it.
    const LOG_N: u32 = GPU_MIN_LOG_N;
    /// Phases of a round, one more than its barriers.
    const PHASES: u32 = 1;
    /// Whether the phases are run in rounds, with a barrier between these too.
    const ROUNDS: bool = false;
    /// Bit `k`: after phase `k` threads exchange words with those of their warp only, so that the barrier is one of the warp.
    const WARP_BARRIERS: u32 = 0;
    /// What a thread keeps from phase to phase.
    type State: Copy;

    /// What it has at first.
    fn start() -> Self::State;

    /// The number of rounds, at least 1, the same for all threads of a block.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`].
    #[inline(always)]
    unsafe fn rounds<M: Machine<W>>(_m: &M) -> u32 {
        1
    }

    /// [`ThreadKernel::phase`] of a round, for a kernel that has rounds or a state.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`].
    #[inline(always)]
    unsafe fn phase_of_round<M: Machine<W>>(m: &M, _state: &mut Self::State, _round: u32, phase: u32) {
        // SAFETY: the caller's promises.
        unsafe { Self::phase(m, phase) };
    }

    /// What a thread does between two barriers, in a kernel of one round and no state.
    ///
    /// # Safety
    /// The launch is what the ABI asks for: the argument's tables as described there, rows bound and canonical, the
    /// grid and shared memory of the contract, the block's item below `n_items`; phases run in order.
    #[inline(always)]
    unsafe fn phase<M: Machine<W>>(_m: &M, _phase: u32) {}
}

/// The contract of a kernel function.
///
/// # Panics
/// In a constant, that is, at compile time: if the ABI has none.
pub const fn contract_of<W: Word, K: ThreadKernel<W>>() -> LaunchContract {
    let Some(contract) = contract(K::KERNEL, K::ENTRY_IDX, K::LOG_N, size_of::<W>() as u32) else {
        unreachable!()
    };
    contract
}

/// (first item, part of the items) of a block.
#[inline(always)]
pub fn item_and_part<W: Word, K: ThreadKernel<W>, M: Machine<W>>(m: &M) -> (u32, u32) {
    let log_words = const { contract_of::<W, K>().words_per_block.trailing_zeros() };
    let log_blocks = m.args().log_n.wrapping_sub(log_words) & 31;
    let block = m.block();
    let items = const { contract_of::<W, K>().items_per_block };
    ((block >> log_blocks) * items, block & ((1 << log_blocks) - 1))
}

/// Whether the block has an item; the same for all its threads, so a block may end here before a barrier.
#[inline(always)]
pub fn has_item<W: Word, K: ThreadKernel<W>, M: Machine<W>>(m: &M) -> bool {
    item_and_part::<W, K, M>(m).0 < m.args().n_items
}

/// Entry `idx` of the table at `at` in the pool. `T` has at most 16 words.
///
/// # Safety
/// The pool must hold it.
#[inline(always)]
unsafe fn entry<W: Word, M: Machine<W>, T: bytemuck::Pod>(m: &M, at: u32, idx: u32) -> T {
    // SAFETY: the caller's promise.
    unsafe { entry_by(at, idx, |first, k| m.pool_word(first, k)) }
}

/// [`entry`], loaded where it stands: for what a kernel with few registers to spare needs once.
///
/// # Safety
/// The pool must hold it.
#[inline(always)]
unsafe fn entry_anew<W: Word, M: Machine<W>, T: bytemuck::Pod>(m: &M, at: u32, idx: u32) -> T {
    // SAFETY: the caller's promise.
    unsafe { entry_by(at, idx, |first, k| m.pool_word_anew(first, k)) }
}

/// An entry of a table by its words.
///
/// # Safety
/// `word` must give them.
#[inline(always)]
unsafe fn entry_by<T: bytemuck::Pod>(at: u32, idx: u32, word: impl Fn(u32, u32) -> u64) -> T {
    let words = const { (size_of::<T>() / 8) as u32 };
    let first = at.wrapping_add(idx.wrapping_mul(words));
    let mut out = MaybeUninit::<T>::uninit();
    unrolled!(size_of::<T>() / 8, k, {
        // SAFETY: the caller's promise; word k lies in `out`, and T is any bits.
        unsafe { out.as_mut_ptr().cast::<u64>().add(k).write_unaligned(word(first, k as u32)) };
    });
    // SAFETY: every word is written.
    unsafe { out.assume_init() }
}

/// The constants of a prime for a thread.
#[inline(always)]
fn reducer<W: Word>(c: &PrimeConstants<W>) -> Reducer<W, Scalar<W>> {
    // SAFETY: one word needs no instruction set.
    unsafe { Reducer::new(c) }
}

/// Every kernel function: `$with! { name: type, ... }`. The names are those of the contracts.
#[cfg(any(test, feature = "emulator", target_arch = "nvptx64"))]
macro_rules! every_kernel {
    ($with:ident) => {
        $with! {
            add: pointwise::Elementwise<{ KernelId::Add as u32 }>,
            sub: pointwise::Elementwise<{ KernelId::Sub as u32 }>,
            neg: pointwise::Elementwise<{ KernelId::Neg as u32 }>,
            mul_scalar: pointwise::Elementwise<{ KernelId::MulScalar as u32 }>,
            add_scalar: pointwise::Elementwise<{ KernelId::AddScalar as u32 }>,
            sub_mul_scalar: pointwise::SubMulScalar,
            mul_scalar_add: pointwise::Elementwise<{ KernelId::MulScalarAdd as u32 }>,
            inner_product: inner_product::InnerProduct,
            convert_basis: convert_basis::ConvertBasis,
            automorphism_eval: pointwise::AutomorphismEval,
            automorphism_coeff: pointwise::AutomorphismCoeff,
            embed_inverse_first: encode::EmbedInverse<0>,
            embed_inverse_second: encode::EmbedInverse<1>,
            embed_inverse_third: encode::EmbedInverse<2>,
            embed_inverse_last: encode::EmbedInverse<3>,
            round_residues: encode::RoundResidues,
            convert_basis_columns_12: convert_basis::ConvertBasisColumns<12>,
            convert_basis_columns_13: convert_basis::ConvertBasisColumns<13>,
            convert_basis_columns_14: convert_basis::ConvertBasisColumns<14>,
            convert_basis_columns_15: convert_basis::ConvertBasisColumns<15>,
            convert_basis_columns_16: convert_basis::ConvertBasisColumns<16>,
            convert_basis_columns_17: convert_basis::ConvertBasisColumns<17>,
            ntt_columns_12: ntt::Columns<12, false>,
            intt_columns_12: ntt::Columns<12, true>,
            ntt_columns_13: ntt::Columns<13, false>,
            intt_columns_13: ntt::Columns<13, true>,
            ntt_columns_14: ntt::Columns<14, false>,
            intt_columns_14: ntt::Columns<14, true>,
            ntt_columns_15: ntt::Columns<15, false>,
            intt_columns_15: ntt::Columns<15, true>,
            ntt_columns_16: ntt::Columns<16, false>,
            intt_columns_16: ntt::Columns<16, true>,
            ntt_columns_17: ntt::Columns<17, false>,
            intt_columns_17: ntt::Columns<17, true>,
            ntt_rows: ntt::Rows<false>,
            intt_rows: ntt::Rows<true>,
            ntt_rows_sub_mul_scalar: ntt::RowsSubMulScalar,
            ntt_rows_inner_product: ntt::RowsInnerProduct,
        }
    };
}
#[cfg(any(test, feature = "emulator", target_arch = "nvptx64"))]
pub(crate) use every_kernel;

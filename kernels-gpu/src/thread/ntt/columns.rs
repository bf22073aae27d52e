//! The columns of a transform: `C = N / 4096` words a column, a thread a column at a time.

use super::factors::Loaded;
use crate::abi::launch::{
    LOG_LINE_WORDS, NTT_THREADS, column_thread_words, is_column_entry, log_column_words,
};
use crate::abi::{KernelId, RowItem};
use crate::body::ntt::unrolled;
use crate::body::shoup::{ButterflyConstants, End, Factor, forward_step, inverse_last_stage, inverse_step};
use crate::lanes::Word;
use crate::thread::{Machine, ThreadKernel, entry, item_and_part};

/// A column through its stages, canonical words to words in `[0, 4q)`.
///
/// # Safety
/// `table` of the prime of `c`.
#[inline(always)]
pub(in crate::thread) unsafe fn forward_column<W: Word, M: Machine<W>, const C: usize>(
    m: &M,
    table: M::Table,
    x: &mut [W; C],
    c: &ButterflyConstants<W>,
) {
    // SAFETY: the table begins with the factors of columns.
    let factors = unsafe { Loaded::new(m, table, 1) };
    forward_step(x, [End::Canonical, End::Lazy], &factors, c);
}

/// A column through its inverse stages, words in `[0, 2q)` to canonical ones; `last` as [`inverse_last_stage`] has them.
///
/// # Safety
/// `table` of the prime of `c`.
#[inline(always)]
pub(in crate::thread) unsafe fn inverse_column<W: Word, M: Machine<W>, const C: usize>(
    m: &M,
    table: M::Table,
    x: &mut [W; C],
    last: [Factor<W>; 2],
    c: &ButterflyConstants<W>,
) {
    // SAFETY: as above; the mirror of block 1 is itself.
    let factors = unsafe { Loaded::new(m, table, 1) };
    inverse_step(x, 1..C.trailing_zeros(), &factors, c);
    inverse_last_stage(x, last, c);
}

/// The columns of one direction. They are the first entry of the NTT and the last of its inverse.
#[derive(Debug)]
pub struct Columns<const LOG_N: u32, const INVERSE: bool>;

impl<const LOG_N: u32, const INVERSE: bool> Columns<LOG_N, INVERSE> {
    const LOG_C: u32 = log_column_words(LOG_N);
    /// Columns of a thread.
    const COLUMNS: u32 = column_thread_words(LOG_N) >> Self::LOG_C;

    const fn kernel() -> KernelId {
        if INVERSE { KernelId::Intt } else { KernelId::Ntt }
    }

    /// [`ThreadKernel::phase`] with columns of `C` words.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`].
    #[inline(always)]
    unsafe fn run<W: Word, M: Machine<W>, const C: usize>(m: &M) {
        // SAFETY: the caller's promises; a word of a column is in the row.
        unsafe {
            let (idx, part) = item_and_part::<W, Self, M>(m);
            let item: RowItem = entry(m, m.args().items_at, idx);
            let (c, table) = m.butterflies(item.prime);
            let first = part * (Self::COLUMNS * NTT_THREADS) + m.thread();
            let in_row = |g: usize, k: usize| g as u32 * NTT_THREADS + ((k as u32) << LOG_LINE_WORDS);
            let (from, to) = (m.row(if INVERSE { item.dst } else { item.a }), m.row(item.dst));
            let mut x = [[W::ZERO; C]; 16];
            m.wait_for_rows();
            unrolled!(16, g, {
                if (g as u32) < Self::COLUMNS {
                    unrolled!(long C, k, {
                        x[g][k] = m.load(from, first, in_row(g, k));
                    });
                }
            });
            unrolled!(16, g, {
                if (g as u32) < Self::COLUMNS {
                    if INVERSE {
                        inverse_column(m, table, &mut x[g], [c.n_inv, c.n_inv_w1], &c);
                    } else {
                        forward_column(m, table, &mut x[g], &c);
                    }
                    unrolled!(long C, k, {
                        m.store(to, first, in_row(g, k), x[g][k]);
                    });
                }
            });
        }
    }
}

impl<W: Word, const LOG_N: u32, const INVERSE: bool> ThreadKernel<W> for Columns<LOG_N, INVERSE> {
    const KERNEL: KernelId = Self::kernel();
    const ENTRY_IDX: u32 = if is_column_entry(Self::kernel(), 0) { 0 } else { 1 };
    const LOG_N: u32 = LOG_N;
    type State = ();

    #[inline(always)]
    fn start() {}

    #[inline(always)]
    unsafe fn phase<M: Machine<W>>(m: &M, _phase: u32) {
        // SAFETY: the caller's promises.
        unsafe {
            match Self::LOG_C {
                0 => Self::run::<W, M, 1>(m),
                1 => Self::run::<W, M, 2>(m),
                2 => Self::run::<W, M, 4>(m),
                3 => Self::run::<W, M, 8>(m),
                4 => Self::run::<W, M, 16>(m),
                _ => Self::run::<W, M, 32>(m),
            }
        }
    }
}

//! The columns of a transform: `C = N / 4096` words a column, a thread a column at a time.

use super::factors::Loaded;
use crate::abi::launch::{
    LOG_LINE_WORDS, NTT_THREADS, column_thread_words, is_column_entry, log_column_words,
};
use crate::abi::{KernelId, RowItem};
use crate::body::ntt::unrolled;
use crate::body::shoup::{ButterflyConstants, End, forward_step, inverse_last_stage, inverse_step};
use crate::lanes::Word;
use crate::thread::{Machine, ThreadKernel, entry, item_and_part};

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

    /// The step on a column.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`].
    #[inline(always)]
    unsafe fn step<W: Word, M: Machine<W>, const C: usize>(
        m: &M,
        table: M::Table,
        x: &mut [W; C],
        c: &ButterflyConstants<W>,
    ) {
        // SAFETY: the table begins with the factors of columns; the mirror of block 1 is itself.
        unsafe {
            if INVERSE {
                let factors = Loaded::<W, M, true>::new(m, table, 1);
                inverse_step(x, Self::LOG_C, 1..Self::LOG_C, &factors, c);
                inverse_last_stage(x, c);
            } else {
                let factors = Loaded::<W, M, false>::new(m, table, 1);
                forward_step(x, Self::LOG_C, [End::Canonical, End::Lazy], &factors, c);
            }
        }
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
                    Self::step(m, table, &mut x[g], &c);
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

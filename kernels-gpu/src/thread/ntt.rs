//! The NTT on a GPU: `N = N1 N2`, one entry for the columns, one for the rows.
//!
//! ```text
//! forward:  columns (log N1 stages, words N2 apart), then rows (log N2 stages, adjacent words)
//! inverse:  rows, then columns
//! ```
//!
//! A thread holds `T` words: 16, or 32 in lines of 512, which are columns of the largest ring. A line of `len = T R` words is a
//! *wide* step, radix `T` on words `len / T` apart, an exchange through shared memory, and a *narrow* one, radix `R` on each of
//! the `T / R` sub-blocks of `T` adjacent words; backwards in the inverse. `R` in 4 ..= 16. 16 lines a block, so that in a column entry
//! 16 threads touch adjacent words. A row entry has a third phase, which moves words between shared memory and the row sixteen bytes a
//! thread so that four threads touch 64 adjacent bytes: the 16 words of a narrow step are 64 bytes apart from thread to thread, and
//! half-used sectors took the L2 of an H200 to 82 % of its rate. Between the entries words are lazy: `[0, 4q)` forward, `[0, 2q)`
//! inverse. So they are between any two stages, whatever the radix: a word of 32 bits holds `4q` for the ABI's `q < 2^30`, one of 64
//! for `q < 2^60`.

mod factors;
mod inner_product;
mod sub_mul_scalar;

pub use inner_product::RowsInnerProduct;
pub use sub_mul_scalar::RowsSubMulScalar;

use super::{Machine, Quad, ThreadKernel, entry, item_and_part};
use crate::abi::launch::{
    NTT_LINES, is_column_entry, log_column_words, log_ntt_thread_words, log_row_words, row_stride,
};
use crate::abi::{KernelId, RowItem, RowRef};
use crate::body::ntt::unrolled;
use crate::body::shoup::{
    ButterflyConstants, End, StepFactors, forward_step, inverse_last_stage, inverse_step,
};
use crate::lanes::Word;
use factors::{Loaded, Powers};

/// What a thread holds.
type Words<W, const T: usize> = [W; T];

/// One entry of one direction.
#[derive(Debug)]
pub struct Lines<const LOG_N: u32, const COLUMNS: bool, const INVERSE: bool>;

#[inline(always)]
fn set_quad<W: Word, const T: usize>(x: &mut Words<W, T>, quad: usize, from: Quad<W>) {
    unrolled!(4, k, {
        x[4 * quad + k] = from[k];
    });
}

#[inline(always)]
fn get_quad<W: Word, const T: usize>(x: &Words<W, T>, quad: usize) -> Quad<W> {
    [x[4 * quad], x[4 * quad + 1], x[4 * quad + 2], x[4 * quad + 3]]
}

/// Asks for the four quads that a thread moves of a row, the first of them at word `at`; quad `k` comes to word `to(k)` of shared memory.
///
/// # Safety
/// As [`ThreadKernel::phase`]: quads of the block's lines, and words of shared memory that are the thread's own.
#[inline(always)]
unsafe fn fetch_moved<W: Word, M: Machine<W>>(m: &M, row: RowRef, at: u32, to: impl Fn(usize) -> u32) {
    // SAFETY: the caller's promises.
    unsafe {
        let row = m.row(row);
        unrolled!(4, k, {
            m.fetch_quad(row, at, 16 * k as u32, to(k));
        });
    }
}

/// A thread's share of the work.
struct Share<'a, W: Word, M: Machine<W>> {
    m: &'a M,
    c: ButterflyConstants<W>,
    table: M::Table,
    /// Line in the row, and in the block.
    line: u32,
    in_block: u32,
    /// Which of the line's `len / T` threads.
    position: u32,
}

impl<const LOG_N: u32, const COLUMNS: bool, const INVERSE: bool> Lines<LOG_N, COLUMNS, INVERSE> {
    const LOG_LEN: u32 = { if COLUMNS { log_column_words(LOG_N) } else { log_row_words(LOG_N) } };
    /// `T`.
    const LOG_WORDS: u32 = log_ntt_thread_words(Self::LOG_LEN);
    /// Threads of a line, which is also the distance of the words of a wide step, and `R`.
    const LOG_PER_LINE: u32 = Self::LOG_LEN - Self::LOG_WORDS;
    /// `log2` of the blocks of the transform that the lines are.
    const LOG_M: u32 = if COLUMNS { 0 } else { LOG_N - Self::LOG_LEN };

    /// A thread's share of part `part` of a row of prime `prime`.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`].
    #[inline(always)]
    unsafe fn share<W: Word, M: Machine<W>>(m: &M, part: u32, prime: u32) -> Share<'_, W, M> {
        let thread = m.thread();
        let (in_block, position) = if COLUMNS {
            (thread % NTT_LINES, thread / NTT_LINES)
        } else {
            (thread >> Self::LOG_PER_LINE, thread & ((1 << Self::LOG_PER_LINE) - 1))
        };
        // SAFETY: the caller's promises.
        unsafe {
            let (c, table) = m.butterflies(prime);
            Share { m, c, table, line: part * NTT_LINES + in_block, in_block, position }
        }
    }

    /// Distance in the line from a thread's word 0 to its word `k`, in the wide or narrow step.
    const fn apart(wide: bool, k: usize) -> u32 {
        if wide { (k as u32) << Self::LOG_PER_LINE } else { k as u32 }
    }

    /// Distance in the row of words of a line that are `at` apart.
    const fn row_offset(at: u32) -> u32 {
        if COLUMNS { at << (LOG_N - Self::LOG_LEN) } else { at }
    }

    /// Distance in shared memory from the first word of a line to word `at`. It is additive over a thread's word 0 and
    /// [`Self::apart`], because their sum carries nothing past 16. Columns: lines adjacent, one padding row of 16 words
    /// after `T`, so that the two half warps of a narrow access meet different banks. Rows: see [`row_stride`].
    const fn shared_offset(at: u32) -> u32 {
        if COLUMNS { at * NTT_LINES + (at >> Self::LOG_WORDS) * 16 } else { at + (at / 16) * 4 }
    }

    /// Where a thread's word 0 lies in the row.
    #[inline(always)]
    fn in_row<W: Word, M: Machine<W>>(s: &Share<'_, W, M>, wide: bool) -> u32 {
        let line = if COLUMNS { s.line } else { s.line << Self::LOG_LEN };
        line + Self::row_offset(if wide { s.position } else { s.position << Self::LOG_WORDS })
    }

    /// Where a thread's quad 0 lies in the row and in shared memory when words are moved; quad `k` is `16 k` words of the line further in
    /// both. Four threads move 64 adjacent bytes.
    #[inline(always)]
    fn moved<W: Word, M: Machine<W>>(s: &Share<'_, W, M>) -> (u32, u32) {
        let at = (s.position / 4) * 64 + (s.position % 4) * 4;
        let in_shared = s.in_block * const { row_stride(Self::LOG_LEN) } + Self::shared_offset(at);
        ((s.line << Self::LOG_LEN) + at, in_shared)
    }

    /// Row to shared memory, as it lies there.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`]; a row entry.
    #[inline(always)]
    unsafe fn move_in<W: Word, M: Machine<W>>(s: &Share<'_, W, M>, row: RowRef) {
        let (from, to) = Self::moved(s);
        // SAFETY: the caller's promises; quads of the line.
        unsafe {
            let row = s.m.row(row);
            s.m.wait_for_rows();
            unrolled!(4, k, {
                let quad = s.m.load_quad(row, from, 16 * k as u32);
                s.m.shared_store_quad(to, Self::shared_offset(16 * k as u32), quad);
            });
        }
    }

    /// Shared memory to the row, as it lies there.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`]; a row entry.
    #[inline(always)]
    unsafe fn move_out<W: Word, M: Machine<W>>(s: &Share<'_, W, M>, row: RowRef) {
        let (to, from) = Self::moved(s);
        // SAFETY: as for `move_in`.
        unsafe {
            let row = s.m.row(row);
            unrolled!(4, k, {
                let quad = s.m.shared_load_quad(from, Self::shared_offset(16 * k as u32));
                s.m.store_quad(row, to, 16 * k as u32, quad);
            });
        }
    }

    /// Where a thread's word 0 lies in shared memory.
    #[inline(always)]
    fn in_shared<W: Word, M: Machine<W>>(s: &Share<'_, W, M>, wide: bool) -> u32 {
        let line = if COLUMNS { s.in_block } else { s.in_block * const { row_stride(Self::LOG_LEN) } };
        line + Self::shared_offset(if wide { s.position } else { s.position << Self::LOG_WORDS })
    }

    /// Reads the words of the first step from a row; of inverse rows `move_in` does.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`]; rows waited for.
    #[inline(always)]
    unsafe fn load<W: Word, M: Machine<W>, const T: usize>(s: &Share<'_, W, M>, row: M::Row) -> Words<W, T> {
        let at = Self::in_row(s, !INVERSE);
        let mut x = [W::ZERO; T];
        // SAFETY: the caller's promises; words of a line are in the row.
        unsafe {
            unrolled!(long T, k, {
                x[k] = s.m.load(row, at, Self::row_offset(Self::apart(!INVERSE, k)));
            });
        }
        x
    }

    /// Writes the words of the last step to a row; of forward rows `move_out` does.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`].
    #[inline(always)]
    unsafe fn store<W: Word, M: Machine<W>, const T: usize>(
        s: &Share<'_, W, M>,
        row: RowRef,
        x: &Words<W, T>,
    ) {
        let at = Self::in_row(s, INVERSE);
        // SAFETY: as for `load`.
        unsafe {
            let row = s.m.row(row);
            unrolled!(long T, k, {
                s.m.store(row, at, Self::row_offset(Self::apart(INVERSE, k)), x[k]);
            });
        }
    }

    /// Shared memory to registers.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`].
    #[inline(always)]
    unsafe fn load_shared<W: Word, M: Machine<W>, const T: usize>(
        s: &Share<'_, W, M>,
        wide: bool,
    ) -> Words<W, T> {
        // SAFETY: the caller's promises.
        unsafe { Self::load_shared_at(s, 0, wide) }
    }

    /// [`Self::load_shared`] of lines that start at word `from`.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`].
    #[inline(always)]
    unsafe fn load_shared_at<W: Word, M: Machine<W>, const T: usize>(
        s: &Share<'_, W, M>,
        from: u32,
        wide: bool,
    ) -> Words<W, T> {
        let at = from + Self::in_shared(s, wide);
        let mut x = [W::ZERO; T];
        // SAFETY: the caller's promises. Narrow words of a row are adjacent, padding goes by multiples of four.
        unsafe {
            if wide || COLUMNS {
                unrolled!(long T, k, {
                    x[k] = s.m.shared_load(at, Self::shared_offset(Self::apart(wide, k)));
                });
            } else {
                unrolled!(T / 4, quad, {
                    set_quad(&mut x, quad, s.m.shared_load_quad(at, 4 * quad as u32));
                });
            }
        }
        x
    }

    /// Registers to shared memory.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`].
    #[inline(always)]
    unsafe fn store_shared<W: Word, M: Machine<W>, const T: usize>(
        s: &Share<'_, W, M>,
        wide: bool,
        x: &Words<W, T>,
    ) {
        let at = Self::in_shared(s, wide);
        // SAFETY: as for `load_shared`.
        unsafe {
            if wide || COLUMNS {
                unrolled!(long T, k, {
                    s.m.shared_store(at, Self::shared_offset(Self::apart(wide, k)), x[k]);
                });
            } else {
                unrolled!(T / 4, quad, {
                    s.m.shared_store_quad(at, 4 * quad as u32, get_quad(x, quad));
                });
            }
        }
    }

    /// The radix-`T` step on words `len / T` apart.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`].
    #[inline(always)]
    unsafe fn wide_step<W: Word, M: Machine<W>, const T: usize>(s: &Share<'_, W, M>, x: &mut Words<W, T>) {
        let base = if COLUMNS { 1 } else { (1 << Self::LOG_M) + s.line };
        let log_r = Self::LOG_WORDS;
        // SAFETY: (base + 1) T / 2 <= N, a column's and a row's factors at the start of the table; the mirror of block base likewise.
        unsafe {
            if INVERSE {
                let factors = Loaded::<W, M, 1, true>::new(s.m, s.table, (3 << Self::LOG_M) - 1 - base);
                if COLUMNS {
                    inverse_step(x, log_r, 1..log_r, &factors, &s.c);
                    inverse_last_stage(x, &s.c);
                } else {
                    inverse_step(x, log_r, 0..log_r, &factors, &s.c);
                }
            } else {
                // What a transform reads is canonical; between its entries words are lazy.
                let from = if COLUMNS { End::Canonical } else { End::Lazy };
                let factors = Loaded::<W, M, 1, false>::new(s.m, s.table, base);
                forward_step(x, log_r, [from, End::Lazy], &factors, &s.c);
            }
        }
    }

    /// The radix-`len / T` step on adjacent words.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`].
    #[inline(always)]
    unsafe fn narrow_step<W: Word, M: Machine<W>, const T: usize>(s: &Share<'_, W, M>, x: &mut Words<W, T>) {
        let line = if COLUMNS { 0 } else { s.line };
        let log_m = Self::LOG_M + Self::LOG_WORDS;
        // Of the sub-blocks `C = T / R` are the thread's.
        let log_c = Self::LOG_WORDS - Self::LOG_PER_LINE;
        let base = (1 << log_m) + (line << Self::LOG_WORDS) + (s.position << log_c);
        let first = if INVERSE { (3 << log_m) - (1 << log_c) - base } else { base };
        // SAFETY: the caller's promises. (first + C) R / 2 <= N; first is a multiple of C. In a row 2^log_m is N / R.
        unsafe {
            match (COLUMNS, log_c) {
                (true, 0) => Self::narrow_of_column::<W, M, T, 1>(s, x, first),
                (true, 1) => Self::narrow_of_column::<W, M, T, 2>(s, x, first),
                (true, _) => Self::narrow_of_column::<W, M, T, 4>(s, x, first),
                (false, _) => Self::narrow_of_row(s, x, first - (1 << log_m)),
            }
        }
    }

    /// [`Self::narrow_step`] with the factors of the `C` sub-blocks from `first`.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`].
    #[inline(always)]
    unsafe fn narrow_of_column<W: Word, M: Machine<W>, const T: usize, const C: usize>(
        s: &Share<'_, W, M>,
        x: &mut Words<W, T>,
        first: u32,
    ) {
        // SAFETY: the caller's promises.
        unsafe {
            if INVERSE {
                Self::narrow(s, x, &Loaded::<W, M, C, true>::new(s.m, s.table, first));
            } else {
                Self::narrow(s, x, &Loaded::<W, M, C, false>::new(s.m, s.table, first));
            }
        }
    }

    /// [`Self::narrow_step`] with the factors of the sub-blocks from `N / R + block`.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`].
    #[inline(always)]
    unsafe fn narrow_of_row<W: Word, M: Machine<W>, const T: usize>(
        s: &Share<'_, W, M>,
        x: &mut Words<W, T>,
        block: u32,
    ) {
        // SAFETY: the caller's promises.
        unsafe {
            if INVERSE {
                Self::narrow(s, x, &Powers::<W, M, LOG_N, true>::new(s.m, s.table, block));
            } else {
                Self::narrow(s, x, &Powers::<W, M, LOG_N, false>::new(s.m, s.table, block));
            }
        }
    }

    /// [`Self::narrow_step`] with these factors. Forward rows end here, in residues.
    #[inline(always)]
    fn narrow<W: Word, M: Machine<W>, const T: usize>(
        s: &Share<'_, W, M>,
        x: &mut Words<W, T>,
        factors: &impl StepFactors<W>,
    ) {
        let log_r = Self::LOG_PER_LINE;
        if INVERSE {
            inverse_step(x, log_r, 0..log_r, factors, &s.c);
        } else {
            let to = if COLUMNS { End::Lazy } else { End::Canonical };
            forward_step(x, log_r, [End::Lazy, to], factors, &s.c);
        }
    }

    /// [`ThreadKernel::phase`] of a thread that holds `T = 2^LOG_WORDS` words.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`].
    #[inline(always)]
    unsafe fn run<W: Word, M: Machine<W>, const T: usize>(m: &M, phase: u32) {
        // SAFETY: the caller's promises. What a narrow step of a row reads and writes is the thread's own.
        unsafe {
            let (idx, part) = item_and_part::<W, Self, M>(m);
            let item: RowItem = entry(m, m.args().items_at, idx);
            let s = Self::share::<W, M>(m, part, item.prime);
            if !COLUMNS && INVERSE && phase == 0 {
                return Self::move_in(&s, item.a);
            }
            if !COLUMNS && !INVERSE && phase == 2 {
                return Self::move_out(&s, item.dst);
            }
            let step = if !COLUMNS && INVERSE { phase - 1 } else { phase };
            let wide = (step == 0) != INVERSE;
            let mut x: Words<W, T> = if phase == 0 {
                // The first entry reads the operand, the second what the first has written.
                let first = is_column_entry(Self::kernel(), 0) == COLUMNS;
                let row = m.row(if first { item.a } else { item.dst });
                m.wait_for_rows();
                Self::load(&s, row)
            } else {
                Self::load_shared(&s, wide)
            };
            if wide {
                Self::wide_step(&s, &mut x);
            } else {
                Self::narrow_step(&s, &mut x);
            }
            if phase + 1 < <Self as ThreadKernel<W>>::PHASES {
                Self::store_shared(&s, wide, &x);
            } else {
                Self::store(&s, item.dst, &x);
            }
        }
    }

    const fn kernel() -> KernelId {
        if INVERSE { KernelId::Intt } else { KernelId::Ntt }
    }
}

impl<W: Word, const LOG_N: u32, const COLUMNS: bool, const INVERSE: bool> ThreadKernel<W>
    for Lines<LOG_N, COLUMNS, INVERSE>
{
    const KERNEL: KernelId = Self::kernel();
    type State = ();
    const ENTRY_IDX: u32 = if is_column_entry(Self::kernel(), 0) == COLUMNS { 0 } else { 1 };
    const LOG_N: u32 = LOG_N;
    const PHASES: u32 = if COLUMNS { 2 } else { 3 };
    // A row has at most 16 threads.
    const IN_WARPS: bool = !COLUMNS;

    #[inline(always)]
    fn start() {}

    #[inline(always)]
    unsafe fn phase<M: Machine<W>>(m: &M, phase: u32) {
        // SAFETY: the caller's promises.
        unsafe {
            if Self::LOG_WORDS == 4 {
                Self::run::<W, M, 16>(m, phase);
            } else {
                Self::run::<W, M, 32>(m, phase);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::launch::ntt_shared_words;

    /// Words of shared memory that go through the banks at a time.
    const BANKS: u32 = 32;

    /// The accesses of the column entries to shared memory: inside it, and each word of a warp in a bank of its own.
    fn columns_meet_no_bank_twice<const LOG_N: u32>() {
        type Columns<const LOG_N: u32> = Lines<LOG_N, true, false>;
        let log_words = Columns::<LOG_N>::LOG_WORDS;
        let per_line = 1 << Columns::<LOG_N>::LOG_PER_LINE;
        for (wide, k) in
            [true, false].into_iter().flat_map(|wide| (0..1 << log_words).map(move |k| (wide, k)))
        {
            for first in (0..per_line).step_by((BANKS / NTT_LINES) as usize) {
                let mut banks = 0u32;
                for thread in 0..BANKS {
                    let position = first + thread / NTT_LINES;
                    let (at, plus) = (
                        if wide { position } else { position << log_words },
                        Columns::<LOG_N>::apart(wide, k),
                    );
                    let offset = Columns::<LOG_N>::shared_offset;
                    assert_eq!(offset(at) + offset(plus), offset(at + plus), "2^{LOG_N}: {at} + {plus}");
                    let word = thread % NTT_LINES + offset(at + plus);
                    assert!(word < ntt_shared_words(Columns::<LOG_N>::LOG_LEN, true));
                    banks |= 1 << (word % BANKS);
                }
                assert_eq!(
                    banks,
                    u32::MAX,
                    "2^{LOG_N}: wide {wide}, word {k} of threads {first} on of a line"
                );
            }
        }
    }

    #[test]
    fn no_bank_is_met_twice() {
        columns_meet_no_bank_twice::<12>();
        columns_meet_no_bank_twice::<13>();
        columns_meet_no_bank_twice::<14>();
        columns_meet_no_bank_twice::<15>();
        columns_meet_no_bank_twice::<16>();
        columns_meet_no_bank_twice::<17>();
    }
}

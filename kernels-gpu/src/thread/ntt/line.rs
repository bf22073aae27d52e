//! A line of 4096 adjacent words of a row, which a block works on: where words lie, and the three steps.
//!
//! Word `256 j + 16 r + i` is word `i` of row `r` of part `j`. In a step a thread holds 16 words that are 256, 16 or 1 apart:
//!
//! ```text
//! outer   thread t: word t of each part                        base B = M + line
//! middle  thread 16 j + i: word i of each row of part j        base 16 B + j
//! inner   thread 16 j + r: row r of part j                     base 256 B + 16 j + r
//! ```
//!
//! where `M` is the number of lines and base is the block of the transform that the step begins in ([`crate::body::ntt`]). What the
//! middle and inner steps exchange stays in a part, so in a warp.
//!
//! **Shared memory.** Part `j` begins at word `272 j`, so that the two parts of a warp are 16 banks apart. Quad `k` of row `r` lies where
//! quad `k ^ (r / 2 % 4)` would: then eight threads that read a quad each of eight rows, four words each of 32 banks, meet no bank twice, and
//! neither do 16 threads that read a row.

#[cfg(test)]
mod banks;

use super::factors::{Loaded, Powers};
use crate::abi::RowRef;
use crate::abi::launch::{GPU_MIN_LOG_N, LOG_LINE_WORDS, PART_STRIDE};
use crate::body::ntt::unrolled;
use crate::body::shoup::{ButterflyConstants, End, forward_step, inverse_step};
use crate::lanes::Word;
use crate::thread::{Machine, Quad};

/// What a thread holds.
pub(super) type Words<W> = [W; 16];

/// Words of a part.
const PART: u32 = 256;

/// A thread's share of a line.
pub(super) struct Line<'a, W: Word, M: Machine<W>> {
    pub(super) m: &'a M,
    c: ButterflyConstants<W>,
    table: M::Table,
    /// Which line of the row.
    line: u32,
}

impl<'a, W: Word, M: Machine<W>> Line<'a, W, M> {
    /// Line `line` of a row of prime `prime`.
    ///
    /// # Safety
    /// As [`crate::thread::ThreadKernel::phase`], here and for the methods.
    #[inline(always)]
    pub(super) unsafe fn new(m: &'a M, line: u32, prime: u32) -> Self {
        // SAFETY: the caller's promise.
        let (c, table) = unsafe { m.butterflies(prime) };
        Self { m, c, table, line }
    }

    /// Lines of a row, `M`.
    #[inline(always)]
    fn lines(&self) -> u32 {
        1 << (self.m.args().log_n.wrapping_sub(GPU_MIN_LOG_N) & 31)
    }

    /// The block of the transform that the line is, or its mirror image.
    #[inline(always)]
    fn base(&self, mirror: bool) -> u32 {
        let lines = self.lines();
        if mirror { 2 * lines - 1 - self.line } else { lines + self.line }
    }

    /// The thread's part and its index there.
    #[inline(always)]
    fn place(&self) -> (u32, u32) {
        (self.m.thread() / 16, self.m.thread() % 16)
    }

    /// Where word 0 of the line lies in its row.
    #[inline(always)]
    fn first(&self) -> u32 {
        self.line << LOG_LINE_WORDS
    }

    /// The thread's first word of the outer step, in the row; the others are 256 apart.
    #[inline(always)]
    fn outer(&self) -> u32 {
        self.first() + self.m.thread()
    }

    /// The first of the four quads of a row that a thread moves, 64 words apart. Sixteen threads move 256 adjacent bytes.
    #[inline(always)]
    pub(super) fn moved(&self) -> u32 {
        let (part, i) = self.place();
        self.first() + part * PART + 4 * i
    }

    /// Where quad `quad` of row `row` of part `part` lies in shared memory.
    #[inline(always)]
    fn quad_in_shared(part: u32, row: u32, quad: u32) -> u32 {
        part * PART_STRIDE + 16 * row + 4 * (quad ^ (row / 2 % 4))
    }

    /// Where quad `k` of those that the thread moves lies in shared memory.
    #[inline(always)]
    pub(super) fn moved_in_shared(&self, k: usize) -> u32 {
        let (part, i) = self.place();
        Self::quad_in_shared(part, i / 4 + 4 * k as u32, i % 4)
    }

    /// The words of the outer step from a row.
    ///
    /// # Safety
    /// Rows waited for.
    #[inline(always)]
    pub(super) unsafe fn load_outer(&self, row: M::Row) -> Words<W> {
        let (at, mut x) = (self.outer(), [W::ZERO; 16]);
        unrolled!(16, k, {
            // SAFETY: the caller's promises; words of the line.
            x[k] = unsafe { self.m.load(row, at, k as u32 * PART) };
        });
        x
    }

    /// The words of the outer step to a row.
    ///
    /// # Safety
    /// As [`Self::load_outer`].
    #[inline(always)]
    unsafe fn store_outer(&self, row: M::Row, x: &Words<W>) {
        let at = self.outer();
        unrolled!(16, k, {
            // SAFETY: the caller's promises; words of the line.
            unsafe { self.m.store(row, at, k as u32 * PART, x[k]) };
        });
    }

    /// Where word 0 of the outer step lies in shared memory; the others are [`PART_STRIDE`] apart.
    #[inline(always)]
    fn outer_in_shared(&self) -> u32 {
        let (row, i) = (self.m.thread() / 16, self.m.thread() % 16);
        Self::quad_in_shared(0, row, i / 4) + i % 4
    }

    /// The words of the outer step from shared memory.
    ///
    /// # Safety
    /// They are there.
    #[inline(always)]
    unsafe fn shared_outer(&self) -> Words<W> {
        let (at, mut x) = (self.outer_in_shared(), [W::ZERO; 16]);
        unrolled!(16, k, {
            // SAFETY: the caller's promise.
            x[k] = unsafe { self.m.shared_load(at, k as u32 * PART_STRIDE) };
        });
        x
    }

    /// The words of the outer step to shared memory.
    ///
    /// # Safety
    /// Nobody reads what was there.
    #[inline(always)]
    unsafe fn share_outer(&self, x: &Words<W>) {
        let at = self.outer_in_shared();
        unrolled!(16, k, {
            // SAFETY: the caller's promise.
            unsafe { self.m.shared_store(at, k as u32 * PART_STRIDE, x[k]) };
        });
    }

    /// Where the words of the middle step lie in shared memory, for rows `r` with `r / 2 % 4 = 0 ..= 3`; row `r` is `16 r` words further.
    #[inline(always)]
    fn middle_in_shared(&self) -> [u32; 4] {
        let (part, i) = self.place();
        [0, 1, 2, 3].map(|s| part * PART_STRIDE + 4 * ((i / 4) ^ s) + i % 4)
    }

    /// The words of the middle step from shared memory.
    ///
    /// # Safety
    /// They are there.
    #[inline(always)]
    unsafe fn shared_middle(&self) -> Words<W> {
        let (at, mut x) = (self.middle_in_shared(), [W::ZERO; 16]);
        unrolled!(16, r, {
            // SAFETY: the caller's promise.
            x[r] = unsafe { self.m.shared_load(at[r / 2 % 4], 16 * r as u32) };
        });
        x
    }

    /// The words of the middle step to shared memory.
    ///
    /// # Safety
    /// They were read.
    #[inline(always)]
    unsafe fn share_middle(&self, x: &Words<W>) {
        let at = self.middle_in_shared();
        unrolled!(16, r, {
            // SAFETY: the caller's promise.
            unsafe { self.m.shared_store(at[r / 2 % 4], 16 * r as u32, x[r]) };
        });
    }

    /// Where the quads of the inner step lie in shared memory.
    #[inline(always)]
    fn inner_in_shared(&self) -> [u32; 4] {
        let (part, row) = self.place();
        [0, 1, 2, 3].map(|quad| Self::quad_in_shared(part, row, quad))
    }

    /// The outer step on words that are in registers, to where the middle step finds them. A barrier of the block follows.
    ///
    /// # Safety
    /// Nobody reads what was in shared memory.
    #[inline(always)]
    pub(super) unsafe fn forward_outer(&self, mut x: Words<W>) {
        // SAFETY: the caller's promises, here and below; a table begins with the factors of all steps but inner ones.
        unsafe {
            let factors = Loaded::new(self.m, self.table, self.base(false));
            forward_step(&mut x, [End::Lazy; 2], &factors, &self.c);
            self.share_outer(&x);
        }
    }

    /// The middle step, in shared memory. What a thread reads and writes is its own. A barrier of the warp follows.
    ///
    /// # Safety
    /// The outer step is done, and, below, the step before.
    #[inline(always)]
    pub(super) unsafe fn forward_middle(&self) {
        // SAFETY: as above.
        unsafe {
            let mut x = self.shared_middle();
            let base = 16 * self.base(false) + self.place().0;
            let factors = Loaded::new(self.m, self.table, base);
            forward_step(&mut x, [End::Lazy; 2], &factors, &self.c);
            self.share_middle(&x);
        }
    }

    /// The inner step, in shared memory, likewise: words become residues.
    ///
    /// # Safety
    /// As [`Self::forward_middle`].
    #[inline(always)]
    pub(super) unsafe fn forward_inner(&self) {
        // SAFETY: as above.
        unsafe {
            let mut x = self.shared_inner();
            let factors = Powers::new(self.m, self.table, 256 * self.line + self.m.thread());
            forward_step(&mut x, [End::Lazy, End::Canonical], &factors, &self.c);
            self.share_inner(&x);
        }
    }

    /// Row to shared memory. A barrier of the warp follows.
    ///
    /// # Safety
    /// As [`Self::load_outer`].
    #[inline(always)]
    pub(super) unsafe fn move_in(&self, row: M::Row) {
        let at = self.moved();
        unrolled!(4, k, {
            // SAFETY: the caller's promises; quads of the line.
            unsafe {
                let quad = self.m.load_quad(row, at, 64 * k as u32);
                self.m.shared_store_quad(self.moved_in_shared(k), 0, quad);
            }
        });
    }

    /// Quad `k` of those that the thread moves, from shared memory.
    ///
    /// # Safety
    /// It is there.
    #[inline(always)]
    pub(super) unsafe fn moved_quad(&self, k: usize) -> Quad<W> {
        // SAFETY: the caller's promise.
        unsafe { self.m.shared_load_quad(self.moved_in_shared(k), 0) }
    }

    /// The words of the inner step from shared memory.
    ///
    /// # Safety
    /// They are there.
    #[inline(always)]
    unsafe fn shared_inner(&self) -> Words<W> {
        let (at, mut x) = (self.inner_in_shared(), [W::ZERO; 16]);
        unrolled!(4, k, {
            // SAFETY: the caller's promise.
            let quad = unsafe { self.m.shared_load_quad(at[k], 0) };
            [x[4 * k], x[4 * k + 1], x[4 * k + 2], x[4 * k + 3]] = quad;
        });
        x
    }

    /// The words of the inner step to shared memory.
    ///
    /// # Safety
    /// They were read.
    #[inline(always)]
    unsafe fn share_inner(&self, x: &Words<W>) {
        let at = self.inner_in_shared();
        unrolled!(4, k, {
            let quad = [x[4 * k], x[4 * k + 1], x[4 * k + 2], x[4 * k + 3]];
            // SAFETY: the caller's promise.
            unsafe { self.m.shared_store_quad(at[k], 0, quad) };
        });
    }

    /// The inverse of the inner step.
    ///
    /// # Safety
    /// As [`Self::forward_middle`].
    #[inline(always)]
    pub(super) unsafe fn inverse_inner(&self) {
        // SAFETY: as above.
        unsafe {
            let mut x = self.shared_inner();
            let block = 256 * (self.lines() - self.line) - 1 - self.m.thread();
            let factors = Powers::new(self.m, self.table, block);
            inverse_step(&mut x, 0..4, &factors, &self.c);
            self.share_inner(&x);
        }
    }

    /// The inverse of the middle step. A barrier of the block follows.
    ///
    /// # Safety
    /// As [`Self::forward_middle`].
    #[inline(always)]
    pub(super) unsafe fn inverse_middle(&self) {
        // SAFETY: as above.
        unsafe {
            let mut x = self.shared_middle();
            let base = 16 * self.base(true) + 15 - self.place().0;
            let factors = Loaded::new(self.m, self.table, base);
            inverse_step(&mut x, 0..4, &factors, &self.c);
            self.share_middle(&x);
        }
    }

    /// The inverse of the outer step, to a row.
    ///
    /// # Safety
    /// As [`Self::forward_middle`].
    #[inline(always)]
    pub(super) unsafe fn inverse_outer(&self, row: M::Row) {
        // SAFETY: as above.
        unsafe {
            let mut x = self.shared_outer();
            let factors = Loaded::new(self.m, self.table, self.base(true));
            inverse_step(&mut x, 0..4, &factors, &self.c);
            self.store_outer(row, &x);
        }
    }

    /// Asks for the four quads that a thread moves of a row; quad `k` comes to word `to(k)` of shared memory.
    ///
    /// # Safety
    /// Rows waited for; words of shared memory that are the thread's own.
    #[inline(always)]
    pub(super) unsafe fn fetch_moved(&self, row: RowRef, to: impl Fn(usize) -> u32) {
        let at = self.moved();
        // SAFETY: the caller's promises; quads of the line.
        unsafe {
            let row = self.m.row(row);
            unrolled!(4, k, {
                self.m.fetch_quad(row, at, 64 * k as u32, to(k));
            });
        }
    }
}

//! The NTT as a GPU runs it: `N = N1 N2`, one kernel for the columns, one for the rows.
//!
//! ```text
//! forward:  columns (log N1 stages, words N2 apart), then rows (log N2 stages, adjacent words)
//! inverse:  rows, then columns
//! ```
//!
//! A thread holds 16 words. A line of `len = 16 R2` words is a radix-16 step on words `len / 16` apart, an exchange
//! through shared memory, and radix-`R2` steps on 16 adjacent words, `R2 <= 16`; backwards in the inverse. 16 lines a block,
//! so that in the column kernel 16 threads touch adjacent words. `N1`, `N2` in 16 ..= 256: `log N` in 8 ..= 16.

use super::{Global, Shared, ThreadKernel, run_kernel};
use crate::abi::{KernelId, RowItem, RowRef};
use crate::body::Modulus;
use crate::body::ntt::{
    BlockTwiddles, MirrorTwiddles, canonical_step, forward_step_lazy, inverse_last_step, inverse_step_lazy,
};
use crate::body::tables::{PrimeTables, RingTables};
use crate::lanes::{Scalar, Word};
use alloc::vec::Vec;

/// Words a thread holds.
const PER_THREAD: usize = 16;
/// Lines a block works on.
const LINES: usize = 16;

/// One of the two kernels.
struct Lines<'a, W> {
    dst: RowRef,
    a: RowRef,
    tables: &'a PrimeTables<'a, W>,
    log_n: u32,
    log_len: u32,
    columns: bool,
    inverse: bool,
}

/// Runs `step` on each of the adjacent sub-blocks of `R` words.
fn each_block<W: Word, const R: usize>(
    x: &mut [Scalar<W>],
    mut step: impl FnMut(usize, &mut [Scalar<W>; R]),
) {
    for (v, block) in x.as_chunks_mut::<R>().0.iter_mut().enumerate() {
        step(v, block);
    }
}

impl<W: Word> Lines<'_, W> {
    fn modulus(&self) -> Modulus<W, Scalar<W>> {
        // SAFETY: one word needs no instruction set.
        unsafe { Modulus::new(&self.tables.constants) }
    }

    /// (line, position in it, line in the block) of a thread.
    fn place(&self, block: usize, thread: usize) -> (usize, usize, usize) {
        let per_line = (1 << self.log_len) / PER_THREAD;
        let (line, position) = if self.columns {
            (thread % LINES, thread / LINES)
        } else {
            (thread / per_line, thread % per_line)
        };
        (block * LINES + line, position, line)
    }

    /// Where word `k` of a line lies in the row.
    fn word(&self, line: usize, k: usize) -> usize {
        if self.columns { line + (k << (self.log_n - self.log_len)) } else { (line << self.log_len) + k }
    }

    /// (block of the transform, log of the number of such blocks) of a line.
    fn base(&self, line: usize) -> (usize, u32) {
        if self.columns {
            (1, 0)
        } else {
            let log_m = self.log_n - self.log_len;
            ((1 << log_m) + line, log_m)
        }
    }

    fn wide_step(&self, line: usize, x: &mut [Scalar<W>; PER_THREAD]) {
        let (base, log_m) = self.base(line);
        let (m, table, c) = (self.modulus(), self.tables.twiddles.as_ptr(), &self.tables.constants);
        // SAFETY: the table has N words and base << 3 is below N / 2.
        let (block, mirror) =
            unsafe { (BlockTwiddles::new(table, base), MirrorTwiddles::new(table, base, log_m)) };
        if !self.inverse {
            forward_step_lazy(x, &block, &m);
        } else if self.columns {
            inverse_last_step(x, &mirror, Scalar(c.n_inv), Scalar(c.n_inv_w1), &m);
        } else {
            inverse_step_lazy(x, 0, &mirror, &m);
        }
    }

    fn narrow_step(&self, line: usize, position: usize, x: &mut [Scalar<W>; PER_THREAD]) {
        match self.log_len {
            5 => self.narrow::<2>(line, position, x),
            6 => self.narrow::<4>(line, position, x),
            7 => self.narrow::<8>(line, position, x),
            8 => self.narrow::<16>(line, position, x),
            _ => {}
        }
        if !self.inverse && !self.columns {
            canonical_step(x, &self.modulus());
        }
    }

    fn narrow<const R: usize>(&self, line: usize, position: usize, x: &mut [Scalar<W>; PER_THREAD]) {
        let (base, log_m) = self.base(line);
        let (m, table) = (self.modulus(), self.tables.twiddles.as_ptr());
        each_block::<W, R>(x, |v, x| {
            let base = base * 16 + position * (PER_THREAD / R) + v;
            // SAFETY: the table has N words and (base << log R) is below N.
            unsafe {
                if self.inverse {
                    inverse_step_lazy(x, 0, &MirrorTwiddles::new(table, base, log_m + 4), &m);
                } else {
                    forward_step_lazy(x, &BlockTwiddles::new(table, base), &m);
                }
            }
        });
    }
}

impl<W: Word> ThreadKernel<W> for Lines<'_, W> {
    type Regs = [Scalar<W>; PER_THREAD];
    const PHASES: usize = 2;

    fn grid(&self) -> (usize, usize, usize) {
        let n_lines = 1 << (self.log_n - self.log_len);
        let len = 1 << self.log_len;
        (n_lines / LINES, LINES * len / PER_THREAD, LINES * len)
    }

    fn start(&self) -> Self::Regs {
        [Scalar(W::ZERO); PER_THREAD]
    }

    fn phase(
        &self,
        phase: usize,
        block: usize,
        thread: usize,
        x: &mut Self::Regs,
        shared: &mut Shared<W>,
        global: &mut Global<'_, W>,
    ) {
        let (line, position, in_block) = self.place(block, thread);
        let len = 1 << self.log_len;
        // The words of a thread: in the wide step spread over the line, in the narrow one adjacent.
        let wide = (phase == 0) != self.inverse;
        let word = |wide: bool, k: usize| {
            if wide { position + k * (len / PER_THREAD) } else { position * PER_THREAD + k }
        };
        for (k, x) in x.iter_mut().enumerate() {
            let at = word(wide, k);
            x.0 = if phase == 0 {
                global.read(self.a, self.word(line, at))
            } else {
                shared.read(in_block * len + at)
            };
        }
        if wide {
            self.wide_step(line, x);
        } else {
            self.narrow_step(line, position, x);
        }
        for (k, x) in x.iter().enumerate() {
            let at = word(wide, k);
            if phase == 0 {
                shared.write(in_block * len + at, x.0);
            } else {
                global.write(self.dst, self.word(line, at), x.0);
            }
        }
    }
}

/// Both kernels of a transform, one launch after the other.
pub(super) fn run<W: Word>(kernel: KernelId, item: RowItem, slots: &mut [Vec<W>], ring: &RingTables<'_, W>) {
    let inverse = kernel == KernelId::Intt;
    let tables = &ring.primes[item.prime as usize];
    let log_columns = ring.log_n.div_ceil(2);
    for columns in [!inverse, inverse] {
        let log_len = if columns { log_columns } else { ring.log_n - log_columns };
        let first = columns != inverse;
        let a = if first { item.a } else { item.dst };
        let lines = Lines { dst: item.dst, a, tables, log_n: ring.log_n, log_len, columns, inverse };
        run_kernel(&lines, &mut Global::new(slots, ring.log_n));
    }
}

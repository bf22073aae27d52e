//! Radix steps of the negacyclic NTT on a CPU; those of a GPU's thread are in [`super::shoup`].
//!
//! ```text
//! forward:  A_i = sum_j a_j psi^((2 brv(i) + 1) j)      natural order in, bit-reversed out
//! inverse:  a_j = N^-1 sum_i A_i psi^-((2 brv(i) + 1) j)
//! ```
//!
//! A *step* takes `R = 2^k` values `x_r` at equal distances in one block of the transform and does `k` radix-2 stages on
//! them in registers. The block is named by `base = M + b`: block `b` of the `M` that the stages before have made.
//! Stage `s` of the step splits it further and multiplies by `w[(base << s) + i]`, `i < 2^s`; a [`Twiddles`] hides where
//! that comes from. The inverse undoes the step, last stage first, with the mirror image of `base` (see [`super::tables`]).
//!
//! Butterflies are Harvey's (arXiv 1205.2926) with Montgomery's reduction in place of Shoup's: forward values stay in
//! `[0, 4q)`, inverse ones in `[0, 2q)`; the drivers make the last stage canonical.

use super::Modulus;
use crate::lanes::{Lanes, Word};

/// The factors of one step.
pub trait Twiddles<W: Word, L: Lanes<W>>: Copy {
    /// Whether all lanes of a factor are equal.
    const SPLAT: bool;

    /// The factor `w` of sub-block `i < 2^stage` in stage `stage` of the step.
    fn factor(&self, stage: u32, i: usize) -> L;

    /// `(u + t, u - t)` with `t = x w / R mod q` in `(-q, q)` for factor `w`. Needs `x < 4q`.
    #[inline(always)]
    fn mul_add_sub_lazy(&self, x: L, stage: u32, i: usize, u: L, m: &Modulus<W, L>) -> (L, L) {
        let w = self.factor(stage, i);
        let t = if Self::SPLAT {
            x.mont_mul_splat_lazy(w, m.q, m.q_inv)
        } else {
            x.mont_mul_lazy(w, m.q, m.q_inv)
        };
        (u.add(t), u.sub(t))
    }
}

/// Runs the block once for each constant `i < n`, unrolled so that register arrays are indexed by constants. `n` is at most 16, or 32
/// after the word `long`: a compiler reads the block that often, whatever `n`.
macro_rules! unrolled {
    (long $n:expr, $i:ident, $body:block) => {
        unrolled!(@ $n, $i, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15
            16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31)
    };
    ($n:expr, $i:ident, $body:block) => {
        unrolled!(@ $n, $i, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $n:expr, $i:ident, $body:block, $($k:literal)*) => {
        const { assert!($n <= [$($k),*].len()) };
        $({
            let $i: usize = $k;
            if $i < $n $body
        })*
    };
}
pub(crate) use unrolled;

/// Pair `p` of a stage whose blocks have `2^log_len` values: (sub-block, upper index, lower index).
#[inline(always)]
pub(crate) const fn pair(p: usize, log_len: u32) -> (usize, usize, usize) {
    let log_half = log_len - 1;
    let block = p >> log_half;
    let upper = (block << log_len) + (p & ((1 << log_half) - 1));
    (block, upper, upper + (1 << log_half))
}

/// One forward stage, `[0, 4q)` to `[0, 4q)`: with `u` brought to `[0, 2q)` and `t = x w` in `(-q, q)`, both `u + q + t`
/// and `u + q - t` lie in `(0, 4q)`.
#[inline(always)]
fn forward_stage<W: Word, L: Lanes<W>, T: Twiddles<W, L>, const R: usize>(
    x: &mut [L; R],
    stage: u32,
    twiddles: &T,
    m: &Modulus<W, L>,
) {
    unrolled!(R / 2, p, {
        let (block, upper, lower) = pair(p, R.trailing_zeros() - stage);
        let u = m.reduce_twice_lazy(x[upper]).add(m.q);
        (x[upper], x[lower]) = twiddles.mul_add_sub_lazy(x[lower], stage, block, u, m);
    });
}

/// One inverse stage, `[0, 2q)` to `[0, 2q)`.
#[inline(always)]
fn inverse_stage<W: Word, L: Lanes<W>, T: Twiddles<W, L>, const R: usize>(
    x: &mut [L; R],
    stage: u32,
    twiddles: &T,
    m: &Modulus<W, L>,
) {
    unrolled!(R / 2, p, {
        let (block, upper, lower) = pair(p, R.trailing_zeros() - stage);
        let (u, v) = (x[upper], x[lower]);
        x[upper] = m.reduce_twice_lazy(u.add(v));
        (x[lower], _) = twiddles.mul_add_sub_lazy(v.sub(m.minus_q2).sub(u), stage, block, m.q, m);
    });
}

/// `log2 R` forward stages on `x`; `R` is a power of two up to 32.
///
/// Ranges: `[0, 4q)` in and out.
#[inline(always)]
pub fn forward_step_lazy<W: Word, L: Lanes<W>, T: Twiddles<W, L>, const R: usize>(
    x: &mut [L; R],
    twiddles: &T,
    m: &Modulus<W, L>,
) {
    if R >= 2 {
        forward_stage(x, 0, twiddles, m);
    }
    if R >= 4 {
        forward_stage(x, 1, twiddles, m);
    }
    if R >= 8 {
        forward_stage(x, 2, twiddles, m);
    }
    if R >= 16 {
        forward_stage(x, 3, twiddles, m);
    }
    if R >= 32 {
        forward_stage(x, 4, twiddles, m);
    }
}

/// The inverse stages `log2 R - 1` down to `from` on `x`; `R` is a power of two up to 32. With `from = 0` it undoes
/// [`forward_step_lazy`] up to a factor `R`.
///
/// Ranges: `[0, 2q)` in and out.
#[inline(always)]
pub fn inverse_step_lazy<W: Word, L: Lanes<W>, T: Twiddles<W, L>, const R: usize>(
    x: &mut [L; R],
    from: u32,
    twiddles: &T,
    m: &Modulus<W, L>,
) {
    if R >= 32 && from <= 4 {
        inverse_stage(x, 4, twiddles, m);
    }
    if R >= 16 && from <= 3 {
        inverse_stage(x, 3, twiddles, m);
    }
    if R >= 8 && from <= 2 {
        inverse_stage(x, 2, twiddles, m);
    }
    if R >= 4 && from <= 1 {
        inverse_stage(x, 1, twiddles, m);
    }
    if R >= 2 && from == 0 {
        inverse_stage(x, 0, twiddles, m);
    }
}

/// The last step of the inverse transform: [`inverse_step_lazy`] with `N^-1` folded into its last stage, where
/// `n_inv` and `n_inv_w1` are the constants of that name in every lane.
///
/// Ranges: `[0, 2q)` in, `[0, q)` out.
#[inline(always)]
pub fn inverse_last_step<W: Word, L: Lanes<W>, T: Twiddles<W, L>, const R: usize>(
    x: &mut [L; R],
    twiddles: &T,
    n_inv: L,
    n_inv_w1: L,
    m: &Modulus<W, L>,
) {
    inverse_step_lazy(x, 1, twiddles, m);
    unrolled!(R / 2, p, {
        let (u, v) = (x[p], x[p + R / 2]);
        x[p] = m.mul_splat(u.add(v), n_inv);
        x[p + R / 2] = m.mul_splat(v.sub(m.minus_q2).sub(u), n_inv_w1);
    });
}

/// `[0, 4q)` to `[0, q)`.
#[inline(always)]
pub fn canonical_step<W: Word, L: Lanes<W>, const R: usize>(x: &mut [L; R], m: &Modulus<W, L>) {
    unrolled!(long R, r, {
        x[r] = m.reduce_once(m.reduce_twice_lazy(x[r]));
    });
}

/// The factors of a forward step of a block, the same in all lanes: `w[(base << stage) + i]`.
#[derive(Clone, Copy, Debug)]
pub struct BlockTwiddles<W> {
    table: *const W,
    base: usize,
}

impl<W: Word> BlockTwiddles<W> {
    /// The factors of block `base`.
    ///
    /// # Safety
    /// `table` must hold twiddles for reading up to the last stage of the steps that this is given to, and the CPU
    /// must have the instruction set of their lanes.
    #[inline(always)]
    pub const unsafe fn new(table: *const W, base: usize) -> Self {
        Self { table, base }
    }
}

impl<W: Word, L: Lanes<W>> Twiddles<W, L> for BlockTwiddles<W> {
    const SPLAT: bool = true;

    #[inline(always)]
    fn factor(&self, stage: u32, i: usize) -> L {
        // SAFETY: `new` requires the table to reach this far and the instruction set.
        unsafe { L::splat(self.table.add((self.base << stage) + i).read()) }
    }
}

/// The factors of an inverse step of a block: `-w^-1`, found at the mirror image of the block.
#[derive(Clone, Copy, Debug)]
pub struct MirrorTwiddles<W> {
    table: *const W,
    base: usize,
}

impl<W: Word> MirrorTwiddles<W> {
    /// The factors of block `base = M + b`, where `M = 2^log_m` is the number of blocks.
    ///
    /// # Safety
    /// As [`BlockTwiddles::new`].
    #[inline(always)]
    pub const unsafe fn new(table: *const W, base: usize, log_m: u32) -> Self {
        Self { table, base: (3 << log_m) - 1 - base }
    }
}

impl<W: Word, L: Lanes<W>> Twiddles<W, L> for MirrorTwiddles<W> {
    const SPLAT: bool = true;

    #[inline(always)]
    fn factor(&self, stage: u32, i: usize) -> L {
        let at = (self.base << stage) + ((1 << stage) - 1 - i);
        // SAFETY: `new` requires the table to reach this far and the instruction set.
        unsafe { L::splat(self.table.add(at).read()) }
    }
}

/// The factors of the stages across lanes, after a transpose: lane `l` works in block `base + l`.
#[derive(Clone, Copy, Debug)]
pub struct TileTwiddles<W> {
    table: *const W,
    base: usize,
}

impl<W: Word> TileTwiddles<W> {
    /// The factors of the blocks `base .. base + LANES`, `base` a multiple of `LANES`.
    ///
    /// # Safety
    /// As [`BlockTwiddles::new`], with a table arranged for the lanes.
    #[inline(always)]
    pub const unsafe fn new(table: *const W, base: usize) -> Self {
        Self { table, base }
    }
}

impl<W: Word, L: Lanes<W>> Twiddles<W, L> for TileTwiddles<W> {
    const SPLAT: bool = false;

    #[inline(always)]
    fn factor(&self, stage: u32, i: usize) -> L {
        // SAFETY: `new` requires the table to reach this far and the instruction set.
        unsafe { L::load(self.table.add((self.base << stage) + (i << L::LOG_LANES))) }
    }
}

/// [`TileTwiddles`] for the inverse: `-w^-1` of the block of each lane.
#[derive(Clone, Copy, Debug)]
pub struct MirrorTileTwiddles<W> {
    table: *const W,
    base: usize,
}

impl<W: Word> MirrorTileTwiddles<W> {
    /// The factors of the blocks `base .. base + LANES` of `M = 2^log_m`.
    ///
    /// # Safety
    /// As [`TileTwiddles::new`].
    #[inline(always)]
    pub const unsafe fn new(table: *const W, base: usize, log_m: u32, log_lanes: u32) -> Self {
        Self { table, base: (3 << log_m) - base - (1 << log_lanes) }
    }
}

impl<W: Word, L: Lanes<W>> Twiddles<W, L> for MirrorTileTwiddles<W> {
    const SPLAT: bool = false;

    #[inline(always)]
    fn factor(&self, stage: u32, i: usize) -> L {
        let at = (self.base << stage) + (((1 << stage) - 1 - i) << L::LOG_LANES);
        // SAFETY: `new` requires the table to reach this far and the instruction set.
        unsafe { L::load(self.table.add(at)) }.reverse()
    }
}

/// Transposes the `LANES × LANES` words of `x` (`R = LANES`).
#[inline(always)]
pub fn transpose<W: Word, L: Lanes<W>, const R: usize>(x: &mut [L; R]) {
    swap_bit(x, 0);
    swap_bit(x, 1);
    swap_bit(x, 2);
    swap_bit(x, 3);
}

/// Swaps bit `bit` of the register index with that of the lane index, if there is one.
#[inline(always)]
fn swap_bit<W: Word, L: Lanes<W>, const R: usize>(x: &mut [L; R], bit: u32) {
    if bit < L::LOG_LANES {
        unrolled!(R / 2, p, {
            let (_, i, j) = pair(p, bit + 1);
            (x[i], x[j]) = L::interleave(x[i], x[j], bit);
        });
    }
}

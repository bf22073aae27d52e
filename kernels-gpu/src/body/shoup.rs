//! Butterflies of the NTT with Shoup's products: what a GPU's thread does in place of [`super::ntt`]'s steps.
//!
//! A factor `w < q` is kept with `w' = floor(w R / q)`. For any word `b < R`
//!
//! ```text
//! b w - floor(b w' / R) q   in [0, 2q)
//! ```
//!
//! (Shoup; Harvey, arXiv 1205.2926). On an H100 or H200 the high half of a product takes four cycles of the multiplier's time a warp, a low half
//! with its addition two, so that is eight for Montgomery's ten (docs/adr/0029); a SIMD unit has no high half and keeps Montgomery's.
//!
//! **Ranges.** Forward, with `u` in `[0, 2q)` and `t = b w` in `[0, 2q)`, the upper result `u + t` lies in `[0, 4q)`, the lower one
//! `u - t` in `(-2q, 2q)` as a word modulo `R`. Which of the two a word is follows from its index. One addition and a minimum bring
//! either to `[0, 2q)`; `b` must not be negative, so to a lower result that is multiplied next `2q` is added. Inverse, all words
//! stay in `[0, 2q)`. A word holds `4q` for the ABI's primes.

use super::ntt::{pair, unrolled};
use super::tables::PrimeConstants;
use crate::lanes::Word;
use core::ops::Range;

/// A factor and its quotient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Factor<W> {
    /// `w`, canonical, not in Montgomery form.
    pub w: W,
    /// `floor(w R / q)`.
    pub quotient: W,
}

impl<W: Word> Factor<W> {
    /// The factor `w` of `r = w R mod q`, its Montgomery form: `w R = quotient q + r`, so the quotient is `-r / q mod R`.
    pub fn from_montgomery(r: W, c: &PrimeConstants<W>) -> Self {
        Self { w: c.mul(r, W::ONE), quotient: W::ZERO.wrapping_sub(r).wrapping_mul(c.q_inv) }
    }
}

/// What butterflies need to know of a prime. The words are read from memory, both of them: a compiler that sees that one follows from
/// the other computes it anew each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ButterflyConstants<W> {
    /// `2 q`.
    pub q2: W,
    /// `R - q`.
    pub minus_q: W,
    /// `N^-1`.
    pub n_inv: Factor<W>,
    /// `-w[1]^-1 N^-1`: the factor of the last stage of the inverse transform.
    pub n_inv_w1: Factor<W>,
}

impl<W: Word> ButterflyConstants<W> {
    /// Those of a prime.
    pub fn new(c: &PrimeConstants<W>) -> Self {
        Self {
            q2: c.q.wrapping_add(c.q),
            minus_q: W::ZERO.wrapping_sub(c.q),
            n_inv: Factor::from_montgomery(c.n_inv, c),
            n_inv_w1: Factor::from_montgomery(c.n_inv_w1, c),
        }
    }

    /// `b w + addend`, that is, a word in `[0, 2q)` congruent to `b w`, and `addend`.
    #[inline(always)]
    pub fn mul_add(&self, b: W, factor: Factor<W>, addend: W) -> W {
        let quotient = W::hi(b.mul_wide(factor.quotient));
        quotient.wrapping_mul(self.minus_q).wrapping_add(b.wrapping_mul(factor.w).wrapping_add(addend))
    }

    /// `b w` in `[0, q)`.
    #[inline(always)]
    pub fn mul(&self, b: W, factor: Factor<W>) -> W {
        self.reduce_once(self.mul_add(b, factor, W::ZERO))
    }

    /// `[0, 2q)` to `[0, q)`.
    #[inline(always)]
    fn reduce_once(&self, x: W) -> W {
        Ord::min(x, x.wrapping_add(self.minus_q))
    }

    /// `[0, 4q)`, or, if `signed`, `(-2q, 2q)`, to `[0, 2q)`.
    #[inline(always)]
    fn reduce_twice(&self, x: W, signed: bool) -> W {
        Ord::min(x, if signed { x.wrapping_add(self.q2) } else { x.wrapping_sub(self.q2) })
    }
}

/// The factors of a step, stage by stage.
pub trait StepFactors<W: Word> {
    /// Those of a stage.
    type Stage: Copy;

    /// The factors of stage `stage`.
    fn stage(&self, stage: u32) -> Self::Stage;

    /// `b w + addend` as [`ButterflyConstants::mul_add`], `w` the factor of sub-block `i` of the stage.
    fn mul_add(
        &self,
        of: &Self::Stage,
        stage: u32,
        i: usize,
        b: W,
        addend: W,
        c: &ButterflyConstants<W>,
    ) -> W;
}

/// One end of a forward step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Words in `[0, 4q)`.
    Lazy,
    /// Words in `[0, q)`.
    Canonical,
}

/// `log_r` forward stages on the `T / 2^log_r` sub-blocks of adjacent words that `x` is.
///
/// Ranges: `from` in, `to` out.
#[inline(always)]
pub fn forward_step<W: Word, F: StepFactors<W>, const T: usize>(
    x: &mut [W; T],
    log_r: u32,
    [from, to]: [End; 2],
    factors: &F,
    c: &ButterflyConstants<W>,
) {
    unrolled!(5, stage, {
        if (stage as u32) < log_r {
            forward_stage(x, stage as u32, log_r, [from, to], factors, c);
        }
    });
    if to == End::Canonical {
        unrolled!(long T, k, {
            // The lower results of the last stage have odd indexes.
            x[k] = c.reduce_once(c.reduce_twice(x[k], k % 2 == 1));
        });
    }
}

/// Stage `stage` of a forward step.
#[inline(always)]
fn forward_stage<W: Word, F: StepFactors<W>, const T: usize>(
    x: &mut [W; T],
    stage: u32,
    log_r: u32,
    [from, to]: [End; 2],
    factors: &F,
    c: &ButterflyConstants<W>,
) {
    let of = factors.stage(stage);
    let half = 1 << (log_r - stage - 1);
    let is_last = stage + 1 == log_r;
    unrolled!(T / 2, p, {
        let (i, upper, lower) = pair(p, log_r - stage);
        let u = match stage {
            0 if from == End::Canonical => x[upper],
            0 => c.reduce_twice(x[upper], false),
            // The lower results of the stage before are the upper halves of its sub-blocks.
            _ => c.reduce_twice(x[upper], upper & (2 * half) != 0),
        };
        let sum = factors.mul_add(&of, stage, i, x[lower], u, c);
        let is_multiplied_next = if is_last { to == End::Lazy } else { lower & (half / 2) != 0 };
        x[upper] = sum;
        // u - t = 2 u - (u + t)
        x[lower] = if is_multiplied_next {
            u.wrapping_add(c.q2).wrapping_add(u).wrapping_sub(sum)
        } else {
            u.wrapping_add(u).wrapping_sub(sum)
        };
    });
}

/// The inverse stages `stages`, last one first, of steps of `log_r` stages on the sub-blocks that `x` is.
///
/// Ranges: `[0, 2q)` in and out.
#[inline(always)]
pub fn inverse_step<W: Word, F: StepFactors<W>, const T: usize>(
    x: &mut [W; T],
    log_r: u32,
    stages: Range<u32>,
    factors: &F,
    c: &ButterflyConstants<W>,
) {
    unrolled!(5, back, {
        let stage = 4 - back as u32;
        if stages.start <= stage && stage < stages.end {
            inverse_stage(x, stage, log_r, factors, c);
        }
    });
}

/// Stage `stage` of an inverse step. Its factors are those of the mirror image, `-w^-1`, hence `v - u`.
#[inline(always)]
fn inverse_stage<W: Word, F: StepFactors<W>, const T: usize>(
    x: &mut [W; T],
    stage: u32,
    log_r: u32,
    factors: &F,
    c: &ButterflyConstants<W>,
) {
    let of = factors.stage(stage);
    unrolled!(T / 2, p, {
        let (i, upper, lower) = pair(p, log_r - stage);
        let (u, v) = (x[upper], x[lower]);
        x[upper] = c.reduce_twice(u.wrapping_add(v), false);
        x[lower] = factors.mul_add(&of, stage, i, v.wrapping_add(c.q2).wrapping_sub(u), W::ZERO, c);
    });
}

/// The first stage of the transform, undone last, with `N^-1`: `x` is one block. One of a word has no stage.
///
/// Ranges: `[0, 2q)` in, `[0, q)` out.
#[inline(always)]
pub fn inverse_last_stage<W: Word, const T: usize>(x: &mut [W; T], c: &ButterflyConstants<W>) {
    if T == 1 {
        x[0] = c.mul(x[0], c.n_inv);
    }
    unrolled!(T / 2, p, {
        let (u, v) = (x[p], x[p + T / 2]);
        x[p] = c.mul(u.wrapping_add(v), c.n_inv);
        x[p + T / 2] = c.mul(v.wrapping_add(c.q2).wrapping_sub(u), c.n_inv_w1);
    });
}

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
    fn mul_add(&self, of: &Self::Stage, i: usize, b: W, addend: W, c: &ButterflyConstants<W>) -> W;
}

/// One end of a forward step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Words in `[0, 4q)`.
    Lazy,
    /// Words in `[0, q)`.
    Canonical,
}

/// The `log T` forward stages of a block of `T` words.
///
/// Ranges: `from` in, `to` out.
#[inline(always)]
pub fn forward_step<W: Word, F: StepFactors<W>, const T: usize>(
    x: &mut [W; T],
    [from, to]: [End; 2],
    factors: &F,
    c: &ButterflyConstants<W>,
) {
    unrolled!(5, stage, {
        if 1 << stage < T {
            forward_stage(x, stage as u32, [from, to], factors, c);
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
    [from, to]: [End; 2],
    factors: &F,
    c: &ButterflyConstants<W>,
) {
    let of = factors.stage(stage);
    let log_block = T.trailing_zeros() - stage;
    let half = 1 << (log_block - 1);
    let is_last = log_block == 1;
    unrolled!(T / 2, p, {
        let (i, upper, lower) = pair(p, log_block);
        let u = match stage {
            0 if from == End::Canonical => x[upper],
            0 => c.reduce_twice(x[upper], false),
            // The lower results of the stage before are the upper halves of its sub-blocks.
            _ => c.reduce_twice(x[upper], upper & (2 * half) != 0),
        };
        let sum = factors.mul_add(&of, i, x[lower], u, c);
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

/// The inverse stages `stages`, last one first, of the `log T` of a block.
///
/// Ranges: `[0, 2q)` in and out.
#[inline(always)]
pub fn inverse_step<W: Word, F: StepFactors<W>, const T: usize>(
    x: &mut [W; T],
    stages: Range<u32>,
    factors: &F,
    c: &ButterflyConstants<W>,
) {
    unrolled!(5, back, {
        let stage = 4 - back as u32;
        if stages.start <= stage && stage < stages.end {
            inverse_stage(x, stage, factors, c);
        }
    });
}

/// Stage `stage` of an inverse step. Its factors are those of the mirror image, `-w^-1`, hence `v - u`: of a block that is the mirror
/// image itself, in turned order.
#[inline(always)]
fn inverse_stage<W: Word, F: StepFactors<W>, const T: usize>(
    x: &mut [W; T],
    stage: u32,
    factors: &F,
    c: &ButterflyConstants<W>,
) {
    let of = factors.stage(stage);
    unrolled!(T / 2, p, {
        let (i, upper, lower) = pair(p, T.trailing_zeros() - stage);
        let (u, v) = (x[upper], x[lower]);
        x[upper] = c.reduce_twice(u.wrapping_add(v), false);
        let mirror = (1 << stage) - 1 - i;
        x[lower] = factors.mul_add(&of, mirror, v.wrapping_add(c.q2).wrapping_sub(u), W::ZERO, c);
    });
}

/// The first stage of the transform, undone last, with `N^-1`: `x` is one block. One of a word has no stage. `factors` are `n_inv` and
/// `n_inv_w1`, or both times what the words are multiplied by next.
///
/// Ranges: `[0, 2q)` in, `[0, q)` out.
#[inline(always)]
pub fn inverse_last_stage<W: Word, const T: usize>(
    x: &mut [W; T],
    [sums, differences]: [Factor<W>; 2],
    c: &ButterflyConstants<W>,
) {
    if T == 1 {
        x[0] = c.mul(x[0], sums);
    }
    unrolled!(T / 2, p, {
        let (u, v) = (x[p], x[p + T / 2]);
        x[p] = c.mul(u.wrapping_add(v), sums);
        x[p + T / 2] = c.mul(v.wrapping_add(c.q2).wrapping_sub(u), differences);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// The largest prime below `2^30` that is 1 modulo `2^18`, and the least one above `2^20`.
    const PRIMES: [u32; 2] = [1_073_479_681, 5_767_169];

    fn constants(q: u32) -> (PrimeConstants<u32>, ButterflyConstants<u32>) {
        // Any psi: no transform is made.
        let c = PrimeConstants::new(q, 3, 12);
        (c, ButterflyConstants::new(&c))
    }

    fn factor(w: u32, c: &PrimeConstants<u32>) -> Factor<u32> {
        Factor::from_montgomery(c.to_montgomery(w), c)
    }

    #[test]
    fn a_quotient_is_rounded_down() {
        for q in PRIMES {
            let (c, _) = constants(q);
            for w in [0, 1, 2, q / 2, q - 2, q - 1] {
                let quotient = ((u64::from(w) << 32) / u64::from(q)) as u32;
                assert_eq!(factor(w, &c), Factor { w, quotient }, "{w} of {q}");
            }
        }
    }

    #[test]
    fn products_of_any_word_are_in_range() {
        for q in PRIMES {
            let (c, b) = constants(q);
            for w in [0, 1, q / 3, q - 1] {
                for x in [0, 1, q - 1, q, 2 * q, 4 * (q - 1) + 3, u32::MAX - 1, u32::MAX] {
                    let t = b.mul_add(x, factor(w, &c), 0);
                    let expected = (u64::from(x) * u64::from(w) % u64::from(q)) as u32;
                    assert!(t < 2 * q && t % q == expected, "{x} {w} mod {q}: {t}");
                    assert_eq!(b.mul(x, factor(w, &c)), expected);
                    assert_eq!(b.mul_add(x, factor(w, &c), 12345), t + 12345);
                }
            }
        }
    }

    /// The same factor for all sub-blocks of a stage.
    struct Same(Vec<Factor<u32>>);

    impl StepFactors<u32> for Same {
        type Stage = Factor<u32>;

        fn stage(&self, stage: u32) -> Factor<u32> {
            self.0[stage as usize]
        }

        fn mul_add(
            &self,
            of: &Factor<u32>,
            _i: usize,
            b: u32,
            addend: u32,
            c: &ButterflyConstants<u32>,
        ) -> u32 {
            c.mul_add(b, *of, addend)
        }
    }

    /// Stages one after the other on canonical residues.
    fn naive_forward(x: &mut [u64], factors: &[u64], q: u64) {
        let n = x.len();
        for (stage, &w) in factors.iter().enumerate() {
            let half = n >> (stage + 1);
            for upper in (0..n).filter(|i| i & half == 0) {
                let (u, t) = (x[upper] % q, x[upper + half] % q * w % q);
                (x[upper], x[upper + half]) = ((u + t) % q, (u + q - t) % q);
            }
        }
    }

    /// Words at the ends of their ranges, in every pattern of a few: the ranges hold if the residues are right.
    #[test]
    fn steps_of_extreme_words() {
        for q in PRIMES {
            let (c, b) = constants(q);
            let wide = u64::from(q);
            for pattern in 0u32..256 {
                let factors: Vec<u32> =
                    (0..4).map(|s| if pattern >> s & 1 == 1 { q - 1 } else { 1 + q / 2 }).collect();
                let same = Same(factors.iter().map(|&w| factor(w, &c)).collect());
                let word = |k: u32, top: u32| match (pattern >> (4 + k % 4)) & 1 {
                    1 => top,
                    _ => k * 7,
                };
                for (from, top) in [(End::Lazy, 4 * (q - 1) + 3), (End::Canonical, q - 1)] {
                    let x: [u32; 16] = core::array::from_fn(|k| word(k as u32, top));
                    let mut expected = x.map(u64::from);
                    naive_forward(
                        &mut expected,
                        &factors.iter().map(|&w| u64::from(w)).collect::<Vec<_>>(),
                        wide,
                    );
                    for to in [End::Lazy, End::Canonical] {
                        let mut y = x;
                        forward_step(&mut y, [from, to], &same, &b);
                        let residues = y.map(|y| u64::from(y) % wide);
                        assert_eq!(residues, expected, "{q} {pattern} {from:?} {to:?}");
                        assert!(to == End::Lazy || y.map(u64::from) == expected);
                    }
                }
                // The factors of the inverse are `-w`, so that it undoes the stages up to 16 where they are of order two.
                let minus_one = Same((0..4).map(|_| factor(1, &c)).collect());
                let x: [u32; 16] = core::array::from_fn(|k| word(k as u32, 2 * q - 1));
                let mut y = x;
                inverse_step(&mut y, 0..4, &minus_one, &b);
                assert!(y.iter().all(|&y| y < 2 * q));
                let mut back = y.map(|y| u64::from(y) % wide);
                naive_forward(&mut back, &[wide - 1; 4], wide);
                assert_eq!(back, x.map(|x| u64::from(x) % wide * 16 % wide), "{q} {pattern}");
            }
        }
    }
}

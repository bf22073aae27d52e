//! The factors of a thread's step of a transform, stage by stage, as they are asked for.

use crate::abi::launch::{INNER_POWERS, n_factors};
use crate::body::ntt::unrolled;
use crate::body::shoup::{ButterflyConstants, Factor, StepFactors};
use crate::lanes::Word;
use crate::thread::Machine;
use core::marker::PhantomData;

/// Factors of a stage that a thread loads.
const STAGE_FACTORS: usize = 16;

/// The factors of a block `base`, adjacent in the table: in stage `s` the `2^s` from `base << s`.
#[derive(Debug)]
pub(super) struct Loaded<'a, W: Word, M: Machine<W>> {
    m: &'a M,
    table: M::Table,
    base: u32,
    word: PhantomData<W>,
}

impl<'a, W: Word, M: Machine<W>> Loaded<'a, W, M> {
    /// The factors of steps of up to `stages` stages.
    ///
    /// # Safety
    /// `(base + 1) 2^(stages - 1)` at most [`n_factors`].
    #[inline(always)]
    pub(super) unsafe fn new(m: &'a M, table: M::Table, base: u32) -> Self {
        Self { m, table, base, word: PhantomData }
    }
}

impl<W: Word, M: Machine<W>> StepFactors<W> for Loaded<'_, W, M> {
    type Stage = [Factor<W>; STAGE_FACTORS];

    #[inline(always)]
    fn stage(&self, stage: u32) -> Self::Stage {
        let none = Factor { w: W::ZERO, quotient: W::ZERO };
        let (mut factors, n) = ([none; STAGE_FACTORS], 1 << stage);
        // SAFETY: `new` requires the table to reach this far.
        unsafe {
            if n == 1 {
                factors[0] = self.m.factor(self.table, self.base << stage);
            }
            unrolled!(STAGE_FACTORS / 2, k, {
                if 2 * k + 1 < n {
                    let pair = self.m.factor_pair(self.table, self.base << stage, 2 * k as u32);
                    [factors[2 * k], factors[2 * k + 1]] = pair;
                }
            });
        }
        factors
    }

    #[inline(always)]
    fn mul_add(&self, of: &Self::Stage, i: usize, b: W, addend: W, c: &ButterflyConstants<W>) -> W {
        c.mul_add(b, of[i], addend)
    }
}

/// Factors that all threads read.
const COMMON: usize = 8;

/// The factors of the inner step of a line, each as a product of two:
///
/// ```text
/// w[(base << s) + i] = w[base << s] w[i]
/// ```
///
/// The first is one of four powers that only this thread reads, the second one of eight factors that all read. Fifteen factors of
/// its own would be twice as many bytes as the data, which the L2 does not give as fast as the multipliers work.
#[derive(Debug)]
pub(super) struct Powers<'a, W: Word, M: Machine<W>> {
    m: &'a M,
    table: M::Table,
    /// Where its powers begin.
    at: u32,
    word: PhantomData<W>,
}

impl<'a, W: Word, M: Machine<W>> Powers<'a, W, M> {
    /// Those of block `N / 16 + block`.
    ///
    /// # Safety
    /// `block < N / 16`.
    #[inline(always)]
    pub(super) unsafe fn new(m: &'a M, table: M::Table, block: u32) -> Self {
        let at = n_factors(m.args().log_n & 31) + INNER_POWERS * block;
        Self { m, table, at, word: PhantomData }
    }
}

impl<W: Word, M: Machine<W>> StepFactors<W> for Powers<'_, W, M> {
    /// The power, and common factors.
    type Stage = (Factor<W>, [Factor<W>; COMMON]);

    #[inline(always)]
    fn stage(&self, stage: u32) -> Self::Stage {
        let mut common = [Factor { w: W::ZERO, quotient: W::ZERO }; COMMON];
        // SAFETY: `new` requires the powers to reach this far; every table begins with the common factors.
        unsafe {
            let pair = self.m.factor_pair(self.table, self.at, stage / 2 * 2);
            unrolled!(COMMON / 2, k, {
                if 2 * k + 1 < 1 << stage {
                    [common[2 * k], common[2 * k + 1]] = self.m.factor_pair(self.table, 0, 2 * k as u32);
                }
            });
            (pair[stage as usize % 2], common)
        }
    }

    #[inline(always)]
    fn mul_add(
        &self,
        (own, common): &Self::Stage,
        i: usize,
        b: W,
        addend: W,
        c: &ButterflyConstants<W>,
    ) -> W {
        // w[0] = 1.
        let b = if i > 0 { c.mul_add(b, common[i], W::ZERO) } else { b };
        c.mul_add(b, *own, addend)
    }
}

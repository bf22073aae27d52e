//! The factors of a thread's step of a transform, stage by stage, as they are asked for.

use crate::abi::launch::{log_row_radix, n_factors};
use crate::body::ntt::unrolled;
use crate::body::shoup::{ButterflyConstants, Factor, StepFactors};
use crate::lanes::Word;
use crate::thread::Machine;
use core::marker::PhantomData;

/// Factors of a stage that a thread loads.
const STAGE_FACTORS: usize = 16;

/// The factors of the `C` sub-blocks `base .. base + C`, adjacent in the table: in stage `s` the `C 2^s` from `base << s`.
#[derive(Debug)]
pub(super) struct Loaded<'a, W, M: Machine<W>, const C: usize, const MIRROR: bool>
where
    W: Word,
{
    m: &'a M,
    table: M::Table,
    base: u32,
    word: PhantomData<W>,
}

impl<'a, W: Word, M: Machine<W>, const C: usize, const MIRROR: bool> Loaded<'a, W, M, C, MIRROR> {
    /// The factors of steps of up to `stages` stages.
    ///
    /// # Safety
    /// `base + C <= n_factors / 2^(stages - 1)`, `base` a multiple of `C`.
    #[inline(always)]
    pub(super) unsafe fn new(m: &'a M, table: M::Table, base: u32) -> Self {
        Self { m, table, base, word: PhantomData }
    }
}

impl<W: Word, M: Machine<W>, const C: usize, const MIRROR: bool> StepFactors<W>
    for Loaded<'_, W, M, C, MIRROR>
{
    type Stage = [Factor<W>; STAGE_FACTORS];

    #[inline(always)]
    fn stage(&self, stage: u32) -> Self::Stage {
        let none = Factor { w: W::ZERO, quotient: W::ZERO };
        let (mut factors, n) = ([none; STAGE_FACTORS], C << stage);
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
    fn mul_add(
        &self,
        of: &Self::Stage,
        stage: u32,
        i: usize,
        b: W,
        addend: W,
        c: &ButterflyConstants<W>,
    ) -> W {
        let i = if MIRROR { (C << stage) - 1 - i } else { i };
        c.mul_add(b, of[i], addend)
    }
}

/// Sub-blocks of a thread's narrow step at most.
const SUB_BLOCKS: usize = 4;
/// Factors that all threads read.
const COMMON: usize = 8;

/// The factors of the narrow step of a row, `C = 16 / R` sub-blocks of `R` adjacent words ([`log_row_radix`]), each as a product of two:
///
/// ```text
/// w[(base << s) + i] = w[base << s] w[i]
/// ```
///
/// The first is a power that only this thread reads, the second one of eight factors that all read. Factors of its own, fifteen a
/// sub-block of sixteen words, would be twice as many bytes as the data, which the L2 does not give as fast as the multipliers
/// work.
#[derive(Debug)]
pub(super) struct Powers<'a, W, M: Machine<W>, const LOG_N: u32, const MIRROR: bool>
where
    W: Word,
{
    m: &'a M,
    table: M::Table,
    /// Where its powers begin.
    at: u32,
    word: PhantomData<W>,
}

impl<'a, W: Word, M: Machine<W>, const LOG_N: u32, const MIRROR: bool> Powers<'a, W, M, LOG_N, MIRROR> {
    const LOG_R: u32 = log_row_radix(LOG_N);

    /// Those of the sub-blocks from `N / R + block`.
    ///
    /// # Safety
    /// `block + C <= N / R`, a multiple of `C`.
    #[inline(always)]
    pub(super) unsafe fn new(m: &'a M, table: M::Table, block: u32) -> Self {
        Self { m, table, at: block * Self::LOG_R, word: PhantomData }
    }
}

impl<W: Word, M: Machine<W>, const LOG_N: u32, const MIRROR: bool> StepFactors<W>
    for Powers<'_, W, M, LOG_N, MIRROR>
{
    /// Powers of the sub-blocks, and common factors.
    type Stage = ([Factor<W>; SUB_BLOCKS], [Factor<W>; COMMON]);

    #[inline(always)]
    fn stage(&self, stage: u32) -> Self::Stage {
        let none = Factor { w: W::ZERO, quotient: W::ZERO };
        let (mut own, mut common) = ([none; SUB_BLOCKS], [none; COMMON]);
        // SAFETY: `new` requires the powers to reach this far; C log R is even, and every table begins with the common ones.
        unsafe {
            unrolled!(SUB_BLOCKS, v, {
                if v < 16 >> Self::LOG_R {
                    let k = v as u32 * Self::LOG_R + stage;
                    let pair = self.m.factor_pair(self.table, self.at, n_factors(LOG_N) + k / 2 * 2);
                    own[v] = pair[k as usize % 2];
                }
            });
            unrolled!(COMMON / 2, k, {
                if 2 * k + 1 < 1 << stage {
                    [common[2 * k], common[2 * k + 1]] = self.m.factor_pair(self.table, 0, 2 * k as u32);
                }
            });
        }
        (own, common)
    }

    #[inline(always)]
    fn mul_add(
        &self,
        (own, common): &Self::Stage,
        stage: u32,
        i: usize,
        b: W,
        addend: W,
        c: &ButterflyConstants<W>,
    ) -> W {
        let i = if MIRROR { (16 >> (Self::LOG_R - stage)) - 1 - i } else { i };
        let (sub_block, i) = (i >> stage, i & ((1 << stage) - 1));
        // w[0] = 1.
        let b = if i > 0 { c.mul_add(b, common[i], W::ZERO) } else { b };
        c.mul_add(b, own[sub_block], addend)
    }
}

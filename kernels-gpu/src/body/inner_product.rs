//! Sums of products in wide accumulators.
//!
//! ```text
//! acc = init + sum_t a_t b_t,      acc <- lo(acc) + hi(acc) (R mod q)  before it can overflow
//! result = acc mod q
//! ```
//!
//! A product of canonical residues is below `2^(2 PRIME_BITS)`, so [`Word::FOLD_TERMS`] of them (12 for `u32`, 240
//! for `u64`) fit beside a folded accumulator, [`Word::FIRST_TERMS`] (15, 255) beside one small addend. The fold is one multiplication; it keeps the residue, so the number of
//! terms is unbounded.

use super::Modulus;
use crate::lanes::{Lanes, Word};

/// The constants that accumulators need.
#[derive(Clone, Copy, Debug)]
pub struct Reducer<W, L> {
    /// The prime.
    pub m: Modulus<W, L>,
    /// `R mod q` in every lane.
    pub r1: L,
    /// `R^2 mod q` in every lane.
    pub r2: L,
}

/// `acc / R mod q` in `[0, q)`, for `acc < 3 q R`: at most [`Word::SUM_TERMS`] products.
///
/// The reduction gives `(-q, 3q)`.
#[inline(always)]
pub fn reduce_sum<W: Word, L: Lanes<W>>(acc: L::Acc, q: L, q_inv: L) -> L {
    let t = L::redc_acc_lazy(acc, q, q_inv).add(q);
    let t = t.min(t.sub(q).sub(q));
    t.min(t.sub(q))
}

impl<W: Word, L: Lanes<W>> Reducer<W, L> {
    /// Fills the lanes.
    ///
    /// # Safety
    /// The CPU must have the instruction set of `L`.
    #[inline(always)]
    pub unsafe fn new(c: &super::tables::PrimeConstants<W>) -> Self {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { Self { m: Modulus::new(c), r1: L::splat(c.r1), r2: L::splat(c.r2) } }
    }

    /// The same residue, small enough for [`Word::FOLD_TERMS`] further products.
    #[inline(always)]
    pub fn fold_lazy(&self, acc: L::Acc) -> L::Acc {
        L::fold_acc(acc, self.r1)
    }

    /// [`reduce_sum`] modulo the prime.
    #[inline(always)]
    pub fn reduce_sum(&self, acc: L::Acc) -> L {
        reduce_sum(acc, self.m.q, self.m.q_inv)
    }

    /// `acc mod q` in `[0, q)`, for any `acc`.
    ///
    /// Folded, `acc` has a high word below `q`, so the first reduction gives `(-q, q)`; with `q` added that is below
    /// `2 q < R`, and the product with `R^2 mod q` stays below `q R`.
    #[inline(always)]
    pub fn reduce(&self, acc: L::Acc) -> L {
        let t = L::redc_acc_lazy(self.fold_lazy(acc), self.m.q, self.m.q_inv).add(self.m.q);
        self.m.mul_splat(t, self.r2)
    }
}

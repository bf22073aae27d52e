//! Centred basis conversion of one group of coefficients.
//!
//! The equation is that of [`crate::abi::ConvertBasisItem`] (Halevi, Polyakov, Shoup, ePrint 2018/117, section 2, in fixed
//! point): the `y_i` and `v` once a group, then one sum of `n_src + 1` products a target, accumulated wide:
//!
//! ```text
//! z_j = (sum_i y_i (m_ji R) + v ((p_j - big_j) R)) / R   mod p_j
//! ```
//!
//! Ranges: `y_i < d_i < 2^PRIME_BITS` and `m_ji R mod p_j < p_j`, so [`Word::SUM_TERMS`] products and `v p_j` stay below `3 p_j R`;
//! `v <= n_src <= 64`; `sum hi(y_i frac_i) < 64 * 2^F`, below `2^26` for `u32` and `2^38` for `u64`, fits a word.

use super::Modulus;
use crate::lanes::{Lanes, Word};

/// `y = x inv mod d` in `[0, d)`; `x` canonical, `inv` in Montgomery form and the same in all lanes.
#[inline(always)]
pub fn digit<W: Word, L: Lanes<W>>(x: L, inv: L, d: &Modulus<W, L>) -> L {
    d.mul_splat(x, inv)
}

/// `quotient + hi(y frac)`: the sum whose rounded upper part is `v`.
#[inline(always)]
pub fn add_fraction<W: Word, L: Lanes<W>>(quotient: L, y: L, frac: L) -> L {
    quotient.add(y.mul_hi(frac))
}

/// `v = (quotient + 2^(F-1)) >> F`, with `half = 2^(F-1)` in every lane.
#[inline(always)]
pub fn round_quotient<W: Word, L: Lanes<W>>(quotient: L, half: L) -> L {
    quotient.add(half).shr(crate::abi::fraction_bits(W::BITS))
}

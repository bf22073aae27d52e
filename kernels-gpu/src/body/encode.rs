//! Encoding: butterflies of the inverse special FFT, rounding, residues.
//!
//! ```text
//! (x, y) -> (x + y, (x - y) w)          c -> round((c (2 / N)) scale), ties to even -> mod q
//! ```
//!
//! The one place with floating point. Every operation is rounded once (IEEE 754, to nearest, ties to even), in the order of
//! `fhe_core`'s encoder, and none is contracted: Rust never does so, and a test looks for it in the PTX. So all machines
//! give the same bits. Equations and ranges: [`crate::abi::EmbedInverseItem`], [`crate::abi::RoundResiduesItem`].

use super::elementwise;
use super::inner_product::Reducer;
use crate::lanes::{Lanes, Scalar, Word};

/// A complex number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Complex {
    /// Real part.
    pub re: f64,
    /// Imaginary part.
    pub im: f64,
}

/// `(x + y, (x - y) w)`.
#[inline(always)]
pub fn butterfly(x: Complex, y: Complex, w: Complex) -> (Complex, Complex) {
    let d = Complex { re: x.re - y.re, im: x.im - y.im };
    let product = Complex { re: d.re * w.re - d.im * w.im, im: d.re * w.im + d.im * w.re };
    (Complex { re: x.re + y.re, im: x.im + y.im }, product)
}

/// An integer: magnitude, and whether it is below zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Integer {
    /// `|x|`.
    pub magnitude: u64,
    /// The sign; of zero either.
    pub negative: bool,
}

/// From here on every double is an integer.
const INTEGERS: f64 = (1u64 << 52) as f64;

/// The nearest integer, ties to even, for `|x| < 2^64`; `2^64 - 1` beyond, 0 for what is no number.
///
/// A sum with `2^52` has no bits below 1, and the addition rounds to even.
#[inline(always)]
pub fn round(x: f64) -> Integer {
    let bits = x.to_bits();
    let t = f64::from_bits(bits & (u64::MAX >> 1));
    let rounded = if t < INTEGERS { (t + INTEGERS) - INTEGERS } else { t };
    Integer { magnitude: rounded as u64, negative: bits >> 63 != 0 }
}

/// The residue of an integer, in `[0, q)`.
///
/// In two words, `hi R + lo`, it is `hi (R mod q) + lo` in an accumulator: below `2^BITS q`.
#[inline(always)]
pub fn residue<W: Word>(x: Integer, reducer: &Reducer<W, Scalar<W>>) -> W {
    let high = if W::BITS == 32 { x.magnitude >> 32 } else { 0 };
    let low = W::from_u64(x.magnitude).widen();
    let r = reducer.reduce(Scalar(W::from_u64(high)).mul_acc(reducer.r1, low));
    if x.negative { elementwise::neg(r, &reducer.m).0 } else { r.0 }
}

/// `k` with its `bits` low bits reversed, `k < 2^bits`, `1 <= bits <= 32`.
#[inline(always)]
pub const fn bit_reverse(k: u32, bits: u32) -> u32 {
    k.reverse_bits() >> (32u32.wrapping_sub(bits) & 31)
}

/// `2^-bits`, exactly, for `bits < 1023`.
#[inline(always)]
pub const fn inverse_power(bits: u32) -> f64 {
    f64::from_bits((1023u32.wrapping_sub(bits) as u64) << 52)
}

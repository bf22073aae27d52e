//! Centred basis conversion: from residues modulo `{d_i}` to residues modulo `{p_j}` of the integer in
//! `[-D/2, D/2)` (Halevi, Polyakov, Shoup, ePrint 2018/117, section 2, with the quotient in fixed point).
//!
//! ```text
//! y_i = x_i inv_i mod d_i                              inv_i  = (D / d_i)^-1 mod d_i
//! v   = floor((sum_i floor(y_i frac_i / 2^w) + 2^(F-1)) / 2^F)   frac_i = floor(2^(F+w) / d_i)
//! z_j = sum_i y_i ((D / d_i) mod p_j) - v (D mod p_j)  mod p_j
//! ```
//!
//! `w` is the bits of a word, `F` is 20 for 32-bit and 32 for 64-bit words, every `d_i` above `2^F`. Where `x`
//! lies within a relative `2 k 2^-F` of `D/2` (`k` source limbs), either neighbour may come out: the
//! formula decides, and every backend follows the formula.

use super::{Coeff, Ring, RnsPoly};
use crate::error::Result;
use crate::math::word::Word;
use crate::params::LimbIdx;
use rayon::prelude::*;

/// The constants of one conversion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvertBasis<W> {
    /// Source limbs.
    pub from: Vec<LimbIdx>,
    /// Destination limbs; none of them a source.
    pub to: Vec<LimbIdx>,
    /// `inv_i`.
    pub inv: Vec<W>,
    /// `frac_i`.
    pub frac: Vec<W>,
    /// `(D / d_i) mod p_j` at `j * from.len() + i`.
    pub matrix: Vec<W>,
    /// `D mod p_j`.
    pub big: Vec<W>,
}

impl<W: Word> ConvertBasis<W> {
    /// Computes the constants.
    pub fn new(ring: &Ring<W>, from: &[LimbIdx], to: &[LimbIdx]) -> Self {
        let shift = W::KIND.min_prime_bits() + W::KIND.bits();
        let others = |i: LimbIdx| from.iter().copied().filter(|&l| l != i).collect::<Vec<_>>();
        let inv = |&i: &LimbIdx| ring.modulus(i).inv(ring.product_mod(&others(i), i));
        let frac = |&i: &LimbIdx| W::truncate(((1u128 << shift) / u128::from(ring.params().prime(i))) as u64);
        let row = |&j: &LimbIdx| from.iter().map(move |&i| (i, j));
        Self {
            inv: from.iter().map(inv).collect(),
            frac: from.iter().map(frac).collect(),
            matrix: to.iter().flat_map(row).map(|(i, j)| ring.product_mod(&others(i), j)).collect(),
            big: to.iter().map(|&j| ring.product_mod(from, j)).collect(),
            from: from.to_vec(),
            to: to.to_vec(),
        }
    }

    /// Converts the limbs `from` of `x` to the limbs `to`.
    ///
    /// # Errors
    /// [`crate::Error::BasisMismatch`] when a source limb is missing.
    pub fn apply(&self, ring: &Ring<W>, x: &RnsPoly<W, Coeff>) -> Result<RnsPoly<W, Coeff>> {
        let mut y = x.select("convert_basis", &self.from)?;
        y.for_each_limb(|limb, words| {
            let m = ring.modulus(limb);
            let i = self.from.iter().position(|&l| l == limb).unwrap_or(0);
            let inv = m.shoup(self.inv[i]);
            words.iter_mut().for_each(|w| *w = m.mul_shoup(*w, inv));
        });
        let f = W::KIND.min_prime_bits();
        let quotient = |k: usize| {
            let part = |(i, &frac): (usize, &W)| y.limb(i)[k].mul_wide(frac).0.to_u64();
            (self.frac.iter().enumerate().map(part).sum::<u64>() + (1 << (f - 1))) >> f
        };
        let v: Vec<u64> = (0..ring.n()).into_par_iter().map(quotient).collect();
        let mut z = RnsPoly::zero(&self.to, ring.n());
        let n_from = self.from.len();
        z.for_each_limb(|limb, words| {
            let m = ring.modulus(limb);
            let j = self.to.iter().position(|&l| l == limb).unwrap_or(0);
            let minus_big = m.shoup(m.neg(self.big[j]));
            words.iter_mut().zip(&v).for_each(|(w, &v)| *w = m.mul_shoup(W::truncate(v), minus_big));
            for (i, &entry) in self.matrix[j * n_from..(j + 1) * n_from].iter().enumerate() {
                let entry = m.shoup(entry);
                words.iter_mut().zip(y.limb(i)).for_each(|(w, &y)| *w = m.add(*w, m.mul_shoup(y, entry)));
            }
        });
        Ok(z)
    }
}

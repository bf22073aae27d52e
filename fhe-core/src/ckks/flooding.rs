//! Decryptions that may be shared: noise flooding (Li, Micciancio, Schultz, Sorrell, ePrint 2022/816).
//!
//! A decryption shows the noise of its ciphertext, and the noise depends on the secret: who sees decryptions may compute it (ePrint
//! 2020/1533). So what is shared is a rounded value and a discrete Gaussian of `sigma`, wide enough to hide by how much the value is off:
//!
//! ```text
//! shared     g (round(value / g) + D_sigma')        g a power of two, at most B / 32; sigma = g sigma'
//! off        by t = sqrt(m) (B + g) at most         m shared real numbers, each within B of the exact result
//! sigma      sqrt(12 q 2^s) t
//! ```
//!
//! **Guarantee.** IND-CPA^D (ePrint 2020/1533): an observer chooses messages in pairs, programs whose exact results do not tell a pair apart, and sees
//! the ciphertexts and `q` shared answers, each chosen after those before. Put the exact results in place of the decryptions and the answers no longer
//! depend on the secret: what is left is the security of the encryption. What was put differs by a shift of a discrete Gaussian by integers, in
//! Kullback-Leibler divergence `t^2 / (2 sigma^2) = 2^-s / (24 q)` an answer (arXiv 2004.00010, proposition 5), `2^-s / 24` all together by the
//! chain rule. That is what ePrint 2022/816 asks for `s` bits of statistical security, beside `c - log2 24` computational ones (docs/adr/0019 says what of
//! this was checked), in the sense in which the bits of a decision count the square of an advantage: by Pinsker's inequality the advantage itself is at most `2^(-s/2 - 1.7)`
//! more than that of an attack without answers (`2^(-s/2 - 2.7)` for either message of a pair).
//!
//! It needs three things of the caller. `B` bounds the error of *every* program that is answered, in the worst case: a mean or a measured
//! error without a margin is none, and keys have been recovered where it was used. Ciphertexts come from an honest evaluation: against one that
//! sends ciphertexts of its own making no bound holds. And `q` counts *all* answers under a secret key, the same ciphertext again included.
//!
//! Values are flooded, not coefficients: few numbers then have little noise, `sqrt(m)` where the whole ring has `sqrt(N)`, and computing with
//! an answer shows no more than the answer.

use super::ciphertext::Ciphertext;
use super::encoder::Encoder;
use super::encryption::Decryptor;
use crate::error::{Error, Result};
use crate::math::gaussian::MAX_SIGMA;
use crate::math::sampling::Randomness;
use crate::math::word::Word;
use crate::rlwe::SecretKey;
use num_complex::Complex64;
use zeroize::Zeroize;

/// What is shared of a decryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedValues {
    /// The real parts of so many slots, from the first on.
    Real(usize),
    /// So many slots, from the first on.
    Complex(usize),
}

impl SharedValues {
    fn slots(self) -> usize {
        match self {
            Self::Real(n) | Self::Complex(n) => n,
        }
    }

    /// Real numbers.
    fn numbers(self) -> usize {
        match self {
            Self::Real(n) => n,
            Self::Complex(n) => n.saturating_mul(2),
        }
    }
}

/// How much noise is added to what is shared; see the module's head for what it guarantees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flooding {
    /// `s`: bits of statistical security of all answers together, 1 to 128. 30 is usual.
    pub bits: u32,
    /// `q`: how many answers will be shared under one secret key.
    pub queries: u64,
    /// `B`: a real or imaginary part of a slot is at most so far from the exact result, in every case.
    pub max_error: f64,
    /// `-log2` of the standard deviation of an answer's noise is to be at least this: else there is no answer.
    pub min_precision: f64,
}

/// The grid is so many bits finer than the bound of the error: rounding to it costs a thirtieth of the noise.
const GRID_BITS: u32 = 5;

impl Flooding {
    /// The standard deviation of the noise of each shared real number.
    ///
    /// # Errors
    /// [`Error::Flooding`] for arguments that mean nothing; [`Error::FloodedPrecision`] when it leaves less than
    /// [`Self::min_precision`].
    pub fn sigma(&self, values: SharedValues) -> Result<f64> {
        self.grid(values).map(|(grid, sigma)| grid * sigma as f64)
    }

    /// The grid `g` and `sigma'`, rounded up.
    fn grid(&self, values: SharedValues) -> Result<(f64, u64)> {
        let refuse = |why: String| Err(Error::Flooding(why));
        if !(1..=128).contains(&self.bits) || self.queries == 0 {
            let (bits, queries) = (self.bits, self.queries);
            return refuse(format!(
                "{bits} bits of security for {queries} answers, expected 1 to 128 and at least 1"
            ));
        }
        // Asked this way round, a NaN is refused.
        let is_bound = self.max_error > 0.0 && self.max_error.is_finite();
        if !is_bound || self.min_precision.is_nan() {
            let (error, precision) = (self.max_error, self.min_precision);
            return refuse(format!(
                "an error of at most {error} for {precision} bits, expected a positive bound and a number of bits"
            ));
        }
        if values.numbers() == 0 {
            return refuse("no slots, expected at least 1".to_owned());
        }
        let numbers = values.numbers() as f64;
        let factor =
            ((12.0 * self.queries as f64).log2() + f64::from(self.bits)) / 2.0 + numbers.log2() / 2.0;
        let grid = (self.max_error.log2().floor() - f64::from(GRID_BITS)).exp2();
        let off = self.max_error / grid + 1.0;
        let found = -(factor + (off * grid).log2());
        if found < self.min_precision {
            return Err(Error::FloodedPrecision { expected: self.min_precision, found });
        }
        // What is rounded on the way is less than 2^-30 of it.
        let sigma = factor.exp2() * off * (1.0 + 1.0 / f64::from(1 << 30));
        if !grid.is_normal() || sigma > MAX_SIGMA as f64 {
            return refuse(format!(
                "noise of 2^{factor:.1} times an error of 2^{:.1}, expected at most 2^56 times one that `f64` has all bits of",
                self.max_error.log2()
            ));
        }
        Ok((grid, sigma.ceil() as u64))
    }
}

/// Slots as they came out, overwritten when they are dropped.
struct Exact(Vec<Complex64>);

impl Drop for Exact {
    fn drop(&mut self) {
        bytemuck::cast_slice_mut::<Complex64, f64>(&mut self.0).zeroize();
    }
}

impl<W: Word> Decryptor<W> {
    /// The first slots of a ciphertext, flooded with noise so that others may see them. Imaginary parts are 0 where
    /// [`SharedValues::Real`] says so.
    ///
    /// # Errors
    /// [`Error::Flooding`], [`Error::FloodedPrecision`]; [`Error::SlotCount`] for more than N / 2 slots; [`Error::NotFinite`] for a value too large
    /// for the grid; those of [`Decryptor::decrypt`] and [`Encoder::decode`].
    ///
    /// Cost: a decryption, and a microsecond a number.
    pub fn decrypt_shareable(
        &self,
        ciphertext: &Ciphertext<W>,
        key: &SecretKey<W>,
        encoder: &Encoder<W>,
        values: SharedValues,
        flooding: &Flooding,
        randomness: &mut Randomness,
    ) -> Result<Vec<Complex64>> {
        let (grid, sigma) = flooding.grid(values)?;
        if values.slots() > encoder.n_slots() {
            return Err(Error::SlotCount { expected: encoder.n_slots(), found: values.slots() });
        }
        let mut plaintext = self.decrypt(ciphertext, key)?;
        let exact = encoder.decode(&plaintext).map(Exact);
        plaintext.wipe();
        let exact = exact?;
        let noise = randomness.discrete_gaussian(values.numbers(), sigma);
        let mut noise = noise.iter().copied();
        let mut flooded = |slot: usize, value: f64| {
            let units = (value / grid).round_ties_even();
            let most = 100f64.exp2();
            if !units.is_finite() || units.abs() > most {
                return Err(Error::NotFinite { slot, value: "too large for its noise".to_owned() });
            }
            Ok((units as i128 + noise.next().unwrap_or(0)) as f64 * grid)
        };
        let is_complex = matches!(values, SharedValues::Complex(_));
        let slots = exact.0.iter().take(values.slots()).enumerate();
        slots
            .map(|(slot, z)| {
                let re = flooded(slot, z.re)?;
                let im = if is_complex { flooded(slot, z.im)? } else { 0.0 };
                Ok(Complex64::new(re, im))
            })
            .collect()
    }
}

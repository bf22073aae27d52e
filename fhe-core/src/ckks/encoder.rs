//! Encoding: `N / 2` complex slots to a polynomial with integer coefficients at a scale, and back.
//!
//! It is the one place where `f64` rounding decides words: `exp2`, `cos` and `sin` may differ in the last bit from
//! platform to platform. A message is encoded by its client, a program's constants once, on the server's machine, for
//! whatever backend it has; so the backends of one machine agree bit for bit.

use super::ciphertext::Plaintext;
use super::raised::RaisedPlaintext;
use crate::error::{Error, Result};
use crate::math::double::Double;
use crate::math::fft::SpecialFft;
use crate::math::word::Word;
use crate::params::{Level, LimbIdx, Params};
use crate::ring::{Coeff, Ring, RnsPoly};
use num_complex::Complex64;
use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};

/// Whether slots may be encoded by who does not look at the coefficients, as a device: all come out below `2^63` and half the
/// modulus, whatever the order of the sums. Sufficient, not necessary: a coefficient is a mean of slots times roots of unity, so no
/// larger than the largest slot.
///
/// # Errors
/// [`Error::NotFinite`]; [`Error::RawSlots`] when the largest slot times the scale reaches (all but a millionth of) that bound, or the sum
/// of `N` such slots is no finite number; [`Error::NoSuchLevel`].
pub fn check_raw_slots(params: &Params, slots: &[Complex64], level: Level, log_scale: Double) -> Result<()> {
    let info = params.level(level)?;
    if let Some(slot) = slots.iter().position(|z| !z.is_finite()) {
        return Err(Error::NotFinite { slot, value: slots[slot].to_string() });
    }
    let largest = slots.iter().map(|z| z.norm()).fold(0f64, f64::max);
    // Roundings add less than 2^-40 of it, and at the end 1/2: a basis has more than 20 bits.
    let room = 1.0 - 1.0 / f64::from(1 << 20);
    let expected = (info.log_q - 1.0).min(63.0);
    let sums_are_finite = (largest * params.n() as f64).is_finite();
    let found = if sums_are_finite { (largest * log_scale.exp2()).log2() } else { f64::INFINITY };
    if found < expected + room.log2() {
        return Ok(());
    }
    Err(Error::RawSlots { found, expected, level })
}

/// A message, overwritten when it is dropped.
struct Wiped(Vec<Complex64>);

impl Drop for Wiped {
    fn drop(&mut self) {
        bytemuck::cast_slice_mut::<Complex64, f64>(&mut self.0).zeroize();
    }
}

/// Encodes and decodes.
#[derive(Clone, Debug)]
pub struct Encoder<W> {
    ring: Ring<W>,
    fft: SpecialFft,
}

impl<W: Word> Encoder<W> {
    /// An encoder over a ring: tables of `5 N / 2` complex numbers.
    pub fn new(ring: &Ring<W>) -> Self {
        Self { ring: ring.clone(), fft: SpecialFft::new(ring.n()) }
    }

    /// Slots of a message: N / 2.
    pub fn n_slots(&self) -> usize {
        self.ring.params().n_slots()
    }

    /// `round(2^log_scale * embed^-1(slots))` over the basis of a level, ties to even.
    ///
    /// # Errors
    /// [`Error::SlotCount`] unless there are N / 2; [`Error::NotFinite`]; [`Error::Overflow`] when a coefficient
    /// reaches half the modulus, or 2^120, or is no finite number; [`Error::NoSuchLevel`].
    pub fn encode(&self, slots: &[Complex64], level: Level, log_scale: Double) -> Result<Plaintext<W>> {
        self.encode_over(slots, level, log_scale, &self.ring.params().level(level)?.basis)
    }

    /// The same integers over the basis of the level and the special primes.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_raised(
        &self,
        slots: &[Complex64],
        level: Level,
        log_scale: Double,
    ) -> Result<RaisedPlaintext<W>> {
        let basis = self.ring.params().raised_basis(level)?;
        self.encode_over(slots, level, log_scale, &basis).map(RaisedPlaintext)
    }

    fn encode_over(
        &self,
        slots: &[Complex64],
        level: Level,
        log_scale: Double,
        basis: &[LimbIdx],
    ) -> Result<Plaintext<W>> {
        let params = self.ring.params();
        let info = params.level(level)?;
        if slots.len() != params.n_slots() {
            return Err(Error::SlotCount { expected: params.n_slots(), found: slots.len() });
        }
        if let Some(slot) = slots.iter().position(|z| !z.is_finite()) {
            return Err(Error::NotFinite { slot, value: slots[slot].to_string() });
        }
        let mut values = Wiped(slots.to_vec());
        self.fft.embed_inverse(&mut values.0);
        let scale = log_scale.exp2();
        let scaled = values.0.iter().map(|z| z.re).chain(values.0.iter().map(|z| z.im));
        let mut coefficients = Zeroizing::new(Vec::with_capacity(self.ring.n()));
        coefficients.extend(scaled.map(|c| (c * scale).round_ties_even()));
        // A sum that overflowed may have become NaN on its way, which `max` would pass over.
        let magnitude = |c: &f64| if c.is_finite() { c.abs() } else { f64::INFINITY };
        let largest = coefficients.iter().map(magnitude).fold(0f64, f64::max);
        let expected = (info.log_q - 1.0).min(120.0);
        if !largest.is_finite() || largest.log2() >= expected {
            return Err(Error::Overflow { found: largest.log2(), expected, level });
        }
        let mut poly = RnsPoly::<W, Coeff>::zero(basis, self.ring.n());
        let narrow = largest < 9e18;
        poly.for_each_limb(|limb, words| {
            let m = self.ring.modulus(limb);
            if narrow {
                words.iter_mut().zip(coefficients.iter()).for_each(|(w, &c)| *w = m.reduce_signed(c as i64));
            } else {
                words.iter_mut().zip(coefficients.iter()).for_each(|(w, &c)| *w = m.reduce_i128(c as i128));
            }
        });
        Ok(Plaintext { params: params.clone(), poly: self.ring.ntt(poly), level, log_scale })
    }

    /// What the inverse special FFT multiplies by: see [`SpecialFft::inverse_factors`].
    pub fn inverse_factors(&self) -> Vec<Complex64> {
        self.fft.inverse_factors()
    }

    /// Encodes real slots.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_real(&self, slots: &[f64], level: Level, log_scale: Double) -> Result<Plaintext<W>> {
        let slots = Wiped(slots.iter().map(|&x| Complex64::new(x, 0.0)).collect());
        self.encode(&slots.0, level, log_scale)
    }

    /// The slots of a plaintext: all N / 2.
    ///
    /// A message that was once too large for its modulus, or that was decrypted with a wrong key, comes out with coefficients all over
    /// `(-q/2, q/2)`: of N of them one is within a 64th of the end, but with probability `(63/64)^N`, 2^-23 at log N 10. That is
    /// refused. A message of few coefficients (constants) may wrap around unseen.
    ///
    /// # Errors
    /// [`Error::ParamsMismatch`]; [`Error::OutOfRange`] for a coefficient in the outermost 64th of half the modulus; [`Error::NotFinite`] when
    /// a slot overflows `f64`, as it may under a modulus above 2^1024.
    pub fn decode(&self, plaintext: &Plaintext<W>) -> Result<Vec<Complex64>> {
        let params = self.ring.params();
        params.check_digest(plaintext.params.digest())?;
        let basis = &params.level(plaintext.level)?.basis;
        let poly = self.ring.intt(plaintext.poly.select("decode", basis)?);
        let lift = MixedRadix::new(&self.ring, basis);
        let n = self.ring.n();
        let words = poly.words();
        let scale = (-plaintext.log_scale).exp2();
        let coefficient = |k: usize| lift.centred((0..basis.len()).map(|i| words[i * n + k])) * scale;
        let pair = |k: usize| Complex64::new(coefficient(k), coefficient(k + n / 2));
        let mut values: Vec<Complex64> = (0..n / 2).into_par_iter().map(pair).collect();
        let expected = (Double::from(params.level(plaintext.level)?.log_q - 1.0) - plaintext.log_scale)
            .exp2()
            * (63.0 / 64.0);
        let found = values.iter().fold(0f64, |most, z| most.max(z.re.abs()).max(z.im.abs()));
        // Asked this way round, what is infinite on both sides is left to the slots.
        if found > expected {
            return Err(Error::OutOfRange { operation: "decode", expected, found });
        }
        self.fft.embed(&mut values);
        if let Some(slot) = values.iter().position(|z| !z.is_finite()) {
            return Err(Error::NotFinite { slot, value: values[slot].to_string() });
        }
        Ok(values)
    }
}

/// Residues to the centred integer, as `f64`, through mixed-radix digits (Garner 1959):
/// `x = v_0 + q_0 (v_1 + q_1 (v_2 + ...))`.
struct MixedRadix<W> {
    moduli: Vec<crate::math::modulus::Modulus<W>>,
    /// `q_i^-1 mod q_j` at `[j][i]`, `i < j`.
    inverses: Vec<Vec<W>>,
    /// The digits of `floor(Q / 2)`.
    half: Vec<W>,
}

impl<W: Word> MixedRadix<W> {
    fn new(ring: &Ring<W>, basis: &[LimbIdx]) -> Self {
        let moduli: Vec<_> = basis.iter().map(|&l| ring.modulus(l)).collect();
        let inverse = |j: usize, i: usize| {
            let m = moduli[j];
            m.inv(m.reduce(moduli[i].value().to_u64()))
        };
        let inverses = (0..moduli.len()).map(|j| (0..j).map(|i| inverse(j, i)).collect()).collect();
        let mut lift = Self { moduli, inverses, half: Vec::new() };
        // floor(Q / 2) = (Q - 1) / 2 = -1/2 mod every prime.
        lift.half = lift
            .digits(lift.moduli.iter().map(|m| m.neg(m.inv(W::truncate(2)))).collect::<Vec<_>>().into_iter());
        lift
    }

    fn digits(&self, residues: impl Iterator<Item = W>) -> Vec<W> {
        let mut digits: Vec<W> = Vec::with_capacity(self.moduli.len());
        for ((m, inverses), x) in self.moduli.iter().zip(&self.inverses).zip(residues) {
            let digit = digits.iter().zip(inverses).fold(x, |x, (&v, &inv)| {
                let v = if v >= m.value() { m.reduce(v.to_u64()) } else { v };
                m.mul(m.sub(x, v), inv)
            });
            digits.push(digit);
        }
        digits
    }

    fn centred(&self, residues: impl Iterator<Item = W> + Clone) -> f64 {
        let horner = |digits: &[W]| {
            let parts = digits.iter().zip(&self.moduli).rev();
            parts.fold(0.0, |x, (&v, m)| x * m.value().to_u64() as f64 + v.to_u64() as f64)
        };
        let digits = self.digits(residues.clone());
        if digits.iter().rev().le(self.half.iter().rev()) {
            return horner(&digits);
        }
        // Negative: the magnitude is Q - x, small where x is not, so it is lifted on its own.
        let negated = residues.zip(&self.moduli).map(|(x, m)| m.neg(x));
        -horner(&self.digits(negated))
    }
}

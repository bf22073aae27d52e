//! Encryption and decryption: the client's side.

use super::ciphertext::{Ciphertext, Plaintext, SeededCiphertext, check_scale};
use crate::error::Result;
use crate::math::sampling::Randomness;
use crate::math::word::Word;
use crate::ring::{Ring, RnsPoly};
use crate::rlwe::{PublicKey, SecretKey, expand_poly};

/// Encrypts under a public or a secret key.
#[derive(Clone, Debug)]
pub struct Encryptor<W> {
    ring: Ring<W>,
}

impl<W: Word> Encryptor<W> {
    /// An encryptor over a ring.
    pub fn new(ring: &Ring<W>) -> Self {
        Self { ring: ring.clone() }
    }

    /// `(b u + e_0 + m, a u + e_1)` at the plaintext's level, `u` uniform ternary.
    ///
    /// # Errors
    /// [`crate::Error::ParamsMismatch`]; [`crate::Error::ScaleTooLarge`] when the scale reaches the modulus.
    pub fn encrypt(
        &self,
        plaintext: &Plaintext<W>,
        key: &PublicKey<W>,
        randomness: &mut Randomness,
    ) -> Result<Ciphertext<W>> {
        let ring = &self.ring;
        ring.params().check_digest(key.params().digest())?;
        ring.params().check_digest(plaintext.params().digest())?;
        let basis = plaintext.poly.basis();
        let mut u = ring.ntt(ring.from_small(basis, &randomness.ternary(ring.n())));
        let mut half = |uniform: &RnsPoly<W, _>| -> Result<RnsPoly<W, _>> {
            let mut c = uniform.select("encrypt", basis)?;
            c.mul_assign(ring, &u)?;
            let mut error = ring.ntt(ring.from_small(basis, &randomness.error(ring.n())));
            c.add_assign(ring, &error)?;
            error.wipe();
            Ok(c)
        };
        let mut c0 = half(&key.b)?;
        let c1 = half(&key.a)?;
        u.wipe();
        c0.add_assign(ring, &plaintext.poly)?;
        Ciphertext::new(ring.params(), vec![c0, c1], plaintext.level, plaintext.log_scale)
    }

    /// `(-a s + e + m, a)` with `a` expanded from a seed: half the bytes of a public-key encryption, less noise.
    ///
    /// # Errors
    /// [`crate::Error::ParamsMismatch`]; [`crate::Error::ScaleTooLarge`] when the scale reaches the modulus.
    pub fn encrypt_seeded(
        &self,
        plaintext: &Plaintext<W>,
        key: &SecretKey<W>,
        randomness: &mut Randomness,
    ) -> Result<SeededCiphertext<W>> {
        let ring = &self.ring;
        ring.params().check_digest(key.params().digest())?;
        ring.params().check_digest(plaintext.params().digest())?;
        let basis = plaintext.poly.basis();
        let seed = randomness.seed();
        let mut c0 = expand_poly(ring, &seed, 0, basis);
        let mut s = key.poly().select("encrypt_seeded", basis)?;
        c0.mul_assign(ring, &s)?;
        s.wipe();
        c0.neg_assign(ring);
        let mut error = ring.ntt(ring.from_small(basis, &randomness.error(ring.n())));
        c0.add_assign(ring, &error)?;
        error.wipe();
        c0.add_assign(ring, &plaintext.poly)?;
        let (level, log_scale) = (plaintext.level, plaintext.log_scale);
        check_scale("encrypt_seeded", ring.params().level(level)?, log_scale)?;
        Ok(SeededCiphertext { params: ring.params().clone(), c0, seed, level, log_scale })
    }
}

/// Decrypts. The result is exact, noise included: do not hand it to others (CPA-D, ePrint 2020/1533), but what
/// [`Self::decrypt_shareable`] gives.
#[derive(Clone, Debug)]
pub struct Decryptor<W> {
    ring: Ring<W>,
}

impl<W: Word> Decryptor<W> {
    /// A decryptor over a ring.
    pub fn new(ring: &Ring<W>) -> Self {
        Self { ring: ring.clone() }
    }

    /// `sum_i c_i s^i`, of any degree.
    ///
    /// # Errors
    /// [`crate::Error::ParamsMismatch`].
    pub fn decrypt(&self, ciphertext: &Ciphertext<W>, key: &SecretKey<W>) -> Result<Plaintext<W>> {
        let ring = &self.ring;
        ring.params().check_digest(key.params().digest())?;
        ring.params().check_digest(ciphertext.params().digest())?;
        let basis = &ring.params().level(ciphertext.level())?.basis;
        let mut s = key.poly().select("decrypt", basis)?;
        let mut sum = RnsPoly::zero(basis, ring.n());
        for c in ciphertext.polys().iter().rev() {
            sum.mul_assign(ring, &s)?;
            sum.add_assign(ring, c)?;
        }
        s.wipe();
        let (level, log_scale) = (ciphertext.level(), ciphertext.log_scale());
        Ok(Plaintext { params: ring.params().clone(), poly: sum, level, log_scale })
    }
}

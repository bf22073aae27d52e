//! Key generation.

use super::keys::{
    EvaluationKey, EvaluationKeySet, GaloisKey, PublicKey, RelinearizationKey, SecretId, SecretKey,
    all_limbs, expand_poly,
};
use crate::error::{Error, Result};
use crate::math::sampling::{Randomness, Seed};
use crate::math::word::Word;
use crate::params::{GaloisElement, LimbIdx, Security};
use crate::ring::{Eval, Ring, RnsPoly};

/// How the coefficients of a secret are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretDistribution {
    /// Each of -1, 0, 1 alike.
    UniformTernary,
    /// So many coefficients of -1 or 1, the others 0.
    SparseTernary {
        /// How many.
        weight: usize,
    },
}

/// Makes keys. Holds no secret itself.
#[derive(Clone, Debug)]
pub struct KeyGenerator<W> {
    ring: Ring<W>,
}

impl<W: Word> KeyGenerator<W> {
    /// A generator over a ring.
    pub fn new(ring: &Ring<W>) -> Self {
        Self { ring: ring.clone() }
    }

    pub(super) fn ring(&self) -> &Ring<W> {
        &self.ring
    }

    /// A uniform ternary secret.
    pub fn secret_key(&self, randomness: &mut Randomness) -> SecretKey<W> {
        let coefficients = randomness.ternary(self.ring.n());
        SecretKey::from_coefficients(&self.ring, SecretId(randomness.id()), coefficients)
    }

    /// A secret of another distribution than that of the security table.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] unless the parameters are [`Security::Insecure`], or for a weight that the ring has no room for.
    pub fn secret_key_of(
        &self,
        distribution: SecretDistribution,
        randomness: &mut Randomness,
    ) -> Result<SecretKey<W>> {
        let weight = match distribution {
            SecretDistribution::UniformTernary => return Ok(self.secret_key(randomness)),
            SecretDistribution::SparseTernary { weight } => weight,
        };
        let n = self.ring.n();
        if self.ring.params().security() != Security::Insecure || weight == 0 || weight > n / 2 {
            return Err(Error::InvalidParams(format!(
                "a sparse secret of weight {weight}: expected 1 to {} under insecure parameters, since the security table is \
                 of uniform ternary secrets",
                n / 2
            )));
        }
        let coefficients = randomness.sparse_ternary(n, weight);
        Ok(SecretKey::from_coefficients(&self.ring, SecretId(randomness.id()), coefficients))
    }

    /// `-a s + e` with `a` expanded from `seed` under `tag`.
    pub(super) fn encrypt_zero(
        &self,
        s: &RnsPoly<W, Eval>,
        seed: &Seed,
        tag: u32,
        basis: &[LimbIdx],
        randomness: &mut Randomness,
    ) -> Result<RnsPoly<W, Eval>> {
        let mut b = expand_poly(&self.ring, seed, tag, basis);
        b.mul_assign(&self.ring, s)?;
        b.neg_assign(&self.ring);
        let mut error = self.ring.ntt(self.ring.from_small(basis, &randomness.error(self.ring.n())));
        b.add_assign(&self.ring, &error)?;
        error.wipe();
        Ok(b)
    }

    /// A public key over the main primes.
    ///
    /// # Errors
    /// [`crate::Error::ParamsMismatch`] when the secret is of other parameters.
    pub fn public_key(&self, secret: &SecretKey<W>, randomness: &mut Randomness) -> Result<PublicKey<W>> {
        self.ring.params().check_digest(secret.params().digest())?;
        let seed = randomness.seed();
        let basis = &all_limbs(self.ring.params())[..self.ring.params().n_main()];
        let mut s = secret.poly().select("public_key", basis)?;
        let b = self.encrypt_zero(&s, &seed, 0, basis, randomness)?;
        s.wipe();
        Ok(PublicKey::new(&self.ring, secret.id(), seed, b))
    }

    /// A key from `s_in` to `s_out`, both over all primes.
    pub(super) fn switching_key(
        &self,
        s_in: &RnsPoly<W, Eval>,
        s_out: &RnsPoly<W, Eval>,
        secret: SecretId,
        randomness: &mut Randomness,
    ) -> Result<EvaluationKey<W>> {
        let ring = &self.ring;
        let seed = randomness.seed();
        let basis = all_limbs(ring.params());
        let special = ring.params().special();
        let mut parts = Vec::with_capacity(ring.params().digits().len());
        for (j, digit) in ring.params().digits().iter().enumerate() {
            let mut b = self.encrypt_zero(s_out, &seed, j as u32, &basis, randomness)?;
            // P T_j s_in: P s_in on the limbs of digit j, zero on every other limb.
            let mut message = s_in.clone();
            message.mul_scalar_assign(ring, |limb| {
                if digit.contains(&limb) { ring.product_mod(&special, limb) } else { W::zeroed() }
            });
            b.add_assign(ring, &message)?;
            message.wipe();
            parts.push(b);
        }
        Ok(EvaluationKey::new(ring, secret, seed, parts))
    }

    /// The relinearization key: from `s^2` to `s`.
    ///
    /// # Errors
    /// [`crate::Error::ParamsMismatch`] when the secret is of other parameters.
    pub fn relinearization_key(
        &self,
        secret: &SecretKey<W>,
        randomness: &mut Randomness,
    ) -> Result<RelinearizationKey<W>> {
        self.ring.params().check_digest(secret.params().digest())?;
        let mut square = secret.poly().clone();
        square.mul_assign(&self.ring, secret.poly())?;
        let key = self.switching_key(&square, secret.poly(), secret.id(), randomness)?;
        square.wipe();
        Ok(RelinearizationKey(key))
    }

    /// The key of one Galois element.
    ///
    /// # Errors
    /// [`crate::Error::NotGalois`]; [`crate::Error::ParamsMismatch`] when the secret is of other parameters.
    pub fn galois_key(
        &self,
        secret: &SecretKey<W>,
        element: GaloisElement,
        randomness: &mut Randomness,
    ) -> Result<GaloisKey<W>> {
        self.ring.params().check_digest(secret.params().digest())?;
        self.ring.params().check_galois(element)?;
        let mut target = self.ring.automorphism(secret.poly(), inverse(element, 2 * self.ring.n() as u64))?;
        let key = self.switching_key(secret.poly(), &target, secret.id(), randomness)?;
        target.wipe();
        Ok(GaloisKey { element, key })
    }

    /// All the keys that a program needs. `progress(done, total)` is called after each.
    ///
    /// # Errors
    /// As [`Self::galois_key`].
    pub fn evaluation_keys(
        &self,
        secret: &SecretKey<W>,
        relinearization: bool,
        elements: &[GaloisElement],
        randomness: &mut Randomness,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<EvaluationKeySet<W>> {
        let total = elements.len() + usize::from(relinearization);
        let mut keys = EvaluationKeySet::new(self.ring.params());
        let mut done = 0;
        if relinearization {
            keys.set_relinearization(self.relinearization_key(secret, randomness)?)?;
            done += 1;
            progress(done, total);
        }
        for &element in elements {
            keys.insert_galois(self.galois_key(secret, element, randomness)?)?;
            done += 1;
            progress(done, total);
        }
        Ok(keys)
    }
}

/// `g^-1 mod 2N`: the group has exponent N / 2 or less, so `g^(N-1)`, `N` a power of two above 2.
pub(super) fn inverse(g: GaloisElement, two_n: u64) -> GaloisElement {
    let mut power = 1u64;
    let (mut base, mut e) = (u64::from(g.0) % two_n, two_n / 2 - 1);
    while e > 0 {
        if e & 1 == 1 {
            power = power * base % two_n;
        }
        base = base * base % two_n;
        e >>= 1;
    }
    GaloisElement(power as u32)
}

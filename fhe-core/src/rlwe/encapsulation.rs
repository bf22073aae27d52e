//! Sparse-secret encapsulation (Bossuat, Troncoso-Pastoriza, Hubaux, ePrint 2022/024): `mod_raise` adds multiples of `q_0` to the
//! message, up to about half the weight of the secret. So just before it a ciphertext is switched to an ephemeral sparse secret
//! `s'`, and just after it back.
//!
//! ```text
//! to_sparse   s -> s'   over B_0 and the fewest special primes whose product p is at least q_0; one digit
//! to_dense    s' -> s   an evaluation key as any other, over all primes
//! ```
//!
//! What is encrypted under `s'` is `to_sparse` alone, and its modulus `q_0 p` is small enough for so sparse a secret
//! ([`crate::params::security::check_sparse`]). `to_dense` is encrypted under `s`, at the full modulus.

use super::keygen::KeyGenerator;
use super::keys::{EvaluationKey, KeySwitchPair, SecretId, SecretKey, expand_poly};
use crate::error::{Error, Result};
use crate::math::sampling::{Randomness, Seed};
use crate::math::word::Word;
use crate::params::{Level, LimbIdx, Params, Security, security};
use crate::ring::{ConvertBasis, Eval, Ring, RnsPoly};

/// The keys to an ephemeral sparse secret and back.
#[derive(Clone, Debug, PartialEq)]
pub struct EncapsulationKeys<W> {
    pub(crate) weight: usize,
    /// Of [`Self::pair`].
    pub(crate) seed: Seed,
    /// `(b, a)` under the sparse secret, over [`encapsulation_basis`]; `b` hides `p s`.
    pub(crate) pair: KeySwitchPair<W>,
    /// From the sparse secret to that of the key set.
    pub(crate) to_dense: EvaluationKey<W>,
}

/// `p`: the first special primes, the fewest whose product is at least `q_0`.
///
/// # Errors
/// None in practice: level 0 is there.
pub fn encapsulation_special(params: &Params) -> Result<Vec<LimbIdx>> {
    let mut missing = params.level(Level(0))?.log_q;
    let mut chosen = Vec::new();
    for limb in params.special() {
        if missing <= 0.0 {
            break;
        }
        missing -= (params.prime(limb) as f64).log2();
        chosen.push(limb);
    }
    Ok(chosen)
}

/// The limbs of level 0 and of `p`, ascending.
///
/// # Errors
/// None in practice: level 0 is there.
pub fn encapsulation_basis(params: &Params) -> Result<Vec<LimbIdx>> {
    let mut basis = params.level(Level(0))?.basis.clone();
    basis.extend(encapsulation_special(params)?);
    Ok(basis)
}

/// Refuses a weight that the ring has no room for, or that is too small for the modulus `q_0 p`.
///
/// # Errors
/// [`Error::InvalidParams`]; [`Error::BeyondSparseSecurity`] unless the parameters are insecure anyway.
pub fn check_weight(params: &Params, weight: usize) -> Result<()> {
    if weight == 0 || weight > params.n() / 2 {
        let found = format!("a sparse secret of weight {weight}, expected 1 to {}", params.n() / 2);
        return Err(Error::InvalidParams(found));
    }
    if params.security() == Security::Insecure {
        return Ok(());
    }
    let log2 = |limb: LimbIdx| (params.prime(limb) as f64).log2();
    let log_qp = encapsulation_basis(params)?.into_iter().map(log2).sum();
    security::check_sparse(params.log_n(), weight, log_qp)
}

impl<W: Word> EncapsulationKeys<W> {
    /// Non-zero coefficients of the sparse secret.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Whose ciphertexts it takes.
    pub fn secret_id(&self) -> SecretId {
        self.to_dense.secret_id()
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        self.to_dense.params()
    }

    /// The key from the dense to the sparse secret, over the limbs of level 0 and of `p`.
    pub fn to_sparse(&self) -> &KeySwitchPair<W> {
        &self.pair
    }

    /// The rows of [`Self::to_sparse`]: those of `b`, and of `a`.
    pub fn to_sparse_rows(&self) -> impl Iterator<Item = &[W]> {
        let limbs = |p: &'_ RnsPoly<W, Eval>| p.basis().len();
        let half = move |p| (0..limbs(p)).map(move |i| p.limb(i));
        half(&self.pair.b).chain(half(&self.pair.a))
    }

    /// The key from the sparse to the dense secret.
    pub fn to_dense(&self) -> &EvaluationKey<W> {
        &self.to_dense
    }

    pub(crate) fn new(
        ring: &Ring<W>,
        weight: usize,
        seed: Seed,
        b: RnsPoly<W, Eval>,
        to_dense: EvaluationKey<W>,
    ) -> Self {
        let a = expand_poly(ring, &seed, 0, b.basis());
        Self { weight, seed, pair: KeySwitchPair { b, a }, to_dense }
    }

    /// `d` over the basis of level 0 multiplies the dense secret; the result is a pair under the sparse one.
    ///
    /// # Errors
    /// [`Error::ParamsMismatch`]; [`Error::BasisMismatch`] when `d` is over another basis.
    pub fn switch_to_sparse(&self, ring: &Ring<W>, d: &RnsPoly<W, Eval>) -> Result<[RnsPoly<W, Eval>; 2]> {
        let params = ring.params();
        params.check_digest(self.params().digest())?;
        let basis = &params.level(Level(0))?.basis;
        let special = encapsulation_special(params)?;
        let d = d.select("to_sparse", basis)?;
        let converted = ConvertBasis::new(ring, basis, &special).apply(ring, &ring.intt(d.clone()))?;
        let raised = d.concat(&ring.ntt(converted));
        let half = |key: &RnsPoly<W, Eval>| {
            let mut product = raised.clone();
            product.mul_assign(ring, key)?;
            ring.divide_round(&product, &special)
        };
        Ok([half(&self.pair.b)?, half(&self.pair.a)?])
    }
}

impl<W: Word> KeyGenerator<W> {
    /// Keys to a fresh sparse secret of `weight` non-zero coefficients, which is forgotten, and back.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] for a weight of 0 or above N / 2; [`Error::BeyondSparseSecurity`] unless the parameters are
    /// insecure anyway; [`Error::ParamsMismatch`] when the secret is of other parameters.
    pub fn encapsulation_keys(
        &self,
        secret: &SecretKey<W>,
        weight: usize,
        randomness: &mut Randomness,
    ) -> Result<EncapsulationKeys<W>> {
        let ring = self.ring();
        let params = ring.params();
        params.check_digest(secret.params().digest())?;
        check_weight(params, weight)?;
        let id = SecretId(randomness.id());
        let sparse = SecretKey::from_coefficients(ring, id, randomness.sparse_ternary(params.n(), weight));
        self.encapsulation_keys_to(&sparse, secret, weight, randomness)
    }

    /// With this sparse secret.
    pub(super) fn encapsulation_keys_to(
        &self,
        sparse: &SecretKey<W>,
        secret: &SecretKey<W>,
        weight: usize,
        randomness: &mut Randomness,
    ) -> Result<EncapsulationKeys<W>> {
        let ring = self.ring();
        let params = ring.params();
        let basis = encapsulation_basis(params)?;
        let special = encapsulation_special(params)?;
        let seed = randomness.seed();
        let mut s = sparse.poly().select("to_sparse", &basis)?;
        let mut b = self.encrypt_zero(&s, &seed, 0, &basis, randomness)?;
        s.wipe();
        let mut message = secret.poly().select("to_sparse", &basis)?;
        message.mul_scalar_assign(ring, |limb| ring.product_mod(&special, limb));
        b.add_assign(ring, &message)?;
        message.wipe();
        let to_dense = self.switching_key(sparse.poly(), secret.poly(), secret.id(), randomness)?;
        Ok(EncapsulationKeys::new(ring, weight, seed, b, to_dense))
    }

    /// A key from one secret to another: a ciphertext under `from` becomes one under `to`.
    ///
    /// # Errors
    /// [`Error::ParamsMismatch`] when a secret is of other parameters.
    pub fn key_switching_key(
        &self,
        from: &SecretKey<W>,
        to: &SecretKey<W>,
        randomness: &mut Randomness,
    ) -> Result<EvaluationKey<W>> {
        for secret in [from, to] {
            self.ring().params().check_digest(secret.params().digest())?;
        }
        self.switching_key(from.poly(), to.poly(), to.id(), randomness)
    }
}

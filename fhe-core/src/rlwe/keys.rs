//! Key types. Secrets are overwritten when they are dropped; evaluation keys know which Galois element they
//! are for.

use super::encapsulation::EncapsulationKeys;
use crate::error::{Error, Result};
use crate::math::sampling::{Seed, expand_uniform};
use crate::math::word::Word;
use crate::params::{GaloisElement, LimbIdx, Params};
use crate::ring::{Eval, Ring, RnsPoly};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Which secret a key belongs to: 16 random bytes, drawn with the secret and public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretId(pub [u8; 16]);

impl core::fmt::Display for SecretId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// A uniform ternary secret. It never leaves this room: no function of scheduler or host takes one.
pub struct SecretKey<W: Word> {
    params: Params,
    id: SecretId,
    coefficients: Zeroizing<Vec<i8>>,
    /// Over all primes.
    poly: RnsPoly<W, Eval>,
}

impl<W: Word> SecretKey<W> {
    /// From ternary coefficients.
    pub(crate) fn from_coefficients(ring: &Ring<W>, id: SecretId, coefficients: Zeroizing<Vec<i8>>) -> Self {
        let poly = ring.ntt(ring.from_small(&all_limbs(ring.params()), &coefficients));
        Self { params: ring.params().clone(), id, coefficients, poly }
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The public name of the secret, which every key made from it carries.
    pub fn id(&self) -> SecretId {
        self.id
    }

    /// The coefficients, in {-1, 0, 1}.
    pub(crate) fn coefficients(&self) -> &[i8] {
        &self.coefficients
    }

    /// In the evaluation domain, over all primes.
    pub(crate) fn poly(&self) -> &RnsPoly<W, Eval> {
        &self.poly
    }
}

impl<W: Word> Drop for SecretKey<W> {
    fn drop(&mut self) {
        self.poly.wipe();
    }
}

impl<W: Word> core::fmt::Debug for SecretKey<W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// All limbs, main and special.
pub(crate) fn all_limbs(params: &Params) -> Vec<LimbIdx> {
    (0..params.primes().len()).map(|i| LimbIdx(i as u32)).collect()
}

/// The uniform half of a key, expanded from its seed, evaluation domain.
pub(crate) fn expand_poly<W: Word>(
    ring: &Ring<W>,
    seed: &Seed,
    tag: u32,
    basis: &[LimbIdx],
) -> RnsPoly<W, Eval> {
    let mut a = RnsPoly::zero(basis, ring.n());
    a.for_each_limb(|limb, words| expand_uniform(seed, tag, limb.0, &ring.modulus(limb), words));
    a
}

/// An encryption of zero over the main primes: `b = -a s + e`.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicKey<W> {
    pub(crate) params: Params,
    pub(crate) secret: SecretId,
    pub(crate) seed: Seed,
    pub(crate) b: RnsPoly<W, Eval>,
    pub(crate) a: RnsPoly<W, Eval>,
}

impl<W: Word> PublicKey<W> {
    pub(crate) fn new(ring: &Ring<W>, secret: SecretId, seed: Seed, b: RnsPoly<W, Eval>) -> Self {
        let a = expand_poly(ring, &seed, 0, b.basis());
        Self { params: ring.params().clone(), secret, seed, b, a }
    }

    /// Whose public key it is.
    pub fn secret_id(&self) -> SecretId {
        self.secret
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }
}

/// One digit of an [`EvaluationKey`].
#[derive(Clone, Debug, PartialEq)]
pub struct KeySwitchPair<W> {
    /// `b_j = -a_j s_out + e_j + P T_j s_in` over all primes; `T_j` is 1 modulo digit `j`, 0 modulo the others.
    pub b: RnsPoly<W, Eval>,
    /// Uniform, expanded from the seed with tag `j`.
    pub a: RnsPoly<W, Eval>,
}

/// Switches a polynomial that multiplies `s_in` to a pair under `s_out`.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationKey<W> {
    pub(crate) params: Params,
    pub(crate) secret: SecretId,
    pub(crate) seed: Seed,
    pub(crate) digits: Vec<KeySwitchPair<W>>,
}

impl<W: Word> EvaluationKey<W> {
    pub(crate) fn new(ring: &Ring<W>, secret: SecretId, seed: Seed, b: Vec<RnsPoly<W, Eval>>) -> Self {
        let pair = |(j, b): (usize, RnsPoly<W, Eval>)| {
            let a = expand_poly(ring, &seed, j as u32, b.basis());
            KeySwitchPair { b, a }
        };
        let digits = b.into_iter().enumerate().map(pair).collect();
        Self { params: ring.params().clone(), secret, seed, digits }
    }

    /// Whose key it is.
    pub fn secret_id(&self) -> SecretId {
        self.secret
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// One pair a digit, in the order of [`Params::digits`].
    pub fn digits(&self) -> &[KeySwitchPair<W>] {
        &self.digits
    }

    /// The key's words as the kernels want them: rows of N words, row
    /// `(digit * 2 + half) * n_primes + limb`, half 0 is `b`, half 1 is `a`.
    pub fn rows(&self) -> impl Iterator<Item = &[W]> {
        self.digits
            .iter()
            .flat_map(|pair| [&pair.b, &pair.a])
            .flat_map(|p| (0..p.basis().len()).map(move |position| p.limb(position)))
    }
}

/// Switches from `s^2` to `s`.
#[derive(Clone, Debug, PartialEq)]
pub struct RelinearizationKey<W>(pub(crate) EvaluationKey<W>);

impl<W: Word> RelinearizationKey<W> {
    /// The key.
    pub fn key(&self) -> &EvaluationKey<W> {
        &self.0
    }
}

/// Switches from `s` to `s(X^(g^-1))`, so that the automorphism comes last and hoisting shares `mod_up`.
#[derive(Clone, Debug, PartialEq)]
pub struct GaloisKey<W> {
    pub(crate) element: GaloisElement,
    pub(crate) key: EvaluationKey<W>,
}

impl<W: Word> GaloisKey<W> {
    /// `g`.
    pub fn element(&self) -> GaloisElement {
        self.element
    }

    /// The key.
    pub fn key(&self) -> &EvaluationKey<W> {
        &self.key
    }
}

/// What a server needs: a relinearization key, Galois keys by element, encapsulation keys; those that there are, all of one secret.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationKeySet<W> {
    params: Params,
    /// Of the first key.
    secret: Option<SecretId>,
    relinearization: Option<RelinearizationKey<W>>,
    galois: BTreeMap<GaloisElement, GaloisKey<W>>,
    encapsulation: Option<EncapsulationKeys<W>>,
}

impl<W: Word> EvaluationKeySet<W> {
    /// No keys.
    pub fn new(params: &Params) -> Self {
        Self {
            params: params.clone(),
            secret: None,
            relinearization: None,
            galois: BTreeMap::new(),
            encapsulation: None,
        }
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Whose keys they are; `None` while there is no key.
    pub fn secret_id(&self) -> Option<SecretId> {
        self.secret
    }

    fn own(&mut self, key: &EvaluationKey<W>) -> Result<()> {
        self.params.check_digest(key.params.digest())?;
        let expected = *self.secret.get_or_insert(key.secret);
        if expected != key.secret {
            let found = format!("one of secret {}", key.secret);
            return Err(Error::WrongKey { expected: format!("a key of secret {expected}"), found });
        }
        Ok(())
    }

    /// Adds or replaces the relinearization key.
    ///
    /// # Errors
    /// [`Error::ParamsMismatch`]; [`Error::WrongKey`] when it is of another secret than the keys before.
    pub fn set_relinearization(&mut self, key: RelinearizationKey<W>) -> Result<()> {
        self.own(&key.0)?;
        self.relinearization = Some(key);
        Ok(())
    }

    /// Adds or replaces a Galois key.
    ///
    /// # Errors
    /// [`Error::ParamsMismatch`], [`Error::NotGalois`]; [`Error::WrongKey`] when it is of another secret than the
    /// keys before.
    pub fn insert_galois(&mut self, key: GaloisKey<W>) -> Result<()> {
        self.params.check_galois(key.element)?;
        self.own(&key.key)?;
        self.galois.insert(key.element, key);
        Ok(())
    }

    /// The relinearization key.
    ///
    /// # Errors
    /// [`Error::MissingRelinearizationKey`].
    pub fn relinearization(&self) -> Result<&RelinearizationKey<W>> {
        self.relinearization.as_ref().ok_or(Error::MissingRelinearizationKey)
    }

    /// The key of an element.
    ///
    /// # Errors
    /// [`Error::MissingGaloisKey`] names the element and the rotation.
    pub fn galois(&self, element: GaloisElement) -> Result<&GaloisKey<W>> {
        self.galois.get(&element).ok_or_else(|| Error::MissingGaloisKey {
            element,
            rotation: self.params.describe_galois(element),
        })
    }

    /// Adds or replaces the keys to a sparse secret and back, for bootstrapping.
    ///
    /// # Errors
    /// As [`Self::set_relinearization`].
    pub fn set_encapsulation(&mut self, keys: EncapsulationKeys<W>) -> Result<()> {
        self.own(&keys.to_dense)?;
        self.encapsulation = Some(keys);
        Ok(())
    }

    /// The keys to a sparse secret and back.
    ///
    /// # Errors
    /// [`Error::MissingEncapsulationKeys`].
    pub fn encapsulation(&self) -> Result<&EncapsulationKeys<W>> {
        self.encapsulation.as_ref().ok_or(Error::MissingEncapsulationKeys)
    }

    /// The elements that there are keys for, ascending.
    pub fn galois_elements(&self) -> impl Iterator<Item = GaloisElement> {
        self.galois.keys().copied()
    }
}

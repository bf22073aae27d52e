//! Raised ciphertexts: `P` times a ciphertext, over the basis of its level and the special primes.
//!
//! A key switch computes there and then divides by `P` (`mod_down`). What is linear may be done before the division, so a
//! sum of many rotations, each with its plaintext, divides once: double hoisting (Bossuat et al., ePrint 2020/1203,
//! section 4). A rescale that follows divides at the same time.
//!
//! ```text
//! rotate_raised(c, g)   phi_g(x_0 + P c_0, x_1)          (x_0, x_1) = key_inner(mod_up(c_1), key_g)
//! relinearize_raised(c) (x_0 + P c_0, x_1 + P c_1)       (x_0, x_1) = key_inner(mod_up(c_2), key)
//! mod_down(x)           round(x / P)
//! mod_down_rescale(x)   round(x A / (P R))               R = prod(removed), A = prod(added)
//! ```

use super::ciphertext::{Ciphertext, Plaintext};
use super::evaluator::Evaluator;
use crate::error::Result;
use crate::math::double::Double;
use crate::math::word::Word;
use crate::params::{GaloisElement, Level};
use crate::ring::{Eval, RnsPoly};
use crate::rlwe::{
    EvaluationKeySet, RelinearizationKey, decompose, key_inner, mod_down, mod_down_rescale, mod_up,
    multiply_by_p, raise_and_multiply,
};

/// `P` times a ciphertext of degree 1, over its level's basis and the special primes. Level and scale are those of the
/// ciphertext that `mod_down` makes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct RaisedCiphertext<W>(Ciphertext<W>);

/// The digits of a ciphertext's second polynomial, over the basis of its level and the special primes: `decompose` and `mod_up`, once for many
/// rotations.
#[derive(Clone, Debug)]
pub struct Hoisted<W>(Vec<(usize, RnsPoly<W, Eval>)>);

/// An encoded message over the basis of a level and the special primes.
#[derive(Clone, Debug, PartialEq)]
pub struct RaisedPlaintext<W>(pub(super) Plaintext<W>);

impl<W: Word> RaisedCiphertext<W> {
    /// Two polynomials, over the basis of the level and the special primes.
    pub fn polys(&self) -> &[RnsPoly<W, Eval>] {
        &self.0.polys
    }

    /// The level.
    pub fn level(&self) -> Level {
        self.0.level
    }

    /// log2 of the scale, `P` not counted.
    pub fn log_scale(&self) -> Double {
        self.0.log_scale
    }
}

impl<W: Word> RaisedPlaintext<W> {
    /// The polynomial alone.
    pub fn into_poly(self) -> RnsPoly<W, Eval> {
        self.0.poly
    }
}

impl<W: Word> Evaluator<W> {
    /// `phi_g` of the message, before the division by `P`: what [`Self::automorphism`] is `mod_down` of.
    ///
    /// # Errors
    /// As [`Self::automorphism`].
    pub fn automorphism_raised(
        &self,
        a: &Ciphertext<W>,
        element: GaloisElement,
        keys: &EvaluationKeySet<W>,
    ) -> Result<RaisedCiphertext<W>> {
        self.own(a)?;
        self.check_degree("automorphism_raised", a, 1)?;
        let ring = self.ring();
        let [x0, x1] = raise_and_multiply(ring, &a.polys[1], a.level, keys.galois(element)?.key())?;
        self.finish_automorphism(a, x0, x1, element)
    }

    /// Slots rotated to the left by `k`, before the division by `P`.
    ///
    /// # Errors
    /// As [`Self::rotate`]; [`crate::Error::MissingGaloisKey`] for `k = 0` too.
    pub fn rotate_raised(
        &self,
        a: &Ciphertext<W>,
        k: i64,
        keys: &EvaluationKeySet<W>,
    ) -> Result<RaisedCiphertext<W>> {
        self.own(a)?;
        self.automorphism_raised(a, self.ring().params().galois_element(k)?, keys)
    }

    /// What all rotations of `a` share: the digits of its second polynomial, over the raised basis.
    ///
    /// # Errors
    /// [`crate::Error::DegreeMismatch`], [`crate::Error::ParamsMismatch`].
    pub fn hoist(&self, a: &Ciphertext<W>) -> Result<Hoisted<W>> {
        self.own(a)?;
        self.check_degree("hoist", a, 1)?;
        let digits = decompose(self.ring(), &a.polys[1], a.level)?.into_iter();
        let raise = |(j, digit)| Ok((j, mod_up(self.ring(), &digit, a.level)?));
        digits.map(raise).collect::<Result<_>>().map(Hoisted)
    }

    /// Slots of `a` rotated to the left by `k`, before the division by `P`, from its digits; for `k = 0` without a key. The same words as
    /// [`Self::rotate_raised`].
    ///
    /// # Errors
    /// As [`Self::rotate_raised`]; [`crate::Error::BasisMismatch`] when the digits are of another level.
    pub fn rotate_hoisted(
        &self,
        a: &Ciphertext<W>,
        digits: &Hoisted<W>,
        k: i64,
        keys: &EvaluationKeySet<W>,
    ) -> Result<RaisedCiphertext<W>> {
        if k == 0 {
            return self.raise(a);
        }
        self.own(a)?;
        self.check_degree("rotate_hoisted", a, 1)?;
        let (ring, element) = (self.ring(), self.ring().params().galois_element(k)?);
        let [x0, x1] = key_inner(ring, &digits.0, keys.galois(element)?.key())?;
        self.finish_automorphism(a, x0, x1, element)
    }

    /// `phi_g(x_0 + P c_0, x_1)`.
    fn finish_automorphism(
        &self,
        a: &Ciphertext<W>,
        mut x0: RnsPoly<W, Eval>,
        x1: RnsPoly<W, Eval>,
        element: GaloisElement,
    ) -> Result<RaisedCiphertext<W>> {
        let ring = self.ring();
        x0.add_assign(ring, &multiply_by_p(ring, &a.polys[0]))?;
        let polys = vec![ring.automorphism(&x0, element)?, ring.automorphism(&x1, element)?];
        Ok(RaisedCiphertext(self.with_polys(a, polys)))
    }

    /// Degree 2 to degree 1, before the division by `P`.
    ///
    /// # Errors
    /// As [`Self::relinearize`].
    pub fn relinearize_raised(
        &self,
        a: &Ciphertext<W>,
        key: &RelinearizationKey<W>,
    ) -> Result<RaisedCiphertext<W>> {
        self.own(a)?;
        self.check_degree("relinearize_raised", a, 2)?;
        let ring = self.ring();
        let mut polys = raise_and_multiply(ring, &a.polys[2], a.level, key.key())?.to_vec();
        for (x, c) in polys.iter_mut().zip(&a.polys) {
            x.add_assign(ring, &multiply_by_p(ring, c))?;
        }
        Ok(RaisedCiphertext(self.with_polys(a, polys)))
    }

    /// `P a`: what has to be added to something raised.
    ///
    /// # Errors
    /// [`crate::Error::DegreeMismatch`], [`crate::Error::ParamsMismatch`].
    pub fn raise(&self, a: &Ciphertext<W>) -> Result<RaisedCiphertext<W>> {
        self.own(a)?;
        self.check_degree("raise", a, 1)?;
        let polys = a.polys.iter().map(|p| multiply_by_p(self.ring(), p)).collect();
        Ok(RaisedCiphertext(self.with_polys(a, polys)))
    }

    /// `round(a / P)`.
    ///
    /// # Errors
    /// [`crate::Error::ParamsMismatch`].
    pub fn mod_down(&self, a: &RaisedCiphertext<W>) -> Result<Ciphertext<W>> {
        self.own(&a.0)?;
        let polys = a.0.polys.iter().map(|p| mod_down(self.ring(), p)).collect::<Result<Vec<_>>>()?;
        Ok(self.with_polys(&a.0, polys))
    }

    /// `round(a prod(added) / (P prod(removed)))`, one level down: one rounding where `mod_down` and then [`Self::rescale`] have two.
    /// Each coefficient of the result differs from that of the two operations by at most 1, and hardly ever at all.
    ///
    /// # Errors
    /// [`crate::Error::LevelsExhausted`] at level 0; [`crate::Error::ParamsMismatch`].
    pub fn mod_down_rescale(&self, a: &RaisedCiphertext<W>) -> Result<Ciphertext<W>> {
        self.own(&a.0)?;
        let divide = |p| mod_down_rescale(self.ring(), p, a.0.level);
        let polys = a.0.polys.iter().map(divide).collect::<Result<Vec<_>>>()?;
        self.one_level_down(&a.0, polys)
    }

    /// `a + b`, at one level and scale.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_raised(
        &self,
        a: &RaisedCiphertext<W>,
        b: &RaisedCiphertext<W>,
    ) -> Result<RaisedCiphertext<W>> {
        self.add(&a.0, &b.0).map(RaisedCiphertext)
    }

    /// `a - b`, at one level and scale.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn sub_raised(
        &self,
        a: &RaisedCiphertext<W>,
        b: &RaisedCiphertext<W>,
    ) -> Result<RaisedCiphertext<W>> {
        self.sub(&a.0, &b.0).map(RaisedCiphertext)
    }

    /// `-a`.
    ///
    /// # Errors
    /// As [`Self::neg`].
    pub fn neg_raised(&self, a: &RaisedCiphertext<W>) -> Result<RaisedCiphertext<W>> {
        self.neg(&a.0).map(RaisedCiphertext)
    }

    /// `a * b` with a plaintext at the same level; scales multiply.
    ///
    /// # Errors
    /// As [`Self::mul_plain`].
    pub fn mul_plain_raised(
        &self,
        a: &RaisedCiphertext<W>,
        b: &RaisedPlaintext<W>,
    ) -> Result<RaisedCiphertext<W>> {
        self.mul_plain(&a.0, &b.0).map(RaisedCiphertext)
    }

    /// `sum += a * b` with a plaintext, all at one level, `sum` at the product's scale.
    ///
    /// # Errors
    /// As [`Self::mul_plain`]; [`crate::Error::ScaleMismatch`].
    pub fn mul_plain_add_raised(
        &self,
        sum: &mut RaisedCiphertext<W>,
        a: &RaisedCiphertext<W>,
        b: &RaisedPlaintext<W>,
    ) -> Result<()> {
        let product = self.mul_plain(&a.0, &b.0)?;
        sum.0 = self.add(&sum.0, &product)?;
        Ok(())
    }

    /// `a * value`, the value rounded at `2^log_scale`; scales multiply.
    ///
    /// # Errors
    /// As [`Self::mul_scalar`].
    pub fn mul_scalar_raised(
        &self,
        a: &RaisedCiphertext<W>,
        value: f64,
        log_scale: Double,
    ) -> Result<RaisedCiphertext<W>> {
        self.mul_scalar(&a.0, value, log_scale).map(RaisedCiphertext)
    }
}

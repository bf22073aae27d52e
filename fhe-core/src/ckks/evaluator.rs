//! The reference evaluator: every operation by its definition, exact, checked. It is the oracle of the
//! compiled path, which must give the same words, bit for bit.

use super::ciphertext::{Ciphertext, Plaintext, check_scale};
use super::scalar;
use crate::error::{Error, Result};
use crate::math::double::Double;
use crate::math::word::Word;
use crate::params::{GaloisElement, Level, LimbIdx};
use crate::ring::{Eval, Ring, RnsPoly};
use crate::rlwe::{EvaluationKeySet, RelinearizationKey, key_switch};

/// Scales may differ by this factor in log2 before operands are refused.
const SCALE_TOLERANCE: f64 = 1.0 / (1u64 << 30) as f64;

/// Computes on ciphertexts.
#[derive(Clone, Debug)]
pub struct Evaluator<W> {
    ring: Ring<W>,
}

impl<W: Word> Evaluator<W> {
    /// An evaluator over a ring.
    pub fn new(ring: &Ring<W>) -> Self {
        Self { ring: ring.clone() }
    }

    pub(super) fn ring(&self) -> &Ring<W> {
        &self.ring
    }

    fn check(
        &self,
        operation: &'static str,
        a: &Ciphertext<W>,
        level: Level,
        scale: Option<Double>,
    ) -> Result<()> {
        self.own(a)?;
        if a.level != level {
            return Err(Error::LevelMismatch { operation, expected: a.level, found: level });
        }
        let Some(scale) = scale else { return Ok(()) };
        // Asked this way round, a NaN is refused.
        if (scale - a.log_scale).to_f64().abs() <= SCALE_TOLERANCE {
            return Ok(());
        }
        let (expected, found) = (a.log_scale.to_f64(), scale.to_f64());
        Err(Error::ScaleMismatch { operation, expected, found })
    }

    /// Refuses a ciphertext of other parameters: the first thing of every operation.
    pub(super) fn own(&self, a: &Ciphertext<W>) -> Result<()> {
        self.ring.params().check_digest(a.params.digest())
    }

    fn own_plain(&self, b: &Plaintext<W>) -> Result<()> {
        self.ring.params().check_digest(b.params().digest())
    }

    /// The scale of a product, which must leave the modulus of the level some room. A product of canonical
    /// scales does from level 1 on: `S_l^2 = S_{l-1} prod(removed)` and `S_{l-1} < Q_{l-1}`.
    fn product_scale(&self, operation: &'static str, a: &Ciphertext<W>, factor: Double) -> Result<Double> {
        let scale = a.log_scale + factor;
        check_scale(operation, self.ring.params().level(a.level)?, scale)?;
        Ok(scale)
    }

    pub(super) fn with_polys(&self, a: &Ciphertext<W>, polys: Vec<RnsPoly<W, Eval>>) -> Ciphertext<W> {
        Ciphertext { params: a.params.clone(), polys, level: a.level, log_scale: a.log_scale }
    }

    fn combine(
        &self,
        operation: &'static str,
        a: &Ciphertext<W>,
        b: &Ciphertext<W>,
        f: impl Fn(&mut RnsPoly<W, Eval>, &RnsPoly<W, Eval>) -> Result<()>,
    ) -> Result<Ciphertext<W>> {
        self.own(b)?;
        self.check(operation, a, b.level, Some(b.log_scale))?;
        let zero = RnsPoly::zero(a.polys[0].basis(), self.ring.n());
        let mut polys = a.polys.clone();
        polys.resize(polys.len().max(b.polys.len()), zero);
        polys.iter_mut().zip(&b.polys).try_for_each(|(x, y)| f(x, y))?;
        Ok(self.with_polys(a, polys))
    }

    /// `a + b`: same level, same scale, any degrees.
    ///
    /// # Errors
    /// [`Error::LevelMismatch`], [`Error::ScaleMismatch`], [`Error::ParamsMismatch`].
    pub fn add(&self, a: &Ciphertext<W>, b: &Ciphertext<W>) -> Result<Ciphertext<W>> {
        self.combine("add", a, b, |x, y| x.add_assign(&self.ring, y))
    }

    /// `a - b`.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn sub(&self, a: &Ciphertext<W>, b: &Ciphertext<W>) -> Result<Ciphertext<W>> {
        self.combine("sub", a, b, |x, y| x.sub_assign(&self.ring, y))
    }

    /// `-a`.
    ///
    /// # Errors
    /// [`Error::ParamsMismatch`].
    pub fn neg(&self, a: &Ciphertext<W>) -> Result<Ciphertext<W>> {
        self.own(a)?;
        let mut out = a.clone();
        out.polys.iter_mut().for_each(|p| p.neg_assign(&self.ring));
        Ok(out)
    }

    /// `a + b` with a plaintext at the same level and scale.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_plain(&self, a: &Ciphertext<W>, b: &Plaintext<W>) -> Result<Ciphertext<W>> {
        self.own_plain(b)?;
        self.check("add_plain", a, b.level(), Some(b.log_scale()))?;
        let mut out = a.clone();
        out.polys[0].add_assign(&self.ring, b.poly())?;
        Ok(out)
    }

    /// `a - b` with a plaintext at the same level and scale.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn sub_plain(&self, a: &Ciphertext<W>, b: &Plaintext<W>) -> Result<Ciphertext<W>> {
        self.own_plain(b)?;
        self.check("sub_plain", a, b.level(), Some(b.log_scale()))?;
        let mut out = a.clone();
        out.polys[0].sub_assign(&self.ring, b.poly())?;
        Ok(out)
    }

    /// `a * b` with a plaintext at the same level; scales multiply.
    ///
    /// # Errors
    /// [`Error::LevelMismatch`], [`Error::ParamsMismatch`]; [`Error::ScaleTooLarge`] when the product's scale
    /// reaches the modulus.
    pub fn mul_plain(&self, a: &Ciphertext<W>, b: &Plaintext<W>) -> Result<Ciphertext<W>> {
        self.own_plain(b)?;
        self.check("mul_plain", a, b.level(), None)?;
        let log_scale = self.product_scale("mul_plain", a, b.log_scale())?;
        let mut out = a.clone();
        out.polys.iter_mut().try_for_each(|p| p.mul_assign(&self.ring, b.poly()))?;
        out.log_scale = log_scale;
        Ok(out)
    }

    fn residues(&self, x: i128) -> impl Fn(LimbIdx) -> W + Sync {
        let params = self.ring.params().clone();
        move |limb| W::truncate(scalar::residue(x, params.prime(limb)))
    }

    /// `a * value`, the value rounded at `2^log_scale`; scales multiply. No encoding: one word a prime.
    ///
    /// # Errors
    /// [`Error::NotFinite`], [`Error::Overflow`], [`Error::ParamsMismatch`]; [`Error::ScaleTooLarge`] when the
    /// product's scale reaches the modulus.
    pub fn mul_scalar(&self, a: &Ciphertext<W>, value: f64, log_scale: Double) -> Result<Ciphertext<W>> {
        self.own(a)?;
        let x = scalar::integer(value, log_scale)?;
        let product = self.product_scale("mul_scalar", a, log_scale)?;
        let mut out = a.clone();
        out.polys.iter_mut().for_each(|p| p.mul_scalar_assign(&self.ring, self.residues(x)));
        out.log_scale = product;
        Ok(out)
    }

    /// `a + value` in every slot.
    ///
    /// # Errors
    /// [`Error::NotFinite`], [`Error::ParamsMismatch`]; [`Error::Overflow`] when the scaled value reaches half the
    /// modulus of the level.
    pub fn add_scalar(&self, a: &Ciphertext<W>, value: f64) -> Result<Ciphertext<W>> {
        self.own(a)?;
        let x = scalar::addend(self.ring.params(), a.level, value, a.log_scale)?;
        let mut out = a.clone();
        out.polys[0].add_scalar_assign(&self.ring, self.residues(x));
        Ok(out)
    }

    /// `a * b`, of degree 2; operands of degree 1 at the same level; scales multiply.
    ///
    /// # Errors
    /// [`Error::LevelMismatch`], [`Error::DegreeMismatch`], [`Error::ParamsMismatch`]; [`Error::ScaleTooLarge`]
    /// when the product's scale reaches the modulus, as at level 0.
    pub fn mul(&self, a: &Ciphertext<W>, b: &Ciphertext<W>) -> Result<Ciphertext<W>> {
        self.own(b)?;
        self.check("mul", a, b.level, None)?;
        self.check_degree("mul", a, 1)?;
        self.check_degree("mul", b, 1)?;
        let log_scale = self.product_scale("mul", a, b.log_scale)?;
        let ring = &self.ring;
        let product = |x: &RnsPoly<W, Eval>, y| -> Result<_> {
            let mut p = x.clone();
            p.mul_assign(ring, y)?;
            Ok(p)
        };
        let c0 = product(&a.polys[0], &b.polys[0])?;
        let mut c1 = product(&a.polys[0], &b.polys[1])?;
        c1.mul_add_assign(ring, &a.polys[1], &b.polys[0])?;
        let c2 = product(&a.polys[1], &b.polys[1])?;
        let mut out = self.with_polys(a, vec![c0, c1, c2]);
        out.log_scale = log_scale;
        Ok(out)
    }

    /// `a * a`.
    ///
    /// # Errors
    /// As [`Self::mul`].
    pub fn square(&self, a: &Ciphertext<W>) -> Result<Ciphertext<W>> {
        self.mul(a, a)
    }

    pub(super) fn check_degree(
        &self,
        operation: &'static str,
        a: &Ciphertext<W>,
        expected: usize,
    ) -> Result<()> {
        if a.degree() == expected {
            return Ok(());
        }
        Err(Error::DegreeMismatch { operation, expected, found: a.degree() })
    }

    /// Degree 2 back to degree 1.
    ///
    /// # Errors
    /// [`Error::DegreeMismatch`], [`Error::ParamsMismatch`].
    pub fn relinearize(&self, a: &Ciphertext<W>, key: &RelinearizationKey<W>) -> Result<Ciphertext<W>> {
        self.own(a)?;
        self.check_degree("relinearize", a, 2)?;
        let [k0, k1] = key_switch(&self.ring, &a.polys[2], a.level, key.key())?;
        let mut polys = a.polys[..2].to_vec();
        polys[0].add_assign(&self.ring, &k0)?;
        polys[1].add_assign(&self.ring, &k1)?;
        Ok(self.with_polys(a, polys))
    }

    /// `round(a prod(added) / prod(removed))`, one level down; the scale is divided.
    ///
    /// # Errors
    /// [`Error::LevelsExhausted`] at level 0; [`Error::ParamsMismatch`].
    pub fn rescale(&self, a: &Ciphertext<W>) -> Result<Ciphertext<W>> {
        self.own(a)?;
        let Some(next) = a.level.0.checked_sub(1) else {
            return Err(Error::LevelsExhausted { operation: "rescale" });
        };
        let to = &self.ring.params().level(Level(next))?.basis;
        let polys = a.polys.iter().map(|p| self.ring.rescale(p, to)).collect::<Result<Vec<_>>>()?;
        self.one_level_down(a, polys)
    }

    /// `polys` as the ciphertext that `a` becomes by a rescale.
    pub(super) fn one_level_down(
        &self,
        a: &Ciphertext<W>,
        polys: Vec<RnsPoly<W, Eval>>,
    ) -> Result<Ciphertext<W>> {
        let params = self.ring.params();
        let level = Level(a.level.0 - 1);
        let step = scalar::log_step(params, &params.level(a.level)?.basis, &params.level(level)?.basis);
        Ok(Ciphertext { params: a.params.clone(), polys, level, log_scale: a.log_scale - step })
    }

    /// The same message at a lower level and its canonical scale: forgets limbs down to a basis a step above that of `to`
    /// ([`crate::params::Params::level_drop_basis`]), multiplies by the integer that lands on the scale of `to`, rescales. `a` has
    /// the canonical scale of its level.
    ///
    /// # Errors
    /// [`Error::LevelMismatch`] when `to` is above; [`Error::ScaleMismatch`] when `a` is not canonical;
    /// [`Error::ParamsMismatch`].
    pub fn level_drop(&self, a: &Ciphertext<W>, to: Level) -> Result<Ciphertext<W>> {
        self.own(a)?;
        let params = self.ring.params();
        let kept = params.level_drop_basis(a.level, to)?;
        self.check("level_drop", a, a.level, Some(params.level(a.level)?.log_scale))?;
        let Some(kept) = kept else { return Ok(a.clone()) };
        let Some(factor) = scalar::level_drop_factor(params, a.level, to)? else { return Ok(a.clone()) };
        let target = params.level(to)?;
        let drop = |p: &RnsPoly<W, Eval>| {
            let mut p = p.select("level_drop", &kept)?;
            p.mul_scalar_assign(&self.ring, self.residues(factor));
            self.ring.rescale(&p, &target.basis)
        };
        let polys = a.polys.iter().map(drop).collect::<Result<Vec<_>>>()?;
        Ok(Ciphertext { params: a.params.clone(), polys, level: to, log_scale: target.log_scale })
    }

    /// The same integers at a lower level whose limbs are all there: the others are forgotten, the scale stays.
    ///
    /// # Errors
    /// [`Error::BasisMismatch`] when the level has other limbs; [`Error::NoSuchLevel`]; [`Error::ParamsMismatch`].
    pub fn forget_limbs(&self, a: &Ciphertext<W>, to: Level) -> Result<Ciphertext<W>> {
        self.own(a)?;
        let basis = &self.ring.params().level(to)?.basis;
        let polys = a.polys.iter().map(|p| p.select("forget_limbs", basis)).collect::<Result<Vec<_>>>()?;
        Ok(Ciphertext { params: a.params.clone(), polys, level: to, log_scale: a.log_scale })
    }

    /// The same message and scale at a lower level, without a claim to the canonical scale: forgets limbs where the basis there is a
    /// subset, else multiplies by the integer nearest to what a rescale divides by, and rescales. That integer has about the bits of
    /// the nominal scale, so the message changes by a relative 2^-(scale + 1).
    pub(super) fn lower(&self, a: &Ciphertext<W>, to: Level) -> Result<Ciphertext<W>> {
        let params = self.ring.params();
        let Some(kept) = params.level_drop_basis(a.level, to)? else { return Ok(a.clone()) };
        let (target, source) = (&params.level(to)?.basis, &params.level(a.level)?.basis);
        let is_subset = target.iter().all(|limb| source.contains(limb));
        let factor =
            if is_subset { 1 } else { scalar::integer(1.0, scalar::log_step(params, &kept, target))? };
        let lower = |p: &RnsPoly<W, Eval>| {
            if is_subset {
                return p.select("lower", target);
            }
            let mut p = p.select("lower", &kept)?;
            p.mul_scalar_assign(&self.ring, self.residues(factor));
            self.ring.rescale(&p, target)
        };
        let polys = a.polys.iter().map(lower).collect::<Result<Vec<_>>>()?;
        Ok(Ciphertext { params: a.params.clone(), polys, level: to, log_scale: a.log_scale })
    }

    /// Every slot times the imaginary unit: `a X^(N/2)`, without noise, level or scale.
    ///
    /// # Errors
    /// [`Error::ParamsMismatch`].
    pub fn mul_i(&self, a: &Ciphertext<W>) -> Result<Ciphertext<W>> {
        self.own(a)?;
        let mut i = vec![0i8; self.ring.n()];
        i[self.ring.n() / 2] = 1;
        let i = self.ring.ntt(self.ring.from_small(a.polys[0].basis(), &i));
        let mut out = a.clone();
        out.polys.iter_mut().try_for_each(|p| p.mul_assign(&self.ring, &i))?;
        Ok(out)
    }

    /// Slots rotated to the left by `k`: slot `i` takes slot `i + k`.
    ///
    /// # Errors
    /// [`Error::RotationOutOfRange`], [`Error::MissingGaloisKey`], [`Error::DegreeMismatch`],
    /// [`Error::ParamsMismatch`].
    pub fn rotate(&self, a: &Ciphertext<W>, k: i64, keys: &EvaluationKeySet<W>) -> Result<Ciphertext<W>> {
        self.own(a)?;
        let element = self.ring.params().galois_element(k)?;
        if element.0 == 1 {
            return Ok(a.clone());
        }
        self.automorphism(a, element, keys)
    }

    /// Every slot conjugated.
    ///
    /// # Errors
    /// [`Error::MissingGaloisKey`], [`Error::DegreeMismatch`], [`Error::ParamsMismatch`].
    pub fn conjugate(&self, a: &Ciphertext<W>, keys: &EvaluationKeySet<W>) -> Result<Ciphertext<W>> {
        self.automorphism(a, self.ring.params().galois_conjugate(), keys)
    }

    /// `phi_g` of the message: `(phi_g(c_0 + k_0), phi_g(k_1))` with `(k_0, k_1)` the key switch of `c_1` to
    /// `phi_g^-1(s)`. The automorphism comes last, so rotations of one value share `mod_up`.
    ///
    /// # Errors
    /// [`Error::MissingGaloisKey`], [`Error::NotGalois`], [`Error::DegreeMismatch`], [`Error::ParamsMismatch`].
    pub fn automorphism(
        &self,
        a: &Ciphertext<W>,
        element: GaloisElement,
        keys: &EvaluationKeySet<W>,
    ) -> Result<Ciphertext<W>> {
        self.own(a)?;
        self.check_degree("automorphism", a, 1)?;
        let key = keys.galois(element)?;
        let [mut k0, k1] = key_switch(&self.ring, &a.polys[1], a.level, key.key())?;
        k0.add_assign(&self.ring, &a.polys[0])?;
        let polys = vec![self.ring.automorphism(&k0, element)?, self.ring.automorphism(&k1, element)?];
        Ok(self.with_polys(a, polys))
    }
}

//! Bootstrapping: from an exhausted ciphertext to a fresh one (Cheon, Han, Kim, Kim, Song, ePrint 2018/153), with sparse-secret
//! encapsulation (ePrint 2022/024), a factored DFT and a polynomial for the sine.
//!
//! ```text
//! to_sparse        key switch at level 0: under the ephemeral secret (times the gain)
//! mod_raise        the same integers over the highest basis: decrypts to c = m + q I, |I| < K
//! to_dense         key switch: under the dense secret again
//! sum_periods      for messages that repeat themselves: c comes to their subring
//! coeffs_to_slots  slots c_k / q, in two ciphertexts: k below N/2, and from N/2 on
//! eval_mod         slots m_k, of each: sin(2 pi x) / (2 pi) is x - I, nearly, for x near the integer I
//! slots_to_coeffs  the message again
//! ```
//!
//! [`BootstrapPlan`] says, before there are keys, which it takes and what it does; [`Bootstrapper`] has the matrices encoded. No constant is
//! multiplied anywhere: `1/q`, `1/(2 pi)`, the doublings and the halves are changes of the declared scale. What the sine adds to the message
//! is [`BootstrapPlan::sine_error`].

mod dft;
mod plan;
mod sine;
mod sparse;

pub use plan::{BootstrapLiteral, BootstrapPlan, HEADROOM, Slots};
pub use sparse::SparseCiphertext;

use crate::ckks::{Ciphertext, EncodedTransform, Encoder, Evaluator, LinearTransform};
use crate::error::{Error, Result};
use crate::math::double::Double;
use crate::math::word::Word;
use crate::params::Level;
use crate::ring::{Eval, Ring, RnsPoly};
use crate::rlwe::EvaluationKeySet;

/// Scales may differ by this in log2 before operands are refused.
const SCALE_TOLERANCE: f64 = 1.0 / (1u64 << 30) as f64;

/// Bootstraps, by a plan whose matrices are encoded.
#[derive(Clone, Debug)]
pub struct Bootstrapper<W> {
    ring: Ring<W>,
    evaluator: Evaluator<W>,
    plan: BootstrapPlan,
    coeffs_to_slots: Vec<EncodedTransform<W>>,
    slots_to_coeffs: Vec<EncodedTransform<W>>,
}

impl<W: Word> Bootstrapper<W> {
    /// Encodes the matrices: `L + K` rows a diagonal, 2.8 GB at log N 16.
    ///
    /// # Errors
    /// [`Error::ParamsMismatch`] when the ring is of other parameters than the plan.
    pub fn new(ring: &Ring<W>, plan: &BootstrapPlan) -> Result<Self> {
        ring.params().check_digest(plan.params().digest())?;
        let encoder = Encoder::new(ring);
        let encode = |transforms: &[LinearTransform], from: Level, scales: Vec<Double>| {
            let mut encoded = Vec::with_capacity(transforms.len());
            for (i, (transform, pair)) in (0u32..).zip(transforms.iter().zip(scales.windows(2))) {
                let level = Level(from.0 - i);
                encoded.push(transform.encode(&encoder, level, pair[1] - pair[0] + plan.step(level)?)?);
            }
            Ok(encoded)
        };
        let coeffs_to_slots = encode(plan.coeffs_to_slots(), plan.params().max_level(), plan.scales_up()?)?;
        let slots_to_coeffs =
            encode(plan.slots_to_coeffs(), plan.level_after_eval_mod(), plan.scales_down()?)?;
        let (ring, evaluator, plan) = (ring.clone(), Evaluator::new(ring), plan.clone());
        Ok(Self { ring, evaluator, plan, coeffs_to_slots, slots_to_coeffs })
    }

    /// The plan.
    pub fn plan(&self) -> &BootstrapPlan {
        &self.plan
    }

    /// Refuses keys that are not all there.
    ///
    /// # Errors
    /// [`Error::MissingKeys`] names all of those that are missing; [`Error::WrongKey`] for encapsulation keys of another
    /// weight; [`Error::ParamsMismatch`].
    pub fn check_keys(&self, keys: &EvaluationKeySet<W>) -> Result<()> {
        let params = self.plan.params();
        params.check_digest(keys.params().digest())?;
        let mut missing = Vec::new();
        if keys.relinearization().is_err() {
            missing.push("relinearization".to_owned());
        }
        match keys.encapsulation() {
            Err(_) => missing.push("encapsulation".to_owned()),
            Ok(found) if found.weight() > self.plan.literal().weight => {
                return Err(Error::WrongKey {
                    expected: format!("encapsulation keys of weight {} at most", self.plan.literal().weight),
                    found: format!("some of weight {}", found.weight()),
                });
            }
            Ok(_) => {}
        }
        for element in self.plan.required_galois_elements()? {
            if keys.galois(element).is_err() {
                let name = params.describe_galois(element);
                let is_rotation = element != params.galois_conjugate();
                missing.push(if is_rotation { format!("rotation by {name}") } else { name });
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(Error::MissingKeys { missing }) }
    }

    fn check_level(&self, operation: &'static str, found: Level, expected: Level) -> Result<()> {
        if found == expected { Ok(()) } else { Err(Error::LevelMismatch { operation, expected, found }) }
    }

    /// Under the ephemeral sparse secret; the message multiplied by the gain.
    ///
    /// # Errors
    /// [`Error::LevelMismatch`] unless `a` is at level 0, [`Error::ScaleMismatch`] unless its scale is canonical;
    /// [`Error::DegreeMismatch`]; [`Error::MissingEncapsulationKeys`]; [`Error::ParamsMismatch`].
    pub fn to_sparse(&self, a: &Ciphertext<W>, keys: &EvaluationKeySet<W>) -> Result<SparseCiphertext<W>> {
        let params = self.plan.params();
        params.check_digest(a.params().digest())?;
        self.check_level("to_sparse", a.level(), self.plan.min_input_level())?;
        let canonical = params.level(a.level())?.log_scale;
        // Asked this way round, a NaN is refused.
        let is_canonical = (a.log_scale() - canonical).to_f64().abs() <= SCALE_TOLERANCE;
        if !is_canonical {
            let (expected, found) = (canonical.to_f64(), a.log_scale().to_f64());
            return Err(Error::ScaleMismatch { operation: "to_sparse", expected, found });
        }
        let gain = f64::from(1u32 << self.plan.literal().log_gain.min(31));
        let a = &self.evaluator.mul_scalar(a, gain, Double::default())?;
        SparseCiphertext::to_sparse(&self.ring, a, keys.encapsulation()?)
    }

    /// The same integers, centred, modulo the highest modulus; slots are then those of `c / q`.
    ///
    /// # Errors
    /// [`Error::LevelMismatch`] unless `a` is at level 0; [`Error::ParamsMismatch`].
    pub fn mod_raise(&self, a: &SparseCiphertext<W>) -> Result<SparseCiphertext<W>> {
        a.mod_raise(&self.ring)?.with_scale(self.plan.log_q()?)
    }

    /// Under the dense secret again.
    ///
    /// # Errors
    /// [`Error::MissingEncapsulationKeys`]; [`Error::ParamsMismatch`].
    pub fn to_dense(&self, a: &SparseCiphertext<W>, keys: &EvaluationKeySet<W>) -> Result<Ciphertext<W>> {
        a.to_dense(&self.ring, keys.encapsulation()?)
    }

    /// `sum_j rot_(j period)(a)`, by doubling: coefficients outside of the subring of periodic messages vanish, those of the subring are so
    /// many times as large, and slots as before at the scale that is declared. Without periods the same.
    ///
    /// # Errors
    /// [`Error::LevelMismatch`] unless `a` is at the highest level; [`Error::MissingGaloisKey`]; [`Error::DegreeMismatch`];
    /// [`Error::ParamsMismatch`].
    pub fn sum_periods(&self, a: &Ciphertext<W>, keys: &EvaluationKeySet<W>) -> Result<Ciphertext<W>> {
        self.check_level("sum_periods", a.level(), self.plan.params().max_level())?;
        let mut sum = a.clone();
        for k in self.plan.period_rotations() {
            sum = self.evaluator.add(&sum, &self.evaluator.rotate(&sum, k, keys)?)?;
        }
        self.with_scale(sum, self.plan.raised_scale()?)
    }

    /// The coefficients of `c / q` as real slots, in bit-reversed order: those below `N / 2`, and the others. Of periodic messages, in one
    /// ciphertext, side by side.
    ///
    /// # Errors
    /// As [`Self::sum_periods`], which comes before.
    pub fn coeffs_to_slots(
        &self,
        a: &Ciphertext<W>,
        keys: &EvaluationKeySet<W>,
    ) -> Result<Vec<Ciphertext<W>>> {
        let e = &self.evaluator;
        let mut z = a.clone();
        for transform in &self.coeffs_to_slots {
            z = e.linear_transform(&z, transform, keys)?;
        }
        let conjugate = e.conjugate(&z, keys)?;
        let scale = self.plan.argument_scale()?;
        let mut parts = vec![self.with_scale(e.add(&z, &conjugate)?, scale)?];
        if self.n_parts() == 2 {
            // (z - conj z) = 2 i Im z, and -i of it 2 Im z.
            let imaginary = e.neg(&e.mul_i(&e.sub(&z, &conjugate)?)?)?;
            parts.push(self.with_scale(imaginary, scale)?);
        }
        Ok(parts)
    }

    /// Ciphertexts between `coeffs_to_slots` and `slots_to_coeffs`.
    fn n_parts(&self) -> usize {
        match self.plan.literal().slots {
            Slots::Complex | Slots::RealPair => 2,
            Slots::Periodic { .. } => 1,
        }
    }

    /// The same integers, said to have another scale.
    fn with_scale(&self, a: Ciphertext<W>, log_scale: Double) -> Result<Ciphertext<W>> {
        Ciphertext::new(self.plan.params(), a.polys().to_vec(), a.level(), log_scale)
    }

    /// `x = I + m / q` to `m`, slot by slot, `m` at its own scale: a cosine, its angle doubled until it is `sin(2 pi x)`.
    ///
    /// # Errors
    /// [`Error::LevelMismatch`] unless `x` is where [`Self::coeffs_to_slots`] ends; [`Error::MissingRelinearizationKey`];
    /// [`Error::DegreeMismatch`]; [`Error::ParamsMismatch`].
    pub fn eval_mod(&self, x: &Ciphertext<W>, keys: &EvaluationKeySet<W>) -> Result<Ciphertext<W>> {
        let e = &self.evaluator;
        self.check_level("eval_mod", x.level(), self.plan.level_after_dft())?;
        let key = keys.relinearization()?;
        let mut y = e.evaluate_chebyshev(x, self.plan.cosine(), self.plan.cosine_scale()?, key)?;
        for _ in 0..self.plan.literal().double_angles {
            // 2 y^2 - 1: the square at a scale of one bit less is twice as much.
            let square = e.mod_down_rescale(&e.relinearize_raised(&e.square(&y)?, key)?)?;
            let scale = square.log_scale() - Double::from(1.0);
            y = e.add_scalar(&self.with_scale(square, scale)?, -1.0)?;
        }
        self.with_scale(y, self.plan.message_scale()?)
    }

    /// From the coefficients of a message, as [`Self::coeffs_to_slots`] orders them, to the message.
    ///
    /// # Errors
    /// [`Error::Parts`] for another number of ciphertexts; [`Error::LevelMismatch`] unless they are where [`Self::eval_mod`] ends;
    /// [`Error::ScaleMismatch`] when their scales differ; [`Error::MissingGaloisKey`]; [`Error::DegreeMismatch`];
    /// [`Error::ParamsMismatch`].
    pub fn slots_to_coeffs(
        &self,
        coefficients: &[Ciphertext<W>],
        keys: &EvaluationKeySet<W>,
    ) -> Result<Ciphertext<W>> {
        let e = &self.evaluator;
        let mut z = match coefficients {
            [real, imaginary] if self.n_parts() == 2 => e.add(real, &e.mul_i(imaginary)?)?,
            [both] if self.n_parts() == 1 => both.clone(),
            _ => {
                let (operation, expected) = ("slots_to_coeffs", self.n_parts());
                return Err(Error::Parts { operation, expected, found: coefficients.len() });
            }
        };
        for transform in &self.slots_to_coeffs {
            z = e.linear_transform(&z, transform, keys)?;
        }
        self.with_scale(z, self.plan.result_scale()?)
    }

    /// All steps.
    fn steps(&self, a: &Ciphertext<W>, keys: &EvaluationKeySet<W>) -> Result<Ciphertext<W>> {
        let sparse = self.mod_raise(&self.to_sparse(a, keys)?)?;
        let raised = self.sum_periods(&self.to_dense(&sparse, keys)?, keys)?;
        let parts = self.coeffs_to_slots(&raised, keys)?;
        let reduced = parts.iter().map(|x| self.eval_mod(x, keys)).collect::<Result<Vec<_>>>()?;
        self.slots_to_coeffs(&reduced, keys)
    }

    fn check_slots(&self, is_pair: bool) -> Result<()> {
        let found = self.plan.literal().slots;
        if (found == Slots::RealPair) == is_pair {
            return Ok(());
        }
        let expected = if is_pair { "RealPair" } else { "Complex or Periodic" };
        Err(Error::InvalidParams(format!(
            "bootstrapping is planned for {found:?} slots, expected {expected}"
        )))
    }

    /// The same slots at the output level, at its canonical scale. Nothing here can see a message that is too large:
    /// [`BootstrapPlan::check_input`] and [`BootstrapPlan::check_output`] are for those who can. Under a plan for [`Slots::Periodic`] they are to repeat themselves: what does
    /// not is lost.
    ///
    /// # Errors
    /// [`Error::LevelMismatch`] and [`Error::ScaleMismatch`] unless `a` is at level 0 at its canonical scale;
    /// [`Error::MissingKeys`]; [`Error::InvalidParams`] when the plan is for [`Slots::RealPair`];
    /// [`Error::DegreeMismatch`]; [`Error::ParamsMismatch`].
    pub fn bootstrap(&self, a: &Ciphertext<W>, keys: &EvaluationKeySet<W>) -> Result<Ciphertext<W>> {
        self.check_slots(false)?;
        self.check_keys(keys)?;
        self.steps(a, keys)
    }

    /// Two ciphertexts of real slots at the price of one.
    ///
    /// # Errors
    /// As [`Self::bootstrap`], the plan being for [`Slots::RealPair`].
    pub fn bootstrap_real_pair(
        &self,
        a: &Ciphertext<W>,
        b: &Ciphertext<W>,
        keys: &EvaluationKeySet<W>,
    ) -> Result<[Ciphertext<W>; 2]> {
        self.check_slots(true)?;
        self.check_keys(keys)?;
        let e = &self.evaluator;
        let z = self.steps(&e.add(a, &e.mul_i(b)?)?, keys)?;
        let conjugate = e.conjugate(&z, keys)?;
        let real = e.add(&z, &conjugate)?;
        let imaginary = e.neg(&e.mul_i(&e.sub(&z, &conjugate)?)?)?;
        let scale = self.plan.params().level(z.level())?.log_scale;
        Ok([self.with_scale(real, scale)?, self.with_scale(imaginary, scale)?])
    }
}

fn pair<'a, W: Word>(operation: &'static str, a: &'a Ciphertext<W>) -> Result<[&'a RnsPoly<W, Eval>; 2]> {
    match a.polys() {
        [c0, c1] => Ok([c0, c1]),
        _ => Err(Error::DegreeMismatch { operation, expected: 1, found: a.degree() }),
    }
}

//! What bootstrapping under given parameters is: matrices, polynomial, levels and scales, before any key is made.
//!
//! Levels, from the top: [`BootstrapPlan::coeffs_to_slots`] one each, the polynomial its depth, a level for each double angle,
//! [`BootstrapPlan::slots_to_coeffs`] one each. Scales, in log2, with `q` the modulus of level 0, `r_l` the step of level `l`:
//!
//! ```text
//! after mod_raise        log q                      slots are those of c / q,  c = m 2^gain 2^S_0 + q I
//! after sum_periods      log q + log(N / 2 period)  of periodic messages: the sum of so many equal terms
//! after coeffs_to_slots  s_1 - 1                    slots are c_k / q in pairs; the sum with the conjugate has one bit more
//! argument u = x / K     s_1 + log K                such that the largest T_(2^j) has r + 1, where doubling leaves scales alone
//! last double angle      s_m + log r - log 2 pi     r = q / (2^S_0 2^gain)
//! after eval_mod         s_m = S_out + 10           slots are m_k: sin(2 pi x) r / (2 pi)
//! after slots_to_coeffs  S_out                      canonical
//! ```

use super::{dft, sine};
use crate::ckks::scalar::log_step;
use crate::ckks::{ChebyshevSeries, LinearTransform, scale_before_doublings, step};
use crate::error::{Error, Result};
use crate::math::double::Double;
use crate::math::fft::SpecialFft;
use crate::params::{GaloisElement, Level, Params};
use crate::rlwe::check_weight;
use num_complex::Complex64;
use std::collections::BTreeSet;

/// Bits that a message has above its final scale after `eval_mod`. The diagonals of `slots_to_coeffs` have a third of them less than a
/// level each; the rounding at the end of `eval_mod` counts so much less.
pub const HEADROOM: f64 = 10.0;

/// What the slots hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slots {
    /// One ciphertext of complex slots.
    Complex,
    /// Two ciphertexts of real slots, bootstrapped as real and imaginary parts of one.
    RealPair,
    /// One ciphertext whose complex slots repeat with a shorter period: a power of two from 2 to N / 4. One `eval_mod` instead of
    /// two, and smaller matrices.
    Periodic {
        /// The period.
        period: usize,
    },
}

/// How to bootstrap; [`BootstrapPlan::new`] checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapLiteral {
    /// Matrices, and levels, of `coeffs_to_slots`.
    pub coeffs_to_slots: usize,
    /// Matrices, and levels, of `slots_to_coeffs`.
    pub slots_to_coeffs: usize,
    /// Non-zero coefficients of the ephemeral secret.
    pub weight: usize,
    /// K: `|c / q|` may be up to K - 1/2.
    pub bound: u32,
    /// How many times the angle is doubled.
    pub double_angles: u32,
    /// The message is multiplied by 2 to this, exactly, before anything else: errors are smaller by it, only that of the sine is
    /// larger by its square.
    pub log_gain: u32,
    /// What the slots hold.
    pub slots: Slots,
}

impl Default for BootstrapLiteral {
    /// 4 + 8 + 3 levels, weight 32, K = 16.
    fn default() -> Self {
        Self {
            coeffs_to_slots: 4,
            slots_to_coeffs: 3,
            weight: 32,
            bound: 16,
            double_angles: 3,
            log_gain: 0,
            slots: Slots::Complex,
        }
    }
}

impl BootstrapLiteral {
    /// How far a coefficient `m` of a message comes out from `m` by the sine: `m - sin(2 pi m / r) r / (2 pi)`, about `m (2 pi m / r)^2 / 6`,
    /// `r` the ratio of `q` and a message of 1.
    ///
    /// # Errors
    /// None in practice: level 0 is there.
    pub fn sine_error(&self, params: &Params, coefficient: f64) -> Result<f64> {
        let turn = core::f64::consts::TAU / self.log_ratio(params)?.exp2();
        Ok((coefficient - (turn * coefficient).sin() / turn).abs())
    }

    /// The variance of `I` in `m + q I`: a sum of `weight + 1` values, uniform in `[-1/2, 1/2)`.
    pub fn period_variance(&self) -> f64 {
        (self.weight as f64 + 1.0) / 12.0
    }

    /// [`BootstrapPlan::check_output`] of a sum of so many slots that came out of bootstrapping under the parameters; of a product by a number, times that.
    ///
    /// # Errors
    /// As there.
    pub fn check_output(&self, params: &Params, times: f64, slots: &[Complex64]) -> Result<()> {
        let turns = self.log_ratio(params)?.exp2() / core::f64::consts::TAU;
        let most = turns * core::f64::consts::FRAC_1_SQRT_2;
        // The noise of a message at the end of its range.
        check_coefficients(params, "bootstrapped", slots, times * most * (1.0 + 1.0 / 1024.0))
    }

    /// log2 of `q` over a message of 1, after the gain.
    fn log_ratio(&self, params: &Params) -> Result<Double> {
        let log_scale = params.level(Level(0))?.log_scale;
        Ok(log_q(params)? - log_scale - Double::from(f64::from(self.log_gain)))
    }
}

/// log2 of the modulus of level 0.
fn log_q(params: &Params) -> Result<Double> {
    Ok(log_step(params, &params.level(Level(0))?.basis, &[]))
}

fn check_coefficients(
    params: &Params,
    operation: &'static str,
    slots: &[Complex64],
    expected: f64,
) -> Result<()> {
    if slots.len() != params.n_slots() {
        return Err(Error::SlotCount { expected: params.n_slots(), found: slots.len() });
    }
    let mut values = slots.to_vec();
    SpecialFft::new(params.n()).embed_inverse(&mut values);
    let magnitude = |x: f64| if x.is_nan() { f64::INFINITY } else { x.abs() };
    let found = values.iter().fold(0f64, |most, z| most.max(magnitude(z.re)).max(magnitude(z.im)));
    if found > expected {
        return Err(Error::OutOfRange { operation, expected, found });
    }
    Ok(())
}

/// Checked; see the module's head.
#[derive(Clone, Debug, PartialEq)]
pub struct BootstrapPlan {
    params: Params,
    literal: BootstrapLiteral,
    coeffs_to_slots: Vec<LinearTransform>,
    cosine: ChebyshevSeries,
    slots_to_coeffs: Vec<LinearTransform>,
}

impl BootstrapPlan {
    /// Checks a literal against parameters and computes matrices and polynomial.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] says what does not fit; [`Error::BeyondSparseSecurity`] for the modulus of the sparse secret.
    pub fn new(params: &Params, literal: &BootstrapLiteral) -> Result<Self> {
        let refuse = |why: String| Err(Error::InvalidParams(format!("bootstrapping: {why}")));
        let n_slots = match literal.slots {
            Slots::Complex | Slots::RealPair => params.n_slots(),
            Slots::Periodic { period } => {
                let most = params.n_slots() / 2;
                if !period.is_power_of_two() || period < 2 || period > most {
                    return refuse(format!("period {period}, expected a power of two from 2 to {most}"));
                }
                period
            }
        };
        let log_slots = n_slots.ilog2() as usize;
        for (what, n) in
            [("coeffs_to_slots", literal.coeffs_to_slots), ("slots_to_coeffs", literal.slots_to_coeffs)]
        {
            if n == 0 || n > log_slots {
                return refuse(format!("{n} matrices for {what}, expected 1 to {log_slots}"));
            }
        }
        if !(2..=64).contains(&literal.bound) || !(1..=8).contains(&literal.double_angles) {
            let (k, r) = (literal.bound, literal.double_angles);
            return refuse(format!("K is {k} with {r} double angles, expected 2 to 64 and 1 to 8"));
        }
        let base = params.level(Level(0))?;
        let room = base.log_q - base.log_scale.to_f64() - 3.0;
        if f64::from(literal.log_gain) > room {
            let gain = literal.log_gain;
            return refuse(format!(
                "a gain of 2^{gain}, expected at most 2^{room:.1}: the sine wants m below q / 8"
            ));
        }
        check_weight(params, literal.weight)?;
        let (there, back) = (literal.coeffs_to_slots, literal.slots_to_coeffs);
        let (coeffs_to_slots, slots_to_coeffs) = match literal.slots {
            Slots::Complex | Slots::RealPair => {
                (dft::inverse(params.n(), there)?, dft::forward(params.n(), back)?)
            }
            Slots::Periodic { period } => {
                (dft::inverse_packed(period, there)?, dft::forward_packed(period, back)?)
            }
        };
        let plan = Self {
            params: params.clone(),
            literal: literal.clone(),
            coeffs_to_slots,
            cosine: sine::series(literal.bound, literal.double_angles)?,
            slots_to_coeffs,
        };
        let (depth, levels) = (plan.depth(), params.max_level().0);
        if levels <= depth {
            return refuse(format!("it takes {depth} levels, expected more than that of {levels}"));
        }
        let (output, working) = (plan.output_level(), params.working_level());
        if output > working {
            return refuse(format!(
                "it returns level {output}, expected at most {working}: above scales are not nominal"
            ));
        }
        for level in plan.level_after_eval_mod().0 + 1..=params.max_level().0 {
            // The scale of a level is about its step there.
            let (step, nominal) = (plan.step(Level(level))?.to_f64(), f64::from(params.literal().log_scale));
            if step < nominal {
                return refuse(format!(
                    "level {level} has a step of {step:.1} bits, expected at least {nominal}"
                ));
            }
        }
        Ok(plan)
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// What it was made from.
    pub fn literal(&self) -> &BootstrapLiteral {
        &self.literal
    }

    /// The matrices from slots to coefficients in bit-reversed order, the first one first.
    pub fn coeffs_to_slots(&self) -> &[LinearTransform] {
        &self.coeffs_to_slots
    }

    /// The polynomial of `eval_mod`, before the double angles.
    pub fn cosine(&self) -> &ChebyshevSeries {
        &self.cosine
    }

    /// The matrices from coefficients in bit-reversed order to slots, the first one first.
    pub fn slots_to_coeffs(&self) -> &[LinearTransform] {
        &self.slots_to_coeffs
    }

    /// Levels from the highest to that of the result.
    pub fn depth(&self) -> u32 {
        let dft = self.coeffs_to_slots.len() + self.slots_to_coeffs.len();
        dft as u32 + self.cosine.depth() + self.literal.double_angles
    }

    /// The level at which a ciphertext is bootstrapped.
    pub fn min_input_level(&self) -> Level {
        Level(0)
    }

    /// The level of the result.
    pub fn output_level(&self) -> Level {
        Level(self.params.max_level().0 - self.depth())
    }

    /// log2 of the probability that some coefficient of a ciphertext comes out wrong, as in the module `sine`.
    pub fn failure_log2(&self) -> f64 {
        let n_coefficients = match self.literal.slots {
            Slots::Complex | Slots::RealPair => self.params.n(),
            Slots::Periodic { period } => 2 * period,
        };
        sine::failure_log2(n_coefficients.ilog2(), self.literal.weight, self.literal.bound)
    }

    /// The Galois elements that there must be keys for, ascending. Beside them it takes the relinearization key and encapsulation
    /// keys.
    ///
    /// # Errors
    /// None in practice.
    pub fn required_galois_elements(&self) -> Result<Vec<GaloisElement>> {
        let mut elements = BTreeSet::from([self.params.galois_conjugate()]);
        for transform in self.coeffs_to_slots.iter().chain(&self.slots_to_coeffs) {
            for k in transform.rotations() {
                elements.insert(self.params.galois_element(k)?);
            }
        }
        for k in self.period_rotations() {
            elements.insert(self.params.galois_element(k)?);
        }
        Ok(elements.into_iter().collect())
    }

    /// The rotations by whose sums a polynomial comes to the subring of periodic messages.
    pub fn period_rotations(&self) -> Vec<i64> {
        let n_slots = self.params.n_slots() as i64;
        let period = match self.literal.slots {
            Slots::Complex | Slots::RealPair => n_slots,
            Slots::Periodic { period } => period as i64,
        };
        core::iter::successors(Some(period), |k| Some(2 * k)).take_while(|&k| k < n_slots).collect()
    }

    /// Where `eval_mod` begins.
    pub(super) fn level_after_dft(&self) -> Level {
        Level(self.params.max_level().0 - self.coeffs_to_slots.len() as u32)
    }

    /// Where `slots_to_coeffs` begins.
    pub(super) fn level_after_eval_mod(&self) -> Level {
        Level(self.output_level().0 + self.slots_to_coeffs.len() as u32)
    }

    /// log2 of what a rescale from a level divides the scale by.
    pub(super) fn step(&self, level: Level) -> Result<Double> {
        step(&self.params, level)
    }

    /// log2 of the modulus of level 0.
    ///
    /// # Errors
    /// None in practice: level 0 is there.
    pub fn log_q(&self) -> Result<Double> {
        log_q(&self.params)
    }

    /// The scale of a slot of `c / q` after `sum_periods`, which adds as many times the same as there are periods.
    pub(super) fn raised_scale(&self) -> Result<Double> {
        Ok(self.log_q()? + Double::from(self.period_rotations().len() as f64))
    }

    /// The scale of a slot `c_k / q` when `eval_mod` begins.
    pub(super) fn argument_scale(&self) -> Result<Double> {
        let (from, doublings) = (self.level_after_dft(), self.cosine.depth() - 1);
        let last = self.step(Level(from.0 - doublings))? + Double::from(1.0);
        let argument = scale_before_doublings(&self.params, from, doublings, last)?;
        Ok(argument - Double::from(f64::from(self.literal.bound).log2()))
    }

    /// The scales before and after each matrix of `coeffs_to_slots`. The first one brings all of the difference: noise counts the less the
    /// earlier the scale is large. The sum with the conjugate has one bit more than the last.
    pub(super) fn scales_up(&self) -> Result<Vec<Double>> {
        let last = self.argument_scale()? - Double::from(1.0);
        let mut scales = vec![last; self.coeffs_to_slots.len() + 1];
        scales[0] = self.raised_scale()?;
        Ok(scales)
    }

    /// The scales before and after each matrix of `slots_to_coeffs`: down in equal parts, since diagonals are the less precise the more a
    /// level loses.
    pub(super) fn scales_down(&self) -> Result<Vec<Double>> {
        let n = self.slots_to_coeffs.len();
        let (first, last) = (self.message_scale()?, self.result_scale()?);
        let part = (last - first) * Double::from(1.0 / n as f64);
        let mut scales = vec![first];
        for i in 1..n {
            scales.push(scales[i - 1] + part);
        }
        scales.push(last);
        Ok(scales)
    }

    /// The scale of a message `m_k` after `eval_mod`.
    pub(super) fn message_scale(&self) -> Result<Double> {
        Ok(self.params.level(self.output_level())?.log_scale + Double::from(HEADROOM))
    }

    /// The scale of `sin(2 pi x)` whose integers are those of `m_k` at its scale.
    fn sine_scale(&self) -> Result<Double> {
        Ok(self.message_scale()? + self.log_ratio()? - Double::from(core::f64::consts::TAU.log2()))
    }

    /// log2 of `q` over a message of 1, after the gain.
    fn log_ratio(&self) -> Result<Double> {
        self.literal.log_ratio(&self.params)
    }

    /// [`BootstrapLiteral::sine_error`] under the parameters.
    ///
    /// # Errors
    /// None in practice.
    pub fn sine_error(&self, coefficient: f64) -> Result<f64> {
        self.literal.sine_error(&self.params, coefficient)
    }

    /// The largest coefficient of a message that is bootstrapped: an eighth of `q`, beyond which the sine no longer follows it. Slots of random
    /// signs have coefficients `sqrt(N / 2)` times smaller than they are; a constant is all in one.
    ///
    /// # Errors
    /// None in practice.
    pub fn max_coefficient(&self) -> Result<f64> {
        Ok(self.log_ratio()?.exp2() / 8.0)
    }

    /// Refuses slots that bootstrapping would not bring back; of [`Slots::RealPair`], of real plus imaginary parts.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a coefficient above [`Self::max_coefficient`]; [`Error::SlotCount`] unless there are N / 2.
    pub fn check_input(&self, slots: &[Complex64]) -> Result<()> {
        check_coefficients(&self.params, "bootstrap", slots, self.max_coefficient()?)
    }

    /// Refuses slots that came out of bootstrapping and that no message in range leads to. What goes in too large comes out as the sine of it,
    /// anywhere below `r / (2 pi)`, `r` the ratio of `q` and a message of 1, where what is in range stays below `sin(pi / 4)` times that: of many
    /// coefficients out of range half are seen, of a single one (constants) perhaps none.
    ///
    /// # Errors
    /// As [`Self::check_input`].
    pub fn check_output(&self, slots: &[Complex64]) -> Result<()> {
        self.literal.check_output(&self.params, 1.0, slots)
    }

    /// The scale of the cosine before its angle is doubled.
    pub(super) fn cosine_scale(&self) -> Result<Double> {
        let from = Level(self.level_after_dft().0 - self.cosine.depth());
        scale_before_doublings(&self.params, from, self.literal.double_angles, self.sine_scale()?)
    }

    /// The scale of the result before what [`Slots::RealPair`] adds to it.
    pub(super) fn result_scale(&self) -> Result<Double> {
        let canonical = self.params.level(self.output_level())?.log_scale;
        Ok(match self.literal.slots {
            Slots::Complex | Slots::Periodic { .. } => canonical,
            Slots::RealPair => canonical - Double::from(1.0),
        })
    }
}

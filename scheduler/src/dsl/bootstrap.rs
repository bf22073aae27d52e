//! Bootstrapping, written in the DSL, so that the compiler fuses, hoists and shards it as anything else. `fhe_core::bootstrap` is the same
//! with scales for constants; here scales are canonical, and what it says by a scale is a factor of the slots.
//!
//! With message `m` at scale `2^S_0`, `q` the modulus of level 0, `r = q / 2^S_0` and `f` the factor of `mod_raise`:
//!
//! ```text
//! mod_raise           slots f (m + r I)               S_0 to S_top: f = 2^(S_0 - S_top)
//! sum_periods         times the number of periods     of periodic messages only
//! coeffs_to_slots     u = (m_k + r I_k) / (r K)       level l holds u 2^(D - S_l), D the scale where eval_mod begins
//! z + conj z          v = 2 u, in [-2, 2]             and -i (z - conj z)
//! cosine              w = g_0 cos(2 pi (K u - 1/4) / 2^d)
//! double angles       2 w^2 - g^2, g to g^2           g sin(2 pi (m_k + r I_k) / r), about 2 pi g / r m_k
//! slots_to_coeffs     m / 2^HEADROOM                  level l holds m_k 2^(D_l - S_l), D_l down in equal parts
//! ```
//!
//! `g` grows so that the last one is `2^HEADROOM r / (2 pi)`: canonical scales fall from 60 bits to 40 while the angle is doubled, and what is
//! rounded at each rescale is to stay small beside the message.

use core::f64::consts::SQRT_2;
use std::collections::BTreeMap;

use fhe_core::bootstrap::{BootstrapLiteral, BootstrapPlan, HEADROOM, Slots};
use fhe_core::ckks::LinearTransform;
use fhe_core::math::double::Double;
use fhe_core::params::{Level, Params};

use super::linear::Diagonals;
use super::polynomial::{Basis, evaluate_with};
use super::{Encrypted, build};
use crate::ckks_ir::verify::raise_factor;
use crate::ckks_ir::{Bound, Function, Op, Unit};
use crate::error::Result;

/// log2 of 2 pi, the same on every machine.
const LOG_TAU: f64 = 2.651_496_129_472_319;

/// What is bootstrapped, as a function of the compiler.
#[derive(Clone, Debug)]
pub(crate) struct Bootstrapping {
    params: Params,
    plan: BootstrapPlan,
}

impl Bootstrapping {
    /// Of one ciphertext whose slots repeat with a period, or, of real parts, of two.
    ///
    /// # Errors
    /// [`crate::Error::Core`]: why these parameters cannot bootstrap.
    pub(crate) fn new(params: &Params, period: usize) -> Result<Self> {
        let literal = BootstrapLiteral::default();
        // There are at least as many slots as butterflies make one for each matrix.
        let least = 1 << literal.coeffs_to_slots.max(literal.slots_to_coeffs);
        let slots = match period.max(least) {
            period if period <= params.n_slots() / 2 => Slots::Periodic { period },
            _ => Slots::Complex,
        };
        let plan = BootstrapPlan::new(params, &BootstrapLiteral { slots, ..literal })?;
        Ok(Self { params: params.clone(), plan })
    }

    /// The level of what it returns.
    pub(crate) fn output_level(&self) -> Level {
        self.plan.output_level()
    }

    /// `x` to `x`.
    ///
    /// # Errors
    /// None in practice: the plan is checked.
    pub(crate) fn of_one(&self) -> Result<Function> {
        let n_slots = self.params.n_slots();
        let program = build("bootstrap", |g| {
            let x = g.input_complex("x", n_slots)?;
            g.output("x", self.steps(x, 1.0)?, n_slots)
        })?;
        Ok(program.function().clone())
    }

    /// `x, y` of real slots to `x, y`, as real and imaginary parts of one.
    ///
    /// # Errors
    /// None in practice: the plan is checked.
    pub(crate) fn of_two(&self) -> Result<Function> {
        let n_slots = self.params.n_slots();
        let program = build("bootstrap_pair", |g| {
            let (x, y) = (g.input("x", n_slots)?, g.input("y", n_slots)?);
            // Real and imaginary part are half of a sum: the half is of the last matrix.
            let z = self.steps(x + y.mul_i(), 0.5)?;
            let conjugate = z.conjugate();
            g.output("x", z + conjugate, n_slots)?;
            g.output("y", -(z - conjugate).mul_i(), n_slots)
        })?;
        Ok(program.function().clone())
    }

    /// `factor x`, at the output level.
    fn steps<'g>(&self, x: Encrypted<'g>, factor: f64) -> Result<Encrypted<'g>> {
        let (params, top) = (&self.params, self.params.max_level());
        let mut z =
            x.graph.push(Op::ModRaise(x.local(), top, raise_factor(params)?), params.n_slots() as u32);
        for k in self.plan.period_rotations() {
            z = z + z.rotate(k);
        }
        let (argument, message) = (self.argument_scales()?, self.message_scales(factor)?);
        // A slot is one value of `u` beside `i` times another.
        let mean = self.over_periods(|u| u) * SQRT_2;
        let u = Bound { of: Unit::One, largest: SQRT_2, mean };
        z = self.transforms(z, "coeffs_to_slots", (self.plan.coeffs_to_slots(), top), &argument, u)?;
        // Twice the real part, which of periodic messages is all there is; and twice the imaginary one.
        let conjugate = z.conjugate();
        let real = self.eval_mod(z + conjugate)?;
        z = match self.plan.literal().slots {
            Slots::Periodic { .. } => real,
            Slots::Complex | Slots::RealPair => real + self.eval_mod(-(z - conjugate).mul_i())?.mul_i(),
        };
        let from = Level(self.output_level().0 + self.plan.slots_to_coeffs().len() as u32);
        let again = Bound { of: Unit::Returned, largest: factor, mean: factor };
        self.transforms(z, "slots_to_coeffs", (self.plan.slots_to_coeffs(), from), &message, again)
    }

    /// Matrix after matrix, from a level down. `scales` are log2 of what slots are multiplied by before and after each, beside the canonical
    /// scale: the first one of the argument, whatever it is. The bound is that of the last product, of which those before follow: their slots
    /// are alike, and each matrix is a unitary one times a number.
    fn transforms<'g>(
        &self,
        mut z: Encrypted<'g>,
        name: &str,
        (matrices, from): (&[LinearTransform], Level),
        scales: &[Double],
        last: Bound,
    ) -> Result<Encrypted<'g>> {
        let mut factors = Vec::with_capacity(matrices.len());
        for (i, pair) in (0u32..).zip(scales.windows(2)) {
            let canonical = |level: u32| Ok::<_, crate::Error>(self.params.level(Level(level))?.log_scale);
            let (before, after) = (canonical(from.0 - i)?, canonical(from.0 - i - 1)?);
            factors.push(((pair[1] - after) - (pair[0] - before)).exp2());
        }
        let mut bounds = vec![last];
        for (matrix, factor) in matrices.iter().zip(&factors).skip(1).rev() {
            let of = if last.of == Unit::One { Unit::One } else { Unit::Raised };
            let next = bounds.last().copied().unwrap_or(last);
            let mean = next.mean / (factor * gain(matrix));
            let largest = match of {
                // Sums of many periods are about Gaussian.
                Unit::One => 8.0 * mean,
                // Backwards a slot is a mean of slots.
                Unit::Raised | Unit::Returned => next.largest / factor,
            };
            bounds.push(Bound { of, largest, mean: mean.min(largest) });
        }
        let steps = matrices.iter().zip(factors).zip(bounds.into_iter().rev());
        for (i, ((matrix, factor), bound)) in steps.enumerate() {
            let diagonals = matrix.diagonals().iter();
            let diagonals = diagonals.map(|(&d, row)| (d, row.iter().map(|w| w * factor).collect()));
            z = Diagonals::new(z.graph, &format!("{name}[{i}]"), diagonals)?.times(z).bounded(bound);
        }
        Ok(z)
    }

    /// The root of the mean square of a function of `u` over the periods that `mod_raise` adds: `u = I / K`, `I` about a Gaussian, here
    /// a binomial distribution of the same variance.
    fn over_periods(&self, f: impl Fn(f64) -> f64) -> f64 {
        let literal = self.plan.literal();
        let half = ((2.0 * literal.period_variance()).ceil() as u32).min(literal.bound - 1);
        let (coins, mut weight, mut sum, mut total) = (2 * half, 1.0, 0.0, 0.0);
        for k in 0..=coins {
            sum += weight * f((f64::from(k) - f64::from(half)) / f64::from(literal.bound)).powi(2);
            total += weight;
            weight *= f64::from(coins - k) / f64::from(k + 1);
        }
        (sum / total).sqrt()
    }

    /// The bound of a function of `v = 2 u` that is no larger than a number.
    fn on_periods(&self, largest: f64, f: impl Fn(f64) -> f64) -> Bound {
        let mean = self.over_periods(|u| f(2.0 * u));
        Bound { of: Unit::One, largest, mean: mean.clamp(f64::MIN_POSITIVE, largest) }
    }

    /// log2 of the integers of a slot of `u`, before each matrix of `coeffs_to_slots` and after the last: from the second on as large as
    /// where `eval_mod` begins, since noise counts the less the earlier they are large.
    fn argument_scales(&self) -> Result<Vec<Double>> {
        let n = self.plan.coeffs_to_slots().len();
        let (top, literal) = (self.params.max_level().0, self.plan.literal());
        let begin = self.params.level(Level(top - n as u32))?.log_scale;
        let mut scales = vec![begin; n + 1];
        // The slots of m + r I at scale S_0 are those of u at r K times as much.
        let bound = Double::log2_of(u64::from(literal.bound));
        let periods = Double::from(self.plan.period_rotations().len() as f64);
        scales[0] = self.plan.log_q()? + bound + periods;
        Ok(scales)
    }

    /// log2 of the integers of a slot of `m_k` before each matrix of `slots_to_coeffs`, and of `factor m` after the last.
    fn message_scales(&self, factor: f64) -> Result<Vec<Double>> {
        let n = self.plan.slots_to_coeffs().len();
        let last = self.params.level(self.output_level())?.log_scale + Double::from(factor.log2());
        let first = last - Double::from(factor.log2()) + Double::from(HEADROOM);
        let part = (last - first) * Double::from(1.0 / n as f64);
        let mut scales = vec![first];
        for i in 1..n {
            scales.push(scales[i - 1] + part);
        }
        scales.push(last);
        Ok(scales)
    }

    /// `v = 2 u` to `m_k 2^HEADROOM`, beside the canonical scales of the levels where it begins and ends.
    fn eval_mod<'g>(&self, v: Encrypted<'g>) -> Result<Encrypted<'g>> {
        let (plan, out) = (&self.plan, self.output_level());
        let end = Level(out.0 + plan.slots_to_coeffs().len() as u32);
        let canonical = |level| Ok::<_, crate::Error>(self.params.level(level)?.log_scale);
        // The integers of sin(2 pi x) are those of the message at r / (2 pi) times its scale.
        let message = canonical(out)? + Double::from(HEADROOM) - canonical(end)?;
        let ratio = plan.log_q()? - canonical(Level(0))? - Double::from(LOG_TAU);
        let n_doublings = plan.literal().double_angles;
        let first = (message + ratio) * Double::from((-f64::from(n_doublings)).exp2());
        let mut g = first.exp2();
        // c_n T_n(u) = c_n / 2 D_n(v), but for n = 0.
        let half = |(n, c): (usize, &f64)| if n == 0 { c * g } else { c * g / 2.0 };
        let cosine: Vec<f64> = plan.cosine().coefficients().iter().enumerate().map(half).collect();
        let v = v.bounded(self.on_periods(2.0, |v| v));
        let (k, series) = (f64::from(plan.literal().bound), plan.cosine());
        let mut w = evaluate_with(v, self.members(v), Basis::Dickson { r: 1.0 }, &cosine)
            .bounded(self.on_periods(g, |v| g * series.value(k * v / 2.0)));
        for doubled in 1..=n_doublings {
            // The cosine after so many doublings.
            let cosine = |v: f64| (0..doubled).fold(series.value(k * v / 2.0), |c, _| 2.0 * c * c - 1.0);
            let square = w.square();
            g *= g;
            w = (square + square - g).bounded(self.on_periods(g, |v| g * cosine(v)));
        }
        // Now a sine of nearly 0: coefficients of the message, whose mean square is that of slots over their number.
        let n_coefficients = match plan.literal().slots {
            Slots::Periodic { period } => 2 * period,
            Slots::Complex | Slots::RealPair => self.params.n(),
        };
        let largest = message.exp2();
        let mean = largest / (n_coefficients as f64).sqrt();
        Ok(w.bounded(Bound { of: Unit::Raised, largest, mean }))
    }

    /// `D_2`, `D_4` and `D_8` of `v`, precise where most values are, near 0. There `D_4 = D_2^2 - 2` and `D_8 = D_4^2 - 2` are flat in `v`, but not
    /// in `D_2` and `D_4`: what a rescale rounds these by counts 4 times in the next. Instead, with `s = v^2`, which is small there,
    ///
    /// ```text
    /// D_2 = s - 2     D_4 = 2 - w, w = 4 s - s^2     D_8 = 2 - 4 w + w^2, 4 w = 16 s - 4 s^2
    /// ```
    ///
    /// where `4 s`, `16 s` and `4 s^2` are rescaled as such, so that each is rounded once. The error of bootstrapping at log N 16 is 2^-22.1 with the
    /// recurrence, 2^-22.8 so.
    fn members<'g>(&self, v: Encrypted<'g>) -> BTreeMap<usize, Encrypted<'g>> {
        let below = |n: u32| Level(self.params.max_level().0 - self.plan.coeffs_to_slots().len() as u32 - n);
        let times_4 = |x: Encrypted<'g>| {
            let twice = x + x;
            twice + twice
        };
        let square = (v * v).bounded(self.on_periods(4.0, |v| v * v)).relinearized();
        let s = square.rescaled();
        let four = times_4(square);
        let (s_4, s_16) = (four.at_level(below(1)), times_4(four).at_level(below(1)));
        let square = (s * s).bounded(self.on_periods(16.0, |v| v * v * v * v)).relinearized();
        let w = (s_4 - square.rescaled()).bounded(self.on_periods(4.0, |v| (4.0 - v * v) * v * v));
        let w_4 = s_16 - times_4(square).at_level(below(2));
        let members = BTreeMap::from([(2, s - 2.0), (4, 2.0 - w), (8, w * w - w_4 + 2.0)]);
        let doubled = |n: usize, v: f64| (0..n.ilog2()).fold(v, |d, _| d * d - 2.0);
        let bounded =
            |(n, d): (usize, Encrypted<'g>)| (n, d.bounded(self.on_periods(2.0, |v| doubled(n, v))));
        let members: BTreeMap<usize, Encrypted<'g>> = members.into_iter().map(bounded).collect();
        members.values().for_each(|member| _ = member.unused_on_purpose());
        members
    }
}

/// The root of the mean square of a row: how much the mean square of slots that have nothing to do with each other grows.
fn gain(matrix: &LinearTransform) -> f64 {
    let squares = matrix.diagonals().values().flatten().map(|w| w.norm_sqr());
    (squares.sum::<f64>() / matrix.n_slots() as f64).sqrt()
}

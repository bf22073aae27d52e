//! The sign and what follows from it, by a composition of odd polynomials.
//!
//! ```text
//! p = p_k o .. o p_1      p_1 is near 1 on [epsilon, 1], up to t_1;      p_(i+1) on [1 - t_i, 1 + t_i], up to t_(i+1)
//! ```
//!
//! Each factor is the best odd polynomial of its degree for the range of the one before: Lee, Lee, No and Kim, "Minimax approximation of
//! sign function by composite polynomial for homomorphic comparison" (ePrint 2020/834). By symmetry it is best on both sides of 0,
//! `[-1, -l]` and `[l, 1]`, when it is so on one; and with `x q(x^2)` for it, `q` is the best polynomial for `1 / sqrt(y)` on `[l^2, 1]`
//! under the weight `sqrt(y)`, on which Chebyshev series are well conditioned. Every factor is scaled so that the next takes `[-1, 1]`.
//!
//! **Bounds.** Each `t_i` is a bound of the polynomial's error also between the points at which it is measured (`Factor::bound`), with an
//! allowance for roundings. So the error of the whole is proved, not sampled. Between `-epsilon` and `epsilon` a factor increases: its error
//! alternates at `(d + 3) / 2` points of either side, so all `d - 1` zeros of its derivative lie between those; and so does the whole.

use super::chebyshev::{clenshaw, interpolant};
use super::degrees;
use super::elementary::cos_pi;
use super::minimax::minimax;
use crate::ckks::ChebyshevSeries;
use crate::error::{Error, Result};
use core::f64::consts::PI;

/// Points for each degree, at which a factor is measured at first.
const DENSITY: u64 = 32;
/// `1 / cos(pi / 64)`.
const BETWEEN: f64 = 1.001_206_000_236_04;
/// The error of a factor is bounded that narrowly: relative, and absolute.
const NARROW: [f64; 2] = [1.0 / (1u64 << 28) as f64, 1.0 / (1u64 << 48) as f64];
/// Coefficients below this part of the largest are roundings.
const NOISE: f64 = 1.0 / (1u64 << 46) as f64;
/// Points at which a ReLU is bounded near 0.
const NEAR_ZERO: u32 = 4096;

/// A composition of Chebyshev series that is near the sign, or near the step of a ReLU, of numbers from `-bound` to `bound`.
#[derive(Clone, Debug, PartialEq)]
pub struct Composite {
    factors: Vec<ChebyshevSeries>,
    epsilon: f64,
    error: f64,
}

/// An odd polynomial near 1 on `[low, 1]`, as a Chebyshev series of `[-1, 1]`, and its proved error.
pub(super) struct Factor {
    pub(super) coefficients: Vec<f64>,
    pub(super) error: f64,
}

impl Factor {
    /// The best of an odd degree. Where `low` is near 1 and the error of a lower degree is at the roundings already, of that one.
    pub(super) fn new(degree: usize, low: f64) -> Self {
        let squares = low * low..=1.0;
        let mut q = minimax(|y| y.sqrt().recip(), f64::sqrt, &squares, degree / 2);
        // On a short interval, the roundings of high coefficients would grow large towards 0.
        let least = NOISE * q.iter().fold(0.0, |a: f64, c| a.max(c.abs()));
        let needed = q.iter().rposition(|c| c.abs() > least).unwrap_or(0);
        q.truncate(needed + 1);
        let degree = 2 * needed + 1;
        let (from, length) = (low * low, 1.0 - low * low);
        let p = |x: f64| x * clenshaw(&q, (2.0 * (x * x - from) - length) / length);
        let mut coefficients = interpolant(p, &(-1.0..=1.0), degree);
        coefficients.iter_mut().step_by(2).for_each(|even| *even = 0.0);
        let size: f64 = coefficients.iter().map(|c| c.abs()).sum();
        let rounding = (degree + 2) as f64 * size * f64::EPSILON;
        let error = Self::bound(&coefficients, low) + rounding;
        Self { coefficients, error }
    }

    /// A bound of `|p - 1|` on `[low, 1]`, at most a part in 2^28 and 2^-48 above its maximum.
    ///
    /// `g(theta) = p(x) - 1` with `x = (1 + low) / 2 + (1 - low) / 2 cos(theta)` is a trigonometric polynomial of degree `d`. With its values
    /// at distances `h` it is at most their largest over `cos(d h / 2)` (Ehlich and Zeller, Math. Z. 86, 1964), `G`, and `|g''| <= d^2 G`
    /// (Bernstein), so it exceeds the larger of the values at both ends of a cell of width `h` by at most `d^2 G h^2 / 8`. Cells for
    /// which that is too much are halved.
    fn bound(coefficients: &[f64], low: f64) -> f64 {
        let degree = coefficients.len() as u64 - 1;
        let steps = DENSITY * degree;
        let off = |i: u64, steps: u64| {
            let x = low + (1.0 - low) * (1.0 + cos_pi(i, steps)) / 2.0;
            (clenshaw(coefficients, x) - 1.0).abs()
        };
        let values: Vec<f64> = (0..=steps).map(|i| off(i, steps)).collect();
        let mut largest = values.iter().copied().fold(0.0, f64::max);
        let beyond = PI * PI / (8 * DENSITY * DENSITY) as f64 * largest * BETWEEN;
        // Left end, how many cells of this size there are, the larger value at its ends, what may be beyond.
        let first = (0..steps).zip(values.windows(2));
        let mut cells: Vec<(u64, u64, f64, f64)> =
            first.map(|(i, ends)| (i, steps, ends[0].max(ends[1]), beyond)).collect();
        let narrow = |largest: f64| largest * (1.0 + NARROW[0]) + NARROW[1];
        while let Some((i, steps, ends, beyond)) = cells.pop() {
            if ends + beyond <= narrow(largest) {
                continue;
            }
            let middle = off(2 * i + 1, 2 * steps);
            largest = largest.max(middle);
            for half in [2 * i, 2 * i + 1] {
                cells.push((half, 2 * steps, ends.max(middle), beyond / 4.0));
            }
        }
        narrow(largest)
    }

    /// The lower end of the next factor's interval, where the upper is 1.
    pub(super) fn next_low(&self) -> f64 {
        (1.0 - self.error) / (1.0 + self.error)
    }
}

impl Composite {
    /// `|p(x) - sign(x)| <= error` for `epsilon <= |x| <= bound`, at the least depth, of compositions of that depth one with few products. Between
    /// `-epsilon` and `epsilon` it increases from about -1 to about 1.
    ///
    /// # Errors
    /// [`Error::Interval`] unless `0 < epsilon < bound`; [`Error::NotApproximated`].
    pub fn sign(bound: f64, epsilon: f64, error: f64) -> Result<Self> {
        let ratio = checked_ratio(bound, epsilon)?;
        match degrees::cheapest(ratio, error) {
            Ok(degrees) => Self::sign_of_degrees(&degrees, bound, epsilon),
            Err(found) => Err(Error::NotApproximated {
                low: epsilon,
                high: bound,
                degree: degrees::MAX_DEGREE,
                found,
                expected: error,
            }),
        }
    }

    /// The sign by factors of given degrees, which are odd, as well as it can be. A factor is of a lower degree where more would only be
    /// roundings.
    ///
    /// # Errors
    /// [`Error::Interval`] unless `0 < epsilon < bound`; [`Error::InvalidParams`] for no degree and for one that is even or above 63.
    pub fn sign_of_degrees(degrees: &[usize], bound: f64, epsilon: f64) -> Result<Self> {
        let mut low = checked_ratio(bound, epsilon)?;
        if degrees.is_empty() || degrees.iter().any(|d| d % 2 == 0 || *d > 63) {
            return Err(Error::InvalidParams(format!(
                "degrees {degrees:?} of a composition, expected odd ones up to 63"
            )));
        }
        let mut factors = Vec::with_capacity(degrees.len());
        let (mut error, mut interval) = (0.0, bound);
        for (i, &degree) in degrees.iter().enumerate() {
            let mut factor = Factor::new(degree, low);
            (low, error) = (factor.next_low(), factor.error);
            if error >= 1.0 || error.is_nan() {
                let (low, found, expected) = (epsilon, error, 1.0);
                return Err(Error::NotApproximated { low, high: bound, degree, found, expected });
            }
            if i + 1 < degrees.len() {
                factor.coefficients.iter_mut().for_each(|c| *c /= 1.0 + error);
            }
            factors.push(ChebyshevSeries::new(factor.coefficients, -interval..=interval)?);
            interval = 1.0;
        }
        Ok(Self { factors, epsilon, error })
    }

    /// `s` with `|x s(x) - max(x, 0)| <= error` for `|x| <= bound`: a ReLU is a product more. An error above an eighth of the bound is taken
    /// as that.
    ///
    /// With `s = (1 + p) / 2` for a `p` near the sign, up to `t`, the error is at most `x t / 2` from `epsilon` on. Before, where `p`
    /// increases from 0, it is `x (1 - p(x)) / 2`: the largest `epsilon` out of 16 to 2 times the error is taken for which
    /// that is small enough, by `(x + h) (1 - p(x)) / 2` at points a distance `h` apart.
    ///
    /// # Errors
    /// [`Error::Interval`] unless both are positive and the bound is finite; [`Error::NotApproximated`].
    pub fn relu(bound: f64, error: f64) -> Result<Self> {
        let error = if error > bound / 8.0 { bound / 8.0 } else { error };
        let relative = error / bound;
        let mut refused = Error::Interval {
            low: error,
            high: bound,
            expected: "a positive error and a positive finite bound",
        };
        if !(relative > 0.0 && bound > 0.0 && bound.is_finite()) {
            return Err(refused);
        }
        for times in (2..=16).rev().map(f64::from).filter(|times| times * relative < 1.0) {
            match Self::sign(bound, times * error, 2.0 * relative) {
                Ok(sign) if sign.relu_error_near_zero() <= error => return sign.into_step(bound),
                Ok(_) => {}
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// A bound of `x (1 - p(x)) / 2` from 0 to epsilon.
    fn relu_error_near_zero(&self) -> f64 {
        let h = self.epsilon / f64::from(NEAR_ZERO);
        let off = |i: u32| (f64::from(i) + 1.0) * h * (1.0 - self.value(f64::from(i) * h)) / 2.0;
        (0..NEAR_ZERO).map(off).fold(0.0, f64::max)
    }

    /// `(1 + p) / 2`.
    fn into_step(mut self, bound: f64) -> Result<Self> {
        let error = self.relu_error_near_zero().max(bound * self.error / 2.0);
        if let Some(last) = self.factors.pop() {
            let mut coefficients: Vec<f64> = last.coefficients().iter().map(|c| c / 2.0).collect();
            coefficients[..1].iter_mut().for_each(|c| *c += 0.5);
            self.factors.push(ChebyshevSeries::new(coefficients, last.interval().clone())?);
        }
        Ok(Self { error, ..self })
    }

    /// What is applied one after the other, the first one first: that one on `[-bound, bound]`, the others on `[-1, 1]`.
    pub fn factors(&self) -> &[ChebyshevSeries] {
        &self.factors
    }

    /// The degrees of the factors.
    pub fn degrees(&self) -> Vec<usize> {
        self.factors.iter().map(ChebyshevSeries::degree).collect()
    }

    /// Levels that an evaluation takes.
    pub fn depth(&self) -> u32 {
        self.factors.iter().map(ChebyshevSeries::depth).sum()
    }

    /// Products of two ciphertexts that an evaluation takes.
    pub fn products(&self) -> usize {
        self.factors.iter().map(ChebyshevSeries::products).sum()
    }

    /// From where on the sign is near.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// The proved bound of the error: of the sign, or of the ReLU.
    pub fn error(&self) -> f64 {
        self.error
    }

    /// The value at `x`.
    pub fn value(&self, x: f64) -> f64 {
        self.factors.iter().fold(x, |x, factor| factor.value(x))
    }
}

fn checked_ratio(bound: f64, epsilon: f64) -> Result<f64> {
    let ratio = epsilon / bound;
    if 0.0 < ratio && ratio < 1.0 && bound.is_finite() && bound > 0.0 {
        return Ok(ratio);
    }
    Err(Error::Interval { low: epsilon, high: bound, expected: "positive finite ends, the lower one first" })
}

//! Chebyshev series of a function, by interpolation, and the least degree that is near enough.

use super::elementary::{self, cos_pi};
use super::minimax::minimax;
use crate::ckks::ChebyshevSeries;
use crate::error::{Error, Result};
use core::ops::RangeInclusive;

/// The highest degree that is tried: eight levels.
pub const MAX_DEGREE: usize = 255;
/// The error is measured at so many Chebyshev points.
const GRID: usize = 4096;
/// `1 / cos(pi/2 * 1024 / GRID)`.
const BETWEEN: f64 = 1.082_392_200_292_394;
/// The best polynomial of a degree up to 255 is never nearer than the interpolant by this factor: one and its Lebesgue constant, 4.5.
const NEARER: f64 = 5.5;

/// A Chebyshev series that is near a function on an interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Approximation {
    series: ChebyshevSeries,
    error: f64,
}

impl Approximation {
    /// A polynomial of the least depth with `|p(x) - f(x)| <= max_error`.
    ///
    /// It is the interpolant at Chebyshev points of the smallest degree, unless the best approximation of degree `2^k - 1` is near
    /// enough where the interpolant is not: that saves a level.
    ///
    /// The error is measured at 4096 Chebyshev points of the interval and taken 1.0824 times. It then holds between the points
    /// too for a function that is itself a polynomial of degree up to 1024: such a polynomial is nowhere larger than
    /// `1 / cos(pi/2 * 1024 / 4096)` times its largest value at the points (Ehlich and Zeller, Math. Z. 86, 1964). For any other
    /// function add `2.1` times its distance from such polynomials; functions with a jump or a kink between two points are
    /// not covered. Coefficients that the error does not need are zero.
    ///
    /// # Errors
    /// [`Error::Interval`]; [`Error::FunctionNotFinite`]; [`Error::NotApproximated`] above degree [`MAX_DEGREE`].
    pub fn of(f: impl Fn(f64) -> f64, interval: RangeInclusive<f64>, max_error: f64) -> Result<Self> {
        Self::weighted(f, |_| 1.0, interval, max_error)
    }

    /// The same with `|p(x) / f(x) - 1| <= max_error`, for a function without zeros.
    ///
    /// # Errors
    /// Those of [`Approximation::of`].
    pub fn relative(f: impl Fn(f64) -> f64, interval: RangeInclusive<f64>, max_error: f64) -> Result<Self> {
        Self::weighted(&f, |x| f(x).abs().recip(), interval, max_error)
    }

    /// The same with `weight(x) |p(x) - f(x)| <= max_error`.
    ///
    /// # Errors
    /// Those of [`Approximation::of`].
    pub fn weighted(
        f: impl Fn(f64) -> f64,
        weight: impl Fn(f64) -> f64,
        interval: RangeInclusive<f64>,
        max_error: f64,
    ) -> Result<Self> {
        check_interval(&interval)?;
        let measure = Measure::new(&f, &weight, &interval)?;
        let found = (0..=MAX_DEGREE).find_map(|n| {
            let coefficients = interpolant(&f, &interval, n);
            (measure.sample(&coefficients) <= max_error && measure.error(&coefficients) <= max_error)
                .then_some(coefficients)
        });
        let degree = found.as_ref().map_or(MAX_DEGREE + 1, |found| found.len() - 1);
        // One level less, if that is possible: all degrees from 2^(k-1) to 2^k - 1 take k.
        let shallower = ((degree + 1).next_power_of_two() / 2).saturating_sub(1);
        let best = || {
            let near = measure.sample(&interpolant(&f, &interval, shallower)) <= NEARER * max_error;
            let best = near.then(|| minimax(&f, &weight, &interval, shallower))?;
            (measure.error(&best) <= max_error).then_some(best)
        };
        let Some(coefficients) = (if degree > 0 { best() } else { None }).or(found) else {
            let (found, expected) = (measure.error(&interpolant(&f, &interval, MAX_DEGREE)), max_error);
            let (low, high) = (*interval.start(), *interval.end());
            return Err(Error::NotApproximated { low, high, degree: MAX_DEGREE, found, expected });
        };
        let coefficients = measure.shortened(coefficients, max_error);
        let error = measure.error(&coefficients);
        Ok(Self { series: ChebyshevSeries::new(coefficients, interval)?, error })
    }

    /// `e^x`, with `|p(x) / e^x - 1| <= max_error`.
    ///
    /// # Errors
    /// Those of [`Approximation::of`].
    pub fn exp(interval: RangeInclusive<f64>, max_error: f64) -> Result<Self> {
        Self::relative(elementary::exp, interval, max_error)
    }

    /// [`elementary::gelu`].
    ///
    /// # Errors
    /// Those of [`Approximation::of`].
    pub fn gelu(interval: RangeInclusive<f64>, max_error: f64) -> Result<Self> {
        Self::of(elementary::gelu, interval, max_error)
    }

    /// [`elementary::silu`].
    ///
    /// # Errors
    /// Those of [`Approximation::of`].
    pub fn silu(interval: RangeInclusive<f64>, max_error: f64) -> Result<Self> {
        Self::of(elementary::silu, interval, max_error)
    }

    /// [`elementary::sigmoid`].
    ///
    /// # Errors
    /// Those of [`Approximation::of`].
    pub fn sigmoid(interval: RangeInclusive<f64>, max_error: f64) -> Result<Self> {
        Self::of(elementary::sigmoid, interval, max_error)
    }

    /// [`elementary::tanh`].
    ///
    /// # Errors
    /// Those of [`Approximation::of`].
    pub fn tanh(interval: RangeInclusive<f64>, max_error: f64) -> Result<Self> {
        Self::of(elementary::tanh, interval, max_error)
    }

    /// The series.
    pub fn series(&self) -> &ChebyshevSeries {
        &self.series
    }

    /// The largest error, as measured.
    pub fn error(&self) -> f64 {
        self.error
    }
}

/// A function at Chebyshev points of its interval, to compare with.
struct Measure {
    /// Of the interval mapped to `[-1, 1]`, with value and weight.
    points: Vec<(f64, f64, f64)>,
}

impl Measure {
    fn new(
        f: impl Fn(f64) -> f64,
        weight: impl Fn(f64) -> f64,
        interval: &RangeInclusive<f64>,
    ) -> Result<Self> {
        let (centre, half) = centre_and_half(interval);
        let point = |u: f64| {
            let x = centre + half * u;
            let (found, weight) = (f(x), weight(x));
            if (found * weight).is_finite() && found.is_finite() {
                return Ok((u, found, weight));
            }
            Err(Error::FunctionNotFinite { x, found })
        };
        Ok(Self { points: nodes(GRID).map(point).collect::<Result<_>>()? })
    }

    fn largest<'a>(coefficients: &[f64], points: impl IntoIterator<Item = &'a (f64, f64, f64)>) -> f64 {
        let off = |&(u, y, weight): &(f64, f64, f64)| weight * (clenshaw(coefficients, u) - y).abs();
        // What is no number is no small error.
        let worse = |a: f64, b: f64| if b <= a { a } else { b };
        points.into_iter().map(off).fold(0.0, worse) * BETWEEN
    }

    fn error(&self, coefficients: &[f64]) -> f64 {
        Self::largest(coefficients, &self.points)
    }

    /// The error at a few points, which refuse most degrees.
    fn sample(&self, coefficients: &[f64]) -> f64 {
        Self::largest(coefficients, self.points.iter().step_by(GRID / 64))
    }

    /// Without the coefficients that an error does not need.
    fn shortened(&self, coefficients: Vec<f64>, max_error: f64) -> Vec<f64> {
        let weight = self.points.iter().map(|&(_, _, weight)| weight).fold(0.0, f64::max);
        let least = max_error / (1e3 * coefficients.len() as f64 * weight);
        let mut short = coefficients.clone();
        short.iter_mut().filter(|c| c.abs() <= least).for_each(|c| *c = 0.0);
        short.truncate(short.iter().rposition(|&c| c != 0.0).unwrap_or(0) + 1);
        if self.error(&short) <= max_error { short } else { coefficients }
    }
}

/// Refuses intervals that are empty or not finite.
pub fn check_interval(interval: &RangeInclusive<f64>) -> Result<()> {
    let (low, high) = (*interval.start(), *interval.end());
    if low < high && (high - low).is_finite() {
        return Ok(());
    }
    Err(Error::Interval { low, high, expected: "finite ends, the lower one first" })
}

pub(super) fn centre_and_half(interval: &RangeInclusive<f64>) -> (f64, f64) {
    let (a, b) = (interval.start(), interval.end());
    ((a + b) / 2.0, (b - a) / 2.0)
}

/// The Chebyshev points of a number: zeros of `T_n`, the greatest first.
pub fn nodes(n: usize) -> impl Iterator<Item = f64> {
    (0..n).map(move |k| cos_pi(2 * k as u64 + 1, 2 * n as u64))
}

/// The Chebyshev series of degree `n` that is a function at the zeros `u_k` of `T_(n+1)`, the interval mapped to `[-1, 1]`:
/// `c_j = (2 - [j = 0]) / (n + 1) sum_k f(u_k) cos(pi j (k + 1/2) / (n + 1))`.
pub fn interpolant(f: impl Fn(f64) -> f64, interval: &RangeInclusive<f64>, n: usize) -> Vec<f64> {
    let (centre, half) = centre_and_half(interval);
    let period = 4 * (n + 1);
    let cosines: Vec<f64> = (0..period).map(|i| cos_pi(i as u64, period as u64 / 2)).collect();
    let values: Vec<f64> = nodes(n + 1).map(|u| f(centre + half * u)).collect();
    let coefficient = |j: usize| {
        let angles = (0..=n).map(|k| j * (2 * k + 1) % period);
        let sum: f64 = angles.zip(&values).map(|(angle, y)| y * cosines[angle]).sum();
        sum * if j == 0 { 1.0 } else { 2.0 } / (n + 1) as f64
    };
    (0..=n).map(coefficient).collect()
}

/// `sum_j c_j T_j(u)`.
pub fn clenshaw(coefficients: &[f64], u: f64) -> f64 {
    let Some((head, tail)) = coefficients.split_first() else { return 0.0 };
    let (b1, b2) = tail.iter().rev().fold((0.0, 0.0), |(b1, b2), c| (c + 2.0 * u * b1 - b2, b1));
    head + u * b1 - b2
}

//! Chebyshev series of a function, by interpolation.

use core::f64::consts::PI;
use core::ops::RangeInclusive;

use super::{centre_and_half, check_interval, degree};
use crate::ckks_ir::Location;
use crate::error::{Error, Result};

/// The highest degree that is tried: eight levels.
pub const MAX_DEGREE: usize = 255;
/// The error is measured at so many Chebyshev points.
const GRID: usize = 4096;
/// `1 / cos(pi/2 * 1024 / GRID)`.
const BETWEEN: f64 = 1.082_392_200_292_394;

/// A Chebyshev series that is near a function on an interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Approximation {
    coefficients: Vec<f64>,
    interval: RangeInclusive<f64>,
    error: f64,
}

impl Approximation {
    /// The interpolant at Chebyshev points of the smallest degree that is within `max_error`.
    ///
    /// The error is measured at 4096 Chebyshev points of the interval and taken 1.0824 times. It then holds between the points
    /// too for a function that is itself a polynomial of degree up to 1024: such a polynomial is nowhere larger than
    /// `1 / cos(pi/2 * 1024 / 4096)` times its largest value at the points (Ehlich and Zeller, Math. Z. 86, 1964). For any other
    /// function add `2.1` times its distance from such polynomials; functions with a jump or a kink between two points are
    /// not covered. Coefficients that the error does not need are zero.
    ///
    /// # Errors
    /// [`Error::Interval`]; [`Error::NotFinite`] where the function is not; [`Error::NotApproximated`] above degree
    /// [`MAX_DEGREE`].
    #[track_caller]
    pub fn of(f: impl Fn(f64) -> f64, interval: RangeInclusive<f64>, max_error: f64) -> Result<Self> {
        Self::find(f, interval, max_error, Some(Location::here()))
    }

    /// [`Approximation::of`], asked for by a line.
    pub(in crate::dsl) fn find(
        f: impl Fn(f64) -> f64,
        interval: RangeInclusive<f64>,
        max_error: f64,
        at: Option<Location>,
    ) -> Result<Self> {
        check_interval(&interval, at.clone())?;
        let (centre, half) = centre_and_half(&interval);
        let points: Vec<f64> = nodes(GRID).collect();
        let values: Vec<f64> = points.iter().map(|u| f(centre + half * u)).collect();
        if let Some(index) = values.iter().position(|y| !y.is_finite()) {
            let name = format!("function at {}", centre + half * points[index]);
            return Err(Error::NotFinite { name, index, value: values[index].to_string(), at });
        }
        let off = |coefficients: &[f64]| -> f64 {
            let errors = points.iter().zip(&values).map(|(&u, y)| (clenshaw(coefficients, u) - y).abs());
            errors.fold(0.0, f64::max) * BETWEEN
        };
        // A few points refuse most degrees.
        let sample = |coefficients: &[f64]| {
            let mut some = points.iter().zip(&values).step_by(GRID / 64);
            some.all(|(&u, y)| (clenshaw(coefficients, u) - y).abs() * BETWEEN <= max_error)
        };
        for n in 0..=MAX_DEGREE {
            let coefficients = interpolant(&f, &interval, n);
            if !sample(&coefficients) || off(&coefficients) > max_error {
                continue;
            }
            let mut short = coefficients.clone();
            short.iter_mut().filter(|c| c.abs() * 1e3 * (n + 1) as f64 <= max_error).for_each(|c| *c = 0.0);
            short.truncate(degree(&short) + 1);
            let coefficients = if off(&short) <= max_error { short } else { coefficients };
            let error = off(&coefficients);
            return Ok(Self { coefficients, interval, error });
        }
        let found = off(&interpolant(&f, &interval, MAX_DEGREE));
        let (low, high) = (*interval.start(), *interval.end());
        Err(Error::NotApproximated { low, high, degree: MAX_DEGREE, found, expected: max_error, at })
    }

    /// Of `T_0`, `T_1` and so on, of the interval mapped to `[-1, 1]`.
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// The interval.
    pub fn interval(&self) -> &RangeInclusive<f64> {
        &self.interval
    }

    /// The degree.
    pub fn degree(&self) -> usize {
        degree(&self.coefficients)
    }

    /// The largest error, as measured.
    pub fn error(&self) -> f64 {
        self.error
    }

    /// The value at `x`, in the clear.
    pub fn value(&self, x: f64) -> f64 {
        let (centre, half) = centre_and_half(&self.interval);
        clenshaw(&self.coefficients, (x - centre) / half)
    }
}

/// The Chebyshev points of a number: zeros of `T_n`.
pub(in crate::dsl) fn nodes(n: usize) -> impl Iterator<Item = f64> {
    (0..n).map(move |k| (PI * (k as f64 + 0.5) / n as f64).cos())
}

/// The Chebyshev series of degree `n` that is a function at the zeros `u_k` of `T_(n+1)`, the interval mapped to `[-1, 1]`:
/// `c_j = (2 - [j = 0]) / (n + 1) sum_k f(u_k) cos(pi j (k + 1/2) / (n + 1))`.
pub fn interpolant(f: impl Fn(f64) -> f64, interval: &RangeInclusive<f64>, n: usize) -> Vec<f64> {
    let (centre, half) = centre_and_half(interval);
    let values: Vec<f64> = nodes(n + 1).map(|u| f(centre + half * u)).collect();
    let step = PI / (n + 1) as f64;
    let coefficient = |j: usize| {
        let terms = (0u32..).zip(&values).map(|(k, y)| y * (step * j as f64 * (f64::from(k) + 0.5)).cos());
        terms.sum::<f64>() * if j == 0 { 1.0 } else { 2.0 } / (n + 1) as f64
    };
    (0..=n).map(coefficient).collect()
}

/// `sum_j c_j T_j(u)`.
pub(in crate::dsl) fn clenshaw(coefficients: &[f64], u: f64) -> f64 {
    let (head, tail) = coefficients.split_first().map_or((0.0, &[][..]), |(head, tail)| (*head, tail));
    let (b1, b2) = tail.iter().rev().fold((0.0, 0.0), |(b1, b2), c| (c + 2.0 * u * b1 - b2, b1));
    head + u * b1 - b2
}

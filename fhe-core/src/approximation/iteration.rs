//! `1 / x` and `1 / sqrt(x)` by a polynomial and steps that square its relative error.
//!
//! ```text
//! 1 / x        e = 1 - x y,  then  y <- y + y e,  e <- e^2           (Goldschmidt 1964)
//! 1 / sqrt(x)  y <- 3/2 y - (x y / 2) y^2,  of e the next error is at most 3/2 e^2 + 1/2 e^3    (Newton)
//! ```
//!
//! Degree and number of steps are those of the least depth; of equals, those of the lowest degree.

use super::chebyshev::{centre_and_half, check_interval, clenshaw, interpolant, nodes};
use crate::ckks::ChebyshevSeries;
use crate::error::{Error, Result};
use core::ops::RangeInclusive;

/// The highest degree of a first guess.
const MAX_DEGREE: usize = 127;
const MAX_STEPS: u32 = 12;
/// No error below this is promised: results are computed by coefficients that are `f64`.
const LEAST: f64 = f64::EPSILON;
/// Chebyshev points at which the first guess of a square root is measured.
const GRID: usize = 1024;

/// What the steps lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `1 / x`.
    Inverse,
    /// `1 / sqrt(x)`.
    InverseSquareRoot,
}

impl Target {
    /// Levels of a number of steps, below those of the first guess.
    fn levels(self, steps: u32) -> u32 {
        match self {
            Self::Inverse => steps + u32::from(steps > 0),
            Self::InverseSquareRoot => 2 * steps,
        }
    }

    /// The relative error after a step.
    fn step(self, e: f64) -> f64 {
        match self {
            Self::Inverse => e * e,
            Self::InverseSquareRoot => 1.5 * e * e + 0.5 * e * e * e,
        }
    }

    fn guess(self, interval: &RangeInclusive<f64>, degree: usize) -> Vec<f64> {
        match self {
            Self::Inverse => interpolant(|x| 1.0 / x, interval, degree),
            Self::InverseSquareRoot => interpolant(|x| x.sqrt().recip(), interval, degree),
        }
    }

    /// The relative errors of guesses of degree 1, 2, ..
    ///
    /// The interpolant `p` of `1 / x` at the zeros of `T_(d+1)` is the best one:
    ///
    /// ```text
    /// |1 - x p(x)| = |T_(d+1)(u) / T_(d+1)(u_0)| <= 1 / |T_(d+1)(u_0)|,   u_0 = -(b + a) / (b - a), which is x = 0
    /// ```
    ///
    /// For the square root the error is measured at 1024 Chebyshev points and taken 1.1 times.
    fn guesses(self, interval: &RangeInclusive<f64>) -> Vec<f64> {
        let (centre, half) = centre_and_half(interval);
        match self {
            Self::Inverse => {
                let u = centre / half;
                let next = |(t, after): &mut (f64, f64)| {
                    (*t, *after) = (*after, 2.0 * u * *after - *t);
                    // Beyond the range of an f64 the difference is none.
                    Some(if after.is_finite() { 1.0 / *after } else { 0.0 })
                };
                (1..=MAX_DEGREE).scan((1.0, u), |state, _| next(state)).collect()
            }
            Self::InverseSquareRoot => {
                let points: Vec<(f64, f64)> = nodes(GRID).map(|u| (u, (centre + half * u).sqrt())).collect();
                let relative = |d: usize| {
                    let series = self.guess(interval, d);
                    let errors = points.iter().map(|&(u, root)| (clenshaw(&series, u) * root - 1.0).abs());
                    1.1 * errors.fold(0.0, f64::max)
                };
                (1..=MAX_DEGREE).map(relative).collect()
            }
        }
    }
}

/// A first guess and a number of steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Iteration {
    target: Target,
    guess: ChebyshevSeries,
    steps: u32,
    error: f64,
}

impl Iteration {
    /// `|x y - 1| <= error`, or `|sqrt(x) y - 1| <= error`, for the result `y` of an `x` in an interval of positive numbers.
    ///
    /// # Errors
    /// [`Error::Interval`]; [`Error::NotApproximated`].
    pub fn new(target: Target, interval: RangeInclusive<f64>, error: f64) -> Result<Self> {
        let levels = |degree: usize| (degree + 1).next_power_of_two().ilog2();
        Self::cheapest(target, interval, error, levels)
    }

    /// The same, of the least depth where a series of some degree takes a number of levels that the caller tells.
    ///
    /// # Errors
    /// As [`Iteration::new`].
    pub fn cheapest(
        target: Target,
        interval: RangeInclusive<f64>,
        error: f64,
        levels: impl Fn(usize) -> u32,
    ) -> Result<Self> {
        check_positive(&interval)?;
        let guesses = target.guesses(&interval);
        let after = |guess: f64, steps: u32| (0..steps).fold(guess, |e, _| target.step(e)).max(LEAST);
        let ways = (0..=MAX_STEPS).filter_map(|steps| {
            let (degree, guess) = (1..).zip(&guesses).find(|&(_, &guess)| after(guess, steps) <= error)?;
            Some((degree, steps, after(*guess, steps)))
        });
        let cost = |&(degree, steps, _): &(usize, u32, f64)| (levels(degree) + target.levels(steps), degree);
        let Some((degree, steps, error)) = ways.min_by_key(cost) else {
            let found = guesses.last().map_or(f64::INFINITY, |&guess| after(guess, MAX_STEPS));
            let (low, high) = (*interval.start(), *interval.end());
            return Err(Error::NotApproximated { low, high, degree: MAX_DEGREE, found, expected: error });
        };
        let guess = ChebyshevSeries::new(target.guess(&interval, degree), interval)?;
        Ok(Self { target, guess, steps, error })
    }

    /// What it leads to.
    pub fn target(&self) -> Target {
        self.target
    }

    /// The first guess.
    pub fn guess(&self) -> &ChebyshevSeries {
        &self.guess
    }

    /// The number of steps.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// The relative error.
    pub fn error(&self) -> f64 {
        self.error
    }

    /// Levels that an evaluation takes.
    pub fn depth(&self) -> u32 {
        self.guess.depth() + self.target.levels(self.steps)
    }

    /// The value at `x`.
    pub fn value(&self, x: f64) -> f64 {
        let step = |y: f64, _| match self.target {
            Target::Inverse => y + y * (1.0 - x * y),
            Target::InverseSquareRoot => 1.5 * y - 0.5 * x * y * y * y,
        };
        (0..self.steps).fold(self.guess.value(x), step)
    }
}

/// Refuses intervals with numbers that are not positive.
pub fn check_positive(interval: &RangeInclusive<f64>) -> Result<()> {
    check_interval(interval)?;
    let (low, high) = (*interval.start(), *interval.end());
    if low > 0.0 { Ok(()) } else { Err(Error::Interval { low, high, expected: "positive ends" }) }
}

//! Polynomials and functions of an encrypted vector, slot by slot, at the least depth.
//!
//! A polynomial of degree `d` costs `ceil(log2(d + 1))` levels, that of its leading power included:
//!
//! ```text
//! p = q B_g + r,   g the largest power of two up to deg p,   q one level above p, r at p's own
//! ```
//!
//! where `B_n` are powers or, for a Chebyshev series, Dickson polynomials (see [`Encrypted::chebyshev`]). Everything but the
//! chain `q` of `q` has a level to spare, so a remainder ends in a sum of scalar products of the baby steps `B_1 .. B_(k-1)`; at
//! the end of the chain there is none, and `q` is of degree 1. `k` is the power of two that needs fewest products. All products
//! of a sum, by scalars and by ciphertexts, are at one level, so [`crate::passes::place`] relinearizes and rescales the sum once.
//!
//! Products of two ciphertexts for dense polynomials, and how many relinearizations these share. Baby-step giant-step over powers
//! of two (Han and Ki, "Better bootstrapping for approximate homomorphic encryption", ePrint 2019/688), with `k = 2^l` and degree
//! `2^m - 1`, is `2^l - 2` baby steps, `m - l` giant steps and `2^(m-l) - 1` splits, with its best `l` the count in the table. It
//! ends every part in scalar products, which here costs one level more: that only the chain of `q` must be split
//! down to its end to save that level is from Bossuat, Mouchet, Troncoso-Pastoriza and Hubaux (ePrint 2020/1203, section 5).
//! Paterson and Stockmeyer (SIAM J. Comput. 2, 1973) need `sqrt(2 d) + O(log d)` products and do not count levels.
//!
//! | degree | levels | products | relinearizations | one level more: products | `sqrt(2 d) + log2(d)` |
//! |---|---|---|---|---|---|
//! | 3 | 2 | 2 | 2 | 2 | 4.0 |
//! | 7 | 3 | 5 | 4 | 4 | 6.5 |
//! | 15 | 4 | 8 | 7 | 7 | 9.4 |
//! | 31 | 5 | 13 | 10 | 11 | 12.8 |
//! | 63 | 6 | 18 | 15 | 16 | 17.2 |
//!
//! Even ones take 1, 3, 6, 9 and 14 products (their degree is one less), odd ones 2, 5, 8, 12 and 17.

mod evaluation;

pub(super) use evaluation::{Basis, depth, evaluate_with};

use core::ops::RangeInclusive;

pub use fhe_core::approximation::{Approximation, MAX_DEGREE, interpolant};
use fhe_core::approximation::{check_interval, clenshaw, nodes};

use super::{Encrypted, Graph};
use crate::ckks_ir::Location;
use crate::error::{Error, Result};

/// By which factor the sizes of Dickson polynomials may differ, before a scalar product is paid for equal ones.
const MAX_SPREAD: f64 = 64.0;
/// Points a degree for the bound of a series.
const POINTS: usize = 8;
/// Above `1 / cos(pi / 16)`.
const BETWEEN_POINTS: f64 = 1.02;
/// What is nearer to 1 differs by roundings.
const ROUNDINGS: f64 = 1.0 / (1u64 << 40) as f64;
/// The largest number of times that a vector is added to itself, before a scalar product is paid.
const MAX_TIMES: f64 = 64.0;

impl<'g> Encrypted<'g> {
    /// `sum_i coefficients[i] x^i`. Zero coefficients cost nothing.
    ///
    /// Powers lose precision where `|x|` is far from 1: [`Encrypted::chebyshev`] is better from degree 8 or so.
    ///
    /// # Errors
    /// [`Error::NotFinite`].
    ///
    /// # Cost
    /// `ceil(log2(degree + 1))` levels; products as in the table of [`crate::dsl::polynomial`].
    #[track_caller]
    pub fn polynomial(self, coefficients: &[f64]) -> Result<Self> {
        let here = Location::here();
        self.graph.within(here, || {
            self.check_coefficients(coefficients)?;
            Ok(evaluation::evaluate(self, Basis::Power, coefficients))
        })
    }

    /// `sum_i coefficients[i] T_i(u)` with `u = (2 x - a - b) / (b - a)` for `x` in the interval `[a, b]`. Outside of it the
    /// polynomial grows as fast as polynomials do.
    ///
    /// With `h = (b - a) / 2`, what is evaluated is in `v = j (x - (a + b) / 2)`, a sum of `j` equal terms, and in Dickson
    /// polynomials `D_n(v) = 2 r^n T_n(u)` with `r = j h / 2`:
    ///
    /// ```text
    /// D_1 = v     D_(m+n) = D_m D_n - r^(2n) D_(m-n)     D_(2n) = D_n^2 - 2 r^(2n)
    /// ```
    ///
    /// so the change of variable costs no level, and neither do the factors of the recurrence.
    ///
    /// # Errors
    /// [`Error::NotFinite`]; [`Error::Interval`].
    ///
    /// # Cost
    /// As [`Encrypted::polynomial`]. One level more, for `2 / h` as a scalar, where no `j` up to 64 brings `r^degree` into
    /// `[1/64, 64]`: long intervals and high degrees. [`is_folded`] tells; `h` of 2, 1, 1/2 and other `2 / j` are exact.
    #[track_caller]
    pub fn chebyshev(self, coefficients: &[f64], interval: RangeInclusive<f64>) -> Result<Self> {
        let here = Location::here();
        self.graph.within(here, || {
            self.check_coefficients(coefficients)?;
            self.graph.located(check_interval(&interval))?;
            Ok(self.chebyshev_series(coefficients, &interval))
        })
    }

    /// `f(x)` for `x` in the interval, up to `max_error`, by the Chebyshev series of [`Approximation::of`].
    ///
    /// # Errors
    /// Of [`Approximation::of`].
    ///
    /// # Cost
    /// As [`Encrypted::chebyshev`] of the degree that is found.
    #[track_caller]
    pub fn approximate(
        self,
        f: impl Fn(f64) -> f64,
        interval: RangeInclusive<f64>,
        max_error: f64,
    ) -> Result<Self> {
        let here = Location::here();
        self.graph.within(here, || {
            Ok(self.approximation(&self.graph.located(Approximation::of(f, interval, max_error))?))
        })
    }

    pub(super) fn approximation(self, found: &Approximation) -> Self {
        self.chebyshev_series(found.series().coefficients(), found.series().interval())
    }

    /// The series, of arguments that were checked.
    pub(super) fn chebyshev_series(self, coefficients: &[f64], interval: &RangeInclusive<f64>) -> Self {
        let degree = degree(coefficients);
        let (centre, half) = centre_and_half(interval);
        let (v, r) = match folding(half, degree) {
            Some(j) => ((self - centre).times(j), exactly_one(f64::from(j) * half / 2.0)),
            None => (self * (2.0 / half) - 2.0 * centre / half, 1.0),
        };
        let mut series = coefficients.to_vec();
        for (n, c) in series.iter_mut().enumerate().skip(1) {
            *c /= 2.0 * power(r, n);
        }
        let y = evaluation::evaluate(v.at_most(2.0 * r), Basis::Dickson { r }, &series);
        let largest = largest(coefficients);
        if largest > 0.0 { y.at_most(largest) } else { y }
    }

    #[track_caller]
    fn check_coefficients(self, coefficients: &[f64]) -> Result<()> {
        let Some(index) = coefficients.iter().position(|c| !c.is_finite()) else { return Ok(()) };
        let (name, value) =
            (format!("coefficients beside {}", self.describe()), coefficients[index].to_string());
        Err(Error::NotFinite { name, index, value, at: Some(self.graph.locate(Location::here())) })
    }
}

/// Whether a Chebyshev series of this degree on this interval costs no level for its change of variable.
pub fn is_folded(interval: &RangeInclusive<f64>, degree: usize) -> bool {
    folding(centre_and_half(interval).1, degree).is_some()
}

impl Graph {
    /// What fhe-core refuses, refused with the user's line.
    #[track_caller]
    pub(super) fn located<T>(&self, result: fhe_core::Result<T>) -> Result<T> {
        use fhe_core::Error as Core;
        let at = Some(self.locate(Location::here()));
        result.map_err(|error| match error {
            Core::Interval { low, high, expected } => Error::Interval { low, high, expected, at },
            Core::FunctionNotFinite { x, found } => {
                let name = format!("function at {x}");
                Error::NotFinite { name, index: 0, value: found.to_string(), at }
            }
            Core::NotApproximated { low, high, degree, found, expected } => {
                Error::NotApproximated { low, high, degree, found, expected, at }
            }
            other => Error::Core(other),
        })
    }
}

fn centre_and_half(interval: &RangeInclusive<f64>) -> (f64, f64) {
    let (a, b) = (interval.start(), interval.end());
    ((a + b) / 2.0, (b - a) / 2.0)
}

/// The `j` that keeps `r^degree` near enough to 1.
fn folding(half: f64, degree: usize) -> Option<u32> {
    let j = (2.0 / half).round().max(1.0);
    let spread = power(j * half / 2.0, degree);
    let is_narrow = (1.0 / MAX_SPREAD..=MAX_SPREAD).contains(&spread);
    (j <= MAX_TIMES && (degree <= 1 || is_narrow)).then_some(j as u32)
}

/// `r^n` by squaring: the same bits on every machine, unlike `powi`.
fn power(r: f64, n: usize) -> f64 {
    let (mut power, mut square, mut left) = (1.0, r, n);
    while left > 0 {
        if left % 2 == 1 {
            power *= square;
        }
        (square, left) = (square * square, left / 2);
    }
    power
}

/// A factor of 1 is no product: what is that only after rounding is taken as 1, at 2^-40 for each degree.
fn exactly_one(r: f64) -> f64 {
    if (r - 1.0).abs() <= ROUNDINGS { 1.0 } else { r }
}

/// No value of the series on its interval is above it: the largest at `m` Chebyshev points over `cos(pi d / (2 m))` (Ehlich and Zeller, Math. Z. 86,
/// 1964), `d` the degree.
fn largest(coefficients: &[f64]) -> f64 {
    let n = POINTS * (degree(coefficients) + 1);
    let values = nodes(n).map(|u| clenshaw(coefficients, u).abs());
    values.fold(0.0, f64::max) * BETWEEN_POINTS
}

/// The index of the last coefficient that is not zero.
fn degree(coefficients: &[f64]) -> usize {
    coefficients.iter().rposition(|&c| c != 0.0).unwrap_or(0)
}

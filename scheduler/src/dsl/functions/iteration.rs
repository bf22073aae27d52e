//! Functions by a polynomial and steps that square its relative error.

use core::ops::RangeInclusive;

use fhe_core::approximation::{Iteration, Target};

use crate::ckks_ir::Location;
use crate::dsl::Encrypted;
use crate::dsl::polynomial::{depth, is_folded};
use crate::error::Result;

/// What leads to the target at the least depth.
pub(super) fn cheapest(
    target: Target,
    interval: &RangeInclusive<f64>,
    error: f64,
) -> fhe_core::Result<Iteration> {
    let levels = |degree: usize| depth(degree + 1) + u32::from(!is_folded(interval, degree));
    Iteration::cheapest(target, interval.clone(), error, levels)
}

/// `1 / x` for `x` in an interval of positive numbers, with `|x y - 1| <= error` for the result `y`.
///
/// The first guess is the interpolant `p` of `1 / x` at the zeros of `T_(d+1)`, which is the best polynomial for this error. Then
/// `e = 1 - x p`, and `y <- y + y e`, `e <- e^2` (Goldschmidt 1964) until the error is small enough. Degree and number of steps are
/// those of the least depth ([`Iteration`]).
///
/// ```
/// use scheduler::dsl::{self, functions};
/// let program = dsl::build("inverse", |g| {
///     let x = g.input("x", 8)?;
///     g.output("y", functions::inverse(x, 0.01..=1.0, 1e-6)?, 8)
/// })?;
/// # Ok::<(), scheduler::Error>(())
/// ```
///
/// # Errors
/// [`crate::Error::Interval`]; [`crate::Error::NotApproximated`].
///
/// # Cost
/// `ceil(log2(d + 1))` levels for the guess (see [`Encrypted::chebyshev`]), one for the first `e`, one a step; two products a step.
/// From 0.01 to 1 with an error of `2^-20`: degree 72 and no step, 7 levels; from 0.001 to 4 with `2^-10`: degree 63 and 3 steps, 10.
#[track_caller]
pub fn inverse(x: Encrypted<'_>, interval: RangeInclusive<f64>, error: f64) -> Result<Encrypted<'_>> {
    x.graph().within(Location::here(), || {
        let found = x.graph().located(cheapest(Target::Inverse, &interval, error))?;
        let mut y = x.chebyshev_series(found.guess().coefficients(), &interval);
        let mut e = None;
        for _ in 0..found.steps() {
            let now = e.map_or_else(|| 1.0 - x * y, Encrypted::square);
            y = y + y * now;
            e = Some(now);
        }
        Ok(y)
    })
}

/// `1 / sqrt(x)` for `x` in an interval of positive numbers, with `|sqrt(x) y - 1| <= error` for the result `y`.
///
/// The first guess is the interpolant of `1 / sqrt(x)` at Chebyshev points; its relative error `e` is measured at 1024 Chebyshev
/// points and taken 1.1 times. Then Newton's steps `y <- 3/2 y - (x y / 2) y^2`, which map `e` to at most `3/2 e^2 + 1/2 e^3`.
/// Degree and number of steps are those of the least depth ([`Iteration`]).
///
/// ```
/// use scheduler::dsl::{self, functions};
/// let program = dsl::build("root", |g| {
///     let x = g.input("x", 8)?;
///     g.output("y", functions::inverse_square_root(x, 0.01..=1.0, 1e-6)?, 8)
/// })?;
/// # Ok::<(), scheduler::Error>(())
/// ```
///
/// # Errors
/// [`crate::Error::Interval`]; [`crate::Error::NotApproximated`].
///
/// # Cost
/// `ceil(log2(d + 1))` levels for the guess (see [`Encrypted::chebyshev`]), two a step; three products a step.
#[track_caller]
pub fn inverse_square_root(
    x: Encrypted<'_>,
    interval: RangeInclusive<f64>,
    error: f64,
) -> Result<Encrypted<'_>> {
    x.graph().within(Location::here(), || {
        let found = x.graph().located(cheapest(Target::InverseSquareRoot, &interval, error))?;
        let mut y = x.chebyshev_series(found.guess().coefficients(), &interval);
        if found.steps() > 0 {
            let half_x = x * 0.5;
            for _ in 0..found.steps() {
                y = y * 1.5 - (half_x * y) * y.square();
            }
        }
        Ok(y)
    })
}

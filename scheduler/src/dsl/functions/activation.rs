//! Functions of one slot by one Chebyshev series.

use core::ops::RangeInclusive;

use fhe_core::approximation::Approximation;

use crate::ckks_ir::Location;
use crate::dsl::Encrypted;
use crate::error::Result;

/// `e^x` for `x` in an interval, with `|y / e^x - 1| <= error` for the result `y`.
///
/// ```
/// use scheduler::dsl::{self, functions};
/// let program = dsl::build("exp", |g| {
///     let x = g.input("x", 8)?;
///     g.output("y", functions::exp(x, -4.0..=4.0, 2e-4)?, 8)
/// })?;
/// # Ok::<(), scheduler::Error>(())
/// ```
///
/// # Errors
/// [`crate::Error::Interval`]; [`crate::Error::NotApproximated`]: the interval may be about `log(error / 2^-50)` long.
///
/// # Cost
/// That of a Chebyshev series.
#[track_caller]
pub fn exp(x: Encrypted<'_>, interval: RangeInclusive<f64>, error: f64) -> Result<Encrypted<'_>> {
    by_series(x, || Approximation::exp(interval, error))
}

/// `1 / (1 + e^-x)` for `x` in an interval, up to `error`.
///
/// ```
/// use scheduler::dsl::{self, functions};
/// let program = dsl::build("logistic regression", |g| {
///     let score = g.input("score", 8)?;
///     g.output("probability", functions::sigmoid(score, -8.0..=8.0, 1e-3)?, 8)
/// })?;
/// # Ok::<(), scheduler::Error>(())
/// ```
///
/// # Errors
/// [`crate::Error::Interval`]; [`crate::Error::NotApproximated`].
///
/// # Cost
/// That of a Chebyshev series.
#[track_caller]
pub fn sigmoid(x: Encrypted<'_>, interval: RangeInclusive<f64>, error: f64) -> Result<Encrypted<'_>> {
    by_series(x, || Approximation::sigmoid(interval, error))
}

/// The hyperbolic tangent of `x` in an interval, up to `error`.
///
/// ```
/// use scheduler::dsl::{self, functions};
/// let program = dsl::build("tanh", |g| {
///     let x = g.input("x", 8)?;
///     g.output("y", functions::tanh(x, -4.0..=4.0, 1e-3)?, 8)
/// })?;
/// # Ok::<(), scheduler::Error>(())
/// ```
///
/// # Errors
/// [`crate::Error::Interval`]; [`crate::Error::NotApproximated`].
///
/// # Cost
/// That of a Chebyshev series.
#[track_caller]
pub fn tanh(x: Encrypted<'_>, interval: RangeInclusive<f64>, error: f64) -> Result<Encrypted<'_>> {
    by_series(x, || Approximation::tanh(interval, error))
}

/// `x (1 + erf(x / sqrt 2)) / 2` for `x` in an interval, up to `error`: the exact form of GELU.
///
/// ```
/// use scheduler::dsl::{self, functions};
/// let program = dsl::build("gelu", |g| {
///     let x = g.input("x", 8)?;
///     g.output("y", functions::gelu(x, -8.0..=8.0, 1e-3)?, 8)
/// })?;
/// # Ok::<(), scheduler::Error>(())
/// ```
///
/// # Errors
/// [`crate::Error::Interval`]; [`crate::Error::NotApproximated`].
///
/// # Cost
/// That of a Chebyshev series, which is less deep than [`super::relu`] for the same error: from -8 to 8 with `2^-10` 6 levels, where a
/// ReLU takes 15; from -30 to 30 with `2^-8` 8.
#[track_caller]
pub fn gelu(x: Encrypted<'_>, interval: RangeInclusive<f64>, error: f64) -> Result<Encrypted<'_>> {
    by_series(x, || Approximation::gelu(interval, error))
}

/// `x / (1 + e^-x)` for `x` in an interval, up to `error`: SiLU, also called swish.
///
/// ```
/// use scheduler::dsl::{self, functions};
/// let program = dsl::build("silu", |g| {
///     let x = g.input("x", 8)?;
///     g.output("y", functions::silu(x, -8.0..=8.0, 1e-3)?, 8)
/// })?;
/// # Ok::<(), scheduler::Error>(())
/// ```
///
/// # Errors
/// [`crate::Error::Interval`]; [`crate::Error::NotApproximated`].
///
/// # Cost
/// That of a Chebyshev series.
#[track_caller]
pub fn silu(x: Encrypted<'_>, interval: RangeInclusive<f64>, error: f64) -> Result<Encrypted<'_>> {
    by_series(x, || Approximation::silu(interval, error))
}

/// What was found, as the user's line asks for it.
#[track_caller]
fn by_series<'g>(
    x: Encrypted<'g>,
    find: impl FnOnce() -> fhe_core::Result<Approximation>,
) -> Result<Encrypted<'g>> {
    let graph = x.graph();
    graph.within(Location::here(), || Ok(x.approximation(&graph.located(find())?)))
}

//! Norms: functions of all slots of a period.

use core::ops::RangeInclusive;

use fhe_core::approximation::check_positive;

use super::{folding_factor, inverse_square_root};
use crate::ckks_ir::Location;
use crate::dsl::{Encrypted, Graph};
use crate::error::{Error, Result};

/// `gamma_i (x_i - mean) / sqrt(variance + epsilon) + beta_i` over all slots of the period of `x`, for a variance in an interval,
/// with an error of at most `error` times `|gamma_i (x_i - mean)| / sqrt(variance + epsilon)`.
///
/// Mean and variance (the mean of squared differences) are of the slots. With `n` slots, `z = s (x - mean)` is one sum of
/// products by scalars and `sum z^2` is `s^2 n` times the variance; `s` is such that this has an interval of length 4, on which the
/// series of [`inverse_square_root`] costs no change of variable.
///
/// ```
/// use scheduler::dsl::{self, functions};
/// let (gamma, beta) = ([1.5; 64], [0.25; 64]);
/// let program = dsl::build("norm", |g| {
///     let x = g.input("x", 64)?;
///     g.output("y", functions::layer_norm(x, &gamma, &beta, 1e-5, 0.1..=10.0, 1e-3)?, 64)
/// })?;
/// # Ok::<(), scheduler::Error>(())
/// ```
///
/// # Errors
/// [`Error::Length`] unless `gamma` and `beta` have the period's length; [`Error::NotFinite`]; [`Error::Interval`];
/// [`Error::NotApproximated`].
///
/// # Cost
/// Levels: those of [`inverse_square_root`] and 3; `2 log2(n)` rotations.
#[track_caller]
pub fn layer_norm<'g>(
    x: Encrypted<'g>,
    gamma: &[f64],
    beta: &[f64],
    epsilon: f64,
    variance: RangeInclusive<f64>,
    error: f64,
) -> Result<Encrypted<'g>> {
    let graph = x.graph();
    graph.within(Location::here(), || {
        check_weights(graph, "beta of a layer norm", beta, x.period())?;
        let slots = x.period() as f64;
        let deviation = |s: f64| x * s - x.sum_strided(1, x.period()) * (s / slots);
        let weights = Weights { what: "gamma of a layer norm", gamma };
        Ok(normalised(graph, deviation, x.period(), &weights, epsilon, &variance, error)?
            + graph.plain("beta", beta)?)
    })
}

/// `gamma_i x_i / sqrt(mean_square + epsilon)` over all slots of the period of `x`, for a mean of squares in an interval, with an error of at
/// most `error` times `|gamma_i x_i| / sqrt(mean_square + epsilon)`.
///
/// ```
/// use scheduler::dsl::{self, functions};
/// let program = dsl::build("norm", |g| {
///     let x = g.input("x", 64)?;
///     g.output("y", functions::rms_norm(x, &[1.5; 64], 1e-5, 0.1..=10.0, 1e-3)?, 64)
/// })?;
/// # Ok::<(), scheduler::Error>(())
/// ```
///
/// # Errors
/// As [`layer_norm`].
///
/// # Cost
/// Levels: those of [`inverse_square_root`] and 3; `log2(n)` rotations.
#[track_caller]
pub fn rms_norm<'g>(
    x: Encrypted<'g>,
    gamma: &[f64],
    epsilon: f64,
    mean_square: RangeInclusive<f64>,
    error: f64,
) -> Result<Encrypted<'g>> {
    let graph = x.graph();
    graph.within(Location::here(), || {
        let weights = Weights { what: "gamma of an RMS norm", gamma };
        normalised(graph, |s| x * s, x.period(), &weights, epsilon, &mean_square, error)
    })
}

/// `gamma`, and what it is called.
struct Weights<'a> {
    what: &'static str,
    gamma: &'a [f64],
}

/// `gamma_i z_i sqrt(n / (sum z^2 + s^2 n epsilon))` for `z = scaled(s)`, slots times `s`.
#[track_caller]
fn normalised<'g>(
    graph: &'g Graph,
    scaled: impl FnOnce(f64) -> Encrypted<'g>,
    n: usize,
    weights: &Weights<'_>,
    epsilon: f64,
    mean_square: &RangeInclusive<f64>,
    error: f64,
) -> Result<Encrypted<'g>> {
    check_weights(graph, weights.what, weights.gamma, n)?;
    let shifted = mean_square.start() + epsilon..=mean_square.end() + epsilon;
    graph.located(check_positive(&shifted))?;
    let slots = n as f64;
    let s = folding_factor(slots * (mean_square.end() - mean_square.start())).sqrt();
    let z = scaled(s);
    let scale = s * s * slots;
    let sum = z.square().sum_strided(1, n) + scale * epsilon;
    let sums = scale * shifted.start()..=scale * shifted.end();
    let gamma: Vec<f64> = weights.gamma.iter().map(|g| g * slots.sqrt()).collect();
    Ok(z * graph.plain("gamma", &gamma)? * inverse_square_root(sum, sums, error)?)
}

#[track_caller]
fn check_weights(graph: &Graph, what: &'static str, weights: &[f64], expected: usize) -> Result<()> {
    if weights.len() == expected {
        return Ok(());
    }
    let at = Some(graph.locate(Location::here()));
    Err(Error::Length { what, found: weights.len(), expected, at })
}

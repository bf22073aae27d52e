//! Functions that networks need beside polynomials, each on a stated domain with a stated error.
//!
//! Errors are those of the method, in exact arithmetic; the noise of encryption comes on top. Outside of the stated domain
//! results are arbitrary and may be too large for the parameters: a polynomial grows fast beyond its interval.
//!
//! | function | domain | error | levels |
//! |---|---|---|---|
//! | `exp` | -4 to 4 | relative 2^-12 | 5 |
//! | `inverse` | 0.01 to 1 | relative 2^-20 | 7 |
//! | `inverse_square_root` | 0.01 to 1 | relative 2^-20 | 7 |
//! | `softmax`, 128 slots | -4 to 4 | relative 2^-10 | 15 |
//! | `layer_norm`, 256 slots | variance 0.1 to 10 | relative 2^-10 | 9 |

mod iteration;

use core::ops::RangeInclusive;

use iteration::check_positive;
pub use iteration::{inverse, inverse_square_root};

use super::polynomial::{Approximation, check_interval};
use super::{Encrypted, Graph};
use crate::ckks_ir::Location;
use crate::error::{Error, Result};

/// `e^x` for `x` in an interval, with `|y / e^x - 1| <= error` for the result `y`.
///
/// # Errors
/// [`Error::Interval`]; [`Error::NotApproximated`]: the interval may be about `log(error / 2^-50)` long.
///
/// # Cost
/// That of a Chebyshev series.
#[track_caller]
pub fn exp(x: Encrypted<'_>, interval: RangeInclusive<f64>, error: f64) -> Result<Encrypted<'_>> {
    x.graph().within(Location::here(), || scaled_exp(x, 1.0, &interval, error))
}

/// `factor e^x`, up to the relative error.
fn scaled_exp<'g>(
    x: Encrypted<'g>,
    factor: f64,
    interval: &RangeInclusive<f64>,
    error: f64,
) -> Result<Encrypted<'g>> {
    let at = Some(x.graph().locate(Location::here()));
    let smallest = factor * interval.start().exp();
    let found = Approximation::find(|x| factor * x.exp(), interval.clone(), error * smallest, at)?;
    Ok(x.chebyshev_series(found.coefficients(), interval))
}

/// `e^(x_i) / sum_(j < n) e^(x_j)` for the first `n` slots `x_i` in an interval, with a relative error of at most `error` for
/// each; an error above 1/4 is taken as 1/4.
///
/// The maximum is not subtracted, so the sum may be anything from `n e^a` to `n e^b`: [`inverse`] takes more levels the longer
/// the interval is. Where `n` is less than the period of `x`, the slots behind do not count, but must be in the interval as well;
/// they become 0.
///
/// # Errors
/// [`Error::Length`] for `n` of 0 or above the period; [`Error::Interval`]; [`Error::NotApproximated`].
///
/// # Cost
/// Levels: those of [`exp`] and [`inverse`], one for their product, one to blank slots if `n` is less than the period.
/// `log2` of the period rotations.
#[track_caller]
pub fn softmax(
    x: Encrypted<'_>,
    n: usize,
    interval: RangeInclusive<f64>,
    error: f64,
) -> Result<Encrypted<'_>> {
    let graph = x.graph();
    graph.within(Location::here(), || {
        let at = Some(graph.locate(Location::here()));
        check_interval(&interval, at.clone())?;
        let period = x.period();
        if n == 0 || n > period {
            return Err(Error::Length { what: "softmax", found: n, expected: period, at });
        }
        // 1 + error is more than (1 + e) / (1 - e) (1 + i) for the errors e and i of the parts, up to an error of 1/4.
        let error = error.min(0.25);
        let (of_exp, of_inverse) = (error / 5.0, error / 2.0);
        let (low, high) = (interval.start().exp(), interval.end().exp());
        // The sum has an interval of length 4, on which a Chebyshev series costs no change of variable.
        let factor = 4.0 / (n as f64 * (high * (1.0 + of_exp) - low * (1.0 - of_exp)));
        let mut e = scaled_exp(x, factor, &interval, of_exp)?;
        if n < period {
            let blank: Vec<f64> = (0..period).map(|i| if i < n { 1.0 } else { 0.0 }).collect();
            e = e * graph.plain("softmax slots", &blank)?;
        }
        let sum = e.sum_strided(1, period);
        let scale = factor * n as f64;
        let sums = scale * low * (1.0 - of_exp)..=scale * high * (1.0 + of_exp);
        Ok(e * inverse(sum, sums, of_inverse)?)
    })
}

/// `gamma_i (x_i - mean) / sqrt(variance + epsilon) + beta_i` over all slots of the period of `x`, for a variance in an interval,
/// with an error of at most `error` times `|gamma_i (x_i - mean)| / sqrt(variance + epsilon)`.
///
/// Mean and variance (the mean of squared differences) are of the slots. With `n` slots, `z = s (x - mean)` is one sum of
/// products by scalars and `sum z^2` is `s^2 n` times the variance; `s` is such that this has an interval of length 4, on which the
/// series of [`inverse_square_root`] costs no change of variable.
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
        let n = x.period();
        check_weights(graph, "gamma of a layer norm", gamma, n)?;
        check_weights(graph, "beta of a layer norm", beta, n)?;
        let shifted = variance.start() + epsilon..=variance.end() + epsilon;
        check_positive(&shifted, Some(graph.locate(Location::here())))?;
        let slots = n as f64;
        let s = (4.0 / (slots * (variance.end() - variance.start()))).sqrt();
        let z = x * s - x.sum_strided(1, n) * (s / slots);
        let scale = s * s * slots;
        let sum = z.square().sum_strided(1, n) + scale * epsilon;
        let sums = scale * shifted.start()..=scale * shifted.end();
        let weights: Vec<f64> = gamma.iter().map(|g| g * slots.sqrt()).collect();
        let scaled = z * graph.plain("gamma", &weights)?;
        Ok(scaled * inverse_square_root(sum, sums, error)? + graph.plain("beta", beta)?)
    })
}

fn check_weights(graph: &Graph, what: &'static str, weights: &[f64], expected: usize) -> Result<()> {
    if weights.len() == expected {
        return Ok(());
    }
    let at = Some(graph.locate(Location::here()));
    Err(Error::Length { what, found: weights.len(), expected, at })
}

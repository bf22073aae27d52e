//! Softmax of scores in an interval of any length, by squares of a softmax of smaller scores.
//!
//! ```text
//! y = softmax(x / 2^k),   then k times   y_i <- y_i^2 / sum_l y_l^2
//! ```
//!
//! is `softmax(x)`, and no number is large or small on the way: `e^x` is needed on an interval that is `2^k` times shorter, and a sum of squares
//! of shares is from `1/n` to 1 (Cho, Hanrot, Kim, Park and Stehlé, "Fast and accurate homomorphic softmax evaluation", arXiv 2410.11184).

use core::ops::RangeInclusive;

use fhe_core::approximation::elementary::exp as exp_of;
use fhe_core::approximation::{Approximation, Target, check_interval};

use super::comparison::{at_most, blanked, check_count};
use super::folding_factor;
use super::iteration::{cheapest, inverse};
use crate::ckks_ir::Location;
use crate::dsl::Encrypted;
use crate::dsl::polynomial::is_folded;
use crate::error::Result;

/// The most squarings that are tried.
const MAX_SQUARINGS: i32 = 8;
/// A relative error of `r / 7` in shares and of `r / 4` in an inverse make at most `r` of a squaring, for `r` up to 1/4:
/// `((1 + r/7) / (1 - r/7))^2 (1 + r/4) <= 1 + r`.
const OF_SHARES: f64 = 1.0 / 7.0;
const OF_INVERSE: f64 = 0.25;

/// `e^(x_i) / sum_(j < n) e^(x_j)` for the first `n` slots `x_i` in an interval, with a relative error of at most `error` for
/// each; an error above 1/4 is taken as 1/4.
///
/// The number of squarings is that of the least depth: none on short intervals. Where `n` is less than the period of `x`, the slots behind do
/// not count, but must be in the interval as well; they become 0.
///
/// ```
/// use scheduler::dsl::{self, functions};
/// let program = dsl::build("attention", |g| {
///     let scores = g.input("scores", 128)?;
///     g.output("weights", functions::softmax(scores, 128, -4.0..=4.0, 1e-3)?, 128)
/// })?;
/// # Ok::<(), scheduler::Error>(())
/// ```
///
/// # Errors
/// [`crate::Error::Length`] for `n` of 0 or above the period; [`crate::Error::Interval`]; [`crate::Error::NotApproximated`].
///
/// # Cost
/// Levels: those of [`super::exp`] and [`inverse`], one for their product, one to blank slots if `n` is less than the period; for each squaring
/// two and those of [`inverse`] from `1/n` to 1. `log2` of the period rotations, so many more for each squaring.
#[track_caller]
pub fn softmax(
    x: Encrypted<'_>,
    n: usize,
    interval: RangeInclusive<f64>,
    error: f64,
) -> Result<Encrypted<'_>> {
    let graph = x.graph();
    graph.within(Location::here(), || {
        graph.located(check_interval(&interval))?;
        check_count("softmax", x, n)?;
        let way = graph.located(Squarings::cheapest(n, &interval, at_most(error, 0.25)))?;
        let e = blanked(x.approximation(&way.exp), n, 1.0, 0.0)?;
        let first = shares(e, &way.first)?;
        way.squared.iter().try_fold(first, |y, sum| shares(y.square(), sum))
    })
}

/// An interval of a sum, and the relative error for its inverse.
pub(super) struct Sum {
    pub(super) interval: RangeInclusive<f64>,
    pub(super) error: f64,
}

impl Sum {
    /// Levels from the sum to the share.
    fn levels(&self) -> fhe_core::Result<u32> {
        let found = cheapest(Target::Inverse, &self.interval, self.error)?;
        let change = u32::from(!is_folded(&self.interval, found.guess().degree()));
        Ok(found.depth() + change + 1)
    }
}

/// How to compute a softmax.
struct Squarings {
    /// A multiple of `e^(x / 2^k)`.
    exp: Approximation,
    first: Sum,
    /// Of squares of shares, for each squaring.
    squared: Vec<Sum>,
    levels: u32,
}

impl Squarings {
    fn new(n: usize, interval: &RangeInclusive<f64>, error: f64, k: i32) -> fhe_core::Result<Self> {
        let slots = n as f64;
        let errors: Vec<f64> =
            (0..k).scan(error, |r, _| Some(core::mem::replace(r, *r * OF_SHARES))).collect();
        let of_squared = |r: &f64| {
            let (least, most) = (1.0 - r * OF_SHARES, 1.0 + r * OF_SHARES);
            Sum { interval: least * least / slots..=most * most, error: r * OF_INVERSE }
        };
        let squared: Vec<Sum> = errors.iter().rev().map(of_squared).collect();
        // 1 + error is more than (1 + e) / (1 - e) (1 + i) for the errors e and i of the parts, up to an error of 1/4.
        let first = errors.last().map_or(error, |r| r * OF_SHARES);
        let (of_exp, of_inverse) = (first / 5.0, first / 2.0);
        let (high, shrunk) = (*interval.end(), 1.0 / f64::from(1 << k));
        let least = exp_of((interval.start() - high) * shrunk) * (1.0 - of_exp);
        let most = 1.0 + of_exp;
        let factor = folding_factor(slots * (most - least));
        let exp =
            Approximation::relative(|x| factor * exp_of((x - high) * shrunk), interval.clone(), of_exp)?;
        let scale = factor * slots;
        let first = Sum { interval: scale * least..=scale * most, error: of_inverse };
        let series = exp.series();
        let change = u32::from(!is_folded(series.interval(), series.degree()));
        let mut levels = series.depth() + change + first.levels()?;
        for sum in &squared {
            levels += 1 + sum.levels()?;
        }
        Ok(Self { exp, first, squared, levels })
    }

    /// The way of the least depth; of equals, that with the fewest squarings.
    fn cheapest(n: usize, interval: &RangeInclusive<f64>, error: f64) -> fhe_core::Result<Self> {
        let levels = |way: &fhe_core::Result<Self>| way.as_ref().map_or(u32::MAX, |way| way.levels);
        let more = (1..=MAX_SQUARINGS).map(|k| Self::new(n, interval, error, k));
        let none = Self::new(n, interval, error, 0);
        more.fold(none, |best, way| if levels(&way) < levels(&best) { way } else { best })
    }
}

/// `e_i / sum_j e_j`.
#[track_caller]
pub(super) fn shares<'g>(e: Encrypted<'g>, sum: &Sum) -> Result<Encrypted<'g>> {
    Ok(e * inverse(e.sum_strided(1, e.period()), sum.interval.clone(), sum.error)?)
}

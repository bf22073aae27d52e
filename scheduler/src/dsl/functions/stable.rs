//! Softmax with the maximum subtracted.

use core::ops::RangeInclusive;

use fhe_core::approximation::elementary::exp as exp_of;
use fhe_core::approximation::{Approximation, Composite, Iteration, Target, check_interval};

use super::comparison::{at_most, blanked, check_count, from_first, rounds, tournament};
use super::folding_factor;
use super::iteration::cheapest;
use super::softmax::{Sum, shares};
use crate::ckks_ir::Location;
use crate::dsl::Encrypted;
use crate::error::Result;

/// What may be missed of the largest score: one number is subtracted from all scores, whatever it is. A narrow miss takes a deep tournament, a
/// wide one a deep inverse.
const MISSES: [f64; 6] = [0.5, 1.0, 1.5, 2.0, 3.0, 4.0];

/// `e^(x_i) / sum_(j < n) e^(x_j)` for the first `n` slots `x_i` in an interval, up to `error`, absolutely; an error above 1/4 is taken as
/// 1/4.
///
/// The maximum is subtracted first, as far as a tournament finds it: up to a miss `m` of at most 4. So the sum is from `e^-m` to `n e^m` for
/// an interval of any length, and `e^x` needs to be near only absolutely. The `m` of the least depth is taken; on short intervals that is the
/// middle of the interval instead of a maximum. Slots behind the first `n` as in [`super::softmax`], which is less deep as a rule: a round of
/// the tournament costs about as much as a squaring there, and there are fewer squarings.
///
/// ```
/// use scheduler::dsl::{self, functions};
/// let program = dsl::build("attention", |g| {
///     let scores = g.input("scores", 8)?;
///     g.output("weights", functions::stable_softmax(scores, 8, -30.0..=30.0, 1e-3)?, 8)
/// })?;
/// # Ok::<(), scheduler::Error>(())
/// ```
///
/// # Errors
/// As [`super::softmax`].
///
/// # Cost
/// Levels: those of [`super::maximum_of`] with an error of `m`, of a series for `e^x` on an interval longer by `2 m`, of [`super::inverse`], one
/// to bring the maximum to every slot and one for the last product; if `n` is less than the period one more to blank slots.
#[track_caller]
pub fn stable_softmax(
    x: Encrypted<'_>,
    n: usize,
    interval: RangeInclusive<f64>,
    error: f64,
) -> Result<Encrypted<'_>> {
    let graph = x.graph();
    graph.within(Location::here(), || {
        graph.located(check_interval(&interval))?;
        check_count("stable_softmax", x, n)?;
        let (low, high, error) = (*interval.start(), *interval.end(), at_most(error, 0.25));
        let way = graph.located(Stable::cheapest(n, high - low, error))?;
        let scaled = blanked(x, n, way.scale, low)?;
        let below = match &way.step {
            // Each slot misses by something else: what is subtracted must be one number.
            Some(step) => scaled - from_first(tournament(scaled, n, step), 1.0)?,
            None => scaled - way.scale * (low + high) / 2.0,
        };
        shares(blanked(below.approximation(&way.exp), n, 1.0, 0.0)?, &way.sum)
    })
}

/// How to compute a stable softmax.
struct Stable {
    rounds: u32,
    /// Of the tournament, if there is one.
    step: Option<Composite>,
    /// What scores are multiplied by, so that intervals are folded.
    scale: f64,
    /// A multiple of `e^(u / scale)` on what scores are after the subtraction, and an interval of its sum.
    exp: Approximation,
    sum: Sum,
    inverse: Iteration,
}

impl Stable {
    /// With `e_i` off by `h` and a sum from `s` on, `e_i / sum` is off by `(n + 1) h / (s - n h)`, here half the error; a relative third of it
    /// is left for the inverse.
    fn new(n: usize, length: f64, miss: f64, error: f64, by_tournament: bool) -> fhe_core::Result<Self> {
        let (slots, least) = (n as f64, exp_of(-miss));
        let h = least * error / 2.0 / ((slots + 1.0) * (1.0 + error / 2.0));
        let sums = least - slots * h..=slots * (exp_of(miss) + h);
        let factor = folding_factor(sums.end() - sums.start());
        let rounds = if by_tournament { rounds(n) } else { 0 };
        let differences = if by_tournament { -length - miss..=miss } else { -miss..=miss };
        let scale = 2.0 / (differences.end() - differences.start());
        let step = by_tournament.then(|| Composite::relu(2.0, scale * miss / f64::from(rounds.max(1))));
        let exp = Approximation::of(
            |u| factor * exp_of(u / scale),
            scale * differences.start()..=scale * differences.end(),
            factor * h,
        )?;
        let sums = factor * sums.start()..=factor * sums.end();
        let sum = Sum { interval: sums, error: error / 3.0 };
        let inverse = cheapest(Target::Inverse, &sum.interval, sum.error)?;
        Ok(Self { rounds, step: step.transpose()?, scale, exp, sum, inverse })
    }

    /// The way of the least depth; of equals, that with the narrowest miss.
    fn cheapest(n: usize, length: f64, error: f64) -> fhe_core::Result<Self> {
        if error.is_nan() || error <= 0.0 {
            let expected = "a positive error";
            return Err(fhe_core::Error::Interval { low: error, high: length, expected });
        }
        let levels = |way: &fhe_core::Result<Self>| way.as_ref().map_or(u32::MAX, Self::levels);
        let ways = MISSES.into_iter().filter(|miss| 2.0 * miss < length);
        let by_tournament = ways.map(|miss| Self::new(n, length, miss, error, true));
        let none = Self::new(n, length, length / 2.0, error, false);
        by_tournament.fold(none, |best, way| {
            let is_better = best.is_err() || levels(&way) < levels(&best);
            if is_better { way } else { best }
        })
    }

    fn levels(&self) -> u32 {
        let round = self.step.as_ref().map_or(0, |step| step.depth() + 1);
        self.rounds * round
            + u32::from(self.step.is_some())
            + self.exp.series().depth()
            + self.inverse.depth()
    }
}

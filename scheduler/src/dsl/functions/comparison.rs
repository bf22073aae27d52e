//! The sign, and what is made of it: by compositions of odd best approximations ([`Composite`]).
//!
//! ```text
//! relu(x) = x (1 + sign x) / 2      max(a, b) = b + relu(a - b)      min(a, b) = a - relu(a - b)
//! ```

use core::ops::RangeInclusive;

use fhe_core::approximation::{Composite, check_interval};

use crate::ckks_ir::Location;
use crate::dsl::Encrypted;
use crate::dsl::polynomial::is_folded;
use crate::error::{Error, Result};

/// The sign of `x` for `epsilon <= |x| <= bound`, up to `error`. Between `-epsilon` and `epsilon` the result increases from about -1 to
/// about 1.
///
/// ```
/// use scheduler::dsl::{self, functions};
/// // Which of two scores is the higher one, where they differ by a hundredth at least.
/// let program = dsl::build("higher", |g| {
///     let (a, b) = (g.input("a", 8)?, g.input("b", 8)?);
///     g.output("sign", functions::sign(a - b, 1.0, 0.01, 1e-3)?, 8)
/// })?;
/// # Ok::<(), scheduler::Error>(())
/// ```
///
/// # Errors
/// [`Error::Interval`] unless `0 < epsilon < bound`; [`Error::NotApproximated`].
///
/// # Cost
/// Levels of its factors: 2 for degree 3, 3 for 7, 4 for 15, 5 for 31 each. The first takes one more unless its interval is folded
/// ([`crate::dsl::polynomial::is_folded`]): bounds of 2, 1, 2/3, 1/2 and so on always are.
#[track_caller]
pub fn sign(x: Encrypted<'_>, bound: f64, epsilon: f64, error: f64) -> Result<Encrypted<'_>> {
    let graph = x.graph();
    graph.within(Location::here(), || {
        let found = graph.located(Composite::sign(bound, epsilon, error))?;
        Ok(composition(x, &found))
    })
}

/// `max(x, 0)` for `|x| <= bound`, up to `error`; an error above an eighth of the bound is taken as that.
///
/// ```
/// use scheduler::dsl::{self, functions};
/// let program = dsl::build("relu", |g| {
///     let x = g.input("x", 8)?;
///     g.output("y", functions::relu(x, 1.0, 1e-4)?, 8)
/// })?;
/// # Ok::<(), scheduler::Error>(())
/// ```
///
/// # Errors
/// [`Error::Interval`] unless error and bound are positive; [`Error::NotApproximated`].
///
/// # Cost
/// As [`sign`], and one level: 14 for `bound` 1 and an error of `2^-13`.
#[track_caller]
pub fn relu(x: Encrypted<'_>, bound: f64, error: f64) -> Result<Encrypted<'_>> {
    let graph = x.graph();
    graph.within(Location::here(), || Ok(rectified(x, &step(x, bound, error)?)))
}

/// The larger of `a` and `b`, slot by slot, both in an interval, up to `error`.
///
/// ```
/// use scheduler::dsl::{self, functions};
/// let program = dsl::build("maximum", |g| {
///     let (a, b) = (g.input("a", 8)?, g.input("b", 8)?);
///     g.output("y", functions::maximum(a, b, 0.0..=1.0, 1e-3)?, 8)
/// })?;
/// # Ok::<(), scheduler::Error>(())
/// ```
///
/// # Errors
/// [`Error::Interval`], also for an error that is not positive; [`Error::NotApproximated`].
///
/// # Cost
/// That of [`relu`], its bound the length of the interval.
#[track_caller]
pub fn maximum<'g>(
    a: Encrypted<'g>,
    b: Encrypted<'g>,
    interval: RangeInclusive<f64>,
    error: f64,
) -> Result<Encrypted<'g>> {
    a.graph().within(Location::here(), || Ok(b + excess(a, b, &interval, error)?))
}

/// The smaller of `a` and `b`, slot by slot, both in an interval, up to `error`.
///
/// ```
/// use scheduler::dsl::{self, functions};
/// let program = dsl::build("minimum", |g| {
///     let (a, b) = (g.input("a", 8)?, g.input("b", 8)?);
///     g.output("y", functions::minimum(a, b, 0.0..=1.0, 1e-3)?, 8)
/// })?;
/// # Ok::<(), scheduler::Error>(())
/// ```
///
/// # Errors
/// As [`maximum`].
///
/// # Cost
/// As [`maximum`].
#[track_caller]
pub fn minimum<'g>(
    a: Encrypted<'g>,
    b: Encrypted<'g>,
    interval: RangeInclusive<f64>,
    error: f64,
) -> Result<Encrypted<'g>> {
    a.graph().within(Location::here(), || Ok(a - excess(a, b, &interval, error)?))
}

/// The largest of the first `n` slots, in every slot, up to `error`: a tournament of `ceil(log2(n))` rounds of [`maximum`], each with
/// its part of the error. All slots of `x` are in the interval, those behind the first `n` too; they do not count.
///
/// ```
/// use scheduler::dsl::{self, functions};
/// let program = dsl::build("largest", |g| {
///     let x = g.input("x", 4)?;
///     g.output("largest", functions::maximum_of(x, 4, 0.0..=1.0, 0.05)?, 1)
/// })?;
/// # Ok::<(), scheduler::Error>(())
/// ```
///
/// # Errors
/// [`Error::Length`] for `n` of 0 or above the period; those of [`maximum`].
///
/// # Cost
/// `ceil(log2(n))` times the levels of [`relu`] on a folded interval, and one rotation each; two levels if the interval is not folded and there
/// are two rounds or more. Where `n` is less than the period, a level to blank slots behind unless one is paid already, and one with `log2`
/// of the period rotations to bring the result to every slot where `n` is at most half of it.
#[track_caller]
pub fn maximum_of(
    x: Encrypted<'_>,
    n: usize,
    interval: RangeInclusive<f64>,
    error: f64,
) -> Result<Encrypted<'_>> {
    let graph = x.graph();
    graph.within(Location::here(), || {
        check_count("maximum_of", x, n)?;
        graph.located(check_interval(&interval))?;
        let length = interval.end() - interval.start();
        let n_rounds = f64::from(rounds(n).max(1));
        let each = at_most(error / n_rounds, length / 8.0);
        // What the rounds before are off by counts to the interval.
        let bound = length + 2.0 * (n_rounds - 1.0) * each;
        let found = step(x, bound, each)?;
        let is_free = found.factors().iter().all(|f| is_folded(f.interval(), f.degree()));
        let scale = if rounds(n) < 2 || is_free { 1.0 } else { 2.0 / bound };
        let step = step(x, bound * scale, each * scale)?;
        let most = tournament(blanked(x, n, scale, *interval.start())?, n, &step);
        everywhere(most, n, 1.0 / scale)
    })
}

/// Rounds of a tournament of `n` slots.
pub(super) fn rounds(n: usize) -> u32 {
    n.next_power_of_two().ilog2()
}

/// The largest of the slots from slot 0 on, as many as there are rounds for, in slot 0: in every slot if that is the period.
pub(super) fn tournament<'g>(x: Encrypted<'g>, n: usize, step: &Composite) -> Encrypted<'g> {
    (0..rounds(n)).fold(x, |most, round| {
        let next = most.rotate(1 << round);
        next + rectified(most - next, step)
    })
}

/// The result of a tournament times a factor, in every slot.
#[track_caller]
fn everywhere(most: Encrypted<'_>, n: usize, factor: f64) -> Result<Encrypted<'_>> {
    if 1 << rounds(n) == most.period() {
        return Ok(if factor == 1.0 { most } else { most * factor });
    }
    from_first(most, factor)
}

/// Slot 0 times a factor, in every slot.
#[track_caller]
pub(super) fn from_first(x: Encrypted<'_>, factor: f64) -> Result<Encrypted<'_>> {
    let first: Vec<f64> = (0..x.period()).map(|i| if i == 0 { factor } else { 0.0 }).collect();
    Ok((x * x.graph().plain("first slot", &first)?).sum_strided(1, x.period()))
}

/// `factor x` in the first `n` slots, `factor value` in those behind.
#[track_caller]
pub(super) fn blanked(x: Encrypted<'_>, n: usize, factor: f64, value: f64) -> Result<Encrypted<'_>> {
    if n == x.period() {
        return Ok(if factor == 1.0 { x } else { x * factor });
    }
    let graph = x.graph();
    let slots = |first: f64, behind: f64| -> Vec<f64> {
        (0..x.period()).map(|i| if i < n { first } else { behind }).collect()
    };
    let kept = x * graph.plain("slots that count", &slots(factor, 0.0))?;
    Ok(if value == 0.0 {
        kept
    } else {
        kept + graph.plain("slots that do not", &slots(0.0, factor * value))?
    })
}

#[track_caller]
pub(super) fn check_count(what: &'static str, x: Encrypted<'_>, n: usize) -> Result<()> {
    if 0 < n && n <= x.period() {
        return Ok(());
    }
    let at = Some(x.graph().locate(Location::here()));
    Err(Error::Length { what, found: n, expected: x.period(), at })
}

/// `relu(a - b)` for `a` and `b` in an interval.
#[track_caller]
fn excess<'g>(
    a: Encrypted<'g>,
    b: Encrypted<'g>,
    interval: &RangeInclusive<f64>,
    error: f64,
) -> Result<Encrypted<'g>> {
    a.graph().located(check_interval(interval))?;
    let difference = a - b;
    let step = step(difference, interval.end() - interval.start(), error)?;
    Ok(rectified(difference, &step))
}

#[track_caller]
pub(super) fn step(x: Encrypted<'_>, bound: f64, error: f64) -> Result<Composite> {
    x.graph().located(Composite::relu(bound, error))
}

/// An error, or a limit; what is no number stays none.
pub(super) fn at_most(error: f64, limit: f64) -> f64 {
    if error > limit { limit } else { error }
}

fn rectified<'g>(x: Encrypted<'g>, step: &Composite) -> Encrypted<'g> {
    x * composition(x, step)
}

fn composition<'g>(x: Encrypted<'g>, composite: &Composite) -> Encrypted<'g> {
    let factors = composite.factors().iter();
    factors.fold(x, |x, factor| x.chebyshev_series(factor.coefficients(), factor.interval()))
}

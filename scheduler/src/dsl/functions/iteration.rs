//! Functions by a polynomial and steps that square its relative error.

use core::ops::RangeInclusive;

use crate::ckks_ir::Location;
use crate::dsl::Encrypted;
use crate::dsl::polynomial::{
    centre_and_half, check_interval, clenshaw, depth, interpolant, is_folded, nodes,
};
use crate::error::{Error, Result};

/// The highest degree of a first guess.
const MAX_DEGREE: usize = 127;
const MAX_STEPS: u32 = 12;
/// No error below this is promised: results are computed by coefficients that are `f64`.
const LEAST: f64 = f64::EPSILON;
/// Chebyshev points at which the first guess of a square root is measured.
const GRID: usize = 1024;

/// A polynomial of this degree, then so many steps.
#[derive(Clone, Copy, Debug)]
struct Way {
    degree: usize,
    steps: u32,
}

/// The way of least depth, of equals that of the lowest degree: `guesses[d - 1]` is the relative error of a polynomial of degree
/// `d`, a step maps it by `step`, `s` steps take `levels(s)` levels.
fn cheapest(
    interval: &RangeInclusive<f64>,
    guesses: &[f64],
    step: impl Fn(f64) -> f64,
    levels: impl Fn(u32) -> u32,
    error: f64,
) -> core::result::Result<Way, f64> {
    let after = |guess: f64, steps: u32| (0..steps).fold(guess, |e, _| step(e)).max(LEAST);
    let ways = (0..=MAX_STEPS).filter_map(|steps| {
        let degree = (1..).zip(guesses).find(|&(_, &guess)| after(guess, steps) <= error)?.0;
        Some(Way { degree, steps })
    });
    let cost = |way: &Way| {
        let change = u32::from(!is_folded(interval, way.degree));
        (depth(way.degree + 1) + change + levels(way.steps), way.degree)
    };
    let best = guesses.last().map_or(f64::INFINITY, |&guess| after(guess, MAX_STEPS));
    ways.min_by_key(cost).ok_or(best)
}

pub(super) fn check_positive(interval: &RangeInclusive<f64>, at: Option<Location>) -> Result<()> {
    check_interval(interval, at.clone())?;
    let (low, high) = (*interval.start(), *interval.end());
    if low > 0.0 {
        return Ok(());
    }
    Err(Error::Interval { low, high, expected: "positive ends", at })
}

fn not_approximated<T>(
    interval: &RangeInclusive<f64>,
    found: f64,
    expected: f64,
    at: Option<Location>,
) -> Result<T> {
    let (low, high) = (*interval.start(), *interval.end());
    Err(Error::NotApproximated { low, high, degree: MAX_DEGREE, found, expected, at })
}

/// `1 / x` for `x` in an interval of positive numbers, with `|x y - 1| <= error` for the result `y`.
///
/// The first guess is the interpolant `p` of `1 / x` at the zeros of `T_(d+1)`, for which
///
/// ```text
/// |1 - x p(x)| = |T_(d+1)(u) / T_(d+1)(u_0)| <= 1 / cosh((d + 1) arcosh((b + a) / (b - a)))
/// ```
///
/// is the least possible. Then `e = 1 - x p`, and `y <- y + y e`, `e <- e^2` (Goldschmidt 1964) until the error is small
/// enough. Degree and number of steps are those of the least depth.
///
/// # Errors
/// [`Error::Interval`]; [`Error::NotApproximated`].
///
/// # Cost
/// `ceil(log2(d + 1))` levels for the guess (see [`Encrypted::chebyshev`]), one for the first `e`, one a step; two products a step.
/// From 0.01 to 1 with an error of `2^-20`: degree 75 and no step, 7 levels; from 0.001 to 4 with `2^-10`: degree 63 and 3 steps, 10.
#[track_caller]
pub fn inverse(x: Encrypted<'_>, interval: RangeInclusive<f64>, error: f64) -> Result<Encrypted<'_>> {
    let graph = x.graph();
    graph.within(Location::here(), || {
        let at = Some(graph.locate(Location::here()));
        check_positive(&interval, at.clone())?;
        let (centre, half) = centre_and_half(&interval);
        let rate = (centre / half).acosh();
        let guesses: Vec<f64> = (1..=MAX_DEGREE).map(|d| 1.0 / ((d + 1) as f64 * rate).cosh()).collect();
        let levels = |steps: u32| if steps == 0 { 0 } else { steps + 1 };
        let way = match cheapest(&interval, &guesses, |e| e * e, levels, error) {
            Ok(way) => way,
            Err(found) => return not_approximated(&interval, found, error, at),
        };
        let mut y = x.chebyshev_series(&interpolant(|x| 1.0 / x, &interval, way.degree), &interval);
        let mut e = None;
        for _ in 0..way.steps {
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
/// Degree and number of steps are those of the least depth.
///
/// # Errors
/// [`Error::Interval`]; [`Error::NotApproximated`].
///
/// # Cost
/// `ceil(log2(d + 1))` levels for the guess (see [`Encrypted::chebyshev`]), two a step; three products a step.
#[track_caller]
pub fn inverse_square_root(
    x: Encrypted<'_>,
    interval: RangeInclusive<f64>,
    error: f64,
) -> Result<Encrypted<'_>> {
    let graph = x.graph();
    graph.within(Location::here(), || {
        let at = Some(graph.locate(Location::here()));
        check_positive(&interval, at.clone())?;
        let (centre, half) = centre_and_half(&interval);
        let guess = |d: usize| interpolant(|x| x.sqrt().recip(), &interval, d);
        let points: Vec<(f64, f64)> = nodes(GRID).map(|u| (u, (centre + half * u).sqrt())).collect();
        let relative = |d: usize| {
            let series = guess(d);
            let errors = points.iter().map(|&(u, root)| (clenshaw(&series, u) * root - 1.0).abs());
            1.1 * errors.fold(0.0, f64::max)
        };
        let guesses: Vec<f64> = (1..=MAX_DEGREE).map(relative).collect();
        let step = |e: f64| 1.5 * e * e + 0.5 * e * e * e;
        let way = match cheapest(&interval, &guesses, step, |steps| 2 * steps, error) {
            Ok(way) => way,
            Err(found) => return not_approximated(&interval, found, error, at),
        };
        let mut y = x.chebyshev_series(&guess(way.degree), &interval);
        if way.steps > 0 {
            let half_x = x * 0.5;
            for _ in 0..way.steps {
                y = y * 1.5 - (half_x * y) * y.square();
            }
        }
        Ok(y)
    })
}

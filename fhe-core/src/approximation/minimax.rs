//! Best approximations by the exchange of Remez (C. R. Acad. Sci. Paris 198, 1934), all points at once.
//!
//! ```text
//! minimise  max_x w(x) |f(x) - p(x)|,  deg p <= n    =>    w(y_i) (f(y_i) - p(y_i)) = (-1)^i E  at n + 2 points y_0 > y_1 > .. (Chebyshev)
//! ```
//!
//! From a reference of `n + 2` points `p` and `E` follow by elimination; then the reference becomes the largest errors between changes of
//! sign. These are looked for on a grid of 64 Chebyshev points for each of the reference, then beside the grid point, by halving its distances
//! 20 times.

use super::chebyshev::{centre_and_half, clenshaw};
use super::elementary::cos_pi;
use core::ops::RangeInclusive;

/// Grid points for each point of the reference.
const DENSITY: u64 = 64;
/// Exchanges converge quadratically: some ten are enough for any degree here.
const MAX_EXCHANGES: usize = 40;
/// Halvings of the distance of grid points.
const HALVINGS: u32 = 20;
/// The largest error may be so much above that of the reference.
const ENOUGH: f64 = 1.0 + 1e-12;
/// So many exchanges without a smaller error end the search.
const PATIENCE: usize = 4;

/// A point of the interval, with function and weight.
#[derive(Clone, Copy)]
struct Point {
    /// Its angle, in parts of the half circle.
    at: u64,
    /// Mapped to `[-1, 1]`.
    u: f64,
    value: f64,
    weight: f64,
}

/// The Chebyshev series `p` of degree `n`, the interval mapped to `[-1, 1]`, with the least `max w(x) |f(x) - p(x)|`.
///
/// `f` and the weight are finite, and the weight is positive, on the interval. Where the best error is at the rounding of `f64`, the
/// best polynomial that was met is returned.
///
/// # Cost
/// `O(n^3)` for each of some ten exchanges.
pub fn minimax(
    f: impl Fn(f64) -> f64,
    weight: impl Fn(f64) -> f64,
    interval: &RangeInclusive<f64>,
    n: usize,
) -> Vec<f64> {
    let (centre, half) = centre_and_half(interval);
    let steps = (DENSITY * (n as u64 + 1)) << HALVINGS;
    let point = |at: u64| {
        let u = cos_pi(at, steps);
        let x = (centre + half * u).clamp(*interval.start(), *interval.end());
        Point { at, u, value: f(x), weight: weight(x) }
    };
    let grid: Vec<Point> = (0..=DENSITY * (n as u64 + 1)).map(|i| point(i << HALVINGS)).collect();
    let mut reference: Vec<Point> = grid.iter().step_by(DENSITY as usize).copied().collect();
    let mut best = (f64::INFINITY, vec![0.0; n + 1]);
    let mut in_vain = 0;
    for _ in 0..MAX_EXCHANGES {
        let Some((coefficients, levelled)) = levelled(&reference) else { break };
        let error = |p: &Point| p.weight * (p.value - clenshaw(&coefficients, p.u));
        let errors: Vec<f64> = grid.iter().map(error).collect();
        let mut largest = errors.iter().map(|e| e.abs()).fold(0.0, f64::max);
        // Fewer changes of sign than there must be: the errors are roundings.
        let Some(peaks) = exchanged(&errors, n + 2) else {
            return if largest < best.0 { coefficients } else { best.1 };
        };
        let climb = |from: Point| {
            let nearer = |from: Point, log: u32| {
                let sides =
                    [from.at.checked_sub(1 << log), Some(from.at + (1 << log)).filter(|at| *at <= steps)];
                let sides = sides.into_iter().flatten().map(&point);
                sides.fold(from, |best, side| if error(&side) / error(&best) > 1.0 { side } else { best })
            };
            (0..HALVINGS).rev().fold(from, nearer)
        };
        reference = peaks.into_iter().map(|i| climb(grid[i])).collect();
        largest = reference.iter().map(|p| error(p).abs()).fold(largest, f64::max);
        in_vain += 1;
        if largest < best.0 {
            (best, in_vain) = ((largest, coefficients.clone()), 0);
        }
        if largest <= levelled.abs() * ENOUGH || in_vain == PATIENCE {
            break;
        }
    }
    best.1
}

/// The polynomial with errors of one size and alternating signs at the reference, and that size: `sum_j c_j T_j(u_i) + (-1)^i E / w_i = f_i`.
fn levelled(reference: &[Point]) -> Option<(Vec<f64>, f64)> {
    let n = reference.len() - 1;
    let row = |(i, point): (usize, &Point)| {
        let mut row = Vec::with_capacity(n + 2);
        let (mut t, mut next) = (1.0, point.u);
        for _ in 0..n {
            row.push(t * point.weight);
            (t, next) = (next, 2.0 * point.u * next - t);
        }
        row.push(if i % 2 == 0 { 1.0 } else { -1.0 });
        row.push(point.value * point.weight);
        row
    };
    let mut unknowns = solve(reference.iter().enumerate().map(row).collect())?;
    let error = unknowns.pop()?;
    Some((unknowns, error))
}

/// `A x = b` for rows `A_i b_i`, by elimination with partial pivoting; `None` for a singular matrix.
fn solve(mut rows: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let n = rows.len();
    for column in 0..n {
        let size = |row: &usize| rows[*row][column].abs();
        let pivot = (column..n).max_by(|a, b| size(a).total_cmp(&size(b)))?;
        rows.swap(column, pivot);
        let (above, below) = rows.split_at_mut(column + 1);
        let head = &above[column];
        if head[column] == 0.0 || !head[column].is_finite() {
            return None;
        }
        for row in below {
            let factor = row[column] / head[column];
            row.iter_mut().zip(head).skip(column).for_each(|(x, h)| *x -= factor * h);
        }
    }
    let mut x = vec![0.0; n];
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|j| rows[i][j] * x[j]).sum();
        x[i] = (rows[i][n] - known) / rows[i][i];
    }
    x.iter().all(|x| x.is_finite()).then_some(x)
}

/// `count` indices at which the errors alternate in sign: the largest of each run of one sign, and of these the successive ones with the largest
/// among them and the largest minimum. `None` where there are fewer runs.
fn exchanged(errors: &[f64], count: usize) -> Option<Vec<usize>> {
    let mut runs: Vec<usize> = Vec::new();
    for (i, e) in errors.iter().enumerate().filter(|(_, e)| **e != 0.0) {
        match runs.last_mut() {
            Some(last) if (errors[*last] > 0.0) == (*e > 0.0) => {
                if e.abs() > errors[*last].abs() {
                    *last = i;
                }
            }
            _ => runs.push(i),
        }
    }
    let size = |run: &usize| errors[*run].abs();
    let peak = (0..runs.len()).max_by(|&a, &b| size(&runs[a]).total_cmp(&size(&runs[b])))?;
    let least = |window: &[usize]| window.iter().map(size).fold(f64::INFINITY, f64::min);
    let windows = runs.windows(count).enumerate();
    let with_peak = windows.filter(|(from, _)| (*from..from + count).contains(&peak));
    let best = with_peak.max_by(|(_, a), (_, b)| least(a).total_cmp(&least(b)))?;
    Some(best.1.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The best approximation of `x^(n+1)` is what `T_(n+1) / 2^n` leaves of it.
    #[test]
    fn the_best_approximation_of_a_power_leaves_a_chebyshev_polynomial() {
        for n in 0..12 {
            let found = minimax(|x| x.powi(n + 1), |_| 1.0, &(-1.0..=1.0), n as usize);
            for i in -50..=50 {
                let x = f64::from(i) / 50.0;
                let left = (f64::from(n + 1) * x.acos()).cos() / 2f64.powi(n);
                assert!((x.powi(n + 1) - clenshaw(&found, x) - left).abs() < 1e-9, "degree {n} at {x}");
            }
        }
    }

    /// `|x|` by a polynomial of degree 2: `x^2 + 1/8`, off by 1/8.
    #[test]
    fn the_best_parabola_of_the_absolute_value_is_known() {
        let found = minimax(f64::abs, |_| 1.0, &(-1.0..=1.0), 2);
        for (found, expected) in found.iter().zip([0.625, 0.0, 0.5]) {
            assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
        }
    }

    /// De la Vallée Poussin: errors that alternate at `n + 2` points bound the best from below by their least.
    #[test]
    fn errors_alternate_as_those_of_the_best_must() {
        type F = fn(f64) -> f64;
        let cases: [(F, F, f64, f64); 4] = [
            (f64::exp, |_| 1.0, -3.0, 1.0),
            (f64::exp, |x| (-x).exp(), -3.0, 1.0),
            (|x| 1.0 / x, |x| x, 0.01, 1.0),
            (|x| (3.0 * x).sin(), |_| 1.0, -2.0, 0.5),
        ];
        for (k, (f, weight, low, high)) in cases.into_iter().enumerate() {
            for n in [0, 1, 2, 5, 8] {
                let (centre, half) = centre_and_half(&(low..=high));
                let found = minimax(f, weight, &(low..=high), n);
                let error = |i: usize| {
                    let x = low + (high - low) * i as f64 / 100_000.0;
                    weight(x) * (f(x) - clenshaw(&found, (x - centre) / half))
                };
                let errors: Vec<f64> = (0..=100_000).map(error).collect();
                let largest = errors.iter().fold(0.0, |a: f64, e| a.max(e.abs()));
                let alternating = exchanged(&errors, n + 2).unwrap();
                let least = alternating.iter().map(|&i| errors[i].abs()).fold(f64::INFINITY, f64::min);
                assert!(largest <= least * 1.000_001, "case {k}, degree {n}: from {least} to {largest}");
            }
        }
    }

    #[test]
    fn a_polynomial_is_found_exactly() {
        let found = minimax(|x| 3.0 * x * x - x, |_| 1.0, &(-1.0..=1.0), 6);
        for (found, expected) in found.iter().zip([1.5, -1.0, 1.5, 0.0, 0.0, 0.0, 0.0]) {
            assert!((found - expected).abs() < 1e-13);
        }
    }
}

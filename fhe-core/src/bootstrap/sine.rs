//! The polynomial of `eval_mod`: `x -> cos(2 pi (x - 1/4) / 2^r)` near the integers from `-(K - 1)` to `K - 1`, whose angle, doubled `r`
//! times, gives `sin(2 pi x)`; and how often a value lies outside.
//!
//! Only the neighbourhoods of integers matter, since `x = I + m / q` with a small `m / q`. So the polynomial interpolates at the integers,
//! of degree `2 K - 2` (as Han and Ki, ePrint 2019/688, do with more nodes for the inner ones): its error is 0 there and grows with `m / q`,
//! that is, it is relative to the message.

use crate::ckks::ChebyshevSeries;
use crate::error::{Error, Result};
use core::f64::consts::TAU;

/// The function that is approximated.
pub(super) fn cosine(x: f64, double_angles: u32) -> f64 {
    (TAU * (x - 0.25) / f64::from(1u32 << double_angles)).cos()
}

/// The interpolant on `[-K, K]`.
pub(super) fn series(bound: u32, double_angles: u32) -> Result<ChebyshevSeries> {
    let k = f64::from(bound);
    let nodes: Vec<f64> = (1 - i64::from(bound)..i64::from(bound)).map(|i| i as f64).collect();
    let row = |x: &f64| {
        let angle = (x / k).acos();
        (0..nodes.len()).map(|n| (n as f64 * angle).cos()).collect::<Vec<f64>>()
    };
    let matrix: Vec<Vec<f64>> = nodes.iter().map(row).collect();
    let values: Vec<f64> = nodes.iter().map(|&x| cosine(x, double_angles)).collect();
    let mut coefficients = solve(matrix, values.clone())?;
    // The residual, once more: what is left is the rounding of its evaluation.
    for _ in 0..2 {
        let series = ChebyshevSeries::new(coefficients.clone(), -k..=k)?;
        let residual = nodes.iter().zip(&values).map(|(&x, v)| v - series.value(x)).collect();
        let correction = solve(nodes.iter().map(row).collect(), residual)?;
        coefficients.iter_mut().zip(correction).for_each(|(c, d)| *c += d);
    }
    ChebyshevSeries::new(coefficients, -k..=k)
}

/// `matrix x = values`, by elimination with partial pivoting.
fn solve(mut matrix: Vec<Vec<f64>>, mut values: Vec<f64>) -> Result<Vec<f64>> {
    let n = values.len();
    for column in 0..n {
        let size = |row: usize| matrix[row][column].abs();
        let pivot = (column..n).fold(column, |best, row| if size(row) > size(best) { row } else { best });
        matrix.swap(column, pivot);
        values.swap(column, pivot);
        let head = matrix[column].clone();
        if head[column] == 0.0 {
            return Err(Error::InvalidParams("eval_mod: the interpolation has no solution".to_owned()));
        }
        for row in column + 1..n {
            let factor = matrix[row][column] / head[column];
            matrix[row].iter_mut().zip(&head).skip(column).for_each(|(x, h)| *x -= factor * h);
            values[row] -= factor * values[column];
        }
    }
    for column in (0..n).rev() {
        let known: f64 = (column + 1..n).map(|i| matrix[column][i] * values[i]).sum();
        values[column] = (values[column] - known) / matrix[column][column];
    }
    Ok(values)
}

/// log2 of the probability that one of `2^log_n` coefficients is beyond `K - 1/2` times `q`.
///
/// A coefficient is a sum of `t = weight + 1` values, uniform in `[-1/2, 1/2)` times `q`. Its tail is that of Irwin and Hall (Feller,
/// volume II, section I.9); for bootstrapping in ePrint 2022/024:
///
/// ```text
/// P(|sum| > B) = 2 / t! sum_(k = 0)^(floor(t/2 - B)) (-1)^k C(t, k) (t/2 - B - k)^t
/// ```
///
/// Of its terms the first bounds the sum; they alternate and fall where the tail is thin.
pub(super) fn failure_log2(log_n: u32, weight: usize, bound: u32) -> f64 {
    let t = weight as f64 + 1.0;
    let reach = t / 2.0 - (f64::from(bound) - 0.5);
    if reach <= 0.0 {
        return f64::NEG_INFINITY;
    }
    let log_factorial: f64 = (1..=weight + 1).map(|i| (i as f64).log2()).sum();
    (1.0 + t * reach.log2() - log_factorial + f64::from(log_n)).min(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the interpolant is off by, after the double angles, in units of the distance to the integer.
    fn relative_error(series: &ChebyshevSeries, integer: f64, distance: f64) -> f64 {
        let x = integer + distance;
        let doubled = (0..3).fold(series.value(x), |y, _| 2.0 * y * y - 1.0);
        ((doubled - (TAU * x).sin()) / (TAU * distance)).abs()
    }

    #[test]
    fn the_error_is_relative_to_the_message() {
        let series = series(16, 3).unwrap();
        assert_eq!((series.degree(), series.depth()), (30, 5));
        for distance in [-1e-3, 1e-4, 1e-3] {
            // Ten standard deviations of what is added are 17: the outer integers hardly ever occur.
            for integer in -8..=8 {
                let error = relative_error(&series, f64::from(integer), distance);
                assert!(error < 2f64.powi(-30), "{integer} + {distance}: {}", error.log2());
            }
            for integer in -15..=15 {
                let error = relative_error(&series, f64::from(integer), distance);
                assert!(error < 2f64.powi(-12), "{integer} + {distance}: {}", error.log2());
            }
        }
        // Beyond, the error is one of the message: by how much it may be off there decides what counts as a failure.
        assert!(relative_error(&series, -16.0, 1e-3) > 0.5);
        assert!(series.coefficients().iter().all(|c| c.abs() < 1.0));
    }

    #[test]
    fn elimination_solves_what_needs_pivots() {
        let x = solve(vec![vec![0.0, 2.0], vec![3.0, 1.0]], vec![4.0, 5.0]).unwrap();
        assert_eq!(x, [1.0, 2.0]);
        assert!(solve(vec![vec![1.0, 1.0], vec![1.0, 1.0]], vec![1.0, 2.0]).is_err());
    }

    /// The formula against a convolution of densities: sums of few values, in steps of 1/64.
    #[test]
    fn the_tail_is_that_of_a_sum_of_uniform_values() {
        let steps = 64usize;
        for (weight, bound) in [(4usize, 2u32), (5, 3), (7, 4)] {
            let mut density = vec![1.0];
            for _ in 0..=weight {
                let mut next = vec![0.0; density.len() + steps - 1];
                for (i, p) in density.iter().enumerate() {
                    (0..steps).for_each(|j| next[i + j] += p / steps as f64);
                }
                density = next;
            }
            let centre = (density.len() - 1) as f64 / 2.0;
            let outside = |i: usize| (i as f64 - centre).abs() > (f64::from(bound) - 0.5) * steps as f64;
            let tail: f64 = density.iter().enumerate().filter(|(i, _)| outside(*i)).map(|(_, p)| p).sum();
            let found = failure_log2(0, weight, bound);
            assert!((found - tail.log2()).abs() < 0.8, "{weight} {bound}: {found} {}", tail.log2());
        }
        assert!((failure_log2(16, 32, 16) + 105.7).abs() < 0.1, "{}", failure_log2(16, 32, 16));
        assert_eq!(failure_log2(16, 32, 17), f64::NEG_INFINITY);
    }
}

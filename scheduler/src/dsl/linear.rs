//! Plaintext matrix times encrypted vector, by diagonals with baby steps and giant steps.
//!
//! With `p` the period of `x`, `r` the rows padded to a power of two, and
//! `diag_d[i] = M[i mod r][(i + d) mod p]`,
//!
//! ```text
//! z = sum_{d < r} diag_d * rotate(x, d)         y_i = sum_{j < p / r} z_{i + j r}
//!   = sum_g rotate( sum_b rotate(diag_{g n1 + b}, -g n1) * rotate(x, b), g n1)
//! ```
//!
//! (Halevi and Shoup, "Algorithms in HElib", CRYPTO 2014, and "Faster homomorphic linear
//! transformations in HElib", CRYPTO 2018). The baby rotations share one decomposition of `x`;
//! `n1` is the split that needs fewest rotations over the diagonals that are not zero.

use std::collections::BTreeSet;

use super::Encrypted;
use crate::ckks_ir::Location;
use crate::error::{Error, Result};

/// `y = M x` for a row-major matrix of `rows` times `cols`, `cols` at most the period of `x`; elements of `x`
/// from `cols` on do not matter. The result has as its period `rows`, rounded up to a power of two, and
/// zeros after `rows`.
///
/// # Errors
/// [`Error::Matrix`] when sizes do not fit; [`Error::NotFinite`].
///
/// # Cost
/// One level; about `2 sqrt(rows)` rotations and `log2(period / rows)` more.
#[track_caller]
pub fn matvec<'g>(
    x: Encrypted<'g>,
    name: &str,
    matrix: &[f64],
    rows: usize,
    cols: usize,
) -> Result<Encrypted<'g>> {
    let graph = x.graph();
    graph.within(Location::here(), || by_diagonals(x, name, matrix, rows, cols))
}

fn by_diagonals<'g>(
    x: Encrypted<'g>,
    name: &str,
    matrix: &[f64],
    rows: usize,
    cols: usize,
) -> Result<Encrypted<'g>> {
    let p = x.period();
    let refuse = |problem: String| {
        let at = Some(x.graph().locate(Location::here()));
        Err(Error::Matrix { name: name.to_owned(), problem, at })
    };
    if rows == 0 || cols == 0 || matrix.len() != rows * cols {
        return refuse(format!("{} elements, expected {rows} times {cols}", matrix.len()));
    }
    let r = rows.next_power_of_two();
    if cols > p || r > p {
        return refuse(format!("{rows} times {cols}, expected at most the period of the vector, {p}"));
    }
    let element = |row: usize, col: usize| -> f64 {
        if row < rows && col < cols { matrix[row * cols + col] } else { 0.0 }
    };
    let diagonal = |d: usize| -> Vec<f64> { (0..p).map(|i| element(i % r, (i + d) % p)).collect() };
    let diagonals: Vec<(usize, Vec<f64>)> =
        (0..r).map(|d| (d, diagonal(d))).filter(|(_, v)| v.iter().any(|&w| w != 0.0)).collect();
    let present: Vec<usize> = diagonals.iter().map(|&(d, _)| d).collect();
    let n1 = best_split(&present, r);
    let graph = x.graph();
    let mut total: Option<Encrypted<'g>> = None;
    let mut rest = diagonals.as_slice();
    while let Some((first, _)) = rest.first() {
        let giant = first / n1 * n1;
        let len = rest.iter().take_while(|(d, _)| d / n1 * n1 == giant).count();
        let (chunk, after) = rest.split_at(len);
        rest = after;
        let mut inner: Option<Encrypted<'g>> = None;
        for (d, values) in chunk {
            let shifted: Vec<f64> = (0..p).map(|i| values[(i + p - giant) % p]).collect();
            let weights = graph.plain(&format!("{name}[{d}]"), &shifted)?;
            let term = x.rotate((d - giant) as i64) * weights;
            inner = Some(inner.map_or(term, |sum| sum + term));
        }
        if let Some(inner) = inner {
            let turned = inner.rotate(giant as i64);
            total = Some(total.map_or(turned, |sum| sum + turned));
        }
    }
    let z = total.unwrap_or_else(|| x * 0.0);
    Ok(z.sum_strided(r, p / r).with_period(r as u32))
}

/// The number of baby steps that needs fewest rotations, the smallest of equals.
fn best_split(present: &[usize], r: usize) -> usize {
    let cost = |n1: usize| {
        let babies: BTreeSet<usize> = present.iter().map(|d| d % n1).filter(|&b| b > 0).collect();
        let giants: BTreeSet<usize> = present.iter().map(|d| d / n1).filter(|&g| g > 0).collect();
        // A giant step decomposes anew, a baby step shares: count it dearer.
        babies.len() + 2 * giants.len()
    };
    (1..=r).min_by_key(|&n1| (cost(n1), n1)).unwrap_or(1)
}

//! Products of matrices and encrypted vectors, by diagonals.
//!
//! With `p` the period of `x`, `r` the rows padded to a power of two, and
//! `diag_d[i] = M[i mod r][(i + d) mod p]`,
//!
//! ```text
//! z = sum_{d < r} diag_d * rotate(x, d)         y_i = sum_{j < p / r} z_{i + j r}
//! ```
//!
//! (Halevi and Shoup, "Algorithms in HElib", CRYPTO 2014). `z` is one `linear_transform`; the compiler makes baby steps and giant steps
//! of it, split by cost ([`crate::passes::expand_transforms`]).
//!
//! [`matmul_encrypted`] is the product of two encrypted matrices, made of such transforms.

mod diagonals;
mod encrypted;

pub use encrypted::matmul_encrypted;

use super::{Encrypted, EncryptedVec, Graph};
use crate::ckks_ir::Location;
use crate::error::{Error, Result};
pub(super) use diagonals::Diagonals;
use num_complex::Complex64;

/// `y = M x` for a row-major matrix of `rows` times `cols`, `cols` at most the period of `x`; elements of `x`
/// from `cols` on do not matter. The result has as its period `rows`, rounded up to a power of two, and
/// zeros after `rows`.
///
/// # Errors
/// [`Error::Matrix`] when sizes do not fit; [`Error::NotFinite`].
///
/// # Cost
/// One level; a little more than `2 sqrt(rows)` rotations, as is cheapest, and `log2(period / rows)` more.
#[track_caller]
pub fn matvec<'g>(
    x: Encrypted<'g>,
    name: &str,
    matrix: &[f64],
    rows: usize,
    cols: usize,
) -> Result<Encrypted<'g>> {
    let graph = x.graph();
    graph.within(Location::here(), || {
        let matrix = Matrix::new(graph, name, matrix, [rows, cols], x.period())?;
        Ok(matrix.times(x))
    })
}

/// `Y = M X` for a row-major matrix and the columns of `X`, all of one period: [`matvec`] of every column, with one
/// set of plaintexts.
///
/// # Errors
/// As [`matvec`]; [`Error::Matrix`] also for columns of different periods.
///
/// # Cost
/// One level; the rotations of [`matvec`] for every column.
#[track_caller]
pub fn matmul<'g>(
    columns: &EncryptedVec<'g>,
    name: &str,
    matrix: &[f64],
    rows: usize,
    cols: usize,
) -> Result<EncryptedVec<'g>> {
    let graph = columns.graph();
    graph.within(Location::here(), || {
        let mut periods = columns.iter().map(Encrypted::period);
        let period = periods.next().unwrap_or_default();
        if let Some(other) = periods.find(|&other| other != period) {
            let problem = format!("columns of the periods {period} and {other}, expected one period");
            return refuse(graph, name, problem);
        }
        let matrix = Matrix::new(graph, name, matrix, [rows, cols], period)?;
        Ok(columns.map(|column| matrix.times(column)))
    })
}

/// A matrix as the plaintexts that multiply vectors of a period.
struct Matrix {
    diagonals: Diagonals,
    /// Rows, as a power of two.
    padded: usize,
}

impl Matrix {
    fn new(graph: &Graph, name: &str, matrix: &[f64], shape: [usize; 2], period: usize) -> Result<Self> {
        let ([rows, cols], p) = (shape, period);
        let n = rows.checked_mul(cols).filter(|&n| n > 0);
        if n != Some(matrix.len()) {
            return refuse(graph, name, format!("{} elements, expected {rows} times {cols}", matrix.len()));
        }
        let r = rows.next_power_of_two();
        if cols > p || r > p {
            let problem = format!("{rows} times {cols}, expected at most the period of the vector, {p}");
            return refuse(graph, name, problem);
        }
        let element = |row: usize, col: usize| -> Complex64 {
            if row < rows && col < cols { matrix[row * cols + col].into() } else { Complex64::ZERO }
        };
        let diagonal = |d: usize| -> Vec<Complex64> { (0..p).map(|i| element(i % r, (i + d) % p)).collect() };
        let diagonals = Diagonals::new(graph, name, (0..r).map(|d| (d, diagonal(d))))?;
        Ok(Self { diagonals, padded: r })
    }

    fn times<'g>(&self, x: Encrypted<'g>) -> Encrypted<'g> {
        let (z, r) = (self.diagonals.times(x), self.padded);
        z.sum_strided(r, x.period() / r).with_period(r as u32)
    }
}

fn refuse<T>(graph: &Graph, name: &str, problem: String) -> Result<T> {
    let at = Some(graph.locate(Location::here()));
    Err(Error::Matrix { name: name.to_owned(), problem, at })
}

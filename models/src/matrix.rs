//! A plain row-major matrix of `f64`.
//!
//! Owns the layout: entry (r, c) is `data[r * cols + c]`, a row is an output and a column an input, so a layer is
//! `y = M x`. Owns no arithmetic beyond the product with a vector, whose order of sums is fixed (left to right,
//! no fused multiply-add), so that a plaintext twin gives the same bits on every machine.

/// A matrix that could not be made or used because sizes disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    /// A side is zero.
    #[error("a matrix of {rows} x {cols}, expected at least 1 x 1")]
    Empty {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
    },
    /// The data is not `rows * cols` long.
    #[error("found {found} entries, expected {rows} x {cols}")]
    Length {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
        /// Entries given.
        found: usize,
    },
    /// Some vector or matrix has other sizes than its place requires.
    #[error("{what}: found {found}, expected {expected}")]
    Size {
        /// Which size, in words.
        what: &'static str,
        /// Size given.
        found: usize,
        /// Size required.
        expected: usize,
    },
}

/// A dense row-major matrix with at least one row and one column.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f64>,
}

impl Matrix {
    /// Takes `data` as `rows` rows of `cols` entries.
    ///
    /// # Errors
    /// [`MatrixError::Empty`] if a side is zero, [`MatrixError::Length`] if `data.len() != rows * cols`.
    pub fn from_row_major(rows: usize, cols: usize, data: Vec<f64>) -> Result<Self, MatrixError> {
        if rows == 0 || cols == 0 {
            return Err(MatrixError::Empty { rows, cols });
        }
        if rows.checked_mul(cols) != Some(data.len()) {
            return Err(MatrixError::Length { rows, cols, found: data.len() });
        }
        Ok(Self { rows, cols, data })
    }

    /// Number of rows (outputs), at least 1.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns (inputs), at least 1.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All entries, row after row: `rows * cols` of them.
    #[must_use]
    pub fn data(&self) -> &[f64] {
        &self.data
    }

    /// Entry (r, c), or `None` outside. `get(r, c).unwrap_or(0.0)` reads the matrix padded by zeros, as a packing
    /// into diagonals wants it.
    #[must_use]
    pub fn get(&self, r: usize, c: usize) -> Option<f64> {
        self.row(r)?.get(c).copied()
    }

    /// Row r, `cols` entries, or `None` outside.
    #[must_use]
    pub fn row(&self, r: usize) -> Option<&[f64]> {
        if r < self.rows { self.data.get(r * self.cols..(r + 1) * self.cols) } else { None }
    }

    /// The rows in order, `cols` entries each.
    pub fn iter_rows(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.data.chunks_exact(self.cols)
    }

    /// `M x`, each sum from left to right starting at 0.
    ///
    /// # Shape
    /// `x` has `cols` entries, the result `rows`.
    ///
    /// # Errors
    /// [`MatrixError::Size`] if `x` is not `cols` long.
    pub fn mul_vec(&self, x: &[f64]) -> Result<Vec<f64>, MatrixError> {
        if x.len() != self.cols {
            return Err(MatrixError::Size {
                what: "entries of the vector",
                found: x.len(),
                expected: self.cols,
            });
        }
        Ok(self.iter_rows().map(|row| dot(row, x)).collect())
    }
}

/// Sum of products from left to right, starting at 0; the longer slice is cut to the shorter.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_columns_and_padding() {
        let m = Matrix::from_row_major(2, 3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        assert_eq!((m.rows(), m.cols(), m.data().len()), (2, 3, 6));
        assert_eq!(m.row(1), Some(&[4.0, 5.0, 6.0][..]));
        assert_eq!((m.row(2), m.row(usize::MAX)), (None, None));
        assert_eq!((m.get(0, 2), m.get(0, 3), m.get(2, 0)), (Some(3.0), None, None));
        assert_eq!(m.iter_rows().len(), 2);
        assert_eq!(m.mul_vec(&[1.0, 0.0, -1.0]), Ok(vec![-2.0, -2.0]));
    }

    #[test]
    fn wrong_sizes_are_errors() {
        assert_eq!(Matrix::from_row_major(0, 3, vec![]), Err(MatrixError::Empty { rows: 0, cols: 3 }));
        assert_eq!(
            Matrix::from_row_major(2, 2, vec![0.0; 3]),
            Err(MatrixError::Length { rows: 2, cols: 2, found: 3 })
        );
        assert!(Matrix::from_row_major(usize::MAX, 2, vec![0.0; 2]).is_err());
        let m = Matrix::from_row_major(1, 2, vec![0.0; 2]).unwrap();
        let error = m.mul_vec(&[0.0]).unwrap_err();
        assert_eq!(error.to_string(), "entries of the vector: found 1, expected 2");
    }
}

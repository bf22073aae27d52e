//! A linear transform as its diagonals, `sum_d diag_d * rotate(x, d)`.

use std::collections::BTreeMap;

use num_complex::Complex64;

use crate::ckks_ir::{ConstId, Op, TransformIdx};
use crate::dsl::{Encrypted, Graph};
use crate::error::Result;

/// A transform of vectors of a program; `None` of the zero matrix.
pub(in crate::dsl) struct Diagonals {
    transform: Option<TransformIdx>,
}

impl Diagonals {
    /// Diagonals by number, ascending, each of one period. Those that are zero are left out.
    ///
    /// # Errors
    /// [`crate::Error::NotFinite`].
    pub(in crate::dsl) fn new(
        graph: &Graph,
        name: &str,
        diagonals: impl Iterator<Item = (usize, Vec<Complex64>)>,
    ) -> Result<Self> {
        let present = diagonals.filter(|(_, values)| values.iter().any(|&w| w != Complex64::ZERO));
        let plain = |(d, values): (usize, Vec<Complex64>)| -> Result<(u32, ConstId)> {
            Ok((d as u32, graph.plain_complex(&format!("{name}[{d}]"), &values)?.id))
        };
        let diagonals = present.map(plain).collect::<Result<Vec<_>>>()?;
        let transform = (!diagonals.is_empty()).then(|| graph.transform(name, diagonals));
        Ok(Self { transform })
    }

    /// The transform that moves slot `source(i)` to slot `i`, for every `i` below the period.
    ///
    /// # Errors
    /// [`crate::Error::Period`].
    pub(super) fn permutation(
        graph: &Graph,
        name: &str,
        period: usize,
        source: impl Fn(usize) -> usize,
    ) -> Result<Self> {
        let mut diagonals: BTreeMap<usize, Vec<Complex64>> = BTreeMap::new();
        for i in 0..period {
            let d = (source(i) + period - i) % period;
            diagonals.entry(d).or_insert_with(|| vec![Complex64::ZERO; period])[i] = Complex64::ONE;
        }
        Self::new(graph, name, diagonals.into_iter())
    }

    /// The transform of a vector, whose period is that of the diagonals.
    pub(in crate::dsl) fn times<'g>(&self, x: Encrypted<'g>) -> Encrypted<'g> {
        match self.transform {
            Some(transform) => x.graph.push(Op::LinearTransform(x.local(), transform), x.period),
            None => x.zero(),
        }
    }
}

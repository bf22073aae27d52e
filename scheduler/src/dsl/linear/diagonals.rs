//! A linear transform as its diagonals, `sum_d diag_d * rotate(x, d)`, in baby steps and giant steps.

use std::collections::{BTreeMap, BTreeSet};

use crate::dsl::{Encrypted, Graph, Plain};
use crate::error::Result;

/// The diagonals that are not zero, as plaintexts: by giant step, then by baby step, each turned back by its giant step.
pub(super) struct Diagonals<'g> {
    steps: BTreeMap<usize, Vec<(usize, Plain<'g>)>>,
}

impl<'g> Diagonals<'g> {
    /// Diagonals by number, ascending, each of one period.
    ///
    /// # Errors
    /// [`crate::Error::NotFinite`].
    pub(super) fn new(
        graph: &'g Graph,
        name: &str,
        diagonals: impl Iterator<Item = (usize, Vec<f64>)>,
    ) -> Result<Self> {
        let diagonals: Vec<(usize, Vec<f64>)> =
            diagonals.filter(|(_, values)| values.iter().any(|&w| w != 0.0)).collect();
        let present: Vec<usize> = diagonals.iter().map(|&(d, _)| d).collect();
        let n1 = best_split(&present);
        let mut steps: BTreeMap<usize, Vec<(usize, Plain<'g>)>> = BTreeMap::new();
        for (d, mut values) in diagonals {
            let (giant, baby) = (d / n1 * n1, d % n1);
            values.rotate_right(giant);
            let weights = graph.plain(&format!("{name}[{d}]"), one_period(&values))?;
            steps.entry(giant).or_default().push((baby, weights));
        }
        Ok(Self { steps })
    }

    /// The transform that moves slot `source(i)` to slot `i`, for every `i` below the period.
    ///
    /// # Errors
    /// [`crate::Error::Period`].
    pub(super) fn permutation(
        graph: &'g Graph,
        name: &str,
        period: usize,
        source: impl Fn(usize) -> usize,
    ) -> Result<Self> {
        let mut diagonals: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for i in 0..period {
            let d = (source(i) + period - i) % period;
            diagonals.entry(d).or_insert_with(|| vec![0.0; period])[i] = 1.0;
        }
        Self::new(graph, name, diagonals.into_iter())
    }

    /// The transform of a vector.
    pub(super) fn times(&self, x: Encrypted<'g>) -> Encrypted<'g> {
        let sum = |sum: Encrypted<'g>, term| sum + term;
        let giants = self.steps.iter().filter_map(|(&giant, babies)| {
            let terms = babies.iter().map(|&(baby, weights)| x.rotate(baby as i64) * weights);
            terms.reduce(sum).map(|inner| inner.rotate(giant as i64))
        });
        giants.reduce(sum).unwrap_or_else(|| x.zero())
    }
}

/// The shortest power of two of elements that the others repeat.
fn one_period(values: &[f64]) -> &[f64] {
    match values.split_at(values.len() / 2) {
        (first, second) if first == second && !first.is_empty() => one_period(first),
        _ => values,
    }
}

/// The number of baby steps that needs fewest rotations, the smallest of equals.
fn best_split(present: &[usize]) -> usize {
    let cost = |n1: usize| {
        let babies: BTreeSet<usize> = present.iter().map(|d| d % n1).filter(|&b| b > 0).collect();
        let giants: BTreeSet<usize> = present.iter().map(|d| d / n1).filter(|&g| g > 0).collect();
        // A giant step decomposes anew, a baby step shares: count it dearer.
        babies.len() + 2 * giants.len()
    };
    let beyond = present.last().map_or(1, |d| d + 1);
    (1..=beyond).min_by_key(|&n1| (cost(n1), n1)).unwrap_or(1)
}

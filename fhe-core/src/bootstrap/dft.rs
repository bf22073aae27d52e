//! The special FFT as a few sparse matrices: its butterflies, merged by levels (Chen, Chillotti, Song, ePrint 2018/1043; Han,
//! Hhan, Cheon, ePrint 2018/1073).
//!
//! A butterfly of length `len` has the diagonals `0` and `+-len / 2`; `r` of them in a row at most `2^(r + 1) - 1`. The bit reversal of the
//! FFT is left out of both directions: what lies between them works slot by slot, and it cancels. The inverse divides by 2 in every
//! butterfly, so its rows are means.

use crate::ckks::LinearTransform;
use crate::error::Result;
use crate::math::fft::SpecialFft;
use num_complex::Complex64;
use std::collections::BTreeMap;

/// Which way a butterfly goes.
#[derive(Clone, Copy, PartialEq)]
enum Direction {
    /// Coefficients to slots as messages are seen: `embed`.
    Forward,
    /// Back.
    Inverse,
}

/// One stage of butterflies of length `len` on `n` slots; `factors` are those of [`SpecialFft::inverse_factors`].
fn butterfly(n: usize, len: usize, factors: &[Complex64], direction: Direction) -> Result<LinearTransform> {
    let half = len / 2;
    let mut diagonals: BTreeMap<usize, Vec<Complex64>> = BTreeMap::new();
    let mut set = |d: usize, i: usize, value: Complex64| {
        diagonals.entry(d % n).or_insert_with(|| vec![Complex64::ZERO; n])[i] += value;
    };
    let (one, mean) = (Complex64::ONE, Complex64::new(0.5, 0.0));
    for i in 0..n {
        let j = i % len;
        let inverse = factors[half + j % half];
        match (direction, j < half) {
            (Direction::Inverse, true) => {
                set(0, i, mean);
                set(half, i, mean);
            }
            (Direction::Inverse, false) => {
                set(0, i, -inverse * 0.5);
                set(n - half, i, inverse * 0.5);
            }
            (Direction::Forward, true) => {
                set(0, i, one);
                set(half, i, inverse.conj());
            }
            (Direction::Forward, false) => {
                set(0, i, -inverse.conj());
                set(n - half, i, one);
            }
        }
    }
    LinearTransform::new(n, diagonals)
}

/// Stages merged to `n_factors` matrices of nearly as many stages each, the first to be applied first.
fn merged(stages: Vec<LinearTransform>, n_factors: usize) -> Result<Vec<LinearTransform>> {
    let (n_stages, mut stages) = (stages.len(), stages.into_iter());
    let mut factors = Vec::with_capacity(n_factors);
    for f in 0..n_factors {
        let size = n_stages / n_factors + usize::from(f < n_stages % n_factors);
        let mut product: Option<LinearTransform> = None;
        for stage in stages.by_ref().take(size) {
            product = Some(match product {
                None => stage,
                Some(product) => stage.after(&product)?,
            });
        }
        factors.extend(product);
    }
    Ok(factors)
}

/// From slots to coefficients in bit-reversed order, paired as complex numbers: coefficients `k` and `k + N/2`.
pub(super) fn inverse(ring_degree: usize, n_factors: usize) -> Result<Vec<LinearTransform>> {
    let (n, factors) = (ring_degree / 2, SpecialFft::new(ring_degree).inverse_factors());
    let lengths = (1..=n.ilog2()).rev().map(|log| 1usize << log);
    let stages = lengths.map(|len| butterfly(n, len, &factors, Direction::Inverse)).collect::<Result<_>>()?;
    merged(stages, n_factors)
}

/// The inverse of [`inverse`].
pub(super) fn forward(ring_degree: usize, n_factors: usize) -> Result<Vec<LinearTransform>> {
    let (n, factors) = (ring_degree / 2, SpecialFft::new(ring_degree).inverse_factors());
    let lengths = (1..=n.ilog2()).map(|log| 1usize << log);
    let stages = lengths.map(|len| butterfly(n, len, &factors, Direction::Forward)).collect::<Result<_>>()?;
    merged(stages, n_factors)
}

/// [`inverse`] for messages of `n_slots`, fewer than N / 2: the last matrix gives `(z, -i z)`, twice as many slots, of which the sum with the
/// conjugate is `(2 Re z, 2 Im z)`.
pub(super) fn inverse_packed(n_slots: usize, n_factors: usize) -> Result<Vec<LinearTransform>> {
    let mut factors = inverse(2 * n_slots, n_factors)?;
    let Some(last) = factors.pop() else { return Ok(factors) };
    let minus_i = Complex64::new(0.0, -1.0);
    let part = |i: usize| if i < n_slots { Complex64::ONE } else { minus_i };
    let parts = BTreeMap::from([(0, (0..2 * n_slots).map(part).collect())]);
    factors.push(LinearTransform::new(2 * n_slots, parts)?.after(&last.repeated(2 * n_slots)?)?);
    Ok(factors)
}

/// The inverse of [`inverse_packed`]: the first matrix takes `(Re z, Im z)` to `z`, repeated.
pub(super) fn forward_packed(n_slots: usize, n_factors: usize) -> Result<Vec<LinearTransform>> {
    let mut factors = forward(2 * n_slots, n_factors)?;
    let i = Complex64::new(0.0, 1.0);
    let part = |first: Complex64, second: Complex64| {
        (0..2 * n_slots).map(|at| if at < n_slots { first } else { second }).collect()
    };
    let one = Complex64::ONE;
    let unpack =
        LinearTransform::new(2 * n_slots, BTreeMap::from([(0, part(one, i)), (n_slots, part(i, one))]))?;
    if let Some(first) = factors.first_mut() {
        *first = first.repeated(2 * n_slots)?.after(&unpack)?;
    }
    Ok(factors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::naive;
    use crate::math::ntt::bit_reverse;

    /// The dense matrices, by the definition of the embedding.
    #[test]
    fn the_factors_multiply_to_the_dense_matrix() {
        for (log_n, n_factors) in [(3, 1), (5, 3), (7, 4), (8, 3), (9, 2)] {
            let (ring_degree, n) = (1usize << log_n, 1usize << (log_n - 1));
            let coefficients: Vec<f64> = (0..ring_degree).map(|k| ((k * k + 5) % 23) as f64 - 11.0).collect();
            let slots = naive::embed(&coefficients);
            let paired: Vec<Complex64> = (0..n)
                .map(|i| bit_reverse(i, log_n - 1))
                .map(|k| Complex64::new(coefficients[k], coefficients[k + n]))
                .collect();
            let apply = |factors: Vec<LinearTransform>, x: &[Complex64]| {
                assert_eq!(factors.len(), n_factors);
                factors.iter().fold(x.to_vec(), |x, factor| factor.apply(&x))
            };
            let close =
                |a: &[Complex64], b: &[Complex64]| a.iter().zip(b).all(|(x, y)| (x - y).norm() < 1e-9);
            assert!(close(&apply(inverse(ring_degree, n_factors).unwrap(), &slots), &paired), "{log_n}");
            assert!(close(&apply(forward(ring_degree, n_factors).unwrap(), &paired), &slots), "{log_n}");
        }
    }

    #[test]
    fn packed_factors_take_real_and_imaginary_parts_side_by_side() {
        for (n, n_factors) in [(8, 1), (16, 2), (64, 3)] {
            let slots: Vec<Complex64> = (0..n).map(|i| Complex64::cis(i as f64 * i as f64)).collect();
            let repeated = |x: &[Complex64], len: usize| (0..len).map(|i| x[i % x.len()]).collect::<Vec<_>>();
            let apply = |factors: &[LinearTransform], x: Vec<Complex64>| {
                factors.iter().fold(x, |x, factor| factor.apply(&repeated(&x, factor.n_slots())))
            };
            let plain = apply(&inverse(2 * n, n_factors).unwrap(), slots.clone());
            let packed = apply(&inverse_packed(n, n_factors).unwrap(), slots.clone());
            let twice: Vec<Complex64> = packed.iter().map(|z| z + z.conj()).collect();
            for (i, z) in plain.iter().enumerate() {
                assert!((twice[i] - 2.0 * z.re).norm() < 1e-12 && (twice[i + n] - 2.0 * z.im).norm() < 1e-12);
            }
            let halves: Vec<Complex64> = twice.iter().map(|z| z / 2.0).collect();
            let back = apply(&forward_packed(n, n_factors).unwrap(), halves);
            assert!(back.iter().zip(repeated(&slots, back.len())).all(|(a, b)| (a - b).norm() < 1e-12));
        }
    }

    #[test]
    fn factors_are_sparse() {
        for factors in [inverse(1 << 13, 4).unwrap(), forward(1 << 13, 4).unwrap()] {
            let diagonals: Vec<usize> = factors.iter().map(|f| f.diagonals().len()).collect();
            assert!(diagonals.iter().all(|&d| d <= 15), "{diagonals:?}");
            assert!(factors.iter().all(|f| f.rotations().len() <= 7));
        }
    }
}

//! A matrix times the slot vector, by diagonals, baby steps and giant steps, doubly hoisted (Bossuat, Mouchet, Troncoso-Pastoriza,
//! Hubaux, ePrint 2020/1203, section 4).
//!
//! ```text
//! y[i] = sum_d diagonal_d[i] x[i + d]                                  indexes modulo n, the number of slots
//!      = sum_g rot_g( sum_b rot_-g(diagonal_(g + b)) rot_b(x) )[i]     d = g + b, b a baby step, g a giant step
//! ```
//!
//! Baby steps share one `decompose` and `mod_up` and stay raised; each giant step divides its inner sum by P once, and the outer sum,
//! raised again, is divided by P and rescaled at once.

use super::ciphertext::Ciphertext;
use super::encoder::Encoder;
use super::evaluator::Evaluator;
use super::raised::{RaisedCiphertext, RaisedPlaintext};
use crate::error::{Error, Result};
use crate::math::double::Double;
use crate::math::word::Word;
use crate::params::Level;
use crate::rlwe::EvaluationKeySet;
use num_complex::Complex64;
use std::collections::{BTreeMap, BTreeSet};

/// What a giant step costs in baby steps: a `mod_down` and a `mod_up` more, by the numbers of transforms about as much again
/// as an inner product with the key.
const GIANT_COST: usize = 2;

/// A matrix by its non-zero diagonals.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearTransform {
    n_slots: usize,
    diagonals: BTreeMap<usize, Vec<Complex64>>,
    /// Baby steps are rotations below this.
    split: i64,
}

impl LinearTransform {
    /// From diagonals: entry `i` of diagonal `d` multiplies slot `i + d` (modulo the number of slots) and adds to slot `i`.
    ///
    /// # Errors
    /// [`Error::SlotCount`] for a diagonal of another length; [`Error::RotationOutOfRange`].
    pub fn new(n_slots: usize, diagonals: BTreeMap<usize, Vec<Complex64>>) -> Result<Self> {
        for (&d, diagonal) in &diagonals {
            if diagonal.len() != n_slots {
                return Err(Error::SlotCount { expected: n_slots, found: diagonal.len() });
            }
            if d >= n_slots {
                return Err(Error::RotationOutOfRange { n_slots, found: d as i64 });
            }
        }
        let mut transform = Self { n_slots, diagonals, split: 1 };
        let splits = (0..=n_slots.max(1).ilog2()).map(|log| 1i64 << log);
        transform.split = splits.min_by_key(|&split| transform.cost(split)).unwrap_or(1);
        Ok(transform)
    }

    /// Length of the vectors.
    pub fn n_slots(&self) -> usize {
        self.n_slots
    }

    /// The diagonals.
    pub fn diagonals(&self) -> &BTreeMap<usize, Vec<Complex64>> {
        &self.diagonals
    }

    /// Giant and baby step of a diagonal: their sum is its index, up to a multiple of the number of slots.
    fn steps(&self, d: usize, split: i64) -> (i64, i64) {
        let (n, d) = (self.n_slots as i64, d as i64);
        let signed = if d > n / 2 { d - n } else { d };
        let baby = signed.rem_euclid(split);
        (signed - baby, baby)
    }

    /// Cost, then number of keys, of a split.
    fn cost(&self, split: i64) -> (usize, usize) {
        let steps = || self.diagonals.keys().map(|&d| self.steps(d, split));
        let giants: BTreeSet<i64> = steps().map(|(giant, _)| giant).filter(|&g| g != 0).collect();
        let babies: BTreeSet<i64> = steps().map(|(_, baby)| baby).filter(|&b| b != 0).collect();
        (babies.len() + GIANT_COST * giants.len(), babies.len() + giants.len())
    }

    /// The rotations, other than by 0, that it takes, ascending.
    pub fn rotations(&self) -> Vec<i64> {
        let steps = self.diagonals.keys().map(|&d| self.steps(d, self.split));
        let both: BTreeSet<i64> = steps.flat_map(|(giant, baby)| [giant, baby]).filter(|&k| k != 0).collect();
        both.into_iter().collect()
    }

    /// `self` after `first`: the product of the two matrices.
    ///
    /// # Errors
    /// [`Error::SlotCount`] when they have different numbers of slots.
    pub fn after(&self, first: &Self) -> Result<Self> {
        let n = self.n_slots;
        if first.n_slots != n {
            return Err(Error::SlotCount { expected: n, found: first.n_slots });
        }
        let mut product: BTreeMap<usize, Vec<Complex64>> = BTreeMap::new();
        for (&outer, a) in &self.diagonals {
            for (&inner, b) in &first.diagonals {
                let sum = product.entry((outer + inner) % n).or_insert_with(|| vec![Complex64::ZERO; n]);
                for (i, (sum, a)) in sum.iter_mut().zip(a).enumerate() {
                    *sum += a * b[(i + outer) % n];
                }
            }
        }
        product.retain(|_, diagonal| diagonal.iter().any(|z| *z != Complex64::ZERO));
        Self::new(n, product)
    }

    /// The same matrix for vectors of a multiple of as many slots, which repeat themselves: each part of the result is that of one.
    ///
    /// # Errors
    /// [`Error::SlotCount`] unless `n_slots` is such a multiple.
    pub fn repeated(&self, n_slots: usize) -> Result<Self> {
        let n = self.n_slots;
        if n_slots == 0 || !n_slots.is_multiple_of(n) {
            return Err(Error::SlotCount { expected: n, found: n_slots });
        }
        // The vector has the same slot in either place; short rotations stay short.
        let place = |d: usize| if d > n / 2 { n_slots - n + d } else { d };
        let repeat = |diagonal: &Vec<Complex64>| (0..n_slots).map(|i| diagonal[i % n]).collect();
        Self::new(n_slots, self.diagonals.iter().map(|(&d, diagonal)| (place(d), repeat(diagonal))).collect())
    }

    /// The product with a vector of slots.
    pub fn apply(&self, x: &[Complex64]) -> Vec<Complex64> {
        let n = self.n_slots;
        let row = |i: usize| self.diagonals.iter().map(|(&d, diagonal)| diagonal[i] * x[(i + d) % n]).sum();
        (0..n).map(row).collect()
    }

    /// Encodes the diagonals, each rotated for its giant step, for ciphertexts of a level. If these have more slots, a multiple, their slots
    /// are to repeat themselves.
    ///
    /// # Errors
    /// Those of [`Encoder::encode_raised`]; [`Error::SlotCount`] when the slots of a ciphertext are not a multiple.
    pub fn encode<W: Word>(
        &self,
        encoder: &Encoder<W>,
        level: Level,
        log_scale: Double,
    ) -> Result<EncodedTransform<W>> {
        let n = self.n_slots as i64;
        let all = encoder.n_slots();
        if !all.is_multiple_of(self.n_slots) {
            return Err(Error::SlotCount { expected: all, found: self.n_slots });
        }
        let mut giants: BTreeMap<i64, Vec<(i64, RaisedPlaintext<W>)>> = BTreeMap::new();
        for (&d, diagonal) in &self.diagonals {
            let (giant, baby) = self.steps(d, self.split);
            let from = |i: i64| diagonal[(i - giant).rem_euclid(n) as usize];
            let slots: Vec<Complex64> = (0..all as i64).map(from).collect();
            giants.entry(giant).or_default().push((baby, encoder.encode_raised(&slots, level, log_scale)?));
        }
        Ok(EncodedTransform { level, giants })
    }
}

/// A linear transform whose diagonals are encoded for one level.
#[derive(Clone, Debug)]
pub struct EncodedTransform<W> {
    level: Level,
    giants: BTreeMap<i64, Vec<(i64, RaisedPlaintext<W>)>>,
}

impl<W: Word> Evaluator<W> {
    /// The matrix times the slots, rescaled: one level.
    ///
    /// # Errors
    /// [`Error::LevelMismatch`] unless `a` is at the level of the transform; [`Error::MissingGaloisKey`];
    /// [`Error::DegreeMismatch`]; [`Error::LevelsExhausted`] at level 0; [`Error::ScaleTooLarge`]; [`Error::ParamsMismatch`].
    pub fn linear_transform(
        &self,
        a: &Ciphertext<W>,
        transform: &EncodedTransform<W>,
        keys: &EvaluationKeySet<W>,
    ) -> Result<Ciphertext<W>> {
        self.own(a)?;
        if a.level() != transform.level {
            let (operation, expected, found) = ("linear_transform", transform.level, a.level());
            return Err(Error::LevelMismatch { operation, expected, found });
        }
        let babies: BTreeSet<i64> = transform.giants.values().flatten().map(|(baby, _)| *baby).collect();
        let hoisted = self.hoist(a)?;
        let mut rotated: BTreeMap<i64, RaisedCiphertext<W>> = BTreeMap::new();
        for baby in babies {
            rotated.insert(baby, self.rotate_hoisted(a, &hoisted, baby, keys)?);
        }
        let mut sum: Option<RaisedCiphertext<W>> = None;
        for (&giant, terms) in &transform.giants {
            let mut inner: Option<RaisedCiphertext<W>> = None;
            for (baby, diagonal) in terms {
                let Some(x) = rotated.get(baby) else { continue };
                match inner.as_mut() {
                    None => inner = Some(self.mul_plain_raised(x, diagonal)?),
                    Some(inner) => self.mul_plain_add_raised(inner, x, diagonal)?,
                }
            }
            let Some(inner) = inner else { continue };
            let outer = match giant {
                0 => inner,
                giant => self.rotate_raised(&self.mod_down(&inner)?, giant, keys)?,
            };
            sum = Some(match sum {
                None => outer,
                Some(sum) => self.add_raised(&sum, &outer)?,
            });
        }
        match sum {
            Some(sum) => self.mod_down_rescale(&sum),
            // The matrix is zero.
            None => self.rescale(&self.mul_scalar(a, 0.0, Double::default())?),
        }
    }
}

//! What operations cost, before the freeze: one committed model, of the parameters alone, so that the keys that a client must make
//! do not depend on the server's machine.
//!
//! ```text
//! cost = transforms * TRANSFORM + rows read or written * ROW + sources * targets of conversions * PRODUCT
//! ```
//!
//! An automorphism after a division costs nothing: its last step writes where it has the words. That of a raised rotation is written by
//! the inner product with a key, which does little else: its stores scatter.
//!
//! The weights are nanoseconds for N = 2^16 in 32-bit words on one H100 (docs/notes/2026-11-25-h100.md): a transform of a limb with its
//! traffic, a row of 256 KiB to or from memory, a row times a constant into a sum of a conversion. Only ratios matter, and those
//! of the CPU backend (one core, AVX2, N = 2^14) to a transform are 0.05 for a row, 0.01 for a product.

use fhe_core::params::{Level, Params};

use crate::error::Result;

/// A transform of one limb, there or back.
pub(super) const TRANSFORM: u64 = 430;
/// A row that is read or written.
pub(super) const ROW: u64 = 100;
/// A row that is written where an automorphism has it, beside the row.
pub(super) const SCATTERED: u64 = 30;
/// One source of a conversion for one target.
pub(super) const PRODUCT: u64 = 15;

/// Counts of limbs at a level, and what steps cost there.
#[derive(Clone, Debug)]
pub struct LevelCosts {
    limbs: u64,
    special: u64,
    digits: Vec<u64>,
    /// Of a rescale: primes it divides by, those of the level below, whether it adds some.
    removed: u64,
    below: u64,
    adds: bool,
}

impl LevelCosts {
    /// Those of a level.
    ///
    /// # Errors
    /// [`crate::Error::Core`]: no such level.
    pub fn new(params: &Params, level: Level) -> Result<Self> {
        Ok(Self {
            limbs: params.level(level)?.basis.len() as u64,
            special: params.special().len() as u64,
            digits: params.digits_at(level)?.iter().map(|(_, limbs)| limbs.len() as u64).collect(),
            removed: params.removed_at(level).map_or(0, |removed| removed.len() as u64),
            below: level.0.checked_sub(1).map_or(Ok(0), |l| params.level(Level(l)).map(|l| l.basis.len()))?
                as u64,
            adds: params.added_at(level).is_ok_and(|added| !added.is_empty()),
        })
    }

    /// By level, from 0 to the highest.
    ///
    /// # Errors
    /// [`crate::Error::Core`].
    pub fn table(params: &Params) -> Result<Vec<Self>> {
        (0..=params.max_level().0).map(|level| Self::new(params, Level(level))).collect()
    }

    /// Rows of a pair of polynomials over the special primes.
    pub fn special_rows(&self, polys: u64) -> u64 {
        polys * self.special * ROW
    }

    /// Rows of polynomials over the level, and over the special primes too if raised.
    pub fn rows(&self, polys: u64, raised: bool) -> u64 {
        polys * (self.limbs + if raised { self.special } else { 0 }) * ROW
    }

    /// The division by `P`.
    pub fn mod_down(&self) -> u64 {
        divide_pair(self.special, self.limbs)
    }

    /// The division by the removed primes.
    pub fn rescale(&self) -> u64 {
        divide_pair(self.removed, self.below) + times_pair(if self.adds { self.limbs } else { 0 })
    }

    /// One division by both.
    pub fn mod_down_rescale(&self) -> u64 {
        let adds = if self.adds { self.limbs + self.special } else { 0 };
        divide_pair(self.special + self.removed, self.below) + times_pair(adds)
    }

    /// A `level_drop`: the product with its constant, and the rescale behind it; nothing between equal levels.
    ///
    /// # Errors
    /// [`crate::Error::Core`]: no such level, or `to` is above `from`.
    pub fn level_drop(params: &Params, from: Level, to: Level) -> Result<u64> {
        let Some(kept) = params.level_drop_basis(from, to)? else { return Ok(0) };
        let target = &params.level(to)?.basis;
        let n_common = kept.iter().filter(|limb| target.contains(limb)).count() as u64;
        let (n_kept, n_target) = (kept.len() as u64, target.len() as u64);
        let adds = if n_common < n_target { n_kept } else { 0 };
        Ok(times_pair(n_kept) + divide_pair(n_kept - n_common, n_target) + times_pair(adds))
    }

    /// A key switch by itself.
    pub fn switch(&self) -> u64 {
        self.mod_up() + self.key_inner() + self.mod_down()
    }

    /// All digits of a polynomial, raised: what rotations of one ciphertext share.
    pub fn mod_up(&self) -> u64 {
        let all = self.limbs + self.special;
        let forth: u64 = self.digits.iter().map(|own| all - own).sum();
        let products: u64 = self.digits.iter().map(|own| own * (all - own)).sum();
        (self.limbs + forth) * TRANSFORM + products * PRODUCT
    }

    /// The automorphism of a raised rotation: of both sums.
    pub fn scattered(&self) -> u64 {
        2 * (self.limbs + self.special) * SCATTERED
    }

    /// The inner product of raised digits with a key: both halves of the key, the digits once, the sums.
    pub fn key_inner(&self) -> u64 {
        (3 * self.digits.len() as u64 + 2) * (self.limbs + self.special) * ROW
    }
}

/// `divide_round` of both halves of a pair: the divisor's limbs back, converted, forth over what is kept, subtracted.
fn divide_pair(divisor: u64, kept: u64) -> u64 {
    2 * ((divisor + kept) * TRANSFORM + divisor * kept * PRODUCT + 2 * kept * ROW)
}

/// A pair of so many limbs each, times a constant: read and written.
fn times_pair(limbs: u64) -> u64 {
    2 * 2 * limbs * ROW
}

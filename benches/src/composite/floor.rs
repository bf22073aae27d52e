//! The least that a composite must do, whatever a plan does.
//!
//! ```text
//! floor = keys / copy + transforms * max(2 rows / copy, 3 N/2 log N / products) + macs / products + rows / copy
//! ```
//!
//! with the roofs of the run. For a key switch of `l` limbs with `d` digits of `a_j` limbs and `k` special primes:
//!
//! | part | count |
//! |---|---|
//! | keys | `2 d (l + k)` rows |
//! | transforms of a limb | `l` back, `d (l + k) - l` forth, `2 k` back, `2 l` forth |
//! | macs of conversions | `sum_j a_j (l + k - a_j) + 2 k l` rows |
//! | rows read or written between kernels | operands and result, digits once `d (l + k)`, sums once `2 (l + k)` |
//!
//! A rescale that removes `r` primes is merged into the second half where a key switch goes before: `2 (k + r)` back, `2 (l -
//! r)` forth. Transforms take and give rows of their own; what reads no row twice and keeps digits in registers could save
//! most of the last line, so kernels fused deeper than that may fall below this floor.

use crate::roofs::Roofs;
use fhe_core::params::{Level, Params};
use std::collections::BTreeMap;

/// Counts of limbs at a level.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Limbs of the level.
    pub limbs: u64,
    /// Special primes.
    pub special: u64,
    /// Limbs of each digit that the level has.
    pub digits: Vec<u64>,
    /// Primes that a rescale removes; none at level 0.
    pub removed: u64,
}

impl Sizes {
    /// Those of a level.
    ///
    /// # Errors
    /// No such level.
    pub fn of(params: &Params, level: Level) -> crate::Result<Self> {
        Ok(Self {
            limbs: params.level(level)?.basis.len() as u64,
            special: params.special().len() as u64,
            digits: params.digits_at(level)?.iter().map(|(_, limbs)| limbs.len() as u64).collect(),
            removed: params.removed_at(level).map_or(0, |r| r.len() as u64),
        })
    }

    fn extended(&self) -> u64 {
        self.digits.len() as u64 * (self.limbs + self.special)
    }

    /// Raises the digits.
    fn mod_up(&self) -> Floor {
        let (l, k) = (self.limbs, self.special);
        let macs = self.digits.iter().map(|a| a * (l + k - a)).sum();
        Floor { transforms: self.extended(), macs, rows: self.extended(), ..Floor::default() }
    }

    /// Inner products with a key, and both halves down to `l - r` limbs.
    fn key_and_mod_down(&self, removed: u64) -> Floor {
        let (l, k, r) = (self.limbs, self.special, removed);
        Floor {
            keys: 2 * self.extended(),
            transforms: 2 * (k + r) + 2 * (l - r),
            macs: 2 * (k + r) * (l - r),
            rows: 2 * (l + k) + 2 * (l - r),
        }
    }

    /// Addition of two ciphertexts.
    pub fn add(&self) -> Floor {
        Floor { rows: 6 * self.limbs, ..Floor::default() }
    }

    /// A rotation, or as many of one ciphertext as `n` says: the digits are raised once.
    pub fn rotations(&self, n: u64) -> Floor {
        let operand = Floor { rows: 2 * self.limbs, ..Floor::default() };
        operand + self.mod_up() + self.key_and_mod_down(0) * n
    }

    /// A product of two ciphertexts, relinearized and rescaled.
    pub fn mul_relinearize_rescale(&self) -> Floor {
        let operands = Floor { rows: 4 * self.limbs, ..Floor::default() };
        operands + self.mod_up() + self.key_and_mod_down(self.removed)
    }

    /// The sum of `n` ciphertexts times plaintexts: every operand once, as fast as memory copies.
    pub fn mul_plain_accumulate(&self, n: u64) -> Floor {
        Floor { rows: (3 * n + 2) * self.limbs, ..Floor::default() }
    }

    /// A plaintext from its slots, two rows of doubles; the factors are once for all.
    pub fn encode(&self) -> Floor {
        Floor { transforms: self.limbs, rows: 2, ..Floor::default() }
    }

    /// A rescale of a ciphertext, or of its product with `plain` rows.
    pub fn rescale(&self, plain: u64) -> Floor {
        let (l, r) = (self.limbs, self.removed);
        Floor { keys: 0, transforms: 2 * l, macs: 2 * r * (l - r), rows: 2 * l + plain + 2 * (l - r) }
    }
}

/// Work in rows of `N` words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Floor {
    /// Rows of keys.
    pub keys: u64,
    /// Transforms of one row.
    pub transforms: u64,
    /// Multiplications of a conversion, in rows.
    pub macs: u64,
    /// Other rows read or written.
    pub rows: u64,
}

impl std::ops::Add for Floor {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            keys: self.keys + other.keys,
            transforms: self.transforms + other.transforms,
            macs: self.macs + other.macs,
            rows: self.rows + other.rows,
        }
    }
}

impl std::ops::Mul<u64> for Floor {
    type Output = Self;

    fn mul(self, n: u64) -> Self {
        Self {
            keys: self.keys * n,
            transforms: self.transforms * n,
            macs: self.macs * n,
            rows: self.rows * n,
        }
    }
}

impl Floor {
    /// Microseconds of each part.
    pub fn parts(&self, params: &Params, roofs: &Roofs) -> BTreeMap<&'static str, f64> {
        let row = (u64::from(params.word().bits() / 8) << params.log_n()) as f64 / roofs.copy * 1e6;
        let products = params.n() as f64 / roofs.products(params.word()) * 1e6;
        let transform = (2.0 * row).max(1.5 * f64::from(params.log_n()) * products);
        let of = |n: u64, each: f64| n as f64 * each;
        BTreeMap::from([
            ("keys", of(self.keys, row)),
            ("transforms", of(self.transforms, transform)),
            ("conversions", of(self.macs, products)),
            ("rows", of(self.rows, row)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_of_47_limbs_in_four_digits() {
        let sizes = Sizes { limbs: 47, special: 12, digits: vec![12, 12, 12, 11], removed: 2 };
        let floor = sizes.rotations(1);
        assert_eq!(floor.keys, 2 * 4 * 59);
        assert_eq!(floor.transforms, 47 + (4 * 59 - 47) + 2 * 12 + 2 * 47);
        assert_eq!(floor.macs, 3 * 12 * 47 + 11 * 48 + 2 * 12 * 47);
        assert_eq!(floor.rows, 2 * 47 + 4 * 59 + 2 * 59 + 2 * 47);
        // The digits are raised once for all.
        let eight = sizes.rotations(8);
        assert_eq!(eight.keys, 8 * floor.keys);
        assert_eq!(eight.transforms, 4 * 59 + 8 * (2 * 12 + 2 * 47));
    }
}

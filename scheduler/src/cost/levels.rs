//! What operations cost, before the freeze: one committed model, of the parameters alone, so that the keys that a client must make
//! do not depend on the server's machine.
//!
//! ```text
//! cost = transforms * TRANSFORM + rows read or written * ROW + sources * targets of conversions * PRODUCT
//! ```
//!
//! An automorphism after a division costs nothing: its last step writes where it has the words. That of a raised rotation is written by
//! the inner product with a key, which does little else: its stores scatter. Scalars of divisions and of what is added cost nothing either: they
//! are constants that are there already (docs/adr/0023).
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
    /// Of a rescale: primes that it divides by, those of both levels, those that the level below has beside them.
    removed: u64,
    kept: u64,
    added: u64,
}

impl LevelCosts {
    /// Those of a level.
    ///
    /// # Errors
    /// [`crate::Error::Core`]: no such level.
    pub fn new(params: &Params, level: Level) -> Result<Self> {
        let limbs = params.level(level)?.basis.len() as u64;
        // From level 0 nothing is rescaled.
        let removed = params.removed_at(level).ok().map(|removed| removed.len() as u64);
        Ok(Self {
            limbs,
            special: params.special().len() as u64,
            digits: params.digits_at(level)?.iter().map(|(_, limbs)| limbs.len() as u64).collect(),
            removed: removed.unwrap_or(0),
            kept: removed.map_or(0, |removed| limbs - removed),
            added: params.added_at(level).map_or(0, |added| added.len() as u64),
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
        divide_pair(self.special, self.limbs, 0)
    }

    /// The division by the removed primes.
    pub fn rescale(&self) -> u64 {
        divide_pair(self.removed, self.kept, self.added)
    }

    /// One division by both.
    pub fn mod_down_rescale(&self) -> u64 {
        divide_pair(self.special + self.removed, self.kept, self.added)
    }

    /// A `level_drop`: the rescale behind its constant, from the limbs that it keeps; nothing between equal levels.
    ///
    /// # Errors
    /// [`crate::Error::Core`]: no such level, or `to` is above `from`.
    pub fn level_drop(params: &Params, from: Level, to: Level) -> Result<u64> {
        let Some(taken) = params.level_drop_basis(from, to)? else { return Ok(0) };
        let target = &params.level(to)?.basis;
        let (n_taken, n_target) = (taken.len() as u64, target.len() as u64);
        let kept = taken.iter().filter(|limb| target.contains(limb)).count() as u64;
        Ok(divide_pair(n_taken - kept, kept, n_target - kept))
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

/// A division of both halves of a pair: the divisor's limbs back, converted, forth over what is kept and what is added, subtracted from what is
/// kept. What is added is the remainder alone.
fn divide_pair(divisor: u64, kept: u64, added: u64) -> u64 {
    let target = kept + added;
    2 * ((divisor + target) * TRANSFORM + divisor * target * PRODUCT + 2 * kept * ROW)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ckks_ir::{Function, Input, InputIdx, Kind, Op, Output, Scale, ValueId};
    use crate::cost::polynomials;
    use crate::lower::ckks::lower;
    use fhe_core::params::Preset;

    /// What is computed to lower operations on an input, each on the one before, operation by operation.
    fn lowered(params: &Params, level: Level, ops: &[(Op, Kind)]) -> u64 {
        let input = Input { name: "x".to_owned(), period: 4, complex: false, at: None };
        let mut f = Function { inputs: vec![input], ..Function::default() };
        let kind = Kind { level, scale: Scale::Canonical, degree: 1, raised: false };
        f.push(Op::Input(InputIdx(0)), Some(kind), None);
        for &(op, kind) in ops {
            let last = ValueId(f.values.len() as u32 - 1);
            f.push(op.map(|_| last), Some(kind), None);
        }
        let value = ValueId(f.values.len() as u32 - 1);
        f.outputs.push(Output { name: "y".to_owned(), slots: 4, value, at: None });
        polynomials(&lower(&f, params, false).unwrap())
    }

    #[test]
    fn prices_are_those_of_what_is_lowered() {
        let x = ValueId(0);
        for preset in [Preset::Toy10, Preset::Toy12r, Preset::N15, Preset::Boot16] {
            let params = preset.params().unwrap();
            for from in (1..=params.max_level().0).map(Level) {
                let costs = LevelCosts::new(&params, from).unwrap();
                let kind = |level: Level, raised| Kind { level, scale: Scale::Canonical, degree: 1, raised };
                let below = kind(Level(from.0 - 1), false);
                let of = |ops: &[(Op, Kind)]| lowered(&params, from, ops);
                assert_eq!(costs.rescale(), of(&[(Op::Rescale(x), below)]), "{preset:?}, {from:?}");
                let rotate = (Op::Rotate(x, 1), kind(from, true));
                let rotated = of(&[rotate]);
                let low = (Op::ModDown(x), kind(from, false));
                assert_eq!(costs.mod_down(), of(&[rotate, low]) - rotated, "{preset:?}, {from:?}");
                let at_once = (Op::ModDownRescale(x), below);
                assert_eq!(
                    costs.mod_down_rescale(),
                    of(&[rotate, at_once]) - rotated,
                    "{preset:?}, {from:?}"
                );
                for to in (0..from.0).map(Level) {
                    let drop = LevelCosts::level_drop(&params, from, to).unwrap();
                    let lowered = of(&[(Op::LevelDrop(x, to), kind(to, false))]);
                    assert_eq!(drop, lowered, "{preset:?}, {from:?} to {to:?}");
                }
            }
        }
    }
}

//! What the operations of a function without kinds cost at the levels where they will be, by the committed costs of [`LevelCosts`]: before transforms are
//! split and divisions merged, so what these save is not in it. Good enough to compare places of bootstraps, of which each costs
//! hundreds of them.
//!
//! ```text
//! rotate, conjugate     mod_up + key_inner + mod_down = switch
//! transform of d        mod_up + 2 sqrt(d) (key_inner + mod_down) + d products        one level above its result
//! a product, once       rescale; switch too if it has degree 2
//! others                the rows that they read and write
//! ```

use fhe_core::params::{Level, Params};

use super::LevelCosts;
use crate::ckks_ir::{Function, Op, ValueId};
use crate::error::Result;

/// What a value owes before it is canonical and of degree 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// A rescale.
    pub rescale: bool,
    /// A relinearization.
    pub relinearize: bool,
}

/// Prices of operations at every level.
#[derive(Clone, Debug)]
pub struct OperationCosts {
    levels: Vec<LevelCosts>,
}

impl OperationCosts {
    /// Those of some parameters.
    ///
    /// # Errors
    /// [`crate::Error::Core`].
    pub fn new(params: &Params) -> Result<Self> {
        // Level 0 is always there.
        Ok(Self { levels: LevelCosts::table(params)? })
    }

    /// A value that is at a level, and once what it owes. Above the highest level it costs as much as there.
    pub fn cost(&self, function: &Function, id: ValueId, level: Level, owed: Owed) -> u64 {
        let here = self.at(level.0);
        let rescale = if owed.rescale { here.rescale() } else { 0 };
        let switch = if owed.relinearize { here.switch() } else { 0 };
        self.operation(function, &function.value(id).op, level) + rescale + switch
    }

    /// An operation at a level, without what its result owes.
    pub fn operation(&self, function: &Function, op: &Op, level: Level) -> u64 {
        let (here, above) = (self.at(level.0), self.at(level.0.saturating_add(1)));
        let rows = |polys| here.rows(polys, false);
        match *op {
            Op::Add(..) | Op::Sub(..) => rows(6),
            Op::Neg(_) | Op::MulI(..) | Op::MulScalar(..) => rows(4),
            Op::AddPlain(..) | Op::SubPlain(..) => rows(3),
            Op::AddScalar(..) => rows(2),
            Op::MulPlain(..) => rows(5),
            Op::Mul(..) => rows(7),
            Op::Rotate(..) | Op::Conjugate(_) | Op::ModRaise(..) => here.switch(),
            Op::LinearTransform(_, t) => {
                let n = function.transforms.get(t.0 as usize).map_or(0, |t| t.diagonals.len() as u64);
                let steps = 2 * n.isqrt() * (above.key_inner() + above.mod_down());
                above.mod_up() + steps + n * above.rows(3, false) + above.rescale()
            }
            _ => 0,
        }
    }

    /// The costs at a level, or at the highest if there is no such level.
    pub fn at(&self, level: u32) -> &LevelCosts {
        &self.levels[(level as usize).min(self.levels.len() - 1)]
    }
}

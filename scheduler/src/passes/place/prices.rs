//! What placement compares, at every level, by the committed costs ([`crate::cost::levels`]).

use fhe_core::params::{Level, Params};

use crate::ckks_ir::verify::divides_at_once;
use crate::ckks_ir::{Function, Op};
use crate::cost::{LevelCosts, OperationCosts, Owed};
use crate::error::Result;
use crate::passes::absorb_drops;

/// An input's row is copied to the device: 256 KiB at 50 GB/s, in the unit of [`LevelCosts`].
const UPLOAD: u64 = 50;

/// Prices of operations, by level.
pub(super) struct Prices {
    operations: OperationCosts,
    at_once: Vec<bool>,
    n_levels: u32,
}

impl Prices {
    pub(super) fn new(params: &Params) -> Result<Self> {
        let n_levels = params.max_level().0 + 1;
        let at_once = (0..n_levels).map(|l| divides_at_once(params, Level(l))).collect();
        Ok(Self { operations: OperationCosts::new(params)?, at_once, n_levels })
    }

    pub(super) fn at(&self, level: u32) -> &LevelCosts {
        self.operations.at(level)
    }

    /// Whether no operation is cheaper at a level than at one below it.
    pub(super) fn rise(&self) -> bool {
        let mut pairs = (1..self.n_levels).map(|l| (self.at(l - 1), self.at(l)));
        let rises = |(below, above): (&LevelCosts, &LevelCosts)| {
            below.mod_up() <= above.mod_up()
                && below.switch() - below.mod_up() <= above.switch() - above.mod_up()
                && below.rescale() <= above.rescale()
        };
        pairs.all(rises)
            && (2..self.n_levels).all(|l| self.canonical_switch(l - 1) <= self.canonical_switch(l))
    }

    /// A product of degree 2 at a level, brought to its canonical form: one division where that can be.
    fn canonical_switch(&self, level: u32) -> u64 {
        let here = self.at(level);
        let at_once = self.at_once.get(level as usize).copied().unwrap_or(false);
        let divisions = if at_once { here.mod_down_rescale() } else { here.mod_down() + here.rescale() };
        here.mod_up() + here.key_inner() + divisions
    }

    /// What an operation costs whose result is at a level, with what that owes, but for the `mod_up` that rotations of a value share.
    pub(super) fn own(&self, function: &Function, op: &Op, owed: Owed, level: u32) -> u64 {
        let here = self.at(level);
        let own = match op {
            Op::Rotate(..) | Op::Conjugate(_) => here.key_inner() + here.mod_down(),
            Op::Input(_) => here.rows(2, false) * UPLOAD,
            op => self.operations.operation(function, op, Level(level)),
        };
        own + match owed {
            Owed { relinearize: true, rescale: true } => self.canonical_switch(level),
            Owed { relinearize: true, rescale: false } => here.switch(),
            Owed { relinearize: false, rescale: true } => here.rescale(),
            Owed { relinearize: false, rescale: false } => 0,
        }
    }
}

/// Prices of level drops, by the level where they begin and the one where they end.
pub(super) struct Drops {
    costs: Vec<Vec<u64>>,
    absorbs: Vec<Vec<bool>>,
}

impl Drops {
    pub(super) fn new(params: &Params) -> Result<Self> {
        let levels = || (0..=params.max_level().0).map(Level);
        let to = |from: Level| levels().take_while(move |to| *to <= from);
        let costs =
            levels().map(|from| to(from).map(|to| LevelCosts::level_drop(params, from, to)).collect());
        let absorbs = |from| to(from).map(|to| absorb_drops::absorbs(params, from, to)).collect();
        Ok(Self { costs: costs.collect::<Result<_>>()?, absorbs: levels().map(absorbs).collect() })
    }

    /// Of a level to one not above it.
    pub(super) fn cost(&self, from: u32, to: u32) -> u64 {
        self.costs.get(from as usize).and_then(|to_level| to_level.get(to as usize)).copied().unwrap_or(0)
    }

    /// Whether a product by a constant at `to` takes what is at `from` as it is.
    pub(super) fn absorbs(&self, from: u32, to: u32) -> bool {
        self.absorbs
            .get(from as usize)
            .and_then(|to_level| to_level.get(to as usize))
            .copied()
            .unwrap_or(false)
    }
}

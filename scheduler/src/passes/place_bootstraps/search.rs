//! The cheapest set of bootstraps that is found: boundaries ([`super::boundaries`]) searched in several ways, and then improved.
//!
//! A bootstrap on every path that is too long is a vertex cover of paths, which is hard already where each level needs one; so this is a search. What boundaries
//! do not see:
//!
//! * Some bootstraps are not needed at all, where the long way round is fresh enough: those are taken away, the dearest first.
//! * What is a long way round cannot be known before; so boundaries are searched with all uses that cross and with those of few places only, along two
//!   potentials, and the best is taken.
//! * A value that is no neighbour may replace several: each is tried, for all its users, if others can do without then.

use core::cmp::Reverse;
use std::collections::BTreeMap;

use fhe_core::params::Level;

use super::boundaries::Boundaries;
use super::flow::{Flow, Split, Takers};
use crate::ckks_ir::ValueId;
use crate::cost::OperationCosts;

/// Uses that count, by how many places they cross.
const REACHES: [u32; 3] = [u32::MAX, 3, 1];
/// Values that a walk over a function may see before the last step is given up.
const PATIENCE: usize = 1 << 26;

/// What is searched with.
pub(super) struct Search<'a> {
    pub(super) flow: &'a Flow<'a>,
    /// What a bootstrap of each value costs. Two real ones of one depth are one.
    pub(super) prices: &'a [u64],
    pub(super) real: &'a [bool],
    pub(super) costs: &'a OperationCosts,
}

impl Search<'_> {
    /// The cheapest set that is found; none where none fits.
    pub(super) fn run(&self) -> Option<Split> {
        let mut best: Option<(u64, Split)> = None;
        for potential in [self.flow.latest(), self.flow.earliest()] {
            for reach in REACHES {
                let Some(mut split) = Boundaries::new(self, &potential, reach).cheapest() else { continue };
                self.prune(&mut split, None);
                let Some(cost) = self.cost(&split) else { continue };
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    best = Some((cost, split));
                }
            }
        }
        best.map(|(cost, split)| self.exchange(cost, split))
    }

    /// What bootstraps and operations cost, if there are levels enough.
    pub(super) fn cost(&self, split: &Split) -> Option<u64> {
        let needs = self.flow.needs(split);
        let operations = || (0..self.flow.n()).map(|v| self.operation(v, needs.own[v])).sum::<u64>();
        self.flow.fits(&needs).then(|| self.bootstraps(split) + operations())
    }

    /// What bootstraps cost: two real ones that come after as many others are one.
    pub(super) fn bootstraps(&self, split: &Split) -> u64 {
        let mut depth: Vec<u32> = Vec::with_capacity(self.flow.n());
        let mut single: BTreeMap<u32, u64> = BTreeMap::new();
        let mut sum = 0;
        for u in 0..self.flow.n() {
            let own = self
                .flow
                .uses(u)
                .iter()
                .map(|used| depth[used.a] + u32::from(self.flow.takes_bootstrap(split, used.a, u)));
            let own = own.max().unwrap_or(0).max(self.flow.explicit_operand(u).map_or(0, |a| depth[a] + 1));
            depth.push(own);
            let explicit = self.flow.explicit_operand(u).is_some();
            let own = own + u32::from(!explicit);
            if split.bootstraps(u) || explicit {
                let price = self.prices[u];
                match self.real[u].then(|| single.remove(&own)).flatten() {
                    Some(first) => sum += price.saturating_sub(first),
                    None => {
                        sum += price;
                        if self.real[u] {
                            single.insert(own, price);
                        }
                    }
                }
            }
        }
        sum
    }

    /// What a bootstrap of a value costs if each real one has another to go with.
    pub(super) fn share(&self, v: usize) -> u64 {
        match self.real[v] {
            _ if self.flow.is_source(v) => 0,
            true => self.prices[v].div_ceil(2),
            false => self.prices[v],
        }
    }

    pub(super) fn operation(&self, v: usize, level: u32) -> u64 {
        self.costs.cost(self.flow.function, ValueId(v as u32), Level(level), self.flow.owed[v])
    }

    fn fits(&self, split: &Split) -> bool {
        self.flow.fits(&self.flow.needs(split))
    }

    /// Without what is not needed, `kept` excepted; whether there was something.
    fn prune(&self, split: &mut Split, kept: Option<usize>) -> bool {
        let mut order: Vec<usize> =
            (0..self.flow.n()).filter(|&v| split.bootstraps(v) && Some(v) != kept).collect();
        order.sort_by_key(|&v| (Reverse(self.prices[v]), v));
        let mut pruned = false;
        for v in order {
            let takers = core::mem::replace(&mut split.takers[v], Takers::None);
            if self.fits(split) {
                pruned = true;
            } else {
                split.takers[v] = takers;
            }
        }
        pruned
    }

    /// A value bootstrapped for all its users, wherever that makes the rest cheaper.
    fn exchange(&self, mut least: u64, mut split: Split) -> Split {
        let movable = self.flow.movable();
        let mut seen = 0;
        let mut moved = true;
        while core::mem::take(&mut moved) {
            for v in (0..self.flow.n()).filter(|&v| movable[v] && !self.flow.is_source(v)) {
                if split.takers[v] == Takers::All {
                    continue;
                }
                let mut other = split.clone();
                other.takers[v] = Takers::All;
                seen += self.flow.n() * (2 + split.takers.iter().filter(|t| **t != Takers::None).count());
                if seen > PATIENCE {
                    return split;
                }
                if !self.prune(&mut other, Some(v)) && !split.bootstraps(v) {
                    continue;
                }
                if let Some(cost) = self.cost(&other).filter(|cost| *cost < least) {
                    (least, split, moved) = (cost, other, true);
                }
            }
        }
        split
    }
}

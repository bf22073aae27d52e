//! Where to cut: dynamic programming over boundaries of a potential ([`super::flow`]), each a minimum cut.
//!
//! A *window* `(i0, i)` is a boundary that may be anywhere between the two: what is canonical up to `i0` comes before it, what is after `i` comes after it, and
//! in between the cheapest set of values with all uses across is found ([`min_cut`]). So 16 rotations of a value cost one bootstrap of it.
//! From one window to the next, and to the end,
//!
//! ```text
//! (h0, h) before (i0, i)  if  h <= i0, h < i, i - h0 <= levels that are returned        at most i - h0 are taken in between
//!
//! best(i0, i) = min  best(h0, h) + operations in (h, i] at the levels up to i + bootstraps at (i0, i) of what has none yet
//! ```
//!
//! A value that crosses several boundaries is bootstrapped once: levels fall along paths, and a bootstrap waits for its use. Sources cross for nothing. So
//! in the end some bootstraps are not needed at all, where the long way round is fresh enough: those are taken away, the dearest first. What is a long way
//! round cannot be known before; so boundaries are searched with all uses that cross and with those of few places only, along two potentials, and the best is
//! taken. Then single values are bootstrapped too if others can do without.

use core::cmp::Reverse;
use std::collections::BTreeMap;

use fhe_core::params::Level;

use super::flow::{Flow, Split, Takers, Use};
use crate::ckks_ir::ValueId;
use crate::cost::OperationCosts;
use crate::passes::min_cut::{FORBIDDEN, Graph, NO, YES};

/// The widest window: wider ones find little more, and cost a minimum cut each.
const WIDEST: u32 = 6;
/// Uses that count, by how many places they cross.
const REACHES: [u32; 3] = [u32::MAX, 3, 1];
/// Values that a walk over a function may see before the last step is given up.
const PATIENCE: usize = 1 << 28;

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
            if split.bootstraps(u) {
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

    fn operation(&self, v: usize, level: u32) -> u64 {
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

/// A window with its cut.
struct Window {
    low: u32,
    high: u32,
    /// Of what is bootstrapped there, without what comes from below the window and goes on beyond it.
    price: u64,
    /// Of what of the window is bootstrapped there and used beyond `high + k` too, by `k`.
    beyond: Vec<u64>,
    /// The values of the window that come after the boundary.
    after: Vec<usize>,
    /// Up to here, with what went before.
    best: Option<(u64, Option<usize>)>,
}

/// The boundaries of a potential.
struct Boundaries<'a> {
    search: &'a Search<'a>,
    /// Where the canonical form of each value is.
    at: Vec<u32>,
    /// Where the last use of each value is.
    last: Vec<u32>,
    movable: Vec<bool>,
    /// The values of each place.
    layers: Vec<Vec<usize>>,
    /// By `i` and `w`: the prices of what is up to `i - w` and used beyond `i`; none where there is one that is not movable.
    crossing: Vec<Vec<Option<u64>>>,
    /// By place and `k`: what its operations cost, at levels for `k` places more.
    operations: Vec<Vec<u64>>,
    /// Nodes of the window at hand.
    nodes: Vec<usize>,
}

impl<'a> Boundaries<'a> {
    fn new(search: &'a Search<'a>, potential: &[u32], reach: u32) -> Self {
        let flow = search.flow;
        let at: Vec<u32> = (0..flow.n()).map(|v| potential[v] + flow.owes(v)).collect();
        let (mut last, movable) = (at.clone(), flow.movable());
        for u in 0..flow.n() {
            for &Use { a, .. } in flow.uses(u) {
                if at[u] - at[a] <= reach || !movable[a] {
                    last[a] = last[a].max(at[u]);
                }
            }
        }
        let end = at.iter().copied().max().unwrap_or(0) as usize;
        let mut layers = vec![Vec::new(); end + 1];
        (0..flow.n()).for_each(|v| layers[at[v] as usize].push(v));
        let fresh = flow.limits.fresh;
        let mut operations = vec![vec![0; fresh as usize + 1]; end + 1];
        for v in 0..flow.n() {
            for (k, sum) in (0u32..).zip(&mut operations[at[v] as usize]) {
                *sum += search.operation(v, k + flow.owes(v));
            }
        }
        let mut out = Self {
            search,
            at,
            last,
            movable,
            layers,
            crossing: Vec::new(),
            operations,
            nodes: vec![0; flow.n()],
        };
        out.crossing = out.crossing();
        out
    }

    fn end(&self) -> u32 {
        self.layers.len() as u32 - 1
    }

    /// See the field.
    fn crossing(&self) -> Vec<Vec<Option<u64>>> {
        let (end, widest) = (self.layers.len(), self.search.flow.limits.fresh as usize);
        // Both the sum of prices and the number of those that cannot.
        let mut sums = vec![(0u64, 0u64); end];
        let mut own = vec![vec![(0u64, 0u64); widest + 1]; end];
        for (v, (&at, &last)) in
            self.at.iter().zip(&self.last).enumerate().filter(|(_, (at, last))| at < last)
        {
            let own_price = if self.movable[v] { (self.search.prices[v], 0) } else { (0, 1) };
            for i in at..last {
                let (sum, i) = (&mut sums[i as usize], i as usize);
                *sum = (sum.0 + own_price.0, sum.1 + own_price.1);
                if let Some(own) = own[i].get_mut(i - at as usize) {
                    *own = (own.0 + own_price.0, own.1 + own_price.1);
                }
            }
        }
        let up_to = |(sum, own): ((u64, u64), Vec<(u64, u64)>)| {
            let mut left = sum;
            let step = |(price, n): (u64, u64)| {
                let here = (left.1 == 0).then_some(left.0);
                left = (left.0 - price, left.1 - n);
                here
            };
            own.into_iter().map(step).collect()
        };
        sums.into_iter().zip(own).map(up_to).collect()
    }

    /// Prices of what is up to `a` and used beyond `i`.
    fn crosses(&self, a: u32, i: u32) -> Option<u64> {
        self.crossing.get(i as usize)?.get((i - a) as usize).copied().flatten()
    }

    /// What the operations in `(h, i]` cost.
    fn between(&self, h: Option<u32>, i: u32) -> u64 {
        let places = h.map_or(0, |h| h + 1)..=i;
        let here = |place: u32| self.operations.get(place as usize)?.get((i - place) as usize);
        places.filter_map(here).sum()
    }

    /// The best way to the end.
    fn cheapest(mut self) -> Option<Split> {
        let (end, limits) = (self.end(), self.search.flow.limits);
        let mut windows: Vec<Window> = Vec::new();
        // The first window that ends at or after each place.
        let mut first_at: Vec<usize> = Vec::with_capacity(end as usize + 1);
        for high in 0..end {
            first_at.push(windows.len());
            for low in high.saturating_sub(WIDEST.min(limits.returned.saturating_sub(1)))..=high {
                let Some(mut window) = self.window(low, high) else { continue };
                window.best = self.best(&windows, &first_at, &window);
                if window.best.is_some() {
                    windows.push(window);
                }
            }
        }
        first_at.push(windows.len());
        let after = |(w, window): (usize, &Window)| {
            let (cost, _) = window.best.filter(|_| end - window.low <= limits.returned)?;
            Some((cost + self.between(Some(window.high), end), w))
        };
        let from = first_at.get(end.saturating_sub(limits.returned) as usize).copied().unwrap_or(0);
        let (_, last) = windows.iter().enumerate().skip(from).filter_map(after).min()?;
        Some(self.split(&windows, last))
    }

    /// The best way to a window: its cost, and the window before it.
    fn best(&self, windows: &[Window], first_at: &[usize], window: &Window) -> Option<(u64, Option<usize>)> {
        let limits = self.search.flow.limits;
        let (low, high) = (window.low, window.high);
        let crossing = self.crosses(low, high)?;
        let fresh =
            (high <= limits.fresh).then(|| (self.between(None, high) + window.price + crossing, None));
        let from = first_at.get(high.saturating_sub(limits.returned) as usize).copied().unwrap_or(0);
        let before = windows.iter().enumerate().skip(from);
        let before =
            before.filter(|(_, w)| w.high <= low && w.high < high && high - w.low <= limits.returned);
        let after = before.filter_map(|(i, before)| {
            let known = self.crosses(before.low, high)? + before.beyond.get((high - before.high) as usize)?;
            let (cost, _) = before.best?;
            let new = (window.price + crossing).saturating_sub(known);
            Some((cost + self.between(Some(before.high), high) + new, Some(i)))
        });
        after.chain(fresh).min()
    }

    /// The cheapest cut between two places; none where there is none.
    fn window(&mut self, low: u32, high: u32) -> Option<Window> {
        let flow = self.search.flow;
        let inside: Vec<usize> = (low + 1..=high).flat_map(|i| self.layers[i as usize].clone()).collect();
        let mut graph = Graph::new();
        for &v in &inside {
            self.nodes[v] = graph.node();
        }
        // The node that is yes where a value is bootstrapped.
        let mut crossing: BTreeMap<usize, usize> = BTreeMap::new();
        let (nodes, prices, movable, last) = (&self.nodes, self.search.prices, &self.movable, &self.last);
        let mut crosses = |graph: &mut Graph, from: usize, v: usize, to: usize| {
            if !movable[v] {
                return graph.edge(from, to, FORBIDDEN);
            }
            let cut = *crossing.entry(v).or_insert_with(|| {
                let cut = graph.node();
                graph.edge(from, cut, prices[v]);
                cut
            });
            graph.edge(cut, to, FORBIDDEN);
        };
        for &u in &inside {
            for used in flow.uses(u) {
                let a = used.a;
                if self.at[a] > low {
                    graph.edge(nodes[u], nodes[a], FORBIDDEN);
                    crosses(&mut graph, nodes[a], a, nodes[u]);
                } else if last[a] <= high && self.at[u] <= last[a] {
                    crosses(&mut graph, YES, a, nodes[u]);
                }
            }
            if last[u] > high {
                crosses(&mut graph, nodes[u], u, NO);
            }
        }
        let yes = graph.solve();
        let is_before = |v: usize| if self.at[v] > low { yes[nodes[v]] } else { true };
        let mut window = Window {
            low,
            high,
            price: 0,
            beyond: vec![0; flow.limits.returned as usize + 1],
            after: inside.iter().copied().filter(|&v| !is_before(v)).collect(),
            best: None,
        };
        for (&v, &cut) in &crossing {
            if !yes[cut] || !is_before(v) {
                continue;
            }
            window.price += prices[v];
            let ends = last[v].saturating_sub(high) as usize;
            if self.at[v] > low {
                window.beyond.iter_mut().take(ends).for_each(|sum| *sum += prices[v]);
            }
        }
        let broken = |&u: &usize| {
            let across = |v: usize| !movable[v] && is_before(v) && !is_before(u);
            flow.uses(u).iter().any(|used| across(used.a)) || (!movable[u] && is_before(u) && last[u] > high)
        };
        (!inside.iter().any(broken)).then_some(window)
    }

    /// The split whose last window that is.
    fn split(&self, windows: &[Window], last: usize) -> Split {
        let n = self.search.flow.n();
        let mut chain = Vec::new();
        let mut at = Some(last);
        while let Some(window) = at.and_then(|i| windows.get(i)) {
            chain.push(window);
            at = window.best.and_then(|(_, before)| before);
        }
        let mut stretch = vec![0; n];
        for window in chain {
            (0..n).filter(|&v| self.at[v] > window.high).for_each(|v| stretch[v] += 1);
            window.after.iter().for_each(|&v| stretch[v] += 1);
        }
        let mut takers = vec![Takers::None; n];
        for u in 0..n {
            for &Use { a, .. } in self.search.flow.uses(u) {
                if stretch[a] < stretch[u] && !self.search.flow.is_source(a) {
                    takers[a] = Takers::Later;
                }
            }
        }
        Split { stretch, takers }
    }
}

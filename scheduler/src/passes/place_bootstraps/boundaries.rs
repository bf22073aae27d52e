//! Boundaries of a potential ([`super::flow`]), chosen by dynamic programming, each a minimum cut.
//!
//! A *window* `(i0, i)` is a boundary that may be anywhere between the two: what is canonical up to `i0` comes before it, what is after `i` comes after it, and
//! in between the cheapest set of values with all uses across is found ([`min_cut`](crate::passes::min_cut)). So 16 rotations of a value cost one bootstrap of it.
//! From one window to the next, and to the end,
//!
//! ```text
//! (h0, h) before (i0, i)  if  h <= i0, h < i, i - h0 <= levels that are returned        at most i - h0 are taken in between
//!
//! best(i0, i) = min  best(h0, h) + operations in (h, i] at the levels up to i + bootstraps at (i0, i) of what has none yet
//! ```
//!
//! A value that crosses several boundaries is bootstrapped once: levels fall along paths, and a bootstrap waits for its use. Sources cross for nothing.
//! Real values are half a bootstrap each, and an odd one a whole.

use std::collections::BTreeMap;

use super::flow::{Split, Takers, Use};
use super::search::Search;
use crate::passes::min_cut::{FORBIDDEN, Graph, NO, YES};

/// The widest window: wider ones find little more, and cost a minimum cut each.
const WIDEST: u32 = 6;

/// What crosses a boundary.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    /// Of bootstraps, half of it for real values.
    price: u64,
    /// How many are real.
    real: u64,
    /// How many cannot be bootstrapped.
    fixed: u64,
}

impl Load {
    fn plus(self, other: Self) -> Self {
        let Self { price, real, fixed } = other;
        Self { price: self.price + price, real: self.real + real, fixed: self.fixed + fixed }
    }

    fn minus(self, other: Self) -> Self {
        let minus = u64::saturating_sub;
        let (price, real) = (minus(self.price, other.price), minus(self.real, other.real));
        Self { price, real, fixed: minus(self.fixed, other.fixed) }
    }
}

/// A window with its cut.
struct Window {
    low: u32,
    high: u32,
    /// What is bootstrapped there, without what comes from below the window and goes on beyond it.
    load: Load,
    /// Of what of the window is bootstrapped there and used beyond `high + k` too, by `k`.
    beyond: Vec<Load>,
    /// The values of the window that come after the boundary.
    after: Vec<usize>,
    /// What their operations cost if the next boundary is `k` above this one, by `k`.
    moved: Vec<u64>,
    /// Up to here, with what went before.
    best: Option<(u64, Option<usize>)>,
}

/// The boundaries of a potential.
pub(super) struct Boundaries<'a> {
    search: &'a Search<'a>,
    /// Where the canonical form of each value is.
    at: Vec<u32>,
    /// Where the last use of each value is.
    last: Vec<u32>,
    movable: Vec<bool>,
    /// The values of each place.
    layers: Vec<Vec<usize>>,
    /// By `i` and `w`: what is up to `i - w` and used beyond `i`.
    crossing: Vec<Vec<Load>>,
    /// Half a bootstrap of the dearest real value.
    half: u64,
    /// By value and `k`: what its operations cost if the boundary is `k` above it.
    own: Vec<Vec<u64>>,
    /// The same by place.
    operations: Vec<Vec<u64>>,
    /// Nodes of the window at hand.
    nodes: Vec<usize>,
}

impl<'a> Boundaries<'a> {
    pub(super) fn new(search: &'a Search<'a>, potential: &[u32], reach: u32) -> Self {
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
        let own = |v: usize| (0..=fresh).map(|k| search.operation(v, k + flow.owes(v))).collect();
        let own: Vec<Vec<u64>> = (0..flow.n()).map(own).collect();
        let mut operations = vec![vec![0; fresh as usize + 1]; end + 1];
        for (own, at) in own.iter().zip(&at) {
            operations[*at as usize].iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
        }
        let mut out = Self {
            search,
            at,
            last,
            movable,
            layers,
            crossing: Vec::new(),
            half: (0..flow.n()).filter(|&v| search.real[v]).map(|v| search.share(v)).max().unwrap_or(0),
            own,
            operations,
            nodes: vec![0; flow.n()],
        };
        out.crossing = out.crossing();
        out
    }

    fn end(&self) -> u32 {
        self.layers.len() as u32 - 1
    }

    /// What it is to bootstrap a value.
    fn load(&self, v: usize) -> Load {
        match self.movable[v] {
            true => Load { price: self.search.share(v), real: u64::from(self.search.real[v]), fixed: 0 },
            false => Load { fixed: 1, ..Load::default() },
        }
    }

    /// See the field.
    fn crossing(&self) -> Vec<Vec<Load>> {
        let (end, widest) = (self.layers.len(), self.search.flow.limits.fresh as usize);
        let mut sums = vec![Load::default(); end];
        let mut own = vec![vec![Load::default(); widest + 1]; end];
        let ends =
            self.at.iter().zip(&self.last).enumerate().filter(|(v, _)| !self.search.flow.is_source(*v));
        for (v, (&at, &last)) in ends {
            let load = self.load(v);
            for i in at..last {
                let i = i as usize;
                sums[i] = sums[i].plus(load);
                if let Some(own) = own[i].get_mut(i - at as usize) {
                    *own = own.plus(load);
                }
            }
        }
        let up_to = |(mut left, own): (Load, Vec<Load>)| {
            let without = |own: Load| {
                let here = left;
                left = left.minus(own);
                here
            };
            own.into_iter().map(without).collect()
        };
        sums.into_iter().zip(own).map(up_to).collect()
    }

    /// What is up to `a` and used beyond `i`.
    fn crosses(&self, a: u32, i: u32) -> Option<Load> {
        self.crossing.get(i as usize)?.get((i - a) as usize).copied()
    }

    /// What it costs that this crosses a boundary, if it can.
    fn cost(&self, load: Load) -> Option<u64> {
        (load.fixed == 0).then(|| load.price + if load.real % 2 == 1 { self.half } else { 0 })
    }

    /// What the operations up to `i` cost that come after a window.
    fn between(&self, before: Option<&Window>, i: u32) -> u64 {
        let places = before.map_or(0, |window| window.high + 1)..=i;
        let here = |place: u32| self.operations.get(place as usize)?.get((i - place) as usize);
        let moved = before.and_then(|window| window.moved.get((i - window.high) as usize));
        places.filter_map(here).sum::<u64>() + moved.unwrap_or(&0)
    }

    /// The best way to the end.
    pub(super) fn cheapest(mut self) -> Option<Split> {
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
            Some((cost + self.between(Some(window), end), w))
        };
        let from = first_at.get(end.saturating_sub(limits.returned) as usize).copied().unwrap_or(0);
        let (_, last) = windows.iter().enumerate().skip(from).filter_map(after).min()?;
        Some(self.split(&windows, last))
    }

    /// The best way to a window: its cost, and the window before it.
    fn best(&self, windows: &[Window], first_at: &[usize], window: &Window) -> Option<(u64, Option<usize>)> {
        let limits = self.search.flow.limits;
        let (low, high) = (window.low, window.high);
        let load = window.load.plus(self.crosses(low, high)?);
        let all = self.cost(load)?;
        // Those that come after it are counted later.
        let later = window.moved.first().unwrap_or(&0);
        let fresh = (high <= limits.fresh).then(|| (self.between(None, high) - later + all, None));
        let from = first_at.get(high.saturating_sub(limits.returned) as usize).copied().unwrap_or(0);
        let before = windows.iter().enumerate().skip(from);
        let before =
            before.filter(|(_, w)| w.high <= low && w.high < high && high - w.low <= limits.returned);
        let after = before.filter_map(|(i, before)| {
            let beyond = before.beyond.get((high - before.high) as usize)?;
            let new = self.cost(load.minus(self.crosses(before.low, high)?.plus(*beyond)))?;
            let (cost, _) = before.best?;
            Some((cost + self.between(Some(before), high) - later + new, Some(i)))
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
        let (nodes, search, movable, last) = (&self.nodes, self.search, &self.movable, &self.last);
        let mut crosses = |graph: &mut Graph, from: usize, v: usize, to: usize| {
            if !movable[v] {
                return graph.edge(from, to, FORBIDDEN);
            }
            let cut = *crossing.entry(v).or_insert_with(|| {
                let cut = graph.node();
                graph.edge(from, cut, search.share(v));
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
        let after: Vec<usize> = inside.iter().copied().filter(|&v| !is_before(v)).collect();
        let moved = (0..=flow.limits.returned)
            .map(|k| after.iter().filter_map(|&v| self.own[v].get((high + k - self.at[v]) as usize)).sum());
        let mut window = Window {
            low,
            high,
            load: Load::default(),
            beyond: vec![Load::default(); flow.limits.returned as usize + 1],
            moved: moved.collect(),
            after,
            best: None,
        };
        for (&v, &cut) in &crossing {
            if yes[cut] || !is_before(v) || flow.is_source(v) {
                continue;
            }
            let load = self.load(v);
            window.load = window.load.plus(load);
            let ends = last[v].saturating_sub(high) as usize;
            if self.at[v] > low {
                window.beyond.iter_mut().take(ends).for_each(|sum| *sum = sum.plus(load));
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

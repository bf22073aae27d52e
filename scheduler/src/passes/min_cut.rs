//! The smallest cut of a directed graph between a source and a sink (Dinic 1970): phases of blocking flows along shortest paths.
//!
//! Here a node is a yes-or-no choice, an edge `a -> b` of capacity `c` the price of `a` yes and `b` no.

/// A capacity that no cut may take.
pub(super) const FORBIDDEN: u64 = u64::MAX / 4;

/// The node that is always yes.
pub(super) const YES: usize = 0;
/// The node that is always no.
pub(super) const NO: usize = 1;

struct Edge {
    to: usize,
    left: u64,
}

/// A graph with [`YES`] and [`NO`].
pub(super) struct Graph {
    /// Each edge is followed by its reverse.
    edges: Vec<Edge>,
    /// Edges by the node that they leave.
    leaving: Vec<Vec<usize>>,
}

impl Graph {
    /// The two fixed nodes alone.
    pub(super) fn new() -> Self {
        Self { edges: Vec::new(), leaving: vec![Vec::new(), Vec::new()] }
    }

    /// Another choice.
    pub(super) fn node(&mut self) -> usize {
        self.leaving.push(Vec::new());
        self.leaving.len() - 1
    }

    /// `a` yes and `b` no costs `price`.
    pub(super) fn edge(&mut self, a: usize, b: usize, price: u64) {
        for (from, to, left) in [(a, b, price), (b, a, 0)] {
            self.leaving[from].push(self.edges.len());
            self.edges.push(Edge { to, left });
        }
    }

    /// The choice of least price; of several the one with fewest yes.
    pub(super) fn solve(mut self) -> Vec<bool> {
        loop {
            let distance = self.distances();
            if distance[NO] == usize::MAX {
                return distance.into_iter().map(|d| d != usize::MAX).collect();
            }
            self.block(&distance);
        }
    }

    /// Edges from [`YES`] to each node over what is left.
    fn distances(&self) -> Vec<usize> {
        let mut distance = vec![usize::MAX; self.leaving.len()];
        distance[YES] = 0;
        let mut queue = std::collections::VecDeque::from([YES]);
        while let Some(node) = queue.pop_front() {
            for &edge in &self.leaving[node] {
                let Edge { to, left } = self.edges[edge];
                if left > 0 && distance[to] == usize::MAX {
                    distance[to] = distance[node] + 1;
                    queue.push_back(to);
                }
            }
        }
        distance
    }

    /// Sends flow along shortest paths until each has a full edge.
    fn block(&mut self, distance: &[usize]) {
        let mut next = vec![0usize; self.leaving.len()];
        let mut path: Vec<usize> = Vec::new();
        loop {
            let node = path.last().map_or(YES, |&edge| self.edges[edge].to);
            if node == NO {
                let flow = path.iter().map(|&edge| self.edges[edge].left).min().unwrap_or(0);
                for &edge in &path {
                    self.edges[edge].left -= flow;
                    self.edges[edge ^ 1].left += flow;
                }
                // On from the first edge that is full now.
                let full = path.iter().position(|&edge| self.edges[edge].left == 0);
                path.truncate(full.unwrap_or(0));
                continue;
            }
            let onward = self.leaving[node].get(next[node]);
            match onward {
                Some(&edge) => {
                    let Edge { to, left } = self.edges[edge];
                    if left > 0 && distance[to] == distance[node] + 1 {
                        path.push(edge);
                    } else {
                        next[node] += 1;
                    }
                }
                None => match path.pop() {
                    Some(edge) => next[self.edges[edge ^ 1].to] += 1,
                    None => return,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FORBIDDEN, Graph, NO, YES};
    use proptest::prelude::*;

    /// The price of a choice by its definition.
    fn price(edges: &[(usize, usize, u64)], yes: &[bool]) -> u64 {
        edges.iter().filter(|(a, b, _)| yes[*a] && !yes[*b]).map(|(_, _, price)| price).sum()
    }

    proptest! {
        #[test]
        fn no_other_choice_is_cheaper(
            n in 0usize..7,
            edges in prop::collection::vec((0usize..9, 0usize..9, prop_oneof![0u64..20, Just(FORBIDDEN >> 8)]), 0..30),
        ) {
            let all = n + 2;
            let edges: Vec<_> = edges.into_iter().map(|(a, b, c)| (a % all, b % all, c)).filter(|e| e.0 != e.1).collect();
            let mut graph = Graph::new();
            (0..n).for_each(|_| _ = graph.node());
            edges.iter().for_each(|&(a, b, c)| graph.edge(a, b, c));
            let found = graph.solve();
            prop_assert!(found[YES] && !found[NO]);
            let choices = (0u32..1 << n).map(|bits| {
                let mut yes = vec![true, false];
                yes.extend((0..n).map(|i| bits >> i & 1 == 1));
                price(&edges, &yes)
            });
            prop_assert_eq!(price(&edges, &found), choices.min().unwrap());
        }
    }
}

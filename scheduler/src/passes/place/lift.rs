//! Levels above the lowest, where that is predicted to be cheaper (docs/adr/0024).
//!
//! ```text
//! c(v) = level(v) - 1 if v owes a rescale, else level(v)          where the canonical form of v is
//! w(u) = level(u), one more for a transform                       where u takes its operands
//!
//! c(a) >= w(u) for every use; level(a) = level(u) where u takes a as a product
//!
//! price  =  sum of operations at their levels, with what they owe
//!         + once for each value and level at which it is taken: level_drop if that is below c, mod_up if it is rotated
//! ```
//!
//! The lowest levels are not always the cheapest: a sum before a drop saves the drops of all but one term; and where levels swap primes (docs/adr/0014)
//! a lower one may have more digits, of which each costs a conversion to all limbs.
//!
//! A *move* lifts some values by `k` levels and leaves the others. With all others fixed its price is a sum of prices of "x is lifted and y is not", so the
//! best move is a minimum cut (`min_cut`), up to two values that meet or part where both may move, of which the dearer is charged. Moves are made while the price falls: of all
//! values, and of those of one level.

use std::collections::BTreeMap;

use fhe_core::params::{Level, Params};

use super::prices::{Drops, Prices};
use super::{CANONICAL, Shape, interface, operand_shape, output_levels};
use crate::ckks_ir::{Function, Op, Scale, ValueId};
use crate::cost::Owed;
use crate::error::Result;
use crate::passes::min_cut::{FORBIDDEN, Graph, NO, YES};

/// How far a move lifts: rational chains repeat the shapes of their levels after three.
const STEPS: [u32; 3] = [1, 2, 3];
/// Rounds of moves. Each but the last is cheaper than the one before.
const ROUNDS: usize = 8;

/// Levels that are cheaper than these, the lowest; none where none are found.
///
/// # Errors
/// [`crate::Error::Core`].
pub(super) fn lift(
    function: &Function,
    shapes: &[Shape],
    lowest: &[Level],
    params: &Params,
) -> Result<Option<Vec<Level>>> {
    let lowest: Vec<u32> = lowest.iter().map(|level| level.0).collect();
    let prices = &Prices::new(params)?;
    let rise = prices.rise();
    if rise && !drops_somewhere(function, shapes, &lowest) {
        return Ok(None);
    }
    let drops = Drops::new(params)?;
    let model = Model::new(function, shapes, prices, &drops, params, rise)?;
    let mut levels = lowest.clone();
    let mut least = model.price(&levels);
    for _ in 0..ROUNDS {
        let before = least;
        let highest = levels.iter().copied().max().unwrap_or(0);
        let groups = core::iter::once(None).chain((0..=highest).map(Some));
        for (group, by) in groups.flat_map(|group| STEPS.map(|by| (group, by))) {
            let moved = Move { model: &model, levels: &levels, by, group }.best();
            if let Some((price, moved)) = moved.map(|moved| (model.price(&moved), moved))
                && price < least
            {
                (least, levels) = (price, moved);
            }
        }
        if least == before {
            break;
        }
    }
    Ok((levels != lowest).then(|| levels.into_iter().map(Level).collect()))
}

/// Whether some value is taken below the level of its canonical form.
fn drops_somewhere(function: &Function, shapes: &[Shape], levels: &[u32]) -> bool {
    let drops = |id: ValueId| {
        let op = function.value(id).op;
        let wanted = levels[id.0 as usize] + within(&op);
        operand_shape(&op, shapes[id.0 as usize]).scale == Scale::Canonical
            && op.operands().any(|a| levels[a.0 as usize] > wanted + owes(shapes, a))
    };
    let outputs = function.outputs.iter().zip(output_levels(function));
    let mut outputs = outputs.map(|(o, level)| levels[o.value.0 as usize] > level.0 + owes(shapes, o.value));
    function.ids().any(drops) || outputs.any(|drops| drops)
}

fn owes(shapes: &[Shape], id: ValueId) -> u32 {
    u32::from(shapes[id.0 as usize].scale == Scale::Product)
}

/// Levels that an operation takes itself.
fn within(op: &Op) -> u32 {
    u32::from(matches!(op, Op::LinearTransform(..)))
}

/// Who takes a canonical form, and where.
#[derive(Clone, Copy)]
struct Use {
    user: Taker,
    way: Way,
    rotates: bool,
}

#[derive(Clone, Copy)]
enum Taker {
    /// At the level of this value, and so many above.
    Value(ValueId, u32),
    /// At a level that is fixed.
    At(u32),
}

/// What a user can do about a level drop.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// Nothing: it takes a form that is made once.
    Form,
    /// A product by a constant forgets limbs.
    Forgets(ValueId),
    /// A sum with a rescale takes it before that.
    Joins(ValueId),
}

pub(super) struct Model<'a> {
    function: &'a Function,
    shapes: &'a [Shape],
    prices: &'a Prices,
    drops: &'a Drops,
    /// Those of a value's canonical form.
    uses: Vec<Vec<Use>>,
    owed: Vec<Owed>,
    /// The highest level of each value that may move.
    limits: Vec<Option<u32>>,
}

impl<'a> Model<'a> {
    pub(super) fn new(
        function: &'a Function,
        shapes: &'a [Shape],
        prices: &'a Prices,
        drops: &'a Drops,
        params: &Params,
        rise: bool,
    ) -> Result<Self> {
        let n = function.values.len();
        let mut uses: Vec<Vec<Use>> = vec![Vec::new(); n];
        let (highest, working) = (params.max_level().0, params.working_level().0);
        // What a client encrypts is no smaller than it was asked for where functions say at which level they begin.
        let of_input = (!rise && function.interface.is_none()).then_some(working);
        let mut limits: Vec<Option<u32>> = Vec::with_capacity(n);
        let users = function.users();
        let returned = function.returned();
        let alone = |a: ValueId| users[a.0 as usize].len() == 1 && !returned[a.0 as usize];
        for id in function.ids() {
            let op = function.value(id).op;
            // What is written stays as it is, and what it is of.
            if let Op::Relinearize(a) | Op::Rescale(a) = op {
                limits[a.0 as usize] = None;
            }
            limits.push(match op {
                Op::Input(_) => of_input,
                Op::Result(..) | Op::ModRaise(..) | Op::Bootstrap(..) => None,
                Op::LevelDrop(..) | Op::Relinearize(_) | Op::Rescale(_) => None,
                _ => Some(highest),
            });
            let mut take = |a: ValueId, user, way, rotates| {
                uses[a.0 as usize].push(Use { user, way, rotates });
            };
            match op {
                Op::Result(c, _) => {
                    let call = &function.calls[c.0 as usize];
                    let levels = &interface(function, call)?.inputs;
                    call.arguments
                        .iter()
                        .zip(levels)
                        .for_each(|(&a, level)| take(a, Taker::At(level.0), Way::Form, false));
                }
                Op::ModRaise(a, ..) | Op::Bootstrap(a, _) => take(a, Taker::At(0), Way::Form, false),
                Op::LevelDrop(a, level) => take(a, Taker::At(level.0), Way::Form, false),
                op if operand_shape(&op, shapes[id.0 as usize]) == CANONICAL => {
                    let joins = |other: ValueId| owes(shapes, other) == 1 && alone(other);
                    let rotates = matches!(op, Op::Rotate(..) | Op::Conjugate(_));
                    for a in op.operands() {
                        let way = match op {
                            Op::MulPlain(..) | Op::MulScalar(..) => Way::Forgets(id),
                            Op::Add(x, y) | Op::Sub(x, y) if joins(if a == x { y } else { x }) => {
                                Way::Joins(id)
                            }
                            _ => Way::Form,
                        };
                        take(a, Taker::Value(id, within(&op)), way, rotates);
                    }
                }
                _ => {}
            }
        }
        for (output, level) in function.outputs.iter().zip(output_levels(function)) {
            // It takes what was written.
            if !matches!(function.value(output.value).op, Op::LevelDrop(..)) {
                let (user, way) = (Taker::At(level.0), Way::Form);
                uses[output.value.0 as usize].push(Use { user, way, rotates: false });
            }
        }
        let once = |(shape, uses): (&Shape, &Vec<Use>)| Owed {
            rescale: !uses.is_empty() && shape.scale == Scale::Product,
            relinearize: !uses.is_empty() && shape.degree > 1,
        };
        let owed = shapes.iter().zip(&uses).map(once).collect();
        Ok(Self { function, shapes, prices, drops, uses, owed, limits })
    }

    /// The level of the canonical form.
    fn canonical(&self, levels: &[u32], id: ValueId) -> u32 {
        levels[id.0 as usize] - owes(self.shapes, id)
    }

    fn own(&self, id: ValueId, level: u32) -> u64 {
        let (op, owed) = (&self.function.value(id).op, self.owed[id.0 as usize]);
        self.prices.own(self.function, op, owed, level)
    }

    /// What one way from a canonical form to a user costs.
    fn drop(&self, way: Way, from: u32, to: u32) -> u64 {
        match way {
            _ if from <= to => 0,
            Way::Forgets(_) if self.drops.absorbs(from, to) => 0,
            // A product by 1 that is a term of the sum, which reads its rows in any case (`scalars_in_sums`).
            Way::Joins(_) if self.drops.absorbs(from, to + 1) => 0,
            _ => self.drops.cost(from, to),
        }
    }

    /// Whether values can be at such levels.
    #[cfg(test)]
    pub(super) fn fits(&self, levels: &[u32], lowest: &[Level]) -> bool {
        let fits = |id: ValueId| {
            let (i, op) = (id.0 as usize, self.function.value(id).op);
            let allows = |a: ValueId| match operand_shape(&op, self.shapes[i]) == CANONICAL {
                true => self.canonical(levels, a) >= levels[i] + within(&op),
                false => levels[a.0 as usize] == levels[i],
            };
            let moves = self.limits[i].map_or(levels[i] == lowest[i].0, |limit| levels[i] <= limit);
            moves && op.operands().all(allows)
        };
        self.function.ids().all(fits)
    }

    /// Of a function at such levels.
    pub(super) fn price(&self, levels: &[u32]) -> u64 {
        let of_value = |id: ValueId| {
            let c = self.canonical(levels, id);
            let mut ways: Vec<(u32, Way, bool)> =
                self.uses[id.0 as usize].iter().map(|of| (of.level(levels), of.way, of.rotates)).collect();
            ways.sort_unstable();
            let mut rotated: Vec<u32> = ways.iter().filter(|way| way.2).map(|way| way.0).collect();
            rotated.dedup();
            ways.dedup_by_key(|way| (way.0, way.1));
            let drops = ways.into_iter().map(|(w, way, _)| self.drop(way, c, w));
            let mod_ups = rotated.into_iter().map(|w| self.prices.at(w).mod_up());
            self.own(id, levels[id.0 as usize]) + drops.chain(mod_ups).sum::<u64>()
        };
        self.function.ids().map(of_value).sum()
    }
}

impl Use {
    fn level(&self, levels: &[u32]) -> u32 {
        match self.user {
            Taker::Value(u, within) => levels[u.0 as usize] + within,
            Taker::At(level) => level,
        }
    }
}

/// The choice which values are lifted by some levels: of all, or of those whose canonical form is at one level.
struct Move<'a> {
    model: &'a Model<'a>,
    levels: &'a [u32],
    by: u32,
    group: Option<u32>,
}

/// The users that take a value at one level in one way: those that may be lifted, and whether others stay there.
#[derive(Default)]
struct Takers {
    nodes: Vec<usize>,
    stays: bool,
}

impl Move<'_> {
    /// The levels after the cheapest choice; none where nothing is lifted.
    fn best(&self) -> Option<Vec<u32>> {
        let free = self.free();
        let mut graph = Graph::new();
        let nodes: Vec<Option<usize>> = free.iter().map(|&free| free.then(|| graph.node())).collect();
        if nodes.iter().all(Option::is_none) {
            return None;
        }
        for id in self.model.function.ids() {
            self.value(id, &nodes, &mut graph);
        }
        let yes = graph.solve();
        let mut levels = self.levels.to_vec();
        for (level, node) in levels.iter_mut().zip(&nodes) {
            if node.is_some_and(|node| yes[node]) {
                *level += self.by;
            }
        }
        (levels != self.levels).then_some(levels)
    }

    /// Which values may be lifted if all others are that may.
    fn free(&self) -> Vec<bool> {
        let Self { model, levels, by, group } = *self;
        let mut free: Vec<bool> = Vec::with_capacity(levels.len());
        for id in model.function.ids() {
            let i = id.0 as usize;
            let op = model.function.value(id).op;
            let takes_form = operand_shape(&op, model.shapes[i]) == CANONICAL;
            let allows = |a: ValueId| {
                let j = a.0 as usize;
                let there = model.canonical(levels, a) >= levels[i] + within(&op) + by;
                free[j] || (takes_form && there)
            };
            let of_group = group.is_none_or(|level| model.canonical(levels, id) == level);
            let within_limit = model.limits[i].is_some_and(|limit| levels[i] + by <= limit);
            free.push(of_group && within_limit && op.operands().all(allows));
        }
        free
    }

    /// The prices of a value, and of the forms that are taken of it.
    fn value(&self, id: ValueId, nodes: &[Option<usize>], graph: &mut Graph) {
        let Self { model, levels, by, .. } = *self;
        let (i, op) = (id.0 as usize, model.function.value(id).op);
        if let Some(node) = nodes[i] {
            let (low, high) = (model.own(id, levels[i]), model.own(id, levels[i] + by));
            graph.edge(node, NO, high.saturating_sub(low));
            graph.edge(YES, node, low.saturating_sub(high));
        }
        // A product that is taken as one is where its user is.
        if operand_shape(&op, model.shapes[i]) != CANONICAL {
            for a in op.operands() {
                let (x, y) = (nodes[i].unwrap_or(NO), nodes[a.0 as usize].unwrap_or(NO));
                graph.edge(x, y, FORBIDDEN);
                graph.edge(y, x, FORBIDDEN);
            }
        }
        if nodes[i].is_none() && model.uses[i].iter().all(|of| of.node(nodes).is_none()) {
            return;
        }
        let mut forms: BTreeMap<(u32, Way), Takers> = BTreeMap::new();
        let mut rotated: BTreeMap<u32, Takers> = BTreeMap::new();
        for of in &model.uses[i] {
            let w = of.level(levels);
            forms.entry((w, of.way)).or_default().add(of.node(nodes));
            if of.rotates {
                rotated.entry(w).or_default().add(of.node(nodes));
            }
        }
        for (&(w, way), takers) in &forms {
            let there = forms.get(&(w + by, way)).is_some_and(|others| others.stays);
            self.form(id, (w, way), takers, there, nodes, graph);
        }
        for (&w, takers) in &rotated {
            let there = rotated.get(&(w + by)).is_some_and(|others| others.stays);
            takers.any_stays(model.prices.at(w).mod_up(), graph);
            if !there {
                takers.any_moves(model.prices.at(w + by).mod_up(), graph);
            }
        }
    }

    /// What a form of a value costs that some users take at level `w`, and the one that they take if they are lifted, unless it is there.
    fn form(
        &self,
        id: ValueId,
        (w, way): (u32, Way),
        takers: &Takers,
        there: bool,
        nodes: &[Option<usize>],
        graph: &mut Graph,
    ) {
        let Self { model, levels, by, .. } = *self;
        let (c, node) = (model.canonical(levels, id), nodes[id.0 as usize]);
        let here = model.drop(way, c, w);
        let some_stay = takers.any_stays(here, graph);
        if let Some(node) = node {
            let more = model.drop(way, c + by, w).saturating_sub(here);
            // Where one is sure to stay, lifting the value costs it.
            graph.edge(node, some_stay.unwrap_or(NO), more);
        }
        if w + by > c {
            // It must be lifted with them.
            takers.nodes.iter().for_each(|&user| graph.edge(user, node.unwrap_or(NO), FORBIDDEN));
        }
        if there || w == c {
            return;
        }
        let low = if w + by <= c { model.drop(way, c, w + by) } else { 0 };
        let high = if node.is_some() { model.drop(way, c + by, w + by) } else { 0 };
        takers.any_moves(low.max(high), graph);
    }
}

impl Use {
    fn node(&self, nodes: &[Option<usize>]) -> Option<usize> {
        match self.user {
            Taker::Value(u, _) => nodes[u.0 as usize],
            Taker::At(_) => None,
        }
    }
}

impl Takers {
    fn add(&mut self, node: Option<usize>) {
        match node {
            Some(node) => self.nodes.push(node),
            None => self.stays = true,
        }
    }

    /// A price that is paid unless all are lifted; the node that is no then. None where one stays in any case: then it is no choice.
    fn any_stays(&self, price: u64, graph: &mut Graph) -> Option<usize> {
        if self.stays {
            return None;
        }
        let all_moved = graph.node();
        graph.edge(YES, all_moved, price);
        self.nodes.iter().for_each(|&user| graph.edge(all_moved, user, FORBIDDEN));
        Some(all_moved)
    }

    /// A price that is paid if one is lifted.
    fn any_moves(&self, price: u64, graph: &mut Graph) {
        if self.nodes.is_empty() || price == 0 {
            return;
        }
        let moved = graph.node();
        self.nodes.iter().for_each(|&user| graph.edge(user, moved, FORBIDDEN));
        graph.edge(moved, NO, price);
    }
}

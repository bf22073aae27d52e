//! Where key switches divide by `P`: as late as it pays. What is linear may be computed on raised values, before the division
//! (`mod_down`), so that a sum divides once (double hoisting: Bossuat et al., ePrint 2020/1203, section 4), and a rescale that
//! follows divides at the same time (docs/adr/0007, docs/adr/0010).
//!
//! Each value of degree 1 that is a key switch or linear in such is raised or not, and each rescale takes its operand raised or not.
//! The price of a choice is a sum over values `a` and their users:
//!
//! ```text
//! a raised, a user that wants it low              mod_down(a), once
//! a low, a sum that is raised                     P a, once
//! a raised product or sum                         its rows over the special primes
//! a rescale of what is raised                     mod_down_rescale - rescale
//! ```
//!
//! A key switch that is wanted raised costs nothing of its own: its inner products add c_0 times P (docs/adr/0023), where one that is divided
//! adds c_0 at the end. Those of a rotation write where the automorphism has the words: their stores scatter. What is left of its price is
//! that of its users.
//!
//! Every term is a price of "x yes and y no", so the cheapest choice is a minimum cut (`super::min_cut`). It changes bits, so it
//! is made before the freeze, with the committed costs ([`crate::cost`]).

use std::collections::BTreeMap;

use fhe_core::params::Params;

use super::min_cut::{FORBIDDEN, Graph, NO, YES};
use crate::ckks_ir::verify::divides_at_once;
use crate::ckks_ir::{Function, Kind, Op, Value, ValueId};
use crate::cost::LevelCosts;
use crate::error::Result;
use crate::poly_ir::log_repeat;

/// What a value is to this pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A key switch: made raised.
    Switch,
    /// Linear in its operands, all of degree 1.
    Linear,
    /// Divides by the removed primes.
    Rescale,
    /// Takes and gives low values only.
    Fixed,
}

/// Raises what is cheaper raised. A function without kinds, or where something is raised already, stays as it is.
///
/// # Errors
/// [`crate::Error::Core`] when a level is not there.
pub fn raise(function: &Function, params: &Params) -> Result<Function> {
    let is_raised = |value: &Value| value.kind.is_some_and(|kind| kind.raised);
    if function.values.iter().any(is_raised) {
        return Ok(function.clone());
    }
    let costs = LevelCosts::table(params)?;
    let roles: Vec<Role> = function.ids().map(|id| role(function, id)).collect();
    let needed_low = needed_low(function, &roles);
    let mut raised = vec![false; function.values.len()];
    for component in components(function, &roles) {
        let choice = Choice::new(function, params, &costs, &roles, &component, &needed_low);
        for (&id, yes) in component.iter().zip(choice.solve()) {
            raised[id.0 as usize] = yes;
        }
    }
    Ok(rewrite(function, &roles, &raised))
}

fn role(function: &Function, id: ValueId) -> Role {
    let Value { op, kind: Some(_), .. } = function.value(id) else { return Role::Fixed };
    let low = |a: ValueId| function.value(a).kind.is_some_and(|kind| kind.degree == 1);
    let level = |a: ValueId| function.value(a).kind.map(|kind| kind.level);
    let here = |a: ValueId| level(a) == level(id);
    match op {
        Op::Rotate(..) | Op::Conjugate(_) | Op::Relinearize(_) => Role::Switch,
        Op::Add(..) | Op::Sub(..) | Op::Neg(_) | Op::MulPlain(..) | Op::MulScalar(..)
            if op.operands().all(|a| low(a) && here(a)) =>
        {
            Role::Linear
        }
        Op::Rescale(_) => Role::Rescale,
        _ => Role::Fixed,
    }
}

/// The values that are chosen together, operands first: those that a key switch reaches through linear ones and rescales, with
/// what they are added to.
fn components(function: &Function, roles: &[Role]) -> Vec<Vec<ValueId>> {
    let mut parent: Vec<u32> = (0..function.values.len() as u32).collect();
    fn find(parent: &mut [u32], mut at: u32) -> u32 {
        while parent[at as usize] != at {
            let up = parent[parent[at as usize] as usize];
            parent[at as usize] = up;
            at = up;
        }
        at
    }
    for id in function.ids() {
        if !matches!(roles[id.0 as usize], Role::Linear | Role::Rescale) {
            continue;
        }
        for a in function.value(id).op.operands() {
            if matches!(roles[a.0 as usize], Role::Linear | Role::Switch) {
                let (x, y) = (find(&mut parent, id.0), find(&mut parent, a.0));
                parent[x.max(y) as usize] = x.min(y);
            }
        }
    }
    let mut members: BTreeMap<u32, Vec<ValueId>> = BTreeMap::new();
    for id in function.ids().filter(|id| roles[id.0 as usize] != Role::Fixed) {
        members.entry(find(&mut parent, id.0)).or_default().push(id);
    }
    let switches = |ids: &Vec<ValueId>| ids.iter().any(|id| roles[id.0 as usize] == Role::Switch);
    members.into_values().filter(|ids| ids.len() > 1 && switches(ids)).collect()
}

/// The cut of one component.
struct Choice<'a> {
    function: &'a Function,
    costs: &'a [LevelCosts],
    roles: &'a [Role],
    graph: Graph,
    component: &'a [ValueId],
    /// The node of each member.
    nodes: BTreeMap<ValueId, usize>,
    /// "It is needed low", "it is needed raised", by value: paid once for all users.
    lowered: BTreeMap<ValueId, usize>,
    lifted: BTreeMap<ValueId, usize>,
}

impl<'a> Choice<'a> {
    fn new(
        function: &'a Function,
        params: &Params,
        costs: &'a [LevelCosts],
        roles: &'a [Role],
        component: &'a [ValueId],
        needed_low: &[bool],
    ) -> Self {
        let mut graph = Graph::new();
        let nodes = component.iter().map(|&id| (id, graph.node())).collect();
        let (lowered, lifted) = (BTreeMap::new(), BTreeMap::new());
        let mut choice = Self { function, costs, roles, graph, component, nodes, lowered, lifted };
        for &id in component {
            choice.member(id, params);
        }
        for &id in component.iter().filter(|id| needed_low[id.0 as usize]) {
            if let Some(lowered) = choice.lowered(id) {
                choice.graph.edge(lowered, NO, FORBIDDEN);
            }
        }
        choice
    }

    /// Whether each member is raised, or takes its operand raised.
    fn solve(self) -> Vec<bool> {
        let yes = self.graph.solve();
        self.component.iter().map(|id| yes[self.nodes[id]]).collect()
    }

    fn cost(&self, id: ValueId) -> &'a LevelCosts {
        let level = self.function.value(id).kind.map_or(0, |kind| kind.level.0 as usize);
        &self.costs[level.min(self.costs.len() - 1)]
    }

    fn node_of(&self, a: ValueId) -> Option<usize> {
        self.nodes.get(&a).copied().filter(|_| self.roles[a.0 as usize] != Role::Rescale)
    }

    fn member(&mut self, id: ValueId, params: &Params) {
        let (node, op) = (self.nodes[&id], self.function.value(id).op);
        match (self.roles[id.0 as usize], op) {
            (Role::Switch, _) => self.graph.edge(YES, node, FORBIDDEN),
            (Role::Linear, Op::Add(a, b) | Op::Sub(a, b)) => {
                let product = |a| matches!(self.function.value(a).op, Op::MulPlain(..) | Op::Mul(..));
                // Added where the product is made: one inner product.
                let fused = product(a) || product(b);
                let rows = if fused { 0 } else { self.cost(id).special_rows(6) };
                self.graph.edge(node, NO, rows);
                for a in [a, b] {
                    self.wants_low_unless(a, node);
                    let lifted = self.lifted(a);
                    self.graph.edge(node, lifted, FORBIDDEN);
                }
            }
            (Role::Linear, op) => {
                // Of a plaintext that is stored once a run of equal values next to nothing is read.
                let plain = match op {
                    Op::MulPlain(_, c) => {
                        let period = self.function.constants.get(c.0 as usize);
                        let period = period.map_or(1, |c| c.period(self.function.variants));
                        u64::from(log_repeat(params, period) == 0)
                    }
                    _ => 1,
                };
                self.graph.edge(node, NO, self.cost(id).special_rows(2 + plain));
                op.operands().for_each(|a| self.follows(node, a));
            }
            (_, op) => {
                let Some(a) = op.operands().next() else { return };
                let at_once = self.function.value(a).kind.is_some_and(|k| divides_at_once(params, k.level));
                let cost = self.cost(a);
                let more = cost.mod_down_rescale().saturating_sub(cost.rescale());
                self.graph.edge(node, NO, if at_once { more } else { FORBIDDEN });
                self.follows(node, a);
            }
        }
    }

    /// Raised needs its operand raised, low needs it low.
    fn follows(&mut self, node: usize, a: ValueId) {
        match self.node_of(a) {
            Some(operand) => self.graph.edge(node, operand, FORBIDDEN),
            None => self.graph.edge(node, NO, FORBIDDEN),
        }
        if self.roles[a.0 as usize] == Role::Switch {
            let lifted = self.lifted(a);
            self.graph.edge(node, lifted, FORBIDDEN);
        }
        self.wants_low_unless(a, node);
    }

    /// The user `node` wants `a` low unless it is raised itself.
    fn wants_low_unless(&mut self, a: ValueId, node: usize) {
        if let Some(lowered) = self.lowered(a) {
            self.graph.edge(lowered, node, FORBIDDEN);
        }
    }

    /// The node that is no when a user wants `a` low; none where `a` is always low.
    fn lowered(&mut self, a: ValueId) -> Option<usize> {
        let own = self.node_of(a)?;
        if let Some(&node) = self.lowered.get(&a) {
            return Some(node);
        }
        let node = self.graph.node();
        self.graph.edge(own, node, self.cost(a).mod_down());
        self.lowered.insert(a, node);
        Some(node)
    }

    /// The node that is yes when a user wants `a` raised.
    fn lifted(&mut self, a: ValueId) -> usize {
        if let Some(&node) = self.lifted.get(&a) {
            return node;
        }
        let node = self.graph.node();
        let cost = self.cost(a);
        match (self.roles[a.0 as usize], self.node_of(a), self.function.value(a).op) {
            (Role::Switch, _, Op::Relinearize(_)) => {}
            // The automorphism is where sums are written.
            (Role::Switch, ..) => self.graph.edge(node, NO, cost.scattered()),
            (_, Some(own), _) => self.graph.edge(node, own, cost.rows(4, false)),
            (_, None, _) => self.graph.edge(node, NO, cost.rows(4, false)),
        }
        self.lifted.insert(a, node);
        node
    }
}

/// What is returned, or read by what takes low values only.
fn needed_low(function: &Function, roles: &[Role]) -> Vec<bool> {
    let mut needed = function.returned();
    for id in function.ids().filter(|id| matches!(roles[id.0 as usize], Role::Fixed | Role::Switch)) {
        function.needs(&function.value(id).op).for_each(|a| needed[a.0 as usize] = true);
    }
    needed
}

/// The function with that choice.
fn rewrite(function: &Function, roles: &[Role], raised: &[bool]) -> Function {
    let mut out = Function { values: Vec::with_capacity(function.values.len()), ..function.clone() };
    let mut forms = Forms { own: Vec::new(), low: BTreeMap::new() };
    let used_raised = used_raised(function, roles, raised);
    for id in function.ids() {
        let value = function.value(id);
        if let Op::Result(c, _) = value.op {
            let arguments: Vec<ValueId> = function.needs(&value.op).map(|a| forms.low(a, &mut out)).collect();
            out.calls[c.0 as usize].arguments = arguments;
        }
        let wants = raised[id.0 as usize] && value.op.operands().any(|a| forms.is_raised(a, &out));
        let (op, up) = match roles[id.0 as usize] {
            Role::Switch => (value.op.map(|a| forms.low(a, &mut out)), used_raised[id.0 as usize]),
            Role::Linear if wants => (value.op.map(|a| forms.own[a.0 as usize]), true),
            Role::Rescale if wants => match value.op {
                Op::Rescale(a) => (Op::ModDownRescale(forms.own[a.0 as usize]), false),
                op => (op.map(|a| forms.low(a, &mut out)), false),
            },
            _ => (value.op.map(|a| forms.low(a, &mut out)), false),
        };
        let kind = value.kind.map(|kind| Kind { raised: up || kind.raised, ..kind });
        forms.own.push(out.push_like(value, op, kind));
    }
    let outputs: Vec<ValueId> = function.outputs.iter().map(|o| forms.low(o.value, &mut out)).collect();
    for (output, value) in out.outputs.iter_mut().zip(outputs) {
        output.value = value;
    }
    out
}

/// The key switches that a user takes raised.
fn used_raised(function: &Function, roles: &[Role], raised: &[bool]) -> Vec<bool> {
    let mut used = vec![false; function.values.len()];
    for id in function.ids().filter(|id| raised[id.0 as usize] && roles[id.0 as usize] != Role::Switch) {
        function.value(id).op.operands().for_each(|a| used[a.0 as usize] = true);
    }
    used
}

struct Forms {
    /// The new id of each old value.
    own: Vec<ValueId>,
    /// Those of raised ones after `mod_down`.
    low: BTreeMap<ValueId, ValueId>,
}

impl Forms {
    fn is_raised(&self, old: ValueId, out: &Function) -> bool {
        out.value(self.own[old.0 as usize]).kind.is_some_and(|kind| kind.raised)
    }

    fn low(&mut self, old: ValueId, out: &mut Function) -> ValueId {
        let id = self.own[old.0 as usize];
        match out.value(id).kind {
            Some(kind) if kind.raised => {
                let low = Kind { raised: false, ..kind };
                *self.low.entry(old).or_insert_with(|| out.push_form(id, Op::ModDown(id), Some(low)))
            }
            _ => id,
        }
    }
}

//! Bootstraps as calls of what bootstrapping is ([`crate::dsl`] has it as a program), so that it is compiled once for all of a function's: each
//! is at the same levels.
//!
//! Two ciphertexts of real slots are bootstrapped as real and imaginary part of one (CKKS.md: "two real ciphertexts in one"), where neither
//! needs the other. What a value is after `k` bootstraps needs no more than `k`; so functions are ordered by that first, and those of one `k` go in pairs, in
//! order.
//!
//! The period of a message decides how much bootstrapping has to do: a short one has half as many coefficients to reduce as slots.

use std::collections::BTreeMap;

use fhe_core::params::{Level, Params};

use super::realness;
use crate::ckks_ir::{Call, CallIdx, CalleeIdx, Expansion, Function, Op, Value, ValueId};
use crate::dsl::Bootstrapping;
use crate::error::Result;

/// Expands every bootstrap of a function without kinds.
///
/// # Errors
/// [`crate::Error::Core`]: why these parameters cannot bootstrap.
pub fn expand_bootstraps(function: &Function, params: &Params) -> Result<Function> {
    let is_bootstrap = |id: &ValueId| matches!(function.value(*id).op, Op::Bootstrap(..));
    if !function.ids().any(|id| is_bootstrap(&id)) {
        return Ok(function.clone());
    }
    let depth = n_bootstraps(function);
    let mut order: Vec<ValueId> = function.ids().collect();
    let pairs = pairs(function, &depth);
    if !pairs.is_empty() {
        order.sort_by_key(|id| depth[id.0 as usize]);
    }
    let mut expansion = Expander {
        params,
        out: Function { values: Vec::new(), ..function.clone() },
        known: BTreeMap::new(),
        results: BTreeMap::new(),
    };
    let mut new = vec![ValueId(0); function.values.len()];
    for id in order {
        let value = function.value(id);
        let op = value.op.map(|a| new[a.0 as usize]);
        let op = match value.op {
            Op::Bootstrap(..) => {
                let group = pairs.get(&id).map_or_else(|| vec![id], |&(first, second)| vec![first, second]);
                let argument = |&id: &ValueId| match function.value(id).op {
                    Op::Bootstrap(a, period) => Some((new[a.0 as usize], period)),
                    _ => None,
                };
                let arguments: Vec<(ValueId, u32)> = group.iter().filter_map(argument).collect();
                let at = usize::from(group[0] != id);
                expansion.bootstrap(function, group[0], &arguments, at)?
            }
            Op::Result(c, _) => {
                let call = &mut expansion.out.calls[c.0 as usize];
                call.arguments = function.needs(&op).map(|a| new[a.0 as usize]).collect();
                op
            }
            _ => op,
        };
        new[id.0 as usize] = expansion.out.push_like(value, op, None);
    }
    let mut out = expansion.out;
    for output in &mut out.outputs {
        output.value = new[output.value.0 as usize];
    }
    Ok(out)
}

/// How many bootstraps each value comes after, its own included.
fn n_bootstraps(function: &Function) -> Vec<u32> {
    let mut depth: Vec<u32> = Vec::with_capacity(function.values.len());
    for id in function.ids() {
        let op = &function.value(id).op;
        let most = function.needs(op).map(|a| depth[a.0 as usize]).max().unwrap_or(0);
        depth.push(most + u32::from(matches!(op, Op::Bootstrap(..))));
    }
    depth
}

/// The pair that each bootstrap is of, if it is of one.
fn pairs(function: &Function, depth: &[u32]) -> BTreeMap<ValueId, (ValueId, ValueId)> {
    let real = realness::are_real(function);
    let mut single: BTreeMap<u32, ValueId> = BTreeMap::new();
    let mut pairs = BTreeMap::new();
    for id in function.ids() {
        if !matches!(function.value(id).op, Op::Bootstrap(..)) || !real[id.0 as usize] {
            continue;
        }
        let depth = depth[id.0 as usize];
        match single.remove(&depth) {
            Some(first) => [first, id].iter().for_each(|&of| _ = pairs.insert(of, (first, id))),
            None => _ = single.insert(depth, id),
        }
    }
    pairs
}

struct Expander<'a> {
    params: &'a Params,
    out: Function,
    /// By period, and whether it is of two: what is called.
    known: BTreeMap<(u32, bool), (CalleeIdx, Level)>,
    /// The calls, by the first bootstrap of each.
    results: BTreeMap<ValueId, (CallIdx, Level)>,
}

impl Expander<'_> {
    /// The result `at` of the bootstrapping of one or two values, with their periods, at the level that it is meant to be at.
    fn bootstrap(
        &mut self,
        function: &Function,
        first: ValueId,
        of: &[(ValueId, u32)],
        at: usize,
    ) -> Result<Op> {
        let (call, level) = match self.results.get(&first) {
            Some(&known) => known,
            None => {
                let made = self.call(function.value(first), of)?;
                self.results.insert(first, made);
                made
            }
        };
        let result = self.out.push_like(function.value(first), Op::Result(call, at as u32), None);
        Ok(Op::LevelDrop(result, level))
    }

    /// A call, and the level of its results.
    fn call(&mut self, value: &Value, of: &[(ValueId, u32)]) -> Result<(CallIdx, Level)> {
        let period = of.iter().map(|&(_, period)| period).max().unwrap_or(1);
        let key = (period, of.len() == 2);
        let (callee, level) = match self.known.get(&key) {
            Some(&known) => known,
            None => {
                let bootstrapping = Bootstrapping::new(self.params, period as usize)?;
                let body = if key.1 { bootstrapping.of_two()? } else { bootstrapping.of_one()? };
                // The same for each variant of the caller.
                let picks = vec![(0, 0); self.out.variants as usize];
                let (callee, _) = self.out.add_callee(Function::gather(&[&body], &picks));
                *self.known.entry(key).or_insert((callee, bootstrapping.output_level()))
            }
        };
        self.out.calls.push(Call {
            callee,
            variant: 0,
            arguments: of.iter().map(|&(a, _)| a).collect(),
            expansion: Expansion::ByRule,
            name: format!("bootstrap[{}]", self.results.len()),
            at: value.at.clone(),
        });
        Ok((CallIdx(self.out.calls.len() as u32 - 1), level))
    }
}

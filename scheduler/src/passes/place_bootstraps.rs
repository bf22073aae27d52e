//! Bootstraps where a program needs more levels than there are (docs/adr/0022). One that fits stays as it is.
//!
//! Owns which values are bootstrapped, and which of their users take the bootstrap: `flow` says how many levels that takes, `search` finds the cheapest.
//! What a bootstrap is, and which are of two real values, is for [`super::expand_bootstraps`]. The user's own bootstraps stay, and count as fresh.
//!
//! Bootstraps may stand within functions of the program: where it does not fit its calls are expanded, or each body is for itself (`bodies`).
//!
//! Reference for the problem: Cheon et al., "DaCapo: automatic bootstrapping management for efficient fully homomorphic encryption", USENIX Security 2024.

mod bodies;
mod boundaries;
mod flow;
mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use fhe_core::params::{Level, Params};

use super::{calls, cse, dce, overrides, place, realness, simplify};
use crate::ckks_ir::{Function, Op, ValueId, inline_all};
use crate::cost::OperationCosts;
use crate::dsl::Bootstrapping;
use crate::error::{Error, Result};
use flow::{Flow, Limits, Needs, Split};
use search::Search;

/// Calls stay if the program is at most this part dearer: what is compiled once is planned once.
const DEARER: u64 = 8;

/// Places bootstraps in a program without kinds.
///
/// # Errors
/// [`Error::NoBootstrap`] where none can be placed, [`Error::Override`] for what the user wrote that cannot be; [`Error::Verify`].
///
/// # Cost
/// A minimum cut of every few levels' operations for each level; what is not needed is found in one walk of the function for each bootstrap.
pub fn place_bootstraps(function: &Function, params: &Params) -> Result<Function> {
    let fresh = params.working_level();
    let explicit = contains(function, &|op| matches!(op, Op::Bootstrap(..)));
    if contains(function, &|op| matches!(op, Op::ModRaise(..)))
        || (!explicit && calls::inputs_needed(function).is_ok_and(|all| all.iter().all(|l| *l <= fresh)))
    {
        return Ok(function.clone());
    }
    // Without, it is for `expand_bootstraps` and `place` to say.
    let Ok(bootstrapping) = Bootstrapping::new(params, 1) else {
        return Ok(function.clone());
    };
    let returned = bootstrapping.output_level();
    let flat = match function.calls.is_empty() {
        true => function.clone(),
        // Bodies meet their surroundings.
        false => dce::dce(&cse::cse(&simplify::simplify(&inline_all(function), params))),
    };
    let limits = Limits { fresh: fresh.0, returned: returned.0 };
    let flow = Flow::new(&flat, limits, &[])?;
    if flow.fits(&flow.needs(&Split::none(flow.n()))) {
        return Ok(function.clone());
    }
    let mut placer = Placer { params, costs: OperationCosts::new(params)?, prices: BTreeMap::new() };
    let whole = placer.solve(&flat, limits, &[])?;
    check(&whole.function, limits)?;
    Ok(match bodies::kept(function, &mut placer, limits)? {
        Some(kept) if kept.cost <= whole.cost + whole.cost / DEARER => kept.function,
        _ => whole.function,
    })
}

/// With prices by period.
struct Placer<'a> {
    params: &'a Params,
    costs: OperationCosts,
    prices: BTreeMap<u32, u64>,
}

/// A function with bootstraps.
struct Solved {
    function: Function,
    cost: u64,
    /// The levels that its inputs are needed at.
    inputs: Vec<u32>,
}

impl Placer<'_> {
    /// Places bootstraps in a function, whose calls stay: their results are at level 0, their arguments are needed at some levels.
    fn solve(&mut self, function: &Function, limits: Limits, arguments: &[(ValueId, u32)]) -> Result<Solved> {
        let flow = Flow::new(function, limits, arguments)?;
        let periods = periods(function, self.params.n_slots() as u32);
        let prices = periods.iter().map(|&period| self.price(period)).collect::<Result<Vec<u64>>>()?;
        let real = realness::are_real(function);
        let search = Search { flow: &flow, prices: &prices, real: &real, costs: &self.costs };
        let none = Split::none(flow.n());
        let fitting = search.cost(&none).map(|_| none);
        let Some(split) = fitting.or_else(|| search.run()) else {
            return Err(refusal(&flow, &flow.needs(&Split::none(flow.n())), limits));
        };
        let (needs, cost) = (flow.needs(&split), search.cost(&split).unwrap_or(u64::MAX));
        let mut inputs = vec![0; function.inputs.len()];
        for (value, need) in function.values.iter().zip(&needs.own) {
            if let Op::Input(i) = value.op {
                inputs[i.0 as usize] = (*need).max(inputs[i.0 as usize]);
            }
        }
        Ok(Solved { function: rewrite(function, &flow, &split, &periods), cost, inputs })
    }

    /// What bootstrapping one value of a period costs.
    fn price(&mut self, period: u32) -> Result<u64> {
        if let Some(&known) = self.prices.get(&period) {
            return Ok(known);
        }
        let bootstrapping = Bootstrapping::new(self.params, period as usize)?;
        let (body, level) = (bootstrapping.of_one()?, bootstrapping.output_level());
        let levels = values_needed_at(&body, &[level])?;
        let flow = Flow::new(&body, Limits { fresh: self.params.max_level().0, returned: level.0 }, &[])?;
        let of_value = |(id, owed): (ValueId, &_)| self.costs.cost(&body, id, levels[id.0 as usize], *owed);
        let price = body.ids().zip(&flow.owed).map(of_value).sum();
        self.prices.insert(period, price);
        Ok(price)
    }
}

/// The levels that a program needs at once under parameters that bootstrap, and how many values it bootstraps.
///
/// # Errors
/// Those of [`place_bootstraps`]; [`Error::Override`]; [`Error::Core`] where the user bootstraps, and the parameters cannot.
pub fn needed(function: &Function, params: &Params) -> Result<(u32, usize)> {
    let mut function = function.clone();
    for pass in super::CKKS.iter().take_while(|pass| pass.name != "expand_bootstraps") {
        function = (pass.run)(&function, params)?;
    }
    let flat = inline_all(&function);
    let levels = values_needed(&flat)?.into_iter().max().unwrap_or(Level(0));
    let n_bootstraps = flat.values.iter().filter(|value| matches!(value.op, Op::Bootstrap(..))).count();
    if n_bootstraps > 0 {
        Bootstrapping::new(params, 1)?;
    }
    Ok((levels.0, n_bootstraps))
}

/// Why no bootstraps do. Where levels are written, it is mostly these.
fn refusal(flow: &Flow<'_>, needs: &Needs, limits: Limits) -> Error {
    let function = flow.function;
    if let Err(error) = values_needed(function) {
        return error;
    }
    let (fresh, returned) = (Level(limits.fresh), Level(limits.returned));
    let (id, needed, available) = flow.excess(needs).unwrap_or((ValueId(0), fresh, fresh));
    let above = |id: &ValueId| matches!(function.value(*id).op, Op::LevelDrop(_, written) if written > fresh);
    if let Some(written) = function.ids().find(above) {
        return overrides::above_the_parameters(function, written, needed, fresh, fresh);
    }
    let (name, at) = (function.describe(id), function.value(id).at.clone());
    Error::NoBootstrap { name, needed: needed.0, available, returned, at }
}

/// Whether a function or what it calls has such an operation.
fn contains(function: &Function, is: &dyn Fn(&Op) -> bool) -> bool {
    function.values.iter().any(|value| is(&value.op)) || function.callees.iter().any(|f| contains(f, is))
}

/// The levels of the values of a function without calls, whatever the parameters have.
fn values_needed(function: &Function) -> Result<Vec<Level>> {
    values_needed_at(function, &place::output_levels(function))
}

fn values_needed_at(function: &Function, outputs: &[Level]) -> Result<Vec<Level>> {
    place::values_needed(function, outputs, &mut |_, call, _| {
        let problem = format!("{:?} is still called", call.name);
        Err(Error::Verify { after: "place_bootstraps".to_owned(), rule: "call", problem })
    })
}

/// That `place` will find as many levels as there are, in callees too.
fn check(function: &Function, limits: Limits) -> Result<()> {
    let levels = calls::values_needed(function)?;
    for id in function.ids() {
        let limit = match function.value(id).op {
            Op::Input(_) => limits.fresh,
            Op::Bootstrap(..) => limits.returned,
            Op::Result(..) => 0,
            _ => continue,
        };
        let level = levels[id.0 as usize];
        if level.0 > limit {
            let problem =
                format!("`{}` is needed at level {level}, there are {limit}", function.describe_at(id));
            return Err(Error::Verify { after: "place_bootstraps".to_owned(), rule: "levels", problem });
        }
    }
    let within = Limits { fresh: limits.returned, ..limits };
    function.callees.iter().try_for_each(|callee| check(callee, within))
}

/// After how many slots each value repeats.
fn periods(function: &Function, n_slots: u32) -> Vec<u32> {
    let mut periods: Vec<u32> = Vec::with_capacity(function.values.len());
    for id in function.ids() {
        let op = &function.value(id).op;
        let own = match *op {
            Op::Input(i) => function.inputs.get(i.0 as usize).map_or(1, |input| input.period),
            // The DSL says of a result that so many slots have a meaning as there are in a period.
            Op::Result(_, i) => {
                let callee = function.call_of(op).and_then(|call| function.callee(call));
                let output = callee.and_then(|callee| callee.outputs.get(i as usize));
                output.map_or(n_slots, |output| output.slots.next_power_of_two())
            }
            _ => 1,
        };
        let constants = function.constants_of(op).filter_map(|c| function.constants.get(c.0 as usize));
        let constants = constants.map(|constant| constant.period(function.variants) as u32);
        let operands = op.operands().map(|a| periods[a.0 as usize]);
        periods.push(operands.chain(constants).max().unwrap_or(1).max(own));
    }
    periods
}

/// The function with these bootstraps, each behind its value.
fn rewrite(function: &Function, flow: &Flow<'_>, split: &Split, periods: &[u32]) -> Function {
    let mut out = Function { values: Vec::new(), ..function.clone() };
    let mut new: Vec<ValueId> = Vec::with_capacity(function.values.len());
    let mut fresh: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for id in function.ids() {
        let (u, value) = (id.0 as usize, function.value(id));
        let own = value.op.map(|a| match fresh.get(&a) {
            Some(&bootstrap) if flow.takes_bootstrap(split, a.0 as usize, u) => bootstrap,
            _ => new[a.0 as usize],
        });
        new.push(out.push_like(value, own, None));
        if split.bootstraps(u) {
            let op = Op::Bootstrap(new[u], periods[u]);
            fresh.insert(id, out.push_form(new[u], op, None));
        }
    }
    out.rename_ends(|id| new[id.0 as usize]);
    out
}

//! Bootstraps where a program needs more levels than there are (docs/adr/0021). One that fits stays as it is.
//!
//! Owns which values are bootstrapped, and which of their users take the bootstrap: [`flow`] says how many levels that takes, [`search`] finds the cheapest.
//! What a bootstrap is, and which are of two real values, is for [`super::expand_bootstraps`]. The user's own bootstraps stay, and count as fresh.
//!
//! Bootstraps may stand within functions of the program: its calls are expanded where it does not fit.
//!
//! Reference for the problem: Cheon et al., "DaCapo: automatic bootstrapping management for efficient fully homomorphic encryption", USENIX Security 2024.

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
    let flow = Flow::new(&flat, limits)?;
    let needs = flow.needs(&Split::none(flow.n()));
    if flow.fits(&needs) {
        return Ok(function.clone());
    }
    let (periods, costs) = (periods(&flat), OperationCosts::new(params)?);
    let real = realness::are_real(&flat);
    let prices = prices(&flat, &periods, &costs, params)?;
    let search = Search { flow: &flow, prices: &prices, real: &real, costs: &costs };
    let Some(split) = search.run() else {
        return Err(refusal(&flow, &needs, limits));
    };
    let out = rewrite(&flat, &flow, &split, &periods);
    check(&out, fresh, returned)?;
    Ok(out)
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
    place::values_needed(function, &place::output_levels(function), &mut |_, call, _| {
        let problem = format!("{:?} is still called", call.name);
        Err(Error::Verify { after: "place_bootstraps".to_owned(), rule: "call", problem })
    })
}

/// That `place` will find as many levels as there are.
fn check(function: &Function, fresh: Level, returned: Level) -> Result<()> {
    let levels = values_needed(function)?;
    for id in function.ids() {
        let limit = match function.value(id).op {
            Op::Input(_) => fresh,
            Op::Bootstrap(..) => returned,
            _ => continue,
        };
        let level = levels[id.0 as usize];
        if level > limit {
            let problem =
                format!("`{}` is needed at level {level}, there are {limit}", function.describe_at(id));
            return Err(Error::Verify { after: "place_bootstraps".to_owned(), rule: "levels", problem });
        }
    }
    Ok(())
}

/// After how many slots each value repeats.
fn periods(function: &Function) -> Vec<u32> {
    let mut periods: Vec<u32> = Vec::with_capacity(function.values.len());
    for id in function.ids() {
        let op = &function.value(id).op;
        let own = match *op {
            Op::Input(i) => function.inputs.get(i.0 as usize).map_or(1, |input| input.period),
            _ => 1,
        };
        let constants = function.constants_of(op).filter_map(|c| function.constants.get(c.0 as usize));
        let constants = constants.map(|constant| constant.period(function.variants) as u32);
        let operands = op.operands().map(|a| periods[a.0 as usize]);
        periods.push(operands.chain(constants).max().unwrap_or(1).max(own));
    }
    periods
}

/// What a bootstrap of each value costs.
fn prices(function: &Function, periods: &[u32], costs: &OperationCosts, params: &Params) -> Result<Vec<u64>> {
    let mut known: BTreeMap<u32, u64> = BTreeMap::new();
    let mut prices = Vec::with_capacity(periods.len());
    for id in function.ids() {
        // Sources are as fresh as can be.
        if matches!(function.value(id).op, Op::Input(_) | Op::Bootstrap(..)) {
            prices.push(0);
            continue;
        }
        let period = periods[id.0 as usize];
        prices.push(match known.get(&period) {
            Some(&known) => known,
            None => *known.entry(period).or_insert(price(period, costs, params)?),
        });
    }
    Ok(prices)
}

/// What bootstrapping one value costs.
fn price(period: u32, costs: &OperationCosts, params: &Params) -> Result<u64> {
    let bootstrapping = Bootstrapping::new(params, period as usize)?;
    let (body, level) = (bootstrapping.of_one()?, bootstrapping.output_level());
    let levels = place::values_needed(&body, &[level], &mut |_, call, _| {
        let problem = format!("{:?} is called in bootstrapping", call.name);
        Err(Error::Verify { after: "place_bootstraps".to_owned(), rule: "call", problem })
    })?;
    let flow = Flow::new(&body, Limits { fresh: params.max_level().0, returned: level.0 })?;
    let of_value = |(id, owed): (ValueId, &_)| costs.cost(&body, id, levels[id.0 as usize], *owed);
    Ok(body.ids().zip(&flow.owed).map(of_value).sum())
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

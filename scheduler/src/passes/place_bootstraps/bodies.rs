//! Bodies that stay bodies in a program that bootstraps, so that layers which are alike are compiled once.
//!
//! ```text
//! arguments    inputs of the program, or bootstrapped by the caller: one bootstrap of a value for all calls
//! body         from what bootstrapping returns down to level 0, with bootstraps of its own
//! results      at level 0, whatever comes next
//! ```
//!
//! So every call of a callee is at the same levels, and one specialisation ([`super::calls`]). What is lost are the levels that a body leaves at its end.

use std::sync::Arc;

use super::flow::Limits;
use super::{Placer, Solved};
use crate::ckks_ir::{Call, CallIdx, Expansion, Function, Op, ValueId, inline, inline_all};
use crate::error::{Error, Result};
use crate::passes::{calls, cse, dce, realness, simplify};

/// The program with the calls that are worth it, and what it costs; none where there is no such, or no place for a bootstrap.
///
/// # Errors
/// [`Error::Verify`]; [`Error::Override`].
pub(super) fn kept(function: &Function, placer: &mut Placer<'_>, limits: Limits) -> Result<Option<Solved>> {
    let mut out = realness::marked(function);
    let clean = |f: &Function| dce::dce(&cse::cse(&simplify::simplify(f, placer.params)));
    for callee in &mut out.callees {
        *callee = Arc::new(clean(&inline_all(callee)));
    }
    if !(0..out.calls.len() as u32).any(|c| stays(&out, CallIdx(c))) {
        return Ok(None);
    }
    out = clean(&inline(&out, |c| !stays(&out, c)));
    let within = Limits { fresh: limits.returned, ..limits };
    let bodies = out.callees.iter().map(|body| placer.solve(body, within, &[]));
    let bodies: Vec<Solved> = match bodies.collect() {
        Ok(bodies) => bodies,
        // A level that is written in a body may be above what a bootstrap returns, and not above what an input has.
        Err(Error::NoBootstrap { .. } | Error::Override { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (out, arguments) = bootstrap_arguments(&out, &bodies, placer.params.n_slots() as u32);
    let mut solved = match placer.solve(&out, limits, &arguments) {
        Ok(solved) => solved,
        Err(Error::NoBootstrap { .. } | Error::Override { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let of_call = |call: &Call| bodies.get(call.callee.0 as usize).map_or(0, |body| body.cost);
    solved.cost += solved.function.calls.iter().map(of_call).sum::<u64>();
    solved.function.callees = bodies.into_iter().map(|body| Arc::new(body.function)).collect();
    super::check(&solved.function, limits)?;
    Ok(Some(solved))
}

/// Whether a call stays, by what the user says, else as `inline_calls` will decide: there are two, and the body is large.
fn stays(function: &Function, c: CallIdx) -> bool {
    let Some(call) = function.calls.get(c.0 as usize) else { return false };
    let others = function.calls.iter().filter(|other| other.callee == call.callee).count();
    let large = || function.callee(call).is_some_and(|f| calls::key_switches(f) >= calls::MIN_KEY_SWITCHES);
    match call.expansion {
        Expansion::Always => false,
        Expansion::Never => true,
        Expansion::ByRule => others >= 2 && large(),
    }
}

/// With a bootstrap of every argument that is not fresh; and what levels each argument is needed at.
fn bootstrap_arguments(
    function: &Function,
    bodies: &[Solved],
    n_slots: u32,
) -> (Function, Vec<(ValueId, u32)>) {
    let periods = super::periods(function, n_slots);
    let mut out = Function { values: Vec::new(), ..function.clone() };
    let mut is_argument = vec![false; function.values.len()];
    function.calls.iter().flat_map(|call| &call.arguments).for_each(|a| is_argument[a.0 as usize] = true);
    let (mut new, mut fresh) = (Vec::new(), Vec::new());
    for id in function.ids() {
        let value = function.value(id);
        new.push(out.push_like(value, value.op.map(|a| new[a.0 as usize]), None));
        let (own, is_source) = (new[id.0 as usize], matches!(value.op, Op::Input(_) | Op::Bootstrap(..)));
        fresh.push(match is_argument[id.0 as usize] && !is_source {
            true => out.push_form(own, Op::Bootstrap(own, periods[id.0 as usize]), None),
            false => own,
        });
    }
    out.outputs.iter_mut().for_each(|output| output.value = new[output.value.0 as usize]);
    let mut arguments = Vec::new();
    for call in &mut out.calls {
        call.arguments.iter_mut().for_each(|a| *a = fresh[a.0 as usize]);
        let needed =
            bodies.get(call.callee.0 as usize).map(|body| body.inputs.as_slice()).unwrap_or_default();
        arguments.extend(call.arguments.iter().copied().zip(needed.iter().copied()));
    }
    (out, arguments)
}

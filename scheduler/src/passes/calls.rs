//! Which calls stay calls, and at which levels (docs/adr/0012).
//!
//! A call is *specialised* by its callee and the level at which each result is needed, none where one is not used. [`inline_calls`] keeps a call
//! if the user says so, or else if
//!
//! * its specialisation is that of at least two calls in its caller,
//! * the body has at least [`MIN_KEY_SWITCHES`] key switches,
//! * no two of these calls switch keys of the same argument: expanded, they share these rotations.
//!
//! The others are expanded: what an expanded body shares, folds and batches with its surroundings is lost at a call. [`specialise`] then makes
//! each pair a callee of its own, with the variants of its calls, unused results gone.
//!
//! Both go from a caller to its callees by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fhe_core::params::{Level, Params};

use super::{cse, dce, place, simplify};
use crate::ckks_ir::{
    Call, CallIdx, CalleeIdx, Expansion, Function, InputIdx, Interface, Op, Transform, ValueId, inline,
};
use crate::error::{Error, Result};

/// Fewer than this in a body, and it is expanded. A key switch at a high level is about 100 rows of a launch of at most 1024, and what is at one depth
/// is batched: 16 are enough to fill launches, fewer are better batched with those of other calls.
pub const MIN_KEY_SWITCHES: usize = 16;

/// What a call is compiled as: the callee, and the level of each result that is used.
type Key = (CalleeIdx, Vec<Option<Level>>);

/// Expands the calls that are not worth one, in callees first. Where levels cannot be found with calls (a product that a body returns and its caller
/// wants rescaled), all are expanded that may be.
///
/// # Errors
/// None; it may have the errors of a pass.
pub fn inline_calls(function: &Function, params: &Params) -> Result<Function> {
    if function.calls.is_empty() {
        return Ok(function.clone());
    }
    let mut function = function.clone();
    for callee in &mut function.callees {
        *callee = Arc::new(inline_calls(callee, params)?);
    }
    let outputs = place::output_levels(&function);
    let keys = keys(&function, &outputs).unwrap_or_default();
    let sizes: Vec<usize> = function.callees.iter().map(|callee| key_switches(callee)).collect();
    let switched: Vec<BTreeSet<InputIdx>> = function.callees.iter().map(|callee| switched(callee)).collect();
    let mut groups: BTreeMap<&Key, Group> = BTreeMap::new();
    for (c, (key, _)) in &keys {
        let call = &function.calls[c.0 as usize];
        let group = groups.entry(key).or_default();
        group.n_calls += 1;
        for input in switched.get(call.callee.0 as usize).into_iter().flatten() {
            let argument = call.arguments.get(input.0 as usize).copied();
            group.shares |= !group.arguments.insert((*input, argument));
        }
    }
    let expands = |c: CallIdx| {
        let Some(call) = function.calls.get(c.0 as usize) else { return true };
        let size = sizes.get(call.callee.0 as usize).copied().unwrap_or(0);
        let group = keys.get(&c).and_then(|(key, _)| groups.get(key));
        match call.expansion {
            Expansion::Always => true,
            Expansion::Never => false,
            Expansion::ByRule => {
                size < MIN_KEY_SWITCHES || group.is_none_or(|group| group.n_calls < 2 || group.shares)
            }
        }
    };
    let calls: Vec<CallIdx> = (0..function.calls.len() as u32).map(CallIdx).collect();
    if !calls.into_iter().any(&expands) {
        return Ok(function);
    }
    // Bodies meet their surroundings.
    let function = inline(&function, expands);
    Ok(dce::dce(&cse::cse(&simplify::simplify(&function, params))))
}

/// The calls of one specialisation.
#[derive(Default)]
struct Group {
    n_calls: usize,
    /// What they switch keys of.
    arguments: BTreeSet<(InputIdx, Option<ValueId>)>,
    /// Whether two of them do so of the same.
    shares: bool,
}

/// The inputs that a body rotates, transforms or multiplies as they are, itself or by a call.
fn switched(function: &Function) -> BTreeSet<InputIdx> {
    let input = |a: ValueId| match function.value(a).op {
        Op::Input(i) => Some(i),
        _ => None,
    };
    let of_value = |op: &Op| match op {
        Op::Rotate(..) | Op::Conjugate(_) | Op::LinearTransform(..) => {
            op.operands().filter_map(input).collect()
        }
        Op::Mul(..) if op.operands().all(|a| input(a).is_some()) => op.operands().filter_map(input).collect(),
        Op::Result(..) => function.needs(op).filter_map(input).collect(),
        _ => Vec::new(),
    };
    function.values.iter().flat_map(|value| of_value(&value.op)).collect()
}

/// Key switches of a body, those of its calls included; a transform of `n` diagonals counts as `2 sqrt(n)`.
pub(super) fn key_switches(function: &Function) -> usize {
    let of_transform = |t: &Transform| (2.0 * (t.diagonals.len() as f64).sqrt()) as usize;
    let of_value = |op: &Op| match op {
        Op::Rotate(..) | Op::Conjugate(_) | Op::Mul(..) => 1,
        Op::ModRaise(..) => 2,
        Op::LinearTransform(_, t) => function.transforms.get(t.0 as usize).map_or(0, of_transform),
        _ => 0,
    };
    let of_calls = function.calls.iter().filter_map(|call| function.callee(call));
    function.values.iter().map(|v| of_value(&v.op)).sum::<usize>()
        + of_calls.map(|f| key_switches(f)).sum::<usize>()
}

/// The key of each call that has a result, and the levels of its inputs, where the outputs of the function are needed at some levels.
fn keys(function: &Function, outputs: &[Level]) -> Result<BTreeMap<CallIdx, (Key, Interface)>> {
    let mut keys = BTreeMap::new();
    let mut inputs_of: BTreeMap<Key, Vec<Level>> = BTreeMap::new();
    place::inputs_needed(function, outputs, &mut |c, call, wanted| {
        let key = (call.callee, wanted.to_vec());
        let outputs: Vec<Level> = wanted.iter().map(|level| level.unwrap_or(Level(0))).collect();
        let inputs = match inputs_of.get(&key) {
            Some(known) => known.clone(),
            None => {
                let callee = used(function.callee(call).ok_or_else(|| missing(call))?, wanted);
                let outputs: Vec<Level> = wanted.iter().flatten().copied().collect();
                inputs_of_callee(&callee, &outputs).map_err(|error| in_call(call, error))?
            }
        };
        inputs_of.insert(key.clone(), inputs.clone());
        let interface = Interface { inputs, outputs };
        keys.insert(c, (key, interface.clone()));
        Ok(interface)
    })?;
    Ok(keys)
}

/// What a written level in a body cannot be for this call.
fn in_call(call: &Call, error: Error) -> Error {
    match error {
        Error::Override { name, problem, at } => Error::Override { name, problem, at: call.located(at) },
        error => error,
    }
}

fn missing(call: &Call) -> Error {
    let problem = format!("{:?} calls {}, which is not there", call.name, call.callee);
    Error::Verify { after: "specialise".to_owned(), rule: "call", problem }
}

/// The levels of a function's inputs.
fn inputs_of_callee(callee: &Function, outputs: &[Level]) -> Result<Vec<Level>> {
    let inner = keys(callee, outputs)?;
    place::inputs_needed(callee, outputs, &mut |c, call, _| {
        inner.get(&c).map(|(_, interface)| interface.clone()).ok_or_else(|| missing(call))
    })
}

/// The levels of a program's inputs with all its calls, whatever the parameters have.
///
/// # Errors
/// [`Error::Override`], for what is no mistake once calls are expanded too.
pub(super) fn inputs_needed(function: &Function) -> Result<Vec<Level>> {
    inputs_of_callee(function, &place::output_levels(function))
}

/// The levels of a program's values, with its calls, whatever the parameters have.
///
/// # Errors
/// [`Error::Override`].
pub(super) fn values_needed(function: &Function) -> Result<Vec<Level>> {
    let outputs = place::output_levels(function);
    let keys = keys(function, &outputs)?;
    place::values_needed(function, &outputs, &mut |c, call, _| {
        keys.get(&c).map(|(_, interface)| interface.clone()).ok_or_else(|| missing(call))
    })
}

/// A callee with those outputs only that have a level.
fn used(callee: &Function, wanted: &[Option<Level>]) -> Function {
    let mut out = callee.clone();
    let mut kept = wanted.iter().map(Option::is_some);
    out.outputs.retain(|_| kept.next().unwrap_or(false));
    dce::dce(&out)
}

/// Makes a callee of each specialisation of a program, with the levels of its inputs and outputs.
///
/// # Errors
/// [`Error::Override`]; [`Error::TooDeep`] with the calls along the chain.
pub fn specialise(function: &Function, params: &Params) -> Result<Function> {
    let out = specialised(function, &place::output_levels(function))?;
    if !out.calls.is_empty() {
        // Callees are placed first, and would know no more than their own part of the chain.
        place::lowest_levels(&out, params)?;
    }
    Ok(out)
}

fn specialised(function: &Function, outputs: &[Level]) -> Result<Function> {
    if function.calls.is_empty() {
        return Ok(function.clone());
    }
    let keys = keys(function, outputs)?;
    // In the order of calls.
    let mut groups: Vec<(&Key, &Interface, Vec<CallIdx>)> = Vec::new();
    for (&c, (key, interface)) in &keys {
        match groups.iter_mut().find(|group| group.0 == key) {
            Some(group) => group.2.push(c),
            None => groups.push((key, interface, vec![c])),
        }
    }
    let mut out = function.clone();
    out.callees.clear();
    for (key, interface, calls) in groups {
        let Some(old) = function.callees.get(key.0.0 as usize) else { continue };
        let variants: Vec<usize> =
            calls.iter().map(|c| function.calls[c.0 as usize].variant as usize).collect();
        let ratio = function.ratio(old) as usize;
        let picks: Vec<(usize, usize)> = (0..function.variants as usize)
            .flat_map(|v| variants.iter().map(move |s| (0, v * ratio + s)))
            .collect();
        let callee = used(&Function::gather(&[old], &picks), &key.1);
        let outputs: Vec<Level> = key.1.iter().flatten().copied().collect();
        let mut callee = specialised(&callee, &outputs)?;
        callee.interface = Some(Interface { inputs: interface.inputs.clone(), outputs });
        out.callees.push(Arc::new(callee));
        for (variant, c) in (0u32..).zip(calls) {
            let call = &mut out.calls[c.0 as usize];
            (call.callee, call.variant) = (CalleeIdx(out.callees.len() as u32 - 1), variant);
        }
    }
    for i in 0..out.values.len() {
        let Op::Result(c, result) = out.value(ValueId(i as u32)).op else { continue };
        let Some(((_, wanted), _)) = keys.get(&c) else { continue };
        let kept = wanted.iter().take(result as usize).flatten().count();
        out.values[i].op = Op::Result(c, kept as u32);
    }
    Ok(dce::dce(&out))
}

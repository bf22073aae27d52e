//! Placement of levels, scales, relinearization, rescale and level_drop. The user writes none of these, unless she wants one somewhere.
//!
//! 1. *Shape*, forwards. A product (scale `S_l^2`, degree 2 for ct x ct) stays one through its only user if
//!    that is `add`, `sub` or `neg` and the other operand is a product too: sums of products are
//!    relinearized and rescaled once. Everywhere else a value is brought to its canonical form first, so
//!    rotations run one level lower.
//! 2. *Level*, backwards. Outputs need level 0, or the one that was written; each value needs the level of its most demanding
//!    user. These are the lowest levels. `lift` finds higher ones where that is predicted to take less time.
//! 3. *Emission*, forwards: relinearize, rescale, level_drop where a user wants another form than the value
//!    has.
//!
//! A callee is placed by itself, for the levels that it enters and leaves with ([`crate::ckks_ir::Interface`]): its outputs need theirs, an
//! input is at its own and dropped to what its users need. Arguments and results of calls have the levels of their callee.
//!
//! What the user wrote is a form of its operand, made where she wrote it: `relinearize` the product of degree 1 (one product that several users add
//! to others, or rescale, if they are at its level), `rescale` the canonical
//! form, `level_drop` the canonical form at exactly that level. All users of it get that form; `super::overrides` has the words for what cannot be.

mod emit;
mod lift;
mod prices;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use fhe_core::params::{Level, Params};

use super::{POLY, absorb_drops, cse, dce, overrides, raise, scalars_in_sums};
use crate::ckks_ir::{Call, CallIdx, Function, Interface, Kind, Op, Output, Scale, ValueId};
use crate::cost::polynomials;
use crate::error::{Error, Result};
use crate::lower;

/// Places everything in a function without kinds and without transforms, where it is predicted to take the least time.
///
/// # Errors
/// [`Error::TooDeep`] names the longest chain; [`Error::Override`] what the user wrote that cannot be.
pub fn place(function: &Function, params: &Params) -> Result<Function> {
    let (shapes, lowest) = levels(function, params)?;
    let as_low = emit::emit(function, &shapes, &lowest)?;
    let Some(levels) = lift::lift(function, &shapes, &lowest, params)? else { return Ok(as_low) };
    let lifted = emit::emit(function, &shapes, &levels)?;
    // `lift` has prices of operations by themselves; here is what later passes make of them.
    let pays = predicted(&lifted, params)? < predicted(&as_low, params)?;
    Ok(if pays { lifted } else { as_low })
}

/// Places everything as low as it can be: what [`place`] is never predicted to be slower than.
///
/// # Errors
/// Those of [`place`].
pub fn place_lowest(function: &Function, params: &Params) -> Result<Function> {
    let (shapes, lowest) = levels(function, params)?;
    emit::emit(function, &shapes, &lowest)
}

/// What a placed function costs by the committed costs, after the passes that follow.
///
/// # Errors
/// [`Error::Core`].
pub fn predicted(placed: &Function, params: &Params) -> Result<u64> {
    let merged = absorb_drops::absorb_drops(&cse::cse(placed), params);
    let raised = raise::raise(&scalars_in_sums::scalars_in_sums(&merged, params), params)?;
    let poly = lower::ckks::lower(&dce::dce(&raised), params, false)?;
    let fused = POLY.iter().fold(poly, |poly, pass| (pass.run)(poly));
    Ok(polynomials(&fused))
}

/// The lowest levels of the values of a function, which may have transforms: that of a transform is the level of its result,
/// its products are made one level higher.
///
/// # Errors
/// Those of [`place`].
pub(super) fn lowest_levels(function: &Function, params: &Params) -> Result<Vec<Level>> {
    Ok(levels(function, params)?.1)
}

/// The same where it is predicted to take the least time, before transforms are split.
///
/// # Errors
/// Those of [`place`].
pub(super) fn levels_of(function: &Function, params: &Params) -> Result<Vec<Level>> {
    let (shapes, lowest) = levels(function, params)?;
    Ok(lift::lift(function, &shapes, &lowest, params)?.unwrap_or(lowest))
}

/// What a call needs: from the levels at which its results are needed, none where one is not used, the levels that its arguments and
/// its results will have. Arguments are at least as high as results, unless the callee bootstraps.
pub(super) type CallLevels<'a> = dyn FnMut(CallIdx, &Call, &[Option<Level>]) -> Result<Interface> + 'a;

/// The levels of the inputs of a function without kinds whose outputs are needed at some levels, given what calls need. No
/// parameters limit them.
///
/// # Errors
/// [`Error::Override`].
pub(super) fn inputs_needed(
    function: &Function,
    outputs: &[Level],
    calls: &mut CallLevels<'_>,
) -> Result<Vec<Level>> {
    let (_, Needs { levels, .. }) = shaped(function, outputs, calls)?;
    // Whatever its users need: one that is as high as the results lets calls stand where their arguments are. What bootstraps need not be.
    let least = if raises(function) { None } else { outputs.iter().copied().max() };
    let mut inputs = vec![least.unwrap_or(Level(0)); function.inputs.len()];
    for id in function.ids() {
        if let Op::Input(i) = function.value(id).op {
            let input = &mut inputs[i.0 as usize];
            *input = (*input).max(levels[id.0 as usize]);
        }
    }
    Ok(inputs)
}

/// The levels of the values of a function without kinds whose outputs are needed at some levels, given what calls need. No parameters
/// limit them, nor what bootstrapping returns.
///
/// # Errors
/// [`Error::Override`].
pub(super) fn values_needed(
    function: &Function,
    outputs: &[Level],
    calls: &mut CallLevels<'_>,
) -> Result<Vec<Level>> {
    Ok(shaped(function, outputs, calls)?.1.levels)
}

/// Whether a function, or what it calls, bootstraps.
pub(super) fn raises(function: &Function) -> bool {
    function.values.iter().any(|value| matches!(value.op, Op::ModRaise(..) | Op::Bootstrap(..)))
        || function.callees.iter().any(|callee| raises(callee))
}

/// The levels of a callee.
fn interface<'a>(caller: &'a Function, call: &Call) -> Result<&'a Interface> {
    let known = caller.callee(call).and_then(|callee| callee.interface.as_ref());
    known.ok_or_else(|| Error::Verify {
        after: "place".to_owned(),
        rule: "interface",
        problem: format!("{:?} calls {} before its levels are known", call.name, call.callee),
    })
}

/// The levels at which the outputs of a function are needed: those of a callee as they are known, else the one that was written, else 0.
pub(super) fn output_levels(function: &Function) -> Vec<Level> {
    let known = function.interface.as_ref().map(|levels| levels.outputs.as_slice()).unwrap_or_default();
    let level = |(i, output): (usize, &Output)| match (known.get(i), function.value(output.value).op) {
        (Some(&level), _) | (None, Op::LevelDrop(_, level)) => level,
        _ => Level(0),
    };
    function.outputs.iter().enumerate().map(level).collect()
}

/// Scale and degree, without the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub(super) scale: Scale,
    pub(super) degree: u8,
}

fn kind(shape: Shape, level: Level) -> Kind {
    Kind { level, scale: shape.scale, degree: shape.degree, raised: false }
}

const CANONICAL: Shape = Shape { scale: Scale::Canonical, degree: 1 };

const fn product(degree: u8) -> Shape {
    Shape { scale: Scale::Product, degree }
}

/// What an operation of this shape wants of its operands.
pub(super) fn operand_shape(op: &Op, own: Shape) -> Shape {
    if matches!(op, Op::Add(..) | Op::Sub(..) | Op::Neg(_) | Op::Relinearize(_)) { own } else { CANONICAL }
}

/// Shapes and levels that fit each other: a product that was relinearized where that is written stays one for all of its linear users, if they
/// are at its level.
fn shaped(function: &Function, outputs: &[Level], calls: &mut CallLevels<'_>) -> Result<(Vec<Shape>, Needs)> {
    let mut apart = BTreeSet::new();
    loop {
        let shapes = shapes(function, &apart)?;
        let needs = needs(function, &shapes, outputs, calls)?;
        let before = apart.len();
        for id in function.ids() {
            let op = &function.value(id).op;
            if !is_linear(op) || operand_shape(op, shapes[id.0 as usize]).scale == Scale::Canonical {
                continue;
            }
            let elsewhere = |a: &ValueId| needs.levels[a.0 as usize] != needs.levels[id.0 as usize];
            apart.extend(op.operands().filter(elsewhere));
        }
        if apart.len() == before {
            return Ok((shapes, needs));
        }
    }
}

fn is_linear(op: &Op) -> bool {
    matches!(op, Op::Add(..) | Op::Sub(..) | Op::Neg(_))
}

/// The shape of each value, if these are delivered canonical where they are shared.
///
/// # Errors
/// [`Error::Override`].
pub(super) fn shapes(function: &Function, apart: &BTreeSet<ValueId>) -> Result<Vec<Shape>> {
    let users = function.users();
    let returned = function.returned();
    let only_user = |id: ValueId| {
        let (first, rest) = users[id.0 as usize].split_first()?;
        let alone = rest.iter().all(|user| user == first) && !returned[id.0 as usize];
        alone.then_some(*first)
    };
    // One whose operand has other users has the level that they need, which a product cannot leave.
    let free = |id: ValueId| match function.value(id).op {
        Op::Relinearize(a) => only_user(a).is_some(),
        _ => true,
    };
    let linear = |user: ValueId| is_linear(&function.value(user).op);
    let shared = |id: ValueId| matches!(function.value(id).op, Op::Relinearize(_)) && !apart.contains(&id);
    let keeps = |id: ValueId| (only_user(id).is_some_and(linear) || shared(id)) && free(id);
    let keeps: Vec<bool> = function.ids().map(keeps).collect();
    let mut shapes: Vec<Shape> = Vec::with_capacity(function.values.len());
    for id in function.ids() {
        let delivered = |a: ValueId| if keeps[a.0 as usize] { shapes[a.0 as usize] } else { CANONICAL };
        let shape = match function.value(id).op {
            Op::Mul(..) => product(2),
            Op::MulPlain(..) | Op::MulScalar(..) => product(1),
            Op::Neg(a) => delivered(a),
            Op::Add(a, b) | Op::Sub(a, b) => match (delivered(a), delivered(b)) {
                (a, b) if a.scale == Scale::Product && b.scale == Scale::Product => {
                    product(a.degree.max(b.degree))
                }
                _ => CANONICAL,
            },
            Op::Relinearize(a) if shapes[a.0 as usize].degree != 2 => {
                return Err(overrides::owes_no_relinearization(function, id, a));
            }
            Op::Relinearize(_) => product(1),
            Op::Rescale(a) if shapes[a.0 as usize].scale != Scale::Product => {
                return Err(overrides::owes_no_rescale(function, id, a));
            }
            _ => CANONICAL,
        };
        shapes.push(shape);
    }
    Ok(shapes)
}

/// What users need.
struct Needs {
    levels: Vec<Level>,
    /// The user that a value owes its level to.
    because: Vec<Option<ValueId>>,
    /// What users need of a value whose level was written.
    written: BTreeMap<ValueId, Level>,
}

impl Needs {
    fn demand(&mut self, a: ValueId, need: Level, by: ValueId) {
        let j = a.0 as usize;
        if need > self.levels[j] || (need == self.levels[j] && self.because[j].is_none()) {
            self.levels[j] = need;
            self.because[j] = Some(by);
        }
    }
}

fn needs(
    function: &Function,
    shapes: &[Shape],
    outputs: &[Level],
    calls: &mut CallLevels<'_>,
) -> Result<Needs> {
    let n = function.values.len();
    let mut needs = Needs { levels: vec![Level(0); n], because: vec![None; n], written: BTreeMap::new() };
    // The level of a value that a user wants in some shape at some level.
    let before = |level: Level, a: ValueId, want: Shape| {
        let owes = shapes[a.0 as usize].scale == Scale::Product && want.scale == Scale::Canonical;
        Level(level.0.saturating_add(u32::from(owes)))
    };
    for (output, &level) in function.outputs.iter().zip(outputs) {
        // It takes what was written.
        if matches!(function.value(output.value).op, Op::LevelDrop(_, written) if written == level) {
            continue;
        }
        let known = &mut needs.levels[output.value.0 as usize];
        *known = (*known).max(before(level, output.value, CANONICAL));
    }
    let results = results(function);
    for id in function.ids().collect::<Vec<_>>().into_iter().rev() {
        let i = id.0 as usize;
        let op = function.value(id).op;
        if let Op::Result(c, _) = op {
            let of_call = results.get(&c).map(Vec::as_slice).unwrap_or_default();
            // All users of all results come after the first.
            if of_call.iter().flatten().min() != Some(&id) {
                continue;
            }
            let call = &function.calls[c.0 as usize];
            let wanted: Vec<Option<Level>> =
                of_call.iter().map(|id| id.map(|id| needs.levels[id.0 as usize])).collect();
            let found = calls(c, call, &wanted)?;
            for (&a, &level) in call.arguments.iter().zip(&found.inputs) {
                needs.demand(a, before(level, a, CANONICAL), id);
            }
            for (result, &level) in of_call.iter().zip(&found.outputs) {
                result.iter().for_each(|result| needs.levels[result.0 as usize] = level);
            }
            continue;
        }
        // Of any level: what users need of what it returns is its own, `super::place_bootstraps` sees to that.
        if let Op::Bootstrap(a, _) = op {
            needs.demand(a, before(Level(0), a, CANONICAL), id);
            continue;
        }
        if let Op::ModRaise(a, level, _) = op {
            if needs.levels[i] > level {
                return Err(overrides::above_what_is_raised(function, id, needs.levels[i], level));
            }
            needs.levels[i] = level;
            needs.demand(a, before(Level(0), a, CANONICAL), id);
            continue;
        }
        if let Op::LevelDrop(_, written) = op {
            if needs.levels[i] > written {
                return Err(overrides::below_its_user(function, id, needs.levels[i], needs.because[i]));
            }
            needs.written.insert(id, needs.levels[i]);
            needs.levels[i] = written;
        }
        let want = operand_shape(&op, shapes[i]);
        // The products of a transform owe a rescale, whichever way it is split.
        let within = u32::from(matches!(op, Op::LinearTransform(..)));
        let own = Level(needs.levels[i].0.saturating_add(within));
        for a in op.operands() {
            needs.demand(a, before(own, a, want), id);
        }
    }
    for id in function.ids() {
        if let Op::Relinearize(a) = function.value(id).op {
            needs.levels[id.0 as usize] = needs.levels[a.0 as usize];
        }
    }
    Ok(needs)
}

/// The values that are the results of each call that has one, by their number.
fn results(function: &Function) -> BTreeMap<CallIdx, Vec<Option<ValueId>>> {
    let mut results: BTreeMap<CallIdx, Vec<Option<ValueId>>> = BTreeMap::new();
    for id in function.ids() {
        let Op::Result(c, i) = function.value(id).op else { continue };
        let n_outputs = function.callee(&function.calls[c.0 as usize]).map_or(0, |f| f.outputs.len());
        let of_call = results.entry(c).or_insert_with(|| vec![None; n_outputs]);
        if let Some(result) = of_call.get_mut(i as usize) {
            result.get_or_insert(id);
        }
    }
    results
}

fn levels(function: &Function, params: &Params) -> Result<(Vec<Shape>, Vec<Level>)> {
    let outputs = output_levels(function);
    let mut declared = |_: CallIdx, call: &Call, _: &[Option<Level>]| interface(function, call).cloned();
    let (shapes, Needs { mut levels, because, written: needs }) = shaped(function, &outputs, &mut declared)?;
    if let Some(declared) = &function.interface {
        for id in function.ids() {
            if let Op::Input(i) = function.value(id).op {
                let level = declared.inputs.get(i.0 as usize).copied().unwrap_or(Level(0));
                if levels[id.0 as usize] > level {
                    let problem =
                        format!("{id} is needed at level {}, it enters at {level}", levels[id.0 as usize]);
                    return Err(Error::Verify { after: "place".to_owned(), rule: "interface", problem });
                }
                levels[id.0 as usize] = level;
            }
        }
    }
    let deepest = function.ids().max_by_key(|id| (levels[id.0 as usize], core::cmp::Reverse(*id)));
    let needed = deepest.map_or(Level(0), |id| levels[id.0 as usize]);
    if needed <= params.max_level() {
        return Ok((shapes, levels));
    }
    let mut chain = Vec::new();
    let mut at = deepest;
    while let Some(id) = at {
        let value = function.value(id);
        let too_much = needed.0 - params.max_level().0;
        if let (Op::LevelDrop(_, written), Some(need)) = (value.op, needs.get(&id))
            && let Some(highest) = written.0.checked_sub(too_much).map(Level)
            && highest >= *need
        {
            return Err(overrides::above_the_parameters(function, id, needed, params.max_level(), highest));
        }
        let costs = matches!(
            value.op,
            Op::Mul(..)
                | Op::MulPlain(..)
                | Op::MulScalar(..)
                | Op::LinearTransform(..)
                | Op::LevelDrop(..)
                | Op::Result(..)
        );
        if costs || value.name.is_some() {
            chain.push(function.describe_at(id));
        }
        at = because[id.0 as usize];
    }
    Err(Error::TooDeep { needed: needed.0, available: params.max_level(), chain })
}

//! The rules of `ckks_ir`. [`verify`] checks them all; the name of the broken one is in the error.
//!
//! | rule | |
//! |---|---|
//! | `order` | operands come before their use |
//! | `index` | inputs, constants, transforms and outputs named by index exist |
//! | `input-once` | no input is read by two `input` operations |
//! | `name` | names of inputs, and of outputs, differ from each other |
//! | `period` | periods are powers of two, at most the number of slots |
//! | `finite` | constants and scalars are finite |
//! | `rotation` | a rotation is above 0 and below the number of slots |
//! | `transform` | a transform has a diagonal; its rotations ascend and are below the number of slots |
//! | `output` | there is an output; each has at least one slot, at most as many as there are |
//! | `placed` | all values have a kind or none; without kinds, no `mod_down`, `mod_down_rescale`; with kinds, no `linear_transform`, no `bootstrap` |
//! | `raise` | a `mod_raise` is to the highest level, and its scalar is the quotient of the canonical scales of level 0 and that |
//! | `bound` | the numbers of a bound are finite, positive, the mean not above the largest; a bound of what was raised is on what is made of a `mod_raise` |
//! | `level` | no level is above the highest |
//! | `kind` | the kind of a value is the one that [`kind_of`] derives from its operands |
//! | `unit` | a `mul_i` reads the constant i |
//! | `forget` | the limbs of a product by a constant are all among those of its operand, which may be at a higher level |
//! | `divisor` | a `mod_down_rescale` divides by at most 64 primes, see [`divides_at_once`] |
//! | `family` | there is a variant; a constant has as many periods as there are variants, a callee a multiple of its caller's variants |
//! | `call` | callees, calls and results named by index exist; arguments are as many as the callee's inputs and come before the results; no result is there twice; a callee keeps these rules |
//! | `interface` | a placed callee has levels, those of its inputs and outputs; arguments and results have them, canonical, of degree 1, not raised |
//! | `output-kind` | outputs are canonical, of degree 1 and not raised |

use std::collections::BTreeSet;

use fhe_core::math::double::Double;
use fhe_core::params::{Level, Params};
use kernels_gpu::abi::MAX_CONVERT_SOURCES;
use num_complex::Complex64;

use super::{Function, Kind, Op, Scalar, Scale, Unit, ValueId};
use crate::error::{Error, Result};

/// The kind of an operation's result, or why there is none. `own` decides what the operands leave open: the level of an
/// input, how many levels a product by a constant forgets, and whether the result of a key switch is raised.
///
/// # Errors
/// In words: what the operation needs of its operands.
pub fn kind_of(op: &Op, own: Kind, operands: &[Kind]) -> core::result::Result<Kind, String> {
    let a = operands.first().copied().unwrap_or(own);
    let b = operands.get(1).copied().unwrap_or(a);
    let need = |ok: bool, what: &str| if ok { Ok(()) } else { Err(format!("{} needs {what}", op.name())) };
    let canonical = a.scale == Scale::Canonical && a.degree == 1;
    let low = canonical && !a.raised;
    Ok(match op {
        Op::Input(_) => {
            need(low, "a canonical value of degree 1, not raised")?;
            a
        }
        Op::Add(..) | Op::Sub(..) => {
            need((a.level, a.scale) == (b.level, b.scale), "operands of one level and scale")?;
            let (degree, raised) = (a.degree.max(b.degree), a.raised || b.raised);
            need(!raised || degree == 1, "operands of degree 1 where one is raised")?;
            Kind { degree, raised, ..a }
        }
        Op::Neg(_) => a,
        Op::AddPlain(..) | Op::SubPlain(..) | Op::AddScalar(..) => {
            need(a.degree == 1 && !a.raised, "an operand of degree 1, not raised")?;
            a
        }
        Op::MulPlain(..) | Op::MulScalar(..) => {
            need(canonical, "a canonical operand of degree 1")?;
            need(own.level <= a.level, "an operand at its own level or above")?;
            need(own.level == a.level || !a.raised, "an operand at its own level where that is raised")?;
            Kind { level: own.level, scale: Scale::Product, ..a }
        }
        Op::Mul(..) => {
            need(low && a == b, "canonical operands of degree 1 at one level, not raised")?;
            Kind { scale: Scale::Product, degree: 2, ..a }
        }
        Op::MulI(..) => {
            need(low, "a canonical operand of degree 1, not raised")?;
            a
        }
        Op::Rotate(..) | Op::Conjugate(_) => {
            need(low, "a canonical operand of degree 1, not raised")?;
            Kind { raised: own.raised, ..a }
        }
        Op::Relinearize(_) => {
            need(a.degree == 2, "an operand of degree 2")?;
            Kind { degree: 1, raised: own.raised, ..a }
        }
        Op::Rescale(_) => {
            need(
                a.scale == Scale::Product && a.degree == 1 && !a.raised,
                "a product of degree 1, not raised",
            )?;
            need(a.level > Level(0), "a level above 0")?;
            Kind { level: Level(a.level.0 - 1), scale: Scale::Canonical, ..a }
        }
        Op::ModDown(_) => {
            need(a.raised, "a raised operand")?;
            Kind { raised: false, ..a }
        }
        Op::ModDownRescale(_) => {
            need(a.scale == Scale::Product && a.raised, "a raised product")?;
            need(a.level > Level(0), "a level above 0")?;
            Kind { level: Level(a.level.0 - 1), scale: Scale::Canonical, raised: false, ..a }
        }
        Op::LevelDrop(_, to) => {
            need(low, "a canonical operand of degree 1, not raised")?;
            need(*to < a.level, "a level below its operand's")?;
            Kind { level: *to, ..a }
        }
        Op::Result(..) => {
            need(low, "a canonical value of degree 1, not raised")?;
            a
        }
        Op::ModRaise(_, level, _) => {
            need(low && a.level == Level(0), "a canonical operand of degree 1 at level 0, not raised")?;
            Kind { level: *level, ..a }
        }
        Op::LinearTransform(..) | Op::Bootstrap(..) => {
            return Err(format!("{} has no kind: it must be expanded", op.name()));
        }
    })
}

/// Whether the special primes and those that a rescale from `level` removes are few enough to be divided by at once: the
/// basis conversion of the division has at most [`MAX_CONVERT_SOURCES`] source limbs. It depends on the parameters only.
pub fn divides_at_once(params: &Params, level: Level) -> bool {
    params.removed_at(level).is_ok_and(|r| r.len() + params.special().len() <= MAX_CONVERT_SOURCES)
}

/// Whether the limbs of a level are all among those of another, so that the others can be forgotten.
pub fn forgets(params: &Params, from: Level, to: Level) -> bool {
    let (Ok(from), Ok(to)) = (params.level(from), params.level(to)) else { return false };
    to.basis.iter().all(|limb| from.basis.contains(limb))
}

/// log2 of the scale of a constant that multiplies a canonical value of level `from`, so that the product has the scale of one at level `to`.
///
/// # Errors
/// [`Error::Core`] when a level is not there.
pub fn factor_scale(params: &Params, from: Level, to: Level) -> Result<Double> {
    let (from_scale, own) = (params.level(from)?.log_scale, params.level(to)?.log_scale);
    Ok(if from == to { own } else { own + own - from_scale })
}

/// What `mod_raise` multiplies slots by: the canonical scale of level 0 over that of the highest level.
///
/// # Errors
/// None in practice: both levels are there.
pub fn raise_factor(params: &Params) -> Result<Scalar> {
    let (from, to) = (params.level(Level(0))?.log_scale, params.level(params.max_level())?.log_scale);
    Ok(Scalar::new((from - to).exp2()))
}

/// Checks every rule, those about parameters when they are given. `after` is named in the error.
///
/// # Errors
/// [`Error::Verify`] for the first broken rule.
pub fn verify(function: &Function, params: Option<&Params>, after: &str) -> Result<()> {
    let broken = |rule: &'static str, problem: String| -> Result<()> {
        Err(Error::Verify { after: after.to_owned(), rule, problem })
    };
    let n_slots = params.map(Params::n_slots);
    let period_ok = |p: usize| p.is_power_of_two() && n_slots.is_none_or(|n| p <= n);
    for (i, input) in function.inputs.iter().enumerate() {
        if function.inputs[..i].iter().any(|other| other.name == input.name) {
            return broken("name", format!("two inputs {:?}", input.name));
        }
        if !period_ok(input.period as usize) {
            return broken("period", format!("input {:?} has period {}", input.name, input.period));
        }
    }
    for constant in &function.constants {
        let period = constant.period(function.variants);
        if function.variants == 0 || period * function.variants as usize != constant.values.len() {
            let (found, variants) = (constant.values.len(), function.variants);
            let name = &constant.name;
            return broken(
                "family",
                format!("constant {name:?} has {found} numbers for {variants} variants"),
            );
        }
        if !period_ok(period) {
            return broken("period", format!("constant {:?} has {period}", constant.name));
        }
        if constant.values.iter().any(|z| !z.is_finite()) {
            return broken("finite", format!("constant {:?}", constant.name));
        }
    }
    for (i, transform) in function.transforms.iter().enumerate() {
        let rotations = transform.rotations();
        let beyond = |&d: &u32| n_slots.is_some_and(|n| d as usize >= n);
        if rotations.is_empty() || !rotations.is_sorted_by(|a, b| a < b) || rotations.iter().any(beyond) {
            let name = &transform.name;
            return broken("transform", format!("${i} {name:?} has the rotations {rotations:?}"));
        }
        if transform.diagonals.iter().any(|(_, c)| c.0 as usize >= function.constants.len()) {
            return broken("index", format!("${i} reads a constant that is not there"));
        }
    }
    let mut seen = vec![false; function.inputs.len()];
    let mut results = BTreeSet::new();
    for id in function.ids() {
        let op = function.value(id).op;
        if let Some(late) = op.operands().find(|&a| a >= id) {
            return broken("order", format!("{id} reads {late}"));
        }
        if op.constant().is_some_and(|c| c.0 as usize >= function.constants.len()) {
            return broken("index", format!("{id} reads a constant that is not there"));
        }
        match op {
            Op::Result(c, i) => {
                let call = function.calls.get(c.0 as usize);
                let known =
                    call.and_then(|c| function.callee(c)).is_some_and(|f| (i as usize) < f.outputs.len());
                if !known {
                    return broken("call", format!("{id} is result {i} of {c}, which is not there"));
                }
                if !results.insert((c, i)) {
                    return broken("call", format!("{id} is result {i} of {c} again"));
                }
                if let Some(late) = function.needs(&op).find(|&a| a >= id) {
                    return broken("call", format!("{id} is a result of {late}, which comes later"));
                }
            }
            Op::Input(i) => match seen.get_mut(i.0 as usize) {
                None => return broken("index", format!("{id} reads input {}", i.0)),
                Some(true) => return broken("input-once", format!("{id} reads input {} again", i.0)),
                Some(first) => *first = true,
            },
            Op::LinearTransform(_, t) if t.0 as usize >= function.transforms.len() => {
                return broken("index", format!("{id} reads the transform {t}"));
            }
            Op::Rotate(_, k) if k == 0 || n_slots.is_some_and(|n| k as usize >= n) => {
                return broken("rotation", format!("{id} rotates by {k}"));
            }
            Op::MulI(_, c) if function.constants[c.0 as usize].values.iter().any(|z| *z != Complex64::I) => {
                return broken("unit", format!("{id} multiplies by {c}, which is not the imaginary unit"));
            }
            Op::Bootstrap(_, period) if !period_ok(period as usize) => {
                return broken("period", format!("{id} bootstraps slots of period {period}"));
            }
            Op::ModRaise(_, level, s) => {
                if let Some(params) = params {
                    let expected = (params.max_level(), raise_factor(params)?);
                    if (level, s) != expected {
                        let (level, s, expected) = (level, s.value(), (expected.0, expected.1.value()));
                        return broken(
                            "raise",
                            format!("{id} raises by {:?}, expected {expected:?}", (level, s)),
                        );
                    }
                }
            }
            Op::AddScalar(_, s) | Op::MulScalar(_, s) if !s.value().is_finite() => {
                return broken("finite", format!("{id} has the scalar {}", s.value()));
            }
            _ => {}
        }
    }
    if function.outputs.is_empty() {
        return broken("output", "there is none".to_owned());
    }
    for (i, output) in function.outputs.iter().enumerate() {
        if function.outputs[..i].iter().any(|other| other.name == output.name) {
            return broken("name", format!("two outputs {:?}", output.name));
        }
        if output.value.0 as usize >= function.values.len() {
            return broken("index", format!("output {:?} returns {}", output.name, output.value));
        }
        if output.slots == 0 || n_slots.is_some_and(|n| output.slots as usize > n) {
            return broken("output", format!("{:?} has {} slots", output.name, output.slots));
        }
    }
    for (id, from) in function.ids().zip(function.raised_from()) {
        let Some(bound) = function.value(id).bound else { continue };
        if !bound.is_valid() {
            return broken("bound", format!("{id} has the{bound}"));
        }
        if bound.of != Unit::One && from.is_none() {
            return broken("bound", format!("{id} has the{bound}, and is made of no mod_raise"));
        }
    }
    if let Err((rule, problem)) = verify_calls(function, params, after)? {
        return broken(rule, problem);
    }
    match verify_kinds(function, params) {
        Err((rule, problem)) => broken(rule, problem),
        Ok(()) => Ok(()),
    }
}

type Check = core::result::Result<(), (&'static str, String)>;

fn verify_calls(function: &Function, params: Option<&Params>, after: &str) -> Result<Check> {
    let placed = |f: &Function| f.values.first().is_some_and(|v| v.kind.is_some());
    for (i, callee) in function.callees.iter().enumerate() {
        let name = &callee.name;
        if callee.variants == 0 || !callee.variants.is_multiple_of(function.variants) {
            let (found, own) = (callee.variants, function.variants);
            return Ok(Err(("family", format!("&{i} {name:?} has {found} variants, its caller {own}"))));
        }
        if placed(callee) != placed(function) || (placed(callee) && callee.interface.is_none()) {
            return Ok(Err(("interface", format!("&{i} {name:?} is not placed as its caller is"))));
        }
        verify(callee, params, after)?;
    }
    for (i, call) in function.calls.iter().enumerate() {
        let problem = match function.callee(call) {
            None => format!("!{i} calls {}, which is not there", call.callee),
            Some(f) if call.arguments.len() != f.inputs.len() => {
                format!("!{i} has {} arguments, expected {}", call.arguments.len(), f.inputs.len())
            }
            Some(f) if call.variant >= function.ratio(f) => {
                format!("!{i} is of variant {}, of {}", call.variant, function.ratio(f))
            }
            Some(_) if call.arguments.iter().any(|a| a.0 as usize >= function.values.len()) => {
                format!("!{i} has an argument that is not there")
            }
            Some(_) => continue,
        };
        return Ok(Err(("call", problem)));
    }
    Ok(verify_interface(function))
}

/// The levels at which values enter and leave, of the function and of what it calls.
fn verify_interface(function: &Function) -> Check {
    let crosses = |id: ValueId, level: Option<&Level>, what: &str| {
        let expected = level.map(|&level| Kind { level, scale: Scale::Canonical, degree: 1, raised: false });
        match function.value(id).kind {
            Some(kind) if Some(kind) != expected => {
                Err(("interface", format!("{what} {id} is {{{kind}}}, expected {expected:?}")))
            }
            _ => Ok(()),
        }
    };
    if let Some(levels) = &function.interface {
        if (levels.inputs.len(), levels.outputs.len()) != (function.inputs.len(), function.outputs.len()) {
            return Err((
                "interface",
                format!("{:?} has another number of inputs or outputs", function.name),
            ));
        }
        for (output, level) in function.outputs.iter().zip(&levels.outputs) {
            crosses(output.value, Some(level), "output")?;
        }
    }
    for id in function.ids() {
        match (function.value(id).op, function.call_of(&function.value(id).op)) {
            (Op::Input(i), _) => {
                if let Some(levels) = &function.interface {
                    crosses(id, levels.inputs.get(i.0 as usize), "input")?;
                }
            }
            (Op::Result(_, i), Some(call)) => {
                let levels = function.callee(call).and_then(|callee| callee.interface.as_ref());
                crosses(id, levels.and_then(|levels| levels.outputs.get(i as usize)), "result")?;
                for (j, &argument) in call.arguments.iter().enumerate() {
                    crosses(argument, levels.and_then(|levels| levels.inputs.get(j)), "argument")?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn verify_kinds(function: &Function, params: Option<&Params>) -> Check {
    let kind = |id: ValueId| function.value(id).kind;
    let placed = function.values.first().is_some_and(|v| v.kind.is_some());
    for id in function.ids() {
        let value = function.value(id);
        let Some(own) = value.kind else {
            if placed {
                return Err(("placed", format!("{id} has no kind, others have")));
            }
            if matches!(value.op, Op::ModDown(_) | Op::ModDownRescale(_)) {
                return Err(("placed", format!("{id} is a {} without a kind", value.op.name())));
            }
            continue;
        };
        if matches!(value.op, Op::LinearTransform(..) | Op::Bootstrap(..)) {
            return Err(("placed", format!("{id} is a {} with a kind", value.op.name())));
        }
        if !placed {
            return Err(("placed", format!("{id} has a kind, others have none")));
        }
        if params.is_some_and(|p| own.level > p.max_level()) {
            return Err(("level", format!("{id} is at level {}", own.level)));
        }
        let operands: Vec<Kind> = value.op.operands().filter_map(kind).collect();
        match kind_of(&value.op, own, &operands) {
            Err(problem) => return Err(("kind", format!("{id}: {problem}"))),
            Ok(derived) if derived != own => {
                return Err(("kind", format!("{id} is {{{own}}}, its operands make {{{derived}}}")));
            }
            Ok(_) => {}
        }
        if let (Op::MulPlain(..) | Op::MulScalar(..), [operand]) = (value.op, &operands[..])
            && params.is_some_and(|p| !forgets(p, operand.level, own.level))
        {
            let (from, to) = (operand.level, own.level);
            return Err(("forget", format!("{id} is at {to}, which has limbs that {from} has not")));
        }
        if let (Op::ModDownRescale(_), [operand]) = (value.op, &operands[..])
            && params.is_some_and(|p| !divides_at_once(p, operand.level))
        {
            let level = operand.level;
            return Err((
                "divisor",
                format!("{id} divides by more than {MAX_CONVERT_SOURCES} primes at {level}"),
            ));
        }
    }
    for output in &function.outputs {
        if let Some(kind) = kind(output.value)
            && (kind.scale != Scale::Canonical || kind.degree != 1 || kind.raised)
        {
            return Err(("output-kind", format!("output {:?} is {{{kind}}}", output.name)));
        }
    }
    Ok(())
}

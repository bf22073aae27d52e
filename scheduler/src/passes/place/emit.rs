//! The last step of placement: the function with kinds, in which each user gets the form that it wants.

use std::collections::BTreeMap;

use fhe_core::params::Level;

use super::{CANONICAL, Shape, interface, kind, operand_shape, output_levels};
use crate::ckks_ir::{Function, Kind, Op, Scale, Value, ValueId};
use crate::error::Result;

/// The function with these shapes and levels.
///
/// # Errors
/// [`crate::Error::Verify`]: a callee has no levels.
pub(super) fn emit(function: &Function, shapes: &[Shape], levels: &[Level]) -> Result<Function> {
    let mut out = Function { values: Vec::new(), ..function.clone() };
    let mut emitter = Emitter { out: &mut out, shapes, levels, own: Vec::new(), forms: BTreeMap::new() };
    for id in function.ids() {
        let i = id.0 as usize;
        let value = function.value(id);
        let new = match value.op {
            Op::Relinearize(a) | Op::Rescale(a) | Op::LevelDrop(a, _) => {
                emitter.written(value, a, shapes[i], levels[i])
            }
            Op::Result(c, _) => {
                let call = &function.calls[c.0 as usize];
                let wanted = interface(function, call)?.inputs.iter();
                let arguments = call.arguments.iter().zip(wanted);
                let arguments: Vec<ValueId> =
                    arguments.map(|(&a, &level)| emitter.deliver(a, CANONICAL, level)).collect();
                emitter.out.calls[c.0 as usize].arguments = arguments;
                emitter.out.push_like(value, value.op, Some(kind(CANONICAL, levels[i])))
            }
            op => {
                let want = operand_shape(&op, shapes[i]);
                let level = if matches!(op, Op::ModRaise(..)) { Level(0) } else { levels[i] };
                let op = op.map(|a| emitter.deliver(a, want, level));
                emitter.out.push_like(value, op, Some(kind(shapes[i], levels[i])))
            }
        };
        emitter.own.push(new);
    }
    let outputs = function.outputs.iter().zip(output_levels(function));
    let outputs: Vec<ValueId> =
        outputs.map(|(o, level)| emitter.deliver(o.value, CANONICAL, level)).collect();
    for (output, value) in out.outputs.iter_mut().zip(outputs) {
        output.value = value;
    }
    Ok(out)
}

struct Emitter<'a> {
    out: &'a mut Function,
    shapes: &'a [Shape],
    levels: &'a [Level],
    /// The new id of each old value.
    own: Vec<ValueId>,
    /// Other forms that were made of an old value.
    forms: BTreeMap<(ValueId, Kind), ValueId>,
}

impl Emitter<'_> {
    /// The value in the shape and at the level that a user wants.
    fn deliver(&mut self, old: ValueId, want: Shape, level: Level) -> ValueId {
        let i = old.0 as usize;
        let mut id = self.own[i];
        let mut kind = kind(self.shapes[i], self.levels[i]);
        if kind.degree > want.degree {
            kind.degree = want.degree;
            id = self.form(old, Op::Relinearize(id), kind);
        }
        if kind.scale == Scale::Product && want.scale == Scale::Canonical {
            kind = Kind { level: Level(kind.level.0 - 1), scale: Scale::Canonical, ..kind };
            id = self.form(old, Op::Rescale(id), kind);
        }
        if kind.level > level {
            kind.level = level;
            id = self.form(old, Op::LevelDrop(id, level), kind);
        }
        id
    }

    /// The form of `a` that the user wrote as `value`; its last step has her name and line, unless others have it already.
    fn written(&mut self, value: &Value, a: ValueId, shape: Shape, level: Level) -> ValueId {
        let before = self.out.values.len();
        let id = self.deliver(a, shape, level);
        let made = &mut self.out.values[id.0 as usize];
        if id.0 as usize >= before {
            made.at.clone_from(&value.at);
        }
        if made.name.is_none() {
            made.name.clone_from(&value.name);
        }
        id
    }

    fn form(&mut self, old: ValueId, op: Op, kind: Kind) -> ValueId {
        let (of, out) = (self.own[old.0 as usize], &mut *self.out);
        *self.forms.entry((old, kind)).or_insert_with(|| out.push_form(of, op, Some(kind)))
    }
}

//! Placement of levels, scales, relinearization, rescale and level_drop. The user writes none of these, unless she wants one somewhere.
//!
//! 1. *Shape*, forwards. A product (scale `S_l^2`, degree 2 for ct x ct) stays one through its only user if
//!    that is `add`, `sub` or `neg` and the other operand is a product too: sums of products are
//!    relinearized and rescaled once. Everywhere else a value is brought to its canonical form first, so
//!    rotations run one level lower.
//! 2. *Level*, backwards. Outputs need level 0; each value runs at the lowest level that its most demanding
//!    user needs. So every operation, and the encryption of every input, is as small as can be.
//! 3. *Emission*, forwards: relinearize, rescale, level_drop where a user wants another form than the value
//!    has.
//!
//! What the user wrote is a form of its operand, made where she wrote it: `relinearize` the product of degree 1, `rescale` the canonical
//! form, `level_drop` the canonical form at exactly that level. All users of it get that form; `super::overrides` has the words for what cannot be.

use std::collections::BTreeMap;

use fhe_core::params::{Level, Params};

use super::overrides;
use crate::ckks_ir::{Function, Kind, Op, Scale, Value, ValueId};
use crate::error::{Error, Result};

/// Places everything in a function without kinds and without transforms.
///
/// # Errors
/// [`Error::TooDeep`] names the longest chain; [`Error::Override`] what the user wrote that cannot be.
pub fn place(function: &Function, params: &Params) -> Result<Function> {
    let shapes = shapes(function)?;
    let levels = levels(function, &shapes, params)?;
    let mut out = Function { values: Vec::new(), ..function.clone() };
    let mut emitter =
        Emitter { out: &mut out, shapes: &shapes, levels: &levels, own: Vec::new(), forms: BTreeMap::new() };
    for id in function.ids() {
        let i = id.0 as usize;
        let value = function.value(id);
        let new = match value.op {
            Op::Relinearize(a) | Op::Rescale(a) | Op::LevelDrop(a, _) => {
                emitter.written(value, a, shapes[i], levels[i])
            }
            op => {
                let want = operand_shape(&op, shapes[i]);
                let op = op.map(|a| emitter.deliver(a, want, levels[i]));
                emitter.out.push_like(value, op, Some(kind(shapes[i], levels[i])))
            }
        };
        emitter.own.push(new);
    }
    let outputs: Vec<ValueId> =
        function.outputs.iter().map(|o| emitter.deliver(o.value, CANONICAL, Level(0))).collect();
    for (output, value) in out.outputs.iter_mut().zip(outputs) {
        output.value = value;
    }
    Ok(out)
}

/// The levels that [`place`] will give the values of a function, which may have transforms: that of a transform is the level of its result,
/// its products are made one level higher.
///
/// # Errors
/// Those of [`place`].
pub(super) fn levels_of(function: &Function, params: &Params) -> Result<Vec<Level>> {
    levels(function, &shapes(function)?, params)
}

/// Scale and degree, without the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    scale: Scale,
    degree: u8,
}

fn kind(shape: Shape, level: Level) -> Kind {
    Kind { level, scale: shape.scale, degree: shape.degree, raised: false }
}

const CANONICAL: Shape = Shape { scale: Scale::Canonical, degree: 1 };

const fn product(degree: u8) -> Shape {
    Shape { scale: Scale::Product, degree }
}

/// What an operation of this shape wants of its operands.
fn operand_shape(op: &Op, own: Shape) -> Shape {
    if matches!(op, Op::Add(..) | Op::Sub(..) | Op::Neg(_) | Op::Relinearize(_)) { own } else { CANONICAL }
}

fn shapes(function: &Function) -> Result<Vec<Shape>> {
    let users = function.users();
    let only_user = |id: ValueId| {
        let (first, rest) = users[id.0 as usize].split_first()?;
        let alone =
            rest.iter().all(|user| user == first) && function.outputs.iter().all(|output| output.value != id);
        alone.then_some(*first)
    };
    // One whose operand has other users has the level that they need, which a product cannot leave.
    let free = |id: ValueId| match function.value(id).op {
        Op::Relinearize(a) => only_user(a).is_some(),
        _ => true,
    };
    let linear = |user: ValueId| matches!(function.value(user).op, Op::Add(..) | Op::Sub(..) | Op::Neg(_));
    let keeps: Vec<bool> = function.ids().map(|id| only_user(id).is_some_and(linear) && free(id)).collect();
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

fn levels(function: &Function, shapes: &[Shape], params: &Params) -> Result<Vec<Level>> {
    let mut levels = vec![Level(0); function.values.len()];
    // The user that a value owes its level to.
    let mut because: Vec<Option<ValueId>> = vec![None; function.values.len()];
    // What users need of a value whose level was written.
    let mut needs: BTreeMap<ValueId, Level> = BTreeMap::new();
    let rescales = |a: ValueId, want: Shape| {
        u32::from(shapes[a.0 as usize].scale == Scale::Product && want.scale == Scale::Canonical)
    };
    for output in &function.outputs {
        levels[output.value.0 as usize] = Level(rescales(output.value, CANONICAL));
    }
    for id in function.ids().collect::<Vec<_>>().into_iter().rev() {
        let i = id.0 as usize;
        let op = function.value(id).op;
        if let Op::LevelDrop(_, written) = op {
            if levels[i] > written {
                return Err(overrides::below_its_user(function, id, levels[i], because[i]));
            }
            needs.insert(id, levels[i]);
            levels[i] = written;
        }
        let want = operand_shape(&op, shapes[i]);
        // The products of a transform owe a rescale, whichever way it is split.
        let within = u32::from(matches!(op, Op::LinearTransform(..)));
        for a in op.operands() {
            let need = Level(levels[i].0.saturating_add(within + rescales(a, want)));
            let j = a.0 as usize;
            if need > levels[j] || (need == levels[j] && because[j].is_none()) {
                levels[j] = need;
                because[j] = Some(id);
            }
        }
    }
    for id in function.ids() {
        if let Op::Relinearize(a) = function.value(id).op {
            levels[id.0 as usize] = levels[a.0 as usize];
        }
    }
    let deepest = function.ids().max_by_key(|id| (levels[id.0 as usize], core::cmp::Reverse(*id)));
    let needed = deepest.map_or(Level(0), |id| levels[id.0 as usize]);
    if needed <= params.max_level() {
        return Ok(levels);
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
            Op::Mul(..) | Op::MulPlain(..) | Op::MulScalar(..) | Op::LinearTransform(..) | Op::LevelDrop(..)
        );
        if costs || value.name.is_some() {
            chain.push(function.describe_at(id));
        }
        at = because[id.0 as usize];
    }
    Err(Error::TooDeep { needed: needed.0, available: params.max_level(), chain })
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

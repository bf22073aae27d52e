//! Placement of levels, scales, relinearization, rescale and level_drop. The user writes none of these.
//!
//! 1. *Shape*, forwards. A product (scale `S_l^2`, degree 2 for ct x ct) stays one through its only user if
//!    that is `add`, `sub` or `neg` and the other operand is a product too: sums of products are
//!    relinearized and rescaled once. Everywhere else a value is brought to its canonical form first, so
//!    rotations run one level lower.
//! 2. *Level*, backwards. Outputs need level 0; each value runs at the lowest level that its most demanding
//!    user needs. So every operation, and the encryption of every input, is as small as can be.
//! 3. *Emission*, forwards: relinearize, rescale, level_drop where a user wants another form than the value
//!    has.

use std::collections::BTreeMap;

use fhe_core::params::{Level, Params};

use crate::ckks_ir::{Function, Kind, Op, Scale, Value, ValueId};
use crate::error::{Error, Result};

/// Places everything in a function without kinds.
///
/// # Errors
/// [`Error::TooDeep`] names the longest chain.
pub fn place(function: &Function, params: &Params) -> Result<Function> {
    let shapes = shapes(function);
    let levels = levels(function, &shapes, params)?;
    let mut out = Function { values: Vec::new(), ..function.clone() };
    let mut emitter =
        Emitter { out: &mut out, shapes: &shapes, levels: &levels, own: Vec::new(), forms: BTreeMap::new() };
    for id in function.ids() {
        let i = id.0 as usize;
        let value = function.value(id);
        let want = operand_shape(&value.op, shapes[i]);
        let op = value.op.map(|a| emitter.deliver(a, want, levels[i]));
        let new = emitter.out.push_like(value, op, Some(kind(shapes[i], levels[i])));
        emitter.own.push(new);
    }
    let outputs: Vec<ValueId> =
        function.outputs.iter().map(|o| emitter.deliver(o.value, CANONICAL, Level(0))).collect();
    for (output, value) in out.outputs.iter_mut().zip(outputs) {
        output.value = value;
    }
    Ok(out)
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

/// What an operation of this shape wants of its operands.
fn operand_shape(op: &Op, own: Shape) -> Shape {
    if matches!(op, Op::Add(..) | Op::Sub(..) | Op::Neg(_)) { own } else { CANONICAL }
}

fn shapes(function: &Function) -> Vec<Shape> {
    let users = function.users();
    let keeps: Vec<bool> = function
        .ids()
        .map(|id| {
            let mut users = users[id.0 as usize].clone();
            users.dedup();
            let linear =
                |u: &ValueId| matches!(function.value(*u).op, Op::Add(..) | Op::Sub(..) | Op::Neg(_));
            users.len() == 1
                && users.iter().all(linear)
                && function.outputs.iter().all(|output| output.value != id)
        })
        .collect();
    let mut shapes: Vec<Shape> = Vec::with_capacity(function.values.len());
    for value in &function.values {
        let delivered = |a: ValueId| if keeps[a.0 as usize] { shapes[a.0 as usize] } else { CANONICAL };
        let product = |degree| Shape { scale: Scale::Product, degree };
        let shape = match value.op {
            Op::Mul(..) => product(2),
            Op::MulPlain(..) | Op::MulScalar(..) => product(1),
            Op::Neg(a) => delivered(a),
            Op::Add(a, b) | Op::Sub(a, b) => match (delivered(a), delivered(b)) {
                (a, b) if a.scale == Scale::Product && b.scale == Scale::Product => {
                    product(a.degree.max(b.degree))
                }
                _ => CANONICAL,
            },
            _ => CANONICAL,
        };
        shapes.push(shape);
    }
    shapes
}

fn levels(function: &Function, shapes: &[Shape], params: &Params) -> Result<Vec<Level>> {
    let mut levels = vec![Level(0); function.values.len()];
    // The user that a value owes its level to.
    let mut because: Vec<Option<ValueId>> = vec![None; function.values.len()];
    let rescales = |a: ValueId, want: Shape| {
        u32::from(shapes[a.0 as usize].scale == Scale::Product && want.scale == Scale::Canonical)
    };
    for output in &function.outputs {
        levels[output.value.0 as usize] = Level(rescales(output.value, CANONICAL));
    }
    for id in function.ids().collect::<Vec<_>>().into_iter().rev() {
        let i = id.0 as usize;
        let op = function.value(id).op;
        let want = operand_shape(&op, shapes[i]);
        for a in op.operands() {
            let need = Level(levels[i].0 + rescales(a, want));
            let j = a.0 as usize;
            if need > levels[j] || (need == levels[j] && because[j].is_none()) {
                levels[j] = need;
                because[j] = Some(id);
            }
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
        let costs = matches!(value.op, Op::Mul(..) | Op::MulPlain(..) | Op::MulScalar(..));
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

    fn form(&mut self, old: ValueId, op: Op, kind: Kind) -> ValueId {
        let out = &mut *self.out;
        // The name stays with the value itself; where it was written is true of its forms too.
        let at = out.value(self.own[old.0 as usize]).at.clone();
        let form = Value { op, kind: Some(kind), name: None, at };
        *self.forms.entry((old, kind)).or_insert_with(|| out.push_like(&form, op, Some(kind)))
    }
}

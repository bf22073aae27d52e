//! A `level_drop` whose work a product can do. A product by a constant at level `l` has the scale `S_l^2`, whatever the scale of its
//! operand is, if the constant is encoded at `S_l^2` over that: so the operand may be at any level above whose limbs are all those of `l` and more,
//! which are forgotten.
//!
//! ```text
//! mul_scalar (level_drop z, l) c             mul_scalar z c, at level l
//! rescale p + level_drop z, l - 1            rescale (p + mul_scalar z 1), all at level l
//! ```
//!
//! A drop divides by primes: transforms and a basis conversion of both halves. It stays where a product of ciphertexts needs it, and where the constant
//! would have fewer bits than its level's scale by more than `MAX_LOST_BITS`.

use fhe_core::params::{Level, Params};

use super::dce;
use crate::ckks_ir::verify::{factor_scale, forgets};
use crate::ckks_ir::{Function, Kind, Op, Scalar, Scale, Value, ValueId};

/// Scales of neighbouring levels differ by less but where a chain changes its step.
const MAX_LOST_BITS: f64 = 6.0;

/// Absorbs the drops of a placed function, in which nothing is raised yet.
pub fn absorb_drops(function: &Function, params: &Params) -> Function {
    let users = function.users();
    let returned = function.returned();
    let alone = |id: ValueId| users[id.0 as usize].len() == 1 && !returned[id.0 as usize];
    // Whether nothing is left of a drop: all that takes it can do without.
    let absorbed = |drop: ValueId| {
        let absorbs = |user: &ValueId| match function.value(*user).op {
            Op::MulScalar(..) | Op::MulPlain(..) => true,
            Op::Add(a, b) | Op::Sub(a, b) => {
                let other = if a == drop { b } else { a };
                matches!(function.value(other).op, Op::Rescale(_)) && alone(other)
            }
            _ => false,
        };
        !returned[drop.0 as usize] && users[drop.0 as usize].iter().all(absorbs)
    };
    let mut out = Function { values: Vec::with_capacity(function.values.len()), ..function.clone() };
    let mut new: Vec<ValueId> = Vec::with_capacity(function.values.len());
    for id in function.ids() {
        let value = function.value(id);
        let op = value.op.map(|a| new[a.0 as usize]);
        let op = match (value.op, value.kind) {
            (Op::MulScalar(..) | Op::MulPlain(..), Some(kind)) => {
                op.map(|a| dropped(&out, a, kind, params).unwrap_or(a))
            }
            (Op::Add(a, b) | Op::Sub(a, b), Some(kind)) if kind.scale == Scale::Canonical => {
                let subtract = matches!(value.op, Op::Sub(..));
                let orders = [(a, b, false), (b, a, true)].into_iter();
                let mut orders = orders.filter(|&(a, b, _)| alone(a) && absorbed(b));
                let sum = orders.find_map(|(a, b, turned)| {
                    let operands = [new[a.0 as usize], new[b.0 as usize]];
                    joined(&mut out, value, operands, (subtract, turned), params)
                });
                sum.unwrap_or(op)
            }
            _ => op,
        };
        new.push(out.push_like(value, op, value.kind));
    }
    out.rename_ends(|id| new[id.0 as usize]);
    dce::dce(&out)
}

/// What was dropped to `a`, if a product of a kind can take it as it is.
fn dropped(out: &Function, a: ValueId, kind: Kind, params: &Params) -> Option<ValueId> {
    let Op::LevelDrop(source, _) = out.value(a).op else { return None };
    let from = out.value(source).kind?;
    absorbs(params, from.level, kind.level).then_some(source)
}

/// Whether a product by a constant at level `to` can take what is at `from` as it is.
pub(super) fn absorbs(params: &Params, from: Level, to: Level) -> bool {
    let (Ok(factor), Ok(own)) = (factor_scale(params, from, to), params.level(to)) else { return false };
    let precise = (own.log_scale - factor).to_f64() <= MAX_LOST_BITS;
    from >= to && forgets(params, from, to) && precise
}

/// `rescale` of a sum with the product that `a` is the rescale of, in place of `a + b`, or the difference that is asked for.
fn joined(
    out: &mut Function,
    value: &Value,
    [a, b]: [ValueId; 2],
    (subtract, turned): (bool, bool),
    params: &Params,
) -> Option<Op> {
    let Op::Rescale(product) = out.value(a).op else { return None };
    let kind = out.value(product).kind?;
    let source = dropped(out, b, kind, params)?;
    let lifted = out.push_form(b, Op::MulScalar(source, Scalar::new(1.0)), Some(kind));
    let (x, y) = if turned { (lifted, product) } else { (product, lifted) };
    let sum = Value { name: None, ..value.clone() };
    let sum = out.push_like(&sum, if subtract { Op::Sub(x, y) } else { Op::Add(x, y) }, Some(kind));
    Some(Op::Rescale(sum))
}

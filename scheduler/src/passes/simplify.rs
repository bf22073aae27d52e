//! Local rewrites that save a level or an operation: `x * 1 = x`, `x * -1 = -x`, `x * 2 = x + x`, `x + 0 =
//! x`, `--x = x`, `x + -y = x - y`, `x - -y = x + y`.

use crate::ckks_ir::{Function, Op, ValueId};

/// Rewrites each value once, operands first.
pub fn simplify(function: &Function) -> Function {
    let mut out = Function { values: Vec::with_capacity(function.values.len()), ..function.clone() };
    let mut new: Vec<ValueId> = Vec::with_capacity(function.values.len());
    for value in &function.values {
        let op = value.op.map(|a| new[a.0 as usize]);
        let negated = |id: ValueId| match out.value(id).op {
            Op::Neg(a) => Some(a),
            _ => None,
        };
        let same = |id: ValueId| (None, Some(id));
        let (op, replaced) = match op {
            Op::MulScalar(a, s) if s.value() == 1.0 => same(a),
            Op::MulScalar(a, s) if s.value() == -1.0 => match negated(a) {
                Some(b) => same(b),
                None => (Some(Op::Neg(a)), None),
            },
            Op::MulScalar(a, s) if s.value() == 2.0 => (Some(Op::Add(a, a)), None),
            Op::AddScalar(a, s) if s.value() == 0.0 => same(a),
            Op::Neg(a) => match negated(a) {
                Some(b) => same(b),
                None => (Some(op), None),
            },
            Op::Add(a, b) => match (negated(a), negated(b)) {
                (_, Some(b)) => (Some(Op::Sub(a, b)), None),
                (Some(a), None) => (Some(Op::Sub(b, a)), None),
                _ => (Some(op), None),
            },
            Op::Sub(a, b) => (Some(negated(b).map_or(op, |b| Op::Add(a, b))), None),
            _ => (Some(op), None),
        };
        let id = match (op, replaced) {
            (Some(op), _) => out.push_like(value, op, value.kind),
            (None, Some(id)) => id,
            (None, None) => out.push_like(value, value.op, value.kind),
        };
        new.push(id);
    }
    for output in &mut out.outputs {
        output.value = new[output.value.0 as usize];
    }
    out
}

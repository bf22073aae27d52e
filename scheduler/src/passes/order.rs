//! Order by level: all operations of the highest level first, in their old order, then those of the next.
//!
//! An operation works at the level of its operands, which in a placed function is one level, and whatever
//! made them worked at that level or above; so the new order keeps operands before their use. Operations of
//! one level then stand together, which is what batching and segments feed on: one segment a level instead
//! of one each time that a sum is rescaled and rotated.

use crate::ckks_ir::{Function, ValueId};

/// Sorts a placed function; one without kinds stays as it is.
pub fn by_level(function: &Function) -> Function {
    let level = |id: ValueId| function.value(id).kind.map(|k| k.level);
    let works_at = |id: &ValueId| {
        let operands = function.value(*id).op.operands().map(level).max();
        core::cmp::Reverse(operands.unwrap_or_else(|| level(*id)))
    };
    let mut order: Vec<ValueId> = function.ids().collect();
    order.sort_by_key(works_at);
    let mut new = vec![ValueId(0); order.len()];
    let mut out = Function { values: Vec::with_capacity(order.len()), ..function.clone() };
    for id in order {
        let value = function.value(id);
        let op = value.op.map(|a| new[a.0 as usize]);
        new[id.0 as usize] = out.push_like(value, op, value.kind);
    }
    for output in &mut out.outputs {
        output.value = new[output.value.0 as usize];
    }
    out
}

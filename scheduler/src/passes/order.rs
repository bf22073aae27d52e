//! Order by level: all operations of the highest level first, in their old order, then those of the next.
//!
//! An operation works at the level of its operands, which in a placed function is one level (a product by a constant at its own, the rest of its operand it
//! forgets), and whatever made them worked at that level or above; so the new order keeps operands before their use. Operations of
//! one level then stand together, which is what batching and segments feed on: one segment a level instead
//! of one each time that a sum is rescaled and rotated.
//!
//! Bootstrapping raises what was low, and everything after it comes after everything before: levels fall between one such rise and the next.
//!
//! A call works at the lowest level of its arguments, which is not below that of a result, unless it bootstraps. Among what works at one level, calls come as late as
//! they can: first what needs no call of that level, then the first calls, then what needs them, and so on.

use core::cmp::Reverse;

use fhe_core::params::Level;

use crate::ckks_ir::{Function, Op, ValueId};

type Key = (u32, Reverse<Option<Level>>, u32, bool);

/// Sorts a placed function; one without kinds stays as it is.
pub fn by_level(function: &Function) -> Function {
    let level = |id: ValueId| function.value(id).kind.map(|k| k.level);
    // After how many rises each value comes, where it works, how many calls of that level it needs, and whether it is no result.
    let mut keys: Vec<Key> = Vec::with_capacity(function.values.len());
    // The same for what uses it.
    let mut rises: Vec<u32> = Vec::with_capacity(function.values.len());
    for id in function.ids() {
        let op = &function.value(id).op;
        let is_result = matches!(op, Op::Result(..));
        let levels = function.needs(op).map(level);
        let works_at = match op {
            Op::Result(..) => levels.min(),
            // What it forgets it does not work on.
            Op::MulPlain(..) | Op::MulScalar(..) => Some(level(id)),
            _ => levels.max(),
        };
        let works_at = Reverse(works_at.unwrap_or_else(|| level(id)));
        let after = function.needs(op).map(|a| rises[a.0 as usize]).max().unwrap_or(0);
        let here = |key: &&Key| (key.0, key.1) == (after, works_at);
        let calls = function.needs(op).map(|a| &keys[a.0 as usize]).filter(here).map(|key| key.2).max();
        keys.push((after, works_at, calls.unwrap_or(0) + u32::from(is_result), !is_result));
        rises.push(after + u32::from(level(id) > works_at.0));
    }
    let mut order: Vec<ValueId> = function.ids().collect();
    order.sort_by_key(|id| keys[id.0 as usize]);
    let mut new = vec![ValueId(0); order.len()];
    let mut out = Function { values: Vec::with_capacity(order.len()), ..function.clone() };
    for id in order {
        let value = function.value(id);
        let op = value.op.map(|a| new[a.0 as usize]);
        new[id.0 as usize] = out.push_like(value, op, value.kind);
    }
    out.rename_ends(|id| new[id.0 as usize]);
    out
}

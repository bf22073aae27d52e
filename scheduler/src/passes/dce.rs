//! Dead code: what no output needs. Inputs stay, they are the interface; so do all outputs of a callee.

use std::sync::Arc;

use crate::ckks_ir::{Call, CallIdx, CalleeIdx, ConstId, Function, Op, TransformIdx, ValueId};
use crate::poly_ir::{self, EncodedIdx, PolyId, SlotsIdx};

/// Drops values without use, and then calls, callees, transforms and constants without use.
pub fn dce(function: &Function) -> Function {
    let mut live = function.returned();
    for id in function.ids().collect::<Vec<_>>().into_iter().rev() {
        let op = &function.value(id).op;
        if matches!(op, Op::Input(_)) {
            live[id.0 as usize] = true;
        }
        if live[id.0 as usize] {
            function.needs(op).for_each(|a| live[a.0 as usize] = true);
        }
    }
    let alive = || function.ids().filter(|id| live[id.0 as usize]);
    let mut used = vec![false; function.constants.len()];
    alive()
        .flat_map(|id| function.constants_of(&function.value(id).op))
        .for_each(|c| used[c.0 as usize] = true);
    let mut out = Function {
        name: function.name.clone(),
        variants: function.variants,
        interface: function.interface.clone(),
        inputs: function.inputs.clone(),
        outputs: function.outputs.clone(),
        ..Function::default()
    };
    let mut new_calls: Vec<Option<CallIdx>> = vec![None; function.calls.len()];
    let mut new_callees: Vec<Option<CalleeIdx>> = vec![None; function.callees.len()];
    let mut new_constants = vec![ConstId(0); function.constants.len()];
    for (i, constant) in function.constants.iter().enumerate().filter(|&(i, _)| used[i]) {
        new_constants[i] = ConstId(out.constants.len() as u32);
        out.constants.push(constant.clone());
    }
    let mut new_transforms: Vec<Option<TransformIdx>> = vec![None; function.transforms.len()];
    let mut new = vec![ValueId(0); function.values.len()];
    for id in alive() {
        let value = function.value(id);
        let op = match value.op.map(|a| new[a.0 as usize]) {
            Op::AddPlain(a, c) => Op::AddPlain(a, new_constants[c.0 as usize]),
            Op::SubPlain(a, c) => Op::SubPlain(a, new_constants[c.0 as usize]),
            Op::MulPlain(a, c) => Op::MulPlain(a, new_constants[c.0 as usize]),
            Op::MulI(a, c) => Op::MulI(a, new_constants[c.0 as usize]),
            Op::LinearTransform(a, t) => {
                let moved = || {
                    let mut transform = function.transforms[t.0 as usize].clone();
                    transform.diagonals.iter_mut().for_each(|(_, c)| *c = new_constants[c.0 as usize]);
                    out.transforms.push(transform);
                    TransformIdx(out.transforms.len() as u32 - 1)
                };
                Op::LinearTransform(a, *new_transforms[t.0 as usize].get_or_insert_with(moved))
            }
            Op::Result(c, i) => {
                let moved = || {
                    let call = &function.calls[c.0 as usize];
                    let callee = *new_callees[call.callee.0 as usize].get_or_insert_with(|| {
                        out.callees.push(Arc::clone(&function.callees[call.callee.0 as usize]));
                        CalleeIdx(out.callees.len() as u32 - 1)
                    });
                    out.calls.push(Call { callee, ..call.clone() });
                    CallIdx(out.calls.len() as u32 - 1)
                };
                Op::Result(*new_calls[c.0 as usize].get_or_insert_with(moved), i)
            }
            op => op,
        };
        new[id.0 as usize] = out.push_like(value, op, value.kind);
    }
    out.rename_ends(|id| new[id.0 as usize]);
    out
}

/// Drops polynomials without use, and then encoded constants and slots without use. Calls stay.
pub fn poly_dce(function: poly_ir::Function) -> poly_ir::Function {
    let mut live = vec![false; function.values.len()];
    function.ends().for_each(|id| live[id.0 as usize] = true);
    for i in (0..live.len()).rev() {
        if live[i] {
            function.values[i].op.operands().for_each(|a| live[a.0 as usize] = true);
        }
    }
    let mut out = poly_ir::Function {
        name: function.name,
        inputs: function.inputs,
        outputs: function.outputs,
        callees: function.callees,
        calls: function.calls,
        ..poly_ir::Function::default()
    };
    let mut new = vec![PolyId(0); live.len()];
    let mut new_encoded: Vec<Option<EncodedIdx>> = vec![None; function.encoded.len()];
    let mut new_slots: Vec<Option<SlotsIdx>> = vec![None; function.slots.len()];
    for (i, mut value) in function.values.into_iter().enumerate().filter(|&(i, _)| live[i]) {
        value.op = value.op.map(|a| new[a.0 as usize]);
        if let poly_ir::Op::Constant(e) = &mut value.op {
            let old = e.0 as usize;
            *e = *new_encoded[old].get_or_insert_with(|| {
                out.encoded.push(function.encoded[old]);
                EncodedIdx(out.encoded.len() as u32 - 1)
            });
        }
        if let poly_ir::Op::EmbedInverse(s) = &mut value.op {
            let old = s.0 as usize;
            *s = *new_slots[old].get_or_insert_with(|| {
                out.slots.push(function.slots[old]);
                SlotsIdx(out.slots.len() as u32 - 1)
            });
        }
        new[i] = PolyId(out.values.len() as u32);
        out.values.push(value);
    }
    out.rename_ends(|id| new[id.0 as usize]);
    out
}

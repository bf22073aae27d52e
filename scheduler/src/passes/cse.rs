//! Common subexpressions: equal operations on equal operands become one value, equal constants one constant, equal transforms one
//! transform.

use std::collections::BTreeMap;

use crate::ckks_ir::{Bound, ConstId, Function, Kind, Op, TransformIdx, ValueId};

/// Merges; of several names the first is kept, and the location of the first value.
pub fn cse(function: &Function) -> Function {
    let mut constants: BTreeMap<Vec<(u64, u64)>, ConstId> = BTreeMap::new();
    let canonical: Vec<ConstId> = (0u32..)
        .zip(&function.constants)
        .map(|(i, c)| {
            let bits = c.values.iter().map(|z| (z.re.to_bits(), z.im.to_bits())).collect();
            *constants.entry(bits).or_insert(ConstId(i))
        })
        .collect();
    let mut out = Function { values: Vec::with_capacity(function.values.len()), ..function.clone() };
    let mut transforms: BTreeMap<Vec<(u32, ConstId)>, TransformIdx> = BTreeMap::new();
    let mut canonical_transforms: Vec<TransformIdx> = Vec::with_capacity(out.transforms.len());
    for (i, transform) in (0u32..).zip(&mut out.transforms) {
        transform.diagonals.iter_mut().for_each(|(_, c)| *c = canonical[c.0 as usize]);
        let diagonals = transform.diagonals.clone();
        canonical_transforms.push(*transforms.entry(diagonals).or_insert(TransformIdx(i)));
    }
    let mut new: Vec<ValueId> = Vec::with_capacity(function.values.len());
    let mut seen: BTreeMap<(Op, Option<Kind>), ValueId> = BTreeMap::new();
    for value in &function.values {
        let op = match value.op.map(|a| new[a.0 as usize]) {
            Op::Add(a, b) if b < a => Op::Add(b, a),
            Op::Mul(a, b) if b < a => Op::Mul(b, a),
            Op::AddPlain(a, c) => Op::AddPlain(a, canonical[c.0 as usize]),
            Op::SubPlain(a, c) => Op::SubPlain(a, canonical[c.0 as usize]),
            Op::MulPlain(a, c) => Op::MulPlain(a, canonical[c.0 as usize]),
            Op::MulI(a, c) => Op::MulI(a, canonical[c.0 as usize]),
            Op::LinearTransform(a, t) => Op::LinearTransform(a, canonical_transforms[t.0 as usize]),
            op => op,
        };
        let id = match seen.get(&(op, value.kind)) {
            Some(&id) => {
                let kept = &mut out.values[id.0 as usize];
                kept.bound = Bound::both(kept.bound, value.bound);
                if kept.name.is_none() {
                    kept.name.clone_from(&value.name);
                }
                id
            }
            None => {
                let id = out.push_like(value, op, value.kind);
                seen.insert((op, value.kind), id);
                id
            }
        };
        new.push(id);
    }
    out.rename_ends(|id| new[id.0 as usize]);
    out
}

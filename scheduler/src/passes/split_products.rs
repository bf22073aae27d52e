//! An inner product that is only sliced, into parts without a common limb, becomes one inner product a part, of slices of its factors.
//!
//! ```text
//! sum_t a_t b_t  restricted to B   =   sum_t (a_t restricted to B) (b_t restricted to B)
//! ```
//!
//! No work is added: a limb is computed once, as before, and a slice of a factor is no copy. What is added to one part alone can then be
//! what its product starts from ([`super::fuse`]): a raised sum to which P times a ciphertext is added, which is 0 modulo the special
//! primes, as the rotation by nothing of a matrix is.

use std::collections::{BTreeMap, BTreeSet};

use fhe_core::params::{GaloisElement, LimbIdx};

use crate::poly_ir::{Function, Op, Origin, PolyId, Value};

/// The pass.
pub fn split_products(mut out: Function) -> Function {
    let split = found(&out);
    if split.is_empty() {
        return out;
    }
    let values = core::mem::take(&mut out.values);
    let mut new: Vec<PolyId> = Vec::with_capacity(values.len());
    let mut slices = BTreeMap::new();
    for old in &values {
        let mut value = Value { op: old.op.map(|a| new[a.0 as usize]), ..old.clone() };
        if let Op::Slice(x) = old.op
            && split.contains(&x)
            && let Op::InnerProduct { terms, .. } = &values[x.0 as usize].op
        {
            let mut part =
                |a: PolyId| slice(&mut out, &mut slices, new[a.0 as usize], &value.basis, value.origin);
            let terms = terms.iter().map(|&(a, b)| (part(a), part(b))).collect();
            value.op = Op::InnerProduct { terms, init: None, times: Vec::new(), galois: GaloisElement(1) };
        }
        let sliced = match value.op {
            Op::Slice(a) => Some((a, value.basis.clone())),
            _ => None,
        };
        let id = push(&mut out, value);
        if let Some(slice) = sliced {
            slices.entry(slice).or_insert(id);
        }
        new.push(id);
    }
    out.rename_ends(|id| new[id.0 as usize]);
    out
}

/// The inner products that are split: those with a part that something is added to.
fn found(function: &Function) -> BTreeSet<PolyId> {
    let mut users: Vec<Vec<PolyId>> = vec![Vec::new(); function.values.len()];
    for id in function.ids() {
        function.value(id).op.operands().for_each(|a| users[a.0 as usize].push(id));
    }
    let kept: BTreeSet<PolyId> = function.ends().collect();
    let users_of = |id: PolyId| &users[id.0 as usize];
    let is_split = |id: &PolyId| {
        let plain =
            matches!(function.value(*id).op, Op::InnerProduct { init: None, galois: GaloisElement(1), .. });
        let mut limbs = BTreeSet::new();
        let alone = |part: &PolyId, limbs: &mut BTreeSet<LimbIdx>| {
            let value = function.value(*part);
            matches!(value.op, Op::Slice(_)) && value.basis.iter().all(|&limb| limbs.insert(limb))
        };
        let is_added = |part: &PolyId| {
            users_of(*part).iter().any(|&user| matches!(function.value(user).op, Op::Add(..)))
        };
        plain
            && !kept.contains(id)
            && users_of(*id).iter().all(|part| alone(part, &mut limbs))
            && users_of(*id).iter().any(is_added)
    };
    function.ids().filter(is_split).collect()
}

/// The limbs `basis` of a value, made once.
fn slice(
    out: &mut Function,
    made: &mut BTreeMap<(PolyId, Vec<LimbIdx>), PolyId>,
    a: PolyId,
    basis: &[LimbIdx],
    origin: Origin,
) -> PolyId {
    if out.value(a).basis == basis {
        return a;
    }
    *made.entry((a, basis.to_vec())).or_insert_with(|| {
        let domain = out.value(a).domain;
        push(out, Value { op: Op::Slice(a), basis: basis.to_vec(), domain, origin })
    })
}

fn push(out: &mut Function, value: Value) -> PolyId {
    out.values.push(value);
    PolyId(out.values.len() as u32 - 1)
}

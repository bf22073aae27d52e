//! Products by scalars that are terms of sums become products by plaintexts of period 1, of which next to nothing is read
//! (docs/adr/0015): so a sum of them, and of other products, is one inner product ([`super::fuse`]), one pass over memory, where a product by a
//! scalar is a pass of its own and its addition another.
//!
//! A plaintext takes a row all the same, and is encoded by the host, where a scalar is a number: only the first `MAX_SCALARS` of a function are rewritten.

use std::collections::{BTreeMap, BTreeSet};

use fhe_core::params::Params;
use num_complex::Complex64;

use crate::ckks_ir::{ConstId, Constant, Function, Op, Scalar, ValueId};
use crate::poly_ir::log_repeat;

/// The most different scalars of a function that become plaintexts: 64 MiB at log N 16.
const MAX_SCALARS: usize = 256;

/// Rewrites the scalars of a placed function that pays for it.
pub fn scalars_in_sums(function: &Function, params: &Params) -> Function {
    if log_repeat(params, 1) == 0 {
        return function.clone();
    }
    let users = function.users();
    let mut scalars: BTreeSet<Scalar> = BTreeSet::new();
    for value in &function.values {
        if let Op::MulScalar(_, s) = value.op
            && scalars.len() < MAX_SCALARS
        {
            scalars.insert(s);
        }
    }
    let in_sum = |id: ValueId| {
        let of = &users[id.0 as usize];
        let linear = |user: &ValueId| matches!(function.value(*user).op, Op::Add(..) | Op::Sub(..));
        let first = |s: &Scalar| scalars.contains(s);
        let few = matches!(&function.value(id).op, Op::MulScalar(_, s) if first(s));
        few && of.len() == 1 && of.iter().all(linear)
    };
    let mut out = Function { values: Vec::with_capacity(function.values.len()), ..function.clone() };
    let mut known: BTreeMap<Scalar, ConstId> = BTreeMap::new();
    // The second operand of a difference takes the sign.
    let negated: Vec<bool> = function
        .ids()
        .map(|id| {
            let second =
                |user: &ValueId| matches!(function.value(*user).op, Op::Sub(a, b) if b == id && a != id);
            matches!(function.value(id).op, Op::MulScalar(..))
                && in_sum(id)
                && users[id.0 as usize].iter().all(second)
        })
        .collect();
    for id in function.ids() {
        let value = function.value(id);
        let op = match value.op {
            Op::MulScalar(a, s) if in_sum(id) => {
                let s = Scalar::new(if negated[id.0 as usize] { -s.value() } else { s.value() });
                let constants = &mut out.constants;
                let c = *known.entry(s).or_insert_with(|| {
                    let values = vec![Complex64::new(s.value(), 0.0); function.variants as usize];
                    constants.push(Constant { name: s.value().to_string(), values, at: None });
                    ConstId(constants.len() as u32 - 1)
                });
                Op::MulPlain(a, c)
            }
            Op::Sub(a, b) if negated[b.0 as usize] => Op::Add(a, b),
            op => op,
        };
        out.push_like(value, op, value.kind);
    }
    out
}

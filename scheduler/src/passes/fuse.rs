//! Sums of products into inner products, which the kernel reduces once.
//!
//! `a + b`, where `b` is an inner product without `init` that nothing else uses, becomes `b` with `init = a`;
//! where `a` is such a product too, the terms are joined. Residues are canonical before and after, so bits
//! stay.

use crate::poly_ir::{Function, Op, PolyId};

/// The longest inner product that is made by joining.
const MAX_TERMS: usize = 1024;

/// Fuses, operands first; what was fused away is left for `poly_dce`.
pub fn fuse_inner_products(function: &Function) -> Function {
    let mut uses = vec![0u32; function.values.len()];
    for value in &function.values {
        value.op.operands().into_iter().for_each(|a| uses[a.0 as usize] += 1);
    }
    for output in &function.outputs {
        uses[output.value.0 as usize] += 1;
    }
    let mut out = function.clone();
    for i in 0..out.values.len() {
        let Op::Add(a, b) = out.values[i].op else { continue };
        let product = |id: PolyId| match &out.value(id).op {
            Op::InnerProduct { terms, init } if uses[id.0 as usize] == 1 => Some((terms, *init)),
            _ => None,
        };
        let fused = match (product(a), product(b)) {
            (Some((s, init)), Some((t, other)))
                if (init.is_none() || other.is_none()) && s.len() + t.len() <= MAX_TERMS =>
            {
                Some((s.iter().chain(t).copied().collect(), init.or(other)))
            }
            (Some((s, None)), _) => Some((s.clone(), Some(b))),
            (_, Some((t, None))) => Some((t.clone(), Some(a))),
            _ => None,
        };
        if let Some((terms, init)) = fused {
            out.values[i].op = Op::InnerProduct { terms, init };
        }
    }
    out
}

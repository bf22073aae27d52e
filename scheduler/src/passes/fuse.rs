//! Operations into their neighbours: fewer passes over memory. Residues are canonical before and after, so bits stay.
//!
//! **Inner products.** `a + b`, where `b` is an inner product without `init` that nothing else uses, becomes `b` with `init = a`, or,
//! where `a` is a product by scalars, with what these are multiplied by; where `a` is such an inner product too, the terms are joined. An automorphism of what is an inner product then, and read by nothing else,
//! is done where the sum is written. What is permuted already is neither joined nor permuted again.
//!
//! **Divisions.** An addition to the quotient of a division by primes, and an automorphism of that, become part of its last
//! step.

use fhe_core::params::GaloisElement;
use kernels_gpu::abi::MAX_TERMS;

use crate::poly_ir::{Function, Op, PolyId};

/// The automorphism that moves nothing.
const IDENTITY: GaloisElement = GaloisElement(1);

/// How often each value is read, returned or an argument.
fn count_uses(function: &Function) -> Vec<u32> {
    let mut uses = vec![0u32; function.values.len()];
    for value in &function.values {
        value.op.operands().for_each(|a| uses[a.0 as usize] += 1);
    }
    function.ends().for_each(|id| uses[id.0 as usize] += 1);
    uses
}

/// Fuses divisions with what follows, operands first; what was fused away is left for `poly_dce`.
pub fn fuse_divisions(mut function: Function) -> Function {
    let uses = count_uses(&function);
    for i in 0..function.values.len() {
        // A division that only this value reads, and that permutes nothing yet.
        let division = |id: PolyId| match &function.value(id).op {
            op @ Op::SubMulScalar { galois: IDENTITY, .. } if uses[id.0 as usize] == 1 => Some(op.clone()),
            _ => None,
        };
        let fused = match function.values[i].op {
            Op::Add(a, b) => [(a, b), (b, a)].into_iter().find_map(|(x, c)| match division(x) {
                Some(Op::SubMulScalar { a, b, scalars, add: None, galois }) => {
                    Some(Op::SubMulScalar { a, b, scalars, add: Some(c), galois })
                }
                _ => None,
            }),
            Op::Automorphism(x, galois) => match division(x) {
                Some(Op::SubMulScalar { a, b, scalars, add, .. }) => {
                    Some(Op::SubMulScalar { a, b, scalars, add, galois })
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(op) = fused {
            function.values[i].op = op;
        }
    }
    function
}

/// Fuses sums of products and automorphisms of them, operands first; what was fused away is left for `poly_dce`.
pub fn fuse_inner_products(mut function: Function) -> Function {
    let uses = count_uses(&function);
    for i in 0..function.values.len() {
        // A product that only this value reads, and that permutes nothing yet.
        let product = |id: PolyId| match &function.value(id).op {
            Op::InnerProduct { terms, init, times, galois: IDENTITY } if uses[id.0 as usize] == 1 => {
                Some((terms, (*init, times)))
            }
            _ => None,
        };
        // What is added: a product by scalars is one there.
        let addend = |id: PolyId| match &function.value(id).op {
            Op::MulScalar(a, times) => (Some(*a), times.clone()),
            _ => (Some(id), Vec::new()),
        };
        let fused = match function.values[i].op {
            Op::Add(a, b) => match (product(a), product(b)) {
                (Some((s, (init, times))), Some((t, (other, others))))
                    if (init.is_none() || other.is_none()) && s.len() + t.len() <= MAX_TERMS =>
                {
                    let init = if init.is_some() { (init, times.clone()) } else { (other, others.clone()) };
                    Some((s.iter().chain(t).copied().collect(), init, IDENTITY))
                }
                (Some((s, (None, _))), _) => Some((s.clone(), addend(b), IDENTITY)),
                (_, Some((t, (None, _)))) => Some((t.clone(), addend(a), IDENTITY)),
                _ => None,
            },
            Op::Automorphism(x, galois) => {
                product(x).map(|(terms, (init, times))| (terms.clone(), (init, times.clone()), galois))
            }
            _ => None,
        };
        if let Some((terms, (init, times), galois)) = fused {
            function.values[i].op = Op::InnerProduct { terms, init, times, galois };
        }
    }
    function
}

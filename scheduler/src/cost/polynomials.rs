//! What a function of polynomials costs by the committed weights of [`super::levels`], operation by operation: what placements of one program are
//! compared by, after everything that is decided about them.
//!
//! ```text
//! transform        TRANSFORM a limb, with its traffic
//! conversion       PRODUCT for each source and target; its traffic is that of the transforms beside it
//! sum of products  a row for each product and half a one for the factor that it shares with the sum of the other half; a row written
//! quotient         a row read and one written, one more for what is added
//! others           the rows that they read and write
//! ```

use fhe_core::params::GaloisElement;

use super::levels::{PRODUCT, ROW, SCATTERED, TRANSFORM};
use crate::poly_ir::{EncodedIdx, Function, Op, Value};

/// A function's own operations, each once; its calls are not in it.
pub fn polynomials(function: &Function) -> u64 {
    function.values.iter().map(|value| of_value(function, value)).sum()
}

fn of_value(function: &Function, value: &Value) -> u64 {
    let limbs = value.basis.len() as u64;
    let scattered = |galois: GaloisElement| if galois == GaloisElement(1) { 0 } else { limbs * SCATTERED };
    match &value.op {
        Op::Input { .. } | Op::Constant(_) | Op::Key { .. } | Op::Result { .. } => 0,
        Op::Slice(_) | Op::Concat(_) => 0,
        Op::Ntt(_) | Op::Intt(_) => limbs * TRANSFORM,
        Op::ConvertBasis { a, .. } => function.value(*a).basis.len() as u64 * limbs * PRODUCT,
        Op::InnerProduct { terms, init, galois, .. } => {
            let repeats =
                |of: EncodedIdx| function.encoded.get(of.0 as usize).is_some_and(|e| e.log_repeat > 0);
            let repeated = |a| matches!(function.value(a).op, Op::Constant(of) if repeats(of));
            let halves = |&(a, _): &_| if repeated(a) { 2 } else { 3 };
            let read: u64 = terms.iter().map(halves).sum();
            limbs * ROW * (read + 2 + 2 * u64::from(init.is_some())) / 2 + scattered(*galois)
        }
        Op::SubMulScalar { add, galois, .. } => {
            limbs * ROW * (2 + u64::from(add.is_some())) + scattered(*galois)
        }
        Op::Add(..) | Op::Sub(..) => 3 * limbs * ROW,
        Op::Neg(_) | Op::Automorphism(..) | Op::MulScalar(..) | Op::AddScalar(..) => 2 * limbs * ROW,
        // Of a few words for each limb's row.
        Op::EmbedInverse(_) => 6 * ROW,
        Op::RoundResidues(_) => (2 + limbs) * ROW,
    }
}

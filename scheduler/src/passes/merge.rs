//! `rescale(relinearize a)` to `relinearize_rescale a`: one division by the special and the removed primes instead of
//! two divisions, so one round of transforms and conversions and one rounding less. See docs/adr/0007.
//!
//! It changes bits, so it is decided here and not after the freeze: by the function and the parameters alone.

use fhe_core::params::Params;

use crate::ckks_ir::verify::divides_at_once;
use crate::ckks_ir::{Function, Op};

/// Merges where the rescale is the only use of the relinearization and the divisor is small enough
/// ([`divides_at_once`]). The relinearization is left for `dce`.
pub fn merge_rescales(function: &Function, params: &Params) -> Function {
    let users = function.users();
    let mut out = function.clone();
    for value in &mut out.values {
        let Op::Rescale(relinearized) = value.op else { continue };
        let operand = function.value(relinearized);
        let Op::Relinearize(product) = operand.op else { continue };
        let once = users[relinearized.0 as usize].len() == 1;
        if once && operand.kind.is_some_and(|kind| divides_at_once(params, kind.level)) {
            value.op = Op::RelinearizeRescale(product);
        }
    }
    out
}

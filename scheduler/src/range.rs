//! How much of what bootstrapping returns is in a value.
//!
//! A message that is too large for bootstrapping comes out as the sine of it, and nothing later can tell: but who decrypts what bootstrapping
//! returned can, since coefficients of messages in range stay below a bound (`fhe_core::bootstrap::BootstrapPlan::check_output`). Sums and products by
//! a number are so many times that bound; of all else nothing is known.

use std::collections::BTreeMap;

use crate::ckks_ir::{CallIdx, Function, Op, Unit};

/// For each value of a placed function: so many times what bootstrapping returns at most are in a coefficient, if that is known.
pub(crate) fn bootstrapped(function: &Function) -> Vec<Option<f64>> {
    let mut called: BTreeMap<CallIdx, Vec<Option<f64>>> = BTreeMap::new();
    let mut times: Vec<Option<f64>> = Vec::with_capacity(function.values.len());
    for value in &function.values {
        let of = |a: crate::ckks_ir::ValueId| times.get(a.0 as usize).copied().flatten();
        let made = match value.op {
            Op::Neg(a)
            | Op::MulI(a, _)
            | Op::Rotate(a, _)
            | Op::Conjugate(a)
            | Op::Relinearize(a)
            | Op::Rescale(a)
            | Op::ModDown(a)
            | Op::ModDownRescale(a)
            | Op::LevelDrop(a, _) => of(a),
            Op::MulScalar(a, s) => of(a).map(|times| times * s.value().abs()).filter(|&times| times > 0.0),
            Op::Add(a, b) | Op::Sub(a, b) => of(a).zip(of(b)).map(|(a, b)| a + b),
            Op::Result(c, i) => {
                let results = called.entry(c).or_insert_with(|| {
                    let callee = function.calls.get(c.0 as usize).and_then(|call| function.callee(call));
                    callee.map_or_else(Vec::new, |callee| {
                        let inner = bootstrapped(callee);
                        callee
                            .outputs
                            .iter()
                            .map(|o| inner.get(o.value.0 as usize).copied().flatten())
                            .collect()
                    })
                });
                results.get(i as usize).copied().flatten()
            }
            _ => None,
        };
        let returned = value.bound.filter(|bound| bound.of == Unit::Returned).map(|bound| bound.largest);
        times.push(returned.or(made));
    }
    times
}

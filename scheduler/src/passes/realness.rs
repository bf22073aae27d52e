//! Which values have real slots, as far as operations tell: two such are bootstrapped as one.
//!
//! The DSL knows of inputs of the program whether they are real, of arguments of functions it does not. [`mark_real`] finds it out, for all calls of a function at
//! once: what is not refuted by a call is real.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ckks_ir::{Constant, Function, Op};

/// Whether all slots of each value are real.
pub fn are_real(function: &Function) -> Vec<bool> {
    let outputs = function.callees.iter().map(|callee| real_outputs(callee)).collect::<Vec<_>>();
    let mut real: Vec<bool> = Vec::with_capacity(function.values.len());
    let is_real = |constant: &Constant| constant.values.iter().all(|z| z.im == 0.0);
    let real_constants: Vec<bool> = function.constants.iter().map(is_real).collect();
    for id in function.ids() {
        let op = &function.value(id).op;
        let mut constants = function.constants_of(op).filter_map(|c| real_constants.get(c.0 as usize));
        let own = match *op {
            Op::Input(i) => function.inputs.get(i.0 as usize).is_some_and(|input| !input.complex),
            // If the arguments are as the callee's inputs say.
            Op::Result(_, i) => {
                let callee = function.call_of(op).map_or(0, |call| call.callee.0 as usize);
                outputs.get(callee).and_then(|real| real.get(i as usize)).copied().unwrap_or(false)
            }
            Op::ModRaise(..) => false,
            _ => constants.all(|&real| real),
        };
        real.push(own && op.operands().all(|a| real[a.0 as usize]));
    }
    real
}

fn real_outputs(function: &Function) -> Vec<bool> {
    let real = are_real(function);
    function.outputs.iter().map(|output| real[output.value.0 as usize]).collect()
}

/// The inputs of callees are real where the arguments of all their calls are. A program that does not bootstrap stays as it is.
///
/// # Cost
/// A walk over the function and its callees for each input that is found to be complex.
pub fn mark_real(function: &Function) -> Function {
    if bootstraps(function) { marked(function) } else { function.clone() }
}

/// The same of any function, whose own inputs are as they say.
pub(super) fn marked(function: &Function) -> Function {
    let mut out = function.clone();
    for callee in &mut out.callees {
        let mut all_real = callee.as_ref().clone();
        all_real.inputs.iter_mut().for_each(|input| input.complex = false);
        *callee = Arc::new(marked(&all_real));
    }
    loop {
        let complex = refuted(&out);
        if complex.is_empty() {
            return out;
        }
        for (callee, inputs) in complex {
            let mut less = out.callees[callee].as_ref().clone();
            inputs.into_iter().for_each(|i| less.inputs[i].complex = true);
            // Its own callees may have been marked by what is no longer so.
            let original = function.callees[callee].callees.clone();
            out.callees[callee] = Arc::new(marked(&Function { callees: original, ..less }));
        }
    }
}

/// By callee: the inputs that are said to be real, and get an argument that is not.
fn refuted(function: &Function) -> BTreeMap<usize, Vec<usize>> {
    let real = are_real(function);
    let mut refuted: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for call in &function.calls {
        let Some(callee) = function.callee(call) else { continue };
        for (i, (input, argument)) in callee.inputs.iter().zip(&call.arguments).enumerate() {
            if !input.complex && !real[argument.0 as usize] {
                let inputs = refuted.entry(call.callee.0 as usize).or_default();
                if !inputs.contains(&i) {
                    inputs.push(i);
                }
            }
        }
    }
    refuted
}

fn bootstraps(function: &Function) -> bool {
    function.values.iter().any(|value| matches!(value.op, Op::Bootstrap(..)))
        || function.callees.iter().any(|callee| bootstraps(callee))
}

#[cfg(test)]
mod tests {
    use super::{are_real, mark_real};
    use crate::ckks_ir::inline_all;
    use crate::ckks_ir::verify::verify;
    use crate::dsl;
    use crate::passes::expand_bootstraps::expand_bootstraps;
    use fhe_core::params::Preset;

    #[test]
    fn arguments_are_as_the_calls_say() {
        let program = dsl::build("calls", |g| {
            let outer = g.function("outer", |[x, y], _| {
                let inner = g.function("inner", |[x], _| Ok([(x * x).bootstrapped()]));
                let [x] = inner.call([x], &[])?;
                Ok([x, y.mul_i().bootstrapped()])
            });
            let plain = g.function("plain", |[x], _| Ok([x + 1.0]));
            let (x, y) = (g.input("x", 16)?, g.input("y", 16)?);
            let [a, b] = outer.call([x, y], &[])?;
            // A real one stays so however often it goes round.
            let [c, d] = outer.call([a, b], &[])?;
            let ([e], [f]) = (plain.call([c], &[])?, plain.call([d], &[])?);
            g.output("c", c, 16)?;
            g.output("d", d, 16)?;
            g.output("e", e, 16)?;
            g.output("f", f, 16)
        })
        .unwrap();
        let marked = mark_real(program.function());
        let complex = |f: &crate::ckks_ir::Function| f.inputs.iter().map(|i| i.complex).collect::<Vec<_>>();
        // The second argument is complex in the second call.
        assert_eq!(complex(&marked.callees[0]), [false, true]);
        assert_eq!(complex(&marked.callees[0].callees[0]), [false]);
        // Called with a complex one too.
        assert_eq!(complex(&marked.callees[1]), [true]);
        // No more than the expanded program says.
        let flat = inline_all(program.function());
        verify(&flat, None, "inline").unwrap();
        let (of_calls, expanded) = (are_real(&marked), are_real(&flat));
        for (called, inlined) in marked.outputs.iter().zip(&flat.outputs) {
            assert!(!of_calls[called.value.0 as usize] || expanded[inlined.value.0 as usize]);
        }
    }

    #[test]
    fn layers_of_real_vectors_are_real() {
        let program = dsl::build("layers", |g| {
            let layer = g.function("layer", |[x, y], _| Ok([(x * y).bootstrapped(), (x + y).bootstrapped()]));
            let (mut x, mut y) = (g.input("x", 16)?, g.input("y", 16)?);
            for _ in 0..3 {
                [x, y] = layer.call([x, y], &[])?;
            }
            g.output("x", x, 16)?;
            g.output("y", y, 16)
        })
        .unwrap();
        let marked = mark_real(program.function());
        assert!(marked.callees[0].inputs.iter().all(|input| !input.complex));
        assert!(are_real(&marked).iter().all(|real| *real));
        assert!(!are_real(program.function()).iter().all(|real| *real));
        // Pairs in the body.
        let expanded = expand_bootstraps(&marked.callees[0], &Preset::Toy12r.params().unwrap()).unwrap();
        assert_eq!(expanded.calls.len(), 1);
    }
}

//! `ckks_ir` on plain complex vectors: what a program means, placed or not.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use num_complex::Complex64;

use super::repeat;
use crate::ckks_ir::{CallIdx, Function, Op};
use crate::error::{Error, Result};

/// Runs a function on one period (or all slots) of each input; gives all slots of each output.
///
/// # Errors
/// [`Error::Interp`] when an input is missing or its length does not divide `n_slots`.
pub fn run(function: &Function, n_slots: usize, inputs: &[Vec<Complex64>]) -> Result<Vec<Vec<Complex64>>> {
    run_variant(function, 0, n_slots, inputs)
}

/// Runs a variant of a function.
fn run_variant(
    function: &Function,
    variant: usize,
    n_slots: usize,
    inputs: &[Vec<Complex64>],
) -> Result<Vec<Vec<Complex64>>> {
    let mut called: BTreeMap<CallIdx, Vec<Vec<Complex64>>> = BTreeMap::new();
    let mut values: Vec<Vec<Complex64>> = Vec::with_capacity(function.values.len());
    for id in function.ids() {
        let get = |a: crate::ckks_ir::ValueId| &values[a.0 as usize];
        let unary = |a, f: &dyn Fn(Complex64) -> Complex64| get(a).iter().map(|&x| f(x)).collect();
        let zip = |a: &[Complex64], b: &[Complex64], f: fn(Complex64, Complex64) -> Complex64| {
            a.iter().zip(b).map(|(&x, &y)| f(x, y)).collect::<Vec<_>>()
        };
        let constant = |c: crate::ckks_ir::ConstId| {
            repeat(function.constants[c.0 as usize].variant(variant, function.variants), n_slots)
        };
        let value = match function.value(id).op {
            Op::Input(i) => match inputs.get(i.0 as usize) {
                Some(input) if !input.is_empty() && n_slots.is_multiple_of(input.len()) => {
                    repeat(input, n_slots)
                }
                found => {
                    let found = found.map(Vec::len);
                    return Err(Error::Interp(format!("input {}: {found:?} slots of {n_slots}", i.0)));
                }
            },
            Op::Add(a, b) => zip(get(a), get(b), |x, y| x + y),
            Op::Sub(a, b) => zip(get(a), get(b), |x, y| x - y),
            Op::Mul(a, b) => zip(get(a), get(b), |x, y| x * y),
            Op::AddPlain(a, c) => zip(get(a), &constant(c), |x, y| x + y),
            Op::SubPlain(a, c) => zip(get(a), &constant(c), |x, y| x - y),
            Op::MulPlain(a, c) => zip(get(a), &constant(c), |x, y| x * y),
            Op::Neg(a) => unary(a, &|x| -x),
            Op::AddScalar(a, s) => unary(a, &|x| x + s.value()),
            Op::MulScalar(a, s) => unary(a, &|x| x * s.value()),
            Op::MulI(a, _) => unary(a, &|x| Complex64::new(-x.im, x.re)),
            Op::Conjugate(a) => unary(a, &|x| x.conj()),
            Op::Rotate(a, k) => {
                let x = get(a);
                (0..n_slots).map(|i| x[(i + k as usize) % n_slots]).collect()
            }
            Op::LinearTransform(a, t) => {
                let (x, mut sum) = (get(a), vec![Complex64::ZERO; n_slots]);
                for &(d, c) in &function.transforms[t.0 as usize].diagonals {
                    let diagonal = constant(c);
                    for (i, slot) in sum.iter_mut().enumerate() {
                        *slot += diagonal[i] * x[(i + d as usize) % n_slots];
                    }
                }
                sum
            }
            Op::Result(c, i) => {
                if let Entry::Vacant(entry) = called.entry(c) {
                    let (call, callee) = super::called(function, c)?;
                    let arguments: Vec<_> = call.arguments.iter().map(|&a| get(a).clone()).collect();
                    let variant = function.variant_of(call, variant);
                    entry.insert(run_variant(callee, variant, n_slots, &arguments)?);
                }
                super::result(&called, c, i)?.clone()
            }
            // The multiples of the modulus are not known here: none is as good as any.
            Op::ModRaise(a, _, s) => unary(a, &|x| x * s.value()),
            // Of slots that do not have this period it makes others.
            Op::Bootstrap(a, period) => {
                let (x, n) = (get(a), n_slots.min(period as usize).max(1));
                let repeats = (n_slots / n) as f64;
                let mean = |i: usize| x.iter().skip(i).step_by(n).sum::<Complex64>() / repeats;
                let means: Vec<Complex64> = (0..n).map(mean).collect();
                repeat(&means, n_slots)
            }
            Op::Relinearize(a)
            | Op::Rescale(a)
            | Op::ModDown(a)
            | Op::ModDownRescale(a)
            | Op::LevelDrop(a, _) => get(a).clone(),
        };
        values.push(value);
    }
    Ok(function.outputs.iter().map(|o| values[o.value.0 as usize].clone()).collect())
}

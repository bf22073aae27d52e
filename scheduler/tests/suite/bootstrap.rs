//! Bootstrapping as the compiler makes it: what it returns, and the same bits in all languages.

use crate::common::{Client, message, worst};
use fhe_core::Complex64;
use fhe_core::params::{Level, Params, Preset};
use scheduler::ckks_ir::{self, Function, Op};
use scheduler::interp::{self, Env};
use scheduler::{Compiled, Manifest, Options, Topology, compile, dsl, passes};

mod helpers {
    use super::*;

    pub(crate) fn params() -> Params {
        Preset::Toy12r.params().unwrap()
    }

    /// Runs a program in all exact interpreters, which agree; what comes out, decrypted.
    pub(crate) fn run(compiled: &Compiled, messages: &[Vec<Complex64>]) -> Vec<Vec<Complex64>> {
        let mut client = Client::<u32>::of(&params());
        let keys = client.keys(compiled);
        let inputs = client.encrypt(compiled, messages);
        let constants = &compiled.manifest.constants;
        let env = Env { ring: &client.ring, keys: &keys, constants, inputs: &inputs };
        let levels: Vec<Level> = compiled.manifest.outputs.iter().map(|o| o.level).collect();
        let exact = interp::ckks_exact::run(&compiled.placed, &env).unwrap();
        let poly = interp::poly::run(&compiled.poly, &env, &levels).unwrap();
        let plan = interp::plan::run(&compiled.plan, &env, &levels).unwrap();
        for ((e, p), q) in exact.iter().zip(&poly).zip(&plan) {
            assert_eq!(e.polys(), p.polys());
            assert_eq!(e.polys(), q.polys());
        }
        exact.iter().map(|c| client.decrypt(c)).collect()
    }

    /// log2 of the mean modulus of a difference.
    pub(crate) fn mean_log2(found: &[Complex64], expected: &[Complex64]) -> f64 {
        assert_eq!(found.len(), expected.len());
        let sum: f64 = found.iter().zip(expected).map(|(a, b)| (a - b).norm()).sum();
        (sum / found.len() as f64).log2()
    }

    /// How many of an operation a function has, callees once.
    pub(crate) fn count(function: &Function, is: fn(&Op) -> bool) -> usize {
        let own = function.values.iter().filter(|value| is(&value.op)).count();
        own + function.callees.iter().map(|callee| count(callee, is)).sum::<usize>()
    }

    pub(crate) fn n_raises(function: &Function) -> usize {
        count(function, |op| matches!(op, Op::ModRaise(..)))
    }
}
use helpers::{count, mean_log2, n_raises, params, run};

#[test]
fn all_slots_come_back() {
    let n_slots = params().n_slots();
    let program = dsl::build("fresh", |g| {
        let x = g.input_complex("x", n_slots)?;
        g.output("x", x.bootstrapped(), n_slots)
    })
    .unwrap();
    let compiled = compile(&program, &params(), &Options::default()).unwrap();
    let Manifest { inputs, outputs, encapsulation_weight, .. } = &compiled.manifest;
    assert_eq!((inputs[0].level, outputs[0].level, *encapsulation_weight), (Level(0), Level(13), Some(32)));
    let messages = [message(n_slots, 0)];
    let found = run(&compiled, &messages);
    let error = mean_log2(&found[0], &messages[0]);
    assert!(error < -26.0, "{error}");
    assert!(worst(&found[0], &messages[0]) < 2f64.powi(-22));
}

/// Two vectors of real slots are one bootstrap; what comes out is computed with, and comes to a call that is compiled once.
#[test]
fn real_vectors_in_pairs_and_calls() {
    let program = dsl::build("pairs", |g| {
        let (mut x, mut y) = (g.input("x", 64)?, g.input("y", 32)?);
        for _ in 0..2 {
            (x, y) = (x.bootstrapped(), y.bootstrapped());
            (x, y) = (x * y + x.rotate(1) * 0.5, x - y);
        }
        g.output("x", x, 64)?;
        g.output("y", y, 64)
    })
    .unwrap();
    let options = Options { topology: Topology::new(2).unwrap(), ..Options::default() };
    let compiled = compile(&program, &params(), &options).unwrap();
    assert_eq!((compiled.placed.calls.len(), n_raises(&compiled.placed)), (2, 1));
    let real = |period, seed| message(period, seed).iter().map(|z| Complex64::new(z.re, 0.0)).collect();
    let messages: [Vec<Complex64>; 2] = [real(64, 0), real(32, 1)];
    let expected = interp::slots::run(program.function(), params().n_slots(), &messages).unwrap();
    for (found, expected) in run(&compiled, &messages).iter().zip(&expected) {
        assert!(worst(found, expected) < 2f64.powi(-20), "2^{:.1}", worst(found, expected).log2());
    }
}

/// Imaginary parts that may be there are not lost, and short periods are cheaper.
#[test]
fn what_is_packed() {
    let of = |period: usize, complex: bool, n: usize| {
        let program = dsl::build("several", |g| {
            for i in 0..n {
                let x = if complex {
                    g.input_complex(&format!("x{i}"), period)?
                } else {
                    g.input(&format!("x{i}"), period)?
                };
                g.output(&format!("y{i}"), x.bootstrapped(), period)?;
            }
            Ok(())
        });
        ckks_ir::inline_all(
            &passes::run_ckks(program.unwrap().function().clone(), &params(), &mut |_| {}).unwrap(),
        )
    };
    let n_slots = params().n_slots();
    for (complex, n, expected) in [(false, 2, 1), (false, 3, 2), (false, 4, 2), (true, 2, 2)] {
        assert_eq!(n_raises(&of(64, complex, n)), expected, "{n} of complex slots: {complex}");
    }
    let products = |period| count(&of(period, true, 1), |op| matches!(op, Op::Mul(..)));
    assert_eq!(products(n_slots), 2 * products(n_slots / 2));
    let rotations = |period| count(&of(period, true, 1), |op| matches!(op, Op::Rotate(..)));
    assert!(rotations(16) < rotations(256));
    assert_eq!(rotations(1), rotations(16));
}

#[test]
fn parameters_that_cannot_bootstrap_say_why() {
    let program = dsl::build("fresh", |g| {
        let x = g.input("x", 4)?;
        g.output("x", x.bootstrapped(), 4)
    });
    let params = Preset::Toy12.params().unwrap();
    let error = compile(&program.unwrap(), &params, &Options::default()).unwrap_err();
    assert!(error.to_string().contains("bootstrapping"), "{error}");
}

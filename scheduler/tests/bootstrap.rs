//! Bootstrapping as the compiler makes it: what it returns, and the same bits in all languages.

#[cfg(test)]
mod common;

use common::{Client, message, worst};
use fhe_core::Complex64;
use fhe_core::params::{Level, Params, Preset};
use scheduler::interp::{self, Env};
use scheduler::{Compiled, Options, compile, dsl};

fn params() -> Params {
    Preset::Toy12r.params().unwrap()
}

/// Runs a program in all exact interpreters, which agree; what comes out, decrypted.
fn run(compiled: &Compiled, messages: &[Vec<Complex64>]) -> Vec<Vec<Complex64>> {
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
fn mean_log2(found: &[Complex64], expected: &[Complex64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let sum: f64 = found.iter().zip(expected).map(|(a, b)| (a - b).norm()).sum();
    (sum / found.len() as f64).log2()
}

#[test]
fn all_slots_come_back() {
    let n_slots = params().n_slots();
    let program = dsl::build("fresh", |g| {
        let x = g.input_complex("x", n_slots)?;
        g.output("x", x.bootstrapped().at_level(Level(13)), n_slots)
    })
    .unwrap();
    let compiled = compile(&program, &params(), &Options::default()).unwrap();
    assert_eq!(compiled.manifest.inputs[0].level, Level(0));
    let messages = [message(n_slots, 0)];
    let found = run(&compiled, &messages);
    let error = mean_log2(&found[0], &messages[0]);
    println!("{error}");
    assert!(error < -26.0, "{error}");
    assert!(worst(&found[0], &messages[0]) < 2f64.powi(-20));
}

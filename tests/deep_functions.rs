//! Functions that are deeper than the chain, inside of programs: bootstraps that the compiler places within them, encrypted, on the processor.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use ferrocerium::prelude::*;
use ferrocerium::scheduler::ckks_ir::{Function, Op};
use ferrocerium::scheduler::dsl::functions;
use ferrocerium::scheduler::noise;

const PERIOD: usize = 16;
/// What `maximum` is built for.
const ERROR: f64 = 1.0 / 1024.0;

/// Bootstraps of a function, those of a body once for each call.
fn n_bootstraps(function: &Function) -> usize {
    let own = function.values.iter().filter(|value| matches!(value.op, Op::ModRaise(..))).count();
    let callees = function.calls.iter().filter_map(|call| function.callees.get(call.callee.0 as usize));
    own + callees.map(|callee| n_bootstraps(callee)).sum::<usize>()
}

/// `x` or `y` in both signs, in a wave that meets no zero.
fn wave(phase: f64) -> Vec<f64> {
    (0..PERIOD).map(|i| 0.95 * (i as f64 * 0.9 + phase).sin()).collect()
}

/// A maximum between a product before it and two behind it, of which one is with what went into it.
#[test]
fn a_maximum_in_the_middle_of_a_program() {
    let params = Preset::Toy12p.params().unwrap();
    let weights: Vec<f64> = (0..PERIOD).map(|i| 1.0 - (i % 4) as f64 / 4.0).collect();
    let program = dsl::build("maximum", |g| {
        let (x, y) = (g.input("x", PERIOD)?, g.input("y", PERIOD)?);
        let a = x.rotate(1) * g.plain("w", &weights)?;
        let larger = functions::maximum(a, y, -1.0..=1.0, ERROR)?;
        g.output("z", larger * a + larger.rotate(2) * 0.5, PERIOD)
    })
    .unwrap();
    let compiled = compile(&program, &params, &Options::default()).unwrap();
    let levels = compiled.manifest.inputs.iter().map(|input| input.level.0).max().unwrap();
    eprintln!("{} bootstraps, inputs at {levels}", n_bootstraps(&compiled.placed));
    assert!(n_bootstraps(&compiled.placed) >= 1);
    let estimates = noise::estimate(&compiled.placed, &params, &[1.0, 1.0]).unwrap();
    let estimate = estimates[compiled.placed.outputs[0].value.0 as usize];
    eprintln!("{estimate:?}");

    let start = std::time::Instant::now();
    let offer = Offer::new(&params, &compiled.manifest).to_bytes();
    let mut client =
        Client::accept(&offer, Trust::Insecure, Randomness::insecure_reproducible(3), |_, _| ()).unwrap();
    eprintln!("keys {:?}", start.elapsed());
    let session = Session::builder().backend(BackendKind::Cpu).build().unwrap();
    let mut server = session.load(compiled, &params).unwrap();
    server.load_keys(client.evaluation_keys()).unwrap();
    let (x, y) = (wave(0.1), wave(2.0));
    let questions = [client.encrypt("x", &x).unwrap(), client.encrypt("y", &y).unwrap()];
    eprintln!("loaded {:?}", start.elapsed());
    let answer = server.run(&[("x", &questions[0]), ("y", &questions[1])]).unwrap();
    eprintln!("ran {:?}", start.elapsed());
    let found = client.decrypt("z", &answer[0]).unwrap();

    let a: Vec<f64> = (0..PERIOD).map(|i| x[(i + 1) % PERIOD] * weights[i]).collect();
    let larger = |i: usize| a[i % PERIOD].max(y[i % PERIOD]);
    let mut worst = 0f64;
    for (i, found) in found.iter().enumerate() {
        let expected = larger(i) * a[i] + larger(i + 2) * 0.5;
        worst = worst.max((found - expected).abs());
    }
    eprintln!("worst 2^{:.2}", worst.log2());
    // The maximum is multiplied by 1 and by a half.
    assert!(worst < 1.5 * ERROR, "{worst}");
}

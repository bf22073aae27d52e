//! Functions that are deeper than the chain, inside of programs: bootstraps that the compiler places within them, encrypted, on the processor.

use ferrocerium::fhe_core::approximation::Composite;
use ferrocerium::prelude::*;
use ferrocerium::scheduler::ckks_ir::{Function, Op};
use ferrocerium::scheduler::dsl::{Program, functions};

const PERIOD: usize = 16;
const WEIGHTS: [f64; PERIOD] =
    [1.0, 0.75, 0.5, -0.25, 1.0, -0.75, 0.5, 0.25, -1.0, 0.75, 0.5, 0.25, 1.0, 0.75, -0.5, 0.25];

/// Bootstraps of a function, those of a body once for each call.
fn n_bootstraps(function: &Function) -> usize {
    let own = function.values.iter().filter(|value| matches!(value.op, Op::ModRaise(..))).count();
    let callees = function.calls.iter().filter_map(|call| function.callees.get(call.callee.0 as usize));
    own + callees.map(|callee| n_bootstraps(callee)).sum::<usize>()
}

/// Numbers from -0.95 to 0.95, of both signs.
fn wave(phase: f64) -> Vec<f64> {
    (0..PERIOD).map(|i| 0.95 * (i as f64 * 0.9 + phase).sin()).collect()
}

/// Runs a program of `x` and `y`, which has so many bootstraps at least: what is found differs from what is expected by less than an error, that of
/// its functions. What encryption and bootstraps add is far less.
fn check(
    program: &Program,
    preset: Preset,
    least: usize,
    (x, y): (&[f64], &[f64]),
    expected: &[f64],
    error: f64,
) {
    let params = preset.params().unwrap();
    let compiled = compile(program, &params, &Options::default()).unwrap();
    assert!(compiled.manifest.inputs.iter().all(|input| input.level <= params.working_level()));
    let n_bootstraps = n_bootstraps(&compiled.placed);
    assert!(n_bootstraps >= least, "{preset}: {n_bootstraps} bootstraps, expected at least {least}");

    let offer = Offer::new(&params, &compiled.manifest).to_bytes();
    let randomness = Randomness::insecure_reproducible(3);
    let mut client = Client::accept(&offer, Trust::Insecure, randomness, |_, _| ()).unwrap();
    let session = Session::builder().backend(BackendKind::Cpu).build().unwrap();
    let mut server = session.load(compiled, &params).unwrap();
    server.load_keys(client.evaluation_keys()).unwrap();
    let questions = [client.encrypt("x", x).unwrap(), client.encrypt("y", y).unwrap()];
    let answer = server.run(&[("x", &questions[0]), ("y", &questions[1])]).unwrap();
    let found = client.decrypt("z", &answer[0]).unwrap();
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst < error, "{preset}, {n_bootstraps} bootstraps: off by {worst:e}");
}

/// A maximum between a product before it and two behind it, of which one is with what went into it.
#[test]
fn a_maximum_in_the_middle_of_a_program() {
    let error = 1.0 / 512.0;
    let program = dsl::build("maximum", |g| {
        let (x, y) = (g.input("x", PERIOD)?, g.input("y", PERIOD)?);
        let a = x.rotate(1) * g.plain("w", &WEIGHTS)?;
        let larger = functions::maximum(a, y, -1.0..=1.0, error)?;
        g.output("z", larger * a + larger.rotate(2) * 0.5, PERIOD)
    })
    .unwrap();
    let (x, y) = (wave(0.1), wave(2.0));
    let a = |i: usize| x[(i + 1) % PERIOD] * WEIGHTS[i % PERIOD];
    let larger = |i: usize| a(i).max(y[i % PERIOD]);
    let expected: Vec<f64> = (0..PERIOD).map(|i| larger(i) * a(i) + larger(i + 2) * 0.5).collect();
    // The maximum is multiplied by 1 at most, and by a half.
    for preset in [Preset::Toy12p, Preset::Toy12w] {
        check(&program, preset, 1, (&x, &y), &expected, 1.5 * error);
    }
}

/// The sign of what is chosen by a sign: each is deeper than what bootstrapping returns.
#[test]
fn signs_with_several_bootstraps() {
    let (epsilon, error) = (1.0 / 4096.0, 1.0 / 512.0);
    // Bootstrapping returns 8 levels at `toy12p` and 13 at `toy12r`.
    let depth = Composite::sign(1.0, epsilon, error).unwrap().depth();
    assert!(depth > 13, "{depth} levels");
    let program = dsl::build("signs", |g| {
        let (x, y) = (g.input("x", PERIOD)?, g.input("y", PERIOD)?);
        let first = functions::sign(x, 1.0, epsilon, error)?;
        // x where it is positive, else y; then its sign.
        let half = first * 0.5;
        let chosen = (half + 0.5) * x + (0.5 - half) * y;
        let second = functions::sign(chosen, 1.0, epsilon, error)?;
        g.output("z", (second + first.rotate(1)) * 0.5, PERIOD)
    })
    .unwrap();
    // Nothing within epsilon of 0.
    let away =
        |v: Vec<f64>| v.into_iter().map(|v| v + 0.05 * v.signum()).map(|v| v * 0.95).collect::<Vec<_>>();
    let (x, y) = (away(wave(0.1)), away(wave(2.0)));
    let chosen = |i: usize| if x[i] > 0.0 { x[i] } else { y[i] };
    let expected: Vec<f64> =
        (0..PERIOD).map(|i| (chosen(i).signum() + x[(i + 1) % PERIOD].signum()) * 0.5).collect();
    for (preset, least) in [(Preset::Toy12p, 3), (Preset::Toy12r, 2)] {
        check(&program, preset, least, (&x, &y), &expected, error);
    }
}

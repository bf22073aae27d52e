//! A program that the compiler bootstraps by itself, encrypted.

use crate::common::{Client, message, worst};
use fhe_core::Complex64;
use fhe_core::params::Preset;
use scheduler::ckks_ir::{Function, Op};
use scheduler::dsl::{self, Encrypted, Plain, Program};
use scheduler::interp::{self, Env};
use scheduler::{Compiled, Options, compile};

const SIGNS: [f64; 16] = [-1., 1., 1., -1., 1., 1., -1., 1., 1., -1., 1., 1., -1., 1., 1., -1.];

/// Two real vectors after so many levels.
fn steps<'g>([mut x, mut y]: [Encrypted<'g>; 2], w: Plain<'g>, levels: usize) -> [Encrypted<'g>; 2] {
    for _ in 0..levels {
        (x, y) = (x.rotate(1) * w, (y * w).rotate(1));
    }
    [x, y]
}

/// The largest error, encrypted and computed exactly.
fn error(program: &Program, compiled: &Compiled) -> f64 {
    let mut client = Client::<u32>::new(Preset::Toy12r);
    assert!(compiled.manifest.inputs.iter().all(|input| input.level <= client.params().working_level()));
    let real = |seed| message(16, seed).iter().map(|z| Complex64::new(z.re, 0.0)).collect::<Vec<_>>();
    let messages = [real(0), real(1)];
    let expected = interp::slots::run(program.function(), client.params().n_slots(), &messages).unwrap();
    let (keys, inputs) = (client.keys(compiled), client.encrypt(compiled, &messages));
    let constants = &compiled.manifest.constants;
    let env = Env { ring: &client.ring, keys: &keys, constants, inputs: &inputs };
    let found = interp::ckks_exact::run(&compiled.placed, &env).unwrap();
    let errors = found.iter().zip(&expected).map(|(c, expected)| worst(&client.decrypt(c), expected));
    errors.fold(0.0, f64::max)
}

/// Bootstrapping bodies that are called, or that took the place of a call.
fn n_bootstraps(function: &Function) -> usize {
    let own = function.values.iter().filter(|value| matches!(value.op, Op::ModRaise(..))).count();
    own + function
        .calls
        .iter()
        .filter_map(|call| function.callee(call))
        .map(|f| n_bootstraps(f))
        .sum::<usize>()
}

#[test]
fn the_compiler_bootstraps_twice_by_itself() {
    // 31 levels; two real vectors are one bootstrap each time.
    let program = dsl::build("deep", |g| {
        let inputs = [g.input("x", 16)?, g.input("y", 16)?];
        let [x, y] = steps(inputs, g.plain("w", &SIGNS)?, 31);
        g.output("x", x, 16)?;
        g.output("y", y, 16)
    })
    .unwrap();
    let compiled = compile(&program, &Preset::Toy12r.params().unwrap(), &Options::default()).unwrap();
    assert_eq!(n_bootstraps(&compiled.placed), 2);
    // 16 values in 32 coefficients: these are large, and the cubes that the sine adds with them.
    let error = error(&program, &compiled);
    assert!(error < 2f64.powi(-18), "{error}");
}

#[test]
fn layers_with_bootstraps_stay_calls() {
    // 25 levels each, from 13: one bootstrap in the body, one between two calls, as many as the 50 levels need.
    let program = dsl::build("layers", |g| {
        let layer = g.function("layer", |vectors, p| Ok(steps(vectors, p.plain("w")?, 25)));
        let vectors = [g.input("x", 16)?, g.input("y", 16)?];
        let vectors = layer.call(vectors, &[("w", &SIGNS)])?;
        let [x, y] = layer.call(vectors, &[("w", &SIGNS.map(|w| -w))])?;
        g.output("x", x, 16)?;
        g.output("y", y, 16)
    })
    .unwrap();
    let compiled = compile(&program, &Preset::Toy12r.params().unwrap(), &Options::default()).unwrap();
    assert_eq!(n_bootstraps(&compiled.placed), 3);
    let layers = compiled.placed.calls.iter().filter(|call| call.name.starts_with("layer"));
    assert_eq!(layers.count(), 2);
    let error = error(&program, &compiled);
    assert!(error < 2f64.powi(-18), "{error}");
}

//! A program that the compiler bootstraps by itself, encrypted.

#[cfg(test)]
mod common;

use common::{Client, message, worst};
use fhe_core::Complex64;
use fhe_core::params::{Level, Preset};
use scheduler::ckks_ir::{Function, Op};
use scheduler::interp::{self, Env};
use scheduler::{Options, compile, dsl};

#[test]
fn the_compiler_bootstraps_twice_by_itself() {
    let params = Preset::Toy12r.params().unwrap();
    // 31 levels; two real vectors are one bootstrap each time.
    let signs: Vec<f64> = (0..16).map(|i| if i % 3 == 0 { -1.0 } else { 1.0 }).collect();
    let program = dsl::build("deep", |g| {
        let (mut x, mut y) = (g.input("x", 16)?, g.input("y", 16)?);
        for i in 0..31 {
            let w = g.plain(&format!("w{i}"), &signs)?;
            (x, y) = (x.rotate(1) * w, (y * w).rotate(1));
        }
        g.output("x", x, 16)?;
        g.output("y", y, 16)
    })
    .unwrap();
    let compiled = compile(&program, &params, &Options::default()).unwrap();
    let calls =
        |f: &Function| f.values.iter().filter(|v| matches!(v.op, Op::ModRaise(..))).count() + f.calls.len();
    assert_eq!(calls(&compiled.placed), 2);
    assert!(compiled.manifest.inputs.iter().all(|input| input.level <= Level(16)));
    let real = |seed| message(16, seed).iter().map(|z| Complex64::new(z.re, 0.0)).collect::<Vec<_>>();
    let messages = [real(0), real(1)];
    let expected = interp::slots::run(program.function(), params.n_slots(), &messages).unwrap();
    let mut client = Client::<u32>::of(&params);
    let (keys, inputs) = (client.keys(&compiled), client.encrypt(&compiled, &messages));
    let env =
        Env { ring: &client.ring, keys: &keys, constants: &compiled.manifest.constants, inputs: &inputs };
    let found = interp::ckks_exact::run(&compiled.placed, &env).unwrap();
    for (found, expected) in found.iter().map(|c| client.decrypt(c)).zip(&expected) {
        // 16 values in 32 coefficients: these are large, and the cubes that the sine adds with them.
        let error = worst(&found, expected).log2();
        println!("{error}");
        assert!(error < -18.0, "{error}");
    }
}

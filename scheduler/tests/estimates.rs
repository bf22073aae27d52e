//! What the compiler says before a program runs: parameters that fit, and how exact every value is.

#[cfg(test)]
mod common;

use common::{Client, messages, random_program, random_steps};
use fhe_core::Complex64;
use fhe_core::params::Preset;
use proptest::prelude::*;
use scheduler::interp::{self, Env};
use scheduler::{Error, Options, choose, compile, compile_auto, dsl, noise};

/// Estimated and measured root of the mean square error of each output, and the largest error of all.
#[cfg(test)]
fn errors(
    program: &dsl::Program,
    preset: Preset,
    messages: &[Vec<Complex64>],
) -> Vec<(noise::Estimate, f64, f64)> {
    let mut client = Client::<u32>::new(preset);
    let compiled = compile(program, client.params(), &Options::default()).unwrap();
    let largest = |m: &Vec<Complex64>| m.iter().map(|z| z.norm()).fold(0.0, f64::max);
    let bounds: Vec<f64> = messages.iter().map(largest).collect();
    let estimates = noise::estimate(&compiled.placed, client.params(), &bounds).unwrap();
    let keys = client.keys(&compiled);
    let inputs = client.encrypt(&compiled, messages);
    let env =
        Env { ring: &client.ring, keys: &keys, constants: &compiled.manifest.constants, inputs: &inputs };
    let found = interp::ckks_exact::run(&compiled.placed, &env).unwrap();
    let meaning = interp::slots::run(program.function(), client.params().n_slots(), messages).unwrap();
    let outputs = compiled.placed.outputs.iter().zip(found).zip(meaning);
    outputs
        .map(|((output, found), meaning)| {
            let found = client.decrypt(&found);
            let square = |(x, y): (&Complex64, &Complex64)| (x - y).norm_sqr();
            let mean = found.iter().zip(&meaning).map(square).sum::<f64>() / found.len() as f64;
            (estimates[output.value.0 as usize], mean.sqrt(), common::worst(&found, &meaning))
        })
        .collect()
}

/// Slots of modulus 1, where bounds are exact.
fn circle(len: usize, phase: f64) -> Vec<Complex64> {
    (0..len).map(|i| Complex64::from_polar(1.0, i as f64 * 0.7 + phase)).collect()
}

#[test]
fn estimates_are_near_what_is_measured() {
    let program = dsl::build("kinds", |g| {
        let (x, y) = (g.input("x", 512)?, g.input("y", 512)?);
        let w: Vec<Complex64> = circle(8, 0.3);
        let w = g.plain_complex("w", &w)?;
        g.output("fresh", x, 512)?;
        g.output("rotated", x.rotate(3), 512)?;
        g.output("sum", x + y.rotate(1), 512)?;
        g.output("product", x * y, 512)?;
        g.output("square", x.square(), 512)?;
        g.output("plain", x * w, 512)?;
        g.output("scalar", x * 0.3, 512)?;
        g.output("deep", (x * y).square().square() * w, 512)?;
        let sum = (1..6).fold(x * w, |sum, k| sum + x.rotate(k) * w);
        g.output("hoisted", sum, 512)
    })
    .unwrap();
    for preset in [Preset::Toy10, Preset::N13] {
        let mut program = program.clone();
        if preset == Preset::N13 {
            program = dsl::build("few", |g| {
                let x = g.input("x", 512)?;
                g.output("fresh", x, 512)?;
                g.output("product", x.rotate(1) * x, 512)
            })
            .unwrap();
        }
        let messages: Vec<_> = (0..program.function().inputs.len()).map(|i| circle(512, i as f64)).collect();
        for (i, (estimate, mean, largest)) in errors(&program, preset, &messages).into_iter().enumerate() {
            let (ratio, at_most) = (mean / estimate.error, estimate.largest_error(512));
            assert!((0.6..1.5).contains(&ratio), "output {i}: {mean:e}, estimated {:e}", estimate.error);
            assert!(largest < 2.0 * at_most, "output {i}: {largest:e}, estimated at most {at_most:e}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_are_as_exact_as_estimated(steps in random_steps()) {
        let program = random_program(&steps, 4);
        for (estimate, mean, _) in errors(&program, Preset::Toy10, &messages(&program)) {
            // Errors of operands that share an ancestor may add up; bounds are never below the truth.
            prop_assert!(mean < 4.0 * estimate.error, "{mean:e}, estimated {:e}", estimate.error);
        }
    }
}

#[test]
fn a_table_has_a_line_for_every_value() {
    let program = dsl::build("table", |g| {
        let x = g.input("x", 4)?;
        g.output("y", (x.rotate(1) * x).named("turned") + 0.5, 4)
    })
    .unwrap();
    let compiled = compile(&program, &Preset::N13.params().unwrap(), &Options::default()).unwrap();
    let estimates = noise::estimate(&compiled.placed, &Preset::N13.params().unwrap(), &[2.0]).unwrap();
    let table = noise::table(&compiled.placed, &estimates);
    assert_eq!(table.lines().count(), 1 + compiled.placed.values.len(), "{table}");
    let turned = table.lines().find(|line| line.ends_with("turned")).unwrap();
    assert!(turned.contains("mul") && turned.contains("4.0000"), "{table}");
    assert!(matches!(
        noise::estimate(&compiled.placed, &Preset::N13.params().unwrap(), &[]),
        Err(Error::Interp(_))
    ));
    let unplaced = noise::estimate(program.function(), &Preset::N13.params().unwrap(), &[1.0]);
    assert!(matches!(unplaced, Err(Error::Interp(_))));
}

#[cfg(test)]
fn power(name: &str, squarings: u32, period: usize) -> dsl::Program {
    dsl::build(name, |g| {
        let x = g.input("x", period)?;
        g.output("y", (0..squarings).fold(x, |y, _| y.square()), 1)
    })
    .unwrap()
}

#[test]
fn the_smallest_preset_that_fits_is_chosen() {
    let chosen = |squarings, period| choose(&power("power", squarings, period)).map(|choice| choice.preset);
    assert_eq!(chosen(0, 4), Ok(Preset::N13));
    assert_eq!(chosen(2, 4096), Ok(Preset::N13));
    assert_eq!(chosen(2, 8192), Ok(Preset::N14));
    assert_eq!(chosen(3, 4), Ok(Preset::N14));
    assert_eq!(chosen(6, 4), Ok(Preset::N15));
    assert_eq!(chosen(22, 1 << 15), Ok(Preset::N16));
    // No levels suffice.
    let deep = choose(&power("power", 40, 4)).unwrap();
    assert_eq!((deep.preset, deep.bootstraps), (Preset::Boot16, 2));
    // 40 in three parts, of which two are at most 13.
    assert!((14..=16).contains(&deep.levels), "{deep}");
    let text = deep.to_string();
    let begin =
        format!("preset boot16: {} of 16 levels, 4 of 32768 slots, 2 bootstraps; not n13: ", deep.levels);
    assert!(text.starts_with(&begin), "{text}");
    assert!(text.contains("; not n16: the program needs 40 levels, the parameters have 22; "), "{text}");
    assert!(matches!(chosen(1, 1 << 16), Err(Error::Period { found: 65536, limit: Some(32768), .. })));

    let (choice, compiled) = compile_auto(&power("power", 6, 16384), &Options::default()).unwrap();
    assert_eq!(compiled.plan.params_digest, choice.params.digest());
    let text = choice.to_string();
    assert!(text.starts_with("preset n15: 6 of 11 levels, 16384 of 16384 slots; not n13: "), "{text}");
    assert!(text.contains("; not n14: "), "{text}");
}

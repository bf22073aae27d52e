//! What the compiler says before a program runs: parameters that fit, and how exact every value is.

use crate::common;

use crate::common::{Client, messages, random_program, random_steps};
use fhe_core::Complex64;
use fhe_core::math::word::Word;
use fhe_core::params::Preset;
use fhe_core::rlwe::EvaluationKeySet;
use proptest::prelude::*;
use scheduler::interp::{self, Env};
use scheduler::{Compiled, Error, Options, choose, compile, compile_auto, dsl, noise};

/// Estimated and measured root of the mean square error of each output, and the largest error of all.
fn errors<W: Word>(
    program: &dsl::Program,
    preset: Preset,
    messages: &[Vec<Complex64>],
) -> Vec<(noise::Estimate, f64, f64)> {
    let mut client = Client::<W>::new(preset);
    let compiled = compile(program, client.params(), &Options::default()).unwrap();
    let keys = client.keys(&compiled);
    errors_of(program, &compiled, &mut client, &keys, messages)
}

/// The same under keys that are there.
fn errors_of<W: Word>(
    program: &dsl::Program,
    compiled: &Compiled,
    client: &mut Client<W>,
    keys: &EvaluationKeySet<W>,
    messages: &[Vec<Complex64>],
) -> Vec<(noise::Estimate, f64, f64)> {
    let largest = |m: &Vec<Complex64>| m.iter().map(|z| z.norm()).fold(0.0, f64::max);
    let bounds: Vec<f64> = messages.iter().map(largest).collect();
    let estimates = noise::estimate(&compiled.placed, client.params(), &bounds).unwrap();
    let inputs = client.encrypt(compiled, messages);
    let env = Env { ring: &client.ring, keys, constants: &compiled.manifest.constants, inputs: &inputs };
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
        for (i, (estimate, mean, largest)) in
            errors::<u32>(&program, preset, &messages).into_iter().enumerate()
        {
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
        for (estimate, mean, _) in errors::<u32>(&program, Preset::Toy10, &messages(&program)) {
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
    let table = noise::table(&compiled.placed, &estimates, 4);
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

/// Messages of the inputs that are alike at random, and of one number in all slots; both are real where inputs are.
fn random_and_constant(program: &dsl::Program) -> [Vec<Vec<Complex64>>; 2] {
    let inputs = &program.function().inputs;
    let real = |z: Complex64, complex: bool| if complex { z } else { Complex64::new(z.re, 0.0) };
    let random = messages(program).into_iter().zip(inputs);
    let random = random.map(|(m, input)| m.into_iter().map(|z| real(z, input.complex)).collect()).collect();
    [random, inputs.iter().map(|input| vec![Complex64::ONE; input.period as usize]).collect()]
}

/// Behind one bootstrap of all slots, and behind two. Estimates are at least what is measured, and at most eight times that: random errors of random
/// messages, and the sine of messages that are one coefficient.
#[test]
fn what_is_bootstrapped_is_as_exact_as_estimated() {
    let mut client = Client::<u32>::new(Preset::Toy12r);
    let n_slots = client.params().n_slots();
    let program = dsl::build("behind", |g| {
        let x = g.input_complex("x", n_slots)?;
        let once = x.bootstrapped();
        let product = once * once.rotate(1);
        let twice = product.bootstrapped();
        g.output("once", once, n_slots)?;
        g.output("product", product, n_slots)?;
        g.output("twice", twice, n_slots)?;
        g.output("square", twice.square() - product, n_slots)
    })
    .unwrap();
    let compiled = compile(&program, client.params(), &Options::default()).unwrap();
    let keys = client.keys(&compiled);
    let [random, constant] = random_and_constant(&program);
    for (i, (estimate, mean, largest)) in
        errors_of(&program, &compiled, &mut client, &keys, &random).into_iter().enumerate()
    {
        let ratio = estimate.error / mean;
        assert!((1.0..8.0).contains(&ratio), "output {i}: {mean:e}, estimated {:e}", estimate.error);
        assert!(largest < estimate.largest_error(n_slots), "output {i}: {largest:e}, {estimate:?}");
        assert!(estimate.magnitude < 2.0, "output {i}: {estimate:?}");
    }
    for (i, (estimate, _, largest)) in
        errors_of(&program, &compiled, &mut client, &keys, &constant).into_iter().enumerate()
    {
        let ratio = estimate.largest_error(n_slots) / largest;
        assert!((1.0..8.0).contains(&ratio), "output {i}: {largest:e}, {estimate:?}");
    }
}

/// Two real vectors in one bootstrap, of few coefficients, where the sine is most of the error. What is raised is said to be as large as both together, and the
/// sine goes with the cube of that: eight times what it is of two constants, twice that in a product. Of 32 coefficients at random it is a hundredth.
#[test]
fn bounds_hold_of_pairs_and_short_periods() {
    let program = dsl::build("pair", |g| {
        let (x, y) = (g.input("x", 16)?, g.input("y", 8)?);
        let (x, y) = (x.bootstrapped(), y.bootstrapped());
        g.output("x", x * y, 16)?;
        g.output("y", y, 16)
    })
    .unwrap();
    for (messages, most) in random_and_constant(&program).into_iter().zip([256.0, 32.0]) {
        for (i, (estimate, _, largest)) in
            errors::<u32>(&program, Preset::Toy12p, &messages).into_iter().enumerate()
        {
            let ratio = estimate.largest_error(16) / largest;
            assert!((1.0..most).contains(&ratio), "output {i}: {largest:e}, {estimate:?}");
        }
    }
}

/// A composition of polynomials is no larger than it is on its interval, and what the user says of a value is believed.
#[test]
fn bounds_of_polynomials_and_of_the_user() {
    let program = dsl::build("signs", |g| {
        let x = g.input("x", 512)?;
        g.output("sign", dsl::functions::sign(x, 1.0, 0.25, 0.01)?, 512)?;
        g.output("power", (x * 3.0).square(), 512)?;
        g.output("said", (x * 3.0).at_most(1.5).square(), 512)
    })
    .unwrap();
    let messages = [(0..512).map(|i| Complex64::new(0.5 - f64::from(i % 2), 0.0)).collect()];
    let found = errors::<u32>(&program, Preset::Toy10, &messages);
    let magnitudes: Vec<f64> = found.iter().map(|(estimate, _, _)| estimate.magnitude).collect();
    assert!((1.0..1.05).contains(&magnitudes[0]), "{magnitudes:?}");
    assert_eq!(magnitudes[1..], [2.25, 2.25]);
    // Where bounds are exact an estimate is as often below what is measured as above it.
    for (estimate, mean, _) in found {
        let ratio = estimate.error / mean;
        assert!((0.6..64.0).contains(&ratio), "{mean:e}, {estimate:?}");
    }
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let refused = dsl::build("wrong", |g| g.output("y", g.input("x", 4)?.at_most(wrong), 4)).unwrap_err();
        assert!(matches!(refused, Error::Interval { .. }), "{refused}");
    }
}

//! Functions against those of `f64`, on all of their domain, and their levels.

use crate::common::functions::{
    depth, levels, mistake, n16, noise, number, points, products, program, real, run,
};
use crate::common::{check_everywhere_on, deep_toy};
use expect_test::expect;
use fhe_core::params::{Level, Preset};
use scheduler::dsl::{self, Encrypted, functions};
use scheduler::{Error, Options, Result};

#[test]
fn functions_of_one_slot_are_within_their_relative_error() {
    type Make = fn(Encrypted<'_>, f64, f64, f64) -> Result<Encrypted<'_>>;
    let exp: Make = |x, low, high, error| functions::exp(x, low..=high, error);
    let inverse: Make = |x, low, high, error| functions::inverse(x, low..=high, error);
    let root: Make = |x, low, high, error| functions::inverse_square_root(x, low..=high, error);
    let of = |name: &str, x: f64| match name {
        "exp" => x.exp(),
        "inverse" => 1.0 / x,
        _ => 1.0 / x.sqrt(),
    };
    let cases = [
        ("exp", exp, -1.0, 1.0, 2f64.powi(-20)),
        ("exp", exp, -4.0, 4.0, 2f64.powi(-12)),
        ("exp", exp, -8.0, 0.0, 2f64.powi(-20)),
        ("inverse", inverse, 0.01, 1.0, 2f64.powi(-20)),
        ("inverse", inverse, 0.001, 4.001, 2f64.powi(-10)),
        ("inverse", inverse, 1.0, 1.5, 2f64.powi(-8)),
        ("root", root, 0.01, 1.0, 2f64.powi(-20)),
        ("root", root, 0.004, 4.004, 2f64.powi(-10)),
        ("root", root, 1.0, 5.0, 2f64.powi(-30)),
    ];
    let mut lines = String::new();
    for (name, make, low, high, error) in cases {
        let made = program(4, |x| make(x, low, high, error));
        let x = points(low, high, 1 << 14, if name == "exp" { 1.0 } else { 3.0 });
        let worst = x.iter().zip(run(&made, &x)).map(|(&x, y)| (y / of(name, x) - 1.0).abs());
        let worst = worst.fold(0.0, f64::max);
        assert!(worst <= error, "{name} from {low} to {high} is off by {worst}, expected {error}");
        assert!(worst > error * 1e-6, "{name} from {low} to {high}: {worst} is better than was paid for");
        lines += &format!(
            "{name} {low} to {high}, 2^{}: levels {}, products {}\n",
            error.log2(),
            levels(&made),
            products(&made)
        );
    }
    expect![[r#"
        exp -1 to 1, 2^-20: levels 3, products 5
        exp -4 to 4, 2^-12: levels 5, products 6
        exp -8 to 0, 2^-20: levels 5, products 8
        inverse 0.01 to 1, 2^-20: levels 7, products 18
        inverse 0.001 to 4.001, 2^-10: levels 10, products 21
        inverse 1 to 1.5, 2^-8: levels 2, products 1
        root 0.01 to 1, 2^-20: levels 7, products 18
        root 0.004 to 4.004, 2^-10: levels 7, products 22
        root 1 to 5, 2^-30: levels 5, products 9
    "#]]
    .assert_eq(&lines);
}

/// In the clear, with the maximum subtracted.
fn softmax(x: &[f64]) -> Vec<f64> {
    let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = x.iter().map(|x| (x - most).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|e| e / sum).collect()
}

#[test]
fn softmax_is_within_its_relative_error_and_n16() {
    let mut lines = String::new();
    for (n, period, low, high, log_error) in [
        (128, 128, -4.0, 4.0, -10),
        (128, 128, -8.0, 0.0, -10),
        (100, 128, -2.0, 2.0, -16),
        (1, 4, -1.0, 1.0, -8),
        // By squares.
        (8, 8, -30.0, 30.0, -10),
        (128, 128, -8.0, 8.0, -10),
        (100, 128, -64.0, 0.0, -12),
        (5, 16, 1000.0, 1020.0, -10),
    ] {
        let error = 2f64.powi(log_error);
        let made = program(period, |x| functions::softmax(x, n, low..=high, error));
        let levels = depth(&made);
        lines += &format!("{n} of {period} slots, {low} to {high}, 2^{log_error}: levels {levels}\n");
        // Sums from the least to the greatest, and between.
        let one_high = |i: usize| if i == 0 { high } else { low };
        let scores: [Box<dyn Fn(usize) -> f64>; 5] = [
            Box::new(|_| low),
            Box::new(|_| high),
            Box::new(one_high),
            Box::new(|i| low + (high - low) * number(i, 3)),
            Box::new(|i| low + (high - low) * number(i, 8).powi(4)),
        ];
        for (k, score) in scores.iter().enumerate() {
            let x: Vec<f64> = (0..period).map(score).collect();
            let found = run(&made, &x);
            for (i, (found, expected)) in found.iter().zip(softmax(&x[..n])).enumerate() {
                assert!(
                    (found / expected - 1.0).abs() <= error,
                    "scores {k}, slot {i}: {found}, expected {expected}"
                );
            }
            assert!(found[n..].iter().all(|&y| y == 0.0));
        }
    }
    expect![[r#"
        128 of 128 slots, -4 to 4, 2^-10: levels 15
        128 of 128 slots, -8 to 0, 2^-10: levels 15
        100 of 128 slots, -2 to 2, 2^-16: levels 12
        1 of 4 slots, -1 to 1, 2^-8: levels 9
        8 of 8 slots, -30 to 30, 2^-10: levels 35
        128 of 128 slots, -8 to 8, 2^-10: levels 24
        100 of 128 slots, -64 to 0, 2^-12: levels 42
        5 of 16 slots, 1000 to 1020, 2^-10: levels 25
    "#]]
    .assert_eq(&lines);
}

#[test]
fn layer_norm_is_within_its_error_and_n16() {
    let n = 256;
    let gamma: Vec<f64> = (0..n).map(|i| 0.5 + number(i, 1)).collect();
    let beta: Vec<f64> = (0..n).map(|i| number(i, 2) - 0.5).collect();
    let (epsilon, error) = (1e-5, 2f64.powi(-10));
    let mut lines = String::new();
    for (low, high) in [(0.1, 10.0), (0.0, 1.0), (0.5, 1.5)] {
        // Without a least variance, what is added to it is the least: a thousand times more than usual.
        let epsilon = if low == 0.0 { 1e-2 } else { epsilon };
        let made = program(n, |x| functions::layer_norm(x, &gamma, &beta, epsilon, low..=high, error));
        lines += &format!("variance {low} to {high}: levels {}\n", levels(&made));
        for (k, variance) in [low, low + 0.01, (low + high) / 2.0, high].into_iter().enumerate() {
            let raw: Vec<f64> = (0..n).map(|i| number(i, 4 + k)).collect();
            let mean = raw.iter().sum::<f64>() / n as f64;
            let own = raw.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
            let x: Vec<f64> = raw.iter().map(|x| (x - mean) * (variance / own).sqrt() + 0.75).collect();
            for (i, found) in run(&made, &x).iter().enumerate() {
                let scaled = gamma[i] * (x[i] - 0.75) / (variance + epsilon).sqrt();
                let off = (found - scaled - beta[i]).abs();
                assert!(off <= error * scaled.abs() + 1e-12, "variance {variance}, slot {i} is off by {off}");
            }
        }
    }
    expect![[r#"
        variance 0.1 to 10: levels 9
        variance 0 to 1: levels 9
        variance 0.5 to 1.5: levels 6
    "#]]
    .assert_eq(&lines);
}

#[test]
fn both_compile_for_n16() {
    let ones = [1.0; 256];
    let programs = [
        program(128, |x| functions::softmax(x, 128, -4.0..=4.0, 2f64.powi(-10))),
        program(256, |x| functions::layer_norm(x, &ones, &ones, 1e-5, 0.1..=10.0, 2f64.powi(-10))),
    ];
    for program in programs {
        let compiled = scheduler::compile(&program, n16(), &Options::default()).unwrap();
        assert_eq!(compiled.manifest.outputs[0].level, Level(0));
        assert!(compiled.manifest.inputs[0].level <= Level(22));
        assert!(compiled.manifest.needs_relinearization);
    }
}

#[test]
fn encrypted_with_few_levels() {
    let made = dsl::build("functions", |g| {
        let x = g.input("x", 16)?;
        g.output("exp", functions::exp(x, -1.0..=1.0, 1e-5)?, 16)?;
        g.output("inverse", functions::inverse(x + 3.0, 2.0..=4.0, 1e-4)?, 16)?;
        g.output("root", functions::inverse_square_root(x + 2.0, 1.0..=3.0, 1e-4)?, 16)
    })
    .unwrap();
    let x = points(-1.0, 1.0, 16, 1.0);
    check_everywhere_on::<u32>(&made, &[real(&x)], Preset::Toy10, &Options::default(), 1e-6);
}

/// How far decrypted results are from what the program means, with the levels of `n16`.
#[test]
fn softmax_and_layer_norm_encrypted() {
    let error = 2f64.powi(-10);
    let weights: Vec<f64> = (0..256).map(|i| 0.5 + number(i, 1)).collect();
    let programs = [
        (128, program(128, |x| functions::softmax(x, 128, -4.0..=4.0, error))),
        (256, program(256, |x| functions::layer_norm(x, &weights, &weights, 1e-5, 0.1..=10.0, error))),
    ];
    for (n, program) in programs {
        let x: Vec<f64> = (0..n).map(|i| 4.0 * number(i, 3) - 2.0).collect();
        let worst = noise(&program, &deep_toy(), &x);
        assert!(worst < 2f64.powi(-34), "off by {worst}");
    }
}

#[test]
fn domains_and_sizes_are_checked() {
    let texts = [
        mistake(file!(), |x| functions::inverse(x, 0.0..=1.0, 1e-3)),
        mistake(file!(), |x| functions::inverse(x, 1.0..=1.0, 1e-3)),
        mistake(file!(), |x| functions::inverse(x, 1e-9..=1.0, 1e-3)),
        mistake(file!(), |x| functions::inverse(x, 0.5..=1.0, 0.0)),
        mistake(file!(), |x| functions::inverse_square_root(x, -1.0..=1.0, 1e-3)),
        mistake(file!(), |x| functions::inverse_square_root(x, 1e-9..=1.0, 1e-3)),
        mistake(file!(), |x| functions::exp(x, -40.0..=0.0, 1e-3)),
        mistake(file!(), |x| functions::softmax(x, 5, -1.0..=1.0, 1e-3)),
        mistake(file!(), |x| functions::softmax(x, 0, -1.0..=1.0, 1e-3)),
        mistake(file!(), |x| functions::softmax(x, 4, -1.0..=f64::NAN, 1e-3)),
        mistake(file!(), |x| functions::layer_norm(x, &[1.0; 3], &[1.0; 4], 0.1, 0.0..=1.0, 1e-3)),
        mistake(file!(), |x| functions::layer_norm(x, &[1.0; 4], &[1.0; 5], 0.1, 0.0..=1.0, 1e-3)),
        mistake(file!(), |x| functions::layer_norm(x, &[1.0; 4], &[1.0; 4], 0.0, 0.0..=1.0, 1e-3)),
        mistake(file!(), |x| functions::layer_norm(x, &[f64::NAN; 4], &[1.0; 4], 0.1, 0.0..=1.0, 1e-3)),
    ];
    expect![[r#"
        interval from 0 to 1, expected positive ends 
        interval from 1 to 1, expected finite ends, the lower one first 
        no polynomial of degree up to 127 found within 0.001 of the function from 0.000000001 to 1, the last one is off by 0.8744009350328376 
        no polynomial of degree up to 127 found within 0 of the function from 0.5 to 1, the last one is off by 0.0000000000000002220446049250313 
        interval from -1 to 1, expected positive ends 
        no polynomial of degree up to 127 found within 0.001 of the function from 0.000000001 to 1, the last one is off by inf 
        no polynomial of degree up to 255 found within 0.001 of the function from -40 to 0, the last one is off by 58.685311541938496 
        softmax of 5, expected 4 
        softmax of 0, expected 4 
        interval from -1 to NaN, expected finite ends, the lower one first 
        gamma of a layer norm of 3, expected 4 
        beta of a layer norm of 5, expected 4 
        interval from 0 to 1, expected positive ends 
        `gamma`: element 0 is NaN+0i, expected a finite number "#]]
    .assert_eq(&texts.join("\n"));
    let error = dsl::build("mistake", |g| functions::exp(g.input("x", 4)?, 1.0..=0.0, 0.1).map(|_| ()));
    assert!(matches!(error, Err(Error::Interval { low: 1.0, high: 0.0, .. })));
}

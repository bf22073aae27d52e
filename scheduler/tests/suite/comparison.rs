//! The sign and what is made of it: against `f64` on all of the domain, encrypted, and what it costs.

use crate::common::functions::{
    depth, mistake, noise, number, points, products, program, program_of_two, real, run,
};
use crate::common::{check_everywhere_on, deep_toy};
use expect_test::expect;
use fhe_core::params::{Params, Preset};
use scheduler::dsl::{self, Program, functions};
use scheduler::{Error, Options, interp};

#[test]
fn signs_are_within_their_error() {
    let mut lines = String::new();
    for (bound, log_epsilon, log_error) in
        [(1.0, -4, -10), (1.0, -10, -10), (1.0, -16, -16), (1.0, -20, -20), (40.0, -8, -8)]
    {
        let (epsilon, error) = (bound * 2f64.powi(log_epsilon), 2f64.powi(log_error));
        let made = program(4, |x| functions::sign(x, bound, epsilon, error));
        // Dense near both ends.
        let upper =
            points(epsilon, bound, 1 << 13, 3.0).into_iter().chain(points(epsilon, bound, 1 << 12, 1.0));
        let x: Vec<f64> =
            upper.flat_map(|x| [x, -x]).chain(points(-epsilon, epsilon, 1 << 13, 1.0)).collect();
        let found = run(&made, &x);
        let off =
            x.iter().zip(&found).filter(|(x, _)| x.abs() >= epsilon).map(|(x, y)| (y - x.signum()).abs());
        let worst = off.fold(0.0, f64::max);
        assert!(worst <= error && worst > error / 20.0, "{epsilon} to {bound} is off by {worst}");
        let between = found[found.len() - (1 << 13)..].windows(2);
        assert!(
            between.into_iter().all(|pair| pair[0] <= pair[1] + 1e-9),
            "{epsilon} to {bound} falls between"
        );
        lines += &format!(
            "{bound} from 2^{log_epsilon} of it, 2^{log_error}: levels {}, products {}\n",
            depth(&made),
            products(&made)
        );
    }
    expect![[r#"
        1 from 2^-4 of it, 2^-10: levels 8, products 12
        1 from 2^-10 of it, 2^-10: levels 14, products 26
        1 from 2^-16 of it, 2^-16: levels 21, products 42
        1 from 2^-20 of it, 2^-20: levels 25, products 60
        40 from 2^-8 of it, 2^-8: levels 13, products 20
    "#]]
    .assert_eq(&lines);
}

#[test]
fn relus_maxima_and_minima_are_within_their_error() {
    let mut lines = String::new();
    for (low, high, log_error) in
        [(-0.5, 0.5, -6), (0.0, 1.0, -10), (-0.5, 0.5, -13), (0.0, 1.0, -16), (-20.0, 20.0, -6)]
    {
        let (bound, error) = (high - low, 2f64.powi(log_error));
        let relu = program(4, |x| functions::relu(x, bound, error));
        let upper = points(0.0, bound, 1 << 14, 4.0);
        let x: Vec<f64> = upper.into_iter().flat_map(|x| [x, -x]).collect();
        let off = x.iter().zip(run(&relu, &x)).map(|(x, y)| (y - x.max(0.0)).abs());
        let worst = off.fold(0.0, f64::max);
        assert!(worst <= error && worst > 0.8 * error, "relu up to {bound} is off by {worst}");
        lines +=
            &format!("up to {bound}, 2^{log_error}: levels {}, products {}\n", depth(&relu), products(&relu));
        // Both ends, numbers far apart and near each other.
        let n = 1 << 13;
        let a: Vec<f64> = (0..n).map(|i| low + bound * if i < 2 { i as f64 } else { number(i, 1) }).collect();
        let other = |i: usize| match i % 3 {
            0 => low + bound * number(i, 2),
            1 => a[i] + bound * (number(i, 3) - 0.5) * 2f64.powi(-((i / 3 % 14) as i32)),
            _ => {
                if i.is_multiple_of(2) {
                    low
                } else {
                    high
                }
            }
        };
        let b: Vec<f64> = (0..n).map(|i| other(i).clamp(low, high)).collect();
        for (name, made, expected) in [
            (
                "maximum",
                program_of_two(n, |a, b| functions::maximum(a, b, low..=high, error)),
                f64::max as fn(f64, f64) -> f64,
            ),
            ("minimum", program_of_two(n, |a, b| functions::minimum(a, b, low..=high, error)), f64::min),
        ] {
            let found = &interp::slots::run(made.function(), n, &[real(&a), real(&b)]).unwrap()[0];
            let off = found.iter().zip(a.iter().zip(&b)).map(|(y, (&a, &b))| (y.re - expected(a, b)).abs());
            let worst = off.fold(0.0, f64::max);
            assert!(worst <= error && worst > 0.3 * error, "{name} from {low} to {high} is off by {worst}");
            assert_eq!(depth(&made), depth(&relu));
        }
    }
    expect![[r#"
        up to 1, 2^-6: levels 6, products 8
        up to 1, 2^-10: levels 11, products 18
        up to 1, 2^-13: levels 14, products 27
        up to 1, 2^-16: levels 18, products 34
        up to 40, 2^-6: levels 14, products 21
    "#]]
    .assert_eq(&lines);
}

#[test]
fn the_largest_slot_is_found_within_its_error() {
    let mut lines = String::new();
    for (n, period, low, high, error) in [
        (4, 4, 0.0, 1.0, 0.05),
        (128, 128, -4.0, 4.0, 0.25),
        (5, 8, -1.0, 1.0, 0.01),
        (3, 64, -8.0, 0.0, 0.5),
        (2, 2, 0.0, 8.0, 0.01),
        (1, 1, 0.0, 1.0, 0.1),
        (1, 4, 3.0, 4.0, 0.1),
        // More than there is to be found.
        (4, 4, 0.0, 1.0, 100.0),
    ] {
        let made = program(period, |x| functions::maximum_of(x, n, low..=high, error));
        lines += &format!(
            "{n} of {period} slots, {low} to {high}, {error}: levels {}, products {}\n",
            depth(&made),
            products(&made)
        );
        let scores: [Box<dyn Fn(usize) -> f64>; 6] = [
            Box::new(|_| low),
            Box::new(|_| high),
            Box::new(|i| if i + 1 == n { high } else { low }),
            Box::new(|i| if i == 0 { high } else { low }),
            Box::new(|i| low + (high - low) * number(i, 3)),
            Box::new(|i| high - (high - low) / 100.0 * number(i, 5)),
        ];
        for (k, score) in scores.iter().enumerate() {
            // Behind the first n is what would win.
            let x: Vec<f64> = (0..period).map(|i| if i < n { score(i) } else { high }).collect();
            let expected = x[..n].iter().copied().fold(low, f64::max);
            for (i, found) in run(&made, &x).iter().enumerate() {
                assert!(
                    (found - expected).abs() <= error + 1e-12,
                    "scores {k}, slot {i}: {found}, not {expected}"
                );
            }
        }
    }
    expect![[r#"
        4 of 4 slots, 0 to 1, 0.05: levels 10, products 14
        128 of 128 slots, -4 to 4, 0.25: levels 58, products 98
        5 of 8 slots, -1 to 1, 0.01: levels 31, products 48
        3 of 64 slots, -8 to 0, 0.5: levels 12, products 14
        2 of 2 slots, 0 to 8, 0.01: levels 11, products 19
        1 of 1 slots, 0 to 1, 0.1: levels 0, products 0
        1 of 4 slots, 3 to 4, 0.1: levels 2, products 0
        4 of 4 slots, 0 to 1, 100: levels 6, products 6
    "#]]
    .assert_eq(&lines);
}

/// What encryption adds is far below the stated errors, on chains of one kind and of the other.
#[test]
fn comparisons_encrypted() {
    let rational = Preset::Toy12r.params().unwrap();
    let sign = program(512, |x| functions::sign(x, 1.0, 0.01, 2f64.powi(-10)));
    let relu = program(512, |x| functions::relu(x, 1.0, 2f64.powi(-13)));
    let largest = program(4, |x| functions::maximum_of(x, 4, -1.0..=1.0, 0.05));
    let x = points(-1.0, 1.0, 512, 1.0);
    let cases: [(&str, &Program, &[f64], &Params, i32); 5] = [
        ("sign", &sign, &x, &deep_toy(), -30),
        ("relu", &relu, &x, &deep_toy(), -34),
        ("largest", &largest, &x[..4], &deep_toy(), -34),
        ("relu", &relu, &x, &rational, -20),
        ("largest", &largest, &x[..4], &rational, -20),
    ];
    for (name, made, x, params, bits) in cases {
        let worst = noise(made, params, x);
        assert!(worst < 2f64.powi(bits), "{name} is off by 2^{}", worst.log2());
    }
}

/// Bit for bit in every interpreter, at what few levels allow.
#[test]
fn functions_of_few_levels_everywhere() {
    let made = dsl::build("functions", |g| {
        let (x, y) = (g.input("x", 16)?, g.input("y", 16)?);
        g.output("relu", functions::relu(x, 1.0, 0.05)?, 16)?;
        g.output("maximum", functions::maximum(x, y, -0.5..=0.5, 0.05)?, 16)?;
        g.output("minimum", functions::minimum(x, y, -0.5..=0.5, 0.05)?, 16)?;
        g.output("sign", functions::sign(x - y, 1.0, 0.125, 0.2)?, 16)?;
        g.output("gelu", functions::gelu(x * 2.0, -1.0..=1.0, 1e-3)?, 16)?;
        g.output("tanh", functions::tanh(y, -1.0..=1.0, 1e-3)?, 16)
    })
    .unwrap();
    let x = points(-0.5, 0.5, 16, 1.0);
    let y: Vec<f64> = (0..16).map(|i| number(i, 7) - 0.5).collect();
    check_everywhere_on::<u32>(&made, &[real(&x), real(&y)], Preset::Toy10, &Options::default(), 1e-6);
}

#[test]
fn mistakes_are_told() {
    let texts = [
        mistake(file!(), |x| functions::sign(x, 1.0, 0.0, 0.1)),
        mistake(file!(), |x| functions::sign(x, 1.0, 1.0, 0.1)),
        mistake(file!(), |x| functions::sign(x, f64::INFINITY, 1.0, 0.1)),
        mistake(file!(), |x| functions::sign(x, 1.0, 0.1, 0.0)),
        mistake(file!(), |x| functions::relu(x, 1.0, 0.0)),
        mistake(file!(), |x| functions::relu(x, -1.0, 0.1)),
        mistake(file!(), |x| functions::relu(x, 1.0, f64::NAN)),
        mistake(file!(), |x| functions::maximum(x, x, 1.0..=0.0, 0.1)),
        mistake(file!(), |x| functions::minimum(x, x, 0.0..=1.0, -0.1)),
        mistake(file!(), |x| functions::maximum_of(x, 0, 0.0..=1.0, 0.1)),
        mistake(file!(), |x| functions::maximum_of(x, 5, 0.0..=1.0, 0.1)),
        mistake(file!(), |x| functions::maximum_of(x, 4, 0.0..=f64::NAN, 0.1)),
    ];
    expect![[r#"
        interval from 0 to 1, expected positive finite ends, the lower one first 
        interval from 1 to 1, expected positive finite ends, the lower one first 
        interval from 1 to inf, expected positive finite ends, the lower one first 
        no polynomial of degree up to 31 found within 0 of the function from 0.1 to 1, the last one is off by 0.000000000000014969464547939074 
        interval from 0 to 1, expected a positive error and a positive finite bound 
        interval from -0.125 to -1, expected a positive error and a positive finite bound 
        interval from NaN to 1, expected a positive error and a positive finite bound 
        interval from 1 to 0, expected finite ends, the lower one first 
        interval from -0.1 to 1, expected a positive error and a positive finite bound 
        maximum_of of 0, expected 4 
        maximum_of of 5, expected 4 
        interval from 0 to NaN, expected finite ends, the lower one first "#]].assert_eq(&texts.join("\n"));
    let error = dsl::build("mistake", |g| functions::relu(g.input("x", 4)?, 1.0, 0.0).map(|_| ()));
    assert!(matches!(error, Err(Error::Interval { low: 0.0, high: 1.0, .. })));
}

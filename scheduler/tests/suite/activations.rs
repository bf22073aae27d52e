//! Activation functions, the RMS norm and the stable softmax: against `f64` on all of their domain, encrypted, and what they cost.

use crate::common::deep_toy;
use crate::common::functions::{depth, mistake, noise, number, points, products, program, run};
use expect_test::expect;
use scheduler::Result;
use scheduler::dsl::{Encrypted, functions};

/// The normal distribution at increasing points up to 12, by Simpson's rule from -12.
fn normal(x: &[f64]) -> Vec<f64> {
    let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let area = |from: f64, to: f64, cells: u32| -> f64 {
        let h = (to - from) / f64::from(cells);
        let cell = |i: u32| {
            let t = from + f64::from(i) * h;
            h / 6.0 * (density(t) + 4.0 * density(t + h / 2.0) + density(t + h))
        };
        (0..cells).map(cell).sum()
    };
    let mut sum = area(-12.0, x[0], 4000);
    let mut at = x[0];
    let next = |&x: &f64| {
        sum += area(at, x, 16);
        at = x;
        sum
    };
    x.iter().map(next).collect()
}

#[test]
fn activations_are_within_their_error() {
    type Make = fn(Encrypted<'_>, f64, f64, f64) -> Result<Encrypted<'_>>;
    let gelu: Make = |x, low, high, error| functions::gelu(x, low..=high, error);
    let silu: Make = |x, low, high, error| functions::silu(x, low..=high, error);
    let sigmoid: Make = |x, low, high, error| functions::sigmoid(x, low..=high, error);
    let tanh: Make = |x, low, high, error| functions::tanh(x, low..=high, error);
    let relu: Make = |x, _, high, error| functions::relu(x, high, error);
    let mut lines = String::new();
    for (name, make, low, high, log_error) in [
        ("gelu", gelu, -2.0, 2.0, -10),
        ("gelu", gelu, -8.0, 8.0, -10),
        ("gelu", gelu, -8.0, 8.0, -16),
        ("gelu", gelu, -30.0, 30.0, -8),
        ("silu", silu, -8.0, 8.0, -10),
        ("silu", silu, -30.0, 30.0, -8),
        ("sigmoid", sigmoid, -8.0, 8.0, -10),
        ("sigmoid", sigmoid, -8.0, 8.0, -20),
        ("tanh", tanh, -4.0, 4.0, -10),
        ("tanh", tanh, 0.0, 1.0, -20),
        ("relu", relu, -8.0, 8.0, -10),
    ] {
        let error = 2f64.powi(log_error);
        let made = program(4, |x| make(x, low, high, error));
        let x = points(low, high, 1 << 13, 1.0);
        let expected: Vec<f64> = match name {
            "gelu" => x.iter().zip(normal(&x)).map(|(x, p)| x * p).collect(),
            "silu" => x.iter().map(|x| x / (1.0 + (-x).exp())).collect(),
            "sigmoid" => x.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect(),
            "tanh" => x.iter().map(|x| x.tanh()).collect(),
            _ => x.iter().map(|x| x.max(0.0)).collect(),
        };
        let off = run(&made, &x).into_iter().zip(&expected).map(|(y, expected)| (y - expected).abs());
        let worst = off.fold(0.0, f64::max);
        assert!(worst <= error && worst > error / 20.0, "{name} from {low} to {high} is off by {worst}");
        lines += &format!(
            "{name} {low} to {high}, 2^{log_error}: levels {}, products {}\n",
            depth(&made),
            products(&made)
        );
    }
    expect![[r#"
        gelu -2 to 2, 2^-10: levels 4, products 4
        gelu -8 to 8, 2^-10: levels 6, products 8
        gelu -8 to 8, 2^-16: levels 7, products 10
        gelu -30 to 30, 2^-8: levels 8, products 14
        silu -8 to 8, 2^-10: levels 6, products 7
        silu -30 to 30, 2^-8: levels 7, products 13
        sigmoid -8 to 8, 2^-10: levels 5, products 8
        sigmoid -8 to 8, 2^-20: levels 7, products 12
        tanh -4 to 4, 2^-10: levels 6, products 9
        tanh 0 to 1, 2^-20: levels 3, products 5
        relu -8 to 8, 2^-10: levels 15, products 27
    "#]]
    .assert_eq(&lines);
}

#[test]
fn an_rms_norm_is_within_its_error() {
    let n = 256;
    let gamma: Vec<f64> = (0..n).map(|i| 0.5 + number(i, 1)).collect();
    let error = 2f64.powi(-10);
    let mut lines = String::new();
    for (low, high, epsilon) in [(0.1, 10.0, 1e-5), (0.0, 1.0, 1e-2), (0.5, 1.5, 1e-5)] {
        let made = program(n, |x| functions::rms_norm(x, &gamma, epsilon, low..=high, error));
        lines += &format!("mean square {low} to {high}: levels {}\n", depth(&made));
        let mut worst = 0f64;
        for (k, mean_square) in [low, low + 0.01, (low + high) / 2.0, high].into_iter().enumerate() {
            let raw: Vec<f64> = (0..n).map(|i| number(i, 4 + k) - 0.25).collect();
            let own = raw.iter().map(|x| x * x).sum::<f64>() / n as f64;
            let x: Vec<f64> = raw.iter().map(|x| x * (mean_square / own).sqrt()).collect();
            for (i, found) in run(&made, &x).iter().enumerate() {
                let scaled = gamma[i] * x[i] / (mean_square + epsilon).sqrt();
                let off = (found - scaled).abs();
                assert!(off <= error * scaled.abs() + 1e-12, "mean square {mean_square}, slot {i}: {off}");
                worst = worst.max(off);
            }
        }
        assert!(worst > error * 1e-3, "{worst} is better than was paid for");
    }
    expect![[r#"
        mean square 0.1 to 10: levels 9
        mean square 0 to 1: levels 9
        mean square 0.5 to 1.5: levels 6
    "#]]
    .assert_eq(&lines);
}

#[test]
fn a_stable_softmax_is_within_its_error_on_long_intervals() {
    let mut lines = String::new();
    for (n, period, low, high, log_error) in [
        (8, 8, -30.0, 30.0, -10),
        (128, 128, -8.0, 8.0, -10),
        (128, 128, -64.0, 0.0, -12),
        (5, 16, 0.0, 20.0, -10),
        (4, 4, -0.5, 0.5, -10),
        (1, 2, -9.0, 9.0, -10),
    ] {
        let error = 2f64.powi(log_error);
        let made = program(period, |x| functions::stable_softmax(x, n, low..=high, error));
        lines += &format!(
            "{n} of {period} slots, {low} to {high}, 2^{log_error}: levels {}, products {}\n",
            depth(&made),
            products(&made)
        );
        let scores: [Box<dyn Fn(usize) -> f64>; 6] = [
            Box::new(|_| low),
            Box::new(|_| high),
            Box::new(|i| if i == 0 { high } else { low }),
            Box::new(|i| if i + 1 == n { high } else { high - 1.0 }),
            Box::new(|i| low + (high - low) * number(i, 3)),
            Box::new(|i| high - number(i, 8).powi(4)),
        ];
        for (k, score) in scores.iter().enumerate() {
            let x: Vec<f64> = (0..period).map(|i| if i < n { score(i).max(low) } else { high }).collect();
            let most = x[..n].iter().copied().fold(low, f64::max);
            let sum: f64 = x[..n].iter().map(|x| (x - most).exp()).sum();
            let found = run(&made, &x);
            for (i, found) in found[..n].iter().enumerate() {
                let expected = (x[i] - most).exp() / sum;
                assert!(
                    (found - expected).abs() <= error,
                    "scores {k}, slot {i}: {found}, expected {expected}"
                );
            }
            assert!(found[n..].iter().all(|&y| y == 0.0));
        }
    }
    expect![[r#"
        8 of 8 slots, -30 to 30, 2^-10: levels 33, products 70
        128 of 128 slots, -8 to 8, 2^-10: levels 55, products 100
        128 of 128 slots, -64 to 0, 2^-12: levels 73, products 129
        5 of 16 slots, 0 to 20, 2^-10: levels 30, products 48
        4 of 4 slots, -0.5 to 0.5, 2^-10: levels 8, products 11
        1 of 2 slots, -9 to 9, 2^-10: levels 11, products 12
    "#]]
    .assert_eq(&lines);
}

#[test]
fn activations_and_norms_encrypted() {
    let error = 2f64.powi(-10);
    let weights = [1.25; 256];
    let cases = [
        ("gelu", 256, 4.0, program(256, |x| functions::gelu(x, -4.0..=4.0, error))),
        ("silu", 256, 8.0, program(256, |x| functions::silu(x, -8.0..=8.0, error))),
        ("sigmoid", 256, 8.0, program(256, |x| functions::sigmoid(x, -8.0..=8.0, error))),
        ("tanh", 256, 2.0, program(256, |x| functions::tanh(x, -2.0..=2.0, error))),
        ("rms", 256, 2.0, program(256, |x| functions::rms_norm(x, &weights, 1e-5, 0.1..=10.0, error))),
        ("softmax by squares", 4, 8.0, program(4, |x| functions::softmax(x, 4, -8.0..=8.0, error))),
        ("stable softmax", 2, 4.0, program(2, |x| functions::stable_softmax(x, 2, -4.0..=4.0, error))),
    ];
    for (name, n, bound, made) in cases {
        let x = points(-bound, bound, n, 1.0);
        let worst = noise(&made, &deep_toy(), &x);
        assert!(worst < 2f64.powi(-33), "{name} is off by 2^{}", worst.log2());
    }
}

#[test]
fn mistakes_are_told() {
    let texts = [
        mistake(file!(), |x| functions::gelu(x, 1.0..=1.0, 0.1)),
        mistake(file!(), |x| functions::gelu(x, -1e4..=1e4, 1e-3)),
        mistake(file!(), |x| functions::tanh(x, -1.0..=1.0, 0.0)),
        mistake(file!(), |x| functions::rms_norm(x, &[1.0; 3], 0.1, 0.0..=1.0, 1e-3)),
        mistake(file!(), |x| functions::rms_norm(x, &[1.0; 4], 0.0, 0.0..=1.0, 1e-3)),
        mistake(file!(), |x| functions::stable_softmax(x, 5, -1.0..=1.0, 1e-3)),
        mistake(file!(), |x| functions::stable_softmax(x, 4, -1.0..=f64::NAN, 1e-3)),
        mistake(file!(), |x| functions::stable_softmax(x, 4, -1e6..=1e6, 1e-3)),
        mistake(file!(), |x| functions::stable_softmax(x, 4, -1.0..=1.0, f64::NAN)),
    ];
    expect![[r#"
        interval from 1 to 1, expected finite ends, the lower one first 
        no polynomial of degree up to 255 found within 0.001 of the function from -10000 to 10000, the last one is off by 19.11506053076724 
        no polynomial of degree up to 255 found within 0 of the function from -1 to 1, the last one is off by 0.00000000000000096135739395144 
        gamma of an RMS norm of 3, expected 4 
        interval from 0 to 1, expected positive ends 
        stable_softmax of 5, expected 4 
        interval from -1 to NaN, expected finite ends, the lower one first 
        no polynomial of degree up to 255 found within 0.00000003353230800162813 of the function from -1.9999960000159998 to 0.0000039999840000639995, the last one is off by 1.0057392151467424 
        interval from NaN to 2, expected a positive error "#]].assert_eq(&texts.join("\n"));
}

//! Polynomials against Horner and Clenshaw, their depth, and the products that they take.

use crate::common;

use expect_test::expect;
use fhe_core::Complex64;
use fhe_core::params::{Params, Preset};
use scheduler::ckks_ir::Function;
use scheduler::dsl::polynomial::{Approximation, is_folded};
use scheduler::dsl::{self, Encrypted, Program};
use scheduler::{Options, Result, interp, passes};
use std::sync::OnceLock;

mod helpers {
    use super::*;

    /// Parameters with levels enough for anything here.
    pub(crate) fn deep() -> &'static Params {
        static DEEP: OnceLock<Params> = OnceLock::new();
        DEEP.get_or_init(|| Preset::N16.params().unwrap())
    }

    pub(crate) fn program(body: impl Fn(Encrypted<'_>) -> Result<Encrypted<'_>>) -> Program {
        dsl::build("polynomial", |g| {
            let x = g.input("x", 16)?;
            g.output("y", body(x)?, 16)
        })
        .unwrap()
    }

    pub(crate) fn placed(program: &Program) -> Function {
        passes::run_ckks(program.function().clone(), deep(), &mut |_| {}).unwrap()
    }

    pub(crate) fn levels(placed: &Function) -> u32 {
        placed.value(placed.ids().next().unwrap()).kind.unwrap().level.0
    }

    pub(crate) fn count(function: &Function, names: &[&str]) -> usize {
        function.values.iter().filter(|v| names.contains(&v.op.name())).count()
    }

    /// Numbers in `[-1, 1]` without a pattern, none of them zero.
    pub(crate) fn numbers(n: usize, seed: usize) -> Vec<f64> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729 + 13) % 2003) as f64 / 1001.5 - 1.0).collect()
    }

    /// 16 points from the lowest to the highest.
    pub(crate) fn points(low: f64, high: f64) -> Vec<f64> {
        (0..16).map(|i| low + (high - low) * f64::from(i) / 15.0).collect()
    }

    /// Runs a program on slots, on real numbers.
    pub(crate) fn values(program: &Program, x: &[f64]) -> Vec<f64> {
        let x = x.iter().map(|&x| Complex64::new(x, 0.0)).collect();
        let y = interp::slots::run(program.function(), 16, &[x]).unwrap();
        y[0].iter().map(|y| y.re).collect()
    }

    /// `ceil(log2(n))`, by counting.
    pub(crate) fn log2_up(n: usize) -> u32 {
        (0..).find(|&l| 1 << l >= n).unwrap()
    }

    pub(crate) fn horner(p: &[f64], x: f64) -> f64 {
        p.iter().rev().fold(0.0, |sum, c| sum * x + c)
    }

    /// `sum c_n cos(n arccos u)`, and beyond the interval by the recurrence.
    pub(crate) fn chebyshev(c: &[f64], low: f64, high: f64, x: f64) -> f64 {
        let u = (2.0 * x - low - high) / (high - low);
        let (mut before, mut at, mut sum) = (u, 1.0, 0.0);
        for c in c {
            sum += c * at;
            (before, at) = (at, 2.0 * u * at - before);
        }
        sum
    }

    pub(crate) fn assert_near(
        found: &[f64],
        expected: impl Iterator<Item = f64>,
        tolerance: f64,
        what: &str,
    ) {
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((found - expected).abs() <= tolerance, "{what}, point {i}: {found}, expected {expected}");
        }
    }
}

use helpers::{
    assert_near, chebyshev, count, horner, levels, log2_up, numbers, placed, points, program, values,
};

#[test]
fn every_degree_in_both_bases_at_the_least_depth() {
    for degree in 1..=66 {
        let dense = numbers(degree + 1, degree);
        let parity = |odd: usize| {
            let keep = |(n, &c): (usize, &f64)| if n % 2 == odd % 2 { c } else { 0.0 };
            dense.iter().enumerate().map(keep).collect::<Vec<_>>()
        };
        for p in [dense.clone(), parity(degree)] {
            let x = points(-1.0, 1.0);
            let powers = program(|x| x.polynomial(&p));
            let what = format!("degree {degree}, {} terms", p.iter().filter(|&&c| c != 0.0).count());
            assert_near(&values(&powers, &x), x.iter().map(|&x| horner(&p, x)), 1e-11, &what);
            assert_eq!(levels(&placed(&powers)), log2_up(degree + 1), "{what}");
            let series = program(|x| x.chebyshev(&p, -1.0..=1.0));
            assert_near(&values(&series, &x), x.iter().map(|&x| chebyshev(&p, -1.0, 1.0, x)), 1e-11, &what);
            assert_eq!(levels(&placed(&series)), log2_up(degree + 1), "{what}");
        }
    }
}

#[test]
fn products_and_relinearizations_are_those_of_the_table() {
    let mut lines = String::new();
    let relinearizations = ["relinearize"];
    for degree in [3, 7, 15, 31, 63] {
        let p = numbers(degree + 1, 5);
        for series in [false, true] {
            let made = program(|x| if series { x.chebyshev(&p, -1.0..=1.0) } else { x.polynomial(&p) });
            let placed = placed(&made);
            let (levels, products) = (levels(&placed), count(&placed, &["mul"]));
            let shared = count(&placed, &relinearizations);
            lines += &format!("{degree} | {levels} | {products} | {shared}\n");
        }
        let parity = |odd: usize| {
            let keep = |(n, &c): (usize, &f64)| if n % 2 == odd { c } else { 0.0 };
            p.iter().enumerate().map(keep).collect::<Vec<_>>()
        };
        for (name, p) in [("even", parity(0)), ("odd", parity(1))] {
            let placed = placed(&program(|x| x.chebyshev(&p, -1.0..=1.0)));
            lines += &format!("{degree} {name} | {} | {}\n", levels(&placed), count(&placed, &["mul"]));
        }
    }
    expect![[r#"
        3 | 2 | 2 | 2
        3 | 2 | 2 | 2
        3 even | 2 | 1
        3 odd | 2 | 2
        7 | 3 | 5 | 4
        7 | 3 | 5 | 4
        7 even | 3 | 3
        7 odd | 3 | 5
        15 | 4 | 8 | 7
        15 | 4 | 8 | 7
        15 even | 4 | 6
        15 odd | 4 | 8
        31 | 5 | 13 | 10
        31 | 5 | 13 | 10
        31 even | 5 | 9
        31 odd | 5 | 12
        63 | 6 | 18 | 15
        63 | 6 | 18 | 15
        63 even | 6 | 14
        63 odd | 6 | 17
    "#]]
    .assert_eq(&lines);
}

#[test]
fn coefficients_that_are_zero_or_one_cost_nothing() {
    let ops = |p: &[f64]| {
        let placed = placed(&program(|x| x.polynomial(p)));
        (levels(&placed), count(&placed, &["mul"]), count(&placed, &["mul_scalar"]))
    };
    assert_eq!(ops(&[0.0, 0.0, 0.0, 0.0, 1.0]), (2, 2, 0));
    assert_eq!(ops(&[0.0, 0.0, 0.0, 0.0, 0.5]), (3, 2, 1));
    assert_eq!(ops(&[1.0, 1.0, 1.0, 0.0, 0.0]), (1, 1, 0));
    assert_eq!(ops(&[0.25, -1.0]), (0, 0, 0));
    assert_eq!(ops(&[0.25, 0.5, 0.0]), (1, 0, 1));
    for constant in [&[][..], &[0.0, 0.0], &[0.75]] {
        assert_eq!(ops(constant), (0, 0, 0));
        let found = values(&program(|x| x.polynomial(constant)), &points(-1.0, 1.0));
        assert_eq!(found, [constant.first().copied().unwrap_or(0.0); 16]);
    }
}

#[test]
fn intervals_cost_no_level_where_they_are_folded() {
    let cases = [
        (-1.0, 1.0, 63, true),
        (0.0, 1.0, 63, true),
        (-2.0, 2.0, 63, true),
        (5.0, 5.25, 63, true),
        (-0.3, 0.4, 31, true),
        (-1.5, 1.5, 9, true),
        (-8.0, 8.0, 3, true),
        (-100.0, 300.0, 1, true),
        (-8.0, 8.0, 4, false),
        (-1.5, 1.5, 31, false),
        (0.0, 0.001, 7, false),
    ];
    for (low, high, degree, folded) in cases {
        let c = numbers(degree + 1, 3);
        assert_eq!(is_folded(&(low..=high), degree), folded, "{low} to {high}, degree {degree}");
        let made = program(|x| x.chebyshev(&c, low..=high));
        let x = points(low, high);
        let what = format!("{low} to {high}, degree {degree}");
        assert_near(&values(&made, &x), x.iter().map(|&x| chebyshev(&c, low, high, x)), 1e-10, &what);
        assert_eq!(levels(&placed(&made)), log2_up(degree + 1) + u32::from(!folded), "{what}");
    }
}

#[test]
fn functions_are_within_their_error_at_the_smallest_degree() {
    type F = fn(f64) -> f64;
    let sigmoid: F = |x| 1.0 / (1.0 + (-x).exp());
    let gelu: F = |x| 0.5 * x * (1.0 + (0.797_884_560_8 * (x + 0.044715 * x * x * x)).tanh());
    let cases: [(F, f64, f64, f64); 6] = [
        (f64::exp, -1.0, 1.0, 1e-9),
        (sigmoid, -8.0, 8.0, 1e-4),
        (gelu, -6.0, 6.0, 1e-3),
        (f64::sin, -3.0, 3.0, 1e-6),
        (|x| 1.0 / x, 1.0, 4.0, 1e-7),
        (|_| 0.25, -1.0, 1.0, 1e-9),
    ];
    let mut lines = String::new();
    for (f, low, high, max_error) in cases {
        let found = Approximation::of(f, low..=high, max_error).unwrap();
        assert!(found.error() <= max_error);
        // Points that are none of those it was measured at.
        for i in 0..=20_000 {
            let x = low + (high - low) * f64::from(i) / 20_000.0;
            assert!((f(x) - found.series().value(x)).abs() <= max_error, "at {x}");
            let naive = chebyshev(found.series().coefficients(), low, high, x);
            assert!((found.series().value(x) - naive).abs() < 1e-11, "at {x}");
        }
        let made = program(|x| x.approximate(f, low..=high, max_error));
        let x = points(low, high);
        assert_near(
            &values(&made, &x),
            x.iter().map(|&x| f(x)),
            max_error * 1.000_001 + 1e-12,
            "as a program",
        );
        let n_terms = found.series().coefficients().iter().filter(|&&c| c != 0.0).count();
        lines += &format!(
            "degree {}, {n_terms} terms, {} levels\n",
            found.series().degree(),
            levels(&placed(&made))
        );
        // One degree less is not enough: the interpolant at as many points, summed up naively.
        if let Some(n) = found.series().degree().checked_sub(1) {
            let at = |k: usize| (core::f64::consts::PI * (k as f64 + 0.5) / (n + 1) as f64).cos();
            let y = |u: f64| f((low + high) / 2.0 + u * (high - low) / 2.0);
            let lagrange = |u: f64| -> f64 {
                let basis = |k: usize| -> f64 {
                    (0..=n).filter(|&j| j != k).map(|j| (u - at(j)) / (at(k) - at(j))).product()
                };
                (0..=n).map(|k| y(at(k)) * basis(k)).sum()
            };
            let worst = (0..=2000).map(|i| f64::from(i) / 1000.0 - 1.0).map(|u| (lagrange(u) - y(u)).abs());
            let worst = worst.fold(0.0, f64::max);
            assert!(worst * 1.0824 > max_error, "degree {n} is off by {worst} only");
        }
    }
    expect![[r#"
        degree 9, 10 terms, 4 levels
        degree 23, 13 terms, 6 levels
        degree 20, 12 terms, 6 levels
        degree 11, 6 terms, 5 levels
        degree 15, 16 terms, 5 levels
        degree 0, 1 terms, 0 levels
    "#]]
    .assert_eq(&lines);
}

#[test]
fn mistakes_point_at_the_line() {
    let of = |body: fn(Encrypted<'_>) -> Result<Encrypted<'_>>| {
        let made = dsl::build("mistake", |g| {
            let x = g.input("x", 4)?;
            g.output("y", body(x)?, 4)
        });
        let text = made.unwrap_err().to_string();
        let (before, after) = text.split_once(file!()).unwrap();
        let line: u32 = after.split(':').nth(1).unwrap().parse().unwrap();
        (line, before.to_owned())
    };
    let from = line!();
    let cases = [
        of(|x| x.polynomial(&[1.0, f64::NAN])),
        of(|x| x.chebyshev(&[f64::INFINITY], -1.0..=1.0)),
        of(|x| x.chebyshev(&[1.0, 2.0], 1.0..=-1.0)),
        of(|x| x.chebyshev(&[1.0, 2.0], f64::NAN..=1.0)),
        of(|x| x.approximate(f64::abs, -1.0..=1.0, 1e-6)),
        of(|x| x.approximate(f64::ln, -1.0..=1.0, 1e-6)),
        of(|x| x.approximate(f64::sin, 0.0..=f64::INFINITY, 1e-6)),
    ];
    for (i, (line, _)) in (2u32..).zip(&cases) {
        assert_eq!(*line, from + i);
    }
    let texts: Vec<&str> = cases.iter().map(|(_, text)| text.as_str()).collect();
    expect![[r#"
        `coefficients beside x`: element 1 is NaN, expected a finite number at 
        `coefficients beside x`: element 0 is inf, expected a finite number at 
        interval from 1 to -1, expected finite ends, the lower one first at 
        interval from NaN to 1, expected finite ends, the lower one first at 
        no polynomial of degree up to 255 found within 0.000001 of the function from -1 to 1, the last one is off by 0.003822959975188585 at 
        `function at -0.00038349518757139556`: element 0 is NaN, expected a finite number at 
        interval from 0 to inf, expected finite ends, the lower one first at "#]]
    .assert_eq(&texts.join("\n"));
}

#[test]
fn all_interpreters_agree_on_polynomials() {
    let odd: Vec<f64> =
        numbers(32, 2).iter().enumerate().map(|(n, &c)| if n % 2 == 1 { c / 8.0 } else { 0.0 }).collect();
    let dense: Vec<f64> = numbers(16, 9).iter().map(|c| c / 4.0).collect();
    let all = dsl::build("polynomials", |g| {
        let x = g.input("x", 16)?;
        g.output("powers", x.polynomial(&dense)?, 16)?;
        g.output("series", x.chebyshev(&odd, -1.0..=1.0)?, 16)?;
        g.output("folded", x.chebyshev(&dense, -1.1..=1.0)?, 16)?;
        g.output("scaled", x.chebyshev(&dense, -1.5..=1.5)?, 16)?;
        g.output("sigmoid", x.approximate(|x| 1.0 / (1.0 + (-x).exp()), -2.0..=2.0, 1e-4)?, 16)
    })
    .unwrap();
    // Real numbers: off the real line these series are as large as their degree allows.
    let x = [points(-1.0, 1.0).iter().map(|&x| Complex64::new(x, 0.0)).collect()];
    common::check_everywhere_on::<u32>(&all, &x, Preset::Toy10, &Options::default(), 1e-6);
    let one = program(|x| x.chebyshev(&dense, -1.0..=1.0));
    common::check_everywhere_on::<u64>(&one, &x, Preset::Toy10w, &Options::default(), 1e-6);
}

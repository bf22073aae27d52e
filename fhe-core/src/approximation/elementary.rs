//! Elementary functions in `f64`, the same bits on every machine.
//!
//! Made of `+ - * /` and roundings to integers only, which IEEE 754 fixes; the `exp` and `cos` of the standard library are those of the platform.
//! All are off by some units in the last place, for which [`ULPS`] stands in error bounds.

use core::f64::consts::{FRAC_1_SQRT_2, LN_2, PI};

/// No function here is off by more, relative to the larger of its result and 2^-53: units of 2^-53.
pub const ULPS: f64 = 16.0;

/// The upper 33 bits of `ln 2`, so that products by integers of up to 11 bits are exact, and what is left of it.
const LN_2_PARTS: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];
/// `1 / sqrt(pi)`.
const FRAC_1_SQRT_PI: f64 = 0.564_189_583_547_756_3;

/// `cos(pi a / b)`, the angle reduced exactly.
pub fn cos_pi(a: u64, b: u64) -> f64 {
    let (a, b) = (u128::from(a) % (2 * u128::from(b)), u128::from(b));
    let a = a.min(2 * b - a);
    let (a, sign) = if 2 * a > b { (b - a, -1.0) } else { (a, 1.0) };
    // The cosine up to pi/4, beyond the sine of the complement.
    let angle = |a: u128, b: u128| PI * (a as f64 / b as f64);
    if 4 * a <= b {
        let x = angle(a, b);
        sign * (1.0 + series(x * x, 1.0, |n| -1.0 / ((2 * n - 1) * 2 * n) as f64))
    } else {
        let x = angle(b - 2 * a, 2 * b);
        sign * (x + series(x * x, x, |n| -1.0 / (2 * n * (2 * n + 1)) as f64))
    }
}

/// `sum_(n >= 1) t_n` with `t_n = t_(n-1) x ratio(n)` from `t_0 = first`: the small terms first, those that still count.
fn series(x: f64, first: f64, ratio: impl Fn(u64) -> f64) -> f64 {
    let mut terms = [0.0; 24];
    let mut term = first;
    for (n, slot) in (1..).zip(&mut terms) {
        term *= x * ratio(n);
        *slot = term;
    }
    terms.iter().rev().sum()
}

/// `e^x`: `2^k e^r` with `|r| <= ln 2 / 2`, `e^r` by its series.
pub fn exp(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if !(-745.0..=709.7).contains(&x) {
        return if x < 0.0 { 0.0 } else { f64::INFINITY };
    }
    let k = (x / LN_2).round();
    let r = (x - k * LN_2_PARTS[0]) - k * LN_2_PARTS[1];
    let y = 1.0 + series(r, 1.0, |n| 1.0 / n as f64);
    // In two factors, neither of which is out of range.
    let half = (k as i64) / 2;
    y * power_of_two(half) * power_of_two(k as i64 - half)
}

/// `2^k` for `|k| < 1023`.
fn power_of_two(k: i64) -> f64 {
    f64::from_bits(((k + 1023) as u64) << 52)
}

/// The error function, `2 / sqrt(pi)` times the integral of `exp(-t^2)` from 0 to `x`.
pub fn erf(x: f64) -> f64 {
    let size = x.abs();
    if size < 2.0 {
        // 2 / sqrt(pi) exp(-x^2) sum 2^n x^(2n+1) / (1 3 .. (2n + 1)): no term is negative.
        let (mut term, mut sum) = (x, 0.0);
        for n in 1..64 {
            sum += term;
            term *= 2.0 * x * x / f64::from(2 * n + 1);
        }
        return 2.0 * FRAC_1_SQRT_PI * exp(-x * x) * sum;
    }
    (1.0 - erfc_tail(size)) * x.signum()
}

/// `1 - erf(x)` for `x >= 2`: `exp(-x^2) / sqrt(pi) 1/(x + (1/2)/(x + (2/2)/(x + (3/2)/(x + ..))))`.
fn erfc_tail(x: f64) -> f64 {
    let fraction = (1..=96).rev().fold(x, |below, n| x + f64::from(n) / 2.0 / below);
    exp(-x * x) * FRAC_1_SQRT_PI / fraction
}

/// `1 / (1 + e^-x)`.
pub fn sigmoid(x: f64) -> f64 {
    if x < 0.0 {
        let e = exp(x);
        return e / (1.0 + e);
    }
    1.0 / (1.0 + exp(-x))
}

/// The hyperbolic tangent; small ones to an absolute error.
pub fn tanh(x: f64) -> f64 {
    2.0 * sigmoid(2.0 * x) - 1.0
}

/// `x / (1 + e^-x)`, also called swish.
pub fn silu(x: f64) -> f64 {
    x * sigmoid(x)
}

/// `x (1 + erf(x / sqrt 2)) / 2`, the exact form, of Hendrycks and Gimpel (arXiv 1606.08415); the form with `tanh` there is up to 5e-4 away from it.
pub fn gelu(x: f64) -> f64 {
    x * (0.5 + 0.5 * erf(x * FRAC_1_SQRT_2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_ulps(found: f64, expected: f64, what: &str) {
        let unit = ULPS * 2f64.powi(-53) * expected.abs().max(2f64.powi(-53));
        assert!((found - expected).abs() <= unit, "{what}: {found}, expected {expected}");
    }

    #[test]
    fn they_are_those_of_the_platform_in_all_but_the_last_bits() {
        for i in -70_000..=70_000 {
            let x = f64::from(i) / 100.0;
            assert_ulps(exp(x), x.exp(), &format!("exp {x}"));
            assert_ulps(exp(x / 1e4), (x / 1e4).exp(), &format!("exp {x}/1e4"));
        }
        for (a, b) in (0..4000).flat_map(|a| [1, 2, 3, 7, 64, 255, 1024].map(|b| (a, b))) {
            let angle = PI * ((a % (2 * b)) as f64 / b as f64);
            assert!((cos_pi(a, b) - angle.cos()).abs() < 1e-15, "cos {a} pi / {b}");
        }
        assert_eq!((cos_pi(1, 2), cos_pi(3, 2), cos_pi(0, 5), cos_pi(7, 7)), (0.0, 0.0, 1.0, -1.0));
        for i in -400..=400 {
            let x = f64::from(i) / 10.0;
            assert!((tanh(x) - x.tanh()).abs() < 4e-16, "tanh {x}");
            assert_ulps(sigmoid(x), 1.0 / (1.0 + (-x).exp()), &format!("sigmoid {x}"));
        }
        assert_eq!((exp(-800.0), exp(800.0), exp(f64::NEG_INFINITY)), (0.0, f64::INFINITY, 0.0));
        assert!(exp(f64::NAN).is_nan());
    }

    /// The integral by Simpson's rule, and published values (Abramowitz and Stegun, table 7.1).
    #[test]
    fn the_error_function_is_its_integral() {
        for (x, expected) in
            [(0.5, 0.520_499_877_813_046_5), (1.0, 0.842_700_792_949_714_9), (2.0, 0.995_322_265_018_952_7)]
        {
            assert!((erf(x) - expected).abs() < 4e-16, "erf {x}");
        }
        let (mut integral, steps) = (0.0, 20_000);
        let density = |t: f64| 2.0 / PI.sqrt() * (-t * t).exp();
        for i in 0..steps {
            let (from, h) = (f64::from(i) * 6.0 / f64::from(steps), 6.0 / f64::from(steps));
            integral += h / 6.0 * (density(from) + 4.0 * density(from + h / 2.0) + density(from + h));
            let x = from + h;
            assert!((erf(x) - integral).abs() < 1e-13, "erf {x} is {}, integral {integral}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        for (x, expected) in [(-1.0, -0.158_655_253_931_457), (0.0, 0.0), (3.0, 2.995_950_305_905_7)] {
            assert!((gelu(x) - expected).abs() < 1e-12, "gelu {x}: {}", gelu(x));
        }
    }
}

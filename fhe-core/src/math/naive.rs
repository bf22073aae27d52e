//! Naive twins: the definitions, in quadratic time. Oracles of tests, never on a path that runs.

use super::modulus::Modulus;
use super::ntt::bit_reverse;
use super::word::Word;
use num_complex::Complex64;

/// The negacyclic transform by its definition: position `i` holds `sum_k a_k psi^((2 brv(i) + 1) k)`.
pub fn ntt<W: Word>(modulus: &Modulus<W>, psi: W, a: &[W]) -> Vec<W> {
    let log_n = a.len().trailing_zeros();
    let value_at = |i: usize| {
        let x = modulus.pow(psi, 2 * bit_reverse(i, log_n) as u64 + 1);
        a.iter().rev().fold(W::zeroed(), |sum, &c| modulus.add(modulus.mul(sum, x), c))
    };
    (0..a.len()).map(value_at).collect()
}

/// `a * b mod X^N + 1`, by the schoolbook.
pub fn negacyclic_product<W: Word>(modulus: &Modulus<W>, a: &[W], b: &[W]) -> Vec<W> {
    let n = a.len();
    let mut c = vec![W::zeroed(); n];
    for (i, &x) in a.iter().enumerate() {
        for (j, &y) in b.iter().enumerate() {
            let product = modulus.mul(x, y);
            let k = (i + j) % n;
            c[k] = if i + j < n { modulus.add(c[k], product) } else { modulus.sub(c[k], product) };
        }
    }
    c
}

/// `a(X^g)` in the ring, coefficient domain.
pub fn automorphism<W: Word>(modulus: &Modulus<W>, g: u32, a: &[W]) -> Vec<W> {
    let n = a.len();
    let mut c = vec![W::zeroed(); n];
    for (i, &x) in a.iter().enumerate() {
        let k = i * g as usize % (2 * n);
        if k < n {
            c[k] = x;
        } else {
            c[k - n] = modulus.neg(x);
        }
    }
    c
}

/// The canonical embedding by its definition: slot `j` is `sum_k c_k zeta^(5^j k)`, `zeta = exp(i pi / N)`.
pub fn embed(coefficients: &[f64]) -> Vec<Complex64> {
    let n = coefficients.len();
    let powers = core::iter::successors(Some(1usize), |p| Some(p * 5 % (2 * n)));
    let angle = |e: usize| core::f64::consts::PI * (e % (2 * n)) as f64 / n as f64;
    let slot = |power: usize| {
        coefficients.iter().enumerate().map(|(k, &c)| Complex64::from_polar(c, angle(power * k))).sum()
    };
    powers.take(n / 2).map(slot).collect()
}

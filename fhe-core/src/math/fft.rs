//! The special FFT: the canonical embedding of real polynomials of degree below N in `C^(N/2)`.
//!
//! Slot `j` is the value at `zeta^(5^j)`, `zeta = exp(i pi / N)` (Cheon, Kim, Kim, Song, ePrint 2016/421,
//! and the butterflies of its bootstrapping paper, ePrint 2018/153). Coefficient `k` is the real part of
//! entry `k` of the inverse transform, coefficient `k + N/2` its imaginary part. `f64` throughout, operations
//! in a fixed order: errors grow as `log2 N * 2^-53` relative to the largest slot. The naive twin is
//! [`super::naive::embed`].

use super::ntt::bit_reverse;
use num_complex::Complex64;

/// Tables of the transform at one degree.
#[derive(Clone, Debug)]
pub struct SpecialFft {
    /// `zeta^k`, `k` in `[0, 2N]`.
    zeta: Vec<Complex64>,
    /// `5^j mod 2N`.
    powers_of_five: Vec<usize>,
}

impl SpecialFft {
    /// Tables for degree `n`, a power of two, at least 4.
    pub fn new(n: usize) -> Self {
        let root = |k: usize| Complex64::from_polar(1.0, core::f64::consts::PI * k as f64 / n as f64);
        let powers = core::iter::successors(Some(1usize), |p| Some(p * 5 % (2 * n)));
        Self { zeta: (0..=2 * n).map(root).collect(), powers_of_five: powers.take(n / 2).collect() }
    }

    /// Coefficients, paired as complex numbers, to slots; in place.
    pub fn embed(&self, values: &mut [Complex64]) {
        permute(values);
        let mut len = 2;
        while len <= values.len() {
            let step = (self.zeta.len() - 1) / (4 * len);
            for block in values.chunks_exact_mut(len) {
                let (low, high) = block.split_at_mut(len / 2);
                for ((x, y), five) in low.iter_mut().zip(high).zip(&self.powers_of_five) {
                    let t = *y * self.zeta[five % (4 * len) * step];
                    (*x, *y) = (*x + t, *x - t);
                }
            }
            len *= 2;
        }
    }

    /// What [`Self::embed_inverse`] multiplies by: with `half = len / 2` the factor of the pair `j, j + half` of a block is at
    /// `half + j`; the first entry is 1 and no pair's. `N / 2` of them, for who does the same elsewhere.
    pub fn inverse_factors(&self) -> Vec<Complex64> {
        let mut factors = vec![Complex64::new(1.0, 0.0); self.powers_of_five.len()];
        let mut half = factors.len() / 2;
        while half > 0 {
            let (len, step) = (2 * half, (self.zeta.len() - 1) / (8 * half));
            for (factor, five) in factors[half..len].iter_mut().zip(&self.powers_of_five) {
                *factor = self.inverse_factor(len, step, *five);
            }
            half /= 2;
        }
        factors
    }

    fn inverse_factor(&self, len: usize, step: usize, five: usize) -> Complex64 {
        self.zeta[(4 * len - five % (4 * len)) * step]
    }

    /// Slots to coefficients, paired as complex numbers; in place. Inverse of [`Self::embed`].
    pub fn embed_inverse(&self, values: &mut [Complex64]) {
        let mut len = values.len();
        while len >= 2 {
            let step = (self.zeta.len() - 1) / (4 * len);
            for block in values.chunks_exact_mut(len) {
                let (low, high) = block.split_at_mut(len / 2);
                for ((x, y), five) in low.iter_mut().zip(high).zip(&self.powers_of_five) {
                    let w = self.inverse_factor(len, step, *five);
                    (*x, *y) = (*x + *y, (*x - *y) * w);
                }
            }
            len /= 2;
        }
        permute(values);
        let scale = 1.0 / values.len() as f64;
        values.iter_mut().for_each(|v| *v *= scale);
    }
}

fn permute(values: &mut [Complex64]) {
    let bits = values.len().trailing_zeros();
    for i in 0..values.len() {
        let j = bit_reverse(i, bits);
        if i < j {
            values.swap(i, j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::naive;
    use super::*;

    /// The factor of a pair undoes the rotation of its second half: `exp(-2 pi i 5^j / (4 len))`.
    #[test]
    fn factors_are_roots_of_unity_in_the_order_of_the_butterflies() {
        for n in [4usize, 8, 64, 512] {
            let factors = SpecialFft::new(n).inverse_factors();
            assert_eq!((factors.len(), factors[0]), (n / 2, Complex64::new(1.0, 0.0)));
            for (at, factor) in factors.iter().enumerate().skip(1) {
                let len = 2usize << at.ilog2();
                let j = at - len / 2;
                let five = (0..j).fold(1, |p, _| p * 5 % (4 * len));
                let angle = -core::f64::consts::TAU * five as f64 / (4 * len) as f64;
                assert!((factor - Complex64::from_polar(1.0, angle)).norm() < 1e-13, "{n} {at}");
            }
        }
    }

    #[test]
    fn equals_the_definition_and_inverts() {
        for log_n in 2..9 {
            let n = 1usize << log_n;
            let fft = SpecialFft::new(n);
            let coefficients: Vec<f64> = (0..n).map(|k| ((k * k + 3 * k + 1) % 17) as f64 - 8.0).collect();
            let paired: Vec<Complex64> =
                (0..n / 2).map(|k| Complex64::new(coefficients[k], coefficients[k + n / 2])).collect();
            let mut values = paired.clone();
            fft.embed(&mut values);
            for (a, b) in values.iter().zip(naive::embed(&coefficients)) {
                assert!((a - b).norm() < 1e-10, "log N {log_n}: {a} against {b}");
            }
            fft.embed_inverse(&mut values);
            for (a, b) in values.iter().zip(&paired) {
                assert!((a - b).norm() < 1e-12);
            }
        }
    }
}

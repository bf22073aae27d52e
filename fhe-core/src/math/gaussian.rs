//! The discrete Gaussian on the integers, `P(x)` proportional to `exp(-x^2 / (2 sigma^2))`, exactly and for any width up to 2^62: what
//! flooding adds to what is shared.
//!
//! Algorithms 1 to 3 of Canonne, Kamath and Steinke, "The Discrete Gaussian for Differential Privacy", arXiv 2004.00010, whose only source is
//! uniform integers and whose only decisions are comparisons of integers:
//!
//! ```text
//! exp(-a/b), a <= b    the first k with no success in Bernoulli(a / (b k)) is odd       (the series of exp)
//! Laplace of scale t   u uniform below t, kept with exp(-u/t); + t v, v a run of successes of exp(-1); a sign
//! Gaussian             a Laplace y of scale sigma, kept with exp(-(|y| - sigma)^2 / (2 sigma^2))
//! ```
//!
//! Nothing is rounded and no table is cut off, so every integer has its probability, given uniform bits. Rounding `f64` normal values would
//! not do: above 2^53 their low bits are no noise at all. Time depends on what is drawn, as everywhere here.

use super::sampling::Randomness;
use zeroize::Zeroizing;

/// `sigma` is below this: its doubled square fits 125 bits.
pub const MAX_SIGMA: u64 = 1 << 62;

impl Randomness {
    /// Uniform below `n`, which is not 0: rejection from the next power of two.
    fn below(&mut self, n: u128) -> u128 {
        let most = n - 1;
        let mask = if most == 0 { 0 } else { u128::MAX >> most.leading_zeros() };
        loop {
            let high = if mask >> 64 == 0 { 0 } else { u128::from(self.bits()) << 64 };
            let x = (high | u128::from(self.bits())) & mask;
            if x < n {
                return x;
            }
        }
    }

    /// True with probability `exp(-a/b)`, `a <= b`, `b` not 0.
    fn exp_minus(&mut self, a: u128, b: u128) -> bool {
        let mut k = 1;
        // Bernoulli(a / (b k)) as two, so that no product is formed.
        while self.below(b) < a && self.below(k) == 0 {
            k += 1;
        }
        k % 2 == 1
    }

    /// A discrete Laplace value: `P(x)` proportional to `exp(-|x| / scale)`.
    fn laplace(&mut self, scale: u128) -> i128 {
        loop {
            let u = self.below(scale);
            if !self.exp_minus(u, scale) {
                continue;
            }
            let mut magnitude = u;
            while self.exp_minus(1, 1) {
                magnitude += scale;
            }
            let is_negative = self.below(2) == 1;
            // 0 has one sign.
            if !(is_negative && magnitude == 0) {
                return if is_negative { -(magnitude as i128) } else { magnitude as i128 };
            }
        }
    }

    /// `n` independent values of the discrete Gaussian of parameter `sigma`, from 1 to [`MAX_SIGMA`]; outside, of the nearest of these.
    ///
    /// Cost: some 40 draws of 64 bits a value.
    pub fn discrete_gaussian(&mut self, n: usize, sigma: u64) -> Zeroizing<Vec<i128>> {
        let sigma = u128::from(sigma.clamp(1, MAX_SIGMA));
        let mut out = Zeroizing::new(Vec::with_capacity(n));
        while out.len() < n {
            let y = self.laplace(sigma);
            let distance = y.unsigned_abs().abs_diff(sigma);
            let (q, r) = (distance / sigma, distance % sigma);
            // (q sigma + r)^2 / (2 sigma^2) = q^2 / 2 + q r / sigma + r^2 / (2 sigma^2), a factor each.
            let keep = (0..q * q / 2).all(|_| self.exp_minus(1, 1))
                && (q % 2 == 0 || self.exp_minus(1, 2))
                && (0..q).all(|_| self.exp_minus(r, sigma))
                && self.exp_minus(r * r, 2 * sigma * sigma);
            if keep {
                out.push(y);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of counts against probabilities, the last of which is that of everything else.
    fn chi_square(counts: &[f64], probabilities: &[f64], n: usize) -> f64 {
        let term = |(c, p): (&f64, &f64)| (c - p * n as f64).powi(2) / (p * n as f64);
        counts.iter().zip(probabilities).map(term).sum()
    }

    /// The definition: every integer by its own probability.
    #[test]
    fn narrow_values_have_the_probabilities_of_the_definition() {
        for (seed, sigma) in [(1, 1u64), (2, 2), (3, 3), (4, 7)] {
            let n = 100_000;
            let values = Randomness::insecure_reproducible(seed).discrete_gaussian(n, sigma);
            let weight = |x: i128| (-(x * x) as f64 / (2 * sigma * sigma) as f64).exp();
            let reach = 3 * i128::from(sigma);
            let total: f64 = (-40 * reach..=40 * reach).map(weight).sum();
            let mut probabilities: Vec<f64> = (-reach..=reach).map(|x| weight(x) / total).collect();
            probabilities.push(1.0 - probabilities.iter().sum::<f64>());
            let mut counts = vec![0.0; probabilities.len()];
            for &x in values.iter() {
                let bin = if x.abs() <= reach { (x + reach) as usize } else { counts.len() - 1 };
                counts[bin] += 1.0;
            }
            let (chi, free) = (chi_square(&counts, &probabilities, n), probabilities.len() as f64 - 1.0);
            assert!(
                chi < free + 5.0 * (2.0 * free).sqrt(),
                "sigma {sigma}: {chi} of {free} degrees of freedom"
            );
        }
    }

    /// Wide ones: moments, the normal distribution in the high bits, uniformity in the low ones.
    #[test]
    fn wide_values_are_normal_above_and_uniform_below() {
        for (seed, sigma) in [(5, 1u64 << 40), (6, (1 << 52) + 12345), (7, MAX_SIGMA)] {
            let n = 100_000;
            let values = Randomness::insecure_reproducible(seed).discrete_gaussian(n, sigma);
            let scaled: Vec<f64> = values.iter().map(|&x| x as f64 / sigma as f64).collect();
            let moment = |k: i32| scaled.iter().map(|x| x.powi(k)).sum::<f64>() / n as f64;
            // Standard deviations of 0.0032, 0.0045 and 0.031.
            assert!(moment(1).abs() < 0.016, "sigma {sigma}: mean {}", moment(1));
            assert!((moment(2) - 1.0).abs() < 0.023, "sigma {sigma}: variance {}", moment(2));
            assert!((moment(4) - 3.0).abs() < 0.16, "sigma {sigma}: fourth moment {}", moment(4));

            // Bins of an eighth from -3 to 3, by the midpoints of 64 slices each, and the rest.
            let (bins, width) = (48usize, 0.125);
            let density = |x: f64| (-x * x / 2.0).exp() / core::f64::consts::TAU.sqrt();
            let slice = |bin: usize, i: usize| -3.0 + width * (bin as f64 + (i as f64 + 0.5) / 64.0);
            let mass = |bin: usize| (0..64).map(|i| density(slice(bin, i))).sum::<f64>() * width / 64.0;
            let mut probabilities: Vec<f64> = (0..bins).map(mass).collect();
            probabilities.push(1.0 - probabilities.iter().sum::<f64>());
            let mut counts = vec![0.0; bins + 1];
            for x in &scaled {
                let bin = ((x + 3.0) / width).floor();
                counts[if (0.0..bins as f64).contains(&bin) { bin as usize } else { bins }] += 1.0;
            }
            let chi = chi_square(&counts, &probabilities, n);
            // 48 degrees of freedom: a standard deviation of 9.8.
            assert!(chi < 97.0, "sigma {sigma}: {chi}");

            for shift in [0, 6, 20] {
                let mut low = vec![0.0; 64];
                values.iter().for_each(|x| low[(x >> shift & 63) as usize] += 1.0);
                let chi = chi_square(&low, &[1.0 / 64.0; 64], n);
                // 63: 11.2.
                assert!((20.0..120.0).contains(&chi), "sigma {sigma}, bits from {shift}: {chi}");
            }
        }
    }

    #[test]
    fn bernoulli_values_have_their_probability() {
        let mut r = Randomness::insecure_reproducible(8);
        let n = 40_000u32;
        for (a, b) in [(0u128, 1u128), (1, 1), (1, 2), (3, 7), ((1 << 123) + 5, 1 << 124)] {
            let expected = (-(a as f64) / b as f64).exp();
            let found = (0..n).filter(|_| r.exp_minus(a, b)).count() as f64 / f64::from(n);
            assert!((found - expected).abs() < 0.0125, "{a} / {b}: {found} {expected}");
        }
        let mut seen = [0; 5];
        (0..5000).for_each(|_| seen[r.below(5) as usize] += 1);
        assert!(seen.iter().all(|&c| (850..1150).contains(&c)), "{seen:?}");
        assert_eq!(r.below(1), 0);
    }
}

//! NTT-friendly primes: `q = 1 mod 2N`, and the primitive 2N-th roots of unity that the transforms use.

use crate::error::{Error, Result};

fn mul_mod(a: u64, b: u64, q: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(q)) as u64
}

fn pow_mod(mut a: u64, mut exponent: u64, q: u64) -> u64 {
    let mut r = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            r = mul_mod(r, a, q);
        }
        a = mul_mod(a, a, q);
        exponent >>= 1;
    }
    r
}

/// Whether `n` is prime. Miller-Rabin with the twelve smallest primes as bases, which decides every
/// `n < 2^64` (Sorenson and Webster, Math. Comp. 86, 2017).
pub fn is_prime(n: u64) -> bool {
    const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if n < 2 {
        return false;
    }
    for p in BASES {
        if n.is_multiple_of(p) {
            return n == p;
        }
    }
    let shift = (n - 1).trailing_zeros();
    let odd = (n - 1) >> shift;
    BASES.iter().all(|&base| {
        let mut x = pow_mod(base, odd, n);
        if x == 1 || x == n - 1 {
            return true;
        }
        (1..shift).any(|_| {
            x = mul_mod(x, x, n);
            x == n - 1
        })
    })
}

/// The primes `q = 1 mod 2^log_two_n` below `2^bits`, largest first.
pub fn descending(bits: u32, log_two_n: u32) -> impl Iterator<Item = u64> {
    let step = 1u64 << log_two_n;
    let top = 1 + (((1u64 << bits) - 2) / step) * step;
    (0..)
        .map_while(move |k: u64| top.checked_sub(k * step))
        .take_while(move |&q| q > step)
        .filter(|&q| is_prime(q))
}

/// The primes `q = 1 mod 2^log_two_n` above `2^bits`, smallest first.
pub fn ascending(bits: u32, log_two_n: u32) -> impl Iterator<Item = u64> {
    let step = 1u64 << log_two_n;
    let first = ((1u64 << bits) / step) * step + 1;
    (0..).map_while(move |k: u64| first.checked_add(k * step)).filter(|&q| is_prime(q))
}

/// The `count` primes `q = 1 mod 2^log_two_n` nearest to `2^bits` (by ratio), nearest first.
pub fn nearest(bits: u32, log_two_n: u32, count: usize) -> Vec<u64> {
    let (mut below, mut above) =
        (descending(bits, log_two_n).peekable(), ascending(bits, log_two_n).peekable());
    let target = (1u64 << bits) as f64;
    let mut primes = Vec::with_capacity(count);
    while primes.len() < count {
        let under = below.peek().map_or(f64::INFINITY, |&q| target / q as f64);
        let over = above.peek().map_or(f64::INFINITY, |&q| q as f64 / target);
        let next = if under <= over { below.next() } else { above.next() };
        match next {
            Some(q) => primes.push(q),
            None => break,
        }
    }
    primes
}

/// The `count` primes `q = 1 mod 2^log_two_n` nearest to `target` (by difference), nearest first.
pub fn around(target: u64, log_two_n: u32, count: usize) -> Vec<u64> {
    let step = 1u64 << log_two_n;
    let centre = target / step;
    let at = |k: u64| {
        (0..2).filter_map(move |side| if side == 0 { Some(centre + k) } else { centre.checked_sub(k + 1) })
    };
    let candidates = (0..=centre).flat_map(at).map(|k| k * step + 1);
    candidates.filter(|&q| q > step && is_prime(q)).take(count).collect()
}

/// A primitive `2^log_two_n`-th root of unity modulo the prime `q`: `g^((q-1)/2N)` for the smallest `g >= 2`
/// that gives one.
///
/// # Errors
/// When `q` is not 1 modulo `2^log_two_n`.
pub fn root_of_unity(q: u64, log_two_n: u32) -> Result<u64> {
    if q % (1 << log_two_n) != 1 {
        return Err(Error::InvalidParams(format!("{q} is not 1 modulo 2^{log_two_n}")));
    }
    (2..q)
        .map(|g| pow_mod(g, (q - 1) >> log_two_n, q))
        .find(|&psi| pow_mod(psi, 1 << (log_two_n - 1), q) == q - 1)
        .ok_or_else(|| {
            Error::InvalidParams(format!("{q} has no root of unity of order 2^{log_two_n}: not a prime"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn miller_rabin_agrees_with_trial_division_and_known_pseudoprimes() {
        let naive = |n: u64| n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
        assert!((0..20_000).all(|n| is_prime(n) == naive(n)));
        // Carmichael numbers, and strong pseudoprimes to the first 1, 2, 4, 9 prime bases.
        for n in [561, 41_041, 2_047, 1_373_653, 3_215_031_751, 3_825_123_056_546_413_051] {
            assert!(!is_prime(n), "{n}");
        }
        assert!(is_prime(18_446_744_073_709_551_557));
    }

    #[test]
    fn roots_have_exact_order() {
        for q in descending(30, 14).take(5) {
            let psi = root_of_unity(q, 14).unwrap();
            assert_eq!(pow_mod(psi, 1 << 13, q), q - 1);
            assert_eq!(q % (1 << 14), 1);
        }
        assert!(root_of_unity(97, 14).is_err());
    }

    #[test]
    fn nearest_is_sorted_by_ratio() {
        let primes = nearest(25, 15, 12);
        let away: Vec<f64> = primes.iter().map(|&q| (q as f64 / 33_554_432.0).log2().abs()).collect();
        assert!(away.windows(2).all(|w| w[0] <= w[1] + 1e-12), "{away:?}");
    }
}

//! The naive side: everything by `%` on `u128`, from the definitions.

/// `a b mod q`.
pub(crate) fn mul(a: u64, b: u64, q: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(q)) as u64
}

/// `a + b mod q`.
pub(crate) fn add(a: u64, b: u64, q: u64) -> u64 {
    ((u128::from(a) + u128::from(b)) % u128::from(q)) as u64
}

/// `b^e mod q`.
pub(crate) fn pow(mut b: u64, mut e: u64, q: u64) -> u64 {
    let mut r = 1;
    while e > 0 {
        if e & 1 == 1 {
            r = mul(r, b, q);
        }
        b = mul(b, b, q);
        e >>= 1;
    }
    r
}

/// `a^-1 mod q`, `q` prime.
pub(crate) fn inv(a: u64, q: u64) -> u64 {
    pow(a % q, q - 2, q)
}

/// Miller and Rabin with the first twelve primes: exact below 2^64.
pub(crate) fn is_prime(q: u64) -> bool {
    const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if BASES.iter().any(|&b| q.is_multiple_of(b)) {
        return BASES.contains(&q);
    }
    let s = (q - 1).trailing_zeros();
    BASES.iter().all(|&b| {
        let mut x = pow(b, (q - 1) >> s, q);
        x == 1
            || (0..s).any(|_| {
                let hit = x == q - 1;
                x = mul(x, x, q);
                hit
            })
    })
}

/// The `count` largest primes below `2^bits` that are 1 modulo `2N`.
pub(crate) fn primes_below(bits: u32, log_n: u32, count: usize) -> Vec<u64> {
    let step = 2u64 << log_n;
    (1..).map(|k| (1u64 << bits) + 1 - k * step).filter(|&q| is_prime(q)).take(count).collect()
}

/// The smallest prime above `2^bits` that is 1 modulo `2N`.
pub(crate) fn prime_above(bits: u32, log_n: u32) -> u64 {
    let step = 2u64 << log_n;
    let first = (1u64 << bits).next_multiple_of(step) + 1;
    (0..).map(|k| first + k * step).find(|&q| is_prime(q)).unwrap_or_default()
}

/// A primitive `2N`-th root of unity.
pub(crate) fn root(q: u64, log_n: u32) -> u64 {
    (2..)
        .map(|a| pow(a, (q - 1) >> (log_n + 1), q))
        .find(|&psi| pow(psi, 1 << log_n, q) == q - 1)
        .unwrap_or_default()
}

/// The low `bits` bits of `x` in reverse order.
pub(crate) fn brv(x: usize, bits: u32) -> usize {
    (0..bits).fold(0, |r, k| r << 1 | x >> k & 1)
}

/// `sum_k a_k x^k`.
pub(crate) fn eval(a: &[u64], x: u64, q: u64) -> u64 {
    a.iter().rev().fold(0, |r, &c| add(mul(r, x, q), c, q))
}

/// `a(w^j)` for all `j`, by even and odd parts.
fn dft(a: &[u64], w: u64, q: u64) -> Vec<u64> {
    if a.len() == 1 {
        return a.to_vec();
    }
    let part = |r: usize| a.iter().copied().skip(r).step_by(2).collect::<Vec<_>>();
    let (even, odd) = (dft(&part(0), mul(w, w, q), q), dft(&part(1), mul(w, w, q), q));
    let mut x = 1;
    let mut out = Vec::with_capacity(a.len());
    for j in 0..a.len() {
        let k = j % even.len();
        out.push(add(even[k], mul(x, odd[k], q), q));
        x = mul(x, w, q);
    }
    out
}

/// Position `i` holds `a(psi^(2 brv(i) + 1))`.
pub(crate) fn ntt(a: &[u64], psi: u64, q: u64) -> Vec<u64> {
    let log_n = a.len().trailing_zeros();
    let mut x = 1;
    let twisted: Vec<u64> = a
        .iter()
        .map(|&c| {
            let y = mul(c, x, q);
            x = mul(x, psi, q);
            y
        })
        .collect();
    let values = dft(&twisted, mul(psi, psi, q), q);
    (0..a.len()).map(|i| values[brv(i, log_n)]).collect()
}

/// The coefficients of what [`ntt`] makes `a` of.
pub(crate) fn intt(a: &[u64], psi: u64, q: u64) -> Vec<u64> {
    let log_n = a.len().trailing_zeros();
    let natural: Vec<u64> = (0..a.len()).map(|i| a[brv(i, log_n)]).collect();
    let psi_inv = inv(psi, q);
    let mut x = inv(a.len() as u64, q);
    dft(&natural, mul(psi_inv, psi_inv, q), q)
        .iter()
        .map(|&c| {
            let y = mul(c, x, q);
            x = mul(x, psi_inv, q);
            y
        })
        .collect()
}

/// The coefficients of `a(X^g)` modulo `X^N + 1`.
pub(crate) fn automorphism(a: &[u64], g: usize, q: u64) -> Vec<u64> {
    let n = a.len();
    let mut out = vec![0; n];
    for (i, &c) in a.iter().enumerate() {
        let e = i * g % (2 * n);
        out[e % n] = if e < n { c } else { (q - c) % q };
    }
    out
}

/// The inverse special FFT of `values` (real and imaginary parts), bit-reversed and not divided: one butterfly after the other,
/// then either half by itself.
pub(crate) fn embed_inverse(values: &mut [[f64; 2]], factors: &[[f64; 2]]) {
    let half = values.len() / 2;
    if half == 0 {
        return;
    }
    for j in 0..half {
        let ([a, b], [c, d], [u, v]) = (values[j], values[j + half], factors[half + j]);
        values[j] = [a + c, b + d];
        values[j + half] = [(a - c) * u - (b - d) * v, (a - c) * v + (b - d) * u];
    }
    let (low, high) = values.split_at_mut(half);
    embed_inverse(low, factors);
    embed_inverse(high, factors);
}

/// `x` rounded, ties to even, modulo `q`, for `|x| < 2^100`.
pub(crate) fn round_mod(x: f64, q: u64) -> u64 {
    (x.round_ties_even() as i128).rem_euclid(i128::from(q)) as u64
}

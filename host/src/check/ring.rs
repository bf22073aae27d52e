//! Whether the kernels serve a ring: degree, primes, roots of unity.

use crate::error::{Error, Result};
use kernels_gpu::body::tables::{MAX_LOG_N, MIN_LOG_N};
use scheduler::plan::Plan;

pub(super) fn check(plan: &Plan) -> Result<()> {
    let refuse =
        |what, found: String, expected: String| Err(Error::UnsupportedRing { what, expected, found });
    if !(MIN_LOG_N..=MAX_LOG_N).contains(&plan.log_n) {
        return refuse("log N", plan.log_n.to_string(), format!("{MIN_LOG_N} to {MAX_LOG_N}"));
    }
    if plan.primes.is_empty() {
        return refuse("number of primes", "0".into(), "at least 1".into());
    }
    if plan.roots.len() != plan.primes.len() {
        return refuse("number of roots", plan.roots.len().to_string(), plan.primes.len().to_string());
    }
    let (low, high) = (plan.word.min_prime_bits(), plan.word.max_prime_bits());
    for (&q, &root) in plan.primes.iter().zip(&plan.roots) {
        if q % 2 == 0 || q <= 1 << low || q >> high != 0 {
            return refuse("a prime", q.to_string(), format!("odd, between 2^{low} and 2^{high}"));
        }
        // psi^N = -1: psi has order 2N, since N is a power of two.
        let power = (0..plan.log_n).fold(root % q, |x, _| square_mod(x, q));
        if root >= q || power != q - 1 {
            return refuse("a root", root.to_string(), format!("a primitive 2N-th root of unity modulo {q}"));
        }
    }
    Ok(())
}

fn square_mod(x: u64, q: u64) -> u64 {
    (u128::from(x) * u128::from(x) % u128::from(q)) as u64
}

//! Arithmetic below the ring: words, moduli, primes, transforms, sampling. Knows no scheme.

pub mod double;
pub mod modulus;
pub mod primes;
pub mod word;

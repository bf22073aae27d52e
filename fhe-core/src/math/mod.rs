//! Arithmetic below the ring: words, moduli, primes, transforms, sampling. Knows no scheme.

pub mod double;
pub mod fft;
pub mod gaussian;
pub mod modulus;
pub mod naive;
pub mod ntt;
pub mod primes;
pub mod sampling;
pub mod word;

//! CKKS: RNS rings, parameters, keys, encoding, encryption and the exact reference evaluator.
//!
//! The client's side (keys, encryption, decryption) and the oracle of everything faster. It knows of no
//! GPU, file, clock or environment; every mistake of a caller is an [`Error`] with what was found and what
//! was expected.
//!
//! Timing: secrets are wiped, but nothing here claims to run in constant time. Key generation, encryption and
//! decryption branch and reduce by value in places, so do not let an attacker measure them finely.
//!
//! ```text
//! bootstrap  plan, named steps
//! ckks    encoder, encryption, reference evaluator, precision
//! wire    serialization, checked
//! rlwe    keys, hybrid key switching in public steps
//! ring    RNS polynomials whose domain is in their type, basis conversion, automorphisms
//! params  literal -> checked parameters, level table, security table, presets
//! math    words, moduli, primes, NTT, special FFT, sampling
//! ```
//!
//! Beside these stands `approximation`: polynomials near functions, with interval and error, in `f64`.

pub mod approximation;
pub mod bootstrap;
pub mod ckks;
pub mod error;
pub mod math;
pub mod params;
pub mod ring;
pub mod rlwe;
pub mod wire;

pub use error::{Error, Result};
pub use num_complex::Complex64;

//! Kernel bodies written once in generic Rust, and the ABI between plans and kernels.
//!
//! [`abi`] names the kernels and lays out their tables; it is what a plan is made of. [`body`] holds the
//! arithmetic, generic over the word and over [`lanes`]: one word on a GPU, a SIMD vector on a CPU.
//! Nothing here allocates, panics, divides by a variable or knows what a ciphertext is.
#![no_std]

pub mod abi;
pub mod body;
pub mod cpu;
pub mod lanes;
mod pointwise;
pub mod row;

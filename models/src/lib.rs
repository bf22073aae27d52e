//! Encrypted networks: packing, layers, loaders and workloads.
//!
//! Owns the networks themselves: their weights and data, the loaders that read these, the plaintext twins that
//! say what an encrypted run should answer, and (on the scheduler's DSL) the encrypted runs. Does not own the
//! scheme, the compiler or the devices, and reaches none of them below its public API.
//!
//! | module | holds |
//! |---|---|
//! | [`matrix`] | a plain row-major matrix, the form in which layers hand weights on |
//! | [`tensors`] | a bounded safetensors reader with typed errors |
//! | [`digits`] | 8x8 handwritten digits: 64 -> 64 -> 32 -> 10 with squares, five CKKS levels |
//!
//! Everything here is data in, data out: what a caller or a file gets wrong is an error with found and expected,
//! never a panic. Training scripts are in `models/train`, their results with source and licence in `models/data`.

pub mod digits;
pub mod matrix;
pub mod tensors;

pub use matrix::{Matrix, MatrixError};

//! Handwritten digits, 8x8 pixels: a small network that fits five CKKS levels without bootstrapping.
//!
//! ```text
//! x = pixels / 16          64 values in [0, 1]
//! h1 = (W1 x + b1)^2       64          linear, square
//! h2 = (W2 h1 + b2)^2      32          linear, square
//! logits = W3 h2 + b3      10          linear
//! ```
//!
//! Three plaintext-matrix products and two squarings, each one level. The activation is the pure square: it has no
//! coefficient to multiply by, and hidden units are scaled so that every value of the network, on all 1,797 samples
//! of the data set, stays within [`VALUE_LIMIT`] (largest found: 6.5), the message room that an encrypted run needs.
//!
//! Owns the weights, the held-out split ([`data`]) and the plaintext twin ([`plain`]). Trained by
//! `models/train/digits.py`; source, licences (data: CC BY 4.0), digests and figures in
//! `models/data/digits/SOURCE.md`: 98.9 % right on the 360 held-out samples, smallest top-two margin 0.063 = 2^-4.0.

pub mod data;
pub mod encrypted;
pub mod plain;
#[cfg(test)]
mod tests;

pub use data::{Image, TestSplit};
pub use plain::{Linear, Network, Trace, Weights, classify_logits, top_two_margin};

use crate::tensors::{ReadError, TensorError};

/// Pixels of an image, inputs of the network: 8 rows of 8.
pub const INPUTS: usize = 64;
/// Units of the first hidden layer.
pub const HIDDEN1: usize = 64;
/// Units of the second hidden layer.
pub const HIDDEN2: usize = 32;
/// Classes, outputs of the network: the digits 0 to 9.
pub const CLASSES: usize = 10;
/// Largest value of a pixel: 0 is paper, 16 is ink.
pub const MAX_PIXEL: u8 = 16;
/// No value of the network (pre-activation, activation, logit) exceeds this in magnitude on the data set.
pub const VALUE_LIMIT: f64 = 8.0;

/// Longest file read: the shipped ones have 27 and 24 kB, the whole data set as a split would have 117 kB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why weights or samples could not be had.
#[derive(Debug, thiserror::Error)]
pub enum DigitsError {
    /// The content of the file is not what the network needs.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The file could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A pixel is out of range.
    #[error("image {sample}, pixel {pixel}: found {found}, expected 0..={MAX_PIXEL}")]
    Pixel {
        /// Index of the image.
        sample: usize,
        /// Index of the pixel, row-major.
        pixel: usize,
        /// The value.
        found: u8,
    },
    /// A label is no digit.
    #[error("label {sample}: found {found}, expected 0..={}", CLASSES - 1)]
    Label {
        /// Index of the sample.
        sample: usize,
        /// The value.
        found: u8,
    },
}

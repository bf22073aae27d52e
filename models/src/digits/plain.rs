//! The plaintext twin: the network in f64, the answer that an encrypted run is held to.
//!
//! Owns the weights (f32 in the file, f64 here, exactly) and their evaluation. Sums run from left to right without
//! fused multiply-add and the bias comes last, so the bits are the same on every machine. Values in between are
//! within `VALUE_LIMIT` on the data set; [`Network::trace`] shows them, for a comparison step by step.

use std::path::Path;

use super::{CLASSES, DigitsError, HIDDEN1, HIDDEN2, INPUTS, MAX_FILE_BYTES};
use crate::{
    matrix::{Matrix, MatrixError, dot},
    tensors::{Extent, TensorError, TensorFile, read_bounded},
};

static EMBEDDED: &[u8] = include_bytes!("../../data/digits/weights.safetensors");

/// `y = W x + b` with `I` inputs and `O` outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear<const I: usize, const O: usize> {
    weight: Matrix,
    bias: Vec<f64>,
}

impl<const I: usize, const O: usize> Linear<I, O> {
    /// A layer from its parts.
    ///
    /// # Shape
    /// `weight [O, I]`, `bias [O]`.
    ///
    /// # Errors
    /// [`MatrixError::Size`] naming the side that differs.
    pub fn new(weight: Matrix, bias: Vec<f64>) -> Result<Self, MatrixError> {
        for (what, found, expected) in [
            ("outputs of the weight", weight.rows(), O),
            ("inputs of the weight", weight.cols(), I),
            ("entries of the bias", bias.len(), O),
        ] {
            if found != expected {
                return Err(MatrixError::Size { what, found, expected });
            }
        }
        Ok(Self { weight, bias })
    }

    /// W, `[O, I]`.
    #[must_use]
    pub fn weight(&self) -> &Matrix {
        &self.weight
    }

    /// b, `[O]`.
    #[must_use]
    pub fn bias(&self) -> &[f64] {
        &self.bias
    }

    /// `W x + b`.
    #[must_use]
    pub fn apply(&self, x: &[f64; I]) -> [f64; O] {
        let mut y = [0.0; O];
        for ((y, row), bias) in y.iter_mut().zip(self.weight.iter_rows()).zip(&self.bias) {
            *y = dot(row, x) + bias;
        }
        y
    }

    fn read(file: &TensorFile<'_>, layer: &str) -> Result<Self, TensorError> {
        let (weight, bias) = (format!("{layer}.weight"), format!("{layer}.bias"));
        let shape = [Extent::Exactly(O), Extent::Exactly(I)];
        let data = file.f32_values(&weight, &shape)?;
        let found = vec![O, data.len()];
        let Ok(matrix) = Matrix::from_row_major(O, I, data) else {
            return Err(TensorError::Shape { name: weight, found, expected: shape.to_vec() });
        };
        Ok(Self { weight: matrix, bias: file.f32_values(&bias, &[Extent::Exactly(O)])? })
    }
}

/// The weights of the three layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// 64 pixels to 64 units.
    pub layer1: Linear<INPUTS, HIDDEN1>,
    /// 64 units to 32.
    pub layer2: Linear<HIDDEN1, HIDDEN2>,
    /// 32 units to 10 logits.
    pub layer3: Linear<HIDDEN2, CLASSES>,
}

impl Weights {
    /// Weights from a safetensors file.
    ///
    /// # Shape
    /// f32 `layer1.weight [64, 64]`, `layer1.bias [64]`, `layer2.weight [32, 64]`, `layer2.bias [32]`,
    /// `layer3.weight [10, 32]`, `layer3.bias [10]`, row-major `[outputs, inputs]`; other tensors are ignored.
    ///
    /// # Errors
    /// [`DigitsError::Tensor`] for the container, names, dtypes, shapes and values that are not finite.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DigitsError> {
        let file = TensorFile::parse(bytes)?;
        Ok(Self {
            layer1: Linear::read(&file, "layer1")?,
            layer2: Linear::read(&file, "layer2")?,
            layer3: Linear::read(&file, "layer3")?,
        })
    }
}

/// Every value of one evaluation, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// `W1 x + b1`.
    pub z1: [f64; HIDDEN1],
    /// `z1^2`.
    pub h1: [f64; HIDDEN1],
    /// `W2 h1 + b2`.
    pub z2: [f64; HIDDEN2],
    /// `z2^2`.
    pub h2: [f64; HIDDEN2],
    /// `W3 h2 + b3`.
    pub logits: [f64; CLASSES],
}

impl Trace {
    /// Largest magnitude of any value: at most `VALUE_LIMIT` on the data set with the shipped weights.
    #[must_use]
    pub fn largest(&self) -> f64 {
        let steps = [&self.z1[..], &self.h1, &self.z2, &self.h2, &self.logits];
        steps.into_iter().flatten().fold(0.0, |largest, v| largest.max(v.abs()))
    }
}

/// The network in plaintext.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    weights: Weights,
}

impl Network {
    /// The network with these weights.
    #[must_use]
    pub fn new(weights: Weights) -> Self {
        Self { weights }
    }

    /// The trained network that ships with the crate.
    ///
    /// # Errors
    /// As [`Weights::from_bytes`]; none as shipped.
    pub fn embedded() -> Result<Self, DigitsError> {
        Ok(Self::new(Weights::from_bytes(EMBEDDED)?))
    }

    /// The network with the weights in a file of at most 1 MiB.
    ///
    /// # Errors
    /// [`DigitsError::Read`] if the file cannot be read or is too long, else as [`Weights::from_bytes`].
    pub fn from_path(path: &Path) -> Result<Self, DigitsError> {
        Ok(Self::new(Weights::from_bytes(&read_bounded(path, MAX_FILE_BYTES)?)?))
    }

    /// Its weights.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The ten logits of an image with pixels scaled to [0, 1].
    #[must_use]
    pub fn forward(&self, x: &[f64; INPUTS]) -> [f64; CLASSES] {
        self.trace(x).logits
    }

    /// All values on the way to the logits.
    #[must_use]
    pub fn trace(&self, x: &[f64; INPUTS]) -> Trace {
        let z1 = self.weights.layer1.apply(x);
        let h1 = z1.map(|z| z * z);
        let z2 = self.weights.layer2.apply(&h1);
        let h2 = z2.map(|z| z * z);
        let logits = self.weights.layer3.apply(&h2);
        Trace { z1, h1, z2, h2, logits }
    }

    /// The digit, 0 to 9, that the network sees in an image with pixels scaled to [0, 1].
    #[must_use]
    pub fn classify(&self, x: &[f64; INPUTS]) -> u8 {
        classify_logits(&self.forward(x))
    }
}

/// The class of the largest logit, 0 to 9; the first of equals. A NaN never wins, so all NaN gives 0.
#[must_use]
pub fn classify_logits(logits: &[f64; CLASSES]) -> u8 {
    let mut best = (0, f64::NEG_INFINITY);
    for (class, &logit) in (0..).zip(logits) {
        if logit > best.1 {
            best = (class, logit);
        }
    }
    best.0
}

/// Largest logit minus the second largest: an error below half of it on each logit cannot change the answer.
#[must_use]
pub fn top_two_margin(logits: &[f64; CLASSES]) -> f64 {
    let mut sorted = *logits;
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    sorted[0] - sorted[1]
}

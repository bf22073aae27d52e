//! How far a result is from what it should be: the only place where tolerances live.

use crate::error::{Error, Result};
use core::fmt;
use num_complex::Complex64;

/// Minimum, mean, median, maximum and standard deviation of `-log2 |error|` over the slots, in bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bits {
    /// The worst slot.
    pub min: f64,
    /// Mean over the slots.
    pub mean: f64,
    /// Median over the slots.
    pub median: f64,
    /// The best slot.
    pub max: f64,
    /// Standard deviation over the slots.
    pub std: f64,
}

/// The precision table of a result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrecisionReport {
    /// Of the real parts.
    pub real: Bits,
    /// Of the imaginary parts.
    pub imaginary: Bits,
    /// Of the complex difference.
    pub modulus: Bits,
    /// Largest absolute error.
    pub max_error: f64,
    /// Mean absolute error.
    pub mean_error: f64,
}

/// An error of 0 counts as this many bits.
const EXACT_BITS: f64 = 64.0;

/// An error that is no number is as large as can be.
fn magnitude(error: f64) -> f64 {
    if error.is_nan() { f64::INFINITY } else { error.abs() }
}

fn bits(errors: impl Iterator<Item = f64>) -> Bits {
    let mut bits: Vec<f64> = errors.map(|e| (-magnitude(e).log2()).min(EXACT_BITS)).collect();
    if bits.is_empty() {
        bits.push(EXACT_BITS);
    }
    bits.sort_by(f64::total_cmp);
    let n = bits.len() as f64;
    let mean = bits.iter().sum::<f64>() / n;
    let variance = bits.iter().map(|b| (b - mean).powi(2)).sum::<f64>() / n;
    let std = if mean.is_finite() { variance.sqrt() } else { f64::INFINITY };
    let (min, median, max) = (bits[0], bits[bits.len() / 2], bits[bits.len() - 1]);
    Bits { min, mean, median, max, std }
}

impl PrecisionReport {
    /// Compares slot by slot. A NaN counts as an infinite error: minus infinity bits.
    ///
    /// # Errors
    /// [`Error::SlotCount`] when the lengths differ.
    pub fn new(expected: &[Complex64], found: &[Complex64]) -> Result<Self> {
        if expected.len() != found.len() {
            return Err(Error::SlotCount { expected: expected.len(), found: found.len() });
        }
        let errors: Vec<Complex64> = expected.iter().zip(found).map(|(a, b)| a - b).collect();
        let n = errors.len().max(1) as f64;
        Ok(Self {
            real: bits(errors.iter().map(|e| e.re)),
            imaginary: bits(errors.iter().map(|e| e.im)),
            modulus: bits(errors.iter().map(|e| e.norm())),
            max_error: errors.iter().fold(0.0, |m, e| magnitude(e.norm()).max(m)),
            mean_error: errors.iter().map(|e| magnitude(e.norm())).sum::<f64>() / n,
        })
    }
}

impl fmt::Display for PrecisionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "-log2 error      min    mean  median     max     std")?;
        for (name, b) in [("real", self.real), ("imaginary", self.imaginary), ("modulus", self.modulus)] {
            writeln!(
                f,
                "{name:<12} {:>7.2} {:>7.2} {:>7.2} {:>7.2} {:>7.2}",
                b.min, b.mean, b.median, b.max, b.std
            )?;
        }
        Ok(())
    }
}

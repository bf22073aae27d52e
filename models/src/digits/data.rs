//! The held-out split: 360 labelled images that training never saw.
//!
//! Owns the samples and their scaling to the network's input. Pixels are bytes 0..=16, row-major; the network takes
//! `x = pixel / 16` in [0, 1], which is exact. Data: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten
//! Digits, UCI, 1998, doi:10.24432/C50P49, CC BY 4.0; how the split was made is in `models/data/digits/SOURCE.md`.

use std::path::Path;

use super::{CLASSES, DigitsError, INPUTS, MAX_FILE_BYTES, MAX_PIXEL};
use crate::tensors::{Extent, TensorFile, read_bounded};

/// An 8x8 image, row-major, each pixel in `0..=MAX_PIXEL`.
pub type Image = [u8; INPUTS];

/// Most samples a split may have: the size of the whole data set.
const MAX_SAMPLES: usize = 1797;

static EMBEDDED: &[u8] = include_bytes!("../../data/digits/test.safetensors");

/// Labelled images: at least one, as many labels as images, all in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestSplit {
    images: Vec<Image>,
    labels: Vec<u8>,
}

impl TestSplit {
    /// The held-out split of 360 samples that ships with the crate.
    ///
    /// # Errors
    /// As [`TestSplit::from_bytes`]; none as shipped.
    pub fn embedded() -> Result<Self, DigitsError> {
        Self::from_bytes(EMBEDDED)
    }

    /// A split from a file of at most 1 MiB, in the form that [`TestSplit::from_bytes`] takes.
    ///
    /// # Errors
    /// [`DigitsError::Read`] if the file cannot be read or is too long, else as [`TestSplit::from_bytes`].
    pub fn from_path(path: &Path) -> Result<Self, DigitsError> {
        Self::from_bytes(&read_bounded(path, MAX_FILE_BYTES)?)
    }

    /// A split from a safetensors file.
    ///
    /// # Shape
    /// `images` `u8 [n, 64]` and `labels` `u8 [n]`, 1 <= n <= 1797.
    ///
    /// # Errors
    /// [`DigitsError::Tensor`] for the container, names, dtypes and shapes; [`DigitsError::Pixel`] above 16;
    /// [`DigitsError::Label`] above 9.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DigitsError> {
        let file = TensorFile::parse(bytes)?;
        let (_, pixels) = file.u8_values("images", &[Extent::UpTo(MAX_SAMPLES), Extent::Exactly(INPUTS)])?;
        let (images, _) = pixels.as_chunks::<INPUTS>();
        let (_, labels) = file.u8_values("labels", &[Extent::Exactly(images.len())])?;
        for (sample, image) in images.iter().enumerate() {
            if let Some((pixel, &found)) = image.iter().enumerate().find(|&(_, &p)| p > MAX_PIXEL) {
                return Err(DigitsError::Pixel { sample, pixel, found });
            }
        }
        if let Some((sample, &found)) = labels.iter().enumerate().find(|&(_, &l)| usize::from(l) >= CLASSES) {
            return Err(DigitsError::Label { sample, found });
        }
        Ok(Self { images: images.to_vec(), labels: labels.to_vec() })
    }

    /// The images, in the order of the labels.
    #[must_use]
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// The labels, each in `0..=9`, in the order of the images.
    #[must_use]
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// Each sample as the network takes it: 64 inputs in [0, 1], and the label.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = ([f64; INPUTS], u8)> {
        self.images.iter().map(scale_pixels).zip(self.labels.iter().copied())
    }
}

/// `x = pixel / 16`, exact.
///
/// # Ranges
/// [0, 1] for pixels in `0..=MAX_PIXEL`, which [`TestSplit`] checks and this does not.
#[must_use]
pub fn scale_pixels(image: &Image) -> [f64; INPUTS] {
    image.map(|p| f64::from(p) / f64::from(MAX_PIXEL))
}

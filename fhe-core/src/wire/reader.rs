//! Bounded reading and plain writing of payload fields.

use super::HEADER_BYTES;
use crate::error::{Error, Result};
use crate::math::double::Double;
use crate::math::word::Word;

/// Reads a payload from its start; every read is bounded by what is there.
#[derive(Debug)]
pub struct Reader<'a> {
    what: &'static str,
    payload: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader of the payload of a `what`.
    pub fn new(what: &'static str, payload: &'a [u8]) -> Self {
        Self { what, payload, at: 0 }
    }

    /// An error at the place that was read last.
    pub fn fail<T>(&self, problem: String) -> Result<T> {
        Err(Error::Wire { what: self.what, at: HEADER_BYTES + self.at, problem })
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// [`Error::Wire`] when fewer are left.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8]> {
        let left = self.payload.len() - self.at;
        if n > left {
            return self.fail(format!("truncated: expected {n} bytes more, found {left}"));
        }
        let bytes = &self.payload[self.at..self.at + n];
        self.at += n;
        Ok(bytes)
    }

    /// The next eight bytes as an integer.
    ///
    /// # Errors
    /// [`Error::Wire`] when fewer are left.
    pub fn u64(&mut self) -> Result<u64> {
        let mut le = [0; 8];
        le.copy_from_slice(self.bytes(8)?);
        Ok(u64::from_le_bytes(le))
    }

    /// The next integer, refused above `max`; bounds what is allocated for it.
    ///
    /// # Errors
    /// [`Error::Wire`] naming the field.
    pub fn bounded(&mut self, field: &str, max: u64) -> Result<u64> {
        let x = self.u64()?;
        if x > max {
            return self.fail(format!("{field}: expected at most {max}, found {x}"));
        }
        Ok(x)
    }

    /// The next double-double; both parts finite, and the second at most half a unit of the first's last place, so
    /// that a number has one form.
    ///
    /// # Errors
    /// [`Error::Wire`].
    pub fn double(&mut self) -> Result<Double> {
        let (hi, lo) = (f64::from_bits(self.u64()?), f64::from_bits(self.u64()?));
        if !hi.is_finite() || !lo.is_finite() {
            return self.fail(format!("scale: expected a finite number, found {hi} + {lo}"));
        }
        let double = Double::from_parts(hi, lo);
        let (high, low) = double.parts();
        if (high.to_bits(), low.to_bits()) != (hi.to_bits(), lo.to_bits()) {
            return self.fail(format!("scale: expected the normal form {high} + {low}, found {hi} + {lo}"));
        }
        Ok(double)
    }

    /// The next `n` residues.
    ///
    /// # Errors
    /// [`Error::Wire`] when fewer are left.
    pub fn words<W: Word>(&mut self, n: usize) -> Result<Vec<W>> {
        Ok(bytemuck::pod_collect_to_vec(self.bytes(n * W::KIND.bytes())?))
    }

    /// Whether nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.at == self.payload.len()
    }

    /// Refuses bytes that are left over.
    ///
    /// # Errors
    /// [`Error::Wire`].
    pub fn finish(self) -> Result<()> {
        let left = self.payload.len() - self.at;
        if left != 0 {
            return self.fail(format!("{left} bytes left over: expected the end"));
        }
        Ok(())
    }
}

/// Writes a payload.
#[derive(Debug)]
pub struct Writer {
    pub(super) blob: Vec<u8>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// Nothing yet, with room for so many bytes: a payload that is secret and fits is in memory once.
    pub fn with_capacity(payload_bytes: usize) -> Self {
        let mut blob = Vec::with_capacity(HEADER_BYTES + payload_bytes);
        blob.resize(HEADER_BYTES, 0);
        Self { blob }
    }

    /// Appends bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.blob.extend_from_slice(bytes);
    }

    /// Appends an integer.
    pub fn u64(&mut self, x: u64) {
        self.bytes(&x.to_le_bytes());
    }

    /// Appends a double-double.
    pub fn double(&mut self, x: Double) {
        let (hi, lo) = x.parts();
        self.u64(hi.to_bits());
        self.u64(lo.to_bits());
    }

    /// Appends residues.
    pub fn words<W: Word>(&mut self, words: &[W]) {
        self.bytes(bytemuck::cast_slice(words));
    }
}

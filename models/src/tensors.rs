//! Reading safetensors files: bounded, typed, never a panic.
//!
//! Owns the way from bytes to checked vectors. The container is parsed by the `safetensors` crate (offsets cover
//! the buffer exactly, sizes match shapes); here come the promises a network needs on top: a tensor has the name,
//! the dtype and the shape expected, and its values are finite. Does not own what the tensors mean.
//!
//! Bounds: [`read_bounded`] reads no more than the caller's limit, and a parsed file allocates in proportion to its
//! header, which is part of those bytes; no length found in a file is allocated before it is checked against them.
//!
//! Format: `u64` header length, JSON header, then the tensors, all little endian.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use safetensors::{
    SafeTensorError, SafeTensors,
    tensor::{Dtype, Metadata},
};

/// What is wrong with the content of a tensor file: whoever made the file must change it.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// The container does not parse: truncated, altered or of another kind.
    #[error("{bytes} bytes that are no whole safetensors file")]
    Malformed {
        /// Length of what was given.
        bytes: usize,
        /// The parser's word.
        source: SafeTensorError,
    },
    /// No tensor has this name.
    #[error("no tensor {name:?}, found {found:?}")]
    Missing {
        /// Name asked for.
        name: String,
        /// Names present, sorted.
        found: Vec<String>,
    },
    /// The tensor has another element type.
    #[error("tensor {name:?}: found dtype {found}, expected {expected}")]
    Dtype {
        /// Name of the tensor.
        name: String,
        /// Element type in the file.
        found: Dtype,
        /// Element type required.
        expected: Dtype,
    },
    /// The tensor has another shape.
    #[error("tensor {name:?}: found shape {found:?}, expected {expected:?}")]
    Shape {
        /// Name of the tensor.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape required.
        expected: Vec<Extent>,
    },
    /// A value is infinite or not a number.
    #[error("tensor {name:?}: found {found} at index {index}, expected finite values")]
    NotFinite {
        /// Name of the tensor.
        name: String,
        /// Index in row-major order.
        index: usize,
        /// The value.
        found: f32,
    },
}

/// Why a file could not be read: the world's errors, apart from [`TensorError`].
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refused.
    #[error("reading {}", path.display())]
    Io {
        /// File asked for.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The file is longer than its reader allows.
    #[error("{}: longer than the {limit} bytes allowed", path.display())]
    TooLong {
        /// File asked for.
        path: PathBuf,
        /// Most bytes allowed.
        limit: u64,
    },
}

/// One side of an expected shape.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Exactly this.
    Exactly(usize),
    /// At least 1 and at most this.
    UpTo(usize),
}

impl Extent {
    fn admits(self, found: usize) -> bool {
        match self {
            Self::Exactly(n) => found == n,
            Self::UpTo(n) => (1..=n).contains(&found),
        }
    }
}

impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(n) => write!(f, "{n}"),
            Self::UpTo(n) => write!(f, "1..={n}"),
        }
    }
}

/// The whole file at `path`, if it has at most `limit` bytes.
///
/// # Errors
/// [`ReadError::Io`] with the system's word; [`ReadError::TooLong`] after reading `limit + 1` bytes.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(ReadError::TooLong { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// A parsed safetensors file over borrowed bytes.
#[derive(Debug)]
pub struct TensorFile<'a> {
    header: Metadata,
    data: &'a [u8],
}

impl<'a> TensorFile<'a> {
    /// Parses the header of a whole file.
    ///
    /// # Errors
    /// [`TensorError::Malformed`] with the parser's word.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TensorError> {
        let malformed = |source| TensorError::Malformed { bytes: bytes.len(), source };
        let (header_bytes, header) = SafeTensors::read_metadata(bytes).map_err(malformed)?;
        let start = header_bytes.saturating_add(size_of::<u64>());
        let data = bytes.get(start..).ok_or_else(|| malformed(SafeTensorError::InvalidHeaderLength))?;
        Ok(Self { header, data })
    }

    /// The free-form note under `key` in the file's metadata (source, licence and the like), if there is one.
    #[must_use]
    pub fn note(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// The f32 tensor `name` as f64 (exact), row-major.
    ///
    /// # Errors
    /// [`TensorError::Missing`], [`TensorError::Dtype`], [`TensorError::Shape`]; [`TensorError::NotFinite`] at the
    /// first value that is infinite or not a number.
    pub fn f32_values(&self, name: &str, shape: &[Extent]) -> Result<Vec<f64>, TensorError> {
        let (_, bytes) = self.bytes(name, Dtype::F32, shape)?;
        let (words, _) = bytes.as_chunks::<4>();
        words
            .iter()
            .enumerate()
            .map(|(index, word)| {
                let found = f32::from_le_bytes(*word);
                if found.is_finite() {
                    Ok(f64::from(found))
                } else {
                    Err(TensorError::NotFinite { name: name.to_owned(), index, found })
                }
            })
            .collect()
    }

    /// The u8 tensor `name`: its shape and its values, row-major.
    ///
    /// # Errors
    /// [`TensorError::Missing`], [`TensorError::Dtype`], [`TensorError::Shape`].
    pub fn u8_values(&self, name: &str, shape: &[Extent]) -> Result<(&[usize], &'a [u8]), TensorError> {
        self.bytes(name, Dtype::U8, shape)
    }

    fn bytes(&self, name: &str, dtype: Dtype, shape: &[Extent]) -> Result<(&[usize], &'a [u8]), TensorError> {
        let Some(info) = self.header.info(name) else {
            let mut found: Vec<String> = self.header.tensors().into_keys().collect();
            found.sort_unstable();
            return Err(TensorError::Missing { name: name.to_owned(), found });
        };
        if info.dtype != dtype {
            return Err(TensorError::Dtype { name: name.to_owned(), found: info.dtype, expected: dtype });
        }
        let fits =
            info.shape.len() == shape.len() && shape.iter().zip(&info.shape).all(|(e, &n)| e.admits(n));
        if !fits {
            return Err(TensorError::Shape {
                name: name.to_owned(),
                found: info.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        let (start, end) = info.data_offsets;
        let bytes = self.data.get(start..end).ok_or_else(|| TensorError::Malformed {
            bytes: self.data.len(),
            source: SafeTensorError::InvalidOffset(name.to_owned()),
        })?;
        Ok((&info.shape, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::{TensorView, serialize};
    use std::collections::HashMap;

    fn file(values: &[f32]) -> Vec<u8> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let a = TensorView::new(Dtype::F32, vec![2, values.len() / 2], &bytes).unwrap();
        let b = TensorView::new(Dtype::U8, vec![3], &[7, 8, 9]).unwrap();
        let notes = HashMap::from([("licence".to_owned(), "CC BY 4.0".to_owned())]);
        serialize([("a", a), ("b", b)], Some(notes)).unwrap()
    }

    #[test]
    fn values_and_notes_come_back() {
        let bytes = file(&[0.1, -2.0, 3.5, f32::MIN_POSITIVE]);
        let file = TensorFile::parse(&bytes).unwrap();
        let shape = [Extent::Exactly(2), Extent::UpTo(2)];
        let values = file.f32_values("a", &shape).unwrap();
        assert_eq!(values, [f64::from(0.1f32), -2.0, 3.5, f64::from(f32::MIN_POSITIVE)]);
        assert_eq!(file.u8_values("b", &[Extent::UpTo(9)]).unwrap(), (&[3][..], &[7, 8, 9][..]));
        assert_eq!((file.note("licence"), file.note("author")), (Some("CC BY 4.0"), None));
    }

    #[test]
    fn errors_say_what_was_found_and_expected() {
        let bytes = file(&[1.0, 2.0, 3.0, f32::NAN]);
        let file = TensorFile::parse(&bytes).unwrap();
        let two = Extent::Exactly(2);
        let said = |shape: &[Extent], name| file.f32_values(name, shape).unwrap_err().to_string();
        assert_eq!(said(&[two], "c"), r#"no tensor "c", found ["a", "b"]"#);
        assert_eq!(said(&[Extent::Exactly(3)], "b"), r#"tensor "b": found dtype U8, expected F32"#);
        assert_eq!(said(&[Extent::Exactly(4)], "a"), r#"tensor "a": found shape [2, 2], expected [4]"#);
        assert_eq!(
            said(&[two, Extent::UpTo(1)], "a"),
            r#"tensor "a": found shape [2, 2], expected [2, 1..=1]"#
        );
        assert_eq!(said(&[two, two], "a"), r#"tensor "a": found NaN at index 3, expected finite values"#);
        for bad in [f32::INFINITY, f32::NEG_INFINITY] {
            let bytes = self::file(&[1.0, bad]);
            let error = TensorFile::parse(&bytes).unwrap().f32_values("a", &[two, Extent::Exactly(1)]);
            assert!(matches!(error, Err(TensorError::NotFinite { index: 1, found, .. }) if found == bad));
        }
    }

    /// A header that promises more than the file holds must not be believed.
    #[test]
    fn boastful_headers_are_refused() {
        let boast = |json: &str, length: u64| {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend_from_slice(json.as_bytes());
            TensorFile::parse(&bytes).map(|_| ()).unwrap_err()
        };
        let huge = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#;
        let past = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let swapped = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#;
        let deep = "[".repeat(1 << 16);
        for json in [huge, past, swapped, &deep, "", "null", "{}x"] {
            assert!(matches!(boast(json, json.len() as u64), TensorError::Malformed { .. }), "{json:.40}");
        }
        for length in [0, 1, 1 << 20, 1 << 40, u64::MAX - 7, u64::MAX] {
            assert!(matches!(boast(past, length), TensorError::Malformed { .. }), "{length}");
        }
    }

    #[test]
    fn reading_is_bounded() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let whole = std::fs::read(&path).unwrap();
        let n = whole.len() as u64;
        assert_eq!(read_bounded(&path, n).unwrap(), whole);
        assert_eq!(read_bounded(&path, u64::MAX).unwrap(), whole);
        assert!(
            matches!(read_bounded(&path, n - 1), Err(ReadError::TooLong { limit, .. }) if limit == n - 1)
        );
        assert!(matches!(read_bounded(&path.join("none"), n), Err(ReadError::Io { .. })));
    }
}

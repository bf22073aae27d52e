//! Serialization: versioned, little endian, self-describing, checked.
//!
//! ```text
//! offset  bytes  field
//!      0      4  magic "FERC"
//!      4      2  format version
//!      6      2  kind of object
//!      8     16  digest of the parameters
//!     24      8  payload length
//!     32     16  checksum: BLAKE3 of the first 32 bytes and the payload, cut to 16
//!     48     16  zero
//!     64      .  payload: 8-byte fields, then limbs as raw words
//! ```
//!
//! What has no blob is made again where it is wanted: raised ciphertexts and plaintexts, hoisted digits, encoded matrices. A single key of a
//! set travels as a set of one.
//!
//! Uniform halves travel as their seed. Every length is bounded before anything is allocated; a truncated,
//! altered or foreign blob gives [`Error::Wire`] or [`Error::ParamsMismatch`], never a partial object. The
//! checksum finds accidents, not attackers: who sends keys must be authenticated by other means.

mod keys;
mod objects;
mod reader;

pub use reader::{Reader, Writer};

use crate::error::{Error, Result};
use crate::params::Params;

const _: () =
    assert!(cfg!(target_endian = "little"), "the wire format is the memory format of little-endian hosts");

const MAGIC: [u8; 4] = *b"FERC";
/// The format written, and the only one read.
pub const FORMAT_VERSION: u16 = 1;
/// Bytes before the payload.
pub const HEADER_BYTES: usize = 64;

/// What a blob holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// [`Params`].
    Params = 1,
    /// [`crate::rlwe::SecretKey`].
    SecretKey = 2,
    /// [`crate::rlwe::PublicKey`].
    PublicKey = 3,
    /// [`crate::rlwe::EvaluationKeySet`].
    EvaluationKeySet = 4,
    /// [`crate::ckks::Ciphertext`].
    Ciphertext = 5,
    /// [`crate::ckks::SeededCiphertext`].
    SeededCiphertext = 6,
    /// [`crate::ckks::Plaintext`].
    Plaintext = 7,
    /// [`crate::rlwe::EvaluationKey`].
    EvaluationKey = 8,
    /// [`crate::bootstrap::SparseCiphertext`].
    SparseCiphertext = 9,
    /// [`crate::bootstrap::BootstrapPlan`].
    BootstrapPlan = 10,
    /// What a client keeps: what it accepted, its secret key, and what it shared. Its payload is that of the facade.
    Client = 11,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Params,
        Self::SecretKey,
        Self::PublicKey,
        Self::EvaluationKeySet,
        Self::Ciphertext,
        Self::SeededCiphertext,
        Self::Plaintext,
        Self::EvaluationKey,
        Self::SparseCiphertext,
        Self::BootstrapPlan,
        Self::Client,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Params => "parameters",
            Self::SecretKey => "secret key",
            Self::PublicKey => "public key",
            Self::EvaluationKeySet => "evaluation keys",
            Self::Ciphertext => "ciphertext",
            Self::SeededCiphertext => "seeded ciphertext",
            Self::Plaintext => "plaintext",
            Self::EvaluationKey => "evaluation key",
            Self::SparseCiphertext => "sparse ciphertext",
            Self::BootstrapPlan => "bootstrapping plan",
            Self::Client => "client",
        }
    }
}

fn checksum(head: &[u8], payload: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(head).update(payload);
    let mut sum = [0; 16];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    sum
}

/// A payload with its header.
pub fn seal(kind: Kind, digest: [u8; 16], payload: Writer) -> Vec<u8> {
    let mut blob = payload.blob;
    let payload_len = (blob.len() - HEADER_BYTES) as u64;
    blob[0..4].copy_from_slice(&MAGIC);
    blob[4..6].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    blob[6..8].copy_from_slice(&(kind as u16).to_le_bytes());
    blob[8..24].copy_from_slice(&digest);
    blob[24..32].copy_from_slice(&payload_len.to_le_bytes());
    let sum = checksum(&blob[..32], &blob[HEADER_BYTES..]);
    blob[32..48].copy_from_slice(&sum);
    blob
}

/// The kind, the digest and the payload of a whole, unaltered blob of one of the kinds.
///
/// # Errors
/// [`Error::Wire`].
pub fn open<'a>(bytes: &'a [u8], expected: &[Kind]) -> Result<(Kind, [u8; 16], &'a [u8])> {
    let what = expected.first().map_or("blob", |k| k.name());
    let fail = |at: usize, problem: String| Err(Error::Wire { what, at, problem });
    let Some((header, payload)) = bytes.split_at_checked(HEADER_BYTES) else {
        return fail(
            bytes.len(),
            format!("ends in the header: expected {HEADER_BYTES} bytes, found {}", bytes.len()),
        );
    };
    if header[..4] != MAGIC {
        return fail(0, format!("magic: expected {MAGIC:02x?}, found {:02x?}", &header[..4]));
    }
    let version = u16::from_le_bytes([header[4], header[5]]);
    if version != FORMAT_VERSION {
        return fail(4, format!("format version: expected {FORMAT_VERSION}, found {version}"));
    }
    let code = u16::from_le_bytes([header[6], header[7]]);
    let kind = Kind::ALL.into_iter().find(|&k| k as u16 == code);
    let Some(kind) = kind.filter(|k| expected.contains(k)) else {
        let found = kind.map_or("an unknown kind", Kind::name);
        return fail(6, format!("kind: expected {what}, found {found} ({code})"));
    };
    let mut length = [0; 8];
    length.copy_from_slice(&header[24..32]);
    let length = u64::from_le_bytes(length);
    if length != payload.len() as u64 {
        return fail(24, format!("payload: expected {length} bytes, found {}", payload.len()));
    }
    if header[32..48] != checksum(&header[..32], payload) {
        return fail(32, "checksum: the blob was altered".to_owned());
    }
    if let Some(at) = header[48..].iter().position(|&b| b != 0) {
        return fail(48 + at, "reserved byte: expected 0".to_owned());
    }
    let mut digest = [0; 16];
    digest.copy_from_slice(&header[8..24]);
    Ok((kind, digest, payload))
}

impl Params {
    /// The parameters as a blob.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.bytes(&self.literal().encode());
        seal(Kind::Params, self.digest(), writer)
    }

    /// Reads a literal and checks it as [`Params::new`] does, security included.
    ///
    /// # Errors
    /// [`Error::Wire`], and those of [`Params::new`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (_, digest, payload) = open(bytes, &[Kind::Params])?;
        let mut reader = Reader::new("parameters", payload);
        let literal = objects::read_literal(&mut reader)?;
        reader.finish()?;
        let params = Self::new(literal)?;
        params.check_digest(digest)?;
        Ok(params)
    }
}

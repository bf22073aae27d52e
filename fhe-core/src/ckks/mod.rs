//! CKKS on top of the ring: encoding, encryption, the reference evaluator, precision.
//!
//! A ciphertext is a list of polynomials in the evaluation domain at a level, with its scale as a
//! double-double log2. Its *canonical* scale at level `l` is `S_l` of the level table; a product has `S_l^2`
//! until it is rescaled, which lands on `S_{l-1}` exactly.

mod ciphertext;
mod encoder;
mod encryption;
mod evaluator;
pub mod flooding;
mod functions;
mod linear_transform;
mod polynomial;
pub mod precision;
mod raised;
pub mod scalar;

pub use ciphertext::{Ciphertext, Plaintext, SeededCiphertext};
pub use encoder::{Encoder, check_raw_slots};
pub use encryption::{Decryptor, Encryptor};
pub use evaluator::Evaluator;
pub use flooding::{Flooding, SharedValues};
pub use linear_transform::{EncodedTransform, LinearTransform};
pub use polynomial::ChebyshevSeries;
pub(crate) use polynomial::{scale_before_doublings, step};
pub use raised::{Hoisted, RaisedCiphertext, RaisedPlaintext};

//! CKKS: RNS rings, parameters, keys, encoding, encryption and the exact reference evaluator.
pub mod error;
pub mod math;
pub mod params;
pub mod ring;
pub mod rlwe;
pub use error::{Error, Result};

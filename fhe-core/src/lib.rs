//! CKKS: RNS rings, parameters, keys, encoding, encryption and the exact reference evaluator.
pub mod error;
pub mod math;
pub mod params;
pub use error::{Error, Result};

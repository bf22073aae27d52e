//! From a program without levels to a schedule: DSL, intermediate languages, passes and plans.
//!
//! ```text
//! dsl  ->  ckks_ir  --passes::place-->  ckks_ir with levels  --lower::ckks-->  poly_ir  --lower::plan-->  plan
//! ```
//!
//! The room is pure: no IO, no clock, no device; the same program, parameters and options give the same plan,
//! byte for byte. Levels, scales, relinearizations and rescales are placed by [`passes`]; where the user writes one, it is checked and kept.
//! Bits are fixed when `poly_ir` is lowered: [`interp`] has one interpreter a language, and those of placed
//! `ckks_ir`, `poly_ir` and [`plan`] agree bit for bit.

pub mod choose;
pub mod ckks_ir;
pub mod compile;
pub mod cost;
pub mod dsl;
pub mod error;
pub mod interp;
pub mod lower;
pub mod noise;
pub mod passes;
pub mod plan;
pub mod poly_ir;
mod range;
pub mod report;
mod text;

pub use choose::{Choice, choose};
pub use compile::{
    Compiled, Link, Manifest, MemoryLimits, Options, Topology, compile, compile_auto, compile_with,
};
pub use dsl::Program;
pub use error::{Error, Result};

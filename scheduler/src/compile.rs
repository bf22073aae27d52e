//! The whole way from a program to a plan.

use fhe_core::math::double::Double;
use fhe_core::params::{GaloisElement, Level};

use crate::ckks_ir::{self, Constant};
use crate::plan::Plan;
use crate::poly_ir;

/// How to encrypt an input: every slot `i` holds element `i mod period`.
#[derive(Clone, Debug, PartialEq)]
pub struct InputSpec {
    /// The user's name.
    pub name: String,
    /// Number of elements of one period.
    pub period: u32,
    /// Level to encrypt at.
    pub level: Level,
    /// log2 of the scale to encrypt at: the level's canonical one.
    pub log_scale: Double,
}

/// How to read an output.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputSpec {
    /// The user's name.
    pub name: String,
    /// The first slots, which have a meaning.
    pub slots: u32,
    /// Level that it arrives at.
    pub level: Level,
    /// log2 of its scale.
    pub log_scale: Double,
}

/// What a compilation may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Consecutive operations are batched into common launches up to this many rows. More rows fill a device better and keep
    /// more of them alive: 1024 rows of 64 KiB are 64 MiB, a little more than the L2 cache of an H100 (50 MB).
    pub batch_rows: u32,
    /// Most launches of a segment.
    pub segment_launches: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { batch_rows: 1024, segment_launches: 256 }
    }
}

/// What a client and a host must bring: inputs, keys and constants. All ciphertexts have degree 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// By [`ckks_ir::InputIdx`].
    pub inputs: Vec<InputSpec>,
    /// By [`ckks_ir::OutputIdx`].
    pub outputs: Vec<OutputSpec>,
    /// The Galois keys that are needed, ascending.
    pub galois_elements: Vec<GaloisElement>,
    /// Whether the relinearization key is needed.
    pub needs_relinearization: bool,
    /// The plaintext data by [`ckks_ir::ConstId`]; repeat to all slots before encoding.
    pub constants: Vec<Constant>,
}

/// How large a function is after a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassStat {
    /// The pass.
    pub pass: &'static str,
    /// Values before.
    pub before: usize,
    /// Values after.
    pub after: usize,
}

/// A compiled program with every stage of its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    /// The function with levels.
    pub placed: ckks_ir::Function,
    /// The same on polynomials.
    pub poly: poly_ir::Function,
    /// What to execute.
    pub plan: Plan,
    /// What to bring.
    pub manifest: Manifest,
    /// Sizes, pass by pass.
    pub stats: Vec<PassStat>,
}

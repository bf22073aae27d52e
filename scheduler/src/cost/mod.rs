//! What things cost. Two models that must not be mixed:
//!
//! * [`levels`], before the freeze: committed weights and the parameters alone. It decides bits and keys; [`transforms`] is made of it.
//! * [`table`], after it: kernels as measured on one machine. It predicts times, and never changes bits.

pub mod levels;
pub mod table;
pub mod transforms;

pub use levels::LevelCosts;
pub use table::{CostTable, KernelCost, Observation};
pub use transforms::TransformCosts;

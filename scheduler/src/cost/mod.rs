//! What things cost. Two models that must not be mixed:
//!
//! * [`levels`], before the freeze: committed weights and the parameters alone. It decides bits and keys; [`transforms`],
//!   [`operations`] and [`mod@polynomials`] are made of it.
//! * [`table`], after it: kernels and copies as measured on one machine. It predicts times, and never changes bits. [`timeline`] puts the
//!   times of a schedule's steps beside each other.

pub mod levels;
pub mod operations;
pub mod polynomials;
pub mod table;
pub mod timeline;
pub mod transforms;

pub use levels::LevelCosts;
pub use operations::{OperationCosts, Owed};
pub use polynomials::polynomials;
pub use table::{CopyCost, CopyObservation, CopyRoute, CostTable, KernelCost, Observation};
pub use timeline::Timeline;
pub use transforms::TransformCosts;

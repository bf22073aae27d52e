//! From one language to the next: [`ckks`] fixes the bits, [`plan`] the order and the memory.

pub mod ckks;
pub(crate) mod constants;
mod events;
pub mod grouping;
pub(crate) mod groups;
mod memory;
pub mod plan;

//! Devices, memory, executor and session: what obeys a plan.
//!
//! ```text
//! session    programs, keys and ciphertexts as bytes: the one place that knows the scheme
//! executor   walks a plan's schedule
//! backend    a device: `cpu` computes, `null` checks and counts
//! driver     what is asked of an accelerator's driver; CUDA's
//! check      what every plan must satisfy before any device sees it
//! work       rows, bytes and multiplications of launches
//! memory     limits, allocations, reports
//! tiers      limits of each tier; the file tier
//! profile    time by kernel and by node
//! ```
//!
//! The room decides nothing: what to compute, in which order and with how much memory is in the plan
//! ([`scheduler::plan`]). No function takes a secret key.

pub mod backend;
pub mod check;
pub mod driver;
pub mod error;
pub mod executor;
pub mod memory;
pub mod profile;
pub mod session;
pub mod tiers;
pub mod work;

pub use backend::BackendKind;
pub use error::{Error, Result};
pub use kernels_gpu::cpu::LaneKind;
pub use session::{LoadedProgram, RunReport, Session, SessionBuilder};

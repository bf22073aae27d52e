//! The microbenchmark suite: a row for each kernel, each composite and each operation of the client, on any backend.
//!
//! ```text
//! chain      parameters by name: presets, and a chain of the shape of a peer's
//! kernels    plans of one kernel, many times over different rows
//! composite  compiled plans of one operation of the scheme; the floor of each by formula
//! client     keys, encoding, encryption: fhe-core on the processor
//! overhead   what a whole program takes beyond its launches
//! measure    backends, how a figure comes about
//! roofs      what memory and arithmetic allow at most
//! row, plot  the table, JSON, SVG
//! peers      figures of others beside ours
//! ```
//!
//! `--bin suite` puts them together. Nothing here checks results: the tests do.

pub mod chain;
pub mod client;
pub mod composite;
pub mod kernels;
pub mod measure;
pub mod overhead;
pub mod peers;
pub mod plot;
pub mod roofs;
pub mod row;

/// What every function here returns: a failure ends the bench with its words.
pub type Result<T> = anyhow::Result<T>;

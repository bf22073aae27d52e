//! Ferrocerium: encrypted inference on several GPUs.
//!
//! A server runs a neural network on data that it cannot read. The program is written without scales and
//! levels; the compiler places them; keys, encryption and decryption stay with the client.
//!
//! ```
//! use ferrocerium::prelude::*;
//!
//! // The server has a program: y = (x[i+1] * w[i] + 0.5)^2.
//! let program = dsl::build("example", |g| {
//!     let x = g.input("x", 4)?;
//!     let w = g.plain("w", &[0.5, -1.0, 2.0, 0.25])?;
//!     g.output("y", (x.rotate(1) * w + 0.5).square(), 4)
//! })?;
//! let params = Preset::Toy10.params()?; // marked insecure: for tests; `Preset::N13` is a secure one
//! let compiled = compile(&program, &params, &Options::default())?;
//! let offer = Offer::new(&params, &compiled.manifest).to_bytes();
//!
//! // The client makes keys for it, and encrypts.
//! let mut client = Client::accept(&offer, Trust::Insecure, Randomness::from_os()?, |_, _| ())?;
//! let keys = client.evaluation_keys().to_vec();
//! let question = client.encrypt("x", &[0.1, 0.2, 0.3, 0.4])?;
//!
//! // The server computes on what it cannot read.
//! let session = Session::builder().backend(BackendKind::Cpu).build()?;
//! let mut server = session.load(compiled, &params)?;
//! server.load_keys(&keys)?;
//! let answer = server.run(&[("x", &question)])?;
//!
//! let y = client.decrypt("y", &answer[0])?;
//! assert!((y[0] - (0.2 * 0.5 + 0.5f64).powi(2)).abs() < 1e-6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The rooms behind this facade, from the ground up: [`fhe_core`] (the scheme), [`kernels_gpu`] (kernel bodies
//! and their ABI), [`scheduler`] (DSL, compiler, plans), [`host`] (devices, sessions), [`models`] (networks).

mod client;
mod offer;

pub use client::{Client, ClientError, Trust};
pub use offer::{InputOffer, MAX_KEY_BYTES, Offer, OutputOffer};
pub use {fhe_core, host, kernels_gpu, models, scheduler};

/// What a program needs to be written, compiled and run.
pub mod prelude {
    pub use crate::{Client, Offer, Trust};
    pub use fhe_core::math::sampling::Randomness;
    pub use fhe_core::params::{Params, Preset};
    pub use host::{BackendKind, Session};
    pub use scheduler::{Compiled, Options, Topology, compile, compile_auto, dsl};
}

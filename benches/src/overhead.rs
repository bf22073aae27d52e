//! Launch overhead of whole programs, by replay of their graphs: [`host::profile::overhead`] has the method.

use crate::Result;
use crate::client;
use crate::measure::Machine;
use anyhow::Context;
use fhe_core::params::{Params, Preset};
use host::profile::overhead::LaunchOverhead;
use models::digits::{Network, encrypted};
use scheduler::{Options, compile};
use serde::Serialize;
use std::fmt;

/// A figure.
#[derive(Clone, Debug, Serialize)]
pub struct Overhead {
    /// Name for `--filter`.
    pub name: String,
    /// log2 of the modulus that security is about.
    pub log_qp: f64,
    /// Bits of security.
    pub security_bits: u32,
    /// The times.
    #[serde(flatten)]
    pub times: LaunchOverhead,
}

impl fmt::Display for Overhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.times)
    }
}

/// The name of the encrypted digits at a preset.
pub fn digits_name(preset: Preset) -> String {
    format!("launch_overhead digits {}", preset.name())
}

/// The encrypted digits at a preset.
///
/// # Errors
/// Those of the rooms, with the name.
pub fn digits(preset: Preset, machine: &Machine) -> Result<Overhead> {
    let name = digits_name(preset);
    let params = preset.params()?;
    let times = times(&params, machine).with_context(|| name.clone())?;
    Ok(Overhead { name, log_qp: params.log_qp(), security_bits: params.security().bits(), times })
}

fn times(params: &Params, machine: &Machine) -> Result<LaunchOverhead> {
    let compiled = compile(&encrypted::program(&Network::embedded()?)?, params, &Options::default())?;
    let manifest = compiled.manifest.clone();
    let mut client = client::client(params)?;
    let keys = client.keys(manifest.needs_relinearization, &manifest.galois_elements)?;
    let mut program = machine.session.load(compiled, params)?;
    program.load_keys(&keys)?;
    let level = manifest.inputs.first().context("the program has an input")?.level;
    program.run(&[(encrypted::INPUT, &client.encrypt(level)?)])?;
    Ok(program.launch_overhead(machine.protocol.samples as u32)?)
}

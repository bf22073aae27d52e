//! What a server tells a client before any key is made: the parameters, the inputs and outputs of the program
//! and the keys that it needs. Public, and no weights in it.
//!
//! It travels as JSON, so that a person can read what is asked for. A client checks all of it: the parameters
//! as [`Params::from_bytes`] does, security included, and every number against them.

use crate::client::ClientError;
use fhe_core::params::{GaloisElement, Level, Params};
use fhe_core::rlwe::check_weight;
use scheduler::Manifest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The largest offer that is read: 1 MiB. One with 10,000 keys has 80 kB.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// The most bytes of evaluation keys that [`crate::Client::accept`] makes: 8 GiB, as they lie in memory, and as much again for a program that
/// bootstraps, whose keys alone have about 8 at log N 16.
pub const MAX_KEY_BYTES: u64 = 8 << 30;

/// An input: a vector of `period` numbers, encrypted at `level`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputOffer {
    /// Its name.
    pub name: String,
    /// Number of values; a power of two that divides the number of slots.
    pub period: usize,
    /// The level to encrypt at.
    pub level: u32,
}

/// An output: a vector of `slots` numbers, which arrives at `level` with the level's canonical scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputOffer {
    /// Its name.
    pub name: String,
    /// Number of values.
    pub slots: usize,
    /// The level that it arrives at.
    pub level: u32,
    /// So many times what bootstrapping returns at most are in a coefficient, if it is a sum of what bootstrapping returned.
    pub bootstrapped: Option<f64>,
}

/// The JSON form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    /// The parameters' wire form, in hexadecimal.
    params: String,
    inputs: Vec<InputOffer>,
    outputs: Vec<OutputOffer>,
    relinearization_key: bool,
    galois_elements: Vec<u32>,
    encapsulation_weight: Option<usize>,
}

/// Checked: every input, output and key is possible under the parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// The parameters.
    pub params: Params,
    /// The inputs, in the order of the program.
    pub inputs: Vec<InputOffer>,
    /// The outputs, in the order of the program.
    pub outputs: Vec<OutputOffer>,
    /// Whether the relinearization key is needed.
    pub relinearization_key: bool,
    /// The Galois keys that are needed, ascending.
    pub galois_elements: Vec<GaloisElement>,
    /// Non-zero coefficients of the sparse secret of the encapsulation keys, if these are needed, for bootstrapping.
    pub encapsulation_weight: Option<usize>,
}

impl Offer {
    /// The offer of a compiled program.
    pub fn new(params: &Params, manifest: &Manifest) -> Self {
        let input = |i: &scheduler::compile::InputSpec| InputOffer {
            name: i.name.clone(),
            period: i.period as usize,
            level: i.level.0,
        };
        let output = |o: &scheduler::compile::OutputSpec| OutputOffer {
            name: o.name.clone(),
            slots: o.slots as usize,
            level: o.level.0,
            bootstrapped: o.bootstrapped,
        };
        Self {
            params: params.clone(),
            inputs: manifest.inputs.iter().map(input).collect(),
            outputs: manifest.outputs.iter().map(output).collect(),
            relinearization_key: manifest.needs_relinearization,
            galois_elements: manifest.galois_elements.clone(),
            encapsulation_weight: manifest.encapsulation_weight,
        }
    }

    /// As JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = Text {
            params: self.params.to_bytes().iter().map(|b| format!("{b:02x}")).collect(),
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            relinearization_key: self.relinearization_key,
            galois_elements: self.galois_elements.iter().map(|g| g.0).collect(),
            encapsulation_weight: self.encapsulation_weight,
        };
        // Strings and numbers only: nothing that serde_json could refuse.
        serde_json::to_vec(&text).unwrap_or_default()
    }

    /// Bytes of all the keys that it asks for, both halves of every pair, as they lie in memory; the blob that a
    /// client sends has half of them. `None` beyond 2^64.
    pub fn key_bytes(&self) -> Option<u64> {
        let params = &self.params;
        // Of an encapsulation the key back; the one there is a few rows.
        let one = |needed: bool| u64::from(needed);
        let n_keys = self.galois_elements.len() as u64
            + one(self.relinearization_key)
            + one(self.encapsulation_weight.is_some());
        let rows = (2 * params.digits().len() as u64).checked_mul(params.primes().len() as u64)?;
        let row_bytes = (params.n() as u64).checked_mul(params.word().bytes() as u64)?;
        rows.checked_mul(row_bytes)?.checked_mul(n_keys)
    }

    fn max_key_bytes(&self) -> u64 {
        if self.encapsulation_weight.is_some() { 2 * MAX_KEY_BYTES } else { MAX_KEY_BYTES }
    }

    /// Reads and checks an offer: names are unique, Galois elements distinct and ascending, the keys at most
    /// [`MAX_KEY_BYTES`]. No table of the ring is built.
    ///
    /// # Errors
    /// [`ClientError::Offer`] says what and where; [`ClientError::Fhe`] for its parameters.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ClientError> {
        let refuse = |problem: String| Err(ClientError::Offer(problem));
        if bytes.len() > MAX_BYTES {
            return refuse(format!("{} bytes, expected at most {MAX_BYTES}", bytes.len()));
        }
        let text: Text = match serde_json::from_slice(bytes) {
            Ok(text) => text,
            Err(e) => return refuse(e.to_string()),
        };
        let params = Params::from_bytes(&unhex(&text.params)?)?;
        unique("input", text.inputs.iter().map(|i| i.name.as_str()))?;
        unique("output", text.outputs.iter().map(|o| o.name.as_str()))?;
        for input in &text.inputs {
            let (name, period) = (&input.name, input.period);
            if !period.is_power_of_two() || period > params.n_slots() {
                let n_slots = params.n_slots();
                return refuse(format!(
                    "input {name}: period {period}, expected a power of two up to {n_slots}"
                ));
            }
            params.level(Level(input.level))?;
        }
        for output in &text.outputs {
            if output.slots == 0 || output.slots > params.n_slots() {
                let (name, slots, n_slots) = (&output.name, output.slots, params.n_slots());
                return refuse(format!("output {name}: {slots} values, expected 1 to {n_slots}"));
            }
            params.level(Level(output.level))?;
            if let Some(times) = output.bootstrapped.filter(|times| !(times.is_finite() && *times > 0.0)) {
                let name = &output.name;
                return refuse(format!(
                    "output {name}: {times} times bootstrapped, expected a positive number"
                ));
            }
        }
        let two_n = 2 * params.n() as u32;
        if let Some(g) = text.galois_elements.iter().find(|&&g| g % 2 == 0 || g >= two_n) {
            return refuse(format!("Galois element {g}, expected an odd number below {two_n}"));
        }
        if let Some(pair) = text.galois_elements.windows(2).find(|w| w[0] >= w[1]) {
            return refuse(format!("Galois element {} after {}, expected ascending", pair[1], pair[0]));
        }
        if let Some(weight) = text.encapsulation_weight {
            check_weight(&params, weight)?;
        }
        let offer = Self {
            params,
            inputs: text.inputs,
            outputs: text.outputs,
            relinearization_key: text.relinearization_key,
            galois_elements: text.galois_elements.into_iter().map(GaloisElement).collect(),
            encapsulation_weight: text.encapsulation_weight,
        };
        match offer.key_bytes() {
            Some(bytes) if bytes <= offer.max_key_bytes() => Ok(offer),
            bytes => {
                let found = bytes.map_or("more than 2^64".to_owned(), |b| b.to_string());
                refuse(format!("{found} bytes of keys, expected at most {}", offer.max_key_bytes()))
            }
        }
    }
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<(), ClientError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(ClientError::Offer(format!("two {what}s are called {name}, expected one")));
        }
    }
    Ok(())
}

fn unhex(text: &str) -> Result<Vec<u8>, ClientError> {
    let digit = |c: u8| (c as char).to_digit(16).map(|d| d as u8);
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
    bytes.ok_or_else(|| ClientError::Offer("params: expected hexadecimal digits in pairs".to_owned()))
}

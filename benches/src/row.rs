//! A row of the suite: what was measured, what it cost, how far it is from its floor.

use crate::roofs::Roofs;
use fhe_core::math::word::WordKind;
use fhe_core::params::Params;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// What a row is about.
#[derive(Clone, Debug)]
pub struct Case {
    /// Kernel, composite, or operation of the client.
    pub what: String,
    /// Name of the parameters; none for kernels.
    pub chain: Option<String>,
    /// log2 of the ring degree.
    pub log_n: u32,
    /// Limbs of a polynomial.
    pub limbs: usize,
    /// The word.
    pub word: WordKind,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.what)?;
        if let Some(chain) = &self.chain {
            write!(f, "{chain} ")?;
        }
        write!(f, "2^{} x {} u{}", self.log_n, self.limbs, self.word.bits())
    }
}

/// What a row costs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Bytes, each operand once.
    pub bytes: u64,
    /// Word products, a butterfly being one.
    pub operations: u64,
    /// Products of the machine that these need at least: see [`crate::kernels::machine_products`].
    pub products: f64,
}

impl Cost {
    /// The larger of what memory and what arithmetic take, in microseconds.
    pub fn floor(&self, word: WordKind, roofs: &Roofs) -> f64 {
        (self.bytes as f64 / roofs.copy).max(self.products / roofs.products(word)) * 1e6
    }
}

/// A row.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The case in words.
    pub name: String,
    /// Kernel, composite, or operation of the client.
    pub what: String,
    /// Name of the parameters.
    pub chain: Option<String>,
    /// log2 of the ring degree.
    pub log_n: u32,
    /// Limbs of a polynomial.
    pub limbs: usize,
    /// Bits of a word.
    pub word_bits: u32,
    /// Threads of the processor, where it computes.
    pub threads: Option<usize>,
    /// How the time was taken.
    pub method: &'static str,
    /// Copies of the operands that are worked through in turn.
    pub copies: u32,
    /// The median.
    pub microseconds: f64,
    /// Launches.
    pub launches: Option<u64>,
    /// Bytes, each operand once.
    pub bytes: u64,
    /// Word products, a butterfly being one.
    pub operations: u64,
    /// Bytes over time.
    pub gigabytes_per_second: f64,
    /// Of the bandwidth of a copy.
    pub share_of_memory_roof: f64,
    /// Of the rate of multipliers.
    pub share_of_arithmetic_roof: f64,
    /// The least time, by bytes and operations, or by formula.
    pub floor_microseconds: f64,
    /// Time over floor.
    pub ratio: f64,
    /// log2 of the modulus that security is about.
    pub log_qp: Option<f64>,
    /// Bits of security.
    pub security_bits: Option<u32>,
    /// What the floor is the sum of, microseconds by part.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub floor_parts: BTreeMap<&'static str, f64>,
    /// Peers' times over ours.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub peers: BTreeMap<String, f64>,
}

impl Row {
    /// A row with the floor of its cost.
    pub fn new(case: &Case, method: &'static str, microseconds: f64, cost: Cost, roofs: &Roofs) -> Self {
        let seconds = (microseconds / 1e6).max(1e-12);
        let row = Self {
            name: case.to_string(),
            what: case.what.clone(),
            chain: case.chain.clone(),
            log_n: case.log_n,
            limbs: case.limbs,
            word_bits: case.word.bits(),
            threads: None,
            method,
            copies: 1,
            microseconds,
            launches: None,
            bytes: cost.bytes,
            operations: cost.operations,
            gigabytes_per_second: cost.bytes as f64 / seconds / 1e9,
            share_of_memory_roof: cost.bytes as f64 / seconds / roofs.copy,
            share_of_arithmetic_roof: cost.products / seconds / roofs.products(case.word),
            floor_microseconds: 0.0,
            ratio: 0.0,
            log_qp: None,
            security_bits: None,
            floor_parts: BTreeMap::new(),
            peers: BTreeMap::new(),
        };
        row.with_floor(cost.floor(case.word, roofs))
    }

    /// With another floor.
    #[must_use]
    pub fn with_floor(mut self, microseconds: f64) -> Self {
        self.floor_microseconds = microseconds;
        self.ratio = self.microseconds / microseconds.max(1e-9);
        self
    }

    /// With the modulus and the security of parameters.
    #[must_use]
    pub fn under(mut self, params: &Params) -> Self {
        self.log_qp = Some(params.log_qp());
        self.security_bits = Some(params.security().bits());
        self
    }
}

/// The head of the table.
pub const HEAD: &str = "| row | chain | log N | limbs | word | µs | launches | MB | M products | GB/s | of memory roof \
                        | of arithmetic roof | floor µs | ratio | log QP | security | peers / ours |\n\
                        |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn or_dash<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
            value.map_or_else(|| "–".to_owned(), text)
        }
        let peers: Vec<String> = self.peers.iter().map(|(name, x)| format!("{name} {x:.1}")).collect();
        write!(
            f,
            "| {} | {} | {} | {} | u{} | {:.1} | {} | {:.2} | {:.2} | {:.0} | {:.2} | {:.2} | {:.1} | {:.1} | {} | {} | {} |",
            self.what,
            self.chain.as_deref().unwrap_or("–"),
            self.log_n,
            self.limbs,
            self.word_bits,
            self.microseconds,
            or_dash(self.launches, |x| x.to_string()),
            self.bytes as f64 / 1e6,
            self.operations as f64 / 1e6,
            self.gigabytes_per_second,
            self.share_of_memory_roof,
            self.share_of_arithmetic_roof,
            self.floor_microseconds,
            self.ratio,
            or_dash(self.log_qp, |x| format!("{x:.0}")),
            or_dash(self.security_bits, |x| x.to_string()),
            peers.join(", ")
        )
    }
}

//! What a user, or a blob, says that parameters should be: not yet checked.

use super::{LevelInfo, LimbIdx, Security};
use crate::error::{Error, Result};
use crate::math::double::Double;
use crate::math::primes::is_prime;
use crate::math::word::WordKind;

/// An unchecked description of parameters; [`super::Params::new`] checks it.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamsLiteral {
    /// log2 of the ring degree, 4 to 17.
    pub log_n: u32,
    /// The word of a residue.
    pub word: WordKind,
    /// The ciphertext primes, all that any level uses; distinct, `1 mod 2N`.
    pub main_primes: Vec<u64>,
    /// The special primes of key switching.
    pub special_primes: Vec<u64>,
    /// For each level, lowest first, the indexes of its main primes, ascending. Today a level must have the first
    /// `k` main primes, `k` growing (prefix chains); others, rational chains among them, are refused.
    pub levels: Vec<Vec<u32>>,
    /// Main primes a digit of key switching.
    pub digit_limbs: usize,
    /// log2 of the canonical scale of the highest level, and of the nominal scale of all: 10 to 100, and from 32 on
    /// when there is more than one level.
    pub log_scale: u32,
    /// What is promised.
    pub security: Security,
}

/// How far a level's canonical scale may lie from the nominal one, in bits.
const MAX_SCALE_DRIFT: f64 = 0.15;

/// Least log2 of the scale of more than one level: the integer that a level drop multiplies by is about a scale, and
/// its rounding must stay below the 2^-30 within which scales count as equal.
const MIN_CHAIN_LOG_SCALE: u32 = 32;

impl ParamsLiteral {
    /// Checks everything that needs no derived value.
    pub(super) fn check_shape(&self) -> Result<()> {
        let refuse = |why: String| Err(Error::InvalidParams(why));
        if !(4..=17).contains(&self.log_n) {
            return refuse(format!("log N is {}, expected 4 to 17", self.log_n));
        }
        let (n_main, n_special) = (self.main_primes.len(), self.special_primes.len());
        if n_main == 0 || n_main > 1024 || n_special == 0 || n_special > 64 {
            return refuse(format!(
                "{n_main} main and {n_special} special primes, expected 1 to 1024 and 1 to 64"
            ));
        }
        if self.digit_limbs == 0 || self.digit_limbs > 64 {
            return refuse(format!("{} primes a digit, expected 1 to 64", self.digit_limbs));
        }
        let mut seen: Vec<u64> = Vec::new();
        for &q in self.main_primes.iter().chain(&self.special_primes) {
            let (low, high) = (self.word.min_prime_bits(), self.word.max_prime_bits());
            if q <= 1 << low || q >= 1 << high {
                return refuse(format!(
                    "prime {q} is outside (2^{low}, 2^{high}) for {} bits",
                    self.word.bits()
                ));
            }
            if q % (2 << self.log_n) != 1 || !is_prime(q) {
                return refuse(format!("{q} is not a prime that is 1 modulo 2N"));
            }
            if seen.contains(&q) {
                return refuse(format!("prime {q} occurs twice"));
            }
            seen.push(q);
        }
        if self.levels.is_empty() || self.levels.len() > 1024 {
            return refuse(format!("{} levels, expected 1 to 1024", self.levels.len()));
        }
        for (l, basis) in self.levels.iter().enumerate() {
            if basis.is_empty() || basis.windows(2).any(|w| w[0] >= w[1]) {
                return refuse(format!("the primes of level {l} are not ascending"));
            }
            if basis.iter().zip(0u32..).any(|(&i, k)| i != k) {
                let k = basis.len();
                return refuse(format!(
                    "level {l} is not the first {k} main primes: only prefix chains are supported, and rational ones not"
                ));
            }
            if basis.iter().any(|&i| i as usize >= n_main) {
                return refuse(format!("level {l} names a main prime beyond {}", n_main - 1));
            }
        }
        for (l, pair) in self.levels.windows(2).enumerate() {
            if pair[0].len() == pair[1].len() {
                return refuse(format!("level {l} has as many primes as level {}, expected fewer", l + 1));
            }
        }
        let top = self.levels.last().map_or(0, Vec::len);
        if top != n_main {
            return refuse(format!("the highest level has {top} primes, expected all {n_main}"));
        }
        if self.log_scale < 10 || self.log_scale > 100 {
            return refuse(format!("log2 of the scale is {}, expected 10 to 100", self.log_scale));
        }
        if self.levels.len() > 1 && self.log_scale < MIN_CHAIN_LOG_SCALE {
            return refuse(format!(
                "log2 of the scale is {}, expected at least {MIN_CHAIN_LOG_SCALE} with more than one level",
                self.log_scale
            ));
        }
        Ok(())
    }

    /// The level table with its canonical scales, from the top down.
    pub(super) fn level_table(&self, log2: impl Fn(&[LimbIdx]) -> Double) -> Result<Vec<LevelInfo>> {
        let basis = |l: usize| self.levels[l].iter().map(|&i| LimbIdx(i)).collect::<Vec<_>>();
        let nominal = f64::from(self.log_scale);
        let mut log_scale = Double::from(nominal);
        let mut table = Vec::with_capacity(self.levels.len());
        for l in (0..self.levels.len()).rev() {
            let here = basis(l);
            let log_q = log2(&here);
            let drift = (log_scale.to_f64() - nominal).abs();
            if drift > MAX_SCALE_DRIFT || log_q.to_f64() < log_scale.to_f64() + 1.0 {
                return Err(Error::InvalidParams(format!(
                    "canonical scale of level {l} is 2^{:.4} under a modulus of 2^{:.2}, expected within \
                     2^{MAX_SCALE_DRIFT} of 2^{nominal} and a bit of room",
                    log_scale.to_f64(),
                    log_q.to_f64()
                )));
            }
            if l > 0 {
                let next = basis(l - 1);
                let removed: Vec<LimbIdx> = here.iter().copied().filter(|i| !next.contains(i)).collect();
                table.push(LevelInfo { basis: here, log_scale, log_q: log_q.to_f64() });
                log_scale = log_scale + log_scale - log2(&removed);
            } else {
                table.push(LevelInfo { basis: here, log_scale, log_q: log_q.to_f64() });
            }
        }
        table.reverse();
        Ok(table)
    }

    /// Canonical bytes, little endian: what the digest is of and what the wire carries.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut word = |x: u64| out.extend_from_slice(&x.to_le_bytes());
        word(u64::from(self.log_n));
        word(u64::from(self.word.bits()));
        word(u64::from(self.log_scale));
        word(u64::from(self.security.bits()));
        word(self.digit_limbs as u64);
        word(self.main_primes.len() as u64);
        word(self.special_primes.len() as u64);
        word(self.levels.len() as u64);
        self.main_primes.iter().chain(&self.special_primes).for_each(|&q| word(q));
        for level in &self.levels {
            word(level.len() as u64);
            level.iter().for_each(|&i| word(u64::from(i)));
        }
        out
    }
}

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
    /// For each level, lowest first, the indexes of its main primes, ascending; each of more bits than the one below.
    pub levels: Vec<Vec<u32>>,
    /// Main primes a digit of key switching.
    pub digit_limbs: usize,
    /// log2 of the nominal scale: 10 to 100, and from 30 on when there is more than one level.
    pub log_scale: u32,
    /// Where the canonical scales start.
    pub scales: Scales,
    /// What is promised.
    pub security: Security,
}

/// At which level the canonical scale is the nominal one. That of the others follows: `S_{l-1} = S_l^2 Q_{l-1} / Q_l`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scales {
    /// At the highest level. A deviation doubles at every level downwards, so the primes must be chosen for it.
    FromTop,
    /// At level 0. A deviation halves at every level upwards, so the scale of a level is that of the step below it.
    FromBottom {
        /// The highest level whose scale is nominal; the levels above are bootstrapping's, of any scale.
        working: u32,
        /// log2 of the scale of level 0: the nominal one, or less, where bootstrapping wants a message smaller beside the modulus of
        /// level 0. The step to level 0 is larger by twice the difference.
        base: u32,
    },
}

/// How far a level's canonical scale may lie from the nominal one, in bits.
const MAX_SCALE_DRIFT: f64 = 0.15;

/// Least log2 of the scale of more than one level: the integer that a level drop multiplies by is about a scale, at least
/// 2^29.55, and its rounding, 2^-30.02 in log2, must stay below the 2^-30 within which scales count as equal.
const MIN_CHAIN_LOG_SCALE: u32 = 30;

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
            if basis.iter().any(|&i| i as usize >= n_main) {
                return refuse(format!("level {l} names a main prime beyond {}", n_main - 1));
            }
        }
        let held = |i: u32| self.levels.iter().any(|basis| basis.contains(&i));
        if let Some(unused) = (0..n_main as u32).find(|&i| !held(i)) {
            return refuse(format!("no level has main prime {unused}, expected that they use all {n_main}"));
        }
        if let Scales::FromBottom { working, base } = self.scales {
            if working as usize >= self.levels.len() {
                let top = self.levels.len() - 1;
                return refuse(format!("the scale is nominal up to level {working}, expected at most {top}"));
            }
            let (least, nominal) = (MIN_CHAIN_LOG_SCALE, self.log_scale);
            if base > nominal || (base < nominal && base < least) {
                return refuse(format!(
                    "log2 of the scale of level 0 is {base}, expected from {least} to the nominal {nominal}"
                ));
            }
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

    /// The level table with its canonical scales.
    pub(super) fn level_table(&self, log2: impl Fn(&[LimbIdx]) -> Double) -> Result<Vec<LevelInfo>> {
        let basis = |level: &Vec<u32>| level.iter().map(|&i| LimbIdx(i)).collect::<Vec<_>>();
        let bases: Vec<Vec<LimbIdx>> = self.levels.iter().map(basis).collect();
        let log_q: Vec<f64> = bases.iter().map(|basis| log2(basis).to_f64()).collect();
        for (l, pair) in log_q.windows(2).enumerate() {
            if pair[0] >= pair[1] {
                let above = l + 1;
                return Err(Error::InvalidParams(format!(
                    "level {l} has {:.2} bits and level {above} {:.2}: expected fewer below",
                    pair[0], pair[1]
                )));
            }
        }
        let scales = self.canonical_scales(&bases, log2);
        let mut table = Vec::with_capacity(bases.len());
        for (l, ((basis, log_q), log_scale)) in bases.into_iter().zip(log_q).zip(scales).enumerate() {
            let nominal = f64::from(self.log_scale);
            let checked = match self.scales {
                Scales::FromTop => true,
                Scales::FromBottom { working, base } => {
                    l <= working as usize && (l > 0 || base == self.log_scale)
                }
            };
            let drift = if checked { (log_scale.to_f64() - nominal).abs() } else { 0.0 };
            if drift > MAX_SCALE_DRIFT || log_q < log_scale.to_f64() + 1.0 {
                return Err(Error::InvalidParams(format!(
                    "canonical scale of level {l} is 2^{:.4} under a modulus of 2^{:.2}, expected within \
                     2^{MAX_SCALE_DRIFT} of 2^{nominal} and a bit of room",
                    log_scale.to_f64(),
                    log_q
                )));
            }
            table.push(LevelInfo { basis, log_scale, log_q });
        }
        Ok(table)
    }
    /// `S_{l-1} = S_l^2 Q_{l-1} / Q_l` from where [`Scales`] says, lowest level first.
    fn canonical_scales(&self, bases: &[Vec<LimbIdx>], log2: impl Fn(&[LimbIdx]) -> Double) -> Vec<Double> {
        // log2(Q_l / Q_{l-1}), of level 1 on.
        let steps: Vec<Double> = bases
            .windows(2)
            .map(|pair| log2(&without(&pair[1], &pair[0])) - log2(&without(&pair[0], &pair[1])))
            .collect();
        let start = match self.scales {
            Scales::FromTop => self.log_scale,
            Scales::FromBottom { base, .. } => base,
        };
        let mut log_scale = Double::from(f64::from(start));
        let mut scales = vec![log_scale];
        match self.scales {
            Scales::FromTop => {
                for &step in steps.iter().rev() {
                    log_scale = log_scale + log_scale - step;
                    scales.push(log_scale);
                }
                scales.reverse();
            }
            Scales::FromBottom { .. } => {
                for &step in &steps {
                    log_scale = (log_scale + step) * Double::from(0.5);
                    scales.push(log_scale);
                }
            }
        }
        scales
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
        // What was written before there was a choice has no such fields.
        if let Scales::FromBottom { working, base } = self.scales {
            word(u64::from(working));
            if base != self.log_scale {
                word(u64::from(base));
            }
        }
        out
    }
}

/// The limbs of `a` that `b` has not.
pub(super) fn without(a: &[LimbIdx], b: &[LimbIdx]) -> Vec<LimbIdx> {
    a.iter().copied().filter(|limb| !b.contains(limb)).collect()
}

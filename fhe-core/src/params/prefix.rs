//! Prefix chains: a level has the primes of the level below and one or two more, one in 64-bit words, a *pair* of half the bits in
//! 32-bit words.
//!
//! Levelled presets find their primes from the top ([`scale_primes`]). Those that bootstrap ([`PrefixChain`]) start at level 0, since
//! steps for bootstrapping above have sizes of their own:
//!
//! ```text
//! level 0         60 bits, scale 2^(2 s - 60)    q over a message is 2^(120 - 2 s): what the sine wants, 2^10 for s = 55
//! level 1         60 bits more, scale 2^s        S_1 = (S_0 + 60) / 2 in log2
//! to `working`    s bits each, scale 2^s
//! above           as bootstrapping wants them
//! ```
//!
//! `q_0` has to be large for precision and at most 60 bits for the ephemeral sparse secret ([`super::security::check_sparse`]); a message at
//! the scale of the other levels would leave it no room.

use super::{ParamsLiteral, Scales, Security};
use crate::math::primes;
use crate::math::word::WordKind;
use std::collections::BTreeMap;

/// More primes than are needed are looked at, so that there is a choice.
const POOL_EXTRA: usize = 16;

/// What a prefix chain for bootstrapping is searched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixChain {
    /// log2 of the ring degree.
    pub log_n: u32,
    /// Pairs of primes a level in 32-bit words, single primes in 64-bit words.
    pub word: WordKind,
    /// log2 of the nominal scale, at most 58.
    pub log_scale: u32,
    /// The highest level of the nominal scale.
    pub working: u32,
    /// Bits of the steps above, lowest first.
    pub boot_steps: Vec<u32>,
    /// Special primes: the largest of all.
    pub n_special: usize,
    /// Main primes a digit.
    pub digit_limbs: usize,
    /// What is promised.
    pub security: Security,
}

impl PrefixChain {
    /// Bits of level 0 and of the step above it: as many as primes have.
    const BASE_BITS: u32 = 60;

    /// The literal. Deterministic.
    pub fn literal(&self) -> ParamsLiteral {
        let (log_two_n, per_level) = (self.log_n + 1, per_level(self.word));
        let mut large = primes::descending(self.word.max_prime_bits(), log_two_n);
        let special_primes: Vec<u64> = large.by_ref().take(self.n_special).collect();
        let base = (2 * self.log_scale).saturating_sub(Self::BASE_BITS);
        // Steps of other sizes come from a pool each, of primes near so many bits.
        let working_steps = (self.working as usize).saturating_sub(1);
        let mut pools: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for &bits in &self.boot_steps {
            pools.entry(bits).or_default();
        }
        pools.entry(self.log_scale).or_default();
        for (&bits, pool) in &mut pools {
            let same = self.boot_steps.iter().filter(|&&other| other == bits).count();
            let steps = same + if bits == self.log_scale { working_steps } else { 0 };
            let size = (f64::from(bits) / per_level as f64).exp2() as u64;
            *pool = primes::around(size, log_two_n, steps * per_level + POOL_EXTRA);
        }
        let mut step = |bits: u32, target: f64| {
            if bits == Self::BASE_BITS {
                return large.by_ref().take(per_level).collect::<Vec<u64>>();
            }
            pools.get_mut(&bits).map_or_else(Vec::new, |pool| take_nearest(pool, per_level, target))
        };
        let nominal = f64::from(self.log_scale);
        let mut main_primes = step(Self::BASE_BITS, 0.0);
        let mut log_scale = f64::from(base);
        for level in 1..=self.working {
            let bits = if level == 1 { Self::BASE_BITS } else { self.log_scale };
            let mut primes = step(bits, 2.0 * nominal - log_scale);
            log_scale = (log_scale + log2(&primes)) / 2.0;
            main_primes.append(&mut primes);
        }
        for &bits in &self.boot_steps {
            main_primes.append(&mut step(bits, f64::from(bits)));
        }
        let n_levels = 1 + self.working as usize + self.boot_steps.len();
        ParamsLiteral {
            log_n: self.log_n,
            word: self.word,
            main_primes,
            special_primes,
            levels: prefixes(n_levels, per_level),
            digit_limbs: self.digit_limbs,
            log_scale: self.log_scale,
            scales: Scales::FromBottom { working: self.working, base },
            security: self.security,
        }
    }
}

/// Primes that a level has more than the one below.
pub(super) fn per_level(word: WordKind) -> usize {
    if word == WordKind::U32 { 2 } else { 1 }
}

/// Levels of `per_level` primes more each.
pub(super) fn prefixes(n_levels: usize, per_level: usize) -> Vec<Vec<u32>> {
    (1..=n_levels).map(|l| (0..(l * per_level) as u32).collect()).collect()
}

fn log2(primes: &[u64]) -> f64 {
    primes.iter().map(|&q| (q as f64).log2()).sum()
}

/// Takes from `pool` the one or two primes whose product is nearest to `2^target`; of equals, the first.
fn take_nearest(pool: &mut Vec<u64>, per_level: usize, target: f64) -> Vec<u64> {
    let mut best = (f64::INFINITY, Vec::new());
    for (i, &p) in pool.iter().enumerate() {
        let others = if per_level == 1 { 0..0 } else { i + 1..pool.len() };
        let pairs = others.rev().map(|j| vec![p, pool[j]]);
        let single = (per_level == 1).then(|| vec![p]);
        for chosen in pairs.chain(single) {
            let away = (log2(&chosen) - target).abs();
            if away < best.0 {
                best = (away, chosen);
            }
        }
    }
    pool.retain(|q| !best.1.contains(q));
    best.1
}

/// The primes of `depth` levels of `per_level` primes each, one or two, lowest level first. From the top down, each level
/// takes the unused primes whose product is nearest to `S_l^2 / 2^log_scale`, which brings `S_{l-1}` back to
/// the nominal scale.
pub fn scale_primes(log_scale: u32, log_two_n: u32, depth: usize, per_level: usize) -> Vec<u64> {
    let mut pool = primes::nearest(log_scale / per_level as u32, log_two_n, depth * per_level + POOL_EXTRA);
    let nominal = f64::from(log_scale);
    let mut log_scale = nominal;
    let mut chosen = Vec::with_capacity(depth * per_level);
    for _ in 0..depth {
        let mut level = take_nearest(&mut pool, per_level, 2.0 * log_scale - nominal);
        log_scale = 2.0 * log_scale - log2(&level);
        chosen.append(&mut level);
    }
    chosen.reverse();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{Level, Params};

    fn chain(log_n: u32, word: WordKind, log_scale: u32) -> PrefixChain {
        let digit_limbs = if word == WordKind::U32 { 8 } else { 4 };
        PrefixChain {
            log_n,
            word,
            log_scale,
            working: 6,
            boot_steps: vec![60, 58, 60, 58],
            n_special: digit_limbs,
            digit_limbs,
            security: Security::Insecure,
        }
    }

    #[test]
    fn scales_start_low_and_are_nominal_from_level_1_on() {
        for (log_n, word, log_scale) in [
            (11, WordKind::U32, 55),
            (16, WordKind::U32, 55),
            (13, WordKind::U32, 57),
            (12, WordKind::U64, 50),
            (16, WordKind::U64, 55),
        ] {
            let chain = chain(log_n, word, log_scale);
            assert_eq!(chain.literal(), chain.literal());
            let params = Params::new(chain.literal()).unwrap();
            assert_eq!((params.max_level(), params.working_level()), (Level(10), Level(6)));
            assert!(!params.is_rational());
            let scale = |l: u32| params.level(Level(l)).unwrap().log_scale.to_f64();
            let log_q = |l: u32| params.level(Level(l)).unwrap().log_q;
            assert_eq!(scale(0), f64::from(2 * log_scale - 60));
            for l in 1..=6 {
                assert!((scale(l) - f64::from(log_scale)).abs() < 0.05, "{params} level {l}: {}", scale(l));
            }
            assert!((log_q(0) - 60.0).abs() < 0.1 && log_q(0) < 60.0);
            for (l, bits) in (7..).zip([60.0, 58.0, 60.0, 58.0]) {
                let step = log_q(l) - log_q(l - 1);
                assert!((step - bits).abs() < 0.12, "{params} level {l}: {step}");
            }
        }
    }

    /// The choice as a search over everything, once more.
    #[test]
    fn the_nearest_product_is_taken() {
        let pool = primes::nearest(27, 14, 12);
        for target in [53.9, 54.0, 54.003] {
            let mut left = pool.clone();
            let taken = take_nearest(&mut left, 2, target);
            assert_eq!((taken.len(), left.len()), (2, 10));
            let away = (log2(&taken) - target).abs();
            for p in &pool {
                for q in pool.iter().filter(|q| *q != p) {
                    assert!((log2(&[*p, *q]) - target).abs() >= away);
                }
            }
        }
    }
}

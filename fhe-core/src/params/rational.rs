//! Rational chains (arXiv 2407.13055): many main primes just below 2^30 and a few terminal primes of about 25 bits, so that scales between
//! the sizes of primes are met in 32-bit words.
//!
//! Level `l` of a uniform part holds the first `m` main primes and a set of terminal primes, those for which `Q_l` is nearest to
//! a line: `log Q_l = log Q_0 + l s`. What is removed and added between neighbours follows. With 40 bits and four terminal primes:
//!
//! ```text
//! main, terminal   (23, 0)   (20, 2)   (17, 4)   (19, 0)   ...   (3, 0)   (0, 2)
//! log Q            690       650       610       570             90       50
//! ```
//!
//! `S_l` follows from 2^scale at level 0 (`Scales::FromBottom`): a deviation of `log Q_l - log Q_(l-1)` from the scale halves at every
//! level upwards, so canonical scales stay as near to the nominal one as the steps. Main primes are a little below 2^30, all sizes
//! shrink with their mean: a step of 40 bits has about 39.92.
//!
//! Above the uniform part a chain for bootstrapping has steps of its own, given as numbers of main and terminal primes.

use super::{ParamsLiteral, Scales, Security};
use crate::math::primes;
use crate::math::word::WordKind;

/// Bits of a main prime, and of a terminal prime, before both shrink with the mean of the main primes.
const MAIN_BITS: u32 = 30;
const TERMINAL_BITS: f64 = 25.0;
/// More would make the search slow.
const MAX_TERMINAL: usize = 6;
/// The base may be so many steps higher than the room asks, if there are no primes for a lower one.
const MAX_STEPS_LESS: usize = 2;
/// Terminal primes are chosen among so many, the nearest to their size.
const TERMINAL_POOL: usize = 12;
/// Level 0 has at least so many bits more than the scale: room for a message, or for what bootstrapping wants of `q / scale`.
const BASE_ROOM: f64 = 8.0;
/// How far a level may be from the line, in bits. Neighbours off in opposite directions make a step off by twice that, and the mean of
/// the main primes takes 0.08 at log N 16; what comes of it for the scale is checked with the level table.
const MAX_AWAY: f64 = 0.045;

/// What a rational chain is searched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RationalChain {
    /// log2 of the ring degree.
    pub log_n: u32,
    /// log2 of the nominal scale: 30, 35, 40 or 45.
    pub log_scale: u32,
    /// Main primes just below 2^30.
    pub n_main: usize,
    /// Terminal primes: at least 0, 5, 4, 3 for the scales above.
    pub n_terminal: usize,
    /// Special primes: the largest of all.
    pub n_special: usize,
    /// Main primes a digit.
    pub digit_limbs: usize,
    /// Steps above the uniform part, lowest first: main primes and terminal primes that a level has more than the one below.
    pub boot_steps: Vec<(usize, usize)>,
    /// What is promised.
    pub security: Security,
}

fn log2(q: u64) -> f64 {
    (q as f64).log2()
}

/// A level: so many main primes, and a set of terminal primes as a mask.
type Counts = (usize, usize);

impl RationalChain {
    /// The literal: as many uniform levels as the primes allow below the boot steps. Deterministic. Where no choice meets the
    /// scale it is the nearest, which [`super::Params::new`] refuses.
    pub fn literal(&self) -> ParamsLiteral {
        let log_two_n = self.log_n + 1;
        let mut large = primes::descending(MAIN_BITS, log_two_n);
        let special_primes: Vec<u64> = large.by_ref().take(self.n_special).collect();
        let mains: Vec<u64> = large.take(self.n_main).collect();
        let mean = mains.iter().map(|&q| log2(q)).sum::<f64>() / mains.len().max(1) as f64;
        let mains = level_out(mains, mean);
        let sums: Vec<f64> = prefix_sums(&mains);
        let top = mains.len().saturating_sub(self.boot_steps.iter().map(|step| step.0).sum());
        let shrink = mean / f64::from(MAIN_BITS);
        let target = (TERMINAL_BITS * shrink).exp2() as u64;
        let n_terminal = self.n_terminal.min(MAX_TERMINAL);
        let pool = primes::around(target, log_two_n, if n_terminal == 0 { 0 } else { TERMINAL_POOL });
        let mut best = (Uniform { away: f64::INFINITY, levels: vec![(top, 0)] }, Vec::new());
        for terminals in subsets(&pool, n_terminal) {
            let found = self.uniform_levels(&sums[..=top], &terminals, shrink);
            if found.is_better_than(&best.0) {
                best = (found, terminals);
            }
        }
        let (Uniform { mut levels, .. }, terminals) = best;
        let working = levels.len() as u32 - 1;
        for &(m, t) in &self.boot_steps {
            let (mains, mask) = levels[levels.len() - 1];
            let more =
                (0..n_terminal).filter(|i| mask >> i & 1 == 0).take(t).fold(mask, |mask, i| mask | 1 << i);
            levels.push((mains + m, more));
        }
        // The terminal primes that most levels have are in the first digits, which these levels have anyway.
        let uses = |i: usize| levels.iter().filter(|(_, mask)| mask >> i & 1 == 1).count();
        let mut by_use: Vec<usize> = (0..n_terminal).collect();
        by_use.sort_by_key(|&i| core::cmp::Reverse(uses(i)));
        let places = self.places(mains.len(), n_terminal);
        let place = |is_terminal: bool, i: usize| {
            places.iter().position(|&p| p == (is_terminal, i)).unwrap_or(0) as u32
        };
        let indexes = |&(m, mask): &Counts| -> Vec<u32> {
            let used =
                (0..n_terminal).filter(|&rank| mask >> by_use[rank] & 1 == 1).map(|rank| place(true, rank));
            let mut indexes: Vec<u32> = (0..m).map(|i| place(false, i)).chain(used).collect();
            indexes.sort_unstable();
            indexes
        };
        let prime =
            |&(is_terminal, i): &(bool, usize)| if is_terminal { terminals[by_use[i]] } else { mains[i] };
        ParamsLiteral {
            log_n: self.log_n,
            word: WordKind::U32,
            main_primes: places.iter().map(prime).collect(),
            special_primes,
            levels: levels.iter().map(indexes).collect(),
            digit_limbs: self.digit_limbs,
            log_scale: self.log_scale,
            scales: Scales::FromBottom { working, base: self.log_scale },
            security: self.security,
        }
    }

    /// The order of all primes: whether terminal, and which of its kind. Digits share the terminal primes evenly, at their ends, so that P is larger
    /// than their products by the difference of a main and a terminal prime, and the noise of a key switch is that much less.
    fn places(&self, n_main: usize, n_terminal: usize) -> Vec<(bool, usize)> {
        let digit_limbs = self.digit_limbs.max(1);
        let n_digits = (n_main + n_terminal).div_ceil(digit_limbs);
        let (mut mains, mut terminals) = (0..n_main, 0..n_terminal);
        let mut places = Vec::with_capacity(n_main + n_terminal);
        for j in 0..n_digits {
            let own = n_terminal / n_digits + usize::from(j < n_terminal % n_digits);
            places.extend(mains.by_ref().take(digit_limbs.saturating_sub(own)).map(|i| (false, i)));
            places.extend(terminals.by_ref().take(own).map(|i| (true, i)));
        }
        places
    }

    /// The levels up to all the main primes of `sums` and no terminal prime.
    fn uniform_levels(&self, sums: &[f64], terminals: &[u64], shrink: f64) -> Uniform {
        let step = f64::from(self.log_scale) * shrink;
        let of_mask = |mask: usize| -> f64 {
            let set = terminals.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1);
            set.map(|(_, &q)| log2(q)).sum()
        };
        let masks: Vec<f64> = (0..1usize << terminals.len()).map(of_mask).collect();
        let highest = sums.last().copied().unwrap_or(0.0);
        // From the top, which must have every main prime, down to the lowest base that there are primes for.
        let most_steps = ((highest - step - BASE_ROOM) / step).max(0.0) as usize;
        let mut best = Uniform { away: f64::INFINITY, levels: vec![(sums.len() - 1, 0)] };
        for n_steps in most_steps.saturating_sub(MAX_STEPS_LESS)..=most_steps {
            let line = |l: usize| highest - (n_steps - l) as f64 * step;
            let found: Vec<(f64, Counts)> = (0..=n_steps).map(|l| nearest(sums, &masks, line(l))).collect();
            let away = found.iter().fold(0f64, |worst, (away, _)| worst.max(*away));
            let found = Uniform { away, levels: found.into_iter().map(|(_, counts)| counts).collect() };
            if found.is_better_than(&best) {
                best = found;
            }
        }
        best
    }
}

/// Uniform levels, lowest first, and how far the worst of them is from the line.
struct Uniform {
    away: f64,
    levels: Vec<Counts>,
}

impl Uniform {
    /// What is near enough is better the more levels it has; what is not, the nearer it is.
    fn is_better_than(&self, other: &Self) -> bool {
        match (self.away < MAX_AWAY, other.away < MAX_AWAY) {
            (true, true) if self.levels.len() != other.levels.len() => self.levels.len() > other.levels.len(),
            (true, false) => true,
            (false, true) => false,
            _ => self.away < other.away,
        }
    }
}

/// The number of main primes and the set of terminal primes nearest to `line`; of equals, the first.
fn nearest(sums: &[f64], masks: &[f64], line: f64) -> (f64, Counts) {
    let mut best = (f64::INFINITY, (0, 0));
    for (mask, &terminals) in masks.iter().enumerate() {
        let above = sums.partition_point(|&sum| sum + terminals < line);
        for m in [above.saturating_sub(1), above.min(sums.len() - 1)] {
            let away = (sums[m] + terminals - line).abs();
            if away < best.0 - 1e-9 {
                best = (away, (m, mask));
            }
        }
    }
    best
}

/// The primes in an order in which every prefix is nearest to as many times their mean.
fn level_out(mut primes: Vec<u64>, mean: f64) -> Vec<u64> {
    let mut ordered = Vec::with_capacity(primes.len());
    let mut away = 0.0;
    while !primes.is_empty() {
        let cost = |q: u64| (away + log2(q) - mean).abs();
        let best = (0..primes.len()).fold(0, |b, i| if cost(primes[i]) < cost(primes[b]) { i } else { b });
        let q = primes.remove(best);
        away += log2(q) - mean;
        ordered.push(q);
    }
    ordered
}

/// `0, x_0, x_0 + x_1, ..` of log2.
fn prefix_sums(primes: &[u64]) -> Vec<f64> {
    let mut sums = vec![0.0];
    let mut sum = 0.0;
    for &q in primes {
        sum += log2(q);
        sums.push(sum);
    }
    sums
}

/// The subsets of `count` members, each in the order of `pool`.
fn subsets(pool: &[u64], count: usize) -> Vec<Vec<u64>> {
    let members = |mask: usize| pool.iter().enumerate().filter(move |(i, _)| mask >> i & 1 == 1);
    let masks = (0usize..1 << pool.len()).filter(|mask| mask.count_ones() as usize == count);
    masks.map(|mask| members(mask).map(|(_, &q)| q).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::params::{Level, Params};

    fn chain(log_n: u32, log_scale: u32, n_main: usize, n_terminal: usize) -> RationalChain {
        let (n_special, digit_limbs) = (6, 6);
        let security = Security::Insecure;
        RationalChain {
            log_n,
            log_scale,
            n_main,
            n_terminal,
            n_special,
            digit_limbs,
            boot_steps: Vec::new(),
            security,
        }
    }

    #[test]
    fn scales_stay_near_the_nominal_one_at_every_degree() {
        for log_n in [10, 13, 16] {
            for (log_scale, n_terminal) in [(30, 0), (35, 5), (40, 4), (45, 3)] {
                let literal = chain(log_n, log_scale, 43, n_terminal).literal();
                assert_eq!(literal, chain(log_n, log_scale, 43, n_terminal).literal());
                let params = Params::new(literal).unwrap();
                let n_levels = (43 * 30 - 105) / log_scale;
                assert!(params.max_level().0 + 1 >= n_levels, "{log_scale}: {params}");
                assert_eq!(params.is_rational(), log_scale != 30);
                for l in 0..=params.max_level().0 {
                    let info = params.level(Level(l)).unwrap();
                    let drift = info.log_scale.to_f64() - f64::from(log_scale);
                    assert!(drift.abs() < 0.15, "{params} level {l}: {drift}");
                    assert!(l > 0 || info.log_q > f64::from(log_scale) + 7.5);
                }
            }
        }
    }

    #[test]
    fn too_few_terminal_primes_are_refused() {
        for (log_scale, n_terminal) in [(35, 4), (40, 1), (45, 1)] {
            let refused = Params::new(chain(13, log_scale, 43, n_terminal).literal());
            assert!(matches!(refused, Err(Error::InvalidParams(_))), "{log_scale}");
        }
        let mut steep = chain(13, 40, 43, 4);
        steep.boot_steps = vec![(44, 0)];
        assert!(matches!(Params::new(steep.literal()), Err(Error::InvalidParams(_))));
    }

    #[test]
    fn digits_share_the_terminal_primes() {
        let mut twelve = chain(13, 40, 43, 4);
        (twelve.n_special, twelve.digit_limbs) = (12, 12);
        let params = Params::new(twelve.literal()).unwrap();
        let log2 = |digit: &Vec<crate::params::LimbIdx>| -> f64 {
            digit.iter().map(|&limb| (params.prime(limb) as f64).log2()).sum()
        };
        let spare: Vec<f64> = params.digits().iter().map(|digit| params.log_p() - log2(digit)).collect();
        assert_eq!(spare.len(), 4);
        assert!(spare.iter().all(|&bits| bits > 4.9), "{spare:?}");
    }

    #[test]
    fn any_two_steps_of_a_chain_are_alike() {
        let params = Params::new(chain(13, 40, 43, 4).literal()).unwrap();
        let shape = |l: u32| {
            let limbs = &params.level(Level(l)).unwrap().basis;
            let terminal = limbs.iter().filter(|&&limb| params.prime(limb) < 1 << 26).count();
            (limbs.len() - terminal, terminal)
        };
        let top = params.max_level().0;
        let shapes: Vec<_> = (0..4).map(|l| shape(top - l)).collect();
        assert_eq!(shapes, [(43, 0), (40, 2), (37, 4), (39, 0)]);
        assert_eq!(params.removed_at(Level(top - 2)).unwrap().len(), 4);
        assert_eq!(params.added_at(Level(top - 2)).unwrap().len(), 2);
    }
}

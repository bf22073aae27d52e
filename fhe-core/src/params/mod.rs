//! Parameters: a literal that anyone may write, checked once into an immutable [`Params`].
//!
//! A level is a basis, not a count: the level table names, for each level, the primes that are present and
//! the canonical scale `S_l` there. With `removed` the primes that level `l` has and level `l - 1` has not, and `added`
//! those that level `l - 1` has and level `l` has not (none on a prefix chain),
//!
//! ```text
//! S_{l-1} = S_l^2 prod(added) / prod(removed)
//! ```
//!
//! so a product of two values at their canonical scale is, after one rescale, at the canonical scale of the
//! next level: scales never drift and are never approximated.

mod ids;
pub mod literal;
mod prefix;
mod presets;
mod rational;
pub mod security;

pub use ids::{GaloisElement, Level, LimbIdx};
use literal::without;
pub use literal::{ParamsLiteral, Scales};
pub use prefix::{PrefixChain, scale_primes};
pub use presets::Preset;
pub use rational::RationalChain;
pub use security::Security;

use crate::error::{Error, Result};
use crate::math::double::Double;
use crate::math::primes;
use crate::math::word::WordKind;
use core::fmt;
use std::sync::Arc;

/// A row of the level table.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelInfo {
    /// The main primes that are present, ascending.
    pub basis: Vec<LimbIdx>,
    /// log2 of the canonical scale.
    pub log_scale: Double,
    /// log2 of the product of the basis.
    pub log_q: f64,
}

#[derive(Debug)]
struct Inner {
    literal: ParamsLiteral,
    primes: Vec<u64>,
    roots: Vec<u64>,
    levels: Vec<LevelInfo>,
    digits: Vec<Vec<LimbIdx>>,
    log_p: f64,
    log_qp: f64,
    digest: [u8; 16],
}

/// Checked, immutable parameters. Cheap to clone; equal when their digests are.
#[derive(Clone)]
pub struct Params(Arc<Inner>);

impl Params {
    /// Checks a literal.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] says which rule is broken; [`Error::BeyondSecurityTable`] when the modulus is
    /// too large and the literal does not say [`Security::Insecure`].
    pub fn new(literal: ParamsLiteral) -> Result<Self> {
        literal.check_shape()?;
        let primes: Vec<u64> = literal.main_primes.iter().chain(&literal.special_primes).copied().collect();
        let log_two_n = literal.log_n + 1;
        let roots =
            primes.iter().map(|&q| primes::root_of_unity(q, log_two_n)).collect::<Result<Vec<_>>>()?;
        let log2 = |limbs: &[LimbIdx]| -> Double {
            limbs.iter().fold(Double::default(), |sum, l| sum + Double::log2_of(primes[l.idx()]))
        };
        let levels = literal.level_table(log2)?;
        let n_main = literal.main_primes.len();
        let limbs =
            |range: core::ops::Range<usize>| -> Vec<LimbIdx> { range.map(|i| LimbIdx(i as u32)).collect() };
        let special = limbs(n_main..primes.len());
        let log_p = log2(&special).to_f64();
        let digits: Vec<Vec<LimbIdx>> =
            limbs(0..n_main).chunks(literal.digit_limbs).map(<[LimbIdx]>::to_vec).collect();
        for (j, digit) in digits.iter().enumerate() {
            let log_digit = log2(digit).to_f64();
            if log_digit > log_p {
                return Err(Error::InvalidParams(format!(
                    "digit {j} has {log_digit:.2} bits, the special primes only {log_p:.2}: expected P at least \
                     every digit's product"
                )));
            }
        }
        let log_qp = log2(&limbs(0..primes.len())).to_f64();
        if literal.security == Security::Bits128 {
            security::check(literal.log_n, log_qp)?;
        }
        let hash = blake3::hash(&literal.encode());
        let mut digest = [0; 16];
        digest.copy_from_slice(&hash.as_bytes()[..16]);
        Ok(Self(Arc::new(Inner { literal, primes, roots, levels, digits, log_p, log_qp, digest })))
    }

    /// What they were made from.
    pub fn literal(&self) -> &ParamsLiteral {
        &self.0.literal
    }

    /// log2 of the ring degree.
    pub fn log_n(&self) -> u32 {
        self.0.literal.log_n
    }

    /// The ring degree N.
    pub fn n(&self) -> usize {
        1 << self.log_n()
    }

    /// Number of message slots, N / 2.
    pub fn n_slots(&self) -> usize {
        self.n() / 2
    }

    /// The word of a residue.
    pub fn word(&self) -> WordKind {
        self.0.literal.word
    }

    /// All primes by [`LimbIdx`]: main primes first, special primes after them.
    pub fn primes(&self) -> &[u64] {
        &self.0.primes
    }

    /// The prime of a limb.
    pub fn prime(&self, limb: LimbIdx) -> u64 {
        self.0.primes[limb.idx()]
    }

    /// The primitive 2N-th root of unity of a limb.
    pub fn root(&self, limb: LimbIdx) -> u64 {
        self.0.roots[limb.idx()]
    }

    /// Number of main primes.
    pub fn n_main(&self) -> usize {
        self.0.literal.main_primes.len()
    }

    /// The special primes' limbs.
    pub fn special(&self) -> Vec<LimbIdx> {
        (self.n_main()..self.0.primes.len()).map(|i| LimbIdx(i as u32)).collect()
    }

    /// The highest level.
    pub fn max_level(&self) -> Level {
        Level(self.0.levels.len() as u32 - 1)
    }

    /// A row of the level table.
    ///
    /// # Errors
    /// [`Error::NoSuchLevel`].
    pub fn level(&self, level: Level) -> Result<&LevelInfo> {
        let none = Error::NoSuchLevel { expected: self.max_level(), found: level };
        self.0.levels.get(level.0 as usize).ok_or(none)
    }

    /// The basis of a level and the special primes: where key switches compute.
    ///
    /// # Errors
    /// [`Error::NoSuchLevel`].
    pub fn raised_basis(&self, level: Level) -> Result<Vec<LimbIdx>> {
        let mut basis = self.level(level)?.basis.clone();
        basis.extend(self.special());
        Ok(basis)
    }

    /// The primes that a rescale from `level` divides by, ascending.
    ///
    /// # Errors
    /// [`Error::NoSuchLevel`]; [`Error::LevelsExhausted`] at level 0.
    pub fn removed_at(&self, level: Level) -> Result<Vec<LimbIdx>> {
        let (here, next) = self.step_at(level)?;
        Ok(without(&here.basis, &next.basis))
    }

    /// The primes by whose product a rescale from `level` multiplies first, ascending: the level below has them, `level` not.
    /// None on a prefix chain.
    ///
    /// # Errors
    /// As [`Self::removed_at`].
    pub fn added_at(&self, level: Level) -> Result<Vec<LimbIdx>> {
        let (here, next) = self.step_at(level)?;
        Ok(without(&next.basis, &here.basis))
    }

    fn step_at(&self, level: Level) -> Result<(&LevelInfo, &LevelInfo)> {
        let here = self.level(level)?;
        let Some(next) = level.0.checked_sub(1) else {
            return Err(Error::LevelsExhausted { operation: "rescale" });
        };
        Ok((here, self.level(Level(next))?))
    }

    /// Whether some level has a prime that the level above lacks, so that a rescale there adds it.
    pub fn is_rational(&self) -> bool {
        let has = |pair: &[LevelInfo]| !without(&pair[0].basis, &pair[1].basis).is_empty();
        self.0.levels.windows(2).any(has)
    }

    /// The highest level with a nominal scale; the levels above are bootstrapping's.
    pub fn working_level(&self) -> Level {
        match self.0.literal.scales {
            Scales::FromTop => self.max_level(),
            Scales::FromBottom { working, .. } => Level(working),
        }
    }

    /// The limbs of level `from` that a level drop to `to` keeps before its last rescale: with `C` this basis, it
    /// multiplies by `prod(B_to \ C)`, and divides by `prod(C \ B_to)`.
    ///
    /// That of level `to + 1` if `from` has it all, else those of `to` and as few others, the smallest (terminal) primes first,
    /// as make the constant factor a scale or so. `None` when there is nothing to drop.
    ///
    /// # Errors
    /// [`Error::LevelMismatch`] when `to` is above `from`; [`Error::NoSuchLevel`].
    pub fn level_drop_basis(&self, from: Level, to: Level) -> Result<Option<Vec<LimbIdx>>> {
        let (source, target) = (self.level(from)?, self.level(to)?);
        if to > from {
            return Err(Error::LevelMismatch { operation: "level_drop", expected: from, found: to });
        }
        if to == from {
            return Ok(None);
        }
        let above = &self.level(Level(to.0 + 1))?.basis;
        if without(above, &source.basis).is_empty() {
            return Ok(Some(above.clone()));
        }
        let mut others = without(&source.basis, &target.basis);
        others.sort_by_key(|&limb| core::cmp::Reverse(self.prime(limb)));
        let mut kept: Vec<LimbIdx> =
            source.basis.iter().copied().filter(|l| target.basis.contains(l)).collect();
        let log2 = |limb: LimbIdx| (self.prime(limb) as f64).log2();
        let added: f64 = without(&target.basis, &source.basis).into_iter().map(log2).sum();
        let mut log_factor = target.log_scale.to_f64() - source.log_scale.to_f64() - added;
        while log_factor < f64::from(self.0.literal.log_scale) - 1.0
            && let Some(limb) = others.pop()
        {
            kept.push(limb);
            log_factor += log2(limb);
        }
        kept.sort_unstable();
        Ok(Some(kept))
    }

    /// The digits of key switching: a fixed partition of the main primes.
    pub fn digits(&self) -> &[Vec<LimbIdx>] {
        &self.0.digits
    }

    /// The digits that a level has, each with its index and the limbs of it that are present.
    ///
    /// # Errors
    /// [`Error::NoSuchLevel`].
    pub fn digits_at(&self, level: Level) -> Result<Vec<(usize, Vec<LimbIdx>)>> {
        let basis = &self.level(level)?.basis;
        let present =
            |digit: &Vec<LimbIdx>| digit.iter().copied().filter(|l| basis.contains(l)).collect::<Vec<_>>();
        Ok(self.digits().iter().map(present).enumerate().filter(|(_, limbs)| !limbs.is_empty()).collect())
    }

    /// log2 of the product of the special primes.
    pub fn log_p(&self) -> f64 {
        self.0.log_p
    }

    /// log2 of the whole modulus: what security is about.
    pub fn log_qp(&self) -> f64 {
        self.0.log_qp
    }

    /// What is promised.
    pub fn security(&self) -> Security {
        self.0.literal.security
    }

    /// The digest that every object made under these parameters carries.
    pub fn digest(&self) -> [u8; 16] {
        self.0.digest
    }

    /// The Galois element of a rotation to the left by `k` slots: `5^k mod 2N`.
    ///
    /// # Errors
    /// [`Error::RotationOutOfRange`] unless `-N/2 < k < N/2`.
    pub fn galois_element(&self, k: i64) -> Result<GaloisElement> {
        let n_slots = self.n_slots();
        if k.unsigned_abs() >= n_slots as u64 {
            return Err(Error::RotationOutOfRange { n_slots, found: k });
        }
        let two_n = 2 * self.n() as u64;
        let (mut g, mut base, mut e) = (1u64, 5u64, k.rem_euclid(n_slots as i64) as u64);
        while e > 0 {
            if e & 1 == 1 {
                g = g * base % two_n;
            }
            base = base * base % two_n;
            e >>= 1;
        }
        Ok(GaloisElement(g as u32))
    }

    /// The Galois element of complex conjugation: `2N - 1`.
    pub fn galois_conjugate(&self) -> GaloisElement {
        GaloisElement(2 * self.n() as u32 - 1)
    }

    /// A Galois element in words: the rotation, or `conjugation`, for messages.
    pub fn describe_galois(&self, element: GaloisElement) -> String {
        if element == self.galois_conjugate() {
            return "conjugation".to_owned();
        }
        let two_n = 2 * self.n() as u64;
        let mut g = 1u64;
        for k in 0..self.n_slots() {
            if g == u64::from(element.0) {
                return k.to_string();
            }
            g = g * 5 % two_n;
        }
        "none".to_owned()
    }

    /// Refuses what is no automorphism of the ring.
    ///
    /// # Errors
    /// [`Error::NotGalois`].
    pub fn check_galois(&self, g: GaloisElement) -> Result<()> {
        let two_n = 2 * self.n() as u64;
        if g.0.is_multiple_of(2) || u64::from(g.0) >= two_n {
            return Err(Error::NotGalois { two_n, found: u64::from(g.0) });
        }
        Ok(())
    }

    /// Refuses an object made under other parameters.
    ///
    /// # Errors
    /// [`Error::ParamsMismatch`].
    pub fn check_digest(&self, found: [u8; 16]) -> Result<()> {
        if found == self.digest() {
            return Ok(());
        }
        Err(Error::ParamsMismatch { expected: hex(&self.digest()), found: hex(&found) })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl PartialEq for Params {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Eq for Params {}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let security = match self.security() {
            Security::Bits128 => "128-bit security",
            Security::Insecure => "INSECURE",
        };
        let (max, working) = (self.max_level().0, self.working_level().0);
        let levels = if working < max { format!("{working} + {}", max - working) } else { max.to_string() };
        write!(
            f,
            "log N {}, log QP {:.1}, {} levels of {} bits, {} + {} primes of {} bits a word, {} digits, {}",
            self.log_n(),
            self.log_qp(),
            levels,
            self.0.literal.log_scale,
            self.n_main(),
            self.0.literal.special_primes.len(),
            self.word().bits(),
            self.digits().len(),
            security
        )
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Params({self})")
    }
}

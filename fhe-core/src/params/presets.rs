//! Named parameters. Each is found by a deterministic search, so the doc says shapes, not primes.
//!
//! In 32-bit words a level is a *pair* of primes near 2^(scale/2), chosen so that the canonical scale of the
//! next level is as near as possible to the nominal one; in 64-bit words it is one prime. `boot16` has a rational chain.

use super::prefix::{per_level, prefixes};
use super::{Params, ParamsLiteral, PrefixChain, RationalChain, Scales, Security, scale_primes};
use crate::error::{Error, Result};
use crate::math::primes;
use crate::math::word::WordKind;
use core::fmt;
use core::str::FromStr;

/// A named set of parameters. The toy ones are [`Security::Insecure`].
///
/// | name | log N | word | levels | scale | log QP | digits | security | encrypt | product | last level |
/// |---|---|---|---|---|---|---|---|---|---|---|
/// | `n13` | 13 | u32 | 2 | 2^46 | 206 | 3 | 128 | 31.7 | 30.7 | 29.7 |
/// | `n14` | 14 | u32 | 5 | 2^50 | 430 | 3 | 128 | 34.7 | 33.7 | 29.7 |
/// | `n15` | 15 | u32 | 11 | 2^50 | 850 | 3 | 128 | 33.7 | 32.7 | 22.7 |
/// | `n16` | 16 | u32 | 22 | 2^54 | 1608 | 4 | 128 | 36.7 | 35.7 | 14.7 |
/// | `n13w` | 13 | u64 | 2 | 2^46 | 206 | 3 | 128 | 31.7 | 30.7 | 29.7 |
/// | `n14w` | 14 | u64 | 5 | 2^50 | 430 | 3 | 128 | 34.7 | 33.7 | 29.7 |
/// | `n15w` | 15 | u64 | 11 | 2^50 | 850 | 3 | 128 | 33.7 | 32.7 | 22.7 |
/// | `toy10`, `toy11`, `toy12` | 10..12 | u32 | 5 | 2^50 | 430 | 3 | none | | | |
/// | `toy10w` | 10 | u64 | 5 | 2^50 | 430 | 3 | none | | | |
/// | `boot16` | 16 | u32 | 16 + 12 | 2^40 | 1747 | 4 | 128 | 22.7 | 21.7 | 6.6 |
/// | `boot16p` | 16 | u32 | 11 + 12 | 2^55 | 1743 | 4 | 128 | 37.7 | 36.7 | 26.7 |
/// | `boot16w` | 16 | u64 | 11 + 12 | 2^55 | 1744 | 4 | 128 | 37.7 | 36.7 | 26.7 |
/// | `toy13` | 13 | u32 | 16 + 12 | 2^40 | 1750 | 4 | none | 25.7 | 24.7 | 9.7 |
/// | `toy12r` | 12 | u32 | 16 + 12 | 2^40 | 1750 | 4 | none | 26.7 | 25.7 | 10.7 |
/// | `toy12p` | 12 | u32 | 11 + 12 | 2^55 | 1744 | 4 | none | 41.7 | 40.7 | 30.7 |
/// | `toy12w` | 12 | u64 | 11 + 12 | 2^55 | 1744 | 4 | none | 41.7 | 40.7 | 30.7 |
///
/// The last three columns are the mean of `-log2 |error|` over full complex slots of modulus 1: after public-key encryption (6 to
/// 8 bits more under the secret key), after one square, and after a chain of squares through every level (every working one), each
/// of which doubles the error of its operand.
///
/// The last seven bootstrap. A rational chain (`boot16`) has 43 main, 4 terminal and 12 special primes; 16 levels of 40 bits, above them 8 of 60 for
/// `eval_mod` and 4 of 55 for `coeffs_to_slots`, and returns level 13. A prefix chain (`boot16p` of pairs, `boot16w` of single primes) has 48 or 24 main
/// and 12 or 6 special primes; a level 0 of 60 bits at scale 2^50 ([`super::PrefixChain`]), 11 levels of 55, 8 of 60 and 4 of 58 and 60, and returns
/// level 8. After bootstrapping full complex slots that fill the square from -1 to 1, `-log2` of the modulus of the error:
///
/// | name | round | min | mean | median | max | std |
/// |---|---|---|---|---|---|---|
/// | `boot16` | 1 | 20.1 | 22.3 | 22.1 | 29.7 | 0.9 |
/// | `boot16` | 2 | 19.8 | 21.8 | 21.6 | 29.6 | 0.9 |
/// | `boot16p` | 1 | 20.3 | 22.3 | 22.1 | 29.5 | 0.9 |
/// | `boot16p` | 2 | 19.7 | 21.8 | 21.6 | 29.0 | 0.9 |
/// | `boot16w` | 1 | 20.2 | 22.4 | 22.2 | 30.3 | 0.9 |
/// | `boot16w` | 2 | 19.7 | 21.9 | 21.7 | 28.7 | 0.9 |
/// | `toy13` | 1 | 24.8 | 26.7 | 26.6 | 32.2 | 0.9 |
/// | `toy13` | 3 | 23.2 | 25.9 | 25.8 | 32.2 | 0.9 |
/// | `toy12r` | 1 | 26.0 | 27.9 | 27.7 | 32.6 | 0.9 |
/// | `toy12r` | 3 | 24.6 | 26.6 | 26.5 | 32.0 | 0.9 |
/// | `toy12p` | 1 | 26.1 | 27.9 | 27.7 | 32.6 | 0.9 |
/// | `toy12p` | 3 | 24.9 | 26.7 | 26.5 | 33.0 | 0.9 |
/// | `toy12w` | 1 | 26.0 | 27.9 | 27.8 | 34.0 | 0.9 |
/// | `toy12w` | 3 | 24.9 | 26.7 | 26.5 | 33.0 | 0.9 |
///
/// In the mean of the moduli themselves this is 2^-22.0 for the presets at log N 16. `cargo run --release --example precision -- --preset NAME --rounds
/// 3` prints all of it, for every operation, real and imaginary parts too; measured 2026-11-26. See [`crate::bootstrap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the table above says what each is")]
pub enum Preset {
    N13,
    N14,
    N15,
    N16,
    N13w,
    N14w,
    N15w,
    Toy10,
    Toy11,
    Toy12,
    Toy10w,
    Boot16,
    Toy13,
    Toy12r,
    Boot16p,
    Boot16w,
    Toy12p,
    Toy12w,
}

/// What tells one preset from another.
struct Shape {
    name: &'static str,
    log_n: u32,
    word: WordKind,
    depth: usize,
    log_scale: u32,
    /// Bits of the primes of level 0, which hold the decrypted message: two in u32, one in u64.
    base_bits: u32,
    special_bits: u32,
    n_special: usize,
    digit_limbs: usize,
    security: Security,
}

enum Kind {
    Prefix(Shape),
    Rational(&'static str, RationalChain),
    Boot(&'static str, PrefixChain),
}

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 18] = [
        Self::N13,
        Self::N14,
        Self::N15,
        Self::N16,
        Self::N13w,
        Self::N14w,
        Self::N15w,
        Self::Toy10,
        Self::Toy11,
        Self::Toy12,
        Self::Toy10w,
        Self::Boot16,
        Self::Toy13,
        Self::Toy12r,
        Self::Boot16p,
        Self::Boot16w,
        Self::Toy12p,
        Self::Toy12w,
    ];

    fn kind(self) -> Kind {
        use Security::{Bits128, Insecure};
        use WordKind::{U32, U64};
        let shape = |name, log_n, word, depth, log_scale, security| {
            let (base_bits, special_bits) = match (word, log_scale) {
                (U32, 46) => (28, 29),
                (U32, _) => (30, 30),
                (U64, 46) => (56, 58),
                (U64, _) => (60, 60),
            };
            // Special primes: as many limbs as a digit has, and as large as any.
            let n_special = match (word, depth) {
                (U32, 2) => 2,
                (U64, 2) => 1,
                (U32, 5) => 4,
                (U64, 5) => 2,
                (U32, 22) => 12,
                (U32, _) => 8,
                (U64, _) => 4,
            };
            Kind::Prefix(Shape {
                name,
                log_n,
                word,
                depth,
                log_scale,
                base_bits,
                special_bits,
                n_special,
                digit_limbs: n_special,
                security,
            })
        };
        // 16 levels of 40 bits take 23 main primes; eval_mod takes two main primes a level, coeffs_to_slots a main and a
        // terminal prime.
        let rational = |name, log_n, security| {
            let chain = RationalChain {
                log_n,
                log_scale: 40,
                n_main: 43,
                n_terminal: 4,
                n_special: 12,
                digit_limbs: 12,
                boot_steps: [[(2, 0); 8].as_slice(), &[(1, 1); 4]].concat(),
                security,
            };
            Kind::Rational(name, chain)
        };
        // The same bits in pairs and in single primes. The first matrix of coeffs_to_slots comes down from the scale q_0 and has what the modulus
        // leaves: its diagonals are the less precise the less its step has.
        let boot = |name, log_n, word, security| {
            let digit_limbs = if word == U32 { 12 } else { 6 };
            let chain = PrefixChain {
                log_n,
                word,
                log_scale: 55,
                working: 11,
                boot_steps: [[60; 8].as_slice(), &[58, 58, 58, 60]].concat(),
                n_special: digit_limbs,
                digit_limbs,
                security,
            };
            Kind::Boot(name, chain)
        };
        match self {
            Self::N13 => shape("n13", 13, U32, 2, 46, Bits128),
            Self::N14 => shape("n14", 14, U32, 5, 50, Bits128),
            Self::N15 => shape("n15", 15, U32, 11, 50, Bits128),
            Self::N16 => shape("n16", 16, U32, 22, 54, Bits128),
            Self::N13w => shape("n13w", 13, U64, 2, 46, Bits128),
            Self::N14w => shape("n14w", 14, U64, 5, 50, Bits128),
            Self::N15w => shape("n15w", 15, U64, 11, 50, Bits128),
            Self::Toy10 => shape("toy10", 10, U32, 5, 50, Insecure),
            Self::Toy11 => shape("toy11", 11, U32, 5, 50, Insecure),
            Self::Toy12 => shape("toy12", 12, U32, 5, 50, Insecure),
            Self::Toy10w => shape("toy10w", 10, U64, 5, 50, Insecure),
            Self::Boot16 => rational("boot16", 16, Bits128),
            Self::Toy13 => rational("toy13", 13, Insecure),
            Self::Toy12r => rational("toy12r", 12, Insecure),
            Self::Boot16p => boot("boot16p", 16, U32, Bits128),
            Self::Boot16w => boot("boot16w", 16, U64, Bits128),
            Self::Toy12p => boot("toy12p", 12, U32, Insecure),
            Self::Toy12w => boot("toy12w", 12, U64, Insecure),
        }
    }

    /// The name, as on a command line.
    pub fn name(self) -> &'static str {
        match self.kind() {
            Kind::Prefix(shape) => shape.name,
            Kind::Rational(name, _) | Kind::Boot(name, _) => name,
        }
    }

    /// The literal.
    pub fn literal(self) -> ParamsLiteral {
        let s = match self.kind() {
            Kind::Prefix(shape) => shape,
            Kind::Rational(_, chain) => return chain.literal(),
            Kind::Boot(_, chain) => return chain.literal(),
        };
        let log_two_n = s.log_n + 1;
        let per_level = per_level(s.word);
        let mut large = primes::descending(s.special_bits, log_two_n);
        let special_primes: Vec<u64> = large.by_ref().take(s.n_special).collect();
        let base: Vec<u64> = if s.base_bits == s.special_bits {
            large.take(per_level).collect()
        } else {
            primes::descending(s.base_bits, log_two_n).take(per_level).collect()
        };
        let scale_primes = scale_primes(s.log_scale, log_two_n, s.depth, per_level);
        let main_primes: Vec<u64> = base.into_iter().chain(scale_primes).collect();
        ParamsLiteral {
            log_n: s.log_n,
            word: s.word,
            main_primes,
            special_primes,
            levels: prefixes(s.depth + 1, per_level),
            digit_limbs: s.digit_limbs,
            log_scale: s.log_scale,
            scales: Scales::FromTop,
            security: s.security,
        }
    }

    /// The checked parameters.
    ///
    /// # Errors
    /// None in practice: every preset is checked by a test.
    pub fn params(self) -> Result<Params> {
        Params::new(self.literal())
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|p| p.name()).collect();
            Error::InvalidParams(format!("no preset {name}: expected one of {}", names.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Level;

    #[test]
    fn every_preset_is_checked_and_as_its_doc_says() {
        for preset in Preset::ALL {
            let params = preset.params().unwrap();
            let (log_scale, depth, dnum) = match preset.kind() {
                Kind::Prefix(s) => (s.log_scale, s.depth, if s.depth == 22 { 4 } else { 3 }),
                Kind::Rational(..) => (40, 28, 4),
                Kind::Boot(..) => (55, 23, 4),
            };
            assert_eq!(params.max_level(), Level(depth as u32));
            assert_eq!(params.digits().len(), dnum, "{preset}");
            let most = match preset.kind() {
                Kind::Prefix(_) => 1e-2,
                Kind::Rational(..) => 0.15,
                Kind::Boot(..) => 0.05,
            };
            let first = u32::from(matches!(preset.kind(), Kind::Boot(..)));
            for l in first..=params.working_level().0 {
                let drift = params.level(Level(l)).unwrap().log_scale.to_f64() - f64::from(log_scale);
                assert!(drift.abs() < most, "{preset} level {l} drifts by {drift}");
            }
            assert_eq!(preset.name().parse::<Preset>().unwrap(), preset);
            assert!(
                params.security() == Security::Insecure || params.log_n() < 16 || params.log_qp() <= 1747.0
            );
            let expected = match depth {
                23 => 1743.0,
                2 => 206.0,
                5 => 430.0,
                11 => 850.0,
                22 => 1608.0,
                _ => 1747.0,
            };
            assert!((params.log_qp() - expected).abs() < 3.0, "{preset}: {}", params.log_qp());
        }
    }

    #[test]
    fn beyond_the_table_is_refused() {
        let mut literal = Preset::N14.literal();
        literal.log_n = 13;
        assert!(matches!(Params::new(literal.clone()), Err(Error::BeyondSecurityTable { limit: 214, .. })));
        literal.security = Security::Insecure;
        assert!(Params::new(literal).unwrap().to_string().contains("INSECURE"));
    }

    #[test]
    fn broken_literals_are_refused_with_the_reason() {
        type Break = fn(&mut ParamsLiteral);
        let cases: [(Break, &str); 9] = [
            (|l| l.log_n = 3, "log N"),
            (|l| l.main_primes[1] = l.main_primes[0], "twice"),
            (|l| l.main_primes[1] += 2, "1 modulo 2N"),
            (|l| l.special_primes[0] = 97, "outside"),
            (|l| l.special_primes.truncate(1), "digit"),
            (|l| l.levels[1] = l.levels[0].clone(), "expected fewer"),
            (|l| l.levels[0] = vec![1, 0], "ascending"),
            (|l| drop(l.levels.pop()), "all 12"),
            (|l| l.log_scale = 51, "canonical scale"),
        ];
        for (break_it, word) in cases {
            let mut literal = Preset::Toy10.literal();
            break_it(&mut literal);
            let message = Params::new(literal).unwrap_err().to_string();
            assert!(message.contains(word), "{message} should mention {word}");
        }
    }
}

//! Plaintexts and ciphertexts: polynomials with a level and a scale.

use crate::error::{Error, Result};
use crate::math::double::Double;
use crate::math::sampling::Seed;
use crate::math::word::Word;
use crate::params::{Level, LevelInfo, Params};
use crate::ring::{Eval, Ring, RnsPoly};
use crate::rlwe::expand_poly;

/// An encoded message.
#[derive(Clone, Debug, PartialEq)]
pub struct Plaintext<W> {
    pub(crate) params: Params,
    pub(crate) poly: RnsPoly<W, Eval>,
    pub(crate) level: Level,
    pub(crate) log_scale: Double,
}

impl<W: Word> Plaintext<W> {
    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The polynomial, over the basis of the level.
    pub fn poly(&self) -> &RnsPoly<W, Eval> {
        &self.poly
    }

    /// Overwrites the message with zeros.
    pub fn wipe(&mut self) {
        self.poly.wipe();
    }

    /// The polynomial alone.
    pub fn into_poly(self) -> RnsPoly<W, Eval> {
        self.poly
    }

    /// The level.
    pub fn level(&self) -> Level {
        self.level
    }

    /// log2 of the scale.
    pub fn log_scale(&self) -> Double {
        self.log_scale
    }
}

/// Refuses a scale that is no finite number or reaches the modulus of a level.
pub(super) fn check_scale(operation: &'static str, level: &LevelInfo, log_scale: Double) -> Result<()> {
    let found = log_scale.to_f64();
    if found.is_finite() && found < level.log_q {
        return Ok(());
    }
    Err(Error::ScaleTooLarge { operation, expected: level.log_q, found })
}

/// An encryption: decrypts to `sum_i polys[i] s^i`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ciphertext<W> {
    pub(crate) params: Params,
    pub(crate) polys: Vec<RnsPoly<W, Eval>>,
    pub(crate) level: Level,
    pub(crate) log_scale: Double,
}

impl<W: Word> Ciphertext<W> {
    /// From its polynomials, each of N coefficients over the basis of `level`.
    ///
    /// # Errors
    /// [`Error::BasisMismatch`], [`Error::RingDegreeMismatch`]; [`Error::DegreeMismatch`] unless there are two or
    /// three; [`Error::NoSuchLevel`]; [`Error::ScaleTooLarge`] unless the scale is finite and below the modulus.
    pub fn new(
        params: &Params,
        polys: Vec<RnsPoly<W, Eval>>,
        level: Level,
        log_scale: Double,
    ) -> Result<Self> {
        if !(2..=3).contains(&polys.len()) {
            let found = polys.len().saturating_sub(1);
            return Err(Error::DegreeMismatch { operation: "ciphertext", expected: 1, found });
        }
        let info = params.level(level)?;
        check_scale("ciphertext", info, log_scale)?;
        if let Some(poly) = polys.iter().find(|p| p.n() != params.n()) {
            let (expected, found) = (params.n(), poly.n());
            return Err(Error::RingDegreeMismatch { operation: "ciphertext", expected, found });
        }
        let basis = &info.basis;
        if let Some(poly) = polys.iter().find(|p| p.basis() != basis) {
            return Err(Error::BasisMismatch {
                operation: "ciphertext",
                expected: basis.iter().map(|l| l.0).collect(),
                found: poly.basis().iter().map(|l| l.0).collect(),
            });
        }
        Ok(Self { params: params.clone(), polys, level, log_scale })
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Two or three polynomials.
    pub fn polys(&self) -> &[RnsPoly<W, Eval>] {
        &self.polys
    }

    /// 1, or 2 before relinearization.
    pub fn degree(&self) -> usize {
        self.polys.len() - 1
    }

    /// The level.
    pub fn level(&self) -> Level {
        self.level
    }

    /// log2 of the scale.
    pub fn log_scale(&self) -> Double {
        self.log_scale
    }
}

/// A fresh secret-key encryption whose uniform half is a seed: half the bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct SeededCiphertext<W> {
    pub(crate) params: Params,
    pub(crate) c0: RnsPoly<W, Eval>,
    pub(crate) seed: Seed,
    pub(crate) level: Level,
    pub(crate) log_scale: Double,
}

impl<W: Word> SeededCiphertext<W> {
    /// The level.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The ciphertext it stands for.
    ///
    /// # Errors
    /// [`Error::ParamsMismatch`].
    pub fn expand(&self, ring: &Ring<W>) -> Result<Ciphertext<W>> {
        ring.params().check_digest(self.params.digest())?;
        let c1 = expand_poly(ring, &self.seed, 0, self.c0.basis());
        Ciphertext::new(&self.params, vec![self.c0.clone(), c1], self.level, self.log_scale)
    }
}

//! Plaintexts and ciphertexts: polynomials with a level and a scale.

use crate::error::{Error, Result};
use crate::math::double::Double;
use crate::math::sampling::Seed;
use crate::math::word::Word;
use crate::params::{Level, Params};
use crate::ring::{Eval, Ring, RnsPoly};
use crate::rlwe::expand_poly;

/// An encoded message.
#[derive(Clone, Debug, PartialEq)]
pub struct Plaintext<W> {
    /// Over the basis of the level.
    pub poly: RnsPoly<W, Eval>,
    /// The level.
    pub level: Level,
    /// log2 of the scale.
    pub log_scale: Double,
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
    /// From its polynomials, each over the basis of `level`.
    ///
    /// # Errors
    /// [`Error::BasisMismatch`]; [`Error::DegreeMismatch`] unless there are two or three;
    /// [`Error::NoSuchLevel`].
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
        let basis = &params.level(level)?.basis;
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

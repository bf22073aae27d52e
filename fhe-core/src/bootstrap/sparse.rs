//! The steps of bootstrapping under the ephemeral sparse secret (ePrint 2022/024): there, up, and back. They need no plan.

use super::pair;
use crate::ckks::Ciphertext;
use crate::error::{Error, Result};
use crate::math::double::Double;
use crate::math::word::Word;
use crate::params::{Level, LimbIdx};
use crate::ring::{ConvertBasis, Eval, Ring, RnsPoly};
use crate::rlwe::{EncapsulationKeys, key_switch};

/// A ciphertext under the ephemeral sparse secret: not to be mixed with others.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseCiphertext<W>(pub(crate) Ciphertext<W>);

impl<W: Word> SparseCiphertext<W> {
    /// Under the sparse secret, at level 0.
    ///
    /// # Errors
    /// [`Error::LevelMismatch`] unless `a` is at level 0; [`Error::DegreeMismatch`]; [`Error::ParamsMismatch`].
    pub fn to_sparse(ring: &Ring<W>, a: &Ciphertext<W>, keys: &EncapsulationKeys<W>) -> Result<Self> {
        ring.params().check_digest(a.params().digest())?;
        at_bottom("to_sparse", a.level())?;
        let [c0, c1] = pair("to_sparse", a)?;
        let [mut k0, k1] = keys.switch_to_sparse(ring, c1)?;
        k0.add_assign(ring, c0)?;
        Ciphertext::new(ring.params(), vec![k0, k1], a.level(), a.log_scale()).map(Self)
    }

    /// The same integers, centred, modulo the highest modulus: `m + q I`, with the scale as it was.
    ///
    /// # Errors
    /// [`Error::LevelMismatch`] unless it is at level 0; [`Error::ParamsMismatch`].
    pub fn mod_raise(&self, ring: &Ring<W>) -> Result<Self> {
        let params = ring.params();
        params.check_digest(self.0.params().digest())?;
        at_bottom("mod_raise", self.level())?;
        let (from, top) = (&params.level(Level(0))?.basis, params.max_level());
        let to = &params.level(top)?.basis;
        let rest: Vec<LimbIdx> = to.iter().copied().filter(|l| !from.contains(l)).collect();
        let convert = ConvertBasis::new(ring, from, &rest);
        let raise = |p: &RnsPoly<W, Eval>| {
            let converted = convert.apply(ring, &ring.intt(p.clone()))?;
            p.clone().concat(&ring.ntt(converted)).select("mod_raise", to)
        };
        let polys = self.0.polys().iter().map(raise).collect::<Result<Vec<_>>>()?;
        Ciphertext::new(params, polys, top, self.0.log_scale()).map(Self)
    }

    /// Under the dense secret again.
    ///
    /// # Errors
    /// [`Error::ParamsMismatch`].
    pub fn to_dense(&self, ring: &Ring<W>, keys: &EncapsulationKeys<W>) -> Result<Ciphertext<W>> {
        let [c0, c1] = pair("to_dense", &self.0)?;
        let [mut k0, k1] = key_switch(ring, c1, self.level(), keys.to_dense())?;
        k0.add_assign(ring, c0)?;
        Ciphertext::new(ring.params(), vec![k0, k1], self.level(), self.0.log_scale())
    }

    /// The same integers, said to be at another scale.
    ///
    /// # Errors
    /// None in practice.
    pub fn with_scale(&self, log_scale: Double) -> Result<Self> {
        Ciphertext::new(self.0.params(), self.0.polys().to_vec(), self.level(), log_scale).map(Self)
    }

    /// The level.
    pub fn level(&self) -> Level {
        self.0.level()
    }
}

fn at_bottom(operation: &'static str, found: Level) -> Result<()> {
    let expected = Level(0);
    if found == expected { Ok(()) } else { Err(Error::LevelMismatch { operation, expected, found }) }
}

//! The meaning of each language, as simple as can be: [`slots`] on plain complex vectors, [`ckks_exact`] on
//! ciphertexts with the reference evaluator, [`poly`] on the reference's polynomials, [`plan`] row by row
//! in its own arithmetic. The last three agree bit for bit.

pub mod ckks_exact;
pub mod plan;
pub mod poly;
pub mod slots;

use fhe_core::ckks::{Ciphertext, Encoder};
use fhe_core::math::word::Word;
use fhe_core::ring::{Eval, Ring, RnsPoly};
use fhe_core::rlwe::{EvaluationKey, EvaluationKeySet};
use num_complex::Complex64;

use crate::ckks_ir::{ConstId, Constant, InputIdx};
use crate::error::{Error, Result};
use crate::plan::KeyId;
use crate::poly_ir::Encoded;

/// What a program runs on.
#[derive(Debug)]
pub struct Env<'a, W> {
    /// The ring of the parameters.
    pub ring: &'a Ring<W>,
    /// Evaluation keys.
    pub keys: &'a EvaluationKeySet<W>,
    /// Constants by [`ConstId`], as in the manifest.
    pub constants: &'a [Constant],
    /// Inputs by [`InputIdx`], at the level and scale of the manifest.
    pub inputs: &'a [Ciphertext<W>],
}

impl<W: Word> Env<'_, W> {
    fn input(&self, index: InputIdx) -> Result<&Ciphertext<W>> {
        let input = self.inputs.get(index.0 as usize);
        input.ok_or_else(|| Error::Interp(format!("input {} of {}", index.0, self.inputs.len())))
    }

    fn encode(&self, encoder: &Encoder<W>, encoded: &Encoded) -> Result<RnsPoly<W, Eval>> {
        encoded.encode(encoder, &self.slots(encoded.constant)?)
    }

    fn slots(&self, id: ConstId) -> Result<Vec<Complex64>> {
        let constant = self.constants.get(id.0 as usize);
        let constant = constant.ok_or_else(|| Error::Interp(format!("no constant {}", id.0)))?;
        Ok(repeat(&constant.values, self.ring.params().n_slots()))
    }

    fn key(&self, key: KeyId) -> Result<&EvaluationKey<W>> {
        Ok(match key {
            KeyId::Relinearization => self.keys.relinearization()?.key(),
            KeyId::Galois(element) => self.keys.galois(element)?.key(),
        })
    }
}

/// One period, repeated to `n_slots` slots.
pub fn repeat(values: &[Complex64], n_slots: usize) -> Vec<Complex64> {
    values.iter().copied().cycle().take(n_slots).collect()
}

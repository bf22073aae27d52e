//! The meaning of each language, as simple as can be: [`slots`] on plain complex vectors, [`ckks_exact`] on
//! ciphertexts with the reference evaluator, [`poly`] on the reference's polynomials, [`plan`] row by row
//! in its own arithmetic. The last three agree bit for bit. A call is its body on its arguments.

pub mod ckks_exact;
pub mod plan;
pub mod poly;
pub mod slots;

use core::slice;
use std::collections::BTreeMap;

use fhe_core::ckks::{Ciphertext, Encoder};
use fhe_core::math::word::Word;
use fhe_core::ring::{Eval, Ring, RnsPoly};
use fhe_core::rlwe::{EvaluationKeySet, KeySwitchPair};
use num_complex::Complex64;

use crate::ckks_ir::{Call, CallIdx, ConstId, Constant, Function, InputIdx};
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

    /// The digits of a key.
    fn key(&self, key: KeyId) -> Result<&[KeySwitchPair<W>]> {
        Ok(match key {
            KeyId::Relinearization => self.keys.relinearization()?.key().digits(),
            KeyId::Galois(element) => self.keys.galois(element)?.key().digits(),
            KeyId::ToSparse => slice::from_ref(self.keys.encapsulation()?.to_sparse()),
            KeyId::ToDense => self.keys.encapsulation()?.to_dense().digits(),
        })
    }

    /// The rows of a key: digit by digit, of each half.
    fn key_rows(&self, key: KeyId) -> Result<Vec<&[W]>> {
        let halves = self.key(key)?.iter().flat_map(|pair| [&pair.b, &pair.a]);
        Ok(halves.flat_map(|p| (0..p.basis().len()).map(|i| p.limb(i))).collect())
    }
}

/// A call and what it calls.
fn called(function: &Function, call: CallIdx) -> Result<(&Call, &Function)> {
    let found = function.calls.get(call.0 as usize).and_then(|call| Some((call, &**function.callee(call)?)));
    found.ok_or_else(|| Error::Interp(format!("no call {call}")))
}

/// A result of a call that was made.
fn result<T>(called: &BTreeMap<CallIdx, Vec<T>>, call: CallIdx, i: u32) -> Result<&T> {
    let results = called.get(&call).and_then(|results| results.get(i as usize));
    results.ok_or_else(|| Error::Interp(format!("no result {i} of {call}")))
}

/// One period, repeated to `n_slots` slots.
pub fn repeat(values: &[Complex64], n_slots: usize) -> Vec<Complex64> {
    values.iter().copied().cycle().take(n_slots).collect()
}

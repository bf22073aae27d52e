//! Placed `ckks_ir` on real ciphertexts, each operation by the reference evaluator.

use fhe_core::ckks::{Ciphertext, Encoder, Evaluator};
use fhe_core::math::double::Double;
use fhe_core::math::word::Word;
use fhe_core::params::Level;

use super::Env;
use crate::ckks_ir::{Function, Kind, Op, Scale};
use crate::error::{Error, Result};

/// Runs a placed function.
///
/// # Errors
/// [`Error::Interp`] when a value has no kind or an input is missing; [`Error::Core`] of the evaluator.
pub fn run<W: Word>(function: &Function, env: &Env<'_, W>) -> Result<Vec<Ciphertext<W>>> {
    let (encoder, evaluator) = (Encoder::new(env.ring), Evaluator::new(env.ring));
    let params = env.ring.params();
    let mut values: Vec<Ciphertext<W>> = Vec::with_capacity(function.values.len());
    for id in function.ids() {
        let value = function.value(id);
        let Some(kind) = value.kind else { return Err(Error::Interp(format!("{id} is not placed"))) };
        let get = |a: crate::ckks_ir::ValueId| &values[a.0 as usize];
        let canonical = |level: Level| -> Result<Double> { Ok(params.level(level)?.log_scale) };
        let plain = |c, scale| env.encode(&encoder, c, kind.level, scale);
        let result = match value.op {
            Op::Input(i) => env.input(i)?.clone(),
            Op::Add(a, b) => evaluator.add(get(a), get(b))?,
            Op::Sub(a, b) => evaluator.sub(get(a), get(b))?,
            Op::Neg(a) => evaluator.neg(get(a))?,
            Op::AddPlain(a, c) => evaluator.add_plain(get(a), &plain(c, own_scale(kind, params)?)?)?,
            Op::SubPlain(a, c) => evaluator.sub_plain(get(a), &plain(c, own_scale(kind, params)?)?)?,
            Op::MulPlain(a, c) => evaluator.mul_plain(get(a), &plain(c, canonical(kind.level)?)?)?,
            Op::AddScalar(a, s) => evaluator.add_scalar(get(a), s.value())?,
            Op::MulScalar(a, s) => evaluator.mul_scalar(get(a), s.value(), canonical(kind.level)?)?,
            Op::Mul(a, b) => evaluator.mul(get(a), get(b))?,
            Op::Rotate(a, k) => evaluator.rotate(get(a), i64::from(k), env.keys)?,
            Op::Conjugate(a) => evaluator.conjugate(get(a), env.keys)?,
            Op::Relinearize(a) => evaluator.relinearize(get(a), env.keys.relinearization()?)?,
            Op::Rescale(a) => evaluator.rescale(get(a))?,
            Op::RelinearizeRescale(a) => {
                evaluator.relinearize_rescale(get(a), env.keys.relinearization()?)?
            }
            Op::LevelDrop(a, level) => evaluator.level_drop(get(a), level)?,
        };
        if (result.level(), result.degree()) != (kind.level, usize::from(kind.degree)) {
            let (level, degree) = (result.level(), result.degree());
            return Err(Error::Interp(format!("{id} is at level {level} of degree {degree}, not {kind}")));
        }
        values.push(result);
    }
    Ok(function.outputs.iter().map(|o| values[o.value.0 as usize].clone()).collect())
}

fn own_scale(kind: Kind, params: &fhe_core::params::Params) -> Result<Double> {
    let canonical = params.level(kind.level)?.log_scale;
    Ok(if kind.scale == Scale::Product { canonical + canonical } else { canonical })
}

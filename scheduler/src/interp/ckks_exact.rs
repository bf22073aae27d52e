//! Placed `ckks_ir` on real ciphertexts, each operation by the reference evaluator.

use std::collections::BTreeMap;

use fhe_core::bootstrap::SparseCiphertext;
use fhe_core::ckks::{Ciphertext, Encoder, Evaluator, RaisedCiphertext};
use fhe_core::math::double::Double;
use fhe_core::math::word::Word;
use fhe_core::params::Level;

use super::Env;
use crate::ckks_ir::verify::factor_scale;
use crate::ckks_ir::{CallIdx, ConstId, Function, Kind, Op, Scale, ValueId};
use crate::error::{Error, Result};

enum Value<W> {
    Low(Ciphertext<W>),
    Raised(RaisedCiphertext<W>),
}

struct Machine<'a, W> {
    env: &'a Env<'a, W>,
    encoder: Encoder<W>,
    evaluator: Evaluator<W>,
    values: Vec<Value<W>>,
}

/// Runs a placed function.
///
/// # Errors
/// [`Error::Interp`] when a value has no kind or another than it should, or an input is missing; [`Error::Core`] of the
/// evaluator.
pub fn run<W: Word>(function: &Function, env: &Env<'_, W>) -> Result<Vec<Ciphertext<W>>> {
    run_variant(function, 0, env)
}

/// Runs a variant of a function, whose own constants are the first of the environment.
fn run_variant<W: Word>(function: &Function, variant: usize, env: &Env<'_, W>) -> Result<Vec<Ciphertext<W>>> {
    let (encoder, evaluator) = (Encoder::new(env.ring), Evaluator::new(env.ring));
    let mut called: BTreeMap<CallIdx, Vec<Ciphertext<W>>> = BTreeMap::new();
    let mut machine = Machine { env, encoder, evaluator, values: Vec::with_capacity(function.values.len()) };
    for id in function.ids() {
        let value = function.value(id);
        let Some(kind) = value.kind else { return Err(Error::Interp(format!("{id} is not placed"))) };
        if let Op::Result(c, _) = value.op
            && !called.contains_key(&c)
        {
            let (call, callee) = super::called(function, c)?;
            let variant = function.variant_of(call, variant);
            let arguments = call.arguments.iter().map(|&a| machine.get(a).cloned());
            let inputs = arguments.collect::<Result<Vec<_>>>()?;
            let constants = callee.all_constants(variant);
            let Env { ring, keys, .. } = *env;
            let env = Env { ring, keys, constants: &constants, inputs: &inputs };
            called.insert(c, run_variant(callee, variant, &env)?);
        }
        let result = match (value.op, kind.raised) {
            (Op::Result(c, i), _) => Value::Low(super::result(&called, c, i)?.clone()),
            (op, true) => Value::Raised(machine.raised(&op, kind)?),
            (op, false) => Value::Low(machine.low(&op, kind)?),
        };
        let (level, degree) = match &result {
            Value::Low(c) => (c.level(), c.degree()),
            Value::Raised(c) => (c.level(), c.polys().len() - 1),
        };
        if (level, degree) != (kind.level, usize::from(kind.degree)) {
            return Err(Error::Interp(format!("{id} is at level {level} of degree {degree}, not {kind}")));
        }
        machine.values.push(result);
    }
    function.outputs.iter().map(|o| machine.get(o.value).cloned()).collect()
}

impl<W: Word> Machine<'_, W> {
    fn get(&self, id: ValueId) -> Result<&Ciphertext<W>> {
        match &self.values[id.0 as usize] {
            Value::Low(c) => Ok(c),
            Value::Raised(_) => Err(Error::Interp(format!("{id} is raised"))),
        }
    }

    fn get_raised(&self, id: ValueId) -> Result<&RaisedCiphertext<W>> {
        match &self.values[id.0 as usize] {
            Value::Raised(c) => Ok(c),
            Value::Low(_) => Err(Error::Interp(format!("{id} is not raised"))),
        }
    }

    /// An operand of a sum that is raised.
    fn lifted(&self, id: ValueId) -> Result<RaisedCiphertext<W>> {
        match &self.values[id.0 as usize] {
            Value::Raised(c) => Ok(c.clone()),
            Value::Low(c) => Ok(self.evaluator.raise(c)?),
        }
    }

    /// An operand at the level of a product by a constant, and the scale of the constant.
    fn forgotten(&self, id: ValueId, kind: Kind) -> Result<(Ciphertext<W>, Double)> {
        let a = self.get(id)?;
        let log_scale = factor_scale(self.env.ring.params(), a.level(), kind.level)?;
        Ok((self.evaluator.forget_limbs(a, kind.level)?, log_scale))
    }

    fn low(&self, op: &Op, kind: Kind) -> Result<Ciphertext<W>> {
        let Self { env, encoder, evaluator, .. } = self;
        let params = env.ring.params();
        let canonical = params.level(kind.level)?.log_scale;
        let own = if kind.scale == Scale::Product { canonical + canonical } else { canonical };
        let slots = |c: ConstId| env.slots(c);
        let encode = |c, scale| Ok::<_, Error>(encoder.encode(&slots(c)?, kind.level, scale)?);
        Ok(match *op {
            Op::Input(i) => env.input(i)?.clone(),
            Op::Add(a, b) => evaluator.add(self.get(a)?, self.get(b)?)?,
            Op::Sub(a, b) => evaluator.sub(self.get(a)?, self.get(b)?)?,
            Op::Neg(a) => evaluator.neg(self.get(a)?)?,
            Op::AddPlain(a, c) => evaluator.add_plain(self.get(a)?, &encode(c, own)?)?,
            Op::SubPlain(a, c) => evaluator.sub_plain(self.get(a)?, &encode(c, own)?)?,
            Op::MulPlain(a, c) => {
                let (a, log_scale) = self.forgotten(a, kind)?;
                evaluator.mul_plain(&a, &encode(c, log_scale)?)?
            }
            Op::MulI(a, _) => evaluator.mul_i(self.get(a)?)?,
            Op::AddScalar(a, s) => evaluator.add_scalar(self.get(a)?, s.value())?,
            Op::MulScalar(a, s) => {
                let (a, log_scale) = self.forgotten(a, kind)?;
                evaluator.mul_scalar(&a, s.value(), log_scale)?
            }
            Op::Mul(a, b) => evaluator.mul(self.get(a)?, self.get(b)?)?,
            Op::Rotate(a, k) => evaluator.rotate(self.get(a)?, i64::from(k), env.keys)?,
            Op::Conjugate(a) => evaluator.conjugate(self.get(a)?, env.keys)?,
            Op::Relinearize(a) => evaluator.relinearize(self.get(a)?, env.keys.relinearization()?)?,
            Op::Rescale(a) => evaluator.rescale(self.get(a)?)?,
            Op::ModDown(a) => evaluator.mod_down(self.get_raised(a)?)?,
            Op::ModDownRescale(a) => evaluator.mod_down_rescale(self.get_raised(a)?)?,
            Op::LevelDrop(a, level) => evaluator.level_drop(self.get(a)?, level)?,
            Op::ModRaise(a, ..) => {
                let keys = env.keys.encapsulation()?;
                let raised =
                    SparseCiphertext::to_sparse(env.ring, self.get(a)?, keys)?.mod_raise(env.ring)?;
                raised.with_scale(canonical)?.to_dense(env.ring, keys)?
            }
            Op::LinearTransform(..) | Op::Bootstrap(..) | Op::Result(..) => {
                return Err(Error::Interp(format!("a {} is not placed", op.name())));
            }
        })
    }

    fn raised(&self, op: &Op, kind: Kind) -> Result<RaisedCiphertext<W>> {
        let Self { env, encoder, evaluator, .. } = self;
        let level: Level = kind.level;
        let canonical = env.ring.params().level(level)?.log_scale;
        Ok(match *op {
            Op::Add(a, b) => evaluator.add_raised(&self.lifted(a)?, &self.lifted(b)?)?,
            Op::Sub(a, b) => evaluator.sub_raised(&self.lifted(a)?, &self.lifted(b)?)?,
            Op::Neg(a) => evaluator.neg_raised(self.get_raised(a)?)?,
            Op::MulPlain(a, c) => {
                let plain = encoder.encode_raised(&env.slots(c)?, level, canonical)?;
                evaluator.mul_plain_raised(self.get_raised(a)?, &plain)?
            }
            Op::MulScalar(a, s) => evaluator.mul_scalar_raised(self.get_raised(a)?, s.value(), canonical)?,
            Op::Rotate(a, k) => evaluator.rotate_raised(self.get(a)?, i64::from(k), env.keys)?,
            Op::Conjugate(a) => {
                let element = env.ring.params().galois_conjugate();
                evaluator.automorphism_raised(self.get(a)?, element, env.keys)?
            }
            Op::Relinearize(a) => evaluator.relinearize_raised(self.get(a)?, env.keys.relinearization()?)?,
            _ => return Err(Error::Interp(format!("a {} is not raised", op.name()))),
        })
    }
}

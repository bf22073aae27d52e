//! `poly_ir` on the polynomials of the reference.

use std::collections::BTreeMap;

use fhe_core::ckks::{Ciphertext, Encoder};
use fhe_core::math::word::Word;
use fhe_core::params::{Level, LimbIdx};
use fhe_core::ring::{Coeff, ConvertBasis, Eval, RnsPoly};

use super::Env;
use crate::ckks_ir::{CallIdx, ConstId};
use crate::error::{Error, Result};
use crate::poly_ir::{Function, Op, PolyId, SlotsIdx};

enum Poly<W> {
    Coeff(RnsPoly<W, Coeff>),
    Eval(RnsPoly<W, Eval>),
    /// Coefficients before they are rounded: the reference does both steps at once.
    Real(SlotsIdx),
}

struct Machine<'a, W> {
    env: &'a Env<'a, W>,
    values: Vec<Poly<W>>,
    called: BTreeMap<CallIdx, Vec<Ciphertext<W>>>,
}

/// Runs a function; outputs are given at `levels`, by output.
///
/// # Errors
/// [`Error::Interp`] when something is missing or of the wrong domain; [`Error::Core`] of the reference.
pub fn run<W: Word>(function: &Function, env: &Env<'_, W>, levels: &[Level]) -> Result<Vec<Ciphertext<W>>> {
    let encoder = Encoder::new(env.ring);
    let mut machine =
        Machine { env, values: Vec::with_capacity(function.values.len()), called: BTreeMap::new() };
    for id in function.ids() {
        if let Op::Result { call, .. } = function.value(id).op
            && !machine.called.contains_key(&call)
        {
            machine.call(function, call)?;
        }
        let value = machine.value(function, id, &encoder)?;
        machine.values.push(value);
    }
    machine.outputs(function, levels)
}

impl<W: Word> Machine<'_, W> {
    fn outputs(&self, function: &Function, levels: &[Level]) -> Result<Vec<Ciphertext<W>>> {
        let params = self.env.ring.params();
        let outputs = function.outputs.chunks(2).zip(levels).map(|(pair, &level)| {
            let polys = pair.iter().map(|o| self.eval(o.value).cloned()).collect::<Result<Vec<_>>>()?;
            Ok(Ciphertext::new(params, polys, level, params.level(level)?.log_scale)?)
        });
        outputs.collect()
    }

    /// The results of a call, made at its first.
    fn call(&mut self, function: &Function, at: CallIdx) -> Result<()> {
        let missing = || Error::Interp(format!("no call {at}"));
        let call = function.calls.get(at.0 as usize).ok_or_else(missing)?;
        let callee = function.callee(call).ok_or_else(missing)?;
        let Env { ring, keys, constants, .. } = *self.env;
        let params = ring.params();
        let level_of = |basis: &[LimbIdx]| {
            let mut levels = (0..=params.max_level().0).map(Level);
            let level = levels.find(|&level| params.level(level).is_ok_and(|l| l.basis == basis));
            level.ok_or_else(|| Error::Interp(format!("no level has the limbs {basis:?}")))
        };
        let mut inputs = Vec::with_capacity(call.arguments.len());
        for (pair, basis) in call.arguments.iter().zip(&callee.inputs) {
            let polys = pair.iter().map(|&a| self.eval(a).cloned()).collect::<Result<Vec<_>>>()?;
            let level = level_of(basis)?;
            inputs.push(Ciphertext::new(params, polys, level, params.level(level)?.log_scale)?);
        }
        let constant = |c: &ConstId| constants.get(c.0 as usize).cloned();
        let constants: Option<Vec<_>> = call.constants.iter().map(constant).collect();
        let constants = constants.ok_or_else(|| Error::Interp(format!("a constant of {at} is missing")))?;
        let returned = callee.outputs.iter().step_by(2).map(|o| level_of(&callee.value(o.value).basis));
        let levels = returned.collect::<Result<Vec<_>>>()?;
        let env = Env { ring, keys, constants: &constants, inputs: &inputs };
        self.called.insert(at, run(callee, &env, &levels)?);
        Ok(())
    }
}

impl<W: Word> Machine<'_, W> {
    fn eval(&self, id: PolyId) -> Result<&RnsPoly<W, Eval>> {
        match &self.values[id.0 as usize] {
            Poly::Eval(p) => Ok(p),
            Poly::Coeff(_) | Poly::Real(_) => {
                Err(Error::Interp(format!("{id} is not in the evaluation domain")))
            }
        }
    }

    fn coeff(&self, id: PolyId) -> Result<&RnsPoly<W, Coeff>> {
        match &self.values[id.0 as usize] {
            Poly::Coeff(p) => Ok(p),
            Poly::Eval(_) | Poly::Real(_) => {
                Err(Error::Interp(format!("{id} is not in the coefficient domain")))
            }
        }
    }

    fn value(&self, function: &Function, id: PolyId, encoder: &Encoder<W>) -> Result<Poly<W>> {
        let value = function.value(id);
        let (basis, ring) = (&value.basis[..], self.env.ring);
        let over = |basis: &[LimbIdx], scalars: &[u64]| {
            let table: Vec<(LimbIdx, u64)> = basis.iter().copied().zip(scalars.iter().copied()).collect();
            move |limb: LimbIdx| {
                W::truncate(table.iter().find(|(l, _)| *l == limb).map_or(0, |&(_, scalar)| scalar))
            }
        };
        let by_limb = |scalars: &[u64]| over(basis, scalars);
        Ok(Poly::Eval(match &value.op {
            Op::Input { input, poly } => {
                let polys = self.env.input(*input)?.polys();
                let poly = polys.get(usize::from(*poly));
                poly.ok_or_else(|| Error::Interp(format!("{id}: the input has no such polynomial")))?
                    .select("input", basis)?
            }
            Op::Result { call, result, poly } => {
                let poly = super::result(&self.called, *call, *result)?.polys().get(usize::from(*poly));
                poly.ok_or_else(|| Error::Interp(format!("{id}: the result has no such polynomial")))?.clone()
            }
            Op::Constant(e) => {
                let encoded = &function.encoded[e.0 as usize];
                self.env.encode(encoder, encoded)?
            }
            Op::EmbedInverse(slots) => return Ok(Poly::Real(*slots)),
            Op::RoundResidues(a) => {
                let Poly::Real(slots) = &self.values[a.0 as usize] else {
                    return Err(Error::Interp(format!("{id}: {a} is not made of slots")));
                };
                let slots = &function.slots[slots.0 as usize];
                return Ok(Poly::Coeff(ring.intt(self.env.encode(encoder, slots)?)));
            }
            Op::Key { key, digit, half } => {
                let digit = self.env.key(*key)?.get(*digit as usize);
                let pair = digit.ok_or_else(|| Error::Interp(format!("{id}: the key has no such digit")))?;
                (if *half == 0 { &pair.b } else { &pair.a }).select("key", basis)?
            }
            Op::Ntt(a) => ring.ntt(self.coeff(*a)?.clone()),
            Op::Intt(a) => return Ok(Poly::Coeff(ring.intt(self.eval(*a)?.clone()))),
            Op::ConvertBasis { a, before, after } => {
                let mut a = self.coeff(*a)?.clone();
                if !before.is_empty() {
                    let residue = over(a.basis(), before);
                    a.mul_scalar_assign(ring, residue);
                }
                let mut z = ConvertBasis::new(ring, a.basis(), basis).apply(ring, &a)?;
                if !after.is_empty() {
                    z.mul_scalar_assign(ring, by_limb(after));
                }
                return Ok(Poly::Coeff(z));
            }
            Op::Slice(a) => match &self.values[a.0 as usize] {
                Poly::Coeff(p) => return Ok(Poly::Coeff(p.select("slice", basis)?)),
                _ => self.eval(*a)?.select("slice", basis)?,
            },
            Op::Concat(parts) => {
                let mut all = self.eval(parts[0])?.clone();
                for &part in &parts[1..] {
                    all = all.concat(self.eval(part)?);
                }
                all.select("concat", basis)?
            }
            Op::Add(a, b) => {
                let mut x = self.eval(*a)?.clone();
                x.add_assign(ring, self.eval(*b)?)?;
                x
            }
            Op::Sub(a, b) => {
                let mut x = self.eval(*a)?.clone();
                x.sub_assign(ring, self.eval(*b)?)?;
                x
            }
            Op::Neg(a) => {
                let mut x = self.eval(*a)?.clone();
                x.neg_assign(ring);
                x
            }
            Op::InnerProduct { terms, init, times, galois } => {
                let mut x = match init {
                    Some(a) => self.eval(*a)?.clone(),
                    None => RnsPoly::zero(basis, ring.n()),
                };
                if !times.is_empty() {
                    x.mul_scalar_assign(ring, by_limb(times));
                }
                for &(a, b) in terms {
                    x.mul_add_assign(ring, self.eval(a)?, self.eval(b)?)?;
                }
                ring.automorphism(&x, *galois)?
            }
            Op::MulScalar(a, scalars) => {
                let mut x = self.eval(*a)?.clone();
                x.mul_scalar_assign(ring, by_limb(scalars));
                x
            }
            Op::AddScalar(a, scalars) => {
                let mut x = self.eval(*a)?.clone();
                x.add_scalar_assign(ring, by_limb(scalars));
                x
            }
            Op::SubMulScalar { a, b, scalars, add, galois } => {
                let mut x = self.eval(*a)?.clone();
                x.sub_assign(ring, self.eval(*b)?)?;
                x.mul_scalar_assign(ring, by_limb(scalars));
                if let Some(c) = add {
                    x.add_assign(ring, self.eval(*c)?)?;
                }
                ring.automorphism(&x, *galois)?
            }
            Op::Automorphism(a, g) => match &self.values[a.0 as usize] {
                Poly::Coeff(p) => return Ok(Poly::Coeff(ring.automorphism_coeff(p, *g)?)),
                _ => ring.automorphism(self.eval(*a)?, *g)?,
            },
        }))
    }
}

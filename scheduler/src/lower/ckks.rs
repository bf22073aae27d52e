//! Placed `ckks_ir` to `poly_ir`: every operation by the equations of the reference evaluator, so that the
//! residues are the same, bit for bit. Key switching (ePrint 2019/688, section 3) expands here:
//!
//! ```text
//! digit_j  = concat(d[limbs_j], ntt(convert_basis(intt(d)[limbs_j])))     over B_l and the special primes
//! half_h   = inner_product(digit_j * key[j][h] over j)
//! k_h      = divide_round(half_h, special primes)
//! divide_round(x, R) = (x[rest] - ntt(convert_basis(intt(x[R])))) * (prod R)^-1
//! ```
//!
//! Relinearization with a rescale at once divides once, by the special primes and the removed ones. P times what the
//! switch is added to is 0 modulo the special primes, so it joins the limbs of the level only:
//!
//! ```text
//! half_h   = concat(P d_h + inner_product(digit_j[B_l] * key[j][h][B_l]), inner_product(.. over the special primes))
//! c_h      = divide_round(half_h, removed and special primes)
//! ```

use fhe_core::ckks::{check_raw_slots, scalar};
use fhe_core::params::{GaloisElement, Level, LimbIdx, Params};

use super::constants::{inverse_mod, product_mod, residues};
use crate::ckks_ir::{ConstId, Function, Kind, Op, OutputIdx, Scale, ValueId};
use crate::error::{Error, Result};
use crate::plan::KeyId;
use crate::poly_ir::{self, Builder, Encoded, Origin, PolyId};

/// Lowers a placed and verified function. With `encode_on_device` the plaintexts whose integers surely fit 63 bits are computed
/// from their slots; the residues are the same.
///
/// # Errors
/// [`Error::Core`] where a scalar overflows or a rotation is out of range; [`Error::Verify`] when a value
/// has no kind.
pub fn lower(function: &Function, params: &Params, encode_on_device: bool) -> Result<poly_ir::Function> {
    let mut inputs: Vec<Vec<LimbIdx>> = vec![params.level(Level(0))?.basis.clone(); function.inputs.len()];
    for id in function.ids() {
        if let Op::Input(i) = function.value(id).op {
            inputs[i.0 as usize] = params.level(kind(function, id)?.level)?.basis.clone();
        }
    }
    let origin = Origin { value: ValueId(0), level: Level(0) };
    let builder = Builder::new(&function.name, inputs, origin);
    let mut lowering = Lowering { function, params, builder, polys: Vec::new(), encode_on_device };
    for id in function.ids() {
        let polys = lowering.value(id)?;
        lowering.polys.push(polys);
    }
    let Lowering { mut builder, polys, .. } = lowering;
    for (i, output) in (0u32..).zip(&function.outputs) {
        for (poly, &value) in (0u8..).zip(&polys[output.value.0 as usize]) {
            let outputs = &mut builder.function_mut().outputs;
            outputs.push(poly_ir::Output { output: OutputIdx(i), poly, value });
        }
    }
    Ok(builder.finish())
}

fn kind(function: &Function, id: ValueId) -> Result<Kind> {
    function.value(id).kind.ok_or_else(|| Error::Verify {
        after: "lower".to_owned(),
        rule: "placed",
        problem: format!("{id} has no kind"),
    })
}

struct Lowering<'a> {
    function: &'a Function,
    params: &'a Params,
    builder: Builder,
    polys: Vec<Vec<PolyId>>,
    encode_on_device: bool,
}

impl Lowering<'_> {
    fn value(&mut self, id: ValueId) -> Result<Vec<PolyId>> {
        let op = self.function.value(id).op;
        let own = kind(self.function, id)?;
        let operands: Vec<ValueId> = op.operands().collect();
        let kinds = operands.iter().map(|&a| kind(self.function, a)).collect::<Result<Vec<_>>>()?;
        let level = kinds.iter().map(|k| k.level).max().unwrap_or(own.level);
        self.builder.set_origin(Origin { value: id, level });
        let a = operands.first().map_or_else(Vec::new, |a| self.polys[a.0 as usize].clone());
        let b = operands.get(1).map_or_else(Vec::new, |b| self.polys[b.0 as usize].clone());
        let basis = self.params.level(own.level)?.basis.clone();
        let log_scale = self.params.level(own.level)?.log_scale;
        let own_scale = if own.scale == Scale::Product { log_scale + log_scale } else { log_scale };
        let build = &mut self.builder;
        Ok(match op {
            Op::Input(i) => vec![build.input(i, 0), build.input(i, 1)],
            Op::Add(..) | Op::Sub(..) => {
                let subtract = matches!(op, Op::Sub(..));
                let pair = |i: usize| match (a.get(i), b.get(i)) {
                    (Some(&x), Some(&y)) if subtract => build.sub(x, y),
                    (Some(&x), Some(&y)) => build.add(x, y),
                    (None, Some(&y)) if subtract => build.neg(y),
                    (Some(&x), None) | (None, Some(&x)) => x,
                    (None, None) => PolyId(0),
                };
                (0..a.len().max(b.len())).map(pair).collect()
            }
            Op::Neg(_) => a.iter().map(|&x| build.neg(x)).collect(),
            Op::AddPlain(_, c) => {
                let c = self.plain(Encoded { constant: c, level: own.level, log_scale: own_scale }, &basis);
                vec![self.builder.add(a[0], c), a[1]]
            }
            Op::SubPlain(_, c) => {
                let c = self.plain(Encoded { constant: c, level: own.level, log_scale: own_scale }, &basis);
                vec![self.builder.sub(a[0], c), a[1]]
            }
            Op::MulPlain(_, c) => self.mul_plain(&a, c, own.level, &basis)?,
            Op::AddScalar(_, s) => {
                let x = scalar::addend(self.params, own.level, s.value(), own_scale)?;
                let x = residues(self.params, x, &basis);
                vec![build.add_scalar(a[0], x), a[1]]
            }
            Op::MulScalar(_, s) => {
                let x = residues(self.params, scalar::integer(s.value(), log_scale)?, &basis);
                a.iter().map(|&p| build.mul_scalar(p, x.clone())).collect()
            }
            Op::Mul(..) => vec![
                build.inner_product(vec![(a[0], b[0])]),
                build.inner_product(vec![(a[0], b[1]), (a[1], b[0])]),
                build.inner_product(vec![(a[1], b[1])]),
            ],
            Op::Rotate(_, k) => {
                self.automorphism(&a, own.level, self.params.galois_element(i64::from(k))?)?
            }
            Op::Conjugate(_) => self.automorphism(&a, own.level, self.params.galois_conjugate())?,
            Op::Relinearize(_) => {
                let [k0, k1] = self.key_switch(a[2], own.level, KeyId::Relinearization)?;
                vec![self.builder.add(a[0], k0), self.builder.add(a[1], k1)]
            }
            Op::Rescale(_) => {
                let removed = self.params.removed_at(level)?;
                a.iter().map(|&p| self.divide_round(p, &removed)).collect()
            }
            Op::RelinearizeRescale(_) => self.relinearize_rescale(&a, level)?,
            Op::LevelDrop(_, to) => {
                let above = Level(to.0 + 1);
                let basis = self.params.level(above)?.basis.clone();
                let removed = self.params.removed_at(above)?;
                let Some(factor) = scalar::level_drop_factor(self.params, level, to)? else { return Ok(a) };
                let factor = residues(self.params, factor, &basis);
                let mut drop = |p: PolyId| {
                    let kept = self.builder.slice(p, &basis);
                    let scaled = self.builder.mul_scalar(kept, factor.clone());
                    self.divide_round(scaled, &removed)
                };
                a.iter().map(|&p| drop(p)).collect()
            }
        })
    }

    /// A constant, encoded by the host or on the device.
    fn plain(&mut self, encoded: Encoded, basis: &[LimbIdx]) -> PolyId {
        let constant = self.function.constants.get(encoded.constant.0 as usize);
        let fits = |values| check_raw_slots(self.params, values, encoded.level, encoded.log_scale).is_ok();
        if self.encode_on_device && constant.is_some_and(|c| fits(&c.values)) {
            return self.builder.encode(encoded, basis);
        }
        self.builder.constant(encoded, basis)
    }

    fn mul_plain(
        &mut self,
        a: &[PolyId],
        c: ConstId,
        level: Level,
        basis: &[LimbIdx],
    ) -> Result<Vec<PolyId>> {
        let log_scale = self.params.level(level)?.log_scale;
        let c = self.plain(Encoded { constant: c, level, log_scale }, basis);
        // The plaintext first: sums whose first factors are the same become one item (`items_of`), which reads them once.
        Ok(a.iter().map(|&p| self.builder.inner_product(vec![(c, p)])).collect())
    }

    fn automorphism(&mut self, a: &[PolyId], level: Level, g: GaloisElement) -> Result<Vec<PolyId>> {
        let [k0, k1] = self.key_switch(a[1], level, KeyId::Galois(g))?;
        let sum = self.builder.add(a[0], k0);
        Ok(vec![self.builder.automorphism(sum, g), self.builder.automorphism(k1, g)])
    }

    fn key_switch(&mut self, d: PolyId, level: Level, key: KeyId) -> Result<[PolyId; 2]> {
        let digits = self.raised_digits(d, level)?;
        let mut extended = self.params.level(level)?.basis.clone();
        extended.extend(self.params.special());
        let special = self.params.special();
        let mut half = |h| {
            let sum = self.key_inner(&digits, key, h, &extended);
            self.divide_round(sum, &special)
        };
        Ok([half(0), half(1)])
    }

    fn relinearize_rescale(&mut self, d: &[PolyId], level: Level) -> Result<Vec<PolyId>> {
        let digits = self.raised_digits(d[2], level)?;
        let (basis, special) = (self.params.level(level)?.basis.clone(), self.params.special());
        let p: Vec<u64> = basis.iter().map(|&l| product_mod(self.params, &special, l)).collect();
        let mut divisor = self.params.removed_at(level)?;
        divisor.extend(&special);
        let half = |(h, &d): (u8, &PolyId)| {
            let product = self.builder.mul_scalar(d, p.clone());
            let sum = self.key_inner(&digits, KeyId::Relinearization, h, &basis);
            let main = self.builder.add(sum, product);
            let rest = self.key_inner(&digits, KeyId::Relinearization, h, &special);
            let sum = self.builder.concat(&[main, rest]);
            self.divide_round(sum, &divisor)
        };
        Ok((0u8..).zip(&d[..2]).map(half).collect())
    }

    /// `mod_up` of every digit of `d`, with the digit's index.
    fn raised_digits(&mut self, d: PolyId, level: Level) -> Result<Vec<(usize, PolyId)>> {
        let mut extended = self.params.level(level)?.basis.clone();
        extended.extend(self.params.special());
        let coefficients = self.builder.intt(d);
        let mut digits = Vec::new();
        for (j, limbs) in self.params.digits_at(level)? {
            let rest: Vec<LimbIdx> = extended.iter().copied().filter(|l| !limbs.contains(l)).collect();
            let own = self.builder.slice(d, &limbs);
            let source = self.builder.slice(coefficients, &limbs);
            let converted = self.builder.convert_basis(source, &rest);
            let converted = self.builder.ntt(converted);
            digits.push((j, self.builder.concat(&[own, converted])));
        }
        Ok(digits)
    }

    /// The limbs `basis` of a half of the inner product with a key.
    fn key_inner(&mut self, digits: &[(usize, PolyId)], key: KeyId, half: u8, basis: &[LimbIdx]) -> PolyId {
        let build = &mut self.builder;
        let term = |&(j, digit)| (build.slice(digit, basis), build.key(key, j, half, basis));
        let terms = digits.iter().map(term).collect();
        build.inner_product(terms)
    }

    fn divide_round(&mut self, x: PolyId, removed: &[LimbIdx]) -> PolyId {
        let kept: Vec<LimbIdx> =
            self.builder.basis(x).iter().copied().filter(|l| !removed.contains(l)).collect();
        let inverse = kept.iter().map(|&l| inverse_mod(self.params, removed, l)).collect();
        let remainder = self.builder.slice(x, removed);
        let remainder = self.builder.intt(remainder);
        let remainder = self.builder.convert_basis(remainder, &kept);
        let remainder = self.builder.ntt(remainder);
        let kept = self.builder.slice(x, &kept);
        self.builder.sub_mul_scalar(kept, remainder, inverse)
    }
}

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
//! A raised value is P times the ciphertext: the halves before the division, with P times what the switch is added to, which is
//! 0 modulo the special primes and so joins the limbs of the level only.
//!
//! ```text
//! raised_h = concat(P c_h + inner_product(digit_j[B_l] * key[j][h][B_l]), inner_product(.. over the special primes))
//! mod_down(x)         = divide_round(x, special primes)
//! mod_down_rescale(x) = divide_round(A x, removed and special primes)      A the product of the added primes, as in a rescale
//! ```
//!
//! The automorphism of a rotation comes last: of the quotients, or, raised, of both parts of `raised_h` before they are one, so that it
//! becomes part of their inner products.

use std::collections::BTreeMap;
use std::sync::Arc;

use fhe_core::ckks::{check_raw_slots, scalar};
use fhe_core::math::double::Double;
use fhe_core::math::modulus::Modulus;
use fhe_core::params::{GaloisElement, Level, LimbIdx, Params};
use fhe_core::rlwe::{encapsulation_basis, encapsulation_special};

use super::constants::{inverse_mod, product_mod, residues, scaled};
use crate::ckks_ir::verify::factor_scale;
use crate::ckks_ir::{ConstId, Constant, Function, Kind, Op, OutputIdx, Scale, ValueId};
use crate::error::{Error, Result};
use crate::plan::KeyId;
use crate::poly_ir::{self, Builder, Encoded, Origin, PolyId, encoded_basis, log_repeat};

/// Lowers a placed and verified function. With `encode_on_device` the plaintexts whose integers surely fit 63 bits are computed
/// from their slots; the residues are the same.
///
/// # Errors
/// [`Error::Core`] where a scalar overflows or a rotation is out of range; [`Error::Verify`] when a value
/// has no kind.
pub fn lower(function: &Function, params: &Params, encode_on_device: bool) -> Result<poly_ir::Function> {
    lower_called(function, params, encode_on_device, &canonical_constants(function).1)
}

/// All constants that a program computes with, those of each call after its own, equal ones once; and, by the number in
/// [`Function::all_constants`], the number of each.
pub fn canonical_constants(function: &Function) -> (Vec<Constant>, Vec<ConstId>) {
    let own = function.constants.len();
    let mut seen: BTreeMap<String, ConstId> = BTreeMap::new();
    let (mut constants, mut numbers) = (Vec::new(), Vec::new());
    for (i, constant) in function.all_constants(0).into_iter().enumerate() {
        // Without calls nothing is looked for.
        let digest = (own < function.n_all_constants()).then(|| constant.digest());
        let known = digest.as_ref().and_then(|digest| seen.get(digest)).copied().filter(|_| i >= own);
        numbers.push(known.unwrap_or_else(|| {
            constants.push(constant);
            ConstId(constants.len() as u32 - 1)
        }));
        if let (Some(digest), Some(&number)) = (digest, numbers.last()) {
            seen.entry(digest).or_insert(number);
        }
    }
    (constants, numbers)
}

/// Lowers a function, whose constants have these numbers: its own, then those of each call.
fn lower_called(
    function: &Function,
    params: &Params,
    encode_on_device: bool,
    numbers: &[ConstId],
) -> Result<poly_ir::Function> {
    let mut inputs: Vec<Vec<LimbIdx>> = vec![params.level(Level(0))?.basis.clone(); function.inputs.len()];
    for (basis, &level) in inputs.iter_mut().zip(function.interface.iter().flat_map(|levels| &levels.inputs))
    {
        basis.clone_from(&params.level(level)?.basis);
    }
    for id in function.ids() {
        if let Op::Input(i) = function.value(id).op {
            inputs[i.0 as usize] = params.level(kind(function, id)?.level)?.basis.clone();
        }
    }
    let origin = Origin { value: ValueId(0), level: Level(0) };
    let mut builder = Builder::new(&function.name, inputs, origin);
    for callee in &function.callees {
        let formal: Vec<ConstId> = (0..callee.n_all_constants() as u32).map(ConstId).collect();
        let callee = lower_called(callee, params, encode_on_device, &formal)?;
        builder.function_mut().callees.push(Arc::new(callee));
    }
    let mut given = numbers.get(function.constants.len()..).unwrap_or_default();
    for call in &function.calls {
        let n = function.callee(call).map_or(0, |callee| callee.n_all_constants());
        let (constants, rest) = given.split_at(n.min(given.len()));
        given = rest;
        let (callee, constants, name) = (call.callee, constants.to_vec(), call.name.clone());
        let call = poly_ir::Call { callee, arguments: Vec::new(), constants, name };
        builder.function_mut().calls.push(call);
    }
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
    function.value(id).kind.ok_or_else(|| not_placed(id))
}

fn not_placed(id: ValueId) -> Error {
    let problem = format!("{id} has no kind, or is not expanded");
    Error::Verify { after: "lower".to_owned(), rule: "placed", problem }
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
        let level = match op {
            Op::MulPlain(..) | Op::MulScalar(..) => own.level,
            _ => kinds.iter().map(|k| k.level).max().unwrap_or(own.level),
        };
        self.builder.set_origin(Origin { value: id, level });
        let a = operands.first().map_or_else(Vec::new, |a| self.polys[a.0 as usize].clone());
        let b = operands.get(1).map_or_else(Vec::new, |b| self.polys[b.0 as usize].clone());
        let log_scale = self.params.level(own.level)?.log_scale;
        let own_scale = if own.scale == Scale::Product { log_scale + log_scale } else { log_scale };
        let plain = |constant, log_scale| {
            let Kind { level, raised, .. } = own;
            Encoded { constant, level, log_scale, raised, log_repeat: 0 }
        };
        let basis = encoded_basis(self.params, own.level, own.raised)?;
        let factor_scale = match (op, kinds.first()) {
            (Op::MulPlain(..) | Op::MulScalar(..), Some(of)) => {
                factor_scale(self.params, of.level, own.level)?
            }
            _ => log_scale,
        };
        let build = &mut self.builder;
        Ok(match op {
            Op::Result(c, i) => {
                let call = &self.function.calls[c.0 as usize];
                let pair = |a: &ValueId| match self.polys[a.0 as usize][..] {
                    [p, q] => Ok([p, q]),
                    _ => Err(not_placed(*a)),
                };
                let arguments = call.arguments.iter().map(pair).collect::<Result<Vec<_>>>()?;
                build.function_mut().calls[c.0 as usize].arguments = arguments;
                vec![build.result(c, i, 0, &basis), build.result(c, i, 1, &basis)]
            }
            Op::Input(i) => vec![build.input(i, 0), build.input(i, 1)],
            Op::Add(..) | Op::Sub(..) => {
                let raise = |this: &mut Self, polys: &[PolyId], of: usize| match kinds.get(of) {
                    Some(kind) if own.raised && !kind.raised => this.times_p(polys, level),
                    _ => Ok(polys.to_vec()),
                };
                let (a, b) = (raise(self, &a, 0)?, raise(self, &b, 1)?);
                let subtract = matches!(op, Op::Sub(..));
                let pair = |i: usize| self.sum(a.get(i).copied(), b.get(i).copied(), subtract);
                (0..a.len().max(b.len())).map(pair).collect()
            }
            Op::Neg(_) => a.iter().map(|&x| build.neg(x)).collect(),
            Op::AddPlain(_, c) => {
                let c = self.plain(plain(c, own_scale), &basis);
                vec![self.builder.add(a[0], c), a[1]]
            }
            Op::SubPlain(_, c) => {
                let c = self.plain(plain(c, own_scale), &basis);
                vec![self.builder.sub(a[0], c), a[1]]
            }
            Op::MulPlain(_, c) => {
                let c = self.factor(plain(c, factor_scale), &basis);
                let a: Vec<PolyId> = a.iter().map(|&p| self.builder.slice(p, &basis)).collect();
                // The plaintext first: sums whose first factors are the same become one item (`items_of`), which reads them once.
                a.iter().map(|&p| self.builder.inner_product(vec![(c, p)])).collect()
            }
            Op::AddScalar(_, s) => {
                let x = scalar::addend(self.params, own.level, s.value(), own_scale)?;
                let x = residues(self.params, x, &basis);
                vec![build.add_scalar(a[0], x), a[1]]
            }
            Op::MulScalar(_, s) => {
                let x = residues(self.params, scalar::integer(s.value(), factor_scale)?, &basis);
                let product = |&p: &PolyId| {
                    let p = build.slice(p, &basis);
                    build.mul_scalar(p, x.clone())
                };
                a.iter().map(product).collect()
            }
            Op::MulI(_, c) => {
                let i = self.factor(plain(c, Double::default()), &basis);
                a.iter().map(|&p| self.builder.inner_product(vec![(i, p)])).collect()
            }
            Op::Mul(..) => vec![
                build.inner_product(vec![(a[0], b[0])]),
                build.inner_product(vec![(a[0], b[1]), (a[1], b[0])]),
                build.inner_product(vec![(a[1], b[1])]),
            ],
            Op::Rotate(_, k) => self.automorphism(&a, own, self.params.galois_element(i64::from(k))?)?,
            Op::Conjugate(_) => self.automorphism(&a, own, self.params.galois_conjugate())?,
            Op::Relinearize(_) if own.raised => {
                self.raised_switch(a[2], &a[..2], level, KeyId::Relinearization, GaloisElement(1))?
            }
            Op::Relinearize(_) => {
                let [k0, k1] = self.key_switch(a[2], level, KeyId::Relinearization)?;
                vec![self.builder.add(a[0], k0), self.builder.add(a[1], k1)]
            }
            Op::Rescale(_) | Op::ModDownRescale(_) => {
                a.iter().map(|&p| self.rescale(p, None, &basis)).collect()
            }
            Op::ModDown(_) => a.iter().map(|&p| self.divide_round(p, &self.params.special())).collect(),
            Op::ModRaise(..) => self.mod_raise([a[0], a[1]], own.level)?.to_vec(),
            Op::LinearTransform(..) | Op::Bootstrap(..) => return Err(not_placed(id)),
            Op::LevelDrop(_, to) => {
                let Some(kept) = self.params.level_drop_basis(level, to)? else { return Ok(a) };
                let Some(factor) = scalar::level_drop_factor(self.params, level, to)? else { return Ok(a) };
                let factor = residues(self.params, factor, &kept);
                let mut drop = |p: PolyId| {
                    let p = self.builder.slice(p, &kept);
                    self.rescale(p, Some(&factor), &basis)
                };
                a.iter().map(|&p| drop(p)).collect()
            }
        })
    }

    /// `a + b` or `a - b`; what is not there is 0. Limbs that one of them lacks are 0 there.
    fn sum(&mut self, a: Option<PolyId>, b: Option<PolyId>, subtract: bool) -> PolyId {
        let build = &mut self.builder;
        let (x, y) = match (a, b) {
            (Some(x), Some(y)) => (x, y),
            (None, Some(y)) if subtract => return build.neg(y),
            (Some(x), None) | (None, Some(x)) => return x,
            (None, None) => return PolyId(0),
        };
        let combine = |build: &mut Builder, x, y| if subtract { build.sub(x, y) } else { build.add(x, y) };
        if build.basis(x) == build.basis(y) {
            return combine(build, x, y);
        }
        let common: Vec<LimbIdx> =
            build.basis(x).iter().copied().filter(|l| build.basis(y).contains(l)).collect();
        let rest = |build: &mut Builder, p| {
            let rest: Vec<LimbIdx> = build.basis(p).iter().copied().filter(|l| !common.contains(l)).collect();
            (!rest.is_empty()).then(|| build.slice(p, &rest))
        };
        let (rest_x, rest_y) = (rest(build, x), rest(build, y));
        let rest_y = if subtract { rest_y.map(|p| build.neg(p)) } else { rest_y };
        let (x, y) = (build.slice(x, &common), build.slice(y, &common));
        let parts: Vec<PolyId> = [Some(combine(build, x, y)), rest_x, rest_y].into_iter().flatten().collect();
        build.concat(&parts)
    }

    /// `P a` modulo the primes of the level; it is 0 modulo the special ones.
    fn times_p(&mut self, a: &[PolyId], level: Level) -> Result<Vec<PolyId>> {
        let basis = &self.params.level(level)?.basis;
        let special = self.params.special();
        let p: Vec<u64> = basis.iter().map(|&l| product_mod(self.params, &special, l)).collect();
        Ok(a.iter().map(|&a| self.builder.mul_scalar(a, p.clone())).collect())
    }

    /// A constant, encoded by the host or on the device.
    fn plain(&mut self, encoded: Encoded, basis: &[LimbIdx]) -> PolyId {
        let constant = self.function.constants.get(encoded.constant.0 as usize);
        // Those of all variants: one that does not fit keeps the others on the host.
        let fits = |values| check_raw_slots(self.params, values, encoded.level, encoded.log_scale).is_ok();
        if self.encode_on_device && constant.is_some_and(|c| fits(&c.values)) {
            return self.builder.encode(encoded, basis);
        }
        self.builder.constant(encoded, basis)
    }

    /// A constant that is only a first factor: where its period is short, its values are stored once and encoded by the host.
    fn factor(&mut self, encoded: Encoded, basis: &[LimbIdx]) -> PolyId {
        let constant = self.function.constants.get(encoded.constant.0 as usize);
        match constant.map_or(0, |c| log_repeat(self.params, c.period(self.function.variants))) {
            0 => self.plain(encoded, basis),
            log_repeat => self.builder.constant(Encoded { log_repeat, ..encoded }, basis),
        }
    }

    fn automorphism(&mut self, a: &[PolyId], own: Kind, g: GaloisElement) -> Result<Vec<PolyId>> {
        if own.raised {
            return self.raised_switch(a[1], &a[..1], own.level, KeyId::Galois(g), g);
        }
        let [k0, k1] = self.key_switch(a[1], own.level, KeyId::Galois(g))?;
        let switched = [self.builder.add(a[0], k0), k1];
        Ok(switched.into_iter().map(|p| self.builder.automorphism(p, g)).collect())
    }

    /// Under the sparse secret, to a level, and back.
    fn mod_raise(&mut self, [c0, c1]: [PolyId; 2], to: Level) -> Result<[PolyId; 2]> {
        let bottom = self.params.level(Level(0))?.basis.clone();
        let top = self.params.level(to)?.basis.clone();
        let (special, basis) = (encapsulation_special(self.params)?, encapsulation_basis(self.params)?);
        let digit = self.extended(c1, &bottom, &special);
        let mut switched = |half| {
            let sum = self.key_inner(&[(0, digit)], KeyId::ToSparse, half, &basis);
            self.divide_round(sum, &special)
        };
        let (k0, s1) = (switched(0), switched(1));
        let s0 = self.builder.add(c0, k0);
        let rest: Vec<LimbIdx> = top.iter().copied().filter(|l| !bottom.contains(l)).collect();
        let [r0, r1] = [s0, s1].map(|s| {
            let raised = self.extended(s, &bottom, &rest);
            self.builder.slice(raised, &top)
        });
        let [k0, k1] = self.key_switch(r1, to, KeyId::ToDense)?;
        Ok([self.builder.add(r0, k0), k1])
    }

    /// The same integers, centred, over more limbs: the limbs `own` of `x` and what these convert to.
    fn extended(&mut self, x: PolyId, own: &[LimbIdx], rest: &[LimbIdx]) -> PolyId {
        let coefficients = self.builder.intt(x);
        let source = self.builder.slice(coefficients, own);
        let converted = self.builder.convert_basis(source, rest);
        let converted = self.builder.ntt(converted);
        let own = self.builder.slice(x, own);
        self.builder.concat(&[own, converted])
    }

    fn key_switch(&mut self, d: PolyId, level: Level, key: KeyId) -> Result<[PolyId; 2]> {
        let digits = self.raised_digits(d, level)?;
        let extended = self.params.raised_basis(level)?;
        let special = self.params.special();
        let mut half = |h| {
            let sum = self.key_inner(&digits, key, h, &extended);
            self.divide_round(sum, &special)
        };
        Ok([half(0), half(1)])
    }

    /// The switch of `d`, and P times what it is added to, before the division by P, under an automorphism if it is not 1.
    fn raised_switch(
        &mut self,
        d: PolyId,
        to: &[PolyId],
        level: Level,
        key: KeyId,
        galois: GaloisElement,
    ) -> Result<Vec<PolyId>> {
        let digits = self.raised_digits(d, level)?;
        let (basis, special) = (self.params.level(level)?.basis.clone(), self.params.special());
        let products = self.times_p(to, level)?;
        let half = |h: u8| {
            let mut main = self.key_inner(&digits, key, h, &basis);
            if let Some(&product) = products.get(usize::from(h)) {
                main = self.builder.add(main, product);
            }
            let mut rest = self.key_inner(&digits, key, h, &special);
            if galois != GaloisElement(1) {
                main = self.builder.automorphism(main, galois);
                rest = self.builder.automorphism(rest, galois);
            }
            self.builder.concat(&[main, rest])
        };
        Ok((0..2).map(half).collect())
    }

    /// `mod_up` of every digit of `d`, with the digit's index.
    fn raised_digits(&mut self, d: PolyId, level: Level) -> Result<Vec<(usize, PolyId)>> {
        let extended = self.params.raised_basis(level)?;
        let mut digits = Vec::new();
        for (j, limbs) in self.params.digits_at(level)? {
            let rest: Vec<LimbIdx> = extended.iter().copied().filter(|l| !limbs.contains(l)).collect();
            digits.push((j, self.extended(d, &limbs, &rest)));
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

    /// `round(x S A / R)` over the basis `to`: S the factor, of residues for each limb of `x`, A the product of the primes that `x`
    /// lacks, R of those that `to` lacks. Modulo a prime of A the product is 0, so what is divided there is the remainder alone.
    ///
    /// With `r` the remainder, `(x S A - r) / R = (x - r (S A)^-1) S A / R`, so that no product is computed: S A is part of the
    /// conversion's constants, before and, inverse, after it, and of the last factor.
    fn rescale(&mut self, x: PolyId, factor: Option<&[u64]>, to: &[LimbIdx]) -> PolyId {
        let from = self.builder.basis(x).to_vec();
        let removed: Vec<LimbIdx> = from.iter().copied().filter(|l| !to.contains(l)).collect();
        let (kept, added): (Vec<LimbIdx>, Vec<LimbIdx>) = to.iter().copied().partition(|l| from.contains(l));
        if added.is_empty() && factor.is_none() {
            return self.divide_round(x, &removed);
        }
        let params = self.params;
        let times: Vec<u64> = (0..from.len())
            .map(|at| {
                let product = product_mod(params, &added, from[at]);
                scaled(params, product, factor.unwrap_or_default(), at, from[at])
            })
            .collect();
        let times_of = |limb: &LimbIdx| from.iter().position(|l| l == limb).map_or(0, |at| times[at]);
        let modulus = |limb: &LimbIdx| Modulus::<u64>::new(params.prime(*limb));
        let inverse = |limb: &LimbIdx| inverse_mod(params, &removed, *limb);
        if let Some(factor) = factor.filter(|_| kept.iter().any(|limb| times_of(limb) == 0)) {
            // What has no inverse is multiplied; A has one.
            let product = self.builder.mul_scalar(x, factor.to_vec());
            return self.rescale(product, None, to);
        }
        let before = removed.iter().map(times_of).collect();
        let after = |limb: &LimbIdx| match times_of(limb) {
            0 => modulus(limb).neg(inverse(limb)),
            times => modulus(limb).inv(times),
        };
        let remainder = self.remainder(x, &removed, to, before, to.iter().map(after).collect());
        if kept.is_empty() {
            return remainder;
        }
        let last = kept.iter().map(|limb| modulus(limb).mul(inverse(limb), times_of(limb))).collect();
        let (own, of_kept) = (self.builder.slice(x, &kept), self.builder.slice(remainder, &kept));
        let quotient = self.builder.sub_mul_scalar(own, of_kept, last);
        if added.is_empty() {
            return quotient;
        }
        let rest = self.builder.slice(remainder, &added);
        self.builder.concat(&[quotient, rest])
    }

    /// What `x` leaves when it is divided by `removed`, centred, over other limbs; with scalars before and after the conversion.
    fn remainder(
        &mut self,
        x: PolyId,
        removed: &[LimbIdx],
        to: &[LimbIdx],
        before: Vec<u64>,
        after: Vec<u64>,
    ) -> PolyId {
        let remainder = self.builder.slice(x, removed);
        let remainder = self.builder.intt(remainder);
        let remainder = self.builder.convert_scaled(remainder, to, before, after);
        self.builder.ntt(remainder)
    }

    fn divide_round(&mut self, x: PolyId, removed: &[LimbIdx]) -> PolyId {
        let kept: Vec<LimbIdx> =
            self.builder.basis(x).iter().copied().filter(|l| !removed.contains(l)).collect();
        let inverse = kept.iter().map(|&l| inverse_mod(self.params, removed, l)).collect();
        let remainder = self.remainder(x, removed, &kept, Vec::new(), Vec::new());
        let kept = self.builder.slice(x, &kept);
        self.builder.sub_mul_scalar(kept, remainder, inverse)
    }
}

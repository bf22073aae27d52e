//! Makes values, each operation once.

use std::collections::BTreeMap;

use fhe_core::params::{GaloisElement, Level, LimbIdx};

use super::{Domain, Encoded, EncodedIdx, Function, Op, Origin, PolyId, SlotsIdx, Value};
use crate::ckks_ir::{CallIdx, ConstId, InputIdx};
use crate::plan::KeyId;

/// Appends to a function; an operation that is there already is not made again.
#[derive(Debug)]
pub struct Builder {
    function: Function,
    seen: BTreeMap<(Op, Vec<LimbIdx>), PolyId>,
    encoded: BTreeMap<EncodedKey, u32>,
    slots: BTreeMap<EncodedKey, u32>,
    origin: Origin,
}

/// What tells encodings apart: constant, level, the bits of the scale, raised, repeated.
pub(crate) type EncodedKey = (ConstId, Level, [u64; 2], bool, u32);

pub(crate) fn key_of(encoded: &Encoded) -> EncodedKey {
    let (hi, lo) = encoded.log_scale.parts();
    (encoded.constant, encoded.level, [hi.to_bits(), lo.to_bits()], encoded.raised, encoded.log_repeat)
}

impl Builder {
    /// An empty function over inputs of these bases.
    pub fn new(name: &str, inputs: Vec<Vec<LimbIdx>>, origin: Origin) -> Self {
        let function = Function { name: name.to_owned(), inputs, ..Function::default() };
        let (encoded, slots) = (BTreeMap::new(), BTreeMap::new());
        Self { function, seen: BTreeMap::new(), encoded, slots, origin }
    }

    /// What the next values come from.
    pub fn set_origin(&mut self, origin: Origin) {
        self.origin = origin;
    }

    /// The function.
    pub fn finish(self) -> Function {
        self.function
    }

    /// The function so far.
    pub fn function_mut(&mut self) -> &mut Function {
        &mut self.function
    }

    /// The basis of a value.
    pub fn basis(&self, id: PolyId) -> &[LimbIdx] {
        &self.function.value(id).basis
    }

    fn push(&mut self, op: Op, basis: Vec<LimbIdx>, domain: Domain) -> PolyId {
        let (function, origin) = (&mut self.function, self.origin);
        *self.seen.entry((op, basis)).or_insert_with_key(|(op, basis)| {
            function.values.push(Value { op: op.clone(), basis: basis.clone(), domain, origin });
            PolyId(function.values.len() as u32 - 1)
        })
    }

    fn like(&mut self, op: Op, a: PolyId) -> PolyId {
        let Value { basis, domain, .. } = self.function.value(a);
        let (basis, domain) = (basis.clone(), *domain);
        self.push(op, basis, domain)
    }

    /// A polynomial of an input.
    pub fn input(&mut self, input: InputIdx, poly: u8) -> PolyId {
        let basis = self.function.inputs[input.0 as usize].clone();
        self.push(Op::Input { input, poly }, basis, Domain::Eval)
    }

    /// A polynomial of a result of a call, which is there.
    pub fn result(&mut self, call: CallIdx, result: u32, poly: u8, basis: &[LimbIdx]) -> PolyId {
        self.push(Op::Result { call, result, poly }, basis.to_vec(), Domain::Eval)
    }

    /// A constant as it is encoded, over the basis of its level.
    pub fn constant(&mut self, encoded: Encoded, basis: &[LimbIdx]) -> PolyId {
        let list = &mut self.function.encoded;
        let index = *self.encoded.entry(key_of(&encoded)).or_insert_with(|| {
            list.push(encoded);
            list.len() as u32 - 1
        });
        self.push(Op::Constant(EncodedIdx(index)), basis.to_vec(), encoded.domain())
    }

    /// The same constant encoded on the device, bit for bit: its slots go through the inverse special FFT, are rounded at the
    /// scale and transformed.
    pub fn encode(&mut self, encoded: Encoded, basis: &[LimbIdx]) -> PolyId {
        let list = &mut self.function.slots;
        let index = *self.slots.entry(key_of(&encoded)).or_insert_with(|| {
            list.push(encoded);
            list.len() as u32 - 1
        });
        let real = self.push(Op::EmbedInverse(SlotsIdx(index)), Vec::new(), Domain::Real);
        let rounded = self.push(Op::RoundResidues(real), basis.to_vec(), Domain::Coeff);
        self.ntt(rounded)
    }

    /// The limbs `basis` of a digit of a key.
    pub fn key(&mut self, key: KeyId, digit: usize, half: u8, basis: &[LimbIdx]) -> PolyId {
        self.push(Op::Key { key, digit: digit as u32, half }, basis.to_vec(), Domain::Eval)
    }

    /// Coefficients to values.
    pub fn ntt(&mut self, a: PolyId) -> PolyId {
        let basis = self.basis(a).to_vec();
        self.push(Op::Ntt(a), basis, Domain::Eval)
    }

    /// Values to coefficients.
    pub fn intt(&mut self, a: PolyId) -> PolyId {
        let basis = self.basis(a).to_vec();
        self.push(Op::Intt(a), basis, Domain::Coeff)
    }

    /// Centred conversion to other limbs.
    pub fn convert_basis(&mut self, a: PolyId, to: &[LimbIdx]) -> PolyId {
        self.convert_scaled(a, to, Vec::new(), Vec::new())
    }

    /// [`Op::ConvertBasis`] with scalars.
    pub fn convert_scaled(&mut self, a: PolyId, to: &[LimbIdx], before: Vec<u64>, after: Vec<u64>) -> PolyId {
        self.push(Op::ConvertBasis { a, before, after }, to.to_vec(), Domain::Coeff)
    }

    /// The limbs `basis` of `a`; `a` itself if these are all.
    pub fn slice(&mut self, a: PolyId, basis: &[LimbIdx]) -> PolyId {
        if self.basis(a) == basis {
            return a;
        }
        let domain = self.function.value(a).domain;
        self.push(Op::Slice(a), basis.to_vec(), domain)
    }

    /// The limbs of all parts, which are disjoint and of one domain.
    pub fn concat(&mut self, parts: &[PolyId]) -> PolyId {
        if let [one] = parts {
            return *one;
        }
        let mut basis: Vec<LimbIdx> = parts.iter().flat_map(|&p| self.basis(p).to_vec()).collect();
        basis.sort_unstable();
        let domain = parts.first().map_or(Domain::Eval, |&p| self.function.value(p).domain);
        self.push(Op::Concat(parts.to_vec()), basis, domain)
    }

    /// `a + b`.
    pub fn add(&mut self, a: PolyId, b: PolyId) -> PolyId {
        let (a, b) = (a.min(b), a.max(b));
        self.like(Op::Add(a, b), a)
    }

    /// `a - b`.
    pub fn sub(&mut self, a: PolyId, b: PolyId) -> PolyId {
        self.like(Op::Sub(a, b), a)
    }

    /// `-a`.
    pub fn neg(&mut self, a: PolyId) -> PolyId {
        self.like(Op::Neg(a), a)
    }

    /// `sum a * b` over at least one term.
    pub fn inner_product(&mut self, terms: Vec<(PolyId, PolyId)>) -> PolyId {
        let basis = terms.first().map_or_else(Vec::new, |&(a, _)| self.basis(a).to_vec());
        self.push(
            Op::InnerProduct { terms, init: None, times: Vec::new(), galois: GaloisElement(1) },
            basis,
            Domain::Eval,
        )
    }

    /// `a * scalar`, residues by limb.
    pub fn mul_scalar(&mut self, a: PolyId, scalars: Vec<u64>) -> PolyId {
        self.like(Op::MulScalar(a, scalars), a)
    }

    /// `a + scalar`.
    pub fn add_scalar(&mut self, a: PolyId, scalars: Vec<u64>) -> PolyId {
        self.like(Op::AddScalar(a, scalars), a)
    }

    /// `(a - b) * scalar`.
    pub fn sub_mul_scalar(&mut self, a: PolyId, b: PolyId, scalars: Vec<u64>) -> PolyId {
        let op = Op::SubMulScalar { a, b, scalars, add: None, galois: GaloisElement(1) };
        self.like(op, a)
    }

    /// `a(X^g)`.
    pub fn automorphism(&mut self, a: PolyId, g: GaloisElement) -> PolyId {
        self.like(Op::Automorphism(a, g), a)
    }
}

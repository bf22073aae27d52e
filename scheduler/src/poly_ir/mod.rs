//! Operations on RNS polynomials in SSA form: the language in which bits are fixed.
//!
//! A value is a polynomial over a basis (ascending limb indexes) in one domain, with canonical residues; but for the
//! coefficients of a plaintext before they are rounded ([`Domain::Real`]), which have no limbs. The
//! operations are the kernels of [`kernels_gpu::abi`], plus `slice` and `concat`, which move nothing. The
//! [`Builder`] makes equal operations one value, which is how the decomposition of a ciphertext comes to be
//! shared by all its rotations (hoisting). Owns types and builder; [`crate::interp::poly`] is the meaning.

mod builder;
mod calls;
pub mod text;
pub mod verify;

pub use builder::Builder;
pub(crate) use builder::{EncodedKey, key_of};
pub use calls::{Call, inline_all};

use core::fmt;
use std::sync::Arc;

use fhe_core::ckks::Encoder;
use fhe_core::math::double::Double;
use fhe_core::math::word::Word;
use fhe_core::params::{GaloisElement, Level, LimbIdx, Params};
use fhe_core::ring::{Eval, RnsPoly};
use kernels_gpu::abi::MIN_LOG_REPEAT;
use num_complex::Complex64;

use crate::ckks_ir::{self, CallIdx, ConstId, InputIdx, OutputIdx};
use crate::error::Result;
use crate::plan::KeyId;

/// A value of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolyId(pub u32);

impl fmt::Display for PolyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// An encoded constant: an index into [`Function::encoded`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EncodedIdx(pub u32);

/// Slots that are encoded on the device: an index into [`Function::slots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotsIdx(pub u32);

/// Whether a polynomial is given by coefficients or by values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Domain {
    /// Coefficients.
    Coeff,
    /// Values at the roots, bit-reversed.
    Eval,
    /// Coefficients as doubles, without a basis.
    Real,
    /// Values that stand in runs of `2^r` equal ones, stored once a run: a plaintext of a short period, which is the first factor of products.
    Repeated(u32),
}

/// An operation; the basis of the result is in [`Value`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// Polynomial `poly` of an encrypted input.
    Input {
        /// Which input.
        input: InputIdx,
        /// 0 or 1.
        poly: u8,
    },
    /// An encoded constant.
    Constant(EncodedIdx),
    /// The inverse special FFT of slots, as [`kernels_gpu::abi::EmbedInverseItem`] leaves it.
    EmbedInverse(SlotsIdx),
    /// Such coefficients at the scale of their slots, rounded, over the basis of their level.
    RoundResidues(PolyId),
    /// Polynomial `poly` of a result of a call. What it needs are the arguments: [`Function::needs`].
    Result {
        /// Which call.
        call: CallIdx,
        /// Which result.
        result: u32,
        /// 0 or 1.
        poly: u8,
    },
    /// A digit of an evaluation key.
    Key {
        /// Which key.
        key: KeyId,
        /// Which digit.
        digit: u32,
        /// 0 = `b`, 1 = `a`.
        half: u8,
    },
    /// Coefficients to values.
    Ntt(PolyId),
    /// Values to coefficients.
    Intt(PolyId),
    /// Centred conversion of `a * before` to the basis of the result, which shares no limb with the operand's, times `after`. Both
    /// become part of the conversion's constants.
    ConvertBasis {
        /// What is converted.
        a: PolyId,
        /// A residue for each limb of `a`; none for 1.
        before: Vec<u64>,
        /// A residue for each limb of the result; none for 1.
        after: Vec<u64>,
    },
    /// The limbs of the result's basis.
    Slice(PolyId),
    /// The limbs of all operands, whose bases are disjoint.
    Concat(Vec<PolyId>),
    /// `a + b`.
    Add(PolyId, PolyId),
    /// `a - b`.
    Sub(PolyId, PolyId),
    /// `-a`.
    Neg(PolyId),
    /// `(init * times + sum a * b)(X^g)`.
    InnerProduct {
        /// At least one product.
        terms: Vec<(PolyId, PolyId)>,
        /// Added to the sum.
        init: Option<PolyId>,
        /// A residue for each limb of `init`; none for 1.
        times: Vec<u64>,
        /// The automorphism, 1 for none.
        galois: GaloisElement,
    },
    /// `a * scalar`, a residue for each limb.
    MulScalar(PolyId, Vec<u64>),
    /// `a + scalar` in every position.
    AddScalar(PolyId, Vec<u64>),
    /// `((a - b) * scalar + add)(X^g)`, the last step of a division by primes and what follows it.
    SubMulScalar {
        /// What is divided.
        a: PolyId,
        /// Its remainder.
        b: PolyId,
        /// A residue for each limb.
        scalars: Vec<u64>,
        /// Added to the quotient.
        add: Option<PolyId>,
        /// The automorphism, 1 for none.
        galois: GaloisElement,
    },
    /// `a(X^g)`.
    Automorphism(PolyId, GaloisElement),
}

impl Op {
    /// The name in texts, the kernel's where there is one.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input { .. } => "input",
            Self::Constant(_) => "constant",
            Self::EmbedInverse(_) => "embed_inverse",
            Self::RoundResidues(_) => "round_residues",
            Self::Result { .. } => "result",
            Self::Key { .. } => "key",
            Self::Ntt(_) => "ntt",
            Self::Intt(_) => "intt",
            Self::ConvertBasis { .. } => "convert_basis",
            Self::Slice(_) => "slice",
            Self::Concat(_) => "concat",
            Self::Add(..) => "add",
            Self::Sub(..) => "sub",
            Self::Neg(_) => "neg",
            Self::InnerProduct { .. } => "inner_product",
            Self::MulScalar(..) => "mul_scalar",
            Self::AddScalar(..) => "add_scalar",
            Self::SubMulScalar { .. } => "sub_mul_scalar",
            Self::Automorphism(..) => "automorphism",
        }
    }

    /// The operands, in order.
    pub fn operands(&self) -> impl Iterator<Item = PolyId> {
        let (mut few, mut parts, mut terms): ([Option<PolyId>; 3], &[PolyId], &[_]) = ([None; 3], &[], &[]);
        match self {
            Self::Input { .. }
            | Self::Constant(_)
            | Self::EmbedInverse(_)
            | Self::Result { .. }
            | Self::Key { .. } => {}
            Self::Ntt(a)
            | Self::Intt(a)
            | Self::RoundResidues(a)
            | Self::ConvertBasis { a, .. }
            | Self::Slice(a)
            | Self::Neg(a)
            | Self::MulScalar(a, _)
            | Self::AddScalar(a, _)
            | Self::Automorphism(a, _) => few[0] = Some(*a),
            Self::Add(a, b) | Self::Sub(a, b) => few = [Some(*a), Some(*b), None],
            Self::SubMulScalar { a, b, add, .. } => few = [Some(*a), Some(*b), *add],
            Self::Concat(of) => parts = of,
            Self::InnerProduct { terms: of, init, .. } => (terms, few[0]) = (of, *init),
        }
        let terms = terms.iter().flat_map(|&(a, b)| [a, b]);
        terms.chain(parts.iter().copied()).chain(few.into_iter().flatten())
    }

    /// The same operation on other operands.
    #[must_use]
    pub fn map(&self, mut f: impl FnMut(PolyId) -> PolyId) -> Self {
        match self {
            Self::Input { .. }
            | Self::Constant(_)
            | Self::EmbedInverse(_)
            | Self::Result { .. }
            | Self::Key { .. } => self.clone(),
            Self::RoundResidues(a) => Self::RoundResidues(f(*a)),
            Self::Ntt(a) => Self::Ntt(f(*a)),
            Self::Intt(a) => Self::Intt(f(*a)),
            Self::ConvertBasis { a, before, after } => {
                Self::ConvertBasis { a: f(*a), before: before.clone(), after: after.clone() }
            }
            Self::Slice(a) => Self::Slice(f(*a)),
            Self::Neg(a) => Self::Neg(f(*a)),
            Self::MulScalar(a, s) => Self::MulScalar(f(*a), s.clone()),
            Self::AddScalar(a, s) => Self::AddScalar(f(*a), s.clone()),
            Self::Automorphism(a, g) => Self::Automorphism(f(*a), *g),
            Self::Add(a, b) => Self::Add(f(*a), f(*b)),
            Self::Sub(a, b) => Self::Sub(f(*a), f(*b)),
            Self::SubMulScalar { a, b, scalars, add, galois } => {
                let (a, b, add) = (f(*a), f(*b), add.map(f));
                Self::SubMulScalar { a, b, scalars: scalars.clone(), add, galois: *galois }
            }
            Self::Concat(parts) => Self::Concat(parts.iter().map(|&a| f(a)).collect()),
            Self::InnerProduct { terms, init, times, galois } => {
                let terms = terms.iter().map(|&(a, b)| (f(a), f(b))).collect();
                Self::InnerProduct { terms, init: init.map(f), times: times.clone(), galois: *galois }
            }
        }
    }
}

/// Where a value comes from, for segments and profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The `ckks_ir` value that first needed it.
    pub value: ckks_ir::ValueId,
    /// The level at which that operation works: the highest of its operands.
    pub level: Level,
}

/// An operation with the type of its result.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// How it is made.
    pub op: Op,
    /// Its limbs, ascending; none of [`Domain::Real`].
    pub basis: Vec<LimbIdx>,
    /// Its domain.
    pub domain: Domain,
    /// Where it comes from.
    pub origin: Origin,
}

/// A constant as it is encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Encoded {
    /// Which constant.
    pub constant: ConstId,
    /// At which level.
    pub level: Level,
    /// log2 of its scale.
    pub log_scale: Double,
    /// Whether it is over the special primes too.
    pub raised: bool,
    /// log2 of how many adjacent values are equal and stored once; 0 if all are stored.
    pub log_repeat: u32,
}

/// log2 of the length of the runs in which the values of a plaintext stand whose slots have a period: the polynomial is one in
/// `X^(N / 2p)`. 0 where storing runs once is not worth it or not possible.
pub fn log_repeat(params: &Params, period: usize) -> u32 {
    let log_repeat = (params.n_slots() / period.max(1)).checked_ilog2().unwrap_or(0);
    if log_repeat < MIN_LOG_REPEAT { 0 } else { log_repeat }
}

impl Encoded {
    /// The limbs that it is encoded over.
    ///
    /// # Errors
    /// [`crate::Error::Core`] when the level is not there.
    pub fn basis(&self, params: &Params) -> Result<Vec<LimbIdx>> {
        encoded_basis(params, self.level, self.raised)
    }

    /// Whether runs of that length can be stored once in a ring of `2^log_n`; those of one value are none.
    pub fn has_runs_of(&self, log_n: u32) -> bool {
        self.log_repeat == 0 || (MIN_LOG_REPEAT..log_n).contains(&self.log_repeat)
    }

    /// The domain of the constant.
    pub fn domain(&self) -> Domain {
        if self.log_repeat == 0 { Domain::Eval } else { Domain::Repeated(self.log_repeat) }
    }

    /// The polynomial of such slots, all values.
    ///
    /// # Errors
    /// [`crate::Error::Core`]: those of the encoder.
    pub fn encode<W: Word>(&self, encoder: &Encoder<W>, slots: &[Complex64]) -> Result<RnsPoly<W, Eval>> {
        Ok(match self.raised {
            true => encoder.encode_raised(slots, self.level, self.log_scale)?.into_poly(),
            false => encoder.encode(slots, self.level, self.log_scale)?.into_poly(),
        })
    }
}

/// The limbs of a plaintext at a level, raised or not.
///
/// # Errors
/// [`crate::Error::Core`] when the level is not there.
pub fn encoded_basis(params: &Params, level: Level, raised: bool) -> Result<Vec<LimbIdx>> {
    Ok(if raised { params.raised_basis(level)? } else { params.level(level)?.basis.clone() })
}

/// A polynomial that is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// Of which output.
    pub output: OutputIdx,
    /// 0 or 1.
    pub poly: u8,
    /// Which value.
    pub value: PolyId,
}

/// A function on polynomials.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Function {
    /// Name of the program.
    pub name: String,
    /// Constants by [`EncodedIdx`], encoded by the host.
    pub encoded: Vec<Encoded>,
    /// Constants by [`SlotsIdx`], encoded by [`Op::EmbedInverse`] and [`Op::RoundResidues`].
    pub slots: Vec<Encoded>,
    /// The basis of each input by [`InputIdx`].
    pub inputs: Vec<Vec<LimbIdx>>,
    /// The functions that it calls.
    pub callees: Vec<Arc<Self>>,
    /// Its calls.
    pub calls: Vec<Call>,
    /// The values, operands first.
    pub values: Vec<Value>,
    /// What is returned, by output and polynomial.
    pub outputs: Vec<Output>,
}

impl Function {
    /// A value. The id must be of this function.
    pub fn value(&self, id: PolyId) -> &Value {
        &self.values[id.0 as usize]
    }

    /// How the slots are encoded whose coefficients a value is.
    pub fn slots_of(&self, real: PolyId) -> Option<&Encoded> {
        match self.values.get(real.0 as usize)?.op {
            Op::EmbedInverse(slots) => self.slots.get(slots.0 as usize),
            _ => None,
        }
    }

    /// All ids in order.
    pub fn ids(&self) -> impl Iterator<Item = PolyId> + use<> {
        (0..self.values.len() as u32).map(PolyId)
    }
}

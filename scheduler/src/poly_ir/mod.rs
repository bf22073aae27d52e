//! Operations on RNS polynomials in SSA form: the language in which bits are fixed.
//!
//! A value is a polynomial over a basis (ascending limb indexes) in one domain, with canonical residues. The
//! operations are the kernels of [`kernels_gpu::abi`], plus `slice` and `concat`, which move nothing. The
//! [`Builder`] makes equal operations one value, which is how the decomposition of a ciphertext comes to be shared by
//! all its rotations (hoisting). Owns types and builder; [`crate::interp::poly`] is the meaning.

use core::fmt;
use fhe_core::math::double::Double;
use fhe_core::params::{GaloisElement, Level, LimbIdx};

use crate::ckks_ir::{self, ConstId, InputIdx, OutputIdx};
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

/// Whether a polynomial is given by coefficients or by values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Domain {
    /// Coefficients.
    Coeff,
    /// Values at the roots, bit-reversed.
    Eval,
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
    /// Centred conversion to the basis of the result, which shares no limb with the operand's.
    ConvertBasis(PolyId),
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
    /// `init + sum a * b`.
    InnerProduct {
        /// At least one product.
        terms: Vec<(PolyId, PolyId)>,
        /// Added to the sum.
        init: Option<PolyId>,
    },
    /// `a * scalar`, a residue for each limb.
    MulScalar(PolyId, Vec<u64>),
    /// `a + scalar` in every position.
    AddScalar(PolyId, Vec<u64>),
    /// `(a - b) * scalar`.
    SubMulScalar(PolyId, PolyId, Vec<u64>),
    /// `a(X^g)`.
    Automorphism(PolyId, GaloisElement),
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
    /// Its limbs, ascending.
    pub basis: Vec<LimbIdx>,
    /// Its domain.
    pub domain: Domain,
    /// Where it comes from.
    pub origin: Origin,
}

/// A constant as it is encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// Which constant.
    pub constant: ConstId,
    /// At which level.
    pub level: Level,
    /// log2 of its scale.
    pub log_scale: Double,
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
    /// Constants by [`EncodedIdx`].
    pub encoded: Vec<Encoded>,
    /// The basis of each input by [`InputIdx`].
    pub inputs: Vec<Vec<LimbIdx>>,
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

    /// All ids in order.
    pub fn ids(&self) -> impl Iterator<Item = PolyId> + use<> {
        (0..self.values.len() as u32).map(PolyId)
    }
}

//! Operations on encrypted vectors in SSA form, before and after levels are placed.
//!
//! A function is an arena of [`Value`]s in topological order, typed by [`ValueId`]; data flow is the arena,
//! order is its order. Before [`crate::passes::place`] no value has a [`Kind`], `mod_down` and `mod_down_rescale` do not occur, and
//! `relinearize`, `rescale` and `level_drop` are what the user wants there; after it every value has one. Owns types and the
//! builder; [`text`] prints and parses, [`verify`] lists the rules, [`crate::interp::slots`] is the
//! meaning.

mod bound;
mod calls;
mod inline;
mod location;
pub mod text;
mod transform;
pub mod verify;

pub use bound::{Bound, Unit};
pub use calls::{Call, CallIdx, CalleeIdx, Expansion, Interface};
pub use inline::{inline, inline_all};
pub use location::Location;
pub use transform::{Transform, TransformIdx};

use core::fmt;
use std::sync::Arc;

use fhe_core::params::Level;
use num_complex::Complex64;

/// A value of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub u32);

/// A constant of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConstId(pub u32);

/// An encrypted input of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputIdx(pub u32);

/// An encrypted output of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputIdx(pub u32);

impl fmt::Display for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl fmt::Display for ConstId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A finite real scalar, ordered by its bits so that operations can be keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scalar(u64);

impl Scalar {
    /// Wraps a number; zero loses its sign.
    pub fn new(value: f64) -> Self {
        Self((value + 0.0).to_bits())
    }

    /// The number.
    pub fn value(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// An operation; operands come before the value that they make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// The encrypted input of that index.
    Input(InputIdx),
    /// `a + b`; raised if one of them is, the other is then multiplied by `P`.
    Add(ValueId, ValueId),
    /// `a - b`.
    Sub(ValueId, ValueId),
    /// `-a`.
    Neg(ValueId),
    /// `a + constant`.
    AddPlain(ValueId, ConstId),
    /// `a - constant`.
    SubPlain(ValueId, ConstId),
    /// `a * constant`, slot by slot.
    MulPlain(ValueId, ConstId),
    /// `a * i`, exactly and without a level: the constant is the imaginary unit, encoded at scale 1 it is `X^(N/2)`.
    MulI(ValueId, ConstId),
    /// `a + scalar` in every slot.
    AddScalar(ValueId, Scalar),
    /// `a * scalar`.
    MulScalar(ValueId, Scalar),
    /// `a * b`, slot by slot; degree 2 once placed.
    Mul(ValueId, ValueId),
    /// Slots rotated left by `k > 0`: slot `i` becomes what slot `i + k` was. Raised or not, as its kind says.
    Rotate(ValueId, u32),
    /// Complex conjugate of every slot. Raised or not, as its kind says.
    Conjugate(ValueId),
    /// Degree 2 to degree 1. Raised or not, as its kind says.
    Relinearize(ValueId),
    /// Product scale at level `l` to canonical scale at level `l - 1`; without kinds, relinearized too.
    Rescale(ValueId),
    /// Raised to not raised: one division by the special primes.
    ModDown(ValueId),
    /// Both, with one division: raised and product scale at level `l` to canonical scale at level `l - 1`.
    ModDownRescale(ValueId),
    /// Canonical to canonical at a lower level; without kinds, canonical at exactly this level.
    LevelDrop(ValueId, Level),
    /// `sum_d diag_d * rotate(a, d)`, until [`crate::passes::expand_transforms`].
    LinearTransform(ValueId, TransformIdx),
    /// The same message at the level that bootstrapping returns, of slots that repeat with a period; until
    /// [`crate::passes::expand_bootstraps`].
    Bootstrap(ValueId, u32),
    /// Bootstrapping's `to_sparse`, `mod_raise` and `to_dense`: from level 0 to the highest, which the level is, the same integers plus
    /// multiples of the modulus of level 0. Slots are multiplied by the scalar, the quotient of the two canonical scales.
    ModRaise(ValueId, Level, Scalar),
    /// A result of a call, by its number. What it needs are the arguments: [`Function::needs`].
    Result(CallIdx, u32),
}

impl Op {
    /// The name in texts and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input(_) => "input",
            Self::Add(..) => "add",
            Self::Sub(..) => "sub",
            Self::Neg(_) => "neg",
            Self::AddPlain(..) => "add_plain",
            Self::SubPlain(..) => "sub_plain",
            Self::MulPlain(..) => "mul_plain",
            Self::MulI(..) => "mul_i",
            Self::AddScalar(..) => "add_scalar",
            Self::MulScalar(..) => "mul_scalar",
            Self::Mul(..) => "mul",
            Self::Rotate(..) => "rotate",
            Self::Conjugate(_) => "conjugate",
            Self::Relinearize(_) => "relinearize",
            Self::Rescale(_) => "rescale",
            Self::ModDown(_) => "mod_down",
            Self::ModDownRescale(_) => "mod_down_rescale",
            Self::LevelDrop(..) => "level_drop",
            Self::LinearTransform(..) => "linear_transform",
            Self::Bootstrap(..) => "bootstrap",
            Self::ModRaise(..) => "mod_raise",
            Self::Result(..) => "result",
        }
    }

    /// The encrypted operands, in order.
    pub fn operands(&self) -> impl Iterator<Item = ValueId> + use<> {
        let (a, b) = match *self {
            Self::Input(_) | Self::Result(..) => (None, None),
            Self::Add(a, b) | Self::Sub(a, b) | Self::Mul(a, b) => (Some(a), Some(b)),
            Self::Neg(a)
            | Self::AddPlain(a, _)
            | Self::SubPlain(a, _)
            | Self::MulPlain(a, _)
            | Self::MulI(a, _)
            | Self::AddScalar(a, _)
            | Self::MulScalar(a, _)
            | Self::Rotate(a, _)
            | Self::Conjugate(a)
            | Self::Relinearize(a)
            | Self::Rescale(a)
            | Self::ModDown(a)
            | Self::ModDownRescale(a)
            | Self::LevelDrop(a, _)
            | Self::LinearTransform(a, _)
            | Self::Bootstrap(a, _)
            | Self::ModRaise(a, ..) => (Some(a), None),
        };
        a.into_iter().chain(b)
    }

    /// The same operation on other operands.
    #[must_use]
    pub fn map(&self, mut f: impl FnMut(ValueId) -> ValueId) -> Self {
        match *self {
            Self::Input(_) | Self::Result(..) => *self,
            Self::Add(a, b) => Self::Add(f(a), f(b)),
            Self::Sub(a, b) => Self::Sub(f(a), f(b)),
            Self::Mul(a, b) => Self::Mul(f(a), f(b)),
            Self::Neg(a) => Self::Neg(f(a)),
            Self::AddPlain(a, c) => Self::AddPlain(f(a), c),
            Self::SubPlain(a, c) => Self::SubPlain(f(a), c),
            Self::MulPlain(a, c) => Self::MulPlain(f(a), c),
            Self::MulI(a, c) => Self::MulI(f(a), c),
            Self::AddScalar(a, s) => Self::AddScalar(f(a), s),
            Self::MulScalar(a, s) => Self::MulScalar(f(a), s),
            Self::Rotate(a, k) => Self::Rotate(f(a), k),
            Self::Conjugate(a) => Self::Conjugate(f(a)),
            Self::Relinearize(a) => Self::Relinearize(f(a)),
            Self::Rescale(a) => Self::Rescale(f(a)),
            Self::ModDown(a) => Self::ModDown(f(a)),
            Self::ModDownRescale(a) => Self::ModDownRescale(f(a)),
            Self::LevelDrop(a, l) => Self::LevelDrop(f(a), l),
            Self::LinearTransform(a, t) => Self::LinearTransform(f(a), t),
            Self::Bootstrap(a, period) => Self::Bootstrap(f(a), period),
            Self::ModRaise(a, level, s) => Self::ModRaise(f(a), level, s),
        }
    }

    /// The constant that it reads; those of a transform are in [`Function::constants_of`].
    pub fn constant(&self) -> Option<ConstId> {
        match *self {
            Self::AddPlain(_, c) | Self::SubPlain(_, c) | Self::MulPlain(_, c) | Self::MulI(_, c) => Some(c),
            _ => None,
        }
    }
}

/// Whether a value still owes a rescale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scale {
    /// Scale `S_l`, the level's own.
    Canonical,
    /// Scale `S_l^2`, before its rescale.
    Product,
}

/// What a placed value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Its level.
    pub level: Level,
    /// Its scale.
    pub scale: Scale,
    /// 1, or 2 before relinearization.
    pub degree: u8,
    /// Whether it is `P` times the ciphertext, over the special primes too: a key switch before its `mod_down`.
    pub raised: bool,
}

/// An operation with what is known of its result.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// How it is made.
    pub op: Op,
    /// What it is; present in placed functions.
    pub kind: Option<Kind>,
    /// How large it is, where that is known beside how it is made.
    pub bound: Option<Bound>,
    /// The user's name, for messages.
    pub name: Option<String>,
    /// Where the user wrote it, for messages.
    pub at: Option<Location>,
}

/// The type of an encrypted input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The user's name, unique among inputs.
    pub name: String,
    /// The message repeats after this many slots: a power of two.
    pub period: u32,
    /// Whether its slots may have imaginary parts.
    pub complex: bool,
    /// Where the user declared it.
    pub at: Option<Location>,
}

/// A plaintext constant.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// The user's name.
    pub name: String,
    /// One period, whose length is a power of two, for each variant of the function, one after the other.
    pub values: Vec<Complex64>,
    /// Where the user declared it.
    pub at: Option<Location>,
}

/// The type of an encrypted output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The user's name, unique among outputs.
    pub name: String,
    /// The first slots, which have a meaning.
    pub slots: u32,
    /// What is returned.
    pub value: ValueId,
    /// Where the user returned it.
    pub at: Option<Location>,
}

/// A function on encrypted vectors: a program, or a callee.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Name of the program, or the user's of the callee.
    pub name: String,
    /// How many sets of constants it runs on; 1 of a program.
    pub variants: u32,
    /// The levels of inputs and outputs of a callee, once they are known.
    pub interface: Option<Interface>,
    /// The functions that it calls.
    pub callees: Vec<Arc<Self>>,
    /// Its calls.
    pub calls: Vec<Call>,
    /// Encrypted inputs.
    pub inputs: Vec<Input>,
    /// Plaintext constants.
    pub constants: Vec<Constant>,
    /// Linear transforms; none once they are expanded.
    pub transforms: Vec<Transform>,
    /// The values, operands first.
    pub values: Vec<Value>,
    /// What is returned.
    pub outputs: Vec<Output>,
}

impl Default for Function {
    /// An empty program.
    fn default() -> Self {
        Self {
            name: String::new(),
            variants: 1,
            interface: None,
            callees: Vec::new(),
            calls: Vec::new(),
            inputs: Vec::new(),
            constants: Vec::new(),
            transforms: Vec::new(),
            values: Vec::new(),
            outputs: Vec::new(),
        }
    }
}

impl Function {
    /// Appends a value.
    pub fn push(&mut self, op: Op, kind: Option<Kind>, name: Option<String>) -> ValueId {
        self.values.push(Value { op, kind, bound: None, name, at: None });
        ValueId(self.values.len() as u32 - 1)
    }

    /// Appends what becomes of a value in a pass: its bound, name and location stay.
    pub fn push_like(&mut self, value: &Value, op: Op, kind: Option<Kind>) -> ValueId {
        self.values.push(Value { op, kind, ..value.clone() });
        ValueId(self.values.len() as u32 - 1)
    }

    /// Appends another form of a value, or a part of it: of the same line, without its bound and its name.
    pub fn push_form(&mut self, of: ValueId, op: Op, kind: Option<Kind>) -> ValueId {
        let at = self.value(of).at.clone();
        self.values.push(Value { op, kind, bound: None, name: None, at });
        ValueId(self.values.len() as u32 - 1)
    }

    /// A value. The id must be of this function.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0 as usize]
    }

    /// All ids in order.
    pub fn ids(&self) -> impl Iterator<Item = ValueId> + use<> {
        (0..self.values.len() as u32).map(ValueId)
    }

    /// The constants that an operation reads. Its transform must be of this function.
    pub fn constants_of(&self, op: &Op) -> impl Iterator<Item = ConstId> {
        let diagonals: &[(u32, ConstId)] = match *op {
            Op::LinearTransform(_, t) => &self.transforms[t.0 as usize].diagonals,
            _ => &[],
        };
        op.constant().into_iter().chain(diagonals.iter().map(|&(_, c)| c))
    }

    /// The users of each value, in order, a user of both operands twice. The users of an argument are the results. Outputs are not counted.
    pub fn users(&self) -> Vec<Vec<ValueId>> {
        let mut users = vec![Vec::new(); self.values.len()];
        for id in self.ids() {
            for operand in self.needs(&self.value(id).op) {
                users[operand.0 as usize].push(id);
            }
        }
        users
    }

    /// The last `mod_raise` that each value is made of, up to where what was raised is returned.
    pub fn raised_from(&self) -> Vec<Option<ValueId>> {
        let is_returned = |id: ValueId| self.value(id).bound.is_some_and(|b| b.of == Unit::Returned);
        let mut from: Vec<Option<ValueId>> = Vec::with_capacity(self.values.len());
        for id in self.ids() {
            let op = &self.value(id).op;
            let open = op.operands().filter(|&a| !is_returned(a));
            let last = open.filter_map(|a| from.get(a.0 as usize).copied().flatten()).max();
            from.push(if matches!(op, Op::ModRaise(..)) { Some(id) } else { last });
        }
        from
    }

    /// Whether each value is an output.
    pub fn returned(&self) -> Vec<bool> {
        let mut returned = vec![false; self.values.len()];
        self.outputs.iter().for_each(|output| returned[output.value.0 as usize] = true);
        returned
    }

    /// A value in words: its name, or its id and operation.
    pub fn describe(&self, id: ValueId) -> String {
        let value = self.value(id);
        match (&value.name, value.op) {
            (Some(name), _) => name.clone(),
            (None, Op::Input(i)) => self.inputs[i.0 as usize].name.clone(),
            (None, Op::Result(c, i)) => {
                let name = self.calls.get(c.0 as usize).map_or("a call", |call| &call.name);
                format!("result {i} of {name}")
            }
            (None, op) => format!("{id} {}", op.name()),
        }
    }

    /// [`Function::describe`], and where it was written, if that is known.
    pub fn describe_at(&self, id: ValueId) -> String {
        let name = self.describe(id);
        self.value(id).at.as_ref().map_or(name.clone(), |at| format!("{name} {at}"))
    }
}

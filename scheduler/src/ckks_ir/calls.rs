//! Calls of functions by functions (docs/adr/0012).
//!
//! A function holds its *callees* and its *calls*. A callee is compiled once, for all of its *variants*: its constants are
//! families, which hold the numbers of every variant one after the other. With `r` variants of the callee for each of the caller,
//!
//! ```text
//! variant v of the caller, call with variant s  ->  variant r v + s of the callee
//! ```
//!
//! Owns the data and what keeps families in order: [`Function::gather`], [`Function::same_shape`], [`Function::add_callee`].

use core::fmt;
use std::sync::Arc;

use fhe_core::params::Level;
use num_complex::Complex64;

use super::{Constant, Function, Location, Op, ValueId};

/// A callee of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CalleeIdx(pub u32);

/// A call in a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallIdx(pub u32);

impl fmt::Display for CalleeIdx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "&{}", self.0)
    }
}

impl fmt::Display for CallIdx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "!{}", self.0)
    }
}

/// Whether a call stays one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expansion {
    /// As [`crate::passes::calls`] decides.
    #[default]
    ByRule,
    /// It stays a call.
    Never,
    /// Its body takes its place.
    Always,
}

/// A call: data of a function, as transforms are. Its results are the values [`Op::Result`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What is called.
    pub callee: CalleeIdx,
    /// Which of the variants that the callee has for each of the caller.
    pub variant: u32,
    /// A value for each input of the callee; all come before the first result.
    pub arguments: Vec<ValueId>,
    /// Whether it stays a call.
    pub expansion: Expansion,
    /// The user's name of the function, and the number of the call.
    pub name: String,
    /// Where the user called it.
    pub at: Option<Location>,
}

/// The levels at which values enter and leave a callee, each canonical and of degree 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interface {
    /// By input.
    pub inputs: Vec<Level>,
    /// By output.
    pub outputs: Vec<Level>,
}

impl Constant {
    /// The numbers of a variant, of so many.
    pub fn variant(&self, variant: usize, of: u32) -> &[Complex64] {
        let period = self.period(of);
        self.values.get(variant * period..(variant + 1) * period).unwrap_or_default()
    }

    /// Elements of a period, if there are so many variants.
    pub fn period(&self, variants: u32) -> usize {
        self.values.len() / variants.max(1) as usize
    }
}

impl Function {
    /// A callee; `None` where there is no such.
    pub fn callee(&self, call: &Call) -> Option<&Arc<Self>> {
        self.callees.get(call.callee.0 as usize)
    }

    /// The call of a result; `None` of other operations, and where there is no such call.
    pub fn call_of(&self, op: &Op) -> Option<&Call> {
        match *op {
            Op::Result(call, _) => self.calls.get(call.0 as usize),
            _ => None,
        }
    }

    /// The values that an operation needs: its operands; of a result the arguments of its call.
    pub fn needs(&self, op: &Op) -> impl Iterator<Item = ValueId> {
        let arguments = self.call_of(op).map(|call| call.arguments.as_slice()).unwrap_or_default();
        op.operands().chain(arguments.iter().copied())
    }

    /// Renames what leaves the function: outputs, and arguments of calls.
    pub(crate) fn rename_ends(&mut self, new: impl Fn(ValueId) -> ValueId) {
        let outputs = self.outputs.iter_mut().map(|output| &mut output.value);
        let arguments = self.calls.iter_mut().flat_map(|call| &mut call.arguments);
        outputs.chain(arguments).for_each(|id| *id = new(*id));
    }

    /// The same with a pass applied to every callee, and then to itself.
    ///
    /// # Errors
    /// Those of the pass.
    pub(crate) fn everywhere<E>(&self, pass: &impl Fn(&Self) -> Result<Self, E>) -> Result<Self, E> {
        if self.callees.is_empty() {
            return pass(self);
        }
        let mut out = self.clone();
        for callee in &mut out.callees {
            *callee = Arc::new(callee.everywhere(pass)?);
        }
        pass(&out)
    }

    /// Values of the function and of its callees, each once.
    pub fn n_values(&self) -> usize {
        self.values.len() + self.callees.iter().map(|callee| callee.n_values()).sum::<usize>()
    }

    /// How many variants of a callee there are for each of this function.
    pub fn ratio(&self, callee: &Self) -> u32 {
        callee.variants / self.variants.max(1)
    }

    /// The variant of the callee that a call runs in a variant of this function.
    pub fn variant_of(&self, call: &Call, variant: usize) -> usize {
        let ratio = self.callee(call).map_or(1, |callee| self.ratio(callee));
        variant * ratio as usize + call.variant as usize
    }

    /// Whether two functions are equal in all but the numbers of constants, the number of variants, names of values and locations.
    pub fn same_shape(&self, other: &Self) -> bool {
        let ops = |f: &Self| f.values.iter().map(|v| (v.op, v.kind)).collect::<Vec<_>>();
        let periods = |f: &Self| {
            let constants = f.constants.iter().map(|c| c.period(f.variants)).collect::<Vec<_>>();
            (f.inputs.iter().map(|i| (i.period, i.complex)).collect::<Vec<_>>(), constants)
        };
        let diagonals = |f: &Self| f.transforms.iter().map(|t| t.diagonals.clone()).collect::<Vec<_>>();
        let outputs = |f: &Self| f.outputs.iter().map(|o| (o.value, o.slots)).collect::<Vec<_>>();
        let calls = |f: &Self| {
            let call = |c: &Call| (c.callee, c.variant, c.arguments.clone(), c.expansion);
            f.calls.iter().map(call).collect::<Vec<_>>()
        };
        let callees = self.callees.len() == other.callees.len()
            && self
                .callees
                .iter()
                .zip(&other.callees)
                .all(|(a, b)| self.ratio(a) == other.ratio(b) && a.same_shape(b));
        (&self.name, &self.interface) == (&other.name, &other.interface)
            && callees
            && ops(self) == ops(other)
            && periods(self) == periods(other)
            && diagonals(self) == diagonals(other)
            && outputs(self) == outputs(other)
            && calls(self) == calls(other)
    }

    /// A function of picked variants of functions of one shape, in that order: (function, variant). Names are those of the first function.
    pub(crate) fn gather(sources: &[&Self], picks: &[(usize, usize)]) -> Self {
        let mut out = sources.first().map(|&first| first.clone()).unwrap_or_default();
        for (i, constant) in out.constants.iter_mut().enumerate() {
            let numbers = |&(source, variant): &(usize, usize)| {
                let found = sources.get(source).and_then(|f| Some((f.constants.get(i)?, f.variants)));
                found.map(|(constant, variants)| constant.variant(variant, variants)).unwrap_or_default()
            };
            constant.values = picks.iter().flat_map(numbers).copied().collect();
        }
        let ratios: Vec<u32> = out.callees.iter().map(|callee| out.ratio(callee)).collect();
        for (k, (callee, ratio)) in out.callees.iter_mut().zip(ratios).enumerate() {
            let of_each: Vec<&Self> =
                sources.iter().filter_map(|source| source.callees.get(k)).map(|c| &**c).collect();
            let ratio = ratio as usize;
            let picks: Vec<(usize, usize)> =
                picks.iter().flat_map(|&(s, v)| (0..ratio).map(move |r| (s, v * ratio + r))).collect();
            *callee = Arc::new(Self::gather(&of_each, &picks));
        }
        out.variants = picks.len() as u32;
        out
    }

    /// Makes a function a callee, whose variants are so many for each of this one: it joins one of its shape. Gives the callee, and the
    /// number of its variants that went before.
    pub(crate) fn add_callee(&mut self, callee: Self) -> (CalleeIdx, u32) {
        let Some(at) = self.callees.iter().position(|known| known.same_shape(&callee)) else {
            self.callees.push(Arc::new(callee));
            return (CalleeIdx(self.callees.len() as u32 - 1), 0);
        };
        let known = &self.callees[at];
        let (before, more) = (self.ratio(known) as usize, self.ratio(&callee) as usize);
        let of_variant = |v: usize| {
            let old = (0..before).map(move |s| (0, v * before + s));
            old.chain((0..more).map(move |s| (1, v * more + s)))
        };
        let picks: Vec<(usize, usize)> = (0..self.variants as usize).flat_map(of_variant).collect();
        self.callees[at] = Arc::new(Self::gather(&[known, &callee], &picks));
        (CalleeIdx(at as u32), before as u32)
    }

    /// The constants of a variant, and after them those of each call: what the variant computes with. Names begin with those of calls.
    pub fn all_constants(&self, variant: usize) -> Vec<Constant> {
        let own = |c: &Constant| Constant { values: c.variant(variant, self.variants).to_vec(), ..c.clone() };
        let mut all: Vec<Constant> = self.constants.iter().map(own).collect();
        for call in &self.calls {
            let Some(callee) = self.callee(call) else { continue };
            let of_call = callee.all_constants(self.variant_of(call, variant));
            all.extend(of_call.into_iter().map(|constant| call.constant(constant)));
        }
        all
    }

    /// The number of [`Self::all_constants`].
    pub fn n_all_constants(&self) -> usize {
        let of_calls = self.calls.iter().filter_map(|call| self.callee(call));
        self.constants.len() + of_calls.map(|callee| callee.n_all_constants()).sum::<usize>()
    }
}

impl Call {
    /// A constant of the callee as one of the caller.
    pub(crate) fn constant(&self, constant: Constant) -> Constant {
        let Constant { name, values, at } = constant;
        Constant { name: format!("{}.{name}", self.name), values, at: self.located(at) }
    }

    /// A location of the callee as one of the caller.
    pub(crate) fn located(&self, at: Option<Location>) -> Option<Location> {
        at.map(|at| at.called_from(self.at.as_ref()))
    }
}

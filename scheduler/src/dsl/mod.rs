//! Programs on encrypted vectors, written with operators.
//!
//! ```
//! use scheduler::dsl;
//! let weights = [0.5, -1.0, 2.0, 0.25];
//! let program = dsl::build("example", |g| {
//!     let x = g.input("x", 4)?;
//!     let w = g.plain("w", &weights)?;
//!     let h = (x.rotate(1) * w + 0.5).square();
//!     g.output("y", h - x, 4)
//! })?;
//! assert_eq!(program.function().inputs.len(), 1);
//! # Ok::<(), scheduler::Error>(())
//! ```
//!
//! A vector repeats with its *period*, a power of two: slot `i` holds element `i mod period`. Operands of
//! different periods meet at the larger one. The user writes no levels, scales or relinearizations, unless she wants one at some place:
//! [`Encrypted::rescaled`], [`Encrypted::relinearized`] and [`Encrypted::at_level`] are kept, or refused with a reason.
//!
//! Operators cannot return errors, so the first mistake is kept and [`build`] returns it. Every value keeps the
//! [`Location`] of the user's line, also through the passes, and errors name it. What reaches no output is a mistake too
//! ([`Error::Unused`]), unless it is marked by [`Encrypted::unused_on_purpose`].

mod bootstrap;
mod calls;
mod frames;
pub mod functions;
pub mod linear;
mod ops;
pub mod polynomial;
mod unused;
mod values;
mod vectors;

use core::cell::RefCell;
use core::mem;
use std::sync::Arc;

use num_complex::Complex64;

use crate::ckks_ir::{
    ConstId, Constant, Function, Input, InputIdx, Location, Op, Output, Transform, TransformIdx, Value,
    ValueId,
};
use crate::error::{Error, Result};
pub(crate) use bootstrap::Bootstrapping;
pub use calls::{Definition, Parameters};
use frames::Frame;
pub use values::{Encrypted, Plain};
pub use vectors::EncryptedVec;

/// A program: a function without levels, checked for the user's mistakes.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    function: Function,
}

impl Program {
    /// The function.
    pub fn function(&self) -> &Function {
        &self.function
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.function.name
    }
}

/// Builds a program.
///
/// # Errors
/// What `body` returns, else the first mistake in an operator, else [`Error::NoOutput`], else [`Error::Unused`].
#[track_caller]
pub fn build(name: &str, body: impl FnOnce(&Graph) -> Result<()>) -> Result<Program> {
    let at = Some(Location::here());
    let graph = Graph {
        state: RefCell::new(State {
            frame: Frame::new(0, name),
            callers: Vec::new(),
            n_frames: 1,
            mistake: None,
            scope: Scope::Body,
            calls: Vec::new(),
        }),
    };
    body(&graph)?;
    let State { frame, mistake, .. } = graph.state.into_inner();
    if let Some(mistake) = mistake {
        return Err(mistake);
    }
    if frame.function.outputs.is_empty() {
        return Err(Error::NoOutput { name: name.to_owned(), at });
    }
    unused::check(&frame.function, &frame.on_purpose)?;
    Ok(Program { function: frame.function })
}

/// A program being built.
#[derive(Debug)]
pub struct Graph {
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    /// What is being written: the program, or the body of the innermost call.
    frame: Frame,
    /// What calls it, outermost first.
    callers: Vec<Frame>,
    n_frames: u32,
    mistake: Option<Error>,
    scope: Scope,
    /// The calls whose bodies are being written, outermost first, as `layer[2]`: messages name plaintexts with them.
    calls: Vec<String>,
}

/// Which line is the user's.
#[derive(Clone, Debug)]
enum Scope {
    /// The one that calls an operation.
    Body,
    /// This one, which called a function of this room.
    Within(Location),
    /// The one that calls an operation, in a function of the program that was called from here.
    Called(Arc<Location>),
}

impl Graph {
    /// An encrypted input of a period, of real numbers: two of them may be bootstrapped as real and imaginary part of one, and an imaginary part
    /// that is there all the same may be lost.
    ///
    /// # Errors
    /// [`Error::DuplicateName`]; [`Error::Period`].
    #[track_caller]
    pub fn input(&self, name: &str, period: usize) -> Result<Encrypted<'_>> {
        self.declare(name, period, false)
    }

    /// An encrypted input of a period, of complex numbers.
    ///
    /// # Errors
    /// As [`Self::input`].
    #[track_caller]
    pub fn input_complex(&self, name: &str, period: usize) -> Result<Encrypted<'_>> {
        self.declare(name, period, true)
    }

    #[track_caller]
    fn declare(&self, name: &str, period: usize, complex: bool) -> Result<Encrypted<'_>> {
        let at = self.locate(Location::here());
        self.at_top("an input", &at)?;
        let period = checked_period(name, period, &at)?;
        let function = &mut self.state.borrow_mut().frame.function;
        if let Some(first) = function.inputs.iter().find(|i| i.name == name) {
            let first = first.at.clone();
            return Err(Error::DuplicateName { what: "input", name: name.to_owned(), first, at: Some(at) });
        }
        function.inputs.push(Input { name: name.to_owned(), period, complex, at: Some(at.clone()) });
        let op = Op::Input(InputIdx(function.inputs.len() as u32 - 1));
        function.values.push(Value {
            op,
            kind: None,
            bound: None,
            name: Some(name.to_owned()),
            at: Some(at),
        });
        Ok(Encrypted { graph: self, frame: 0, id: ValueId(function.values.len() as u32 - 1), period })
    }

    /// A plaintext vector of real numbers; its length is its period.
    ///
    /// # Errors
    /// [`Error::Period`]; [`Error::NotFinite`].
    #[track_caller]
    pub fn plain(&self, name: &str, values: &[f64]) -> Result<Plain<'_>> {
        let values: Vec<Complex64> = values.iter().map(|&x| Complex64::new(x, 0.0)).collect();
        self.plain_complex(name, &values)
    }

    /// A plaintext vector of complex numbers; its length is its period.
    ///
    /// # Errors
    /// [`Error::Period`]; [`Error::NotFinite`].
    #[track_caller]
    pub fn plain_complex(&self, name: &str, values: &[Complex64]) -> Result<Plain<'_>> {
        let at = self.locate(Location::here());
        let qualified = &self.qualified(name);
        let period = checked_period(qualified, values.len(), &at)?;
        if let Some(index) = values.iter().position(|z| !z.is_finite()) {
            let value = values[index].to_string();
            return Err(Error::NotFinite { name: qualified.to_owned(), index, value, at: Some(at) });
        }
        let frame = &mut self.state.borrow_mut().frame;
        let constants = &mut frame.function.constants;
        constants.push(Constant { name: name.to_owned(), values: values.to_vec(), at: Some(at) });
        Ok(Plain { graph: self, frame: frame.number, id: ConstId(constants.len() as u32 - 1), period })
    }

    /// Returns a value, of which the first `slots` slots have a meaning.
    ///
    /// # Errors
    /// [`Error::DuplicateName`]; [`Error::OutputSlots`]; [`Error::ForeignValue`].
    #[track_caller]
    pub fn output(&self, name: &str, value: Encrypted<'_>, slots: usize) -> Result<()> {
        let at = self.locate(Location::here());
        self.at_top("an output", &at)?;
        let (at, named) = (Some(at), || name.to_owned());
        self.owns(value)?;
        let value = self.local(value);
        let outputs = &mut self.state.borrow_mut().frame.function.outputs;
        if let Some(first) = outputs.iter().find(|o| o.name == name) {
            let first = first.at.clone();
            return Err(Error::DuplicateName { what: "output", name: named(), first, at });
        }
        // Above the period slots only repeat, but asking for all of them is no mistake.
        if slots == 0 || slots > 1 << 16 {
            return Err(Error::OutputSlots { name: named(), expected: 1 << 16, found: slots, at });
        }
        outputs.push(Output { name: named(), slots: slots as u32, value, at });
        Ok(())
    }

    #[track_caller]
    fn push(&self, op: Op, period: u32) -> Encrypted<'_> {
        self.push_at(op, period, Some(self.locate(Location::here())))
    }

    fn push_at(&self, op: Op, period: u32, at: Option<Location>) -> Encrypted<'_> {
        let frame = &mut self.state.borrow_mut().frame;
        let values = &mut frame.function.values;
        values.push(Value { op, kind: None, bound: None, name: None, at });
        Encrypted { graph: self, frame: frame.number, id: ValueId(values.len() as u32 - 1), period }
    }

    /// The constant `i`, one for the program.
    #[track_caller]
    fn imaginary_unit(&self) -> ConstId {
        let at = Some(self.locate(Location::here()));
        let constants = &mut self.state.borrow_mut().frame.function.constants;
        let values = vec![Complex64::I];
        let found = constants.iter().position(|c| c.name == "i" && c.values == values);
        let index = found.unwrap_or_else(|| {
            constants.push(Constant { name: "i".to_owned(), values, at });
            constants.len() - 1
        });
        ConstId(index as u32)
    }

    /// A linear transform by its diagonals: at least one, rotations ascending.
    #[track_caller]
    fn transform(&self, name: &str, diagonals: Vec<(u32, ConstId)>) -> TransformIdx {
        let (name, at) = (name.to_owned(), Some(self.locate(Location::here())));
        let transforms = &mut self.state.borrow_mut().frame.function.transforms;
        transforms.push(Transform { name, diagonals, at });
        TransformIdx(transforms.len() as u32 - 1)
    }

    fn mistake(&self, error: Error) {
        self.state.borrow_mut().mistake.get_or_insert(error);
    }

    /// Refuses a value of another program.
    #[track_caller]
    fn owns(&self, value: Encrypted<'_>) -> Result<()> {
        if core::ptr::eq(self, value.graph) {
            return Ok(());
        }
        let made = value.made();
        let at = Some(self.locate(Location::here()));
        Err(Error::ForeignValue { name: value.describe(), made, at })
    }

    /// The user's line, given the one that called an operation.
    fn locate(&self, here: Location) -> Location {
        match &self.state.borrow().scope {
            Scope::Body => here,
            Scope::Within(at) => at.clone(),
            Scope::Called(from) => Location { caller: Some(Arc::clone(from)), ..here },
        }
    }

    /// The name of a plaintext, with the call that it is of.
    fn qualified(&self, name: &str) -> String {
        let state = self.state.borrow();
        let calls = state.calls.iter().map(String::as_str);
        calls.chain([name]).collect::<Vec<_>>().join(".")
    }

    /// Runs a function of this room that the user called at `here`: everything that it makes is of that line.
    fn within<R>(&self, here: Location, body: impl FnOnce() -> R) -> R {
        let at = self.locate(here);
        self.scoped(Scope::Within(at), body)
    }

    fn scoped<R>(&self, scope: Scope, body: impl FnOnce() -> R) -> R {
        let outer = mem::replace(&mut self.state.borrow_mut().scope, scope);
        let result = body();
        self.state.borrow_mut().scope = outer;
        result
    }
}

fn checked_period(name: &str, period: usize, at: &Location) -> Result<u32> {
    match u32::try_from(period) {
        Ok(p) if p.is_power_of_two() && p <= 1 << 16 => Ok(p),
        _ => {
            let (name, at) = (name.to_owned(), Some(at.clone()));
            Err(Error::Period { name, found: period, limit: None, at })
        }
    }
}

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
//! different periods meet at the larger one. The user writes no levels, scales or relinearizations.
//! Operators cannot return errors, so the first mistake is kept and [`build`] returns it.

pub mod linear;

use core::cell::RefCell;
use core::ops::{Add, Mul, Neg, Sub};
use num_complex::Complex64;

use crate::ckks_ir::{ConstId, Constant, Function, Input, InputIdx, Op, Output, Scalar, ValueId};
use crate::error::{Error, Result};

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
/// What `body` returns, else the first mistake in an operator, else [`Error::NoOutput`].
pub fn build(name: &str, body: impl FnOnce(&Graph) -> Result<()>) -> Result<Program> {
    let graph = Graph {
        state: RefCell::new(State {
            function: Function { name: name.to_owned(), ..Function::default() },
            mistake: None,
        }),
    };
    body(&graph)?;
    let state = graph.state.into_inner();
    if let Some(mistake) = state.mistake {
        return Err(mistake);
    }
    if state.function.outputs.is_empty() {
        return Err(Error::NoOutput { name: name.to_owned() });
    }
    Ok(Program { function: state.function })
}

#[derive(Debug)]
struct State {
    function: Function,
    mistake: Option<Error>,
}

/// A program being built.
#[derive(Debug)]
pub struct Graph {
    state: RefCell<State>,
}

/// A handle to an encrypted vector of the program.
#[derive(Clone, Copy, Debug)]
pub struct Encrypted<'g> {
    graph: &'g Graph,
    id: ValueId,
    period: u32,
}

/// A handle to a plaintext vector of the program.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'g> {
    graph: &'g Graph,
    id: ConstId,
    period: u32,
}

impl Graph {
    /// An encrypted input of a period.
    ///
    /// # Errors
    /// [`Error::DuplicateName`]; [`Error::Period`].
    pub fn input(&self, name: &str, period: usize) -> Result<Encrypted<'_>> {
        let period = checked_period(name, period)?;
        let state = &mut *self.state.borrow_mut();
        if state.function.inputs.iter().any(|i| i.name == name) {
            return Err(Error::DuplicateName { what: "input", name: name.to_owned() });
        }
        state.function.inputs.push(Input { name: name.to_owned(), period });
        let index = InputIdx(state.function.inputs.len() as u32 - 1);
        let id = state.function.push(Op::Input(index), None, Some(name.to_owned()));
        Ok(Encrypted { graph: self, id, period })
    }

    /// A plaintext vector of real numbers; its length is its period.
    ///
    /// # Errors
    /// [`Error::Period`]; [`Error::NotFinite`].
    pub fn plain(&self, name: &str, values: &[f64]) -> Result<Plain<'_>> {
        let values: Vec<Complex64> = values.iter().map(|&x| Complex64::new(x, 0.0)).collect();
        self.plain_complex(name, &values)
    }

    /// A plaintext vector of complex numbers; its length is its period.
    ///
    /// # Errors
    /// [`Error::Period`]; [`Error::NotFinite`].
    pub fn plain_complex(&self, name: &str, values: &[Complex64]) -> Result<Plain<'_>> {
        let period = checked_period(name, values.len())?;
        if let Some(index) = values.iter().position(|z| !z.is_finite()) {
            let value = values[index].to_string();
            return Err(Error::NotFinite { name: name.to_owned(), index, value });
        }
        let constants = &mut self.state.borrow_mut().function.constants;
        constants.push(Constant { name: name.to_owned(), values: values.to_vec() });
        Ok(Plain { graph: self, id: ConstId(constants.len() as u32 - 1), period })
    }

    /// Returns a value, of which the first `slots` slots have a meaning.
    ///
    /// # Errors
    /// [`Error::DuplicateName`]; [`Error::OutputSlots`]; [`Error::ForeignValue`].
    pub fn output(&self, name: &str, value: Encrypted<'_>, slots: usize) -> Result<()> {
        if !core::ptr::eq(self, value.graph) {
            return Err(Error::ForeignValue { name: value.describe() });
        }
        let outputs = &mut self.state.borrow_mut().function.outputs;
        if outputs.iter().any(|o| o.name == name) {
            return Err(Error::DuplicateName { what: "output", name: name.to_owned() });
        }
        // Above the period slots only repeat, but asking for all of them is no mistake.
        if slots == 0 || slots > 1 << 16 {
            return Err(Error::OutputSlots { name: name.to_owned(), expected: 1 << 16, found: slots });
        }
        outputs.push(Output { name: name.to_owned(), slots: slots as u32, value: value.id });
        Ok(())
    }

    fn push(&self, op: Op, period: u32) -> Encrypted<'_> {
        let id = self.state.borrow_mut().function.push(op, None, None);
        Encrypted { graph: self, id, period }
    }

    fn mistake(&self, error: Error) {
        self.state.borrow_mut().mistake.get_or_insert(error);
    }

    fn scalar(&self, of: Encrypted<'_>, value: f64) -> Scalar {
        if !value.is_finite() {
            let name = format!("scalar beside {}", of.describe());
            self.mistake(Error::NotFinite { name, index: 0, value: value.to_string() });
        }
        Scalar::new(value)
    }
}

fn checked_period(name: &str, period: usize) -> Result<u32> {
    match u32::try_from(period) {
        Ok(p) if p.is_power_of_two() && p <= 1 << 16 => Ok(p),
        _ => Err(Error::Period { name: name.to_owned(), found: period, limit: None }),
    }
}

impl<'g> Encrypted<'g> {
    /// The period: slot `i` holds element `i mod period`.
    pub fn period(self) -> usize {
        self.period as usize
    }

    /// The program that it belongs to.
    pub fn graph(self) -> &'g Graph {
        self.graph
    }

    /// Gives the value a name for messages.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        let values = &mut self.graph.state.borrow_mut().function.values;
        values[self.id.0 as usize].name = Some(name.to_owned());
        self
    }

    /// Every slot squared.
    #[must_use]
    pub fn square(self) -> Self {
        self * self
    }

    /// Slot `i` becomes what slot `i + k` was, `k` of any sign. Rotations are taken modulo the period.
    #[must_use]
    pub fn rotate(self, k: i64) -> Self {
        let k = k.rem_euclid(i64::from(self.period)) as u32;
        if k == 0 { self } else { self.graph.push(Op::Rotate(self.id, k), self.period) }
    }

    /// The complex conjugate of every slot.
    #[must_use]
    pub fn conjugate(self) -> Self {
        self.graph.push(Op::Conjugate(self.id), self.period)
    }

    /// Slot `i` becomes the sum of slots `i + j * stride` for `j < count`, `count` a power of two, in
    /// `log2(count)` rotations.
    #[must_use]
    pub fn sum_strided(self, stride: usize, count: usize) -> Self {
        let mut sum = self;
        let mut step = 1;
        while step < count {
            sum = sum + sum.rotate((step * stride) as i64);
            step *= 2;
        }
        sum
    }

    fn describe(self) -> String {
        self.graph.state.borrow().function.describe(self.id)
    }

    fn with_period(self, period: u32) -> Self {
        Self { period, ..self }
    }

    fn binary(self, other: Self, op: fn(ValueId, ValueId) -> Op) -> Self {
        if !core::ptr::eq(self.graph, other.graph) {
            self.graph.mistake(Error::ForeignValue { name: other.describe() });
            return self;
        }
        self.graph.push(op(self.id, other.id), self.period.max(other.period))
    }

    fn with_plain(self, plain: Plain<'g>, op: fn(ValueId, ConstId) -> Op) -> Self {
        if !core::ptr::eq(self.graph, plain.graph) {
            self.graph.mistake(Error::ForeignValue { name: "a plaintext".to_owned() });
            return self;
        }
        self.graph.push(op(self.id, plain.id), self.period.max(plain.period))
    }
}

impl Neg for Encrypted<'_> {
    type Output = Self;
    fn neg(self) -> Self {
        self.graph.push(Op::Neg(self.id), self.period)
    }
}

impl Add for Encrypted<'_> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.binary(other, Op::Add)
    }
}

impl Sub for Encrypted<'_> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.binary(other, Op::Sub)
    }
}

impl Mul for Encrypted<'_> {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        self.binary(other, Op::Mul)
    }
}

impl<'g> Add<Plain<'g>> for Encrypted<'g> {
    type Output = Self;
    fn add(self, plain: Plain<'g>) -> Self {
        self.with_plain(plain, Op::AddPlain)
    }
}

impl<'g> Sub<Plain<'g>> for Encrypted<'g> {
    type Output = Self;
    fn sub(self, plain: Plain<'g>) -> Self {
        self.with_plain(plain, Op::SubPlain)
    }
}

impl<'g> Mul<Plain<'g>> for Encrypted<'g> {
    type Output = Self;
    fn mul(self, plain: Plain<'g>) -> Self {
        self.with_plain(plain, Op::MulPlain)
    }
}

impl<'g> Add<Encrypted<'g>> for Plain<'g> {
    type Output = Encrypted<'g>;
    fn add(self, x: Encrypted<'g>) -> Encrypted<'g> {
        x + self
    }
}

impl<'g> Sub<Encrypted<'g>> for Plain<'g> {
    type Output = Encrypted<'g>;
    fn sub(self, x: Encrypted<'g>) -> Encrypted<'g> {
        -x + self
    }
}

impl<'g> Mul<Encrypted<'g>> for Plain<'g> {
    type Output = Encrypted<'g>;
    fn mul(self, x: Encrypted<'g>) -> Encrypted<'g> {
        x * self
    }
}

impl Add<f64> for Encrypted<'_> {
    type Output = Self;
    fn add(self, scalar: f64) -> Self {
        let s = self.graph.scalar(self, scalar);
        self.graph.push(Op::AddScalar(self.id, s), self.period)
    }
}

impl Sub<f64> for Encrypted<'_> {
    type Output = Self;
    fn sub(self, scalar: f64) -> Self {
        self + -scalar
    }
}

impl Mul<f64> for Encrypted<'_> {
    type Output = Self;
    fn mul(self, scalar: f64) -> Self {
        let s = self.graph.scalar(self, scalar);
        self.graph.push(Op::MulScalar(self.id, s), self.period)
    }
}

impl<'g> Add<Encrypted<'g>> for f64 {
    type Output = Encrypted<'g>;
    fn add(self, x: Encrypted<'g>) -> Encrypted<'g> {
        x + self
    }
}

impl<'g> Sub<Encrypted<'g>> for f64 {
    type Output = Encrypted<'g>;
    fn sub(self, x: Encrypted<'g>) -> Encrypted<'g> {
        -x + self
    }
}

impl<'g> Mul<Encrypted<'g>> for f64 {
    type Output = Encrypted<'g>;
    fn mul(self, x: Encrypted<'g>) -> Encrypted<'g> {
        x * self
    }
}

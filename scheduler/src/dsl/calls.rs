//! Functions of a program: written once, called with other values and other parameters each time.
//!
//! ```
//! use scheduler::dsl::{self, linear::matvec};
//! let program = dsl::build("network", |g| {
//!     let layer = g.function("layer", |[x], parameters| {
//!         let y = matvec(x, "weight", parameters.values("weight")?, 4, 4)?;
//!         Ok([(y + parameters.plain("bias")?).square()])
//!     });
//!     let x = g.input("x", 4)?;
//!     let [h] = layer.call([x], &[("weight", &[0.25; 16]), ("bias", &[0.5; 4])])?;
//!     let [y] = layer.call([h], &[("weight", &[-0.5; 16]), ("bias", &[0.0; 4])])?;
//!     g.output("y", y, 4)
//! })?;
//! let function = program.function();
//! assert_eq!((function.calls.len(), function.callees.len()), (2, 1));
//! // Two sets of numbers for the plaintexts of one body.
//! assert_eq!((function.callees[0].variants, function.calls[1].variant), (2, 1));
//! assert_eq!(function.all_constants(0)[0].name, "layer[0].weight[0]");
//! # Ok::<(), scheduler::Error>(())
//! ```
//!
//! The body runs at every call and is written into a function of its own. Calls whose bodies are equal but for the numbers of plaintexts have one callee, which is
//! compiled once; each call binds its own plaintexts. What else differs (a scalar that a parameter becomes, a diagonal that is zero) makes another callee. Values
//! that the body captures become arguments.
//!
//! Whether a call stays one is decided when the program is compiled ([`crate::passes::calls`]): if at least two calls need their results at
//! the same levels, and the body is large. Otherwise the body takes its place, where it is folded and batched with its surroundings.
//! [`Definition::called`] and [`Definition::expanded`] decide it instead.
//!
//! All calls of a function must have the sizes of its first. A value of a function has the location of its line
//! there, and messages have those of the calls that led to it.

use core::cell::RefCell;
use core::mem;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::frames::Frame;
use super::{Encrypted, Graph, Plain, Scope, unused};
use crate::ckks_ir::{Call, CallIdx, Expansion, Function, Location, Op, Output, ValueId};
use crate::error::{Error, Result};

/// A function of `A` encrypted vectors, of parameters that are plaintext vectors, with `R` results. Made by [`Graph::function`].
#[derive(Debug)]
pub struct Definition<'g, const A: usize, const R: usize, F> {
    graph: &'g Graph,
    name: String,
    body: F,
    expansion: Expansion,
    calls: RefCell<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    n: usize,
    /// Of the first call.
    signature: Option<Signature>,
}

/// The periods of arguments, the lengths of parameters.
#[derive(Clone, Debug, PartialEq)]
struct Signature {
    periods: Vec<usize>,
    lengths: BTreeMap<String, usize>,
}

/// The parameters of one call, by name.
#[derive(Debug)]
pub struct Parameters<'g, 'p> {
    graph: &'g Graph,
    function: &'p str,
    values: BTreeMap<&'p str, &'p [f64]>,
    read: RefCell<BTreeSet<String>>,
}

impl Graph {
    /// Defines a function; `body` is run at every call. It may use operators, other functions and whatever it captures.
    pub fn function<'g, const A: usize, const R: usize, F>(
        &'g self,
        name: &str,
        body: F,
    ) -> Definition<'g, A, R, F>
    where
        F: Fn([Encrypted<'g>; A], &Parameters<'g, '_>) -> Result<[Encrypted<'g>; R]>,
    {
        let (name, expansion) = (name.to_owned(), Expansion::ByRule);
        Definition { graph: self, name, body, expansion, calls: RefCell::default() }
    }
}

impl<'g, const A: usize, const R: usize, F> Definition<'g, A, R, F>
where
    F: Fn([Encrypted<'g>; A], &Parameters<'g, '_>) -> Result<[Encrypted<'g>; R]>,
{
    /// Every call stays one: it is compiled once for all calls at the same levels, however small it is.
    #[must_use]
    pub fn called(self) -> Self {
        Self { expansion: Expansion::Never, ..self }
    }

    /// The body takes the place of every call.
    #[must_use]
    pub fn expanded(self) -> Self {
        Self { expansion: Expansion::Always, ..self }
    }

    /// Calls the function. Plaintexts that it makes are named `function[i].name` in call number `i`.
    ///
    /// # Errors
    /// Those of the body; [`Error::Call`] for other sizes than those of the first call, a parameter given twice, one that the
    /// body asks for in vain, and one that it does not ask for; inputs and outputs that the body declares, and values of calls that are over;
    /// [`Error::Unused`] for what the body makes and no result needs; [`Error::ForeignValue`].
    #[track_caller]
    pub fn call(
        &self,
        arguments: [Encrypted<'g>; A],
        parameters: &[(&str, &[f64])],
    ) -> Result<[Encrypted<'g>; R]> {
        let (graph, at) = (self.graph, self.graph.locate(Location::here()));
        arguments.iter().try_for_each(|&argument| graph.owns(argument))?;
        let values: BTreeMap<&str, &[f64]> = parameters.iter().copied().collect();
        if values.len() < parameters.len() {
            return refuse(&self.name, "a parameter is given twice".to_owned(), at);
        }
        let number = self.number(&arguments, &values, &at)?;
        let read = RefCell::default();
        let parameters = Parameters { graph, function: &self.name, values, read };
        let outer: Vec<ValueId> = arguments.iter().map(|argument| argument.local()).collect();
        let inner = self.begin(&arguments, number);
        let results = graph.scoped(Scope::Called(Arc::new(at.clone())), || {
            let results = (self.body)(inner, &parameters)?;
            // As the caller of an operation on them would be: captured ones become results too.
            results.iter().try_for_each(|&result| graph.owns(result))?;
            Ok::<_, Error>(results.map(|result| (result.local(), result.period)))
        });
        let frame = self.end();
        let results = results?;
        let read = parameters.read.into_inner();
        let mut unread = parameters.values.keys().filter(|name| !read.contains(**name));
        if let Some(name) = unread.next() {
            return refuse(&self.name, format!("it does not read its parameter `{name}`"), at);
        }
        self.record(frame, outer, results, number, at)
    }

    /// Begins to write the body; gives its arguments.
    fn begin(&self, arguments: &[Encrypted<'g>; A], number: usize) -> [Encrypted<'g>; A] {
        let state = &mut *self.graph.state.borrow_mut();
        let frame = Frame::new(state.n_frames, &self.name);
        state.n_frames += 1;
        state.calls.push(format!("{}[{number}]", self.name));
        state.callers.push(mem::replace(&mut state.frame, frame));
        let frame = &mut state.frame;
        arguments.map(|argument| {
            let id = frame.input(argument.period, None);
            frame.on_purpose.values.push(id);
            Encrypted { graph: self.graph, frame: frame.number, id, period: argument.period }
        })
    }

    /// Goes on with the caller; gives the body.
    fn end(&self) -> Frame {
        let state = &mut *self.graph.state.borrow_mut();
        state.calls.pop();
        match state.callers.pop() {
            Some(caller) => mem::replace(&mut state.frame, caller),
            None => Frame::new(0, &self.name),
        }
    }

    /// Makes the body a callee, and this call one of it.
    fn record(
        &self,
        frame: Frame,
        mut arguments: Vec<ValueId>,
        results: [(ValueId, u32); R],
        number: usize,
        at: Location,
    ) -> Result<[Encrypted<'g>; R]> {
        let Frame { mut function, on_purpose, captured, .. } = frame;
        for (i, &(value, period)) in results.iter().enumerate() {
            let name = format!("result {i}");
            function.outputs.push(Output { name, slots: period, value, at: Some(at.clone()) });
        }
        if self.graph.state.borrow().mistake.is_none() {
            unused::check(&function, &on_purpose)?;
        }
        relocate(&mut function, at.stack().count());
        arguments.extend(captured);
        let call = {
            let function_of_caller = &mut self.graph.state.borrow_mut().frame.function;
            let (callee, variant) = function_of_caller.add_callee(function);
            let (name, at) = (format!("{}[{number}]", self.name), Some(at.clone()));
            let expansion = self.expansion;
            function_of_caller.calls.push(Call { callee, variant, arguments, expansion, name, at });
            CallIdx(function_of_caller.calls.len() as u32 - 1)
        };
        let mut i = 0;
        Ok(results.map(|(_, period)| {
            let result = self.graph.push_at(Op::Result(call, i), period, Some(at.clone()));
            i += 1;
            result
        }))
    }

    /// The number of this call, which has the sizes of the first.
    fn number(
        &self,
        arguments: &[Encrypted<'g>],
        values: &BTreeMap<&str, &[f64]>,
        at: &Location,
    ) -> Result<usize> {
        let own = Signature {
            periods: arguments.iter().map(|argument| argument.period()).collect(),
            lengths: values.iter().map(|(name, values)| ((*name).to_owned(), values.len())).collect(),
        };
        let calls = &mut *self.calls.borrow_mut();
        let first = calls.signature.get_or_insert_with(|| own.clone());
        if *first != own {
            return refuse(&self.name, format!("{own}, expected {first} as in its first call"), at.clone());
        }
        calls.n += 1;
        Ok(calls.n - 1)
    }
}

impl core::fmt::Display for Signature {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let lengths: Vec<String> =
            self.lengths.iter().map(|(name, len)| format!("`{name}` of {len}")).collect();
        write!(f, "arguments of the periods {:?} and the parameters [{}]", self.periods, lengths.join(", "))
    }
}

impl<'g> Parameters<'g, '_> {
    /// The numbers of a parameter.
    ///
    /// # Errors
    /// [`Error::Call`] for one that the call does not give.
    #[track_caller]
    pub fn values(&self, name: &str) -> Result<&[f64]> {
        let Some(values) = self.values.get(name) else {
            let given: Vec<&str> = self.values.keys().copied().collect();
            let problem = format!("no parameter `{name}`, given are [{}]", given.join(", "));
            return refuse(self.function, problem, self.graph.locate(Location::here()));
        };
        self.read.borrow_mut().insert(name.to_owned());
        Ok(values)
    }

    /// A parameter as a plaintext vector; its length is its period.
    ///
    /// # Errors
    /// Those of [`Parameters::values`] and of [`Graph::plain`].
    #[track_caller]
    pub fn plain(&self, name: &str) -> Result<Plain<'g>> {
        self.graph.plain(name, self.values(name)?)
    }

    /// The program.
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }
}

/// Cuts the last `n` callers from all locations: what they are, calls say.
fn relocate(function: &mut Function, n: usize) {
    let cut = |at: &mut Option<Location>| {
        *at = at.take().map(|at| {
            let own = at.stack().count().saturating_sub(n).max(1);
            at.innermost_of(own)
        });
    };
    for value in &mut function.values {
        match value.op {
            Op::Input(_) => value.at = None,
            _ => cut(&mut value.at),
        }
    }
    function.constants.iter_mut().for_each(|constant| cut(&mut constant.at));
    function.transforms.iter_mut().for_each(|transform| cut(&mut transform.at));
    function.calls.iter_mut().for_each(|call| cut(&mut call.at));
    function.inputs.iter_mut().for_each(|input| input.at = None);
    function.outputs.iter_mut().for_each(|output| output.at = None);
}

fn refuse<T>(name: &str, problem: String, at: Location) -> Result<T> {
    Err(Error::Call { name: name.to_owned(), problem, at: Some(at) })
}

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
//! assert_eq!(program.function().constants[0].name, "layer[0].weight[0]");
//! # Ok::<(), scheduler::Error>(())
//! ```
//!
//! At present every call is expanded where it stands: the compiler sees no calls. So that calls may share one segment of a
//! plan later, all calls of a function must have the sizes of its first. A value of a function has the location of its line
//! there, and those of the calls that led to it.

use core::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Encrypted, Graph, Plain, Scope};
use crate::ckks_ir::Location;
use crate::error::{Error, Result};

/// A function of `A` encrypted vectors, of parameters that are plaintext vectors, with `R` results. Made by [`Graph::function`].
#[derive(Debug)]
pub struct Definition<'g, const A: usize, const R: usize, F> {
    graph: &'g Graph,
    name: String,
    body: F,
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
        Definition { graph: self, name: name.to_owned(), body, calls: RefCell::default() }
    }
}

impl<'g, const A: usize, const R: usize, F> Definition<'g, A, R, F>
where
    F: Fn([Encrypted<'g>; A], &Parameters<'g, '_>) -> Result<[Encrypted<'g>; R]>,
{
    /// Calls the function. Plaintexts that it makes are named `function[i].name` in call number `i`.
    ///
    /// # Errors
    /// Those of the body; [`Error::Call`] for other sizes than those of the first call, a parameter given twice, one that the
    /// body asks for in vain, and one that it does not ask for; [`Error::ForeignValue`].
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
        graph.state.borrow_mut().calls.push(format!("{}[{number}]", self.name));
        let results =
            graph.scoped(Scope::Called(Arc::new(at.clone())), || (self.body)(arguments, &parameters));
        graph.state.borrow_mut().calls.pop();
        let results = results?;
        let read = parameters.read.into_inner();
        let mut unread = parameters.values.keys().filter(|name| !read.contains(**name));
        match unread.next() {
            None => Ok(results),
            Some(name) => refuse(&self.name, format!("it does not read its parameter `{name}`"), at),
        }
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

fn refuse<T>(name: &str, problem: String, at: Location) -> Result<T> {
    Err(Error::Call { name: name.to_owned(), problem, at: Some(at) })
}

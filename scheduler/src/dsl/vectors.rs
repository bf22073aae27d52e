//! Vectors of ciphertexts: what does not fit the slots of one.
//!
//! ```
//! use scheduler::dsl;
//! let program = dsl::build("attention", |g| {
//!     let (q, k) = (g.input_vec("q", 8, 128)?, g.input_vec("k", 8, 128)?);
//!     g.output("score", q.inner(&k)? * 0.125, 128)
//! })?;
//! assert_eq!(program.function().inputs[3].name, "q[3]");
//! # Ok::<(), scheduler::Error>(())
//! ```

use core::iter;
use core::ops::{Add, Mul, Neg, Sub};

use super::values::is_free;
use super::{Encrypted, Graph, Plain};
use crate::ckks_ir::Location;
use crate::error::{Error, Result};

/// Encrypted vectors of one program, at least one of them.
#[derive(Clone, Debug)]
pub struct EncryptedVec<'g> {
    first: Encrypted<'g>,
    rest: Vec<Encrypted<'g>>,
}

impl Graph {
    /// Encrypted inputs `name[0]` to `name[n - 1]` of a period.
    ///
    /// # Errors
    /// [`Error::Length`] for none; those of [`Graph::input`].
    #[track_caller]
    pub fn input_vec(&self, name: &str, n: usize, period: usize) -> Result<EncryptedVec<'_>> {
        self.within(Location::here(), || {
            let inputs = (0..n).map(|i| self.input(&format!("{name}[{i}]"), period));
            self.vector(inputs.collect::<Result<Vec<_>>>()?)
        })
    }

    /// Values of this program as a vector.
    ///
    /// # Errors
    /// [`Error::Length`] for none; [`Error::ForeignValue`].
    #[track_caller]
    pub fn vector<'g>(&'g self, elements: Vec<Encrypted<'g>>) -> Result<EncryptedVec<'g>> {
        for element in &elements {
            self.owns(*element)?;
        }
        let mut elements = elements.into_iter();
        let Some(first) = elements.next() else {
            let at = Some(self.locate(Location::here()));
            return Err(Error::Length { what: "vector of ciphertexts", found: 0, expected: 1, at });
        };
        Ok(EncryptedVec { first, rest: elements.collect() })
    }

    /// Returns the elements as outputs `name[0]`, `name[1]` and so on.
    ///
    /// # Errors
    /// Those of [`Graph::output`].
    #[track_caller]
    pub fn output_vec(&self, name: &str, vector: &EncryptedVec<'_>, slots: usize) -> Result<()> {
        self.within(Location::here(), || {
            let mut elements = vector.iter().enumerate();
            elements.try_for_each(|(i, element)| self.output(&format!("{name}[{i}]"), element, slots))
        })
    }
}

impl<'g> EncryptedVec<'g> {
    /// The number of elements, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        1 + self.rest.len()
    }

    /// The program that it belongs to.
    pub fn graph(&self) -> &'g Graph {
        self.first.graph
    }

    /// The elements.
    pub fn iter(&self) -> impl Iterator<Item = Encrypted<'g>> {
        iter::once(self.first).chain(self.rest.iter().copied())
    }

    /// An element, from 0.
    ///
    /// # Errors
    /// [`Error::Index`].
    #[track_caller]
    pub fn get(&self, index: usize) -> Result<Encrypted<'g>> {
        let at = Location::here();
        let graph = self.first.graph;
        let beyond = || Error::Index { index, len: self.len(), at: Some(graph.locate(at)) };
        self.iter().nth(index).ok_or_else(beyond)
    }

    /// A function of every element.
    #[must_use]
    pub fn map(&self, mut f: impl FnMut(Encrypted<'g>) -> Encrypted<'g>) -> Self {
        Self { first: f(self.first), rest: self.rest.iter().copied().map(f).collect() }
    }

    /// A function of every element that may fail.
    ///
    /// # Errors
    /// The first one of `f`.
    pub fn try_map(&self, mut f: impl FnMut(Encrypted<'g>) -> Result<Encrypted<'g>>) -> Result<Self> {
        Ok(Self { first: f(self.first)?, rest: self.rest.iter().copied().map(f).collect::<Result<_>>()? })
    }

    /// The sum of the elements. Products are relinearized and rescaled once, as their sum.
    #[must_use]
    #[track_caller]
    pub fn sum(&self) -> Encrypted<'g> {
        let graph = self.first.graph;
        graph.within(Location::here(), || self.rest.iter().fold(self.first, |sum, &element| sum + element))
    }

    /// `sum_i a_i * b_i`, slot by slot.
    ///
    /// # Errors
    /// [`Error::Length`].
    ///
    /// # Cost
    /// One level, a product for each element, one relinearization.
    #[track_caller]
    pub fn inner(&self, other: &Self) -> Result<Encrypted<'g>> {
        self.check_length("vector of ciphertexts", other.len())?;
        Ok(self.zip(other, Location::here(), Mul::mul).sum())
    }

    /// `sum_i a_i * w_i`, slot by slot.
    ///
    /// # Errors
    /// [`Error::Length`].
    ///
    /// # Cost
    /// One level.
    #[track_caller]
    pub fn inner_plain(&self, weights: &[Plain<'g>]) -> Result<Encrypted<'g>> {
        self.check_length("vector of plaintexts", weights.len())?;
        let graph = self.first.graph;
        graph.within(Location::here(), || {
            let terms = self.iter().zip(weights).map(|(element, &weight)| element * weight);
            graph.vector(terms.collect()).map(|terms| terms.sum())
        })
    }

    /// `sum_i a_i * w_i` for numbers `w_i`; those that are zero cost nothing.
    ///
    /// # Errors
    /// [`Error::Length`].
    ///
    /// # Cost
    /// One level.
    #[track_caller]
    pub fn inner_scalars(&self, weights: &[f64]) -> Result<Encrypted<'g>> {
        self.check_length("vector of numbers", weights.len())?;
        let graph = self.first.graph;
        graph.within(Location::here(), || {
            let terms = |free: bool| {
                let wanted = move |&(_, w): &(Encrypted<'g>, &f64)| *w != 0.0 && is_free(*w) == free;
                self.iter().zip(weights).filter(wanted).map(|(element, &weight)| element * weight)
            };
            let sum = terms(false).chain(terms(true)).reduce(|sum, term| sum + term);
            Ok(sum.unwrap_or_else(|| self.first.zero()))
        })
    }

    #[track_caller]
    fn check_length(&self, what: &'static str, found: usize) -> Result<()> {
        if found == self.len() {
            return Ok(());
        }
        let at = Some(self.first.graph.locate(Location::here()));
        Err(Error::Length { what, found, expected: self.len(), at })
    }

    fn zip(
        &self,
        other: &Self,
        here: Location,
        f: fn(Encrypted<'g>, Encrypted<'g>) -> Encrypted<'g>,
    ) -> Self {
        self.first.graph.within(here, || {
            let rest = self.rest.iter().zip(&other.rest).map(|(&a, &b)| f(a, b)).collect();
            Self { first: f(self.first, other.first), rest }
        })
    }

    fn each<T: Copy>(&self, other: T, here: Location, f: fn(Encrypted<'g>, T) -> Encrypted<'g>) -> Self {
        self.first.graph.within(here, || self.map(|element| f(element, other)))
    }
}

/// Element by element; vectors of different lengths are a mistake that [`super::build`] returns.
macro_rules! elementwise {
    ($($trait:ident $method:ident),*) => {$(
        impl<'g> $trait for &EncryptedVec<'g> {
            type Output = EncryptedVec<'g>;
            #[track_caller]
            fn $method(self, other: Self) -> EncryptedVec<'g> {
                if let Err(error) = self.check_length("vector of ciphertexts", other.len()) {
                    self.first.graph.mistake(error);
                }
                self.zip(other, Location::here(), $trait::$method)
            }
        }
        elementwise!(@each $trait $method, Encrypted<'g>);
        elementwise!(@each $trait $method, Plain<'g>);
        elementwise!(@each $trait $method, f64);
    )*};
    (@each $trait:ident $method:ident, $other:ty) => {
        /// The same for every element.
        impl<'g> $trait<$other> for &EncryptedVec<'g> {
            type Output = EncryptedVec<'g>;
            #[track_caller]
            fn $method(self, other: $other) -> EncryptedVec<'g> {
                self.each(other, Location::here(), $trait::$method)
            }
        }
    };
}

elementwise!(Add add, Sub sub, Mul mul);

impl<'g> Neg for &EncryptedVec<'g> {
    type Output = EncryptedVec<'g>;
    #[track_caller]
    fn neg(self) -> EncryptedVec<'g> {
        self.first.graph.within(Location::here(), || self.map(Neg::neg))
    }
}

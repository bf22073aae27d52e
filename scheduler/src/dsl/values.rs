//! Handles to the values of a program, and their operations that are no operators.

use fhe_core::params::Level;

use super::Graph;
use crate::ckks_ir::{Bound, ConstId, Location, Op, Scalar, ValueId};
use crate::error::Error;

/// A handle to an encrypted vector of the program.
#[derive(Clone, Copy, Debug)]
pub struct Encrypted<'g> {
    pub(super) graph: &'g Graph,
    /// The call in which it was made, 0 for the program itself.
    pub(super) frame: u32,
    pub(super) id: ValueId,
    pub(super) period: u32,
}

/// A handle to a plaintext vector of the program.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'g> {
    pub(super) graph: &'g Graph,
    pub(super) frame: u32,
    pub(super) id: ConstId,
    pub(super) period: u32,
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
        self.graph.with_frame(self.frame, |frame| {
            if let Some(value) = frame.function.values.get_mut(self.id.0 as usize) {
                value.name = Some(name.to_owned());
            }
        });
        self
    }

    /// Says that no slot's modulus is above a number, for estimates ([`crate::noise`]): bits and plans stay as they are. Nothing checks it: where it is
    /// wrong, so are the estimates.
    #[must_use]
    #[track_caller]
    pub fn at_most(self, largest: f64) -> Self {
        let bound = Bound::at_most(largest);
        if !bound.is_valid() {
            let (at, expected) = (self.graph.locate(Location::here()), "a finite bound above 0");
            self.graph.mistake(Error::Interval { low: 0.0, high: largest, expected, at: Some(at) });
            return self;
        }
        self.bounded(bound)
    }

    /// What is known of its slots.
    pub(super) fn bounded(self, bound: Bound) -> Self {
        self.graph.with_frame(self.frame, |frame| {
            if let Some(value) = frame.function.values.get_mut(self.id.0 as usize) {
                value.bound = Bound::both(value.bound, Some(bound));
            }
        });
        self
    }

    /// Lets the value, and all that it is made of, reach no output: an input of a fixed interface, a result for another
    /// version of the program. Without this, what reaches no output is [`Error::Unused`].
    pub fn unused_on_purpose(self) -> Self {
        self.graph.with_frame(self.frame, |frame| frame.on_purpose.values.push(self.id));
        self
    }

    /// Every slot squared.
    #[must_use]
    #[track_caller]
    pub fn square(self) -> Self {
        self * self
    }

    /// Slot `i` becomes what slot `i + k` was, `k` of any sign. Rotations are taken modulo the period.
    #[must_use]
    #[track_caller]
    pub fn rotate(self, k: i64) -> Self {
        let k = k.rem_euclid(i64::from(self.period)) as u32;
        if k == 0 { self } else { self.graph.push(Op::Rotate(self.local(), k), self.period) }
    }

    /// The complex conjugate of every slot.
    #[must_use]
    #[track_caller]
    pub fn conjugate(self) -> Self {
        self.graph.push(Op::Conjugate(self.local()), self.period)
    }

    /// Every slot times the imaginary unit, exactly: no level, no noise.
    #[track_caller]
    pub fn mul_i(self) -> Self {
        self.graph.push(Op::MulI(self.local(), self.graph.imaginary_unit()), self.period)
    }

    /// The product, or sum of products, rescaled here (and relinearized before), even where the compiler would do so later: at the end of a
    /// sum. Kept, or refused by [`Error::Override`] when the program is compiled: where no rescale is owed.
    #[must_use]
    #[track_caller]
    pub fn rescaled(self) -> Self {
        self.graph.push(Op::Rescale(self.local()), self.period)
    }

    /// The product of two encrypted vectors, or sum of such, relinearized here, even where the compiler would do so later: at the end of
    /// a sum. Kept, or refused by [`Error::Override`] when the program is compiled: where the degree is 1.
    #[must_use]
    #[track_caller]
    pub fn relinearized(self) -> Self {
        self.graph.push(Op::Relinearize(self.local()), self.period)
    }

    /// The vector at exactly this level, rescaled, even where the compiler would choose a lower one; returned as it is, the program's output
    /// is at this level, where others are at level 0. Kept, or refused by
    /// [`Error::Override`] when the program is compiled: where the parameters have too few levels for it, or a user needs a higher one.
    #[must_use]
    #[track_caller]
    pub fn at_level(self, level: Level) -> Self {
        self.graph.push(Op::LevelDrop(self.local(), level), self.period)
    }

    /// The same message at the level that bootstrapping returns, whatever is left of its levels: computed on as if it were fresh. The
    /// modulus of every slot should be about 1, and of no slot much more: see `fhe_core::bootstrap`.
    ///
    /// Where the program needs more levels than there are the compiler bootstraps by itself; what is written is kept.
    ///
    /// # Cost
    /// Some 100 key switches at the highest levels. Half of the cosines where the period is at most half of the slots.
    #[must_use]
    #[track_caller]
    pub fn bootstrapped(self) -> Self {
        self.graph.push(Op::Bootstrap(self.local(), self.period), self.period)
    }

    /// Slot `i` becomes the sum of slots `i + j * stride` for `j < count`, in about `log2(count)` rotations, and one more for
    /// each further 1 among the bits of `count`.
    #[must_use]
    #[track_caller]
    pub fn sum_strided(self, stride: usize, count: usize) -> Self {
        let (mut window, mut size) = (self, 1);
        let (mut sum, mut summed) = (None, 0);
        while summed < count {
            if count & size != 0 {
                let part = window.rotate((summed * stride) as i64);
                // No closure: it would be another caller.
                sum = Some(if let Some(sum) = sum { sum + part } else { part });
                summed += size;
            }
            if summed < count {
                window = window + window.rotate((size * stride) as i64);
                size *= 2;
            }
        }
        if let Some(sum) = sum { sum } else { self.zero() }
    }

    /// The value `factor` times, as a sum: it costs no level, and about `2 log2(factor)` additions.
    #[must_use]
    #[track_caller]
    pub fn times(self, factor: u32) -> Self {
        if factor == 0 {
            return self.zero();
        }
        let mut sum = self;
        for bit in (0..factor.ilog2()).rev() {
            sum = sum + sum;
            if factor >> bit & 1 == 1 {
                sum = sum + self;
            }
        }
        sum
    }

    /// Zero in every slot, without a level.
    #[track_caller]
    pub(super) fn zero(self) -> Self {
        -self + self
    }

    /// Its name, or its operation.
    pub(super) fn describe(self) -> String {
        let name = self.graph.with_frame(self.frame, |frame| frame.function.describe(self.id));
        name.unwrap_or_else(|| self.id.to_string())
    }

    /// Where it was made.
    pub(super) fn made(self) -> Option<Location> {
        self.graph.with_frame(self.frame, |frame| frame.function.value(self.id).at.clone()).flatten()
    }

    /// Its name in what is being written.
    #[track_caller]
    pub(super) fn local(self) -> ValueId {
        self.graph.local(self)
    }

    pub(super) fn with_period(self, period: u32) -> Self {
        Self { period, ..self }
    }

    #[track_caller]
    pub(super) fn binary(self, other: Self, op: fn(ValueId, ValueId) -> Op) -> Self {
        if let Err(error) = self.graph.owns(other) {
            self.graph.mistake(error);
            return self;
        }
        self.graph.push(op(self.local(), other.local()), self.period.max(other.period))
    }

    #[track_caller]
    pub(super) fn with_plain(self, plain: Plain<'g>, op: fn(ValueId, ConstId) -> Op) -> Self {
        if !core::ptr::eq(self.graph, plain.graph) {
            let (name, made) = plain.describe();
            let at = Some(self.graph.locate(Location::here()));
            self.graph.mistake(Error::ForeignValue { name, made, at });
            return self;
        }
        let constant = self.graph.local_plain(plain);
        self.graph.push(op(self.local(), constant), self.period.max(plain.period))
    }

    #[track_caller]
    pub(super) fn with_scalar(self, value: f64, op: fn(ValueId, Scalar) -> Op) -> Self {
        if !value.is_finite() {
            let name = format!("scalar beside {}", self.describe());
            let at = Some(self.graph.locate(Location::here()));
            self.graph.mistake(Error::NotFinite { name, index: 0, value: value.to_string(), at });
        }
        self.graph.push(op(self.local(), Scalar::new(value)), self.period)
    }
}

impl Plain<'_> {
    /// The period: slot `i` holds element `i mod period`.
    pub fn period(self) -> usize {
        self.period as usize
    }

    /// Its name, and where it was made.
    pub(super) fn describe(self) -> (String, Option<Location>) {
        let found = self.graph.with_frame(self.frame, |frame| {
            let constant = frame.function.constants.get(self.id.0 as usize);
            constant.map(|constant| (constant.name.clone(), constant.at.clone()))
        });
        found.flatten().unwrap_or_else(|| (self.id.to_string(), None))
    }

    /// As [`Encrypted::unused_on_purpose`].
    pub fn unused_on_purpose(self) -> Self {
        self.graph.with_frame(self.frame, |frame| frame.on_purpose.constants.push(self.id));
        self
    }
}

/// What [`crate::passes::simplify`] makes of a product by this scalar is no product: in a sum it stands after those that
/// owe a rescale, so that they are rescaled as one.
pub(super) fn is_free(scalar: f64) -> bool {
    matches!(scalar, 1.0 | -1.0 | 2.0)
}

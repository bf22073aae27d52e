//! What is known of a value's slots beside how it is made. A bound changes no bit of a program: [`crate::noise`] takes it where the product of
//! the bounds of operands says far more. Of a polynomial on an interval that product is wrong by powers of ten, of bootstrapping by hundreds of them.

use core::fmt;

/// How large slots are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// What the numbers are multiples of.
    pub of: Unit,
    /// No slot's modulus is above it.
    pub largest: f64,
    /// The root of the mean square of slots is not above it.
    pub mean: f64,
}

/// What a bound is a multiple of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The number 1.
    One,
    /// The slots of what the value's `mod_raise` raised.
    Raised,
    /// These too, and the value is what was raised, times `largest`: with its error, and what the sine adds.
    Returned,
}

impl Bound {
    /// Of slots that are known to be no larger than a number.
    pub fn at_most(largest: f64) -> Self {
        Self { of: Unit::One, largest, mean: largest }
    }

    /// Whether the numbers say something.
    pub fn is_valid(&self) -> bool {
        self.mean > 0.0 && self.mean <= self.largest && self.largest.is_finite()
    }

    /// What is known of a value that is two: that it is what was raised, or else the smaller numbers.
    pub fn both(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        let (Some(a), Some(b)) = (a, b) else { return a.or(b) };
        Some(match (a.of, b.of) {
            (Unit::Returned, _) => a,
            (_, Unit::Returned) => b,
            _ if a.of == b.of => {
                Self { of: a.of, largest: a.largest.min(b.largest), mean: a.mean.min(b.mean) }
            }
            (Unit::Raised, _) => a,
            _ => b,
        })
    }
}

/// ` bound 2.0 mean 0.25`, and ` of raised` or ` of returned`.
impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " bound {:?} mean {:?}", self.largest, self.mean)?;
        match self.of {
            Unit::One => Ok(()),
            Unit::Raised => write!(f, " of raised"),
            Unit::Returned => write!(f, " of returned"),
        }
    }
}

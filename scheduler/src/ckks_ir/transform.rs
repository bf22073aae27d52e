//! Linear transforms of the slots, as data of a function. What becomes of them is decided by
//! [`crate::passes::expand_transforms`].

use core::fmt;

use super::{ConstId, Constant, Location};

/// A linear transform of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransformIdx(pub u32);

impl fmt::Display for TransformIdx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.0)
    }
}

/// A matrix by its diagonals that are not zero: `x` becomes `sum_d diag_d * rotate(x, d)`, slot by slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    /// The user's name.
    pub name: String,
    /// Rotations, ascending from 0 on, each with its diagonal.
    pub diagonals: Vec<(u32, ConstId)>,
    /// Where the user asked for it.
    pub at: Option<Location>,
}

impl Transform {
    /// The rotations, ascending.
    pub fn rotations(&self) -> Vec<u32> {
        self.diagonals.iter().map(|&(rotation, _)| rotation).collect()
    }

    /// The longest period of a diagonal, a constant of so many variants; none without diagonals.
    pub fn period(&self, constants: &[Constant], variants: u32) -> Option<usize> {
        let diagonals = self.diagonals.iter().filter_map(|(_, id)| constants.get(id.0 as usize));
        diagonals.map(|constant| constant.period(variants)).max()
    }
}

//! Newtypes for what could be swapped by mistake.

use core::fmt;

/// A level: an index into the level table of the parameters. Level 0 is the last; nothing can be
/// multiplied there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(pub u32);

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A prime of the parameters: main primes first, special primes after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimbIdx(pub u32);

impl LimbIdx {
    /// As an index.
    pub fn idx(self) -> usize {
        self.0 as usize
    }
}

/// An automorphism `X -> X^g` of the ring: `g` odd, below 2N.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GaloisElement(pub u32);

impl fmt::Display for GaloisElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

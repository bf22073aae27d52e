//! Element-wise kernels on one group of lanes. Canonical residues in, canonical residues out.

use super::Modulus;
use crate::lanes::{Lanes, Word};

/// `a + b`.
#[inline(always)]
pub fn add<W: Word, L: Lanes<W>>(a: L, b: L, m: &Modulus<W, L>) -> L {
    m.reduce_once(a.add(b))
}

/// `a - b`.
#[inline(always)]
pub fn sub<W: Word, L: Lanes<W>>(a: L, b: L, m: &Modulus<W, L>) -> L {
    m.canonical(a.sub(b))
}

/// `-a`: `q - a` lies in `(0, q]`.
#[inline(always)]
pub fn neg<W: Word, L: Lanes<W>>(a: L, m: &Modulus<W, L>) -> L {
    m.reduce_once(m.q.sub(a))
}

/// `a s`, with `s` in Montgomery form and the same in all lanes.
#[inline(always)]
pub fn mul_scalar<W: Word, L: Lanes<W>>(a: L, s: L, m: &Modulus<W, L>) -> L {
    m.mul_splat(a, s)
}

/// `(a - b) s`, with `s` in Montgomery form and the same in all lanes. The product takes `a - b + q` in `(0, 2q)`.
#[inline(always)]
pub fn sub_mul_scalar<W: Word, L: Lanes<W>>(a: L, b: L, s: L, m: &Modulus<W, L>) -> L {
    m.mul_splat(a.sub(b).add(m.q), s)
}

/// `a s + b`, with `s` in Montgomery form and the same in all lanes.
#[inline(always)]
pub fn mul_scalar_add<W: Word, L: Lanes<W>>(a: L, b: L, s: L, m: &Modulus<W, L>) -> L {
    add(m.mul_splat(a, s), b, m)
}

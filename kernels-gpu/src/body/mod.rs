//! The arithmetic of the kernels: pure functions on [`Lanes`], the same for a SIMD vector and for a GPU thread.
//!
//! Nothing here panics, allocates, recurses, divides by a variable or indexes a slice. Loads, stores and loops
//! over rows are the drivers' (`row`, `cpu`, `emulator`).
//!
//! Ranges are stated as intervals of the unsigned word; `(-q, q)` means the word modulo `2^BITS`.

pub mod automorphism;
pub mod bytes;
pub mod convert_basis;
pub mod elementwise;
pub mod encode;
pub mod inner_product;
pub mod ntt;
pub mod shoup;
pub mod tables;

use crate::lanes::{Lanes, Word};
use core::marker::PhantomData;
use tables::PrimeConstants;

/// A prime and what goes with it, in every lane.
#[derive(Clone, Copy, Debug)]
pub struct Modulus<W, L> {
    /// `q`.
    pub q: L,
    /// `R - 2 q`.
    pub minus_q2: L,
    /// `q^-1 mod R`.
    pub q_inv: L,
    word: PhantomData<W>,
}

impl<W: Word, L: Lanes<W>> Modulus<W, L> {
    /// Fills the lanes.
    ///
    /// # Safety
    /// The CPU must have the instruction set of `L`.
    #[inline(always)]
    pub unsafe fn new(c: &PrimeConstants<W>) -> Self {
        // SAFETY: the caller vouches for the instruction set.
        unsafe {
            Self {
                q: L::splat(c.q),
                minus_q2: L::splat(c.minus_q2),
                q_inv: L::splat(c.q_inv),
                word: PhantomData,
            }
        }
    }

    /// `[0, 2q)` to `[0, q)`.
    #[inline(always)]
    pub fn reduce_once(&self, x: L) -> L {
        x.min(x.sub(self.q))
    }

    /// `[0, 4q)` to `[0, 2q)`.
    #[inline(always)]
    pub fn reduce_twice_lazy(&self, x: L) -> L {
        x.min(x.add(self.minus_q2))
    }

    /// `(-q, q)` to `[0, q)`: a negative word is above `2^BITS - q`, so adding `q` makes it the smaller one.
    #[inline(always)]
    pub fn canonical(&self, t: L) -> L {
        t.min(t.add(self.q))
    }

    /// `a w / R mod q` in `[0, q)`, for `a w < q R`.
    #[inline(always)]
    pub fn mul(&self, a: L, w: L) -> L {
        self.canonical(a.mont_mul_lazy(w, self.q, self.q_inv))
    }

    /// [`Modulus::mul`] where all lanes of `w` are equal.
    #[inline(always)]
    pub fn mul_splat(&self, a: L, w: L) -> L {
        self.canonical(a.mont_mul_splat_lazy(w, self.q, self.q_inv))
    }
}

//! A polynomial in RNS form. Its domain is in the type, its basis in the value.

use super::Ring;
use crate::error::{Error, Result};
use crate::math::word::Word;
use crate::params::LimbIdx;
use core::marker::PhantomData;
use rayon::prelude::*;
use zeroize::Zeroize;

/// A domain of polynomials.
pub trait Domain: Copy + Send + Sync + 'static {}

/// Coefficient domain: word `k` of a limb is the coefficient of `X^k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coeff;

/// Evaluation domain: word `i` of a limb is the value at `psi^(2 brv(i) + 1)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eval;

impl Domain for Coeff {}
impl Domain for Eval {}

/// `basis.len()` limbs of N words each, limb after limb, every word canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RnsPoly<W, D> {
    basis: Vec<LimbIdx>,
    n: usize,
    data: Vec<W>,
    domain: PhantomData<D>,
}

impl<W: Word, D: Domain> RnsPoly<W, D> {
    /// The zero polynomial over a basis.
    pub fn zero(basis: &[LimbIdx], n: usize) -> Self {
        Self { basis: basis.to_vec(), n, data: vec![W::zeroed(); n * basis.len()], domain: PhantomData }
    }

    /// From its words, limb after limb.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] when the length is not `N` words a limb, a limb is not one of the ring or a word is
    /// not below its prime.
    pub fn from_words(ring: &Ring<W>, basis: &[LimbIdx], data: Vec<W>) -> Result<Self> {
        let n = ring.n();
        if data.len() != n * basis.len() {
            let (found, expected) = (data.len(), n * basis.len());
            return Err(Error::InvalidParams(format!("a polynomial of {found} words, expected {expected}")));
        }
        let n_primes = ring.params().primes().len();
        if let Some(limb) = basis.iter().find(|l| l.idx() >= n_primes) {
            let found = limb.0;
            return Err(Error::InvalidParams(format!("limb {found}, expected one below {n_primes}")));
        }
        for (&limb, words) in basis.iter().zip(data.chunks_exact(n)) {
            let q = ring.modulus(limb).value();
            if let Some(k) = words.iter().position(|&w| w >= q) {
                let found = words[k];
                return Err(Error::InvalidParams(format!(
                    "word {k} of limb {} is {found}, expected below its prime {q}",
                    limb.0
                )));
            }
        }
        Ok(Self { basis: basis.to_vec(), n, data, domain: PhantomData })
    }

    /// The limbs that are present, in storage order.
    pub fn basis(&self) -> &[LimbIdx] {
        &self.basis
    }

    /// The ring degree N: words a limb.
    pub fn n(&self) -> usize {
        self.n
    }

    /// All words, limb after limb.
    pub fn words(&self) -> &[W] {
        &self.data
    }

    /// The words of the limb at a position of the basis.
    pub fn limb(&self, position: usize) -> &[W] {
        &self.data[position * self.n..(position + 1) * self.n]
    }

    /// Overwrites the words with zeros; their number stays.
    pub fn wipe(&mut self) {
        self.data.iter_mut().zeroize();
    }

    /// Runs `f(limb, words)` over all limbs, in parallel.
    pub fn for_each_limb(&mut self, f: impl Fn(LimbIdx, &mut [W]) + Sync) {
        self.data.par_chunks_exact_mut(self.n).zip(&self.basis).for_each(|(words, &limb)| f(limb, words));
    }

    /// Runs `f` over all limbs and changes the domain.
    pub(super) fn transform<E: Domain>(mut self, f: impl Fn(LimbIdx, &mut [W]) + Sync) -> RnsPoly<W, E> {
        self.for_each_limb(f);
        RnsPoly { basis: self.basis, n: self.n, data: self.data, domain: PhantomData }
    }

    /// The limbs of `basis`, in that order.
    ///
    /// # Errors
    /// [`Error::BasisMismatch`] when one is missing.
    pub fn select(&self, operation: &'static str, basis: &[LimbIdx]) -> Result<Self> {
        let mut data = Vec::with_capacity(basis.len() * self.n);
        for limb in basis {
            let Some(position) = self.basis.iter().position(|l| l == limb) else {
                return Err(mismatch(operation, basis, &self.basis));
            };
            data.extend_from_slice(self.limb(position));
        }
        Ok(Self { basis: basis.to_vec(), n: self.n, data, domain: PhantomData })
    }

    /// This polynomial's limbs and after them those of `other`.
    pub fn concat(mut self, other: &Self) -> Self {
        self.basis.extend_from_slice(&other.basis);
        self.data.extend_from_slice(&other.data);
        self
    }

    fn zip_assign(
        &mut self,
        operation: &'static str,
        other: &Self,
        f: impl Fn(LimbIdx, &mut [W], &[W]) + Sync,
    ) -> Result<()> {
        if self.n != other.n {
            return Err(Error::RingDegreeMismatch { operation, expected: self.n, found: other.n });
        }
        if self.basis != other.basis {
            return Err(mismatch(operation, &self.basis, &other.basis));
        }
        let rows = self.data.par_chunks_exact_mut(self.n).zip(other.data.par_chunks_exact(self.n));
        rows.zip(&self.basis).for_each(|((a, b), &limb)| f(limb, a, b));
        Ok(())
    }

    /// `self += other`.
    ///
    /// # Errors
    /// [`Error::BasisMismatch`], [`Error::RingDegreeMismatch`].
    pub fn add_assign(&mut self, ring: &Ring<W>, other: &Self) -> Result<()> {
        self.zip_assign("add", other, |limb, a, b| {
            let m = ring.modulus(limb);
            a.iter_mut().zip(b).for_each(|(x, &y)| *x = m.add(*x, y));
        })
    }

    /// `self -= other`.
    ///
    /// # Errors
    /// [`Error::BasisMismatch`], [`Error::RingDegreeMismatch`].
    pub fn sub_assign(&mut self, ring: &Ring<W>, other: &Self) -> Result<()> {
        self.zip_assign("sub", other, |limb, a, b| {
            let m = ring.modulus(limb);
            a.iter_mut().zip(b).for_each(|(x, &y)| *x = m.sub(*x, y));
        })
    }

    /// `self = -self`.
    pub fn neg_assign(&mut self, ring: &Ring<W>) {
        self.for_each_limb(|limb, a| {
            let m = ring.modulus(limb);
            a.iter_mut().for_each(|x| *x = m.neg(*x));
        });
    }

    /// `self *= c`, with `c` given as its residue modulo each prime.
    pub fn mul_scalar_assign(&mut self, ring: &Ring<W>, residue: impl Fn(LimbIdx) -> W + Sync) {
        self.for_each_limb(|limb, a| {
            let m = ring.modulus(limb);
            let c = m.shoup(residue(limb));
            a.iter_mut().for_each(|x| *x = m.mul_shoup(*x, c));
        });
    }
}

impl<W: Word> RnsPoly<W, Eval> {
    /// `self *= other`.
    ///
    /// # Errors
    /// [`Error::BasisMismatch`], [`Error::RingDegreeMismatch`].
    pub fn mul_assign(&mut self, ring: &Ring<W>, other: &Self) -> Result<()> {
        self.zip_assign("mul", other, |limb, a, b| {
            let m = ring.modulus(limb);
            a.iter_mut().zip(b).for_each(|(x, &y)| *x = m.mul(*x, y));
        })
    }

    /// `self += a * b`; `b` may have more limbs.
    ///
    /// # Errors
    /// [`Error::BasisMismatch`], [`Error::RingDegreeMismatch`].
    pub fn mul_add_assign(&mut self, ring: &Ring<W>, a: &Self, b: &Self) -> Result<()> {
        if let Some(found) = [a.n, b.n].into_iter().find(|&n| n != self.n) {
            return Err(Error::RingDegreeMismatch { operation: "mul_add", expected: self.n, found });
        }
        if a.basis != self.basis {
            return Err(mismatch("mul_add", &self.basis, &a.basis));
        }
        let position = |limb: &LimbIdx| b.basis.iter().position(|l| l == limb);
        let positions: Option<Vec<usize>> = self.basis.iter().map(position).collect();
        let Some(positions) = positions else { return Err(mismatch("mul_add", &self.basis, &b.basis)) };
        let rows = self.data.par_chunks_exact_mut(self.n).zip(a.data.par_chunks_exact(self.n));
        rows.zip(self.basis.par_iter().zip(&positions)).for_each(|((sum, x), (&limb, &position))| {
            let m = ring.modulus(limb);
            let factors = x.iter().zip(b.limb(position));
            sum.iter_mut().zip(factors).for_each(|(s, (&x, &y))| *s = m.add(*s, m.mul(x, y)));
        });
        Ok(())
    }

    /// `self += c`, the constant polynomial given as its residue modulo each prime.
    pub fn add_scalar_assign(&mut self, ring: &Ring<W>, residue: impl Fn(LimbIdx) -> W + Sync) {
        self.for_each_limb(|limb, a| {
            let (m, c) = (ring.modulus(limb), residue(limb));
            a.iter_mut().for_each(|x| *x = m.add(*x, c));
        });
    }
}

fn mismatch(operation: &'static str, expected: &[LimbIdx], found: &[LimbIdx]) -> Error {
    let idx = |basis: &[LimbIdx]| basis.iter().map(|l| l.0).collect();
    Error::BasisMismatch { operation, expected: idx(expected), found: idx(found) }
}

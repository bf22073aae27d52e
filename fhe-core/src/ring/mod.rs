//! Polynomials in RNS form: `Z_Q[X] / (X^N + 1)` limb by limb.
//!
//! Owns the tables of every prime ([`Ring`]), polynomials whose domain is in their type
//! ([`RnsPoly`]`<W, `[`Coeff`]` | `[`Eval`]`>`), basis conversion and automorphisms. Knows no keys and no
//! scales. This is the reference: simple and exact, limbs in parallel, the same bits for any number of
//! threads.

mod automorphism;
mod convert;
mod poly;

pub use automorphism::evaluation_permutation;
pub use convert::ConvertBasis;
pub use poly::{Coeff, Domain, Eval, RnsPoly};

use crate::error::{Error, Result};
use crate::math::modulus::Modulus;
use crate::math::ntt::NttTable;
use crate::math::word::Word;
use crate::params::{LimbIdx, Params};
use rayon::prelude::*;
use std::sync::Arc;

#[derive(Debug)]
struct Inner<W> {
    params: Params,
    tables: Vec<NttTable<W>>,
}

/// The tables of all primes of the parameters. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ring<W>(Arc<Inner<W>>);

impl<W: Word> Ring<W> {
    /// Builds the tables: `4 N` words a prime.
    ///
    /// # Errors
    /// [`Error::WordMismatch`] unless `W` is the word of the parameters.
    pub fn new(params: &Params) -> Result<Self> {
        if params.word() != W::KIND {
            return Err(Error::WordMismatch { expected: params.word().bits(), found: W::KIND.bits() });
        }
        let table = |i: usize| {
            let limb = LimbIdx(i as u32);
            let modulus = Modulus::new(W::truncate(params.prime(limb)));
            NttTable::new(modulus, params.root(limb), params.log_n())
        };
        let tables = (0..params.primes().len()).into_par_iter().map(table).collect();
        Ok(Self(Arc::new(Inner { params: params.clone(), tables })))
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.0.params
    }

    /// The ring degree N.
    pub fn n(&self) -> usize {
        self.params().n()
    }

    /// The modulus of a limb.
    pub fn modulus(&self, limb: LimbIdx) -> Modulus<W> {
        self.0.tables[limb.idx()].modulus()
    }

    /// The transform of a limb.
    pub fn ntt_table(&self, limb: LimbIdx) -> &NttTable<W> {
        &self.0.tables[limb.idx()]
    }

    /// Coefficient to evaluation domain.
    pub fn ntt(&self, poly: RnsPoly<W, Coeff>) -> RnsPoly<W, Eval> {
        poly.transform(|limb, words| self.ntt_table(limb).forward(words))
    }

    /// Evaluation to coefficient domain.
    pub fn intt(&self, poly: RnsPoly<W, Eval>) -> RnsPoly<W, Coeff> {
        poly.transform(|limb, words| self.ntt_table(limb).inverse(words))
    }

    /// Small signed coefficients, reduced modulo every prime of a basis.
    pub fn from_small(&self, basis: &[LimbIdx], coefficients: &[i8]) -> RnsPoly<W, Coeff> {
        let mut poly = RnsPoly::zero(basis, self.n());
        poly.for_each_limb(|limb, words| {
            let m = self.modulus(limb);
            words.iter_mut().zip(coefficients).for_each(|(w, &c)| *w = m.reduce_signed(i64::from(c)));
        });
        poly
    }

    /// `prod(factors) mod q`, `q` the prime of `limb`.
    pub fn product_mod(&self, factors: &[LimbIdx], limb: LimbIdx) -> W {
        let m = self.modulus(limb);
        factors.iter().fold(W::truncate(1), |p, &f| m.mul(p, m.reduce(self.params().prime(f))))
    }

    /// `round(x prod(to \ from) / prod(from \ to))` over the basis `to`, `from` that of `x`: `rescale{removed, added}`.
    ///
    /// Modulo an added prime the product is 0, so its limbs come at no cost before the division.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn rescale(&self, poly: &RnsPoly<W, Eval>, to: &[LimbIdx]) -> Result<RnsPoly<W, Eval>> {
        let from = poly.basis();
        let removed: Vec<LimbIdx> = from.iter().copied().filter(|l| !to.contains(l)).collect();
        let added: Vec<LimbIdx> = to.iter().copied().filter(|l| !from.contains(l)).collect();
        if added.is_empty() {
            return self.divide_round(poly, &removed);
        }
        let mut product = poly.clone();
        product.mul_scalar_assign(self, |limb| self.product_mod(&added, limb));
        let product = product.concat(&RnsPoly::zero(&added, self.n()));
        self.divide_round(&product, &removed)?.select("rescale", to)
    }

    /// `round(x / prod(removed))` over the remaining limbs: what `mod_down`, and `rescale` on a prefix chain, do.
    ///
    /// Shape: evaluation domain over `removed` and others, to evaluation domain over the others, in order.
    /// The removed part is converted, centred, to the other limbs and subtracted; what is left is divisible.
    ///
    /// # Errors
    /// [`Error::BasisMismatch`] unless `poly` has every removed limb.
    pub fn divide_round(&self, poly: &RnsPoly<W, Eval>, removed: &[LimbIdx]) -> Result<RnsPoly<W, Eval>> {
        let kept: Vec<LimbIdx> = poly.basis().iter().copied().filter(|l| !removed.contains(l)).collect();
        let remainder = self.intt(poly.select("divide_round", removed)?);
        let remainder = self.ntt(ConvertBasis::new(self, removed, &kept).apply(self, &remainder)?);
        let mut quotient = poly.select("divide_round", &kept)?;
        quotient.sub_assign(self, &remainder)?;
        quotient.for_each_limb(|limb, words| {
            let m = self.modulus(limb);
            let inv = m.shoup(m.inv(self.product_mod(removed, limb)));
            words.iter_mut().for_each(|w| *w = m.mul_shoup(*w, inv));
        });
        Ok(quotient)
    }
}

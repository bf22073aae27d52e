//! Automorphisms `X -> X^g` of the ring, in both domains.

use super::{Coeff, Domain, Eval, Ring, RnsPoly};
use crate::error::Result;
use crate::math::ntt::bit_reverse;
use crate::math::word::Word;
use crate::params::GaloisElement;

/// Where position `i` of `a(X^g)` comes from in the evaluation domain: the value of `a(X^g)` at `psi^e` is
/// that of `a` at `psi^(e g)`, and position `i` stands for `e = 2 brv(i) + 1`.
pub fn evaluation_permutation(log_n: u32, g: GaloisElement) -> Vec<u32> {
    let two_n = 2usize << log_n;
    let source = |i: usize| {
        let e = (2 * bit_reverse(i, log_n) + 1) * g.0 as usize % two_n;
        bit_reverse(e / 2, log_n) as u32
    };
    (0..two_n / 2).map(source).collect()
}

impl<W: Word> Ring<W> {
    /// `a(X^g)`, evaluation domain: a permutation.
    ///
    /// # Errors
    /// [`crate::Error::NotGalois`].
    pub fn automorphism(&self, a: &RnsPoly<W, Eval>, g: GaloisElement) -> Result<RnsPoly<W, Eval>> {
        self.params().check_galois(g)?;
        let source = evaluation_permutation(self.params().log_n(), g);
        Ok(self.map_limbs(a, |position, out, _| {
            let limb = a.limb(position);
            out.iter_mut().zip(&source).for_each(|(x, &i)| *x = limb[i as usize]);
        }))
    }

    /// `a(X^g)`, coefficient domain: a permutation with signs.
    ///
    /// # Errors
    /// [`crate::Error::NotGalois`].
    pub fn automorphism_coeff(&self, a: &RnsPoly<W, Coeff>, g: GaloisElement) -> Result<RnsPoly<W, Coeff>> {
        self.params().check_galois(g)?;
        let n = self.n();
        Ok(self.map_limbs(a, |position, out, modulus| {
            for (i, &x) in a.limb(position).iter().enumerate() {
                let k = i * g.0 as usize % (2 * n);
                out[k % n] = if k < n { x } else { modulus.neg(x) };
            }
        }))
    }

    fn map_limbs<D: Domain>(
        &self,
        a: &RnsPoly<W, D>,
        f: impl Fn(usize, &mut [W], crate::math::modulus::Modulus<W>) + Sync,
    ) -> RnsPoly<W, D> {
        let mut out = RnsPoly::zero(a.basis(), self.n());
        out.for_each_limb(|limb, words| {
            if let Some(position) = a.basis().iter().position(|&l| l == limb) {
                f(position, words, self.modulus(limb));
            }
        });
        out
    }
}

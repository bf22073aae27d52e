//! The negacyclic number-theoretic transform modulo one prime.
//!
//! Forward: coefficients in natural order to values in bit-reversed order; position `i` holds the value at
//! `psi^(2 brv(i) + 1)`, `psi` a primitive 2N-th root of unity. Cooley-Tukey forward, Gentleman-Sande back,
//! twiddles merged with the negacyclic weights (Longa and Naehrig, ePrint 2016/504), butterflies lazy in
//! `[0, 4 q)` (Harvey 2014). Canonical in, canonical out. The naive twin is [`super::naive`].

use super::modulus::{Modulus, ShoupFactor};
use super::word::Word;

/// Twiddles of one prime at one degree.
#[derive(Clone, Debug)]
pub struct NttTable<W> {
    modulus: Modulus<W>,
    /// `psi^brv(i)`, `i` in `[0, N)`.
    forward: Vec<ShoupFactor<W>>,
    /// `psi^-brv(i)`.
    inverse: Vec<ShoupFactor<W>>,
    /// `N^-1`, and `N^-1` times the last inverse twiddle: the division is folded in the last stage.
    n_inv: ShoupFactor<W>,
    n_inv_twiddle: ShoupFactor<W>,
}

/// Reverses the low `bits` bits of `i`.
pub fn bit_reverse(i: usize, bits: u32) -> usize {
    if bits == 0 { 0 } else { i.reverse_bits() >> (usize::BITS - bits) }
}

impl<W: Word> NttTable<W> {
    /// The tables for degree `2^log_n` and the primitive 2N-th root `psi`.
    pub fn new(modulus: Modulus<W>, psi: u64, log_n: u32) -> Self {
        let n = 1usize << log_n;
        let psi = W::truncate(psi);
        let table = |root: W| {
            let mut powers = vec![modulus.shoup(W::truncate(1)); n];
            let mut power = W::truncate(1);
            let root_shoup = modulus.shoup(root);
            for i in 0..n {
                powers[bit_reverse(i, log_n)] = modulus.shoup(power);
                power = modulus.mul_shoup(power, root_shoup);
            }
            powers
        };
        let forward = table(psi);
        let inverse = table(modulus.inv(psi));
        let n_inv = modulus.inv(W::truncate(n as u64));
        let n_inv_twiddle = modulus.mul(n_inv, inverse[1.min(n - 1)].value);
        Self {
            modulus,
            forward,
            inverse,
            n_inv: modulus.shoup(n_inv),
            n_inv_twiddle: modulus.shoup(n_inv_twiddle),
        }
    }

    /// The modulus.
    pub fn modulus(&self) -> Modulus<W> {
        self.modulus
    }

    /// In place, coefficient to evaluation domain. `a` has N words in `[0, q)`, before and after.
    pub fn forward(&self, a: &mut [W]) {
        let n = a.len();
        let q = self.modulus.value();
        let two_q = q.add_low(q);
        let (mut blocks, mut half) = (1, n / 2);
        while blocks < n {
            for (block, w) in a.chunks_exact_mut(2 * half).zip(&self.forward[blocks..2 * blocks]) {
                let (low, high) = block.split_at_mut(half);
                for (x, y) in low.iter_mut().zip(high) {
                    let u = reduce_once(*x, two_q);
                    let t = self.modulus.mul_shoup_lazy(*y, *w);
                    *x = u.add_low(t);
                    *y = u.add_low(two_q).sub_low(t);
                }
            }
            blocks *= 2;
            half /= 2;
        }
        for x in a {
            *x = reduce_once(reduce_once(*x, two_q), q);
        }
    }

    /// In place, evaluation to coefficient domain. `a` has N words in `[0, q)`, before and after.
    pub fn inverse(&self, a: &mut [W]) {
        let n = a.len();
        let q = self.modulus.value();
        let two_q = q.add_low(q);
        let (mut blocks, mut half) = (n / 2, 1);
        while blocks > 1 {
            for (block, w) in a.chunks_exact_mut(2 * half).zip(&self.inverse[blocks..2 * blocks]) {
                let (low, high) = block.split_at_mut(half);
                for (x, y) in low.iter_mut().zip(high) {
                    let (u, v) = (*x, *y);
                    *x = reduce_once(u.add_low(v), two_q);
                    *y = self.modulus.mul_shoup_lazy(u.add_low(two_q).sub_low(v), *w);
                }
            }
            blocks /= 2;
            half *= 2;
        }
        let (low, high) = a.split_at_mut(half);
        for (x, y) in low.iter_mut().zip(high) {
            let (u, v) = (*x, *y);
            *x = self.modulus.mul_shoup(u.add_low(v), self.n_inv);
            *y = self.modulus.mul_shoup(u.add_low(two_q).sub_low(v), self.n_inv_twiddle);
        }
    }
}

/// `x - bound` if `x >= bound`, without a branch: wraps to a large word otherwise, and the minimum undoes it.
#[inline(always)]
fn reduce_once<W: Word>(x: W, bound: W) -> W {
    x.min(x.sub_low(bound))
}

#[cfg(test)]
mod tests {
    use super::super::{naive, primes};
    use super::*;
    use proptest::prelude::*;

    fn table<W: Word>(bits: u32, log_n: u32) -> NttTable<W> {
        let q = primes::descending(bits, log_n + 1).next().unwrap();
        NttTable::new(Modulus::new(W::truncate(q)), primes::root_of_unity(q, log_n + 1).unwrap(), log_n)
    }

    fn check<W: Word>(bits: u32, log_n: u32, words: &[u64]) {
        let t = table::<W>(bits, log_n);
        let q = t.modulus.value();
        for extreme in [None, Some(0), Some(q.to_u64() - 1)] {
            let a: Vec<W> = words.iter().map(|&x| t.modulus.reduce(extreme.unwrap_or(x))).collect();
            let psi = primes::root_of_unity(q.to_u64(), log_n + 1).unwrap();
            let mut b = a.clone();
            t.forward(&mut b);
            assert_eq!(b, naive::ntt(&t.modulus, W::truncate(psi), &a));
            t.inverse(&mut b);
            assert_eq!(b, a);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn equals_the_naive_transform_and_inverts(words in prop::collection::vec(any::<u64>(), 64)) {
            check::<u32>(30, 6, &words);
            check::<u32>(21, 6, &words);
            check::<u64>(60, 6, &words);
            check::<u64>(33, 6, &words);
        }

        #[test]
        fn products_are_negacyclic(a in prop::collection::vec(any::<u64>(), 32), b in prop::collection::vec(any::<u64>(), 32)) {
            let t = table::<u32>(30, 5);
            let reduce = |v: &[u64]| v.iter().map(|&x| t.modulus.reduce(x)).collect::<Vec<_>>();
            let (a, b) = (reduce(&a), reduce(&b));
            let (mut fa, mut fb) = (a.clone(), b.clone());
            t.forward(&mut fa);
            t.forward(&mut fb);
            let mut c: Vec<u32> = fa.iter().zip(&fb).map(|(&x, &y)| t.modulus.mul(x, y)).collect();
            t.inverse(&mut c);
            prop_assert_eq!(c, naive::negacyclic_product(&t.modulus, &a, &b));
        }
    }
}

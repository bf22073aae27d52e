//! Arithmetic modulo one prime, exact and simple: the oracle of every faster body.
//!
//! Residues are canonical, in `[0, q)`, unless a name ends in `_lazy`. What fits 64 bits is reduced by Barrett's trick (CRYPTO '86):
//! with `m = floor((2^64 - 1) / q)` the quotient `floor(x m / 2^64)` is that of `x`, or one less. Products of 64-bit words go through
//! `u128` remainders; where one factor is fixed all go through Shoup's trick (Harvey, "Faster arithmetic for number-theoretic
//! transforms", 2014, section 3).

use super::word::Word;

/// A prime modulus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modulus<W> {
    q: W,
    /// `floor((2^64 - 1) / q)`.
    barrett: u64,
}

/// A fixed factor `w < q` with `floor(w 2^bits / q)`: multiplication by it costs two word products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShoupFactor<W> {
    /// The factor, canonical.
    pub value: W,
    /// `floor(value * 2^bits / q)`.
    pub quotient: W,
}

impl<W: Word> Modulus<W> {
    /// The modulus `q`, which must be a prime in the range of [`super::word::WordKind`].
    pub fn new(q: W) -> Self {
        Self { q, barrett: u64::MAX / q.to_u64() }
    }

    /// `q`.
    #[inline(always)]
    pub fn value(&self) -> W {
        self.q
    }

    /// `x mod q`.
    #[inline(always)]
    pub fn reduce(&self, x: u64) -> W {
        let q = self.q.to_u64();
        let quotient = (u128::from(x) * u128::from(self.barrett)) >> 64;
        let r = x.wrapping_sub((quotient as u64).wrapping_mul(q));
        W::truncate(if r >= q { r - q } else { r })
    }

    /// `x mod q` for a signed value, in `[0, q)`.
    #[inline(always)]
    pub fn reduce_signed(&self, x: i64) -> W {
        let q = self.q.to_u64() as i64;
        W::truncate(x.rem_euclid(q) as u64)
    }

    /// `x mod q` for a wide signed value, in `[0, q)`.
    #[inline(always)]
    pub fn reduce_i128(&self, x: i128) -> W {
        W::truncate(x.rem_euclid(i128::from(self.q.to_u64())) as u64)
    }

    /// `a + b mod q`.
    #[inline(always)]
    pub fn add(&self, a: W, b: W) -> W {
        let s = a.add_low(b);
        if s >= self.q { s.sub_low(self.q) } else { s }
    }

    /// `a - b mod q`.
    #[inline(always)]
    pub fn sub(&self, a: W, b: W) -> W {
        if a >= b { a.sub_low(b) } else { a.add_low(self.q).sub_low(b) }
    }

    /// `-a mod q`.
    #[inline(always)]
    pub fn neg(&self, a: W) -> W {
        if a == W::zeroed() { a } else { self.q.sub_low(a) }
    }

    /// `a * b mod q`.
    #[inline(always)]
    pub fn mul(&self, a: W, b: W) -> W {
        match W::KIND {
            super::word::WordKind::U32 => self.reduce(a.to_u64() * b.to_u64()),
            super::word::WordKind::U64 => {
                let p = u128::from(a.to_u64()) * u128::from(b.to_u64());
                W::truncate((p % u128::from(self.q.to_u64())) as u64)
            }
        }
    }

    /// `a^exponent mod q`.
    pub fn pow(&self, mut a: W, mut exponent: u64) -> W {
        let mut r = W::truncate(1);
        while exponent > 0 {
            if exponent & 1 == 1 {
                r = self.mul(r, a);
            }
            a = self.mul(a, a);
            exponent >>= 1;
        }
        r
    }

    /// `a^-1 mod q` by Fermat; 0 for 0.
    pub fn inv(&self, a: W) -> W {
        self.pow(a, self.q.to_u64() - 2)
    }

    /// Prepares a fixed factor `w < q`.
    pub fn shoup(&self, w: W) -> ShoupFactor<W> {
        let quotient = (u128::from(w.to_u64()) << W::KIND.bits()) / u128::from(self.q.to_u64());
        ShoupFactor { value: w, quotient: W::truncate(quotient as u64) }
    }

    /// `a * w mod q`, in `[0, 2 q)`, for any word `a`.
    #[inline(always)]
    pub fn mul_shoup_lazy(&self, a: W, w: ShoupFactor<W>) -> W {
        let (hi, _) = a.mul_wide(w.quotient);
        a.mul_low(w.value).sub_low(hi.mul_low(self.q))
    }

    /// `a * w mod q`, canonical, for any word `a`.
    #[inline(always)]
    pub fn mul_shoup(&self, a: W, w: ShoupFactor<W>) -> W {
        let r = self.mul_shoup_lazy(a, w);
        if r >= self.q { r.sub_low(self.q) } else { r }
    }

    /// The residue as a signed value in `[-q/2, q/2)`.
    #[inline(always)]
    pub fn centred(&self, a: W) -> i64 {
        let (a, q) = (a.to_u64() as i64, self.q.to_u64() as i64);
        if a > q / 2 { a - q } else { a }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reductions_are_remainders(x in any::<u64>(), a in any::<u32>(), b in any::<u32>()) {
            for q in [(1u64 << 20) + 7, 1_073_479_681, 998_244_353] {
                let m = Modulus::new(q as u32);
                for x in [x, u64::MAX, u64::MAX - q, q - 1, q, 2 * q - 1, x / q * q, (x / q * q).wrapping_sub(1)] {
                    prop_assert_eq!(u64::from(m.reduce(x)), x % q);
                }
                let (a, b) = (a % q as u32, b % q as u32);
                prop_assert_eq!(u64::from(m.mul(a, b)), u64::from(a) * u64::from(b) % q);
            }
            for q in [(1u64 << 32) + 15, 1_152_921_504_606_830_593] {
                let m = Modulus::new(q);
                for x in [x, u64::MAX, q - 1, q, x / q * q, (x / q * q).wrapping_sub(1)] {
                    prop_assert_eq!(m.reduce(x), x % q);
                }
            }
        }
    }
}

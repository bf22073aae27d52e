//! Words and lanes: what a kernel body computes on.
//!
//! A [`Word`] holds one residue: `u32` for primes in `(2^20, 2^30)`, `u64` for primes in `(2^32, 2^60)`. Both leave
//! two bits, so that the lazy range `[0, 4q)` fits. A [`Lanes`] value is a group of `LANES` words that are worked on
//! together: one word ([`Scalar`], also what a GPU thread holds), 8 ([`Avx2`]) or 16 ([`Avx512`]).
//!
//! **Montgomery.** `R = 2^BITS`, `q_inv = q^-1 mod R`. For `z < q R` the reduction is
//!
//! ```text
//! redc(z) = hi(z) - hi(lo(z) * q_inv * q)   in (-q, q),   congruent to z / R
//! ```
//!
//! (Montgomery 1985, in the subtracting form: the low halves are equal, so no carry is lost.) It is left as a word
//! modulo `R`: adding `q` brings it to `(0, 2q)`, `min(t, t + q)` to `[0, q)`.
//!
//! **Witness.** A vector instruction is sound only on a CPU that has it. The functions that make a value out of
//! nothing (`splat`, `load`, `zero_acc`) are `unsafe` and require the feature; every other one takes a value, which
//! proves it. All are `#[inline(always)]`, so they take on the target features of the shell they end up in.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use scalar::Scalar;

use bytemuck::Pod;

/// A machine word that holds one residue.
pub trait Word: Pod + Ord + core::fmt::Debug + core::fmt::Display + Send + Sync + 'static {
    /// Twice as wide: a product, or a sum of [`Word::FOLD_TERMS`] products.
    type Wide: Copy;
    /// Bits of a word.
    const BITS: u32;
    /// Primes are below `2^PRIME_BITS`.
    const PRIME_BITS: u32;
    /// Products of two canonical residues that may be added to a folded accumulator (below `2^(BITS + PRIME_BITS)`)
    /// without overflow: `2^(2 BITS - 2 PRIME_BITS) - 2^(BITS - PRIME_BITS)`, that is 12 for `u32` and 240 for `u64`.
    /// One more canonical residue fits, because a product is at most `(2^PRIME_BITS - 1)^2`.
    const FOLD_TERMS: usize =
        (1 << (2 * (Self::BITS - Self::PRIME_BITS))) - (1 << (Self::BITS - Self::PRIME_BITS));
    /// Products of two canonical residues that may be added to an accumulator at zero: `2^(2 BITS - 2 PRIME_BITS) - 1`,
    /// that is 15 for `u32` and 255 for `u64`.
    const FIRST_TERMS: usize = (1 << (2 * (Self::BITS - Self::PRIME_BITS))) - 1;
    /// Products of a canonical residue modulo any prime and one modulo `q` that stay below `3 q R`, so that one reduction
    /// ends their sum ([`crate::body::inner_product::Reducer::reduce_sum`]): 12 for `u32`, 48 for `u64`. Primes are `1 mod 2N`,
    /// `N >= 256`, so residues are at most `2^PRIME_BITS - 512`, and one more addend up to `64 q` fits.
    const SUM_TERMS: usize = 3 << (Self::BITS - Self::PRIME_BITS);
    /// The same beside a folded accumulator, which is below `q R`: 8 for `u32`, 32 for `u64`.
    const SUM_FOLD_TERMS: usize = 2 << (Self::BITS - Self::PRIME_BITS);
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;

    /// The low bits of `x`.
    fn from_u64(x: u64) -> Self;
    /// The value.
    fn to_u64(self) -> u64;
    /// `self + rhs mod R`.
    fn wrapping_add(self, rhs: Self) -> Self;
    /// `self - rhs mod R`.
    fn wrapping_sub(self, rhs: Self) -> Self;
    /// `self * rhs mod R`.
    fn wrapping_mul(self, rhs: Self) -> Self;
    /// `self * rhs`.
    fn mul_wide(self, rhs: Self) -> Self::Wide;
    /// `self` as a wide word.
    fn widen(self) -> Self::Wide;
    /// `a + b` modulo `R^2`.
    fn wide_add(a: Self::Wide, b: Self::Wide) -> Self::Wide;
    /// The upper half.
    fn hi(z: Self::Wide) -> Self;
    /// The lower half.
    fn lo(z: Self::Wide) -> Self;
}

macro_rules! word {
    ($word:ty, $wide:ty, $prime_bits:expr) => {
        impl Word for $word {
            type Wide = $wide;
            const BITS: u32 = <$word>::BITS;
            const PRIME_BITS: u32 = $prime_bits;
            const ZERO: Self = 0;
            const ONE: Self = 1;

            #[inline(always)]
            fn from_u64(x: u64) -> Self {
                x as Self
            }
            #[inline(always)]
            fn to_u64(self) -> u64 {
                u64::from(self)
            }
            #[inline(always)]
            fn wrapping_add(self, rhs: Self) -> Self {
                self.wrapping_add(rhs)
            }
            #[inline(always)]
            fn wrapping_sub(self, rhs: Self) -> Self {
                self.wrapping_sub(rhs)
            }
            #[inline(always)]
            fn wrapping_mul(self, rhs: Self) -> Self {
                self.wrapping_mul(rhs)
            }
            #[inline(always)]
            fn mul_wide(self, rhs: Self) -> $wide {
                <$wide>::from(self).wrapping_mul(<$wide>::from(rhs))
            }
            #[inline(always)]
            fn widen(self) -> $wide {
                <$wide>::from(self)
            }
            #[inline(always)]
            fn wide_add(a: $wide, b: $wide) -> $wide {
                a.wrapping_add(b)
            }
            #[inline(always)]
            fn hi(z: $wide) -> Self {
                (z >> <$word>::BITS) as Self
            }
            #[inline(always)]
            fn lo(z: $wide) -> Self {
                z as Self
            }
        }
    };
}

word!(u32, u64, 30);
word!(u64, u128, 60);

/// A group of `LANES` words. Operations are lane by lane and modulo `R = 2^BITS` unless they say otherwise.
pub trait Lanes<W: Word>: Copy {
    /// Binary logarithm of [`Lanes::LANES`].
    const LOG_LANES: u32;
    /// Words in the group.
    const LANES: usize = 1 << Self::LOG_LANES;
    /// Radix-2 stages that the NTT keeps in registers in one pass over memory, at most 4. Measured; see
    /// `row.rs`.
    const LOG_RADIX: u32;
    /// One wide accumulator a lane.
    type Acc: Copy;

    /// The same word in every lane.
    ///
    /// # Safety
    /// The CPU must have the instruction set that the type stands for.
    unsafe fn splat(x: W) -> Self;
    /// Reads `LANES` words, no alignment needed beyond the word's.
    ///
    /// # Safety
    /// As [`Lanes::splat`]; `p` must be valid for reading `LANES` words.
    unsafe fn load(p: *const W) -> Self;
    /// Writes `LANES` words.
    ///
    /// # Safety
    /// `p` must be valid for writing `LANES` words.
    unsafe fn store(self, p: *mut W);
    /// `self + rhs`.
    fn add(self, rhs: Self) -> Self;
    /// `self - rhs`.
    fn sub(self, rhs: Self) -> Self;
    /// The smaller one, unsigned.
    fn min(self, rhs: Self) -> Self;
    /// Low half of the product.
    fn mul_lo(self, rhs: Self) -> Self;
    /// High half of the product.
    fn mul_hi(self, rhs: Self) -> Self;
    /// `self >> bits`, `bits` below the word's.
    fn shr(self, bits: u32) -> Self;
    /// `self * w / R mod q`. Needs `self * w < q R`; gives `(-q, q)`.
    fn mont_mul_lazy(self, w: Self, q: Self, q_inv: Self) -> Self;
    /// [`Lanes::mont_mul_lazy`] where all lanes of `w` are equal, which saves a shuffle.
    fn mont_mul_splat_lazy(self, w: Self, q: Self, q_inv: Self) -> Self;
    /// [`Lanes::mont_mul_splat_lazy`] with `w_q_inv = w * q_inv mod R` at hand: as many multiplications, one fewer
    /// on the critical path.
    fn mont_mul_pre_lazy(self, w: Self, w_q_inv: Self, q: Self) -> Self;

    /// Accumulators at zero.
    ///
    /// # Safety
    /// As [`Lanes::splat`].
    unsafe fn zero_acc() -> Self::Acc;
    /// `acc + self`.
    fn add_acc(self, acc: Self::Acc) -> Self::Acc;
    /// `acc + self * rhs`.
    fn mul_acc(self, rhs: Self, acc: Self::Acc) -> Self::Acc;
    /// [`Lanes::mul_acc`] where all lanes of `rhs` are equal.
    fn mul_acc_splat(self, rhs: Self, acc: Self::Acc) -> Self::Acc;
    /// `lo(acc) + hi(acc) * r1` with `r1 = R mod q` in every lane: the same residue, at most `(2^BITS - 1) q`, so
    /// below `2^(BITS + PRIME_BITS)`.
    fn fold_acc(acc: Self::Acc, r1: Self) -> Self::Acc;
    /// `acc / R mod q`, in `(-q, hi(acc)]`.
    fn redc_acc_lazy(acc: Self::Acc, q: Self, q_inv: Self) -> Self;

    /// With `B = 2^log_block < LANES`: exchanges the odd blocks of `B` lanes of `a` with the even ones of `b`, that is,
    /// swaps bit `log_block` of the lane index with the choice between `a` and `b`.
    fn interleave(a: Self, b: Self, log_block: u32) -> (Self, Self);
    /// Lane `i` takes lane `LANES - 1 - i`.
    fn reverse(self) -> Self;
    /// Lane `i` takes lane `index_i` of `self`; each index below `LANES`.
    fn permute(self, index: Self) -> Self;
}

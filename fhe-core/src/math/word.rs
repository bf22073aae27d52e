//! The machine word that holds a residue: `u32` for primes below 2^30, `u64` for primes below 2^60, so that
//! `[0, 4 q)` always fits.

use bytemuck::Pod;
use core::fmt::{Debug, Display};
use zeroize::Zeroize;

/// Which word a set of parameters uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WordKind {
    /// Primes between 2^20 and 2^30.
    U32,
    /// Primes between 2^32 and 2^60.
    U64,
}

impl WordKind {
    /// Bits of the word.
    pub const fn bits(self) -> u32 {
        match self {
            Self::U32 => 32,
            Self::U64 => 64,
        }
    }

    /// Bytes of the word.
    pub const fn bytes(self) -> usize {
        self.bits() as usize / 8
    }

    /// Primes are above `2^min_prime_bits`: what basis conversion needs of its fixed point.
    pub const fn min_prime_bits(self) -> u32 {
        match self {
            Self::U32 => 20,
            Self::U64 => 32,
        }
    }

    /// Primes are below `2^max_prime_bits`.
    pub const fn max_prime_bits(self) -> u32 {
        self.bits() - if matches!(self, Self::U32) { 2 } else { 4 }
    }
}

/// What is written for any word, with that of a kind: the one place where a kind becomes a type.
///
/// ```
/// use fhe_core::math::word::WordKind;
/// let bytes = |kind: WordKind| fhe_core::with_word!(kind, W => size_of::<W>());
/// assert_eq!([WordKind::U32, WordKind::U64].map(bytes), [4, 8]);
/// ```
#[macro_export]
macro_rules! with_word {
    ($kind:expr, $word:ident => $body:expr) => {
        match $kind {
            $crate::math::word::WordKind::U32 => {
                type $word = u32;
                $body
            }
            $crate::math::word::WordKind::U64 => {
                type $word = u64;
                $body
            }
        }
    };
}

/// A residue's word. The widening product is all that the exact arithmetic needs.
pub trait Word: Pod + Eq + Ord + Debug + Display + Zeroize + Send + Sync + 'static {
    /// The kind, at run time.
    const KIND: WordKind;
    /// The value as `u64`.
    fn to_u64(self) -> u64;
    /// The low bits of `x`.
    fn truncate(x: u64) -> Self;
    /// `floor(self * other / 2^w)` and the low word, `w` the bits of the word.
    fn mul_wide(self, other: Self) -> (Self, Self);
    /// `self * other mod 2^w`.
    fn mul_low(self, other: Self) -> Self;
    /// `self + other mod 2^w`.
    fn add_low(self, other: Self) -> Self;
    /// `self - other mod 2^w`.
    fn sub_low(self, other: Self) -> Self;
}

macro_rules! impl_word {
    ($word:ty, $wide:ty, $kind:expr) => {
        impl Word for $word {
            const KIND: WordKind = $kind;
            #[inline(always)]
            fn to_u64(self) -> u64 {
                u64::from(self)
            }
            #[inline(always)]
            fn truncate(x: u64) -> Self {
                x as $word
            }
            #[inline(always)]
            fn mul_wide(self, other: Self) -> (Self, Self) {
                let p = <$wide>::from(self) * <$wide>::from(other);
                ((p >> <$word>::BITS) as $word, p as $word)
            }
            #[inline(always)]
            fn mul_low(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            #[inline(always)]
            fn add_low(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn sub_low(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
        }
    };
}

impl_word!(u32, u64, WordKind::U32);
impl_word!(u64, u128, WordKind::U64);

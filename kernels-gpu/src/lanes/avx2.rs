//! Eight `u32` words in a 256-bit register.
//!
//! AVX2 multiplies 32 × 32 → 64 bits in the even lanes only (`vpmuludq`), so products are formed for even and odd
//! lanes apart. A Montgomery product is 6 multiplications, 1 or 2 shuffles to bring odd lanes down, 2 subtractions
//! and a blend; no low-half multiplication (`vpmulld`, two uops on Intel) is needed, because the low 32 bits of a
//! 64-bit product are already the next multiplier's input.

use super::Lanes;
use core::arch::x86_64::*;

/// Eight words. A value exists only on a CPU with AVX2.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Avx2(__m256i);

/// One 64-bit accumulator for each even and each odd lane.
#[derive(Clone, Copy, Debug)]
pub struct Avx2Acc {
    even: __m256i,
    odd: __m256i,
}

/// Odd lanes moved to the even places (the odd places are left with something).
#[inline(always)]
fn odd_down(x: __m256i) -> __m256i {
    // SAFETY: called on the registers of `Avx2` values only, which witness AVX2.
    unsafe { _mm256_srli_epi64::<32>(x) }
}

/// The upper halves of 64-bit `even`, `odd` as eight words.
#[inline(always)]
fn join_hi(even: __m256i, odd: __m256i) -> __m256i {
    // SAFETY: called on the registers of `Avx2` values only, which witness AVX2.
    unsafe { _mm256_blend_epi32::<0xAA>(odd_down(even), odd) }
}

/// `hi(z) - hi(m q)` where `m = lo(z) q_inv`, both halves given as 64-bit `m` with the low word significant.
#[inline(always)]
fn redc(even: __m256i, odd: __m256i, m_even: __m256i, m_odd: __m256i, q: __m256i) -> Avx2 {
    // SAFETY: called on the registers of `Avx2` values only, which witness AVX2. The low words of z and m q are
    // equal, so the 64-bit difference has the wanted word on top, without a borrow.
    unsafe {
        let even = _mm256_sub_epi64(even, _mm256_mul_epu32(m_even, q));
        let odd = _mm256_sub_epi64(odd, _mm256_mul_epu32(m_odd, q));
        Avx2(join_hi(even, odd))
    }
}

impl Lanes<u32> for Avx2 {
    const LOG_LANES: u32 = 3;
    const LOG_RADIX: u32 = 3;
    type Acc = Avx2Acc;

    #[inline(always)]
    unsafe fn splat(x: u32) -> Self {
        // SAFETY: the caller vouches for AVX2.
        Self(unsafe { _mm256_set1_epi32(x.cast_signed()) })
    }
    #[inline(always)]
    unsafe fn load(p: *const u32) -> Self {
        // SAFETY: the caller vouches for AVX2 and for eight words at `p`; `loadu` takes any alignment.
        Self(unsafe { _mm256_loadu_si256(p.cast()) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut u32) {
        // SAFETY: `self` witnesses AVX2; the caller vouches for eight words at `p`.
        unsafe { _mm256_storeu_si256(p.cast(), self.0) };
    }
    #[inline(always)]
    fn add(self, rhs: Self) -> Self {
        // SAFETY: `self` witnesses AVX2.
        Self(unsafe { _mm256_add_epi32(self.0, rhs.0) })
    }
    #[inline(always)]
    fn sub(self, rhs: Self) -> Self {
        // SAFETY: `self` witnesses AVX2.
        Self(unsafe { _mm256_sub_epi32(self.0, rhs.0) })
    }
    #[inline(always)]
    fn min(self, rhs: Self) -> Self {
        // SAFETY: `self` witnesses AVX2.
        Self(unsafe { _mm256_min_epu32(self.0, rhs.0) })
    }
    #[inline(always)]
    fn mul_lo(self, rhs: Self) -> Self {
        // SAFETY: `self` witnesses AVX2.
        Self(unsafe { _mm256_mullo_epi32(self.0, rhs.0) })
    }
    #[inline(always)]
    fn mul_hi(self, rhs: Self) -> Self {
        // SAFETY: `self` witnesses AVX2.
        unsafe {
            let even = _mm256_mul_epu32(self.0, rhs.0);
            let odd = _mm256_mul_epu32(odd_down(self.0), odd_down(rhs.0));
            Self(join_hi(even, odd))
        }
    }
    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        // SAFETY: `self` witnesses AVX2.
        Self(unsafe { _mm256_srl_epi32(self.0, _mm_cvtsi32_si128(bits.cast_signed())) })
    }
    #[inline(always)]
    fn mont_mul_lazy(self, w: Self, q: Self, q_inv: Self) -> Self {
        // SAFETY: `self` witnesses AVX2.
        unsafe {
            let even = _mm256_mul_epu32(self.0, w.0);
            let odd = _mm256_mul_epu32(odd_down(self.0), odd_down(w.0));
            let m_even = _mm256_mul_epu32(even, q_inv.0);
            let m_odd = _mm256_mul_epu32(odd, q_inv.0);
            redc(even, odd, m_even, m_odd, q.0)
        }
    }
    #[inline(always)]
    fn mont_mul_splat_lazy(self, w: Self, q: Self, q_inv: Self) -> Self {
        // SAFETY: `self` witnesses AVX2.
        unsafe {
            let even = _mm256_mul_epu32(self.0, w.0);
            let odd = _mm256_mul_epu32(odd_down(self.0), w.0);
            let m_even = _mm256_mul_epu32(even, q_inv.0);
            let m_odd = _mm256_mul_epu32(odd, q_inv.0);
            redc(even, odd, m_even, m_odd, q.0)
        }
    }
    #[inline(always)]
    fn mont_mul_pre_lazy(self, w: Self, w_q_inv: Self, q: Self) -> Self {
        // SAFETY: `self` witnesses AVX2.
        unsafe {
            let high = odd_down(self.0);
            let even = _mm256_mul_epu32(self.0, w.0);
            let odd = _mm256_mul_epu32(high, w.0);
            let m_even = _mm256_mul_epu32(self.0, w_q_inv.0);
            let m_odd = _mm256_mul_epu32(high, w_q_inv.0);
            redc(even, odd, m_even, m_odd, q.0)
        }
    }
    #[inline(always)]
    unsafe fn zero_acc() -> Avx2Acc {
        // SAFETY: the caller vouches for AVX2.
        let zero = unsafe { _mm256_setzero_si256() };
        Avx2Acc { even: zero, odd: zero }
    }
    #[inline(always)]
    fn add_acc(self, acc: Avx2Acc) -> Avx2Acc {
        // SAFETY: `self` witnesses AVX2.
        unsafe {
            let even = _mm256_blend_epi32::<0xAA>(self.0, _mm256_setzero_si256());
            Avx2Acc {
                even: _mm256_add_epi64(acc.even, even),
                odd: _mm256_add_epi64(acc.odd, odd_down(self.0)),
            }
        }
    }
    #[inline(always)]
    fn mul_acc(self, rhs: Self, acc: Avx2Acc) -> Avx2Acc {
        // SAFETY: `self` witnesses AVX2.
        unsafe {
            let even = _mm256_mul_epu32(self.0, rhs.0);
            let odd = _mm256_mul_epu32(odd_down(self.0), odd_down(rhs.0));
            Avx2Acc { even: _mm256_add_epi64(acc.even, even), odd: _mm256_add_epi64(acc.odd, odd) }
        }
    }
    #[inline(always)]
    fn mul_acc_splat(self, rhs: Self, acc: Avx2Acc) -> Avx2Acc {
        // SAFETY: `self` witnesses AVX2.
        unsafe {
            let even = _mm256_mul_epu32(self.0, rhs.0);
            let odd = _mm256_mul_epu32(odd_down(self.0), rhs.0);
            Avx2Acc { even: _mm256_add_epi64(acc.even, even), odd: _mm256_add_epi64(acc.odd, odd) }
        }
    }
    #[inline(always)]
    fn fold_acc(acc: Avx2Acc, r1: Self) -> Avx2Acc {
        // SAFETY: `r1` witnesses AVX2.
        unsafe {
            let zero = _mm256_setzero_si256();
            let fold = |z: __m256i| {
                let lo = _mm256_blend_epi32::<0xAA>(z, zero);
                _mm256_add_epi64(lo, _mm256_mul_epu32(odd_down(z), r1.0))
            };
            Avx2Acc { even: fold(acc.even), odd: fold(acc.odd) }
        }
    }
    #[inline(always)]
    fn redc_acc_lazy(acc: Avx2Acc, q: Self, q_inv: Self) -> Self {
        // SAFETY: `q` witnesses AVX2.
        unsafe {
            let m_even = _mm256_mul_epu32(acc.even, q_inv.0);
            let m_odd = _mm256_mul_epu32(acc.odd, q_inv.0);
            redc(acc.even, acc.odd, m_even, m_odd, q.0)
        }
    }
    #[inline(always)]
    fn interleave(a: Self, b: Self, log_block: u32) -> (Self, Self) {
        // SAFETY: `a` witnesses AVX2.
        unsafe {
            match log_block {
                0 => {
                    let first = _mm256_blend_epi32::<0xAA>(a.0, _mm256_slli_epi64::<32>(b.0));
                    let second = _mm256_blend_epi32::<0xAA>(odd_down(a.0), b.0);
                    (Self(first), Self(second))
                }
                1 => (Self(_mm256_unpacklo_epi64(a.0, b.0)), Self(_mm256_unpackhi_epi64(a.0, b.0))),
                _ => {
                    let first = _mm256_permute2x128_si256::<0x20>(a.0, b.0);
                    let second = _mm256_permute2x128_si256::<0x31>(a.0, b.0);
                    (Self(first), Self(second))
                }
            }
        }
    }
    #[inline(always)]
    fn reverse(self) -> Self {
        // SAFETY: `self` witnesses AVX2.
        let index = unsafe { _mm256_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0) };
        self.permute(Self(index))
    }
    #[inline(always)]
    fn permute(self, index: Self) -> Self {
        // SAFETY: `self` witnesses AVX2.
        Self(unsafe { _mm256_permutevar8x32_epi32(self.0, index.0) })
    }
}

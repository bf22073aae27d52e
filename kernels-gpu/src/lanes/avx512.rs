//! Sixteen `u32` words in a 512-bit register; needs AVX-512F only.
//!
//! The same steps as [`super::Avx2`], with lane masks in place of blends. Compiled everywhere, run where the CPU has
//! it: the tests are generic over lanes and choose at run time.

use super::Lanes;
use core::arch::x86_64::*;

/// The odd lanes.
const ODD: __mmask16 = 0xAAAA;
/// The even lanes.
const EVEN: __mmask16 = 0x5555;

/// Sixteen words. A value exists only on a CPU with AVX-512F.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Avx512(__m512i);

/// One 64-bit accumulator for each even and each odd lane.
#[derive(Clone, Copy, Debug)]
pub struct Avx512Acc {
    even: __m512i,
    odd: __m512i,
}

/// Odd lanes moved to the even places (the odd places are left with something).
#[inline(always)]
fn odd_down(x: __m512i) -> __m512i {
    // SAFETY: called on the registers of `Avx512` values only, which witness AVX-512F.
    unsafe { _mm512_srli_epi64::<32>(x) }
}

/// The upper halves of 64-bit `even`, `odd` as sixteen words.
#[inline(always)]
fn join_hi(even: __m512i, odd: __m512i) -> __m512i {
    // SAFETY: called on the registers of `Avx512` values only, which witness AVX-512F.
    unsafe { _mm512_mask_blend_epi32(ODD, odd_down(even), odd) }
}

/// `hi(z) - hi(m q)` where `m = lo(z) q_inv`, both halves given as 64-bit `m` with the low word significant.
#[inline(always)]
fn redc(even: __m512i, odd: __m512i, m_even: __m512i, m_odd: __m512i, q: __m512i) -> Avx512 {
    // SAFETY: called on the registers of `Avx512` values only, which witness AVX-512F. The low words of z and m q are
    // equal, so the 64-bit difference has the wanted word on top, without a borrow.
    unsafe {
        let even = _mm512_sub_epi64(even, _mm512_mul_epu32(m_even, q));
        let odd = _mm512_sub_epi64(odd, _mm512_mul_epu32(m_odd, q));
        Avx512(join_hi(even, odd))
    }
}

impl Lanes<u32> for Avx512 {
    const LOG_LANES: u32 = 4;
    const LOG_RADIX: u32 = 4;
    type Acc = Avx512Acc;

    #[inline(always)]
    unsafe fn splat(x: u32) -> Self {
        // SAFETY: the caller vouches for AVX-512F.
        Self(unsafe { _mm512_set1_epi32(x.cast_signed()) })
    }
    #[inline(always)]
    unsafe fn load(p: *const u32) -> Self {
        // SAFETY: the caller vouches for AVX-512F and for sixteen words at `p`; `loadu` takes any alignment.
        Self(unsafe { _mm512_loadu_si512(p.cast()) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut u32) {
        // SAFETY: `self` witnesses AVX-512F; the caller vouches for sixteen words at `p`.
        unsafe { _mm512_storeu_si512(p.cast(), self.0) };
    }
    #[inline(always)]
    fn add(self, rhs: Self) -> Self {
        // SAFETY: `self` witnesses AVX-512F.
        Self(unsafe { _mm512_add_epi32(self.0, rhs.0) })
    }
    #[inline(always)]
    fn sub(self, rhs: Self) -> Self {
        // SAFETY: `self` witnesses AVX-512F.
        Self(unsafe { _mm512_sub_epi32(self.0, rhs.0) })
    }
    #[inline(always)]
    fn min(self, rhs: Self) -> Self {
        // SAFETY: `self` witnesses AVX-512F.
        Self(unsafe { _mm512_min_epu32(self.0, rhs.0) })
    }
    #[inline(always)]
    fn mul_lo(self, rhs: Self) -> Self {
        // SAFETY: `self` witnesses AVX-512F.
        Self(unsafe { _mm512_mullo_epi32(self.0, rhs.0) })
    }
    #[inline(always)]
    fn mul_hi(self, rhs: Self) -> Self {
        // SAFETY: `self` witnesses AVX-512F.
        unsafe {
            let even = _mm512_mul_epu32(self.0, rhs.0);
            let odd = _mm512_mul_epu32(odd_down(self.0), odd_down(rhs.0));
            Self(join_hi(even, odd))
        }
    }
    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        // SAFETY: `self` witnesses AVX-512F.
        Self(unsafe { _mm512_srl_epi32(self.0, _mm_cvtsi32_si128(bits.cast_signed())) })
    }
    #[inline(always)]
    fn mont_mul_lazy(self, w: Self, q: Self, q_inv: Self) -> Self {
        // SAFETY: `self` witnesses AVX-512F.
        unsafe {
            let even = _mm512_mul_epu32(self.0, w.0);
            let odd = _mm512_mul_epu32(odd_down(self.0), odd_down(w.0));
            let m_even = _mm512_mul_epu32(even, q_inv.0);
            let m_odd = _mm512_mul_epu32(odd, q_inv.0);
            redc(even, odd, m_even, m_odd, q.0)
        }
    }
    #[inline(always)]
    fn mont_mul_splat_lazy(self, w: Self, q: Self, q_inv: Self) -> Self {
        // SAFETY: `self` witnesses AVX-512F.
        unsafe {
            let even = _mm512_mul_epu32(self.0, w.0);
            let odd = _mm512_mul_epu32(odd_down(self.0), w.0);
            let m_even = _mm512_mul_epu32(even, q_inv.0);
            let m_odd = _mm512_mul_epu32(odd, q_inv.0);
            redc(even, odd, m_even, m_odd, q.0)
        }
    }
    #[inline(always)]
    fn mont_mul_pre_lazy(self, w: Self, w_q_inv: Self, q: Self) -> Self {
        // SAFETY: `self` witnesses AVX-512F.
        unsafe {
            let high = odd_down(self.0);
            let even = _mm512_mul_epu32(self.0, w.0);
            let odd = _mm512_mul_epu32(high, w.0);
            let m_even = _mm512_mul_epu32(self.0, w_q_inv.0);
            let m_odd = _mm512_mul_epu32(high, w_q_inv.0);
            redc(even, odd, m_even, m_odd, q.0)
        }
    }
    #[inline(always)]
    unsafe fn zero_acc() -> Avx512Acc {
        // SAFETY: the caller vouches for AVX-512F.
        let zero = unsafe { _mm512_setzero_si512() };
        Avx512Acc { even: zero, odd: zero }
    }
    #[inline(always)]
    fn add_acc(self, acc: Avx512Acc) -> Avx512Acc {
        // SAFETY: `self` witnesses AVX-512F.
        unsafe {
            let even = _mm512_maskz_mov_epi32(EVEN, self.0);
            Avx512Acc {
                even: _mm512_add_epi64(acc.even, even),
                odd: _mm512_add_epi64(acc.odd, odd_down(self.0)),
            }
        }
    }
    #[inline(always)]
    fn mul_acc(self, rhs: Self, acc: Avx512Acc) -> Avx512Acc {
        // SAFETY: `self` witnesses AVX-512F.
        unsafe {
            let even = _mm512_mul_epu32(self.0, rhs.0);
            let odd = _mm512_mul_epu32(odd_down(self.0), odd_down(rhs.0));
            Avx512Acc { even: _mm512_add_epi64(acc.even, even), odd: _mm512_add_epi64(acc.odd, odd) }
        }
    }
    #[inline(always)]
    fn mul_acc_splat(self, rhs: Self, acc: Avx512Acc) -> Avx512Acc {
        // SAFETY: `self` witnesses AVX-512F.
        unsafe {
            let even = _mm512_mul_epu32(self.0, rhs.0);
            let odd = _mm512_mul_epu32(odd_down(self.0), rhs.0);
            Avx512Acc { even: _mm512_add_epi64(acc.even, even), odd: _mm512_add_epi64(acc.odd, odd) }
        }
    }
    #[inline(always)]
    fn fold_acc(acc: Avx512Acc, r1: Self) -> Avx512Acc {
        // SAFETY: `r1` witnesses AVX-512F.
        unsafe {
            let fold = |z: __m512i| {
                let lo = _mm512_maskz_mov_epi32(EVEN, z);
                _mm512_add_epi64(lo, _mm512_mul_epu32(odd_down(z), r1.0))
            };
            Avx512Acc { even: fold(acc.even), odd: fold(acc.odd) }
        }
    }
    #[inline(always)]
    fn redc_acc_lazy(acc: Avx512Acc, q: Self, q_inv: Self) -> Self {
        // SAFETY: `q` witnesses AVX-512F.
        unsafe {
            let m_even = _mm512_mul_epu32(acc.even, q_inv.0);
            let m_odd = _mm512_mul_epu32(acc.odd, q_inv.0);
            redc(acc.even, acc.odd, m_even, m_odd, q.0)
        }
    }
    #[inline(always)]
    fn interleave(a: Self, b: Self, log_block: u32) -> (Self, Self) {
        // SAFETY: `a` witnesses AVX-512F.
        unsafe {
            let (first, second) = match log_block {
                0 => (
                    _mm512_mask_shuffle_epi32::<0xA0>(a.0, ODD, b.0),
                    _mm512_mask_shuffle_epi32::<0xF5>(b.0, EVEN, a.0),
                ),
                1 => (_mm512_unpacklo_epi64(a.0, b.0), _mm512_unpackhi_epi64(a.0, b.0)),
                2 => (
                    _mm512_mask_shuffle_i64x2::<0xA0>(a.0, 0b1100_1100, b.0, b.0),
                    _mm512_mask_shuffle_i64x2::<0xF5>(b.0, 0b0011_0011, a.0, a.0),
                ),
                _ => (_mm512_shuffle_i64x2::<0x44>(a.0, b.0), _mm512_shuffle_i64x2::<0xEE>(a.0, b.0)),
            };
            (Self(first), Self(second))
        }
    }
    #[inline(always)]
    fn reverse(self) -> Self {
        // SAFETY: `self` witnesses AVX-512F.
        let index = unsafe { _mm512_setr_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0) };
        self.permute(Self(index))
    }
    #[inline(always)]
    fn permute(self, index: Self) -> Self {
        // SAFETY: `self` witnesses AVX-512F.
        Self(unsafe { _mm512_permutexvar_epi32(index.0, self.0) })
    }
}

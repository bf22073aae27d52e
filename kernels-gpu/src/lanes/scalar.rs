//! One word: the lanes of a GPU thread, of `u64` words on a CPU, and of a CPU without AVX2.

use super::{Lanes, Word};

/// A group of one word.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Scalar<W>(pub W);

impl<W: Word> Scalar<W> {
    /// `hi(z) - hi(m q)` with `m q = z mod R`.
    #[inline(always)]
    fn redc(z: W::Wide, m: W, q: W) -> Self {
        Self(W::hi(z).wrapping_sub(W::hi(m.mul_wide(q))))
    }
}

impl<W: Word> Lanes<W> for Scalar<W> {
    const LOG_LANES: u32 = 0;
    const LOG_RADIX: u32 = 2;
    type Acc = W::Wide;

    #[inline(always)]
    unsafe fn splat(x: W) -> Self {
        Self(x)
    }
    #[inline(always)]
    unsafe fn load(p: *const W) -> Self {
        // SAFETY: the caller vouches for `p`.
        Self(unsafe { p.read() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut W) {
        // SAFETY: the caller vouches for `p`.
        unsafe { p.write(self.0) };
    }
    #[inline(always)]
    fn add(self, rhs: Self) -> Self {
        Self(self.0.wrapping_add(rhs.0))
    }
    #[inline(always)]
    fn sub(self, rhs: Self) -> Self {
        Self(self.0.wrapping_sub(rhs.0))
    }
    #[inline(always)]
    fn min(self, rhs: Self) -> Self {
        Self(Ord::min(self.0, rhs.0))
    }
    #[inline(always)]
    fn mul_lo(self, rhs: Self) -> Self {
        Self(self.0.wrapping_mul(rhs.0))
    }
    #[inline(always)]
    fn mul_hi(self, rhs: Self) -> Self {
        Self(W::hi(self.0.mul_wide(rhs.0)))
    }
    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        Self(W::from_u64(self.0.to_u64() >> (bits & 63)))
    }
    #[inline(always)]
    fn mont_mul_lazy(self, w: Self, q: Self, q_inv: Self) -> Self {
        let z = self.0.mul_wide(w.0);
        Self::redc(z, W::lo(z).wrapping_mul(q_inv.0), q.0)
    }
    #[inline(always)]
    fn mont_mul_splat_lazy(self, w: Self, q: Self, q_inv: Self) -> Self {
        self.mont_mul_lazy(w, q, q_inv)
    }
    #[inline(always)]
    fn mont_mul_pre_lazy(self, w: Self, w_q_inv: Self, q: Self) -> Self {
        Self::redc(self.0.mul_wide(w.0), self.0.wrapping_mul(w_q_inv.0), q.0)
    }
    #[inline(always)]
    unsafe fn zero_acc() -> W::Wide {
        W::ZERO.widen()
    }
    #[inline(always)]
    fn add_acc(self, acc: W::Wide) -> W::Wide {
        W::wide_add(acc, self.0.widen())
    }
    #[inline(always)]
    fn mul_acc(self, rhs: Self, acc: W::Wide) -> W::Wide {
        W::wide_add(acc, self.0.mul_wide(rhs.0))
    }
    #[inline(always)]
    fn mul_acc_splat(self, rhs: Self, acc: W::Wide) -> W::Wide {
        self.mul_acc(rhs, acc)
    }
    #[inline(always)]
    fn fold_acc(acc: W::Wide, r1: Self) -> W::Wide {
        W::wide_add(W::lo(acc).widen(), W::hi(acc).mul_wide(r1.0))
    }
    #[inline(always)]
    fn redc_acc_lazy(acc: W::Wide, q: Self, q_inv: Self) -> Self {
        Self::redc(acc, W::lo(acc).wrapping_mul(q_inv.0), q.0)
    }
    #[inline(always)]
    fn interleave(a: Self, b: Self, _log_block: u32) -> (Self, Self) {
        (a, b)
    }
    #[inline(always)]
    fn reverse(self) -> Self {
        self
    }
    #[inline(always)]
    fn permute(self, _index: Self) -> Self {
        self
    }
}

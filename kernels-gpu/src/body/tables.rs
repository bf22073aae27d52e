//! Constants of a prime, twiddle factors, and the functions that fill them into memory of the caller's.
//!
//! **Twiddles.** For `psi` a primitive `2N`-th root of unity the table holds, in Montgomery form, `w[k] = psi^brv(k)`
//! (`brv` over `log N` bits), `N` words, so that stage `s` of the forward transform multiplies in its block `b` by
//! `w[2^s + b]` (Longa, Naehrig, ePrint 2016/504). The inverse transform reads the same table backwards: with `M =
//! 2^s` the two factors of a block and of its mirror image have exponents that sum to `N`, so
//!
//! ```text
//! w[M + b]^-1 = -w[2M - 1 - b]
//! ```
//!
//! and the sign goes into the subtraction before it. One table of N words for both directions: at N = 2^16 and `u32`
//! it is 256 KiB, half an L2 on the CPU measured. `w q_inv` beside `w` would save no multiplication, only latency, and
//! measures 3 % faster there: not kept.
//!
//! **Arrangement.** The last `log LANES` stages work across lanes after a register transpose and want one factor a
//! lane. There a table for `LANES` lanes is permuted inside chunks, so that each is one contiguous load; see
//! [`arranged_position`]. The table of [`crate::lanes::Scalar`], and of a GPU, is in plain order.

use crate::lanes::{Lanes, Scalar, Word};

/// Smallest supported `log N`: two radix-16 steps, one of them across 16 lanes.
pub const MIN_LOG_N: u32 = 8;
/// Largest supported `log N`.
pub const MAX_LOG_N: u32 = 17;

/// What the kernels need to know of a prime, apart from the twiddles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PrimeConstants<W> {
    /// The prime, odd, below `2^PRIME_BITS`, `1 mod 2N`.
    pub q: W,
    /// `q^-1 mod R`.
    pub q_inv: W,
    /// `R mod q`: one, in Montgomery form.
    pub r1: W,
    /// `R^2 mod q`: a Montgomery product with it brings a residue to Montgomery form.
    pub r2: W,
    /// `N^-1` in Montgomery form.
    pub n_inv: W,
    /// `-w[1]^-1 N^-1 = w[1] N^-1` in Montgomery form: the factor of the last stage of the inverse transform.
    pub n_inv_w1: W,
    /// `R - 2 q`: added, it subtracts `2 q`. Kept in the table so that it is a word of its own to a compiler, which makes one
    /// instruction of an addition and a minimum; `2 q` it would compute anew each time, by a multiplication.
    pub minus_q2: W,
}

impl<W: Word> PrimeConstants<W> {
    /// The constants of prime `q` with `psi` a primitive `2N`-th root of unity modulo `q`, canonical.
    ///
    /// Cost: about `5 BITS` word operations; no division.
    pub fn new(q: W, psi: W, log_n: u32) -> Self {
        // Newton: an odd q is its own inverse modulo 8, each step doubles the bits: 3, 6, 12, 24, 48, 96.
        let two = W::ONE.wrapping_add(W::ONE);
        let mut q_inv = q;
        for _ in 0..5 {
            q_inv = q_inv.wrapping_mul(two.wrapping_sub(q.wrapping_mul(q_inv)));
        }
        let double = |x: W| {
            let y = x.wrapping_add(x);
            y.min(y.wrapping_sub(q))
        };
        let r1 = (0..W::BITS).fold(W::ONE, |x, _| double(x));
        let r2 = (0..W::BITS).fold(r1, |x, _| double(x));
        let minus_q2 = W::ZERO.wrapping_sub(q).wrapping_sub(q);
        let mut c = Self { q, q_inv, r1, r2, n_inv: r1, n_inv_w1: r1, minus_q2 };
        // (q + 1) / 2 is the inverse of 2.
        let half = c.to_montgomery(W::from_u64((q.to_u64() >> 1) + 1));
        c.n_inv = (0..log_n).fold(r1, |x, _| c.mul(x, half));
        // w[1] = psi^(N/2)
        let w1 = (1..log_n).fold(c.to_montgomery(psi), |x, _| c.mul(x, x));
        c.n_inv_w1 = c.mul(w1, c.n_inv);
        c
    }

    /// `a b / R mod q`, canonical, for `a b < q R`.
    #[inline(always)]
    pub fn mul(&self, a: W, b: W) -> W {
        let t = Scalar(a).mont_mul_lazy(Scalar(b), Scalar(self.q), Scalar(self.q_inv)).0;
        t.min(t.wrapping_add(self.q))
    }

    /// `a R mod q`, canonical, for any word `a`.
    #[inline(always)]
    pub fn to_montgomery(&self, a: W) -> W {
        self.mul(a, self.r2)
    }
}

/// One prime as the kernels see it: constants and the twiddles arranged for the lanes in use.
#[derive(Clone, Copy, Debug)]
pub struct PrimeTables<'a, W> {
    /// The constants.
    pub constants: PrimeConstants<W>,
    /// `N` twiddles from [`fill_twiddles`].
    pub twiddles: &'a [W],
}

/// All primes of the parameters; `prime` in an item indexes [`RingTables::primes`].
#[derive(Clone, Copy, Debug)]
pub struct RingTables<'a, W> {
    /// `log2 N`, in [`MIN_LOG_N`] ..= [`MAX_LOG_N`].
    pub log_n: u32,
    /// The primes, in the order of the parameters.
    pub primes: &'a [PrimeTables<'a, W>],
}

/// Where `w[k]` lies in a table arranged for `2^log_lanes` lanes.
///
/// For `k = M + b`, `M = (N / LANES) 2^s`, `s >= 0`: with `b = (tile LANES + lane) 2^s + i`, at
/// `M + tile LANES 2^s + i LANES + lane`; elsewhere at `k`.
#[inline(always)]
pub const fn arranged_position(k: usize, log_n: u32, log_lanes: u32) -> usize {
    let level = usize::BITS - 1 - (k | 1).leading_zeros();
    let first = log_n - log_lanes;
    if level < first {
        return k;
    }
    let s = level - first;
    let offset = k - (1 << level);
    let (group, i) = (offset >> s, offset & ((1 << s) - 1));
    let lanes = 1 << log_lanes;
    let (tile, lane) = (group >> log_lanes, group & (lanes - 1));
    (1 << level) + (tile << (log_lanes + s)) + (i << log_lanes) + lane
}

/// Fills `out` (`N` words) with the twiddles of `psi`, arranged for `2^log_lanes` lanes; does nothing if `out` is
/// shorter.
///
/// Cost: `N` Montgomery products.
pub fn fill_twiddles<W: Word>(c: &PrimeConstants<W>, psi: W, log_n: u32, log_lanes: u32, out: &mut [W]) {
    if out.len() < 1 << log_n {
        return;
    }
    if let Some(first) = out.first_mut() {
        *first = c.r1;
    }
    // w[i + 2^s] = w[i] psi^(N / 2^(s+1)) for i < 2^s.
    for s in 0..log_n {
        let power = (0..log_n - 1 - s).fold(c.to_montgomery(psi), |x, _| c.mul(x, x));
        for i in 0..1 << s {
            let from = arranged_position(i, log_n, log_lanes);
            let to = arranged_position(i + (1 << s), log_n, log_lanes);
            let Some(&w) = out.get(from) else { return };
            if let Some(slot) = out.get_mut(to) {
                *slot = c.mul(w, power);
            }
        }
    }
}

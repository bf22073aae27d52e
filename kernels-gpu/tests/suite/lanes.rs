//! Every operation of every lane kind that this CPU has, against one word at a time; and the arrangement of twiddles.

use crate::common::oracle;
use kernels_gpu::body::automorphism;
use kernels_gpu::body::ntt::transpose;
use kernels_gpu::body::tables::{PrimeConstants, arranged_position, fill_twiddles};
use kernels_gpu::cpu::{CpuWord, LaneKind};
use kernels_gpu::lanes::{Lanes, Scalar, Word};
use proptest::prelude::*;

/// Sixteen words, enough for any group.
type Words<W> = [W; 16];

fn load<W: Word, L: Lanes<W>>(x: &Words<W>) -> L {
    // SAFETY: 16 words; the callers ask the CPU for the lanes' feature.
    unsafe { L::load(x.as_ptr()) }
}

/// The lanes of `x` as words.
fn words<W: Word, L: Lanes<W>>(x: L) -> Vec<W> {
    let mut out = [W::ZERO; 16];
    // SAFETY: 16 words.
    unsafe { x.store(out.as_mut_ptr()) };
    out[..L::LANES].to_vec()
}

/// `f` on groups gives what `g` gives on single words.
fn same<W: Word, L: Lanes<W>>(f: L, g: impl Fn(usize) -> Scalar<W>) {
    assert_eq!(words(f), (0..L::LANES).map(|l| g(l).0).collect::<Vec<_>>());
}

/// All operations on any words `a`, `b`, with the prime `q` for those that need one.
fn operations<W: Word, L: Lanes<W>>(a: &Words<W>, b: &Words<W>, q: u64) {
    let (x, y): (L, L) = (load(a), load(b));
    let one = |k: &Words<W>, l: usize| Scalar(k[l]);
    same(x.add(y), |l| one(a, l).add(one(b, l)));
    same(x.sub(y), |l| one(a, l).sub(one(b, l)));
    same(x.min(y), |l| one(a, l).min(one(b, l)));
    same(x.mul_lo(y), |l| one(a, l).mul_lo(one(b, l)));
    same(x.mul_hi(y), |l| one(a, l).mul_hi(one(b, l)));
    for bits in [0, 1, 20, W::BITS - 1] {
        same(x.shr(bits), |l| one(a, l).shr(bits));
    }
    same(x.reverse(), |l| one(a, L::LANES - 1 - l));
    for shift in 0..L::LANES {
        let index = std::array::from_fn(|l| W::from_u64(((5 * l + shift) % L::LANES) as u64));
        same(x.permute(load(&index)), |l| one(a, (5 * l + shift) % L::LANES));
    }

    // Montgomery: any left factor, a right one below q.
    let c = PrimeConstants::new(W::from_u64(q), W::ONE, 8);
    let w: Words<W> = b.map(|b| W::from_u64(b.to_u64() % q));
    // SAFETY: as `load`.
    let (qs, q_invs, r1) = unsafe { (L::splat(c.q), L::splat(c.q_inv), L::splat(c.r1)) };
    let expected = |l: usize, w: W| one(a, l).mont_mul_lazy(Scalar(w), Scalar(c.q), Scalar(c.q_inv));
    same(x.mont_mul_lazy(load(&w), qs, q_invs), |l| expected(l, w[l]));
    // SAFETY: as `load`.
    let (w0, w0_q_inv) = unsafe { (L::splat(w[0]), L::splat(w[0].wrapping_mul(c.q_inv))) };
    same(x.mont_mul_splat_lazy(w0, qs, q_invs), |l| expected(l, w[0]));
    same(x.mont_mul_pre_lazy(w0, w0_q_inv, qs), |l| expected(l, w[0]));
    for l in 0..16 {
        // t R = a w mod q
        let t = expected(l, w[l]).0;
        let t = Ord::min(t, t.wrapping_add(c.q)).to_u64();
        assert!(t < q);
        let r = oracle::pow(2, u64::from(W::BITS), q);
        assert_eq!(oracle::mul(t, r, q), oracle::mul(a[l].to_u64() % q, w[l].to_u64(), q));
    }

    // Accumulators: b + (a mod q) w + (a mod q) w_0, folded, reduced.
    let a: Words<W> = a.map(|a| W::from_u64(a.to_u64() % q));
    // SAFETY: as `load`.
    let zero = unsafe { L::zero_acc() };
    let acc = load::<W, L>(&a).mul_acc_splat(w0, load::<W, L>(&a).mul_acc(load(&w), y.add_acc(zero)));
    let scalar = |l: usize| {
        // SAFETY: one word needs no feature.
        let zero = unsafe { <Scalar<W> as Lanes<W>>::zero_acc() };
        let acc = one(&a, l).mul_acc(one(&w, l), one(b, l).add_acc(zero));
        one(&a, l).mul_acc_splat(Scalar(w[0]), acc)
    };
    same(L::redc_acc_lazy(L::fold_acc(acc, r1), qs, q_invs), |l| {
        let acc = Scalar::fold_acc(scalar(l), Scalar(c.r1));
        Scalar::redc_acc_lazy(acc, Scalar(c.q), Scalar(c.q_inv))
    });

    // Interleaving swaps a bit of the lane with the choice of the operand.
    for bit in 0..L::LOG_LANES {
        let (first, second) = L::interleave(x, y, bit);
        let source = |which: usize, l: usize| {
            let swapped = (l & !(1 << bit)) | which << bit;
            Scalar(if l >> bit & 1 == 0 { x_word(x, swapped) } else { x_word(y, swapped) })
        };
        same(first, |l| source(0, l));
        same(second, |l| source(1, l));
    }
}

fn x_word<W: Word, L: Lanes<W>>(x: L, lane: usize) -> W {
    words(x)[lane]
}

/// `R = LANES` registers and back.
fn transposes<W: Word, L: Lanes<W>, const R: usize>() {
    let rows: [Words<W>; R] =
        std::array::from_fn(|r| std::array::from_fn(|l| W::from_u64((100 * r + l) as u64)));
    let mut x: [L; R] = std::array::from_fn(|r| load(&rows[r]));
    transpose(&mut x);
    for (r, x) in x.iter().enumerate() {
        same(*x, |l| Scalar(rows[l][r]));
    }
}

/// [`operations`] on every lane type of `u32` that the CPU has.
fn operations_u32_lanes(a: &Words<u32>, b: &Words<u32>, q: u64) {
    operations::<u32, Scalar<u32>>(a, b, q);
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") {
            operations::<u32, kernels_gpu::lanes::Avx2>(a, b, q);
        }
        if is_x86_feature_detected!("avx512f") {
            operations::<u32, kernels_gpu::lanes::Avx512>(a, b, q);
        }
    }
}

#[test]
fn transposition() {
    transposes::<u32, Scalar<u32>, 1>();
    transposes::<u64, Scalar<u64>, 1>();
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") {
            transposes::<u32, kernels_gpu::lanes::Avx2, 8>();
        }
        if is_x86_feature_detected!("avx512f") {
            transposes::<u32, kernels_gpu::lanes::Avx512, 16>();
        }
    }
}

#[test]
fn operations_on_extreme_words() {
    let q = oracle::primes_below(30, 16, 1)[0];
    let edge: Words<u32> = [
        0,
        1,
        2,
        q as u32 - 1,
        q as u32,
        q as u32 + 1,
        2 * q as u32 - 1,
        2 * q as u32,
        3 * q as u32,
        (4 * q - 1) as u32,
        u32::MAX,
        u32::MAX - 1,
        1 << 31,
        (1 << 31) - 1,
        1 << 16,
        0xFFFF,
    ];
    for turn in 0..16 {
        let mut other = edge;
        other.rotate_left(turn);
        operations_u32_lanes(&edge, &other, q);
    }
}

proptest! {
    #[test]
    fn operations_u32(a: [u32; 16], b: [u32; 16], which in 0usize..4) {
        let q = oracle::primes_below(30, 8, 3).into_iter().chain([oracle::prime_above(20, 8)]).nth(which).unwrap();
        operations_u32_lanes(&a, &b, q);
    }

    #[test]
    fn operations_u64(a: [u64; 16], b: [u64; 16], which in 0usize..4) {
        let q = oracle::primes_below(60, 8, 3).into_iter().chain([oracle::prime_above(32, 8)]).nth(which).unwrap();
        operations::<u64, Scalar<u64>>(&a, &b, q);
    }

    /// A group of lanes moves as the words of it would.
    #[test]
    fn grouped_automorphism_is_the_plain_one(log_n in 8u32..=17, seed: u32, word: u32) {
        let galois = (seed | 1) & ((2 << log_n) - 1);
        let i = word & ((1 << log_n) - 1);
        let plain = automorphism::eval_source(i, galois, log_n);
        for log_lanes in [3, 4] {
            let (group, pattern) =
                automorphism::eval_group_source(i >> log_lanes, galois, log_n, log_lanes);
            let lane = automorphism::lane_source(i & ((1 << log_lanes) - 1), pattern, galois, log_lanes);
            prop_assert_eq!(plain, (group << log_lanes) + lane);
        }
    }

    /// A group of a block goes where its words would.
    #[test]
    fn block_goes_where_its_words_would(log_n in 8u32..=17, seed: u32, word: u32) {
        let galois = (seed | 1) & ((2 << log_n) - 1);
        let inverse = automorphism::inverse_galois(galois);
        let i = word & ((1 << log_n) - 1);
        let source = automorphism::eval_source(i, galois, log_n);
        for (log_lanes, log_groups) in [(0, 2), (3, 2), (4, 2), (3, 3)] {
            let log_block = log_lanes + log_groups;
            let (block, high) = automorphism::eval_group_source(source >> log_block, inverse, log_n, log_block);
            let group = source >> log_lanes & ((1 << log_groups) - 1);
            let logs = (log_lanes, log_groups);
            let (to, pattern) = automorphism::eval_group_image(group, high, galois, inverse, logs);
            prop_assert_eq!(i >> log_lanes, (block << log_groups) + to);
            if log_lanes > 0 {
                let lane = automorphism::lane_source(i & ((1 << log_lanes) - 1), pattern, galois, log_lanes);
                prop_assert_eq!(source & ((1 << log_lanes) - 1), lane);
            }
        }
    }
}

/// The arrangement is a permutation, and each word is the power of psi that it should be.
#[test]
fn twiddles_are_arranged_powers() {
    let log_n = 9;
    let q = oracle::primes_below(30, log_n, 1)[0];
    let psi = oracle::root(q, log_n);
    let c = PrimeConstants::new(q as u32, psi as u32, log_n);
    assert_eq!(oracle::mul(u64::from(c.q), u64::from(c.q_inv), 1 << 32), 1);
    let r = (1u64 << 32) % q;
    assert_eq!((u64::from(c.r1), u64::from(c.r2)), (r, oracle::mul(r, r, q)));
    assert_eq!(u64::from(c.n_inv), oracle::mul(oracle::inv(1 << log_n, q), r, q));
    for kind in LaneKind::ALL {
        let log_lanes = <u32 as CpuWord>::log_lanes(kind);
        let mut table = vec![u32::MAX; 1 << log_n];
        fill_twiddles(&c, psi as u32, log_n, log_lanes, &mut table);
        for k in 0..1usize << log_n {
            let w = table[arranged_position(k, log_n, log_lanes)];
            let power = oracle::pow(psi, oracle::brv(k, log_n) as u64, q);
            assert_eq!(u64::from(w), oracle::mul(power, r, q));
        }
    }
}

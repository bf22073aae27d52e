//! Naive oracle = CPU rows on every lane kind = GPU-shaped threads, bit for bit, for every kernel of the ABI.

use crate::common::{Case, Fill, Ring, oracle};
use kernels_gpu::abi::launch::{GPU_MAX_LOG_N, GPU_MIN_LOG_N};
use kernels_gpu::abi::{ItemKind, KernelId, MAX_CONVERT_SOURCES};
use kernels_gpu::body::tables::MAX_LOG_N;
use kernels_gpu::cpu::CpuWord;
use kernels_gpu::lanes::Word;
use proptest::prelude::*;

/// Every kernel, every fill, one ring size: the three witnesses.
fn three_witnesses<W: CpuWord>(log_n: u32) {
    let ring = Ring::<W>::new(log_n, 5);
    for kernel in KernelId::ALL {
        for fill in Fill::ALL {
            let mut case = Case::new(&ring, kernel, fill, u64::from(log_n));
            case.items();
            case.check_cpu();
            if log_n >= GPU_MIN_LOG_N {
                case.check_emulator();
            }
        }
    }
}

macro_rules! sizes {
    ($($name:ident $log_n:literal)*) => {
        mod u32_words {
            $(#[test] fn $name() { super::three_witnesses::<u32>($log_n); })*
        }
        mod u64_words {
            $(#[test] fn $name() { super::three_witnesses::<u64>($log_n); })*
        }
    };
}

sizes! { log_n_8 8 log_n_9 9 log_n_10 10 log_n_11 11 log_n_12 12 log_n_13 13 }

/// Every kernel at larger sizes, where a row is many blocks of a GPU.
fn large_rings<W: CpuWord>(log_n: u32) {
    let ring = Ring::<W>::new(log_n, 5);
    for kernel in KernelId::ALL {
        let mut case = Case::new(&ring, kernel, Fill::Random, u64::from(log_n));
        if kernel.item() == ItemKind::InnerProduct {
            // Long sums are the small rings': those of u64 would be 1800 rows of a MiB.
            case.inner_product_item(0, 3, 2, true, 1);
            case.inner_product_item(1, 2, 1, false, 1);
            case.inner_product_item(0, 2, 2, true, 5);
            case.inner_product_item(1, 2, 1, true, (2 << log_n) - 1);
            case.inner_product_item(2, 1, 2, false, oracle::pow(5, 77, 2 << log_n) as u32);
        } else {
            case.items();
        }
        case.check_cpu();
        case.check_emulator();
    }
}

#[test]
fn every_kernel_up_to_the_largest_gpu_ring() {
    for log_n in 14..=GPU_MAX_LOG_N {
        large_rings::<u32>(log_n);
        large_rings::<u64>(log_n);
    }
}

/// Every kernel with the address rules of the device: tables, rows and pool found from a `KernelArgs`.
#[test]
fn every_kernel_by_addresses() {
    for log_n in GPU_MIN_LOG_N..=GPU_MAX_LOG_N {
        let ring = Ring::<u32>::new(log_n, 5);
        for kernel in KernelId::ALL {
            let mut case = Case::new(&ring, kernel, Fill::Random, u64::from(log_n));
            case.items();
            case.check_addresses();
        }
    }
}

/// The transforms at larger sizes.
fn large_transforms<W: CpuWord>(log_n: u32) {
    let ring = Ring::<W>::new(log_n, 1);
    for kernel in [KernelId::Ntt, KernelId::Intt] {
        for fill in [Fill::Random, Fill::Max] {
            let mut case = Case::new(&ring, kernel, fill, 1);
            case.row_item(0, false);
            case.row_item(2, true);
            case.check_cpu();
            case.check_emulator();
        }
    }
}

#[test]
fn transforms_up_to_the_largest_ring() {
    for log_n in 14..=MAX_LOG_N {
        large_transforms::<u32>(log_n);
        large_transforms::<u64>(log_n);
    }
}

/// The oracle's own fast transform against the definition.
#[test]
fn oracle_transform_is_evaluation() {
    let ring = Ring::<u64>::new(8, 1);
    let (q, psi) = (ring.primes[0], ring.psi[0]);
    let a: Vec<u64> = (0..256).map(|k| oracle::pow(3, k, q)).collect();
    let values = oracle::ntt(&a, psi, q);
    for (i, &value) in values.iter().enumerate() {
        let point = oracle::pow(psi, 2 * oracle::brv(i, 8) as u64 + 1, q);
        assert_eq!(value, oracle::eval(&a, point, q));
    }
}

/// Sums long enough to be folded many times, with every factor at q - 1 on the largest prime.
fn long_sums<W: CpuWord>() {
    let ring = Ring::<W>::new(GPU_MIN_LOG_N, 2);
    for n_terms in [W::FIRST_TERMS, W::FIRST_TERMS + W::FOLD_TERMS, 3 * W::FOLD_TERMS + 1] {
        for fill in [Fill::Max, Fill::Random] {
            let mut case = Case::new(&ring, KernelId::InnerProduct, fill, 2);
            case.inner_product_item(0, n_terms, 1, true, 1);
            case.inner_product_item(2, n_terms, 2, true, 1);
            case.inner_product_item(1, n_terms, 2, false, 25);
            case.check_cpu();
            case.check_emulator();
        }
    }
}

#[test]
fn accumulators_do_not_overflow() {
    long_sums::<u32>();
    long_sums::<u64>();
}

/// The largest source basis, and every number of targets around the unrolling of four.
fn wide_conversions<W: CpuWord>() {
    let ring = Ring::<W>::new(GPU_MIN_LOG_N, MAX_CONVERT_SOURCES + 6);
    let from: Vec<usize> = (0..MAX_CONVERT_SOURCES).collect();
    let kernels = [KernelId::ConvertBasis, KernelId::ConvertBasisColumns];
    for (kernel, fill) in kernels.into_iter().flat_map(|kernel| Fill::ALL.map(|fill| (kernel, fill))) {
        let mut case = Case::new(&ring, kernel, fill, 3);
        for n_dst in 1..=8 {
            // 5, 8, 13, 16, ... sources: on both sides of a fold.
            let to: Vec<usize> = (0..n_dst).map(|j| MAX_CONVERT_SOURCES + j).collect();
            case.convert_item(&from[..8 * n_dst], &to, false);
            case.convert_item(&from[..8 * n_dst - 3], &to, true);
        }
        case.check_cpu();
        case.check_emulator();
    }
}

/// More targets than a block has at a time, in every ring of a GPU.
#[test]
fn conversions_between_transforms() {
    for log_n in GPU_MIN_LOG_N..=GPU_MAX_LOG_N {
        let ring = Ring::<u32>::new(log_n, 40);
        let mut case = Case::new(&ring, KernelId::ConvertBasisColumns, Fill::Random, 4);
        let (from, to) = ([41, 0, 7, 8, 9], (10..41).collect::<Vec<_>>());
        case.convert_item(&from, &to, false);
        case.convert_item(&to[..17], &from[..2], false);
        case.check_cpu();
        case.check_emulator();
        case.check_addresses();
    }
}

#[test]
fn conversions_of_every_shape() {
    wide_conversions::<u32>();
    wide_conversions::<u64>();
}

/// The bound that [`Word::FOLD_TERMS`] rests on, in exact arithmetic.
#[test]
fn fold_terms_is_the_largest_safe_number() {
    fn check<W: Word>() -> bool {
        let q = 2f64.powi(W::PRIME_BITS as i32);
        let room = 2f64.powi(2 * W::BITS as i32);
        let folded = 2f64.powi((W::BITS + W::PRIME_BITS) as i32);
        let sum = |terms: usize| folded + terms as f64 * q * q;
        // From zero, with one more addend as large as a product.
        let first = (W::FIRST_TERMS + 1) as f64 * q * q;
        sum(W::FOLD_TERMS) <= room && sum(W::FOLD_TERMS + 1) > room && first <= room
    }
    assert!(check::<u32>() && check::<u64>());
    assert_eq!((<u32 as Word>::FOLD_TERMS, <u64 as Word>::FOLD_TERMS), (12, 240));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Random items of every kernel on random sizes.
    #[test]
    fn random_items(seed: u64, log_n in prop::sample::select(vec![8u32, 9, 10, 11, 12, 12, 12]), kernel in 0..KernelId::ALL.len(), wide: bool) {
        fn check<W: CpuWord>(seed: u64, log_n: u32, kernel: KernelId) {
            let ring = Ring::<W>::new(log_n, 5);
            let mut case = Case::new(&ring, kernel, Fill::Random, seed);
            case.items();
            case.check_cpu();
            if log_n >= GPU_MIN_LOG_N {
                case.check_emulator();
            }
        }
        if wide {
            check::<u64>(seed, log_n, KernelId::ALL[kernel]);
        } else {
            check::<u32>(seed, log_n, KernelId::ALL[kernel]);
        }
    }

    /// The conversion's formula means what the ABI says: the residue of the centred integer.
    #[test]
    fn conversion_is_centred(x: [u32; 3]) {
        // The oracle's formula, on three primes, against u128 integers.
        let d = oracle::primes_below(30, 8, 4);
        let (d, p) = ([d[0], d[1], d[2]], d[3]);
        let big: u128 = d.iter().map(|&d| u128::from(d)).product();
        let (mut sum, mut quotient) = (0u128, 0u64);
        for i in 0..3 {
            let cofactor = big / u128::from(d[i]);
            let y = oracle::mul(u64::from(x[i]) % d[i], oracle::inv((cofactor % u128::from(d[i])) as u64, d[i]), d[i]);
            sum += u128::from(y) * cofactor;
            quotient += (y * ((1u64 << 52) / d[i])) >> 32;
        }
        let v = (quotient + (1 << 19)) >> 20;
        let exact = sum % big;
        prop_assume!(exact.abs_diff(big / 2) > big >> 15);
        // z = exact or exact - D, whichever is centred.
        let centred = if exact < big / 2 { exact } else { exact + u128::from(p) * big - big } % u128::from(p);
        let z = (sum + u128::from(p - v % p) * big) % u128::from(p);
        prop_assert_eq!(z, centred);
    }
}

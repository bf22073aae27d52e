//! Encoding by kernels gives the coefficients of fhe-core's special FFT, bit for bit, at every size.

use fhe_core::Complex64;
use fhe_core::math::fft::SpecialFft;
use kernels_gpu::abi::launch::{GPU_MAX_LOG_N, GPU_MIN_LOG_N, embed_stages, n_entries};
use kernels_gpu::abi::{EmbedInverseItem, KernelId, Launch, RoundResiduesItem, RoundTarget, RowRef};
use kernels_gpu::body::encode::{Integer, round};
use kernels_gpu::body::tables::{PrimeConstants, PrimeTables, RingTables};
use kernels_gpu::cpu::{Base, Bindings, CpuWord, LaneKind};
use kernels_gpu::emulator;
use kernels_gpu::lanes::Word;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Rows 0 and 1: slots; 2 and 3: factors; 4 and 5: the transform; then residues.
const SLOTS: usize = 0;
const FACTORS: usize = 2;
const REAL: usize = 4;
const RESIDUES: usize = 6;

/// Odd numbers do for primes here: nothing is inverted.
const MODULI: [u64; 3] = [(1 << 30) - 35, (1 << 21) + 17, (1 << 29) - 3];

fn rows(first: usize) -> [RowRef; 2] {
    [0, 1].map(|part| RowRef { slot: 0, row: (first + part) as u32 })
}

fn put<W: Word>(memory: &mut [W], log_n: u32, first: usize, values: &[Complex64]) {
    let per_double = (64 / W::BITS) as usize;
    for (k, z) in values.iter().enumerate() {
        for (part, x) in [z.re, z.im].into_iter().enumerate() {
            for i in 0..per_double {
                let word = W::from_u64(x.to_bits() >> (i as u32 * W::BITS % 64));
                memory[((first + part) << log_n) + per_double * k + i] = word;
            }
        }
    }
}

fn residues<W: CpuWord>(log_n: u32, scale: f64, slots: &[Complex64], on_cpu: bool) -> Vec<W> {
    let n = 1usize << log_n;
    let mut memory = vec![W::from_u64(u64::MAX); (RESIDUES + MODULI.len()) * n];
    put(&mut memory, log_n, SLOTS, slots);
    put(&mut memory, log_n, FACTORS, &SpecialFft::new(n).inverse_factors());
    let prime = |&q: &u64| PrimeTables {
        constants: PrimeConstants::new(W::from_u64(q), W::ONE, log_n),
        twiddles: &[],
    };
    let primes: Vec<PrimeTables<'_, W>> = MODULI.iter().map(prime).collect();
    let ring = RingTables { log_n, primes: &primes };

    let embed = EmbedInverseItem { dst: rows(REAL), src: rows(SLOTS), factors: rows(FACTORS) };
    let target = |t: usize| RoundTarget {
        row: RowRef { slot: 0, row: (RESIDUES + t) as u32 },
        prime: t as u32,
        pad: 0,
    };
    let targets = [0, 1, 2].map(target);
    let mut pool: Vec<u64> = bytemuck::cast_slice(&[embed]).to_vec();
    let dst_at = pool.len() as u32;
    pool.extend(bytemuck::cast_slice::<_, u64>(&targets));
    let round = RoundResiduesItem { src: rows(REAL), scale: scale.to_bits(), dst_at, n_dst: 3 };
    let round_at = pool.len() as u32;
    pool.extend(bytemuck::cast_slice::<_, u64>(&[round]));
    for (kernel, items_at) in [(KernelId::EmbedInverse, 0), (KernelId::RoundResidues, round_at)] {
        if on_cpu {
            let bases = [Base(memory.as_mut_ptr().cast())];
            let (bindings, at) = (Bindings { bases: &bases }, items_at as usize);
            // SAFETY: the rows lie in `memory`, the items in the pool; one word needs no instruction set.
            unsafe { W::run_item_on(LaneKind::Scalar, kernel, &pool, at, 0..n, &bindings, &ring) };
        } else {
            let launch = Launch { kernel, items_at, n_items: 1 };
            let mut slots = [core::mem::take(&mut memory)];
            emulator::run_launch(&launch, &pool, &mut slots, &ring);
            [memory] = slots;
        }
    }
    memory.split_off(RESIDUES * n)
}

/// As fhe-core's encoder has it.
fn expected<W: Word>(log_n: u32, scale: f64, slots: &[Complex64]) -> Vec<W> {
    let mut values = slots.to_vec();
    SpecialFft::new(1 << log_n).embed_inverse(&mut values);
    let parts = values.iter().map(|z| z.re).chain(values.iter().map(|z| z.im));
    let integers: Vec<i64> = parts.map(|c| (c * scale).round_ties_even() as i64).collect();
    let residue = |x: i64, q: u64| W::from_u64(i128::from(x).rem_euclid(i128::from(q)) as u64);
    MODULI.iter().flat_map(|&q| integers.iter().map(move |&x| residue(x, q))).collect()
}

fn check<W: CpuWord>(log_n: u32) {
    let mut rng = ChaCha8Rng::seed_from_u64(u64::from(log_n));
    // The last one reaches 2^62.
    for log_scale in [0.0, 40.0, 58.7, 61.5] {
        let mut part = || rng.random_range(-1.0..1.0);
        let slots: Vec<Complex64> = (0..1 << (log_n - 1)).map(|_| Complex64::new(part(), part())).collect();
        let scale = 2f64.powf(log_scale);
        let expected = expected::<W>(log_n, scale, &slots);
        assert!(residues::<W>(log_n, scale, &slots, true) == expected, "log N {log_n}, scale 2^{log_scale}");
        if log_n >= GPU_MIN_LOG_N {
            assert!(residues::<W>(log_n, scale, &slots, false) == expected, "log N {log_n}, emulator");
        }
    }
    // A slot that is all of the largest coefficient.
    let slots = vec![Complex64::new(1.0, 0.0); 1 << (log_n - 1)];
    let scale = 2f64.powi(63) - 1024.0;
    assert!(
        residues::<W>(log_n, scale, &slots, true) == expected::<W>(log_n, scale, &slots),
        "log N {log_n}"
    );
}

#[test]
fn every_size_gives_the_bits_of_the_encoder() {
    for log_n in 8..=GPU_MAX_LOG_N {
        check::<u32>(log_n);
        check::<u64>(log_n);
    }
}

/// Two, three or four stages at a time, all of them, at every size.
#[test]
fn entries_share_the_stages() {
    for log_n in GPU_MIN_LOG_N..=GPU_MAX_LOG_N {
        let stages = (0..n_entries(KernelId::EmbedInverse)).map(|entry| embed_stages(log_n, entry));
        assert_eq!(stages.clone().sum::<u32>(), log_n - 1);
        assert!(stages.into_iter().all(|s| (2..=4).contains(&s)), "log N {log_n}");
    }
}

#[test]
fn rounding_is_to_the_nearest_even() {
    let integer = |magnitude, negative| Integer { magnitude, negative };
    for (x, magnitude) in [
        (0.0, 0),
        (0.5, 0),
        (0.500_000_1, 1),
        (1.5, 2),
        (2.5, 2),
        (4_503_599_627_370_495.5, 1 << 52),
        (4_503_599_627_370_494.5, (1 << 52) - 2),
        (9_007_199_254_740_993.0, 1 << 53),
        (2f64.powi(63) - 1024.0, (1 << 63) - 1024),
        (2f64.powi(63), 1 << 63),
        // Beyond the contract, but defined.
        (f64::INFINITY, u64::MAX),
    ] {
        assert_eq!((round(x), round(-x)), (integer(magnitude, false), integer(magnitude, true)), "{x}");
    }
    assert_eq!(round(f64::NAN).magnitude, 0);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..100_000 {
        let x: f64 = rng.random_range(-1.0..1.0) * 2f64.powi(rng.random_range(-4..63));
        assert_eq!(round(x).magnitude, x.abs().round_ties_even() as u64, "{x}");
    }
}

//! Times the NTT of one row on one core, in place, for every lane kind that the CPU has.
//!
//! `cargo run --release -p kernels-gpu --example ntt_time`. Figures are medians; a butterfly is one radix-2 one on one pair
//! of words, `N / 2 log N` of them a row.

#[expect(dead_code, reason = "the oracle serves the tests; only its primes and roots are wanted here")]
#[path = "../tests/suite/common/oracle.rs"]
mod oracle;

use kernels_gpu::abi::{KernelId, RowItem, RowRef};
use kernels_gpu::body::tables::{PrimeConstants, PrimeTables, RingTables, fill_twiddles};
use kernels_gpu::cpu::{Base, Bindings, CpuWord, LaneKind};
use std::time::Instant;

/// Median and least seconds of one transform; every sample is of a few, about 2^18 words.
fn time<W: CpuWord>(kind: LaneKind, kernel: KernelId, log_n: u32) -> (f64, f64) {
    let n = 1usize << log_n;
    let q = oracle::primes_below(W::PRIME_BITS, log_n, 1)[0];
    let psi = W::from_u64(oracle::root(q, log_n));
    let constants = PrimeConstants::new(W::from_u64(q), psi, log_n);
    let mut twiddles = vec![W::ZERO; n];
    fill_twiddles(&constants, psi, log_n, W::log_lanes(kind), &mut twiddles);
    let primes = [PrimeTables { constants, twiddles: &twiddles }];
    let ring = RingTables { log_n, primes: &primes };

    let mut row: Vec<W> = (0..n as u64).map(|k| W::from_u64(oracle::mul(k, k * k, q))).collect();
    let bases = [Base(row.as_mut_ptr().cast())];
    let bindings = Bindings { bases: &bases };
    let row = RowRef { slot: 0, row: 0 };
    let item = RowItem::new(row, row, 0);
    let pool: &[u64] = bytemuck::cast_slice(std::slice::from_ref(&item));

    let repeats = (1usize << 18) >> log_n;
    let mut samples: Vec<f64> = (0..101)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..repeats {
                // SAFETY: one bound row of canonical residues, and `main` asked the CPU for the lane kind.
                unsafe { W::run_item_on(kind, kernel, pool, 0, 0..n, &bindings, &ring) };
            }
            start.elapsed().as_secs_f64() / repeats as f64
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    (samples[samples.len() / 2], samples[0])
}

fn table<W: CpuWord>(kind: LaneKind) {
    for log_n in 12..=17 {
        let butterflies = f64::from(log_n) * f64::from(1 << (log_n - 1));
        let figures = [KernelId::Ntt, KernelId::Intt].map(|kernel| {
            let (median, least) = time::<W>(kind, kernel, log_n);
            let rate = butterflies / median / 1e9;
            format!("{:4} {:.4} ms (least {:.4}) {rate:5.2} G/s", kernel.name(), median * 1e3, least * 1e3)
        });
        println!("u{} {:7} 2^{log_n}  {}", W::BITS, kind.name(), figures.join("   "));
    }
}

fn main() {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("bmi2") {
        if is_x86_feature_detected!("avx512f") {
            table::<u32>(LaneKind::Avx512);
        }
        if is_x86_feature_detected!("avx2") {
            table::<u32>(LaneKind::Avx2);
            table::<u64>(LaneKind::Avx2);
        }
    }
    table::<u32>(LaneKind::Scalar);
    table::<u64>(LaneKind::Scalar);
}

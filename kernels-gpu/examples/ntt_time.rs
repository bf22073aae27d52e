//! Times the NTT of one row on one core for every lane kind the CPU has.
//!
//! `cargo run --release -p kernels-gpu --example ntt_time`
use kernels_gpu::body::tables::*;
use kernels_gpu::lanes::*;
use kernels_gpu::row::*;
use std::time::Instant;

fn pow(mut b: u64, mut e: u64, q: u64) -> u64 {
    let mut r = 1u64;
    while e > 0 { if e & 1 == 1 { r = (r as u128 * b as u128 % q as u128) as u64 } b = (b as u128 * b as u128 % q as u128) as u64; e >>= 1; }
    r
}
fn prime(bits: u32, log_n: u32) -> (u64, u64) {
    let step = 2u64 << log_n;
    let mut q = (1u64 << bits) + 1 - step;
    loop {
        if [2u64, 3, 5, 7, 11, 13].iter().all(|&a| pow(a, q - 1, q) == 1) {
            for a in 2.. { let psi = pow(a, (q - 1) / step, q); if pow(psi, step / 2, q) == q - 1 { return (q, psi) } }
        }
        q -= step;
    }
}
#[target_feature(enable = "avx2")]
unsafe fn avx2(d: *mut u32, s: *const u32, t: &PrimeTables<'_, u32>, log_n: u32, inv: bool) { unsafe { if inv { intt_row::<u32, Avx2>(d, s, t, log_n) } else { ntt_row::<u32, Avx2>(d, s, t, log_n) } } }
#[target_feature(enable = "avx512f")]
unsafe fn avx512(d: *mut u32, s: *const u32, t: &PrimeTables<'_, u32>, log_n: u32, inv: bool) { unsafe { if inv { intt_row::<u32, Avx512>(d, s, t, log_n) } else { ntt_row::<u32, Avx512>(d, s, t, log_n) } } }
unsafe fn sc<W: Word>(d: *mut W, s: *const W, t: &PrimeTables<'_, W>, log_n: u32, inv: bool) { unsafe { if inv { intt_row::<W, Scalar<W>>(d, s, t, log_n) } else { ntt_row::<W, Scalar<W>>(d, s, t, log_n) } } }

fn time<W: Word>(name: &str, bits: u32, log_lanes: u32, f: unsafe fn(*mut W, *const W, &PrimeTables<'_, W>, u32, bool)) {
    for log_n in [12u32, 13, 14, 15, 16] {
        let n = 1usize << log_n;
        let (q, psi) = prime(bits, log_n);
        let c = PrimeConstants::new(W::from_u64(q), W::from_u64(psi), log_n);
        let mut w = vec![W::ZERO; n];
        fill_twiddles(&c, W::from_u64(psi), log_n, log_lanes, &mut w);
        let t = PrimeTables { constants: c, twiddles: &w };
        let mut a: Vec<W> = (0..n as u64).map(|i| W::from_u64(i.wrapping_mul(0x9E3779B97F4A7C15) >> 8).min(W::from_u64(q - 1))).collect();
        for x in a.iter_mut() { *x = W::from_u64(x.to_u64() % q) }
        let a0 = a.clone();
        let p = a.as_mut_ptr();
        let mut out = [0f64; 2];
        for (k, inv) in [false, true].into_iter().enumerate() {
            let mut best = vec![];
            for _ in 0..60 {
                let t0 = Instant::now();
                let reps = (1 << 18 >> log_n).max(1);
                for _ in 0..reps { unsafe { f(p, p, &t, log_n, inv) } }
                best.push(t0.elapsed().as_secs_f64() / reps as f64);
            }
            best.sort_by(f64::total_cmp);
            out[k] = best[best.len() / 2];
        }
        // same number of forward and inverse: back to the start
        assert!(a == a0, "round trip {name} {log_n}");
        let b = (n / 2 * log_n as usize) as f64;
        println!("{name:12} 2^{log_n} fwd {:.4} ms {:.2} G/s   inv {:.4} ms {:.2} G/s", out[0] * 1e3, b / out[0] / 1e9, out[1] * 1e3, b / out[1] / 1e9);
    }
}
fn main() {
    if is_x86_feature_detected!("avx512f") { time::<u32>("avx512", 30, 4, avx512) }
    if is_x86_feature_detected!("avx2") { time::<u32>("avx2", 30, 3, avx2) }
    time::<u32>("scalar u32", 30, 0, sc::<u32>);
    time::<u64>("scalar u64", 60, 0, sc::<u64>);
}

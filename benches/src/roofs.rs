//! What memory and arithmetic allow at most, found in the same run as the rows.

use crate::Result;
use fhe_core::math::word::WordKind;
use host::driver::cuda::CudaDriver;
use rayon::prelude::*;
use serde::Serialize;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// The roofs of a device.
#[derive(Clone, Debug, Serialize)]
pub struct Roofs {
    /// Bytes a second, read and written.
    pub copy: f64,
    /// Products of two 32-bit words a second.
    pub narrow_products: f64,
    /// Products of two 64-bit words a second.
    pub wide_products: f64,
    /// How they were found.
    pub how: String,
}

/// Accumulators of the arithmetic loop: enough chains for the latency of the widest registers.
const CHAINS: usize = 128;
/// Rounds of it.
const ROUNDS: usize = 200_000;

impl Roofs {
    /// Products of two words a second.
    pub fn products(&self, word: WordKind) -> f64 {
        match word {
            WordKind::U32 => self.narrow_products,
            WordKind::U64 => self.wide_products,
        }
    }

    /// Of the processor, on the threads of a pool: the fastest of some copies of `bytes` and of some loops of
    /// products on registers.
    pub fn of_processor(pool: &rayon::ThreadPool, bytes: usize) -> Self {
        let threads = pool.current_num_threads();
        let how = format!(
            "processor, {threads} threads: fastest copy of {} MB, fastest loop of products on registers",
            bytes >> 20
        );
        pool.install(|| Self {
            copy: copy_rate(bytes),
            narrow_products: rate_of(|x| accumulate_on(x, narrow_step)),
            wide_products: rate_of(|x| accumulate_wide(x)),
            how,
        })
    }

    /// Of a device: [`CudaDriver::roofs`]. There is no multiplier of 64-bit words; four products make one.
    ///
    /// # Errors
    /// The driver's.
    pub fn of_device(driver: &Arc<CudaDriver>) -> Result<Self> {
        let roofs = driver.roofs().map_err(|e| anyhow::anyhow!("roofs: {e}"))?;
        let how = "device: fastest copy of 1 GiB within its memory; multiprocessors x 64 multipliers x highest clock";
        Ok(Self {
            copy: roofs.copy,
            narrow_products: roofs.products,
            wide_products: roofs.products / 4.0,
            how: how.to_owned(),
        })
    }
}

fn fastest(times: usize, mut f: impl FnMut()) -> f64 {
    let mut seconds = f64::INFINITY;
    for _ in 0..times {
        let clock = Instant::now();
        f();
        seconds = seconds.min(clock.elapsed().as_secs_f64());
    }
    seconds
}

fn copy_rate(bytes: usize) -> f64 {
    const CHUNK: usize = 1 << 20;
    let from = vec![1u8; bytes];
    let mut to = vec![0u8; bytes];
    let seconds = fastest(5, || {
        let pairs = to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK));
        pairs.for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&mut to);
    });
    2.0 * bytes as f64 / seconds
}

/// Products a second of a loop that makes `CHAINS * ROUNDS` of them, on every thread of the pool at once.
fn rate_of(step: impl Fn(&mut [u64; CHAINS]) + Sync) -> f64 {
    let threads = rayon::current_num_threads();
    let seconds = fastest(3, || {
        rayon::broadcast(|_| {
            let mut x = [0x9e37_79b9; CHAINS];
            step(black_box(&mut x));
            black_box(x);
        });
    });
    (threads * CHAINS * ROUNDS) as f64 / seconds
}

/// `x = low(x) * m + x`, a product of two 32-bit words each.
#[inline(always)]
fn narrow_step(x: &mut [u64; CHAINS], m: u64) {
    for x in x {
        *x = (*x & 0xffff_ffff).wrapping_mul(m).wrapping_add(*x);
    }
}

#[inline(always)]
fn accumulate(x: &mut [u64; CHAINS], step: impl Fn(&mut [u64; CHAINS], u64)) {
    let m = black_box(0x1234_5677u64) & 0xffff_ffff;
    for _ in 0..ROUNDS {
        step(x, m);
    }
}

/// Full products of two 64-bit words, of which no processor register holds more than one.
fn accumulate_wide(x: &mut [u64; CHAINS]) {
    let m = black_box(0x1234_5677_89ab_cdefu64);
    for _ in 0..ROUNDS {
        for x in &mut *x {
            let z = u128::from(*x) * u128::from(m);
            *x = (z as u64) ^ ((z >> 64) as u64);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod wide_registers {
    use super::{CHAINS, accumulate};

    #[target_feature(enable = "avx512f,avx512dq")]
    pub fn avx512(x: &mut [u64; CHAINS], step: impl Fn(&mut [u64; CHAINS], u64)) {
        accumulate(x, step);
    }

    #[target_feature(enable = "avx2")]
    pub fn avx2(x: &mut [u64; CHAINS], step: impl Fn(&mut [u64; CHAINS], u64)) {
        accumulate(x, step);
    }
}

/// On the widest registers that there are.
fn accumulate_on(x: &mut [u64; CHAINS], step: impl Fn(&mut [u64; CHAINS], u64)) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
            // SAFETY: the processor has what the function needs.
            return unsafe { wide_registers::avx512(x, step) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function needs.
            return unsafe { wide_registers::avx2(x, step) };
        }
    }
    accumulate(x, step);
}

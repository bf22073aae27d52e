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

/// Rounds of the loops of products.
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
            narrow_products: rate_of(narrow::<6>).max(rate_of(narrow::<12>)),
            wide_products: rate_of(wide::<1>),
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

/// Eight words a register of the widest kind, and so many of them as chains that hide the latency of a product.
type Chains<const K: usize> = [[u64; 8]; K];

/// Products a second of a loop that makes `8 K ROUNDS` of them, on every thread of the pool at once.
fn rate_of<const K: usize>(accumulate: fn(&mut Chains<K>)) -> f64 {
    let threads = rayon::current_num_threads();
    let seconds = fastest(30, || {
        rayon::broadcast(|_| {
            let mut x = [[0x9e37_79b9; 8]; K];
            accumulate(black_box(&mut x));
            black_box(x);
        });
    });
    (threads * 8 * K * ROUNDS) as f64 / seconds
}

/// `x = low(x) * m + x`: products of two 32-bit words. The copy is what the compiler keeps in registers.
#[inline(always)]
fn accumulate<const K: usize>(x: &mut Chains<K>) {
    let m = black_box([0x1234_5677u32; 8]);
    let mut y = *x;
    for _ in 0..ROUNDS {
        for register in &mut y {
            for (z, &m) in register.iter_mut().zip(&m) {
                *z = u64::from(*z as u32).wrapping_mul(u64::from(m)).wrapping_add(*z);
            }
        }
    }
    *x = y;
}

/// `x = high(x m) ^ low(x m)`: full products of two 64-bit words, one at a time.
fn wide<const K: usize>(x: &mut Chains<K>) {
    let m = black_box(0x1234_5677_89ab_cdefu64);
    let mut y = *x;
    for _ in 0..ROUNDS {
        for z in y.iter_mut().flatten() {
            let product = u128::from(*z) * u128::from(m);
            *z = (product as u64) ^ ((product >> 64) as u64);
        }
    }
    *x = y;
}

#[cfg(target_arch = "x86_64")]
mod registers {
    use super::{Chains, accumulate};

    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512<const K: usize>(x: &mut Chains<K>) {
        accumulate(x);
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn avx2<const K: usize>(x: &mut Chains<K>) {
        accumulate(x);
    }
}

/// The loop on the widest registers that there are.
fn narrow<const K: usize>(x: &mut Chains<K>) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has what the function needs.
            return unsafe { registers::avx512(x) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function needs.
            return unsafe { registers::avx2(x) };
        }
    }
    accumulate(x);
}

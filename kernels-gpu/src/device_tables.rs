//! The ring's tables as they lie in device memory, filled into memory of the caller's.
//!
//! ```text
//! DevicePrime 0 | ... | padding to 256 bytes | factors of prime 0, its powers | those of prime 1 | ...
//! ```
//!
//! One image, one allocation, one copy: the caller allocates [`image_bytes`] on the device, has [`fill_image`] write the
//! same number of bytes on the host for that address, and copies them. [`crate::abi::launch::KernelArgs::primes`] is
//! the address. The image is the same for all plans of the parameters.

use crate::abi::launch::{DevicePrime, GPU_MIN_LOG_N, INNER_POWERS, n_factors, n_powers};
use crate::body::shoup::{ButterflyConstants, Factor};
use crate::body::tables::{MAX_LOG_N, PrimeConstants};
use crate::lanes::Word;
use bytemuck::Pod;
use core::mem::size_of;

/// Factors start at a multiple of this many bytes, as device allocations do.
const FACTORS_ALIGN: usize = 256;

/// A prime of the ring and a root for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrimeRoot<W> {
    /// The prime.
    pub q: W,
    /// A primitive `2N`-th root of unity modulo `q`, canonical.
    pub psi: W,
}

/// The slice for the image does not have the image's length, in words of eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongLength {
    /// What the slice has.
    pub found: usize,
    /// What the image needs.
    pub expected: usize,
}

impl core::fmt::Display for WrongLength {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { found, expected } = self;
        write!(f, "the slice for the ring's tables has {found} words, expected {expected}")
    }
}

impl core::error::Error for WrongLength {}

/// Where the factors of prime `idx` of `n_primes` start, in bytes from the image's start; for `idx = n_primes` the image's
/// end. A multiple of eight.
pub const fn factors_offset<W: Word>(log_n: u32, n_primes: usize, idx: usize) -> usize {
    let records = n_primes * size_of::<DevicePrime<W>>();
    records.next_multiple_of(FACTORS_ALIGN) + idx * prime_words(log_n) * size_of::<W>()
}

/// Words of the tables of a prime.
const fn prime_words(log_n: u32) -> usize {
    2 * (n_factors(log_n) + n_powers(log_n)) as usize
}

/// Bytes of the image, a multiple of eight.
pub const fn image_bytes<W: Word>(log_n: u32, n_primes: usize) -> usize {
    factors_offset::<W>(log_n, n_primes, n_primes)
}

/// Fills `out` with the image that will lie at `address` on the device. `log_n` at least [`GPU_MIN_LOG_N`], at
/// most [`MAX_LOG_N`].
///
/// Cost: `N log N / 6` Montgomery products a prime.
///
/// # Errors
/// `out` is not of [`image_bytes`].
pub fn fill_image<W: Word>(
    address: u64,
    log_n: u32,
    primes: &[PrimeRoot<W>],
    out: &mut [u64],
) -> Result<(), WrongLength>
where
    DevicePrime<W>: Pod,
{
    let log_n = log_n.clamp(GPU_MIN_LOG_N, MAX_LOG_N);
    let (found, expected) = (out.len(), image_bytes::<W>(log_n, primes.len()) / 8);
    if found != expected {
        return Err(WrongLength { found, expected });
    }
    out.fill(0);
    let first = factors_offset::<W>(log_n, primes.len(), 0);
    let (records, tables) = out.split_at_mut(first / 8);
    let records = records.chunks_exact_mut(size_of::<DevicePrime<W>>() / 8);
    let tables = tables.chunks_exact_mut(prime_words(log_n) * size_of::<W>() / 8);
    for (idx, ((root, record), table)) in primes.iter().zip(records).zip(tables).enumerate() {
        let c = PrimeConstants::new(root.q, root.psi, log_n);
        let b = ButterflyConstants::new(&c);
        fill_table(&c, root.psi, log_n, bytemuck::cast_slice_mut(table));
        let address = address + factors_offset::<W>(log_n, primes.len(), idx) as u64;
        let [n_inv, n_inv_w1] = [b.n_inv, b.n_inv_w1];
        let prime = DevicePrime {
            constants: [c.q, c.q_inv, c.r1, c.r2, c.n_inv, c.n_inv_w1, c.minus_q2, W::ZERO],
            butterflies: [
                b.q2,
                b.minus_q,
                W::ZERO,
                W::ZERO,
                n_inv.w,
                n_inv.quotient,
                n_inv_w1.w,
                n_inv_w1.quotient,
            ],
            table: address,
            padding: 0,
        };
        record.copy_from_slice(bytemuck::cast_slice(&[prime]));
    }
    Ok(())
}

/// Fills the tables of a prime: its factors, then its powers.
fn fill_table<W: Word>(c: &PrimeConstants<W>, psi: W, log_n: u32, out: &mut [W]) {
    // w[2^s] = psi^(N / 2^(s + 1))
    let mut roots = [c.to_montgomery(psi); MAX_LOG_N as usize];
    for s in (0..log_n.saturating_sub(1) as usize).rev() {
        roots[s] = c.mul(roots[s + 1], roots[s + 1]);
    }
    let put = |k: usize, to: &mut [W]| {
        let bits = roots.iter().enumerate().filter(|(s, _)| k >> s & 1 == 1);
        let Factor { w, quotient } =
            Factor::from_montgomery(bits.fold(c.r1, |w, (_, &root)| c.mul(w, root)), c);
        to.iter_mut().zip([w, quotient]).for_each(|(to, word)| *to = word);
    };
    let (factors, powers) = out.split_at_mut(2 * n_factors(log_n) as usize);
    factors.chunks_exact_mut(2).enumerate().for_each(|(k, to)| put(k, to));
    let blocks = powers.chunks_exact_mut(2 * INNER_POWERS as usize);
    for (block, of_block) in (n_factors(log_n) as usize..).zip(blocks) {
        of_block.chunks_exact_mut(2).enumerate().for_each(|(stage, to)| put(block << stage, to));
    }
}

//! The ring's tables as they lie in device memory, filled into memory of the caller's.
//!
//! ```text
//! DevicePrime 0 | DevicePrime 1 | ... | padding to 256 bytes | N twiddles of prime 0 | N twiddles of prime 1 | ...
//! ```
//!
//! One image, one allocation, one copy: the caller allocates [`image_bytes`] on the device, has [`fill_image`] write the
//! same number of bytes on the host for that address, and copies them. [`crate::abi::launch::KernelArgs::primes`] is
//! the address. The image is the same for all plans of the parameters.

use crate::abi::launch::DevicePrime;
use crate::body::tables::{MAX_LOG_N, PrimeConstants, fill_twiddles};
use crate::lanes::Word;
use bytemuck::Pod;
use core::mem::size_of;

/// Twiddles start at a multiple of this many bytes, as device allocations do.
const TWIDDLE_ALIGN: usize = 256;

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

/// Where the twiddles of prime `idx` of `n_primes` start, in bytes from the image's start; for `idx = n_primes` the image's
/// end. A multiple of eight.
pub const fn twiddles_offset<W: Word>(log_n: u32, n_primes: usize, idx: usize) -> usize {
    let records = n_primes * size_of::<DevicePrime<W>>();
    records.next_multiple_of(TWIDDLE_ALIGN) + idx * (size_of::<W>() << log_n)
}

/// Bytes of the image, a multiple of eight.
pub const fn image_bytes<W: Word>(log_n: u32, n_primes: usize) -> usize {
    twiddles_offset::<W>(log_n, n_primes, n_primes)
}

/// Fills `out` with the image that will lie at `address` on the device. `log_n` at most [`MAX_LOG_N`].
///
/// Cost: `N` Montgomery products a prime.
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
    let log_n = Ord::min(log_n, MAX_LOG_N);
    let (found, expected) = (out.len(), image_bytes::<W>(log_n, primes.len()) / 8);
    if found != expected {
        return Err(WrongLength { found, expected });
    }
    out.fill(0);
    let first = twiddles_offset::<W>(log_n, primes.len(), 0);
    let (records, twiddles) = out.split_at_mut(first / 8);
    let records = records.chunks_exact_mut(size_of::<DevicePrime<W>>() / 8);
    let twiddles = twiddles.chunks_exact_mut((size_of::<W>() << log_n) / 8);
    for (idx, ((root, record), twiddles)) in primes.iter().zip(records).zip(twiddles).enumerate() {
        let c = PrimeConstants::new(root.q, root.psi, log_n);
        fill_twiddles(&c, root.psi, log_n, 0, bytemuck::cast_slice_mut(twiddles));
        let prime = DevicePrime {
            constants: [c.q, c.q_inv, c.r1, c.r2, c.n_inv, c.n_inv_w1, c.minus_q2, W::ZERO],
            twiddles: address + twiddles_offset::<W>(log_n, primes.len(), idx) as u64,
            pad: 0,
        };
        record.copy_from_slice(bytemuck::cast_slice(&[prime]));
    }
    Ok(())
}

//! Loops of the encoder's kernels on a CPU.

use crate::abi::{EmbedInverseItem, RoundResiduesItem, RoundTarget, RowRef};
use crate::body::encode::{Complex, Integer, bit_reverse, butterfly, inverse_power, residue, round};
use crate::body::inner_product::Reducer;
use crate::lanes::{Scalar, Word};
use crate::pointwise::{Call, SPLIT_WORDS};
use core::ops::Range;

/// Two rows of doubles, aligned as their words are.
#[derive(Clone, Copy)]
struct Vector {
    re: *mut f64,
    im: *mut f64,
}

impl Vector {
    /// # Safety
    /// The slots must be bound and hold the rows.
    #[inline(always)]
    unsafe fn new<W: Word>(call: &Call<'_, W>, rows: [RowRef; 2]) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self { re: call.row(rows[0]).cast(), im: call.row(rows[1]).cast() } }
    }

    /// # Safety
    /// `at < N / 2`; valid for reading.
    #[inline(always)]
    unsafe fn load(&self, at: usize) -> Complex {
        // SAFETY: the caller's promise.
        unsafe { Complex { re: self.re.add(at).read_unaligned(), im: self.im.add(at).read_unaligned() } }
    }

    /// # Safety
    /// `at < N / 2`; valid for writing.
    #[inline(always)]
    unsafe fn store(&self, at: usize, x: Complex) {
        // SAFETY: the caller's promise.
        unsafe {
            self.re.add(at).write_unaligned(x.re);
            self.im.add(at).write_unaligned(x.im);
        }
    }
}

/// [`crate::abi::KernelId::EmbedInverse`], stage by stage; the first one reads the slots.
///
/// # Safety
/// As [`crate::cpu::run_item`].
#[inline(always)]
pub(crate) unsafe fn embed_inverse<W: Word>(call: &Call<'_, W>, item: &EmbedInverseItem) {
    let n = 1usize << (call.ring.log_n - 1);
    // SAFETY: the caller's promises; indexes are below N / 2, factors at half + j below 2 half.
    unsafe {
        let (dst, factors) = (Vector::new(call, item.dst), Vector::new(call, item.factors));
        let mut src = Vector::new(call, item.src);
        let mut half = n / 2;
        while half > 0 {
            let mut block = 0;
            while block < n {
                let mut j = 0;
                while j < half {
                    let (a, b) = (block + j, block + j + half);
                    let (x, y) = butterfly(src.load(a), src.load(b), factors.load(half + j));
                    dst.store(a, x);
                    dst.store(b, y);
                    j += 1;
                }
                block += 2 * half;
            }
            src = dst;
            half /= 2;
        }
    }
}

/// [`crate::abi::KernelId::RoundResidues`]: [`SPLIT_WORDS`] coefficients are rounded, then reduced for every target.
///
/// # Safety
/// As [`crate::cpu::run_item`].
#[inline(always)]
pub(crate) unsafe fn round_residues<W: Word>(
    call: &Call<'_, W>,
    item: &RoundResiduesItem,
    range: Range<usize>,
) {
    let log_slots = call.ring.log_n - 1;
    let (n_inv, scale) = (inverse_power(log_slots), f64::from_bits(item.scale));
    let mut integers = [Integer { magnitude: 0, negative: false }; SPLIT_WORDS];
    let mut at = range.start;
    // SAFETY: the caller's promises. Ends of the range are multiples of SPLIT_WORDS, which divides N / 2: a group is of one row.
    unsafe {
        let src = Vector::new(call, item.src);
        while at < range.end {
            let row = if at >> log_slots == 0 { src.re } else { src.im };
            let first = (at & ((1 << log_slots) - 1)) as u32;
            for (x, k) in integers.iter_mut().zip(first..) {
                let c = row.add(bit_reverse(k, log_slots) as usize).read_unaligned();
                *x = round((c * n_inv) * scale);
            }
            let mut t = 0;
            while t < item.n_dst as usize {
                let target: RoundTarget = call.entry(item.dst_at as usize, t);
                let reducer = Reducer::<W, Scalar<W>>::new(call.prime(target.prime));
                let dst = call.row(target.row).add(at);
                for (k, x) in integers.iter().enumerate() {
                    dst.add(k).write(residue(*x, &reducer));
                }
                t += 1;
            }
            at += SPLIT_WORDS;
        }
    }
}

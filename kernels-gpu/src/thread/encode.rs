//! Encoding on a GPU: the inverse special FFT in four entries, and residues.
//!
//! ```text
//! entry p: log N - 1 stages shared out by embed_stages; blocks of 2^log_len values, words 2^(log_len - stages) apart
//! ```
//!
//! A thread holds 16 complex numbers: one group of 16, two of 8 or four of 4, which it takes through the entry's stages in
//! registers. No shared memory: the vector (512 KiB at N = 2^16) and its factors stay in the L2 between entries, and they are few
//! beside the residues. The first entry reads the slots, the others work in place. Adjacent threads hold adjacent
//! numbers but in the last entry, where a thread's are adjacent.

use super::pointwise::item_and_word;
use super::{Machine, ThreadKernel, entry, item_and_part, reducer};
use crate::abi::launch::{EMBED_VALUES, embed_stages};
use crate::abi::{EmbedInverseItem, KernelId, RoundResiduesItem, RoundTarget, RowRef};
use crate::body::encode::{Complex, Integer, bit_reverse, butterfly, inverse_power, residue, round};
use crate::body::ntt::unrolled;
use crate::lanes::Word;

/// Entry `ENTRY` of [`KernelId::EmbedInverse`].
#[derive(Debug)]
pub struct EmbedInverse<const ENTRY: u32>;

/// [`KernelId::RoundResidues`].
#[derive(Debug)]
pub struct RoundResidues;

/// Two rows of doubles.
#[derive(Clone, Copy)]
struct Vector<R> {
    re: R,
    im: R,
}

impl<R: Copy> Vector<R> {
    /// # Safety
    /// The slots must be bound.
    #[inline(always)]
    unsafe fn new<W: Word, M: Machine<W, Row = R>>(m: &M, rows: [RowRef; 2]) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self { re: m.row(rows[0]), im: m.row(rows[1]) } }
    }

    /// # Safety
    /// As [`Machine::load_double`].
    #[inline(always)]
    unsafe fn load<W: Word, M: Machine<W, Row = R>>(&self, m: &M, at: u32) -> Complex {
        // SAFETY: the caller's promise.
        unsafe { Complex { re: m.load_double(self.re, at), im: m.load_double(self.im, at) } }
    }

    /// # Safety
    /// As [`Machine::store_double`].
    #[inline(always)]
    unsafe fn store<W: Word, M: Machine<W, Row = R>>(&self, m: &M, at: u32, x: Complex) {
        // SAFETY: the caller's promise.
        unsafe {
            m.store_double(self.re, at, x.re);
            m.store_double(self.im, at, x.im);
        }
    }
}

impl<const ENTRY: u32> EmbedInverse<ENTRY> {
    /// `LOG_R` stages of all groups of `R = 2^LOG_R` that thread `thread` of the item has, in blocks of `2^log_len`.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`].
    #[inline(always)]
    unsafe fn groups<W: Word, M: Machine<W>, const R: usize, const LOG_R: u32>(
        m: &M,
        item: &EmbedInverseItem,
        thread: u32,
        log_len: u32,
    ) {
        let log_apart = log_len.wrapping_sub(LOG_R) & 31;
        // SAFETY: the caller's promises. Groups are disjoint and lie within the N / 2 values; factors at len / 2 + j lie
        // below len.
        unsafe {
            let (dst, factors) = (Vector::new(m, item.dst), Vector::new(m, item.factors));
            let src = if ENTRY == 0 { Vector::new(m, item.src) } else { dst };
            let mut v = 0;
            while v < EMBED_VALUES >> LOG_R {
                // N / 32 threads an item.
                let group = thread + (v << (m.args().log_n.wrapping_sub(5) & 31));
                let j = group & ((1 << log_apart) - 1);
                let at = ((group >> log_apart) << log_len) + j;
                let mut x = [Complex::default(); R];
                unrolled!(R, r, {
                    x[r] = src.load(m, at + ((r as u32) << log_apart));
                });
                unrolled!(LOG_R as usize, k, {
                    let half = R >> (k + 1);
                    let first = (1 << (log_len.wrapping_sub(k as u32 + 1) & 31)) + j;
                    unrolled!(8, r, {
                        if r < half {
                            let w = factors.load(m, first + ((r as u32) << log_apart));
                            unrolled!(8, block, {
                                if block < 1 << k {
                                    let (a, b) = (2 * half * block + r, 2 * half * block + r + half);
                                    (x[a], x[b]) = butterfly(x[a], x[b], w);
                                }
                            });
                        }
                    });
                });
                unrolled!(R, r, {
                    dst.store(m, at + ((r as u32) << log_apart), x[r]);
                });
                v += 1;
            }
        }
    }
}

impl<W: Word, const ENTRY: u32> ThreadKernel<W> for EmbedInverse<ENTRY> {
    const KERNEL: KernelId = KernelId::EmbedInverse;
    type State = ();
    const ENTRY_IDX: u32 = ENTRY;

    #[inline(always)]
    fn start() {}

    #[inline(always)]
    unsafe fn phase<M: Machine<W>>(m: &M, _phase: u32) {
        let log_n = m.args().log_n;
        let mut log_len = log_n.wrapping_sub(1);
        let mut before = 0;
        while before < ENTRY {
            log_len = log_len.wrapping_sub(embed_stages(log_n, before));
            before += 1;
        }
        // SAFETY: the caller's promises.
        unsafe {
            let (idx, part) = item_and_part::<W, Self, M>(m);
            let item: EmbedInverseItem = entry(m, m.args().items_at, idx);
            let threads = const { super::contract_of::<W, Self>().threads };
            let thread = part * threads + m.thread();
            m.wait_for_rows();
            match embed_stages(log_n, ENTRY) {
                4 => Self::groups::<W, M, 16, 4>(m, &item, thread, log_len),
                3 => Self::groups::<W, M, 8, 3>(m, &item, thread, log_len),
                _ => Self::groups::<W, M, 4, 2>(m, &item, thread, log_len),
            }
        }
    }
}

impl<W: Word> ThreadKernel<W> for RoundResidues {
    const KERNEL: KernelId = KernelId::RoundResidues;
    type State = ();

    #[inline(always)]
    fn start() {}

    #[inline(always)]
    unsafe fn phase<M: Machine<W>>(m: &M, _phase: u32) {
        // SAFETY: the caller's promises; doubles of a row are below N / 2.
        unsafe {
            let (idx, at) = item_and_word::<W, Self, M>(m);
            let item: RoundResiduesItem = entry(m, m.args().items_at, idx);
            let log_slots = m.args().log_n.wrapping_sub(1) & 31;
            let n_inv = inverse_power(log_slots);
            let scale = f64::from_bits(item.scale);
            let row = m.row(item.src[0]);
            let row = if at >> log_slots == 0 { row } else { m.row(item.src[1]) };
            let first = at & ((1 << log_slots) - 1);
            m.wait_for_rows();
            let mut x = [Integer { magnitude: 0, negative: false }; 4];
            unrolled!(4, k, {
                let c = m.load_double(row, bit_reverse(first + k as u32, log_slots));
                x[k] = round((c * n_inv) * scale);
            });
            let mut t = 0;
            while t < item.n_dst {
                let target: RoundTarget = entry(m, item.dst_at, t);
                let c = m.prime(target.prime);
                let reducer = reducer(&c);
                let mut out = [W::ZERO; 4];
                unrolled!(4, k, {
                    out[k] = residue(x[k], &reducer);
                });
                m.store_quad(m.row(target.row), at, 0, out);
                t += 1;
            }
        }
    }
}

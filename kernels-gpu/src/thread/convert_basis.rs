//! Centred basis conversion on a GPU: see [`crate::body::convert_basis`].
//!
//! A block has 256 coefficients and as many threads.
//!
//! ```text
//! phase 0   y_i: four groups of threads, a thread four coefficients of every fourth source, into shared memory
//! phase 1   v: a thread one coefficient, into shared memory
//! phase 2   z_j: a warp 32 coefficients of all targets, eight targets at a time ([`tile`])
//! ```
//!
//! Shared memory: `y_i` in rows of [`CONVERT_STRIDE`] words, so that the lanes of a tile, which read four words each of four rows, meet different
//! banks; behind all of them a row of `v`.

use super::tile::{self, LANE_TARGETS, Tile};
use super::{Machine, ThreadKernel, contract_of, entry, item_and_part, reducer};
use crate::abi::launch::{CONVERT_GROUPS, CONVERT_STRIDE, THREAD_WORDS};
use crate::abi::{ConvertBasisItem, ConvertSource, ConvertTarget, KernelId, fraction_bits};
use crate::body::convert_basis::{add_fraction, digit, round_quotient};
use crate::body::inner_product::reduce_sum;
use crate::body::ntt::unrolled;
use crate::lanes::{Lanes, Scalar, Word};

/// [`KernelId::ConvertBasis`].
#[derive(Debug)]
pub struct ConvertBasis;

/// The coefficients of a block.
#[inline(always)]
const fn coefficients<W: Word>() -> u32 {
    contract_of::<W, ConvertBasis>().words_per_block
}

/// Sources that a thread has under way at the same time: each is a chain of four loads, one after the other.
const SOURCES: usize = 4;

/// `y_i` of the thread's group, into shared memory.
///
/// # Safety
/// As [`ThreadKernel::phase`].
#[inline(always)]
unsafe fn digits<W: Word, M: Machine<W>>(m: &M, item: &ConvertBasisItem, part: u32) {
    let per_group = const { coefficients::<W>() / THREAD_WORDS };
    let (group, position) = (m.thread() / per_group, m.thread() % per_group * THREAD_WORDS);
    let at = part * const { coefficients::<W>() } + position;
    m.wait_for_rows();
    let mut first = group;
    while first < item.n_src {
        let idx = |s: usize| first + s as u32 * CONVERT_GROUPS;
        let mut y = [[W::ZERO; 4]; SOURCES];
        // SAFETY: the caller's promises; shared memory holds n_src rows of digits. A source that is not there
        // stands for the last one and is not stored.
        unsafe {
            unrolled!(SOURCES, s, {
                let source: ConvertSource = entry(m, item.src_at, Ord::min(idx(s), item.n_src - 1));
                let (c, _) = m.prime(source.prime);
                let modulus = reducer(&c).m;
                let inv = Scalar(W::from_u64(source.inv));
                y[s] = m.load_quad(m.row(source.row), at, 0);
                unrolled!(4, k, {
                    y[s][k] = digit(Scalar(y[s][k]), inv, &modulus).0;
                });
            });
            unrolled!(SOURCES, s, {
                if idx(s) < item.n_src {
                    m.shared_store_quad(idx(s) * CONVERT_STRIDE + position, 0, y[s]);
                }
            });
        }
        first += SOURCES as u32 * CONVERT_GROUPS;
    }
}

/// `v` of the thread's coefficient, into shared memory.
///
/// # Safety
/// As [`ThreadKernel::phase`]; all digits in shared memory.
#[inline(always)]
unsafe fn quotient<W: Word, M: Machine<W>>(m: &M, item: &ConvertBasisItem) {
    let mut sum = Scalar(W::ZERO);
    let mut i = 0;
    while i < item.n_src {
        // SAFETY: the caller's promises.
        unsafe {
            let source: ConvertSource = entry(m, item.src_at, i);
            let y = m.shared_load(i * CONVERT_STRIDE + m.thread(), 0);
            sum = add_fraction(sum, Scalar(y), Scalar(W::from_u64(source.frac)));
        }
        i += 1;
    }
    let half = Scalar(W::from_u64(1 << (fraction_bits(W::BITS) - 1)));
    // SAFETY: shared memory holds a row of quotients after the digits.
    unsafe { m.shared_store(item.n_src * CONVERT_STRIDE + m.thread(), 0, round_quotient(sum, half).0) };
}

/// The targets `first .. first + 8` of the warp's coefficients.
///
/// # Safety
/// As [`ThreadKernel::phase`]; all digits and quotients in shared memory.
#[inline(always)]
unsafe fn targets<W: Word, M: Machine<W>>(m: &M, item: &ConvertBasisItem, part: u32, first: u32) {
    // SAFETY: the caller's promises; a target that is not there stands for the last one and is not stored.
    unsafe {
        let warp_at = m.thread() / tile::COEFFICIENTS * tile::COEFFICIENTS;
        let in_block = warp_at + tile::lane_coefficient(m.thread());
        let idx = |t: usize| first + tile::lane_target(m.thread()) + t as u32;
        let target = |t: usize| -> ConvertTarget { entry(m, item.dst_at, Ord::min(idx(t), item.n_dst - 1)) };
        // Asked for before the sums, so that they are there when these are.
        let mut constants = [(W::ZERO, W::ZERO, W::ZERO, W::ZERO); LANE_TARGETS];
        let mut rows = [m.row(target(0).row); LANE_TARGETS];
        unrolled!(LANE_TARGETS, t, {
            let target = target(t);
            let (c, _) = m.prime(target.prime);
            constants[t] = (c.q, c.q_inv, c.r1, c.q.wrapping_sub(W::from_u64(target.big)));
            rows[t] = m.row(target.row);
        });
        let tile = Tile {
            digits: warp_at,
            stride: CONVERT_STRIDE,
            matrix_at: item.matrix_at,
            n_src: item.n_src,
            target: first,
            last_target: item.n_dst - 1,
        };
        let mut done = Ord::min(item.n_src, W::SUM_TERMS as u32);
        let mut sums = m.tile_sums(&tile, 0, done);
        while done < item.n_src {
            let n = Ord::min(item.n_src - done, W::SUM_FOLD_TERMS as u32);
            let more = m.tile_sums(&tile, done, n);
            unrolled!(LANE_TARGETS, t, {
                let r1 = Scalar(constants[t].2);
                unrolled!(4, k, {
                    sums[t][k] = W::wide_add(Scalar::fold_acc(sums[t][k], r1), more[t][k]);
                });
            });
            done += n;
        }
        let v = m.shared_load_quad(item.n_src * CONVERT_STRIDE + in_block, 0);
        unrolled!(LANE_TARGETS, t, {
            if idx(t) < item.n_dst {
                let (q, q_inv, _, minus_big) = constants[t];
                let mut out = [W::ZERO; 4];
                unrolled!(4, k, {
                    let sum = Scalar(v[k]).mul_acc(Scalar(minus_big), sums[t][k]);
                    out[k] = reduce_sum(sum, Scalar(q), Scalar(q_inv)).0;
                });
                m.store_quad(rows[t], part * const { coefficients::<W>() } + in_block, 0, out);
            }
        });
    }
}

impl<W: Word> ThreadKernel<W> for ConvertBasis {
    const KERNEL: KernelId = KernelId::ConvertBasis;
    const PHASES: u32 = 3;

    #[inline(always)]
    unsafe fn phase<M: Machine<W>>(m: &M, phase: u32) {
        let (idx, part) = item_and_part::<W, Self, M>(m);
        // SAFETY: the caller's promises.
        unsafe {
            let item: ConvertBasisItem = entry(m, m.args().items_at, idx);
            if phase == 0 {
                return digits(m, &item, part);
            }
            if phase == 1 {
                return quotient(m, &item);
            }
            let mut first = 0;
            while first < item.n_dst {
                targets(m, &item, part, first);
                first += tile::TARGETS;
            }
        }
    }
}

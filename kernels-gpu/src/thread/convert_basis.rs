//! Centred basis conversion on a GPU: see [`crate::body::convert_basis`].
//!
//! A block has 256 coefficients and as many threads.
//!
//! ```text
//! phase 0   what is known of each target, and y_i: four groups of threads, a thread four coefficients of every fourth source, into shared memory
//! phase 1   v: a thread one coefficient, into shared memory
//! phase 2   z_j: a warp 32 coefficients of all targets, eight targets at a time ([`tile`])
//! ```
//!
//! Shared memory: `y_i` in rows of [`CONVERT_STRIDE`] words, so that the lanes of a tile, which read four words each of four rows, meet different
//! banks; behind all of them a row of `v`, and the records of the targets.

use super::tile::{self, LANE_TARGETS, Supplied, Tile};
use super::{Machine, ThreadKernel, contract_of, entry, item_and_part, reducer};
use crate::abi::launch::{CONVERT_GROUPS, CONVERT_RECORD, CONVERT_STRIDE, THREAD_WORDS};
use crate::abi::{ConvertBasisItem, ConvertSource, ConvertTarget, KernelId, RowRef, fraction_bits};
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
const SOURCES: usize = 3;

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

/// Records of all targets, into shared memory: each is a chain of three loads, one after the other, which each warp would wait for.
///
/// # Safety
/// As [`ThreadKernel::phase`].
#[inline(always)]
unsafe fn records<W: Word, M: Machine<W>>(m: &M, item: &ConvertBasisItem) {
    let mut j = m.thread();
    while j < item.n_dst {
        // SAFETY: the caller's promises; shared memory holds n_dst records after the quotients.
        unsafe {
            let target: ConvertTarget = entry(m, item.dst_at, j);
            let (c, _) = m.prime(target.prime);
            let minus_big = c.q.wrapping_sub(W::from_u64(target.big));
            let [slot, row] = [target.row.slot, target.row.row].map(|word| W::from_u64(u64::from(word)));
            let at = record(item, j);
            m.shared_store_quad(at, 0, [c.q, c.q_inv, minus_big, slot]);
            m.shared_store(at, 4, row);
        }
        j += const { coefficients::<W>() };
    }
}

/// Where the record of target `j` lies.
#[inline(always)]
fn record(item: &ConvertBasisItem, j: u32) -> u32 {
    (item.n_src + 1) * CONVERT_STRIDE + j * CONVERT_RECORD
}

/// Sources whose products are summed before the first fold.
#[inline(always)]
fn first_sources<W: Word>(item: &ConvertBasisItem) -> u32 {
    Ord::min(item.n_src, W::SUM_TERMS as u32)
}

/// The targets of a tile of the warp's coefficients.
///
/// # Safety
/// As [`ThreadKernel::phase`]; all digits and quotients in shared memory.
#[inline(always)]
unsafe fn targets<W: Word, M: Machine<W>>(
    m: &M,
    item: &ConvertBasisItem,
    part: u32,
    tile: &Tile,
    supplied: Supplied<W>,
) {
    // SAFETY: the caller's promises; a target that is not there stands for the last one and is not stored.
    unsafe {
        let in_block = tile.digits + tile::lane_coefficient(m.thread());
        let idx = |t: usize| tile.target + tile::lane_target(m.thread()) + t as u32;
        // Asked for before the sums, so that they are there when these are.
        let known = |t: usize| {
            let at = record(item, Ord::min(idx(t), item.n_dst - 1));
            let [q, q_inv, minus_big, slot] = m.shared_load_quad(at, 0);
            let (slot, row) = (slot.to_u64() as u32, m.shared_load(at, 4).to_u64() as u32);
            (q, q_inv, minus_big, m.row(RowRef { slot, row }))
        };
        let mut targets = [known(0); LANE_TARGETS];
        unrolled!(LANE_TARGETS, t, {
            targets[t] = known(t);
        });
        let mut sums = m.tile_sums(tile, supplied, 0, first_sources::<W>(item));
        let mut done = W::SUM_TERMS as u32;
        while done < item.n_src {
            let n = Ord::min(item.n_src - done, W::SUM_FOLD_TERMS as u32);
            unrolled!(LANE_TARGETS, t, {
                let target: ConvertTarget = entry(m, item.dst_at, Ord::min(idx(t), item.n_dst - 1));
                let reducer = reducer(&m.prime(target.prime).0);
                unrolled!(4, k, {
                    sums[t][k] = reducer.fold_lazy(sums[t][k]);
                });
            });
            let more = m.tile_sums(tile, tile.supplied(m, done, n), done, n);
            unrolled!(LANE_TARGETS, t, {
                unrolled!(4, k, {
                    sums[t][k] = W::wide_add(sums[t][k], more[t][k]);
                });
            });
            done += n;
        }
        let v = m.shared_load_quad(item.n_src * CONVERT_STRIDE + in_block, 0);
        unrolled!(LANE_TARGETS, t, {
            if idx(t) < item.n_dst {
                let (q, q_inv, minus_big, row) = targets[t];
                let mut out = [W::ZERO; 4];
                unrolled!(4, k, {
                    let sum = Scalar(v[k]).mul_acc(Scalar(minus_big), sums[t][k]);
                    out[k] = reduce_sum(sum, Scalar(q), Scalar(q_inv)).0;
                });
                m.store_quad(row, part * const { coefficients::<W>() } + in_block, 0, out);
            }
        });
    }
}

impl<W: Word> ThreadKernel<W> for ConvertBasis {
    const KERNEL: KernelId = KernelId::ConvertBasis;
    type State = ();
    const PHASES: u32 = 3;

    #[inline(always)]
    fn start() {}

    #[inline(always)]
    unsafe fn phase<M: Machine<W>>(m: &M, phase: u32) {
        let (idx, part) = item_and_part::<W, Self, M>(m);
        // SAFETY: the caller's promises.
        unsafe {
            let item: ConvertBasisItem = entry(m, m.args().items_at, idx);
            if phase == 0 {
                records(m, &item);
                return digits(m, &item, part);
            }
            if phase == 1 {
                return quotient(m, &item);
            }
            let mut tile = Tile {
                digits: m.thread() / tile::COEFFICIENTS * tile::COEFFICIENTS,
                stride: CONVERT_STRIDE,
                matrix_at: item.matrix_at,
                n_src: item.n_src,
                target: 0,
                last_target: item.n_dst - 1,
            };
            let mut supplied = tile.supplied(m, 0, first_sources::<W>(&item));
            while tile.target < item.n_dst {
                let next = Tile { target: tile.target + tile::TARGETS, ..tile };
                let supplied_next = next.supplied(m, 0, first_sources::<W>(&item));
                targets(m, &item, part, &tile, supplied);
                (tile, supplied) = (next, supplied_next);
            }
        }
    }
}

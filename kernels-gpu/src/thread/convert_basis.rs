//! Centred basis conversion on a GPU: see [`crate::body::convert_basis`].
//!
//! A block has 256 coefficients and as many threads.
//!
//! ```text
//! phase 0   what is known of each target; y_i: four groups of threads, a thread four coefficients of every fourth source, and its part
//!           of their quotients, into shared memory
//! phase 1   v, and z_j: a warp twice 16 coefficients of all targets, eight targets at a time ([`tile`])
//! ```
//!
//! Shared memory: `y_i` in rows of [`CONVERT_STRIDE`] words, so that the lanes of a tile, which read two words each of four
//! rows, meet different banks; behind all of them a row for each group's part of the quotients, and the records of the targets.

use super::tile::{self, HELD_GROUPS, Known, LANE_TARGETS, Tile};
use super::{Machine, Pair, ThreadKernel, contract_of, entry, entry_anew, item_and_part, reducer};
use crate::abi::launch::{CONVERT_GROUPS, CONVERT_RECORD, CONVERT_STRIDE, THREAD_WORDS};
use crate::abi::{ConvertBasisItem, ConvertSource, ConvertTarget, KernelId, fraction_bits};
use crate::body::convert_basis::{add_fraction, digit, round_quotient};
use crate::body::ntt::unrolled;
use crate::lanes::{Scalar, Word};

/// [`KernelId::ConvertBasis`].
#[derive(Debug)]
pub struct ConvertBasis;

/// The coefficients of a block.
#[inline(always)]
const fn coefficients<W: Word>() -> u32 {
    contract_of::<W, ConvertBasis>().words_per_block
}

/// Threads of a warp, and its coefficients of a block.
const WARP: u32 = 32;

/// Sources that a thread has under way at the same time: each is a chain of four loads, one after the other.
const SOURCES: usize = 3;

/// `y_i` of the thread's group and `sum_i hi(y_i frac_i)` over it, into shared memory.
///
/// # Safety
/// As [`ThreadKernel::phase`].
#[inline(always)]
unsafe fn digits<W: Word, M: Machine<W>>(m: &M, item: &ConvertBasisItem, part: u32) {
    let per_group = const { coefficients::<W>() / THREAD_WORDS };
    let (group, position) = (m.thread() / per_group, m.thread() % per_group * THREAD_WORDS);
    let at = part * const { coefficients::<W>() } + position;
    m.wait_for_rows();
    let mut quotients = [W::ZERO; 4];
    let mut first = group;
    while first < item.n_src {
        let idx = |s: usize| first + s as u32 * CONVERT_GROUPS;
        let mut y = [[W::ZERO; 4]; SOURCES];
        let mut fracs = [W::ZERO; SOURCES];
        // SAFETY: the caller's promises; shared memory holds n_src rows of digits. A source that is not there
        // stands for the last one and is not stored.
        unsafe {
            unrolled!(SOURCES, s, {
                let source: ConvertSource = entry(m, item.src_at, Ord::min(idx(s), item.n_src - 1));
                let c = m.prime(source.prime);
                let modulus = reducer(&c).m;
                let inv = Scalar(W::from_u64(source.inv));
                fracs[s] = W::from_u64(source.frac);
                y[s] = m.load_quad(m.row(source.row), at, 0);
                unrolled!(4, k, {
                    y[s][k] = digit(Scalar(y[s][k]), inv, &modulus).0;
                });
            });
            unrolled!(SOURCES, s, {
                if idx(s) < item.n_src {
                    m.shared_store_quad(idx(s) * CONVERT_STRIDE + position, 0, y[s]);
                    unrolled!(4, k, {
                        quotients[k] =
                            add_fraction(Scalar(quotients[k]), Scalar(y[s][k]), Scalar(fracs[s])).0;
                    });
                }
            });
        }
        first += SOURCES as u32 * CONVERT_GROUPS;
    }
    // SAFETY: shared memory holds a row for each group after the digits.
    unsafe { m.shared_store_quad((item.n_src + group) * CONVERT_STRIDE + position, 0, quotients) };
}

/// `v` of the two coefficients from `at` of the block.
///
/// # Safety
/// As [`ThreadKernel::phase`]; all parts of quotients in shared memory.
#[inline(always)]
unsafe fn quotients<W: Word, M: Machine<W>>(m: &M, item: &ConvertBasisItem, at: u32) -> Pair<W> {
    let half = Scalar(W::from_u64(1 << (fraction_bits(W::BITS) - 1)));
    let mut v = [W::ZERO; 2];
    unrolled!(CONVERT_GROUPS as usize, group, {
        // SAFETY: the caller's promises.
        let part = unsafe { m.shared_load_pair((item.n_src + group as u32) * CONVERT_STRIDE + at, 0) };
        unrolled!(2, k, {
            v[k] = v[k].wrapping_add(part[k]);
        });
    });
    v.map(|sum| round_quotient(Scalar(sum), half).0)
}

/// Records of all targets, into shared memory: each is a chain of three loads, one after the other, which each warp would wait for.
///
/// # Safety
/// As [`ThreadKernel::phase`].
#[inline(always)]
unsafe fn records<W: Word, M: Machine<W>>(m: &M, item: &ConvertBasisItem) {
    let mut j = m.thread();
    while j < item.n_dst {
        // SAFETY: the caller's promises; shared memory holds n_dst records after the parts of quotients.
        unsafe {
            let target: ConvertTarget = entry(m, item.dst_at, j);
            let c = m.prime(target.prime);
            let minus_big = c.q.wrapping_sub(W::from_u64(target.big));
            let [row, row_high] = M::words_of_row(m.row(target.row));
            let at = record(item, j);
            m.shared_store_quad(at, 0, [c.q, c.q_inv, minus_big, row]);
            m.shared_store(at, 4, row_high);
        }
        j += const { coefficients::<W>() };
    }
}

/// Where the record of target `j` lies.
#[inline(always)]
fn record(item: &ConvertBasisItem, j: u32) -> u32 {
    (item.n_src + CONVERT_GROUPS) * CONVERT_STRIDE + j * CONVERT_RECORD
}

/// The tiles of the 16 coefficients from `digits` of the block. `G` is the number of groups of sources, whose digits are held, or 0.
///
/// # Safety
/// As [`ThreadKernel::phase`]; all that phase 0 leaves in shared memory.
#[inline(always)]
unsafe fn targets<const G: usize, W: Word, M: Machine<W>>(
    m: &M,
    item: &ConvertBasisItem,
    part: u32,
    digits: u32,
) {
    let in_block = digits + tile::lane_coefficient(m.thread());
    let at = part * const { coefficients::<W>() } + in_block;
    let ConvertBasisItem { matrix_at, n_src, n_dst, .. } = *item;
    let mut tile = Tile { digits, stride: CONVERT_STRIDE, matrix_at, n_src, n_dst, target: 0 };
    // SAFETY: the caller's promises; a target that is not there stands for the last one and is not stored.
    unsafe {
        let v = quotients(m, item, in_block);
        let held = m.held::<G>(&tile);
        while tile.target < n_dst {
            let idx = |t: usize| tile.target + tile::lane_target(m.thread()) + t as u32;
            // Asked for before the sums, so that they are there when these are.
            let known = |t: usize| {
                let record = record(item, Ord::min(idx(t), n_dst - 1));
                let [q, q_inv, minus_big, row] = m.shared_load_quad(record, 0);
                let row = M::row_of_words([row, m.shared_load(record, 4)]);
                (Known { q, q_inv, minus_big }, row)
            };
            let [(first, row), (second, row_of_second)] = [known(0), known(1)];
            let rows = [row, row_of_second];
            let out = m.tile(&tile, &held, &[first, second], v);
            unrolled!(LANE_TARGETS, t, {
                if idx(t) < n_dst {
                    m.store_pair(rows[t], at, 0, out[t]);
                }
            });
            tile.target += tile::TARGETS;
        }
    }
}

impl<W: Word> ThreadKernel<W> for ConvertBasis {
    const KERNEL: KernelId = KernelId::ConvertBasis;
    type State = ();
    const PHASES: u32 = 2;

    #[inline(always)]
    fn start() {}

    #[inline(always)]
    unsafe fn phase<M: Machine<W>>(m: &M, phase: u32) {
        let (idx, part) = item_and_part::<W, Self, M>(m);
        // SAFETY: the caller's promises.
        unsafe {
            if phase == 0 {
                let item: ConvertBasisItem = entry(m, m.args().items_at, idx);
                records(m, &item);
                return digits(m, &item, part);
            }
            const HELD: u32 = HELD_GROUPS as u32;
            // Anew: kept from phase to phase it would take the registers of the sums.
            let item: ConvertBasisItem = entry_anew(m, m.args().items_at, idx);
            let mut digits = m.thread() / WARP * WARP;
            // Not known here, so that this stays a loop: with both tiles' sums in registers fewer warps fit a multiprocessor.
            let end = m.here(digits + WARP);
            while digits < end {
                match tile::groups(item.n_src) {
                    1 => targets::<1, W, M>(m, &item, part, digits),
                    2 => targets::<2, W, M>(m, &item, part, digits),
                    HELD => targets::<HELD_GROUPS, W, M>(m, &item, part, digits),
                    _ => targets::<0, W, M>(m, &item, part, digits),
                }
                digits += tile::COEFFICIENTS;
            }
        }
    }
}

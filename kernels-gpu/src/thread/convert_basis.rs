//! Centred basis conversion on a GPU: see [`crate::body::convert_basis`]. By itself, or between two transforms, whose columns are done in
//! its blocks, so that neither they nor what lies between go through memory (docs/adr/0030).
//!
//! A block has 256 coefficients and as many threads. The coefficients are `256 / C` adjacent columns of `C` words (`shape`); a conversion by
//! itself has columns of one word, which have no stages. A row of them, of a source or of a target, is shared by a few threads, which have
//! whole columns of it.
//!
//! ```text
//! round 0   phase 0   what is known of each target; the last inverse stages of each source, y_i
//!           phase 1   v, a thread a coefficient
//! round r   phase 0   z_j of 16 targets: a warp 64 coefficients of eight ([`tile`])
//!           phase 1   the first stages of their transforms, to memory
//! ```
//!
//! Shared memory (`Layout`): `y_i` in rows of [`CONVERT_STRIDE`] words, `v`, the fractions of the sources, the records of the targets, `z_j` in
//! rows of [`CONVERT_TARGET_STRIDE`] words. So the lanes of a tile, which read two words each of four rows of digits and write two each of four of
//! targets, meet different banks.

mod shape;

use super::ntt::{forward_column, inverse_column};
use super::tile::{self, HELD_GROUPS, Known, LANE_TARGETS, Tile};
use super::{Machine, ThreadKernel, entry, entry_anew, item_and_part};
use crate::abi::launch::{
    CONVERT_RECORD, CONVERT_STRIDE, CONVERT_TARGET_STRIDE, CONVERT_TARGETS, CONVERT_WORDS, log_column_words,
};
use crate::abi::{
    ConvertBasisItem, ConvertSource, ConvertTarget, KernelId, MAX_CONVERT_SOURCES, fraction_bits,
};
use crate::body::convert_basis::{add_fraction, round_quotient};
use crate::body::ntt::unrolled;
use crate::body::shoup::Factor;
use crate::lanes::{Scalar, Word};
use shape::Shape;

/// [`KernelId::ConvertBasis`].
#[derive(Debug)]
pub struct ConvertBasis;

/// [`KernelId::ConvertBasisColumns`].
#[derive(Debug)]
pub struct ConvertBasisColumns<const LOG_N: u32>;

/// Threads of a warp.
const WARP: u32 = 32;

/// Tiles that a warp has of [`CONVERT_TARGETS`], and coefficients.
const WARP_TILES: u32 = 4;
const WARP_WORDS: u32 = WARP_TILES * tile::COEFFICIENTS;
const _: () = assert!(CONVERT_WORDS / WARP_WORDS * (CONVERT_TARGETS / tile::TARGETS) == CONVERT_WORDS / WARP);

/// Where things lie in shared memory, after the digits.
struct Layout {
    quotients: u32,
    fractions: u32,
    records: u32,
    coefficients: u32,
}

impl Layout {
    #[inline(always)]
    fn new(item: &ConvertBasisItem) -> Self {
        let quotients = item.n_src * CONVERT_STRIDE;
        let fractions = quotients + CONVERT_STRIDE;
        let records = fractions + MAX_CONVERT_SOURCES as u32;
        Self { quotients, fractions, records, coefficients: records + item.n_dst * CONVERT_RECORD }
    }
}

/// `y_i` and fractions of the thread's sources: the last factor of an inverse transform is multiplied by the conversion's first one.
///
/// # Safety
/// As [`ThreadKernel::phase`].
#[inline(always)]
unsafe fn digits<W: Word, M: Machine<W>, const C: usize>(
    m: &M,
    item: &ConvertBasisItem,
    part: u32,
    transformed: bool,
) {
    let (fractions, thread) = (Layout::new(item).fractions, m.here(m.thread()));
    let lane = thread % Shape::<C>::THREADS;
    let first = Shape::<C>::first_in_row(part, thread);
    let mut i = Shape::<C>::row(thread, Shape::<C>::SOURCES_APART);
    m.wait_for_rows();
    while i < item.n_src {
        // SAFETY: the caller's promises; shared memory holds n_src rows of digits and a fraction for each.
        unsafe {
            let source: ConvertSource = entry(m, item.src_at, i);
            let (row, prime, (c, table)) =
                (m.row(source.row), m.prime(source.prime), m.butterflies(source.prime));
            let mut x = [[W::ZERO; C]; 16];
            unrolled!(16, g, {
                if (g as u32) < Shape::<C>::COLUMNS {
                    unrolled!(long C, k, {
                        x[g][k] = m.load(row, first, Shape::<C>::in_row(g, k));
                    });
                }
            });
            let inv = W::from_u64(source.inv);
            let last = match transformed {
                true => [prime.n_inv, prime.n_inv_w1].map(|n_inv| prime.mul(n_inv, inv)),
                false => [inv; 2],
            };
            let last = last.map(|factor| Factor::from_montgomery(factor, &prime));
            unrolled!(16, g, {
                if (g as u32) < Shape::<C>::COLUMNS {
                    inverse_column(m, table, &mut x[g], last, &c);
                    unrolled!(long C, k, {
                        m.shared_store(i * CONVERT_STRIDE + lane, Shape::<C>::in_block(g, k), x[g][k]);
                    });
                }
            });
            if lane == 0 {
                m.shared_store(fractions + i, 0, W::from_u64(source.frac));
            }
        }
        i += Shape::<C>::ROWS;
    }
}

/// `v` of the thread's coefficient.
///
/// # Safety
/// As [`ThreadKernel::phase`]; all digits and fractions in shared memory.
#[inline(always)]
unsafe fn store_quotient<W: Word, M: Machine<W>>(m: &M, item: &ConvertBasisItem) {
    let (layout, p) = (Layout::new(item), m.here(m.thread()));
    let half = Scalar(W::from_u64(1 << (fraction_bits(W::BITS) - 1)));
    let mut sum = Scalar(W::ZERO);
    for i in 0..item.n_src {
        // SAFETY: the caller's promises.
        let (y, fraction) =
            unsafe { (m.shared_load(i * CONVERT_STRIDE + p, 0), m.shared_load(layout.fractions + i, 0)) };
        sum = add_fraction(sum, Scalar(y), Scalar(fraction));
    }
    // SAFETY: as above.
    unsafe { m.shared_store(layout.quotients + p, 0, round_quotient(sum, half).0) };
}

/// Records of all targets, into shared memory: each is a chain of three loads, one after the other, which each warp would wait for.
///
/// # Safety
/// As [`ThreadKernel::phase`].
#[inline(always)]
unsafe fn store_records<W: Word, M: Machine<W>>(m: &M, item: &ConvertBasisItem) {
    let records = Layout::new(item).records;
    let mut j = m.here(m.thread());
    while j < item.n_dst {
        // SAFETY: the caller's promises.
        unsafe {
            let target: ConvertTarget = entry(m, item.dst_at, j);
            let c = m.prime(target.prime);
            let minus_big = c.q.wrapping_sub(W::from_u64(target.big));
            let prime = W::from_u64(u64::from(target.prime));
            let at = records + j * CONVERT_RECORD;
            m.shared_store_quad(at, 0, [c.q, c.q_inv, minus_big, prime]);
            m.shared_store_pair(at, 4, M::words_of_row(m.row(target.row)));
        }
        j += CONVERT_WORDS;
    }
}

/// What a record says of target `j`: what its sums need, and its prime.
///
/// # Safety
/// Stored before the last barrier.
#[inline(always)]
unsafe fn load_record<W: Word, M: Machine<W>>(m: &M, item: &ConvertBasisItem, j: u32) -> (Known<W>, u32) {
    // SAFETY: the caller's promise.
    let [q, q_inv, minus_big, prime] =
        unsafe { m.shared_load_quad(Layout::new(item).records + j * CONVERT_RECORD, 0) };
    (Known { q, q_inv, minus_big }, prime.to_u64() as u32)
}

/// The row of target `j`.
///
/// # Safety
/// As [`load_record`].
#[inline(always)]
unsafe fn load_row<W: Word, M: Machine<W>>(m: &M, item: &ConvertBasisItem, j: u32) -> M::Row {
    // SAFETY: the caller's promise.
    M::row_of_words(unsafe { m.shared_load_pair(Layout::new(item).records + j * CONVERT_RECORD, 4) })
}

/// `z_j` of the targets from `first`, into shared memory. `G` is the number of groups of sources, whose columns of the matrix are held, or 0.
///
/// # Safety
/// As [`ThreadKernel::phase`]; round 0 is done; all threads of a warp come here together, if it has targets.
#[inline(always)]
unsafe fn coefficients<const G: usize, W: Word, M: Machine<W>>(m: &M, item: &ConvertBasisItem, first: u32) {
    let (layout, thread) = (Layout::new(item), m.here(m.thread()));
    let ConvertBasisItem { matrix_at, n_src, n_dst, .. } = *item;
    let target = first + thread / WARP % 2 * tile::TARGETS;
    if target >= n_dst {
        return;
    }
    let digits = thread / (2 * WARP) * WARP_WORDS;
    let p = digits + tile::lane_coefficient(thread);
    let idx = |t: usize| target + tile::lane_target(thread) + t as u32;
    // SAFETY: the caller's promises; a lane's words are its own. A target that is not there stands for the last one, and nobody reads what
    // is stored for it.
    unsafe {
        let known = [0, 1].map(|t| load_record(m, item, Ord::min(idx(t), n_dst - 1)).0);
        let mut tile = Tile { thread, digits, stride: CONVERT_STRIDE, matrix_at, n_src, n_dst, target };
        let held = m.held::<G>(&tile);
        unrolled!(WARP_TILES as usize, i, {
            let plus = i as u32 * tile::COEFFICIENTS;
            tile.digits = digits + plus;
            let words = m.tile(&tile, &held, &known, m.shared_load_pair(layout.quotients + p, plus));
            unrolled!(LANE_TARGETS, t, {
                let row = layout.coefficients + (idx(t) - first) * CONVERT_TARGET_STRIDE;
                m.shared_store_pair(row + p, plus, words[t]);
            });
        });
    }
}

/// The columns of the thread's target, of those from `first`, from shared memory to its row.
///
/// # Safety
/// As [`ThreadKernel::phase`]; their coefficients in shared memory.
#[inline(always)]
unsafe fn columns<W: Word, M: Machine<W>, const C: usize>(
    m: &M,
    item: &ConvertBasisItem,
    part: u32,
    first: u32,
) {
    let thread = m.here(m.thread());
    let j = Shape::<C>::row(thread, Shape::<C>::TARGETS_APART);
    if j >= CONVERT_TARGETS || first + j >= item.n_dst {
        return;
    }
    let from = Layout::new(item).coefficients + j * CONVERT_TARGET_STRIDE + thread % Shape::<C>::THREADS;
    let to = Shape::<C>::first_in_row(part, thread);
    // SAFETY: the caller's promises.
    unsafe {
        let (row, prime) = (load_row(m, item, first + j), load_record(m, item, first + j).1);
        let (c, table) = m.butterflies(prime);
        unrolled!(16, g, {
            if (g as u32) < Shape::<C>::COLUMNS {
                let mut x = [W::ZERO; C];
                unrolled!(long C, k, {
                    x[k] = m.shared_load(from, Shape::<C>::in_block(g, k));
                });
                forward_column(m, table, &mut x, &c);
                unrolled!(long C, k, {
                    m.store(row, to, Shape::<C>::in_row(g, k), x[k]);
                });
            }
        });
    }
}

/// [`ThreadKernel::phase_of_round`] with columns of `C` words; `transformed`: between transforms.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn run<W: Word, M: Machine<W>, const C: usize>(
    m: &M,
    (idx, part): (u32, u32),
    (round, phase): (u32, u32),
    transformed: bool,
) {
    const HELD: u32 = HELD_GROUPS as u32;
    // SAFETY: the caller's promises. Anew: kept from phase to phase it would take the registers of the sums.
    unsafe {
        let (item, part): (ConvertBasisItem, _) =
            (entry_anew(m, m.args().items_at, m.here(idx)), m.here(part));
        // Round 0 has no targets.
        let first = round.wrapping_sub(1).wrapping_mul(CONVERT_TARGETS);
        match (round, phase) {
            (0, 0) => {
                store_records(m, &item);
                digits::<W, M, C>(m, &item, part, transformed);
            }
            (0, _) => store_quotient(m, &item),
            (_, 0) => match tile::groups(item.n_src) {
                1 => coefficients::<1, W, M>(m, &item, first),
                2 => coefficients::<2, W, M>(m, &item, first),
                HELD => coefficients::<HELD_GROUPS, W, M>(m, &item, first),
                _ => coefficients::<0, W, M>(m, &item, first),
            },
            _ => columns::<W, M, C>(m, &item, part, first),
        }
    }
}

/// One for the sources, and one for each [`CONVERT_TARGETS`].
///
/// # Safety
/// As [`ThreadKernel::phase`].
#[inline(always)]
unsafe fn rounds<W: Word, M: Machine<W>>(m: &M, idx: u32) -> u32 {
    // SAFETY: the caller's promises.
    let item: ConvertBasisItem = unsafe { entry(m, m.args().items_at, idx) };
    1 + item.n_dst.div_ceil(CONVERT_TARGETS)
}

impl<W: Word> ThreadKernel<W> for ConvertBasis {
    const KERNEL: KernelId = KernelId::ConvertBasis;
    const PHASES: u32 = 2;
    const ROUNDS: bool = true;
    type State = ();

    #[inline(always)]
    fn start() {}

    #[inline(always)]
    unsafe fn rounds<M: Machine<W>>(m: &M) -> u32 {
        // SAFETY: the caller's promises.
        unsafe { rounds(m, item_and_part::<W, Self, M>(m).0) }
    }

    #[inline(always)]
    unsafe fn phase_of_round<M: Machine<W>>(m: &M, _state: &mut (), round: u32, phase: u32) {
        // SAFETY: the caller's promises.
        unsafe { run::<W, M, 1>(m, item_and_part::<W, Self, M>(m), (round, phase), false) };
    }
}

impl<W: Word, const LOG_N: u32> ThreadKernel<W> for ConvertBasisColumns<LOG_N> {
    const KERNEL: KernelId = KernelId::ConvertBasisColumns;
    const LOG_N: u32 = LOG_N;
    const PHASES: u32 = 2;
    const ROUNDS: bool = true;
    type State = ();

    #[inline(always)]
    fn start() {}

    #[inline(always)]
    unsafe fn rounds<M: Machine<W>>(m: &M) -> u32 {
        // SAFETY: the caller's promises.
        unsafe { rounds(m, item_and_part::<W, Self, M>(m).0) }
    }

    #[inline(always)]
    unsafe fn phase_of_round<M: Machine<W>>(m: &M, _state: &mut (), round: u32, phase: u32) {
        let (at, when) = (item_and_part::<W, Self, M>(m), (round, phase));
        // SAFETY: the caller's promises.
        unsafe {
            match log_column_words(LOG_N) {
                0 => run::<W, M, 1>(m, at, when, true),
                1 => run::<W, M, 2>(m, at, when, true),
                2 => run::<W, M, 4>(m, at, when, true),
                3 => run::<W, M, 8>(m, at, when, true),
                4 => run::<W, M, 16>(m, at, when, true),
                _ => run::<W, M, 32>(m, at, when, true),
            }
        }
    }
}

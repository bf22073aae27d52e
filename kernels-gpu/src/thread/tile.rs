//! A tile of the matrix product in a basis conversion: 16 coefficients by 8 targets, which a warp finds together.
//!
//! ```text
//! lane l has    coefficients 2 (l / 4), 2 (l / 4) + 1,    targets 2 (l % 4), 2 (l % 4) + 1     of the tile
//! ```
//!
//! [`plain`] multiplies words. [`by_bytes`] has the matrix unit of a GPU do it: products of unsigned bytes, four sources at a
//! time, once for each column ([`crate::body::bytes`]). Sixteen columns of a matrix row are the words of
//! four digits as they lie in memory, so lane `l` supplies the digits of source `l % 4`, and the columns of that source and target
//! `l / 4`.

use super::{Machine, Pair, Quad};
use crate::abi::matrix::{TILE_SOURCES, TILE_TARGETS, matrix_position, matrix_words};
use crate::body::bytes::{COLUMNS, sum_columns};
use crate::body::inner_product::reduce_sum;
use crate::body::ntt::unrolled;
use crate::lanes::{Lanes, Scalar, Word};

/// Coefficients of a tile.
pub const COEFFICIENTS: u32 = 16;
/// Targets of a tile.
pub const TARGETS: u32 = TILE_TARGETS as u32;
/// Targets of a lane.
pub const LANE_TARGETS: usize = 2;
/// Threads of a warp.
const LANES: u32 = 32;
/// Sources that are 16 bytes of a matrix row.
const SOURCES: u32 = TILE_SOURCES as u32;
/// Groups of sources whose columns a lane holds from tile to tile: those of up to this many; of more it holds none.
pub const HELD_GROUPS: usize = 3;

/// Which tile, and where its factors lie.
#[derive(Clone, Copy, Debug)]
pub struct Tile {
    /// The thread, of whose warp it is.
    pub thread: u32,
    /// Word of shared memory with the digit of source 0 and the tile's first coefficient; the others are adjacent.
    pub digits: u32,
    /// Words from a source's digits to the next one's.
    pub stride: u32,
    /// Pool index of the matrix.
    pub matrix_at: u32,
    /// Sources of the matrix.
    pub n_src: u32,
    /// Targets of the matrix.
    pub n_dst: u32,
    /// The first target.
    pub target: u32,
}

/// What is known of a target: `q`, `q^-1 mod R` and `(p - big) R mod p` ([`crate::abi::ConvertBasisItem`]).
#[derive(Clone, Copy, Debug)]
pub struct Known<W> {
    /// The prime.
    pub q: W,
    /// Its inverse.
    pub q_inv: W,
    /// What quotients are multiplied by.
    pub minus_big: W,
}

/// A lane's words, by target and coefficient.
pub type Residues<W> = [Pair<W>; LANE_TARGETS];

/// The first of a lane's coefficients in the tile.
#[inline(always)]
pub fn lane_coefficient(thread: u32) -> u32 {
    thread % LANES / 4 * 2
}

/// The first of a lane's targets in the tile.
#[inline(always)]
pub fn lane_target(thread: u32) -> u32 {
    thread % 4 * LANE_TARGETS as u32
}

/// Groups of sources.
#[inline(always)]
pub fn groups(n_src: u32) -> u32 {
    n_src.div_ceil(SOURCES)
}

impl Tile {
    /// The digits of a lane's coefficients for a source.
    ///
    /// # Safety
    /// As [`Machine::tile`]; `source < n_src`.
    #[inline(always)]
    unsafe fn digits<W: Word, M: Machine<W>>(&self, m: &M, source: u32) -> Pair<W> {
        let at = self.digits + source * self.stride + lane_coefficient(self.thread);
        // SAFETY: the caller's promises.
        unsafe { m.shared_load_pair(at, 0) }
    }

    /// The digits that the lane supplies for a group of sources. A source that is not there stands for the last one: its columns
    /// are zero.
    ///
    /// # Safety
    /// As [`Machine::tile`]; the group is there.
    #[inline(always)]
    unsafe fn supplied_digits<M: Machine<u32>>(&self, m: &M, group: u32) -> Pair<u32> {
        let source = SOURCES * group + self.thread % SOURCES;
        // SAFETY: the caller's promises.
        unsafe { self.digits(m, Ord::min(source, self.n_src - 1)) }
    }

    /// The columns that the lane supplies for a group of sources.
    ///
    /// # Safety
    /// As [`Machine::tile`]; the group is there.
    #[inline(always)]
    unsafe fn supplied_columns<M: Machine<u32>>(&self, m: &M, group: u32) -> [u32; COLUMNS] {
        let words = matrix_words(self.n_src as usize, self.n_dst as usize) as u32;
        let quad = (self.target / TARGETS * groups(self.n_src) + group) * LANES + self.thread % LANES;
        // SAFETY: the caller's promises.
        unsafe { m.table_quad(self.matrix_at, words + 4 * quad) }
    }

    /// What a lane holds from tile to tile of the same targets: the columns that it supplies.
    ///
    /// # Safety
    /// As [`Machine::tile`]; `G` is the number of groups of sources, or 0.
    #[inline(always)]
    pub unsafe fn held<const G: usize, M: Machine<u32>>(&self, m: &M) -> [Quad<u32>; G] {
        let mut held = [[0; COLUMNS]; G];
        unrolled!(G, g, {
            // SAFETY: the caller's promises.
            held[g] = unsafe { self.supplied_columns(m, g as u32) };
        });
        held
    }
}

/// Products of words, each lane for itself.
///
/// # Safety
/// As [`Machine::tile`].
#[inline(always)]
pub unsafe fn plain<W: Word, M: Machine<W>>(
    m: &M,
    tile: &Tile,
    known: &[Known<W>; LANE_TARGETS],
    v: Pair<W>,
) -> Residues<W> {
    let mut out = [[W::ZERO; 2]; LANE_TARGETS];
    unrolled!(LANE_TARGETS, t, {
        let target = Ord::min(tile.target + lane_target(tile.thread) + t as u32, tile.n_dst - 1);
        let Known { q, q_inv, minus_big } = known[t];
        let mut sums = [W::ZERO.widen(); 2];
        unrolled!(2, k, {
            sums[k] = Scalar(v[k]).mul_acc(Scalar(minus_big), sums[k]);
        });
        let mut source = 0;
        while source < tile.n_src {
            let end = Ord::min(source + W::SUM_TERMS as u32, tile.n_src);
            while source < end {
                let position = matrix_position(source as usize, target as usize, tile.n_src as usize);
                // SAFETY: the caller's promises.
                let (y, factor) =
                    unsafe { (tile.digits(m, source), m.table_word(tile.matrix_at, position as u32)) };
                unrolled!(2, k, {
                    sums[k] = Scalar(y[k]).mul_acc(Scalar(factor), sums[k]);
                });
                source += 1;
            }
            unrolled!(2, k, {
                let part = reduce_sum(sums[k], Scalar(q), Scalar(q_inv));
                let sum = Scalar(out[t][k]).add(part);
                out[t][k] = sum.min(sum.sub(Scalar(q))).0;
                sums[k] = W::ZERO.widen();
            });
        }
    });
    out
}

/// What a warp has its matrix unit do, all lanes together: `d + A B`, A 16 x 16 and B 16 x 8 unsigned bytes, d 16 x 8 words (PTX ISA,
/// `mma.sync.m16n8k16.row.col.s32.u8.u8.s32`; one of twice the depth takes more than twice as long on an H100).
///
/// Lane `l` holds bytes `4 (l % 4) ..` of rows `l / 4` and `l / 4 + 8` of A, the same bytes of column `l / 4` of B, and of each
/// of the two rows columns `2 (l % 4)`, `2 (l % 4) + 1` of d.
pub trait MatrixUnit {
    /// Adds the product to `d`.
    fn multiply(&self, d: &mut [u32; 4], a: [u32; 2], b: u32);
}

/// Adds the products of a group of sources to each column's sums.
#[inline(always)]
fn multiply_columns(
    sums: &mut [[u32; 4]; COLUMNS],
    digits: Pair<u32>,
    columns: [u32; COLUMNS],
    unit: &(impl MatrixUnit + ?Sized),
) {
    unrolled!(COLUMNS, b, {
        unit.multiply(&mut sums[b], digits, columns[b]);
    });
}

/// `(sum + v minus_big) / R mod q` in `[0, q)`, for a sum of columns: far below `q R`, it needs one correction.
#[inline(always)]
fn reduce_columns(s: [u32; COLUMNS], v: u32, known: &Known<u32>) -> u32 {
    let sum = Scalar(v).mul_acc(Scalar(known.minus_big), sum_columns(s));
    let t = Scalar::<u32>::redc_acc_lazy(sum, Scalar(known.q), Scalar(known.q_inv));
    t.min(t.add(Scalar(known.q))).0
}

/// The same by the matrix unit.
///
/// # Safety
/// As [`Machine::tile`]; `held` is what [`Tile::held`] gives for all groups, or for none.
#[inline(always)]
pub unsafe fn by_bytes<const G: usize, M: Machine<u32>>(
    m: &M,
    tile: &Tile,
    held: &[Quad<u32>; G],
    known: &[Known<u32>; LANE_TARGETS],
    v: Pair<u32>,
    unit: &(impl MatrixUnit + ?Sized),
) -> Residues<u32> {
    let mut sums = [[0; 4]; COLUMNS];
    unrolled!(G, g, {
        // SAFETY: the caller's promises.
        let digits = unsafe { tile.supplied_digits(m, g as u32) };
        multiply_columns(&mut sums, digits, held[g], unit);
    });
    if G == 0 {
        for g in 0..groups(tile.n_src) {
            // SAFETY: the caller's promises.
            let (digits, columns) = unsafe { (tile.supplied_digits(m, g), tile.supplied_columns(m, g)) };
            multiply_columns(&mut sums, digits, columns, unit);
        }
    }
    let mut out = [[0; 2]; LANE_TARGETS];
    // A lane has rows g, g + 8 and columns 2 t, 2 t + 1 of a product, row by row.
    unrolled!(4, word, {
        let (t, k) = (word % 2, word / 2);
        out[t][k] = reduce_columns(sums.map(|sum| sum[word]), v[k], &known[t]);
    });
    out
}

//! A tile of the matrix product in a basis conversion: 32 coefficients by 8 targets, which a warp finds together.
//!
//! ```text
//! lane l has    coefficients 4 (l / 4) ..= 4 (l / 4) + 3,    targets 2 (l % 4), 2 (l % 4) + 1     of the tile
//! ```
//!
//! [`plain`] multiplies words. [`by_bytes`] has the matrix unit of a GPU do it: products of unsigned bytes, four or eight sources at a
//! time, once for each diagonal ([`crate::body::bytes`]) and each half of the coefficients. Sixteen columns of a matrix row are the words of four
//! digits as they lie in memory, so lane `l` supplies the digits of source `l % 4`, and the matrix words of that source and target
//! `l / 4`.

use super::{Machine, Quad};
use crate::abi::matrix_position;
use crate::body::bytes::{DIAGONALS, columns, sum_diagonals};
use crate::body::ntt::unrolled;
use crate::lanes::{Lanes, Scalar, Word};

/// Coefficients of a tile.
pub const COEFFICIENTS: u32 = 32;
/// Targets of a tile.
pub const TARGETS: u32 = 8;
/// Targets of a lane.
pub const LANE_TARGETS: usize = 2;
/// Threads of a warp.
const LANES: u32 = 32;
/// Sources that are 16 bytes of a matrix row.
const SOURCES: u32 = 4;
/// How often they go into the sources of a call, at most.
const GROUPS: usize = <u32 as Word>::SUM_TERMS / SOURCES as usize;

/// Which tile, and where its factors lie.
#[derive(Clone, Copy, Debug)]
pub struct Tile {
    /// Word of shared memory with the digit of source 0 and the tile's first coefficient; the others are adjacent.
    pub digits: u32,
    /// Words from a source's digits to the next one's.
    pub stride: u32,
    /// Pool index of the matrix.
    pub matrix_at: u32,
    /// Sources of the matrix.
    pub n_src: u32,
    /// The first target.
    pub target: u32,
    /// The last target that there is: stands for those behind it.
    pub last_target: u32,
}

/// The matrix words that a lane supplies to the matrix unit.
pub type Supplied<W> = [W; GROUPS];

/// The source of which a lane supplies the `i`th word.
#[inline(always)]
fn source_of_lane(thread: u32, i: usize) -> u32 {
    SOURCES * i as u32 + thread % SOURCES
}

/// A lane's sums, by target and coefficient.
pub type Sums<T> = [[T; 4]; LANE_TARGETS];

/// The first of a lane's coefficients in the tile.
#[inline(always)]
pub fn lane_coefficient(thread: u32) -> u32 {
    thread % LANES / 4 * 4
}

/// The first of a lane's targets in the tile.
#[inline(always)]
pub fn lane_target(thread: u32) -> u32 {
    thread % 4 * LANE_TARGETS as u32
}

impl Tile {
    /// The four digits of a lane's coefficients for a source.
    ///
    /// # Safety
    /// As [`Machine::tile_sums`]; `source < n_src`.
    #[inline(always)]
    unsafe fn digits<W: Word, M: Machine<W>>(&self, m: &M, source: u32) -> Quad<W> {
        let at = self.digits + source * self.stride + lane_coefficient(m.thread());
        // SAFETY: the caller's promises.
        unsafe { m.shared_load_quad(at, 0) }
    }

    /// What the lane supplies of the matrix for the sources `first .. first + n`: asked for a tile ahead, it is there when the tile's
    /// turn comes.
    ///
    /// # Safety
    /// As [`Machine::tile_sums`].
    #[inline(always)]
    pub unsafe fn supplied<W: Word, M: Machine<W>>(&self, m: &M, first: u32, n: u32) -> Supplied<W> {
        let mut words = [W::ZERO; GROUPS];
        unrolled!(GROUPS, i, {
            let source = source_of_lane(m.thread(), i);
            // SAFETY: the caller's promises.
            let word = unsafe { self.factor(m, first + Ord::min(source, n - 1), m.thread() % LANES / 4) };
            // A source that is not there stands for the last one, times zero.
            words[i] = if source < n { word } else { W::ZERO };
        });
        words
    }

    /// The matrix word of a source and a target of the tile.
    ///
    /// # Safety
    /// As [`Machine::tile_sums`]; `source < n_src`.
    #[inline(always)]
    unsafe fn factor<W: Word, M: Machine<W>>(&self, m: &M, source: u32, target: u32) -> W {
        let target = Ord::min(self.target + target, self.last_target);
        let position = matrix_position(source as usize, target as usize, self.n_src as usize) as u32;
        // SAFETY: the caller's promises.
        unsafe { m.table_word(self.matrix_at, position) }
    }
}

/// Products of words, each lane for itself.
///
/// # Safety
/// As [`Machine::tile_sums`].
#[inline(always)]
pub unsafe fn plain<W: Word, M: Machine<W>>(m: &M, tile: &Tile, first: u32, n: u32) -> Sums<W::Wide> {
    let mut sums = [[W::ZERO.widen(); 4]; LANE_TARGETS];
    for source in first..first + n {
        // SAFETY: the caller's promises.
        let y = unsafe { tile.digits(m, source) };
        unrolled!(LANE_TARGETS, t, {
            // SAFETY: as above.
            let factor = unsafe { tile.factor(m, source, lane_target(m.thread()) + t as u32) };
            unrolled!(4, k, {
                sums[t][k] = Scalar(y[k]).mul_acc(Scalar(factor), sums[t][k]);
            });
        });
    }
    sums
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

/// Adds the products of four sources to each diagonal.
#[inline(always)]
fn multiply_diagonals(
    sums: &mut [[u32; 4]; DIAGONALS],
    digits: [u32; 2],
    factor: u32,
    unit: &(impl MatrixUnit + ?Sized),
) {
    let columns = columns(factor);
    unrolled!(DIAGONALS, d, {
        unit.multiply(&mut sums[d], digits, columns[d]);
    });
}

/// The same by the matrix unit.
///
/// # Safety
/// As [`Machine::tile_sums`].
#[inline(always)]
pub unsafe fn by_bytes<M: Machine<u32>>(
    m: &M,
    tile: &Tile,
    supplied: Supplied<u32>,
    first: u32,
    n: u32,
    unit: &(impl MatrixUnit + ?Sized),
) -> Sums<u64> {
    let mut y = [[0; 4]; GROUPS];
    unrolled!(GROUPS, i, {
        // SAFETY: the caller's promises.
        y[i] = unsafe { tile.digits(m, first + Ord::min(source_of_lane(m.thread(), i), n - 1)) };
    });
    let mut out = [[0; 4]; LANE_TARGETS];
    // One half of a lane's coefficients after the other: with 28 words of sums and not 56 more warps fit a multiprocessor.
    unrolled!(2, h, {
        let mut sums = [[0; 4]; DIAGONALS];
        unrolled!(GROUPS, i, {
            if i == 0 || SOURCES * (i as u32) < n {
                multiply_diagonals(&mut sums, [y[i][2 * h], y[i][2 * h + 1]], supplied[i], unit);
            }
        });
        // A lane has rows g, g + 8 and columns 2 t, 2 t + 1 of a product, row by row.
        unrolled!(4, word, {
            out[word % 2][2 * h + word / 2] = sum_diagonals(sums.map(|sum| sum[word]));
        });
    });
    out
}

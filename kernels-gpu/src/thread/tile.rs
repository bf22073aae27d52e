//! A tile of the matrix product in a basis conversion: 32 coefficients by 8 targets, which a warp finds together.
//!
//! ```text
//! lane l has    coefficients 4 (l / 4) ..= 4 (l / 4) + 3,    targets 2 (l % 4), 2 (l % 4) + 1     of the tile
//! ```
//!
//! [`plain`] multiplies words. [`by_bytes`] has the matrix unit of a GPU do it: PTX `mma.m16n8k16` on unsigned bytes, four sources at a
//! time, once for each diagonal ([`bytes`]) and each half of the coefficients. Sixteen columns of a matrix row are the words of four
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
/// Sources that the matrix unit takes at a time.
const SOURCES: u32 = 4;

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

/// The same by the matrix unit. `multiply(d, a, b)` adds to `d` what PTX `mma.sync.m16n8k16.row.col.s32.u8.u8.s32` adds; all lanes
/// of the warp call it together.
///
/// # Safety
/// As [`Machine::tile_sums`]; `n` at most 16, digits and matrix words below `2^30`.
#[inline(always)]
pub unsafe fn by_bytes<M: Machine<u32>>(
    m: &M,
    tile: &Tile,
    first: u32,
    n: u32,
    multiply: impl Fn(&mut [u32; 4], [u32; 2], u32),
) -> Sums<u64> {
    let (source_of_lane, target_of_lane) = (m.thread() % SOURCES, m.thread() % LANES / 4);
    // Half h of the coefficients: 0 and 1, 2 and 3 of each lane.
    let mut sums = [[[0; 4]; DIAGONALS]; 2];
    let mut i = 0;
    while i < n {
        let source = i + source_of_lane;
        // A source that is not there stands for the last one, times zero.
        let (at, there) = (first + Ord::min(source, n - 1), source < n);
        // SAFETY: the caller's promises.
        let (y, factor) = unsafe { (tile.digits(m, at), tile.factor(m, at, target_of_lane)) };
        let columns = columns(if there { factor } else { 0 });
        unrolled!(DIAGONALS, d, {
            unrolled!(2, h, {
                multiply(&mut sums[h][d], [y[2 * h], y[2 * h + 1]], columns[d]);
            });
        });
        i += SOURCES;
    }
    // A lane has rows g, g + 8 and columns 2 t, 2 t + 1 of a product, row by row.
    let mut out = [[0; 4]; LANE_TARGETS];
    unrolled!(LANE_TARGETS, t, {
        unrolled!(4, k, {
            let mut diagonals = [0; DIAGONALS];
            unrolled!(DIAGONALS, d, {
                diagonals[d] = sums[k / 2][d][k % 2 * 2 + t];
            });
            out[t][k] = sum_diagonals(diagonals);
        });
    });
    out
}

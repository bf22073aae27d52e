//! The matrix of a [`super::ConvertBasisItem`] in the pool: its words, and behind words of 32 bits their columns.
//!
//! ```text
//! words     m_ji R mod p_j      by quads of targets: word `matrix_position(i, j)`
//! columns   of each word        by tiles of eight targets, in these by four sources: quad `columns_position(i, j)` behind the words
//! ```
//!
//! [`crate::body::bytes`] says what columns are. Those of a tile and four sources lie as the lanes of a warp take them, 16 bytes a
//! lane. Words and columns of targets and sources that are not there are zero.

use crate::body::bytes::{columns, multiples};

/// Targets whose matrix words lie side by side.
pub const CONVERT_QUAD: usize = 4;
/// Targets of a tile.
pub const TILE_TARGETS: usize = 8;
/// Sources whose columns lie side by side.
pub const TILE_SOURCES: usize = 4;

/// Where the matrix word of source `i` and target `j` lies, in words.
pub const fn matrix_position(i: usize, j: usize, n_src: usize) -> usize {
    (j / CONVERT_QUAD * n_src + i) * CONVERT_QUAD + j % CONVERT_QUAD
}

/// Words of the matrix without columns: a multiple of four.
pub const fn matrix_words(n_src: usize, n_dst: usize) -> usize {
    n_dst.div_ceil(CONVERT_QUAD).saturating_mul(n_src).saturating_mul(CONVERT_QUAD)
}

/// Which quad of those behind the words has the columns of source `i` and target `j`.
pub const fn columns_position(i: usize, j: usize, n_src: usize) -> usize {
    let group = j / TILE_TARGETS * n_src.div_ceil(TILE_SOURCES) + i / TILE_SOURCES;
    (group * TILE_TARGETS + j % TILE_TARGETS) * TILE_SOURCES + i % TILE_SOURCES
}

/// Pool words of a matrix in words of `word_bits` bits.
pub const fn matrix_pool_words(n_src: usize, n_dst: usize, word_bits: u32) -> usize {
    let words = matrix_words(n_src, n_dst);
    if word_bits != u32::BITS {
        return words;
    }
    let tiles = n_dst.div_ceil(TILE_TARGETS).saturating_mul(n_src.div_ceil(TILE_SOURCES));
    (words / 2).saturating_add(tiles.saturating_mul(2 * TILE_TARGETS * TILE_SOURCES))
}

/// The matrix word of source `i` and target `j` of a packed matrix; 0 beyond its end.
pub fn matrix_word(packed: &[u64], i: usize, j: usize, n_src: usize, word_bits: u32) -> u64 {
    let bit = matrix_position(i, j, n_src) * word_bits as usize;
    packed.get(bit / 64).map_or(0, |words| words >> (bit % 64) & (u64::MAX >> (64 - word_bits)))
}

/// Fills `packed`, of [`matrix_pool_words`], with the matrix of `n_src` sources and the targets with these primes.
/// `form(i, j)` is `m_ji R mod p_j`. For a word that is no residue, the columns are of no use either.
pub fn fill_matrix(
    packed: &mut [u64],
    n_src: usize,
    primes: &[u64],
    word_bits: u32,
    form: impl Fn(usize, usize) -> u64,
) {
    packed.fill(0);
    let (words, behind) =
        packed.split_at_mut(matrix_words(n_src, primes.len()) * word_bits as usize / u64::BITS as usize);
    for (j, &p) in primes.iter().enumerate() {
        for i in 0..n_src {
            let form = form(i, j);
            let bit = matrix_position(i, j, n_src) * word_bits as usize;
            words[bit / 64] |= form << (bit % 64);
            if word_bits == u32::BITS {
                let [a, b, c, d] = columns(multiples(form as u32, p as u32)).map(u64::from);
                let at = 2 * columns_position(i, j, n_src);
                (behind[at], behind[at + 1]) = (a | b << 32, c | d << 32);
            }
        }
    }
}

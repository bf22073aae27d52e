//! Where the words of a [`Line`](super::line::Line) that a thread works on lie in shared memory.
//!
//! Part `j` begins at word `272 j`, so that the two parts of a warp are 16 banks apart. Quad `k` of row `r` lies where
//! quad `k ^ (r / 2 % 4)` would: then eight threads that read a quad each of eight rows, four words each of 32 banks, meet no bank twice, and
//! neither do 16 threads that read a row.

use crate::abi::launch::PART_STRIDE;

/// Quad `quad` of row `row` of part `part`.
#[inline(always)]
const fn quad(part: u32, row: u32, quad: u32) -> u32 {
    part * PART_STRIDE + 16 * row + 4 * (quad ^ (row / 2 % 4))
}

/// Word 0 of the outer step; the others are [`PART_STRIDE`] apart.
#[inline(always)]
pub(super) const fn outer(thread: u32) -> u32 {
    let (row, i) = (thread / 16, thread % 16);
    quad(0, row, i / 4) + i % 4
}

/// Words of the middle step, for rows `r` with `r / 2 % 4 = 0 ..= 3`; row `r` is `16 r` words further.
#[inline(always)]
pub(super) fn middle(thread: u32) -> [u32; 4] {
    let (part, i) = (thread / 16, thread % 16);
    [0, 1, 2, 3].map(|s| part * PART_STRIDE + 4 * ((i / 4) ^ s) + i % 4)
}

/// The quads of the inner step.
#[inline(always)]
pub(super) fn inner(thread: u32) -> [u32; 4] {
    let (part, row) = (thread / 16, thread % 16);
    [0, 1, 2, 3].map(|k| quad(part, row, k))
}

/// Quad `k` of those that the thread moves.
#[inline(always)]
pub(super) const fn moved(thread: u32, k: u32) -> u32 {
    let (part, i) = (thread / 16, thread % 16);
    quad(part, i / 4 + 4 * k, i % 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::launch::{LINE_SHARED_WORDS, NTT_THREADS};
    use alloc::vec::Vec;

    /// Words of shared memory that go through the banks at a time.
    const BANKS: u32 = 32;

    /// The threads that go through together take `words` adjacent words each from where `at` says: inside shared memory, each in banks of its own.
    fn meet_no_bank_twice(words: u32, what: &str, at: impl Fn(u32) -> u32) {
        let together = BANKS / words;
        for first in (0..NTT_THREADS).step_by(together as usize) {
            let mut banks = 0u32;
            for word in (first..first + together).flat_map(|thread| (at(thread)..).take(words as usize)) {
                assert!(word < LINE_SHARED_WORDS);
                banks |= 1 << (word % BANKS);
            }
            assert_eq!(banks, u32::MAX, "{what} of threads {first} on");
        }
    }

    #[test]
    fn no_bank_is_met_twice() {
        for k in 0..16 {
            meet_no_bank_twice(1, "outer", |thread| outer(thread) + k * PART_STRIDE);
            meet_no_bank_twice(1, "middle", |thread| middle(thread)[k as usize / 2 % 4] + 16 * k);
        }
        for k in 0..4 {
            meet_no_bank_twice(4, "inner", |thread| inner(thread)[k as usize]);
            meet_no_bank_twice(4, "moved", |thread| moved(thread, k));
        }
    }

    /// Every way to reach a line reaches the same words: word `256 j + 16 r + i`.
    #[test]
    fn a_word_lies_in_one_place() {
        let mut places = Vec::new();
        for word in 0..4096u32 {
            let (j, r, i) = (word / 256, word / 16 % 16, word % 16);
            let by_outer = outer(word % 256) + j * PART_STRIDE;
            let by_middle = middle(16 * j + i)[r as usize / 2 % 4] + 16 * r;
            let by_inner = inner(16 * j + r)[i as usize / 4] + i % 4;
            let by_moved = moved(16 * j + word % 64 / 4, word % 256 / 64) + word % 4;
            assert_eq!([by_outer, by_middle, by_inner], [by_moved; 3], "word {word}");
            places.push(by_outer);
        }
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 4096);
    }
}

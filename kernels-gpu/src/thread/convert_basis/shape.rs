//! How the threads of a conversion's block share rows of its coefficients by columns.
//!
//! Coefficient `p` of a block is word `p / (256 / C)` of column `p % (256 / C)`, of `256 / C` adjacent columns of `C` words.

use super::WARP;
#[cfg(test)]
use crate::abi::launch::{CONVERT_STRIDE, CONVERT_TARGET_STRIDE};
use crate::abi::launch::{CONVERT_WORDS, LOG_LINE_WORDS};

/// How a block's threads share a row of its coefficients, with columns of `C` words: each has 16 words, or a column of 32.
pub(super) struct Shape<const C: usize>;

impl<const C: usize> Shape<C> {
    /// Threads of a row.
    pub(super) const THREADS: u32 = if C > 16 { CONVERT_WORDS / C as u32 } else { 16 };
    /// Columns of a thread, [`Self::THREADS`] apart.
    pub(super) const COLUMNS: u32 = CONVERT_WORDS / C as u32 / Self::THREADS;
    /// From a row of a warp to the next one, so that they lie in other banks: digits and coefficients are in rows of 8 and 4 words more than
    /// all banks.
    pub(super) const SOURCES_APART: u32 = Self::THREADS / 8;
    pub(super) const TARGETS_APART: u32 = Self::THREADS / 4;

    /// The first row of a thread, of so many as the block has at a time.
    #[inline(always)]
    pub(super) fn row(thread: u32, apart: u32) -> u32 {
        let (warp, lane) = (thread / WARP, thread % WARP);
        warp % apart + lane / Self::THREADS * apart + warp / apart * (WARP / Self::THREADS * apart)
    }

    /// Rows that a block has at a time.
    pub(super) const ROWS: u32 = CONVERT_WORDS / Self::THREADS;

    /// Where word `k` of column `g` of a thread is in the block: after its first word.
    #[inline(always)]
    pub(super) const fn in_block(g: usize, k: usize) -> u32 {
        (k as u32 * Self::COLUMNS + g as u32) * Self::THREADS
    }

    /// The same in a row of the ring.
    #[inline(always)]
    pub(super) const fn in_row(g: usize, k: usize) -> u32 {
        g as u32 * Self::THREADS + ((k as u32) << LOG_LINE_WORDS)
    }

    /// The first word of a thread in a row of the ring.
    #[inline(always)]
    pub(super) fn first_in_row(part: u32, thread: u32) -> u32 {
        part * (Self::COLUMNS * Self::THREADS) + thread % Self::THREADS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    /// Banks that words go through at a time.
    const BANKS: u32 = 32;

    fn rows_are_shared<const C: usize>() {
        for (apart, stride, n_rows) in [
            (Shape::<C>::SOURCES_APART, CONVERT_STRIDE, Shape::<C>::ROWS),
            (Shape::<C>::TARGETS_APART, CONVERT_TARGET_STRIDE, Shape::<C>::ROWS),
        ] {
            let place = |thread| (Shape::<C>::row(thread, apart), thread % Shape::<C>::THREADS);
            let places: BTreeSet<_> = (0..CONVERT_WORDS).map(place).collect();
            assert_eq!(places.len() as u32, CONVERT_WORDS, "{C}");
            assert!(places.iter().all(|place| place.0 < n_rows));
            for warp in 0..CONVERT_WORDS / WARP {
                let threads = (warp * WARP..).take(WARP as usize);
                let bank = |(row, lane)| (row * stride + lane) % BANKS;
                let banks: BTreeSet<_> = threads.map(|thread| bank(place(thread))).collect();
                assert_eq!(banks.len() as u32, BANKS, "columns of {C} words, warp {warp}");
            }
        }
        let words = (0..Shape::<C>::COLUMNS as usize).flat_map(|g| (0..C).map(move |k| (g, k)));
        let in_block: BTreeSet<u32> = words
            .clone()
            .flat_map(|(g, k)| (0..Shape::<C>::THREADS).map(move |lane| Shape::<C>::in_block(g, k) + lane))
            .collect();
        assert!(in_block.into_iter().eq(0..CONVERT_WORDS), "{C}");
        for (g, k) in words {
            let (p, columns) = (Shape::<C>::in_block(g, k), CONVERT_WORDS / C as u32);
            assert_eq!(Shape::<C>::in_row(g, k), p % columns + ((p / columns) << LOG_LINE_WORDS), "{C}");
        }
    }

    /// A thread has whole columns, each word is one thread's, and the words of a warp lie in all banks.
    #[test]
    fn rows_are_shared_by_columns() {
        rows_are_shared::<1>();
        rows_are_shared::<2>();
        rows_are_shared::<4>();
        rows_are_shared::<8>();
        rows_are_shared::<16>();
        rows_are_shared::<32>();
    }
}

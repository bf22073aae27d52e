//! Rows on a CPU that are written as an automorphism has them.
//!
//! ```text
//! block of four groups of lanes -> block, group in it -> group, lane in it -> lane
//! ```
//!
//! What is read is read in order, and what is written is scattered: memory brings lines ahead of who reads in order, and a row that is
//! written is in a cache. Seven rotations of a value at log N 13, read from keys where the automorphism has them and with the places of each
//! group found anew, took 2.1 ms, and take 1.2 so (two Zen 3 cores, AVX2, shared with others; 2026-11-26).

use crate::body::automorphism;
use crate::lanes::{Lanes, Word};
use core::mem::MaybeUninit;

/// Groups of lanes in a block, of which an automorphism makes a block: whole cache lines, and where it goes is found once for four groups.
pub(crate) const GROUPS: usize = 4;

const LOG_GROUPS: u32 = GROUPS.ilog2();

/// Room for LANES patterns of LANES indexes.
pub(crate) type Patterns<W> = [MaybeUninit<W>; 256];

/// An automorphism `X -> X^galois`.
pub(crate) struct Permuted<'a, W> {
    patterns: &'a Patterns<W>,
    galois: u32,
    inverse: u32,
    log_n: u32,
}

/// Where a block goes.
#[derive(Clone, Copy)]
pub(crate) struct Image {
    at: usize,
    high: u32,
}

impl<'a, W: Word> Permuted<'a, W> {
    /// Fills the patterns.
    pub(crate) fn new<L: Lanes<W>>(patterns: &'a mut Patterns<W>, galois: u32, log_n: u32) -> Self {
        // LANES <= 16.
        for (k, index) in patterns.iter_mut().enumerate().take(L::LANES * L::LANES) {
            let (lane, pattern) = ((k & (L::LANES - 1)) as u32, (k >> L::LOG_LANES) as u32);
            let from = if L::LOG_LANES > 0 {
                automorphism::lane_source(lane, pattern, galois, L::LOG_LANES)
            } else {
                0
            };
            index.write(W::from_u64(u64::from(from)));
        }
        Self { patterns, galois, inverse: automorphism::inverse_galois(galois), log_n }
    }

    /// Where the aligned block at word `at` goes.
    #[inline(always)]
    pub(crate) fn image<L: Lanes<W>>(&self, at: usize) -> Image {
        let log_block = L::LOG_LANES + LOG_GROUPS;
        let block = (at >> log_block) as u32;
        let (to, high) = automorphism::eval_group_source(block, self.inverse, self.log_n, log_block);
        Image { at: (to as usize) << log_block, high }
    }

    /// Writes group `group` of a block to the row `dst`.
    ///
    /// # Safety
    /// `group < GROUPS`; `dst` valid for the block's image; the CPU must have the instruction set of `L`.
    #[inline(always)]
    pub(crate) unsafe fn store<L: Lanes<W>>(&self, group: usize, x: L, image: Image, dst: *mut W) {
        let (to, pattern) = automorphism::eval_group_image(
            group as u32,
            image.high,
            self.galois,
            self.inverse,
            (L::LOG_LANES, LOG_GROUPS),
        );
        // SAFETY: a pattern is below LANES; the caller's promises.
        unsafe {
            let pattern = L::load(self.patterns.as_ptr().cast::<W>().add((pattern as usize) << L::LOG_LANES));
            x.permute(pattern).store(dst.add(image.at + ((to as usize) << L::LOG_LANES)));
        }
    }
}

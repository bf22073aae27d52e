//! Checked memory: who wrote what, and when.

use crate::abi::RowRef;
use crate::lanes::Word;
use alloc::vec::Vec;

/// Threads of a warp.
const WARP: u32 = 32;

/// Shared memory of a block: the word, and the (phase, thread) that wrote it.
#[derive(Debug)]
pub(super) struct Shared<W> {
    words: Vec<Option<(W, u32, u32)>>,
    /// The last phase that a barrier of the block has ended; since then barriers are of warps.
    ended: Option<u32>,
}

impl<W: Word> Shared<W> {
    pub(super) fn new(n_words: usize) -> Self {
        Self { words: alloc::vec![None; n_words], ended: None }
    }

    /// A barrier of the block after phase `phase`.
    pub(super) fn barrier(&mut self, phase: u32) {
        self.ended = Some(phase);
    }

    /// Whether what `writer` did to a word in phase `wrote_in` is over for `thread` in `phase`.
    fn is_over(&self, (wrote_in, writer): (u32, u32), (phase, thread): (u32, u32)) -> bool {
        let in_warp = wrote_in < phase && writer / WARP == thread / WARP;
        writer == thread || in_warp || self.ended.is_some_and(|ended| wrote_in <= ended)
    }

    /// Word `at`, written in an earlier phase or by this thread.
    pub(super) fn read(&self, at: u32, (phase, thread): (u32, u32)) -> W {
        let Some((word, wrote_in, writer)) = self.words[at as usize] else {
            unreachable!("shared word {at} read before it was written")
        };
        let over = self.is_over((wrote_in, writer), (phase, thread));
        assert!(over, "shared word {at} raced by thread {thread}");
        word
    }

    /// Writes word `at`.
    pub(super) fn write(&mut self, at: u32, word: W, (phase, thread): (u32, u32)) {
        if let Some((_, wrote_in, writer)) = self.words[at as usize] {
            let over = self.is_over((wrote_in, writer), (phase, thread));
            assert!(over, "shared word {at} raced by thread {thread}");
        }
        self.words[at as usize] = Some((word, phase, thread));
    }
}

/// Nobody has written the word.
const NOBODY: u32 = u32::MAX;

/// The rows that are bound, by slot, and which thread of the grid wrote what in this grid.
#[derive(Debug)]
pub(super) struct Global<'a, W> {
    slots: &'a mut [Vec<W>],
    writers: Vec<Vec<u32>>,
    log_n: u32,
}

impl<'a, W: Word> Global<'a, W> {
    pub(super) fn new(slots: &'a mut [Vec<W>], log_n: u32) -> Self {
        let writers = slots.iter().map(|s| alloc::vec![NOBODY; s.len()]).collect();
        Self { slots, writers, log_n }
    }

    fn place(&self, row: RowRef, at: u32) -> (usize, usize) {
        assert!(at >> self.log_n == 0, "word {at} of a row of 2^{}", self.log_n);
        (row.slot as usize, ((row.row as usize) << self.log_n) + at as usize)
    }

    /// Word `at` of a row, which no other thread has written.
    pub(super) fn read(&self, row: RowRef, at: u32, thread: u32) -> W {
        let (slot, at) = self.place(row, at);
        let writer = self.writers[slot][at];
        assert!(writer == NOBODY || writer == thread, "global word {at} of slot {slot} raced");
        self.slots[slot][at]
    }

    /// Writes word `at` of a row, once.
    pub(super) fn write(&mut self, row: RowRef, at: u32, word: W, thread: u32) {
        let (slot, at) = self.place(row, at);
        assert!(self.writers[slot][at] == NOBODY, "global word {at} of slot {slot} written twice");
        self.writers[slot][at] = thread;
        self.slots[slot][at] = word;
    }
}

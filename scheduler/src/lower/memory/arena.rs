//! The arena: which row holds which residue polynomial, and when.
//!
//! A row is free for use again after the last launch that reads it; since rows are addressed one by one
//! there is no fragmentation, and taking the lowest free row is optimal: the peak is the largest number of
//! rows that live at once. Inside a launch nothing is reused, but an item may write over an operand that
//! only it reads and that dies with it, where the kernel allows.

use std::collections::BTreeSet;

/// Hands out rows.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    free: BTreeSet<u32>,
    peak: u32,
}

impl Arena {
    /// The lowest row that is not in use and not below `floor`: the rows of the callees that are called while it is in use.
    pub(crate) fn take(&mut self, floor: u32) -> u32 {
        self.reserve(floor);
        let free = self.free.range(floor..).next().copied();
        free.inspect(|row| _ = self.free.remove(row)).unwrap_or_else(|| {
            self.peak += 1;
            self.peak - 1
        })
    }

    /// Makes the arena have at least so many rows.
    pub(crate) fn reserve(&mut self, rows: u32) {
        self.free.extend(self.peak..rows);
        self.peak = self.peak.max(rows);
    }

    /// Gives a row back.
    pub(crate) fn release(&mut self, row: u32) {
        self.free.insert(row);
    }

    /// The number of rows that were in use at once.
    pub(crate) fn peak(&self) -> u32 {
        self.peak
    }
}

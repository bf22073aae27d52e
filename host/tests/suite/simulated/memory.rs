//! Device memory that knows what was allocated and what was written.
//!
//! ```text
//! address of byte b of allocation i = FIRST + i APART + b
//! ```
//!
//! No host has such addresses, no two allocations are neighbours, and none is used twice; so a wild address is found
//! out. Sizes count in words of four bytes, as kernels reach them.

use kernels_gpu::emulator::Space;
use std::cell::{Cell, RefCell};

/// The first address: not one of a host.
const FIRST: u64 = 0xD0 << 56;
/// From one allocation to the next: more than any is large.
const APART: u64 = 1 << 36;

/// A word that was written since the allocation and the last fill.
const WRITTEN: u64 = 1 << 32;

struct Block {
    bytes: u64,
    /// The word in the lower half, and whether it was written.
    cells: Vec<u64>,
}

/// All allocations, by number; freed ones leave a gap.
#[derive(Default)]
pub struct Memory {
    blocks: Vec<Option<Block>>,
}

impl Memory {
    pub fn allocate(&mut self, bytes: u64) -> u64 {
        let n_words = bytes.div_ceil(4) as usize;
        // What memory holds when it is given out is anything but zero.
        self.blocks.push(Some(Block { bytes, cells: vec![0xDEAD_BEEF; n_words] }));
        FIRST + (self.blocks.len() as u64 - 1) * APART
    }

    /// Frees an allocation; its size.
    pub fn free(&mut self, address: u64) -> Result<u64, String> {
        let (idx, offset) = place(address);
        let block = match self.blocks.get_mut(idx) {
            Some(block) if offset == 0 => block,
            _ => return Err(format!("free of {address:#x}, which was not allocated")),
        };
        block.take().map(|b| b.bytes).ok_or_else(|| format!("free of {address:#x}, which is free"))
    }

    pub fn n_blocks(&self) -> usize {
        self.blocks.iter().flatten().count()
    }

    pub fn bytes(&self) -> u64 {
        self.blocks.iter().flatten().map(|b| b.bytes).sum()
    }

    /// The words of an access.
    fn find(&mut self, at: u64, bytes: u64) -> Result<&mut [u64], String> {
        let (idx, offset) = place(at);
        let block = match self.blocks.get_mut(idx) {
            _ if at < FIRST => return Err(format!("{bytes} bytes at {at:#x}: not an address of the device")),
            None => return Err(format!("{bytes} bytes at {at:#x}: no allocation")),
            Some(None) => {
                return Err(format!("{bytes} bytes at {at:#x}: use after free of allocation {idx}"));
            }
            Some(Some(block)) => block,
        };
        if offset + bytes > block.bytes {
            let size = block.bytes;
            return Err(format!("{bytes} bytes at {at:#x}: byte {offset} of the {size} of allocation {idx}"));
        }
        Ok(&mut block.cells[offset as usize / 4..][..bytes.div_ceil(4) as usize])
    }

    pub fn copy_in(&mut self, to: u64, from: &[u8]) -> Result<(), String> {
        for (cell, bytes) in self.find(to, from.len() as u64)?.iter_mut().zip(from.chunks(4)) {
            let mut word = (*cell as u32).to_le_bytes();
            word[..bytes.len()].copy_from_slice(bytes);
            *cell = u64::from(u32::from_le_bytes(word)) | WRITTEN;
        }
        Ok(())
    }

    pub fn copy_out(&mut self, to: &mut [u8], from: u64) -> Result<(), String> {
        let cells = self.find(from, to.len() as u64)?;
        for (i, (bytes, &mut cell)) in to.chunks_mut(4).zip(cells).enumerate() {
            if cell & WRITTEN == 0 {
                return Err(format!("copy of {from:#x} and on: word {i} was never written"));
            }
            bytes.copy_from_slice(&(cell as u32).to_le_bytes()[..bytes.len()]);
        }
        Ok(())
    }

    /// Sets every byte. The backend fills with poison alone, so filled words count as never written.
    pub fn fill(&mut self, to: u64, byte: u8, bytes: u64) -> Result<(), String> {
        self.find(to, bytes)?.fill(u64::from(u32::from_le_bytes([byte; 4])));
        Ok(())
    }
}

/// Number of the allocation and byte in it.
fn place(at: u64) -> (usize, u64) {
    let from_first = at.wrapping_sub(FIRST);
    ((from_first / APART) as usize, from_first % APART)
}

/// The memory as a running kernel sees it; the first rule that it breaks is kept.
pub struct Seen<'a> {
    memory: RefCell<&'a mut Memory>,
    fault: RefCell<Option<String>>,
    /// Stores until one is lost.
    loses: Option<&'a Cell<u64>>,
}

impl<'a> Seen<'a> {
    pub fn new(memory: &'a mut Memory, loses: Option<&'a Cell<u64>>) -> Self {
        Self { memory: RefCell::new(memory), fault: RefCell::default(), loses }
    }

    pub fn fault(self) -> Option<String> {
        self.fault.into_inner()
    }

    /// Whether this store is the one to be lost.
    fn loses_this(&self) -> bool {
        let Some(left) = self.loses else { return false };
        let now = left.get();
        left.set(now.wrapping_sub(1));
        now == 0
    }
}

impl Space for Seen<'_> {
    /// # Safety
    /// None is needed: every access is checked.
    unsafe fn read(&self, at: u64, words: &mut [u32]) {
        let mut memory = self.memory.borrow_mut();
        let mut written = WRITTEN;
        match memory.find(at, 4 * words.len() as u64) {
            Ok(cells) => {
                for (word, &mut cell) in words.iter_mut().zip(cells) {
                    *word = cell as u32;
                    written &= cell;
                }
            }
            Err(what) => return Space::fault(self, what),
        }
        if written == 0 {
            Space::fault(self, format!("word at {at:#x} is read, which was never written"));
        }
    }

    /// # Safety
    /// None is needed: every access is checked.
    unsafe fn write(&self, at: u64, words: &[u32]) {
        if self.loses_this() {
            return;
        }
        match self.memory.borrow_mut().find(at, 4 * words.len() as u64) {
            Ok(cells) => {
                for (cell, &word) in cells.iter_mut().zip(words) {
                    *cell = u64::from(word) | WRITTEN;
                }
            }
            Err(what) => Space::fault(self, what),
        }
    }

    fn fault(&self, what: String) {
        self.fault.borrow_mut().get_or_insert(what);
    }
}

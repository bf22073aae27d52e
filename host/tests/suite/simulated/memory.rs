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

struct Block {
    bytes: u64,
    words: Vec<u32>,
    written: Vec<bool>,
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
        let block = Block { bytes, words: vec![0xDEAD_BEEF; n_words], written: vec![false; n_words] };
        self.blocks.push(Some(block));
        FIRST + (self.blocks.len() as u64 - 1) * APART
    }

    /// Frees an allocation; its size.
    pub fn free(&mut self, address: u64) -> Result<u64, String> {
        let idx = address.wrapping_sub(FIRST) / APART;
        let block = match self.blocks.get_mut(idx as usize) {
            Some(block) if address == FIRST + idx * APART => block,
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

    /// The block and the first word of an access.
    fn find(&mut self, at: u64, bytes: u64) -> Result<(&mut Block, usize), String> {
        let (idx, offset) = (at.wrapping_sub(FIRST) / APART, at.wrapping_sub(FIRST) % APART);
        let access = || format!("{bytes} bytes at {at:#x}");
        match self.blocks.get_mut(idx as usize) {
            _ if at < FIRST => Err(format!("{}: not an address of the device", access())),
            None => Err(format!("{}: no allocation", access())),
            Some(None) => Err(format!("{}: use after free of allocation {idx}", access())),
            Some(Some(block)) if offset + bytes > block.bytes => {
                let size = block.bytes;
                Err(format!("{}: byte {offset} of the {size} of allocation {idx}", access()))
            }
            Some(Some(block)) => Ok((block, offset as usize / 4)),
        }
    }

    pub fn copy_in(&mut self, to: u64, from: &[u8]) -> Result<(), String> {
        let (block, first) = self.find(to, from.len() as u64)?;
        let n = from.len().div_ceil(4);
        block.written[first..first + n].fill(true);
        for (word, bytes) in block.words[first..].iter_mut().zip(from.chunks(4)) {
            let mut padded = word.to_le_bytes();
            padded[..bytes.len()].copy_from_slice(bytes);
            *word = u32::from_le_bytes(padded);
        }
        Ok(())
    }

    pub fn copy_out(&mut self, to: &mut [u8], from: u64) -> Result<(), String> {
        let (block, first) = self.find(from, to.len() as u64)?;
        let n = to.len().div_ceil(4);
        if let Some(at) = block.written[first..first + n].iter().position(|&w| !w) {
            return Err(format!("copy of word {} of an allocation, which was never written", first + at));
        }
        for (bytes, word) in to.chunks_mut(4).zip(&block.words[first..]) {
            bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
        }
        Ok(())
    }

    /// Sets every byte. The backend fills with poison alone, so filled words count as never written.
    pub fn fill(&mut self, to: u64, byte: u8, bytes: u64) -> Result<(), String> {
        let (block, first) = self.find(to, bytes)?;
        let words = first..first + bytes.div_ceil(4) as usize;
        block.words[words.clone()].fill(u32::from_le_bytes([byte; 4]));
        block.written[words].fill(false);
        Ok(())
    }
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
        match memory.find(at, 4 * words.len() as u64) {
            Ok((block, first)) if block.written[first..first + words.len()].iter().all(|&w| w) => {
                words.copy_from_slice(&block.words[first..first + words.len()]);
            }
            Ok(_) => Space::fault(self, format!("word at {at:#x} is read, which was never written")),
            Err(what) => Space::fault(self, what),
        }
    }

    /// # Safety
    /// None is needed: every access is checked.
    unsafe fn write(&self, at: u64, words: &[u32]) {
        if self.loses_this() {
            return;
        }
        let mut memory = self.memory.borrow_mut();
        match memory.find(at, 4 * words.len() as u64) {
            Ok((block, first)) => {
                block.words[first..first + words.len()].copy_from_slice(words);
                block.written[first..first + words.len()].fill(true);
            }
            Err(what) => Space::fault(self, what),
        }
    }

    fn fault(&self, what: String) {
        self.fault.borrow_mut().get_or_insert(what);
    }
}

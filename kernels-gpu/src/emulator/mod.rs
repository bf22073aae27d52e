//! A GPU's order of execution, on the host, for tests: the same bodies run thread by thread.
//!
//! A [`ThreadKernel`] is a grid of blocks of threads; its code is cut into phases at the barriers. The emulator runs one
//! phase for all threads of a block, then the next, so a value that crosses threads must go through shared memory
//! and a barrier. It checks what a GPU would not:
//!
//! * shared memory starts poisoned: a word that nobody wrote is not read;
//! * a word that one thread wrote in this phase is neither read nor written by another in it;
//! * each global word is written once a launch, and not read by a thread after another has written it.
//!
//! Breaking a rule fails an assertion. This is the third witness of the tests: naive oracle = CPU rows = emulator.

mod ntt;
mod pointwise;

use crate::abi::{Launch, RowRef};
use crate::body::tables::RingTables;
use crate::lanes::Word;
use alloc::vec::Vec;

/// One kernel as a GPU sees it.
pub trait ThreadKernel<W: Word> {
    /// What a thread keeps from one phase to the next.
    type Regs: Clone;
    /// Phases, one more than barriers.
    const PHASES: usize;

    /// (blocks, threads a block, words of shared memory a block).
    fn grid(&self) -> (usize, usize, usize);
    /// The registers at the start of a thread.
    fn start(&self) -> Self::Regs;
    /// What thread `thread` of block `block` does between two barriers.
    fn phase(
        &self,
        phase: usize,
        block: usize,
        thread: usize,
        regs: &mut Self::Regs,
        shared: &mut Shared<W>,
        global: &mut Global<'_, W>,
    );
}

/// Shared memory of a block: the word, and the (phase, thread) that wrote it.
#[derive(Debug)]
pub struct Shared<W> {
    words: Vec<Option<(W, usize, usize)>>,
    now: (usize, usize),
}

impl<W: Word> Shared<W> {
    /// Word `at`, written in an earlier phase or by this thread.
    pub fn read(&self, at: usize) -> W {
        let slot = self.words[at];
        assert!(slot.is_some(), "shared word {at} read before it was written");
        let (word, phase, thread) = slot.unwrap_or((W::ZERO, 0, 0));
        assert!(phase < self.now.0 || thread == self.now.1, "shared word {at} raced by thread {thread}");
        word
    }

    /// Writes word `at`.
    pub fn write(&mut self, at: usize, word: W) {
        if let Some((_, phase, thread)) = self.words[at] {
            assert!(phase < self.now.0 || thread == self.now.1, "shared word {at} raced by thread {thread}");
        }
        self.words[at] = Some((word, self.now.0, self.now.1));
    }
}

/// The rows that are bound, by slot, and who wrote what in this launch.
#[derive(Debug)]
pub struct Global<'a, W> {
    slots: &'a mut [Vec<W>],
    writers: Vec<Vec<Option<usize>>>,
    log_n: u32,
    now: usize,
}

impl<'a, W: Word> Global<'a, W> {
    fn new(slots: &'a mut [Vec<W>], log_n: u32) -> Self {
        let writers = slots.iter().map(|s| alloc::vec![None; s.len()]).collect();
        Self { slots, writers, log_n, now: 0 }
    }

    /// Word `at` of a row.
    pub fn read(&self, row: RowRef, at: usize) -> W {
        let (slot, at) = (row.slot as usize, ((row.row as usize) << self.log_n) + at);
        let writer = self.writers[slot][at];
        assert!(writer.is_none_or(|w| w == self.now), "global word {at} of slot {slot} raced");
        self.slots[slot][at]
    }

    /// Writes word `at` of a row.
    pub fn write(&mut self, row: RowRef, at: usize, word: W) {
        let (slot, at) = (row.slot as usize, ((row.row as usize) << self.log_n) + at);
        assert!(self.writers[slot][at].is_none(), "global word {at} of slot {slot} written twice");
        self.writers[slot][at] = Some(self.now);
        self.slots[slot][at] = word;
    }
}

/// Runs every thread of a kernel.
fn run_kernel<W: Word, K: ThreadKernel<W>>(kernel: &K, global: &mut Global<'_, W>) {
    let (n_blocks, n_threads, n_shared) = kernel.grid();
    for block in 0..n_blocks {
        let mut shared = Shared { words: alloc::vec![None; n_shared], now: (0, 0) };
        let mut regs = alloc::vec![kernel.start(); n_threads];
        for phase in 0..K::PHASES {
            for (thread, regs) in regs.iter_mut().enumerate() {
                shared.now = (phase, thread);
                global.now = block * n_threads + thread;
                kernel.phase(phase, block, thread, regs, &mut shared, global);
            }
        }
    }
}

/// Runs a launch on `slots`, one vector of rows a slot; `ring` has twiddles in plain order.
///
/// # Panics
/// When a kernel breaks a rule of the machine, or the pool or the rows are not what the launch says.
pub fn run_launch<W: Word>(launch: &Launch, pool: &[u64], slots: &mut [Vec<W>], ring: &RingTables<'_, W>) {
    let words = launch.kernel.item().pool_words();
    for idx in 0..launch.n_items as usize {
        let at = launch.items_at as usize + idx * words;
        if matches!(launch.kernel, crate::abi::KernelId::Ntt | crate::abi::KernelId::Intt) {
            ntt::run(launch.kernel, entry(pool, at), slots, ring);
        } else {
            let mut global = Global::new(slots, ring.log_n);
            pointwise::run(launch.kernel, pool, at, &mut global, ring);
        }
    }
}

/// The `T` at pool index `at`.
fn entry<T: bytemuck::Pod>(pool: &[u64], at: usize) -> T {
    bytemuck::pod_read_unaligned(bytemuck::cast_slice(&pool[at..at + size_of::<T>() / 8]))
}

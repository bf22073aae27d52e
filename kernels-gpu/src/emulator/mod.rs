//! A GPU's order of execution, on the host, for tests: the kernels of [`crate::thread`], thread by thread.
//!
//! The emulator launches the grid of the contract, runs one phase for all threads of a block, then the next, so a
//! value that crosses threads must go through shared memory and a barrier. It checks what a GPU would not:
//!
//! * shared memory has the contract's size and starts poisoned: a word that nobody wrote is not read;
//! * a word that one thread wrote in this phase is neither read nor written by another in it;
//! * each global word is written once an entry, and not read by a thread after another has written it;
//! * a thread waits for the launches before, once, before it touches a row;
//! * accesses of several words are aligned, indexes are inside the row, the table or the pool.
//!
//! Breaking a rule fails an assertion. This is the third witness of the tests: naive oracle = CPU rows = emulator.

mod memory;
mod pointers;
#[cfg(test)]
mod warp;

use crate::abi::launch::{INNER_POWERS, KernelArgs, contract, n_entries, n_factors, n_powers, shared_bytes};
use crate::abi::{KernelId, Launch, RowRef};
use crate::body::shoup::{ButterflyConstants, Factor};
use crate::body::tables::{PrimeConstants, RingTables};
use crate::lanes::Word;
use crate::thread::{
    Machine, Pair, Quad, ThreadKernel, convert_basis, encode, every_kernel, has_item, inner_product, ntt,
    pointwise,
};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell, RefMut};
use memory::{Global, Shared};
#[cfg(test)]
pub(crate) use pointers::lone_thread;
pub use pointers::{EmulatedGrid, Space, has_entry, run_addressed, run_args};

/// A thread and what it can reach.
struct Thread<'a, 'b, W> {
    args: &'a KernelArgs,
    block: u32,
    thread: u32,
    /// Index in the grid.
    in_grid: u32,
    phase: u32,
    pool: &'a [u64],
    ring: &'a RingTables<'a, W>,
    /// Whether it may touch rows.
    waited: Cell<bool>,
    /// What is on its way to shared memory.
    fetched: &'a RefCell<Vec<(u32, Quad<W>)>>,
    shared: &'a RefCell<Shared<W>>,
    global: &'a RefCell<Global<'b, W>>,
}

impl<'b, W> Thread<'_, 'b, W> {
    fn rows(&self) -> RefMut<'_, Global<'b, W>> {
        assert!(self.waited.get(), "a row is touched before the thread has waited for it");
        self.global.borrow_mut()
    }
}

impl<W: Word> Thread<'_, '_, W> {
    /// Factor `w[at]` of the ring.
    fn power(&self, prime: u32, at: u32) -> Factor<W> {
        let prime = &self.ring.primes[prime as usize];
        Factor::from_montgomery(prime.twiddles[at as usize], &prime.constants)
    }
}

/// `at` is a multiple of the access's words.
fn aligned(at: u32, words: u32) -> u32 {
    assert!(at.is_multiple_of(words), "word {at} is not aligned to {words} words");
    at
}

impl<W: Word> Machine<W> for Thread<'_, '_, W> {
    type Row = RowRef;
    type Table = u32;

    fn args(&self) -> &KernelArgs {
        self.args
    }
    fn block(&self) -> u32 {
        self.block
    }
    fn thread(&self) -> u32 {
        self.thread
    }

    fn wait_for_rows(&self) {
        assert!(!self.waited.replace(true), "a thread waits for rows a second time");
    }

    unsafe fn pool_word(&self, at: u32, plus: u32) -> u64 {
        self.pool[(at + plus) as usize]
    }
    fn here(&self, x: u32) -> u32 {
        x
    }
    unsafe fn pool_word_anew(&self, at: u32, plus: u32) -> u64 {
        self.pool[(at + plus) as usize]
    }
    unsafe fn table_word(&self, at: u32, idx: u32) -> W {
        let words: &[W] = bytemuck::cast_slice(&self.pool[at as usize..]);
        words[idx as usize]
    }
    unsafe fn table_quad(&self, at: u32, idx: u32) -> Quad<W> {
        let words: &[W] = bytemuck::cast_slice(&self.pool[aligned(at, 2) as usize..]);
        [0, 1, 2, 3].map(|k| words[aligned(idx, 4) as usize + k])
    }
    unsafe fn row(&self, row: RowRef) -> RowRef {
        row
    }
    fn words_of_row(row: RowRef) -> Pair<W> {
        [row.slot, row.row].map(|word| W::from_u64(u64::from(word)))
    }
    fn row_of_words(words: Pair<W>) -> RowRef {
        let [slot, row] = words.map(|word| word.to_u64() as u32);
        RowRef { slot, row }
    }
    unsafe fn prime(&self, prime: u32) -> PrimeConstants<W> {
        self.ring.primes[prime as usize].constants
    }
    unsafe fn butterflies(&self, prime: u32) -> (ButterflyConstants<W>, u32) {
        (ButterflyConstants::new(&self.ring.primes[prime as usize].constants), prime)
    }

    unsafe fn factor(&self, table: u32, at: u32) -> Factor<W> {
        let log_n = self.ring.log_n;
        let Some(at) = at.checked_sub(n_factors(log_n)) else { return self.power(table, at) };
        assert!(at < n_powers(log_n), "power {at} of a table");
        self.power(table, (n_factors(log_n) + at / INNER_POWERS) << (at % INNER_POWERS))
    }
    unsafe fn factor_pair(&self, table: u32, at: u32, plus: u32) -> [Factor<W>; 2] {
        let at = aligned(at + plus, 2);
        // SAFETY: every access is checked.
        unsafe { [self.factor(table, at), self.factor(table, at + 1)] }
    }

    unsafe fn load(&self, row: RowRef, at: u32, plus: u32) -> W {
        self.rows().read(row, at + plus, self.in_grid)
    }
    unsafe fn load_quad(&self, row: RowRef, at: u32, plus: u32) -> Quad<W> {
        let (global, at) = (self.rows(), aligned(at + plus, 4));
        [0, 1, 2, 3].map(|k| global.read(row, at + k, self.in_grid))
    }
    unsafe fn store(&self, row: RowRef, at: u32, plus: u32, word: W) {
        self.rows().write(row, at + plus, word, self.in_grid);
    }
    unsafe fn store_quad(&self, row: RowRef, at: u32, plus: u32, words: Quad<W>) {
        let (mut global, at) = (self.rows(), aligned(at + plus, 4));
        for (at, word) in (at..).zip(words) {
            global.write(row, at, word, self.in_grid);
        }
    }

    unsafe fn store_pair(&self, row: RowRef, at: u32, plus: u32, words: Pair<W>) {
        let (mut global, at) = (self.rows(), aligned(at + plus, 2));
        for (at, word) in (at..).zip(words) {
            global.write(row, at, word, self.in_grid);
        }
    }

    unsafe fn load_double(&self, row: RowRef, at: u32) -> f64 {
        assert!(at >> (self.ring.log_n - 1) == 0, "double {at} of a row of 2^{}", self.ring.log_n);
        let words = 64 / W::BITS;
        let word = |k| self.rows().read(row, words * at + k, self.in_grid).to_u64() << (k * W::BITS);
        f64::from_bits((0..words).map(word).sum())
    }
    unsafe fn store_double(&self, row: RowRef, at: u32, x: f64) {
        assert!(at >> (self.ring.log_n - 1) == 0, "double {at} of a row of 2^{}", self.ring.log_n);
        let words = 64 / W::BITS;
        for k in 0..words {
            let word = W::from_u64(x.to_bits() >> (k * W::BITS));
            self.rows().write(row, words * at + k, word, self.in_grid);
        }
    }

    unsafe fn fetch_quad(&self, row: RowRef, at: u32, plus: u32, to: u32) {
        // SAFETY: every access is checked.
        let quad = unsafe { self.load_quad(row, at, plus) };
        self.fetched.borrow_mut().push((to, quad));
    }
    fn wait_for_fetched(&self) {
        for (to, quad) in self.fetched.borrow_mut().drain(..) {
            // SAFETY: every access is checked.
            unsafe { self.shared_store_quad(to, 0, quad) };
        }
    }

    unsafe fn shared_load(&self, at: u32, plus: u32) -> W {
        self.shared.borrow().read(at + plus, (self.phase, self.thread))
    }
    unsafe fn shared_load_pair(&self, at: u32, plus: u32) -> Pair<W> {
        let (shared, at) = (self.shared.borrow(), aligned(at + plus, 2));
        [0, 1].map(|k| shared.read(at + k, (self.phase, self.thread)))
    }
    unsafe fn shared_load_quad(&self, at: u32, plus: u32) -> Quad<W> {
        let (shared, at) = (self.shared.borrow(), aligned(at + plus, 4));
        [0, 1, 2, 3].map(|k| shared.read(at + k, (self.phase, self.thread)))
    }
    unsafe fn shared_store(&self, at: u32, plus: u32, word: W) {
        self.shared.borrow_mut().write(at + plus, word, (self.phase, self.thread));
    }
    unsafe fn shared_store_pair(&self, at: u32, plus: u32, words: Pair<W>) {
        let (mut shared, at) = (self.shared.borrow_mut(), aligned(at + plus, 2));
        for (at, word) in (at..).zip(words) {
            shared.write(at, word, (self.phase, self.thread));
        }
    }
    unsafe fn shared_store_quad(&self, at: u32, plus: u32, words: Quad<W>) {
        let (mut shared, at) = (self.shared.borrow_mut(), aligned(at + plus, 4));
        for (at, word) in (at..).zip(words) {
            shared.write(at, word, (self.phase, self.thread));
        }
    }
}

/// Runs every thread of one entry.
fn run_grid<W: Word, K: ThreadKernel<W>>(
    launch: &Launch,
    pool: &[u64],
    slots: &mut [Vec<W>],
    ring: &RingTables<'_, W>,
) {
    let log_n = ring.log_n;
    let contract = contract(K::KERNEL, K::ENTRY_IDX, log_n, size_of::<W>() as u32);
    assert!(contract.is_some(), "no contract for {} at log N = {log_n}", launch.kernel.name());
    let Some(contract) = contract else { return };
    let (items_at, n_items) = (launch.items_at, launch.n_items);
    // No addresses here: a row is its name, a table its prime.
    let args = KernelArgs { bindings: 0, pool: 0, primes: 0, items_at, n_items, log_n, row_bytes: 0 };
    let global = RefCell::new(Global::new(slots, log_n));
    let shared_bytes = shared_bytes(launch, pool, size_of::<W>() as u32).unwrap_or(contract.shared_bytes);
    // One block too many: it must do nothing.
    for block in 0..=contract.blocks(n_items, log_n) {
        let shared = RefCell::new(Shared::new(shared_bytes as usize / size_of::<W>()));
        let n_threads = contract.threads as usize;
        let mut states = alloc::vec![K::start(); n_threads];
        let fetched: Vec<_> = (0..n_threads).map(|_| RefCell::default()).collect();
        let thread = |thread: u32, phase: u32| Thread {
            args: &args,
            block,
            thread,
            in_grid: block * contract.threads + thread,
            phase,
            pool,
            ring,
            waited: Cell::new(phase > 0),
            fetched: &fetched[thread as usize],
            shared: &shared,
            global: &global,
        };
        if !has_item::<W, K, _>(&thread(0, 0)) {
            continue;
        }
        // SAFETY: every access is checked, here and below.
        let rounds = unsafe { K::rounds(&thread(0, 0)) };
        for step in 0..rounds * K::PHASES {
            for (t, state) in (0..contract.threads).zip(&mut states) {
                let m = thread(t, step);
                // SAFETY: as above.
                unsafe { K::phase_of_round(&m, state, step / K::PHASES, step % K::PHASES) };
                assert!(m.waited.get(), "{} never waits for rows", contract.entry);
            }
            if K::WARP_BARRIERS >> (step % K::PHASES) & 1 == 0 {
                shared.borrow_mut().barrier(step);
            }
        }
        assert!(fetched.iter().all(|f| f.borrow().is_empty()), "{} does not wait for all", contract.entry);
    }
}

/// Finds a kernel function by its name in the contract.
macro_rules! dispatch {
    ($($name:ident: $kernel:ty,)*) => {
        fn run_entry<W: Word>(
            entry: &str,
            launch: &Launch,
            pool: &[u64],
            slots: &mut [Vec<W>],
            ring: &RingTables<'_, W>,
        ) {
            match entry {
                $(stringify!($name) => run_grid::<W, $kernel>(launch, pool, slots, ring),)*
                _ => unreachable!("no kernel function {entry}"),
            }
        }
    };
}
every_kernel!(dispatch);

/// Runs a launch on `slots`, one vector of rows a slot; `ring` has twiddles in plain order and a `log N` of the GPU's
/// kernels ([`crate::abi::launch::GPU_MIN_LOG_N`] and above).
///
/// # Panics
/// When a kernel breaks a rule of the machine, or the pool or the rows are not what the launch says.
pub fn run_launch<W: Word>(launch: &Launch, pool: &[u64], slots: &mut [Vec<W>], ring: &RingTables<'_, W>) {
    for entry_idx in 0..n_entries(launch.kernel) {
        let contract = contract(launch.kernel, entry_idx, ring.log_n, size_of::<W>() as u32);
        assert!(contract.is_some(), "no contract for {} at log N = {}", launch.kernel.name(), ring.log_n);
        if let Some(contract) = contract {
            run_entry(contract.entry, launch, pool, slots, ring);
        }
    }
}

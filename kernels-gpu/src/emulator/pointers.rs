//! Threads that reach memory by the addresses of a [`KernelArgs`], as on a GPU.
//!
//! [`Space`] is what lies at the addresses: memory of the host ([`run_args`]), or a simulated device's, which knows what
//! was allocated ([`run_addressed`]). Alignment, shared memory, grid and argument are checked here; that an address is right is
//! for the space to say, or shows in the results.

use super::every_kernel;
use crate::abi::KernelId;
use crate::abi::launch::{KernelArgs, contract, n_entries};
use crate::thread::addressed::{Addressed, Isa};
use crate::thread::{
    Pair, Quad, ThreadKernel, convert_basis, encode, has_item, inner_product, ntt, pointwise,
};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;

/// Global memory by address, in words of four bytes.
pub trait Space {
    /// Reads words. What is not there is left as it is, after a [`Space::fault`].
    ///
    /// # Safety
    /// As the space says.
    unsafe fn read(&self, at: u64, words: &mut [u32]);

    /// Writes words. What is not there is not written, after a [`Space::fault`].
    ///
    /// # Safety
    /// As the space says.
    unsafe fn write(&self, at: u64, words: &[u32]);

    /// A rule of the machine was broken. The access has no effect, and the launch goes on if this returns.
    fn fault(&self, what: String);
}

/// Grid and block of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmulatedGrid {
    /// Blocks.
    pub blocks: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory of a block, in bytes.
    pub shared_bytes: u32,
}

/// Memory of the host at its exposed addresses.
struct HostMemory;

impl Space for HostMemory {
    /// # Safety
    /// The address is valid for it.
    unsafe fn read(&self, at: u64, words: &mut [u32]) {
        let from: *const u32 = core::ptr::with_exposed_provenance(at as usize);
        // SAFETY: the caller's promise; the words are the caller's own.
        unsafe { from.copy_to_nonoverlapping(words.as_mut_ptr(), words.len()) };
    }

    /// # Safety
    /// The address is valid for it.
    unsafe fn write(&self, at: u64, words: &[u32]) {
        let to: *mut u32 = core::ptr::with_exposed_provenance_mut(at as usize);
        // SAFETY: the caller's promise; the words are the caller's own.
        unsafe { to.copy_from_nonoverlapping(words.as_ptr(), words.len()) };
    }

    fn fault(&self, what: String) {
        unreachable!("{what}")
    }
}

/// A thread and its block's shared memory.
struct Pointers<'a> {
    block: u32,
    thread: u32,
    shared: &'a RefCell<Vec<u32>>,
    space: &'a dyn Space,
}

impl Pointers<'_> {
    fn is_aligned(&self, at: u64, words: usize) -> bool {
        let aligned = at.is_multiple_of(4 * words as u64);
        if !aligned {
            self.space.fault(format!("address {at:#x} is not aligned to {} bytes", 4 * words));
        }
        aligned
    }

    /// # Safety
    /// As [`Space::read`].
    unsafe fn read<const N: usize>(&self, at: u64) -> [u32; N] {
        let mut words = [0; N];
        if self.is_aligned(at, N) {
            // SAFETY: the caller's promise.
            unsafe { self.space.read(at, &mut words) };
        }
        words
    }

    /// # Safety
    /// As [`Space::write`].
    unsafe fn write<const N: usize>(&self, at: u64, words: [u32; N]) {
        if self.is_aligned(at, N) {
            // SAFETY: the caller's promise.
            unsafe { self.space.write(at, &words) };
        }
    }

    fn in_shared<const N: usize, T>(&self, at: u32, found: impl FnOnce(&mut [u32]) -> T) -> Option<T> {
        let mut shared = self.shared.borrow_mut();
        let n_bytes = 4 * shared.len();
        let words = shared.get_mut(at as usize / 4..).and_then(|rest| rest.get_mut(..N));
        if let (true, Some(words)) = (at.is_multiple_of(4 * N as u32), words) {
            return Some(found(words));
        }
        let accessed = 4 * N;
        self.space.fault(format!("{accessed} bytes at {at} of {n_bytes} bytes of shared memory"));
        None
    }

    fn shared_read<const N: usize>(&self, at: u32) -> [u32; N] {
        let mut out = [0; N];
        let _ = self.in_shared::<N, _>(at, |words| out.copy_from_slice(words));
        out
    }
}

impl Isa for Pointers<'_> {
    fn block(&self) -> u32 {
        self.block
    }
    fn thread(&self) -> u32 {
        self.thread
    }
    fn wait_for_rows(&self) {}
    unsafe fn constant(&self, at: u64) -> u32 {
        // SAFETY: the caller's promise, here and below.
        unsafe { self.read::<1>(at)[0] }
    }
    unsafe fn constant_u64(&self, at: u64) -> u64 {
        // SAFETY: as above.
        let [low, high] = unsafe { self.read::<2>(at) };
        u64::from(low) | u64::from(high) << 32
    }
    fn here(&self, x: u32) -> u32 {
        x
    }
    unsafe fn constant_u64_anew(&self, at: u64) -> u64 {
        // SAFETY: as above.
        unsafe { self.constant_u64(at) }
    }
    unsafe fn constant_pair(&self, at: u64) -> [u32; 2] {
        // SAFETY: as above.
        unsafe { self.read(at) }
    }
    unsafe fn constant_quad(&self, at: u64) -> Quad<u32> {
        // SAFETY: as above.
        unsafe { self.read(at) }
    }
    unsafe fn global_load(&self, at: u64) -> u32 {
        // SAFETY: as above.
        unsafe { self.read::<1>(at)[0] }
    }
    unsafe fn global_load_quad(&self, at: u64) -> Quad<u32> {
        // SAFETY: as above.
        unsafe { self.read(at) }
    }
    unsafe fn global_load_u64(&self, at: u64) -> u64 {
        // SAFETY: as above.
        let [low, high] = unsafe { self.read::<2>(at) };
        u64::from(low) | u64::from(high) << 32
    }
    unsafe fn global_store_u64(&self, at: u64, x: u64) {
        // SAFETY: as above.
        unsafe { self.write(at, [x as u32, (x >> 32) as u32]) };
    }
    unsafe fn global_store(&self, at: u64, x: u32) {
        // SAFETY: as above.
        unsafe { self.write(at, [x]) };
    }
    unsafe fn global_store_quad(&self, at: u64, x: Quad<u32>) {
        // SAFETY: as above.
        unsafe { self.write(at, x) };
    }
    unsafe fn fetch_quad(&self, from: u64, to: u32) {
        // SAFETY: as above.
        unsafe { self.shared_store_quad(to, self.global_load_quad(from)) };
    }
    fn wait_for_fetched(&self) {}
    unsafe fn shared_load(&self, at: u32) -> u32 {
        self.shared_read::<1>(at)[0]
    }
    unsafe fn shared_load_pair(&self, at: u32) -> Pair<u32> {
        self.shared_read(at)
    }
    unsafe fn shared_load_quad(&self, at: u32) -> Quad<u32> {
        self.shared_read(at)
    }
    unsafe fn shared_store(&self, at: u32, x: u32) {
        let _ = self.in_shared::<1, _>(at, |words| words[0] = x);
    }
    unsafe fn shared_store_pair(&self, at: u32, x: Pair<u32>) {
        let _ = self.in_shared::<2, _>(at, |words| words.copy_from_slice(&x));
    }
    unsafe fn shared_store_quad(&self, at: u32, x: Quad<u32>) {
        let _ = self.in_shared::<4, _>(at, |words| words.copy_from_slice(&x));
    }
}

/// A thread by itself, of a block that has no shared memory and a device whose memory is all zeros: for what it computes of its index.
#[cfg(test)]
pub(crate) fn lone_thread(thread: u32) -> impl crate::thread::Machine<u32> {
    struct Zeros;
    impl Space for Zeros {
        unsafe fn read(&self, _at: u64, _words: &mut [u32]) {}
        unsafe fn write(&self, _at: u64, _words: &[u32]) {}
        fn fault(&self, what: String) {
            unreachable!("{what}")
        }
    }
    let args = KernelArgs { log_n: crate::abi::launch::GPU_MIN_LOG_N, ..bytemuck::Zeroable::zeroed() };
    let shared = alloc::boxed::Box::leak(alloc::boxed::Box::new(RefCell::new(Vec::new())));
    Addressed { args, isa: Pointers { block: 0, thread, shared, space: &Zeros } }
}

/// Runs every thread of a grid, if it is one of the entry's contract.
///
/// # Safety
/// As [`run_addressed`].
unsafe fn run_grid<K: ThreadKernel<u32>>(
    entry: &str,
    grid: Option<EmulatedGrid>,
    args: &KernelArgs,
    space: &dyn Space,
) {
    let contract = match contract(K::KERNEL, K::ENTRY_IDX, args.log_n, 4) {
        Some(contract) if contract.entry == entry => contract,
        _ => return space.fault(format!("{entry}: log N {} in its argument", args.log_n)),
    };
    let blocks = contract.blocks(args.n_items, args.log_n);
    let expected = EmulatedGrid { blocks, threads: contract.threads, shared_bytes: contract.shared_bytes };
    let grid = grid.unwrap_or(expected);
    let fits = grid.shared_bytes <= expected.shared_bytes;
    if (grid.blocks, grid.threads, fits) != (expected.blocks, expected.threads, true) {
        return space.fault(format!("{entry}: {grid:?}, expected {expected:?} or less shared memory"));
    }
    for block in 0..grid.blocks {
        let shared = RefCell::new(alloc::vec![u32::MAX; grid.shared_bytes as usize / 4]);
        let mut states = alloc::vec![K::start(); grid.threads as usize];
        let thread =
            |thread| Addressed { args: *args, isa: Pointers { block, thread, shared: &shared, space } };
        if !has_item::<u32, K, _>(&thread(0)) {
            continue;
        }
        // SAFETY: the caller's promises, here and below.
        let rounds = unsafe { K::rounds(&thread(0)) };
        for step in 0..rounds * K::PHASES {
            for (t, state) in (0..).zip(&mut states) {
                // SAFETY: as above.
                unsafe { K::phase_of_round(&thread(t), state, step / K::PHASES, step % K::PHASES) };
            }
        }
    }
}

/// Finds a kernel function by its name in the contract.
macro_rules! dispatch {
    ($($name:ident: $kernel:ty,)*) => {
        /// Whether there is a kernel function of that name.
        pub fn has_entry(entry: &str) -> bool {
            matches!(entry, $(stringify!($name))|*)
        }

        /// Runs a kernel function on a grid, the contract's if `None`. A grid that is not the contract's, an argument for
        /// another ring size and an unknown name are faults of the space, and nothing is run.
        ///
        /// # Safety
        /// As the space's accesses: one that checks them itself asks for nothing.
        pub unsafe fn run_addressed(
            entry: &str,
            grid: Option<EmulatedGrid>,
            args: &KernelArgs,
            space: &dyn Space,
        ) {
            match entry {
                // SAFETY: the caller's promises.
                $(stringify!($name) => unsafe { run_grid::<$kernel>(entry, grid, args, space) },)*
                _ => space.fault(format!("no kernel function {entry}")),
            }
        }
    };
}
every_kernel!(dispatch);

/// Runs a launch with addresses of the host for those of the device, as a driver would with the grid of the contract.
///
/// # Panics
/// When a kernel breaks a rule of the machine.
///
/// # Safety
/// The addresses are exposed ones of memory that holds what [`KernelArgs`] says, the rows that the launch writes for
/// writing; nobody else uses that memory during the call.
pub unsafe fn run_args(kernel: KernelId, args: &KernelArgs) {
    for entry_idx in 0..n_entries(kernel) {
        let Some(contract) = contract(kernel, entry_idx, args.log_n, 4) else {
            unreachable!("no contract for {} at log N = {}", kernel.name(), args.log_n)
        };
        // SAFETY: the caller's promises.
        unsafe { run_addressed(contract.entry, None, args, &HostMemory) };
    }
}

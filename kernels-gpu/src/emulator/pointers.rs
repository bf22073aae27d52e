//! Threads that reach memory by the addresses of a [`KernelArgs`], as on a GPU. Alignment is checked; that an address is
//! right shows in the results.

use super::every_kernel;
use crate::abi::KernelId;
use crate::abi::launch::{KernelArgs, contract, n_entries};
use crate::thread::addressed::{Addressed, Isa};
use crate::thread::{Quad, ThreadKernel, convert_basis, has_item, ntt, pointwise};
use alloc::vec::Vec;
use core::cell::RefCell;

/// A thread and its block's shared memory.
#[derive(Clone, Copy)]
struct Pointers<'a> {
    block: u32,
    thread: u32,
    shared: &'a RefCell<Vec<u32>>,
}

/// The pointer at an address.
fn at<T>(address: u64, align: u64) -> *mut T {
    assert!(address.is_multiple_of(align), "address {address:#x} is not aligned to {align}");
    core::ptr::with_exposed_provenance_mut(address as usize)
}

/// Reads as many bytes as a `T` has, aligned to that.
///
/// # Safety
/// The address is valid for it.
unsafe fn read<T>(address: u64) -> T {
    // SAFETY: the caller's promise.
    unsafe { at::<T>(address, size_of::<T>() as u64).read() }
}

/// Writes.
///
/// # Safety
/// The address is valid for it.
unsafe fn write<T>(address: u64, x: T) {
    // SAFETY: the caller's promise.
    unsafe { at::<T>(address, size_of::<T>() as u64).write(x) };
}

impl Isa for Pointers<'_> {
    fn block(&self) -> u32 {
        self.block
    }
    fn thread(&self) -> u32 {
        self.thread
    }
    unsafe fn constant(&self, at: u64) -> u32 {
        // SAFETY: the caller's promise, here and below.
        unsafe { read(at) }
    }
    unsafe fn constant_u64(&self, at: u64) -> u64 {
        // SAFETY: as above.
        unsafe { read(at) }
    }
    unsafe fn constant_pair(&self, at: u64) -> [u32; 2] {
        // SAFETY: as above.
        unsafe { read(at) }
    }
    unsafe fn constant_quad(&self, at: u64) -> Quad<u32> {
        // SAFETY: as above.
        unsafe { read(at) }
    }
    unsafe fn global_load(&self, at: u64) -> u32 {
        // SAFETY: as above.
        unsafe { read(at) }
    }
    unsafe fn global_load_quad(&self, at: u64) -> Quad<u32> {
        // SAFETY: as above.
        unsafe { read(at) }
    }
    unsafe fn global_store(&self, at: u64, x: u32) {
        // SAFETY: as above.
        unsafe { write(at, x) };
    }
    unsafe fn global_store_quad(&self, at: u64, x: Quad<u32>) {
        // SAFETY: as above.
        unsafe { write(at, x) };
    }
    unsafe fn shared_load(&self, at: u32) -> u32 {
        self.shared.borrow()[at as usize / 4]
    }
    unsafe fn shared_load_quad(&self, at: u32) -> Quad<u32> {
        assert!(at.is_multiple_of(16), "shared address {at} is not aligned to 16");
        let (shared, at) = (self.shared.borrow(), at as usize / 4);
        [shared[at], shared[at + 1], shared[at + 2], shared[at + 3]]
    }
    unsafe fn shared_store(&self, at: u32, x: u32) {
        self.shared.borrow_mut()[at as usize / 4] = x;
    }
    unsafe fn shared_store_quad(&self, at: u32, x: Quad<u32>) {
        assert!(at.is_multiple_of(16), "shared address {at} is not aligned to 16");
        self.shared.borrow_mut()[at as usize / 4..][..4].copy_from_slice(&x);
    }
}

/// Runs every thread of one entry.
///
/// # Safety
/// As [`run_args`].
unsafe fn run_grid<K: ThreadKernel<u32>>(args: &KernelArgs) {
    let Some(contract) = contract(K::KERNEL, K::ENTRY_IDX, args.log_n, 4) else {
        unreachable!("no contract at log N = {}", args.log_n)
    };
    let blocks_per_item = (1 << args.log_n) / contract.words_per_block;
    for block in 0..args.n_items * blocks_per_item {
        let shared = RefCell::new(alloc::vec![u32::MAX; contract.shared_bytes as usize / 4]);
        for phase in 0..K::PHASES {
            for thread in 0..contract.threads {
                let m = Addressed { args: *args, isa: Pointers { block, thread, shared: &shared } };
                if has_item::<u32, K, _>(&m) {
                    // SAFETY: the caller's promises.
                    unsafe { K::phase(&m, phase) };
                }
            }
        }
    }
}

/// Finds a kernel function by its name in the contract.
macro_rules! dispatch {
    ($($name:ident: $kernel:ty,)*) => {
        /// # Safety
        /// As [`run_args`].
        unsafe fn run_entry(entry: &str, args: &KernelArgs) {
            match entry {
                // SAFETY: the caller's promises.
                $(stringify!($name) => unsafe { run_grid::<$kernel>(args) },)*
                _ => unreachable!("no kernel function {entry}"),
            }
        }
    };
}
every_kernel!(dispatch);

/// Runs a launch with addresses of the host for those of the device, as a driver would with the grid of the contract.
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
        unsafe { run_entry(contract.entry, args) };
    }
}

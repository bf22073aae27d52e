//! The GPU as a machine for one thread: the only place with inline assembly.
//!
//! Everything that is PTX and not plain Rust is here, so that another code generator could stand in. Memory is reached by
//! assembly because a pointer that was read from memory would be a generic one to the compiler; with the state space
//! in the instruction it is `ld.global`. Barriers and indexes go through compiler intrinsics: `asm!` is not marked
//! convergent, and the compiler may move it into a branch.
//!
//! Options of the assembly: tables that no kernel writes (bindings, pool, primes, twiddles) are outside the memory that
//! the compiler knows, so their loads are `pure, nomem` and may be merged and moved, through `ld.global.nc`. Loads of rows and of
//! shared memory are `pure, readonly`: not moved over a store or a barrier.

mod memory;

use crate::abi::RowRef;
use crate::abi::launch::{DevicePrime, KernelArgs};
use crate::body::tables::PrimeConstants;
use crate::thread::{Machine, Quad, ThreadKernel, has_item};
use core::arch::nvptx;

core::arch::global_asm!(
    "// abi_version {}",
    ".extern .shared .align 16 .b8 dyn_smem[];",
    const crate::abi::ABI_VERSION,
);

/// Says to `cargo xtask build-ptx` what a function's contract is: threads, least blocks a multiprocessor, bytes of
/// shared memory, barriers. It writes the launch bounds, for which there is no attribute, and counts the barriers.
macro_rules! announce {
    ($name:ident, $contract:expr, $phases:expr) => {
        core::arch::global_asm!(
            concat!("// contract ", stringify!($name), " {} {} {} {}"),
            const $contract.threads,
            const $contract.min_blocks,
            const $contract.shared_bytes,
            const $phases - 1,
        );
    };
}
pub(crate) use announce;

/// A thread of a GPU, for `u32` words.
#[derive(Clone, Copy)]
pub(crate) struct Gpu {
    args: KernelArgs,
}

/// Runs kernel `K` in this thread.
///
/// # Safety
/// The launch is what the ABI asks for; see [`ThreadKernel::phase`].
#[inline(always)]
pub(crate) unsafe fn run<K: ThreadKernel<u32>>(args: KernelArgs) {
    let gpu = Gpu { args };
    if !has_item::<u32, K, Gpu>(&gpu) {
        return;
    }
    // SAFETY: the caller's promises. The branch above and this one are the same for a whole block.
    unsafe {
        K::phase(&gpu, 0);
        if K::PHASES > 1 {
            nvptx::_syncthreads();
            K::phase(&gpu, 1);
        }
    }
}

impl Machine<u32> for Gpu {
    type Row = u64;
    type Table = u64;

    #[inline(always)]
    fn args(&self) -> &KernelArgs {
        &self.args
    }
    #[inline(always)]
    fn block(&self) -> u32 {
        // SAFETY: reads a register.
        unsafe { nvptx::_block_idx_x() as u32 }
    }
    #[inline(always)]
    fn thread(&self) -> u32 {
        // SAFETY: reads a register.
        unsafe { nvptx::_thread_idx_x() as u32 }
    }

    #[inline(always)]
    unsafe fn pool_word(&self, at: u32, plus: u32) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { memory::constant_u64(self.args.pool + u64::from(at) * 8 + u64::from(plus) * 8) }
    }
    #[inline(always)]
    unsafe fn row(&self, row: RowRef) -> u64 {
        // SAFETY: the caller's promise.
        let base = unsafe { memory::constant_u64(self.args.bindings + u64::from(row.slot) * 8) };
        base + (u64::from(row.row) << (self.args.log_n + 2))
    }
    #[inline(always)]
    unsafe fn prime(&self, prime: u32) -> (PrimeConstants<u32>, u64) {
        let at = self.args.primes + u64::from(prime) * size_of::<DevicePrime<u32>>() as u64;
        // SAFETY: the caller's promise; records are 32 bytes, aligned to 16.
        let (a, b) = unsafe { (memory::constant_quad(at), memory::constant_quad(at + 16)) };
        let c = PrimeConstants { q: a[0], q_inv: a[1], r1: a[2], r2: a[3], n_inv: b[0], n_inv_w1: b[1] };
        (c, u64::from(b[2]) | u64::from(b[3]) << 32)
    }

    #[inline(always)]
    unsafe fn twiddle(&self, table: u64, at: u32) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { memory::constant(word(table, at, 0)) }
    }
    #[inline(always)]
    unsafe fn twiddle_pair(&self, table: u64, at: u32) -> [u32; 2] {
        // SAFETY: the caller's promise.
        unsafe { memory::constant_pair(word(table, at, 0)) }
    }
    #[inline(always)]
    unsafe fn twiddle_quad(&self, table: u64, at: u32) -> Quad<u32> {
        // SAFETY: the caller's promise.
        unsafe { memory::constant_quad(word(table, at, 0)) }
    }

    #[inline(always)]
    unsafe fn load(&self, row: u64, at: u32, plus: u32) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { memory::global_load(word(row, at, plus)) }
    }
    #[inline(always)]
    unsafe fn load_quad(&self, row: u64, at: u32, plus: u32) -> Quad<u32> {
        // SAFETY: the caller's promise.
        unsafe { memory::global_load_quad(word(row, at, plus)) }
    }
    #[inline(always)]
    unsafe fn store(&self, row: u64, at: u32, plus: u32, x: u32) {
        // SAFETY: the caller's promise.
        unsafe { memory::global_store(word(row, at, plus), x) };
    }
    #[inline(always)]
    unsafe fn store_quad(&self, row: u64, at: u32, plus: u32, words: Quad<u32>) {
        // SAFETY: the caller's promise.
        unsafe { memory::global_store_quad(word(row, at, plus), words) };
    }

    #[inline(always)]
    unsafe fn shared_load(&self, at: u32, plus: u32) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { memory::shared_load(shared_word(at, plus)) }
    }
    #[inline(always)]
    unsafe fn shared_load_quad(&self, at: u32, plus: u32) -> Quad<u32> {
        // SAFETY: the caller's promise.
        unsafe { memory::shared_load_quad(shared_word(at, plus)) }
    }
    #[inline(always)]
    unsafe fn shared_store(&self, at: u32, plus: u32, x: u32) {
        // SAFETY: the caller's promise.
        unsafe { memory::shared_store(shared_word(at, plus), x) };
    }
    #[inline(always)]
    unsafe fn shared_store_quad(&self, at: u32, plus: u32, words: Quad<u32>) {
        // SAFETY: the caller's promise.
        unsafe { memory::shared_store_quad(shared_word(at, plus), words) };
    }
}

/// Address of word `at + plus` from `base`; the sum in 64 bits, so that the constant goes into the instruction.
#[inline(always)]
fn word(base: u64, at: u32, plus: u32) -> u64 {
    base + u64::from(at) * 4 + u64::from(plus) * 4
}

/// Address of word `at + plus` of shared memory.
#[inline(always)]
fn shared_word(at: u32, plus: u32) -> u32 {
    memory::shared_base() + at * 4 + plus * 4
}

/// Nothing in a kernel panics; a `cdylib` needs the item all the same.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

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

mod matrix;
mod memory;

use crate::abi::launch::KernelArgs;
use crate::body::ntt::unrolled;
use crate::thread::addressed::{Addressed, Isa};
use crate::thread::tile::{self, Known, LANE_TARGETS, Residues, Tile};
use crate::thread::{Pair, Quad, ThreadKernel, has_item};
use core::arch::nvptx;

core::arch::global_asm!(
    "// abi_version {}",
    ".extern .shared .align 16 .b8 dyn_smem[];",
    const crate::abi::ABI_VERSION,
);

/// Says to `cargo xtask build-ptx` what a function's contract is: threads, least blocks a multiprocessor, bytes of
/// shared memory, barriers. It writes the launch bounds, for which there is no attribute, and counts the barriers.
macro_rules! announce {
    ($name:ident, $contract:expr, $barriers:expr) => {
        core::arch::global_asm!(
            concat!("// contract ", stringify!($name), " {} {} {} {}"),
            const $contract.threads,
            const $contract.min_blocks,
            const $contract.shared_bytes,
            const $barriers,
        );
    };
}
pub(crate) use announce;

/// The instructions of PTX.
#[derive(Clone, Copy)]
struct Ptx;

/// Runs kernel `K` in this thread.
///
/// # Safety
/// The launch is what the ABI asks for; see [`ThreadKernel::phase`].
#[inline(always)]
pub(crate) unsafe fn run<K: ThreadKernel<u32>>(args: KernelArgs) {
    let gpu = Addressed { args, isa: Ptx };
    if !has_item::<u32, K, _>(&gpu) {
        return;
    }
    // SAFETY: the caller's promises. The branch above and this one are the same for a whole block.
    unsafe {
        let mut state = K::start();
        if !K::ROUNDS {
            return phases::<K>(&gpu, &mut state, 0);
        }
        let rounds = K::rounds(&gpu);
        let mut round = 0;
        loop {
            phases::<K>(&gpu, &mut state, round);
            round += 1;
            if round >= rounds {
                return;
            }
            barrier::<K>(K::PHASES - 1);
        }
    }
}

unsafe extern "unadjusted" {
    #[link_name = "llvm.nvvm.bar.warp.sync"]
    fn bar_warp_sync(lanes: u32);
}

/// The barrier after phase `phase`.
///
/// # Safety
/// All threads of the block, or of the warp, come here.
#[inline(always)]
unsafe fn barrier<K: ThreadKernel<u32>>(phase: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        if K::WARP_BARRIERS >> phase & 1 == 1 {
            bar_warp_sync(u32::MAX);
        } else {
            nvptx::_syncthreads();
        }
    }
}

/// The phases of a round, barriers between.
///
/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn phases<K: ThreadKernel<u32>>(m: &Addressed<Ptx>, state: &mut K::State, round: u32) {
    const { assert!(K::PHASES <= 4) };
    unrolled!(4, phase, {
        let phase = phase as u32;
        if phase < K::PHASES {
            // SAFETY: the caller's promises.
            unsafe {
                if phase > 0 {
                    barrier::<K>(phase - 1);
                }
                K::phase_of_round(m, state, round, phase);
            }
        }
    });
}

/// Methods of [`Isa`] that are one instruction.
macro_rules! instructions {
    ($($name:ident($($arg:ident: $type:ty),*) $(-> $out:ty)?;)*) => {
        $(
            #[inline(always)]
            unsafe fn $name(&self, $($arg: $type),*) $(-> $out)? {
                // SAFETY: the caller's promises.
                unsafe { memory::$name($($arg),*) }
            }
        )*
    };
}

impl Isa for Ptx {
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
    fn wait_for_rows(&self) {
        memory::wait_for_rows();
    }

    #[inline(always)]
    fn here(&self, x: u32) -> u32 {
        memory::here(x)
    }
    instructions! {
        constant(at: u64) -> u32;
        constant_u64(at: u64) -> u64;
        constant_u64_anew(at: u64) -> u64;
        constant_pair(at: u64) -> [u32; 2];
        constant_quad(at: u64) -> Quad<u32>;
        global_load(at: u64) -> u32;
        global_load_quad(at: u64) -> Quad<u32>;
        global_load_u64(at: u64) -> u64;
        global_store_u64(at: u64, x: u64);
        global_store(at: u64, x: u32);
        global_store_quad(at: u64, x: Quad<u32>);
    }

    #[inline(always)]
    unsafe fn fetch_quad(&self, from: u64, to: u32) {
        // SAFETY: the caller's promises, here and below.
        unsafe { memory::fetch_quad(from, memory::shared_base() + to) };
    }
    #[inline(always)]
    fn wait_for_fetched(&self) {
        memory::wait_for_fetched();
    }
    #[inline(always)]
    unsafe fn shared_load(&self, at: u32) -> u32 {
        // SAFETY: as above.
        unsafe { memory::shared_load(memory::shared_base() + at) }
    }
    #[inline(always)]
    unsafe fn shared_load_pair(&self, at: u32) -> Pair<u32> {
        // SAFETY: as above.
        unsafe { memory::shared_load_pair(memory::shared_base() + at) }
    }
    #[inline(always)]
    unsafe fn shared_load_quad(&self, at: u32) -> Quad<u32> {
        // SAFETY: as above.
        unsafe { memory::shared_load_quad(memory::shared_base() + at) }
    }
    #[inline(always)]
    unsafe fn shared_store(&self, at: u32, x: u32) {
        // SAFETY: as above.
        unsafe { memory::shared_store(memory::shared_base() + at, x) };
    }
    #[inline(always)]
    unsafe fn shared_store_pair(&self, at: u32, x: Pair<u32>) {
        // SAFETY: as above.
        unsafe { memory::shared_store_pair(memory::shared_base() + at, x) };
    }
    #[inline(always)]
    unsafe fn shared_store_quad(&self, at: u32, x: Quad<u32>) {
        // SAFETY: as above.
        unsafe { memory::shared_store_quad(memory::shared_base() + at, x) };
    }
    #[inline(always)]
    unsafe fn held<const G: usize>(m: &Addressed<Self>, tile: &Tile) -> [Quad<u32>; G] {
        // SAFETY: as above.
        unsafe { tile.held(m) }
    }
    #[inline(always)]
    unsafe fn tile<const G: usize>(
        m: &Addressed<Self>,
        tile: &Tile,
        held: &[Quad<u32>; G],
        known: &[Known<u32>; LANE_TARGETS],
        v: Pair<u32>,
    ) -> Residues<u32> {
        // SAFETY: as above.
        unsafe { tile::by_bytes(m, tile, held, known, v, &m.isa) }
    }
}

/// Nothing in a kernel panics; a `cdylib` needs the item all the same.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

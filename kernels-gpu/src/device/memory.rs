//! Loads and stores with their state space.

use core::arch::asm;

/// Loads of tables that no kernel writes; see the module above.
macro_rules! constant {
    ($(#[$doc:meta])* $name:ident, $word:ty, $reg:ident, $instruction:literal) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// `at` valid for reading and aligned to the size; nobody writes there during the launch.
        #[inline(always)]
        pub(super) unsafe fn $name(at: u64) -> $word {
            let x;
            // SAFETY: the caller's promise.
            unsafe {
                asm!(concat!($instruction, " {0}, [{1}];"), out($reg) x, in(reg64) at, options(pure, nomem, nostack, preserves_flags));
            }
            x
        }
    };
}

constant!(
    /// A word.
    constant, u32, reg32, "ld.global.nc.u32"
);
constant!(
    /// Eight bytes.
    constant_u64, u64, reg64, "ld.global.nc.u64"
);

/// `x` by way of an instruction that stays where it is.
#[inline(always)]
pub(super) fn here(x: u32) -> u32 {
    let y;
    // SAFETY: a move between registers. Not `pure`, so that it stays where it is.
    unsafe {
        asm!("mov.u32 {0}, {1};", out(reg32) y, in(reg32) x, options(nomem, nostack, preserves_flags));
    }
    y
}

/// [`constant_u64`], not merged with another load of the same word.
///
/// # Safety
/// As [`constant_u64`].
#[inline(always)]
pub(super) unsafe fn constant_u64_anew(at: u64) -> u64 {
    let x;
    // SAFETY: the caller's promise. Not `pure`, so that it stays where it is.
    unsafe {
        asm!("ld.global.nc.u64 {0}, [{1}];", out(reg64) x, in(reg64) at, options(nomem, nostack, preserves_flags));
    }
    x
}

/// Two words.
///
/// # Safety
/// As [`constant`].
#[inline(always)]
pub(super) unsafe fn constant_pair(at: u64) -> [u32; 2] {
    let (a, b);
    // SAFETY: the caller's promise.
    unsafe {
        asm!("ld.global.nc.v2.u32 {{{0}, {1}}}, [{2}];", out(reg32) a, out(reg32) b, in(reg64) at,
            options(pure, nomem, nostack, preserves_flags));
    }
    [a, b]
}

/// Two words of shared memory.
///
/// # Safety
/// As [`shared_load`]; aligned to 8 bytes.
#[inline(always)]
pub(super) unsafe fn shared_load_pair(at: u32) -> [u32; 2] {
    let (a, b);
    // SAFETY: the caller's promise.
    unsafe {
        asm!("ld.shared.v2.u32 {{{0}, {1}}}, [{2}];", out(reg32) a, out(reg32) b, in(reg32) at,
            options(readonly, nostack, preserves_flags));
    }
    [a, b]
}

/// Loads of four words.
macro_rules! load_quad {
    ($(#[$doc:meta])* $name:ident, $address:ty, $reg:ident, $instruction:literal, $effect:ident) => {
        $(#[$doc])*
        #[inline(always)]
        pub(super) unsafe fn $name(at: $address) -> [u32; 4] {
            let (a, b, c, d);
            // SAFETY: the caller's promise.
            unsafe {
                asm!(concat!($instruction, " {{{0}, {1}, {2}, {3}}}, [{4}];"),
                    out(reg32) a, out(reg32) b, out(reg32) c, out(reg32) d, in($reg) at,
                    options(pure, $effect, nostack, preserves_flags));
            }
            [a, b, c, d]
        }
    };
}

load_quad!(
    /// Four words.
    ///
    /// # Safety
    /// As [`constant`].
    constant_quad, u64, reg64, "ld.global.nc.v4.u32", nomem
);
load_quad!(
    /// Four words of a row.
    ///
    /// # Safety
    /// As [`global_load`]; aligned to 16 bytes.
    global_load_quad, u64, reg64, "ld.global.v4.u32", readonly
);
load_quad!(
    /// Four words of shared memory.
    ///
    /// # Safety
    /// As [`shared_load`]; aligned to 16 bytes.
    shared_load_quad, u32, reg32, "ld.shared.v4.u32", readonly
);

/// Loads of one word, or of eight bytes.
macro_rules! load {
    ($(#[$doc:meta])* $name:ident, $word:ty, $to:ident, $address:ty, $reg:ident, $instruction:literal) => {
        $(#[$doc])*
        #[inline(always)]
        pub(super) unsafe fn $name(at: $address) -> $word {
            let x;
            // SAFETY: the caller's promise.
            unsafe {
                asm!(concat!($instruction, " {0}, [{1}];"), out($to) x, in($reg) at,
                    options(pure, readonly, nostack, preserves_flags));
            }
            x
        }
    };
}

load!(
    /// A word of a row.
    ///
    /// # Safety
    /// `at` valid for reading; no other thread writes there during the launch.
    global_load, u32, reg32, u64, reg64, "ld.global.u32"
);
load!(
    /// Eight bytes of a row.
    ///
    /// # Safety
    /// As [`global_load`]; aligned to 8 bytes.
    global_load_u64, u64, reg64, u64, reg64, "ld.global.u64"
);
load!(
    /// A word of shared memory.
    ///
    /// # Safety
    /// `at` inside the block's shared memory; written by this thread, or by another before the last barrier.
    shared_load, u32, reg32, u32, reg32, "ld.shared.u32"
);

/// Stores of one and of four words.
macro_rules! store {
    ($(#[$doc:meta])* $name:ident, $quad:ident, $address:ty, $reg:ident, $instruction:literal, $quad_instruction:literal) => {
        $(#[$doc])*
        #[inline(always)]
        pub(super) unsafe fn $name(at: $address, x: u32) {
            // SAFETY: the caller's promise.
            unsafe {
                asm!(concat!($instruction, " [{0}], {1};"), in($reg) at, in(reg32) x, options(nostack, preserves_flags));
            }
        }
        /// Four words, aligned to 16 bytes.
        ///
        /// # Safety
        /// As for one word.
        #[inline(always)]
        pub(super) unsafe fn $quad(at: $address, x: [u32; 4]) {
            // SAFETY: the caller's promise.
            unsafe {
                asm!(concat!($quad_instruction, " [{0}], {{{1}, {2}, {3}, {4}}};"), in($reg) at,
                    in(reg32) x[0], in(reg32) x[1], in(reg32) x[2], in(reg32) x[3],
                    options(nostack, preserves_flags));
            }
        }
    };
}

store!(
    /// Writes a word of a row.
    ///
    /// # Safety
    /// `at` valid for writing; no other thread reads or writes there during the launch.
    global_store, global_store_quad, u64, reg64, "st.global.u32", "st.global.v4.u32"
);
store!(
    /// Writes a word of shared memory.
    ///
    /// # Safety
    /// `at` inside the block's shared memory; no other thread reads or writes there before the next barrier.
    shared_store, shared_store_quad, u32, reg32, "st.shared.u32", "st.shared.v4.u32"
);

/// Writes two words of shared memory.
///
/// # Safety
/// As [`shared_store`]; aligned to 8 bytes.
#[inline(always)]
pub(super) unsafe fn shared_store_pair(at: u32, [low, high]: [u32; 2]) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("st.shared.v2.u32 [{0}], {{{1}, {2}}};", in(reg32) at, in(reg32) low, in(reg32) high,
            options(nostack, preserves_flags));
    }
}

/// Writes eight bytes of a row.
///
/// # Safety
/// As [`global_store`]; aligned to 8 bytes.
#[inline(always)]
pub(super) unsafe fn global_store_u64(at: u64, x: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("st.global.u64 [{0}], {1};", in(reg64) at, in(reg64) x, options(nostack, preserves_flags));
    }
}

/// Where the block's dynamic shared memory begins.
#[inline(always)]
pub(super) fn shared_base() -> u32 {
    let base;
    // SAFETY: reads an address that the linker knows.
    unsafe {
        asm!("mov.u32 {0}, dyn_smem;", out(reg32) base, options(pure, nomem, nostack, preserves_flags))
    };
    base
}

/// Waits until the launches before this one have ended and what they wrote is there.
#[inline(always)]
pub(super) fn wait_for_rows() {
    // SAFETY: as above; no access to memory that may change moves over it.
    unsafe { asm!("// sm_90: griddepcontrol.wait;", options(nostack, preserves_flags)) };
}

/// Begins to copy four words from a row to shared memory, past the L1.
///
/// # Safety
/// As [`global_load_quad`] and [`shared_store_quad`]; not read before [`wait_for_fetched`].
#[inline(always)]
pub(super) unsafe fn fetch_quad(from: u64, to: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("cp.async.cg.shared.global [{0}], [{1}], 16;", in(reg32) to, in(reg64) from, options(nostack, preserves_flags));
    }
}

/// Waits for what this thread has begun to copy.
#[inline(always)]
pub(super) fn wait_for_fetched() {
    // SAFETY: the words that arrive are read through assembly behind this one.
    unsafe { asm!("cp.async.wait_all;", options(nostack, preserves_flags)) };
}

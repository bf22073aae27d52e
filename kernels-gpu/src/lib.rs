//! Kernel bodies written once in generic Rust, and the ABI between plans and kernels.
//!
//! [`abi`] names the kernels and lays out their tables; it is what a plan is made of. [`body`] holds the
//! arithmetic, generic over the word and over [`lanes`]: one word on a GPU, a SIMD vector on a CPU.
//! [`cpu`] runs the items of a launch on a CPU with them. [`thread`] is the same kernels as one GPU thread runs them:
//! compiled to PTX (`device`, `entry`, for that target only; [`mod@ptx`] is the result) and run by the `emulator`. [`abi::launch`]
//! says how a host launches them.
//! Nothing of it allocates, panics, divides by a variable or knows what a ciphertext is; `emulator`, which tests
//! switch on, may do the first two.
#![no_std]
#![cfg_attr(target_arch = "nvptx64", feature(abi_ptx, asm_experimental_arch, stdarch_nvptx))]
// The matrix unit is reached by an intrinsic of LLVM that `core` does not offer.
#![cfg_attr(target_arch = "nvptx64", feature(abi_unadjusted, link_llvm_intrinsics), allow(internal_features))]

#[cfg(any(test, feature = "emulator"))]
extern crate alloc;

pub mod abi;
pub mod body;
pub mod cpu;
#[cfg(target_arch = "nvptx64")]
mod device;
pub mod device_tables;
#[cfg(any(test, feature = "emulator"))]
pub mod emulator;
mod encode;
#[cfg(target_arch = "nvptx64")]
mod entry;
pub mod lanes;
mod permuted;
mod pointwise;
#[cfg(not(target_arch = "nvptx64"))]
pub mod ptx;
pub mod row;
pub mod thread;

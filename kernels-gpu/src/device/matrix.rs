//! The matrix unit.

use super::Ptx;
use crate::thread::tile::MatrixUnit;

/// What the unit gives: four words.
#[repr(C)]
#[derive(Clone, Copy)]
struct Four(u32, u32, u32, u32);

// An intrinsic and not `asm!`, since the whole warp takes part and the compiler must know it.
unsafe extern "unadjusted" {
    #[link_name = "llvm.nvvm.mma.m16n8k16.row.col.u8"]
    fn mma_m16n8k16(a0: u32, a1: u32, b: u32, d0: u32, d1: u32, d2: u32, d3: u32) -> Four;
}

impl MatrixUnit for Ptx {
    #[inline(always)]
    fn multiply(&self, d: &mut [u32; 4], a: [u32; 2], b: u32) {
        // SAFETY: registers only, and all lanes of the warp, as the trait demands.
        let Four(d0, d1, d2, d3) = unsafe { mma_m16n8k16(a[0], a[1], b, d[0], d[1], d[2], d[3]) };
        *d = [d0, d1, d2, d3];
    }
}

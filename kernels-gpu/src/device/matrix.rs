//! The matrix unit.

/// What the unit gives: four words.
#[repr(C)]
#[derive(Clone, Copy)]
struct Four(u32, u32, u32, u32);

// An intrinsic and not `asm!`, since the whole warp takes part and the compiler must know it.
unsafe extern "unadjusted" {
    #[link_name = "llvm.nvvm.mma.m16n8k16.row.col.u8"]
    fn mma_m16n8k16_u8(a0: u32, a1: u32, b: u32, c0: u32, c1: u32, c2: u32, c3: u32) -> Four;
}

/// `d + A B` of the warp: A 16 x 16 and B 16 x 8 unsigned bytes, d 16 x 8 words (PTX ISA, `mma.m16n8k16`). Lane `l` holds bytes `4
/// (l % 4) ..` of rows `l / 4` and `l / 4 + 8` of A, the same bytes of column `l / 4` of B, and of each of the two rows columns `2
/// (l % 4)`, `2 (l % 4) + 1` of d.
#[inline(always)]
pub(super) fn multiply_bytes(d: &mut [u32; 4], a: [u32; 2], b: u32) {
    // SAFETY: registers only; all lanes of the warp are here, as `Machine::tile_sums` demands.
    let Four(d0, d1, d2, d3) = unsafe { mma_m16n8k16_u8(a[0], a[1], b, d[0], d[1], d[2], d[3]) };
    *d = [d0, d1, d2, d3];
}

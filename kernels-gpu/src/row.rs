//! NTT of one row on a CPU: which steps, in which order over memory.
//!
//! ```text
//! forward:  strided steps over the row | per block that fits L1: strided steps, then tiles
//! inverse:  the same, backwards
//! ```
//!
//! A *tile* is `LANES × LANES` contiguous words in `LANES` registers: one radix-`LANES` step between the registers, a
//! transpose, one radix-`LANES` step across what were lanes, a transpose back. It covers the last `2 log LANES`
//! stages in one pass. With one lane there are no tiles.
//!
//! `LOG_RADIX` of the lanes bounds the strided steps: AVX2 has 16 registers, so 8 values and their temporaries; AVX-512
//! has 32, so 16 values; scalar code has 13 free integer registers, so 4.
//!
//! Measured on one Zen 3 core at about 3.2 GHz with AVX2, `u32`, N = 2^16, 65536 butterflies of 8 lanes: 0.128 ms, about
//! 6.2 cycles a butterfly; 17.5 vector instructions each would fit 4.4. Radix 16 takes 0.153 ms (it spills), blocks of
//! 32 KiB 0.127 ms, `w q_inv` from a table 0.124 ms. `u64`: 0.93 ms, with radix 8 the same.

use crate::body::Modulus;
use crate::body::ntt::{
    BlockTwiddles, MirrorTileTwiddles, MirrorTwiddles, TileTwiddles, canonical_step, forward_step_lazy,
    inverse_last_step, inverse_step_lazy, transpose, unrolled,
};
use crate::body::tables::PrimeTables;
use crate::lanes::{Lanes, Word};
use core::mem::size_of;

/// Blocks of at most this many bytes are transformed to the end before the next is touched: half of a 32 KiB L1, which
/// leaves room for the twiddles (all of an L1 measures the same).
const BLOCK_BYTES: usize = 16 << 10;

/// `log2` of the words in such a block.
const fn log_block<W>() -> u32 {
    (BLOCK_BYTES / size_of::<W>()).trailing_zeros()
}

/// Stages of the next step when `left` remain and at most `max` fit: as even a split as possible.
const fn next_stages(left: u32, max: u32) -> u32 {
    // left <= 17 and max <= 4: one, two, ... steps.
    let mut steps = 1;
    while steps * max < left {
        steps += 1;
    }
    let mut stages = 1;
    while stages * steps < left {
        stages += 1;
    }
    stages
}

/// Everything a pass needs besides its position.
#[derive(Clone, Copy)]
struct Pass<W, L> {
    table: *const W,
    m: Modulus<W, L>,
    n_inv: L,
    n_inv_w1: L,
}

impl<W: Word, L: Lanes<W>> Pass<W, L> {
    /// # Safety
    /// The CPU must have the instruction set of `L`.
    #[inline(always)]
    unsafe fn new(tables: &PrimeTables<'_, W>) -> Self {
        // SAFETY: the caller vouches for the instruction set.
        unsafe {
            Self {
                table: tables.twiddles.as_ptr(),
                m: Modulus::new(&tables.constants),
                n_inv: L::splat(tables.constants.n_inv),
                n_inv_w1: L::splat(tables.constants.n_inv_w1),
            }
        }
    }

    /// One radix-`R` step on the blocks `base .. base + n_blocks` of `2^log_len` words each, which lie one after the
    /// other at `src` and go to the same places at `dst`. Results in `[0, 4q)`; canonical where the step is the last,
    /// which is so for one lane and adjacent words.
    ///
    /// # Safety
    /// `src` and `dst` valid for `n_blocks 2^log_len` words, equal or disjoint; `2^log_len / R` a multiple of `LANES`.
    #[inline(always)]
    unsafe fn forward<const R: usize>(
        &self,
        dst: *mut W,
        src: *const W,
        base: usize,
        n_blocks: usize,
        log_len: u32,
    ) {
        let stride = (1usize << log_len) >> R.trailing_zeros();
        let mut block = 0;
        while block < n_blocks {
            let at = block << log_len;
            let mut j = 0;
            while j < stride {
                // SAFETY: at + r stride + j + LANES <= n_blocks 2^log_len; the table reaches every stage.
                unsafe {
                    let twiddles = BlockTwiddles::new(self.table, base + block);
                    let mut x = load_strided::<W, L, R>(src.add(at + j), stride);
                    forward_step_lazy(&mut x, &twiddles, &self.m);
                    if L::LOG_LANES == 0 && stride == 1 {
                        canonical_step(&mut x, &self.m);
                    }
                    store_strided(&x, dst.add(at + j), stride);
                }
                j += L::LANES;
            }
            block += 1;
        }
    }

    /// [`Pass::forward`] with `2^stages` for `R`.
    ///
    /// # Safety
    /// As there; `stages` in `1 ..= LOG_RADIX`.
    #[inline(always)]
    unsafe fn forward_stages(
        &self,
        stages: u32,
        dst: *mut W,
        src: *const W,
        base: usize,
        n_blocks: usize,
        log_len: u32,
    ) {
        // SAFETY: the caller's promises. Radices above LOG_RADIX are compiled out.
        unsafe {
            if stages == 4 && L::LOG_RADIX >= 4 {
                self.forward::<16>(dst, src, base, n_blocks, log_len);
            } else if stages == 3 && L::LOG_RADIX >= 3 {
                self.forward::<8>(dst, src, base, n_blocks, log_len);
            } else if stages == 2 {
                self.forward::<4>(dst, src, base, n_blocks, log_len);
            } else {
                self.forward::<2>(dst, src, base, n_blocks, log_len);
            }
        }
    }

    /// The last `2 log LANES` stages of `n_tiles` tiles, the first of them block `base` of the transform; `R = LANES`.
    /// Canonical results.
    ///
    /// # Safety
    /// `src` and `dst` valid for `n_tiles LANES^2` words, equal or disjoint.
    #[inline(always)]
    unsafe fn forward_tiles<const R: usize>(&self, dst: *mut W, src: *const W, base: usize, n_tiles: usize) {
        let mut tile = 0;
        while tile < n_tiles {
            // SAFETY: R^2 words a tile; the table is arranged for these lanes.
            unsafe {
                let at = tile * R * R;
                let mut x = load_strided::<W, L, R>(src.add(at), R);
                let between = BlockTwiddles::new(self.table, base + tile);
                forward_step_lazy(&mut x, &between, &self.m);
                transpose(&mut x);
                let across = TileTwiddles::new(self.table, (base + tile) * R);
                forward_step_lazy(&mut x, &across, &self.m);
                transpose(&mut x);
                canonical_step(&mut x, &self.m);
                store_strided(&x, dst.add(at), R);
            }
            tile += 1;
        }
    }

    /// Undoes [`Pass::forward`]; with `log_m = 0`, the last step, multiplies by `N^-1` and gives canonical results.
    ///
    /// # Safety
    /// As there; the transform has `2^log_m` blocks of this length.
    #[inline(always)]
    unsafe fn inverse<const R: usize>(
        &self,
        dst: *mut W,
        src: *const W,
        base: usize,
        n_blocks: usize,
        log_len: u32,
        log_m: u32,
    ) {
        let stride = (1usize << log_len) >> R.trailing_zeros();
        let mut block = 0;
        while block < n_blocks {
            let at = block << log_len;
            let mut j = 0;
            while j < stride {
                // SAFETY: at + r stride + j + LANES <= n_blocks 2^log_len; the table reaches every stage.
                unsafe {
                    let twiddles = MirrorTwiddles::new(self.table, base + block, log_m);
                    let mut x = load_strided::<W, L, R>(src.add(at + j), stride);
                    if log_m == 0 {
                        inverse_last_step(&mut x, &twiddles, self.n_inv, self.n_inv_w1, &self.m);
                    } else {
                        inverse_step_lazy(&mut x, 0, &twiddles, &self.m);
                    }
                    store_strided(&x, dst.add(at + j), stride);
                }
                j += L::LANES;
            }
            block += 1;
        }
    }

    /// [`Pass::inverse`] with `2^stages` for `R`.
    ///
    /// # Safety
    /// As there; `stages` in `1 ..= LOG_RADIX`.
    #[inline(always)]
    #[expect(
        clippy::too_many_arguments,
        reason = "a step is a position in three coordinates, and where from and to"
    )]
    unsafe fn inverse_stages(
        &self,
        stages: u32,
        dst: *mut W,
        src: *const W,
        base: usize,
        n_blocks: usize,
        log_len: u32,
        log_m: u32,
    ) {
        // SAFETY: the caller's promises. Radices above LOG_RADIX are compiled out.
        unsafe {
            if stages == 4 && L::LOG_RADIX >= 4 {
                self.inverse::<16>(dst, src, base, n_blocks, log_len, log_m);
            } else if stages == 3 && L::LOG_RADIX >= 3 {
                self.inverse::<8>(dst, src, base, n_blocks, log_len, log_m);
            } else if stages == 2 {
                self.inverse::<4>(dst, src, base, n_blocks, log_len, log_m);
            } else {
                self.inverse::<2>(dst, src, base, n_blocks, log_len, log_m);
            }
        }
    }

    /// Undoes [`Pass::forward_tiles`]; `last` if the tile is the whole transform. Results in `[0, 2q)`, canonical
    /// and multiplied by `N^-1` if `last`.
    ///
    /// # Safety
    /// As there; the transform has `2^log_m` tiles.
    #[inline(always)]
    unsafe fn inverse_tiles<const R: usize>(
        &self,
        dst: *mut W,
        src: *const W,
        base: usize,
        n_tiles: usize,
        log_m: u32,
    ) {
        let mut tile = 0;
        while tile < n_tiles {
            // SAFETY: R^2 words a tile; the table is arranged for these lanes.
            unsafe {
                let at = tile * R * R;
                let mut x = load_strided::<W, L, R>(src.add(at), R);
                transpose(&mut x);
                let across = MirrorTileTwiddles::new(
                    self.table,
                    (base + tile) * R,
                    log_m + L::LOG_LANES,
                    L::LOG_LANES,
                );
                inverse_step_lazy(&mut x, 0, &across, &self.m);
                transpose(&mut x);
                let between = MirrorTwiddles::new(self.table, base + tile, log_m);
                if log_m == 0 {
                    inverse_last_step(&mut x, &between, self.n_inv, self.n_inv_w1, &self.m);
                } else {
                    inverse_step_lazy(&mut x, 0, &between, &self.m);
                }
                store_strided(&x, dst.add(at), R);
            }
            tile += 1;
        }
    }
}

/// `x_r` = the group at `p + r stride`.
///
/// # Safety
/// `p` valid for reading them; the CPU must have the instruction set.
#[inline(always)]
unsafe fn load_strided<W: Word, L: Lanes<W>, const R: usize>(p: *const W, stride: usize) -> [L; R] {
    // SAFETY: the caller vouches for both.
    let mut x = unsafe { [L::load(p); R] };
    unrolled!(R, r, {
        if r > 0 {
            // SAFETY: the caller vouches for both.
            x[r] = unsafe { L::load(p.add(r * stride)) };
        }
    });
    x
}

/// Writes `x_r` to `p + r stride`.
///
/// # Safety
/// `p` valid for writing them.
#[inline(always)]
unsafe fn store_strided<W: Word, L: Lanes<W>, const R: usize>(x: &[L; R], p: *mut W, stride: usize) {
    unrolled!(R, r, {
        // SAFETY: the caller vouches for `p`.
        unsafe { x[r].store(p.add(r * stride)) };
    });
}

/// `dst = NTT(src)`: coefficients in natural order to values in bit-reversed order, canonical in and out.
///
/// # Safety
/// `src` and `dst` valid for `2^log_n` words, equal or disjoint; `src` canonical; `tables` of that ring with twiddles
/// arranged for `L`; `log_n` in `MIN_LOG_N ..= MAX_LOG_N`; the CPU must have the instruction set of `L`.
#[inline(always)]
pub unsafe fn ntt_row<W: Word, L: Lanes<W>>(
    dst: *mut W,
    src: *const W,
    tables: &PrimeTables<'_, W>,
    log_n: u32,
) {
    // SAFETY: the caller's promises; the passes below partition the row.
    unsafe {
        let pass = Pass::<W, L>::new(tables);
        let log_tile = 2 * L::LOG_LANES;
        let (mut src, mut log_m) = (src, 0);
        // Over the whole row until a block fits.
        while log_n - log_m > log_block::<W>() {
            let stages = next_stages(log_n - log_m - log_tile, L::LOG_RADIX);
            pass.forward_stages(stages, dst, src, 1 << log_m, 1 << log_m, log_n - log_m);
            src = dst;
            log_m += stages;
        }
        let log_block = log_n - log_m;
        let mut block = 0;
        while block < 1usize << log_m {
            let to = dst.add(block << log_block);
            let mut from = src.add(block << log_block);
            let mut done = 0;
            while log_block - done > log_tile {
                let stages = next_stages(log_block - done - log_tile, L::LOG_RADIX);
                let base = ((1 << log_m) + block) << done;
                pass.forward_stages(stages, to, from, base, 1 << done, log_block - done);
                from = to;
                done += stages;
            }
            let base = ((1 << log_m) + block) << done;
            if L::LOG_LANES == 4 {
                pass.forward_tiles::<16>(to, from, base, 1 << done);
            } else if L::LOG_LANES == 3 {
                pass.forward_tiles::<8>(to, from, base, 1 << done);
            }
            block += 1;
        }
    }
}

/// `dst = NTT^-1(src)`: values in bit-reversed order to coefficients in natural order, canonical in and out.
///
/// # Safety
/// As [`ntt_row`].
#[inline(always)]
pub unsafe fn intt_row<W: Word, L: Lanes<W>>(
    dst: *mut W,
    src: *const W,
    tables: &PrimeTables<'_, W>,
    log_n: u32,
) {
    // SAFETY: the caller's promises; the passes below partition the row.
    unsafe {
        let pass = Pass::<W, L>::new(tables);
        let log_tile = 2 * L::LOG_LANES;
        // The forward transform's blocks: as many whole-row stages as it takes until a block fits.
        let mut log_m = 0;
        while log_n - log_m > log_block::<W>() {
            log_m += next_stages(log_n - log_m - log_tile, L::LOG_RADIX);
        }
        let log_block = log_n - log_m;
        let mut block = 0;
        while block < 1usize << log_m {
            let to = dst.add(block << log_block);
            let mut from = src.add(block << log_block);
            let mut left = log_block - log_tile;
            let base = ((1 << log_m) + block) << left;
            if L::LOG_LANES == 4 {
                pass.inverse_tiles::<16>(to, from, base, 1 << left, log_m + left);
                from = to;
            } else if L::LOG_LANES == 3 {
                pass.inverse_tiles::<8>(to, from, base, 1 << left, log_m + left);
                from = to;
            }
            while left > 0 {
                let stages = next_stages(left, L::LOG_RADIX);
                left -= stages;
                let base = ((1 << log_m) + block) << left;
                pass.inverse_stages(stages, to, from, base, 1 << left, log_block - left, log_m + left);
                from = to;
            }
            block += 1;
        }
        while log_m > 0 {
            let stages = next_stages(log_m, L::LOG_RADIX);
            log_m -= stages;
            pass.inverse_stages(stages, dst, dst, 1 << log_m, 1 << log_m, log_n - log_m, log_m);
        }
    }
}

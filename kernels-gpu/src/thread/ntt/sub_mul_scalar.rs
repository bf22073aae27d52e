//! The lines of an NTT and the end of a division, in one kernel: a line's steps on `b`, whose last move becomes one into the
//! difference, which goes where the automorphism has it.
//!
//! Groups of four words go to such groups, and the 64 bytes that four threads move go to 64 aligned bytes, in another order
//! ([`automorphism`]), so stores fill sectors as before.
//!
//! Shared memory: the exchange of a line; behind it, for `a` and for `c`, for each quad that a thread moves, a row of quads, one a
//! thread.

use super::line::Line;
use crate::abi::launch::LINE_SHARED_WORDS;
use crate::abi::{KernelId, RowItem, RowRef};
use crate::body::Modulus;
use crate::body::ntt::unrolled;
use crate::lanes::{Scalar, Word};
use crate::thread::pointwise::{Image, divided};
use crate::thread::{Machine, ThreadKernel, contract_of, entry, item_and_part};

/// [`KernelId::NttRowsSubMulScalar`].
#[derive(Debug)]
pub struct RowsSubMulScalar;

impl RowsSubMulScalar {
    /// Where quad `k` of `a`, or of `c`, lies in shared memory.
    #[inline(always)]
    fn operand<W: Word, M: Machine<W>>(m: &M, c: bool, k: usize) -> u32 {
        let threads = const { contract_of::<W, Self>().threads };
        LINE_SHARED_WORDS + ((4 * usize::from(c) + k) as u32 * threads + m.thread()) * 4
    }
}

impl<W: Word> ThreadKernel<W> for RowsSubMulScalar {
    const KERNEL: KernelId = KernelId::NttRowsSubMulScalar;
    const PHASES: u32 = 4;
    const WARP_BARRIERS: u32 = 0b110;
    type State = ();

    #[inline(always)]
    fn start() {}

    #[inline(always)]
    unsafe fn phase<M: Machine<W>>(m: &M, phase: u32) {
        // SAFETY: the caller's promises.
        unsafe {
            let (idx, part) = item_and_part::<W, Self, M>(m);
            let item: RowItem = entry(m, m.args().items_at, idx);
            let line = Line::new(m, part, item.prime);
            match phase {
                0 => {
                    let b = m.row(item.b);
                    m.wait_for_rows();
                    line.fetch_moved(item.a, |k| Self::operand(m, false, k));
                    if item.c != RowRef::NONE {
                        line.fetch_moved(item.c, |k| Self::operand(m, true, k));
                    }
                    return line.forward_outer(line.load_outer(b));
                }
                1 => return line.forward_middle(),
                2 => return line.forward_inner(),
                _ => {}
            }
            let c = m.prime(item.prime);
            let (scalar, modulus) = (Scalar(c.to_montgomery(W::from_u64(item.scalar))), Modulus::new(&c));
            let (dst, image) = (m.row(item.dst), Image::new(item.galois));
            m.wait_for_fetched();
            unrolled!(4, k, {
                let a = m.shared_load_quad(Self::operand(m, false, k), 0);
                let b = line.moved_quad(k);
                let c = if item.c == RowRef::NONE {
                    [W::ZERO; 4]
                } else {
                    m.shared_load_quad(Self::operand(m, true, k), 0)
                };
                let out = divided([a, b, c], scalar, &modulus);
                image.store_quad(m, m.args().log_n & 31, dst, line.moved(), 64 * k as u32, out);
            });
        }
    }
}

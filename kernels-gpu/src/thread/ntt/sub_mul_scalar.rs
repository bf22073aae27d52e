//! The rows of an NTT and the end of a division, in one kernel: the row entry's steps on `b`, whose last move becomes one into the
//! difference, which goes where the automorphism has it.
//!
//! Groups of four words go to such groups, and the 64 bytes that four threads move go to 64 aligned bytes, in another order
//! ([`automorphism`]), so stores fill sectors as before.
//!
//! Shared memory: the exchange of the row entries; behind it, for `a` and for `c`, for each quad that a thread moves, a row of quads, one a
//! thread.

use super::{Lines, Words, fetch_moved};
use crate::abi::launch::{log_row_words, ntt_shared_words};
use crate::abi::{KernelId, RowItem, RowRef};
use crate::body::Modulus;
use crate::body::ntt::unrolled;
use crate::lanes::{Scalar, Word};
use crate::thread::pointwise::{Image, divided};
use crate::thread::{Machine, ThreadKernel, contract_of, entry, item_and_part};

/// [`KernelId::NttRowsSubMulScalar`].
#[derive(Debug)]
pub struct RowsSubMulScalar<const LOG_N: u32>;

impl<const LOG_N: u32> RowsSubMulScalar<LOG_N> {
    /// Where quad `k` of `a`, or of `c`, lies in shared memory.
    #[inline(always)]
    fn operand<W: Word, M: Machine<W>>(m: &M, c: bool, k: usize) -> u32 {
        let exchange = const { ntt_shared_words(log_row_words(LOG_N), false) };
        let threads = const { contract_of::<W, Self>().threads };
        exchange + ((4 * usize::from(c) + k) as u32 * threads + m.thread()) * 4
    }
}

impl<W: Word, const LOG_N: u32> ThreadKernel<W> for RowsSubMulScalar<LOG_N> {
    const KERNEL: KernelId = KernelId::NttRowsSubMulScalar;
    const LOG_N: u32 = LOG_N;
    const PHASES: u32 = 3;
    const IN_WARPS: bool = true;
    type State = ();

    #[inline(always)]
    fn start() {}

    #[inline(always)]
    unsafe fn phase<M: Machine<W>>(m: &M, phase: u32) {
        type Rows<const LOG_N: u32> = Lines<LOG_N, false, false>;
        // SAFETY: the caller's promises. What a narrow step and a move read and write is the thread's own.
        unsafe {
            let (idx, part) = item_and_part::<W, Self, M>(m);
            let item: RowItem = entry(m, m.args().items_at, idx);
            let s = Rows::<LOG_N>::share::<W, M>(m, part, item.prime);
            let (at, in_shared) = Rows::<LOG_N>::moved(&s);
            if phase == 0 {
                let b = m.row(item.b);
                m.wait_for_rows();
                fetch_moved(m, item.a, at, |k| Self::operand(m, false, k));
                if item.c != RowRef::NONE {
                    fetch_moved(m, item.c, at, |k| Self::operand(m, true, k));
                }
                let mut x: Words<W, 16> = Rows::<LOG_N>::load(&s, b);
                Rows::<LOG_N>::wide_step(&s, &mut x);
                return Rows::<LOG_N>::store_shared(&s, true, &x);
            }
            if phase == 1 {
                let mut x: Words<W, 16> = Rows::<LOG_N>::load_shared(&s, false);
                Rows::<LOG_N>::narrow_step(&s, &mut x);
                return Rows::<LOG_N>::store_shared(&s, false, &x);
            }
            let c = m.prime(item.prime);
            let (scalar, modulus) = (Scalar(c.to_montgomery(W::from_u64(item.scalar))), Modulus::new(&c));
            let (dst, image) = (m.row(item.dst), Image::new(item.galois));
            m.wait_for_fetched();
            unrolled!(4, k, {
                let a = m.shared_load_quad(Self::operand(m, false, k), 0);
                let b = m.shared_load_quad(in_shared, Rows::<LOG_N>::shared_offset(16 * k as u32));
                let c = if item.c == RowRef::NONE {
                    [W::ZERO; 4]
                } else {
                    m.shared_load_quad(Self::operand(m, true, k), 0)
                };
                let out = divided([a, b, c], scalar, &modulus);
                image.store_quad(m, LOG_N, dst, at, 16 * k as u32, out);
            });
        }
    }
}

//! The rows of a transform, line by line.

use super::line::Line;
use crate::abi::launch::is_column_entry;
use crate::abi::{KernelId, RowItem};
use crate::body::ntt::unrolled;
use crate::lanes::Word;
use crate::thread::{Machine, ThreadKernel, entry, item_and_part};

/// The rows of one direction. They are the last entry of the NTT and the first of its inverse.
#[derive(Debug)]
pub struct Rows<const INVERSE: bool>;

impl<W: Word, const INVERSE: bool> ThreadKernel<W> for Rows<INVERSE> {
    const KERNEL: KernelId = if INVERSE { KernelId::Intt } else { KernelId::Ntt };
    const ENTRY_IDX: u32 = if is_column_entry(<Self as ThreadKernel<W>>::KERNEL, 0) { 1 } else { 0 };
    const PHASES: u32 = 4;
    /// All but the barrier beside the outer step.
    const WARP_BARRIERS: u32 = if INVERSE { 0b011 } else { 0b110 };
    type State = ();

    #[inline(always)]
    fn start() {}

    #[inline(always)]
    unsafe fn phase<M: Machine<W>>(m: &M, phase: u32) {
        // SAFETY: the caller's promises, and phases in order.
        unsafe {
            let (idx, part) = item_and_part::<W, Self, M>(m);
            let item: RowItem = entry(m, m.args().items_at, idx);
            let line = Line::new(m, part, item.prime);
            // The first entry reads the operand, the second what the first has written.
            match (INVERSE, phase) {
                (false, 0) => {
                    let row = m.row(item.dst);
                    m.wait_for_rows();
                    line.forward_outer(line.load_outer(row));
                }
                (false, 1) => line.forward_middle(),
                (false, 2) => line.forward_inner(),
                (false, _) => {
                    let (row, at) = (m.row(item.dst), line.moved());
                    unrolled!(4, k, {
                        m.store_quad(row, at, 64 * k as u32, line.moved_quad(k));
                    });
                }
                (true, 0) => {
                    let row = m.row(item.a);
                    m.wait_for_rows();
                    line.move_in(row);
                }
                (true, 1) => line.inverse_inner(),
                (true, 2) => line.inverse_middle(),
                (true, _) => line.inverse_outer(m.row(item.dst)),
            }
        }
    }
}

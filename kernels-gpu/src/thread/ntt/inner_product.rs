//! The lines of an NTT and the inner product that reads what they make, in one kernel.
//!
//! A block has a line of all rows of its item, and a round for each term: of one that is begun the line's steps on its `a`, whose
//! last move, from shared memory to the row, becomes one into sums in registers. The second factors are asked for when a
//! round begins and are there when it ends, so keys stream while the transform is computed; so are, from the second round on, the words
//! that it begins with, which are asked for when the round before has read its own. Sums are written where the automorphism has them,
//! in full sectors, as the end of a division is ([`super::sub_mul_scalar`]).
//!
//! Shared memory: the exchange of a line, a line for words that are asked for, and, for each sum and each quad that a thread
//! moves, a row of quads, one a thread.

use super::line::Line;
use crate::abi::launch::{LINE_SHARED_WORDS, LOG_LINE_WORDS};
use crate::abi::{InnerProductItem, KernelId, RowRef, Term, is_begun};
use crate::body::inner_product::Reducer;
use crate::body::ntt::unrolled;
use crate::lanes::{Lanes, Scalar, Word};
use crate::thread::inner_product::first_factor;
use crate::thread::pointwise::Image;
use crate::thread::{Machine, ThreadKernel, contract_of, entry, entry_anew, item_and_part};

/// [`KernelId::NttRowsInnerProduct`].
#[derive(Debug)]
pub struct RowsInnerProduct;

/// Two sums of the sixteen words that a thread moves, by quad.
type Sums<A> = [[[A; 4]; 4]; 2];

impl RowsInnerProduct {
    /// Where words of the next first factor are asked for, and where second factors begin.
    const NEXT: u32 = LINE_SHARED_WORDS;
    const FACTORS: u32 = LINE_SHARED_WORDS + (1 << LOG_LINE_WORDS);

    /// Where the second factor of sum `h`, quad `k`, lies in shared memory.
    #[inline(always)]
    fn factor<W: Word, M: Machine<W>>(m: &M, h: usize, k: usize) -> u32 {
        let threads = const { contract_of::<W, Self>().threads };
        Self::FACTORS + ((4 * h + k) as u32 * threads + m.thread()) * 4
    }

    /// Asks for the second factors of a term.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`].
    #[inline(always)]
    unsafe fn fetch_factors<W: Word, M: Machine<W>>(line: &Line<'_, W, M>, term: &Term) {
        unrolled!(2, h, {
            if term.b[h] != RowRef::NONE {
                // SAFETY: the caller's promises.
                unsafe { line.fetch_moved(term.b[h], |k| Self::factor(line.m, h, k)) };
            }
        });
    }

    /// Reduces a sum and writes it where the automorphism has it.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`].
    #[inline(always)]
    unsafe fn store_sum<W: Word, M: Machine<W>>(
        m: &M,
        dst: RowRef,
        image: Image,
        at: u32,
        sum: &[[W::Wide; 4]; 4],
        reducer: &Reducer<W, Scalar<W>>,
    ) {
        // SAFETY: the caller's promises.
        unsafe {
            let row = m.row(dst);
            unrolled!(4, k, {
                let words = sum[k].map(|sum| reducer.reduce(sum).0);
                image.store_quad(m, m.args().log_n & 31, row, at, 64 * k as u32, words);
            });
        }
    }
}

impl<W: Word> ThreadKernel<W> for RowsInnerProduct {
    const KERNEL: KernelId = KernelId::NttRowsInnerProduct;
    const PHASES: u32 = 4;
    const WARP_BARRIERS: u32 = 0b110;
    const ROUNDS: bool = true;
    type State = Sums<W::Wide>;

    #[inline(always)]
    fn start() -> Self::State {
        [[[W::ZERO.widen(); 4]; 4]; 2]
    }

    #[inline(always)]
    unsafe fn rounds<M: Machine<W>>(m: &M) -> u32 {
        let (idx, _) = item_and_part::<W, Self, M>(m);
        // SAFETY: the caller's promises.
        let item: InnerProductItem = unsafe { entry(m, m.args().items_at, idx) };
        item.n_terms
    }

    #[inline(always)]
    unsafe fn phase_of_round<M: Machine<W>>(m: &M, sums: &mut Self::State, round: u32, phase: u32) {
        // SAFETY: the caller's promises.
        unsafe {
            let (idx, part) = item_and_part::<W, Self, M>(m);
            let item: InnerProductItem = entry(m, m.args().items_at, idx);
            // All that follows from it, addresses of factors and where words go, is found anew in each round: kept over the rounds it would
            // take the registers of the sums.
            let line = Line::new(m, m.here(part), m.here(item.prime));
            let term: Term = entry(m, item.terms_at, round);
            let begun = is_begun(item.begun, round);
            if phase == 0 {
                if round == 0 {
                    m.wait_for_rows();
                }
                Self::fetch_factors(&line, &term);
                if begun {
                    let mut x = [W::ZERO; 16];
                    if round == 0 {
                        x = line.load_outer(m.row(term.a));
                    } else {
                        unrolled!(16, k, {
                            x[k] = m.shared_load(Self::NEXT + m.thread(), 256 * k as u32);
                        });
                    }
                    line.forward_outer(x);
                }
                return;
            }
            if phase == 1 {
                // All have read what was there.
                if round + 1 < item.n_terms && is_begun(item.begun, round + 1) {
                    let next: Term = entry(m, item.terms_at, round + 1);
                    let (at, in_line) = (line.moved(), part << LOG_LINE_WORDS);
                    line.fetch_moved(next.a, |k| Self::NEXT + at - in_line + 64 * k as u32);
                }
                if begun {
                    line.forward_middle();
                }
                return;
            }
            if phase == 2 {
                if begun {
                    line.forward_inner();
                }
                return;
            }
            let at = line.moved();
            let reducer = Reducer::<W, Scalar<W>>::new(&m.prime(item.prime));
            if round == 0 {
                start_sums(m, &entry_anew(m, m.args().items_at, idx), at, sums);
            } else if round.is_multiple_of(const { W::FOLD_TERMS as u32 }) {
                fold(sums, &reducer);
            }
            m.wait_for_fetched();
            unrolled!(4, k, {
                let a = if begun { line.moved_quad(k) } else { first_factor(m, &term, at, 64 * k as u32) };
                add_products(&mut sums[0][k], a, m.shared_load_quad(Self::factor(m, 0, k), 0));
                if term.b[1] != RowRef::NONE {
                    add_products(&mut sums[1][k], a, m.shared_load_quad(Self::factor(m, 1, k), 0));
                }
            });
            if round + 1 == item.n_terms {
                let item: InnerProductItem = entry_anew(m, m.args().items_at, idx);
                let image = Image::new(item.galois);
                Self::store_sum(m, item.dst[0], image, at, &sums[0], &reducer);
                if item.n_sums() == 2 {
                    Self::store_sum(m, item.dst[1], image, at, &sums[1], &reducer);
                }
            }
        }
    }
}

/// Adds four products.
#[inline(always)]
fn add_products<W: Word>(sums: &mut [W::Wide; 4], a: [W; 4], b: [W; 4]) {
    unrolled!(4, k, {
        sums[k] = Scalar(a[k]).mul_acc(Scalar(b[k]), sums[k]);
    });
}

/// What the sums start from.
///
/// # Safety
/// As [`ThreadKernel::phase`].
#[inline(always)]
unsafe fn start_sums<W: Word, M: Machine<W>>(
    m: &M,
    item: &InnerProductItem,
    at: u32,
    sums: &mut Sums<W::Wide>,
) {
    unrolled!(2, h, {
        if item.init[h] != RowRef::NONE {
            // SAFETY: the caller's promises.
            unsafe {
                let (row, times) = (m.row(item.init[h]), W::from_u64(item.times[h]));
                unrolled!(4, k, {
                    sums[h][k] = m.load_quad(row, at, 64 * k as u32).map(|word| word.mul_wide(times));
                });
            }
        }
    });
}

/// Room for more products in all sums.
#[inline(always)]
fn fold<W: Word>(sums: &mut Sums<W::Wide>, reducer: &Reducer<W, Scalar<W>>) {
    unrolled!(2, h, {
        unrolled!(4, k, {
            sums[h][k] = sums[h][k].map(|sum| reducer.fold_lazy(sum));
        });
    });
}

//! [`KernelId::InnerProduct`] on a GPU: see [`crate::body::inner_product`].
//!
//! A block has adjacent items and a group of words of each; a thread has four words of one item.
//!
//! ```text
//! phase 0   a thread a term: its rows, from the pool and the binding table, into shared memory as a record
//! phase 1   the products, term by term; the sums, reduced, where the automorphism has them
//! ```
//!
//! Without records each thread looks three rows up for each term: two loads, one after the other, before those of the words, and three of
//! four of its instructions.

use super::pointwise::Image;
use super::{Machine, Quad, ThreadKernel, contract_of, entry, item_and_part, reducer};
use crate::abi::launch::{INNER_PRODUCT_ITEMS, INNER_PRODUCT_RECORD, THREAD_WORDS};
use crate::abi::{InnerProductItem, KernelId, RowRef, Term};
use crate::body::inner_product::Reducer;
use crate::body::ntt::unrolled;
use crate::lanes::{Lanes, Scalar, Word};

/// [`KernelId::InnerProduct`].
#[derive(Debug)]
pub struct InnerProduct;

/// Words `at + plus ..` of a term's first factor, which is not begun: a quad of the row, or four times the word that stands for it.
///
/// # Safety
/// As [`ThreadKernel::phase`].
#[inline(always)]
pub(super) unsafe fn first_factor<W: Word, M: Machine<W>>(m: &M, term: &Term, at: u32, plus: u32) -> Quad<W> {
    // SAFETY: the caller's promises.
    unsafe {
        let row = m.row(term.a);
        if term.log_repeat == 0 {
            m.load_quad(row, at, plus)
        } else {
            [m.load(row, term.word_of_a(at + plus, m.args().log_n), 0); 4]
        }
    }
}

/// What a thread has of its block.
struct Share {
    /// The item, the last one in place of one that is not there.
    item: u32,
    /// Whether it is there.
    there: bool,
    /// The thread among those of its item.
    thread: u32,
    /// Its first word.
    at: u32,
    /// Where the records of its item lie, behind those of the block's items before it.
    records: u32,
}

impl InnerProduct {
    /// Items of a block that may come before a thread's.
    const BEFORE: usize = INNER_PRODUCT_ITEMS as usize - 1;

    /// Threads of an item.
    const fn threads<W: Word>() -> u32 {
        contract_of::<W, Self>().words_per_block / THREAD_WORDS
    }

    /// Which item and words are the thread's.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`].
    #[inline(always)]
    unsafe fn share<W: Word, M: Machine<W>>(m: &M) -> Share {
        let (first, part) = item_and_part::<W, Self, M>(m);
        let threads = const { Self::threads::<W>() };
        let (of_block, thread) = (m.thread() / threads, m.thread() % threads);
        let (idx, last) = (first + of_block, m.args().n_items - 1);
        let mut records = 0;
        unrolled!(Self::BEFORE, i, {
            if (i as u32) < of_block {
                let before = Ord::min(first + i as u32, last);
                // SAFETY: the caller's promises.
                let item: InnerProductItem = unsafe { entry(m, m.args().items_at, before) };
                records += item.n_terms * INNER_PRODUCT_RECORD;
            }
        });
        Share {
            item: Ord::min(idx, last),
            there: idx <= last,
            thread,
            at: (part * threads + thread) * THREAD_WORDS,
            records,
        }
    }

    /// The records of the item's terms; shared memory has no room for those of an item that is not there.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`].
    #[inline(always)]
    unsafe fn record<W: Word, M: Machine<W>>(m: &M, s: &Share, item: &InnerProductItem) {
        let mut t = s.thread;
        while s.there && t < item.n_terms {
            // SAFETY: the caller's promises; a factor that is not there stands for one that is.
            unsafe {
                let term: Term = entry(m, item.terms_at, t);
                let second = if term.b[1] == RowRef::NONE { term.b[0] } else { term.b[1] };
                let [a, a_high] = M::words_of_row(m.row(term.a));
                let [b, b_high] = M::words_of_row(m.row(term.b[0]));
                let [c, c_high] = M::words_of_row(m.row(second));
                let [start, log_repeat] =
                    [term.word_of_a(0, m.args().log_n), term.log_repeat].map(|x| W::from_u64(u64::from(x)));
                m.shared_store_quad(s.records + t * INNER_PRODUCT_RECORD, 0, [a, a_high, b, b_high]);
                m.shared_store_quad(s.records + t * INNER_PRODUCT_RECORD, 4, [c, c_high, start, log_repeat]);
            }
            t += const { Self::threads::<W>() };
        }
    }

    /// The factors of a record's products: the first one, and that of each of `H` sums.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`]; the record of term `t` in shared memory.
    #[inline(always)]
    unsafe fn factors<W: Word, M: Machine<W>, const H: usize>(
        m: &M,
        s: &Share,
        t: u32,
    ) -> (Quad<W>, [Quad<W>; H]) {
        // SAFETY: the caller's promises.
        unsafe {
            let record = s.records + t * INNER_PRODUCT_RECORD;
            let [a, a_high, b, b_high] = m.shared_load_quad(record, 0);
            let [c, c_high, start, log_repeat] = m.shared_load_quad(record, 4);
            let (start, log_repeat) = (start.to_u64() as u32, log_repeat.to_u64() as u32);
            let row = M::row_of_words;
            let (a, second) = (row([a, a_high]), [row([b, b_high]), row([c, c_high])]);
            let a = if log_repeat == 0 {
                m.load_quad(a, s.at, 0)
            } else {
                [m.load(a, start + (s.at >> log_repeat), 0); 4]
            };
            let mut b = [[W::ZERO; 4]; H];
            unrolled!(2, h, {
                if h < H {
                    b[h] = m.load_quad(second[h], s.at, 0);
                }
            });
            (a, b)
        }
    }

    /// Adds the products of terms `t .. t + T` to `H` sums. All their factors are asked for before the first one is used.
    ///
    /// # Safety
    /// As [`Self::factors`] for each.
    #[inline(always)]
    unsafe fn add_products<W: Word, M: Machine<W>, const T: usize, const H: usize>(
        m: &M,
        s: &Share,
        t: u32,
        acc: &mut [[W::Wide; 4]; H],
    ) {
        let mut factors = [([W::ZERO; 4], [[W::ZERO; 4]; H]); T];
        unrolled!(T, i, {
            // SAFETY: the caller's promises.
            factors[i] = unsafe { Self::factors::<W, M, H>(m, s, t + i as u32) };
        });
        unrolled!(T, i, {
            let (a, b) = factors[i];
            unrolled!(2, h, {
                if h < H {
                    unrolled!(4, k, {
                        acc[h][k] = Scalar(a[k]).mul_acc(Scalar(b[h][k]), acc[h][k]);
                    });
                }
            });
        });
    }

    /// The `H` sums of the item.
    ///
    /// # Safety
    /// As [`ThreadKernel::phase`]; the records in shared memory.
    #[inline(always)]
    unsafe fn sums<W: Word, M: Machine<W>, const H: usize>(m: &M, s: &Share, item: &InnerProductItem) {
        // SAFETY: the caller's promises; all is read before dst is written.
        unsafe {
            let reducer = || -> Reducer<W, Scalar<W>> { reducer(&m.prime(item.prime)) };
            let mut acc = [[W::ZERO.widen(); 4]; H];
            unrolled!(2, h, {
                if h < H && item.init[h] != RowRef::NONE {
                    let (row, times) = (m.row(item.init[h]), W::from_u64(item.times[h]));
                    acc[h] = m.load_quad(row, s.at, 0).map(|word| word.mul_wide(times));
                }
            });
            // Both numbers of terms are even.
            let (mut t, mut room) = (0, W::FIRST_TERMS as u32 - 1);
            while t < item.n_terms {
                let end = Ord::min(item.n_terms, t + room);
                while t + 1 < end {
                    Self::add_products::<W, M, 2, H>(m, s, t, &mut acc);
                    t += 2;
                }
                if t < end {
                    Self::add_products::<W, M, 1, H>(m, s, t, &mut acc);
                    t += 1;
                }
                if t < item.n_terms {
                    let reducer = reducer();
                    unrolled!(2, h, {
                        if h < H {
                            acc[h] = acc[h].map(|sum| reducer.fold_lazy(sum));
                        }
                    });
                    room = W::FOLD_TERMS as u32;
                }
            }
            let reducer = reducer();
            let image = Image::new(item.galois);
            unrolled!(2, h, {
                if h < H {
                    let out = acc[h].map(|sum| reducer.reduce(sum).0);
                    image.store_quad(m, m.args().log_n, m.row(item.dst[h]), s.at, 0, out);
                }
            });
        }
    }
}

impl<W: Word> ThreadKernel<W> for InnerProduct {
    const KERNEL: KernelId = KernelId::InnerProduct;
    const PHASES: u32 = 2;
    type State = ();

    #[inline(always)]
    fn start() {}

    #[inline(always)]
    unsafe fn phase<M: Machine<W>>(m: &M, phase: u32) {
        // SAFETY: the caller's promises.
        unsafe {
            let s = Self::share::<W, M>(m);
            let item: InnerProductItem = entry(m, m.args().items_at, s.item);
            if phase == 0 {
                Self::record::<W, M>(m, &s, &item);
                return m.wait_for_rows();
            }
            if !s.there {
                return;
            }
            if item.n_sums() == 1 {
                Self::sums::<W, M, 1>(m, &s, &item);
            } else {
                Self::sums::<W, M, 2>(m, &s, &item);
            }
        }
    }
}

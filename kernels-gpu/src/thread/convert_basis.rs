//! Centred basis conversion on a GPU: see [`crate::body::convert_basis`].
//!
//! A block is [`CONVERT_GROUPS`] groups of threads, and thread `t` of each group has the
//! coefficients `4 t ..= 4 t + 3`. Phase 0: group `g` finds the `y_i` with `i = g` modulo their number and puts them into shared memory.
//! Phase 1, after the barrier: each thread finds `v` from all `y_i`, and its group takes its share of the quads of targets: per
//! source one 16-byte load of four `y_i`, one of four matrix words, and sixteen products.
//!
//! Shared memory: `y_i` of thread `t` at words `(i THREADS + t) 4 ..`, adjacent threads in different banks; behind all of them `v`, for
//! each group its own.

use super::{Machine, ThreadKernel, contract_of, entry, item_and_part, reducer};
use crate::abi::launch::{CONVERT_GROUPS, THREAD_WORDS};
use crate::abi::{CONVERT_QUAD, ConvertBasisItem, ConvertSource, ConvertTarget, KernelId, fraction_bits};
use crate::body::convert_basis::{add_fraction, digit, round_quotient};
use crate::body::inner_product::reduce_sum;
use crate::body::ntt::unrolled;
use crate::lanes::{Lanes, Scalar, Word};

/// [`KernelId::ConvertBasis`].
#[derive(Debug)]
pub struct ConvertBasis;

/// Where a thread works.
#[derive(Clone, Copy)]
struct Place {
    /// Which of the groups.
    group: u32,
    /// Which thread of the group.
    position: u32,
    /// The first of its coefficients.
    at: u32,
}

impl Place {
    /// Threads of a group.
    const fn per_group<W: Word>() -> u32 {
        contract_of::<W, ConvertBasis>().threads / CONVERT_GROUPS
    }

    /// The place of this thread in part `part` of the rows.
    #[inline(always)]
    fn new<W: Word, M: Machine<W>>(m: &M, part: u32) -> Self {
        let per_group = const { Self::per_group::<W>() };
        let (group, position) = (m.thread() / per_group, m.thread() % per_group);
        Self { group, position, at: (part * per_group + position) * THREAD_WORDS }
    }

    /// Where `v` lies.
    #[inline(always)]
    fn quotient<W: Word>(self, n_src: u32) -> u32 {
        self.digit::<W>(n_src + self.group)
    }

    /// Where `y_i` lies.
    #[inline(always)]
    fn digit<W: Word>(self, i: u32) -> u32 {
        (i * const { Self::per_group::<W>() } + self.position) * THREAD_WORDS
    }
}

/// Sources that a thread has under way at the same time: each is a chain of four loads, one after the other.
const SOURCES: usize = 4;

/// `y_i` of the group's sources, into shared memory.
///
/// # Safety
/// As [`ThreadKernel::phase`].
#[inline(always)]
unsafe fn digits<W: Word, M: Machine<W>>(m: &M, item: &ConvertBasisItem, place: Place) {
    let mut first = place.group;
    while first < item.n_src {
        let idx = |s: usize| first + s as u32 * CONVERT_GROUPS;
        let mut y = [[W::ZERO; 4]; SOURCES];
        // SAFETY: the caller's promises; shared memory holds n_src digits a thread of a group. A source that is not there
        // stands for the last one and is not stored.
        unsafe {
            unrolled!(SOURCES, s, {
                let source: ConvertSource = entry(m, item.src_at, Ord::min(idx(s), item.n_src - 1));
                let (c, _) = m.prime(source.prime);
                let modulus = reducer(&c).m;
                let inv = Scalar(W::from_u64(source.inv));
                y[s] = m.load_quad(m.row(source.row), place.at, 0);
                unrolled!(4, k, {
                    y[s][k] = digit(Scalar(y[s][k]), inv, &modulus).0;
                });
            });
            unrolled!(SOURCES, s, {
                if idx(s) < item.n_src {
                    m.shared_store_quad(place.digit::<W>(idx(s)), 0, y[s]);
                }
            });
        }
        first += SOURCES as u32 * CONVERT_GROUPS;
    }
}

/// `v` of the thread's coefficients, into the group's own part of shared memory: there it stays words, which in registers the
/// compiler would widen once for all quads and multiply as 64 bits.
///
/// # Safety
/// As [`ThreadKernel::phase`]; all digits in shared memory.
#[inline(always)]
unsafe fn quotients<W: Word, M: Machine<W>>(m: &M, item: &ConvertBasisItem, place: Place) {
    let mut sum = [Scalar(W::ZERO); 4];
    let mut i = 0;
    while i < item.n_src {
        // SAFETY: the caller's promises.
        unsafe {
            let source: ConvertSource = entry(m, item.src_at, i);
            let frac = Scalar(W::from_u64(source.frac));
            let y = m.shared_load_quad(place.digit::<W>(i), 0);
            unrolled!(4, k, {
                sum[k] = add_fraction(sum[k], Scalar(y[k]), frac);
            });
        }
        i += 1;
    }
    let half = Scalar(W::from_u64(1 << (fraction_bits(W::BITS) - 1)));
    let mut v = [W::ZERO; 4];
    unrolled!(4, k, {
        v[k] = round_quotient(sum[k], half).0;
    });
    // SAFETY: shared memory holds CONVERT_GROUPS quotients after the digits.
    unsafe { m.shared_store_quad(place.quotient::<W>(item.n_src), 0, v) };
}

/// The targets `4 quad ..`, at most four.
///
/// # Safety
/// As [`ThreadKernel::phase`]; all digits and the quotients in shared memory.
#[inline(always)]
unsafe fn targets<W: Word, M: Machine<W>>(m: &M, item: &ConvertBasisItem, quad: u32, place: Place) {
    let first = quad * CONVERT_QUAD as u32;
    // SAFETY: the caller's promises; the matrix holds n_src words of each quad; a target that is not there stands for the last
    // one and is not stored.
    unsafe {
        let target =
            |t: usize| -> ConvertTarget { entry(m, item.dst_at, Ord::min(first + t as u32, item.n_dst - 1)) };
        // Asked for before the sums, so that they are there when these are.
        let mut moduli = [(W::ZERO, W::ZERO, W::ZERO); CONVERT_QUAD];
        let mut rows = [m.row(target(0).row); CONVERT_QUAD];
        unrolled!(CONVERT_QUAD, t, {
            let target = target(t);
            let (c, _) = m.prime(target.prime);
            moduli[t] = (c.q, c.q_inv, c.q.wrapping_sub(W::from_u64(target.big)));
            rows[t] = m.row(target.row);
        });
        let mut acc = [[W::ZERO.widen(); 4]; CONVERT_QUAD];
        let matrix = quad * item.n_src;
        let (mut i, mut room) = (0, W::SUM_TERMS as u32);
        while i < item.n_src {
            let end = Ord::min(item.n_src, i + room);
            while i < end {
                let y = m.shared_load_quad(place.digit::<W>(i), 0);
                let factors = m.pool_quad(item.matrix_at, matrix + i);
                unrolled!(CONVERT_QUAD, t, {
                    unrolled!(4, k, {
                        acc[t][k] = Scalar(y[k]).mul_acc(Scalar(factors[t]), acc[t][k]);
                    });
                });
                i += 1;
            }
            if i < item.n_src {
                unrolled!(CONVERT_QUAD, t, {
                    let reducer = reducer(&m.prime(target(t).prime).0);
                    unrolled!(4, k, {
                        acc[t][k] = reducer.fold_lazy(acc[t][k]);
                    });
                });
                room = W::SUM_FOLD_TERMS as u32;
            }
        }
        let v = m.shared_load_quad(place.quotient::<W>(item.n_src), 0);
        unrolled!(CONVERT_QUAD, t, {
            if first + (t as u32) < item.n_dst {
                let (q, q_inv, minus_big) = moduli[t];
                let mut out = [W::ZERO; 4];
                unrolled!(4, k, {
                    let sum = Scalar(v[k]).mul_acc(Scalar(minus_big), acc[t][k]);
                    out[k] = reduce_sum(sum, Scalar(q), Scalar(q_inv)).0;
                });
                m.store_quad(rows[t], place.at, 0, out);
            }
        });
    }
}

impl<W: Word> ThreadKernel<W> for ConvertBasis {
    const KERNEL: KernelId = KernelId::ConvertBasis;
    const PHASES: u32 = 2;

    #[inline(always)]
    unsafe fn phase<M: Machine<W>>(m: &M, phase: u32) {
        let (idx, part) = item_and_part::<W, Self, M>(m);
        let place = Place::new::<W, M>(m, part);
        // SAFETY: the caller's promises.
        unsafe {
            let item: ConvertBasisItem = entry(m, m.args().items_at, idx);
            if phase == 0 {
                digits(m, &item, place);
                return;
            }
            quotients(m, &item, place);
            let mut quad = place.group;
            while quad * (CONVERT_QUAD as u32) < item.n_dst {
                targets(m, &item, quad, place);
                quad += CONVERT_GROUPS;
            }
        }
    }
}

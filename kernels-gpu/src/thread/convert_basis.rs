//! Centred basis conversion on a GPU: see [`crate::body::convert_basis`].
//!
//! A thread converts four coefficients. It finds the `y_i` and `v` once and keeps them in its part of shared memory, where
//! they can be indexed by a variable (registers cannot, and local memory is device memory). Targets are then taken four
//! at a time: a `y_i` is read once for four products, a matrix word once for four coefficients. No thread reads
//! another's words, so there is no barrier.
//!
//! Shared memory: `y_i` of thread `t` at words `(i THREADS + t) 4 ..`, adjacent threads in different banks.

use super::pointwise::item_and_word;
use super::{Machine, Quad, ThreadKernel, contract_of, entry, reducer};
use crate::abi::launch::THREAD_WORDS;
use crate::abi::{ConvertBasisItem, ConvertSource, ConvertTarget, KernelId, fraction_bits};
use crate::body::convert_basis::{add_fraction, digit, round_quotient};
use crate::body::ntt::unrolled;
use crate::lanes::{Lanes, Scalar, Word};

/// [`KernelId::ConvertBasis`].
#[derive(Debug)]
pub struct ConvertBasis;

/// Where `y_i` of this thread lies.
#[inline(always)]
fn digit_at<W: Word, M: Machine<W>>(m: &M, i: u32) -> u32 {
    (i * const { contract_of::<W, ConvertBasis>().threads } + m.thread()) * THREAD_WORDS
}

/// Targets `first .. first + T` of the coefficients `at ..= at + 3`.
///
/// # Safety
/// As [`ThreadKernel::phase`]; the digits in shared memory.
#[inline(always)]
unsafe fn targets<W: Word, M: Machine<W>, const T: usize>(
    m: &M,
    item: &ConvertBasisItem,
    first: u32,
    at: u32,
    v: Quad<W>,
) {
    // SAFETY: the caller's promises; the matrix holds n_dst rows of n_src words.
    unsafe {
        let mut acc = [[W::ZERO.widen(); 4]; T];
        // v (p - big), below 2^(PRIME_BITS + 6), is the addend that FIRST_TERMS leaves room for.
        unrolled!(T, t, {
            let target: ConvertTarget = entry(m, item.dst_at, first + t as u32);
            let (c, _) = m.prime(target.prime);
            let minus_big = Scalar(c.q.wrapping_sub(W::from_u64(target.big)));
            unrolled!(4, k, {
                acc[t][k] = Scalar(v[k]).mul_acc(minus_big, acc[t][k]);
            });
        });
        let (mut i, mut room) = (0, W::FIRST_TERMS as u32);
        while i < item.n_src {
            let end = Ord::min(item.n_src, i + room);
            while i < end {
                let y = m.shared_load_quad(digit_at(m, i), 0);
                unrolled!(T, t, {
                    let factor_at = item.matrix_at + (first + t as u32) * item.n_src + i;
                    let factor = Scalar(W::from_u64(m.pool_word(factor_at, 0)));
                    unrolled!(4, k, {
                        acc[t][k] = Scalar(y[k]).mul_acc(factor, acc[t][k]);
                    });
                });
                i += 1;
            }
            if i < item.n_src {
                unrolled!(T, t, {
                    let target: ConvertTarget = entry(m, item.dst_at, first + t as u32);
                    let reducer = reducer(&m.prime(target.prime).0);
                    unrolled!(4, k, {
                        acc[t][k] = reducer.fold_lazy(acc[t][k]);
                    });
                });
                room = W::FOLD_TERMS as u32;
            }
        }
        unrolled!(T, t, {
            let target: ConvertTarget = entry(m, item.dst_at, first + t as u32);
            let reducer = reducer(&m.prime(target.prime).0);
            let mut out = [W::ZERO; 4];
            unrolled!(4, k, {
                out[k] = reducer.reduce(acc[t][k]).0;
            });
            m.store_quad(m.row(target.row), at, 0, out);
        });
    }
}

impl<W: Word> ThreadKernel<W> for ConvertBasis {
    const KERNEL: KernelId = KernelId::ConvertBasis;

    #[inline(always)]
    unsafe fn phase<M: Machine<W>>(m: &M, _phase: u32) {
        // SAFETY: the caller's promises; shared memory holds n_src digits a thread.
        unsafe {
            let (idx, at) = item_and_word::<W, Self, M>(m);
            let item: ConvertBasisItem = entry(m, m.args().items_at, idx);
            let mut quotient = [Scalar(W::ZERO); 4];
            let mut i = 0;
            while i < item.n_src {
                let source: ConvertSource = entry(m, item.src_at, i);
                let (c, _) = m.prime(source.prime);
                let modulus = reducer(&c).m;
                let inv = Scalar(c.to_montgomery(W::from_u64(source.inv)));
                let frac = Scalar(W::from_u64(source.frac));
                let mut y = m.load_quad(m.row(source.row), at, 0);
                unrolled!(4, k, {
                    y[k] = digit(Scalar(y[k]), inv, &modulus).0;
                    quotient[k] = add_fraction(quotient[k], Scalar(y[k]), frac);
                });
                m.shared_store_quad(digit_at(m, i), 0, y);
                i += 1;
            }
            let half = Scalar(W::from_u64(1 << (fraction_bits(W::BITS) - 1)));
            let mut v = [W::ZERO; 4];
            unrolled!(4, k, {
                v[k] = round_quotient(quotient[k], half).0;
            });
            let mut first = 0;
            while first + 4 <= item.n_dst {
                targets::<W, M, 4>(m, &item, first, at, v);
                first += 4;
            }
            while first < item.n_dst {
                targets::<W, M, 1>(m, &item, first, at, v);
                first += 1;
            }
        }
    }
}

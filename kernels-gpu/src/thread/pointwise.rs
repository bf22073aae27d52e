//! Kernels without exchange on a GPU: a thread works on four adjacent words, one 16-byte access a row for `u32`.
//!
//! The body runs on four groups of one word; constants, items and addresses are found once for the four.

use super::{Machine, Quad, ThreadKernel, entry, item_and_part, reducer};
use crate::abi::launch::THREAD_WORDS;
use crate::abi::{AutomorphismItem, KernelId, RowItem, RowRef};
use crate::body::ntt::unrolled;
use crate::body::{Modulus, automorphism, elementwise};
use crate::lanes::{Scalar, Word};

/// The element-wise kernel with this index in [`KernelId::ALL`].
#[derive(Debug)]
pub struct Elementwise<const KERNEL: u32>;

/// [`KernelId::SubMulScalar`].
#[derive(Debug)]
pub struct SubMulScalar;

/// [`KernelId::AutomorphismEval`].
#[derive(Debug)]
pub struct AutomorphismEval;

/// [`KernelId::AutomorphismCoeff`].
#[derive(Debug)]
pub struct AutomorphismCoeff;

/// (item, first word) of a thread.
#[inline(always)]
pub(super) fn item_and_word<W: Word, K: ThreadKernel<W>, M: Machine<W>>(m: &M) -> (u32, u32) {
    let (idx, part) = item_and_part::<W, K, M>(m);
    let words_per_block = const { super::contract_of::<W, K>().words_per_block };
    (idx, part * words_per_block + m.thread() * THREAD_WORDS)
}

impl<W: Word, const KERNEL: u32> ThreadKernel<W> for Elementwise<KERNEL> {
    const KERNEL: KernelId = KernelId::ALL[KERNEL as usize];
    type State = ();

    #[inline(always)]
    fn start() {}

    #[inline(always)]
    unsafe fn phase<M: Machine<W>>(m: &M, _phase: u32) {
        let kernel = const { KernelId::ALL[KERNEL as usize] };
        // SAFETY: the caller's promises. Where b is not read, a stands in for it.
        unsafe {
            let (idx, at) = item_and_word::<W, Self, M>(m);
            let item: RowItem = entry(m, m.args().items_at, idx);
            let c = m.prime(item.prime);
            let modulus = reducer(&c).m;
            let plain = W::from_u64(item.scalar);
            let s = Scalar(c.to_montgomery(plain));
            let (dst, a) = (m.row(item.dst), m.row(item.a));
            let b = if kernel.reads_b() { m.row(item.b) } else { a };
            m.wait_for_rows();
            let a = m.load_quad(a, at, 0);
            let b = if kernel.reads_b() { m.load_quad(b, at, 0) } else { a };
            let mut out = a;
            unrolled!(4, k, {
                let (a, b) = (Scalar(a[k]), Scalar(b[k]));
                let word = match kernel {
                    KernelId::Add => elementwise::add(a, b, &modulus),
                    KernelId::Sub => elementwise::sub(a, b, &modulus),
                    KernelId::Neg => elementwise::neg(a, &modulus),
                    KernelId::MulScalar => elementwise::mul_scalar(a, s, &modulus),
                    KernelId::AddScalar => elementwise::add(a, Scalar(plain), &modulus),
                    KernelId::MulScalarAdd => elementwise::mul_scalar_add(a, b, s, &modulus),
                    _ => a,
                };
                out[k] = word.0;
            });
            m.store_quad(dst, at, 0, out);
        }
    }
}

/// `(a - b) s + c`, with `s` in Montgomery form.
#[inline(always)]
pub(super) fn divided<W: Word>(
    [a, b, c]: [Quad<W>; 3],
    s: Scalar<W>,
    modulus: &Modulus<W, Scalar<W>>,
) -> Quad<W> {
    let mut out = a;
    unrolled!(4, k, {
        let x = elementwise::sub_mul_scalar(Scalar(a[k]), Scalar(b[k]), s, modulus);
        out[k] = elementwise::add(x, Scalar(c[k]), modulus).0;
    });
    out
}

impl<W: Word> ThreadKernel<W> for SubMulScalar {
    const KERNEL: KernelId = KernelId::SubMulScalar;
    type State = ();

    #[inline(always)]
    fn start() {}

    #[inline(always)]
    unsafe fn phase<M: Machine<W>>(m: &M, _phase: u32) {
        // SAFETY: the caller's promises; an aligned group of the row comes from one such group.
        unsafe {
            let (idx, at) = item_and_word::<W, Self, M>(m);
            let item: RowItem = entry(m, m.args().items_at, idx);
            let (from, pattern) = if item.galois == 1 {
                (at, 0)
            } else {
                let (group, pattern) =
                    automorphism::eval_group_source(at / THREAD_WORDS, item.galois, m.args().log_n, 2);
                (group * THREAD_WORDS, pattern)
            };
            let prime = m.prime(item.prime);
            let modulus = reducer(&prime).m;
            let s = Scalar(prime.to_montgomery(W::from_u64(item.scalar)));
            let (dst, a, b) = (m.row(item.dst), m.row(item.a), m.row(item.b));
            m.wait_for_rows();
            let (a, b) = (m.load_quad(a, from, 0), m.load_quad(b, from, 0));
            let c = if item.c == RowRef::NONE { [W::ZERO; 4] } else { m.load_quad(m.row(item.c), from, 0) };
            let mut out = divided([a, b, c], s, &modulus);
            if item.galois != 1 {
                out = permute(out, pattern, item.galois);
            }
            m.store_quad(dst, at, 0, out);
        }
    }
}

/// `x` permuted by lane pattern `pattern` ([`automorphism::lane_source`] for four lanes) without an array indexed by a
/// variable: with `y_j = x[brv(j)]` the map is `j -> pattern + g j mod 4`, a rotation by `pattern` and, for `g = 3 mod 4`,
/// a reflection.
#[inline(always)]
pub(super) fn permute<W: Word>(x: Quad<W>, pattern: u32, galois: u32) -> Quad<W> {
    let y = [x[0], x[2], x[1], x[3]];
    let y = if pattern & 1 != 0 { [y[1], y[2], y[3], y[0]] } else { y };
    let y = if pattern & 2 != 0 { [y[2], y[3], y[0], y[1]] } else { y };
    let (odd, last) = if galois & 2 != 0 { (y[3], y[1]) } else { (y[1], y[3]) };
    [y[0], y[2], odd, last]
}

/// Where an automorphism in the evaluation domain has what a thread writes.
#[derive(Clone, Copy)]
pub(super) struct Image {
    galois: u32,
    inverse: u32,
}

impl Image {
    /// Of a Galois element, 1 for none.
    #[inline(always)]
    pub(super) fn new(galois: u32) -> Self {
        Self { galois, inverse: automorphism::inverse_galois(galois) }
    }

    /// Writes the image of words `at + plus ..`, a multiple of four: of aligned groups of four words each goes to one such group.
    ///
    /// # Safety
    /// As [`Machine::store_quad`], wherever the automorphism has the words.
    #[inline(always)]
    pub(super) unsafe fn store_quad<W: Word, M: Machine<W>>(
        self,
        m: &M,
        log_n: u32,
        row: M::Row,
        at: u32,
        plus: u32,
        words: Quad<W>,
    ) {
        // SAFETY: the caller's promises.
        unsafe {
            if self.galois == 1 {
                m.store_quad(row, at, plus, words);
            } else {
                // The group that comes from this one, and how.
                let (to, high) = automorphism::eval_group_source((at + plus) / 4, self.inverse, log_n, 2);
                let pattern = automorphism::image_pattern(high, self.galois, 2);
                m.store_quad(row, to * 4, 0, permute(words, pattern, self.galois));
            }
        }
    }
}

impl<W: Word> ThreadKernel<W> for AutomorphismEval {
    const KERNEL: KernelId = KernelId::AutomorphismEval;
    type State = ();

    #[inline(always)]
    fn start() {}

    #[inline(always)]
    unsafe fn phase<M: Machine<W>>(m: &M, _phase: u32) {
        // SAFETY: the caller's promises; an aligned group of the row comes from one such group.
        unsafe {
            let (idx, at) = item_and_word::<W, Self, M>(m);
            let item: AutomorphismItem = entry(m, m.args().items_at, idx);
            let (from, pattern) =
                automorphism::eval_group_source(at / THREAD_WORDS, item.galois, m.args().log_n, 2);
            let (dst, a) = (m.row(item.dst), m.row(item.a));
            m.wait_for_rows();
            let x = m.load_quad(a, from * THREAD_WORDS, 0);
            m.store_quad(dst, at, 0, permute(x, pattern, item.galois));
        }
    }
}

impl<W: Word> ThreadKernel<W> for AutomorphismCoeff {
    const KERNEL: KernelId = KernelId::AutomorphismCoeff;
    type State = ();

    #[inline(always)]
    fn start() {}

    #[inline(always)]
    unsafe fn phase<M: Machine<W>>(m: &M, _phase: u32) {
        // SAFETY: the caller's promises; sources are below N.
        unsafe {
            let (idx, at) = item_and_word::<W, Self, M>(m);
            let item: AutomorphismItem = entry(m, m.args().items_at, idx);
            let c = m.prime(item.prime);
            let modulus = reducer(&c).m;
            let inverse = automorphism::inverse_galois(item.galois);
            let a = m.row(item.a);
            m.wait_for_rows();
            let mut out = [W::ZERO; 4];
            unrolled!(4, k, {
                let (from, negate) = automorphism::coeff_source(at + k as u32, inverse, m.args().log_n);
                let x = Scalar(m.load(a, from, 0));
                out[k] = if negate { elementwise::neg(x, &modulus).0 } else { x.0 };
            });
            m.store_quad(m.row(item.dst), at, 0, out);
        }
    }
}

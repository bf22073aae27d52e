//! Loops of the kernels other than the NTT over rows on a CPU.
//!
//! Each function works on the words `from .. to` of its rows, multiples of [`SPLIT_WORDS`], so that a large item can be
//! shared out; words of `dst` outside are left alone. Where an automorphism permutes what is written, the words are those that are read,
//! and what is left alone is what is none of their images.

use crate::abi::matrix::{CONVERT_QUAD, matrix_position};
use crate::abi::{
    AutomorphismItem, ConvertBasisItem, ConvertSource, ConvertTarget, InnerProductItem, KernelId,
    MAX_CONVERT_SOURCES, RowItem, RowRef, Term, fraction_bits,
};
use crate::body::inner_product::Reducer;
use crate::body::ntt::unrolled;
use crate::body::tables::{PrimeConstants, RingTables};
use crate::body::{Modulus, automorphism, convert_basis, elementwise};
use crate::cpu::Bindings;
use crate::lanes::{Lanes, Scalar, Word};
use crate::permuted::{GROUPS, Permuted};
use core::mem::{MaybeUninit, size_of};
use core::ops::Range;

/// Ranges of words are multiples of this: four groups of 16 lanes.
pub const SPLIT_WORDS: usize = 64;

/// What every item is run with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a, W> {
    pub(crate) pool: &'a [u64],
    pub(crate) bindings: &'a Bindings<'a>,
    pub(crate) ring: &'a RingTables<'a, W>,
}

impl<W: Word> Call<'_, W> {
    /// The words of a row.
    ///
    /// # Safety
    /// The slot must be bound and hold the row.
    #[inline(always)]
    pub(crate) unsafe fn row(&self, row: RowRef) -> *mut W {
        // SAFETY: the caller's promise.
        unsafe { self.bindings.row(row, self.ring.log_n) }
    }

    /// The constants of a prime.
    ///
    /// # Safety
    /// `prime` must be below the number of primes.
    #[inline(always)]
    pub(crate) unsafe fn prime(&self, prime: u32) -> &PrimeConstants<W> {
        // SAFETY: the caller's promise.
        unsafe { &self.ring.primes.get_unchecked(prime as usize).constants }
    }

    /// Entry `idx` of the table at `at`.
    ///
    /// # Safety
    /// The pool must hold it.
    #[inline(always)]
    pub(crate) unsafe fn entry<T: bytemuck::Pod>(&self, at: usize, idx: usize) -> T {
        // SAFETY: the caller's promise; tables have the alignment of the pool's words.
        unsafe { self.pool.as_ptr().add(at).cast::<T>().add(idx).read() }
    }
}

/// `dst_j = f(a_j, b_j)` by groups of lanes.
///
/// # Safety
/// The rows valid for the range; the CPU must have the instruction set of `L`.
#[inline(always)]
unsafe fn map<W: Word, L: Lanes<W>>(
    dst: *mut W,
    a: *const W,
    b: *const W,
    range: Range<usize>,
    f: impl Fn(L, L) -> L,
) {
    let mut j = range.start;
    while j < range.end {
        // SAFETY: the caller's promises; SPLIT_WORDS is a multiple of LANES.
        unsafe { f(L::load(a.add(j)), L::load(b.add(j))).store(dst.add(j)) };
        j += L::LANES;
    }
}

/// `dst = f(X^galois)` by blocks of groups of lanes, `f` word by word.
///
/// # Safety
/// `dst` valid for the images of the range; the CPU must have the instruction set of `L`.
#[inline(always)]
unsafe fn map_permuted<W: Word, L: Lanes<W>>(
    dst: *mut W,
    permuted: Option<&Permuted<'_, W>>,
    range: Range<usize>,
    f: impl Fn(usize) -> L,
) {
    let mut j = range.start;
    while j < range.end {
        let permuted = permuted.map(|permuted| (permuted, permuted.image::<L>(j)));
        let mut g = 0;
        // One call of `f` in the text, or it would not be inlined into code for its instruction set.
        while g < GROUPS {
            let (at, x) = (j + g * L::LANES, f(j + g * L::LANES));
            // SAFETY: the caller's promises; SPLIT_WORDS is a multiple of GROUPS * LANES.
            unsafe {
                match permuted {
                    Some((permuted, image)) => permuted.store(g, x, image, dst),
                    None => x.store(dst.add(at)),
                }
            }
            g += 1;
        }
        j += GROUPS * L::LANES;
    }
}

/// The element-wise kernels.
///
/// # Safety
/// As [`crate::cpu::run_item`].
#[inline(always)]
pub(crate) unsafe fn elementwise<W: Word, L: Lanes<W>>(
    call: &Call<'_, W>,
    kernel: KernelId,
    item: &RowItem,
    range: Range<usize>,
) {
    // SAFETY: the caller's promises. Where b is not read, a stands in for it.
    unsafe {
        let c = call.prime(item.prime);
        let m = Modulus::<W, L>::new(c);
        let (dst, a) = (call.row(item.dst), call.row(item.a).cast_const());
        let b = if kernel.reads_b() { call.row(item.b).cast_const() } else { a };
        let scalar = W::from_u64(item.scalar);
        let plain = L::splat(scalar);
        let s = L::splat(c.to_montgomery(scalar));
        match kernel {
            KernelId::Add => map(dst, a, b, range, |a, b| elementwise::add(a, b, &m)),
            KernelId::Sub => map(dst, a, b, range, |a, b| elementwise::sub(a, b, &m)),
            KernelId::Neg => map(dst, a, a, range, |a, _| elementwise::neg(a, &m)),
            KernelId::MulScalar => map(dst, a, a, range, |a, _| elementwise::mul_scalar(a, s, &m)),
            KernelId::AddScalar => map(dst, a, a, range, |a, _| elementwise::add(a, plain, &m)),
            KernelId::MulScalarAdd => {
                map(dst, a, b, range, |a, b| elementwise::mul_scalar_add(a, b, s, &m));
            }
            _ => {}
        }
    }
}

/// [`KernelId::InnerProduct`], one sum after the other.
///
/// # Safety
/// As [`crate::cpu::run_item`].
#[inline(always)]
pub(crate) unsafe fn inner_product<W: Word, L: Lanes<W>>(
    call: &Call<'_, W>,
    item: &InnerProductItem,
    range: Range<usize>,
) {
    // SAFETY: the caller's promises.
    unsafe {
        inner_sum::<W, L, 0>(call, item, range.clone());
        if item.n_sums() == 2 {
            inner_sum::<W, L, 1>(call, item, range);
        }
    }
}

/// Sum `H` of an inner product: four groups at a time, so that finding a term's rows is paid once for four groups. Rows lie
/// at multiples of a large power of two, so their lines compete for the same few places of an L1: four vectors are
/// whole cache lines, which need not be fetched twice.
///
/// # Safety
/// As [`crate::cpu::run_item`].
#[inline(always)]
unsafe fn inner_sum<W: Word, L: Lanes<W>, const H: usize>(
    call: &Call<'_, W>,
    item: &InnerProductItem,
    range: Range<usize>,
) {
    let mut patterns = [const { MaybeUninit::uninit() }; 256];
    let permuted =
        (item.galois != 1).then(|| Permuted::new::<L>(&mut patterns, item.galois, call.ring.log_n));
    // SAFETY: the caller's promises; SPLIT_WORDS is a multiple of GROUPS * LANES. A group is read before it is written.
    unsafe {
        let reducer = Reducer::<W, L>::new(call.prime(item.prime));
        let dst = call.row(item.dst[H]);
        let (terms_at, n_terms) = (item.terms_at as usize, item.n_terms as usize);
        let mut j = range.start;
        while j < range.end {
            let mut acc = [L::zero_acc(); GROUPS];
            if item.init[H] != RowRef::NONE {
                let init = call.row(item.init[H]).add(j);
                let times = L::splat(W::from_u64(item.times[H]));
                unrolled!(GROUPS, g, {
                    acc[g] = L::load(init.add(g * L::LANES)).mul_acc_splat(times, acc[g]);
                });
            }
            let (mut t, mut room) = (0, W::FIRST_TERMS - 1);
            while t < n_terms {
                let end = Ord::min(n_terms, t + room);
                while t < end {
                    let term: Term = call.entry(terms_at, t);
                    let (a, b) = (call.row(term.a), call.row(term.b[H]).add(j));
                    if term.log_repeat == 0 {
                        let a = a.add(j);
                        unrolled!(GROUPS, g, {
                            let (a, b) = (L::load(a.add(g * L::LANES)), L::load(b.add(g * L::LANES)));
                            acc[g] = a.mul_acc(b, acc[g]);
                        });
                    } else {
                        unrolled!(GROUPS, g, {
                            let word = term.word_of_a((j + g * L::LANES) as u32, call.ring.log_n);
                            let (a, b) =
                                (L::splat(a.add(word as usize).read()), L::load(b.add(g * L::LANES)));
                            acc[g] = a.mul_acc(b, acc[g]);
                        });
                    }
                    t += 1;
                }
                if t < n_terms {
                    unrolled!(GROUPS, g, {
                        acc[g] = reducer.fold_lazy(acc[g]);
                    });
                    room = W::FOLD_TERMS;
                }
            }
            let permuted = permuted.as_ref().map(|permuted| (permuted, permuted.image::<L>(j)));
            unrolled!(GROUPS, g, {
                let sum = reducer.reduce(acc[g]);
                match permuted {
                    Some((permuted, image)) => permuted.store(g, sum, image, dst),
                    None => sum.store(dst.add(j + g * L::LANES)),
                }
            });
            j += GROUPS * L::LANES;
        }
    }
}

/// Bytes of `y` that [`convert_basis`] keeps on the stack: half an L1.
const DIGIT_BYTES: usize = 16 << 10;

/// Words of each source row taken at a time: 64 for `u32`, 32 for `u64`. Whole cache lines of every row, because rows
/// lie at multiples of a large power of two: their lines compete for the same few places of an L1 and would be
/// fetched again for each group.
const fn convert_chunk<W>() -> usize {
    DIGIT_BYTES / MAX_CONVERT_SOURCES / size_of::<W>()
}

/// [`KernelId::ConvertBasis`]: for a chunk of coefficients all `y_i` and `v`, then the targets, four at a time, so that a
/// `y_i` is loaded once for four products.
///
/// # Safety
/// As [`crate::cpu::run_item`].
#[inline(always)]
pub(crate) unsafe fn convert_basis<W: Word, L: Lanes<W>>(
    call: &Call<'_, W>,
    item: &ConvertBasisItem,
    range: Range<usize>,
) {
    let mut digits = [const { MaybeUninit::<u64>::uninit() }; DIGIT_BYTES / 8];
    let mut quotients = [const { MaybeUninit::<u64>::uninit() }; SPLIT_WORDS];
    let digits = digits.as_mut_ptr().cast::<W>();
    let quotients = quotients.as_mut_ptr().cast::<W>();
    let chunk = convert_chunk::<W>();
    let (n_src, n_dst) = (item.n_src as usize, item.n_dst as usize);
    // SAFETY: the caller's promises; n_src <= MAX_CONVERT_SOURCES, so digits holds n_src chunks, and quotients one;
    // SPLIT_WORDS is a multiple of the chunk, the chunk of LANES.
    unsafe {
        let half = L::splat(W::from_u64(1 << (fraction_bits(W::BITS) - 1)));
        let mut j = range.start;
        while j < range.end {
            let mut g = 0;
            while g < chunk {
                L::splat(W::ZERO).store(quotients.add(g));
                g += L::LANES;
            }
            let mut i = 0;
            while i < n_src {
                let source: ConvertSource = call.entry(item.src_at as usize, i);
                let m = Modulus::<W, L>::new(call.prime(source.prime));
                let x = call.row(source.row).add(j);
                let y = digits.add(i * chunk);
                let inv = L::splat(W::from_u64(source.inv));
                let frac = L::splat(W::from_u64(source.frac));
                let mut g = 0;
                while g < chunk {
                    let digit = convert_basis::digit(L::load(x.add(g)), inv, &m);
                    digit.store(y.add(g));
                    let sum = convert_basis::add_fraction(L::load(quotients.add(g)), digit, frac);
                    sum.store(quotients.add(g));
                    g += L::LANES;
                }
                i += 1;
            }
            let mut g = 0;
            while g < chunk {
                let v = convert_basis::round_quotient(L::load(quotients.add(g)), half);
                v.store(quotients.add(g));
                g += L::LANES;
            }
            let mut quad = 0;
            while quad * CONVERT_QUAD < n_dst {
                convert_targets::<W, L>(call, item, quad, digits, quotients, j);
                quad += 1;
            }
            j += chunk;
        }
    }
}

/// The targets `quad * 4 ..`, at most four, of one chunk, whose first word is `at`.
///
/// # Safety
/// As [`convert_basis`]; `digits` and `quotients` filled.
#[inline(always)]
unsafe fn convert_targets<W: Word, L: Lanes<W>>(
    call: &Call<'_, W>,
    item: &ConvertBasisItem,
    quad: usize,
    digits: *const W,
    quotients: *const W,
    at: usize,
) {
    let chunk = convert_chunk::<W>();
    let (n_src, n_dst) = (item.n_src as usize, item.n_dst as usize);
    // SAFETY: the caller's promises; the matrix holds n_src words of each quad; a target that is not there stands for the last
    // one and is not stored.
    unsafe {
        let matrix = call.pool.as_ptr().add(item.matrix_at as usize).cast::<W>();
        let matrix = matrix.add(matrix_position(0, quad * CONVERT_QUAD, n_src));
        // Found once a chunk: what follows stores words, so the compiler would look them up again for each group.
        let target = |t: usize| -> ConvertTarget {
            call.entry(item.dst_at as usize, Ord::min(quad * CONVERT_QUAD + t, n_dst - 1))
        };
        let mut primes = [call.prime(target(0).prime); CONVERT_QUAD];
        let mut rows = [core::ptr::null_mut::<W>(); CONVERT_QUAD];
        let mut minus_big = [W::ZERO; CONVERT_QUAD];
        unrolled!(CONVERT_QUAD, t, {
            let target = target(t);
            primes[t] = call.prime(target.prime);
            rows[t] = call.row(target.row).add(at);
            minus_big[t] = primes[t].q.wrapping_sub(W::from_u64(target.big));
        });
        let mut g = 0;
        while g < chunk {
            let v = L::load(quotients.add(g));
            let mut acc = [L::zero_acc(); CONVERT_QUAD];
            unrolled!(CONVERT_QUAD, t, {
                acc[t] = v.mul_acc_splat(L::splat(minus_big[t]), acc[t]);
            });
            let (mut i, mut room) = (0, W::SUM_TERMS);
            while i < n_src {
                let end = Ord::min(n_src, i + room);
                while i < end {
                    let y = L::load(digits.add(i * chunk + g));
                    unrolled!(CONVERT_QUAD, t, {
                        let factor = L::splat(matrix.add(i * CONVERT_QUAD + t).read());
                        acc[t] = y.mul_acc_splat(factor, acc[t]);
                    });
                    i += 1;
                }
                if i < n_src {
                    unrolled!(CONVERT_QUAD, t, {
                        acc[t] = L::fold_acc(acc[t], L::splat(primes[t].r1));
                    });
                    room = W::SUM_FOLD_TERMS;
                }
            }
            unrolled!(CONVERT_QUAD, t, {
                if quad * CONVERT_QUAD + t < n_dst {
                    let reducer = Reducer::<W, L>::new(primes[t]);
                    reducer.reduce_sum(acc[t]).store(rows[t].add(g));
                }
            });
            g += L::LANES;
        }
    }
}

/// [`KernelId::AutomorphismEval`].
///
/// # Safety
/// As [`crate::cpu::run_item`].
#[inline(always)]
pub(crate) unsafe fn automorphism_eval<W: Word, L: Lanes<W>>(
    call: &Call<'_, W>,
    item: &AutomorphismItem,
    range: Range<usize>,
) {
    let mut patterns = [const { MaybeUninit::uninit() }; 256];
    let permuted = Permuted::new::<L>(&mut patterns, item.galois, call.ring.log_n);
    // SAFETY: the caller's promises.
    unsafe {
        let (dst, a) = (call.row(item.dst), call.row(item.a).cast_const());
        map_permuted(dst, Some(&permuted), range, |j| L::load(a.add(j)));
    }
}

/// [`KernelId::SubMulScalar`].
///
/// # Safety
/// As [`crate::cpu::run_item`].
#[inline(always)]
pub(crate) unsafe fn sub_mul_scalar<W: Word, L: Lanes<W>>(
    call: &Call<'_, W>,
    item: &RowItem,
    range: Range<usize>,
) {
    let mut patterns = [const { MaybeUninit::uninit() }; 256];
    let permuted =
        (item.galois != 1).then(|| Permuted::new::<L>(&mut patterns, item.galois, call.ring.log_n));
    // SAFETY: the caller's promises; where c is not there, nothing of the pointer is read.
    unsafe {
        let prime = call.prime(item.prime);
        let m = Modulus::<W, L>::new(prime);
        let s = L::splat(prime.to_montgomery(W::from_u64(item.scalar)));
        let (dst, a, b) = (call.row(item.dst), call.row(item.a).cast_const(), call.row(item.b).cast_const());
        let has_c = item.c != RowRef::NONE;
        let c = if has_c { call.row(item.c).cast_const() } else { a };
        map_permuted(dst, permuted.as_ref(), range, |j| {
            let x = elementwise::sub_mul_scalar(L::load(a.add(j)), L::load(b.add(j)), s, &m);
            if has_c { elementwise::add(x, L::load(c.add(j)), &m) } else { x }
        });
    }
}

/// [`KernelId::AutomorphismCoeff`], word by word whatever the lanes: the sources of neighbours are `g^-1` apart.
///
/// # Safety
/// As [`crate::cpu::run_item`].
#[inline(always)]
pub(crate) unsafe fn automorphism_coeff<W: Word>(
    call: &Call<'_, W>,
    item: &AutomorphismItem,
    range: Range<usize>,
) {
    // SAFETY: the caller's promises; sources are below N.
    unsafe {
        let m = Modulus::<W, Scalar<W>>::new(call.prime(item.prime));
        let (dst, a) = (call.row(item.dst), call.row(item.a).cast_const());
        let inverse = automorphism::inverse_galois(item.galois);
        let mut k = range.start;
        while k < range.end {
            let (from, negate) = automorphism::coeff_source(k as u32, inverse, call.ring.log_n);
            let x = Scalar(a.add(from as usize).read());
            let y = elementwise::neg(x, &m);
            dst.add(k).write(if negate { y.0 } else { x.0 });
            k += 1;
        }
    }
}

//! The kernels of one phase: one thread a coefficient, no shared memory.

use super::{Global, Shared, ThreadKernel, entry, run_kernel};
use crate::abi::{
    AutomorphismItem, ConvertBasisItem, ConvertSource, ConvertTarget, InnerProductItem, ItemKind, KernelId,
    MAX_CONVERT_SOURCES, RowItem, RowRef, Term, fraction_bits,
};
use crate::body::inner_product::Reducer;
use crate::body::tables::{PrimeConstants, RingTables};
use crate::body::{Modulus, automorphism, convert_basis, elementwise};
use crate::lanes::{Lanes, Scalar, Word};

/// Threads a block.
const THREADS: usize = 128;

/// What one thread does for its coefficient.
struct PerWord<W, F> {
    log_n: u32,
    body: F,
    word: core::marker::PhantomData<W>,
}

impl<W: Word, F: Fn(usize, &mut Global<'_, W>)> ThreadKernel<W> for PerWord<W, F> {
    type Regs = ();
    const PHASES: usize = 1;

    fn grid(&self) -> (usize, usize, usize) {
        ((1 << self.log_n) / THREADS, THREADS, 0)
    }

    fn start(&self) {}

    fn phase(
        &self,
        _phase: usize,
        block: usize,
        thread: usize,
        _regs: &mut (),
        _shared: &mut Shared<W>,
        global: &mut Global<'_, W>,
    ) {
        (self.body)(block * THREADS + thread, global);
    }
}

/// The constants of a prime for one word.
fn reducer<W: Word>(c: &PrimeConstants<W>) -> Reducer<W, Scalar<W>> {
    // SAFETY: one word needs no instruction set.
    unsafe { Reducer::new(c) }
}

/// Runs the item at `at`.
pub(super) fn run<W: Word>(
    kernel: KernelId,
    pool: &[u64],
    at: usize,
    global: &mut Global<'_, W>,
    ring: &RingTables<'_, W>,
) {
    let log_n = ring.log_n;
    let prime = |idx: u32| &ring.primes[idx as usize].constants;
    let word = core::marker::PhantomData;
    match kernel.item() {
        ItemKind::Row => {
            let item: RowItem = entry(pool, at);
            let c = prime(item.prime);
            let body = |k: usize, global: &mut Global<'_, W>| {
                let a = Scalar(global.read(item.a, k));
                let b = if kernel.reads_b() { Scalar(global.read(item.b, k)) } else { a };
                global.write(item.dst, k, row_word(kernel, a, b, W::from_u64(item.scalar), c).0);
            };
            run_kernel(&PerWord { log_n, body, word }, global);
        }
        ItemKind::InnerProduct => {
            let item: InnerProductItem = entry(pool, at);
            let reducer = reducer(prime(item.prime));
            let body = |k: usize, global: &mut Global<'_, W>| {
                let init = if item.init == RowRef::NONE { W::ZERO } else { global.read(item.init, k) };
                let mut acc = init.widen();
                for t in 0..item.n_terms as usize {
                    if t > 0 && t % W::FOLD_TERMS == 0 {
                        acc = reducer.fold_lazy(acc);
                    }
                    let term: Term = entry(pool, item.terms_at as usize + 2 * t);
                    let (a, b) = (Scalar(global.read(term.a, k)), Scalar(global.read(term.b, k)));
                    acc = a.mul_acc(b, acc);
                }
                global.write(item.dst, k, reducer.reduce(acc).0);
            };
            run_kernel(&PerWord { log_n, body, word }, global);
        }
        ItemKind::ConvertBasis => {
            let item: ConvertBasisItem = entry(pool, at);
            let body = |k: usize, global: &mut Global<'_, W>| convert_word(pool, &item, k, global, ring);
            run_kernel(&PerWord { log_n, body, word }, global);
        }
        ItemKind::Automorphism => {
            let item: AutomorphismItem = entry(pool, at);
            let m = reducer(prime(item.prime)).m;
            let inverse = automorphism::inverse_galois(item.galois);
            let body = |k: usize, global: &mut Global<'_, W>| {
                let (from, negate) = if kernel == KernelId::AutomorphismEval {
                    (automorphism::eval_source(k as u32, item.galois, log_n), false)
                } else {
                    automorphism::coeff_source(k as u32, inverse, log_n)
                };
                let x = Scalar(global.read(item.a, from as usize));
                global.write(item.dst, k, if negate { elementwise::neg(x, &m).0 } else { x.0 });
            };
            run_kernel(&PerWord { log_n, body, word }, global);
        }
    }
}

/// One word of an element-wise kernel.
fn row_word<W: Word>(
    kernel: KernelId,
    a: Scalar<W>,
    b: Scalar<W>,
    scalar: W,
    c: &PrimeConstants<W>,
) -> Scalar<W> {
    let m: Modulus<W, Scalar<W>> = reducer(c).m;
    let s = Scalar(c.to_montgomery(scalar));
    match kernel {
        KernelId::Add => elementwise::add(a, b, &m),
        KernelId::Sub => elementwise::sub(a, b, &m),
        KernelId::Neg => elementwise::neg(a, &m),
        KernelId::MulScalar => elementwise::mul_scalar(a, s, &m),
        KernelId::AddScalar => elementwise::add(a, Scalar(scalar), &m),
        KernelId::SubMulScalar => elementwise::sub_mul_scalar(a, b, s, &m),
        KernelId::MulScalarAdd => elementwise::mul_scalar_add(a, b, s, &m),
        _ => a,
    }
}

/// One coefficient of a basis conversion.
fn convert_word<W: Word>(
    pool: &[u64],
    item: &ConvertBasisItem,
    k: usize,
    global: &mut Global<'_, W>,
    ring: &RingTables<'_, W>,
) {
    let prime = |idx: u32| &ring.primes[idx as usize].constants;
    let mut y = [Scalar(W::ZERO); MAX_CONVERT_SOURCES];
    let mut quotient = Scalar(W::ZERO);
    let n_src = item.n_src as usize;
    for (i, y) in y.iter_mut().take(n_src).enumerate() {
        let words = size_of::<ConvertSource>() / 8;
        let source: ConvertSource = entry(pool, item.src_at as usize + i * words);
        let c = prime(source.prime);
        let inv = Scalar(c.to_montgomery(W::from_u64(source.inv)));
        *y = convert_basis::digit(Scalar(global.read(source.row, k)), inv, &reducer(c).m);
        quotient = convert_basis::add_fraction(quotient, *y, Scalar(W::from_u64(source.frac)));
    }
    let half = Scalar(W::from_u64(1 << (fraction_bits(W::BITS) - 1)));
    let v = convert_basis::round_quotient(quotient, half);
    for j in 0..item.n_dst as usize {
        let words = size_of::<ConvertTarget>() / 8;
        let target: ConvertTarget = entry(pool, item.dst_at as usize + j * words);
        let c = prime(target.prime);
        let reducer = reducer(c);
        let mut acc = v.mul_acc(Scalar(c.q.wrapping_sub(W::from_u64(target.big))), W::ZERO.widen());
        for (i, y) in y.iter().take(n_src).enumerate() {
            if (i + 1) % W::FOLD_TERMS == 0 {
                acc = reducer.fold_lazy(acc);
            }
            let m = W::from_u64(pool[item.matrix_at as usize + j * n_src + i]);
            acc = y.mul_acc(Scalar(m), acc);
        }
        global.write(target.row, k, reducer.reduce(acc).0);
    }
}

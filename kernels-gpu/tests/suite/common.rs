//! Cases (a launch, its pool, its rows before and after) and the machines that run them.

pub(crate) mod oracle;

use kernels_gpu::abi::launch::KernelArgs;
use kernels_gpu::abi::{
    AutomorphismItem, ConvertBasisItem, ConvertSource, ConvertTarget, EmbedInverseItem, InnerProductItem,
    ItemKind, KernelId, Launch, MAX_BEGUN_TERMS, MIN_LOG_REPEAT, RoundResiduesItem, RoundTarget, RowItem,
    RowRef, Term, fraction_bits,
    matrix::{fill_matrix, matrix_pool_words},
};
use kernels_gpu::body::tables::{PrimeConstants, PrimeTables, RingTables, fill_twiddles};
use kernels_gpu::cpu::{Base, Bindings, CpuWord, LaneKind, SPLIT_WORDS, splits, transforms_after};
use kernels_gpu::device_tables::{PrimeRoot, fill_image, image_bytes};
use kernels_gpu::emulator;
use kernels_gpu::lanes::Word;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The lane kinds that this CPU has the features for.
fn kinds() -> Vec<LaneKind> {
    let mut kinds = vec![LaneKind::Scalar];
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("bmi2") {
        if is_x86_feature_detected!("avx2") {
            kinds.push(LaneKind::Avx2);
        }
        if is_x86_feature_detected!("avx512f") {
            kinds.push(LaneKind::Avx512);
        }
    }
    kinds
}

/// What input rows hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    Random,
    Zero,
    Max,
}

impl Fill {
    pub(crate) const ALL: [Self; 3] = [Self::Random, Self::Zero, Self::Max];

    fn word(self, q: u64, rng: &mut ChaCha8Rng) -> u64 {
        match self {
            Self::Random => rng.random_range(0..q),
            Self::Zero => 0,
            Self::Max => q - 1,
        }
    }
}

/// The primes of a test and their twiddles.
pub(crate) struct Ring<W> {
    pub(crate) log_n: u32,
    pub(crate) primes: Vec<u64>,
    pub(crate) psi: Vec<u64>,
    constants: Vec<PrimeConstants<W>>,
}

impl<W: Word> Ring<W> {
    /// `n_large` primes of full size, then a middling one and the smallest one allowed.
    pub(crate) fn new(log_n: u32, n_large: usize) -> Self {
        let mut primes = oracle::primes_below(W::PRIME_BITS, log_n, n_large);
        let middle = if W::BITS == 32 { 25 } else { 45 };
        primes.push(oracle::prime_above(middle, log_n));
        primes.push(oracle::prime_above(fraction_bits(W::BITS), log_n));
        let psi: Vec<u64> = primes.iter().map(|&q| oracle::root(q, log_n)).collect();
        let constants = primes
            .iter()
            .zip(&psi)
            .map(|(&q, &psi)| PrimeConstants::new(W::from_u64(q), W::from_u64(psi), log_n))
            .collect();
        Self { log_n, primes, psi, constants }
    }

    pub(crate) fn n(&self) -> usize {
        1 << self.log_n
    }

    /// Twiddles of every prime, arranged.
    pub(crate) fn twiddles(&self, log_lanes: u32) -> Vec<Vec<W>> {
        let fill = |(c, &psi): (&PrimeConstants<W>, &u64)| {
            let mut out = vec![W::from_u64(u64::MAX); self.n()];
            fill_twiddles(c, W::from_u64(psi), self.log_n, log_lanes, &mut out);
            out
        };
        self.constants.iter().zip(&self.psi).map(fill).collect()
    }

    pub(crate) fn tables<'a>(&self, twiddles: &'a [Vec<W>]) -> Vec<PrimeTables<'a, W>> {
        let pair =
            |(&constants, twiddles): (&PrimeConstants<W>, &'a Vec<W>)| PrimeTables { constants, twiddles };
        self.constants.iter().zip(twiddles).map(pair).collect()
    }
}

/// Outputs and rows worked on in place.
const ARENA: u32 = 0;
/// Inputs.
const INPUTS: u32 = 1;

/// A launch with its rows before and after.
pub(crate) struct Case<'a, W> {
    ring: &'a Ring<W>,
    rng: ChaCha8Rng,
    fill: Fill,
    pool: Vec<u64>,
    items: Vec<u64>,
    n_items: u32,
    /// Transforms that the launch ends, begun in a launch before it; their rows are the backend's own.
    begun: Vec<RowItem>,
    /// Inverse ones.
    begun_inverse: Vec<RowItem>,
    /// Transforms that the launch begins, ended in a launch after it.
    ended: Vec<RowItem>,
    before: [Vec<Vec<u64>>; 2],
    after: [Vec<Vec<u64>>; 2],
    kernel: KernelId,
}

impl<'a, W: CpuWord> Case<'a, W> {
    pub(crate) fn new(ring: &'a Ring<W>, kernel: KernelId, fill: Fill, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // A few words before the first table, so that index 0 is nobody's.
        let pool = (0..3).map(|_| rng.next_u64()).collect();
        Self {
            ring,
            rng,
            fill,
            pool,
            items: vec![],
            n_items: 0,
            begun: vec![],
            begun_inverse: vec![],
            ended: vec![],
            before: Default::default(),
            after: Default::default(),
            kernel,
        }
    }

    fn push_row(&mut self, slot: u32, words: Vec<u64>) -> RowRef {
        let slot_idx = slot as usize;
        self.before[slot_idx].push(words.clone());
        self.after[slot_idx].push(words);
        RowRef { slot, row: (self.before[slot_idx].len() - 1) as u32 }
    }

    fn words(&mut self, prime: usize) -> Vec<u64> {
        let q = self.ring.primes[prime];
        (0..self.ring.n()).map(|_| self.fill.word(q, &mut self.rng)).collect()
    }

    fn input(&mut self, prime: usize) -> (RowRef, Vec<u64>) {
        let words = self.words(prime);
        (self.push_row(INPUTS, words.clone()), words)
    }

    /// A poisoned row.
    fn output(&mut self) -> RowRef {
        let poison = W::from_u64(u64::MAX).to_u64();
        self.push_row(ARENA, vec![poison; self.ring.n()])
    }

    fn expect(&mut self, row: RowRef, words: Vec<u64>) {
        self.after[row.slot as usize][row.row as usize] = words;
    }

    /// A table in the pool; its index.
    fn table<T: bytemuck::Pod>(&mut self, entries: &[T]) -> u32 {
        let at = self.pool.len();
        self.pool.extend_from_slice(bytemuck::cast_slice(entries));
        at as u32
    }

    fn item<T: bytemuck::Pod>(&mut self, item: T) {
        assert_eq!(size_of::<T>() / 8, self.kernel.item().pool_words());
        self.items.extend_from_slice(bytemuck::cast_slice(&[item]));
        self.n_items += 1;
    }

    /// An item of a row kernel; `in_place`: `dst` is `a`.
    pub(crate) fn row_item(&mut self, prime: usize, in_place: bool) {
        let kernel = self.kernel;
        if kernel == KernelId::NttRows {
            let (row, words) = self.begun_row(prime);
            self.expect(row, words);
            return self.item(RowItem::new(row, row, prime as u32));
        }
        let (q, psi) = (self.ring.primes[prime], self.ring.psi[prime]);
        let b = if kernel.reads_b() { self.input(prime) } else { (RowRef::NONE, vec![0; self.ring.n()]) };
        let scalar = if kernel.reads_scalar() { self.fill.word(q, &mut self.rng) } else { 0 };
        let mut a_words = self.words(prime);
        let mut out: Vec<u64> = a_words
            .iter()
            .zip(&b.1)
            .map(|(&a, &b)| match kernel {
                KernelId::Add => oracle::add(a, b, q),
                KernelId::Sub => oracle::add(a, q - b, q),
                KernelId::Neg => (q - a) % q,
                KernelId::MulScalar => oracle::mul(a, scalar, q),
                KernelId::AddScalar => oracle::add(a, scalar, q),
                KernelId::MulScalarAdd => oracle::add(oracle::mul(a, scalar, q), b, q),
                // Transforms: below.
                _ => a,
            })
            .collect();
        if kernel == KernelId::Ntt {
            out = oracle::ntt(&a_words, psi, q);
        }
        if kernel == KernelId::Intt {
            // Extreme on the side that is read; for that its transform must be known: constants have one.
            if self.fill == Fill::Max {
                out = vec![0; self.ring.n()];
                out[0] = q - 1;
            } else {
                a_words = oracle::ntt(&out, psi, q);
            }
        }
        let a = self.push_row(if in_place { ARENA } else { INPUTS }, a_words);
        let dst = if in_place { a } else { self.output() };
        self.expect(dst, out);
        self.item(RowItem { b: b.0, scalar, ..RowItem::new(dst, a, prime as u32) });
    }

    /// An item of the last step of `mod_down`; `add`: with a third operand.
    pub(crate) fn sub_mul_scalar_item(&mut self, prime: usize, galois: u32, add: bool) {
        let q = self.ring.primes[prime];
        let ends = self.kernel == KernelId::NttRowsSubMulScalar;
        let (a, b) = (self.input(prime), if ends { self.begun_row(prime) } else { self.input(prime) });
        let c = if add { self.input(prime) } else { (RowRef::NONE, vec![0; self.ring.n()]) };
        let scalar = self.fill.word(q, &mut self.rng);
        let words = a.1.iter().zip(b.1.iter().zip(&c.1));
        let out: Vec<u64> = words
            .map(|(&a, (&b, &c))| oracle::add(oracle::mul(oracle::add(a, q - b, q), scalar, q), c, q))
            .collect();
        let dst = self.output();
        let out = self.image(out, prime, galois);
        self.expect(dst, out);
        self.item(RowItem { b: b.0, c: c.0, scalar, galois, ..RowItem::new(dst, a.0, prime as u32) });
    }

    /// Values after an automorphism, by its definition, on coefficients.
    fn image(&self, values: Vec<u64>, prime: usize, galois: u32) -> Vec<u64> {
        let (q, psi) = (self.ring.primes[prime], self.ring.psi[prime]);
        match galois {
            1 => values,
            g => oracle::ntt(&oracle::automorphism(&oracle::intt(&values, psi, q), g as usize, q), psi, q),
        }
    }

    /// A row whose transform is begun, in place or not, and what it will be.
    fn begun_row(&mut self, prime: usize) -> (RowRef, Vec<u64>) {
        let (q, psi) = (self.ring.primes[prime], self.ring.psi[prime]);
        let coefficients = self.words(prime);
        let values = oracle::ntt(&coefficients, psi, q);
        let a = self.push_row(ARENA, coefficients);
        let dst = if self.begun.len().is_multiple_of(2) { a } else { self.output() };
        self.begun.push(RowItem::new(dst, a, prime as u32));
        (dst, values)
    }

    /// A row of a conversion's source, and its coefficients: given by values, whose inverse transform is begun, in place or not, if the
    /// conversion ends it.
    fn source_row(&mut self, prime: usize) -> (RowRef, Vec<u64>) {
        if self.kernel == KernelId::ConvertBasis {
            return self.input(prime);
        }
        let (q, psi) = (self.ring.primes[prime], self.ring.psi[prime]);
        let coefficients = self.words(prime);
        let a = self.push_row(ARENA, oracle::ntt(&coefficients, psi, q));
        let dst = if self.begun_inverse.len().is_multiple_of(2) { a } else { self.output() };
        self.begun_inverse.push(RowItem::new(dst, a, prime as u32));
        (dst, coefficients)
    }

    /// Expects the coefficients of a conversion's target in a row, or the transform that it begins.
    fn expect_target(&mut self, row: RowRef, prime: usize, coefficients: Vec<u64>) {
        if self.kernel == KernelId::ConvertBasis {
            return self.expect(row, coefficients);
        }
        self.ended.push(RowItem::new(row, row, prime as u32));
        self.expect(row, oracle::ntt(&coefficients, self.ring.psi[prime], self.ring.primes[prime]));
    }

    /// An item of the inner product with `n_sums` sums; `init`: with addends, which are then also the destinations if nothing is
    /// permuted.
    pub(crate) fn inner_product_item(
        &mut self,
        prime: usize,
        n_terms: usize,
        n_sums: usize,
        init: bool,
        galois: u32,
    ) {
        let q = self.ring.primes[prime];
        let mut sums = vec![];
        let mut inits = [RowRef::NONE; 2];
        let mut times = [1; 2];
        for (start, times) in inits[..n_sums].iter_mut().zip(&mut times) {
            let mut sum = if init { self.words(prime) } else { vec![0; self.ring.n()] };
            if init {
                *start = self.push_row(ARENA, sum.clone());
                // The largest and others.
                *times = if n_terms.is_multiple_of(2) { q - 1 } else { 1 + sum[0] % (q - 1) };
                sum.iter_mut().for_each(|x| *x = oracle::mul(*x, *times, q));
            }
            sums.push(sum);
        }
        let mut terms = vec![];
        let mut begun = 0;
        for t in 0..n_terms {
            // Of the kernel that ends transforms all but every third.
            let ends = self.kernel == KernelId::NttRowsInnerProduct && t % 3 != 2 && t < MAX_BEGUN_TERMS;
            let a = if ends { self.begun_row(prime) } else { self.input(prime) };
            begun |= u32::from(ends) << (t % MAX_BEGUN_TERMS);
            // Of the others every second: one limb of a row, in runs of every length.
            let lengths = MIN_LOG_REPEAT..self.ring.log_n;
            let log_repeat =
                lengths.clone().nth(t % lengths.len().max(1)).filter(|_| !ends && t % 2 == 0).unwrap_or(0);
            let part = (t as u32).wrapping_mul(2_654_435_761) & ((1 << log_repeat) - 1);
            let term = Term { part, log_repeat, ..Term::new(a.0, [RowRef::NONE; 2]) };
            let n = self.ring.n();
            let first = |i: usize| a.1[(part as usize * n + i) >> log_repeat];
            let mut factors = [RowRef::NONE; 2];
            for (factor, sum) in factors.iter_mut().zip(&mut sums) {
                let b = self.input(prime);
                for (i, (sum, &b)) in sum.iter_mut().zip(&b.1).enumerate() {
                    *sum = oracle::add(*sum, oracle::mul(first(i), b, q), q);
                }
                *factor = b.0;
            }
            terms.push(Term { b: factors, ..term });
        }
        let mut dst = inits;
        for (dst, sum) in dst.iter_mut().zip(sums) {
            if !init || galois != 1 {
                *dst = self.output();
            }
            let sum = self.image(sum, prime, galois);
            self.expect(*dst, sum);
        }
        let terms_at = self.table(&terms);
        let (n_terms, prime) = (n_terms as u32, prime as u32);
        let init = inits;
        self.item(InnerProductItem { dst, init, times, terms_at, n_terms, prime, begun, galois, pad: 0 });
    }

    /// A conversion between disjoint sets of primes, by the formula of the ABI. `extreme`: not with the constants
    /// of the bases but with those that make every product as large as it can be (on rows at `q - 1`).
    pub(crate) fn convert_item(&mut self, from: &[usize], to: &[usize], extreme: bool) {
        let f = fraction_bits(W::BITS);
        let d: Vec<u64> = from.iter().map(|&i| self.ring.primes[i]).collect();
        // The product of all d but number `skip`, mod q.
        let product = |skip: usize, q: u64| {
            (0..d.len()).filter(|&i| i != skip).fold(1, |x, i| oracle::mul(x, d[i] % q, q))
        };
        let mut sources = vec![];
        let mut columns = vec![];
        for (i, &prime) in from.iter().enumerate() {
            let (row, words) = self.source_row(prime);
            let frac = ((1u128 << (f + W::BITS)) / u128::from(d[i])) as u64;
            let inv = if extreme { 1 } else { oracle::inv(product(i, d[i]), d[i]) };
            sources.push(ConvertSource { row, inv, frac, prime: prime as u32, pad: 0 });
            columns.push(words);
        }
        let mut targets = vec![];
        let mut matrix = vec![];
        for &prime in to {
            let p = self.ring.primes[prime];
            let big = if extreme { 0 } else { product(usize::MAX, p) };
            let row = self.output();
            targets.push(ConvertTarget { row, big, prime: prime as u32, pad: 0 });
            let factors: Vec<u64> =
                (0..d.len()).map(|i| if extreme { p - 1 } else { product(i, p) }).collect();
            let words = (0..self.ring.n())
                .map(|k| {
                    let y = |i: usize| oracle::mul(columns[i][k], sources[i].inv, d[i]);
                    let sum: u128 = (0..d.len())
                        .map(|i| (u128::from(y(i)) * u128::from(sources[i].frac)) >> W::BITS)
                        .sum();
                    let v = ((sum + (1 << (f - 1))) >> f) as u64;
                    let z = (0..d.len()).fold(0, |z, i| oracle::add(z, oracle::mul(y(i), factors[i], p), p));
                    oracle::add(z, p - oracle::mul(v, big, p), p)
                })
                .collect();
            self.expect_target(row, prime, words);
            matrix.push(factors);
        }
        // The pool has Montgomery's forms.
        let form = |x: u64, prime: u32| {
            ((u128::from(x) << W::BITS) % u128::from(self.ring.primes[prime as usize])) as u64
        };
        for source in &mut sources {
            source.inv = form(source.inv, source.prime);
        }
        for target in &mut targets {
            target.big = form(target.big, target.prime);
        }
        let mut packed = vec![0; matrix_pool_words(d.len(), to.len(), W::BITS)];
        let primes: Vec<u64> = to.iter().map(|&prime| self.ring.primes[prime]).collect();
        fill_matrix(&mut packed, d.len(), &primes, W::BITS, |i, j| form(matrix[j][i], to[j] as u32));
        let (src_at, dst_at) = (self.table(&sources), self.table(&targets));
        if !self.pool.len().is_multiple_of(2) {
            self.pool.push(u64::MAX);
        }
        let matrix_at = self.table(&packed);
        let (n_src, n_dst) = (from.len() as u32, to.len() as u32);
        self.item(ConvertBasisItem { src_at, n_src, dst_at, n_dst, matrix_at, pad: 0 });
    }

    /// An automorphism, in the kernel's domain; the oracle works on coefficients.
    pub(crate) fn automorphism_item(&mut self, prime: usize, galois: u32) {
        let (q, psi) = (self.ring.primes[prime], self.ring.psi[prime]);
        let coeffs = self.words(prime);
        let image = oracle::automorphism(&coeffs, galois as usize, q);
        let (a, out) = if self.kernel == KernelId::AutomorphismEval {
            (oracle::ntt(&coeffs, psi, q), oracle::ntt(&image, psi, q))
        } else {
            (coeffs, image)
        };
        let a = self.push_row(INPUTS, a);
        let dst = self.output();
        self.expect(dst, out);
        self.item(AutomorphismItem { dst, a, galois, prime: prime as u32 });
    }

    /// Words of a row that holds doubles, over what it held.
    fn with_doubles(&self, mut words: Vec<u64>, values: &[f64]) -> Vec<u64> {
        let per_double = (64 / W::BITS) as usize;
        for (k, x) in values.iter().enumerate() {
            for i in 0..per_double {
                words[per_double * k + i] = W::from_u64(x.to_bits() >> (i as u32 * W::BITS % 64)).to_u64();
            }
        }
        words
    }

    fn double_row(&mut self, values: &[f64]) -> RowRef {
        let words = self.with_doubles(vec![W::ONE.to_u64(); self.ring.n()], values);
        self.push_row(INPUTS, words)
    }

    /// A vector of complex numbers in two rows, real parts first.
    fn vector(&mut self, values: &[[f64; 2]]) -> [RowRef; 2] {
        [0, 1].map(|part| self.double_row(&values.iter().map(|z| z[part]).collect::<Vec<_>>()))
    }

    /// An inverse special FFT with any factors.
    pub(crate) fn embed_inverse_item(&mut self) {
        let n_slots = self.ring.n() / 2;
        let (largest, fill) = (if self.fill == Fill::Max { 1e280 } else { 8.0 }, self.fill);
        let mut random = |largest: f64| {
            let mut part = || self.rng.random_range(-largest..largest);
            (0..n_slots).map(|_| [part(), part()]).collect::<Vec<_>>()
        };
        let slots = if fill == Fill::Zero { vec![[0.0, -0.0]; n_slots] } else { random(largest) };
        let factors = random(1.0);
        let mut out = slots.clone();
        oracle::embed_inverse(&mut out, &factors);
        let (src, factors) = (self.vector(&slots), self.vector(&factors));
        let dst = [0, 1].map(|part| {
            let row = self.output();
            let parts: Vec<f64> = out.iter().map(|z| z[part]).collect();
            let words = self.with_doubles(vec![W::from_u64(u64::MAX).to_u64(); self.ring.n()], &parts);
            self.expect(row, words);
            row
        });
        self.item(EmbedInverseItem { dst, src, factors });
    }

    /// Rounding to some primes at a scale: integers, ties, and numbers next to `2^63` if they are to be large.
    pub(crate) fn round_residues_item(&mut self, primes: &[usize], scale: f64) {
        let n_slots = self.ring.n() / 2;
        let unscale = n_slots as f64 / scale;
        let fill = self.fill;
        let mut value = || match (fill, self.rng.random_range(0..8u32)) {
            (Fill::Zero, k) => [0.0, -0.0, 0.5, -0.5, 0.49, -0.51, 0.25, -0.25][k as usize] * unscale,
            (Fill::Max, k) => (-1f64).powi(k as i32) * (2f64.powi(63) - 1024.0 * f64::from(k + 1)) * unscale,
            (_, 0) => (f64::from(self.rng.random_range(-1000..1000i32)) + 0.5) * unscale,
            (_, 1) => (2f64.powi(52) + f64::from(self.rng.random_range(-9..9i32)) + 0.5) * unscale,
            (_, bits) => self.rng.random_range(-1.0..1.0) * 2f64.powi(9 * bits as i32) * unscale,
        };
        let values: Vec<[f64; 2]> = (0..n_slots).map(|_| [value(), value()]).collect();
        let src = self.vector(&values);
        let log_slots = self.ring.log_n - 1;
        let coefficient = |k: usize| {
            let c = values[oracle::brv(k % n_slots, log_slots)][k / n_slots];
            let x = c * (1.0 / n_slots as f64) * scale;
            assert!(x.abs() < 2f64.powi(63), "{x}");
            x
        };
        let coefficients: Vec<f64> = (0..self.ring.n()).map(coefficient).collect();
        let target = |&prime: &usize| {
            let row = self.output();
            let q = self.ring.primes[prime];
            self.expect(row, coefficients.iter().map(|&x| oracle::round_mod(x, q)).collect());
            RoundTarget { row, prime: prime as u32, pad: 0 }
        };
        let targets: Vec<RoundTarget> = primes.iter().map(target).collect();
        let dst_at = self.table(&targets);
        self.item(RoundResiduesItem { src, scale: scale.to_bits(), dst_at, n_dst: targets.len() as u32 });
    }

    /// A few items of the kernel, on small and large primes, in place and not.
    ///
    /// Of kernels that begin a transform there are none: what they leave is seen through those that end it.
    pub(crate) fn items(&mut self) {
        let last = self.ring.primes.len() - 1;
        let n = self.ring.n() as u32;
        match self.kernel.item() {
            ItemKind::Row if self.kernel.reads_c() => {
                for (prime, galois, add) in [
                    (0, 1, false),
                    (1, 5, true),
                    (last - 1, 2 * n - 1, false),
                    (last, 1, true),
                    (0, n + 1, true),
                ] {
                    self.sub_mul_scalar_item(prime, galois, add);
                }
            }
            ItemKind::Row if matches!(self.kernel, KernelId::NttColumns | KernelId::InttRows) => {}
            ItemKind::Row => {
                for (prime, in_place) in [(0, false), (1, true), (last - 1, false), (last, true)] {
                    self.row_item(prime, in_place);
                }
            }
            ItemKind::InnerProduct => {
                for (prime, n_terms, n_sums, init, galois) in [
                    (0, 1, 1, false, 1),
                    (1, 3, 1, true, 1),
                    (last, W::FIRST_TERMS + 1, 1, true, 1),
                    (0, W::FIRST_TERMS, 1, true, 1),
                    (0, 1, 2, false, 1),
                    (last, 3, 2, true, 1),
                    (1, W::FIRST_TERMS + 1, 2, true, 1),
                    (0, 1, 1, false, 5),
                    (1, 3, 2, true, 2 * n - 1),
                    (last - 1, 2, 2, false, 125),
                    (last, 2, 1, true, n + 1),
                    // One more than blocks of four.
                    (1, 4, 2, false, 1),
                ] {
                    self.inner_product_item(prime, n_terms, n_sums, init, galois);
                }
                let galois = (self.rng.next_u32() % (2 * n)) | 1;
                self.inner_product_item(0, 2, 2, true, galois);
            }
            ItemKind::ConvertBasis => {
                self.convert_item(&[0], &[1], false);
                self.convert_item(&[1, last, 2], &[3, 0, last - 1], false);
                self.convert_item(&[last - 1, 0], &[3, 2, 1, last, 4], false);
            }
            ItemKind::Automorphism => {
                for (prime, galois) in [(0, 5), (1, 2 * n - 1), (last, 25), (0, 1), (1, n + 1)] {
                    self.automorphism_item(prime, galois);
                }
                let galois = (self.rng.next_u32() % (2 * n)) | 1;
                self.automorphism_item(last, galois);
            }
            ItemKind::EmbedInverse => {
                self.embed_inverse_item();
                self.embed_inverse_item();
            }
            ItemKind::RoundResidues => {
                self.round_residues_item(&[last, 0, 1], 2f64.powi(40));
                self.round_residues_item(&[2], 2f64.powi(11));
                self.round_residues_item(&[1, last - 1], 1.25e9);
            }
        }
    }

    /// The launches: items after the tables.
    fn launches(&self) -> (Vec<Launch>, Vec<u64>) {
        let mut pool = self.pool.clone();
        let mut launches = vec![];
        for (kernel, items, n_items) in [
            (KernelId::NttColumns, bytemuck::cast_slice(&self.begun), self.begun.len() as u32),
            (KernelId::InttRows, bytemuck::cast_slice(&self.begun_inverse), self.begun_inverse.len() as u32),
            (self.kernel, &self.items, self.n_items),
            (KernelId::NttRows, bytemuck::cast_slice(&self.ended), self.ended.len() as u32),
        ] {
            if n_items > 0 || kernel == self.kernel {
                launches.push(Launch { kernel, items_at: pool.len() as u32, n_items });
                pool.extend_from_slice(items);
            }
        }
        (launches, pool)
    }

    fn memory(&self) -> [Vec<W>; 2] {
        self.before.each_ref().map(|rows| rows.iter().flatten().map(|&x| W::from_u64(x)).collect())
    }

    fn check(&self, memory: &[Vec<W>; 2], who: &str) {
        for (slot, rows) in self.after.iter().enumerate() {
            for (row, (words, got)) in rows.iter().zip(memory[slot].chunks(self.ring.n())).enumerate() {
                let own = |i: &RowItem| i.dst == RowRef { slot: slot as u32, row: row as u32 };
                let begun = self.kernel != KernelId::NttRows && self.begun.iter().any(own);
                if begun || self.begun_inverse.iter().any(own) {
                    continue;
                }
                let wrong = words.iter().zip(got).position(|(&x, y)| x != y.to_u64());
                assert!(
                    wrong.is_none(),
                    "{} on {who}, u{}, log N {}, {:?}: slot {slot} row {row} first differs at {wrong:?}",
                    self.kernel.name(),
                    W::BITS,
                    self.ring.log_n,
                    self.fill
                );
            }
        }
    }

    /// Runs the case on every lane kind of the CPU, whole and in parts, and compares every row with the oracle's.
    pub(crate) fn check_cpu(&self) {
        let (launches, pool) = self.launches();
        let n = self.ring.n();
        for kind in kinds() {
            let twiddles = self.ring.twiddles(W::log_lanes(kind));
            let tables = self.ring.tables(&twiddles);
            let ring = RingTables { log_n: self.ring.log_n, primes: &tables };
            for part in [n, 3 * SPLIT_WORDS] {
                if part < n && !splits(self.kernel) {
                    continue;
                }
                let mut memory = self.memory();
                let bases = memory.each_mut().map(|slot| Base(slot.as_mut_ptr().cast()));
                let bindings = Bindings { bases: &bases };
                for Launch { kernel, items_at, n_items } in launches.iter().copied() {
                    let part = if splits(kernel) { part } else { n };
                    for idx in 0..n_items as usize {
                        let at = items_at as usize + idx * kernel.item().pool_words();
                        // SAFETY: the case binds the rows it names, with residues of their primes; `kinds` asked the CPU.
                        let run = |kernel, pool: &[u64], at, range| unsafe {
                            W::run_item_on(kind, kernel, pool, at, range, &bindings, &ring);
                        };
                        for from in (0..n).step_by(part) {
                            run(kernel, &pool, at, from..n.min(from + part));
                        }
                        for item in transforms_after(kernel, &pool, at) {
                            run(KernelId::NttColumns, bytemuck::cast_slice(&[item]), 0, 0..n);
                        }
                    }
                }
                self.check(&memory, &format!("{} in parts of {part}", kind.name()));
            }
        }
    }

    /// Runs the case on the emulator and compares every row with the oracle's.
    pub(crate) fn check_emulator(&self) {
        let (launches, pool) = self.launches();
        let twiddles = self.ring.twiddles(0);
        let tables = self.ring.tables(&twiddles);
        let ring = RingTables { log_n: self.ring.log_n, primes: &tables };
        let mut memory = self.memory();
        launches.iter().for_each(|launch| emulator::run_launch(launch, &pool, &mut memory, &ring));
        self.check(&memory, "emulator");
    }
}

impl Case<'_, u32> {
    /// Runs the case as a driver would: ring image, binding table and pool at addresses, and the kernel's argument.
    pub(crate) fn check_addresses(&self) {
        let (launches, pool) = self.launches();
        let n_primes = self.ring.primes.len();
        let roots = self.ring.primes.iter().zip(&self.ring.psi);
        let roots: Vec<PrimeRoot<u32>> =
            roots.map(|(&q, &psi)| PrimeRoot { q: q as u32, psi: psi as u32 }).collect();
        let bytes = image_bytes::<u32>(self.ring.log_n, n_primes);
        // u128: aligned as the ABI asks for.
        let mut image = vec![0u128; bytes.div_ceil(16)];
        let primes = image.as_mut_ptr().expose_provenance() as u64;
        let words: &mut [u64] = bytemuck::cast_slice_mut(&mut image);
        assert_eq!(fill_image(primes, self.ring.log_n, &roots, &mut words[..bytes / 8]), Ok(()));
        let mut aligned_pool = vec![0u128; pool.len().div_ceil(2)];
        bytemuck::cast_slice_mut(&mut aligned_pool)[..pool.len()].copy_from_slice(&pool);
        let mut slots = self.memory().map(|words| {
            let mut slot = vec![0u128; words.len() / 4];
            bytemuck::cast_slice_mut(&mut slot).copy_from_slice(&words);
            slot
        });
        let mut bindings = slots.each_mut().map(|slot| slot.as_mut_ptr().expose_provenance() as u64);
        for Launch { kernel, items_at, n_items } in launches {
            let args = KernelArgs {
                bindings: bindings.as_mut_ptr().expose_provenance() as u64,
                pool: aligned_pool.as_mut_ptr().expose_provenance() as u64,
                primes,
                items_at,
                n_items,
                log_n: self.ring.log_n,
                row_bytes: 4 << self.ring.log_n,
            };
            // SAFETY: all of it lives until the end of this function; the case binds the rows it names.
            unsafe { emulator::run_args(kernel, &args) };
        }
        let memory = slots.each_ref().map(|slot| bytemuck::cast_slice(slot).to_vec());
        self.check(&memory, "emulator by addresses");
    }
}

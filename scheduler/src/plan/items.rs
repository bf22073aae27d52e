//! Items as values: reading them out of the pool, and writing them into it.

use bytemuck::Pod;
use fhe_core::math::word::WordKind;
use kernels_gpu::abi::matrix::{fill_matrix, matrix_pool_words, matrix_word};
use kernels_gpu::abi::{
    AutomorphismItem, ConvertBasisItem, ConvertSource, ConvertTarget, EmbedInverseItem, InnerProductItem,
    ItemKind, KernelId, Launch, RoundResiduesItem, RoundTarget, RowItem, RowRef, Term, is_begun,
};
use std::collections::{BTreeMap, BTreeSet};

use super::Plan;
use crate::error::{Error, Result};

/// An item with its tables.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Of element-wise kernels and transforms.
    Row(RowItem),
    /// `dst = (init + sum a * b)(X^galois)`, one or two sums.
    InnerProduct {
        /// Written; the second is [`RowRef::NONE`] where there is one sum.
        dst: [RowRef; 2],
        /// Added, or [`RowRef::NONE`].
        init: [RowRef; 2],
        /// What that is multiplied by, 1 where it is not.
        times: [u64; 2],
        /// Index of the prime.
        prime: u32,
        /// The products.
        terms: Vec<Term>,
        /// Bit `t`: the transform of term `t`'s first factor is only begun.
        begun: u32,
        /// The Galois element of all sums, 1 where nothing is permuted.
        galois: u32,
    },
    /// A basis conversion.
    ConvertBasis {
        /// Read.
        sources: Vec<ConvertSource>,
        /// Written.
        targets: Vec<ConvertTarget>,
        /// Target-major, one word for each target and source.
        matrix: Vec<u64>,
    },
    /// An automorphism.
    Automorphism(AutomorphismItem),
    /// An inverse special FFT.
    EmbedInverse(EmbedInverseItem),
    /// Doubles to residues.
    RoundResidues {
        /// Read: real and imaginary parts.
        src: [RowRef; 2],
        /// Bits of the scale, an `f64`.
        scale: u64,
        /// Written.
        targets: Vec<RoundTarget>,
    },
}

/// A row that an item reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Which.
    pub row: RowRef,
    /// Index of its prime, `u32::MAX` for doubles.
    pub prime: u32,
    /// What of it.
    pub form: Form,
}

/// In what form a row is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// All words, as they are.
    Whole,
    /// What a transform has begun, which the reader ends.
    Begun,
    /// What an inverse transform has begun, which the reader ends.
    BegunInverse,
    /// One limb of a plaintext that is stored once for runs of equal values ([`Term`]).
    Repeated {
        /// Which part of the row.
        part: u32,
        /// log2 of the length of a run.
        log_repeat: u32,
    },
}

/// In the place of a prime, for rows of doubles.
const NO_PRIME: u32 = u32::MAX;

impl Item {
    /// The rows that it writes, with their primes; rows of doubles have `u32::MAX`.
    pub fn writes(&self) -> Vec<(RowRef, u32)> {
        match self {
            Self::Row(i) => vec![(i.dst, i.prime)],
            Self::InnerProduct { dst, prime, .. } => sums(dst).map(|(_, row)| (row, *prime)).collect(),
            Self::ConvertBasis { targets, .. } => targets.iter().map(|t| (t.row, t.prime)).collect(),
            Self::Automorphism(i) => vec![(i.dst, i.prime)],
            Self::EmbedInverse(i) => i.dst.map(|row| (row, NO_PRIME)).to_vec(),
            Self::RoundResidues { targets, .. } => targets.iter().map(|t| (t.row, t.prime)).collect(),
        }
    }

    /// The rows that it reads.
    pub fn reads(&self, kernel: KernelId) -> Vec<Read> {
        let mut reads = Vec::new();
        self.reads_into(kernel, &mut reads);
        reads
    }

    /// The same in place of what `reads` holds: plans are walked item by item, and one allocation serves all.
    pub fn reads_into(&self, kernel: KernelId, reads: &mut Vec<Read>) {
        reads.clear();
        let whole = |(row, prime)| Read { row, prime, form: Form::Whole };
        match self {
            Self::Row(i) => {
                let form = if kernel == KernelId::NttRows { Form::Begun } else { Form::Whole };
                reads.push(Read { row: i.a, prime: i.prime, form });
                if kernel.reads_b() {
                    let begun = kernel == KernelId::NttRowsSubMulScalar;
                    let form = if begun { Form::Begun } else { Form::Whole };
                    reads.push(Read { row: i.b, prime: i.prime, form });
                }
                if kernel.reads_c() && i.c != RowRef::NONE {
                    reads.push(whole((i.c, i.prime)));
                }
            }
            Self::InnerProduct { dst, .. } => sums(dst).for_each(|(h, _)| self.add_reads_of_sum(h, reads)),
            Self::ConvertBasis { sources, .. } => {
                let begun = kernel == KernelId::ConvertBasisColumns;
                let form = if begun { Form::BegunInverse } else { Form::Whole };
                reads.extend(sources.iter().map(|s| Read { row: s.row, prime: s.prime, form }));
            }
            Self::Automorphism(i) => reads.push(whole((i.a, i.prime))),
            Self::EmbedInverse(i) => {
                reads.extend(i.src.into_iter().chain(i.factors).map(|row| whole((row, NO_PRIME))));
            }
            Self::RoundResidues { src, .. } => reads.extend(src.map(|row| whole((row, NO_PRIME)))),
        }
    }
}

impl Item {
    /// The rows that it touches, ascending, each once.
    pub fn rows(&self, kernel: KernelId) -> Vec<RowRef> {
        let read = self.reads(kernel).into_iter().map(|read| read.row);
        let mut rows: Vec<RowRef> = read.chain(self.writes().into_iter().map(|(row, _)| row)).collect();
        rows.sort_unstable_by_key(|r| (r.slot, r.row));
        rows.dedup();
        rows
    }

    /// The words that it touches, each once, in a ring of `2^log_n`.
    pub fn words(&self, kernel: KernelId, log_n: u32) -> u64 {
        let written = self.writes().into_iter().map(|(row, _)| (row, 0, 0));
        let read = self.reads(kernel).into_iter().map(|read| match read.form {
            Form::Repeated { part, log_repeat } => (read.row, part, log_repeat),
            Form::Whole | Form::Begun | Form::BegunInverse => (read.row, 0, 0),
        });
        let touched: BTreeSet<(RowRef, u32, u32)> = written.chain(read).collect();
        touched.into_iter().map(|(_, _, log_repeat)| 1 << log_n >> log_repeat).sum()
    }

    /// Whether it may write a row that it reads: with some kernels, and where nothing is permuted.
    pub fn in_place(&self, kernel: KernelId) -> bool {
        kernel.in_place() && !matches!(self, Self::InnerProduct { galois, .. } if *galois != 1)
    }

    /// The rows that sum `h` of an inner product reads: `a, b` of each term, then what it starts from. Nothing for others.
    pub fn reads_of_sum(&self, h: usize) -> Vec<Read> {
        let mut reads = Vec::new();
        self.add_reads_of_sum(h, &mut reads);
        reads
    }

    fn add_reads_of_sum(&self, h: usize, reads: &mut Vec<Read>) {
        let Self::InnerProduct { init, prime, terms, begun, .. } = self else { return };
        let read = |row, form| Read { row, prime: *prime, form };
        for (t, term) in (0..).zip(terms) {
            let form = match term.log_repeat {
                _ if is_begun(*begun, t) => Form::Begun,
                0 => Form::Whole,
                log_repeat => Form::Repeated { part: term.part, log_repeat },
            };
            reads.push(read(term.a, form));
            reads.extend(term.b.get(h).map(|&b| read(b, Form::Whole)));
        }
        let init = init.get(h).copied().filter(|&row| row != RowRef::NONE);
        reads.extend(init.map(|row| read(row, Form::Whole)));
    }

    /// Whether sum `h` of an inner product reads a row.
    pub fn sum_reads(&self, h: usize, row: RowRef) -> bool {
        let Self::InnerProduct { init, terms, .. } = self else { return false };
        init.get(h) == Some(&row) || terms.iter().any(|term| term.a == row || term.b.get(h) == Some(&row))
    }

    /// The same item on other rows; [`RowRef::NONE`] stays.
    #[must_use]
    pub fn map_rows(mut self, f: impl Fn(RowRef) -> RowRef) -> Self {
        let f = |row: &mut RowRef| {
            if *row != RowRef::NONE {
                *row = f(*row);
            }
        };
        match &mut self {
            Self::Row(i) => [&mut i.dst, &mut i.a, &mut i.b, &mut i.c].into_iter().for_each(f),
            Self::InnerProduct { dst, init, terms, .. } => {
                dst.iter_mut().chain(init).for_each(f);
                terms.iter_mut().flat_map(|t| [&mut t.a].into_iter().chain(&mut t.b)).for_each(f);
            }
            Self::ConvertBasis { sources, targets, .. } => {
                sources.iter_mut().map(|s| &mut s.row).for_each(f);
                targets.iter_mut().map(|t| &mut t.row).for_each(f);
            }
            Self::Automorphism(i) => [&mut i.dst, &mut i.a].into_iter().for_each(f),
            Self::EmbedInverse(i) => i.dst.iter_mut().chain(&mut i.src).chain(&mut i.factors).for_each(f),
            Self::RoundResidues { src, targets, .. } => {
                src.iter_mut().chain(targets.iter_mut().map(|t| &mut t.row)).for_each(f);
            }
        }
        self
    }
}

/// The sums of an inner product that are there, each with where it is written.
pub(crate) fn sums(dst: &[RowRef; 2]) -> impl Iterator<Item = (usize, RowRef)> + use<> {
    (*dst).into_iter().enumerate().filter(|&(_, row)| row != RowRef::NONE)
}

/// `a b mod p`.
fn mul_mod(a: u64, b: u64, p: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(p)) as u64
}

/// Montgomery's form modulo a prime in words of some bits: what a conversion multiplies by lies in the pool so
/// ([`ConvertBasisItem`]).
#[derive(Clone, Copy, Debug)]
struct Montgomery {
    p: u64,
    /// The factor.
    r: u64,
    /// Its inverse.
    inverse: u64,
    /// The largest word, which is no residue.
    largest: u64,
}

impl Montgomery {
    /// For a prime; 0 is the only residue of 1.
    fn new(p: u64, word: u32) -> Self {
        let r = ((1u128 << word) % u128::from(p)) as u64;
        // Fermat.
        let (mut inverse, mut power, mut exponent) = (1, r, p.saturating_sub(2));
        while exponent > 0 {
            if exponent & 1 == 1 {
                inverse = mul_mod(inverse, power, p);
            }
            power = mul_mod(power, power, p);
            exponent >>= 1;
        }
        Self { p, r, inverse, largest: u64::MAX >> (64 - word) }
    }

    /// The form of a residue; of what is none, a word that is none.
    fn of(self, x: u64) -> u64 {
        if x < self.p { mul_mod(x, self.r, self.p) } else { self.largest }
    }

    /// The residue of a form; `u64::MAX` for a word that is none.
    fn back(self, x: u64) -> u64 {
        if x < self.p { mul_mod(x, self.inverse, self.p) } else { u64::MAX }
    }
}

/// The forms of a plan's primes. One that is no prime, 0, has the form of 1.
fn forms(primes: &[u64], word: u32) -> Vec<Montgomery> {
    primes.iter().map(|&p| Montgomery::new(p.max(1), word)).collect()
}

/// The matrix of a conversion as the pool has it, in words of `word` bits.
fn pack_matrix(matrix: &[u64], n_src: usize, targets: &[Montgomery], word: u32) -> Vec<u64> {
    let primes: Vec<u64> = targets.iter().map(|form| form.p).collect();
    let mut packed = vec![0; matrix_pool_words(n_src, targets.len(), word)];
    fill_matrix(&mut packed, n_src, &primes, word, |i, j| {
        matrix.get(j * n_src + i).map_or(0, |&m| targets[j].of(m))
    });
    packed
}

/// [`pack_matrix`] undone: target-major and plain. `packed` has the length that the other arguments ask for.
fn unpack_matrix(packed: &[u64], n_src: usize, targets: &[Montgomery], word: u32) -> Vec<u64> {
    let entry = |(j, form): (usize, &Montgomery), i| form.back(matrix_word(packed, i, j, n_src, word));
    targets.iter().enumerate().flat_map(|target| (0..n_src).map(move |i| entry(target, i))).collect()
}

/// `n` structs that start at a pool index.
fn table<T: Pod>(pool: &[u64], at: u32, n: u32, what: &str) -> core::result::Result<Vec<T>, String> {
    let words = size_of::<T>() / 8;
    let (at, n) = (at as usize, n as usize);
    let slice = n.checked_mul(words).and_then(|len| pool.get(at..at.checked_add(len)?));
    let slice =
        slice.ok_or_else(|| format!("{what}: {n} of {words} words at {at}, pool has {}", pool.len()))?;
    Ok(slice.chunks_exact(words).map(|c| bytemuck::pod_read_unaligned(bytemuck::cast_slice(c))).collect())
}

impl Plan {
    /// The items of a launch.
    ///
    /// # Errors
    /// In words, when a table leaves the pool.
    pub fn items(&self, launch: &Launch) -> core::result::Result<Vec<Item>, String> {
        let (pool, at, n, word) = (&self.pool[..], launch.items_at, launch.n_items, self.word.bits());
        Ok(match launch.kernel.item() {
            ItemKind::Row => table(pool, at, n, "row items")?.into_iter().map(Item::Row).collect(),
            ItemKind::Automorphism => {
                table(pool, at, n, "automorphism items")?.into_iter().map(Item::Automorphism).collect()
            }
            ItemKind::EmbedInverse => {
                table(pool, at, n, "embedding items")?.into_iter().map(Item::EmbedInverse).collect()
            }
            ItemKind::RoundResidues => table::<RoundResiduesItem>(pool, at, n, "rounding items")?
                .into_iter()
                .map(|i| {
                    let targets = table(pool, i.dst_at, i.n_dst, "targets")?;
                    Ok(Item::RoundResidues { src: i.src, scale: i.scale, targets })
                })
                .collect::<core::result::Result<_, String>>()?,
            ItemKind::InnerProduct => table::<InnerProductItem>(pool, at, n, "inner product items")?
                .into_iter()
                .map(|i| {
                    let terms = table(pool, i.terms_at, i.n_terms, "terms")?;
                    let InnerProductItem { dst, init, times, prime, begun, galois, .. } = i;
                    Ok(Item::InnerProduct { dst, init, times, prime, terms, begun, galois })
                })
                .collect::<core::result::Result<_, String>>()?,
            ItemKind::ConvertBasis => {
                let forms = forms(&self.primes, word);
                let form = |prime: u32| {
                    let form = forms.get(prime as usize).copied().filter(|form| form.p > 1);
                    form.ok_or_else(|| format!("prime {prime} of {}", self.primes.len()))
                };
                let item = |i: ConvertBasisItem| {
                    if !i.matrix_at.is_multiple_of(2) {
                        return Err(format!("matrix at {}, expected an even index", i.matrix_at));
                    }
                    let mut sources: Vec<ConvertSource> = table(pool, i.src_at, i.n_src, "sources")?;
                    for source in &mut sources {
                        source.inv = form(source.prime)?.back(source.inv);
                    }
                    let mut targets: Vec<ConvertTarget> = table(pool, i.dst_at, i.n_dst, "targets")?;
                    let mut of_targets = Vec::with_capacity(targets.len());
                    for target in &mut targets {
                        let form = form(target.prime)?;
                        target.big = form.back(target.big);
                        of_targets.push(form);
                    }
                    let size = u32::try_from(matrix_pool_words(sources.len(), targets.len(), word));
                    let size = size.map_err(|_| "conversion matrix is too large")?;
                    let packed: Vec<u64> = table(pool, i.matrix_at, size, "matrix")?;
                    let matrix = unpack_matrix(&packed, sources.len(), &of_targets, word);
                    Ok(Item::ConvertBasis { sources, targets, matrix })
                };
                let items = table(pool, at, n, "conversion items")?.into_iter().map(item);
                items.collect::<core::result::Result<_, String>>()?
            }
        })
    }
}

/// Writes items and their tables; a matrix that is there already is not written again.
#[derive(Debug)]
pub struct PoolWriter {
    words: Vec<u64>,
    matrices: BTreeMap<(Vec<u32>, Vec<u64>), u32>,
    /// By prime.
    forms: Vec<Montgomery>,
    word: u32,
}

impl PoolWriter {
    /// An empty pool of a plan over these primes.
    pub fn new(primes: &[u64], word: WordKind) -> Self {
        let word = word.bits();
        Self { words: Vec::new(), matrices: BTreeMap::new(), forms: forms(primes, word), word }
    }

    /// The pool.
    pub fn finish(self) -> Vec<u64> {
        self.words
    }

    fn append<T: Pod>(&mut self, items: &[T]) -> Result<u32> {
        let at = self.words.len();
        let end = at + size_of_val(items) / 8;
        if end > u32::MAX as usize {
            let what = "the pool in words";
            return Err(Error::TooLarge { what, found: end as u64, expected: u64::from(u32::MAX) });
        }
        for item in items {
            let bytes = bytemuck::bytes_of(item).chunks_exact(8);
            self.words.extend(bytes.map(bytemuck::pod_read_unaligned::<u64>));
        }
        Ok(at as u32)
    }

    /// Writes a launch. Items must be of the kernel's kind: others are left out.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn launch(&mut self, kernel: KernelId, items: &[Item]) -> Result<Launch> {
        let (mut rows, mut products, mut conversions, mut automorphisms) = (vec![], vec![], vec![], vec![]);
        let (mut embeddings, mut roundings) = (vec![], vec![]);
        for item in items {
            match item {
                Item::Row(i) => rows.push(*i),
                Item::Automorphism(i) => automorphisms.push(*i),
                Item::EmbedInverse(i) => embeddings.push(*i),
                Item::RoundResidues { src, scale, targets } => {
                    let (dst_at, n_dst) = (self.append(targets)?, targets.len() as u32);
                    roundings.push(RoundResiduesItem { src: *src, scale: *scale, dst_at, n_dst });
                }
                Item::InnerProduct { dst, init, times, prime, terms, begun, galois } => {
                    products.push(InnerProductItem {
                        dst: *dst,
                        init: *init,
                        times: *times,
                        terms_at: self.append(terms)?,
                        n_terms: terms.len() as u32,
                        prime: *prime,
                        begun: *begun,
                        galois: *galois,
                        pad: 0,
                    });
                }
                Item::ConvertBasis { sources, targets, matrix } => {
                    let none = Montgomery::new(1, self.word);
                    let form = |prime: u32| self.forms.get(prime as usize).copied().unwrap_or(none);
                    let forms: Vec<Montgomery> = targets.iter().map(|t| form(t.prime)).collect();
                    let of_source = |s: &ConvertSource| ConvertSource { inv: form(s.prime).of(s.inv), ..*s };
                    let of_target = |(t, form): (&ConvertTarget, &Montgomery)| ConvertTarget {
                        big: form.of(t.big),
                        ..*t
                    };
                    let sources: Vec<ConvertSource> = sources.iter().map(of_source).collect();
                    let targets: Vec<ConvertTarget> = targets.iter().zip(&forms).map(of_target).collect();
                    let primes = targets.iter().map(|t| t.prime).collect();
                    let key = (primes, matrix.clone());
                    let matrix_at = match self.matrices.get(&key) {
                        Some(&at) => at,
                        None => {
                            // Even, as the ABI asks.
                            if !self.words.len().is_multiple_of(2) {
                                self.words.push(0);
                            }
                            let packed = pack_matrix(matrix, sources.len(), &forms, self.word);
                            let at = self.append(&packed)?;
                            self.matrices.insert(key, at);
                            at
                        }
                    };
                    conversions.push(ConvertBasisItem {
                        src_at: self.append(&sources)?,
                        n_src: sources.len() as u32,
                        dst_at: self.append(&targets)?,
                        n_dst: targets.len() as u32,
                        matrix_at,
                        pad: 0,
                    });
                }
            }
        }
        let (items_at, n_items) = match kernel.item() {
            ItemKind::Row => (self.append(&rows)?, rows.len()),
            ItemKind::InnerProduct => (self.append(&products)?, products.len()),
            ItemKind::ConvertBasis => (self.append(&conversions)?, conversions.len()),
            ItemKind::Automorphism => (self.append(&automorphisms)?, automorphisms.len()),
            ItemKind::EmbedInverse => (self.append(&embeddings)?, embeddings.len()),
            ItemKind::RoundResidues => (self.append(&roundings)?, roundings.len()),
        };
        Ok(Launch { kernel, items_at, n_items: n_items as u32 })
    }
}

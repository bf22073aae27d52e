//! Items as values: reading them out of the pool, and writing them into it.

use bytemuck::Pod;
use kernels_gpu::abi::{
    AutomorphismItem, ConvertBasisItem, ConvertSource, ConvertTarget, InnerProductItem, ItemKind, KernelId,
    Launch, RowItem, RowRef, Term,
};
use std::collections::BTreeMap;

use super::Plan;
use crate::error::{Error, Result};

/// An item with its tables.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Of element-wise kernels and transforms.
    Row(RowItem),
    /// `dst = init + sum a * b`.
    InnerProduct {
        /// Written.
        dst: RowRef,
        /// Added, or [`RowRef::NONE`].
        init: RowRef,
        /// Index of the prime.
        prime: u32,
        /// The products.
        terms: Vec<Term>,
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
}

impl Item {
    /// The rows that it writes, with their primes.
    pub fn writes(&self) -> Vec<(RowRef, u32)> {
        match self {
            Self::Row(i) => vec![(i.dst, i.prime)],
            Self::InnerProduct { dst, prime, .. } => vec![(*dst, *prime)],
            Self::ConvertBasis { targets, .. } => targets.iter().map(|t| (t.row, t.prime)).collect(),
            Self::Automorphism(i) => vec![(i.dst, i.prime)],
        }
    }

    /// The rows that it reads, with their primes.
    pub fn reads(&self, kernel: KernelId) -> Vec<(RowRef, u32)> {
        match self {
            Self::Row(i) => {
                let b = kernel.reads_b().then_some((i.b, i.prime));
                core::iter::once((i.a, i.prime)).chain(b).collect()
            }
            Self::InnerProduct { init, prime, terms, .. } => {
                let init = (*init != RowRef::NONE).then_some((*init, *prime));
                terms.iter().flat_map(|t| [(t.a, *prime), (t.b, *prime)]).chain(init).collect()
            }
            Self::ConvertBasis { sources, .. } => sources.iter().map(|s| (s.row, s.prime)).collect(),
            Self::Automorphism(i) => vec![(i.a, i.prime)],
        }
    }
}

impl Item {
    /// The rows that it touches, ascending, each once.
    pub fn rows(&self, kernel: KernelId) -> Vec<RowRef> {
        let mut rows: Vec<RowRef> =
            self.reads(kernel).into_iter().chain(self.writes()).map(|(row, _)| row).collect();
        rows.sort_unstable_by_key(|r| (r.slot, r.row));
        rows.dedup();
        rows
    }

    /// The same item on other rows; [`RowRef::NONE`] stays.
    #[must_use]
    pub fn map_rows(&self, f: impl Fn(RowRef) -> RowRef) -> Self {
        let f = |row: RowRef| if row == RowRef::NONE { row } else { f(row) };
        match self {
            Self::Row(i) => Self::Row(RowItem { dst: f(i.dst), a: f(i.a), b: f(i.b), ..*i }),
            Self::InnerProduct { dst, init, prime, terms } => Self::InnerProduct {
                dst: f(*dst),
                init: f(*init),
                prime: *prime,
                terms: terms.iter().map(|t| Term { a: f(t.a), b: f(t.b) }).collect(),
            },
            Self::ConvertBasis { sources, targets, matrix } => Self::ConvertBasis {
                sources: sources.iter().map(|s| ConvertSource { row: f(s.row), ..*s }).collect(),
                targets: targets.iter().map(|t| ConvertTarget { row: f(t.row), ..*t }).collect(),
                matrix: matrix.clone(),
            },
            Self::Automorphism(i) => Self::Automorphism(AutomorphismItem { dst: f(i.dst), a: f(i.a), ..*i }),
        }
    }
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
        let (pool, at, n) = (&self.pool[..], launch.items_at, launch.n_items);
        Ok(match launch.kernel.item() {
            ItemKind::Row => table(pool, at, n, "row items")?.into_iter().map(Item::Row).collect(),
            ItemKind::Automorphism => {
                table(pool, at, n, "automorphism items")?.into_iter().map(Item::Automorphism).collect()
            }
            ItemKind::InnerProduct => table::<InnerProductItem>(pool, at, n, "inner product items")?
                .into_iter()
                .map(|i| {
                    let terms = table(pool, i.terms_at, i.n_terms, "terms")?;
                    Ok(Item::InnerProduct { dst: i.dst, init: i.init, prime: i.prime, terms })
                })
                .collect::<core::result::Result<_, String>>()?,
            ItemKind::ConvertBasis => table::<ConvertBasisItem>(pool, at, n, "conversion items")?
                .into_iter()
                .map(|i| {
                    let size = i.n_src.checked_mul(i.n_dst).ok_or("conversion matrix is too large")?;
                    Ok(Item::ConvertBasis {
                        sources: table(pool, i.src_at, i.n_src, "sources")?,
                        targets: table(pool, i.dst_at, i.n_dst, "targets")?,
                        matrix: table(pool, i.matrix_at, size, "matrix")?,
                    })
                })
                .collect::<core::result::Result<_, String>>()?,
        })
    }
}

/// Writes items and their tables; a matrix that is there already is not written again.
#[derive(Debug, Default)]
pub struct PoolWriter {
    words: Vec<u64>,
    matrices: BTreeMap<Vec<u64>, u32>,
}

impl PoolWriter {
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
        for item in items {
            match item {
                Item::Row(i) => rows.push(*i),
                Item::Automorphism(i) => automorphisms.push(*i),
                Item::InnerProduct { dst, init, prime, terms } => {
                    let (terms_at, n_terms) = (self.append(terms)?, terms.len() as u32);
                    let (dst, init, prime) = (*dst, *init, *prime);
                    products.push(InnerProductItem { dst, init, terms_at, n_terms, prime, pad: 0 });
                }
                Item::ConvertBasis { sources, targets, matrix } => {
                    let matrix_at = match self.matrices.get(matrix) {
                        Some(&at) => at,
                        None => {
                            let at = self.append(matrix)?;
                            self.matrices.insert(matrix.clone(), at);
                            at
                        }
                    };
                    conversions.push(ConvertBasisItem {
                        src_at: self.append(sources)?,
                        n_src: sources.len() as u32,
                        dst_at: self.append(targets)?,
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
        };
        Ok(Launch { kernel, items_at, n_items: n_items as u32 })
    }
}

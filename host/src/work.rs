//! What launches cost: rows, bytes and multiplications, counted from the plan alone.
//!
//! One read for each operand row, one write for each result row, whatever caches do; of a plaintext whose values are repeated, which is no
//! whole row, the bytes of its words. Multiplications are products
//! of two words:
//!
//! | kernel | multiplications of an item, in rows of N words |
//! |---|---|
//! | `ntt` | `log N / 2` |
//! | `intt` | `(log N + 1) / 2`: the division by N doubles those of the last stage |
//! | `mul_scalar`, `sub_mul_scalar`, `mul_scalar_add` | 1 |
//! | `inner_product` | number of terms, for each sum |
//! | `ntt_columns`, `ntt_rows`, `intt_rows`, and a row that another kernel of rows ends | the stages of theirs, half of each |
//! | `convert_basis` | `2 sources + targets (sources + 1)` |
//! | `convert_basis_columns` | the same, and the stages of columns of sources and targets, half of each |
//! | `embed_inverse` | `log N - 1`, of doubles: four a butterfly |
//! | `round_residues` | 2, of doubles |
//! | others | 0 |
//!
//! The products inside a modular reduction are not counted: they are a backend's affair.

use core::ops::AddAssign;
use kernels_gpu::abi::launch::{log_column_words, log_row_words};
use kernels_gpu::abi::{
    ConvertBasisItem, InnerProductItem, ItemKind, KernelId, RoundResiduesItem, RowRef, Term,
};
use serde::Serialize;

/// The cost of one or more launches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Work {
    /// Launches.
    pub launches: u64,
    /// Items of the launches.
    pub items: u64,
    /// Operand rows that are whole.
    pub rows_read: u64,
    /// Result rows.
    pub rows_written: u64,
    /// Bytes of both, and of operands that are parts of rows.
    pub bytes: u64,
    /// Products of two words.
    pub multiplications: u64,
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.launches += other.launches;
        self.items += other.items;
        self.rows_read += other.rows_read;
        self.rows_written += other.rows_written;
        self.bytes += other.bytes;
        self.multiplications += other.multiplications;
    }
}

impl Work {
    /// Adds an item that reads `rows_read` rows, writes `rows_written` and multiplies `half_rows * N / 2` times.
    fn item(&mut self, rows_read: u64, rows_written: u64, half_rows: u64, log_n: u32) {
        self.items += 1;
        self.rows_read += rows_read;
        self.rows_written += rows_written;
        self.multiplications += half_rows << (log_n - 1);
    }

    /// Adds an item of [`ItemKind::Row`] or [`ItemKind::Automorphism`]; `reads_c`: it has a third operand.
    pub(crate) fn row_item(&mut self, kernel: KernelId, reads_c: bool, log_n: u32) {
        let half_rows = match kernel {
            KernelId::Ntt => u64::from(log_n),
            KernelId::NttColumns => u64::from(log_column_words(log_n)),
            KernelId::NttRows | KernelId::InttRows => u64::from(log_row_words(log_n)),
            KernelId::Intt => u64::from(log_n) + 1,
            KernelId::NttRowsSubMulScalar => 2 + u64::from(log_row_words(log_n)),
            KernelId::MulScalar | KernelId::SubMulScalar | KernelId::MulScalarAdd => 2,
            _ => 0,
        };
        let reads_b = kernel.item() == ItemKind::Row && kernel.reads_b();
        self.item(1 + u64::from(reads_b) + u64::from(reads_c), 1, half_rows, log_n);
    }

    /// Adds an inner product.
    pub(crate) fn inner_product(
        &mut self,
        item: &InnerProductItem,
        terms: &[Term],
        log_n: u32,
        row_bytes: usize,
    ) {
        let repeated = terms.iter().filter(|term| term.log_repeat > 0);
        self.bytes += repeated.clone().map(|term| row_bytes as u64 >> term.log_repeat).sum::<u64>();
        let n_repeated = repeated.count() as u64;
        let (terms, sums) = (u64::from(item.n_terms), item.n_sums() as u64);
        let inits = item.init.iter().take(item.n_sums()).filter(|&&row| row != RowRef::NONE).count() as u64;
        let ended = u64::from(item.begun.count_ones() * log_row_words(log_n));
        self.item((1 + sums) * terms - n_repeated + inits, sums, 2 * sums * terms + ended, log_n);
    }

    /// Adds a basis conversion.
    pub(crate) fn convert_basis(&mut self, kernel: KernelId, item: &ConvertBasisItem, log_n: u32) {
        let (sources, targets) = (u64::from(item.n_src), u64::from(item.n_dst));
        let stages = match kernel {
            KernelId::ConvertBasisColumns => (sources + targets) * u64::from(log_column_words(log_n)),
            _ => 0,
        };
        self.item(sources, targets, 2 * (2 * sources + targets * (sources + 1)) + stages, log_n);
    }

    /// Adds an inverse special FFT: slots and factors in, coefficients out, each once.
    pub(crate) fn embed_inverse(&mut self, log_n: u32) {
        self.item(4, 2, 2 * u64::from(log_n - 1), log_n);
    }

    /// Adds a rounding.
    pub(crate) fn round_residues(&mut self, item: &RoundResiduesItem, log_n: u32) {
        self.item(2, u64::from(item.n_dst), 4, log_n);
    }

    /// One launch, now that its items are counted.
    pub(crate) fn launch(mut self, row_bytes: usize) -> Self {
        self.launches = 1;
        self.bytes += (self.rows_read + self.rows_written) * row_bytes as u64;
        self
    }
}

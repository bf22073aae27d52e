//! How a launch becomes kernel functions on a GPU: arguments, grid, names.
//!
//! ```text
//! Launch -> entries 0 .. n_entries(kernel), in this order on one stream
//! entry  -> LaunchContract: module, name, grid = ceil(n_items / items_per_block) * N / words_per_block blocks of `threads` threads
//! block  -> first item = block / parts * items_per_block, part = block % parts,      parts = N / words_per_block
//! ```
//!
//! Every entry is `unsafe extern "ptx-kernel" fn(KernelArgs)`: one argument, the struct by value. A block whose first item is
//! not below `n_items` does nothing, so a grid may be too large.
//!
//! **Ring tables** in device memory: one [`DevicePrime`] a prime, then the factors; [`crate::device_tables`] fills
//! them.

use super::{
    ConvertBasisItem, InnerProductItem, KernelId, Launch, MAX_CONVERT_SOURCES, MAX_CONVERT_TARGETS, MAX_TERMS,
};
use bytemuck::{Pod, Zeroable};

/// Smallest `log N` that kernels are compiled for.
pub const GPU_MIN_LOG_N: u32 = 12;
/// Largest one, that of the processor, too ([`crate::body::tables::MAX_LOG_N`]).
pub const GPU_MAX_LOG_N: u32 = 17;

/// Alignment in bytes of a bound base address, of the pool and of the ring tables: that of a 16-byte load.
pub const GPU_ALIGN: usize = 16;

/// The argument of every kernel. Addresses are those of the device.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct KernelArgs {
    /// The binding table: one base address of eight bytes a slot.
    pub bindings: u64,
    /// The plan's pool of eight-byte words.
    pub pool: u64,
    /// The ring's [`DevicePrime`]s.
    pub primes: u64,
    /// Pool index of the first item.
    pub items_at: u32,
    /// Number of items.
    pub n_items: u32,
    /// `log2 N`; the transforms are compiled for one and take the row length from here all the same.
    pub log_n: u32,
    /// Bytes of a row: an address is one multiplication, not a shift by a variable.
    pub row_bytes: u32,
}

/// A prime in device memory, and where the factors of its transforms are.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevicePrime<W> {
    /// [`crate::body::tables::PrimeConstants`]: `q, q_inv, r1, r2, n_inv, n_inv_w1, minus_q2`, zero.
    pub constants: [W; 8],
    /// [`crate::body::shoup::ButterflyConstants`]: `q2, minus_q`, two zeros, `n_inv` and `n_inv_w1` with their quotients.
    pub butterflies: [W; 8],
    /// Address of the table, aligned to [`GPU_ALIGN`]: [`n_factors`] factors `w` in plain order, with quotients; then [`n_powers`]
    /// powers: for each block `b = N / 16 ..` of the inner step of a line `w[b], w[2 b], w[4 b], w[8 b]`.
    pub table: u64,
    /// Zero.
    pub padding: u64,
}

/// Powers of a block of the inner step, one a stage.
pub const INNER_POWERS: u32 = 4;

/// Factors of a prime in device memory: those before the inner steps of lines.
pub const fn n_factors(log_n: u32) -> u32 {
    1 << (log_n - INNER_POWERS)
}

/// Powers of a prime in device memory.
pub const fn n_powers(log_n: u32) -> u32 {
    INNER_POWERS * n_factors(log_n)
}

// SAFETY: sixteen words of four bytes and two of eight, no padding (asserted below), valid for any bits.
unsafe impl Zeroable for DevicePrime<u32> {}
// SAFETY: as above.
unsafe impl Pod for DevicePrime<u32> {}
// SAFETY: eighteen words of eight bytes, no padding (asserted below), valid for any bits.
unsafe impl Zeroable for DevicePrime<u64> {}
// SAFETY: as above.
unsafe impl Pod for DevicePrime<u64> {}

/// Words of a row that a thread of a kernel without exchange works on: one 16-byte load for `u32`.
pub const THREAD_WORDS: u32 = 4;
/// `log2` of the words of a line, the part of a row that a block of a transform works on ([`crate::thread::ntt`]).
pub const LOG_LINE_WORDS: u32 = 12;
/// Threads of a block of a transform. In a line each has 16 words.
pub const NTT_THREADS: u32 = 256;
/// Words of shared memory from one sixteenth of a line to the next: 256 and half the banks.
pub const PART_STRIDE: u32 = 256 + 16;
/// Words of shared memory of a line.
pub const LINE_SHARED_WORDS: u32 = 16 * PART_STRIDE;
/// Threads of an element-wise block.
const THREADS: u32 = 256;
/// Items of a block of inner products. Adjacent ones are mostly of one prime and read the same rows, as the giant steps of a matrix
/// read the same rotations: their threads run side by side, so a word goes once through the multiprocessor's cache.
pub const INNER_PRODUCT_ITEMS: u32 = 4;
/// Words of shared memory for what is known of a term: three addresses, the first word of a repeated factor, how often it repeats.
pub const INNER_PRODUCT_RECORD: u32 = 8;
/// Coefficients of a block of the basis conversion, and its threads.
pub const CONVERT_WORDS: u32 = 256;
/// Words of shared memory from a source's digits to the next one's: eight more than a multiple of 32, the banks.
pub const CONVERT_STRIDE: u32 = CONVERT_WORDS + 8;
/// Words of shared memory for what the conversion knows of a target: `q, q_inv, q - big`, its prime, two words of its row, and padding: the
/// lanes of a tile read every second record, four of 16 bytes each, from different banks.
pub const CONVERT_RECORD: u32 = 12;
/// Targets that a block of the basis conversion has at a time.
pub const CONVERT_TARGETS: u32 = 16;
/// Words of shared memory from a target's coefficients to the next one's: four more than a multiple of 32, the banks.
pub const CONVERT_TARGET_STRIDE: u32 = CONVERT_WORDS + 4;

/// The grid of one entry of a kernel, and what it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchContract {
    /// The function in the module.
    pub entry: &'static str,
    /// The module: a name in `ptx::MODULES`.
    pub module: &'static str,
    /// Threads a block, always.
    pub threads: u32,
    /// Adjacent items that a block works on.
    pub items_per_block: u32,
    /// Words of each row of these items that a block works on; divides `N`.
    pub words_per_block: u32,
    /// Dynamic shared memory of a block, in bytes.
    pub shared_bytes: u32,
    /// Blocks that a multiprocessor must be able to hold as far as registers go (`.minnctapersm`).
    pub min_blocks: u32,
}

impl LaunchContract {
    /// Parts of an item: groups of [`Self::words_per_block`] words.
    pub const fn parts(&self, log_n: u32) -> u32 {
        (1 << log_n) / self.words_per_block
    }

    /// Blocks of a launch of that many items.
    pub const fn blocks(&self, n_items: u32, log_n: u32) -> u32 {
        n_items.div_ceil(self.items_per_block) * self.parts(log_n)
    }
}

/// Complex numbers that a thread of the inverse special FFT holds: 64 registers. It goes through memory four times, up to four
/// stages at a time: 1 MB each way at N = 2^16, all of it in an L2, where the residues of 47 limbs are 12 MB.
pub const EMBED_VALUES: u32 = 16;
/// Threads of its blocks: one block an item at the smallest ring.
const EMBED_THREADS: u32 = 128;
const EMBED_ENTRIES: [&str; 4] =
    ["embed_inverse_first", "embed_inverse_second", "embed_inverse_third", "embed_inverse_last"];

/// Stages of entry `entry_idx` of the inverse special FFT: all `log N - 1`, shared out as evenly as can be, 2 to 4 each.
pub const fn embed_stages(log_n: u32, entry_idx: u32) -> u32 {
    (log_n + 2 - entry_idx) / 4
}

/// Kernel functions that a launch of `kernel` is made of.
pub const fn n_entries(kernel: KernelId) -> u32 {
    match kernel {
        KernelId::Ntt | KernelId::Intt => 2,
        KernelId::EmbedInverse => EMBED_ENTRIES.len() as u32,
        _ => 1,
    }
}

/// `log2` of the words of a column of a transform, `C = N / 4096`; 0 of rings that are no line.
pub const fn log_column_words(log_n: u32) -> u32 {
    log_n.saturating_sub(LOG_LINE_WORDS)
}

/// `log2` of the words of a row of a transform: a line, or less in rings that are none.
pub const fn log_row_words(log_n: u32) -> u32 {
    log_n - log_column_words(log_n)
}

/// Words that a thread of a column entry works on: columns of 16 words in all, or one of 32 of the largest ring.
pub const fn column_thread_words(log_n: u32) -> u32 {
    if log_column_words(log_n) <= 4 { 16 } else { 32 }
}

/// Whether entry `entry_idx` of a transform works on columns: forward columns first, inverse lines first.
pub const fn is_column_entry(kernel: KernelId, entry_idx: u32) -> bool {
    match kernel {
        KernelId::Intt => entry_idx == 1,
        KernelId::NttRowsInnerProduct
        | KernelId::NttRowsSubMulScalar
        | KernelId::NttRows
        | KernelId::InttRows => false,
        _ => entry_idx == 0,
    }
}

/// Dynamic shared memory that an item of [`KernelId::ConvertBasis`] needs: digits, quotients, fractions, targets and their coefficients. The contract has it for
/// the largest item; less memory a block lets more blocks run at a time.
pub const fn convert_shared_bytes(n_src: u32, n_dst: u32, word_bytes: u32) -> u32 {
    let coefficients = CONVERT_TARGETS * CONVERT_TARGET_STRIDE;
    ((n_src + 1) * CONVERT_STRIDE + MAX_CONVERT_SOURCES as u32 + n_dst * CONVERT_RECORD + coefficients)
        * word_bytes
}

/// Dynamic shared memory that [`INNER_PRODUCT_ITEMS`] items of [`KernelId::InnerProduct`] with so many terms in all need: a record each.
/// The contract has it for the longest ones; what a block does not take is left to the multiprocessor's cache.
pub const fn inner_product_shared_bytes(n_terms: u32, word_bytes: u32) -> u32 {
    n_terms * INNER_PRODUCT_RECORD * word_bytes
}

/// Dynamic shared memory that the blocks of a launch need, where that depends on the items.
pub fn shared_bytes(launch: &Launch, pool: &[u64], word_bytes: u32) -> Option<u32> {
    match launch.kernel {
        KernelId::ConvertBasis | KernelId::ConvertBasisColumns => items(launch, pool)
            .map(|item: ConvertBasisItem| convert_shared_bytes(item.n_src, item.n_dst, word_bytes))
            .max(),
        KernelId::InnerProduct => {
            let mut n_terms = items(launch, pool).map(|item: InnerProductItem| item.n_terms);
            let blocks = (0..launch.n_items.div_ceil(INNER_PRODUCT_ITEMS)).map(|_| {
                let n_terms = n_terms.by_ref().take(INNER_PRODUCT_ITEMS as usize).sum();
                inner_product_shared_bytes(n_terms, word_bytes)
            });
            blocks.max()
        }
        _ => None,
    }
}

/// The items of a launch.
fn items<T: Pod>(launch: &Launch, pool: &[u64]) -> impl Iterator<Item = T> {
    let words = launch.kernel.item().pool_words();
    let from = launch.items_at as usize;
    let items = pool.get(from..from + words * launch.n_items as usize).unwrap_or_default();
    items.chunks_exact(words).map(|item| bytemuck::pod_read_unaligned(bytemuck::cast_slice(item)))
}

/// The contract of entry `entry_idx < n_entries(kernel)` for words of `word_bytes` bytes, `None` if there is none: another
/// index, or `log_n` outside [`GPU_MIN_LOG_N`] ..= [`GPU_MAX_LOG_N`]. PTX exists for words of four bytes.
pub const fn contract(
    kernel: KernelId,
    entry_idx: u32,
    log_n: u32,
    word_bytes: u32,
) -> Option<LaunchContract> {
    if entry_idx >= n_entries(kernel) || log_n < GPU_MIN_LOG_N || log_n > GPU_MAX_LOG_N {
        return None;
    }
    Some(match kernel {
        KernelId::Ntt
        | KernelId::Intt
        | KernelId::NttColumns
        | KernelId::NttRows
        | KernelId::InttRows
        | KernelId::NttRowsInnerProduct
        | KernelId::NttRowsSubMulScalar => {
            let columns = is_column_entry(kernel, entry_idx);
            let words_per_block =
                if columns { column_thread_words(log_n) * NTT_THREADS } else { 1 << LOG_LINE_WORDS };
            // What is on its way beside the exchange.
            let fetched = match kernel {
                // Words of the next first factor, and of two second ones.
                KernelId::NttRowsInnerProduct => 3 << LOG_LINE_WORDS,
                // Words of a and c.
                KernelId::NttRowsSubMulScalar => 2 << LOG_LINE_WORDS,
                _ => 0,
            };
            LaunchContract {
                entry: transform_entry(kernel, columns, log_n),
                module: TRANSFORMS,
                threads: NTT_THREADS,
                items_per_block: 1,
                words_per_block,
                shared_bytes: if columns { 0 } else { (LINE_SHARED_WORDS + fetched) * word_bytes },
                min_blocks: match kernel {
                    // 512 threads of 128 registers, of which 64 for two sums of 16 words.
                    KernelId::NttRowsInnerProduct => 2,
                    // Four registers a word: 1024 threads of 64 registers, or, of 32 words, 512 of 128.
                    _ => (1 << 14) / words_per_block,
                },
            }
        }
        KernelId::ConvertBasis | KernelId::ConvertBasisColumns => {
            let columns = matches!(kernel, KernelId::ConvertBasisColumns);
            LaunchContract {
                entry: if columns { transform_entry(kernel, true, log_n) } else { kernel.name() },
                module: if columns { conversions(log_n) } else { POINTWISE },
                threads: CONVERT_WORDS,
                items_per_block: 1,
                words_per_block: CONVERT_WORDS,
                shared_bytes: convert_shared_bytes(
                    MAX_CONVERT_SOURCES as u32,
                    MAX_CONVERT_TARGETS as u32,
                    word_bytes,
                ),
                // 1024 threads of 64 registers, of which 34 for columns of the matrix, digits and their sums; or, with columns of 32 words,
                // 512 of 128.
                min_blocks: if columns && column_thread_words(log_n) > 16 { 2 } else { 4 },
            }
        }
        KernelId::EmbedInverse => LaunchContract {
            entry: EMBED_ENTRIES[entry_idx as usize],
            module: ENCODE,
            threads: EMBED_THREADS,
            items_per_block: 1,
            words_per_block: EMBED_THREADS * EMBED_VALUES * 2,
            shared_bytes: 0,
            // 384 threads of 168 registers: 64 for values, the rest for addresses and factors that are loaded ahead. With 128 ptxas
            // spills (92 bytes, sm_80, 2026-11-25).
            min_blocks: 3,
        },
        KernelId::InnerProduct => LaunchContract {
            entry: kernel.name(),
            module: POINTWISE,
            threads: THREADS,
            items_per_block: INNER_PRODUCT_ITEMS,
            words_per_block: THREADS * THREAD_WORDS / INNER_PRODUCT_ITEMS,
            shared_bytes: inner_product_shared_bytes(INNER_PRODUCT_ITEMS * MAX_TERMS as u32, word_bytes),
            // 1024 threads of 64 registers.
            min_blocks: 4,
        },
        _ => LaunchContract {
            entry: kernel.name(),
            module: if matches!(kernel, KernelId::RoundResidues) { ENCODE } else { POINTWISE },
            threads: THREADS,
            items_per_block: 1,
            words_per_block: THREADS * THREAD_WORDS,
            shared_bytes: 0,
            // 1024 threads of 64 registers.
            min_blocks: 4,
        },
    })
}

/// The module of all kernels but the transforms and those of the encoder.
const POINTWISE: &str = "pointwise_u32";
/// The module of the kernels of the encoder: the only one with arithmetic on doubles.
const ENCODE: &str = "encode_u32";

/// The module of the transforms.
const TRANSFORMS: &str = "ntt_u32";

/// The columns' function for each ring size.
macro_rules! columns_entry {
    ($prefix:literal, $log_n:expr) => {
        match $log_n {
            12 => concat!($prefix, "12"),
            13 => concat!($prefix, "13"),
            14 => concat!($prefix, "14"),
            15 => concat!($prefix, "15"),
            16 => concat!($prefix, "16"),
            _ => concat!($prefix, "17"),
        }
    };
}

/// The module of the conversions that end and begin transforms: one a ring, since a driver compiles each for a third of a second.
const fn conversions(log_n: u32) -> &'static str {
    match log_n {
        12 => "convert_12_u32",
        13 => "convert_13_u32",
        14 => "convert_14_u32",
        15 => "convert_15_u32",
        16 => "convert_16_u32",
        _ => "convert_17_u32",
    }
}

const fn transform_entry(kernel: KernelId, columns: bool, log_n: u32) -> &'static str {
    match (kernel, columns) {
        (KernelId::ConvertBasisColumns, _) => columns_entry!("convert_basis_columns_", log_n),
        (KernelId::NttRowsInnerProduct, _) => "ntt_rows_inner_product",
        (KernelId::NttRowsSubMulScalar, _) => "ntt_rows_sub_mul_scalar",
        (KernelId::Intt, true) => columns_entry!("intt_columns_", log_n),
        (KernelId::Intt | KernelId::InttRows, _) => "intt_rows",
        (_, true) => columns_entry!("ntt_columns_", log_n),
        (_, false) => "ntt_rows",
    }
}

const _: () = {
    assert!(size_of::<KernelArgs>() == 40);
    // The smallest ring is a line, a column of the largest one is a thread's.
    assert!(GPU_MIN_LOG_N == LOG_LINE_WORDS && NTT_THREADS * 16 == 1 << LOG_LINE_WORDS);
    assert!(1 << log_column_words(GPU_MAX_LOG_N) == column_thread_words(GPU_MAX_LOG_N));
    assert!(size_of::<DevicePrime<u32>>() == 80 && size_of::<DevicePrime<u64>>() == 144);
};

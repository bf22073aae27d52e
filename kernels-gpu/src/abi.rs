//! What a plan says to a kernel: kernel names, row tables, launches.
//!
//! **Rows.** A *row* is one residue polynomial modulo one prime: `N` words. Every kernel works on a list of
//! rows (its *items*), so a slice or a concatenation of limbs costs nothing and batching independent
//! polynomials is appending items. A row is named by a [`RowRef`]; its address is
//! `base[slot] + row * N * size_of::<Word>()`, where `base` is the binding table of the call. Slot
//! [`ARENA`] is the plan's own memory; inputs, outputs, keys and encoded plaintexts have slots of their own.
//!
//! **Pool.** The items and the tables they point at lie in the plan's constant pool, an array of `u64`.
//! A [`Launch`] names a kernel and a range of items; an item that needs a table of variable length holds
//! an index into the pool. Every struct here is `repr(C)`, eight-byte aligned and a multiple of eight bytes.
//!
//! **Values.** Every kernel takes and gives canonical residues in `[0, q)`. `prime` indexes the primes of
//! the parameters (main primes first, special primes after them). Rows in the evaluation domain are in
//! bit-reversed order: position `i` holds the value at `psi^(2 * brv(i) + 1)`.
//!
//! **Repeated values.** A plaintext whose slots have a short period is a polynomial in `X^(2^r)`, so each of its values stands at `2^r`
//! adjacent positions. It may be stored once: `N / 2^r` words, `2^r` limbs in a row. Only first factors of inner products are
//! read so ([`Term`]).
//!
//! **Doubles.** Before they are rounded, slots and coefficients are `f64`: a row may hold `N / 2` of them from its start, low
//! word first (all of a row of `u32`, half of a row of `u64`). A vector of `N / 2` complex numbers is two such rows,
//! real parts and imaginary parts. Only [`KernelId::EmbedInverse`] and [`KernelId::RoundResidues`] read or write them.
//!
//! Decided in ADR 0005; doubles in ADR 0008; repeated values in ADR 0015.

pub mod launch;
pub mod matrix;

use bytemuck::{Pod, Zeroable};

/// Changes whenever a kernel, a table or an address rule changes; host refuses any other.
pub const ABI_VERSION: u32 = 10;

/// The binding slot of the plan's arena.
pub const ARENA: u32 = 0;

/// Names a row of `N` words: row `row` of the buffer bound to `slot`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct RowRef {
    /// Index into the binding table.
    pub slot: u32,
    /// Index of the row in that buffer.
    pub row: u32,
}

impl RowRef {
    /// No row: marks an operand that the kernel does not read.
    pub const NONE: Self = Self { slot: u32::MAX, row: u32::MAX };
}

/// The kernels. Each takes the items of one type, in any order, and may run them at the same time;
/// so no item may write a row that another item of the launch reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum KernelId {
    /// [`RowItem`]: `dst = NTT(a)`, coefficient to evaluation domain. `dst == a` allowed.
    Ntt,
    /// [`RowItem`]: `dst = NTT^-1(a)`, evaluation to coefficient domain. `dst == a` allowed.
    Intt,
    /// [`RowItem`]: `dst = a + b`.
    Add,
    /// [`RowItem`]: `dst = a - b`.
    Sub,
    /// [`RowItem`]: `dst = -a`.
    Neg,
    /// [`RowItem`]: `dst = a * scalar`.
    MulScalar,
    /// [`RowItem`]: `dst = a + scalar` in every position (the constant polynomial, in evaluation domain).
    AddScalar,
    /// [`RowItem`]: `dst = ((a - b) * scalar + c)(X^galois)` in evaluation domain, the last step of `mod_down` and `rescale`
    /// with what follows it; without `c` where that is [`RowRef::NONE`]. `dst` is no operand.
    SubMulScalar,
    /// [`RowItem`]: `dst = a * scalar + b`.
    MulScalarAdd,
    /// [`InnerProductItem`]: `dst = (init * times + sum over terms of a * b)(X^galois)` in evaluation domain, one or two of them with the
    /// same `a`: products, tensor products and key inner products alike, the last with the automorphism of their key.
    InnerProduct,
    /// [`ConvertBasisItem`]: centred basis conversion, all rows in coefficient domain.
    ConvertBasis,
    /// [`AutomorphismItem`]: `dst = a(X^galois)`, evaluation domain. `dst != a`.
    AutomorphismEval,
    /// [`AutomorphismItem`]: `dst = a(X^galois)`, coefficient domain. `dst != a`.
    AutomorphismCoeff,
    /// [`EmbedInverseItem`]: slots to coefficients as doubles, the inverse special FFT without its permutation and scaling.
    EmbedInverse,
    /// [`RoundResiduesItem`]: coefficients as doubles, scaled and rounded, to residues.
    RoundResidues,
    /// [`RowItem`]: begins `dst = NTT(a)`. What `dst` holds then is the backend's own, and only the kernels below, which end what
    /// they read, may read it. `dst == a` allowed.
    NttColumns,
    /// [`InnerProductItem`], of whose terms [`InnerProductItem::begun`] says where `a` is what [`Self::NttColumns`] has begun:
    /// the transform ends in registers, where the products are made. Beside it an inner product writes and reads each transformed row.
    NttRowsInnerProduct,
    /// [`RowItem`]: [`Self::SubMulScalar`] of a `b` that [`Self::NttColumns`] has begun.
    NttRowsSubMulScalar,
    /// [`RowItem`]: ends an NTT that is begun, where it is: `dst == a`.
    NttRows,
    /// [`RowItem`]: begins `dst = NTT^-1(a)`. What `dst` holds then is the backend's own, and only [`Self::ConvertBasisColumns`] may read
    /// it. `dst == a` allowed.
    InttRows,
    /// [`ConvertBasisItem`]: ends the inverse transforms of its sources, which [`Self::InttRows`] has begun, converts, and begins the
    /// transforms of its targets as [`Self::NttColumns`] does.
    ConvertBasisColumns,
}

impl KernelId {
    /// Every kernel, in ABI order.
    pub const ALL: [Self; 21] = [
        Self::Ntt,
        Self::Intt,
        Self::Add,
        Self::Sub,
        Self::Neg,
        Self::MulScalar,
        Self::AddScalar,
        Self::SubMulScalar,
        Self::MulScalarAdd,
        Self::InnerProduct,
        Self::ConvertBasis,
        Self::AutomorphismEval,
        Self::AutomorphismCoeff,
        Self::EmbedInverse,
        Self::RoundResidues,
        Self::NttColumns,
        Self::NttRowsInnerProduct,
        Self::NttRowsSubMulScalar,
        Self::NttRows,
        Self::InttRows,
        Self::ConvertBasisColumns,
    ];

    /// The name in plans, profiles and PTX modules.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ntt => "ntt",
            Self::Intt => "intt",
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Neg => "neg",
            Self::MulScalar => "mul_scalar",
            Self::AddScalar => "add_scalar",
            Self::SubMulScalar => "sub_mul_scalar",
            Self::MulScalarAdd => "mul_scalar_add",
            Self::InnerProduct => "inner_product",
            Self::ConvertBasis => "convert_basis",
            Self::AutomorphismEval => "automorphism_eval",
            Self::AutomorphismCoeff => "automorphism_coeff",
            Self::EmbedInverse => "embed_inverse",
            Self::RoundResidues => "round_residues",
            Self::NttColumns => "ntt_columns",
            Self::NttRowsInnerProduct => "ntt_rows_inner_product",
            Self::NttRowsSubMulScalar => "ntt_rows_sub_mul_scalar",
            Self::NttRows => "ntt_rows",
            Self::InttRows => "intt_rows",
            Self::ConvertBasisColumns => "convert_basis_columns",
        }
    }

    /// The kernel of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.name() == name)
    }

    /// What the kernel's items are.
    pub const fn item(self) -> ItemKind {
        match self {
            Self::InnerProduct | Self::NttRowsInnerProduct => ItemKind::InnerProduct,
            Self::ConvertBasis | Self::ConvertBasisColumns => ItemKind::ConvertBasis,
            Self::AutomorphismEval | Self::AutomorphismCoeff => ItemKind::Automorphism,
            Self::EmbedInverse => ItemKind::EmbedInverse,
            Self::RoundResidues => ItemKind::RoundResidues,
            _ => ItemKind::Row,
        }
    }

    /// Whether an item may write a row that it reads, as far as the item's own rules ([`InnerProductItem::dst`]) allow.
    pub const fn in_place(self) -> bool {
        matches!(
            self,
            Self::Ntt
                | Self::Intt
                | Self::NttColumns
                | Self::NttRows
                | Self::InttRows
                | Self::InnerProduct
                | Self::NttRowsInnerProduct
        )
    }

    /// How many terms of an item of `n_terms` may be begun ([`InnerProductItem::begun`]): the first ones, and none of a kernel that
    /// ends no transform.
    pub const fn most_begun(self, n_terms: usize) -> usize {
        match self {
            Self::NttRowsInnerProduct if n_terms < MAX_BEGUN_TERMS => n_terms,
            Self::NttRowsInnerProduct => MAX_BEGUN_TERMS,
            _ => 0,
        }
    }

    /// Whether the kernel reads [`RowItem::b`].
    pub const fn reads_b(self) -> bool {
        self.reads_c() || matches!(self, Self::Add | Self::Sub | Self::MulScalarAdd)
    }

    /// Whether the kernel reads [`RowItem::c`] and [`RowItem::galois`].
    pub const fn reads_c(self) -> bool {
        matches!(self, Self::SubMulScalar | Self::NttRowsSubMulScalar)
    }

    /// Whether the kernel reads [`RowItem::scalar`].
    pub const fn reads_scalar(self) -> bool {
        self.reads_c() || matches!(self, Self::MulScalar | Self::AddScalar | Self::MulScalarAdd)
    }
}

/// The type of a kernel's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// [`RowItem`].
    Row,
    /// [`InnerProductItem`].
    InnerProduct,
    /// [`ConvertBasisItem`].
    ConvertBasis,
    /// [`AutomorphismItem`].
    Automorphism,
    /// [`EmbedInverseItem`].
    EmbedInverse,
    /// [`RoundResiduesItem`].
    RoundResidues,
}

impl ItemKind {
    /// Size of an item in pool words of eight bytes.
    pub const fn pool_words(self) -> usize {
        let bytes = match self {
            Self::Row => size_of::<RowItem>(),
            Self::InnerProduct => size_of::<InnerProductItem>(),
            Self::ConvertBasis => size_of::<ConvertBasisItem>(),
            Self::Automorphism => size_of::<AutomorphismItem>(),
            Self::EmbedInverse => size_of::<EmbedInverseItem>(),
            Self::RoundResidues => size_of::<RoundResiduesItem>(),
        };
        bytes / 8
    }
}

/// One row of a transform or of an element-wise kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct RowItem {
    /// Written.
    pub dst: RowRef,
    /// First operand.
    pub a: RowRef,
    /// Second operand, or [`RowRef::NONE`].
    pub b: RowRef,
    /// Third operand, or [`RowRef::NONE`].
    pub c: RowRef,
    /// A canonical residue, or 0.
    pub scalar: u64,
    /// The prime of all rows of the item.
    pub prime: u32,
    /// A Galois element, 1 where nothing is permuted.
    pub galois: u32,
}

impl RowItem {
    /// `dst` from `a` alone; every other field as for a kernel that does not read it.
    pub const fn new(dst: RowRef, a: RowRef, prime: u32) -> Self {
        Self { dst, a, b: RowRef::NONE, c: RowRef::NONE, scalar: 0, prime, galois: 1 }
    }
}

/// `dst_h = (init_h * times_h + sum_{t < n_terms} a_t * b_th mod q)(X^galois)` for one or two `h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct InnerProductItem {
    /// Written, the second one if it is not [`RowRef::NONE`]. Where `galois` is 1, a sum may be written over its own `init` or operand,
    /// not over what the other one reads; else no `dst` is an operand.
    pub dst: [RowRef; 2],
    /// Added to the sums, or [`RowRef::NONE`].
    pub init: [RowRef; 2],
    /// What these are multiplied by: canonical residues, 1 where it is not read.
    pub times: [u64; 2],
    /// Pool index of `n_terms` [`Term`]s.
    pub terms_at: u32,
    /// Number of terms, at least 1.
    pub n_terms: u32,
    /// The prime of all rows of the item.
    pub prime: u32,
    /// Bit `t`: term `t` has an `a` that is begun, in [`KernelId::NttRowsInnerProduct`]; else zero.
    pub begun: u32,
    /// A Galois element, for both sums, 1 where nothing is permuted.
    pub galois: u32,
    /// Zero.
    pub pad: u32,
}

/// Most terms of an [`InnerProductItem`]; a longer sum goes on in another item, with the first one's as `init`.
pub const MAX_TERMS: usize = 768;

/// Terms of an [`InnerProductItem`] that may be begun: the first ones.
pub const MAX_BEGUN_TERMS: usize = 32;

/// Whether term `t` is, by [`InnerProductItem::begun`].
#[inline(always)]
pub const fn is_begun(begun: u32, t: u32) -> bool {
    t < MAX_BEGUN_TERMS as u32 && (begun >> (t & 31)) & 1 == 1
}

impl InnerProductItem {
    /// The number of sums: two unless the second destination is [`RowRef::NONE`], both words of it, as kernels see it.
    pub const fn n_sums(&self) -> usize {
        let (second, none) = (self.dst[1], RowRef::NONE);
        1 + (second.slot != none.slot || second.row != none.row) as usize
    }
}

/// A product for each sum of an [`InnerProductItem`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Term {
    /// First factor, the same for all sums.
    pub a: RowRef,
    /// Second factors; [`RowRef::NONE`] for a sum that is not there.
    pub b: [RowRef; 2],
    /// The first factor at position `i` is word `(part << (log N - log_repeat)) + (i >> log_repeat)` of row `a`. Below `2^log_repeat`.
    pub part: u32,
    /// 0, every word once; or [`MIN_LOG_REPEAT`] .. `log N` of a term that is not begun.
    pub log_repeat: u32,
}

/// The shortest run of equal values that is stored as one: as many as any backend has lanes, so that a group of lanes is one word.
pub const MIN_LOG_REPEAT: u32 = 4;

impl Term {
    /// Of a first factor with every word stored.
    pub const fn new(a: RowRef, b: [RowRef; 2]) -> Self {
        Self { a, b, part: 0, log_repeat: 0 }
    }

    /// The word of row [`Self::a`] at position `i` of a ring of `2^log_n`.
    #[inline(always)]
    pub const fn word_of_a(&self, i: u32, log_n: u32) -> u32 {
        (self.part << (log_n - self.log_repeat)) + (i >> self.log_repeat)
    }

    /// Whether the first factor is one that can be read in a ring of `2^log_n`, begun or not.
    pub const fn is_valid(&self, log_n: u32, begun: bool) -> bool {
        if self.log_repeat == 0 {
            return self.part == 0;
        }
        !begun
            && self.log_repeat >= MIN_LOG_REPEAT
            && self.log_repeat < log_n
            && self.part >> self.log_repeat == 0
    }
}

/// Centred conversion of one polynomial from the basis `D = {d_i}` to the primes `{p_j}`, coefficient by
/// coefficient (Halevi, Polyakov, Shoup, ePrint 2018/117, section 2, in fixed point instead of floats):
///
/// ```text
/// y_i = x_i * inv_i mod d_i                         inv_i  = (D / d_i)^-1 mod d_i
/// v   = (sum_i hi(y_i * frac_i) + 2^(F-1)) >> F     frac_i = floor(2^(F+w) / d_i),  hi(z) = z >> w
/// z_j = (sum_i y_i * m_ji - v * big_j) mod p_j      m_ji   = (D / d_i) mod p_j,  big_j = D mod p_j
/// ```
///
/// What is multiplied lies in the pool in Montgomery form: `inv_i R mod d_i`, `big_j R mod p_j`, `m_ji R mod p_j`, so one
/// reduction ends a sum. The matrix is laid out as [`matrix`] says.
///
/// with `w` the bits of a word and `F` = [`fraction_bits`]: `z` is the integer congruent to `x` modulo `D`
/// that lies in `[-D/2, D/2)` (but for a relative `2 n_src 2^-F` at the ends of the interval, where either
/// neighbour may be taken; the formula decides, so every backend takes the same one).
/// All `d_i` are above `2^F`. No source row may be a destination row.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ConvertBasisItem {
    /// Pool index of `n_src` [`ConvertSource`]s.
    pub src_at: u32,
    /// At least 1, at most [`MAX_CONVERT_SOURCES`].
    pub n_src: u32,
    /// Pool index of `n_dst` [`ConvertTarget`]s.
    pub dst_at: u32,
    /// At least 1, at most [`MAX_CONVERT_TARGETS`].
    pub n_dst: u32,
    /// Pool index of the matrix, [`matrix::matrix_pool_words`] long; even, so that a quad of `u32` is one aligned load.
    pub matrix_at: u32,
    /// Zero.
    pub pad: u32,
}

/// The largest source basis of a [`KernelId::ConvertBasis`] item.
pub const MAX_CONVERT_SOURCES: usize = 64;
/// The largest destination basis.
pub const MAX_CONVERT_TARGETS: usize = 256;

/// A source limb of a [`ConvertBasisItem`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ConvertSource {
    /// Read, coefficient domain; by [`KernelId::ConvertBasisColumns`] what [`KernelId::InttRows`] has begun.
    pub row: RowRef,
    /// `inv_i R mod d_i`.
    pub inv: u64,
    /// `frac_i`.
    pub frac: u64,
    /// Index of `d_i`.
    pub prime: u32,
    /// Zero.
    pub pad: u32,
}

/// A destination limb of a [`ConvertBasisItem`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ConvertTarget {
    /// Written, coefficient domain; by [`KernelId::ConvertBasisColumns`] a transform that is begun.
    pub row: RowRef,
    /// `big_j R mod p_j`.
    pub big: u64,
    /// Index of `p_j`.
    pub prime: u32,
    /// Zero.
    pub pad: u32,
}

/// `F` of [`ConvertBasisItem`] for words of `word_bits` bits.
pub const fn fraction_bits(word_bits: u32) -> u32 {
    if word_bits == 32 { 20 } else { 32 }
}

/// `dst(X) = a(X^galois)` in the ring of degree N; `galois` odd, below `2 N`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct AutomorphismItem {
    /// Written.
    pub dst: RowRef,
    /// Read.
    pub a: RowRef,
    /// The Galois element.
    pub galois: u32,
    /// The prime of both rows.
    pub prime: u32,
}

/// The inverse special FFT (Cheon, Kim, Kim, Song, ePrint 2016/421) of `N / 2` complex slots, before its permutation and
/// its division by `N / 2`, which [`RoundResiduesItem`] does: for `len = N / 2, N / 4, .. 2`, in every block of `len` values,
///
/// ```text
/// (x_j, x_(j + len/2)) = (x_j + x_(j + len/2), (x_j - x_(j + len/2)) w[len/2 + j])        0 <= j < len/2
/// (a + i b) (c + i d) = (a c - b d) + i (a d + b c)                                      each operation rounded once
/// ```
///
/// The factors are data (`fhe_core`'s encoder computes them), so that all devices of a plan have the same: `N / 2` complex
/// numbers, of which the first is not read.
/// No row of `dst` is one of the others.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct EmbedInverseItem {
    /// Written: real and imaginary parts, bit-reversed.
    pub dst: [RowRef; 2],
    /// Slots: real and imaginary parts.
    pub src: [RowRef; 2],
    /// Factors: real and imaginary parts.
    pub factors: [RowRef; 2],
}

/// Coefficient `k < N/2` is the real part of value `k` of an inverse special FFT, coefficient `N/2 + k` its imaginary part:
///
/// ```text
/// dst_t[k] = round((src[brv(k)] * (2 / N)) * scale) mod q_t          ties to even, brv over log N - 1 bits
/// ```
///
/// What is rounded must lie in `(-2^63, 2^63)`. Beyond, the result is a residue all the same, but of another number: who
/// uploads slots refuses those that would get there.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct RoundResiduesItem {
    /// Read: what [`KernelId::EmbedInverse`] wrote.
    pub src: [RowRef; 2],
    /// Bits of an `f64`.
    pub scale: u64,
    /// Pool index of `n_dst` [`RoundTarget`]s.
    pub dst_at: u32,
    /// At least 1.
    pub n_dst: u32,
}

/// A limb of a [`RoundResiduesItem`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct RoundTarget {
    /// Written, coefficient domain.
    pub row: RowRef,
    /// Index of `q_t`.
    pub prime: u32,
    /// Zero.
    pub pad: u32,
}

/// One kernel over `n_items` items that start at `items_at` in the pool.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Which kernel.
    pub kernel: KernelId,
    /// Pool index of the first item.
    pub items_at: u32,
    /// Number of items.
    pub n_items: u32,
}

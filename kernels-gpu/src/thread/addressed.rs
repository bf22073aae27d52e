//! A machine made of addresses: where rows, tables and pool words lie, given loads and stores.
//!
//! ```text
//! row   = bindings[slot] + row N 4         prime = primes + 80 idx         pool word = pool + 8 at
//! ```
//!
//! [`Isa`] is the loads and stores: PTX instructions on a GPU, checked pointers in a test. So the address rules of the ABI
//! are run on the host, too.

use super::tile::{self, Known, LANE_TARGETS, Residues, Tile};
use super::{Machine, Pair, Quad};
use crate::abi::RowRef;
use crate::abi::launch::{DevicePrime, KernelArgs};
use crate::body::shoup::{ButterflyConstants, Factor};
use crate::body::tables::PrimeConstants;
use core::mem::size_of;

/// Bytes of a word.
const WORD: u32 = size_of::<u32>() as u32;

/// Instructions that Rust has no words for, for `u32` words.
///
/// # Safety
/// Of each method: `at` is valid for the access and aligned to its size. `constant` loads: nobody writes there during the
/// launch. Rows: no other thread of the launch writes what this one reads or writes. Shared memory: inside the block's;
/// what another thread has written, or is to read, lies a barrier away.
#[expect(clippy::missing_safety_doc, reason = "all have the same one, in the trait's doc")]
pub trait Isa {
    /// Index of the block in the grid.
    fn block(&self) -> u32;
    /// Index of the thread in the block.
    fn thread(&self) -> u32;
    /// [`Machine::here`].
    fn here(&self, x: u32) -> u32;
    /// Waits for the launches before this one.
    fn wait_for_rows(&self);
    /// A constant word.
    unsafe fn constant(&self, at: u64) -> u32;
    /// Eight constant bytes.
    unsafe fn constant_u64(&self, at: u64) -> u64;
    /// The same, not merged with another load.
    unsafe fn constant_u64_anew(&self, at: u64) -> u64;
    /// Two constant words.
    unsafe fn constant_pair(&self, at: u64) -> [u32; 2];
    /// Four constant words.
    unsafe fn constant_quad(&self, at: u64) -> Quad<u32>;
    /// A word of a row.
    unsafe fn global_load(&self, at: u64) -> u32;
    /// Four words of a row.
    unsafe fn global_load_quad(&self, at: u64) -> Quad<u32>;
    /// Eight bytes of a row.
    unsafe fn global_load_u64(&self, at: u64) -> u64;
    /// Writes eight bytes of a row.
    unsafe fn global_store_u64(&self, at: u64, x: u64);
    /// Writes a word of a row.
    unsafe fn global_store(&self, at: u64, x: u32);
    /// Writes four words of a row.
    unsafe fn global_store_quad(&self, at: u64, x: Quad<u32>);
    /// Begins to copy four words from a row to shared memory.
    unsafe fn fetch_quad(&self, from: u64, to: u32);
    /// Waits for what the thread has begun to copy.
    fn wait_for_fetched(&self);
    /// A word of shared memory, `at` bytes from its start.
    unsafe fn shared_load(&self, at: u32) -> u32;
    /// Two words of shared memory.
    unsafe fn shared_load_pair(&self, at: u32) -> Pair<u32>;
    /// Four words of shared memory.
    unsafe fn shared_load_quad(&self, at: u32) -> Quad<u32>;
    /// Writes a word of shared memory.
    unsafe fn shared_store(&self, at: u32, x: u32);
    /// Writes two words of shared memory.
    unsafe fn shared_store_pair(&self, at: u32, x: Pair<u32>);
    /// Writes four words of shared memory.
    unsafe fn shared_store_quad(&self, at: u32, x: Quad<u32>);
    /// [`Machine::held`].
    #[inline(always)]
    unsafe fn held<const G: usize>(_m: &Addressed<Self>, _tile: &Tile) -> [Quad<u32>; G]
    where
        Self: Sized,
    {
        [[0; 4]; G]
    }
    /// [`Machine::tile`]; a machine without a matrix unit multiplies words.
    #[inline(always)]
    unsafe fn tile<const G: usize>(
        m: &Addressed<Self>,
        tile: &Tile,
        _held: &[Quad<u32>; G],
        known: &[Known<u32>; LANE_TARGETS],
        v: Pair<u32>,
    ) -> Residues<u32>
    where
        Self: Sized,
    {
        // SAFETY: the caller's promises.
        unsafe { tile::plain(m, tile, known, v) }
    }
}

/// A thread that finds things by the kernel's argument.
#[derive(Clone, Copy, Debug)]
pub struct Addressed<I> {
    /// The kernel's argument.
    pub args: KernelArgs,
    /// Loads and stores.
    pub isa: I,
}

/// Address of word `at + plus` from `base`; the sum in 64 bits, so that the constant goes into the instruction.
#[inline(always)]
fn word(base: u64, at: u32, plus: u32) -> u64 {
    base + u64::from(at) * u64::from(WORD) + u64::from(plus) * u64::from(WORD)
}

/// Two factors by their words.
#[inline(always)]
fn factors([a, a_quotient, b, b_quotient]: Quad<u32>) -> [Factor<u32>; 2] {
    [Factor { w: a, quotient: a_quotient }, Factor { w: b, quotient: b_quotient }]
}

impl<I: Isa> Addressed<I> {
    /// Quads `first`, `first + 1` of the record of a prime.
    ///
    /// # Safety
    /// `prime` must be below the number of primes, `first` at most 3, or 4 for one quad and another that is not read.
    #[inline(always)]
    unsafe fn quads(&self, prime: u32, first: u32) -> [Quad<u32>; 2] {
        let at = self.args.primes + u64::from(prime) * size_of::<DevicePrime<u32>>() as u64;
        // SAFETY: the caller's promise; records are 80 bytes, aligned to 16.
        [first, first + 1].map(|k| unsafe { self.isa.constant_quad(at + u64::from(16 * k)) })
    }
}

/// A method that hands an address on.
macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*) $(-> $out:ty)? = $isa:ident($address:expr $(, $word:ident)?);)*) => {
        $(
            #[inline(always)]
            unsafe fn $name(&self, $($arg: $type),*) $(-> $out)? {
                // SAFETY: the caller's promises are those of the address.
                unsafe { self.isa.$isa($address $(, $word)?) }
            }
        )*
    };
}

impl<I: Isa> Machine<u32> for Addressed<I> {
    type Row = u64;
    type Table = u64;

    #[inline(always)]
    fn args(&self) -> &KernelArgs {
        &self.args
    }
    #[inline(always)]
    fn block(&self) -> u32 {
        self.isa.block()
    }
    #[inline(always)]
    fn thread(&self) -> u32 {
        self.isa.thread()
    }
    #[inline(always)]
    fn wait_for_rows(&self) {
        self.isa.wait_for_rows();
    }

    #[inline(always)]
    fn here(&self, x: u32) -> u32 {
        self.isa.here(x)
    }
    #[inline(always)]
    unsafe fn pool_word(&self, at: u32, plus: u32) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { self.isa.constant_u64(self.args.pool + u64::from(at) * 8 + u64::from(plus) * 8) }
    }
    #[inline(always)]
    unsafe fn pool_word_anew(&self, at: u32, plus: u32) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { self.isa.constant_u64_anew(self.args.pool + u64::from(at) * 8 + u64::from(plus) * 8) }
    }
    #[inline(always)]
    unsafe fn table_word(&self, at: u32, idx: u32) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { self.isa.constant(word(self.args.pool + u64::from(at) * 8, idx, 0)) }
    }
    #[inline(always)]
    unsafe fn table_quad(&self, at: u32, idx: u32) -> Quad<u32> {
        // SAFETY: the caller's promise; the pool is aligned to 16 bytes.
        unsafe { self.isa.constant_quad(word(self.args.pool + u64::from(at) * 8, idx, 0)) }
    }
    #[inline(always)]
    unsafe fn row(&self, row: RowRef) -> u64 {
        // SAFETY: the caller's promise.
        let base = unsafe { self.isa.constant_u64(self.args.bindings + u64::from(row.slot) * 8) };
        base + u64::from(row.row) * u64::from(self.args.row_bytes)
    }
    #[inline(always)]
    fn words_of_row(row: u64) -> Pair<u32> {
        [row as u32, (row >> 32) as u32]
    }
    #[inline(always)]
    fn row_of_words([low, high]: Pair<u32>) -> u64 {
        u64::from(low) | u64::from(high) << 32
    }
    #[inline(always)]
    unsafe fn prime(&self, prime: u32) -> PrimeConstants<u32> {
        // SAFETY: the caller's promise.
        let [[q, q_inv, r1, r2], [n_inv, n_inv_w1, minus_q2, _]] = unsafe { self.quads(prime, 0) };
        PrimeConstants { q, q_inv, r1, r2, n_inv, n_inv_w1, minus_q2 }
    }
    #[inline(always)]
    unsafe fn butterflies(&self, prime: u32) -> (ButterflyConstants<u32>, u64) {
        // SAFETY: the caller's promise.
        let ([[q2, minus_q, ..], inverses], [[low, high, ..], _]) =
            unsafe { (self.quads(prime, 2), self.quads(prime, 4)) };
        let [n_inv, n_inv_w1] = factors(inverses);
        let table = u64::from(low) | u64::from(high) << 32;
        (ButterflyConstants { q2, minus_q, n_inv, n_inv_w1 }, table)
    }
    #[inline(always)]
    unsafe fn factor(&self, table: u64, at: u32) -> Factor<u32> {
        // SAFETY: the caller's promise.
        let [w, quotient] = unsafe { self.isa.constant_pair(word(table, 2 * at, 0)) };
        Factor { w, quotient }
    }
    #[inline(always)]
    unsafe fn factor_pair(&self, table: u64, at: u32, plus: u32) -> [Factor<u32>; 2] {
        // SAFETY: the caller's promise; an even factor is aligned to 16 bytes.
        factors(unsafe { self.isa.constant_quad(word(table, 2 * at, 2 * plus)) })
    }

    #[inline(always)]
    unsafe fn fetch_quad(&self, row: u64, at: u32, plus: u32, to: u32) {
        // SAFETY: the caller's promises.
        unsafe { self.isa.fetch_quad(word(row, at, plus), to * WORD) };
    }
    #[inline(always)]
    fn wait_for_fetched(&self) {
        self.isa.wait_for_fetched();
    }
    #[inline(always)]
    unsafe fn held<const G: usize>(&self, tile: &Tile) -> [Quad<u32>; G] {
        // SAFETY: the caller's promises.
        unsafe { I::held(self, tile) }
    }
    #[inline(always)]
    unsafe fn tile<const G: usize>(
        &self,
        tile: &Tile,
        held: &[Quad<u32>; G],
        known: &[Known<u32>; LANE_TARGETS],
        v: Pair<u32>,
    ) -> Residues<u32> {
        // SAFETY: the caller's promises.
        unsafe { I::tile(self, tile, held, known, v) }
    }
    #[inline(always)]
    unsafe fn load_double(&self, row: u64, at: u32) -> f64 {
        // SAFETY: the caller's promise; rows are aligned to 16 bytes.
        f64::from_bits(unsafe { self.isa.global_load_u64(row + u64::from(at) * 8) })
    }
    #[inline(always)]
    unsafe fn store_pair(&self, row: u64, at: u32, plus: u32, [low, high]: Pair<u32>) {
        let both = u64::from(low) | u64::from(high) << 32;
        // SAFETY: the caller's promises; an even word is aligned to eight bytes.
        unsafe { self.isa.global_store_u64(word(row, at, plus), both) };
    }
    #[inline(always)]
    unsafe fn store_double(&self, row: u64, at: u32, x: f64) {
        // SAFETY: as above.
        unsafe { self.isa.global_store_u64(row + u64::from(at) * 8, x.to_bits()) };
    }

    forward! {
        load(row: u64, at: u32, plus: u32) -> u32 = global_load(word(row, at, plus));
        load_quad(row: u64, at: u32, plus: u32) -> Quad<u32> = global_load_quad(word(row, at, plus));
        store(row: u64, at: u32, plus: u32, x: u32) = global_store(word(row, at, plus), x);
        store_quad(row: u64, at: u32, plus: u32, x: Quad<u32>) = global_store_quad(word(row, at, plus), x);
        shared_load(at: u32, plus: u32) -> u32 = shared_load(at * WORD + plus * WORD);
        shared_load_pair(at: u32, plus: u32) -> Pair<u32> = shared_load_pair(at * WORD + plus * WORD);
        shared_load_quad(at: u32, plus: u32) -> Quad<u32> = shared_load_quad(at * WORD + plus * WORD);
        shared_store(at: u32, plus: u32, x: u32) = shared_store(at * WORD + plus * WORD, x);
        shared_store_pair(at: u32, plus: u32, x: Pair<u32>) = shared_store_pair(at * WORD + plus * WORD, x);
        shared_store_quad(at: u32, plus: u32, x: Quad<u32>) = shared_store_quad(at * WORD + plus * WORD, x);
    }
}

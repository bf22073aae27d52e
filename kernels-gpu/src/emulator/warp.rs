//! A warp at its matrix unit: that [`tile::by_bytes`] gives the unit what it must, and takes what it gives.
//!
//! The emulator runs thread by thread and so multiplies words ([`tile::plain`]). Here 32 lanes run twice: first each tells what it
//! supplies to each product, then each gets its words of the products, computed from what all have supplied.

use super::Thread;
use super::memory::{Global, Shared};
use crate::abi::launch::KernelArgs;
use crate::abi::matrix_position;
use crate::body::tables::RingTables;
use crate::thread::tile::{self, MatrixUnit, Sums, Tile};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

/// What a lane supplies to a product.
type Supplied = ([u32; 2], u32);

/// Byte `k` of row or column `line`, of words that lane `4 (line % 8) + k / 4` holds.
fn byte(words: &[u32; 32], line: usize, k: usize) -> u32 {
    u32::from(words[4 * (line % 8) + k / 4].to_le_bytes()[k % 4])
}

/// Adds to lane `lane`'s words of `d` its part of the product of what all lanes supply (PTX ISA, `mma.m16n8k16`).
fn multiply(supplied: &[Supplied], lane: usize, d: &mut [u32; 4]) {
    let mut a = [[0; 32]; 2];
    let mut b = [0; 32];
    for (l, (rows, column)) in supplied.iter().enumerate() {
        (a[0][l], a[1][l], b[l]) = (rows[0], rows[1], *column);
    }
    for (half, words) in a.iter().enumerate() {
        for t in 0..2 {
            let column = 2 * (lane % 4) + t;
            d[2 * half + t] += (0..16).map(|k| byte(words, lane / 4, k) * byte(&b, column, k)).sum::<u32>();
        }
    }
}

/// A unit that takes down what a lane supplies.
#[derive(Default)]
struct Told(RefCell<Vec<Supplied>>);

impl MatrixUnit for Told {
    fn multiply(&self, _: &mut [u32; 4], a: [u32; 2], b: u32) {
        self.0.borrow_mut().push((a, b));
    }
}

/// A unit that knows what all lanes supply, and computes for one of them.
struct Given<'a> {
    supplied: &'a [Vec<Supplied>],
    lane: usize,
    product: Cell<usize>,
}

impl MatrixUnit for Given<'_> {
    fn multiply(&self, d: &mut [u32; 4], _: [u32; 2], _: u32) {
        let product = self.product.replace(self.product.get() + 1);
        let supplied: Vec<Supplied> = self.supplied.iter().map(|lane| lane[product]).collect();
        multiply(&supplied, self.lane, d);
    }
}

/// The sums of all lanes.
fn run(tile: &Tile, n: u32, shared: &RefCell<Shared<u32>>, pool: &[u64], bytes: bool) -> Vec<Sums<u64>> {
    let args =
        KernelArgs { bindings: 0, pool: 0, primes: 0, items_at: 0, n_items: 1, log_n: 12, row_bytes: 0 };
    let ring = RingTables { log_n: 12, primes: &[] };
    let global = RefCell::new(Global::new(&mut [], 12));
    let fetched = RefCell::default();
    let lane = |thread: u32| Thread {
        args: &args,
        block: 0,
        thread,
        in_grid: thread,
        phase: 2,
        pool,
        ring: &ring,
        waited: Cell::new(true),
        fetched: &fetched,
        shared,
        global: &global,
    };
    if !bytes {
        // SAFETY: every access is checked.
        return (0..32).map(|l| unsafe { tile::plain(&lane(l), tile, 1, n) }).collect();
    }
    let by_unit = |l: u32, unit: &dyn MatrixUnit| {
        let m = lane(l);
        // SAFETY: as above.
        unsafe { tile::by_bytes(&m, tile, tile.supplied(&m, 1, n), 1, n, unit) }
    };
    let told: Vec<Told> = (0..32).map(|_| Told::default()).collect();
    for (l, told) in (0..).zip(&told) {
        by_unit(l, told);
    }
    let supplied: Vec<Vec<Supplied>> = told.into_iter().map(|told| told.0.into_inner()).collect();
    assert!(supplied.iter().all(|s| s.len() == supplied[0].len()), "all lanes take part in all");
    let given = |l: u32| Given { supplied: &supplied, lane: l as usize, product: Cell::new(0) };
    (0..32).map(|l| by_unit(l, &given(l))).collect()
}

#[test]
fn the_matrix_unit_gives_sums_of_products() {
    let mut state = 7u64;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 34) as u32
    };
    let (stride, targets) = (40, 11);
    for (n_src, n) in [(2, 1), (6, 4), (12, 11), (13, 12)] {
        let mut matrix = alloc::vec![0; matrix_position(0, 12, n_src as usize)];
        (0..n_src as usize).for_each(|i| {
            (0..targets as usize).for_each(|j| matrix[matrix_position(i, j, n_src as usize)] = word());
        });
        let word_pairs = matrix.chunks_exact(2).map(|w| u64::from(w[0]) | u64::from(w[1]) << 32);
        let pool: Vec<u64> = word_pairs.collect();
        let shared = RefCell::new(Shared::new((n_src * stride) as usize));
        for at in 0..n_src * stride {
            shared.borrow_mut().write(at, word(), (0, 0));
        }
        for target in [0, 8] {
            let tile = Tile { digits: 8, stride, matrix_at: 0, n_src, target, last_target: targets - 1 };
            let (expected, found) =
                (run(&tile, n, &shared, &pool, false), run(&tile, n, &shared, &pool, true));
            assert_eq!(found, expected, "{n} of {n_src} sources, targets from {target}");
        }
    }
}

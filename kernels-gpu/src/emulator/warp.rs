//! A warp at its matrix unit: that [`tile::by_bytes`] gives the unit what it must, and takes what it gives.
//!
//! The emulator runs thread by thread and so multiplies words ([`tile::plain`]). Here 32 lanes run twice: first each tells what it
//! supplies to each product, then each gets its words of the products, computed from what all have supplied.

use super::Thread;
use super::memory::{Global, Shared};
use crate::abi::launch::KernelArgs;
use crate::abi::matrix::{fill_matrix, matrix_pool_words};
use crate::body::tables::{PrimeConstants, RingTables};
use crate::thread::tile::{self, HELD_GROUPS, Known, LANE_TARGETS, MatrixUnit, Residues, Tile};
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

/// The results of all lanes for a tile, with the columns of `G` groups held, by words or by bytes.
fn run<const G: usize>(
    tile: &Tile,
    known: &[Known<u32>],
    v: u32,
    shared: &RefCell<Shared<u32>>,
    pool: &[u64],
) -> [Vec<Residues<u32>>; 2] {
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
    let known_to = |l: u32| -> [Known<u32>; LANE_TARGETS] {
        let first = tile.target + tile::lane_target(l);
        [0, 1].map(|t| known[Ord::min(first + t, tile.n_dst - 1) as usize])
    };
    let quotients = [v, v / 2];
    let of = |thread| Tile { thread, ..*tile };
    // SAFETY: every access is checked, here and below.
    let by_words = |l| unsafe { tile::plain(&lane(l), &of(l), &known_to(l), quotients) };
    let by_unit = |l: u32, unit: &dyn MatrixUnit| {
        let m = lane(l);
        // SAFETY: as above.
        unsafe { tile::by_bytes(&m, &of(l), &of(l).held::<G, _>(&m), &known_to(l), quotients, unit) }
    };
    let told: Vec<Told> = (0..32).map(|_| Told::default()).collect();
    for (l, told) in (0..).zip(&told) {
        by_unit(l, told);
    }
    let supplied: Vec<Vec<Supplied>> = told.into_iter().map(|told| told.0.into_inner()).collect();
    assert!(supplied.iter().all(|s| s.len() == supplied[0].len()), "all lanes take part in all");
    let given = |l: u32| Given { supplied: &supplied, lane: l as usize, product: Cell::new(0) };
    // Only of targets that there are.
    let there = |(l, mut found): (u32, Residues<u32>)| {
        for (t, words) in (tile.target + tile::lane_target(l)..).zip(&mut found) {
            if t >= tile.n_dst {
                *words = [0; 2];
            }
        }
        found
    };
    let by_bytes = (0..32).map(|l| by_unit(l, &given(l)));
    [(0..).zip((0..32).map(by_words)).map(there).collect(), (0..).zip(by_bytes).map(there).collect()]
}

#[test]
fn the_matrix_unit_gives_sums_of_products() {
    let mut state = 7u64;
    let mut word = |below: u32| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32 % below
    };
    let (stride, targets, largest) = (40, 11, 1 << 30);
    // A small prime, one of 28 bits and the largest of 30 bits in turn.
    let primes: Vec<u64> =
        [257, 268_369_921, 1_073_741_789].into_iter().cycle().take(targets as usize).collect();
    let known: Vec<Known<u32>> = primes
        .iter()
        .map(|&p| Known {
            q: p as u32,
            q_inv: PrimeConstants::<u32>::new(p as u32, 1, 12).q_inv,
            minus_big: word(p as u32),
        })
        .collect();
    for n_src in [1, 2, 6, 11, 12, 13, 16, 17, 64] {
        for all_largest in [false, true] {
            let mut factors = alloc::vec![0; (n_src * targets) as usize];
            for (idx, factor) in factors.iter_mut().enumerate() {
                let p = primes[idx % targets as usize] as u32;
                *factor = if all_largest { p - 1 } else { word(p) };
            }
            let mut pool = alloc::vec![0; matrix_pool_words(n_src as usize, primes.len(), 32)];
            let form = |i: usize, j: usize| u64::from(factors[i * targets as usize + j]);
            fill_matrix(&mut pool, n_src as usize, &primes, 32, form);
            let shared = RefCell::new(Shared::new((n_src * stride) as usize));
            for at in 0..n_src * stride {
                shared.borrow_mut().write(at, if all_largest { largest - 1 } else { word(largest) }, (0, 0));
            }
            for target in [0, 8] {
                let tile = Tile { thread: 0, digits: 8, stride, matrix_at: 0, n_src, n_dst: targets, target };
                let run = match tile::groups(n_src) {
                    1 => run::<1>,
                    2 => run::<2>,
                    3 => run::<HELD_GROUPS>,
                    _ => run::<0>,
                };
                let [expected, found] = run(&tile, &known, n_src, &shared, &pool);
                assert_eq!(found.len(), 32);
                assert_eq!(found, expected, "{n_src} sources, targets from {target}");
            }
        }
    }
}

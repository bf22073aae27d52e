//! Where the words of a line lie in shared memory: each in one place, whoever reaches it, and in banks that no access meets twice.

use super::Line;
use crate::abi::launch::{LINE_SHARED_WORDS, NTT_THREADS, PART_STRIDE};
use crate::emulator::lone_thread;
use alloc::vec::Vec;

/// Words of shared memory that go through the banks at a time.
const BANKS: u32 = 32;

/// Where a thread's words lie: of the outer, middle and inner step, and the quads that it moves.
struct Places {
    outer: u32,
    middle: [u32; 4],
    inner: [u32; 4],
    moved: [u32; 4],
}

fn places() -> Vec<Places> {
    let of = |thread| {
        let m = lone_thread(thread);
        // SAFETY: the thread has a prime, of zeros.
        let line = unsafe { Line::new(&m, 0, 0) };
        Places {
            outer: line.outer_in_shared(),
            middle: line.middle_in_shared(),
            inner: line.inner_in_shared(),
            moved: [0, 1, 2, 3].map(|k| line.moved_in_shared(k)),
        }
    };
    (0..NTT_THREADS).map(of).collect()
}

/// Threads that go through together take `words` adjacent words each from where `at` says: inside shared memory, in all banks.
fn meet_no_bank_twice(places: &[Places], words: u32, what: &str, at: impl Fn(&Places) -> u32) {
    for together in places.chunks((BANKS / words) as usize) {
        let mut banks = 0u32;
        for word in together.iter().flat_map(|place| (at(place)..).take(words as usize)) {
            assert!(word < LINE_SHARED_WORDS, "{what}: word {word}");
            banks |= 1 << (word % BANKS);
        }
        assert_eq!(banks, u32::MAX, "{what}");
    }
}

#[test]
fn no_bank_is_met_twice() {
    let places = places();
    for k in 0..16 {
        meet_no_bank_twice(&places, 1, "outer", |p| p.outer + k * PART_STRIDE);
        meet_no_bank_twice(&places, 1, "middle", |p| p.middle[k as usize / 2 % 4] + 16 * k);
    }
    for k in 0..4 {
        meet_no_bank_twice(&places, 4, "inner", |p| p.inner[k]);
        meet_no_bank_twice(&places, 4, "moved", |p| p.moved[k]);
    }
}

/// Word `256 j + 16 r + i`.
#[test]
fn a_word_lies_in_one_place() {
    let places = places();
    let mut all = Vec::new();
    for word in 0..4096usize {
        let (j, r, i) = (word / 256, word / 16 % 16, word % 16);
        let by_outer = places[word % 256].outer + j as u32 * PART_STRIDE;
        let by_middle = places[16 * j + i].middle[r / 2 % 4] + 16 * r as u32;
        let by_inner = places[16 * j + r].inner[i / 4] + i as u32 % 4;
        let by_moved = places[16 * j + word % 64 / 4].moved[word % 256 / 64] + word as u32 % 4;
        assert_eq!([by_outer, by_middle, by_inner], [by_moved; 3], "word {word}");
        all.push(by_outer);
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 4096);
}

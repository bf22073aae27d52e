//! One launch on threads: which words of which item each task takes.

use crate::work::Work;
use kernels_gpu::abi::{ItemKind, KernelId, Launch, RowItem};
use kernels_gpu::body::tables::{PrimeTables, RingTables};
use kernels_gpu::cpu::{Base, Bindings, CpuWord, LaneKind, SPLIT_WORDS, splits, transforms_after};
use rayon::ThreadPool;
use rayon::prelude::*;
use scheduler::plan::Plan;
use std::sync::Arc;

/// Tasks a thread that a launch is cut into, so that threads finish together.
const TASKS_PER_THREAD: usize = 4;

/// Words of the smallest part of an item: 4 KiB of `u32`.
const MIN_PART_WORDS: usize = 1024;

/// Launches of less work than this run on the caller's thread: waking others takes some microseconds.
const SERIAL_WORK: u64 = 1 << 17;

/// Runs launches.
#[derive(Debug)]
pub(super) struct Launcher {
    pub(super) lanes: LaneKind,
    pub(super) pool: Arc<ThreadPool>,
}

/// Parts of an item when `n_items` items of `n` words are shared by `threads` threads: a power of two.
fn parts(n_items: usize, n: usize, threads: usize) -> usize {
    let wanted = (TASKS_PER_THREAD * threads).div_ceil(n_items.max(1)).next_power_of_two();
    wanted.min(n / MIN_PART_WORDS.min(n))
}

/// About 20 units a microsecond and core.
fn units(work: &Work) -> u64 {
    work.bytes + 4 * work.multiplications
}

impl Launcher {
    /// Runs a launch to its end.
    ///
    /// # Safety
    /// The launch satisfies the rules of [`crate::check`] for `plan`, with `bases` the memory of the slots, large enough
    /// for all rows that it names, which nobody else touches; `primes` are those of the plan, arranged for the lanes, which
    /// the processor has.
    pub(super) unsafe fn launch<W: CpuWord>(
        &self,
        plan: &Plan,
        launch: &Launch,
        work: &Work,
        bases: &[Base],
        primes: &[PrimeTables<'_, W>],
    ) {
        let n = plan.row_words();
        let ring = RingTables { log_n: plan.log_n, primes };
        let bindings = Bindings { bases };
        let threads = if units(work) < SERIAL_WORK { 1 } else { self.pool.current_num_threads() };
        let n_items = launch.n_items as usize;
        let parts = if splits(launch.kernel) && threads > 1 { parts(n_items, n, threads) } else { 1 };
        let part_words = n / parts;
        debug_assert!(part_words.is_multiple_of(SPLIT_WORDS));
        let (items_at, item_words) = (launch.items_at as usize, launch.kernel.item().pool_words());
        let task = |i: usize| {
            let (item, part) = (i / parts, i % parts);
            let range = part * part_words..(part + 1) * part_words;
            let item_at = items_at + item * item_words;
            // SAFETY: the caller's promises; parts of an item do not overlap, and are whole items unless it splits.
            unsafe {
                W::run_item_on(self.lanes, launch.kernel, &plan.pool, item_at, range, &bindings, &ring);
            };
        };
        self.run(threads, n_items * parts, task);
        let items = (0..n_items).map(|item| items_at + item * item_words);
        let after: Vec<RowItem> =
            items.flat_map(|at| transforms_after(launch.kernel, &plan.pool, at)).collect();
        let items: &[u64] = bytemuck::cast_slice(&after);
        let item_words = ItemKind::Row.pool_words();
        self.run(threads, after.len(), |i| {
            // SAFETY: the caller's promises; rows that the launch has written, each once.
            unsafe {
                let (kernel, item_at) = (KernelId::NttColumns, i * item_words);
                W::run_item_on(self.lanes, kernel, items, item_at, 0..n, &bindings, &ring);
            };
        });
    }

    fn run(&self, threads: usize, n_tasks: usize, task: impl Fn(usize) + Sync + Send) {
        if threads > 1 {
            self.pool.install(|| (0..n_tasks).into_par_iter().for_each(task));
        } else {
            (0..n_tasks).for_each(task);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_groups_and_enough_for_all_threads() {
        for log_n in 8..=17 {
            let n = 1usize << log_n;
            for n_items in 1..40 {
                for threads in [2, 3, 16, 128] {
                    let p = parts(n_items, n, threads);
                    assert!(p.is_power_of_two() && (n / p).is_multiple_of(SPLIT_WORDS));
                    assert!(p == n.div_ceil(MIN_PART_WORDS) || p * n_items >= TASKS_PER_THREAD * threads);
                }
            }
        }
    }
}

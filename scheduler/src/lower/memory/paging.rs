//! Which value is in which row of the arena, launch by launch. When there is no free row, the value goes that is
//! needed last (L. A. Belady, 1966), among equals one that need not be written; a value that has been written
//! below once, or came from there, is dropped without a copy.
//!
//! ```text
//! window k:   launches k   what is ready        |  moves k   what launches k + 1 and later need, into rows that launches k do not touch
//! ```
//!
//! Moves and launches of a window may run at the same time, so copies are made ahead of their use: those for the next launch, and for
//! more while they are at most as many rows as may be ahead. A row that receives is taken when its copy is issued. For a fetch ahead a
//! value goes only if it is needed later than what is fetched. Where nothing is ready, moves are made alone and the launches wait for them.
//! Rows are exchanged with other devices behind the launches of a window.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kernels_gpu::abi::RowRef;

use super::super::plan::Addressed;
use super::Arena;
use super::streams::Act;
use super::trace::{Moment, Trace, Value, ValueIdx};
use crate::plan::{BufferId, Place};

/// A row below the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Below {
    /// Of an absent buffer.
    Home(Place),
    /// Of the spill buffers, which are numbered as one.
    Slot(u32),
}

/// A copy of one row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    /// Row of the arena.
    pub(super) row: u32,
    pub(super) below: Below,
    pub(super) is_fetch: bool,
}

/// What comes beside segments, in order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Move {
    /// A copy between tiers.
    Transfer(Transfer),
    /// The end of a row that is exchanged with another device: a row of the arena.
    Exchange(u32),
}

/// Launches, and the copies that stand behind them.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) launches: Vec<Addressed>,
    /// Rows that they read or write.
    n_rows: u64,
    pub(super) moves: Vec<Move>,
}

/// Rows that a moment takes.
fn n_taken(moment: &Moment) -> usize {
    moment.makes.iter().filter(|made| made.over.is_none()).count()
}

impl Window {
    fn is_empty(&self) -> bool {
        self.launches.is_empty() && self.moves.is_empty()
    }

    /// Its copies between tiers.
    pub(super) fn transfers(&self) -> impl Iterator<Item = &Transfer> {
        self.moves.iter().filter_map(|m| match m {
            Move::Transfer(transfer) => Some(transfer),
            Move::Exchange(_) => None,
        })
    }
}

/// A run in an arena of limited size.
#[derive(Debug)]
pub(super) struct Paging {
    pub(super) windows: Vec<Window>,
    /// Rows of the arena that are used.
    pub(super) arena_rows: u32,
    /// Rows of the spill buffers.
    pub(super) n_slots: u32,
    /// What the windows take, in rows that a launch reads or writes.
    pub(super) cost: u64,
}

/// What copies may be ahead of the launches before their use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    /// So many rows.
    pub(super) rows: u64,
    /// Whether values go for them, so that there are more copies and more of them are beside launches.
    pub(super) evicts: bool,
}

/// A row that is copied between tiers takes as long as so many that a launch reads or writes: 50 GB/s beside 3 TB/s.
const COPY_COST: u64 = 60;

/// How many launches are looked at for what they need.
const HORIZON: usize = 16;

/// Pages a walk; `None` where a launch takes more than the arena.
pub(super) fn page(trace: Trace, ahead: Ahead) -> Option<Paging> {
    let Trace { arena, capacity, values, moments } = trace;
    let end = capacity.min(u64::from(u32::MAX)) as u32;
    let mut pager = Pager {
        arena,
        now: vec![State::default(); values.len()],
        values,
        // A quarter is written while another is read, and half is left.
        ahead: usize::try_from(ahead.rows).unwrap_or(usize::MAX).min(end as usize / 4),
        evicts: ahead.evicts,
        half: end as usize / 2,
        free: FreeRows { given_back: BTreeSet::new(), next: 0, end },
        freed: BTreeSet::new(),
        touched: BTreeSet::new(),
        held: BTreeSet::new(),
        slots: Arena::default(),
        open: Window::default(),
        windows: Vec::new(),
    };
    let mut coming: VecDeque<(usize, Moment)> = moments.into_iter().enumerate().collect();
    while !coming.is_empty() {
        while coming.front().is_some_and(|(_, moment)| pager.is_ready(moment)) {
            let (_, moment) = coming.pop_front()?;
            pager.moment(moment)?;
        }
        let mut n_fetched = 0;
        if let Some((_, next)) = coming.front().filter(|_| pager.open.is_empty()) {
            n_fetched = pager.make_ready(next)?;
        }
        pager.prepare(&coming, n_fetched)?;
        pager.close();
    }
    Some(pager.finish())
}

/// Rows that nothing holds, the lowest first.
struct FreeRows {
    given_back: BTreeSet<u32>,
    /// Rows from here to `end` were never taken.
    next: u32,
    end: u32,
}

impl FreeRows {
    fn len(&self) -> usize {
        self.given_back.len() + (self.end - self.next) as usize
    }

    fn take(&mut self) -> Option<u32> {
        self.given_back.pop_first().or_else(|| {
            let row = (self.next < self.end).then_some(self.next);
            self.next += u32::from(row.is_some());
            row
        })
    }
}

/// Where a value is.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    row: Option<u32>,
    /// The spilled copy; values are written once, so it stays valid.
    spilled: Option<Below>,
    /// How many of its reads are done.
    n_read: usize,
}

struct Pager {
    arena: BufferId,
    values: Vec<Value>,
    now: Vec<State>,
    /// Rows that copies may be ahead.
    ahead: usize,
    /// Whether values go for them.
    evicts: bool,
    /// Half the rows.
    half: usize,
    /// Rows that are free and that the launches of the window do not touch.
    free: FreeRows,
    /// Rows that these launches freed.
    freed: BTreeSet<u32>,
    /// Values that they touched and that stay.
    touched: BTreeSet<ValueIdx>,
    /// Other values in rows by next use, the one to go first last.
    held: BTreeSet<(usize, bool, ValueIdx)>,
    slots: Arena,
    open: Window,
    windows: Vec<Window>,
}

impl Pager {
    /// Next use, whether it may be dropped, and the value.
    fn key(&self, value: ValueIdx) -> (usize, bool, ValueIdx) {
        let next = self.values[value].reads.get(self.now[value].n_read);
        (next.copied().unwrap_or(usize::MAX), self.below(value).is_some(), value)
    }

    /// Where a value is below the device.
    fn below(&self, value: ValueIdx) -> Option<Below> {
        let home = || self.values[value].home.filter(|_| self.values[value].given);
        self.now[value].spilled.or_else(|| home().map(Below::Home))
    }

    /// Whether a moment can be next in the window: what it reads is there, what it makes has room. Launches come before moves, and touch at
    /// most half the rows, but for the first.
    fn is_ready(&self, moment: &Moment) -> bool {
        let is_there = moment.reads.iter().all(|&(_, value)| self.now[value].row.is_some());
        let fits = n_taken(moment) <= self.free.len() + self.freed.len();
        let n_touched = self.touched.len() + self.freed.len() + moment.reads.len() + moment.makes.len();
        let in_turn = match moment.act {
            Act::Launch(_) => self.open.moves.is_empty(),
            Act::Exchange(_) => true,
        };
        is_there && fits && in_turn && (self.open.launches.is_empty() || n_touched <= self.half)
    }

    /// What a moment reads that is below and not in the arena.
    fn missing(&self, moment: &Moment) -> Vec<(Below, ValueIdx)> {
        let absent = moment.reads.iter().map(|&(_, value)| value).filter(|&v| self.now[v].row.is_none());
        let mut missing: Vec<(Below, ValueIdx)> = absent.filter_map(|v| Some((self.below(v)?, v))).collect();
        missing.sort_unstable();
        missing
    }

    /// Rows that a moment leaves to those after it, but for the one that it hands on.
    fn n_freed(&self, number: usize, moment: &Moment) -> usize {
        let ends = |value: ValueIdx| {
            let Value { reads, returned, .. } = &self.values[value];
            !returned && reads.last().is_none_or(|&last| last == number)
        };
        let handed_on = |value: ValueIdx| moment.makes.iter().any(|made| made.over == Some(value));
        let read = moment.reads.iter().filter(|&&(_, value)| ends(value) && !handed_on(value)).count();
        read + moment.makes.iter().filter(|made| ends(made.value)).count()
    }

    fn moment(&mut self, moment: Moment) -> Option<()> {
        for &(_, value) in &moment.reads {
            self.held.remove(&self.key(value));
            self.touched.remove(&value);
        }
        let mut rows: BTreeMap<RowRef, u32> = BTreeMap::new();
        for &(name, value) in &moment.reads {
            rows.insert(name, self.now[value].row?);
        }
        let is_launch = matches!(moment.act, Act::Launch(_));
        for made in &moment.makes {
            // A launch leaves to copies what they may write beside it; what is received need not wait for a launch.
            let row = match made.over {
                Some(over) => self.now[over].row.take()?,
                None if is_launch => self.freed.pop_first().or_else(|| self.free.take())?,
                None => self.free.take().or_else(|| self.freed.pop_first())?,
            };
            self.now[made.value].row = Some(row);
            rows.insert(made.row, row);
        }
        for &(_, value) in &moment.reads {
            self.now[value].n_read += 1;
            self.keep_or_release(value);
        }
        for made in &moment.makes {
            self.keep_or_release(made.value);
        }
        match moment.act {
            Act::Launch(launch) => {
                let slot = self.arena.0;
                let physical = |row: RowRef| rows.get(&row).map_or(row, |&at| RowRef { slot, row: at });
                let items = launch.items.iter().map(|item| item.clone().map_rows(physical)).collect();
                self.open.launches.push(launch.with_items(items));
                self.open.n_rows += moment.n_rows;
            }
            Act::Exchange(_) => self.open.moves.extend(rows.values().copied().map(Move::Exchange)),
        }
        Some(())
    }

    /// Makes the next moment ready, whatever has to go; the number of rows that are fetched.
    fn make_ready(&mut self, next: &Moment) -> Option<usize> {
        let there = |p: &Self| -> Vec<ValueIdx> {
            let values = next.reads.iter().map(|&(_, value)| value);
            values.filter(|&v| p.now[v].row.is_some()).collect()
        };
        for value in there(self) {
            self.held.remove(&self.key(value));
        }
        let missing = self.missing(next);
        self.make_room((missing.len() + n_taken(next)).saturating_sub(self.free.len()))?;
        for value in there(self) {
            self.held.insert(self.key(value));
        }
        let n_fetched = missing.len();
        self.fetch(missing)?;
        Some(n_fetched)
    }

    /// Copies beside the launches of the window what comes after them.
    fn prepare(&mut self, coming: &VecDeque<(usize, Moment)>, mut n_fetched: usize) -> Option<()> {
        let (mut room, mut freed) = (self.free.len(), self.freed.len());
        for (number, moment) in coming.iter().take(HORIZON) {
            let missing = self.missing(moment);
            if n_fetched > 0 && n_fetched + missing.len() > self.ahead {
                break;
            }
            // Launches write rows that those before them freed; copies beside these cannot.
            let taken = n_taken(moment);
            let own = taken.min(freed);
            let needed = missing.len() + taken - own;
            let more = needed.saturating_sub(room);
            if more > 0 && !self.evicts {
                break;
            }
            let later = |&&(next, ..): &&(usize, bool, ValueIdx)| next > *number;
            if self.held.iter().rev().take(more).filter(later).count() < more {
                break;
            }
            self.make_room(more)?;
            room = room + more - needed;
            freed = freed - own + self.n_freed(*number, moment);
            n_fetched += missing.len();
            self.fetch(missing)?;
        }
        Some(())
    }

    fn fetch(&mut self, missing: Vec<(Below, ValueIdx)>) -> Option<()> {
        for (below, value) in missing {
            let row = self.free.take()?;
            self.now[value].row = Some(row);
            self.held.insert(self.key(value));
            self.open.moves.push(Move::Transfer(Transfer { row, below, is_fetch: true }));
        }
        Some(())
    }

    /// After a launch that used it: whether there is more to come.
    fn keep_or_release(&mut self, value: ValueIdx) {
        let read_again = self.now[value].n_read < self.values[value].reads.len();
        let to_return = self.values[value].returned && self.below(value).is_none();
        if read_again || to_return {
            self.touched.insert(value);
            return;
        }
        let State { row, spilled, .. } = core::mem::take(&mut self.now[value]);
        self.freed.extend(row);
        if let Some(Below::Slot(slot)) = spilled {
            self.slots.release(slot);
        }
    }

    /// Ends the window: what it freed is free for copies too, and what it touched may go.
    fn close(&mut self) {
        let done = core::mem::take(&mut self.open);
        if !done.is_empty() {
            self.windows.push(done);
        }
        self.free.given_back.append(&mut self.freed);
        for value in core::mem::take(&mut self.touched) {
            self.held.insert(self.key(value));
        }
    }

    /// Spills or drops so many values.
    fn make_room(&mut self, n: usize) -> Option<()> {
        let mut victims = Vec::with_capacity(n);
        for _ in 0..n {
            let (_, _, value) = self.held.pop_last()?;
            victims.push((self.now[value].row.take()?, value));
        }
        victims.sort_unstable();
        for (row, value) in victims {
            self.free.given_back.insert(row);
            if self.below(value).is_none() {
                self.spill(row, value);
            }
        }
        Some(())
    }

    fn spill(&mut self, row: u32, value: ValueIdx) {
        let below = match self.values[value].home {
            Some(home) => Below::Home(home),
            None => Below::Slot(self.slots.take(0)),
        };
        self.now[value].spilled = Some(below);
        self.open.moves.push(Move::Transfer(Transfer { row, below, is_fetch: false }));
    }

    /// Returns what is still in the arena.
    fn finish(mut self) -> Paging {
        self.close();
        let mut rest: Vec<(Option<Place>, ValueIdx)> =
            self.held.iter().map(|&(_, _, value)| (self.values[value].home, value)).collect();
        rest.sort_unstable();
        for (_, value) in rest {
            if let Some(row) = self.now[value].row.take() {
                self.spill(row, value);
            }
        }
        self.close();
        // Copies and launches of a window run at the same time.
        let cost = |w: &Window| w.n_rows.max(COPY_COST * w.transfers().count() as u64);
        let cost = self.windows.iter().map(cost).sum();
        let (arena_rows, n_slots) = (self.free.next, self.slots.peak());
        Paging { windows: self.windows, arena_rows, n_slots, cost }
    }
}

#[cfg(test)]
mod tests {
    use super::super::streams::End;
    use super::super::trace::trace;
    use super::*;
    use crate::plan::{DeviceIdx, Item, NodeId};
    use fhe_core::params::Level;
    use kernels_gpu::abi::{KernelId, RowItem};

    /// `dst = ntt a`; slot 0 is the arena, slot 1 an absent input.
    fn launch(dst: (u32, u32), a: (u32, u32)) -> Addressed {
        let row = |(slot, row)| RowRef { slot, row };
        let item = RowItem::new(row(dst), row(a), 0);
        let (device, kernel, node) = (DeviceIdx(0), KernelId::Ntt, NodeId(0));
        Addressed { device, kernel, items: vec![Item::Row(item)], node, level: Level(0) }
    }

    fn walk(launches: &[Addressed], absent: &[bool], capacity: u64) -> Option<Trace> {
        let acts: Vec<Act> = launches.iter().cloned().map(Act::Launch).collect();
        trace(&acts, BufferId(0), absent, capacity)
    }

    fn paged(launches: &[Addressed], capacity: u64) -> Paging {
        let ahead = Ahead { rows: u64::MAX, evicts: false };
        walk(launches, &[true, true], capacity).and_then(|trace| page(trace, ahead)).unwrap()
    }

    fn paged_ahead(launches: &[Addressed], capacity: u64, rows: u64) -> Paging {
        let ahead = Ahead { rows, evicts: true };
        walk(launches, &[true, true], capacity).and_then(|trace| page(trace, ahead)).unwrap()
    }

    /// Rows of the arena that are spilled, and number of fetches.
    fn copies(paging: &Paging) -> (Vec<u32>, usize) {
        let all = || paging.windows.iter().flat_map(Window::transfers);
        (all().filter(|t| !t.is_fetch).map(|t| t.row).collect(), all().filter(|t| t.is_fetch).count())
    }

    fn items(paging: &Paging) -> impl Iterator<Item = &Item> {
        paging.windows.iter().flat_map(|w| &w.launches).flat_map(|l| &l.items)
    }

    /// Three inputs become values 0, 1 and 2; then two of them are read.
    fn reads(first: u32, second: u32) -> Vec<Addressed> {
        let make = |i| launch((0, i), (1, i));
        vec![make(0), make(1), make(2), launch((0, 3), (0, first)), launch((0, 4), (0, second))]
    }

    #[test]
    fn what_is_needed_last_goes() {
        // Before the third launch values 0 and 1 are there, and it needs two of three rows.
        for (first, second) in [(1, 0), (0, 1)] {
            let paging = paged(&reads(first, second), 3);
            let made: Vec<u32> = items(&paging).map(|item| item.writes()[0].0.row).collect();
            let row_of_last = made[second as usize];
            assert_eq!(copies(&paging), (vec![row_of_last], 4));
            assert_eq!((paging.arena_rows, paging.n_slots), (3, 1));
        }
        assert_eq!(copies(&paged(&reads(0, 1), 4)), (vec![], 3));
    }

    #[test]
    fn what_came_from_below_is_dropped() {
        let twice = [launch((0, 0), (1, 0)), launch((0, 1), (1, 1)), launch((0, 2), (1, 0))];
        assert_eq!(copies(&paged(&twice, 2)), (vec![], 3));
        assert_eq!(copies(&paged(&twice, 3)), (vec![], 2));
    }

    #[test]
    fn fetches_come_ahead_while_there_is_room() {
        let shapes = |capacity, ahead| -> Vec<(usize, usize)> {
            let paging = paged_ahead(&reads(0, 1), capacity, ahead);
            paging.windows.iter().map(|w| (w.launches.len(), w.moves.len())).collect()
        };
        // The first copy is alone, others are beside a launch.
        assert_eq!(shapes(12, u64::MAX), [(0, 3), (5, 0)]);
        assert_eq!(shapes(12, 1), [(0, 1), (1, 1), (1, 1), (3, 0)]);
        assert_eq!(shapes(12, 0), [(0, 1), (1, 1), (1, 1), (3, 0)]);
    }

    #[test]
    fn copies_beside_launches_touch_other_rows() {
        // 24 inputs, each transformed and then added to nothing: two rows at a time.
        let launches: Vec<Addressed> =
            (0..24).flat_map(|i| [launch((0, i % 2), (1, i)), launch((0, 2), (0, i % 2))]).collect();
        for (capacity, ahead) in [(6, 1), (8, 2), (16, 4)] {
            let paging = paged_ahead(&launches, capacity, ahead);
            assert_eq!(copies(&paging), (vec![], 24));
            let alone = paging.windows.iter().filter(|w| w.launches.is_empty()).count();
            assert_eq!(alone, 1, "{capacity} rows, {ahead} ahead");
            for window in &paging.windows {
                let rows = |l: &Addressed| l.items[0].rows(l.kernel).into_iter().map(|row| row.row);
                let touched: BTreeSet<u32> = window.launches.iter().flat_map(rows).collect();
                assert!(window.transfers().all(|t| !touched.contains(&t.row)));
                assert!(window.transfers().count() as u64 <= ahead.max(1));
            }
        }
    }

    #[test]
    fn copies_ahead_take_rows_of_others() {
        // Two values stay until the end, and two rows are left: one for what is fetched, one for what is made of it.
        let mut launches = vec![launch((0, 0), (1, 0)), launch((0, 1), (1, 1))];
        launches.extend((2..6).map(|i| launch((0, 2), (1, i))));
        launches.extend([launch((0, 0), (0, 0)), launch((0, 1), (0, 1))]);
        let alone = |paging: &Paging| {
            paging.windows.iter().filter(|w| w.launches.is_empty() && !w.moves.is_empty()).count()
        };
        let lazy = paged(&launches, 4);
        assert_eq!((copies(&lazy), alone(&lazy)), ((vec![], 6), 4));
        let ahead = paged_ahead(&launches, 4, 1);
        assert!(copies(&ahead).0.len() <= 2 && copies(&ahead).1 <= 8 && alone(&ahead) < 4, "{ahead:?}");
    }

    #[test]
    fn in_place_takes_no_row() {
        let chain = [launch((0, 0), (1, 0)), launch((0, 0), (0, 0)), launch((0, 0), (0, 0))];
        let paging = paged(&chain, 2);
        assert_eq!((copies(&paging), paging.arena_rows), ((vec![], 1), 2));
        let in_place = items(&paging).skip(1).filter(|i| {
            let read: Vec<_> = i.reads(KernelId::Ntt).iter().map(|read| (read.row, read.prime)).collect();
            i.writes() == read
        });
        assert_eq!(in_place.count(), 2);
    }

    #[test]
    fn an_item_that_does_not_fit() {
        assert!(walk(&[launch((0, 0), (1, 0))], &[true, true], 1).is_none());
        assert!(walk(&[launch((0, 0), (1, 0))], &[true, false], 1).is_some());
    }

    #[test]
    fn exchanges_stand_between_segments_and_take_one_row() {
        let end = |row, is_sent| Act::Exchange(End { row, is_sent });
        // Two inputs become values, which are sent; then two rows come, are transformed and go back.
        let acts = [
            Act::Launch(launch((0, 0), (1, 0))),
            Act::Launch(launch((0, 1), (1, 1))),
            end(0, true),
            end(1, true),
            end(2, false),
            end(3, false),
            Act::Launch(launch((0, 2), (0, 2))),
            Act::Launch(launch((0, 3), (0, 3))),
            end(3, true),
            end(2, true),
        ];
        for (capacity, n_spilled) in [(8, 0), (4, 0), (2, 1)] {
            let trace = trace(&acts, BufferId(0), &[true, true], capacity).unwrap();
            let paging = page(trace, Ahead { rows: u64::MAX, evicts: false }).unwrap();
            let is_exchange = |m: &&Move| matches!(m, Move::Exchange(_));
            let n_exchanged = paging.windows.iter().flat_map(|w| &w.moves).filter(is_exchange).count();
            assert_eq!(n_exchanged, 6);
            assert_eq!(copies(&paging).0.len(), n_spilled, "{capacity} rows");
            let shape = |w: &Window| (w.moves.iter().filter(is_exchange).count(), w.launches.len());
            let shapes: Vec<(usize, usize)> = paging.windows.iter().map(shape).collect();
            // Launches, four exchanges, launches, two exchanges, in this order.
            let (mut n_before, mut seen) = (0, Vec::new());
            for (n, launches) in shapes {
                seen.extend([n_before].repeat(launches));
                n_before += n;
            }
            assert_eq!(seen, [0, 0, 4, 4]);
        }
    }
}

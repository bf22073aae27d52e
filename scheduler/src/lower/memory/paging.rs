//! Which value is in which row of the arena, launch by launch. When there is no free row, the value goes that is
//! needed last (L. A. Belady, 1966), among equals one that need not be written; a value that has been written
//! below once, or came from there, is dropped without a copy.
//!
//! A segment is opened by copies and goes on while the fetches of its next launch find rows that were free when it
//! was opened: those fetches then come before the segment, ahead of their use. Rows are exchanged with other devices between segments.

use std::collections::{BTreeMap, BTreeSet};

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

/// What comes between segments, in order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Move {
    /// A copy between tiers.
    Transfer(Transfer),
    /// The end of a row that is exchanged with another device: a row of the arena.
    Exchange(u32),
}

/// Copies, and the launches that may run after them.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) moves: Vec<Move>,
    pub(super) launches: Vec<Addressed>,
}

impl Window {
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
    /// Rows that are copied between tiers.
    pub(super) n_copied: usize,
}

/// Pages a walk; `None` where a launch takes more than the arena.
pub(super) fn page(trace: Trace) -> Option<Paging> {
    let Trace { arena, capacity, values, moments } = trace;
    let mut pager = Pager {
        arena,
        now: vec![State::default(); values.len()],
        values,
        free: FreeRows {
            given_back: BTreeSet::new(),
            next: 0,
            end: capacity.min(u64::from(u32::MAX)) as u32,
        },
        freed: BTreeSet::new(),
        held: BTreeSet::new(),
        slots: Arena::default(),
        open: Window::default(),
        windows: Vec::new(),
    };
    for moment in moments {
        pager.moment(moment)?;
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
    /// Rows that are free and were so when the window was opened.
    free: FreeRows,
    /// Rows that became free since.
    freed: BTreeSet<u32>,
    /// Values in rows that the launch in hand does not touch, by next use, the one to go first last.
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

    fn moment(&mut self, moment: Moment) -> Option<()> {
        // The launches before an exchange are done when it is made.
        if matches!(moment.act, Act::Exchange(_)) && !self.open.launches.is_empty() {
            self.close();
        }
        for &(_, value) in &moment.reads {
            self.held.remove(&self.key(value));
        }
        let mut fetches: Vec<(Below, ValueIdx)> = Vec::new();
        for &(_, value) in moment.reads.iter().filter(|&&(_, v)| self.now[v].row.is_none()) {
            fetches.push((self.below(value)?, value));
        }
        fetches.sort_unstable();
        let n_made = moment.makes.iter().filter(|made| made.over.is_none()).count();
        let needed = fetches.len() + n_made;
        if fetches.len() > self.free.len() || needed > self.free.len() + self.freed.len() {
            self.close();
            self.make_room(needed)?;
        }
        for (below, value) in fetches {
            let row = self.free.take()?;
            self.now[value].row = Some(row);
            self.open.moves.push(Move::Transfer(Transfer { row, below, is_fetch: true }));
        }
        let mut rows: BTreeMap<RowRef, u32> = BTreeMap::new();
        for &(name, value) in &moment.reads {
            rows.insert(name, self.now[value].row?);
        }
        for made in &moment.makes {
            let row = match made.over {
                Some(over) => self.now[over].row.take()?,
                None => self.freed.pop_first().or_else(|| self.free.take())?,
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
                let items = launch.items.iter().map(|item| item.map_rows(physical)).collect();
                self.open.launches.push(launch.with_items(items));
            }
            Act::Exchange(_) => self.open.moves.extend(rows.values().copied().map(Move::Exchange)),
        }
        Some(())
    }

    /// After a launch that used it: whether there is more to come.
    fn keep_or_release(&mut self, value: ValueIdx) {
        let read_again = self.now[value].n_read < self.values[value].reads.len();
        let to_return = self.values[value].returned && self.below(value).is_none();
        if read_again || to_return {
            self.held.insert(self.key(value));
            return;
        }
        let State { row, spilled, .. } = core::mem::take(&mut self.now[value]);
        self.freed.extend(row);
        if let Some(Below::Slot(slot)) = spilled {
            self.slots.release(slot);
        }
    }

    /// Ends the window: what it freed is free for copies too.
    fn close(&mut self) {
        let done = core::mem::take(&mut self.open);
        if !done.launches.is_empty() || !done.moves.is_empty() {
            self.windows.push(done);
        }
        self.free.given_back.append(&mut self.freed);
    }

    /// Spills or drops values until so many rows are free.
    fn make_room(&mut self, needed: usize) -> Option<()> {
        let mut victims = Vec::new();
        for _ in self.free.len()..needed {
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
        let n_copied = self.windows.iter().map(|w| w.transfers().count()).sum();
        let (arena_rows, n_slots) = (self.free.next, self.slots.peak());
        Paging { windows: self.windows, arena_rows, n_slots, n_copied }
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
        walk(launches, &[true, true], capacity).and_then(page).unwrap()
    }

    /// Rows of the arena that are spilled, and number of fetches.
    fn copies(paging: &Paging) -> (Vec<u32>, usize) {
        let all = || paging.windows.iter().flat_map(Window::transfers);
        (all().filter(|t| !t.is_fetch).map(|t| t.row).collect(), all().filter(|t| t.is_fetch).count())
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
            let made_in = |window: usize, launch: usize| {
                let item = &paging.windows[window].launches[launch].items[0];
                item.writes()[0].0.row
            };
            let row_of_last = made_in(0, second as usize);
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
        let paging = paged(&reads(0, 1), 6);
        assert_eq!(paging.windows.len(), 1);
        assert_eq!((paging.windows[0].moves.len(), paging.windows[0].launches.len()), (3, 5));
    }

    #[test]
    fn in_place_takes_no_row() {
        let chain = [launch((0, 0), (1, 0)), launch((0, 0), (0, 0)), launch((0, 0), (0, 0))];
        let paging = paged(&chain, 2);
        assert_eq!((copies(&paging), paging.arena_rows), ((vec![], 1), 2));
        let items = paging.windows.iter().flat_map(|w| &w.launches).flat_map(|l| &l.items);
        let in_place = items.skip(1).filter(|i| {
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
            let paging = page(trace).unwrap();
            let is_exchange = |m: &&Move| matches!(m, Move::Exchange(_));
            let n_exchanged = paging.windows.iter().flat_map(|w| &w.moves).filter(is_exchange).count();
            assert_eq!(n_exchanged, 6);
            assert_eq!(copies(&paging).0.len(), n_spilled, "{capacity} rows");
            let shape = |w: &Window| (w.moves.iter().filter(is_exchange).count(), w.launches.len());
            let shapes: Vec<(usize, usize)> = paging.windows.iter().map(shape).collect();
            // Launches, four exchanges, launches, two exchanges, in this order.
            let (mut n_before, mut seen) = (0, Vec::new());
            for (n, launches) in shapes {
                n_before += n;
                seen.extend([n_before].repeat(launches));
            }
            assert_eq!(seen, [0, 0, 4, 4]);
        }
    }
}

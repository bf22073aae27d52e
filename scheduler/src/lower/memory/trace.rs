//! What a device does as a walk over values. Rows are reused, values are written once: each write of a row makes one, and so
//! does the host for each row of an absent buffer that it fills. A launch that takes more than half the arena
//! is split by its items, so that the other half keeps what comes next. A row that is sent to another device is read, one that is
//! received is made.

use std::collections::{BTreeMap, BTreeSet};

use kernels_gpu::abi::RowRef;

use super::super::plan::Addressed;
use super::streams::{Act, End};
use crate::plan::{BufferId, Item, Place};

/// A value: an index into [`Trace::values`].
pub(super) type ValueIdx = usize;

/// What lies in a row from one write to the next.
#[derive(Debug, Default)]
pub(super) struct Value {
    /// Its row in an absent buffer: where the host put it, or where it is to be returned.
    pub(super) home: Option<Place>,
    /// Whether the host put it there.
    pub(super) given: bool,
    /// Whether it must be at home in the end.
    pub(super) returned: bool,
    /// The moments that read it, ascending.
    pub(super) reads: Vec<usize>,
}

/// A value that is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    /// The row under its name before paging.
    pub(super) row: RowRef,
    pub(super) value: ValueIdx,
    /// The value in whose row it is written, which ends there.
    pub(super) over: Option<ValueIdx>,
}

/// A step of the device with its values.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) act: Act,
    pub(super) reads: Vec<(RowRef, ValueIdx)>,
    pub(super) makes: Vec<Made>,
    /// Rows that it reads or writes in whatever buffer, a row once an item.
    pub(super) n_rows: u64,
}

/// The walk.
#[derive(Debug)]
pub(super) struct Trace {
    /// The arena.
    pub(super) arena: BufferId,
    /// Its rows.
    pub(super) capacity: u64,
    pub(super) values: Vec<Value>,
    pub(super) moments: Vec<Moment>,
}

/// The walk over the rows of absent buffers; `None` where one item takes more than the arena.
pub(super) fn trace(acts: &[Act], arena: BufferId, absent: &[bool], capacity: u64) -> Option<Trace> {
    let is_absent = |row: &RowRef| absent.get(row.slot as usize).copied().unwrap_or(false);
    let trace = Trace { arena, capacity, values: Vec::new(), moments: Vec::new() };
    let mut walk = Walk { trace, now: BTreeMap::new() };
    for act in acts {
        match act {
            Act::Launch(launch) => {
                for part in split(launch, &is_absent, capacity)? {
                    walk.launch(part, &is_absent);
                }
            }
            Act::Exchange(end) => walk.exchange(*end),
        }
    }
    Some(walk.finish())
}

/// Parts of a launch, each of at most half the capacity or else of one item.
fn split(launch: &Addressed, is_absent: &impl Fn(&RowRef) -> bool, capacity: u64) -> Option<Vec<Addressed>> {
    let part = |items: &[Item]| launch.with_items(items.to_vec());
    let mut parts = Vec::new();
    let mut rows: BTreeSet<RowRef> = BTreeSet::new();
    let mut from = 0;
    for (i, item) in launch.items.iter().enumerate() {
        let own: Vec<RowRef> = item.rows(launch.kernel).into_iter().filter(is_absent).collect();
        if own.len() as u64 > capacity {
            return None;
        }
        let more = own.iter().filter(|&row| !rows.contains(row)).count();
        if i > from && (rows.len() + more) as u64 > capacity / 2 {
            parts.push(part(&launch.items[from..i]));
            (from, rows) = (i, BTreeSet::new());
        }
        rows.extend(own);
    }
    parts.push(part(&launch.items[from..]));
    Some(parts)
}

struct Walk {
    trace: Trace,
    /// The value in each row.
    now: BTreeMap<RowRef, ValueIdx>,
}

impl Walk {
    fn value(&mut self, row: RowRef, given: bool) -> ValueIdx {
        let home =
            (row.slot != self.trace.arena.0).then_some(Place { buffer: BufferId(row.slot), row: row.row });
        self.trace.values.push(Value { home, given, ..Value::default() });
        let value = self.trace.values.len() - 1;
        self.now.insert(row, value);
        value
    }

    /// The value in a row, which the host has put there if nobody else has, and which is read now.
    fn read(&mut self, row: RowRef) -> (RowRef, ValueIdx) {
        let value = self.now.get(&row).copied();
        let value = value.unwrap_or_else(|| self.value(row, true));
        self.trace.values[value].reads.push(self.trace.moments.len());
        (row, value)
    }

    fn exchange(&mut self, end: End) {
        let row = RowRef { slot: self.trace.arena.0, row: end.row };
        let (mut reads, mut makes) = (Vec::new(), Vec::new());
        if end.is_sent {
            reads.push(self.read(row));
        } else {
            makes.push(Made { row, value: self.value(row, false), over: None });
        }
        self.trace.moments.push(Moment { act: Act::Exchange(end), reads, makes, n_rows: 0 });
    }

    fn launch(&mut self, launch: Addressed, is_absent: &impl Fn(&RowRef) -> bool) {
        let distinct = |rows: &mut dyn Iterator<Item = RowRef>| -> BTreeSet<RowRef> {
            rows.filter(|row| is_absent(row)).collect()
        };
        let kernel = launch.kernel;
        let read =
            distinct(&mut launch.items.iter().flat_map(|item| item.reads(kernel)).map(|read| read.row));
        let written = distinct(&mut launch.items.iter().flat_map(|item| item.writes()).map(|(row, _)| row));
        let reads: Vec<(RowRef, ValueIdx)> = read.into_iter().map(|row| self.read(row)).collect();
        // A row that a launch both reads and writes is one item's, in place.
        let over = |row: RowRef| reads.binary_search_by_key(&row, |&(r, _)| r).ok().map(|i| reads[i].1);
        let makes =
            written.into_iter().map(|row| Made { row, over: over(row), value: self.value(row, false) });
        let makes = makes.collect();
        let n_rows = launch.items.iter().map(|item| item.rows(kernel).len() as u64).sum();
        self.trace.moments.push(Moment { act: Act::Launch(launch), reads, makes, n_rows });
    }

    /// What is in a row of an output at the end is returned.
    fn finish(mut self) -> Trace {
        for &value in self.now.values() {
            let value = &mut self.trace.values[value];
            value.returned = value.home.is_some() && !value.given;
        }
        self.trace
    }
}

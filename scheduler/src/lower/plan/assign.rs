//! Addresses: which row of which device's arena holds what, launch by launch; and what is copied between devices before each.

use std::collections::BTreeSet;

use fhe_core::params::{GaloisElement, Level};
use kernels_gpu::abi::{KernelId, RowItem, RowRef};

use super::super::memory::{Arena, Stage};
use super::{Addressed, Batch, Copy, Lowering, Part, Row, Work, address, arena};
use crate::ckks_ir::CallIdx;
use crate::plan::{BufferId, DeviceIdx, Item, NodeId, Place, RowCopy};
use crate::poly_ir::{Op, PolyId};

/// A copy of a row in the arena of a device that reads it and does not own it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replica {
    /// Row of the reader's arena, once its copy is issued.
    at: Option<u32>,
    /// The launch before which its copy is issued, where only later ones read it.
    ahead_at: Option<usize>,
    /// The last launch of the reader that reads it.
    last_read: usize,
}

/// Launches that are looked at for what may be sent ahead of them.
const HORIZON: usize = 8;

/// A row that a device reads and does not own: the reader, the owner, the row. In this order rows that follow one another are copied at
/// once.
type RemoteRead = (DeviceIdx, DeviceIdx, usize);

/// What is known of launches before rows have addresses.
struct Coming {
    /// By row the launch that computes it, if one does.
    made_in: Vec<Option<usize>>,
    /// By launch; a call has none.
    remote: Vec<BTreeSet<RemoteRead>>,
    /// Rows that may be sent before they must.
    ahead: u64,
}

impl Lowering<'_> {
    /// Gives every row an address, launch by launch. Rows are sent to other devices as soon as they are there, if they are read soon, and at
    /// most `ahead` rows before they must; in a function with calls when they must.
    pub(super) fn assign(&mut self, work: &[Work], copies: &[Copy], ahead: u64) -> Vec<Part> {
        for (at, work) in work.iter().enumerate() {
            match work {
                Work::Launch(batch) if batch.ends_in_place() => {}
                Work::Launch(batch) => batch.values.iter().for_each(|&id| self.note_reads(id, at)),
                Work::Call(call) => self.note_call(*call, at),
            }
        }
        for copy in copies {
            self.rows[copy.from].last_read = Some((work.len(), 1));
        }
        self.note_objects();
        let mut arenas: Vec<Arena> = self.sharding.devices().map(|_| Arena::default()).collect();
        let mut coming = self.coming(work);
        if self.function.calls.is_empty() {
            coming.ahead = ahead;
        }
        let mut parts = vec![Part::Stage(Stage::Launches(Vec::new()))];
        let mut level = Level(0);
        // The launch that is first in the last stage.
        let mut first = 0;
        for (at, work) in work.iter().enumerate() {
            match work {
                Work::Launch(batch) => {
                    level = batch.level;
                    self.assign_batch(batch, (at, &mut first), &coming, &mut arenas, &mut parts);
                }
                Work::Call(call) => self.assign_call(*call, at, level, &mut arenas, &mut parts),
            }
            self.release_objects(at);
        }
        for (buffer, arena) in self.buffers.iter_mut().zip(&arenas) {
            buffer.rows = arena.peak();
        }
        if !copies.is_empty() {
            let copies: Vec<(usize, RowRef)> = copies.iter().map(|c| (c.from, address(c.to))).collect();
            let node = NodeId(self.original.last().map_or(0, |id| id.0));
            append(&mut parts, self.copy_launches(&copies, node, level));
        }
        parts
    }

    fn assign_batch(
        &mut self,
        batch: &Batch,
        (at, first): (usize, &mut usize),
        coming: &Coming,
        arenas: &mut [Arena],
        parts: &mut Vec<Part>,
    ) {
        let exchanged = self.exchange(at, coming, arenas).into_iter().filter(|copies| !copies.is_empty());
        parts.extend(exchanged.map(|copies| Part::Stage(Stage::Copies(copies))));
        // Launches between the copies and who reads them need not wait for them.
        let sent_first = |&(reader, _, row): &RemoteRead| {
            self.replicas.get(&(row, reader)).is_some_and(|replica| replica.ahead_at == Some(*first))
        };
        let waits = *first < at && coming.remote[at].iter().any(sent_first);
        if waits || matches!(parts.last(), Some(Part::Stage(Stage::Copies(_)))) {
            parts.push(Part::Stage(Stage::Launches(Vec::new())));
            *first = at;
        }
        let mut dying: Vec<usize> = Vec::new();
        for &id in batch.values.iter().filter(|_| !batch.ends_in_place()) {
            self.place_value(id, at, batch.kernel, arenas, &mut dying);
        }
        let first_value = batch.values.first().and_then(|id| self.original.get(id.0 as usize));
        let node = NodeId(first_value.map_or(0, |id| id.0));
        let on = |device| {
            let items = self.items_of(batch, device);
            Addressed { device, kernel: batch.kernel, items, node, level: batch.level }
        };
        let launches: Vec<Addressed> = self.sharding.devices().map(on).collect();
        append(parts, launches);
        self.release(batch, at, dying, arenas);
    }

    fn assign_call(
        &mut self,
        call: CallIdx,
        at: usize,
        level: Level,
        arenas: &mut [Arena],
        parts: &mut Vec<Part>,
    ) {
        let placed = self.place_call(call, at);
        if !placed.copies.is_empty() {
            let copies: Vec<(usize, RowRef)> =
                placed.copies.iter().map(|&(from, to)| (from, self.address(to))).collect();
            append(parts, self.copy_launches(&copies, NodeId(0), level));
        }
        for (arena, &rows) in arenas.iter_mut().zip(&placed.reserved) {
            arena.reserve(rows);
        }
        // What is read here last is dead before the callee begins.
        let copied = placed.copies.iter().map(|&(from, _)| from);
        let dead = copied.filter(|&row| self.rows[row].last_read.is_some_and(|(last, _)| last == at));
        for row in once(dead.collect()) {
            if let Some(free) = self.in_arena(row) {
                arenas[self.rows[row].device.0 as usize].release(free);
            }
        }
        parts.extend(placed.call.map(|(body, buffers)| Part::Call(body, buffers)));
        parts.push(Part::Stage(Stage::Launches(Vec::new())));
    }

    /// Launches that copy rows, each where it is.
    fn copy_launches(&self, copies: &[(usize, RowRef)], node: NodeId, level: Level) -> Vec<Addressed> {
        let copy = |&(from, to): &(usize, RowRef)| {
            Item::Row(RowItem::new(to, self.address(from), self.rows[from].limb.0))
        };
        let on = |device| {
            let own = copies.iter().filter(|(from, _)| self.rows[*from].device == device);
            let items = own.map(copy).collect();
            Addressed { device, kernel: KernelId::AddScalar, items, node, level }
        };
        self.sharding.devices().map(on).collect()
    }

    pub(super) fn needed_positions(&self, id: PolyId) -> Vec<usize> {
        let names = &self.of[id.0 as usize];
        (0..names.len()).filter(|&p| self.rows[names[p]].needed).collect()
    }

    /// The positions that a device computes.
    pub(super) fn needed_on(&self, id: PolyId, device: DeviceIdx) -> Vec<usize> {
        let names = &self.of[id.0 as usize];
        let own = |&p: &usize| self.rows[names[p]].device == device;
        self.needed_positions(id).into_iter().filter(own).collect()
    }

    /// A position of each item of a value.
    fn item_positions(&self, id: PolyId) -> Vec<usize> {
        match self.function.value(id).op {
            Op::ConvertBasis { .. } | Op::EmbedInverse(_) | Op::RoundResidues(_) => vec![0],
            _ => self.needed_positions(id),
        }
    }

    /// The rows that the item of a value at a position reads, each once, in place of what `rows` holds.
    fn item_reads_into(&self, id: PolyId, position: usize, rows: &mut Vec<usize>) {
        self.operands_into(id, position, rows);
        rows.sort_unstable();
        rows.dedup();
    }

    /// What a value reads from other devices. Only what reads all limbs does.
    fn remote_reads(&self, id: PolyId) -> Vec<RemoteRead> {
        let reads_all = matches!(self.function.value(id).op, Op::ConvertBasis { .. } | Op::RoundResidues(_));
        if !reads_all || self.sharding.devices().count() < 2 {
            return Vec::new();
        }
        let read = once(self.operands(id, 0));
        let readers = self.sharding.devices().filter(|&device| !self.needed_on(id, device).is_empty());
        let of_reader = |reader| {
            let rows = read.iter().map(move |&row| (reader, self.rows[row].device, row));
            rows.filter(|(reader, owner, _)| reader != owner)
        };
        readers.flat_map(of_reader).collect()
    }

    fn note_reads(&mut self, id: PolyId, launch: usize) {
        let mut reads = Vec::new();
        for position in self.item_positions(id) {
            self.item_reads_into(id, position, &mut reads);
            for &row in &reads {
                let last = &mut self.rows[row].last_read;
                *last = match *last {
                    Some((at, n)) if at == launch => Some((launch, n + 1)),
                    _ => Some((launch, 1)),
                };
            }
        }
        for (reader, _, row) in self.remote_reads(id) {
            self.replicas.insert((row, reader), Replica { at: None, ahead_at: None, last_read: launch });
        }
    }

    fn coming(&self, work: &[Work]) -> Coming {
        let mut made_in = vec![None; self.rows.len()];
        let mut remote = Vec::with_capacity(work.len());
        for (launch, work) in work.iter().enumerate() {
            let batch = match work {
                Work::Launch(batch) if !batch.ends_in_place() => batch,
                _ => {
                    remote.push(BTreeSet::new());
                    continue;
                }
            };
            for &id in &batch.values {
                let own = self.of[id.0 as usize].iter().filter(|&&row| self.rows[row].made_by == Some(id));
                own.for_each(|&row| made_in[row] = Some(launch));
            }
            remote.push(batch.values.iter().flat_map(|&id| self.remote_reads(id)).collect());
        }
        Coming { made_in, remote, ahead: 0 }
    }

    /// Copies what a launch reads from other devices, but for what is there already; and what those after it will read and is made.
    fn exchange(&mut self, launch: usize, coming: &Coming, arenas: &mut [Arena]) -> [Vec<RowCopy>; 2] {
        let now = self.send(&coming.remote[launch], launch, None, arenas);
        let mut reads: BTreeSet<RemoteRead> = BTreeSet::new();
        for of_launch in coming.remote.iter().skip(launch + 1).take(HORIZON) {
            let is_made = |&&(.., row): &&RemoteRead| coming.made_in[row].is_none_or(|made| made < launch);
            let is_there = |(reader, _, row): &RemoteRead| {
                self.replicas.get(&(*row, *reader)).is_some_and(|replica| replica.at.is_some())
            };
            let new =
                of_launch.iter().filter(is_made).filter(|read| !is_there(read) && !reads.contains(read));
            let new: Vec<RemoteRead> = new.copied().collect();
            if (reads.len() + new.len()) as u64 > coming.ahead {
                break;
            }
            reads.extend(new);
        }
        [now, self.send(&reads, launch, Some(launch), arenas)]
    }

    /// Copies what is not there yet before a launch.
    fn send(
        &mut self,
        reads: &BTreeSet<RemoteRead>,
        at: usize,
        ahead_at: Option<usize>,
        arenas: &mut [Arena],
    ) -> Vec<RowCopy> {
        let mut copies = Vec::new();
        for &(reader, _, row) in reads {
            let (Some(replica), Some((buffer, from))) =
                (self.replicas.get(&(row, reader)).copied(), self.rows[row].place)
            else {
                continue;
            };
            if replica.at.is_none() {
                let at = arenas[reader.0 as usize].take(self.floor(at, replica.last_read, reader));
                self.replicas.insert((row, reader), Replica { at: Some(at), ahead_at, ..replica });
                let to = Place { buffer: arena(reader), row: at };
                RowCopy::append(&mut copies, Place { buffer, row: from }, to);
            }
        }
        copies
    }

    /// Places the rows of a value; adds the rows that die with its items.
    fn place_value(
        &mut self,
        id: PolyId,
        launch: usize,
        kernel: KernelId,
        arenas: &mut [Arena],
        dying: &mut Vec<usize>,
    ) {
        let permuted = self.galois_of_product(id).is_some_and(|galois| galois != GaloisElement(1));
        let in_place = kernel.in_place() && !permuted;
        // Where those of each item are.
        let mut of_items = Vec::new();
        let mut reads = Vec::new();
        for position in self.item_positions(id) {
            let first = dying.len();
            self.item_reads_into(id, position, &mut reads);
            let dies = |r: &&usize| self.rows[**r].last_read.is_some_and(|(at, _)| at == launch);
            dying.extend(reads.iter().filter(dies));
            of_items.push(first..dying.len());
        }
        for (item, position) in self.needed_positions(id).into_iter().enumerate() {
            let row = self.of[id.0 as usize][position];
            self.place_object_of(row);
            let Row { place, device, last_read, .. } = self.rows[row];
            if place.is_some() {
                continue;
            }
            let floor = last_read.map_or(0, |(last, _)| self.floor(launch, last, device));
            let own = |r: &&usize| {
                let Row { last_read, .. } = self.rows[**r];
                let above = self.in_arena(**r).is_some_and(|at| at >= floor);
                in_place && above && last_read.is_some_and(|(_, n)| n == 1)
            };
            let of_item = of_items.get(item).and_then(|rows| dying.get(rows.clone()));
            let reused = of_item.and_then(|rows| rows.iter().find(own));
            let place = match reused {
                Some(&r) => self.rows[r].place,
                None => Some((arena(device), arenas[device.0 as usize].take(floor))),
            };
            self.rows[row].place = place;
        }
    }

    /// The row of its device's arena where a row is.
    fn in_arena(&self, row: usize) -> Option<u32> {
        let Row { device, place, .. } = self.rows[row];
        place.filter(|&(buffer, _)| buffer == arena(device)).map(|(_, at)| at)
    }

    /// Gives back what a launch was the last to read.
    fn release(&mut self, batch: &Batch, launch: usize, dying: Vec<usize>, arenas: &mut [Arena]) {
        // A row that was handed on to its successor is no longer its owner's to release.
        let made = batch.values.iter().flat_map(|id| &self.of[id.0 as usize]);
        let mut taken: Vec<(BufferId, u32)> = made.filter_map(|&r| self.rows[r].place).collect();
        taken.sort_unstable();
        for row in once(dying) {
            let device = self.rows[row].device;
            match self.in_arena(row) {
                Some(at) if taken.binary_search(&(arena(device), at)).is_err() => {
                    arenas[device.0 as usize].release(at);
                }
                _ => {}
            }
        }
        let read: BTreeSet<_> = batch.values.iter().flat_map(|&id| self.remote_reads(id)).collect();
        for (reader, _, row) in read {
            let replica = self.replicas.get(&(row, reader)).filter(|replica| replica.last_read == launch);
            if let Some(at) = replica.and_then(|replica| replica.at) {
                arenas[reader.0 as usize].release(at);
            }
        }
    }

    pub(super) fn address(&self, row: usize) -> RowRef {
        self.rows[row].place.map_or(RowRef::NONE, address)
    }

    /// Where a device reads a row: there, or in its copy.
    pub(super) fn address_on(&self, row: usize, reader: DeviceIdx) -> RowRef {
        if self.rows[row].device == reader {
            return self.address(row);
        }
        let at = self.replicas.get(&(row, reader)).and_then(|replica| replica.at);
        at.map_or(RowRef::NONE, |at| address((arena(reader), at)))
    }
}

fn once(mut rows: Vec<usize>) -> Vec<usize> {
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// Adds the launches that have items to the last stage.
fn append(parts: &mut [Part], launches: Vec<Addressed>) {
    if let Some(Part::Stage(Stage::Launches(last))) = parts.last_mut() {
        last.extend(launches.into_iter().filter(|launch| !launch.items.is_empty()));
    }
}

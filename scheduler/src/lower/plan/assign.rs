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
    /// Row of the reader's arena, once it is there.
    at: Option<u32>,
    /// The last launch of the reader that reads it.
    last_read: usize,
}

impl Lowering<'_> {
    /// Gives every row an address, launch by launch.
    pub(super) fn assign(&mut self, work: &[Work], copies: &[Copy]) -> Vec<Part> {
        for (at, work) in work.iter().enumerate() {
            match work {
                Work::Launch(batch) => batch.values.iter().for_each(|&id| self.note_reads(id, at)),
                Work::Call(call) => self.note_call(*call, at),
            }
        }
        for copy in copies {
            self.rows[copy.from].last_read = Some((work.len(), 1));
        }
        self.note_objects();
        let mut arenas: Vec<Arena> = self.sharding.devices().map(|_| Arena::default()).collect();
        let mut parts = vec![Part::Stage(Stage::Launches(Vec::new()))];
        let mut level = Level(0);
        for (at, work) in work.iter().enumerate() {
            match work {
                Work::Launch(batch) => {
                    level = batch.level;
                    self.assign_batch(batch, at, &mut arenas, &mut parts);
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
            let node = NodeId(self.function.values.len().saturating_sub(1) as u32);
            append(&mut parts, self.copy_launches(&copies, node, level));
        }
        parts
    }

    fn assign_batch(&mut self, batch: &Batch, at: usize, arenas: &mut [Arena], parts: &mut Vec<Part>) {
        let exchanged = self.exchange(batch, at, arenas);
        if !exchanged.is_empty() {
            let stages = [Stage::Copies(exchanged), Stage::Launches(Vec::new())];
            parts.extend(stages.map(Part::Stage));
        }
        let mut dying: Vec<usize> = Vec::new();
        for &id in &batch.values {
            for reads in self.place_value(id, at, batch.kernel, arenas) {
                dying.extend(reads);
            }
        }
        let node = NodeId(batch.values.first().map_or(0, |id| id.0));
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

    /// The rows that each item of a value reads, an item's rows once.
    fn item_reads(&self, id: PolyId) -> Vec<Vec<usize>> {
        let positions = self.needed_positions(id);
        if matches!(
            self.function.value(id).op,
            Op::ConvertBasis(_) | Op::EmbedInverse(_) | Op::RoundResidues(_)
        ) {
            return vec![once(self.operands(id, 0))];
        }
        positions.iter().map(|&p| once(self.operands(id, p))).collect()
    }

    /// The rows that devices read and do not own: the reader, the owner, the row. Only what reads all limbs has such.
    fn remote_reads(&self, id: PolyId) -> Vec<(DeviceIdx, DeviceIdx, usize)> {
        if !matches!(self.function.value(id).op, Op::ConvertBasis(_) | Op::RoundResidues(_)) {
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
        for row in self.item_reads(id).into_iter().flatten() {
            let last = &mut self.rows[row].last_read;
            *last = match *last {
                Some((at, n)) if at == launch => Some((launch, n + 1)),
                _ => Some((launch, 1)),
            };
        }
        for (reader, _, row) in self.remote_reads(id) {
            self.replicas.insert((row, reader), Replica { at: None, last_read: launch });
        }
    }

    /// Copies what a launch reads from other devices, but for what is there already.
    fn exchange(&mut self, batch: &Batch, at: usize, arenas: &mut [Arena]) -> Vec<RowCopy> {
        let reads = batch.values.iter().flat_map(|&id| self.remote_reads(id));
        // By reader and owner, so that rows that follow one another are copied at once.
        let reads: BTreeSet<(DeviceIdx, DeviceIdx, usize)> = reads.collect();
        let mut copies = Vec::new();
        for (reader, _, row) in reads {
            let (Some(replica), Some((buffer, from))) =
                (self.replicas.get(&(row, reader)).copied(), self.rows[row].place)
            else {
                continue;
            };
            if replica.at.is_none() {
                let at = arenas[reader.0 as usize].take(self.floor(at, replica.last_read, reader));
                self.replicas.insert((row, reader), Replica { at: Some(at), ..replica });
                let to = Place { buffer: arena(reader), row: at };
                RowCopy::append(&mut copies, Place { buffer, row: from }, to);
            }
        }
        copies
    }

    /// Places the rows of a value; returns the rows that die with each of its items.
    fn place_value(
        &mut self,
        id: PolyId,
        launch: usize,
        kernel: KernelId,
        arenas: &mut [Arena],
    ) -> Vec<Vec<usize>> {
        let permuted = self.galois_of_product(id).is_some_and(|galois| galois != GaloisElement(1));
        let in_place = kernel.in_place() && !permuted;
        let positions = self.needed_positions(id);
        let mut dying: Vec<Vec<usize>> = Vec::new();
        for reads in self.item_reads(id) {
            let dies = |r: &usize| self.rows[*r].last_read.is_some_and(|(at, _)| at == launch);
            dying.push(reads.into_iter().filter(dies).collect());
        }
        for (item, position) in positions.into_iter().enumerate() {
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
            let reused = dying.get(item).and_then(|rows| rows.iter().find(own));
            let place = match reused {
                Some(&r) => self.rows[r].place,
                None => Some((arena(device), arenas[device.0 as usize].take(floor))),
            };
            self.rows[row].place = place;
        }
        dying
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
        let taken: BTreeSet<(BufferId, u32)> = made.filter_map(|&r| self.rows[r].place).collect();
        for row in once(dying) {
            let device = self.rows[row].device;
            match self.in_arena(row) {
                Some(at) if !taken.contains(&(arena(device), at)) => arenas[device.0 as usize].release(at),
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

//! What is in host memory and what in the file: spilled rows first, which are written and read in every run, then
//! absent buffers, those first that are fetched most for their size.

use std::collections::VecDeque;

use super::paging::{Below, Move, Paging, Transfer, Window};
use super::residency::by_traffic;
use super::streams::Event;
use crate::compile::MemoryLimits;
use crate::plan::{Buffer, BufferId, BufferKind, DeviceIdx, Place, Tier};

/// A device that is too small, and what it does in the memory that it has.
#[derive(Debug)]
pub(super) struct Paged {
    pub(super) device: DeviceIdx,
    /// By buffer, of this device.
    pub(super) absent: Vec<bool>,
    pub(super) paging: Paging,
}

/// Gives absent buffers and spilled rows of all devices their tiers, and events their rows.
pub(super) fn place(
    buffers: &mut Vec<Buffer>,
    paged: Vec<Paged>,
    row_bytes: u64,
    limits: &MemoryLimits,
) -> Vec<(DeviceIdx, VecDeque<Event>)> {
    let mut host_room = limits.host.map_or(u64::MAX, |bytes| bytes / row_bytes);
    let mut in_host = Vec::with_capacity(paged.len());
    for Paged { paging, .. } in &paged {
        let rows = u32::try_from(host_room).unwrap_or(u32::MAX).min(paging.n_slots);
        host_room -= u64::from(rows);
        in_host.push(rows);
    }
    let order = by_traffic(&traffic(&paged, buffers.len()), buffers);
    let absent = |i: usize| paged.iter().any(|p| p.absent.get(i) == Some(&true));
    for i in order.into_iter().rev().filter(|&i| absent(i)) {
        let rows = u64::from(buffers[i].rows);
        buffers[i].tier = if rows <= host_room { Tier::Host } else { Tier::File };
        if buffers[i].tier == Tier::Host {
            host_room -= rows;
        }
    }
    let mut events = Vec::with_capacity(paged.len());
    for (Paged { device, paging, .. }, in_host) in paged.into_iter().zip(in_host) {
        let host = buffers.len() as u32;
        let file = BufferId(host + u32::from(in_host > 0));
        let spill = Spill { arena: BufferId(device.0), host: BufferId(host), in_host, file };
        if let Some(arena) = buffers.get_mut(device.0 as usize) {
            arena.rows = paging.arena_rows;
        }
        for (tier, rows) in [(Tier::Host, in_host), (Tier::File, paging.n_slots - in_host)] {
            if rows > 0 {
                buffers.push(Buffer { device, tier, rows, kind: BufferKind::Spill });
            }
        }
        events.push((device, paging.windows.into_iter().flat_map(|window| spill.events(window)).collect()));
    }
    events
}

/// Rows of each buffer that a run copies.
fn traffic(paged: &[Paged], n_buffers: usize) -> Vec<u64> {
    let mut copied = vec![0; n_buffers];
    for transfer in paged.iter().flat_map(|p| &p.paging.windows).flat_map(Window::transfers) {
        if let Below::Home(place) = transfer.below {
            copied[place.buffer.0 as usize] += 1;
        }
    }
    copied
}

/// The spill buffers of a device: the first rows are in the host tier, the others in the file.
struct Spill {
    arena: BufferId,
    host: BufferId,
    in_host: u32,
    file: BufferId,
}

impl Spill {
    fn place(&self, below: Below) -> Place {
        match below {
            Below::Home(place) => place,
            Below::Slot(slot) if slot < self.in_host => Place { buffer: self.host, row: slot },
            Below::Slot(slot) => Place { buffer: self.file, row: slot - self.in_host },
        }
    }

    fn copy(&self, transfer: &Transfer) -> Event {
        let arena = Place { buffer: self.arena, row: transfer.row };
        let below = self.place(transfer.below);
        if transfer.is_fetch { Event::Copy(below, arena) } else { Event::Copy(arena, below) }
    }

    fn events(&self, window: Window) -> Vec<Event> {
        let mut events = Vec::with_capacity(window.moves.len() + 2);
        if !window.launches.is_empty() {
            events.push(Event::Launches(window.launches));
        }
        events.push(Event::Open);
        events.extend(window.moves.iter().map(|m| match m {
            Move::Transfer(transfer) => self.copy(transfer),
            Move::Exchange(row) => Event::Exchange(Place { buffer: self.arena, row: *row }),
        }));
        events
    }
}

//! What is in host memory and what in the file: spilled rows first, which are written and read in every run, then
//! absent buffers, those first that are fetched most for their size.

use super::paging::{Below, Paging, Transfer};
use super::residency::by_traffic;
use super::{Fitted, Stage};
use crate::compile::MemoryLimits;
use crate::plan::{Buffer, BufferId, BufferKind, Place, RowCopy, Tier};
use kernels_gpu::abi::ARENA;

/// Gives absent buffers and spilled rows their tiers.
pub(super) fn place(
    mut buffers: Vec<Buffer>,
    absent: &[bool],
    paging: Paging,
    row_bytes: u64,
    limits: &MemoryLimits,
) -> Fitted {
    let mut host_room = limits.host.map_or(u64::MAX, |bytes| bytes / row_bytes);
    let in_host = u32::try_from(host_room).unwrap_or(u32::MAX).min(paging.n_slots);
    host_room -= u64::from(in_host);
    let order = by_traffic(&traffic(&paging, buffers.len()), &buffers);
    for i in order.into_iter().rev().filter(|&i| absent[i]) {
        let rows = u64::from(buffers[i].rows);
        buffers[i].tier = if rows <= host_room { Tier::Host } else { Tier::File };
        if buffers[i].tier == Tier::Host {
            host_room -= rows;
        }
    }
    let host = buffers.len() as u32;
    let spill = Spill { host: BufferId(host), in_host, file: BufferId(host + u32::from(in_host > 0)) };
    if let Some(arena) = buffers.first_mut() {
        arena.rows = paging.arena_rows;
        let device = arena.device;
        for (tier, rows) in [(Tier::Host, in_host), (Tier::File, paging.n_slots - in_host)] {
            if rows > 0 {
                buffers.push(Buffer { device, tier, rows, kind: BufferKind::Spill });
            }
        }
    }
    let mut stages = Vec::with_capacity(2 * paging.windows.len());
    for window in paging.windows {
        if !window.transfers.is_empty() {
            stages.push(Stage::Copies(spill.copies(&window.transfers)));
        }
        if !window.launches.is_empty() {
            stages.push(Stage::Launches(window.launches));
        }
    }
    Fitted { buffers, stages }
}

/// Rows of each buffer that a run copies.
fn traffic(paging: &Paging, n_buffers: usize) -> Vec<u64> {
    let mut copied = vec![0; n_buffers];
    for transfer in paging.windows.iter().flat_map(|w| &w.transfers) {
        if let Below::Home(place) = transfer.below {
            copied[place.buffer.0 as usize] += 1;
        }
    }
    copied
}

/// The spill buffers: the first rows are in the host tier, the others in the file.
struct Spill {
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

    /// Copies of rows that follow one another on both sides are one.
    fn copies(&self, transfers: &[Transfer]) -> Vec<RowCopy> {
        let mut copies: Vec<RowCopy> = Vec::new();
        for transfer in transfers {
            let arena = Place { buffer: BufferId(ARENA), row: transfer.row };
            let below = self.place(transfer.below);
            let (from, to) = if transfer.is_fetch { (below, arena) } else { (arena, below) };
            RowCopy::append(&mut copies, from, to);
        }
        copies
    }
}

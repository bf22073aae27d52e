//! Which buffers leave a device that cannot hold all: those first whose rows are fetched least, for their size.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::super::plan::Addressed;
use super::streams::Act;
use crate::plan::{Buffer, BufferKind, DeviceIdx};

/// How many choices are planned before the best is taken; planning is about as much work as the rest of the
/// lowering.
const N_TRIED: usize = 4;

/// A choice: the arena and the buffers that are not on the device, and the rows that this leaves to the arena.
#[derive(Clone, Debug)]
pub(super) struct Absent {
    /// By buffer; always so for the device's arena, whose values come and go, never for those of other devices.
    pub(super) buffers: Vec<bool>,
    /// Rows of the arena.
    pub(super) capacity: u64,
}

/// Fetches in a run if a buffer is absent and each launch fetches what it reads, less the copies of host steps that
/// absence saves: an input or output in host memory is copied to or from the device by its fetches and spills alone.
fn traffic(acts: &[Act], buffers: &[Buffer]) -> Vec<u64> {
    let mut fetches = vec![0u64; buffers.len()];
    for launch in launches(acts) {
        let reads = launch.items.iter().flat_map(|item| item.reads(launch.kernel));
        let rows: BTreeSet<_> = reads.map(|read| read.row).collect();
        for row in rows {
            if let Some(n) = fetches.get_mut(row.slot as usize) {
                *n += 1;
            }
        }
    }
    for (n, buffer) in fetches.iter_mut().zip(buffers) {
        if matches!(buffer.kind, BufferKind::Input(_)) {
            *n = n.saturating_sub(u64::from(buffer.rows));
        }
    }
    fetches
}

/// The launches of a device.
pub(super) fn launches(acts: &[Act]) -> impl Iterator<Item = &Addressed> {
    acts.iter().filter_map(|act| match act {
        Act::Launch(launch) => Some(launch),
        Act::Exchange(_) => None,
    })
}

/// Buffers by their traffic for each row, the least first.
pub(super) fn by_traffic(traffic: &[u64], buffers: &[Buffer]) -> Vec<usize> {
    let mut order: Vec<usize> =
        (0..buffers.len()).filter(|&i| buffers[i].kind != BufferKind::Arena).collect();
    let per_row = |a: usize, b: usize| -> Ordering {
        let left = u128::from(traffic[a]) * u128::from(buffers[b].rows);
        let right = u128::from(traffic[b]) * u128::from(buffers[a].rows);
        left.cmp(&right).then(a.cmp(&b))
    };
    order.sort_by(|&a, &b| per_row(a, b));
    order
}

/// The choices to plan for a device, from as few absent buffers as leave room for an arena to all.
pub(super) fn choices(device: DeviceIdx, acts: &[Act], buffers: &[Buffer], room: u64) -> Vec<Absent> {
    let mut order = by_traffic(&traffic(acts, buffers), buffers);
    order.retain(|&i| buffers[i].device == device);
    let is_arena = |b: &Buffer| b.kind == BufferKind::Arena && b.device == device;
    let mut resident: u64 = order.iter().map(|&i| u64::from(buffers[i].rows)).sum();
    // How many leave, and what is left to the arena.
    let mut feasible: Vec<(usize, u64)> = Vec::new();
    for n_absent in 0..=order.len() {
        if n_absent > 0 {
            resident -= u64::from(buffers[order[n_absent - 1]].rows);
        }
        if let Some(capacity) = room.checked_sub(resident).filter(|&c| c > 0) {
            feasible.push((n_absent, capacity));
        }
    }
    // The first that leaves the arena as large as it would be, and some between the ends.
    let whole_arena = buffers.iter().find(|b| is_arena(b)).map_or(0, |b| u64::from(b.rows));
    let natural = feasible.iter().position(|&(_, capacity)| capacity >= whole_arena);
    let last = feasible.len().saturating_sub(1);
    let mut picked: BTreeSet<usize> = (0..N_TRIED).map(|i| i * last / (N_TRIED - 1)).collect();
    picked.extend(natural);
    let choice = |i: usize| {
        let &(n_absent, capacity) = feasible.get(i)?;
        let mut absent: Vec<bool> = buffers.iter().map(is_arena).collect();
        order[..n_absent].iter().for_each(|&i| absent[i] = true);
        Some(Absent { buffers: absent, capacity })
    };
    picked.into_iter().filter_map(choice).collect()
}

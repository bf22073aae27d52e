//! Memory: rows of the arena ([`Arena`]), and what becomes of launches whose buffers exceed a device
//! (docs/adr/0006).
//!
//! ```text
//! streams    what each device does, apart, and in one order again
//! trace      launches split by items; every write of a row makes a value, with the launches that read it
//! residency  which buffers leave the device
//! paging     which value is in which row of the arena when: Belady's rule
//! tiers      what is in host memory and what in the file; copies as the plan has them
//! ```
//!
//! A program that fits keeps its launches as they are, and so do devices that fit.

mod arena;
mod paging;
mod residency;
mod streams;
mod tiers;
mod trace;

pub(crate) use arena::Arena;

use std::collections::{BTreeMap, BTreeSet};

use super::plan::Addressed;
use crate::compile::MemoryLimits;
use crate::error::{Error, Result};
use crate::plan::{Buffer, BufferId, BufferKind, DeviceIdx, RowCopy};
use paging::Ahead;
use streams::Act;
use tiers::Paged;

/// A part of the schedule between uploads and downloads.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Copies between an arena and other tiers or devices.
    Copies(Vec<RowCopy>),
    /// Launches that see all their rows.
    Launches(Vec<Addressed>),
}

/// A program in the memory that there is.
#[derive(Debug)]
pub(crate) struct Fitted {
    /// Where buffers are; spill buffers come after those that were given.
    pub(crate) buffers: Vec<Buffer>,
    /// What a run does.
    pub(crate) stages: Vec<Stage>,
}

/// The devices whose buffers take more rows than there are.
fn exceeded(buffers: &[Buffer], room: u64) -> BTreeSet<DeviceIdx> {
    let mut rows: BTreeMap<DeviceIdx, u64> = BTreeMap::new();
    for buffer in buffers {
        *rows.entry(buffer.device).or_default() += u64::from(buffer.rows);
    }
    rows.into_iter().filter(|&(_, rows)| rows > room).map(|(device, _)| device).collect()
}

/// Whether buffers, all in device memory, exceed a limit.
pub(crate) fn exceeds(buffers: &[Buffer], row_bytes: u64, limits: &MemoryLimits) -> bool {
    !exceeded(buffers, limits.device.unwrap_or(u64::MAX) / row_bytes).is_empty()
}

/// Fits launches, whose rows are named by buffer, and their buffers, all in device memory, into the limits of each device, with
/// copies of at most `ahead` rows ahead of the launches that need them.
///
/// # Errors
/// [`Error::DeviceBudget`] when the rows of one item take more than a device has.
pub(crate) fn fit(
    stages: Vec<Stage>,
    mut buffers: Vec<Buffer>,
    row_bytes: u64,
    limits: &MemoryLimits,
    ahead: u64,
) -> Result<Fitted> {
    let available = limits.device.unwrap_or(u64::MAX);
    let room = available / row_bytes;
    let exceeded = exceeded(&buffers, room);
    if exceeded.is_empty() {
        return Ok(Fitted { buffers, stages });
    }
    let n_devices = buffers.iter().filter(|b| b.kind == BufferKind::Arena).count() as u32;
    let apart = streams::apart(stages, n_devices);
    let (mut paged, mut events) = (Vec::new(), BTreeMap::new());
    for (device, acts) in apart.acts {
        if !exceeded.contains(&device) {
            events.insert(device, streams::events(device, acts));
            continue;
        }
        if let Some(found) = largest_item(&acts).filter(|item| item.rows > room) {
            return Err(Error::DeviceBudget { item: found.name, needed: found.rows * row_bytes, available });
        }
        paged.push(page(device, &acts, &buffers, room, ahead)?);
    }
    events.extend(tiers::place(&mut buffers, paged, row_bytes, limits));
    Ok(Fitted { buffers, stages: streams::together(events, &apart.exchanged) })
}

/// The choice of absent buffers, and of what goes for copies ahead, that takes the least time.
fn page(device: DeviceIdx, acts: &[Act], buffers: &[Buffer], room: u64, ahead: u64) -> Result<Paged> {
    let mut best: Option<Paged> = None;
    for absent in residency::choices(device, acts, buffers, room) {
        for evicts in [false, true] {
            let trace = trace::trace(acts, BufferId(device.0), &absent.buffers, absent.capacity);
            let ahead = Ahead { rows: ahead, evicts };
            let Some(paging) = trace.and_then(|trace| paging::page(trace, ahead)) else { continue };
            if best.as_ref().is_none_or(|best| paging.cost < best.paging.cost) {
                best = Some(Paged { device, absent: absent.buffers.clone(), paging });
            }
        }
    }
    best.ok_or_else(|| Error::Verify {
        after: "lower_plan".to_owned(),
        rule: "peak",
        problem: format!(
            "no choice of buffers fits {room} rows of device {}, though every item does",
            device.0
        ),
    })
}

struct LargestItem {
    rows: u64,
    name: String,
}

fn largest_item(acts: &[Act]) -> Option<LargestItem> {
    let sizes = residency::launches(acts).flat_map(|launch| {
        let name = || format!("node {} ({})", launch.node.0, launch.kernel.name());
        let rows = launch.items.iter().map(|item| item.rows(launch.kernel).len() as u64).max();
        rows.map(|rows| LargestItem { rows, name: name() })
    });
    sizes.max_by_key(|item| item.rows)
}

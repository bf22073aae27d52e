//! Memory: rows of the arena ([`Arena`]), and what becomes of launches whose buffers exceed a device
//! (docs/adr/0006).
//!
//! ```text
//! trace      launches split by items; every write of a row makes a value, with the launches that read it
//! residency  which buffers leave the device
//! paging     which value is in which row of the arena when: Belady's rule
//! tiers      what is in host memory and what in the file; copies as the plan has them
//! ```
//!
//! A program that fits keeps its launches as they are.

mod arena;
mod paging;
mod residency;
mod tiers;
mod trace;

pub(crate) use arena::Arena;

use std::collections::BTreeMap;

use super::plan::Addressed;
use crate::compile::MemoryLimits;
use crate::error::{Error, Result};
use crate::plan::{Buffer, BufferKind, DeviceIdx, RowCopy};

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

/// The first device whose buffers take more rows than there are, and how many they take.
fn exceeded(buffers: &[Buffer], room: u64) -> Option<(DeviceIdx, u64)> {
    let mut rows: BTreeMap<DeviceIdx, u64> = BTreeMap::new();
    for buffer in buffers {
        *rows.entry(buffer.device).or_default() += u64::from(buffer.rows);
    }
    rows.into_iter().find(|&(_, rows)| rows > room)
}

/// Fits launches, whose rows are named by buffer, and their buffers, all in device memory, into the limits of each device.
///
/// # Errors
/// [`Error::DeviceBudget`] when the rows of one item take more than a device has; [`Error::SpillingDevices`] when several devices
/// would have to spill.
pub(crate) fn fit(
    stages: Vec<Stage>,
    buffers: Vec<Buffer>,
    row_bytes: u64,
    limits: &MemoryLimits,
) -> Result<Fitted> {
    let available = limits.device.unwrap_or(u64::MAX);
    let room = available / row_bytes;
    let Some((device, rows)) = exceeded(&buffers, room) else { return Ok(Fitted { buffers, stages }) };
    let launches = stages.into_iter().flat_map(|stage| match stage {
        Stage::Launches(launches) => launches,
        Stage::Copies(_) => Vec::new(),
    });
    let launches: Vec<Addressed> = launches.collect();
    if let Some(found) = largest_item(&launches).filter(|item| item.rows > room) {
        return Err(Error::DeviceBudget { item: found.name, needed: found.rows * row_bytes, available });
    }
    let n_devices = buffers.iter().filter(|b| b.kind == BufferKind::Arena).count() as u32;
    if n_devices > 1 {
        let needed = rows * row_bytes;
        return Err(Error::SpillingDevices { device: device.0, n_devices, needed, available });
    }
    let mut best: Option<(Vec<bool>, paging::Paging)> = None;
    for absent in residency::choices(&launches, &buffers, room) {
        let paged = trace::trace(&launches, &absent.buffers, absent.capacity).and_then(paging::page);
        let Some(paged) = paged else { continue };
        if best.as_ref().is_none_or(|(_, b)| paged.n_copied < b.n_copied) {
            best = Some((absent.buffers, paged));
        }
    }
    let (absent, paging) = best.ok_or_else(|| Error::Verify {
        after: "lower_plan".to_owned(),
        rule: "peak",
        problem: format!("no choice of buffers fits {room} rows, though every item does"),
    })?;
    Ok(tiers::place(buffers, &absent, paging, row_bytes, limits))
}

struct LargestItem {
    rows: u64,
    name: String,
}

fn largest_item(launches: &[Addressed]) -> Option<LargestItem> {
    let sizes = launches.iter().flat_map(|launch| {
        let name = || format!("node {} ({})", launch.node.0, launch.kernel.name());
        let rows = launch.items.iter().map(|item| item.rows(launch.kernel).len() as u64).max();
        rows.map(|rows| LargestItem { rows, name: name() })
    });
    sizes.max_by_key(|item| item.rows)
}

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

use super::plan::Addressed;
use crate::compile::MemoryLimits;
use crate::error::{Error, Result};
use crate::plan::{Buffer, RowCopy};

/// A part of the schedule between uploads and downloads.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Copies between the arena and other tiers.
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

fn total(buffers: &[Buffer]) -> u64 {
    buffers.iter().map(|b| u64::from(b.rows)).sum()
}

/// Fits launches, whose rows are named by buffer, and their buffers, all on the device, into the limits.
///
/// # Errors
/// [`Error::DeviceBudget`] when the rows of one item take more than the device has.
pub(crate) fn fit(
    launches: Vec<Addressed>,
    buffers: Vec<Buffer>,
    row_bytes: u64,
    limits: &MemoryLimits,
) -> Result<Fitted> {
    let available = limits.device.unwrap_or(u64::MAX);
    let room = available / row_bytes;
    if total(&buffers) <= room {
        return Ok(Fitted { buffers, stages: vec![Stage::Launches(launches)] });
    }
    if let Some(found) = largest_item(&launches).filter(|item| item.rows > room) {
        return Err(Error::DeviceBudget { item: found.name, needed: found.rows * row_bytes, available });
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

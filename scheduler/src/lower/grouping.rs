//! How many groups the devices are: the choice by predicted time, and why (docs/adr/0016).
//!
//! ```text
//! call       sum over launches of  3 us + rows x bytes of a row / 2400 GB/s
//! exchange   latency + bytes / bandwidth of the link (`Link`)
//! fetch, spill   10 us + bytes / 50 GB/s
//! ```
//!
//! of each plan, with its streams beside each other ([`crate::cost::Timeline`]). These are figures of an H100 and decide about speed only: bits are
//! the same for any number of groups.

use core::fmt;
use std::collections::BTreeMap;

use fhe_core::params::Params;

use super::groups;
use crate::compile::{Link, Options};
use crate::cost::Timeline;
use crate::error::{Error, Result};
use crate::plan::{CopyKind, HostStep, Plan, PlanStep, Step};
use crate::poly_ir::Function;

/// Nanoseconds of a launch in a graph.
const LAUNCH: f64 = 3000.0;
/// Bytes a nanosecond that launches read and write.
const MEMORY: f64 = 2400.0;
/// Nanoseconds of a step of copies between tiers, and bytes a nanosecond.
const TIER_STEP: f64 = 10_000.0;
const TIER: f64 = 50.0;

/// A number of groups, and what it would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Groups of devices.
    pub n_groups: u32,
    /// Predicted nanoseconds of a run, without steps of the host; 0 on one device, where there is nothing to choose.
    pub nanoseconds: u64,
    /// Bytes that a run exchanges between devices.
    pub exchanged: u64,
    /// Bytes of keys, constants and inputs that are there once more for each further group that reads them.
    pub replicated: u64,
    /// Bytes of the device that holds most.
    pub device_bytes: u64,
}

/// Why the devices are so many groups. Its `Display` is a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// Number of devices.
    pub n_devices: u32,
    /// Independent parts of the program.
    pub n_parts: usize,
    /// The link that times are for.
    pub link: Link,
    /// What was planned.
    pub candidates: Vec<Candidate>,
    /// The number of groups of the plan.
    pub n_groups: u32,
    /// Whether that was asked for ([`Options::groups`]).
    pub asked: bool,
}

impl fmt::Display for Grouping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = if self.asked { "as asked for" } else { "the least predicted time" };
        let Link { gigabytes_per_second, latency_nanoseconds } = self.link;
        writeln!(
            f,
            "{} devices, {} independent parts, a link of {gigabytes_per_second} GB/s and {latency_nanoseconds} ns: \
             groups {}, {why}",
            self.n_devices, self.n_parts, self.n_groups
        )?;
        write!(
            f,
            "{:>6} {:>14} {:>14} {:>14} {:>14}",
            "groups", "predicted us", "exchanged KiB", "replicated KiB", "device KiB"
        )?;
        for c in &self.candidates {
            let [exchanged, replicated, device] =
                [c.exchanged, c.replicated, c.device_bytes].map(|b| b >> 10);
            let us = c.nanoseconds / 1000;
            write!(f, "\n{:>6} {us:>14} {exchanged:>14} {replicated:>14} {device:>14}", c.n_groups)?;
        }
        Ok(())
    }
}

/// Plans a function for as many groups as asked for, or else for those that are predicted to take the least time; of equals for the fewest.
///
/// # Errors
/// [`Error::Groups`] for a number that the devices cannot be divided by; those of [`super::plan::lower`].
pub fn plan(function: &Function, params: &Params, options: &Options) -> Result<(Plan, Grouping)> {
    let (n_devices, n_parts) = (options.topology.n_devices(), groups::n_parts(function));
    let candidates: Vec<u32> = match options.groups {
        Some(found) if found == 0 || !n_devices.is_multiple_of(found) => {
            return Err(Error::Groups { found, n_devices });
        }
        Some(asked) => vec![asked],
        None => (1..=n_devices)
            .filter(|&g| n_devices.is_multiple_of(g) && (g == 1 || g as usize <= n_parts))
            .collect(),
    };
    let link = options.topology.link();
    // One alone is compared with nothing; of devices that could be grouped otherwise its time is told.
    let compared = n_devices > 1;
    let mut best: Option<(Candidate, Plan)> = None;
    let mut planned = Vec::new();
    for n_groups in candidates {
        let plan =
            super::plan::lower(function, params, &Options { groups: Some(n_groups), ..options.clone() });
        let plan = match plan {
            // One that does not fit is none, where there is another.
            Err(Error::DeviceBudget { .. }) if n_groups > 1 && options.groups.is_none() => continue,
            plan => plan?,
        };
        let candidate = Candidate {
            n_groups,
            nanoseconds: if compared { predict(&plan, link)?.total as u64 } else { 0 },
            exchanged: plan.copied_bytes().exchanged,
            replicated: replicated(&plan),
            device_bytes: plan.device_peak_bytes(),
        };
        planned.push(candidate);
        if best.as_ref().is_none_or(|(best, _)| candidate.nanoseconds < best.nanoseconds) {
            best = Some((candidate, plan));
        }
    }
    let (chosen, plan) = best.ok_or(Error::Groups { found: 0, n_devices })?;
    let (asked, n_groups) = (options.groups.is_some(), chosen.n_groups);
    Ok((plan, Grouping { n_devices, n_parts, link, candidates: planned, n_groups, asked }))
}

/// The time of a plan by the figures above.
fn predict(plan: &Plan, link: Link) -> Result<Timeline> {
    let row_bytes = plan.row_bytes() as f64;
    let broken = |problem| Error::Verify { after: "lower_plan".to_owned(), rule: "pool", problem };
    let mut calls = Vec::with_capacity(plan.segments.len());
    for segment in &plan.segments {
        let mut time = 0.0;
        for Step::Launch { launch, .. } in &segment.steps {
            let items = plan.items(launch).map_err(broken)?;
            let rows: usize = items.iter().map(|item| item.rows(launch.kernel).len()).sum();
            time += LAUNCH + rows as f64 * row_bytes / MEMORY;
        }
        calls.push(time);
    }
    let time = |step: &PlanStep| match step {
        PlanStep::Call { segment, .. } => calls.get(segment.0 as usize).copied().unwrap_or(0.0),
        PlanStep::Copy(copies) => {
            let rows = |exchange: bool| {
                let of_kind = copies
                    .iter()
                    .filter(|copy| (plan.copy_kind(copy) == Some(CopyKind::Exchange)) == exchange);
                of_kind.map(|copy| u64::from(copy.rows)).sum::<u64>() as f64
            };
            let part =
                |rows: f64, step: f64, per: f64| if rows > 0.0 { step + rows * row_bytes / per } else { 0.0 };
            let (latency, bandwidth) = (link.latency_nanoseconds, link.gigabytes_per_second.max(1));
            part(rows(true), latency.into(), bandwidth.into()) + part(rows(false), TIER_STEP, TIER)
        }
        PlanStep::Host(_) | PlanStep::Record { .. } | PlanStep::Wait { .. } => 0.0,
    };
    Ok(Timeline::new(plan, |_, step| time(step)))
}

/// Bytes of inputs, keys and constants beyond one of each: a group that reads one has all of it.
fn replicated(plan: &Plan) -> u64 {
    let sharding = plan.sharding();
    let of_run = plan.schedule.iter().filter_map(|step| match step {
        PlanStep::Host(step) => Some(step),
        _ => None,
    });
    // By object the rows that each group has of it.
    let mut objects: BTreeMap<String, BTreeMap<u32, u64>> = BTreeMap::new();
    for step in plan.setup.iter().chain(of_run) {
        let (object, buffer) = match step {
            HostStep::Encode { encoded, buffer } => (format!("constant {encoded}"), buffer),
            HostStep::LoadKey { key, buffer } => (format!("key {key}"), buffer),
            HostStep::Upload { input, buffer } => (format!("input {}", input.0), buffer),
            _ => continue,
        };
        let Some(buffer) = plan.buffer(*buffer) else { continue };
        let groups = objects.entry(object).or_default();
        *groups.entry(sharding.group(buffer.device)).or_default() += u64::from(buffer.rows);
    }
    let beyond = |groups: &BTreeMap<u32, u64>| groups.values().skip(1).sum::<u64>();
    objects.values().map(beyond).sum::<u64>() * plan.row_bytes() as u64
}

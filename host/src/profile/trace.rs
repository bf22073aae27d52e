//! A profile as a trace in the format of Chrome's trace events, which Perfetto and chrome://tracing draw.
//!
//! ```text
//! process   one a profile (a setup, a run)
//! track     0: steps of the host     1 + d: launches of device d of n     1 + n + d: copies to it
//! event     complete ("ph": "X"), ts and dur in microseconds from the profile's start
//! ```
//!
//! A run with a profile is launch by launch, so events of a track do not overlap; gaps between launches are the host's. Copies may stand
//! beside launches.
//! Format: "Trace Event Format", docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.

use super::{HostRecord, HostWork, Profile, StepRecord};
use scheduler::plan::{BufferId, HostStep, KeyId, Plan};
use serde::Serialize;
use std::time::Duration;

/// The track of host steps.
pub const HOST_TRACK: u32 = 0;
/// The track of the first device's launches; the others follow.
pub const LAUNCH_TRACK: u32 = 1;

#[derive(Serialize)]
struct Event {
    ph: &'static str,
    pid: u32,
    tid: u32,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    args: Args,
}

/// What an event tells besides its time.
#[derive(Default, Serialize)]
struct Args {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    launch: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multiplications: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Trace {
    display_time_unit: &'static str,
    trace_events: Vec<Event>,
}

fn microseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// Profiles of a plan as the text of a trace, each a process of the given name; `name` names a host step and says its level
/// where it has one, `level` says that of a segment by its name.
pub fn to_chrome(
    plan: &Plan,
    profiles: &[(&str, &Profile)],
    name: impl Fn(&HostWork) -> (String, Option<u32>),
    level: impl Fn(&str) -> Option<u32>,
) -> String {
    let mut trace_events = Vec::new();
    for (pid, (process, profile)) in (0..).zip(profiles) {
        trace_events.push(named(pid, HOST_TRACK, "process_name", process));
        trace_events.push(named(pid, HOST_TRACK, "thread_name", "host steps"));
        let n_devices = plan.n_devices().max(1);
        for device in 0..n_devices {
            let name =
                if n_devices == 1 { "launches".to_owned() } else { format!("launches of device {device}") };
            trace_events.push(named(pid, LAUNCH_TRACK + device, "thread_name", &name));
        }
        let mut devices: Vec<u32> = profile.host_steps().iter().filter_map(|r| copies_to(&r.what)).collect();
        devices.sort_unstable();
        devices.dedup();
        for device in devices {
            let name =
                if n_devices == 1 { "copies".to_owned() } else { format!("copies to device {device}") };
            trace_events.push(named(pid, copy_track(plan, device), "thread_name", &name));
        }
        trace_events.extend(profile.host_steps().iter().map(|record| host_event(plan, pid, record, &name)));
        trace_events.extend(profile.steps().iter().map(|record| launch_event(plan, pid, record, &level)));
    }
    // Numbers and strings: serialization cannot fail.
    serde_json::to_string(&Trace { display_time_unit: "ms", trace_events }).unwrap_or_default()
}

/// The track of copies to a device.
pub fn copy_track(plan: &Plan, device: u32) -> u32 {
    LAUNCH_TRACK.saturating_add(plan.n_devices().max(1)).saturating_add(device)
}

fn copies_to(what: &HostWork) -> Option<u32> {
    if let HostWork::Copy { device, .. } = what { Some(device.0) } else { None }
}

fn named(pid: u32, tid: u32, what: &str, name: &str) -> Event {
    let args = Args { name: Some(name.to_owned()), ..Args::default() };
    Event { ph: "M", pid, tid, name: what.to_owned(), ts: None, dur: None, args }
}

fn complete(pid: u32, tid: u32, name: String, (start, time): (Duration, Duration), args: Args) -> Event {
    let (ts, dur) = (Some(microseconds(start)), Some(microseconds(time)));
    Event { ph: "X", pid, tid, name, ts, dur, args }
}

fn launch_event(plan: &Plan, pid: u32, record: &StepRecord, level: impl Fn(&str) -> Option<u32>) -> Event {
    let &StepRecord { segment, step, node, kernel, work, start, time } = record;
    let args = Args {
        node: Some(node.0),
        kernel: Some(kernel.name()),
        segment: plan.segment(segment).map(|s| s.name.clone()),
        launch: Some(step),
        items: Some(work.items),
        rows: Some(work.rows_read + work.rows_written),
        bytes: Some(work.bytes),
        multiplications: Some(work.multiplications),
        level: plan.segment(segment).and_then(|s| level(&s.name)),
        ..Args::default()
    };
    let device = plan.segment(segment).map_or(0, |s| s.device.0);
    complete(pid, LAUNCH_TRACK.saturating_add(device), kernel.name().to_owned(), (start, time), args)
}

fn host_event(
    plan: &Plan,
    pid: u32,
    record: &HostRecord,
    name: impl Fn(&HostWork) -> (String, Option<u32>),
) -> Event {
    let (name, level) = name(&record.what);
    let rows = match record.what {
        HostWork::Copy { fetched, spilled, exchanged, .. } => Some(fetched + spilled + exchanged),
        what => what.buffer().and_then(|id| plan.buffer(id)).map(|b| u64::from(b.rows)),
    };
    let bytes = rows.map(|rows| rows * plan.row_bytes() as u64);
    let args = Args { rows, bytes, level, ..Args::default() };
    let track = copies_to(&record.what).map_or(HOST_TRACK, |device| copy_track(plan, device));
    complete(pid, track, name, (record.start, record.time), args)
}

impl HostWork {
    /// The buffer that it writes or reads.
    pub fn buffer(&self) -> Option<BufferId> {
        match *self {
            Self::ReadInputs | Self::Copy { .. } => None,
            Self::Step(
                HostStep::Encode { buffer, .. }
                | HostStep::LoadSlots { buffer, .. }
                | HostStep::LoadFactors { buffer }
                | HostStep::LoadKey { buffer, .. }
                | HostStep::Upload { buffer, .. }
                | HostStep::Download { buffer, .. },
            ) => Some(buffer),
        }
    }

    /// What it is, by the plan's numbers.
    pub fn name(&self) -> String {
        match self {
            Self::ReadInputs => "read inputs".to_owned(),
            Self::Copy { fetched, spilled, exchanged: 0, .. } => {
                format!("fetch {fetched} rows, spill {spilled}")
            }
            Self::Copy { fetched: 0, spilled: 0, exchanged, .. } => format!("exchange {exchanged} rows"),
            Self::Copy { fetched, spilled, exchanged, .. } => {
                format!("fetch {fetched} rows, spill {spilled}, exchange {exchanged}")
            }
            Self::Step(HostStep::Encode { encoded, .. }) => format!("encode constant {}", encoded.constant.0),
            Self::Step(HostStep::LoadSlots { encoded, .. }) => {
                format!("load slots of constant {}", encoded.constant.0)
            }
            Self::Step(HostStep::LoadFactors { .. }) => "load factors".to_owned(),
            Self::Step(HostStep::LoadKey { key: KeyId::Relinearization, .. }) => {
                "load relinearization key".to_owned()
            }
            Self::Step(HostStep::LoadKey { key: KeyId::ToSparse, .. }) => "load key to_sparse".to_owned(),
            Self::Step(HostStep::LoadKey { key: KeyId::ToDense, .. }) => "load key to_dense".to_owned(),
            Self::Step(HostStep::LoadKey { key: KeyId::Galois(element), .. }) => {
                format!("load Galois key {}", element.0)
            }
            Self::Step(HostStep::Upload { input, .. }) => format!("upload input {}", input.0),
            Self::Step(HostStep::Download { output, .. }) => format!("download output {}", output.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Work;
    use fhe_core::math::word::WordKind;
    use kernels_gpu::abi::{ABI_VERSION, KernelId};
    use scheduler::plan::{NodeId, Plan, SegmentId};
    use serde_json::Value;

    fn empty_plan() -> Plan {
        Plan {
            abi_version: ABI_VERSION,
            name: "empty".into(),
            params_digest: fhe_core::params::Preset::Toy10.params().unwrap().digest(),
            word: WordKind::U32,
            log_n: 10,
            primes: vec![],
            roots: vec![],
            sparse_limbs: vec![],
            pool: vec![],
            buffers: vec![],
            segments: vec![],
            setup: vec![],
            schedule: vec![],
            peaks: vec![],
            n_groups: 1,
        }
    }

    #[test]
    fn events_are_complete_and_in_microseconds() {
        let mut profile = Profile::default();
        let (start, time) = (Duration::from_nanos(2500), Duration::from_nanos(1750));
        let work =
            Work { launches: 1, items: 2, rows_read: 3, rows_written: 4, bytes: 5, multiplications: 6 };
        let (segment, node, kernel) = (SegmentId(0), NodeId(7), KernelId::InnerProduct);
        profile.record(StepRecord { segment, step: 8, node, kernel, work, start, time });
        profile.record_host(HostRecord { what: HostWork::ReadInputs, start, time });
        let text = to_chrome(&empty_plan(), &[("run", &profile)], |what| (what.name(), Some(9)), |_| None);
        let json: Value = serde_json::from_str(&text).unwrap();
        let events = json["traceEvents"].as_array().unwrap();
        assert!(events[..3].iter().all(|e| e["ph"] == "M"));
        assert_eq!(events[0]["args"]["name"], "run");
        let (host, launch) = (&events[3], &events[4]);
        assert_eq!((&host["name"], &host["args"]["level"]), (&"read inputs".into(), &9.into()));
        assert_eq!((launch["ph"].as_str(), launch["tid"].as_u64()), (Some("X"), Some(1)));
        assert_eq!((launch["ts"].as_f64(), launch["dur"].as_f64()), (Some(2.5), Some(1.75)));
        let args = &launch["args"];
        assert_eq!((&args["node"], &args["kernel"]), (&7.into(), &"inner_product".into()));
        assert_eq!((&args["rows"], &args["bytes"], &args["launch"]), (&7.into(), &5.into(), &8.into()));
    }
}

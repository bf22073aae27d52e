//! Time and work of a run, by kernel, node and launch: where the clock is read.
//!
//! A [`Profile`] keeps every launch and host step of one run, in order, with their sums. Two things are made of it: tables
//! with bytes, rate and, where the caller states a [`Roof`], the share of it ([`table`]); and a trace ([`trace`]).

pub mod overhead;
pub mod prediction;
pub mod table;
pub mod trace;

use crate::work::Work;
use kernels_gpu::abi::KernelId;
use scheduler::plan::{CopyKind, DeviceIdx, HostStep, NodeId, Plan, RowCopy, SegmentId};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A running clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts it.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What a backend tells of one launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepRecord {
    /// The segment.
    pub segment: SegmentId,
    /// Which of its launches.
    pub step: u32,
    /// What the launch was made from.
    pub node: NodeId,
    /// The kernel.
    pub kernel: KernelId,
    /// Its work.
    pub work: Work,
    /// When it was submitted, from the start of the profile.
    pub start: Duration,
    /// Its time on the device; zero where nothing is executed.
    pub time: Duration,
}

/// Work of the host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HostWork {
    /// A step of the plan.
    Step(HostStep),
    /// Reading and checking the inputs of a run, before its first step.
    ReadInputs,
    /// Copies between tiers and devices; on a device in its own time, beside launches.
    Copy {
        /// Where they arrive.
        device: DeviceIdx,
        /// Rows to the arena.
        fetched: u64,
        /// Rows from the arena.
        spilled: u64,
        /// Rows from the arena of one device to that of another.
        exchanged: u64,
    },
}

impl HostWork {
    /// The copies of a step.
    pub fn copies(plan: &Plan, copies: &[RowCopy]) -> Self {
        let rows = |kind| {
            let of_kind = copies.iter().filter(|c| plan.copy_kind(c) == Some(kind));
            of_kind.map(|c| u64::from(c.rows)).sum()
        };
        let [fetched, spilled, exchanged] = [CopyKind::Fetch, CopyKind::Spill, CopyKind::Exchange].map(rows);
        let buffer = copies.first().and_then(|copy| plan.buffer(copy.to.buffer));
        Self::Copy { device: buffer.map_or(DeviceIdx(0), |b| b.device), fetched, spilled, exchanged }
    }
}

/// What the executor tells of one host step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostRecord {
    /// What was done.
    pub what: HostWork,
    /// When it began, from the start of the profile.
    pub start: Duration,
    /// Its time.
    pub time: Duration,
}

/// What copies between tiers and devices took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyTimes {
    /// All of it.
    pub total: Duration,
    /// While a launch ran.
    pub beside_launches: Duration,
}

/// Launches of one kernel, or of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Their work.
    #[serde(flatten)]
    pub work: Work,
    /// Their time.
    #[serde(rename = "nanoseconds", serialize_with = "nanoseconds")]
    pub time: Duration,
}

impl Entry {
    /// Bytes a nanosecond: GB/s.
    pub fn gigabytes_per_second(&self) -> f64 {
        self.work.bytes as f64 / (self.time.as_secs_f64() * 1e9).max(1.0)
    }

    fn add(&mut self, record: &StepRecord) {
        self.work += record.work;
        self.time += record.time;
    }
}

fn nanoseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// One launch of a segment, by its place in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaunchKey {
    /// The segment.
    pub segment: SegmentId,
    /// Which of its launches.
    pub step: u32,
    /// What the launch was made from.
    pub node: NodeId,
    /// The kernel.
    pub kernel: KernelId,
}

/// The most bytes a second that the caller believes a device can move: what rates are compared with. It is stated, for
/// nothing here can know it.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Roof {
    /// Bytes a second.
    pub bytes_per_second: f64,
}

impl Roof {
    /// Time at the roof over the time taken: 1 is as fast as can be. Bytes that caches keep from memory may bring it above.
    pub fn share(&self, entry: &Entry) -> f64 {
        entry.gigabytes_per_second() * 1e9 / self.bytes_per_second
    }
}

/// Launches and host steps of a run, and their sums. Its `Display` is the table by kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    origin: Option<Stopwatch>,
    steps: Vec<StepRecord>,
    host: Vec<HostRecord>,
    kernels: BTreeMap<KernelId, Entry>,
    nodes: BTreeMap<(NodeId, KernelId), Entry>,
    launches: BTreeMap<LaunchKey, Entry>,
}

/// The end of the last of some spans.
fn end(last: Option<(Duration, Duration)>) -> Duration {
    last.map_or(Duration::ZERO, |(start, time)| start + time)
}

impl Profile {
    /// An empty one that starts now.
    pub fn starting_now() -> Self {
        Self { origin: Some(Stopwatch::start()), ..Self::default() }
    }

    /// When a clock was started, from the start of the profile.
    pub fn at(&self, clock: Stopwatch) -> Duration {
        self.origin.map_or(Duration::ZERO, |origin| clock.0.saturating_duration_since(origin.0))
    }

    /// Adds a launch, which started after those before it had ended: two clocks may differ by a little.
    pub fn record(&mut self, mut record: StepRecord) {
        record.start = record.start.max(end(self.steps.last().map(|s| (s.start, s.time))));
        let StepRecord { segment, step, node, kernel, .. } = record;
        self.kernels.entry(kernel).or_default().add(&record);
        self.nodes.entry((node, kernel)).or_default().add(&record);
        self.launches.entry(LaunchKey { segment, step, node, kernel }).or_default().add(&record);
        self.steps.push(record);
    }

    /// Adds a host step, which started after those before it had ended.
    pub fn record_host(&mut self, mut record: HostRecord) {
        record.start = record.start.max(end(self.host.last().map(|s| (s.start, s.time))));
        self.host.push(record);
    }

    /// Puts work of the host that was over when the profile started at its front.
    pub(crate) fn precede(&mut self, what: HostWork, time: Duration) {
        self.host.iter_mut().for_each(|h| h.start += time);
        self.steps.iter_mut().for_each(|s| s.start += time);
        self.host.insert(0, HostRecord { what, start: Duration::ZERO, time });
    }

    /// Every launch, in order.
    pub fn steps(&self) -> &[StepRecord] {
        &self.steps
    }

    /// Every host step, in order.
    pub fn host_steps(&self) -> &[HostRecord] {
        &self.host
    }

    /// The time of all copies, and how much of it launches ran beside them.
    pub fn copy_times(&self) -> CopyTimes {
        // Launches follow one another on each device; of several devices, any of them counts.
        let mut busy: Vec<(Duration, Duration)> =
            self.steps.iter().map(|step| (step.start, step.start + step.time)).collect();
        busy.sort_unstable();
        let mut times = CopyTimes::default();
        for copy in self.host.iter().filter(|record| matches!(record.what, HostWork::Copy { .. })) {
            let (mut from, to) = (copy.start, copy.start + copy.time);
            times.total += copy.time;
            for &(start, end) in &busy {
                let (start, end) = (start.max(from), end.min(to));
                if start < end {
                    times.beside_launches += end - start;
                    from = end;
                }
            }
        }
        times
    }

    /// By kernel, in ABI order.
    pub fn by_kernel(&self) -> impl Iterator<Item = (KernelId, &Entry)> {
        self.kernels.iter().map(|(&k, e)| (k, e))
    }

    /// By node and kernel, ascending.
    pub fn by_node(&self) -> impl Iterator<Item = (NodeId, KernelId, &Entry)> {
        self.nodes.iter().map(|(&(n, k), e)| (n, k, e))
    }

    /// By place in the plan, ascending; a segment's launches add up over its calls.
    pub fn by_launch(&self) -> impl Iterator<Item = (LaunchKey, &Entry)> {
        self.launches.iter().map(|(&key, e)| (key, e))
    }

    /// The sum over all launches.
    pub fn total(&self) -> Entry {
        self.kernels.values().fold(Entry::default(), |mut sum, e| {
            sum.work += e.work;
            sum.time += e.time;
            sum
        })
    }
}

//! Time and work of a run, by kernel and by node: where the clock is read.

use crate::work::Work;
use kernels_gpu::abi::KernelId;
use scheduler::plan::NodeId;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// A running clock.
#[derive(Clone, Copy, Debug)]
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
    /// What the launch was made from.
    pub node: NodeId,
    /// The kernel.
    pub kernel: KernelId,
    /// Its work.
    pub work: Work,
    /// Its time on the device; zero where nothing is executed.
    pub time: Duration,
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

/// Sums over launches. Its `Display` is the table by kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    kernels: BTreeMap<KernelId, Entry>,
    nodes: BTreeMap<(NodeId, KernelId), Entry>,
}

/// A line of the JSON form.
#[derive(Serialize)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<u32>,
    kernel: &'static str,
    #[serde(flatten)]
    entry: Entry,
}

#[derive(Serialize)]
struct Lines {
    kernels: Vec<Line>,
    nodes: Vec<Line>,
}

impl Profile {
    /// Adds a launch.
    pub fn record(&mut self, record: &StepRecord) {
        self.kernels.entry(record.kernel).or_default().add(record);
        self.nodes.entry((record.node, record.kernel)).or_default().add(record);
    }

    /// By kernel, in ABI order.
    pub fn by_kernel(&self) -> impl Iterator<Item = (KernelId, &Entry)> {
        self.kernels.iter().map(|(&k, e)| (k, e))
    }

    /// By node and kernel, ascending.
    pub fn by_node(&self) -> impl Iterator<Item = (NodeId, KernelId, &Entry)> {
        self.nodes.iter().map(|(&(n, k), e)| (n, k, e))
    }

    /// The sum over all launches.
    pub fn total(&self) -> Entry {
        self.kernels.values().fold(Entry::default(), |mut sum, e| {
            sum.work += e.work;
            sum.time += e.time;
            sum
        })
    }

    /// The table of the `n` nodes that took longest.
    pub fn node_table(&self, n: usize) -> String {
        let mut nodes: Vec<_> = self.by_node().collect();
        nodes.sort_by_key(|(node, kernel, e)| (std::cmp::Reverse(e.time), *node, *kernel));
        let lines = nodes.into_iter().take(n);
        table(lines.map(|(node, kernel, e)| (format!("{} {}", node.0, kernel.name()), *e)))
    }

    /// Kernels and nodes as JSON.
    pub fn to_json(&self) -> String {
        let kernels = self.by_kernel().map(|(k, e)| Line { node: None, kernel: k.name(), entry: *e });
        let nodes = self.by_node().map(|(n, k, e)| Line { node: Some(n.0), kernel: k.name(), entry: *e });
        let lines = Lines { kernels: kernels.collect(), nodes: nodes.collect() };
        // Integers and fixed names: serialization cannot fail.
        serde_json::to_string_pretty(&lines).unwrap_or_default()
    }
}

fn table(lines: impl Iterator<Item = (String, Entry)>) -> String {
    let mut text = format!(
        "{:24} {:>9} {:>9} {:>11} {:>11} {:>9} {:>8}",
        "", "launches", "items", "time ms", "MiB", "Mmul", "GB/s"
    );
    for (name, e) in lines {
        text.push_str(&format!(
            "\n{name:24} {:>9} {:>9} {:>11.3} {:>11.3} {:>9.2} {:>8.2}",
            e.work.launches,
            e.work.items,
            e.time.as_secs_f64() * 1e3,
            e.work.bytes as f64 / (1u64 << 20) as f64,
            e.work.multiplications as f64 / 1e6,
            e.gigabytes_per_second()
        ));
    }
    text
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernels = self.by_kernel().map(|(k, e)| (k.name().to_owned(), *e));
        f.write_str(&table(kernels.chain([("total".to_owned(), self.total())])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_add_up_by_kernel_and_by_node() {
        let mut profile = Profile::default();
        let work =
            Work { launches: 1, items: 2, rows_read: 2, rows_written: 2, bytes: 4000, multiplications: 7 };
        for (node, kernel) in [(1, KernelId::Ntt), (2, KernelId::Ntt), (2, KernelId::Add)] {
            let time = Duration::from_micros(1);
            profile.record(&StepRecord { node: NodeId(node), kernel, work, time });
        }
        assert_eq!(
            profile.by_kernel().map(|(k, e)| (k, e.work.launches)).collect::<Vec<_>>(),
            [(KernelId::Ntt, 2), (KernelId::Add, 1)]
        );
        assert_eq!(profile.by_node().count(), 3);
        assert_eq!(profile.total().work.bytes, 12_000);
        assert_eq!(profile.total().gigabytes_per_second(), 4.0);
        let json: serde_json::Value = serde_json::from_str(&profile.to_json()).unwrap();
        assert_eq!(json["kernels"][0]["kernel"], "ntt");
        assert_eq!(json["kernels"][0]["nanoseconds"], 2000);
        assert_eq!(json["nodes"][2]["node"], 2);
        assert!(profile.to_string().lines().last().unwrap().starts_with("total"));
        assert_eq!(profile.node_table(2).lines().count(), 3);
    }
}

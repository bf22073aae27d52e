//! A profile as tables for people and as JSON for programs.
//!
//! ```text
//! GB/s = bytes of the plan's rows, each counted once a launch / time      roof = GB/s over the stated one
//! ```

use super::{Entry, Profile, Roof};
use serde::Serialize;
use std::cmp::Reverse;
use std::fmt;

/// A line of the JSON form.
#[derive(Serialize)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    launch: Option<u32>,
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
    launches: Vec<Line>,
}

impl Profile {
    /// The table by kernel, with the share of a roof where one is stated.
    pub fn kernel_table(&self, roof: Option<Roof>) -> String {
        let kernels = self.by_kernel().map(|(k, e)| (k.name().to_owned(), *e));
        table(kernels.chain([("total".to_owned(), self.total())]), roof)
    }

    /// The table of the `n` nodes that took longest.
    pub fn node_table(&self, n: usize, roof: Option<Roof>) -> String {
        let mut nodes: Vec<_> = self.by_node().collect();
        nodes.sort_by_key(|(node, kernel, e)| (Reverse(e.time), *node, *kernel));
        let lines = nodes.into_iter().take(n);
        table(lines.map(|(node, kernel, e)| (format!("{} {}", node.0, kernel.name()), *e)), roof)
    }

    /// The table of the `n` launches that took longest: segment, launch, node, kernel.
    pub fn launch_table(&self, n: usize, roof: Option<Roof>) -> String {
        let mut launches: Vec<_> = self.by_launch().collect();
        launches.sort_by_key(|(key, e)| (Reverse(e.time), *key));
        let name = |key: super::LaunchKey| {
            format!("{}.{} {} {}", key.segment.0, key.step, key.node.0, key.kernel.name())
        };
        table(launches.into_iter().take(n).map(|(key, e)| (name(key), *e)), roof)
    }

    /// Kernels, nodes and launches as JSON.
    pub fn to_json(&self) -> String {
        let line = |kernel, &entry: &Entry| Line { segment: None, launch: None, node: None, kernel, entry };
        let lines = Lines {
            kernels: self.by_kernel().map(|(k, e)| line(k.name(), e)).collect(),
            nodes: self.by_node().map(|(n, k, e)| Line { node: Some(n.0), ..line(k.name(), e) }).collect(),
            launches: self
                .by_launch()
                .map(|(key, e)| Line {
                    segment: Some(key.segment.0),
                    launch: Some(key.step),
                    node: Some(key.node.0),
                    ..line(key.kernel.name(), e)
                })
                .collect(),
        };
        // Integers and fixed names: serialization cannot fail.
        serde_json::to_string_pretty(&lines).unwrap_or_default()
    }
}

fn table(lines: impl Iterator<Item = (String, Entry)>, roof: Option<Roof>) -> String {
    let mut text = format!(
        "{:28} {:>9} {:>9} {:>11} {:>11} {:>9} {:>8}",
        "", "launches", "items", "time ms", "MiB", "Mmul", "GB/s"
    );
    if let Some(roof) = roof {
        text.push_str(&format!("  of {:.0}", roof.bytes_per_second / 1e9));
    }
    for (name, e) in lines {
        text.push_str(&format!(
            "\n{name:28} {:>9} {:>9} {:>11.3} {:>11.3} {:>9.2} {:>8.2}",
            e.work.launches,
            e.work.items,
            e.time.as_secs_f64() * 1e3,
            e.work.bytes as f64 / (1u64 << 20) as f64,
            e.work.multiplications as f64 / 1e6,
            e.gigabytes_per_second()
        ));
        if let Some(roof) = roof {
            text.push_str(&format!(" {:>6.1}%", roof.share(&e) * 100.0));
        }
    }
    text
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kernel_table(None))
    }
}

#[cfg(test)]
mod tests {
    use super::super::StepRecord;
    use super::*;
    use crate::work::Work;
    use kernels_gpu::abi::KernelId;
    use scheduler::plan::{NodeId, SegmentId};
    use std::time::Duration;

    #[test]
    fn records_add_up_by_kernel_by_node_and_by_launch() {
        let mut profile = Profile::default();
        let work =
            Work { launches: 1, items: 2, rows_read: 2, rows_written: 2, bytes: 4000, multiplications: 7 };
        let (start, time) = (Duration::ZERO, Duration::from_micros(1));
        let launches =
            [(0, 1, KernelId::Ntt), (1, 2, KernelId::Ntt), (2, 2, KernelId::Add), (0, 1, KernelId::Ntt)];
        for (step, node, kernel) in launches {
            let (segment, node) = (SegmentId(3), NodeId(node));
            profile.record(StepRecord { segment, step, node, kernel, work, start, time });
        }
        assert_eq!(
            profile.by_kernel().map(|(k, e)| (k, e.work.launches)).collect::<Vec<_>>(),
            [(KernelId::Ntt, 3), (KernelId::Add, 1)]
        );
        assert_eq!(profile.by_node().count(), 3);
        let by_launch: Vec<_> = profile.by_launch().map(|(key, e)| (key.step, e.work.launches)).collect();
        assert_eq!(by_launch, [(0, 2), (1, 1), (2, 1)]);
        assert_eq!(profile.total().work.bytes, 16_000);
        assert_eq!(profile.total().gigabytes_per_second(), 4.0);
        let json: serde_json::Value = serde_json::from_str(&profile.to_json()).unwrap();
        assert_eq!(json["kernels"][0]["kernel"], "ntt");
        assert_eq!(json["kernels"][0]["nanoseconds"], 3000);
        assert_eq!(json["nodes"][2]["node"], 2);
        assert_eq!(json["launches"][1]["segment"], 3);
        assert_eq!(json["launches"][1]["launch"], 1);
        assert!(profile.to_string().lines().last().unwrap().starts_with("total"));
        // One clock, in order: each starts where the one before ended.
        let starts: Vec<_> = profile.steps().iter().map(|s| s.start.as_micros()).collect();
        assert_eq!(starts, [0, 1, 2, 3]);
    }

    #[test]
    fn tables_have_the_share_of_a_roof_only_where_one_is_stated() {
        let mut profile = Profile::default();
        let work = Work { launches: 1, bytes: 4000, ..Work::default() };
        let (segment, node, kernel) = (SegmentId(0), NodeId(9), KernelId::Ntt);
        let (start, time) = (Duration::ZERO, Duration::from_micros(1));
        profile.record(StepRecord { segment, step: 4, node, kernel, work, start, time });
        let roof = Some(Roof { bytes_per_second: 16e9 });
        for table in [profile.kernel_table(roof), profile.node_table(9, roof), profile.launch_table(9, roof)]
        {
            assert!(table.lines().next().unwrap().ends_with("GB/s  of 16"), "{table}");
            assert!(table.lines().nth(1).unwrap().ends_with("  4.00   25.0%"), "{table}");
        }
        assert!(profile.launch_table(1, None).contains("0.4 9 ntt"));
        assert!(!profile.node_table(1, None).contains('%'));
    }
}

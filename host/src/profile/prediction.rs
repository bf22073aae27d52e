//! Times that a cost table predicts, beside measured ones; and how a machine's table is measured.

use super::{Entry, Profile, StepRecord};
use crate::check::CheckedPlan;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::work::Work;
use fhe_core::params::Params;
use kernels_gpu::abi::{KernelId, RowRef};
use scheduler::compile::{compile, refit};
use scheduler::cost::{CopyObservation, CopyRoute, CostTable, Observation, Timeline};
use scheduler::plan::{Access, NodeId, Plan, PlanStep, Step, Tier};
use scheduler::{MemoryLimits, Options, Topology, dsl};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Predicted times of a plan's launches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prediction {
    /// Every launch of a run, in order: its kernel and time.
    pub launches: Vec<(KernelId, Duration)>,
    /// Kernels that the table has no costs of: they count as nothing.
    pub unknown: Vec<KernelId>,
    /// Calls and copies with streams beside each other.
    pub overlap: Overlap,
    /// Routes of copies that the table has no costs of: they count as nothing.
    pub unknown_copies: Vec<CopyRoute>,
}

/// What streams save, as predicted. Steps of the host are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overlap {
    /// The time of a run.
    pub total: Duration,
    /// The time of its copies.
    pub copies: Duration,
    /// Of that, the time in which a call ran on the device at which they arrive.
    pub hidden: Duration,
}

impl Prediction {
    pub(crate) fn new(plan: &CheckedPlan, costs: &CostTable) -> Self {
        let mut prediction = Self::default();
        for Observation { kernel, bytes, stored, multiplications, .. } in observations(plan, &[]) {
            let time = costs.predict(kernel, bytes, stored, multiplications).unwrap_or_else(|| {
                prediction.unknown.push(kernel);
                0.0
            });
            prediction.launches.push((kernel, Duration::from_nanos(time as u64)));
        }
        prediction.unknown.sort_unstable();
        prediction.unknown.dedup();
        prediction.overlap(plan.plan(), costs);
        prediction
    }

    fn overlap(&mut self, plan: &Plan, costs: &CostTable) {
        let mut launches = self.launches.iter();
        let mut unknown = BTreeSet::new();
        let nanoseconds: Vec<f64> = (plan.schedule.iter())
            .map(|step| match step {
                PlanStep::Call { segment, .. } => {
                    let n = plan.segment(*segment).map_or(0, |s| s.steps.len());
                    let call = launches.by_ref().take(n);
                    call.map(|(_, time)| time.as_secs_f64() * 1e9).sum()
                }
                PlanStep::Copy(copies) => {
                    let by_route = CopyRoute::bytes(plan, copies).into_iter();
                    let time = |(route, bytes)| {
                        costs.predict_copy(route, bytes).unwrap_or_else(|| {
                            unknown.insert(route);
                            0.0
                        })
                    };
                    by_route.map(time).sum()
                }
                PlanStep::Host(_) | PlanStep::Record { .. } | PlanStep::Wait { .. } => 0.0,
            })
            .collect();
        let timeline = Timeline::new(plan, |i, _| nanoseconds[i]);
        let duration = |nanoseconds: f64| Duration::from_nanos(nanoseconds as u64);
        let (total, copies) = (duration(timeline.total), duration(timeline.copies));
        self.overlap = Overlap { total, copies, hidden: duration(timeline.hidden) };
        self.unknown_copies = unknown.into_iter().collect();
    }

    /// The time of a run's launches, one after the other.
    pub fn total(&self) -> Duration {
        self.launches.iter().map(|(_, time)| *time).sum()
    }

    /// Predicted beside measured, by kernel: a run's profile has as many launches.
    pub fn kernel_table(&self, measured: &Profile) -> String {
        let mut sums = self.sums(measured, |record| record.kernel);
        sums.sort_by_key(|(kernel, _)| *kernel);
        table(sums.into_iter().map(|(kernel, both)| (kernel.name().to_owned(), both)))
    }

    /// The same for the `n` nodes of the plan that took longest.
    pub fn node_table(&self, measured: &Profile, n: usize) -> String {
        let mut sums = self.sums(measured, |record| (record.node, record.kernel));
        sums.sort_by_key(|(key, both)| (Reverse(both.measured.time), *key));
        let name = |(node, kernel): (NodeId, KernelId)| format!("{} {}", node.0, kernel.name());
        table(sums.into_iter().take(n).map(|(key, both)| (name(key), both)))
    }

    fn sums<K: Ord>(&self, measured: &Profile, key: impl Fn(&StepRecord) -> K) -> Vec<(K, Both)> {
        let mut sums: BTreeMap<K, Both> = BTreeMap::new();
        for ((_, predicted), record) in self.launches.iter().zip(measured.steps()) {
            let both = sums.entry(key(record)).or_default();
            both.predicted += *predicted;
            both.measured.add(record);
        }
        sums.into_iter().collect()
    }
}

#[derive(Default)]
struct Both {
    predicted: Duration,
    measured: Entry,
}

/// A line for each, and their sum.
fn table(lines: impl Iterator<Item = (String, Both)>) -> String {
    let mut text =
        format!("{:28} {:>9} {:>13} {:>12} {:>7}", "", "launches", "predicted ms", "measured ms", "ratio");
    let mut line = |name: &str, Both { predicted, measured }: &Both| {
        let (p, m) = (predicted.as_secs_f64() * 1e3, measured.time.as_secs_f64() * 1e3);
        let (launches, ratio) = (measured.work.launches, p / m.max(1e-9));
        text.push_str(&format!("\n{name:28} {launches:>9} {p:>13.3} {m:>12.3} {ratio:>7.2}"));
    };
    let mut total = Both::default();
    for (name, both) in lines {
        line(&name, &both);
        total.predicted += both.predicted;
        total.measured.work += both.measured.work;
        total.measured.time += both.measured.time;
    }
    line("total", &total);
    text
}

/// The launches of a run, in order, with their times where known.
pub(crate) fn observations(plan: &CheckedPlan, times: &[Duration]) -> Vec<Observation> {
    let row_bytes = plan.plan().row_bytes() as u64;
    let mut observed: Vec<Observation> = Vec::new();
    for step in &plan.plan().schedule {
        let PlanStep::Call { segment, .. } = step else { continue };
        let Some(of) = plan.plan().segment(*segment) else { continue };
        let is_stored =
            |row: &RowRef| of.slots.get(row.slot as usize).is_some_and(|slot| slot.access == Access::Read);
        for (i, Step::Launch { launch, .. }) in of.steps.iter().enumerate() {
            let Work { bytes, multiplications, .. } = plan.work(*segment, i);
            let items = plan.plan().items(launch).unwrap_or_default();
            let rows =
                items.iter().map(|item| item.rows(launch.kernel).iter().filter(|r| is_stored(r)).count());
            let stored = rows.sum::<usize>() as u64 * row_bytes;
            let nanoseconds = times.get(observed.len()).map_or(0.0, |time| time.as_secs_f64() * 1e9);
            observed.push(Observation { kernel: launch.kernel, bytes, stored, multiplications, nanoseconds });
        }
    }
    observed
}

/// Measures a cost table, also of copies: medians of every launch of a program that uses all kernels of levelled programs at every level of the
/// parameters. `note` says which machine it was, and when.
///
/// # Errors
/// Those of compiling, loading and running.
pub fn calibrate(session: &Session, params: &Params, note: &str, samples: u32) -> Result<CostTable> {
    let mut observed = Vec::new();
    for encode_on_device in [false, true] {
        let options = Options { encode_on_device, ..Options::default() };
        let mut program = session.compile(&workout(params)?, params, &options)?;
        observed.extend(program.observe(samples)?);
    }
    let costs = CostTable::fit(&session.backend_name(), note, &params.to_string(), &observed);
    Ok(costs.with_copies(&observe_copies(session, params, samples)?))
}

/// Times of copies over every route that the session has: a program in half the memory that it takes, with the rest in memory of the host
/// or, where there is a directory, in a file; and on two devices, where there are two.
fn observe_copies(session: &Session, params: &Params, samples: u32) -> Result<Vec<CopyObservation>> {
    let program = dsl::build("copies", |g| {
        let (x, y) = (g.input("x", 64)?, g.input("y", 64)?);
        let sum = (0..6).fold(x * y, |sum, k| sum + x.rotate(k) * y);
        g.output("z", sum, 64)
    })?;
    let free = compile(&program, params, &Options::default())?;
    let (least, most) = (free.plan.least_device_bytes(), free.plan.peak_bytes(Tier::Device));
    let below = |host| {
        let memory = MemoryLimits { device: Some(least.max(most / 2)), host };
        Options { memory, ..Options::default() }
    };
    let apart = Options { topology: Topology::new(2)?, ..Options::default() };
    let mut observed = Vec::new();
    for options in [below(None), below(Some(0)), apart] {
        match session.load(refit(&free, params, &options)?, params) {
            Ok(mut program) => observed.extend(program.observe_copies(samples)?),
            // What the session has not is not measured.
            Err(Error::NoSpillDirectory { .. } | Error::Devices { .. } | Error::TooBig { .. }) => {}
            Err(Error::OverBudget { .. } | Error::NotNow { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(observed)
}

/// Bytes of plaintexts that no cache holds.
const UNCACHED: usize = 256 << 20;

/// At each level a sum of rotations with plaintexts and of a square, and what is linear. At the top a sum over so many plaintexts that
/// they come from memory.
fn workout(params: &Params) -> Result<dsl::Program> {
    let rows = params.primes().len() * params.n() * params.word().bytes();
    let n_plain = (UNCACHED / rows).clamp(8, 1024);
    Ok(dsl::build("workout", |g| {
        let mut y = g.input("x", 64)?;
        let plain = |name: &str, number: usize| {
            let w: Vec<f64> = (0..64).map(|i| 0.01 * f64::from(i) - 0.3 + number as f64 / 64.0).collect();
            g.plain(&format!("{name}{number}"), &w)
        };
        for level in (1..=params.max_level().0).rev() {
            let weights = plain("w", level as usize)?;
            let few = y.rotate(1) * weights + y.rotate(2) * weights;
            let many = (3..9).fold(y * weights, |sum, k| sum + y.rotate(k) * weights);
            let square = y.square() - y * y.conjugate();
            // One of all slots, which a device encodes by transforms.
            let slots: Vec<f64> = (0..params.n_slots()).map(|i| (i % 97) as f64 / 97.0 - 0.5).collect();
            let dense = y * g.plain(&format!("d{level}"), &slots)?;
            let mut next = few + square - many + dense - y * 0.5 + 1.0;
            if level == params.max_level().0 {
                for number in 0..n_plain {
                    next = next + y.rotate((number % 4) as i64) * plain("v", number)?;
                }
            }
            y = if level % 2 == 0 { -(next.rotate(1) + next) } else { next };
        }
        g.output("y", y, 64)
    })?)
}

//! The launches of calls, one call behind the other: submitted as one graph, or one by one with the time of each.
//!
//! What fails while it is submitted names its node, and what was submitted before and not waited for. A kernel that fails does so after
//! its segment was submitted, and the error names the segments that were; launch by launch, each is waited for and the error names the node.

use super::health::Health;
use super::kernels::Kernels;
use crate::check::CheckedPlan;
use crate::driver::{Driver, DriverResult, Event, Graph};
use crate::error::Result;
use crate::profile::overhead::median;
use crate::profile::{Profile, StepRecord, Stopwatch};
use kernels_gpu::abi::Launch;
use scheduler::plan::{Plan, Segment, SegmentId, Step, StreamKind};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

/// A checked call.
pub(super) struct Call<'a> {
    pub(super) id: SegmentId,
    pub(super) segment: &'a Segment,
    /// Address of its binding table.
    pub(super) bindings: u64,
}

/// Checked calls, in order.
pub(super) struct Calls<'a> {
    pub(super) driver: &'a Arc<dyn Driver>,
    pub(super) health: &'a Health,
    pub(super) kernels: &'a Kernels,
    pub(super) plan: &'a CheckedPlan,
    pub(super) calls: Vec<Call<'a>>,
    /// Address of the pool.
    pub(super) pool: u64,
    /// Segments before them that were not waited for.
    pub(super) behind: &'a [SegmentId],
}

/// A launch of a segment in words.
fn node(segment: &Segment, step: &Step) -> String {
    let Step::Launch { launch, node } = step;
    format!("node {} ({}) of segment `{}`", node.0, launch.kernel.name(), segment.name)
}

/// Segments of which it is not known what failed; none are copies.
pub(super) fn one_of(plan: &Plan, segments: &[SegmentId]) -> String {
    let segments: Vec<&Segment> = segments.iter().filter_map(|&id| plan.segment(id)).collect();
    let names = match segments[..] {
        [] => return "a copy between tiers".to_owned(),
        [one] => format!("segment `{}`", one.name),
        [first, .., last] => format!("segment `{}` or one up to `{}`", first.name, last.name),
    };
    let nodes = || segments.iter().flat_map(|s| &s.steps).map(|Step::Launch { node, .. }| node.0);
    let (first, last) = (nodes().min().unwrap_or(0), nodes().max().unwrap_or(0));
    let n = nodes().count();
    format!("{names} (one of {n} launches, nodes {first} to {last}; a run with a profile names it)")
}

/// What was being done, behind what was not waited for.
pub(super) fn behind(plan: &Plan, during: String, segments: &[SegmentId]) -> String {
    if segments.is_empty() { during } else { format!("{during}, behind {}", one_of(plan, segments)) }
}

/// Launches of one step in the shorter of the two graphs that tell its time; the longer has twice as many. Enough that the
/// device is busy for longer than the host takes to submit a graph.
const REPEATS: u32 = 16;
/// Replays between two events.
const ROUNDS: u32 = 4;

impl Calls<'_> {
    fn submit(&self, call: &Call<'_>, launch: &Launch) -> DriverResult<()> {
        // SAFETY: the plan is checked and so is this call, so every row that the launch names lies in the slab, within
        // the buffer bound to its slot, and its hazards are ruled out; the tables are made for this plan's ring; launches
        // are in one stream, and what copies touch is ordered by events that were checked.
        unsafe { self.kernels.launch(&**self.driver, self.plan.plan(), launch, call.bindings, self.pool) }
    }

    /// All launches, each with its number in its call.
    fn launches(&self) -> impl Iterator<Item = (&Call<'_>, usize, &Step)> {
        self.calls
            .iter()
            .flat_map(|call| call.segment.steps.iter().enumerate().map(move |(i, step)| (call, i, step)))
    }

    /// Submits the launches as a graph, captured first if `graph` is empty.
    ///
    /// # Errors
    /// The driver's; then the graph is given up.
    pub(super) fn replay(&self, graph: &mut Option<Graph>) -> Result<()> {
        let at = Cell::new(None);
        let capture = || {
            self.launches().try_for_each(|(call, _, step)| {
                at.set(Some((call.segment, step)));
                let Step::Launch { launch, .. } = step;
                self.submit(call, launch)
            })?;
            at.set(None);
            Ok(())
        };
        let mut replay = || {
            let captured = match graph.take() {
                Some(captured) => captured,
                None => Graph::capture(self.driver, capture)?,
            };
            // SAFETY: as for its launches.
            unsafe { captured.launch() }?;
            *graph = Some(captured);
            Ok(())
        };
        let plan = self.plan.plan();
        let named = || {
            let all = || one_of(plan, &self.calls.iter().map(|call| call.id).collect::<Vec<_>>());
            behind(plan, at.get().map_or_else(all, |(segment, step)| node(segment, step)), self.behind)
        };
        let replayed: DriverResult<()> = replay();
        replayed.map_err(|e| self.health.error(&**self.driver, &e, named()))
    }

    /// Runs launch by launch, waits for each and tells its time.
    ///
    /// # Errors
    /// The driver's.
    pub(super) fn run_timed(&self, profile: &mut Profile) -> Result<()> {
        self.launches().try_for_each(|(call, i, step)| {
            let timed = self.time(call, i, step, profile);
            let error = |e| self.health.error(&**self.driver, &e, node(call.segment, step));
            profile.record(timed.map_err(error)?);
            Ok(())
        })
    }

    /// What one more of each launch takes, behind others of its kind: the median of some samples, each
    /// `(time of 2 R launches in a graph - time of R) / R`, so that what a graph and its events cost drops out.
    ///
    /// # Errors
    /// The driver's.
    pub(super) fn launch_times(&self, samples: u32) -> Result<Vec<Duration>> {
        let time = |call: &Call<'_>, step: &Step| {
            let Step::Launch { launch, .. } = step;
            let submit = |n: u32| (0..n).try_for_each(|_| self.submit(call, launch));
            let graph = |n: u32| Graph::capture(self.driver, || submit(n));
            let (short, long) = (graph(REPEATS)?, graph(2 * REPEATS)?);
            let once = |graph: &Graph| {
                let start = Event::record(self.driver, StreamKind::Launches)?;
                for _ in 0..ROUNDS {
                    // SAFETY: as for its launches; one launch again reads and writes the rows of the first.
                    unsafe { graph.launch() }?;
                }
                start.elapsed(&Event::record(self.driver, StreamKind::Launches)?)
            };
            // The first of each is not counted.
            once(&short)?;
            once(&long)?;
            let sample = |_| Ok(once(&long)?.saturating_sub(once(&short)?) / (ROUNDS * REPEATS));
            (0..samples.max(1)).map(sample).collect::<DriverResult<Vec<_>>>().map(median)
        };
        self.launches()
            .map(|(call, _, step)| {
                let error = |e| self.health.error(&**self.driver, &e, node(call.segment, step));
                time(call, step).map_err(error)
            })
            .collect()
    }

    fn time(&self, call: &Call<'_>, i: usize, step: &Step, profile: &Profile) -> DriverResult<StepRecord> {
        let &Step::Launch { launch, node } = step;
        let clock = Stopwatch::start();
        let from = Event::record(self.driver, StreamKind::Launches)?;
        self.submit(call, &launch)?;
        let time = from.elapsed(&Event::record(self.driver, StreamKind::Launches)?)?;
        let (work, start) = (self.plan.work(call.id, i), profile.at(clock));
        let (segment, step, kernel) = (call.id, i as u32, launch.kernel);
        Ok(StepRecord { segment, step, node, kernel, work, start, time })
    }
}

//! Devices behind one trait: a [`Backend`] loads checked plans, an [`Instance`] is one of them with its memory.
//!
//! Buffers are bytes in whole rows; what they mean is the plan's and the caller's. Launches of a call take effect
//! in order, each complete before the next starts; so do calls and copies, unless they are submitted as steps of the schedule: then each
//! stream is in order, and between streams events are.

pub mod cpu;
pub mod cuda;
pub mod null;

use crate::check::CheckedPlan;
use crate::error::{Error, Result};
use crate::memory::MemoryReport;
use crate::profile::overhead::median;
use crate::profile::{HostRecord, HostWork, Profile, Stopwatch};
use scheduler::compile::MemoryLimits;
use scheduler::plan::{Buffer, BufferId, BufferKind, Plan, PlanStep, RowCopy, SegmentId};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// A device, or several of one kind.
pub trait Backend: Send + Sync {
    /// Its name, with what tells it from others of its kind.
    fn name(&self) -> String;

    /// Bytes that the buffers of a plan may take at present on each device and in each tier below, beside its tables.
    ///
    /// # Errors
    /// [`Error::UnsupportedRing`], [`Error::Devices`]; [`Error::Driver`], [`Error::DeviceLost`].
    fn room(&self, plan: &Plan) -> Result<MemoryLimits>;

    /// Allocates all that a plan says.
    ///
    /// # Errors
    /// [`Error::Devices`]; [`Error::TooBig`], [`Error::OverBudget`], [`Error::NotNow`]; [`Error::SpillFile`],
    /// [`Error::NoSpillDirectory`]; nothing stays allocated.
    fn load(&self, plan: Arc<CheckedPlan>) -> Result<Box<dyn Instance>>;
}

/// A loaded plan.
pub trait Instance: Send {
    /// The plan.
    fn plan(&self) -> &CheckedPlan;

    /// Copies whole rows into a buffer, from row `row` on.
    ///
    /// # Errors
    /// [`Error::BufferAccess`]; in the file tier [`Error::SpillFile`] and [`Error::NotNow`].
    fn write(&mut self, buffer: BufferId, row: u32, bytes: &[u8]) -> Result<()>;

    /// Copies rows out of a buffer.
    ///
    /// # Errors
    /// As [`Self::write`].
    fn read(&self, buffer: BufferId, rows: Range<u32>) -> Result<Vec<u8>>;

    /// Executes a segment with the buffer of each slot, and tells of each launch.
    ///
    /// # Errors
    /// [`Error::InvalidPlan`] when the segment may not be called so; [`Error::Driver`] and [`Error::DeviceLost`], which name
    /// the plan's node where it is known: when submitting always, afterwards only in a run with a profile.
    fn call(
        &mut self,
        segment: SegmentId,
        bindings: &[BufferId],
        profile: Option<&mut Profile>,
    ) -> Result<()>;

    /// The time of all calls of the schedule, `rounds` times over, back to back and without the host steps between
    /// them: on a device from event to event around the replays of their graphs, each call having been made once
    /// before. For benches; the buffers are as a run leaves them.
    ///
    /// # Errors
    /// Those of [`Self::call`].
    fn replay(&mut self, rounds: u32) -> Result<Duration> {
        let calls = calls_of(&self.plan().plan().schedule);
        let clock = Stopwatch::start();
        for (segment, bindings) in (0..rounds).flat_map(|_| &calls) {
            self.call(*segment, bindings, None)?;
        }
        Ok(clock.elapsed())
    }

    /// What each launch of the schedule takes by itself, in order: medians of `samples`. For benches; afterwards the arena and the
    /// outputs hold nothing of meaning. On a device it is what one more launch takes behind others of its kind; here
    /// by the clock, for nothing lies between launches of the processor.
    ///
    /// # Errors
    /// Those of [`Self::call`].
    fn launch_times(&mut self, samples: u32) -> Result<Vec<Duration>> {
        let calls = calls_of(&self.plan().plan().schedule);
        let mut times: Vec<Vec<Duration>> = Vec::new();
        for _ in 0..samples.max(1) {
            let mut profile = Profile::starting_now();
            for (segment, bindings) in &calls {
                self.call(*segment, bindings, Some(&mut profile))?;
            }
            times.resize(profile.steps().len(), Vec::new());
            times.iter_mut().zip(profile.steps()).for_each(|(of, step)| of.push(step.time));
        }
        Ok(times.into_iter().map(median).collect())
    }

    /// Copies rows between an arena and other tiers or devices.
    ///
    /// # Errors
    /// [`Error::InvalidPlan`] when they may not be copied so; in the file tier [`Error::SpillFile`] and
    /// [`Error::NotNow`].
    fn copy(&mut self, copies: &[RowCopy]) -> Result<()>;

    /// Submits steps of the schedule other than the host's: calls and copies in the order of their streams, marks, waits. What they do
    /// not wait for may still be under way when it returns. Here all is in order, and done.
    ///
    /// # Errors
    /// Those of [`Self::call`] and [`Self::copy`]; [`Error::Driver`] and [`Error::DeviceLost`] may be those of a step before these.
    fn submit(&mut self, steps: Range<usize>, mut profile: Option<&mut Profile>) -> Result<()> {
        for step in steps {
            match self.plan().plan().schedule.get(step).cloned() {
                Some(PlanStep::Call { segment, bindings }) => {
                    self.call(segment, &bindings, profile.as_deref_mut())?;
                }
                Some(PlanStep::Copy(copies)) => {
                    let clock = Stopwatch::start();
                    self.copy(&copies)?;
                    if let Some(profile) = profile.as_deref_mut() {
                        let (start, time) = (profile.at(clock), clock.elapsed());
                        let what = HostWork::copies(self.plan().plan(), &copies);
                        profile.record_host(HostRecord { what, start, time });
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Waits for what was submitted: before a step of the host, and at the end of a run.
    ///
    /// # Errors
    /// [`Error::Driver`] and [`Error::DeviceLost`], which name the segments that were submitted.
    fn wait(&mut self, profile: Option<&mut Profile>) -> Result<()> {
        let _ = profile;
        Ok(())
    }

    /// Overwrites the arena, the outputs and what was spilled with [`POISON`], so that a read of a row that the run has not written
    /// shows in the result.
    ///
    /// # Errors
    /// The driver's: a run that was to be poisoned is not done without.
    fn poison(&mut self) -> Result<()>;

    /// Planned and allocated bytes.
    fn memory(&self) -> MemoryReport;
}

/// A segment and the buffer of each of its slots.
type Binding = (SegmentId, Vec<BufferId>);

/// The calls among some steps, in order.
fn calls_of(steps: &[PlanStep]) -> Vec<Binding> {
    let call = |step: &PlanStep| {
        let PlanStep::Call { segment, bindings } = step else { return None };
        Some((*segment, bindings.clone()))
    };
    steps.iter().filter_map(call).collect()
}

/// Whether two neighbours of a schedule are calls, which may be submitted as one.
pub(crate) fn are_calls(a: &PlanStep, b: &PlanStep) -> bool {
    matches!((a, b), (PlanStep::Call { .. }, PlanStep::Call { .. }))
}

/// A byte that makes words beyond every prime.
pub const POISON: u8 = 0xA5;

/// Which backend a session has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// The fastest that there is.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// NVIDIA devices.
    Cuda,
    /// Checks and counts, computes nothing: outputs are zero.
    Null,
}

impl BackendKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Cpu, Self::Cuda, Self::Null];

    /// The name on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Null => "null",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BackendKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|k| k.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|k| k.name()).collect();
            let reason = format!("found {name}, expected one of {}", names.join(", "));
            Error::BackendUnavailable { backend: "unknown", reason }
        })
    }
}

/// Whether a run writes a buffer.
fn is_written(buffer: &Buffer) -> bool {
    use BufferKind::{Arena, Output, Passed, Spill};
    matches!(buffer.kind, Arena | Output(_) | Passed | Spill)
}

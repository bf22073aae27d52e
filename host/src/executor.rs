//! Walks a plan: its setup once, its schedule at every run.

use crate::backend::Instance;
use crate::error::Result;
use crate::profile::{HostRecord, HostWork, Profile, Stopwatch};
use scheduler::plan::{CopyKind, HostStep, PlanStep};
use std::time::Duration;

/// Does the steps of the host. It is the caller's half of a plan: where inputs come from, what a key is.
pub trait HostSteps {
    /// Does one step.
    ///
    /// # Errors
    /// Whatever keeps it from being done; it ends the run.
    fn host_step(&mut self, step: &HostStep, instance: &mut dyn Instance) -> Result<()>;
}

impl<F: FnMut(&HostStep, &mut dyn Instance) -> Result<()>> HostSteps for F {
    fn host_step(&mut self, step: &HostStep, instance: &mut dyn Instance) -> Result<()> {
        self(step, instance)
    }
}

/// How a run is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Fill the arena and the outputs with [`crate::backend::POISON`] first.
    pub poison: bool,
    /// Time every launch.
    pub profile: bool,
}

/// What a run took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunTimes {
    /// From the first step to the last.
    pub total: Duration,
    /// In host steps.
    pub host: Duration,
    /// In calls.
    pub calls: Duration,
    /// In copies between tiers and devices; on a device those that a call waits for count there.
    pub copies: Duration,
    /// Launch by launch, where asked for.
    pub profile: Profile,
}

/// Does the steps of [`scheduler::plan::Plan::setup`] that `wanted` picks, and tells of each.
///
/// # Errors
/// Those of the steps; steps before the one that failed are done.
pub fn setup(
    instance: &mut dyn Instance,
    host: &mut dyn HostSteps,
    wanted: impl Fn(&HostStep) -> bool,
) -> Result<Profile> {
    let mut profile = Profile::starting_now();
    let steps: Vec<HostStep> = instance.plan().plan().setup.iter().filter(|s| wanted(s)).copied().collect();
    for step in steps {
        let clock = Stopwatch::start();
        host.host_step(&step, instance)?;
        let (what, start, time) = (HostWork::Step(step), profile.at(clock), clock.elapsed());
        profile.record_host(HostRecord { what, start, time });
    }
    Ok(profile)
}

/// Does the schedule once.
///
/// # Errors
/// Those of the steps. The next run starts from the first step again, so nothing of a failed one is seen.
pub fn run(instance: &mut dyn Instance, host: &mut dyn HostSteps, options: RunOptions) -> Result<RunTimes> {
    let mut times = RunTimes { profile: Profile::starting_now(), ..RunTimes::default() };
    let total = Stopwatch::start();
    if options.poison {
        instance.poison()?;
    }
    let mut step_idx = 0;
    while let Some(step) = instance.plan().plan().schedule.get(step_idx).cloned() {
        let clock = Stopwatch::start();
        match step {
            PlanStep::Call { segment, bindings } => {
                let profile = options.profile.then_some(&mut times.profile);
                instance.call(segment, &bindings, profile)?;
                times.calls += clock.elapsed();
            }
            PlanStep::Host(step) => {
                host.host_step(&step, instance)?;
                let time = clock.elapsed();
                times.host += time;
                if options.profile {
                    let (what, start) = (HostWork::Step(step), times.profile.at(clock));
                    times.profile.record_host(HostRecord { what, start, time });
                }
            }
            PlanStep::Copy(copies) => {
                instance.copy(&copies)?;
                let time = clock.elapsed();
                times.copies += time;
                if options.profile {
                    let plan = instance.plan().plan();
                    let rows = |kind| {
                        let of_kind = copies.iter().filter(|c| plan.copy_kind(c) == Some(kind));
                        of_kind.map(|c| u64::from(c.rows)).sum()
                    };
                    let [fetched, spilled, exchanged] =
                        [CopyKind::Fetch, CopyKind::Spill, CopyKind::Exchange].map(rows);
                    let what = HostWork::Copy { fetched, spilled, exchanged };
                    let start = times.profile.at(clock);
                    times.profile.record_host(HostRecord { what, start, time });
                }
            }
        }
        step_idx += 1;
    }
    times.total = total.elapsed();
    Ok(times)
}

//! Walks a plan: its setup once, its schedule at every run.

use crate::backend::{Instance, are_calls};
use crate::error::Result;
use crate::profile::{HostRecord, HostWork, Profile, Stopwatch};
use scheduler::plan::{HostStep, PlanStep};
use std::ops::Range;
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
    /// Wait for every step before the next one is submitted: nothing runs at the same time, whatever the plan allows.
    pub in_order: bool,
}

/// What a run took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunTimes {
    /// From the first step to the last.
    pub total: Duration,
    /// In host steps.
    pub host: Duration,
    /// In calls, and waiting for what was submitted.
    pub calls: Duration,
    /// In copies between tiers and devices; on a device what is only submitted counts where it is waited for.
    pub copies: Duration,
    /// Launch by launch, where asked for.
    pub profile: Profile,
}

impl RunTimes {
    fn profile_if(&mut self, wanted: bool) -> Option<&mut Profile> {
        wanted.then_some(&mut self.profile)
    }
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
    // Of a run that failed something may still be under way.
    instance.wait(None)?;
    if options.poison {
        instance.poison()?;
    }
    let mut step_idx = 0;
    while let Some(step) = instance.plan().plan().schedule.get(step_idx).cloned() {
        let clock = Stopwatch::start();
        match step {
            PlanStep::Host(step) => {
                instance.wait(times.profile_if(options.profile))?;
                times.calls += clock.elapsed();
                let clock = Stopwatch::start();
                host.host_step(&step, instance)?;
                let time = clock.elapsed();
                times.host += time;
                if options.profile {
                    let (what, start) = (HostWork::Step(step), times.profile.at(clock));
                    times.profile.record_host(HostRecord { what, start, time });
                }
            }
            step => {
                let steps = together(&instance.plan().plan().schedule, step_idx, options);
                step_idx = steps.end - 1;
                instance.submit(steps, times.profile_if(options.profile))?;
                if options.in_order {
                    instance.wait(times.profile_if(options.profile))?;
                }
                let time = clock.elapsed();
                *if matches!(step, PlanStep::Copy(_)) { &mut times.copies } else { &mut times.calls } += time;
            }
        }
        step_idx += 1;
    }
    let clock = Stopwatch::start();
    instance.wait(times.profile_if(options.profile))?;
    times.calls += clock.elapsed();
    times.total = total.elapsed();
    Ok(times)
}

/// A step, and if it is a call the calls right behind it, unless each step is waited for.
fn together(schedule: &[PlanStep], first: usize, options: RunOptions) -> Range<usize> {
    let pairs = schedule.get(first..).unwrap_or_default().windows(2);
    let more = pairs.take_while(|pair| !options.in_order && are_calls(&pair[0], &pair[1])).count();
    first..first + 1 + more
}

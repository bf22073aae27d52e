//! Events: what orders the steps of streams that touch the same rows.
//!
//! A schedule is made in an order in which it is right. Its steps go to their streams, and wherever a step must come after one of
//! another stream, because it reads or writes what that wrote, or writes what that read, and no earlier event says so, it waits for an
//! event that is recorded behind that one. Nothing else is ordered: what a plan gains by streams is decided by where the copies
//! stand and which rows they write, in `lower::memory`.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::order::{Accesses, At, Clocks, touched};
use crate::plan::{EventId, Plan, PlanStep, StreamId};

/// The plan's schedule with the events that it needs; it has none yet.
pub(crate) fn with_events(plan: &Plan) -> Vec<PlanStep> {
    if !plan.has_copies() && plan.n_devices() == 1 {
        // One stream.
        return plan.schedule.clone();
    }
    let mut walk = Walk {
        clocks: Clocks::new(plan.n_devices()),
        accesses: Accesses::new(plan),
        ends: vec![Vec::new(); 2 * plan.n_devices() as usize],
    };
    // By step: its stream and number, and the steps that it waits for.
    let placed: Vec<Option<(StreamId, At, BTreeSet<At>)>> =
        plan.schedule.iter().map(|step| walk.step(plan, step)).collect();
    let awaited: BTreeSet<At> = placed.iter().flatten().flat_map(|(.., waits)| waits).copied().collect();
    let mut events: BTreeMap<At, EventId> = BTreeMap::new();
    let mut schedule = Vec::with_capacity(plan.schedule.len() + 2 * awaited.len());
    for (step, placed) in plan.schedule.iter().zip(placed) {
        let Some((stream, at, waits)) = placed else {
            schedule.push(step.clone());
            continue;
        };
        let events_of = waits.iter().filter_map(|at| events.get(at));
        schedule.extend(events_of.map(|&event| PlanStep::Wait { event, stream }));
        schedule.push(step.clone());
        if awaited.contains(&at) {
            let event = EventId(events.len() as u32);
            events.insert(at, event);
            schedule.push(PlanStep::Record { event, stream });
        }
    }
    schedule
}

struct Walk {
    clocks: Clocks,
    accesses: Accesses,
    /// The clock of each stream behind each of its steps.
    ends: Vec<Vec<Vec<u32>>>,
}

impl Walk {
    /// The step's stream and number, and what it waits for: of each stream the last that it must.
    fn step(&mut self, plan: &Plan, step: &PlanStep) -> Option<(StreamId, At, BTreeSet<At>)> {
        let Some(id) = plan.stream(step) else {
            self.clocks.host();
            return None;
        };
        let stream = id.index();
        let touched = touched(plan, step);
        let mut last: BTreeMap<usize, u32> = BTreeMap::new();
        for &(place, write) in &touched {
            for at in self.accesses.before(place, write).filter(|&at| !self.clocks.is_before(at, stream)) {
                let number = last.entry(at.stream).or_default();
                *number = (*number).max(at.number);
            }
        }
        let mut waits = BTreeSet::new();
        for (stream_of, number) in last {
            let at = At { stream: stream_of, number };
            // Unless it follows from another one.
            if !self.clocks.is_before(at, stream) {
                self.clocks.after(stream, &self.ends[at.stream][number as usize]);
                waits.insert(at);
            }
        }
        let at = self.clocks.step(stream);
        self.ends[stream].push(self.clocks.clock(stream).to_vec());
        touched.into_iter().for_each(|(place, write)| self.accesses.note(place, write, at));
        Some((id, at, waits))
    }
}

//! When the steps of a schedule run, if each takes a known time: streams beside each other, as far as events let them.
//!
//! ```text
//! start of a step = max(end of the step before it in its stream, ends that the stream has waited for)
//! ```
//!
//! A step of the host begins when all is over, and everything after it when it is. Streams do not slow one another down.

use std::collections::BTreeMap;

use crate::plan::{EventId, Plan, PlanStep, StreamId, StreamKind};

/// Starts and ends, in the unit of the times given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// By step of the schedule: start and end. Marks and waits take no time.
    pub steps: Vec<(f64, f64)>,
    /// The end of the last step.
    pub total: f64,
    /// The time of all copies.
    pub copies: f64,
    /// Of that, the time in which a call of the device ran at which they arrive.
    pub hidden: f64,
}

impl Timeline {
    /// Of a plan, whose step of some index takes so long.
    pub fn new(plan: &Plan, time: impl Fn(usize, &PlanStep) -> f64) -> Self {
        let mut free: BTreeMap<Option<StreamId>, f64> = BTreeMap::new();
        let mut events: BTreeMap<EventId, f64> = BTreeMap::new();
        // The end of the last step of the host.
        let mut host = 0.0;
        let mut steps = Vec::with_capacity(plan.schedule.len());
        for (i, step) in plan.schedule.iter().enumerate() {
            let stream = plan.stream(step);
            let end = free.get(&stream).map_or(host, |end| end.max(host));
            let (start, end) = match *step {
                PlanStep::Record { event, .. } => {
                    events.insert(event, end);
                    (end, end)
                }
                PlanStep::Wait { event, .. } => {
                    let end = events.get(&event).map_or(end, |mark| mark.max(end));
                    (end, end)
                }
                PlanStep::Host(_) => {
                    let start = free.values().copied().fold(host, f64::max);
                    host = start + time(i, step);
                    (start, host)
                }
                PlanStep::Call { .. } | PlanStep::Copy(_) => (end, end + time(i, step)),
            };
            free.insert(stream, end);
            steps.push((start, end));
        }
        let total = steps.iter().map(|step| step.1).fold(0.0, f64::max);
        let mut timeline = Self { steps, total, copies: 0.0, hidden: 0.0 };
        timeline.hide(plan);
        timeline
    }

    /// Copies against calls: each device's are in order, so both are walked once.
    fn hide(&mut self, plan: &Plan) {
        let mut streams: BTreeMap<StreamId, Vec<(f64, f64)>> = BTreeMap::new();
        for (step, &interval) in plan.schedule.iter().zip(&self.steps) {
            if let (PlanStep::Call { .. } | PlanStep::Copy(_), Some(stream)) = (step, plan.stream(step)) {
                streams.entry(stream).or_default().push(interval);
            }
        }
        for (stream, copies) in streams.iter().filter(|(stream, _)| stream.kind == StreamKind::Copies) {
            self.copies += copies.iter().map(|(start, end)| end - start).sum::<f64>();
            let calls = streams.get(&StreamId { kind: StreamKind::Launches, ..*stream });
            let mut calls = calls.map_or(&[][..], Vec::as_slice);
            for &(start, end) in copies {
                while calls.first().is_some_and(|call| call.1 <= start) {
                    calls = &calls[1..];
                }
                let beside = calls.iter().take_while(|call| call.0 < end);
                self.hidden += beside.map(|call| call.1.min(end) - call.0.max(start)).sum::<f64>();
            }
        }
    }
}

//! Which steps of a schedule may run at the same time, and whether those that may touch no common row (docs/adr/0013).
//!
//! ```text
//! streams of device d   launches: its calls      copies: copies whose rows arrive on d, in whatever tier
//! step a before step b  same stream, a first     a, record e, wait e, b     a host step between them
//! ```
//!
//! and what follows from these. A host step is after all steps that stand before it, and before all that stand after it. A **clock** of a
//! stream says, for each stream, how many of its steps are before what comes next: a vector clock (F. Mattern, 1988). With the clock of
//! its stream, and the last accesses of each row, a step is known to be ordered or not in time linear in the accesses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{CopiedBytes, CopyKind, DeviceIdx, Place, Plan, PlanStep, Step};

/// What a stream does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamKind {
    /// The calls of a device.
    Launches,
    /// Copies between tiers of a device, and those to its arena from other devices.
    Copies,
}

impl StreamKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Launches, Self::Copies];

    /// The name in texts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Launches => "launches",
            Self::Copies => "copies",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Steps that take effect one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// On which device.
    pub device: DeviceIdx,
    /// Which of its streams.
    pub kind: StreamKind,
}

impl StreamId {
    /// Its index among the streams of a plan.
    pub fn index(self) -> usize {
        2 * self.device.0 as usize + usize::from(self.kind == StreamKind::Copies)
    }
}

/// A point in a stream that others wait for, recorded once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u32);

/// A step by its stream's index and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) stream: usize,
    pub(crate) number: u32,
}

/// Clocks of all streams while a schedule is walked through.
#[derive(Debug)]
pub(crate) struct Clocks {
    /// Steps of each stream so far.
    done: Vec<u32>,
    /// By stream: of each stream so many steps are before what comes next.
    seen: Vec<Vec<u32>>,
    events: BTreeMap<EventId, Vec<u32>>,
}

fn join(clock: &mut [u32], other: &[u32]) {
    clock.iter_mut().zip(other).for_each(|(a, b)| *a = (*a).max(*b));
}

impl Clocks {
    pub(crate) fn new(n_devices: u32) -> Self {
        let n = 2 * n_devices as usize;
        Self { done: vec![0; n], seen: vec![vec![0; n]; n], events: BTreeMap::new() }
    }

    /// A step of the host.
    pub(crate) fn host(&mut self) {
        self.seen.iter_mut().for_each(|clock| clock.clone_from(&self.done));
    }

    /// The next step of a stream.
    pub(crate) fn step(&mut self, stream: usize) -> At {
        let number = self.done[stream];
        self.done[stream] += 1;
        self.seen[stream][stream] = number + 1;
        At { stream, number }
    }

    /// The clock of a stream.
    pub(crate) fn clock(&self, stream: usize) -> &[u32] {
        &self.seen[stream]
    }

    /// Brings a stream after all that a clock is after.
    pub(crate) fn after(&mut self, stream: usize, clock: &[u32]) {
        join(&mut self.seen[stream], clock);
    }

    /// Whether an earlier step is before the next one of a stream.
    pub(crate) fn is_before(&self, at: At, stream: usize) -> bool {
        at.stream == stream || at.number < self.seen[stream][at.stream]
    }

    /// False for an event that is recorded twice.
    fn record(&mut self, event: EventId, stream: usize) -> bool {
        self.events.insert(event, self.seen[stream].clone()).is_none()
    }

    /// False for an event that is not recorded.
    fn wait(&mut self, event: EventId, stream: usize) -> bool {
        let Some(clock) = self.events.get(&event) else { return false };
        join(&mut self.seen[stream], clock);
        true
    }
}

/// Who touched a row last.
#[derive(Clone, Debug, Default)]
struct Row {
    written: Option<At>,
    /// The last read of each stream since.
    read: Vec<At>,
}

/// Last accesses of rows, by buffer, as far as any was touched.
#[derive(Debug)]
pub(crate) struct Accesses(Vec<Vec<Row>>);

impl Accesses {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self(vec![Vec::new(); plan.buffers.len()])
    }

    /// The earlier steps that an access must come after.
    pub(crate) fn before(&self, place: Place, write: bool) -> impl Iterator<Item = At> {
        let row = self.0.get(place.buffer.0 as usize).and_then(|rows| rows.get(place.row as usize));
        let (written, read) = row.map_or((None, &[][..]), |row| (row.written, &row.read));
        written.into_iter().chain(read.iter().copied().filter(move |_| write))
    }

    /// Notes an access.
    pub(crate) fn note(&mut self, place: Place, write: bool, at: At) {
        let (Some(rows), at_row) = (self.0.get_mut(place.buffer.0 as usize), place.row as usize) else {
            return;
        };
        if rows.len() <= at_row {
            rows.resize(at_row + 1, Row::default());
        }
        let row = &mut rows[at_row];
        if write {
            *row = Row { written: Some(at), read: Vec::new() };
        } else if let Some(last) = row.read.iter_mut().find(|last| last.stream == at.stream) {
            *last = at;
        } else {
            row.read.push(at);
        }
    }
}

/// The rows that a call or a copy touches, and whether it writes them: reads come first. Those that no plan has are left out.
pub(crate) fn touched(plan: &Plan, step: &PlanStep) -> Vec<(Place, bool)> {
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    match step {
        PlanStep::Call { segment, bindings } => {
            let steps = plan.segment(*segment).map_or(&[][..], |s| &s.steps);
            let mut of_item = Vec::new();
            for Step::Launch { launch, .. } in steps {
                for item in plan.items(launch).unwrap_or_default() {
                    let place = |row: kernels_gpu::abi::RowRef| {
                        bindings.get(row.slot as usize).map(|&buffer| Place { buffer, row: row.row })
                    };
                    item.reads_into(launch.kernel, &mut of_item);
                    reads.extend(of_item.iter().filter_map(|read| place(read.row)));
                    writes.extend(item.writes().into_iter().filter_map(|(row, _)| place(row)));
                }
            }
        }
        PlanStep::Copy(copies) => {
            for (copy, at) in copies.iter().flat_map(|copy| (0..copy.rows).map(move |at| (copy, at))) {
                let row = |place: Place| Place { row: place.row.saturating_add(at), ..place };
                // A spill moves: it leaves its row without a value.
                let is_spill = plan.copy_kind(copy) == Some(CopyKind::Spill);
                if is_spill { &mut writes } else { &mut reads }.push(row(copy.from));
                writes.push(row(copy.to));
            }
        }
        PlanStep::Host(_) | PlanStep::Record { .. } | PlanStep::Wait { .. } => {}
    }
    for rows in [&mut reads, &mut writes] {
        rows.sort_unstable();
        rows.dedup();
    }
    reads.into_iter().map(|row| (row, false)).chain(writes.into_iter().map(|row| (row, true))).collect()
}

/// A walk through a schedule that finds races. The rules are in [`super::verify`].
#[derive(Debug)]
struct Walk<'a> {
    plan: &'a Plan,
    clocks: Clocks,
    accesses: Accesses,
    /// For messages: the step of the schedule by its stream and number.
    steps: BTreeMap<At, usize>,
}

type Check = Result<(), (&'static str, String)>;

/// Checks that events are recorded once and before they are waited for (rule `event`), and that of two steps that touch a row, one of
/// which writes it, one is before the other (rule `race`).
///
/// # Errors
/// The broken rule, in words.
pub fn check(plan: &Plan) -> Check {
    let n_devices = plan.n_devices();
    let (clocks, accesses) = (Clocks::new(n_devices), Accesses::new(plan));
    let mut walk = Walk { plan, clocks, accesses, steps: BTreeMap::new() };
    plan.schedule.iter().enumerate().try_for_each(|(i, step)| walk.step(i, step))
}

impl Walk<'_> {
    fn step(&mut self, i: usize, step: &PlanStep) -> Check {
        let Some(id) = self.plan.stream(step) else {
            match step {
                PlanStep::Host(_) => self.clocks.host(),
                _ => return Err(("event", format!("step {i} has no stream, or several"))),
            }
            return Ok(());
        };
        if id.device.0 >= self.plan.n_devices() {
            return Err(("event", format!("step {i} is of device {}, which there is not", id.device.0)));
        }
        let stream = id.index();
        match *step {
            PlanStep::Record { event, .. } if !self.clocks.record(event, stream) => {
                return Err(("event", format!("step {i} records event {} again", event.0)));
            }
            PlanStep::Wait { event, .. } if !self.clocks.wait(event, stream) => {
                return Err((
                    "event",
                    format!("step {i} waits for event {}, which is not recorded", event.0),
                ));
            }
            PlanStep::Record { .. } | PlanStep::Wait { .. } => return Ok(()),
            _ => {}
        }
        let touched = touched(self.plan, step);
        for &(place, write) in &touched {
            let mut unordered =
                self.accesses.before(place, write).filter(|&at| !self.clocks.is_before(at, stream));
            if let Some(other) = unordered.next() {
                let other = self.steps.get(&other).copied().unwrap_or_default();
                let does = if write { "writes" } else { "reads" };
                return Err((
                    "race",
                    format!("step {i} {does} row {place}, as step {other} does, which is not before it"),
                ));
            }
        }
        let at = self.clocks.step(stream);
        self.steps.insert(at, i);
        touched.into_iter().for_each(|(place, write)| self.accesses.note(place, write, at));
        Ok(())
    }
}

impl Plan {
    /// The stream of a step; none of a host step, nor of copies to several devices.
    pub fn stream(&self, step: &PlanStep) -> Option<StreamId> {
        let (device, kind) = match step {
            PlanStep::Call { segment, .. } => (self.segment(*segment)?.device, StreamKind::Launches),
            PlanStep::Copy(copies) => {
                let mut devices = copies.iter().map(|copy| self.buffer(copy.to.buffer).map(|b| b.device));
                let first = devices.next().unwrap_or(Some(DeviceIdx(0)))?;
                if devices.any(|device| device != Some(first)) {
                    return None;
                }
                (first, StreamKind::Copies)
            }
            PlanStep::Record { stream, .. } | PlanStep::Wait { stream, .. } => return Some(*stream),
            PlanStep::Host(_) => return None,
        };
        Some(StreamId { device, kind })
    }

    /// The same plan with its steps in another order that streams, events and host steps allow: the steps of a device that runs its
    /// streams as it likes. `choose` picks one of so many streams that can go on, by its index; steps that wait for what is never recorded
    /// are left out.
    #[must_use]
    pub fn reordered(&self, mut choose: impl FnMut(usize) -> usize) -> Self {
        let mut streams: BTreeMap<StreamId, VecDeque<&PlanStep>> = BTreeMap::new();
        let mut recorded = BTreeSet::new();
        let mut schedule: Vec<PlanStep> = Vec::with_capacity(self.schedule.len());
        // The end is as a step of the host.
        for step in self.schedule.iter().map(Some).chain([None]) {
            if let Some((step, stream)) = step.and_then(|step| Some((step, self.stream(step)?))) {
                streams.entry(stream).or_default().push_back(step);
                continue;
            }
            loop {
                let is_ready = |queue: &&mut VecDeque<&PlanStep>| match queue.front() {
                    Some(PlanStep::Wait { event, .. }) => recorded.contains(event),
                    front => front.is_some(),
                };
                let mut ready: Vec<_> = streams.values_mut().filter(is_ready).collect();
                let n = ready.len();
                let Some(queue) = ready.get_mut(choose(n.max(1)) % n.max(1)) else { break };
                let Some(next) = queue.pop_front() else { break };
                if let PlanStep::Record { event, .. } = next {
                    recorded.insert(event);
                }
                schedule.push(next.clone());
            }
            schedule.extend(step.cloned());
        }
        Self { schedule, ..self.clone() }
    }

    /// By step of the schedule, whether it is a copy that may run while launches of the device run at which it arrives: the copy and some
    /// call of that device are not ordered.
    pub fn overlapped(&self) -> Vec<bool> {
        let mut clocks = Clocks::new(self.n_devices());
        // By device: how many copies are before each of its calls.
        let mut calls: BTreeMap<DeviceIdx, Vec<u32>> = BTreeMap::new();
        // Copies: step, device, number in its stream, and how many calls are before it.
        let mut copies: Vec<(usize, DeviceIdx, u32, u32)> = Vec::new();
        for (i, step) in self.schedule.iter().enumerate() {
            let Some(id) = self.stream(step) else {
                clocks.host();
                continue;
            };
            let (stream, device) = (id.index(), id.device);
            let other = |kind| StreamId { kind, ..id }.index();
            match step {
                PlanStep::Record { event, .. } => _ = clocks.record(*event, stream),
                PlanStep::Wait { event, .. } => _ = clocks.wait(*event, stream),
                PlanStep::Copy(_) => {
                    let n_calls = clocks.clock(stream)[other(StreamKind::Launches)];
                    copies.push((i, device, clocks.step(stream).number, n_calls));
                }
                PlanStep::Call { .. } | PlanStep::Host(_) => {
                    let n_copies = clocks.clock(stream)[other(StreamKind::Copies)];
                    calls.entry(device).or_default().push(n_copies);
                    clocks.step(stream);
                }
            }
        }
        let mut overlapped = vec![false; self.schedule.len()];
        for (i, device, number, n_calls) in copies {
            // The first call that is not before the copy: those after it are after no fewer copies.
            let call = calls.get(&device).and_then(|calls| calls.get(n_calls as usize));
            overlapped[i] = call.is_some_and(|&n_copies| n_copies <= number);
        }
        overlapped
    }

    /// What the copies move that are [`Self::overlapped`].
    pub fn overlapped_bytes(&self) -> CopiedBytes {
        let mut sum = CopiedBytes::default();
        let steps = self.schedule.iter().zip(self.overlapped());
        for step in steps.filter(|(_, overlapped)| *overlapped).map(|(step, _)| step) {
            let PlanStep::Copy(copies) = step else { continue };
            for (copy, kind) in copies.iter().filter_map(|copy| Some((copy, self.copy_kind(copy)?))) {
                sum.add(kind, u64::from(copy.rows) * self.row_bytes() as u64);
            }
        }
        sum
    }

    /// Whether a run copies rows.
    pub(crate) fn has_copies(&self) -> bool {
        self.schedule.iter().any(|step| matches!(step, PlanStep::Copy(_)))
    }
}

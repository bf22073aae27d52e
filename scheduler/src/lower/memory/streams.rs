//! What each device does, apart from the others, and the one order of all again. Devices meet where rows are exchanged: such a
//! row has a place in the stream of its sender and in that of its receiver, and all streams have their places in the same order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::plan::Addressed;
use super::Stage;
use crate::plan::{BufferId, DeviceIdx, Place, RowCopy};

/// A step of a device.
#[derive(Debug)]
pub(super) enum Act {
    /// A launch.
    Launch(Addressed),
    /// The device's end of the copy of a row to or from another one.
    Exchange(End),
}

/// One end of an exchanged row.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// Row of the device's arena.
    pub(super) row: u32,
    pub(super) is_sent: bool,
}

/// An exchanged row: from whom to whom, and in which step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchanged {
    from: DeviceIdx,
    to: DeviceIdx,
    step: usize,
}

/// The steps of each device.
#[derive(Debug)]
pub(super) struct Apart {
    pub(super) acts: BTreeMap<DeviceIdx, Vec<Act>>,
    /// In order.
    pub(super) exchanged: Vec<Exchanged>,
}

/// Takes stages apart, of so many devices. Their copies are exchanges, and arenas are the first buffers, by device.
pub(super) fn apart(stages: Vec<Stage>, n_devices: u32) -> Apart {
    let mut acts: BTreeMap<DeviceIdx, Vec<Act>> =
        (0..n_devices).map(|device| (DeviceIdx(device), Vec::new())).collect();
    let mut exchanged = Vec::new();
    for (step, stage) in stages.into_iter().enumerate() {
        match stage {
            Stage::Launches(launches) => {
                for launch in launches {
                    acts.entry(launch.device).or_default().push(Act::Launch(launch));
                }
            }
            Stage::Copies(copies) => {
                for (copy, at) in copies.iter().flat_map(|copy| (0..copy.rows).map(move |at| (copy, at))) {
                    let mut end = |place: Place, is_sent| {
                        let device = DeviceIdx(place.buffer.0);
                        let end = End { row: place.row + at, is_sent };
                        acts.entry(device).or_default().push(Act::Exchange(end));
                        device
                    };
                    let (from, to) = (end(copy.from, true), end(copy.to, false));
                    exchanged.push(Exchanged { from, to, step });
                }
            }
        }
    }
    Apart { acts, exchanged }
}

/// A step of a device whose rows have their last addresses.
#[derive(Debug)]
pub(super) enum Event {
    /// Copies that follow are a list of their own.
    Open,
    /// The copy of a row between tiers.
    Copy(Place, Place),
    /// The end of an exchanged row.
    Exchange(Place),
    /// Launches that see all their rows.
    Launches(Vec<Addressed>),
}

/// The events of a device on which nothing changed.
pub(super) fn events(device: DeviceIdx, acts: Vec<Act>) -> VecDeque<Event> {
    let mut events = VecDeque::new();
    for act in acts {
        match (act, events.back_mut()) {
            (Act::Launch(launch), Some(Event::Launches(last))) => last.push(launch),
            (Act::Launch(launch), _) => events.push_back(Event::Launches(vec![launch])),
            (Act::Exchange(end), _) => {
                events.push_back(Event::Exchange(Place { buffer: BufferId(device.0), row: end.row }));
            }
        }
    }
    events
}

/// The one order of all devices' events.
pub(super) fn together(streams: BTreeMap<DeviceIdx, VecDeque<Event>>, exchanged: &[Exchanged]) -> Vec<Stage> {
    let mut order = Order { streams, stages: Vec::new(), opens: true };
    for step in exchanged.chunk_by(|a, b| a.step == b.step) {
        let devices: BTreeSet<DeviceIdx> = step.iter().flat_map(|row| [row.from, row.to]).collect();
        devices.into_iter().for_each(|device| order.advance(device));
        for row in step {
            if let (Some(from), Some(to)) = (order.meet(row.from), order.meet(row.to)) {
                order.copy(from, to);
            }
        }
    }
    let devices: Vec<DeviceIdx> = order.streams.keys().copied().collect();
    devices.into_iter().for_each(|device| order.advance(device));
    order.stages
}

struct Order {
    streams: BTreeMap<DeviceIdx, VecDeque<Event>>,
    stages: Vec<Stage>,
    /// The next copy opens a list.
    opens: bool,
}

impl Order {
    /// What a device does before its next exchange.
    fn advance(&mut self, device: DeviceIdx) {
        while let Some(event) = self.next(device, |event| !matches!(event, Event::Exchange(_))) {
            self.opens |= matches!(event, Event::Open);
            self.emit(event);
        }
    }

    /// Where a device's end of the next exchange is, once the copies before it are made: those of one step stay together.
    fn meet(&mut self, device: DeviceIdx) -> Option<Place> {
        loop {
            match self.next(device, |_| true)? {
                Event::Exchange(place) => return Some(place),
                event => self.emit(event),
            }
        }
    }

    fn next(&mut self, device: DeviceIdx, wanted: impl Fn(&Event) -> bool) -> Option<Event> {
        let stream = self.streams.get_mut(&device)?;
        stream.front().filter(|event| wanted(event))?;
        stream.pop_front()
    }

    fn emit(&mut self, event: Event) {
        match event {
            Event::Copy(from, to) => self.copy(from, to),
            Event::Launches(launches) => match self.stages.last_mut() {
                Some(Stage::Launches(last)) => last.extend(launches),
                _ => self.stages.push(Stage::Launches(launches)),
            },
            Event::Open | Event::Exchange(_) => {}
        }
    }

    fn copy(&mut self, from: Place, to: Place) {
        let opens = core::mem::take(&mut self.opens);
        match self.stages.last_mut() {
            Some(Stage::Copies(copies)) if !opens => RowCopy::append(copies, from, to),
            _ => self.stages.push(Stage::Copies(vec![RowCopy { from, to, rows: 1 }])),
        }
    }
}

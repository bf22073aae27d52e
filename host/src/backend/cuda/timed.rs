//! When copies ran, by the device's clock: marks around each step, and one whose time the host knows.

use crate::driver::{Driver, DriverResult, Event};
use crate::profile::{HostRecord, HostWork, Profile, Stopwatch};
use scheduler::plan::StreamKind;
use std::sync::Arc;
use std::time::Duration;

/// Copies that were submitted with a profile.
#[derive(Debug, Default)]
pub(super) struct TimedCopies {
    /// A mark, and when it was made from the start of the profile. Nothing else was under way in the stream of launches, since a run
    /// with a profile waits for each.
    origin: Option<(Duration, Event)>,
    copies: Vec<(HostWork, Event, Event)>,
}

impl TimedCopies {
    /// The mark before a step of copies.
    ///
    /// # Errors
    /// The driver's.
    pub(super) fn begin(&mut self, driver: &Arc<dyn Driver>, profile: &Profile) -> DriverResult<Event> {
        if self.origin.is_none() {
            let mark = Event::record(driver, StreamKind::Launches)?;
            self.origin = Some((profile.at(Stopwatch::start()), mark));
        }
        Event::record(driver, StreamKind::Copies)
    }

    /// The mark behind it.
    ///
    /// # Errors
    /// The driver's.
    pub(super) fn end(&mut self, driver: &Arc<dyn Driver>, begun: Event, what: HostWork) -> DriverResult<()> {
        self.copies.push((what, begun, Event::record(driver, StreamKind::Copies)?));
        Ok(())
    }

    /// Tells of all. Waits for them.
    ///
    /// # Errors
    /// The driver's.
    pub(super) fn tell(self, profile: &mut Profile) -> DriverResult<()> {
        let Some((at, origin)) = self.origin else { return Ok(()) };
        for (what, from, to) in self.copies {
            let (start, time) = (at + origin.elapsed(&from)?, from.elapsed(&to)?);
            profile.record_host(HostRecord { what, start, time });
        }
        Ok(())
    }
}

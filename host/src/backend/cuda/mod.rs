//! An NVIDIA device: the plan's launches as kernels compiled from the same bodies, captured once as a graph and
//! replayed: all calls of a run that nothing stands between, those of one segment with other bindings among them.
//!
//! ```text
//! load    memory of each tier, the pool, the ring's tables, the functions that the plan names
//! calls   a binding table each (one address a slot) and one graph, made when they are first submitted together
//! copy    between the slab and pinned memory by the device itself; a file passes through pinned chunks
//! submit  calls in one stream, copies in another, events of the plan between them; nothing is waited for
//! ```
//!
//! The pool, the tables and the binding tables are all that a kernel needs besides its argument, so a graph serves any input. The
//! argument has the address of the table, so each call of a segment in a graph has its own, and none is written while it runs (ADR 0028).

mod call;
mod captured;
mod health;
mod kernels;
mod memory;
mod staging;
mod timed;

use super::{Backend, Binding, Instance, are_calls, calls_of, is_written};
use crate::check::{CheckedPlan, broken};
use crate::driver::{DeviceMemory, Driver, DriverError, Event, Graph};
use crate::error::{Error, Result};
use crate::memory::{Limits, MemoryClass, MemoryReport};
use crate::profile::{HostWork, Profile};
use crate::tiers::{LowerTiers, Reservations, Tiers, what};
use call::{Call, Calls, behind, one_of};
use captured::Captured;
use fhe_core::math::word::WordKind;
use health::Health;
use kernels::Kernels;
use kernels_gpu::abi::launch::{GPU_MAX_LOG_N, GPU_MIN_LOG_N};
use memory::{Layout, Memory, Part};
use scheduler::compile::MemoryLimits;
use scheduler::plan::{
    BufferId, DeviceIdx, EventId, Plan, PlanStep, RowCopy, Segment, SegmentId, StreamKind, Tier,
};
use staging::Failure;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use timed::TimedCopies;

/// Bytes of a device that are not offered to plans: modules, graphs, binding tables; of a small device an eighth.
const RESERVE_BYTES: u64 = 256 << 20;

/// Launches of a run that is captured as a whole, at most; beyond, each segment is a graph of its own, whatever the number of its calls.
/// An estimate, not a measurement: at 2 KiB of the device for each, half of what is in reserve. So many launches take some tenths of
/// a second, beside which submitting the calls one by one is nothing.
const MOST_LAUNCHES_OF_A_GRAPH: usize = 1 << 16;

/// One device.
#[derive(Debug)]
pub struct CudaBackend {
    driver: Arc<dyn Driver>,
    health: Arc<Health>,
    tiers: Tiers,
    most_launches: usize,
}

impl CudaBackend {
    /// A backend on a device that a driver has opened. The device's size is a limit beside the given ones.
    ///
    /// # Errors
    /// [`Error::Driver`]; [`Error::DeviceLost`] for a device that this process has lost.
    pub fn new(driver: Arc<dyn Driver>, limits: Limits) -> Result<Self> {
        let what = "memory of the device";
        let refused = |e: DriverError| match driver.synchronize() {
            Ok(()) => driver_error(e, what),
            Err(_) => Error::DeviceLost { during: what.to_owned(), words: e.to_string() },
        };
        let (_, total) = driver.memory().map_err(refused)?;
        let machine = Some(limits.machine.map_or(total, |m| m.min(total)));
        let tiers = Tiers::new(Limits { machine, ..limits });
        Ok(Self { driver, health: Arc::default(), tiers, most_launches: MOST_LAUNCHES_OF_A_GRAPH })
    }

    /// With limits of the tiers below the device.
    #[must_use]
    pub fn with_lower_tiers(self, lower: LowerTiers) -> Self {
        Self { tiers: self.tiers.with_lower(lower), ..self }
    }

    /// With another limit of the launches of a run that is captured as a whole; of a longer run each segment is a graph of its own.
    #[must_use]
    pub fn with_most_launches_of_a_graph(self, most_launches: usize) -> Self {
        Self { most_launches, ..self }
    }

    /// Bytes of the device that programs hold.
    pub fn memory_in_use(&self) -> u64 {
        self.tiers.device(DeviceIdx(0)).in_use()
    }
}

fn segments_of(calls: &[Binding]) -> Vec<SegmentId> {
    calls.iter().map(|&(segment, _)| segment).collect()
}

fn driver_error(error: DriverError, during: &str) -> Error {
    Error::Driver { during: during.to_owned(), words: error.to_string() }
}

/// Refuses rings that no kernel is compiled for.
fn check_ring(plan: &Plan) -> Result<()> {
    let (word, log_n) = (plan.word, plan.log_n);
    let refuse =
        |what, expected: String, found: String| Err(Error::UnsupportedRing { what, expected, found });
    if word != WordKind::U32 {
        return refuse("word on a GPU", "32 bits".to_owned(), format!("{} bits", word.bits()));
    }
    if !(GPU_MIN_LOG_N..=GPU_MAX_LOG_N).contains(&log_n) {
        return refuse("log N on a GPU", format!("{GPU_MIN_LOG_N} to {GPU_MAX_LOG_N}"), log_n.to_string());
    }
    Ok(())
}

/// Refuses plans for other numbers of devices than there are.
fn check_devices(plan: &Plan) -> Result<()> {
    match plan.n_devices() {
        1 => Ok(()),
        found => Err(Error::Devices { backend: "cuda", found, expected: 1 }),
    }
}

impl Backend for CudaBackend {
    fn name(&self) -> String {
        format!("cuda ({})", self.driver.device_name())
    }

    fn room(&self, plan: &Plan) -> Result<MemoryLimits> {
        check_ring(plan)?;
        check_devices(plan)?;
        let during = || "memory of the device".to_owned();
        self.health.check(during)?;
        let (free, _) = self.driver.memory().map_err(|e| self.health.error(&*self.driver, &e, during()))?;
        let beside = Kernels::table_bytes(plan) + plan.pool.len() as u64 * 8 + RESERVE_BYTES.min(free / 8);
        let left = self.tiers.left(1, 0).map_or(free, |left| left.min(free));
        Ok(MemoryLimits { device: Some(left.saturating_sub(beside)), host: self.tiers.host.left() })
    }

    fn load(&self, plan: Arc<CheckedPlan>) -> Result<Box<dyn Instance>> {
        check_ring(plan.plan())?;
        check_devices(plan.plan())?;
        let program = what(&plan, Tier::Device);
        self.health.check(|| program.clone())?;
        let layout = Layout::new(&plan);
        let slab_bytes = layout.device_bytes;
        let pool_bytes = plan.plan().pool.len() as u64 * 8;
        let found = slab_bytes + Kernels::table_bytes(plan.plan()) + pool_bytes;
        let reservations = self.tiers.reserve(&plan, found - plan.tier_bytes(Tier::Device))?;
        let refused = |e: DriverError, what: String, found: u64, expected: u64| match e.out_of_memory {
            true => Error::NotNow { what, found, expected },
            false => self.health.error(&*self.driver, &e, program.clone()),
        };
        let on_device = |given: u64| {
            let (refused, program) = (&refused, program.clone());
            move |e| refused(e, program, found, given)
        };
        let driver = self.driver.fork().map_err(on_device(0))?;
        let file = self.tiers.open_file(&plan)?;
        let memory = Memory::new(&driver, layout, file).map_err(|(part, e)| match part {
            Part::Slab => refused(e, program.clone(), found, 0),
            Part::Host(bytes) => refused(e, what(&plan, Tier::Host), bytes, 0),
            Part::Staging(bytes) => refused(e, format!("{program}, staging"), bytes, 0),
        })?;
        let pool = DeviceMemory::from_bytes(&driver, bytemuck::cast_slice(&plan.plan().pool));
        let pool = pool.map_err(on_device(slab_bytes))?;
        let kernels = Kernels::new(&driver, &plan).map_err(on_device(slab_bytes + pool_bytes))?;
        tracing::debug!(
            program = %plan.plan().name,
            slab_bytes,
            in_host = plan.tier_bytes(Tier::Host),
            in_file = plan.tier_bytes(Tier::File),
            device = %driver.device_name(),
            "loaded"
        );
        Ok(Box::new(CudaInstance {
            joins_calls: plan.plan().n_launches() <= self.most_launches,
            plan,
            driver,
            health: Arc::clone(&self.health),
            memory,
            pool,
            kernels,
            captured: BTreeMap::new(),
            events: BTreeMap::new(),
            in_flight: Vec::new(),
            copying: false,
            written: false,
            timed: TimedCopies::default(),
            _reservations: reservations,
        }))
    }
}

#[derive(Debug)]
struct CudaInstance {
    // Graphs first: they are dropped before the memory that they name.
    /// Calls that were submitted, by their segments: together, all that are one behind the other, or one by one.
    captured: BTreeMap<Vec<SegmentId>, Captured>,
    joins_calls: bool,
    /// Events as they were recorded last.
    events: BTreeMap<EventId, Event>,
    /// Segments that were submitted and not waited for, and whether copies were.
    in_flight: Vec<SegmentId>,
    copying: bool,
    /// The host wrote device memory, in the stream of launches, and the stream of copies is not behind it yet.
    written: bool,
    timed: TimedCopies,
    plan: Arc<CheckedPlan>,
    driver: Arc<dyn Driver>,
    health: Arc<Health>,
    memory: Memory,
    pool: DeviceMemory,
    kernels: Kernels,
    _reservations: Reservations,
}

impl CudaInstance {
    /// Makes tables that hold the addresses of the buffers of calls.
    fn bind(&mut self, calls: &[Binding]) -> Result<()> {
        let bases = calls.iter().flat_map(|(_, bindings)| bindings).map(|&id| self.memory.address(id));
        let bases: Vec<u64> = bases.collect();
        let (what, found) = ("binding table".to_owned(), bases.len() as u64 * 8);
        let bound = match self.captured.entry(segments_of(calls)) {
            Entry::Occupied(mut before) => before.get_mut().bind(bases),
            Entry::Vacant(first) => Captured::new(&self.driver, bases).map(|new| {
                first.insert(new);
            }),
        };
        bound.map_err(|e| {
            if e.out_of_memory { Error::NotNow { what, found, expected: 0 } } else { self.error(&e, what) }
        })
    }

    /// Checks and binds calls, and does something with them and their graph.
    fn with_calls<T>(
        &mut self,
        calls: &[Binding],
        work: impl FnOnce(&Calls<'_>, &mut Option<Graph>) -> Result<T>,
    ) -> Result<T> {
        let plan = Arc::clone(&self.plan);
        let checked = calls.iter().map(|(segment, bindings)| plan.check_call(*segment, bindings));
        let segments: Vec<&Segment> = checked.collect::<Result<_>>()?;
        self.health.check(|| one_of(plan.plan(), &segments_of(calls)))?;
        self.bind(calls)?;
        let Self { captured, driver, health, kernels, pool, in_flight, .. } = self;
        let captured = captured.get_mut(&segments_of(calls));
        let captured = captured.ok_or_else(|| broken("calls", "calls that are not bound".into()))?;
        let addresses = captured.tables(calls);
        let call = |((&(id, _), segment), bindings)| Call { id, segment, bindings };
        let calls = Calls {
            driver,
            health,
            kernels,
            plan: &plan,
            calls: calls.iter().zip(segments).zip(addresses).map(call).collect(),
            pool: pool.address(),
            behind: in_flight,
        };
        work(&calls, &mut captured.graph)
    }

    /// Submits calls as one; launch by launch, with a profile, they are waited for.
    fn submit_calls(&mut self, calls: &[Binding], profile: Option<&mut Profile>) -> Result<()> {
        let timed = profile.is_some();
        self.with_calls(calls, |calls, graph| match profile {
            Some(profile) => calls.run_timed(profile),
            None => calls.replay(graph),
        })?;
        if !timed {
            self.in_flight.extend(segments_of(calls));
        }
        Ok(())
    }

    /// The calls of the schedule as a run submits them.
    fn submitted(&self) -> Vec<Vec<Binding>> {
        let groups = self.plan.plan().schedule.chunk_by(|a, b| self.joins_calls && are_calls(a, b));
        groups.map(calls_of).filter(|calls| !calls.is_empty()).collect()
    }

    /// Submits copies behind what the host wrote.
    fn submit_copies(&mut self, copies: &[RowCopy], profile: Option<&mut Profile>) -> Result<()> {
        if core::mem::take(&mut self.written) {
            let behind = Event::record(&self.driver, StreamKind::Launches);
            let held = behind.and_then(|mark| mark.hold(StreamKind::Copies));
            held.map_err(|e| self.error(&e, "copies behind writes to buffers".to_owned()))?;
        }
        self.copying = true;
        let begun = profile.map(|profile| self.timed.begin(&self.driver, profile)).transpose();
        let begun = begun.map_err(|e| self.error(&e, "time of copies".to_owned()))?;
        for copy in copies {
            let kind = self.plan.check_copy(copy)?;
            self.health.check(|| format!("copy {copy}"))?;
            let copied = self.memory.copy(copy, kind);
            copied.map_err(|e| self.failure(e, format!("copy {copy}")))?;
        }
        if let Some(begun) = begun {
            let what = HostWork::copies(self.plan.plan(), copies);
            let ended = self.timed.end(&self.driver, begun, what);
            ended.map_err(|e| self.error(&e, "time of copies".to_owned()))?;
        }
        Ok(())
    }

    /// Marks the present end of a stream.
    fn record(&mut self, event: EventId, stream: StreamKind) -> Result<()> {
        let during = || format!("event {}", event.0);
        self.health.check(during)?;
        let mark = Event::record(&self.driver, stream).map_err(|e| self.error(&e, during()))?;
        self.events.insert(event, mark);
        Ok(())
    }

    /// What is submitted to a stream from now on comes after a mark.
    fn hold(&self, event: EventId, stream: StreamKind) -> Result<()> {
        let during = || format!("event {}", event.0);
        self.health.check(during)?;
        let never = || broken("event", format!("event {} is waited for and was not recorded", event.0));
        let held = self.events.get(&event).ok_or_else(never)?.hold(stream);
        held.map_err(|e| self.error(&e, during()))
    }

    /// The driver's error, of something behind what was not waited for.
    fn error(&self, error: &DriverError, during: String) -> Error {
        let during = behind(self.plan.plan(), during, &self.in_flight);
        self.health.error(&*self.driver, error, during)
    }

    fn failure(&self, failure: Failure, during: String) -> Error {
        match failure {
            Failure::Device(error) => self.error(&error, during),
            Failure::Host(error) => error,
        }
    }
}

impl Instance for CudaInstance {
    fn plan(&self) -> &CheckedPlan {
        &self.plan
    }

    fn write(&mut self, buffer: BufferId, row: u32, bytes: &[u8]) -> Result<()> {
        self.plan.check_write(buffer, row, bytes.len())?;
        let during = || format!("write to buffer {}", buffer.0);
        self.health.check(during)?;
        self.written = true;
        self.memory.write(buffer, row, bytes).map_err(|e| self.failure(e, during()))
    }

    fn read(&self, buffer: BufferId, rows: Range<u32>) -> Result<Vec<u8>> {
        self.plan.check_rows(buffer, &rows)?;
        let during = || format!("read of buffer {}", buffer.0);
        self.health.check(during)?;
        self.memory.read(buffer, &rows).map_err(|e| self.failure(e, during()))
    }

    fn call(
        &mut self,
        segment: SegmentId,
        bindings: &[BufferId],
        profile: Option<&mut Profile>,
    ) -> Result<()> {
        self.wait(None)?;
        self.submit_calls(&[(segment, bindings.to_vec())], profile)?;
        self.wait(None)
    }

    fn submit(&mut self, steps: Range<usize>, mut profile: Option<&mut Profile>) -> Result<()> {
        let (plan, joins_calls) = (Arc::clone(&self.plan), self.joins_calls);
        let steps = plan.plan().schedule.get(steps).unwrap_or_default();
        for same in steps.chunk_by(|a, b| joins_calls && are_calls(a, b)) {
            match same {
                [PlanStep::Call { .. }, ..] => self.submit_calls(&calls_of(same), profile.as_deref_mut())?,
                [PlanStep::Copy(copies), ..] => self.submit_copies(copies, profile.as_deref_mut())?,
                [PlanStep::Record { event, stream }, ..] => self.record(*event, stream.kind)?,
                [PlanStep::Wait { event, stream }, ..] => self.hold(*event, stream.kind)?,
                [PlanStep::Host(_), ..] | [] => {}
            }
        }
        Ok(())
    }

    fn wait(&mut self, profile: Option<&mut Profile>) -> Result<()> {
        if self.in_flight.is_empty() && !self.copying {
            return Ok(());
        }
        let waited = self.driver.synchronize();
        let segments = core::mem::take(&mut self.in_flight);
        self.copying = false;
        let timed = core::mem::take(&mut self.timed);
        let error =
            |e: &DriverError| self.health.error(&*self.driver, e, one_of(self.plan.plan(), &segments));
        waited.map_err(|e| error(&e))?;
        profile.map_or(Ok(()), |profile| timed.tell(profile)).map_err(|e| error(&e))
    }

    fn launch_times(&mut self, samples: u32) -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        for calls in self.submitted() {
            times.extend(self.with_calls(&calls, |calls, _| calls.launch_times(samples))?);
        }
        Ok(times)
    }

    fn replay(&mut self, rounds: u32) -> Result<Duration> {
        let groups = self.submitted();
        self.wait(None)?;
        for calls in &groups {
            self.submit_calls(calls, None)?;
            self.wait(None)?;
        }
        let failed = |this: &Self, e: &DriverError| this.error(e, "replay".to_owned());
        let start = Event::record(&self.driver, StreamKind::Launches).map_err(|e| failed(self, &e))?;
        for calls in (0..rounds).flat_map(|_| &groups) {
            self.bind(calls)?;
            let graph = self.captured.get(&segments_of(calls)).and_then(|captured| captured.graph.as_ref());
            // SAFETY: captured from checked calls, and the memory that it names, by way of its tables too, is this instance's.
            let launched = graph.map_or(Ok(()), |graph| unsafe { graph.launch() });
            launched.map_err(|e| failed(self, &e))?;
        }
        let end = Event::record(&self.driver, StreamKind::Launches);
        end.and_then(|end| start.elapsed(&end)).map_err(|e| failed(self, &e))
    }

    fn copy(&mut self, copies: &[RowCopy]) -> Result<()> {
        self.wait(None)?;
        self.submit_copies(copies, None)?;
        self.wait(None)
    }

    fn poison(&mut self) -> Result<()> {
        self.health.check(|| "poison".to_owned())?;
        self.written = true;
        let plan = Arc::clone(&self.plan);
        for (id, buffer) in (0..).map(BufferId).zip(&plan.plan().buffers).filter(|(_, b)| is_written(b)) {
            let filled = self.memory.poison(id, buffer.rows);
            filled.map_err(|e| self.failure(e, format!("poison of buffer {}", id.0)))?;
        }
        Ok(())
    }

    fn memory(&self) -> MemoryReport {
        let mut report = self.memory.report(&self.plan);
        let bindings: u64 = self.captured.values().map(Captured::bytes).sum();
        let tables = self.kernels.bytes() + self.pool.bytes() + bindings;
        report.add(DeviceIdx(0), Tier::Device, MemoryClass::Tables, tables, tables);
        report
    }
}

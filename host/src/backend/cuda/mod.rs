//! An NVIDIA device: the plan's launches as kernels compiled from the same bodies, each call captured once as a
//! graph and replayed.
//!
//! ```text
//! load    memory of each tier, the pool, the ring's tables, the functions that the plan names
//! call    binding table (one address a slot) and graph, made at the first call with these bindings
//! copy    between the slab and pinned memory by the device itself; a file passes through pinned chunks
//! submit  calls in one stream, copies in another, events of the plan between them; nothing is waited for
//! ```
//!
//! The pool, the tables and the binding tables are all that a kernel needs besides its argument, so a captured
//! segment serves any input, and a call with other buffers needs another table of a few bytes.

mod call;
mod health;
mod kernels;
mod memory;
mod staging;
mod timed;

use super::{Backend, Instance, calls_of, is_written};
use crate::check::{CheckedPlan, broken};
use crate::driver::{DeviceMemory, Driver, DriverError, Event, Graph};
use crate::error::{Error, Result};
use crate::memory::{Limits, MemoryClass, MemoryReport};
use crate::profile::{HostWork, Profile};
use crate::tiers::{LowerTiers, Reservations, Tiers, what};
use call::{Call, behind, one_of};
use fhe_core::math::word::WordKind;
use health::Health;
use kernels::Kernels;
use kernels_gpu::abi::launch::{GPU_MAX_LOG_N, GPU_MIN_LOG_N};
use memory::{Layout, Memory, Part};
use scheduler::compile::MemoryLimits;
use scheduler::plan::{BufferId, DeviceIdx, EventId, Plan, PlanStep, RowCopy, SegmentId, StreamKind, Tier};
use staging::Failure;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use timed::TimedCopies;

/// Bytes of a device that are not offered to plans: modules, graphs, binding tables; of a small device an eighth.
const RESERVE_BYTES: u64 = 256 << 20;

/// One device.
#[derive(Debug)]
pub struct CudaBackend {
    driver: Arc<dyn Driver>,
    health: Arc<Health>,
    tiers: Tiers,
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
        Ok(Self { driver, health: Arc::default(), tiers: Tiers::new(Limits { machine, ..limits }) })
    }

    /// With limits of the tiers below the device.
    #[must_use]
    pub fn with_lower_tiers(self, lower: LowerTiers) -> Self {
        Self { tiers: self.tiers.with_lower(lower), ..self }
    }

    /// Bytes of the device that programs hold.
    pub fn memory_in_use(&self) -> u64 {
        self.tiers.device(DeviceIdx(0)).in_use()
    }
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
            plan,
            driver,
            health: Arc::clone(&self.health),
            memory,
            pool,
            kernels,
            segments: BTreeMap::new(),
            events: BTreeMap::new(),
            in_flight: Vec::new(),
            copying: false,
            written: false,
            timed: TimedCopies::default(),
            _reservations: reservations,
        }))
    }
}

/// A segment that has been called before: its binding table and, once captured, its launches, which read the table when they run. So
/// one graph serves all calls of a segment: a call with other buffers writes their addresses first.
#[derive(Debug)]
struct CalledSegment {
    table: DeviceMemory,
    /// What the table holds the addresses of; empty if a write failed.
    bindings: Vec<BufferId>,
    graph: Option<Graph>,
}

#[derive(Debug)]
struct CudaInstance {
    // Graphs first: they are dropped before the memory that they name.
    segments: BTreeMap<SegmentId, CalledSegment>,
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
    /// Makes the table of a segment hold the addresses of some buffers. What was submitted before has read the table when it is written.
    fn bind(&mut self, segment: SegmentId, bindings: &[BufferId]) -> Result<()> {
        if self.segments.get(&segment).is_some_and(|called| called.bindings == bindings) {
            return Ok(());
        }
        let bases: Vec<u64> = bindings.iter().map(|&id| self.memory.address(id)).collect();
        let (what, found) = ("binding table".to_owned(), bases.len() as u64 * 8);
        let bytes: &[u8] = bytemuck::cast_slice(&bases);
        let bound = match self.segments.get_mut(&segment) {
            Some(called) => {
                called.bindings.clear();
                called.table.write(0, bytes)
            }
            None => DeviceMemory::from_bytes(&self.driver, bytes).map(|table| {
                let called = CalledSegment { table, bindings: Vec::new(), graph: None };
                self.segments.insert(segment, called);
            }),
        };
        bound.map_err(|e| {
            if e.out_of_memory { Error::NotNow { what, found, expected: 0 } } else { self.error(&e, what) }
        })?;
        if let Some(called) = self.segments.get_mut(&segment) {
            called.bindings = bindings.to_vec();
        }
        Ok(())
    }

    /// Checks and binds a call, and does something with it and its graph.
    fn with_call<T>(
        &mut self,
        segment: SegmentId,
        bindings: &[BufferId],
        work: impl FnOnce(&Call<'_>, &mut Option<Graph>) -> Result<T>,
    ) -> Result<T> {
        let plan = Arc::clone(&self.plan);
        let found = plan.check_call(segment, bindings)?;
        self.health.check(|| format!("segment `{}`", found.name))?;
        self.bind(segment, bindings)?;
        let Self { segments, driver, health, kernels, pool, in_flight, .. } = self;
        let called = segments.get_mut(&segment);
        let called = called.ok_or_else(|| broken("calls", "a call that is not bound".into()))?;
        let call = Call {
            driver,
            health,
            kernels,
            plan: &plan,
            id: segment,
            segment: found,
            bindings: called.table.address(),
            pool: pool.address(),
            behind: in_flight,
        };
        work(&call, &mut called.graph)
    }

    /// Submits a call; launch by launch, with a profile, it is waited for.
    fn submit_call(
        &mut self,
        segment: SegmentId,
        bindings: &[BufferId],
        profile: Option<&mut Profile>,
    ) -> Result<()> {
        let timed = profile.is_some();
        self.with_call(segment, bindings, |call, graph| match profile {
            Some(profile) => call.run_timed(profile),
            None => call.replay(graph),
        })?;
        if !timed {
            self.in_flight.push(segment);
        }
        Ok(())
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
        self.submit_call(segment, bindings, profile)?;
        self.wait(None)
    }

    fn submit(&mut self, step: usize, profile: Option<&mut Profile>) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        match plan.plan().schedule.get(step) {
            Some(PlanStep::Call { segment, bindings }) => self.submit_call(*segment, bindings, profile),
            Some(PlanStep::Copy(copies)) => self.submit_copies(copies, profile),
            Some(PlanStep::Record { event, stream }) => {
                self.health.check(|| format!("event {}", event.0))?;
                let mark = Event::record(&self.driver, stream.kind);
                let mark = mark.map_err(|e| self.error(&e, format!("event {}", event.0)))?;
                self.events.insert(*event, mark);
                Ok(())
            }
            Some(PlanStep::Wait { event, stream }) => {
                self.health.check(|| format!("event {}", event.0))?;
                let never = || broken("event", format!("step {step} waits for event {}", event.0));
                let held = self.events.get(event).ok_or_else(never)?.hold(stream.kind);
                held.map_err(|e| self.error(&e, format!("event {}", event.0)))
            }
            Some(PlanStep::Host(_)) | None => Ok(()),
        }
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
        for (segment, bindings) in calls_of(self.plan.plan()) {
            times.extend(self.with_call(segment, &bindings, |call, _| call.launch_times(samples))?);
        }
        Ok(times)
    }

    fn replay(&mut self, rounds: u32) -> Result<Duration> {
        let calls = calls_of(self.plan.plan());
        for (segment, bindings) in &calls {
            self.call(*segment, bindings, None)?;
        }
        let failed = |this: &Self, e: &DriverError| this.error(e, "replay".to_owned());
        let start = Event::record(&self.driver, StreamKind::Launches).map_err(|e| failed(self, &e))?;
        for (segment, bindings) in (0..rounds).flat_map(|_| &calls) {
            self.bind(*segment, bindings)?;
            let graph = self.segments.get(segment).and_then(|called| called.graph.as_ref());
            // SAFETY: captured from checked calls, and the memory that it names, by way of its table too, is this instance's.
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
        let bindings: u64 = self.segments.values().map(|called| called.table.bytes()).sum();
        let tables = self.kernels.bytes() + self.pool.bytes() + bindings;
        report.add(DeviceIdx(0), Tier::Device, MemoryClass::Tables, tables, tables);
        report
    }
}

//! A driver around a driver: it counts what is held, and fails the call that a test wants to fail.

use host::driver::{Driver, DriverError, DriverResult, EventHandle, Function, GraphHandle, Grid};
use kernels_gpu::abi::launch::KernelArgs;
use scheduler::plan::StreamKind;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A fallible call of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Fork,
    Allocate,
    CopyToDevice,
    CopyToHost,
    Fill,
    Function,
    Launch,
    Synchronize,
    BeginCapture,
    EndCapture,
    LaunchGraph,
    Record,
    Hold,
    Elapsed,
    AllocatePinned,
    SubmitToDevice,
    SubmitToHost,
    Wait,
}

/// The words of an injected failure.
pub const INJECTED: &str = "injected failure";

/// What was given out and not given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub allocations: i64,
    pub pinned: i64,
    pub graphs: i64,
    pub events: i64,
    pub streams: i64,
}

#[derive(Default)]
struct State {
    /// Which call fails: the n-th of its kind, counted from 0.
    fails: Option<(Kind, u64)>,
    /// Whether every call after it fails, too.
    for_good: bool,
    failed: bool,
    seen: BTreeMap<Kind, u64>,
    /// Which launch gets a wild address for its pool, counted from 0.
    wild: Option<u64>,
    /// Calls after a failure for good.
    after: u64,
    /// A call failed in the capture that is under way, which breaks it as on a real device.
    capture_broken: bool,
    held: Held,
}

/// What a test tells the driver and what it hears from it.
#[derive(Clone, Default)]
pub struct Script(Arc<Mutex<State>>);

impl Script {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails call number `n` of a kind from now, counted from 0; `for_good`: and all calls of any kind after it.
    pub fn fail(&self, kind: Kind, n: u64, for_good: bool) {
        let held = self.held();
        *self.lock() = State { fails: Some((kind, n)), for_good, held, ..State::default() };
    }

    /// Sends launch number `n` from now, counted from 0, to read where nothing is.
    pub fn send_wild(&self, n: u64) {
        let held = self.held();
        *self.lock() = State { wild: Some(n), held, ..State::default() };
    }

    /// The argument of a launch that was counted.
    fn argument(&self, arguments: &[u8]) -> Vec<u8> {
        let state = self.lock();
        let now = state.seen.get(&Kind::Launch).map(|seen| seen - 1);
        if state.wild.is_none() || state.wild != now {
            return arguments.to_vec();
        }
        let args: KernelArgs = bytemuck::pod_read_unaligned(arguments);
        bytemuck::bytes_of(&KernelArgs { pool: 1 << 12, ..args }).to_vec()
    }

    /// Whether a call has failed.
    pub fn has_failed(&self) -> bool {
        self.lock().failed
    }

    /// Calls of a kind since the script was told something last.
    pub fn n_seen(&self, kind: Kind) -> u64 {
        self.lock().seen.get(&kind).copied().unwrap_or_default()
    }

    /// Calls that failed because an earlier one had.
    pub fn n_after(&self) -> u64 {
        self.lock().after
    }

    /// Lets all calls pass, and counts from 0.
    pub fn pass(&self) {
        let held = self.held();
        *self.lock() = State { held, ..State::default() };
    }

    pub fn held(&self) -> Held {
        self.lock().held
    }

    fn hold(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.lock().held);
    }

    fn call(&self, kind: Kind) -> DriverResult<()> {
        let mut state = self.lock();
        let out_of_memory = matches!(kind, Kind::Allocate | Kind::AllocatePinned) && !state.failed;
        let refused = |words: &str| DriverError { call: "watched", words: words.to_owned(), out_of_memory };
        if state.failed && state.for_good {
            state.after += 1;
            return Err(refused("still failing"));
        }
        let n = state.seen.entry(kind).or_default();
        *n += 1;
        if !state.failed && state.fails == Some((kind, state.seen[&kind] - 1)) {
            state.failed = true;
            state.capture_broken = kind == Kind::Launch;
            return Err(refused(INJECTED));
        }
        Ok(())
    }
}

/// A driver and the script that it follows.
#[derive(Debug)]
pub struct Watched {
    inner: Arc<dyn Driver>,
    script: Script,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.held().fmt(f)
    }
}

impl Watched {
    pub fn open(inner: Arc<dyn Driver>, script: &Script) -> Arc<dyn Driver> {
        script.hold(|held| held.streams += 1);
        Arc::new(Self { inner, script: script.clone() })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.script.hold(|held| held.streams -= 1);
    }
}

impl Driver for Watched {
    fn fork(&self) -> DriverResult<Arc<dyn Driver>> {
        self.script.call(Kind::Fork)?;
        Ok(Self::open(self.inner.fork()?, &self.script))
    }

    fn device_name(&self) -> String {
        self.inner.device_name()
    }

    fn memory(&self) -> DriverResult<(u64, u64)> {
        self.inner.memory()
    }

    fn allocate(&self, bytes: u64) -> DriverResult<u64> {
        self.script.call(Kind::Allocate)?;
        let address = self.inner.allocate(bytes)?;
        self.script.hold(|held| held.allocations += 1);
        Ok(address)
    }

    unsafe fn free(&self, address: u64) {
        self.script.hold(|held| held.allocations -= 1);
        // SAFETY: the caller's promise, here and below.
        unsafe { self.inner.free(address) };
    }

    unsafe fn copy_to_device(&self, to: u64, from: &[u8]) -> DriverResult<()> {
        self.script.call(Kind::CopyToDevice)?;
        // SAFETY: as above.
        unsafe { self.inner.copy_to_device(to, from) }
    }

    unsafe fn copy_to_host(&self, to: &mut [u8], from: u64) -> DriverResult<()> {
        self.script.call(Kind::CopyToHost)?;
        // SAFETY: as above.
        unsafe { self.inner.copy_to_host(to, from) }
    }

    fn allocate_pinned(&self, bytes: usize) -> DriverResult<NonNull<u8>> {
        self.script.call(Kind::AllocatePinned)?;
        let start = self.inner.allocate_pinned(bytes)?;
        self.script.hold(|held| held.pinned += 1);
        Ok(start)
    }

    unsafe fn free_pinned(&self, start: NonNull<u8>) {
        self.script.hold(|held| held.pinned -= 1);
        // SAFETY: as above.
        unsafe { self.inner.free_pinned(start) };
    }

    unsafe fn submit_to_device(
        &self,
        stream: StreamKind,
        to: u64,
        from: NonNull<u8>,
        bytes: usize,
    ) -> DriverResult<()> {
        self.script.call(Kind::SubmitToDevice)?;
        // SAFETY: as above.
        unsafe { self.inner.submit_to_device(stream, to, from, bytes) }
    }

    unsafe fn submit_to_host(
        &self,
        stream: StreamKind,
        to: NonNull<u8>,
        from: u64,
        bytes: usize,
    ) -> DriverResult<()> {
        self.script.call(Kind::SubmitToHost)?;
        // SAFETY: as above.
        unsafe { self.inner.submit_to_host(stream, to, from, bytes) }
    }

    fn wait(&self, event: EventHandle) -> DriverResult<()> {
        self.script.call(Kind::Wait)?;
        self.inner.wait(event)
    }

    unsafe fn fill(&self, to: u64, byte: u8, bytes: u64) -> DriverResult<()> {
        self.script.call(Kind::Fill)?;
        // SAFETY: as above.
        unsafe { self.inner.fill(to, byte, bytes) }
    }

    fn function(&self, ptx: &'static str, entry: &str, shared_bytes: u32) -> DriverResult<Function> {
        self.script.call(Kind::Function)?;
        self.inner.function(ptx, entry, shared_bytes)
    }

    unsafe fn launch(&self, function: Function, grid: Grid, arguments: &[u8]) -> DriverResult<()> {
        self.script.call(Kind::Launch)?;
        // SAFETY: as above; a wild address is what a test is about.
        unsafe { self.inner.launch(function, grid, &self.script.argument(arguments)) }
    }

    /// Fails without waiting: what was submitted goes on.
    fn synchronize(&self) -> DriverResult<()> {
        self.script.call(Kind::Synchronize)?;
        self.inner.synchronize()
    }

    fn begin_capture(&self) -> DriverResult<()> {
        self.script.call(Kind::BeginCapture)?;
        self.script.lock().capture_broken = false;
        self.inner.begin_capture()
    }

    fn end_capture(&self) -> DriverResult<GraphHandle> {
        let graph = self.inner.end_capture()?;
        let broken =
            DriverError { call: "watched", words: "the capture is broken".into(), out_of_memory: false };
        let called = self.script.call(Kind::EndCapture);
        if let Err(error) = if self.script.lock().capture_broken { Err(broken) } else { called } {
            // SAFETY: nobody has it.
            unsafe { self.inner.free_graph(graph) };
            return Err(error);
        }
        self.script.hold(|held| held.graphs += 1);
        Ok(graph)
    }

    unsafe fn launch_graph(&self, graph: GraphHandle) -> DriverResult<()> {
        self.script.call(Kind::LaunchGraph)?;
        // SAFETY: as above.
        unsafe { self.inner.launch_graph(graph) }
    }

    unsafe fn free_graph(&self, graph: GraphHandle) {
        self.script.hold(|held| held.graphs -= 1);
        // SAFETY: as above.
        unsafe { self.inner.free_graph(graph) };
    }

    fn hold(&self, stream: StreamKind, event: EventHandle) -> DriverResult<()> {
        self.script.call(Kind::Hold)?;
        self.inner.hold(stream, event)
    }

    fn record(&self, stream: StreamKind) -> DriverResult<EventHandle> {
        self.script.call(Kind::Record)?;
        let event = self.inner.record(stream)?;
        self.script.hold(|held| held.events += 1);
        Ok(event)
    }

    fn elapsed(&self, from: EventHandle, to: EventHandle) -> DriverResult<Duration> {
        self.script.call(Kind::Elapsed)?;
        self.inner.elapsed(from, to)
    }

    unsafe fn free_event(&self, event: EventHandle) {
        self.script.hold(|held| held.events -= 1);
        // SAFETY: as above.
        unsafe { self.inner.free_event(event) };
    }
}

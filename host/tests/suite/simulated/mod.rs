//! A device without a device: the driver's memory, streams, graphs and events in ordinary memory, and launches that run
//! the GPU's own thread kernels in the emulator of `kernels-gpu`, found by entry name.
//!
//! As on a real device, launches and copies are queued, each in its stream, and done when somebody waits; between streams in an order that
//! nobody should count on ([`Device::shuffle`]). A kernel that breaks a rule fails then, and from then on every call repeats its error. Unlike a real one it notices what nobody should do: wild, freed and never written
//! memory, grids that are not the contract's, a free of what is not there, a call that a capture forbids. What the host does
//! wrong is kept in [`Device::misuses`]; what it does not give back shows in [`Device::live`].

pub mod memory;

use host::driver::{Driver, DriverError, DriverResult, EventHandle, Function, GraphHandle, Grid};
use kernels_gpu::abi::launch::KernelArgs;
use kernels_gpu::emulator::{EmulatedGrid, has_entry, run_addressed};
use memory::{Memory, Seen};
use scheduler::plan::StreamKind;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Dynamic shared memory of a block that needs no asking, and the most there is.
const SHARED_UNASKED: u32 = 48 << 10;
const SHARED_MOST: u32 = 227 << 10;

#[derive(Clone)]
struct Launch {
    function: usize,
    grid: Grid,
    arguments: Vec<u8>,
}

enum Work {
    Launch(Launch),
    Fill(u64, u8, u64),
    Event(usize),
    /// Nothing behind it is done before an event is reached.
    Hold(usize),
    /// Device address, pinned address and bytes: read or written when the copy is its turn, and no sooner.
    ToDevice(u64, usize, usize),
    ToHost(usize, u64, usize),
}

/// The streams of a driver.
#[derive(Default)]
struct Streams {
    launches: VecDeque<Work>,
    copies: VecDeque<Work>,
    /// The launches of a capture; a call that it forbids breaks it.
    capture: Option<Result<Vec<Launch>, String>>,
}

/// What is held of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    pub allocations: usize,
    pub bytes: u64,
    pub pinned: usize,
    pub graphs: usize,
    pub events: usize,
    pub streams: usize,
}

#[derive(Default)]
struct State {
    total: u64,
    memory: Memory,
    pinned: BTreeMap<usize, Box<[u8]>>,
    streams: BTreeMap<usize, Streams>,
    functions: Vec<(String, u32)>,
    graphs: BTreeMap<usize, Vec<Launch>>,
    /// Device time of an event that was reached; a freed one may still be awaited.
    events: BTreeMap<usize, Option<Duration>>,
    live_events: BTreeSet<usize>,
    /// What chooses between streams, and which of them is done for a while.
    random: u64,
    favours_copies: bool,
    next: usize,
    clock: Duration,
    lost: Option<String>,
    misuses: Vec<String>,
    n_run: u64,
    traps_at: Option<u64>,
    loses_store: Option<Cell<u64>>,
}

/// A device that several drivers, each with its streams, may share.
#[derive(Clone)]
pub struct Device(Arc<Mutex<State>>);

/// Streams of a device.
pub struct SimulatedDriver {
    device: Device,
    stream: usize,
}

impl fmt::Debug for SimulatedDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedDriver({})", self.stream)
    }
}

fn refused(call: &'static str, words: impl Into<String>) -> DriverError {
    DriverError { call, words: words.into(), out_of_memory: false }
}

impl Device {
    pub fn new(total: u64) -> Self {
        Self(Arc::new(Mutex::new(State { total, ..State::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A driver with streams of its own.
    pub fn open(&self) -> Arc<dyn Driver> {
        let mut state = self.lock();
        let stream = state.fresh();
        state.streams.insert(stream, Streams::default());
        Arc::new(SimulatedDriver { device: self.clone(), stream })
    }

    /// What nobody has given back yet.
    pub fn live(&self) -> Live {
        let state = self.lock();
        Live {
            allocations: state.memory.n_blocks(),
            bytes: state.memory.bytes(),
            pinned: state.pinned.values().map(|bytes| bytes.len()).sum(),
            graphs: state.graphs.len(),
            events: state.live_events.len(),
            streams: state.streams.len(),
        }
    }

    /// What the host did wrong.
    pub fn misuses(&self) -> Vec<String> {
        self.lock().misuses.clone()
    }

    /// Kernel functions that have run.
    pub fn n_run(&self) -> u64 {
        self.lock().n_run
    }

    /// Another order between streams.
    pub fn shuffle(&self, seed: u64) {
        self.lock().random = seed;
    }

    /// Fails the kernel function that runs as number `n` from now, counted from 0.
    pub fn trap_at(&self, n: u64) {
        let mut state = self.lock();
        state.traps_at = Some(state.n_run + n);
    }

    /// Loses store number `n` from now, counted from 0.
    pub fn lose_store(&self, n: u64) {
        self.lock().loses_store = Some(Cell::new(n));
    }
}

impl State {
    fn fresh(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn check(&self, call: &'static str) -> DriverResult<()> {
        match &self.lost {
            Some(words) => Err(refused(call, words.clone())),
            None => Ok(()),
        }
    }

    fn misuse(&mut self, call: &'static str, words: String) -> DriverError {
        self.misuses.push(format!("{call}: {words}"));
        refused(call, words)
    }

    /// Refuses what a capture forbids, which breaks the capture.
    fn outside_capture(&mut self, call: &'static str, stream: usize) -> DriverResult<()> {
        self.check(call)?;
        match self.streams.get_mut(&stream).and_then(|s| s.capture.as_mut()) {
            None => Ok(()),
            Some(capture) => {
                *capture = Err(call.to_owned());
                Err(self.misuse(call, "not while the stream is capturing".to_owned()))
            }
        }
    }

    /// Does what was submitted.
    fn drain(&mut self, call: &'static str, stream: usize) -> DriverResult<()> {
        self.drain_to(call, stream, None)
    }

    /// Does what was submitted before a mark, and no more: copies that nobody waits for stay where they are.
    fn drain_to(&mut self, call: &'static str, stream: usize, mark: Option<usize>) -> DriverResult<()> {
        self.outside_capture(call, stream)?;
        let reached = |s: &Self| mark.is_some_and(|mark| s.events.get(&mark).is_some_and(Option::is_some));
        while !reached(self)
            && let Some(work) = self.next(stream)
        {
            match work {
                Work::Hold(_) => {}
                Work::Launch(launch) => self.run(&launch),
                Work::Event(event) => {
                    let clock = self.clock;
                    if let Some(reached) = self.events.get_mut(&event) {
                        *reached = Some(clock);
                    }
                }
                Work::ToDevice(to, from, bytes) => {
                    let Self { memory, pinned, .. } = &mut *self;
                    let copied = part(pinned, from, bytes).and_then(|from| memory.copy_in(to, from));
                    if let Err(words) = copied {
                        self.lost.get_or_insert(words);
                    }
                }
                Work::ToHost(to, from, bytes) => {
                    let Self { memory, pinned, .. } = &mut *self;
                    let copied = part(pinned, to, bytes).and_then(|to| memory.copy_out(to, from));
                    if let Err(words) = copied {
                        self.lost.get_or_insert(words);
                    }
                }
                Work::Fill(to, byte, bytes) => {
                    if let Err(words) = self.memory.fill(to, byte, bytes) {
                        self.lost.get_or_insert(words);
                    }
                }
            }
            self.check(call)?;
        }
        let left = self.streams.get(&stream).map_or(0, |s| s.launches.len() + s.copies.len());
        if left > 0 && !reached(self) {
            return Err(self.misuse(call, "a stream waits for what never comes".to_owned()));
        }
        Ok(())
    }

    /// What is done next: of one stream for a while, then of another.
    fn next(&mut self, stream: usize) -> Option<Work> {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if (self.random >> 33).is_multiple_of(8) {
            self.favours_copies = self.random >> 40 & 1 == 1;
        }
        let Self { streams, events, favours_copies, .. } = self;
        let Streams { launches, copies, .. } = streams.get_mut(&stream)?;
        let is_ready = |queue: &VecDeque<Work>| match queue.front() {
            Some(Work::Hold(event)) => events.get(event).is_some_and(Option::is_some),
            front => front.is_some(),
        };
        let in_turn = if *favours_copies { [copies, launches] } else { [launches, copies] };
        in_turn.into_iter().find(|queue| is_ready(queue))?.pop_front()
    }

    fn run(&mut self, launch: &Launch) {
        let (n, traps_at) = (self.n_run, self.traps_at);
        self.n_run += 1;
        self.clock += Duration::from_micros(u64::from(launch.grid.blocks));
        let (entry, _) = &self.functions[launch.function];
        if traps_at == Some(n) {
            self.lost = Some(format!("{entry} trapped (injected)"));
            return;
        }
        let Grid { blocks, threads, shared_bytes } = launch.grid;
        let grid = EmulatedGrid { blocks, threads, shared_bytes };
        let args: KernelArgs = bytemuck::pod_read_unaligned(&launch.arguments);
        let seen = Seen::new(&mut self.memory, self.loses_store.as_ref());
        // SAFETY: `Seen` checks every access.
        unsafe { run_addressed(entry, Some(grid), &args, &seen) };
        if let Some(fault) = seen.fault() {
            self.lost = Some(format!("{entry}: {fault}"));
        }
    }

    fn stream(&mut self, stream: usize) -> &mut Streams {
        self.streams.entry(stream).or_default()
    }

    fn queue(&mut self, stream: usize, kind: StreamKind) -> &mut VecDeque<Work> {
        let streams = self.stream(stream);
        match kind {
            StreamKind::Launches => &mut streams.launches,
            StreamKind::Copies => &mut streams.copies,
        }
    }
}

/// A part of pinned memory.
fn part(pinned: &mut BTreeMap<usize, Box<[u8]>>, at: usize, bytes: usize) -> Result<&mut [u8], String> {
    let below = pinned.range_mut(..=at).next_back();
    let found = below.and_then(|(start, block)| block.get_mut(at - start..)?.get_mut(..bytes));
    found.ok_or_else(|| format!("{bytes} bytes at {at:#x}: not pinned"))
}

impl Drop for SimulatedDriver {
    fn drop(&mut self) {
        let mut state = self.device.lock();
        let _ = state.drain("drop", self.stream);
        state.streams.remove(&self.stream);
    }
}

impl Driver for SimulatedDriver {
    fn fork(&self) -> DriverResult<Arc<dyn Driver>> {
        self.device.lock().check("fork")?;
        Ok(self.device.open())
    }

    fn device_name(&self) -> String {
        "simulated".to_owned()
    }

    fn memory(&self) -> DriverResult<(u64, u64)> {
        let state = self.device.lock();
        state.check("memory")?;
        Ok((state.total - state.memory.bytes(), state.total))
    }

    fn allocate(&self, bytes: u64) -> DriverResult<u64> {
        let mut state = self.device.lock();
        state.outside_capture("allocate", self.stream)?;
        if state.memory.bytes() + bytes > state.total {
            let words = "out of memory".to_owned();
            return Err(DriverError { call: "allocate", words, out_of_memory: true });
        }
        Ok(state.memory.allocate(bytes))
    }

    unsafe fn free(&self, address: u64) {
        let mut state = self.device.lock();
        let _ = state.drain("free", self.stream);
        if let Err(words) = state.memory.free(address) {
            state.misuse("free", words);
        }
    }

    unsafe fn copy_to_device(&self, to: u64, from: &[u8]) -> DriverResult<()> {
        let mut state = self.device.lock();
        state.drain("copy to device", self.stream)?;
        let copied = state.memory.copy_in(to, from);
        copied.map_err(|words| state.misuse("copy to device", words))
    }

    unsafe fn copy_to_host(&self, to: &mut [u8], from: u64) -> DriverResult<()> {
        let mut state = self.device.lock();
        state.drain("copy to host", self.stream)?;
        let copied = state.memory.copy_out(to, from);
        copied.map_err(|words| state.misuse("copy to host", words))
    }

    fn allocate_pinned(&self, bytes: usize) -> DriverResult<NonNull<u8>> {
        let mut state = self.device.lock();
        state.outside_capture("allocate pinned", self.stream)?;
        let mut block = vec![0xEF; bytes].into_boxed_slice();
        let start = NonNull::from(&mut *block).cast::<u8>();
        state.pinned.insert(start.as_ptr() as usize, block);
        Ok(start)
    }

    unsafe fn free_pinned(&self, start: NonNull<u8>) {
        let mut state = self.device.lock();
        let _ = state.drain("free pinned", self.stream);
        if state.pinned.remove(&(start.as_ptr() as usize)).is_none() {
            state.misuse("free pinned", format!("{start:?} is not pinned"));
        }
    }

    unsafe fn submit_to_device(
        &self,
        stream: StreamKind,
        to: u64,
        from: NonNull<u8>,
        bytes: usize,
    ) -> DriverResult<()> {
        let mut state = self.device.lock();
        state.outside_capture("submit to device", self.stream)?;
        let copy = Work::ToDevice(to, from.as_ptr() as usize, bytes);
        state.queue(self.stream, stream).push_back(copy);
        Ok(())
    }

    unsafe fn submit_to_host(
        &self,
        stream: StreamKind,
        to: NonNull<u8>,
        from: u64,
        bytes: usize,
    ) -> DriverResult<()> {
        let mut state = self.device.lock();
        state.outside_capture("submit to host", self.stream)?;
        let copy = Work::ToHost(to.as_ptr() as usize, from, bytes);
        state.queue(self.stream, stream).push_back(copy);
        Ok(())
    }

    fn wait(&self, event: EventHandle) -> DriverResult<()> {
        let mut state = self.device.lock();
        if !state.live_events.contains(&event.0) {
            return Err(state.misuse("wait", format!("no event {}", event.0)));
        }
        state.drain_to("wait", self.stream, Some(event.0))
    }

    unsafe fn fill(&self, to: u64, byte: u8, bytes: u64) -> DriverResult<()> {
        let mut state = self.device.lock();
        state.outside_capture("fill", self.stream)?;
        state.stream(self.stream).launches.push_back(Work::Fill(to, byte, bytes));
        Ok(())
    }

    fn function(&self, ptx: &'static str, entry: &str, shared_bytes: u32) -> DriverResult<Function> {
        let mut state = self.device.lock();
        state.check("function")?;
        if !ptx.contains(&format!(".visible .entry {entry}(")) || !has_entry(entry) {
            return Err(refused("function", format!("{entry}: named symbol not found")));
        }
        if shared_bytes > SHARED_MOST {
            let words = format!("{shared_bytes} bytes of shared memory, expected at most {SHARED_MOST}");
            return Err(state.misuse("function", words));
        }
        state.functions.push((entry.to_owned(), shared_bytes.max(SHARED_UNASKED)));
        Ok(Function(state.functions.len() - 1))
    }

    unsafe fn launch(&self, function: Function, grid: Grid, arguments: &[u8]) -> DriverResult<()> {
        let mut state = self.device.lock();
        state.check("launch")?;
        let Some((entry, most)) = state.functions.get(function.0).cloned() else {
            return Err(state.misuse("launch", format!("no function {}", function.0)));
        };
        let fits = grid.shared_bytes <= most && (1..=1024).contains(&grid.threads) && grid.blocks > 0;
        if !fits || arguments.len() != size_of::<KernelArgs>() {
            let words = format!("{entry}: {grid:?}, an argument of {} bytes", arguments.len());
            return Err(state.misuse("launch", words));
        }
        let launch = Launch { function: function.0, grid, arguments: arguments.to_vec() };
        let stream = state.stream(self.stream);
        match &mut stream.capture {
            Some(Ok(captured)) => captured.push(launch),
            Some(Err(words)) => return Err(refused("launch", format!("the capture is broken by {words}"))),
            None => stream.launches.push_back(Work::Launch(launch)),
        }
        Ok(())
    }

    fn synchronize(&self) -> DriverResult<()> {
        self.device.lock().drain("synchronize", self.stream)
    }

    fn begin_capture(&self) -> DriverResult<()> {
        let mut state = self.device.lock();
        state.outside_capture("begin capture", self.stream)?;
        state.stream(self.stream).capture = Some(Ok(Vec::new()));
        Ok(())
    }

    fn end_capture(&self) -> DriverResult<GraphHandle> {
        let mut state = self.device.lock();
        let captured = state.stream(self.stream).capture.take();
        state.check("end capture")?;
        match captured {
            Some(Ok(launches)) => {
                let handle = state.fresh();
                state.graphs.insert(handle, launches);
                Ok(GraphHandle(handle))
            }
            Some(Err(words)) => Err(refused("end capture", format!("the capture is broken by {words}"))),
            None => Err(state.misuse("end capture", "none was begun".to_owned())),
        }
    }

    unsafe fn launch_graph(&self, graph: GraphHandle) -> DriverResult<()> {
        let mut state = self.device.lock();
        state.outside_capture("launch graph", self.stream)?;
        let Some(launches) = state.graphs.get(&graph.0).cloned() else {
            return Err(state.misuse("launch graph", format!("no graph {}", graph.0)));
        };
        state.stream(self.stream).launches.extend(launches.into_iter().map(Work::Launch));
        Ok(())
    }

    unsafe fn free_graph(&self, graph: GraphHandle) {
        let mut state = self.device.lock();
        if state.graphs.remove(&graph.0).is_none() {
            state.misuse("free graph", format!("no graph {}", graph.0));
        }
    }

    fn record(&self, stream: StreamKind) -> DriverResult<EventHandle> {
        let mut state = self.device.lock();
        state.outside_capture("record", self.stream)?;
        let event = state.fresh();
        state.events.insert(event, None);
        state.live_events.insert(event);
        state.queue(self.stream, stream).push_back(Work::Event(event));
        Ok(EventHandle(event))
    }

    fn hold(&self, stream: StreamKind, event: EventHandle) -> DriverResult<()> {
        let mut state = self.device.lock();
        state.outside_capture("hold", self.stream)?;
        if !state.live_events.contains(&event.0) {
            return Err(state.misuse("hold", format!("no event {}", event.0)));
        }
        state.queue(self.stream, stream).push_back(Work::Hold(event.0));
        Ok(())
    }

    fn elapsed(&self, from: EventHandle, to: EventHandle) -> DriverResult<Duration> {
        let mut state = self.device.lock();
        for mark in [from, to] {
            state.drain_to("elapsed", self.stream, Some(mark.0))?;
        }
        match (state.events.get(&from.0), state.events.get(&to.0)) {
            (Some(Some(from)), Some(Some(to))) => Ok(to.saturating_sub(*from)),
            _ => Err(state.misuse("elapsed", format!("events {} and {}", from.0, to.0))),
        }
    }

    unsafe fn free_event(&self, event: EventHandle) {
        let mut state = self.device.lock();
        if !state.live_events.remove(&event.0) {
            state.misuse("free event", format!("no event {}", event.0));
        }
    }
}

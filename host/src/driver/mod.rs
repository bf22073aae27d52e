//! What the room asks of an accelerator's driver: one device, a stream of launches and one of copies, memory, modules, launches, graphs.
//!
//! [`Driver`] is thin on purpose, so that another driver, or one that fails when a test wants it to, can stand
//! in. [`cuda`] is the one that computes. What is submitted to a stream is done in order; between the two, [`Driver::hold`] makes one wait
//! for a mark in the other. Launches, graphs and whatever names no stream are in that of launches; copies of pinned memory are only
//! submitted, other copies are waited for. Owners ([`DeviceMemory`], [`PinnedMemory`], [`Graph`],
//! [`Event`]) give back what they hold when they are dropped.

pub mod cuda;
mod pinned;

pub use pinned::PinnedMemory;

use scheduler::plan::StreamKind;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

/// A refusal of the driver, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverError {
    /// The call that failed.
    pub call: &'static str,
    /// Name and explanation.
    pub words: String,
    /// Whether memory ran out: the one refusal that is not an accident.
    pub out_of_memory: bool,
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.words)
    }
}

/// What every driver call returns.
pub type DriverResult<T> = Result<T, DriverError>;

/// A kernel function of a loaded module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function(pub usize);

/// A captured sequence of launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphHandle(pub usize);

/// A point in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHandle(pub usize);

/// Grid and block of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks.
    pub blocks: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory of a block, in bytes.
    pub shared_bytes: u32,
}

/// One device with its streams.
pub trait Driver: Send + Sync + fmt::Debug {
    /// The same device with streams of its own: what is submitted and captured here and there does not mix.
    ///
    /// # Errors
    /// The driver's.
    fn fork(&self) -> DriverResult<Arc<dyn Driver>>;

    /// The device in words.
    fn device_name(&self) -> String;

    /// Free and total bytes of the device.
    ///
    /// # Errors
    /// The driver's.
    fn memory(&self) -> DriverResult<(u64, u64)>;

    /// Allocates; the address is a multiple of 256.
    ///
    /// # Errors
    /// The driver's.
    fn allocate(&self, bytes: u64) -> DriverResult<u64>;

    /// Frees what [`Driver::allocate`] gave, after all that was submitted.
    ///
    /// # Safety
    /// Not freed before, and not used after.
    unsafe fn free(&self, address: u64);

    /// Copies to the device and waits for it.
    ///
    /// # Safety
    /// The device memory must be there.
    ///
    /// # Errors
    /// The driver's.
    unsafe fn copy_to_device(&self, to: u64, from: &[u8]) -> DriverResult<()>;

    /// Copies from the device and waits for it.
    ///
    /// # Safety
    /// The device memory must be there.
    ///
    /// # Errors
    /// The driver's.
    unsafe fn copy_to_host(&self, to: &mut [u8], from: u64) -> DriverResult<()>;

    /// Allocates host memory that the device copies to and from by itself.
    ///
    /// # Errors
    /// The driver's.
    fn allocate_pinned(&self, bytes: usize) -> DriverResult<NonNull<u8>>;

    /// Frees what [`Driver::allocate_pinned`] gave, after all that was submitted.
    ///
    /// # Safety
    /// Not freed before, and not used after.
    unsafe fn free_pinned(&self, start: NonNull<u8>);

    /// Submits a copy to the device to a stream and does not wait.
    ///
    /// # Safety
    /// `from` is pinned memory that is there, and is not written, until the copy is done; so is the device memory.
    ///
    /// # Errors
    /// The driver's.
    unsafe fn submit_to_device(
        &self,
        stream: StreamKind,
        to: u64,
        from: NonNull<u8>,
        bytes: usize,
    ) -> DriverResult<()>;

    /// Submits a copy from the device to a stream and does not wait.
    ///
    /// # Safety
    /// `to` is pinned memory that is there, and is not touched, until the copy is done; so is the device memory.
    ///
    /// # Errors
    /// The driver's.
    unsafe fn submit_to_host(
        &self,
        stream: StreamKind,
        to: NonNull<u8>,
        from: u64,
        bytes: usize,
    ) -> DriverResult<()>;

    /// Waits until a mark is reached.
    ///
    /// # Errors
    /// The driver's.
    fn wait(&self, event: EventHandle) -> DriverResult<()>;

    /// Sets every byte.
    ///
    /// # Safety
    /// The device memory must be there.
    ///
    /// # Errors
    /// The driver's.
    unsafe fn fill(&self, to: u64, byte: u8, bytes: u64) -> DriverResult<()>;

    /// Compiles PTX, once for each text, and finds a function in it. More than 48 KiB of shared memory is asked for
    /// here.
    ///
    /// # Errors
    /// The driver's, for one that a driver too old gives see [`cuda`].
    fn function(&self, ptx: &'static str, entry: &str, shared_bytes: u32) -> DriverResult<Function>;

    /// Submits a launch; `arguments` is the kernel's one argument, by value.
    ///
    /// # Safety
    /// The kernel must do with these arguments what it may with the device's memory.
    ///
    /// # Errors
    /// The driver's.
    unsafe fn launch(&self, function: Function, grid: Grid, arguments: &[u8]) -> DriverResult<()>;

    /// Waits for everything submitted, in both streams.
    ///
    /// # Errors
    /// The driver's, and those of kernels.
    fn synchronize(&self) -> DriverResult<()>;

    /// Collects launches instead of running them.
    ///
    /// # Errors
    /// The driver's.
    fn begin_capture(&self) -> DriverResult<()>;

    /// Ends a capture; the launches since its begin can be replayed.
    ///
    /// # Errors
    /// The driver's, among them that a launch in the capture failed; the capture is over all the same.
    fn end_capture(&self) -> DriverResult<GraphHandle>;

    /// Submits a graph.
    ///
    /// # Safety
    /// As for each of its launches.
    ///
    /// # Errors
    /// The driver's.
    unsafe fn launch_graph(&self, graph: GraphHandle) -> DriverResult<()>;

    /// Frees a graph.
    ///
    /// # Safety
    /// Not freed before, and not used after.
    unsafe fn free_graph(&self, graph: GraphHandle);

    /// Marks the present end of a stream.
    ///
    /// # Errors
    /// The driver's.
    fn record(&self, stream: StreamKind) -> DriverResult<EventHandle>;

    /// What is submitted to a stream from now on comes after a mark. Does not wait; the mark may be freed at once.
    ///
    /// # Errors
    /// The driver's.
    fn hold(&self, stream: StreamKind, event: EventHandle) -> DriverResult<()>;

    /// Device time between two marks. Waits for the second.
    ///
    /// # Errors
    /// The driver's, and those of kernels.
    fn elapsed(&self, from: EventHandle, to: EventHandle) -> DriverResult<Duration>;

    /// Frees a mark.
    ///
    /// # Safety
    /// Not freed before, and not used after.
    unsafe fn free_event(&self, event: EventHandle);
}

/// Device memory with an owner.
#[derive(Debug)]
pub struct DeviceMemory {
    driver: Arc<dyn Driver>,
    address: u64,
    bytes: u64,
}

impl DeviceMemory {
    /// Allocates.
    ///
    /// # Errors
    /// The driver's.
    pub fn new(driver: &Arc<dyn Driver>, bytes: u64) -> DriverResult<Self> {
        let address = driver.allocate(bytes)?;
        Ok(Self { driver: Arc::clone(driver), address, bytes })
    }

    /// Allocates and fills.
    ///
    /// # Errors
    /// The driver's.
    pub fn from_bytes(driver: &Arc<dyn Driver>, bytes: &[u8]) -> DriverResult<Self> {
        let mut memory = Self::new(driver, bytes.len() as u64)?;
        memory.write(0, bytes)?;
        Ok(memory)
    }

    /// The address of the first byte.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn check(&self, call: &'static str, offset: u64, len: u64) -> DriverResult<()> {
        if offset.checked_add(len).is_some_and(|end| end <= self.bytes) {
            return Ok(());
        }
        let words = format!("bytes {offset} + {len}, expected within {}", self.bytes);
        Err(DriverError { call, words, out_of_memory: false })
    }

    /// Copies into it.
    ///
    /// # Errors
    /// The driver's, and a range outside.
    pub fn write(&mut self, offset: u64, from: &[u8]) -> DriverResult<()> {
        self.check("write", offset, from.len() as u64)?;
        // SAFETY: within memory that this owns.
        unsafe { self.driver.copy_to_device(self.address + offset, from) }
    }

    /// Copies out of it.
    ///
    /// # Errors
    /// The driver's, and a range outside.
    pub fn read(&self, offset: u64, to: &mut [u8]) -> DriverResult<()> {
        self.check("read", offset, to.len() as u64)?;
        // SAFETY: within memory that this owns.
        unsafe { self.driver.copy_to_host(to, self.address + offset) }
    }

    /// Sets every byte of a range.
    ///
    /// # Errors
    /// The driver's, and a range outside.
    pub fn fill(&mut self, offset: u64, byte: u8, len: u64) -> DriverResult<()> {
        self.check("fill", offset, len)?;
        // SAFETY: within memory that this owns.
        unsafe { self.driver.fill(self.address + offset, byte, len) }
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        // SAFETY: allocated by `new`, and nobody has it any more.
        unsafe { self.driver.free(self.address) };
    }
}

/// A captured graph with an owner.
#[derive(Debug)]
pub struct Graph {
    driver: Arc<dyn Driver>,
    handle: GraphHandle,
}

impl Graph {
    /// Captures what `submit` launches.
    ///
    /// # Errors
    /// The driver's, and those of `submit`; in both cases nothing is being captured any more.
    pub fn capture(
        driver: &Arc<dyn Driver>,
        submit: impl FnOnce() -> DriverResult<()>,
    ) -> DriverResult<Self> {
        driver.begin_capture()?;
        let submitted = submit();
        let captured = driver.end_capture();
        match (submitted, captured) {
            (Ok(()), Ok(handle)) => Ok(Self { driver: Arc::clone(driver), handle }),
            (Err(error), Ok(handle)) => {
                // SAFETY: captured just now, used by nobody.
                unsafe { driver.free_graph(handle) };
                Err(error)
            }
            // That the capture is broken is no news then.
            (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(error),
        }
    }

    /// Submits it.
    ///
    /// # Safety
    /// As for each of its launches.
    ///
    /// # Errors
    /// The driver's.
    pub unsafe fn launch(&self) -> DriverResult<()> {
        // SAFETY: the caller's promise; the handle is alive.
        unsafe { self.driver.launch_graph(self.handle) }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: captured by `capture`, and nobody has it any more.
        unsafe { self.driver.free_graph(self.handle) };
    }
}

/// A mark in a stream with an owner.
#[derive(Debug)]
pub struct Event {
    driver: Arc<dyn Driver>,
    handle: EventHandle,
}

impl Event {
    /// Marks the present end of a stream.
    ///
    /// # Errors
    /// The driver's.
    pub fn record(driver: &Arc<dyn Driver>, stream: StreamKind) -> DriverResult<Self> {
        let handle = driver.record(stream)?;
        Ok(Self { driver: Arc::clone(driver), handle })
    }

    /// Device time up to a later mark, which is waited for.
    ///
    /// # Errors
    /// The driver's, and those of kernels.
    pub fn elapsed(&self, to: &Self) -> DriverResult<Duration> {
        self.driver.elapsed(self.handle, to.handle)
    }

    /// What is submitted to a stream from now on comes after it.
    ///
    /// # Errors
    /// The driver's.
    pub fn hold(&self, stream: StreamKind) -> DriverResult<()> {
        self.driver.hold(stream, self.handle)
    }

    /// Waits until it is reached.
    ///
    /// # Errors
    /// The driver's, and those of kernels.
    pub fn wait(&self) -> DriverResult<()> {
        self.driver.wait(self.handle)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: recorded by `record`, and nobody has it any more.
        unsafe { self.driver.free_event(self.handle) };
    }
}

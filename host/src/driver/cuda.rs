//! The driver of NVIDIA devices, through `cudarc` (ADR 0002). It is loaded at run time: without one, opening a
//! device is an ordinary error.

mod roofs;

pub use roofs::Roofs;

use super::{Driver, DriverError, DriverResult, EventHandle, Function, GraphHandle, Grid};
use cudarc::driver::result::{self, ctx, device, event, graph, module, primary_ctx, stream};
use cudarc::driver::sys;
use kernels_gpu::ptx::{OVERLAP_FROM, for_capability};
use scheduler::plan::StreamKind;
use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A device with its primary context and the modules that were loaded.
#[derive(Debug)]
struct Device {
    name: String,
    /// Compute capability, the major version.
    capability: i32,
    /// Whether a launch may start before the one before it has ended. Our kernels wait for that themselves.
    overlaps: bool,
    device: sys::CUdevice,
    context: sys::CUcontext,
    /// Modules by the address of their PTX text.
    modules: Mutex<BTreeMap<usize, usize>>,
}

/// Streams of a device.
#[derive(Debug)]
pub struct CudaDriver {
    device: Arc<Device>,
    /// Of launches, and of all that names no stream.
    stream: sys::CUstream,
    copies: sys::CUstream,
}

// SAFETY: handles of the driver, which may be used from any thread that has made the context current, and every
// method does.
unsafe impl Send for Device {}
// SAFETY: as above; the driver locks for itself.
unsafe impl Sync for Device {}

// SAFETY: handles of the driver, which may be used from any thread that has made the context current, and every
// method does.
unsafe impl Send for CudaDriver {}
// SAFETY: as above; the driver locks for itself.
unsafe impl Sync for CudaDriver {}

fn wrong(call: &'static str) -> impl Fn(result::DriverError) -> DriverError {
    move |error| {
        let text = |words: Result<&std::ffi::CStr, _>| {
            words.map_or_else(|_| format!("code {}", error.0 as u32), |w| w.to_string_lossy().into_owned())
        };
        let words = format!("{} ({})", text(error.error_string()), text(error.error_name()));
        DriverError { call, words, out_of_memory: error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY }
    }
}

/// The oldest driver whose compiler takes PTX 8.0, as it counts itself: 1000 times the CUDA version.
const OLDEST_DRIVER: i32 = 12_000;

/// The oldest driver that captures programmatic launches into graphs.
const OLDEST_OVERLAP: i32 = 12_030;

/// The driver's version, as it counts itself.
fn driver_version() -> DriverResult<i32> {
    let mut version = 0;
    // SAFETY: writes the number; it may be called before `cuInit`.
    let asked = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    asked.result().map_err(wrong("cuDriverGetVersion"))?;
    Ok(version)
}

/// Refuses a driver that is too old for the kernels, before it is asked for what it may not have.
fn check_driver_version(found: i32) -> DriverResult<()> {
    if found >= OLDEST_DRIVER {
        return Ok(());
    }
    let (major, minor) = (found / 1000, found % 1000 / 10);
    let words =
        format!("the driver is too old: it is for CUDA {major}.{minor}, expected 12.0 or later (driver 525)");
    Err(plain("cuDriverGetVersion", words))
}

/// Refuses a device that is not there.
fn check_ordinal(ordinal: u32, count: u32) -> DriverResult<()> {
    match count {
        0 => Err(plain("open", "the driver finds no device")),
        1 if ordinal > 0 => Err(plain("open", format!("device {ordinal}, expected 0, the only one"))),
        _ if ordinal >= count => Err(plain("open", format!("device {ordinal}, expected 0 to {}", count - 1))),
        _ => Ok(()),
    }
}

/// What to do about a module that does not load.
fn advice(code: sys::CUresult) -> &'static str {
    match code {
        sys::CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => {
            ": the driver is too old for PTX 8.0, expected driver 525 or later"
        }
        sys::CUresult::CUDA_ERROR_JIT_COMPILER_NOT_FOUND => {
            ": the driver's PTX compiler (libnvidia-ptxjitcompiler) is not installed"
        }
        sys::CUresult::CUDA_ERROR_JIT_COMPILATION_DISABLED => {
            ": the driver is told not to compile, expected CUDA_DISABLE_PTX_JIT unset"
        }
        _ => "",
    }
}

fn plain(call: &'static str, words: impl Into<String>) -> DriverError {
    DriverError { call, words: words.into(), out_of_memory: false }
}

impl CudaDriver {
    /// Number of devices.
    ///
    /// # Errors
    /// No driver on this machine, one that is too old, or one that does not start.
    pub fn device_count() -> DriverResult<u32> {
        // SAFETY: only looks whether the library can be opened.
        if !unsafe { sys::is_culib_present() } {
            return Err(plain("load", "no NVIDIA driver is installed (libcuda was not found)"));
        }
        check_driver_version(driver_version()?)?;
        result::init().map_err(wrong("cuInit"))?;
        let count = device::get_count().map_err(wrong("cuDeviceGetCount"))?;
        Ok(u32::try_from(count).unwrap_or(0))
    }

    /// Opens a device.
    ///
    /// # Errors
    /// Those of [`Self::device_count`], no such device, and a device older than compute capability 8.0, for which the
    /// kernels are not compiled.
    pub fn open(ordinal: u32) -> DriverResult<Self> {
        let count = Self::device_count()?;
        check_ordinal(ordinal, count)?;
        let device = device::get(ordinal as i32).map_err(wrong("cuDeviceGet"))?;
        let name = device::get_name(device).map_err(wrong("cuDeviceGetName"))?;
        let attribute = |which| {
            // SAFETY: a device that the driver gave.
            unsafe { device::get_attribute(device, which) }.map_err(wrong("cuDeviceGetAttribute"))
        };
        let major = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        if major < 8 {
            return Err(plain(
                "open",
                format!("{name} has compute capability {major}.{minor}, expected at least 8.0"),
            ));
        }
        // SAFETY: a device that the driver gave; released when `Device` is dropped.
        let context = unsafe { primary_ctx::retain(device) }.map_err(wrong("cuDevicePrimaryCtxRetain"))?;
        let overlaps = major >= OVERLAP_FROM && driver_version()? >= OLDEST_OVERLAP;
        let modules = Mutex::default();
        Self::on(Arc::new(Device { name, capability: major, overlaps, device, context, modules }))
    }

    fn on(device: Arc<Device>) -> DriverResult<Self> {
        device.bind()?;
        let create = || stream::create(stream::StreamKind::NonBlocking).map_err(wrong("cuStreamCreate"));
        let stream = create()?;
        let copies = create().inspect_err(|_| {
            // SAFETY: created just now, used by nobody.
            let _ = unsafe { stream::destroy(stream) };
        })?;
        Ok(Self { device, stream, copies })
    }

    fn of(&self, stream: StreamKind) -> sys::CUstream {
        match stream {
            StreamKind::Launches => self.stream,
            StreamKind::Copies => self.copies,
        }
    }

    /// Waits for both streams; the first error.
    fn wait_for_all(&self) -> Result<(), result::DriverError> {
        // SAFETY: this driver's streams.
        let waited = [self.stream, self.copies].map(|stream| unsafe { stream::synchronize(stream) });
        waited.into_iter().collect()
    }

    fn bind(&self) -> DriverResult<()> {
        self.device.bind()
    }
}

impl Device {
    fn bind(&self) -> DriverResult<()> {
        // SAFETY: retained as long as `self` lives.
        unsafe { ctx::set_current(self.context) }.map_err(wrong("cuCtxSetCurrent"))
    }

    fn module(&self, ptx: &'static str) -> DriverResult<sys::CUmodule> {
        let mut modules = self.modules.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(&module) = modules.get(&(ptx.as_ptr() as usize)) {
            return Ok(module as sys::CUmodule);
        }
        let lines: Vec<&str> = for_capability(ptx, self.capability).collect();
        let text = CString::new(lines.join("\n")).map_err(|e| plain("cuModuleLoadData", e.to_string()))?;
        // SAFETY: a text that ends with zero.
        let module = unsafe { module::load_data(text.as_ptr().cast::<c_void>()) }.map_err(|e| {
            let mut error = wrong("cuModuleLoadData")(e);
            error.words.push_str(advice(e.0));
            error
        })?;
        modules.insert(ptx.as_ptr() as usize, module as usize);
        Ok(module)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let bound = self.bind().is_ok();
        let modules = self.modules.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        // SAFETY: all of these are this device's own, and no stream is left. What fails here fails because the device is
        // lost, and then there is nothing to give back.
        unsafe {
            for &module in modules.values().filter(|_| bound) {
                let _ = module::unload(module as sys::CUmodule);
            }
            let _ = primary_ctx::release(self.device);
        }
    }
}

impl Drop for CudaDriver {
    fn drop(&mut self) {
        if self.bind().is_ok() {
            let _ = self.wait_for_all();
            // SAFETY: this driver's own streams, waited for.
            let _ = unsafe { (stream::destroy(self.stream), stream::destroy(self.copies)) };
        }
    }
}

impl Driver for CudaDriver {
    fn fork(&self) -> DriverResult<Arc<dyn Driver>> {
        Ok(Arc::new(Self::on(Arc::clone(&self.device))?))
    }

    fn device_name(&self) -> String {
        self.device.name.clone()
    }

    fn memory(&self) -> DriverResult<(u64, u64)> {
        self.bind()?;
        let (free, total) = result::mem_get_info().map_err(wrong("cuMemGetInfo"))?;
        Ok((free as u64, total as u64))
    }

    fn allocate(&self, bytes: u64) -> DriverResult<u64> {
        self.bind()?;
        let bytes = usize::try_from(bytes.max(1)).map_err(|e| plain("cuMemAlloc", e.to_string()))?;
        // SAFETY: freed by `free`; not read before it is written, for what it holds is bytes.
        unsafe { result::malloc_sync(bytes) }.map_err(wrong("cuMemAlloc"))
    }

    unsafe fn free(&self, address: u64) {
        if self.bind().is_ok() {
            // SAFETY: the caller's promise. `cuMemFree` is not said to wait for a stream that does not block, so this does.
            let _ = (self.wait_for_all(), unsafe { result::free_sync(address) });
        }
    }

    unsafe fn copy_to_device(&self, to: u64, from: &[u8]) -> DriverResult<()> {
        self.bind()?;
        // SAFETY: the caller's promise; `from` lives until the stream has been waited for.
        unsafe { result::memcpy_htod_async(to, from, self.stream) }.map_err(wrong("cuMemcpyHtoD"))?;
        self.synchronize()
    }

    unsafe fn copy_to_host(&self, to: &mut [u8], from: u64) -> DriverResult<()> {
        self.bind()?;
        // SAFETY: the caller's promise; `to` lives until the stream has been waited for.
        unsafe { result::memcpy_dtoh_async(to, from, self.stream) }.map_err(wrong("cuMemcpyDtoH"))?;
        self.synchronize()
    }

    fn allocate_pinned(&self, bytes: usize) -> DriverResult<NonNull<u8>> {
        self.bind()?;
        // SAFETY: freed by `free_pinned`; whoever asked for it writes it before it is read.
        let start = unsafe { result::malloc_host(bytes.max(1), sys::CU_MEMHOSTALLOC_PORTABLE) };
        let start = start.map_err(wrong("cuMemHostAlloc"))?;
        NonNull::new(start.cast()).ok_or_else(|| plain("cuMemHostAlloc", "gave no address"))
    }

    unsafe fn free_pinned(&self, start: NonNull<u8>) {
        if self.bind().is_ok() {
            // SAFETY: the caller's promise; a device that is lost copies no more.
            let _ = (self.wait_for_all(), unsafe { result::free_host(start.as_ptr().cast()) });
        }
    }

    unsafe fn submit_to_device(
        &self,
        stream: StreamKind,
        to: u64,
        from: NonNull<u8>,
        bytes: usize,
    ) -> DriverResult<()> {
        self.bind()?;
        // SAFETY: the caller's promise.
        unsafe {
            let from = std::slice::from_raw_parts(from.as_ptr(), bytes);
            result::memcpy_htod_async(to, from, self.of(stream))
        }
        .map_err(wrong("cuMemcpyHtoDAsync"))
    }

    unsafe fn submit_to_host(
        &self,
        stream: StreamKind,
        to: NonNull<u8>,
        from: u64,
        bytes: usize,
    ) -> DriverResult<()> {
        self.bind()?;
        // SAFETY: the caller's promise.
        unsafe {
            let to = std::slice::from_raw_parts_mut(to.as_ptr(), bytes);
            result::memcpy_dtoh_async(to, from, self.of(stream))
        }
        .map_err(wrong("cuMemcpyDtoHAsync"))
    }

    fn wait(&self, event: EventHandle) -> DriverResult<()> {
        self.bind()?;
        // SAFETY: an event that `record` gave and that is not freed.
        unsafe { event::synchronize(event.0 as sys::CUevent) }.map_err(wrong("cuEventSynchronize"))
    }

    unsafe fn fill(&self, to: u64, byte: u8, bytes: u64) -> DriverResult<()> {
        self.bind()?;
        // SAFETY: the caller's promise.
        unsafe { result::memset_d8_async(to, byte, bytes as usize, self.stream) }.map_err(wrong("cuMemsetD8"))
    }

    fn function(&self, ptx: &'static str, entry: &str, shared_bytes: u32) -> DriverResult<Function> {
        self.bind()?;
        let module = self.device.module(ptx)?;
        let name = CString::new(entry).map_err(|e| plain("cuModuleGetFunction", e.to_string()))?;
        // SAFETY: a module of this driver.
        let function = unsafe { module::get_function(module, name) }.map_err(|e| {
            let error = wrong("cuModuleGetFunction")(e);
            DriverError { words: format!("{entry}: {}", error.words), ..error }
        })?;
        if shared_bytes > 48 << 10 {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function that was found.
            unsafe { result::function::set_function_attribute(function, attribute, shared_bytes as i32) }
                .map_err(wrong("cuFuncSetAttribute"))?;
        }
        Ok(Function(function as usize))
    }

    unsafe fn launch(&self, function: Function, grid: Grid, arguments: &[u8]) -> DriverResult<()> {
        self.bind()?;
        let mut parameters = [arguments.as_ptr().cast_mut().cast::<c_void>()];
        let function = function.0 as sys::CUfunction;
        let mut overlap = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: grid.blocks,
            gridDimY: 1,
            gridDimZ: 1,
            blockDimX: grid.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: grid.shared_bytes,
            hStream: self.stream,
            attrs: &raw mut overlap,
            numAttrs: u32::from(self.device.overlaps),
        };
        // SAFETY: the caller's promise; the driver copies the argument before it returns.
        let launched = unsafe {
            sys::cuLaunchKernelEx(&raw const config, function, parameters.as_mut_ptr(), std::ptr::null_mut())
        };
        launched.result().map_err(wrong("cuLaunchKernelEx"))
    }

    fn synchronize(&self) -> DriverResult<()> {
        self.bind()?;
        self.wait_for_all().map_err(wrong("cuStreamSynchronize"))
    }

    fn begin_capture(&self) -> DriverResult<()> {
        self.bind()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: this driver's stream.
        unsafe { stream::begin_capture(self.stream, mode) }.map_err(wrong("cuStreamBeginCapture"))
    }

    fn end_capture(&self) -> DriverResult<GraphHandle> {
        self.bind()?;
        // SAFETY: this driver's stream, and a graph of which only the executable form is kept.
        unsafe {
            let captured = stream::end_capture(self.stream).map_err(wrong("cuStreamEndCapture"))?;
            let exec = graph::instantiate(captured, sys::CUgraphInstantiate_flags(0));
            let _ = graph::destroy(captured);
            exec.map(|e| GraphHandle(e as usize)).map_err(wrong("cuGraphInstantiate"))
        }
    }

    unsafe fn launch_graph(&self, graph: GraphHandle) -> DriverResult<()> {
        self.bind()?;
        // SAFETY: the caller's promise.
        unsafe { graph::launch(graph.0 as sys::CUgraphExec, self.stream) }.map_err(wrong("cuGraphLaunch"))
    }

    unsafe fn free_graph(&self, graph: GraphHandle) {
        if self.bind().is_ok() {
            // SAFETY: the caller's promise.
            let _ = unsafe { graph::exec_destroy(graph.0 as sys::CUgraphExec) };
        }
    }

    fn record(&self, stream: StreamKind) -> DriverResult<EventHandle> {
        self.bind()?;
        let event = event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map_err(wrong("cuEventCreate"))?;
        // SAFETY: an event and a stream of this driver; the event is given out or destroyed.
        unsafe {
            event::record(event, self.of(stream)).map_err(|e| {
                let _ = event::destroy(event);
                wrong("cuEventRecord")(e)
            })?;
        }
        Ok(EventHandle(event as usize))
    }

    fn hold(&self, stream: StreamKind, event: EventHandle) -> DriverResult<()> {
        self.bind()?;
        let (stream, event) = (self.of(stream), event.0 as sys::CUevent);
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: this driver's stream, and an event that `record` gave and that is not freed.
        unsafe { stream::wait_event(stream, event, flags) }.map_err(wrong("cuStreamWaitEvent"))
    }

    fn elapsed(&self, from: EventHandle, to: EventHandle) -> DriverResult<Duration> {
        self.bind()?;
        let (from, to) = (from.0 as sys::CUevent, to.0 as sys::CUevent);
        // SAFETY: events that `record` gave and that are not freed.
        let ms = unsafe {
            event::synchronize(to).map_err(wrong("cuEventSynchronize"))?;
            event::elapsed(from, to).map_err(wrong("cuEventElapsedTime"))?
        };
        Ok(Duration::from_secs_f64(f64::from(ms.max(0.0)) / 1e3))
    }

    unsafe fn free_event(&self, event: EventHandle) {
        if self.bind().is_ok() {
            // SAFETY: the caller's promise.
            let _ = unsafe { event::destroy(event.0 as sys::CUevent) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there() {
        let words = |ordinal, count| check_ordinal(ordinal, count).map_err(|e| e.words);
        assert_eq!(words(0, 0), Err("the driver finds no device".to_owned()));
        assert_eq!(words(1, 1), Err("device 1, expected 0, the only one".to_owned()));
        assert_eq!(words(4, 4), Err("device 4, expected 0 to 3".to_owned()));
        assert_eq!((words(0, 1), words(3, 4)), (Ok(()), Ok(())));
    }

    #[test]
    fn a_driver_that_is_too_old_is_told_so() {
        let words = "cuDriverGetVersion: the driver is too old: it is for CUDA 11.4, expected 12.0 or later (driver 525)";
        assert_eq!(check_driver_version(11_040).unwrap_err().to_string(), words);
        assert_eq!(check_driver_version(12_000), Ok(()));
        assert_eq!(check_driver_version(13_010), Ok(()));
        assert!(advice(sys::CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION).contains("expected driver 525"));
        assert!(advice(sys::CUresult::CUDA_ERROR_JIT_COMPILER_NOT_FOUND).contains("not installed"));
        assert_eq!(advice(sys::CUresult::CUDA_ERROR_INVALID_VALUE), "");
    }
}

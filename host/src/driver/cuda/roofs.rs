//! What a device can do at most: the figures that benches compare with.

use super::{CudaDriver, wrong};
use crate::driver::{DeviceMemory, Driver, DriverResult, Event};
use cudarc::driver::result::{self, device};
use cudarc::driver::sys::CUdevice_attribute;
use scheduler::plan::StreamKind;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of each side of the copy: far beyond any cache.
const COPY_BYTES: u64 = 1 << 30;
/// Copies of which the fastest counts, the first not.
const COPIES: usize = 10;
/// 32-bit integer multipliers of a multiprocessor, compute capability 8.0 to 9.0 (CUDA C++ Programming Guide, table of
/// arithmetic throughput).
const MULTIPLIERS: f64 = 64.0;

/// Memory and arithmetic at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roofs {
    /// Bytes a second that a copy within the device reads and writes, measured.
    pub copy: f64,
    /// Products of 32-bit words a second, nominal: multiprocessors, 64 multipliers each, at the highest clock.
    pub products: f64,
}

impl CudaDriver {
    /// Measures and computes the roofs.
    ///
    /// # Errors
    /// The driver's: out of memory where 2 GiB are not free.
    pub fn roofs(self: &Arc<Self>) -> DriverResult<Roofs> {
        let driver: Arc<dyn Driver> = Arc::clone(self) as Arc<dyn Driver>;
        let (mut to, from) =
            (DeviceMemory::new(&driver, COPY_BYTES)?, DeviceMemory::new(&driver, COPY_BYTES)?);
        to.fill(0, 0, COPY_BYTES)?;
        let mut fastest = Duration::MAX;
        for i in 0..=COPIES {
            let start = Event::record(&driver, StreamKind::Launches)?;
            // SAFETY: memory that is owned here, and the elapsed time is waited for.
            unsafe {
                result::memcpy_dtod_async(to.address(), from.address(), COPY_BYTES as usize, self.stream)
            }
            .map_err(wrong("cuMemcpyDtoD"))?;
            let time = start.elapsed(&Event::record(&driver, StreamKind::Launches)?)?;
            if i > 0 {
                fastest = fastest.min(time);
            }
        }
        let attribute = |which| {
            // SAFETY: the device that was opened.
            let value = unsafe { device::get_attribute(self.device.device, which) };
            value.map(f64::from).map_err(wrong("cuDeviceGetAttribute"))
        };
        let multiprocessors = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let kilohertz = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)?;
        Ok(Roofs {
            copy: 2.0 * COPY_BYTES as f64 / fastest.as_secs_f64(),
            products: multiprocessors * MULTIPLIERS * kilohertz * 1e3,
        })
    }
}

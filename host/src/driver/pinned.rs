//! Host memory that the device reaches without help: the host tier, and what transfers pass through.

use super::{DeviceMemory, Driver, DriverError, DriverResult};
use scheduler::plan::StreamKind;
use std::ptr::NonNull;
use std::sync::Arc;

/// Pinned host memory with an owner.
#[derive(Debug)]
pub struct PinnedMemory {
    driver: Arc<dyn Driver>,
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it owns its memory alone, and whoever reaches it answers for copies under way.
unsafe impl Send for PinnedMemory {}
// SAFETY: as above.
unsafe impl Sync for PinnedMemory {}

impl PinnedMemory {
    /// Allocates; all bytes are zero.
    ///
    /// # Errors
    /// The driver's.
    pub fn new(driver: &Arc<dyn Driver>, bytes: u64) -> DriverResult<Self> {
        let words = |e: std::num::TryFromIntError| DriverError {
            call: "pinned memory",
            words: e.to_string(),
            out_of_memory: true,
        };
        let bytes = usize::try_from(bytes.max(1)).map_err(words)?;
        let start = driver.allocate_pinned(bytes)?;
        // SAFETY: allocated just now, of this size.
        unsafe { start.write_bytes(0, bytes) };
        Ok(Self { driver: Arc::clone(driver), start, bytes })
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Never: the size is at least 1.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The bytes.
    ///
    /// # Safety
    /// No copy into it is under way, nor will one be submitted while the result lives.
    pub unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: allocated and initialised by `new`; nobody writes, the caller says.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    /// The bytes, to write.
    ///
    /// # Safety
    /// No copy of it is under way.
    pub unsafe fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }

    /// The address of a part.
    fn part(&self, call: &'static str, offset: u64, len: u64) -> DriverResult<NonNull<u8>> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.bytes as u64);
        if !inside {
            let words = format!("bytes {offset} + {len}, expected within {}", self.bytes);
            return Err(DriverError { call, words, out_of_memory: false });
        }
        // SAFETY: within the allocation, as was just found.
        Ok(unsafe { self.start.add(offset as usize) })
    }
}

impl Drop for PinnedMemory {
    fn drop(&mut self) {
        // SAFETY: allocated by `new`, and nobody has it any more.
        unsafe { self.driver.free_pinned(self.start) };
    }
}

impl DeviceMemory {
    /// Submits a copy into it to a stream.
    ///
    /// # Errors
    /// The driver's, and a range outside.
    pub fn submit_from(
        &mut self,
        stream: StreamKind,
        offset: u64,
        from: &PinnedMemory,
        at: u64,
        len: u64,
    ) -> DriverResult<()> {
        self.check("submit to device", offset, len)?;
        let from = from.part("submit to device", at, len)?;
        // SAFETY: within memory that the two own; pinned memory waits for the streams before it goes.
        unsafe { self.driver.submit_to_device(stream, self.address + offset, from, len as usize) }
    }

    /// Submits a copy out of it to a stream.
    ///
    /// # Errors
    /// The driver's, and a range outside.
    pub fn submit_into(
        &self,
        stream: StreamKind,
        offset: u64,
        to: &mut PinnedMemory,
        at: u64,
        len: u64,
    ) -> DriverResult<()> {
        self.check("submit to host", offset, len)?;
        let to = to.part("submit to host", at, len)?;
        // SAFETY: as above.
        unsafe { self.driver.submit_to_host(stream, to, self.address + offset, len as usize) }
    }
}

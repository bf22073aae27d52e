//! The memory of a program on a device: a slab for the buffers of the device, pinned memory for those of the host
//! tier, a file, and the chunks through which other transfers pass. Transfers of the host are in the stream of launches, copies between
//! tiers in that of copies; the processor waits for both before it touches pinned memory.

use super::super::POISON;
use super::staging::{Failure, Staging};
use crate::check::CheckedPlan;
use crate::driver::{DeviceMemory, Driver, DriverError, PinnedMemory};
use crate::memory::{MemoryClass, MemoryReport};
use crate::tiers::SpillFile;
use scheduler::plan::{BufferId, CopyKind, DeviceIdx, RowCopy, StreamKind, Tier};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Buffers start at multiples of this: a sector of the L2 cache and more than any load.
const BUFFER_ALIGN: u64 = 256;

/// Where the buffers of a plan are.
#[derive(Debug)]
pub(super) struct Layout {
    row_bytes: u64,
    /// Tier and first byte in it, by buffer.
    places: Vec<(Tier, u64)>,
    pub(super) device_bytes: u64,
    host_bytes: u64,
    largest: u64,
}

impl Layout {
    pub(super) fn new(plan: &CheckedPlan) -> Self {
        let row_bytes = plan.plan().row_bytes() as u64;
        let mut layout = Self { row_bytes, places: Vec::new(), device_bytes: 0, host_bytes: 0, largest: 0 };
        let mut file_bytes = 0;
        for buffer in &plan.plan().buffers {
            let bytes = plan.buffer_bytes(buffer);
            layout.largest = layout.largest.max(bytes);
            let end = match buffer.tier {
                Tier::Device => &mut layout.device_bytes,
                Tier::Host => &mut layout.host_bytes,
                Tier::File => &mut file_bytes,
            };
            layout.places.push((buffer.tier, *end));
            *end += if buffer.tier == Tier::File { bytes } else { bytes.next_multiple_of(BUFFER_ALIGN) };
        }
        layout
    }

    /// Tier and first byte of a row.
    fn place(&self, buffer: BufferId, row: u32) -> (Tier, u64) {
        let (tier, start) = self.places.get(buffer.0 as usize).copied().unwrap_or((Tier::Device, 0));
        (tier, start + u64::from(row) * self.row_bytes)
    }
}

/// A tier that the plan uses and the program has not: never.
fn absent(tier: Tier) -> Failure {
    let words = format!("no memory in tier {}", tier.name());
    Failure::Device(DriverError { call: "place", words, out_of_memory: false })
}

/// What may be refused when a program is loaded, with its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Slab,
    Host(u64),
    Staging(u64),
}

/// What a program holds.
#[derive(Debug)]
pub(super) struct Memory {
    driver: Arc<dyn Driver>,
    layout: Layout,
    slab: DeviceMemory,
    host: Option<PinnedMemory>,
    file: Option<SpillFile>,
    staging: Mutex<Staging>,
}

impl Memory {
    /// Allocates in each tier.
    ///
    /// # Errors
    /// The driver's, with what was to be allocated.
    pub(super) fn new(
        driver: &Arc<dyn Driver>,
        layout: Layout,
        file: Option<SpillFile>,
    ) -> Result<Self, (Part, DriverError)> {
        let part = |part| move |error| (part, error);
        let slab = DeviceMemory::new(driver, layout.device_bytes).map_err(part(Part::Slab))?;
        let host = (layout.host_bytes > 0).then(|| PinnedMemory::new(driver, layout.host_bytes));
        let host = host.transpose().map_err(part(Part::Host(layout.host_bytes)))?;
        let chunk_bytes = Staging::chunk_bytes(layout.row_bytes, layout.largest);
        let staging = Staging::new(driver, chunk_bytes).map_err(part(Part::Staging(2 * chunk_bytes)))?;
        let (driver, staging) = (Arc::clone(driver), Mutex::new(staging));
        Ok(Self { driver, layout, slab, host, file, staging })
    }

    /// Address of a buffer on the device.
    pub(super) fn address(&self, buffer: BufferId) -> u64 {
        self.slab.address() + self.layout.place(buffer, 0).1
    }

    fn staging(&self) -> MutexGuard<'_, Staging> {
        // Its chunks are waited for before they are used, whatever happened to who held them.
        self.staging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes rows that were checked.
    pub(super) fn write(&mut self, buffer: BufferId, row: u32, bytes: &[u8]) -> Result<(), Failure> {
        let (tier, offset) = self.layout.place(buffer, row);
        match (tier, &mut self.host, &mut self.file) {
            (Tier::Device, ..) => {
                let staging = self.staging.get_mut().unwrap_or_else(PoisonError::into_inner);
                staging.upload(
                    StreamKind::Launches,
                    &mut self.slab,
                    offset,
                    bytes.len() as u64,
                    |range, chunk| {
                        chunk.copy_from_slice(&bytes[range.start as usize..range.end as usize]);
                        Ok(())
                    },
                )
            }
            (Tier::Host, Some(host), _) => {
                self.driver.synchronize()?;
                // SAFETY: what was submitted is over.
                let all = unsafe { host.bytes_mut() };
                all[offset as usize..][..bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
            (Tier::File, _, Some(file)) => Ok(file.write(offset / self.layout.row_bytes, bytes)?),
            _ => Err(absent(tier)),
        }
    }

    /// Reads rows that were checked.
    pub(super) fn read(&self, buffer: BufferId, rows: &Range<u32>) -> Result<Vec<u8>, Failure> {
        let (tier, offset) = self.layout.place(buffer, rows.start);
        let len = u64::from(rows.end - rows.start) * self.layout.row_bytes;
        let mut bytes = vec![0; len as usize];
        match (tier, &self.host, &self.file) {
            (Tier::Device, ..) => {
                self.staging().download(StreamKind::Launches, &self.slab, offset, len, |range, chunk| {
                    bytes[range.start as usize..range.end as usize].copy_from_slice(chunk);
                    Ok(())
                })?;
            }
            (Tier::Host, Some(host), _) => {
                self.driver.synchronize()?;
                // SAFETY: what was submitted is over, and `self` is borrowed, so nothing is submitted.
                let all = unsafe { host.bytes() };
                bytes.copy_from_slice(&all[offset as usize..][..len as usize]);
            }
            (Tier::File, _, Some(file)) => file.read(offset / self.layout.row_bytes, &mut bytes)?,
            _ => return Err(absent(tier)),
        }
        Ok(bytes)
    }

    /// Copies rows that were checked, in the stream of copies.
    pub(super) fn copy(&mut self, copy: &RowCopy, kind: CopyKind) -> Result<(), Failure> {
        let is_fetch = kind == CopyKind::Fetch;
        let (up, down) = if is_fetch { (copy.to, copy.from) } else { (copy.from, copy.to) };
        let (_, up) = self.layout.place(up.buffer, up.row);
        let (tier, down) = self.layout.place(down.buffer, down.row);
        let (stream, row_bytes) = (StreamKind::Copies, self.layout.row_bytes);
        let len = u64::from(copy.rows) * row_bytes;
        let staging = self.staging.get_mut().unwrap_or_else(PoisonError::into_inner);
        match (tier, &mut self.host, &mut self.file, is_fetch) {
            (Tier::Host, Some(host), _, true) => Ok(self.slab.submit_from(stream, up, host, down, len)?),
            (Tier::Host, Some(host), _, false) => Ok(self.slab.submit_into(stream, up, host, down, len)?),
            (Tier::File, _, Some(file), true) => {
                staging.upload(stream, &mut self.slab, up, len, |range, chunk| {
                    file.read((down + range.start) / row_bytes, chunk)
                })
            }
            (Tier::File, _, Some(file), false) => {
                staging.download(stream, &self.slab, up, len, |range, chunk| {
                    file.write((down + range.start) / row_bytes, chunk)
                })
            }
            _ => Err(absent(tier)),
        }
    }

    /// Overwrites a buffer with [`POISON`].
    pub(super) fn poison(&mut self, buffer: BufferId, rows: u32) -> Result<(), Failure> {
        if let (Tier::Device, offset) = self.layout.place(buffer, 0) {
            return Ok(self.slab.fill(offset, POISON, u64::from(rows) * self.layout.row_bytes)?);
        }
        let row = vec![POISON; self.layout.row_bytes as usize];
        (0..rows).try_for_each(|at| self.write(buffer, at, &row))
    }

    /// Planned and allocated bytes.
    pub(super) fn report(&self, plan: &CheckedPlan) -> MemoryReport {
        let mut report = MemoryReport::default();
        for buffer in &plan.plan().buffers {
            let planned = plan.buffer_bytes(buffer);
            let actual = planned.next_multiple_of(BUFFER_ALIGN);
            report.add(buffer.device, buffer.tier, MemoryClass::of(buffer.kind), planned, actual);
        }
        let staging = self.staging().bytes();
        report.add(DeviceIdx(0), Tier::Host, MemoryClass::Staging, staging, staging);
        report
    }
}

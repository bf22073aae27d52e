//! Transfers of memory that the device does not reach: inputs, outputs, keys, constants, the file tier. They pass
//! through two pinned chunks, one being filled or emptied while the other is copied, so nothing large needs a pinned
//! copy of its own.

use crate::driver::{DeviceMemory, Driver, DriverError, DriverResult, Event, PinnedMemory};
use crate::error::Error;
use scheduler::plan::StreamKind;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a chunk at most. At 25 GB/s a copy of it takes 0.2 ms, some twenty times the cost of submitting one.
const CHUNK_BYTES: u64 = 4 << 20;

/// What keeps a transfer from being done: the device, or the other side.
#[derive(Debug)]
pub(super) enum Failure {
    Device(DriverError),
    Host(Error),
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self::Device(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Host(error)
    }
}

/// A chunk and the mark after its last copy. A copy without a mark, because that was refused, is over before the error
/// is told: telling waits for the stream (`health`).
#[derive(Debug)]
struct Chunk {
    memory: PinnedMemory,
    copied: Option<Event>,
}

impl Chunk {
    fn wait(&mut self) -> DriverResult<()> {
        self.copied.take().map_or(Ok(()), |mark| mark.wait())
    }
}

/// Two chunks.
#[derive(Debug)]
pub(super) struct Staging {
    driver: Arc<dyn Driver>,
    chunks: [Chunk; 2],
    /// The chunk that was not used last, so that transfers of one row each overlap, too.
    next: usize,
    chunk_bytes: u64,
}

impl Staging {
    /// Bytes of a chunk: whole rows, for transfers of at most `largest` bytes.
    pub(super) fn chunk_bytes(row_bytes: u64, largest: u64) -> u64 {
        largest.min(CHUNK_BYTES.next_multiple_of(row_bytes)).max(row_bytes)
    }

    /// Allocates both.
    ///
    /// # Errors
    /// The driver's.
    pub(super) fn new(driver: &Arc<dyn Driver>, chunk_bytes: u64) -> DriverResult<Self> {
        let chunk = || Ok(Chunk { memory: PinnedMemory::new(driver, chunk_bytes)?, copied: None });
        Ok(Self { driver: Arc::clone(driver), chunks: [chunk()?, chunk()?], next: 0, chunk_bytes })
    }

    /// Bytes of both.
    pub(super) fn bytes(&self) -> u64 {
        2 * self.chunk_bytes
    }

    fn turn(&mut self) -> usize {
        let which = self.next;
        self.next = 1 - which;
        which
    }

    fn parts(&self, len: u64) -> impl Iterator<Item = Range<u64>> + use<> {
        let step = self.chunk_bytes;
        (0..len.div_ceil(step)).map(move |i| i * step..((i + 1) * step).min(len))
    }

    /// Fills device memory, in a stream, with what `fill` gives for each range. The last copies may be under way when it returns.
    pub(super) fn upload(
        &mut self,
        stream: StreamKind,
        to: &mut DeviceMemory,
        offset: u64,
        len: u64,
        mut fill: impl FnMut(Range<u64>, &mut [u8]) -> Result<(), Error>,
    ) -> Result<(), Failure> {
        for range in self.parts(len) {
            let which = self.turn();
            let chunk = &mut self.chunks[which];
            chunk.wait()?;
            let size = range.end - range.start;
            // SAFETY: its last copy was waited for.
            let bytes = unsafe { chunk.memory.bytes_mut() };
            fill(range.clone(), &mut bytes[..size as usize])?;
            to.submit_from(stream, offset + range.start, &chunk.memory, 0, size)?;
            chunk.copied = Some(Event::record(&self.driver, stream)?);
        }
        Ok(())
    }

    /// Gives device memory to `take`, range by range, as it is in a stream's turn.
    pub(super) fn download(
        &mut self,
        stream: StreamKind,
        from: &DeviceMemory,
        offset: u64,
        len: u64,
        mut take: impl FnMut(Range<u64>, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Failure> {
        let mut on_its_way: Option<(Range<u64>, usize)> = None;
        for range in self.parts(len) {
            let which = self.turn();
            let chunk = &mut self.chunks[which];
            chunk.wait()?;
            from.submit_into(stream, offset + range.start, &mut chunk.memory, 0, range.end - range.start)?;
            chunk.copied = Some(Event::record(&self.driver, stream)?);
            if let Some((earlier, which)) = on_its_way.replace((range, which)) {
                self.arrived(earlier, which, &mut take)?;
            }
        }
        match on_its_way {
            Some((range, which)) => self.arrived(range, which, &mut take),
            None => Ok(()),
        }
    }

    fn arrived(
        &mut self,
        range: Range<u64>,
        which: usize,
        take: &mut impl FnMut(Range<u64>, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Failure> {
        let chunk = &mut self.chunks[which];
        chunk.wait()?;
        let size = (range.end - range.start) as usize;
        // SAFETY: its last copy was waited for.
        let bytes = unsafe { chunk.memory.bytes() };
        Ok(take(range, &bytes[..size])?)
    }
}

//! Objects, and the parts of them that are on each device: [`scheduler::plan::Sharding`] says which rows.

use crate::backend::Instance;
use crate::error::{Error, Result};
use fhe_core::params::LimbIdx;
use scheduler::plan::{BufferId, DeviceIdx, Plan};

/// An object that is shared out by limbs: blocks of rows over a basis.
pub(super) struct Object<'a> {
    pub(super) basis: &'a [LimbIdx],
    pub(super) n_blocks: u32,
}

/// The rows of an object that a buffer holds, by their numbers in the object, and the number of all.
pub(super) fn rows_of(plan: &Plan, buffer: BufferId, object: &Object<'_>) -> (Vec<u32>, u32) {
    let device = plan.buffer(buffer).map_or(DeviceIdx(0), |b| b.device);
    let all = object.basis.len() as u32 * object.n_blocks;
    (plan.sharding().rows(device, object.basis, object.n_blocks), all)
}

/// Fills a buffer, all of it: with an object, or with the rows of it that are of the buffer's device.
pub(super) fn fill(
    instance: &mut dyn Instance,
    buffer: BufferId,
    chunks: &[&[u8]],
    object: Option<&Object<'_>>,
) -> Result<()> {
    let plan = instance.plan();
    let row_bytes = plan.plan().row_bytes();
    let len: usize = chunks.iter().map(|c| c.len()).sum();
    let found = (len / row_bytes) as u32;
    let (wanted, all) = match object {
        Some(object) => rows_of(plan.plan(), buffer, object),
        None => ((0..found).collect(), found),
    };
    let rows = plan.check_write(buffer, 0, wanted.len() * row_bytes)?;
    let expected = plan.plan().buffer(buffer).map_or(0, |b| b.rows);
    if rows.end != expected || found != all || !len.is_multiple_of(row_bytes) {
        let found = format!("{} rows, of {found}", rows.end);
        return Err(Error::BufferAccess {
            buffer: buffer.0,
            found,
            expected: format!("all {expected}, of {all}"),
        });
    }
    let (mut row, mut first) = (0, 0);
    let mut wanted = wanted.as_slice();
    for chunk in chunks {
        let end = first + (chunk.len() / row_bytes) as u32;
        // Rows that follow one another in the object do so in the buffer.
        while let Some(&start) = wanted.first().filter(|&&start| start < end) {
            let run = (start..end).zip(wanted).take_while(|&(a, &b)| a == b).count();
            let at = (start - first) as usize * row_bytes;
            instance.write(buffer, row, &chunk[at..at + run * row_bytes])?;
            row += run as u32;
            wanted = &wanted[run..];
        }
        first = end;
    }
    Ok(())
}

/// An output of which not all rows have come yet.
#[derive(Clone, Default)]
pub(super) struct Arriving {
    bytes: Vec<u8>,
    n_rows: u32,
}

impl Arriving {
    /// Whether some of its rows are there.
    pub(super) fn has_begun(&self) -> bool {
        self.n_rows > 0
    }

    /// Puts a buffer's rows in their places; all rows, once they are there.
    pub(super) fn take(
        &mut self,
        instance: &dyn Instance,
        buffer: BufferId,
        object: &Object<'_>,
    ) -> Result<Option<Vec<u8>>> {
        let plan = instance.plan().plan();
        let (row_bytes, found) = (plan.row_bytes(), plan.buffer(buffer).map_or(0, |b| b.rows));
        let (rows, all) = rows_of(plan, buffer, object);
        if found as usize != rows.len() {
            let (found, expected) = (format!("{found} rows"), format!("{} rows", rows.len()));
            return Err(Error::BufferAccess { buffer: buffer.0, found, expected });
        }
        let read = instance.read(buffer, 0..found)?;
        if found == all {
            return Ok(Some(read));
        }
        self.bytes.resize(all as usize * row_bytes, 0);
        for (bytes, row) in read.chunks_exact(row_bytes).zip(rows) {
            self.bytes[row as usize * row_bytes..][..row_bytes].copy_from_slice(bytes);
        }
        self.n_rows += found;
        if self.n_rows < all {
            return Ok(None);
        }
        Ok(Some(core::mem::take(self).bytes))
    }
}

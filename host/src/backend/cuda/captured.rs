//! What is kept of calls that were submitted together: their binding tables and, once captured, their launches.
//!
//! ```text
//! tables    one call behind the other, one address a slot
//! launch    (table of its call, items)      the address of the table is in the graph, the addresses in the table are not
//! ```
//!
//! So the same segments called in the same order with other buffers take the same graph: the tables are written first. Between the calls
//! of a graph nothing is written.

use crate::backend::Binding;
use crate::driver::{DeviceMemory, Driver, DriverResult, Graph};
use std::sync::Arc;

/// Bytes of an address.
const ADDRESS_BYTES: u64 = 8;

#[derive(Debug)]
pub(super) struct Captured {
    // Before the tables that it names.
    pub(super) graph: Option<Graph>,
    tables: DeviceMemory,
    /// What the tables hold; empty if a write failed.
    bases: Vec<u64>,
}

impl Captured {
    /// Tables that hold some addresses, and no graph yet.
    ///
    /// # Errors
    /// The driver's.
    pub(super) fn new(driver: &Arc<dyn Driver>, bases: Vec<u64>) -> DriverResult<Self> {
        let tables = DeviceMemory::from_bytes(driver, bytemuck::cast_slice(&bases))?;
        Ok(Self { graph: None, tables, bases })
    }

    /// Makes the tables hold other addresses, as many. What was submitted before has read them when they are written.
    ///
    /// # Errors
    /// The driver's.
    pub(super) fn bind(&mut self, bases: Vec<u64>) -> DriverResult<()> {
        if self.bases != bases {
            self.bases.clear();
            self.tables.write(0, bytemuck::cast_slice(&bases))?;
            self.bases = bases;
        }
        Ok(())
    }

    /// The address of the table of each call.
    pub(super) fn tables(&self, calls: &[Binding]) -> Vec<u64> {
        let sizes = calls.iter().map(|(_, bindings)| bindings.len() as u64 * ADDRESS_BYTES);
        let next = |end: &mut u64, bytes| Some(core::mem::replace(end, *end + bytes));
        sizes.scan(self.tables.address(), next).collect()
    }

    /// Bytes of the tables.
    pub(super) fn bytes(&self) -> u64 {
        self.tables.bytes()
    }
}

//! An NVIDIA device: the plan's launches as kernels compiled from the same bodies, each call captured once as a
//! graph and replayed.
//!
//! ```text
//! load    one slab for all buffers, the pool, the ring's tables, the functions that the plan names
//! call    binding table (one address a slot) and graph, made at the first call with these bindings
//! ```
//!
//! The pool, the tables and the binding tables are all that a kernel needs besides its argument, so a captured
//! segment serves any input, and a call with other buffers needs another table of a few bytes.

mod call;
mod health;
mod kernels;

use super::{Backend, Instance, POISON};
use crate::check::CheckedPlan;
use crate::driver::{DeviceMemory, Driver, DriverError, Graph};
use crate::error::{Error, Result};
use crate::memory::{Ledger, Limits, MemoryClass, MemoryReport, Reservation};
use crate::profile::Profile;
use call::Call;
use fhe_core::math::word::WordKind;
use health::Health;
use kernels::Kernels;
use kernels_gpu::abi::launch::{GPU_MAX_LOG_N, GPU_MIN_LOG_N};
use scheduler::plan::{BufferId, BufferKind, DeviceIdx, SegmentId, Tier};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Buffers start at multiples of this in the slab: a sector of the L2 cache and more than any load.
const BUFFER_ALIGN: u64 = 256;

/// One device.
#[derive(Debug)]
pub struct CudaBackend {
    driver: Arc<dyn Driver>,
    health: Arc<Health>,
    ledger: Arc<Ledger>,
}

impl CudaBackend {
    /// A backend on a device that a driver has opened. The device's size is a limit beside the given ones.
    ///
    /// # Errors
    /// [`Error::Driver`]; [`Error::DeviceLost`] for a device that this process has lost.
    pub fn new(driver: Arc<dyn Driver>, limits: Limits) -> Result<Self> {
        let what = "memory of the device";
        let refused = |e: DriverError| match driver.synchronize() {
            Ok(()) => driver_error(e, what),
            Err(_) => Error::DeviceLost { during: what.to_owned(), words: e.to_string() },
        };
        let (_, total) = driver.memory().map_err(refused)?;
        let machine = Some(limits.machine.map_or(total, |m| m.min(total)));
        Ok(Self { driver, health: Arc::default(), ledger: Ledger::new(Limits { machine, ..limits }) })
    }

    /// Bytes of the device that programs hold.
    pub fn memory_in_use(&self) -> u64 {
        self.ledger.in_use()
    }
}

fn driver_error(error: DriverError, during: &str) -> Error {
    Error::Driver { during: during.to_owned(), words: error.to_string() }
}

/// Refuses rings that no kernel is compiled for.
fn check_ring(plan: &CheckedPlan) -> Result<()> {
    let (word, log_n) = (plan.plan().word, plan.plan().log_n);
    let refuse =
        |what, expected: String, found: String| Err(Error::UnsupportedRing { what, expected, found });
    if word != WordKind::U32 {
        return refuse("word on a GPU", "32 bits".to_owned(), format!("{} bits", word.bits()));
    }
    if !(GPU_MIN_LOG_N..=GPU_MAX_LOG_N).contains(&log_n) {
        return refuse("log N on a GPU", format!("{GPU_MIN_LOG_N} to {GPU_MAX_LOG_N}"), log_n.to_string());
    }
    Ok(())
}

impl Backend for CudaBackend {
    fn name(&self) -> String {
        format!("cuda ({})", self.driver.device_name())
    }

    fn load(&self, plan: Arc<CheckedPlan>) -> Result<Box<dyn Instance>> {
        check_ring(&plan)?;
        let mut offsets = Vec::with_capacity(plan.plan().buffers.len());
        let mut slab_bytes = 0u64;
        for buffer in &plan.plan().buffers {
            offsets.push(slab_bytes);
            slab_bytes += plan.buffer_bytes(buffer).next_multiple_of(BUFFER_ALIGN);
        }
        let what = format!("program `{}`", plan.plan().name);
        self.health.check(|| what.clone())?;
        let table_bytes = Kernels::table_bytes(&plan);
        let pool_bytes = plan.plan().pool.len() as u64 * 8;
        let found = slab_bytes + table_bytes + pool_bytes;
        let reservation = self.ledger.reserve(&what, found)?;
        let refused = |e: DriverError, given: u64| match e.out_of_memory {
            true => Error::NotNow { what: what.clone(), found, expected: given },
            false => self.health.error(&*self.driver, &e, what.clone()),
        };
        let driver = self.driver.fork().map_err(|e| refused(e, 0))?;
        let slab = DeviceMemory::new(&driver, slab_bytes).map_err(|e| refused(e, 0))?;
        let pool = DeviceMemory::from_bytes(&driver, bytemuck::cast_slice(&plan.plan().pool))
            .map_err(|e| refused(e, slab_bytes))?;
        let kernels = Kernels::new(&driver, &plan).map_err(|e| refused(e, slab_bytes + pool_bytes))?;
        tracing::debug!(program = %plan.plan().name, slab_bytes, device = %driver.device_name(), "loaded");
        Ok(Box::new(CudaInstance {
            plan,
            driver,
            health: Arc::clone(&self.health),
            slab,
            offsets,
            pool,
            kernels,
            calls: BTreeMap::new(),
            _reservation: reservation,
        }))
    }
}

/// A call that has been made before: its binding table and, once captured, its launches.
#[derive(Debug)]
struct BoundCall {
    bindings: DeviceMemory,
    graph: Option<Graph>,
}

#[derive(Debug)]
struct CudaInstance {
    // Graphs first: they are dropped before the memory that they name.
    calls: BTreeMap<(SegmentId, Vec<BufferId>), BoundCall>,
    plan: Arc<CheckedPlan>,
    driver: Arc<dyn Driver>,
    health: Arc<Health>,
    slab: DeviceMemory,
    /// Of each buffer in the slab.
    offsets: Vec<u64>,
    pool: DeviceMemory,
    kernels: Kernels,
    _reservation: Reservation,
}

impl CudaInstance {
    /// Offset in the slab and length of rows that were checked.
    fn place(&self, buffer: BufferId, rows: &Range<u32>) -> (u64, u64) {
        let row_bytes = self.plan.plan().row_bytes() as u64;
        let offset = self.offsets[buffer.0 as usize] + u64::from(rows.start) * row_bytes;
        (offset, u64::from(rows.end - rows.start) * row_bytes)
    }

    fn bind(&self, bindings: &[BufferId]) -> Result<DeviceMemory> {
        let bases: Vec<u64> =
            bindings.iter().map(|id| self.slab.address() + self.offsets[id.0 as usize]).collect();
        let (what, found) = ("binding table".to_owned(), bases.len() as u64 * 8);
        DeviceMemory::from_bytes(&self.driver, bytemuck::cast_slice(&bases)).map_err(|e| {
            if e.out_of_memory { Error::NotNow { what, found, expected: 0 } } else { self.error(&e, what) }
        })
    }

    fn error(&self, error: &DriverError, during: String) -> Error {
        self.health.error(&*self.driver, error, during)
    }
}

impl Instance for CudaInstance {
    fn plan(&self) -> &CheckedPlan {
        &self.plan
    }

    fn write(&mut self, buffer: BufferId, row: u32, bytes: &[u8]) -> Result<()> {
        let rows = self.plan.check_write(buffer, row, bytes.len())?;
        let during = || format!("write to buffer {}", buffer.0);
        self.health.check(during)?;
        let (offset, _) = self.place(buffer, &rows);
        self.slab.write(offset, bytes).map_err(|e| self.error(&e, during()))
    }

    fn read(&self, buffer: BufferId, rows: Range<u32>) -> Result<Vec<u8>> {
        self.plan.check_rows(buffer, &rows)?;
        let during = || format!("read of buffer {}", buffer.0);
        self.health.check(during)?;
        let (offset, len) = self.place(buffer, &rows);
        let mut bytes = vec![0; len as usize];
        self.slab.read(offset, &mut bytes).map_err(|e| self.error(&e, during()))?;
        Ok(bytes)
    }

    fn call(
        &mut self,
        segment: SegmentId,
        bindings: &[BufferId],
        profile: Option<&mut Profile>,
    ) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let found = plan.check_call(segment, bindings)?;
        self.health.check(|| format!("segment `{}`", found.name))?;
        let key = (segment, bindings.to_vec());
        if !self.calls.contains_key(&key) {
            let bound = BoundCall { bindings: self.bind(bindings)?, graph: None };
            self.calls.insert(key.clone(), bound);
        }
        let Self { calls, driver, health, kernels, pool, .. } = self;
        let Some(bound) = calls.get_mut(&key) else { return Ok(()) };
        let call = Call {
            driver,
            health,
            kernels,
            plan: &plan,
            id: segment,
            segment: found,
            bindings: bound.bindings.address(),
            pool: pool.address(),
        };
        match profile {
            Some(profile) => call.run_timed(profile),
            None => call.run(&mut bound.graph),
        }
    }

    fn poison(&mut self) -> Result<()> {
        self.health.check(|| "poison".to_owned())?;
        for (i, buffer) in self.plan.plan().buffers.iter().enumerate() {
            if matches!(buffer.kind, BufferKind::Arena | BufferKind::Output(_)) {
                let filled = self.slab.fill(self.offsets[i], POISON, self.plan.buffer_bytes(buffer));
                filled.map_err(|e| self.error(&e, format!("poison of buffer {i}")))?;
            }
        }
        Ok(())
    }

    fn memory(&self) -> MemoryReport {
        let mut report = MemoryReport::default();
        for buffer in &self.plan.plan().buffers {
            let planned = self.plan.buffer_bytes(buffer);
            let actual = planned.next_multiple_of(BUFFER_ALIGN);
            report.add(buffer.device, buffer.tier, MemoryClass::of(buffer.kind), planned, actual);
        }
        let bindings: u64 = self.calls.values().map(|c| c.bindings.bytes()).sum();
        let tables = self.kernels.bytes() + self.pool.bytes() + bindings;
        report.add(DeviceIdx(0), Tier::Device, MemoryClass::Tables, tables, tables);
        report
    }
}

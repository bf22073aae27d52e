//! The processor as a device: kernel bodies on vector registers, items and parts of items on threads.
//!
//! Results do not depend on lanes or threads, bit for bit: every word is computed by one thread from words that no
//! other thread of the launch writes.

mod launch;
mod tables;

use super::{Backend, Instance, POISON};
use crate::check::CheckedPlan;
use crate::error::{Error, Result};
use crate::memory::{AlignedBytes, Ledger, Limits, MemoryClass, MemoryReport, Reservation};
use crate::profile::{Profile, StepRecord, Stopwatch};
use fhe_core::math::word::WordKind;
use kernels_gpu::cpu::{Base, CpuWord, LaneKind};
use launch::Launcher;
use rayon::{ThreadPool, ThreadPoolBuilder};
use scheduler::plan::{BufferId, BufferKind, DeviceIdx, SegmentId, Step, Tier};
use std::ops::Range;
use std::sync::Arc;
use tables::{TableCache, Tables};

/// The processor.
#[derive(Debug)]
pub struct CpuBackend {
    pool: Arc<ThreadPool>,
    lanes: LaneKind,
    ledger: Arc<Ledger>,
    narrow: TableCache<u32>,
    wide: TableCache<u64>,
}

fn unavailable(reason: String) -> Error {
    Error::BackendUnavailable { backend: "cpu", reason }
}

/// Starts `n` threads; as many as there are cores if not given.
///
/// # Errors
/// [`Error::BackendUnavailable`] for no threads, or when the system gives none.
pub fn thread_pool(n: Option<usize>) -> Result<Arc<ThreadPool>> {
    let n = n.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    if n == 0 {
        return Err(unavailable("found 0 threads, expected at least 1".into()));
    }
    let builder = ThreadPoolBuilder::new().num_threads(n).thread_name(|i| format!("cpu-{i}"));
    builder.build().map(Arc::new).map_err(|e| unavailable(e.to_string()))
}

#[cfg(target_arch = "x86_64")]
fn bmi2() -> bool {
    std::arch::is_x86_feature_detected!("bmi2")
}

/// Whether the processor has the instructions of some lanes.
fn has(lanes: LaneKind) -> bool {
    match lanes {
        LaneKind::Scalar => true,
        #[cfg(target_arch = "x86_64")]
        LaneKind::Avx2 => std::arch::is_x86_feature_detected!("avx2") && bmi2(),
        #[cfg(target_arch = "x86_64")]
        LaneKind::Avx512 => std::arch::is_x86_feature_detected!("avx512f") && bmi2(),
        #[cfg(not(target_arch = "x86_64"))]
        _ => false,
    }
}

/// The lanes that the processor has, the widest last.
pub fn available_lanes() -> Vec<LaneKind> {
    LaneKind::ALL.into_iter().filter(|&l| has(l)).collect()
}

impl CpuBackend {
    /// A backend on the threads of a pool, with the given lanes or else the widest that the processor has.
    ///
    /// # Errors
    /// [`Error::BackendUnavailable`] when the processor has not the lanes that were asked for.
    pub fn new(pool: Arc<ThreadPool>, lanes: Option<LaneKind>, limits: Limits) -> Result<Self> {
        let widest = available_lanes().into_iter().max().unwrap_or(LaneKind::Scalar);
        let lanes = lanes.unwrap_or(widest);
        if !has(lanes) {
            return Err(unavailable(format!(
                "found lanes up to {}, expected {}",
                widest.name(),
                lanes.name()
            )));
        }
        let ledger = Ledger::new(limits);
        Ok(Self { pool, lanes, ledger, narrow: TableCache::default(), wide: TableCache::default() })
    }

    /// The lanes in use.
    pub fn lanes(&self) -> LaneKind {
        self.lanes
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Bytes that loaded plans and their tables hold.
    pub fn memory_in_use(&self) -> u64 {
        self.ledger.in_use()
    }

    fn load_words<W: CpuWord>(
        &self,
        cache: &TableCache<W>,
        plan: Arc<CheckedPlan>,
    ) -> Result<Box<dyn Instance>> {
        let name = &plan.plan().name;
        let bytes = plan.plan().buffers.iter().map(|b| plan.buffer_bytes(b)).sum();
        let what = format!("program `{name}`");
        let reservation = self.ledger.reserve(&what, bytes)?;
        let tables = cache.get(plan.plan(), self.lanes, &self.ledger)?;
        let mut memory: Vec<AlignedBytes> = Vec::with_capacity(plan.plan().buffers.len());
        let mut given = 0;
        for buffer in &plan.plan().buffers {
            let len = plan.buffer_bytes(buffer);
            match usize::try_from(len).ok().and_then(AlignedBytes::zeroed) {
                Some(bytes) => memory.push(bytes),
                None => return Err(Error::NotNow { what, found: bytes, expected: given }),
            }
            given += len;
        }
        let launcher = Launcher { lanes: self.lanes, pool: Arc::clone(&self.pool) };
        tracing::debug!(program = %name, bytes, lanes = self.lanes.name(), threads = self.threads(), "loaded");
        Ok(Box::new(CpuInstance { plan, memory, tables, launcher, _reservation: reservation }))
    }
}

impl Backend for CpuBackend {
    fn name(&self) -> String {
        format!("cpu ({}, {} threads)", self.lanes.name(), self.threads())
    }

    fn load(&self, plan: Arc<CheckedPlan>) -> Result<Box<dyn Instance>> {
        match plan.plan().word {
            WordKind::U32 => self.load_words(&self.narrow, plan),
            WordKind::U64 => self.load_words(&self.wide, plan),
        }
    }
}

#[derive(Debug)]
struct CpuInstance<W: CpuWord> {
    plan: Arc<CheckedPlan>,
    /// By [`BufferId`].
    memory: Vec<AlignedBytes>,
    tables: Arc<Tables<W>>,
    launcher: Launcher,
    _reservation: Reservation,
}

impl<W: CpuWord> CpuInstance<W> {
    /// The bytes of rows that were checked.
    fn byte_range(&self, rows: &Range<u32>) -> Range<usize> {
        let row_bytes = self.plan.plan().row_bytes();
        rows.start as usize * row_bytes..rows.end as usize * row_bytes
    }
}

impl<W: CpuWord> Instance for CpuInstance<W> {
    fn plan(&self) -> &CheckedPlan {
        &self.plan
    }

    fn write(&mut self, buffer: BufferId, row: u32, bytes: &[u8]) -> Result<()> {
        let rows = self.plan.check_write(buffer, row, bytes.len())?;
        let range = self.byte_range(&rows);
        if let Some(memory) = self.memory.get_mut(buffer.0 as usize) {
            memory.bytes_mut()[range].copy_from_slice(bytes);
        }
        Ok(())
    }

    fn read(&self, buffer: BufferId, rows: Range<u32>) -> Result<Vec<u8>> {
        self.plan.check_rows(buffer, &rows)?;
        let memory = self.memory.get(buffer.0 as usize);
        Ok(memory.map(|m| m.bytes()[self.byte_range(&rows)].to_vec()).unwrap_or_default())
    }

    fn call(
        &mut self,
        segment: SegmentId,
        bindings: &[BufferId],
        mut profile: Option<&mut Profile>,
    ) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let found = plan.check_call(segment, bindings)?;
        let base = |id: &BufferId| Base(self.memory[id.0 as usize].start().as_ptr());
        let bases: Vec<Base> = bindings.iter().map(base).collect();
        let primes = self.tables.primes();
        for (i, Step::Launch { launch, node }) in found.steps.iter().enumerate() {
            let work = plan.work(segment, i);
            let clock = Stopwatch::start();
            // SAFETY: the plan is checked and so is this call, so every row that the launch names lies in the memory
            // of the buffer bound to its slot, and its hazards are ruled out; the tables are made for this plan's ring
            // and these lanes; `&mut self` keeps everyone else away from the memory.
            unsafe { self.launcher.launch(plan.plan(), launch, &work, &bases, &primes) };
            if let Some(profile) = profile.as_deref_mut() {
                let time = clock.elapsed();
                let (start, step, kernel) = (profile.at(clock), i as u32, launch.kernel);
                profile.record(StepRecord { segment, step, node: *node, kernel, work, start, time });
            }
        }
        Ok(())
    }

    fn poison(&mut self) -> Result<()> {
        for (memory, buffer) in self.memory.iter_mut().zip(&self.plan.plan().buffers) {
            if matches!(buffer.kind, BufferKind::Arena | BufferKind::Output(_)) {
                memory.bytes_mut().fill(POISON);
            }
        }
        Ok(())
    }

    fn memory(&self) -> MemoryReport {
        let mut report = MemoryReport::default();
        for (memory, buffer) in self.memory.iter().zip(&self.plan.plan().buffers) {
            let (planned, actual) = (self.plan.buffer_bytes(buffer), memory.bytes().len() as u64);
            report.add(buffer.device, buffer.tier, MemoryClass::of(buffer.kind), planned, actual);
        }
        let bytes = self.tables.bytes();
        report.add(DeviceIdx(0), Tier::Device, MemoryClass::Tables, bytes, bytes);
        report
    }
}

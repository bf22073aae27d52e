//! The processor as a device, or as several that it simulates one after the other: kernel bodies on vector registers, items and parts of items on threads.
//!
//! The memory of each device and the host tier are memory of the processor, with limits of their own; the file tier is a file.
//!
//! Results do not depend on lanes or threads, bit for bit: every word is computed by one thread from words that no
//! other thread of the launch writes.

mod launch;
mod tables;

use super::{Backend, Instance, POISON, is_written};
use crate::check::{CheckedPlan, broken};
use crate::error::{Error, Result};
use crate::memory::{AlignedBytes, Limits, MemoryClass, MemoryReport};
use crate::profile::{Profile, StepRecord, Stopwatch};
use crate::tiers::{LowerTiers, Reservations, SpillFile, Tiers, rows_in_file, what};
use fhe_core::math::word::WordKind;
use kernels_gpu::cpu::{Base, CpuWord, LaneKind};
use launch::Launcher;
use rayon::{ThreadPool, ThreadPoolBuilder};
use scheduler::compile::MemoryLimits;
use scheduler::plan::{BufferId, DeviceIdx, Place, Plan, RowCopy, SegmentId, Step, Tier};
use std::ops::Range;
use std::sync::Arc;
use tables::{TableCache, Tables};

/// The processor.
#[derive(Debug)]
pub struct CpuBackend {
    pool: Arc<ThreadPool>,
    lanes: LaneKind,
    tiers: Tiers,
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
        let (narrow, wide) = (TableCache::default(), TableCache::default());
        Ok(Self { pool, lanes, tiers: Tiers::new(limits), narrow, wide })
    }

    /// With limits of the tiers below the device.
    #[must_use]
    pub fn with_lower_tiers(self, lower: LowerTiers) -> Self {
        Self { tiers: self.tiers.with_lower(lower), ..self }
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
        self.tiers.in_use()
    }

    fn load_words<W: CpuWord>(
        &self,
        cache: &TableCache<W>,
        plan: Arc<CheckedPlan>,
    ) -> Result<Box<dyn Instance>> {
        let reservations = self.tiers.reserve(&plan, 0)?;
        let tables = cache.get(plan.plan(), self.lanes, self.tiers.device(DeviceIdx(0)))?;
        let file = self.tiers.open_file(&plan)?;
        let mut memory: Vec<Option<AlignedBytes>> = Vec::with_capacity(plan.plan().buffers.len());
        for buffer in &plan.plan().buffers {
            if buffer.tier == Tier::File {
                memory.push(None);
                continue;
            }
            let bytes = usize::try_from(plan.buffer_bytes(buffer)).ok().and_then(AlignedBytes::zeroed);
            memory.push(Some(bytes.ok_or_else(|| refused(&plan, buffer.tier, &memory))?));
        }
        let rows_in_file = rows_in_file(&plan);
        let launcher = Launcher { lanes: self.lanes, pool: Arc::clone(&self.pool) };
        tracing::debug!(
            program = %plan.plan().name,
            devices = plan.plan().n_devices(),
            bytes = plan.tier_bytes(Tier::Device),
            in_host = plan.tier_bytes(Tier::Host),
            in_file = plan.tier_bytes(Tier::File),
            lanes = self.lanes.name(),
            threads = self.threads(),
            "loaded"
        );
        let _reservations = reservations;
        Ok(Box::new(CpuInstance { plan, memory, file, rows_in_file, tables, launcher, _reservations }))
    }
}

/// The system gave no more memory for a tier.
fn refused(plan: &CheckedPlan, tier: Tier, given: &[Option<AlignedBytes>]) -> Error {
    let of_tier = plan.plan().buffers.iter().zip(given).filter(|(buffer, _)| buffer.tier == tier);
    let expected = of_tier.map(|(buffer, _)| plan.buffer_bytes(buffer)).sum();
    Error::NotNow { what: what(plan, tier), found: plan.tier_bytes(tier), expected }
}

impl Backend for CpuBackend {
    fn name(&self) -> String {
        format!("cpu ({}, {} threads)", self.lanes.name(), self.threads())
    }

    /// Host memory is the same memory: without a budget of its own it is offered none.
    fn room(&self, plan: &Plan) -> Result<MemoryLimits> {
        let tables = match plan.word {
            WordKind::U32 => self.narrow.missing_bytes(plan),
            WordKind::U64 => self.wide.missing_bytes(plan),
        };
        let device = self.tiers.left(plan.n_devices(), tables);
        let host = device.map(|_| self.tiers.host.left().unwrap_or(0));
        Ok(MemoryLimits { device, host })
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
    /// By [`BufferId`]; none in the file tier.
    memory: Vec<Option<AlignedBytes>>,
    file: Option<SpillFile>,
    /// First row of each buffer in the file.
    rows_in_file: Vec<u64>,
    tables: Arc<Tables<W>>,
    launcher: Launcher,
    _reservations: Reservations,
}

impl<W: CpuWord> CpuInstance<W> {
    /// The bytes of rows that were checked.
    fn byte_range(&self, rows: &Range<u32>) -> Range<usize> {
        let row_bytes = self.plan.plan().row_bytes();
        rows.start as usize * row_bytes..rows.end as usize * row_bytes
    }

    /// The row of the file where a buffer's row is.
    fn in_file(&self, buffer: BufferId, row: u32) -> u64 {
        self.rows_in_file.get(buffer.0 as usize).copied().unwrap_or(0) + u64::from(row)
    }

    fn copy_rows(&mut self, copy: &RowCopy) -> Result<()> {
        let from_range = self.byte_range(&(copy.from.row..copy.from.row + copy.rows));
        let to_range = self.byte_range(&(copy.to.row..copy.to.row + copy.rows));
        let in_file = |place: Place| self.in_file(place.buffer, place.row);
        let (from_file, to_file) = (in_file(copy.from), in_file(copy.to));
        let ends = [copy.from, copy.to].map(|place| place.buffer.0 as usize);
        // They are two: on one device the arena and another tier's buffer, or else two arenas.
        let Ok([from, to]) = self.memory.get_disjoint_mut(ends) else { return Ok(()) };
        match (from, to, &mut self.file) {
            (Some(from), Some(to), _) => to.bytes_mut()[to_range].copy_from_slice(&from.bytes()[from_range]),
            (None, Some(to), Some(file)) => file.read(from_file, &mut to.bytes_mut()[to_range])?,
            (Some(from), None, Some(file)) => file.write(to_file, &from.bytes()[from_range])?,
            _ => {}
        }
        Ok(())
    }
}

impl<W: CpuWord> Instance for CpuInstance<W> {
    fn plan(&self) -> &CheckedPlan {
        &self.plan
    }

    fn write(&mut self, buffer: BufferId, row: u32, bytes: &[u8]) -> Result<()> {
        let rows = self.plan.check_write(buffer, row, bytes.len())?;
        let range = self.byte_range(&rows);
        let in_file = self.in_file(buffer, row);
        match (self.memory.get_mut(buffer.0 as usize), &mut self.file) {
            (Some(Some(memory)), _) => memory.bytes_mut()[range].copy_from_slice(bytes),
            (Some(None), Some(file)) => file.write(in_file, bytes)?,
            _ => {}
        }
        Ok(())
    }

    fn read(&self, buffer: BufferId, rows: Range<u32>) -> Result<Vec<u8>> {
        self.plan.check_rows(buffer, &rows)?;
        let range = self.byte_range(&rows);
        Ok(match (self.memory.get(buffer.0 as usize), &self.file) {
            (Some(Some(memory)), _) => memory.bytes()[range].to_vec(),
            (Some(None), Some(file)) => {
                let mut bytes = vec![0; range.len()];
                file.read(self.in_file(buffer, rows.start), &mut bytes)?;
                bytes
            }
            _ => Vec::new(),
        })
    }

    fn call(
        &mut self,
        segment: SegmentId,
        bindings: &[BufferId],
        mut profile: Option<&mut Profile>,
    ) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let found = plan.check_call(segment, bindings)?;
        let memory = |id: &BufferId| self.memory.get(id.0 as usize).and_then(Option::as_ref);
        let bases: Vec<Base> = bindings.iter().filter_map(memory).map(|m| Base(m.start().as_ptr())).collect();
        if bases.len() != bindings.len() {
            return Err(broken("tiers", format!("segment {} is bound to a file", segment.0)));
        }
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

    fn copy(&mut self, copies: &[RowCopy]) -> Result<()> {
        for copy in copies {
            self.plan.check_copy(copy)?;
            self.copy_rows(copy)?;
        }
        Ok(())
    }

    fn poison(&mut self) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let row = vec![POISON; plan.plan().row_bytes()];
        for (id, buffer) in (0..).map(BufferId).zip(&plan.plan().buffers) {
            if is_written(buffer) {
                (0..buffer.rows).try_for_each(|at| self.write(id, at, &row))?;
            }
        }
        Ok(())
    }

    fn memory(&self) -> MemoryReport {
        let mut report = MemoryReport::default();
        for (memory, buffer) in self.memory.iter().zip(&self.plan.plan().buffers) {
            let planned = self.plan.buffer_bytes(buffer);
            // The file is as long as its buffers.
            let actual = memory.as_ref().map_or(planned, |m| m.bytes().len() as u64);
            report.add(buffer.device, buffer.tier, MemoryClass::of(buffer.kind), planned, actual);
        }
        let bytes = self.tables.bytes();
        report.add(DeviceIdx(0), Tier::Device, MemoryClass::Tables, bytes, bytes);
        report
    }
}

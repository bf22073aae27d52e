//! A backend that executes nothing and allocates nothing: it checks what the others check, and counts.
//!
//! Rows read back are zero, which is a residue of every prime, so whole programs run dry.

use super::{Backend, Instance};
use crate::check::CheckedPlan;
use crate::error::Result;
use crate::memory::{MemoryClass, MemoryReport};
use crate::profile::{HostRecord, HostWork, Profile, StepRecord, Stopwatch};
use crate::work::Work;
use kernels_gpu::abi::KernelId;
use scheduler::compile::MemoryLimits;
use scheduler::plan::{BufferId, CopyKind, Plan, PlanStep, RowCopy, SegmentId, Step};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What was asked of a [`NullBackend`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Calls of segments.
    pub calls: u64,
    /// Bytes written from outside: inputs, keys, constants.
    pub bytes_in: u64,
    /// Bytes read from outside: outputs.
    pub bytes_out: u64,
    /// Bytes copied to an arena from other tiers.
    pub bytes_fetched: u64,
    /// Bytes copied from an arena to other tiers.
    pub bytes_spilled: u64,
    /// Bytes copied from the arena of one device to that of another.
    pub bytes_exchanged: u64,
    /// Of these three, bytes of copies that launches may run beside ([`Plan::overlapped`]).
    pub bytes_overlapped: u64,
    /// Work by kernel name.
    pub kernels: BTreeMap<&'static str, Work>,
}

impl Counts {
    /// The sum over kernels.
    pub fn total(&self) -> Work {
        self.kernels.values().fold(Work::default(), |mut sum, &work| {
            sum += work;
            sum
        })
    }

    /// The work of a kernel.
    pub fn kernel(&self, kernel: KernelId) -> Work {
        self.kernels.get(kernel.name()).copied().unwrap_or_default()
    }
}

/// Checks and counts. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct NullBackend(Arc<Mutex<Counts>>);

impl NullBackend {
    /// With all counts at zero.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Counters are valid whatever happened to who held them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }
}

impl Backend for NullBackend {
    fn name(&self) -> String {
        "null".to_owned()
    }

    fn room(&self, _: &Plan) -> Result<MemoryLimits> {
        Ok(MemoryLimits::default())
    }

    fn load(&self, plan: Arc<CheckedPlan>) -> Result<Box<dyn Instance>> {
        let overlapped = plan.plan().overlapped();
        Ok(Box::new(NullInstance { backend: self.clone(), plan, overlapped }))
    }
}

#[derive(Debug)]
struct NullInstance {
    backend: NullBackend,
    plan: Arc<CheckedPlan>,
    /// By step of the schedule.
    overlapped: Vec<bool>,
}

impl Instance for NullInstance {
    fn plan(&self) -> &CheckedPlan {
        &self.plan
    }

    fn write(&mut self, buffer: BufferId, row: u32, bytes: &[u8]) -> Result<()> {
        self.plan.check_write(buffer, row, bytes.len())?;
        self.backend.lock().bytes_in += bytes.len() as u64;
        Ok(())
    }

    fn read(&self, buffer: BufferId, rows: Range<u32>) -> Result<Vec<u8>> {
        self.plan.check_rows(buffer, &rows)?;
        let bytes = rows.len() * self.plan.plan().row_bytes();
        self.backend.lock().bytes_out += bytes as u64;
        Ok(vec![0; bytes])
    }

    fn call(
        &mut self,
        segment: SegmentId,
        bindings: &[BufferId],
        mut profile: Option<&mut Profile>,
    ) -> Result<()> {
        let found = self.plan.check_call(segment, bindings)?;
        let mut counts = self.backend.lock();
        counts.calls += 1;
        for (i, Step::Launch { launch, node }) in found.steps.iter().enumerate() {
            let work = self.plan.work(segment, i);
            *counts.kernels.entry(launch.kernel.name()).or_default() += work;
            if let Some(profile) = profile.as_deref_mut() {
                let (start, time) = (profile.at(Stopwatch::start()), Duration::ZERO);
                let (step, kernel) = (i as u32, launch.kernel);
                profile.record(StepRecord { segment, step, node: *node, kernel, work, start, time });
            }
        }
        Ok(())
    }

    fn copy(&mut self, copies: &[RowCopy]) -> Result<()> {
        for copy in copies {
            let kind = self.plan.check_copy(copy)?;
            let bytes = u64::from(copy.rows) * self.plan.plan().row_bytes() as u64;
            let mut counts = self.backend.lock();
            *match kind {
                CopyKind::Fetch => &mut counts.bytes_fetched,
                CopyKind::Spill => &mut counts.bytes_spilled,
                CopyKind::Exchange => &mut counts.bytes_exchanged,
            } += bytes;
        }
        Ok(())
    }

    fn submit(&mut self, steps: Range<usize>, mut profile: Option<&mut Profile>) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        for step in steps {
            match plan.plan().schedule.get(step) {
                Some(PlanStep::Call { segment, bindings }) => {
                    self.call(*segment, bindings, profile.as_deref_mut())?;
                }
                Some(PlanStep::Copy(copies)) => {
                    self.copy(copies)?;
                    if self.overlapped.get(step) == Some(&true) {
                        let rows: u64 = copies.iter().map(|copy| u64::from(copy.rows)).sum();
                        self.backend.lock().bytes_overlapped += rows * plan.plan().row_bytes() as u64;
                    }
                    if let Some(profile) = profile.as_deref_mut() {
                        let (start, time) = (profile.at(Stopwatch::start()), Duration::ZERO);
                        let what = HostWork::copies(plan.plan(), copies);
                        profile.record_host(HostRecord { what, start, time });
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn poison(&mut self) -> Result<()> {
        Ok(())
    }

    fn memory(&self) -> MemoryReport {
        let mut report = MemoryReport::default();
        for buffer in &self.plan.plan().buffers {
            let planned = self.plan.buffer_bytes(buffer);
            report.add(buffer.device, buffer.tier, MemoryClass::of(buffer.kind), planned, 0);
        }
        report
    }
}

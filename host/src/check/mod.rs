//! What every plan must satisfy before a device sees it. A [`CheckedPlan`] is the proof: backends run its launches
//! without looking again, so each rule here carries the safety of the kernels.
//!
//! | rule | says |
//! |---|---|
//! | `buffers` | buffer 0 is the arena, no other is; rows of buffers add up to the plan's peaks |
//! | `pool` | items and tables lie in the pool |
//! | `rows` | each row is one of a slot of the segment; only read slots are only read, only written ones only written |
//! | `primes` | prime indexes are those of the plan |
//! | `canonical` | scalars and table entries are residues, Galois elements odd and below 2N, scales positive and finite |
//! | `sizes` | inner products have terms, conversions 1 to 64 sources and 1 to 256 targets, roundings targets |
//! | `begun` | only terms that there are, of a kernel that ends transforms, are begun |
//! | `hazards` | no row is written twice in a launch, or written by one item and read by another; in place only as the ABI allows |
//! | `calls` | slots are bound to buffers that are large enough, written ones to the arena or an output, and to one slot |
//! | `tiers` | the arena and all that a call binds are on the device; a copy is between the arena and a buffer of another tier, within both, and writes the arena, an output or a spill buffer |
//! | `host-steps` | each writes or reads a buffer of its own kind, in the list it belongs to |
//!
//! The ABI version and the ring have errors of their own.

mod launch;
mod ring;

use crate::error::{Error, Result};
use crate::work::Work;
use kernels_gpu::abi::{ABI_VERSION, ARENA, KernelId};
use scheduler::plan::{
    Access, Buffer, BufferId, BufferKind, HostStep, Place, Plan, PlanStep, RowCopy, Segment, SegmentId, Step,
    Tier,
};
use std::collections::BTreeMap;
use std::ops::Range;

/// A plan that satisfies the rules, with the work of each of its launches.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedPlan {
    plan: Plan,
    /// By segment and step.
    work: Vec<Vec<Work>>,
}

pub(crate) fn broken(rule: &'static str, problem: String) -> Error {
    Error::InvalidPlan { rule, problem }
}

impl CheckedPlan {
    /// Checks a plan.
    ///
    /// # Errors
    /// [`Error::AbiMismatch`], [`Error::UnsupportedRing`], [`Error::InvalidPlan`] with the rule.
    pub fn new(plan: Plan) -> Result<Self> {
        if plan.abi_version != ABI_VERSION {
            return Err(Error::AbiMismatch { expected: ABI_VERSION, found: plan.abi_version });
        }
        ring::check(&plan)?;
        check_buffers(&plan)?;
        let work = plan.segments.iter().map(|s| launch::check_segment(&plan, s)).collect::<Result<_>>()?;
        let checked = Self { plan, work };
        for step in &checked.plan.schedule {
            match step {
                PlanStep::Call { segment, bindings } => drop(checked.check_call(*segment, bindings)?),
                PlanStep::Host(step) => checked.check_host_step(step, false)?,
                PlanStep::Copy(copies) => copies.iter().try_for_each(|copy| checked.check_copy(copy))?,
            }
        }
        checked.plan.setup.iter().try_for_each(|step| checked.check_host_step(step, true))?;
        Ok(checked)
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The work of a step of a segment; none where there is no such step.
    pub fn work(&self, segment: SegmentId, step: usize) -> Work {
        self.work.get(segment.0 as usize).and_then(|s| s.get(step)).copied().unwrap_or_default()
    }

    /// The work of a whole run by kernel, in ABI order.
    pub fn work_by_kernel(&self) -> Vec<(KernelId, Work)> {
        let mut by_kernel: BTreeMap<KernelId, Work> = BTreeMap::new();
        for step in &self.plan.schedule {
            let PlanStep::Call { segment, .. } = step else { continue };
            let Some(segment_of) = self.plan.segment(*segment) else { continue };
            for (i, Step::Launch { launch, .. }) in segment_of.steps.iter().enumerate() {
                *by_kernel.entry(launch.kernel).or_default() += self.work(*segment, i);
            }
        }
        by_kernel.into_iter().collect()
    }

    /// Bytes of a buffer.
    pub fn buffer_bytes(&self, buffer: &Buffer) -> u64 {
        u64::from(buffer.rows) * self.plan.row_bytes() as u64
    }

    /// Bytes of all buffers of a tier.
    pub fn tier_bytes(&self, tier: Tier) -> u64 {
        self.plan.buffers.iter().filter(|b| b.tier == tier).map(|b| self.buffer_bytes(b)).sum()
    }

    /// A buffer that has the given rows.
    ///
    /// # Errors
    /// [`Error::BufferAccess`].
    pub fn check_rows(&self, id: BufferId, rows: &Range<u32>) -> Result<&Buffer> {
        let refuse = |expected: String| Error::BufferAccess {
            buffer: id.0,
            found: format!("rows {rows:?}"),
            expected,
        };
        let none = || refuse(format!("one of {} buffers", self.plan.buffers.len()));
        let buffer = self.plan.buffer(id).ok_or_else(none)?;
        if rows.start > rows.end || rows.end > buffer.rows {
            return Err(refuse(format!("rows of 0..{}", buffer.rows)));
        }
        Ok(buffer)
    }

    /// The rows that `len` bytes written at `row` fill.
    ///
    /// # Errors
    /// [`Error::BufferAccess`] where these are no whole rows, or not of the buffer.
    pub fn check_write(&self, id: BufferId, row: u32, len: usize) -> Result<Range<u32>> {
        let row_bytes = self.plan.row_bytes();
        if !len.is_multiple_of(row_bytes) {
            return Err(Error::BufferAccess {
                buffer: id.0,
                found: format!("{len} bytes"),
                expected: format!("rows of {row_bytes} bytes"),
            });
        }
        let rows = u32::try_from(len / row_bytes).unwrap_or(u32::MAX);
        let rows = row..row.saturating_add(rows);
        self.check_rows(id, &rows)?;
        Ok(rows)
    }

    /// A segment that may be called with the given bindings.
    ///
    /// # Errors
    /// [`Error::InvalidPlan`], rule `calls`.
    pub fn check_call(&self, segment: SegmentId, bindings: &[BufferId]) -> Result<&Segment> {
        let Some(found) = self.plan.segment(segment) else {
            let n = self.plan.segments.len();
            return Err(broken("calls", format!("segment {}, expected one of {n}", segment.0)));
        };
        let fail = |problem: String| Err(broken("calls", format!("segment `{}`: {problem}", found.name)));
        if bindings.len() != found.slots.len() {
            return fail(format!("{} bindings, expected {}", bindings.len(), found.slots.len()));
        }
        if bindings.get(ARENA as usize) != Some(&BufferId(0)) {
            return fail("slot 0 is not bound to the arena".into());
        }
        let mut bound: Vec<(BufferId, Access)> = Vec::with_capacity(bindings.len());
        for (i, (&id, slot)) in bindings.iter().zip(&found.slots).enumerate() {
            let Some(buffer) = self.plan.buffer(id) else {
                let n = self.plan.buffers.len();
                return fail(format!("slot {i} is bound to buffer {}, expected one of {n}", id.0));
            };
            if buffer.rows < slot.rows {
                return fail(format!("slot {i}: buffer of {} rows, expected {}", buffer.rows, slot.rows));
            }
            if buffer.tier != Tier::Device {
                let problem = format!("slot {i} is bound to buffer {} in {:?}", id.0, buffer.tier);
                return Err(broken("tiers", format!("segment `{}`: {problem}", found.name)));
            }
            let writes = slot.access != Access::Read;
            if writes && !matches!(buffer.kind, BufferKind::Arena | BufferKind::Output(_)) {
                return fail(format!("slot {i} writes {:?}, expected the arena or an output", buffer.kind));
            }
            bound.push((id, slot.access));
        }
        bound.sort_unstable();
        for pair in bound.windows(2) {
            if pair[0].0 == pair[1].0 && pair.iter().any(|(_, access)| *access != Access::Read) {
                return fail(format!("buffer {} is written and bound to two slots", pair[0].0.0));
            }
        }
        Ok(found)
    }

    /// A copy that may be made.
    ///
    /// # Errors
    /// [`Error::InvalidPlan`], rule `tiers`.
    pub fn check_copy(&self, copy: &RowCopy) -> Result<()> {
        let fail = |problem: String| Err(broken("tiers", format!("copy {copy}: {problem}")));
        let (up, down) = copy.ends();
        if up.buffer != BufferId(ARENA) {
            return fail("expected the arena on one side".into());
        }
        let rows = |place: Place| place.row..place.row.saturating_add(copy.rows);
        for place in [up, down] {
            if self.check_rows(place.buffer, &rows(place)).is_err() {
                return fail(format!("rows {:?} are not of buffer {}", rows(place), place.buffer.0));
            }
        }
        let below = self.plan.buffer(down.buffer).map(|b| (b.tier, b.kind));
        match below {
            Some((Tier::Host | Tier::File, kind))
                if copy.is_fetch() || matches!(kind, BufferKind::Output(_) | BufferKind::Spill) =>
            {
                Ok(())
            }
            _ => fail(format!("found {below:?}, expected another tier's, and to be written by the program")),
        }
    }

    fn check_host_step(&self, step: &HostStep, in_setup: bool) -> Result<()> {
        let (buffer, kind, of_setup) = match *step {
            HostStep::Encode { encoded, buffer } => (buffer, BufferKind::Constant(encoded.constant), true),
            HostStep::LoadSlots { encoded, buffer } => (buffer, BufferKind::Slots(encoded.constant), true),
            HostStep::LoadFactors { buffer } => (buffer, BufferKind::Factors, true),
            HostStep::LoadKey { key, buffer } => (buffer, BufferKind::Key(key), true),
            HostStep::Upload { input, buffer } => (buffer, BufferKind::Input(input), false),
            HostStep::Download { buffer, output } => (buffer, BufferKind::Output(output), false),
        };
        let found = self.plan.buffer(buffer).map(|b| b.kind);
        if found != Some(kind) {
            let problem = format!("{step:?}: buffer {} is {found:?}, expected {kind:?}", buffer.0);
            return Err(broken("host-steps", problem));
        }
        if of_setup != in_setup {
            let expected = if of_setup { "setup" } else { "schedule" };
            return Err(broken("host-steps", format!("{step:?}: expected in the {expected}")));
        }
        Ok(())
    }
}

fn check_buffers(plan: &Plan) -> Result<()> {
    let arenas: Vec<usize> = (plan.buffers.iter().enumerate())
        .filter(|(_, b)| b.kind == BufferKind::Arena)
        .map(|(i, _)| i)
        .collect();
    if arenas != [0] {
        return Err(broken("buffers", format!("arenas are buffers {arenas:?}, expected [0]")));
    }
    if let Some(arena) = plan.buffers.first().filter(|b| b.tier != Tier::Device) {
        return Err(broken("tiers", format!("the arena is in {:?}", arena.tier)));
    }
    let mut rows: BTreeMap<_, u64> = BTreeMap::new();
    for buffer in &plan.buffers {
        *rows.entry((buffer.device, buffer.tier)).or_default() += u64::from(buffer.rows);
    }
    for (&(device, tier), &found) in &rows {
        // Sums of bytes, padding included, then stay far from the end of a word.
        if u128::from(found) * plan.row_bytes() as u128 >= 1 << 62 {
            let problem = format!(
                "buffers of device {} {tier:?} hold {found} rows, expected below 2^62 bytes",
                device.0
            );
            return Err(broken("buffers", problem));
        }
        let peak = plan.peaks.iter().find(|p| (p.device, p.tier) == (device, tier));
        let (peak_rows, bytes) = peak.map_or((0, 0), |p| (p.rows, p.bytes));
        if found > peak_rows || found * plan.row_bytes() as u64 > bytes {
            let problem = format!(
                "buffers of device {} {tier:?} hold {found} rows, expected at most the peak of {peak_rows} rows \
                 and {bytes} bytes",
                device.0
            );
            return Err(broken("buffers", problem));
        }
    }
    Ok(())
}

//! What every plan must satisfy before a device sees it. A [`CheckedPlan`] is the proof: backends run its launches
//! without looking again, so each rule here carries the safety of the kernels.
//!
//! | rule | says |
//! |---|---|
//! | `buffers` | the first buffers are the arenas, by device, no others are; rows of buffers add up to the plan's peaks |
//! | `devices` | a buffer and a segment are of a device that has an arena; a call binds buffers of its segment's device; a copy between devices is between arenas |
//! | `pool` | items and tables lie in the pool |
//! | `rows` | each row is one of a slot of the segment; only read slots are only read, only written ones only written |
//! | `primes` | prime indexes are those of the plan |
//! | `canonical` | scalars and table entries are residues, Galois elements odd and below 2N, scales positive and finite |
//! | `sizes` | inner products have 1 to 768 terms, conversions 1 to 64 sources and 1 to 256 targets, roundings targets |
//! | `begun` | only terms that there are, of a kernel that ends transforms, are begun |
//! | `hazards` | no row is written twice in a launch, or written by one item and read by another; in place only as the ABI allows |
//! | `calls` | slots are bound to buffers that are large enough, slot 0 to the device's arena, written ones to it, an output or what calls pass, and to one slot |
//! | `tiers` | arenas and all that a call binds are in device memory; a copy is within its buffers; on one device it is between the arena and a buffer of another tier, and writes the arena, an output or a spill buffer |
//! | `event`, `race` | those of [`scheduler::plan::order::check`]: events are recorded before they are waited for; of two steps that touch a row, one of which writes it, one is before the other |
//! | `host-steps` | each writes or reads a buffer of its own kind, in the list it belongs to |
//!
//! The ABI version and the ring have errors of their own.

mod launch;
mod ring;

use crate::error::{Error, Result};
use crate::work::Work;
use kernels_gpu::abi::{ABI_VERSION, ARENA, KernelId};
use scheduler::plan::{
    Access, Buffer, BufferId, BufferKind, CopyKind, DeviceIdx, HostStep, MAX_DEVICES, Place, Plan, PlanStep,
    RowCopy, Segment, SegmentId, Step, Tier, order,
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
                PlanStep::Record { .. } | PlanStep::Wait { .. } => {}
                PlanStep::Copy(copies) => {
                    copies.iter().try_for_each(|copy| checked.check_copy(copy).map(drop))?;
                }
            }
        }
        checked.plan.setup.iter().try_for_each(|step| checked.check_host_step(step, true))?;
        order::check(&checked.plan).map_err(|(rule, problem)| broken(rule, problem))?;
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

    /// Bytes of all buffers in the memory of a device.
    pub fn device_bytes(&self, device: DeviceIdx) -> u64 {
        let buffers = self.plan.buffers.iter().filter(|b| (b.device, b.tier) == (device, Tier::Device));
        buffers.map(|b| self.buffer_bytes(b)).sum()
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
    /// [`Error::InvalidPlan`], rules `calls`, `devices`, `tiers`.
    pub fn check_call(&self, segment: SegmentId, bindings: &[BufferId]) -> Result<&Segment> {
        let Some(found) = self.plan.segment(segment) else {
            let n = self.plan.segments.len();
            return Err(broken("calls", format!("segment {}, expected one of {n}", segment.0)));
        };
        let fail = |problem: String| Err(broken("calls", format!("segment `{}`: {problem}", found.name)));
        if bindings.len() != found.slots.len() {
            return fail(format!("{} bindings, expected {}", bindings.len(), found.slots.len()));
        }
        // Arenas are the first buffers, by device.
        let device = found.device;
        if bindings.get(ARENA as usize) != Some(&BufferId(device.0)) {
            return fail(format!("slot 0 is not bound to the arena of device {}", device.0));
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
            if buffer.device != device {
                let problem = format!("slot {i} is bound to buffer {} of device {}", id.0, buffer.device.0);
                let problem = format!("segment `{}`: {problem}, expected of device {}", found.name, device.0);
                return Err(broken("devices", problem));
            }
            let writes = slot.access != Access::Read;
            if writes
                && !matches!(buffer.kind, BufferKind::Arena | BufferKind::Output(_) | BufferKind::Passed)
            {
                let found = buffer.kind;
                return fail(format!(
                    "slot {i} writes {found:?}, expected the arena, an output or what calls pass"
                ));
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

    /// Where a copy goes that may be made.
    ///
    /// # Errors
    /// [`Error::InvalidPlan`], rule `tiers`, or `devices` for one between devices.
    pub fn check_copy(&self, copy: &RowCopy) -> Result<CopyKind> {
        let fail = |rule, problem: String| Err(broken(rule, format!("copy {copy}: {problem}")));
        let rows = |place: Place| place.row..place.row.saturating_add(copy.rows);
        for place in [copy.from, copy.to] {
            if self.check_rows(place.buffer, &rows(place)).is_err() {
                return fail("tiers", format!("rows {:?} are not of buffer {}", rows(place), place.buffer.0));
            }
        }
        let of = |place: Place| self.plan.buffer(place.buffer).map(|b| (b.device.0, b.tier, b.kind));
        let (from, to) = (of(copy.from), of(copy.to));
        if from.map(|b| b.0) != to.map(|b| b.0) && self.plan.copy_kind(copy).is_none() {
            return fail("devices", format!("found {from:?} and {to:?}, expected the arenas of two devices"));
        }
        match self.plan.copy_kind(copy) {
            Some(CopyKind::Spill)
                if !to.is_some_and(|b| matches!(b.2, BufferKind::Output(_) | BufferKind::Spill)) =>
            {
                fail("tiers", format!("found {to:?}, expected what is written by the program"))
            }
            Some(kind) => Ok(kind),
            None => fail("tiers", format!("found {from:?} and {to:?}, expected the arena and another tier")),
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
        if let HostStep::Encode { encoded, .. } = step
            && !encoded.has_runs_of(self.plan.log_n)
        {
            return Err(broken("host-steps", format!("{step}: values cannot stand in such runs")));
        }
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
    let n = plan.n_devices();
    let first = (0..).map(DeviceIdx).zip(&plan.buffers).take(n as usize);
    let in_order = first.into_iter().all(|(device, b)| b.kind == BufferKind::Arena && b.device == device);
    if !(1..=MAX_DEVICES).contains(&n) || !in_order {
        let expected = format!("1 to {MAX_DEVICES}, the first buffers, by device");
        return Err(broken("buffers", format!("{n} arenas, expected {expected}")));
    }
    let buffers = plan.buffers.iter().map(|b| (b.device, "buffer"));
    let foreign = buffers.chain(plan.segments.iter().map(|s| (s.device, "segment")));
    if let Some((device, what)) = foreign.into_iter().find(|(device, _)| device.0 >= n) {
        return Err(broken("devices", format!("a {what} is of device {}, expected below {n}", device.0)));
    }
    let arenas = plan.buffers.iter().take(n as usize);
    if let Some(arena) = arenas.into_iter().find(|b| b.tier != Tier::Device) {
        return Err(broken(
            "tiers",
            format!("the arena of device {} is in {:?}", arena.device.0, arena.tier),
        ));
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

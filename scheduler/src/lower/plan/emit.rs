//! Launches and copies as segments and a schedule; items in the pool.

use std::collections::BTreeMap;

use fhe_core::params::LimbIdx;
use kernels_gpu::abi::{ABI_VERSION, RowRef};

use super::super::events;
use super::super::memory::Stage;
use super::{Addressed, Lowering, arena};
use crate::compile::Options;
use crate::error::Result;
use crate::plan::{
    Access, BufferId, DeviceIdx, HostStep, Item, Peak, Plan, PlanStep, PoolWriter, Read, RowCopy, Segment,
    SegmentId, SlotUse, Step, Tier,
};

impl Lowering<'_> {
    /// The plan of what was assigned.
    pub(super) fn emit(
        self,
        stages: Vec<Stage>,
        setup: Vec<HostStep>,
        uploads: Vec<PlanStep>,
        downloads: Vec<PlanStep>,
        options: &Options,
    ) -> Result<Plan> {
        let mut pool = PoolWriter::new(self.params.primes(), self.params.word());
        let (mut segments, mut schedule) = (Vec::new(), uploads);
        for stage in stages {
            let launches = match stage {
                Stage::Launches(launches) => launches,
                Stage::Copies(copies) => {
                    // A step for each stream, in the order of the list.
                    let device =
                        |copy: &RowCopy| self.buffers.get(copy.to.buffer.0 as usize).map(|b| b.device);
                    let steps = copies.chunk_by(|a, b| device(a) == device(b));
                    schedule.extend(steps.map(|copies| PlanStep::Copy(copies.to_vec())));
                    continue;
                }
            };
            // Between exchanges devices do not wait for one another.
            let mut by_device: BTreeMap<DeviceIdx, Vec<Addressed>> = BTreeMap::new();
            for launch in launches {
                by_device.entry(launch.device).or_default().push(launch);
            }
            for (device, launches) in by_device {
                let mut rest = launches.as_slice();
                while let Some(first) = rest.first() {
                    let same = rest.iter().take_while(|l| l.level == first.level).count();
                    let (chunk, after) = rest.split_at(same.min(options.segment_launches.max(1) as usize));
                    rest = after;
                    let name = format!("s{}_level{}", segments.len(), first.level);
                    let (segment, bindings) = segment(name, device, chunk, &mut pool)?;
                    schedule.push(PlanStep::Call { segment: SegmentId(segments.len() as u32), bindings });
                    segments.push(segment);
                }
            }
        }
        schedule.extend(downloads);
        let mut plan = Plan {
            abi_version: ABI_VERSION,
            name: self.function.name.clone(),
            params_digest: self.params.digest(),
            word: self.params.word(),
            log_n: self.params.log_n(),
            primes: self.params.primes().to_vec(),
            roots: (0..self.params.primes().len()).map(|i| self.params.root(LimbIdx(i as u32))).collect(),
            pool: pool.finish(),
            n_groups: self.sharding.n_groups(),
            buffers: self.buffers,
            segments,
            setup,
            schedule,
            peaks: Vec::new(),
        };
        plan.peaks = peaks(&plan);
        plan.schedule = events::with_events(&plan);
        Ok(plan)
    }
}

/// What all buffers take, by device and tier.
pub(crate) fn peaks(plan: &Plan) -> Vec<Peak> {
    let mut rows: BTreeMap<(DeviceIdx, Tier), u64> = BTreeMap::new();
    for buffer in &plan.buffers {
        *rows.entry((buffer.device, buffer.tier)).or_default() += u64::from(buffer.rows);
    }
    let peak = |((device, tier), rows)| Peak { device, tier, rows, bytes: rows * plan.row_bytes() as u64 };
    rows.into_iter().map(peak).collect()
}

/// A segment over the buffers that its launches touch, and its bindings.
fn segment(
    name: String,
    device: DeviceIdx,
    launches: &[Addressed],
    pool: &mut PoolWriter,
) -> Result<(Segment, Vec<BufferId>)> {
    // Reads and writes by buffer; the arena is always there, and comes first since arenas do.
    let mut uses: BTreeMap<BufferId, (bool, bool, u32)> = BTreeMap::new();
    uses.insert(arena(device), (false, false, 0));
    for launch in launches {
        for item in &launch.items {
            for Read { row, .. } in item.reads(launch.kernel) {
                let entry = uses.entry(BufferId(row.slot)).or_default();
                *entry = (true, entry.1, entry.2.max(row.row + 1));
            }
            for (row, _) in item.writes() {
                let entry = uses.entry(BufferId(row.slot)).or_default();
                *entry = (entry.0, true, entry.2.max(row.row + 1));
            }
        }
    }
    let slot_of: BTreeMap<u32, u32> = uses.keys().zip(0u32..).map(|(b, slot)| (b.0, slot)).collect();
    let slot = |row: RowRef| RowRef { slot: slot_of.get(&row.slot).copied().unwrap_or(row.slot), ..row };
    let mut steps = Vec::with_capacity(launches.len());
    for launch in launches {
        let items: Vec<Item> = launch.items.iter().map(|item| item.map_rows(slot)).collect();
        steps.push(Step::Launch { launch: pool.launch(launch.kernel, &items)?, node: launch.node });
    }
    let slots = uses.values().map(|&(read, write, rows)| {
        let access = match (read, write) {
            (true, false) => Access::Read,
            (false, true) => Access::Write,
            _ => Access::ReadWrite,
        };
        SlotUse { rows, access }
    });
    let segment = Segment { name, device, slots: slots.collect(), steps };
    Ok((segment, uses.into_keys().collect()))
}

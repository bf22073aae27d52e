//! Launches and copies as segments and a schedule; items in the pool.

use std::collections::BTreeMap;

use fhe_core::params::{LimbIdx, Params};
use kernels_gpu::abi::{ABI_VERSION, RowRef};

use super::super::events;
use super::super::memory::Stage;
use super::calls::{Body, BodyIdx};
use super::{Addressed, Part, arena};
use crate::compile::Options;
use crate::error::Result;
use crate::plan::{
    Access, Buffer, BufferId, BufferKind, DeviceIdx, HostStep, Item, KeyId, NodeId, Peak, Plan, PlanStep,
    PoolWriter, Read, RowCopy, Segment, SegmentId, Sharding, SlotUse, Step, Tier,
};
use crate::poly_ir::Function;

/// What a plan shares: the pool, segments, and the bodies of callees that are lowered already.
pub(super) struct Emission<'a> {
    pub(super) params: &'a Params,
    pub(super) sharding: Sharding,
    pool: PoolWriter,
    segments: Vec<Segment>,
    pub(super) bodies: Vec<Body>,
    /// Nodes of the next body go on after those of the function and of the bodies before.
    next_node: u32,
}

impl<'a> Emission<'a> {
    pub(super) fn new(function: &Function, params: &'a Params, sharding: Sharding) -> Self {
        let pool = PoolWriter::new(params.primes(), params.word());
        let next_node = function.values.len() as u32;
        Self { params, sharding, pool, segments: Vec::new(), bodies: Vec::new(), next_node }
    }

    /// The first node of a body of so many values.
    pub(super) fn first_node(&mut self, n_values: usize) -> u32 {
        self.next_node += n_values as u32;
        self.next_node - n_values as u32
    }

    /// The steps of a function, over its own buffers. `body` is the number, the name and the first node of a callee.
    pub(super) fn steps(
        &mut self,
        parts: Vec<Part>,
        body: Option<(BodyIdx, &str, u32)>,
        buffers: &[Buffer],
        options: &Options,
    ) -> Result<Vec<PlanStep>> {
        let mut schedule = Vec::new();
        let first = if body.is_some() { self.segments.len() } else { 0 };
        let prefix = body.map(|(BodyIdx(i), name, _)| format!("{name}#{i}.")).unwrap_or_default();
        let first_node = body.map_or(0, |(.., node)| node);
        for part in parts {
            let launches = match part {
                Part::Call(body, bound) => {
                    let steps = self.bodies.get(body.0).map(|body| body.steps(&bound)).unwrap_or_default();
                    schedule.extend(steps);
                    continue;
                }
                Part::Stage(Stage::Copies(copies)) => {
                    // A step for each stream, in the order of the list.
                    let device = |copy: &RowCopy| buffers.get(copy.to.buffer.0 as usize).map(|b| b.device);
                    let steps = copies.chunk_by(|a, b| device(a) == device(b));
                    schedule.extend(steps.map(|copies| PlanStep::Copy(copies.to_vec())));
                    continue;
                }
                Part::Stage(Stage::Launches(launches)) => launches,
            };
            let moved = |launch: Addressed| Addressed { node: NodeId(launch.node.0 + first_node), ..launch };
            // Between exchanges devices do not wait for one another.
            let mut by_device: BTreeMap<DeviceIdx, Vec<Addressed>> = BTreeMap::new();
            for launch in launches.into_iter().map(moved) {
                by_device.entry(launch.device).or_default().push(launch);
            }
            for (device, mut launches) in by_device {
                while let Some(level) = launches.first().map(|launch| launch.level) {
                    let same = launches.iter().take_while(|launch| launch.level == level).count();
                    let after = launches.split_off(same.min(options.segment_launches.max(1) as usize));
                    let chunk = core::mem::replace(&mut launches, after);
                    let name = format!("{prefix}s{}_level{level}", self.segments.len() - first);
                    let (segment, bindings) = segment(name, device, chunk, &mut self.pool)?;
                    let id = SegmentId(self.segments.len() as u32);
                    schedule.push(PlanStep::Call { segment: id, bindings });
                    self.segments.push(segment);
                }
            }
        }
        Ok(schedule)
    }

    /// The plan.
    pub(super) fn finish(
        self,
        function: &Function,
        buffers: Vec<Buffer>,
        setup: Vec<HostStep>,
        schedule: Vec<PlanStep>,
    ) -> Result<Plan> {
        let params = self.params;
        let to_sparse = buffers.iter().any(|b| b.kind == BufferKind::Key(KeyId::ToSparse));
        let sparse_limbs = if to_sparse { KeyId::ToSparse.limbs(params)? } else { Vec::new() };
        let mut plan = Plan {
            abi_version: ABI_VERSION,
            name: function.name.clone(),
            params_digest: params.digest(),
            word: params.word(),
            log_n: params.log_n(),
            primes: params.primes().to_vec(),
            roots: (0..params.primes().len()).map(|i| params.root(LimbIdx(i as u32))).collect(),
            sparse_limbs,
            pool: self.pool.finish(),
            n_groups: self.sharding.n_groups(),
            buffers,
            segments: self.segments,
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
    launches: Vec<Addressed>,
    pool: &mut PoolWriter,
) -> Result<(Segment, Vec<BufferId>)> {
    // Reads and writes by buffer; the arena is always there, and comes first since arenas do.
    let mut uses: BTreeMap<BufferId, (bool, bool, u32)> = BTreeMap::new();
    uses.insert(arena(device), (false, false, 0));
    let mut reads = Vec::new();
    for launch in &launches {
        for item in &launch.items {
            item.reads_into(launch.kernel, &mut reads);
            for &Read { row, .. } in &reads {
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
        let items: Vec<Item> = launch.items.into_iter().map(|item| item.map_rows(slot)).collect();
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

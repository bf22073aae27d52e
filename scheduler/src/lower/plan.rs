//! `poly_ir` to a plan: order, batching, memory, segments.
//!
//! 1. *Rows.* Each limb of a computed value is a row; `slice` and `concat` only rename rows; inputs, keys and
//!    constants are rows of their buffers; what is returned is computed in place in the output's buffer.
//!    A limb that nothing needs is not computed.
//! 2. *Order.* Values of consecutive `ckks_ir` operations of one level form a group, up to
//!    [`Options::batch_rows`] rows. In a group, values of the same depth and kernel become one launch (unless the
//!    cache is too small for it, [`Options::cache_bytes`]): the
//!    transforms of all digits, both halves of a key switch, all rotations of a hoisted set.
//! 3. *Memory.* The lowest free row of the arena; rows are free after their last reader; in place where the
//!    kernel allows.
//!    What does not fit the device is fetched and spilled: `lower::memory`.
//! 4. *Segments.* A run of groups of one level, up to [`Options::segment_launches`] launches.

mod batches;
mod items;

use std::collections::{BTreeMap, BTreeSet};

use fhe_core::params::{Level, LimbIdx, Params};
use kernels_gpu::abi::{ABI_VERSION, ARENA, KernelId, RowItem, RowRef};

use super::memory::{self, Arena, Stage};
use crate::ckks_ir::InputIdx;
use crate::compile::Options;
use crate::error::Result;
use crate::plan::{
    Access, Buffer, BufferId, BufferKind, DeviceIdx, HostStep, Item, KeyId, NodeId, Peak, Plan, PlanStep,
    PoolWriter, Segment, SegmentId, SlotUse, Step, Tier,
};
use crate::poly_ir::{EncodedIdx, Function, Op, PolyId};

const ARENA_BUFFER: BufferId = BufferId(ARENA);

/// A row of the program: a limb of a value, under whatever name.
#[derive(Clone, Copy, Debug)]
struct Row {
    limb: LimbIdx,
    /// Where it is, once it is known.
    place: Option<(BufferId, u32)>,
    /// The value that computes it.
    made_by: Option<PolyId>,
    needed: bool,
    /// The last launch that reads it, and by how many items.
    last_read: Option<(usize, u32)>,
}

/// A launch before its rows have addresses.
#[derive(Debug)]
struct Batch {
    kernel: KernelId,
    values: Vec<PolyId>,
    level: Level,
}

/// Lowers a verified function.
///
/// # Errors
/// [`crate::Error::TooLarge`] when the pool does not fit its index; [`crate::Error::DeviceBudget`] when one item
/// does not fit the device; [`crate::Error::Core`] when a level is not there.
pub fn lower(function: &Function, params: &Params, options: &Options) -> Result<Plan> {
    let mut lowering = Lowering {
        function,
        params,
        rows: Vec::new(),
        of: Vec::new(),
        buffers: Vec::new(),
        by_kind: BTreeMap::new(),
        slots: Vec::new(),
        slot_rows: Vec::new(),
        factor_rows: Vec::new(),
        begun: BTreeSet::new(),
    };
    let (setup, uploads) = lowering.make_buffers()?;
    lowering.make_rows();
    let (copies, downloads) = lowering.place_outputs();
    lowering.mark_needed();
    lowering.find_begun();
    let batches = lowering.batches(options);
    let launches = lowering.assign(&batches, &copies);
    let row_bytes = (params.n() * params.word().bytes()) as u64;
    let buffers = core::mem::take(&mut lowering.buffers);
    let fitted = memory::fit(launches, buffers, row_bytes, &options.memory)?;
    lowering.buffers = fitted.buffers;
    lowering.emit(fitted.stages, setup, uploads, downloads, options)
}

/// A launch whose rows are (buffer, row) pairs: slots come with segments.
#[derive(Clone, Debug)]
pub(crate) struct Addressed {
    pub(super) kernel: KernelId,
    pub(super) items: Vec<Item>,
    pub(super) node: NodeId,
    pub(super) level: Level,
}

impl Addressed {
    /// The same kernel on other items.
    pub(super) fn with_items(&self, items: Vec<Item>) -> Self {
        let Self { kernel, node, level, .. } = *self;
        Self { kernel, items, node, level }
    }
}

/// A copy into an output's buffer of a row that lives elsewhere.
struct Copy {
    from: usize,
    to: (BufferId, u32),
}

struct Lowering<'a> {
    function: &'a Function,
    params: &'a Params,
    rows: Vec<Row>,
    /// The rows of each value, by position in its basis.
    of: Vec<Vec<usize>>,
    buffers: Vec<Buffer>,
    by_kind: BTreeMap<BufferKind, BufferId>,
    /// The buffer of each vector of slots, its rows, and those of the factors of the special FFT.
    slots: Vec<BufferId>,
    slot_rows: Vec<[usize; 2]>,
    factor_rows: Vec<usize>,
    /// The transforms that end where they are read.
    begun: BTreeSet<PolyId>,
}

impl Lowering<'_> {
    fn buffer(&mut self, kind: BufferKind, rows: usize) -> BufferId {
        self.buffers.push(Buffer { device: DeviceIdx(0), tier: Tier::Device, rows: rows as u32, kind });
        let id = BufferId(self.buffers.len() as u32 - 1);
        self.by_kind.insert(kind, id);
        id
    }

    /// The arena, inputs that are read, outputs, keys, constants.
    fn make_buffers(&mut self) -> Result<(Vec<HostStep>, Vec<PlanStep>)> {
        self.buffer(BufferKind::Arena, 0);
        let function = self.function;
        let (mut setup, mut uploads) = (Vec::new(), Vec::new());
        let mut keys: BTreeMap<KeyId, ()> = BTreeMap::new();
        let mut inputs: BTreeMap<InputIdx, ()> = BTreeMap::new();
        for value in &function.values {
            match value.op {
                Op::Key { key, .. } => _ = keys.insert(key, ()),
                Op::Input { input, .. } => _ = inputs.insert(input, ()),
                _ => {}
            }
        }
        for &input in inputs.keys() {
            let rows = 2 * function.inputs[input.0 as usize].len();
            let buffer = self.buffer(BufferKind::Input(input), rows);
            uploads.push(PlanStep::Host(HostStep::Upload { input, buffer }));
        }
        for outputs in function.outputs.chunks(2) {
            if let Some(output) = outputs.first() {
                let rows = 2 * function.value(output.value).basis.len();
                self.buffer(BufferKind::Output(output.output), rows);
            }
        }
        let key_rows = self.params.digits().len() * 2 * self.params.primes().len();
        for &key in keys.keys() {
            let buffer = self.buffer(BufferKind::Key(key), key_rows);
            setup.push(HostStep::LoadKey { key, buffer });
        }
        if !function.slots.is_empty() {
            setup.push(HostStep::LoadFactors { buffer: self.buffer(BufferKind::Factors, 2) });
        }
        for slots in &function.slots {
            let buffer = self.buffer(BufferKind::Slots(slots.constant), 2);
            setup.push(HostStep::LoadSlots { encoded: *slots, buffer });
            self.slots.push(buffer);
        }
        for encoded in &function.encoded {
            let rows = encoded.basis(self.params)?.len();
            let buffer = self.buffer(BufferKind::Constant(encoded.constant), rows);
            setup.push(HostStep::Encode { encoded: *encoded, buffer });
        }
        Ok((setup, uploads))
    }

    fn find(&self, kind: BufferKind) -> BufferId {
        self.by_kind.get(&kind).copied().unwrap_or(ARENA_BUFFER)
    }

    /// The buffer of an encoded constant: they come last, in order.
    fn constant_buffer(&self, index: EncodedIdx) -> BufferId {
        BufferId((self.buffers.len() - self.function.encoded.len()) as u32 + index.0)
    }

    /// Two rows of doubles, which have no limb.
    fn double_rows(
        &mut self,
        place: impl Fn(u32) -> Option<(BufferId, u32)>,
        made_by: Option<PolyId>,
    ) -> [usize; 2] {
        [0, 1].map(|part| {
            let place = place(part);
            self.rows.push(Row { limb: LimbIdx(0), place, made_by, needed: false, last_read: None });
            self.rows.len() - 1
        })
    }

    fn make_rows(&mut self) {
        let function = self.function;
        for buffer in self.slots.clone() {
            let rows = self.double_rows(|part| Some((buffer, part)), None);
            self.slot_rows.push(rows);
        }
        if !self.slots.is_empty() {
            let buffer = self.find(BufferKind::Factors);
            self.factor_rows = self.double_rows(|part| Some((buffer, part)), None).to_vec();
        }
        let n_primes = self.params.primes().len() as u32;
        // Rows outside the arena are one row under any number of names.
        let mut outside: BTreeMap<(BufferId, u32), usize> = BTreeMap::new();
        for id in function.ids() {
            let value = function.value(id);
            let source = |limb: &LimbIdx, parts: &[PolyId]| {
                parts.iter().find_map(|&part| {
                    let at = function.value(part).basis.iter().position(|l| l == limb)?;
                    Some(self.of[part.0 as usize][at])
                })
            };
            let place: Box<dyn Fn(usize, LimbIdx) -> (BufferId, u32)> = match &value.op {
                Op::EmbedInverse(_) => {
                    let rows = self.double_rows(|_| None, Some(id));
                    self.of.push(rows.to_vec());
                    continue;
                }
                Op::Slice(a) => {
                    let names = value.basis.iter().filter_map(|l| source(l, &[*a])).collect();
                    self.of.push(names);
                    continue;
                }
                Op::Concat(parts) => {
                    let names = value.basis.iter().filter_map(|l| source(l, parts)).collect();
                    self.of.push(names);
                    continue;
                }
                Op::Input { input, poly } => {
                    let buffer = self.find(BufferKind::Input(*input));
                    let first = u32::from(*poly) * value.basis.len() as u32;
                    Box::new(move |position, _| (buffer, first + position as u32))
                }
                Op::Constant(e) => {
                    let buffer = self.constant_buffer(*e);
                    Box::new(move |position, _| (buffer, position as u32))
                }
                Op::Key { key, digit, half } => {
                    let buffer = self.find(BufferKind::Key(*key));
                    let first = (digit * 2 + u32::from(*half)) * n_primes;
                    Box::new(move |_, limb| (buffer, first + limb.0))
                }
                _ => {
                    let row =
                        |&limb| Row { limb, place: None, made_by: Some(id), needed: false, last_read: None };
                    let first = self.rows.len();
                    self.rows.extend(value.basis.iter().map(row));
                    self.of.push((first..self.rows.len()).collect());
                    continue;
                }
            };
            let mut names = Vec::with_capacity(value.basis.len());
            for (position, &limb) in value.basis.iter().enumerate() {
                let place = place(position, limb);
                let rows = &mut self.rows;
                names.push(*outside.entry(place).or_insert_with(|| {
                    rows.push(Row {
                        limb,
                        place: Some(place),
                        made_by: None,
                        needed: false,
                        last_read: None,
                    });
                    rows.len() - 1
                }));
            }
            self.of.push(names);
        }
    }

    /// Computed rows that are returned once live in the output's buffer; others are copied there.
    fn place_outputs(&mut self) -> (Vec<Copy>, Vec<PlanStep>) {
        let (mut copies, mut downloads) = (Vec::new(), Vec::new());
        for output in &self.function.outputs {
            let buffer = self.find(BufferKind::Output(output.output));
            let names = &self.of[output.value.0 as usize];
            for (position, &from) in names.iter().enumerate() {
                let row = &mut self.rows[from];
                let to = (buffer, (usize::from(output.poly) * names.len() + position) as u32);
                row.needed = true;
                if row.place.is_none() {
                    row.place = Some(to);
                } else {
                    copies.push(Copy { from, to });
                }
            }
            if output.poly == 1 {
                let output = output.output;
                downloads.push(PlanStep::Host(HostStep::Download { buffer, output }));
            }
        }
        (copies, downloads)
    }

    /// The rows that a value's row at a position is made of.
    fn operands(&self, id: PolyId, position: usize) -> Vec<usize> {
        let op = &self.function.value(id).op;
        let all = |a: PolyId| self.of[a.0 as usize].iter().copied();
        match op {
            Op::ConvertBasis(a) | Op::RoundResidues(a) => all(*a).collect(),
            Op::EmbedInverse(slots) => {
                self.slot_rows[slots.0 as usize].iter().chain(&self.factor_rows).copied().collect()
            }
            Op::Slice(_) | Op::Concat(_) => Vec::new(),
            _ => op.operands().into_iter().map(|a| self.of[a.0 as usize][position]).collect(),
        }
    }

    fn mark_needed(&mut self) {
        for row in (0..self.rows.len()).rev() {
            // Operands have lower numbers than what is made of them.
            let Row { needed, made_by, .. } = self.rows[row];
            let Some(id) = made_by.filter(|_| needed) else { continue };
            let position = row - self.of[id.0 as usize][0];
            for operand in self.operands(id, position) {
                self.rows[operand].needed = true;
            }
        }
    }

    /// Gives every row an address, launch by launch.
    fn assign(&mut self, batches: &[Batch], copies: &[Copy]) -> Vec<Addressed> {
        for (launch, batch) in batches.iter().enumerate() {
            for &id in &batch.values {
                self.note_reads(id, launch);
            }
        }
        for copy in copies {
            self.rows[copy.from].last_read = Some((batches.len(), 1));
        }
        let mut arena = Arena::default();
        let mut addressed = Vec::with_capacity(batches.len() + 1);
        for (launch, batch) in batches.iter().enumerate() {
            let mut items = Vec::new();
            let mut dying: Vec<usize> = Vec::new();
            for &id in &batch.values {
                for reads in self.place_value(id, launch, batch.kernel, &mut arena) {
                    dying.extend(reads);
                }
            }
            self.items_of(batch, &mut items);
            // A row that was handed on to its successor is no longer its owner's to release.
            dying.sort_unstable();
            dying.dedup();
            let made = batch.values.iter().flat_map(|id| &self.of[id.0 as usize]);
            let taken: Vec<_> = made.filter_map(|&r| self.rows[r].place).collect();
            let taken: BTreeSet<(BufferId, u32)> = taken.into_iter().collect();
            for row in dying {
                match self.rows[row].place {
                    Some((ARENA_BUFFER, at)) if !taken.contains(&(ARENA_BUFFER, at)) => arena.release(at),
                    _ => {}
                }
            }
            let node = NodeId(batch.values.first().map_or(0, |id| id.0));
            addressed.push(Addressed { kernel: batch.kernel, items, node, level: batch.level });
        }
        self.buffers[0].rows = arena.peak();
        if !copies.is_empty() {
            let level = addressed.last().map_or(Level(0), |a| a.level);
            let node = NodeId(self.function.values.len().saturating_sub(1) as u32);
            let copy = |copy: &Copy| {
                let prime = self.rows[copy.from].limb.0;
                Item::Row(RowItem::new(address(copy.to), self.address(copy.from), prime))
            };
            let items = copies.iter().map(copy).collect();
            addressed.push(Addressed { kernel: KernelId::AddScalar, items, node, level });
        }
        addressed
    }

    fn needed_positions(&self, id: PolyId) -> Vec<usize> {
        let names = &self.of[id.0 as usize];
        (0..names.len()).filter(|&p| self.rows[names[p]].needed).collect()
    }

    /// The rows that each item of a value reads, an item's rows once.
    fn item_reads(&self, id: PolyId) -> Vec<Vec<usize>> {
        let positions = self.needed_positions(id);
        let once = |mut rows: Vec<usize>| {
            rows.sort_unstable();
            rows.dedup();
            rows
        };
        if matches!(
            self.function.value(id).op,
            Op::ConvertBasis(_) | Op::EmbedInverse(_) | Op::RoundResidues(_)
        ) {
            return vec![once(self.operands(id, 0))];
        }
        positions.iter().map(|&p| once(self.operands(id, p))).collect()
    }

    fn note_reads(&mut self, id: PolyId, launch: usize) {
        for row in self.item_reads(id).into_iter().flatten() {
            let last = &mut self.rows[row].last_read;
            *last = match *last {
                Some((at, n)) if at == launch => Some((launch, n + 1)),
                _ => Some((launch, 1)),
            };
        }
    }

    /// Places the rows of a value; returns the rows that die with each of its items.
    fn place_value(
        &mut self,
        id: PolyId,
        launch: usize,
        kernel: KernelId,
        arena: &mut Arena,
    ) -> Vec<Vec<usize>> {
        let in_place = kernel.in_place();
        let positions = self.needed_positions(id);
        let mut dying: Vec<Vec<usize>> = Vec::new();
        for reads in self.item_reads(id) {
            let dies = |r: &usize| self.rows[*r].last_read.is_some_and(|(at, _)| at == launch);
            dying.push(reads.into_iter().filter(dies).collect());
        }
        for (item, position) in positions.into_iter().enumerate() {
            let row = self.of[id.0 as usize][position];
            if self.rows[row].place.is_some() {
                continue;
            }
            let own = |r: &&usize| {
                let Row { place, last_read, .. } = self.rows[**r];
                in_place && matches!(place, Some((ARENA_BUFFER, _))) && last_read.is_some_and(|(_, n)| n == 1)
            };
            let reused = dying.get(item).and_then(|rows| rows.iter().find(own));
            let place = match reused {
                Some(&r) => self.rows[r].place,
                None => Some((ARENA_BUFFER, arena.take())),
            };
            self.rows[row].place = place;
        }
        dying
    }

    fn address(&self, row: usize) -> RowRef {
        self.rows[row].place.map_or(RowRef::NONE, address)
    }

    fn emit(
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
                    schedule.push(PlanStep::Copy(copies));
                    continue;
                }
            };
            let mut rest = launches.as_slice();
            while let Some(first) = rest.first() {
                let same = rest.iter().take_while(|l| l.level == first.level).count();
                let (chunk, after) = rest.split_at(same.min(options.segment_launches.max(1) as usize));
                rest = after;
                let (mut segment, bindings) = segment(chunk, &mut pool)?;
                segment.name = format!("s{}_level{}", segments.len(), first.level);
                schedule.push(PlanStep::Call { segment: SegmentId(segments.len() as u32), bindings });
                segments.push(segment);
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
            buffers: self.buffers,
            segments,
            setup,
            schedule,
            peaks: Vec::new(),
        };
        plan.peaks = peaks(&plan);
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

/// Until segments have slots, a row's slot is its buffer.
fn address((buffer, row): (BufferId, u32)) -> RowRef {
    RowRef { slot: buffer.0, row }
}

/// A segment over the buffers that its launches touch, and its bindings.
fn segment(launches: &[Addressed], pool: &mut PoolWriter) -> Result<(Segment, Vec<BufferId>)> {
    // Reads and writes by buffer; the arena is always there.
    let mut uses: BTreeMap<BufferId, (bool, bool, u32)> = BTreeMap::new();
    uses.insert(ARENA_BUFFER, (false, false, 0));
    for launch in launches {
        for item in &launch.items {
            for (row, _) in item.reads(launch.kernel) {
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
    let segment = Segment { name: String::new(), slots: slots.collect(), steps };
    Ok((segment, uses.into_keys().collect()))
}

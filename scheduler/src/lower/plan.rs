//! `poly_ir` to a plan: order, batching, memory, segments.
//!
//! 1. *Rows.* Each limb of a computed value is a row; `slice` and `concat` only rename rows; inputs, keys and
//!    constants are rows of their buffers; what is returned is computed in place in the output's buffer.
//!    A limb that nothing needs is not computed.
//! 2. *Order.* Values of consecutive `ckks_ir` operations of one level form a group, up to
//!    [`Options::batch_rows`] rows. In a group, values of the same depth and kernel become one launch (unless the
//!    cache is too small for it, [`Options::cache_bytes`]): the
//!    transforms of all digits, both halves of a key switch, all rotations of a hoisted set.
//! 3. *Devices.* Independent parts go to groups of devices (`lower::groups`). A row is on the device of its group that owns its limb, and computed there: a launch is one on each device that owns some of its
//!    rows. What a conversion reads from elsewhere is copied before it (docs/adr/0011).
//! 4. *Memory.* The lowest free row of the device's arena; rows are free after their last reader; in place where the
//!    kernel allows.
//!    What does not fit the device is fetched and spilled: `lower::memory`.
//!    A call is a step between launches; the bodies of callees are lowered once, in `calls`.
//! 5. *Segments.* A run of groups of one level between exchanges, up to [`Options::segment_launches`] launches a device.

mod assign;
mod batches;
mod calls;
mod columns;
mod emit;
mod items;

use std::collections::{BTreeMap, BTreeSet};

use fhe_core::params::{Level, LimbIdx, Params};
use kernels_gpu::abi::{KernelId, RowRef};

use super::groups::{self, Divided};
use super::memory::{self, Stage};
use crate::ckks_ir::{CallIdx, InputIdx};
use crate::compile::Options;
use crate::error::Result;
use crate::plan::{
    Buffer, BufferId, BufferKind, DeviceIdx, HostStep, Item, KeyId, NodeId, Plan, PlanStep, Sharding, Tier,
};
use crate::poly_ir::{EncodedIdx, Function, Op, PolyId, SlotsIdx, inline_all, key_of};
use calls::{Body, BodyIdx, Crossing, Encoding};
use columns::Columns;
use emit::Emission;
pub(crate) use emit::peaks;

/// The arenas come first, by device.
const fn arena(device: DeviceIdx) -> BufferId {
    BufferId(device.0)
}

/// A row of the program: a limb of a value, under whatever name.
#[derive(Clone, Copy, Debug)]
struct Row {
    limb: LimbIdx,
    /// The device that has it and computes it.
    device: DeviceIdx,
    /// Where it is, once it is known.
    place: Option<(BufferId, u32)>,
    /// Which part of that row, of a plaintext whose values are repeated; else 0.
    part: u32,
    /// The value that computes it.
    made_by: Option<PolyId>,
    needed: bool,
    /// Whether it crosses a call, as an argument or a result.
    passed: bool,
    /// The last launch that reads it, on whatever device, and by how many items.
    last_read: Option<(usize, u32)>,
}

impl Row {
    fn new(
        limb: LimbIdx,
        device: DeviceIdx,
        place: Option<(BufferId, u32)>,
        made_by: Option<PolyId>,
    ) -> Self {
        Self { limb, device, place, part: 0, made_by, needed: false, passed: false, last_read: None }
    }
}

/// What a run does, before rows have addresses.
#[derive(Debug)]
enum Work {
    Launch(Batch),
    Call(CallIdx),
}

/// A part of the schedule between uploads and downloads.
#[derive(Debug)]
enum Part {
    Stage(Stage),
    /// A body over the buffers that its own are here.
    Call(BodyIdx, BTreeMap<BufferId, BufferId>),
}

impl Part {
    fn stage(self) -> Option<Stage> {
        match self {
            Self::Stage(stage) => Some(stage),
            Self::Call(..) => None,
        }
    }
}

/// A limb outside of the arenas: a row, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Outside {
    place: (BufferId, u32),
    part: u32,
}

/// Rows outside of the arenas, which are one row under any number of names: by buffer, and there by row and part.
#[derive(Debug, Default)]
struct OutsideRows(Vec<Vec<Option<usize>>>);

impl OutsideRows {
    /// That of a place in a buffer whose rows hold `2^log_repeat` limbs each.
    fn at(&mut self, outside: Outside, log_repeat: u32) -> &mut Option<usize> {
        let Outside { place: (buffer, row), part } = outside;
        let (buffer, at) = (buffer.0 as usize, ((row as usize) << log_repeat) + part as usize);
        if self.0.len() <= buffer {
            self.0.resize_with(buffer + 1, Vec::new);
        }
        let rows = &mut self.0[buffer];
        if rows.len() <= at {
            rows.resize(at + 1, None);
        }
        &mut rows[at]
    }
}

/// A launch before its rows have addresses.
#[derive(Debug)]
struct Batch {
    kernel: KernelId,
    values: Vec<PolyId>,
    level: Level,
}

impl Batch {
    /// Whether it ends what an earlier launch has begun, in place: it makes and reads no other rows.
    fn ends_in_place(&self) -> bool {
        self.kernel == KernelId::NttRows
    }
}

/// Lowers a verified function, for [`Options::groups`] groups of devices: one, where these are to be chosen ([`super::grouping`]). One with
/// calls that does not fit a device is lowered with their bodies in place, and paged; so is one for several groups.
///
/// # Errors
/// [`crate::Error::TooLarge`] when the pool does not fit its index; [`crate::Error::DeviceBudget`] when one item
/// does not fit its device; [`crate::Error::Core`] when a level is not there.
pub fn lower(function: &Function, params: &Params, options: &Options) -> Result<Plan> {
    let n_groups = options.groups.unwrap_or(1);
    if n_groups > 1 && !function.calls.is_empty() {
        return lower(&inline_all(function), params, options);
    }
    let sharding = Sharding::in_groups(options.topology.n_devices(), n_groups);
    let divided = groups::divide(function, n_groups);
    let mut emission = Emission::new(&divided.function, params, sharding);
    let lowered = lower_function(&divided, options, &mut emission)?;
    let row_bytes = (params.n() * params.word().bytes()) as u64;
    let Lowered { parts, buffers, setup, uploads, downloads } = lowered;
    let (parts, buffers) = if function.calls.is_empty() {
        let stages = parts.into_iter().filter_map(Part::stage).collect();
        let ahead = options.prefetch_bytes / row_bytes;
        let fitted = memory::fit(stages, buffers, row_bytes, &options.memory, ahead)?;
        (fitted.stages.into_iter().map(Part::Stage).collect(), fitted.buffers)
    } else if memory::exceeds(&buffers, row_bytes, &options.memory) {
        return lower(&inline_all(function), params, options);
    } else {
        (parts, buffers)
    };
    let mut schedule = uploads;
    schedule.extend(emission.steps(parts, None, &buffers, options)?);
    schedule.extend(downloads);
    emission.finish(&divided.function, buffers, setup, schedule)
}

/// A function over its own buffers, in device memory: those of a callee are formal.
struct Lowered {
    parts: Vec<Part>,
    buffers: Vec<Buffer>,
    setup: Vec<HostStep>,
    uploads: Vec<PlanStep>,
    downloads: Vec<PlanStep>,
}

fn lower_function(divided: &Divided<'_>, options: &Options, emission: &mut Emission<'_>) -> Result<Lowered> {
    let Divided { function, group, original } = divided;
    let bodies = emission.bodies_of(function, options)?;
    let params = emission.params;
    let embedded = function.values.iter().zip(group).rev().filter_map(|(value, &group)| match value.op {
        Op::EmbedInverse(slots) => Some((slots, group)),
        _ => None,
    });
    let mut lowering = Lowering {
        slot_groups: embedded.collect(),
        function,
        group,
        original,
        params,
        sharding: emission.sharding,
        bodies: &emission.bodies,
        rows: Vec::new(),
        of: Vec::new(),
        buffers: Vec::new(),
        by_kind: BTreeMap::new(),
        constants: BTreeMap::new(),
        encodings: BTreeMap::new(),
        slots: Vec::new(),
        slot_rows: Vec::new(),
        factor_rows: BTreeMap::new(),
        begun: vec![false; function.values.len()],
        columns: vec![None; function.values.len()],
        replicas: BTreeMap::new(),
        crossing: Crossing::default(),
    };
    let (mut setup, uploads) = lowering.make_buffers()?;
    lowering.bind_calls(&bodies, &mut setup)?;
    lowering.make_rows()?;
    lowering.pass_arguments();
    let (copies, downloads) = lowering.place_outputs();
    lowering.mark_needed();
    lowering.find_begun();
    lowering.find_columns();
    let work = lowering.batches(options);
    let row_bytes = (params.n() * params.word().bytes()) as u64;
    let parts = lowering.assign(&work, &copies, options.prefetch_bytes / row_bytes);
    Ok(Lowered { parts, buffers: lowering.buffers, setup, uploads, downloads })
}

/// A launch whose rows are (buffer, row) pairs: slots come with segments.
#[derive(Clone, Debug)]
pub(crate) struct Addressed {
    pub(super) device: DeviceIdx,
    pub(super) kernel: KernelId,
    pub(super) items: Vec<Item>,
    pub(super) node: NodeId,
    pub(super) level: Level,
}

impl Addressed {
    /// The same kernel on other items.
    pub(super) fn with_items(&self, items: Vec<Item>) -> Self {
        let Self { device, kernel, node, level, .. } = *self;
        Self { device, kernel, items, node, level }
    }
}

/// A copy into an output's buffer of a row that lives elsewhere.
struct Copy {
    from: usize,
    to: (BufferId, u32),
}

struct Lowering<'a> {
    function: &'a Function,
    /// By value, the group of devices that computes it, and its number in the function before that was divided.
    group: &'a [u32],
    original: &'a [PolyId],
    params: &'a Params,
    sharding: Sharding,
    bodies: &'a [Body],
    rows: Vec<Row>,
    /// The rows of each value, by position in its basis.
    of: Vec<Vec<usize>>,
    buffers: Vec<Buffer>,
    by_kind: BTreeMap<(BufferKind, DeviceIdx), BufferId>,
    /// A constant may be encoded at several levels.
    constants: BTreeMap<(EncodedIdx, DeviceIdx), BufferId>,
    /// Constants and slots by what they are: those of calls may be the same.
    encodings: BTreeMap<(Encoding, DeviceIdx), BufferId>,
    /// The buffer of each vector of slots, its rows, and by device those of the factors of the special FFT.
    slots: Vec<BufferId>,
    /// The group that embeds each.
    slot_groups: BTreeMap<SlotsIdx, u32>,
    slot_rows: Vec<[usize; 2]>,
    factor_rows: BTreeMap<DeviceIdx, [usize; 2]>,
    /// By value, whether it is a transform that ends where it is read.
    begun: Vec<bool>,
    /// By value, how it stands at a conversion between two transforms.
    columns: Vec<Option<Columns>>,
    /// By row and the device that reads it, where that is another: where its copy is.
    replicas: BTreeMap<(usize, DeviceIdx), assign::Replica>,
    /// What crosses calls.
    crossing: Crossing,
}

impl Lowering<'_> {
    fn buffer(&mut self, kind: BufferKind, device: DeviceIdx, rows: usize) -> BufferId {
        self.buffers.push(Buffer { device, tier: Tier::Device, rows: rows as u32, kind });
        let id = BufferId(self.buffers.len() as u32 - 1);
        self.by_kind.insert((kind, device), id);
        id
    }

    /// The buffers of an object, on each device of a group that owns limbs of it; `2^log_repeat` limbs a row.
    fn object(
        &mut self,
        group: u32,
        kind: BufferKind,
        basis: &[LimbIdx],
        n_blocks: usize,
        log_repeat: u32,
    ) -> Vec<(DeviceIdx, BufferId)> {
        let mut buffers = Vec::new();
        for device in self.sharding.devices_of(group) {
            let of_block = self.sharding.owned(device, basis).count();
            if of_block > 0 {
                let rows = (n_blocks * of_block).div_ceil(1 << log_repeat);
                buffers.push((device, self.buffer(kind, device, rows)));
            }
        }
        buffers
    }

    /// The arenas, inputs that are read, outputs, keys, constants.
    fn make_buffers(&mut self) -> Result<(Vec<HostStep>, Vec<PlanStep>)> {
        for device in self.sharding.devices() {
            self.buffer(BufferKind::Arena, device, 0);
        }
        let function = self.function;
        let (mut setup, mut uploads) = (Vec::new(), Vec::new());
        let mut keys: BTreeSet<(KeyId, u32)> = BTreeSet::new();
        let mut inputs: BTreeSet<(InputIdx, u32)> = BTreeSet::new();
        // A constant that nobody reads is of the first group.
        let mut encoded: BTreeMap<EncodedIdx, BTreeSet<u32>> = BTreeMap::new();
        for (value, &group) in function.values.iter().zip(self.group) {
            match value.op {
                Op::Key { key, .. } => _ = keys.insert((key, group)),
                Op::Input { input, .. } => _ = inputs.insert((input, group)),
                Op::Constant(e) => _ = encoded.entry(e).or_default().insert(group),
                _ => {}
            }
        }
        for (input, group) in inputs {
            let basis = &function.inputs[input.0 as usize];
            for (_, buffer) in self.object(group, BufferKind::Input(input), basis, 2, 0) {
                uploads.push(PlanStep::Host(HostStep::Upload { input, buffer }));
            }
        }
        for outputs in function.outputs.chunks(2) {
            if let Some(output) = outputs.first() {
                let (group, basis) = (self.group_of(output.value), &function.value(output.value).basis);
                self.object(group, BufferKind::Output(output.output), basis, 2, 0);
            }
        }
        for (key, group) in keys {
            let (limbs, n_blocks) = (key.limbs(self.params)?, key.n_blocks(self.params) as usize);
            for (_, buffer) in self.object(group, BufferKind::Key(key), &limbs, n_blocks, 0) {
                setup.push(HostStep::LoadKey { key, buffer });
            }
        }
        for device in self.devices_of_slots() {
            setup.push(HostStep::LoadFactors { buffer: self.buffer(BufferKind::Factors, device, 2) });
        }
        for (i, slots) in (0u32..).zip(&function.slots) {
            let device = self.device_of_slots(SlotsIdx(i));
            let buffer = self.buffer(BufferKind::Slots(slots.constant), device, 2);
            setup.push(HostStep::LoadSlots { encoded: *slots, buffer });
            self.slots.push(buffer);
            self.encodings.insert((Encoding::Slots(key_of(slots)), device), buffer);
        }
        for (i, of) in (0u32..).map(EncodedIdx).zip(&function.encoded) {
            let (basis, kind) = (of.basis(self.params)?, BufferKind::Constant(of.constant));
            for group in encoded.remove(&i).unwrap_or_else(|| BTreeSet::from([0])) {
                for (device, buffer) in self.object(group, kind, &basis, 1, of.log_repeat) {
                    setup.push(HostStep::Encode { encoded: *of, buffer });
                    self.constants.insert((i, device), buffer);
                    self.encodings.insert((Encoding::Values(key_of(of)), device), buffer);
                }
            }
        }
        Ok((setup, uploads))
    }

    /// The buffer of a kind on a device.
    fn find(&self, kind: BufferKind, device: DeviceIdx) -> BufferId {
        self.by_kind.get(&(kind, device)).copied().unwrap_or(arena(device))
    }

    /// Two rows of doubles, which have no limb.
    fn double_rows(
        &mut self,
        device: DeviceIdx,
        place: impl Fn(u32) -> Option<(BufferId, u32)>,
        made_by: Option<PolyId>,
    ) -> [usize; 2] {
        [0, 1].map(|part| {
            self.rows.push(Row::new(LimbIdx(0), device, place(part), made_by));
            self.rows.len() - 1
        })
    }

    fn group_of(&self, id: PolyId) -> u32 {
        self.group.get(id.0 as usize).copied().unwrap_or(0)
    }

    /// The device of a vector of slots and of what is embedded of it: they take turns in their group.
    fn device_of_slots(&self, slots: SlotsIdx) -> DeviceIdx {
        self.sharding.nth(self.slot_groups.get(&slots).copied().unwrap_or(0), slots.0)
    }

    /// The devices that have slots.
    fn devices_of_slots(&self) -> BTreeSet<DeviceIdx> {
        (0..self.function.slots.len() as u32).map(|i| self.device_of_slots(SlotsIdx(i))).collect()
    }

    fn make_rows(&mut self) -> Result<()> {
        let function = self.function;
        for (i, buffer) in (0u32..).zip(self.slots.clone()) {
            let device = self.device_of_slots(SlotsIdx(i));
            let rows = self.double_rows(device, |part| Some((buffer, part)), None);
            self.slot_rows.push(rows);
        }
        for device in self.devices_of_slots() {
            let buffer = self.find(BufferKind::Factors, device);
            let rows = self.double_rows(device, |part| Some((buffer, part)), None);
            self.factor_rows.insert(device, rows);
        }
        let mut outside = OutsideRows::default();
        for id in function.ids() {
            let (value, group) = (function.value(id), self.group_of(id));
            let names = |parts: &[PolyId]| -> Vec<usize> {
                // Limbs mostly follow one another in a part as they do here.
                let mut next = vec![0; parts.len()];
                let mut source = |limb: &LimbIdx| {
                    parts.iter().zip(&mut next).find_map(|(&part, next)| {
                        let basis = &function.value(part).basis;
                        let at = match basis.get(*next) == Some(limb) {
                            true => *next,
                            false => basis.iter().position(|l| l == limb)?,
                        };
                        *next = at + 1;
                        Some(self.of[part.0 as usize][at])
                    })
                };
                value.basis.iter().filter_map(&mut source).collect()
            };
            let names = match &value.op {
                Op::EmbedInverse(slots) => {
                    self.double_rows(self.device_of_slots(*slots), |_| None, Some(id)).to_vec()
                }
                Op::Result { call, result, poly } => self.rows_of_result(*call, *result, *poly),
                Op::Slice(a) => names(&[*a]),
                Op::Concat(parts) => names(parts),
                Op::Input { input, poly } => {
                    let buffer = |device| self.find(BufferKind::Input(*input), device);
                    let places = self.places(group, buffer, &value.basis, (*poly).into(), &value.basis, 0);
                    self.outside(&mut outside, group, &value.basis, places, 0)
                }
                Op::Constant(e) => {
                    let buffer = |device| self.constants.get(&(*e, device)).copied().unwrap_or(arena(device));
                    let log_repeat = function.encoded[e.0 as usize].log_repeat;
                    let places = self.places(group, buffer, &value.basis, 0, &value.basis, log_repeat);
                    self.outside(&mut outside, group, &value.basis, places, log_repeat)
                }
                Op::Key { key, digit, half } => {
                    let buffer = |device| self.find(BufferKind::Key(*key), device);
                    let (limbs, block) = (key.limbs(self.params)?, digit * 2 + u32::from(*half));
                    let places = self.places(group, buffer, &limbs, block, &value.basis, 0);
                    self.outside(&mut outside, group, &value.basis, places, 0)
                }
                _ => {
                    let row = |&limb| Row::new(limb, self.sharding.owner(group, limb), None, Some(id));
                    let first = self.rows.len();
                    self.rows.extend(value.basis.iter().map(row));
                    (first..self.rows.len()).collect()
                }
            };
            self.of.push(names);
        }
        Ok(())
    }

    /// Where a group has the rows of some limbs, in a block of an object over a basis, whose buffer on each device is known; with
    /// `log_repeat` of the only block.
    fn places(
        &self,
        group: u32,
        buffer: impl Fn(DeviceIdx) -> BufferId,
        basis: &[LimbIdx],
        block: u32,
        limbs: &[LimbIdx],
        log_repeat: u32,
    ) -> Vec<Outside> {
        let place = |limb: &LimbIdx| {
            let position = basis.iter().position(|l| l == limb)?;
            let (device, row, part) = match log_repeat {
                0 => {
                    self.sharding.row(group, basis, block, position).map(|(device, row)| (device, row, 0))?
                }
                log_repeat => self.sharding.part(group, basis, log_repeat, position)?,
            };
            Some(Outside { place: (buffer(device), row), part })
        };
        limbs.iter().filter_map(place).collect()
    }

    /// Rows at known places, each of which holds `2^log_repeat` limbs.
    fn outside(
        &mut self,
        seen: &mut OutsideRows,
        group: u32,
        limbs: &[LimbIdx],
        places: Vec<Outside>,
        log_repeat: u32,
    ) -> Vec<usize> {
        let mut names = Vec::with_capacity(places.len());
        for (&limb, outside) in limbs.iter().zip(places) {
            let (rows, device) = (&mut self.rows, self.sharding.owner(group, limb));
            names.push(*seen.at(outside, log_repeat).get_or_insert_with(|| {
                rows.push(Row { part: outside.part, ..Row::new(limb, device, Some(outside.place), None) });
                rows.len() - 1
            }));
        }
        names
    }

    /// Computed rows that are returned once live in the output's buffer; others are copied there.
    fn place_outputs(&mut self) -> (Vec<Copy>, Vec<PlanStep>) {
        let (mut copies, mut downloads) = (Vec::new(), Vec::new());
        for output in &self.function.outputs {
            let kind = BufferKind::Output(output.output);
            let basis = &self.function.value(output.value).basis;
            let group = self.group_of(output.value);
            let places =
                self.places(group, |device| self.find(kind, device), basis, output.poly.into(), basis, 0);
            for (&from, Outside { place: to, .. }) in self.of[output.value.0 as usize].iter().zip(places) {
                let row = &mut self.rows[from];
                row.needed = true;
                if row.place.is_none() && !row.passed {
                    row.place = Some(to);
                } else {
                    copies.push(Copy { from, to });
                }
            }
            if output.poly == 1 {
                let output = output.output;
                let buffers = self.sharding.devices().filter_map(|device| self.by_kind.get(&(kind, device)));
                let step = |&buffer: &BufferId| PlanStep::Host(HostStep::Download { buffer, output });
                downloads.extend(buffers.map(step));
            }
        }
        (copies, downloads)
    }

    /// The rows that a value's row at a position is made of.
    fn operands(&self, id: PolyId, position: usize) -> Vec<usize> {
        let mut rows = Vec::new();
        self.operands_into(id, position, &mut rows);
        rows
    }

    /// The same in place of what `rows` holds: there are as many such lists as rows, and one allocation serves all.
    fn operands_into(&self, id: PolyId, position: usize, rows: &mut Vec<usize>) {
        rows.clear();
        let op = &self.function.value(id).op;
        let row = |a: PolyId| self.of[a.0 as usize][position];
        match op {
            Op::ConvertBasis { a, .. } | Op::RoundResidues(a) => rows.extend(&self.of[a.0 as usize]),
            Op::EmbedInverse(slots) => {
                let factors = self.factor_rows.get(&self.device_of_slots(*slots));
                rows.extend(self.slot_rows[slots.0 as usize].iter().chain(factors.into_iter().flatten()));
            }
            Op::Slice(_) | Op::Concat(_) | Op::Result { .. } => {}
            Op::InnerProduct { terms, init, .. } => {
                rows.extend(terms.iter().flat_map(|&(a, b)| [row(a), row(b)]));
                rows.extend(init.map(row));
            }
            op => rows.extend(op.operands().map(row)),
        }
    }

    /// The values whose rows a value is made of, some more than once; what other names stand for.
    fn makers(&self, id: PolyId) -> Vec<PolyId> {
        let mut makers = Vec::new();
        for a in self.function.value(id).op.operands() {
            for maker in self.of[a.0 as usize].iter().filter_map(|&row| self.rows[row].made_by) {
                if makers.last() != Some(&maker) {
                    makers.push(maker);
                }
            }
        }
        makers
    }

    fn mark_needed(&mut self) {
        let mut operands = Vec::new();
        for row in (0..self.rows.len()).rev() {
            // Operands have lower numbers than what is made of them.
            let Row { needed, made_by, .. } = self.rows[row];
            let Some(id) = made_by.filter(|_| needed) else { continue };
            let position = row - self.of[id.0 as usize][0];
            self.operands_into(id, position, &mut operands);
            for &operand in &operands {
                self.rows[operand].needed = true;
            }
        }
    }
}

/// Until segments have slots, a row's slot is its buffer.
fn address((buffer, row): (BufferId, u32)) -> RowRef {
    RowRef { slot: buffer.0, row }
}

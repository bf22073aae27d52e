//! Calls in a plan: bodies that are lowered once, and the buffers that each call binds (docs/adr/0012).
//!
//! A body is lowered over formal buffers: its inputs, outputs, keys and constants. A call says which buffer of the caller each of
//! them is. A value that crosses is an object in buffers of its own, [`BufferKind::Passed`], unless it is an input of the function: computed in place
//! where that can be, copied there where it is under other names already.
//!
//! ```text
//! arena   | callee's rows, from 0 | rows of the caller that live across the call |
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use fhe_core::params::LimbIdx;

use super::emit::Emission;
use super::{Lowered, Lowering, Row, arena, lower_function};
use crate::ckks_ir::CallIdx;
use crate::compile::Options;
use crate::error::{Error, Result};
use crate::lower::groups::Divided;
use crate::plan::{Buffer, BufferId, BufferKind, DeviceIdx, HostStep, Place, PlanStep, RowCopy};
use crate::poly_ir::{Call, Encoded, EncodedKey, Function, Op, key_of};

/// A body of an [`Emission`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BodyIdx(pub(super) usize);

/// A callee, lowered.
pub(super) struct Body {
    function: Arc<Function>,
    /// Over its own buffers.
    steps: Vec<PlanStep>,
    buffers: Vec<Buffer>,
    /// How its constants and slots are encoded, and of which of its constants.
    encoded: BTreeMap<BufferId, Encoded>,
}

/// What a buffer of plaintexts holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Encoding {
    Values(EncodedKey),
    Slots(EncodedKey),
}

/// An object by device.
type Buffers = Vec<(DeviceIdx, BufferId)>;

/// A value that crosses calls.
#[derive(Debug)]
struct Object {
    basis: Vec<LimbIdx>,
    /// Polynomial after polynomial.
    rows: Vec<usize>,
    /// Where it is: from the beginning for an input, otherwise once it is made.
    at: Option<Buffers>,
    /// Whether its buffers are given back after its last read: not those of an input, and not twice.
    gives_back: bool,
    /// The rows that it is copied from, if it is not made in place.
    copied_from: Vec<usize>,
    /// The call before which it is copied.
    copied_at: Option<usize>,
    /// The last work that reads it.
    last_read: usize,
}

#[derive(Clone, Copy, Debug)]
struct ObjectIdx(usize);

/// What a call binds.
#[derive(Debug)]
struct Bound {
    body: BodyIdx,
    /// But for inputs and outputs.
    buffers: BTreeMap<BufferId, BufferId>,
    arguments: Vec<ObjectIdx>,
    results: Vec<ObjectIdx>,
}

/// What crosses the calls of a function.
#[derive(Debug, Default)]
pub(super) struct Crossing {
    objects: Vec<Object>,
    of_row: BTreeMap<usize, ObjectIdx>,
    calls: Vec<Bound>,
    /// Buffers of objects that nothing reads any more.
    free: BTreeMap<Vec<LimbIdx>, Vec<Buffers>>,
    /// The buffers in which bodies pass values themselves.
    inner: BTreeMap<(BodyIdx, BufferId), BufferId>,
    /// Where in the work each call is.
    at: Vec<(usize, BodyIdx)>,
}

impl Emission<'_> {
    /// The body of each call of a function; equal callees are one.
    pub(super) fn bodies_of(&mut self, function: &Function, options: &Options) -> Result<Vec<BodyIdx>> {
        let callee = |call: &Call| {
            let problem = || format!("{:?} calls {}, which is not there", call.name, call.callee);
            let missing =
                || Error::Verify { after: "lower_plan".to_owned(), rule: "call", problem: problem() };
            function.callee(call).cloned().ok_or_else(missing)
        };
        function.calls.iter().map(|call| self.body(&callee(call)?, options)).collect()
    }

    fn body(&mut self, callee: &Arc<Function>, options: &Options) -> Result<BodyIdx> {
        let equal = |body: &Body| Arc::ptr_eq(&body.function, callee) || body.function == *callee;
        if let Some(known) = self.bodies.iter().position(equal) {
            return Ok(BodyIdx(known));
        }
        let Lowered { parts, buffers, setup, .. } = lower_function(&Divided::whole(callee), options, self)?;
        let encoded = setup.iter().filter_map(|step| match *step {
            HostStep::Encode { encoded, buffer } | HostStep::LoadSlots { encoded, buffer } => {
                Some((buffer, encoded))
            }
            _ => None,
        });
        let encoded = encoded.collect();
        let idx = BodyIdx(self.bodies.len());
        let first_node = self.first_node(callee.values.len());
        let steps = self.steps(parts, Some((idx, &callee.name, first_node)), &buffers, options)?;
        self.bodies.push(Body { function: Arc::clone(callee), steps, buffers, encoded });
        Ok(idx)
    }
}

impl Body {
    /// Its steps, over the buffers of a caller.
    pub(super) fn steps(&self, bound: &BTreeMap<BufferId, BufferId>) -> Vec<PlanStep> {
        let here = |id: &BufferId| bound.get(id).copied().unwrap_or(*id);
        let place = |place: Place| Place { buffer: here(&place.buffer), ..place };
        let copy = |copy: &RowCopy| RowCopy { from: place(copy.from), to: place(copy.to), rows: copy.rows };
        let step = |step: &PlanStep| match step {
            PlanStep::Call { segment, bindings } => {
                PlanStep::Call { segment: *segment, bindings: bindings.iter().map(here).collect() }
            }
            PlanStep::Copy(copies) => PlanStep::Copy(copies.iter().map(copy).collect()),
            step => step.clone(),
        };
        self.steps.iter().map(step).collect()
    }

    /// The rows of a device's arena that it uses.
    fn arena_rows(&self, device: DeviceIdx) -> u32 {
        self.buffers.get(device.0 as usize).map_or(0, |buffer| buffer.rows)
    }

    fn ids(&self) -> impl Iterator<Item = (BufferId, &Buffer)> {
        (0..).map(BufferId).zip(&self.buffers)
    }
}

impl Lowering<'_> {
    /// The buffers that bodies need here: keys and constants, each once; the results of calls.
    pub(super) fn bind_calls(&mut self, bodies: &[BodyIdx], setup: &mut Vec<HostStep>) -> Result<()> {
        let (function, known) = (self.function, self.bodies);
        for (call, &body_idx) in function.calls.iter().zip(bodies) {
            let Some(body) = known.get(body_idx.0) else { continue };
            let mut buffers = BTreeMap::new();
            for (id, buffer) in body.ids() {
                let here = match buffer.kind {
                    BufferKind::Arena => arena(buffer.device),
                    BufferKind::Input(_) | BufferKind::Output(_) | BufferKind::Spill => continue,
                    BufferKind::Passed => self.inner(body_idx, id, buffer),
                    BufferKind::Key(key) => {
                        self.shared(buffer, setup, |buffer| HostStep::LoadKey { key, buffer })
                    }
                    BufferKind::Factors => {
                        self.shared(buffer, setup, |buffer| HostStep::LoadFactors { buffer })
                    }
                    BufferKind::Constant(_) | BufferKind::Slots(_) => {
                        self.plaintext(call, body, (id, buffer), setup)?
                    }
                };
                buffers.insert(id, here);
            }
            let results = body.function.outputs.iter().step_by(2);
            let results = results.map(|output| body.function.value(output.value).basis.clone());
            let results = results.map(|basis| self.result(basis)).collect();
            self.crossing.calls.push(Bound { body: body_idx, buffers, arguments: Vec::new(), results });
        }
        Ok(())
    }

    fn inner(&mut self, body: BodyIdx, id: BufferId, buffer: &Buffer) -> BufferId {
        if let Some(&here) = self.crossing.inner.get(&(body, id)) {
            return here;
        }
        let here = self.buffer(BufferKind::Passed, buffer.device, buffer.rows as usize);
        self.crossing.inner.insert((body, id), here);
        here
    }

    /// What all calls and the function itself share.
    fn shared(
        &mut self,
        buffer: &Buffer,
        setup: &mut Vec<HostStep>,
        step: impl Fn(BufferId) -> HostStep,
    ) -> BufferId {
        if let Some(&known) = self.by_kind.get(&(buffer.kind, buffer.device)) {
            return known;
        }
        let here = self.buffer(buffer.kind, buffer.device, buffer.rows as usize);
        setup.push(step(here));
        here
    }

    /// A constant of a callee as the call gives it.
    fn plaintext(
        &mut self,
        call: &Call,
        body: &Body,
        (id, buffer): (BufferId, &Buffer),
        setup: &mut Vec<HostStep>,
    ) -> Result<BufferId> {
        let encoded = body.encoded.get(&id).and_then(|encoded| {
            let constant = *call.constants.get(encoded.constant.0 as usize)?;
            Some(Encoded { constant, ..*encoded })
        });
        let Some(encoded) = encoded else {
            let problem = format!("{:?} gives no constant for {} of its callee", call.name, buffer.kind);
            return Err(Error::Verify { after: "lower_plan".to_owned(), rule: "call", problem });
        };
        let is_slots = matches!(buffer.kind, BufferKind::Slots(_));
        let encoding =
            if is_slots { Encoding::Slots(key_of(&encoded)) } else { Encoding::Values(key_of(&encoded)) };
        if let Some(&known) = self.encodings.get(&(encoding, buffer.device)) {
            return Ok(known);
        }
        let (device, rows) = (buffer.device, buffer.rows as usize);
        let here = match is_slots {
            true => self.buffer(BufferKind::Slots(encoded.constant), device, rows),
            false => self.buffer(BufferKind::Constant(encoded.constant), device, rows),
        };
        setup.push(match is_slots {
            true => HostStep::LoadSlots { encoded, buffer: here },
            false => HostStep::Encode { encoded, buffer: here },
        });
        self.encodings.insert((encoding, device), here);
        Ok(here)
    }

    /// An object of new rows, which a call makes.
    fn result(&mut self, basis: Vec<LimbIdx>) -> ObjectIdx {
        let first = self.rows.len();
        let limbs = basis.iter().chain(&basis);
        let rows = limbs.map(|&limb| Row::new(limb, self.sharding.owner(0, limb), None, None));
        self.rows.extend(rows);
        self.object_of((first..self.rows.len()).collect(), basis, Vec::new())
    }

    fn object_of(&mut self, rows: Vec<usize>, basis: Vec<LimbIdx>, copied_from: Vec<usize>) -> ObjectIdx {
        let idx = ObjectIdx(self.crossing.objects.len());
        for &row in &rows {
            self.rows[row].passed = true;
            self.crossing.of_row.insert(row, idx);
        }
        let object =
            Object { basis, rows, at: None, gives_back: true, copied_from, copied_at: None, last_read: 0 };
        self.crossing.objects.push(object);
        idx
    }

    /// The rows of a polynomial of a result.
    pub(super) fn rows_of_result(&self, call: CallIdx, result: u32, poly: u8) -> Vec<usize> {
        let bound = self.crossing.calls.get(call.0 as usize);
        let object = bound.and_then(|bound| bound.results.get(result as usize));
        let rows = object.and_then(|&ObjectIdx(i)| self.crossing.objects.get(i)).map(|object| &object.rows);
        let rows = rows.map(Vec::as_slice).unwrap_or_default();
        let (first, second) = rows.split_at(rows.len() / 2);
        if poly == 0 { first.to_vec() } else { second.to_vec() }
    }

    /// Makes the arguments of calls objects: the same value is one, an input stays where it is, what is computed is so in place, and anything
    /// else is copied.
    pub(super) fn pass_arguments(&mut self) {
        let function = self.function;
        let objects = self.crossing.objects.iter().enumerate();
        let mut known: BTreeMap<Vec<usize>, ObjectIdx> =
            objects.map(|(i, object)| (object.rows.clone(), ObjectIdx(i))).collect();
        for (c, call) in function.calls.iter().enumerate() {
            for pair in &call.arguments {
                let rows: Vec<usize> = pair.iter().flat_map(|id| self.of[id.0 as usize].clone()).collect();
                for &row in &rows {
                    (self.rows[row].needed, self.rows[row].passed) = (true, true);
                }
                let basis = function.value(pair[0]).basis.clone();
                let argument = match known.get(&rows) {
                    Some(&object) => object,
                    None => self.argument(pair.map(|id| &function.value(id).op), rows.clone(), basis),
                };
                known.insert(rows, argument);
                if let Some(bound) = self.crossing.calls.get_mut(c) {
                    bound.arguments.push(argument);
                }
            }
        }
    }

    fn argument(&mut self, ops: [&Op; 2], rows: Vec<usize>, basis: Vec<LimbIdx>) -> ObjectIdx {
        if let [Op::Input { input, poly: 0 }, Op::Input { input: other, poly: 1 }] = ops
            && input == other
        {
            let kind = BufferKind::Input(*input);
            let of_device = |device| Some((device, *self.by_kind.get(&(kind, device))?));
            let at = Some(self.sharding.devices().filter_map(of_device).collect());
            let copied_from = Vec::new();
            let object =
                Object { basis, rows, at, gives_back: false, copied_from, copied_at: None, last_read: 0 };
            self.crossing.objects.push(object);
            return ObjectIdx(self.crossing.objects.len() - 1);
        }
        let mut own = rows.clone();
        own.sort_unstable();
        own.dedup();
        let in_place = |&row: &usize| {
            let Row { place, made_by, .. } = self.rows[row];
            place.is_none() && made_by.is_some() && !self.crossing.of_row.contains_key(&row)
        };
        if own.len() == rows.len() && rows.iter().all(in_place) {
            return self.object_of(rows, basis, Vec::new());
        }
        let first = self.rows.len();
        let copies = rows.iter().map(|&row| Row::new(self.rows[row].limb, self.rows[row].device, None, None));
        let copies: Vec<Row> = copies.collect();
        self.rows.extend(copies);
        self.object_of((first..self.rows.len()).collect(), basis, rows)
    }

    /// Notes what the call that is some work reads.
    pub(super) fn note_call(&mut self, call: CallIdx, work: usize) {
        let Some(bound) = self.crossing.calls.get(call.0 as usize) else { return };
        self.crossing.at.push((work, bound.body));
        for &ObjectIdx(i) in &bound.arguments {
            let object = &mut self.crossing.objects[i];
            object.last_read = object.last_read.max(work);
            if object.copied_at.is_none() && !object.copied_from.is_empty() {
                object.copied_at = Some(work);
                object.copied_from.iter().for_each(|&row| self.rows[row].last_read = Some((work, 1)));
            }
        }
    }

    /// The last work that reads a row of each object, once reads are noted.
    pub(super) fn note_objects(&mut self) {
        for object in &mut self.crossing.objects {
            let of_row = object.rows.iter().filter_map(|&row| self.rows[row].last_read);
            object.last_read = of_row.map(|(at, _)| at).chain([object.last_read]).max().unwrap_or(0);
        }
    }

    /// The lowest row that a value may have that is made by some work and read last by other: above the callees of all calls between.
    pub(super) fn floor(&self, made: usize, read: usize, device: DeviceIdx) -> u32 {
        let from = self.crossing.at.partition_point(|&(at, _)| at <= made);
        let between = self.crossing.at.iter().skip(from).take_while(|&&(at, _)| at < read);
        between.map(|&(_, body)| self.bodies[body.0].arena_rows(device)).max().unwrap_or(0)
    }

    /// Gives the object of a row its buffers, if it has none.
    pub(super) fn place_object_of(&mut self, row: usize) {
        if let Some(&object) = self.crossing.of_row.get(&row) {
            self.place_object(object);
        }
    }

    fn place_object(&mut self, ObjectIdx(i): ObjectIdx) {
        if self.crossing.objects[i].at.is_some() {
            return;
        }
        let basis = self.crossing.objects[i].basis.clone();
        let free = self.crossing.free.get_mut(&basis).and_then(Vec::pop);
        let buffers = match free {
            Some(buffers) => buffers,
            None => self.object(0, BufferKind::Passed, &basis, 2, 0),
        };
        let on = |device| buffers.iter().find(|(d, _)| *d == device).map_or(arena(device), |&(_, id)| id);
        let mut places = self.places(0, on, &basis, 0, &basis, 0);
        places.extend(self.places(0, on, &basis, 1, &basis, 0));
        for (&row, place) in self.crossing.objects[i].rows.iter().zip(places) {
            self.rows[row].place = Some(place.place);
        }
        self.crossing.objects[i].at = Some(buffers);
    }

    /// Gives back the buffers of objects that nothing reads after some work.
    pub(super) fn release_objects(&mut self, work: usize) {
        let Crossing { objects, free, .. } = &mut self.crossing;
        for object in objects.iter_mut().filter(|object| object.last_read == work && object.gives_back) {
            if let Some(at) = &object.at {
                free.entry(object.basis.clone()).or_default().push(at.clone());
                object.gives_back = false;
            }
        }
    }

    /// Places what a call makes; gives the rows to copy before it, and the call.
    pub(super) fn place_call(&mut self, call: CallIdx, work: usize) -> PlacedCall {
        let Some(bound) = self.crossing.calls.get(call.0 as usize) else { return PlacedCall::default() };
        let (body, mut buffers) = (bound.body, bound.buffers.clone());
        let (arguments, results) = (bound.arguments.clone(), bound.results.clone());
        let mut copies = Vec::new();
        for &argument in &arguments {
            let object = &self.crossing.objects[argument.0];
            if object.copied_at == Some(work) {
                copies.extend(object.copied_from.iter().copied().zip(object.rows.iter().copied()));
            }
            self.place_object(argument);
        }
        for &result in &results {
            self.place_object(result);
            let object = &mut self.crossing.objects[result.0];
            object.last_read = object.last_read.max(work);
        }
        let body_of = &self.bodies[body.0];
        for (id, buffer) in body_of.ids() {
            let object = match buffer.kind {
                BufferKind::Input(i) => arguments.get(i.0 as usize),
                BufferKind::Output(i) => results.get(i.0 as usize),
                _ => None,
            };
            let at = object.and_then(|&ObjectIdx(i)| self.crossing.objects[i].at.as_ref());
            let here = at.and_then(|at| at.iter().find(|(device, _)| *device == buffer.device));
            buffers.extend(here.map(|&(_, here)| (id, here)));
        }
        let reserved = self.sharding.devices().map(|device| body_of.arena_rows(device)).collect();
        PlacedCall { call: Some((body, buffers)), copies, reserved }
    }
}

/// A call with its buffers.
#[derive(Default)]
pub(super) struct PlacedCall {
    pub(super) call: Option<(BodyIdx, BTreeMap<BufferId, BufferId>)>,
    /// Rows that are copied before it, from and to.
    pub(super) copies: Vec<(usize, usize)>,
    /// Rows of each device's arena that it uses.
    pub(super) reserved: Vec<u32>,
}

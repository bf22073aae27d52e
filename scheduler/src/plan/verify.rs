//! The rules of a plan. [`verify`] checks them all; the name of the broken one is in the error. A plan that
//! passes cannot make a kernel read or write outside its buffers, read what nothing wrote, or race.
//!
//! | rule | |
//! |---|---|
//! | `abi` | the ABI version is ours |
//! | `ring` | log N is 4 to 17; primes fit the word and are 1 modulo 2N; there is a root for each, below it; the limbs of the key to a sparse secret ascend and are there, and given if and only if that key is |
//! | `buffer` | the first buffers are the arenas of devices 0, 1, ..., at most [`MAX_DEVICES`]; there are no others |
//! | `device` | a buffer and a segment are of a device that has an arena; a call binds buffers of its segment's device; a copy between two devices is between their arenas; devices are groups of one size, an output is on one |
//! | `segment` | names differ; a slot 0; at least one item a launch |
//! | `pool` | items and tables lie in the pool; sizes are in the ABI's limits; padding is zero |
//! | `row` | every row lies in its slot; the slot's access allows the use; an operand is `NONE` where none is read |
//! | `constant` | prime indexes exist; residues are below their primes; Galois elements are odd and below 2N; scales are positive and finite |
//! | `begun` | only terms that there are, of a kernel that ends transforms, are begun |
//! | `repeat` | of first factors that are not begun, parts are below the length of a run, and that is 16 to N / 2, as where the plaintext is encoded |
//! | `alias` | no item writes a row that another item of the launch touches; in an item, `dst` is an operand only where the ABI says so; conversion sources are not targets |
//! | `tier` | arenas, and values that are passed, are in device memory; calls bind buffers there only; a copy on one device is between its arena and a buffer of another tier; copies are within both; each tier below has one spill buffer a device at most, device memory none |
//! | `binding` | a call binds every slot to a buffer with enough rows, slot 0 to the device's arena, and a written buffer once |
//! | `host` | host steps are where they belong, on buffers of their kind, once a buffer, and every output is downloaded; keys, constants and inputs are written by the host only |
//! | `written` | a row is written before it is read; all rows of an output before its download; a spill moves: what it copied is no longer in the arena |
//! | `flow` | a row is read under the prime and in the domain in which it was written; doubles by the encoder's kernels only; what is begun where it is ended, and nothing else there; repeated values by first factors of the same runs |
//! | `event` | the copies of a step go to one device; an event is recorded once, before it is waited for, by streams of devices that there are |
//! | `race` | of two steps that touch a row, one of which writes it, one is before the other, by stream, event or host step |
//! | `peak` | the peaks are the sums of the buffers |

use std::collections::{BTreeMap, BTreeSet};

use fhe_core::params::LimbIdx;
use kernels_gpu::abi::{
    ABI_VERSION, KernelId, MAX_CONVERT_SOURCES, MAX_CONVERT_TARGETS, MAX_TERMS, RowRef, is_begun,
};

use super::{
    Access, BufferId, BufferKind, CopyKind, DeviceIdx, Form, HostStep, Item, KeyId, MAX_DEVICES, Place, Plan,
    PlanStep, Read, RowCopy, Segment, SegmentId, Step, Tier, order, sums,
};
use crate::error::{Error, Result};
use crate::lower::plan::peaks;

type Broken = (&'static str, String);
type Check = core::result::Result<(), Broken>;

/// Checks every rule. `after` is named in the error.
///
/// # Errors
/// [`Error::Verify`] for the first broken rule.
pub fn verify(plan: &Plan, after: &str) -> Result<()> {
    check(plan).map_err(|(rule, problem)| Error::Verify { after: after.to_owned(), rule, problem })
}

fn ensure(ok: bool, rule: &'static str, problem: impl FnOnce() -> String) -> Check {
    if ok { Ok(()) } else { Err((rule, problem())) }
}

fn check(plan: &Plan) -> Check {
    ensure(plan.abi_version == ABI_VERSION, "abi", || {
        format!("version {}, expected {ABI_VERSION}", plan.abi_version)
    })?;
    check_ring(plan)?;
    check_devices(plan)?;
    check_tiers(plan)?;
    let mut names = BTreeSet::new();
    for segment in &plan.segments {
        ensure(names.insert(&segment.name), "segment", || format!("two are called {:?}", segment.name))?;
        ensure(!segment.slots.is_empty(), "segment", || format!("{:?} has no slot 0", segment.name))?;
        let mut writers = Writers::new(segment);
        for (i, Step::Launch { launch, .. }) in segment.steps.iter().enumerate() {
            let place = |(rule, problem): Broken| (rule, format!("{:?}, step {i}: {problem}", segment.name));
            let items = plan.items(launch).map_err(|problem| place(("pool", problem)))?;
            ensure(!items.is_empty(), "segment", || "a launch without items".to_owned()).map_err(place)?;
            check_padding(plan, launch).map_err(place)?;
            check_launch(plan, segment, launch.kernel, &items, &mut writers).map_err(place)?;
        }
    }
    check_run(plan)?;
    order::check(plan)?;
    ensure(plan.peaks == peaks(plan), "peak", || format!("{:?}, expected {:?}", plan.peaks, peaks(plan)))
}

fn check_ring(plan: &Plan) -> Check {
    ensure((4..=17).contains(&plan.log_n), "ring", || format!("log N is {}", plan.log_n))?;
    ensure(!plan.primes.is_empty() && plan.primes.len() == plan.roots.len(), "ring", || {
        format!("{} primes, {} roots", plan.primes.len(), plan.roots.len())
    })?;
    let sparse = &plan.sparse_limbs;
    let to_sparse = plan.buffers.iter().any(|b| b.kind == BufferKind::Key(KeyId::ToSparse));
    let known = sparse.iter().all(|limb| limb.idx() < plan.primes.len()) && sparse.is_sorted_by(|a, b| a < b);
    ensure(known && to_sparse != sparse.is_empty(), "ring", || format!("sparse limbs {sparse:?}"))?;
    let (low, high) = (1u64 << plan.word.min_prime_bits(), 1u64 << plan.word.max_prime_bits());
    for (&q, &root) in plan.primes.iter().zip(&plan.roots) {
        let fits = q > low && q < high && q % (2 << plan.log_n) == 1 && root < q;
        ensure(fits, "ring", || format!("prime {q} with root {root}"))?;
    }
    Ok(())
}

fn check_devices(plan: &Plan) -> Check {
    let n = plan.n_devices();
    let first = (0..).map(DeviceIdx).zip(&plan.buffers).take(n as usize);
    let in_order = first.into_iter().all(|(device, b)| b.kind == BufferKind::Arena && b.device == device);
    let divides = plan.n_groups > 0 && n.is_multiple_of(plan.n_groups);
    ensure(n == 0 || divides, "device", || format!("{n} devices as {} groups", plan.n_groups))?;
    let sharding = plan.sharding();
    let mut outputs: BTreeMap<BufferKind, u32> = BTreeMap::new();
    for b in plan.buffers.iter().filter(|b| matches!(b.kind, BufferKind::Output(_))) {
        let group = sharding.group(b.device);
        let one = *outputs.entry(b.kind).or_insert(group) == group;
        ensure(one, "device", || format!("{} is on two groups", b.kind))?;
    }
    ensure((1..=MAX_DEVICES).contains(&n) && in_order, "buffer", || {
        format!("{n} arenas, expected 1 to {MAX_DEVICES}, the first buffers, by device")
    })?;
    let known = |device: DeviceIdx, what: &str, i: usize| {
        ensure(device.0 < n, "device", || format!("{what} {i} is of device {}, there are {n}", device.0))
    };
    plan.buffers.iter().enumerate().try_for_each(|(i, b)| known(b.device, "buffer", i))?;
    plan.segments.iter().enumerate().try_for_each(|(i, s)| known(s.device, "segment", i))
}

fn check_tiers(plan: &Plan) -> Check {
    let mut spills: BTreeSet<(DeviceIdx, Tier)> = BTreeSet::new();
    for (i, b) in plan.buffers.iter().enumerate() {
        let (device, tier) = (b.device, b.tier);
        let ok = match b.kind {
            BufferKind::Arena | BufferKind::Passed => tier == Tier::Device,
            BufferKind::Spill => tier != Tier::Device && spills.insert((device, tier)),
            _ => true,
        };
        ensure(ok, "tier", || format!("buffer {i} is {} in {tier:?} of device {}", b.kind, device.0))?;
    }
    Ok(())
}

/// The fields of items that hold nothing; [`Plan::items`] does not show them all.
fn check_padding(plan: &Plan, launch: &kernels_gpu::abi::Launch) -> Check {
    use kernels_gpu::abi::ItemKind;
    let words = launch.kernel.item().pool_words();
    // The last word of these is `matrix_at` and `pad`, or `galois` and `pad`.
    if !matches!(launch.kernel.item(), ItemKind::ConvertBasis | ItemKind::InnerProduct) {
        return Ok(());
    }
    for i in 0..launch.n_items as usize {
        let last = plan.pool.get(launch.items_at as usize + (i + 1) * words - 1).copied().unwrap_or(0);
        let [_, pad]: [u32; 2] = bytemuck::cast(last);
        ensure(pad == 0, "pool", || format!("item {i} has padding {pad}"))?;
    }
    Ok(())
}

/// The item of a launch that writes each row of a segment's slots.
struct Writers {
    launch: usize,
    /// By slot and row: the last launch that writes it, and its item.
    rows: Vec<Vec<(usize, usize)>>,
}

impl Writers {
    fn new(segment: &Segment) -> Self {
        Self { launch: 0, rows: vec![Vec::new(); segment.slots.len()] }
    }

    /// Notes that an item writes a row, which is in its slot; whether one did already.
    fn insert(&mut self, row: RowRef, item: usize) -> bool {
        let Some(of_slot) = self.rows.get_mut(row.slot as usize) else { return false };
        let at = row.row as usize;
        if of_slot.len() <= at {
            of_slot.resize(at + 1, (0, 0));
        }
        core::mem::replace(&mut of_slot[at], (self.launch, item)).0 == self.launch
    }

    fn get(&self, row: RowRef) -> Option<usize> {
        let found = self.rows.get(row.slot as usize)?.get(row.row as usize)?;
        (found.0 == self.launch).then_some(found.1)
    }
}

fn check_launch(
    plan: &Plan,
    segment: &Segment,
    kernel: KernelId,
    items: &[Item],
    writers: &mut Writers,
) -> Check {
    writers.launch += 1;
    let mut reads = Vec::new();
    for (i, item) in items.iter().enumerate() {
        check_item(plan, kernel, item).map_err(|(rule, problem)| (rule, format!("item {i}: {problem}")))?;
        for (row, _) in item.writes() {
            check_row(segment, row, true)?;
            let again = writers.insert(row, i);
            ensure(!again, "alias", || format!("{row:?} is written twice"))?;
        }
        item.reads_into(kernel, &mut reads);
        reads.iter().try_for_each(|read| check_row(segment, read.row, false))?;
    }
    for (i, item) in items.iter().enumerate() {
        item.reads_into(kernel, &mut reads);
        for &Read { row, .. } in &reads {
            match writers.get(row) {
                None => {}
                Some(w) if w != i => {
                    return Err(("alias", format!("item {w} writes {row:?}, which item {i} reads")));
                }
                Some(_) => {
                    let allowed = item.in_place(kernel);
                    ensure(allowed, "alias", || format!("{} of item {i} in place", kernel.name()))?;
                }
            }
        }
    }
    Ok(())
}

fn check_row(segment: &Segment, row: RowRef, write: bool) -> Check {
    let slot = segment.slots.get(row.slot as usize);
    let inside = slot.is_some_and(|s| row.row < s.rows);
    ensure(inside, "row", || format!("{row:?} is outside of its slot"))?;
    let refused = if write { Access::Read } else { Access::Write };
    ensure(slot.is_some_and(|s| s.access != refused), "row", || format!("{row:?} has another access"))
}

fn check_item(plan: &Plan, kernel: KernelId, item: &Item) -> Check {
    let prime = |p: u32| {
        let q = plan.primes.get(p as usize).copied();
        q.ok_or_else(|| ("constant", format!("prime {p} of {}", plan.primes.len())))
    };
    let below = |x: u64, p: u32, what: &str| -> Check {
        let q = prime(p)?;
        ensure(x < q, "constant", || format!("{what} {x} is not below {q}"))
    };
    let sized = |n: usize, max: usize, what: &str| {
        ensure((1..=max).contains(&n), "pool", || format!("{n} {what}, expected 1 to {max}"))
    };
    let galois = |g: u32| {
        let ok = g % 2 == 1 && u64::from(g) < 2 << plan.log_n;
        ensure(ok, "constant", || format!("Galois element {g}"))
    };
    match item {
        Item::Row(i) => {
            below(i.scalar, i.prime, "scalar")?;
            let none = kernel.reads_b() || i.b == RowRef::NONE;
            ensure(none, "row", || format!("{} reads no b, found {:?}", kernel.name(), i.b))?;
            let none = kernel.reads_c() || (i.c == RowRef::NONE && i.galois == 1);
            ensure(none, "row", || {
                format!("{} reads no c, found {:?} and Galois element {}", kernel.name(), i.c, i.galois)
            })?;
            let apart = kernel == KernelId::NttRows && i.dst != i.a;
            ensure(!apart, "alias", || format!("ends the transform of {:?} in {:?}", i.a, i.dst))?;
            galois(i.galois)
        }
        Item::InnerProduct { dst, init, times, prime: p, terms, begun, galois: g } => {
            prime(*p)?;
            galois(*g)?;
            for (&init, &times) in init.iter().zip(times) {
                below(times, *p, "factor of the addend")?;
                ensure(init != RowRef::NONE || times == 1, "row", || {
                    format!("{times} times an addend that is not there")
                })?;
            }
            let most = kernel.most_begun(terms.len());
            let known = u64::from(*begun) >> most == 0;
            ensure(known, "begun", || format!("terms {begun:#b} are begun, of {most} that may be"))?;
            sized(terms.len(), MAX_TERMS, "terms")?;
            for (t, term) in (0..).zip(terms) {
                ensure(term.is_valid(plan.log_n, is_begun(*begun, t)), "repeat", || {
                    format!("term {t} reads part {} of runs of 2^{} values", term.part, term.log_repeat)
                })?;
            }
            ensure(dst[0] != RowRef::NONE, "row", || "the first sum is written nowhere".to_owned())?;
            for (h, row) in sums(dst) {
                let read = dst[1] != RowRef::NONE && item.sum_reads(1 - h, row);
                ensure(!read, "alias", || format!("sum {h} writes {row:?}, which the other one reads"))?;
            }
            Ok(())
        }
        Item::ConvertBasis { sources, targets, matrix } => {
            sized(sources.len(), MAX_CONVERT_SOURCES, "sources")?;
            sized(targets.len(), MAX_CONVERT_TARGETS, "targets")?;
            for s in sources {
                below(s.inv, s.prime, "inv")?;
                let bits = plan.word.bits();
                ensure(bits == 64 || s.frac >> bits == 0, "constant", || format!("frac {}", s.frac))?;
                ensure(s.pad == 0, "pool", || format!("source has padding {}", s.pad))?;
            }
            for (t, row) in targets.iter().zip(matrix.chunks(sources.len())) {
                below(t.big, t.prime, "big")?;
                ensure(t.pad == 0, "pool", || format!("target has padding {}", t.pad))?;
                for &m in row {
                    below(m, t.prime, "matrix entry")?;
                }
            }
            Ok(())
        }
        Item::Automorphism(i) => {
            prime(i.prime)?;
            galois(i.galois)
        }
        Item::EmbedInverse(_) => Ok(()),
        Item::RoundResidues { scale, targets, .. } => {
            let scale = f64::from_bits(*scale);
            ensure(scale.is_finite() && scale > 0.0, "constant", || format!("scale {scale}"))?;
            sized(targets.len(), u32::MAX as usize, "targets")?;
            targets.iter().try_for_each(|t| {
                ensure(t.pad == 0, "pool", || format!("target has padding {}", t.pad))?;
                prime(t.prime).map(|_| ())
            })
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Domain {
    Coeff,
    Eval,
    /// Between the two: what a backend's `ntt_columns` leaves.
    Begun,
    /// The same of its `intt_rows`.
    BegunInverse,
    /// Values in runs of `2^r`, once a run, of several limbs.
    Repeated(u32),
    /// Doubles that are slots, or factors of the special FFT.
    Slots,
    /// Doubles that are coefficients.
    Real,
}

/// What is known of a row that was written: its prime, where known, and domain.
type Content = (Option<u32>, Domain);

/// Walks through setup and one run.
fn check_run(plan: &Plan) -> Check {
    let mut rows: Vec<Vec<Option<Content>>> =
        plan.buffers.iter().map(|b| vec![None; b.rows as usize]).collect();
    let mut done: BTreeSet<(bool, BufferId)> = BTreeSet::new();
    let sharding = plan.sharding();
    let mut host = |step: &HostStep, setup: bool, rows: &mut Vec<Vec<Option<Content>>>| -> Check {
        let (kind, buffer, belongs) = match *step {
            HostStep::Encode { encoded, buffer } => (BufferKind::Constant(encoded.constant), buffer, setup),
            HostStep::LoadSlots { encoded, buffer } => (BufferKind::Slots(encoded.constant), buffer, setup),
            HostStep::LoadFactors { buffer } => (BufferKind::Factors, buffer, setup),
            HostStep::LoadKey { key, buffer } => (BufferKind::Key(key), buffer, setup),
            HostStep::Upload { input, buffer } => (BufferKind::Input(input), buffer, !setup),
            HostStep::Download { buffer, output } => (BufferKind::Output(output), buffer, !setup),
        };
        if let HostStep::Encode { encoded, .. } | HostStep::LoadSlots { encoded, .. } = step {
            let is_encode = matches!(step, HostStep::Encode { .. });
            let runs = encoded.has_runs_of(plan.log_n) && (is_encode || encoded.log_repeat == 0);
            ensure(runs, "repeat", || format!("`{step}`"))?;
        }
        let found = plan.buffer(buffer).map(|b| b.kind);
        let device = plan.buffer(buffer).map_or(DeviceIdx(0), |b| b.device);
        let once = done.insert((matches!(step, HostStep::Download { .. }), buffer));
        ensure(belongs && found == Some(kind) && once, "host", || format!("`{step}` on {found:?}"))?;
        let contents = &mut rows[buffer.0 as usize];
        if matches!(step, HostStep::Download { .. }) {
            let whole = contents.iter().all(|c| c.is_some_and(|(_, domain)| domain == Domain::Eval));
            return ensure(whole, "written", || format!("`{step}` before all its rows, as values"));
        }
        let limbs = if let BufferKind::Key(key) = kind { plan.key_limbs(key) } else { Vec::new() };
        let owned: Vec<LimbIdx> = sharding.owned(device, &limbs).collect();
        for (row, content) in contents.iter_mut().enumerate() {
            let limb = || owned.get(row % owned.len().max(1)).map(|limb| limb.0);
            let prime = limb();
            let domain = match *step {
                HostStep::LoadSlots { .. } | HostStep::LoadFactors { .. } => Domain::Slots,
                HostStep::Encode { encoded, .. } if encoded.log_repeat > 0 => {
                    Domain::Repeated(encoded.log_repeat)
                }
                _ => Domain::Eval,
            };
            *content = Some((prime, domain));
        }
        Ok(())
    };
    for step in &plan.setup {
        host(step, true, &mut rows)?;
    }
    let mut effects: BTreeMap<SegmentId, Option<Effect>> = BTreeMap::new();
    for step in &plan.schedule {
        if let PlanStep::Call { segment, .. } = step {
            // Only of those that are called again.
            let again = effects.contains_key(segment).then(Effect::default);
            effects.insert(*segment, again);
        }
    }
    for (i, step) in plan.schedule.iter().enumerate() {
        match step {
            PlanStep::Host(step) => host(step, false, &mut rows)?,
            PlanStep::Call { segment: id, bindings } => {
                let found = plan.segment(*id);
                let segment = found.ok_or_else(|| ("binding", format!("call {i} of no segment")))?;
                let place = |(rule, problem): Broken| (rule, format!("call {i}: {problem}"));
                check_bindings(plan, segment, bindings).map_err(place)?;
                let effect = effects.get_mut(id).and_then(Option::as_mut);
                if !effect.as_ref().is_some_and(|effect| effect.repeats(bindings, &mut rows)) {
                    check_call(plan, segment, bindings, &mut rows, effect).map_err(place)?;
                }
            }
            PlanStep::Copy(copies) => {
                copies.iter().try_for_each(|copy| check_copy(plan, copy, &mut rows))?;
            }
            PlanStep::Record { .. } | PlanStep::Wait { .. } => {}
        }
    }
    for (id, buffer) in (0..).map(BufferId).zip(&plan.buffers) {
        let kept = matches!(buffer.kind, BufferKind::Output(_)) && !done.contains(&(true, id));
        ensure(!kept, "host", || format!("buffer {}, {}, is never downloaded", id.0, buffer.kind))?;
    }
    Ok(())
}

fn check_copy(plan: &Plan, copy: &RowCopy, rows: &mut [Vec<Option<Content>>]) -> Check {
    let inside = |place: Place| {
        let end = place.row.checked_add(copy.rows);
        plan.buffer(place.buffer).filter(|b| end.is_some_and(|end| end <= b.rows))
    };
    let (from, to) = (inside(copy.from), inside(copy.to));
    let kind = plan.copy_kind(copy).filter(|_| copy.rows > 0 && from.is_some() && to.is_some());
    let apart = from.map(|b| b.device) != to.map(|b| b.device);
    let rule = if from.is_some() && to.is_some() && apart { "device" } else { "tier" };
    let expected = "expected rows of an arena and of another tier's buffer, or of two arenas";
    let kind = kind.ok_or_else(|| (rule, format!("`{copy}`, {expected}, found {from:?} and {to:?}")))?;
    let by_program = to.is_some_and(|b| matches!(b.kind, BufferKind::Output(_) | BufferKind::Spill));
    ensure(kind != CopyKind::Spill || by_program, "host", || {
        format!("`{copy}` writes {to:?}, which only the host writes")
    })?;
    for at in 0..copy.rows {
        let (from, to) = (copy.from.row + at, copy.to.row + at);
        let held = &mut rows[copy.from.buffer.0 as usize][from as usize];
        let content = if kind == CopyKind::Spill { held.take() } else { *held };
        ensure(content.is_some(), "written", || format!("`{copy}` reads row {from} before it is written"))?;
        rows[copy.to.buffer.0 as usize][to as usize] = content;
    }
    Ok(())
}

fn check_bindings(plan: &Plan, segment: &Segment, bindings: &[BufferId]) -> Check {
    let (n, slots) = (bindings.len(), segment.slots.len());
    ensure(n == slots, "binding", || format!("{n} buffers for {slots} slots"))?;
    let device = segment.device;
    let arena = plan.buffer_of(BufferKind::Arena, device);
    ensure(bindings.first().copied() == arena, "binding", || {
        format!("slot 0 is not the arena of device {}", device.0)
    })?;
    for (i, (slot, id)) in segment.slots.iter().zip(bindings).enumerate() {
        let buffer = plan.buffer(*id);
        let fits = buffer.is_some_and(|b| b.rows >= slot.rows);
        ensure(fits, "binding", || format!("slot {i} needs {} rows, found {buffer:?}", slot.rows))?;
        let on_device = buffer.is_some_and(|b| b.tier == Tier::Device);
        ensure(on_device, "tier", || format!("slot {i} is bound to {buffer:?}, expected on the device"))?;
        let here = buffer.is_some_and(|b| b.device == device);
        ensure(here, "device", || {
            format!("slot {i} is bound to {buffer:?}, expected on device {}", device.0)
        })?;
        let twice = bindings.iter().zip(&segment.slots).enumerate().any(|(j, (other, other_slot))| {
            j != i && other == id && (slot.access != Access::Read || other_slot.access != Access::Read)
        });
        ensure(!twice, "binding", || format!("buffer {} is bound twice and written", id.0))?;
        let by_host = buffer.is_some_and(|b| {
            use BufferKind::{Arena, Output, Passed, Spill};
            !matches!(b.kind, Arena | Output(_) | Passed | Spill)
        });
        ensure(!by_host || slot.access == Access::Read, "host", || {
            format!("slot {i} writes {buffer:?}, which only the host writes")
        })?;
    }
    Ok(())
}

/// What a segment did when it was called: the rows that it found, and those that it left. Where a call finds the same, it leaves the same, and
/// its launches need no second look.
#[derive(Default)]
struct Effect {
    found: BTreeMap<RowRef, Content>,
    left: BTreeMap<RowRef, Content>,
}

impl Effect {
    /// Leaves what the segment leaves, if another call finds the same; and says whether.
    fn repeats(&self, bindings: &[BufferId], rows: &mut [Vec<Option<Content>>]) -> bool {
        let place = |row: &RowRef| (bindings[row.slot as usize].0 as usize, row.row as usize);
        let finds = |(row, content): (&RowRef, &Content)| {
            let (buffer, at) = place(row);
            rows[buffer][at].as_ref() == Some(content)
        };
        let repeats = !self.left.is_empty() && self.found.iter().all(finds);
        for (row, content) in self.left.iter().filter(|_| repeats) {
            let (buffer, at) = place(row);
            rows[buffer][at] = Some(*content);
        }
        repeats
    }
}

fn check_call(
    plan: &Plan,
    segment: &Segment,
    bindings: &[BufferId],
    rows: &mut [Vec<Option<Content>>],
    effect: Option<&mut Effect>,
) -> Check {
    // A segment writes a row under one name: what it writes is bound to one slot.
    let mut own = Effect::default();
    let notes = effect.is_some();
    let mut reads = Vec::new();
    for (i, Step::Launch { launch, .. }) in segment.steps.iter().enumerate() {
        let items = plan.items(launch).map_err(|problem| ("pool", problem))?;
        let place = |row: RowRef| (bindings[row.slot as usize].0 as usize, row.row as usize);
        let mut written = Vec::new();
        for item in &items {
            let mut domain = None;
            item.reads_into(launch.kernel, &mut reads);
            for &Read { row, prime, form } in &reads {
                let (buffer, at) = place(row);
                let Some((held, held_domain)) = rows[buffer][at] else {
                    return Err(("written", format!("step {i} reads {row:?} before it is written")));
                };
                if notes && !own.left.contains_key(&row) {
                    own.found.insert(row, (held, held_domain));
                }
                let same = held.is_none_or(|held| held == prime);
                ensure(same, "flow", || format!("step {i} reads {row:?} of prime {held:?} as {prime}"))?;
                // What is begun is ended by all of its readers, and what is repeated never read whole.
                let read_as = match form {
                    Form::Begun => Domain::Begun,
                    Form::BegunInverse => Domain::BegunInverse,
                    Form::Repeated { log_repeat, .. } => Domain::Repeated(log_repeat),
                    Form::Whole => match held_domain {
                        Domain::Begun | Domain::BegunInverse | Domain::Repeated(_) => Domain::Eval,
                        held_domain => held_domain,
                    },
                };
                ensure(read_as == held_domain, "flow", || {
                    format!("step {i} reads {row:?} as {read_as:?}, it is {held_domain:?}")
                })?;
                let held_domain = if form == Form::Whole { held_domain } else { Domain::Eval };
                let one = domain.is_none_or(|d| d == held_domain);
                ensure(one, "flow", || format!("step {i} mixes domains at {row:?}"))?;
                domain = Some(held_domain);
            }
            let found = domain.unwrap_or(Domain::Eval);
            let (expected, made) = match launch.kernel {
                KernelId::EmbedInverse => (Domain::Slots, Domain::Real),
                KernelId::RoundResidues => (Domain::Real, Domain::Coeff),
                KernelId::Ntt => (Domain::Coeff, Domain::Eval),
                KernelId::NttColumns => (Domain::Coeff, Domain::Begun),
                KernelId::InttRows => (Domain::Eval, Domain::BegunInverse),
                KernelId::ConvertBasisColumns => (Domain::Eval, Domain::Begun),
                KernelId::Intt => (Domain::Eval, Domain::Coeff),
                KernelId::ConvertBasis | KernelId::AutomorphismCoeff => (Domain::Coeff, Domain::Coeff),
                KernelId::InnerProduct
                | KernelId::NttRowsInnerProduct
                | KernelId::NttRows
                | KernelId::AddScalar
                | KernelId::AutomorphismEval => (Domain::Eval, Domain::Eval),
                _ if found == Domain::Coeff => (Domain::Coeff, Domain::Coeff),
                _ => (Domain::Eval, Domain::Eval),
            };
            ensure(found == expected, "flow", || {
                format!("step {i}: {} of {found:?}, expected {expected:?}", launch.kernel.name())
            })?;
            let held = |prime| (made != Domain::Real).then_some(prime);
            written.extend(item.writes().into_iter().map(|(row, prime)| (row, (held(prime), made))));
        }
        for (row, content) in written {
            let (buffer, at) = place(row);
            rows[buffer][at] = Some(content);
            if notes {
                own.left.insert(row, content);
            }
        }
    }
    if let Some(effect) = effect {
        *effect = own;
    }
    Ok(())
}

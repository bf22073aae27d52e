//! Programs on several devices: the bits of one, what each device holds, what is exchanged, and what is refused.

use crate::client::{Client, everything, named};
use crate::memory::Directory;
use crate::simulated::Device;
use crate::story::DEVICE_BYTES;
use fhe_core::ckks::Ciphertext;
use fhe_core::math::word::Word;
use fhe_core::params::{Params, Preset};
use host::backend::cpu::available_lanes;
use host::check::CheckedPlan;
use host::memory::Limits;
use host::profile::HostWork;
use host::profile::trace::LAUNCH_TRACK;
use host::{BackendKind, Error, LoadedProgram, Result, Session, SessionBuilder};
use kernels_gpu::abi::{ItemKind, KernelId};
use scheduler::compile::{MemoryLimits, refit};
use scheduler::plan::{
    Access, BufferId, BufferKind, DeviceIdx, MAX_DEVICES, Place, Plan, PlanStep, SlotUse, Tier,
};
use scheduler::{Compiled, Options, Topology, compile};
use serde_json::Value;

fn on(n_devices: u32) -> Options {
    Options { topology: Topology::new(n_devices).unwrap(), groups: Some(1), ..Options::default() }
}

/// A program for one device, what it is given, and what it gives.
struct Fixture {
    params: Params,
    one: Compiled,
    keys: Vec<u8>,
    inputs: Vec<Vec<u8>>,
    /// The same messages, encrypted again.
    others: Vec<Vec<u8>>,
    expected: Vec<Vec<u8>>,
}

impl Fixture {
    fn new<W: Word>(preset: Preset) -> Self {
        let program = everything();
        let mut client = Client::<W>::new(preset);
        let params = client.ring.params().clone();
        let one = compile(&program, &params, &Options::default()).unwrap();
        let mut encrypt = || -> Vec<Vec<u8>> {
            client.inputs(&program, &one.manifest).iter().map(Ciphertext::to_bytes).collect()
        };
        let (inputs, others) = (encrypt(), encrypt());
        let keys = client.keys(&one.manifest).to_bytes();
        let mut fixture = Self { params, one, keys, inputs, others, expected: vec![] };
        let session = Session::builder().backend(BackendKind::Cpu).threads(1).build().unwrap();
        let mut loaded = fixture.load(&session, fixture.one.clone()).unwrap();
        fixture.expected = fixture.run(&mut loaded);
        fixture
    }

    fn sharded(&self, n_devices: u32) -> Compiled {
        refit(&self.one, &self.params, &on(n_devices)).unwrap()
    }

    fn load(&self, session: &Session, compiled: Compiled) -> Result<LoadedProgram> {
        let mut loaded = session.load(compiled, &self.params)?;
        loaded.load_keys(&self.keys).unwrap();
        Ok(loaded)
    }

    fn run(&self, loaded: &mut LoadedProgram) -> Vec<Vec<u8>> {
        let manifest = loaded.manifest().clone();
        loaded.run(&named(&manifest, &self.inputs)).unwrap()
    }
}

fn processor(with: impl FnOnce(SessionBuilder) -> SessionBuilder) -> Session {
    with(Session::builder().backend(BackendKind::Cpu).threads(2)).build().unwrap()
}

fn agrees<W: Word>(preset: Preset) {
    let fixture = Fixture::new::<W>(preset);
    for lanes in available_lanes() {
        for profile in [false, true] {
            let session = processor(|b| b.lanes(lanes).poison(true).profile(profile));
            for n in [1, 2, 3, 4, 8] {
                let mut loaded = fixture.load(&session, fixture.sharded(n)).unwrap();
                for _ in 0..2 {
                    assert!(fixture.run(&mut loaded) == fixture.expected, "{n} devices, {}", lanes.name());
                }
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_devices() {
    agrees::<u32>(Preset::Toy10);
    agrees::<u64>(Preset::Toy10w);
}

#[test]
fn nor_in_device_rings() {
    agrees::<u32>(Preset::Toy12);
}

#[test]
fn who_encodes_does_not_show() {
    let fixture = Fixture::new::<u32>(Preset::Toy10);
    let session = processor(|b| b.poison(true));
    for n in [1, 2, 3, 8] {
        let options = Options { encode_on_device: true, ..on(n) };
        let mut loaded = session.compile(&everything(), &fixture.params, &options).unwrap();
        assert!(loaded.work_by_kernel().iter().any(|(kernel, _)| *kernel == KernelId::EmbedInverse));
        loaded.load_keys(&fixture.keys).unwrap();
        assert!(fixture.run(&mut loaded) == fixture.expected, "{n} devices");
    }
}

/// Other inputs and keys after the first ones, on the same memory.
#[test]
fn a_program_on_several_devices_runs_again_with_other_data() {
    let fixture = Fixture::new::<u32>(Preset::Toy10);
    let session = processor(|b| b.poison(true));
    let mut loaded = session.load(fixture.sharded(3), &fixture.params).unwrap();
    let manifest = loaded.manifest().clone();
    let found = loaded.run(&named(&manifest, &fixture.inputs)).unwrap_err();
    // A key is counted once, whatever number of devices has parts of it.
    let expected = manifest.galois_elements.len() + 1;
    assert_eq!(found, Error::KeysNotLoaded { program: "everything".into(), expected });
    loaded.load_keys(&fixture.keys).unwrap();
    let others = loaded.run(&named(&manifest, &fixture.others)).unwrap();
    assert!(others != fixture.expected);
    let mut one = fixture.load(&session, fixture.one.clone()).unwrap();
    assert!(one.run(&named(&manifest, &fixture.others)).unwrap() == others);
    assert!(fixture.run(&mut loaded) == fixture.expected);
    assert!(loaded.replay(2).unwrap() > std::time::Duration::ZERO);
    assert!(fixture.run(&mut loaded) == fixture.expected);
}

#[test]
fn counts_profiles_and_traces_tell_of_devices() {
    let fixture = Fixture::new::<u32>(Preset::Toy10);
    let mut work = vec![];
    for n in [1, 2, 3] {
        let compiled = fixture.sharded(n);
        let expected = compiled.plan.copied_bytes();
        assert_eq!((expected.exchanged > 0, expected.fetched, expected.spilled), (n > 1, 0, 0));

        let null = Session::builder().backend(BackendKind::Null).build().unwrap();
        fixture.run(&mut fixture.load(&null, compiled.clone()).unwrap());
        let counts = null.counts().unwrap();
        assert_eq!(
            (counts.bytes_exchanged, counts.bytes_fetched, counts.bytes_spilled),
            (expected.exchanged, 0, 0)
        );

        let mut loaded = fixture.load(&processor(|b| b.profile(true)), compiled).unwrap();
        fixture.run(&mut loaded);
        let (profile, row_bytes) = (&loaded.last_run().profile, loaded.plan().row_bytes() as u64);
        let exchanged = profile.host_steps().iter().map(|step| match step.what {
            HostWork::Copy { exchanged, .. } => exchanged,
            _ => 0,
        });
        assert_eq!(exchanged.sum::<u64>() * row_bytes, expected.exchanged);
        let text = loaded.trace();
        assert_eq!(text.contains("\"exchange "), n > 1);
        let trace: Value = serde_json::from_str(&text).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        for device in 0..n {
            let own = |e: &&Value| e["ph"] == "X" && e["pid"] == 2 && e["tid"] == LAUNCH_TRACK + device;
            let launches = loaded.plan().segments.iter().filter(|s| s.device.0 == device);
            let expected: usize = launches.map(|s| s.steps.len()).sum();
            assert_eq!(events.iter().filter(own).count(), expected);
            let name = if n == 1 { "launches".to_owned() } else { format!("launches of device {device}") };
            assert!(events.iter().any(|e| e["args"]["name"] == *name && e["tid"] == LAUNCH_TRACK + device));
        }
        // Kernels that work limb by limb do the same work on any number of devices.
        let limbs = |kernel: &KernelId| kernel.item() != ItemKind::ConvertBasis;
        let sums = loaded.work_by_kernel().into_iter().filter(|(kernel, _)| limbs(kernel));
        work.push(sums.map(|(kernel, w)| (kernel, w.items, w.bytes, w.multiplications)).collect::<Vec<_>>());
    }
    assert!(work.windows(2).all(|pair| pair[0] == pair[1]), "{work:?}");
}

#[test]
fn limits_are_of_each_device() {
    let fixture = Fixture::new::<u32>(Preset::Toy10);
    let compiled = fixture.sharded(3);
    let plan = &compiled.plan;
    let tables = fixture.params.primes().len() as u64 * plan.row_bytes() as u64;
    let most = plan.device_peak_bytes();
    assert!(most < fixture.one.plan.device_peak_bytes() / 2 && plan.peak_bytes(Tier::Device) > 2 * most);
    // The first device has the tables besides.
    let roomy = most.max(plan.peaks[0].bytes + tables);
    let session = processor(|b| b.memory_budget(roomy));
    let mut loaded = fixture.load(&session, compiled.clone()).unwrap();
    assert!(fixture.run(&mut loaded) == fixture.expected);
    let report = loaded.memory_report();
    for peak in &plan.peaks {
        let own = report.uses.iter().filter(|u| u.device == peak.device.0 && u.class.name() != "tables");
        let (planned, actual) = own.fold((0, 0), |sum, u| (sum.0 + u.planned, sum.1 + u.actual));
        assert_eq!((planned, actual), (peak.bytes, peak.bytes));
    }
    drop(loaded);
    let exceeded = plan.peaks.iter().find(|p| p.bytes > most - 1).unwrap();
    let error = processor(|b| b.memory_budget(most - 1)).load(compiled.clone(), &fixture.params).unwrap_err();
    let what = format!("program `everything`, device {}", exceeded.device.0);
    let budget = most - 1;
    assert_eq!(error, Error::OverBudget { what: what.clone(), found: most, expected: budget, budget });
    let limits = Limits { machine: Some(most - 1), budget: None };
    let error = processor(|b| b.memory_limits(limits)).load(compiled, &fixture.params).unwrap_err();
    assert_eq!(error, Error::TooBig { what, found: most, expected: most - 1 });
}

#[test]
fn cuda_has_one_device() {
    let fixture = Fixture::new::<u32>(Preset::Toy12);
    let device = Device::new(DEVICE_BYTES);
    let builder = Session::builder().backend(BackendKind::Cuda).threads(1);
    let session = builder.build_with(|_| Ok(device.open())).unwrap();
    let refused = Error::Devices { backend: "cuda", found: 2, expected: 1 };
    assert_eq!(session.load(fixture.sharded(2), &fixture.params).unwrap_err(), refused);
    assert_eq!(session.compile(&everything(), &fixture.params, &on(2)).unwrap_err(), refused);
    assert_eq!(
        refused.to_string(),
        "backend `cuda` has 1 device, the plan is for 2: compile it for 1 (`Options::topology`), or choose the backend `cpu`, \
         which simulates any number"
    );
    drop(session);
    assert_eq!(device.live(), Default::default());
}

/// A change that a rule forbids.
type Break = fn(&mut Plan);

fn first_copy(plan: &mut Plan) -> &mut scheduler::plan::RowCopy {
    let copies = plan.schedule.iter_mut().filter_map(|step| match step {
        PlanStep::Copy(copies) => copies.first_mut(),
        _ => None,
    });
    copies.into_iter().next().unwrap()
}

/// The buffers that calls of a device bind.
fn bindings(plan: &mut Plan, device: u32) -> &mut Vec<BufferId> {
    let segments = &plan.segments;
    let mut calls = plan.schedule.iter_mut().filter_map(|step| match step {
        PlanStep::Call { segment, bindings } if segments[segment.0 as usize].device.0 == device => {
            Some(bindings)
        }
        _ => None,
    });
    calls.find(|bindings| bindings.len() > 1).unwrap()
}

#[test]
fn plans_whose_devices_are_wrong() {
    let good = Fixture::new::<u32>(Preset::Toy10).sharded(3).plan;
    CheckedPlan::new(good.clone()).unwrap();
    let cases: [(Break, &str); 20] = [
        (|p| p.buffers.swap(0, 1), "buffers"),
        (|p| p.buffers[1].device = DeviceIdx(2), "buffers"),
        (|p| p.buffers[1].device = DeviceIdx(u32::MAX), "buffers"),
        (|p| p.buffers[3].kind = BufferKind::Arena, "buffers"),
        (|p| p.buffers.clear(), "buffers"),
        (
            |p| {
                let arena = p.buffers[0].clone();
                let arenas = (0..=MAX_DEVICES).map(DeviceIdx);
                p.buffers =
                    arenas.map(|device| scheduler::plan::Buffer { device, ..arena.clone() }).collect();
            },
            "buffers",
        ),
        (|p| p.buffers[3].device = DeviceIdx(3), "devices"),
        (|p| p.buffers[3].device = DeviceIdx(u32::MAX), "devices"),
        (|p| p.segments[0].device = DeviceIdx(3), "devices"),
        (|p| p.segments[0].device = DeviceIdx(u32::MAX), "devices"),
        (|p| p.buffers[1].tier = Tier::Host, "tiers"),
        (|p| p.segments[0].device = DeviceIdx(1), "calls"),
        (|p| bindings(p, 1)[0] = BufferId(0), "calls"),
        (|p| bindings(p, 1)[1] = BufferId(2), "devices"),
        (
            |p| {
                // A buffer of another device, though nothing reads it.
                let call = p.schedule.iter().position(|s| matches!(s, PlanStep::Call { .. })).unwrap();
                let PlanStep::Call { segment, bindings } = &mut p.schedule[call] else { unreachable!() };
                let segment = &mut p.segments[segment.0 as usize];
                segment.slots.push(SlotUse { rows: 0, access: Access::Read });
                bindings.push(BufferId((segment.device.0 + 1) % 3));
            },
            "devices",
        ),
        (|p| first_copy(p).to.buffer = BufferId(u32::MAX), "tiers"),
        (|p| first_copy(p).from.row = u32::MAX, "tiers"),
        (|p| first_copy(p).to = Place { row: 0, ..first_copy(p).from }, "tiers"),
        (
            |p| {
                let (from, rows) = (first_copy(p).from, first_copy(p).rows);
                let other = |b: &scheduler::plan::Buffer| {
                    b.kind != BufferKind::Arena && b.rows >= rows && b.device != DeviceIdx(from.buffer.0)
                };
                let buffer = BufferId(p.buffers.iter().position(other).unwrap() as u32);
                first_copy(p).to = Place { buffer, row: 0 };
            },
            "devices",
        ),
        (|p| p.peaks.iter_mut().for_each(|p| p.device = DeviceIdx(0)), "buffers"),
    ];
    for (i, (break_it, rule)) in cases.into_iter().enumerate() {
        let mut broken = good.clone();
        break_it(&mut broken);
        match CheckedPlan::new(broken) {
            Err(Error::InvalidPlan { rule: found, problem }) => {
                assert_eq!(found, rule, "case {i}: {problem}");
            }
            other => panic!("case {i}: {:?}", other.map(drop)),
        }
    }
}

#[test]
fn an_output_that_does_not_come_whole() {
    let fixture = Fixture::new::<u32>(Preset::Toy10);
    let mut partial = fixture.sharded(2);
    let last = partial.plan.schedule.pop().unwrap();
    assert!(matches!(last, PlanStep::Host(_)));
    let session = processor(|b| b);
    let mut loaded = fixture.load(&session, partial).unwrap();
    let manifest = loaded.manifest().clone();
    let error = loaded.run(&named(&manifest, &fixture.inputs)).unwrap_err();
    assert!(matches!(error, Error::InvalidPlan { rule: "host-steps", .. }), "{error}");
}

/// A buffer of a device that holds other rows than the device owns.
#[test]
fn parts_of_other_sizes_are_refused() {
    let fixture = Fixture::new::<u32>(Preset::Toy10);
    let session = processor(|b| b);
    for kind in [|k| matches!(k, BufferKind::Key(_)), |k| matches!(k, BufferKind::Constant(_))]
        as [fn(BufferKind) -> bool; 2]
    {
        let mut other = fixture.sharded(2);
        let buffer = other.plan.buffers.iter_mut().find(|b| kind(b.kind)).unwrap();
        buffer.rows += 1;
        let (device, row_bytes) = (buffer.device, other.plan.row_bytes() as u64);
        let peak = other.plan.peaks.iter_mut().find(|p| p.device == device).unwrap();
        (peak.rows, peak.bytes) = (peak.rows + 1, peak.bytes + row_bytes);
        let found =
            session.load(other, &fixture.params).and_then(|mut loaded| loaded.load_keys(&fixture.keys));
        assert!(matches!(found, Err(Error::BufferAccess { .. })), "{found:?}");
    }
}

#[test]
fn more_devices_than_limbs() {
    let fixture = Fixture::new::<u32>(Preset::Toy10);
    assert!(fixture.params.primes().len() < MAX_DEVICES as usize);
    let session = processor(|b| b.poison(true));
    let mut loaded = fixture.load(&session, fixture.sharded(MAX_DEVICES)).unwrap();
    assert!(fixture.run(&mut loaded) == fixture.expected);
}

#[test]
fn devices_that_are_too_small_spill() {
    let directory = Directory::new("sharded");
    let fixture = Fixture::new::<u32>(Preset::Toy10);
    let session = processor(|b| b.poison(true).profile(true).spill_directory(directory.path()));
    for n in [2, 3, 8] {
        let free = fixture.sharded(n).plan;
        let (least, most) = (free.least_device_bytes(), free.device_peak_bytes());
        for device in [least, (least + most) / 2, most - 1] {
            for host in [None, Some(most / 2), Some(0)] {
                let memory = MemoryLimits { device: Some(device), host };
                let fitted = refit(&fixture.one, &fixture.params, &Options { memory, ..on(n) }).unwrap();
                let expected = fitted.plan.copied_bytes();
                let mut loaded = fixture.load(&session, fitted).unwrap();
                for _ in 0..2 {
                    assert!(fixture.run(&mut loaded) == fixture.expected, "{n} devices of {device} bytes");
                }
                let mut rows = [0; 3];
                for step in loaded.last_run().profile.host_steps() {
                    if let HostWork::Copy { fetched, spilled, exchanged, .. } = step.what {
                        rows.iter_mut().zip([fetched, spilled, exchanged]).for_each(|(sum, n)| *sum += n);
                    }
                }
                let found = rows.map(|rows| rows * free.row_bytes() as u64);
                assert_eq!(found, [expected.fetched, expected.spilled, expected.exchanged]);
                assert_eq!(expected.exchanged, free.copied_bytes().exchanged);
                let report = loaded.memory_report();
                for tier in Tier::ALL {
                    let planned = loaded.plan().peak_bytes(tier);
                    assert_eq!(report.of_tier(tier), (planned, planned));
                }
            }
        }
    }
    assert!(directory.is_empty());
}

#[test]
fn a_session_plans_for_the_memory_of_each_device() {
    let directory = Directory::new("sharded-session");
    let fixture = Fixture::new::<u32>(Preset::Toy10);
    let free = fixture.sharded(2).plan;
    let tables = fixture.params.primes().len() as u64 * free.row_bytes() as u64;
    let budget = free.device_peak_bytes() / 2 + tables;
    let session = processor(|b| b.memory_budget(budget).spill_directory(directory.path()).poison(true));
    let mut loaded = session.compile(&everything(), &fixture.params, &on(2)).unwrap();
    loaded.load_keys(&fixture.keys).unwrap();
    assert!(fixture.run(&mut loaded) == fixture.expected);
    assert_eq!(loaded.plan().n_devices(), 2);
    assert!(loaded.plan().device_peak_bytes() + tables <= budget && loaded.plan().peak_bytes(Tier::File) > 0);
}

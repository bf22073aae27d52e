//! Programs that do not fit: the same bits out of any memory on every backend, what is planned is what is held, and every
//! way to be out of memory, tier by tier.

use crate::client::{Client, everything, named};
use crate::simulated::Device;
use crate::story::DEVICE_BYTES;
use crate::support::{Bench, PlanMaker, arena, device, input, output, real_driver, row_item, set_peaks};
use fhe_core::ckks::Ciphertext;
use fhe_core::math::word::{Word, WordKind};
use fhe_core::params::Preset;
use host::backend::Backend;
use host::backend::cpu::{CpuBackend, available_lanes, thread_pool};
use host::backend::cuda::CudaBackend;
use host::check::CheckedPlan;
use host::memory::{Limits, MemoryClass};
use host::profile::HostWork;
use host::tiers::LowerTiers;
use host::{BackendKind, Error, LoadedProgram, Session, SessionBuilder};
use kernels_gpu::abi::launch::GPU_MIN_LOG_N;
use kernels_gpu::abi::{KernelId, RowRef};
use scheduler::compile::{MemoryLimits, refit};
use scheduler::dsl::{self, Program};
use scheduler::plan::{
    Buffer, BufferId, BufferKind, DeviceIdx, EventId, Place, Plan, PlanStep, RowCopy, StreamId, StreamKind,
    Tier,
};
use scheduler::{Compiled, Options, Topology, compile};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory that is empty when the test is over.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ferrocerium-suite-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        std::fs::read_dir(&self.0).unwrap().next().is_none()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Fails where something was left.
        let removed = std::fs::remove_dir(&self.0);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

/// A program with keys and inputs, and its outputs where everything fits.
struct Fixture<W: Word> {
    client: Client<W>,
    free: Compiled,
    keys: Vec<u8>,
    blobs: Vec<Vec<u8>>,
    expected: Vec<Vec<u8>>,
}

impl<W: Word> Fixture<W> {
    fn new(preset: Preset) -> Self {
        Self::of(&everything(), preset)
    }

    fn of(program: &Program, preset: Preset) -> Self {
        let mut client = Client::<W>::new(preset);
        let free = compile(program, client.ring.params(), &Options::default()).unwrap();
        let keys = client.keys(&free.manifest).to_bytes();
        let inputs = client.inputs(program, &free.manifest);
        let blobs = inputs.iter().map(Ciphertext::to_bytes).collect();
        let mut fixture = Self { client, free, keys, blobs, expected: Vec::new() };
        let session = Session::builder().backend(BackendKind::Cpu).threads(2).build().unwrap();
        let mut loaded = fixture.load(&session, fixture.free.clone()).unwrap();
        fixture.expected = fixture.run(&mut loaded).unwrap();
        fixture
    }

    fn fitted(&self, device: u64, host: Option<u64>) -> Compiled {
        let memory = MemoryLimits { device: Some(device), host };
        let options = Options { memory, ..Options::default() };
        refit(&self.free, self.client.ring.params(), &options).unwrap()
    }

    /// Device limits from the smallest possible to all but a row.
    fn device_limits(&self, n: u64) -> Vec<u64> {
        let (least, whole) = (self.free.plan.least_device_bytes(), self.free.plan.peak_bytes(Tier::Device));
        (0..n).map(|i| least + (whole - 1 - least) * i / (n - 1)).collect()
    }

    fn load(&self, session: &Session, compiled: Compiled) -> Result<LoadedProgram, Error> {
        let mut loaded = session.load(compiled, self.client.ring.params())?;
        loaded.load_keys(&self.keys)?;
        Ok(loaded)
    }

    fn run(&self, loaded: &mut LoadedProgram) -> Result<Vec<Vec<u8>>, Error> {
        loaded.run(&named(&self.free.manifest, &self.blobs))
    }

    fn agrees(&self, session: &Session, device: u64, host: Option<u64>) {
        let mut loaded = self.load(session, self.fitted(device, host)).unwrap();
        for _ in 0..2 {
            let outputs = self.run(&mut loaded).unwrap();
            assert!(outputs == self.expected, "{}: {device} bytes, host {host:?}", session.backend_name());
        }
        let (report, plan) = (loaded.memory_report(), loaded.plan());
        for tier in Tier::ALL {
            assert_eq!(report.of_tier(tier), (plan.peak_bytes(tier), plan.peak_bytes(tier)), "{report}");
        }
        assert!(plan.peak_bytes(Tier::Device) <= device);
        assert!(plan.peak_bytes(Tier::Host) <= host.unwrap_or(u64::MAX));
    }
}

fn builder(directory: &Path) -> SessionBuilder {
    Session::builder().spill_directory(directory).poison(true)
}

fn on_cpu(directory: &Path) -> Session {
    builder(directory).backend(BackendKind::Cpu).threads(2).build().unwrap()
}

/// All lanes, and a device where the machine has one that suits the preset: launch by launch and as graphs.
fn sessions(preset: Preset, directory: &Path) -> Vec<Session> {
    let on = |kind| builder(directory).backend(kind).threads(2);
    let mut all: Vec<Session> =
        available_lanes().into_iter().map(|l| on(BackendKind::Cpu).lanes(l).build().unwrap()).collect();
    let literal = preset.literal();
    if literal.word == WordKind::U32 && literal.log_n >= GPU_MIN_LOG_N && device().is_some() {
        for profile in [false, true] {
            all.push(on(BackendKind::Cuda).profile(profile).build().unwrap());
        }
    }
    all
}

/// Two levels deep: what the smaller parameters for real use have.
fn shallow() -> Program {
    dsl::build("shallow", |g| {
        let (x, y) = (g.input("x", 8)?, g.input("y", 8)?);
        let weights = g.plain("weights", &[0.5, -0.25, 0.125, 1.0])?;
        g.output("z", (x * y).sum_strided(8, 1) * weights - y.conjugate(), 8)
    })
    .unwrap()
}

fn agrees_in_any_memory<W: Word>(program: &Program, preset: Preset, n_device: u64) {
    let directory = Directory::new(&format!("{preset:?}"));
    let fixture = Fixture::<W>::of(program, preset);
    let whole = fixture.free.plan.peak_bytes(Tier::Device);
    for session in sessions(preset, &directory.0) {
        for device in fixture.device_limits(n_device) {
            for host in [None, Some(whole / 6), Some(0)] {
                fixture.agrees(&session, device, host);
            }
        }
    }
    assert!(directory.is_empty());
}

#[test]
fn narrow_words_in_any_memory() {
    agrees_in_any_memory::<u32>(&everything(), Preset::Toy10, 5);
}

#[test]
fn wide_words_in_any_memory() {
    agrees_in_any_memory::<u64>(&everything(), Preset::Toy10w, 3);
}

#[test]
fn device_rings_in_any_memory() {
    agrees_in_any_memory::<u32>(&everything(), Preset::Toy12, 4);
}

#[test]
fn larger_rings_in_any_memory() {
    agrees_in_any_memory::<u32>(&shallow(), Preset::N13, 3);
}

/// The processor does one step after the other: in whatever order, with the same bits.
#[test]
fn the_processor_in_any_order_of_streams() {
    let directory = Directory::new("order");
    let fixture = Fixture::<u32>::new(Preset::Toy10);
    let params = fixture.client.ring.params();
    let session = on_cpu(&directory.0);
    let whole = fixture.free.plan.peak_bytes(Tier::Device);
    for n in [1, 2, 3] {
        let memory = MemoryLimits { device: Some(whole / u64::from(2 * n)), host: Some(whole / 4) };
        let options = Options { topology: Topology::new(n).unwrap(), memory, ..Options::default() };
        let fitted = refit(&fixture.free, params, &options).unwrap();
        let mut other_orders = 0;
        for seed in 1usize..=4 {
            let mut turn = 0;
            // One stream for `seed` steps, then the next.
            let plan = fitted.plan.reordered(|n| {
                turn += 1;
                turn / seed % n
            });
            other_orders += usize::from(plan.schedule != fitted.plan.schedule);
            let mut loaded = fixture.load(&session, Compiled { plan, ..fitted.clone() }).unwrap();
            assert!(fixture.run(&mut loaded).unwrap() == fixture.expected, "{n} devices, {seed}");
        }
        assert!(other_orders > 2);
    }
}

#[test]
fn the_null_backend_counts_what_the_plan_copies() {
    let fixture = Fixture::<u32>::new(Preset::Toy10);
    for device in &fixture.device_limits(4)[..3] {
        let session = Session::builder().backend(BackendKind::Null).build().unwrap();
        let compiled = fixture.fitted(*device, Some(device / 4));
        let expected = compiled.plan.copied_bytes();
        let overlapped = compiled.plan.overlapped_bytes();
        let overlapped = overlapped.fetched + overlapped.spilled;
        let mut loaded = fixture.load(&session, compiled).unwrap();
        fixture.run(&mut loaded).unwrap();
        let counts = session.counts().unwrap();
        assert_eq!((counts.bytes_fetched, counts.bytes_spilled), (expected.fetched, expected.spilled));
        assert_eq!(counts.bytes_overlapped, overlapped);
        assert!(counts.bytes_fetched > 0);
    }
}

#[test]
fn profiles_tell_of_copies() {
    let directory = Directory::new("profile");
    let fixture = Fixture::<u32>::new(Preset::Toy10);
    let compiled = fixture.fitted(fixture.device_limits(4)[1], Some(0));
    let session = builder(&directory.0).backend(BackendKind::Cpu).threads(1).profile(true).build().unwrap();
    let mut loaded = fixture.load(&session, compiled).unwrap();
    fixture.run(&mut loaded).unwrap();
    let (mut rows_up, mut rows_down) = (0, 0);
    for step in loaded.last_run().profile.host_steps() {
        if let HostWork::Copy { fetched, spilled, .. } = step.what {
            (rows_up, rows_down) = (rows_up + fetched, rows_down + spilled);
        }
    }
    let (row_bytes, expected) = (loaded.plan().row_bytes() as u64, loaded.plan().copied_bytes());
    assert_eq!((rows_up * row_bytes, rows_down * row_bytes), (expected.fetched, expected.spilled));
    assert!(rows_up > 0 && loaded.trace().contains("fetch "));
}

#[test]
fn a_session_plans_for_the_memory_that_it_has() {
    let directory = Directory::new("session");
    let fixture = Fixture::<u32>::new(Preset::Toy10);
    let params = fixture.client.ring.params().clone();
    let whole = fixture.free.plan.peak_bytes(Tier::Device);
    let tables = params.primes().len() as u64 * fixture.free.plan.row_bytes() as u64;
    let budget = |bytes| builder(&directory.0).backend(BackendKind::Cpu).threads(1).memory_budget(bytes);
    let compile = |session: &Session| session.compile(&everything(), &params, &Options::default());

    let loaded = compile(&budget(whole + tables).build().unwrap()).unwrap();
    assert!(*loaded.plan() == fixture.free.plan);
    for (host, tier) in [(None, Tier::File), (Some(whole), Tier::Host)] {
        let mut builder = budget(whole / 2 + tables);
        if let Some(budget) = host {
            builder = builder.host_limits(Limits { machine: None, budget: Some(budget) });
        }
        let session = builder.build().unwrap();
        let mut loaded = compile(&session).unwrap();
        loaded.load_keys(&fixture.keys).unwrap();
        assert!(fixture.run(&mut loaded).unwrap() == fixture.expected);
        let plan = loaded.plan();
        assert!(plan.peak_bytes(Tier::Device) <= whole / 2 && plan.peak_bytes(tier) > 0, "{tier:?}");
        assert!(loaded.last_run().copies.as_nanos() > 0);
        let text = loaded.memory_report().to_string();
        assert!(text.contains(tier.name()), "{text}");
        // What one program holds is not there for another.
        let second = compile(&session).map(|second| second.plan().peak_bytes(Tier::Device));
        assert!(!second.is_ok_and(|second| second + plan.peak_bytes(Tier::Device) > whole / 2));
    }

    // What spilling cannot help is told with what is needed.
    let least = fixture.free.plan.least_device_bytes();
    match compile(&budget(least - 1 + tables).build().unwrap()) {
        Err(Error::Compile(scheduler::Error::DeviceBudget { needed, available, .. })) => {
            assert_eq!((needed, available), (least, least - 1));
        }
        other => panic!("{other:?}"),
    }
    let homeless = Session::builder().backend(BackendKind::Cpu).memory_budget(whole / 2 + tables);
    let error = compile(&homeless.build().unwrap()).unwrap_err();
    assert!(matches!(error, Error::NoSpillDirectory { found, .. } if found > 0), "{error}");
}

/// A copy of an input in other tiers: `spill` rows go down and come up again.
fn handmade(spill: u32, tier: Tier) -> Plan {
    let bench = Bench::<u32>::new(Preset::Toy10);
    let mut maker = PlanMaker::new(&bench.params, 4, 4, 4);
    let copy = |dst, a, i| row_item(dst, a, RowRef::NONE, 0, i);
    maker.launch(KernelId::AddScalar, &[copy(arena(0), input(0), 0), copy(arena(1), input(1), 1)]);
    maker.launch(KernelId::AddScalar, &[copy(output(0), arena(0), 0), copy(output(1), arena(1), 1)]);
    let mut plan = maker.plan;
    plan.buffers.push(Buffer { tier, rows: spill, kind: BufferKind::Spill, ..plan.buffers[0].clone() });
    set_peaks(&mut plan);
    plan
}

fn row_copy(from: (u32, u32), to: (u32, u32), rows: u32) -> RowCopy {
    let place = |(buffer, row)| Place { buffer: BufferId(buffer), row };
    RowCopy { from: place(from), to: place(to), rows }
}

#[test]
fn copies_and_calls_that_are_refused() {
    let with = |copy: RowCopy| {
        let mut plan = handmade(4, Tier::Host);
        // Behind the call.
        let [launches, copies] = StreamKind::ALL.map(|kind| StreamId { device: DeviceIdx(0), kind });
        let event = EventId(0);
        let steps = [
            PlanStep::Record { event, stream: launches },
            PlanStep::Wait { event, stream: copies },
            PlanStep::Copy(vec![copy]),
        ];
        plan.schedule.splice(2..2, steps);
        CheckedPlan::new(plan).map(drop)
    };
    assert_eq!(with(row_copy((0, 1), (3, 2), 2)), Ok(()));
    for wrong in [
        row_copy((0, 1), (3, 3), 2),
        row_copy((0, 3), (3, 0), 2),
        row_copy((0, 0), (3, 0), u32::MAX),
        row_copy((3, 0), (3, 1), 1),
        row_copy((3, 0), (9, 1), 1),
        // Another buffer of the device, and one that only the host writes.
        row_copy((0, 0), (2, 0), 1),
        row_copy((0, 0), (1, 0), 1),
    ] {
        assert!(matches!(with(wrong), Err(Error::InvalidPlan { rule: "tiers", .. })), "{wrong}");
    }
    for absent in 0..3 {
        let mut plan = handmade(4, Tier::Host);
        plan.buffers[absent].tier = Tier::File;
        set_peaks(&mut plan);
        let error = CheckedPlan::new(plan).unwrap_err();
        assert!(matches!(error, Error::InvalidPlan { rule: "tiers", .. }), "{error}");
    }
}

/// 600 rows of 16 KiB pass through chunks of 4 MiB in three parts, the last not whole.
#[test]
fn transfers_larger_than_a_chunk() {
    let directory = Directory::new("chunks");
    let lower = LowerTiers { directory: Some(directory.0.clone()), ..LowerTiers::default() };
    let bench = Bench::<u32>::new(Preset::Toy12);
    let pool = thread_pool(Some(1)).unwrap();
    let cpu = CpuBackend::new(pool, None, Limits::default()).unwrap().with_lower_tiers(lower.clone());
    let mut backends: Vec<Box<dyn Backend>> = vec![Box::new(cpu)];
    for driver in [Some(Device::new(DEVICE_BYTES).open()), real_driver()].into_iter().flatten() {
        let cuda = CudaBackend::new(driver, Limits::default()).unwrap().with_lower_tiers(lower.clone());
        backends.push(Box::new(cuda));
    }
    const ROWS: u32 = 600;
    let bytes: Vec<u8> = (0..ROWS as usize * 4 * bench.n()).map(|i| (i / 7 + i / 4096 * 31) as u8).collect();
    for tier in [Tier::Host, Tier::File] {
        let mut plan = PlanMaker::new(&bench.params, ROWS as usize, 1, 1).plan;
        plan.buffers.push(Buffer { tier, rows: ROWS, kind: BufferKind::Spill, ..plan.buffers[0].clone() });
        set_peaks(&mut plan);
        let plan = Arc::new(CheckedPlan::new(plan).unwrap());
        for backend in &backends {
            let mut instance = backend.load(Arc::clone(&plan)).unwrap();
            instance.write(BufferId(0), 0, &bytes).unwrap();
            instance.copy(&[row_copy((0, 0), (3, 0), ROWS)]).unwrap();
            assert!(instance.read(BufferId(3), 0..ROWS).unwrap() == bytes, "{} {tier:?}", backend.name());
            instance.write(BufferId(0), 0, &vec![0; bytes.len()]).unwrap();
            // All but a row, and those one further.
            instance.copy(&[row_copy((3, 0), (0, 1), ROWS - 1)]).unwrap();
            let row = bytes.len() / ROWS as usize;
            let back = instance.read(BufferId(0), 1..ROWS).unwrap();
            assert!(back == bytes[..bytes.len() - row], "{} {tier:?}", backend.name());
            // Rows one by one.
            for at in 0..ROWS {
                instance.write(BufferId(0), at, &bytes[at as usize * row..][..row]).unwrap();
            }
            assert!(instance.read(BufferId(0), 0..ROWS).unwrap() == bytes, "{} {tier:?}", backend.name());
        }
    }
}

fn load(plan: Plan, lower: LowerTiers) -> Option<Error> {
    let pool = thread_pool(Some(1)).unwrap();
    let backend = CpuBackend::new(pool, None, Limits::default()).unwrap().with_lower_tiers(lower);
    let error = backend.load(Arc::new(CheckedPlan::new(plan).unwrap())).err();
    assert_eq!(backend.memory_in_use(), 0);
    error
}

#[test]
fn out_of_memory_is_three_things_in_every_tier() {
    let directory = Directory::new("tiers");
    let lower = |tier, limits| {
        let none = Limits::default();
        let (host, file) = if tier == Tier::Host { (limits, none) } else { (none, limits) };
        LowerTiers { host, file, directory: Some(directory.0.clone()) }
    };
    for tier in [Tier::Host, Tier::File] {
        let what = format!("program `handmade`, {} tier", tier.name());
        let found = 10 * 4096;
        let error = load(handmade(10, tier), lower(tier, Limits { machine: Some(found - 1), budget: None }));
        assert_eq!(error, Some(Error::TooBig { what: what.clone(), found, expected: found - 1 }));
        let error = load(handmade(10, tier), lower(tier, Limits { machine: None, budget: Some(1000) }));
        assert_eq!(error, Some(Error::OverBudget { what, found, expected: 1000, budget: 1000 }));
        assert_eq!(
            load(handmade(10, tier), lower(tier, Limits { machine: None, budget: Some(found) })),
            None
        );
    }
    // 2^49 bytes are more than a process can address. (A disk that is full: the unit tests of the file.)
    let mut plan = PlanMaker::new(&Preset::N15.params().unwrap(), 4, 4, 4).plan;
    let arena = plan.buffers[0].clone();
    plan.buffers.push(Buffer { tier: Tier::Host, rows: u32::MAX, kind: BufferKind::Spill, ..arena });
    set_peaks(&mut plan);
    let error = load(plan, LowerTiers::default());
    assert!(
        matches!(&error, Some(Error::NotNow { what, expected: 0, .. }) if what.ends_with("host tier")),
        "{error:?}"
    );
    assert!(directory.is_empty());
}

#[test]
fn what_is_held_is_what_was_planned() {
    let directory = Directory::new("held");
    let fixture = Fixture::<u32>::new(Preset::Toy10);
    let compiled = fixture.fitted(fixture.device_limits(5)[1], Some(1 << 18));
    let of = |tier| compiled.plan.peak_bytes(tier);
    let exactly = |tier| Limits { machine: None, budget: Some(of(tier)) };
    let tables = (fixture.free.plan.primes.len() * fixture.free.plan.row_bytes()) as u64;
    let backend = |device: u64, host: Limits, file: Limits| {
        let limits = Limits { machine: None, budget: Some(device) };
        let lower = LowerTiers { host, file, directory: Some(directory.0.clone()) };
        CpuBackend::new(thread_pool(Some(1)).unwrap(), None, limits).unwrap().with_lower_tiers(lower)
    };
    let plan = Arc::new(CheckedPlan::new(compiled.plan.clone()).unwrap());
    let exact = backend(of(Tier::Device) + tables, exactly(Tier::Host), exactly(Tier::File));
    let instance = exact.load(Arc::clone(&plan)).unwrap();
    assert!(Tier::ALL.into_iter().all(|tier| of(tier) > 0));
    assert_eq!(exact.memory_in_use(), of(Tier::Device) + of(Tier::Host) + of(Tier::File) + tables);
    let report = instance.memory();
    assert_eq!(report.planned(MemoryClass::Spill) + report.planned(MemoryClass::Arena), {
        let kinds = [BufferKind::Spill, BufferKind::Arena];
        let of_kind = compiled.plan.buffers.iter().filter(|b| kinds.contains(&b.kind));
        of_kind.map(|b| plan.buffer_bytes(b)).sum::<u64>()
    });
    drop(instance);
    assert_eq!(exact.memory_in_use(), 0);
}

#[test]
fn a_directory_that_is_of_no_use() {
    let directory = Directory::new("useless");
    let fixture = Fixture::<u32>::new(Preset::Toy10);
    let compiled = fixture.fitted(fixture.device_limits(3)[0], Some(0));
    let file = directory.0.join("file");
    std::fs::write(&file, b"no directory").unwrap();
    for useless in [directory.0.join("missing"), file.clone()] {
        let error = fixture.load(&on_cpu(&useless), compiled.clone()).unwrap_err();
        let named = useless.display().to_string();
        assert!(
            matches!(&error, Error::SpillFile { directory, during: "create", .. } if *directory == named),
            "{error}"
        );
    }
    std::fs::remove_file(file).unwrap();
    let mut loaded = fixture.load(&on_cpu(&directory.0), compiled).unwrap();
    assert!(fixture.run(&mut loaded).unwrap() == fixture.expected);
}

/// The program's file, which has no name: found among the open ones.
#[cfg(target_os = "linux")]
fn open_file(directory: &Path) -> std::fs::File {
    let ours = |path: &PathBuf| std::fs::read_link(path).is_ok_and(|to| to.starts_with(directory));
    let mut open = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let path = open.find(ours).unwrap();
    std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_is_damaged_ends_the_run_and_nothing_else() {
    use std::io::{Read, Seek, SeekFrom, Write};
    let directory = Directory::new("damaged");
    let fixture = Fixture::<u32>::new(Preset::Toy10);
    let compiled = fixture.fitted(fixture.device_limits(3)[0], Some(0));
    let mut loaded = fixture.load(&on_cpu(&directory.0), compiled).unwrap();
    assert!(fixture.run(&mut loaded).unwrap() == fixture.expected);
    let mut file = open_file(&directory.0);
    let mut good = Vec::new();
    file.read_to_end(&mut good).unwrap();
    let bad: Vec<u8> = good.iter().map(|b| b ^ 1).collect();
    for damage in [bad, Vec::new()] {
        file.set_len(damage.len() as u64).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(&damage).unwrap();
        let error = fixture.run(&mut loaded).unwrap_err();
        assert!(matches!(error, Error::SpillFile { during: "read", .. }), "{error}");
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(&good).unwrap();
        assert!(fixture.run(&mut loaded).unwrap() == fixture.expected);
    }
    drop((loaded, file));
    assert!(directory.is_empty());
}

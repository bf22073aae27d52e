//! Handmade plans, random rows and the list of backends.

use crate::simulated::Device;
use crate::story::DEVICE_BYTES;
use bytemuck::Pod;
use fhe_core::math::primes;
use fhe_core::math::word::{Word, WordKind};
use fhe_core::params::{LimbIdx, Params, ParamsLiteral, Preset, Scales, Security, scale_primes};
use fhe_core::ring::{Domain, Ring, RnsPoly};
use host::backend::cpu::{CpuBackend, available_lanes, thread_pool};
use host::backend::cuda::CudaBackend;
use host::backend::{Backend, Instance};
use host::check::CheckedPlan;
use host::driver::Driver;
use host::driver::cuda::CudaDriver;
use host::executor::{self, RunOptions};
use host::memory::Limits;
use kernels_gpu::abi::launch::{GPU_MAX_LOG_N, GPU_MIN_LOG_N};
use kernels_gpu::abi::{
    self, ABI_VERSION, KernelId, Launch, RowItem, RowRef,
    matrix::{fill_matrix, matrix_pool_words},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use scheduler::ckks_ir::{InputIdx, OutputIdx};
use scheduler::plan::{
    Access, Buffer, BufferId, BufferKind, DeviceIdx, HostStep, NodeId, Peak, Plan, PlanStep, Segment,
    SegmentId, SlotUse, Step, Tier,
};
use std::sync::{Arc, OnceLock};

/// The driver of an NVIDIA device, if this machine has one. One for all tests: each would compile the kernels anew.
pub fn real_driver() -> Option<Arc<dyn Driver>> {
    static DRIVER: OnceLock<Option<Arc<dyn Driver>>> = OnceLock::new();
    let open = || Some(Arc::new(CudaDriver::open(0).ok()?) as Arc<dyn Driver>);
    DRIVER.get_or_init(open).clone()
}

/// The backend of an NVIDIA device, if this machine has one.
pub fn device() -> Option<Arc<dyn Backend>> {
    static DEVICE: OnceLock<Option<Arc<CudaBackend>>> = OnceLock::new();
    let open = || Some(Arc::new(CudaBackend::new(real_driver()?, Limits::default()).unwrap()));
    DEVICE.get_or_init(open).clone().map(|backend| backend as Arc<dyn Backend>)
}

/// A chain over the largest ring, for which there is no preset.
pub fn largest_ring(depth: usize) -> Params {
    let (log_n, log_scale) = (GPU_MAX_LOG_N, 54);
    let mut large = primes::descending(30, log_n + 1);
    let special_primes = large.by_ref().take(4).collect();
    let main_primes = large.take(2).chain(scale_primes(log_scale, log_n + 1, depth, 2)).collect();
    let levels = (1..=depth as u32 + 1).map(|l| (0..2 * l).collect()).collect();
    let literal = ParamsLiteral {
        log_n,
        word: WordKind::U32,
        main_primes,
        special_primes,
        levels,
        digit_limbs: 4,
        log_scale,
        scales: Scales::FromTop,
        security: Security::Bits128,
    };
    Params::new(literal).unwrap()
}

/// Whether kernels for a device exist for the ring.
pub fn on_device(plan: &Plan) -> bool {
    plan.word == WordKind::U32 && (GPU_MIN_LOG_N..=GPU_MAX_LOG_N).contains(&plan.log_n)
}

/// Whether the backend can, and should, run the plan: the emulator is slow, so the simulated device takes the smallest ring.
fn suits(backend: &dyn Backend, plan: &Plan) -> bool {
    let name = backend.name();
    if name.contains("simulated") {
        return on_device(plan) && plan.log_n == GPU_MIN_LOG_N;
    }
    !name.starts_with("cuda") || on_device(plan)
}

/// Every processor backend of this machine, all lanes, and one, two and three threads; its device; and a simulated one.
pub fn backends() -> Vec<Arc<dyn Backend>> {
    let mut all: Vec<Arc<dyn Backend>> = device().into_iter().collect();
    let simulated = Device::new(DEVICE_BYTES).open();
    all.push(Arc::new(CudaBackend::new(simulated, Limits::default()).unwrap()));
    for lanes in available_lanes() {
        for threads in [1, 2, 3] {
            let pool = thread_pool(Some(threads)).unwrap();
            all.push(Arc::new(CpuBackend::new(pool, Some(lanes), Limits::default()).unwrap()));
        }
    }
    all
}

/// Slot and row of the arena.
pub fn arena(row: usize) -> RowRef {
    RowRef { slot: abi::ARENA, row: row as u32 }
}

/// Slot and row of the input.
pub fn input(row: usize) -> RowRef {
    RowRef { slot: 1, row: row as u32 }
}

/// Slot and row of the output.
pub fn output(row: usize) -> RowRef {
    RowRef { slot: 2, row: row as u32 }
}

pub fn row_item(dst: RowRef, a: RowRef, b: RowRef, scalar: u64, prime: usize) -> RowItem {
    RowItem { b, scalar, ..RowItem::new(dst, a, prime as u32) }
}

/// A plan of one segment over an arena, an input and an output.
pub struct PlanMaker {
    pub plan: Plan,
}

impl PlanMaker {
    pub fn new(params: &Params, arena_rows: usize, input_rows: usize, output_rows: usize) -> Self {
        let buffer =
            |rows: usize, kind| Buffer { device: DeviceIdx(0), tier: Tier::Device, rows: rows as u32, kind };
        let slot = |rows: usize, access| SlotUse { rows: rows as u32, access };
        let limbs = (0..params.primes().len()).map(|i| LimbIdx(i as u32));
        let mut plan = Plan {
            abi_version: ABI_VERSION,
            name: "handmade".into(),
            params_digest: params.digest(),
            word: params.word(),
            log_n: params.log_n(),
            primes: params.primes().to_vec(),
            roots: limbs.map(|l| params.root(l)).collect(),
            sparse_limbs: Vec::new(),
            pool: Vec::new(),
            buffers: vec![
                buffer(arena_rows, BufferKind::Arena),
                buffer(input_rows, BufferKind::Input(InputIdx(0))),
                buffer(output_rows, BufferKind::Output(OutputIdx(0))),
            ],
            segments: vec![Segment {
                name: "all".into(),
                device: DeviceIdx(0),
                slots: vec![
                    slot(arena_rows, Access::ReadWrite),
                    slot(input_rows, Access::Read),
                    slot(output_rows, Access::Write),
                ],
                steps: Vec::new(),
            }],
            setup: Vec::new(),
            schedule: vec![
                PlanStep::Host(HostStep::Upload { input: InputIdx(0), buffer: BufferId(1) }),
                PlanStep::Call {
                    segment: SegmentId(0),
                    bindings: vec![BufferId(0), BufferId(1), BufferId(2)],
                },
                PlanStep::Host(HostStep::Download { buffer: BufferId(2), output: OutputIdx(0) }),
            ],
            peaks: Vec::new(),
            n_groups: 1,
        };
        set_peaks(&mut plan);
        Self { plan }
    }

    /// Appends a table to the pool.
    pub fn table<T: Pod>(&mut self, entries: &[T]) -> u32 {
        let at = self.plan.pool.len() as u32;
        self.plan.pool.extend(bytemuck::pod_collect_to_vec::<T, u64>(entries));
        at
    }

    /// A residue as the pool has what a conversion multiplies by.
    pub fn montgomery(&self, x: u64, limb: LimbIdx) -> u64 {
        let p = u128::from(self.plan.primes[limb.idx()]);
        ((u128::from(x) << self.plan.word.bits()) % p) as u64
    }

    /// Appends the matrix of a conversion to the pool, given target-major and plain.
    pub fn matrix(&mut self, matrix: &[u64], n_src: usize, targets: &[LimbIdx]) -> u32 {
        let bits = self.plan.word.bits();
        let mut packed = vec![0u64; matrix_pool_words(n_src, targets.len(), bits)];
        let primes: Vec<u64> = targets.iter().map(|limb| self.plan.primes[limb.idx()]).collect();
        let form = |i, j: usize| self.montgomery(matrix[j * n_src + i], targets[j]);
        fill_matrix(&mut packed, n_src, &primes, bits, form);
        if !self.plan.pool.len().is_multiple_of(2) {
            self.plan.pool.push(0);
        }
        self.table(&packed)
    }

    /// Appends a launch.
    pub fn launch<T: Pod>(&mut self, kernel: KernelId, items: &[T]) {
        assert_eq!(size_of::<T>() / 8, kernel.item().pool_words());
        let items_at = self.table(items);
        let launch = Launch { kernel, items_at, n_items: items.len() as u32 };
        let steps = &mut self.plan.segments[0].steps;
        let node = NodeId(steps.len() as u32);
        steps.push(Step::Launch { launch, node });
    }

    /// [`Self::run_on`] the backends that can, and should, run the plan.
    pub fn run<W: Word>(&self, backends: &[Arc<dyn Backend>], rows: &[W]) -> Vec<W> {
        let suitable = backends.iter().filter(|backend| suits(&***backend, &self.plan)).cloned();
        self.run_on(&suitable.collect::<Vec<_>>(), rows)
    }

    /// The output of a poisoned run on every backend, which must be one and the same: launch by
    /// launch, as a graph, and from the graph again.
    pub fn run_on<W: Word>(&self, backends: &[Arc<dyn Backend>], rows: &[W]) -> Vec<W> {
        let plan = Arc::new(CheckedPlan::new(self.plan.clone()).unwrap());
        let mut first: Option<Vec<u8>> = None;
        for backend in backends {
            let mut instance = backend.load(Arc::clone(&plan)).unwrap();
            for profile in [true, false, false] {
                let out = run_once(&mut *instance, bytemuck::cast_slice(rows), profile);
                match &first {
                    None => first = Some(out),
                    Some(first) => assert!(*first == out, "{} differs", backend.name()),
                }
            }
        }
        bytemuck::pod_collect_to_vec(&first.unwrap())
    }
}

/// A run of a handmade plan.
pub fn run_once(instance: &mut dyn Instance, rows: &[u8], profile: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut host_step = |step: &HostStep, instance: &mut dyn Instance| {
        match *step {
            HostStep::Upload { buffer, .. } => instance.write(buffer, 0, rows)?,
            HostStep::Download { buffer, .. } => {
                let n = instance.plan().plan().buffer(buffer).unwrap().rows;
                out = instance.read(buffer, 0..n)?;
            }
            _ => panic!("{step:?} in a schedule"),
        }
        Ok(())
    };
    let options = RunOptions { poison: true, profile, in_order: false };
    executor::run(instance, &mut host_step, options).unwrap();
    out
}

/// Peaks as the buffers add up, tier by tier.
pub fn set_peaks(plan: &mut Plan) {
    let of_tier = |tier| {
        let rows = plan.buffers.iter().filter(|b| b.tier == tier).map(|b| u64::from(b.rows)).sum();
        Peak { device: DeviceIdx(0), tier, rows, bytes: rows * plan.row_bytes() as u64 }
    };
    plan.peaks = Tier::ALL.into_iter().map(of_tier).filter(|peak| peak.rows > 0).collect();
}

/// A ring with the limbs of all its primes.
pub struct Bench<W> {
    pub params: Params,
    pub ring: Ring<W>,
    pub limbs: Vec<LimbIdx>,
    rng: ChaCha20Rng,
}

impl<W: Word> Bench<W> {
    pub fn new(preset: Preset) -> Self {
        Self::of(preset.params().unwrap())
    }

    pub fn of(params: Params) -> Self {
        let ring = Ring::new(&params).unwrap();
        let limbs = (0..params.primes().len()).map(|i| LimbIdx(i as u32)).collect();
        Self { params, ring, limbs, rng: ChaCha20Rng::seed_from_u64(7) }
    }

    pub fn n(&self) -> usize {
        self.params.n()
    }

    /// Residues of each limb: random ones, and among them every eighth 0 or q - 1.
    pub fn random<D: Domain>(&mut self, limbs: &[LimbIdx]) -> RnsPoly<W, D> {
        let mut words = Vec::with_capacity(limbs.len() * self.n());
        for &limb in limbs {
            let q = self.params.prime(limb);
            for _ in 0..self.n() {
                let x = match self.rng.random_range(0..16u32) {
                    0 => 0,
                    1 => q - 1,
                    _ => self.rng.random_range(0..q),
                };
                words.push(W::truncate(x));
            }
        }
        RnsPoly::from_words(&self.ring, limbs, words).unwrap()
    }

    /// All residues q - 1.
    pub fn largest<D: Domain>(&self, limbs: &[LimbIdx]) -> RnsPoly<W, D> {
        let words = |&l: &LimbIdx| vec![W::truncate(self.params.prime(l) - 1); self.n()];
        RnsPoly::from_words(&self.ring, limbs, limbs.iter().flat_map(words).collect()).unwrap()
    }

    /// A residue of each limb.
    pub fn scalars(&mut self) -> Vec<u64> {
        let params = self.params.clone();
        self.limbs.iter().map(|&l| self.rng.random_range(0..params.prime(l))).collect()
    }
}

/// Runs a generic test for rings of both words, small ones and ones whose launches are shared by threads.
macro_rules! for_each_ring {
    ($test:ident) => {
        $test::<u32>(&Preset::Toy10.params().unwrap());
        $test::<u64>(&Preset::Toy10w.params().unwrap());
        $test::<u32>(&Preset::Toy12.params().unwrap());
        $test::<u64>(&Preset::N13w.params().unwrap());
        // Every size that device kernels are compiled for; the processor's are the same code at every size.
        if crate::support::device().is_some() {
            for preset in [Preset::N13, Preset::N14, Preset::N15, Preset::N16] {
                $test::<u32>(&preset.params().unwrap());
            }
            $test::<u32>(&crate::support::largest_ring(3));
        }
    };
}
pub(crate) use for_each_ring;

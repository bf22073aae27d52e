//! Programs, keys and ciphertexts in, ciphertexts out: the public face, and the one place with words of the scheme.
//!
//! ```no_run
//! # use fhe_core::params::Params;
//! # use scheduler::{Options, dsl::Program};
//! # fn demo(network: &Program, params: &Params, keys: &[u8], image: &[u8]) -> host::Result<()> {
//! let session = host::Session::builder().threads(2).build()?;
//! let mut program = session.compile(network, params, &Options::default())?;
//! program.load_keys(keys)?;
//! let outputs = program.run(&[("image", image)])?;
//! println!("{} bytes\n{}\n{}", outputs[0].len(), program.memory_report(), program.last_run());
//! # Ok(()) }
//! ```
//!
//! Everything from outside is bytes in the format of [`fhe_core::wire`], checked before anything is done with it.
//! There is no function for a secret key.

mod codec;
mod parts;
mod program;

pub use program::{LoadedProgram, RunReport};

use crate::backend::cpu::{CpuBackend, thread_pool};
use crate::backend::cuda::CudaBackend;
use crate::backend::null::{Counts, NullBackend};
use crate::backend::{Backend, BackendKind};
use crate::check::{CheckedPlan, broken};
use crate::driver::cuda::CudaDriver;
use crate::driver::{Driver, DriverError, DriverResult};
use crate::error::{Error, Result};
use crate::executor::RunOptions;
use crate::memory::Limits;
use crate::profile::Stopwatch;
use crate::tiers::LowerTiers;
use fhe_core::params::Params;
use kernels_gpu::cpu::LaneKind;
use rayon::ThreadPool;
use scheduler::compile::{MemoryLimits, refit};
use scheduler::dsl::Program;
use scheduler::plan::{KeyId, Plan, Tier};
use scheduler::{Compiled, Options};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Makes a [`Session`].
#[derive(Clone, Debug)]
pub struct SessionBuilder {
    kind: BackendKind,
    threads: Option<usize>,
    lanes: Option<LaneKind>,
    device: u32,
    limits: Option<Limits>,
    host_limits: Option<Limits>,
    file_limits: Limits,
    spill_directory: Option<PathBuf>,
    options: RunOptions,
}

impl SessionBuilder {
    /// The backend; [`BackendKind::Auto`] if not called.
    #[must_use]
    pub fn backend(mut self, kind: BackendKind) -> Self {
        self.kind = kind;
        self
    }

    /// Threads of the processor; as many as there are cores if not called.
    #[must_use]
    pub fn threads(mut self, n: usize) -> Self {
        self.threads = Some(n);
        self
    }

    /// Vector registers of the processor; the widest that there are if not called.
    #[must_use]
    pub fn lanes(mut self, lanes: LaneKind) -> Self {
        self.lanes = Some(lanes);
        self
    }

    /// Bytes of each device, or of the processor's memory in the place of each, that all programs of the session may take together;
    /// all if not called. A program that [`Session::compile`] cannot fit is planned with host memory and files.
    #[must_use]
    pub fn memory_budget(mut self, bytes: u64) -> Self {
        self.limits.get_or_insert_with(Limits::default).budget = Some(bytes);
        self
    }

    /// What memory there is, in place of what the machine says.
    #[must_use]
    pub fn memory_limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Memory of the host for what does not fit a device. If not called, half of what is available, since it is pinned;
    /// and none for the processor, whose device that memory is.
    #[must_use]
    pub fn host_limits(mut self, limits: Limits) -> Self {
        self.host_limits = Some(limits);
        self
    }

    /// Bytes of files for what does not fit memory; as many as there is room for if not called.
    #[must_use]
    pub fn file_limits(mut self, limits: Limits) -> Self {
        self.file_limits = limits;
        self
    }

    /// Where files are made for what does not fit memory. They have no name and are gone with their program. If not
    /// called, programs that need one are refused.
    #[must_use]
    pub fn spill_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.spill_directory = Some(directory.into());
        self
    }

    fn lower_tiers(&self, host: impl FnOnce() -> Limits) -> LowerTiers {
        let host = self.host_limits.unwrap_or_else(host);
        LowerTiers { host, file: self.file_limits, directory: self.spill_directory.clone() }
    }

    /// Which of the machine's NVIDIA devices; the first if not called.
    #[must_use]
    pub fn device(mut self, ordinal: u32) -> Self {
        self.device = ordinal;
        self
    }

    /// Whether every launch is timed (no if not called): on a device this runs launch by launch instead of as a graph, and
    /// the error of a kernel that fails names its node.
    #[must_use]
    pub fn profile(mut self, on: bool) -> Self {
        self.options.profile = on;
        self
    }

    /// For comparison: whether every step of a run is waited for before the next one is submitted, so that copies and launches take turns
    /// (no if not called).
    #[must_use]
    pub fn in_order(mut self, on: bool) -> Self {
        self.options.in_order = on;
        self
    }

    /// For tests: whether working memory is filled with [`crate::backend::POISON`] before each run.
    #[must_use]
    pub fn poison(mut self, on: bool) -> Self {
        self.options.poison = on;
        self
    }

    fn on_device(&self, open: impl FnOnce(u32) -> DriverResult<Arc<dyn Driver>>) -> Result<Arc<dyn Backend>> {
        let unavailable =
            |e: DriverError| Error::BackendUnavailable { backend: "cuda", reason: e.to_string() };
        let driver = open(self.device).map_err(unavailable)?;
        let backend = CudaBackend::new(driver, self.limits.unwrap_or_default())?;
        Ok(Arc::new(backend.with_lower_tiers(self.lower_tiers(Limits::of_pinned))))
    }

    /// Starts the backend. [`BackendKind::Auto`] is an NVIDIA device for the programs that it has kernels for, and the processor for
    /// the others or where there is no device.
    ///
    /// # Errors
    /// [`Error::BackendUnavailable`].
    pub fn build(self) -> Result<Session> {
        self.build_with(|ordinal| Ok(Arc::new(CudaDriver::open(ordinal)?)))
    }

    /// As [`Self::build`], with another driver than CUDA's: `open` opens a device by its number.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn build_with(self, open: impl FnOnce(u32) -> DriverResult<Arc<dyn Driver>>) -> Result<Session> {
        let pool = thread_pool(self.threads)?;
        let mut null = None;
        let on_cpu = || -> Result<Arc<dyn Backend>> {
            let limits = self.limits.unwrap_or_else(Limits::of_machine);
            let backend = CpuBackend::new(Arc::clone(&pool), self.lanes, limits)?;
            Ok(Arc::new(backend.with_lower_tiers(self.lower_tiers(Limits::default))))
        };
        let (backend, fallback) = match self.kind {
            BackendKind::Auto => match self.on_device(open) {
                Ok(device) => (device, Some(on_cpu()?)),
                Err(error) => {
                    tracing::info!(%error, "no device: the processor computes");
                    (on_cpu()?, None)
                }
            },
            BackendKind::Cpu => (on_cpu()?, None),
            BackendKind::Null => {
                (Arc::new(null.insert(NullBackend::new()).clone()) as Arc<dyn Backend>, None)
            }
            BackendKind::Cuda => (self.on_device(open)?, None),
        };
        tracing::debug!(backend = %backend.name(), limits = ?self.limits, "session");
        Ok(Session { backend, fallback, null, pool, options: self.options })
    }
}

/// A backend, ready for programs. Programs outlive it if need be.
pub struct Session {
    backend: Arc<dyn Backend>,
    /// What takes the rings that the device has no kernels for, where the session chooses.
    fallback: Option<Arc<dyn Backend>>,
    null: Option<NullBackend>,
    pool: Arc<ThreadPool>,
    options: RunOptions,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("backend", &self.backend.name()).finish_non_exhaustive()
    }
}

impl Session {
    /// A builder: the fastest backend, all cores, the machine's memory.
    pub fn builder() -> SessionBuilder {
        SessionBuilder {
            kind: BackendKind::Auto,
            threads: None,
            lanes: None,
            device: 0,
            limits: None,
            host_limits: None,
            file_limits: Limits::default(),
            spill_directory: None,
            options: RunOptions::default(),
        }
    }

    /// The backend's name.
    pub fn backend_name(&self) -> String {
        self.backend.name()
    }

    /// What the null backend counted; `None` for others.
    pub fn counts(&self) -> Option<Counts> {
        self.null.as_ref().map(NullBackend::counts)
    }

    /// Compiles a program and loads it, for the devices that the options say: one unless they say more. The plan fits the memory that is there: what the device has no room for is
    /// fetched from host memory and files and spilled there.
    ///
    /// # Errors
    /// [`Error::Compile`], among them the bytes that are needed where spilling does not help; those of [`Self::load`].
    pub fn compile(&self, program: &Program, params: &Params, options: &Options) -> Result<LoadedProgram> {
        let clock = Stopwatch::start();
        let compiled = scheduler::compile(program, params, options)?;
        tracing::debug!(program = program.name(), time = ?clock.elapsed(), "compiled");
        self.load(self.fit(compiled, params, options)?, params)
    }

    /// The same program with a plan that fits the memory there is.
    fn fit(&self, compiled: Compiled, params: &Params, options: &Options) -> Result<Compiled> {
        let room = match (self.backend.room(&compiled.plan), &self.fallback) {
            (Err(Error::UnsupportedRing { .. }), Some(processor)) => processor.room(&compiled.plan)?,
            (room, _) => room?,
        };
        let exceeds = |bytes: u64, limit: Option<u64>| limit.is_some_and(|l| bytes > l);
        let plan = &compiled.plan;
        if !exceeds(plan.device_peak_bytes(), room.device) && !exceeds(plan.peak_bytes(Tier::Host), room.host)
        {
            return Ok(compiled);
        }
        let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        let asked = options.memory;
        let memory =
            MemoryLimits { device: least(asked.device, room.device), host: least(asked.host, room.host) };
        tracing::info!(program = %compiled.plan.name, ?memory, "planned again, to fit");
        Ok(refit(&compiled, params, &Options { memory, ..options.clone() })?)
    }

    /// Allocates what a compiled program needs and encodes its constants.
    ///
    /// # Errors
    /// [`Error::Core`] when it was compiled for other parameters or a constant does not encode;
    /// [`Error::AbiMismatch`], [`Error::UnsupportedRing`], [`Error::Devices`], [`Error::InvalidPlan`]; [`Error::TooBig`],
    /// [`Error::OverBudget`], [`Error::NotNow`]; [`Error::NoSpillDirectory`], [`Error::SpillFile`].
    pub fn load(&self, compiled: Compiled, params: &Params) -> Result<LoadedProgram> {
        let Compiled { plan, manifest, .. } = compiled;
        let plan = Arc::new(CheckedPlan::new(plan)?);
        params.check_digest(plan.plan().params_digest)?;
        check_ring(plan.plan(), params)?;
        self.pool.install(|| {
            let codec = codec::new(params)?;
            let instance = match (self.backend.load(Arc::clone(&plan)), &self.fallback) {
                (Err(error @ Error::UnsupportedRing { .. }), Some(processor)) => {
                    tracing::info!(%error, "the processor computes");
                    processor.load(plan)?
                }
                (loaded, _) => loaded?,
            };
            LoadedProgram::new(instance, codec, manifest, Arc::clone(&self.pool), self.options)
        })
    }
}

/// A plan that says it is for some parameters is over their ring.
fn check_ring(plan: &Plan, params: &Params) -> Result<()> {
    let limbs = (0..params.primes().len()).map(|i| fhe_core::params::LimbIdx(i as u32));
    let same = plan.word == params.word()
        && plan.log_n == params.log_n()
        && plan.primes == params.primes()
        && plan.roots.iter().copied().eq(limbs.map(|l| params.root(l)))
        && (plan.sparse_limbs.is_empty() || plan.sparse_limbs == KeyId::ToSparse.limbs(params)?);
    if same {
        return Ok(());
    }
    Err(broken("params", format!("found another ring, expected that of {params}")))
}

//! Backends, and how a figure comes about.
//!
//! **Method.** A sample is so many replays, back to back, that they take [`Protocol::sample`]; on a device its time is
//! that between two events around graph replays, on the processor that of a clock around the calls. The row is the
//! median over the samples, divided by replays and repetitions. A replay works through *copies* of the operands
//! (inputs, outputs, keys) in turn, together [`Protocol::rotate_bytes`] or more where memory allows, so that no operand is
//! still in the cache when its turn comes again. Working memory within an operation is shared, as in a program.

use crate::Result;
use crate::roofs::Roofs;
use anyhow::{anyhow, bail};
use host::Session;
use host::backend::cpu::{CpuBackend, thread_pool};
use host::backend::cuda::CudaBackend;
use host::backend::{Backend, BackendKind};
use host::driver::cuda::CudaDriver;
use host::memory::Limits;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// Samples of which the median is taken.
    pub samples: usize,
    /// Least time of a sample.
    pub sample: Duration,
    /// What all samples may take: fewer are taken where they would take longer, but three.
    pub all_samples: Duration,
    /// Operands of all copies together: two and a half times the last cache.
    pub rotate_bytes: u64,
    /// What the copies of one row may take.
    pub most_bytes: u64,
    /// Most copies.
    pub most_copies: u64,
}

impl Protocol {
    /// Copies of operands that take `bytes` each, in buffers of `buffer_bytes`.
    pub fn copies(&self, bytes: u64, buffer_bytes: u64) -> u32 {
        let wanted = self.rotate_bytes.div_ceil(bytes.max(1)).min(self.most_copies);
        wanted.min(self.most_bytes / buffer_bytes.max(1)).max(1) as u32
    }

    /// Median microseconds of one of `repetitions` in a replay.
    ///
    /// # Errors
    /// Those of the replay.
    pub fn median(&self, repetitions: u32, mut replay: impl FnMut(u32) -> Result<Duration>) -> Result<f64> {
        replay(1)?;
        let once = replay(1)?.as_secs_f64().max(1e-9);
        let rounds = (self.sample.as_secs_f64() / once).ceil().clamp(1.0, 1e5) as u32;
        let one = |t: Duration| t.as_secs_f64() * 1e6 / f64::from(rounds) / f64::from(repetitions);
        let affordable = self.all_samples.as_secs_f64() / (once * f64::from(rounds));
        let n_samples = self.samples.min((affordable as usize).max(3));
        let mut samples = (0..n_samples).map(|_| replay(rounds).map(one)).collect::<Result<Vec<f64>>>()?;
        samples.sort_by(f64::total_cmp);
        Ok(samples[samples.len() / 2])
    }

    /// As [`Self::median`] of a function on this thread, by the clock.
    ///
    /// # Errors
    /// Those of the function.
    pub fn median_of_calls(&self, mut f: impl FnMut() -> Result<()>) -> Result<f64> {
        self.median(1, |rounds| {
            let clock = Instant::now();
            (0..rounds).try_for_each(|_| f())?;
            Ok(clock.elapsed())
        })
    }
}

/// Where rows are measured, with its roofs.
pub struct Machine {
    /// `cpu` or `cuda`.
    pub kind: BackendKind,
    /// What runs the plans of kernels.
    pub backend: Arc<dyn Backend>,
    /// What runs compiled plans, on the same device.
    pub session: Session,
    /// The same, timing every launch.
    pub profiled: Session,
    /// Threads of the processor.
    pub pool: Arc<rayon::ThreadPool>,
    /// Of the backend.
    pub roofs: Roofs,
    /// Of the processor, where the client works.
    pub client_roofs: Roofs,
    /// How much is measured.
    pub protocol: Protocol,
}

impl Machine {
    /// Opens a backend and finds the roofs.
    ///
    /// # Errors
    /// No such backend on this machine.
    pub fn open(kind: BackendKind, threads: Option<usize>, quick: bool) -> Result<Self> {
        let pool = thread_pool(threads)?;
        let client_roofs = Roofs::of_processor(&pool, if quick { 64 << 20 } else { 512 << 20 });
        let kind = match kind {
            BackendKind::Auto if CudaDriver::device_count().is_ok_and(|n| n > 0) => BackendKind::Cuda,
            BackendKind::Auto => BackendKind::Cpu,
            BackendKind::Null => bail!("backend null computes nothing, expected cpu or cuda"),
            kind => kind,
        };
        let on_device = kind == BackendKind::Cuda;
        let (backend, roofs): (Arc<dyn Backend>, Roofs) = if on_device {
            let driver = Arc::new(CudaDriver::open(0).map_err(|e| anyhow!("cuda: {e}"))?);
            let roofs = Roofs::of_device(&driver)?;
            (Arc::new(CudaBackend::new(driver, Limits::default())?), roofs)
        } else {
            (Arc::new(CpuBackend::new(Arc::clone(&pool), None, Limits::default())?), client_roofs.clone())
        };
        let cache = if on_device { 60 << 20 } else { 32 << 20 };
        let protocol = match quick {
            true => Protocol {
                samples: 1,
                sample: Duration::ZERO,
                all_samples: Duration::ZERO,
                rotate_bytes: 0,
                most_bytes: 1 << 28,
                most_copies: 1,
            },
            false => Protocol {
                samples: 9,
                sample: Duration::from_millis(if on_device { 3 } else { 30 }),
                all_samples: Duration::from_secs(1),
                rotate_bytes: cache / 2 * 5,
                most_bytes: if on_device { 8 << 30 } else { 1 << 30 },
                most_copies: if on_device { 256 } else { 64 },
            },
        };
        let session = |profile: bool| {
            Session::builder().backend(kind).threads(pool.current_num_threads()).profile(profile).build()
        };
        let (session, profiled) = (session(false)?, session(true)?);
        Ok(Self { kind, backend, session, profiled, pool, roofs, client_roofs, protocol })
    }
}

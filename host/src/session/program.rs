//! A program in the memory of a backend.

use super::codec::{Codec, Keys, Plaintext, Rows};
use super::parts::{Arriving, Object, fill, rows_of};
use crate::backend::Instance;
use crate::check::broken;
use crate::error::{Error, Result};
use crate::executor::{self, RunOptions, RunTimes};
use crate::memory::MemoryReport;
use crate::profile::overhead::{self, LaunchOverhead};
use crate::profile::prediction::{Prediction, observations};
use crate::profile::{HostWork, Profile, Stopwatch, trace};
use crate::work::Work;
use fhe_core::params::Level;
use kernels_gpu::abi::KernelId;
use rayon::ThreadPool;
use scheduler::ckks_ir::ConstId;
use scheduler::compile::Manifest;
use scheduler::cost::{CopyObservation, CopyRoute, CostTable, Observation};
use scheduler::plan::{BufferId, HostStep, KeyId, Plan, PlanStep, RowCopy};
use scheduler::poly_ir::Encoded;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What the last run took. Its `Display` is a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunReport {
    /// From bytes to bytes.
    pub total: Duration,
    /// Reading and checking inputs.
    pub read_inputs: Duration,
    /// Copying inputs to the device, copying outputs from it, writing them as bytes.
    pub transfers: Duration,
    /// Computing.
    pub compute: Duration,
    /// Copying between tiers what does not fit the device.
    pub copies: Duration,
    /// Launch by launch, unless switched off.
    pub profile: Profile,
}

impl RunReport {
    /// The line with the times.
    pub fn times(&self) -> String {
        let ms = |t: Duration| t.as_secs_f64() * 1e3;
        format!(
            "{:.3} ms: inputs {:.3}, transfers {:.3}, compute {:.3}, copies {:.3}",
            ms(self.total),
            ms(self.read_inputs),
            ms(self.transfers),
            ms(self.compute),
            ms(self.copies)
        )
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.times())?;
        self.profile.fmt(f)
    }
}

/// A compiled program with its memory, its constants and, once loaded, its keys.
pub struct LoadedProgram {
    instance: Box<dyn Instance>,
    codec: Box<dyn Codec>,
    manifest: Manifest,
    pool: Arc<ThreadPool>,
    options: RunOptions,
    has_keys: bool,
    /// Encoding of the constants, loading of the keys.
    encoded: Profile,
    keys_loaded: Profile,
    last_run: RunReport,
}

impl fmt::Debug for LoadedProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("LoadedProgram");
        debug.field("name", &self.plan().name).field("has_keys", &self.has_keys).finish_non_exhaustive()
    }
}

/// A host step that is not in the list where it belongs, or names what the manifest has not.
fn foreign(step: &HostStep) -> Error {
    broken("host-steps", format!("{step:?} is not of the manifest"))
}

/// The level that the lowering names a segment after: `s7_level3`.
fn level_of(segment: &str) -> Option<u32> {
    segment.rsplit_once("_level")?.1.parse().ok()
}

impl LoadedProgram {
    pub(super) fn new(
        mut instance: Box<dyn Instance>,
        codec: Box<dyn Codec>,
        manifest: Manifest,
        pool: Arc<ThreadPool>,
        options: RunOptions,
    ) -> Result<Self> {
        // The plaintext that was encoded last: its parts are loaded one after the other.
        let mut last: Option<(Encoded, Box<dyn Plaintext>)> = None;
        let mut encode = |step: &HostStep, instance: &mut dyn Instance| {
            let of =
                |constant: ConstId| manifest.constants.get(constant.0 as usize).ok_or_else(|| foreign(step));
            match *step {
                HostStep::Encode { encoded, buffer } => {
                    let basis = encoded.basis(codec.params())?;
                    let (_, rows) = match last.take().filter(|(last, _)| *last == encoded) {
                        Some(last_one) => last.insert(last_one),
                        None => last.insert((encoded, codec.encode(of(encoded.constant)?, &encoded)?)),
                    };
                    let object = Object { basis: &basis, n_blocks: 1 };
                    if encoded.log_repeat == 0 {
                        return fill(instance, buffer, &rows.chunks(), Some(&object));
                    }
                    let (positions, _) = rows_of(instance.plan().plan(), buffer, &object);
                    let packed = rows.packed(&positions, encoded.log_repeat).ok_or_else(|| foreign(step))?;
                    fill(instance, buffer, &packed.chunks(), None)
                }
                HostStep::LoadSlots { encoded, buffer } => {
                    let rows = codec.slots(of(encoded.constant)?, &encoded)?;
                    fill(instance, buffer, &rows.chunks(), None)
                }
                HostStep::LoadFactors { buffer } => fill(instance, buffer, &codec.factors().chunks(), None),
                _ => Err(foreign(step)),
            }
        };
        let is_key = |s: &HostStep| matches!(s, HostStep::LoadKey { .. });
        let encoded = executor::setup(&mut *instance, &mut encode, |s| !is_key(s))?;
        let (keys_loaded, last_run) = (Profile::default(), RunReport::default());
        Ok(Self { instance, codec, manifest, pool, options, has_keys: false, encoded, keys_loaded, last_run })
    }

    /// What to bring: inputs, keys; and what comes back.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What is executed.
    pub fn plan(&self) -> &Plan {
        self.instance.plan().plan()
    }

    /// The work of a run by kernel, known before it.
    pub fn work_by_kernel(&self) -> Vec<(KernelId, Work)> {
        self.instance.plan().work_by_kernel()
    }

    /// Bytes of the program by device, tier and class, planned and allocated.
    pub fn memory_report(&self) -> MemoryReport {
        self.instance.memory()
    }

    /// What the last run that succeeded took; zeros before the first.
    pub fn last_run(&self) -> &RunReport {
        &self.last_run
    }

    /// The setup and the last run as a trace for Perfetto or chrome://tracing (see [`trace`]); of the run nothing is known
    /// unless the session profiles.
    pub fn trace(&self) -> String {
        let profiles =
            [("constants", &self.encoded), ("keys", &self.keys_loaded), ("run", &self.last_run.profile)];
        trace::to_chrome(self.plan(), &profiles, |what| self.describe(what), level_of)
    }

    /// Name and level of work of the host.
    fn describe(&self, what: &HostWork) -> (String, Option<u32>) {
        let Manifest { inputs, outputs, .. } = &self.manifest;
        let named = |verb, found: Option<(&String, Level)>| {
            found.map(|(name, level)| (format!("{verb} `{name}`"), Some(level.0)))
        };
        let found = match *what {
            HostWork::Step(HostStep::Upload { input, .. }) => {
                named("upload", inputs.get(input.0 as usize).map(|s| (&s.name, s.level)))
            }
            HostWork::Step(HostStep::Download { output, .. }) => {
                named("download", outputs.get(output.0 as usize).map(|s| (&s.name, s.level)))
            }
            HostWork::Step(HostStep::Encode { encoded, .. } | HostStep::LoadSlots { encoded, .. }) => {
                Some((what.name(), Some(encoded.level.0)))
            }
            _ => None,
        };
        found.unwrap_or_else(|| (what.name(), None))
    }

    /// The keys that are loaded, once a device.
    fn keys(&self) -> impl Iterator<Item = KeyId> {
        self.plan().setup.iter().filter_map(|step| match step {
            HostStep::LoadKey { key, .. } => Some(*key),
            _ => None,
        })
    }

    fn n_keys(&self) -> usize {
        self.keys().collect::<BTreeSet<_>>().len()
    }

    fn key_name(&self, key: KeyId) -> String {
        let params = self.codec.params();
        match key {
            KeyId::Relinearization => "relinearization".to_owned(),
            KeyId::Galois(element) if element == params.galois_conjugate() => params.describe_galois(element),
            KeyId::Galois(element) => format!("rotation by {}", params.describe_galois(element)),
            KeyId::ToSparse => "encapsulation (to_sparse)".to_owned(),
            KeyId::ToDense => "encapsulation (to_dense)".to_owned(),
        }
    }

    /// Copies the keys that the program needs out of an evaluation key set, in place of earlier ones. Keys that it does
    /// not need are ignored.
    ///
    /// # Errors
    /// [`Error::Core`]: bytes that are no key set, keys of other parameters, a missing key by its name; the keys of before
    /// stay.
    pub fn load_keys(&mut self, bytes: &[u8]) -> Result<()> {
        let pool = Arc::clone(&self.pool);
        pool.install(|| {
            let keys = self.codec.read_keys(bytes)?;
            self.check_keys(&*keys)?;
            self.has_keys = false;
            let codec = &self.codec;
            let mut load = |step: &HostStep, instance: &mut dyn Instance| match *step {
                HostStep::LoadKey { key, buffer } => {
                    let (limbs, n_blocks) =
                        (instance.plan().plan().key_limbs(key), key.n_blocks(codec.params()));
                    fill(instance, buffer, &keys.rows(key)?, Some(&Object { basis: &limbs, n_blocks }))
                }
                _ => Err(foreign(step)),
            };
            let is_key = |s: &HostStep| matches!(s, HostStep::LoadKey { .. });
            self.keys_loaded = executor::setup(&mut *self.instance, &mut load, is_key)?;
            self.has_keys = true;
            tracing::debug!(program = %self.plan().name, keys = self.n_keys(), "keys loaded");
            Ok(())
        })
    }

    /// Every key is there, and of the size of its buffers; the sparse secret has no more coefficients than was planned with.
    fn check_keys(&self, keys: &dyn Keys) -> Result<()> {
        let all: BTreeSet<KeyId> = self.keys().collect();
        let missing: Vec<String> =
            all.into_iter().filter(|&key| keys.rows(key).is_err()).map(|key| self.key_name(key)).collect();
        // One that is alone has an error of its own.
        if missing.len() > 1 {
            return Err(fhe_core::Error::MissingKeys { missing }.into());
        }
        if let (Some(most), Some(found)) = (self.manifest.encapsulation_weight, keys.encapsulation_weight())
            && found > most
        {
            let expected = format!("encapsulation keys of weight {most} at most");
            let found = format!("some of weight {found}");
            return Err(fhe_core::Error::WrongKey { expected, found }.into());
        }
        for step in &self.plan().setup {
            let HostStep::LoadKey { key, buffer } = *step else { continue };
            let (limbs, n_blocks) = (self.plan().key_limbs(key), key.n_blocks(self.codec.params()));
            let object = Object { basis: &limbs, n_blocks };
            let (rows, all) = rows_of(self.plan(), buffer, &object);
            let len: usize = keys.rows(key)?.iter().map(|row| row.len()).sum();
            self.instance.plan().check_write(buffer, 0, len / all.max(1) as usize * rows.len())?;
        }
        Ok(())
    }

    /// The time of the calls of a run, `rounds` times over and back to back, on the inputs of the last run: see
    /// [`Instance::replay`].
    ///
    /// # Errors
    /// [`Error::KeysNotLoaded`], and those of the calls.
    pub fn replay(&mut self, rounds: u32) -> Result<Duration> {
        self.check_keys_loaded()?;
        let pool = Arc::clone(&self.pool);
        pool.install(|| self.instance.replay(rounds))
    }

    /// What a replay takes beyond its launches: see [`overhead`]. For benches; the next run starts from its inputs again.
    ///
    /// # Errors
    /// As [`Self::replay`].
    pub fn launch_overhead(&mut self, samples: u32) -> Result<LaunchOverhead> {
        self.check_keys_loaded()?;
        let pool = Arc::clone(&self.pool);
        pool.install(|| {
            let replay = overhead::median_replay(samples, |rounds| self.instance.replay(rounds))?;
            Ok(LaunchOverhead::new(replay, &self.instance.launch_times(samples)?))
        })
    }

    /// What each launch of a run takes, the median of `samples`: for a cost table. Neither keys nor inputs are needed, for times do not
    /// depend on words.
    ///
    /// # Errors
    /// Those of the calls.
    pub fn observe(&mut self, samples: u32) -> Result<Vec<Observation>> {
        let pool = Arc::clone(&self.pool);
        let times = pool.install(|| self.instance.launch_times(samples))?;
        Ok(observations(self.instance.plan(), &times))
    }

    /// What the copies of each step of a run take over each route, waited for: the median of `samples`. Neither keys nor inputs are needed;
    /// afterwards the arenas and what was spilled hold nothing of meaning.
    ///
    /// # Errors
    /// Those of [`Instance::copy`].
    pub fn observe_copies(&mut self, samples: u32) -> Result<Vec<CopyObservation>> {
        let plan = self.plan().clone();
        let row_bytes = plan.row_bytes() as u64;
        // What lies below is there, and right by the checksums of its tier.
        let row = vec![0; plan.row_bytes()];
        for (id, buffer) in (0..).map(BufferId).zip(&plan.buffers) {
            (0..buffer.rows).try_for_each(|at| self.instance.write(id, at, &row))?;
        }
        let mut observed = Vec::new();
        for step in &plan.schedule {
            let PlanStep::Copy(copies) = step else { continue };
            let mut by_route: BTreeMap<CopyRoute, Vec<RowCopy>> = BTreeMap::new();
            for copy in copies {
                if let Some(route) = CopyRoute::of(&plan, copy) {
                    by_route.entry(route).or_default().push(*copy);
                }
            }
            for (route, copies) in by_route {
                let mut times = Vec::new();
                for _ in 0..samples.max(1) {
                    let clock = Stopwatch::start();
                    self.instance.copy(&copies)?;
                    times.push(clock.elapsed());
                }
                let bytes = copies.iter().map(|copy| u64::from(copy.rows)).sum::<u64>() * row_bytes;
                let nanoseconds = overhead::median(times).as_secs_f64() * 1e9;
                observed.push(CopyObservation { route, bytes, nanoseconds });
            }
        }
        Ok(observed)
    }

    /// The time of a run's launches as a cost table predicts it, and of its copies beside them.
    pub fn predict(&self, costs: &CostTable) -> Prediction {
        Prediction::new(self.instance.plan(), costs)
    }

    fn check_keys_loaded(&self) -> Result<()> {
        let expected = self.n_keys();
        if expected > 0 && !self.has_keys {
            return Err(Error::KeysNotLoaded { program: self.plan().name.clone(), expected });
        }
        Ok(())
    }

    /// Runs the program on named inputs; the outputs are in the order of the manifest.
    ///
    /// # Errors
    /// [`Error::KeysNotLoaded`]; [`Error::UnknownInput`], [`Error::MissingInput`], [`Error::DuplicateInput`];
    /// [`Error::Input`], [`Error::InputLevel`], [`Error::InputScale`], [`Error::InputDegree`]. The program can be run again.
    pub fn run(&mut self, inputs: &[(&str, &[u8])]) -> Result<Vec<Vec<u8>>> {
        self.check_keys_loaded()?;
        let pool = Arc::clone(&self.pool);
        pool.install(|| self.run_here(inputs))
    }

    fn run_here(&mut self, inputs: &[(&str, &[u8])]) -> Result<Vec<Vec<u8>>> {
        let clock = Stopwatch::start();
        let rows = self.read_inputs(inputs)?;
        let read_inputs = clock.elapsed();
        let mut outputs = vec![Vec::new(); self.manifest.outputs.len()];
        let mut arriving = vec![Arriving::default(); outputs.len()];
        let (codec, manifest) = (&self.codec, &self.manifest);
        let mut transfer = |step: &HostStep, instance: &mut dyn Instance| match *step {
            HostStep::Upload { input, buffer } => {
                let idx = input.0 as usize;
                let (spec, rows) =
                    manifest.inputs.get(idx).zip(rows.get(idx)).ok_or_else(|| foreign(step))?;
                let basis = &codec.params().level(spec.level)?.basis;
                fill(instance, buffer, &rows.chunks(), Some(&Object { basis, n_blocks: 2 }))
            }
            HostStep::Download { buffer, output } => {
                let idx = output.0 as usize;
                let spec = manifest.outputs.get(idx).ok_or_else(|| foreign(step))?;
                let basis = &codec.params().level(spec.level)?.basis;
                if let Some(rows) = arriving[idx].take(instance, buffer, &Object { basis, n_blocks: 2 })? {
                    outputs[idx] = codec.write_output(spec, &rows)?;
                }
                Ok(())
            }
            _ => Err(foreign(step)),
        };
        let RunTimes { host, calls, copies, mut profile, .. } =
            executor::run(&mut *self.instance, &mut transfer, self.options)?;
        if let Some(output) = arriving.iter().position(Arriving::has_begun) {
            let problem = format!("output {output} is not downloaded from all devices that have rows of it");
            return Err(broken("host-steps", problem));
        }
        let total = clock.elapsed();
        if self.options.profile {
            profile.precede(HostWork::ReadInputs, read_inputs);
        }
        self.last_run = RunReport { total, read_inputs, transfers: host, compute: calls, copies, profile };
        Ok(outputs)
    }

    /// All inputs in the order of the manifest, checked.
    fn read_inputs(&self, inputs: &[(&str, &[u8])]) -> Result<Vec<Box<dyn Rows>>> {
        let specs = &self.manifest.inputs;
        for &(name, _) in inputs {
            if !specs.iter().any(|s| s.name == name) {
                let expected = specs.iter().map(|s| s.name.clone()).collect();
                return Err(Error::UnknownInput { found: name.to_owned(), expected });
            }
            let found = inputs.iter().filter(|(other, _)| *other == name).count();
            if found > 1 {
                return Err(Error::DuplicateInput { name: name.to_owned(), found });
            }
        }
        let read = |spec: &scheduler::compile::InputSpec| {
            let Some(&(_, bytes)) = inputs.iter().find(|(name, _)| *name == spec.name) else {
                let found = inputs.iter().map(|(name, _)| (*name).to_owned()).collect();
                return Err(Error::MissingInput { missing: spec.name.clone(), found });
            };
            self.codec.read_input(spec, bytes)
        };
        specs.iter().map(read).collect()
    }
}

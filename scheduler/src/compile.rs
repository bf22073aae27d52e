//! The whole way from a program to a plan.

use fhe_core::bootstrap::BootstrapLiteral;
use fhe_core::math::double::Double;
use fhe_core::params::{GaloisElement, Level, Params};

use crate::choose::{Choice, choose};
use crate::ckks_ir::{self, Constant, InputIdx, Op};
use crate::dsl::Program;
use crate::error::{Error, Result};
use crate::lower::grouping::Grouping;
use crate::passes::{self, Event, Stage};
use crate::plan::{self, BufferKind, KeyId, Plan};
use crate::{lower, poly_ir, range};

/// How to encrypt an input: every slot `i` holds element `i mod period`.
#[derive(Clone, Debug, PartialEq)]
pub struct InputSpec {
    /// The user's name.
    pub name: String,
    /// Number of elements of one period.
    pub period: u32,
    /// Level to encrypt at.
    pub level: Level,
    /// log2 of the scale to encrypt at: the level's canonical one.
    pub log_scale: Double,
}

/// How to read an output.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputSpec {
    /// The user's name.
    pub name: String,
    /// The first slots, which have a meaning.
    pub slots: u32,
    /// Level that it arrives at.
    pub level: Level,
    /// log2 of its scale.
    pub log_scale: Double,
    /// So many times what bootstrapping returns at most are in a coefficient, if it is a sum of what bootstrapping returned: for who decrypts it to see
    /// whether that was in range.
    pub bootstrapped: Option<f64>,
}

/// How many bytes of each tier a plan may take; `None` is no limit. The file tier has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Of each device, for buffers: tables and items come on top.
    pub device: Option<u64>,
    /// Of host memory, for what does not fit the devices.
    pub host: Option<u64>,
}

/// What connects two devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Bytes that one device sends to another, in 10^9 a second.
    pub gigabytes_per_second: u32,
    /// The time of a copy of nothing, in nanoseconds.
    pub latency_nanoseconds: u32,
}

impl Default for Link {
    /// Two thirds of what links of an H100 move one way by its data sheet, 450 GB/s; and what an event and a copy take.
    fn default() -> Self {
        Self { gigabytes_per_second: 300, latency_nanoseconds: 10_000 }
    }
}

/// The machine that a plan is for: the one source of a number of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    n_devices: u32,
    link: Link,
}

impl Topology {
    /// So many devices that are alike.
    ///
    /// # Errors
    /// [`Error::Devices`] for none, or more than [`plan::MAX_DEVICES`].
    pub fn new(n_devices: u32) -> Result<Self> {
        if !(1..=plan::MAX_DEVICES).contains(&n_devices) {
            return Err(Error::Devices { found: n_devices, limit: plan::MAX_DEVICES });
        }
        Ok(Self { n_devices, link: Link::default() })
    }

    /// With another link between devices.
    #[must_use]
    pub fn with_link(self, link: Link) -> Self {
        Self { link, ..self }
    }

    /// What connects two devices.
    pub fn link(self) -> Link {
        self.link
    }

    /// Number of devices.
    pub fn n_devices(self) -> u32 {
        self.n_devices
    }
}

impl Default for Topology {
    /// One device.
    fn default() -> Self {
        Self { n_devices: 1, link: Link::default() }
    }
}

/// What a compilation may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// For how many devices. Bits do not depend on it.
    pub topology: Topology,
    /// How many groups the devices are: independent parts of a program are of one group each, and limbs are shared out in it. A divisor of
    /// the number of devices; if not given, chosen by predicted time ([`lower::grouping`]). Bits do not depend on it.
    pub groups: Option<u32>,
    /// Consecutive operations are batched into common launches up to this many rows a device. More rows fill a
    /// device better, and what is independent meets in one launch; more of them are alive. Bootstrapping at log N 16 takes 18.0 ms with 1024, 16.8 with 8192 and
    /// with more, and its arena 534 or 733 MiB; programs of an output at log N 13 to 15 are as fast with either (H200, 2026-11-26).
    pub batch_rows: u32,
    /// Conversions and the transforms of what they give alternate in pieces of at most this many bytes a device (or one polynomial), so
    /// that a transform finds its operand in the cache: 40 MiB of the 50 of an H100 or H200. Bootstrapping at log N 16 takes 15.5 ms on an
    /// H200 with 28 and 15.3 with 40 or 56 (2026-11-26). On an H100, a forward transform of
    /// 2^16 words takes 0.43 us among 190 in memory, 0.34 among 96 in the cache, 0.39 among 48 (2026-11-25).
    pub cache_bytes: u64,
    /// Most launches of a segment.
    pub segment_launches: u32,
    /// Plaintexts lie in memory as their slots and are encoded on the device in every run: two rows each (of 32-bit words) in
    /// place of one a limb, for the time of the encoding. Those whose integers may exceed 63 bits are encoded by the host all the same.
    /// Bits do not depend on it.
    pub encode_on_device: bool,
    /// What the plan must fit. Bits do not depend on it.
    pub memory: MemoryLimits,
    /// Copies between tiers and devices are issued before the launches that stand before their use, up to so many bytes of each device
    /// (but at least for the next launch); no more than a quarter of an arena that does not hold all. At 50 GB/s 64 MiB take 1.3 ms,
    /// a hundred times what waiting for an event may cost.
    pub prefetch_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            topology: Topology::default(),
            groups: None,
            batch_rows: 8192,
            cache_bytes: 40 << 20,
            segment_launches: 256,
            encode_on_device: false,
            memory: MemoryLimits::default(),
            prefetch_bytes: 64 << 20,
        }
    }
}

/// What a client and a host must bring: inputs, keys and constants. All ciphertexts have degree 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// By [`ckks_ir::InputIdx`].
    pub inputs: Vec<InputSpec>,
    /// By [`ckks_ir::OutputIdx`].
    pub outputs: Vec<OutputSpec>,
    /// The Galois keys that are needed, ascending.
    pub galois_elements: Vec<GaloisElement>,
    /// Whether the relinearization key is needed.
    pub needs_relinearization: bool,
    /// Non-zero coefficients of the sparse secret of the encapsulation keys, if these are needed, for bootstrapping.
    pub encapsulation_weight: Option<usize>,
    /// The plaintext data by [`ckks_ir::ConstId`], that of every call too; repeat to all slots before encoding.
    pub constants: Vec<Constant>,
}

/// How large a function is after a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassStat {
    /// The pass.
    pub pass: &'static str,
    /// Values before.
    pub before: usize,
    /// Values after.
    pub after: usize,
}

/// A compiled program with every stage of its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    /// The function with levels.
    pub placed: ckks_ir::Function,
    /// The same on polynomials.
    pub poly: poly_ir::Function,
    /// What to execute.
    pub plan: Plan,
    /// What to bring.
    pub manifest: Manifest,
    /// Why the devices are so many groups.
    pub grouping: Grouping,
    /// Sizes, pass by pass.
    pub stats: Vec<PassStat>,
}

/// Compiles a program.
///
/// # Errors
/// As [`compile_with`].
pub fn compile(program: &Program, params: &Params, options: &Options) -> Result<Compiled> {
    compile_with(program, params, options, &mut |_| {})
}

/// Compiles a program for the smallest secure preset that fits it, and says why that one.
///
/// # Errors
/// As [`choose`] and [`compile`].
pub fn compile_auto(program: &Program, options: &Options) -> Result<(Choice, Compiled)> {
    let choice = choose(program)?;
    let compiled = compile(program, &choice.params, options)?;
    Ok((choice, compiled))
}

/// Compiles a program and tells of every pass as it begins and ends, for a caller with a clock.
///
/// # Errors
/// The user's: [`Error::Period`], [`Error::OutputSlots`], [`Error::TooDeep`], [`Error::DeviceBudget`],
/// [`Error::Core`] where a scalar is too large for its scale. Ours: [`Error::Verify`], in debug builds after every pass and always
/// for the plan.
pub fn compile_with(
    program: &Program,
    params: &Params,
    options: &Options,
    event: &mut dyn FnMut(Event<'_>),
) -> Result<Compiled> {
    let function = program.function();
    check_slots(function, params)?;
    let mut stats = Vec::new();
    let mut tell = |e: Event<'_>| {
        if let Event::End(stat, _) = &e {
            stats.push(stat.clone());
        }
        event(e);
    };
    if cfg!(debug_assertions) {
        ckks_ir::verify::verify(function, Some(params), "dsl")?;
    }
    let placed = passes::run_ckks(function.clone(), params, &mut tell)?;
    let (poly, (plan, grouping)) = lower_placed(&placed, params, options, &mut tell)?;
    let manifest = manifest(&placed, &plan, params)?;
    Ok(Compiled { placed, poly, plan, manifest, grouping, stats })
}

/// Compiles a function that has its levels, scales, relinearizations and rescales already, as they are.
///
/// # Errors
/// As [`compile_with`]; [`Error::Verify`] for a function that is not placed, or not well.
pub fn compile_placed(placed: ckks_ir::Function, params: &Params, options: &Options) -> Result<Compiled> {
    check_slots(&placed, params)?;
    ckks_ir::verify::verify(&placed, Some(params), "placed")?;
    let mut stats = Vec::new();
    let mut tell = |e: Event<'_>| {
        if let Event::End(stat, _) = e {
            stats.push(stat);
        }
    };
    let (poly, (plan, grouping)) = lower_placed(&placed, params, options, &mut tell)?;
    let manifest = manifest(&placed, &plan, params)?;
    Ok(Compiled { placed, poly, plan, manifest, grouping, stats })
}

/// The same program in other memory or for other devices: only the plan is made again.
///
/// # Errors
/// [`Error::DeviceBudget`]; [`Error::Verify`].
pub fn refit(compiled: &Compiled, params: &Params, options: &Options) -> Result<Compiled> {
    let mut stats = compiled.stats.clone();
    stats.retain(|stat| !PLAN_PASSES.contains(&stat.pass));
    let mut tell = |e: Event<'_>| {
        if let Event::End(stat, _) = e {
            stats.push(stat);
        }
    };
    let (plan, grouping) = lower_poly(&compiled.poly, params, options, &mut tell)?;
    let Compiled { placed, poly, manifest, .. } = compiled.clone();
    Ok(Compiled { placed, poly, plan, manifest, grouping, stats })
}

/// From the freeze to the plan.
fn lower_placed(
    placed: &ckks_ir::Function,
    params: &Params,
    options: &Options,
    mut tell: &mut dyn FnMut(Event<'_>),
) -> Result<(poly_ir::Function, (Plan, Grouping))> {
    tell(Event::Begin("lower_ckks"));
    let poly = lower::ckks::lower(placed, params, options.encode_on_device)?;
    if cfg!(debug_assertions) {
        poly_ir::verify::verify(&poly, params, "lower_ckks")?;
    }
    let (before, after) = (placed.n_values(), poly.n_values());
    tell(Event::End(PassStat { pass: "lower_ckks", before, after }, Stage::Poly(&poly)));

    let poly = passes::run_poly(poly, params, &mut tell)?;
    let plan = lower_poly(&poly, params, options, tell)?;
    Ok((poly, plan))
}

const PLAN_PASSES: [&str; 2] = ["lower_plan", "verify_plan"];

/// From polynomials to a verified plan.
fn lower_poly(
    poly: &poly_ir::Function,
    params: &Params,
    options: &Options,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<(Plan, Grouping)> {
    let [lowering, verifying] = PLAN_PASSES;
    tell(Event::Begin(lowering));
    let (plan, grouping) = lower::grouping::plan(poly, params, options)?;
    let (before, after) = (poly.n_values(), plan.n_launches());
    tell(Event::End(PassStat { pass: lowering, before, after }, Stage::Plan(&plan)));

    tell(Event::Begin(verifying));
    plan::verify::verify(&plan, lowering)?;
    if cfg!(debug_assertions) {
        plan::refine::refines(&plan, poly, params)?;
    }
    tell(Event::End(PassStat { pass: verifying, before: after, after }, Stage::Plan(&plan)));
    Ok((plan, grouping))
}

/// What only the parameters can tell to be the user's mistake.
pub(crate) fn check_slots(function: &ckks_ir::Function, params: &Params) -> Result<()> {
    let n_slots = params.n_slots();
    let periods = function.inputs.iter().map(|i| (&i.name, i.period as usize, &i.at));
    let constants = function.constants.iter().map(|c| (&c.name, c.period(function.variants), &c.at));
    let periods = periods.chain(constants);
    for (name, found, at) in periods {
        if found > n_slots {
            let (name, at) = (name.clone(), at.clone());
            return Err(Error::Period { name, found, limit: Some(n_slots), at });
        }
    }
    for output in &function.outputs {
        let found = output.slots as usize;
        if found > n_slots {
            let (name, at) = (output.name.clone(), output.at.clone());
            return Err(Error::OutputSlots { name, expected: n_slots, found, at });
        }
    }
    function.callees.iter().try_for_each(|callee| check_slots(callee, params))
}

fn manifest(placed: &ckks_ir::Function, plan: &Plan, params: &Params) -> Result<Manifest> {
    let level_of = |id: ckks_ir::ValueId| placed.value(id).kind.map_or(Level(0), |k| k.level);
    let mut inputs = Vec::with_capacity(placed.inputs.len());
    for (i, input) in (0u32..).zip(&placed.inputs) {
        let at = placed.ids().find(|&id| placed.value(id).op == Op::Input(InputIdx(i)));
        let level = at.map_or(Level(0), level_of);
        let log_scale = params.level(level)?.log_scale;
        inputs.push(InputSpec { name: input.name.clone(), period: input.period, level, log_scale });
    }
    let bootstrapped = range::bootstrapped(placed);
    let mut outputs = Vec::with_capacity(placed.outputs.len());
    for output in &placed.outputs {
        let level = level_of(output.value);
        let log_scale = params.level(level)?.log_scale;
        let (name, bootstrapped) = (output.name.clone(), bootstrapped[output.value.0 as usize]);
        outputs.push(OutputSpec { name, slots: output.slots, level, log_scale, bootstrapped });
    }
    let keys = plan.buffers.iter().filter_map(|b| match b.kind {
        BufferKind::Key(key) => Some(key),
        _ => None,
    });
    let mut galois_elements: Vec<GaloisElement> = keys
        .clone()
        .filter_map(|key| match key {
            KeyId::Galois(element) => Some(element),
            KeyId::Relinearization | KeyId::ToSparse | KeyId::ToDense => None,
        })
        .collect();
    // A key has a buffer on each device.
    galois_elements.sort_unstable();
    galois_elements.dedup();
    let needs_relinearization = keys.clone().any(|key| key == KeyId::Relinearization);
    let bootstraps = keys.into_iter().any(|key| key == KeyId::ToSparse);
    let encapsulation_weight = bootstraps.then(|| BootstrapLiteral::default().weight);
    let (constants, _) = lower::ckks::canonical_constants(placed);
    Ok(Manifest { inputs, outputs, galois_elements, needs_relinearization, encapsulation_weight, constants })
}

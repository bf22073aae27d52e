//! Where a run spends its time and memory: a product, a matrix and a rotation at a preset.
//!
//! ```sh
//! cargo run --release -p host --example profile -- n14 --threads 2 --trace profile.json --roof 40
//! cargo run --release -p host --example profile -- n16 --backend cuda --roof 4000
//! cargo run --release -p host --example profile -- n16 --backend cuda --device-mib 500 --host-mib 200 --spill .
//! cargo run --release -p host --example profile -- n16 --backend cuda --device-mib 800 --trace profile.json
//! ```
//!
//! `--devices` is for how many devices the plan is: the processor simulates them. How many groups they are, and why, is told; `--groups` asks for
//! a number.
//!
//! `--device-mib` and `--host-mib` are what the plan may take of each device and of host memory, and `--spill` is the directory
//! for the rest.
//!
//! `--overhead` also tells what a replay of the plan takes beyond its launches ([`host::profile::overhead`]); it times each launch by itself.
//!
//! What does not fit is copied beside launches: the profile tells how much of the copies' time was, the trace shows it (tracks `copies` and
//! `launches`), and runs without a profile are timed as they are and with every step waited for. `--prefetch-mib` is how far copies may be ahead.
//!
//! `--costs` reads a table of `cargo xtask cost-table`, and predicted times stand beside the measured ones.
//!
//! `--roof` is what the device's memory can move in GB/s, by its data sheet or a measurement; without it rates are not compared.

use fhe_core::ckks::{Encoder, Encryptor};
use fhe_core::math::sampling::Randomness;
use fhe_core::math::word::Word;
use fhe_core::params::{Params, Preset};
use fhe_core::ring::Ring;
use fhe_core::rlwe::KeyGenerator;
use host::memory::Limits;
use host::profile::Roof;
use host::profile::overhead::median;
use host::profile::prediction::Overlap;
use host::{BackendKind, LoadedProgram, Session, SessionBuilder};
use scheduler::cost::CostTable;
use scheduler::{MemoryLimits, Options, Topology, dsl};
use std::error::Error;
use std::time::Duration;

struct Args {
    preset: Preset,
    backend: BackendKind,
    threads: Option<usize>,
    trace: Option<String>,
    overhead: bool,
    costs: Option<String>,
    roof: Option<Roof>,
    topology: Topology,
    memory: MemoryLimits,
    groups: Option<u32>,
    prefetch: Option<u64>,
    spill: Option<String>,
}

fn args() -> Result<Args, Box<dyn Error>> {
    let mut args = Args {
        preset: Preset::N14,
        backend: BackendKind::Cpu,
        threads: None,
        trace: None,
        overhead: false,
        costs: None,
        roof: None,
        topology: Topology::default(),
        memory: MemoryLimits::default(),
        groups: None,
        prefetch: None,
        spill: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word}: expected a value, found none"));
        match word.as_str() {
            "--backend" => args.backend = value()?.parse()?,
            "--threads" => args.threads = Some(value()?.parse()?),
            "--overhead" => args.overhead = true,
            "--costs" => args.costs = Some(value()?),
            "--trace" => args.trace = Some(value()?),
            "--roof" => args.roof = Some(Roof { bytes_per_second: value()?.parse::<f64>()? * 1e9 }),
            "--devices" => args.topology = Topology::new(value()?.parse()?)?,
            "--device-mib" => args.memory.device = Some(value()?.parse::<u64>()? << 20),
            "--host-mib" => args.memory.host = Some(value()?.parse::<u64>()? << 20),
            "--groups" => args.groups = Some(value()?.parse()?),
            "--prefetch-mib" => args.prefetch = Some(value()?.parse::<u64>()? << 20),
            "--spill" => args.spill = Some(value()?),
            preset => args.preset = preset.parse()?,
        }
    }
    Ok(args)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = args()?;
    let params = args.preset.params()?;
    let session = session(&args, |b| b.profile(true))?;
    println!("{params}\n{}\n", session.backend_name());
    fhe_core::with_word!(params.word(), W => profile::<W>(&session, &params, &args))
}

fn session(args: &Args, with: impl Fn(SessionBuilder) -> SessionBuilder) -> Result<Session, Box<dyn Error>> {
    let mut builder = with(Session::builder().backend(args.backend));
    if let Some(threads) = args.threads {
        builder = builder.threads(threads);
    }
    if let Some(directory) = &args.spill {
        builder = builder.spill_directory(directory);
    }
    if let Some(bytes) = args.memory.host {
        builder = builder.host_limits(Limits { machine: None, budget: Some(bytes) });
    }
    Ok(builder.build()?)
}

/// Median of calls and copies of some runs without a profile.
fn time(loaded: &mut LoadedProgram, input: &[u8]) -> Result<Duration, Box<dyn Error>> {
    let mut times = Vec::new();
    for _ in 0..9 {
        loaded.run(&[("x", input)])?;
        times.push(loaded.last_run().compute + loaded.last_run().copies);
    }
    Ok(median(times))
}

fn profile<W: Word>(session: &Session, params: &Params, args: &Args) -> Result<(), Box<dyn Error>> {
    let matrix: Vec<f64> = (0..64 * 64).map(|i| f64::from(i * 7 % 11) / 11.0 - 0.4).collect();
    let program = dsl::build("profile", |g| {
        let x = g.input("x", 64)?;
        let h = dsl::linear::matvec(x, "matrix", &matrix, 64, 64)?;
        g.output("y", h.square() + x.rotate(1), 64)
    })?;
    let default = Options::default();
    let prefetch_bytes = args.prefetch.unwrap_or(default.prefetch_bytes);
    let (topology, groups, memory) = (args.topology, args.groups, args.memory);
    let options = Options { topology, groups, memory, prefetch_bytes, ..default };
    if topology.n_devices() > 1 {
        println!("{}\n", scheduler::compile(&program, params, &options)?.grouping);
    }
    let mut loaded = session.compile(&program, params, &options)?;
    let manifest = loaded.manifest().clone();

    let ring = Ring::<W>::new(params)?;
    let mut randomness = Randomness::from_os()?;
    let generator = KeyGenerator::new(&ring);
    let secret = generator.secret_key(&mut randomness);
    let elements = &manifest.galois_elements;
    let keys = generator.evaluation_keys(&secret, true, elements, &mut randomness, |_, _| {})?;
    loaded.load_keys(&keys.to_bytes())?;
    let spec = &manifest.inputs[0];
    let slots: Vec<f64> = (0..params.n_slots()).map(|i| (i % 64) as f64 / 64.0).collect();
    let plain = Encoder::new(&ring).encode_real(&slots, spec.level, spec.log_scale)?;
    let input = Encryptor::new(&ring).encrypt_seeded(&plain, &secret, &mut randomness)?.to_bytes();

    for _ in 0..5 {
        loaded.run(&[("x", &input)])?;
    }
    let run = loaded.last_run();
    println!("{}\n", run.times());
    println!("{}\n", run.profile.kernel_table(args.roof));
    println!("{}\n", run.profile.node_table(8, args.roof));
    println!("{}\n", run.profile.launch_table(8, args.roof));
    println!("{}", loaded.memory_report());
    let copied = loaded.plan().copied_bytes();
    let mib = [copied.fetched, copied.spilled, copied.exchanged].map(|bytes| bytes >> 20);
    println!("copied in a run: {} MiB fetched, {} MiB spilled, {} MiB exchanged", mib[0], mib[1], mib[2]);
    let beside = loaded.plan().overlapped_bytes();
    let mib = [beside.fetched, beside.spilled, beside.exchanged].map(|bytes| bytes >> 20);
    println!("of these beside launches, by plan: {} MiB, {} MiB, {} MiB", mib[0], mib[1], mib[2]);
    let (times, ms) = (loaded.last_run().profile.copy_times(), |t: Duration| t.as_secs_f64() * 1e3);
    println!(
        "copies took {:.3} ms, {:.3} ms of it while a launch ran",
        ms(times.total),
        ms(times.beside_launches)
    );
    if let Some(file) = &args.costs {
        let costs: CostTable = serde_json::from_str(&std::fs::read_to_string(file)?)?;
        let (prediction, profile) = (loaded.predict(&costs), &loaded.last_run().profile);
        println!("\n{}\n\n{}", prediction.kernel_table(profile), prediction.node_table(profile, 8));
        let Overlap { total, copies, hidden } = prediction.overlap;
        let (total, copies, hidden) = (ms(total), ms(copies), ms(hidden));
        println!("predicted: {total:.3} ms, copies {copies:.3} ms, {hidden:.3} ms of it while a call runs");
        for route in &prediction.unknown_copies {
            println!("the table has no costs of `{}`", route.name());
        }
    }
    if let Some(file) = &args.trace {
        std::fs::write(file, loaded.trace())?;
    }
    if args.overhead {
        println!("{}", loaded.launch_overhead(5)?);
    }
    drop(loaded);
    for (what, in_order) in [("as planned", false), ("every step waited for", true)] {
        let mut loaded =
            self::session(args, |b| b.in_order(in_order))?.compile(&program, params, &options)?;
        loaded.load_keys(&keys.to_bytes())?;
        println!("without a profile, {what}: {:.3} ms", ms(time(&mut loaded, &input)?));
    }
    Ok(())
}

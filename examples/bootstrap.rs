//! Bootstraps an exhausted ciphertext, several times in a row, and says how long it took and how much precision is left.
//!
//! `cargo run --release --example bootstrap [-- --preset toy13 --backend cpu --rounds N --json]`; presets `boot16`, `boot16p` and `boot16w` (128-bit
//! security; keys and matrices take 14 GB), `toy13`, `toy12r`, `toy12p` and `toy12w` (the same circuits in smaller rings, insecure). The backend
//! `reference` is fhe-core's evaluator, the others run what the compiler makes of a program that is one bootstrap.

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use ferrocerium::fhe_core::bootstrap::{BootstrapLiteral, BootstrapPlan, Bootstrapper};
use ferrocerium::fhe_core::ckks::precision::PrecisionReport;
use ferrocerium::fhe_core::ckks::{Ciphertext, Decryptor, Encoder, Encryptor, Evaluator};
use ferrocerium::fhe_core::math::word::Word;
use ferrocerium::fhe_core::params::{GaloisElement, Level};
use ferrocerium::fhe_core::ring::Ring;
use ferrocerium::fhe_core::rlwe::{EvaluationKeySet, KeyGenerator};
use ferrocerium::fhe_core::{self, Complex64};
use ferrocerium::host::LoadedProgram;
use ferrocerium::prelude::*;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Bootstrapping.
#[derive(Parser)]
struct Args {
    /// Parameters that bootstrap: boot16, boot16p, boot16w, toy13, toy12r, toy12p or toy12w.
    #[arg(long, default_value = "toy13")]
    preset: Preset,
    /// What computes.
    #[arg(long, value_enum, default_value_t = BackendArg::Auto)]
    backend: BackendArg,
    /// Computes every round on the processor too, and compares bits.
    #[arg(long)]
    compare: bool,
    /// How many times in a row; between two, all levels are dropped.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
    /// Print where time and memory went in the last round.
    #[arg(long)]
    report: bool,
    /// Write the last round, launch by launch, as a trace for Perfetto or chrome://tracing.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Rows of a launch at most, if not as the compiler has it.
    #[arg(long)]
    batch_rows: Option<u32>,
    /// MiB of a piece of conversions and transforms, if not as the compiler has it.
    #[arg(long)]
    cache_mib: Option<u64>,
}

impl Args {
    fn options(&self) -> Options {
        let own = Options::default();
        Options {
            batch_rows: self.batch_rows.unwrap_or(own.batch_rows),
            cache_bytes: self.cache_mib.map_or(own.cache_bytes, |mib| mib << 20),
            ..own
        }
    }
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum BackendArg {
    Reference,
    Auto,
    Cpu,
    Cuda,
}

/// The result. Errors are log2 of the modulus of a slot's error; the mean is over slots and rounds. A round is the computation alone.
#[derive(Serialize)]
struct Summary {
    preset: String,
    log_n: u32,
    log_qp: f64,
    security_bits: u32,
    slots: usize,
    backend: String,
    rounds: u32,
    ms_per_round: f64,
    mean_log2_error: f64,
    max_log2_error: f64,
    last_round_mean_log2_error: f64,
    output_level: u32,
    failure_log2: f64,
    compared: bool,
}

/// What bootstraps.
enum Engine<W> {
    Reference(Box<Bootstrapper<W>>, Box<EvaluationKeySet<W>>),
    Compiled(Box<LoadedProgram>),
}

impl<W: Word> Engine<W> {
    /// The fresh ciphertext, and the seconds that it took.
    fn round(&mut self, ring: &Ring<W>, a: &Ciphertext<W>) -> Result<(Ciphertext<W>, f64)> {
        match self {
            Self::Reference(bootstrapper, keys) => {
                let start = Instant::now();
                Ok((bootstrapper.bootstrap(a, keys)?, start.elapsed().as_secs_f64()))
            }
            Self::Compiled(program) => {
                let outputs = program.run(&[("x", &a.to_bytes())])?;
                let seconds = program.last_run().compute.as_secs_f64();
                let output = outputs.first().context("the program has one output")?;
                Ok((Ciphertext::from_bytes(ring, output)?, seconds))
            }
        }
    }
}

/// Slots uniform in the square from -1 to 1, the same each time.
fn message(n_slots: usize) -> Vec<Complex64> {
    let mut state = 1u64;
    // Marsaglia, "Xorshift RNGs", 2003.
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..n_slots).map(|_| Complex64::new(uniform(), uniform())).collect()
}

/// A program that is one bootstrap of all slots, compiled.
fn program(params: &Params, level: Level, options: &Options) -> Result<Compiled> {
    let n_slots = params.n_slots();
    let program = dsl::build("bootstrap", |g| {
        let x = g.input_complex("x", n_slots)?;
        g.output("x", x.bootstrapped().at_level(level), n_slots)
    })?;
    Ok(compile(&program, params, options)?)
}

/// Refuses what the reference evaluator has not: it runs no plan.
fn check(args: &Args) -> Result<()> {
    if args.backend != BackendArg::Reference {
        return Ok(());
    }
    let given = [
        ("--compare", args.compare),
        ("--report", args.report),
        ("--trace", args.trace.is_some()),
        ("--batch-rows", args.batch_rows.is_some()),
        ("--cache-mib", args.cache_mib.is_some()),
    ];
    let given: Vec<&str> = given.iter().filter(|(_, is_given)| *is_given).map(|&(name, _)| name).collect();
    ensure!(
        given.is_empty(),
        "{}: expected a backend that runs plans, found `--backend reference`, which compiles none; leave the option out, or take `--backend \
         cpu`",
        given.join(", ")
    );
    Ok(())
}

fn run<W: Word>(args: &Args, params: &Params) -> Result<Summary> {
    let say = |line: String| {
        if !args.json {
            println!("{line}");
        }
    };
    say(format!("preset {}: {params}", args.preset));
    let plan = BootstrapPlan::new(params, &BootstrapLiteral::default())?;
    let start = Instant::now();
    let compiled = match args.backend {
        BackendArg::Reference => None,
        _ => Some(program(params, plan.output_level(), &args.options())?),
    };
    let elements: Vec<GaloisElement> = match &compiled {
        None => plan.required_galois_elements()?,
        Some(compiled) => compiled.manifest.galois_elements.clone(),
    };
    say(format!(
        "{} levels down to level {}, {} Galois keys, fails with probability 2^{:.1}; compiled in {:.2?}",
        plan.depth(),
        plan.output_level(),
        elements.len(),
        plan.failure_log2(),
        start.elapsed()
    ));

    let start = Instant::now();
    let mut randomness = Randomness::from_os()?;
    let ring = Ring::<W>::new(params)?;
    let generator = KeyGenerator::new(&ring);
    let secret = generator.secret_key(&mut randomness);
    let bar = if args.json { ProgressBar::hidden() } else { ProgressBar::new(0) };
    bar.set_style(ProgressStyle::with_template("making keys {bar:40} {pos}/{len}")?);
    let mut keys = generator.evaluation_keys(&secret, true, &elements, &mut randomness, |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    keys.set_encapsulation(generator.encapsulation_keys(&secret, plan.literal().weight, &mut randomness)?)?;
    say(format!("keys made in {:.2?}", start.elapsed()));

    let start = Instant::now();
    let (mut engine, mut processor, backend) = match compiled {
        None => {
            let bootstrapper = Box::new(Bootstrapper::new(&ring, &plan)?);
            (Engine::Reference(bootstrapper, Box::new(keys)), None, "reference".to_owned())
        }
        Some(compiled) => {
            let bytes = keys.to_bytes();
            drop(keys);
            let load = |kind: BackendKind, profile: bool| -> Result<_> {
                let session = Session::builder().backend(kind).profile(profile).build()?;
                let mut program = session.load(compiled.clone(), params)?;
                program.load_keys(&bytes)?;
                Ok((program, session.backend_name()))
            };
            let kind = match args.backend {
                BackendArg::Cpu => BackendKind::Cpu,
                BackendArg::Cuda => BackendKind::Cuda,
                BackendArg::Reference | BackendArg::Auto => BackendKind::Auto,
            };
            let (program, name) = load(kind, args.report || args.trace.is_some())?;
            let processor = if args.compare { Some(load(BackendKind::Cpu, false)?.0) } else { None };
            (Engine::Compiled(Box::new(program)), processor, name)
        }
    };
    say(format!("matrices and keys loaded for backend {backend} in {:.2?}\n", start.elapsed()));

    let (encoder, evaluator) = (Encoder::new(&ring), Evaluator::new(&ring));
    let x = message(params.n_slots());
    let plain = encoder.encode(&x, Level(0), params.level(Level(0))?.log_scale)?;
    let mut a = Encryptor::new(&ring).encrypt_seeded(&plain, &secret, &mut randomness)?.expand(&ring)?;
    let (mut seconds, mut sum, mut max, mut last) = (0.0, 0.0, 0f64, 0.0);
    for round in 1..=args.rounds {
        let (fresh, elapsed) = engine.round(&ring, &a)?;
        if let Some(processor) = &mut processor {
            let outputs = processor.run(&[("x", &a.to_bytes())])?;
            ensure!(outputs == [fresh.to_bytes()], "round {round}: the processor's bits are others");
        }
        let found = encoder.decode(&Decryptor::new(&ring).decrypt(&fresh, &secret)?)?;
        let report = PrecisionReport::new(&x, &found)?;
        say(format!("round {round}: {elapsed:.4} s, level {}\n{report}", fresh.level()));
        seconds += elapsed;
        sum += report.mean_error;
        max = if report.max_error > max { report.max_error } else { max };
        last = report.mean_error;
        a = evaluator.level_drop(&fresh, Level(0))?;
    }
    if let (Some(file), Engine::Compiled(program)) = (&args.trace, &engine) {
        std::fs::write(file, program.trace()).with_context(|| file.display().to_string())?;
    }
    if let (true, Engine::Compiled(program)) = (args.report, &engine) {
        say(format!("{}\n{}", program.memory_report(), program.last_run()));
    }
    let rounds = f64::from(args.rounds);
    Ok(Summary {
        preset: args.preset.to_string(),
        log_n: params.log_n(),
        log_qp: params.log_qp(),
        security_bits: params.security().bits(),
        slots: params.n_slots(),
        backend,
        rounds: args.rounds,
        ms_per_round: seconds / rounds * 1e3,
        mean_log2_error: (sum / rounds).log2(),
        max_log2_error: max.log2(),
        last_round_mean_log2_error: last.log2(),
        output_level: plan.output_level().0,
        failure_log2: plan.failure_log2(),
        compared: processor.is_some(),
    })
}

fn main() -> Result<()> {
    let args = Args::parse();
    check(&args)?;
    let params = args.preset.params()?;
    let summary = fhe_core::with_word!(params.word(), W => run::<W>(&args, &params)?);
    if args.json {
        println!("{}", serde_json::to_string(&summary)?);
        return Ok(());
    }
    println!(
        "{:.2} ms a round on {}{}; error 2^{:.2} in the mean (last round 2^{:.2}), 2^{:.2} at most; level {}; log QP {:.1}; {}; fails with \
         probability 2^{:.1}",
        summary.ms_per_round,
        summary.backend,
        if summary.compared { ", the bits those of the processor" } else { "" },
        summary.mean_log2_error,
        summary.last_round_mean_log2_error,
        summary.max_log2_error,
        summary.output_level,
        summary.log_qp,
        if summary.security_bits == 0 {
            "INSECURE".to_owned()
        } else {
            format!("{}-bit security", summary.security_bits)
        },
        summary.failure_log2
    );
    Ok(())
}

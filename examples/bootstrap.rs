//! Bootstraps an exhausted ciphertext, several times in a row, and says how long it took and how much precision is left.
//!
//! `cargo run --release --example bootstrap [-- --preset toy13 --rounds N --json]`; presets `boot16` (128-bit security; keys and matrices take
//! 9 GB), `toy13` and `toy12r` (the same circuit in smaller rings, insecure).

use anyhow::{Result, bail};
use clap::Parser;
use ferrocerium::fhe_core::Complex64;
use ferrocerium::fhe_core::bootstrap::{BootstrapLiteral, BootstrapPlan, Bootstrapper};
use ferrocerium::fhe_core::ckks::precision::PrecisionReport;
use ferrocerium::fhe_core::ckks::{Decryptor, Encoder, Encryptor, Evaluator};
use ferrocerium::fhe_core::math::word::{Word, WordKind};
use ferrocerium::fhe_core::params::Level;
use ferrocerium::fhe_core::ring::Ring;
use ferrocerium::fhe_core::rlwe::KeyGenerator;
use ferrocerium::prelude::*;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::time::Instant;

/// Bootstrapping on the reference evaluator.
#[derive(Parser)]
struct Args {
    /// Parameters: boot16, toy13 or toy12r.
    #[arg(long, default_value = "toy13")]
    preset: Preset,
    /// How many times in a row; between two, all levels are dropped.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

/// The result. Errors are log2 of the modulus of a slot's error; the mean is over slots and rounds.
#[derive(Serialize)]
struct Summary {
    preset: String,
    log_n: u32,
    log_qp: f64,
    security_bits: u32,
    slots: usize,
    backend: &'static str,
    rounds: u32,
    ms_per_round: f64,
    mean_log2_error: f64,
    max_log2_error: f64,
    last_round_mean_log2_error: f64,
    output_level: u32,
    failure_log2: f64,
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

fn run<W: Word>(args: &Args, params: &Params) -> Result<Summary> {
    let say = |line: String| {
        if !args.json {
            println!("{line}");
        }
    };
    say(format!("preset {}: {params}", args.preset));
    let plan = BootstrapPlan::new(params, &BootstrapLiteral::default())?;
    let elements = plan.required_galois_elements()?;
    say(format!(
        "{} levels down to level {}, {} Galois keys, fails with probability 2^{:.1}",
        plan.depth(),
        plan.output_level(),
        elements.len(),
        plan.failure_log2()
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
    let bootstrapper = Bootstrapper::new(&ring, &plan)?;
    say(format!("matrices encoded in {:.2?}\n", start.elapsed()));

    let (encoder, evaluator) = (Encoder::new(&ring), Evaluator::new(&ring));
    let x = message(params.n_slots());
    let plain = encoder.encode(&x, Level(0), params.level(Level(0))?.log_scale)?;
    let mut a = Encryptor::new(&ring).encrypt_seeded(&plain, &secret, &mut randomness)?.expand(&ring)?;
    let (mut seconds, mut sum, mut max, mut last) = (0.0, 0.0, 0f64, 0.0);
    for round in 1..=args.rounds {
        let start = Instant::now();
        let fresh = bootstrapper.bootstrap(&a, &keys)?;
        let elapsed = start.elapsed().as_secs_f64();
        let found = encoder.decode(&Decryptor::new(&ring).decrypt(&fresh, &secret)?)?;
        let report = PrecisionReport::new(&x, &found)?;
        say(format!("round {round}: {elapsed:.3} s, level {}\n{report}", fresh.level()));
        seconds += elapsed;
        sum += report.mean_error;
        max = if report.max_error > max { report.max_error } else { max };
        last = report.mean_error;
        a = evaluator.level_drop(&fresh, Level(0))?;
    }
    let rounds = f64::from(args.rounds);
    Ok(Summary {
        preset: args.preset.to_string(),
        log_n: params.log_n(),
        log_qp: params.log_qp(),
        security_bits: params.security().bits(),
        slots: params.n_slots(),
        backend: "reference",
        rounds: args.rounds,
        ms_per_round: seconds / rounds * 1e3,
        mean_log2_error: (sum / rounds).log2(),
        max_log2_error: max.log2(),
        last_round_mean_log2_error: last.log2(),
        output_level: plan.output_level().0,
        failure_log2: plan.failure_log2(),
    })
}

fn main() -> Result<()> {
    let args = Args::parse();
    if args.rounds == 0 {
        bail!("--rounds 0: expected at least 1");
    }
    let params = args.preset.params()?;
    let summary = match params.word() {
        WordKind::U32 => run::<u32>(&args, &params)?,
        WordKind::U64 => run::<u64>(&args, &params)?,
    };
    if args.json {
        println!("{}", serde_json::to_string(&summary)?);
        return Ok(());
    }
    println!(
        "{:.0} ms a round; error 2^{:.2} in the mean (last round 2^{:.2}), 2^{:.2} at most; level {}; log QP {:.1}; {}; fails with \
         probability 2^{:.1}",
        summary.ms_per_round,
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

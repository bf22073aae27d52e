//! The precision of a preset: `-log2 |error|` after each operation of the reference evaluator, over all slots; of presets that bootstrap also
//! after bootstrapping.
//!
//! `cargo run --release --example precision [-- --preset NAME --rounds N --json]`. Every preset takes seconds except `boot16`, `boot16p` and
//! `boot16w`, whose keys and matrices take 9 GB, and minutes.

use anyhow::Result;
use clap::Parser;
use ferrocerium::fhe_core::bootstrap::{BootstrapLiteral, BootstrapPlan, Bootstrapper};
use ferrocerium::fhe_core::ckks::precision::{Bits, PrecisionReport};
use ferrocerium::fhe_core::ckks::{Ciphertext, Decryptor, Encoder, Encryptor, Evaluator};
use ferrocerium::fhe_core::math::word::Word;
use ferrocerium::fhe_core::params::Level;
use ferrocerium::fhe_core::ring::Ring;
use ferrocerium::fhe_core::rlwe::{EvaluationKeySet, KeyGenerator, SecretKey};
use ferrocerium::fhe_core::{self, Complex64};
use ferrocerium::prelude::*;
use serde::Serialize;

/// The precision of every operation.
#[derive(Parser)]
struct Args {
    /// Parameters.
    #[arg(long, default_value = "n14")]
    preset: Preset,
    /// How many times in a row to bootstrap, where the preset can; between two, all levels are dropped.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

/// `-log2 |error|` over the slots.
#[derive(Serialize)]
struct Column {
    min: f64,
    mean: f64,
    median: f64,
    max: f64,
    std: f64,
}

impl From<Bits> for Column {
    fn from(bits: Bits) -> Self {
        Self { min: bits.min, mean: bits.mean, median: bits.median, max: bits.max, std: bits.std }
    }
}

/// One operation.
#[derive(Serialize)]
struct Row {
    operation: String,
    level: u32,
    real: Column,
    imaginary: Column,
    modulus: Column,
    /// log2 of the mean and of the largest modulus of an error.
    mean_log2_error: f64,
    max_log2_error: f64,
}

#[derive(Serialize)]
struct Summary {
    preset: String,
    log_n: u32,
    log_qp: f64,
    security_bits: u32,
    slots: usize,
    rows: Vec<Row>,
}

/// Who has the secret, and the table so far.
struct Bench<'a, W: Word> {
    ring: &'a Ring<W>,
    secret: &'a SecretKey<W>,
    encoder: &'a Encoder<W>,
    json: bool,
    rows: Vec<Row>,
}

impl<W: Word> Bench<'_, W> {
    fn row(
        &mut self,
        operation: &str,
        level: Level,
        expected: &[Complex64],
        found: &[Complex64],
    ) -> Result<()> {
        let report = PrecisionReport::new(expected, found)?;
        let (real, imaginary) = (report.real.into(), report.imaginary.into());
        let row = Row {
            operation: operation.to_owned(),
            level: level.0,
            real,
            imaginary,
            modulus: report.modulus.into(),
            mean_log2_error: report.mean_error.log2(),
            max_log2_error: report.max_error.log2(),
        };
        if !self.json {
            let name = format!("{operation}, level {level}");
            let parts = [("real", &row.real), ("imaginary", &row.imaginary), ("modulus", &row.modulus)];
            for (i, (part, c)) in parts.into_iter().enumerate() {
                println!(
                    "{:<36} {part:<9} {:>7.2} {:>7.2} {:>7.2} {:>7.2} {:>7.2}",
                    if i == 0 { name.as_str() } else { "" },
                    c.min,
                    c.mean,
                    c.median,
                    c.max,
                    c.std
                );
            }
        }
        self.rows.push(row);
        Ok(())
    }

    fn ciphertext(&mut self, operation: &str, expected: &[Complex64], found: &Ciphertext<W>) -> Result<()> {
        let plain = Decryptor::new(self.ring).decrypt(found, self.secret)?;
        self.row(operation, found.level(), expected, &self.encoder.decode(&plain)?)
    }

    /// Rounds of bootstrapping of slots that fill the square from -1 to 1, without a pattern: fractions of multiples of squares.
    fn bootstrap(
        &mut self,
        plan: &BootstrapPlan,
        keys: &mut EvaluationKeySet<W>,
        rounds: u32,
        randomness: &mut Randomness,
    ) -> Result<()> {
        let generator = KeyGenerator::new(self.ring);
        for element in plan.required_galois_elements()? {
            if keys.galois(element).is_err() {
                keys.insert_galois(generator.galois_key(self.secret, element, randomness)?)?;
            }
        }
        keys.set_encapsulation(generator.encapsulation_keys(
            self.secret,
            plan.literal().weight,
            randomness,
        )?)?;
        let bootstrapper = Bootstrapper::new(self.ring, plan)?;
        let fraction = |i: usize, step: f64| 2.0 * ((i * i) as f64 * step).fract() - 1.0;
        let slot = |i| Complex64::new(fraction(i, 5f64.sqrt()), fraction(i, 2f64.sqrt()));
        let x: Vec<Complex64> = (0..self.encoder.n_slots()).map(slot).collect();
        let evaluator = Evaluator::new(self.ring);
        let level = plan.min_input_level();
        let plain = self.encoder.encode(&x, level, plan.params().level(level)?.log_scale)?;
        let seeded = Encryptor::new(self.ring).encrypt_seeded(&plain, self.secret, randomness)?;
        let mut a = seeded.expand(self.ring)?;
        for round in 1..=rounds {
            let fresh = bootstrapper.bootstrap(&a, keys)?;
            self.ciphertext(&format!("bootstrap, round {round}"), &x, &fresh)?;
            a = evaluator.level_drop(&fresh, level)?;
        }
        Ok(())
    }
}

fn run<W: Word>(args: &Args, params: &Params) -> Result<Summary> {
    if !args.json {
        println!("preset {}: {params}\n", args.preset);
        println!(
            "{:<46} {:>7} {:>7} {:>7} {:>7} {:>7}",
            "-log2 error", "min", "mean", "median", "max", "std"
        );
    }
    let mut randomness = Randomness::from_os()?;
    let ring = Ring::<W>::new(params)?;
    let generator = KeyGenerator::new(&ring);
    let secret = generator.secret_key(&mut randomness);
    let public = generator.public_key(&secret, &mut randomness)?;
    let elements = [params.galois_element(1)?, params.galois_conjugate()];
    let mut keys = generator.evaluation_keys(&secret, true, &elements, &mut randomness, |_, _| ())?;
    let (encoder, e) = (Encoder::new(&ring), Evaluator::new(&ring));
    let mut bench =
        Bench { ring: &ring, secret: &secret, encoder: &encoder, json: args.json, rows: Vec::new() };

    let n = params.n_slots();
    let x: Vec<Complex64> = (0..n).map(|i| Complex64::from_polar(1.0, 0.37 * i as f64)).collect();
    let map = |f: &dyn Fn(Complex64) -> Complex64| x.iter().map(|&z| f(z)).collect::<Vec<_>>();
    let top = params.working_level();
    let scale = params.level(top)?.log_scale;
    let plain = encoder.encode(&x, top, scale)?;
    bench.row("encode", top, &x, &encoder.decode(&plain)?)?;
    let encryptor = Encryptor::new(&ring);
    let seeded = encryptor.encrypt_seeded(&plain, &secret, &mut randomness)?.expand(&ring)?;
    bench.ciphertext("encrypt, secret key", &x, &seeded)?;
    let mut a = encryptor.encrypt(&plain, &public, &mut randomness)?;
    bench.ciphertext("encrypt, public key", &x, &a)?;
    bench.ciphertext("add", &map(&|z| z + z), &e.add(&a, &seeded)?)?;
    bench.ciphertext("add plaintext", &map(&|z| z + z), &e.add_plain(&a, &plain)?)?;
    let rotated: Vec<Complex64> = (0..n).map(|i| x[(i + 1) % n]).collect();
    bench.ciphertext("rotate", &rotated, &e.rotate(&a, 1, &keys)?)?;
    bench.ciphertext("conjugate", &map(&|z| z.conj()), &e.conjugate(&a, &keys)?)?;
    if top > Level(0) {
        let product = e.rescale(&e.mul_plain(&a, &plain)?)?;
        bench.ciphertext("multiply by plaintext", &map(&|z| z * z), &product)?;
        bench.ciphertext("level drop", &x, &e.level_drop(&a, Level(0))?)?;
    }
    let mut expected = x;
    while a.level() > Level(0) {
        let squared = e.relinearize(&e.square(&a)?, keys.relinearization()?)?;
        a = e.rescale(&squared)?;
        expected.iter_mut().for_each(|z| *z *= *z);
        bench.ciphertext("squares", &expected, &a)?;
    }
    // Working levels below the highest are there for bootstrapping.
    if params.working_level() < params.max_level() {
        let plan = BootstrapPlan::new(params, &BootstrapLiteral::default())?;
        bench.bootstrap(&plan, &mut keys, args.rounds, &mut randomness)?;
    }
    Ok(Summary {
        preset: args.preset.to_string(),
        log_n: params.log_n(),
        log_qp: params.log_qp(),
        security_bits: params.security().bits(),
        slots: n,
        rows: bench.rows,
    })
}

fn main() -> Result<()> {
    let args = Args::parse();
    let params = args.preset.params()?;
    let summary = fhe_core::with_word!(params.word(), W => run::<W>(&args, &params)?);
    if args.json {
        println!("{}", serde_json::to_string(&summary)?);
    }
    Ok(())
}

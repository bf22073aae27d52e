//! Classifies handwritten digits that the server cannot read.
//!
//! ```text
//! client                                     server
//!                  <- offer: parameters, inputs, keys needed
//! keys             -> evaluation keys
//! encrypted pixels ->                        runs the network on ciphertexts
//!                  <- encrypted logits
//! ```
//!
//! Client and server are two values that exchange bytes only. Images come from the held-out test split; each row
//! shows the truth, the answer from the encrypted run, the answer of the plaintext network, the largest
//! difference of a logit between the two, and the server's time.

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use ferrocerium::fhe_core::params::Security;
use ferrocerium::host::LoadedProgram;
use ferrocerium::models::digits::{Network, TestSplit, classify_logits, encrypted};
use ferrocerium::prelude::*;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Encrypted inference of handwritten digits.
#[derive(Parser)]
struct Args {
    /// How many images of the held-out test split (there are 360).
    #[arg(long, default_value_t = 10)]
    images: usize,
    /// What computes on the server's side.
    #[arg(long, value_enum, default_value_t = BackendArg::Auto)]
    backend: BackendArg,
    /// Parameters: n14 (32-bit words) or n14w (64-bit words).
    #[arg(long, default_value = "n14")]
    preset: Preset,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
    /// Print where the server's time and memory went.
    #[arg(long)]
    report: bool,
    /// Write the last image's run, launch by launch, as a trace for Perfetto or chrome://tracing.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum BackendArg {
    Auto,
    Cpu,
    Cuda,
}

impl From<BackendArg> for BackendKind {
    fn from(arg: BackendArg) -> Self {
        match arg {
            BackendArg::Auto => Self::Auto,
            BackendArg::Cpu => Self::Cpu,
            BackendArg::Cuda => Self::Cuda,
        }
    }
}

/// The last line of the run.
#[derive(Serialize)]
struct Summary {
    images: usize,
    correct: usize,
    agree_with_plain: usize,
    max_logit_error: f64,
    seconds_per_image: f64,
    key_bytes: usize,
    backend: String,
    preset: String,
    log_qp: f64,
    security_bits: u32,
}

/// Holds the network, the evaluation keys and nothing secret.
struct Server {
    program: LoadedProgram,
    offer: Vec<u8>,
    backend: String,
}

impl Server {
    fn start(network: &Network, params: &Params, args: &Args) -> Result<Self> {
        let compiled = compile(&encrypted::program(network)?, params, &Options::default())?;
        let offer = Offer::new(params, &compiled.manifest).to_bytes();
        let session = Session::builder()
            .backend(args.backend.into())
            .profile(args.report || args.trace.is_some())
            .build()?;
        Ok(Self { program: session.load(compiled, params)?, offer, backend: session.backend_name() })
    }

    fn receive_keys(&mut self, keys: &[u8]) -> Result<()> {
        Ok(self.program.load_keys(keys)?)
    }

    fn classify(&mut self, pixels: &[u8]) -> Result<Vec<u8>> {
        let mut outputs = self.program.run(&[(encrypted::INPUT, pixels)])?;
        outputs.pop().context("the program has one output")
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let (network, split) = (Network::embedded()?, TestSplit::embedded()?);
    let n_images = split.samples().len();
    if args.images == 0 || args.images > n_images {
        bail!("--images {}: expected 1 to {n_images}", args.images);
    }
    let params = args.preset.params()?;
    let say = |line: String| {
        if !args.json {
            println!("{line}");
        }
    };
    say(format!("preset {}: {params}", args.preset));

    let start = Instant::now();
    let mut server = Server::start(&network, &params, &args)?;
    say(format!("server: network compiled for backend {} in {:.2?}", server.backend, start.elapsed()));

    let start = Instant::now();
    let mut client = make_client(&server.offer, args.json)?;
    let key_bytes = client.evaluation_keys().len();
    server.receive_keys(client.evaluation_keys())?;
    let key_mb = key_bytes as f64 / 1e6;
    say(format!("client: keys made, sent ({key_mb:.1} MB) and loaded in {:.2?}\n", start.elapsed()));

    say("image  truth  encrypted  plain  logit error  seconds".to_owned());
    let (mut correct, mut agree, mut max_error, mut seconds) = (0, 0, 0f64, 0f64);
    for (image, (pixels, truth)) in split.samples().take(args.images).enumerate() {
        let question = client.encrypt(encrypted::INPUT, &pixels)?;
        let start = Instant::now();
        let answer = server.classify(&question)?;
        let elapsed = start.elapsed().as_secs_f64();
        let found: [f64; 10] =
            client.decrypt(encrypted::OUTPUT, &answer)?.try_into().ok().context("10 logits")?;
        let expected = network.forward(&pixels);
        let error = found.iter().zip(&expected).fold(0f64, |m, (a, b)| larger(m, (a - b).abs()));
        let (encrypted, plain) = (classify_logits(&found), classify_logits(&expected));
        say(format!("{image:>5}  {truth:>5}  {encrypted:>9}  {plain:>5}  {error:>11.2e}  {elapsed:>7.3}"));
        correct += usize::from(encrypted == truth);
        agree += usize::from(encrypted == plain);
        max_error = larger(max_error, error);
        seconds += elapsed;
    }
    if let Some(file) = &args.trace {
        std::fs::write(file, server.program.trace()).with_context(|| file.display().to_string())?;
    }
    let summary = Summary {
        images: args.images,
        correct,
        agree_with_plain: agree,
        max_logit_error: max_error,
        seconds_per_image: seconds / args.images as f64,
        key_bytes,
        backend: server.backend.clone(),
        preset: args.preset.to_string(),
        log_qp: params.log_qp(),
        security_bits: params.security().bits(),
    };
    if args.json {
        println!("{}", serde_json::to_string(&summary)?);
        return Ok(());
    }
    println!(
        "\n{} of {} right, {} as the plaintext network says; largest logit error {:.2e} (2^{:.1}); {:.3} s an image on {}; {}",
        summary.correct,
        summary.images,
        summary.agree_with_plain,
        summary.max_logit_error,
        summary.max_logit_error.log2(),
        summary.seconds_per_image,
        summary.backend,
        match params.security() {
            Security::Bits128 => "128-bit security",
            Security::Insecure => "INSECURE parameters",
        }
    );
    if args.report {
        println!("\n{}\n{}", server.program.memory_report(), server.program.last_run());
    }
    Ok(())
}

/// The larger of two errors; NaN, the worst of all, stays.
fn larger(a: f64, b: f64) -> f64 {
    if b > a || b.is_nan() { b } else { a }
}

/// The client accepts the offer, with a progress bar while it makes keys.
fn make_client(offer: &[u8], quiet: bool) -> Result<Client> {
    let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(0) };
    bar.set_style(ProgressStyle::with_template("client: making keys {bar:40} {pos}/{len}")?);
    let client = Client::accept(offer, Trust::Secure, Randomness::from_os()?, |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    Ok(client)
}

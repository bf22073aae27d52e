//! Composites on a device: each at three levels of the presets, by graph replay.
//!
//! `cargo run --release -p benches --bin device [-- --json FILE] [--backend cpu|cuda]`. A row is the median of `--runs`
//! calls as the host sees them (submission, kernels, one synchronization), the sum of its kernels' times by device
//! events, its bytes (each operand once) and the share of the roof, the bandwidth of a plain copy (`--roof`, GB/s).

use anyhow::Result;
use benches::composite::{ALL, Loaded};
use clap::Parser;
use fhe_core::params::{Level, Preset};
use host::{BackendKind, Session};
use serde::Serialize;
use std::path::PathBuf;

/// Times composites on a backend.
#[derive(Parser)]
struct Args {
    /// Where.
    #[arg(long, default_value = "cuda")]
    backend: BackendKind,
    /// Presets.
    #[arg(long, default_values = ["n14", "n15", "n16"])]
    preset: Vec<Preset>,
    /// Calls of which the median is taken.
    #[arg(long, default_value_t = 50)]
    runs: usize,
    /// Copy bandwidth of the device in GB/s, bytes read and written.
    #[arg(long, default_value_t = 4300.0)]
    roof: f64,
    /// Also write the rows as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    preset: String,
    log_qp: f64,
    security_bits: u32,
    level: u32,
    limbs: usize,
    microseconds: f64,
    kernel_microseconds: f64,
    launches: u64,
    word_products: u64,
    bytes: u64,
    share_of_roof: f64,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<()> {
    let args = Args::parse();
    let replayed = Session::builder().backend(args.backend).build()?;
    let profiled = Session::builder().backend(args.backend).profile(true).build()?;
    println!("{}", replayed.backend_name());
    println!(
        "| row | preset | level | limbs | µs | kernels µs | launches | Mproducts | MB | share of roof |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut rows = Vec::new();
    for &preset in &args.preset {
        let params = preset.params()?;
        let top = params.max_level().0;
        for level in [top, top / 2, 1].map(Level) {
            for shape in ALL.into_iter().filter(|s| s.name != "key_switch") {
                let mut program = Loaded::new(shape, preset, level, &replayed)?;
                let times = (0..args.runs + 3).map(|_| program.run_calls()).collect::<Result<Vec<_>>>()?;
                let microseconds = median(times[3..].iter().map(|t| t.as_secs_f64() * 1e6).collect());
                let mut timed = Loaded::new(shape, preset, level, &profiled)?;
                let sums =
                    (0..9).map(|_| Ok(timed.run()?.as_secs_f64() * 1e6)).collect::<Result<Vec<_>>>()?;
                let (word_products, bytes) = timed.work();
                let limbs = params.level(level)?.basis.len();
                let launches = timed.profile().total().work.launches;
                let share_of_roof = bytes as f64 / 1e3 / args.roof / microseconds;
                let kernel_microseconds = median(sums);
                println!(
                    "| {} | {preset} | {level} | {limbs} | {microseconds:.0} | {kernel_microseconds:.0} | {launches} | {:.1} | {:.1} | {:.2} |",
                    shape.name,
                    word_products as f64 / 1e6,
                    bytes as f64 / 1e6,
                    share_of_roof
                );
                if level.0 == top && preset == Preset::N16 && shape.name == "rotate" {
                    println!("{}", timed.profile());
                }
                rows.push(Row {
                    name: shape.name,
                    preset: preset.to_string(),
                    log_qp: params.log_qp(),
                    security_bits: params.security().bits(),
                    level: level.0,
                    limbs,
                    microseconds,
                    kernel_microseconds,
                    launches,
                    word_products,
                    bytes,
                    share_of_roof,
                });
            }
        }
    }
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_vec_pretty(&rows)?)?;
    }
    Ok(())
}

//! Times every kernel of levelled programs at every level of a preset, and writes what explains the times as a table of costs.
//!
//! ```sh
//! cargo xtask cost-table --preset n14 --backend cpu --note "EPYC, 2 threads" --out costs.json
//! ```
//!
//! The table is data: [`scheduler::cost::CostTable`], nanoseconds of a launch, of a KiB and of 1024 products, by kernel; and of a step and of a KiB
//! of copies, by route. Those to a file are measured where `--spill` names a directory.

use fhe_core::params::Preset;
use host::profile::prediction::calibrate;
use host::{BackendKind, Session};
use scheduler::cost::{CopyCost, KernelCost};
use std::error::Error;

struct Args {
    preset: Preset,
    backend: BackendKind,
    threads: Option<usize>,
    samples: u32,
    note: String,
    out: Option<String>,
    spill: Option<String>,
}

fn args() -> Result<Args, Box<dyn Error>> {
    let mut args = Args {
        preset: Preset::N14,
        backend: BackendKind::Cpu,
        threads: None,
        samples: 7,
        note: String::new(),
        out: None,
        spill: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word}: expected a value, found none"));
        match word.as_str() {
            "--preset" => args.preset = value()?.parse()?,
            "--backend" => args.backend = value()?.parse()?,
            "--threads" => args.threads = Some(value()?.parse()?),
            "--samples" => args.samples = value()?.parse()?,
            "--note" => args.note = value()?,
            "--out" => args.out = Some(value()?),
            "--spill" => args.spill = Some(value()?),
            _ => {
                let expected = "--preset, --backend, --threads, --samples, --note, --out or --spill";
                return Err(format!("found {word}, expected {expected}").into());
            }
        }
    }
    Ok(args)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = args()?;
    let params = args.preset.params()?;
    let mut builder = Session::builder().backend(args.backend);
    if let Some(threads) = args.threads {
        builder = builder.threads(threads);
    }
    if let Some(directory) = &args.spill {
        builder = builder.spill_directory(directory);
    }
    let costs = calibrate(&builder.build()?, &params, &args.note, args.samples)?;
    eprintln!("{} at {}\n", costs.backend, costs.params);
    eprintln!("{:28} {:>12} {:>12} {:>12} {:>12}", "ns", "launch", "KiB", "stored KiB", "1024 mul");
    for (kernel, cost) in &costs.kernels {
        let KernelCost { launch, per_kib, per_kib_stored, per_kilo_multiplication } = cost;
        eprintln!(
            "{kernel:28} {launch:>12.0} {per_kib:>12.2} {per_kib_stored:>12.2} {per_kilo_multiplication:>12.2}"
        );
    }
    eprintln!("\n{:28} {:>12} {:>12}", "ns", "step", "KiB");
    for (route, CopyCost { step, per_kib }) in &costs.copies {
        eprintln!("{route:28} {step:>12.0} {per_kib:>12.2}");
    }
    let json = serde_json::to_string_pretty(&costs)?;
    match args.out {
        Some(file) => std::fs::write(file, json + "\n")?,
        None => println!("{json}"),
    }
    Ok(())
}

//! What the compiler makes of ten programs, beside the same programs with every placement by hand and beside published counts.
//!
//! ```sh
//! cargo run --release --example compile_report                               # the table (some minutes on two cores)
//! cargo run --release --example compile_report -- --json                     # the same for programs
//! cargo run --release --example compile_report -- --only "matrix 64" --passes
//! cargo run --release --example compile_report -- --only "degree 7" --emit ckks-ir
//! ```
//!
//! Both versions run on one backend in one process, with one set of keys, in turn; times are medians of replays. Results are compared
//! with what the program means on plain numbers. Predicted times come of a cost table that is measured first, by programs of its own.

mod by_hand;
mod large;
mod measure;
mod programs;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use ferrocerium::fhe_core::params::{Params, Preset};
use ferrocerium::host::profile::prediction::calibrate;
use ferrocerium::host::{BackendKind, Session};
use ferrocerium::scheduler::cost::CostTable;
use ferrocerium::scheduler::passes::Stage;
use ferrocerium::scheduler::{choose, noise, report};
use measure::{Line, compile_watched, measure};
use programs::Case;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Parser)]
#[command(about = "What the compiler makes of ten programs")]
struct Args {
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Only the programs of these names.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Where programs run: auto, cpu or cuda.
    #[arg(long, default_value = "cpu")]
    backend: BackendKind,
    /// Replays of each program.
    #[arg(long, default_value_t = 5)]
    samples: u32,
    /// Instead of running: what each pass took and left.
    #[arg(long)]
    passes: bool,
    /// Instead of running: the program at a stage.
    #[arg(long, value_name = "STAGE")]
    emit: Option<Emit>,
    /// Instead of running: how exact each value is estimated to be.
    #[arg(long)]
    noise: bool,
    /// Operations of the large program; 0 for none.
    #[arg(long, default_value_t = 100_000)]
    large: usize,
    /// Compile a large program here and tell what it took.
    #[arg(long, hide = true)]
    nodes: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Emit {
    /// Operations on ciphertexts, placed.
    CkksIr,
    /// Operations on polynomials.
    PolyIr,
    /// What is executed.
    Plan,
    /// Operations on ciphertexts as a graph for Graphviz.
    Dot,
}

#[derive(Serialize)]
struct Report {
    backend: String,
    programs: Vec<Line>,
    compile_100k_nodes_s: f64,
    compile_100k_peak_bytes: u64,
    /// The same with half as many operations: memory grows linearly if it is about half.
    compile_half_peak_bytes: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(nodes) = args.nodes {
        println!("{}", serde_json::to_string(&large::compile_here(nodes)?)?);
        return Ok(());
    }
    let mut cases = programs::all()?;
    let names: Vec<&str> = cases.iter().map(|case| case.name).collect();
    if let Some(unknown) = args.only.iter().find(|only| !names.contains(&only.as_str())) {
        bail!("no program `{unknown}`, expected one of: {}", names.join(", "));
    }
    cases.retain(|case| args.only.is_empty() || args.only.iter().any(|only| only == case.name));
    if args.passes || args.noise || args.emit.is_some() {
        return cases.iter().try_for_each(|case| show(case, &args));
    }
    run(&cases, &args)
}

/// Shows a program without running it.
fn show(case: &Case, args: &Args) -> Result<()> {
    let choice = choose(&case.program)?;
    let (compiled, passes) = compile_watched(case, &choice.params)?;
    match args.emit {
        Some(Emit::CkksIr) => print!("{}", compiled.placed),
        Some(Emit::PolyIr) => print!("{}", compiled.poly),
        Some(Emit::Plan) => print!("{}", compiled.plan),
        Some(Emit::Dot) => print!("{}", report::dot(Stage::Ckks(&compiled.placed))),
        None => println!("{}: {choice}", case.name),
    }
    if args.passes {
        println!(
            "\n{:22} {:>9} {:>8} {:>12} {:>8} {:>8} {:>12}",
            "pass", "time ms", "values", "key switches", "rescales", "NTTs", "bytes"
        );
        for line in passes {
            let text = |n: Option<u64>| n.map_or_else(String::new, |n| n.to_string());
            let (ms, counts) = (line.time.as_secs_f64() * 1e3, line.counts);
            let of = |n: Option<usize>| text(n.map(|n| n as u64));
            println!(
                "{:22} {ms:>9.3} {:>8} {:>12} {:>8} {:>8} {:>12}",
                line.pass,
                counts.values,
                of(counts.key_switches),
                of(counts.rescales),
                text(counts.ntts),
                text(counts.bytes)
            );
        }
    }
    if args.noise {
        let largest = case.input.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        let estimates = noise::estimate(&compiled.placed, &choice.params, &[largest])?;
        println!("\n{}", noise::table(&compiled.placed, &estimates, choice.params.n_slots()));
    }
    Ok(())
}

fn run(cases: &[Case], args: &Args) -> Result<()> {
    let session = Session::builder().backend(args.backend).build()?;
    let mut tables: BTreeMap<&str, CostTable> = BTreeMap::new();
    let mut lines = Vec::new();
    for case in cases {
        let (preset, params) = fitting_both(case)?;
        if !tables.contains_key(preset) {
            eprintln!("timing kernels at {preset} on {} ...", session.backend_name());
            tables.insert(preset, cost_table(&session, &params)?);
        }
        eprintln!("{} at {preset} ...", case.name);
        lines.push(measure(case, &session, preset, &params, &tables[preset], args.samples)?);
    }
    let (mut whole, mut half) = (None, None);
    if args.large > 0 && args.only.is_empty() {
        eprintln!("compiling {} operations ...", args.large);
        half = Some(large::compile_apart(args.large / 2)?);
        whole = Some(large::compile_apart(args.large)?);
    }
    let report = Report {
        backend: session.backend_name(),
        programs: lines,
        compile_100k_nodes_s: whole.map_or(0.0, |took| took.seconds),
        compile_100k_peak_bytes: whole.map_or(0, |took| took.peak_bytes),
        compile_half_peak_bytes: half.map_or(0, |took| took.peak_bytes),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    print_table(&report);
    if let Some(took) = whole {
        let mib = |bytes: u64| bytes >> 20;
        println!(
            "\n{} operations compiled in {:.2} s; peak memory {} MiB, {} MiB with half as many",
            took.nodes,
            took.seconds,
            mib(took.peak_bytes),
            mib(report.compile_half_peak_bytes)
        );
    }
    Ok(())
}

/// The smallest preset that the program fits, compiled and by hand: by hand it may need more levels.
fn fitting_both(case: &Case) -> Result<(&'static str, Params)> {
    let chosen = choose(&case.program)?;
    let larger = Preset::ALL.into_iter().skip_while(|preset| *preset != chosen.preset);
    for preset in larger {
        let params = preset.params()?;
        let bootstraps = |params: &Params| params.working_level() < params.max_level();
        let kind = |params: &Params| (params.word(), params.security(), bootstraps(params));
        let same_kind = kind(&params) == kind(&chosen.params);
        if same_kind && case.by_hand(params.max_level()).is_ok() {
            return Ok((preset.name(), params));
        }
    }
    bail!("{}: no preset has the levels that it needs by hand", case.name)
}

fn cost_table(session: &Session, params: &Params) -> Result<CostTable> {
    Ok(calibrate(session, params, "compile_report", if params.log_n() > 15 { 3 } else { 7 })?)
}

fn print_table(report: &Report) {
    println!("{}\n", report.backend);
    println!(
        "{:16} {:6} {:>12} {:>13} {:>14} {:>8} {:>11} {:>11} {:>7} {:>10} {:>7} {:>12} {:>8} {:>9}",
        "program",
        "preset",
        "key switches",
        "by hand/paper",
        "NTTs (hand)",
        "levels",
        "measured ms",
        "by hand ms",
        "ratio",
        "predicted",
        "ratio",
        "MiB (unfused)",
        "fused",
        "error"
    );
    for line in &report.programs {
        let ms = |us: f64| us / 1e3;
        let (hand, paper) = (line.key_switches_by_hand, line.key_switches_formula);
        println!(
            "{:16} {:6} {:>12} {:>13} {:>14} {:>8} {:>11.2} {:>11.2} {:>7.2} {:>10.2} {:>7.2} {:>12} {:>8.2} {:>9.1e}",
            line.name,
            line.preset,
            line.key_switches,
            format!("{hand}/{paper}"),
            format!("{} ({})", line.ntts, line.ntts_by_hand),
            format!("{} ({})", line.levels, line.levels_by_hand),
            ms(line.measured_us),
            ms(line.hand_written_us),
            line.measured_us / line.hand_written_us,
            ms(line.predicted_us),
            line.predicted_us / line.measured_us,
            format!("{} ({})", line.bytes >> 20, line.bytes_unfused >> 20),
            line.bytes_unfused as f64 / line.bytes.max(1) as f64,
            line.error
        );
    }
}

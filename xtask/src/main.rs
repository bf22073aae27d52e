//! Developer commands: `cargo xtask ci`, `tidy`, `licences`, `build-ptx`, `bundle`, `cost-table`.
//!
//! Owns what CI runs and the rules of the house that the compiler cannot state. Imports no room: it reads
//! sources and manifests as text, so it works while a room does not compile.

mod bundle;
mod ci;
mod licences;
mod metadata;
mod programs;
mod ptx;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, builder::PossibleValuesParser};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of Ferrocerium")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything that CI runs, in order; stops at the first failure.
    Ci {
        /// Run only this step.
        #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(ci::step_names()))]
        step: Option<String>,
    },
    /// Compiles the kernels to PTX and writes kernels-gpu/ptx; with --check, compares and assembles instead.
    BuildPtx(ptx::Options),
    /// Test and bench programs in one folder, for a machine with a GPU and without Rust.
    Bundle {
        /// The folder, emptied first.
        #[arg(long, value_name = "PATH", default_value = ".bundle")]
        out: PathBuf,
    },
    /// Times every kernel on this machine and writes a table of costs: --preset, --backend, --threads, --samples, --note, --out.
    CostTable {
        /// For the program that measures.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// The rules of the house that the compiler cannot state.
    Tidy,
    /// Licence and source of every package in Cargo.lock.
    Licences,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let root = workspace_root()?;
    match cli.command {
        Command::Ci { step } => ci::run(&root, step.as_deref()),
        Command::BuildPtx(options) => ptx::run(&root, &options),
        Command::Bundle { out } => bundle::run(&root, &out),
        Command::CostTable { args } => cost_table(&root, &args),
        Command::Tidy => tidy::run(&root).map(|note| println!("tidy: {note}")),
        Command::Licences => licences::run(&root).map(|note| println!("licences: {note}")),
    }
}

fn cost_table(root: &Path, args: &[String]) -> Result<()> {
    let mut cargo = process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .args(["run", "--release", "-p", "host", "--example", "cost_table", "--"])
        .args(args);
    let status = cargo.status().context("starting cargo")?;
    anyhow::ensure!(status.success(), "the program that measures ended with {status}");
    Ok(())
}

/// The directory above this package. `cargo run` says where the package is; a binary that is started by
/// hand falls back to where it was built.
fn workspace_root() -> Result<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map(Path::to_path_buf).context("xtask has no directory above it")
}

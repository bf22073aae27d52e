//! The microbenchmark suite.
//!
//! `cargo run --release -p benches --bin suite -- --backend cpu|cuda [--json FILE] [--plot FILE.svg] [--filter TEXT]
//! [--launches] [--quick]`. How a figure comes about: [`benches::measure`]; the floors of composites: [`benches::composite`].

use anyhow::{Context, Result};
use benches::chain::Chain;
use benches::client;
use benches::composite::{self, KeyStore};
use benches::kernels;
use benches::measure::Machine;
use benches::overhead::{self, Overhead};
use benches::peers::Peers;
use benches::plot::svg;
use benches::roofs::Roofs;
use benches::row::{Case, HEAD, Row};
use clap::Parser;
use fhe_core::math::word::WordKind;
use fhe_core::params::Preset;
use host::BackendKind;
use serde::Serialize;
use std::io::Write as _;
use std::path::PathBuf;

/// A row for each kernel, each composite and each operation of the client.
#[derive(Parser)]
struct Args {
    /// Where: `cpu`, `cuda`, or the faster one that there is.
    #[arg(long, default_value = "auto")]
    backend: BackendKind,
    /// Threads of the processor; all if not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Only rows whose name (such as `ntt 2^16 x 48 u32`, `rotate n16 2^16 x 46 u32`) has this in it; given several times,
    /// any of them.
    #[arg(long)]
    filter: Vec<String>,
    /// Every kernel and composite once, at the smallest size: does it run at all?
    #[arg(long)]
    quick: bool,
    /// After each composite, which of its launches take how long.
    #[arg(long)]
    launches: bool,
    /// Folder with the peers' `openfhe.json` and `tenseal.json`.
    #[arg(long)]
    peers: Option<PathBuf>,
    /// Also write the rows as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Also draw the rows.
    #[arg(long)]
    plot: Option<PathBuf>,
}

/// What `--json` writes.
#[derive(Serialize)]
struct Report<'a> {
    backend: String,
    roofs: &'a Roofs,
    client_roofs: &'a Roofs,
    rows: &'a [Row],
    launch_overhead: &'a [Overhead],
}

struct Suite {
    args: Args,
    machine: Machine,
    peers: Peers,
    rows: Vec<Row>,
    overheads: Vec<Overhead>,
}

impl Suite {
    fn wants(&self, case: &Case) -> bool {
        self.wants_name(&case.to_string())
    }

    fn wants_name(&self, name: &str) -> bool {
        self.args.filter.is_empty() || self.args.filter.iter().any(|part| name.contains(part.as_str()))
    }

    fn push(&mut self, mut row: Row) -> Result<()> {
        if self.machine.kind == BackendKind::Cpu {
            row.threads = Some(self.machine.pool.current_num_threads());
        }
        self.peers.compare(&mut row);
        writeln!(std::io::stdout(), "{row}")?;
        self.rows.push(row);
        Ok(())
    }

    fn kernels(&mut self) -> Result<()> {
        for word in [WordKind::U32, WordKind::U64] {
            if !kernels::supports(self.machine.kind, word) {
                continue;
            }
            for size in kernels::sizes(self.args.quick) {
                if self.wants(&kernels::case(size, word)) {
                    let row = kernels::measure(size, word, &self.machine)?;
                    self.push(row)?;
                }
            }
        }
        Ok(())
    }

    fn chains(&self) -> Result<Vec<Chain>> {
        if self.args.quick {
            let mut chain = Chain::preset(Preset::N13)?;
            chain.levels.truncate(1);
            return Ok(vec![chain]);
        }
        Chain::all()
    }

    /// Composites and client of one chain; keys are made only where a row is wanted.
    fn chain(&mut self, chain: &Chain) -> Result<()> {
        let supported = kernels::supports(self.machine.kind, chain.params.word());
        let mut composites = Vec::new();
        for &level in &chain.levels {
            for shape in composite::ALL.into_iter().filter(|s| supported && s.fits(level)) {
                if self.wants(&shape.case(chain, level)?) {
                    composites.push((shape, level));
                }
            }
        }
        let mut operations = Vec::new();
        for what in client::OPERATIONS {
            if self.wants(&client::case(what, chain)?) {
                operations.push(what);
            }
        }
        if composites.is_empty() && operations.is_empty() {
            return Ok(());
        }
        let mut client = client::client(&chain.params)?;
        let mut keys = KeyStore::default();
        for (shape, level) in composites {
            let row = composite::measure(shape, chain, level, &mut *client, &mut keys, &self.machine)?;
            self.push(row)?;
            if self.args.launches {
                let table = composite::launches(shape, chain, level, &mut *client, &mut keys, &self.machine)?;
                writeln!(std::io::stdout(), "\n{table}")?;
            }
        }
        let rows = client.measure(chain, &self.machine, &operations)?;
        rows.into_iter().try_for_each(|row| self.push(row))
    }

    /// The encrypted digits, after the table.
    fn overheads(&mut self) -> Result<()> {
        let preset = Preset::N14;
        if self.args.quick || !self.wants_name(&overhead::digits_name(preset)) {
            return Ok(());
        }
        let found = overhead::digits(preset, &self.machine)?;
        writeln!(std::io::stdout(), "\n{found}")?;
        self.overheads.push(found);
        Ok(())
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let machine = Machine::open(args.backend, args.threads, args.quick)?;
    let peers = args.peers.as_deref().map(Peers::read).transpose()?.unwrap_or_default();
    let name = machine.backend.name();
    let (copy, narrow) = (machine.roofs.copy / 1e9, machine.roofs.narrow_products / 1e9);
    println!("{name}: {copy:.0} GB/s, {narrow:.0} G products/s ({})\n\n{HEAD}", machine.roofs.how);
    let mut suite = Suite { args, machine, peers, rows: Vec::new(), overheads: Vec::new() };
    suite.kernels()?;
    for chain in suite.chains()? {
        suite.chain(&chain)?;
    }
    suite.overheads()?;
    let Suite { args, machine, rows, overheads, .. } = &suite;
    if let Some(path) = &args.json {
        let (roofs, client_roofs) = (&machine.roofs, &machine.client_roofs);
        let report = Report { backend: name.clone(), roofs, client_roofs, rows, launch_overhead: overheads };
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    if let Some(path) = &args.plot {
        std::fs::write(path, svg(&name, rows)).with_context(|| format!("writing {}", path.display()))?;
    }
    println!("\n{} rows", rows.len());
    Ok(())
}

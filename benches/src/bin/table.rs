//! The table of the last `cargo bench -p benches`: median time, operations, bytes and rates of each row, and, beside
//! them, what peers took for the same on the same machine.
//!
//! `cargo run --release -p benches --bin table [-- --peers DIR] [--json FILE]`, `DIR` being where
//! `benches/peers/run.sh` wrote its results.

use anyhow::{Context, Result};
use benches::{WorkOf, criterion_dir};
use clap::Parser;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Prints the rows of the last benchmark run.
#[derive(Parser)]
struct Args {
    /// Folder with `openfhe.json` and `tenseal.json`.
    #[arg(long)]
    peers: Option<PathBuf>,
    /// Also write the rows as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    log_n: u32,
    threads: usize,
    microseconds: f64,
    operations: u64,
    bytes: u64,
    giga_operations_per_second: f64,
    gigabytes_per_second: f64,
    /// Peer's median time over ours.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    peers: BTreeMap<String, f64>,
}

/// Criterion's median of a row, in nanoseconds; `None` when it has not been run.
fn median(dir: &Path) -> Result<Option<f64>> {
    let path = dir.join("new/estimates.json");
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let value: Value = serde_json::from_slice(&text)?;
    Ok(value["median"]["point_estimate"].as_f64())
}

/// Microseconds of a peer by `(operation, log N, threads)`.
type Peer = BTreeMap<(String, u32, usize), f64>;

fn read_peer(dir: &Path, name: &str) -> Result<Peer> {
    let path = dir.join(format!("{name}.json"));
    let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let value: Value = serde_json::from_slice(&text)?;
    let rows = value["rows"].as_array().with_context(|| format!("{}: no rows", path.display()))?;
    let entry = |row: &Value| -> Option<((String, u32, usize), f64)> {
        // TenSEAL wraps SEAL; the rows of SEAL itself are the ones to compare with.
        let _ = row["api"].as_str().filter(|&api| api != "TenSEAL")?;
        let (op, log_n) = (row["op"].as_str()?, row["log_n"].as_u64()?);
        Some(((op.to_owned(), log_n as u32, row["threads"].as_u64()? as usize), row["median_us"].as_f64()?))
    };
    Ok(rows.iter().filter_map(entry).collect())
}

fn main() -> Result<()> {
    let args = Args::parse();
    let dir = criterion_dir();
    let path = dir.join("work.json");
    let text = std::fs::read(&path)
        .with_context(|| format!("reading {}: run `cargo bench -p benches` first", path.display()))?;
    let work: WorkOf = serde_json::from_slice(&text)?;
    let mut peers = BTreeMap::new();
    if let Some(dir) = &args.peers {
        for name in ["openfhe", "tenseal"] {
            peers.insert(name, read_peer(dir, name)?);
        }
    }
    let mut rows = Vec::new();
    for (key, work) in &work.0 {
        let Some(nanoseconds) = median(&dir.join(key))? else { continue };
        let (name, id) = key.split_once('/').context("a row is name/id")?;
        let (log_n, threads) = id.trim_end_matches('t').split_once('_').context("an id is logN_threads")?;
        let (log_n, threads): (u32, usize) = (log_n.parse()?, threads.parse()?);
        let microseconds = nanoseconds / 1e3;
        let ratio = |(peer, rows): (&&str, &Peer)| {
            let theirs = rows.get(&(name.to_owned(), log_n, threads))?;
            Some(((*peer).to_owned(), theirs / microseconds))
        };
        rows.push(Row {
            name: name.to_owned(),
            log_n,
            threads,
            microseconds,
            operations: work.operations,
            bytes: work.bytes,
            giga_operations_per_second: work.operations as f64 / nanoseconds,
            gigabytes_per_second: work.bytes as f64 / nanoseconds,
            peers: peers.iter().filter_map(ratio).collect(),
        });
    }
    rows.sort_by(|a, b| (&a.name, a.threads, a.log_n).cmp(&(&b.name, b.threads, b.log_n)));
    println!(
        "| row | log N | threads | µs | operations | bytes | G op/s | GB/s | OpenFHE / ours | SEAL / ours |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for r in &rows {
        let ratio = |peer: &str| r.peers.get(peer).map_or_else(String::new, |x| format!("{x:.1}"));
        println!(
            "| {} | {} | {} | {:.1} | {} | {} | {:.2} | {:.1} | {} | {} |",
            r.name,
            r.log_n,
            r.threads,
            r.microseconds,
            r.operations,
            r.bytes,
            r.giga_operations_per_second,
            r.gigabytes_per_second,
            ratio("openfhe"),
            ratio("tenseal"),
        );
    }
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_vec_pretty(&rows)?)?;
    }
    Ok(())
}

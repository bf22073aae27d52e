//! A program of a given number of operations, compiled in a process of its own so that its memory can be told.

use anyhow::{Context, Result};
use ferrocerium::fhe_core::params::Preset;
use ferrocerium::scheduler::dsl::{self, Program};
use ferrocerium::scheduler::{Options, compile};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// What a compilation took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Took {
    /// Operations of the program.
    pub nodes: usize,
    /// Seconds on one core.
    pub seconds: f64,
    /// The most memory that the process held; 0 where the system does not tell.
    pub peak_bytes: u64,
}

/// Sums of rotations with plaintexts, squares, and rotations of those, over as many inputs as it takes.
fn program(nodes: usize) -> Result<Program> {
    Ok(dsl::build("large", |g| {
        let mut made = 0;
        let mut input = 0u32;
        while made < nodes {
            let mut x = g.input(&format!("x{input}"), 64)?;
            made += 1;
            for layer in 0..2 {
                let mut sum = None;
                for k in 0..16 {
                    let number = |i: usize| (i + 7 * k + 3 * layer) as f64 / 64.0 + f64::from(input) / 1024.0;
                    let weights: Vec<f64> = (0..64).map(number).collect();
                    let term = x.rotate(k as i64) * g.plain(&format!("w{input}.{layer}.{k}"), &weights)?;
                    sum = Some(match sum {
                        None => term,
                        Some(sum) => sum + term,
                    });
                    made += 3;
                }
                x = (sum.unwrap_or(x) + 0.5).square();
                made += 2;
            }
            g.output(&format!("y{input}"), x, 4)?;
            input += 1;
        }
        Ok(())
    })?)
}

fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Compiles one at the preset `n14`, in this process.
///
/// # Errors
/// Of the compiler.
pub fn compile_here(nodes: usize) -> Result<Took> {
    let params = Preset::N14.params()?;
    let program = program(nodes)?;
    let clock = Instant::now();
    let compiled = compile(&program, &params, &Options::default())?;
    let seconds = clock.elapsed().as_secs_f64();
    drop(compiled);
    Ok(Took { nodes: program.function().values.len(), seconds, peak_bytes: peak_bytes() })
}

/// Compiles one in a process of its own.
///
/// # Errors
/// The process cannot be started, or fails.
pub fn compile_apart(nodes: usize) -> Result<Took> {
    let this = std::env::current_exe().context("finding this program")?;
    let output = std::process::Command::new(this).args(["--nodes", &nodes.to_string()]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).with_context(|| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

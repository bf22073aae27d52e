//! `cargo xtask ci`: the steps of CI, each timed, cheapest first; stops at the first failure.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::metadata::cargo;
use crate::programs::programs;
use crate::{licences, tidy};

struct Step {
    name: &'static str,
    what: &'static str,
    /// Its note for the closing table.
    run: fn(&Path) -> Result<String>,
}

const STEPS: &[Step] = &[
    Step { name: "fmt", what: "cargo fmt --all --check", run: fmt },
    Step { name: "tidy", what: "the rules of the house", run: tidy::run },
    Step { name: "licences", what: "licence and source of every package in Cargo.lock", run: licences::run },
    Step {
        name: "clippy",
        what: "cargo clippy --workspace --all-targets --locked -- -D warnings",
        run: clippy,
    },
    Step { name: "test", what: "cargo test --workspace (unit, integration and doc tests)", run: test },
    Step { name: "doc", what: "cargo doc --no-deps --workspace, warnings denied", run: doc },
    Step { name: "bench", what: "the suite of benches, --quick on the CPU (smoke run)", run: bench },
    Step { name: "report", what: "compile_report of three programs on the CPU (smoke run)", run: report },
];

/// Names that `--step` accepts.
pub(crate) fn step_names() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}

/// Runs all steps, or `only` one, and prints the table of times.
pub(crate) fn run(root: &Path, only: Option<&str>) -> Result<()> {
    let mut table: Vec<(&str, &str, Duration, String)> = Vec::new();
    let mut failure = None;
    for step in STEPS.iter().filter(|step| only.is_none_or(|name| name == step.name)) {
        println!("\n== {}: {}", step.name, step.what);
        let start = Instant::now();
        let result = (step.run)(root);
        let took = start.elapsed();
        match result {
            Ok(note) => table.push((step.name, "ok", took, note)),
            Err(error) => {
                table.push((step.name, "FAILED", took, String::new()));
                failure = Some((step.name, error));
                break;
            }
        }
    }

    println!("\n{:<10} {:<8} {:>9}", "step", "result", "time");
    for (name, result, took, note) in &table {
        println!("{name:<10} {result:<8} {:>7.1} s  {note}", took.as_secs_f64());
    }
    let total: Duration = table.iter().map(|(_, _, took, _)| *took).sum();
    println!("{:<10} {:<8} {:>7.1} s", "total", "", total.as_secs_f64());
    match failure {
        None => Ok(()),
        Some((name, error)) => Err(anyhow!(
            "step `{name}` failed: {error:#}\nrerun just this step: cargo xtask ci --step {name}"
        )),
    }
}

fn fmt(root: &Path) -> Result<String> {
    finish(cargo(root).args(["fmt", "--all", "--check"])).context("`cargo fmt --all` repairs it")
}

fn clippy(root: &Path) -> Result<String> {
    let args = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    finish(cargo(root).args(args))
}

fn doc(root: &Path) -> Result<String> {
    let args = ["doc", "--no-deps", "--workspace", "--locked"];
    finish(cargo(root).args(args).env("RUSTDOCFLAGS", "-D warnings"))
}

/// The test command of the README, literally. Its output passes through one pipe, so that the lines of cargo
/// and of the tests keep their order; the counts are summed for the table.
fn test(root: &Path) -> Result<String> {
    let (reader, writer) = std::io::pipe()?;
    let mut command = cargo(root);
    command.args(["test", "--workspace"]).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("{command:?} did not start"))?;
    // Our ends of the pipe: the reader sees the end only when no writer is left.
    drop(command);
    let mut totals = Totals::default();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.context("reading the output of cargo test")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        totals.count(&line);
    }
    let status = child.wait()?;
    ensure!(status.success(), "cargo test ended with {status}, {totals}");
    Ok(totals.to_string())
}

/// What is run in release, built at once: by themselves the two would have other features of a few packages, and all that
/// stands on these would be compiled again.
const SMOKE_RUNS: &[&str] = &[
    "build",
    "--locked",
    "-p",
    "benches",
    "-p",
    "ferrocerium",
    "--bin",
    "suite",
    "--example",
    "compile_report",
];

fn bench(root: &Path) -> Result<String> {
    smoke_run(root, "suite", &["--quick", "--backend", "cpu"])
}

fn report(root: &Path) -> Result<String> {
    let only = ["convolution 3x3", "matrix 64", "degree 7"].map(|name| ["--only", name]);
    let args = [&["--samples", "1", "--large", "0"][..], only.as_flattened()].concat();
    smoke_run(root, "compile_report", &args)
}

fn smoke_run(root: &Path, name: &str, args: &[&str]) -> Result<String> {
    let all = programs(root, SMOKE_RUNS)?;
    let found = all.iter().find(|(found, _)| found == name);
    let (_, program) = found.with_context(|| format!("cargo built no program `{name}`"))?;
    finish(Command::new(program).args(args).current_dir(root).stdin(Stdio::null()))
}

fn finish(command: &mut Command) -> Result<String> {
    let status = command.status().with_context(|| format!("{command:?} did not start"))?;
    if !status.success() {
        bail!("{status}");
    }
    Ok(String::new())
}

/// Sums over the `test result:` lines of a test run.
#[derive(Default)]
struct Totals {
    binaries: u64,
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Totals {
    fn count(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        self.binaries += 1;
        for part in rest.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let Some(number) = words.next().and_then(|word| word.parse::<u64>().ok()) else { continue };
            match words.next() {
                Some("passed") => self.passed += number,
                Some("failed") => self.failed += number,
                Some("ignored") => self.ignored += number,
                _ => {}
            }
        }
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { binaries, passed, failed, ignored } = self;
        write!(f, "{passed} passed, {failed} failed, {ignored} ignored in {binaries} runs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_sum_over_result_lines() {
        let mut totals = Totals::default();
        totals.count(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s",
        );
        totals.count("test some::test ... ok");
        totals.count("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!(totals.to_string(), "15 passed, 2 failed, 1 ignored in 2 runs");
    }

    #[test]
    fn step_names_are_distinct() {
        let names = step_names();
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), distinct.len());
    }
}

//! `cargo xtask bundle`: what a machine with a GPU and without Rust needs, in one folder.
//!
//! ```text
//! .bundle/test-PACKAGE-NAME   test programs of kernels-gpu and host, run from anywhere
//! .bundle/NAME                the benches' programs, encrypted_digits, ntt_time, cost_table
//! .bundle/run.sh              runs the tests, prints `N passed, N failed, N skipped`, then the benches' suite
//! ```
//!
//! The programs hold their PTX and data. They link the C library of this machine: the other one's must not be older.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::programs::programs;

/// Largest bundle, in bytes: what is easily carried.
const MAX_BYTES: u64 = 60 << 20;

/// The builds whose programs go into the bundle. What is built of the same packages has the same features and is compiled once.
const BUILDS: &[&[&str]] = &[
    &["test", "--no-run", "-p", "kernels-gpu", "-p", "host", "--tests"],
    &["build", "-p", "kernels-gpu", "-p", "host", "--example", "ntt_time", "--example", "cost_table"],
    &["build", "-p", "benches", "-p", "ferrocerium", "--bins", "--example", "encrypted_digits"],
];

const RUN: &str = r#"#!/usr/bin/env bash
# Runs the tests of this folder, then the suite of benches: `run.sh [FILE [SUITE OPTION...]]`; FILE takes its rows as JSON.
json=${1:+$(realpath -- "$1")}
shift $(($# > 0))
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
passed=0 failed=0 skipped=0
for test in ./test-*; do
    log=$("$test" --test-threads 4 2>&1)
    status=$?
    line=$(grep '^test result:' <<<"$log" | tail -n 1)
    if [[ $line =~ ([0-9]+)\ passed\;\ ([0-9]+)\ failed\;\ ([0-9]+)\ ignored ]]; then
        passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
        skipped=$((skipped + BASH_REMATCH[3]))
    else
        failed=$((failed + 1)) # it died before it could count
    fi
    if ((status != 0)); then
        printf '%s: exit status %s\n%s\n' "$test" "$status" "$(tail -n 30 <<<"$log")"
    fi
done
echo "$passed passed, $failed failed, $skipped skipped"
./suite --backend cuda ${json:+--json "$json"} "$@" || failed=$((failed + 1))
((failed == 0))
"#;

/// Builds everything and fills `out`, which is emptied first.
pub(crate) fn run(root: &Path, out: &Path) -> Result<()> {
    let out = root.join(out);
    if out.exists() {
        std::fs::remove_dir_all(&out).with_context(|| format!("emptying {}", out.display()))?;
    }
    std::fs::create_dir_all(&out)?;
    let mut total = 0;
    for build in BUILDS {
        for (name, program) in programs(root, build)? {
            let to = out.join(name);
            std::fs::copy(&program, &to).with_context(|| format!("copying {}", program.display()))?;
            // Without `strip` the programs are larger, and the size below says whether too large.
            let _ = Command::new("strip").arg(&to).status();
            let bytes = std::fs::metadata(&to)?.len();
            println!("{:>8} KiB  {}", bytes >> 10, to.display());
            total += bytes;
        }
    }
    let script = out.join("run.sh");
    std::fs::write(&script, RUN)?;
    let _ = Command::new("chmod").arg("+x").arg(&script).status();
    println!("{:>8} KiB in all", total >> 10);
    ensure!(total <= MAX_BYTES, "the bundle has {total} bytes, expected at most {MAX_BYTES}");
    Ok(())
}

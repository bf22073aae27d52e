//! The part of `cargo metadata` that the checks read. Cargo resolves workspace inheritance, renames and
//! target tables for us, so no manifest is parsed by hand.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// What `cargo metadata --format-version 1` prints.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
}

/// One package; `source` is `None` for a member of the workspace.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One dependency as declared; `kind` is `None` (normal), `dev` or `build`.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Option<String>,
    /// Set for path dependencies only: how a room is told from a foreign package of the same name.
    pub(crate) path: Option<String>,
}

/// The cargo that runs us, or the one on the path.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).stdin(Stdio::null());
    command
}

/// Members of the workspace only; reads no registry and no lock file.
pub(crate) fn members(root: &Path) -> Result<Metadata> {
    read(root, &["--no-deps", "--offline"])
}

/// Every package in Cargo.lock, for all platforms. Fails if Cargo.lock is out of date.
pub(crate) fn locked(root: &Path) -> Result<Metadata> {
    read(root, &["--locked"])
}

fn read(root: &Path, args: &[&str]) -> Result<Metadata> {
    let output = cargo(root)
        .args(["metadata", "--format-version", "1"])
        .args(args)
        .output()
        .context("cargo metadata did not start")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo metadata failed: {}", said.trim());
    serde_json::from_slice(&output.stdout).context("cargo metadata printed something unexpected")
}

//! Programs as cargo builds them: where they are, and what they are called.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::metadata::cargo;

/// A line of `cargo --message-format json`.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    package_id: Option<String>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// The programs that a build in release makes, with their names: those of tests are `test-PACKAGE-NAME`.
pub(crate) fn programs(root: &Path, build: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let mut command = cargo(root);
    command.args(build).args(["--release", "--message-format", "json-render-diagnostics"]);
    let output = command.stderr(Stdio::inherit()).output().context("cargo did not start")?;
    ensure!(output.status.success(), "cargo {} failed", build.join(" "));
    let lines = String::from_utf8_lossy(&output.stdout);
    let messages = lines.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    Ok(messages.filter_map(named).collect())
}

fn named(message: Message) -> Option<(String, PathBuf)> {
    let (program, target) = (message.executable?, message.target?);
    if !message.profile?.test {
        return Some((target.name, program));
    }
    // `path+file:///.../host#0.1.0`: the package is what stands between the last slash and the hash.
    let id = message.package_id?;
    let package = id.split('#').next()?.rsplit('/').next()?.to_owned();
    Some((format!("test-{package}-{}", target.name), program))
}

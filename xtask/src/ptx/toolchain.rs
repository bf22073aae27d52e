//! The two toolchains that turn kernels-gpu into PTX.
//!
//! Both are rustc with the target `nvptx64-nvidia-cuda` and `core` built from source; no CUDA toolkit. The flags are
//! explained at [`FLAGS`]; ADR 0001 says why this and not another code generator.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::Route;

const TARGET: &str = "nvptx64-nvidia-cuda";

/// * `sm_80`: PTX runs on that and every later GPU, PTX for a later one not on this;
/// * `/bin/true`: the target's linker is not needed, but `--emit=asm` without `link` leaves out `core`;
/// * `immediate-abort`: no panic machinery;
/// * `-JumpThreading`: the pass duplicates a barrier into both arms of a branch (rust-lang issue 137086).
const FLAGS: &str = "-Ctarget-cpu=sm_80 -Ctarget-feature=+ptx80 -Clinker=/bin/true -Zunstable-options \
                     -Cpanic=immediate-abort -Zmir-enable-passes=-JumpThreading";

/// What to install, said when nothing is found.
const INSTALL: &str = "install one of\n  \
    debian: apt-get update && apt-get install -y --no-install-recommends rustc-web cargo-web rust-web-src\n  \
    nightly: rustup toolchain install nightly --component rust-src\n\
    (what is committed comes from the first)";

/// A compiler with matching sources of `core`.
pub(super) struct Toolchain {
    route: Route,
    version: String,
}

impl Toolchain {
    /// The one of that route, or the first that is there.
    pub(super) fn find(route: Option<Route>) -> Result<Self> {
        let routes = route.map_or(vec![Route::Debian, Route::Nightly], |route| vec![route]);
        let mut missing = Vec::new();
        for route in routes {
            match version(route) {
                Ok(version) => return Ok(Self { route, version }),
                Err(error) => missing.push(format!("  {}: {error:#}", name(route))),
            }
        }
        bail!("no compiler for {TARGET}:\n{}\n{INSTALL}", missing.join("\n"))
    }

    pub(super) fn route(&self) -> &'static str {
        name(self.route)
    }

    /// The compiler's own words and its LLVM.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The assembly of kernels-gpu for the GPU.
    pub(super) fn build(&self, root: &Path) -> Result<String> {
        let target_dir = root.join("target").join("ptx").join(self.route());
        let mut command = cargo(self.route);
        command
            .current_dir(root)
            .args(["rustc", "--locked", "--package", "kernels-gpu", "--lib", "--crate-type", "cdylib"])
            .args(["--profile", "ptx", "--target", TARGET, "-Zbuild-std=core", "--target-dir"])
            .arg(&target_dir)
            .args(["--", "--emit=asm,link"])
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", FLAGS);
        let status = command.status().with_context(|| format!("{command:?} did not start"))?;
        ensure!(status.success(), "{command:?} ended with {status}");
        let path = target_dir.join(TARGET).join("ptx").join("deps").join("kernels_gpu.s");
        std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))
    }
}

fn name(route: Route) -> &'static str {
    match route {
        Route::Debian => "debian",
        Route::Nightly => "nightly",
    }
}

/// `program` of the route, free of what the cargo that runs us has set.
fn tool(route: Route, program: &str) -> Command {
    let mut command = match route {
        Route::Debian => Command::new(Path::new("/usr/bin").join(program)),
        Route::Nightly => {
            let mut command = Command::new("rustup");
            command.args(["run", "nightly", program]);
            command
        }
    };
    for variable in
        ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTC", "RUSTDOC", "RUSTC_WRAPPER", "CARGO_ENCODED_RUSTFLAGS"]
    {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

fn cargo(route: Route) -> Command {
    let mut command = tool(route, "cargo");
    if route == Route::Debian {
        // Another cargo's rustc may come first on the path.
        command.env("RUSTC", "/usr/bin/rustc").env("RUSTDOC", "/usr/bin/rustdoc");
    }
    command
}

/// `rustc 1.96.0 (...), LLVM 22.1.8`, if compiler, cargo and sources are there.
fn version(route: Route) -> Result<String> {
    say(&mut tool(route, "cargo"), &["--version"])?;
    let about = say(&mut tool(route, "rustc"), &["--version", "--verbose"])?;
    let sysroot = PathBuf::from(say(&mut tool(route, "rustc"), &["--print", "sysroot"])?.trim());
    let core = sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs");
    ensure!(core.is_file(), "no sources of `core` at {}", core.display());
    let first = about.lines().next().unwrap_or_default();
    let llvm = about.lines().find_map(|line| line.strip_prefix("LLVM version: ")).unwrap_or("unknown");
    Ok(format!("{first}, LLVM {llvm}"))
}

fn say(command: &mut Command, args: &[&str]) -> Result<String> {
    let output = command.args(args).output().with_context(|| format!("{command:?} did not start"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

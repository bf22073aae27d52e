//! `cargo xtask build-ptx`: kernels-gpu compiled to PTX, split into modules, checked, and written to
//! `kernels-gpu/ptx`, where it is committed.
//!
//! ```text
//! toolchain -> one assembly text -> modules -> lint -> files (or, with --check, comparison) -> ptxas gate
//! ```

mod module;
mod ptxas;
mod toolchain;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};

use toolchain::Toolchain;

/// Where the modules are committed.
const DIR: &str = "kernels-gpu/ptx";
/// Names a `ptxas` when `--ptxas` does not.
const PTXAS_VARIABLE: &str = "FERROCERIUM_PTXAS";

#[derive(Args)]
pub(crate) struct Options {
    /// Write nothing: compare with the committed files, all but the compiler's name. Needs ptxas.
    #[arg(long)]
    check: bool,
    /// The compiler. Without this, Debian's if it is there, else the nightly. What is committed comes from Debian's.
    #[arg(long, value_enum)]
    route: Option<Route>,
    /// The `ptxas` that assembles every kernel. Without this, the variable FERROCERIUM_PTXAS.
    #[arg(long, value_name = "PATH")]
    ptxas: Option<PathBuf>,
}

/// Where the compiler and the sources of `core` come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Route {
    /// Debian's packages rustc-web, cargo-web and rust-web-src.
    Debian,
    /// A rustup nightly with the component rust-src.
    Nightly,
}

/// Builds, and writes or compares; then assembles.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let ptxas = options.ptxas.clone().or_else(|| std::env::var_os(PTXAS_VARIABLE).map(PathBuf::from));
    ensure!(
        ptxas.is_some() || !options.check,
        "--check needs ptxas: pass --ptxas PATH or set {PTXAS_VARIABLE} (pip install -r .ci/ptxas.txt has one)"
    );
    let toolchain = Toolchain::find(options.route)?;
    println!("build-ptx: route {}, {}", toolchain.route(), toolchain.version());
    let start = Instant::now();
    let assembly = toolchain.build(root)?;
    let built = start.elapsed();
    let modules = module::split(&assembly, toolchain.version())?;
    let bytes: usize = modules.values().map(|module| module.text.len()).sum();
    println!(
        "build-ptx: {} modules, {} kernels, {} KiB, compiled in {:.1} s",
        modules.len(),
        modules.values().map(|module| module.kernels.len()).sum::<usize>(),
        bytes >> 10,
        built.as_secs_f64()
    );
    let dir = root.join(DIR);
    if options.check {
        compare(&dir, &modules, toolchain.version())?;
        println!("build-ptx: {DIR} is what the sources give");
    } else {
        write(&dir, &modules)?;
        if toolchain.route() != "debian" {
            println!("build-ptx: for experiments only: what is committed comes from --route debian");
        }
    }
    match ptxas {
        Some(ptxas) => ptxas::gate(&ptxas, &root.join("target"), &modules),
        None => {
            println!("build-ptx: not assembled: no --ptxas and no {PTXAS_VARIABLE}");
            Ok(())
        }
    }
}

type Modules = BTreeMap<String, module::Module>;

fn write(dir: &Path, modules: &Modules) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("{}", dir.display()))?;
    for name in committed(dir)? {
        if !modules.contains_key(&name) {
            let path = dir.join(format!("{name}.ptx"));
            fs::remove_file(&path).with_context(|| format!("{}", path.display()))?;
        }
    }
    for (name, module) in modules {
        let path = dir.join(format!("{name}.ptx"));
        fs::write(&path, &module.text).with_context(|| format!("{}", path.display()))?;
    }
    Ok(())
}

/// Names of the modules that lie in `dir`.
fn committed(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let name = entry?.file_name();
        names.extend(name.to_str().and_then(|name| name.strip_suffix(".ptx")).map(str::to_owned));
    }
    Ok(names)
}

fn compare(dir: &Path, modules: &Modules, version: &str) -> Result<()> {
    const REMEDY: &str = "run `cargo xtask build-ptx --route debian` and commit the result";
    for name in committed(dir)? {
        ensure!(modules.contains_key(&name), "{DIR}/{name}.ptx comes from no source: {REMEDY}");
    }
    for (name, module) in modules {
        let path = dir.join(format!("{name}.ptx"));
        let text = fs::read_to_string(&path).with_context(|| format!("{DIR}/{name}.ptx: {REMEDY}"))?;
        // Another compiler that gives the same code is as good.
        if module::code(&text).eq(module::code(&module.text)) {
            continue;
        }
        let theirs = module::compiler(&text).unwrap_or("no compiler");
        ensure!(
            theirs == version,
            "{DIR}/{name}.ptx was built by {theirs}, this is {version} and gives other code: \
             install that one, or {REMEDY}"
        );
        let line = text.lines().zip(module.text.lines()).position(|(a, b)| a != b);
        let line = line.unwrap_or_else(|| text.lines().count().min(module.text.lines().count())) + 1;
        bail!("{DIR}/{name}.ptx is not what the sources give (line {line} differs): {REMEDY}");
    }
    Ok(())
}

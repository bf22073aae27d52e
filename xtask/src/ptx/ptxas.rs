//! The gate: every kernel assembles on every architecture without spills, stack or calls.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{Modules, module};

/// What the PTX must assemble for: the oldest GPUs supported, and the ones measured or to come.
const ARCHITECTURES: [&str; 3] = ["sm_80", "sm_90", "sm_100"];

/// Assembles all modules and prints a table: registers by architecture, shared memory, threads.
pub(super) fn gate(ptxas: &Path, scratch: &Path, modules: &Modules) -> Result<()> {
    let scratch = scratch.join("ptx");
    std::fs::create_dir_all(&scratch).with_context(|| format!("{}", scratch.display()))?;
    let mut table: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (name, module) in modules {
        let source = scratch.join(format!("{name}.ptx"));
        for architecture in ARCHITECTURES {
            // What the driver of such a device gets.
            let text =
                if architecture == "sm_80" { module.text.clone() } else { module::for_later(&module.text) };
            std::fs::write(&source, text).with_context(|| format!("{}", source.display()))?;
            let mut command = Command::new(ptxas);
            command.args(["--verbose", "--gpu-name", architecture, "--output-file"]);
            command.arg(scratch.join("out.cubin")).arg(&source).stdin(Stdio::null());
            let output = command.output().with_context(|| format!("{} did not start", ptxas.display()))?;
            let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
            ensure!(output.status.success(), "{name} for {architecture}: {}", said.trim());
            let mut registers = registers(&said).with_context(|| format!("{name} for {architecture}"))?;
            for kernel in module.kernels.keys() {
                let used = registers.remove(kernel.as_str());
                let used =
                    used.with_context(|| format!("ptxas says nothing of {kernel} for {architecture}"))?;
                table.entry(kernel).or_default().push(used);
            }
        }
    }
    println!(
        "\nregisters by architecture; shared memory and threads of a block\n{:<20} {} {:>9} {:>8}",
        "kernel",
        columns(&ARCHITECTURES),
        "shared",
        "threads"
    );
    for module in modules.values() {
        for (kernel, contract) in &module.kernels {
            let used: Vec<String> =
                table.get(kernel.as_str()).into_iter().flatten().map(u32::to_string).collect();
            println!(
                "{kernel:<20} {} {:>7} B {:>8}",
                columns(&used),
                contract.shared_bytes,
                contract.threads
            );
        }
    }
    println!("ptxas: {} kernels, no spill, no stack, no call on {}", table.len(), ARCHITECTURES.join(", "));
    Ok(())
}

fn columns<S: std::fmt::Display>(cells: &[S]) -> String {
    cells.iter().map(|cell| format!("{cell:>7}")).collect()
}

/// Registers of each kernel in what `ptxas --verbose` says; fails on spills, stack and warnings.
fn registers(said: &str) -> Result<BTreeMap<&str, u32>> {
    let mut found = BTreeMap::new();
    let (mut kernel, mut clean) = ("", false);
    for line in said.lines() {
        ensure!(!line.contains("warning") && !line.contains("error"), "{line}");
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            (kernel, clean) = (rest.split('\'').next().unwrap_or_default(), false);
        } else if line.contains("bytes stack frame") {
            clean = line.trim() == "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads";
            ensure!(clean, "kernel {kernel}: {}", line.trim());
        } else if let Some((_, rest)) = line.split_once(": Used ") {
            let number = rest.split(' ').next().and_then(|number| number.parse().ok());
            ensure!(clean, "kernel {kernel}: ptxas does not say that there is no spill");
            found.insert(kernel, number.with_context(|| line.to_owned())?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "ptxas info    : 0 bytes gmem\n\
        ptxas info    : Compiling entry function 'neg' for 'sm_80'\n\
        ptxas info    : Function properties for neg\n    \
        0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
        ptxas info    : Used 18 registers, used 0 barriers, 392 bytes cmem[0]\n";

    #[test]
    fn registers_are_read() {
        assert_eq!(registers(SAID).unwrap(), BTreeMap::from([("neg", 18)]));
    }

    #[test]
    fn spills_stack_and_silence_are_refused() {
        assert!(registers(&SAID.replace("0 bytes spill stores", "8 bytes spill stores")).is_err());
        assert!(registers(&SAID.replace("0 bytes stack", "16 bytes stack")).is_err());
        let silent: String =
            SAID.lines().filter(|line| !line.contains("stack")).map(|l| format!("{l}\n")).collect();
        assert!(registers(&silent).is_err());
        assert!(registers(&format!("{SAID}ptxas warning : something\n")).is_err());
    }
}

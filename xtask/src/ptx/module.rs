//! One assembly text into modules: header, launch bounds, no noise; and what no kernel may contain.
//!
//! The device code announces itself in comments, so that its ABI is the one source of these numbers:
//!
//! ```text
//! // abi_version 1
//! // contract NAME THREADS MIN_BLOCKS SHARED_BYTES BARRIERS
//! ```
//!
//! Transforms go to the module `ntt_u32`, conversions with columns of transforms of a ring to `convert_LOGN_u32`, those of the encoder
//! (`embed_*`, `round_*`) to `encode_u32`, all others to `pointwise_u32`. A test of kernels-gpu compares that with the contracts.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

/// A file of PTX.
pub(super) struct Module {
    pub(super) text: String,
    /// By name.
    pub(super) kernels: BTreeMap<String, Contract>,
}

/// What a kernel has announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contract {
    pub(super) threads: u32,
    pub(super) min_blocks: u32,
    pub(super) shared_bytes: u32,
    pub(super) barriers: u32,
}

const COMPILER: &str = "// compiler: ";
/// Begins a line that is an instruction on sm_90 and later (kernels-gpu's `ptx::for_capability`).
const LATER: &str = "// sm_90: ";

/// The compiler that the header of a module names.
pub(super) fn compiler(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix(COMPILER))
}

/// The lines of a module but the one that names the compiler.
pub(super) fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with(COMPILER))
}

/// Cuts the compiler's output into modules.
pub(super) fn split(assembly: &str, version: &str) -> Result<BTreeMap<String, Module>> {
    let abi = assembly
        .lines()
        .find_map(|line| line.strip_prefix("// abi_version "))
        .context("the assembly does not say its abi_version")?;
    let mut contracts = contracts(assembly)?;
    let mut bodies: BTreeMap<String, BTreeMap<String, (Contract, String)>> = BTreeMap::new();
    for (name, body) in entries(assembly)? {
        let contract =
            contracts.remove(name).with_context(|| format!("kernel {name} announces no contract"))?;
        let text = kernel(name, body, contract)?;
        bodies.entry(home(name)).or_default().insert(name.to_owned(), (contract, text));
    }
    if let Some(name) = contracts.keys().next() {
        bail!("{name} announces a contract and is not in the assembly");
    }
    let directive = |prefix: &str| {
        let line = assembly.lines().find(|line| line.starts_with(prefix));
        line.with_context(|| format!("no {prefix} in the assembly"))
    };
    let (ptx, target, address) = (directive(".version")?, directive(".target")?, directive(".address_size")?);
    let mut modules = BTreeMap::new();
    for (name, bodies) in bodies {
        let mut text = format!(
            "// Ferrocerium kernels: {name}. Made by `cargo xtask build-ptx`, not by hand.\n// abi_version: {abi}\n\
             {COMPILER}{version}\n\n{ptx}\n{target}\n{address}\n"
        );
        if bodies.values().any(|(contract, _)| contract.shared_bytes > 0) {
            text.push_str("\n.extern .shared .align 16 .b8 dyn_smem[];\n");
        }
        let mut kernels = BTreeMap::new();
        for (kernel, (contract, body)) in bodies {
            text.push('\n');
            text.push_str(&body);
            kernels.insert(kernel, contract);
        }
        modules.insert(name, Module { text, kernels });
    }
    Ok(modules)
}

/// The module of a kernel.
fn home(name: &str) -> String {
    if name.starts_with("embed_") || name.starts_with("round_") {
        return "encode_u32".to_owned();
    }
    if let Some(log_n) = name.strip_prefix("convert_basis_columns_") {
        return format!("convert_{log_n}_u32");
    }
    let transform = name.starts_with("ntt_") || name.starts_with("intt_");
    if transform { "ntt_u32" } else { "pointwise_u32" }.to_owned()
}

fn contracts(assembly: &str) -> Result<BTreeMap<&str, Contract>> {
    let mut found = BTreeMap::new();
    for line in assembly.lines() {
        let Some(rest) = line.trim().strip_prefix("// contract ") else { continue };
        let mut words = rest.split(' ');
        let name = words.next().unwrap_or_default();
        let numbers: Vec<u32> =
            words.map(str::parse).collect::<Result<_, _>>().with_context(|| rest.to_owned())?;
        let [threads, min_blocks, shared_bytes, barriers] = numbers[..] else {
            bail!("contract of {name} has {} numbers, expected 4", numbers.len());
        };
        found.insert(name, Contract { threads, min_blocks, shared_bytes, barriers });
    }
    Ok(found)
}

/// (name, text from `.visible` to the closing brace) of each kernel; anything else that holds code is refused.
fn entries(assembly: &str) -> Result<Vec<(&str, &str)>> {
    const START: &str = ".visible .entry ";
    ensure!(
        !assembly.contains(".func"),
        "the assembly has a function that is no kernel: something is not inlined"
    );
    for space in [".global .", ".const ."] {
        let declared =
            assembly.lines().find(|line| line.contains(space) && line.trim_end().ends_with(['}', ';', ']']));
        let declared = declared.filter(|line| !line.starts_with('\t'));
        ensure!(declared.is_none(), "the assembly has a static: {}", declared.unwrap_or_default());
    }
    let mut found = Vec::new();
    let mut rest = assembly;
    while let Some(at) = rest.find(START) {
        let text = &rest[at..];
        let name = text[START.len()..].split('(').next().unwrap_or_default();
        let end = text.find("\n}").with_context(|| format!("kernel {name} has no end"))? + 2;
        found.push((name, &text[..end]));
        rest = &text[end..];
    }
    Ok(found)
}

/// A kernel as it is committed: launch bounds written, comments and empty lines gone, labels without the function's index
/// (so that a new kernel changes nothing in the others), and nothing in it that the house forbids.
fn kernel(name: &str, body: &str, contract: Contract) -> Result<String> {
    let (head, code) = body.split_once("\n{\n").with_context(|| format!("kernel {name} has no body"))?;
    let Contract { threads, min_blocks, shared_bytes, barriers } = contract;
    let mut text = format!("{head}\n.maxntid {threads}, 1, 1\n.minnctapersm {min_blocks}\n{{\n");
    let (mut seen, mut waits, mut shared) = (0, 0, false);
    let noise = |line: &&str| {
        let line = line.trim();
        line.is_empty() || line.starts_with("//") && !line.starts_with(LATER)
    };
    for line in code.lines().filter(|line| !noise(line)) {
        let instruction = line.trim();
        if let Some(later) = instruction.strip_prefix(LATER) {
            text.push_str(&format!("\t{LATER}{later}\n"));
            waits += u32::from(later == "griddepcontrol.wait;");
            continue;
        }
        let line = label(line);
        text.push_str(line.split_once("//").map_or(line.as_str(), |(code, _)| code).trim_end());
        text.push('\n');
        seen += u32::from(
            ["bar.sync", "bar.warp.sync", "barrier."].iter().any(|word| instruction.contains(word)),
        );
        shared |= instruction.contains("dyn_smem");
        // A product that is added without a rounding of its own, whether the compiler made one or ptxas may (it fuses what does not
        // say `.rn`), would give other bits than a host.
        let contracted = ["fma.", "mul.f", "add.f", "sub.f", ".ftz", ".approx"];
        for word in ["call", ".local", "trap;", "__assertfail"].into_iter().chain(contracted) {
            ensure!(!instruction.contains(word), "kernel {name} has `{word}`: {instruction}");
        }
    }
    ensure!(
        seen == barriers,
        "kernel {name} has {seen} barriers, expected {barriers}: see rust-lang issue 137086"
    );
    ensure!(waits == 1, "kernel {name} waits {waits} times for the launches before it, expected once");
    ensure!(shared == (shared_bytes > 0), "kernel {name}: contract and use of shared memory disagree");
    Ok(text)
}

/// A module as devices from sm_90 on compile it: kernels-gpu's `ptx::for_capability`.
pub(super) fn for_later(text: &str) -> String {
    text.replace(LATER, "").replace(".target sm_80", ".target sm_90")
}

/// `$L__BB12_3` to `$L_3`.
fn label(line: &str) -> String {
    const LABEL: &str = "$L__BB";
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once(LABEL) {
        out.push_str(before);
        out.push_str("$L");
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "//\n.version 8.0\n.target sm_80\n.address_size 64\n\n// abi_version 7\n\
                        .extern .shared .align 16 .b8 dyn_smem[];\n// contract add 256 4 0 0\n\
                        // contract ntt_rows_12 64 16 512 1\n";
    const ADD: &str = "\n\t// .globl\tadd\n\n.visible .entry add(\n\t.param .align 8 .b8 p[40]\n)\n{\n\t.reg .b32 \t%r<2>;\n\n\
                       \t// begin inline asm\n\t// sm_90: griddepcontrol.wait;\n\tmov.u32 %r1, 1;\n$L__BB3_2: // here\n\tret;\n\n}\n";

    fn rows(barriers: &str) -> String {
        format!(
            ".visible .entry ntt_rows_12(\n)\n{{\n\t// sm_90: griddepcontrol.wait;\n\tmov.u32 %r1, dyn_smem;\n{barriers}\tret;\n}}\n"
        )
    }

    #[test]
    fn modules_have_headers_bounds_and_no_noise() {
        let modules = split(&format!("{HEAD}{ADD}{}", rows("\tbar.sync 0;\n")), "rustc 9, LLVM 9").unwrap();
        assert_eq!(modules.keys().collect::<Vec<_>>(), ["ntt_u32", "pointwise_u32"]);
        let add = &modules["pointwise_u32"].text;
        assert_eq!(compiler(add), Some("rustc 9, LLVM 9"));
        let body = ".target sm_80\n.address_size 64\n\n.visible .entry add(\n\t.param .align 8 .b8 p[40]\n)\n\
                    .maxntid 256, 1, 1\n.minnctapersm 4\n{\n\t.reg .b32 \t%r<2>;\n\t// sm_90: griddepcontrol.wait;\n\tmov.u32 %r1, 1;\n$L_2:\n\tret;\n}\n";
        assert!(add.contains("// abi_version: 7\n") && add.ends_with(body), "{add}");
        assert!(modules["ntt_u32"].text.contains(".extern .shared"));
        let later = for_later(add);
        assert!(later.contains(".target sm_90\n") && later.contains("\n\tgriddepcontrol.wait;\n"), "{later}");
    }

    #[test]
    fn what_is_forbidden_is_found() {
        let fails = |text: &str, why: &str| {
            let error = split(text, "v").map(|_| ()).unwrap_err();
            assert!(format!("{error:#}").contains(why), "{error:#}");
        };
        let good = rows("\tbar.sync 0;\n");
        fails(
            &format!("{HEAD}{ADD}{}", rows("\tbar.sync 0;\n\tbar.sync 0;\n")),
            "has 2 barriers, expected 1",
        );
        fails(&format!("{HEAD}{ADD}{}", rows("")), "has 0 barriers, expected 1");
        let wait = "\t// sm_90: griddepcontrol.wait;\n";
        fails(&format!("{HEAD}{}{good}", ADD.replace(wait, "")), "waits 0 times");
        fails(&format!("{HEAD}{}{good}", ADD.replace(wait, &wait.repeat(2))), "waits 2 times");
        fails(&format!("{HEAD}{ADD}"), "is not in the assembly");
        fails(&format!("{HEAD}{}{good}", ADD.replace("mov.u32 %r1, 1", "call.uni x")), "has `call`");
        fails(&format!("{HEAD}{}{good}", ADD.replace("%r1, 1", "%r1, dyn_smem")), "disagree");
        for (instruction, why) in [("fma.rn.f64 %fd1", "`fma.`"), ("add.f64 %fd1", "`add.f`")] {
            fails(&format!("{HEAD}{}{good}", ADD.replace("mov.u32 %r1, 1", instruction)), why);
        }
        fails(
            &format!("{HEAD}{ADD}{good}.visible .entry other(\n)\n{{\n\tret;\n}}\n"),
            "announces no contract",
        );
        fails(&format!("{HEAD}.func f()\n{ADD}{good}"), "no kernel");
        fails(&format!("{HEAD}.global .align 4 .u32 x;\n{ADD}{good}"), "a static");
    }
}

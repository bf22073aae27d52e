//! The launch contracts: complete, consistent, and within what every GPU from sm_80 on has.

use kernels_gpu::abi::launch::{
    GPU_MAX_LOG_N, GPU_MIN_LOG_N, LaunchContract, contract, convert_shared_bytes, n_entries,
};
use kernels_gpu::abi::{ABI_VERSION, KernelId};
use kernels_gpu::ptx;
use std::collections::BTreeMap;

/// (kernel, entry_idx, log N, contract) of all that there are.
fn contracts() -> Vec<(KernelId, u32, u32, LaunchContract)> {
    let mut all = vec![];
    for kernel in KernelId::ALL {
        for log_n in GPU_MIN_LOG_N..=GPU_MAX_LOG_N {
            for entry_idx in 0..n_entries(kernel) {
                all.extend(contract(kernel, entry_idx, log_n, 4).map(|c| (kernel, entry_idx, log_n, c)));
            }
        }
    }
    all
}

#[test]
fn grids_are_whole_and_fit_a_multiprocessor() {
    for (kernel, entry_idx, log_n, c) in contracts() {
        let who = format!("{} entry {entry_idx} log N {log_n}", kernel.name());
        assert_eq!((1 << log_n) % c.words_per_block, 0, "{who}");
        assert!(c.threads.is_multiple_of(32) && c.threads <= 1024, "{who}: {} threads", c.threads);
        // 99 KiB is what the smallest of them (sm_86, sm_89) give a block; above 48 the driver asks for it.
        assert!(c.shared_bytes <= 96 << 10, "{who}: {} bytes of shared memory", c.shared_bytes);
        assert!(c.threads * c.min_blocks <= 2048 && c.min_blocks >= 1, "{who}");
    }
}

/// A function has one contract, whatever the ring; its kernel can be read off its name.
#[test]
fn an_entry_has_one_contract() {
    let mut by_entry = BTreeMap::new();
    for (kernel, _, _, c) in contracts() {
        assert!(c.entry.starts_with(kernel.name()), "{} of {}", c.entry, kernel.name());
        assert_eq!(*by_entry.entry(c.entry).or_insert(c), c);
    }
    // 12 kernels of one function, 4 functions of the inverse special FFT, 4 of transforms' rows, and 2 of their columns and one of a
    // conversion with columns for each of 6 sizes.
    assert_eq!(by_entry.len(), 38);
}

/// Every function is in the committed PTX of its module, with the launch bounds of its contract, and nothing else is.
#[test]
fn the_ptx_has_what_the_contracts_name() {
    let mut n_entries = 0;
    for module in ptx::MODULES {
        assert_eq!(module.abi_version(), Some(ABI_VERSION), "{}", module.name);
        n_entries += module.text.matches(".visible .entry ").count();
    }
    let mut seen = BTreeMap::new();
    for (_, _, _, c) in contracts() {
        let text = ptx::module(c.module).map_or("", |module| module.text);
        let head = text.split_once(&format!(".visible .entry {}(", c.entry)).map(|(_, rest)| rest);
        let head = head.and_then(|rest| rest.split('{').next()).unwrap_or_default();
        let bounds = format!(".maxntid {}, 1, 1\n.minnctapersm {}\n", c.threads, c.min_blocks);
        assert!(head.ends_with(&bounds), "{} in {}: {head}", c.entry, c.module);
        assert!(head.contains(".b8 ") && head.contains("_param_0[40]"), "{}: {head}", c.entry);
        seen.insert(c.entry, ());
    }
    assert_eq!(seen.len(), n_entries);
}

/// Doubles are computed in the encoder's module only, every operation rounded by itself: ptxas fuses a product and a sum that do not say
/// `.rn`, and the bits would be others than the host's.
#[test]
fn doubles_are_rounded_one_by_one() {
    for module in ptx::MODULES {
        let arithmetic: Vec<&str> = module
            .text
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter(|op| [".f64", ".f32", ".f16"].iter().any(|kind| op.contains(kind)))
            .filter(|op| {
                !["abs.", "neg.", "selp.", "setp.", "mov.", "cvt."].iter().any(|bits| op.starts_with(bits))
            })
            .collect();
        assert_eq!(!arithmetic.is_empty(), module.name == "encode_u32", "{}", module.name);
        for op in arithmetic {
            assert!(["add.rn.f64", "sub.rn.f64", "mul.rn.f64"].contains(&op), "{}: {op}", module.name);
        }
    }
}

/// A new device gets the instructions that old ones have as comments, and its target; each function waits once.
#[test]
fn later_devices_get_later_instructions() {
    for module in ptx::MODULES {
        let text = |major| ptx::for_capability(module.text, major).collect::<Vec<_>>();
        assert_eq!(text(8), module.text.lines().collect::<Vec<_>>());
        let later = text(9);
        assert!(later.contains(&".target sm_90") && !later.iter().any(|line| line.contains("// sm_90")));
        let waits = later.iter().filter(|line| line.trim() == "griddepcontrol.wait;").count();
        assert_eq!(waits, module.text.matches(".visible .entry ").count(), "{}", module.name);
    }
}

#[test]
fn outside_the_sizes_there_is_none() {
    for kernel in KernelId::ALL {
        assert_eq!(contract(kernel, 0, GPU_MIN_LOG_N - 1, 4), None);
        assert_eq!(contract(kernel, 0, GPU_MAX_LOG_N + 1, 4), None);
        assert_eq!(contract(kernel, n_entries(kernel), 13, 4), None);
    }
}

#[test]
fn a_conversion_of_few_sources_needs_less() {
    let c = contract(KernelId::ConvertBasis, 0, 16, 4).unwrap();
    assert_eq!(convert_shared_bytes(64, 256, 4), c.shared_bytes);
    assert_eq!(convert_shared_bytes(8, 20, 4), 27360);
}

//! The launch contracts: complete, consistent, and within what every GPU from sm_80 on has.

use kernels_gpu::abi::KernelId;
use kernels_gpu::abi::launch::{
    GPU_MAX_LOG_N, GPU_MIN_LOG_N, LaunchContract, contract, convert_shared_bytes, n_passes,
};
use std::collections::BTreeMap;

/// (kernel, pass, log N, contract) of all that there are.
fn contracts() -> Vec<(KernelId, u32, u32, LaunchContract)> {
    let mut all = vec![];
    for kernel in KernelId::ALL {
        for log_n in GPU_MIN_LOG_N..=GPU_MAX_LOG_N {
            for pass in 0..n_passes(kernel) {
                all.push((kernel, pass, log_n, contract(kernel, pass, log_n, 4).unwrap()));
            }
        }
    }
    all
}

#[test]
fn grids_are_whole_and_fit_a_multiprocessor() {
    for (kernel, pass, log_n, c) in contracts() {
        let who = format!("{} pass {pass} log N {log_n}", kernel.name());
        assert_eq!((1 << log_n) % c.words_per_block, 0, "{who}");
        assert!(c.threads.is_multiple_of(32) && c.threads <= 1024, "{who}: {} threads", c.threads);
        assert!(c.shared_bytes <= 48 << 10, "{who}: {} bytes need a function attribute", c.shared_bytes);
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
    // 11 kernels of one function for all sizes, 4 functions for each of 5 sizes.
    assert_eq!(by_entry.len(), 31);
}

#[test]
fn outside_the_sizes_there_is_none() {
    for kernel in KernelId::ALL {
        assert_eq!(contract(kernel, 0, GPU_MIN_LOG_N - 1, 4), None);
        assert_eq!(contract(kernel, 0, GPU_MAX_LOG_N + 1, 4), None);
        assert_eq!(contract(kernel, n_passes(kernel), 13, 4), None);
    }
}

#[test]
fn a_conversion_of_few_sources_needs_less() {
    let c = contract(KernelId::ConvertBasis, 0, 16, 4).unwrap();
    assert_eq!(convert_shared_bytes(64, 4), c.shared_bytes);
    assert_eq!(convert_shared_bytes(8, 4), 4096);
}

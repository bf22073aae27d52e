//! Kernel bodies written once in generic Rust, and the ABI between plans and kernels.

//! Encrypted networks: packing, layers, loaders and workloads.

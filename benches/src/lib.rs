//! Microbenchmarks with operations, bytes and roofs.

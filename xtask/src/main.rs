//! Developer commands: ci, tidy, bundle.
fn main() {}

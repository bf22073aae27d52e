//! The compiled kernels: PTX modules, made by `cargo xtask build-ptx` and committed.
//!
//! A driver compiles a module when it is loaded (0.2 to 0.3 s each without its cache, by ptxas on a host), so a host loads what a
//! plan names and no more. [`crate::abi::launch::contract`] says which module a kernel is in.

/// A PTX module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module {
    /// The name in contracts.
    pub name: &'static str,
    /// The PTX.
    pub text: &'static str,
}

impl Module {
    /// The ABI version that the header names; a host refuses any but [`crate::abi::ABI_VERSION`].
    pub fn abi_version(&self) -> Option<u32> {
        self.text.lines().find_map(|line| line.strip_prefix("// abi_version: "))?.parse().ok()
    }
}

macro_rules! modules {
    ($($name:literal)*) => {
        /// Every module.
        pub const MODULES: &[Module] = &[
            $(Module { name: $name, text: include_str!(concat!("../ptx/", $name, ".ptx")) },)*
        ];
    };
}

modules! { "encode_u32" "ntt_12_u32" "ntt_13_u32" "ntt_14_u32" "ntt_15_u32" "ntt_16_u32" "pointwise_u32" }

/// The module of that name.
pub fn module(name: &str) -> Option<&'static Module> {
    MODULES.iter().find(|module| module.name == name)
}

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

/// The first capability (major version) on which a launch may start before the one before it has ended.
pub const OVERLAP_FROM: i32 = 9;

/// The lines of a module as a device of that capability (major version) is to compile them: from [`OVERLAP_FROM`] on also
/// those instructions that older ones do not have, which the text has as comments `// sm_90: ...`. One text serves all, and
/// what runs on a new device is what was checked on an old one.
pub fn for_capability(text: &str, major: i32) -> impl Iterator<Item = &str> {
    text.lines().map(move |line| match line.trim_start().strip_prefix("// sm_90: ") {
        Some(later) if major >= OVERLAP_FROM => later,
        None if major >= OVERLAP_FROM && line == ".target sm_80" => ".target sm_90",
        _ => line,
    })
}

macro_rules! modules {
    ($($name:literal)*) => {
        /// Every module.
        pub const MODULES: &[Module] = &[
            $(Module { name: $name, text: include_str!(concat!("../ptx/", $name, ".ptx")) },)*
        ];
    };
}

modules! {
    "convert_12_u32" "convert_13_u32" "convert_14_u32" "convert_15_u32" "convert_16_u32" "convert_17_u32" "encode_u32" "ntt_u32"
    "pointwise_u32"
}

/// The module of that name.
pub fn module(name: &str) -> Option<&'static Module> {
    MODULES.iter().find(|module| module.name == name)
}

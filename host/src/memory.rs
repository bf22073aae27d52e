//! Limits, aligned allocations that may fail, and the memory report.
//!
//! Running out of memory is three things: more than the machine has ([`Error::TooBig`]), more than the session may
//! take ([`Error::OverBudget`]), and a refusal of the system that may pass ([`Error::NotNow`]). Each tier has limits of its
//! own: [`crate::tiers`].

use crate::error::{Error, Result};
use scheduler::plan::{BufferKind, DeviceIdx, Tier};
use serde::Serialize;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Buffers start at multiples of this: a cache line, and the widest vector.
pub const ALIGNMENT: usize = 64;

/// How much memory there is. `None` is unknown, and checked by the system alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the device.
    pub machine: Option<u64>,
    /// Bytes that all programs of a session may take together.
    pub budget: Option<u64>,
}

impl Limits {
    /// The machine's memory, and for a budget what of it is available now, where the system tells.
    pub fn of_machine() -> Self {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self { machine: meminfo_bytes(&text, "MemTotal:"), budget: meminfo_bytes(&text, "MemAvailable:") }
    }

    /// For pinned memory, which nothing else can use while it is held: half of what is available.
    pub fn of_pinned() -> Self {
        let Self { machine, budget } = Self::of_machine();
        Self { machine, budget: budget.map(|bytes| bytes / 2) }
    }
}

/// An entry of Linux' table, which is in KiB.
fn meminfo_bytes(text: &str, entry: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(entry))?;
    rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Counts what is reserved of the limits.
#[derive(Debug)]
pub struct Ledger {
    limits: Limits,
    in_use: AtomicU64,
}

impl Ledger {
    /// A ledger with nothing reserved.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, in_use: AtomicU64::new(0) })
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Bytes that are reserved.
    pub fn in_use(&self) -> u64 {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Bytes that can be reserved at present; `None` is unknown.
    pub fn left(&self) -> Option<u64> {
        let budget = self.limits.budget.map(|b| b.saturating_sub(self.in_use()));
        budget.into_iter().chain(self.limits.machine).min()
    }

    /// Reserves bytes until the result is dropped.
    ///
    /// # Errors
    /// [`Error::TooBig`], [`Error::OverBudget`].
    pub fn reserve(self: &Arc<Self>, what: &str, bytes: u64) -> Result<Reservation> {
        let what = || what.to_owned();
        if let Some(expected) = self.limits.machine.filter(|&m| bytes > m) {
            return Err(Error::TooBig { what: what(), found: bytes, expected });
        }
        let budget = self.limits.budget.unwrap_or(u64::MAX);
        let add = |in_use: u64| in_use.checked_add(bytes).filter(|&sum| sum <= budget);
        match self.in_use.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => Ok(Reservation { ledger: Arc::clone(self), bytes }),
            Err(in_use) => {
                let expected = budget.saturating_sub(in_use);
                Err(Error::OverBudget { what: what(), found: bytes, expected, budget })
            }
        }
    }
}

/// Bytes taken from a [`Ledger`]; dropping it gives them back.
#[derive(Debug)]
pub struct Reservation {
    ledger: Arc<Ledger>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.ledger.in_use.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Zeroed bytes at a multiple of [`ALIGNMENT`], reached by address: kernels write them from several threads.
#[derive(Debug)]
pub(crate) struct AlignedBytes {
    start: NonNull<u8>,
    layout: Layout,
    /// Bytes that were asked for: none are a word of the allocator's all the same.
    len: usize,
}

// SAFETY: it owns its memory alone; whoever writes through the address answers for races.
unsafe impl Send for AlignedBytes {}
// SAFETY: as above.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    /// Allocates; `None` when the system refuses.
    pub(crate) fn zeroed(len: usize) -> Option<Self> {
        let layout = Layout::from_size_align(len.max(ALIGNMENT), ALIGNMENT).ok()?;
        // SAFETY: the size of the layout is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { start, layout, len })
    }

    /// The address of the first byte.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: allocated and initialised by `zeroed`; writers through `start` hold `&mut` to the owner.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The bytes, to write.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        // SAFETY: allocated by `zeroed` with this layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// What memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryClass {
    /// Values between kernels, and those that calls pass.
    Arena,
    /// Inputs of a run.
    Inputs,
    /// Outputs of a run.
    Outputs,
    /// Evaluation keys.
    Keys,
    /// Encoded constants.
    Constants,
    /// Values between kernels for which the arena has no room.
    Spill,
    /// Twiddles, shared by the programs of one ring.
    Tables,
    /// Pinned memory through which host and device exchange what lies elsewhere.
    Staging,
}

impl MemoryClass {
    /// Every class, in the order of reports.
    pub const ALL: [Self; 8] = [
        Self::Arena,
        Self::Inputs,
        Self::Outputs,
        Self::Keys,
        Self::Constants,
        Self::Spill,
        Self::Tables,
        Self::Staging,
    ];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arena => "arena",
            Self::Inputs => "inputs",
            Self::Outputs => "outputs",
            Self::Keys => "keys",
            Self::Constants => "constants",
            Self::Spill => "spill",
            Self::Tables => "tables",
            Self::Staging => "staging",
        }
    }

    /// The class of a buffer.
    pub const fn of(kind: BufferKind) -> Self {
        match kind {
            BufferKind::Arena | BufferKind::Passed => Self::Arena,
            BufferKind::Input(_) => Self::Inputs,
            BufferKind::Output(_) => Self::Outputs,
            BufferKind::Key(_) => Self::Keys,
            BufferKind::Constant(_) | BufferKind::Slots(_) | BufferKind::Factors => Self::Constants,
            BufferKind::Spill => Self::Spill,
        }
    }
}

/// Memory of one class in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryUse {
    /// The device.
    pub device: u32,
    /// The tier's name.
    pub tier: &'static str,
    /// What for.
    pub class: MemoryClass,
    /// Bytes that the plan says.
    pub planned: u64,
    /// Bytes that are allocated.
    pub actual: u64,
}

/// All memory of a loaded program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryReport {
    /// By device, tier and class.
    pub uses: Vec<MemoryUse>,
}

impl MemoryReport {
    /// Adds bytes to an entry, which is made if it is not there.
    pub(crate) fn add(
        &mut self,
        device: DeviceIdx,
        tier: Tier,
        class: MemoryClass,
        planned: u64,
        actual: u64,
    ) {
        let (device, tier) = (device.0, tier.name());
        let same = |u: &&mut MemoryUse| (u.device, u.tier, u.class) == (device, tier, class);
        if let Some(entry) = self.uses.iter_mut().find(same) {
            entry.planned += planned;
            entry.actual += actual;
            return;
        }
        self.uses.push(MemoryUse { device, tier, class, planned, actual });
        self.uses.sort_by_key(|u| (u.device, u.tier, u.class));
    }

    /// Planned bytes of a class, over all devices and tiers.
    pub fn planned(&self, class: MemoryClass) -> u64 {
        self.uses.iter().filter(|u| u.class == class).map(|u| u.planned).sum()
    }

    /// Planned and allocated bytes of a tier, without tables and staging, which no plan knows.
    pub fn of_tier(&self, tier: Tier) -> (u64, u64) {
        let beside = |class| matches!(class, MemoryClass::Tables | MemoryClass::Staging);
        let uses = self.uses.iter().filter(|u| u.tier == tier.name() && !beside(u.class));
        uses.fold((0, 0), |(planned, actual), u| (planned + u.planned, actual + u.actual))
    }

    /// Allocated bytes of a tier, all classes.
    pub fn actual_in(&self, tier: Tier) -> u64 {
        self.uses.iter().filter(|u| u.tier == tier.name()).map(|u| u.actual).sum()
    }

    /// Planned bytes in all.
    pub fn total_planned(&self) -> u64 {
        self.uses.iter().map(|u| u.planned).sum()
    }

    /// Allocated bytes in all.
    pub fn total_actual(&self) -> u64 {
        self.uses.iter().map(|u| u.actual).sum()
    }
}

impl fmt::Display for MemoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / (1u64 << 20) as f64;
        writeln!(
            f,
            "{:>6} {:8} {:10} {:>14} {:>14}",
            "device", "tier", "class", "planned MiB", "actual MiB"
        )?;
        for u in &self.uses {
            let (planned, actual) = (mib(u.planned), mib(u.actual));
            writeln!(f, "{:>6} {:8} {:10} {planned:>14.3} {actual:>14.3}", u.device, u.tier, u.class.name())?;
        }
        let (planned, actual) = (mib(self.total_planned()), mib(self.total_actual()));
        write!(f, "{:>6} {:8} {:10} {planned:>14.3} {actual:>14.3}", "total", "", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_in_kib() {
        let text = "MemTotal:       24576000 kB\nMemFree: 5 kB\nMemAvailable:    1 kB\n";
        assert_eq!(meminfo_bytes(text, "MemTotal:"), Some(24_576_000 << 10));
        assert_eq!(meminfo_bytes(text, "MemAvailable:"), Some(1024));
        assert_eq!(meminfo_bytes(text, "SwapTotal:"), None);
        assert_eq!(meminfo_bytes("MemTotal: many kB", "MemTotal:"), None);
    }

    #[test]
    fn a_reservation_is_given_back_when_dropped() {
        let ledger = Ledger::new(Limits { machine: Some(1000), budget: Some(100) });
        let first = ledger.reserve("a", 60).unwrap();
        let refused = Error::OverBudget { what: "b".into(), found: 41, expected: 40, budget: 100 };
        assert_eq!(ledger.reserve("b", 41).err(), Some(refused));
        let too_big = Error::TooBig { what: "c".into(), found: 1001, expected: 1000 };
        assert_eq!(ledger.reserve("c", 1001).err(), Some(too_big));
        drop(first);
        assert_eq!(ledger.in_use(), 0);
        assert!(ledger.reserve("b", 100).is_ok());
    }

    #[test]
    fn allocations_are_aligned_zeroed_and_may_fail() {
        let mut bytes = AlignedBytes::zeroed(1000).unwrap();
        assert_eq!(bytes.start().as_ptr() as usize % ALIGNMENT, 0);
        assert!(bytes.bytes().iter().all(|&b| b == 0));
        bytes.bytes_mut()[999] = 7;
        assert_eq!(bytes.bytes()[999], 7);
        assert!(AlignedBytes::zeroed(isize::MAX as usize).is_none());
    }
}

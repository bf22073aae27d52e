//! The memory of devices and what lies below it: a ledger for each device and each tier below, and where the file tier may be.

mod file;

pub(crate) use file::SpillFile;

use crate::check::CheckedPlan;
use crate::error::{Error, Result};
use crate::memory::{Ledger, Limits, Reservation};
use scheduler::plan::{DeviceIdx, MAX_DEVICES, Tier};
use std::path::PathBuf;
use std::sync::Arc;

/// Limits of the tiers below the device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LowerTiers {
    /// Of host memory.
    pub host: Limits,
    /// Of files.
    pub file: Limits,
    /// Where files are made; they have no name there and end with their program. Without it no plan may use
    /// the file tier.
    pub directory: Option<PathBuf>,
}

/// The ledgers of a backend.
#[derive(Debug)]
pub(crate) struct Tiers {
    /// By device.
    devices: Vec<Arc<Ledger>>,
    pub(crate) host: Arc<Ledger>,
    pub(crate) file: Arc<Ledger>,
    directory: Option<PathBuf>,
}

/// What a loaded plan holds of each tier.
#[derive(Debug)]
pub(crate) struct Reservations {
    _held: Vec<Reservation>,
}

impl Tiers {
    /// Limits of each device alone.
    pub(crate) fn new(device: Limits) -> Self {
        let lower = LowerTiers::default();
        let (host, file) = (Ledger::new(lower.host), Ledger::new(lower.file));
        let devices = (0..MAX_DEVICES).map(|_| Ledger::new(device)).collect();
        Self { devices, host, file, directory: None }
    }

    /// With other limits below the device.
    pub(crate) fn with_lower(self, lower: LowerTiers) -> Self {
        let (host, file) = (Ledger::new(lower.host), Ledger::new(lower.file));
        Self { devices: self.devices, host, file, directory: lower.directory }
    }

    /// The ledger of a device that a checked plan may name.
    pub(crate) fn device(&self, device: DeviceIdx) -> &Arc<Ledger> {
        &self.devices[device.0 as usize % self.devices.len()]
    }

    /// Bytes that can be reserved of each of some devices, where `beside` more are needed on the first; `None` is unknown.
    pub(crate) fn left(&self, n_devices: u32, beside: u64) -> Option<u64> {
        let left = |device: u32| {
            let left = self.device(DeviceIdx(device)).left()?;
            Some(if device == 0 { left.saturating_sub(beside) } else { left })
        };
        (0..n_devices.max(1)).filter_map(left).min()
    }

    /// Bytes that are reserved.
    pub(crate) fn in_use(&self) -> u64 {
        self.devices.iter().chain([&self.host, &self.file]).map(|ledger| ledger.in_use()).sum()
    }

    /// Reserves what a plan says, and some memory of the first device beside it.
    ///
    /// # Errors
    /// [`Error::TooBig`], [`Error::OverBudget`].
    pub(crate) fn reserve(&self, plan: &CheckedPlan, beside: u64) -> Result<Reservations> {
        let mut held = Vec::new();
        let mut reserve = |ledger: &Arc<Ledger>, what: String, bytes: u64| -> Result<()> {
            if bytes > 0 {
                held.push(ledger.reserve(&what, bytes)?);
            }
            Ok(())
        };
        let n_devices = plan.plan().n_devices();
        for device in (0..n_devices).map(DeviceIdx) {
            let beside = if device.0 == 0 { beside } else { 0 };
            let mut what = what(plan, Tier::Device);
            if n_devices > 1 {
                what.push_str(&format!(", device {}", device.0));
            }
            reserve(self.device(device), what, plan.device_bytes(device) + beside)?;
        }
        reserve(&self.host, what(plan, Tier::Host), plan.tier_bytes(Tier::Host))?;
        reserve(&self.file, what(plan, Tier::File), plan.tier_bytes(Tier::File))?;
        Ok(Reservations { _held: held })
    }

    /// The file of a plan, if it needs one.
    ///
    /// # Errors
    /// [`Error::NoSpillDirectory`], [`Error::SpillFile`], [`Error::NotNow`].
    pub(crate) fn open_file(&self, plan: &CheckedPlan) -> Result<Option<SpillFile>> {
        let bytes = plan.tier_bytes(Tier::File);
        if bytes == 0 {
            return Ok(None);
        }
        let what = what(plan, Tier::File);
        match &self.directory {
            Some(directory) => SpillFile::create(directory, what, bytes, plan.plan().row_bytes()).map(Some),
            None => Err(Error::NoSpillDirectory { what, found: bytes }),
        }
    }
}

/// A plan's memory of a tier, in messages.
pub(crate) fn what(plan: &CheckedPlan, tier: Tier) -> String {
    let name = &plan.plan().name;
    match tier {
        Tier::Device => format!("program `{name}`"),
        Tier::Host | Tier::File => format!("program `{name}`, {} tier", tier.name()),
    }
}

/// First row of each buffer of the file tier in its file; 0 for others.
pub(crate) fn rows_in_file(plan: &CheckedPlan) -> Vec<u64> {
    let mut end = 0;
    let first = |buffer: &scheduler::plan::Buffer| {
        if buffer.tier != Tier::File {
            return 0;
        }
        end += u64::from(buffer.rows);
        end - u64::from(buffer.rows)
    };
    plan.plan().buffers.iter().map(first).collect()
}

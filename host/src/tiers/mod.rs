//! The memory of one device and what lies below it: a ledger for each tier, and where the file tier may be.

mod file;

pub(crate) use file::SpillFile;

use crate::check::CheckedPlan;
use crate::error::{Error, Result};
use crate::memory::{Ledger, Limits, Reservation};
use scheduler::plan::Tier;
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
    pub(crate) device: Arc<Ledger>,
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
    /// Limits of the device alone.
    pub(crate) fn new(device: Limits) -> Self {
        let lower = LowerTiers::default();
        let (host, file) = (Ledger::new(lower.host), Ledger::new(lower.file));
        Self { device: Ledger::new(device), host, file, directory: None }
    }

    /// With other limits below the device.
    pub(crate) fn with_lower(self, lower: LowerTiers) -> Self {
        let (host, file) = (Ledger::new(lower.host), Ledger::new(lower.file));
        Self { device: self.device, host, file, directory: lower.directory }
    }

    fn ledger(&self, tier: Tier) -> &Arc<Ledger> {
        match tier {
            Tier::Device => &self.device,
            Tier::Host => &self.host,
            Tier::File => &self.file,
        }
    }

    /// Reserves what a plan says, and some memory of the device beside it.
    ///
    /// # Errors
    /// [`Error::TooBig`], [`Error::OverBudget`].
    pub(crate) fn reserve(&self, plan: &CheckedPlan, beside: u64) -> Result<Reservations> {
        let mut held = Vec::new();
        for tier in Tier::ALL {
            let bytes = plan.tier_bytes(tier) + if tier == Tier::Device { beside } else { 0 };
            if bytes > 0 {
                held.push(self.ledger(tier).reserve(&what(plan, tier), bytes)?);
            }
        }
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

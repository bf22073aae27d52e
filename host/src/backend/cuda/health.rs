//! Whether a device still answers, known to all programs on it.
//!
//! An error of the driver is one call's, or the device's: after a kernel that failed the driver repeats the error whatever
//! is asked of it. A second wait tells which; afterwards nothing is asked of a device that is lost.

use crate::driver::{Driver, DriverError};
use crate::error::{Error, Result};
use std::sync::OnceLock;

/// The first sign that the device was lost.
#[derive(Debug, Default)]
pub(super) struct Health(OnceLock<String>);

impl Health {
    /// Refuses to go on with a device that is lost.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub(super) fn check(&self, during: impl FnOnce() -> String) -> Result<()> {
        match self.0.get() {
            Some(first) => Err(Error::DeviceLost { during: during(), words: first.clone() }),
            None => Ok(()),
        }
    }

    /// The error for the driver's, of a call that is over. Waits for what was submitted.
    pub(super) fn error(&self, driver: &dyn Driver, error: &DriverError, during: String) -> Error {
        let words = error.to_string();
        if driver.synchronize().is_ok() {
            return Error::Driver { during, words };
        }
        let first = self.0.get_or_init(|| format!("{words} (first during {during})"));
        tracing::error!(%during, %first, "device lost");
        Error::DeviceLost { during, words }
    }
}

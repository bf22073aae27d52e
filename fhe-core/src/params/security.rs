//! The security table: how large log2(QP) may be at 128 bits (classical), uniform ternary secrets,
//! error of standard deviation 3.2. Source: "Security Guidelines for Implementing Homomorphic Encryption",
//! ePrint 2024/463.

use crate::error::{Error, Result};

/// `(log2 N, largest log2 QP)`.
const MAX_LOG_QP: [(u32, u32); 8] =
    [(10, 26), (11, 53), (12, 106), (13, 214), (14, 430), (15, 868), (16, 1747), (17, 3523)];

/// What the parameters promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Security {
    /// At least 128 bits by the table; checked.
    Bits128,
    /// None. For tests: smaller than anything secure, and every display of the parameters says so.
    Insecure,
}

impl Security {
    /// 128, or 0 for insecure parameters.
    pub fn bits(self) -> u32 {
        match self {
            Self::Bits128 => 128,
            Self::Insecure => 0,
        }
    }
}

/// The largest log2(QP) at 128 bits, if the table has the degree.
pub fn max_log_qp(log_n: u32) -> Option<u32> {
    MAX_LOG_QP.iter().find(|(n, _)| *n == log_n).map(|&(_, bits)| bits)
}

/// Refuses a modulus beyond the table.
///
/// # Errors
/// [`Error::BeyondSecurityTable`].
pub fn check(log_n: u32, log_qp: f64) -> Result<()> {
    let limit = max_log_qp(log_n).unwrap_or(0);
    if log_qp > f64::from(limit) {
        return Err(Error::BeyondSecurityTable { log_n, log_qp, limit });
    }
    Ok(())
}

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

/// Weight of sparse secrets, and the largest log2 of the modulus at log N 16, at 128 bits, of ePrint 2022/024.
const SPARSE: (usize, f64) = (32, 121.0);

/// Refuses a modulus that is too large for a secret of `weight` non-zero coefficients.
///
/// The bound is known for one weight and one degree. At a smaller degree it shrinks in proportion to N (the secret is relatively
/// denser there, so this is on the safe side); at a larger degree it stays, and for a smaller weight there is none.
///
/// # Errors
/// [`Error::BeyondSparseSecurity`].
pub fn check_sparse(log_n: u32, weight: usize, log_qp: f64) -> Result<()> {
    let (least, at_16) = SPARSE;
    let limit = if weight < least { 0.0 } else { at_16 * f64::from(log_n.min(16)).exp2() / 65536.0 };
    if log_qp > limit {
        return Err(Error::BeyondSparseSecurity { log_n, weight, log_qp, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_secrets_have_a_bound_of_their_own() {
        assert_eq!(check_sparse(16, 32, 121.0), Ok(()));
        assert_eq!(check_sparse(15, 32, 60.5), Ok(()));
        assert_eq!(check_sparse(17, 64, 121.0), Ok(()));
        for (log_n, weight, log_qp) in [(16, 32, 121.1), (15, 32, 61.0), (16, 31, 20.0), (17, 32, 122.0)] {
            let refused = check_sparse(log_n, weight, log_qp);
            assert!(matches!(refused, Err(Error::BeyondSparseSecurity { .. })), "{log_n} {weight} {log_qp}");
        }
    }
}

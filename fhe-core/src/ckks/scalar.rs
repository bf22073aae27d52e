//! Constants as integers: what multiplies or is added when an operand is one number. Shared by the
//! reference evaluator and the compiler, so that both use the same integers.

use crate::error::{Error, Result};
use crate::math::double::Double;
use crate::params::{Level, LimbIdx, Params};

/// Largest log2 of a scaled constant.
const MAX_LOG: f64 = 120.0;

/// `round(value * 2^log_scale)`, ties to even.
///
/// # Errors
/// [`Error::NotFinite`]; [`Error::Overflow`] from 2^120 on.
pub fn integer(value: f64, log_scale: Double) -> Result<i128> {
    if !value.is_finite() {
        return Err(Error::NotFinite { slot: 0, value: value.to_string() });
    }
    let scaled = value * log_scale.exp2();
    if scaled.abs().log2() >= MAX_LOG {
        return Err(Error::Overflow { found: scaled.abs().log2(), expected: MAX_LOG, level: Level(0) });
    }
    Ok(scaled.round_ties_even() as i128)
}

/// `round(value * 2^log_scale)`: the integer that is added to a ciphertext of a level.
///
/// # Errors
/// [`Error::NotFinite`]; [`Error::Overflow`] from half the modulus of the level, or 2^120, on;
/// [`Error::NoSuchLevel`].
pub fn addend(params: &Params, level: Level, value: f64, log_scale: Double) -> Result<i128> {
    let x = integer(value, log_scale)?;
    let (found, expected) = ((x.unsigned_abs() as f64).log2(), params.level(level)?.log_q - 1.0);
    if found >= expected {
        return Err(Error::Overflow { found, expected, level });
    }
    Ok(x)
}

/// `x mod q`, in `[0, q)`.
pub fn residue(x: i128, q: u64) -> u64 {
    x.rem_euclid(i128::from(q)) as u64
}

/// The integer that [`super::Evaluator::level_drop`] multiplies by over [`Params::level_drop_basis`], beside the product of the added
/// primes A, before it divides by the removed ones R and is at the canonical scale of `to`: the integer nearest to
/// `2^(log S_to + log R - log A - log S_from)`, up to the rounding of `f64` (a relative 2^-50 or so, so beyond 2^50 it may be off by
/// a few). `None` when `from == to`. Computed once, by the reference or the compiler, with the same function.
///
/// # Errors
/// [`Error::LevelMismatch`] when `to` is above `from`; [`Error::NoSuchLevel`].
pub fn level_drop_factor(params: &Params, from: Level, to: Level) -> Result<Option<i128>> {
    let Some(kept) = params.level_drop_basis(from, to)? else { return Ok(None) };
    let (source, target) = (params.level(from)?, params.level(to)?);
    let step = log_step(params, &kept, &target.basis);
    integer(1.0, target.log_scale + step - source.log_scale).map(Some)
}

/// log2 of what a rescale from one basis to another divides by, on the whole: `prod(from \ to) / prod(to \ from)`.
pub(crate) fn log_step(params: &Params, from: &[LimbIdx], to: &[LimbIdx]) -> Double {
    let log2 = |a: &[LimbIdx], b: &[LimbIdx]| {
        let own = a.iter().filter(|limb| !b.contains(limb));
        own.fold(Double::default(), |sum, &limb| sum + Double::log2_of(params.prime(limb)))
    };
    log2(from, to) - log2(to, from)
}

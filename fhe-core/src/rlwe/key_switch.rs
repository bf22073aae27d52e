//! Hybrid key switching, step by step (ePrint 2019/688):
//!
//! ```text
//! decompose   d over B_l                 ->  one digit each: the limbs of B_l in digit j
//! mod_up      digit j                    ->  the same integer over B_l and the special primes
//! key_inner   mod_ups, key               ->  sum_j mod_up_j (b_j, a_j) over B_l and the special primes
//! mod_down    a pair over B_l and P      ->  round(. / P) over B_l
//! ```
//!
//! Where a rescale follows, [`multiply_by_p`] and [`mod_down_rescale`] take the place of `mod_down`: what the pair is added to
//! joins it before one division by P and the removed primes R (and, on a rational chain, times the added primes).
//!
//! ```text
//! multiply_by_p     d over B_l            ->  P d over B_l and the special primes, where it is 0
//! mod_down_rescale  x over B_l and P      ->  round(x A / (P R)) over B_{l-1}, A the product of the added primes
//! ```

use super::keys::EvaluationKey;
use crate::error::{Error, Result};
use crate::math::word::Word;
use crate::params::{Level, LimbIdx};
use crate::ring::{ConvertBasis, Eval, Ring, RnsPoly};

/// The digits of a polynomial over the basis of `level`: index of the digit and its limbs.
///
/// # Errors
/// [`Error::BasisMismatch`] when the polynomial is over another basis.
pub fn decompose<W: Word>(
    ring: &Ring<W>,
    d: &RnsPoly<W, Eval>,
    level: Level,
) -> Result<Vec<(usize, RnsPoly<W, Eval>)>> {
    let digits = ring.params().digits_at(level)?;
    digits.into_iter().map(|(j, limbs)| Ok((j, d.select("decompose", &limbs)?))).collect()
}

/// Extends a digit to the basis of `level` and the special primes. The limbs of the digit stay as they are,
/// the others are converted from it, centred.
///
/// # Errors
/// [`Error::NoSuchLevel`].
pub fn mod_up<W: Word>(ring: &Ring<W>, digit: &RnsPoly<W, Eval>, level: Level) -> Result<RnsPoly<W, Eval>> {
    let extended = ring.params().raised_basis(level)?;
    let rest: Vec<LimbIdx> = extended.iter().copied().filter(|l| !digit.basis().contains(l)).collect();
    let convert = ConvertBasis::new(ring, digit.basis(), &rest);
    let converted = ring.ntt(convert.apply(ring, &ring.intt(digit.clone()))?);
    digit.clone().concat(&converted).select("mod_up", &extended)
}

/// `sum_j mod_up_j * (b_j, a_j)`.
///
/// # Errors
/// [`Error::BasisMismatch`] when a digit is over a basis that the key has not; [`Error::WrongKey`] for a digit that
/// it has not; [`Error::ParamsMismatch`].
pub fn key_inner<W: Word>(
    ring: &Ring<W>,
    digits: &[(usize, RnsPoly<W, Eval>)],
    key: &EvaluationKey<W>,
) -> Result<[RnsPoly<W, Eval>; 2]> {
    ring.params().check_digest(key.params().digest())?;
    let basis = digits.first().map_or(&[][..], |(_, d)| d.basis());
    let mut sums = [RnsPoly::zero(basis, ring.n()), RnsPoly::zero(basis, ring.n())];
    for (j, digit) in digits {
        let Some(pair) = key.digits().get(*j) else {
            let n_digits = key.digits().len();
            return Err(Error::WrongKey {
                expected: format!("a key with digit {j}"),
                found: format!("one of {n_digits} digits"),
            });
        };
        for (sum, half) in sums.iter_mut().zip([&pair.b, &pair.a]) {
            sum.mul_add_assign(ring, digit, half)?;
        }
    }
    Ok(sums)
}

/// `round(x / P)`.
///
/// # Errors
/// [`Error::BasisMismatch`] when `x` lacks a special prime.
pub fn mod_down<W: Word>(ring: &Ring<W>, x: &RnsPoly<W, Eval>) -> Result<RnsPoly<W, Eval>> {
    ring.divide_round(x, &ring.params().special())
}

/// `P d` over the basis of `d` and the special primes: what `mod_down` brings back to `d`.
pub fn multiply_by_p<W: Word>(ring: &Ring<W>, d: &RnsPoly<W, Eval>) -> RnsPoly<W, Eval> {
    let special = ring.params().special();
    let mut product = d.clone();
    product.mul_scalar_assign(ring, |limb| ring.product_mod(&special, limb));
    product.concat(&RnsPoly::zero(&special, ring.n()))
}

/// `round(x prod(added) / (P prod(removed)))` over the basis of the level below: one rounding for `mod_down` and rescale.
///
/// # Errors
/// [`Error::LevelsExhausted`] at level 0; [`Error::BasisMismatch`] when `x` is not over the basis of `level` and the special
/// primes.
pub fn mod_down_rescale<W: Word>(
    ring: &Ring<W>,
    x: &RnsPoly<W, Eval>,
    level: Level,
) -> Result<RnsPoly<W, Eval>> {
    let params = ring.params();
    let Some(next) = level.0.checked_sub(1) else {
        return Err(Error::LevelsExhausted { operation: "rescale" });
    };
    let x = x.select("mod_down_rescale", &params.raised_basis(level)?)?;
    ring.rescale(&x, &params.level(Level(next))?.basis)
}

/// The steps before `mod_down`: a pair over the basis of `level` and the special primes.
///
/// # Errors
/// Those of the steps.
pub fn raise_and_multiply<W: Word>(
    ring: &Ring<W>,
    d: &RnsPoly<W, Eval>,
    level: Level,
    key: &EvaluationKey<W>,
) -> Result<[RnsPoly<W, Eval>; 2]> {
    let digits = decompose(ring, d, level)?
        .into_iter()
        .map(|(j, digit)| Ok((j, mod_up(ring, &digit, level)?)))
        .collect::<Result<Vec<_>>>()?;
    key_inner(ring, &digits, key)
}

/// All steps: `d` multiplies the key's `s_in`; the result is a pair under its `s_out`.
///
/// # Errors
/// Those of the steps.
pub fn key_switch<W: Word>(
    ring: &Ring<W>,
    d: &RnsPoly<W, Eval>,
    level: Level,
    key: &EvaluationKey<W>,
) -> Result<[RnsPoly<W, Eval>; 2]> {
    let [b, a] = raise_and_multiply(ring, d, level, key)?;
    Ok([mod_down(ring, &b)?, mod_down(ring, &a)?])
}

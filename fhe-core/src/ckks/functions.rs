//! Functions of every slot that are no single polynomial: compositions, and a polynomial with steps. What they are near, and how much, is
//! in [`crate::approximation`].

use super::ciphertext::Ciphertext;
use super::evaluator::Evaluator;
use crate::approximation::{Composite, Iteration, Target};
use crate::error::{Error, Result};
use crate::math::double::Double;
use crate::math::word::Word;
use crate::params::Level;
use crate::rlwe::RelinearizationKey;

impl<W: Word> Evaluator<W> {
    /// The composition of every slot, [`Composite::depth`] levels down, at the scale that is asked for; between the factors at canonical
    /// scales. Takes one level more where the first factor does: see [`Evaluator::evaluate_chebyshev`].
    ///
    /// # Errors
    /// Those of [`Evaluator::evaluate_chebyshev`].
    pub fn evaluate_composite(
        &self,
        a: &Ciphertext<W>,
        composite: &Composite,
        log_scale: Double,
        key: &RelinearizationKey<W>,
    ) -> Result<Ciphertext<W>> {
        let mut value = a.clone();
        let factors = composite.factors();
        for (i, factor) in factors.iter().enumerate() {
            let is_last = i + 1 == factors.len();
            let scale = |level| if is_last { Ok(log_scale) } else { self.canonical(level) };
            value = self.evaluate_series(&value, factor, scale, key)?;
        }
        Ok(value)
    }

    /// The steps of every slot, [`Iteration::depth`] levels down, at the canonical scale. Takes one level more where the first guess does:
    /// see [`Evaluator::evaluate_chebyshev`].
    ///
    /// # Errors
    /// [`Error::ScaleMismatch`] unless `a` has the canonical scale; those of [`Evaluator::evaluate_chebyshev`].
    pub fn evaluate_iteration(
        &self,
        a: &Ciphertext<W>,
        iteration: &Iteration,
        key: &RelinearizationKey<W>,
    ) -> Result<Ciphertext<W>> {
        let y = self.evaluate_series(a, iteration.guess(), |level| self.canonical(level), key)?;
        match iteration.target() {
            Target::Inverse => self.goldschmidt(a, y, iteration.steps(), key),
            Target::InverseSquareRoot => self.newton(a, y, iteration.steps(), key),
        }
    }

    /// `y <- y + y e`, `e <- e^2` from `e = 1 - x y`.
    fn goldschmidt(
        &self,
        x: &Ciphertext<W>,
        mut y: Ciphertext<W>,
        steps: u32,
        key: &RelinearizationKey<W>,
    ) -> Result<Ciphertext<W>> {
        let mut e: Option<Ciphertext<W>> = None;
        for _ in 0..steps {
            let now = match e {
                None => self.add_scalar(&self.neg(&self.product(x, &y, key)?)?, 1.0)?,
                Some(e) => self.product(&e, &e, key)?,
            };
            let more = self.product(&y, &now, key)?;
            y = self.add(&self.level_drop(&y, more.level())?, &more)?;
            e = Some(now);
        }
        Ok(y)
    }

    /// `y <- 3/2 y - (x/2 y) y^2`.
    fn newton(
        &self,
        x: &Ciphertext<W>,
        mut y: Ciphertext<W>,
        steps: u32,
        key: &RelinearizationKey<W>,
    ) -> Result<Ciphertext<W>> {
        if steps == 0 {
            return Ok(y);
        }
        let half = self.rescale(&self.mul_scalar(x, 0.5, x.log_scale())?)?;
        for _ in 0..steps {
            let (scaled, square) = (self.product(&half, &y, key)?, self.product(&y, &y, key)?);
            // Both terms have the scale of a product and are rescaled as one.
            let cube = self.mul(&scaled, &square)?;
            let y_below = self.level_drop(&y, scaled.level())?;
            let sum = self.sub(&self.mul_scalar(&y_below, 1.5, scaled.log_scale())?, &cube)?;
            y = self.mod_down_rescale(&self.relinearize_raised(&sum, key)?)?;
        }
        Ok(y)
    }

    /// The product of two ciphertexts of canonical scale, one level below the lower one.
    fn product(
        &self,
        a: &Ciphertext<W>,
        b: &Ciphertext<W>,
        key: &RelinearizationKey<W>,
    ) -> Result<Ciphertext<W>> {
        let level = a.level().min(b.level());
        if level == Level(0) {
            return Err(Error::LevelsExhausted { operation: "evaluate_iteration" });
        }
        let product = self.mul(&self.level_drop(a, level)?, &self.level_drop(b, level)?)?;
        self.mod_down_rescale(&self.relinearize_raised(&product, key)?)
    }

    fn canonical(&self, level: Level) -> Result<Double> {
        Ok(self.ring().params().level(level)?.log_scale)
    }
}

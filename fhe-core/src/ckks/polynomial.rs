//! Chebyshev series of a ciphertext, slot by slot, by Paterson and Stockmeyer's splitting (SIAM J. Comput. 2, 1973) in the Chebyshev basis
//! (Han and Ki, ePrint 2019/688), at the least depth.
//!
//! ```text
//! p = q T_g + r,   g the largest power of two up to deg p        T_(g+n) = 2 T_g T_n - T_(g-n)
//! ```
//!
//! A polynomial of degree `d` takes `ceil(log2(d + 1))` levels. All terms of a sum, products of ciphertexts and scalar products of the
//! baby steps `T_1 .. T_(k-1)`, are made at one level and one scale and are relinearized and rescaled together (lazily).
//!
//! Scales are exact. A sum that is to have scale `s` after its rescale by `2^r` has `S = s + r` before; a scalar product of `T_n` takes the
//! integer nearest to `c 2^(S - s_n)`; a quotient is made at the scale `S - s_g`; and `2 T_a T_b` is `T_a T_b` at a scale one bit less.
//! So no term is ever added at another scale than its own, and the result has the scale that was asked for.

use super::ciphertext::Ciphertext;
use super::evaluator::Evaluator;
use super::scalar;
use crate::approximation::check_interval;
use crate::error::{Error, Result};
use crate::math::double::Double;
use crate::math::word::Word;
use crate::params::{Level, Params};
use crate::ring::RnsPoly;
use crate::rlwe::RelinearizationKey;
use core::ops::RangeInclusive;
use std::collections::{BTreeMap, BTreeSet};

/// A scale may be so many bits above the settled one: with four doublings the last power is 12 bits above.
const MAX_ABOVE: f64 = 0.75;

/// `sum_n coefficients[n] T_n(u)`, `u = (2 x - a - b) / (b - a)`, for `x` in an interval `[a, b]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ChebyshevSeries {
    coefficients: Vec<f64>,
    interval: RangeInclusive<f64>,
}

/// Levels from `T_1` to `T_n`.
fn depth_of(n: usize) -> u32 {
    n.max(1).next_power_of_two().ilog2()
}

impl ChebyshevSeries {
    /// From its coefficients, that of `T_0 = 1` first.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for a coefficient; [`Error::Interval`] for an interval that is empty or not finite.
    pub fn new(coefficients: Vec<f64>, interval: RangeInclusive<f64>) -> Result<Self> {
        if let Some((slot, value)) = coefficients.iter().enumerate().find(|(_, c)| !c.is_finite()) {
            return Err(Error::NotFinite { slot, value: value.to_string() });
        }
        check_interval(&interval)?;
        Ok(Self { coefficients, interval })
    }

    /// The coefficients, that of `T_0 = 1` first.
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// The interval.
    pub fn interval(&self) -> &RangeInclusive<f64> {
        &self.interval
    }

    /// The index of the last coefficient that is not 0.
    pub fn degree(&self) -> usize {
        degree(&self.coefficients)
    }

    /// Levels that an evaluation takes: at least one.
    pub fn depth(&self) -> u32 {
        depth_of(self.degree() + 1).max(1)
    }

    /// Products of two ciphertexts that an evaluation takes.
    pub fn products(&self) -> usize {
        let p = &self.coefficients[..(self.degree() + 1).min(self.coefficients.len())];
        let (k, levels) = (baby_steps(p), self.depth());
        let mut left = Vec::new();
        collect(p, levels, k, &mut left);
        let mut made = BTreeSet::new();
        while let Some(n) = left.pop() {
            if n > 1 && made.insert(n) {
                let a = n.next_power_of_two() / 2;
                left.extend([a, n - a, 2 * a - n]);
            }
        }
        made.len() + products(p, levels, k)
    }

    /// The value at `x`, by Clenshaw's recurrence.
    pub fn value(&self, x: f64) -> f64 {
        let (a, b) = (self.interval.start(), self.interval.end());
        let u = (2.0 * x - a - b) / (b - a);
        let step = |(b1, b2): (f64, f64), &c: &f64| (c + 2.0 * u * b1 - b2, b1);
        let Some((first, rest)) = self.coefficients.split_first() else { return 0.0 };
        let (b1, b2) = rest.iter().rev().fold((0.0, 0.0), step);
        first + u * b1 - b2
    }
}

fn degree(coefficients: &[f64]) -> usize {
    coefficients.iter().rposition(|&c| c != 0.0).unwrap_or(0)
}

/// `p = q T_g + r` with `deg r < g`, for `g <= deg p < 2 g`: `(q, r)`.
fn divide(p: &[f64], g: usize) -> (Vec<f64>, Vec<f64>) {
    let (low, high) = p.split_at(g);
    let (mut quotient, mut remainder) = (high.to_vec(), low.to_vec());
    for (n, c) in quotient.iter_mut().enumerate().skip(1) {
        remainder[g - n] -= *c;
        *c *= 2.0;
    }
    (quotient, remainder)
}

/// Baby steps are `T_n` for `n` below this: of the powers of two, that with the fewest products of ciphertexts; of equals, the least.
fn baby_steps(p: &[f64]) -> usize {
    let levels = depth_of(degree(p) + 1).max(1);
    let cost = |k: usize| {
        let giants = (0..levels).filter(|&log| 1 << log >= k && 1 << log <= degree(p)).count();
        k.saturating_sub(2) + giants + products(p, levels, k)
    };
    (1..=levels.max(1)).map(|log| 1usize << log).min_by_key(|&k| cost(k)).unwrap_or(2)
}

/// Whether all terms of a sum `levels` below `T_1` are scalar products of what there is.
fn is_at_hand(p: &[f64], levels: u32, k: usize) -> bool {
    let terms = p.iter().enumerate().skip(1).filter(|(_, c)| **c != 0.0);
    terms.into_iter().all(|(n, _)| (n < k || n.is_power_of_two()) && depth_of(n) < levels)
}

fn giant(p: &[f64]) -> usize {
    1 << degree(p).max(1).ilog2()
}

/// Products of a quotient and a `T_g` in the evaluation of `p`.
fn products(p: &[f64], levels: u32, k: usize) -> usize {
    let p = &p[..(degree(p) + 1).min(p.len())];
    if is_at_hand(p, levels, k) {
        return 0;
    }
    let (quotient, remainder) = divide(p, giant(p));
    let own = if degree(&quotient) == 0 { 0 } else { 1 + products(&quotient, levels - 1, k) };
    own + products(&remainder, levels, k)
}

/// `T_n` of one argument, and what they are computed with.
struct Powers<'a, W: Word> {
    evaluator: &'a Evaluator<W>,
    key: &'a RelinearizationKey<W>,
    top: Level,
    k: usize,
    powers: BTreeMap<usize, Ciphertext<W>>,
}

impl<W: Word> Powers<'_, W> {
    fn power(&self, n: usize) -> Result<&Ciphertext<W>> {
        // Only what was made is asked for.
        self.powers.get(&n).ok_or(Error::LevelsExhausted { operation: "evaluate_chebyshev" })
    }

    /// `T_n = 2 T_a T_b - T_(a-b)`, `a` the largest power of two below `n`.
    fn make(&mut self, n: usize) -> Result<()> {
        if self.powers.contains_key(&n) {
            return Ok(());
        }
        let a = n.next_power_of_two() / 2;
        let b = n - a;
        for part in [a, b, a - b] {
            if part > 0 {
                self.make(part)?;
            }
        }
        let e = self.evaluator;
        let (x, y) = (self.power(a)?, self.power(b)?);
        let level = x.level().min(y.level());
        let mut sum = e.mul(&e.lower(x, level)?, &e.lower(y, level)?)?;
        sum.log_scale = sum.log_scale - Double::from(1.0);
        if a > b {
            sum = e.add(&sum, &self.scaled(-1.0, a - b, level, sum.log_scale)?)?;
        }
        let mut power = self.rescale(sum)?;
        if a == b {
            power = e.add_scalar(&power, -1.0)?;
        }
        self.powers.insert(n, power);
        Ok(())
    }

    /// `c T_n` at a level and a scale.
    fn scaled(&self, c: f64, n: usize, level: Level, log_scale: Double) -> Result<Ciphertext<W>> {
        let power = self.evaluator.lower(self.power(n)?, level)?;
        let mut product = self.evaluator.mul_scalar(&power, c, log_scale - power.log_scale())?;
        // By what it was multiplied; sums of scales may be off by their last bit.
        product.log_scale = log_scale;
        Ok(product)
    }

    /// Relinearized if need be, and rescaled.
    fn rescale(&self, a: Ciphertext<W>) -> Result<Ciphertext<W>> {
        if a.degree() == 1 {
            return self.evaluator.rescale(&a);
        }
        self.evaluator.mod_down_rescale(&self.evaluator.relinearize_raised(&a, self.key)?)
    }

    /// `p`, rescaled, at `levels` below `T_1` and a scale.
    fn evaluate(&self, p: &[f64], levels: u32, log_scale: Double) -> Result<Ciphertext<W>> {
        let params = self.evaluator.ring().params();
        let level = Level(self.top.0 - levels + 1);
        let before = log_scale + step(params, level)?;
        let mut constant = 0.0;
        let sum = match self.sum(p, levels, before, &mut constant)? {
            Some(sum) => sum,
            None => self.evaluator.zero(level, before)?,
        };
        let mut result = self.rescale(sum)?;
        result.log_scale = log_scale;
        if constant != 0.0 {
            result = self.evaluator.add_scalar(&result, constant)?;
        }
        Ok(result)
    }

    /// `p` less a constant, which is added to `constant`, before its rescale; `None` when nothing is left.
    fn sum(
        &self,
        p: &[f64],
        levels: u32,
        log_scale: Double,
        constant: &mut f64,
    ) -> Result<Option<Ciphertext<W>>> {
        let e = self.evaluator;
        let level = Level(self.top.0 - levels + 1);
        let p = &p[..(degree(p) + 1).min(p.len())];
        if is_at_hand(p, levels, self.k) {
            *constant += p.first().copied().unwrap_or(0.0);
            let mut sum: Option<Ciphertext<W>> = None;
            for (n, &c) in p.iter().enumerate().skip(1).filter(|(_, c)| **c != 0.0) {
                let term = self.scaled(c, n, level, log_scale)?;
                sum = Some(match sum {
                    None => term,
                    Some(sum) => e.add(&sum, &term)?,
                });
            }
            return Ok(sum);
        }
        let g = giant(p);
        let (quotient, remainder) = divide(p, g);
        let product = if degree(&quotient) == 0 {
            self.scaled(quotient[0], g, level, log_scale)?
        } else {
            let power = e.lower(self.power(g)?, level)?;
            let quotient = self.evaluate(&quotient, levels - 1, log_scale - power.log_scale())?;
            let mut product = e.mul(&quotient, &power)?;
            product.log_scale = log_scale;
            product
        };
        match self.sum(&remainder, levels, log_scale, constant)? {
            None => Ok(Some(product)),
            Some(rest) => e.add(&product, &rest).map(Some),
        }
    }
}

impl<W: Word> Evaluator<W> {
    /// The series of every slot, [`ChebyshevSeries::depth`] levels down, at the scale that is asked for.
    ///
    /// The change of variable to `[-1, 1]` is one of the declared scale. If that is then above the one which squaring, doubling and rescaling
    /// leave alone (long intervals), it takes one level more.
    ///
    /// # Errors
    /// [`Error::LevelsExhausted`] when there are not so many levels; [`Error::DegreeMismatch`]; [`Error::Overflow`] and
    /// [`Error::ScaleTooLarge`] for scales without room; [`Error::ParamsMismatch`].
    pub fn evaluate_chebyshev(
        &self,
        a: &Ciphertext<W>,
        series: &ChebyshevSeries,
        log_scale: Double,
        key: &RelinearizationKey<W>,
    ) -> Result<Ciphertext<W>> {
        self.evaluate_series(a, series, |_| Ok(log_scale), key)
    }

    /// The same, at a scale for the level of the result.
    pub(super) fn evaluate_series(
        &self,
        a: &Ciphertext<W>,
        series: &ChebyshevSeries,
        log_scale: impl Fn(Level) -> Result<Double>,
        key: &RelinearizationKey<W>,
    ) -> Result<Ciphertext<W>> {
        self.own(a)?;
        self.check_degree("evaluate_chebyshev", a, 1)?;
        let levels = series.depth();
        if a.level().0 < levels {
            return Err(Error::LevelsExhausted { operation: "evaluate_chebyshev" });
        }
        let (low, high) = (series.interval.start(), series.interval.end());
        let mut u = a.clone();
        u.log_scale = u.log_scale + Double::from(((high - low) / 2.0).log2());
        let u = self.settle(u, levels)?;
        if u.level().0 < levels {
            return Err(Error::LevelsExhausted { operation: "evaluate_chebyshev" });
        }
        let centre = (low + high) / (high - low);
        let u = if centre == 0.0 { u } else { self.add_scalar(&u, -centre)? };
        let top = u.level();
        let p = &series.coefficients[..(series.degree() + 1).min(series.coefficients.len())];
        let k = baby_steps(p);
        let powers = BTreeMap::from([(1, u)]);
        let mut powers = Powers { evaluator: self, key, top, k, powers };
        let mut needed = Vec::new();
        collect(p, levels, k, &mut needed);
        for n in needed {
            powers.make(n)?;
        }
        powers.evaluate(p, levels, log_scale(Level(top.0 - levels))?)
    }

    /// `u` at about the scale from which the powers `T_2, T_4, ..` of a series of this depth end where their step leaves them alone: a deviation
    /// doubles with each. What is below is multiplied by an integer, exactly; what is above by a scalar and rescaled, at the cost of a
    /// level.
    fn settle(&self, u: Ciphertext<W>, levels: u32) -> Result<Ciphertext<W>> {
        let (params, doublings) = (self.ring().params(), levels.saturating_sub(1));
        if doublings == 0 {
            return Ok(u);
        }
        let settled = |from: Level| {
            let last = step(params, Level(from.0 - doublings))? + Double::from(1.0);
            scale_before_doublings(params, from, doublings, last)
        };
        let gap = settled(u.level())? - u.log_scale();
        if gap.to_f64() >= -MAX_ABOVE {
            let factor = gap.exp2().round().max(1.0);
            return if factor == 1.0 { Ok(u) } else { self.mul_scalar(&u, 1.0, Double::from(factor.log2())) };
        }
        let below = Level(u.level().0 - 1);
        if below.0 < levels {
            return Err(Error::LevelsExhausted { operation: "evaluate_chebyshev" });
        }
        let wanted = settled(below)? + step(params, u.level())?;
        self.rescale(&self.mul_scalar(&u, 1.0, wanted - u.log_scale())?)
    }

    /// A ciphertext of 0 that hides nothing.
    fn zero(&self, level: Level, log_scale: Double) -> Result<Ciphertext<W>> {
        let params = self.ring().params();
        let zero = RnsPoly::zero(&params.level(level)?.basis, params.n());
        Ciphertext::new(params, vec![zero.clone(), zero], level, log_scale)
    }
}

/// log2 of what a rescale from a level divides the scale by.
pub(crate) fn step(params: &Params, level: Level) -> Result<Double> {
    let Some(next) = level.0.checked_sub(1) else {
        return Err(Error::LevelsExhausted { operation: "rescale" });
    };
    Ok(scalar::log_step(params, &params.level(level)?.basis, &params.level(Level(next))?.basis))
}

/// The scale that leads to `target` when, from a level on, it is squared, less one bit for a doubling, and rescaled `times` times.
pub(crate) fn scale_before_doublings(
    params: &Params,
    from: Level,
    times: u32,
    target: Double,
) -> Result<Double> {
    let (one, half) = (Double::from(1.0), Double::from(0.5));
    let mut scale = target;
    for i in (0..times).rev() {
        scale = (scale + one + step(params, Level(from.0 - i))?) * half;
    }
    Ok(scale)
}

/// The `T_n` that the evaluation of `p` reads.
fn collect(p: &[f64], levels: u32, k: usize, into: &mut Vec<usize>) {
    let p = &p[..(degree(p) + 1).min(p.len())];
    if is_at_hand(p, levels, k) {
        into.extend(p.iter().enumerate().skip(1).filter(|(_, c)| **c != 0.0).map(|(n, _)| n));
        return;
    }
    let g = giant(p);
    into.push(g);
    let (quotient, remainder) = divide(p, g);
    if degree(&quotient) > 0 {
        collect(&quotient, levels - 1, k, into);
    }
    collect(&remainder, levels, k, into);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clenshaw_is_the_definition() {
        let coefficients = vec![0.5, -1.0, 0.0, 2.0, 0.25];
        let series = ChebyshevSeries::new(coefficients.clone(), -1.0..=3.0).unwrap();
        for x in [-1.0, -0.3, 0.0, 1.7, 3.0] {
            let angle = ((x - 1.0) / 2.0f64).acos();
            let definition: f64 =
                coefficients.iter().zip(0..).map(|(c, n)| c * (f64::from(n) * angle).cos()).sum();
            assert!((series.value(x) - definition).abs() < 1e-13);
        }
        assert_eq!((series.degree(), series.depth()), (4, 3));
    }

    #[test]
    fn a_division_has_its_quotient_and_remainder() {
        let p: Vec<f64> = (0..14).map(|i| f64::from(i * i % 11) - 4.0).collect();
        let (q, r) = divide(&p, 8);
        let series = |p: &[f64]| ChebyshevSeries::new(p.to_vec(), -1.0..=1.0).unwrap();
        for x in [-0.9, -0.2, 0.4, 1.0f64] {
            let t8 = (8.0 * x.acos()).cos();
            let sum = series(&q).value(x) * t8 + series(&r).value(x);
            assert!((series(&p).value(x) - sum).abs() < 1e-12);
        }
    }

    /// The numbers of products that the literature gives for dense polynomials at the least depth.
    #[test]
    fn dense_polynomials_take_few_products() {
        for (degree, expected) in [(3u32, 2), (7, 5), (15, 8), (30, 12), (31, 13), (63, 18)] {
            let p: Vec<f64> = (0..=degree).map(|i| 1.0 + f64::from(i).sqrt()).collect();
            assert_eq!(ChebyshevSeries::new(p, -1.0..=1.0).unwrap().products(), expected, "degree {degree}");
        }
        for (degree, expected) in [(3u32, 2), (7, 5), (15, 8), (27, 11), (31, 13)] {
            let p: Vec<f64> = (0..=degree).map(|i| f64::from(i % 2) * (1.0 + f64::from(i).sqrt())).collect();
            assert_eq!(ChebyshevSeries::new(p, -1.0..=1.0).unwrap().products(), expected, "odd, {degree}");
        }
    }

    #[test]
    fn what_is_no_series_is_refused() {
        assert!(matches!(ChebyshevSeries::new(vec![1.0], 1.0..=1.0), Err(Error::Interval { .. })));
        assert!(matches!(
            ChebyshevSeries::new(vec![0.0, f64::NAN], 0.0..=1.0),
            Err(Error::NotFinite { slot: 1, .. })
        ));
        let series = ChebyshevSeries::new(Vec::new(), 0.0..=1.0).unwrap();
        assert_eq!((series.degree(), series.depth(), series.value(0.5)), (0, 1, 0.0));
    }
}

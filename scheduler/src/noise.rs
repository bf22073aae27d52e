//! How exact every value of a placed function is, before it runs.
//!
//! Errors are modelled as independent and Gaussian. A coefficient of variance `V` at scale `S` makes slots of variance `N V / S^2`; with
//! `sigma^2 = 10.5` (errors) and 2/3 (ternary secrets) the sources are
//!
//! ```text
//! public-key encryption    V = sigma^2 (1 + 4 N / 3)
//! rounding of both halves  V = (1 + 2 N / 3) / 12                    rescale, mod_down, level_drop
//! key switch               V = N sigma^2 / 12 sum_j (D_j / P)^2      D_j: product of the primes of digit j at the level
//! encoding of a constant   V = 1 / 12
//! ```
//!
//! (Gentry, Halevi, Smart, ePrint 2012/099, section 3; Costache, Curtis, Hales, Murphy, Ogilvie, Player, ePrint 2022/162, for CKKS.) Linear
//! operations add variances, a product scales each factor's by the mean square of the other. Magnitudes are upper bounds from those of
//! the inputs, or what a [`crate::ckks_ir::Bound`] says: else polynomials whose terms cancel are estimated too pessimistically.
//!
//! A bootstrap is `x` to `x`: what comes out is as large as what went in, and its error is that of what went in and its own beside. Between `mod_raise` and
//! there errors are its own alone: what the cosine and the doublings do to an error in `x` cancels, and bounds of it would not. The sine
//! makes `x (2 pi x / r)^2 / 6` less of a coefficient `x`, which is no noise: it is a [`Estimate::bias`].

use core::fmt::Write;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use fhe_core::bootstrap::BootstrapLiteral;
use fhe_core::ckks::scalar;
use fhe_core::params::{Level, LimbIdx, Params};
use fhe_core::rlwe::encapsulation_special;

use crate::ckks_ir::verify::factor_scale;
use crate::ckks_ir::{Bound, CallIdx, Function, Kind, Op, Scale, Unit, ValueId};
use crate::error::{Error, Result};

/// Variance of a coefficient of a fresh error: the centred binomial distribution of 42 coins.
const ERROR: f64 = 10.5;
/// Variance of a coefficient of a uniform ternary polynomial.
const TERNARY: f64 = 2.0 / 3.0;
/// Variance of a rounding to integers.
const ROUNDING: f64 = 1.0 / 12.0;

/// What is known of a value's slots.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// No slot's modulus is above it.
    pub magnitude: f64,
    /// The root of the mean square of slots is not above it.
    pub mean: f64,
    /// The root of the mean square of a slot's error, but for the bias.
    pub error: f64,
    /// No slot is further off by what is not random: the sine of bootstraps, of messages that are one coefficient (one number in all slots).
    /// Of slots of random signs it is some `sqrt(15) / N` of that.
    pub bias: f64,
}

impl Estimate {
    /// About the largest error among so many slots.
    pub fn largest_error(&self, n_slots: usize) -> f64 {
        // The expected maximum of n exponential variables is the n-th harmonic number.
        self.error * ((n_slots.max(1) as f64).ln() + 0.5772).sqrt() + self.bias
    }

    /// `-log2` of the error, the bias aside.
    pub fn bits(&self) -> f64 {
        -self.error.log2()
    }

    /// `-log2` of the largest error among so many slots, whatever the message is.
    pub fn worst_bits(&self, n_slots: usize) -> f64 {
        -self.largest_error(n_slots).log2()
    }
}

/// Estimates every value, by [`ValueId`]. `inputs` holds the largest modulus of a slot of each input; they are encrypted under the public key.
///
/// # Errors
/// [`Error::Interp`] when a value has no kind or an input no magnitude; [`Error::Core`] when a level is not there.
pub fn estimate(function: &Function, params: &Params, inputs: &[f64]) -> Result<Vec<Estimate>> {
    let model = Model { params, n: params.n() as f64 };
    model.run(function, 0, &inputs.iter().map(|&magnitude| Source::Fresh(magnitude)).collect::<Vec<_>>())
}

/// What an input is.
#[derive(Clone, Copy)]
enum Source {
    /// Encrypted by a client, with slots of at most this modulus.
    Fresh(f64),
    /// An argument of a call.
    Made(Estimate),
}

struct Model<'a> {
    params: &'a Params,
    n: f64,
}

impl Model<'_> {
    /// Variance of a slot from that of a coefficient.
    fn slots(&self, coefficient: f64, kind: Kind) -> Result<f64> {
        let log_scale = self.params.level(kind.level)?.log_scale.to_f64();
        let log_scale = if kind.scale == Scale::Product { 2.0 * log_scale } else { log_scale };
        Ok(self.n * coefficient * (-2.0 * log_scale).exp2())
    }

    /// Variance of a slot of a constant that multiplies what is at a level: the product has the scale of its kind.
    fn factor(&self, operand: Level, product: Kind) -> Result<f64> {
        let log_scale = factor_scale(self.params, operand, product.level)?.to_f64();
        Ok(self.n * ROUNDING * (-2.0 * log_scale).exp2())
    }

    fn rounding(&self) -> f64 {
        ROUNDING * (1.0 + TERNARY * self.n)
    }

    /// log2 of the product of some primes.
    fn log_product(&self, limbs: &[LimbIdx]) -> f64 {
        limbs.iter().map(|&limb| (self.params.prime(limb) as f64).log2()).sum()
    }

    fn key_switch(&self, level: Level) -> Result<f64> {
        let digits = self.params.digits_at(level)?;
        let ratio = |limbs: &[LimbIdx]| (2.0 * (self.log_product(limbs) - self.params.log_p())).exp2();
        Ok(self.n * ERROR * ROUNDING * digits.iter().map(|(_, limbs)| ratio(limbs)).sum::<f64>())
    }

    /// Every value of a variant of a function.
    fn run(&self, function: &Function, variant: usize, inputs: &[Source]) -> Result<Vec<Estimate>> {
        let mut estimates: Vec<Estimate> = Vec::with_capacity(function.values.len());
        let mut called: BTreeMap<CallIdx, Vec<Estimate>> = BTreeMap::new();
        let raised_from = function.raised_from();
        for id in function.ids() {
            let value = function.value(id);
            let Op::Result(c, i) = value.op else {
                let made = self.value(function, variant, id, inputs, &estimates)?;
                let raised = match raised_from[id.0 as usize].map(|from| function.value(from).op) {
                    Some(Op::ModRaise(a, ..)) => estimates[a.0 as usize],
                    _ => Estimate::default(),
                };
                estimates.push(match value.bound {
                    Some(bound) => self.bounded(made, bound, raised)?,
                    None => made,
                });
                continue;
            };
            let missing = || Error::Interp(format!("no result {i} of {c}"));
            if let Entry::Vacant(entry) = called.entry(c) {
                let call = function.calls.get(c.0 as usize).ok_or_else(missing)?;
                let callee = function.callee(call).ok_or_else(missing)?;
                let arguments: Vec<Source> =
                    call.arguments.iter().map(|a| Source::Made(estimates[a.0 as usize])).collect();
                let inner = self.run(callee, function.variant_of(call, variant), &arguments)?;
                entry.insert(callee.outputs.iter().map(|o| inner[o.value.0 as usize]).collect());
            }
            let result = called.get(&c).and_then(|results| results.get(i as usize));
            estimates.push(*result.ok_or_else(missing)?);
        }
        Ok(estimates)
    }

    /// What is made, and what is known of it; `raised` is what was raised on the way to it.
    fn bounded(&self, made: Estimate, bound: Bound, raised: Estimate) -> Result<Estimate> {
        let (largest, mean) = match bound.of {
            Unit::One => (bound.largest, bound.mean),
            Unit::Raised | Unit::Returned => (bound.largest * raised.magnitude, bound.mean * raised.mean),
        };
        let made = Estimate { magnitude: made.magnitude.min(largest), mean: made.mean.min(mean), ..made };
        if bound.of != Unit::Returned {
            return Ok(made);
        }
        let sine = BootstrapLiteral::default().sine_error(self.params, raised.magnitude)?;
        let error = made.error.hypot(bound.largest * raised.error);
        Ok(Estimate { error, bias: bound.largest * (raised.bias + sine), ..made })
    }

    fn value(
        &self,
        function: &Function,
        variant: usize,
        id: ValueId,
        inputs: &[Source],
        estimates: &[Estimate],
    ) -> Result<Estimate> {
        let value = function.value(id);
        let kind = value.kind.ok_or_else(|| Error::Interp(format!("{id} is not placed")))?;
        let get = |a: ValueId| estimates[a.0 as usize];
        let level_of = |a: ValueId| function.value(a).kind.map_or(kind.level, |k| k.level);
        let constant = |c: crate::ckks_ir::ConstId| {
            function.constants.get(c.0 as usize).map_or(0.0, |c| {
                let numbers = c.variant(variant, function.variants).iter();
                numbers.map(|z| z.norm()).fold(0.0, f64::max)
            })
        };
        // A product: what each factor is off by counts as much as the other is large.
        let times = |x: Estimate, w: f64, encoding: f64| {
            let variance = (w * x.error).powi(2) + x.mean.powi(2) * encoding;
            Estimate { error: variance.sqrt(), ..scaled(x, w) }
        };
        let beside =
            |x: Estimate, variance: f64| Estimate { error: (x.error.powi(2) + variance).sqrt(), ..x };
        let plus = |x: Estimate, w: f64| Estimate { magnitude: x.magnitude + w, mean: x.mean + w, ..x };
        Ok(match value.op {
            Op::Input(i) => {
                let found = inputs.get(i.0 as usize).copied();
                let magnitude = match found {
                    Some(Source::Fresh(magnitude)) => magnitude,
                    Some(Source::Made(estimate)) => return Ok(estimate),
                    None => return Err(Error::Interp(format!("no magnitude of input {}", i.0))),
                };
                let fresh = ERROR * (1.0 + 2.0 * TERNARY * self.n) + ROUNDING;
                Estimate { magnitude, mean: magnitude, error: self.slots(fresh, kind)?.sqrt(), bias: 0.0 }
            }
            Op::Add(a, b) | Op::Sub(a, b) => {
                let (x, y) = (get(a), get(b));
                let variance = if a == b { 4.0 * x.error.powi(2) } else { x.error.powi(2) + y.error.powi(2) };
                Estimate {
                    magnitude: x.magnitude + y.magnitude,
                    mean: x.mean + y.mean,
                    error: variance.sqrt(),
                    bias: x.bias + y.bias,
                }
            }
            Op::Neg(a) | Op::MulI(a, _) => get(a),
            Op::AddPlain(a, c) | Op::SubPlain(a, c) => {
                plus(beside(get(a), self.slots(ROUNDING, kind)?), constant(c))
            }
            Op::AddScalar(a, s) => plus(get(a), s.value().abs()),
            Op::MulPlain(a, c) => times(get(a), constant(c), self.factor(level_of(a), kind)?),
            // One coefficient is rounded, and is in every slot.
            Op::MulScalar(a, s) => times(get(a), s.value().abs(), self.factor(level_of(a), kind)? / self.n),
            Op::Mul(a, b) => {
                let (x, y) = (get(a), get(b));
                let cross = [x.mean * y.error, y.mean * x.error];
                let linear =
                    if a == b { 4.0 * cross[0].powi(2) } else { cross[0].powi(2) + cross[1].powi(2) };
                Estimate {
                    magnitude: x.magnitude * y.magnitude,
                    mean: (x.magnitude * y.mean).min(x.mean * y.magnitude),
                    error: (linear + (x.error * y.error).powi(2)).sqrt(),
                    bias: x.magnitude * y.bias + x.bias * (y.magnitude + y.bias),
                }
            }
            Op::Rotate(a, _) | Op::Conjugate(a) | Op::Relinearize(a) => {
                let rounding = if kind.raised { 0.0 } else { self.rounding() };
                beside(get(a), self.slots(self.key_switch(level_of(a))? + rounding, kind)?)
            }
            Op::Rescale(a) | Op::ModDown(a) | Op::ModDownRescale(a) => {
                beside(get(a), self.slots(self.rounding(), kind)?)
            }
            Op::LinearTransform(..) | Op::Bootstrap(..) | Op::Result(..) => {
                return Err(Error::Interp(format!("{id} is not expanded")));
            }
            Op::ModRaise(a, _, s) => {
                let (x, s) = (get(a), s.value());
                let (mean, largest) = self.periods(kind.level)?;
                let log_p = self.log_product(&encapsulation_special(self.params)?);
                let digit = (2.0 * (self.params.level(Level(0))?.log_q - log_p)).exp2();
                let switch = self.n * ERROR * ROUNDING * digit + self.rounding();
                let back = self.key_switch(kind.level)? + self.rounding();
                Estimate {
                    magnitude: x.magnitude * s + largest,
                    mean: (x.mean * s).hypot(mean),
                    error: self.slots(switch + back, kind)?.sqrt(),
                    bias: 0.0,
                }
            }
            Op::LevelDrop(a, to) => {
                let x = get(a);
                let factor = scalar::level_drop_factor(self.params, level_of(a), to)?.unwrap_or(1);
                let rounded = x.mean / (factor as f64).max(1.0);
                beside(x, rounded.powi(2) * ROUNDING + self.slots(self.rounding(), kind)?)
            }
        })
    }

    /// The root of the mean square of slots of the periods that `mod_raise` adds, and the largest of them: about a Gaussian in every
    /// coefficient, and slots of up to six deviations.
    fn periods(&self, level: Level) -> Result<(f64, f64)> {
        let log_q = self.params.level(Level(0))?.log_q - self.params.level(level)?.log_scale.to_f64();
        let mean = log_q.exp2() * (self.n * BootstrapLiteral::default().period_variance()).sqrt();
        Ok((mean, 6.0 * mean))
    }
}

/// Every slot times a number of this modulus, but for the error.
fn scaled(x: Estimate, w: f64) -> Estimate {
    Estimate { magnitude: x.magnitude * w, mean: x.mean * w, error: x.error, bias: x.bias * w }
}
/// A line for every value: its kind, its largest magnitude, and the bits after the binary point that are right, in the mean and in the
/// worst slot.
pub fn table(function: &Function, estimates: &[Estimate], n_slots: usize) -> String {
    let mut text = format!(
        "{:8} {:18} {:40} {:>12} {:>7} {:>7}",
        "value", "operation", "kind", "magnitude", "bits", "worst"
    );
    for (id, estimate) in function.ids().zip(estimates) {
        let value = function.value(id);
        let kind = value.kind.map(|kind| kind.to_string()).unwrap_or_default();
        let Estimate { magnitude, .. } = estimate;
        let (bits, worst) = (estimate.bits(), estimate.worst_bits(n_slots));
        let _ = write!(
            text,
            "\n{:8} {:18} {kind:40} {magnitude:>12.4} {bits:>7.1} {worst:>7.1}",
            id.to_string(),
            value.op.name()
        );
        if let Some(name) = &value.name {
            let _ = write!(text, "  {name}");
        }
    }
    text
}

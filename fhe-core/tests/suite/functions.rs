//! Functions of ciphertexts: compositions and iterations on the reference evaluator, against `f64`.

use crate::common::Client;
use fhe_core::Error;
use fhe_core::approximation::{Approximation, Composite, Iteration, Target};
use fhe_core::ckks::Ciphertext;
use fhe_core::math::word::Word;
use fhe_core::params::{Level, Params, ParamsLiteral, Preset, Security};
use num_complex::Complex64;

/// As deep as the largest preset, in a small ring.
fn deep() -> Params {
    Params::new(ParamsLiteral { log_n: 10, security: Security::Insecure, ..Preset::N16.literal() }).unwrap()
}

/// Slots across an interval, both ends among them, encrypted at the highest level.
fn across<W: Word>(c: &mut Client<W>, low: f64, high: f64) -> (Vec<f64>, Ciphertext<W>) {
    let n = c.params.n_slots();
    let x: Vec<f64> = (0..n).map(|i| low + (high - low) * i as f64 / (n - 1) as f64).collect();
    let slots: Vec<Complex64> = x.iter().map(|&x| Complex64::new(x, 0.0)).collect();
    let top = c.params.max_level();
    (x, c.encrypt(&slots, top))
}

fn worst(x: &[f64], found: &[Complex64], off: impl Fn(f64, f64) -> f64) -> f64 {
    x.iter().zip(found).map(|(&x, y)| off(x, y.re).abs()).fold(0.0, f64::max)
}

/// The noise of the run, on top of the error that is stated.
const NOISE: f64 = 1.0 / 1_073_741_824.0;

fn signs<W: Word>(params: Params) {
    let mut c = Client::<W>::new(params, &[]);
    for (bound, epsilon, error) in
        [(1.0, 0.25, 2f64.powi(-10)), (1.0, 0.02, 2f64.powi(-6)), (1.5, 0.01, 2f64.powi(-12))]
    {
        let sign = Composite::sign(bound, epsilon, error).unwrap();
        let (x, a) = across(&mut c, -bound, bound);
        let key = c.keys.relinearization().unwrap();
        let below = Level(a.level().0 - sign.depth());
        let scale = c.params.level(below).unwrap().log_scale;
        let y = c.evaluator.evaluate_composite(&a, &sign, scale, key).unwrap();
        assert_eq!((y.level(), y.log_scale()), (below, scale));
        let found = c.decrypt(&y);
        let off = |x: f64, y: f64| if x.abs() < epsilon { 0.0 } else { y - x.signum() };
        let worst_sign = worst(&x, &found, off);
        assert!(worst_sign <= sign.error() + NOISE / epsilon, "{epsilon}: {worst_sign}");
        assert!(worst_sign >= sign.error() / 2.0, "{epsilon}: {worst_sign}");
        // Beside the error of the composition, noise only, as much more as it is steep.
        let off = worst(&x, &found, |x, y| y - sign.value(x));
        assert!(off < NOISE / epsilon, "{epsilon}: {}", off.log2());
    }
}

#[test]
fn the_sign_of_every_slot() {
    signs::<u32>(deep());
    signs::<u32>(Preset::Toy12r.params().unwrap());
}

/// `x s(x)`: one product more.
#[test]
fn the_relu_of_every_slot() {
    let mut c = Client::<u32>::new(deep(), &[]);
    let error = 2f64.powi(-13);
    let step = Composite::relu(1.0, error).unwrap();
    let (x, a) = across(&mut c, -1.0, 1.0);
    let key = c.keys.relinearization().unwrap();
    let below = Level(a.level().0 - step.depth());
    let scale = c.params.level(below).unwrap().log_scale;
    let s = c.evaluator.evaluate_composite(&a, &step, scale, key).unwrap();
    let product = c.evaluator.mul(&c.evaluator.level_drop(&a, below).unwrap(), &s).unwrap();
    let y = c.evaluator.rescale(&c.evaluator.relinearize(&product, key).unwrap()).unwrap();
    assert_eq!(y.level().0, a.level().0 - 14);
    let found = worst(&x, &c.decrypt(&y), |x, y| y - x.max(0.0));
    assert!(found <= error && found > error / 4.0, "{found}");
}

#[test]
fn the_functions_by_one_series() {
    let mut c = Client::<u32>::new(deep(), &[]);
    type F = fn(f64) -> f64;
    let sigmoid: F = |x| 1.0 / (1.0 + (-x).exp());
    let silu: F = |x| x / (1.0 + (-x).exp());
    let cases: [(&str, Approximation, F, f64); 5] = [
        ("sigmoid", Approximation::sigmoid(-8.0..=8.0, 1e-3).unwrap(), sigmoid, 1e-3),
        ("tanh", Approximation::tanh(-2.0..=2.0, 1e-6).unwrap(), f64::tanh, 1e-6),
        ("silu", Approximation::silu(-6.0..=10.0, 1e-3).unwrap(), silu, 1e-3),
        (
            "gelu",
            Approximation::gelu(-5.0..=5.0, 1e-4).unwrap(),
            fhe_core::approximation::elementary::gelu,
            1e-4,
        ),
        ("exp", Approximation::exp(-3.0..=0.0, 1e-6).unwrap(), f64::exp, 1e-6),
    ];
    for (name, approximation, f, error) in cases {
        let series = approximation.series();
        let (x, a) = across(&mut c, *series.interval().start(), *series.interval().end());
        let key = c.keys.relinearization().unwrap();
        let y = c.evaluator.evaluate_chebyshev(&a, series, a.log_scale(), key).unwrap();
        let found = worst(&x, &c.decrypt(&y), |x, y| y - f(x));
        assert!(found <= error + NOISE, "{name}: {found}");
    }
}

fn iterations<W: Word>(params: Params, bits: i32) {
    let mut c = Client::<W>::new(params, &[]);
    for (target, low, high, error) in [
        (Target::Inverse, 0.5, 1.5, 2f64.powi(-20)),
        (Target::Inverse, 0.001, 1.0, 2f64.powi(-10)),
        (Target::InverseSquareRoot, 0.5, 1.5, 2f64.powi(-20)),
        (Target::InverseSquareRoot, 0.0002, 1.0, 2f64.powi(-12)),
    ] {
        let iteration = Iteration::new(target, low..=high, error).unwrap();
        let (x, a) = across(&mut c, low, high);
        let key = c.keys.relinearization().unwrap();
        let y = c.evaluator.evaluate_iteration(&a, &iteration, key).unwrap();
        assert_eq!(y.level().0, a.level().0 - iteration.depth(), "{target:?} from {low}");
        assert_eq!(
            y.log_scale().to_f64() as f32,
            c.params.level(y.level()).unwrap().log_scale.to_f64() as f32
        );
        let off = |x: f64, y: f64| match target {
            Target::Inverse => x * y - 1.0,
            Target::InverseSquareRoot => x.sqrt() * y - 1.0,
        };
        // What x is off by counts as much more as it is small.
        let found = worst(&x, &c.decrypt(&y), off);
        assert!(found <= error + 2f64.powi(bits) / low, "{target:?} from {low}: {found}");
    }
}

#[test]
fn the_inverse_and_the_inverse_square_root_of_every_slot() {
    iterations::<u32>(deep(), -30);
    iterations::<u32>(Preset::Toy12r.params().unwrap(), -24);
}

#[test]
fn what_is_too_deep_and_what_is_not_canonical_is_refused() {
    let mut c = Client::<u32>::new(Preset::Toy10.params().unwrap(), &[]);
    let (_, a) = across(&mut c, 0.5, 1.0);
    let key = c.keys.relinearization().unwrap();
    let sign = Composite::sign_of_degrees(&[7, 7], 1.0, 0.1).unwrap();
    let refused = c.evaluator.evaluate_composite(&a, &sign, a.log_scale(), key);
    assert!(matches!(refused, Err(Error::LevelsExhausted { .. })));
    let root = Iteration::new(Target::InverseSquareRoot, 0.01..=1.0, 2f64.powi(-20)).unwrap();
    assert!(matches!(c.evaluator.evaluate_iteration(&a, &root, key), Err(Error::LevelsExhausted { .. })));
    let inverse =
        Iteration::cheapest(Target::Inverse, 0.5..=1.0, 2f64.powi(-20), |degree| 4 * degree as u32).unwrap();
    assert!(inverse.steps() > 0);
    let lopsided = c.evaluator.mul_scalar(&a, 1.0, fhe_core::math::double::Double::from(1.0)).unwrap();
    let refused = c.evaluator.evaluate_iteration(&lopsided, &inverse, key);
    assert!(matches!(refused, Err(Error::ScaleMismatch { .. })));
}

//! Linear transforms and Chebyshev series of ciphertexts against their plain twins.

use crate::common::{Client, wave};
use fhe_core::ckks::precision::PrecisionReport;
use fhe_core::ckks::{ChebyshevSeries, Encoder, LinearTransform};
use fhe_core::math::double::Double;
use fhe_core::math::word::Word;
use fhe_core::params::{Level, Params, Preset, RationalChain, Security};
use fhe_core::ring::Ring;
use fhe_core::{Complex64, Error};
use std::collections::BTreeMap;

fn assert_close(what: &str, expected: &[Complex64], found: &[Complex64], bits: f64) {
    let report = PrecisionReport::new(expected, found).unwrap();
    assert!(report.modulus.min > bits, "{what}: expected {bits} bits:\n{report}");
}

/// 40-bit scales at log N 10, nine levels.
fn rational() -> Params {
    let chain = RationalChain {
        log_n: 10,
        log_scale: 40,
        n_main: 15,
        n_terminal: 4,
        n_special: 5,
        digit_limbs: 5,
        boot_steps: Vec::new(),
        security: Security::Insecure,
    };
    Params::new(chain.literal()).unwrap()
}

fn matrix(n_slots: usize, diagonals: &[usize]) -> LinearTransform {
    let diagonal = |d: usize| (0..n_slots).map(|i| wave(d as f64)(i) * 0.3).collect();
    LinearTransform::new(n_slots, diagonals.iter().map(|&d| (d, diagonal(d))).collect()).unwrap()
}

fn transforms<W: Word>(params: Params, bits: f64) {
    let n = params.n_slots();
    let encoder = Encoder::new(&Ring::<W>::new(&params).unwrap());
    for diagonals in [&[0][..], &[5], &[0, 1, 2, 3, n - 1, n - 3], &[0, 8, 16, 24, n - 8, n - 16], &[]] {
        let transform = matrix(n, diagonals);
        let mut c = Client::<W>::new(params.clone(), &transform.rotations());
        let x = c.slots(wave(0.7));
        for level in [1, c.params.max_level().0].map(Level) {
            let info = c.params.level(level).unwrap();
            let encoded = transform.encode(&encoder, level, info.log_scale).unwrap();
            let a = c.encrypt(&x, level);
            let y = c.evaluator.linear_transform(&a, &encoded, &c.keys).unwrap();
            assert_eq!(y.level(), Level(level.0 - 1));
            let canonical = c.params.level(y.level()).unwrap().log_scale;
            let is_zero = diagonals.is_empty();
            assert!(is_zero || (y.log_scale() - canonical).to_f64().abs() < 1e-20);
            assert_close("transform", &transform.apply(&x), &c.decrypt(&y), bits);
            let wrong = c.encrypt(&x, Level(0));
            let refused = c.evaluator.linear_transform(&wrong, &encoded, &c.keys);
            assert!(matches!(refused, Err(Error::LevelMismatch { .. })));
        }
    }
}

#[test]
fn a_transform_is_the_matrix_times_the_slots() {
    transforms::<u32>(Preset::Toy10.params().unwrap(), 32.0);
    transforms::<u64>(Preset::Toy10w.params().unwrap(), 32.0);
    transforms::<u32>(rational(), 22.0);
}

/// Twice hoisted gives the words of once hoisted: the digits are the same.
#[test]
fn hoisted_rotations_are_rotations() {
    let mut c = Client::<u32>::new(rational(), &[1, -3]);
    let x = c.slots(wave(0.2));
    let a = c.encrypt(&x, Level(4));
    let hoisted = c.evaluator.hoist(&a).unwrap();
    for k in [1, -3] {
        let once = c.evaluator.rotate_raised(&a, k, &c.keys).unwrap();
        assert_eq!(c.evaluator.rotate_hoisted(&a, &hoisted, k, &c.keys).unwrap(), once);
    }
    let still = c.evaluator.rotate_hoisted(&a, &hoisted, 0, &c.keys).unwrap();
    assert_eq!(c.evaluator.mod_down(&still).unwrap(), a);
    let other = c.encrypt(&x, Level(3));
    assert!(matches!(
        c.evaluator.rotate_hoisted(&other, &hoisted, 1, &c.keys),
        Err(Error::BasisMismatch { .. })
    ));
}

#[test]
fn a_product_of_matrices_is_one_after_the_other() {
    let (a, b) = (matrix(16, &[0, 3, 15]), matrix(16, &[1, 2, 15]));
    let x: Vec<Complex64> = (0..16).map(wave(0.1)).collect();
    let (twice, once) = (a.apply(&b.apply(&x)), a.after(&b).unwrap().apply(&x));
    assert!(twice.iter().zip(&once).all(|(p, q)| (p - q).norm() < 1e-14));
    // The definition, entry by entry.
    let entry = |m: &LinearTransform, i: usize, j: usize| {
        m.diagonals().get(&((j + 16 - i) % 16)).map_or(Complex64::ZERO, |d| d[i])
    };
    for (i, y) in a.apply(&x).iter().enumerate() {
        let sum: Complex64 = (0..16).map(|j| entry(&a, i, j) * x[j]).sum();
        assert!((y - sum).norm() < 1e-14);
    }
    let wrong = BTreeMap::from([(0, vec![Complex64::ONE; 8])]);
    assert!(matches!(LinearTransform::new(16, wrong), Err(Error::SlotCount { expected: 16, found: 8 })));
    let far = BTreeMap::from([(16, vec![Complex64::ONE; 16])]);
    assert!(matches!(LinearTransform::new(16, far), Err(Error::RotationOutOfRange { .. })));
    assert!(matches!(a.after(&matrix(8, &[0])), Err(Error::SlotCount { .. })));
}

fn series<W: Word>(params: Params, bits: f64) {
    let mut c = Client::<W>::new(params, &[]);
    let top = c.params.max_level();
    let dense =
        |degree: usize| (0..=degree).map(|n| (n as f64 * 2.3 + 0.4).sin() / (1.0 + n as f64)).collect();
    let cases: Vec<(Vec<f64>, f64, f64)> = vec![
        (dense(1), -1.0, 1.0),
        (dense(3), -1.0, 3.0),
        (dense(7), 0.5, 0.75),
        (dense(15), -2.0, 5.0),
        (dense(30), -16.0, 16.0),
        (dense(31), -1.0, 1.0),
        // Even, odd, one member of the basis, gaps, nothing but a constant, nothing.
        (
            dense(16)
                .iter()
                .enumerate()
                .map(|(n, c): (usize, &f64)| if n % 2 == 0 { *c } else { 0.0 })
                .collect(),
            -1.0,
            2.0,
        ),
        (
            dense(15)
                .iter()
                .enumerate()
                .map(|(n, c): (usize, &f64)| if n % 2 == 1 { *c } else { 0.0 })
                .collect(),
            -1.0,
            1.0,
        ),
        ([vec![0.0; 13], vec![1.5]].concat(), -1.0, 1.0),
        ([vec![0.0; 8], vec![1.5]].concat(), -3.0, 1.0),
        (vec![0.5, 0.0, 0.0, 0.0, 0.0, -0.75, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0], -1.0, 1.0),
        (vec![0.625], 0.0, 1.0),
        // Intervals on one side of 0, nothing below the last coefficient, nothing at all however long.
        (dense(7), -5.0, -4.0),
        (dense(6), 100.0, 101.0),
        ([vec![0.0; 15], vec![-0.5]].concat(), 2.0, 3.0),
        (vec![0.0; 12], -7.0, -6.5),
        ([vec![0.0; 4], vec![1.0], vec![0.0; 9]].concat(), -1.0, 1.0),
        (vec![0.0, 0.0], -1.0, 1.0),
        (Vec::new(), -1.0, 1.0),
    ];
    for (coefficients, low, high) in cases {
        let series = ChebyshevSeries::new(coefficients, low..=high).unwrap();
        // Real slots across the interval, its ends among them.
        let n = c.params.n_slots();
        let x = c.slots(|i| Complex64::new(low + (high - low) * i as f64 / (n - 1) as f64, 0.0));
        let a = c.encrypt(&x, top);
        // The wide one takes a level for its change of variable.
        let levels = series.depth() + u32::from(high - low > 6.0);
        if levels > top.0 {
            continue;
        }
        let to = c.params.level(Level(top.0 - levels)).unwrap();
        let asked = to.log_scale + Double::from(0.25);
        let key = c.keys.relinearization().unwrap();
        let y = c.evaluator.evaluate_chebyshev(&a, &series, asked, key).unwrap();
        assert_eq!((y.level().0, y.log_scale(), y.degree()), (top.0 - levels, asked, 1));
        let expected: Vec<Complex64> = x.iter().map(|z| Complex64::new(series.value(z.re), 0.0)).collect();
        // What the argument is off by is off by so many times more.
        let steep = (2.0 * (1.0 + series.degree() as f64).powi(2) / (high - low)).log2().max(0.0);
        assert_close(&format!("{:?}", series.interval()), &expected, &c.decrypt(&y), bits - steep);
    }
    let deep = ChebyshevSeries::new(vec![1.0; 1 << (top.0 + 1)], -1.0..=1.0).unwrap();
    let x = c.slots(|_| Complex64::ZERO);
    let a = c.encrypt(&x, top);
    let key = c.keys.relinearization().unwrap();
    let refused = c.evaluator.evaluate_chebyshev(&a, &deep, a.log_scale(), key);
    assert!(matches!(refused, Err(Error::LevelsExhausted { .. })));
    let squared = c.evaluator.square(&a).unwrap();
    let refused = c.evaluator.evaluate_chebyshev(&squared, &deep, a.log_scale(), key);
    assert!(matches!(refused, Err(Error::DegreeMismatch { expected: 1, found: 2, .. })));
}

#[test]
fn a_series_is_that_of_clenshaw_at_the_scale_that_is_asked_for() {
    series::<u32>(Preset::Toy10.params().unwrap(), 31.0);
    series::<u64>(Preset::Toy10w.params().unwrap(), 31.0);
    series::<u32>(rational(), 20.5);
}

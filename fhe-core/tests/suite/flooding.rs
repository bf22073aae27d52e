//! Decryptions that may be shared: the noise that is added, its size, and when there is none.

use crate::common::{Client, wave};
use fhe_core::Error;
use fhe_core::ckks::{Decryptor, Flooding, SharedValues};
use fhe_core::math::sampling::Randomness;
use fhe_core::params::{Level, Preset};
use num_complex::Complex64;

fn flooding() -> Flooding {
    Flooding { bits: 20, queries: 16, max_error: 2f64.powi(-32), min_precision: 8.0 }
}

/// The differences of shared and exact values, over many answers.
fn noise(values: SharedValues, flooding: &Flooding, n_answers: usize) -> Vec<Complex64> {
    let mut c = Client::<u32>::new(Preset::Toy10.params().unwrap(), &[]);
    let x = c.slots(wave(0.4));
    let a = c.encrypt(&x, Level(2));
    let exact = c.decrypt(&a);
    let decryptor = Decryptor::new(&c.ring);
    let mut answer = || {
        let randomness = &mut c.randomness;
        decryptor.decrypt_shareable(&a, &c.secret, &c.encoder, values, flooding, randomness).unwrap()
    };
    (0..n_answers)
        .flat_map(|_| answer().into_iter().enumerate().map(|(i, z)| z - exact[i]).collect::<Vec<_>>())
        .collect()
}

fn variance(values: &[f64]) -> f64 {
    values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64
}

#[test]
fn the_noise_is_normal_with_the_stated_deviation() {
    let n = 512;
    let sigma = flooding().sigma(SharedValues::Complex(n)).unwrap();
    let found = noise(SharedValues::Complex(n), &flooding(), 20);
    let numbers: Vec<f64> = found.iter().flat_map(|z| [z.re / sigma, z.im / sigma]).collect();
    let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
    // 20480 values: standard deviations of 0.7 % and 1 %.
    assert!(mean.abs() < 0.035 && (variance(&numbers) - 1.0).abs() < 0.05, "{mean} {}", variance(&numbers));
    let correlation = found.iter().map(|z| z.re * z.im).sum::<f64>() / (found.len() as f64 * sigma * sigma);
    assert!(correlation.abs() < 0.05, "{correlation}");
    // Ten bins of equal probability: quantiles of the normal distribution.
    let quantiles =
        [-1.281_552, -0.841_621, -0.524_401, -0.253_347, 0.0, 0.253_347, 0.524_401, 0.841_621, 1.281_552];
    let mut bins = [0f64; 10];
    numbers.iter().for_each(|&x| bins[quantiles.partition_point(|&q| q < x)] += 1.0);
    let expected = numbers.len() as f64 / 10.0;
    let chi: f64 = bins.iter().map(|b| (b - expected).powi(2) / expected).sum();
    // Nine degrees of freedom: 33.7 is exceeded once in 10^4.
    assert!(chi < 33.7, "{chi} {bins:?}");
}

/// `sigma^2 = 12 q 2^s m B^2`, and at most the grid's share more.
#[test]
fn the_deviation_is_that_of_the_formula() {
    for (bits, queries, numbers, max_error) in
        [(1, 1, 1, 1e-3), (20, 16, 10, 1e-6), (30, 1000, 512, 3e-9), (80, 1 << 20, 1, 1e-25)]
    {
        let flooding = Flooding { bits, queries, max_error, min_precision: -100.0 };
        let sigma = flooding.sigma(SharedValues::Real(numbers)).unwrap();
        let t = (numbers as f64).sqrt() * max_error;
        let formula = (12.0 * queries as f64).sqrt() * 2f64.powf(f64::from(bits) / 2.0) * t;
        assert!((1.0..1.04).contains(&(sigma / formula)), "{flooding:?}: {sigma} {formula}");
        // A complex number is two.
        let twice = flooding.sigma(SharedValues::Complex(numbers)).unwrap();
        assert!((twice / sigma - 2f64.sqrt()).abs() < 0.01);
        // The divergence of an answer, with all that rounding to the grid may add.
        let grid = 2f64.powf(max_error.log2().floor() - 5.0);
        let off = (numbers as f64).sqrt() * (max_error + grid);
        let divergence = queries as f64 * off * off / (2.0 * sigma * sigma);
        assert!(divergence <= 2f64.powi(-(bits as i32)) / 24.0, "{flooding:?}: {divergence}");
    }
}

#[test]
fn few_values_have_little_noise_and_only_what_is_shared_is_there() {
    let ten = noise(SharedValues::Real(10), &flooding(), 200);
    assert!(ten.len() == 2000 && ten.iter().all(|z| z.re != 0.0));
    let sigma = flooding().sigma(SharedValues::Real(10)).unwrap();
    assert!(sigma < flooding().sigma(SharedValues::Real(512)).unwrap() / 7.0);
    let real: Vec<f64> = ten.iter().map(|z| z.re / sigma).collect();
    // 2000 values: 3.2 %.
    assert!((variance(&real) - 1.0).abs() < 0.16, "{}", variance(&real));

    let mut c = Client::<u32>::new(Preset::Toy10.params().unwrap(), &[]);
    let x = c.slots(wave(0.4));
    let a = c.encrypt(&x, Level(2));
    let decryptor = Decryptor::new(&c.ring);
    let mut share = |values| {
        let randomness = &mut c.randomness;
        decryptor.decrypt_shareable(&a, &c.secret, &c.encoder, values, &flooding(), randomness)
    };
    assert!(share(SharedValues::Real(3)).unwrap().iter().all(|z| z.im == 0.0));
    assert!(share(SharedValues::Complex(3)).unwrap().iter().all(|z| z.im != 0.0));
    // Two answers about one ciphertext are two.
    assert_ne!(share(SharedValues::Real(3)), share(SharedValues::Real(3)));
    assert_eq!(share(SharedValues::Real(513)), Err(Error::SlotCount { expected: 512, found: 513 }));
}

#[test]
fn what_would_leave_too_little_is_refused() {
    let values = SharedValues::Real(10);
    let sigma = flooding().sigma(values).unwrap();
    let left = -sigma.log2();
    let asked = |min_precision: f64| Flooding { min_precision, ..flooding() }.sigma(values);
    assert_eq!(asked(left - 0.001), Ok(sigma));
    let Err(Error::FloodedPrecision { expected, found }) = asked(left + 0.001) else { panic!() };
    assert!(expected > found && (found - left).abs() < 1e-6);
    // Each of these takes precision.
    let more: [Flooding; 3] = [
        Flooding { bits: 24, ..flooding() },
        Flooding { queries: 256, ..flooding() },
        Flooding { max_error: 2f64.powi(-30), ..flooding() },
    ];
    for more in more {
        let took = left + more.sigma(values).unwrap().log2();
        assert!((took - 2.0).abs() < 1e-6, "{more:?} takes {took} bits");
        let too_much = Flooding { min_precision: left - 1.0, ..more };
        assert!(matches!(too_much.sigma(values), Err(Error::FloodedPrecision { .. })));
    }

    // Refused before anything is decrypted.
    let mut c = Client::<u32>::new(Preset::Toy10.params().unwrap(), &[]);
    let x = c.slots(wave(0.4));
    let a = c.encrypt(&x, Level(2));
    let (decryptor, too_much) = (Decryptor::new(&c.ring), Flooding { min_precision: 40.0, ..flooding() });
    let mut randomness = Randomness::insecure_reproducible(1);
    let refused = decryptor.decrypt_shareable(&a, &c.secret, &c.encoder, values, &too_much, &mut randomness);
    assert!(matches!(refused, Err(Error::FloodedPrecision { expected: 40.0, .. })));
    assert_eq!(randomness.seed(), Randomness::insecure_reproducible(1).seed());
}

#[test]
fn arguments_that_mean_nothing_are_refused() {
    let refused = |flooding: Flooding, values, words: &str| {
        let Err(Error::Flooding(message)) = flooding.sigma(values) else { panic!("{flooding:?}") };
        assert!(message.contains(words), "{message} should say {words}");
    };
    let one = SharedValues::Real(1);
    refused(Flooding { bits: 0, ..flooding() }, one, "0 bits of security");
    refused(Flooding { bits: 129, ..flooding() }, one, "129 bits of security");
    refused(Flooding { queries: 0, ..flooding() }, one, "for 0 answers");
    for max_error in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused(Flooding { max_error, ..flooding() }, one, "a positive bound");
    }
    refused(Flooding { min_precision: f64::NAN, ..flooding() }, one, "a number of bits");
    refused(flooding(), SharedValues::Complex(0), "no slots");
    let none = f64::NEG_INFINITY;
    refused(Flooding { bits: 128, min_precision: none, ..flooding() }, one, "at most 2^56 times");
    refused(Flooding { max_error: 1e-320, ..flooding() }, one, "`f64` has all bits of");
}

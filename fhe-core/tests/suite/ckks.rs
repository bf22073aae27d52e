//! The scheme: every operation decrypts to what it should, within a bound that can fail: two bits below what was
//! measured, 2026-11-22.

use crate::common::{Client, wave};
use fhe_core::ckks::precision::PrecisionReport;
use fhe_core::ckks::{Ciphertext, Decryptor, Encryptor, check_raw_slots};
use fhe_core::math::double::Double;
use fhe_core::math::fft::SpecialFft;
use fhe_core::math::sampling::Randomness;
use fhe_core::math::word::Word;
use fhe_core::params::{GaloisElement, Level, Preset};
use fhe_core::ring::Ring;
use fhe_core::rlwe::{KeyGenerator, SecretKey};
use fhe_core::{Complex64, Error};

fn assert_close(expected: &[Complex64], found: &[Complex64], bits: f64) {
    let report = PrecisionReport::new(expected, found).unwrap();
    assert!(report.modulus.min > bits, "expected {bits} bits:\n{report}");
}

fn check_operations<W: Word>(preset: Preset) {
    let mut c = Client::<W>::new(preset.params().unwrap(), &[1, 3, -2]);
    let (x, y) = (c.slots(wave(0.3)), c.slots(wave(1.7)));
    let top = c.params.max_level();
    let (a, b) = (c.encrypt(&x, top), c.encrypt(&y, top));
    let map = |f: &dyn Fn(Complex64, Complex64) -> Complex64| -> Vec<Complex64> {
        x.iter().zip(&y).map(|(&p, &q)| f(p, q)).collect()
    };
    let e = &c.evaluator;
    assert_close(&x, &c.decrypt(&a), 34.0);
    assert_close(&map(&|p, q| p + q), &c.decrypt(&e.add(&a, &b).unwrap()), 34.0);
    assert_close(&map(&|p, q| p - q), &c.decrypt(&e.sub(&a, &b).unwrap()), 34.0);
    assert_close(&map(&|p, _| -p), &c.decrypt(&e.neg(&a).unwrap()), 34.0);
    assert_close(&map(&|p, _| p + 0.75), &c.decrypt(&e.add_scalar(&a, 0.75).unwrap()), 34.0);

    let scale = c.params.level(top).unwrap().log_scale;
    let plain = c.encoder.encode(&y, top, scale).unwrap();
    assert_close(&map(&|p, q| p + q), &c.decrypt(&e.add_plain(&a, &plain).unwrap()), 34.0);
    assert_close(&map(&|p, q| p - q), &c.decrypt(&e.sub_plain(&a, &plain).unwrap()), 34.0);
    let product = e.rescale(&e.mul_plain(&a, &plain).unwrap()).unwrap();
    assert_close(&map(&|p, q| p * q), &c.decrypt(&product), 33.5);
    let scaled = e.rescale(&e.mul_scalar(&a, -1.375, scale).unwrap()).unwrap();
    assert_close(&map(&|p, _| p * -1.375), &c.decrypt(&scaled), 33.5);

    let raw = e.mul(&a, &b).unwrap();
    assert_eq!(raw.degree(), 2);
    assert_close(&map(&|p, q| p * q), &c.decrypt(&raw), 33.5);
    let product = e.relinearize(&raw, c.keys.relinearization().unwrap()).unwrap();
    let product = e.rescale(&product).unwrap();
    assert_eq!((product.degree(), product.level()), (1, Level(top.0 - 1)));
    assert_close(&map(&|p, q| p * q), &c.decrypt(&product), 33.5);
    let canonical = c.params.level(product.level()).unwrap().log_scale;
    assert!((product.log_scale() - canonical).to_f64().abs() < 1e-25);

    for k in [1, 3, -2] {
        let n = x.len() as i64;
        let rotated: Vec<_> = (0..n).map(|i| x[(i + k).rem_euclid(n) as usize]).collect();
        assert_close(&rotated, &c.decrypt(&e.rotate(&a, k, &c.keys).unwrap()), 33.5);
    }
    assert_close(&map(&|p, _| p.conj()), &c.decrypt(&e.conjugate(&a, &c.keys).unwrap()), 33.5);
    for to in 0..top.0 {
        let dropped = e.level_drop(&a, Level(to)).unwrap();
        assert_eq!(dropped.level(), Level(to));
        assert_close(&x, &c.decrypt(&dropped), 33.5);
    }
}

#[test]
fn operations_in_32_bit_words() {
    check_operations::<u32>(Preset::Toy10);
}

#[test]
fn operations_in_64_bit_words() {
    check_operations::<u64>(Preset::Toy10w);
}

#[test]
fn a_chain_of_squares_uses_every_level_and_keeps_its_scale() {
    let mut c = Client::<u32>::new(Preset::Toy11.params().unwrap(), &[]);
    let mut x = c.slots(|i| Complex64::from_polar(1.0, i as f64));
    let mut a = c.encrypt(&x, c.params.max_level());
    while a.level() > Level(0) {
        let squared = c.evaluator.square(&a).unwrap();
        let relinearized = c.evaluator.relinearize(&squared, c.keys.relinearization().unwrap()).unwrap();
        a = c.evaluator.rescale(&relinearized).unwrap();
        x.iter_mut().for_each(|z| *z = *z * *z);
        let canonical = c.params.level(a.level()).unwrap().log_scale;
        assert!((a.log_scale() - canonical).to_f64().abs() < 1e-25);
    }
    assert_close(&x, &c.decrypt(&a), 28.0);
    assert!(matches!(c.evaluator.rescale(&a), Err(Error::LevelsExhausted { .. })));
}

#[test]
fn secure_presets_encrypt_and_multiply() {
    fn one<W: Word>(preset: Preset) {
        let mut c = Client::<W>::new(preset.params().unwrap(), &[5]);
        let x = c.slots(wave(0.9));
        let a = c.encrypt(&x, c.params.max_level());
        let squared = c.evaluator.square(&a).unwrap();
        let b = c.evaluator.relinearize(&squared, c.keys.relinearization().unwrap()).unwrap();
        let b = c.evaluator.rotate(&c.evaluator.rescale(&b).unwrap(), 5, &c.keys).unwrap();
        let n = x.len();
        let expected: Vec<_> = (0..n).map(|i| x[(i + 5) % n] * x[(i + 5) % n]).collect();
        assert_close(&expected, &c.decrypt(&b), 25.9);
    }
    one::<u32>(Preset::N13);
    one::<u64>(Preset::N13w);
    one::<u32>(Preset::N14);
}

#[test]
fn seeded_and_public_encryptions_decrypt_alike() {
    let mut c = Client::<u32>::new(Preset::Toy10.params().unwrap(), &[]);
    let x = c.slots(wave(2.0));
    let (level, scale) = (Level(1), c.params.level(Level(1)).unwrap().log_scale);
    let plain = c.encoder.encode(&x, level, scale).unwrap();
    let seeded = Encryptor::new(&c.ring).encrypt_seeded(&plain, &c.secret, &mut c.randomness).unwrap();
    assert_close(&x, &c.decrypt(&seeded.expand(&c.ring).unwrap()), 40.0);
}

#[test]
fn bad_messages_are_refused() {
    let c = Client::<u32>::new(Preset::Toy10.params().unwrap(), &[]);
    let scale = c.params.level(Level(0)).unwrap().log_scale;
    let n = c.params.n_slots();
    let encode = |slots: Vec<Complex64>| c.encoder.encode(&slots, Level(0), scale);
    assert_eq!(encode(vec![Complex64::ZERO; n - 1]), Err(Error::SlotCount { expected: n, found: n - 1 }));
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut slots = vec![Complex64::ONE; n];
        slots[7].im = bad;
        assert!(matches!(encode(slots), Err(Error::NotFinite { slot: 7, .. })));
    }
    // The modulus of level 0 has 60 bits, the scale 50: 2^9 is the first power that does not fit.
    assert!(encode(vec![Complex64::new(500.0, 0.0); n]).is_ok());
    assert!(matches!(encode(vec![Complex64::new(513.0, 0.0); n]), Err(Error::Overflow { .. })));
    assert!(matches!(encode(vec![Complex64::new(1e300, 0.0); n]), Err(Error::Overflow { .. })));
    // Sums that overflow in both directions and meet as NaN.
    let signs = [1.7e308, -1.7e308];
    let real = (0..n).map(|i| Complex64::new(signs[i % 2], 0.0)).collect();
    let complex = (0..n).map(|i| Complex64::new(signs[i % 2], signs[i / 2 % 2])).collect();
    let scattered = (0..n).map(|i| Complex64::new(signs[i * i / 3 % 2], signs[i * i / 7 % 2])).collect();
    for slots in [real, complex, scattered] {
        assert!(matches!(encode(slots), Err(Error::Overflow { .. })));
    }
    assert!(matches!(
        c.encoder.encode(&vec![Complex64::ONE; n], Level(9), scale),
        Err(Error::NoSuchLevel { expected: Level(5), found: Level(9) })
    ));
}

fn wrapped_messages<W: Word>(preset: Preset) {
    let mut c = Client::<W>::new(preset.params().unwrap(), &[]);
    let x = c.slots(wave(0.7));
    let decode = |c: &Client<W>, a: &Ciphertext<W>, key: &SecretKey<W>| {
        c.encoder.decode(&Decryptor::new(&c.ring).decrypt(a, key).unwrap())
    };
    for level in [Level(0), Level(1)] {
        let a = c.encrypt(&x, level);
        let info = c.params.level(level).unwrap();
        let half = (info.log_q - 1.0 - info.log_scale.to_f64()).exp2();
        let mut coefficients = x.clone();
        SpecialFft::new(c.ring.n()).embed_inverse(&mut coefficients);
        let largest = coefficients.iter().fold(0f64, |m, z| m.max(z.re.abs()).max(z.im.abs()));
        // The largest coefficient at nine tenths of half the modulus, at the very end, and beyond.
        for (part, fits) in [(0.9, true), (0.995, false), (40.0, false), (5e5, false)] {
            let factor = (part * half / largest).round();
            let scaled = c.evaluator.mul_scalar(&a, factor, Double::default()).unwrap();
            let found = decode(&c, &scaled, &c.secret);
            assert_eq!(found.is_ok(), fits, "{preset} at {level}: {part}");
            assert!(fits || matches!(found, Err(Error::OutOfRange { operation: "decode", .. })));
        }
        let stranger = KeyGenerator::new(&c.ring).secret_key(&mut Randomness::insecure_reproducible(4));
        assert!(matches!(decode(&c, &a, &stranger), Err(Error::OutOfRange { .. })));
    }
}

#[test]
fn messages_that_wrapped_around_and_wrong_keys_are_seen_in_decoding() {
    wrapped_messages::<u32>(Preset::Toy10);
    wrapped_messages::<u64>(Preset::Toy10w);
}

/// What passes unseen has no coefficient that is larger than the largest slot, scaled; the worst slots are those of one coefficient.
#[test]
fn raw_slots_are_refused_before_a_coefficient_is_too_large() {
    let c = Client::<u32>::new(Preset::Toy10.params().unwrap(), &[]);
    let n = c.params.n_slots();
    // Level 0 has 60 bits, level 5 more than 64: half the modulus, and 2^63.
    for (level, bound) in [(Level(0), c.params.level(Level(0)).unwrap().log_q - 1.0), (Level(5), 63.0)] {
        for log_scale in [0.0, 20.0, 50.0].map(Double::from) {
            let slot = |log: f64| Complex64::from_polar((bound + log).exp2() / log_scale.exp2(), 0.5);
            let check = |slots: &[Complex64]| check_raw_slots(&c.params, slots, level, log_scale);
            let encode = |z: Complex64| c.encoder.encode(&vec![z; n], level, log_scale);
            assert_eq!(check(&[slot(-1e-5), Complex64::ZERO]), Ok(()));
            assert!(encode(slot(-1e-5)).is_ok());
            for log in [-1e-7, 0.0, 1.0, 40.0] {
                let Err(Error::RawSlots { found, expected, level: at }) = check(&[Complex64::ONE, slot(log)])
                else {
                    panic!("{bound} {log}")
                };
                assert!((found - bound - log).abs() < 1e-6 && expected == bound && at == level);
            }
            if level == Level(0) {
                let all = Complex64::new(0.0, slot(1e-3).norm());
                assert!(matches!(encode(all), Err(Error::Overflow { .. })));
            }
        }
    }
    let check = |z: Complex64, log_scale: f64| check_raw_slots(&c.params, &[z], Level(5), log_scale.into());
    assert_eq!(check(Complex64::ZERO, 1000.0), Ok(()));
    assert!(matches!(check(Complex64::new(0.0, f64::NAN), 1.0), Err(Error::NotFinite { slot: 0, .. })));
    // The scale would make it small, but not before sums of it are infinite.
    let refused = check(Complex64::new(1e308, 0.0), -1000.0);
    assert!(matches!(refused, Err(Error::RawSlots { found: f64::INFINITY, .. })), "{refused:?}");
    assert!(matches!(
        check_raw_slots(&c.params, &[], Level(6), 1.0.into()),
        Err(Error::NoSuchLevel { expected: Level(5), found: Level(6) })
    ));
}

#[test]
fn mismatches_are_refused_and_name_both_sides() {
    let mut c = Client::<u32>::new(Preset::Toy10.params().unwrap(), &[1]);
    let mut other = Client::<u32>::new(Preset::Toy11.params().unwrap(), &[]);
    let x = c.slots(wave(0.0));
    let (a, low) = (c.encrypt(&x, Level(2)), c.encrypt(&x, Level(1)));
    let y = other.slots(wave(0.0));
    let foreign = other.encrypt(&y, Level(2));
    let e = &c.evaluator;
    assert!(matches!(e.add(&a, &low), Err(Error::LevelMismatch { expected: Level(2), found: Level(1), .. })));
    assert!(matches!(e.add(&a, &foreign), Err(Error::ParamsMismatch { .. })));
    assert!(matches!(
        Decryptor::new(&c.ring).decrypt(&foreign, &c.secret),
        Err(Error::ParamsMismatch { .. })
    ));
    assert!(matches!(
        Decryptor::new(&other.ring).decrypt(&foreign, &c.secret),
        Err(Error::ParamsMismatch { .. })
    ));
    let off = e.mul_scalar(&a, 1.0, Double::from(1e-6)).unwrap();
    assert!(matches!(e.add(&a, &off), Err(Error::ScaleMismatch { .. })));
    assert!(matches!(e.level_drop(&off, Level(0)), Err(Error::ScaleMismatch { .. })));
    assert!(matches!(e.level_drop(&low, Level(2)), Err(Error::LevelMismatch { .. })));
    let squared = e.square(&a).unwrap();
    assert!(matches!(e.mul(&squared, &a), Err(Error::DegreeMismatch { expected: 1, found: 2, .. })));
    assert!(matches!(e.rotate(&squared, 1, &c.keys), Err(Error::DegreeMismatch { .. })));
    let relinearization = c.keys.relinearization().unwrap();
    assert!(matches!(
        e.relinearize(&a, relinearization),
        Err(Error::DegreeMismatch { expected: 2, found: 1, .. })
    ));
    assert!(matches!(Ring::<u64>::new(&c.params), Err(Error::WordMismatch { expected: 32, found: 64 })));
}

#[test]
fn keys_that_are_missing_are_named() {
    let mut c = Client::<u32>::new(Preset::Toy10.params().unwrap(), &[1]);
    let x = c.slots(wave(0.0));
    let a = c.encrypt(&x, Level(1));
    let element = c.params.galois_element(7).unwrap();
    let error = c.evaluator.rotate(&a, 7, &c.keys).unwrap_err();
    assert_eq!(error, Error::MissingGaloisKey { element, rotation: "7".to_owned() });
    assert!(matches!(
        c.evaluator.rotate(&a, 512, &c.keys),
        Err(Error::RotationOutOfRange { n_slots: 512, found: 512 })
    ));
    let mut randomness = Randomness::insecure_reproducible(3);
    let generator = KeyGenerator::new(&c.ring);
    assert!(matches!(
        generator.galois_key(&c.secret, GaloisElement(4), &mut randomness),
        Err(Error::NotGalois { two_n: 2048, found: 4 })
    ));
    let none = generator.evaluation_keys(&c.secret, false, &[], &mut randomness, |_, _| ()).unwrap();
    assert_eq!(none.relinearization().unwrap_err(), Error::MissingRelinearizationKey);
}

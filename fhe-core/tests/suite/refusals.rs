//! What is refused: foreign objects, scales without room, wrong shapes, keys of another secret.

use crate::common::{Client, wave};
use fhe_core::ckks::precision::PrecisionReport;
use fhe_core::ckks::{Ciphertext, Encryptor};
use fhe_core::math::double::Double;
use fhe_core::math::sampling::Randomness;
use fhe_core::params::{Level, LimbIdx, Params, ParamsLiteral, Preset, Scales, Security};
use fhe_core::ring::{Eval, RnsPoly};
use fhe_core::rlwe::{KeyGenerator, key_inner};
use fhe_core::{Complex64, Error};

fn params_differ<T: core::fmt::Debug>(operation: &str, result: fhe_core::Result<T>) {
    assert!(matches!(result, Err(Error::ParamsMismatch { .. })), "{operation}: {result:?}");
}

#[test]
fn every_operation_refuses_what_is_foreign_before_anything_else() {
    let longer = ParamsLiteral { log_n: 10, security: Security::Insecure, ..Preset::N15.literal() };
    let toy = Preset::Toy10.params().unwrap();
    for other in [Preset::Toy11.params().unwrap(), Params::new(longer).unwrap()] {
        for (own, other) in [(&toy, &other), (&other, &toy)] {
            let mut c = Client::<u32>::new(own.clone(), &[1]);
            let mut o = Client::<u32>::new(other.clone(), &[1]);
            let (x, y) = (c.slots(wave(0.0)), o.slots(wave(0.0)));
            let level = Level(3);
            let (a, f) = (c.encrypt(&x, level), o.encrypt(&y, level));
            let squared = o.evaluator.square(&f).unwrap();
            let plain = o.encoder.encode(&y, level, f.log_scale()).unwrap();
            let e = &c.evaluator;
            params_differ("add", e.add(&a, &f));
            params_differ("add", e.add(&f, &a));
            params_differ("sub", e.sub(&f, &a));
            params_differ("neg", e.neg(&f));
            params_differ("add_plain", e.add_plain(&a, &plain));
            params_differ("sub_plain", e.sub_plain(&a, &plain));
            params_differ("mul_plain", e.mul_plain(&a, &plain));
            params_differ("mul_scalar", e.mul_scalar(&f, f64::NAN, Double::from(10.0)));
            params_differ("add_scalar", e.add_scalar(&f, f64::NAN));
            params_differ("mul", e.mul(&f, &a));
            params_differ("square", e.square(&squared));
            params_differ("relinearize", e.relinearize(&f, c.keys.relinearization().unwrap()));
            params_differ("relinearize", e.relinearize(&squared, c.keys.relinearization().unwrap()));
            let key = c.keys.relinearization().unwrap();
            assert!(matches!(e.relinearize_raised(&squared, key), Err(Error::ParamsMismatch { .. })));
            let raised = o.evaluator.raise(&f).unwrap();
            params_differ("mod_down", e.mod_down(&raised));
            params_differ("mod_down_rescale", e.mod_down_rescale(&raised));
            params_differ("rescale", e.rescale(&f));
            params_differ("level_drop", e.level_drop(&f, level));
            params_differ("level_drop", e.level_drop(&f, Level(99)));
            params_differ("rotate", e.rotate(&f, 0, &c.keys));
            params_differ("rotate", e.rotate(&f, 1, &c.keys));
            params_differ("rotate", e.rotate(&a, 1, &o.keys));
            params_differ("conjugate", e.conjugate(&squared, &c.keys));
            let encryptor = Encryptor::new(&c.ring);
            params_differ("encrypt", encryptor.encrypt(&plain, &c.public, &mut c.randomness));
            params_differ("seeded", encryptor.encrypt_seeded(&plain, &c.secret, &mut c.randomness));
            params_differ("decode", c.encoder.decode(&plain));
        }
    }
}

#[test]
fn scales_that_leave_no_room_are_refused() {
    let mut c = Client::<u32>::new(Preset::Toy10.params().unwrap(), &[]);
    let x = c.slots(wave(0.0));
    for level in 0..=c.params.max_level().0 {
        let a = c.encrypt(&x, Level(level));
        let scale = a.log_scale();
        let plain = c.encoder.encode(&x, Level(level), scale).unwrap();
        let e = &c.evaluator;
        for result in [e.mul(&a, &a), e.mul_plain(&a, &plain), e.mul_scalar(&a, 1.0, scale)] {
            // Products of canonical scales fit from level 1 on.
            assert_eq!(result.is_ok(), level > 0, "level {level}");
            assert!(level > 0 || matches!(result, Err(Error::ScaleTooLarge { .. })));
        }
        let log_q = c.params.level(Level(level)).unwrap().log_q;
        let room = (log_q - scale.to_f64()).min(60.0);
        if room < 60.0 {
            assert!(e.add_scalar(&a, (room - 1.01).exp2()).is_ok());
            assert!(matches!(e.add_scalar(&a, -(room - 0.99).exp2()), Err(Error::Overflow { .. })));
        }
        for bad in [log_q, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let made = Ciphertext::new(&c.params, a.polys().to_vec(), Level(level), Double::from(bad));
            assert!(matches!(made, Err(Error::ScaleTooLarge { .. })), "{bad}");
        }
    }
    let a = c.encrypt(&x, Level(2));
    let off = c.evaluator.mul_scalar(&a, 1.0, Double::from(1e-6)).unwrap();
    assert!(matches!(c.evaluator.level_drop(&off, Level(2)), Err(Error::ScaleMismatch { .. })));
}

#[test]
fn objects_of_the_wrong_shape_are_refused() {
    let c = Client::<u32>::new(Preset::Toy10.params().unwrap(), &[]);
    let basis = c.params.level(Level(1)).unwrap().basis.clone();
    let short = RnsPoly::<u32, Eval>::zero(&basis, 8);
    let scale = Double::from(40.0);
    let made = Ciphertext::new(&c.params, vec![short.clone(), short.clone()], Level(1), scale);
    assert!(matches!(made, Err(Error::RingDegreeMismatch { expected: 1024, found: 8, .. })));
    let mut zero = RnsPoly::<u32, Eval>::zero(&basis, c.params.n());
    assert!(matches!(zero.add_assign(&c.ring, &short), Err(Error::RingDegreeMismatch { .. })));
    let words = RnsPoly::<u32, Eval>::from_words(&c.ring, &[LimbIdx(99)], vec![0; 1024]);
    assert!(words.unwrap_err().to_string().contains("limb 99"));
    let key = c.keys.relinearization().unwrap().key();
    let inner = key_inner(&c.ring, &[(9, zero.clone())], key);
    assert!(matches!(inner, Err(Error::WrongKey { .. })), "{inner:?}");
    zero.wipe();
    assert_eq!(zero.words().len(), basis.len() * c.params.n());
}

#[test]
fn keys_of_another_secret_are_refused() {
    let c = Client::<u32>::new(Preset::Toy10.params().unwrap(), &[1]);
    let (generator, mut randomness) = (KeyGenerator::new(&c.ring), Randomness::insecure_reproducible(99));
    let stranger = generator.secret_key(&mut randomness);
    assert_ne!(stranger.id(), c.secret.id());
    let mut keys = c.keys.clone();
    let element = c.params.galois_element(2).unwrap();
    let galois = generator.galois_key(&stranger, element, &mut randomness).unwrap();
    let expected = Error::WrongKey {
        expected: format!("a key of secret {}", c.secret.id()),
        found: format!("one of secret {}", stranger.id()),
    };
    assert_eq!(keys.insert_galois(galois), Err(expected.clone()));
    let relinearization = generator.relinearization_key(&stranger, &mut randomness).unwrap();
    assert_eq!(keys.set_relinearization(relinearization), Err(expected));
    assert_eq!(keys, c.keys);
}

#[test]
fn reports_do_not_pass_over_what_is_no_number() {
    let x = vec![Complex64::ONE; 4];
    let mut y = x.clone();
    y[2].re = f64::NAN;
    let report = PrecisionReport::new(&x, &y).unwrap();
    assert_eq!((report.modulus.min, report.real.min), (f64::NEG_INFINITY, f64::NEG_INFINITY));
    assert_eq!((report.max_error, report.mean_error), (f64::INFINITY, f64::INFINITY));
    assert_eq!(report.imaginary.min, 64.0);
    let shorter = PrecisionReport::new(&x, &x[..3]);
    assert_eq!(shorter, Err(Error::SlotCount { expected: 4, found: 3 }));
}

#[test]
fn chains_that_are_not_supported_are_refused() {
    let refused = |change: &dyn Fn(&mut ParamsLiteral)| {
        let mut literal = Preset::Toy10.literal();
        change(&mut literal);
        Params::new(literal).unwrap_err().to_string()
    };
    let gap = refused(&|l| l.levels[0] = vec![0, 2]);
    assert!(gap.contains("canonical scale of level 0"), "{gap}");
    let unused = refused(&|l| drop(l.levels.pop()));
    assert!(unused.contains("no level has main prime 10"), "{unused}");
    let small = refused(&|l| l.log_scale = 29);
    assert!(small.contains("at least 30 with more than one level"), "{small}");
    let beyond = refused(&|l| l.scales = Scales::FromBottom { working: 6, base: 50 });
    assert!(beyond.contains("up to level 6, expected at most 5"), "{beyond}");
    for base in [29, 51] {
        let outside = refused(&|l| l.scales = Scales::FromBottom { working: 5, base });
        assert!(outside.contains("expected from 30 to the nominal 50"), "{outside}");
    }
    // Level 1 would have a scale of about 2^45: the step to level 0 is no larger.
    let low = refused(&|l| l.scales = Scales::FromBottom { working: 5, base: 40 });
    assert!(low.contains("canonical scale of level 1 is 2^4"), "{low}");
}

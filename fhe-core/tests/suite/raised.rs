//! Before and after the division by P.

use crate::common::{Client, wave};
use fhe_core::math::word::Word;
use fhe_core::params::{Level, Params, Preset};
use fhe_core::{Complex64, Error};

fn largest_difference(a: &[Complex64], b: &[Complex64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y).norm()).fold(0.0, f64::max)
}

/// P c is 0 modulo the special primes, so adding it before the division or c after it is the same integer.
fn a_key_switch_may_divide_later<W: Word>(params: Params) {
    let mut c = Client::<W>::new(params, &[1, -3]);
    let x = c.slots(wave(0.4));
    for level in (0..=c.params.max_level().0).map(Level) {
        let a = c.encrypt(&x, level);
        let raised = c.evaluator.raise(&a).unwrap();
        assert_eq!(c.evaluator.mod_down(&raised).unwrap(), a);
        if level > Level(0) {
            let square = c.evaluator.square(&a).unwrap();
            let key = c.keys.relinearization().unwrap();
            let raised = c.evaluator.relinearize_raised(&square, key).unwrap();
            let separate = c.evaluator.relinearize(&square, key).unwrap();
            assert_eq!(c.evaluator.mod_down(&raised).unwrap(), separate);
        }
        for k in [1, -3] {
            let raised = c.evaluator.rotate_raised(&a, k, &c.keys).unwrap();
            let divided = c.evaluator.mod_down(&raised).unwrap();
            let rotated = c.evaluator.rotate(&a, k, &c.keys).unwrap();
            // The automorphism before the division meets other signs: where the fixed point of the conversion is near a
            // tie, a coefficient may differ by 1.
            let (p, q) = (c.decrypt(&divided), c.decrypt(&rotated));
            assert!(largest_difference(&p, &q) < (c.params.n() as f64) * (-rotated.log_scale()).exp2());
        }
    }
}

#[test]
fn a_division_later_is_the_same_division() {
    a_key_switch_may_divide_later::<u32>(Preset::Toy10.params().unwrap());
    a_key_switch_may_divide_later::<u64>(Preset::Toy10w.params().unwrap());
    a_key_switch_may_divide_later::<u32>(Preset::N13.params().unwrap());
}

/// `sum_k w_k rotate(x, k) - 0.5 x`, one division for all, beside one for each and the rescale.
fn a_sum_divides_once<W: Word>(params: Params) {
    let rotations = [1, 2, 5, -7];
    let mut c = Client::<W>::new(params, &rotations);
    let x = c.slots(wave(0.9));
    let level = c.params.max_level();
    let scale = c.params.level(level).unwrap().log_scale;
    let a = c.encrypt(&x, level);
    let (mut hoisted, mut separate) = (None, None);
    let mut expected = vec![Complex64::new(0.0, 0.0); x.len()];
    for (i, &k) in rotations.iter().enumerate() {
        let w = c.slots(wave(i as f64));
        let raised = c.evaluator.rotate_raised(&a, k, &c.keys).unwrap();
        let plain = c.encoder.encode_raised(&w, level, scale).unwrap();
        let term = c.evaluator.mul_plain_raised(&raised, &plain).unwrap();
        hoisted = Some(match hoisted {
            None => c.evaluator.neg_raised(&c.evaluator.neg_raised(&term).unwrap()).unwrap(),
            Some(sum) => c.evaluator.add_raised(&sum, &term).unwrap(),
        });
        let rotated = c.evaluator.rotate(&a, k, &c.keys).unwrap();
        let term = c.evaluator.mul_plain(&rotated, &c.encoder.encode(&w, level, scale).unwrap()).unwrap();
        separate = Some(match separate {
            None => term,
            Some(sum) => c.evaluator.add(&sum, &term).unwrap(),
        });
        let n = x.len();
        for (slot, e) in expected.iter_mut().enumerate() {
            *e += w[slot] * x[(slot as i64 + k).rem_euclid(n as i64) as usize];
        }
    }
    let scaled = c.evaluator.mul_scalar_raised(&c.evaluator.raise(&a).unwrap(), 0.5, scale).unwrap();
    let hoisted = c.evaluator.sub_raised(&hoisted.unwrap(), &scaled).unwrap();
    let hoisted = c.evaluator.mod_down_rescale(&hoisted).unwrap();
    let scaled = c.evaluator.mul_scalar(&a, 0.5, scale).unwrap();
    let separate = c.evaluator.rescale(&c.evaluator.sub(&separate.unwrap(), &scaled).unwrap()).unwrap();
    assert_eq!((hoisted.level(), hoisted.log_scale()), (separate.level(), separate.log_scale()));
    expected.iter_mut().zip(&x).for_each(|(e, x)| *e -= x * 0.5);
    let (hoisted, separate) = (c.decrypt(&hoisted), c.decrypt(&separate));
    let (one, many) = (largest_difference(&hoisted, &expected), largest_difference(&separate, &expected));
    assert!(one < 1.1 * many, "off by {one}, with a division for each {many}");
    assert!(one < (f64::from(c.params.log_n()) + 7.0 - scale.to_f64()).exp2(), "off by {one}");
}

#[test]
fn a_sum_of_rotations_divides_once() {
    a_sum_divides_once::<u32>(Preset::Toy10.params().unwrap());
    a_sum_divides_once::<u64>(Preset::Toy10w.params().unwrap());
    a_sum_divides_once::<u32>(Preset::N13.params().unwrap());
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut c = Client::<u32>::new(Preset::Toy10.params().unwrap(), &[1]);
    let x = c.slots(wave(0.0));
    let (a, low) = (c.encrypt(&x, Level(2)), c.encrypt(&x, Level(1)));
    assert!(matches!(c.evaluator.rotate_raised(&a, 2, &c.keys), Err(Error::MissingGaloisKey { .. })));
    let (a, low) = (c.evaluator.raise(&a).unwrap(), c.evaluator.raise(&low).unwrap());
    assert!(matches!(c.evaluator.add_raised(&a, &low), Err(Error::LevelMismatch { .. })));
    let scale = c.params.level(Level(1)).unwrap().log_scale;
    let plain = c.encoder.encode_raised(&x, Level(1), scale).unwrap();
    assert!(matches!(c.evaluator.mul_plain_raised(&a, &plain), Err(Error::LevelMismatch { .. })));
}

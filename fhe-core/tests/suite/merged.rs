//! One division by P and the removed primes against two divisions, one after the other.

use crate::common::{Client, wave};
use fhe_core::ckks::Ciphertext;
use fhe_core::ckks::precision::PrecisionReport;
use fhe_core::math::primes;
use fhe_core::math::word::{Word, WordKind};
use fhe_core::params::{Level, Params, ParamsLiteral, Preset, Scales, Security};
use fhe_core::{Complex64, Error};

/// `log_n` 10, one prime of 40 bits a level, digits of one limb and one special prime.
fn one_prime_a_level() -> Params {
    let (log_n, depth) = (10, 4);
    let mut large = primes::descending(58, log_n + 1);
    let special_primes = vec![large.next().unwrap()];
    let mut main_primes = vec![large.next().unwrap()];
    main_primes.extend(primes::nearest(40, log_n + 1, depth));
    let literal = ParamsLiteral {
        log_n,
        word: WordKind::U64,
        main_primes,
        special_primes,
        levels: (1..=depth as u32 + 1).map(|l| (0..l).collect()).collect(),
        digit_limbs: 1,
        log_scale: 40,
        scales: Scales::FromTop,
        security: Security::Insecure,
    };
    Params::new(literal).unwrap()
}

fn relinearize_then_rescale<W: Word>(c: &Client<W>, a: &Ciphertext<W>) -> Ciphertext<W> {
    let key = c.keys.relinearization().unwrap();
    c.evaluator.rescale(&c.evaluator.relinearize(a, key).unwrap()).unwrap()
}

fn relinearize_rescale<W: Word>(c: &Client<W>, a: &Ciphertext<W>) -> Ciphertext<W> {
    let raised = c.evaluator.relinearize_raised(a, c.keys.relinearization().unwrap()).unwrap();
    c.evaluator.mod_down_rescale(&raised).unwrap()
}

/// The two round the same number, one of them twice: in each coefficient they differ by at most 1, and only where it
/// lies, within the fixed point of the conversion, in the middle between two integers. Measured, 2026-11-25: nowhere.
fn assert_neighbours<W: Word>(c: &Client<W>, a: &Ciphertext<W>, b: &Ciphertext<W>) {
    let mut n_different = 0;
    for (p, q) in a.polys().iter().zip(b.polys()) {
        let mut difference = p.clone();
        difference.sub_assign(&c.ring, q).unwrap();
        let difference = c.ring.intt(difference);
        let signs: Vec<Vec<i8>> = (0..difference.basis().len())
            .map(|position| {
                let q = c.params.prime(difference.basis()[position]);
                let sign = |w: &W| match w.to_u64() {
                    0 => 0,
                    1 => 1,
                    w if w == q - 1 => -1,
                    w => panic!("a difference of {w} modulo {q}"),
                };
                difference.limb(position).iter().map(sign).collect()
            })
            .collect();
        assert!(signs.windows(2).all(|pair| pair[0] == pair[1]), "limbs differ by different integers");
        n_different += signs[0].iter().filter(|&&sign| sign != 0).count();
    }
    assert!(n_different <= c.params.n() / 256, "{n_different} coefficients differ");
}

fn check_every_level<W: Word>(params: Params) {
    let mut c = Client::<W>::new(params, &[]);
    let (x, y) = (c.slots(wave(0.3)), c.slots(wave(1.7)));
    let expected: Vec<Complex64> = x.iter().zip(&y).map(|(&p, &q)| p * q).collect();
    for level in (1..=c.params.max_level().0).map(Level) {
        let (a, b) = (c.encrypt(&x, level), c.encrypt(&y, level));
        let raw = c.evaluator.mul(&a, &b).unwrap();
        let (separate, merged) = (relinearize_then_rescale(&c, &raw), relinearize_rescale(&c, &raw));
        assert_eq!((merged.degree(), merged.level()), (1, Level(level.0 - 1)));
        assert_eq!(merged.log_scale(), separate.log_scale());
        assert_neighbours(&c, &merged, &separate);
        let report = |found| PrecisionReport::new(&expected, &c.decrypt(found)).unwrap();
        let (separate, merged) = (report(&separate), report(&merged));
        let scale = c.params.level(level).unwrap().log_scale.to_f64();
        // Measured, 2026-11-25: at most log N + 4.7 bits below the scale, the errors of encryption; two bits of room.
        assert!(
            merged.modulus.min > scale - f64::from(c.params.log_n()) - 6.7,
            "{} at level {level}:\n{merged}",
            c.params
        );
        assert!(merged.modulus.mean > separate.modulus.mean - 0.01, "level {level}:\n{separate}\n{merged}");
    }
}

#[test]
fn merged_and_separate_agree_at_every_level() {
    check_every_level::<u32>(Preset::Toy10.params().unwrap());
    check_every_level::<u32>(Preset::Toy12.params().unwrap());
    check_every_level::<u64>(Preset::Toy10w.params().unwrap());
    check_every_level::<u32>(Preset::N13.params().unwrap());
    check_every_level::<u64>(Preset::N13w.params().unwrap());
    check_every_level::<u64>(one_prime_a_level());
}

/// Mean error after a square at every level.
fn chain<W: Word>(
    c: &Client<W>,
    step: fn(&Client<W>, &Ciphertext<W>) -> Ciphertext<W>,
    a: &Ciphertext<W>,
    x: &[Complex64],
) -> f64 {
    let (mut a, mut x) = (a.clone(), x.to_vec());
    while a.level() > Level(0) {
        a = step(c, &c.evaluator.square(&a).unwrap());
        x.iter_mut().for_each(|z| *z = *z * *z);
    }
    PrecisionReport::new(&x, &c.decrypt(&a)).unwrap().mean_error
}

#[test]
fn the_error_of_a_chain_of_squares_does_not_grow() {
    fn check<W: Word>(params: Params) {
        let mut c = Client::<W>::new(params, &[]);
        let x = c.slots(|i| Complex64::from_polar(1.0, i as f64));
        let a = c.encrypt(&x, c.params.max_level());
        let separate = chain(&c, relinearize_then_rescale, &a, &x);
        let merged = chain(&c, relinearize_rescale, &a, &x);
        assert!(merged < 1.01 * separate, "mean error {merged}, of two roundings {separate}");
    }
    check::<u32>(Preset::Toy11.params().unwrap());
    check::<u64>(Preset::Toy10w.params().unwrap());
    check::<u64>(one_prime_a_level());
}

#[test]
fn what_is_not_a_product_above_level_0_is_refused() {
    let mut c = Client::<u32>::new(Preset::Toy10.params().unwrap(), &[]);
    let x = c.slots(wave(0.0));
    let (a, low) = (c.encrypt(&x, Level(1)), c.encrypt(&x, Level(0)));
    let key = c.keys.relinearization().unwrap();
    assert!(matches!(
        c.evaluator.relinearize_raised(&a, key),
        Err(Error::DegreeMismatch { operation: "relinearize_raised", expected: 2, found: 1 })
    ));
    let mut polys = low.polys().to_vec();
    polys.push(polys[0].clone());
    let low = Ciphertext::new(&c.params, polys, Level(0), low.log_scale()).unwrap();
    let raised = c.evaluator.relinearize_raised(&low, key).unwrap();
    assert!(matches!(c.evaluator.mod_down_rescale(&raised), Err(Error::LevelsExhausted { .. })));
}

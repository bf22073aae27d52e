//! Rational chains: rescale{removed, added} against big integers, and the operations at every level.

use crate::common::{Client, wave};
use fhe_core::ckks::Ciphertext;
use fhe_core::ckks::precision::PrecisionReport;
use fhe_core::math::sampling::{Seed, expand_uniform};
use fhe_core::math::word::WordKind;
use fhe_core::params::{Level, LimbIdx, Params, PrefixChain, RationalChain, Security};
use fhe_core::ring::{Coeff, Eval, Ring, RnsPoly};
use fhe_core::rlwe::mod_down_rescale;
use num_bigint::BigInt;
use num_complex::Complex64;

fn params(log_n: u32, log_scale: u32, n_main: usize, n_terminal: usize) -> Params {
    let (n_special, digit_limbs, security) = (4, 4, Security::Insecure);
    let boot_steps = Vec::new();
    let chain =
        RationalChain { log_n, log_scale, n_main, n_terminal, n_special, digit_limbs, boot_steps, security };
    Params::new(chain.literal()).unwrap()
}

fn product(params: &Params, limbs: &[LimbIdx]) -> BigInt {
    limbs.iter().map(|&l| BigInt::from(params.prime(l))).product()
}

/// The centred integers of a polynomial, by the Chinese remainder theorem.
fn integers(ring: &Ring<u32>, poly: &RnsPoly<u32, Eval>) -> Vec<BigInt> {
    let params = ring.params();
    let poly: RnsPoly<u32, Coeff> = ring.intt(poly.clone());
    let q = product(params, poly.basis());
    let parts: Vec<BigInt> = poly
        .basis()
        .iter()
        .map(|&l| {
            let p = BigInt::from(params.prime(l));
            let others = &q / &p;
            &others * (&others % &p).modpow(&(&p - 2), &p)
        })
        .collect();
    let lift = |k: usize| {
        let terms = parts.iter().enumerate().map(|(i, part)| part * poly.limb(i)[k]);
        let x = terms.sum::<BigInt>() % &q;
        if &x * 2 > q { x - &q } else { x }
    };
    (0..ring.n()).map(lift).collect()
}

/// `round(x numerator / denominator)`, ties up.
fn divided(x: &BigInt, numerator: &BigInt, denominator: &BigInt) -> BigInt {
    let twice = x * numerator * 2 + denominator;
    let (two, zero) = (denominator * 2, BigInt::from(0));
    let remainder = ((&twice % &two) + &two) % &two;
    (twice - if remainder < zero { zero } else { remainder }) / two
}

fn uniform(ring: &Ring<u32>, basis: &[LimbIdx]) -> RnsPoly<u32, Eval> {
    let mut poly = RnsPoly::zero(basis, ring.n());
    poly.for_each_limb(|limb, words| expand_uniform(&Seed([3; 32]), 0, limb.0, &ring.modulus(limb), words));
    poly
}

/// The naive twin: one integer, multiplied and divided. Centred conversion may take a neighbour near a tie; uniform integers
/// of so few coefficients come nowhere near.
fn rescale_is_a_division(params: Params) {
    let ring = Ring::<u32>::new(&params).unwrap();
    for l in 1..=params.max_level().0 {
        let (here, next) = (params.level(Level(l)).unwrap(), params.level(Level(l - 1)).unwrap());
        let (removed, added) = (params.removed_at(Level(l)).unwrap(), params.added_at(Level(l)).unwrap());
        let (r, a) = (product(&params, &removed), product(&params, &added));
        let x = uniform(&ring, &here.basis);
        let y = ring.rescale(&x, &next.basis).unwrap();
        assert_eq!(y.basis(), next.basis);
        let expected: Vec<_> = integers(&ring, &x).iter().map(|x| divided(x, &a, &r)).collect();
        let q = product(&params, &next.basis);
        let centre = |x: BigInt| if &x * 2 > q { x - &q } else { x };
        assert_eq!(integers(&ring, &y), expected.into_iter().map(centre).collect::<Vec<_>>(), "level {l}");

        let x = uniform(&ring, &params.raised_basis(Level(l)).unwrap());
        let y = mod_down_rescale(&ring, &x, Level(l)).unwrap();
        let rp = r * product(&params, &params.special());
        let expected: Vec<_> = integers(&ring, &x).iter().map(|x| divided(x, &a, &rp)).collect();
        let centre = |x: BigInt| if &x * 2 > q { x - &q } else { x };
        assert_eq!(integers(&ring, &y), expected.into_iter().map(centre).collect::<Vec<_>>(), "level {l}");
    }
}

#[test]
fn rescale_multiplies_by_the_added_and_divides_by_the_removed() {
    for (log_scale, n_terminal) in [(30, 0), (35, 5), (40, 4), (45, 3)] {
        rescale_is_a_division(params(5, log_scale, 12, n_terminal));
    }
}

fn assert_close(expected: &[Complex64], found: &[Complex64], bits: f64) {
    let report = PrecisionReport::new(expected, found).unwrap();
    assert!(report.modulus.min > bits, "expected {bits} bits:\n{report}");
}

fn relinearized(c: &Client<u32>, a: &Ciphertext<u32>) -> Ciphertext<u32> {
    c.evaluator.relinearize(a, c.keys.relinearization().unwrap()).unwrap()
}

/// At every level: encryption, product, rescale, the merged form, rotation, and drops to every lower level.
#[test]
fn operations_at_every_level() {
    for (log_scale, n_terminal) in [(30, 0), (35, 5), (40, 4), (45, 3)] {
        let params = params(10, log_scale, 16, n_terminal);
        let mut c = Client::<u32>::new(params, &[3]);
        let (x, y) = (c.slots(wave(0.3)), c.slots(wave(1.7)));
        let products: Vec<Complex64> = x.iter().zip(&y).map(|(a, b)| a * b).collect();
        let rotated: Vec<Complex64> = (0..x.len()).map(|i| x[(i + 3) % x.len()]).collect();
        // 15.5 bits less than the scale after public-key encryption at log N 10, and some for what is done with it.
        let bits = f64::from(log_scale) - 17.5;
        for l in 0..=c.params.max_level().0 {
            let a = c.encrypt(&x, Level(l));
            assert_close(&rotated, &c.decrypt(&c.evaluator.rotate(&a, 3, &c.keys).unwrap()), bits);
            for to in 0..l {
                let dropped = c.evaluator.level_drop(&a, Level(to)).unwrap();
                assert_eq!(dropped.log_scale(), c.params.level(Level(to)).unwrap().log_scale);
                assert_eq!(dropped.polys()[0].basis(), c.params.level(Level(to)).unwrap().basis);
                assert_close(&x, &c.decrypt(&dropped), bits);
            }
            if l == 0 {
                continue;
            }
            let b = c.encrypt(&y, Level(l));
            let raw = c.evaluator.mul(&a, &b).unwrap();
            let product = c.evaluator.rescale(&relinearized(&c, &raw)).unwrap();
            let raised = c.evaluator.relinearize_raised(&raw, c.keys.relinearization().unwrap()).unwrap();
            let merged = c.evaluator.mod_down_rescale(&raised).unwrap();
            let canonical = c.params.level(Level(l - 1)).unwrap().log_scale;
            for result in [product, merged] {
                assert!((result.log_scale() - canonical).to_f64().abs() < 1e-25);
                assert_close(&products, &c.decrypt(&result), bits - 1.0);
            }
        }
    }
}

/// Fifty products of ciphertexts, and after every fifth a level is dropped: the declared scale stays the canonical one, and it is the scale
/// that the message really has. `bits` of the mean quotient of what is found and what is expected.
fn fifty_products_do_not_move_the_scale(params: Params, log_scale: f64, bits: f64) {
    assert!(params.max_level() >= Level(60), "{params}");
    let mut c = Client::<u32>::new(params, &[]);
    let x = c.slots(|i| Complex64::from_polar(1.0, i as f64));
    let one = c.slots(|_| Complex64::ONE);
    let mut a = c.encrypt(&x, c.params.max_level());
    for i in 1..=50 {
        let factor = c.encrypt(&one, a.level());
        let product = c.evaluator.mul(&a, &factor).unwrap();
        a = c.evaluator.rescale(&relinearized(&c, &product)).unwrap();
        if i % 5 == 0 {
            a = c.evaluator.level_drop(&a, Level(a.level().0 - 1)).unwrap();
        }
        let canonical = c.params.level(a.level()).unwrap().log_scale;
        assert!((a.log_scale() - canonical).to_f64().abs() < 1f64 / f64::from(1 << 30));
        assert!((a.log_scale().to_f64() - log_scale).abs() < 0.15);
    }
    let found = c.decrypt(&a);
    assert_close(&x, &found, bits - 4.0);
    let quotient = found.iter().zip(&x).map(|(f, x)| f / x).sum::<Complex64>() / x.len() as f64;
    assert!(
        (quotient - 1.0).norm() < (-bits).exp2(),
        "the scale is off by {}",
        (quotient - 1.0).norm().log2()
    );
}

#[test]
fn fifty_products_on_a_rational_chain() {
    fifty_products_do_not_move_the_scale(params(10, 40, 86, 4), 40.0, 24.0);
}

#[test]
fn fifty_products_on_a_prefix_chain() {
    let chain = PrefixChain {
        log_n: 10,
        word: WordKind::U32,
        log_scale: 55,
        working: 61,
        boot_steps: Vec::new(),
        n_special: 8,
        digit_limbs: 8,
        security: Security::Insecure,
    };
    fifty_products_do_not_move_the_scale(Params::new(chain.literal()).unwrap(), 55.0, 38.0);
}

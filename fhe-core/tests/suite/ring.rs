//! Basis conversion, division and automorphisms against big integers and the naive definitions.

use fhe_core::math::naive;
use fhe_core::math::sampling::{Seed, expand_uniform};
use fhe_core::math::word::Word;
use fhe_core::params::{GaloisElement, LimbIdx, ParamsLiteral, Preset, Security};
use fhe_core::params::{Level, Params};
use fhe_core::ring::{Coeff, ConvertBasis, Ring, RnsPoly};
use fhe_core::rlwe::{mod_down, mod_down_rescale, multiply_by_p};
use num_bigint::{BigInt, Sign};

fn small<W: Word>(preset: Preset) -> Ring<W> {
    let literal = ParamsLiteral { log_n: 6, security: Security::Insecure, ..preset.literal() };
    Ring::new(&Params::new(literal).unwrap()).unwrap()
}

fn limbs(range: core::ops::Range<u32>) -> Vec<LimbIdx> {
    range.map(LimbIdx).collect()
}

fn uniform<W: Word>(ring: &Ring<W>, basis: &[LimbIdx]) -> RnsPoly<W, Coeff> {
    let mut p = RnsPoly::zero(basis, ring.n());
    p.for_each_limb(|l, words| expand_uniform(&Seed([9; 32]), 1, l.0, &ring.modulus(l), words));
    p
}

/// The centred integer of a coefficient, by the Chinese remainder theorem on big integers.
fn lift<W: Word>(ring: &Ring<W>, p: &RnsPoly<W, Coeff>, k: usize) -> BigInt {
    let prime = |l: &LimbIdx| BigInt::from(ring.params().prime(*l));
    let q: BigInt = p.basis().iter().map(prime).product();
    let mut x = BigInt::ZERO;
    for (position, l) in p.basis().iter().enumerate() {
        let rest = &q / prime(l);
        let inverse = rest.modinv(&prime(l)).unwrap();
        x += BigInt::from(p.limb(position)[k].to_u64()) * rest * inverse;
    }
    x = ((x % &q) + &q) % &q;
    if &x * 2 >= q { x - q } else { x }
}

fn residue(x: &BigInt, q: u64) -> u64 {
    let q = BigInt::from(q);
    let (sign, digits) = (((x % &q) + &q) % &q).to_u64_digits();
    assert_ne!(sign, Sign::Minus);
    digits.first().copied().unwrap_or(0)
}

fn check_conversion<W: Word>(preset: Preset) {
    let ring = small::<W>(preset);
    let (n_main, all) = (ring.params().n_main() as u32, ring.params().primes().len() as u32);
    for (from, to) in [
        (limbs(0..1), limbs(1..all)),
        (limbs(2..5), limbs(0..2)),
        (limbs(n_main..all), limbs(0..n_main)),
        (limbs(0..n_main), limbs(n_main..all)),
    ] {
        let x = uniform(&ring, &from);
        let z = ConvertBasis::new(&ring, &from, &to).apply(&ring, &x).unwrap();
        for k in 0..ring.n() {
            let integer = lift(&ring, &x, k);
            for (j, &l) in to.iter().enumerate() {
                assert_eq!(
                    z.limb(j)[k].to_u64(),
                    residue(&integer, ring.params().prime(l)),
                    "{from:?} -> {to:?}"
                );
            }
        }
    }
}

#[test]
fn conversion_is_the_centred_integer() {
    check_conversion::<u32>(Preset::Toy10);
    check_conversion::<u64>(Preset::Toy10w);
}

#[test]
fn conversion_of_extremes_stays_canonical() {
    let ring = small::<u32>(Preset::Toy10);
    let (from, to) = (limbs(0..8), limbs(8..16));
    let mut x = RnsPoly::<u32, Coeff>::zero(&from, ring.n());
    x.for_each_limb(|l, words| words.fill(ring.modulus(l).value() - 1));
    let z = ConvertBasis::new(&ring, &from, &to).apply(&ring, &x).unwrap();
    for (j, &l) in to.iter().enumerate() {
        // Every residue q - 1 is the integer -1.
        assert!(z.limb(j).iter().all(|&w| w == ring.modulus(l).value() - 1));
    }
}

fn product<W: Word>(ring: &Ring<W>, limbs: &[LimbIdx]) -> BigInt {
    limbs.iter().map(|&l| BigInt::from(ring.params().prime(l))).product()
}

/// Every coefficient of `quotient` is that of `x` over `divisor`, rounded to nearest.
fn assert_rounded<W: Word>(
    ring: &Ring<W>,
    x: &RnsPoly<W, Coeff>,
    divisor: &BigInt,
    quotient: &RnsPoly<W, Coeff>,
) {
    for k in 0..ring.n() {
        let integer = lift(ring, x, k);
        // Round to nearest: floor((2x + d) / 2d).
        let numerator: BigInt = 2 * &integer + divisor;
        let denominator: BigInt = 2 * divisor;
        let mut rounded = &numerator / &denominator;
        if numerator.sign() == Sign::Minus && &rounded * &denominator != numerator {
            rounded -= 1;
        }
        for (position, &l) in quotient.basis().iter().enumerate() {
            assert_eq!(quotient.limb(position)[k].to_u64(), residue(&rounded, ring.params().prime(l)));
        }
    }
}

fn check_division<W: Word>(preset: Preset) {
    let ring = small::<W>(preset);
    let params = ring.params();
    for level in [Level(1), Level(2), params.max_level()] {
        let (mut basis, removed) =
            (params.level(level).unwrap().basis.clone(), params.removed_at(level).unwrap());
        let x = uniform(&ring, &basis);
        let quotient = ring.intt(ring.divide_round(&ring.ntt(x.clone()), &removed).unwrap());
        assert_rounded(&ring, &x, &product(&ring, &removed), &quotient);

        basis.extend(params.special());
        let x = uniform(&ring, &basis);
        let quotient = ring.intt(mod_down_rescale(&ring, &ring.ntt(x.clone()), level).unwrap());
        assert_eq!(quotient.basis(), params.level(Level(level.0 - 1)).unwrap().basis);
        let divisor = product(&ring, &removed) * product(&ring, &params.special());
        assert_rounded(&ring, &x, &divisor, &quotient);
    }
}

#[test]
fn divisions_round_to_nearest() {
    check_division::<u32>(Preset::Toy10);
    check_division::<u64>(Preset::Toy10w);
}

#[test]
fn mod_down_brings_p_times_a_polynomial_back() {
    let ring = small::<u32>(Preset::Toy10);
    let x = ring.ntt(uniform(&ring, &limbs(0..4)));
    let product = multiply_by_p(&ring, &x);
    assert!((4..8).all(|position| product.limb(position).iter().all(|&w| w == 0)));
    assert_eq!(mod_down(&ring, &product).unwrap(), x);
}

#[test]
fn automorphisms_agree_in_both_domains_and_with_the_definition() {
    let ring = small::<u32>(Preset::Toy10);
    let x = uniform(&ring, &limbs(0..2));
    for g in [1, 5, 25, 127, 3, 77] {
        let g = GaloisElement(g);
        let coefficient = ring.automorphism_coeff(&x, g).unwrap();
        for position in 0..2 {
            let m = ring.modulus(x.basis()[position]);
            assert_eq!(coefficient.limb(position), naive::automorphism(&m, g.0, x.limb(position)));
        }
        let evaluation = ring.intt(ring.automorphism(&ring.ntt(x.clone()), g).unwrap());
        assert_eq!(evaluation, coefficient);
    }
    for bad in [0, 2, 128, 129] {
        assert!(ring.automorphism_coeff(&x, GaloisElement(bad)).is_err());
    }
}

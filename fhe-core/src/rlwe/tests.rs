//! What no decryption notices the loss of: errors that are there and of the right size, uniform halves that
//! are never used twice, a secret with all of its values.

use super::keygen::inverse;
use super::{
    EvaluationKey, KeyGenerator, SecretDistribution, SecretKey, encapsulation_basis, encapsulation_special,
};
use crate::ckks::{Encoder, Encryptor, Plaintext};
use crate::math::sampling::{Randomness, Seed};
use crate::math::word::Word;
use crate::params::{Level, LimbIdx, Preset};
use crate::ring::{Eval, Ring, RnsPoly};
use num_complex::Complex64;

/// Variance of the error distribution.
const VARIANCE: f64 = 10.5;

struct Fixture<W: Word> {
    ring: Ring<W>,
    generator: KeyGenerator<W>,
    secret: SecretKey<W>,
    randomness: Randomness,
}

fn fixture<W: Word>(preset: Preset) -> Fixture<W> {
    let ring = Ring::<W>::new(&preset.params().unwrap()).unwrap();
    let mut randomness = Randomness::insecure_reproducible(7);
    let generator = KeyGenerator::new(&ring);
    let secret = generator.secret_key(&mut randomness);
    Fixture { ring, generator, secret, randomness }
}

/// `(b + a s)`.
fn phase<W: Word>(
    ring: &Ring<W>,
    b: &RnsPoly<W, Eval>,
    a: &RnsPoly<W, Eval>,
    s: &RnsPoly<W, Eval>,
) -> RnsPoly<W, Eval> {
    let mut sum = b.clone();
    sum.mul_add_assign(ring, a, &s.select("phase", a.basis()).unwrap()).unwrap();
    sum
}

/// The centred coefficients of a limb.
fn centred<W: Word>(ring: &Ring<W>, p: &RnsPoly<W, Eval>, position: usize) -> Vec<i64> {
    let q = ring.modulus(p.basis()[position]).value().to_u64() as i64;
    let centre = |w: &W| {
        let x = w.to_u64() as i64;
        if x > q / 2 { x - q } else { x }
    };
    ring.intt(p.clone()).limb(position).iter().map(centre).collect()
}

/// Every limb holds the same small integers, of the given variance and bound.
fn assert_error<W: Word>(ring: &Ring<W>, p: &RnsPoly<W, Eval>, variance: f64, bound: i64) {
    let error = centred(ring, p, 0);
    for position in 1..p.basis().len() {
        assert!(centred(ring, p, position) == error, "limb {position} holds another integer");
    }
    let found = error.iter().map(|&x| (x as f64).powi(2)).sum::<f64>() / error.len() as f64;
    // 1024 draws: a standard deviation of 4.4 %.
    assert!((found / variance - 1.0).abs() < 0.25, "variance {found}, expected {variance}");
    assert!(error.iter().all(|x| x.abs() <= bound), "an error above {bound}");
}

fn sub<W: Word>(ring: &Ring<W>, a: &RnsPoly<W, Eval>, b: &RnsPoly<W, Eval>) -> RnsPoly<W, Eval> {
    let mut difference = a.clone();
    difference.sub_assign(ring, b).unwrap();
    difference
}

/// `b_j + a_j s_out - P T_j s_in` of every digit.
fn assert_key<W: Word>(
    ring: &Ring<W>,
    key: &EvaluationKey<W>,
    s_in: &RnsPoly<W, Eval>,
    s_out: &RnsPoly<W, Eval>,
) {
    let params = ring.params();
    assert_eq!(key.digits().len(), params.digits().len());
    for (pair, digit) in key.digits().iter().zip(params.digits()) {
        let mut message = s_in.clone();
        message.mul_scalar_assign(ring, |limb| {
            let p = params
                .special()
                .iter()
                .fold(1u128, |p, &l| p * u128::from(params.prime(l)) % u128::from(params.prime(limb)));
            W::truncate(if digit.contains(&limb) { p as u64 } else { 0 })
        });
        assert_error(ring, &sub(ring, &phase(ring, &pair.b, &pair.a, s_out), &message), VARIANCE, 21);
    }
    for (j, pair) in key.digits().iter().enumerate() {
        assert!(key.digits()[..j].iter().all(|other| other.a != pair.a), "digit {j} repeats a uniform half");
    }
}

fn keys_have_errors<W: Word>(preset: Preset) {
    let Fixture { ring, generator, secret, mut randomness } = fixture::<W>(preset);
    let s = secret.poly();
    let public = generator.public_key(&secret, &mut randomness).unwrap();
    assert_error(&ring, &phase(&ring, &public.b, &public.a, s), VARIANCE, 21);

    let elements = [ring.params().galois_element(1).unwrap(), ring.params().galois_conjugate()];
    let keys = generator.evaluation_keys(&secret, true, &elements, &mut randomness, |_, _| ()).unwrap();
    let mut square = s.clone();
    square.mul_assign(&ring, s).unwrap();
    let relinearization = keys.relinearization().unwrap().key();
    assert_key(&ring, relinearization, &square, s);
    let mut seeds: Vec<Seed> = vec![public.seed, relinearization.seed];
    for element in elements {
        let target = ring.automorphism(s, inverse(element, 2 * ring.n() as u64)).unwrap();
        let key = keys.galois(element).unwrap().key();
        assert_key(&ring, key, s, &target);
        seeds.push(key.seed);
    }
    for (i, seed) in seeds.iter().enumerate() {
        assert!(!seeds[..i].contains(seed), "seed {i} is used twice");
    }
}

#[test]
fn every_key_hides_its_message_behind_an_error() {
    keys_have_errors::<u32>(Preset::Toy10);
    keys_have_errors::<u64>(Preset::Toy10w);
}

/// The key to the sparse secret is over few primes and hides `p s` behind an error; that back is a key as any other.
#[test]
fn encapsulation_keys_hide_their_messages_behind_an_error() {
    let Fixture { ring, generator, secret, mut randomness } = fixture::<u32>(Preset::Toy10);
    let sparse =
        generator.secret_key_of(SecretDistribution::SparseTernary { weight: 32 }, &mut randomness).unwrap();
    assert_eq!(sparse.coefficients().iter().filter(|&&x| x != 0).count(), 32);
    let keys = generator.encapsulation_keys_to(&sparse, &secret, 32, &mut randomness).unwrap();
    let (basis, special) =
        (encapsulation_basis(ring.params()).unwrap(), encapsulation_special(ring.params()).unwrap());
    // Two primes at level 0, and two special ones, which are larger: the rest of the modulus must not be there.
    assert_eq!((basis.len(), special.len()), (4, 2));
    let pair = keys.to_sparse();
    assert_eq!((pair.b.basis(), pair.a.basis()), (&basis[..], &basis[..]));
    let mut message = secret.poly().select("test", &basis).unwrap();
    message.mul_scalar_assign(&ring, |limb| ring.product_mod(&special, limb));
    let noisy = phase(&ring, &pair.b, &pair.a, sparse.poly());
    assert_error(&ring, &sub(&ring, &noisy, &message), VARIANCE, 21);
    assert_key(&ring, keys.to_dense(), sparse.poly(), secret.poly());
    assert_ne!(keys.seed, keys.to_dense().seed);
}

fn message<W: Word>(ring: &Ring<W>) -> Plaintext<W> {
    let slots: Vec<_> = (0..ring.params().n_slots()).map(|i| Complex64::cis(i as f64)).collect();
    let scale = ring.params().level(Level(2)).unwrap().log_scale;
    Encoder::new(ring).encode(&slots, Level(2), scale).unwrap()
}

fn seeded_ciphertexts_have_errors<W: Word>(preset: Preset) {
    let Fixture { ring, secret, mut randomness, .. } = fixture::<W>(preset);
    let (plain, encryptor) = (message(&ring), Encryptor::new(&ring));
    let mut encrypt = || encryptor.encrypt_seeded(&plain, &secret, &mut randomness).unwrap();
    let (first, second) = (encrypt(), encrypt());
    assert_ne!(first.seed, second.seed);
    let (first, second) = (first.expand(&ring).unwrap(), second.expand(&ring).unwrap());
    assert!(first.polys()[0] != second.polys()[0] && first.polys()[1] != second.polys()[1]);
    for c in [first, second] {
        let noisy = phase(&ring, &c.polys()[0], &c.polys()[1], secret.poly());
        assert_error(&ring, &sub(&ring, &noisy, &plain.poly), VARIANCE, 21);
        assert_masked(&ring, &sub(&ring, &c.polys()[0], &plain.poly));
    }
}

/// Not small: spread over the whole prime, as `a s` is.
fn assert_masked<W: Word>(ring: &Ring<W>, p: &RnsPoly<W, Eval>) {
    for (position, &limb) in p.basis().iter().enumerate() {
        let q = ring.params().prime(limb) as i64;
        let large = centred(ring, p, position).iter().filter(|x| x.abs() > q / 4).count() as f64;
        let share = large / ring.n() as f64;
        assert!((share - 0.5).abs() < 0.1, "{share} of the coefficients are large, expected a half");
    }
}

#[test]
fn seeded_encryption_has_a_fresh_error_and_mask() {
    seeded_ciphertexts_have_errors::<u32>(Preset::Toy10);
    seeded_ciphertexts_have_errors::<u64>(Preset::Toy10w);
}

fn public_ciphertexts_have_errors<W: Word>(preset: Preset) {
    let Fixture { ring, generator, secret, mut randomness } = fixture::<W>(preset);
    let public = generator.public_key(&secret, &mut randomness).unwrap();
    let (plain, encryptor) = (message(&ring), Encryptor::new(&ring));
    let basis: Vec<LimbIdx> = plain.poly.basis().to_vec();
    let mut draws = Randomness::insecure_reproducible(8);
    let first = encryptor.encrypt(&plain, &public, &mut draws).unwrap();
    let second = encryptor.encrypt(&plain, &public, &mut draws).unwrap();
    assert!(first.polys()[0] != second.polys()[0] && first.polys()[1] != second.polys()[1]);
    for c in [&first, &second] {
        // e u + e_0 + e_1 s, with u and s ternary: 10.5 (2 N / 3 + 1 + 2 N / 3).
        let noisy = phase(&ring, &c.polys()[0], &c.polys()[1], secret.poly());
        let variance = VARIANCE * (4.0 * ring.n() as f64 / 3.0 + 1.0);
        assert_error(&ring, &sub(&ring, &noisy, &plain.poly), variance, 2000);
        assert_masked(&ring, &sub(&ring, &c.polys()[0], &plain.poly));
        assert_masked(&ring, &c.polys()[1]);
    }
    // The ephemeral comes first: with the same draws e_0 and e_1 can be seen on their own.
    let u = Randomness::insecure_reproducible(8).ternary(ring.n());
    let u = ring.ntt(ring.from_small(&basis, &u));
    let halves = [&public.b, &public.a].map(|half| {
        let mut product = half.select("test", &basis).unwrap();
        product.mul_assign(&ring, &u).unwrap();
        product
    });
    let errors = [
        sub(&ring, &sub(&ring, &first.polys()[0], &plain.poly), &halves[0]),
        sub(&ring, &first.polys()[1], &halves[1]),
    ];
    errors.iter().for_each(|e| assert_error(&ring, e, VARIANCE, 21));
    assert_ne!(errors[0], errors[1]);
}

#[test]
fn public_encryption_has_two_fresh_errors_and_a_fresh_ephemeral() {
    public_ciphertexts_have_errors::<u32>(Preset::Toy10);
    public_ciphertexts_have_errors::<u64>(Preset::Toy10w);
}

#[test]
fn the_secret_holds_all_three_values_in_equal_shares() {
    let Fixture { ring, generator, secret, mut randomness } = fixture::<u32>(Preset::Toy10);
    for value in [-1i8, 0, 1] {
        // A mean of 341, a standard deviation of 15.
        let count = secret.coefficients().iter().filter(|&&x| x == value).count();
        assert!((266..=416).contains(&count), "{value} occurs {count} times in {}", ring.n());
    }
    let other = generator.secret_key(&mut randomness);
    assert_ne!(secret.coefficients(), other.coefficients());
}

/// Uniform over `[0, q)` in each limb, in both domains: 64 bins of 16 or more.
fn assert_uniform<W: Word>(ring: &Ring<W>, what: &str, p: &RnsPoly<W, Eval>) {
    let coefficients = ring.intt(p.clone());
    for (position, &limb) in p.basis().iter().enumerate() {
        let q = u128::from(ring.params().prime(limb));
        for (domain, words) in [("values", p.limb(position)), ("coefficients", coefficients.limb(position))] {
            let mut bins = [0f64; 64];
            words.iter().for_each(|x| bins[(u128::from(x.to_u64()) * 64 / q) as usize] += 1.0);
            let expected = words.len() as f64 / 64.0;
            let chi: f64 = bins.iter().map(|b| (b - expected).powi(2) / expected).sum();
            // 63 degrees of freedom: outside once in 10^7, of some thousand.
            assert!((19.0..139.0).contains(&chi), "{what}, {domain} of limb {}: {chi}", limb.0);
        }
    }
}

fn what_goes_to_a_server_is_uniform<W: Word>(preset: Preset) {
    let Fixture { ring, generator, secret, mut randomness } = fixture::<W>(preset);
    let public = generator.public_key(&secret, &mut randomness).unwrap();
    let elements = [ring.params().galois_element(1).unwrap(), ring.params().galois_conjugate()];
    let keys = generator.evaluation_keys(&secret, true, &elements, &mut randomness, |_, _| ()).unwrap();
    let encapsulation = generator.encapsulation_keys(&secret, 32, &mut randomness).unwrap();
    let other = generator.secret_key(&mut randomness);
    let switching = generator.key_switching_key(&secret, &other, &mut randomness).unwrap();
    // Both halves: `b` is uniform to whoever has not the secret.
    let mut halves = vec![("public key", &public.b), ("public key", &public.a)];
    let to_sparse = encapsulation.to_sparse();
    halves.extend([("to the sparse secret", &to_sparse.b), ("to the sparse secret", &to_sparse.a)]);
    let mut evaluation = vec![
        ("relinearization", keys.relinearization().unwrap().key()),
        ("from the sparse secret", encapsulation.to_dense()),
        ("from secret to secret", &switching),
    ];
    for (what, element) in ["rotation", "conjugation"].into_iter().zip(elements) {
        evaluation.push((what, keys.galois(element).unwrap().key()));
    }
    for (what, key) in evaluation {
        halves.extend(key.digits().iter().flat_map(|pair| [(what, &pair.b), (what, &pair.a)]));
    }
    halves.iter().for_each(|(what, half)| assert_uniform(&ring, what, half));

    let (plain, encryptor) = (message(&ring), Encryptor::new(&ring));
    let seeded = encryptor.encrypt_seeded(&plain, &secret, &mut randomness).unwrap().expand(&ring).unwrap();
    let under_public = encryptor.encrypt(&plain, &public, &mut randomness).unwrap();
    for (what, ciphertext) in [("seeded", &seeded), ("under the public key", &under_public)] {
        ciphertext.polys().iter().for_each(|half| assert_uniform(&ring, what, half));
    }
    // No two uniform halves are the same.
    let all: Vec<&RnsPoly<W, Eval>> = halves.iter().map(|(_, half)| *half).collect();
    for (i, half) in all.iter().enumerate() {
        assert!(all[..i].iter().all(|before| before.words() != half.words()), "half {i} is there twice");
    }
}

#[test]
fn both_halves_of_every_key_and_encryption_are_uniform() {
    what_goes_to_a_server_is_uniform::<u32>(Preset::Toy10);
    what_goes_to_a_server_is_uniform::<u64>(Preset::Toy10w);
}

/// The test itself: what is not uniform fails it.
#[test]
#[should_panic(expected = "coefficients of limb")]
fn a_biased_half_is_not_uniform() {
    let Fixture { ring, secret, .. } = fixture::<u32>(Preset::Toy10);
    assert_uniform(&ring, "the secret", secret.poly());
}

//! Bootstrapping at log N 12, step by step and as a whole; at log N 10 what does not depend on the size.

use fhe_core::bootstrap::{BootstrapLiteral, BootstrapPlan, Bootstrapper, Slots, SparseCiphertext};
use fhe_core::ckks::precision::PrecisionReport;
use fhe_core::ckks::{Ciphertext, Decryptor, Encoder, Encryptor, Evaluator};
use fhe_core::math::double::Double;
use fhe_core::math::fft::SpecialFft;
use fhe_core::math::ntt::bit_reverse;
use fhe_core::math::sampling::Randomness;
use fhe_core::math::word::Word;
use fhe_core::params::{Level, Params, Preset, RationalChain, Security};
use fhe_core::ring::Ring;
use fhe_core::rlwe::{EvaluationKeySet, KeyGenerator, SecretDistribution, SecretKey, key_switch};
use fhe_core::{Complex64, Error};
use std::sync::OnceLock;

struct Bench<W: Word = u32> {
    params: Params,
    ring: Ring<W>,
    secret: SecretKey<W>,
    keys: EvaluationKeySet<W>,
    bootstrapper: Bootstrapper<W>,
}

impl Bench {
    /// The chain of `boot16` at log N 10.
    fn small(literal: &BootstrapLiteral, distribution: SecretDistribution) -> Self {
        Self::new(small_params(), literal, distribution)
    }
}

fn small_params() -> Params {
    let boot_steps = [[(2, 0); 8].as_slice(), &[(1, 1); 4]].concat();
    let (n_main, n_terminal, n_special, digit_limbs) = (43, 4, 12, 12);
    let (log_n, log_scale, security) = (10, 40, Security::Insecure);
    let chain =
        RationalChain { log_n, log_scale, n_main, n_terminal, n_special, digit_limbs, boot_steps, security };
    Params::new(chain.literal()).unwrap()
}

impl<W: Word> Bench<W> {
    fn new(params: Params, literal: &BootstrapLiteral, distribution: SecretDistribution) -> Self {
        let plan = BootstrapPlan::new(&params, literal).unwrap();
        let ring = Ring::new(&params).unwrap();
        let generator = KeyGenerator::new(&ring);
        let mut randomness = Randomness::insecure_reproducible(7);
        let secret = generator.secret_key_of(distribution, &mut randomness).unwrap();
        let elements = plan.required_galois_elements().unwrap();
        let mut keys =
            generator.evaluation_keys(&secret, true, &elements, &mut randomness, |_, _| ()).unwrap();
        let encapsulation = generator.encapsulation_keys(&secret, literal.weight, &mut randomness).unwrap();
        keys.set_encapsulation(encapsulation).unwrap();
        let bootstrapper = Bootstrapper::new(&ring, &plan).unwrap();
        Self { params, ring, secret, keys, bootstrapper }
    }

    fn slots(&self, f: impl Fn(usize) -> Complex64) -> Vec<Complex64> {
        (0..self.params.n_slots()).map(f).collect()
    }

    fn encrypt(&self, slots: &[Complex64], level: Level, seed: u64) -> Ciphertext<W> {
        let scale = self.params.level(level).unwrap().log_scale;
        let plaintext = Encoder::new(&self.ring).encode(slots, level, scale).unwrap();
        let encryptor = Encryptor::new(&self.ring);
        let mut randomness = Randomness::insecure_reproducible(seed);
        let seeded = encryptor.encrypt_seeded(&plaintext, &self.secret, &mut randomness).unwrap();
        seeded.expand(&self.ring).unwrap()
    }

    fn decrypt(&self, ciphertext: &Ciphertext<W>) -> Vec<Complex64> {
        let plaintext = Decryptor::new(&self.ring).decrypt(ciphertext, &self.secret).unwrap();
        Encoder::new(&self.ring).decode(&plaintext).unwrap()
    }
}

/// Slots of random signs and sizes, from a linear congruence (Knuth's MMIX).
fn noise(seed: u64) -> impl Fn(usize) -> Complex64 {
    let uniform = move |i: u64| {
        let mut x = seed ^ i;
        for _ in 0..4 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            x ^= x >> 31;
        }
        (x >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    move |i| Complex64::new(uniform(2 * i as u64), uniform(2 * i as u64 + 1)) * 0.7
}

fn complex() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    let params = || Preset::Toy12r.params().unwrap();
    let literal = BootstrapLiteral::default();
    BENCH.get_or_init(|| Bench::new(params(), &literal, SecretDistribution::UniformTernary))
}

fn small() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    let literal = BootstrapLiteral::default();
    BENCH.get_or_init(|| Bench::small(&literal, SecretDistribution::UniformTernary))
}

/// The coefficients of a message in pairs `k`, `k + N/2`, in bit-reversed order.
fn coefficients(b: &Bench, slots: &[Complex64]) -> Vec<Complex64> {
    let mut values = slots.to_vec();
    SpecialFft::new(b.params.n()).embed_inverse(&mut values);
    let bits = b.params.log_n() - 1;
    (0..values.len()).map(|i| values[bit_reverse(i, bits)]).collect()
}

fn largest_difference(a: &[Complex64], b: &[Complex64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y).norm()).fold(0.0, f64::max)
}

#[test]
fn every_step_decrypts_to_what_it_says() {
    let b = complex();
    let (boot, keys) = (&b.bootstrapper, &b.keys);
    let x = b.slots(noise(1));
    let a = b.encrypt(&x, Level(0), 1);
    let level = b.params.level(Level(0)).unwrap();
    let ratio = (level.log_q - level.log_scale.to_f64()).exp2();

    let sparse = boot.to_sparse(&a, keys).unwrap();
    let raised = boot.mod_raise(&sparse).unwrap();
    assert_eq!((sparse.level(), raised.level()), (Level(0), b.params.max_level()));
    let dense = boot.to_dense(&raised, keys).unwrap();
    // c / q: the message over the ratio, and integers.
    let c = coefficients(b, &b.decrypt(&dense));
    let message = coefficients(b, &x);
    let integers: Vec<Complex64> = c
        .iter()
        .zip(&message)
        .map(|(c, m)| c - m / ratio)
        .map(|z| Complex64::new(z.re.round(), z.im.round()))
        .collect();
    assert!(integers.iter().all(|z| z.re.abs() < 15.5 && z.im.abs() < 15.5));
    let variance = integers.iter().map(|z| z.norm_sqr()).sum::<f64>() / (2 * integers.len()) as f64;
    // 33 uniform values have 33 / 12, and rounding adds what it takes: 2.75 of 4096 samples.
    assert!((variance / 2.75 - 1.0).abs() < 0.2, "variance {variance}");
    let rest: Vec<Complex64> = c.iter().zip(&integers).map(|(c, i)| (c - i) * ratio).collect();
    assert!(largest_difference(&rest, &message) < 2f64.powi(-28));

    assert_eq!(boot.sum_periods(&dense, keys).unwrap(), dense);
    let parts = boot.coeffs_to_slots(&dense, keys).unwrap();
    let parts_of: [fn(&Complex64) -> f64; 2] = [|z| z.re, |z| z.im];
    let mut reductions = Vec::new();
    for (part, of) in parts.iter().zip(parts_of) {
        let expected: Vec<Complex64> = c.iter().map(|z| Complex64::new(of(z), 0.0)).collect();
        assert!(largest_difference(&b.decrypt(part), &expected) < 2f64.powi(-36));
        let reduced = boot.eval_mod(part, keys).unwrap();
        assert_eq!(reduced.level(), Level(16));
        let expected: Vec<Complex64> = message.iter().map(|z| Complex64::new(of(z), 0.0)).collect();
        assert!(largest_difference(&b.decrypt(&reduced), &expected) < 2f64.powi(-28));
        reductions.push(reduced);
    }
    assert!(matches!(
        boot.slots_to_coeffs(&reductions[..1], keys),
        Err(Error::Parts { expected: 2, found: 1, .. })
    ));
    let fresh = boot.slots_to_coeffs(&reductions, keys).unwrap();
    assert_eq!(fresh, boot.bootstrap(&a, keys).unwrap());
}

/// Measured, 2026-11-26: a mean of 28.1 bits in the first round, 27.6 in the second.
fn rounds(b: &Bench, n_rounds: u64) {
    let x = b.slots(noise(2));
    let mut a = b.encrypt(&x, Level(0), 2);
    for round in 0..n_rounds {
        let fresh = b.bootstrapper.bootstrap(&a, &b.keys).unwrap();
        assert_eq!(fresh.level(), Level(13));
        assert_eq!(fresh.log_scale(), b.params.level(Level(13)).unwrap().log_scale);
        let report = PrecisionReport::new(&x, &b.decrypt(&fresh)).unwrap();
        println!("round {round}\n{report}");
        assert!(report.mean_error < 2f64.powi(-26) && report.max_error < 2f64.powi(-24), "{report}");
        a = Evaluator::new(&b.ring).level_drop(&fresh, Level(0)).unwrap();
    }
}

#[test]
fn two_rounds_in_a_row() {
    rounds(complex(), 2);
}

/// Pairs of primes and single primes: levels of 55 bits above a level 0 of 60.
fn round_of_a_prefix_chain<W: Word>(preset: Preset) {
    let b = Bench::<W>::new(
        preset.params().unwrap(),
        &BootstrapLiteral::default(),
        SecretDistribution::UniformTernary,
    );
    let x = b.slots(noise(21));
    let fresh = b.bootstrapper.bootstrap(&b.encrypt(&x, Level(0), 21), &b.keys).unwrap();
    assert_eq!((fresh.level(), b.bootstrapper.plan().output_level()), (Level(8), Level(8)));
    assert_eq!(fresh.log_scale(), b.params.level(Level(8)).unwrap().log_scale);
    let report = PrecisionReport::new(&x, &b.decrypt(&fresh)).unwrap();
    println!("{preset}\n{report}");
    assert!(report.mean_error < 2f64.powi(-26) && report.max_error < 2f64.powi(-24), "{report}");
}

#[test]
fn pairs_of_primes() {
    round_of_a_prefix_chain::<u32>(Preset::Toy12p);
}

#[test]
fn single_primes_in_64_bit_words() {
    round_of_a_prefix_chain::<u64>(Preset::Toy12w);
}

#[test]
fn every_secret_distribution() {
    for weight in [64, 192] {
        rounds(&Bench::small(&BootstrapLiteral::default(), SecretDistribution::SparseTernary { weight }), 1);
    }
}

/// A product at each level that bootstrapping returned, and bootstrapped again.
#[test]
fn what_comes_out_is_computed_with() {
    let b = small();
    let (e, key) = (Evaluator::new(&b.ring), b.keys.relinearization().unwrap());
    let mut x = b.slots(|i| Complex64::from_polar(1.0, 5.0 * noise(3)(i).re));
    let mut a = b.bootstrapper.bootstrap(&b.encrypt(&x, Level(0), 3), &b.keys).unwrap();
    while a.level() > Level(0) {
        a = e.rescale(&e.relinearize(&e.square(&a).unwrap(), key).unwrap()).unwrap();
        x.iter_mut().for_each(|z| *z *= *z);
        let canonical = b.params.level(a.level()).unwrap().log_scale;
        assert!((a.log_scale() - canonical).to_f64().abs() < 2f64.powi(-30));
    }
    let fresh = b.bootstrapper.bootstrap(&a, &b.keys).unwrap();
    let report = PrecisionReport::new(&x, &b.decrypt(&fresh)).unwrap();
    // Thirteen squares lose thirteen bits of 28, and what they round. Measured, 2026-11-26: 13.7.
    assert!(report.mean_error < 2f64.powi(-12), "{report}");
}

/// What the sine adds is largest when all of a message is in one coefficient: then it is all that is seen.
#[test]
fn the_worst_message_is_off_by_what_the_sine_is() {
    let b = complex();
    let x = b.slots(|_| Complex64::ONE);
    let fresh = b.bootstrapper.bootstrap(&b.encrypt(&x, Level(0), 4), &b.keys).unwrap();
    let error = PrecisionReport::new(&x, &b.decrypt(&fresh)).unwrap().mean_error;
    let expected = b.bootstrapper.plan().sine_error(1.0).unwrap();
    assert!((error / expected - 1.0).abs() < 0.02, "{error} {expected}");
    let level = b.params.level(Level(0)).unwrap();
    let angle = core::f64::consts::TAU / (level.log_q - level.log_scale.to_f64()).exp2();
    assert!((expected / (angle * angle / 6.0) - 1.0).abs() < 0.01);
}

/// A gain makes errors smaller for what is small, and the sine's larger for what is not.
#[test]
fn a_gain_is_undone() {
    let literal = BootstrapLiteral { log_gain: 4, ..BootstrapLiteral::default() };
    let gained = Bench::small(&literal, SecretDistribution::UniformTernary);
    let error = |b: &Bench, x: &[Complex64]| {
        let fresh = b.bootstrapper.bootstrap(&b.encrypt(x, Level(0), 13), &b.keys).unwrap();
        assert_eq!(fresh.log_scale(), b.params.level(Level(13)).unwrap().log_scale);
        PrecisionReport::new(x, &b.decrypt(&fresh)).unwrap().mean_error
    };
    let tiny = gained.slots(|i| noise(13)(i) / 32.0);
    let (with, without) = (error(&gained, &tiny), error(small(), &tiny));
    assert!(with < without / 1.5, "{with} {without}");
    let large = gained.slots(|_| Complex64::ONE);
    let expected = gained.bootstrapper.plan().sine_error(1.0).unwrap();
    assert!((error(&gained, &large) / expected - 1.0).abs() < 0.02);
}

#[test]
fn two_real_ciphertexts_at_the_price_of_one() {
    let literal = BootstrapLiteral { slots: Slots::RealPair, ..BootstrapLiteral::default() };
    let b = Bench::small(&literal, SecretDistribution::UniformTernary);
    let x = b.slots(|i| Complex64::new(noise(5)(i).re, 0.0));
    let y = b.slots(|i| Complex64::new(noise(6)(i).im, 0.0));
    let (p, q) = (b.encrypt(&x, Level(0), 5), b.encrypt(&y, Level(0), 6));
    let fresh = b.bootstrapper.bootstrap_real_pair(&p, &q, &b.keys).unwrap();
    for (message, fresh) in [x, y].iter().zip(&fresh) {
        assert_eq!(fresh.level(), Level(13));
        assert_eq!(fresh.log_scale(), b.params.level(Level(13)).unwrap().log_scale);
        let report = PrecisionReport::new(message, &b.decrypt(fresh)).unwrap();
        assert!(report.mean_error < 2f64.powi(-25), "{report}");
    }
    assert!(matches!(b.bootstrapper.bootstrap(&p, &b.keys), Err(Error::InvalidParams(_))));
}

/// Few slots, repeated: one `eval_mod`, and what comes out repeats itself.
#[test]
fn periodic_slots() {
    for (period, coeffs_to_slots, slots_to_coeffs) in [(64, 2, 2), (256, 3, 3)] {
        let slots = Slots::Periodic { period };
        let literal =
            BootstrapLiteral { slots, coeffs_to_slots, slots_to_coeffs, ..BootstrapLiteral::default() };
        let b = Bench::small(&literal, SecretDistribution::UniformTernary);
        let x = b.slots(|i| noise(12)(i % period));
        let a = b.encrypt(&x, Level(0), 12);
        let boot = &b.bootstrapper;
        let dense = boot.to_dense(&boot.mod_raise(&boot.to_sparse(&a, &b.keys).unwrap()).unwrap(), &b.keys);
        let summed = b.decrypt(&boot.sum_periods(&dense.unwrap(), &b.keys).unwrap());
        assert!(summed.iter().zip(&summed[period..]).all(|(x, y)| (x - y).norm() < 2f64.powi(-30)));
        let fresh = boot.bootstrap(&a, &b.keys).unwrap();
        assert_eq!(fresh.level(), boot.plan().output_level());
        let report = PrecisionReport::new(&x, &b.decrypt(&fresh)).unwrap();
        println!("period {period}\n{report}");
        assert!(report.mean_error < 2f64.powi(-24), "{report}");
        let full = BootstrapPlan::new(&b.params, &BootstrapLiteral::default()).unwrap();
        assert!(boot.plan().failure_log2() < full.failure_log2());
    }
}

/// Keys, encryption and bootstrapping give the same words for any number of threads.
#[test]
fn the_number_of_threads_changes_nothing() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let slots = Slots::Periodic { period: 64 };
            let literal = BootstrapLiteral {
                slots,
                coeffs_to_slots: 2,
                slots_to_coeffs: 2,
                ..BootstrapLiteral::default()
            };
            let b = Bench::small(&literal, SecretDistribution::UniformTernary);
            let public =
                KeyGenerator::new(&b.ring).public_key(&b.secret, &mut Randomness::insecure_reproducible(16));
            let public = public.unwrap();
            let x = b.slots(|i| noise(16)(i % 64));
            let a = b.encrypt(&x, Level(0), 16);
            let plain = Encoder::new(&b.ring).encode(&x, Level(3), a.log_scale()).unwrap();
            let mut randomness = Randomness::insecure_reproducible(17);
            let under_public = Encryptor::new(&b.ring).encrypt(&plain, &public, &mut randomness).unwrap();
            let fresh = b.bootstrapper.bootstrap(&a, &b.keys).unwrap();
            let decoded: Vec<u64> =
                b.decrypt(&fresh).iter().flat_map(|z| [z.re.to_bits(), z.im.to_bits()]).collect();
            let blobs = [public.to_bytes(), b.keys.to_bytes(), a.to_bytes(), under_public.to_bytes()];
            (blobs, fresh.to_bytes(), decoded)
        })
    };
    let alone = run(1);
    for threads in [2, 3, 8] {
        assert!(run(threads) == alone, "{threads} threads");
    }
}

#[test]
fn the_plan_tells_everything_before_there_are_keys() {
    let plan = complex().bootstrapper.plan();
    assert_eq!((plan.depth(), plan.min_input_level(), plan.output_level()), (15, Level(0), Level(13)));
    // 2^-105.7 at 2^16 coefficients, a sixteenth of them here.
    assert!((plan.failure_log2() + 109.7).abs() < 0.1, "{}", plan.failure_log2());
    let n_elements = plan.required_galois_elements().unwrap().len();
    assert_eq!(n_elements, complex().keys.galois_elements().count());
    assert!(n_elements < 50, "{n_elements}");
    let params = Preset::Boot16.params().unwrap();
    let plan = BootstrapPlan::new(&params, &BootstrapLiteral::default()).unwrap();
    assert!(plan.output_level() >= Level(13) && params.log_qp() <= 1747.0);
    assert!(plan.failure_log2() < -105.0);
    for preset in [Preset::Boot16p, Preset::Boot16w] {
        let params = preset.params().unwrap();
        let plan = BootstrapPlan::new(&params, &BootstrapLiteral::default()).unwrap();
        assert_eq!((plan.output_level(), params.working_level(), plan.depth()), (Level(8), Level(11), 15));
        assert!(params.log_qp() <= 1747.0 && plan.failure_log2() < -105.0);
        // All of a message in one coefficient.
        let worst = plan.sine_error(1.0).unwrap();
        assert!((worst.log2() + 17.2).abs() < 0.2, "{preset}: {}", worst.log2());
    }
}

#[test]
fn what_cannot_be_bootstrapped_is_refused() {
    let b = small();
    let x = b.slots(noise(7));
    let boot = &b.bootstrapper;
    let wrong = boot.bootstrap(&b.encrypt(&x, Level(1), 7), &b.keys);
    assert!(matches!(wrong, Err(Error::LevelMismatch { expected: Level(0), found: Level(1), .. })));
    let a = b.encrypt(&x, Level(0), 7);
    let scale = a.log_scale() + Double::from(1e-6);
    let off = Ciphertext::new(&b.params, a.polys().to_vec(), Level(0), scale).unwrap();
    assert!(matches!(boot.bootstrap(&off, &b.keys), Err(Error::ScaleMismatch { .. })));
    let three = Ciphertext::new(&b.params, vec![a.polys()[0].clone(); 3], Level(0), a.log_scale()).unwrap();
    assert!(matches!(boot.bootstrap(&three, &b.keys), Err(Error::DegreeMismatch { found: 2, .. })));
    assert!(matches!(boot.bootstrap_real_pair(&a, &a, &b.keys), Err(Error::InvalidParams(_))));
    assert!(matches!(boot.eval_mod(&a, &b.keys), Err(Error::LevelMismatch { .. })));
    assert!(matches!(boot.coeffs_to_slots(&a, &b.keys), Err(Error::LevelMismatch { .. })));
    let parts = [a.clone(), a.clone()];
    assert!(matches!(boot.slots_to_coeffs(&parts, &b.keys), Err(Error::LevelMismatch { .. })));
    let other = Ring::<u32>::new(&Preset::Toy12.params().unwrap()).unwrap();
    assert!(matches!(Bootstrapper::new(&other, boot.plan()), Err(Error::ParamsMismatch { .. })));
}

/// Too large for level 0: a modulus reached by multiplication, since encoding refuses it.
#[test]
fn messages_out_of_range_are_seen_before_and_after() {
    let b = small();
    let (plan, e) = (b.bootstrapper.plan(), Evaluator::new(&b.ring));
    let ratio = 8.0 * plan.max_coefficient().unwrap();
    let level = b.params.level(Level(0)).unwrap();
    assert!((ratio.log2() - (level.log_q - level.log_scale.to_f64())).abs() < 1e-9);
    let out_of_range = |r: Result<(), Error>| matches!(r, Err(Error::OutOfRange { .. }));
    // Coefficients of about 0.01, and one of 1.
    let spread = b.slots(noise(15));
    let one = b.slots(|_| Complex64::ONE);
    for (x, factor, is_seen) in [
        (&spread, 1.0, false),
        (&spread, 2048.0, false),
        (&spread, 16384.0, true),
        (&spread, 1_048_576.0, true),
        (&one, 100.0, false),
        (&one, 256.0, true),
    ] {
        let scaled: Vec<Complex64> = x.iter().map(|z| z * factor).collect();
        assert_eq!(out_of_range(plan.check_input(&scaled)), is_seen, "{factor}");
        let a = e.mul_scalar(&b.encrypt(x, Level(0), 15), factor, Double::default()).unwrap();
        let fresh = b.decrypt(&b.bootstrapper.bootstrap(&a, &b.keys).unwrap());
        assert_eq!(out_of_range(plan.check_output(&fresh)), is_seen, "{factor}");
    }
    assert!(matches!(plan.check_output(&one[1..]), Err(Error::SlotCount { expected: 512, found: 511 })));
    assert!(out_of_range(plan.check_output(&b.slots(|_| Complex64::new(f64::NAN, 0.0)))));
}

#[test]
fn missing_keys_are_named() {
    let b = small();
    let a = b.encrypt(&b.slots(noise(8)), Level(0), 8);
    let none = EvaluationKeySet::new(&b.params);
    let Err(Error::MissingKeys { missing }) = b.bootstrapper.bootstrap(&a, &none) else { panic!() };
    let n_elements = b.bootstrapper.plan().required_galois_elements().unwrap().len();
    assert_eq!(missing.len(), n_elements + 2);
    for name in ["relinearization", "encapsulation", "conjugation", "rotation by 1"] {
        assert!(missing.iter().any(|m| m == name), "{name}: {missing:?}");
    }
    assert_eq!(b.bootstrapper.to_sparse(&a, &none), Err(Error::MissingEncapsulationKeys));

    let generator = KeyGenerator::new(&b.ring);
    let mut randomness = Randomness::insecure_reproducible(9);
    // A heavier ephemeral secret than the plan has a polynomial for.
    let heavy = generator.encapsulation_keys(&b.secret, 64, &mut randomness).unwrap();
    let mut keys = EvaluationKeySet::new(&b.params);
    keys.set_encapsulation(heavy).unwrap();
    assert!(matches!(b.bootstrapper.check_keys(&keys), Err(Error::WrongKey { .. })));
    // Of another secret.
    let stranger = generator.secret_key(&mut randomness);
    let foreign = generator.encapsulation_keys(&stranger, 32, &mut randomness).unwrap();
    assert!(matches!(keys.set_encapsulation(foreign), Err(Error::WrongKey { .. })));
}

#[test]
fn plans_that_do_not_fit_are_refused() {
    let params = Preset::Toy12r.params().unwrap();
    let refused = |params: &Params, change: &dyn Fn(&mut BootstrapLiteral)| {
        let mut literal = BootstrapLiteral::default();
        change(&mut literal);
        BootstrapPlan::new(params, &literal).unwrap_err().to_string()
    };
    type Change = fn(&mut BootstrapLiteral);
    let cases: [(Change, &str); 10] = [
        (|l| l.coeffs_to_slots = 0, "0 matrices for coeffs_to_slots"),
        (|l| l.slots_to_coeffs = 12, "12 matrices for slots_to_coeffs, expected 1 to 11"),
        (|l| l.slots = Slots::Periodic { period: 48 }, "period 48"),
        (
            |l| l.slots = Slots::Periodic { period: 2048 },
            "period 2048, expected a power of two from 2 to 1024",
        ),
        (|l| l.slots = Slots::Periodic { period: 4 }, "4 matrices for coeffs_to_slots, expected 1 to 2"),
        (|l| l.log_gain = 8, "a gain of 2^8, expected at most 2^7"),
        (|l| l.bound = 1, "K is 1"),
        (|l| l.weight = 0, "weight 0"),
        (|l| l.weight = 4096, "weight 4096"),
        (|l| (l.coeffs_to_slots, l.slots_to_coeffs, l.double_angles) = (11, 11, 8), "levels"),
    ];
    for (change, words) in cases {
        let message = refused(&params, &change);
        assert!(message.contains(words), "{message} should say {words}");
    }
    let short = Preset::Toy12.params().unwrap();
    assert!(refused(&short, &|_| ()).contains("it takes 15 levels"));
    // Above level 16 scales are not nominal.
    let high = refused(&params, &|l| (l.coeffs_to_slots, l.double_angles, l.slots_to_coeffs) = (1, 1, 1));
    assert!(high.contains("expected at most 16"), "{high}");
    let secure = Preset::Boot16.params().unwrap();
    assert!(refused(&secure, &|l| l.weight = 31).contains("sparse secret of weight 31"));
    let generator = KeyGenerator::new(&Ring::<u32>::new(&Preset::N13.params().unwrap()).unwrap());
    let mut randomness = Randomness::insecure_reproducible(1);
    let sparse = SecretDistribution::SparseTernary { weight: 64 };
    assert!(matches!(generator.secret_key_of(sparse, &mut randomness), Err(Error::InvalidParams(_))));
}

#[test]
fn keys_travel() {
    let b = small();
    let generator = KeyGenerator::new(&b.ring);
    let mut randomness = Randomness::insecure_reproducible(10);
    let mut keys = EvaluationKeySet::new(&b.params);
    keys.set_encapsulation(generator.encapsulation_keys(&b.secret, 32, &mut randomness).unwrap()).unwrap();
    let bytes = keys.to_bytes();
    assert_eq!(EvaluationKeySet::from_bytes(&b.ring, &bytes).unwrap(), keys);
    assert!(matches!(
        EvaluationKeySet::<u32>::from_bytes(&b.ring, &bytes[..bytes.len() - 4]),
        Err(Error::Wire { .. })
    ));
    assert_eq!(Params::from_bytes(&b.params.to_bytes()).unwrap(), b.params);

    // What is on its way, on both levels; and a kind of its own.
    let a = b.encrypt(&b.slots(noise(14)), Level(0), 14);
    let sparse = b.bootstrapper.to_sparse(&a, &b.keys).unwrap();
    let raised = b.bootstrapper.mod_raise(&sparse).unwrap();
    for sparse in [sparse, raised] {
        let bytes = sparse.to_bytes();
        assert_eq!(SparseCiphertext::from_bytes(&b.ring, &bytes).unwrap(), sparse);
        for len in (0..100).chain((100..bytes.len()).step_by(997)) {
            let cut = SparseCiphertext::<u32>::from_bytes(&b.ring, &bytes[..len]);
            assert!(matches!(cut, Err(Error::Wire { .. })), "cut to {len}");
        }
        assert!(matches!(Ciphertext::<u32>::from_bytes(&b.ring, &bytes), Err(Error::Wire { at: 6, .. })));
    }
    let own = SparseCiphertext::<u32>::from_bytes(&b.ring, &a.to_bytes());
    assert!(matches!(own, Err(Error::Wire { at: 6, .. })));

    // A key from one secret to another.
    let other = generator.secret_key(&mut randomness);
    let key = generator.key_switching_key(&b.secret, &other, &mut randomness).unwrap();
    let x = b.slots(noise(11));
    let a = b.encrypt(&x, Level(3), 11);
    let [mut k0, k1] = key_switch(&b.ring, &a.polys()[1], Level(3), &key).unwrap();
    k0.add_assign(&b.ring, &a.polys()[0]).unwrap();
    let switched = Ciphertext::new(&b.params, vec![k0, k1], Level(3), a.log_scale()).unwrap();
    let plaintext = Decryptor::new(&b.ring).decrypt(&switched, &other).unwrap();
    let found = Encoder::new(&b.ring).decode(&plaintext).unwrap();
    assert!(largest_difference(&found, &x) < 2f64.powi(-22));
}

//! Bootstrapping at log N 12, step by step and as a whole.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod common;

use common::wave;
use fhe_core::bootstrap::{BootstrapLiteral, BootstrapPlan, Bootstrapper, Slots};
use fhe_core::ckks::precision::PrecisionReport;
use fhe_core::ckks::{Ciphertext, Decryptor, Encoder, Encryptor, Evaluator};
use fhe_core::math::sampling::Randomness;
use fhe_core::params::{Level, Params, Preset};
use fhe_core::ring::Ring;
use fhe_core::rlwe::{EvaluationKeySet, KeyGenerator, SecretDistribution, SecretKey};
use fhe_core::Complex64;

struct Bench {
    params: Params,
    ring: Ring<u32>,
    secret: SecretKey<u32>,
    keys: EvaluationKeySet<u32>,
    bootstrapper: Bootstrapper<u32>,
    randomness: Randomness,
}

impl Bench {
    fn new(literal: &BootstrapLiteral, distribution: SecretDistribution) -> Self {
        let params = Preset::Toy12r.params().unwrap();
        let plan = BootstrapPlan::new(&params, literal).unwrap();
        let ring = Ring::new(&params).unwrap();
        let generator = KeyGenerator::new(&ring);
        let mut randomness = Randomness::insecure_reproducible(7);
        let secret = generator.secret_key_of(distribution, &mut randomness).unwrap();
        let elements = plan.required_galois_elements().unwrap();
        let mut keys =
            generator.evaluation_keys(&secret, true, &elements, &mut randomness, |_, _| ()).unwrap();
        let encapsulation =
            generator.encapsulation_keys(&secret, literal.weight, &mut randomness).unwrap();
        keys.set_encapsulation(encapsulation).unwrap();
        let bootstrapper = Bootstrapper::new(&ring, &plan).unwrap();
        Self { params, ring, secret, keys, bootstrapper, randomness }
    }

    fn slots(&self, f: impl Fn(usize) -> Complex64) -> Vec<Complex64> {
        (0..self.params.n_slots()).map(f).collect()
    }

    fn encrypt(&mut self, slots: &[Complex64], level: Level) -> Ciphertext<u32> {
        let scale = self.params.level(level).unwrap().log_scale;
        let plaintext = Encoder::new(&self.ring).encode(slots, level, scale).unwrap();
        let encryptor = Encryptor::new(&self.ring);
        let seeded = encryptor.encrypt_seeded(&plaintext, &self.secret, &mut self.randomness).unwrap();
        seeded.expand(&self.ring).unwrap()
    }

    fn decrypt(&self, ciphertext: &Ciphertext<u32>) -> Vec<Complex64> {
        let plaintext = Decryptor::new(&self.ring).decrypt(ciphertext, &self.secret).unwrap();
        Encoder::new(&self.ring).decode(&plaintext).unwrap()
    }
}

#[test]
fn two_rounds_in_a_row() {
    let start = std::time::Instant::now();
    let mut b = Bench::new(&BootstrapLiteral::default(), SecretDistribution::UniformTernary);
    println!("keys {:?}", start.elapsed());
    let x = b.slots(|i| wave(0.3)(i) * 0.5);
    let mut a = b.encrypt(&x, Level(0));
    for _ in 0..2 {
        let before = PrecisionReport::new(&x, &b.decrypt(&a)).unwrap();
        let start = std::time::Instant::now();
        let fresh = b.bootstrapper.bootstrap(&a, &b.keys).unwrap();
        println!("boot {:?} level {}", start.elapsed(), fresh.level());
        let report = PrecisionReport::new(&x, &b.decrypt(&fresh)).unwrap();
        println!("{before}\n{report}");
        a = Evaluator::new(&b.ring).level_drop(&fresh, Level(0)).unwrap();
    }
}

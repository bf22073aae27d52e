//! A client in a box: ring, keys, encoder; reproducible.

use fhe_core::ckks::{Ciphertext, Decryptor, Encoder, Encryptor, Evaluator};
use fhe_core::math::sampling::Randomness;
use fhe_core::math::word::Word;
use fhe_core::params::{Level, Params};
use fhe_core::ring::Ring;
use fhe_core::rlwe::{EvaluationKeySet, KeyGenerator, PublicKey, SecretKey};
use num_complex::Complex64;

pub struct Client<W: Word> {
    pub params: Params,
    pub ring: Ring<W>,
    pub secret: SecretKey<W>,
    pub public: PublicKey<W>,
    pub keys: EvaluationKeySet<W>,
    pub encoder: Encoder<W>,
    pub evaluator: Evaluator<W>,
    pub randomness: Randomness,
}

impl<W: Word> Client<W> {
    pub fn new(params: Params, rotations: &[i64]) -> Self {
        let mut randomness = Randomness::insecure_reproducible(42);
        let ring = Ring::new(&params).unwrap();
        let generator = KeyGenerator::new(&ring);
        let secret = generator.secret_key(&mut randomness);
        let public = generator.public_key(&secret, &mut randomness).unwrap();
        let mut elements: Vec<_> = rotations.iter().map(|&k| params.galois_element(k).unwrap()).collect();
        elements.push(params.galois_conjugate());
        let keys = generator.evaluation_keys(&secret, true, &elements, &mut randomness, |_, _| ()).unwrap();
        let (encoder, evaluator) = (Encoder::new(&ring), Evaluator::new(&ring));
        Self { params, ring, secret, public, keys, encoder, evaluator, randomness }
    }

    pub fn slots(&self, f: impl Fn(usize) -> Complex64) -> Vec<Complex64> {
        (0..self.params.n_slots()).map(f).collect()
    }

    pub fn encrypt(&mut self, slots: &[Complex64], level: Level) -> Ciphertext<W> {
        let scale = self.params.level(level).unwrap().log_scale;
        let plaintext = self.encoder.encode(slots, level, scale).unwrap();
        Encryptor::new(&self.ring).encrypt(&plaintext, &self.public, &mut self.randomness).unwrap()
    }

    pub fn decrypt(&self, ciphertext: &Ciphertext<W>) -> Vec<Complex64> {
        let plaintext = Decryptor::new(&self.ring).decrypt(ciphertext, &self.secret).unwrap();
        self.encoder.decode(&plaintext).unwrap()
    }
}

/// A message in the unit square, different in every slot.
pub fn wave(phase: f64) -> impl Fn(usize) -> Complex64 {
    move |i| Complex64::new((i as f64 * 0.37 + phase).sin(), (i as f64 * 0.11 - phase).cos())
}

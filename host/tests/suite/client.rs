//! The other side of a session: keys, encryption, decryption, and programs to run.

use fhe_core::Complex64;
use fhe_core::ckks::{Ciphertext, Decryptor, Encoder, Encryptor};
use fhe_core::math::double::Double;
use fhe_core::math::sampling::Randomness;
use fhe_core::math::word::Word;
use fhe_core::params::{Level, Preset};
use fhe_core::ring::Ring;
use fhe_core::rlwe::{EvaluationKeySet, KeyGenerator, PublicKey, SecretKey};
use scheduler::compile::Manifest;
use scheduler::dsl::{self, Program};
use scheduler::interp;

pub struct Client<W: Word> {
    pub ring: Ring<W>,
    pub secret: SecretKey<W>,
    pub public: PublicKey<W>,
    pub randomness: Randomness,
}

impl<W: Word> Client<W> {
    pub fn new(preset: Preset) -> Self {
        Self::of(Ring::new(&preset.params().unwrap()).unwrap())
    }

    pub fn of(ring: Ring<W>) -> Self {
        let mut randomness = Randomness::insecure_reproducible(11);
        let generator = KeyGenerator::new(&ring);
        let secret = generator.secret_key(&mut randomness);
        let public = generator.public_key(&secret, &mut randomness).unwrap();
        Self { ring, secret, public, randomness }
    }

    pub fn keys(&mut self, m: &Manifest) -> EvaluationKeySet<W> {
        let (secret, randomness) = (&self.secret, &mut self.randomness);
        let generator = KeyGenerator::new(&self.ring);
        let progress = |_, _| {};
        let mut keys = generator
            .evaluation_keys(secret, m.needs_relinearization, &m.galois_elements, randomness, progress)
            .unwrap();
        if let Some(weight) = m.encapsulation_weight {
            keys.set_encapsulation(generator.encapsulation_keys(secret, weight, randomness).unwrap())
                .unwrap();
        }
        keys
    }

    pub fn encrypt(&mut self, message: &[Complex64], level: Level, log_scale: Double) -> Ciphertext<W> {
        let slots = interp::repeat(message, self.ring.params().n_slots());
        let plain = Encoder::new(&self.ring).encode(&slots, level, log_scale).unwrap();
        Encryptor::new(&self.ring).encrypt(&plain, &self.public, &mut self.randomness).unwrap()
    }

    /// All inputs of a program, encrypted as its manifest says.
    pub fn inputs(&mut self, program: &Program, m: &Manifest) -> Vec<Ciphertext<W>> {
        let specs = m.inputs.iter().zip(messages(program));
        specs.map(|(spec, message)| self.encrypt(&message, spec.level, spec.log_scale)).collect()
    }

    pub fn decrypt(&self, ciphertext: &Ciphertext<W>) -> Vec<Complex64> {
        let plain = Decryptor::new(&self.ring).decrypt(ciphertext, &self.secret).unwrap();
        Encoder::new(&self.ring).decode(&plain).unwrap()
    }
}

/// A message for each input.
pub fn messages(program: &Program) -> Vec<Vec<Complex64>> {
    let part = |x: usize| (x * 37 % 101) as f64 / 101.0 - 0.5;
    let message = |(i, period): (usize, u32)| {
        (0..period as usize).map(|k| Complex64::new(part(7 * i + k), part(3 * k + i + 50))).collect()
    };
    program.function().inputs.iter().map(|input| input.period).enumerate().map(message).collect()
}

/// Inputs as a run takes them.
pub fn named<'a>(m: &'a Manifest, blobs: &'a [Vec<u8>]) -> Vec<(&'a str, &'a [u8])> {
    m.inputs.iter().zip(blobs).map(|(spec, blob)| (spec.name.as_str(), blob.as_slice())).collect()
}

/// Every operation of the language, three levels deep, with two inputs and two outputs.
pub fn everything() -> Program {
    dsl::build("everything", |g| {
        let x = g.input("x", 16)?;
        let y = g.input("y", 4)?;
        let matrix: Vec<f64> = (0..80).map(|i| f64::from(i * 7 % 11) / 11.0 - 0.4).collect();
        let weights = g.plain("weights", &[0.5, -0.25, 0.125, 1.0])?;
        // As many values as there are slots, or at least so many that they are not stored once a run of equal ones.
        let dense: Vec<f64> = (0..512).map(|i| f64::from(i) / 256.0 - 1.0).collect();
        let dense = g.plain("dense", &dense)?;
        let h = dsl::linear::matvec(x, "matrix", &matrix, 5, 16)? + 0.25;
        let h = h.square() * weights - y.rotate(1) * dense;
        g.output("h", h + x.conjugate() - weights, 512)?;
        g.output("s", -(x * y).sum_strided(4, 4), 4)
    })
    .unwrap()
}

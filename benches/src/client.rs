//! The client of a chain: keys and ciphertexts for composites, and rows of its own. All of it is on the processor; what the device
//! takes for the client's `encode` is the composite `encode_device`.

use crate::Result;
use crate::chain::Chain;
use crate::measure::Machine;
use crate::row::{Case, Cost, Row};
use fhe_core::Complex64;
use fhe_core::ckks::{Decryptor, Encoder, Encryptor};
use fhe_core::math::sampling::Randomness;
use fhe_core::math::word::Word;
use fhe_core::params::{GaloisElement, Level, Params};
use fhe_core::ring::Ring;
use fhe_core::rlwe::{KeyGenerator, SecretKey};

/// What the client does, at the highest level.
pub const OPERATIONS: [&str; 5] = ["encode", "encrypt", "encrypt_seeded", "decrypt_decode", "galois_keygen"];

/// The case of an operation.
///
/// # Errors
/// None in practice: every chain has a highest level.
pub fn case(what: &str, chain: &Chain) -> Result<Case> {
    let params = &chain.params;
    let (what, log_n, word) = (what.to_owned(), params.log_n(), params.word());
    let limbs = params.level(params.max_level())?.basis.len();
    Ok(Case { what, chain: Some(chain.name.clone()), log_n, limbs, word })
}

/// Keys, ciphertexts and times, for either word.
pub trait Client {
    /// An evaluation key set on the wire.
    ///
    /// # Errors
    /// Those of key generation.
    fn keys(&mut self, relinearization: bool, elements: &[GaloisElement]) -> Result<Vec<u8>>;

    /// A ciphertext on the wire.
    ///
    /// # Errors
    /// Those of encoding and encryption.
    fn encrypt(&mut self, level: Level) -> Result<Vec<u8>>;

    /// Rows of some of the operations.
    ///
    /// # Errors
    /// Those of the operations.
    fn measure(&mut self, chain: &Chain, machine: &Machine, wanted: &[&str]) -> Result<Vec<Row>>;
}

/// The client of parameters.
///
/// # Errors
/// Those of the ring.
pub fn client(params: &Params) -> Result<Box<dyn Client>> {
    Ok(fhe_core::with_word!(params.word(), W => Box::new(ClientOf::<W>::new(params)?)))
}

struct ClientOf<W: Word> {
    ring: Ring<W>,
    secret: SecretKey<W>,
    randomness: Randomness,
}

impl<W: Word> ClientOf<W> {
    fn new(params: &Params) -> Result<Self> {
        let ring = Ring::<W>::new(params)?;
        let mut randomness = Randomness::insecure_reproducible(1);
        let secret = KeyGenerator::new(&ring).secret_key(&mut randomness);
        Ok(Self { ring, secret, randomness })
    }
}

impl<W: Word> Client for ClientOf<W> {
    fn keys(&mut self, relinearization: bool, elements: &[GaloisElement]) -> Result<Vec<u8>> {
        let generator = KeyGenerator::new(&self.ring);
        let randomness = &mut self.randomness;
        let keys =
            generator.evaluation_keys(&self.secret, relinearization, elements, randomness, |_, _| ())?;
        Ok(keys.to_bytes())
    }

    fn encrypt(&mut self, level: Level) -> Result<Vec<u8>> {
        let params = self.ring.params();
        let slots = vec![0.5; params.n_slots()];
        let plain = Encoder::new(&self.ring).encode_real(&slots, level, params.level(level)?.log_scale)?;
        let encryptor = Encryptor::new(&self.ring);
        Ok(encryptor.encrypt_seeded(&plain, &self.secret, &mut self.randomness)?.to_bytes())
    }

    fn measure(&mut self, chain: &Chain, machine: &Machine, wanted: &[&str]) -> Result<Vec<Row>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let params = &chain.params;
        let (log_n, level) = (params.log_n(), params.max_level());
        let limbs = params.level(level)?.basis.len();
        let ring = &self.ring;
        let generator = KeyGenerator::new(ring);
        let public = generator.public_key(&self.secret, &mut self.randomness)?;
        let (encoder, encryptor, decryptor) =
            (Encoder::new(ring), Encryptor::new(ring), Decryptor::new(ring));
        let scale = params.level(level)?.log_scale;
        let slots: Vec<Complex64> =
            (0..params.n_slots()).map(|i| Complex64::from_polar(1.0, 0.37 * i as f64)).collect();
        let plain = encoder.encode(&slots, level, scale)?;
        let ciphertext = encryptor.encrypt(&plain, &public, &mut self.randomness)?;
        let element = params.galois_element(1)?;
        let (secret, mut r) = (&self.secret, Randomness::insecure_reproducible(2));

        let mut measured = Vec::new();
        let butterflies = u64::from(log_n) << (log_n - 1);
        let row_bytes = u64::from(params.word().bits() / 8) << log_n;
        // `transforms` of a limb, and `rows` of one limb read or written.
        let mut bench =
            |what: &str, transforms: u64, rows: u64, f: &mut (dyn FnMut() -> Result<()> + Send)| {
                if !wanted.contains(&what) {
                    return Ok(());
                }
                let case = case(what, chain)?;
                let time = machine.pool.install(|| machine.protocol.median_of_calls(f))?;
                let operations = transforms * butterflies;
                let cost = Cost { bytes: rows * row_bytes, operations, products: 3.0 * operations as f64 };
                let mut row = Row::new(&case, "calls on the processor", time, cost, &machine.client_roofs);
                row.threads = Some(machine.pool.current_num_threads());
                measured.push(row.under(params));
                anyhow::Ok(())
            };
        let l = limbs as u64;
        bench("encode", l, l, &mut || {
            std::hint::black_box(encoder.encode(&slots, level, scale)?);
            Ok(())
        })?;
        bench("encrypt", 3 * l, 8 * l, &mut || {
            std::hint::black_box(encryptor.encrypt(&plain, &public, &mut r)?);
            Ok(())
        })?;
        bench("encrypt_seeded", l, 4 * l, &mut || {
            std::hint::black_box(encryptor.encrypt_seeded(&plain, secret, &mut r)?);
            Ok(())
        })?;
        bench("decrypt_decode", l, 4 * l, &mut || {
            std::hint::black_box(encoder.decode(&decryptor.decrypt(&ciphertext, secret)?)?);
            Ok(())
        })?;
        let all = params.primes().len() as u64 * params.digits().len() as u64;
        bench("galois_keygen", all, 4 * all, &mut || {
            std::hint::black_box(generator.galois_key(secret, element, &mut r)?);
            Ok(())
        })?;
        Ok(measured)
    }
}

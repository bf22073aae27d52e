//! The client: the one who has the secret. Makes keys for an [`Offer`], encrypts questions, decrypts answers.
//!
//! Everything that it takes from or gives to others is bytes. The secret key never leaves it, but for [`Client::to_secret_bytes`], which its owner
//! may store.

mod kept;

use crate::offer::{Offer, OutputOffer};
use fhe_core::bootstrap::BootstrapLiteral;
use fhe_core::ckks::{Ciphertext, Decryptor, Encoder, Encryptor, Flooding, SharedValues};
use fhe_core::math::sampling::Randomness;
use fhe_core::math::word::Word;
use fhe_core::params::{Level, Params, Security};
use fhe_core::ring::Ring;
use fhe_core::rlwe::{KeyGenerator, SecretKey};
use kept::Kept;
use num_complex::Complex64;
use zeroize::Zeroizing;

/// An output's scale may differ by this factor in log2: what the evaluator tolerates.
const SCALE_TOLERANCE: f64 = 1.0 / (1u64 << 30) as f64;

/// What goes wrong on the client's side.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// From the scheme.
    #[error(transparent)]
    Fhe(#[from] fhe_core::Error),
    /// The server's offer is not acceptable.
    #[error("offer refused: {0}")]
    Offer(String),
    /// The offer's parameters or the client's randomness are not secure.
    #[error("refused: {0}; accept with `Trust::Insecure` if that is meant")]
    Insecure(String),
    /// A ciphertext that is not what the offer says of the output.
    #[error("output {name}: expected {expected}, found {found}")]
    Output {
        /// The output.
        name: String,
        /// What the offer says.
        expected: String,
        /// What came.
        found: String,
    },
    /// No such input or output.
    #[error("no {what} is called {found}: the program has {expected}")]
    NoSuchName {
        /// `input` or `output`.
        what: &'static str,
        /// What was asked for.
        found: String,
        /// The names that there are.
        expected: String,
    },
    /// An answer that may not be shared, since the promise was made for others.
    #[error("sharing: expected {expected}, found {found}; new keys have a new count")]
    Sharing {
        /// What was promised.
        expected: String,
        /// What was asked for.
        found: String,
    },
    /// A vector of the wrong length.
    #[error("input {name}: expected {expected} values, found {found}")]
    Length {
        /// The input.
        name: String,
        /// Its period.
        expected: usize,
        /// Length of what was given.
        found: usize,
    },
}

/// What parameters and what randomness a client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Only parameters with 128-bit security, and only randomness of the operating system.
    Secure,
    /// Any: for tests with toy parameters or reproducible keys.
    Insecure,
}

/// Keys, encryption and decryption for one offer.
pub struct Client {
    offer: Offer,
    keys: Box<dyn ClientKeys + Send>,
    shared: Option<Shared>,
}

/// What was promised of all shared answers when the first was, and how many there have been.
#[derive(Clone, Copy)]
struct Shared {
    bits: u32,
    queries: u64,
    answers: u64,
}

impl core::fmt::Debug for Client {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Client").field("offer", &self.offer).finish_non_exhaustive()
    }
}

impl Client {
    /// Reads a server's offer and makes the keys that it asks for, at most [`crate::MAX_KEY_BYTES`] of them.
    /// `progress(done, total)` is called after each.
    ///
    /// # Errors
    /// [`ClientError::Offer`]; [`ClientError::Insecure`] for parameters or randomness that `trust` does not allow;
    /// [`ClientError::Fhe`].
    pub fn accept(
        offer: &[u8],
        trust: Trust,
        randomness: Randomness,
        progress: impl FnMut(usize, usize),
    ) -> Result<Self, ClientError> {
        Self::make(offer, None, trust, randomness, progress)
    }

    /// The client that [`Self::to_secret_bytes`] wrote, from these bytes alone: for an owner who comes back to ciphertexts of before. The evaluation keys are made
    /// again; those that a server has still serve. Answers that were shared count.
    ///
    /// # Errors
    /// As [`Self::accept`]; [`ClientError::Fhe`] for bytes that are no client.
    pub fn from_secret_bytes(
        bytes: &[u8],
        trust: Trust,
        randomness: Randomness,
        progress: impl FnMut(usize, usize),
    ) -> Result<Self, ClientError> {
        let kept = Kept::read(bytes)?;
        Self::make(kept.offer, Some(&kept), trust, randomness, progress)
    }

    /// [`Self::accept`] with the secret of a client that [`Self::to_secret_bytes`] wrote, under another offer of the same parameters: for another
    /// program on the same ciphertexts. Answers that were shared under the first offer count.
    ///
    /// # Errors
    /// As [`Self::from_secret_bytes`]; [`fhe_core::Error::ParamsMismatch`] for an offer of other parameters.
    pub fn accept_with_secret(
        offer: &[u8],
        bytes: &[u8],
        trust: Trust,
        randomness: Randomness,
        progress: impl FnMut(usize, usize),
    ) -> Result<Self, ClientError> {
        Self::make(offer, Some(&Kept::read(bytes)?), trust, randomness, progress)
    }

    fn make(
        offer: &[u8],
        kept: Option<&Kept<'_>>,
        trust: Trust,
        randomness: Randomness,
        progress: impl FnMut(usize, usize),
    ) -> Result<Self, ClientError> {
        let offer = Offer::from_bytes(offer)?;
        if let Some(kept) = kept {
            offer.params.check_digest(kept.digest)?;
        }
        if trust == Trust::Secure {
            if offer.params.security() == Security::Insecure {
                return Err(ClientError::Insecure(format!("insecure parameters ({})", offer.params)));
            }
            if randomness.is_insecure() {
                return Err(ClientError::Insecure("reproducible randomness".to_owned()));
            }
        }
        let secret = kept.map(|kept| kept.secret);
        let keys: Box<dyn ClientKeys + Send> = fhe_core::with_word!(offer.params.word(), W => {
            Box::new(Keys::<W>::new(&offer, secret, randomness, progress)?)
        });
        Ok(Self { offer, keys, shared: kept.and_then(|kept| kept.shared) })
    }

    /// The offer that was accepted.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The evaluation keys, for the server.
    pub fn evaluation_keys(&self) -> &[u8] {
        self.keys.evaluation_keys()
    }

    /// The client, for its owner to store: the offer (with the parameters), the secret key, and how many answers were shared. Whoever has it reads
    /// every message. It is overwritten when it is dropped. Evaluation keys are not in it: they are gigabytes, and are made again.
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        Kept::write(&self.offer, &self.keys.secret_bytes(), self.shared)
    }

    /// Encrypts the values of an input: as many as its period.
    ///
    /// # Errors
    /// [`ClientError::NoSuchName`], [`ClientError::Length`]; [`ClientError::Fhe`] for values that are not finite or
    /// too large.
    pub fn encrypt(&mut self, input: &str, values: &[f64]) -> Result<Vec<u8>, ClientError> {
        let Some(spec) = self.offer.inputs.iter().find(|i| i.name == input) else {
            return Err(no_such_name("input", input, self.offer.inputs.iter().map(|i| i.name.as_str())));
        };
        if values.len() != spec.period {
            let (expected, found) = (spec.period, values.len());
            return Err(ClientError::Length { name: input.to_owned(), expected, found });
        }
        let n_slots = self.offer.params.n_slots();
        let mut slots = Zeroizing::new(Vec::with_capacity(n_slots));
        slots.extend(values.iter().copied().cycle().take(n_slots));
        Ok(self.keys.encrypt(&slots, Level(spec.level))?)
    }

    /// Decrypts an output: the real parts of its first slots.
    ///
    /// **Keep the result.** It holds the noise of the ciphertext, and whoever sees it learns about the secret key
    /// (CPA-D, ePrint 2020/1533): from a ciphertext of its own making a server recovers the whole key out of one
    /// answer. A client that tells the server what came out, or behaves so that it can be told, is a decryption
    /// oracle. Level, scale and degree are checked against the offer, which stops malformed ciphertexts and not
    /// well-formed hostile ones. What is to be shared comes from [`Self::decrypt_shareable`].
    ///
    /// **Range.** A message whose coefficients wrapped around modulo `q` is refused ([`Encoder::decode`]). One with a coefficient above `q / 8` at level 0 that
    /// is bootstrapped (above 111 for messages of about 1, on the presets) comes out as the sine of it, and what is computed with that is
    /// any number: nothing can see it. But an output that is a sum of what bootstrapping returned, as the offer says, is checked against what messages in range lead
    /// to, which finds half of the coefficients that were out of it, and perhaps not a single one (constants).
    ///
    /// # Errors
    /// [`fhe_core::Error::OutOfRange`], as just said;
    /// [`ClientError::NoSuchName`]; [`ClientError::Output`] unless the ciphertext has degree 1, the level that the
    /// offer names and its canonical scale; [`ClientError::Fhe`] for bytes that are no ciphertext of these
    /// parameters.
    pub fn decrypt(&self, output: &str, ciphertext: &[u8]) -> Result<Vec<f64>, ClientError> {
        let spec = self.output(output)?;
        let slots = self.keys.decrypt(spec, ciphertext)?;
        if let Some(times) = spec.bootstrapped {
            BootstrapLiteral::default().check_output(&self.offer.params, times, &slots)?;
        }
        Ok(slots.iter().take(spec.slots).map(|z| z.re).collect())
    }

    /// Decrypts an output, with noise that hides from who sees it what the ciphertext's noise tells about the secret key. What that is worth, and
    /// what it takes (a bound of the error in the worst case, a server that computes honestly, a count of answers), is in
    /// [`fhe_core::ckks::flooding`].
    ///
    /// The first answer settles the bits of security and the number of answers for these keys; the bound and the precision may
    /// be others for other outputs. [`Self::to_secret_bytes`] has the count: what was stored before an answer does not know of it.
    ///
    /// # Errors
    /// [`ClientError::Sharing`] for one answer more than was settled, or other bits of security; [`fhe_core::Error::FloodedPrecision`] when the noise would
    /// leave less than is asked for, and [`fhe_core::Error::Flooding`]; those of [`Self::decrypt`]. What is refused does not
    /// count.
    pub fn decrypt_shareable(
        &mut self,
        output: &str,
        ciphertext: &[u8],
        flooding: &Flooding,
    ) -> Result<Vec<f64>, ClientError> {
        let spec = self.output(output)?.clone();
        let settled = Shared { bits: flooding.bits, queries: flooding.queries, answers: 0 };
        let shared = self.shared.unwrap_or(settled);
        let describe = |bits: u32, queries: u64| format!("{bits} bits of security for {queries} answers");
        if (shared.bits, shared.queries) != (flooding.bits, flooding.queries) {
            return Err(ClientError::Sharing {
                expected: describe(shared.bits, shared.queries),
                found: describe(flooding.bits, flooding.queries),
            });
        }
        if shared.answers >= shared.queries {
            return Err(ClientError::Sharing {
                expected: describe(shared.bits, shared.queries),
                found: "one more".to_owned(),
            });
        }
        let values = self.keys.decrypt_shareable(&spec, ciphertext, flooding)?;
        self.shared = Some(Shared { answers: shared.answers + 1, ..shared });
        Ok(values)
    }

    fn output(&self, name: &str) -> Result<&OutputOffer, ClientError> {
        let found = self.offer.outputs.iter().find(|o| o.name == name);
        found.ok_or_else(|| no_such_name("output", name, self.offer.outputs.iter().map(|o| o.name.as_str())))
    }
}

fn no_such_name<'a>(what: &'static str, found: &str, names: impl Iterator<Item = &'a str>) -> ClientError {
    let expected = names.collect::<Vec<_>>().join(", ");
    ClientError::NoSuchName { what, found: found.to_owned(), expected }
}

/// The part of a client that depends on the word.
trait ClientKeys {
    fn evaluation_keys(&self) -> &[u8];
    fn secret_bytes(&self) -> Zeroizing<Vec<u8>>;
    fn encrypt(&mut self, slots: &[f64], level: Level) -> fhe_core::Result<Vec<u8>>;
    fn decrypt(&self, spec: &OutputOffer, ciphertext: &[u8]) -> Result<Vec<Complex64>, ClientError>;
    fn decrypt_shareable(
        &mut self,
        spec: &OutputOffer,
        ciphertext: &[u8],
        flooding: &Flooding,
    ) -> Result<Vec<f64>, ClientError>;
}

struct Keys<W: Word> {
    params: Params,
    ring: Ring<W>,
    encoder: Encoder<W>,
    secret: SecretKey<W>,
    evaluation_keys: Vec<u8>,
    randomness: Randomness,
}

impl<W: Word> Keys<W> {
    fn new(
        offer: &Offer,
        secret: Option<&[u8]>,
        mut randomness: Randomness,
        progress: impl FnMut(usize, usize),
    ) -> fhe_core::Result<Self> {
        let params = offer.params.clone();
        let ring = Ring::<W>::new(&params)?;
        let generator = KeyGenerator::new(&ring);
        let secret = match secret {
            Some(bytes) => SecretKey::from_secret_bytes(&ring, bytes)?,
            None => generator.secret_key(&mut randomness),
        };
        let (relinearization, elements) = (offer.relinearization_key, &offer.galois_elements);
        let mut keys =
            generator.evaluation_keys(&secret, relinearization, elements, &mut randomness, progress)?;
        if let Some(weight) = offer.encapsulation_weight {
            keys.set_encapsulation(generator.encapsulation_keys(&secret, weight, &mut randomness)?)?;
        }
        let (encoder, evaluation_keys) = (Encoder::new(&ring), keys.to_bytes());
        Ok(Self { params, ring, encoder, secret, evaluation_keys, randomness })
    }

    /// A ciphertext that is what the offer says of an output.
    fn read(&self, spec: &OutputOffer, ciphertext: &[u8]) -> Result<Ciphertext<W>, ClientError> {
        let ciphertext = Ciphertext::from_bytes(&self.ring, ciphertext)?;
        let level = Level(spec.level);
        let canonical = self.params.level(level)?.log_scale;
        let off = (ciphertext.log_scale() - canonical).to_f64().abs();
        let as_offered = ciphertext.degree() == 1 && ciphertext.level() == level && off <= SCALE_TOLERANCE;
        if as_offered {
            return Ok(ciphertext);
        }
        let describe = |degree: usize, level: Level, scale: f64| {
            format!("degree {degree} at level {level} with log2 scale {scale:.6}")
        };
        Err(ClientError::Output {
            name: spec.name.clone(),
            expected: describe(1, level, canonical.to_f64()),
            found: describe(ciphertext.degree(), ciphertext.level(), ciphertext.log_scale().to_f64()),
        })
    }
}

impl<W: Word> ClientKeys for Keys<W> {
    fn evaluation_keys(&self) -> &[u8] {
        &self.evaluation_keys
    }

    fn secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        self.secret.to_secret_bytes()
    }

    /// The owner of the secret encrypts with it: half the bytes and less noise than with a public key.
    fn encrypt(&mut self, slots: &[f64], level: Level) -> fhe_core::Result<Vec<u8>> {
        let mut plaintext = self.encoder.encode_real(slots, level, self.params.level(level)?.log_scale)?;
        let encryptor = Encryptor::new(&self.ring);
        let ciphertext = encryptor.encrypt_seeded(&plaintext, &self.secret, &mut self.randomness);
        plaintext.wipe();
        Ok(ciphertext?.to_bytes())
    }

    fn decrypt(&self, spec: &OutputOffer, ciphertext: &[u8]) -> Result<Vec<Complex64>, ClientError> {
        let ciphertext = self.read(spec, ciphertext)?;
        let mut plaintext = Decryptor::new(&self.ring).decrypt(&ciphertext, &self.secret)?;
        let slots = self.encoder.decode(&plaintext);
        plaintext.wipe();
        Ok(slots?)
    }

    fn decrypt_shareable(
        &mut self,
        spec: &OutputOffer,
        ciphertext: &[u8],
        flooding: &Flooding,
    ) -> Result<Vec<f64>, ClientError> {
        let ciphertext = self.read(spec, ciphertext)?;
        let values = SharedValues::Real(spec.slots);
        let slots = Decryptor::new(&self.ring).decrypt_shareable(
            &ciphertext,
            &self.secret,
            &self.encoder,
            values,
            flooding,
            &mut self.randomness,
        )?;
        Ok(slots.iter().map(|z| z.re).collect())
    }
}

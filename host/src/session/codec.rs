//! Between bytes of the wire and rows of buffers, for either word.

use crate::error::{Error, Result};
use fhe_core::Complex64;
use fhe_core::ckks::{Ciphertext, Encoder, check_raw_slots};
use fhe_core::math::word::Word;
use fhe_core::params::Params;
use fhe_core::ring::{Eval, Ring, RnsPoly};
use fhe_core::rlwe::EvaluationKeySet;
use scheduler::ckks_ir::Constant;
use scheduler::compile::{InputSpec, OutputSpec};
use scheduler::plan::{KeyId, pack};
use scheduler::poly_ir::Encoded;

/// Scales may differ by this factor in log2: what the reference evaluator tolerates.
const SCALE_TOLERANCE: f64 = 1.0 / (1u64 << 30) as f64;

/// What fills a buffer: whole rows, chunk after chunk.
pub(super) trait Rows: Send + Sync {
    /// The chunks.
    fn chunks(&self) -> Vec<&[u8]>;
}

/// An encoded constant.
pub(super) trait Plaintext: Rows {
    /// The limbs at some positions, one word for each run of `2^log_repeat` equal ones; none if some run has two values.
    fn packed(&self, positions: &[u32], log_repeat: u32) -> Option<Box<dyn Rows>>;
}

/// A set of evaluation keys.
pub(super) trait Keys: Send + Sync {
    /// The rows of a key.
    ///
    /// # Errors
    /// [`fhe_core::Error::MissingGaloisKey`], [`fhe_core::Error::MissingRelinearizationKey`],
    /// [`fhe_core::Error::MissingEncapsulationKeys`].
    fn rows(&self, key: KeyId) -> Result<Vec<&[u8]>>;

    /// Non-zero coefficients of the sparse secret; none without encapsulation keys.
    fn encapsulation_weight(&self) -> Option<usize>;
}

/// What the word of the parameters decides.
pub(super) trait Codec: Send + Sync {
    /// The parameters.
    fn params(&self) -> &Params;

    /// Encodes a constant, repeated to all slots.
    fn encode(&self, constant: &Constant, encoded: &Encoded) -> Result<Box<dyn Plaintext>>;

    /// A constant's slots, repeated to all, which are sure to be encoded rightly on a device.
    fn slots(&self, constant: &Constant, encoded: &Encoded) -> Result<Box<dyn Rows>>;

    /// The factors of the inverse special FFT.
    fn factors(&self) -> Box<dyn Rows>;

    /// Reads evaluation keys.
    fn read_keys(&self, bytes: &[u8]) -> Result<Box<dyn Keys>>;

    /// Reads an input that is as the manifest says.
    fn read_input(&self, spec: &InputSpec, bytes: &[u8]) -> Result<Box<dyn Rows>>;

    /// The bytes of an output from its rows.
    fn write_output(&self, spec: &OutputSpec, rows: &[u8]) -> Result<Vec<u8>>;
}

/// The codec for the word of the parameters.
pub(super) fn new(params: &Params) -> Result<Box<dyn Codec>> {
    Ok(fhe_core::with_word!(params.word(), W => Box::new(WordCodec::<W>::new(params)?)))
}

struct WordCodec<W> {
    ring: Ring<W>,
    encoder: Encoder<W>,
}

impl<W: Word> WordCodec<W> {
    fn new(params: &Params) -> Result<Self> {
        let ring = Ring::new(params)?;
        Ok(Self { encoder: Encoder::new(&ring), ring })
    }

    fn row_bytes(&self) -> usize {
        self.ring.n() * W::KIND.bytes()
    }

    fn repeated(&self, constant: &Constant) -> Vec<Complex64> {
        constant.values.iter().copied().cycle().take(self.ring.params().n_slots()).collect()
    }
}

impl<W: Word> Rows for RnsPoly<W, Eval> {
    fn chunks(&self) -> Vec<&[u8]> {
        vec![bytemuck::cast_slice(self.words())]
    }
}

impl<W: Word> Plaintext for RnsPoly<W, Eval> {
    fn packed(&self, positions: &[u32], log_repeat: u32) -> Option<Box<dyn Rows>> {
        let limbs: Vec<&[W]> = positions.iter().map(|&position| self.limb(position as usize)).collect();
        Some(Box::new(Words(pack(&limbs, log_repeat)?)))
    }
}

/// Words of rows.
struct Words<W>(Vec<W>);

impl<W: Word> Rows for Words<W> {
    fn chunks(&self) -> Vec<&[u8]> {
        vec![bytemuck::cast_slice(&self.0)]
    }
}

impl<W: Word> Rows for Ciphertext<W> {
    fn chunks(&self) -> Vec<&[u8]> {
        self.polys().iter().map(|p| bytemuck::cast_slice(p.words())).collect()
    }
}

/// Complex numbers as rows of doubles: real parts, imaginary parts.
struct Doubles([Vec<u8>; 2]);

impl Doubles {
    fn new(values: &[Complex64], row_bytes: usize) -> Self {
        let row = |part: fn(&Complex64) -> f64| {
            let mut bytes: Vec<u8> = values.iter().flat_map(|z| part(z).to_le_bytes()).collect();
            bytes.resize(row_bytes, 0);
            bytes
        };
        Self([row(|z| z.re), row(|z| z.im)])
    }
}

impl Rows for Doubles {
    fn chunks(&self) -> Vec<&[u8]> {
        self.0.iter().map(Vec::as_slice).collect()
    }
}

impl<W: Word> Keys for EvaluationKeySet<W> {
    fn rows(&self, key: KeyId) -> Result<Vec<&[u8]>> {
        let key = match key {
            KeyId::Relinearization => self.relinearization()?.key(),
            KeyId::Galois(element) => self.galois(element)?.key(),
            KeyId::ToSparse => {
                return Ok(self.encapsulation()?.to_sparse_rows().map(bytemuck::cast_slice).collect());
            }
            KeyId::ToDense => self.encapsulation()?.to_dense(),
        };
        Ok(key.rows().map(bytemuck::cast_slice).collect())
    }

    fn encapsulation_weight(&self) -> Option<usize> {
        self.encapsulation().ok().map(|keys| keys.weight())
    }
}

impl<W: Word> Codec for WordCodec<W> {
    fn params(&self) -> &Params {
        self.ring.params()
    }

    fn encode(&self, constant: &Constant, encoded: &Encoded) -> Result<Box<dyn Plaintext>> {
        Ok(Box::new(encoded.encode(&self.encoder, &self.repeated(constant))?))
    }

    fn slots(&self, constant: &Constant, encoded: &Encoded) -> Result<Box<dyn Rows>> {
        check_raw_slots(self.ring.params(), &constant.values, encoded.level, encoded.log_scale)?;
        Ok(Box::new(Doubles::new(&self.repeated(constant), self.row_bytes())))
    }

    fn factors(&self) -> Box<dyn Rows> {
        Box::new(Doubles::new(&self.encoder.inverse_factors(), self.row_bytes()))
    }

    fn read_keys(&self, bytes: &[u8]) -> Result<Box<dyn Keys>> {
        Ok(Box::new(EvaluationKeySet::from_bytes(&self.ring, bytes)?))
    }

    fn read_input(&self, spec: &InputSpec, bytes: &[u8]) -> Result<Box<dyn Rows>> {
        let name = || spec.name.clone();
        let read = Ciphertext::from_bytes(&self.ring, bytes);
        let ciphertext = read.map_err(|error| Error::Input { name: name(), error })?;
        if ciphertext.level() != spec.level {
            let (expected, found) = (spec.level, ciphertext.level());
            return Err(Error::InputLevel { name: name(), expected, found });
        }
        if ciphertext.degree() != 1 {
            return Err(Error::InputDegree { name: name(), expected: 1, found: ciphertext.degree() });
        }
        if (ciphertext.log_scale() - spec.log_scale).to_f64().abs() > SCALE_TOLERANCE {
            let (expected, found) = (spec.log_scale.to_f64(), ciphertext.log_scale().to_f64());
            return Err(Error::InputScale { name: name(), expected, found });
        }
        Ok(Box::new(ciphertext))
    }

    fn write_output(&self, spec: &OutputSpec, rows: &[u8]) -> Result<Vec<u8>> {
        let params = self.ring.params();
        let basis = &params.level(spec.level)?.basis;
        let poly_bytes = (basis.len() * self.ring.n() * W::KIND.bytes()).max(1);
        let poly = |bytes| RnsPoly::from_words(&self.ring, basis, bytemuck::pod_collect_to_vec(bytes));
        let polys = rows.chunks(poly_bytes).map(poly).collect::<fhe_core::Result<Vec<_>>>()?;
        Ok(Ciphertext::new(params, polys, spec.level, spec.log_scale)?.to_bytes())
    }
}

//! The payload of each kind of object.

use super::{Kind, Reader, Writer, open, seal};
use crate::ckks::{Ciphertext, SeededCiphertext};
use crate::error::Result;
use crate::math::sampling::Seed;
use crate::math::word::{Word, WordKind};
use crate::params::{GaloisElement, Level, LimbIdx, Params, ParamsLiteral, Scales, Security};
use crate::ring::{Eval, Ring, RnsPoly};
use crate::rlwe::{
    EncapsulationKeys, EvaluationKey, EvaluationKeySet, GaloisKey, PublicKey, RelinearizationKey, SecretId,
    SecretKey, check_weight, encapsulation_basis,
};
use zeroize::Zeroizing;

/// Reads what [`ParamsLiteral::encode`] wrote. Only shapes are checked here; [`Params::new`] checks the rest.
pub(super) fn read_literal(reader: &mut Reader<'_>) -> Result<ParamsLiteral> {
    let log_n = reader.bounded("log N", 17)? as u32;
    let word = match reader.u64()? {
        32 => WordKind::U32,
        64 => WordKind::U64,
        other => return reader.fail(format!("word: expected 32 or 64 bits, found {other}")),
    };
    let log_scale = reader.bounded("log2 of the scale", 100)? as u32;
    let security = match reader.u64()? {
        128 => Security::Bits128,
        0 => Security::Insecure,
        other => return reader.fail(format!("security: expected 128 or 0 bits, found {other}")),
    };
    let digit_limbs = reader.bounded("primes a digit", 64)? as usize;
    let n_main = reader.bounded("main primes", 1024)?;
    let n_special = reader.bounded("special primes", 64)?;
    let n_levels = reader.bounded("levels", 1024)?;
    let main_primes = (0..n_main).map(|_| reader.u64()).collect::<Result<_>>()?;
    let special_primes = (0..n_special).map(|_| reader.u64()).collect::<Result<_>>()?;
    let mut levels = Vec::new();
    for _ in 0..n_levels {
        let n = reader.bounded("primes of a level", 1024)?;
        let basis = (0..n).map(|_| Ok(reader.bounded("prime index", 1023)? as u32)).collect::<Result<_>>()?;
        levels.push(basis);
    }
    let scales = if reader.is_at_end() {
        Scales::FromTop
    } else {
        let working = reader.bounded("working level", 1023)? as u32;
        let base = if reader.is_at_end() {
            log_scale
        } else {
            // The nominal scale is said by saying nothing, so that a literal has one form.
            reader.bounded("log2 of the scale of level 0", u64::from(log_scale).saturating_sub(1))? as u32
        };
        Scales::FromBottom { working, base }
    };
    Ok(ParamsLiteral {
        log_n,
        word,
        main_primes,
        special_primes,
        levels,
        digit_limbs,
        log_scale,
        scales,
        security,
    })
}

fn read_poly<W: Word>(
    ring: &Ring<W>,
    basis: &[LimbIdx],
    reader: &mut Reader<'_>,
) -> Result<RnsPoly<W, Eval>> {
    let words = reader.words(basis.len() * ring.n())?;
    match RnsPoly::from_words(ring, basis, words) {
        Ok(poly) => Ok(poly),
        Err(e) => reader.fail(e.to_string()),
    }
}

fn read_seed(reader: &mut Reader<'_>) -> Result<Seed> {
    let mut seed = [0; 32];
    seed.copy_from_slice(reader.bytes(32)?);
    Ok(Seed(seed))
}

fn read_id(reader: &mut Reader<'_>) -> Result<SecretId> {
    let mut id = [0; 16];
    id.copy_from_slice(reader.bytes(16)?);
    Ok(SecretId(id))
}

fn main_limbs(params: &Params) -> Vec<LimbIdx> {
    (0..params.n_main()).map(|i| LimbIdx(i as u32)).collect()
}

/// Level and scale of a ciphertext; the scale must leave the modulus some room.
fn read_level_and_scale(
    params: &Params,
    reader: &mut Reader<'_>,
) -> Result<(Level, crate::math::double::Double)> {
    let level = Level(reader.bounded("level", u64::from(params.max_level().0))? as u32);
    let log_scale = reader.double()?;
    let log_q = params.level(level)?.log_q;
    if !(0.0..log_q).contains(&log_scale.to_f64()) {
        return reader.fail(format!(
            "log2 of the scale: expected from 0 to {log_q:.2}, found {:.2}",
            log_scale.to_f64()
        ));
    }
    Ok((level, log_scale))
}

impl<W: Word> Ciphertext<W> {
    /// As a blob: its polynomials in full.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u64(u64::from(self.level.0));
        writer.double(self.log_scale);
        writer.u64(self.polys.len() as u64);
        self.polys.iter().for_each(|p| writer.words(p.words()));
        seal(Kind::Ciphertext, self.params.digest(), writer.blob)
    }

    /// Reads a ciphertext, or a seeded one, which is expanded.
    ///
    /// # Errors
    /// [`crate::Error::Wire`], [`crate::Error::ParamsMismatch`].
    pub fn from_bytes(ring: &Ring<W>, bytes: &[u8]) -> Result<Self> {
        let params = ring.params();
        let (kind, digest, payload) = open(bytes, &[Kind::Ciphertext, Kind::SeededCiphertext])?;
        params.check_digest(digest)?;
        let mut reader = Reader::new("ciphertext", payload);
        if kind == Kind::SeededCiphertext {
            return read_seeded(ring, reader)?.expand(ring);
        }
        let (level, log_scale) = read_level_and_scale(params, &mut reader)?;
        let n_polys = reader.bounded("polynomials", 3)?;
        if n_polys < 2 {
            return reader.fail(format!("polynomials: expected 2 or 3, found {n_polys}"));
        }
        let basis = params.level(level)?.basis.clone();
        let polys = (0..n_polys).map(|_| read_poly(ring, &basis, &mut reader)).collect::<Result<_>>()?;
        reader.finish()?;
        Self::new(params, polys, level, log_scale)
    }
}

impl<W: Word> SeededCiphertext<W> {
    /// As a blob: one polynomial and a seed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u64(u64::from(self.level.0));
        writer.double(self.log_scale);
        writer.bytes(&self.seed.0);
        writer.words(self.c0.words());
        seal(Kind::SeededCiphertext, self.params.digest(), writer.blob)
    }

    /// Reads one without expanding it.
    ///
    /// # Errors
    /// [`crate::Error::Wire`], [`crate::Error::ParamsMismatch`].
    pub fn from_bytes(ring: &Ring<W>, bytes: &[u8]) -> Result<Self> {
        let (_, digest, payload) = open(bytes, &[Kind::SeededCiphertext])?;
        ring.params().check_digest(digest)?;
        read_seeded(ring, Reader::new("seeded ciphertext", payload))
    }
}

fn read_seeded<W: Word>(ring: &Ring<W>, mut reader: Reader<'_>) -> Result<SeededCiphertext<W>> {
    let params = ring.params();
    let (level, log_scale) = read_level_and_scale(params, &mut reader)?;
    let seed = read_seed(&mut reader)?;
    let c0 = read_poly(ring, &params.level(level)?.basis, &mut reader)?;
    reader.finish()?;
    Ok(SeededCiphertext { params: params.clone(), c0, seed, level, log_scale })
}

impl<W: Word> PublicKey<W> {
    /// As a blob: the secret's id, a seed and one polynomial.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.bytes(&self.secret.0);
        writer.bytes(&self.seed.0);
        writer.words(self.b.words());
        seal(Kind::PublicKey, self.params.digest(), writer.blob)
    }

    /// Reads and expands it.
    ///
    /// # Errors
    /// [`crate::Error::Wire`], [`crate::Error::ParamsMismatch`].
    pub fn from_bytes(ring: &Ring<W>, bytes: &[u8]) -> Result<Self> {
        let (_, digest, payload) = open(bytes, &[Kind::PublicKey])?;
        ring.params().check_digest(digest)?;
        let mut reader = Reader::new("public key", payload);
        let (secret, seed) = (read_id(&mut reader)?, read_seed(&mut reader)?);
        let b = read_poly(ring, &main_limbs(ring.params()), &mut reader)?;
        reader.finish()?;
        Ok(Self::new(ring, secret, seed, b))
    }
}

impl<W: Word> SecretKey<W> {
    /// As a blob, which is as secret as the key: it is overwritten when dropped; keep it so.
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::new();
        writer.blob.reserve_exact(16 + self.coefficients().len());
        writer.bytes(&self.id().0);
        writer.blob.extend(self.coefficients().iter().map(|&c| (c + 1) as u8));
        Zeroizing::new(seal(Kind::SecretKey, self.params().digest(), writer.blob))
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`crate::Error::Wire`], [`crate::Error::ParamsMismatch`].
    pub fn from_secret_bytes(ring: &Ring<W>, bytes: &[u8]) -> Result<Self> {
        let (_, digest, payload) = open(bytes, &[Kind::SecretKey])?;
        ring.params().check_digest(digest)?;
        let mut reader = Reader::new("secret key", payload);
        let id = read_id(&mut reader)?;
        let coefficients = reader.bytes(ring.n())?;
        if let Some(k) = coefficients.iter().position(|&c| c > 2) {
            return reader.fail(format!("coefficient {k}: expected 0, 1 or 2"));
        }
        reader.finish()?;
        let ternary = Zeroizing::new(coefficients.iter().map(|&c| c as i8 - 1).collect::<Vec<i8>>());
        Ok(Self::from_coefficients(ring, id, ternary))
    }
}

fn write_key<W: Word>(writer: &mut Writer, key: &EvaluationKey<W>) {
    writer.bytes(&key.secret.0);
    writer.bytes(&key.seed.0);
    key.digits.iter().for_each(|pair| writer.words(pair.b.words()));
}

fn read_key<W: Word>(ring: &Ring<W>, reader: &mut Reader<'_>) -> Result<EvaluationKey<W>> {
    let (secret, seed) = (read_id(reader)?, read_seed(reader)?);
    let basis: Vec<LimbIdx> = (0..ring.params().primes().len()).map(|i| LimbIdx(i as u32)).collect();
    let digits = 0..ring.params().digits().len();
    let b = digits.map(|_| read_poly(ring, &basis, reader)).collect::<Result<_>>()?;
    Ok(EvaluationKey::new(ring, secret, seed, b))
}

impl<W: Word> EvaluationKeySet<W> {
    /// As a blob: the secret's id, a seed and half of the words for each key.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let relinearization = self.relinearization().ok();
        let elements: Vec<GaloisElement> = self.galois_elements().collect();
        let encapsulation = self.encapsulation().ok();
        writer.u64(u64::from(relinearization.is_some()) | u64::from(encapsulation.is_some()) << 1);
        writer.u64(elements.len() as u64);
        if let Some(key) = relinearization {
            write_key(&mut writer, &key.0);
        }
        for key in elements.into_iter().filter_map(|e| self.galois(e).ok()) {
            writer.u64(u64::from(key.element.0));
            write_key(&mut writer, &key.key);
        }
        if let Some(keys) = encapsulation {
            writer.u64(keys.weight as u64);
            writer.bytes(&keys.seed.0);
            writer.words(keys.pair.b.words());
            write_key(&mut writer, &keys.to_dense);
        }
        seal(Kind::EvaluationKeySet, self.params().digest(), writer.blob)
    }

    /// Reads and expands every key.
    ///
    /// # Errors
    /// [`crate::Error::Wire`], [`crate::Error::ParamsMismatch`]; [`crate::Error::WrongKey`] for keys of several
    /// secrets.
    pub fn from_bytes(ring: &Ring<W>, bytes: &[u8]) -> Result<Self> {
        let params = ring.params();
        let (_, digest, payload) = open(bytes, &[Kind::EvaluationKeySet])?;
        params.check_digest(digest)?;
        let mut reader = Reader::new("evaluation keys", payload);
        let mut keys = Self::new(params);
        let flags = reader.bounded("kinds of keys", 3)?;
        let (has_relinearization, has_encapsulation) = (flags & 1 == 1, flags & 2 == 2);
        let n_galois = reader.bounded("Galois keys", params.n() as u64)?;
        if has_relinearization {
            keys.set_relinearization(RelinearizationKey(read_key(ring, &mut reader)?))?;
        }
        let mut last = 0;
        for _ in 0..n_galois {
            let element = reader.bounded("Galois element", 2 * params.n() as u64 - 1)?;
            if element % 2 == 0 || element <= last {
                return reader
                    .fail(format!("Galois element: expected odd and above {last}, found {element}"));
            }
            last = element;
            let element = GaloisElement(element as u32);
            keys.insert_galois(GaloisKey { element, key: read_key(ring, &mut reader)? })?;
        }
        if has_encapsulation {
            let weight = reader.bounded("weight of the sparse secret", params.n() as u64 / 2)? as usize;
            check_weight(params, weight)?;
            let seed = read_seed(&mut reader)?;
            let b = read_poly(ring, &encapsulation_basis(params)?, &mut reader)?;
            let to_dense = read_key(ring, &mut reader)?;
            keys.set_encapsulation(EncapsulationKeys::new(ring, weight, seed, b, to_dense))?;
        }
        reader.finish()?;
        Ok(keys)
    }
}

//! The payloads of keys.

use super::objects::{read_poly, read_seed};
use super::{Kind, Reader, Writer, open, seal};
use crate::error::Result;
use crate::math::word::Word;
use crate::params::{GaloisElement, LimbIdx, Params};
use crate::ring::Ring;
use crate::rlwe::{
    EncapsulationKeys, EvaluationKey, EvaluationKeySet, GaloisKey, PublicKey, RelinearizationKey, SecretId,
    SecretKey, check_weight, encapsulation_basis,
};
use zeroize::Zeroizing;

fn read_id(reader: &mut Reader<'_>) -> Result<SecretId> {
    let mut id = [0; 16];
    id.copy_from_slice(reader.bytes(16)?);
    Ok(SecretId(id))
}

fn main_limbs(params: &Params) -> Vec<LimbIdx> {
    (0..params.n_main()).map(|i| LimbIdx(i as u32)).collect()
}

impl<W: Word> PublicKey<W> {
    /// As a blob: the secret's id, a seed and one polynomial.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.bytes(&self.secret.0);
        writer.bytes(&self.seed.0);
        writer.words(self.b.words());
        seal(Kind::PublicKey, self.params.digest(), writer)
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
    /// As a blob for its owner to store, which is as secret as the key: it is overwritten when it is dropped, and so should be every copy.
    /// No other object has a `to_secret_bytes`, and this one no `to_bytes`: what goes to a server cannot be it by mistake.
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::with_capacity(16 + self.coefficients().len());
        writer.bytes(&self.id().0);
        writer.blob.extend(self.coefficients().iter().map(|&c| (c + 1) as u8));
        Zeroizing::new(seal(Kind::SecretKey, self.params().digest(), writer))
    }

    /// Reads it. The bytes remain the caller's to overwrite.
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

impl<W: Word> EvaluationKey<W> {
    /// As a blob, for a key from one secret to another; those of a key set travel with it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        write_key(&mut writer, self);
        seal(Kind::EvaluationKey, self.params.digest(), writer)
    }

    /// Reads and expands it.
    ///
    /// # Errors
    /// [`crate::Error::Wire`], [`crate::Error::ParamsMismatch`].
    pub fn from_bytes(ring: &Ring<W>, bytes: &[u8]) -> Result<Self> {
        let (_, digest, payload) = open(bytes, &[Kind::EvaluationKey])?;
        ring.params().check_digest(digest)?;
        let mut reader = Reader::new("evaluation key", payload);
        let key = read_key(ring, &mut reader)?;
        reader.finish()?;
        Ok(key)
    }
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
        seal(Kind::EvaluationKeySet, self.params().digest(), writer)
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

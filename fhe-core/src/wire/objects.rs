//! The payloads of parameters, messages, ciphertexts and plans.

use super::{Kind, Reader, Writer, open, seal};
use crate::bootstrap::{BootstrapLiteral, BootstrapPlan, Slots, SparseCiphertext};
use crate::ckks::{Ciphertext, Plaintext, SeededCiphertext};
use crate::error::Result;
use crate::math::double::Double;
use crate::math::sampling::Seed;
use crate::math::word::{Word, WordKind};
use crate::params::{Level, LimbIdx, Params, ParamsLiteral, Scales, Security};
use crate::ring::{Eval, Ring, RnsPoly};

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

pub(super) fn read_poly<W: Word>(
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

pub(super) fn read_seed(reader: &mut Reader<'_>) -> Result<Seed> {
    let mut seed = [0; 32];
    seed.copy_from_slice(reader.bytes(32)?);
    Ok(Seed(seed))
}

/// Level and scale of a ciphertext or a plaintext; the scale must leave the modulus some room.
fn read_level_and_scale(params: &Params, reader: &mut Reader<'_>) -> Result<(Level, Double)> {
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

fn write_ciphertext<W: Word>(kind: Kind, ciphertext: &Ciphertext<W>) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u64(u64::from(ciphertext.level.0));
    writer.double(ciphertext.log_scale);
    writer.u64(ciphertext.polys.len() as u64);
    ciphertext.polys.iter().for_each(|p| writer.words(p.words()));
    seal(kind, ciphertext.params.digest(), writer)
}

fn read_ciphertext<W: Word>(ring: &Ring<W>, mut reader: Reader<'_>, most: u64) -> Result<Ciphertext<W>> {
    let params = ring.params();
    let (level, log_scale) = read_level_and_scale(params, &mut reader)?;
    let n_polys = reader.bounded("polynomials", most)?;
    if n_polys < 2 {
        return reader.fail(format!("polynomials: expected 2 to {most}, found {n_polys}"));
    }
    let basis = params.level(level)?.basis.clone();
    let polys = (0..n_polys).map(|_| read_poly(ring, &basis, &mut reader)).collect::<Result<_>>()?;
    reader.finish()?;
    Ciphertext::new(params, polys, level, log_scale)
}

impl<W: Word> Plaintext<W> {
    /// As a blob, in the clear: for weights that are encoded once, and for owners of messages.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u64(u64::from(self.level.0));
        writer.double(self.log_scale);
        writer.words(self.poly.words());
        seal(Kind::Plaintext, self.params.digest(), writer)
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`crate::Error::Wire`], [`crate::Error::ParamsMismatch`].
    pub fn from_bytes(ring: &Ring<W>, bytes: &[u8]) -> Result<Self> {
        let params = ring.params();
        let (_, digest, payload) = open(bytes, &[Kind::Plaintext])?;
        params.check_digest(digest)?;
        let mut reader = Reader::new("plaintext", payload);
        let (level, log_scale) = read_level_and_scale(params, &mut reader)?;
        let poly = read_poly(ring, &params.level(level)?.basis, &mut reader)?;
        reader.finish()?;
        Ok(Self { params: params.clone(), poly, level, log_scale })
    }
}

impl<W: Word> Ciphertext<W> {
    /// As a blob: its polynomials in full.
    pub fn to_bytes(&self) -> Vec<u8> {
        write_ciphertext(Kind::Ciphertext, self)
    }

    /// Reads a ciphertext, or a seeded one, which is expanded.
    ///
    /// # Errors
    /// [`crate::Error::Wire`], [`crate::Error::ParamsMismatch`].
    pub fn from_bytes(ring: &Ring<W>, bytes: &[u8]) -> Result<Self> {
        let params = ring.params();
        let (kind, digest, payload) = open(bytes, &[Kind::Ciphertext, Kind::SeededCiphertext])?;
        params.check_digest(digest)?;
        let reader = Reader::new("ciphertext", payload);
        match kind {
            Kind::SeededCiphertext => read_seeded(ring, reader)?.expand(ring),
            _ => read_ciphertext(ring, reader, 3),
        }
    }
}

impl<W: Word> SparseCiphertext<W> {
    /// As a blob of a kind of its own: it is under another secret than ciphertexts.
    pub fn to_bytes(&self) -> Vec<u8> {
        write_ciphertext(Kind::SparseCiphertext, &self.0)
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`crate::Error::Wire`], [`crate::Error::ParamsMismatch`].
    pub fn from_bytes(ring: &Ring<W>, bytes: &[u8]) -> Result<Self> {
        let (_, digest, payload) = open(bytes, &[Kind::SparseCiphertext])?;
        ring.params().check_digest(digest)?;
        read_ciphertext(ring, Reader::new("sparse ciphertext", payload), 2).map(SparseCiphertext)
    }
}

impl BootstrapPlan {
    /// As a blob: the literal, from which a client sees which keys it takes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let literal = self.literal();
        let mut writer = Writer::new();
        writer.u64(literal.coeffs_to_slots as u64);
        writer.u64(literal.slots_to_coeffs as u64);
        writer.u64(literal.weight as u64);
        writer.u64(u64::from(literal.bound));
        writer.u64(u64::from(literal.double_angles));
        writer.u64(u64::from(literal.log_gain));
        writer.u64(match literal.slots {
            Slots::Complex => 0,
            Slots::RealPair => 1,
            Slots::Periodic { period } => period as u64,
        });
        seal(Kind::BootstrapPlan, self.params().digest(), writer)
    }

    /// Reads a literal and checks it as [`BootstrapPlan::new`] does.
    ///
    /// # Errors
    /// [`crate::Error::Wire`], [`crate::Error::ParamsMismatch`], and those of [`BootstrapPlan::new`].
    pub fn from_bytes(params: &Params, bytes: &[u8]) -> Result<Self> {
        let (_, digest, payload) = open(bytes, &[Kind::BootstrapPlan])?;
        params.check_digest(digest)?;
        let mut reader = Reader::new("bootstrapping plan", payload);
        let most = params.n() as u64;
        let literal = BootstrapLiteral {
            coeffs_to_slots: reader.bounded("matrices of coeffs_to_slots", most)? as usize,
            slots_to_coeffs: reader.bounded("matrices of slots_to_coeffs", most)? as usize,
            weight: reader.bounded("weight of the sparse secret", most)? as usize,
            bound: reader.bounded("bound of c / q", 64)? as u32,
            double_angles: reader.bounded("double angles", 8)? as u32,
            log_gain: reader.bounded("log2 of the gain", 64)? as u32,
            slots: match reader.bounded("period", most)? {
                0 => Slots::Complex,
                1 => Slots::RealPair,
                period => Slots::Periodic { period: period as usize },
            },
        };
        reader.finish()?;
        Self::new(params, &literal)
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
        seal(Kind::SeededCiphertext, self.params.digest(), writer)
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

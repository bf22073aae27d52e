//! The precision of a preset: `-log2 |error|` of messages in the unit square after encryption, a rotation, a
//! product, and a chain of squares through every level.
//!
//! `cargo run --release -p fhe-core --example precision [-- PRESET...]`; without arguments, every secure preset.

use fhe_core::ckks::precision::PrecisionReport;
use fhe_core::ckks::{Ciphertext, Decryptor, Encoder, Encryptor, Evaluator};
use fhe_core::math::sampling::Randomness;
use fhe_core::math::word::{Word, WordKind};
use fhe_core::params::{Preset, Security};
use fhe_core::ring::Ring;
use fhe_core::rlwe::KeyGenerator;
use fhe_core::{Complex64, Result};

fn report<W: Word>(preset: Preset) -> Result<()> {
    let params = preset.params()?;
    println!("{preset}: {params}");
    let mut randomness = Randomness::from_os()?;
    let ring = Ring::<W>::new(&params)?;
    let generator = KeyGenerator::new(&ring);
    let secret = generator.secret_key(&mut randomness);
    let public = generator.public_key(&secret, &mut randomness)?;
    let element = params.galois_element(1)?;
    let keys = generator.evaluation_keys(&secret, true, &[element], &mut randomness, |_, _| ())?;
    let (encoder, evaluator) = (Encoder::new(&ring), Evaluator::new(&ring));
    let decrypt = |c: &Ciphertext<W>| encoder.decode(&Decryptor::new(&ring).decrypt(c, &secret)?);
    let print = |what: &str, expected: &[Complex64], found: &[Complex64]| -> Result<()> {
        let bits = PrecisionReport::new(expected, found)?.modulus;
        println!(
            "  {what:<28} min {:>5.1}  mean {:>5.1}  median {:>5.1}  max {:>5.1}  std {:>4.1}",
            bits.min, bits.mean, bits.median, bits.max, bits.std
        );
        Ok(())
    };

    let n = params.n_slots();
    let x: Vec<Complex64> = (0..n).map(|i| Complex64::from_polar(1.0, 0.37 * i as f64)).collect();
    let (top, scale) = (params.max_level(), params.level(params.max_level())?.log_scale);
    let plain = encoder.encode(&x, top, scale)?;
    print("encode", &x, &encoder.decode(&plain)?)?;
    let encryptor = Encryptor::new(&ring);
    let seeded = encryptor.encrypt_seeded(&plain, &secret, &mut randomness)?.expand(&ring)?;
    print("encrypt, secret key", &x, &decrypt(&seeded)?)?;
    let mut a = encryptor.encrypt(&plain, &public, &mut randomness)?;
    print("encrypt, public key", &x, &decrypt(&a)?)?;
    let rotated: Vec<Complex64> = (0..n).map(|i| x[(i + 1) % n]).collect();
    print("rotate", &rotated, &decrypt(&evaluator.rotate(&a, 1, &keys)?)?)?;
    let mut expected = x;
    while a.level().0 > 0 {
        let squared = evaluator.relinearize(&evaluator.square(&a)?, keys.relinearization()?)?;
        a = evaluator.rescale(&squared)?;
        expected.iter_mut().for_each(|z| *z *= *z);
        print(&format!("squares down to level {}", a.level()), &expected, &decrypt(&a)?)?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let named: Vec<Preset> = std::env::args().skip(1).map(|name| name.parse()).collect::<Result<_>>()?;
    let secure = |p: &Preset| p.literal().security == Security::Bits128;
    let presets = if named.is_empty() { Preset::ALL.into_iter().filter(secure).collect() } else { named };
    for preset in presets {
        match preset.literal().word {
            WordKind::U32 => report::<u32>(preset)?,
            WordKind::U64 => report::<u64>(preset)?,
        }
    }
    Ok(())
}

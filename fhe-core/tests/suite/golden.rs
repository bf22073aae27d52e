//! Bits that must not change by accident: what others have expanded, signed or stored depends on them.

use crate::common::Client;
use fhe_core::Complex64;
use fhe_core::bootstrap::{BootstrapLiteral, BootstrapPlan};
use fhe_core::ckks::Encryptor;
use fhe_core::math::modulus::Modulus;
use fhe_core::math::sampling::{Seed, expand_uniform};
use fhe_core::params::{Level, Preset};
use fhe_core::rlwe::KeyGenerator;

#[test]
fn uniform_expansion() {
    let mut narrow = [0u32; 4];
    expand_uniform(&Seed([7; 32]), 3, 5, &Modulus::new(1_073_479_681), &mut narrow);
    assert_eq!(narrow, NARROW);
    let mut wide = [0u64; 4];
    expand_uniform(&Seed([7; 32]), 3, 5, &Modulus::new(1_152_921_504_606_830_593), &mut wide);
    assert_eq!(wide, WIDE);
}

const NARROW: [u32; 4] = [1_021_096_397, 649_440_962, 761_147_691, 228_541_048];
const WIDE: [u64; 4] =
    [567_647_601_581_304_913, 484_457_611_870_767_006, 806_546_782_160_641_262, 510_171_320_785_395_080];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn preset_digests() {
    let found = Preset::ALL.map(|p| (p.to_string(), hex(&p.params().unwrap().digest())));
    let found: Vec<(&str, &str)> = found.iter().map(|(p, d)| (p.as_str(), d.as_str())).collect();
    assert_eq!(found, DIGESTS);
}

const DIGESTS: [(&str, &str); 18] = [
    ("n13", "6f5283c2a28f361d4e253287fd34b8b5"),
    ("n14", "a45a3ae652c680e704be5864e90cb48a"),
    ("n15", "f7e31293643c5385c8640c4b170dbf65"),
    ("n16", "5f362dd3cf5e71e7308402e108df5014"),
    ("n13w", "73cc65007f79e6767d75b5ed5fd26655"),
    ("n14w", "a2f2d53fc69519baff58cd4f0dd36123"),
    ("n15w", "8a2b30331a4d2e4db40af806415772cc"),
    ("toy10", "db41bc6111e423fa72deafa8abefeaa4"),
    ("toy11", "303278d55493fd392486f95373169cb2"),
    ("toy12", "699e4ff5bf6182088db0fa9fcc5b584e"),
    ("toy10w", "b81ae2ad931fc5dcb2cc66b09fec6ae6"),
    ("boot16", "cf89c606fb294d243262be7542570c5b"),
    ("toy13", "12e3b5f15600574be0a5275af5ff2a3f"),
    ("toy12r", "2b01499f6fedcb7c289515a7799ac629"),
    ("boot16p", "0779b9478f0563c2b87307b60a8ccc68"),
    ("boot16w", "4e12c05fdccbf3c3b14286437185c8bd"),
    ("toy12p", "78598266a69a400cbe80e8edcdf2c61a"),
    ("toy12w", "087bb02a15e713c0490b50002dfac038"),
];

#[test]
fn blobs_under_reproducible_randomness() {
    let mut c = Client::<u32>::new(Preset::Toy10.params().unwrap(), &[1]);
    // 1 in every slot: no transcendental function has a say in the message.
    let x = c.slots(|_| Complex64::ONE);
    let scale = c.params.level(Level(1)).unwrap().log_scale;
    let plain = c.encoder.encode(&x, Level(1), scale).unwrap();
    let encryptor = Encryptor::new(&c.ring);
    let seeded = encryptor.encrypt_seeded(&plain, &c.secret, &mut c.randomness).unwrap();
    let ciphertext = encryptor.encrypt(&plain, &c.public, &mut c.randomness).unwrap();
    let generator = KeyGenerator::new(&c.ring);
    let other = generator.secret_key(&mut c.randomness);
    let switching = generator.key_switching_key(&c.secret, &other, &mut c.randomness).unwrap();
    let boot = Preset::Toy12p.params().unwrap();
    let plan = BootstrapPlan::new(&boot, &BootstrapLiteral::default()).unwrap();
    let blobs = [
        ("params", c.params.to_bytes()),
        ("secret key", c.secret.to_secret_bytes().to_vec()),
        ("public key", c.public.to_bytes()),
        ("evaluation keys", c.keys.to_bytes()),
        ("seeded ciphertext", seeded.to_bytes()),
        ("ciphertext", ciphertext.to_bytes()),
        ("plaintext", plain.to_bytes()),
        ("evaluation key", switching.to_bytes()),
        ("bootstrapping plan", plan.to_bytes()),
    ];
    let found = blobs.map(|(name, blob)| (name, hex(&blake3::hash(&blob).as_bytes()[..16])));
    let found: Vec<(&str, &str)> = found.iter().map(|(n, d)| (*n, d.as_str())).collect();
    assert_eq!(found, BLOBS);
}

const BLOBS: [(&str, &str); 9] = [
    ("params", "c05059bda8995814c240963378a23abd"),
    ("secret key", "0116910193380d969b02fb6a285b006f"),
    ("public key", "9a8c92dc00196c12a26e81ab4647c7e3"),
    ("evaluation keys", "17211c8c86580e37140728042f1b7634"),
    ("seeded ciphertext", "9c57d18a62983f6fe3363871dfd176a0"),
    ("ciphertext", "1b370fa1a9e7e07c424258506436ff28"),
    ("plaintext", "bce35bca2f81ee5039812fa8e157cd79"),
    ("evaluation key", "99205041784bc1e5800f4f1996f6dba5"),
    ("bootstrapping plan", "39059a22f5535fa749f470fb5360f98a"),
];

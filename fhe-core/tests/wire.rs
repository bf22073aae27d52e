//! The wire format: round trips, and hostile bytes.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::{Client, wave};
use fhe_core::Error;
use fhe_core::ckks::{Ciphertext, Encryptor, SeededCiphertext};
use fhe_core::math::word::Word;
use fhe_core::params::{Level, Params, Preset};
use fhe_core::rlwe::{EvaluationKeySet, PublicKey, SecretKey};
use proptest::prelude::*;
use std::sync::OnceLock;

struct Blobs {
    client: Client<u32>,
    foreign: Client<u32>,
    params: Vec<u8>,
    public: Vec<u8>,
    keys: Vec<u8>,
    ciphertext: Vec<u8>,
    seeded: Vec<u8>,
}

fn blobs() -> &'static Blobs {
    static BLOBS: OnceLock<Blobs> = OnceLock::new();
    BLOBS.get_or_init(|| {
        let mut client = Client::new(Preset::Toy10.params().unwrap(), &[1, 2]);
        let x = client.slots(wave(0.1));
        let ciphertext = client.encrypt(&x, Level(1));
        let scale = client.params.level(Level(1)).unwrap().log_scale;
        let plain = client.encoder.encode(&x, Level(1), scale).unwrap();
        let encryptor = Encryptor::new(&client.ring);
        let seeded = encryptor.encrypt_seeded(&plain, &client.secret, &mut client.randomness).unwrap();
        Blobs {
            params: client.params.to_bytes(),
            public: client.public.to_bytes(),
            keys: client.keys.to_bytes(),
            ciphertext: ciphertext.to_bytes(),
            seeded: seeded.to_bytes(),
            foreign: Client::new(Preset::Toy11.params().unwrap(), &[]),
            client,
        }
    })
}

/// Reads a blob as what it should be, and writes it again.
type Read = fn(&Blobs, &[u8]) -> Result<Vec<u8>, Error>;

fn readers(b: &Blobs) -> [(&[u8], Read); 5] {
    [
        (&b.params, |_, x| Params::from_bytes(x).map(|o| o.to_bytes())),
        (&b.public, |b, x| PublicKey::from_bytes(&b.client.ring, x).map(|o| o.to_bytes())),
        (&b.keys, |b, x| EvaluationKeySet::from_bytes(&b.client.ring, x).map(|o| o.to_bytes())),
        (&b.ciphertext, |b, x| Ciphertext::from_bytes(&b.client.ring, x).map(|o| o.to_bytes())),
        (&b.seeded, |b, x| SeededCiphertext::from_bytes(&b.client.ring, x).map(|o| o.to_bytes())),
    ]
}

#[test]
fn everything_comes_back_as_it_was() {
    let b = blobs();
    assert_eq!(Params::from_bytes(&b.params).unwrap(), b.client.params);
    assert_eq!(PublicKey::from_bytes(&b.client.ring, &b.public).unwrap(), b.client.public);
    assert_eq!(EvaluationKeySet::from_bytes(&b.client.ring, &b.keys).unwrap(), b.client.keys);
    let ciphertext = Ciphertext::from_bytes(&b.client.ring, &b.ciphertext).unwrap();
    assert_eq!(ciphertext.to_bytes(), b.ciphertext);
    let seeded = SeededCiphertext::from_bytes(&b.client.ring, &b.seeded).unwrap();
    let expanded = Ciphertext::from_bytes(&b.client.ring, &b.seeded).unwrap();
    assert_eq!(seeded.expand(&b.client.ring).unwrap(), expanded);
    assert!(b.seeded.len() < b.ciphertext.len() / 2 + 100);
    let secret = b.client.secret.to_secret_bytes();
    let back = SecretKey::from_secret_bytes(&b.client.ring, &secret).unwrap();
    assert_eq!(*back.to_secret_bytes(), *secret);
    assert_eq!(back.id(), b.client.secret.id());
    assert_eq!(b.client.public.secret_id(), back.id());
    assert_eq!(b.client.keys.secret_id(), Some(back.id()));
}

#[test]
fn every_truncation_is_refused() {
    let b = blobs();
    for (blob, read) in readers(b) {
        let lengths = (0..blob.len().min(200)).chain((200..blob.len()).step_by(blob.len() / 50 + 1));
        for len in lengths {
            assert!(matches!(read(b, &blob[..len]), Err(Error::Wire { .. })), "cut to {len}");
        }
        let longer = [blob, &[0]].concat();
        assert!(matches!(read(b, &longer), Err(Error::Wire { .. })));
    }
}

#[test]
fn foreign_blobs_are_refused_by_name() {
    let b = blobs();
    let ring = &b.foreign.ring;
    assert!(matches!(Ciphertext::from_bytes(ring, &b.ciphertext), Err(Error::ParamsMismatch { .. })));
    assert!(matches!(PublicKey::from_bytes(ring, &b.public), Err(Error::ParamsMismatch { .. })));
    assert!(matches!(EvaluationKeySet::from_bytes(ring, &b.keys), Err(Error::ParamsMismatch { .. })));
    let wrong_kind = PublicKey::from_bytes(&b.client.ring, &b.keys).unwrap_err().to_string();
    assert!(wrong_kind.contains("expected public key, found evaluation keys"), "{wrong_kind}");
    assert!(
        Ciphertext::from_bytes(
            &b.client.ring,
            b"PK\x03\x04 not ours at all, but long enough to have a whole header in it"
        )
        .is_err()
    );
}

/// A blob with a byte changed and the checksum made right again: only the parsers stand in the way.
fn reseal(mut blob: Vec<u8>, at: usize, flip: u8) -> Vec<u8> {
    blob[at] ^= flip;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&blob[..32]).update(&blob[64..]);
    blob[32..48].copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    blob
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_flip_is_refused(which in 0usize..5, at in any::<prop::sample::Index>(), flip in 1u8..=255) {
        let b = blobs();
        let (blob, read) = readers(b)[which];
        let mut altered = blob.to_vec();
        let at = at.index(altered.len());
        altered[at] ^= flip;
        prop_assert!(read(b, &altered).is_err(), "byte {} of blob {}", at, which);
    }

    #[test]
    fn resealed_flips_never_panic_and_give_valid_objects_or_errors(
        which in 0usize..5, at in 0usize..400, flip in 1u8..=255,
    ) {
        let b = blobs();
        let (blob, read) = readers(b)[which];
        let at = at.min(blob.len() - 1);
        let altered = reseal(blob.to_vec(), at, flip);
        if let Ok(again) = read(b, &altered) {
            prop_assert!(again == altered, "byte {} of blob {} is read and not kept", at, which);
        }
    }

    #[test]
    fn resealed_scales_are_kept_or_refused(which in 3usize..5, at in 72usize..88, flip in 1u8..=255) {
        let b = blobs();
        let (blob, read) = readers(b)[which];
        let altered = reseal(blob.to_vec(), at, flip);
        prop_assert!(read(b, &altered).map_or(true, |again| again == altered), "byte {}", at);
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let b = blobs();
        for (_, read) in readers(b) {
            prop_assert!(read(b, &bytes).is_err());
        }
    }
}

#[test]
fn hostile_lengths_do_not_allocate() {
    let b = blobs();
    // The number of Galois keys: 2^32 more than there are.
    let keys = reseal(b.keys.clone(), 64 + 8 + 4, 1);
    let error = EvaluationKeySet::from_bytes(&b.client.ring, &keys).unwrap_err().to_string();
    assert!(error.contains("Galois keys: expected at most 1024"), "{error}");
    // A residue that is not below its prime.
    let at = 64 + 24 + 8 + 3;
    let ciphertext = reseal(b.ciphertext.clone(), at, 0xc0);
    let error = Ciphertext::from_bytes(&b.client.ring, &ciphertext).unwrap_err().to_string();
    assert!(error.contains("word 0 of limb 0"), "{error}");
    // An insecure literal that claims security is refused by the security table.
    let params = reseal(b.params.clone(), 64 + 24, 128);
    assert!(matches!(Params::from_bytes(&params), Err(Error::BeyondSecurityTable { .. })));
}

#[test]
fn a_blob_with_keys_of_two_secrets_is_refused() {
    let b = blobs();
    // The second key follows the two counts and the relinearization key, and has its element before the id.
    let params = &b.client.params;
    let words = params.digits().len() * params.primes().len() * params.n() * 4;
    let keys = reseal(b.keys.clone(), 64 + 16 + (16 + 32 + words) + 8, 1);
    assert!(matches!(EvaluationKeySet::from_bytes(&b.client.ring, &keys), Err(Error::WrongKey { .. })));
}

#[test]
fn the_word_is_checked() {
    let wide = Preset::Toy10w.params().unwrap();
    assert_eq!(u64::KIND, wide.word());
    assert!(matches!(fhe_core::ring::Ring::<u32>::new(&wide), Err(Error::WordMismatch { .. })));
}

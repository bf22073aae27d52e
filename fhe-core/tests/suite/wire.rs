//! The wire format: round trips, and hostile bytes.

use crate::common::{Client, wave};
use fhe_core::Error;
use fhe_core::bootstrap::{BootstrapLiteral, BootstrapPlan, Slots, SparseCiphertext};
use fhe_core::ckks::{Ciphertext, Encryptor, Plaintext, SeededCiphertext};
use fhe_core::math::word::Word;
use fhe_core::params::{Level, Params, Preset};
use fhe_core::rlwe::{EvaluationKey, EvaluationKeySet, KeyGenerator, PublicKey, SecretKey};
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
    plaintext: Vec<u8>,
    secret: Vec<u8>,
    switching: Vec<u8>,
    /// With encapsulation keys and no other.
    encapsulation: Vec<u8>,
    sparse: Vec<u8>,
    boot: Params,
    plan: Vec<u8>,
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
        let (generator, randomness) = (KeyGenerator::new(&client.ring), &mut client.randomness);
        let other = generator.secret_key(randomness);
        let switching = generator.key_switching_key(&client.secret, &other, randomness).unwrap();
        let mut encapsulation = EvaluationKeySet::new(&client.params);
        let keys = generator.encapsulation_keys(&client.secret, 32, randomness).unwrap();
        let bottom = client.encrypt(&x, Level(0));
        let sparse = SparseCiphertext::to_sparse(&client.ring, &bottom, &keys).unwrap();
        encapsulation.set_encapsulation(keys).unwrap();
        let boot = Preset::Toy12r.params().unwrap();
        let slots = Slots::Periodic { period: 4 };
        let literal =
            BootstrapLiteral { slots, coeffs_to_slots: 2, slots_to_coeffs: 2, ..BootstrapLiteral::default() };
        Blobs {
            plaintext: plain.to_bytes(),
            secret: client.secret.to_secret_bytes().to_vec(),
            switching: switching.to_bytes(),
            encapsulation: encapsulation.to_bytes(),
            sparse: sparse.to_bytes(),
            plan: BootstrapPlan::new(&boot, &literal).unwrap().to_bytes(),
            boot,
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

const N_READERS: usize = 11;

fn readers(b: &Blobs) -> [(&[u8], Read); N_READERS] {
    [
        (&b.params, |_, x| Params::from_bytes(x).map(|o| o.to_bytes())),
        (&b.public, |b, x| PublicKey::from_bytes(&b.client.ring, x).map(|o| o.to_bytes())),
        (&b.keys, |b, x| EvaluationKeySet::from_bytes(&b.client.ring, x).map(|o| o.to_bytes())),
        (&b.ciphertext, |b, x| Ciphertext::from_bytes(&b.client.ring, x).map(|o| o.to_bytes())),
        (&b.seeded, |b, x| SeededCiphertext::from_bytes(&b.client.ring, x).map(|o| o.to_bytes())),
        (&b.plaintext, |b, x| Plaintext::from_bytes(&b.client.ring, x).map(|o| o.to_bytes())),
        (&b.secret, |b, x| {
            SecretKey::from_secret_bytes(&b.client.ring, x).map(|o| o.to_secret_bytes().to_vec())
        }),
        (&b.switching, |b, x| EvaluationKey::from_bytes(&b.client.ring, x).map(|o| o.to_bytes())),
        (&b.encapsulation, |b, x| EvaluationKeySet::from_bytes(&b.client.ring, x).map(|o| o.to_bytes())),
        (&b.plan, |b, x| BootstrapPlan::from_bytes(&b.boot, x).map(|o| o.to_bytes())),
        (&b.sparse, |b, x| SparseCiphertext::from_bytes(&b.client.ring, x).map(|o| o.to_bytes())),
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
    for (blob, read) in readers(b) {
        assert_eq!(read(b, blob).unwrap(), blob);
    }
    let plan = BootstrapPlan::from_bytes(&b.boot, &b.plan).unwrap();
    assert_eq!(BootstrapPlan::new(&b.boot, plan.literal()).unwrap(), plan);
    assert_eq!(plan.literal().slots, Slots::Periodic { period: 4 });
}

/// Literals with a scale of level 0 of its own, and with one that is the nominal one.
#[test]
fn parameters_of_every_kind_come_back() {
    for preset in [Preset::N13w, Preset::Toy12r, Preset::Toy12p, Preset::Toy12w] {
        let params = preset.params().unwrap();
        let bytes = params.to_bytes();
        assert_eq!(Params::from_bytes(&bytes).unwrap().literal(), params.literal());
        (64..bytes.len()).step_by(8).for_each(|len| {
            let cut = resealed(bytes[..len].to_vec());
            assert!(Params::from_bytes(&cut).is_err(), "{preset} cut to {len}");
        });
    }
    // The last field says the nominal scale, which is said by saying nothing.
    let mut long = Preset::Toy12p.params().unwrap().to_bytes();
    let at = long.len() - 8;
    long[at] = 55;
    let message = Params::from_bytes(&resealed(long)).unwrap_err().to_string();
    assert!(message.contains("scale of level 0: expected at most 54, found 55"), "{message}");
}

#[test]
fn every_truncation_is_refused() {
    let b = blobs();
    for (blob, read) in readers(b) {
        for len in 0..blob.len() {
            assert!(matches!(read(b, &blob[..len]), Err(Error::Wire { .. })), "cut to {len}");
        }
        let longer = [blob, &[0]].concat();
        assert!(matches!(read(b, &longer), Err(Error::Wire { .. })));
    }
}

/// Length and checksum made right again: the parsers themselves must see the end.
#[test]
fn every_resealed_truncation_is_refused() {
    let b = blobs();
    for (which, (blob, read)) in readers(b).into_iter().enumerate() {
        let lengths = (64..blob.len().min(400)).chain((400..blob.len()).step_by(blob.len() / 60 + 1));
        for len in lengths.chain([blob.len() - 1]) {
            let cut = resealed(blob[..len].to_vec());
            assert!(matches!(read(b, &cut), Err(Error::Wire { .. })), "blob {which} cut to {len}");
        }
        let longer = resealed([blob, &[0; 8]].concat());
        let refused = read(b, &longer);
        assert!(refused.is_err(), "blob {which} with eight bytes more");
    }
}

/// Every blob to every reader but its own.
#[test]
fn every_other_kind_is_refused_by_name() {
    let b = blobs();
    for (i, (blob, _)) in readers(b).into_iter().enumerate() {
        for (j, (own, read)) in readers(b).into_iter().enumerate() {
            // A ciphertext may come as a seeded one, and key sets are of one kind.
            if own[6..8] == blob[6..8] || (i, j) == (4, 3) {
                continue;
            }
            let message = read(b, blob).unwrap_err().to_string();
            assert!(message.contains("kind: expected"), "{i} read as {j}: {message}");
        }
    }
}

#[test]
fn foreign_blobs_are_refused_by_name() {
    let b = blobs();
    let ring = &b.foreign.ring;
    assert!(matches!(Ciphertext::from_bytes(ring, &b.ciphertext), Err(Error::ParamsMismatch { .. })));
    assert!(matches!(PublicKey::from_bytes(ring, &b.public), Err(Error::ParamsMismatch { .. })));
    assert!(matches!(EvaluationKeySet::from_bytes(ring, &b.keys), Err(Error::ParamsMismatch { .. })));
    assert!(matches!(Plaintext::from_bytes(ring, &b.plaintext), Err(Error::ParamsMismatch { .. })));
    assert!(matches!(EvaluationKey::from_bytes(ring, &b.switching), Err(Error::ParamsMismatch { .. })));
    assert!(matches!(SecretKey::from_secret_bytes(ring, &b.secret), Err(Error::ParamsMismatch { .. })));
    assert!(matches!(SparseCiphertext::from_bytes(ring, &b.sparse), Err(Error::ParamsMismatch { .. })));
    let plan = BootstrapPlan::from_bytes(&b.foreign.params, &b.plan);
    assert!(matches!(plan, Err(Error::ParamsMismatch { .. })));
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
    reseal_checksum(blob)
}

/// A payload of another length under the same header.
fn resealed(mut blob: Vec<u8>) -> Vec<u8> {
    let length = (blob.len() - 64) as u64;
    blob[24..32].copy_from_slice(&length.to_le_bytes());
    reseal_checksum(blob)
}

fn reseal_checksum(mut blob: Vec<u8>) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&blob[..32]).update(&blob[64..]);
    blob[32..48].copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    blob
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_flip_is_refused(which in 0..N_READERS, at in any::<prop::sample::Index>(), flip in 1u8..=255) {
        let b = blobs();
        let (blob, read) = readers(b)[which];
        let mut altered = blob.to_vec();
        let at = at.index(altered.len());
        altered[at] ^= flip;
        prop_assert!(read(b, &altered).is_err(), "byte {} of blob {}", at, which);
    }

    #[test]
    fn resealed_flips_never_panic_and_give_valid_objects_or_errors(
        which in 0..N_READERS, at in 0usize..400, flip in 1u8..=255,
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
    fn resealed_scales_are_kept_or_refused(which in 3usize..6, at in 72usize..88, flip in 1u8..=255) {
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
    // Of a plan: more matrices than there are slots, a period that is no power of two.
    for (at, flip, words) in [(64 + 6, 1, "matrices of coeffs_to_slots"), (64 + 48, 1, "period 5")] {
        let error =
            BootstrapPlan::from_bytes(&b.boot, &reseal(b.plan.clone(), at, flip)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    // An ephemeral secret heavier than the ring has room for: after two counts.
    let heavy = reseal(b.encapsulation.clone(), 64 + 16 + 2, 1);
    let error = EvaluationKeySet::from_bytes(&b.client.ring, &heavy).unwrap_err().to_string();
    assert!(error.contains("weight of the sparse secret: expected at most 512"), "{error}");
    // A secret with a coefficient of 2.
    let secret = reseal(b.secret.clone(), 64 + 16 + 5, 4);
    let error = SecretKey::from_secret_bytes(&b.client.ring, &secret).unwrap_err().to_string();
    assert!(error.contains("coefficient 5: expected 0, 1 or 2"), "{error}");
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

//! Client and server, bytes between them: the whole path, and what each refuses.

use ferrocerium::fhe_core;
use ferrocerium::fhe_core::ckks::{Ciphertext, Flooding};
use ferrocerium::fhe_core::math::double::Double;
use ferrocerium::fhe_core::params::{GaloisElement, Level};
use ferrocerium::fhe_core::ring::{Eval, Ring, RnsPoly};
use ferrocerium::fhe_core::wire::{HEADER_BYTES, Kind, Writer, seal};
use ferrocerium::models::digits::{Network, TestSplit, encrypted};
use ferrocerium::prelude::*;
use ferrocerium::scheduler::Compiled;
use ferrocerium::{ClientError, MAX_KEY_BYTES, Offer};

fn example() -> (Params, Compiled) {
    let program = dsl::build("example", |g| {
        let x = g.input("x", 4)?;
        let w = g.plain("w", &[0.5, -1.0, 2.0, 0.25])?;
        g.output("y", (x.rotate(1) * w + 0.5).square(), 4)
    });
    let params = Preset::Toy10.params().unwrap();
    let compiled = compile(&program.unwrap(), &params, &Options::default()).unwrap();
    (params, compiled)
}

fn accept(offer: &[u8], trust: Trust) -> Result<Client, ClientError> {
    Client::accept(offer, trust, Randomness::insecure_reproducible(5), |_, _| ())
}

#[test]
fn the_whole_path_in_both_words() {
    for preset in [Preset::Toy10, Preset::Toy10w] {
        let network = Network::embedded().unwrap();
        let params = preset.params().unwrap();
        let program = encrypted::program(&network).unwrap();
        let compiled = compile(&program, &params, &Options::default()).unwrap();
        let offer = Offer::new(&params, &compiled.manifest).to_bytes();
        let mut client = accept(&offer, Trust::Insecure).unwrap();
        let session = Session::builder().backend(BackendKind::Cpu).build().unwrap();
        let mut server = session.load(compiled, &params).unwrap();
        server.load_keys(client.evaluation_keys()).unwrap();
        for (pixels, _) in TestSplit::embedded().unwrap().samples().take(3) {
            let question = client.encrypt(encrypted::INPUT, &pixels).unwrap();
            let answer = server.run(&[(encrypted::INPUT, &question)]).unwrap();
            let logits = client.decrypt(encrypted::OUTPUT, &answer[0]).unwrap();
            for (found, expected) in logits.iter().zip(network.forward(&pixels)) {
                assert!((found - expected).abs() < 2f64.powi(-20), "{preset}: {found} against {expected}");
            }
        }
    }
}

/// A square of what was bootstrapped, from inputs at level 0.
fn bootstrapping(preset: Preset) -> (Params, Compiled) {
    let program = dsl::build("refreshed", |g| {
        let x = g.input("x", 16)?;
        let fresh = x.bootstrapped();
        g.output("y", fresh * fresh - fresh.rotate(1), 16)?;
        g.output("fresh", fresh, 16)?;
        g.output("sum", fresh + fresh.rotate(1), 16)
    });
    let params = preset.params().unwrap();
    let compiled = compile(&program.unwrap(), &params, &Options::default()).unwrap();
    (params, compiled)
}

#[test]
fn programs_that_bootstrap_in_both_words() {
    bootstraps(Preset::Toy12r);
    bootstraps(Preset::Toy12w);
}

fn bootstraps(preset: Preset) {
    let (params, compiled) = bootstrapping(preset);
    let weight = compiled.manifest.encapsulation_weight;
    let offer = Offer::new(&params, &compiled.manifest);
    assert!(weight.is_some() && offer.encapsulation_weight == weight);
    let bytes = offer.to_bytes();
    assert_eq!(Offer::from_bytes(&bytes).unwrap(), offer);
    // The key back is as large as any.
    let without = Offer { encapsulation_weight: None, ..offer.clone() };
    let one = without.key_bytes().unwrap() / (1 + offer.galois_elements.len() as u64);
    assert!(offer.relinearization_key);
    assert_eq!(offer.key_bytes().unwrap(), without.key_bytes().unwrap() + one);

    let mut client = accept(&bytes, Trust::Insecure).unwrap();
    let session = Session::builder().backend(BackendKind::Cpu).build().unwrap();
    let mut server = session.load(compiled, &params).unwrap();
    // A client who was not told of the encapsulation.
    let untold = accept(&without.to_bytes(), Trust::Insecure).unwrap();
    let message = server.load_keys(untold.evaluation_keys()).unwrap_err().to_string();
    assert!(
        message.contains("encapsulation (to_sparse)") && message.contains("encapsulation (to_dense)"),
        "{message}"
    );
    server.load_keys(client.evaluation_keys()).unwrap();
    let x: Vec<f64> = (0..16).map(|i| f64::from(i * 7 % 16) / 16.0 - 0.5).collect();
    let question = client.encrypt("x", &x).unwrap();
    let answer = server.run(&[("x", &question)]).unwrap();
    let y = client.decrypt("y", &answer[0]).unwrap();
    assert_eq!(y.len(), x.len());
    for (i, found) in y.iter().enumerate() {
        let expected = x[i] * x[i] - x[(i + 1) % 16];
        assert!((found - expected).abs() < 2f64.powi(-20), "{preset}, slot {i}: {found} against {expected}");
    }

    // What was too large to be bootstrapped is seen where bootstrapping returned it, and nowhere else.
    let [y, fresh, sum] = &Offer::from_bytes(&bytes).unwrap().outputs[..] else { panic!("three outputs") };
    let times = |output: &ferrocerium::OutputOffer| output.bootstrapped;
    assert_eq!((times(y), times(fresh), times(sum)), (None, Some(1.0), Some(2.0)));
    for (size, is_seen) in [(50.0, false), (200.0, true)] {
        let question = client.encrypt("x", &[size; 16]).unwrap();
        let answer = server.run(&[("x", &question)]).unwrap();
        let refused = |output: &str, i: usize| match client.decrypt(output, &answer[i]) {
            Ok(_) => false,
            Err(ClientError::Fhe(fhe_core::Error::OutOfRange { found, expected, .. })) => found > expected,
            Err(error) => panic!("{error}"),
        };
        let found = [refused("y", 0), refused("fresh", 1), refused("sum", 2)];
        assert_eq!(found, [false, is_seen, is_seen], "{preset}, messages of {size}");
    }
}

#[test]
fn hostile_weights_of_sparse_secrets_are_refused() {
    let (params, compiled) = bootstrapping(Preset::Toy12r);
    let most = params.n() / 2;
    for weight in [0, most + 1, usize::MAX] {
        let offer = Offer { encapsulation_weight: Some(weight), ..Offer::new(&params, &compiled.manifest) };
        let expected = format!("a sparse secret of weight {weight}, expected 1 to {most}");
        let read = Offer::from_bytes(&offer.to_bytes()).unwrap_err();
        assert!(matches!(read, ClientError::Fhe(fhe_core::Error::InvalidParams(_))), "{read}");
        assert!(read.to_string().contains(&expected), "{read} should mention {expected}");
        let accepted = accept(&offer.to_bytes(), Trust::Insecure).unwrap_err();
        assert!(accepted.to_string().contains(&expected), "{accepted} should mention {expected}");
    }
    let text = String::from_utf8(Offer::new(&params, &compiled.manifest).to_bytes()).unwrap();
    for weight in ["-1", "32.5", "\"32\"", "18446744073709551616"] {
        let broken =
            text.replacen("\"encapsulation_weight\":32", &format!("\"encapsulation_weight\":{weight}"), 1);
        assert_ne!(broken, text);
        let error = Offer::from_bytes(broken.as_bytes()).unwrap_err();
        assert!(matches!(error, ClientError::Offer(_)), "{error}");
    }

    // Where 128 bits are promised, a sparse secret has to have them too.
    let secure = Preset::Boot16.params().unwrap();
    let offer = |weight| Offer {
        params: secure.clone(),
        encapsulation_weight: Some(weight),
        ..Offer::new(&params, &compiled.manifest)
    };
    let error = Offer::from_bytes(&offer(1).to_bytes()).unwrap_err();
    assert!(matches!(error, ClientError::Fhe(fhe_core::Error::BeyondSparseSecurity { .. })), "{error}");
    assert!(Offer::from_bytes(&offer(32).to_bytes()).is_ok());
}

#[test]
fn insecure_parameters_need_consent() {
    let (params, compiled) = example();
    let offer = Offer::new(&params, &compiled.manifest).to_bytes();
    assert!(matches!(accept(&offer, Trust::Secure), Err(ClientError::Insecure(_))));
    assert!(accept(&offer, Trust::Insecure).is_ok());
}

#[test]
fn reproducible_randomness_needs_consent() {
    let (_, compiled) = example();
    let offer = Offer::new(&Preset::N13.params().unwrap(), &compiled.manifest).to_bytes();
    let message = accept(&offer, Trust::Secure).unwrap_err().to_string();
    assert!(message.contains("reproducible randomness"), "{message}");
}

#[test]
fn only_what_the_offer_names_is_decrypted() {
    let (params, compiled) = example();
    let offer = Offer::new(&params, &compiled.manifest);
    let mut client = accept(&offer.to_bytes(), Trust::Insecure).unwrap();
    let question = client.encrypt("x", &[0.1; 4]).unwrap();
    let error = client.decrypt("y", &question).unwrap_err();
    assert!(matches!(error, ClientError::Output { .. }), "{error}");
    assert!(error.to_string().contains("at level 2"), "{error}");

    // At the right level: the trivial ciphertext (0, 1) at scale 1, whose decryption is the secret, and degree 2.
    let level = Level(offer.outputs[0].level);
    let info = params.level(level).unwrap();
    let ring = Ring::<u32>::new(&params).unwrap();
    let zero = RnsPoly::<u32, Eval>::zero(&info.basis, ring.n());
    let mut one = zero.clone();
    one.for_each_limb(|_, words| words.fill(1));
    let polys = [zero, one.clone(), one];
    let refused = |n: usize, scale: Double| {
        let ciphertext = Ciphertext::new(&params, polys[..n].to_vec(), level, scale).unwrap();
        let error = client.decrypt("y", &ciphertext.to_bytes()).unwrap_err();
        assert!(matches!(error, ClientError::Output { .. }), "{error}");
    };
    refused(2, Double::default());
    refused(3, info.log_scale);
}

/// What is shared is off by the noise that is asked for, and no more answers are given than were promised.
#[test]
fn shared_answers_are_flooded_and_counted() {
    let (params, compiled) = example();
    let offer = Offer::new(&params, &compiled.manifest).to_bytes();
    let mut client = accept(&offer, Trust::Insecure).unwrap();
    let session = Session::builder().backend(BackendKind::Cpu).build().unwrap();
    let mut server = session.load(compiled, &params).unwrap();
    server.load_keys(client.evaluation_keys()).unwrap();
    let question = client.encrypt("x", &[0.1, 0.2, 0.3, 0.4]).unwrap();
    let answer = server.run(&[("x", &question)]).unwrap().remove(0);
    let exact = client.decrypt("y", &answer).unwrap();

    let flooding = Flooding { bits: 20, queries: 3, max_error: 2f64.powi(-30), min_precision: 10.0 };
    let too_much = Flooding { min_precision: 20.0, ..flooding };
    let refused = client.decrypt_shareable("y", &answer, &too_much);
    assert!(matches!(refused, Err(ClientError::Fhe(fhe_core::Error::FloodedPrecision { .. }))));
    assert!(matches!(client.decrypt_shareable("z", &answer, &flooding), Err(ClientError::NoSuchName { .. })));
    assert!(matches!(client.decrypt_shareable("y", &question, &flooding), Err(ClientError::Output { .. })));
    // None of these counted.
    let sigma = flooding.sigma(fhe_core::ckks::SharedValues::Real(4)).unwrap();
    for _ in 0..3 {
        let shared = client.decrypt_shareable("y", &answer, &flooding).unwrap();
        assert!(shared.len() == 4 && shared != exact);
        let worst = shared.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        // Of four values: above a tenth of sigma but once in 10^4, below six of them but once in 10^8.
        assert!((sigma / 10.0..6.0 * sigma).contains(&worst), "{worst} {sigma}");
    }
    let Err(ClientError::Sharing { expected, .. }) = client.decrypt_shareable("y", &answer, &flooding) else {
        panic!("a fourth answer")
    };
    assert_eq!(expected, "20 bits of security for 3 answers");
    let more = Flooding { queries: 30, ..flooding };
    let changed = client.decrypt_shareable("y", &answer, &more);
    assert!(matches!(changed, Err(ClientError::Sharing { .. })));
    // Who comes back has shared them too.
    let stored = client.to_secret_bytes();
    let randomness = Randomness::insecure_reproducible(6);
    let mut back = Client::from_secret_bytes(&stored, Trust::Insecure, randomness, |_, _| ()).unwrap();
    let fourth = back.decrypt_shareable("y", &answer, &flooding);
    assert!(matches!(fourth, Err(ClientError::Sharing { .. })));
}

/// The owner comes back, in another process, with these bytes alone: reads what was encrypted before, asks with keys that the server still has.
#[test]
fn a_stored_client_serves_again() {
    let (params, compiled) = example();
    let offer = Offer::new(&params, &compiled.manifest).to_bytes();
    let mut client = accept(&offer, Trust::Insecure).unwrap();
    let session = Session::builder().backend(BackendKind::Cpu).build().unwrap();
    let mut server = session.load(compiled, &params).unwrap();
    server.load_keys(client.evaluation_keys()).unwrap();
    let question = client.encrypt("x", &[0.1, 0.2, 0.3, 0.4]).unwrap();
    let stored = client.to_secret_bytes();
    let before = client.decrypt("y", &server.run(&[("x", &question)]).unwrap()[0]).unwrap();
    drop(client);

    let again = |stored: &[u8]| {
        let randomness = Randomness::insecure_reproducible(6);
        Client::from_secret_bytes(stored, Trust::Insecure, randomness, |_, _| ())
    };
    let mut client = again(&stored).unwrap();
    assert_eq!(client.offer().to_bytes(), offer);
    assert_eq!(client.to_secret_bytes(), stored);
    let answer = server.run(&[("x", &question)]).unwrap();
    assert_eq!(client.decrypt("y", &answer[0]).unwrap(), before);
    let question = client.encrypt("x", &[0.1, 0.2, 0.3, 0.4]).unwrap();
    let after = client.decrypt("y", &server.run(&[("x", &question)]).unwrap()[0]).unwrap();
    assert!(after.iter().zip(&before).all(|(a, b)| (a - b).abs() < 2f64.powi(-24)));
    server.load_keys(client.evaluation_keys()).unwrap();

    let message = again(client.evaluation_keys()).unwrap_err().to_string();
    assert!(message.contains("expected client, found evaluation keys"), "{message}");
    // Secure parameters are asked for of those who come back too.
    let secure = Client::from_secret_bytes(&stored, Trust::Secure, Randomness::from_os().unwrap(), |_, _| ());
    assert!(matches!(secure, Err(ClientError::Insecure(_))));
    // Another program on the same ciphertexts; and one under other parameters.
    let with = |offer: &[u8]| {
        let randomness = Randomness::insecure_reproducible(6);
        Client::accept_with_secret(offer, &stored, Trust::Insecure, randomness, |_, _| ())
    };
    let mut other = Offer::from_bytes(&offer).unwrap();
    other.outputs[0].name = "z".to_owned();
    assert_eq!(with(&other.to_bytes()).unwrap().decrypt("z", &answer[0]).unwrap(), before);
    other.params = Preset::Toy11.params().unwrap();
    let foreign = with(&other.to_bytes());
    assert!(matches!(foreign, Err(ClientError::Fhe(fhe_core::Error::ParamsMismatch { .. }))));
}

/// Cut at every byte, as it is and with length and checksum made right again; and altered.
#[test]
fn broken_stored_clients_are_refused() {
    let (params, compiled) = example();
    let client = accept(&Offer::new(&params, &compiled.manifest).to_bytes(), Trust::Insecure).unwrap();
    let stored = client.to_secret_bytes();
    let read = |bytes: &[u8]| {
        let randomness = Randomness::insecure_reproducible(6);
        Client::from_secret_bytes(bytes, Trust::Insecure, randomness, |_, _| ())
    };
    let is_wire = |bytes: &[u8]| matches!(read(bytes), Err(ClientError::Fhe(fhe_core::Error::Wire { .. })));
    let sealed = |payload: &[u8]| {
        let mut writer = Writer::new();
        writer.bytes(payload);
        seal(Kind::Client, params.digest(), writer)
    };
    let payload = &stored[HEADER_BYTES..];
    assert_eq!(sealed(payload), *stored);
    for len in 0..stored.len() {
        assert!(is_wire(&stored[..len]), "cut to {len}");
        if len < payload.len() {
            assert!(is_wire(&sealed(&payload[..len])), "payload cut to {len}");
        }
    }
    assert!(is_wire(&sealed(&[payload, &[0]].concat())));
    for (at, words) in [
        (0, "whether answers were shared: expected at most 1"),
        (8, "bits of security: expected at most 0"),
        (16, "answers: expected at most 0"),
        (24, "shared answers: expected at most 0"),
        (36, "bytes of the offer: expected at most 1048576"),
    ] {
        let mut altered = payload.to_vec();
        altered[at] ^= 2;
        let message = read(&sealed(&altered)).unwrap_err().to_string();
        assert!(message.contains(words), "{message} should mention {words}");
    }
    // The offer is read as an offer, the secret as a secret key.
    let mut altered = payload.to_vec();
    altered[40] = b'[';
    assert!(matches!(read(&sealed(&altered)), Err(ClientError::Offer(_))));
    let last = payload.len() - 1;
    altered = payload.to_vec();
    altered[last] ^= 4;
    assert!(read(&sealed(&altered)).unwrap_err().to_string().contains("checksum"));
    let digest = Preset::Toy11.params().unwrap().digest();
    let mut writer = Writer::new();
    writer.bytes(payload);
    let foreign = read(&seal(Kind::Client, digest, writer));
    assert!(matches!(foreign, Err(ClientError::Fhe(fhe_core::Error::ParamsMismatch { .. }))));
}

#[test]
fn hostile_offers_are_refused_with_the_reason() {
    let (params, compiled) = example();
    let offer = Offer::new(&params, &compiled.manifest);
    let read = |offer: &Offer| Offer::from_bytes(&offer.to_bytes());
    assert_eq!(read(&offer).unwrap(), offer);
    type Break = fn(&mut Offer);
    let cases: [(Break, &str); 12] = [
        (|o| o.inputs[0].period = 3, "power of two"),
        (|o| o.inputs[0].period = 1024, "up to 512"),
        (|o| o.inputs[0].level = 6, "no level 6"),
        (|o| o.outputs[0].slots = 0, "1 to 512"),
        (|o| o.outputs[0].level = 6, "no level 6"),
        (|o| o.outputs[0].bootstrapped = Some(0.0), "0 times bootstrapped"),
        (|o| o.outputs[0].bootstrapped = Some(-1.0), "positive number"),
        (|o| o.galois_elements[0].0 = 4, "odd number"),
        (|o| o.galois_elements.push(o.galois_elements[0]), "expected ascending"),
        (|o| o.galois_elements.insert(0, GaloisElement(2047)), "expected ascending"),
        (|o| o.inputs.push(o.inputs[0].clone()), "two inputs are called x"),
        (|o| o.outputs.push(o.outputs[0].clone()), "two outputs are called y"),
    ];
    for (break_it, word) in cases {
        let mut broken = offer.clone();
        break_it(&mut broken);
        let message = read(&broken).unwrap_err().to_string();
        assert!(message.contains(word), "{message} should mention {word}");
    }
    let bytes = offer.to_bytes();
    for len in 0..bytes.len() {
        assert!(Offer::from_bytes(&bytes[..len]).is_err(), "cut to {len}");
    }
    assert!(Offer::from_bytes(&vec![b' '; (1 << 20) + 1]).is_err());
    let text = String::from_utf8(bytes).unwrap().replacen("\"params\":\"46", "\"params\":\"4g", 1);
    assert!(Offer::from_bytes(text.as_bytes()).unwrap_err().to_string().contains("hexadecimal"));
}

#[test]
fn offers_of_too_many_keys_are_refused_before_any_is_made() {
    let (_, compiled) = example();
    let params = Preset::N14.params().unwrap();
    let mut offer = Offer::new(&params, &compiled.manifest);
    offer.relinearization_key = true;
    let one = offer.key_bytes().unwrap() / (1 + offer.galois_elements.len() as u64);
    let row = (params.n() * 4) as u64;
    assert_eq!(one, 2 * params.digits().len() as u64 * params.primes().len() as u64 * row);
    let fitting = (MAX_KEY_BYTES / one - 1) as u32;
    offer.galois_elements = (0..fitting).map(|i| GaloisElement(2 * i + 1)).collect();
    assert!(Offer::from_bytes(&offer.to_bytes()).is_ok());
    offer.galois_elements.push(GaloisElement(2 * fitting + 1));
    for trust in [Trust::Secure, Trust::Insecure] {
        let message = accept(&offer.to_bytes(), trust).unwrap_err().to_string();
        assert!(message.contains(&format!("bytes of keys, expected at most {MAX_KEY_BYTES}")), "{message}");
    }
}

#[test]
fn mistakes_with_names_and_values_are_named() {
    let (params, compiled) = example();
    assert_eq!(compiled.manifest.inputs[0].level, Level(2));
    let offer = Offer::new(&params, &compiled.manifest).to_bytes();
    let mut client = accept(&offer, Trust::Insecure).unwrap();
    let message = |r: Result<Vec<u8>, ClientError>| r.unwrap_err().to_string();
    assert!(message(client.encrypt("z", &[0.0; 4])).contains("the program has x"));
    assert!(message(client.encrypt("x", &[0.0; 5])).contains("expected 4 values, found 5"));
    assert!(message(client.encrypt("x", &[0.0, f64::NAN, 0.0, 0.0])).contains("slot 1 is NaN"));
    assert!(message(client.encrypt("x", &[1e30; 4])).contains("too large"));
    let question = client.encrypt("x", &[0.1; 4]).unwrap();
    assert!(matches!(client.decrypt("x", &question), Err(ClientError::NoSuchName { .. })));
    assert!(client.decrypt("y", &question[..100]).is_err());
}

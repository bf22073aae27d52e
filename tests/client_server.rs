//! Client and server, bytes between them: the whole path, and what each refuses.

#![allow(clippy::unwrap_used, reason = "test code")]

use ferrocerium::fhe_core::params::Level;
use ferrocerium::models::digits::{Network, TestSplit, encrypted};
use ferrocerium::prelude::*;
use ferrocerium::scheduler::Compiled;
use ferrocerium::{ClientError, Offer};

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
        let mut client = accept(&offer, Trust::InsecureParameters).unwrap();
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

#[test]
fn insecure_parameters_need_consent() {
    let (params, compiled) = example();
    let offer = Offer::new(&params, &compiled.manifest).to_bytes();
    assert!(matches!(accept(&offer, Trust::SecureParameters), Err(ClientError::Insecure(_))));
    assert!(accept(&offer, Trust::InsecureParameters).is_ok());
}

#[test]
fn hostile_offers_are_refused_with_the_reason() {
    let (params, compiled) = example();
    let offer = Offer::new(&params, &compiled.manifest);
    let read = |offer: &Offer| Offer::from_bytes(&offer.to_bytes());
    assert_eq!(read(&offer).unwrap(), offer);
    type Break = fn(&mut Offer);
    let cases: [(Break, &str); 5] = [
        (|o| o.inputs[0].period = 3, "power of two"),
        (|o| o.inputs[0].period = 1024, "up to 512"),
        (|o| o.inputs[0].level = 6, "no level 6"),
        (|o| o.outputs[0].slots = 0, "1 to 512"),
        (|o| o.galois_elements[0].0 = 4, "odd number"),
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
fn mistakes_with_names_and_values_are_named() {
    let (params, compiled) = example();
    assert_eq!(compiled.manifest.inputs[0].level, Level(2));
    let offer = Offer::new(&params, &compiled.manifest).to_bytes();
    let mut client = accept(&offer, Trust::InsecureParameters).unwrap();
    let message = |r: Result<Vec<u8>, ClientError>| r.unwrap_err().to_string();
    assert!(message(client.encrypt("z", &[0.0; 4])).contains("the program has x"));
    assert!(message(client.encrypt("x", &[0.0; 5])).contains("expected 4 values, found 5"));
    assert!(message(client.encrypt("x", &[0.0, f64::NAN, 0.0, 0.0])).contains("slot 1 is NaN"));
    assert!(message(client.encrypt("x", &[1e30; 4])).contains("too large"));
    let question = client.encrypt("x", &[0.1; 4]).unwrap();
    assert!(matches!(client.decrypt("x", &question), Err(ClientError::NoSuchName { .. })));
    assert!(client.decrypt("y", &question[..100]).is_err());
}

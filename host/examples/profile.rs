//! Where a run spends its time and memory: a product, a matrix and a rotation at a preset.
//!
//! `cargo run --release -p host --example profile -- n14 2`

use fhe_core::ckks::{Encoder, Encryptor};
use fhe_core::math::sampling::Randomness;
use fhe_core::math::word::{Word, WordKind};
use fhe_core::params::{Params, Preset};
use fhe_core::ring::Ring;
use fhe_core::rlwe::KeyGenerator;
use host::{BackendKind, Session};
use scheduler::{Options, dsl};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let preset: Preset = args.next().as_deref().unwrap_or("n14").parse()?;
    let params = preset.params()?;
    let mut builder = Session::builder().backend(BackendKind::Cpu);
    if let Some(threads) = args.next() {
        builder = builder.threads(threads.parse()?);
    }
    let session = builder.build()?;
    println!("{params}\n{}\n", session.backend_name());
    match params.word() {
        WordKind::U32 => profile::<u32>(&session, &params),
        WordKind::U64 => profile::<u64>(&session, &params),
    }
}

fn profile<W: Word>(session: &Session, params: &Params) -> Result<(), Box<dyn Error>> {
    let matrix: Vec<f64> = (0..64 * 64).map(|i| f64::from(i * 7 % 11) / 11.0 - 0.4).collect();
    let program = dsl::build("profile", |g| {
        let x = g.input("x", 64)?;
        let h = dsl::linear::matvec(x, "matrix", &matrix, 64, 64)?;
        g.output("y", h.square() + x.rotate(1), 64)
    })?;
    let mut loaded = session.compile(&program, params, &Options::default())?;
    let manifest = loaded.manifest().clone();

    let ring = Ring::<W>::new(params)?;
    let mut randomness = Randomness::from_os()?;
    let generator = KeyGenerator::new(&ring);
    let secret = generator.secret_key(&mut randomness);
    let elements = &manifest.galois_elements;
    let keys = generator.evaluation_keys(&secret, true, elements, &mut randomness, |_, _| {})?;
    loaded.load_keys(&keys.to_bytes())?;
    let spec = &manifest.inputs[0];
    let slots: Vec<f64> = (0..params.n_slots()).map(|i| (i % 64) as f64 / 64.0).collect();
    let plain = Encoder::new(&ring).encode_real(&slots, spec.level, spec.log_scale)?;
    let input = Encryptor::new(&ring).encrypt_seeded(&plain, &secret, &mut randomness)?.to_bytes();

    for _ in 0..5 {
        loaded.run(&[("x", &input)])?;
    }
    println!("{}\n", loaded.last_run());
    println!("{}\n", loaded.last_run().profile.node_table(8));
    println!("{}", loaded.memory_report());
    Ok(())
}

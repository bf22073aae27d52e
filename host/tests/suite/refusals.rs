//! What a session refuses of its caller, and that it can be used afterwards.

use crate::client::{Client, everything, named};
use fhe_core::Complex64;
use fhe_core::Error as CoreError;
use fhe_core::ckks::{Ciphertext, Evaluator};
use fhe_core::math::double::Double;
use fhe_core::params::{Level, Preset};
use fhe_core::rlwe::EvaluationKeySet;
use host::memory::Limits;
use host::{BackendKind, Error, LoadedProgram, Session};
use scheduler::{Options, compile};

/// A loaded program, what it needs, and what it gave.
struct Fixture {
    client: Client<u32>,
    loaded: LoadedProgram,
    blobs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
}

fn fixture() -> Fixture {
    let program = everything();
    let mut client = Client::<u32>::new(Preset::Toy10);
    let session = Session::builder().backend(BackendKind::Cpu).threads(1).poison(true).build().unwrap();
    let mut loaded = session.compile(&program, client.ring.params(), &Options::default()).unwrap();
    let manifest = loaded.manifest().clone();
    let inputs = client.inputs(&program, &manifest);
    let blobs: Vec<Vec<u8>> = inputs.iter().map(Ciphertext::to_bytes).collect();
    loaded.load_keys(&client.keys(&manifest).to_bytes()).unwrap();
    let outputs = loaded.run(&named(&manifest, &blobs)).unwrap();
    Fixture { client, loaded, blobs, outputs }
}

impl Fixture {
    /// Runs with the first input replaced; then shows that the program still runs.
    fn refused(&mut self, first: Vec<u8>) -> Error {
        let before = self.loaded.last_run().clone();
        let blobs = [first, self.blobs[1].clone()];
        let manifest = self.loaded.manifest().clone();
        let error = self.loaded.run(&named(&manifest, &blobs)).unwrap_err();
        assert_eq!(*self.loaded.last_run(), before);
        self.still_runs();
        error
    }

    fn still_runs(&mut self) {
        let manifest = self.loaded.manifest().clone();
        assert!(self.loaded.run(&named(&manifest, &self.blobs)).unwrap() == self.outputs);
    }
}

const ONE: [Complex64; 1] = [Complex64::new(1.0, 0.0)];

#[test]
fn inputs_that_are_not_as_the_manifest_says() {
    let mut f = fixture();
    let spec = f.loaded.manifest().inputs[0].clone();
    let params = f.client.ring.params().clone();

    let low = f.client.encrypt(&ONE, Level(1), params.level(Level(1)).unwrap().log_scale);
    let expected = Error::InputLevel { name: "x".into(), expected: spec.level, found: Level(1) };
    assert_eq!(f.refused(low.to_bytes()), expected);

    let scaled = f.client.encrypt(&ONE, spec.level, spec.log_scale + Double::from(1.0));
    assert!(matches!(f.refused(scaled.to_bytes()), Error::InputScale { name, .. } if name == "x"));

    let fresh = f.client.encrypt(&ONE, spec.level, Double::from(25.0));
    let product = Evaluator::new(&f.client.ring).mul(&fresh, &fresh).unwrap();
    let expected = Error::InputDegree { name: "x".into(), expected: 1, found: 2 };
    assert_eq!(f.refused(product.to_bytes()), expected);

    let mut foreign = Client::<u32>::new(Preset::Toy11);
    let log_scale = foreign.ring.params().level(spec.level).unwrap().log_scale;
    let foreign = foreign.encrypt(&ONE, spec.level, log_scale).to_bytes();
    let error = f.refused(foreign);
    assert!(matches!(error, Error::Input { error: CoreError::ParamsMismatch { .. }, .. }), "{error}");

    for cut in [0, 10, 64, 1000, f.blobs[0].len() - 1] {
        let error = f.refused(f.blobs[0][..cut].to_vec());
        assert!(matches!(error, Error::Input { error: CoreError::Wire { .. }, .. }), "{error}");
    }
    let mut altered = f.blobs[0].clone();
    altered[5000] ^= 1;
    assert!(matches!(f.refused(altered), Error::Input { error: CoreError::Wire { .. }, .. }));
}

#[test]
fn names_of_inputs() {
    let mut f = fixture();
    let [x, y] = [f.blobs[0].clone(), f.blobs[1].clone()];
    let missing = Error::MissingInput { missing: "y".into(), found: vec!["x".into()] };
    assert_eq!(f.loaded.run(&[("x", &x)]).unwrap_err(), missing);
    let unknown = Error::UnknownInput { found: "z".into(), expected: vec!["x".into(), "y".into()] };
    assert_eq!(f.loaded.run(&[("x", &x), ("y", &y), ("z", &y)]).unwrap_err(), unknown);
    assert_eq!(unknown.to_string(), "unknown input `z`: expected `x`, `y`");
    let twice = Error::DuplicateInput { name: "x".into(), found: 2 };
    assert_eq!(f.loaded.run(&[("x", &x), ("y", &y), ("x", &x)]).unwrap_err(), twice);
    assert_eq!(f.loaded.run(&[]).unwrap_err(), Error::MissingInput { missing: "x".into(), found: vec![] });
    // Any order will do.
    assert!(f.loaded.run(&[("y", &y), ("x", &x)]).unwrap() == f.outputs);
}

#[test]
fn keys_that_are_missing_foreign_or_broken() {
    let mut f = fixture();
    let params = f.client.ring.params().clone();
    let manifest = f.loaded.manifest().clone();
    let all = f.client.keys(&manifest);

    let mut fewer = EvaluationKeySet::new(&params);
    fewer.set_relinearization(all.relinearization().unwrap().clone()).unwrap();
    let missing = manifest.galois_elements[1];
    for &element in manifest.galois_elements.iter().filter(|&&e| e != missing) {
        fewer.insert_galois(all.galois(element).unwrap().clone()).unwrap();
    }
    let expected =
        CoreError::MissingGaloisKey { element: missing, rotation: params.describe_galois(missing) };
    assert_eq!(f.loaded.load_keys(&fewer.to_bytes()), Err(Error::Core(expected)));
    f.still_runs();

    let mut none = EvaluationKeySet::new(&params);
    for &element in &manifest.galois_elements {
        none.insert_galois(all.galois(element).unwrap().clone()).unwrap();
    }
    let expected = Err(Error::Core(CoreError::MissingRelinearizationKey));
    assert_eq!(f.loaded.load_keys(&none.to_bytes()), expected);
    f.still_runs();

    let foreign = EvaluationKeySet::<u32>::new(&Preset::Toy11.params().unwrap()).to_bytes();
    let error = f.loaded.load_keys(&foreign).unwrap_err();
    assert!(matches!(error, Error::Core(CoreError::ParamsMismatch { .. })), "{error}");
    let bytes = all.to_bytes();
    for blob in [&bytes[..bytes.len() / 2], &bytes[..3], &f.blobs[0]] {
        let error = f.loaded.load_keys(blob).unwrap_err();
        assert!(matches!(error, Error::Core(CoreError::Wire { .. })), "{error}");
    }
    f.still_runs();

    // Keys of another secret take the place of the first ones: the results change, and change back.
    let first = f.client.secret;
    f.client.secret = Client::<u32>::new(Preset::Toy10).secret;
    let others = f.client.keys(&manifest);
    f.loaded.load_keys(&others.to_bytes()).unwrap();
    assert!(f.loaded.run(&named(&manifest, &f.blobs)).unwrap() != f.outputs);
    f.client.secret = first;
}

#[test]
fn a_run_before_its_keys() {
    let mut client = Client::<u32>::new(Preset::Toy10);
    let program = everything();
    let session = Session::builder().threads(1).build().unwrap();
    let mut loaded = session.compile(&program, client.ring.params(), &Options::default()).unwrap();
    let manifest = loaded.manifest().clone();
    let blobs: Vec<Vec<u8>> = client.inputs(&program, &manifest).iter().map(Ciphertext::to_bytes).collect();
    let n = manifest.galois_elements.len() + 1;
    let expected = Error::KeysNotLoaded { program: "everything".into(), expected: n };
    assert_eq!(loaded.run(&named(&manifest, &blobs)), Err(expected));
    loaded.load_keys(&client.keys(&manifest).to_bytes()).unwrap();
    loaded.run(&named(&manifest, &blobs)).unwrap();
}

#[test]
fn programs_of_other_parameters_and_limits() {
    let (toy10, toy11) = (Preset::Toy10.params().unwrap(), Preset::Toy11.params().unwrap());
    let compiled = compile(&everything(), &toy10, &Options::default()).unwrap();
    let session = Session::builder().threads(1).build().unwrap();
    let error = session.load(compiled.clone(), &toy11).unwrap_err();
    assert!(matches!(error, Error::Core(CoreError::ParamsMismatch { .. })), "{error}");

    let mut forged = compiled.clone();
    forged.plan.params_digest = toy11.digest();
    let error = session.load(forged, &toy11).unwrap_err();
    assert!(matches!(error, Error::InvalidPlan { rule: "params", .. }), "{error}");

    let needed = compiled.plan.peaks[0].bytes;
    let small = Session::builder().memory_budget(needed - 1).build().unwrap();
    let error = small.load(compiled.clone(), &toy10).unwrap_err();
    let what = "program `everything`".to_owned();
    let budget = needed - 1;
    assert_eq!(error, Error::OverBudget { what: what.clone(), found: needed, expected: budget, budget });

    let limits = Limits { machine: Some(1 << 20), budget: None };
    let error = Session::builder()
        .backend(BackendKind::Cpu)
        .memory_limits(limits)
        .build()
        .unwrap()
        .load(compiled, &toy10)
        .unwrap_err();
    assert_eq!(error, Error::TooBig { what, found: needed, expected: 1 << 20 });
}

#[test]
fn backends_that_are_not_there() {
    let error = Session::builder().backend(BackendKind::Cuda).device(1000).build().unwrap_err();
    assert!(matches!(error, Error::BackendUnavailable { backend: "cuda", .. }), "{error}");
    // Without a driver, with one that finds no device, and with too few devices.
    let words = ["libcuda was not found", "cuInit: ", "finds no device", "device 1000, expected 0"];
    assert!(words.iter().any(|w| error.to_string().contains(w)), "{error}");
    let error = Session::builder().threads(0).build().unwrap_err();
    assert!(matches!(error, Error::BackendUnavailable { backend: "cpu", .. }), "{error}");
    assert_eq!("null".parse(), Ok(BackendKind::Null));
    assert!("gpu".parse::<BackendKind>().unwrap_err().to_string().contains("auto, cpu, cuda, null"));
}

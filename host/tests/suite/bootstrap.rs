//! A program that bootstraps, of messages of short periods: the bits on every backend, on several devices and in little memory, what is left
//! of the messages, and the keys that are refused.

use crate::client::{self, Client, named};
use crate::memory::Directory;
use crate::story::{Stage, Story};
use fhe_core::Complex64;
use fhe_core::Error as CoreError;
use fhe_core::ckks::Ciphertext;
use fhe_core::math::sampling::Randomness;
use fhe_core::params::{Params, RationalChain, Security};
use fhe_core::ring::Ring;
use fhe_core::rlwe::{EncapsulationKeys, EvaluationKeySet, KeyGenerator};
use host::backend::cpu::available_lanes;
use host::{BackendKind, Error, LoadedProgram, Session, SessionBuilder};
use scheduler::compile::{MemoryLimits, refit};
use scheduler::dsl::{self, Program};
use scheduler::interp::{self, Env};
use scheduler::plan::{BufferId, BufferKind, KeyId, Plan, PlanStep, SegmentId, Tier};
use scheduler::{Options, Topology, compile};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// Both rounds bootstrap two messages as one ciphertext, and compute with what comes out down to level 0.
fn program() -> Program {
    dsl::build("bootstraps", |g| {
        let (mut x, mut y) = (g.input("x", 16)?, g.input("y", 8)?);
        for _ in 0..2 {
            (x, y) = (x.bootstrapped(), y.bootstrapped());
            (x, y) = (x * y + x.rotate(1) * 0.5, x - y);
        }
        g.output("x", x, 16)?;
        g.output("y", y, 16)
    })
    .unwrap()
}

/// A message for each input, of real slots.
fn messages() -> Vec<Vec<Complex64>> {
    let real = |message: Vec<Complex64>| message.iter().map(|z| Complex64::new(z.re, 0.0)).collect();
    client::messages(&program()).into_iter().map(real).collect()
}

/// The chain of `toy12r` with as many levels below bootstrapping as the program needs: one.
fn params() -> Params {
    let chain = RationalChain {
        log_n: 12,
        log_scale: 40,
        n_main: 27,
        n_terminal: 4,
        n_special: 12,
        digit_limbs: 12,
        boot_steps: [[(2, 0); 8].as_slice(), &[(1, 1); 4]].concat(),
        security: Security::Insecure,
    };
    Params::new(chain.literal()).unwrap()
}

struct Fixture {
    /// The outputs are those of the reference.
    story: Story,
    client: Client<u32>,
    keys: EvaluationKeySet<u32>,
}

/// One for all tests.
fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let (params, program) = (params(), program());
        let ring = Ring::new(&params).unwrap();
        let mut client = Client::<u32>::of(ring.clone());
        let compiled = compile(&program, &params, &Options::default()).unwrap();
        let (manifest, placed) = (&compiled.manifest, &compiled.placed);
        let specs = manifest.inputs.iter().zip(messages());
        let inputs: Vec<_> = specs.map(|(s, m)| client.encrypt(&m, s.level, s.log_scale)).collect();
        let keys = client.keys(manifest);
        let env = Env { ring: &ring, keys: &keys, constants: &manifest.constants, inputs: &inputs };
        let exact = interp::ckks_exact::run(placed, &env).unwrap();
        // The reference adds up scales in double doubles, a session says the canonical one: not the same in the last bits.
        let canonical = |c: &Ciphertext<u32>| {
            let log_scale = params.level(c.level()).unwrap().log_scale;
            assert!((c.log_scale() - log_scale).to_f64().abs() < 2f64.powi(-80));
            Ciphertext::new(&params, c.polys().to_vec(), c.level(), log_scale).unwrap().to_bytes()
        };
        let outputs = exact.iter().map(canonical).collect();
        let inputs = inputs.iter().map(Ciphertext::to_bytes).collect();
        let story = Story { params, compiled, keys: keys.to_bytes(), inputs, outputs };
        Fixture { story, client, keys }
    })
}

impl Fixture {
    fn processor(&self) -> LoadedProgram {
        self.story.load(&processor(|b| b)).unwrap()
    }

    /// The program in other memory or on other devices.
    fn refit(&self, options: &Options) -> Story {
        let Story { params, compiled, keys, inputs, outputs } = &self.story;
        Story {
            compiled: refit(compiled, params, options).unwrap(),
            params: params.clone(),
            keys: keys.clone(),
            inputs: inputs.clone(),
            outputs: outputs.clone(),
        }
    }

    /// log2 of the worst error of outputs.
    fn error(&self, outputs: &[Vec<u8>]) -> f64 {
        let n_slots = self.story.params.n_slots();
        let expected = interp::slots::run(program().function(), n_slots, &messages()).unwrap();
        assert_eq!(outputs.len(), expected.len());
        let worst = outputs.iter().zip(&expected).map(|(output, expected)| {
            let ciphertext = Ciphertext::from_bytes(&self.client.ring, output).unwrap();
            let found = self.client.decrypt(&ciphertext);
            let expected = interp::repeat(expected, n_slots);
            found.iter().zip(&expected).map(|(a, b)| (a - b).norm()).fold(0.0, f64::max)
        });
        worst.fold(0.0, f64::max).log2()
    }

    /// Encapsulation keys to a sparse secret of some weight.
    fn encapsulation(&self, weight: usize) -> EncapsulationKeys<u32> {
        let mut randomness = Randomness::insecure_reproducible(weight as u64);
        let generator = KeyGenerator::new(&self.client.ring);
        generator.encapsulation_keys(&self.client.secret, weight, &mut randomness).unwrap()
    }

    /// The keys that some are chosen from.
    fn some(&self, chosen: impl Fn(KeyId) -> bool) -> EvaluationKeySet<u32> {
        let mut some = EvaluationKeySet::new(&self.story.params);
        if chosen(KeyId::Relinearization) {
            some.set_relinearization(self.keys.relinearization().unwrap().clone()).unwrap();
        }
        for &element in &self.story.compiled.manifest.galois_elements {
            if chosen(KeyId::Galois(element)) {
                some.insert_galois(self.keys.galois(element).unwrap().clone()).unwrap();
            }
        }
        if chosen(KeyId::ToSparse) {
            some.set_encapsulation(self.keys.encapsulation().unwrap().clone()).unwrap();
        }
        some
    }
}

fn processor(with: impl FnOnce(SessionBuilder) -> SessionBuilder) -> Session {
    with(Session::builder().backend(BackendKind::Cpu).threads(1).poison(true)).build().unwrap()
}

/// The bindings of all calls, by segment.
fn bindings(plan: &Plan) -> BTreeMap<SegmentId, Vec<&[BufferId]>> {
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for step in &plan.schedule {
        if let PlanStep::Call { segment, bindings } = step {
            all.entry(*segment).or_default().push(&bindings[..]);
        }
    }
    all
}

/// The tiers of the parts of a key.
fn tiers(plan: &Plan, key: KeyId) -> BTreeSet<Tier> {
    plan.buffers.iter().filter(|b| b.kind == BufferKind::Key(key)).map(|b| b.tier).collect()
}

#[test]
fn what_is_left_of_the_messages() {
    let fixture = fixture();
    let error = fixture.error(&fixture.story.outputs);
    assert!(error < -20.0, "2^{error:.1}");
}

#[test]
fn bootstrapping_is_compiled_once_and_bound_twice() {
    let compiled = &fixture().story.compiled;
    assert_eq!((compiled.placed.calls.len(), compiled.placed.callees.len()), (2, 1));
    let bindings = bindings(&compiled.plan);
    let (mut of_body, mut of_caller) = (0, 0);
    for (segment, bound) in &bindings {
        let segment = &compiled.plan.segments[segment.0 as usize];
        if segment.name.starts_with("bootstrap_pair#0.") {
            assert_eq!(bound.len(), 2, "{}", segment.name);
            of_body += segment.steps.len();
        } else {
            assert_eq!(bound.len(), 1, "{}", segment.name);
            of_caller += segment.steps.len();
        }
    }
    assert!(of_body > 5 * of_caller, "{of_body} launches of bootstrapping, {of_caller} others");
    // Some of them on other ciphertexts the second time.
    assert!(bindings.values().any(|bound| bound.len() == 2 && bound[0] != bound[1]));
}

#[test]
fn processors_of_all_lanes() {
    let fixture = fixture();
    let all = || available_lanes().into_iter().zip([1, 2, 3].into_iter().cycle());
    for (lanes, threads) in all() {
        let mut loaded = fixture.story.load(&processor(|b| b.lanes(lanes).threads(threads))).unwrap();
        loaded.load_keys(&fixture.story.keys).unwrap();
        // Twice: what the first run left behind does not show in the second.
        fixture.story.run_right(&mut loaded);
        fixture.story.run_right(&mut loaded);
        let memory = loaded.memory_report();
        assert_eq!(memory.total_planned(), memory.total_actual());
    }
}

#[test]
fn matrices_that_are_encoded_on_a_device() {
    let fixture = fixture();
    let options = Options { encode_on_device: true, ..Options::default() };
    let mut loaded = processor(|b| b).compile(&program(), &fixture.story.params, &options).unwrap();
    loaded.load_keys(&fixture.story.keys).unwrap();
    fixture.story.run_right(&mut loaded);
}

#[test]
fn devices() {
    let fixture = fixture();
    for stage in Stage::all() {
        let session = stage.session(|b| b.poison(true));
        let mut loaded = fixture.story.load(&session).unwrap();
        loaded.load_keys(&fixture.story.keys).unwrap();
        fixture.story.run_right(&mut loaded);
        if let Some(device) = &stage.device {
            assert_eq!(device.live().graphs, 1);
        }
        drop((loaded, session));
        stage.ends();
    }
}

#[test]
fn two_and_three_devices() {
    let fixture = fixture();
    for n in [2, 3] {
        let options = Options { topology: Topology::new(n).unwrap(), groups: Some(1), ..Options::default() };
        let sharded = fixture.refit(&options);
        assert!(sharded.compiled.plan.copied_bytes().exchanged > 0);
        let mut loaded = sharded.load(&processor(|b| b.threads(2))).unwrap();
        loaded.load_keys(&sharded.keys).unwrap();
        sharded.run_right(&mut loaded);
    }
}

/// A third of the memory: keys of the bootstrapping among what is fetched.
#[test]
fn little_memory() {
    let fixture = fixture();
    let plan = &fixture.story.compiled.plan;
    let device = plan.device_peak_bytes() / 3;
    let memory = MemoryLimits { device: Some(device), host: Some(device) };
    let spilled = fixture.refit(&Options { memory, ..Options::default() });
    let plan = &spilled.compiled.plan;
    assert!(Tier::ALL.into_iter().all(|tier| plan.peak_bytes(tier) > 0));
    assert!(plan.peak_bytes(Tier::Device) <= device && plan.copied_bytes().spilled > 0);
    for key in [KeyId::ToSparse, KeyId::ToDense] {
        let tiers = tiers(plan, key);
        assert!(!tiers.is_empty() && !tiers.contains(&Tier::Device), "{key:?} {tiers:?}");
    }
    let directory = Directory::new("bootstrap");
    let mut loaded = spilled.load(&processor(|b| b.spill_directory(directory.path()))).unwrap();
    loaded.load_keys(&spilled.keys).unwrap();
    spilled.run_right(&mut loaded);
    let report = loaded.memory_report();
    for tier in Tier::ALL {
        assert_eq!(report.of_tier(tier), (plan.peak_bytes(tier), plan.peak_bytes(tier)));
    }
    drop(loaded);
    assert!(directory.is_empty());
}

#[test]
fn keys_that_are_missing_are_all_named() {
    let fixture = fixture();
    let mut loaded = fixture.processor();
    let manifest = loaded.manifest().clone();
    // Both encapsulation keys and the relinearization key besides.
    let expected =
        Error::KeysNotLoaded { program: "bootstraps".into(), expected: manifest.galois_elements.len() + 3 };
    assert_eq!(loaded.run(&named(&manifest, &fixture.story.inputs)).unwrap_err(), expected);
    loaded.load_keys(&fixture.story.keys).unwrap();

    let conjugation = fixture.story.params.galois_conjugate();
    let rotation = *manifest.galois_elements.iter().find(|&&element| element != conjugation).unwrap();
    let k = fixture.story.params.describe_galois(rotation);
    let rotation_name = format!("rotation by {k}");
    assert!(k.parse::<usize>().unwrap() > 0);
    let encapsulation = ["encapsulation (to_sparse)", "encapsulation (to_dense)"];
    let mut refused = |missing: &[KeyId], expected: &[&str]| {
        let blob = fixture.some(|key| !missing.contains(&key)).to_bytes();
        let missing = expected.iter().map(|&name| name.to_owned()).collect();
        let expected = CoreError::MissingKeys { missing };
        let error = loaded.load_keys(&blob).unwrap_err();
        let text = error.to_string();
        assert_eq!(error, Error::Core(expected));
        text
    };
    let one = [KeyId::Relinearization, KeyId::Galois(rotation), KeyId::ToSparse];
    let text = refused(&one, &["relinearization", &rotation_name, encapsulation[0], encapsulation[1]]);
    assert_eq!(
        text,
        format!(
            "missing keys: relinearization, rotation by {k}, encapsulation (to_sparse), encapsulation (to_dense)"
        )
    );
    refused(&[KeyId::ToSparse], &encapsulation);
    refused(&[KeyId::Relinearization, KeyId::Galois(conjugation)], &["relinearization", "conjugation"]);
    // With none at all, as many as were said to be needed.
    let none = loaded.load_keys(&fixture.some(|_| false).to_bytes()).unwrap_err();
    let Error::Core(CoreError::MissingKeys { missing }) = none else { panic!("{none}") };
    assert_eq!(missing.len(), manifest.galois_elements.len() + 3);
    assert_eq!(missing.iter().collect::<BTreeSet<_>>().len(), missing.len());

    // One that is alone has an error of its own.
    let alone = |key| fixture.some(|other| other != key).to_bytes();
    let error = loaded.load_keys(&alone(KeyId::Relinearization)).unwrap_err();
    assert_eq!(error, Error::Core(CoreError::MissingRelinearizationKey));
    let error = loaded.load_keys(&alone(KeyId::Galois(rotation))).unwrap_err();
    assert_eq!(error, Error::Core(CoreError::MissingGaloisKey { element: rotation, rotation: k }));

    fixture.story.run_right(&mut loaded);
}

#[test]
fn sparse_secrets_of_other_weights() {
    let fixture = fixture();
    let mut loaded = fixture.processor();
    loaded.load_keys(&fixture.story.keys).unwrap();
    let planned = loaded.manifest().encapsulation_weight.unwrap();
    let with = |weight: usize| {
        let mut keys = fixture.some(|key| key != KeyId::ToSparse);
        keys.set_encapsulation(fixture.encapsulation(weight)).unwrap();
        keys.to_bytes()
    };
    let refused = CoreError::WrongKey {
        expected: format!("encapsulation keys of weight {planned} at most"),
        found: format!("some of weight {}", planned + 1),
    };
    assert_eq!(loaded.load_keys(&with(planned + 1)).unwrap_err(), Error::Core(refused));
    fixture.story.run_right(&mut loaded);

    // A lower weight does: other bits, the same messages; and the keys of before give the bits of before.
    loaded.load_keys(&with(planned - 1)).unwrap();
    let outputs = fixture.story.run(&mut loaded).unwrap();
    let error = fixture.error(&outputs);
    assert!(outputs != fixture.story.outputs && error < -20.0, "2^{error:.1}");
    loaded.load_keys(&fixture.story.keys).unwrap();
    fixture.story.run_right(&mut loaded);
}

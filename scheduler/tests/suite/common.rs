//! What the tests share: random programs, keys, and running a program in every interpreter.

pub(crate) mod functions;

use std::sync::Arc;

use expect_test::Expect;
use fhe_core::Complex64;
use fhe_core::ckks::{Ciphertext, Decryptor, Encoder, Encryptor};
use fhe_core::math::primes;
use fhe_core::math::sampling::Randomness;
use fhe_core::math::word::Word;
use fhe_core::params::{Level, Params, ParamsLiteral, Preset, Security};
use fhe_core::ring::Ring;
use fhe_core::rlwe::{EvaluationKeySet, KeyGenerator, PublicKey, SecretKey};
use kernels_gpu::abi::KernelId;
use proptest::prelude::*;
use scheduler::ckks_ir::{Function, Kind, Op, ValueId};
use scheduler::compile::MemoryLimits;
use scheduler::dsl::{self, Encrypted, Graph, Program};
use scheduler::interp::{self, Env};
use scheduler::noise;
use scheduler::passes::CKKS;
use scheduler::plan::{Item, Plan, PoolWriter, Step};
use scheduler::{Compiled, Error, Options, ckks_ir};

/// A step of a random program: which operation, on which values, with which numbers.
#[derive(Clone, Debug)]
pub(crate) struct RandomStep {
    pub(crate) kind: u8,
    pub(crate) a: usize,
    pub(crate) b: usize,
    pub(crate) k: i64,
    pub(crate) scalar: f64,
}

pub(crate) fn random_steps() -> impl Strategy<Value = Vec<RandomStep>> {
    let step = (0u8..21, 0usize..32, 0usize..32, -20i64..20, -2.0f64..2.0);
    let step = step.prop_map(|(kind, a, b, k, scalar)| RandomStep { kind, a, b, k, scalar });
    prop::collection::vec(step, 1..14)
}

/// Some numbers of devices, one among them and more than there are limbs at low levels.
pub(crate) fn devices() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![1, 2, 3, 4, 8])
}

/// A value with its depth and a bound of its slots.
pub(crate) type Bounded<'g> = (Encrypted<'g>, u32, f64);

/// Three inputs, one of them often unused; values stay bounded and at most `depth` deep.
pub(crate) fn random_program(steps: &[RandomStep], depth: u32) -> Program {
    dsl::build("random", |g| {
        let inputs = [(g.input("x", 16)?, 0, 1.0), (g.input("y", 4)?, 0, 1.0), (g.input("z", 512)?, 0, 1.0)];
        let [last, other] = random_values(g, steps, depth, &inputs)?;
        g.output("last", last.0, 16)?;
        g.output("other", other.0, 4)
    })
    .unwrap()
}

/// The steps of a schedule in a random order that its streams, events and host steps allow: one stream for a while, then another, so that
/// who waits too little runs away.
pub(crate) fn random_order(plan: &Plan, seed: u64) -> Plan {
    let mut state = seed;
    let mut random = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut favourite = random(64);
    plan.reordered(|n| {
        if random(8) == 0 {
            favourite = random(64);
        }
        favourite % n
    })
}

/// The last of the values that the steps make of some, and one in the middle.
pub(crate) fn random_values<'g>(
    g: &'g Graph,
    steps: &[RandomStep],
    depth: u32,
    inputs: &[Bounded<'g>],
) -> Result<[Bounded<'g>; 2], Error> {
    let mut values: Vec<Bounded<'g>> = inputs.to_vec();
    for (x, _, _) in &values {
        x.unused_on_purpose();
    }
    for (i, s) in steps.iter().enumerate() {
        let (a, da, ba) = values[s.a % values.len()];
        let (b, db, bb) = values[s.b % values.len()];
        // Some plaintexts are stored once a run of equal values, some are not (512 slots).
        let period = if i % 2 == 0 { 8 } else { 64 };
        let weights: Vec<f64> =
            (0..period).map(|j| s.scalar * (f64::from(j % 8 - 3) / 4.0 + f64::from(j) / 1e4)).collect();
        let plain = g.plain(&format!("w{i}"), &weights)?.unused_on_purpose();
        let size = s.scalar.abs() * 1.02;
        let d = da.max(db);
        let made = match s.kind {
            0 | 1 => (a + b, d, ba + bb),
            2 if i % 2 == 0 => (a.mul_i() - b, d, ba + bb),
            2 => (a - b, d, ba + bb),
            3 => (-a, da, ba),
            4 | 5 => (a * b, d + 1, ba * bb),
            6 => (a.square(), da + 1, ba * ba),
            7 => (a * plain, da + 1, ba * size),
            8 => (plain + a, da, ba + size),
            9 => (plain - a, da, ba + size),
            10 => (a * s.scalar, da + 1, ba * size),
            11 => (s.scalar - a, da, ba + size),
            12 => (a.rotate(s.k), da, ba),
            13 => (a.conjugate(), da, ba),
            14 => (a - plain, da, ba + size),
            15 => ((a * b).relinearized() + a * b.rotate(s.k), d + 1, 2.0 * ba * bb),
            16 => ((a * b).rescaled() - b.square(), d + 1, ba * bb + bb * bb),
            17 => ((a * plain).rescaled(), da + 1, ba * size),
            // What is to come may need as much.
            18 => (a.at_level(Level(depth - da)), da, ba),
            // No sum over periods, whose errors would be few and so no measure of the compiler's.
            19 if a.period() <= 16 => {
                let n = a.period();
                let element = |i: usize| s.scalar * ((i % 5) as f64 - 2.0) / (2 * n) as f64;
                let matrix: Vec<f64> = (0..n * n).map(element).collect();
                (dsl::linear::matvec(a, &format!("m{i}"), &matrix, n, n)?, da + 1, ba * size)
            }
            _ => (a * b + b * plain - a * s.scalar, d + 1, ba * bb + (ba + bb) * size),
        };
        made.0.unused_on_purpose();
        if made.1 <= depth && made.2 < 20.0 {
            values.push(made);
        }
    }
    let last = values.len() - 1;
    Ok([values[last], values[last / 2]])
}

pub(crate) fn message(len: usize, seed: u32) -> Vec<Complex64> {
    let part = |i: usize, j: u32| {
        let x = (i as u32 + 1).wrapping_mul(2_654_435_761).wrapping_add(seed * 97 + j * 1_013_904_223);
        f64::from(x >> 8) / f64::from(1 << 23) - 1.0
    };
    (0..len).map(|i| Complex64::new(part(i, 1) * 0.7, part(i, 2) * 0.7)).collect()
}

/// A party that can do everything.
pub(crate) struct Client<W: Word> {
    pub(crate) ring: Ring<W>,
    pub(crate) secret: SecretKey<W>,
    pub(crate) public: PublicKey<W>,
    pub(crate) randomness: Randomness,
}

impl<W: Word> Client<W> {
    pub(crate) fn new(preset: Preset) -> Self {
        Self::of(&preset.params().unwrap())
    }

    pub(crate) fn of(params: &Params) -> Self {
        let ring = Ring::new(params).unwrap();
        let mut randomness = Randomness::insecure_reproducible(7);
        let generator = KeyGenerator::new(&ring);
        let secret = generator.secret_key(&mut randomness);
        let public = generator.public_key(&secret, &mut randomness).unwrap();
        Self { ring, secret, public, randomness }
    }

    pub(crate) fn params(&self) -> &Params {
        self.ring.params()
    }

    pub(crate) fn keys(&mut self, compiled: &Compiled) -> EvaluationKeySet<W> {
        let m = &compiled.manifest;
        let generator = KeyGenerator::new(&self.ring);
        let randomness = &mut self.randomness;
        let (relinearization, elements) = (m.needs_relinearization, &m.galois_elements);
        let keys = generator.evaluation_keys(&self.secret, relinearization, elements, randomness, |_, _| {});
        let mut keys = keys.unwrap();
        if let Some(weight) = m.encapsulation_weight {
            let pair = generator.encapsulation_keys(&self.secret, weight, &mut self.randomness).unwrap();
            keys.set_encapsulation(pair).unwrap();
        }
        keys
    }

    pub(crate) fn encrypt(&mut self, compiled: &Compiled, messages: &[Vec<Complex64>]) -> Vec<Ciphertext<W>> {
        let (encoder, encryptor) = (Encoder::new(&self.ring), Encryptor::new(&self.ring));
        let n_slots = self.params().n_slots();
        let inputs = compiled.manifest.inputs.iter().zip(messages);
        inputs
            .map(|(spec, message)| {
                let slots = interp::repeat(message, n_slots);
                let plain = encoder.encode(&slots, spec.level, spec.log_scale).unwrap();
                encryptor.encrypt(&plain, &self.public, &mut self.randomness).unwrap()
            })
            .collect()
    }

    pub(crate) fn decrypt(&self, ciphertext: &Ciphertext<W>) -> Vec<Complex64> {
        let plain = Decryptor::new(&self.ring).decrypt(ciphertext, &self.secret).unwrap();
        Encoder::new(&self.ring).decode(&plain).unwrap()
    }
}

pub(crate) fn messages(program: &Program) -> Vec<Vec<Complex64>> {
    let inputs = program.function().inputs.iter();
    (0u32..).zip(inputs).map(|(i, input)| message(input.period as usize, i)).collect()
}

pub(crate) fn worst(a: &[Complex64], b: &[Complex64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).norm()).fold(0.0, f64::max)
}

/// Params that divide by `n_special` and two more primes in a merged relinearization and rescale.
pub(crate) fn many_special(n_special: usize) -> Params {
    let mut literal = Preset::Toy10.literal();
    let others = |q: &u64| !literal.main_primes.contains(q);
    literal.special_primes = primes::descending(30, 11).filter(others).take(n_special).collect();
    Params::new(literal).unwrap()
}

/// A message in which the lines of `file` are counted from `from`, without their columns.
pub(crate) fn relative(text: &str, file: &str, from: u32) -> String {
    let mut parts = text.split(file);
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let (line, rest) = part.strip_prefix(':').unwrap().split_once(':').unwrap();
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        assert!(rest[..end].parse::<u32>().unwrap() > 0, "{text}");
        out += &format!("+{}{}", line.parse::<u32>().unwrap() - from, &rest[end..]);
    }
    out
}

/// The 22 levels of `n16` in a small ring, without security.
pub(crate) fn deep_toy() -> Params {
    Params::new(ParamsLiteral { log_n: 10, security: Security::Insecure, ..Preset::N16.literal() }).unwrap()
}

/// The same function with nothing raised: a division after every key switch.
pub(crate) fn separate(placed: &Function) -> Function {
    let mut out = Function { values: Vec::new(), ..placed.clone() };
    let mut new: Vec<ValueId> = Vec::new();
    for value in &placed.values {
        let kind = value.kind.map(|kind| Kind { raised: false, ..kind });
        let id = match value.op.map(|a| new[a.0 as usize]) {
            Op::ModDown(a) => a,
            Op::ModDownRescale(a) => out.push_like(value, Op::Rescale(a), kind),
            op => out.push_like(value, op, kind),
        };
        new.push(id);
    }
    for output in &mut out.outputs {
        output.value = new[output.value.0 as usize];
    }
    for call in &mut out.calls {
        call.arguments.iter_mut().for_each(|a| *a = new[a.0 as usize]);
    }
    for callee in &mut out.callees {
        *callee = Arc::new(separate(callee));
    }
    out
}

/// Compiles, then runs all interpreters: the three exact ones agree bit for bit, and what they decrypt to is what
/// the program means. With merged divisions and with separate ones.
pub(crate) fn check_everywhere<W: Word>(
    program: &Program,
    preset: Preset,
    options: &Options,
    tolerance: f64,
) {
    check_everywhere_on::<W>(program, &messages(program), preset, options, tolerance);
}

/// The same, on messages of the caller.
pub(crate) fn check_everywhere_on<W: Word>(
    program: &Program,
    messages: &[Vec<Complex64>],
    preset: Preset,
    options: &Options,
    tolerance: f64,
) {
    let Checked { client, compiled, keys, inputs, meaning, errors: merged_errors } =
        check_merged::<W>(program, messages, preset, options, tolerance);
    let unmerged = separate(&compiled.placed);
    if unmerged != compiled.placed {
        // Separate divisions may need more memory for one item than the caller's limits leave.
        let options = &Options { memory: MemoryLimits::default(), ..*options };
        let unmerged = scheduler::compile::compile_placed(unmerged, client.params(), options).unwrap();
        assert_eq!(unmerged.manifest, compiled.manifest);
        let errors = check_exact(&client, &unmerged, &keys, &inputs, &meaning, tolerance);
        // What is expected may not be worse; what is found is the largest of few errors where slots repeat, and chance.
        let bounds: Vec<f64> =
            messages.iter().map(|message| message.iter().map(|z| z.norm()).fold(0.0, f64::max)).collect();
        let expected = |function: &Function| -> Vec<f64> {
            let estimates = noise::estimate(function, client.params(), &bounds).unwrap();
            function.outputs.iter().map(|o| estimates[o.value.0 as usize].error).collect()
        };
        for (merged, separate) in expected(&compiled.placed).into_iter().zip(expected(&unmerged.placed)) {
            assert!(merged <= 1.001 * separate, "{merged} expected, with separate divisions {separate}");
        }
        for (merged, separate) in merged_errors.iter().zip(errors) {
            assert!(*merged < 3.0 * separate + 1e-10, "off by {merged}, with separate divisions {separate}");
        }
    }
}

/// A program that ran in all interpreters.
pub(crate) struct Checked<W: Word> {
    pub(crate) client: Client<W>,
    pub(crate) compiled: Compiled,
    pub(crate) keys: EvaluationKeySet<W>,
    pub(crate) inputs: Vec<Ciphertext<W>>,
    pub(crate) meaning: Vec<Vec<Complex64>>,
    pub(crate) errors: Vec<f64>,
}

/// The same, with merged divisions only: of few slots or programs without noise, errors of both are chance.
pub(crate) fn check_merged<W: Word>(
    program: &Program,
    messages: &[Vec<Complex64>],
    preset: Preset,
    options: &Options,
    tolerance: f64,
) -> Checked<W> {
    let mut client = Client::<W>::new(preset);
    let compiled = scheduler::compile(program, client.params(), options).unwrap();
    let n_slots = client.params().n_slots();
    let meaning = interp::slots::run(program.function(), n_slots, messages).unwrap();
    let placed = interp::slots::run(&compiled.placed, n_slots, messages).unwrap();
    for (a, b) in meaning.iter().zip(&placed) {
        assert!(worst(a, b) < 1e-9, "placement changed the meaning");
    }
    let keys = client.keys(&compiled);
    let inputs = client.encrypt(&compiled, messages);
    let errors = check_exact(&client, &compiled, &keys, &inputs, &meaning, tolerance);
    Checked { client, compiled, keys, inputs, meaning, errors }
}

/// Runs the three exact interpreters; how far each output is from what it means.
fn check_exact<W: Word>(
    client: &Client<W>,
    compiled: &Compiled,
    keys: &EvaluationKeySet<W>,
    inputs: &[Ciphertext<W>],
    meaning: &[Vec<Complex64>],
    tolerance: f64,
) -> Vec<f64> {
    let constants = &compiled.manifest.constants;
    let env = Env { ring: &client.ring, keys, constants, inputs };
    let levels: Vec<Level> = compiled.manifest.outputs.iter().map(|o| o.level).collect();
    let exact = interp::ckks_exact::run(&compiled.placed, &env).unwrap();
    let poly = interp::poly::run(&compiled.poly, &env, &levels).unwrap();
    let plan = interp::plan::run(&compiled.plan, &env, &levels).unwrap();
    let mut errors = Vec::with_capacity(exact.len());
    for (i, ((e, p), q)) in exact.iter().zip(&poly).zip(&plan).enumerate() {
        assert_eq!(e.polys(), p.polys(), "poly_ir, output {i}");
        assert_eq!(e.polys(), q.polys(), "plan, output {i}");
        let found = client.decrypt(q);
        let error = worst(&found, &meaning[i]);
        assert!(error < tolerance, "output {i} is off by {error}");
        errors.push(error);
    }
    assert_eq!(exact.len(), compiled.manifest.outputs.len());
    errors
}

/// Wraps lines of a body, runs a pass, checks it and its verifier.
pub(crate) fn check_pass(pass: &str, body: &str, expected: &Expect) {
    let params = Preset::Toy10.params().unwrap();
    let text = format!(
        "function \"f\" {{\n  input \"x\" period 4\n  input \"y\" period 4\n  constant #0 \"w\" [1.0, 2.0]\n  \
         constant #1 \"v\" [1.0, 2.0]\n  %0 = input 0\n  %1 = input 1\n{body}\n}}"
    );
    let function = ckks_ir::text::parse(&text, &[]).unwrap();
    ckks_ir::verify::verify(&function, Some(&params), "test").unwrap();
    let pass = CKKS.iter().find(|p| p.name == pass).unwrap();
    let out = (pass.run)(&function, &params).unwrap();
    ckks_ir::verify::verify(&out, Some(&params), pass.name).unwrap();
    expected.assert_eq(&out.to_string());
}

/// The rule that a verifier says is broken.
pub(crate) fn rule_of(result: Result<(), Error>) -> &'static str {
    match result {
        Err(Error::Verify { rule, .. }) => rule,
        other => panic!("expected a broken rule, found {other:?}"),
    }
}

/// Rewrites the items of the first launch of a kernel.
pub(crate) fn rewrite(plan: &mut Plan, kernel: KernelId, f: impl Fn(&mut Vec<Item>)) {
    let mut pool = PoolWriter::new(&plan.primes, plan.word);
    let mut launches = Vec::new();
    let mut first = true;
    for segment in &plan.segments {
        for Step::Launch { launch, .. } in &segment.steps {
            let mut items = plan.items(launch).unwrap();
            if first && launch.kernel == kernel {
                f(&mut items);
                first = false;
            }
            launches.push(pool.launch(launch.kernel, &items).unwrap());
        }
    }
    assert!(!first, "no launch of {}", kernel.name());
    plan.pool = pool.finish();
    let mut launches = launches.into_iter();
    for segment in &mut plan.segments {
        for Step::Launch { launch, .. } in &mut segment.steps {
            *launch = launches.next().unwrap();
        }
    }
}

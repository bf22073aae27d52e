//! A body that is called with other weights each time: the same bits on every backend, one graph a run on a device.

use crate::client::Client;
use crate::faults::play;
use crate::story::{Stage, Story};
use crate::support::{Bench, PlanMaker, input, output, row_item, run_once};
use crate::watched::{INJECTED, Kind};
use fhe_core::ckks::Ciphertext;
use fhe_core::params::{Level, Preset};
use fhe_core::ring::Ring;
use host::backend::Backend;
use host::backend::cuda::CudaBackend;
use host::backend::null::NullBackend;
use host::check::CheckedPlan;
use host::memory::Limits;
use host::{BackendKind, Error, Session};
use kernels_gpu::abi::{KernelId, RowRef};
use scheduler::compile::refit;
use scheduler::dsl::{self, Program};
use scheduler::interp::{self, Env};
use scheduler::plan::{Buffer, BufferId, BufferKind, PlanStep, SegmentId, Step};
use scheduler::{Compiled, MemoryLimits, Options, Topology, compile};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Three calls of a body with weights of their own, one of them on the result of another, at one level.
fn program() -> Program {
    dsl::build("calls", |g| {
        let (x, y) = (g.input("x", 4)?, g.input("y", 4)?);
        let body = g.function("body", |[x], p| Ok([x.rotate(1) * p.plain("w")? + x, x.conjugate()]));
        let body = body.called();
        let [a, b] = body.call([x], &[("w", &[0.5, -0.25, 0.125, 1.0])])?;
        let [c, d] = body.call([y], &[("w", &[-1.0, 0.75, 0.5, 0.25])])?;
        let [e, f] = body.call([x + y], &[("w", &[0.0, 0.25, -0.5, 0.125])])?;
        g.output("sum", a + c - e, 4)?;
        g.output("other", b - d + f, 4)
    })
    .unwrap()
}

/// The program with its keys and inputs; the outputs are those of the reference.
pub fn story(options: &Options) -> Story {
    stories(options, 1).remove(0)
}

/// The program on several inputs.
fn stories(options: &Options, n: usize) -> Vec<Story> {
    let params = crate::story::story().params.clone();
    let program = program();
    let ring = Ring::new(&params).unwrap();
    let mut client = Client::<u32>::of(ring.clone());
    let compiled = compile(&program, &params, options).unwrap();
    let keys = client.keys(&compiled.manifest);
    let levels: Vec<Level> = compiled.manifest.outputs.iter().map(|output| output.level).collect();
    let bytes = |all: &[Ciphertext<u32>]| all.iter().map(Ciphertext::to_bytes).collect();
    let story = |_| {
        let inputs = client.inputs(&program, &compiled.manifest);
        let constants = &compiled.manifest.constants;
        let env = Env { ring: &ring, keys: &keys, constants, inputs: &inputs };
        let exact = interp::ckks_exact::run(&compiled.placed, &env).unwrap();
        let planned = interp::plan::run(&compiled.plan, &env, &levels).unwrap();
        assert!(exact.iter().zip(&planned).all(|(a, b)| a.polys() == b.polys()));
        let (inputs, outputs) = (bytes(&inputs), bytes(&exact));
        Story { params: params.clone(), keys: keys.to_bytes(), inputs, outputs, compiled: compiled.clone() }
    };
    (0..n).map(story).collect()
}

fn n_calls(compiled: &Compiled) -> usize {
    compiled.plan.schedule.iter().filter(|step| matches!(step, PlanStep::Call { .. })).count()
}

#[test]
fn the_processor_runs_calls_as_the_reference_does() {
    let whole = story(&Options::default());
    let plan = &whole.compiled.plan;
    assert!(plan.segments.len() < n_calls(&whole.compiled));
    assert!(plan.buffers.iter().any(|b| b.kind == BufferKind::Passed));
    for threads in [1, 2] {
        let session = Session::builder().backend(BackendKind::Cpu).threads(threads).build().unwrap();
        let mut loaded = whole.load(&session).unwrap();
        loaded.load_keys(&whole.keys).unwrap();
        // Twice: what the first run left behind does not show in the second.
        whole.run_right(&mut loaded);
        whole.run_right(&mut loaded);
        let memory = loaded.memory_report();
        assert_eq!(memory.total_planned(), memory.total_actual());
    }
    // Constants as slots; several devices; too little memory, for which bodies are expanded.
    let session = Session::builder().backend(BackendKind::Cpu).threads(1).build().unwrap();
    story(&Options { encode_on_device: true, ..Options::default() }).all_right(&session);
    let memory = MemoryLimits { device: Some(plan.device_peak_bytes() / 2), host: None };
    for options in [
        Options { topology: Topology::new(2).unwrap(), ..Options::default() },
        Options { topology: Topology::new(3).unwrap(), ..Options::default() },
        Options { memory, ..Options::default() },
    ] {
        let fitted = Story {
            compiled: refit(&whole.compiled, &whole.params, &options).unwrap(),
            params: whole.params.clone(),
            keys: whole.keys.clone(),
            inputs: whole.inputs.clone(),
            outputs: whole.outputs.clone(),
        };
        fitted.all_right(&session);
    }
}

/// Bodies and what is around them, each call with its own weights: one capture, then one graph a run, and nothing is
/// written but inputs.
#[test]
fn a_run_with_calls_is_one_graph() {
    let stories = stories(&Options::default(), 3);
    assert!(stories[0].inputs != stories[1].inputs && stories[0].outputs != stories[1].outputs);
    assert!(n_calls(&stories[0].compiled) > stories[0].compiled.plan.segments.len());
    for stage in Stage::all() {
        let session = stage.session(|builder| builder.poison(true));
        let mut loaded = stories[0].load(&session).unwrap();
        loaded.load_keys(&stories[0].keys).unwrap();
        stage.script.pass();
        for (runs, story) in (1..).zip(stories.iter().cycle().take(5)) {
            story.run_right(&mut loaded);
            let seen = [Kind::BeginCapture, Kind::EndCapture, Kind::LaunchGraph, Kind::Allocate]
                .map(|kind| stage.script.n_seen(kind));
            assert_eq!(seen, [1, 1, runs, 1]);
            // The binding tables, at once.
            assert_eq!(stage.script.n_seen(Kind::CopyToDevice), 1);
            assert_eq!(stage.script.held().graphs, 1);
        }
        loaded.replay(2).unwrap();
        stories[1].run_right(&mut loaded);
        assert_eq!(stage.script.n_seen(Kind::BeginCapture), 1);
        let launches = stage.script.n_seen(Kind::Launch);
        assert!(launches as usize >= stories[0].compiled.plan.n_launches());
        if let Some(device) = &stage.device {
            let memory = loaded.memory_report();
            assert_eq!(device.live().bytes, memory.actual_in(scheduler::plan::Tier::Device));
        }
        drop((loaded, session));
        stage.ends();
    }
}

/// Step by step, a segment is captured once and its table is written before each of its calls.
#[test]
fn calls_in_order_are_a_graph_a_segment() {
    let story = story(&Options::default());
    let n_segments = story.compiled.plan.segments.len();
    for stage in Stage::all() {
        let session = stage.session(|builder| builder.in_order(true));
        let mut loaded = story.load(&session).unwrap();
        loaded.load_keys(&story.keys).unwrap();
        stage.script.pass();
        story.run_right(&mut loaded);
        story.run_right(&mut loaded);
        assert_eq!(stage.script.held().graphs as usize, n_segments);
        assert_eq!(stage.script.n_seen(Kind::LaunchGraph) as usize, 2 * n_calls(&story.compiled));
        assert!(stage.script.n_seen(Kind::CopyToDevice) as usize > n_segments);
        drop((loaded, session));
        stage.ends();
    }
}

/// `output = -a` by one call and `other = -b` by another of the same segment.
fn two_calls() -> (Arc<CheckedPlan>, Vec<u8>) {
    let mut bench = Bench::<u32>::new(Preset::Toy12);
    let mut maker = PlanMaker::new(&bench.params, 1, 1, 1);
    maker.launch(KernelId::Neg, &[row_item(output(0), input(0), RowRef::NONE, 0, 0)]);
    let arena = BufferId(0);
    // From the passed buffer and back, so that a table that is not written shows.
    let mut plan = maker.plan;
    let passed = Buffer { kind: BufferKind::Passed, ..plan.buffers[1] };
    plan.buffers.push(passed);
    let call = |from, to| PlanStep::Call { segment: SegmentId(0), bindings: vec![arena, from, to] };
    let calls = [call(BufferId(1), BufferId(3)), call(BufferId(3), BufferId(2))];
    plan.schedule.splice(1..2, calls);
    crate::support::set_peaks(&mut plan);
    let limbs = bench.limbs[..1].to_vec();
    let rows = bench.random::<fhe_core::ring::Eval>(&limbs);
    (Arc::new(CheckedPlan::new(plan).unwrap()), bytemuck::cast_slice(rows.words()).to_vec())
}

/// Beyond the bound a run is not one graph: twice the negative is what came, however it is captured.
#[test]
fn a_run_beyond_the_bound_is_a_graph_a_segment() {
    let (plan, rows) = two_calls();
    assert_eq!((plan.plan().n_launches(), plan.plan().segments.len()), (2, 1));
    for stage in Stage::all() {
        // Graphs launched a run, and tables written in the first, in later ones.
        for (most, launched, first, later) in [(2, 1, 1, 0), (1, 2, 2, 2)] {
            let backend = CudaBackend::new(Arc::clone(&stage.driver), Limits::default()).unwrap();
            let backend = backend.with_most_launches_of_a_graph(most);
            let mut instance = backend.load(Arc::clone(&plan)).unwrap();
            for written in [first, later, later] {
                stage.script.pass();
                assert!(run_once(&mut *instance, &rows, false) == rows, "{most}");
                assert_eq!(stage.script.n_seen(Kind::LaunchGraph), launched, "{most}");
                assert_eq!(stage.script.n_seen(Kind::CopyToDevice), written, "{most}");
                assert_eq!(stage.script.held().graphs, 1);
            }
            instance.replay(2).unwrap();
            assert!(run_once(&mut *instance, &rows, true) == rows, "{most}");
            assert_eq!(stage.script.held().graphs, 1);
        }
        stage.ends();
    }
}

/// Every allocation, copy, capture and replay of a run with calls, and some of its launches: a typed error, nothing leaked, and
/// the next run right.
#[test]
fn calls_that_fail() {
    let story = story(&Options::default());
    let all = [Kind::Allocate, Kind::CopyToDevice, Kind::BeginCapture, Kind::EndCapture, Kind::LaunchGraph];
    for stage in Stage::all() {
        for in_order in [false, true] {
            let session = stage.session(|builder| builder.in_order(in_order));
            for (kind, step) in all.map(|kind| (kind, 1)).into_iter().chain([(Kind::Launch, 17)]) {
                for n in (0..).step_by(step) {
                    stage.script.fail(kind, n, false);
                    let errors = play(&story, &session);
                    stage.is_empty();
                    if !stage.script.has_failed() {
                        assert!(n > 0 && errors.is_empty(), "{kind:?} {n}");
                        break;
                    }
                    match &errors[..] {
                        [Error::NotNow { found, expected, .. }] => {
                            assert!(kind == Kind::Allocate && found > expected);
                        }
                        [Error::Driver { during, words }] => {
                            let named = ["program `calls`", "binding table", "segment `", "node "];
                            assert!(named.iter().any(|name| during.contains(name)), "{during}");
                            assert!(kind != Kind::Launch || during.starts_with("node "), "{during}");
                            assert!(words.ends_with(INJECTED), "{words}");
                        }
                        other => panic!("{kind:?} {n}: {other:?}"),
                    }
                }
            }
            drop(session);
        }
        stage.ends();
    }
}

/// A kernel that fails in the middle: a profile names its node, a run as a graph the segments of the graph; what is dropped then is given back.
#[test]
fn a_kernel_of_a_call_that_fails() {
    let story = story(&Options::default());
    for profile in [false, true] {
        let stage = Stage::simulated();
        let session = stage.session(|builder| builder.profile(profile));
        let mut loaded = story.load(&session).unwrap();
        loaded.load_keys(&story.keys).unwrap();
        story.run_right(&mut loaded);
        let device = stage.device.as_ref().unwrap();
        device.trap_at(device.n_run() / 2);
        let error = story.run(&mut loaded).unwrap_err();
        let Error::DeviceLost { during, .. } = &error else { panic!("{error:?}") };
        let named = match profile {
            true => during.starts_with("node ") && during.contains(" of segment `"),
            false => during.starts_with("segment `") && during.contains(" or one up to `"),
        };
        assert!(named, "{error}");
        drop((loaded, session));
        stage.ends();
    }
}

#[test]
fn the_null_backend_counts_every_call() {
    let story = story(&Options::default());
    let backend = NullBackend::new();
    let plan = Arc::new(CheckedPlan::new(story.compiled.plan.clone()).unwrap());
    let mut instance = backend.load(plan).unwrap();
    for step in &story.compiled.plan.schedule {
        if let PlanStep::Call { segment, bindings } = step {
            instance.call(*segment, bindings, None).unwrap();
        }
    }
    let counts = backend.counts();
    assert_eq!(counts.calls as usize, n_calls(&story.compiled));
    assert_eq!(counts.total().launches as usize, story.compiled.plan.n_launches());
    let once: BTreeSet<u32> = story
        .compiled
        .plan
        .segments
        .iter()
        .flat_map(|s| &s.steps)
        .map(|Step::Launch { launch, .. }| launch.items_at)
        .collect();
    assert!(once.len() < story.compiled.plan.n_launches());
}

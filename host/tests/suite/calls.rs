//! A body that is called with other weights each time: the same bits on every backend, one graph a segment on a device.

use crate::client::Client;
use crate::story::{Stage, Story};
use fhe_core::ckks::Ciphertext;
use fhe_core::params::Level;
use fhe_core::ring::Ring;
use host::backend::null::NullBackend;
use host::check::CheckedPlan;
use host::{BackendKind, Session};
use scheduler::compile::refit;
use scheduler::dsl::{self, Program};
use scheduler::interp::{self, Env};
use scheduler::plan::{BufferKind, PlanStep, Step};
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
fn story(options: &Options) -> Story {
    let params = crate::story::story().params.clone();
    let program = program();
    let ring = Ring::new(&params).unwrap();
    let mut client = Client::<u32>::of(ring.clone());
    let compiled = compile(&program, &params, options).unwrap();
    let inputs = client.inputs(&program, &compiled.manifest);
    let keys = client.keys(&compiled.manifest);
    let constants = &compiled.manifest.constants;
    let env = Env { ring: &ring, keys: &keys, constants, inputs: &inputs };
    let exact = interp::ckks_exact::run(&compiled.placed, &env).unwrap();
    let levels: Vec<Level> = compiled.manifest.outputs.iter().map(|output| output.level).collect();
    let planned = interp::plan::run(&compiled.plan, &env, &levels).unwrap();
    assert!(exact.iter().zip(&planned).all(|(a, b)| a.polys() == b.polys()));
    let bytes = |all: &[Ciphertext<u32>]| all.iter().map(Ciphertext::to_bytes).collect();
    let (inputs, outputs) = (bytes(&inputs), bytes(&exact));
    Story { params, keys: keys.to_bytes(), inputs, outputs, compiled }
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

#[test]
fn a_device_captures_a_segment_once_for_all_its_calls() {
    let story = story(&Options::default());
    for stage in Stage::all() {
        let session = stage.session(|builder| builder);
        let mut loaded = story.load(&session).unwrap();
        loaded.load_keys(&story.keys).unwrap();
        story.run_right(&mut loaded);
        if let Some(device) = &stage.device {
            assert_eq!(device.live().graphs, story.compiled.plan.segments.len());
        }
        story.run_right(&mut loaded);
        loaded.replay(2).unwrap();
        story.run_right(&mut loaded);
        drop((loaded, session));
        stage.ends();
    }
}

#[test]
fn the_null_backend_counts_every_call() {
    let story = story(&Options::default());
    let backend = NullBackend::new();
    let plan = Arc::new(CheckedPlan::new(story.compiled.plan.clone()).unwrap());
    let mut instance = host::backend::Backend::load(&backend, plan).unwrap();
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

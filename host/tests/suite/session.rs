//! Whole programs through the public face, bit for bit against the reference evaluator and the plan's interpreter.

use crate::client::{Client, everything, messages, named};
use crate::simulated::Device;
use crate::story::DEVICE_BYTES;
use crate::support::{device, largest_ring};
use fhe_core::ckks::Ciphertext;
use fhe_core::math::word::{Word, WordKind};
use fhe_core::params::{Level, Params, Preset};
use fhe_core::ring::Ring;
use host::backend::cpu::available_lanes;
use host::memory::MemoryClass;
use host::{BackendKind, Error, Session};
use kernels_gpu::abi::KernelId;
use kernels_gpu::abi::launch::GPU_MIN_LOG_N;
use scheduler::interp::{self, Env};
use scheduler::{Options, compile};
use std::time::Duration;

fn agrees_everywhere<W: Word>(params: &Params, threads: &[usize]) {
    let program = everything();
    let mut client = Client::<W>::of(Ring::new(params).unwrap());
    let compiled = compile(&program, params, &Options::default()).unwrap();
    let manifest = compiled.manifest.clone();
    let keys = client.keys(&manifest);
    let inputs = client.inputs(&program, &manifest);
    let env = Env { ring: &client.ring, keys: &keys, constants: &manifest.constants, inputs: &inputs };
    let levels: Vec<Level> = manifest.outputs.iter().map(|o| o.level).collect();
    let exact = interp::ckks_exact::run(&compiled.placed, &env).unwrap();
    let by_plan = interp::plan::run(&compiled.plan, &env, &levels).unwrap();
    let meaning = interp::slots::run(program.function(), params.n_slots(), &messages(&program)).unwrap();
    let blobs: Vec<Vec<u8>> = inputs.iter().map(Ciphertext::to_bytes).collect();
    for session in sessions(params, threads) {
        let mut loaded = session.load(compiled.clone(), params).unwrap();
        assert!(matches!(loaded.replay(1), Err(Error::KeysNotLoaded { .. })));
        loaded.load_keys(&keys.to_bytes()).unwrap();
        for _ in 0..2 {
            let outputs = loaded.run(&named(&manifest, &blobs)).unwrap();
            // What was replayed does not show in the next run.
            assert!(loaded.replay(2).unwrap() > Duration::ZERO);
            // The emulator is too slow for repeats of every launch.
            if !session.backend_name().contains("simulated") {
                let overhead = loaded.launch_overhead(1).unwrap();
                assert_eq!(overhead.launches, loaded.plan().n_launches() as u64);
                assert!(overhead.own > 0.0 && overhead.shortest <= overhead.own);
            }
            assert_eq!(outputs.len(), exact.len());
            for (i, bytes) in outputs.iter().enumerate() {
                let found = Ciphertext::<W>::from_bytes(&client.ring, bytes).unwrap();
                assert!(found.polys() == exact[i].polys(), "output {i}: {}", session.backend_name());
                assert!(found.polys() == by_plan[i].polys(), "output {i}: {}", session.backend_name());
                let slots = client.decrypt(&found);
                let worst = slots.iter().zip(&meaning[i]).map(|(a, b)| (a - b).norm()).fold(0.0, f64::max);
                assert!(worst < 1e-5, "output {i} is off by {worst}");
            }
        }
    }
}

/// All lanes with each number of threads and, where the ring suits it, the machine's device if it has one and a simulated one,
/// launch by launch and as graphs.
fn sessions(params: &Params, threads: &[usize]) -> Vec<Session> {
    let mut all = Vec::new();
    for lanes in available_lanes() {
        for &threads in threads {
            let builder = Session::builder().backend(BackendKind::Cpu).lanes(lanes).threads(threads);
            all.push(builder.profile(true).poison(true).build().unwrap());
        }
    }
    let (word, log_n) = (params.word(), params.log_n());
    if word == WordKind::U32 && log_n >= GPU_MIN_LOG_N && device().is_some() {
        for profile in [false, true] {
            let builder = Session::builder().backend(BackendKind::Cuda).poison(true).profile(profile);
            all.push(builder.build().unwrap());
        }
    }
    if word == WordKind::U32 && log_n == GPU_MIN_LOG_N {
        for profile in [false, true] {
            let builder = Session::builder().backend(BackendKind::Cuda).poison(true).profile(profile);
            all.push(builder.build_with(|_| Ok(Device::new(DEVICE_BYTES).open())).unwrap());
        }
    }
    all
}

#[test]
fn narrow_words() {
    agrees_everywhere::<u32>(&Preset::Toy10.params().unwrap(), &[1, 2]);
}

#[test]
fn wide_words() {
    agrees_everywhere::<u64>(&Preset::Toy10w.params().unwrap(), &[1, 2]);
}

#[test]
fn launches_shared_by_threads() {
    agrees_everywhere::<u32>(&Preset::Toy12.params().unwrap(), &[3]);
}

#[test]
fn a_device_computes_programs_of_every_size() {
    if device().is_none() {
        println!("skipped: this machine has no device");
        return;
    }
    for preset in [Preset::N14, Preset::N15, Preset::N16] {
        agrees_everywhere::<u32>(&preset.params().unwrap(), &[4]);
    }
    agrees_everywhere::<u32>(&largest_ring(3), &[4]);
}

#[test]
fn reports_say_what_was_planned_and_done() {
    let program = everything();
    let mut client = Client::<u32>::new(Preset::Toy10);
    let params = client.ring.params().clone();
    let session = Session::builder().backend(BackendKind::Cpu).threads(1).profile(true).build().unwrap();
    let mut loaded = session.compile(&program, &params, &Options::default()).unwrap();
    assert_eq!(loaded.last_run().profile.total().work.launches, 0);
    let manifest = loaded.manifest().clone();
    loaded.load_keys(&client.keys(&manifest).to_bytes()).unwrap();
    let blobs: Vec<Vec<u8>> = client.inputs(&program, &manifest).iter().map(Ciphertext::to_bytes).collect();
    loaded.run(&named(&manifest, &blobs)).unwrap();

    let report = loaded.last_run();
    let by_kernel: Vec<_> = report.profile.by_kernel().map(|(k, e)| (k, e.work)).collect();
    assert_eq!(by_kernel, loaded.work_by_kernel());
    assert_eq!(report.profile.total().work.launches, loaded.plan().n_launches() as u64);
    assert!(report.compute >= report.profile.total().time && report.total >= report.compute);
    assert!(report.to_string().contains(KernelId::InnerProduct.name()));
    let json: serde_json::Value = serde_json::from_str(&report.profile.to_json()).unwrap();
    assert_eq!(json["kernels"].as_array().unwrap().len(), by_kernel.len());

    let memory = loaded.memory_report();
    assert_eq!(memory.total_planned(), memory.total_actual());
    let tables = (params.primes().len() * params.n() * 4) as u64;
    assert_eq!(memory.planned(MemoryClass::Tables), tables);
    assert_eq!(memory.total_planned() - tables, loaded.plan().peaks[0].bytes);
    let n_keys = manifest.galois_elements.len() + usize::from(manifest.needs_relinearization);
    let key = (params.digits().len() * 2 * params.primes().len() * params.n() * 4) as u64;
    assert_eq!(memory.planned(MemoryClass::Keys), n_keys as u64 * key);
    let text = memory.to_string();
    // All that a program on the processor has, where everything fits.
    let beside = [MemoryClass::Spill, MemoryClass::Staging];
    let classes = MemoryClass::ALL.iter().filter(|c| !beside.contains(c));
    assert!(classes.into_iter().all(|c| text.contains(c.name())), "{text}");
}

#[test]
fn the_null_backend_runs_whole_programs_dry() {
    let program = everything();
    let mut client = Client::<u64>::new(Preset::Toy10w);
    let params = client.ring.params().clone();
    let session = Session::builder().backend(BackendKind::Null).build().unwrap();
    let mut loaded = session.compile(&program, &params, &Options::default()).unwrap();
    let manifest = loaded.manifest().clone();
    loaded.load_keys(&client.keys(&manifest).to_bytes()).unwrap();
    let blobs: Vec<Vec<u8>> = client.inputs(&program, &manifest).iter().map(Ciphertext::to_bytes).collect();
    let outputs = loaded.run(&named(&manifest, &blobs)).unwrap();
    for (spec, bytes) in manifest.outputs.iter().zip(&outputs) {
        let output = Ciphertext::<u64>::from_bytes(&client.ring, bytes).unwrap();
        assert_eq!(output.level(), spec.level);
        assert!(output.polys().iter().all(|p| p.words().iter().all(|&w| w == 0)));
    }
    let counts = session.counts().unwrap();
    for (kernel, work) in loaded.work_by_kernel() {
        assert_eq!(counts.kernel(kernel), work);
    }
    let memory = loaded.memory_report();
    let outside =
        memory.total_planned() - memory.planned(MemoryClass::Arena) - memory.planned(MemoryClass::Outputs);
    assert_eq!((counts.bytes_in, counts.bytes_out), (outside, memory.planned(MemoryClass::Outputs)));
    assert_eq!(memory.total_actual(), 0);
}

#[test]
fn programs_of_one_ring_share_tables_and_give_memory_back() {
    use host::backend::Backend;
    use host::backend::cpu::{CpuBackend, thread_pool};
    use host::check::CheckedPlan;
    use host::memory::Limits;
    use std::sync::Arc;
    let params = Preset::Toy10.params().unwrap();
    let plan = compile(&everything(), &params, &Options::default()).unwrap().plan;
    let bytes = plan.peaks[0].bytes;
    let tables = (params.primes().len() * plan.row_bytes()) as u64;
    let plan = Arc::new(CheckedPlan::new(plan).unwrap());
    let limits = Limits { machine: None, budget: Some(2 * bytes + tables) };
    let backend = CpuBackend::new(thread_pool(Some(1)).unwrap(), None, limits).unwrap();
    let first = backend.load(Arc::clone(&plan)).unwrap();
    assert_eq!(backend.memory_in_use(), bytes + tables);
    let second = backend.load(Arc::clone(&plan)).unwrap();
    assert_eq!(backend.memory_in_use(), 2 * bytes + tables);
    assert!(backend.load(Arc::clone(&plan)).is_err());
    drop(first);
    assert!(backend.load(Arc::clone(&plan)).is_ok());
    drop(second);
    assert_eq!(backend.memory_in_use(), 0);
}

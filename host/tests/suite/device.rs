//! The CUDA backend on a simulated device: the same bits, poison, what the device notices, and what it is chosen for.

use crate::client::everything;
use crate::simulated::Device;
use crate::story::{DEVICE_BYTES, Stage, story};
use crate::support::{Bench, PlanMaker, arena, input, output, row_item};
use fhe_core::params::Preset;
use host::backend::cuda::CudaBackend;
use host::backend::{Backend, POISON};
use host::check::CheckedPlan;
use host::driver::{DriverError, Grid};
use host::executor::{self, RunOptions};
use host::memory::Limits;
use host::{BackendKind, Error, Session};
use kernels_gpu::abi::launch::{KernelArgs, contract};
use kernels_gpu::abi::{KernelId, RowRef};
use kernels_gpu::ptx;
use scheduler::plan::{BufferId, HostStep, Tier};
use scheduler::{Options, compile};
use std::sync::Arc;

#[test]
fn a_program_is_captured_once_and_replayed() {
    let story = story();
    let stage = Stage::simulated();
    let session = stage.session(|b| b);
    let mut loaded = story.load(&session).unwrap();
    loaded.load_keys(&story.keys).unwrap();
    story.run_right(&mut loaded);
    let held = stage.script.held();
    let n_run = stage.device.as_ref().unwrap().n_run();
    story.run_right(&mut loaded);
    assert_eq!(stage.script.held(), held);
    assert_eq!(stage.device.as_ref().unwrap().n_run(), 2 * n_run);
    // A call of each graph, and two replays.
    assert!(loaded.replay(2).is_ok());
    assert_eq!(stage.device.as_ref().unwrap().n_run(), 5 * n_run);
    assert_eq!(stage.script.held(), held);
    let memory = loaded.memory_report();
    assert_eq!(stage.device.as_ref().unwrap().live().bytes, memory.actual_in(Tier::Device));
    drop((loaded, session));
    stage.ends();
}

/// The device refuses to read or to download what a poisoned run has not written, so a poisoned run that passes proves that
/// every word of its outputs, and every word that they are made of, was written in that run.
#[test]
fn a_poisoned_run_proves_that_every_word_is_written() {
    let story = story();
    for profile in [false, true] {
        let stage = Stage::simulated();
        let session = stage.session(|b| b.poison(true).profile(profile));
        let mut loaded = story.load(&session).unwrap();
        loaded.load_keys(&story.keys).unwrap();
        story.run_right(&mut loaded);
        story.run_right(&mut loaded);
        drop((loaded, session));
        stage.ends();
    }
}

/// The output of a plan that negates a row by way of the arena; `wrong` does something to the device before the run.
fn negated(poison: bool, wrong: impl FnOnce(&Device)) -> Result<Vec<u8>, Error> {
    let mut bench = Bench::<u32>::new(Preset::Toy12);
    let mut maker = PlanMaker::new(&bench.params, 1, 1, 1);
    maker.launch(KernelId::Neg, &[row_item(arena(0), input(0), RowRef::NONE, 0, 0)]);
    maker.launch(KernelId::Neg, &[row_item(output(0), arena(0), RowRef::NONE, 0, 0)]);
    let device = Device::new(DEVICE_BYTES);
    let backend = CudaBackend::new(device.open(), Limits::default()).unwrap();
    let mut instance = backend.load(Arc::new(CheckedPlan::new(maker.plan).unwrap())).unwrap();
    let limbs = bench.limbs[..1].to_vec();
    let rows = bench.random::<fhe_core::ring::Eval>(&limbs);
    let bytes: &[u8] = bytemuck::cast_slice(rows.words());
    let mut out = Vec::new();
    let mut host = |step: &HostStep, instance: &mut dyn host::backend::Instance| {
        match *step {
            HostStep::Upload { buffer, .. } => instance.write(buffer, 0, bytes)?,
            HostStep::Download { buffer, .. } => out = instance.read(buffer, 0..1)?,
            _ => unreachable!(),
        }
        Ok(())
    };
    // Once as it should be, so that the memory is full of right values.
    executor::run(&mut *instance, &mut host, RunOptions::default())?;
    wrong(&device);
    executor::run(&mut *instance, &mut host, RunOptions { poison, ..RunOptions::default() })?;
    Ok(out)
}

#[test]
fn a_store_that_is_lost_shows_only_in_a_poisoned_run() {
    let right = negated(true, |_| {}).unwrap();
    // Quads of a row are stored by 1024 threads; then those of the second launch.
    for n in [0, 1, 511, 1023, 1024, 1500, 2047] {
        assert!(negated(false, |device| device.lose_store(n)).unwrap() == right, "{n}");
        let error = negated(true, |device| device.lose_store(n)).unwrap_err();
        assert!(error.to_string().contains("never written"), "{n}: {error}");
    }
    assert!(negated(true, |device| device.lose_store(2048)).unwrap() == right);
    assert!(!right.chunks_exact(4).any(|word| word == [POISON; 4]));
}

/// Two launches, and each by itself: a warm-up and three samples, four replays each, of 16 and of 32 launches.
#[test]
fn the_time_of_a_launch_is_that_of_one_more_of_it() {
    let bench = Bench::<u32>::new(Preset::Toy12);
    let mut maker = PlanMaker::new(&bench.params, 1, 1, 1);
    maker.launch(KernelId::Neg, &[row_item(arena(0), input(0), RowRef::NONE, 0, 0)]);
    maker.launch(KernelId::Neg, &[row_item(output(0), arena(0), RowRef::NONE, 0, 0)]);
    let device = Device::new(DEVICE_BYTES);
    let backend = CudaBackend::new(device.open(), Limits::default()).unwrap();
    let mut instance = backend.load(Arc::new(CheckedPlan::new(maker.plan).unwrap())).unwrap();
    instance.write(BufferId(1), 0, &vec![1; 4 << 12]).unwrap();
    let live = device.live().bytes;
    assert_eq!(instance.launch_times(3).unwrap().len(), 2);
    assert_eq!(device.n_run(), 2 * (1 + 3) * 4 * (16 + 32));
    // Nothing is left but the binding table of the call.
    assert_eq!(device.live().bytes, live + 3 * 8);
    drop(instance);
    assert_eq!(device.misuses(), Vec::<String>::new());
}

fn words<T: std::fmt::Debug>(refused: Result<T, DriverError>) -> String {
    refused.unwrap_err().to_string()
}

/// The device notices what a real one would corrupt memory on.
#[test]
fn misuse_is_noticed() {
    let device = Device::new(1 << 20);
    let driver = device.open();
    let a = driver.allocate(1024).unwrap();
    assert!(a.is_multiple_of(256));
    let mut out = [0; 16];
    // SAFETY: here and below: the device checks every access; this is what the test is about.
    unsafe {
        assert!(words(driver.copy_to_host(&mut out, a)).contains("never written"));
        driver.copy_to_device(a, &[7; 1024]).unwrap();
        driver.copy_to_host(&mut out, a + 1008).unwrap();
        assert_eq!(out, [7; 16]);
        assert!(words(driver.copy_to_host(&mut out, a + 1012)).contains("byte 1012 of the 1024"));
        assert!(words(driver.copy_to_device(a - 4, &out)).contains("not an address"));
        assert!(words(driver.copy_to_device(a + (1 << 40), &out)).contains("no allocation"));
        driver.free(a);
        assert!(words(driver.copy_to_device(a, &out)).contains("use after free"));
        driver.free(a);
        driver.free(a + 4);
    }
    assert_eq!(device.misuses().len(), 7);
    let too_much = driver.allocate(2 << 20).unwrap_err();
    assert!(too_much.out_of_memory);
    let _leaked = driver.allocate(1 << 20).unwrap();
    assert_eq!(device.live().bytes, 1 << 20);
    driver.begin_capture().unwrap();
    assert!(words(driver.synchronize()).contains("capturing"));
    assert!(words(driver.end_capture()).contains("broken by synchronize"));
    assert!(words(driver.end_capture()).contains("none was begun"));
    assert_eq!(driver.synchronize(), Ok(()));
}

/// What a launch gets wrong shows when it runs, and then the device is lost.
#[test]
fn launches_that_are_wrong_are_noticed() {
    let c = contract(KernelId::Neg, 0, 12, 4).unwrap();
    let text = ptx::module(c.module).unwrap().text;
    let args = KernelArgs {
        bindings: 64,
        pool: 64,
        primes: 64,
        items_at: 0,
        n_items: 1,
        log_n: 12,
        row_bytes: 4 << 12,
    };
    let blocks = c.blocks(1, 12);
    let right = Grid { blocks, threads: c.threads, shared_bytes: c.shared_bytes };
    let launched = |grid: Grid, args: &KernelArgs| {
        let device = Device::new(1 << 20);
        let driver = device.open();
        let function = driver.function(text, c.entry, c.shared_bytes).unwrap();
        // SAFETY: the device checks every access.
        let submitted = unsafe { driver.launch(function, grid, bytemuck::bytes_of(args)) };
        let first = words(submitted.and_then(|()| driver.synchronize()));
        // Only a kernel that ran takes the device with it.
        assert_eq!(driver.synchronize().is_err(), device.n_run() == 1);
        first
    };
    assert!(launched(right, &args).contains("not an address of the device"));
    assert!(launched(Grid { blocks: blocks + 1, ..right }, &args).contains("expected"));
    assert!(launched(Grid { threads: c.threads / 2, ..right }, &args).contains("expected"));
    assert!(launched(Grid { shared_bytes: 16, ..right }, &args).contains("or less shared memory"));
    assert!(launched(Grid { shared_bytes: 49 << 10, ..right }, &args).starts_with("launch: "));
    assert!(launched(Grid { threads: 2048, ..right }, &args).starts_with("launch: "));
    assert!(launched(right, &KernelArgs { log_n: 11, ..args }).contains("log N 11"));
    let driver = Device::new(1).open();
    assert!(words(driver.function(text, "no_such_kernel", 0)).contains("not found"));
}

/// Too large for the device, for the budget, and for now: three errors, and when there is room the program loads.
#[test]
fn a_device_without_enough_memory() {
    let story = story();
    let build = |device: &Device, limits| {
        let builder = Session::builder().backend(BackendKind::Cuda).threads(1).memory_limits(limits);
        builder.build_with(|_| Ok(device.open())).unwrap()
    };
    let roomy = Device::new(DEVICE_BYTES);
    let session = build(&roomy, Limits::default());
    let loaded = story.load(&session).unwrap();
    let needed = loaded.memory_report().actual_in(Tier::Device);
    drop((loaded, session));

    let error = story.load(&build(&Device::new(needed - 1), Limits::default())).unwrap_err();
    assert!(
        matches!(&error, Error::TooBig { found, expected, .. } if *found == needed && *expected == needed - 1)
    );
    let text = format!("out of memory: program `story` needs {needed} bytes, the machine has {}", needed - 1);
    assert_eq!(error.to_string(), text);

    let budget = Limits { machine: None, budget: Some(needed - 1) };
    let error = story.load(&build(&roomy, budget)).unwrap_err();
    assert!(matches!(error, Error::OverBudget { found, .. } if found == needed), "{error}");

    // Another process has most of the device.
    let device = Device::new(2 * needed);
    let other = device.open();
    let taken = other.allocate(needed + needed / 2).unwrap();
    let session = build(&device, Limits::default());
    let error = story.load(&session).unwrap_err();
    assert!(matches!(&error, Error::NotNow { what, .. } if what == "program `story`"), "{error}");
    // SAFETY: allocated above, not used.
    unsafe { other.free(taken) };
    story.all_right(&session);
    assert_eq!(device.live().bytes, 0);
}

/// Without a device, with one, and with one that has no kernels for the ring.
#[test]
fn what_is_chosen_automatically() {
    let none = || DriverError { call: "load", words: "no NVIDIA driver".into(), out_of_memory: false };
    let auto = || Session::builder().threads(1);
    let session = auto().build_with(|_| Err(none())).unwrap();
    assert!(session.backend_name().starts_with("cpu"));
    story().all_right(&session);
    let error = auto().backend(BackendKind::Cuda).build_with(|_| Err(none())).unwrap_err();
    assert_eq!(error.to_string(), "backend `cuda` is not available: load: no NVIDIA driver");
    let error = auto()
        .backend(BackendKind::Cuda)
        .device(3)
        .build_with(|n| Err(DriverError { words: format!("device {n}, expected one of 1"), ..none() }));
    assert!(error.unwrap_err().to_string().contains("device 3, expected one of 1"));

    let device = Device::new(DEVICE_BYTES);
    let session = auto().build_with(|_| Ok(device.open())).unwrap();
    assert_eq!(session.backend_name(), "cuda (simulated)");
    story().all_right(&session);
    let ran = device.n_run();
    assert!(ran > 0);

    // Words of 64 bits and small rings: the processor, or a typed refusal where the device was asked for.
    let asked = auto().backend(BackendKind::Cuda).build_with(|_| Ok(device.open())).unwrap();
    for (preset, words) in [
        (Preset::Toy10w, "ring refused: word on a GPU is 64 bits, expected 32 bits"),
        (Preset::Toy10, "ring refused: log N on a GPU is 10, expected 12 to 17"),
    ] {
        let params = preset.params().unwrap();
        let compiled = compile(&everything(), &params, &Options::default()).unwrap();
        assert!(session.load(compiled.clone(), &params).is_ok());
        let error = asked.load(compiled, &params).unwrap_err();
        assert!(matches!(error, Error::UnsupportedRing { .. }));
        assert_eq!(error.to_string(), words);
    }
    assert_eq!((device.n_run(), device.live().bytes), (ran, 0));
}

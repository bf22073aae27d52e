//! Several programs on one device, and programs that end before their work does.

use crate::calls;
use crate::simulated::Device;
use crate::story::{DEVICE_BYTES, Stage, Story, story};
use crate::support::{Bench, PlanMaker, input, output, real_driver, row_item};
use crate::watched::Kind;
use fhe_core::params::Preset;
use host::backend::cuda::CudaBackend;
use host::backend::{Backend, Instance};
use host::check::CheckedPlan;
use host::driver::Driver;
use host::driver::cuda::CudaDriver;
use host::executor::{self, RunOptions};
use host::memory::Limits;
use host::{BackendKind, Error, Session};
use kernels_gpu::abi::{KernelId, RowRef};
use scheduler::Options;
use scheduler::plan::{BufferId, HostStep, PlanStep};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

/// Two sessions, each with its own driver of the device, loading and running at the same time.
#[test]
fn two_sessions_on_one_device_from_two_threads() {
    let called = &calls::story(&Options::default());
    let both = |open: &(dyn Fn() -> Arc<dyn Driver> + Sync)| {
        std::thread::scope(|scope| {
            for profile in [false, true] {
                scope.spawn(move || {
                    let builder = Session::builder().backend(BackendKind::Cuda).threads(1).profile(profile);
                    let session = builder.build_with(|_| Ok(open())).unwrap();
                    for _ in 0..2 {
                        story().all_right(&session);
                        called.all_right(&session);
                    }
                });
            }
        });
    };
    let device = Device::new(DEVICE_BYTES);
    both(&|| device.open());
    assert_eq!(device.live(), Default::default());
    assert_eq!(device.misuses(), [""; 0]);
    if real_driver().is_some() {
        both(&|| Arc::new(CudaDriver::open(0).unwrap()));
    }
}

/// Two programs of one session: the keys and results of one are not the other's, and one may end while the other goes on.
#[test]
fn two_programs_of_one_session() {
    let story = story();
    for stage in Stage::all() {
        let session = stage.session(|b| b.poison(true));
        let mut first = story.load(&session).unwrap();
        first.load_keys(&story.keys).unwrap();
        let mut second = story.load(&session).unwrap();
        let error = story.run(&mut second).unwrap_err();
        assert!(matches!(error, Error::KeysNotLoaded { .. }), "{error}");
        story.run_right(&mut first);
        second.load_keys(&story.keys).unwrap();
        story.run_right(&mut second);
        drop(first);
        // Programs outlive their session.
        drop(session);
        story.run_right(&mut second);
        drop(second);
        stage.ends();
    }
}

/// The wait fails and the program is dropped, while its graph still runs.
#[test]
fn a_program_dropped_while_its_work_runs() {
    for story in [story(), &calls::story(&Options::default())] {
        ends_while_its_work_runs(story);
    }
}

fn ends_while_its_work_runs(story: &Story) {
    for stage in Stage::all() {
        let session = stage.session(|b| b);
        let mut loaded = story.load(&session).unwrap();
        loaded.load_keys(&story.keys).unwrap();
        // A wait that fails once is repeated by the backend, to see whether the device is lost: both fail.
        stage.script.fail(Kind::Synchronize, 0, true);
        let error = story.run(&mut loaded).unwrap_err();
        assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
        stage.script.pass();
        drop(loaded);
        stage.is_empty();
        drop(session);
        // The device itself is well, and what was freed was freed after use.
        story.all_right(&stage.session(|b| b));
        stage.ends();
    }
}

/// A plan of two calls with a host step between: `arena = -input`, then `output = -arena`.
fn two_calls() -> (Arc<CheckedPlan>, Vec<u8>) {
    let mut bench = Bench::<u32>::new(Preset::Toy12);
    let mut maker = PlanMaker::new(&bench.params, 1, 1, 1);
    maker.launch(KernelId::Neg, &[row_item(output(0), input(0), RowRef::NONE, 0, 0)]);
    let bindings = vec![BufferId(0), BufferId(1), BufferId(2)];
    let download = maker.plan.schedule[2].clone();
    maker
        .plan
        .schedule
        .extend([PlanStep::Call { segment: scheduler::plan::SegmentId(0), bindings }, download]);
    let limbs = bench.limbs[..1].to_vec();
    let rows = bench.random::<fhe_core::ring::Eval>(&limbs);
    (Arc::new(CheckedPlan::new(maker.plan).unwrap()), bytemuck::cast_slice(rows.words()).to_vec())
}

/// A run that a host step ends between two calls, by an error or by a panic: the next run is right, and what is
/// dropped then is given back.
#[test]
fn a_run_that_a_host_step_ends() {
    let (plan, rows) = two_calls();
    for stage in Stage::all() {
        let backend = CudaBackend::new(Arc::clone(&stage.driver), Limits::default()).unwrap();
        let mut instance = backend.load(Arc::clone(&plan)).unwrap();
        let refused = Error::Core(fhe_core::Error::MissingRelinearizationKey);
        let mut run = |ends: Option<bool>| {
            let mut downloads: Vec<Vec<u8>> = Vec::new();
            let mut step = |step: &HostStep, instance: &mut dyn Instance| {
                match (*step, ends) {
                    (HostStep::Upload { buffer, .. }, _) => instance.write(buffer, 0, &rows)?,
                    (HostStep::Download { .. }, Some(true)) => {
                        resume_unwind(Box::new("a host step that panics"))
                    }
                    (HostStep::Download { .. }, Some(false)) => return Err(refused.clone()),
                    (HostStep::Download { buffer, .. }, None) => downloads.push(instance.read(buffer, 0..1)?),
                    _ => unreachable!(),
                }
                Ok(())
            };
            let options = RunOptions { poison: true, ..RunOptions::default() };
            executor::run(&mut *instance, &mut step, options).map(|_| downloads)
        };
        let right = run(None).unwrap();
        assert!(right[0] == right[1] && right[0] != rows);
        assert_eq!(run(Some(false)).unwrap_err(), refused);
        assert!(run(None).unwrap() == right);
        assert!(catch_unwind(AssertUnwindSafe(|| run(Some(true)))).is_err());
        assert!(run(None).unwrap() == right);
        assert!(catch_unwind(AssertUnwindSafe(|| run(Some(true)))).is_err());
        drop(instance);
        assert_eq!(backend.memory_in_use(), 0);
        drop(backend);
        stage.ends();
    }
}

//! A program that does not fit its device, on a simulated device and on a real one: the bits, what is held, and every driver
//! call of copies between tiers failing in turn.

use crate::faults::play;
use crate::memory::Directory;
use crate::story::{Stage, Story, story};
use crate::watched::{INJECTED, Kind};
use host::memory::Limits;
use host::{Error, Session, SessionBuilder};
use scheduler::compile::{MemoryLimits, refit};
use scheduler::plan::Tier;
use scheduler::{Options, compile};

/// The story in less memory.
fn spilled(device: u64, host: Option<u64>) -> Story {
    let whole = story();
    let options = Options { memory: MemoryLimits { device: Some(device), host }, ..Options::default() };
    Story {
        params: whole.params.clone(),
        compiled: refit(&whole.compiled, &whole.params, &options).unwrap(),
        keys: whole.keys.clone(),
        inputs: whole.inputs.clone(),
        outputs: whole.outputs.clone(),
    }
}

/// In between, with something in every tier.
fn in_three_tiers() -> Story {
    let plan = &story().compiled.plan;
    let story = spilled(plan.least_device_bytes() * 2, Some(plan.peak_bytes(Tier::Device) / 2));
    assert!(Tier::ALL.into_iter().all(|tier| story.compiled.plan.peak_bytes(tier) > 0));
    story
}

fn session(
    stage: &Stage,
    directory: &Directory,
    with: impl FnOnce(SessionBuilder) -> SessionBuilder,
) -> Session {
    stage.session(|b| with(b.spill_directory(directory.path()).poison(true)))
}

#[test]
fn the_bits_and_what_is_held() {
    let directory = Directory::new("spilled");
    let plan = &story().compiled.plan;
    let (least, whole) = (plan.least_device_bytes(), plan.peak_bytes(Tier::Device));
    for stage in Stage::all() {
        for (device, host) in
            [(least, None), (least, Some(0)), (whole / 3, Some(whole / 3)), (whole - 1, None)]
        {
            let story = spilled(device, host);
            for profile in [false, true] {
                let session = session(&stage, &directory, |b| b.profile(profile));
                let mut loaded = story.load(&session).unwrap();
                loaded.load_keys(&story.keys).unwrap();
                story.run_right(&mut loaded);
                story.run_right(&mut loaded);
                let report = loaded.memory_report();
                for tier in Tier::ALL {
                    let planned = story.compiled.plan.peak_bytes(tier);
                    assert_eq!(report.of_tier(tier), (planned, planned));
                }
                if let Some(device) = &stage.device {
                    let live = device.live();
                    let found = (live.bytes, live.pinned as u64);
                    assert_eq!(found, (report.actual_in(Tier::Device), report.actual_in(Tier::Host)));
                }
            }
        }
        stage.ends();
    }
    assert!(directory.is_empty());
}

/// The bits, however the streams run beside each other; and no bits without the events.
#[test]
fn streams_in_any_order() {
    let directory = Directory::new("streams");
    let whole = story().compiled.plan.peak_bytes(Tier::Device);
    for (device, host) in [(whole / 2, None), (whole / 3, Some(whole / 4))] {
        let story = spilled(device, host);
        assert!(story.compiled.plan.overlapped_bytes().fetched > 0);
        for seed in 0..6 {
            let stage = Stage::simulated();
            stage.device.as_ref().unwrap().shuffle(seed);
            for (profile, in_order) in [(false, false), (true, false), (false, true)] {
                let session = session(&stage, &directory, |b| b.profile(profile).in_order(in_order));
                let mut loaded = story.load(&session).unwrap();
                loaded.load_keys(&story.keys).unwrap();
                story.run_right(&mut loaded);
                story.run_right(&mut loaded);
            }
            stage.ends();
        }
    }
}

#[test]
fn a_session_plans_for_what_the_device_has_free() {
    let story = story();
    let whole = story.compiled.plan.peak_bytes(Tier::Device);
    // With its eighth in reserve and its tables, the device has too little.
    let stage = Stage::simulated_of(whole);
    let session = stage.session(|b| b.host_limits(Limits { machine: None, budget: Some(whole) }));
    let mut loaded = session.compile(&crate::story::program(), &story.params, &Options::default()).unwrap();
    loaded.load_keys(&story.keys).unwrap();
    story.run_right(&mut loaded);
    let plan = loaded.plan();
    assert!(plan.peak_bytes(Tier::Device) < whole && plan.peak_bytes(Tier::Host) > 0);
    assert_eq!(plan.peak_bytes(Tier::File), 0);
    drop((loaded, session));
    // In a large one it is planned as without limits.
    let roomy = Stage::simulated();
    let session = roomy.session(|b| b);
    let loaded = session.compile(&crate::story::program(), &story.params, &Options::default()).unwrap();
    let free = compile(&crate::story::program(), &story.params, &Options::default()).unwrap();
    assert!(*loaded.plan() == free.plan);
    drop((loaded, session));
    roomy.ends();
    stage.ends();
}

/// A typed error that says what was being done, nothing leaked, the next run right.
fn fails_everywhere(kinds: &[Kind]) {
    let directory = Directory::new(&format!("failing-{:?}", kinds[0]));
    let story = in_three_tiers();
    for stage in Stage::all() {
        let session = session(&stage, &directory, |b| b);
        for &kind in kinds {
            for n in (0..).step_by(3) {
                stage.script.fail(kind, n, false);
                let errors = play(&story, &session);
                stage.is_empty();
                assert!(directory.is_empty());
                if !stage.script.has_failed() {
                    assert!(n > 0 && errors.is_empty(), "{kind:?} {n}");
                    break;
                }
                match &errors[..] {
                    [Error::NotNow { what, found, expected }] => {
                        assert!(kind == Kind::AllocatePinned && found > expected && what.contains("`story`"));
                    }
                    [Error::Driver { during, words }] => {
                        let named = ["buffer ", "copy ", "segment ", "node ", "event ", "copies "]
                            .iter()
                            .any(|n| during.contains(n));
                        assert!(named && words.ends_with(INJECTED), "{during}: {words}");
                    }
                    other => panic!("{kind:?} {n}: {other:?}"),
                }
            }
        }
        drop(session);
        stage.ends();
    }
}

#[test]
fn copies_that_fail() {
    fails_everywhere(&[Kind::SubmitToDevice, Kind::SubmitToHost]);
}

#[test]
fn events_that_fail() {
    fails_everywhere(&[Kind::Record, Kind::Hold]);
}

#[test]
fn memory_and_waits_that_fail() {
    fails_everywhere(&[Kind::AllocatePinned, Kind::Wait, Kind::Synchronize]);
}

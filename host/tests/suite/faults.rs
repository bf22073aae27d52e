//! A driver that fails, at every call of every kind: a typed error in the driver's words that names what was done, nothing
//! leaked, and the next run right. On a simulated device, and on a real one where there is one.

use crate::story::{Stage, Story, program, story};
use crate::watched::{INJECTED, Kind};
use host::{BackendKind, Error, LoadedProgram, Result, Session};
use scheduler::Options;
use std::sync::Arc;

/// Repeats what failed: an injected failure happens once.
fn retried<T>(errors: &mut Vec<Error>, mut what: impl FnMut() -> Result<T>) -> T {
    what().unwrap_or_else(|error| {
        errors.push(error);
        what().unwrap()
    })
}

/// Load, keys, run, each again where it fails, and one more run; the errors.
pub fn play(story: &Story, session: &Session) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut loaded: LoadedProgram = retried(&mut errors, || story.load(session));
    retried(&mut errors, || loaded.load_keys(&story.keys));
    let outputs = retried(&mut errors, || story.run(&mut loaded));
    assert!(outputs == story.outputs, "other bits than the processor's after {errors:?}");
    errors
}

/// The error says what was being done, and what the driver said.
fn is_well_worded(error: &Error, kind: Kind, profile: bool) {
    let text = error.to_string();
    match error {
        Error::NotNow { what, found, expected } => {
            assert!(matches!(kind, Kind::Allocate | Kind::AllocatePinned), "{text}");
            assert!(found > expected && (what.contains("`story`") || what == "binding table"), "{text}");
        }
        Error::Driver { during, words } => {
            assert!(words.ends_with(INJECTED), "{text}");
            let expected: &[&str] = match kind {
                // Transfers of buffers are marked, too.
                Kind::Record if during.contains(" buffer ") => &[],
                Kind::Launch | Kind::Record | Kind::Elapsed => &["node ", "of segment `"],
                Kind::BeginCapture | Kind::EndCapture | Kind::LaunchGraph => &["segment `", "nodes "],
                Kind::Synchronize => &["segment `", "a run with a profile names it"],
                Kind::Fork | Kind::Function => &["program `story`"],
                Kind::CopyToHost | Kind::SubmitToHost => &["read of buffer "],
                Kind::Fill => &["poison of buffer "],
                Kind::SubmitToDevice => &["write to buffer "],
                Kind::Wait => &[" buffer "],
                Kind::Hold => &["there are no copies in the story"],
                Kind::CopyToDevice => &[if during == "binding table" { "" } else { "program `story`" }],
                Kind::Allocate | Kind::AllocatePinned => &["an allocation that fails is out of memory"],
            };
            assert!(expected.iter().all(|part| during.contains(part)), "{kind:?}, profile {profile}: {text}");
        }
        other => panic!("{kind:?}, profile {profile}: {other:?}"),
    }
}

/// Every call of these kinds, one after the other.
fn fails_everywhere(kinds: &[Kind], profile: bool) {
    let story = story();
    for stage in Stage::all() {
        let session = stage.session(|b| b.profile(profile).poison(true));
        for &kind in kinds {
            for n in 0.. {
                stage.script.fail(kind, n, false);
                let errors = play(story, &session);
                stage.is_empty();
                if !stage.script.has_failed() {
                    assert!(errors.is_empty());
                    println!("{kind:?}, profile {profile}: {n} calls");
                    break;
                }
                assert_eq!(errors.len(), 1, "{kind:?} {n}");
                is_well_worded(&errors[0], kind, profile);
            }
        }
        drop(session);
        stage.ends();
    }
}

#[test]
fn memory_and_copies() {
    fails_everywhere(&[Kind::Allocate, Kind::CopyToDevice, Kind::CopyToHost, Kind::Fill], false);
}

#[test]
fn pinned_memory_and_transfers() {
    let kinds = [Kind::AllocatePinned, Kind::SubmitToDevice, Kind::SubmitToHost, Kind::Record, Kind::Wait];
    fails_everywhere(&kinds, false);
}

#[test]
fn modules_and_launches() {
    fails_everywhere(&[Kind::Fork, Kind::Function, Kind::Launch], false);
}

#[test]
fn graphs_and_waiting() {
    let kinds = [Kind::BeginCapture, Kind::EndCapture, Kind::LaunchGraph, Kind::Synchronize];
    fails_everywhere(&kinds, false);
}

#[test]
fn launch_by_launch() {
    fails_everywhere(&[Kind::Launch, Kind::Record, Kind::Elapsed], true);
}

/// A device that is lost says so, once asked and for good; nothing is asked of it any more, and all is given back.
#[test]
fn a_lost_device() {
    let story = story();
    for (kind, profile, during) in [
        (Kind::Synchronize, false, "segment `"),
        (Kind::LaunchGraph, false, "segment `"),
        (Kind::Elapsed, true, "node "),
        (Kind::SubmitToHost, false, "read of buffer "),
        (Kind::SubmitToDevice, false, "write to buffer "),
    ] {
        let stage = Stage::simulated();
        let session = stage.session(|b| b.profile(profile));
        let mut loaded = story.load(&session).unwrap();
        loaded.load_keys(&story.keys).unwrap();
        stage.script.fail(kind, 0, true);
        match story.run(&mut loaded).unwrap_err() {
            Error::DeviceLost { during: found, words } => {
                assert!(found.contains(during), "{found}");
                assert!(words.ends_with(INJECTED), "{words}");
            }
            other => panic!("{other:?}"),
        }
        let asked = stage.script.n_after();
        let later = [
            story.run(&mut loaded).unwrap_err(),
            loaded.load_keys(&story.keys).unwrap_err(),
            story.load(&session).unwrap_err(),
            session.compile(&program(), &story.params, &Options::default()).unwrap_err(),
        ];
        for error in later {
            let text = error.to_string();
            assert!(matches!(error, Error::DeviceLost { .. }), "{text}");
            assert!(text.contains(&format!("{INJECTED} (first during ")) && text.contains("again"), "{text}");
        }
        assert_eq!(stage.script.n_after(), asked, "a lost device was asked again");
        drop((loaded, session));
        stage.ends();
    }
}

/// A kernel that fails when it runs, every one in turn. In a run with a profile the error names the node; otherwise the segment
/// with its nodes.
#[test]
fn a_kernel_that_fails() {
    let story = story();
    let n = {
        let stage = Stage::simulated();
        let session = stage.session(|b| b);
        story.all_right(&session);
        stage.device.as_ref().unwrap().n_run()
    };
    for (profile, step) in [(true, 1), (false, 7)] {
        for at in (0..n).step_by(step) {
            let stage = Stage::simulated();
            let session = stage.session(|b| b.profile(profile));
            let mut loaded = story.load(&session).unwrap();
            loaded.load_keys(&story.keys).unwrap();
            stage.device.as_ref().unwrap().trap_at(at);
            let error = story.run(&mut loaded).unwrap_err();
            let Error::DeviceLost { during, words } = &error else { panic!("{error:?}") };
            assert!(words.ends_with("trapped (injected)"), "{words}");
            // "elapsed: ntt_rows_12 trapped" is of "node 5 (ntt) of segment".
            let entry = words.split(' ').nth_back(2).unwrap();
            let kernel = during.split(['(', ')']).nth(1).unwrap();
            match profile {
                true => assert!(during.starts_with("node ") && entry.starts_with(kernel), "{error}"),
                false => assert!(kernel.starts_with("one of "), "{error}"),
            }
            drop((loaded, session));
            // A new session finds the device lost, or does without it.
            let again = |kind| {
                let builder = Session::builder().threads(1).backend(kind);
                builder.build_with(|_| Ok(Arc::clone(&stage.driver)))
            };
            let error = again(BackendKind::Cuda).unwrap_err();
            assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
            assert!(again(BackendKind::Auto).unwrap().backend_name().starts_with("cpu"));
            stage.ends();
        }
    }
}

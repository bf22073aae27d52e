//! The trace of a run, parsed back: ordered events that do not overlap and sum to the profile.

use crate::story::{Stage, story};
use host::profile::trace::{HOST_TRACK, LAUNCH_TRACK};
use host::{BackendKind, LoadedProgram, Session};
use scheduler::plan::{HostStep, PlanStep, Step};
use serde_json::Value;

/// The complete events of a track, in order, as (start, time) in nanoseconds with the event.
fn track(trace: &Value, pid: u64, tid: u32) -> Vec<(u64, u64, &Value)> {
    let is_on = |e: &&Value| e["ph"] == "X" && e["pid"] == pid && e["tid"] == tid;
    let nanoseconds = |x: &Value| (x.as_f64().unwrap() * 1e3).round() as u64;
    let events = trace["traceEvents"].as_array().unwrap().iter().filter(is_on);
    events.map(|e| (nanoseconds(&e["ts"]), nanoseconds(&e["dur"]), e)).collect()
}

fn is_ordered(track: &[(u64, u64, &Value)]) {
    for pair in track.windows(2) {
        let ((start, time, _), (next, ..)) = (pair[0], pair[1]);
        assert!(start + time <= next, "{} overlaps {}", pair[0].2, pair[1].2);
    }
}

fn check(loaded: &LoadedProgram) {
    let (profile, plan) = (&loaded.last_run().profile, loaded.plan());
    let trace: Value = serde_json::from_str(&loaded.trace()).unwrap();
    assert_eq!(trace["displayTimeUnit"], "ms");

    // Launches, by node and as the plan has them.
    let launches = track(&trace, 2, LAUNCH_TRACK);
    is_ordered(&launches);
    let total: u64 = launches.iter().map(|l| l.1).sum();
    assert_eq!(u128::from(total), profile.total().time.as_nanos());
    let sum = |key: &str| launches.iter().map(|l| l.2["args"][key].as_u64().unwrap()).sum::<u64>();
    let work = profile.total().work;
    assert_eq!((sum("bytes"), sum("items")), (work.bytes, work.items));
    assert_eq!(
        (sum("rows"), sum("multiplications")),
        (work.rows_read + work.rows_written, work.multiplications)
    );
    let mut expected = Vec::new();
    for step in &plan.schedule {
        let PlanStep::Call { segment, .. } = step else { continue };
        let segment = plan.segment(*segment).unwrap();
        for (i, Step::Launch { launch, node }) in segment.steps.iter().enumerate() {
            expected.push((
                segment.name.clone(),
                i as u64,
                u64::from(node.0),
                launch.kernel.name().to_owned(),
            ));
        }
    }
    let text = |e: &Value, key: &str| e["args"][key].as_str().unwrap().to_owned();
    let number = |e: &Value, key: &str| e["args"][key].as_u64().unwrap();
    let found: Vec<_> = launches
        .iter()
        .map(|(.., e)| (text(e, "segment"), number(e, "launch"), number(e, "node"), text(e, "kernel")))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(profile.steps().len(), expected.len());
    let top = u64::from(loaded.manifest().inputs[0].level.0);
    assert!(launches.iter().all(|(.., e)| number(e, "level") == top), "all of the story is at one level");
    assert_eq!(profile.by_launch().map(|(_, e)| e.time).sum::<std::time::Duration>(), profile.total().time);

    // Host steps of the setup and of the run; those that know it say their level.
    let named = |pid| -> Vec<String> {
        let steps = track(&trace, pid, HOST_TRACK);
        is_ordered(&steps);
        assert!(steps.iter().all(|(.., e)| e["args"]["bytes"].as_u64() != Some(0)));
        steps.iter().map(|(.., e)| e["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(named(0), ["encode constant 0"]);
    let n_keys = plan.setup.iter().filter(|s| matches!(s, HostStep::LoadKey { .. })).count();
    assert_eq!(named(1).len(), n_keys);
    assert!(named(1).iter().any(|name| name == "load relinearization key"));
    assert_eq!(named(2), ["read inputs", "upload `x`", "download `y`"]);
    let level = loaded.manifest().inputs[0].level.0;
    assert_eq!(track(&trace, 2, HOST_TRACK)[1].2["args"]["level"], level);

    // Work of the host and launches take turns.
    let mut all = [track(&trace, 2, HOST_TRACK), launches].concat();
    all.sort_by_key(|event| (event.0, event.1));
    is_ordered(&all);
}

#[test]
fn a_trace_is_ordered_and_sums_to_the_profile() {
    let story = story();
    let play = |session: &Session| {
        let mut loaded = story.load(session).unwrap();
        loaded.load_keys(&story.keys).unwrap();
        for _ in 0..2 {
            story.run_right(&mut loaded);
            check(&loaded);
        }
    };
    play(&Session::builder().backend(BackendKind::Cpu).threads(1).profile(true).build().unwrap());
    for stage in Stage::all() {
        play(&stage.session(|b| b.profile(true)));
        stage.ends();
    }
}

#[test]
fn a_run_without_a_profile_has_a_trace_of_its_setup_alone() {
    let story = story();
    let session = Session::builder().backend(BackendKind::Cpu).threads(1).build().unwrap();
    let mut loaded = story.load(&session).unwrap();
    loaded.load_keys(&story.keys).unwrap();
    story.run_right(&mut loaded);
    let trace: Value = serde_json::from_str(&loaded.trace()).unwrap();
    assert!(track(&trace, 2, LAUNCH_TRACK).is_empty() && track(&trace, 2, HOST_TRACK).is_empty());
    assert_eq!(track(&trace, 0, HOST_TRACK).len(), 1);
}

//! A kernel that reads where nothing is, on a simulated device and on a real one. It takes a real device from the whole process,
//! so there it runs in a process of its own.

use crate::story::{Stage, story};
use host::{BackendKind, Error, Session};
use std::process::Command;
use std::sync::Arc;

/// Which launch is sent astray: one in the middle.
const ASTRAY: u64 = 9;

/// The run after a good one goes astray: the error says where, later ones that the device is lost, and all is given back.
fn goes_astray(stage: Stage, profile: bool) {
    let story = story();
    let session = stage.session(|b| b.profile(profile));
    let mut loaded = story.load(&session).unwrap();
    loaded.load_keys(&story.keys).unwrap();
    if profile {
        story.run_right(&mut loaded);
    }
    stage.script.send_wild(ASTRAY);
    let error = story.run(&mut loaded).unwrap_err();
    let Error::DeviceLost { during, words } = &error else { panic!("{error:?}") };
    match profile {
        true => assert!(during.starts_with("node ") && during.contains(" of segment `"), "{error}"),
        false => assert!(during.starts_with("segment `"), "{error}"),
    }
    let errors = [
        story.run(&mut loaded).unwrap_err(),
        loaded.load_keys(&story.keys).unwrap_err(),
        story.load(&session).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(&error, Error::DeviceLost { words: again, .. } if again.contains(words)), "{error}");
    }
    let builder = Session::builder().threads(1).backend(BackendKind::Cuda);
    let error = builder.build_with(|_| Ok(Arc::clone(&stage.driver))).unwrap_err();
    assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
    drop((loaded, session));
    stage.ends();
}

/// Set in a process that may lose its device: whether launch by launch.
const CHILD: &str = "FERROCERIUM_TEST_LOSES_DEVICE";

#[test]
fn a_wild_address() {
    if let Ok(profile) = std::env::var(CHILD) {
        goes_astray(Stage::real().unwrap(), profile == "true");
        return;
    }
    for profile in [true, false] {
        goes_astray(Stage::simulated(), profile);
        if Stage::real().is_none() {
            println!("skipped on a real device: this machine has none");
            continue;
        }
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["lost::a_wild_address", "--exact", "--nocapture"]).env(CHILD, profile.to_string());
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
}

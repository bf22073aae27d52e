//! Cost tables: what is measured, what it predicts.

use crate::client::Client;
use fhe_core::params::Preset;
use host::profile::prediction::{Overlap, calibrate};
use host::{BackendKind, Session};
use scheduler::compile::refit;
use scheduler::cost::{CopyCost, CostTable};
use scheduler::plan::Tier;
use scheduler::{MemoryLimits, Options, dsl};
use std::time::Duration;

fn session(kind: BackendKind) -> Session {
    Session::builder().backend(kind).threads(2).profile(true).build().unwrap()
}

#[test]
fn a_calibration_knows_every_kernel_of_levelled_programs() {
    let params = Preset::Toy10.params().unwrap();
    let session = session(BackendKind::Cpu);
    let costs = calibrate(&session, &params, "test", 3).unwrap();
    assert_eq!((costs.backend.as_str(), costs.note.as_str()), (session.backend_name().as_str(), "test"));
    // The session has no directory for files, and the processor simulates two devices.
    assert_eq!(costs.copies.keys().collect::<Vec<_>>(), ["exchange", "fetch host", "spill host"]);
    let json = serde_json::to_string(&costs).unwrap();
    // The shortest decimal of a double is the double again.
    assert_eq!(serde_json::from_str::<CostTable>(&json).unwrap(), costs);
    let program = dsl::build("other", |g| {
        let (x, w) = (g.input("x", 8)?, g.plain("w", &[0.5, 0.25])?);
        let h = (x.rotate(3) * w - x).square() + x.conjugate() * 0.5;
        g.output("y", h * x, 8)?;
        g.output("z", -h, 8)
    })
    .unwrap();
    for encode_on_device in [false, true] {
        let options = Options { encode_on_device, ..Options::default() };
        let mut loaded = session.compile(&program, &params, &options).unwrap();
        let prediction = loaded.predict(&costs);
        assert_eq!(prediction.unknown, []);
        assert_eq!(prediction.launches.len(), loaded.plan().n_launches());
        assert!(!prediction.total().is_zero());
        let observed = loaded.observe(1).unwrap();
        let kernels = |kernel: &dyn Fn(usize) -> kernels_gpu::abi::KernelId| {
            (0..observed.len()).map(kernel).collect::<Vec<_>>()
        };
        assert_eq!(kernels(&|i| observed[i].kernel), kernels(&|i| prediction.launches[i].0));
        // Keys and constants are stored, arena and outputs are not.
        assert!(observed.iter().any(|o| o.stored > 0) && observed.iter().all(|o| o.stored <= o.bytes));
        // Nothing ran yet.
        let table = prediction.kernel_table(&loaded.last_run().profile);
        assert_eq!(table.lines().count(), 2, "{table}");
    }
}

#[test]
fn predicted_times_stand_beside_measured_ones() {
    let program = dsl::build("one", |g| g.output("y", g.input("x", 4)?.square(), 4)).unwrap();
    let mut client = Client::<u32>::new(Preset::Toy10);
    let params = client.ring.params().clone();
    let session = session(BackendKind::Cpu);
    let costs = calibrate(&session, &params, "test", 1).unwrap();
    let mut loaded = session.compile(&program, &params, &Options::default()).unwrap();
    let manifest = loaded.manifest().clone();
    loaded.load_keys(&client.keys(&manifest).to_bytes()).unwrap();
    let input = client.inputs(&program, &manifest)[0].to_bytes();
    loaded.run(&[("x", &input)]).unwrap();
    let (prediction, profile) = (loaded.predict(&costs), &loaded.last_run().profile);
    let kernels = prediction.kernel_table(profile);
    // Head and total, and a line for each kernel of the plan.
    let used: std::collections::BTreeSet<_> = profile.steps().iter().map(|step| step.kernel).collect();
    assert_eq!(kernels.lines().count(), 2 + used.len(), "{kernels}");
    let nodes = prediction.node_table(profile, 3);
    assert_eq!(nodes.lines().count(), 2 + 3, "{nodes}");
    for table in [kernels, nodes] {
        assert!(table.lines().last().unwrap().starts_with("total"), "{table}");
    }
}

/// What a timeline says of a plan with copies, against what follows from its times alone.
#[test]
fn copies_are_hidden_beside_launches() {
    let params = Preset::Toy10.params().unwrap();
    let program = dsl::build("copies", |g| {
        let (x, y) = (g.input("x", 16)?, g.input("y", 16)?);
        let sum = (0..6).fold(x * y, |sum, k| sum + x.rotate(k) * y);
        g.output("z", sum.square(), 16)
    })
    .unwrap();
    let free = scheduler::compile(&program, &params, &Options::default()).unwrap();
    let whole = free.plan.peak_bytes(Tier::Device);
    let memory = MemoryLimits { device: Some(whole / 2), host: None };
    let fitted = refit(&free, &params, &Options { memory, ..Options::default() }).unwrap();
    let loaded = session(BackendKind::Null).load(fitted, &params).unwrap();
    let cost = |per_kib| CopyCost { step: 1000.0, per_kib };
    let mut costs: CostTable =
        serde_json::from_str(include_str!("../../../benches/costs/h200-n14.json")).unwrap();
    costs.copies.clear();
    let without = loaded.predict(&costs);
    let names: Vec<String> = without.unknown_copies.iter().map(|route| route.name()).collect();
    assert!(names.contains(&"fetch host".to_owned()), "{names:?}");
    assert_eq!((without.overlap.total, without.overlap.copies), (without.total(), Duration::ZERO));
    for per_kib in [1.0, 20.0, 500.0] {
        costs.copies = ["fetch host", "spill host"].map(|name| (name.to_owned(), cost(per_kib))).into();
        let prediction = loaded.predict(&costs);
        assert_eq!(prediction.unknown_copies, []);
        let Overlap { total, copies, hidden } = prediction.overlap;
        // Together they take what they take one after the other, less what is hidden; and no less than either.
        let launches = prediction.total();
        let apart = (launches + copies).saturating_sub(hidden);
        assert!(total.abs_diff(apart) <= total / 1000, "{total:?}, {apart:?}");
        assert!(total >= launches.max(copies) && hidden > Duration::ZERO && hidden < copies);
    }
}

#[test]
fn a_table_without_a_kernel_says_so() {
    let params = Preset::Toy10.params().unwrap();
    let program = dsl::build("one", |g| g.output("y", g.input("x", 4)?.square(), 4)).unwrap();
    let loaded = session(BackendKind::Null).compile(&program, &params, &Options::default()).unwrap();
    let prediction = loaded.predict(&CostTable::default());
    assert!(prediction.total().is_zero());
    let names: Vec<&str> = prediction.unknown.iter().map(|kernel| kernel.name()).collect();
    assert!(names.contains(&"inner_product") && names.contains(&"convert_basis_columns"), "{names:?}");
}

#[test]
fn tables_that_are_kept_are_read() {
    for json in [
        include_str!("../../../benches/costs/h200-n14.json"),
        include_str!("../../../benches/costs/h200-n16.json"),
        include_str!("../../../benches/costs/epyc-2-threads-n14.json"),
    ] {
        let costs: CostTable = serde_json::from_str(json).unwrap();
        let program = dsl::build("one", |g| g.output("y", g.input("x", 4)?.square(), 4)).unwrap();
        let params = Preset::N14.params().unwrap();
        let loaded = session(BackendKind::Null).compile(&program, &params, &Options::default()).unwrap();
        let prediction = loaded.predict(&costs);
        assert_eq!(prediction.unknown, [], "{}", costs.note);
        assert!(!prediction.total().is_zero());
    }
}

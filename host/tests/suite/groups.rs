//! Independent parts of a program on groups of simulated devices: the bits of one device, in memory that is enough and in less.

use crate::client::{Client, named};
use crate::memory::Directory;
use fhe_core::ckks::Ciphertext;
use fhe_core::params::Preset;
use host::{BackendKind, Session};
use scheduler::compile::refit;
use scheduler::dsl::{self, Program};
use scheduler::plan::{BufferKind, Tier};
use scheduler::{MemoryLimits, Options, Topology, compile};
use std::collections::BTreeSet;

/// Three heads with keys and a constant in common.
fn heads() -> Program {
    dsl::build("heads", |g| {
        let weights = g.plain("weights", &[0.5, -0.25, 0.125, 1.0])?;
        for i in 0..3 {
            let x = g.input(&format!("x{i}"), 8)?;
            let h = x.rotate(1) * weights - x.rotate(3);
            g.output(&format!("y{i}"), if i == 1 { h.square() } else { h }, 8)?;
        }
        Ok(())
    })
    .unwrap()
}

#[test]
fn bits_do_not_depend_on_groups() {
    let directory = Directory::new("groups");
    let program = heads();
    let mut client = Client::<u32>::new(Preset::Toy10);
    let params = client.ring.params().clone();
    let one = compile(&program, &params, &Options::default()).unwrap();
    let keys = client.keys(&one.manifest).to_bytes();
    let inputs = client.inputs(&program, &one.manifest);
    let inputs: Vec<Vec<u8>> = inputs.iter().map(Ciphertext::to_bytes).collect();
    let builder = Session::builder().backend(BackendKind::Cpu).threads(2).poison(true);
    let session = builder.spill_directory(directory.path()).build().unwrap();
    let run = |compiled: scheduler::Compiled| {
        let mut loaded = session.load(compiled, &params).unwrap();
        loaded.load_keys(&keys).unwrap();
        let manifest = loaded.manifest().clone();
        let first = loaded.run(&named(&manifest, &inputs)).unwrap();
        assert!(loaded.run(&named(&manifest, &inputs)).unwrap() == first);
        let (report, plan) = (loaded.memory_report(), loaded.plan());
        for tier in Tier::ALL {
            assert_eq!(report.of_tier(tier), (plan.peak_bytes(tier), plan.peak_bytes(tier)));
        }
        first
    };
    let expected = run(one.clone());
    let half = one.plan.least_device_bytes().max(one.plan.peak_bytes(Tier::Device) / 6);
    for memory in [MemoryLimits::default(), MemoryLimits { device: Some(half), host: Some(half) }] {
        for n in [1u32, 2, 3, 4, 8] {
            for groups in (1..=n).filter(|g| n % g == 0).map(Some).chain([None]) {
                let topology = Topology::new(n).unwrap();
                let options = Options { topology, groups, memory, ..Options::default() };
                let many = refit(&one, &params, &options).unwrap();
                // An output comes from the devices of one group.
                let sharding = many.plan.sharding();
                for kind in many.plan.buffers.iter().map(|b| b.kind) {
                    let of_kind = many.plan.buffers.iter().filter(|b| b.kind == kind);
                    let groups: BTreeSet<u32> = of_kind.map(|b| sharding.group(b.device)).collect();
                    assert!(!matches!(kind, BufferKind::Output(_)) || groups.len() == 1);
                }
                assert!(run(many) == expected, "{n} devices, groups {groups:?}, {memory:?}");
            }
        }
    }
    assert!(directory.is_empty());
}

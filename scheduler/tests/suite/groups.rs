//! Independent parts of a program on groups of devices: the bits, who has what, and which number of groups is chosen.

use std::collections::BTreeSet;

use crate::common::{Client, messages, random_order, random_program, random_steps};
use fhe_core::params::{Level, Preset};
use proptest::prelude::*;
use scheduler::compile::{MemoryLimits, refit};
use scheduler::dsl::{self, Program};
use scheduler::interp::{self, Env};
use scheduler::plan::{self, BufferKind, CopyKind, DeviceIdx, Plan, PlanStep, Tier};
use scheduler::poly_ir::{Function, Op, Output};
use scheduler::{Compiled, Error, Link, Options, Topology, compile};

mod helpers {
    use super::*;

    /// Heads that share keys and a constant and never meet; the first does most.
    pub(crate) fn heads(n: usize) -> Program {
        dsl::build("heads", |g| {
            // Of no period, so that it has a row for each limb; what is not multiplied by it would be by a scalar, in less than a row a limb.
            let weights: Vec<f64> = (0..512).map(|i| f64::from(i * i % 509) / 509.0).collect();
            let weights = g.plain("weights", &weights)?;
            for i in 0..n {
                let x = g.input(&format!("x{i}"), 8)?;
                let h = x.rotate(1) * weights + x.rotate(2) * weights;
                let h = if i == 0 { h.square() + x.conjugate() } else { h };
                g.output(&format!("y{i}"), h, 8)?;
            }
            Ok(())
        })
        .unwrap()
    }

    pub(crate) fn on(n_devices: u32, groups: Option<u32>) -> Options {
        Options { topology: Topology::new(n_devices).unwrap(), groups, ..Options::default() }
    }

    pub(crate) fn divisors(n: u32) -> impl Iterator<Item = u32> {
        (1..=n).filter(move |g| n.is_multiple_of(*g))
    }

    /// Parts by the definition: two values are of one part if one reads the other, and neither is what any group may have; if they are of one
    /// output; if they embed the same slots. The smallest number of its part goes to each value until nothing changes.
    pub(crate) fn n_parts(function: &Function) -> usize {
        let n = function.values.len();
        let mut shared = vec![false; n];
        for (i, value) in function.values.iter().enumerate() {
            shared[i] = match &value.op {
                Op::Input { .. } | Op::Key { .. } | Op::Constant(_) => true,
                Op::Slice(a) => shared[a.0 as usize],
                Op::Concat(parts) => parts.iter().all(|a| shared[a.0 as usize]),
                _ => false,
            };
        }
        let mut pairs = Vec::new();
        for (i, value) in function.values.iter().enumerate() {
            pairs.extend(value.op.operands().map(|a| (i, a.0 as usize)));
            let same = |other: &Op| matches!((other, &value.op), (Op::EmbedInverse(a), Op::EmbedInverse(b)) if a == b);
            pairs.extend((0..i).filter(|&j| same(&function.values[j].op)).map(|j| (i, j)));
        }
        for a in &function.outputs {
            let of = |b: &&Output| b.output == a.output;
            pairs
                .extend(function.outputs.iter().filter(of).map(|b| (a.value.0 as usize, b.value.0 as usize)));
        }
        pairs.retain(|&(a, b)| !shared[a] && !shared[b]);
        let mut part: Vec<usize> = (0..n).collect();
        loop {
            let before = part.clone();
            for &(a, b) in &pairs {
                let least = part[a].min(part[b]);
                (part[a], part[b]) = (least, least);
            }
            if part == before {
                break;
            }
        }
        (0..n).filter(|&i| !shared[i]).map(|i| part[i]).collect::<BTreeSet<_>>().len()
    }

    /// Rows of what the host writes.
    pub(crate) fn object_bytes(plan: &Plan) -> u64 {
        let is_object =
            |kind| matches!(kind, BufferKind::Input(_) | BufferKind::Key(_) | BufferKind::Constant(_));
        let rows = plan.buffers.iter().filter(|b| is_object(b.kind)).map(|b| u64::from(b.rows));
        rows.sum::<u64>() * plan.row_bytes() as u64
    }

    /// Devices of one group alone exchange rows, and compute the rows of their limbs.
    pub(crate) fn stays_in_groups(plan: &Plan) {
        let sharding = plan.sharding();
        for step in &plan.schedule {
            let PlanStep::Copy(copies) = step else { continue };
            for copy in copies.iter().filter(|copy| plan.copy_kind(copy) == Some(CopyKind::Exchange)) {
                let [from, to] = [copy.from, copy.to].map(|place| DeviceIdx(place.buffer.0));
                assert_eq!(sharding.group(from), sharding.group(to), "{copy}");
            }
        }
        for segment in &plan.segments {
            for plan::Step::Launch { launch, .. } in &segment.steps {
                for (_, prime) in plan.items(launch).unwrap().iter().flat_map(plan::Item::writes) {
                    let own = prime % sharding.in_group() == segment.device.0 % sharding.in_group();
                    assert!(own || prime == u32::MAX, "prime {prime} on device {}", segment.device.0);
                }
            }
        }
    }
}

use helpers::{divisors, heads, n_parts, object_bytes, on, stays_in_groups};

#[test]
fn bits_do_not_depend_on_groups() {
    for encode_on_device in [false, true] {
        let program = heads(3);
        let mut client = Client::<u32>::new(Preset::Toy10);
        let params = client.params().clone();
        let one = compile(&program, &params, &Options { encode_on_device, ..Options::default() }).unwrap();
        let keys = client.keys(&one);
        let inputs = client.encrypt(&one, &messages(&program));
        let env =
            Env { ring: &client.ring, keys: &keys, constants: &one.manifest.constants, inputs: &inputs };
        let levels: Vec<Level> = one.manifest.outputs.iter().map(|o| o.level).collect();
        let expected = interp::plan::run(&one.plan, &env, &levels).unwrap();
        for n in [1, 2, 3, 4, 8] {
            for groups in divisors(n).map(Some).chain([None]) {
                let many = refit(&one, &params, &Options { encode_on_device, ..on(n, groups) }).unwrap();
                assert_eq!((&many.poly, &many.manifest), (&one.poly, &one.manifest));
                assert_eq!(many.plan.n_groups, groups.unwrap_or(many.grouping.n_groups));
                assert_eq!(plan::text::parse(&many.plan.to_string()).unwrap(), many.plan);
                stays_in_groups(&many.plan);
                for plan in [many.plan.clone(), random_order(&many.plan, u64::from(n))] {
                    let found = interp::plan::run(&plan, &env, &levels).unwrap();
                    for (found, expected) in found.iter().zip(&expected) {
                        assert!(found.polys() == expected.polys(), "{n} devices, {groups:?}");
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_in_groups(steps in random_steps(), percent in 0u64..=120, encode_on_device in any::<bool>()) {
        let program = random_program(&steps, 4);
        let mut client = Client::<u32>::new(Preset::Toy10);
        let params = client.params().clone();
        let one = compile(&program, &params, &Options { encode_on_device, ..Options::default() }).unwrap();
        prop_assert_eq!(one.grouping.n_parts, n_parts(&one.poly));
        let keys = client.keys(&one);
        let inputs = client.encrypt(&one, &messages(&program));
        let env = Env { ring: &client.ring, keys: &keys, constants: &one.manifest.constants, inputs: &inputs };
        let levels: Vec<Level> = one.manifest.outputs.iter().map(|o| o.level).collect();
        let expected = interp::plan::run(&one.plan, &env, &levels).unwrap();
        let (least, most) = (one.plan.least_device_bytes(), one.plan.peak_bytes(Tier::Device));
        let memory = MemoryLimits { device: Some(least + (most - least) * percent / 100), host: None };
        for (n, groups) in [(2, 2), (4, 2), (3, 3)] {
            let options = Options { memory, encode_on_device, ..on(n, Some(groups)) };
            let many = refit(&one, &params, &options).unwrap();
            plan::refine::refines(&many.plan, &many.poly, &params).unwrap();
            let found = interp::plan::run(&many.plan, &env, &levels).unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                prop_assert!(found.polys() == expected.polys());
            }
        }
    }
}

#[test]
fn groups_do_not_exchange_and_have_keys_of_their_own() {
    let params = Preset::Toy10.params().unwrap();
    let one = compile(&heads(4), &params, &Options::default()).unwrap();
    assert_eq!(one.grouping.n_parts, 4);
    let with = |groups| refit(&one, &params, &on(4, Some(groups))).unwrap();
    let exchanged: Vec<u64> = [1, 2, 4].map(|g| with(g).plan.copied_bytes().exchanged).to_vec();
    assert!(exchanged[0] > exchanged[1] && exchanged[1] > 0 && exchanged[2] == 0, "{exchanged:?}");
    let whole = object_bytes(&with(1).plan);
    assert_eq!(whole, object_bytes(&one.plan));
    for groups in [1, 2, 4] {
        let Compiled { plan, grouping, .. } = with(groups);
        let [candidate] = grouping.candidates[..] else { panic!("{grouping}") };
        assert_eq!(candidate.replicated, object_bytes(&plan) - whole);
        assert!(groups == 1 || candidate.replicated > 0);
        // Every group has an output, since there are as many parts; the large one is alone.
        let sharding = plan.sharding();
        let of = |b: &plan::Buffer| matches!(b.kind, BufferKind::Output(_)).then(|| sharding.group(b.device));
        assert_eq!(plan.buffers.iter().filter_map(of).collect::<BTreeSet<_>>().len(), groups as usize);
    }
}

#[test]
fn the_least_predicted_time_is_chosen_and_told() {
    let params = Preset::Toy10.params().unwrap();
    let many = compile(&heads(4), &params, &on(4, None)).unwrap();
    let Compiled { grouping, plan, .. } = &many;
    assert_eq!(grouping.candidates.iter().map(|c| c.n_groups).collect::<Vec<_>>(), [1, 2, 4]);
    let least = grouping.candidates.iter().min_by_key(|c| c.nanoseconds).unwrap();
    // In a toy ring a link's latency is all.
    assert_eq!((least.n_groups, grouping.n_groups, plan.n_groups), (4, 4, 4));
    let text = grouping.to_string();
    assert!(
        text.contains("4 devices, 4 independent parts") && text.contains("the least predicted time"),
        "{text}"
    );
    // Without a link to wait for, limbs keep all devices busy where parts are of different sizes.
    let fast = Link { gigabytes_per_second: 1_000_000, latency_nanoseconds: 0 };
    let params = Preset::N14.params().unwrap();
    let lopsided = dsl::build("lopsided", |g| {
        let (x, y) = (g.input("x", 8)?, g.input("y", 8)?);
        g.output("large", (1..8).fold(x.square(), |sum, k| sum + x.rotate(k) * x), 8)?;
        g.output("small", y + y, 8)
    });
    let options =
        |link| Options { topology: Topology::new(2).unwrap().with_link(link), ..Options::default() };
    let groups = |link| compile(&lopsided.clone().unwrap(), &params, &options(link)).unwrap().grouping;
    let slow = Link { gigabytes_per_second: 1, latency_nanoseconds: 100_000 };
    assert_eq!((groups(fast).n_groups, groups(slow).n_groups), (1, 2));
    // One part is not divided.
    let single = dsl::build("single", |g| {
        let x = g.input("x", 8)?;
        g.output("y", x.rotate(1) + x, 8)
    });
    let single = compile(&single.unwrap(), &params, &options(slow)).unwrap().grouping;
    assert_eq!((single.n_parts, single.candidates.len(), single.n_groups), (1, 1, 1));
}

#[test]
fn numbers_of_groups_that_are_refused() {
    let params = Preset::Toy10.params().unwrap();
    for found in [0, 3, 8] {
        let error = compile(&heads(2), &params, &on(4, Some(found))).unwrap_err();
        assert!(matches!(error, Error::Groups { found: f, n_devices: 4 } if f == found), "{error}");
    }
    // More groups than parts leave devices idle.
    let idle = compile(&heads(2), &params, &on(4, Some(4))).unwrap();
    assert!(idle.grouping.asked && idle.grouping.to_string().contains("as asked for"));
    let good = compile(&heads(2), &params, &on(4, Some(2))).unwrap().plan;
    plan::verify::verify(&good, "test").unwrap();
    let refused = |broken: &Plan| match plan::verify::verify(broken, "test") {
        Err(Error::Verify { rule, .. }) => rule,
        other => panic!("{other:?}"),
    };
    for n_groups in [0, 3, 5] {
        assert_eq!(refused(&Plan { n_groups, ..good.clone() }), "device");
    }
    // Two groups of limbs have other rows than four groups: found by who reads what.
    let other = Plan { n_groups: 4, ..good.clone() };
    let poly = compile(&heads(2), &params, &Options::default()).unwrap().poly;
    let checked =
        plan::verify::verify(&other, "test").and_then(|()| plan::refine::refines(&other, &poly, &params));
    assert!(checked.is_err());
}

//! Streams and events: what the verifier says of schedules is true, and copies stand beside launches.

use std::collections::BTreeSet;

use crate::common::{Client, devices, messages, random_order, random_program, random_steps};
use fhe_core::ckks::Ciphertext;
use fhe_core::params::{Level, Preset};
use proptest::prelude::*;
use scheduler::compile::{MemoryLimits, refit};
use scheduler::dsl::{self, Program};
use scheduler::interp::{self, Env};
use scheduler::plan::{self, BufferId, CopiedBytes, CopyKind, EventId, Plan, PlanStep, Step, StreamId, Tier};
use scheduler::{Compiled, Error, Options, Topology, compile};

mod helpers {
    use super::*;

    /// Matrices whose plaintexts and keys do not fit, and a product.
    pub(crate) fn layers() -> Program {
        let matrix: Vec<f64> = (0..256).map(|i| f64::from(i % 7) / 7.0 - 0.4).collect();
        dsl::build("layers", |g| {
            let x = g.input("x", 16)?;
            let h = dsl::linear::matvec(x, "m1", &matrix, 16, 16)?.square();
            g.output("y", dsl::linear::matvec(h, "m2", &matrix, 16, 16)?, 16)
        })
        .unwrap()
    }

    /// In some share of the memory that all of it takes, on some devices.
    pub(crate) fn options(free: &Compiled, n_devices: u32, percent: u64, prefetch_bytes: u64) -> Options {
        let least = free.plan.least_device_bytes();
        let most = free.plan.peak_bytes(Tier::Device) / u64::from(n_devices);
        let device = least + most.saturating_sub(least) * percent / 100;
        Options {
            topology: Topology::new(n_devices).unwrap(),
            memory: MemoryLimits { device: Some(device), host: None },
            prefetch_bytes,
            ..Options::default()
        }
    }

    /// Rows that a step reads and writes.
    fn rows(plan: &Plan, step: &PlanStep) -> [BTreeSet<(BufferId, u32)>; 2] {
        let mut rows = [BTreeSet::new(), BTreeSet::new()];
        match step {
            PlanStep::Call { segment, bindings } => {
                for Step::Launch { launch, .. } in &plan.segment(*segment).unwrap().steps {
                    for item in plan.items(launch).unwrap() {
                        let place = |slot: u32| bindings[slot as usize];
                        rows[0].extend(
                            item.reads(launch.kernel).iter().map(|read| (place(read.row.slot), read.row.row)),
                        );
                        rows[1].extend(item.writes().iter().map(|(r, _)| (place(r.slot), r.row)));
                    }
                }
            }
            PlanStep::Copy(copies) => {
                for copy in copies {
                    // A spill leaves nothing.
                    let from = usize::from(plan.copy_kind(copy) == Some(CopyKind::Spill));
                    rows[from].extend((0..copy.rows).map(|at| (copy.from.buffer, copy.from.row + at)));
                    rows[1].extend((0..copy.rows).map(|at| (copy.to.buffer, copy.to.row + at)));
                }
            }
            _ => {}
        }
        rows
    }

    /// By step the steps before it: the definition, closed transitively, without clocks.
    pub(crate) fn before(plan: &Plan) -> Vec<BTreeSet<usize>> {
        let steps = &plan.schedule;
        let mut before: Vec<BTreeSet<usize>> = Vec::new();
        for (i, step) in steps.iter().enumerate() {
            let own = plan.stream(step);
            let follows = |&j: &usize| {
                let other = plan.stream(&steps[j]);
                let waits = match (&steps[j], step) {
                    (PlanStep::Record { event: a, .. }, PlanStep::Wait { event: b, .. }) => a == b,
                    _ => false,
                };
                own.is_none() || other.is_none() || own == other || waits
            };
            let direct: Vec<usize> = (0..i).filter(follows).collect();
            let mut all: BTreeSet<usize> = direct.iter().copied().collect();
            direct.iter().for_each(|&j| all.extend(&before[j]));
            before.push(all);
        }
        before
    }

    /// Whether two steps that are not ordered touch a row and one of them writes it.
    pub(crate) fn has_race(plan: &Plan) -> bool {
        let before = before(plan);
        let rows: Vec<_> = plan.schedule.iter().map(|step| rows(plan, step)).collect();
        let meet = |i: usize, j: usize| {
            let ([ri, wi], [rj, wj]) = (&rows[i], &rows[j]);
            !wi.is_disjoint(wj) || !wi.is_disjoint(rj) || !ri.is_disjoint(wj)
        };
        (0..rows.len()).any(|i| (0..i).any(|j| !before[i].contains(&j) && meet(i, j)))
    }

    /// Bytes of copies that are not ordered with a call of the device at which they arrive.
    pub(crate) fn overlapped(plan: &Plan) -> u64 {
        let before = before(plan);
        let stream = |i: usize| plan.stream(&plan.schedule[i]);
        let mut bytes = 0;
        for (i, step) in plan.schedule.iter().enumerate() {
            let PlanStep::Copy(copies) = step else { continue };
            let beside = |j: usize| {
                let is_call = matches!(plan.schedule[j], PlanStep::Call { .. });
                let here = stream(i).map(|s| s.device) == stream(j).map(|s| s.device);
                is_call && here && !before[i].contains(&j) && !before[j].contains(&i)
            };
            if (0..plan.schedule.len()).any(beside) {
                bytes += copies.iter().map(|copy| u64::from(copy.rows)).sum::<u64>();
            }
        }
        bytes * plan.row_bytes() as u64
    }

    pub(crate) fn sum(bytes: CopiedBytes) -> u64 {
        bytes.fetched + bytes.spilled + bytes.exchanged
    }

    /// The outputs, or what is wrong with a schedule in this order.
    pub(crate) fn run(
        plan: &Plan,
        env: &Env<'_, u32>,
        levels: &[Level],
    ) -> Result<Vec<Ciphertext<u32>>, Error> {
        // A residue of another prime is more than the interpreter bears.
        let run = std::panic::AssertUnwindSafe(|| interp::plan::run(plan, env, levels));
        let stopped = |_| Err(Error::Interp("a word that is no residue".to_owned()));
        std::panic::catch_unwind(run).unwrap_or_else(stopped)
    }
}

use helpers::{has_race, layers, options, overlapped, run, sum};

#[test]
fn copies_stand_beside_launches() {
    let params = Preset::Toy10.params().unwrap();
    let free = compile(&layers(), &params, &Options::default()).unwrap();
    for percent in [30, 50, 80] {
        let plan = refit(&free, &params, &options(&free, 1, percent, 1 << 20)).unwrap().plan;
        let (copied, beside) = (sum(plan.copied_bytes()), sum(plan.overlapped_bytes()));
        println!("{percent} %: {beside} of {copied} bytes beside launches");
        assert!(beside * 2 > copied && beside < copied, "{percent} %: {beside} of {copied}");
    }
    // What fits needs no events, and copies nothing.
    assert!(!free.plan.to_string().contains("wait "));
    assert_eq!(free.plan.overlapped_bytes(), CopiedBytes::default());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    /// The bits in any order that streams and events allow; and the verifier agrees with the definition, about bytes too.
    #[test]
    fn any_order_gives_the_same_bits(
        steps in random_steps(),
        n in devices(),
        percent in 0u64..=100,
        prefetch in 0u64..24,
        seed in any::<u64>(),
    ) {
        let program = random_program(&steps, 4);
        let mut client = Client::<u32>::new(Preset::Toy10);
        let params = client.params().clone();
        let free = compile(&program, &params, &Options::default()).unwrap();
        let with = Options { segment_launches: 8, ..options(&free, n, percent, prefetch << 14) };
        let plan = refit(&free, &params, &with).unwrap().plan;
        prop_assert_eq!(&plan::text::parse(&plan.to_string()).unwrap(), &plan);
        prop_assert_eq!(sum(plan.overlapped_bytes()), overlapped(&plan));
        let keys = client.keys(&free);
        let inputs = client.encrypt(&free, &messages(&program));
        let env = Env { ring: &client.ring, keys: &keys, constants: &free.manifest.constants, inputs: &inputs };
        let levels: Vec<Level> = free.manifest.outputs.iter().map(|o| o.level).collect();
        let expected = run(&free.plan, &env, &levels).unwrap();
        for i in 0..3 {
            let other = random_order(&plan, seed.wrapping_add(i));
            prop_assert_eq!(other.schedule.len(), plan.schedule.len());
            // An order that is allowed is a plan.
            plan::verify::verify(&other, "test").unwrap();
            let found = run(&other, &env, &levels).unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                prop_assert!(found.polys() == expected.polys());
            }
        }
    }
}

/// Without any one wait a plan has a race by the definition and by the verifier, or, where the wait follows from others, by neither. Of
/// those with a race most show it: some order gives other bits, or reads what is not there.
#[test]
fn no_wait_can_be_left_out() {
    let mut client = Client::<u32>::new(Preset::Toy10);
    let params = client.params().clone();
    let free = compile(&layers(), &params, &Options::default()).unwrap();
    let keys = client.keys(&free);
    let inputs = client.encrypt(&free, &messages(&layers()));
    let env = Env { ring: &client.ring, keys: &keys, constants: &free.manifest.constants, inputs: &inputs };
    let levels: Vec<Level> = free.manifest.outputs.iter().map(|o| o.level).collect();
    let expected = run(&free.plan, &env, &levels).unwrap();
    for (n, percent) in [(1, 50), (3, 100), (2, 50)] {
        let plan = refit(&free, &params, &options(&free, n, percent, 1 << 18)).unwrap().plan;
        assert!(!has_race(&plan));
        let waits =
            plan.schedule.iter().enumerate().filter(|(_, step)| matches!(step, PlanStep::Wait { .. }));
        let waits: Vec<usize> = waits.map(|(i, _)| i).collect();
        let (mut n_races, mut n_seen) = (0, 0);
        for &at in waits.iter().step_by(waits.len().div_ceil(24)) {
            let mut broken = plan.clone();
            broken.schedule.remove(at);
            let race = has_race(&broken);
            match plan::verify::verify(&broken, "test") {
                Ok(()) => assert!(!race, "without step {at}"),
                Err(Error::Verify { rule, problem, .. }) => {
                    assert!(race && rule == "race", "{rule}: {problem}");
                }
                Err(other) => panic!("{other}"),
            }
            let shows = |seed| match run(&random_order(&broken, seed), &env, &levels) {
                Ok(found) => found.iter().zip(&expected).any(|(a, b)| a.polys() != b.polys()),
                Err(_) => true,
            };
            n_races += usize::from(race);
            n_seen += usize::from(race && (0..6).any(shows));
        }
        println!("{n} devices, {percent} %: {} waits, {n_races} races tried, {n_seen} seen", waits.len());
        assert!(n_races > 5 && 2 * n_seen > n_races, "{n_races} races, {n_seen} seen");
    }
}

/// How a test breaks a plan.
type Break = fn(&mut Plan);

#[test]
fn events_that_are_wrong_are_refused() {
    let params = Preset::Toy10.params().unwrap();
    let free = compile(&layers(), &params, &Options::default()).unwrap();
    let good = refit(&free, &params, &options(&free, 2, 60, 1 << 18)).unwrap().plan;
    fn position(p: &Plan, is: fn(&PlanStep) -> bool) -> usize {
        p.schedule.iter().position(is).unwrap()
    }
    fn record(p: &Plan) -> usize {
        position(p, |step| matches!(step, PlanStep::Record { .. }))
    }
    fn wait(p: &Plan) -> usize {
        position(p, |step| matches!(step, PlanStep::Wait { .. }))
    }
    let cases: [(Break, &str); 6] = [
        (|p| drop(p.schedule.remove(record(p))), "event"),
        (
            |p| {
                let at = record(p);
                p.schedule.insert(at, p.schedule[at].clone());
            },
            "event",
        ),
        // Before it is recorded.
        (
            |p| {
                let step = p.schedule.remove(wait(p));
                p.schedule.insert(0, step);
            },
            "event",
        ),
        (
            |p| {
                let at = wait(p);
                if let PlanStep::Wait { event, .. } = &mut p.schedule[at] {
                    *event = EventId(9999);
                }
            },
            "event",
        ),
        (
            |p| {
                let at = wait(p);
                if let PlanStep::Wait { stream, .. } = &mut p.schedule[at] {
                    *stream = StreamId { device: plan::DeviceIdx(7), ..*stream };
                }
            },
            "event",
        ),
        // Copies to two devices in one step.
        (
            |p| {
                let is_copy = |step: &PlanStep| matches!(step, PlanStep::Copy(_));
                let of = |p: &Plan, i: usize| p.stream(&p.schedule[i]).unwrap().device;
                let copies: Vec<usize> = (0..p.schedule.len()).filter(|&i| is_copy(&p.schedule[i])).collect();
                let other = *copies.iter().find(|&&i| of(p, i) != of(p, copies[0])).unwrap();
                let PlanStep::Copy(more) = p.schedule[copies[0]].clone() else { unreachable!() };
                if let PlanStep::Copy(list) = &mut p.schedule[other] {
                    list.splice(0..0, more);
                }
                p.schedule.remove(copies[0]);
            },
            "event",
        ),
    ];
    for (i, (break_it, rule)) in cases.into_iter().enumerate() {
        let mut broken = good.clone();
        break_it(&mut broken);
        match plan::verify::verify(&broken, "test") {
            Err(Error::Verify { rule: found, .. }) => assert_eq!(found, rule, "case {i}"),
            other => panic!("case {i}: {other:?}"),
        }
    }
    let text = good.to_string();
    for (from, to, word) in [
        (" launches device", " lunches device", "`launches` or `copies`"),
        ("  wait ", "  wait for ", "a number"),
        (" copies device 0", " copies 0", "`device`"),
    ] {
        match plan::text::parse(&text.replacen(from, to, 1)) {
            Err(Error::Parse { problem, .. }) => assert!(problem.contains(word), "{problem}"),
            other => panic!("{from}: {:?}", other.is_ok()),
        }
    }
}

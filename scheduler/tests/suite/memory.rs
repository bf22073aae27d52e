//! Programs in less memory than they would like: the same bits, within the limits, by plans that the verifier checks.

use crate::common::{Client, messages, random_program, random_steps};
use fhe_core::math::word::Word;
use fhe_core::params::{Level, Preset};
use proptest::prelude::*;
use scheduler::compile::{MemoryLimits, refit};
use scheduler::dsl::{self, Program};
use scheduler::interp::{self, Env};
use scheduler::plan::{self, BufferId, BufferKind, Plan, PlanStep, RowCopy, Tier};
use scheduler::{Compiled, Error, Options, compile};

mod helpers {
    use super::*;

    pub(crate) fn options(device: u64, host: Option<u64>) -> Options {
        Options { memory: MemoryLimits { device: Some(device), host }, ..Options::default() }
    }

    /// Two layers with rotations, products and a sum: keys, constants, and many values at once.
    pub(crate) fn layers(period: usize) -> Program {
        let matrix: Vec<f64> = (0..period * period).map(|i| (i % 7) as f64 / 7.0 - 0.4).collect();
        dsl::build("layers", |g| {
            let (x, y) = (g.input("x", period)?, g.input("y", period)?);
            let h = dsl::linear::matvec(x, "m1", &matrix, period, period)?.square();
            let z = dsl::linear::matvec(h, "m2", &matrix, period, period)?;
            g.output("z", z + y.rotate(1) * 0.5, period)?;
            g.output("sum", (x * y).sum_strided(period, 1) + x, period)
        })
        .unwrap()
    }

    /// Device limits from the smallest possible to one row short of all.
    pub(crate) fn device_limits(compiled: &Compiled, n: u64) -> Vec<u64> {
        let (least, most) = (compiled.plan.least_device_bytes(), compiled.plan.peak_bytes(Tier::Device) - 1);
        (0..n).map(|i| least + (most - least) * i / (n - 1)).collect()
    }

    pub(crate) fn check_limits(plan: &Plan, limits: &MemoryLimits) {
        assert!(plan.peak_bytes(Tier::Device) <= limits.device.unwrap_or(u64::MAX));
        assert!(plan.peak_bytes(Tier::Host) <= limits.host.unwrap_or(u64::MAX));
    }

    /// Runs a program in each of some memories: always the bits of the plan without limits.
    pub(crate) fn agrees<W: Word>(program: &Program, preset: Preset, n_device: u64) {
        let mut client = Client::<W>::new(preset);
        let params = client.params().clone();
        let free = compile(program, &params, &Options::default()).unwrap();
        let keys = client.keys(&free);
        let inputs = client.encrypt(&free, &messages(program));
        let env =
            Env { ring: &client.ring, keys: &keys, constants: &free.manifest.constants, inputs: &inputs };
        let levels: Vec<Level> = free.manifest.outputs.iter().map(|o| o.level).collect();
        let expected = interp::plan::run(&free.plan, &env, &levels).unwrap();
        let whole = free.plan.peak_bytes(Tier::Device);
        for device in device_limits(&free, n_device) {
            for host in [None, Some(whole / 5), Some(0)] {
                let options = options(device, host);
                let fitted = refit(&free, &params, &options).unwrap();
                check_limits(&fitted.plan, &options.memory);
                if host.is_none() {
                    assert_eq!(fitted.plan.peak_bytes(Tier::File), 0);
                }
                assert_eq!((fitted.placed, fitted.manifest), (free.placed.clone(), free.manifest.clone()));
                let found = interp::plan::run(&fitted.plan, &env, &levels).unwrap();
                for (found, expected) in found.iter().zip(&expected) {
                    assert!(found.polys() == expected.polys(), "{device} bytes, host {host:?}");
                }
            }
        }
    }

    pub(crate) fn spilling() -> Compiled {
        let params = Preset::Toy10.params().unwrap();
        let free = compile(&layers(8), &params, &Options::default()).unwrap();
        let device = free.plan.least_device_bytes() * 3;
        let host = free.plan.peak_bytes(Tier::Device) / 4;
        refit(&free, &params, &options(device, Some(host))).unwrap()
    }

    pub(crate) fn copies(plan: &mut Plan) -> impl Iterator<Item = &mut RowCopy> {
        let steps = plan.schedule.iter_mut();
        steps.flat_map(|step| match step {
            PlanStep::Copy(copies) => copies.iter_mut(),
            _ => [].iter_mut(),
        })
    }

    pub(crate) fn first(plan: &mut Plan, is_fetch: bool) -> &mut RowCopy {
        copies(plan).find(|copy| (copy.to.buffer == BufferId(0)) == is_fetch).unwrap()
    }

    pub(crate) fn spill_buffer(plan: &mut Plan) -> &mut plan::Buffer {
        plan.buffers.iter_mut().find(|b| b.kind == BufferKind::Spill).unwrap()
    }
}

use helpers::{agrees, check_limits, device_limits, first, layers, options, spill_buffer, spilling};

#[test]
fn bits_do_not_depend_on_memory() {
    agrees::<u32>(&layers(16), Preset::Toy10, 6);
    agrees::<u64>(&layers(8), Preset::Toy10w, 4);
}

#[test]
fn bits_do_not_depend_on_memory_in_larger_rings() {
    agrees::<u32>(&layers(8), Preset::Toy12, 3);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_in_random_memory(
        steps in random_steps(),
        parts in (0u64..=100, 0u64..=100),
        batch_rows in 1u32..400,
    ) {
        let program = random_program(&steps, 4);
        let mut client = Client::<u32>::new(Preset::Toy10);
        let params = client.params().clone();
        let base = Options { batch_rows, ..Options::default() };
        let free = compile(&program, &params, &base).unwrap();
        let (least, most) = (free.plan.least_device_bytes(), free.plan.peak_bytes(Tier::Device));
        let memory = MemoryLimits {
            device: Some(least + (most - least) * parts.0 / 100),
            host: Some(most * parts.1 / 100),
        };
        let options = Options { memory, ..base };
        let fitted = compile(&program, &params, &options).unwrap();
        check_limits(&fitted.plan, &memory);
        plan::verify::verify(&fitted.plan, "test").unwrap();
        plan::refine::refines(&fitted.plan, &fitted.poly, &params).unwrap();
        prop_assert_eq!(&compile(&program, &params, &options).unwrap(), &fitted);
        prop_assert_eq!(&plan::text::parse(&fitted.plan.to_string()).unwrap(), &fitted.plan);
        let keys = client.keys(&free);
        let inputs = client.encrypt(&free, &messages(&program));
        let env = Env { ring: &client.ring, keys: &keys, constants: &free.manifest.constants, inputs: &inputs };
        let levels: Vec<Level> = free.manifest.outputs.iter().map(|o| o.level).collect();
        let expected = interp::plan::run(&free.plan, &env, &levels).unwrap();
        let found = interp::plan::run(&fitted.plan, &env, &levels).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            prop_assert!(found.polys() == expected.polys());
        }
    }
}

#[test]
fn a_program_that_fits_is_planned_as_without_limits() {
    let params = Preset::Toy10.params().unwrap();
    let free = compile(&layers(16), &params, &Options::default()).unwrap();
    let whole = free.plan.peak_bytes(Tier::Device);
    assert_eq!(compile(&layers(16), &params, &options(whole, Some(0))).unwrap(), free);
    assert_eq!(refit(&free, &params, &options(whole, Some(0))).unwrap(), free);
    assert!(compile(&layers(16), &params, &options(whole - 1, None)).unwrap().plan != free.plan);
    assert_eq!(free.plan.copied_bytes(), plan::CopiedBytes::default());
}

#[test]
fn less_than_one_item_is_refused_with_what_it_needs() {
    let params = Preset::Toy10.params().unwrap();
    let free = compile(&layers(16), &params, &Options::default()).unwrap();
    let least = free.plan.least_device_bytes();
    let fitted = compile(&layers(16), &params, &options(least, None)).unwrap().plan;
    assert_eq!(fitted.peak_bytes(Tier::Device), least);
    assert_eq!(fitted.least_device_bytes(), least);
    for available in [least - 1, 0] {
        match compile(&layers(16), &params, &options(available, None)) {
            Err(Error::DeviceBudget { needed, available: found, .. }) => {
                assert_eq!((needed, found), (least, available));
            }
            other => panic!("{:?}", other.map(|c| c.plan.name)),
        }
    }
}

#[test]
fn less_memory_copies_more() {
    let params = Preset::Toy10.params().unwrap();
    let free = compile(&layers(16), &params, &Options::default()).unwrap();
    let copied = |device| {
        let bytes = refit(&free, &params, &options(device, None)).unwrap().plan.copied_bytes();
        bytes.fetched + bytes.spilled
    };
    let copied: Vec<u64> = device_limits(&free, 5).into_iter().map(copied).collect();
    assert!(copied.windows(2).all(|pair| pair[0] > pair[1]), "{copied:?}");
    // Just too little: what is needed once leaves, and comes in once.
    assert!(copied[4] < free.plan.peak_bytes(Tier::Device) / 4, "{copied:?}");
}

/// How a test breaks a plan.
type Break = fn(&mut Plan);

#[test]
fn the_verifier_refuses_copies_that_are_wrong() {
    let good = spilling().plan;
    plan::verify::verify(&good, "test").unwrap();
    let cases: [(Break, &str); 16] = [
        (|p| p.buffers[0].tier = Tier::Host, "tier"),
        (|p| spill_buffer(p).tier = Tier::Device, "tier"),
        (
            |p| {
                let spill = spill_buffer(p).clone();
                p.buffers.push(spill);
            },
            "tier",
        ),
        // A launch on a buffer that left the device.
        (
            |p| {
                let absent = p.buffers.iter().position(|b| b.tier != Tier::Device).unwrap();
                let segment = p.segments.iter_mut().find(|s| s.slots.len() == 1).unwrap();
                let slot = plan::SlotUse { rows: 1, access: plan::Access::Read };
                segment.slots.push(slot);
                let name = segment.name.clone();
                let id = p.segments.iter().position(|s| s.name == name).unwrap() as u32;
                for step in &mut p.schedule {
                    if let PlanStep::Call { segment, bindings } = step
                        && segment.0 == id
                    {
                        bindings.push(BufferId(absent as u32));
                    }
                }
            },
            "tier",
        ),
        (|p| first(p, true).rows = 0, "tier"),
        (|p| first(p, true).rows = u32::MAX, "tier"),
        (|p| first(p, true).from.buffer = BufferId(99), "tier"),
        (|p| first(p, true).from.buffer = BufferId(0), "tier"),
        (|p| first(p, false).to.row = u32::MAX, "tier"),
        (|p| first(p, false).from.buffer = first(p, false).to.buffer, "tier"),
        // A spill into what only the host writes.
        (
            |p| {
                let of_host = |kind| matches!(kind, BufferKind::Key(_) | BufferKind::Input(_));
                let absent = |b: &plan::Buffer| of_host(b.kind) && b.tier != Tier::Device;
                let key = p.buffers.iter().position(absent).unwrap();
                let copy = first(p, false);
                (copy.to.buffer, copy.to.row, copy.rows) = (BufferId(key as u32), 0, 1);
            },
            "host",
        ),
        // What was spilled is spilled again.
        (
            |p| {
                let copy = *first(p, false);
                let step = p.schedule.iter_mut().find_map(|step| match step {
                    PlanStep::Copy(copies) if copies.contains(&copy) => Some(copies),
                    _ => None,
                });
                step.unwrap().insert(0, copy);
            },
            "written",
        ),
        (|p| p.peaks.iter_mut().find(|p| p.tier == Tier::Device).unwrap().bytes -= 1, "peak"),
        (|p| p.peaks.iter_mut().find(|p| p.tier == Tier::Host).unwrap().rows -= 1, "peak"),
        (|p| p.peaks.retain(|p| p.tier != Tier::File), "peak"),
        (|p| p.peaks.iter_mut().for_each(|p| p.tier = Tier::Device), "peak"),
    ];
    for (i, (break_it, rule)) in cases.into_iter().enumerate() {
        let mut broken = good.clone();
        break_it(&mut broken);
        match plan::verify::verify(&broken, "test") {
            Err(Error::Verify { rule: found, .. }) => assert_eq!(found, rule, "case {i}"),
            other => panic!("case {i}: {other:?}"),
        }
    }
}

/// Every copy, left out or turned to another row, is found: by the rules, or as another computation.
#[test]
fn no_copy_can_be_left_out_or_go_astray() {
    let params = Preset::Toy10.params().unwrap();
    let Compiled { plan: good, poly, .. } = spilling();
    plan::refine::refines(&good, &poly, &params).unwrap();
    let found = |broken: &Plan| {
        let checked = plan::verify::verify(broken, "test");
        checked.and_then(|()| plan::refine::refines(broken, &poly, &params))
    };
    let sites: Vec<(usize, usize)> = (good.schedule.iter().enumerate())
        .filter_map(|(at, step)| match step {
            PlanStep::Copy(copies) => Some((at, copies.len())),
            _ => None,
        })
        .flat_map(|(at, n)| (0..n).map(move |i| (at, i)))
        .collect();
    let spread = sites.len().div_ceil(150);
    let (mut n_removed, mut n_astray) = (0, 0);
    for &(at, i) in sites.iter().step_by(spread) {
        let mut broken = good.clone();
        let PlanStep::Copy(copies) = &mut broken.schedule[at] else { unreachable!("a site is a copy") };
        let removed = copies.remove(i);
        assert!(found(&broken).is_err(), "without {removed}");
        n_removed += 1;
        let PlanStep::Copy(copies) = &mut broken.schedule[at] else { unreachable!("a site is a copy") };
        let other = if removed.from.row == 0 { 1 } else { removed.from.row - 1 };
        let from = plan::Place { row: other, ..removed.from };
        copies.insert(i, RowCopy { from, ..removed });
        assert!(found(&broken).is_err(), "{removed} from row {other}");
        n_astray += 1;
    }
    assert!(n_removed > 50 && n_astray > 50, "{n_removed} {n_astray}");
}

#[test]
fn copies_that_do_not_parse_name_the_line() {
    let text = spilling().plan.to_string();
    for (from, to, word) in [
        ("tier host", "tier tape", "no tier `tape`"),
        ("  copy [", "  copy ", "["),
        (" to 0:", " into 0:", "`to`"),
        (" rows 1]", " rows one]", "a number"),
    ] {
        assert!(text.contains(from), "{from}");
        match plan::text::parse(&text.replacen(from, to, 1)) {
            Err(Error::Parse { problem, .. }) => assert!(problem.contains(word), "{problem}"),
            other => panic!("{from}: {:?}", other.is_ok()),
        }
    }
}

//! Plans over several devices: what is where, what is exchanged, what the verifier refuses.

use crate::common::{
    Client, check_everywhere, devices, many_special, messages, random_program, random_steps,
};
use fhe_core::math::word::Word;
use fhe_core::params::{Level, LimbIdx, Params, Preset};
use kernels_gpu::abi::{KernelId, RowRef};
use proptest::prelude::*;
use scheduler::compile::{MemoryLimits, refit};
use scheduler::dsl::{self, Program};
use scheduler::interp::{self, Env};
use scheduler::plan::{
    self, BufferId, BufferKind, CopiedBytes, DeviceIdx, HostStep, MAX_DEVICES, Place, Plan, PlanStep,
    PoolWriter, RowCopy, Step, Tier,
};
use scheduler::{Compiled, Error, Options, Topology, compile, lower, poly_ir};

mod helpers {
    use super::*;

    pub(crate) fn on(n_devices: u32) -> Options {
        Options { topology: Topology::new(n_devices).unwrap(), groups: Some(1), ..Options::default() }
    }

    pub(crate) fn rotations(steps: &[i64]) -> Program {
        let program = dsl::build("rotations", |g| {
            let x = g.input("x", 16)?;
            for k in steps {
                g.output(&format!("y{k}"), x.rotate(*k), 16)?;
            }
            Ok(())
        });
        program.unwrap()
    }

    /// Rotations, a product, a rescale; plaintexts of which the first, of 64 values, is dense in 512 slots, the second is stored once a run
    /// of equal values, and the third is an addend.
    pub(crate) fn mixed() -> Program {
        let program = dsl::build("mixed", |g| {
            let (x, y) = (g.input("x", 4)?, g.input("y", 4)?);
            let w: Vec<f64> = (0..64).map(|i| f64::from(i) / 32.0 - 1.0).collect();
            let (w, v, u) = (g.plain("w", &w)?, g.plain("v", &[0.25, 1.0])?, g.plain("u", &[0.5, 0.0])?);
            g.output("z", (x.rotate(1) * w + x.rotate(2) * v).square() - y + u, 64)
        });
        program.unwrap()
    }

    /// Rows of some limbs that a device does not own.
    fn missing(limbs: &[LimbIdx], device: u32, n: u32) -> u64 {
        limbs.iter().filter(|limb| limb.0 % n != device).count() as u64
    }

    /// What rotations of one ciphertext exchange: sources of conversions that the reader does not own, each once for each
    /// device that has targets. The digits are raised once, each rotation divides both halves by P.
    pub(crate) fn expected_rows(params: &Params, level: Level, n: u32, n_rotations: u64) -> u64 {
        let (basis, special) = (params.level(level).unwrap().basis.clone(), params.special());
        let digits: Vec<Vec<LimbIdx>> =
            params.digits_at(level).unwrap().into_iter().map(|(_, limbs)| limbs).collect();
        let reads = |targets: &[LimbIdx], device| targets.iter().any(|limb| limb.0 % n == device);
        let mut rows = 0;
        for device in 0..n {
            for digit in &digits {
                let all = basis.iter().chain(&special).copied();
                let targets: Vec<LimbIdx> = all.filter(|limb| !digit.contains(limb)).collect();
                if reads(&targets, device) {
                    rows += missing(digit, device, n);
                }
            }
            if reads(&basis, device) {
                rows += 2 * n_rotations * missing(&special, device, n);
            }
        }
        rows
    }

    pub(crate) fn copies(plan: &mut Plan) -> Vec<&mut RowCopy> {
        let steps = plan.schedule.iter_mut();
        let copies = steps.filter_map(|step| match step {
            PlanStep::Copy(copies) => Some(copies.iter_mut()),
            _ => None,
        });
        copies.flatten().collect()
    }

    /// The same plan with row `a` of a device's arena in the place of row `b`.
    pub(crate) fn join(good: &Plan, device: u32, a: u32, b: u32) -> Plan {
        let mut joined = good.clone();
        let mut pool = PoolWriter::new(&good.primes, good.word);
        for segment in &mut joined.segments {
            let own = segment.device.0 == device;
            for Step::Launch { launch, .. } in &mut segment.steps {
                let row = |row: RowRef| {
                    if own && row == (RowRef { slot: 0, row: b }) { RowRef { slot: 0, row: a } } else { row }
                };
                let items = good.items(launch).unwrap();
                let items: Vec<plan::Item> = items.into_iter().map(|item| item.map_rows(row)).collect();
                *launch = pool.launch(launch.kernel, &items).unwrap();
            }
        }
        joined.pool = pool.finish();
        for step in &mut joined.schedule {
            let PlanStep::Copy(copies) = step else { continue };
            let row = |place: Place, at: u32| {
                let row = place.row + at;
                Place { row: if (place.buffer.0, row) == (device, b) { a } else { row }, ..place }
            };
            let rows = copies.iter().flat_map(|copy| (0..copy.rows).map(move |at| (copy, at)));
            let copy = |(copy, at): (&RowCopy, u32)| RowCopy {
                from: row(copy.from, at),
                to: row(copy.to, at),
                rows: 1,
            };
            *copies = rows.map(copy).collect();
        }
        joined
    }

    pub(crate) fn call(plan: &mut Plan, device: u32) -> &mut Vec<BufferId> {
        let segments = &plan.segments;
        let calls = plan.schedule.iter_mut().filter_map(|step| match step {
            PlanStep::Call { segment, bindings } if segments[segment.0 as usize].device.0 == device => {
                Some(bindings)
            }
            _ => None,
        });
        calls.max_by_key(|bindings| bindings.len()).unwrap()
    }

    pub(crate) fn output(plan: &Plan, device: u32) -> BufferId {
        let mut ids = (0u32..).zip(&plan.buffers);
        let of = |b: &plan::Buffer| matches!(b.kind, BufferKind::Output(_)) && b.device.0 == device;
        ids.find(|(_, b)| of(b)).map(|(i, _)| BufferId(i)).unwrap()
    }

    /// Several devices in less memory than they would like: the bits, the limits, and plans that the verifier follows.
    pub(crate) fn agrees_in_any_memory<W: Word>(preset: Preset, n: u32, encode_on_device: bool) {
        let mut client = Client::<W>::new(preset);
        let params = client.params().clone();
        let program = mixed();
        let one = compile(&program, &params, &Options { encode_on_device, ..Options::default() }).unwrap();
        let keys = client.keys(&one);
        let inputs = client.encrypt(&one, &messages(&program));
        let env =
            Env { ring: &client.ring, keys: &keys, constants: &one.manifest.constants, inputs: &inputs };
        let levels: Vec<Level> = one.manifest.outputs.iter().map(|o| o.level).collect();
        let expected = interp::plan::run(&one.plan, &env, &levels).unwrap();
        let free = refit(&one, &params, &on(n)).unwrap();
        let (least, most) = (free.plan.least_device_bytes(), free.plan.device_peak_bytes());
        for i in 0..=5 {
            let device = Some(least + (most - least) * i / 5);
            for host in [None, Some(most / 2), Some(0)] {
                let memory = MemoryLimits { device, host };
                let options = Options { memory, ..on(n) };
                let fitted = refit(&one, &params, &options).unwrap();
                assert_eq!(refit(&one, &params, &options).unwrap(), fitted);
                assert_eq!(fitted.plan == free.plan, i == 5);
                assert_eq!(plan::text::parse(&fitted.plan.to_string()).unwrap(), fitted.plan);
                plan::verify::verify(&fitted.plan, "test").unwrap();
                plan::refine::refines(&fitted.plan, &fitted.poly, &params).unwrap();
                assert!(Some(fitted.plan.device_peak_bytes()) <= device);
                assert!(fitted.plan.peak_bytes(Tier::Host) <= host.unwrap_or(u64::MAX));
                // Each row is exchanged as often as without limits.
                let (found, without) = (fitted.plan.copied_bytes(), free.plan.copied_bytes());
                assert_eq!(found.exchanged, without.exchanged);
                assert_eq!(found.fetched > 0, i < 5);
                let found = interp::plan::run(&fitted.plan, &env, &levels).unwrap();
                for (found, expected) in found.iter().zip(&expected) {
                    assert!(
                        found.polys() == expected.polys(),
                        "{n} devices of {device:?} bytes, host {host:?}"
                    );
                }
            }
        }
    }
}

use helpers::{agrees_in_any_memory, call, copies, expected_rows, join, mixed, on, output, rotations};

#[test]
fn rotations_exchange_the_sources_of_their_conversions() {
    for params in [Preset::Toy10.params().unwrap(), Preset::N14.params().unwrap(), many_special(20)] {
        let one = compile(&rotations(&[1]), &params, &Options::default()).unwrap();
        let hoisted = compile(&rotations(&[1, 2, -3, 5]), &params, &Options::default()).unwrap();
        for (compiled, n_rotations) in [(one, 1), (hoisted, 4)] {
            let level = compiled.manifest.inputs[0].level;
            for n in [1, 2, 3, 4, 8, MAX_DEVICES] {
                let plan = refit(&compiled, &params, &on(n)).unwrap().plan;
                let rows = expected_rows(&params, level, n, n_rotations);
                let exchanged = rows * plan.row_bytes() as u64;
                let found = plan.copied_bytes();
                assert_eq!(found, CopiedBytes { exchanged, ..CopiedBytes::default() }, "{n} devices");
                assert_eq!(rows > 0, n > 1);
            }
        }
    }
}

#[test]
fn devices_share_rows_evenly() {
    let params = Preset::N14.params().unwrap();
    let compiled = compile(&mixed(), &params, &Options::default()).unwrap();
    let whole = |plan: &Plan, kind: fn(BufferKind) -> bool| -> u32 {
        plan.buffers.iter().filter(|b| kind(b.kind)).map(|b| b.rows).sum()
    };
    let given: fn(BufferKind) -> bool = |kind| !matches!(kind, BufferKind::Arena | BufferKind::Constant(_));
    let constants: fn(BufferKind) -> bool = |kind| matches!(kind, BufferKind::Constant(_));
    for n in [2, 3, 4] {
        let plan = refit(&compiled, &params, &on(n)).unwrap().plan;
        // Nothing but values between kernels is in two places.
        assert_eq!(whole(&plan, given), whole(&compiled.plan, given));
        // Each device has the last row of a plaintext in runs to itself.
        let (one, all) = (whole(&compiled.plan, constants), whole(&plan, constants));
        assert!(
            (one..=one + 2 * (n - 1)).contains(&all),
            "{all} rows of constants on {n} devices, {one} on one"
        );
        let rows: Vec<u64> = plan.peaks.iter().map(|p| p.rows).collect();
        assert_eq!(rows.len(), n as usize);
        let (least, most) = (rows.iter().min().unwrap(), rows.iter().max().unwrap());
        assert!(*most < least + least / 2, "{rows:?}");
        // A launch of one device has its limbs only.
        for segment in &plan.segments {
            for Step::Launch { launch, .. } in &segment.steps {
                for item in plan.items(launch).unwrap() {
                    assert!(item.writes().iter().all(|(_, prime)| prime % n == segment.device.0));
                }
            }
        }
    }
}

#[test]
fn plaintexts_take_turns() {
    let params = Preset::Toy10.params().unwrap();
    let options = Options { encode_on_device: true, ..on(2) };
    let plan = compile(&mixed(), &params, &options).unwrap().plan;
    let devices = |kind: fn(BufferKind) -> bool| -> Vec<u32> {
        plan.buffers.iter().filter(|b| kind(b.kind)).map(|b| b.device.0).collect()
    };
    assert_eq!(devices(|kind| matches!(kind, BufferKind::Slots(_))), [0, 1]);
    assert_eq!(devices(|kind| kind == BufferKind::Factors), [0, 1]);
    for device in [0, 1] {
        let own = plan.segments.iter().filter(|s| s.device.0 == device).flat_map(|s| &s.steps);
        let embeds = own.filter(|Step::Launch { launch, .. }| launch.kernel == KernelId::EmbedInverse);
        assert_eq!(embeds.map(|Step::Launch { launch, .. }| launch.n_items).sum::<u32>(), 1);
    }
}

/// Limbs 2 and 3 are converted to 0 and 1, and later once more.
const TWICE: &str = r#"polynomials "f" {
  input 0 [0-3]
  %0 = input 0 0 : eval [0-3] @0/1
  %1 = input 0 1 : eval [0-3] @0/1
  %2 = slice %0 : eval [2-3] @0/1
  %3 = intt %2 : coeff [2-3] @0/1
  %4 = convert_basis %3 : coeff [0-1] @0/1
  %5 = ntt %4 : eval [0-1] @0/1
  %6 = slice %1 : eval [0-1] @0/1
  %7 = add %5, %6 : eval [0-1] @1/1
  %8 = intt %7 : coeff [0-1] @1/1
  %9 = ntt %8 : eval [0-1] @1/1
  %10 = convert_basis %3 : coeff [0-1] @2/1
  %11 = ntt %10 : eval [0-1] @2/1
  %12 = sub %11, %9 : eval [0-1] @2/1
  output 0 0 %12
  output 0 1 %9
}
"#;

#[test]
fn a_replica_is_kept_until_its_last_reader() {
    let params = Preset::Toy10.params().unwrap();
    let function = poly_ir::text::parse(TWICE).unwrap();
    poly_ir::verify::verify(&function, &params, "test").unwrap();
    // In one group and in three: launches stand between the conversions.
    for batch_rows in [1000, 1] {
        for (n, rows) in [(1, 0), (2, 2), (3, 3), (4, 4), (5, 4)] {
            let plan = lower::plan::lower(&function, &params, &Options { batch_rows, ..on(n) }).unwrap();
            plan::verify::verify(&plan, "test").unwrap();
            plan::refine::refines(&plan, &function, &params).unwrap();
            assert_eq!(plan.copied_bytes().exchanged, rows * plan.row_bytes() as u64, "{n} devices");
            let steps = plan.schedule.iter().filter(|step| matches!(step, PlanStep::Copy(_))).count();
            // One for each reader.
            assert_eq!(steps, if n > 1 { 2 } else { 0 });
        }
    }
}

#[test]
fn rows_are_sent_beside_launches() {
    let params = Preset::Toy10.params().unwrap();
    // Conversions of several digits in pieces: what the second piece reads is sent beside the first.
    let program = dsl::build("squares", |g| {
        let x = g.input("x", 16)?;
        g.output("y", (x.rotate(1) + x).square().square(), 16)
    });
    let program = program.unwrap();
    let with = |n, prefetch_bytes| {
        let options = Options { prefetch_bytes, cache_bytes: (40 << 10) / u64::from(n), ..on(n) };
        compile(&program, &params, &options).unwrap().plan
    };
    for n in [2, 3, 4] {
        let (ahead, late) = (with(n, 64 << 20), with(n, 0));
        assert_eq!(ahead.copied_bytes(), late.copied_bytes());
        let (ahead, late) = (ahead.overlapped_bytes().exchanged, late.overlapped_bytes().exchanged);
        assert!(ahead > late, "{n} devices: {ahead} bytes, {late} without");
    }
}

#[test]
fn numbers_of_devices_that_are_refused() {
    for found in [0, MAX_DEVICES + 1, u32::MAX] {
        let error = Topology::new(found).unwrap_err();
        assert_eq!(error, Error::Devices { found, limit: MAX_DEVICES });
        assert_eq!(error.to_string(), format!("topology: {found} devices, expected 1 to {MAX_DEVICES}"));
    }
    assert_eq!(Topology::default(), Topology::new(1).unwrap());
}

/// How a test breaks a plan.
type Break = fn(&mut Plan);

#[test]
fn the_verifier_refuses_devices_that_are_wrong() {
    let params = Preset::Toy10.params().unwrap();
    let good = compile(&mixed(), &params, &on(3)).unwrap().plan;
    plan::verify::verify(&good, "test").unwrap();
    let cases: [(Break, &str); 19] = [
        (|p| p.buffers.swap(0, 1), "buffer"),
        (|p| p.buffers[2].device = DeviceIdx(1), "buffer"),
        (|p| p.buffers[2].kind = BufferKind::Factors, "device"),
        (|p| p.buffers.iter_mut().for_each(|b| b.kind = BufferKind::Arena), "buffer"),
        (|p| p.buffers[3].device = DeviceIdx(3), "device"),
        (|p| p.segments[0].device = DeviceIdx(3), "device"),
        (|p| p.buffers[1].tier = Tier::Host, "tier"),
        // Another device's arena, or other buffers.
        (|p| p.segments[0].device = DeviceIdx(1), "binding"),
        (|p| call(p, 1)[0] = BufferId(0), "binding"),
        (
            |p| {
                let other = call(p, 0).clone();
                call(p, 1)[1..].clone_from_slice(&other[1..]);
            },
            "device",
        ),
        // An exchange with what is no arena, on both sides, and with the own arena.
        (|p| copies(p)[0].to = Place { buffer: output(p, 0), row: 0 }, "device"),
        (|p| copies(p)[0].from = Place { buffer: output(p, 1), row: 0 }, "device"),
        (|p| copies(p)[0].from = Place { row: 0, ..copies(p)[0].to }, "tier"),
        (|p| copies(p)[0].to.buffer = BufferId(99), "tier"),
        (|p| copies(p)[0].rows = 0, "device"),
        (|p| copies(p)[0].to.row = u32::MAX, "tier"),
        // A tier of another device.
        (
            |p| {
                let (device, tier) = (DeviceIdx(2), Tier::Host);
                p.buffers.push(plan::Buffer { device, tier, rows: 99, kind: BufferKind::Spill });
                let buffer = BufferId(p.buffers.len() as u32 - 1);
                let copy = &mut copies(p)[0];
                copy.to = Place { buffer, row: 0 };
                assert_eq!(copy.from.buffer.0, 1);
            },
            "device",
        ),
        (|p| _ = p.schedule.pop(), "host"),
        (|p| p.peaks.swap(0, 1), "peak"),
    ];
    for (i, (break_it, rule)) in cases.into_iter().enumerate() {
        let mut broken = good.clone();
        break_it(&mut broken);
        match plan::verify::verify(&broken, "test") {
            Err(Error::Verify { rule: found, problem, .. }) => assert_eq!(found, rule, "case {i}: {problem}"),
            other => panic!("case {i}: {other:?}"),
        }
    }
}

/// Every copy, left out or turned to another row, is found, and so is every part of an object that is not loaded.
#[test]
fn no_copy_can_be_left_out_or_go_astray() {
    let params = Preset::Toy10.params().unwrap();
    for (encode_on_device, spills) in [(false, false), (true, false), (true, true)] {
        let mut options = Options { encode_on_device, ..on(3) };
        if spills {
            let free = compile(&mixed(), &params, &options).unwrap().plan;
            options.memory.device = Some(free.least_device_bytes() * 3);
        }
        let Compiled { plan: good, poly, .. } = compile(&mixed(), &params, &options).unwrap();
        assert_eq!(good.copied_bytes().fetched > 0, spills);
        let found = |broken: &Plan| {
            let checked = plan::verify::verify(broken, "test");
            checked.and_then(|()| plan::refine::refines(broken, &poly, &params))
        };
        found(&good).unwrap();
        let mut n_changed = 0;
        for at in 0..good.schedule.len() {
            let PlanStep::Copy(copies) = &good.schedule[at] else { continue };
            for i in 0..copies.len() {
                let change = |f: &dyn Fn(&mut Vec<RowCopy>)| {
                    let mut broken = good.clone();
                    let PlanStep::Copy(copies) = &mut broken.schedule[at] else { unreachable!("a copy") };
                    f(copies);
                    found(&broken)
                };
                assert!(change(&|copies| _ = copies.remove(i)).is_err(), "without {}", copies[i]);
                let other = |row: u32| if row == 0 { 1 } else { row - 1 };
                let from = |copies: &mut Vec<RowCopy>| copies[i].from.row = other(copies[i].from.row);
                assert!(change(&from).is_err(), "{} from the row before", copies[i]);
                let to = |copies: &mut Vec<RowCopy>| copies[i].to.row = other(copies[i].to.row);
                assert!(change(&to).is_err(), "{} to the row before", copies[i]);
                n_changed += 3;
            }
        }
        assert!(n_changed > 30, "{n_changed}");
        for i in 0..good.setup.len() {
            let mut broken = good.clone();
            broken.setup.remove(i);
            assert!(found(&broken).is_err(), "without {}", good.setup[i]);
        }
        let transfers = good
            .schedule
            .iter()
            .enumerate()
            .filter(|(_, step)| matches!(step, PlanStep::Host(HostStep::Upload { .. })));
        for (i, step) in transfers {
            let mut broken = good.clone();
            broken.schedule.remove(i);
            assert!(found(&broken).is_err(), "without {step:?}");
        }
    }
}

/// Two devices whose parts of an object are as large, exchanged: well formed but for what the rows are.
#[test]
fn parts_of_the_wrong_device_are_found() {
    let params = Preset::Toy10.params().unwrap();
    let Compiled { plan: good, poly, .. } = compile(&rotations(&[1]), &params, &on(2)).unwrap();
    let mut broken = good.clone();
    // The second device computes with what the first is for.
    for segment in &mut broken.segments {
        segment.device.0 = 1 - segment.device.0;
    }
    for buffer in &mut broken.buffers {
        buffer.device.0 = 1 - buffer.device.0;
    }
    broken.buffers.swap(0, 1);
    let swap = |id: &mut BufferId| id.0 = if id.0 < 2 { 1 - id.0 } else { id.0 };
    for step in &mut broken.schedule {
        match step {
            PlanStep::Call { bindings, .. } => bindings.iter_mut().for_each(swap),
            PlanStep::Copy(copies) => copies.iter_mut().for_each(|copy| {
                swap(&mut copy.from.buffer);
                swap(&mut copy.to.buffer);
            }),
            _ => {}
        }
    }
    broken.peaks.swap(0, 1);
    broken.peaks.iter_mut().for_each(|p| p.device.0 = 1 - p.device.0);
    let found =
        plan::verify::verify(&broken, "test").and_then(|()| plan::refine::refines(&broken, &poly, &params));
    assert!(matches!(found, Err(Error::Verify { .. })), "{found:?}");
}

/// Larger rings, with more digits and limbs.
#[test]
fn bits_do_not_depend_on_the_number_of_devices() {
    let mut client = Client::<u32>::new(Preset::Toy12);
    let params = client.params().clone();
    let program = mixed();
    let one = compile(&program, &params, &Options::default()).unwrap();
    let keys = client.keys(&one);
    let inputs = client.encrypt(&one, &messages(&program));
    let env = Env { ring: &client.ring, keys: &keys, constants: &one.manifest.constants, inputs: &inputs };
    let levels: Vec<Level> = one.manifest.outputs.iter().map(|o| o.level).collect();
    let expected = interp::plan::run(&one.plan, &env, &levels).unwrap();
    for n in [2, 3, 4, 8, MAX_DEVICES] {
        let many = compile(&program, &params, &on(n)).unwrap();
        assert_eq!((&many.placed, &many.poly, &many.manifest), (&one.placed, &one.poly, &one.manifest));
        assert_eq!(
            many,
            refit(&one, &params, &on(n)).map(|c| Compiled { stats: many.stats.clone(), ..c }).unwrap()
        );
        assert_eq!(plan::text::parse(&many.plan.to_string()).unwrap(), many.plan);
        let found = interp::plan::run(&many.plan, &env, &levels).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            assert!(found.polys() == expected.polys(), "{n} devices");
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_memory_of_devices() {
    for n in [1, 2, 3, 8] {
        agrees_in_any_memory::<u32>(Preset::Toy10, n, n % 2 == 0);
        agrees_in_any_memory::<u64>(Preset::Toy10w, n, false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_on_devices_of_random_memory(
        steps in random_steps(),
        n_devices in devices(),
        parts in (0u64..=100, 0u64..=100),
        batch_rows in 1u32..400,
        encode_on_device: bool,
    ) {
        let program = random_program(&steps, 4);
        let params = Preset::Toy10.params().unwrap();
        let base = Options { batch_rows, encode_on_device, ..on(n_devices) };
        let free = compile(&program, &params, &base).unwrap();
        let (least, most) = (free.plan.least_device_bytes(), free.plan.device_peak_bytes());
        let device = least + most.saturating_sub(least) * parts.0 / 100;
        let memory = MemoryLimits { device: Some(device), host: Some(most * parts.1 / 100) };
        let options = Options { memory, ..base };
        // Also checks that it computes what it must.
        let fitted = compile(&program, &params, &options).unwrap();
        plan::refine::refines(&fitted.plan, &fitted.poly, &params).unwrap();
        prop_assert!(fitted.plan.device_peak_bytes() <= device);
        check_everywhere::<u32>(&program, Preset::Toy10, &options, 1e-5);
    }
}

#[test]
fn limits_are_of_each_device() {
    let params = Preset::Toy10.params().unwrap();
    let limited = |device| {
        let memory = MemoryLimits { device: Some(device), host: None };
        compile(&mixed(), &params, &Options { memory, ..on(3) })
    };
    let free = compile(&mixed(), &params, &on(3)).unwrap();
    let peaks: Vec<u64> = free.plan.peaks.iter().map(|p| p.bytes).collect();
    let (least, most) = (peaks.iter().min().unwrap(), peaks.iter().max().unwrap());
    assert!(least < most);
    assert_eq!(limited(*most).unwrap(), free);
    // Those that fit keep their arenas and spill nothing.
    let fitted = limited(*least).unwrap().plan;
    assert!(fitted != free.plan);
    for (i, buffer) in fitted.buffers.iter().enumerate() {
        let fits = peaks[buffer.device.0 as usize] == *least;
        assert!(!fits || buffer.tier == Tier::Device && *buffer == free.plan.buffers[i]);
    }
    let needed = free.plan.least_device_bytes();
    assert!(limited(needed).is_ok());
    match limited(needed - 1).unwrap_err() {
        Error::DeviceBudget { needed: found, available, .. } => {
            assert_eq!((found, available), (needed, needed - 1));
        }
        other => panic!("{other}"),
    }
}

/// The planner takes a second row only while the first is in use, on every device, so joining any two must be found.
#[test]
fn two_arena_rows_are_never_one() {
    let params = Preset::Toy10.params().unwrap();
    for (n, program) in [(2, mixed()), (3, mixed()), (4, rotations(&[1, 2])), (8, mixed())] {
        let Compiled { plan: good, poly, .. } = compile(&program, &params, &on(n)).unwrap();
        for device in 0..n {
            let rows = good.buffers[device as usize].rows;
            for (a, b) in (0..rows).flat_map(|a| (a + 1..rows).map(move |b| (a, b))) {
                let joined = join(&good, device, a, b);
                let found = plan::verify::verify(&joined, "test")
                    .and_then(|()| plan::refine::refines(&joined, &poly, &params));
                assert!(found.is_err(), "rows {a} and {b} of device {device} of {n}");
            }
        }
    }
}

#[test]
fn devices_that_do_not_parse_name_the_line() {
    let params = Preset::Toy10.params().unwrap();
    let text = compile(&mixed(), &params, &on(2)).unwrap().plan.to_string();
    assert!(text.lines().any(|line| line.ends_with("_level0\" {")));
    for (from, to, word) in [
        ("_level0\" device 1 {", "_level0\" device one {", "a number"),
        ("_level0\" device 1 {", "_level0\" on 1 {", "{"),
        ("_level0\" device 1 {", "_level0\" device 1", "{"),
    ] {
        assert!(text.contains(from), "{from}");
        match plan::text::parse(&text.replacen(from, to, 1)) {
            Err(Error::Parse { problem, .. }) => assert!(problem.contains(word), "{problem}"),
            other => panic!("{from}: {:?}", other.is_ok()),
        }
    }
}

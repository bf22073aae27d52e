//! Encoding on a device: the bits of fhe-core's encoder, on every backend, and refusals where the bits might be others.

use crate::client::{Client, everything, named};
use crate::simulated::Device;
use crate::story::DEVICE_BYTES;
use crate::support::real_driver;
use fhe_core::Complex64;
use fhe_core::ckks::{Ciphertext, Encoder};
use fhe_core::math::word::Word;
use fhe_core::params::{Level, Params, Preset};
use fhe_core::ring::{Eval, RnsPoly};
use host::backend::cpu::available_lanes;
use host::{BackendKind, Error, Session};
use kernels_gpu::abi::launch::{GPU_MAX_LOG_N, GPU_MIN_LOG_N};
use scheduler::compile::refit;
use scheduler::plan::{BufferKind, HostStep, Tier};
use scheduler::poly_ir::{Op, PolyId};
use scheduler::{Compiled, Options, compile, dsl};

fn on_device() -> Options {
    Options { encode_on_device: true, ..Options::default() }
}

/// All lanes, one thread and two; the machine's device, if it has one and kernels for the preset; and for the smallest ring (it is
/// slow) a simulated one.
fn sessions(preset: Preset, words: bool) -> Vec<Session> {
    let mut all = Vec::new();
    for lanes in available_lanes() {
        for threads in [1, 2] {
            let builder = Session::builder().backend(BackendKind::Cpu).lanes(lanes).threads(threads);
            all.push(builder.poison(true).build().unwrap());
        }
    }
    let log_n = preset.params().unwrap().log_n();
    if let Some(driver) = real_driver().filter(|_| words && (GPU_MIN_LOG_N..=GPU_MAX_LOG_N).contains(&log_n))
    {
        for profile in [false, true] {
            let builder = Session::builder().backend(BackendKind::Cuda).threads(1).poison(true);
            all.push(builder.profile(profile).build_with(|_| Ok(driver.clone())).unwrap());
        }
    }
    if words && log_n == GPU_MIN_LOG_N {
        for profile in [false, true] {
            let device = Device::new(DEVICE_BYTES);
            let builder = Session::builder().backend(BackendKind::Cuda).threads(1).poison(true);
            all.push(builder.profile(profile).build_with(|_| Ok(device.open())).unwrap());
        }
    }
    all
}

/// A program that returns two plaintexts in the place of a ciphertext's polynomials, both encoded on the device.
fn plaintexts(params: &Params, values: [&[Complex64]; 2]) -> Compiled {
    let program = dsl::build("encode", |g| {
        let x = g.input("x", 2)?;
        let [a, b] = [g.plain_complex("a", values[0])?, g.plain_complex("b", values[1])?];
        g.output("y", x * a + x * b, 2)
    });
    let mut compiled = compile(&program.unwrap(), params, &on_device()).unwrap();
    let poly = &mut compiled.poly;
    let encoded = |id: &PolyId| match poly.value(*id).op {
        Op::Ntt(a) => matches!(poly.value(a).op, Op::RoundResidues(_)),
        _ => false,
    };
    let found: Vec<PolyId> = poly.ids().filter(encoded).collect();
    assert_eq!(found.len(), 2);
    for (output, value) in poly.outputs.iter_mut().zip(found) {
        output.value = value;
    }
    compiled.manifest.outputs[0].level = compiled.manifest.inputs[0].level;
    refit(&compiled, params, &on_device()).unwrap()
}

/// Slots of all sizes: complex, tiny, large, zero, and some whose coefficients are halves of integers.
fn slots(n: usize, largest: f64) -> Vec<Complex64> {
    let part = |k: usize| ((k * 7919 + 13) % 1009) as f64 / 504.5 - 1.0;
    let slot = |k: usize| match k % 5 {
        0 => Complex64::new(0.0, -0.0),
        1 => Complex64::new(part(k) * 1e-300, part(k + 1)),
        _ => Complex64::new(part(k), part(3 * k)) * largest,
    };
    (0..n).map(slot).collect()
}

fn plaintexts_are_the_encoders<W: Word>(preset: Preset) {
    let mut client = Client::<W>::new(preset);
    let params = client.ring.params().clone();
    let n_slots = params.n_slots();
    let level = params.max_level();
    let scale = params.level(level).unwrap().log_scale;
    // As large as is allowed: |slot| <= sqrt 2 of it, times 2^scale, below 2^63.
    let largest = 2f64.powf(62.4 - scale.to_f64());
    // All slots, and a period that is too long to be stored once a run of equal values.
    let messages = [slots(n_slots, largest), slots(n_slots / 4, 1.5)];
    let compiled = plaintexts(&params, [&messages[0], &messages[1]]);
    let level = compiled.manifest.inputs[0].level;
    let scale = params.level(level).unwrap().log_scale;
    let encoder = Encoder::new(&client.ring);
    let expected: Vec<RnsPoly<W, Eval>> = messages
        .iter()
        .map(|m| {
            let all: Vec<Complex64> = m.iter().copied().cycle().take(n_slots).collect();
            encoder.encode(&all, level, scale).unwrap().into_poly()
        })
        .collect();
    let input = client.encrypt(&[Complex64::new(1.0, 0.0)], level, scale).to_bytes();
    for session in sessions(preset, W::KIND.bits() == 32) {
        let mut loaded = session.load(compiled.clone(), &params).unwrap();
        for _ in 0..2 {
            let outputs = loaded.run(&[("x", &input)]).unwrap();
            let found = Ciphertext::<W>::from_bytes(&client.ring, &outputs[0]).unwrap();
            assert!(found.polys() == expected, "{} {}", preset.name(), session.backend_name());
        }
    }
}

#[test]
fn narrow_plaintexts_are_the_encoders() {
    for preset in [Preset::Toy10, Preset::Toy12, Preset::N13, Preset::N14, Preset::N15, Preset::N16] {
        plaintexts_are_the_encoders::<u32>(preset);
    }
}

#[test]
fn wide_plaintexts_are_the_encoders() {
    for preset in [Preset::Toy10w, Preset::N13w, Preset::N14w] {
        plaintexts_are_the_encoders::<u64>(preset);
    }
}

/// A whole program gives the same bits whoever encodes its plaintexts, from less memory.
fn programs_do_not_see_who_encodes<W: Word>(preset: Preset) {
    let program = everything();
    let mut client = Client::<W>::new(preset);
    let params = client.ring.params().clone();
    let by_host = compile(&program, &params, &Options::default()).unwrap();
    let by_device = compile(&program, &params, &on_device()).unwrap();
    assert_eq!(by_host.manifest, by_device.manifest);
    let rows = |compiled: &Compiled| -> u32 {
        let constants = compiled.plan.buffers.iter().filter(|b| {
            matches!(b.kind, BufferKind::Constant(_) | BufferKind::Slots(_) | BufferKind::Factors)
        });
        constants.map(|b| b.rows).sum()
    };
    // Of wide words so few that the factors of the transform weigh more.
    if W::KIND.bits() == 32 {
        assert!(rows(&by_device) < rows(&by_host), "{} {}", rows(&by_device), rows(&by_host));
    }
    let manifest = by_host.manifest.clone();
    let keys = client.keys(&manifest).to_bytes();
    let blobs: Vec<Vec<u8>> = client.inputs(&program, &manifest).iter().map(Ciphertext::to_bytes).collect();
    let mut first: Option<Vec<Vec<u8>>> = None;
    for session in sessions(preset, W::KIND.bits() == 32) {
        for compiled in [&by_host, &by_device] {
            let mut loaded = session.load(compiled.clone(), &params).unwrap();
            loaded.load_keys(&keys).unwrap();
            let outputs = loaded.run(&named(&manifest, &blobs)).unwrap();
            let first = first.get_or_insert_with(|| outputs.clone());
            assert!(*first == outputs, "{} {}", preset.name(), session.backend_name());
        }
    }
}

#[test]
fn narrow_programs_do_not_see_who_encodes() {
    programs_do_not_see_who_encodes::<u32>(Preset::Toy10);
    programs_do_not_see_who_encodes::<u32>(Preset::Toy12);
}

#[test]
fn wide_programs_do_not_see_who_encodes() {
    programs_do_not_see_who_encodes::<u64>(Preset::Toy10w);
}

/// Slots leave the device as other buffers do, and come back.
#[test]
fn slots_that_do_not_fit_are_fetched() {
    let preset = Preset::Toy10;
    let mut client = Client::<u32>::new(preset);
    let params = client.ring.params().clone();
    let program = everything();
    let all = compile(&program, &params, &on_device()).unwrap();
    // As little as there can be.
    let device = all.plan.least_device_bytes();
    let limits = scheduler::MemoryLimits { device: Some(device), host: None };
    let some = refit(&all, &params, &Options { memory: limits, ..on_device() }).unwrap();
    let away = some.plan.buffers.iter().filter(|b| b.tier != Tier::Device);
    assert!(away.clone().any(|b| matches!(b.kind, BufferKind::Slots(_))));
    let manifest = all.manifest.clone();
    let keys = client.keys(&manifest).to_bytes();
    let blobs: Vec<Vec<u8>> = client.inputs(&program, &manifest).iter().map(Ciphertext::to_bytes).collect();
    let session = Session::builder().backend(BackendKind::Cpu).threads(1).poison(true).build().unwrap();
    let run = |compiled: Compiled| {
        let mut loaded = session.load(compiled, &params).unwrap();
        loaded.load_keys(&keys).unwrap();
        loaded.run(&named(&manifest, &blobs)).unwrap()
    };
    assert!(run(all) == run(some));
}

/// Values are data: what the device would round to other bits is refused before it is uploaded.
#[test]
fn slots_that_might_not_fit_are_refused() {
    let params = Preset::Toy12.params().unwrap();
    let session = Session::builder().backend(BackendKind::Cpu).threads(1).build().unwrap();
    let values: Vec<Complex64> =
        (0..params.n_slots() / 4).map(|i| Complex64::new(1.0 / (1 + i) as f64, 0.0)).collect();
    let others: Vec<Complex64> = values.iter().rev().copied().collect();
    let good = plaintexts(&params, [&values, &others]);
    let level = good.manifest.inputs[0].level;
    let log_scale = params.level(level).unwrap().log_scale.to_f64();
    let with = |value: Complex64| {
        let mut compiled = good.clone();
        compiled.manifest.constants[0].values[1] = value;
        session.load(compiled, &params).map(|_| ())
    };
    assert!(with(Complex64::new(2f64.powf(62.99 - log_scale), 0.0)).is_ok());
    for value in [2f64.powf(63.0 - log_scale), 1e300, f64::MAX] {
        let refused = with(Complex64::new(0.0, value)).unwrap_err();
        let Error::Core(fhe_core::Error::RawSlots { found, expected, level: at }) = refused else {
            panic!("{refused:?}")
        };
        assert!(found >= 63.0 - 1e-6 && (expected, at) == (63.0, level), "{found} {expected}");
    }
    let refused = with(Complex64::new(f64::NAN, 0.0)).unwrap_err();
    assert!(matches!(&refused, Error::Core(fhe_core::Error::NotFinite { slot: 1, .. })), "{refused}");
    let refused = with(Complex64::new(0.0, f64::INFINITY)).unwrap_err();
    assert!(matches!(&refused, Error::Core(fhe_core::Error::NotFinite { slot: 1, .. })), "{refused}");
    // The same at a scale and a level that leave no room.
    let mut compiled = good.clone();
    for step in &mut compiled.plan.setup {
        if let HostStep::LoadSlots { encoded, .. } = step {
            encoded.level = Level(99);
        }
    }
    let refused = session.load(compiled, &params).map(|_| ()).unwrap_err();
    assert!(matches!(refused, Error::Core(fhe_core::Error::NoSuchLevel { .. })), "{refused}");
}

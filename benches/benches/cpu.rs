//! Criterion benches of the CPU: transforms, the client's operations, and composites as the compiler lowers them.
//!
//! Every row is measured with one thread and with two. Composites run compiled plans at the highest level of
//! the preset, and their time is that of the plan's launches: no parsing and no copies. Beside criterion's
//! figures the work of each row (operations, bytes) goes to `work.json`, from which `--bin table` makes the table.

use benches::{WorkOf, composite, ntt};
use criterion::{BenchmarkId, Criterion, Throughput};
use fhe_core::Complex64;
use fhe_core::ckks::{Decryptor, Encoder, Encryptor};
use fhe_core::math::sampling::Randomness;
use fhe_core::params::Preset;
use fhe_core::ring::Ring;
use fhe_core::rlwe::KeyGenerator;
use host::{BackendKind, Session};
use std::time::Duration;

const PRESETS: [Preset; 3] = [Preset::N13, Preset::N14, Preset::N15];
const THREADS: [usize; 2] = [1, 2];

fn transforms(c: &mut Criterion, work: &mut WorkOf) {
    for log_n in 13..=16 {
        let narrow = ntt::Row::<u32>::new(log_n).map(ntt::AnyRow::from);
        let wide = ntt::Row::<u64>::new(log_n).map(ntt::AnyRow::from);
        for mut row in [narrow, wide].into_iter().flatten() {
            for kernel in ntt::KERNELS {
                let name = format!("{}_{}", kernel.name(), row.word());
                let operations = row.butterflies();
                work.add(&name, log_n, 1, operations, row.bytes());
                let mut group = c.benchmark_group(&name);
                group.throughput(Throughput::Elements(operations));
                group.bench_function(BenchmarkId::from_parameter(format!("{log_n}_1t")), |b| {
                    b.iter(|| row.run(kernel));
                });
                group.finish();
            }
        }
    }
}

fn client(c: &mut Criterion, work: &mut WorkOf) -> benches::Result<()> {
    for (preset, threads) in PRESETS.into_iter().flat_map(|p| THREADS.map(|t| (p, t))) {
        let pool = benches::pool(threads)?;
        let params = preset.params()?;
        let (log_n, level) = (params.log_n(), params.max_level());
        let mut randomness = Randomness::insecure_reproducible(1);
        let ring = Ring::<u32>::new(&params)?;
        let generator = KeyGenerator::new(&ring);
        let secret = generator.secret_key(&mut randomness);
        let public = generator.public_key(&secret, &mut randomness)?;
        let (encoder, encryptor, decryptor) =
            (Encoder::new(&ring), Encryptor::new(&ring), Decryptor::new(&ring));
        let scale = params.level(level)?.log_scale;
        let slots: Vec<Complex64> =
            (0..params.n_slots()).map(|i| Complex64::from_polar(1.0, 0.37 * i as f64)).collect();
        let plain = encoder.encode(&slots, level, scale)?;
        let ciphertext = encryptor.encrypt(&plain, &public, &mut randomness)?;
        let element = params.galois_element(1)?;

        let limbs = params.level(level)?.basis.len() as u64;
        let row_bytes = 4 << log_n;
        let butterflies = u64::from(log_n) << (log_n - 1);
        let id = BenchmarkId::from_parameter(format!("{log_n}_{threads}t"));
        let mut bench = |name: &str, transforms: u64, rows: u64, f: &mut (dyn FnMut() + Send)| {
            work.add(name, log_n, threads, transforms * butterflies, rows * row_bytes);
            let mut group = c.benchmark_group(name);
            group.bench_function(id.clone(), |b| b.iter(|| pool.install(&mut *f)));
            group.finish();
        };
        // Transforms of limbs, and rows of one limb read or written once.
        bench("encode", limbs, limbs, &mut || {
            drop(std::hint::black_box(encoder.encode(&slots, level, scale)));
        });
        let mut r = Randomness::insecure_reproducible(2);
        bench("encrypt", 3 * limbs, 8 * limbs, &mut || {
            drop(std::hint::black_box(encryptor.encrypt(&plain, &public, &mut r)));
        });
        bench("encrypt_seeded", limbs, 4 * limbs, &mut || {
            drop(std::hint::black_box(encryptor.encrypt_seeded(&plain, &secret, &mut r)));
        });
        bench("decrypt_decode", limbs, 4 * limbs, &mut || {
            let plain = decryptor.decrypt(&ciphertext, &secret);
            drop(std::hint::black_box(plain.and_then(|p| encoder.decode(&p))));
        });
        let all = params.primes().len() as u64 * params.digits().len() as u64;
        bench("galois_keygen", all, 4 * all, &mut || {
            drop(std::hint::black_box(generator.galois_key(&secret, element, &mut r)));
        });
    }
    Ok(())
}

fn composites(c: &mut Criterion, work: &mut WorkOf) -> benches::Result<()> {
    for (preset, threads) in PRESETS.into_iter().flat_map(|p| THREADS.map(|t| (p, t))) {
        let params = preset.params()?;
        let (log_n, top) = (params.log_n(), params.max_level());
        let session = Session::builder().backend(BackendKind::Cpu).threads(threads).profile(true).build()?;
        for shape in composite::ALL {
            let mut program = composite::Loaded::new(shape, preset, top, &session)?;
            let (operations, bytes) = program.work();
            work.add(shape.name, log_n, threads, operations, bytes);
            let mut group = c.benchmark_group(shape.name);
            let id = BenchmarkId::from_parameter(format!("{log_n}_{threads}t"));
            let mut failure = None;
            group.bench_function(id, |b| {
                b.iter_custom(|n| {
                    let run = |_| program.run().map_err(|e| failure = Some(e)).unwrap_or_default();
                    (0..n).map(run).sum::<Duration>()
                });
            });
            group.finish();
            if let Some(error) = failure {
                return Err(error);
            }
        }
    }
    Ok(())
}

fn main() -> benches::Result<()> {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
        .configure_from_args();
    let mut work = WorkOf::default();
    transforms(&mut criterion, &mut work);
    client(&mut criterion, &mut work)?;
    composites(&mut criterion, &mut work)?;
    criterion.final_summary();
    work.save()
}

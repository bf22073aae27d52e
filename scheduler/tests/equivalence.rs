//! Random programs mean the same everywhere: on slots before and after placement, and, bit for bit, on ciphertexts,
//! polynomials and rows of any number of devices.

#[cfg(test)]
mod common;

use common::{check_everywhere, devices, random_program, random_steps};
use fhe_core::params::Preset;
use proptest::prelude::*;
use scheduler::dsl;
use scheduler::{Options, Topology, compile};

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn u32_words(
        steps in random_steps(),
        batch_rows in 1u32..400,
        segment_launches in 1u32..40,
        cache_bytes in 1u64..200_000,
        encode_on_device: bool,
        n_devices in devices(),
    ) {
        let options = Options {
            topology: Topology::new(n_devices).unwrap(),
            batch_rows,
            segment_launches,
            cache_bytes,
            encode_on_device,
            ..Options::default()
        };
        check_everywhere::<u32>(&random_program(&steps, 4), Preset::Toy10, &options, 1e-5);
    }

    #[test]
    fn u64_words(steps in random_steps(), encode_on_device: bool, n_devices in devices()) {
        let topology = Topology::new(n_devices).unwrap();
        let options = Options { topology, encode_on_device, ..Options::default() };
        check_everywhere::<u64>(&random_program(&steps, 4), Preset::Toy10w, &options, 1e-5);
    }

    #[test]
    fn compiling_twice_gives_the_same_text(
        steps in random_steps(),
        encode_on_device: bool,
        n_devices in devices(),
    ) {
        let program = random_program(&steps, 5);
        let params = Preset::Toy10.params().unwrap();
        let topology = Topology::new(n_devices).unwrap();
        let options = Options { topology, encode_on_device, ..Options::default() };
        let a = compile(&program, &params, &options).unwrap();
        let b = compile(&program, &params, &options).unwrap();
        prop_assert_eq!(&a, &b);
        let text = a.plan.to_string();
        prop_assert_eq!(&text, &b.plan.to_string());
        let back = scheduler::plan::text::parse(&text).unwrap();
        prop_assert_eq!(&back, &a.plan);
        prop_assert_eq!(&scheduler::poly_ir::text::parse(&a.poly.to_string()).unwrap(), &a.poly);
        let placed = scheduler::ckks_ir::text::parse(&a.placed.to_string(), &a.manifest.constants).unwrap();
        prop_assert_eq!(&placed, &a.placed);
    }
}

#[test]
fn matrices_of_all_shapes() {
    for (rows, cols, period) in [(1, 1, 2), (4, 4, 4), (10, 16, 16), (3, 30, 32), (16, 5, 16), (1, 64, 64)] {
        let matrix: Vec<f64> = (0..rows * cols).map(|i| ((i * 7 + 3) % 11) as f64 / 11.0 - 0.4).collect();
        let program = dsl::build("matvec", |g| {
            let x = g.input("x", period)?;
            let y = dsl::linear::matvec(x, "m", &matrix, rows, cols)?;
            assert_eq!(y.period(), rows.next_power_of_two());
            g.output("y", y + 0.0, rows)
        })
        .unwrap();
        let messages = common::messages(&program);
        let y = scheduler::interp::slots::run(program.function(), 512, &messages).unwrap();
        for (i, found) in y[0].iter().enumerate() {
            let row = i % rows.next_power_of_two();
            let expected: fhe_core::Complex64 = (0..cols)
                .map(|j| if row < rows { messages[0][j] * matrix[row * cols + j] } else { 0.0.into() })
                .sum();
            assert!((found - expected).norm() < 1e-12, "{rows} x {cols}, row {i}");
        }
        check_everywhere::<u32>(&program, Preset::Toy10, &Options::default(), 1e-6);
    }
}

#[test]
fn an_input_returned_as_it_is_and_twice() {
    let program = dsl::build("identity", |g| {
        let x = g.input("x", 8)?;
        let y = g.input("y", 8)?;
        g.output("a", x, 8)?;
        g.output("b", x, 8)?;
        g.output("c", x * y, 8)?;
        g.output("d", y * x, 8)
    })
    .unwrap();
    check_everywhere::<u32>(&program, Preset::Toy10, &Options::default(), 1e-6);
}

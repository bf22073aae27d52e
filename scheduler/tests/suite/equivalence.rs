//! Random programs mean the same everywhere: on slots before and after placement, and, bit for bit, on ciphertexts,
//! polynomials and rows of any number of devices.

use crate::common;

use crate::common::{check_everywhere, devices, random_program, random_steps};
use fhe_core::params::Preset;
use proptest::prelude::*;
use scheduler::interp::{self, Env};
use scheduler::{Options, Topology, compile, dsl, lower, plan, poly_ir};

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
        let back = plan::text::parse(&text).unwrap();
        prop_assert_eq!(&back, &a.plan);
        prop_assert_eq!(&poly_ir::text::parse(&a.poly.to_string()).unwrap(), &a.poly);
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
        let y = interp::slots::run(program.function(), 512, &messages).unwrap();
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

/// Another order of the same values, operands first: the next is taken at random among those whose operands are there.
fn perturbed(function: &poly_ir::Function, seed: u64) -> poly_ir::Function {
    let mut state = seed;
    let mut below = |n: usize| {
        // An LCG of 64 bits (Knuth): any order will do.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let n = function.values.len();
    let mut missing: Vec<usize> = function.values.iter().map(|v| v.op.operands().count()).collect();
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); n];
    for id in function.ids() {
        function.value(id).op.operands().for_each(|a| users[a.0 as usize].push(id.0 as usize));
    }
    let mut ready: Vec<usize> = (0..n).filter(|&i| missing[i] == 0).collect();
    let mut new = vec![poly_ir::PolyId(0); n];
    let mut out = poly_ir::Function { values: Vec::new(), ..function.clone() };
    while !ready.is_empty() {
        let at = below(ready.len());
        let old = ready.swap_remove(at);
        let mut value = function.values[old].clone();
        value.op = value.op.map(|a| new[a.0 as usize]);
        new[old] = poly_ir::PolyId(out.values.len() as u32);
        out.values.push(value);
        for &user in &users[old] {
            missing[user] -= 1;
            if missing[user] == 0 {
                ready.push(user);
            }
        }
    }
    out.outputs.iter_mut().for_each(|output| output.value = new[output.value.0 as usize]);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_gives_the_same_bits(steps in random_steps(), seed: u64, n_devices in 1u32..5) {
        let program = random_program(&steps, 4);
        let mut client = common::Client::<u32>::new(Preset::Toy10);
        let options = Options { topology: Topology::new(n_devices).unwrap(), ..Options::default() };
        let compiled = compile(&program, client.params(), &options).unwrap();
        let poly = perturbed(&compiled.poly, seed);
        poly_ir::verify::verify(&poly, client.params(), "perturbed").unwrap();
        let plan = lower::plan::lower(&poly, client.params(), &options).unwrap();
        plan::verify::verify(&plan, "perturbed").unwrap();
        plan::refine::refines(&plan, &poly, client.params()).unwrap();
        let keys = client.keys(&compiled);
        let inputs = client.encrypt(&compiled, &common::messages(&program));
        let env = Env { ring: &client.ring, keys: &keys, constants: &compiled.manifest.constants, inputs: &inputs };
        let levels: Vec<_> = compiled.manifest.outputs.iter().map(|o| o.level).collect();
        let expected = interp::plan::run(&compiled.plan, &env, &levels).unwrap();
        let found = interp::plan::run(&plan, &env, &levels).unwrap();
        for (e, f) in expected.iter().zip(&found) {
            prop_assert_eq!(e.polys(), f.polys());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    /// Levels whose rescales add primes, level drops to bases that are no subsets.
    #[test]
    fn rational_chains(steps in random_steps(), n_devices in devices()) {
        let topology = Topology::new(n_devices).unwrap();
        let options = Options { topology, ..Options::default() };
        check_everywhere::<u32>(&random_program(&steps, 6), Preset::Toy12r, &options, 1e-4);
    }
}

/// Every rescale and every level drop of a chain with two kinds of primes.
#[test]
fn every_step_of_a_rational_chain() {
    let program = dsl::build("steps", |g| {
        let x = g.input("x", 16)?;
        let (mut power, mut sum) = (x, x.rotate(1));
        for k in 0..8 {
            power = power * x.rotate(k);
            sum = sum + power;
        }
        g.output("power", power, 16)?;
        g.output("sum", sum, 16)
    });
    let program = program.unwrap();
    let compiled = compile(&program, &Preset::Toy12r.params().unwrap(), &Options::default()).unwrap();
    let text = compiled.placed.to_string();
    assert!(text.contains("level_drop") && text.contains("rescale"), "{text}");
    check_everywhere::<u32>(&program, Preset::Toy12r, &Options::default(), 1e-4);
}

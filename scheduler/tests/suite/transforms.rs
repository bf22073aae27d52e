//! Linear transforms: what they mean however they are split, and that the split is the cheapest.

use std::collections::BTreeSet;

use crate::common::{check_pass, deep_toy, message, worst};
use expect_test::expect;
use fhe_core::Complex64;
use fhe_core::params::{Level, Params, Preset};
use proptest::prelude::*;
use scheduler::ckks_ir::{Constant, Function, Input, InputIdx, Op, Output, Transform, TransformIdx};
use scheduler::cost::TransformCosts;
use scheduler::passes::CKKS;
use scheduler::{ckks_ir, interp};

mod helpers {
    use super::*;

    /// Transforms of one input of a period, each by its rotations.
    pub(crate) fn function(period: u32, transforms: &[Vec<u32>]) -> Function {
        let mut f = Function { name: "transforms".to_owned(), ..Function::default() };
        f.inputs.push(Input { name: "x".to_owned(), period, complex: true, at: None });
        let x = f.push(Op::Input(InputIdx(0)), None, None);
        for (t, rotations) in (0u32..).zip(transforms) {
            let mut diagonals = Vec::new();
            for &d in rotations {
                diagonals.push((d, ckks_ir::ConstId(f.constants.len() as u32)));
                // Periods from 2 to that of the input.
                let values = message(2 << (d % period.ilog2()), 100 * t + d);
                f.constants.push(Constant { name: format!("t{t}[{d}]"), values, at: None });
            }
            f.transforms.push(Transform { name: format!("t{t}"), diagonals, at: None });
            let value = f.push(Op::LinearTransform(x, TransformIdx(t)), None, None);
            f.outputs.push(Output { name: format!("y{t}"), slots: period, value, at: None });
        }
        f
    }

    pub(crate) fn run(pass: &str, function: &Function, params: &Params) -> Function {
        let pass = CKKS.iter().find(|p| p.name == pass).unwrap();
        let out = (pass.run)(function, params).unwrap();
        ckks_ir::verify::verify(&out, Some(params), pass.name).unwrap();
        out
    }
}

use helpers::{function, run};

fn diagonals() -> impl Strategy<Value = Vec<Vec<u32>>> {
    let one = prop::collection::btree_set(0u32..64, 1..40);
    prop::collection::vec(one.prop_map(|set| set.into_iter().collect()), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// The naive sum over diagonals is the interpreter's.
    #[test]
    fn expanded_transforms_are_the_sums_over_diagonals(transforms in diagonals()) {
        let params = Preset::Toy10.params().unwrap();
        let function = function(64, &transforms);
        let expanded = run("expand_transforms", &function, &params);
        prop_assert!(expanded.transforms.is_empty());
        let x = [message(64, 1)];
        let (naive, found) = (interp::slots::run(&function, 512, &x), interp::slots::run(&expanded, 512, &x));
        for (naive, found) in naive.unwrap().iter().zip(&found.unwrap()) {
            prop_assert!(worst(naive, found) < 1e-12);
        }
        // Rotations of the input are made once for all.
        let babies = expanded.values.iter().filter_map(|v| match v.op {
            Op::Rotate(a, k) if a.0 == 0 => Some(k),
            _ => None,
        });
        let babies: Vec<u32> = babies.collect();
        prop_assert_eq!(babies.iter().collect::<BTreeSet<_>>().len(), babies.len());
    }

    #[test]
    fn one_transform_has_the_least_cost_and_several_no_more_than_any_common_split(transforms in diagonals()) {
        let params = Preset::Toy10.params().unwrap();
        for level in 1..=params.max_level().0 {
            let costs = TransformCosts::new(&params, Level(level), params.n_slots()).unwrap();
            let chosen = costs.cost(&transforms, &costs.choose(&transforms));
            for n1 in 1..=64 {
                prop_assert!(chosen <= costs.cost(&transforms, &vec![n1; transforms.len()]));
            }
            for rotations in transforms.chunks(1) {
                let n1 = costs.choose(rotations)[0];
                let best = (1..=64).min_by_key(|&n1| (costs.cost(rotations, &[n1]), n1));
                prop_assert_eq!(Some(n1), best);
            }
        }
    }
}

#[test]
fn the_sum_over_diagonals_by_hand() {
    // The interpreter is the oracle of the others: here it is against a matrix.
    let f = function(8, &[vec![0, 3, 5]]);
    let x = message(8, 1);
    let found = interp::slots::run(&f, 16, core::slice::from_ref(&x)).unwrap();
    for (i, found) in found[0].iter().enumerate() {
        let element = |j: usize| {
            let diagonals = f.transforms[0].diagonals.iter().filter(|(d, _)| (i + *d as usize) % 8 == j);
            let weight = diagonals.map(|(_, c)| {
                let values = &f.constants[c.0 as usize].values;
                values[i % values.len()]
            });
            weight.sum::<Complex64>()
        };
        let expected: Complex64 = (0..8).map(|j| element(j) * x[j]).sum();
        assert!((found - expected).norm() < 1e-14, "slot {i}");
    }
}

#[test]
fn splits_of_dense_transforms() {
    let mut lines = String::new();
    let presets = [("toy10", Preset::Toy10.params().unwrap()), ("deep", deep_toy())];
    for (name, params) in presets {
        for level in [1, params.max_level().0 / 2, params.max_level().0] {
            let costs = TransformCosts::new(&params, Level(level), params.n_slots()).unwrap();
            for n in [64u32, 256, 1024] {
                let dense = [(0..n).collect::<Vec<u32>>()];
                let n1 = costs.choose(&dense)[0];
                let best = (1..=n).map(|n1| costs.cost(&dense, &[n1])).min().unwrap();
                assert_eq!(costs.cost(&dense, &[n1]), best);
                let rotations = n1 - 1 + n.div_ceil(n1) - 1;
                let sqrt = n.isqrt();
                // At few limbs baby steps that are not divided are so cheap that a few more of them than the least pay.
                assert!(rotations <= 2 * sqrt + sqrt / 2, "{rotations} rotations for {n}");
                let ratio = best as f64 / costs.cost(&dense, &[sqrt]) as f64;
                lines += &format!(
                    "{name} level {level}: {n} diagonals, n1 {n1}, rotations {rotations}, cost {ratio:.3} of n1 {sqrt}\n"
                );
            }
        }
    }
    expect![[r#"
        toy10 level 1: 64 diagonals, n1 8, rotations 14, cost 1.000 of n1 8
        toy10 level 1: 256 diagonals, n1 16, rotations 30, cost 1.000 of n1 16
        toy10 level 1: 1024 diagonals, n1 27, rotations 63, cost 0.999 of n1 32
        toy10 level 2: 64 diagonals, n1 8, rotations 14, cost 1.000 of n1 8
        toy10 level 2: 256 diagonals, n1 16, rotations 30, cost 1.000 of n1 16
        toy10 level 2: 1024 diagonals, n1 27, rotations 63, cost 0.997 of n1 32
        toy10 level 5: 64 diagonals, n1 13, rotations 16, cost 0.917 of n1 8
        toy10 level 5: 256 diagonals, n1 26, rotations 34, cost 0.978 of n1 16
        toy10 level 5: 1024 diagonals, n1 38, rotations 63, cost 0.996 of n1 32
        deep level 1: 64 diagonals, n1 8, rotations 14, cost 1.000 of n1 8
        deep level 1: 256 diagonals, n1 13, rotations 31, cost 1.000 of n1 16
        deep level 1: 1024 diagonals, n1 27, rotations 63, cost 0.995 of n1 32
        deep level 11: 64 diagonals, n1 16, rotations 18, cost 0.908 of n1 8
        deep level 11: 256 diagonals, n1 16, rotations 30, cost 1.000 of n1 16
        deep level 11: 1024 diagonals, n1 38, rotations 63, cost 0.999 of n1 32
        deep level 22: 64 diagonals, n1 16, rotations 18, cost 0.878 of n1 8
        deep level 22: 256 diagonals, n1 32, rotations 38, cost 0.915 of n1 16
        deep level 22: 1024 diagonals, n1 41, rotations 64, cost 0.986 of n1 32
    "#]]
    .assert_eq(&lines);
}

#[test]
fn expand_transforms() {
    // %2 runs at level 1, %3 and %4 at level 2. There it is cheaper to rotate what is rescaled than to share a decomposition
    // of two.
    // A diagonal of period 2 that is turned by 4 is itself.
    check_pass(
        "expand_transforms",
        "  constant #2 \"u\" [1.0, 2.0, 3.0, 4.0]
  transform $0 \"a\" [0 #0, 1 #1, 2 #2, 3 #0, 4 #1, 5 #2, 6 #0, 7 #2] at \"a.rs:1:2\"
  transform $1 \"b\" [1 #0, 2 #2]
  transform $2 \"c\" [3 #2]
  %2 = linear_transform %0, $0 \"named\" at \"a.rs:3:4\"
  %3 = linear_transform %0, $1
  %4 = linear_transform %1, $2
  %5 = mul %3, %4
  output \"a\" slots 1 %2
  output \"b\" slots 1 %5",
        &expect![[r#"
            function "f" {
              input "x" period 4
              input "y" period 4
              constant #0 "w" [1.0, 2.0]
              constant #1 "v" [1.0, 2.0]
              constant #2 "u" [1.0, 2.0, 3.0, 4.0]
              constant #3 "u" [2.0, 3.0, 4.0, 1.0]
              %0 = input 0
              %1 = input 1
              %2 = mul_plain %0, #0 at "a.rs:3:4"
              %3 = rotate %0, 1 at "a.rs:3:4"
              %4 = mul_plain %3, #1 at "a.rs:3:4"
              %5 = add %2, %4 at "a.rs:3:4"
              %6 = rotate %0, 2 at "a.rs:3:4"
              %7 = mul_plain %6, #2 at "a.rs:3:4"
              %8 = add %5, %7 at "a.rs:3:4"
              %9 = rotate %0, 3 at "a.rs:3:4"
              %10 = mul_plain %9, #0 at "a.rs:3:4"
              %11 = add %8, %10 at "a.rs:3:4"
              %12 = rotate %0, 4 at "a.rs:3:4"
              %13 = mul_plain %12, #1 at "a.rs:3:4"
              %14 = add %11, %13 at "a.rs:3:4"
              %15 = rotate %0, 5 at "a.rs:3:4"
              %16 = mul_plain %15, #2 at "a.rs:3:4"
              %17 = add %14, %16 at "a.rs:3:4"
              %18 = rotate %0, 6 at "a.rs:3:4"
              %19 = mul_plain %18, #0 at "a.rs:3:4"
              %20 = add %17, %19 at "a.rs:3:4"
              %21 = rotate %0, 7 at "a.rs:3:4"
              %22 = mul_plain %21, #2 at "a.rs:3:4"
              %23 = add %20, %22 "named" at "a.rs:3:4"
              %24 = mul_plain %3, #0
              %25 = mul_plain %6, #2
              %26 = add %24, %25
              %27 = mul_plain %1, #3
              %28 = rotate %27, 3
              %29 = mul %26, %28
              output "a" slots 1 %23
              output "b" slots 1 %29
            }
        "#]],
    );
}

#[test]
fn transforms_are_merged_and_dropped() {
    let body = "  transform $0 \"a\" [0 #0, 1 #1]
  transform $1 \"b\" [0 #1, 1 #0]
  transform $2 \"c\" [1 #1]
  %2 = linear_transform %0, $0
  %3 = linear_transform %0, $1
  %4 = linear_transform %0, $2
  %5 = sub %3, %2
  output \"a\" slots 1 %5";
    check_pass(
        "cse",
        body,
        &expect![[r#"
        function "f" {
          input "x" period 4
          input "y" period 4
          constant #0 "w" [1.0, 2.0]
          constant #1 "v" [1.0, 2.0]
          transform $0 "a" [0 #0, 1 #0]
          transform $1 "b" [0 #0, 1 #0]
          transform $2 "c" [1 #0]
          %0 = input 0
          %1 = input 1
          %2 = linear_transform %0, $0
          %3 = linear_transform %0, $2
          %4 = sub %2, %2
          output "a" slots 1 %4
        }
    "#]],
    );
    check_pass(
        "dce",
        body,
        &expect![[r#"
        function "f" {
          input "x" period 4
          input "y" period 4
          constant #0 "w" [1.0, 2.0]
          constant #1 "v" [1.0, 2.0]
          transform $0 "a" [0 #0, 1 #1]
          transform $1 "b" [0 #1, 1 #0]
          %0 = input 0
          %1 = input 1
          %2 = linear_transform %0, $0
          %3 = linear_transform %0, $1
          %4 = sub %3, %2
          output "a" slots 1 %4
        }
    "#]],
    );
}

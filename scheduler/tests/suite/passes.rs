//! Text in, text out, for every pass.

use crate::common;

use expect_test::expect;
use fhe_core::params::{Params, Preset};
use scheduler::passes::{CKKS, Event, Stage};
use scheduler::report::{Counts, dot};
use scheduler::{Options, ckks_ir, compile, compile_with, dsl, lower};

mod helpers {
    use super::*;

    pub(crate) fn params() -> Params {
        Preset::Toy10.params().unwrap()
    }
}

use crate::common::check_pass as check;
use helpers::params;

#[test]
fn simplify() {
    check(
        "simplify",
        "  %2 = mul_scalar %0, -1.0
  %3 = add %1, %2
  %4 = mul_scalar %3, 2.0
  %5 = add_scalar %4, 0.0
  %6 = neg %5
  %7 = neg %6
  output \"a\" slots 1 %7",
        &expect![[r#"
            function "f" {
              input "x" period 4
              input "y" period 4
              constant #0 "w" [1.0, 2.0]
              constant #1 "v" [1.0, 2.0]
              %0 = input 0
              %1 = input 1
              %2 = neg %0
              %3 = sub %1, %0
              %4 = add %3, %3
              %5 = neg %4
              output "a" slots 1 %4
            }
        "#]],
    );
}

#[test]
fn simplify_folds_constants() {
    // `w` is `v`: [1.0, 2.0].
    check(
        "simplify",
        "  %2 = mul_scalar %0, 0.5
  %3 = mul_plain %2, #0
  %4 = mul_plain %3, #1
  %5 = mul_scalar %4, 4.0
  %6 = add_plain %5, #0
  %7 = sub_plain %6, #1
  %8 = add_scalar %7, 0.5
  %9 = rotate %8, 3
  %10 = rotate %9, 2
  %11 = rotate %10, 507
  %12 = conjugate %11
  %13 = conjugate %12
  %14 = rotate %1, 1
  %15 = rotate %14, 1
  %16 = rotate %15, 511
  output \"a\" slots 1 %13
  output \"b\" slots 1 %5
  output \"c\" slots 1 %14
  output \"d\" slots 1 %16",
        &expect![[r#"
            function "f" {
              input "x" period 4
              input "y" period 4
              constant #0 "w" [1.0, 2.0]
              constant #1 "v" [1.0, 2.0]
              constant #2 "w" [0.5, 1.0]
              constant #3 "w v" [0.5, 2.0]
              constant #4 "w v" [2.0, 8.0]
              constant #5 "w v" [0.0]
              %0 = input 0
              %1 = input 1
              %2 = mul_scalar %0, 0.5
              %3 = mul_plain %0, #2
              %4 = mul_plain %0, #3
              %5 = mul_plain %0, #4
              %6 = add_plain %5, #0
              %7 = add_scalar %5, 0.5
              %8 = rotate %7, 3
              %9 = rotate %7, 5
              %10 = conjugate %7
              %11 = rotate %1, 1
              %12 = rotate %11, 1
              output "a" slots 1 %7
              output "b" slots 1 %5
              output "c" slots 1 %11
              output "d" slots 1 %11
            }
        "#]],
    );
}

#[test]
fn cse() {
    check(
        "cse",
        "  %2 = mul %0, %1
  %3 = mul %1, %0 \"product\" at \"a.rs:1:2\"
  %4 = mul_plain %2, #0
  %5 = mul_plain %3, #1
  %6 = sub %4, %5
  output \"a\" slots 1 %6",
        &expect![[r#"
            function "f" {
              input "x" period 4
              input "y" period 4
              constant #0 "w" [1.0, 2.0]
              constant #1 "v" [1.0, 2.0]
              %0 = input 0
              %1 = input 1
              %2 = mul %0, %1 "product"
              %3 = mul_plain %2, #0
              %4 = sub %3, %3
              output "a" slots 1 %4
            }
        "#]],
    );
}

#[test]
fn dce() {
    check(
        "dce",
        "  %2 = mul %0, %0
  %3 = mul_plain %2, #0
  %4 = add_plain %0, #1
  output \"a\" slots 1 %4",
        &expect![[r#"
            function "f" {
              input "x" period 4
              input "y" period 4
              constant #0 "v" [1.0, 2.0]
              %0 = input 0
              %1 = input 1
              %2 = add_plain %0, #0
              output "a" slots 1 %2
            }
        "#]],
    );
}

#[test]
fn place_keeps_sums_of_products_until_their_end() {
    check(
        "place",
        "  %2 = mul %0, %1
  %3 = mul %0, %0
  %4 = add %2, %3
  %5 = mul_plain %1, #0
  %6 = sub %4, %5
  %7 = add_plain %6, #1
  output \"a\" slots 1 %7",
        &expect![[r#"
            function "f" {
              input "x" period 4
              input "y" period 4
              constant #0 "w" [1.0, 2.0]
              constant #1 "v" [1.0, 2.0]
              %0 = input 0 {level 1 canonical degree 1}
              %1 = input 1 {level 1 canonical degree 1}
              %2 = mul %0, %1 {level 1 product degree 2}
              %3 = mul %0, %0 {level 1 product degree 2}
              %4 = add %2, %3 {level 1 product degree 2}
              %5 = mul_plain %1, #0 {level 1 product degree 1}
              %6 = sub %4, %5 {level 1 product degree 2}
              %7 = relinearize %6 {level 1 product degree 1}
              %8 = rescale %7 {level 0 canonical degree 1}
              %9 = add_plain %8, #1 {level 0 canonical degree 1}
              output "a" slots 1 %9
            }
        "#]],
    );
}

#[test]
fn place_rescales_before_rotations_and_aligns_levels() {
    check(
        "place",
        "  %2 = mul %0, %0
  %3 = rotate %2, 1
  %4 = mul %3, %1
  %5 = add %4, %0
  %6 = mul_scalar %2, 0.5
  output \"a\" slots 1 %5
  output \"b\" slots 1 %6",
        &expect![[r#"
            function "f" {
              input "x" period 4
              input "y" period 4
              constant #0 "w" [1.0, 2.0]
              constant #1 "v" [1.0, 2.0]
              %0 = input 0 {level 2 canonical degree 1}
              %1 = input 1 {level 1 canonical degree 1}
              %2 = mul %0, %0 {level 2 product degree 2}
              %3 = relinearize %2 {level 2 product degree 1}
              %4 = rescale %3 {level 1 canonical degree 1}
              %5 = rotate %4, 1 {level 1 canonical degree 1}
              %6 = mul %5, %1 {level 1 product degree 2}
              %7 = relinearize %6 {level 1 product degree 1}
              %8 = rescale %7 {level 0 canonical degree 1}
              %9 = level_drop %0, 0 {level 0 canonical degree 1}
              %10 = add %8, %9 {level 0 canonical degree 1}
              %11 = mul_scalar %4, 0.5 {level 1 product degree 1}
              %12 = rescale %11 {level 0 canonical degree 1}
              output "a" slots 1 %10
              output "b" slots 1 %12
            }
        "#]],
    );
}

/// A square that is rescaled alone, and one whose relinearization has a second use.
const MERGEABLE: &str = r#"function "f" {
  input "x" period 4
  %0 = input 0 {level 1 canonical degree 1}
  %1 = mul %0, %0 {level 1 product degree 2}
  %2 = relinearize %1 {level 1 product degree 1}
  %3 = rescale %2 {level 0 canonical degree 1} "square"
  %4 = add %1, %1 {level 1 product degree 2}
  %5 = relinearize %4 {level 1 product degree 1}
  %6 = add_scalar %5, 0.5 {level 1 product degree 1}
  %7 = rescale %5 {level 0 canonical degree 1}
  %8 = rescale %6 {level 0 canonical degree 1}
  %9 = mul_scalar %0, 0.5 {level 1 product degree 1}
  %10 = rescale %9 {level 0 canonical degree 1}
  output "a" slots 1 %3
  output "b" slots 1 %7
  output "c" slots 1 %8
  output "d" slots 1 %10
}
"#;

#[test]
fn raise_merges_rescales() {
    let function = ckks_ir::text::parse(MERGEABLE, &[]).unwrap();
    let run = |params: &Params| {
        let mut out = function.clone();
        for name in ["raise", "placed_dce"] {
            let pass = CKKS.iter().find(|p| p.name == name).unwrap();
            out = (pass.run)(&out, params).unwrap();
            ckks_ir::verify::verify(&out, Some(params), pass.name).unwrap();
        }
        out
    };
    let merged = run(&params());
    expect![[r#"
        function "f" {
          input "x" period 4
          %0 = input 0 {level 1 canonical degree 1}
          %1 = mul %0, %0 {level 1 product degree 2}
          %2 = relinearize %1 {level 1 product degree 1 raised}
          %3 = mod_down_rescale %2 {level 0 canonical degree 1} "square"
          %4 = add %1, %1 {level 1 product degree 2}
          %5 = relinearize %4 {level 1 product degree 1}
          %6 = add_scalar %5, 0.5 {level 1 product degree 1}
          %7 = rescale %5 {level 0 canonical degree 1}
          %8 = rescale %6 {level 0 canonical degree 1}
          %9 = mul_scalar %0, 0.5 {level 1 product degree 1}
          %10 = rescale %9 {level 0 canonical degree 1}
          output "a" slots 1 %3
          output "b" slots 1 %7
          output "c" slots 1 %8
          output "d" slots 1 %10
        }
    "#]]
    .assert_eq(&merged.to_string());
    // Special and removed primes are together at most 64, the sources of a conversion.
    assert_eq!(run(&common::many_special(62)), merged);
    assert_eq!(run(&common::many_special(63)), function);
    let program = dsl::build("square", |g| g.output("y", g.input("x", 4)?.square(), 4)).unwrap();
    compile(&program, &common::many_special(63), &Options::default()).unwrap();
}

#[test]
fn a_merged_rescale_divides_once() {
    let program = dsl::build("product", |g| g.output("z", g.input("x", 4)? * g.input("y", 4)?, 4));
    let compiled = compile(&program.unwrap(), &params(), &Options::default()).unwrap();
    expect![[r#"
        polynomials "product" {
          input 0 [0-3]
          input 1 [0-3]
          %0 = input 0 0 : eval [0-3] @0/1
          %1 = input 0 1 : eval [0-3] @0/1
          %2 = input 1 0 : eval [0-3] @1/1
          %3 = input 1 1 : eval [0-3] @1/1
          %4 = inner_product [%0 * %2] : eval [0-3] @2/1
          %5 = inner_product [%0 * %3, %1 * %2] : eval [0-3] @2/1
          %6 = inner_product [%1 * %3] : eval [0-3] @2/1
          %7 = intt %6 : coeff [0-3] @3/1
          %8 = convert_basis %7 : coeff [12-15] @3/1
          %9 = ntt %8 : eval [12-15] @3/1
          %10 = concat [%6, %9] : eval [0-3, 12-15] @3/1
          %11 = slice %10 : eval [0-3] @3/1
          %12 = key relinearization 0 0 : eval [0-3] @3/1
          %13 = inner_product [%11 * %12] init %4 times [1056585419, 717158941, 16430120, 14352636] : eval [0-3] @3/1
          %14 = slice %10 : eval [12-15] @3/1
          %15 = key relinearization 0 0 : eval [12-15] @3/1
          %16 = inner_product [%14 * %15] : eval [12-15] @3/1
          %17 = concat [%13, %16] : eval [0-3, 12-15] @3/1
          %18 = key relinearization 0 1 : eval [0-3] @3/1
          %19 = inner_product [%11 * %18] init %5 times [1056585419, 717158941, 16430120, 14352636] : eval [0-3] @3/1
          %20 = key relinearization 0 1 : eval [12-15] @3/1
          %21 = inner_product [%14 * %20] : eval [12-15] @3/1
          %22 = concat [%19, %21] : eval [0-3, 12-15] @3/1
          %23 = slice %17 : eval [2-3, 12-15] @4/1
          %24 = intt %23 : coeff [2-3, 12-15] @4/1
          %25 = convert_basis %24 : coeff [0-1] @4/1
          %26 = ntt %25 : eval [0-1] @4/1
          %27 = slice %17 : eval [0-1] @4/1
          %28 = sub_mul_scalar %27, %26, [925751954, 615561629] : eval [0-1] @4/1
          %29 = slice %22 : eval [2-3, 12-15] @4/1
          %30 = intt %29 : coeff [2-3, 12-15] @4/1
          %31 = convert_basis %30 : coeff [0-1] @4/1
          %32 = ntt %31 : eval [0-1] @4/1
          %33 = slice %22 : eval [0-1] @4/1
          %34 = sub_mul_scalar %33, %32, [925751954, 615561629] : eval [0-1] @4/1
          output 0 0 %28
          output 0 1 %34
        }
    "#]]
    .assert_eq(&compiled.poly.to_string());
}

/// The text without the user's lines.
fn without_places(function: &ckks_ir::Function) -> String {
    let line = |line: &str| line.split(" at \"").next().unwrap_or_default().to_owned() + "\n";
    function.to_string().lines().map(line).collect()
}

/// Sums of rotations, with plaintexts and without, rotated again; one rotation is also squared, another output is a rotation alone.
#[test]
fn raise_divides_sums_once() {
    let program = dsl::build("sums", |g| {
        let x = g.input("x", 8)?;
        let w = g.plain("w", &[0.5, 0.25])?;
        let inner = x.rotate(1) * w + x.rotate(2) * w - x.rotate(3) * 0.5 + x * w;
        let outer = inner.rotate(4) - inner.rotate(3) + inner.conjugate() + inner.rotate(1) + inner;
        g.output("y", outer.square().square().square(), 8)?;
        g.output("z", x.rotate(1).square(), 8)?;
        g.output("r", x.rotate(5), 8)
    })
    .unwrap();
    let compiled = compile(&program, &Preset::N14.params().unwrap(), &Options::default()).unwrap();
    expect![[r#"
        function "sums" {
          input "x" period 8
          constant #0 "w" [0.5, 0.25]
          constant #1 "-0.5" [-0.5]
          %0 = input 0 {level 4 canonical degree 1} "x"
          %1 = rotate %0, 1 {level 4 canonical degree 1 raised}
          %2 = mul_plain %1, #0 {level 4 product degree 1 raised}
          %3 = rotate %0, 2 {level 4 canonical degree 1 raised}
          %4 = mul_plain %3, #0 {level 4 product degree 1 raised}
          %5 = add %2, %4 {level 4 product degree 1 raised}
          %6 = rotate %0, 3 {level 4 canonical degree 1 raised}
          %7 = mul_plain %6, #1 {level 4 product degree 1 raised}
          %8 = add %5, %7 {level 4 product degree 1 raised}
          %9 = mul_plain %0, #0 {level 4 product degree 1}
          %10 = add %8, %9 {level 4 product degree 1 raised}
          %11 = mod_down_rescale %10 {level 3 canonical degree 1}
          %12 = mod_down %1 {level 4 canonical degree 1}
          %13 = level_drop %12, 1 {level 1 canonical degree 1}
          %14 = level_drop %0, 0 {level 0 canonical degree 1}
          %15 = rotate %11, 4 {level 3 canonical degree 1 raised}
          %16 = rotate %11, 3 {level 3 canonical degree 1 raised}
          %17 = sub %15, %16 {level 3 canonical degree 1 raised}
          %18 = conjugate %11 {level 3 canonical degree 1 raised}
          %19 = add %17, %18 {level 3 canonical degree 1 raised}
          %20 = rotate %11, 1 {level 3 canonical degree 1 raised}
          %21 = add %19, %20 {level 3 canonical degree 1 raised}
          %22 = mod_down %21 {level 3 canonical degree 1}
          %23 = add %11, %22 {level 3 canonical degree 1}
          %24 = mul %23, %23 {level 3 product degree 2}
          %25 = relinearize %24 {level 3 product degree 1 raised}
          %26 = mod_down_rescale %25 {level 2 canonical degree 1}
          %27 = mul %26, %26 {level 2 product degree 2}
          %28 = relinearize %27 {level 2 product degree 1 raised}
          %29 = mod_down_rescale %28 {level 1 canonical degree 1}
          %30 = mul %29, %29 {level 1 product degree 2}
          %31 = mul %13, %13 {level 1 product degree 2}
          %32 = relinearize %30 {level 1 product degree 1 raised}
          %33 = mod_down_rescale %32 {level 0 canonical degree 1}
          %34 = relinearize %31 {level 1 product degree 1 raised}
          %35 = mod_down_rescale %34 {level 0 canonical degree 1}
          %36 = rotate %14, 5 {level 0 canonical degree 1}
          output "y" slots 8 %33
          output "z" slots 8 %35
          output "r" slots 8 %36
        }
    "#]]
    .assert_eq(&without_places(&compiled.placed));
    // Raised or not, no automorphism is a pass of its own.
    assert!(!compiled.plan.to_string().contains("launch automorphism"));
    common::check_everywhere::<u32>(&program, Preset::N14, &Options::default(), 1e-6);
}

#[test]
fn rotations_of_one_value_share_its_decomposition() {
    let program = dsl::build("hoist", |g| {
        let x = g.input("x", 8)?;
        g.output("y", x.rotate(1) + x.rotate(2) + x.rotate(3), 8)
    });
    let compiled = compile(&program.unwrap(), &params(), &Options::default()).unwrap();
    let count = |name: &str| compiled.poly.values.iter().filter(|v| v.op.name() == name).count();
    // One conversion a digit (level 0 has one), and two more for the mod_down of the sum; no automorphism of its own.
    assert_eq!((count("convert_basis"), count("automorphism")), (1 + 2, 0));
    expect![[r#"
        polynomials "hoist" {
          input 0 [0-1]
          %0 = input 0 0 : eval [0-1] @0/0
          %1 = input 0 1 : eval [0-1] @0/0
          %2 = intt %1 : coeff [0-1] @1/0
          %3 = convert_basis %2 : coeff [12-15] @1/0
          %4 = ntt %3 : eval [12-15] @1/0
          %5 = concat [%1, %4] : eval [0-1, 12-15] @1/0
          %6 = slice %5 : eval [0-1] @1/0
          %7 = key galois 5 0 0 : eval [0-1] @1/0
          %8 = slice %5 : eval [12-15] @1/0
          %9 = key galois 5 0 0 : eval [12-15] @1/0
          %10 = inner_product [%6 * %7] init %0 times [1056585419, 717158941] galois 5 : eval [0-1] @1/0
          %11 = inner_product [%8 * %9] galois 5 : eval [12-15] @1/0
          %12 = concat [%10, %11] : eval [0-1, 12-15] @1/0
          %13 = key galois 5 0 1 : eval [0-1] @1/0
          %14 = key galois 5 0 1 : eval [12-15] @1/0
          %15 = inner_product [%6 * %13] galois 5 : eval [0-1] @1/0
          %16 = inner_product [%8 * %14] galois 5 : eval [12-15] @1/0
          %17 = concat [%15, %16] : eval [0-1, 12-15] @1/0
          %18 = key galois 25 0 0 : eval [0-1] @2/0
          %19 = key galois 25 0 0 : eval [12-15] @2/0
          %20 = inner_product [%6 * %18] init %0 times [1056585419, 717158941] galois 25 : eval [0-1] @2/0
          %21 = inner_product [%8 * %19] galois 25 : eval [12-15] @2/0
          %22 = concat [%20, %21] : eval [0-1, 12-15] @2/0
          %23 = key galois 25 0 1 : eval [0-1] @2/0
          %24 = key galois 25 0 1 : eval [12-15] @2/0
          %25 = inner_product [%6 * %23] galois 25 : eval [0-1] @2/0
          %26 = inner_product [%8 * %24] galois 25 : eval [12-15] @2/0
          %27 = concat [%25, %26] : eval [0-1, 12-15] @2/0
          %28 = add %12, %22 : eval [0-1, 12-15] @3/0
          %29 = add %17, %27 : eval [0-1, 12-15] @3/0
          %30 = key galois 125 0 0 : eval [0-1] @4/0
          %31 = key galois 125 0 0 : eval [12-15] @4/0
          %32 = inner_product [%6 * %30] init %0 times [1056585419, 717158941] galois 125 : eval [0-1] @4/0
          %33 = inner_product [%8 * %31] galois 125 : eval [12-15] @4/0
          %34 = concat [%32, %33] : eval [0-1, 12-15] @4/0
          %35 = key galois 125 0 1 : eval [0-1] @4/0
          %36 = key galois 125 0 1 : eval [12-15] @4/0
          %37 = inner_product [%6 * %35] galois 125 : eval [0-1] @4/0
          %38 = inner_product [%8 * %36] galois 125 : eval [12-15] @4/0
          %39 = concat [%37, %38] : eval [0-1, 12-15] @4/0
          %40 = add %28, %34 : eval [0-1, 12-15] @5/0
          %41 = add %29, %39 : eval [0-1, 12-15] @5/0
          %42 = slice %40 : eval [12-15] @6/0
          %43 = intt %42 : coeff [12-15] @6/0
          %44 = convert_basis %43 : coeff [0-1] @6/0
          %45 = ntt %44 : eval [0-1] @6/0
          %46 = slice %40 : eval [0-1] @6/0
          %47 = sub_mul_scalar %46, %45, [688431073, 597282320] : eval [0-1] @6/0
          %48 = slice %41 : eval [12-15] @6/0
          %49 = intt %48 : coeff [12-15] @6/0
          %50 = convert_basis %49 : coeff [0-1] @6/0
          %51 = ntt %50 : eval [0-1] @6/0
          %52 = slice %41 : eval [0-1] @6/0
          %53 = sub_mul_scalar %52, %51, [688431073, 597282320] : eval [0-1] @6/0
          output 0 0 %47
          output 0 1 %53
        }
    "#]]
    .assert_eq(&compiled.poly.to_string());
}

#[test]
fn plan_of_a_sum() {
    let program = dsl::build("sum", |g| {
        let (x, y) = (g.input("x", 4)?, g.input("y", 4)?);
        g.output("sum", x + y - 1.0, 4)?;
        g.output("same", x, 4)
    });
    let compiled = compile(&program.unwrap(), &params(), &Options::default()).unwrap();
    let text = compiled.plan.to_string();
    let short: Vec<&str> = text.lines().filter(|l| !l.starts_with("  prime")).collect();
    expect![[r#"
        plan "sum" abi 10 {
          params db41bc6111e423fa72deafa8abefeaa4 word 32 log_n 10
          buffer 0 arena rows 2 device 0
          buffer 1 input 0 rows 4 device 0
          buffer 2 input 1 rows 4 device 0
          buffer 3 output 0 rows 4 device 0
          buffer 4 output 1 rows 4 device 0
          segment "s0_level0" {
            slot rows 2 read_write
            slot rows 4 read
            slot rows 4 read
            slot rows 4 write
            slot rows 4 write
            launch add %4 {
              0:0 = 1:0, 2:0 prime 0
              3:2 = 1:2, 2:2 prime 0
              0:1 = 1:1, 2:1 prime 1
              3:3 = 1:3, 2:3 prime 1
            }
            launch add_scalar %6 {
              3:0 = 0:0 scalar 831999318 prime 0
              3:1 = 0:1 scalar 829492578 prime 1
            }
            launch add_scalar %6 {
              4:0 = 1:0 scalar 0 prime 0
              4:1 = 1:1 scalar 0 prime 1
              4:2 = 1:2 scalar 0 prime 0
              4:3 = 1:3 scalar 0 prime 1
            }
          }
          upload 0 buffer 1
          upload 1 buffer 2
          call 0 [0, 1, 2, 3, 4]
          download 0 buffer 3
          download 1 buffer 4
          peak device 0 rows 18 bytes 73728
        }"#]]
    .assert_eq(&short.join("\n"));
}

/// `x w + v` at scales of 2^50: 20000 is too large for integers of 63 bits, 3 is not.
#[test]
fn what_fits_63_bits_is_encoded_on_the_device() {
    let program = dsl::build("affine", |g| {
        // 64 different values of 512 slots: not stored once a run.
        let from = |first: f64| (0..64).map(|i| first / f64::from(1 + i)).collect::<Vec<f64>>();
        let (w, v) = (g.plain("w", &from(20_000.0))?, g.plain("v", &from(3.0))?);
        g.output("y", g.input("x", 2)? * w + v, 64)
    })
    .unwrap();
    let options = Options { encode_on_device: true, ..Options::default() };
    let compiled = compile(&program, &params(), &options).unwrap();
    let text = compiled.poly.to_string();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| ["slots", "encoded", "embed", "round_"].iter().any(|w| l.contains(w)))
        .collect();
    expect![[r#"
        encoded #0 = constant 0 level 1 scale 49.99997929966936 1.1647345094993738e-15
        slots #0 = constant 1 level 0 scale 50.00006496378282 2.531264402320751e-15
        %16 = embed_inverse #0 : real [] @3/0
        %17 = round_residues %16 : coeff [0-1] @3/0"#]]
    .assert_eq(&lines.join("\n"));
    let plan = compiled.plan.to_string();
    let lines: Vec<&str> = plan
        .lines()
        .map(str::trim)
        .filter(|l| l.contains("setup") || l.contains("slots") || l.contains("factors"))
        .collect();
    expect![[r#"
        buffer 3 factors rows 2 device 0
        buffer 4 slots 1 rows 2 device 0
        setup load_factors buffer 3
        setup load_slots constant 1 level 0 scale 50.00006496378282 2.531264402320751e-15 buffer 4
        setup encode constant 0 level 1 scale 49.99997929966936 1.1647345094993738e-15 buffer 5
        0:2 and 0:3 = 3:0 and 3:1 factors 2:0 and 2:1"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn passes_are_told_in_order() {
    let program = dsl::build("one", |g| g.output("y", g.input("x", 4)?.square(), 4)).unwrap();
    // Each pass begins, ends and shows what it made.
    let (mut begun, mut ended) = (Vec::new(), Vec::new());
    let compiled = compile_with(&program, &params(), &Options::default(), &mut |event| match event {
        Event::Begin(pass) => begun.push(pass),
        Event::End(stat, stage) => {
            assert_eq!(begun.last(), Some(&stat.pass));
            let counts = Counts::of(stage, &params()).unwrap();
            assert_eq!(counts.values, stat.after);
            assert!(dot(stage).starts_with("digraph {\n"));
            ended.push((stat, counts));
        }
    })
    .unwrap();
    assert_eq!(ended.iter().map(|(stat, _)| stat.clone()).collect::<Vec<_>>(), compiled.stats);
    let of = |pass: &str| ended.iter().find(|(stat, _)| stat.pass == pass).unwrap().1;
    assert_eq!((of("dce").key_switches, of("dce").rescales), (Some(0), None));
    assert_eq!((of("raise").key_switches, of("raise").rescales), (Some(1), Some(1)));
    // A product of 4 limbs to 2, with 4 special ones and a digit of 4: 4 back and 4 forth, 6 back and 2 forth for each half.
    assert_eq!((of("lower_ckks").ntts, of("lower_plan").ntts), (Some(24), Some(24)));
    assert!(of("lower_plan").bytes < of("lower_ckks").bytes);
}

#[test]
fn graphs_have_every_edge() {
    let program = dsl::build("edge", |g| g.output("y \"q\"", g.input("x", 4)?.square(), 4)).unwrap();
    expect![[r#"
        digraph {
          node [shape=box];
          v0 [label="x"];
          v1 [label="%1 mul"];
          v0 -> v1;
          v0 -> v1;
          o0 [label="y \"q\"", shape=oval];
          v1 -> o0;
        }
    "#]]
    .assert_eq(&dot(Stage::Ckks(program.function())));
}

#[test]
fn memory_is_reused_and_told() {
    let matrix: Vec<f64> = (0..32 * 32).map(|i| f64::from(i % 7) - 3.0).collect();
    let program = dsl::build("layers", |g| {
        let x = g.input("x", 32)?;
        let h = dsl::linear::matvec(x, "m1", &matrix, 32, 32)?.square();
        g.output("y", dsl::linear::matvec(h, "m2", &matrix, 32, 32)?, 32)
    });
    let compiled = compile(&program.unwrap(), &params(), &Options::default()).unwrap();
    let plan = &compiled.plan;
    let arena = plan.buffers[0].rows as usize;
    // What one row for each computed limb would take.
    let moved = ["input", "constant", "key", "slice", "concat"];
    let computed = compiled.poly.values.iter().filter(|v| !moved.contains(&v.op.name()));
    let all: usize = computed.map(|v| v.basis.len()).sum();
    assert!(arena * 7 < all * 2, "{arena} rows in the arena, {all} computed");
    let rows: u64 = plan.buffers.iter().map(|b| u64::from(b.rows)).sum();
    assert_eq!((plan.peaks.len(), plan.peaks[0].rows), (1, rows));
    assert_eq!(plan.peaks[0].bytes, rows * 4 * 1024);
    // Smaller batches keep fewer rows alive and need more launches.
    let small =
        lower::plan::lower(&compiled.poly, &params(), &Options { batch_rows: 1, ..Options::default() })
            .unwrap();
    assert!(small.buffers[0].rows < plan.buffers[0].rows);
    assert!(small.n_launches() > plan.n_launches());
    assert!(plan.segments.len() > 1);
}

#[test]
fn order_by_level() {
    let text = r#"function "f" {
  input "x" period 4
  %0 = input 0 {level 2 canonical degree 1}
  %1 = mul_scalar %0, 0.5 {level 2 product degree 1}
  %2 = rescale %1 {level 1 canonical degree 1}
  %3 = rotate %2, 1 {level 1 canonical degree 1}
  %4 = mul_scalar %0, 0.25 {level 2 product degree 1}
  %5 = rescale %4 {level 1 canonical degree 1}
  %6 = add %3, %5 {level 1 canonical degree 1}
  output "a" slots 1 %6
}
"#;
    let function = ckks_ir::text::parse(text, &[]).unwrap();
    let pass = CKKS.iter().find(|p| p.name == "order_by_level").unwrap();
    let out = (pass.run)(&function, &params()).unwrap();
    ckks_ir::verify::verify(&out, Some(&params()), pass.name).unwrap();
    expect![[r#"
        function "f" {
          input "x" period 4
          %0 = input 0 {level 2 canonical degree 1}
          %1 = mul_scalar %0, 0.5 {level 2 product degree 1}
          %2 = rescale %1 {level 1 canonical degree 1}
          %3 = mul_scalar %0, 0.25 {level 2 product degree 1}
          %4 = rescale %3 {level 1 canonical degree 1}
          %5 = rotate %2, 1 {level 1 canonical degree 1}
          %6 = add %5, %4 {level 1 canonical degree 1}
          output "a" slots 1 %6
        }
    "#]]
    .assert_eq(&out.to_string());
}

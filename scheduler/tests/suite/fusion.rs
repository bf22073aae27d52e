//! Fusion on `poly_ir`, text in, text out, and what of it is left to the lowering to plans.

use expect_test::expect;
use fhe_core::params::{Params, Preset};
use scheduler::passes::POLY;
use scheduler::{Options, lower, plan, poly_ir};

mod helpers {
    use super::*;

    pub(crate) fn params() -> Params {
        Preset::Toy10.params().unwrap()
    }

    /// A function after every pass, verified before and after each.
    pub(crate) fn passed(text: &str) -> poly_ir::Function {
        let mut function = poly_ir::text::parse(text).unwrap();
        poly_ir::verify::verify(&function, &params(), "test").unwrap();
        for pass in POLY {
            function = (pass.run)(function);
            poly_ir::verify::verify(&function, &params(), pass.name).unwrap();
        }
        function
    }
}

use helpers::{params, passed};

#[test]
fn fuse_inner_products() {
    let text = r#"polynomials "f" {
  input 0 [0-1]
  %0 = input 0 0 : eval [0-1] @0/1
  %1 = input 0 1 : eval [0-1] @0/1
  %2 = inner_product [%0 * %0] : eval [0-1] @0/1
  %3 = inner_product [%0 * %1] : eval [0-1] @0/1
  %4 = add %2, %3 : eval [0-1] @0/1
  %5 = add %4, %1 : eval [0-1] @0/1
  %6 = inner_product [%1 * %1] : eval [0-1] @0/1
  %7 = add %5, %6 : eval [0-1] @0/1
  output 0 0 %7
  output 0 1 %6
}
"#;
    let function = passed(text);
    expect![[r#"
        polynomials "f" {
          input 0 [0-1]
          %0 = input 0 0 : eval [0-1] @0/1
          %1 = input 0 1 : eval [0-1] @0/1
          %2 = inner_product [%0 * %0, %0 * %1] init %1 : eval [0-1] @0/1
          %3 = inner_product [%1 * %1] : eval [0-1] @0/1
          %4 = add %2, %3 : eval [0-1] @0/1
          output 0 0 %4
          output 0 1 %3
        }
    "#]]
    .assert_eq(&function.to_string());
}

#[test]
fn automorphisms_are_written_by_inner_products() {
    let text = r#"polynomials "f" {
  input 0 [0-1]
  %0 = input 0 0 : eval [0-1] @0/1
  %1 = input 0 1 : eval [0-1] @0/1
  %2 = inner_product [%0 * %0] : eval [0-1] @0/1
  %3 = add %2, %1 : eval [0-1] @0/1
  %4 = automorphism %3, 5 : eval [0-1] @0/1
  %5 = automorphism %4, 25 : eval [0-1] @0/1
  %6 = inner_product [%0 * %1] : eval [0-1] @0/1
  %7 = automorphism %6, 5 : eval [0-1] @0/1
  %8 = add %6, %7 : eval [0-1] @0/1
  %9 = inner_product [%1 * %1] : eval [0-1] @0/1
  %10 = automorphism %9, 2047 : eval [0-1] @0/1
  %11 = inner_product [%1 * %0] : eval [0-1] @0/1
  %12 = add %10, %11 : eval [0-1] @0/1
  %13 = add %5, %8 : eval [0-1] @0/1
  output 0 0 %12
  output 0 1 %13
}
"#;
    let function = passed(text);
    // Not what is permuted already, not what is read unpermuted as well; a permuted product is an addend, never joined.
    expect![[r#"
        polynomials "f" {
          input 0 [0-1]
          %0 = input 0 0 : eval [0-1] @0/1
          %1 = input 0 1 : eval [0-1] @0/1
          %2 = inner_product [%0 * %0] init %1 galois 5 : eval [0-1] @0/1
          %3 = automorphism %2, 25 : eval [0-1] @0/1
          %4 = inner_product [%0 * %1] : eval [0-1] @0/1
          %5 = automorphism %4, 5 : eval [0-1] @0/1
          %6 = add %4, %5 : eval [0-1] @0/1
          %7 = inner_product [%1 * %1] galois 2047 : eval [0-1] @0/1
          %8 = inner_product [%1 * %0] init %7 : eval [0-1] @0/1
          %9 = add %3, %6 : eval [0-1] @0/1
          output 0 0 %8
          output 0 1 %9
        }
    "#]]
    .assert_eq(&function.to_string());
    let text = function.to_string();
    assert_eq!(poly_ir::text::parse(&text).unwrap(), function);
    let plan = lower::plan::lower(&function, &params(), &Options::default()).unwrap();
    plan::verify::verify(&plan, "test").unwrap();
    plan::refine::refines(&plan, &function, &params()).unwrap();
    assert_eq!(plan::text::parse(&plan.to_string()).unwrap(), plan);
}

/// Two sums of the same first factors are one item, which ends their transform, if the automorphism is the same as well.
#[test]
fn sums_of_one_item_have_one_automorphism() {
    let plan = |galois: [&str; 2]| {
        let text = format!(
            "polynomials \"f\" {{\n  input 0 [0-1]\n  %0 = input 0 0 : eval [0-1] @0/1\n  %1 = input 0 1 : eval [0-1] @0/1\n  \
             %2 = intt %0 : coeff [0-1] @0/1\n  %3 = ntt %2 : eval [0-1] @0/1\n  \
             %4 = inner_product [%3 * %1]{} : eval [0-1] @0/1\n  %5 = inner_product [%3 * %0]{} : eval [0-1] @0/1\n  \
             output 0 0 %4\n  output 0 1 %5\n}}\n",
            galois[0], galois[1]
        );
        let function = poly_ir::text::parse(&text).unwrap();
        poly_ir::verify::verify(&function, &params(), "test").unwrap();
        let plan = lower::plan::lower(&function, &params(), &Options::default()).unwrap();
        plan::verify::verify(&plan, "test").unwrap();
        plan::refine::refines(&plan, &function, &params()).unwrap();
        plan.to_string()
    };
    for same in [["", ""], [" galois 5", " galois 5"]] {
        let text = plan(same);
        assert!(text.contains("launch ntt_rows_inner_product ") && text.contains(" and "), "{text}");
    }
    for other in [["", " galois 5"], [" galois 5", " galois 25"]] {
        let text = plan(other);
        assert!(text.contains("launch inner_product ") && !text.contains(" and "), "{text}");
    }
}

/// A transform ends where it is read, unless whoever reads it also reads it whole.
#[test]
fn transforms_end_where_they_are_only_read_to_be_ended() {
    let ends = |last: &str| {
        let text = format!(
            "polynomials \"f\" {{\n  input 0 [0-1]\n  %0 = input 0 0 : eval [0-1] @0/1\n  %1 = input 0 1 : eval [0-1] @0/1\n  \
             %2 = intt %0 : coeff [0-1] @0/1\n  %3 = ntt %2 : eval [0-1] @0/1\n  %4 = {last} : eval [0-1] @0/1\n  \
             output 0 0 %4\n  output 0 1 %1\n}}\n"
        );
        let function = poly_ir::text::parse(&text).unwrap();
        poly_ir::verify::verify(&function, &params(), "test").unwrap();
        let plan = lower::plan::lower(&function, &params(), &Options::default()).unwrap();
        plan::verify::verify(&plan, "test").unwrap();
        plan::refine::refines(&plan, &function, &params()).unwrap();
        let text = plan.to_string();
        assert_eq!(text.contains("launch ntt_rows_"), text.contains("launch ntt_columns "), "{text}");
        text.contains("launch ntt_columns ")
    };
    assert!(ends("inner_product [%3 * %1]"));
    assert!(ends("inner_product [%3 * %1, %1 * %1, %3 * %0]"));
    assert!(ends("sub_mul_scalar %1, %3, [5, 6]"));
    for whole in [
        "inner_product [%1 * %3]",
        "inner_product [%3 * %3]",
        "inner_product [%3 * %1, %1 * %3]",
        "inner_product [%3 * %1] init %3",
        "sub_mul_scalar %3, %1, [5, 6]",
        "sub_mul_scalar %3, %3, [5, 6]",
        "sub_mul_scalar %1, %3, [5, 6] add %3",
        "add %3, %1",
    ] {
        assert!(!ends(whole), "{whole}");
    }
}

/// A raised sum of plaintext products, to whose limbs of the level P times a ciphertext is added: it starts from that there.
#[test]
fn what_is_added_to_a_part_is_what_its_product_starts_from() {
    let text = r#"polynomials "f" {
  input 0 [0-2]
  %0 = input 0 0 : eval [0-2] @0/1
  %1 = input 0 1 : eval [0-2] @0/1
  %2 = slice %1 : eval [0-1] @0/1
  %3 = inner_product [%0 * %1] : eval [0-2] @0/1
  %4 = inner_product [%1 * %1] : eval [0-2] @0/1
  %5 = add %3, %4 : eval [0-2] @0/1
  %6 = mul_scalar %2, [5, 7] : eval [0-1] @0/1
  %7 = slice %5 : eval [0-1] @0/1
  %8 = slice %5 : eval [2] @0/1
  %9 = add %6, %7 : eval [0-1] @0/1
  %10 = concat [%9, %8] : eval [0-2] @0/1
  output 0 0 %10
  output 0 1 %3
}
"#;
    let function = passed(&text.replace("output 0 1 %3", "output 0 1 %1"));
    expect![[r#"
        polynomials "f" {
          input 0 [0-2]
          %0 = input 0 0 : eval [0-2] @0/1
          %1 = input 0 1 : eval [0-2] @0/1
          %2 = slice %1 : eval [0-1] @0/1
          %3 = slice %0 : eval [0-1] @0/1
          %4 = slice %0 : eval [2] @0/1
          %5 = slice %1 : eval [2] @0/1
          %6 = inner_product [%4 * %5, %5 * %5] : eval [2] @0/1
          %7 = inner_product [%3 * %2, %2 * %2] init %2 times [5, 7] : eval [0-1] @0/1
          %8 = concat [%7, %6] : eval [0-2] @0/1
          output 0 0 %8
          output 0 1 %1
        }
    "#]]
    .assert_eq(&function.to_string());
    // One that is needed whole, or of which a limb is in two parts, stays one.
    let whole = text.replace("output 0 1 %3", "output 0 1 %5");
    let part =
        "  %11 = slice %5 : eval [0-1] @0/1\n  %12 = concat [%11, %8] : eval [0-2] @0/1\n  output 0 0 %10";
    let twice = text.replace("  output 0 0 %10", part).replace("output 0 1 %3", "output 0 1 %12");
    for text in [whole, twice] {
        let function = passed(&text).to_string();
        assert!(function.contains("inner_product [%0 * %1, %1 * %1] : eval [0-2]"), "{function}");
        assert!(function.contains("mul_scalar"), "{function}");
    }
}

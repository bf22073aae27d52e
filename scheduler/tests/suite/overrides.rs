//! What the user writes of the placement is kept, or refused with a reason.

use crate::common;

use crate::common::{check_everywhere, check_pass as check};
use expect_test::expect;
use fhe_core::params::{Level, Preset};
use scheduler::ckks_ir::Kind;
use scheduler::dsl::{self, Encrypted, Program, linear};
use scheduler::{Error, Options, Result, choose, compile};

mod helpers {
    use super::*;

    /// The body of a program, and the line that it begins on.
    pub(crate) type Case = (u32, for<'g> fn(Encrypted<'g>) -> Result<Encrypted<'g>>);

    /// Why none of them compiles, a line each.
    pub(crate) fn refusals(cases: &[Case]) -> String {
        let params = Preset::Toy10.params().unwrap();
        let mut lines = String::new();
        for &(from, body) in cases {
            let program = dsl::build("refused", |g| g.output("y", body(g.input("x", 8)?)?, 8)).unwrap();
            let error = compile(&program, &params, &Options::default()).unwrap_err();
            assert!(matches!(error, Error::Override { .. }), "{error}");
            // The line of the input is in this helper.
            let input = program.function().inputs[0].at.as_ref().unwrap();
            let text = error.to_string().replace(&format!(" {input}"), "");
            lines += &common::relative(&text, file!(), from);
            lines.push('\n');
        }
        lines
    }

    /// Every override, and values with other uses too.
    pub(crate) fn program() -> Program {
        dsl::build("overrides", |g| {
            let (x, y) = (g.input("x", 8)?, g.input("y", 8)?);
            let w = g.plain("w", &[0.5, -0.25])?;
            let shared = x * y;
            let sum = (x * w).rescaled().named("rescaled") + (y * 0.75).rescaled();
            let early = (x * x.rotate(1)).relinearized().named("relinearized") + x.square();
            let high = x.at_level(Level(4)).rotate(1);
            g.output("sum", sum, 8)?;
            g.output("early", early, 8)?;
            g.output("shared", shared * shared.relinearized(), 8)?;
            g.output("high", high.at_level(Level(3)).named("high") + y.rotate(2), 8)?;
            let matrix: Vec<f64> = (0..64).map(|i| f64::from(i % 5) / 5.0 - 0.4).collect();
            let z = linear::matvec(early.at_level(Level(2)), "m", &matrix, 8, 8)?;
            g.output("z", (z.at_level(Level(1)).named("low") * sum).rescaled(), 8)
        })
        .unwrap()
    }
}

use helpers::{Case, program, refusals};

#[test]
fn a_rescale_is_made_where_it_is_written() {
    let body = |rescaled: &str| {
        format!("  %2 = mul_plain %0, #0\n  %3 = mul_scalar %1, 0.5\n{rescaled}\n  output \"a\" slots 1 %6",)
    };
    // Without, one rescale after the sum.
    check(
        "place",
        &body("  %4 = neg %2\n  %5 = neg %3\n  %6 = add %4, %5"),
        &expect![[r#"
        function "f" {
          input "x" period 4
          input "y" period 4
          constant #0 "w" [1.0, 2.0]
          constant #1 "v" [1.0, 2.0]
          %0 = input 0 {level 1 canonical degree 1}
          %1 = input 1 {level 1 canonical degree 1}
          %2 = mul_plain %0, #0 {level 1 product degree 1}
          %3 = mul_scalar %1, 0.5 {level 1 product degree 1}
          %4 = neg %2 {level 1 product degree 1}
          %5 = neg %3 {level 1 product degree 1}
          %6 = add %4, %5 {level 1 product degree 1}
          %7 = rescale %6 {level 0 canonical degree 1}
          output "a" slots 1 %7
        }
    "#]],
    );
    check(
        "place",
        &body("  %4 = rescale %2 \"early\" at \"a.rs:1:2\"\n  %5 = rescale %3\n  %6 = add %4, %5"),
        &expect![[r#"
            function "f" {
              input "x" period 4
              input "y" period 4
              constant #0 "w" [1.0, 2.0]
              constant #1 "v" [1.0, 2.0]
              %0 = input 0 {level 1 canonical degree 1}
              %1 = input 1 {level 1 canonical degree 1}
              %2 = mul_plain %0, #0 {level 1 product degree 1}
              %3 = mul_scalar %1, 0.5 {level 1 product degree 1}
              %4 = rescale %2 {level 0 canonical degree 1} "early" at "a.rs:1:2"
              %5 = rescale %3 {level 0 canonical degree 1}
              %6 = add %4, %5 {level 0 canonical degree 1}
              output "a" slots 1 %6
            }
        "#]],
    );
}

#[test]
fn a_relinearization_is_made_where_it_is_written() {
    // %4 stays a product, so the sum is rescaled once; it is relinearized again for %3. %6 has another use, at a higher level, so
    // %7 is at that level too, and rescaled and dropped for its sum.
    check(
        "place",
        "  %2 = mul %0, %1
  %3 = mul %0, %0
  %4 = relinearize %2 \"early\" at \"a.rs:1:2\"
  %5 = add %4, %3
  %6 = mul %1, %1
  %7 = relinearize %6
  %8 = mul_plain %6, #0
  %9 = mul %0, %0
  %10 = add %7, %9
  output \"a\" slots 1 %5
  output \"b\" slots 1 %8
  output \"c\" slots 1 %10",
        &expect![[r#"
            function "f" {
              input "x" period 4
              input "y" period 4
              constant #0 "w" [1.0, 2.0]
              constant #1 "v" [1.0, 2.0]
              %0 = input 0 {level 1 canonical degree 1}
              %1 = input 1 {level 2 canonical degree 1}
              %2 = level_drop %1, 1 {level 1 canonical degree 1}
              %3 = mul %0, %2 {level 1 product degree 2}
              %4 = mul %0, %0 {level 1 product degree 2}
              %5 = relinearize %3 {level 1 product degree 1} "early" at "a.rs:1:2"
              %6 = add %5, %4 {level 1 product degree 2}
              %7 = mul %1, %1 {level 2 product degree 2}
              %8 = relinearize %7 {level 2 product degree 1}
              %9 = rescale %8 {level 1 canonical degree 1}
              %10 = mul_plain %9, #0 {level 1 product degree 1}
              %11 = mul %0, %0 {level 1 product degree 2}
              %12 = rescale %8 {level 1 canonical degree 1}
              %13 = level_drop %12, 0 {level 0 canonical degree 1}
              %14 = relinearize %11 {level 1 product degree 1}
              %15 = rescale %14 {level 0 canonical degree 1}
              %16 = add %13, %15 {level 0 canonical degree 1}
              %17 = relinearize %6 {level 1 product degree 1}
              %18 = rescale %17 {level 0 canonical degree 1}
              %19 = rescale %10 {level 0 canonical degree 1}
              output "a" slots 1 %18
              output "b" slots 1 %19
              output "c" slots 1 %16
            }
        "#]],
    );
}

#[test]
fn a_level_is_the_one_that_is_written() {
    // %3 is %2 itself, at its level and under its name; %5 rotates there; %6 is dropped to for %7.
    check(
        "place",
        "  %2 = mul %0, %1
  %3 = level_drop %2, 3 \"high\" at \"a.rs:1:2\"
  %4 = rotate %3, 1
  %5 = level_drop %4, 3 \"same\"
  %6 = level_drop %5, 1
  %7 = mul_plain %6, #0
  output \"a\" slots 1 %7
  output \"b\" slots 1 %5",
        &expect![[r#"
            function "f" {
              input "x" period 4
              input "y" period 4
              constant #0 "w" [1.0, 2.0]
              constant #1 "v" [1.0, 2.0]
              %0 = input 0 {level 4 canonical degree 1}
              %1 = input 1 {level 4 canonical degree 1}
              %2 = mul %0, %1 {level 4 product degree 2}
              %3 = relinearize %2 {level 4 product degree 1}
              %4 = rescale %3 {level 3 canonical degree 1} "high" at "a.rs:1:2"
              %5 = rotate %4, 1 {level 3 canonical degree 1} "same"
              %6 = level_drop %5, 1 {level 1 canonical degree 1}
              %7 = mul_plain %6, #0 {level 1 product degree 1}
              %8 = rescale %7 {level 0 canonical degree 1}
              output "a" slots 1 %8
              output "b" slots 1 %5
            }
        "#]],
    );
}

#[test]
fn programs_with_overrides_mean_the_same_everywhere() {
    let program = program();
    check_everywhere::<u32>(&program, Preset::Toy10, &Options::default(), 1e-5);
    check_everywhere::<u64>(&program, Preset::Toy10w, &Options::default(), 1e-5);
    let params = Preset::Toy10.params().unwrap();
    let compiled = compile(&program, &params, &Options::default()).unwrap();
    let levels: Vec<Level> = compiled.manifest.inputs.iter().map(|input| input.level).collect();
    assert_eq!(levels, [Level(4), Level(2)]);
    // The passes behind placement leave them.
    let kinds = ["rescaled", "relinearized", "low", "high"].map(|name| {
        let value = compiled.placed.values.iter().find(|v| v.name.as_deref() == Some(name)).unwrap();
        format!("{name}: {}", Kind { raised: false, ..value.kind.unwrap() })
    });
    expect![[r#"
        rescaled: level 1 canonical degree 1
        relinearized: level 3 product degree 1
        low: level 1 canonical degree 1
        high: level 3 canonical degree 1"#]]
    .assert_eq(&kinds.join("\n"));
}

#[test]
fn what_owes_nothing_is_refused() {
    let cases: [Case; 8] = [
        (line!(), |x| Ok(x.rescaled())),
        (line!(), |x| Ok(x.square().rescaled().rescaled())),
        (line!(), |x| {
            let product = x * 0.5;
            let sum = (product + x * 0.25).named("sum");
            Ok(sum.rescaled().named("mine") * product)
        }),
        (line!(), |x| Ok((x * 2.0).rescaled())),
        (line!(), |x| Ok(linear::matvec(x, "m", &[0.5; 64], 8, 8)?.rescaled())),
        (line!(), |x| Ok((x * 0.5).relinearized())),
        (line!(), |x| Ok(x.square().relinearized().relinearized())),
        (line!(), |x| Ok(x.square().rescaled().relinearized())),
    ];
    expect![[r#"
        `rescaled` at +0: `x` owes no rescale, expected a product, or a sum of nothing but products without other uses: remove `rescaled`
        `rescaled` at +0: `%2 rescale at +0` owes no rescale, expected a product, or a sum of nothing but products without other uses: remove `rescaled`
        `mine` at +3: `sum at +2` owes no rescale, expected a product, or a sum of nothing but products without other uses: remove `rescaled`
        `rescaled` at +0: `%1 add at +0` owes no rescale, expected a product, or a sum of nothing but products without other uses: remove `rescaled`
        `rescaled` at +0: `%1 linear_transform at +0` owes no rescale, expected a product, or a sum of nothing but products without other uses: remove `rescaled`
        `relinearized` at +0: `%1 mul_scalar at +0` has degree 1, expected 2 of a product of encrypted vectors, or a sum of nothing but products without other uses: remove `relinearized`
        `relinearized` at +0: `%2 relinearize at +0` has degree 1, expected 2 of a product of encrypted vectors, or a sum of nothing but products without other uses: remove `relinearized`
        `relinearized` at +0: `%2 rescale at +0` has degree 1, expected 2 of a product of encrypted vectors, or a sum of nothing but products without other uses: remove `relinearized`
    "#]].assert_eq(&refusals(&cases));
}

#[test]
fn levels_that_cannot_be_are_refused() {
    let cases: [Case; 6] = [
        // Above what there is, at once and through what comes before.
        (line!(), |x| Ok(x.at_level(Level(9)))),
        (line!(), |x| Ok(x.at_level(Level(u32::MAX)).square())),
        (line!(), |x| Ok((x.square().square() * 0.5).at_level(Level(4)) * x)),
        // Below what a user needs: an operation, a transform, another override.
        (line!(), |x| Ok(x.at_level(Level(1)).square().square())),
        (line!(), |x| Ok(linear::matvec(x.at_level(Level(1)), "m", &[0.5; 64], 8, 8)?.square())),
        (line!(), |x| Ok(x.at_level(Level(2)).rotate(1).at_level(Level(4)))),
    ];
    expect![[r#"
        `at_level` at +0: needs 9 levels, the parameters have 5, expected at most level 5 here: write that, or choose larger parameters
        `at_level` at +0: needs 4294967295 levels, the parameters have 5, expected at most level 5 here: write that, or choose larger parameters
        `at_level` at +0: needs 7 levels, the parameters have 5, expected at most level 2 here: write that, or choose larger parameters
        `at_level` at +0: `%2 mul at +0` needs it at level 2, expected at least that: write a higher level, or none
        `at_level` at +0: `%2 linear_transform at +0` needs it at level 2, expected at least that: write a higher level, or none
        `at_level` at +0: `%2 rotate at +0` needs it at level 4, expected at least that: write a higher level, or none
    "#]].assert_eq(&refusals(&cases));
}

#[test]
fn a_program_that_is_too_deep_anyway_is_so_with_an_override() {
    let program = dsl::build("deep", |g| {
        let x = g.input("x", 8)?;
        let mut y = x.at_level(Level(6));
        for _ in 0..6 {
            y = y.square();
        }
        g.output("y", y, 8)
    });
    let params = Preset::Toy10.params().unwrap();
    let error = compile(&program.unwrap(), &params, &Options::default()).unwrap_err();
    assert!(matches!(error, Error::TooDeep { needed: 6, .. }), "{error}");
}

#[test]
fn parameters_are_chosen_for_the_levels_that_are_written() {
    let at = |level| {
        let program = dsl::build("high", |g| g.output("y", g.input("x", 8)?.at_level(Level(level)), 8));
        choose(&program.unwrap())
    };
    assert_eq!(at(7).unwrap().levels, 7);
    assert!(at(7).unwrap().params.max_level() >= Level(7));
    assert!(matches!(at(1000), Err(Error::Override { .. })));
}

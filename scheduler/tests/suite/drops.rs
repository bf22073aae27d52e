//! Level drops that products absorb, scalars that become plaintexts, and the rules about both.

use crate::common;

mod helpers {
    use crate::common::rule_of;
    use fhe_core::params::Preset;
    use scheduler::ckks_ir::{Function, text, verify};
    use scheduler::passes::CKKS;

    pub(crate) fn parsed(body: &str) -> Function {
        let head = "function \"f\" {\n  input \"x\" period 4\n  input \"y\" period 4\n  constant #0 \"w\" [1.0, 2.0]\n";
        text::parse(&format!("{head}{body}\n}}"), &[]).unwrap()
    }

    /// Runs a pass on a placed function; its values and outputs.
    pub(crate) fn after(pass: &str, body: &str) -> String {
        let params = Preset::Toy10.params().unwrap();
        let function = parsed(body);
        verify::verify(&function, Some(&params), "test").unwrap();
        let pass = CKKS.iter().find(|p| p.name == pass).unwrap();
        let out = (pass.run)(&function, &params).unwrap();
        verify::verify(&out, Some(&params), pass.name).unwrap();
        let text = out.to_string();
        let lines = text.lines().filter(|line| line.contains('%') || line.contains('#'));
        lines.map(str::trim).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn broken(preset: Preset, body: &str) -> &'static str {
        rule_of(verify::verify(&parsed(body), Some(&preset.params().unwrap()), "test"))
    }
}

use expect_test::expect;
use fhe_core::params::{Level, Preset};
use helpers::{after, broken};

#[test]
fn products_by_constants_forget_limbs_in_place_of_a_drop() {
    let found = after(
        "absorb_drops",
        r#"  %0 = input 0 {level 4 canonical degree 1}
  %1 = input 1 {level 2 canonical degree 1}
  %2 = level_drop %0, 2 {level 2 canonical degree 1}
  %3 = mul_scalar %2, 0.5 {level 2 product degree 1}
  %4 = mul_plain %1, #0 {level 2 product degree 1}
  %5 = add %3, %4 {level 2 product degree 1}
  %6 = rescale %5 {level 1 canonical degree 1}
  output "z" slots 4 %6"#,
    );
    expect![[r#"
          constant #0 "w" [1.0, 2.0]
          %0 = input 0 {level 4 canonical degree 1}
          %1 = input 1 {level 2 canonical degree 1}
          %2 = mul_scalar %0, 0.5 {level 2 product degree 1}
          %3 = mul_plain %1, #0 {level 2 product degree 1}
          %4 = add %2, %3 {level 2 product degree 1}
          %5 = rescale %4 {level 1 canonical degree 1}
          output "z" slots 4 %5"#]]
    .assert_eq(&found);
}

#[test]
fn sums_take_what_would_be_dropped_before_they_are_rescaled() {
    let body = |sum: &str| {
        format!(
            "  %0 = input 0 {{level 4 canonical degree 1}}
  %1 = input 1 {{level 3 canonical degree 1}}
  %2 = mul_plain %1, #0 {{level 3 product degree 1}}
  %3 = rescale %2 {{level 2 canonical degree 1}}
  %4 = level_drop %0, 2 {{level 2 canonical degree 1}}
  %5 = {sum} {{level 2 canonical degree 1}} \"sum\"
  output \"z\" slots 4 %5"
        )
    };
    expect![[r#"
          constant #0 "w" [1.0, 2.0]
          %0 = input 0 {level 4 canonical degree 1}
          %1 = input 1 {level 3 canonical degree 1}
          %2 = mul_plain %1, #0 {level 3 product degree 1}
          %3 = mul_scalar %0, 1.0 {level 3 product degree 1}
          %4 = sub %3, %2 {level 3 product degree 1}
          %5 = rescale %4 {level 2 canonical degree 1} "sum"
          output "z" slots 4 %5"#]]
    .assert_eq(&after("absorb_drops", &body("sub %4, %3")));
    expect![[r#"
          constant #0 "w" [1.0, 2.0]
          %0 = input 0 {level 4 canonical degree 1}
          %1 = input 1 {level 3 canonical degree 1}
          %2 = mul_plain %1, #0 {level 3 product degree 1}
          %3 = mul_scalar %0, 1.0 {level 3 product degree 1}
          %4 = sub %2, %3 {level 3 product degree 1}
          %5 = rescale %4 {level 2 canonical degree 1} "sum"
          output "z" slots 4 %5"#]]
    .assert_eq(&after("absorb_drops", &body("sub %3, %4")));
}

#[test]
fn a_drop_that_something_needs_stays_and_so_does_its_sum() {
    let body = r#"  %0 = input 0 {level 4 canonical degree 1}
  %1 = input 1 {level 3 canonical degree 1}
  %2 = mul_plain %1, #0 {level 3 product degree 1}
  %3 = rescale %2 {level 2 canonical degree 1}
  %4 = level_drop %0, 2 {level 2 canonical degree 1}
  %5 = add %3, %4 {level 2 canonical degree 1}
  %6 = mul %4, %5 {level 2 product degree 2}
  %7 = relinearize %6 {level 2 product degree 1}
  %8 = rescale %7 {level 1 canonical degree 1}
  output "z" slots 4 %8"#;
    let found = after("absorb_drops", body);
    let same: Vec<&str> = body.lines().filter(|line| line.contains("= ")).collect();
    assert!(same.iter().all(|line| found.contains(line.trim())), "{found}");
}

#[test]
fn scalars_in_sums_are_plaintexts_of_period_one() {
    let found = after(
        "scalars_in_sums",
        r#"  %0 = input 0 {level 4 canonical degree 1}
  %1 = input 1 {level 4 canonical degree 1}
  %2 = mul_scalar %0, 0.5 {level 4 product degree 1}
  %3 = mul_scalar %1, 0.25 {level 4 product degree 1}
  %4 = sub %2, %3 {level 4 product degree 1}
  %5 = rescale %4 {level 3 canonical degree 1}
  %6 = mul_scalar %5, 0.125 {level 3 product degree 1}
  %7 = rescale %6 {level 2 canonical degree 1}
  output "z" slots 4 %7"#,
    );
    expect![[r#"
          constant #0 "w" [1.0, 2.0]
          constant #1 "0.5" [0.5]
          constant #2 "-0.25" [-0.25]
          %0 = input 0 {level 4 canonical degree 1}
          %1 = input 1 {level 4 canonical degree 1}
          %2 = mul_plain %0, #1 {level 4 product degree 1}
          %3 = mul_plain %1, #2 {level 4 product degree 1}
          %4 = add %2, %3 {level 4 product degree 1}
          %5 = rescale %4 {level 3 canonical degree 1}
          %6 = mul_scalar %5, 0.125 {level 3 product degree 1}
          %7 = rescale %6 {level 2 canonical degree 1}
          output "z" slots 4 %7"#]]
    .assert_eq(&found);
}

#[test]
fn rules() {
    let product = |level: u32| {
        format!(
            "  %0 = input 0 {{level 2 canonical degree 1}}
  %1 = mul_scalar %0, 0.5 {{level {level} product degree 1}}
  %2 = rescale %1 {{level {} canonical degree 1}}
  output \"z\" slots 4 %2",
            level - 1
        )
    };
    assert_eq!(broken(Preset::Toy10, &product(3)), "kind");
    // On a rational chain the level below has terminal primes that the one above has not.
    assert_eq!(broken(Preset::Toy12r, &product(1)), "forget");
    let raised = |from: u32, to: u32, factor: f64| {
        format!(
            "  %0 = input 0 {{level {from} canonical degree 1}}
  %1 = mod_raise %0, {to}, {factor:?} {{level {to} canonical degree 1}}
  output \"z\" slots 4 %1"
        )
    };
    let behind = |lines: &str| {
        let params = Preset::Toy12r.params().unwrap();
        let (to, from) = (params.max_level(), Level(0));
        let scale = |level| params.level(level).unwrap().log_scale;
        let factor = (scale(from) - scale(to)).exp2();
        let text = raised(0, to.0, factor).replace("  output \"z\" slots 4 %1", lines);
        let function = helpers::parsed(&text);
        assert_eq!(scheduler::ckks_ir::text::parse(&function.to_string(), &[]).unwrap(), function);
        scheduler::ckks_ir::verify::verify(&function, Some(&params), "test")
    };
    let kind = format!("{{level {} canonical degree 1}}", Preset::Toy12r.params().unwrap().max_level());
    behind(&format!("  %2 = neg %1 {kind} bound 2.0 mean 0.5 of raised\n  output \"z\" slots 4 %2")).unwrap();
    let again = format!("  %2 = neg %1 {kind} bound 1.0 mean 1.0 of returned\n");
    behind(&format!("{again}  output \"z\" slots 4 %2")).unwrap();
    // What is made of what was returned is made of no mod_raise.
    let twice = behind(&format!(
        "{again}  %3 = neg %2 {kind} bound 1.0 mean 1.0 of raised\n  output \"z\" slots 4 %3"
    ));
    assert_eq!(common::rule_of(twice), "bound");
    assert_eq!(broken(Preset::Toy12r, &raised(0, 28, 0.5)), "raise");
    assert_eq!(broken(Preset::Toy12r, &raised(0, 27, 0.5)), "raise");
    let function = helpers::parsed(&raised(1, 28, 0.5));
    assert_eq!(common::rule_of(scheduler::ckks_ir::verify::verify(&function, None, "test")), "kind");
    let bootstrap = |kind: &str, period: u32| {
        format!(
            "  %0 = input 0{kind}
  %1 = bootstrap %0, {period}{kind}
  output \"z\" slots 4 %1"
        )
    };
    assert_eq!(broken(Preset::Toy12r, &bootstrap(" {level 1 canonical degree 1}", 4)), "placed");
    assert_eq!(broken(Preset::Toy12r, &bootstrap("", 3)), "period");
}

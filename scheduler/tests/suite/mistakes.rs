//! The user's mistakes: what is said, and that it points at the user's line.

use crate::common;

use expect_test::{Expect, expect};
use fhe_core::params::{Params, Preset};
use scheduler::ckks_ir::{self, Location};
use scheduler::dsl::{self, Graph, linear};
use scheduler::{Error, Options, Result, compile};

mod helpers {
    use super::*;

    pub(crate) fn params() -> Params {
        Preset::Toy10.params().unwrap()
    }

    pub(crate) fn relative(error: &Error, from: u32) -> String {
        common::relative(&error.to_string(), file!(), from)
    }

    /// The mistake of a body, which begins on the line `from`.
    pub(crate) fn check(from: u32, body: impl FnOnce(&Graph) -> Result<()>, expected: &Expect) {
        expected.assert_eq(&relative(&dsl::build("mistake", body).unwrap_err(), from));
    }
}

use helpers::{check, params, relative};

#[test]
fn declarations_and_outputs() {
    check(line!(), |g| g.input("x", 3).map(|_| ()), &expect!["`x`: period 3, expected a power of two at +0"]);
    check(
        line!(),
        |g| {
            g.input("x", 4)?;
            g.input("x", 4).map(|_| ())
        },
        &expect!["input `x` is declared twice: first at +2, again at +3"],
    );
    check(
        line!(),
        |g| g.plain("w", &[1.0, f64::NAN]).map(|_| ()),
        &expect!["`w`: element 1 is NaN+0i, expected a finite number at +1"],
    );
    check(
        line!(),
        |g| g.plain("w", &[1.0, 2.0, 3.0]).map(|_| ()),
        &expect!["`w`: period 3, expected a power of two at +1"],
    );
    check(
        line!(),
        |g| {
            let x = g.input("x", 4)?;
            g.output("y", x, 0)
        },
        &expect!["output `y`: 0 slots, expected 1 to 65536 at +3"],
    );
    check(
        line!(),
        |g| {
            let x = g.input("x", 4)?;
            g.output("y", x, 1)?;
            g.output("y", x, 1)
        },
        &expect!["output `y` is declared twice: first at +3, again at +4"],
    );
    let from = line!();
    let error = dsl::build("empty", |g| g.input("x", 4).map(|_| ())).unwrap_err();
    expect!["program `empty` has no output at +1: return a value by `Graph::output`"]
        .assert_eq(&relative(&error, from));
}

#[test]
fn the_first_mistake_in_an_operator_is_told() {
    check(
        line!(),
        |g| {
            let x = g.input("x", 4)?;
            let y = (x + 1.0) * f64::INFINITY;
            g.output("y", y + f64::NAN, 1)
        },
        &expect!["`scalar beside %1 add_scalar`: element 0 is inf, expected a finite number at +3"],
    );
    let from = line!();
    let foreign = dsl::build("outer", |g| {
        let x = g.input("x", 4)?;
        dsl::build("inner", |h| h.output("z", x, 4)).map(|_| ())
    });
    expect!["`x` at +2 belongs to another program than what it meets at +3"]
        .assert_eq(&relative(&foreign.unwrap_err(), from));
    let from = line!();
    let foreign = dsl::build("outer", |g| {
        let w = g.plain("w", &[1.0])?;
        dsl::build("inner", |h| {
            let y = w * h.input("y", 4)?;
            h.output("z", y, 4)
        })
        .map(|_| ())
    });
    expect!["`w` at +2 belongs to another program than what it meets at +4"]
        .assert_eq(&relative(&foreign.unwrap_err(), from));
}

#[test]
fn matrices() {
    check(
        line!(),
        |g| linear::matvec(g.input("x", 4)?, "m", &[1.0; 10], 2, 5).map(|_| ()),
        &expect!["matrix `m`: 2 times 5, expected at most the period of the vector, 4 at +1"],
    );
    check(
        line!(),
        |g| linear::matvec(g.input("x", 4)?, "m", &[1.0; 9], 2, 5).map(|_| ()),
        &expect!["matrix `m`: 9 elements, expected 2 times 5 at +1"],
    );
}

#[test]
fn what_reaches_no_output_is_told() {
    check(
        line!(),
        |g| {
            let x = g.input("x", 4)?;
            g.input("y", 4)?;
            g.output("z", x, 4)
        },
        &expect![
            "input `y` at +3 reaches no output: return it, remove it, or mark it by `unused_on_purpose`"
        ],
    );
    check(
        line!(),
        |g| {
            let x = g.input("x", 4)?;
            let w = g.plain("w", &[1.0])?;
            // The end of the chain is named, not the square that leads there.
            let _ = x.square() * w;
            g.plain("v", &[1.0])?;
            g.output("z", x, 4)
        },
        &expect![
            "value `%2 mul_plain` at +5 reaches no output (and 1 more): return it, remove it, or mark it by `unused_on_purpose`"
        ],
    );
    check(
        line!(),
        |g| {
            g.plain("v", &[1.0])?;
            g.output("z", g.input("x", 4)?, 4)
        },
        &expect![
            "plaintext `v` at +2 reaches no output: return it, remove it, or mark it by `unused_on_purpose`"
        ],
    );
    let marked = dsl::build("marked", |g| {
        let x = g.input("x", 4)?;
        let y = g.input("y", 4)?;
        g.input("unused", 4)?.unused_on_purpose();
        g.plain("v", &[1.0])?.unused_on_purpose();
        // What a marked value is made of is needed.
        (y.square() + 1.0).unused_on_purpose();
        g.output("z", x, 4)
    })
    .unwrap();
    let compiled = compile(&marked, &params(), &Options::default()).unwrap();
    assert_eq!(compiled.manifest.inputs.len(), 3);
    assert!(compiled.placed.constants.is_empty());
}

#[test]
fn too_deep_names_the_longest_chain() {
    let from = line!();
    let program = dsl::build("deep", |g| {
        let x = g.input("x", 4)?;
        let mut h = x * 0.5;
        for _ in 0..5 {
            h = h.square();
        }
        g.output("y", h.named("sixth") + x, 4)
    })
    .unwrap();
    let error = compile(&program, &params(), &Options::default()).unwrap_err();
    assert!(matches!(error, Error::TooDeep { needed: 6, .. }));
    expect!["the program needs 6 levels, the parameters have 5; longest chain: x at +2 -> %1 mul_scalar at +3 -> %2 mul at +5 -> %3 mul at +5 -> %4 mul at +5 -> %5 mul at +5 -> sixth at +5; choose parameters with more, or such that bootstrap"].assert_eq(&relative(&error, from));
}

#[test]
fn parameters_tell_of_the_line_too() {
    let from = line!();
    let large = dsl::build("large", |g| g.output("y", g.input("x", 1024)?, 1024)).unwrap();
    let error = compile(&large, &params(), &Options::default()).unwrap_err();
    expect!["`x`: period 1024, expected a power of two of at most 512 at +1"]
        .assert_eq(&relative(&error, from));
    let from = line!();
    let large = dsl::build("large", |g| g.output("y", g.input("x", 4)?, 1024)).unwrap();
    let error = compile(&large, &params(), &Options::default()).unwrap_err();
    expect!["output `y`: 1024 slots, expected 1 to 512 at +1"].assert_eq(&relative(&error, from));
}

#[test]
fn every_placed_value_knows_its_line() {
    let from = line!();
    let program = dsl::build("net", |g| {
        let x = g.input("x", 16)?;
        let matrix: Vec<f64> = (0..256).map(f64::from).collect();
        let h = linear::matvec(x, "m", &matrix, 16, 16)?;
        let h = 1.0 - h.square();
        g.output("y", h, 16)
    });
    let compiled = compile(&program.unwrap(), &params(), &Options::default()).unwrap();
    let lines: Vec<u32> = compiled.placed.values.iter().map(|v| v.at.as_ref().unwrap().line - from).collect();
    assert!(compiled.placed.values.iter().all(|v| v.at.as_ref().unwrap().file == file!()));
    // All that a matrix product is made of is of the line that asked for it.
    assert_eq!(lines.iter().filter(|&&line| line == 2).count(), 1);
    assert!(lines.iter().filter(|&&line| line == 4).count() > 32);
    assert_eq!(lines.iter().filter(|&&line| line > 4).count(), 5);
    assert!(lines.iter().all(|&line| [2, 4, 5, 6].contains(&line)));
    let text = compiled.placed.to_string();
    assert_eq!(ckks_ir::text::parse(&text, &compiled.manifest.constants).unwrap(), compiled.placed);
}

#[test]
fn locations_are_printed_and_parsed() {
    let text = r#"function "f" {
  input "x" period 4 at "src/net.rs:1:2"
  constant #0 "w" [1.0, 2.0] at "C:\\net.rs:3:4"
  %0 = input 0 at "src/net.rs:1:2"
  %1 = mul_plain %0, #0 "scaled" at "src/net.rs:12:9" from "src/main.rs:7:5" from "src/main.rs:70:1"
  output "y" slots 4 %1 at "with \"quotes\".rs:5:6"
}
"#;
    let function = ckks_ir::text::parse(text, &[]).unwrap();
    assert_eq!(function.to_string(), text);
    expect!["scaled at src/net.rs:12:9, called at src/main.rs:7:5, called at src/main.rs:70:1"]
        .assert_eq(&function.describe_at(function.outputs[0].value));
    let file = |at: &Option<Location>| at.as_ref().unwrap().file.to_string();
    assert_eq!(file(&function.constants[0].at), r"C:\net.rs");
    for broken in ["net.rs", "net.rs:1", "net.rs:a:1", "net.rs:1:"] {
        let error = ckks_ir::text::parse(&text.replacen("src/net.rs:1:2", broken, 1), &[]).unwrap_err();
        assert!(error.to_string().contains("expected `file:line:column`"), "{error}");
    }
}

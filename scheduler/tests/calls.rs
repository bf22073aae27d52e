//! Functions of a program: what a call means, what it is called by, and what is refused.

#[cfg(test)]
mod common;

use expect_test::expect;
use fhe_core::params::Preset;
use scheduler::ckks_ir::{self, Op};
use scheduler::dsl::{self, Encrypted, Graph, Program, linear::matvec};
use scheduler::{Error, Options, Result, compile};

#[cfg(test)]
mod helpers {
    use super::*;

    pub(crate) const WEIGHTS: [[f64; 16]; 3] = [[0.25; 16], [-0.125; 16], [0.5; 16]];
    pub(crate) const BIASES: [[f64; 4]; 3] = [[0.5, 0.25, -0.5, 0.0], [0.0; 4], [1.0, 0.0, -1.0, 0.5]];

    pub(crate) fn dense<'g>(x: Encrypted<'g>, weight: &[f64], bias: &[f64]) -> Result<Encrypted<'g>> {
        Ok((matvec(x, "weight", weight, 4, 4)? + x.graph().plain("bias", bias)?).square())
    }

    /// Two layers, by calls or written out.
    pub(crate) fn layers(by_calls: bool) -> Program {
        dsl::build("layers", |g| {
            let x = g.input("x", 4)?;
            let layer = g.function("layer", |[x], p| {
                Ok([(matvec(x, "weight", p.values("weight")?, 4, 4)? + p.plain("bias")?).square()])
            });
            let mut h = x;
            for (weight, bias) in WEIGHTS.iter().zip(&BIASES).take(2) {
                if by_calls {
                    [h] = layer.call([h], &[("weight", weight), ("bias", bias)])?;
                } else {
                    h = dense(h, weight, bias)?;
                }
            }
            g.output("y", h, 4)
        })
        .unwrap()
    }

    /// The message of a mistake, with the lines of this file counted from `from`.
    pub(crate) fn mistake(from: u32, body: impl FnOnce(&Graph) -> Result<()>) -> String {
        let text = dsl::build("mistake", body).unwrap_err().to_string();
        let mut parts = text.split(file!());
        let mut out = parts.next().unwrap().to_owned();
        for part in parts {
            let (line, rest) = part[1..].split_once(':').unwrap();
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            out += &format!("+{}{}", line.parse::<u32>().unwrap() - from, &rest[end..]);
        }
        out
    }
}

use helpers::{BIASES, WEIGHTS, layers, mistake};

#[test]
fn a_call_is_its_body() {
    let (called, written) = (layers(true), layers(false));
    let ops = |program: &Program| program.function().values.iter().map(|v| v.op).collect::<Vec<Op>>();
    assert_eq!(ops(&called), ops(&written));
    for (a, b) in called.function().constants.iter().zip(&written.function().constants) {
        assert_eq!(a.values, b.values);
    }
    let names =
        called.function().constants.iter().map(|c| c.name.as_str()).filter(|name| !name.contains("t["));
    assert_eq!(names.collect::<Vec<_>>(), ["layer[0].bias", "layer[1].bias"]);
    assert_eq!(called.function().constants[1].name, "layer[0].weight[1]");
    common::check_everywhere::<u32>(&called, Preset::Toy10, &Options::default(), 1e-5);
}

#[test]
fn calls_in_calls_and_several_results() {
    let from = line!();
    let program = dsl::build("nested", |g| {
        let (x, y) = (g.input("x", 4)?, g.input("y", 2)?);
        let inner = g.function("inner", |[a, b], p| Ok([a * b, a + p.plain("w")?]));
        let outer = g.function("outer", |[a, b], p| {
            let [product, sum] = inner.call([a, b], &[("w", p.values("v")?)])?;
            Ok([product - sum])
        });
        let [first] = outer.call([x, y], &[("v", &[0.5, 0.25])])?;
        let [second] = outer.call([x, y], &[("v", &[1.0, -1.0])])?;
        g.output("z", first * second, 4)
    })
    .unwrap();
    let names: Vec<&str> = program.function().constants.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["outer[0].inner[0].w", "outer[1].inner[1].w"]);
    let lines = |op: &str| -> Vec<Vec<u32>> {
        let values = program.function().values.iter().filter(|v| v.op.name() == op);
        values.map(|v| v.at.as_ref().unwrap().stack().map(|at| at.line - from).collect()).collect()
    };
    assert_eq!(lines("add_plain"), [[3, 5, 8], [3, 5, 9]]);
    assert_eq!(lines("sub"), [[6, 8], [6, 9]]);
    assert_eq!(lines("mul"), [vec![3, 5, 8], vec![3, 5, 9], vec![10]]);
    let compiled = compile(&program, &Preset::Toy10.params().unwrap(), &Options::default()).unwrap();
    let text = compiled.placed.to_string();
    assert!(text.contains("\" from \""));
    assert_eq!(ckks_ir::text::parse(&text, &compiled.manifest.constants).unwrap(), compiled.placed);
    common::check_everywhere::<u32>(&program, Preset::Toy10, &Options::default(), 1e-5);
}

#[test]
fn mistakes_in_a_call_name_the_calls() {
    let from = line!();
    let text = mistake(from, |g| {
        let x = g.input("x", 4)?;
        let layer = g.function("layer", |[x], p| Ok([x * p.values("scale")?[0]]));
        let [h] = layer.call([x], &[("scale", &[0.5])])?;
        let [y] = layer.call([h], &[("scale", &[f64::NAN])])?;
        g.output("y", y, 4)
    });
    expect!["`scalar beside %1 mul_scalar`: element 0 is NaN, expected a finite number at +3, called at +5"]
        .assert_eq(&text);
    let from = line!();
    let text = mistake(from, |g| {
        let x = g.input("x", 4)?;
        let layer = g.function("layer", |[x], p| Ok([matvec(x, "m", p.values("m")?, 4, 4)?]));
        let [y] = layer.call([x], &[("m", &[0.5; 15])])?;
        g.output("y", y, 4)
    });
    expect!["matrix `m`: 15 elements, expected 4 times 4 at +3, called at +4"].assert_eq(&text);
    let program = dsl::build("deep", |g| {
        let mut x = g.input("x", 4)?;
        let square = g.function("square", |[x], _| Ok([x.square()]));
        for _ in 0..6 {
            [x] = square.call([x], &[])?;
        }
        g.output("y", x, 4)
    });
    let error =
        compile(&program.unwrap(), &Preset::Toy10.params().unwrap(), &Options::default()).unwrap_err();
    assert_eq!(error.to_string().matches("called at").count(), 6, "{error}");
}

#[test]
fn calls_must_be_alike_and_use_their_parameters() {
    let from = line!();
    let of = |periods: [usize; 2], parameters: &[(&str, &[f64])]| {
        mistake(from, |g| {
            let layer = g.function("layer", |[x], p| Ok([x + p.plain("w")?]));
            let [y] = layer.call([g.input("x", periods[0])?], &[("w", &[1.0, 2.0])])?;
            g.output("y", y, 4)?;
            let [z] = layer.call([g.input("z", periods[1])?], parameters)?;
            g.output("z", z, 4)
        })
    };
    let texts = [
        of([4, 8], &[("w", &[1.0, 2.0])]),
        of([4, 4], &[("w", &[1.0])]),
        of([4, 4], &[("w", &[1.0, 2.0]), ("v", &[1.0])]),
        of([4, 4], &[]),
        of([4, 4], &[("w", &[1.0, 2.0]), ("w", &[1.0, 2.0])]),
    ];
    expect![[r#"
        call of `layer` at +6: arguments of the periods [8] and the parameters [`w` of 2], expected arguments of the periods [4] and the parameters [`w` of 2] as in its first call
        call of `layer` at +6: arguments of the periods [4] and the parameters [`w` of 1], expected arguments of the periods [4] and the parameters [`w` of 2] as in its first call
        call of `layer` at +6: arguments of the periods [4] and the parameters [`v` of 1, `w` of 2], expected arguments of the periods [4] and the parameters [`w` of 2] as in its first call
        call of `layer` at +6: arguments of the periods [4] and the parameters [], expected arguments of the periods [4] and the parameters [`w` of 2] as in its first call
        call of `layer` at +6: a parameter is given twice"#]]
    .assert_eq(&texts.join("\n"));
    let from = line!();
    let unread = mistake(from, |g| {
        let layer = g.function("layer", |[x], _| Ok([-x]));
        let [y] = layer.call([g.input("x", 4)?], &[("w", &[1.0]), ("v", &[1.0])])?;
        g.output("y", y, 4)
    });
    expect!["call of `layer` at +3: it does not read its parameter `v`"].assert_eq(&unread);
    let from = line!();
    let missing = mistake(from, |g| {
        let layer = g.function("layer", |[x], p| Ok([x * p.plain("weight")?]));
        let [y] = layer.call([g.input("x", 4)?], &[("bias", &BIASES[0]), ("weights", &WEIGHTS[0])])?;
        g.output("y", y, 4)
    });
    expect!["call of `layer` at +2, called at +3: no parameter `weight`, given are [bias, weights]"]
        .assert_eq(&missing);
    let foreign = dsl::build("outer", |g| {
        let x = g.input("x", 4)?;
        dsl::build("inner", |h| {
            let negate = h.function("negate", |[x], _| Ok([-x]));
            negate.call([x], &[]).map(|_| ())
        })
        .map(|_| ())
    });
    assert!(matches!(foreign, Err(Error::ForeignValue { .. })));
}

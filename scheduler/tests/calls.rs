//! Functions of a program: what a call means, what it is called by, and what is refused.

#[cfg(test)]
mod common;

use std::collections::BTreeSet;

use expect_test::expect;
use fhe_core::params::Preset;
use scheduler::ckks_ir::{self, Op};
use scheduler::dsl::{self, Definition, Encrypted, Graph, Parameters, Program, linear::matvec};
use scheduler::plan::{BufferId, Plan, PlanStep, SegmentId};
use scheduler::{Compiled, Error, Options, Result, compile};

#[cfg(test)]
mod helpers {
    use super::*;

    pub(crate) const WEIGHTS: [[f64; 16]; 3] = [[0.25; 16], [-0.125; 16], [0.5; 16]];
    pub(crate) const BIASES: [[f64; 4]; 3] = [[0.5, 0.25, -0.5, 0.0], [0.0; 4], [1.0, 0.0, -1.0, 0.5]];

    pub(crate) fn dense<'g>(x: Encrypted<'g>, weight: &[f64], bias: &[f64]) -> Result<Encrypted<'g>> {
        Ok((matvec(x, "weight", weight, 4, 4)? + x.graph().plain("bias", bias)?).square())
    }

    /// Whether calls stay calls.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub(crate) enum Way {
        Called,
        Expanded,
        ByRule,
    }

    pub(crate) fn function<'g, const A: usize, const R: usize, F>(
        g: &'g Graph,
        way: Way,
        name: &str,
        body: F,
    ) -> Definition<'g, A, R, F>
    where
        F: Fn([Encrypted<'g>; A], &Parameters<'g, '_>) -> Result<[Encrypted<'g>; R]>,
    {
        let function = g.function(name, body);
        match way {
            Way::Called => function.called(),
            Way::Expanded => function.expanded(),
            Way::ByRule => function,
        }
    }

    /// Two layers, by calls or written out.
    pub(crate) fn layers(way: Option<Way>) -> Program {
        dsl::build("layers", |g| {
            let x = g.input("x", 4)?;
            let layer = function(g, way.unwrap_or(Way::ByRule), "layer", |[x], p| {
                Ok([(matvec(x, "weight", p.values("weight")?, 4, 4)? + p.plain("bias")?).square()])
            });
            let mut h = x;
            for (weight, bias) in WEIGHTS.iter().zip(&BIASES).take(2) {
                if way.is_some() {
                    [h] = layer.call([h], &[("weight", weight), ("bias", bias)])?;
                } else {
                    h = dense(h, weight, bias)?;
                }
            }
            g.output("y", h, 4)
        })
        .unwrap()
    }

    /// The weights of a head.
    pub(crate) fn weights(head: usize) -> Vec<f64> {
        (0..64).map(|i| f64::from((i * 7 + head as i32 * 13) % 11 - 5) / 40.0).collect()
    }

    /// Heads of one vector side by side, and their sum.
    pub(crate) fn heads(n: usize, way: Way) -> Program {
        dsl::build("heads", |g| {
            let x = g.input("x", 8)?;
            let head = function(g, way, "head", |[x], p| {
                let h = matvec(x, "weight", p.values("weight")?, 8, 8)? + p.plain("bias")?;
                Ok([h * h.rotate(1) + h])
            });
            let mut sum: Option<Encrypted<'_>> = None;
            for i in 0..n {
                let bias: Vec<f64> = (0..8).map(|j| f64::from(j) / 10.0 - i as f64 / 20.0).collect();
                let [y] = head.call([x], &[("weight", &weights(i)), ("bias", &bias)])?;
                sum = Some(sum.map_or(y, |sum| sum + y));
            }
            g.output("y", sum.unwrap(), 8)
        })
        .unwrap()
    }

    pub(crate) fn compiled(program: &Program) -> Compiled {
        compile(program, &Preset::Toy10.params().unwrap(), &Options::default()).unwrap()
    }

    /// The segments that a run calls, in order, with the buffers that they are bound to.
    pub(crate) fn calls(plan: &Plan) -> Vec<(SegmentId, Vec<BufferId>)> {
        let call = |step: &PlanStep| match step {
            PlanStep::Call { segment, bindings } => Some((*segment, bindings.clone())),
            PlanStep::Host(_) | PlanStep::Copy(_) => None,
        };
        plan.schedule.iter().filter_map(call).collect()
    }

    /// The message of a mistake, with the lines of this file counted from `from`.
    pub(crate) fn mistake(from: u32, body: impl FnOnce(&Graph) -> Result<()>) -> String {
        let error = dsl::build("mistake", body).unwrap_err();
        common::relative(&error.to_string(), file!(), from)
    }
}

use helpers::{BIASES, WEIGHTS, Way, calls, compiled, function, heads, layers, mistake};

#[test]
fn a_call_is_its_body() {
    let (called, written) = (layers(Some(Way::Called)), layers(None));
    let expanded = ckks_ir::inline_all(called.function());
    let ops = |f: &ckks_ir::Function| f.values.iter().map(|v| v.op).collect::<Vec<Op>>();
    assert_eq!(ops(&expanded), ops(written.function()));
    for (a, b) in expanded.constants.iter().zip(&written.function().constants) {
        assert_eq!(a.values, b.values);
    }
    assert_eq!(expanded.constants, called.function().all_constants(0));
    let names = expanded.constants.iter().map(|c| c.name.as_str()).filter(|name| !name.contains("t["));
    assert_eq!(names.collect::<Vec<_>>(), ["layer[0].bias", "layer[1].bias"]);
    assert_eq!(expanded.constants[1].name, "layer[0].weight[1]");
    // Expanded it is compiled as if it were written out.
    let (expanded, written) = (compiled(&layers(Some(Way::Expanded))), compiled(&written));
    assert_eq!(ops(&expanded.placed), ops(&written.placed));
    assert_eq!(expanded.plan.pool, written.plan.pool);
    for way in [Way::Called, Way::Expanded] {
        common::check_everywhere::<u32>(&layers(Some(way)), Preset::Toy10, &Options::default(), 1e-5);
    }
}

#[test]
fn calls_in_calls_and_several_results() {
    let from = line!();
    let program = |way| {
        dsl::build("nested", |g| {
            let (x, y) = (g.input("x", 4)?, g.input("y", 2)?);
            let inner = function(g, way, "inner", |[a, b], p| Ok([a * b, a + p.plain("w")?]));
            let outer = function(g, way, "outer", |[a, b], p| {
                let [product, sum] = inner.call([a, b], &[("w", p.values("v")?)])?;
                Ok([product - sum])
            });
            let [first] = outer.call([x, y], &[("v", &[0.5, 0.25])])?;
            let [second] = outer.call([x, y], &[("v", &[1.0, -1.0])])?;
            g.output("z", first * second, 4)
        })
        .unwrap()
    };
    let called = program(Way::Called);
    let names: Vec<String> = called.function().all_constants(0).into_iter().map(|c| c.name).collect();
    assert_eq!(names, ["outer[0].inner[0].w", "outer[1].inner[0].w"]);
    let expanded = ckks_ir::inline_all(called.function());
    let lines = |op: &str| -> Vec<Vec<u32>> {
        let values = expanded.values.iter().filter(|v| v.op.name() == op);
        values.map(|v| v.at.as_ref().unwrap().stack().map(|at| at.line - from).collect()).collect()
    };
    assert_eq!(lines("add_plain"), [[4, 6, 9], [4, 6, 10]]);
    assert_eq!(lines("sub"), [[7, 9], [7, 10]]);
    assert_eq!(lines("mul"), [vec![4, 6, 9], vec![4, 6, 10], vec![11]]);
    for way in [Way::Called, Way::Expanded] {
        let compiled = compiled(&program(way));
        let text = compiled.placed.to_string();
        assert!(text.contains("\" from \"") || way == Way::Called);
        assert_eq!(ckks_ir::text::parse(&text, &compiled.manifest.constants).unwrap(), compiled.placed);
        let poly = compiled.poly.to_string();
        assert_eq!(scheduler::poly_ir::text::parse(&poly).unwrap(), compiled.poly);
        assert_eq!(scheduler::plan::text::parse(&compiled.plan.to_string()).unwrap(), compiled.plan);
        common::check_everywhere::<u32>(&program(way), Preset::Toy10, &Options::default(), 1e-5);
    }
}

#[test]
fn many_calls_are_compiled_as_one() {
    let (two, twelve) = (compiled(&heads(2, Way::Called)), compiled(&heads(12, Way::Called)));
    let expanded = compiled(&heads(12, Way::Expanded));
    // The body once: what grows is the sum, a value a call.
    assert_eq!((twelve.placed.callees.len(), twelve.poly.callees.len()), (1, 1));
    assert_eq!(twelve.placed.callees[0].values, two.placed.callees[0].values);
    assert_eq!(twelve.poly.callees, two.poly.callees);
    let own = |c: &Compiled| c.plan.segments.iter().filter(|s| s.name.starts_with("head#0.")).count();
    assert_eq!(own(&twelve), own(&two));
    assert_eq!(twelve.plan.segments.len(), two.plan.segments.len());
    for (a, b) in twelve.stats.iter().zip(&two.stats).filter(|(s, _)| !s.pass.ends_with("_plan")) {
        // A result and a sum, or both polynomials of each.
        assert!(a.after - b.after <= 40, "{}: {} and {}", a.pass, a.after, b.after);
    }
    assert!(twelve.plan.pool.len() < two.plan.pool.len() + two.plan.pool.len() / 2);
    assert!(twelve.plan.pool.len() * 3 < expanded.plan.pool.len(), "{}", expanded.plan.pool.len());
    // Each segment of the body is called twelve times, with other buffers each time.
    let calls = calls(&twelve.plan);
    for (i, _) in twelve.plan.segments.iter().enumerate().filter(|(_, s)| s.name.starts_with("head#0.")) {
        let bound: BTreeSet<&Vec<BufferId>> =
            calls.iter().filter(|(s, _)| s.0 as usize == i).map(|(_, bound)| bound).collect();
        let n = calls.iter().filter(|(s, _)| s.0 as usize == i).count();
        assert!(n == 12 && (bound.len() == 12 || bound.len() == 1 || bound.len() > 1), "{n} {bound:?}");
    }
    assert_eq!(twelve.manifest.galois_elements, two.manifest.galois_elements);
    common::check_everywhere::<u32>(&heads(3, Way::Called), Preset::Toy10, &Options::default(), 1e-5);
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
    expect!["`scalar beside argument 0`: element 0 is NaN, expected a finite number at +3, called at +5"]
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

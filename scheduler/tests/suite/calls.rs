//! Functions of a program: what a call means, what it is called by, and what is refused.

use crate::common;

use core::cell::RefCell;
use std::collections::BTreeSet;

use expect_test::expect;
use fhe_core::params::{Level, Preset};
use proptest::prelude::*;
use scheduler::ckks_ir::{self, Op};
use scheduler::compile::refit;
use scheduler::dsl::{self, Definition, Encrypted, Graph, Parameters, Program, linear::matvec};
use scheduler::interp::{self, Env};
use scheduler::passes::Stage;
use scheduler::plan::{BufferId, BufferKind, Plan, PlanStep, SegmentId, Step};
use scheduler::{Compiled, Error, MemoryLimits, Options, Result, Topology, compile, noise, report};

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
        (0..64).map(|i| f64::from((i * 7 + head as i32 * 13) % 29 - 14) / 120.0).collect()
    }

    /// Heads side by side, each of a vector of its own or all of one, and their sum.
    pub(crate) fn heads_of(n: usize, way: Way, own: bool) -> Program {
        dsl::build("heads", |g| {
            let shared = if own { None } else { Some(g.input("x", 8)?) };
            let head = function(g, way, "head", |[x], p| {
                let h = matvec(x, "weight", p.values("weight")?, 8, 8)? + p.plain("bias")?;
                Ok([h * h.rotate(1) + h])
            });
            let mut sum: Option<Encrypted<'_>> = None;
            for i in 0..n {
                let bias: Vec<f64> = (0..8).map(|j| f64::from(j) / 10.0 - i as f64 / 20.0).collect();
                let x = if let Some(x) = shared { x } else { g.input(&format!("x{i}"), 8)? };
                let [y] = head.call([x], &[("weight", &weights(i)), ("bias", &bias)])?;
                sum = Some(sum.map_or(y, |sum| sum + y));
            }
            g.output("y", sum.unwrap(), 8)
        })
        .unwrap()
    }

    pub(crate) fn heads(n: usize, way: Way) -> Program {
        heads_of(n, way, false)
    }

    /// Three calls of a random body, on inputs and on results of others.
    pub(crate) fn random_calls(steps: &[common::RandomStep], way: Way) -> Program {
        // A level that is written cannot be that of several calls.
        let steps: Vec<_> = steps.iter().filter(|step| step.kind != 18).cloned().collect();
        let steps = &steps;
        dsl::build("random", |g| {
            let (x, y, z) = (g.input("x", 512)?, g.input("y", 4)?, g.input("z", 16)?);
            let body = function(g, way, "body", |[x, y, z], p| {
                let first = x + p.plain("w")?;
                let inputs = [(first, 0, 1.0), (y, 0, 1.0), (z, 0, 1.0)];
                let [(last, ..), (other, ..)] = common::random_values(g, steps, 1, &inputs)?;
                Ok([last, other])
            });
            let call = |x, w: &[f64]| body.call([x, y, z], &[("w", w)]);
            let [a, b] = call(x, &[0.25, -0.5])?;
            let [c, _] = call(a * 0.05 + x, &[0.5, 0.125])?.map(|v| v.unused_on_purpose());
            let [d, e] = call(x, &[-0.25, 0.5])?;
            g.output("last", c + d, 16)?;
            g.output("other", b - e, 4)
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
            PlanStep::Host(_) | PlanStep::Copy(_) | PlanStep::Record { .. } | PlanStep::Wait { .. } => None,
        };
        plan.schedule.iter().filter_map(call).collect()
    }

    /// The message of a mistake, with the lines of this file counted from `from`.
    pub(crate) fn mistake(from: u32, body: impl FnOnce(&Graph) -> Result<()>) -> String {
        let error = dsl::build("mistake", body).unwrap_err();
        common::relative(&error.to_string(), file!(), from)
    }
}

use helpers::{
    BIASES, WEIGHTS, Way, calls, compiled, function, heads, heads_of, layers, mistake, random_calls,
};

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
    // Each segment of the body is called twelve times, on other plaintexts or with another result each time.
    let calls = calls(&twelve.plan);
    for (i, _) in twelve.plan.segments.iter().enumerate().filter(|(_, s)| s.name.starts_with("head#0.")) {
        let own = calls.iter().filter(|(segment, _)| segment.0 as usize == i).map(|(_, bound)| bound);
        assert_eq!(own.clone().count(), 12);
        assert_eq!(own.collect::<BTreeSet<_>>().len(), 12);
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

#[test]
fn weights_are_bound_anew_by_each_call() {
    // The same head on the same vector, with weights that are 0 but for one call.
    let params = Preset::Toy10.params().unwrap();
    let program = |alive: usize| {
        dsl::build("one", |g| {
            let x = g.input("x", 4)?;
            let scale = g.function("scale", |[x], p| Ok([x * p.plain("w")?])).called();
            for i in 0..3 {
                let w = if i == alive { [1.0, 0.5, -0.5, 0.25] } else { [0.0, 1e-9, 0.0, 0.0] };
                let [y] = scale.call([x], &[("w", &w)])?;
                g.output(&format!("y{i}"), y, 4)?;
            }
            Ok(())
        })
        .unwrap()
    };
    for alive in 0..3 {
        let compiled = compile(&program(alive), &params, &Options::default()).unwrap();
        assert_eq!(compiled.placed.callees.len(), 1);
        // Two calls have the same numbers, which are encoded once.
        assert_eq!(compiled.manifest.constants.len(), 2);
        common::check_everywhere::<u32>(&program(alive), Preset::Toy10, &Options::default(), 1e-5);
        let x = common::messages(&program(alive));
        let y = interp::slots::run(&compiled.placed, params.n_slots(), &x).unwrap();
        let sizes: Vec<bool> = y.iter().map(|y| y.iter().any(|z| z.norm() > 1e-3)).collect();
        assert_eq!(sizes, [0, 1, 2].map(|i| i == alive));
    }
}

#[test]
fn the_rule_keeps_what_is_worth_a_call() {
    let callees = |program: &Program| {
        let compiled = compiled(program);
        compiled.placed.callees.iter().map(|f| f.variants).collect::<Vec<u32>>()
    };
    // Too small; all of one vector, whose rotations they would share; each large and of its own.
    let large = |n: usize, own: bool, way: Way| {
        dsl::build("large", |g| {
            let shared = g.input("x", 8)?.unused_on_purpose();
            let head = function(g, way, "head", |[x], p| {
                let mut y = x + p.plain("w")?;
                for i in 0..8 {
                    y = y + y.rotate(1 << (i % 3)) + y.conjugate();
                }
                Ok([y * x.rotate(1)])
            });
            for i in 0..n {
                let x = if own { g.input(&format!("x{i}"), 8)? } else { shared };
                let [y] = head.call([x], &[("w", &[i as f64 / 8.0, 0.5])])?;
                g.output(&format!("y{i}"), y, 8)?;
            }
            Ok(())
        })
        .unwrap()
    };
    assert_eq!(callees(&heads_of(3, Way::ByRule, true)), []);
    assert_eq!(callees(&large(3, true, Way::ByRule)), [3]);
    assert_eq!(callees(&large(1, true, Way::ByRule)), []);
    assert_eq!(callees(&large(3, false, Way::ByRule)), []);
    assert_eq!(callees(&large(3, true, Way::Expanded)), []);
    for (n, own) in [(1, true), (3, false)] {
        assert_eq!(callees(&large(n, own, Way::Called)), [n as u32]);
    }
    // In a chain each call is at a level of its own.
    assert_eq!(callees(&layers(Some(Way::ByRule))), []);
    assert_eq!(callees(&layers(Some(Way::Called))), [1, 1]);
}

#[test]
fn results_at_other_levels_and_unused_ones_are_specialised() {
    let program = dsl::build("levels", |g| {
        let (x, y) = (g.input("x", 4)?, g.input("y", 4)?);
        let both = g.function("both", |[a, b], p| Ok([a * b, (a - b) * p.plain("w")?, a])).called();
        let [p, q, r] = both.call([x, y], &[("w", &[0.5, 0.25])])?;
        // p one level above q; r is x again.
        let [s, t, _] = both.call([p * r, q], &[("w", &[0.75, -0.25])])?.map(|v| v.unused_on_purpose());
        let [u, v, _] = both.call([q, y], &[("w", &[-0.5, 1.0])])?.map(|v| v.unused_on_purpose());
        g.output("s", s + t, 4)?;
        g.output("u", u + v, 4)
    })
    .unwrap();
    let compiled = compiled(&program);
    let interfaces: Vec<_> = compiled.placed.callees.iter().map(|f| f.interface.clone().unwrap()).collect();
    let levels = |levels: &[Level]| levels.iter().map(|l| l.0).collect::<Vec<u32>>();
    let interfaces: Vec<_> = interfaces.iter().map(|i| (levels(&i.inputs), levels(&i.outputs))).collect();
    assert_eq!(interfaces, [(vec![3, 3], vec![2, 1, 2]), (vec![1, 1], vec![0, 0])]);
    assert_eq!(compiled.placed.callees.iter().map(|f| f.variants).collect::<Vec<_>>(), [1, 2]);
    common::check_everywhere::<u32>(&program, Preset::Toy10, &Options::default(), 1e-5);
    for n in [2, 3] {
        let topology = Topology::new(n).unwrap();
        let options = Options { topology, ..Options::default() };
        common::check_everywhere::<u32>(&program, Preset::Toy10, &options, 1e-5);
    }
}

#[test]
fn a_memory_limit_expands_calls_with_the_same_bits() {
    let params = Preset::Toy10.params().unwrap();
    let program = heads(3, Way::Called);
    let whole = compile(&program, &params, &Options::default()).unwrap();
    let least = whole.plan.least_device_bytes();
    let mut client = common::Client::<u32>::of(&params);
    let keys = client.keys(&whole);
    let inputs = client.encrypt(&whole, &common::messages(&program));
    let env = Env { ring: &client.ring, keys: &keys, constants: &whole.manifest.constants, inputs: &inputs };
    let run = |plan: &Plan| interp::plan::run(plan, &env, &[Level(0)]).unwrap();
    let expected = run(&whole.plan);
    for device in [least, (least + whole.plan.device_peak_bytes()) / 2, whole.plan.device_peak_bytes()] {
        let memory = MemoryLimits { device: Some(device), host: None };
        let options = Options { memory, ..Options::default() };
        let fitted = refit(&whole, &params, &options).unwrap();
        assert!(fitted.plan.device_peak_bytes() <= device);
        assert_eq!((&fitted.placed, &fitted.poly), (&whole.placed, &whole.poly));
        let passed = fitted.plan.buffers.iter().any(|b| b.kind == BufferKind::Passed);
        assert_eq!(passed, device == whole.plan.device_peak_bytes());
        assert_eq!(run(&fitted.plan)[0].polys(), expected[0].polys());
    }
}

#[test]
fn what_a_body_captures_is_an_argument() {
    let build = |leaks: bool| {
        dsl::build("captures", |g| {
            let (x, mask) = (g.input("x", 4)?, g.input("mask", 4)?);
            let w = g.plain("w", &[0.5, 0.25])?;
            let kept: RefCell<Option<Encrypted<'_>>> = RefCell::new(None);
            let masked = g.function("masked", |[x], _| {
                let inner = g.function("inner", |[x], _| Ok([x * mask + w])).called();
                let [y] = inner.call([x], &[])?;
                *kept.borrow_mut() = Some(y);
                Ok([y - mask, mask])
            });
            let masked = masked.called();
            let [a, m] = masked.call([x], &[])?;
            let [b, _] = masked.call([a], &[])?.map(|v| v.unused_on_purpose());
            g.output("y", if leaks { b + kept.borrow().unwrap() } else { b + m }, 4)
        })
    };
    let program = build(false).unwrap();
    assert_eq!(program.function().calls[0].arguments.len(), 2);
    common::check_everywhere::<u32>(&program, Preset::Toy10, &Options::default(), 1e-5);
    let leaked = build(true).unwrap_err().to_string();
    assert!(leaked.contains("a value of a call that is over"), "{leaked}");
    let from = line!();
    let declares = mistake(from, |g| {
        let x = g.input("x", 4)?;
        let f = g.function("f", |[x], _| Ok([x + g.input("y", 4)?]));
        let [y] = f.call([x], &[])?;
        g.output("y", y, 4)
    });
    expect!["call of `f[0]` at +3, called at +4: its body declares an input, expected outside of functions: make it an argument or a result"].assert_eq(&declares);
    let from = line!();
    let unused = mistake(from, |g| {
        let f = g.function("f", |[x], _| {
            let _ = x.rotate(1);
            Ok([-x])
        });
        let [y] = f.call([g.input("x", 4)?], &[])?;
        g.output("y", y, 4)
    });
    expect!["value `%1 rotate` at +3, called at +6 reaches no output: return it, remove it, or mark it by `unused_on_purpose`"].assert_eq(&unused);
}

#[test]
fn what_a_caller_writes_of_a_product_needs_the_body() {
    let program = |way| {
        dsl::build("products", |g| {
            let product = function(g, way, "product", |[a, b], _| Ok([a * b]));
            let (x, y) = (g.input("x", 4)?, g.input("y", 4)?);
            let [p] = product.call([x, y], &[])?;
            g.output("z", p.rescaled() + y, 4)
        })
        .unwrap()
    };
    common::check_everywhere::<u32>(&program(Way::ByRule), Preset::Toy10, &Options::default(), 1e-5);
    let params = Preset::Toy10.params().unwrap();
    let error = compile(&program(Way::Called), &params, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("`result 0 of product[0] at") && error.contains("owes no rescale"), "{error}");
    // A level that cannot be, in the body: the call is named.
    let from = line!();
    let levels = dsl::build("levels", |g| {
        let f = g.function("f", |[a], _| Ok([a.at_level(Level(1)).square()])).called();
        let [y] = f.call([g.input("x", 4)?], &[])?;
        let [z] = f.call([y], &[])?;
        g.output("z", z, 4)
    });
    let error = compile(&levels.unwrap(), &params, &Options::default()).unwrap_err().to_string();
    expect!["`at_level` at +2, called at +3: `%2 mul at +2` needs it at level 2, expected at least that: write a higher level, or none"].assert_eq(&common::relative(&error, file!(), from));
}

#[test]
fn errors_counts_and_graphs_know_of_calls() {
    // Too deep by way of calls: the chain names them.
    let from = line!();
    let deep = dsl::build("deep", |g| {
        let f = g.function("f", |[x], _| Ok([x.square().square()])).called();
        let mut x = g.input("x", 4)?;
        for _ in 0..3 {
            [x] = f.call([x], &[])?;
        }
        g.output("y", x, 4)
    });
    let params = Preset::Toy10.params().unwrap();
    let error = compile(&deep.unwrap(), &params, &Options::default()).unwrap_err();
    assert!(matches!(error, Error::TooDeep { needed: 6, .. }), "{error}");
    expect!["the program needs 6 levels, the parameters have 5; longest chain: x at +3 -> result 0 of f[0] at +5 -> result 0 of f[1] at +5 -> result 0 of f[2] at +5; choose parameters with more, or such that bootstrap"]
        .assert_eq(&common::relative(&error.to_string(), file!(), from));
    // A plaintext that is too long, in a body.
    let long = dsl::build("long", |g| {
        let f = g.function("f", |[x], p| Ok([x + p.plain("w")?])).called();
        let [y] = f.call([g.input("x", 4)?], &[("w", &[0.5; 1024])])?;
        g.output("y", y, 4)
    });
    let error = compile(&long.unwrap(), &params, &Options::default()).unwrap_err();
    assert!(matches!(error, Error::Period { found: 1024, limit: Some(512), .. }), "{error}");

    let (called, expanded) = (compiled(&heads(3, Way::Called)), compiled(&heads(3, Way::Expanded)));
    let counts = |stage| report::Counts::of(stage, &params).unwrap();
    // Three times the body; expanded, rotations of one vector are shared.
    let body = counts(Stage::Ckks(&called.placed.callees[0]));
    let whole = counts(Stage::Ckks(&called.placed));
    assert_eq!(whole.key_switches.unwrap(), 3 * body.key_switches.unwrap());
    assert_eq!(whole.values, body.values + called.placed.values.len());
    assert!(counts(Stage::Ckks(&expanded.placed)).key_switches < whole.key_switches);
    let inlined = scheduler::poly_ir::inline_all(&called.poly);
    assert_eq!(counts(Stage::Poly(&called.poly)).ntts, counts(Stage::Poly(&inlined)).ntts);
    assert_eq!(counts(Stage::Poly(&called.poly)).bytes, counts(Stage::Poly(&inlined)).bytes);
    assert!(report::dot(Stage::Ckks(&called.placed)).contains("v0 -> v3;"));
    // Launches of the body are of nodes after those of the program.
    let of_body = called.plan.segments.iter().filter(|s| s.name.starts_with("head#0."));
    let nodes = of_body.flat_map(|s| &s.steps).map(|Step::Launch { node, .. }| node.0 as usize);
    let n = called.poly.values.len();
    assert!(nodes.into_iter().all(|node| (n..n + called.poly.callees[0].values.len()).contains(&node)));
}

#[test]
fn errors_of_called_programs_are_as_estimated() {
    for way in [Way::Called, Way::Expanded] {
        let program = heads(3, way);
        let messages = common::messages(&program);
        let checked =
            common::check_merged::<u32>(&program, &messages, Preset::Toy10, &Options::default(), 1e-5);
        let bounds: Vec<f64> =
            messages.iter().map(|m| m.iter().map(|z| z.norm()).fold(0.0, f64::max)).collect();
        let placed = &checked.compiled.placed;
        let estimates = noise::estimate(placed, checked.client.params(), &bounds).unwrap();
        let estimate = estimates[placed.outputs[0].value.0 as usize];
        let (found, expected) =
            (checked.errors[0], estimate.largest_error(checked.client.params().n_slots()));
        assert!(found < 2.0 * expected && expected < 20.0 * found, "{way:?}: {found}, estimated {expected}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn random_bodies_called_mean_what_they_mean_expanded(
        steps in common::random_steps(),
        n in common::devices(),
        on_device in proptest::bool::ANY,
        launches in 1u32..40,
    ) {
        let options = Options {
            topology: Topology::new(n).unwrap(),
            encode_on_device: on_device,
            segment_launches: launches,
            ..Options::default()
        };
        for way in [Way::Called, Way::Expanded] {
            let program = random_calls(&steps, way);
            let messages = common::messages(&program);
            common::check_merged::<u32>(&program, &messages, Preset::Toy10, &options, 1e-3);
        }
    }
}

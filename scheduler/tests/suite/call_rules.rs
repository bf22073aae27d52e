//! What passes make of calls, as text; and every rule about calls refuses what breaks it.

use std::sync::Arc;

use expect_test::expect;
use fhe_core::params::{Params, Preset};
use scheduler::ckks_ir::{self, CalleeIdx, Function};
use scheduler::passes::CKKS;
use scheduler::plan::{BufferId, BufferKind, Plan, PlanStep, Tier};
use scheduler::poly_ir::PolyId;
use scheduler::{Compiled, Options, compile, dsl, plan, poly_ir};

mod helpers {
    use super::*;

    pub(crate) fn params() -> Params {
        Preset::Toy10.params().unwrap()
    }

    pub(crate) fn parsed(text: &str) -> Function {
        let function = ckks_ir::text::parse(text, &[]).unwrap();
        ckks_ir::verify::verify(&function, Some(&params()), "test").unwrap();
        assert_eq!(ckks_ir::text::parse(&function.to_string(), &[]).unwrap(), function);
        function
    }

    pub(crate) fn pass(name: &str, text: &str) -> String {
        let pass = CKKS.iter().find(|p| p.name == name).unwrap();
        let out = (pass.run)(&parsed(text), &params()).unwrap();
        ckks_ir::verify::verify(&out, Some(&params()), name).unwrap();
        out.to_string()
    }

    /// What a step of the schedule binds.
    pub(crate) fn bindings(plan: &mut Plan, step: usize) -> &mut Vec<BufferId> {
        match &mut plan.schedule[step] {
            PlanStep::Call { bindings, .. } => bindings,
            other => panic!("{other:?}"),
        }
    }

    /// Two calls of a body, the second on a result of the first and on an input.
    pub(crate) fn compiled() -> Compiled {
        let program = dsl::build("small", |g| {
            let (x, y) = (g.input("x", 4)?, g.input("y", 4)?);
            let body = g.function("body", |[x, y], p| Ok([x.rotate(1) - y + p.plain("w")?])).called();
            let [a] = body.call([x + y, y], &[("w", &[0.5, 0.25])])?;
            let [b] = body.call([a, y], &[("w", &[0.75, 0.125])])?;
            g.output("z", b - a, 4)
        });
        compile(&program.unwrap(), &params(), &Options::default()).unwrap()
    }
}

use crate::common::rule_of;
use helpers::{bindings, compiled, params, parsed, pass};

/// Two variants of a body that may not see what differs between them.
const PROGRAM: &str = r#"function "f" {
  function "g" variants 2 {
    input "argument 0" period 4
    constant #0 "w" [1.0, 2.0, 3.0, 4.0]
    constant #1 "one" [0.5, 0.5, 0.5, 0.5]
    constant #2 "v" [0.5, 0.5, 0.25, 0.25]
    %0 = input 0
    %1 = mul_plain %0, #0
    %2 = mul_plain %1, #1
    %3 = add_plain %2, #2
    %4 = rotate %0, 1
    output "result 0" slots 4 %3
    output "result 1" slots 4 %4
  }
  input "x" period 4
  call !0 "g[0]" &0 variant 0 [%0] called
  call !1 "g[1]" &0 variant 1 [%1] called
  %0 = input 0
  %1 = result !0 0
  %2 = result !0 1
  %3 = result !1 0
  %4 = add %3, %2
  output "y" slots 4 %4
}
"#;

#[test]
fn families_are_folded_in_all_variants_at_once() {
    // A scalar where all variants have one number; a shorter period where all have it; a product of each variant's own.
    expect![[r#"
        function "f" {
          function "g" variants 2 {
            input "argument 0" period 4
            constant #0 "w" [1.0, 2.0, 3.0, 4.0]
            constant #1 "one" [0.5, 0.5]
            constant #2 "v" [0.5, 0.25]
            constant #3 "w" [0.5, 1.0, 1.5, 2.0]
            %0 = input 0
            %1 = mul_plain %0, #0
            %2 = mul_plain %0, #3
            %3 = add_plain %2, #2
            %4 = rotate %0, 1
            output "result 0" slots 4 %3
            output "result 1" slots 4 %4
          }
          input "x" period 4
          call !0 "g[0]" &0 variant 0 [%0] called
          call !1 "g[1]" &0 variant 1 [%1] called
          %0 = input 0
          %1 = result !0 0
          %2 = result !0 1
          %3 = result !1 0
          %4 = add %3, %2
          output "y" slots 4 %4
        }
    "#]]
    .assert_eq(&pass("simplify", PROGRAM));
}

#[test]
fn a_specialisation_has_levels_its_variants_and_the_results_that_are_used() {
    expect![[r#"
        function "f" {
          function "g" levels [4] to [2, 0] {
            input "argument 0" period 4
            constant #0 "w" [1.0, 2.0]
            constant #1 "one" [0.5, 0.5]
            constant #2 "v" [0.5, 0.5]
            %0 = input 0
            %1 = mul_plain %0, #0
            %2 = mul_plain %1, #1
            %3 = add_plain %2, #2
            %4 = rotate %0, 1
            output "result 0" slots 4 %3
            output "result 1" slots 4 %4
          }
          function "g" levels [2] to [0] {
            input "argument 0" period 4
            constant #0 "w" [3.0, 4.0]
            constant #1 "one" [0.5, 0.5]
            constant #2 "v" [0.25, 0.25]
            %0 = input 0
            %1 = mul_plain %0, #0
            %2 = mul_plain %1, #1
            %3 = add_plain %2, #2
            output "result 0" slots 4 %3
          }
          input "x" period 4
          call !0 "g[0]" &0 variant 0 [%0] called
          call !1 "g[1]" &1 variant 0 [%1] called
          %0 = input 0
          %1 = result !0 0
          %2 = result !0 1
          %3 = result !1 0
          %4 = add %3, %2
          output "y" slots 4 %4
        }
    "#]]
    .assert_eq(&pass("specialise", PROGRAM));
}

#[test]
fn a_call_that_is_not_worth_one_becomes_its_body() {
    expect![[r#"
        function "f" {
          input "x" period 4
          constant #0 "g[0].w" [0.5, 1.0]
          constant #1 "g[1].w" [1.5, 2.0]
          %0 = input 0
          %1 = mul_plain %0, #0
          %2 = add_scalar %1, 0.5
          %3 = rotate %0, 1
          %4 = mul_plain %2, #1
          %5 = add_scalar %4, 0.25
          %6 = add %3, %5
          output "y" slots 4 %6
        }
    "#]]
    .assert_eq(&pass("inline_calls", &PROGRAM.replace(" called", "")));
}

type Change = fn(&mut Function);

#[test]
fn rules_of_calls_before_and_after_placement() {
    let good = parsed(PROGRAM);
    let callee = |f: &mut Function, change: fn(&mut Function)| change(Arc::make_mut(&mut f.callees[0]));
    let cases: [(Change, &str); 9] = [
        (|f| f.calls[1].callee = CalleeIdx(1), "call"),
        (|f| f.calls[0].variant = 2, "call"),
        (|f| f.calls[0].arguments.clear(), "call"),
        (|f| f.calls[0].arguments[0] = ckks_ir::ValueId(9), "call"),
        // Its own result.
        (|f| f.calls[0].arguments[0] = ckks_ir::ValueId(2), "call"),
        (|f| f.values[2].op = ckks_ir::Op::Result(ckks_ir::CallIdx(0), 2), "call"),
        (|f| f.values[2].op = ckks_ir::Op::Result(ckks_ir::CallIdx(0), 0), "call"),
        (|f| f.values[2].op = ckks_ir::Op::Result(ckks_ir::CallIdx(7), 0), "call"),
        (|f| f.variants = 3, "family"),
    ];
    for (i, (change, rule)) in cases.into_iter().enumerate() {
        let mut broken = good.clone();
        change(&mut broken);
        let found = rule_of(ckks_ir::verify::verify(&broken, Some(&params()), "test"));
        assert_eq!(found, rule, "case {i}");
    }
    let of_callee: [(Change, &str); 3] = [
        (|f| _ = f.constants[0].values.pop(), "family"),
        (|f| f.variants = 0, "family"),
        (|f| f.constants[0].values.truncate(2), "family"),
    ];
    for (i, (change, rule)) in of_callee.into_iter().enumerate() {
        let mut broken = good.clone();
        callee(&mut broken, change);
        if i == 2 {
            // One number a variant is fine: three for two are not.
            callee(&mut broken, |f| f.constants[1].values.truncate(3));
        }
        let found = rule_of(ckks_ir::verify::verify(&broken, Some(&params()), "test"));
        assert_eq!(found, rule, "case {i} of the callee");
    }

    let placed = compiled().placed;
    ckks_ir::verify::verify(&placed, Some(&params()), "test").unwrap();
    let cases: [fn(&mut Function); 6] = [
        |f| f.interface = None,
        |f| f.interface.as_mut().unwrap().inputs[0].0 += 1,
        |f| f.interface.as_mut().unwrap().outputs[0].0 += 1,
        |f| _ = f.interface.as_mut().unwrap().inputs.pop(),
        // Consistent in itself, not with its caller.
        |f| {
            let levels = f.interface.as_mut().unwrap();
            levels.inputs.iter_mut().chain(&mut levels.outputs).for_each(|level| level.0 += 1);
            f.values.iter_mut().for_each(|v| v.kind.as_mut().unwrap().level.0 += 1);
        },
        |f| f.values.iter_mut().for_each(|v| v.kind = None),
    ];
    for (i, change) in cases.into_iter().enumerate() {
        let mut broken = placed.clone();
        callee(&mut broken, change);
        let found = rule_of(ckks_ir::verify::verify(&broken, Some(&params()), "test"));
        assert_eq!(found, "interface", "case {i} of the placed callee");
    }
}

#[test]
fn rules_of_calls_of_polynomials() {
    let good = compiled().poly;
    poly_ir::verify::verify(&good, &params(), "test").unwrap();
    let result = |f: &poly_ir::Function| {
        f.values.iter().position(|v| matches!(v.op, poly_ir::Op::Result { .. })).unwrap()
    };
    let coefficients = |f: &poly_ir::Function| {
        let callee = &f.callees[0];
        callee.values.iter().position(|v| matches!(v.op, poly_ir::Op::Intt(_))).unwrap() as u32
    };
    type PolyChange<'a> = Box<dyn Fn(&mut poly_ir::Function) + 'a>;
    let cases: Vec<(PolyChange<'_>, &str)> = vec![
        (Box::new(|f| f.calls[0].callee = CalleeIdx(1)), "call"),
        (Box::new(|f| _ = f.calls[0].arguments.pop()), "call"),
        (Box::new(|f| _ = f.calls[0].constants.pop()), "call"),
        (Box::new(|f| f.calls[0].arguments[0][1] = PolyId(9999)), "call"),
        (Box::new(|f| f.calls[0].arguments[0][0] = PolyId(result(f) as u32)), "call"),
        (
            Box::new(|f| {
                let at = result(f);
                let poly_ir::Op::Result { call, .. } = f.values[at].op else { return };
                f.values[at].op = poly_ir::Op::Result { call, result: 5, poly: 0 };
            }),
            "call",
        ),
        (
            Box::new(|f| {
                // A result of the last call, which is no argument.
                let at = f.values.iter().rposition(|v| matches!(v.op, poly_ir::Op::Result { .. }));
                f.values[at.unwrap()].basis.pop();
            }),
            "type",
        ),
        (
            Box::new(|f| {
                let at = coefficients(f) as usize;
                Arc::make_mut(&mut f.callees[0]).values[at].domain = poly_ir::Domain::Eval;
            }),
            "type",
        ),
    ];
    for (i, (change, rule)) in cases.into_iter().enumerate() {
        let mut broken = good.clone();
        change(&mut broken);
        assert_eq!(rule_of(poly_ir::verify::verify(&broken, &params(), "test")), rule, "case {i}");
    }
}

/// The calls of the schedule by position, of those segments that are called twice.
fn repeated(plan: &Plan) -> Vec<usize> {
    let segment = |step: &PlanStep| match step {
        PlanStep::Call { segment, .. } => Some(*segment),
        PlanStep::Host(_) | PlanStep::Copy(_) | PlanStep::Record { .. } | PlanStep::Wait { .. } => None,
    };
    let calls = |s| plan.schedule.iter().filter(|step| segment(step) == s).count();
    let all = 0..plan.schedule.len();
    all.filter(|&i| segment(&plan.schedule[i]).is_some() && calls(segment(&plan.schedule[i])) > 1).collect()
}

#[test]
fn plans_whose_calls_are_bound_otherwise_are_refused() {
    let Compiled { plan: good, poly, .. } = compiled();
    plan::verify::verify(&good, "test").unwrap();
    plan::refine::refines(&good, &poly, &params()).unwrap();
    let calls = repeated(&good);
    let second = *calls.last().unwrap();
    let of_kind = |kind: fn(BufferKind) -> bool| -> Vec<usize> {
        (0..good.buffers.len()).filter(|&i| kind(good.buffers[i].kind)).collect()
    };
    let passed = of_kind(|kind| kind == BufferKind::Passed);
    assert!(passed.len() >= 2, "{passed:?}");

    // In another tier; not large enough.
    let mut broken = good.clone();
    broken.buffers[passed[0]].tier = Tier::Host;
    assert_eq!(rule_of(plan::verify::verify(&broken, "test")), "tier");
    let mut broken = good.clone();
    broken.buffers[passed[0]].rows -= 1;
    assert_eq!(rule_of(plan::verify::verify(&broken, "test")), "binding");

    // The second call before the first: what it reads is not there, though the first, in that order the second, is in the state that was seen.
    let mut broken = good.clone();
    let first = calls[0];
    let body = second + 1 - first;
    broken.schedule[first..=second].rotate_left(body / 2);
    assert_eq!(rule_of(plan::verify::verify(&broken, "test")), "written");

    // A repeated call that finds other contents is looked at again: an input of coefficients.
    let constants = of_kind(|kind| matches!(kind, BufferKind::Constant(_)));
    assert_eq!(constants.len(), 2);
    let ids: Vec<BufferId> = constants.iter().map(|&i| BufferId(i as u32)).collect();
    let with_constant = calls.iter().copied().rfind(|&i| bindings(&mut good.clone(), i).contains(&ids[1]));
    let mut broken = good.clone();
    let at = bindings(&mut broken, with_constant.unwrap());
    at.iter_mut().filter(|id| **id == ids[1]).for_each(|id| *id = ids[0]);
    plan::verify::verify(&broken, "test").unwrap();
    assert_eq!(rule_of(plan::refine::refines(&broken, &poly, &params())), "refine");

    // Another argument, another result.
    for (slot, id) in
        good.clone().schedule.iter().enumerate().filter(|(i, _)| calls.contains(i)).flat_map(|(i, step)| {
            let PlanStep::Call { bindings, .. } = step else { return Vec::new() };
            let passed: Vec<usize> =
                (0..bindings.len()).filter(|&slot| passed.contains(&(bindings[slot].0 as usize))).collect();
            passed.into_iter().map(|slot| (i, slot)).collect::<Vec<_>>()
        })
    {
        let mut broken = good.clone();
        let bound = &mut bindings(&mut broken, slot)[id];
        let others = passed.iter().map(|&i| BufferId(i as u32)).filter(|other| other != bound);
        let Some(other) = others.into_iter().next() else { continue };
        *bound = other;
        let verified = plan::verify::verify(&broken, "test");
        let refined = verified.and_then(|()| plan::refine::refines(&broken, &poly, &params()));
        assert!(matches!(rule_of(refined), "written" | "binding" | "refine" | "host" | "flow"));
    }
}

#[test]
fn a_call_in_another_state_is_looked_at_again() {
    // The second call reads what the first began to transform only: the same rows, of another domain.
    let Compiled { plan: good, .. } = compiled();
    let calls = repeated(&good);
    let mut broken = good.clone();
    // Without the first call of the first segment its second is the first: nothing is skipped that was not seen.
    broken.schedule.remove(calls[0]);
    assert_eq!(rule_of(plan::verify::verify(&broken, "test")), "written");
    // Without the step that makes its argument, the second call of a segment that was seen is refused.
    let PlanStep::Call { segment, .. } = &good.schedule[calls[0]] else { panic!("no call") };
    let again = calls
        .iter()
        .rfind(|&&i| matches!(&good.schedule[i], PlanStep::Call { segment: s, .. } if s == segment));
    let mut broken = good.clone();
    let inputs = bindings(&mut broken, *again.unwrap());
    let unwritten = BufferId(good.buffers.len() as u32);
    let at = inputs.iter().position(|id| good.buffers[id.0 as usize].kind == BufferKind::Passed).unwrap();
    let like = good.buffers[inputs[at].0 as usize].clone();
    inputs[at] = unwritten;
    let bytes = good.row_bytes() as u64;
    broken.peaks.iter_mut().filter(|p| p.tier == Tier::Device).for_each(|p| {
        p.rows += u64::from(like.rows);
        p.bytes += u64::from(like.rows) * bytes;
    });
    broken.buffers.push(like);
    assert_eq!(rule_of(plan::verify::verify(&broken, "test")), "written");
}

//! Plaintexts of short periods, whose values are stored once a run: what they take, what they mean, what verifiers refuse.

use crate::common::{check_everywhere, rewrite, rule_of};
use fhe_core::params::{Level, Params, Preset};
use kernels_gpu::abi::{KernelId, Term};
use scheduler::dsl::{self, Program, linear};
use scheduler::plan::{self, BufferKind, HostStep, Item, Plan, Sharding};
use scheduler::poly_ir::{self, log_repeat};
use scheduler::{Compiled, Options, Topology, ckks_ir, compile};

mod helpers {
    use super::*;

    pub(crate) fn params() -> Params {
        Preset::Toy10.params().unwrap()
    }

    /// `x w` with a plaintext of that period: values that differ.
    pub(crate) fn product(period: u32) -> Program {
        let weights: Vec<f64> = (0..period).map(|i| f64::from(i + 1) / f64::from(period)).collect();
        dsl::build("product", |g| {
            let x = g.input("x", 512)?;
            g.output("y", x * g.plain("w", &weights)?, 512)
        })
        .unwrap()
    }

    pub(crate) fn matrix(n: usize) -> Program {
        let matrix: Vec<f64> = (0..n * n).map(|i| ((i * 7 % 13) as f64 - 6.0) / (6 * n) as f64).collect();
        dsl::build("matrix", |g| {
            let y = linear::matvec(g.input("x", n)?, "m", &matrix, n, n)?;
            g.output("y", y, n)
        })
        .unwrap()
    }

    pub(crate) fn constant_rows(plan: &Plan) -> Vec<u32> {
        let constants = plan.buffers.iter().filter(|b| matches!(b.kind, BufferKind::Constant(_)));
        constants.map(|b| b.rows).collect()
    }

    /// The level at which the only constant is encoded.
    pub(crate) fn level_of_constant(plan: &Plan) -> Level {
        let level = plan.setup.iter().find_map(|step| match step {
            HostStep::Encode { encoded, .. } => Some(encoded.level),
            _ => None,
        });
        level.unwrap()
    }

    /// The terms of the first product with a plaintext.
    pub(crate) fn terms(plan: &mut Plan, f: impl Fn(&mut Vec<Term>)) {
        rewrite(plan, KernelId::InnerProduct, |items| match &mut items[0] {
            Item::InnerProduct { terms, .. } => f(terms),
            other => panic!("{other:?}"),
        });
    }
}

use helpers::{constant_rows, level_of_constant, matrix, params, product, terms};

#[test]
fn every_period_means_the_same() {
    for period in [1, 2, 16, 32, 64, 512] {
        check_everywhere::<u32>(&product(period), Preset::Toy10, &Options::default(), 1e-5);
        check_everywhere::<u64>(&product(period), Preset::Toy10w, &Options::default(), 1e-5);
    }
    for n in [2, 3, 8] {
        let options = Options { topology: Topology::new(n).unwrap(), ..Options::default() };
        check_everywhere::<u32>(&matrix(16), Preset::Toy10, &options, 1e-5);
    }
}

#[test]
fn limbs_share_rows() {
    let params = params();
    // 512 slots: runs of 512 / p values, stored once if there are 16 of them.
    for (period, expected) in [(16, 5), (32, 4), (64, 0), (512, 0)] {
        assert_eq!(log_repeat(&params, period), expected, "period {period}");
        let plan = compile(&product(period as u32), &params, &Options::default()).unwrap().plan;
        let limbs = params.level(level_of_constant(&plan)).unwrap().basis.len() as u32;
        assert_eq!(constant_rows(&plan), [if expected > 0 { 1 } else { limbs }], "period {period}");
    }
    // A matrix at N = 2^16, its diagonals of period 64: 2^9 limbs a row. Each would take a row a limb.
    let params = Preset::N16.params().unwrap();
    let plan = compile(&matrix(64), &params, &Options::default()).unwrap().plan;
    let rows = constant_rows(&plan);
    assert!(rows.len() > 60 && rows.iter().all(|&rows| rows == 1), "{rows:?}");
}

/// `X^(N/2)` is the shortest period there is: two words a limb.
#[test]
fn the_imaginary_unit_takes_no_level() {
    let program = dsl::build("turn", |g| {
        let x = g.input("x", 8)?;
        g.output("ix", x.mul_i(), 8)?;
        g.output("y", (x * x.mul_i()).mul_i() + x.mul_i().mul_i(), 8)
    })
    .unwrap();
    for preset in [Preset::Toy10, Preset::Toy12r] {
        check_everywhere::<u32>(&program, preset, &Options::default(), 1e-5);
    }
    let Compiled { placed, poly, .. } = compile(&program, &params(), &Options::default()).unwrap();
    assert_eq!(placed.values[0].kind.map(|kind| kind.level), Some(Level(1)));
    assert!(poly.encoded.iter().all(|e| e.log_repeat == 9), "{:?}", poly.encoded);
    let text = placed.to_string();
    let other = text.replacen("[(0.0 1.0)]", "[(0.0 2.0)]", 1);
    assert_ne!(text, other, "{text}");
    let parsed = ckks_ir::text::parse(&other, &[]).unwrap();
    assert_eq!(rule_of(ckks_ir::verify::verify(&parsed, Some(&params()), "test")), "unit");
}

#[test]
fn addends_are_dense() {
    let program = dsl::build("affine", |g| {
        let (w, v) = (g.plain("w", &[0.5, -1.0])?, g.plain("v", &[0.25, 1.0])?);
        g.output("y", g.input("x", 4)? * w + v, 4)
    })
    .unwrap();
    let Compiled { poly, .. } = compile(&program, &params(), &Options::default()).unwrap();
    let repeats: Vec<u32> = poly.encoded.iter().map(|e| e.log_repeat).collect();
    assert_eq!(repeats, [8, 0]);
    let text = poly.to_string();
    let again = poly_ir::text::parse(&text).unwrap();
    assert_eq!(again, poly);
    check_everywhere::<u32>(&program, Preset::Toy10, &Options::default(), 1e-5);
}

#[test]
fn what_poly_ir_refuses() {
    let Compiled { poly, .. } = compile(&product(16), &params(), &Options::default()).unwrap();
    let text = poly.to_string();
    let check = |text: &str| {
        let function = poly_ir::text::parse(text).unwrap();
        poly_ir::verify::verify(&function, &params(), "test")
    };
    check(&text).unwrap();
    let constant = poly.ids().find(|&id| matches!(poly.value(id).op, poly_ir::Op::Constant(_))).unwrap();
    let other = poly.ids().find(|&id| matches!(poly.value(id).op, poly_ir::Op::Input { .. })).unwrap();
    let (product, swapped) = (format!("[{constant} * {other}]"), format!("[{other} * {constant}]"));
    for (from, to, rule) in [
        (" repeat 5", " repeat 10", "type"),
        (" repeat 5", "", "type"),
        (": repeated 5", ": eval", "type"),
        // Second factors and what a sum starts from are whole.
        (&product, &swapped, "type"),
        (&product, &format!("{product} init {constant}"), "type"),
    ] {
        assert!(text.contains(from), "{from}\n{text}");
        assert_eq!(rule_of(check(&text.replace(from, to))), rule, "{from} -> {to}");
    }
    for runs in ["3", "10", "4000000000"] {
        let text = text.replace("repeat 5", &format!("repeat {runs}"));
        let text = text.replace("repeated 5", &format!("repeated {runs}"));
        assert_eq!(rule_of(check(&text)), "repeat", "{runs}");
    }
}

#[test]
fn what_a_plan_refuses() {
    let Compiled { plan: good, poly, .. } = compile(&product(16), &params(), &Options::default()).unwrap();
    plan::verify::verify(&good, "test").unwrap();
    plan::refine::refines(&good, &poly, &params()).unwrap();
    assert_eq!(plan::text::parse(&good.to_string()).unwrap(), good);
    let broken = |f: &dyn Fn(&mut Plan)| {
        let mut plan = good.clone();
        f(&mut plan);
        plan
    };
    let encode = |f: fn(&mut u32)| {
        broken(&|plan| {
            let step = plan.setup.iter_mut().find_map(|step| match step {
                HostStep::Encode { encoded, .. } => Some(encoded),
                _ => None,
            });
            f(&mut step.unwrap().log_repeat);
        })
    };
    let first = |f: fn(&mut Term)| broken(&|plan| terms(plan, |terms| f(&mut terms[0])));
    let cases = [
        (first(|t| t.part = 32), "repeat"),
        (first(|t| t.log_repeat = 3), "repeat"),
        (first(|t| t.log_repeat = 10), "repeat"),
        (first(|t| (t.part, t.log_repeat) = (1, 0)), "repeat"),
        (first(|t| (t.part, t.log_repeat) = (0, 0)), "flow"),
        (first(|t| t.log_repeat = 6), "flow"),
        // A second factor is whole.
        (first(|t| t.b[0] = t.a), "flow"),
        (encode(|r| *r = 0), "flow"),
        (encode(|r| *r = 6), "flow"),
        (encode(|r| *r = 3), "repeat"),
        (encode(|r| *r = u32::MAX), "repeat"),
    ];
    for (i, (plan, rule)) in cases.into_iter().enumerate() {
        assert_eq!(rule_of(plan::verify::verify(&plan, "test")), rule, "case {i}");
    }
    // Another limb's words are well formed, and wrong.
    let other = first(|t| t.part += 1);
    plan::verify::verify(&other, "test").unwrap();
    assert_eq!(rule_of(plan::refine::refines(&other, &poly, &params())), "refine");
    // A buffer without room for all limbs.
    let short = broken(&|plan| {
        let constant = plan.buffers.iter_mut().find(|b| matches!(b.kind, BufferKind::Constant(_))).unwrap();
        constant.rows += 1;
    });
    assert_eq!(rule_of(plan::refine::refines(&short, &poly, &params())), "refine");
    assert_eq!(Sharding::new(1).part(0, &[], 5, 0), None);
}

//! Bootstraps that the compiler places: where, how many, and that the program still means the same.
//!
//! `toy12r` has 16 levels for inputs, and bootstrapping returns 13.

use crate::common::{message, worst};
use fhe_core::params::{Level, Params, Preset};
use proptest::prelude::*;
use scheduler::ckks_ir::{Function, Input, InputIdx, Op, Output, ValueId, inline_all};
use scheduler::dsl::{self, Encrypted, Graph, Program, linear::matvec};
use scheduler::passes::{self, expand_bootstraps::expand_bootstraps, place_bootstraps::place_bootstraps};
use scheduler::{Error, interp};

const FRESH: u32 = 16;
const RETURNED: u32 = 13;

fn params() -> Params {
    Preset::Toy12r.params().unwrap()
}

/// The passes before bootstraps are placed.
fn prepared(program: &Program) -> Function {
    let passes = passes::CKKS.iter().take_while(|pass| pass.name != "place_bootstraps");
    passes.fold(program.function().clone(), |function, pass| (pass.run)(&function, &params()).unwrap())
}

/// With bootstraps, which are operations then.
fn placed(program: &Program) -> Result<Function, Error> {
    place_bootstraps(&prepared(program), &params())
}

fn bootstraps(function: &Function) -> Vec<(ValueId, u32)> {
    let bootstrap = |value: &scheduler::ckks_ir::Value| match value.op {
        Op::Bootstrap(a, period) => Some((a, period)),
        _ => None,
    };
    function.values.iter().filter_map(bootstrap).collect()
}

/// Levels as `place` finds them without knowing of bootstraps: each is an input, and what it is of an output. Without calls.
fn check_levels(function: &Function) {
    let function = &inline_all(function);
    let mut open = function.clone();
    for id in function.ids() {
        let Op::Bootstrap(value, period) = function.value(id).op else { continue };
        open.inputs.push(Input { name: id.to_string(), period, complex: false, at: None });
        open.outputs.push(Output { name: id.to_string(), slots: 1, value, at: None });
        open.values[id.0 as usize].op = Op::Input(InputIdx(open.inputs.len() as u32 - 1));
    }
    let expanded = passes::expand_transforms::expand_transforms(&open, &params()).unwrap();
    let levels = passes::place::place_lowest(&expanded, &params()).unwrap();
    for value in &levels.values {
        let Op::Input(i) = value.op else { continue };
        let limit = if (i.0 as usize) < function.inputs.len() { FRESH } else { RETURNED };
        assert!(value.kind.unwrap().level.0 <= limit, "{function}");
    }
}

fn check_meaning(before: &Function, after: &Function) {
    let n_slots = 64;
    let inputs = before.inputs.iter().enumerate();
    let messages: Vec<_> = inputs.map(|(i, input)| message(input.period as usize, i as u32)).collect();
    let expected = interp::slots::run(before, n_slots, &messages).unwrap();
    let found = interp::slots::run(after, n_slots, &messages).unwrap();
    for (expected, found) in expected.iter().zip(&found) {
        assert!(worst(expected, found) < 1e-9);
    }
}

/// Places; checks levels and meaning.
fn checked(program: &Program) -> Function {
    let (before, after) = (prepared(program), placed(program).unwrap());
    check_levels(&after);
    check_meaning(program.function(), &after);
    assert_eq!(after, place_bootstraps(&before, &params()).unwrap(), "not deterministic");
    // Placing again finds nothing to do.
    assert_eq!(after, place_bootstraps(&after, &params()).unwrap());
    after
}

fn squared<'g>(x: Encrypted<'g>, n: u32) -> Encrypted<'g> {
    (0..n).fold(x, |x, _| x.square())
}

fn chain(n: u32) -> Program {
    dsl::build("chain", |g| g.output("y", squared(g.input("x", 16)?, n), 16)).unwrap()
}

#[test]
fn a_chain_is_bootstrapped_as_rarely_as_can_be() {
    for (depth, expected) in [(17, 1), (29, 1), (30, 2), (42, 2), (43, 3), (100, 7)] {
        let found = bootstraps(&checked(&chain(depth)));
        assert_eq!(found.len(), expected, "depth {depth}");
        assert!(found.iter().all(|&(_, period)| period == 16));
    }
}

#[test]
fn what_fits_stays_as_it_is() {
    for depth in [1, 16] {
        let program = chain(depth);
        assert_eq!(placed(&program).unwrap(), prepared(&program));
    }
    // Calls too, and what the user bootstraps.
    let program = dsl::build("calls", |g| {
        let layer = g.function("layer", |[x], _| Ok([squared(x, 4).bootstrapped()]));
        let mut x = g.input("x", 16)?;
        for _ in 0..9 {
            [x] = layer.call([x], &[])?;
        }
        g.output("y", x, 16)
    })
    .unwrap();
    let function = placed(&program).unwrap();
    assert_eq!(function.calls.len(), 9);
    assert_eq!(function, prepared(&program));
}

#[test]
fn blocks_with_a_way_round_need_no_more_than_their_boundaries() {
    // 60 levels in 12 blocks; two real values at a boundary are one bootstrap: 4 are the fewest for any chain of 60.
    fn block(x: Encrypted<'_>) -> Encrypted<'_> {
        squared(x, 4).rotate(1) * 0.25 + x * 0.5
    }
    let program = dsl::build("residual", |g| {
        let x = (0..12).fold(g.input("x", 16)?, |x, _| block(x));
        g.output("y", x, 16)
    })
    .unwrap();
    let function = checked(&program);
    let expanded = expand_bootstraps(&function, &params()).unwrap();
    assert_eq!(expanded.calls.len(), 4, "{function}");
}

#[test]
fn rotations_are_bootstrapped_before_they_are_many() {
    let program = dsl::build("wide", |g| {
        let x = squared(g.input("x", 64)?, 10);
        let turned = (0..16).map(|k| squared(x.rotate(k), 10));
        g.output("y", turned.reduce(|a, b| a + b).unwrap(), 64)
    })
    .unwrap();
    let function = checked(&program);
    assert_eq!(bootstraps(&function).len(), 1);
    // So does a matrix whose transform ends a stretch.
    let matrix: Vec<f64> = (0..256).map(|i| f64::from(i % 7) / 64.0).collect();
    let program = dsl::build("matrix", |g| {
        let mut x = g.input("x", 16)?;
        for i in 0..30 {
            x = matvec(x, &format!("m{i}"), &matrix, 16, 16)?;
        }
        g.output("y", x, 16)
    })
    .unwrap();
    assert_eq!(bootstraps(&checked(&program)).len(), 2);
}

#[test]
fn a_long_way_round_is_bootstrapped_once_or_not_at_all() {
    // The short way is 3 levels, to the end of a chain of 60: it waits.
    let program = dsl::build("diamond", |g| {
        let x = g.input("x", 16)?;
        g.output("y", squared(x, 60) + squared(x, 3), 16)
    })
    .unwrap();
    assert_eq!(bootstraps(&checked(&program)).len(), 4);
    // From the middle of the chain to its end: what is bootstrapped there anyway is as good.
    let program = dsl::build("skip", |g| {
        let x = squared(g.input("x", 16)?, 14);
        g.output("y", squared(x, 50) * x, 16)
    })
    .unwrap();
    assert_eq!(bootstraps(&checked(&program)).len(), 4);
}

#[test]
fn what_the_user_bootstraps_stays_and_counts() {
    let program = dsl::build("explicit", |g| {
        let x = squared(g.input("x", 16)?, 5).bootstrapped().named("mine");
        g.output("y", squared(x, 20), 16)
    })
    .unwrap();
    let function = checked(&program);
    let names = |f: &Function| f.values.iter().filter(|v| v.name.as_deref() == Some("mine")).count();
    assert_eq!((bootstraps(&function).len(), names(&function)), (2, 1));
}

/// So many layers of so many levels, two real vectors each.
fn layers(n: usize, depth: u32) -> Program {
    dsl::build("layers", |g| {
        let layer = g.function("layer", |[x, y], p| {
            let weighted = (x + y.rotate(1)) * p.plain("w")?;
            let turned = (1..8).map(|k| weighted.rotate(k)).fold(weighted, |a, b| a + b);
            Ok([squared(turned * 0.125, depth - 2), squared(weighted, depth - 1)])
        });
        let (mut x, mut y) = (g.input("x", 64)?, g.input("y", 64)?);
        for i in 0..n {
            [x, y] = layer.call([x, y], &[("w", &[0.5, i as f64 / 8.0])])?;
        }
        g.output("y", x + y, 64)
    })
    .unwrap()
}

#[test]
fn functions_are_opened_where_that_saves_bootstraps() {
    // 42 levels are two cuts, one between any two layers would be six.
    let function = checked(&layers(7, 6));
    assert_eq!((bootstraps(&function).len(), function.calls.len()), (4, 0));
    // One at a time.
    let function = checked(&layers(7, 13));
    assert_eq!((bootstraps(&function).len(), function.calls.len(), function.callees.len()), (12, 7, 1));
    // With bootstraps in the body too: as many of both as in the expanded program.
    let function = checked(&layers(7, 25));
    assert_eq!((bootstraps(&function).len(), function.calls.len(), function.callees.len()), (12, 7, 1));
    assert_eq!(bootstraps(&function.callees[0]).len(), 2);
    // As the passes go on there is one body for all calls, with a call of bootstrapping for each pair.
    let mut placed = function;
    for pass in passes::CKKS.iter().skip_while(|pass| pass.name != "mark_real") {
        placed = (pass.run)(&placed, &params()).unwrap();
    }
    let names = |name: &str| placed.calls.iter().filter(|call| call.name.starts_with(name)).count();
    assert_eq!((names("layer"), names("bootstrap")), (7, 6));
    check_meaning(layers(7, 25).function(), &placed);
}

#[test]
fn mistakes_are_named() {
    // At a written level nothing is left for what comes after.
    let program = dsl::build("written", |g| {
        let x = squared(g.input("x", 16)?, 8).at_level(Level(14)).named("here");
        g.output("y", squared(x, 20), 16)
    })
    .unwrap();
    let error = placed(&program).unwrap_err();
    assert!(matches!(&error, Error::Override { name, .. } if name == "here"), "{error}");
    // Inputs do not reach it, bootstraps neither.
    let high = |written| {
        let program = dsl::build("high", |g| {
            let x = squared(g.input("x", 16)?.named("start"), 2).at_level(Level(written)).named("here");
            g.output("y", squared(x, 15), 16)
        });
        placed(&program.unwrap()).unwrap_err()
    };
    let error = high(28);
    assert!(matches!(&error, Error::Override { name, .. } if name == "here"), "{error}");
    let error = high(15);
    let Error::NoBootstrap { name, needed: 17, available: Level(FRESH), returned: Level(RETURNED), .. } =
        &error
    else {
        panic!("{error}");
    };
    assert_eq!(name, "start");
    assert!(error.to_string().contains("remove `at_level`"), "{error}");
}

/// A step of a random program.
type RandomStep = (u8, usize, usize);

fn random(steps: &[RandomStep]) -> Result<Program, Error> {
    dsl::build("random", |g| {
        let mut values = vec![g.input("x", 16)?, g.input_complex("y", 64)?];
        for (i, &(kind, a, b)) in steps.iter().enumerate() {
            let near = |k: usize| values[values.len() - 1 - k % values.len()];
            let (a, b) = (near(a), near(b));
            values.push(step(g, i, kind, a, b)?);
        }
        values.iter().for_each(|value| _ = value.unused_on_purpose());
        g.output("last", values[values.len() - 1], 16)?;
        g.output("middle", values[values.len() / 2], 16)
    })
}

/// Slots stay below 1.
fn step<'g>(
    g: &'g Graph,
    i: usize,
    kind: u8,
    a: Encrypted<'g>,
    b: Encrypted<'g>,
) -> Result<Encrypted<'g>, Error> {
    Ok(match kind {
        0 => a * b + a * b.rotate(3),
        1 => squared(a, 4) * b,
        2 => (a + b) * 0.5,
        3 => a.rotate(1) * g.plain(&format!("w{i}"), &[0.5, -0.5, 1.0, 0.25])?,
        4 => a.conjugate().bootstrapped(),
        5 => (squared(a, 5) - squared(b, 3)) * 0.5,
        6 => matvec(a, &format!("m{i}"), &[0.25; 16], 4, 4)?,
        _ => squared(a, 7) * b,
    } * 0.49)
}

/// Every value that is live where a bootstrapping that returns 13 levels must be, by depth from the inputs, is bootstrapped there.
fn every_live_value(function: &Function) -> usize {
    let mut depth: Vec<u32> = Vec::new();
    for value in &function.values {
        let own = match value.op {
            Op::Mul(..) | Op::MulPlain(..) | Op::MulScalar(..) | Op::LinearTransform(..) => 1,
            _ => 0,
        };
        let most = value.op.operands().map(|a| depth[a.0 as usize]).max().unwrap_or(0);
        depth.push(if matches!(value.op, Op::Bootstrap(..)) { FRESH - RETURNED } else { most + own });
    }
    let end = depth.iter().copied().max().unwrap_or(0);
    let boundaries = (0..).map(|k| FRESH + RETURNED * k).take_while(|&i| i < end);
    let live = |i: u32, id: ValueId| {
        let uses = |u: &ValueId| function.value(*u).op.operands().any(|a| a == id);
        let bootstrap = |u: &ValueId| matches!(function.value(*u).op, Op::Bootstrap(..));
        let later = |u: &ValueId| depth[u.0 as usize] > i && uses(u) && !bootstrap(u);
        depth[id.0 as usize] <= i && function.ids().any(|u| later(&u))
    };
    boundaries.map(|i| function.ids().filter(|&id| live(i, id)).count()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn random_programs_fit_afterwards(
        steps in prop::collection::vec((0u8..8, 0usize..4, 0usize..12), 8..40),
    ) {
        let program = random(&steps).unwrap();
        let before = prepared(&program);
        let function = checked(&program);
        // Two real vectors are one bootstrapping.
        let n_calls = |f: &Function| expand_bootstraps(f, &params()).unwrap().calls.len();
        let own = n_calls(&function).saturating_sub(n_calls(&before));
        prop_assert!(own <= every_live_value(&before), "{own} of {}", every_live_value(&before));
    }
}

//! The search against all sets of bootstraps, on small random programs.

use fhe_core::params::{Level, Params, Preset};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::flow::{Flow, Limits, Split, Takers};
use super::rewrite;
use super::search::Search;
use crate::ckks_ir::{Function, Input, InputIdx, Op, Output};
use crate::cost::OperationCosts;
use crate::dsl;
use crate::passes::{cse, dce, place, simplify};

fn params() -> Params {
    Preset::N15.params().unwrap()
}

/// A step of a random program: which operation, on which values, and what a bootstrap of the result costs.
type Step = (u8, usize, usize, u64);

fn steps(n: core::ops::Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0u8..12, 0usize..8, 0usize..8, 1u64..5), n)
}

/// Operands are among the last values, so that programs are deep.
fn program(steps: &[Step], span: usize) -> Function {
    let program = dsl::build("random", |g| {
        let mut values = vec![g.input("x", 4)?, g.input("y", 4)?];
        for (i, &(kind, a, b, _)) in steps.iter().enumerate() {
            let near = |k: usize| values[values.len() - 1 - k % span.min(values.len())];
            let (a, b) = (near(a), near(b));
            let weights = [1.0, 2.0, 3.0, 4.0 + i as f64];
            values.push(match kind {
                0 | 1 => a + b,
                2 => a.rotate(1) - b,
                3 => a * g.plain(&format!("w{i}"), &weights)?,
                4 => dsl::linear::matvec(a, &format!("m{i}"), &[0.5 + i as f64; 16], 4, 4)?,
                5 => a * b + a * 0.7,
                6 if i % 5 == 0 => a.bootstrapped(),
                _ => a * b,
            });
        }
        values.iter().for_each(|value| _ = value.unused_on_purpose());
        g.output("z", values[values.len() - 1], 4)?;
        g.output("side", values[values.len() / 2], 4)
    });
    let function = program.unwrap().function().clone();
    dce::dce(&cse::cse(&simplify::simplify(&function, &params())))
}

/// What `place` finds without knowing of bootstraps: each is an input there, and what it is of an output. Levels of inputs.
fn placed_levels(function: &Function) -> Vec<(bool, Level)> {
    let mut open = function.clone();
    for id in function.ids() {
        let Op::Bootstrap(value, _) = function.value(id).op else { continue };
        let input = InputIdx(open.inputs.len() as u32);
        open.inputs.push(Input { name: id.to_string(), period: 4, complex: false, at: None });
        open.outputs.push(Output { name: id.to_string(), slots: 4, value, at: None });
        open.values[id.0 as usize].op = Op::Input(input);
    }
    let levels = place::lowest_levels(&open, &params()).unwrap();
    let sources = function.ids().filter(|&id| matches!(open.value(id).op, Op::Input(_)));
    sources.map(|id| (matches!(function.value(id).op, Op::Bootstrap(..)), levels[id.0 as usize])).collect()
}

fn check_levels(function: &Function, limits: Limits) {
    for (bootstrap, level) in placed_levels(function) {
        assert!(level.0 <= if bootstrap { limits.returned } else { limits.fresh }, "{function}");
    }
}

/// Prices of values, in units that operations are far below.
fn prices(flow: &Flow<'_>, steps: &[Step]) -> Vec<u64> {
    let price = |v: usize| if flow.is_source(v) { 0 } else { steps[v % steps.len()].3 << 40 };
    (0..flow.n()).map(price).collect()
}

/// The least sum of prices of all sets that do.
fn brute_force(flow: &Flow<'_>, prices: &[u64]) -> Option<u64> {
    let movable = flow.movable();
    let free: Vec<usize> = (0..flow.n()).filter(|&v| movable[v] && !flow.is_source(v)).collect();
    let all = (0u32..1 << free.len()).filter_map(|bits| {
        // Whatever a bootstrap can be taken by takes it.
        let mut split = Split::none(flow.n());
        for &v in free.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, v)| v) {
            split.takers[v] = Takers::All;
        }
        let price = (0..flow.n()).filter(|&v| split.bootstraps(v)).map(|v| prices[v]).sum::<u64>();
        flow.fits(&flow.needs(&split)).then_some(price)
    });
    all.min()
}

#[test]
fn few_sets_are_cheaper_than_the_one_found() {
    let (params, mut runner) = (params(), TestRunner::deterministic());
    let costs = OperationCosts::new(&params).unwrap();
    let (mut n, mut best) = (0, 0);
    for i in 0..1200 {
        let steps = steps(4..12).new_tree(&mut runner).unwrap().current();
        let function = program(&steps, [3, 8][i % 2]);
        let limits = Limits { fresh: 2 + i as u32 % 2, returned: 2 - i as u32 / 2 % 2 };
        let flow = Flow::new(&function, limits, &[]).unwrap();
        let (prices, real) = (prices(&flow, &steps), vec![false; flow.n()]);
        let search = Search { flow: &flow, prices: &prices, real: &real, costs: &costs };
        let none = Split::none(flow.n());
        if search.cost(&none).is_some() || flow.n() > 16 {
            continue;
        }
        // The explicit ones cost what they cost.
        let (optimum, found) = (brute_force(&flow, &prices).unwrap(), search.run().unwrap());
        let rewritten = rewrite(&function, &flow, &found, &vec![4; flow.n()]);
        check_levels(&rewritten, limits);
        let price = search.bootstraps(&found);
        assert!(price >= optimum && price <= 2 * optimum, "{price} of {optimum}: {found:?}\n{function}");
        (n, best) = (n + 1, best + usize::from(price == optimum));
    }
    assert!(n > 500 && best * 100 >= 97 * n, "the best of {best} of {n}");
}

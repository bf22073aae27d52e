//! Lifted levels against all levels there are.

use fhe_core::params::{Level, Preset};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::levels;
use super::lift::{Model, lift};
use super::prices::{Drops, Prices};
use crate::ckks_ir::{Function, Input, InputIdx, Op, Output, Scalar, ValueId};
use crate::passes::dce;

/// How far above the lowest levels the oracle looks.
const REACH: u32 = 4;

/// Operations on two inputs, and the last two values returned.
fn function(steps: &[(u8, usize, usize)]) -> Function {
    let input = |name: &str| Input { name: name.to_owned(), period: 4, complex: false, at: None };
    let mut f = Function { inputs: vec![input("x"), input("y")], ..Function::default() };
    for i in 0..2 {
        f.push(Op::Input(InputIdx(i)), None, None);
    }
    for &(kind, a, b) in steps {
        let n = f.values.len();
        let (a, b) = (ValueId((a % n) as u32), ValueId((b % n) as u32));
        let op = match kind {
            0 => Op::Add(a, b),
            1 => Op::Mul(a, b),
            2 => Op::Rotate(a, 1 + b.0),
            _ => Op::MulScalar(a, Scalar::new(0.5)),
        };
        f.push(op, None, None);
    }
    let n = f.values.len() as u32;
    for (name, value) in [("last", n - 1), ("other", n - 2)] {
        f.outputs.push(Output { name: name.to_owned(), slots: 4, value: ValueId(value), at: None });
    }
    dce::dce(&f)
}

/// The least price of any levels up to some above the lowest, all of them tried.
fn least(model: &Model<'_>, lowest: &[Level]) -> u64 {
    let mut least = u64::MAX;
    let mut levels: Vec<u32> = lowest.iter().map(|level| level.0).collect();
    loop {
        if model.fits(&levels, lowest) {
            least = least.min(model.price(&levels));
        }
        // Counts.
        let Some(next) = (0..levels.len()).find(|&i| levels[i] < lowest[i].0 + REACH) else { return least };
        levels[next] += 1;
        levels[..next].iter_mut().zip(lowest).for_each(|(level, lowest)| *level = lowest.0);
    }
}

/// Of programs with few values: how many are as cheap as can be, and the largest part that one is dearer.
fn compare(preset: Preset, programs: &[Vec<(u8, usize, usize)>]) -> (usize, usize, f64) {
    let params = preset.params().unwrap();
    let (prices, drops) = (Prices::new(&params).unwrap(), Drops::new(&params).unwrap());
    let (mut best, mut lifted, mut worst) = (0, 0, 0.0f64);
    for steps in programs {
        let f = function(steps);
        let (shapes, lowest) = levels(&f, &params).unwrap();
        let model = Model::new(&f, &shapes, &prices, &drops, &params, prices.rise()).unwrap();
        let of = |levels: &[Level]| {
            let levels: Vec<u32> = levels.iter().map(|level| level.0).collect();
            assert!(model.fits(&levels, &lowest), "{levels:?}\n{f}");
            model.price(&levels)
        };
        let found = lift(&f, &shapes, &lowest, &params).unwrap();
        let before = of(&lowest);
        let after = found.map_or(before, |levels| of(&levels));
        let least = least(&model, &lowest);
        assert!(least <= after && after <= before, "{least} {after} {before}\n{f}");
        lifted += usize::from(after < before);
        best += usize::from(after == least);
        worst = worst.max(after as f64 / least as f64);
    }
    (best, lifted, worst)
}

#[test]
fn as_cheap_as_all_levels_there_are() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let steps = prop::collection::vec((0u8..4, 0usize..8, 0usize..8), 2..5);
    let programs: Vec<_> = (0..120).map(|_| steps.new_tree(&mut runner).unwrap().current()).collect();
    for (preset, expected) in [(Preset::Toy12r, 0.9), (Preset::Toy10, 0.9)] {
        let (best, lifted, worst) = compare(preset, &programs);
        println!("{preset:?}: best {best} of {}, lifted {lifted}, worst {worst}", programs.len());
        assert!(best as f64 >= expected * programs.len() as f64, "{best} of {}", programs.len());
        assert!(lifted > 0 && worst < 1.2, "lifted {lifted}, worst {worst}");
    }
}

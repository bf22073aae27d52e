//! Levels by predicted time (docs/adr/0024).

mod helpers {
    use fhe_core::params::Preset;
    use scheduler::ckks_ir::{Function, Op, ValueId};
    use scheduler::dsl::Program;
    use scheduler::passes::{CKKS, place};

    /// A program as it comes to `place`.
    pub(crate) fn unplaced(program: &Program, preset: Preset) -> Function {
        let params = preset.params().unwrap();
        let passes = CKKS.iter().take_while(|pass| pass.name != "place");
        passes.fold(program.function().clone(), |function, pass| (pass.run)(&function, &params).unwrap())
    }

    /// A program as low as it can be, and where it is predicted to take the least time; what is predicted of both.
    pub(crate) fn both(program: &Program, preset: Preset) -> [(Function, u64); 2] {
        let (function, params) = (unplaced(program, preset), preset.params().unwrap());
        let placed =
            [place::place_lowest(&function, &params).unwrap(), place::place(&function, &params).unwrap()];
        placed.map(|placed| {
            let price = place::predicted(&placed, &params).unwrap();
            (placed, price)
        })
    }

    pub(crate) fn count(function: &Function, is: impl Fn(&Op) -> bool) -> usize {
        function.values.iter().filter(|value| is(&value.op)).count()
    }

    pub(crate) fn level(function: &Function, id: ValueId) -> u32 {
        function.value(id).kind.unwrap().level.0
    }

    /// The levels of all values of a kind.
    pub(crate) fn levels(function: &Function, is: impl Fn(&Op) -> bool) -> Vec<u32> {
        function.ids().filter(|&id| is(&function.value(id).op)).map(|id| level(function, id)).collect()
    }
}

use crate::common::{check_everywhere, random_program, random_steps};
use fhe_core::params::{Level, Preset};
use helpers::{both, count, levels};
use proptest::prelude::*;
use scheduler::ckks_ir::{Function, Op};
use scheduler::dsl;
use scheduler::{Options, compile};

const ROTATES: fn(&Op) -> bool = |op| matches!(op, Op::Rotate(..));
const DROPS: fn(&Op) -> bool = |op| matches!(op, Op::LevelDrop(..));
const IS_INPUT: fn(&Op) -> bool = |op| matches!(op, Op::Input(_));

#[test]
fn a_sum_is_made_before_it_is_dropped() {
    let program = dsl::build("sum", |g| {
        let (x, y) = (g.input("x", 16)?, g.input("y", 16)?);
        g.output("deep", x * y, 16)?;
        g.output("sum", x + y, 16)
    })
    .unwrap();
    let [(lowest, as_low), (placed, price)] = both(&program, Preset::Toy10);
    assert_eq!(levels(&lowest, IS_INPUT), levels(&placed, IS_INPUT));
    let sum = |f: &Function| levels(f, |op| matches!(op, Op::Add(..)));
    // x and y are dropped, or their sum.
    assert_eq!((sum(&lowest), sum(&placed)), (vec![0], vec![1]));
    assert_eq!((count(&lowest, DROPS), count(&placed, DROPS)), (2, 1));
    assert!(price < as_low);
    check_everywhere::<u32>(&program, Preset::Toy10, &Options::default(), 1e-6);
}

#[test]
fn rotations_run_where_a_level_has_fewer_digits() {
    let program = dsl::build("digits", |g| {
        let x = g.input("x", 16)?;
        let mut sum = x.rotate(1) * 0.5;
        for k in 2..9 {
            sum = sum + x.rotate(k) * (0.1 * k as f64);
        }
        g.output("y", sum.at_level(Level(4)), 16)
    })
    .unwrap();
    let params = Preset::Toy12r.params().unwrap();
    let n_digits = |level: u32| params.digits_at(Level(level)).unwrap().len();
    let [(lowest, as_low), (placed, price)] = both(&program, Preset::Toy12r);
    // 9 limbs in 4 digits, or 11 in one.
    assert_eq!((n_digits(5), n_digits(7)), (4, 1));
    assert_eq!((levels(&lowest, ROTATES), levels(&placed, ROTATES)), (vec![5; 8], vec![7; 8]));
    assert_eq!((levels(&lowest, IS_INPUT), levels(&placed, IS_INPUT)), (vec![5], vec![7]));
    assert_eq!(levels(&placed, DROPS), [4]);
    assert!(price < as_low - as_low / 4, "{price}, as low as can be {as_low}");
    check_everywhere::<u32>(&program, Preset::Toy12r, &Options::default(), 1e-5);
}

#[test]
fn one_rotation_is_not_worth_a_larger_input() {
    let program = dsl::build("one", |g| {
        let x = g.input("x", 16)?;
        g.output("y", x.rotate(1), 16)
    })
    .unwrap();
    let [(lowest, as_low), (placed, price)] = both(&program, Preset::Toy12r);
    assert_eq!((&lowest, as_low), (&placed, price));
}

#[test]
fn what_is_written_stays() {
    let program = dsl::build("written", |g| {
        let x = g.input("x", 16)?;
        let mut sum = (x.rotate(1) * 0.5).rescaled().at_level(Level(5));
        for k in 2..9 {
            sum = sum + (x.rotate(k) * 0.5).rescaled().at_level(Level(5));
        }
        g.output("y", sum.at_level(Level(5)), 16)
    })
    .unwrap();
    let [_, (placed, _)] = both(&program, Preset::Toy12r);
    assert_eq!(levels(&placed, |op| matches!(op, Op::Rescale(_))), [5; 8]);
    let compiled = compile(&program, &Preset::Toy12r.params().unwrap(), &Options::default()).unwrap();
    assert_eq!(compiled.manifest.outputs[0].level, Level(5));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_predicted_to_be_slower_than_as_low_as_can_be(
        steps in random_steps(),
        preset in prop::sample::select(vec![Preset::Toy10, Preset::Toy12r, Preset::Toy12p]),
    ) {
        let program = random_program(&steps, 4);
        let [(_, as_low), (placed, price)] = both(&program, preset);
        prop_assert!(price <= as_low, "{price}, as low as can be {as_low}");
        scheduler::ckks_ir::verify::verify(&placed, Some(&preset.params().unwrap()), "place").unwrap();
    }
}

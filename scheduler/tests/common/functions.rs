//! Programs of one function, run on slots, and their levels.

use std::sync::OnceLock;

use fhe_core::Complex64;
use fhe_core::params::{Level, Params, Preset};
use scheduler::dsl::{self, Encrypted, Program};
use scheduler::{Result, interp, passes};

pub(crate) fn n16() -> &'static Params {
    static PARAMS: OnceLock<Params> = OnceLock::new();
    PARAMS.get_or_init(|| Preset::N16.params().unwrap())
}

pub(crate) fn program(period: usize, body: impl FnOnce(Encrypted<'_>) -> Result<Encrypted<'_>>) -> Program {
    dsl::build("function", |g| {
        let x = g.input("x", period)?;
        g.output("y", body(x)?, period)
    })
    .unwrap()
}

/// Runs a program on slots, on real numbers.
pub(crate) fn run(program: &Program, x: &[f64]) -> Vec<f64> {
    let y = interp::slots::run(program.function(), x.len(), &[real(x)]).unwrap();
    y[0].iter().map(|y| y.re).collect()
}

pub(crate) fn real(x: &[f64]) -> Vec<Complex64> {
    x.iter().map(|&x| Complex64::new(x, 0.0)).collect()
}

pub(crate) fn levels(program: &Program) -> Level {
    let placed = passes::run_ckks(program.function().clone(), n16(), &mut |_| {}).unwrap();
    placed.values.iter().filter_map(|v| v.kind).map(|kind| kind.level).max().unwrap()
}

/// `n` points of an interval, both ends among them; dense at the lower end when `bend` is above 1.
pub(crate) fn points(low: f64, high: f64, n: usize, bend: f64) -> Vec<f64> {
    (0..n).map(|i| low + (high - low) * (i as f64 / (n - 1) as f64).powf(bend)).collect()
}

/// Numbers in `[0, 1)` without a pattern.
pub(crate) fn number(i: usize, seed: usize) -> f64 {
    ((i * 7919 + seed * 104_729 + 13) % 2003) as f64 / 2003.0
}

//! Programs of one function, run on slots, and their levels.

use std::sync::OnceLock;

use fhe_core::Complex64;
use fhe_core::params::{Level, Params, Preset};
use scheduler::ckks_ir::Op;
use scheduler::dsl::{self, Encrypted, Program};
use scheduler::interp::{self, Env};
use scheduler::{Options, Result, passes};

use super::Client;

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

pub(crate) fn program_of_two(
    period: usize,
    body: impl for<'g> FnOnce(Encrypted<'g>, Encrypted<'g>) -> Result<Encrypted<'g>>,
) -> Program {
    dsl::build("function", |g| {
        let (a, b) = (g.input("a", period)?, g.input("b", period)?);
        g.output("y", body(a, b)?, period)
    })
    .unwrap()
}

/// What the mistake in a body of `file` is, without its line, which is of that file.
pub(crate) fn mistake(file: &str, body: fn(Encrypted<'_>) -> Result<Encrypted<'_>>) -> String {
    let made = dsl::build("mistake", |g| g.output("y", body(g.input("x", 4)?)?, 4));
    let text = made.unwrap_err().to_string();
    let (before, after) = text.split_once(&format!("at {file}")).unwrap();
    assert!(after.starts_with(':'));
    before.to_owned()
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

/// Products one after the other: levels that a program takes, where no preset has so many.
pub(crate) fn depth(program: &Program) -> u32 {
    let mut depths: Vec<u32> = Vec::new();
    for value in &program.function().values {
        let own = match value.op {
            Op::Mul(..) | Op::MulPlain(..) => 1,
            Op::MulScalar(_, s) => u32::from(![1.0, -1.0, 2.0].contains(&s.value())),
            _ => 0,
        };
        let operands = value.op.operands().map(|a| depths[a.0 as usize]);
        depths.push(own + operands.max().unwrap_or(0));
    }
    let depth = depths.into_iter().max().unwrap();
    assert!(depth > 22 || levels(program).0 == depth, "{depth}, placed at {}", levels(program));
    depth
}

/// Products of two ciphertexts.
pub(crate) fn products(program: &Program) -> usize {
    program.function().values.iter().filter(|v| v.op.name() == "mul").count()
}

/// How far a program's decrypted results are from what it means, computed exactly on these parameters.
pub(crate) fn noise(program: &Program, params: &Params, x: &[f64]) -> f64 {
    let mut client = Client::<u32>::of(params);
    let compiled = scheduler::compile(program, client.params(), &Options::default()).unwrap();
    let (keys, inputs) = (client.keys(&compiled), client.encrypt(&compiled, &[real(x)]));
    let constants = &compiled.manifest.constants;
    let env = Env { ring: &client.ring, keys: &keys, constants, inputs: &inputs };
    let found = client.decrypt(&interp::ckks_exact::run(&compiled.placed, &env).unwrap()[0]);
    let worst = found.iter().zip(run(program, x)).map(|(y, expected)| (y - expected).norm());
    worst.fold(0.0, f64::max)
}

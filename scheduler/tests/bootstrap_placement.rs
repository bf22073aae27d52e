//! Bootstraps that the compiler places: where, how many, and that the program still means the same.

#[cfg(test)]
mod common;

use common::{message, messages, worst};
use fhe_core::params::{Level, Params, Preset};
use scheduler::ckks_ir::{Function, Op};
use scheduler::dsl::{self, Encrypted, Program};
use scheduler::{Error, interp, passes};

fn params() -> Params {
    Preset::Toy12r.params().unwrap()
}

/// The passes up to the one that places bootstraps, which are operations then.
fn placed(program: &Program) -> Result<Function, Error> {
    let mut function = program.function().clone();
    for pass in passes::CKKS.iter().take_while(|pass| pass.name != "expand_bootstraps") {
        function = (pass.run)(&function, &params())?;
    }
    Ok(function)
}

fn n_bootstraps(function: &Function) -> usize {
    function.values.iter().filter(|value| matches!(value.op, Op::Bootstrap(..))).count()
}

#[test]
fn time_of_ten_thousand() {
    let program = dsl::build("deep", |g| {
        let mut x: Vec<Encrypted<'_>> =
            (0..8).map(|i| g.input(&format!("x{i}"), 16)).collect::<Result<_, _>>()?;
        for layer in 0..270 {
            let mut y = Vec::new();
            for i in 0..8 {
                let r = x[i].rotate(1) + x[(i + 1) % 8];
                let s = x[(i + layer) % 8].rotate(2);
                y.push(if i < 4 || layer % 10 == 0 { r * s } else { r + s });
            }
            x = y;
        }
        for (i, x) in x.iter().enumerate() {
            g.output(&format!("y{i}"), *x, 16)?;
        }
        Ok(())
    })
    .unwrap();
    println!("{}", program.function().values.len());
    let start = std::time::Instant::now();
    let function = placed(&program).unwrap();
    println!("{} bootstraps, {:?}", n_bootstraps(&function), start.elapsed());
}

#![allow(clippy::all, missing_docs)]
use ferrocerium::prelude::*;
use std::time::Instant;
fn main() {
    let n: usize = std::env::args().nth(1).map_or(100_000, |s| s.parse().unwrap());
    let preset = std::env::args().nth(2).unwrap_or("n14".into());
    let params = match preset.as_str() {
        "n14" => Preset::N14,
        "n13" => Preset::N13,
        _ => Preset::N16,
    }
    .params()
    .unwrap();
    let t = Instant::now();
    let program = dsl::build("big", |g| {
        let w: Vec<f64> = (0..64).map(|i| i as f64 / 64.0 - 0.4).collect();
        let mut made = 0;
        let mut outs = Vec::new();
        let mut i = 0;
        while made < n {
            let x = g.input(&format!("x{i}"), 64)?;
            made += 1;
            let mut a = x;
            for layer in 0..2 {
                let mut sum = None;
                for k in 0..16 {
                    let p = g.plain(
                        &format!("w{i}.{layer}.{k}"),
                        &w.iter().map(|v| v + k as f64 + i as f64 / 1000.0).collect::<Vec<_>>(),
                    )?;
                    let term = a.rotate(k) * p;
                    sum = Some(match sum {
                        None => term,
                        Some(s) => s + term,
                    });
                    made += 3;
                }
                a = sum.unwrap() + 0.5;
                a = a.square();
                made += 2;
            }
            outs.push(a);
            i += 1;
        }
        for (i, a) in outs.into_iter().enumerate() {
            g.output(&format!("y{i}"), a, 4)?;
        }
        Ok(())
    })
    .unwrap();
    println!("dsl {:?}, {} values", t.elapsed(), program.function().values.len());
    let t = Instant::now();
    let mut last = Instant::now();
    let compiled =
        ferrocerium::scheduler::compile_with(&program, &params, &Options::default(), &mut |e| match e {
            ferrocerium::scheduler::passes::Event::Begin(_) => last = Instant::now(),
            ferrocerium::scheduler::passes::Event::End(s) => {
                println!("  {:20} {:8} -> {:8} {:?}", s.pass, s.before, s.after, last.elapsed())
            }
        })
        .unwrap();
    println!("compile {:?}, {} launches", t.elapsed(), compiled.plan.n_launches());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|l| l.starts_with("VmHWM")).unwrap());
}

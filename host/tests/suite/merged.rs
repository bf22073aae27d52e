//! What one division by P and the removed primes saves of a product, in launches, rows and bytes: docs/adr/0007.

use fhe_core::params::{Level, Params, Preset};
use host::check::CheckedPlan;
use host::work::Work;
use kernels_gpu::abi::KernelId;
use scheduler::ckks_ir;
use scheduler::compile::compile_placed;
use scheduler::{Options, compile, dsl};

/// The work of `x * y` at a level: relinearized and rescaled by these lines.
fn product(params: &Params, top: Level, lines: &str) -> Vec<(KernelId, Work)> {
    let text = format!(
        "function \"product\" {{\n  input \"x\" period 1\n  input \"y\" period 1\n  \
         %0 = input 0 {{level TOP canonical degree 1}}\n  %1 = input 1 {{level TOP canonical degree 1}}\n  \
         %2 = mul %0, %1 {{level TOP product degree 2}}\n{lines}\n}}\n"
    );
    let text = text.replace("TOP", &top.to_string()).replace("NEXT", &(top.0 - 1).to_string());
    let placed = ckks_ir::text::parse(&text, &[]).unwrap();
    // In one piece, whatever the cache holds.
    let options = Options { cache_bytes: u64::MAX, ..Options::default() };
    let compiled = compile_placed(placed, params, &options).unwrap();
    CheckedPlan::new(compiled.plan).unwrap().work_by_kernel()
}

fn total(work: &[(KernelId, Work)]) -> Work {
    let mut sum = Work::default();
    work.iter().for_each(|(_, w)| sum += *w);
    sum
}

#[test]
fn a_merged_division_saves_transforms_and_bytes() {
    let launches = |work: &[(KernelId, Work)]| total(work).launches;
    for (preset, level) in [(Preset::N14, 5), (Preset::N16, 22), (Preset::N16, 1)] {
        let (params, level) = (preset.params().unwrap(), Level(level));
        let separate = product(
            &params,
            level,
            "  %3 = relinearize %2 {level TOP product degree 1}\n  %4 = rescale %3 {level NEXT canonical degree 1}\n  \
             output \"z\" slots 1 %4",
        );
        let merged = product(
            &params,
            level,
            "  %3 = relinearize %2 {level TOP product degree 1 raised}\n  %4 = mod_down_rescale %3 {level NEXT canonical degree \
             1}\n  output \"z\" slots 1 %4",
        );
        for (name, work) in [("separate", &separate), ("merged", &merged)] {
            println!("{} level {level} {name}: {:?}", preset.name(), total(work));
            for (kernel, w) in work {
                println!("  {:16} {w:?}", kernel.name());
            }
        }
        let rows = |work: &[(KernelId, Work)], kernel| {
            work.iter().find(|(k, _)| *k == kernel).map_or(0, |(_, w)| w.rows_written)
        };
        let n_limbs = params.level(level).unwrap().basis.len() as u64;
        // The remainder modulo P of both halves, over the limbs of the level.
        let begun = |work| rows(work, KernelId::ConvertBasisColumns);
        assert_eq!(begun(&merged) + 2 * n_limbs, begun(&separate));
        assert_eq!(rows(&merged, KernelId::InttRows), rows(&separate, KernelId::InttRows));
        // Where there is one digit, the inner product's main limbs wait for no transform: a launch of their own.
        let one_digit = params.digits_at(level).unwrap().len() == 1;
        assert_eq!((launches(&separate), launches(&merged)), (11, if one_digit { 8 } else { 7 }));
        let (merged, separate) = (total(&merged), total(&separate));
        assert!(merged.multiplications < separate.multiplications);
        assert!(merged.bytes < separate.bytes, "{merged:?}, separate {separate:?}");
    }
}

#[test]
fn the_compiler_merges_products() {
    let program = dsl::build("product", |g| g.output("z", g.input("x", 4)? * g.input("y", 4)?, 4)).unwrap();
    let compiled = compile(&program, &Preset::Toy10.params().unwrap(), &Options::default()).unwrap();
    let names: Vec<&str> = compiled.placed.values.iter().map(|v| v.op.name()).collect();
    assert_eq!(names, ["input", "input", "mul", "relinearize", "mod_down_rescale"]);
}

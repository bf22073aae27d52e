//! Which conversions do the columns of the transforms beside them, and which do not.

use fhe_core::params::Preset;
use scheduler::plan::Step;
use scheduler::{Options, lower, plan, poly_ir};

/// The kernels of a function's plan, in order; `body` after inputs `%0` and `%1`, of limbs 0 to 3.
fn kernels(body: &str) -> Vec<&'static str> {
    let params = Preset::Toy10.params().unwrap();
    let text = format!(
        "polynomials \"f\" {{\n  input 0 [0-3]\n  %0 = input 0 0 : eval [0-3] @0/1\n  %1 = input 0 1 : eval [0-3] @0/1\n  %2 = slice %0 : eval [2-3] @0/1\n  \
         %3 = intt %2 : coeff [2-3] @0/1\n{body}}}\n"
    );
    let function = poly_ir::text::parse(&text).unwrap();
    poly_ir::verify::verify(&function, &params, "test").unwrap();
    let plan = lower::plan::lower(&function, &params, &Options::default()).unwrap();
    plan::verify::verify(&plan, "test").unwrap();
    plan::refine::refines(&plan, &function, &params).unwrap();
    let steps = plan.segments.iter().flat_map(|s| &s.steps);
    steps.map(|Step::Launch { launch, .. }| launch.kernel.name()).collect()
}

const CONVERSION: &str = "  %4 = convert_basis %3 : coeff [0-1] @0/1\n  %5 = ntt %4 : eval [0-1] @0/1\n  %6 = slice %1 : eval [0-1] @0/1\n";

#[test]
fn between_two_transforms() {
    let kept = kernels(&format!(
        "{CONVERSION}  %7 = add %5, %6 : eval [0-1] @0/1\n  %8 = sub %5, %6 : eval [0-1] @0/1\n  output 0 0 %7\n  output 0 1 %8\n"
    ));
    assert_eq!(kept, ["intt_rows", "convert_basis_columns", "ntt_rows", "add", "sub"]);
    let ended = kernels(&format!(
        "{CONVERSION}  %7 = sub_mul_scalar %6, %5, [5, 7] : eval [0-1] @0/1\n  output 0 0 %7\n  output 0 1 %7\n"
    ));
    assert_eq!(ended[..3], ["intt_rows", "convert_basis_columns", "ntt_rows_sub_mul_scalar"]);
}

/// What something else reads is what it is in every kernel: coefficients.
#[test]
fn not_where_coefficients_are_read_otherwise() {
    let of_sources = kernels(&format!(
        "{CONVERSION}  %7 = ntt %3 : eval [2-3] @0/1\n  %8 = add %7, %7 : eval [2-3] @0/1\n  %9 = add %5, %6 : eval [0-1] @0/1\n  %10 = concat [%9, %8] : eval [0-3] @0/1\n  \
         output 0 0 %10\n  output 0 1 %0\n"
    ));
    assert!(of_sources.contains(&"convert_basis") && of_sources.contains(&"intt"), "{of_sources:?}");
    let of_results = kernels(&format!(
        "{CONVERSION}  %7 = automorphism %4, 5 : coeff [0-1] @0/1\n  %8 = ntt %7 : eval [0-1] @0/1\n  %9 = add %5, %8 : eval [0-1] @0/1\n  output 0 0 %9\n  output 0 1 %6\n"
    ));
    assert!(of_results.contains(&"convert_basis") && of_results.contains(&"intt"), "{of_results:?}");
    let twice = kernels(&format!(
        "{CONVERSION}  %7 = add %5, %6 : eval [0-1] @0/1\n  %8 = convert_basis %3 after [3, 4] : coeff [0-1] @0/1\n  %9 = ntt %8 : eval [0-1] @0/1\n  output 0 0 %7\n  \
         output 0 1 %9\n"
    ));
    assert!(twice.contains(&"convert_basis") && !twice.contains(&"convert_basis_columns"), "{twice:?}");
}

/// A transform that is an output is written there, by a kernel of its own.
#[test]
fn not_where_transforms_are_outputs() {
    let found = kernels(&format!("{CONVERSION}  output 0 0 %5\n  output 0 1 %6\n"));
    assert_eq!(found, ["intt", "convert_basis", "ntt", "add_scalar"]);
}

//! Every rule of every verifier refuses what breaks it.

use fhe_core::params::{Params, Preset};
use kernels_gpu::abi::{EmbedInverseItem, KernelId, RoundTarget, RowItem, RowRef};
use scheduler::plan::{
    Access, BufferId, BufferKind, HostStep, Item, Plan, PlanStep, PoolWriter, SegmentId, Step,
};
use scheduler::{Compiled, Error, Options, ckks_ir, compile, dsl, plan, poly_ir};

mod helpers {
    use super::*;
    use crate::common::rewrite;

    pub(crate) fn params() -> Params {
        Preset::Toy10.params().unwrap()
    }

    pub(crate) fn compiled() -> Compiled {
        small(&[0.5, -1.0, 2.0, 0.25], &Options::default())
    }

    pub(crate) fn small(weights: &[f64], options: &Options) -> Compiled {
        let program = dsl::build("small", |g| {
            let x = g.input("x", 4)?;
            let w = g.plain("w", weights)?;
            g.output("y", (x.rotate(1) * w).square() - x, 4)
        });
        compile(&program.unwrap(), &params(), options).unwrap()
    }

    /// Writes a sum of the first inner product over what it multiplies, permuted by a Galois element.
    pub(crate) fn over_its_factor(plan: &mut Plan, g: u32) {
        rewrite(plan, KernelId::InnerProduct, |items| match &mut items[0] {
            Item::InnerProduct { dst, terms, galois, .. } => {
                terms[0].b[0] = dst[0];
                *galois = g;
            }
            other => panic!("{other:?}"),
        });
    }

    pub(crate) fn row(item: &mut Item) -> &mut RowItem {
        match item {
            Item::Row(item) => item,
            other => panic!("{other:?}"),
        }
    }
}

use crate::common::{many_special, rewrite, rule_of};
use helpers::{compiled, over_its_factor, params, row, small};

/// Changes which terms of the first inner product are begun.
fn begun(plan: &mut Plan, change: fn(u32) -> u32) {
    rewrite(plan, KernelId::NttRowsInnerProduct, |items| {
        if let Item::InnerProduct { begun, .. } = &mut items[0] {
            *begun = change(*begun);
        }
    });
}

/// Changes the addends of the first inner product, and what they are multiplied by.
fn addend(plan: &mut Plan, change: fn(&mut [u64; 2], &mut [RowRef; 2])) {
    rewrite(plan, KernelId::InnerProduct, |items| {
        if let Item::InnerProduct { init, times, .. } = &mut items[0] {
            change(times, init);
        }
    });
}

const CKKS: &str = r#"function "f" {
  input "x" period 4
  input "y" period 4
  constant #0 "w" [1.0, 2.0]
  %0 = input 0 {level 2 canonical degree 1}
  %1 = input 1 {level 2 canonical degree 1}
  %2 = mul %0, %1 {level 2 product degree 2}
  %3 = relinearize %2 {level 2 product degree 1}
  %4 = rescale %3 {level 1 canonical degree 1}
  %5 = rotate %4, 1 {level 1 canonical degree 1}
  %6 = mul_plain %5, #0 {level 1 product degree 1}
  %7 = rescale %6 {level 0 canonical degree 1}
  %8 = level_drop %0, 0 {level 0 canonical degree 1}
  %9 = add %7, %8 {level 0 canonical degree 1}
  output "a" slots 4 %9
  output "b" slots 4 %7
}
"#;

#[test]
fn rules_of_ckks_ir() {
    let check = |text: &str| {
        let function = ckks_ir::text::parse(text, &[]).unwrap();
        ckks_ir::verify::verify(&function, Some(&params()), "test")
    };
    check(CKKS).unwrap();
    let unplaced = "function \"f\" {\n  input \"x\" period 4\n  %0 = input 0\n  output \"a\" slots 1 %0\n}";
    check(unplaced).unwrap();
    for (from, to, rule) in [
        ("relinearize %2", "relinearize %9", "order"),
        ("mul_plain %5, #0", "mul_plain %5, #1", "index"),
        ("%1 = input 1", "%1 = input 2", "index"),
        ("slots 4 %7", "slots 4 %10", "index"),
        ("%1 = input 1", "%1 = input 0", "input-once"),
        ("input \"y\"", "input \"x\"", "name"),
        ("output \"b\"", "output \"a\"", "name"),
        ("input \"x\" period 4", "input \"x\" period 3", "period"),
        ("input \"x\" period 4", "input \"x\" period 1024", "period"),
        ("[1.0, 2.0]", "[1.0, 2.0, 3.0]", "period"),
        ("[1.0, 2.0]", "[1.0, inf]", "finite"),
        ("rotate %4, 1", "rotate %4, 0", "rotation"),
        ("rotate %4, 1", "rotate %4, 512", "rotation"),
        ("slots 4 %7", "slots 0 %7", "output"),
        ("slots 4 %7", "slots 513 %7", "output"),
        ("%5 = rotate %4, 1 {level 1 canonical degree 1}", "%5 = rotate %4, 1", "placed"),
        ("level 2", "level 6", "level"),
        ("%2 = mul %0, %1 {level 2 product degree 2}", "%2 = mul %0, %1 {level 2 product degree 1}", "kind"),
        ("relinearize %2", "relinearize %0", "kind"),
        ("rescale %3", "rescale %0", "kind"),
        ("rescale %3", "rescale %2", "kind"),
        ("level_drop %0, 0", "level_drop %7, 0", "kind"),
        ("add %7, %8", "add %7, %5", "kind"),
        ("rotate %4", "rotate %3", "kind"),
        ("slots 4 %7", "slots 4 %6", "output-kind"),
    ] {
        assert!(CKKS.contains(from), "{from}");
        assert_eq!(rule_of(check(&CKKS.replace(from, to))), rule, "{from} -> {to}");
    }
    assert_eq!(rule_of(check(&unplaced.replace("  output \"a\" slots 1 %0\n", ""))), "output");
    // Bounds say something, and those of what was raised are behind it.
    let bounded = |bound: &str| check(&unplaced.replace("input 0\n", &format!("input 0 bound {bound}\n")));
    bounded("2.0 mean 0.5").unwrap();
    for wrong in
        ["0.0 mean 0.0", "1.0 mean 2.0", "1.0 mean -1.0", "inf mean 1.0", "NaN mean 1.0", "1.0 mean NaN"]
    {
        assert_eq!(rule_of(bounded(wrong)), "bound", "{wrong}");
    }
    for unit in ["raised", "returned"] {
        assert_eq!(rule_of(bounded(&format!("1.0 mean 1.0 of {unit}"))), "bound");
    }
    let with = |op: &str| unplaced.replace("  output", &format!("  %1 = {op}\n  output"));
    assert_eq!(rule_of(check(&with("mod_down %0"))), "placed");
    for written in ["rescale %0", "relinearize %0", "level_drop %0, 1"] {
        check(&with(written)).unwrap();
        assert_eq!(rule_of(check(&with(&written.replace("%0", "%1")))), "order");
    }
    assert_eq!(rule_of(check(&with("add_scalar %0, inf"))), "finite");
    assert_eq!(rule_of(check(&with("neg %0 {level 0 canonical degree 1}"))), "placed");
    let transform = |diagonals: &str, op: &str| {
        let head = format!(
            "constant #0 \"w\" [1.0, 2.0]\n  transform $0 \"t\" [{diagonals}] at \"a.rs:1:2\"\n  %0 ="
        );
        with(op).replacen("%0 =", &head, 1)
    };
    let good = transform("0 #0, 511 #0", "linear_transform %0, $0");
    check(&good).unwrap();
    let function = ckks_ir::text::parse(&good, &[]).unwrap();
    assert_eq!(ckks_ir::text::parse(&function.to_string(), &[]).unwrap(), function);
    for (diagonals, op, rule) in [
        ("", "linear_transform %0, $0", "transform"),
        ("3 #0, 2 #0", "linear_transform %0, $0", "transform"),
        ("3 #0, 3 #0", "linear_transform %0, $0", "transform"),
        ("0 #0, 512 #0", "linear_transform %0, $0", "transform"),
        ("0 #1", "linear_transform %0, $0", "index"),
        ("0 #0", "linear_transform %0, $1", "index"),
        ("0 #0", "linear_transform %1, $0", "order"),
        ("0 #0", "linear_transform %0, $0 {level 0 canonical degree 1}", "placed"),
    ] {
        assert_eq!(rule_of(check(&transform(diagonals, op))), rule, "[{diagonals}] {op}");
    }
    let text = transform("0 #0", "linear_transform %0, $0");
    for (from, to) in [("$0 \"t\"", "$1 \"t\""), ("[0 #0]", "[0]"), ("%0, $0", "%0, 0")] {
        assert!(text.contains(from), "{from}");
        assert!(ckks_ir::text::parse(&text.replacen(from, to, 1), &[]).is_err(), "{to}");
    }
}

const POLY: &str = r#"polynomials "f" {
  encoded #0 = constant 0 level 1 scale 50.0 0.0
  input 0 [0-3]
  %0 = input 0 0 : eval [0-3] @0/1
  %1 = input 0 1 : eval [0-3] @0/1
  %2 = constant #0 : eval [0-3] @0/1
  %3 = key relinearization 0 1 : eval [0-3] @0/1
  %4 = inner_product [%0 * %2, %1 * %3] init %0 times [1, 2, 3, 9] : eval [0-3] @0/1
  %5 = slice %4 : eval [2-3] @0/1
  %6 = intt %5 : coeff [2-3] @0/1
  %7 = convert_basis %6 before [3, 4] after [7, 8] : coeff [0-1] @0/1
  %8 = ntt %7 : eval [0-1] @0/1
  %9 = slice %4 : eval [0-1] @0/1
  %10 = sub_mul_scalar %9, %8, [5, 6] : eval [0-1] @0/1
  %11 = automorphism %10, 5 : eval [0-1] @0/1
  %12 = concat [%8, %5] : eval [0-3] @0/1
  %13 = add %12, %0 : eval [0-3] @0/1
  %14 = slice %13 : eval [0-1] @0/1
  output 0 0 %11
  output 0 1 %14
}
"#;

#[test]
fn a_merged_rescale_divides_a_product_by_few_primes() {
    let raised = "relinearize %2 {level 2 product degree 1 raised}";
    let text = CKKS
        .replace("relinearize %2 {level 2 product degree 1}", raised)
        .replace("rescale %3", "mod_down_rescale %3");
    let check = |text: &str, params: &Params| {
        let function = ckks_ir::text::parse(text, &[]).unwrap();
        assert_eq!(function.to_string(), text);
        ckks_ir::verify::verify(&function, Some(params), "test")
    };
    check(&text, &params()).unwrap();
    for from in ["mod_down_rescale %0", "mod_down_rescale %2", "rescale %3"] {
        assert_eq!(rule_of(check(&text.replace("mod_down_rescale %3", from), &params())), "kind");
    }
    let at_0 = text.replace("level 2", "level 0");
    assert_eq!(rule_of(check(&at_0, &params())), "kind");
    check(&text, &many_special(62)).unwrap();
    assert_eq!(rule_of(check(&text, &many_special(63))), "divisor");
    let unplaced = "function \"f\" {\n  input \"x\" period 4\n  %0 = input 0\n  %1 = mod_down_rescale %0\n  \
                    output \"a\" slots 1 %1\n}\n";
    assert_eq!(rule_of(check(unplaced, &params())), "placed");
}

#[test]
fn rules_of_poly_ir() {
    let check = |text: &str| {
        let function = poly_ir::text::parse(text).unwrap();
        poly_ir::verify::verify(&function, &params(), "test")
    };
    check(POLY).unwrap();
    assert_eq!(poly_ir::text::parse(POLY).unwrap().to_string(), POLY);
    for (from, to, rule) in [
        ("intt %5", "intt %15", "order"),
        ("%0 = input 0 0", "%0 = input 1 0", "index"),
        ("%0 = input 0 0", "%0 = input 0 2", "index"),
        ("constant #0 :", "constant #1 :", "index"),
        ("level 1 scale", "level 9 scale", "index"),
        ("relinearization 0 1", "relinearization 3 1", "index"),
        ("relinearization 0 1", "relinearization 0 2", "index"),
        ("output 0 1 %14", "output 0 1 %20", "index"),
        ("input 0 [0-3]", "input 0 []", "basis"),
        ("input 0 [0-3]", "input 0 [0-99]", "basis"),
        ("coeff [2-3]", "coeff [3, 2]", "basis"),
        ("%1 = input 0 1 : eval [0-3]", "%1 = input 0 1 : eval [0-2]", "type"),
        ("%2 = constant #0 : eval [0-3]", "%2 = constant #0 : eval [0-2]", "type"),
        ("%6 = intt %5 : coeff", "%6 = intt %5 : eval", "type"),
        ("%8 = ntt %7", "%8 = ntt %5", "type"),
        ("convert_basis %6", "convert_basis %5", "type"),
        ("%5 = slice %4 : eval [2-3]", "%5 = slice %4 : eval [3-4]", "type"),
        ("concat [%8, %5]", "concat [%8, %9]", "type"),
        ("concat [%8, %5]", "concat [%4]", "type"),
        ("add %12, %0", "add %12, %9", "type"),
        ("sub_mul_scalar %9, %8", "sub_mul_scalar %9, %7", "type"),
        ("[%0 * %2, %1 * %3]", "[]", "terms"),
        ("automorphism %10", "automorphism %5", "type"),
        ("after [7, 8] : coeff [0-1]", "after [7, 8, 9] : coeff [0-2]", "convert"),
        ("[5, 6]", "[5]", "scalar"),
        ("[5, 6]", "[5, 1152921504606846976]", "scalar"),
        ("automorphism %10, 5", "automorphism %10, 4", "galois"),
        ("automorphism %10, 5", "automorphism %10, 2049", "galois"),
        ("times [1, 2, 3, 9]", "times [1, 2, 3, 9] galois 6", "galois"),
        ("times [1, 2, 3, 9]", "times [1, 2, 3, 9] galois 2049", "galois"),
        ("times [1, 2, 3, 9]", "times [1, 2, 3]", "scalar"),
        ("times [1, 2, 3, 9]", "times [1, 2, 3, 1152921504606846976]", "scalar"),
        ("init %0 times", "times", "scalar"),
        ("before [3, 4]", "before [3]", "scalar"),
        ("before [3, 4]", "before [3, 1152921504606846976]", "scalar"),
        ("after [7, 8]", "after [7, 8, 9]", "scalar"),
        ("after [7, 8]", "after [1152921504606846976, 8]", "scalar"),
        ("  output 0 1 %14\n", "", "output"),
        ("output 0 1", "output 1 1", "output"),
        ("output 0 1 %14", "output 0 1 %7", "output"),
        ("output 0 1 %14", "output 0 1 %13", "output"),
    ] {
        assert!(POLY.contains(from), "{from}");
        assert_eq!(rule_of(check(&POLY.replace(from, to))), rule, "{from} -> {to}");
    }
}

const ENCODED: &str = r#"polynomials "f" {
  slots #0 = constant 0 level 1 scale 50.0 0.0
  slots #1 = constant 0 level 0 scale 50.0 0.0
  %0 = embed_inverse #0 : real [] @0/1
  %1 = round_residues %0 : coeff [0-3] @0/1
  %2 = ntt %1 : eval [0-3] @0/1
  %3 = embed_inverse #1 : real [] @0/1
  output 0 0 %2
  output 0 1 %2
}
"#;

#[test]
fn rules_of_encoding() {
    let check = |text: &str| {
        let function = poly_ir::text::parse(text).unwrap();
        assert_eq!(function.to_string(), text);
        poly_ir::verify::verify(&function, &params(), "test")
    };
    check(ENCODED).unwrap();
    for (from, to, rule) in [
        ("embed_inverse #0", "embed_inverse #2", "index"),
        ("constant 0 level 1", "constant 0 level 9", "index"),
        ("real [] @0/1\n  %1", "real [0] @0/1\n  %1", "basis"),
        ("coeff [0-3]", "coeff []", "basis"),
        ("%0 = embed_inverse #0 : real", "%0 = embed_inverse #0 : coeff", "type"),
        ("%0 = embed_inverse #0 : real", "%0 = embed_inverse #0 : eval", "type"),
        ("round_residues %0 : coeff", "round_residues %0 : eval", "type"),
        ("round_residues %0 : coeff", "round_residues %0 : real", "type"),
        ("ntt %1", "ntt %0", "type"),
        ("%2 = ntt %1", "%2 = slice %0", "type"),
        ("coeff [0-3]", "coeff [0-2]", "encode"),
        ("embed_inverse #0", "embed_inverse #1", "encode"),
        ("%1 = round_residues %0", "%1 = round_residues %1", "order"),
        ("output 0 1 %2", "output 0 1 %3", "output"),
        ("output 0 1 %2", "output 0 1 %1", "output"),
    ] {
        assert!(ENCODED.contains(from), "{from}");
        assert_eq!(rule_of(check(&ENCODED.replace(from, to))), rule, "{from} -> {to}");
    }
    // What is rounded must be an embedding itself, not another value over the basis.
    let again = ENCODED.replace("  %3 = embed", "  %3 = round_residues %1 : coeff [0-3] @0/1\n  %4 = embed");
    assert_eq!(rule_of(check(&again)), "encode");
}

#[test]
fn rules_of_plans_that_encode() {
    // 64 different values of 512 slots: not stored once a run.
    let weights: Vec<f64> = (0..64).map(f64::from).collect();
    let Compiled { plan: good, poly, .. } =
        small(&weights, &Options { encode_on_device: true, ..Options::default() });
    plan::verify::verify(&good, "test").unwrap();
    plan::refine::refines(&good, &poly, &params()).unwrap();
    let rounding = |items: &mut Vec<Item>, f: &dyn Fn(&mut u64, &mut Vec<RoundTarget>)| match &mut items[0] {
        Item::RoundResidues { scale, targets, .. } => f(scale, targets),
        other => panic!("{other:?}"),
    };
    let embedding = |items: &mut Vec<Item>, f: &dyn Fn(&mut EmbedInverseItem)| match &mut items[0] {
        Item::EmbedInverse(item) => f(item),
        other => panic!("{other:?}"),
    };
    let round = |f: &dyn Fn(&mut u64, &mut Vec<RoundTarget>)| {
        let mut broken = good.clone();
        rewrite(&mut broken, KernelId::RoundResidues, |items| rounding(items, f));
        broken
    };
    let embed = |f: &dyn Fn(&mut EmbedInverseItem)| {
        let mut broken = good.clone();
        rewrite(&mut broken, KernelId::EmbedInverse, |items| embedding(items, f));
        broken
    };
    let other = |f: &dyn Fn(&mut Plan)| {
        let mut broken = good.clone();
        f(&mut broken);
        broken
    };
    let slots = |p: &Plan| p.setup.iter().position(|s| matches!(s, HostStep::LoadSlots { .. })).unwrap();
    let cases = [
        (round(&|scale, _| *scale = f64::NAN.to_bits()), "constant"),
        (round(&|scale, _| *scale = f64::INFINITY.to_bits()), "constant"),
        (round(&|scale, _| *scale = 0), "constant"),
        (round(&|scale, _| *scale |= 1 << 63), "constant"),
        (round(&|_, targets| targets[0].prime = 99), "constant"),
        (round(&|_, targets| targets.clear()), "pool"),
        (round(&|_, targets| targets[0].pad = 1), "pool"),
        (round(&|_, targets| targets[0].row = RowRef::NONE), "row"),
        (round(&|_, targets| targets[0].row = targets[1].row), "alias"),
        (round(&|_, targets| targets[0].prime = 1), "flow"),
        (embed(&|item| item.src[1] = RowRef::NONE), "row"),
        (embed(&|item| item.factors[0].row = 2), "row"),
        (embed(&|item| item.dst[0] = item.dst[1]), "alias"),
        (embed(&|item| item.src[0] = item.dst[0]), "alias"),
        (embed(&|item| item.factors[1] = item.dst[1]), "alias"),
        (
            other(&|p| {
                p.buffers
                    .iter_mut()
                    .filter(|b| matches!(b.kind, BufferKind::Slots(_)))
                    .for_each(|b| b.kind = BufferKind::Factors);
            }),
            "host",
        ),
        (other(&|p| p.schedule.push(PlanStep::Host(p.setup[slots(p)]))), "host"),
        (other(&|p| _ = p.setup.remove(slots(p))), "written"),
        (other(&|p| p.setup.retain(|s| !matches!(s, HostStep::LoadFactors { .. }))), "written"),
    ];
    for (i, (broken, rule)) in cases.into_iter().enumerate() {
        assert_eq!(rule_of(plan::verify::verify(&broken, "test")), rule, "case {i}");
    }
    // Doubles are for the kernels of the encoder only, slots and coefficients for one each.
    let launches = good.segments.iter().flat_map(|s| &s.steps);
    let mut items = launches.flat_map(|Step::Launch { launch, .. }| good.items(launch).unwrap());
    let first = items.find_map(|item| if let Item::EmbedInverse(i) = item { Some(i) } else { None }).unwrap();
    for kernel in [KernelId::NttColumns, KernelId::NttRowsSubMulScalar, KernelId::RoundResidues] {
        let mut broken = good.clone();
        rewrite(&mut broken, kernel, |items| match &mut items[0] {
            Item::Row(item) => {
                (item.a, item.b) = (first.src[0], if kernel.reads_b() { first.src[1] } else { item.b });
            }
            Item::RoundResidues { src, .. } => *src = first.src,
            other => panic!("{other:?}"),
        });
        assert_eq!(rule_of(plan::verify::verify(&broken, "test")), "flow", "{}", kernel.name());
    }
    // Well formed, but of another plaintext.
    for broken in [
        round(&|scale, _| *scale = 1f64.to_bits()),
        embed(&|item| item.src.swap(0, 1)),
        embed(&|item| item.factors = item.src),
        other(&|p| {
            let at = slots(p);
            let HostStep::LoadSlots { encoded, .. } = &mut p.setup[at] else { unreachable!() };
            encoded.log_scale = encoded.log_scale + encoded.log_scale;
        }),
    ] {
        plan::verify::verify(&broken, "test").unwrap();
        assert_eq!(rule_of(plan::refine::refines(&broken, &poly, &params())), "refine");
    }
}

/// How a test breaks a plan.
type Break = fn(&mut Plan);

#[test]
fn rules_of_plans() {
    let good = compiled().plan;
    plan::verify::verify(&good, "test").unwrap();
    let mut in_place = good.clone();
    over_its_factor(&mut in_place, 1);
    plan::verify::verify(&in_place, "test").unwrap();
    let cases: [(Break, &str); 56] = [
        (|p| p.abi_version += 1, "abi"),
        (|p| p.log_n = 3, "ring"),
        (|p| p.primes[0] += 2, "ring"),
        (|p| p.roots.truncate(1), "ring"),
        (|p| p.roots[0] = p.primes[0], "ring"),
        (|p| p.buffers[0].kind = p.buffers[1].kind, "buffer"),
        (|p| p.buffers[1].kind = BufferKind::Arena, "buffer"),
        (|p| p.segments[1].name = p.segments[0].name.clone(), "segment"),
        (|p| p.segments[0].slots.clear(), "segment"),
        (|p| rewrite(p, KernelId::InttRows, Vec::clear), "segment"),
        (|p| p.pool.truncate(p.pool.len() - 1), "pool"),
        (|p| launch(p).n_items = u32::MAX, "pool"),
        (
            |p| {
                let last = last_word(p, KernelId::ConvertBasisColumns);
                p.pool[last] |= 1 << 32;
            },
            "pool",
        ),
        (
            |p| {
                let last = last_word(p, KernelId::InnerProduct);
                p.pool[last] |= 1 << 32;
            },
            "pool",
        ),
        (
            |p| {
                rewrite(p, KernelId::InnerProduct, |items| match &mut items[0] {
                    Item::InnerProduct { terms, .. } => terms.clear(),
                    other => panic!("{other:?}"),
                });
            },
            "pool",
        ),
        (|p| rewrite(p, KernelId::InttRows, |i| row(&mut i[0]).a.row = 1 << 20), "row"),
        (|p| rewrite(p, KernelId::InttRows, |i| row(&mut i[0]).a.slot = 99), "row"),
        (|p| rewrite(p, KernelId::InttRows, |i| row(&mut i[0]).b = RowRef { slot: 0, row: 0 }), "row"),
        (|p| rewrite(p, KernelId::NttRowsSubMulScalar, |i| row(&mut i[0]).b = RowRef::NONE), "row"),
        (|p| p.segments[0].slots[0].access = Access::Read, "row"),
        (|p| rewrite(p, KernelId::InttRows, |i| row(&mut i[0]).prime = 99), "constant"),
        (|p| rewrite(p, KernelId::NttRowsSubMulScalar, |i| row(&mut i[0]).scalar = u64::MAX), "constant"),
        (
            |p| {
                rewrite(p, KernelId::ConvertBasisColumns, |items| match &mut items[0] {
                    Item::ConvertBasis { matrix, .. } => matrix[0] = u64::MAX,
                    other => panic!("{other:?}"),
                });
            },
            "constant",
        ),
        (
            |p| {
                rewrite(p, KernelId::NttRowsSubMulScalar, |i| row(&mut i[0]).galois = 4);
            },
            "constant",
        ),
        (|p| rewrite(p, KernelId::InttRows, |i| row(&mut i[0]).galois = 5), "row"),
        (|p| rewrite(p, KernelId::InttRows, |i| row(&mut i[0]).c = RowRef { slot: 0, row: 0 }), "row"),
        (
            |p| {
                rewrite(p, KernelId::InnerProduct, |items| match &mut items[0] {
                    Item::InnerProduct { dst, .. } => dst[0] = RowRef::NONE,
                    other => panic!("{other:?}"),
                });
            },
            "row",
        ),
        (|p| addend(p, |times, _| times[0] = u64::MAX), "constant"),
        (|p| addend(p, |times, init| (times[1], init[1]) = (2, RowRef::NONE)), "row"),
        (
            |p| {
                rewrite(p, KernelId::InnerProduct, |items| match &mut items[0] {
                    Item::InnerProduct { dst, terms, .. } => dst[1] = terms[0].a,
                    other => panic!("{other:?}"),
                });
            },
            "alias",
        ),
        // Over its own factor only where nothing is permuted.
        (|p| over_its_factor(p, 5), "alias"),
        (|p| over_its_factor(p, 4), "constant"),
        (|p| begun(p, |mask| mask | 1 << 31), "begun"),
        (
            |p| {
                rewrite(p, KernelId::NttRowsInnerProduct, |items| match &mut items[0] {
                    Item::InnerProduct { terms, begun, .. } => {
                        let t = begun.trailing_zeros() as usize;
                        terms[t].b[0] = terms[t].a;
                    }
                    other => panic!("{other:?}"),
                });
            },
            "flow",
        ),
        (|p| rewrite(p, KernelId::NttRowsSubMulScalar, |i| row(&mut i[0]).a = row(&mut i[0]).b), "flow"),
        // What is begun and read as if it were whole, and the other way round.
        (|p| begun(p, |_| 0), "flow"),
        (|p| begun(p, |mask| mask | 0b11), "flow"),
        // So of an inverse transform, and of a conversion that begins none.
        (|p| kernel(p, KernelId::InttRows, KernelId::Intt), "flow"),
        (|p| kernel(p, KernelId::ConvertBasisColumns, KernelId::ConvertBasis), "flow"),
        (|p| rewrite(p, KernelId::InttRows, |i| row(&mut i[0]).dst = row(&mut i[1]).dst), "alias"),
        (|p| rewrite(p, KernelId::InttRows, |i| row(&mut i[0]).a = row(&mut i[1]).dst), "alias"),
        (
            |p| {
                rewrite(p, KernelId::NttRowsSubMulScalar, |i| {
                    let item = row(&mut i[0]);
                    item.dst = item.b;
                });
            },
            "alias",
        ),
        (
            |p| {
                rewrite(p, KernelId::ConvertBasisColumns, |items| match &mut items[0] {
                    Item::ConvertBasis { targets, sources, .. } => targets[0].row = sources[0].row,
                    other => panic!("{other:?}"),
                });
            },
            "alias",
        ),
        (|p| bindings(p).truncate(1), "binding"),
        (|p| bindings(p)[0] = BufferId(1), "binding"),
        (|p| bindings(p)[1] = BufferId(0), "binding"),
        (|p| bindings(p)[1] = BufferId(99), "binding"),
        (|p| p.schedule.push(PlanStep::Call { segment: SegmentId(99), bindings: vec![] }), "binding"),
        (|p| p.buffers[0].rows -= 1, "binding"),
        (|p| p.setup[0] = upload(p), "host"),
        (|p| p.schedule.push(PlanStep::Host(upload(p))), "host"),
        (|p| p.segments[0].slots[1].access = Access::ReadWrite, "host"),
        (|p| p.setup.truncate(1), "written"),
        (|p| drop(p.schedule.remove(1)), "written"),
        (|p| rewrite(p, KernelId::InttRows, |i| drop(i.remove(0))), "written"),
        (|p| p.peaks[0].rows += 1, "peak"),
    ];
    for (i, (break_it, rule)) in cases.into_iter().enumerate() {
        let mut broken = good.clone();
        break_it(&mut broken);
        assert_eq!(rule_of(plan::verify::verify(&broken, "test")), rule, "case {i}");
    }
    let mut broken = good.clone();
    rewrite(&mut broken, KernelId::InttRows, |items| {
        let other = row(&mut items[1]).a;
        row(&mut items[0]).prime = row(&mut items[1]).prime;
        row(&mut items[0]).a = other;
    });
    // Now the limb is missing a transform of its own, under the wrong prime for whoever reads it.
    assert_eq!(rule_of(plan::verify::verify(&broken, "test")), "flow");
}

/// Makes the first launch of a kernel one of another that has the same items.
fn kernel(plan: &mut Plan, from: KernelId, to: KernelId) {
    let mut launches = plan.segments.iter_mut().flat_map(|s| &mut s.steps);
    let found = launches.find_map(|Step::Launch { launch, .. }| (launch.kernel == from).then_some(launch));
    found.unwrap_or_else(|| panic!("no launch of {}", from.name())).kernel = to;
}

fn launch(plan: &mut Plan) -> &mut kernels_gpu::abi::Launch {
    let Step::Launch { launch, .. } = &mut plan.segments[0].steps[0];
    launch
}

/// The word with the padding of a kernel's first item.
fn last_word(plan: &mut Plan, kernel: KernelId) -> usize {
    let mut launches = plan.segments.iter().flat_map(|s| &s.steps);
    let Some(Step::Launch { launch, .. }) =
        launches.find(|Step::Launch { launch, .. }| launch.kernel == kernel)
    else {
        unreachable!("the plan has such a launch")
    };
    launch.items_at as usize + launch.kernel.item().pool_words() - 1
}

fn bindings(plan: &mut Plan) -> &mut Vec<BufferId> {
    let mut calls = plan.schedule.iter_mut().filter_map(|step| match step {
        PlanStep::Call { bindings, .. } => Some(bindings),
        _ => None,
    });
    calls.next_back().unwrap_or_else(|| unreachable!("the plan has calls"))
}

fn upload(plan: &Plan) -> HostStep {
    let mut uploads = plan.schedule.iter().filter_map(|step| match step {
        PlanStep::Host(step @ HostStep::Upload { .. }) => Some(*step),
        _ => None,
    });
    uploads.next_back().unwrap_or_else(|| unreachable!("the plan has uploads"))
}

#[test]
fn value_numbering_finds_what_the_rules_cannot() {
    let Compiled { plan: good, poly, .. } = compiled();
    plan::refine::refines(&good, &poly, &params()).unwrap();
    // Each is a well-formed plan that computes something else.
    let cases: [Break; 5] = [
        |p| {
            rewrite(p, KernelId::InnerProduct, |items| match &mut items[0] {
                Item::InnerProduct { galois, .. } => *galois = galois.wrapping_mul(5) % 2048,
                other => panic!("{other:?}"),
            });
        },
        |p| rewrite(p, KernelId::NttRowsSubMulScalar, |i| row(&mut i[0]).scalar = 1),
        |p| {
            rewrite(p, KernelId::NttRowsSubMulScalar, |i| row(&mut i[0]).galois = 7);
        },
        |p| {
            rewrite(p, KernelId::NttRowsInnerProduct, |items| {
                let Item::InnerProduct { terms, .. } = &mut items[0] else { panic!("{items:?}") };
                terms[0].b.swap(0, 1);
            });
        },
        |p| {
            rewrite(p, KernelId::ConvertBasisColumns, |items| match &mut items[0] {
                Item::ConvertBasis { targets, .. } => targets[0].big = 1,
                other => panic!("{other:?}"),
            });
        },
    ];
    for break_it in cases {
        let mut broken = good.clone();
        break_it(&mut broken);
        assert_eq!(rule_of(plan::refine::refines(&broken, &poly, &params())), "refine");
    }
}

#[test]
fn two_arena_rows_are_never_one() {
    // The planner takes a second row only while the first is in use, so joining any two must be found.
    let Compiled { plan: good, poly, .. } = compiled();
    let rows = good.buffers[0].rows;
    for (a, b) in (0..rows).flat_map(|a| (a + 1..rows).map(move |b| (a, b))) {
        let mut joined = good.clone();
        let mut pool = PoolWriter::new(&good.primes, good.word);
        for segment in &mut joined.segments {
            for Step::Launch { launch, .. } in &mut segment.steps {
                let join = |row: RowRef| {
                    if row == (RowRef { slot: 0, row: b }) { RowRef { slot: 0, row: a } } else { row }
                };
                let items: Vec<Item> =
                    good.items(launch).unwrap().into_iter().map(|item| item.map_rows(join)).collect();
                *launch = pool.launch(launch.kernel, &items).unwrap();
            }
        }
        joined.pool = pool.finish();
        let found = plan::verify::verify(&joined, "test")
            .and_then(|()| plan::refine::refines(&joined, &poly, &params()));
        assert!(["alias", "flow", "written", "refine"].contains(&rule_of(found)), "rows {a} and {b}");
    }
}

#[test]
fn texts_that_do_not_parse_name_the_line() {
    let at = |error: Error| match error {
        Error::Parse { line, problem } => (line, problem),
        other => panic!("{other:?}"),
    };
    for (from, to, line, word) in [
        ("function", "funktion", 1, "`function`"),
        ("mul %0", "mull %0", 7, "`mull`"),
        ("%4 = rescale", "%5 = rescale", 9, "%4"),
        ("\"w\"", "\"w", 4, "closed"),
        ("canonical degree 1}\n  %1", "canonical}\n  %1", 5, "`degree`"),
        ("period 4", "period four", 2, "a number"),
        ("}\n  output", "} }\n  output", 14, "the end of the line"),
    ] {
        assert!(CKKS.contains(from), "{from}");
        let (found, problem) = at(ckks_ir::text::parse(&CKKS.replacen(from, to, 1), &[]).unwrap_err());
        assert_eq!(found, line, "{problem}");
        assert!(problem.contains(word), "{problem}");
    }
    let long = format!("{CKKS}{CKKS}");
    assert_eq!(at(ckks_ir::text::parse(&long, &[]).unwrap_err()).0, 18);
    assert_eq!(at(poly_ir::text::parse(&POLY.replace("@0/1", "@0")).unwrap_err()).0, 4);
    assert_eq!(at(poly_ir::text::parse(&POLY.replace("[0-3]", "[0-4000000000]")).unwrap_err()).0, 3);
    let text = compiled().plan.to_string();
    assert_eq!(at(plan::text::parse(&text.replace("word 32", "word 31")).unwrap_err()).0, 2);
    assert_eq!(
        at(plan::text::parse(&text.replace("launch intt_rows", "launch fast_intt")).unwrap_err()).1,
        "no kernel `fast_intt`"
    );
    for cut in (0..text.len()).step_by(997) {
        assert!(plan::text::parse(&text[..cut]).is_err());
    }
}

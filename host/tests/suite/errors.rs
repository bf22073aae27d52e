//! Plans that a backend refuses, each with the rule that it breaks, and the three ways to be out of memory.

use crate::support::{Bench, PlanMaker, arena, input, output, row_item, run_once, set_peaks};
use fhe_core::params::Preset;
use host::backend::cpu::{CpuBackend, available_lanes, thread_pool};
use host::backend::{Backend, Instance, POISON};
use host::check::CheckedPlan;
use host::executor::{self, RunOptions};
use host::memory::Limits;
use host::work::Work;
use host::{Error, LaneKind};
use kernels_gpu::abi::matrix::{fill_matrix, matrix_pool_words};
use kernels_gpu::abi::{
    ABI_VERSION, AutomorphismItem, ConvertBasisItem, ConvertSource, ConvertTarget, EmbedInverseItem,
    InnerProductItem, KernelId, MIN_LOG_REPEAT, RoundResiduesItem, RoundTarget, RowItem, RowRef, Term,
};
use scheduler::ckks_ir::{InputIdx, OutputIdx};
use scheduler::plan::{Buffer, BufferId, BufferKind, HostStep, Plan, PlanStep, SegmentId, Step};
use std::sync::Arc;

const NONE: RowRef = RowRef::NONE;

/// A change that a rule forbids.
type Break = fn(&mut Plan);

fn maker() -> PlanMaker {
    PlanMaker::new(&Bench::<u32>::new(Preset::Toy10).params, 8, 4, 4)
}

fn rule_of(plan: Plan) -> &'static str {
    match CheckedPlan::new(plan) {
        Err(Error::InvalidPlan { rule, .. }) => rule,
        other => panic!("expected a broken rule, found {other:?}"),
    }
}

/// The rule that a launch breaks.
fn breaks<T: bytemuck::Pod>(
    kernel: KernelId,
    items: &[T],
    pool: impl FnOnce(&mut PlanMaker),
) -> &'static str {
    let mut maker = maker();
    pool(&mut maker);
    maker.launch(kernel, items);
    rule_of(maker.plan)
}

#[test]
fn abi_and_ring() {
    let mut plan = maker().plan;
    plan.abi_version += 1;
    let expected = Error::AbiMismatch { expected: ABI_VERSION, found: ABI_VERSION + 1 };
    assert_eq!(CheckedPlan::new(plan).err(), Some(expected));
    let cases: [(&str, Break); 7] = [
        ("log N", |p| p.log_n = 4),
        ("log N", |p| p.log_n = 18),
        ("number of primes", |p| p.primes.clear()),
        ("number of roots", |p| p.roots.truncate(3)),
        ("a prime", |p| p.primes[0] = 1 << 31),
        ("a prime", |p| p.primes[3] = 97),
        ("a root", |p| p.roots[2] += 1),
    ];
    for (expected, break_it) in cases {
        let mut plan = maker().plan;
        break_it(&mut plan);
        match CheckedPlan::new(plan) {
            Err(Error::UnsupportedRing { what, .. }) => assert_eq!(what, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    assert!(CheckedPlan::new(maker().plan).is_ok());
}

#[test]
fn rules_of_buffers_calls_and_host_steps() {
    let cases: [(&str, Break); 14] = [
        ("buffers", |p| p.buffers.swap(0, 1)),
        ("buffers", |p| p.buffers[2].kind = BufferKind::Arena),
        ("buffers", |p| p.peaks[0].rows -= 1),
        ("buffers", |p| p.peaks.clear()),
        // 2^20 buffers of almost 2^44 bytes: the sum of bytes would wrap.
        ("buffers", |p| {
            let large = Buffer { rows: u32::MAX, ..p.buffers[2] };
            let more = (1..1 << 20).map(|i| Buffer { kind: BufferKind::Output(OutputIdx(i)), ..large });
            p.buffers.extend(more);
            (p.peaks[0].rows, p.peaks[0].bytes) = (u64::MAX, u64::MAX);
        }),
        ("rows", |p| p.segments[0].slots.clear()),
        ("calls", |p| p.segments[0].slots[1].rows += 1),
        ("calls", |p| {
            // The output slot written on an input.
            p.schedule[1] = PlanStep::Call {
                segment: SegmentId(0),
                bindings: vec![BufferId(0), BufferId(1), BufferId(1)],
            };
        }),
        ("calls", |p| p.schedule[1] = PlanStep::Call { segment: SegmentId(1), bindings: vec![BufferId(0)] }),
        ("calls", |p| {
            p.schedule[1] =
                PlanStep::Call { segment: SegmentId(0), bindings: vec![BufferId(0), BufferId(1)] };
        }),
        ("calls", |p| {
            let bindings = vec![BufferId(2), BufferId(1), BufferId(0)];
            p.schedule[1] = PlanStep::Call { segment: SegmentId(0), bindings };
        }),
        ("calls", |p| {
            // The output read and written.
            let bindings = vec![BufferId(0), BufferId(2), BufferId(2)];
            p.schedule[1] = PlanStep::Call { segment: SegmentId(0), bindings };
        }),
        ("host-steps", |p| {
            let step = HostStep::Upload { input: InputIdx(0), buffer: BufferId(0) };
            p.schedule[0] = PlanStep::Host(step);
        }),
        ("host-steps", |p| p.setup.push(HostStep::Upload { input: InputIdx(0), buffer: BufferId(1) })),
    ];
    for (i, (expected, break_it)) in cases.into_iter().enumerate() {
        let mut plan = maker().plan;
        break_it(&mut plan);
        assert_eq!(rule_of(plan), expected, "case {i}");
    }
}

#[test]
fn rules_of_launches() {
    use KernelId::{
        Add, AddScalar, AutomorphismEval, ConvertBasis, InnerProduct, Neg, Ntt, NttRows, NttRowsInnerProduct,
        SubMulScalar,
    };
    let none = |_: &mut PlanMaker| {};
    let neg = |dst, a| row_item(dst, a, NONE, 0, 0);
    // Rows and slots.
    assert_eq!(breaks(Neg, &[neg(arena(8), input(0))], none), "rows");
    assert_eq!(breaks(Neg, &[neg(arena(0), input(4))], none), "rows");
    assert_eq!(breaks(Neg, &[neg(RowRef { slot: 3, row: 0 }, input(0))], none), "rows");
    assert_eq!(breaks(Neg, &[neg(input(0), arena(0))], none), "rows");
    assert_eq!(breaks(Neg, &[neg(arena(0), output(0))], none), "rows");
    assert_eq!(breaks(Add, &[neg(arena(0), input(0))], none), "rows");
    // Constants.
    assert_eq!(breaks(Neg, &[row_item(arena(0), input(0), NONE, 0, 99)], none), "primes");
    assert_eq!(breaks(AddScalar, &[row_item(arena(0), input(0), NONE, 1 << 30, 0)], none), "canonical");
    let automorphism = |galois| AutomorphismItem { dst: arena(1), a: arena(0), galois, prime: 0 };
    assert_eq!(breaks(AutomorphismEval, &[automorphism(4)], none), "canonical");
    assert_eq!(breaks(AutomorphismEval, &[automorphism(2049)], none), "canonical");
    // What is begun ends where it is.
    assert_eq!(breaks(NttRows, &[neg(arena(0), arena(1))], none), "begun");
    // Hazards.
    assert_eq!(breaks(Neg, &[neg(arena(0), input(0)), neg(arena(0), input(1))], none), "hazards");
    assert_eq!(breaks(Ntt, &[neg(arena(0), arena(1)), neg(arena(1), input(1))], none), "hazards");
    assert_eq!(breaks(Neg, &[neg(arena(0), arena(0))], none), "hazards");
    let onto_itself = AutomorphismItem { dst: arena(0), a: arena(0), galois: 5, prime: 0 };
    assert_eq!(breaks(AutomorphismEval, &[onto_itself], none), "hazards");
    // Tables.
    let product = |terms_at, n_terms| InnerProductItem {
        dst: [arena(0), NONE],
        init: [NONE; 2],
        times: [1; 2],
        terms_at,
        n_terms,
        prime: 0,
        begun: 0,
        galois: 1,
        pad: 0,
    };
    let one_term = |m: &mut PlanMaker| {
        m.table(&[Term::new(input(0), [input(1), NONE])]);
    };
    assert_eq!(breaks(InnerProduct, &[product(0, 0)], one_term), "sizes");
    let times = InnerProductItem { times: [1, 1 << 30], ..product(0, 1) };
    assert_eq!(breaks(InnerProduct, &[times], one_term), "canonical");
    assert_eq!(breaks(InnerProduct, &[product(0, 768)], one_term), "pool");
    assert_eq!(breaks(InnerProduct, &[product(0, 769)], one_term), "sizes");
    assert_eq!(breaks(InnerProduct, &[product(u32::MAX, 1)], one_term), "pool");
    let both = InnerProductItem { dst: [arena(0), arena(1)], ..product(0, 1) };
    let over = |a, b| {
        move |m: &mut PlanMaker| {
            m.table(&[Term::new(a, b)]);
        }
    };
    assert_eq!(breaks(InnerProduct, &[both], over(arena(0), [input(0); 2])), "hazards");
    assert_eq!(breaks(InnerProduct, &[both], over(input(0), [arena(1), input(0)])), "hazards");
    let start = InnerProductItem { init: [arena(1), NONE], ..both };
    assert_eq!(breaks(InnerProduct, &[start], over(input(0), [input(1); 2])), "hazards");
    // What is permuted is written over nothing that is read; nothing else is so in a sum of one's own.
    let turned = InnerProductItem { galois: 5, ..product(0, 1) };
    let start = InnerProductItem { init: [arena(0), NONE], ..turned };
    assert_eq!(breaks(InnerProduct, &[turned], over(arena(0), [input(0), NONE])), "hazards");
    assert_eq!(breaks(InnerProduct, &[turned], over(input(0), [arena(0), NONE])), "hazards");
    assert_eq!(breaks(InnerProduct, &[start], over(input(0), [input(1), NONE])), "hazards");
    assert_eq!(breaks(InnerProduct, &[InnerProductItem { galois: 4, ..turned }], one_term), "canonical");
    assert_eq!(breaks(InnerProduct, &[InnerProductItem { galois: 2049, ..turned }], one_term), "canonical");
    // Terms that are begun: none of a plain inner product, and none that is not there.
    let ends = |begun| InnerProductItem { begun, ..product(0, 1) };
    assert_eq!(breaks(InnerProduct, &[ends(1)], one_term), "begun");
    assert_eq!(breaks(NttRowsInnerProduct, &[ends(2)], one_term), "begun");
    // Parts that are none of a row, runs that no backend can read, and of what is begun.
    let part = |part, log_repeat| {
        move |m: &mut PlanMaker| {
            m.table(&[Term { part, log_repeat, ..Term::new(input(0), [input(1), NONE]) }]);
        }
    };
    assert_eq!(breaks(InnerProduct, &[product(0, 1)], part(1, 0)), "repeat");
    assert_eq!(breaks(InnerProduct, &[product(0, 1)], part(0, MIN_LOG_REPEAT - 1)), "repeat");
    assert_eq!(breaks(InnerProduct, &[product(0, 1)], part(16, 4)), "repeat");
    assert_eq!(breaks(InnerProduct, &[product(0, 1)], part(0, 10)), "repeat");
    assert_eq!(breaks(InnerProduct, &[product(0, 1)], part(0, u32::MAX)), "repeat");
    assert_eq!(breaks(NttRowsInnerProduct, &[ends(1)], part(0, 4)), "repeat");
    // A destination that is none in one word only is one, and is outside.
    for second in [RowRef { row: 0, ..NONE }, RowRef { slot: 0, ..NONE }] {
        let item = InnerProductItem { dst: [arena(0), second], ..product(0, 1) };
        assert_eq!(breaks(InnerProduct, &[item], over(input(0), [input(1); 2])), "rows");
    }
    let divide = RowItem { galois: 2, ..row_item(arena(1), arena(0), input(0), 0, 0) };
    assert_eq!(breaks(SubMulScalar, &[divide], none), "canonical");
    let divide = RowItem { galois: 1, c: arena(1), ..divide };
    assert_eq!(breaks(SubMulScalar, &[divide], none), "hazards");
    let mut plan = maker().plan;
    let launch = kernels_gpu::abi::Launch { kernel: Neg, items_at: 0, n_items: u32::MAX };
    plan.segments[0].steps.push(Step::Launch { launch, node: scheduler::plan::NodeId(0) });
    assert_eq!(rule_of(plan), "pool");
    // Conversions: sources at 0, targets at 8, matrix at 12, all its entries the same, its columns from 16.
    let tables = |source: ConvertSource, target: ConvertTarget, entry: u64| {
        move |m: &mut PlanMaker| {
            m.table(&[source, source]);
            m.table(&[target]);
            m.table(&[0u64]);
            let mut matrix = vec![0; matrix_pool_words(2, 1, 32)];
            fill_matrix(&mut matrix, 2, &m.plan.primes[1..2], 32, |_, _| entry);
            m.table(&matrix);
        }
    };
    let source = ConvertSource { row: input(0), inv: 1, frac: 1, prime: 0, pad: 0 };
    let target = ConvertTarget { row: arena(0), big: 1, prime: 1, pad: 0 };
    let convert = ConvertBasisItem { src_at: 0, n_src: 2, dst_at: 8, n_dst: 1, matrix_at: 12, pad: 0 };
    let rule = |item, source, target, entry| breaks(ConvertBasis, &[item], tables(source, target, entry));
    assert_eq!(rule(ConvertBasisItem { n_src: 0, ..convert }, source, target, 1), "sizes");
    assert_eq!(rule(ConvertBasisItem { n_src: 65, ..convert }, source, target, 1), "sizes");
    assert_eq!(rule(ConvertBasisItem { n_dst: 0, ..convert }, source, target, 1), "sizes");
    assert_eq!(rule(ConvertBasisItem { matrix_at: 98, ..convert }, source, target, 1), "pool");
    assert_eq!(rule(ConvertBasisItem { matrix_at: 11, ..convert }, source, target, 1), "pool");
    assert_eq!(rule(convert, source, target, 1 << 30), "canonical");
    assert_eq!(rule(convert, ConvertSource { frac: 1 << 32, ..source }, target, 1), "canonical");
    assert_eq!(rule(convert, ConvertSource { inv: 1 << 30, ..source }, target, 1), "canonical");
    assert_eq!(rule(convert, source, ConvertTarget { big: 1 << 30, ..target }, 1), "canonical");
    assert_eq!(rule(convert, ConvertSource { row: arena(0), ..source }, target, 1), "hazards");
    let mut fine = maker();
    tables(source, target, 1)(&mut fine);
    fine.launch(ConvertBasis, &[convert]);
    assert!(CheckedPlan::new(fine.plan.clone()).is_ok());
    // What a GPU multiplies by is not what a CPU does.
    fine.plan.pool[17] ^= 1;
    assert_eq!(rule_of(fine.plan), "columns");
}

#[test]
fn rules_of_encoding() {
    use KernelId::{EmbedInverse, RoundResidues};
    let none = |_: &mut PlanMaker| {};
    let embed = EmbedInverseItem {
        dst: [arena(0), arena(1)],
        src: [input(0), input(1)],
        factors: [input(2), input(3)],
    };
    let rule = |item| breaks(EmbedInverse, &[item], none);
    assert_eq!(rule(EmbedInverseItem { src: [input(0), NONE], ..embed }), "rows");
    assert_eq!(rule(EmbedInverseItem { factors: [input(4), input(0)], ..embed }), "rows");
    assert_eq!(rule(EmbedInverseItem { dst: [arena(0), input(1)], ..embed }), "rows");
    assert_eq!(rule(EmbedInverseItem { dst: [arena(0), arena(8)], ..embed }), "rows");
    assert_eq!(rule(EmbedInverseItem { dst: [arena(0); 2], ..embed }), "hazards");
    assert_eq!(rule(EmbedInverseItem { src: [arena(0), input(1)], ..embed }), "hazards");
    assert_eq!(rule(EmbedInverseItem { factors: [input(1), arena(1)], ..embed }), "hazards");
    assert_eq!(breaks(EmbedInverse, &[embed, embed], none), "hazards");

    let target = RoundTarget { row: arena(2), prime: 0, pad: 0 };
    let round = RoundResiduesItem { src: [arena(0), arena(1)], scale: 1f64.to_bits(), dst_at: 0, n_dst: 2 };
    let other = RoundTarget { row: arena(3), prime: 1, pad: 0 };
    let rule = |item, other| {
        breaks(RoundResidues, &[item], move |m| {
            m.table(&[target, other]);
        })
    };
    assert_eq!(rule(RoundResiduesItem { n_dst: 0, ..round }, other), "sizes");
    assert_eq!(rule(RoundResiduesItem { n_dst: u32::MAX, ..round }, other), "pool");
    assert_eq!(rule(RoundResiduesItem { dst_at: u32::MAX, ..round }, other), "pool");
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(rule(RoundResiduesItem { scale: scale.to_bits(), ..round }, other), "canonical");
    }
    assert_eq!(rule(RoundResiduesItem { src: [arena(0), arena(8)], ..round }, other), "rows");
    assert_eq!(rule(round, RoundTarget { prime: 99, ..other }), "primes");
    assert_eq!(rule(round, RoundTarget { row: input(0), ..other }), "rows");
    assert_eq!(rule(round, RoundTarget { row: arena(2), ..other }), "hazards");
    assert_eq!(rule(round, RoundTarget { row: arena(1), ..other }), "hazards");
    let mut fine = maker();
    fine.launch(EmbedInverse, &[embed]);
    let dst_at = fine.table(&[target, other]);
    fine.launch(RoundResidues, &[RoundResiduesItem { dst_at, ..round }]);
    let checked = CheckedPlan::new(fine.plan).unwrap();
    let (n, log_n) = (1u64 << checked.plan().log_n, u64::from(checked.plan().log_n));
    let counts = |work: Work| (work.rows_read, work.rows_written, work.multiplications);
    assert_eq!(counts(checked.work(SegmentId(0), 0)), (4, 2, n * (log_n - 1)));
    assert_eq!(counts(checked.work(SegmentId(0), 1)), (2, 2, 2 * n));
}

fn load(plan: Plan, limits: Limits) -> Option<Error> {
    let backend = CpuBackend::new(thread_pool(Some(1)).unwrap(), None, limits).unwrap();
    let error = backend.load(Arc::new(CheckedPlan::new(plan).unwrap())).err();
    assert_eq!(backend.memory_in_use(), 0);
    error
}

#[test]
fn out_of_memory_is_three_things() {
    let what = || "program `handmade`".to_owned();
    let found = 16 * 4096;
    let error = load(maker().plan, Limits { machine: Some(found - 1), budget: None });
    assert_eq!(error, Some(Error::TooBig { what: what(), found, expected: found - 1 }));
    let error = load(maker().plan, Limits { machine: None, budget: Some(1000) });
    assert_eq!(error, Some(Error::OverBudget { what: what(), found, expected: 1000, budget: 1000 }));
    // The plan fits, the tables do not.
    let error = load(maker().plan, Limits { machine: None, budget: Some(found) });
    assert!(matches!(error, Some(Error::OverBudget { what, expected: 0, .. }) if what == "twiddles"));
    // 2^49 bytes are more than a process can address.
    let mut plan = PlanMaker::new(&Preset::N15.params().unwrap(), 4, 4, 4).plan;
    plan.buffers.push(Buffer { rows: u32::MAX, ..plan.buffers[2].clone() });
    set_peaks(&mut plan);
    let error = load(plan, Limits::default());
    assert!(matches!(error, Some(Error::NotNow { found, expected, .. }) if found > expected), "{error:?}");
}

#[test]
fn rows_that_are_not_there() {
    let backend = CpuBackend::new(thread_pool(Some(1)).unwrap(), None, Limits::default()).unwrap();
    let plan = Arc::new(CheckedPlan::new(maker().plan).unwrap());
    let mut instance = backend.load(plan).unwrap();
    let row = [0; 4096];
    assert!(instance.write(BufferId(1), 3, &row).is_ok());
    assert!(matches!(instance.write(BufferId(1), 4, &row), Err(Error::BufferAccess { buffer: 1, .. })));
    assert!(matches!(instance.write(BufferId(1), u32::MAX, &row), Err(Error::BufferAccess { .. })));
    assert!(matches!(instance.write(BufferId(1), 0, &row[1..]), Err(Error::BufferAccess { .. })));
    assert!(matches!(instance.write(BufferId(9), 0, &row), Err(Error::BufferAccess { buffer: 9, .. })));
    assert_eq!(instance.read(BufferId(2), 1..3).unwrap().len(), 2 * 4096);
    assert!(matches!(instance.read(BufferId(2), 1..5), Err(Error::BufferAccess { .. })));
    let error = instance.call(SegmentId(0), &[BufferId(0), BufferId(1), BufferId(0)], None);
    assert!(matches!(error, Err(Error::InvalidPlan { rule: "calls", .. })));
    let error = instance.call(SegmentId(7), &[], None);
    assert!(matches!(error, Err(Error::InvalidPlan { rule: "calls", .. })));
}

#[test]
fn a_row_that_nothing_wrote_shows() {
    let mut maker = maker();
    maker.launch(KernelId::Neg, &[row_item(output(0), arena(0), NONE, 0, 0)]);
    let backend = CpuBackend::new(thread_pool(Some(1)).unwrap(), None, Limits::default()).unwrap();
    let mut instance = backend.load(Arc::new(CheckedPlan::new(maker.plan).unwrap())).unwrap();
    let mut out = |poison| {
        let mut host_step = |_: &HostStep, _: &mut dyn Instance| Ok(());
        executor::run(&mut *instance, &mut host_step, RunOptions { poison, ..RunOptions::default() })
            .unwrap();
        instance.read(BufferId(2), 0..4).unwrap()
    };
    assert!(out(false).iter().all(|&b| b == 0));
    let poisoned = out(true);
    assert!(poisoned[..4096].iter().any(|&b| b != 0));
    assert!(poisoned[4096..].iter().all(|&b| b == POISON));
}

#[test]
fn a_host_step_that_fails_ends_the_run_and_nothing_else() {
    let mut maker = maker();
    let items: Vec<_> = (0..4).map(|i| row_item(output(i), input(i), NONE, 0, 0)).collect();
    maker.launch(KernelId::Neg, &items);
    let backend = CpuBackend::new(thread_pool(Some(1)).unwrap(), None, Limits::default()).unwrap();
    let mut instance = backend.load(Arc::new(CheckedPlan::new(maker.plan).unwrap())).unwrap();
    let rows = [1; 4 * 4096];
    let before = run_once(&mut *instance, &rows, true);
    for fails in ["upload", "download"] {
        let refused = Error::Core(fhe_core::Error::MissingRelinearizationKey);
        let mut host_step = |step: &HostStep, _: &mut dyn Instance| match step {
            HostStep::Upload { .. } if fails == "download" => Ok(()),
            _ => Err(refused.clone()),
        };
        let error = executor::run(&mut *instance, &mut host_step, RunOptions::default()).unwrap_err();
        assert_eq!(error, refused);
        assert!(run_once(&mut *instance, &rows, true) == before);
    }
}

#[test]
fn lanes_that_the_processor_has_not() {
    let pool = thread_pool(Some(1)).unwrap();
    for lanes in LaneKind::ALL {
        let backend = CpuBackend::new(Arc::clone(&pool), Some(lanes), Limits::default());
        assert_eq!(backend.is_ok(), available_lanes().contains(&lanes));
    }
}

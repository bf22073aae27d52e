//! The null backend counts what a hand counts.

use crate::support::{Bench, PlanMaker, arena, input, output, row_item, run_once};
use fhe_core::params::{LimbIdx, Preset};
use host::backend::Backend;
use host::backend::null::NullBackend;
use host::check::CheckedPlan;
use host::work::Work;
use kernels_gpu::abi::{
    AutomorphismItem, ConvertBasisItem, ConvertSource, ConvertTarget, InnerProductItem, KernelId, RowRef,
    Term,
};
use std::sync::Arc;

#[test]
fn counts_equal_hand_counts() {
    let bench = Bench::<u32>::new(Preset::Toy10);
    let mut maker = PlanMaker::new(&bench.params, 8, 4, 4);
    // N = 1024, rows of 4096 bytes.
    let ntt = |i| row_item(arena(i), input(i), RowRef::NONE, 0, i);
    maker.launch(KernelId::Intt, &[ntt(0), ntt(1), ntt(2)]);
    let source = |i: usize| ConvertSource { row: arena(i), inv: 1, frac: 1, prime: i as u32, pad: 0 };
    let target = |j: usize| ConvertTarget { row: arena(3 + j), big: 1, prime: j as u32, pad: 0 };
    let item = ConvertBasisItem {
        src_at: maker.table(&[source(0), source(1), source(2)]),
        n_src: 3,
        dst_at: maker.table(&[target(0), target(1)]),
        n_dst: 2,
        matrix_at: maker.matrix(&[1; 6], 3, &[LimbIdx(0), LimbIdx(1)]),
        pad: 0,
    };
    maker.launch(KernelId::ConvertBasis, &[item]);
    maker.launch(KernelId::Ntt, &[row_item(arena(3), arena(3), RowRef::NONE, 0, 0)]);
    let terms =
        [Term::new(arena(3), [input(0), RowRef::NONE]), Term::new(arena(4), [input(1), RowRef::NONE])];
    let terms_at = maker.table(&terms);
    let product = |i: usize, init| {
        let (dst, init) = ([output(i), RowRef::NONE], [init, RowRef::NONE]);
        let (times, prime, begun, galois) = ([1; 2], 0, 0, 5);
        InnerProductItem { dst, init, times, terms_at, n_terms: 2, prime, begun, galois, pad: 0 }
    };
    maker.launch(KernelId::InnerProduct, &[product(0, RowRef::NONE), product(1, arena(5))]);
    maker.launch(KernelId::SubMulScalar, &[row_item(output(2), arena(0), arena(1), 5, 0)]);
    maker.launch(KernelId::Add, &[row_item(output(3), arena(0), arena(1), 0, 0)]);
    let automorphism = AutomorphismItem { dst: arena(7), a: arena(6), galois: 5, prime: 0 };
    maker.launch(KernelId::AutomorphismEval, &[automorphism]);

    let backend = NullBackend::new();
    let plan = Arc::new(CheckedPlan::new(maker.plan).unwrap());
    let mut instance = backend.load(Arc::clone(&plan)).unwrap();
    let out = run_once(&mut *instance, &[0; 4 * 4096], true);
    assert!(out == [0; 4 * 4096]);
    let work = |launches, items, rows_read, rows_written, multiplications| Work {
        launches,
        items,
        rows_read,
        rows_written,
        bytes: (rows_read + rows_written) * 4096,
        multiplications,
    };
    let n = 1024;
    let expected = [
        (KernelId::Ntt, work(1, 1, 1, 1, n / 2 * 10)),
        (KernelId::Intt, work(1, 3, 3, 3, 3 * n / 2 * 11)),
        (KernelId::Add, work(1, 1, 2, 1, 0)),
        (KernelId::SubMulScalar, work(1, 1, 2, 1, n)),
        (KernelId::InnerProduct, work(1, 2, 9, 2, 4 * n)),
        (KernelId::ConvertBasis, work(1, 1, 3, 2, (3 + 3 + 2 * 3 + 2) * n)),
        (KernelId::AutomorphismEval, work(1, 1, 1, 1, 0)),
    ];
    let counts = backend.counts();
    for (kernel, work) in expected {
        assert_eq!(counts.kernel(kernel), work, "{}", kernel.name());
    }
    assert_eq!(counts.kernels.len(), expected.len());
    assert_eq!((counts.calls, counts.bytes_in, counts.bytes_out), (1, 4 * 4096, 4 * 4096));
    assert_eq!(counts.total().launches, 7);
    // The same is known of the plan before it runs.
    assert_eq!(plan.work_by_kernel(), expected);
    // Nothing is allocated, all is planned.
    let report = instance.memory();
    assert_eq!((report.total_planned(), report.total_actual()), (16 * 4096, 0));
}

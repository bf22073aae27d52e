//! First factors that are stored once a run of equal values, on every backend: both kernels of inner products.

use crate::kernels::galois_elements;
use crate::support::{Bench, PlanMaker, arena, backends, for_each_ring, input, output, row_item};
use fhe_core::math::word::Word;
use fhe_core::params::{Params, Preset};
use fhe_core::ring::{Coeff, Eval, RnsPoly};
use kernels_gpu::abi::{InnerProductItem, KernelId, MIN_LOG_REPEAT, RowRef, Term};

const NONE: RowRef = RowRef::NONE;
/// More than fit an accumulator of `u32` without a fold.
const N_TERMS: usize = 19;

/// Part and log2 of the runs of a term's first factor: runs of all lengths, beside dense factors; the first one is dense.
fn form(t: usize, log_n: u32) -> (u32, u32) {
    let lengths: Vec<u32> = (MIN_LOG_REPEAT..log_n).collect();
    let log_repeat = if t.is_multiple_of(3) { 0 } else { lengths[t % lengths.len()] };
    let last = (1u32 << log_repeat) - 1;
    (if t == N_TERMS - 1 { last } else { (t as u32).wrapping_mul(2_654_435_761) & last }, log_repeat)
}

#[test]
fn inner_products_of_repeated_values() {
    fn test<W: Word>(params: &Params) {
        let mut bench = Bench::<W>::of(params.clone());
        let limbs = bench.limbs.clone();
        let (l, n, log_n) = (limbs.len(), bench.n(), params.log_n());
        let x = bench.random::<Coeff>(&limbs);
        // Rows of first factors, the second of which has all residues q - 1; second factors.
        let polys: [RnsPoly<W, Eval>; 4] =
            [bench.random(&limbs), bench.largest(&limbs), bench.random(&limbs), bench.largest(&limbs)];
        let kernels = [KernelId::InnerProduct, KernelId::NttRowsInnerProduct];
        let galois = &galois_elements(params)[..2];
        let row = |k: usize, i: usize| input((1 + k) * l + i);
        let mut maker = PlanMaker::new(&bench.params, l, 5 * l, 2 * kernels.len() * galois.len() * l);
        let begin = |i: usize| row_item(arena(i), input(i), NONE, 0, i);
        maker.launch(KernelId::NttColumns, &(0..l).map(begin).collect::<Vec<_>>());
        let mut at = 0;
        for kernel in kernels {
            let ends = kernel == KernelId::NttRowsInnerProduct;
            for element in galois {
                let mut items = Vec::new();
                for i in 0..l {
                    let term = |t: usize| {
                        let (part, log_repeat) = form(t, log_n);
                        let a = if ends && t == 0 { arena(i) } else { row(t % 2, i) };
                        Term { part, log_repeat, ..Term::new(a, [row(2, i), row(3, i)]) }
                    };
                    items.push(InnerProductItem {
                        dst: [output(at + i), output(at + l + i)],
                        init: [row(0, i), NONE],
                        times: [1; 2],
                        terms_at: maker.table(&(0..N_TERMS).map(term).collect::<Vec<_>>()),
                        n_terms: N_TERMS as u32,
                        prime: i as u32,
                        begun: u32::from(ends),
                        galois: element.0,
                        pad: 0,
                    });
                }
                maker.launch(kernel, &items);
                at += 2 * l;
            }
        }
        let words =
            [x.words(), polys[0].words(), polys[1].words(), polys[2].words(), polys[3].words()].concat();
        let out = maker.run(&backends(), &words);
        let mut found = out.chunks_exact(l * n);
        let ring = &bench.ring;
        let transformed = ring.ntt(x);
        let first = |t: usize, ends: bool| -> RnsPoly<W, Eval> {
            if ends && t == 0 {
                return transformed.clone();
            }
            let (part, log_repeat) = form(t, log_n);
            let from = polys[t % 2].words().chunks_exact(n);
            // By the definition: run `i` of a limb is word `i` of its part.
            let limb = |row: &[W]| {
                let runs = row[part as usize * (n >> log_repeat)..].iter().take(n >> log_repeat);
                runs.flat_map(|&word| core::iter::repeat_n(word, 1 << log_repeat)).collect::<Vec<W>>()
            };
            RnsPoly::from_words(ring, &limbs, from.flat_map(limb).collect()).unwrap()
        };
        for kernel in kernels {
            let mut sums = [polys[0].clone(), RnsPoly::zero(&limbs, n)];
            for t in 0..N_TERMS {
                let a = first(t, kernel == KernelId::NttRowsInnerProduct);
                sums[0].mul_add_assign(ring, &a, &polys[2]).unwrap();
                sums[1].mul_add_assign(ring, &a, &polys[3]).unwrap();
            }
            for &element in galois {
                for sum in &sums {
                    let expected = ring.automorphism(sum, element).unwrap();
                    let kernel = kernel.name();
                    assert!(found.next().unwrap() == expected.words(), "{params}: {kernel}, {element}");
                }
            }
        }
    }
    for_each_ring!(test);
}

//! Every kernel against the ring functions of fhe-core.

use crate::support::{
    Bench, PlanMaker, arena, backends, for_each_ring, input, largest_ring, on_device, output, row_item,
};
use fhe_core::math::word::Word;
use fhe_core::params::{GaloisElement, LimbIdx, Params, Preset};
use fhe_core::ring::{Coeff, ConvertBasis, Eval, RnsPoly};
use kernels_gpu::abi::{
    AutomorphismItem, ConvertBasisItem, ConvertSource, ConvertTarget, InnerProductItem, KernelId, RowItem,
    RowRef, Term,
};

const NONE: RowRef = RowRef::NONE;

#[test]
fn transforms() {
    fn test<W: Word>(params: &Params) {
        let mut bench = Bench::<W>::of(params.clone());
        let limbs = bench.limbs.clone();
        let l = limbs.len();
        let x = bench.random::<Coeff>(&limbs);
        // Forward out of place and in place, then back out of place and in place.
        let mut maker = PlanMaker::new(&bench.params, 2 * l, l, 3 * l);
        let items = |dst: fn(usize) -> RowRef, to, a: fn(usize) -> RowRef, from| -> Vec<RowItem> {
            (0..l).map(|i| row_item(dst(to + i), a(from + i), NONE, 0, i)).collect()
        };
        maker.launch(KernelId::Ntt, &items(output, 0, input, 0));
        maker.launch(KernelId::Ntt, &items(arena, 0, input, 0));
        maker.launch(KernelId::Intt, &items(output, l, arena, 0));
        maker.launch(KernelId::Intt, &items(arena, 0, arena, 0));
        maker.launch(KernelId::Ntt, &items(arena, 0, arena, 0));
        maker.launch(KernelId::Intt, &items(arena, l, arena, 0));
        maker.launch(KernelId::Neg, &items(output, 2 * l, arena, l));
        let out = maker.run(&backends(), x.words());
        let mut negated = x.clone();
        negated.neg_assign(&bench.ring);
        let values = bench.ring.ntt(x.clone());
        assert!(out[..l * bench.n()] == *values.words(), "{params}: ntt");
        assert!(out[l * bench.n()..2 * l * bench.n()] == *x.words(), "{params}: intt");
        assert!(out[2 * l * bench.n()..] == *negated.words(), "{params}: in place");
    }
    for_each_ring!(test);
}

/// Where a simulated device, too, can afford it: a few limbs of the ring whose columns a thread holds by 32 words.
#[test]
fn transforms_of_the_largest_ring() {
    let mut bench = Bench::<u32>::of(largest_ring(0));
    let limbs = bench.limbs[..2].to_vec();
    let x = bench.random::<Coeff>(&limbs);
    let mut maker = PlanMaker::new(&bench.params, 2, 2, 4);
    let items = |dst: fn(usize) -> RowRef, to, a: fn(usize) -> RowRef| -> Vec<RowItem> {
        (0..2).map(|i| row_item(dst(to + i), a(i), NONE, 0, i)).collect()
    };
    maker.launch(KernelId::Ntt, &items(arena, 0, input));
    maker.launch(KernelId::AddScalar, &items(output, 0, arena));
    maker.launch(KernelId::Intt, &items(arena, 0, arena));
    maker.launch(KernelId::AddScalar, &items(output, 2, arena));
    assert!(on_device(&maker.plan));
    let out = maker.run_on(&backends(), x.words());
    let (values, coefficients) = out.split_at(2 * bench.n());
    assert!(coefficients == x.words());
    assert!(values == bench.ring.ntt(x).words());
}

#[test]
fn element_wise() {
    fn test<W: Word>(params: &Params) {
        let mut bench = Bench::<W>::of(params.clone());
        let limbs = bench.limbs.clone();
        let l = limbs.len();
        for round in 0..2 {
            let (a, b) = match round {
                0 => (bench.random::<Eval>(&limbs), bench.random::<Eval>(&limbs)),
                _ => (bench.largest(&limbs), bench.largest(&limbs)),
            };
            let scalars = match round {
                0 => bench.scalars(),
                _ => limbs.iter().map(|&p| bench.params.prime(p) - 1).collect(),
            };
            let ring = &bench.ring;
            let scalar = |p: LimbIdx| W::truncate(scalars[p.idx()]);
            type Reference<'a, W> = Box<dyn Fn(&mut RnsPoly<W, Eval>) + 'a>;
            let cases: [(KernelId, Reference<'_, W>); 7] = [
                (KernelId::Add, Box::new(|x| x.add_assign(ring, &b).unwrap())),
                (KernelId::Sub, Box::new(|x| x.sub_assign(ring, &b).unwrap())),
                (KernelId::Neg, Box::new(|x| x.neg_assign(ring))),
                (KernelId::MulScalar, Box::new(|x| x.mul_scalar_assign(ring, scalar))),
                (KernelId::AddScalar, Box::new(|x| x.add_scalar_assign(ring, scalar))),
                (
                    KernelId::SubMulScalar,
                    Box::new(|x| {
                        x.sub_assign(ring, &b).unwrap();
                        x.mul_scalar_assign(ring, scalar);
                    }),
                ),
                (
                    KernelId::MulScalarAdd,
                    Box::new(|x| {
                        x.mul_scalar_assign(ring, scalar);
                        x.add_assign(ring, &b).unwrap();
                    }),
                ),
            ];
            let mut maker = PlanMaker::new(&bench.params, 1, 2 * l, cases.len() * l);
            for (k, (kernel, _)) in cases.iter().enumerate() {
                let item = |i: usize| {
                    let b = if kernel.reads_b() { input(l + i) } else { NONE };
                    let scalar = if kernel.reads_scalar() { scalars[i] } else { 0 };
                    row_item(output(k * l + i), input(i), b, scalar, i)
                };
                maker.launch(*kernel, &(0..l).map(item).collect::<Vec<_>>());
            }
            let out = maker.run(&backends(), &[a.words(), b.words()].concat());
            for (found, (kernel, reference)) in out.chunks_exact(l * bench.n()).zip(&cases) {
                let mut expected = a.clone();
                reference(&mut expected);
                assert!(found == expected.words(), "{params}: {}", kernel.name());
            }
        }
    }
    for_each_ring!(test);
}

/// One of each class: none, a rotation by 1 and one by many, the conjugation, and that with a rotation.
pub fn galois_elements(params: &Params) -> Vec<GaloisElement> {
    let of = |steps: i64| params.galois_element(steps).unwrap();
    let (conjugate, two_n) = (params.galois_conjugate(), 2 * params.n() as u32);
    let both = u64::from(of(3).0) * u64::from(conjugate.0) % u64::from(two_n);
    vec![GaloisElement(1), of(1), of(params.n() as i64 / 2 - 5), conjugate, GaloisElement(both as u32)]
}

/// Transforms that inner products end, beside whole first factors, in one sum and in two, from something and from nothing, written
/// over what was begun and elsewhere, and permuted.
#[test]
fn inner_products_that_end_transforms() {
    fn test<W: Word>(params: &Params) {
        let mut bench = Bench::<W>::of(params.clone());
        let limbs = bench.limbs.clone();
        let l = limbs.len();
        let (x, y) = (bench.random::<Coeff>(&limbs), bench.random::<Coeff>(&limbs));
        let factors: [RnsPoly<W, Eval>; 3] =
            [bench.random(&limbs), bench.largest(&limbs), bench.random(&limbs)];
        let galois = galois_elements(params);
        let mut maker = PlanMaker::new(&bench.params, 2 * l, 5 * l, (2 * galois.len() + 1) * l);
        // x out of place, y in place.
        let begin = |i: usize| row_item(arena(i), input(i), NONE, 0, i);
        maker.launch(KernelId::NttColumns, &(0..l).map(begin).collect::<Vec<_>>());
        let copy = |i: usize| row_item(arena(l + i), input(l + i), NONE, 0, i);
        maker.launch(KernelId::AddScalar, &(0..l).map(copy).collect::<Vec<_>>());
        let begin = |i: usize| row_item(arena(l + i), arena(l + i), NONE, 0, i);
        maker.launch(KernelId::NttColumns, &(0..l).map(begin).collect::<Vec<_>>());
        let factor = |k: usize, i: usize| input((2 + k) * l + i);
        let mut two = Vec::new();
        let mut one = Vec::new();
        let last = 2 * galois.len() * l;
        for i in 0..l {
            let term = |a, k: usize, m: usize| Term::new(a, [factor(k, i), factor(m, i)]);
            let terms = [term(arena(i), 0, 1), term(factor(0, i), 1, 2), term(arena(l + i), 2, 0)];
            let terms_at = maker.table(&terms);
            two.extend(galois.iter().enumerate().map(|(g, galois)| InnerProductItem {
                dst: [output(2 * g * l + i), output((2 * g + 1) * l + i)],
                init: [factor(1, i), NONE],
                times: [7, 1],
                terms_at,
                n_terms: 3,
                prime: i as u32,
                begun: 0b101,
                galois: galois.0,
                pad: 0,
            }));
            one.push(InnerProductItem {
                dst: [arena(i), NONE],
                init: [NONE; 2],
                times: [1; 2],
                terms_at: maker.table(&[Term::new(arena(i), [factor(2, i), NONE])]),
                n_terms: 1,
                prime: i as u32,
                begun: 1,
                galois: 1,
                pad: 0,
            });
        }
        maker.launch(KernelId::NttRowsInnerProduct, &two);
        maker.launch(KernelId::NttRowsInnerProduct, &one);
        let copy = |i: usize| row_item(output(last + i), arena(i), NONE, 0, i);
        maker.launch(KernelId::AddScalar, &(0..l).map(copy).collect::<Vec<_>>());
        let words =
            [x.words(), y.words(), factors[0].words(), factors[1].words(), factors[2].words()].concat();
        let out = maker.run(&backends(), &words);
        let ring = &bench.ring;
        let (x, y) = (ring.ntt(x), ring.ntt(y));
        let product = |a: &RnsPoly<W, Eval>, k: usize| {
            let mut a = a.clone();
            a.mul_assign(ring, &factors[k]).unwrap();
            a
        };
        let sum = |terms: &[RnsPoly<W, Eval>]| {
            let mut sum = terms[0].clone();
            terms[1..].iter().for_each(|term| sum.add_assign(ring, term).unwrap());
            sum
        };
        let mut addend = factors[1].clone();
        addend.mul_scalar_assign(ring, |_| W::truncate(7));
        let first = sum(&[product(&x, 0), product(&factors[0], 1), product(&y, 2), addend]);
        let second = sum(&[product(&x, 1), product(&factors[0], 2), product(&y, 0)]);
        let mut found = out.chunks_exact(l * bench.n());
        for &g in &galois {
            for (sum, which) in [(&first, "first"), (&second, "second")] {
                let expected = ring.automorphism(sum, g).unwrap();
                assert!(found.next().unwrap() == expected.words(), "{params}: {which} sum, galois {g}");
            }
        }
        assert!(found.next().unwrap() == product(&x, 2).words(), "{params}: one sum, in place");
    }
    for_each_ring!(test);
}

#[test]
fn inner_products() {
    const N_ROWS: usize = 5;
    fn test<W: Word>(params: &Params) {
        let mut bench = Bench::<W>::of(params.clone());
        let limbs = bench.limbs.clone();
        let l = limbs.len();
        // The last of the polynomials has all residues q - 1: it is what fills accumulators fastest.
        let mut polys: Vec<RnsPoly<W, Eval>> = (1..N_ROWS).map(|_| bench.random(&limbs)).collect();
        polys.push(bench.largest(&limbs));
        let sizes = [1, 2, 11, 12, 13, 14, 15, 16, 25, 260];
        let pair =
            |t: usize, worst: bool| if worst { (N_ROWS - 1, N_ROWS - 1) } else { (t % 3, (t + 1) % N_ROWS) };
        let galois = galois_elements(params);
        let (in_place, turned) = (3 * sizes.len() * l, (3 * sizes.len() + 1) * l);
        let mut maker = PlanMaker::new(&bench.params, l, N_ROWS * l, turned + 2 * galois.len() * l);
        for (k, &n_terms) in sizes.iter().enumerate() {
            for worst in [false, true] {
                let mut items = Vec::new();
                for i in 0..l {
                    let terms: Vec<Term> = (0..n_terms)
                        .map(|t| pair(t, worst))
                        .map(|(a, b)| Term::new(input(a * l + i), [input(b * l + i), input(a * l + i)]))
                        .collect();
                    // The worst case is one sum, the other one two: the products as said, and squares.
                    let at = |sum: usize| output((3 * k + sum) * l + i);
                    items.push(InnerProductItem {
                        dst: if worst { [at(2), NONE] } else { [at(0), at(1)] },
                        init: if worst { [input((N_ROWS - 1) * l + i), NONE] } else { [NONE; 2] },
                        times: if worst { [maker.plan.primes[i] - 1, 1] } else { [1; 2] },
                        terms_at: maker.table(&terms),
                        n_terms: n_terms as u32,
                        prime: i as u32,
                        begun: 0,
                        galois: 1,
                        pad: 0,
                    });
                }
                maker.launch(KernelId::InnerProduct, &items);
            }
        }
        // In place: x = p0 p1; x = x + x p0; then out.
        for (init, a) in [(false, false), (true, true)] {
            let mut items = Vec::new();
            for i in 0..l {
                let a = if a { arena(i) } else { input(l + i) };
                items.push(InnerProductItem {
                    dst: [arena(i), NONE],
                    init: [if init { arena(i) } else { NONE }, NONE],
                    times: [1; 2],
                    terms_at: maker.table(&[Term::new(a, [input(i), NONE])]),
                    n_terms: 1,
                    prime: i as u32,
                    begun: 0,
                    galois: 1,
                    pad: 0,
                });
            }
            maker.launch(KernelId::InnerProduct, &items);
        }
        let copy = |i: usize| row_item(output(in_place + i), arena(i), NONE, 0, i);
        maker.launch(KernelId::AddScalar, &(0..l).map(copy).collect::<Vec<_>>());
        // Permuted: p0 p1 + p2 and p0 p3, in one item and in two.
        let mut items = Vec::new();
        for i in 0..l {
            let b = [input(l + i), input(3 * l + i)];
            let terms_at = maker.table(&[b, [b[0], NONE], [b[1], NONE]].map(|b| Term::new(input(i), b)));
            for (k, galois) in galois.iter().enumerate() {
                let at = |sum: usize| output(turned + (2 * k + sum) * l + i);
                let both = InnerProductItem {
                    dst: [at(0), at(1)],
                    init: [input(2 * l + i), NONE],
                    times: [1; 2],
                    terms_at,
                    n_terms: 1,
                    prime: i as u32,
                    begun: 0,
                    galois: galois.0,
                    pad: 0,
                };
                if k % 2 == 0 {
                    items.push(both);
                    continue;
                }
                let of_term = (size_of::<Term>() / 8) as u32;
                items.push(InnerProductItem { dst: [at(0), NONE], terms_at: terms_at + of_term, ..both });
                items.push(InnerProductItem {
                    dst: [at(1), NONE],
                    init: [NONE; 2],
                    terms_at: terms_at + 2 * of_term,
                    ..both
                });
            }
        }
        maker.launch(KernelId::InnerProduct, &items);
        let words: Vec<W> = polys.iter().flat_map(|p| p.words().iter().copied()).collect();
        let out = maker.run(&backends(), &words);
        let mut found = out.chunks_exact(l * bench.n());
        let ring = &bench.ring;
        for n_terms in sizes {
            for (worst, squares) in [(false, false), (false, true), (true, false)] {
                let mut sum = RnsPoly::zero(&limbs, bench.n());
                if worst {
                    let largest = &polys[N_ROWS - 1];
                    sum.mul_add_assign(ring, largest, largest).unwrap();
                }
                for (a, b) in (0..n_terms).map(|t| pair(t, worst)) {
                    sum.mul_add_assign(ring, &polys[a], &polys[if squares { a } else { b }]).unwrap();
                }
                let case = format!("{n_terms} terms, worst {worst}, squares {squares}");
                assert!(found.next().unwrap() == sum.words(), "{params}: {case}");
            }
        }
        let mut x = polys[0].clone();
        x.mul_assign(ring, &polys[1]).unwrap();
        let before = x.clone();
        x.mul_add_assign(ring, &before, &polys[0]).unwrap();
        assert!(found.next().unwrap() == x.words(), "{params}: in place");
        let mut sums = [polys[2].clone(), RnsPoly::zero(&limbs, bench.n())];
        sums[0].mul_add_assign(ring, &polys[0], &polys[1]).unwrap();
        sums[1].mul_add_assign(ring, &polys[0], &polys[3]).unwrap();
        for &g in &galois {
            for sum in &sums {
                let expected = ring.automorphism(sum, g).unwrap();
                assert!(found.next().unwrap() == expected.words(), "{params}: galois {g}");
            }
        }
    }
    for_each_ring!(test);
}

#[test]
fn basis_conversions() {
    fn test<W: Word>(params: &Params) {
        let mut bench = Bench::<W>::of(params.clone());
        let limbs = bench.limbs.clone();
        let l = limbs.len();
        // Every digit to all other limbs, the special primes to the main ones, one limb to one.
        let mut conversions: Vec<(Vec<LimbIdx>, Vec<LimbIdx>)> = Vec::new();
        let others =
            |from: &[LimbIdx]| limbs.iter().copied().filter(|p| !from.contains(p)).collect::<Vec<_>>();
        for digit in bench.params.digits() {
            conversions.push((digit.clone(), others(digit)));
        }
        conversions.push((bench.params.special(), others(&bench.params.special())));
        conversions.push((limbs[..1].to_vec(), limbs[l - 1..].to_vec()));
        conversions.push((limbs[..l - 1].to_vec(), limbs[l - 1..].to_vec()));
        // By itself, and between two transforms, whose columns it does.
        for (round, columns) in [(0, false), (1, false), (0, true), (1, true)] {
            let x = if round == 0 { bench.random::<Coeff>(&limbs) } else { bench.largest(&limbs) };
            let n_out = conversions.iter().map(|(_, to)| to.len()).sum();
            let mut maker = PlanMaker::new(&bench.params, l + n_out, l, n_out);
            let begin = |i: usize| row_item(arena(i), input(i), NONE, 0, i);
            if columns {
                maker.launch(KernelId::InttRows, &(0..l).map(begin).collect::<Vec<_>>());
            }
            let from_row = |i: usize| if columns { arena(i) } else { input(i) };
            let to_row = |i: usize| if columns { arena(l + i) } else { output(i) };
            let mut primes = Vec::new();
            let mut items = Vec::new();
            let mut at = 0;
            for (from, to) in &conversions {
                let c = ConvertBasis::new(&bench.ring, from, to);
                let source = |(i, p): (usize, &LimbIdx)| {
                    let (inv, frac) = (maker.montgomery(c.inv[i].to_u64(), *p), c.frac[i].to_u64());
                    ConvertSource { row: from_row(p.idx()), inv, frac, prime: p.0, pad: 0 }
                };
                let target = |(j, p): (usize, &LimbIdx)| {
                    let big = maker.montgomery(c.big[j].to_u64(), *p);
                    ConvertTarget { row: to_row(at + j), big, prime: p.0, pad: 0 }
                };
                let sources: Vec<_> = from.iter().enumerate().map(source).collect();
                let targets: Vec<_> = to.iter().enumerate().map(target).collect();
                let matrix: Vec<u64> = c.matrix.iter().map(|m| m.to_u64()).collect();
                items.push(ConvertBasisItem {
                    src_at: maker.table(&sources),
                    n_src: from.len() as u32,
                    dst_at: maker.table(&targets),
                    n_dst: to.len() as u32,
                    matrix_at: maker.matrix(&matrix, from.len(), to),
                    pad: 0,
                });
                at += to.len();
                primes.extend(to.iter().map(|p| p.idx()));
            }
            let out = if columns {
                maker.launch(KernelId::ConvertBasisColumns, &items);
                let rows = || primes.iter().enumerate();
                let end = |(i, &prime): (usize, &usize)| row_item(to_row(i), to_row(i), NONE, 0, prime);
                maker.launch(KernelId::NttRows, &rows().map(end).collect::<Vec<_>>());
                let copy = |(i, &prime): (usize, &usize)| row_item(output(i), to_row(i), NONE, 0, prime);
                maker.launch(KernelId::AddScalar, &rows().map(copy).collect::<Vec<_>>());
                maker.run(&backends(), bench.ring.ntt(x.clone()).words())
            } else {
                maker.launch(KernelId::ConvertBasis, &items);
                maker.run(&backends(), x.words())
            };
            let mut found = &out[..];
            for (from, to) in &conversions {
                let expected = ConvertBasis::new(&bench.ring, from, to).apply(&bench.ring, &x).unwrap();
                let (head, rest) = found.split_at(expected.words().len());
                let (from, to) = (from.len(), to.len());
                let what = format!("{params}: {from} limbs to {to}, with columns: {columns}");
                if columns {
                    assert!(head == bench.ring.ntt(expected).words(), "{what}");
                } else {
                    assert!(head == expected.words(), "{what}");
                }
                found = rest;
            }
        }
    }
    for_each_ring!(test);
}

#[test]
fn automorphisms() {
    fn test<W: Word>(params: &Params) {
        let mut bench = Bench::<W>::of(params.clone());
        let limbs = bench.limbs.clone();
        let l = limbs.len();
        let params = bench.params.clone();
        let mut elements = vec![GaloisElement(1), params.galois_conjugate(), GaloisElement(3)];
        for k in [1, -1, 7, params.n_slots() as i64 - 1] {
            elements.push(params.galois_element(k).unwrap());
        }
        let mut maker = PlanMaker::new(&params, 1, l, 2 * elements.len() * l);
        for (k, g) in elements.iter().enumerate() {
            for (half, kernel) in
                [KernelId::AutomorphismEval, KernelId::AutomorphismCoeff].into_iter().enumerate()
            {
                let item = |i: usize| AutomorphismItem {
                    dst: output((2 * k + half) * l + i),
                    a: input(i),
                    galois: g.0,
                    prime: i as u32,
                };
                maker.launch(kernel, &(0..l).map(item).collect::<Vec<_>>());
            }
        }
        let eval = bench.random::<Eval>(&limbs);
        let coeff = RnsPoly::<W, Coeff>::from_words(&bench.ring, &limbs, eval.words().to_vec()).unwrap();
        let out = maker.run(&backends(), eval.words());
        let mut found = out.chunks_exact(l * bench.n());
        for &g in &elements {
            let expected = bench.ring.automorphism(&eval, g).unwrap();
            assert!(found.next().unwrap() == expected.words(), "{params}: values, {g}");
            let expected = bench.ring.automorphism_coeff(&coeff, g).unwrap();
            assert!(found.next().unwrap() == expected.words(), "{params}: coefficients, {g}");
        }
    }
    for_each_ring!(test);
}

/// The end of a division with what may follow it: an addend, an automorphism, both, neither; of what is subtracted as it is, and of what
/// is only begun.
#[test]
fn divisions() {
    fn test<W: Word>(params: &Params) {
        let mut bench = Bench::<W>::of(params.clone());
        let limbs = bench.limbs.clone();
        let l = limbs.len();
        let params = bench.params.clone();
        let (a, b) = (bench.random::<Eval>(&limbs), bench.random::<Coeff>(&limbs));
        let c = bench.largest::<Eval>(&limbs);
        let scalars = bench.scalars();
        let elements = [GaloisElement(1), params.galois_conjugate(), params.galois_element(7).unwrap()];
        let cases: Vec<_> = elements.into_iter().flat_map(|g| [(g, false), (g, true)]).collect();
        let mut maker = PlanMaker::new(&params, 2 * l, 3 * l, 2 * cases.len() * l);
        let transform = |to: usize| move |i: usize| row_item(arena(to + i), input(l + i), NONE, 0, i);
        maker.launch(KernelId::Ntt, &(0..l).map(transform(0)).collect::<Vec<_>>());
        maker.launch(KernelId::NttColumns, &(0..l).map(transform(l)).collect::<Vec<_>>());
        for (which, kernel) in [KernelId::SubMulScalar, KernelId::NttRowsSubMulScalar].into_iter().enumerate()
        {
            for (k, &(g, add)) in cases.iter().enumerate() {
                let to = (which * cases.len() + k) * l;
                let item = |i: usize| RowItem {
                    c: if add { input(2 * l + i) } else { NONE },
                    galois: g.0,
                    ..row_item(output(to + i), input(i), arena(which * l + i), scalars[i], i)
                };
                maker.launch(kernel, &(0..l).map(item).collect::<Vec<_>>());
            }
        }
        let words = [a.words(), b.words(), c.words()].concat();
        let out = maker.run(&backends(), &words);
        let b = bench.ring.ntt(b);
        let twice = cases.iter().chain(&cases);
        for (found, &(g, add)) in out.chunks_exact(l * bench.n()).zip(twice) {
            let mut expected = a.clone();
            expected.sub_assign(&bench.ring, &b).unwrap();
            expected.mul_scalar_assign(&bench.ring, |p: LimbIdx| W::truncate(scalars[p.idx()]));
            if add {
                expected.add_assign(&bench.ring, &c).unwrap();
            }
            let expected = bench.ring.automorphism(&expected, g).unwrap();
            assert!(found == expected.words(), "{params}: {g}, add {add}");
        }
    }
    for_each_ring!(test);
}

#[test]
fn one_item_is_shared_by_threads() {
    // N = 2^15: one conversion and one product of a single item each, split over coefficients.
    let mut bench = Bench::<u32>::new(Preset::N15);
    let (from, to) = (bench.limbs[..8].to_vec(), bench.limbs[8..12].to_vec());
    let x = bench.random::<Coeff>(&from);
    let c = ConvertBasis::new(&bench.ring, &from, &to);
    let mut maker = PlanMaker::new(&bench.params, 4, 8, 2);
    let sources: Vec<_> = (0..8)
        .map(|i| {
            let inv = maker.montgomery(u64::from(c.inv[i]), from[i]);
            let frac = u64::from(c.frac[i]);
            ConvertSource { row: input(i), inv, frac, prime: i as u32, pad: 0 }
        })
        .collect();
    let targets: Vec<_> = (0..4)
        .map(|j| {
            let big = maker.montgomery(u64::from(c.big[j]), to[j]);
            ConvertTarget { row: arena(j), big, prime: 8 + j as u32, pad: 0 }
        })
        .collect();
    let matrix: Vec<u64> = c.matrix.iter().map(|&m| u64::from(m)).collect();
    let item = ConvertBasisItem {
        src_at: maker.table(&sources),
        n_src: 8,
        dst_at: maker.table(&targets),
        n_dst: 4,
        matrix_at: maker.matrix(&matrix, 8, &to),
        pad: 0,
    };
    maker.launch(KernelId::ConvertBasis, &[item]);
    let galois = bench.params.galois_element(5).unwrap();
    let item = AutomorphismItem { dst: output(0), a: arena(0), galois: galois.0, prime: 8 };
    maker.launch(KernelId::AutomorphismCoeff, &[item]);
    maker.launch(KernelId::Neg, &[row_item(output(1), arena(3), NONE, 0, 11)]);
    let out = maker.run(&backends(), x.words());
    let converted = c.apply(&bench.ring, &x).unwrap();
    let mut moved = bench.ring.automorphism_coeff(&converted, galois).unwrap();
    assert!(out[..bench.n()] == *moved.limb(0));
    moved = converted;
    moved.neg_assign(&bench.ring);
    assert!(out[bench.n()..] == *moved.limb(3));
}

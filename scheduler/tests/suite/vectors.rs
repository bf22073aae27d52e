//! Vectors of ciphertexts and products of matrices, against sums over their elements.

use crate::common;

use crate::common::{check_everywhere, messages, worst};
use expect_test::expect;
use fhe_core::Complex64;
use fhe_core::params::{Level, Params, Preset};
use scheduler::ckks_ir::{Op, Value};
use scheduler::dsl::{self, EncryptedVec, Program, linear};
use scheduler::{Compiled, Error, Options, Result, compile, interp};

mod helpers {
    use super::*;

    pub(crate) fn params() -> Params {
        Preset::Toy10.params().unwrap()
    }

    /// The outputs of a program on slots, each cut to `n`.
    pub(crate) fn outputs(program: &Program, messages: &[Vec<Complex64>], n: usize) -> Vec<Vec<Complex64>> {
        let all = interp::slots::run(program.function(), 512, messages).unwrap();
        all.into_iter().map(|slots| slots[..n].to_vec()).collect()
    }

    pub(crate) fn compiled(program: &Program) -> Compiled {
        compile(program, &params(), &Options::default()).unwrap()
    }

    pub(crate) fn count(compiled: &Compiled, names: &[&str]) -> usize {
        compiled.placed.values.iter().filter(|v| names.contains(&v.op.name())).count()
    }

    /// Two matrices of `d` times `d`, encrypted, and their product.
    pub(crate) fn product_of_encrypted(d: usize) -> Program {
        dsl::build("product", |g| {
            let (a, b) = (g.input("a", d * d)?, g.input("b", d * d)?);
            g.output("c", linear::matmul_encrypted(a, b, d)?, d * d)
        })
        .unwrap()
    }

    pub(crate) fn mistake(body: impl FnOnce(&dsl::Graph) -> Result<()>) -> Error {
        dsl::build("mistake", body).unwrap_err()
    }
}

use helpers::{compiled, count, mistake, outputs, product_of_encrypted};

#[test]
fn element_by_element() {
    let program = dsl::build("vectors", |g| {
        let (x, y) = (g.input_vec("x", 3, 8)?, g.input_vec("y", 3, 8)?);
        let (s, w) = (g.input("s", 8)?, g.plain("w", &[0.5, -1.0])?);
        let made: [EncryptedVec<'_>; 13] = [
            &x + &y,
            &x - &y,
            &x * &y,
            -&x,
            &x * 0.25,
            &x + 1.5,
            &x - 0.5,
            &x * w,
            &x + w,
            &x - w,
            &x * s,
            &x - s,
            x.map(|x| x.rotate(1)),
        ];
        for (i, made) in made.iter().enumerate() {
            g.output_vec(&format!("v{i}"), made, 8)?;
        }
        Ok(())
    })
    .unwrap();
    let names: Vec<&str> = program.function().inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names, ["x[0]", "x[1]", "x[2]", "y[0]", "y[1]", "y[2]", "s"]);
    assert_eq!(program.function().outputs[37].name, "v12[1]");
    let m = messages(&program);
    let found = outputs(&program, &m, 8);
    for (j, (x, y)) in m[..3].iter().zip(&m[3..6]).enumerate() {
        for i in 0..8 {
            let (a, b, s, w) = (x[i], y[i], m[6][i], [0.5, -1.0][i % 2]);
            let expected = [
                a + b,
                a - b,
                a * b,
                -a,
                a * 0.25,
                a + 1.5,
                a - 0.5,
                a * w,
                a + w,
                a - w,
                a * s,
                a - s,
                x[(i + 1) % 8],
            ];
            for (k, expected) in expected.into_iter().enumerate() {
                assert!((found[3 * k + j][i] - expected).norm() < 1e-14, "vector {k}, element {j}, slot {i}");
            }
        }
    }
    check_everywhere::<u32>(&program, Preset::Toy10, &Options::default(), 1e-6);
}

#[test]
fn inner_products_are_relinearized_and_rescaled_once() {
    let weights: Vec<Vec<f64>> = (0..5).map(|i| vec![0.5, f64::from(i) / 4.0 - 0.5]).collect();
    let scalars = [0.5, 0.0, -0.25, 1.0, 0.75];
    let program = dsl::build("inner", |g| {
        let (x, y) = (g.input_vec("x", 5, 4)?, g.input_vec("y", 5, 4)?);
        let plain = weights.iter().map(|w| g.plain("w", w)).collect::<Result<Vec<_>>>()?;
        g.output("encrypted", x.inner(&y)?, 4)?;
        g.output("plain", x.inner_plain(&plain)?, 4)?;
        g.output("scalars", x.inner_scalars(&scalars)?, 4)?;
        g.output("zeros", x.inner_scalars(&[0.0; 5])?, 4)?;
        g.output("sum", x.sum(), 4)
    })
    .unwrap();
    let m = messages(&program);
    let found = outputs(&program, &m, 4);
    for i in 0..4 {
        let sum = |term: &dyn Fn(usize) -> Complex64| (0..5).map(term).sum::<Complex64>();
        let expected = [
            sum(&|j| m[j][i] * m[5 + j][i]),
            sum(&|j| m[j][i] * weights[j][i % 2]),
            sum(&|j| m[j][i] * scalars[j]),
            Complex64::new(0.0, 0.0),
            sum(&|j| m[j][i]),
        ];
        for (k, expected) in expected.into_iter().enumerate() {
            assert!((found[k][i] - expected).norm() < 1e-14, "output {k}, slot {i}");
        }
    }
    let compiled = compiled(&program);
    assert_eq!(count(&compiled, &["mul"]), 5);
    assert_eq!(count(&compiled, &["relinearize"]), 1);
    // One each for the plaintexts, the last of which is a scalar in all slots; of the scalars, 1 needs none and 0 no product.
    // Scalars in sums are plaintexts of period 1; one of them is 1, where a sum takes what would be dropped before it.
    assert_eq!(count(&compiled, &["mul_plain"]), 4 + 4 + 1);
    assert_eq!(count(&compiled, &["mul_scalar"]), 0);
    assert_eq!(count(&compiled, &["rescale"]), 2);
    assert!(compiled.manifest.inputs.iter().all(|input| input.level == Level(1)));
    check_everywhere::<u32>(&program, Preset::Toy10, &Options::default(), 1e-6);
}

#[test]
fn columns_times_a_plaintext_matrix() {
    let (rows, cols) = (6, 8);
    let matrix: Vec<f64> = (0..rows * cols).map(|i| ((i * 7 + 3) % 11) as f64 / 11.0 - 0.4).collect();
    let program = dsl::build("columns", |g| {
        let x = g.input_vec("x", 3, 8)?;
        let y = linear::matmul(&x, "m", &matrix, rows, cols)?;
        assert_eq!((y.len(), y.get(2)?.period()), (3, 8));
        g.output_vec("y", &y, rows)
    })
    .unwrap();
    let m = messages(&program);
    for (x, y) in m.iter().zip(outputs(&program, &m, rows)) {
        let expected: Vec<Complex64> =
            (0..rows).map(|i| (0..cols).map(|j| x[j] * matrix[i * cols + j]).sum()).collect();
        assert!(worst(&y, &expected) < 1e-13);
    }
    let compiled = compiled(&program);
    assert_eq!(compiled.placed.constants.len(), 8, "one set of diagonals");
    assert_eq!(count(&compiled, &["mul_plain"]), 3 * 8);
    check_everywhere::<u32>(&program, Preset::Toy10, &Options::default(), 1e-6);
}

#[test]
fn sums_of_any_count_of_slots() {
    for count in 0..=16 {
        let program = dsl::build("sum", |g| {
            let x = g.input("x", 32)?;
            g.output("y", x.sum_strided(2, count), 32)?;
            g.output("times", x.times(count as u32), 32)
        })
        .unwrap();
        let m = messages(&program);
        let found = outputs(&program, &m, 32);
        for i in 0..32 {
            let expected: Complex64 = (0..count).map(|j| m[0][(i + 2 * j) % 32]).sum();
            assert!((found[0][i] - expected).norm() < 1e-13, "{count} slots from {i}");
            assert!((found[1][i] - m[0][i] * count as f64).norm() < 1e-13, "{count} times slot {i}");
        }
        let compiled = compiled(&program);
        let bits = count.max(1).ilog2() + count.max(1).count_ones() - 1;
        assert_eq!(helpers::count(&compiled, &["rotate"]), bits as usize, "{count} slots");
        assert_eq!(compiled.manifest.inputs[0].level, Level(0));
    }
}

#[test]
fn encrypted_matrices() {
    let mut lines = String::new();
    for d in [1, 2, 4, 8, 16] {
        let program = product_of_encrypted(d);
        let m: Vec<Vec<Complex64>> = (0..2).map(|i| common::message(d * d, i)).collect();
        let expected: Vec<Complex64> =
            (0..d * d).map(|s| (0..d).map(|k| m[0][s / d * d + k] * m[1][k * d + s % d]).sum()).collect();
        assert!(worst(&outputs(&program, &m, d * d)[0], &expected) < 1e-12, "{d} times {d}");
        let compiled = compiled(&program);
        let level = compiled.manifest.inputs[0].level;
        let (products, rotations) = (count(&compiled, &["mul"]), count(&compiled, &["rotate"]));
        let relinearizations = count(&compiled, &["relinearize"]);
        lines += &format!("{d}: levels {level}, products {products}, relinearizations {relinearizations}, ");
        lines += &format!("rotations {rotations}, keys {}\n", compiled.manifest.galois_elements.len());
    }
    expect![[r#"
        1: levels 1, products 1, relinearizations 1, rotations 0, keys 0
        2: levels 3, products 2, relinearizations 1, rotations 6, keys 3
        4: levels 3, products 4, relinearizations 1, rotations 18, keys 9
        8: levels 3, products 8, relinearizations 1, rotations 33, keys 21
        16: levels 3, products 16, relinearizations 1, rotations 63, keys 45
    "#]]
    .assert_eq(&lines);
    check_everywhere::<u32>(&product_of_encrypted(4), Preset::Toy10, &Options::default(), 1e-5);
    check_everywhere::<u64>(&product_of_encrypted(2), Preset::Toy10w, &Options::default(), 1e-5);
}

#[test]
fn the_rotations_of_a_product_of_encrypted_matrices_share_decompositions() {
    let compiled = compiled(&product_of_encrypted(8));
    // The masks of column shifts repeat in every row, and are kept as one.
    let masks = compiled.placed.constants.iter().filter(|c| c.name.starts_with("phi"));
    assert!(masks.clone().count() > 7 && masks.clone().all(|c| c.values.len() == 8));
    let count = |name: &str| compiled.poly.values.iter().filter(|v| v.op.name() == name).count();
    let rotations = helpers::count(&compiled, &["rotate"]);
    // Each division and level_drop converts twice; what is left are decompositions, of up to three digits.
    let divides = |v: &&Value| match v.op {
        Op::Rotate(..) | Op::Relinearize(_) => v.kind.is_some_and(|kind| !kind.raised),
        Op::ModDown(_) | Op::Rescale(_) | Op::ModDownRescale(_) | Op::LevelDrop(..) => true,
        _ => false,
    };
    let divisions = compiled.placed.values.iter().filter(divides).count();
    let decompositions = count("convert_basis") - 2 * divisions;
    assert!(rotations > 30 && decompositions < rotations, "{decompositions} for {rotations} rotations");
}

#[test]
fn sizes_that_do_not_fit() {
    let errors = [
        mistake(|g| g.input_vec("x", 0, 4).map(|_| ())),
        mistake(|g| g.input_vec("x", 3, 4)?.get(3).map(|_| ())),
        mistake(|g| g.input_vec("x", 2, 4)?.inner(&g.input_vec("y", 3, 4)?).map(|_| ())),
        mistake(|g| g.input_vec("x", 2, 4)?.inner_plain(&[]).map(|_| ())),
        mistake(|g| g.input_vec("x", 2, 4)?.inner_scalars(&[1.0]).map(|_| ())),
        mistake(|g| g.output_vec("z", &(&g.input_vec("x", 2, 4)? + &g.input_vec("y", 3, 4)?), 4)),
        mistake(|g| {
            let columns = g.vector(vec![g.input("x", 4)?, g.input("y", 8)?])?;
            linear::matmul(&columns, "m", &[1.0; 16], 4, 4).map(|_| ())
        }),
        mistake(|g| linear::matmul(&g.input_vec("x", 2, 4)?, "m", &[1.0; 64], 8, 8).map(|_| ())),
        mistake(|g| linear::matvec(g.input("x", 4)?, "m", &[], usize::MAX, 2).map(|_| ())),
        mistake(|g| linear::matmul_encrypted(g.input("x", 16)?, g.input("y", 8)?, 4).map(|_| ())),
        mistake(|g| linear::matmul_encrypted(g.input("x", 16)?, g.input("y", 16)?, 3).map(|_| ())),
    ];
    let texts: Vec<String> = errors
        .iter()
        .map(|error| {
            let text = error.to_string();
            let (before, at) = text.split_once(file!()).unwrap();
            assert!(at.starts_with(':'));
            before.to_owned()
        })
        .collect();
    expect![[r#"
        vector of ciphertexts of 0, expected 1 at 
        element 3 of a vector of 3 ciphertexts at 
        vector of ciphertexts of 3, expected 2 at 
        vector of plaintexts of 0, expected 2 at 
        vector of numbers of 1, expected 2 at 
        vector of ciphertexts of 3, expected 2 at 
        matrix `m`: columns of the periods 4 and 8, expected one period at 
        matrix `m`: 8 times 8, expected at most the period of the vector, 4 at 
        matrix `m`: 0 elements, expected 18446744073709551615 times 2 at 
        matrix `a times b`: periods 16 and 8, expected 4 times 4 at 
        matrix `a times b`: 3 times 3, expected a power of two up to 128 at "#]]
    .assert_eq(&texts.join("\n"));
    let foreign = mistake(|g| {
        let a = g.input("a", 4)?;
        dsl::build("inner", |h| {
            let b = h.input("b", 4)?;
            linear::matmul_encrypted(b, a, 2).map(|_| ())
        })
        .map(|_| ())
    });
    assert!(matches!(foreign, Error::ForeignValue { name, .. } if name == "a"));
}

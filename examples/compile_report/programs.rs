//! The ten programs, each in the DSL and by hand, with what the literature counts for the best known algorithm.

use crate::by_hand::{Ct, Hand};
use anyhow::{Result, anyhow};
use ferrocerium::fhe_core::params::Level;
use ferrocerium::models::digits::plain::Network;
use ferrocerium::models::digits::{CLASSES, HIDDEN1, HIDDEN2, INPUTS, encrypted};
use ferrocerium::scheduler::ckks_ir::Function;
use ferrocerium::scheduler::dsl::{self, Encrypted, Program, functions, linear, polynomial::interpolant};

type Hands = core::result::Result<Ct, String>;

type ByHand = dyn Fn(&mut Hand, Ct) -> Hands;

/// One program.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// In the DSL.
    pub program: Program,
    /// By hand, from a level for its input to a result at some level.
    by_hand: Box<ByHand>,
    /// One period of its input.
    pub input: Vec<f64>,
    /// Slots of its output.
    slots: u32,
    /// Key switches of the best published algorithm.
    pub key_switches_formula: usize,
    /// That formula, and where it is from.
    pub formula: &'static str,
    /// The largest error that is right: of the approximation, if it is one.
    pub tolerance: f64,
}

impl Case {
    /// The function by hand, its input at `top` or as far below as it can be.
    ///
    /// # Errors
    /// It needs more levels than `top`.
    pub fn by_hand(&self, top: Level) -> Result<Function> {
        let write = |level| {
            let mut hand = Hand::new(&format!("{} by hand", self.name));
            let x =
                hand.input("x", self.input.len() as u32, level).map_err(|e| anyhow!("{}: {e}", self.name))?;
            let y = (self.by_hand)(&mut hand, x).map_err(|e| anyhow!("{} by hand: {e}", self.name))?;
            hand.output("y", y, self.slots);
            Ok::<_, anyhow::Error>((hand.finish(), Hand::level(y)))
        };
        let (_, left) = write(top)?;
        Ok(write(Level(top.0 - left.0))?.0)
    }
}

const MATRIX: &str = "2 (sqrt n - 1) rotations: Halevi and Shoup, CRYPTO 2018";
const SERIES: &str = "2^l - 2 + m - l + 2^(m-l) - 1 for degree 2^m - 1: Han and Ki, ePrint 2019/688";

/// All ten.
///
/// # Errors
/// A program that cannot be built.
pub fn all() -> Result<Vec<Case>> {
    Ok(vec![
        digits()?,
        convolution()?,
        matrix("matrix 64", 64)?,
        matrix("matrix 256", 256)?,
        matrix("matrix 1024", 1024)?,
        polynomial("degree 7", 7)?,
        polynomial("degree 31", 31)?,
        polynomial("degree 63", 63)?,
        softmax()?,
        layer_norm()?,
    ])
}

/// The products of a dense polynomial of this degree.
fn products(degree: usize) -> usize {
    let m = (degree + 1).next_power_of_two().ilog2();
    let of = |l: u32| ((1 << l) - 2) + (m - l) as usize + ((1 << (m - l)) - 1);
    (1..=m).map(of).min().unwrap_or(0)
}

fn rotations(n: usize) -> usize {
    let n1 = 1usize << n.ilog2().div_ceil(2);
    n1 - 1 + n / n1 - 1
}

/// Numbers in `[-1, 1]` without a pattern.
fn numbers(n: usize, seed: u32) -> Vec<f64> {
    let number = |i: usize| {
        let x = (i as u32 + 1).wrapping_mul(2_654_435_761).wrapping_add(seed.wrapping_mul(1_013_904_223));
        f64::from((x ^ (x >> 15)).wrapping_mul(2_246_822_519) >> 8) / f64::from(1 << 23) - 1.0
    };
    (0..n).map(number).collect()
}

fn digits() -> Result<Case> {
    let network = Network::embedded()?;
    let weights = network.weights();
    let layer =
        |data: &[f64], bias: &[f64], rows: usize, cols: usize| (data.to_vec(), bias.to_vec(), rows, cols);
    let layers = [
        layer(weights.layer1.weight().data(), weights.layer1.bias(), HIDDEN1, INPUTS),
        layer(weights.layer2.weight().data(), weights.layer2.bias(), HIDDEN2, HIDDEN1),
        layer(weights.layer3.weight().data(), weights.layer3.bias(), CLASSES, HIDDEN2),
    ];
    let by_hand = move |hand: &mut Hand, x: Ct| {
        let (mut y, mut period) = (x, INPUTS);
        for (i, (matrix, bias, rows, cols)) in layers.iter().enumerate() {
            y = hand.matvec(y, period, matrix, *rows, *cols)?;
            period = rows.next_power_of_two();
            let mut bias = bias.clone();
            bias.resize(period, 0.0);
            y = hand.add_plain(y, &bias)?;
            if i < 2 {
                y = hand.mul(y, y)?;
            }
        }
        Ok(y)
    };
    Ok(Case {
        name: "digits MLP",
        program: encrypted::program(&network)?,
        by_hand: Box::new(by_hand),
        input: numbers(INPUTS, 1).iter().map(|x| (x + 1.0) / 2.0).collect(),
        slots: CLASSES as u32,
        // 64 x 64; 32 x 64, folded once; 16 x 32, folded once; two squares.
        key_switches_formula: rotations(64) + rotations(32) + 1 + rotations(16) + 1 + 2,
        formula: "2 (sqrt n - 1) rotations a layer and log2(columns / rows): Halevi and Shoup, CRYPTO 2018; 2 squares",
        tolerance: 1e-5,
    })
}

fn convolution() -> Result<Case> {
    const SIDE: usize = 32;
    let kernel = numbers(9, 2);
    // By offset: how far to rotate, and the weight in each slot, 0 where the neighbour is outside.
    let taps: Vec<(usize, Vec<f64>)> = (0..9)
        .map(|tap| {
            let (dy, dx) = (tap / 3, tap % 3);
            let inside = |i: usize, d: usize| (1..=SIDE).contains(&(i + d));
            let weight = |slot: usize| {
                let (row, column) = (slot / SIDE, slot % SIDE);
                if inside(row, dy) && inside(column, dx) { kernel[tap] } else { 0.0 }
            };
            let n = SIDE * SIDE;
            ((dy * SIDE + dx + n - SIDE - 1) % n, (0..n).map(weight).collect())
        })
        .collect();
    let program = dsl::build("convolution", |g| {
        let x = g.input("x", SIDE * SIDE)?;
        let mut sum: Option<Encrypted<'_>> = None;
        for (k, weights) in &taps {
            let term = x.rotate(*k as i64) * g.plain("kernel", weights)?;
            sum = Some(sum.map_or(term, |sum| sum + term));
        }
        g.output("y", sum.unwrap_or(x), SIDE * SIDE)
    })?;
    let by_hand = move |hand: &mut Hand, x: Ct| {
        let mut sum: Option<Ct> = None;
        for (k, weights) in &taps {
            let rotated = hand.rotate(x, *k)?;
            let term = hand.mul_plain(rotated, weights)?;
            sum = Some(match sum {
                Some(sum) => hand.add(sum, term)?,
                None => term,
            });
        }
        hand.rescale(sum.ok_or("no taps")?)
    };
    Ok(Case {
        name: "convolution 3x3",
        program,
        by_hand: Box::new(by_hand),
        input: numbers(SIDE * SIDE, 3),
        slots: (SIDE * SIDE) as u32,
        key_switches_formula: 8,
        formula: "k^2 - 1 rotations: Juvekar, Vaikuntanathan and Chandrakasan, USENIX Security 2018",
        tolerance: 1e-6,
    })
}

fn matrix(name: &'static str, n: usize) -> Result<Case> {
    let scale = 1.0 / (n as f64).sqrt();
    let matrix: Vec<f64> = numbers(n * n, 4).iter().map(|x| x * scale).collect();
    let program = dsl::build(name, |g| {
        let x = g.input("x", n)?;
        g.output("y", linear::matvec(x, "m", &matrix, n, n)?, n)
    })?;
    let by_hand = move |hand: &mut Hand, x: Ct| hand.matvec(x, n, &matrix, n, n);
    Ok(Case {
        name,
        program,
        by_hand: Box::new(by_hand),
        input: numbers(n, 5),
        slots: n as u32,
        key_switches_formula: rotations(n),
        formula: MATRIX,
        tolerance: 1e-5,
    })
}

fn polynomial(name: &'static str, degree: usize) -> Result<Case> {
    // Dense, and at most 1 on the interval.
    let series: Vec<f64> = numbers(degree + 1, 6).iter().map(|c| c / (degree + 1) as f64).collect();
    let program = dsl::build(name, |g| {
        let x = g.input("x", 1024)?;
        g.output("y", x.chebyshev(&series, -1.0..=1.0)?, 1024)
    })?;
    Ok(Case {
        name,
        program,
        by_hand: Box::new(move |hand, x| hand.chebyshev(x, &series)),
        input: numbers(1024, 7),
        slots: 1024,
        key_switches_formula: products(degree),
        formula: SERIES,
        tolerance: 1e-5,
    })
}

fn softmax() -> Result<Case> {
    const N: usize = 128;
    let interval = -4.0..=4.0;
    let program = {
        let interval = interval.clone();
        dsl::build("softmax", |g| {
            let x = g.input("x", N)?;
            g.output("y", functions::softmax(x, N, interval, 2f64.powi(-10))?, N)
        })?
    };
    // e^x scaled so that the sum is in an interval up to 4, its inverse by a guess and three steps of Goldschmidt.
    let factor = 4.0 / (N as f64 * 4f64.exp());
    let exponential = interpolant(|x| factor * x.exp(), &interval, 15);
    let sums = 4.0 * (-8f64).exp() * 0.95..=4.0 * 1.01;
    let guess = interpolant(|x| 1.0 / x, &sums, 63);
    let by_hand = move |hand: &mut Hand, x: Ct| {
        let e = hand.series(x, &exponential, &interval)?;
        let sum = hand.sum_slots(e, 1, N)?;
        let mut y = hand.series(sum, &guess, &sums)?;
        let product = hand.mul(sum, y)?;
        let minus = hand.neg(product)?;
        let mut error = hand.add_scalar(minus, 1.0)?;
        for step in 0..3 {
            let more = hand.mul(y, error)?;
            y = hand.add(y, more)?;
            if step < 2 {
                error = hand.mul(error, error)?;
            }
        }
        hand.mul(e, y)
    };
    Ok(Case {
        name: "softmax 128",
        program,
        by_hand: Box::new(by_hand),
        input: numbers(N, 8).iter().map(|x| 4.0 * x).collect(),
        slots: N as u32,
        // log2 n rotations; e^x of degree 15, 1/x of degree 63; 1 + 2 + 3 products of the steps, one at the end.
        key_switches_formula: 7 + products(15) + products(63) + 6 + 1,
        formula: "log2 n rotations, products of degrees 15 and 63 (Han and Ki), 3 steps of Goldschmidt (1964)",
        tolerance: 1e-3,
    })
}

fn layer_norm() -> Result<Case> {
    const N: usize = 256;
    let (epsilon, variance) = (1e-5, 0.1..=10.0);
    let gamma: Vec<f64> = numbers(N, 9).iter().map(|x| 1.0 + x / 4.0).collect();
    let beta = numbers(N, 10);
    let program = {
        let variance = variance.clone();
        dsl::build("layer norm", |g| {
            let x = g.input("x", N)?;
            g.output("y", functions::layer_norm(x, &gamma, &beta, epsilon, variance, 2f64.powi(-10))?, N)
        })?
    };
    let root = interpolant(|v| 1.0 / (v + epsilon).sqrt(), &variance, 31);
    let by_hand = move |hand: &mut Hand, x: Ct| {
        let sum = hand.sum_slots(x, 1, N)?;
        let mean = hand.mul_scalar(sum, 1.0 / N as f64)?;
        let mean = hand.rescale(mean)?;
        let centred = hand.sub(x, mean)?;
        let square = hand.mul(centred, centred)?;
        let sum = hand.sum_slots(square, 1, N)?;
        let variances = hand.mul_scalar(sum, 1.0 / N as f64)?;
        let variances = hand.rescale(variances)?;
        let inverse = hand.series(variances, &root, &variance)?;
        let weighted = hand.mul_plain(centred, &gamma)?;
        let weighted = hand.rescale(weighted)?;
        let product = hand.mul(weighted, inverse)?;
        hand.add_plain(product, &beta)
    };
    Ok(Case {
        name: "layer norm 256",
        program,
        by_hand: Box::new(by_hand),
        input: numbers(N, 11).iter().map(|x| 2.0 * x).collect(),
        slots: N as u32,
        // Two sums of log2 n rotations, a square, 1 / sqrt of degree 31, the last product.
        key_switches_formula: 8 + 8 + 1 + products(31) + 1,
        formula: "2 log2 n rotations, a square, products of degree 31 (Han and Ki), a product",
        tolerance: 2e-2,
    })
}

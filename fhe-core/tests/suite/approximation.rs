//! Compositions, series and iterations against `f64` on dense grids, and that no shallower composition would do.

use fhe_core::Error;
use fhe_core::approximation::{
    Approximation, Composite, Iteration, Target, elementary, interpolant, minimax,
};

/// `n + 1` points of an interval, both ends among them.
fn grid(low: f64, high: f64, n: u32) -> impl Iterator<Item = f64> {
    (0..=n).map(move |i| low + (high - low) * f64::from(i) / f64::from(n))
}

/// Near the lower end as dense as near the upper: for functions that are steep there.
fn dense(low: f64, high: f64, n: u32) -> impl Iterator<Item = f64> {
    grid(low, high, n).chain(grid(low.ln(), high.ln(), n).map(move |x| x.exp().clamp(low, high)))
}

fn largest(errors: impl Iterator<Item = f64>) -> f64 {
    errors.map(f64::abs).fold(0.0, f64::max)
}

#[test]
fn the_sign_is_within_its_proved_error_which_is_tight() {
    for (bound, epsilon, error, degrees) in [
        (1.0, 0.5, 0.2, vec![3]),
        (1.0, 2f64.powi(-4), 2f64.powi(-4), vec![7, 7]),
        (1.0, 2f64.powi(-8), 2f64.powi(-8), vec![7, 7, 7, 7]),
        (40.0, 40.0 * 2f64.powi(-10), 2f64.powi(-10), vec![7, 7, 15, 15]),
        (0.25, 2f64.powi(-10), 2f64.powi(-30), vec![7, 7, 15, 15]),
        (1.0, 2f64.powi(-16), 2f64.powi(-16), vec![15, 15, 15, 15, 27]),
        (1.0, 2f64.powi(-20), 2f64.powi(-20), vec![31; 5]),
    ] {
        let sign = Composite::sign(bound, epsilon, error).unwrap();
        assert!(sign.error() <= error && sign.epsilon() == epsilon);
        assert_eq!(sign.degrees(), degrees, "from {epsilon} to {bound}, {error}");
        let depth: u32 =
            degrees.iter().map(|d| (d + 1).ilog2() + u32::from(!(d + 1).is_power_of_two())).sum();
        assert_eq!(sign.depth(), depth);
        let found = largest(dense(epsilon, bound, 200_000).map(|x| sign.value(x) - 1.0));
        assert!(found <= sign.error(), "{found} is more than the proved {}", sign.error());
        assert!(found * 1.001 >= sign.error(), "{found} is proved to be at most {}", sign.error());
        // Odd, and increasing in between.
        assert!(grid(0.0, bound, 1000).all(|x| (sign.value(-x) + sign.value(x)).abs() < 1e-9));
        let between: Vec<f64> = grid(0.0, epsilon, 2000).map(|x| sign.value(x)).collect();
        assert!(between.windows(2).all(|pair| pair[0] < pair[1]), "from {epsilon} to {bound}");
    }
}

/// The naive twin of the search: all sequences of factors of full degree, one level less than what was found.
#[test]
fn no_composition_of_fewer_levels_would_do() {
    fn sequences(depth: u32) -> Vec<Vec<usize>> {
        if depth == 0 {
            return vec![Vec::new()];
        }
        let with = |first: u32| {
            let rest = sequences(depth - first).into_iter();
            rest.map(move |rest| [vec![(1 << first) - 1], rest].concat())
        };
        (2..=depth.min(5)).flat_map(with).collect()
    }
    for log in 3..=8 {
        let size = 2f64.powi(-log);
        let found = Composite::sign(1.0, size, size).unwrap();
        let others = sequences(found.depth() - 1);
        for degrees in others {
            let other = Composite::sign_of_degrees(&degrees, 1.0, size).map_or(1.0, |other| other.error());
            assert!(other > size, "{degrees:?} is shallower than {:?}", found.degrees());
        }
        let equals = sequences(found.depth()).into_iter().filter_map(|degrees| {
            let other = Composite::sign_of_degrees(&degrees, 1.0, size).ok()?;
            (other.error() <= size).then_some(other.products())
        });
        assert!(found.products() <= equals.min().unwrap());
    }
}

#[test]
fn a_relu_is_within_its_error_everywhere() {
    let mut table = Vec::new();
    for (bound, log_error) in [
        (1.0, 4),
        (1.0, 6),
        (1.0, 8),
        (1.0, 10),
        (40.0, 10),
        (1.0, 12),
        (1.0, 13),
        (1.0, 14),
        (1.0, 16),
        (1.0, 20),
    ] {
        let error = bound * 2f64.powi(-log_error);
        let step = Composite::relu(bound, error).unwrap();
        assert!(step.error() <= error);
        let off = |x: f64| x * step.value(x) - x.max(0.0);
        let xs = || dense(bound * 2f64.powi(-30), bound, 200_000).chain(grid(0.0, step.epsilon(), 20_000));
        let found = largest(xs().map(off)).max(largest(xs().map(|x| off(-x))));
        assert!(found <= step.error(), "{found} is more than the proved {}", step.error());
        assert!(found >= 0.99 * step.error(), "{found} is proved to be at most {}", step.error());
        table.push((log_error, step.degrees(), step.depth()));
    }
    // One level more is the product.
    let expected = [
        (4, vec![3], 2),
        (6, vec![3, 7], 5),
        (8, vec![7, 15], 7),
        (10, vec![7, 7, 13], 10),
        (10, vec![7, 7, 13], 10),
        (12, vec![15, 15, 13], 12),
        (13, vec![15, 15, 25], 13),
        (14, vec![15, 31, 27], 14),
        (16, vec![15, 15, 15, 21], 17),
        (20, vec![7, 7, 15, 15, 15, 13], 22),
    ];
    assert_eq!(table, expected);
}

/// Lee et al. (ePrint 2021/1688) take degrees 15, 15 and 27, 14 levels with the product, at a precision of 13 bits.
#[test]
fn the_relu_of_thirteen_bits_is_no_deeper_than_that_of_the_literature() {
    let ours = Composite::relu(1.0, 2f64.powi(-13)).unwrap();
    let theirs = Composite::sign_of_degrees(&[15, 15, 27], 1.0, ours.epsilon()).unwrap();
    assert!(theirs.error() / 2.0 <= 2f64.powi(-13));
    assert_eq!((ours.depth(), theirs.depth()), (13, 13));
    assert!(ours.products() <= theirs.products());
}

/// `f_3` of Cheon, Kim and Kim (ePrint 2019/1234), `sum_(i <= 3) C(2i, i) / 4^i x (1 - x^2)^i`, composed four times: 12 levels.
#[test]
fn factors_for_a_range_are_nearer_than_one_factor_for_all() {
    let f3 = |x: f64| {
        let s = 1.0 - x * x;
        x * (1.0 + s * (0.5 + s * (0.375 + s * 0.3125)))
    };
    for log in 3..=8 {
        let epsilon = 2f64.powi(-log);
        let of_one = 1.0 - (0..4).fold(epsilon, |x, _| f3(x));
        for degrees in [vec![7; 4], vec![15; 3]] {
            let of_range = Composite::sign_of_degrees(&degrees, 1.0, epsilon).unwrap().error();
            assert!(of_range < of_one / 2.0, "{degrees:?}: {of_range}, by f_3: {of_one}");
        }
    }
}

#[test]
fn series_are_within_their_error() {
    type F = fn(f64) -> f64;
    type Make = fn(f64, f64, f64) -> Approximation;
    let cdf: F = |x| {
        // By Simpson's rule from 0.
        let (n, density) = (2000, |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt());
        let h = x / f64::from(n);
        let cell = |i: u32| {
            let t = f64::from(i) * h;
            density(t) + 4.0 * density(t + h / 2.0) + density(t + h)
        };
        0.5 + h / 6.0 * (0..n).map(cell).sum::<f64>()
    };
    let gelu: Make = |a, b, e| Approximation::gelu(a..=b, e).unwrap();
    let silu: Make = |a, b, e| Approximation::silu(a..=b, e).unwrap();
    let sigmoid: Make = |a, b, e| Approximation::sigmoid(a..=b, e).unwrap();
    let tanh: Make = |a, b, e| Approximation::tanh(a..=b, e).unwrap();
    let exp: Make = |a, b, e| Approximation::exp(a..=b, e).unwrap();
    for (name, make, low, high, log_error, degree) in [
        ("gelu", gelu, -4.0, 4.0, 10, 14),
        ("gelu", gelu, -8.0, 8.0, 10, 26),
        ("gelu", gelu, -8.0, 8.0, 20, 40),
        ("silu", silu, -8.0, 8.0, 10, 20),
        ("silu", silu, -20.0, 20.0, 12, 58),
        ("sigmoid", sigmoid, -8.0, 8.0, 10, 15),
        ("sigmoid", sigmoid, -8.0, 8.0, 20, 35),
        ("tanh", tanh, -4.0, 4.0, 10, 19),
        ("tanh", tanh, -1.0, 3.0, 30, 28),
        ("exp", exp, -4.0, 4.0, 12, 12),
        ("exp", exp, -8.0, 0.0, 20, 15),
    ] {
        let error = 2f64.powi(-log_error);
        let found = make(low, high, error);
        assert!(found.error() <= error);
        assert_eq!(found.series().degree(), degree, "{name}, {low} to {high}, 2^-{log_error}");
        let off = |x: f64| {
            let y = found.series().value(x);
            match name {
                "gelu" => y - x * cdf(x),
                "silu" => y - x / (1.0 + (-x).exp()),
                "sigmoid" => y - 1.0 / (1.0 + (-x).exp()),
                "tanh" => y - x.tanh(),
                _ => y / x.exp() - 1.0,
            }
        };
        let worst = largest(grid(low, high, if name == "gelu" { 1500 } else { 30_000 }).map(off));
        assert!(worst <= found.error() + 1e-13, "{name}, {low} to {high}: {worst}, stated {}", found.error());
        assert!(worst >= 0.8 * found.error(), "{name}, {low} to {high}: {worst}, stated {}", found.error());
    }
}

#[test]
fn the_best_polynomial_saves_a_level_where_the_interpolant_just_misses() {
    let of = |x: f64| elementary::exp(2.0 * x);
    let off = |p: &[f64]| {
        let value = |u: f64| p.iter().zip(0..).map(|(c, n)| c * (f64::from(n) * u.acos()).cos()).sum::<f64>();
        largest(grid(-1.0, 1.0, 20_000).map(|u| value(u) - of(u)))
    };
    let (by_points, best) = (interpolant(of, &(-1.0..=1.0), 7), minimax(of, |_| 1.0, &(-1.0..=1.0), 7));
    let (by_points, best) = (off(&by_points), off(&best));
    assert!(best < 0.95 * by_points, "{best} and {by_points}");
    let between = 1.09 * best.midpoint(by_points / 1.09);
    let found = Approximation::of(of, -1.0..=1.0, between).unwrap();
    assert_eq!((found.series().degree(), found.series().depth()), (7, 3));
    let just_less = Approximation::of(of, -1.0..=1.0, 0.99 * best).unwrap();
    assert_eq!(just_less.series().depth(), 4);
}

#[test]
fn iterations_are_within_their_relative_error() {
    for (target, low, high, log_error, degree, steps) in [
        (Target::Inverse, 0.01, 1.0, 20, 72, 0),
        (Target::Inverse, 0.001, 4.0, 10, 31, 4),
        (Target::Inverse, 1.0, 1.5, 8, 2, 0),
        (Target::InverseSquareRoot, 0.01, 1.0, 20, 65, 0),
        (Target::InverseSquareRoot, 0.004, 4.0, 10, 102, 0),
        (Target::InverseSquareRoot, 1e-4, 1.0, 20, 103, 3),
    ] {
        let error = 2f64.powi(-log_error);
        let found = Iteration::new(target, low..=high, error).unwrap();
        assert!(found.error() <= error);
        assert_eq!((found.guess().degree(), found.steps()), (degree, steps), "{target:?}, {low} to {high}");
        let off = |x: f64| match target {
            Target::Inverse => x * found.value(x) - 1.0,
            Target::InverseSquareRoot => x.sqrt() * found.value(x) - 1.0,
        };
        let worst = largest(dense(low, high, 50_000).map(off));
        assert!(worst <= found.error() + 1e-12, "{target:?}: {worst}, stated {}", found.error());
        assert!(worst >= 0.3 * found.error(), "{target:?}: {worst}, stated {}", found.error());
    }
}

/// Coefficients are the same bits on every machine. Another number here is another program for everyone: change it on purpose only.
#[test]
fn coefficients_have_the_same_bits_everywhere() {
    let digest = |series: &[f64]| {
        let step = |h: u64, byte: u8| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        series.iter().flat_map(|c| c.to_bits().to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, step)
    };
    let of = |composite: &Composite| -> u64 {
        let all: Vec<f64> = composite.factors().iter().flat_map(|f| f.coefficients().to_vec()).collect();
        digest(&all)
    };
    let root = Iteration::new(Target::InverseSquareRoot, 0.01..=1.0, 1e-6).unwrap();
    let found = [
        of(&Composite::relu(1.0, 2f64.powi(-13)).unwrap()),
        of(&Composite::sign(3.0, 0.001, 1e-9).unwrap()),
        digest(Approximation::gelu(-8.0..=8.0, 1e-3).unwrap().series().coefficients()),
        digest(Approximation::exp(-4.0..=4.0, 1e-4).unwrap().series().coefficients()),
        digest(Approximation::tanh(-3.0..=5.0, 1e-9).unwrap().series().coefficients()),
        digest(root.guess().coefficients()),
    ];
    let expected = [
        "d0e685a1c59b0213",
        "16580f3dea321d19",
        "70cb04ef49b229cc",
        "b63ac59ab4863cae",
        "95793b449c7f2fd2",
        "7185a8913a856d42",
    ];
    assert_eq!(found.map(|d| format!("{d:016x}")), expected);
}

#[test]
fn what_is_no_interval_and_what_cannot_be_is_refused() {
    let interval = |r: Result<Composite, Error>| matches!(r, Err(Error::Interval { .. }));
    for (bound, epsilon) in
        [(1.0, 0.0), (1.0, 1.0), (1.0, 2.0), (-1.0, -0.5), (f64::INFINITY, 1.0), (1.0, f64::NAN)]
    {
        assert!(interval(Composite::sign(bound, epsilon, 0.1)), "{epsilon} to {bound}");
        assert!(interval(Composite::sign_of_degrees(&[3], bound, epsilon)), "{epsilon} to {bound}");
    }
    for (bound, error) in
        [(1.0, 0.0), (1.0, -0.1), (0.0, 0.1), (-1.0, 0.1), (f64::INFINITY, 0.1), (1.0, f64::NAN)]
    {
        assert!(interval(Composite::relu(bound, error)), "{error} of {bound}");
    }
    assert_eq!(Composite::relu(4.0, 100.0), Composite::relu(4.0, 0.5));
    for degrees in [&[][..], &[2], &[3, 65]] {
        let refused = Composite::sign_of_degrees(degrees, 1.0, 0.1);
        assert!(matches!(refused, Err(Error::InvalidParams(_))), "{degrees:?}");
    }
    assert!(matches!(Composite::sign(1.0, 1e-3, 0.0), Err(Error::NotApproximated { .. })));
    assert!(matches!(Composite::sign(1.0, 1e-17, 0.1), Err(Error::NotApproximated { .. })));
    let empty = Approximation::gelu(1.0..=1.0, 0.1);
    assert!(matches!(empty, Err(Error::Interval { low: 1.0, high: 1.0, .. })));
    let pole = Approximation::of(|x| x.ln(), -1.0..=1.0, 0.1);
    assert!(matches!(pole, Err(Error::FunctionNotFinite { .. })));
    let kink = Approximation::of(f64::abs, -1.0..=1.0, 1e-6);
    assert!(matches!(kink, Err(Error::NotApproximated { degree: 255, .. })));
    let negative = Iteration::new(Target::Inverse, -1.0..=1.0, 0.1);
    assert!(matches!(negative, Err(Error::Interval { .. })));
    let exact = Iteration::new(Target::Inverse, 0.5..=1.0, 0.0);
    assert!(matches!(exact, Err(Error::NotApproximated { .. })));
}

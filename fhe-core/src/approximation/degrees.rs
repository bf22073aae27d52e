//! The degrees of a composition for the sign.
//!
//! Of the range that a factor leaves only its width counts, and the next factor leaves less of a narrower one. So the best
//! compositions of a depth consist of best compositions of less depth and one factor more (dynamic programming, as in section 4 of ePrint
//! 2020/834). A factor of `l` levels is of degree `2^l - 1` at most; compositions are kept that no other of their depth beats in both
//! the error and the number of products. At the first depth that is enough, the one with the fewest products is taken and
//! its degrees are lowered, those of the last factor first, as far as the error allows.

use super::composite::Factor;
use crate::ckks::ChebyshevSeries;

/// The highest degree of a factor: five levels.
pub(super) const MAX_DEGREE: usize = 31;
/// Levels of a factor.
const LEVELS: core::ops::RangeInclusive<usize> = 2..=5;
/// The deepest composition that is tried.
const MAX_DEPTH: usize = 40;
/// Below this errors are roundings: no more depth makes them less.
const LEAST: f64 = 1.0 / (1u64 << 44) as f64;

#[derive(Clone)]
struct Composition {
    degrees: Vec<usize>,
    /// The lower end of the next factor's interval.
    low: f64,
    error: f64,
    products: usize,
}

impl Composition {
    fn then(&self, degree: usize) -> Self {
        let factor = Factor::new(degree, self.low);
        let degrees = self.degrees.iter().copied().chain([degree]).collect();
        let (low, error) = (factor.next_low(), factor.error);
        let series = ChebyshevSeries::new(factor.coefficients, -1.0..=1.0);
        let products = self.products + series.map_or(usize::MAX / 2, |series| series.products());
        Self { degrees, low, error, products }
    }
}

/// The error of factors of these degrees, from `[low, 1]`.
fn error_of(degrees: &[usize], low: f64) -> f64 {
    let step = |(low, _): (f64, f64), &degree: &usize| {
        let factor = Factor::new(degree, low);
        (factor.next_low(), factor.error)
    };
    degrees.iter().fold((low, 1.0), step).1
}

/// Degrees for `[low, 1]` and an error, of the least depth; or the least error that was found.
pub(super) fn cheapest(low: f64, error: f64) -> Result<Vec<usize>, f64> {
    let none = Composition { degrees: Vec::new(), low, error: 1.0, products: 0 };
    let mut of_depth: Vec<Vec<Composition>> = vec![vec![none]];
    let mut least = f64::INFINITY;
    for depth in 1..=MAX_DEPTH {
        let factors = LEVELS.filter(|levels| *levels <= depth);
        let longer = factors.flat_map(|levels| {
            let degree = (1 << levels) - 1;
            of_depth[depth - levels].iter().map(move |shorter| shorter.then(degree))
        });
        let mut all: Vec<Composition> = longer.filter(|c| c.error < 1.0).collect();
        all.sort_by(|a, b| a.products.cmp(&b.products).then(a.error.total_cmp(&b.error)));
        let mut kept: Vec<Composition> = Vec::new();
        for composition in all {
            if kept.last().is_none_or(|last| composition.error < last.error) {
                kept.push(composition);
            }
        }
        if let Some(found) = kept.iter().find(|c| c.error <= error) {
            return Ok(lowered(found.degrees.clone(), low, error));
        }
        let best = kept.iter().map(|c| c.error).fold(f64::INFINITY, f64::min);
        least = least.min(best);
        of_depth.push(kept);
        let recent = of_depth.iter().rev().take(*LEVELS.end());
        if least < LEAST || recent.filter(|kept| !kept.is_empty()).count() == 0 {
            break;
        }
    }
    Err(least)
}

/// The degrees as low as the error and the number of levels allow, the last factor's first.
fn lowered(mut degrees: Vec<usize>, low: f64, error: f64) -> Vec<usize> {
    for i in (0..degrees.len()).rev() {
        // 2^(l - 1) + 1 is the least odd degree of l levels.
        let least = degrees[i].div_ceil(2) + 1;
        while degrees[i] > least {
            degrees[i] -= 2;
            if error_of(&degrees, low) > error {
                degrees[i] += 2;
                break;
            }
        }
    }
    degrees
}

//! Which products make a polynomial: the splitting by giant steps, and which baby steps are made of which.

use std::collections::{BTreeMap, BTreeSet};

use super::{degree, power};
use crate::dsl::Encrypted;
use crate::dsl::values::is_free;

/// What a polynomial is a combination of; `B_0` stands for the number 1 in coefficients.
#[derive(Clone, Copy, Debug)]
pub(in crate::dsl) enum Basis {
    /// `B_n = x^n`.
    Power,
    /// `B_n = D_n(x) = 2 r^n T_n(x / (2 r))`.
    Dickson {
        /// Half of the bound of `|x|`.
        r: f64,
    },
}

impl Basis {
    /// `B_(m+n) = B_m B_n - factor B_(m-n)` for `m >= n`; the factor, with `B_0` as it is meant in coefficients.
    fn correction(self, m: usize, n: usize) -> f64 {
        match self {
            Self::Power => 0.0,
            Self::Dickson { r } => power(r, 2 * n) * if m == n { 2.0 } else { 1.0 },
        }
    }

    /// No value of `B_n` is above it.
    fn bound(self, n: usize) -> Option<f64> {
        match self {
            Self::Power => None,
            Self::Dickson { r } => Some(2.0 * power(r, n)),
        }
    }

    /// `p = q B_g + r` with `deg r < g`, for `deg p < 2 g`.
    fn divide(self, p: &[f64], g: usize) -> (Vec<f64>, Vec<f64>) {
        let (low, high) = p.split_at(g);
        let (mut remainder, quotient) = (low.to_vec(), high.to_vec());
        for (n, &c) in quotient.iter().enumerate().skip(1) {
            remainder[g - n] -= c * self.correction(g, n);
        }
        // c B_g is c times one, where all others are a product of two members of the basis.
        (quotient, remainder)
    }
}

/// `constant + sum scaled c_i B_i + sum products q_j B_(g_j)`.
#[derive(Clone, Debug, PartialEq)]
struct Sum {
    constant: f64,
    scaled: Vec<(usize, f64)>,
    products: Vec<(Sum, usize)>,
}

/// Levels from `B_1` to `B_n`.
pub(in crate::dsl) fn depth(n: usize) -> u32 {
    n.next_power_of_two().ilog2()
}

impl Sum {
    /// How to evaluate a polynomial so that it is rescaled `levels` below `B_1`, with the baby steps below `k`. There must be
    /// `depth(deg p + 1)` levels.
    fn plan(basis: Basis, p: &[f64], levels: u32, k: usize) -> Self {
        let p = &p[..(degree(p) + 1).min(p.len())];
        let present = |&(n, c): &(usize, f64)| n > 0 && c != 0.0;
        let scaled: Vec<(usize, f64)> = p.iter().copied().enumerate().filter(present).collect();
        let at_hand = |&(n, _): &(usize, f64)| (n < k || n.is_power_of_two()) && depth(n) < levels;
        if scaled.iter().all(at_hand) {
            return Self { constant: p.first().copied().unwrap_or(0.0), scaled, products: Vec::new() };
        }
        let g = (p.len() - 1).max(1);
        let g = 1 << g.ilog2();
        let (quotient, remainder) = basis.divide(p, g);
        let mut sum = Self::plan(basis, &remainder, levels, k);
        if degree(&quotient) == 0 {
            sum.scaled.push((g, quotient[0]));
        } else {
            sum.products.push((Self::plan(basis, &quotient, levels - 1, k), g));
        }
        sum
    }

    fn indices(&self, into: &mut BTreeSet<usize>) {
        into.extend(self.scaled.iter().map(|&(n, _)| n));
        for (quotient, g) in &self.products {
            into.insert(*g);
            quotient.indices(into);
        }
    }

    /// Products of ciphertexts, and sums with such a product: each is relinearized once.
    fn count(&self) -> (usize, usize) {
        let own = (self.products.len(), usize::from(!self.products.is_empty()));
        let quotients = self.products.iter().map(|(quotient, _)| quotient.count());
        quotients.fold(own, |a, b| (a.0 + b.0, a.1 + b.1))
    }

    fn emit<'g>(&self, members: &BTreeMap<usize, Encrypted<'g>>) -> Result<Encrypted<'g>, f64> {
        let product = |(quotient, g): &(Self, usize)| match quotient.emit(members) {
            Ok(quotient) => quotient * members[g],
            Err(constant) => members[g] * constant,
        };
        let terms: Vec<Encrypted<'g>> = self.products.iter().map(product).collect();
        let scaled = |free: bool| {
            let wanted = self.scaled.iter().filter(move |(_, c)| is_free(*c) == free);
            wanted.map(|&(n, c)| members[&n] * c)
        };
        // Products that owe a rescale stand together, so that they are rescaled as one.
        let terms = terms.into_iter().chain(scaled(false)).chain(scaled(true));
        let sum = terms.reduce(|sum, term| sum + term).ok_or(self.constant)?;
        Ok(if self.constant == 0.0 { sum } else { sum + self.constant })
    }
}

/// A plan with the members of the basis that it needs: each is the product of two others.
struct Schedule {
    sum: Sum,
    made_of: BTreeMap<usize, (usize, usize)>,
}

impl Schedule {
    fn new(basis: Basis, p: &[f64], k: usize) -> Self {
        let sum = Sum::plan(basis, p, depth(degree(p) + 1), k);
        let mut needed = BTreeSet::new();
        sum.indices(&mut needed);
        let mut made_of = BTreeMap::new();
        let mut at = needed.last().copied();
        while let Some(n) = at {
            if n > 1 {
                let (a, b) = halves(basis, n, &needed);
                made_of.insert(n, (a, b));
                needed.extend(parts(basis, a, b));
            }
            at = needed.range(..n).next_back().copied();
        }
        Self { sum, made_of }
    }

    /// Products and relinearizations.
    fn cost(&self) -> (usize, usize) {
        let (products, relinearizations) = self.sum.count();
        (products + self.made_of.len(), relinearizations + self.made_of.len())
    }
}

/// The two factors of `B_n` that are not too deep and, with what the recurrence subtracts, add least to what is needed; of
/// equals, the largest first factor.
fn halves(basis: Basis, n: usize, needed: &BTreeSet<usize>) -> (usize, usize) {
    let deepest = n.next_power_of_two() / 2;
    let missing = |a: &usize| parts(basis, *a, n - a).iter().filter(|part| !needed.contains(part)).count();
    let first = (n.div_ceil(2)..=deepest).rev().min_by_key(missing).unwrap_or(deepest);
    (first, n - first)
}

/// The members that `B_(a+b)` is made of.
fn parts(basis: Basis, a: usize, b: usize) -> BTreeSet<usize> {
    let difference = matches!(basis, Basis::Dickson { .. }).then_some(a - b).filter(|&d| d > 0);
    [a, b].into_iter().chain(difference).collect()
}

/// `p(x)` by the cheapest schedule.
pub(super) fn evaluate<'g>(x: Encrypted<'g>, basis: Basis, p: &[f64]) -> Encrypted<'g> {
    evaluate_with(x, BTreeMap::new(), basis, p)
}

/// The same with members of the basis that are made already, by their number.
pub(in crate::dsl) fn evaluate_with<'g>(
    x: Encrypted<'g>,
    mut members: BTreeMap<usize, Encrypted<'g>>,
    basis: Basis,
    p: &[f64],
) -> Encrypted<'g> {
    let splits = (1..=depth(degree(p) + 1).max(1)).map(|log_k| Schedule::new(basis, p, 1 << log_k));
    let Some(schedule) = splits.min_by_key(Schedule::cost) else { return x };
    members.insert(1, x);
    for (&n, &(a, b)) in &schedule.made_of {
        if members.contains_key(&n) {
            continue;
        }
        let product = members[&a] * members[&b];
        let factor = basis.correction(a, b);
        let made = match members.get(&(a - b)) {
            _ if factor == 0.0 => product,
            // At a factor of 1 this is a difference, else of two products.
            Some(&other) => product - other * factor,
            None => product - factor,
        };
        members.insert(n, basis.bound(n).map_or(made, |largest| made.at_most(largest)));
    }
    // A constant is encrypted by what is zero.
    schedule.sum.emit(&members).unwrap_or_else(|constant| x.zero() + constant)
}

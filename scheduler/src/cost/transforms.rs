//! What a linear transform costs in baby steps and giant steps, and the cheapest split.
//!
//! ```text
//! sum_d diag_d * rotate(x, d) = sum_g rotate( sum_b rotate(diag_(g + b), -g) * rotate(x, b), g)      g = d - d mod n1, b = d mod n1
//!
//! cost(n1) = at the level of x     mod_up, if there is a b > 0            one decomposition for all baby steps
//!                                  b > 0    key_inner + end of a baby step
//!                                  d        the rows of its operand, and of its plaintext if that is dense (docs/adr/0015)
//!                                  g        end of an inner sum
//!            one level lower       g > 0    mod_up + key_inner + end of a giant step
//!
//!                           divided at once         raised (docs/adr/0010)
//! end of a baby step        mod_down                the inner product's stores scatter
//! rows of a product         of the level            of the special primes too
//! end of an inner sum       rescale                 mod_down_rescale; rescale where b = 0 alone
//!
//! end of a giant step       mod_down                scattered stores; one mod_down for all
//! ```
//!
//! (Halevi and Shoup, "Faster homomorphic linear transformations in HElib", CRYPTO 2018, for the steps; Bossuat et al., ePrint
//! 2020/1203, section 4, for the divisions.) Of both columns the cheaper counts, for the baby steps and for the giant steps: that is what
//! [`crate::passes::raise`] will find. Raised baby steps pay where few giant steps share each. Transforms of one vector at one level
//! share their baby steps.

use std::collections::BTreeSet;

use fhe_core::params::{Level, Params};

use super::LevelCosts;
use crate::ckks_ir::verify::divides_at_once;
use crate::error::Result;
use crate::poly_ir::log_repeat;

/// What the parts of transforms of vectors at a level cost.
#[derive(Clone, Debug)]
pub struct TransformCosts {
    mod_up: u64,
    /// With baby steps that are divided at once, and with raised ones.
    inner: [InnerCosts; 2],
    /// Giant steps that are divided at once, and raised ones: each, and all together.
    giant: [u64; 2],
    outer: [u64; 2],
}

#[derive(Clone, Copy, Debug)]
struct InnerCosts {
    baby: u64,
    product: u64,
    end: u64,
}

/// Of a transform with its split: what it has for itself, with baby steps divided at once and with raised ones.
type Own = [u64; 2];

impl TransformCosts {
    /// Those of vectors at a level above 0, whose diagonals have at most some period.
    ///
    /// # Errors
    /// [`crate::Error::Core`]: no such level.
    pub fn new(params: &Params, level: Level, period: usize) -> Result<Self> {
        let here = LevelCosts::new(params, level)?;
        let below = LevelCosts::new(params, Level(level.0.saturating_sub(1)))?;
        let both = match divides_at_once(params, level) {
            true => here.mod_down_rescale(),
            false => here.mod_down() + here.rescale(),
        };
        let inner = |end_of_baby: u64, raised, end| InnerCosts {
            baby: here.key_inner() + end_of_baby,
            product: here.rows(2 + u64::from(log_repeat(params, period) == 0), raised),
            end,
        };
        let switch = below.mod_up() + below.key_inner();
        Ok(Self {
            mod_up: here.mod_up(),
            inner: [inner(here.mod_down(), false, here.rescale()), inner(here.scattered(), true, both)],
            giant: [switch + below.mod_down(), switch + below.scattered()],
            outer: [0, below.mod_down()],
        })
    }

    /// Transforms of one vector, by their rotations, ascending, each with its split.
    pub fn cost(&self, transforms: &[Vec<u32>], splits: &[u32]) -> u64 {
        let steps = || transforms.iter().zip(splits);
        let babies: BTreeSet<u32> = steps().flat_map(|(rotations, &n1)| babies(rotations, n1)).collect();
        self.total(babies.len(), steps().map(|(rotations, &n1)| self.own(rotations, n1)))
    }

    /// The cheapest splits of transforms of one vector. One transform: the least cost over all `n1`, the smallest of equals. Several: the best
    /// that they have in common, then each in turn as long as the sum falls.
    ///
    /// # Cost
    /// `n1` up to the last rotation, each in time linear in the diagonals.
    pub fn choose(&self, transforms: &[Vec<u32>]) -> Vec<u32> {
        let end = |rotations: &[u32]| rotations.last().map_or(1, |&last| last + 1);
        let furthest = transforms.iter().map(|rotations| end(rotations)).max().unwrap_or(1);
        let common = |n1: u32| {
            let mut seen = vec![false; n1 as usize];
            let all = transforms.iter().flat_map(|rotations| babies(rotations, n1));
            let n_babies = all.filter(|&b| !core::mem::replace(&mut seen[b as usize], true)).count();
            self.total(n_babies, transforms.iter().map(|rotations| self.own(rotations, n1)))
        };
        let best = (1..=furthest).min_by_key(|&n1| (common(n1), n1)).unwrap_or(1);
        let mut splits = vec![best; transforms.len()];
        let mut moved = transforms.len() > 1;
        while moved {
            moved = false;
            for (i, rotations) in transforms.iter().enumerate() {
                let others = || transforms.iter().zip(&splits).enumerate().filter(|&(j, _)| j != i);
                let mut present = vec![false; furthest as usize];
                for (_, (rotations, &n1)) in others() {
                    babies(rotations, n1).for_each(|b| present[b as usize] = true);
                }
                let n_present = present.iter().filter(|&&present| present).count();
                let others = sum(others().map(|(_, (rotations, &n1))| self.own(rotations, n1)));
                let with = |n1: u32| {
                    let added: BTreeSet<u32> =
                        babies(rotations, n1).filter(|&b| !present[b as usize]).collect();
                    self.total(n_present + added.len(), [others, self.own(rotations, n1)].into_iter())
                };
                let best = (1..=end(rotations)).min_by_key(|&n1| (with(n1), n1)).unwrap_or(1);
                if with(best) < with(splits[i]) {
                    splits[i] = best;
                    moved = true;
                }
            }
        }
        splits
    }

    /// Transforms that share so many baby steps.
    fn total(&self, n_babies: usize, own: impl Iterator<Item = Own>) -> u64 {
        let mod_up = if n_babies == 0 { 0 } else { self.mod_up };
        let inner = self.inner.iter().zip(sum(own)).map(|(inner, own)| n_babies as u64 * inner.baby + own);
        mod_up + inner.min().unwrap_or(0)
    }

    /// Products, ends of inner sums, giant steps.
    fn own(&self, rotations: &[u32], n1: u32) -> Own {
        let (mut own, mut n_giants) = ([0, 0], 0);
        for inner in rotations.chunk_by(|a, b| a / n1 == b / n1) {
            let rotated = babies(inner, n1).next().is_some();
            for (own, costs) in own.iter_mut().zip(self.inner) {
                let costs = if rotated { costs } else { self.inner[0] };
                *own += inner.len() as u64 * costs.product + costs.end;
            }
            n_giants += u64::from(inner.first().is_some_and(|&d| d >= n1));
        }
        let giants = self.giant.iter().zip(self.outer).map(|(giant, outer)| n_giants * giant + outer);
        let giants = if n_giants == 0 { 0 } else { giants.min().unwrap_or(0) };
        own.map(|own| own + giants)
    }
}

fn sum(own: impl Iterator<Item = Own>) -> Own {
    own.fold([0, 0], |sum, own| [sum[0] + own[0], sum[1] + own[1]])
}

/// The baby steps of rotations, without 0; some more than once.
fn babies(rotations: &[u32], n1: u32) -> impl Iterator<Item = u32> {
    rotations.iter().map(move |d| d % n1).filter(|&b| b > 0)
}

//! Linear transforms in baby steps and giant steps: rotations, products and sums in place of `linear_transform`.
//!
//! ```text
//! sum_d diag_d * rotate(x, d) = sum_g rotate( sum_b rotate(diag_(g + b), -g) * rotate(x, b), g)
//! ```
//!
//! Each transform has its own split, the cheapest by the committed costs ([`crate::cost::transforms`]) at the level where it will
//! run. That level is known: a transform takes one level however it is split. So which keys a client makes follows from the program
//! and the parameters. Transforms of one vector at one level are split together, for they share rotations of it.

use std::collections::BTreeMap;

use fhe_core::params::{Level, Params};

use super::place;
use crate::ckks_ir::{ConstId, Function, Op, TransformIdx, ValueId};
use crate::cost::TransformCosts;
use crate::error::Result;

/// Expands every transform of a function without kinds.
///
/// # Errors
/// Those of [`place::place`].
pub fn expand_transforms(function: &Function, params: &Params) -> Result<Function> {
    if function.transforms.is_empty() {
        return Ok(function.clone());
    }
    let splits = splits(function, params)?;
    let out = Function { values: Vec::new(), transforms: Vec::new(), ..function.clone() };
    let mut expansion = Expansion { function, out, babies: BTreeMap::new(), turned: BTreeMap::new() };
    let mut new: Vec<ValueId> = Vec::with_capacity(function.values.len());
    for id in function.ids() {
        let value = function.value(id);
        let op = value.op.map(|a| new[a.0 as usize]);
        new.push(match (op, splits.get(&id)) {
            (Op::LinearTransform(x, t), Some(&n1)) => expansion.transform(id, x, t, n1),
            (op, _) => expansion.out.push_like(value, op, value.kind),
        });
    }
    let mut out = expansion.out;
    out.rename_ends(|id| new[id.0 as usize]);
    Ok(out)
}

/// The split of each `linear_transform`.
fn splits(function: &Function, params: &Params) -> Result<BTreeMap<ValueId, u32>> {
    let levels = place::levels_of(function, params)?;
    let mut groups: BTreeMap<(ValueId, Level), Vec<ValueId>> = BTreeMap::new();
    for id in function.ids() {
        if let Op::LinearTransform(x, _) = function.value(id).op {
            groups.entry((x, Level(levels[id.0 as usize].0 + 1))).or_default().push(id);
        }
    }
    let mut splits = BTreeMap::new();
    for ((_, level), ids) in groups {
        let rotations: Vec<Vec<u32>> = ids
            .iter()
            .filter_map(|&id| match function.value(id).op {
                Op::LinearTransform(_, t) => Some(function.transforms[t.0 as usize].rotations()),
                _ => None,
            })
            .collect();
        let periods = ids.iter().filter_map(|&id| match function.value(id).op {
            Op::LinearTransform(_, t) => {
                function.transforms[t.0 as usize].period(&function.constants, function.variants)
            }
            _ => None,
        });
        let costs = TransformCosts::new(params, level, periods.max().unwrap_or(1))?;
        splits.extend(ids.iter().copied().zip(costs.choose(&rotations)));
    }
    Ok(splits)
}

struct Expansion<'a> {
    function: &'a Function,
    out: Function,
    /// Rotations of new values, shared by transforms.
    babies: BTreeMap<(ValueId, u32), ValueId>,
    /// Constants that were turned by a giant step.
    turned: BTreeMap<(ConstId, usize), ConstId>,
}

impl Expansion<'_> {
    /// `id = linear_transform x, t`, of which `x` is new.
    fn transform(&mut self, id: ValueId, x: ValueId, t: TransformIdx, n1: u32) -> ValueId {
        let diagonals = &self.function.transforms[t.0 as usize].diagonals;
        let mut outer: Option<ValueId> = None;
        for inner in diagonals.chunk_by(|(a, _), (b, _)| a / n1 == b / n1) {
            let giant = inner.first().map_or(0, |(d, _)| d / n1 * n1);
            let mut sum: Option<ValueId> = None;
            for &(d, diagonal) in inner {
                let (step, weights) = (self.baby(id, x, d - giant), self.turn(diagonal, giant));
                let term = self.push(id, Op::MulPlain(step, weights));
                sum = Some(sum.map_or(term, |sum| self.push(id, Op::Add(sum, term))));
            }
            let turned = sum.map(|sum| if giant == 0 { sum } else { self.push(id, Op::Rotate(sum, giant)) });
            outer = match (outer, turned) {
                (Some(outer), Some(turned)) => Some(self.push(id, Op::Add(outer, turned))),
                (outer, turned) => outer.or(turned),
            };
        }
        // The verifier refuses a transform without diagonals.
        let result = outer.unwrap_or(x);
        let (made, value) = (&mut self.out.values[result.0 as usize], self.function.value(id));
        made.name.clone_from(&value.name);
        made.bound = value.bound;
        result
    }

    fn push(&mut self, of: ValueId, op: Op) -> ValueId {
        let at = self.function.value(of).at.clone();
        let id = self.out.push(op, None, None);
        self.out.values[id.0 as usize].at = at;
        id
    }

    fn baby(&mut self, of: ValueId, x: ValueId, k: u32) -> ValueId {
        if k == 0 {
            return x;
        }
        if let Some(&id) = self.babies.get(&(x, k)) {
            return id;
        }
        let id = self.push(of, Op::Rotate(x, k));
        self.babies.insert((x, k), id);
        id
    }

    /// The constant rotated right in every variant, of the same period.
    fn turn(&mut self, id: ConstId, giant: u32) -> ConstId {
        let constant = &self.function.constants[id.0 as usize];
        let period = constant.period(self.function.variants);
        let by = giant as usize % period.max(1);
        if by == 0 {
            return id;
        }
        let constants = &mut self.out.constants;
        *self.turned.entry((id, by)).or_insert_with(|| {
            let mut turned = constant.clone();
            turned.values.chunks_mut(period).for_each(|vector| vector.rotate_right(by));
            constants.push(turned);
            ConstId(constants.len() as u32 - 1)
        })
    }
}

//! A launch's values as items: addresses and constants.

use std::collections::BTreeMap;

use fhe_core::params::{GaloisElement, LimbIdx};
use kernels_gpu::abi::{
    AutomorphismItem, ConvertSource, ConvertTarget, EmbedInverseItem, ItemKind, MAX_BEGUN_TERMS, RoundTarget,
    RowItem, RowRef, Term, fraction_bits,
};

use super::{Batch, Lowering};
use crate::lower::constants::{inverse_mod, product_mod, scaled};
use crate::plan::{DeviceIdx, Item};
use crate::poly_ir::{Domain, Op, PolyId};

/// Limbs of an item that rounds: each reads the coefficients again, so few items; but one alone would leave a device idle.
const ROUND_LIMBS: usize = 8;

impl Lowering<'_> {
    /// The items of a launch on a device. Two inner products whose first factors and automorphisms are the same become one item of two
    /// sums a limb: both halves of a key switch read a digit once.
    ///
    /// Items go by limb: what those of one limb share, digits, rotations of a matrix's giant steps, tables of transforms, is read while it is
    /// in a cache.
    pub(super) fn items_of(&self, batch: &Batch, device: DeviceIdx) -> Vec<Item> {
        let mut items = self.items_by_value(batch, device);
        items.sort_by_key(|item| match item {
            Item::Row(RowItem { prime, .. }) | Item::InnerProduct { prime, .. } => *prime,
            _ => 0,
        });
        items
    }

    fn items_by_value(&self, batch: &Batch, device: DeviceIdx) -> Vec<Item> {
        let mut items = Vec::new();
        if batch.kernel.item() != ItemKind::InnerProduct {
            for &id in &batch.values {
                match batch.ends_in_place() {
                    true => self.ends_of_value(id, device, &mut items),
                    false => self.items_of_value(id, device, &mut items),
                }
            }
            return items;
        }
        // What a sum must have in common with another one, and the number of the one that waits for it.
        let mut waiting: BTreeMap<(Vec<PolyId>, GaloisElement, Vec<usize>), usize> = BTreeMap::new();
        let mut sums: Vec<(PolyId, Option<PolyId>)> = Vec::new();
        for &id in &batch.values {
            let Op::InnerProduct { terms, galois, .. } = &self.function.value(id).op else { continue };
            let shared = (terms.iter().map(|t| t.0).collect(), *galois, self.needed_positions(id));
            match waiting.remove(&shared) {
                Some(first) => sums[first].1 = Some(id),
                None => {
                    waiting.insert(shared, sums.len());
                    sums.push((id, None));
                }
            }
        }
        for (first, second) in sums {
            let positions = self.needed_on(first, device).into_iter();
            items.extend(positions.map(|p| self.inner_product(first, second, p)));
        }
        items
    }

    /// The sum of one or two inner products at a position.
    fn inner_product(&self, first: PolyId, second: Option<PolyId>, position: usize) -> Item {
        let at = |a: PolyId| self.address(self.of[a.0 as usize][position]);
        let none = (RowRef::NONE, (RowRef::NONE, 1), Vec::new(), GaloisElement(1));
        let sum = |id: PolyId| match &self.function.value(id).op {
            Op::InnerProduct { terms, init, times, galois } => {
                let init = (init.map_or(RowRef::NONE, at), times.get(position).copied().unwrap_or(1));
                (at(id), init, terms.clone(), *galois)
            }
            _ => none.clone(),
        };
        let (one, two) = (sum(first), second.map_or_else(|| none.clone(), sum));
        let second_factor = |t: usize| two.2.get(t).map_or(RowRef::NONE, |&(_, b)| at(b));
        let terms = one.2.iter().enumerate();
        let is_begun = |&(a, _): &(PolyId, PolyId)| self.is_begun(self.of[a.0 as usize][position]);
        let begun = one.2.iter().take(MAX_BEGUN_TERMS).enumerate();
        let term = |t: usize, a: PolyId, b: PolyId| {
            let log_repeat = match self.function.value(a).domain {
                Domain::Repeated(log_repeat) => log_repeat,
                _ => 0,
            };
            let part = self.rows[self.of[a.0 as usize][position]].part;
            Term { part, log_repeat, ..Term::new(at(a), [at(b), second_factor(t)]) }
        };
        Item::InnerProduct {
            dst: [one.0, two.0],
            init: [one.1.0, two.1.0],
            times: [one.1.1, two.1.1],
            galois: one.3.0,
            prime: self.function.value(first).basis[position].0,
            begun: begun.map(|(t, term)| u32::from(is_begun(term)) << t).sum(),
            terms: terms.map(|(t, &(a, b))| term(t, a, b)).collect(),
        }
    }

    /// The items of a value on a device, in order of its limbs.
    fn items_of_value(&self, id: PolyId, device: DeviceIdx, items: &mut Vec<Item>) {
        let value = self.function.value(id);
        let names = &self.of[id.0 as usize];
        let positions = self.needed_on(id, device);
        if positions.is_empty() {
            return;
        }
        match value.op {
            Op::ConvertBasis { a, .. } => return items.push(self.conversion(id, a, device, &positions)),
            Op::EmbedInverse(_) => return items.push(self.embedding(id)),
            Op::RoundResidues(a) => return self.roundings(id, a, device, &positions, items),
            _ => {}
        }
        for position in positions {
            let at = |a: PolyId| self.address(self.of[a.0 as usize][position]);
            let (dst, prime) = (self.address(names[position]), value.basis[position].0);
            let row = |a: PolyId| RowItem::new(dst, at(a), prime);
            items.push(match &value.op {
                Op::Ntt(a) | Op::Intt(a) | Op::Neg(a) => Item::Row(row(*a)),
                Op::Add(a, b) | Op::Sub(a, b) => Item::Row(RowItem { b: at(*b), ..row(*a) }),
                Op::MulScalar(a, s) | Op::AddScalar(a, s) => {
                    Item::Row(RowItem { scalar: s[position], ..row(*a) })
                }
                Op::SubMulScalar { a, b, scalars, add, galois } => {
                    let (scalar, galois) = (scalars[position], galois.0);
                    let c = add.map_or(RowRef::NONE, at);
                    Item::Row(RowItem { b: at(*b), c, scalar, galois, ..row(*a) })
                }
                Op::Automorphism(a, g) => {
                    Item::Automorphism(AutomorphismItem { dst, a: at(*a), galois: g.0, prime })
                }
                _ => continue,
            });
        }
    }

    /// The transforms of a conversion's results, each where it is.
    fn ends_of_value(&self, id: PolyId, device: DeviceIdx, items: &mut Vec<Item>) {
        let value = self.function.value(id);
        for position in self.needed_on(id, device) {
            let row = self.address(self.of[id.0 as usize][position]);
            items.push(Item::Row(RowItem::new(row, row, value.basis[position].0)));
        }
    }

    fn embedding(&self, id: PolyId) -> Item {
        let at = |row: &usize| self.address(*row);
        let operands: Vec<RowRef> = self.operands(id, 0).iter().map(at).collect();
        let pair = |rows: &[RowRef]| [0, 1].map(|i| rows.get(i).copied().unwrap_or(RowRef::NONE));
        let dst: Vec<RowRef> = self.of[id.0 as usize].iter().map(at).collect();
        let (src, factors) = operands.split_at(operands.len().min(2));
        Item::EmbedInverse(EmbedInverseItem { dst: pair(&dst), src: pair(src), factors: pair(factors) })
    }

    fn roundings(
        &self,
        id: PolyId,
        a: PolyId,
        device: DeviceIdx,
        positions: &[usize],
        items: &mut Vec<Item>,
    ) {
        let src = [0, 1].map(|part| self.address_on(self.of[a.0 as usize][part], device));
        let scale = self.function.slots_of(a).map_or(1.0, |slots| slots.log_scale.exp2()).to_bits();
        let target = |&position: &usize| RoundTarget {
            row: self.address(self.of[id.0 as usize][position]),
            prime: self.function.value(id).basis[position].0,
            pad: 0,
        };
        for positions in positions.chunks(ROUND_LIMBS) {
            items.push(Item::RoundResidues { src, scale, targets: positions.iter().map(target).collect() });
        }
    }

    fn conversion(&self, id: PolyId, a: PolyId, device: DeviceIdx, positions: &[usize]) -> Item {
        let from = &self.function.value(a).basis;
        let value = self.function.value(id);
        let word = self.params.word().bits();
        let shift = fraction_bits(word) + word;
        let none: &[u64] = &[];
        let (before, after) = match &value.op {
            Op::ConvertBasis { before, after, .. } => (&before[..], &after[..]),
            _ => (none, none),
        };
        let others = |i: LimbIdx| from.iter().copied().filter(|&l| l != i).collect::<Vec<_>>();
        let source = |(position, &limb): (usize, &LimbIdx)| ConvertSource {
            row: self.address_on(self.of[a.0 as usize][position], device),
            inv: scaled(self.params, inverse_mod(self.params, &others(limb), limb), before, position, limb),
            frac: ((1u128 << shift) / u128::from(self.params.prime(limb))) as u64,
            prime: limb.0,
            pad: 0,
        };
        // Modulo the prime of a target, times what the result is to be multiplied by.
        let product = |factors: &[LimbIdx], position: usize| {
            let to = value.basis[position];
            scaled(self.params, product_mod(self.params, factors, to), after, position, to)
        };
        let target = |&position: &usize| ConvertTarget {
            row: self.address(self.of[id.0 as usize][position]),
            big: product(from, position),
            prime: value.basis[position].0,
            pad: 0,
        };
        let entries = |&position: &usize| from.iter().map(move |&i| (i, position)).collect::<Vec<_>>();
        Item::ConvertBasis {
            sources: from.iter().enumerate().map(source).collect(),
            targets: positions.iter().map(target).collect(),
            matrix: positions
                .iter()
                .flat_map(entries)
                .map(|(i, position)| product(&others(i), position))
                .collect(),
        }
    }
}

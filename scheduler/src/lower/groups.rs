//! Independent parts of a function, shared out to groups of devices (docs/adr/0016).
//!
//! ```text
//! part    computed values that reach one another through computed values, and both polynomials of an output
//! group   parts, the largest first, each to the group that has least to do
//! ```
//!
//! Inputs, keys and constants, and slices and concatenations of these alone, belong to no part: each group that reads one has its own.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::ckks_ir::OutputIdx;
use crate::poly_ir::{Function, Op, PolyId};

/// A function whose values are each of one group.
#[derive(Debug)]
pub(crate) struct Divided<'a> {
    pub(crate) function: Cow<'a, Function>,
    /// By value.
    pub(crate) group: Vec<u32>,
    /// By value, which one it is in the function that was divided.
    pub(crate) original: Vec<PolyId>,
}

impl<'a> Divided<'a> {
    /// A function that is of one group.
    pub(crate) fn whole(function: &'a Function) -> Self {
        let (group, original) = (vec![0; function.values.len()], function.ids().collect());
        Self { function: Cow::Borrowed(function), group, original }
    }
}

/// By value, whether it belongs to no part.
fn shared(function: &Function) -> Vec<bool> {
    let mut shared: Vec<bool> = Vec::with_capacity(function.values.len());
    for value in &function.values {
        shared.push(match &value.op {
            Op::Input { .. } | Op::Key { .. } | Op::Constant(_) => true,
            op @ (Op::Slice(_) | Op::Concat(_)) => op.operands().all(|a| shared[a.0 as usize]),
            _ => false,
        });
    }
    shared
}

/// The parts of a function: values of each, ascending.
fn parts(function: &Function, shared: &[bool]) -> Vec<Vec<PolyId>> {
    // A forest: each value points to an earlier one of its part, or to itself.
    let mut up: Vec<usize> = (0..function.values.len()).collect();
    fn root(up: &mut [usize], mut value: usize) -> usize {
        while up[value] != value {
            up[value] = up[up[value]];
            value = up[value];
        }
        value
    }
    let mut join = |a: usize, b: usize| {
        let (a, b) = (root(&mut up, a), root(&mut up, b));
        up[a.max(b)] = a.min(b);
    };
    let mut slots = BTreeMap::new();
    for (i, value) in function.values.iter().enumerate().filter(|&(i, _)| !shared[i]) {
        for a in value.op.operands().filter(|a| !shared[a.0 as usize]) {
            join(i, a.0 as usize);
        }
        if let Op::EmbedInverse(of) = value.op {
            join(i, *slots.entry(of).or_insert(i));
        }
    }
    let mut outputs: BTreeMap<OutputIdx, usize> = BTreeMap::new();
    for output in function.outputs.iter().filter(|output| !shared[output.value.0 as usize]) {
        let value = output.value.0 as usize;
        join(value, *outputs.entry(output.output).or_insert(value));
    }
    let mut parts: BTreeMap<usize, Vec<PolyId>> = BTreeMap::new();
    for id in function.ids().filter(|id| !shared[id.0 as usize]) {
        parts.entry(root(&mut up, id.0 as usize)).or_default().push(id);
    }
    parts.into_values().collect()
}

/// How many parts a function has; one with calls counts as one.
pub(crate) fn n_parts(function: &Function) -> usize {
    if !function.calls.is_empty() {
        return 1;
    }
    parts(function, &shared(function)).len()
}

/// Rows that the kernels of a value touch, about.
fn work(function: &Function, id: PolyId) -> u64 {
    let value = function.value(id);
    (value.basis.len().max(2) * (1 + value.op.operands().count())) as u64
}

/// Shares a function out to so many groups.
pub(crate) fn divide(function: &Function, n_groups: u32) -> Divided<'_> {
    if n_groups <= 1 {
        return Divided::whole(function);
    }
    let shared = shared(function);
    let parts = parts(function, &shared);
    let mut by_size: Vec<(u64, &Vec<PolyId>)> =
        parts.iter().map(|part| (part.iter().map(|&id| work(function, id)).sum(), part)).collect();
    by_size.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let mut group_of: Vec<Option<u32>> = vec![None; function.values.len()];
    let mut loads = vec![0; n_groups.max(1) as usize];
    for (work, part) in by_size {
        let least = loads.iter().enumerate().min_by_key(|&(i, &load)| (load, i)).map_or(0, |(i, _)| i);
        loads[least] += work;
        part.iter().for_each(|id| group_of[id.0 as usize] = Some(least as u32));
    }
    // An output is of the group of what is computed of it.
    let mut of_output: BTreeMap<OutputIdx, u32> = BTreeMap::new();
    for output in &function.outputs {
        if let Some(group) = group_of[output.value.0 as usize] {
            of_output.insert(output.output, group);
        }
    }
    let of_output = |output| of_output.get(&output).copied().unwrap_or(0);
    // Who reads what is of no part: readers come after what they read.
    let mut readers: Vec<BTreeSet<u32>> =
        group_of.iter().map(|group| group.iter().copied().collect()).collect();
    for output in &function.outputs {
        readers[output.value.0 as usize].insert(of_output(output.output));
    }
    for (i, value) in function.values.iter().enumerate().rev() {
        let groups = readers[i].clone();
        for a in value.op.operands().filter(|a| shared[a.0 as usize]) {
            readers[a.0 as usize].extend(&groups);
        }
    }
    let mut out = Function { values: Vec::with_capacity(function.values.len()), ..function.clone() };
    let (mut group_of_new, mut original) = (Vec::new(), Vec::new());
    let mut new: BTreeMap<(PolyId, u32), PolyId> = BTreeMap::new();
    for (id, mut groups) in function.ids().zip(readers) {
        if let Some(own) = group_of[id.0 as usize] {
            groups = BTreeSet::from([own]);
        } else if groups.is_empty() {
            groups.insert(0);
        }
        for group in groups {
            let value = function.value(id);
            let op = value.op.map(|a| new.get(&(a, group)).copied().unwrap_or(a));
            new.insert((id, group), PolyId(out.values.len() as u32));
            out.values.push(crate::poly_ir::Value { op, ..value.clone() });
            group_of_new.push(group);
            original.push(id);
        }
    }
    for output in &mut out.outputs {
        let group = of_output(output.output);
        output.value = new.get(&(output.value, group)).copied().unwrap_or(output.value);
    }
    Divided { function: Cow::Owned(out), group: group_of_new, original }
}

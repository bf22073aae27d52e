//! Bodies in place of calls: what a call means.

use std::collections::BTreeMap;

use super::{Call, CallIdx, ConstId, Constant, Function, Op, Transform, TransformIdx, Value, ValueId};

/// The function with the bodies of some calls in their place, each before the first result of its call. Calls of an expanded body stay calls.
/// Kinds stay as they are.
pub fn inline(function: &Function, expand: impl Fn(CallIdx) -> bool) -> Function {
    let out = Function { values: Vec::new(), calls: Vec::new(), ..function.clone() };
    let mut inlining = Inlining { out, moved: BTreeMap::new(), results: BTreeMap::new() };
    let mut new: Vec<ValueId> = Vec::with_capacity(function.values.len());
    for id in function.ids() {
        let value = function.value(id);
        let id = match (value.op, function.call_of(&value.op)) {
            (Op::Result(c, i), Some(call)) if expand(c) => {
                let first = !inlining.results.contains_key(&c);
                if first {
                    let results = inlining.body(function, call, &new);
                    inlining.results.insert(c, results);
                }
                inlining.result(c, i, value)
            }
            (Op::Result(c, i), Some(call)) => {
                let call = inlining.keep(c, call, &new);
                inlining.out.push_like(value, Op::Result(call, i), value.kind)
            }
            (op, _) => inlining.out.push_like(value, op.map(|a| new[a.0 as usize]), value.kind),
        };
        new.push(id);
    }
    let mut out = inlining.out;
    for output in &mut out.outputs {
        output.value = new[output.value.0 as usize];
    }
    out
}

/// The function without calls.
pub fn inline_all(function: &Function) -> Function {
    let mut out = function.clone();
    while !out.calls.is_empty() {
        out = inline(&out, |_| true);
    }
    out.callees.clear();
    out
}

struct Inlining {
    out: Function,
    /// Calls that stay.
    moved: BTreeMap<CallIdx, CallIdx>,
    /// The values that are the results of expanded calls.
    results: BTreeMap<CallIdx, Vec<ValueId>>,
}

impl Inlining {
    fn keep(&mut self, old: CallIdx, call: &Call, new: &[ValueId]) -> CallIdx {
        *self.moved.entry(old).or_insert_with(|| {
            let arguments = call.arguments.iter().map(|a| new[a.0 as usize]).collect();
            self.out.calls.push(Call { arguments, ..call.clone() });
            CallIdx(self.out.calls.len() as u32 - 1)
        })
    }

    fn result(&mut self, call: CallIdx, i: u32, value: &Value) -> ValueId {
        let found = self.results.get(&call).and_then(|results| results.get(i as usize));
        let id = found.copied().unwrap_or(ValueId(0));
        let made = &mut self.out.values[id.0 as usize];
        if made.name.is_none() {
            made.name.clone_from(&value.name);
        }
        id
    }

    /// The body of a call of `caller`, whose values so far are `new`; gives its results.
    fn body(&mut self, caller: &Function, call: &Call, new: &[ValueId]) -> Vec<ValueId> {
        let Some(callee) = caller.callee(call) else { return Vec::new() };
        let variants: Vec<usize> =
            (0..caller.variants as usize).map(|v| caller.variant_of(call, v)).collect();
        let first_constant = self.out.constants.len() as u32;
        let moved = |c: ConstId| ConstId(first_constant + c.0);
        for constant in &callee.constants {
            let numbers = variants.iter().flat_map(|&v| constant.variant(v, callee.variants));
            let values = numbers.copied().collect();
            self.out.constants.push(call.constant(Constant { values, ..constant.clone() }));
        }
        let first_transform = self.out.transforms.len() as u32;
        for transform in &callee.transforms {
            let diagonals = transform.diagonals.iter().map(|&(d, c)| (d, moved(c))).collect();
            let name = format!("{}.{}", call.name, transform.name);
            self.out.transforms.push(Transform { name, diagonals, at: call.located(transform.at.clone()) });
        }
        // Callees of the callee, in the variants that it runs in here.
        let picks: Vec<usize> = variants;
        let inner: Vec<_> = callee
            .callees
            .iter()
            .map(|inner| {
                let ratio = callee.ratio(inner) as usize;
                let of = picks.iter().flat_map(|&v| (0..ratio).map(move |s| (0, v * ratio + s)));
                self.out.add_callee(Function::gather(&[inner], &of.collect::<Vec<_>>()))
            })
            .collect();
        let mut calls: BTreeMap<CallIdx, CallIdx> = BTreeMap::new();
        let mut own: Vec<ValueId> = Vec::with_capacity(callee.values.len());
        for value in &callee.values {
            let op = match value.op.map(|a| own[a.0 as usize]) {
                Op::Input(i) => {
                    own.push(call.arguments.get(i.0 as usize).map_or(ValueId(0), |a| new[a.0 as usize]));
                    continue;
                }
                Op::AddPlain(a, c) => Op::AddPlain(a, moved(c)),
                Op::SubPlain(a, c) => Op::SubPlain(a, moved(c)),
                Op::MulPlain(a, c) => Op::MulPlain(a, moved(c)),
                Op::MulI(a, c) => Op::MulI(a, moved(c)),
                Op::LinearTransform(a, t) => Op::LinearTransform(a, TransformIdx(first_transform + t.0)),
                Op::Result(c, i) => {
                    let out = &mut self.out;
                    let moved = *calls.entry(c).or_insert_with(|| {
                        let old = &callee.calls[c.0 as usize];
                        let (to, before) = inner[old.callee.0 as usize];
                        out.calls.push(Call {
                            callee: to,
                            variant: before + old.variant,
                            arguments: old.arguments.iter().map(|a| own[a.0 as usize]).collect(),
                            expansion: old.expansion,
                            name: format!("{}.{}", call.name, old.name),
                            at: call.located(old.at.clone()),
                        });
                        CallIdx(out.calls.len() as u32 - 1)
                    });
                    Op::Result(moved, i)
                }
                op => op,
            };
            let at = call.located(value.at.clone());
            own.push(self.out.push_like(&Value { at, ..value.clone() }, op, value.kind));
        }
        callee.outputs.iter().map(|output| own[output.value.0 as usize]).collect()
    }
}

//! Calls in `poly_ir`: a callee is lowered once, a call names the values that its inputs are and the constants that its constants are.

use std::collections::BTreeMap;
use std::sync::Arc;

use fhe_core::params::LimbIdx;

use super::{Encoded, EncodedIdx, EncodedKey, Function, Op, Origin, PolyId, SlotsIdx, Value, key_of};
use crate::ckks_ir::{CallIdx, CalleeIdx, ConstId, ValueId};

/// A call. Its results are the values [`Op::Result`].
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What is called.
    pub callee: CalleeIdx,
    /// Both polynomials of each input of the callee.
    pub arguments: Vec<[PolyId; 2]>,
    /// The constant of the caller that each constant of the callee is.
    pub constants: Vec<ConstId>,
    /// The user's name.
    pub name: String,
}

impl Function {
    /// A callee; `None` where there is no such.
    pub fn callee(&self, call: &Call) -> Option<&Arc<Self>> {
        self.callees.get(call.callee.0 as usize)
    }

    /// The values that an operation needs: its operands; of a result the arguments of its call.
    pub fn needs(&self, op: &Op) -> Vec<PolyId> {
        match op {
            Op::Result { call, .. } => {
                let call = self.calls.get(call.0 as usize);
                call.map(|call| call.arguments.concat()).unwrap_or_default()
            }
            op => op.operands().collect(),
        }
    }

    /// The value that is returned as a polynomial of an output.
    pub fn returned(&self, output: u32, poly: u8) -> Option<PolyId> {
        self.outputs.get(2 * output as usize + usize::from(poly)).map(|output| output.value)
    }

    /// What leaves the function: outputs, and arguments of calls.
    pub(crate) fn ends(&self) -> impl Iterator<Item = PolyId> {
        let outputs = self.outputs.iter().map(|output| output.value);
        outputs.chain(self.calls.iter().flat_map(|call| call.arguments.iter().flatten().copied()))
    }

    /// Renames what [`Self::ends`] gives.
    pub(crate) fn rename_ends(&mut self, new: impl Fn(PolyId) -> PolyId) {
        let outputs = self.outputs.iter_mut().map(|output| &mut output.value);
        let arguments = self.calls.iter_mut().flat_map(|call| &mut call.arguments).flatten();
        outputs.chain(arguments).for_each(|id| *id = new(*id));
    }

    /// The same with a pass applied to every callee, and then to itself.
    pub(crate) fn everywhere(mut self, pass: fn(Self) -> Self) -> Self {
        for callee in &mut self.callees {
            *callee = Arc::new(Self::clone(callee).everywhere(pass));
        }
        pass(self)
    }

    /// Values of the function and of its callees, each once.
    pub fn n_values(&self) -> usize {
        self.values.len() + self.callees.iter().map(|callee| callee.n_values()).sum::<usize>()
    }
}

/// The function without calls: bodies in their place, with the same bits.
pub fn inline_all(function: &Function) -> Function {
    let out =
        Function { name: function.name.clone(), inputs: function.inputs.clone(), ..Function::default() };
    let mut inlining = Inlining { out, encoded: BTreeMap::new(), slots: BTreeMap::new(), next_origin: 0 };
    let new = inlining.body(function, None);
    let mut out = inlining.out;
    for output in &function.outputs {
        out.outputs.push(super::Output { value: new[output.value.0 as usize], ..*output });
    }
    out
}

struct Inlining {
    out: Function,
    encoded: BTreeMap<EncodedKey, u32>,
    slots: BTreeMap<EncodedKey, u32>,
    /// Origins of a body go on after those of the bodies before it.
    next_origin: u32,
}

/// What inputs and constants of a body are.
struct Bound {
    arguments: Vec<[PolyId; 2]>,
    constants: Vec<ConstId>,
}

impl Inlining {
    /// Appends a body, of a call or else of the function itself; gives the new name of each value.
    fn body(&mut self, function: &Function, bound: Option<&Bound>) -> Vec<PolyId> {
        let first_origin = self.next_origin;
        let origins = function.values.iter().map(|value| value.origin.value.0 + 1).max().unwrap_or(0);
        self.next_origin += origins;
        let constant = |c: ConstId| match bound {
            Some(bound) => bound.constants.get(c.0 as usize).copied().unwrap_or(c),
            None => c,
        };
        let mut results: BTreeMap<CallIdx, Vec<PolyId>> = BTreeMap::new();
        let mut new: Vec<PolyId> = Vec::with_capacity(function.values.len());
        for id in function.ids() {
            let value = function.value(id);
            let op = match (&value.op, bound) {
                (Op::Input { input, poly }, Some(bound)) => {
                    let argument = bound.arguments.get(input.0 as usize);
                    new.push(argument.map_or(PolyId(0), |pair| pair[usize::from(*poly & 1)]));
                    continue;
                }
                (Op::Result { call, result, poly }, _) => {
                    let returned = results.entry(*call).or_insert_with(|| {
                        let call = &function.calls[call.0 as usize];
                        let arguments = call.arguments.iter().map(|pair| pair.map(|a| new[a.0 as usize]));
                        let constants = call.constants.iter().map(|&c| constant(c));
                        let bound = Bound { arguments: arguments.collect(), constants: constants.collect() };
                        let Some(callee) = function.callee(call) else { return Vec::new() };
                        let inner = self.body(callee, Some(&bound));
                        callee.outputs.iter().map(|output| inner[output.value.0 as usize]).collect()
                    });
                    let at = 2 * *result as usize + usize::from(*poly);
                    new.push(returned.get(at).copied().unwrap_or(PolyId(0)));
                    continue;
                }
                (Op::Constant(e), _) => {
                    let old = function.encoded[e.0 as usize];
                    let list = &mut self.out.encoded;
                    let encoded = Encoded { constant: constant(old.constant), ..old };
                    Op::Constant(EncodedIdx(listed(&mut self.encoded, list, encoded)))
                }
                (Op::EmbedInverse(s), _) => {
                    let old = function.slots[s.0 as usize];
                    let list = &mut self.out.slots;
                    let encoded = Encoded { constant: constant(old.constant), ..old };
                    Op::EmbedInverse(SlotsIdx(listed(&mut self.slots, list, encoded)))
                }
                (op, _) => op.map(|a| new[a.0 as usize]),
            };
            let origin = Origin { value: ValueId(first_origin + value.origin.value.0), ..value.origin };
            self.out.values.push(Value { op, origin, ..value.clone() });
            new.push(PolyId(self.out.values.len() as u32 - 1));
        }
        new
    }
}

fn listed(seen: &mut BTreeMap<EncodedKey, u32>, list: &mut Vec<Encoded>, encoded: Encoded) -> u32 {
    *seen.entry(key_of(&encoded)).or_insert_with(|| {
        list.push(encoded);
        list.len() as u32 - 1
    })
}

/// The bases of a callee's outputs.
pub(super) fn output_basis(callee: &Function, result: u32) -> Option<&[LimbIdx]> {
    callee.returned(result, 0).map(|id| callee.value(id).basis.as_slice())
}

//! What is being written: the program, or, while a call of a function of the program runs its body, that body.
//!
//! A value belongs to the frame that it was made in. One of a caller that a body uses is *captured*: an argument more of the call. One of a call that is
//! over can be had as its result only.

use std::collections::BTreeMap;

use super::unused::OnPurpose;
use super::{Encrypted, Graph, Plain};
use crate::ckks_ir::{ConstId, Function, Input, InputIdx, Location, Op, Value, ValueId};
use crate::error::{Error, Result};

/// A function being written.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) number: u32,
    pub(super) function: Function,
    pub(super) on_purpose: OnPurpose,
    /// Values of the caller, in the order of the inputs that they became after the arguments.
    pub(super) captured: Vec<ValueId>,
    /// The input that each of them became.
    inputs: BTreeMap<ValueId, ValueId>,
    constants: BTreeMap<(u32, ConstId), ConstId>,
}

impl Frame {
    pub(super) fn new(number: u32, name: &str) -> Self {
        Self {
            number,
            function: Function { name: name.to_owned(), ..Function::default() },
            on_purpose: OnPurpose::default(),
            captured: Vec::new(),
            inputs: BTreeMap::new(),
            constants: BTreeMap::new(),
        }
    }

    /// A further input of a callee.
    pub(super) fn input(&mut self, period: u32, at: Option<Location>) -> ValueId {
        let function = &mut self.function;
        let n = function.inputs.len();
        function.inputs.push(Input { name: format!("argument {n}"), period, complex: true, at: at.clone() });
        function.values.push(Value {
            op: Op::Input(InputIdx(n as u32)),
            kind: None,
            bound: None,
            name: None,
            at,
        });
        ValueId(function.values.len() as u32 - 1)
    }
}

impl Graph {
    /// The frame of that number, unless it is over.
    pub(super) fn with_frame<R>(&self, number: u32, f: impl FnOnce(&mut Frame) -> R) -> Option<R> {
        let state = &mut *self.state.borrow_mut();
        let mut frames = state.callers.iter_mut().chain([&mut state.frame]);
        frames.find(|frame| frame.number == number).map(f)
    }

    /// Refuses what belongs to the program, in the body of a function.
    pub(super) fn at_top(&self, what: &str, at: &Location) -> Result<()> {
        let state = self.state.borrow();
        let Some(name) = state.calls.last() else { return Ok(()) };
        let problem = format!(
            "its body declares {what}, expected outside of functions: make it an argument or a result"
        );
        Err(Error::Call { name: name.clone(), problem, at: Some(at.clone()) })
    }

    /// The name of a value in what is being written.
    #[track_caller]
    pub(super) fn local(&self, value: Encrypted<'_>) -> ValueId {
        let at = self.locate(Location::here());
        let state = &mut *self.state.borrow_mut();
        let frame = &mut state.frame;
        if frame.number == value.frame {
            return value.id;
        }
        let Some(made_in) = state.callers.iter().position(|caller| caller.number == value.frame) else {
            let name = state.calls.last().cloned().unwrap_or_else(|| frame.function.name.clone());
            let problem = "a value of a call that is over, expected a result of it: return it from its body";
            let error = Error::Call { name, problem: problem.to_owned(), at: Some(at.clone()) };
            state.mistake.get_or_insert(error);
            // The program is refused; until then there is a value.
            return frame.input(value.period, Some(at));
        };
        // From caller to caller.
        let frames = state.callers.iter_mut().skip(made_in + 1).chain([frame]);
        frames.fold(value.id, |outer, frame| {
            if let Some(&known) = frame.inputs.get(&outer) {
                return known;
            }
            let input = frame.input(value.period, Some(at.clone()));
            frame.captured.push(outer);
            frame.inputs.insert(outer, input);
            input
        })
    }

    /// The name of a plaintext in what is being written: one of a caller is the same numbers in every call.
    pub(super) fn local_plain(&self, plain: Plain<'_>) -> ConstId {
        let state = &mut *self.state.borrow_mut();
        let key = (plain.frame, plain.id);
        if state.frame.number == plain.frame {
            return plain.id;
        }
        if let Some(&known) = state.frame.constants.get(&key) {
            return known;
        }
        let caller = state.callers.iter_mut().find(|caller| caller.number == plain.frame);
        let constant = caller.and_then(|caller| {
            caller.on_purpose.constants.push(plain.id);
            caller.function.constants.get(plain.id.0 as usize).cloned()
        });
        let Some(constant) = constant else {
            let name = state.calls.last().cloned().unwrap_or_else(|| state.frame.function.name.clone());
            let problem = "a plaintext of a call that is over, expected one of its own".to_owned();
            state.mistake.get_or_insert(Error::Call { name, problem, at: None });
            return ConstId(0);
        };
        let constants = &mut state.frame.function.constants;
        constants.push(constant);
        let id = ConstId(constants.len() as u32 - 1);
        state.frame.constants.insert(key, id);
        id
    }
}

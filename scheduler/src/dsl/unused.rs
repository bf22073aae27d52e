//! What reaches no output, and was not marked as such, is a mistake of the user: a result that was computed for nothing, or
//! returned by nobody.

use crate::ckks_ir::{ConstId, Function, Op, ValueId};
use crate::error::{Error, Result};

/// What may reach no output.
#[derive(Debug, Default)]
pub(super) struct OnPurpose {
    pub(super) values: Vec<ValueId>,
    pub(super) constants: Vec<ConstId>,
}

/// Refuses what nothing uses: the last value of each chain that reaches neither an output nor a marked value, and the
/// constants that no value reads.
///
/// # Errors
/// [`Error::Unused`] for the first.
pub(super) fn check(function: &Function, on_purpose: &OnPurpose) -> Result<()> {
    let mut needed = vec![false; function.values.len()];
    let mut used = vec![false; function.values.len()];
    let mut read = vec![false; function.constants.len()];
    let outputs = function.outputs.iter().map(|output| output.value);
    outputs.chain(on_purpose.values.iter().copied()).for_each(|id| needed[id.0 as usize] = true);
    on_purpose.constants.iter().for_each(|id| read[id.0 as usize] = true);
    for id in function.ids() {
        let op = &function.value(id).op;
        function.needs(op).for_each(|a| used[a.0 as usize] = true);
        function.constants_of(op).for_each(|c| read[c.0 as usize] = true);
    }
    let ends: Vec<ValueId> =
        function.ids().filter(|id| !needed[id.0 as usize] && !used[id.0 as usize]).collect();
    let unread: Vec<_> = function.constants.iter().zip(&read).filter(|(_, read)| !**read).collect();
    let Some(others) = (ends.len() + unread.len()).checked_sub(1) else { return Ok(()) };
    let (what, name, at) = match (ends.first(), unread.first()) {
        (Some(&id), _) => {
            let value = function.value(id);
            let what = if matches!(value.op, Op::Input(_)) { "input" } else { "value" };
            (what, function.describe(id), &value.at)
        }
        (None, Some((constant, _))) => ("plaintext", constant.name.clone(), &constant.at),
        (None, None) => return Ok(()),
    };
    Err(Error::Unused { what, name, others, at: at.clone() })
}

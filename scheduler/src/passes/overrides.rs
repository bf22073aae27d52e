//! What the user wrote of the placement and cannot be, in words: where, what was found and expected, and what to do.

use fhe_core::params::Level;

use crate::ckks_ir::{Function, Op, ValueId};
use crate::error::Error;

fn refuse(function: &Function, id: ValueId, problem: String) -> Error {
    let value = function.value(id);
    let written = match value.op {
        Op::Rescale(_) => "rescaled",
        Op::Relinearize(_) => "relinearized",
        _ => "at_level",
    };
    let name = value.name.clone().unwrap_or_else(|| written.to_owned());
    Error::Override { name, problem, at: value.at.clone() }
}

/// `id = rescale a`, and `a` has its canonical scale.
pub(super) fn owes_no_rescale(function: &Function, id: ValueId, a: ValueId) -> Error {
    let found = function.describe_at(a);
    let expected = "a product, or a sum of nothing but products without other uses";
    refuse(function, id, format!("`{found}` owes no rescale, expected {expected}: remove `rescaled`"))
}

/// `id = relinearize a`, and `a` has degree 1.
pub(super) fn owes_no_relinearization(function: &Function, id: ValueId, a: ValueId) -> Error {
    let found = function.describe_at(a);
    let expected = "2 of a product of encrypted vectors, or a sum of nothing but products without other uses";
    refuse(function, id, format!("`{found}` has degree 1, expected {expected}: remove `relinearized`"))
}

/// `id` is written to be at a level below the one that a user needs; without a user, an output.
pub(super) fn below_its_user(function: &Function, id: ValueId, need: Level, user: Option<ValueId>) -> Error {
    let user =
        user.map_or_else(|| "an output".to_owned(), |user| format!("`{}`", function.describe_at(user)));
    refuse(
        function,
        id,
        format!("{user} needs it at level {need}, expected at least that: write a higher level, or none"),
    )
}

/// `id` raises to a level, and a user needs a higher one.
pub(super) fn above_what_is_raised(function: &Function, id: ValueId, need: Level, level: Level) -> Error {
    let found = function.describe_at(id);
    let problem = format!("`{found}` is needed at level {need}, bootstrapping raises to {level}");
    Error::Verify { after: "place".to_owned(), rule: "raise", problem }
}

/// `id` is written to be at a level that needs more than the parameters have.
pub(super) fn above_the_parameters(
    function: &Function,
    id: ValueId,
    needed: Level,
    available: Level,
    highest: Level,
) -> Error {
    let problem = format!(
        "needs {needed} levels, the parameters have {available}, expected at most level {highest} here: write that, or choose larger parameters"
    );
    refuse(function, id, problem)
}

//! Parameters for a program: the smallest preset at 128-bit security whose slots and levels suffice, in 32-bit words. Where levels suffice nowhere,
//! or the user bootstraps, the smallest that can bootstrap.

use core::fmt;
use fhe_core::math::word::WordKind;
use fhe_core::params::{Params, Preset, Security};

use crate::ckks_ir::Function;
use crate::compile::check_slots;
use crate::dsl::Program;
use crate::error::{Error, Result};
use crate::passes;

/// What was chosen, and why nothing smaller.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The preset.
    pub preset: Preset,
    /// Its parameters.
    pub params: Params,
    /// Levels that the program needs at once; the preset has `params.working_level()`.
    pub levels: u32,
    /// How many values are bootstrapped, by the user or by [`crate::passes::place_bootstraps`].
    pub bootstraps: usize,
    /// The longest period of an input, constant or output.
    pub slots: usize,
    /// Smaller presets, each with what it lacks.
    pub refused: Vec<(Preset, Error)>,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, levels, slots) = (self.preset.name(), self.levels, self.slots);
        let (has, n_slots) = (self.params.working_level(), self.params.n_slots());
        write!(f, "preset {name}: {levels} of {has} levels, {slots} of {n_slots} slots")?;
        if self.bootstraps > 0 {
            write!(f, ", {} bootstraps", self.bootstraps)?;
        }
        self.refused.iter().try_for_each(|(preset, error)| write!(f, "; not {}: {error}", preset.name()))
    }
}

/// Chooses.
///
/// # Errors
/// Why the largest preset does not fit: [`Error::Period`], [`Error::OutputSlots`], [`Error::NoBootstrap`], [`Error::Override`].
pub fn choose(program: &Program) -> Result<Choice> {
    let function = program.function();
    let slots = slots(function);
    let mut presets: Vec<(Preset, Params)> = Vec::new();
    for preset in Preset::ALL {
        let params = preset.params()?;
        if params.word() == WordKind::U32 && params.security() == Security::Bits128 {
            presets.push((preset, params));
        }
    }
    // Those with levels for bootstrapping come last, for a bootstrap costs more than any number of levels; of these the one with most levels beside
    // it first, for it bootstraps least.
    let bootstraps = |params: &Params| params.working_level() < params.max_level();
    presets.sort_by_key(|(_, params)| match bootstraps(params) {
        true => (true, params.log_n(), u32::MAX - params.working_level().0),
        false => (false, params.log_n(), params.max_level().0),
    });
    let mut refused = Vec::new();
    for (preset, params) in presets {
        let needed = check_slots(function, &params).and_then(|()| match bootstraps(&params) {
            true => passes::place_bootstraps::needed(function, &params),
            false => passes::levels_needed(function, &params).map(|levels| (levels, 0)),
        });
        match needed {
            Ok((levels, bootstraps)) => {
                return Ok(Choice { preset, params, levels, bootstraps, slots, refused });
            }
            Err(error) => refused.push((preset, error)),
        }
    }
    let none =
        Error::Verify { after: "choose".to_owned(), rule: "presets", problem: "there is none".to_owned() };
    Err(refused.pop().map_or(none, |(_, error)| error))
}

/// The longest period of an input, constant or output, of callees too.
fn slots(function: &Function) -> usize {
    let inputs = function.inputs.iter().map(|input| input.period as usize);
    let constants = function.constants.iter().map(|constant| constant.period(function.variants));
    let outputs = function.outputs.iter().map(|output| output.slots as usize);
    let callees = function.callees.iter().map(|callee| slots(callee));
    inputs.chain(constants).chain(outputs).chain(callees).max().unwrap_or(1)
}

//! Passes, plans and the language: on random programs, by their text, and by what they refuse.

#[cfg(test)]
mod activations;
#[cfg(test)]
mod bootstrap;
#[cfg(test)]
mod bootstrap_placement;
#[cfg(test)]
mod call_rules;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod columns;
#[cfg(test)]
mod common;
#[cfg(test)]
mod comparison;
#[cfg(test)]
mod deep_programs;
#[cfg(test)]
mod drops;
#[cfg(test)]
mod equivalence;
#[cfg(test)]
mod estimates;
#[cfg(test)]
mod functions;
#[cfg(test)]
mod fusion;
#[cfg(test)]
mod groups;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod overrides;
#[cfg(test)]
mod passes;
#[cfg(test)]
mod periodic;
#[cfg(test)]
mod placement;
#[cfg(test)]
mod polynomial;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod sharding;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod transforms;
#[cfg(test)]
mod vectors;

//! One suite for every backend: kernels and whole programs bit for bit against the reference, and every error.

#[cfg(test)]
mod bootstrap;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod client;
#[cfg(test)]
mod device;
#[cfg(test)]
mod encode;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod groups;
#[cfg(test)]
mod kernels;
#[cfg(test)]
mod lost;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod merged;
#[cfg(test)]
mod null;
#[cfg(test)]
mod prediction;
#[cfg(test)]
mod refusals;
mod repeated;
#[cfg(test)]
mod session;
#[cfg(test)]
mod sharded;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod spilled;
#[cfg(test)]
mod story;
#[cfg(test)]
mod support;
#[cfg(test)]
mod trace;
#[cfg(test)]
mod watched;

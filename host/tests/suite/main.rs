//! One suite for every backend: kernels and whole programs bit for bit against the reference, and every error.

#[cfg(test)]
mod client;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod kernels;
#[cfg(test)]
mod merged;
#[cfg(test)]
mod null;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod session;
#[cfg(test)]
mod support;

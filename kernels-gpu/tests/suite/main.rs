//! Kernels by every witness, lanes, encoding and launch contracts.

#[cfg(test)]
mod common;
#[cfg(test)]
mod contracts;
#[cfg(test)]
mod encode;
#[cfg(test)]
mod kernels;
#[cfg(test)]
mod lanes;

//! The reference as a client and a server use it: what comes out, how exactly, in which bytes, and what is refused.

#[cfg(test)]
mod approximation;
#[cfg(test)]
mod bootstrap;
#[cfg(test)]
mod ckks;
#[cfg(test)]
mod common;
#[cfg(test)]
mod flooding;
#[cfg(test)]
mod functions;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod merged;
#[cfg(test)]
mod raised;
#[cfg(test)]
mod rational;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod ring;
#[cfg(test)]
mod transforms;
#[cfg(test)]
mod wire;

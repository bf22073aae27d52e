//! The product of two encrypted square matrices, each in one ciphertext.
//!
//! Row-major, slot `d i + j` holds element `(i, j)`. With
//!
//! ```text
//! sigma(A)_(i,j) = A_(i, i+j)    tau(B)_(i,j) = B_(i+j, j)    phi^k(A)_(i,j) = A_(i, j+k)    psi^k(B)_(i,j) = B_(i+k, j)
//! A B = sum_(k < d) phi^k(sigma(A)) * psi^k(tau(B))
//! ```
//!
//! slot by slot, indices modulo `d` (Jiang, Kim, Lauter and Song, "Secure outsourced matrix computation and application to
//! neural networks", ePrint 2018/1209, section 3). `sigma` has `2 d - 1` diagonals, `tau` `d`, `phi^k` two and `psi^k` is a
//! rotation, for the period is `d^2`.

use super::diagonals::Diagonals;
use super::refuse;
use crate::ckks_ir::Location;
use crate::dsl::Encrypted;
use crate::error::Result;

/// `A B` for two `d` times `d` matrices, row by row in vectors of period `d^2`, `d` a power of two.
///
/// # Errors
/// [`crate::Error::Matrix`] when `d` or a period does not fit; [`crate::Error::ForeignValue`].
///
/// # Cost
/// Three levels; `d` products with one relinearization; `3 (d - 1)` rotations that share two decompositions, and about
/// `4 sqrt(d)` more (`2 sqrt(2 d)` of `A`, `2 sqrt(d)` of `B`).
#[track_caller]
pub fn matmul_encrypted<'g>(a: Encrypted<'g>, b: Encrypted<'g>, d: usize) -> Result<Encrypted<'g>> {
    let graph = a.graph();
    graph.within(Location::here(), || {
        graph.owns(b)?;
        if !d.is_power_of_two() || d > 1 << 7 {
            return refuse(graph, "a times b", format!("{d} times {d}, expected a power of two up to 128"));
        }
        let p = d * d;
        if (a.period(), b.period()) != (p, p) {
            let problem = format!("periods {} and {}, expected {d} times {d}", a.period(), b.period());
            return refuse(graph, "a times b", problem);
        }
        let sigma = Diagonals::permutation(graph, "sigma", p, |s| s / d * d + (s / d + s % d) % d)?;
        let tau = Diagonals::permutation(graph, "tau", p, |s| (s / d + s % d) % d * d + s % d)?;
        let (a, b) = (sigma.times(a), tau.times(b));
        let mut product = a * b;
        for k in 1..d {
            let phi = Diagonals::permutation(graph, &format!("phi{k}"), p, |s| s / d * d + (s % d + k) % d)?;
            product = product + phi.times(a) * b.rotate((d * k) as i64);
        }
        Ok(product)
    })
}

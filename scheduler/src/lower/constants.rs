//! Residues that launches carry, computed as the reference computes them.

use fhe_core::ckks::scalar;
use fhe_core::math::modulus::Modulus;
use fhe_core::params::{LimbIdx, Params};

/// `prod(factors) mod` the prime of `limb`.
pub(crate) fn product_mod(params: &Params, factors: &[LimbIdx], limb: LimbIdx) -> u64 {
    let m = Modulus::<u64>::new(params.prime(limb));
    factors.iter().fold(1, |p, &f| m.mul(p, m.reduce(params.prime(f))))
}

/// `prod(factors)^-1 mod` the prime of `limb`.
pub(crate) fn inverse_mod(params: &Params, factors: &[LimbIdx], limb: LimbIdx) -> u64 {
    Modulus::<u64>::new(params.prime(limb)).inv(product_mod(params, factors, limb))
}

/// `x` times what scalars of limbs have for limb `position`; that is 1 where there are none.
pub(crate) fn scaled(params: &Params, x: u64, scalars: &[u64], position: usize, limb: LimbIdx) -> u64 {
    let m = Modulus::<u64>::new(params.prime(limb));
    scalars.get(position).map_or(x, |&s| m.mul(m.reduce(x), m.reduce(s)))
}

/// An integer modulo each prime of a basis.
pub(crate) fn residues(params: &Params, x: i128, basis: &[LimbIdx]) -> Vec<u64> {
    basis.iter().map(|&l| scalar::residue(x, params.prime(l))).collect()
}

//! RLWE: secret, public and evaluation keys, and hybrid key switching in public steps.
//!
//! Conventions: a pair `(b, a)` under `s` decrypts to `b + a s`. Keys live in the evaluation domain over all
//! primes (`QP`), public keys over the main primes. Hybrid key switching is that of Han and Ki,
//! ePrint 2019/688, section 3.

mod encapsulation;
mod key_switch;
mod keygen;
mod keys;
#[cfg(test)]
mod tests;

pub use encapsulation::{EncapsulationKeys, check_weight, encapsulation_basis, encapsulation_special};
pub use key_switch::{
    decompose, key_inner, key_switch, mod_down, mod_down_rescale, mod_up, multiply_by_p, raise_and_multiply,
};
pub use keygen::{KeyGenerator, SecretDistribution};
pub(crate) use keys::expand_poly;
pub use keys::{
    EvaluationKey, EvaluationKeySet, GaloisKey, KeySwitchPair, PublicKey, RelinearizationKey, SecretId,
    SecretKey,
};

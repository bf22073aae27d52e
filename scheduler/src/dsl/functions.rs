//! Functions that networks need beside polynomials, each on a stated domain with a stated error.
//!
//! Errors are those of the method, in exact arithmetic; the noise of encryption comes on top. Outside of the stated domain
//! results are arbitrary and may be too large for the parameters: a polynomial grows fast beyond its interval.
//!
//! | function | domain | error | levels |
//! |---|---|---|---|
//! | `exp` | -4 to 4 | relative 2^-12 | 5 |
//! | `inverse` | 0.01 to 1 | relative 2^-20 | 7 |
//! | `inverse_square_root` | 0.01 to 1 | relative 2^-20 | 7 |
//! | `sigmoid` | -8 to 8 | 2^-10, 2^-20 | 5, 7 |
//! | `tanh` | -4 to 4 | 2^-10 | 6 |
//! | `gelu` | -8 to 8 | 2^-10, 2^-16 | 6, 7 |
//! | `silu` | -8 to 8 | 2^-10 | 6 |
//! | `sign` | absolute value from 2^-10 to 1 | 2^-10 | 14 |
//! | `sign` | absolute value from 2^-20 to 1 | 2^-20 | 25 |
//! | `relu`, and `maximum` and `minimum` of an interval as long as the bound | bound 1 | 2^-6, 2^-10, 2^-13 | 6, 11, 14 |
//! | `relu` | bound 8 | 2^-10 | 15 |
//! | `maximum_of`, 4 slots | 0 to 1 | 0.05 | 10 |
//! | `softmax`, 128 slots | -4 to 4 | relative 2^-10 | 15 |
//! | `softmax`, 128 slots | -8 to 8 | relative 2^-10 | 24 |
//! | `stable_softmax`, 8 slots | -30 to 30 | 2^-10 | 33 |
//! | `layer_norm`, 256 slots | variance 0.1 to 10 | relative 2^-10 | 9 |
//! | `rms_norm`, 256 slots | mean square 0.1 to 10 | relative 2^-10 | 9 |
//!
//! Errors without a word are absolute. Levels are those of tests, which fail when they change. Coefficients are found when the program is
//! built, by [`fhe_core::approximation`], and are the same bits on every machine.

mod activation;
mod comparison;
mod iteration;
mod normalisation;
mod softmax;
mod stable;

pub use activation::{exp, gelu, sigmoid, silu, tanh};
pub use comparison::{maximum, maximum_of, minimum, relu, sign};
pub use iteration::{inverse, inverse_square_root};
pub use normalisation::{layer_norm, rms_norm};
pub use softmax::softmax;
pub use stable::stable_softmax;

/// What makes an interval of a length one of length 4, on which a Chebyshev series costs no change of variable.
fn folding_factor(length: f64) -> f64 {
    4.0 / length
}

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
//! | `softmax`, 128 slots | -4 to 4 | relative 2^-10 | 15 |
//! | `layer_norm`, 256 slots | variance 0.1 to 10 | relative 2^-10 | 9 |

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

//! Polynomials that are near functions, each with the interval and the error that it is good for.
//!
//! ```text
//! elementary   cos, exp, erf and the activation functions, in f64
//! chebyshev    Chebyshev series by interpolation; the least degree for an error        exp GELU SiLU sigmoid tanh
//! minimax      best weighted approximation, by the Remez exchange
//! composite    sign and ReLU by a composition of odd best approximations
//! degrees      which degrees such a composition takes
//! iteration    a polynomial and steps that square its relative error                   1/x  1/sqrt(x)
//! ```
//!
//! Errors are those of the polynomials, in exact arithmetic; the noise of encryption comes on top. Nothing here depends on the mathematical
//! library of a platform: only the operations that IEEE 754 fixes are used (`+ - * /` and the square root), so coefficients, degrees and
//! numbers of steps are the same bits on every machine. A function that the caller passes is the caller's: to keep that property it
//! should be made of those in [`elementary`].
//!
//! Evaluation on a ciphertext is that of [`crate::ckks::Evaluator`]: `evaluate_chebyshev`, `evaluate_composite`, `evaluate_iteration`.

mod chebyshev;
mod composite;
mod degrees;
pub mod elementary;
mod iteration;
mod minimax;

pub use chebyshev::{Approximation, MAX_DEGREE, check_interval, clenshaw, interpolant, nodes};
pub use composite::Composite;
pub use iteration::{Iteration, Target, check_positive};
pub use minimax::minimax;

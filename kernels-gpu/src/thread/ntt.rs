//! The NTT on a GPU: `N = C 4096`, columns of `C` words, lines of 4096.
//!
//! ```text
//! forward:  columns (log C stages, words 4096 apart), then lines (12 stages, adjacent words)
//! inverse:  lines, then columns
//! ```
//!
//! A column fits a thread, which works on one to eight of them and exchanges nothing ([`Columns`]). A block works on a line, a thread on
//! 16 words of it at a time: three steps of radix 16, on words 256, 16 and 1 apart, with an exchange through shared memory after
//! each (`line`). So all that is read of a row or written to it is whole segments of 128 bytes, and a kernel of lines is the
//! same for every ring (docs/adr/0029).
//!
//! Where a conversion stands between two transforms, the columns of both are done in its blocks ([`super::convert_basis::ConvertBasisColumns`]).
//!
//! Between the entries words are lazy: `[0, 4q)` forward, `[0, 2q)` inverse. So they are between any two steps.

mod columns;
mod factors;
mod inner_product;
mod line;
mod rows;
mod sub_mul_scalar;

pub use columns::Columns;
pub(super) use columns::{forward_column, inverse_column};
pub use inner_product::RowsInnerProduct;
pub use rows::Rows;
pub use sub_mul_scalar::RowsSubMulScalar;

//! The factors of a thread's step of a transform: read from the table, or computed.
//!
//! The narrow factors of rows of 256 words are computed (see [`compute_factors`]). Elsewhere the factors of a step are adjacent in
//! the table: `C` sub-blocks `base .. base + C` take in stage `s` the `C 2^s` words from `base << s`, loaded up to four at a
//! time.

use crate::abi::launch::NTT_MOST_WORDS;
use crate::body::Modulus;
use crate::body::ntt::{Twiddles, unrolled};
use crate::lanes::{Scalar, Word};
use crate::thread::{Machine, Quad};

/// The factors of a step, which are fewer than the words that a thread holds; what a smaller step leaves zero is no register.
pub(super) type FactorWords<W> = [W; NTT_MOST_WORDS as usize];

/// The factors of sub-block `v` of the `C` sub-blocks that a thread's step has.
#[derive(Clone, Copy)]
pub(super) struct Factors<'a, W, const C: usize, const MIRROR: bool> {
    /// Stage `s` at `C 2^s .. 2 C 2^s`.
    pub(super) words: &'a FactorWords<W>,
    pub(super) v: usize,
}

impl<W: Word, const C: usize, const MIRROR: bool> Twiddles<W, Scalar<W>> for Factors<'_, W, C, MIRROR> {
    const SPLAT: bool = true;

    #[inline(always)]
    fn factor(&self, stage: u32, i: usize) -> Scalar<W> {
        let i = (self.v << stage) + i;
        let i = if MIRROR { (C << stage) - 1 - i } else { i };
        Scalar(self.words[(C << stage) + i])
    }
}

/// Loads the factors of the sub-blocks `base .. base + C`, of `T / C` words each.
///
/// # Safety
/// `base + C <= N / 2^(stages - 1)`, `C 2^stages = T`, `base` a multiple of `C`.
#[inline(always)]
pub(super) unsafe fn load_factors<W: Word, M: Machine<W>, const T: usize, const C: usize>(
    m: &M,
    table: M::Table,
    base: u32,
) -> FactorWords<W> {
    let mut words = [W::ZERO; NTT_MOST_WORDS as usize];
    // SAFETY: the caller's promises.
    unsafe {
        if C <= 1 {
            words[1] = m.twiddle(table, base);
        }
        if C <= 2 {
            let pair = m.twiddle_pair(table, base * 2 / C as u32);
            (words[2], words[3]) = (pair[0], pair[1]);
        }
        if C <= 4 {
            put_quad(&mut words, 1, m.twiddle_quad(table, base * 4 / C as u32));
        }
        put_quad(&mut words, 2, m.twiddle_quad(table, base * 8 / C as u32));
        put_quad(&mut words, 3, m.twiddle_quad(table, base * 8 / C as u32 + 4));
        if T >= 32 {
            unrolled!(4, k, {
                put_quad(&mut words, 4 + k, m.twiddle_quad(table, base * 16 / C as u32 + 4 * k as u32));
            });
        }
    }
    words
}

/// The factors of sub-block `base` of a row, computed from one word of memory. Fifteen words a thread would be as many bytes as
/// the data, and the L2 is what bounds the row entries. With `brv` of the indexes,
///
/// ```text
/// w[(base << s) + i] = w[base << s] w[i],    w[base << s] = w[base << (s + 1)]^2
/// ```
///
/// # Safety
/// `8 base < N`.
#[inline(always)]
pub(super) unsafe fn compute_factors<W: Word, M: Machine<W>>(
    m: &M,
    table: M::Table,
    base: u32,
    modulus: &Modulus<W, Scalar<W>>,
) -> FactorWords<W> {
    let mut words = [W::ZERO; NTT_MOST_WORDS as usize];
    // SAFETY: the caller's promises.
    unsafe {
        // w[0] to w[7], the same for all threads.
        let (low, high) = (m.twiddle_quad(table, 0), m.twiddle_quad(table, 4));
        words[8] = m.twiddle_eighth(table, base);
        unrolled!(4, i, {
            if i > 0 {
                words[8 + i] = modulus.mul(Scalar(words[8]), Scalar(low[i])).0;
            }
            words[12 + i] = modulus.mul(Scalar(words[8]), Scalar(high[i])).0;
        });
    }
    // w[k] = w[2 k]^2.
    unrolled!(8, i, {
        let k = 7 - i;
        if k > 0 {
            words[k] = modulus.mul(Scalar(words[2 * k]), Scalar(words[2 * k])).0;
        }
    });
    words
}

#[inline(always)]
fn put_quad<W: Word>(words: &mut FactorWords<W>, quad: usize, from: Quad<W>) {
    unrolled!(4, k, {
        words[4 * quad + k] = from[k];
    });
}

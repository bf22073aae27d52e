//! Products of words modulo a prime through products of their bytes, as a matrix unit of a GPU makes them.
//!
//! With the bytes of `y = sum_a y_a 2^(8 a)` and of the *multiples* `f_a = 2^(8 a) m mod p = sum_b f_ab 2^(8 b)`:
//!
//! ```text
//! y m = sum_a y_a f_a = sum_b 2^(8 b) s_b   mod p,      s_b = sum_a y_a f_ab
//! ```
//!
//! and *column* `b` of `m` is the word of the bytes `f_0b, f_1b, f_2b, f_3b`: `s_b` is its scalar product with the bytes of `y` as
//! they lie in memory. Sums of products are sums of `s_b`, and these stay small: `s_b < 2^18` for one product, of a `y`
//! below `2^30`, and a sum of 64 products is below `2^16 p`, since the bytes of `y` sum up to less than `2^10`.

use super::ntt::unrolled;

/// Bytes of a word, and columns of a product.
pub const COLUMNS: usize = 4;

/// `2^(8 a) m mod p` for each byte `a`. Of any words, whatever it may be, it does not panic.
pub fn multiples(m: u32, p: u32) -> [u32; COLUMNS] {
    let p = u64::from(Ord::max(p, 1));
    [0, 8, 16, 24].map(|bits| ((u64::from(m) << bits) % p) as u32)
}

/// The columns of a word with these multiples.
pub fn columns(multiples: [u32; COLUMNS]) -> [u32; COLUMNS] {
    let bytes = multiples.map(u32::to_le_bytes);
    [0, 1, 2, 3].map(|b| u32::from_le_bytes(bytes.map(|multiple| multiple[b])))
}

/// `sum_b 2^(8 b) s_b` for sums of at most 64 products of words below `2^30`: the largest, `s_0`, is below `2^24`, and the sums of
/// pairs below fit a word.
#[inline(always)]
pub fn sum_columns(s: [u32; COLUMNS]) -> u64 {
    let mut pairs = [0; 2];
    unrolled!(2, i, {
        pairs[i] = s[2 * i].wrapping_add(s[2 * i + 1] << 8);
    });
    u64::from(pairs[0]).wrapping_add(u64::from(pairs[1]) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scalar product of the bytes of two words.
    fn dot(a: u32, b: u32) -> u32 {
        a.to_le_bytes().iter().zip(b.to_le_bytes()).map(|(&a, b)| u32::from(a) * u32::from(b)).sum()
    }

    #[test]
    fn columns_sum_to_the_products() {
        let mut state = 1u64;
        let mut word = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 34) as u32
        };
        // A small prime, and the largest below 2^30; any words, the largest ones, and zero.
        for p in [257, (1 << 30) - 35] {
            for (n, at_most) in [(1, u32::MAX), (12, u32::MAX), (64, u32::MAX), (12, 0)] {
                for largest in [false, true] {
                    let (mut sums, mut expected) = ([0u32; COLUMNS], 0u64);
                    for _ in 0..n {
                        let (y, m) = if largest { ((1 << 30) - 1, p - 1) } else { (word(), word() % p) };
                        let (y, m) = (y & at_most, m & at_most);
                        let columns = columns(multiples(m, p));
                        sums.iter_mut().zip(columns).for_each(|(sum, column)| *sum += dot(y, column));
                        expected = (expected + u64::from(y) * u64::from(m)) % u64::from(p);
                    }
                    let pairs = [0, 2].map(|b| u64::from(sums[b]) + (u64::from(sums[b + 1]) << 8));
                    assert!(pairs.iter().all(|&pair| pair < 1 << 32), "the sums of pairs fit a word");
                    let sum = sum_columns(sums);
                    assert_eq!(sum % u64::from(p), expected, "{n} products modulo {p}");
                    assert!(sum < u64::from(p) << 16, "{n} products modulo {p}");
                }
            }
        }
    }
}

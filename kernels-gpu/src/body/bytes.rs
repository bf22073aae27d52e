//! Products of words through products of their bytes, as a matrix unit of a GPU makes them.
//!
//! With `y = sum_a y_a 2^(8 a)` and `m` alike, `y m = sum_d 2^(8 d) s_d`, and *diagonal* `s_d = sum_a y_a m_(d - a)` is a
//! scalar product of four bytes. Sums of products are sums of diagonals, so a word of `y` is four bytes of a
//! matrix row as it lies in memory, and seven words made of `m` are four bytes of a column each.

use super::ntt::unrolled;

/// Diagonals of a product of words of four bytes.
pub const DIAGONALS: usize = 7;

/// For each `d` the word with byte `d - a` of `m` at byte `a`, and zero where there is none.
#[inline(always)]
pub fn columns(m: u32) -> [u32; DIAGONALS] {
    // Byte a of the word is byte 3 - a of m.
    let mirrored = m.swap_bytes();
    let mut words = [mirrored; DIAGONALS];
    unrolled!(DIAGONALS, d, {
        words[d] = if d < 4 { mirrored >> (8 * (3 - d)) } else { mirrored << (8 * (d - 3)) };
    });
    words
}

/// `sum_d 2^(8 d) s_d mod 2^64`, for diagonals of at most 16 products of words below `2^30`: the largest, `s_3`, is below
/// `2^22`, and the sums of pairs below fit a word.
#[inline(always)]
pub fn sum_diagonals(s: [u32; DIAGONALS]) -> u64 {
    let low = s[0].wrapping_add(s[1] << 8);
    let middle = s[2].wrapping_add(s[3] << 8);
    let high = s[4].wrapping_add(s[5] << 8).wrapping_add(s[6] << 16);
    // `high` goes into the upper word alone: the lower one has no carry left.
    let sum = u64::from(low).wrapping_add(u64::from(middle) << 16);
    u64::from(((sum >> 32) as u32).wrapping_add(high)) << 32 | u64::from(sum as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scalar product of the bytes of two words.
    fn dot(a: u32, b: u32) -> u32 {
        a.to_le_bytes().iter().zip(b.to_le_bytes()).map(|(&a, b)| u32::from(a) * u32::from(b)).sum()
    }

    #[test]
    fn diagonals_sum_to_the_products() {
        let mut state = 1u64;
        let mut word = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 34) as u32
        };
        // Any words, the largest ones, and zero.
        for (n, at_most) in [(1, u32::MAX), (12, u32::MAX), (16, u32::MAX), (12, 0)] {
            for largest in [false, true] {
                let (mut sums, mut expected) = ([0; DIAGONALS], 0u64);
                for _ in 0..n {
                    let (y, m) = if largest { ((1 << 30) - 1, (1 << 30) - 1) } else { (word(), word()) };
                    let (y, m) = (y & at_most, m & at_most);
                    sums.iter_mut().zip(columns(m)).for_each(|(sum, column)| *sum += dot(y, column));
                    expected = expected.wrapping_add(u64::from(y) * u64::from(m));
                }
                assert_eq!(sum_diagonals(sums), expected, "{n} products");
            }
        }
    }
}

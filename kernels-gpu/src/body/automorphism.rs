//! Where `a(X^g)` takes its words from. `g` odd, below `2N`.
//!
//! **Evaluation domain.** Position `i` holds the value at `psi^e`, `e = 2 brv(i) + 1`; that of `a(X^g)` is the one of `a` at
//! `psi^(e g)`, so
//!
//! ```text
//! dst[i] = a[perm(i)],  perm(i) = brv((e' - 1) / 2),  e' = e g mod 2N
//! ```
//!
//! With `j = brv(i)` this is `j' = g j + (g - 1) / 2 mod N`. The low `log LANES` bits of `i` are the high ones of `j`; adding a
//! multiple of `N / LANES` to `j` adds one to `j'` (`g` is odd), so **a group of `LANES` aligned words comes from one
//! such group**, permuted inside by one of `LANES` patterns that depends on the high bits of `j'` alone. A row is
//! moved by aligned loads, lane permutations and sequential stores.
//!
//! **Coefficient domain.** `a_i X^i` goes to `X^(i g)`, and `X^N = -1`, so with `k' = k g^-1 mod 2N`
//!
//! ```text
//! dst[k] = a[k'] if k' < N else -a[k' - N]
//! ```

/// `bits` low bits of `x` in reverse order; `bits` in `1 ..= 32`.
#[inline(always)]
pub const fn brv(x: u32, bits: u32) -> u32 {
    x.reverse_bits() >> (32 - bits)
}

/// `perm(i)`.
#[inline(always)]
pub const fn eval_source(i: u32, galois: u32, log_n: u32) -> u32 {
    let mask = (1 << log_n) - 1;
    let j = brv(i, log_n);
    brv(galois.wrapping_mul(j).wrapping_add(galois >> 1) & mask, log_n)
}

/// The group that group `group` of `2^log_lanes` words comes from, and the pattern: lane `l` takes lane
/// [`lane_source`]`(l, pattern, ..)`. `log_lanes < log_n`.
#[inline(always)]
pub const fn eval_group_source(group: u32, galois: u32, log_n: u32, log_lanes: u32) -> (u32, u32) {
    let log_groups = log_n - log_lanes;
    let j = brv(group, log_groups);
    let from = galois.wrapping_mul(j).wrapping_add(galois >> 1) & ((1 << log_n) - 1);
    (brv(from & ((1 << log_groups) - 1), log_groups), from >> log_groups)
}

/// The lane that lane `lane` takes under `pattern`: `brv(pattern + g brv(lane))` over `log_lanes` bits, at least 1.
#[inline(always)]
pub const fn lane_source(lane: u32, pattern: u32, galois: u32, log_lanes: u32) -> u32 {
    let high = pattern.wrapping_add(galois.wrapping_mul(brv(lane, log_lanes)));
    brv(high & ((1 << log_lanes) - 1), log_lanes)
}

/// Where group `group` of an aligned block of groups goes in the block's image, and the pattern by which it is permuted there
/// ([`lane_source`]). Image and `high` are [`eval_group_source`] of the block under `inverse`, so that only this is paid for each group:
///
/// ```text
/// h = high + g^-1 brv(group),    to = brv(h mod GROUPS),    pattern = -g floor(h / GROUPS) mod LANES
/// ```
#[inline(always)]
pub const fn eval_group_image(
    group: u32,
    high: u32,
    galois: u32,
    inverse: u32,
    (log_lanes, log_groups): (u32, u32),
) -> (u32, u32) {
    let h = high.wrapping_add(inverse.wrapping_mul(brv(group, log_groups)));
    let to = brv(h & ((1 << log_groups) - 1), log_groups);
    (to, image_pattern(h >> log_groups, galois, log_lanes))
}

/// The pattern of a group in its image, `-g high mod LANES`, where image and `high` are [`eval_group_source`] of the group under the inverse.
#[inline(always)]
pub const fn image_pattern(high: u32, galois: u32, log_lanes: u32) -> u32 {
    galois.wrapping_mul(high).wrapping_neg() & ((1 << log_lanes) - 1)
}

/// `g^-1 mod 2^32` (hence modulo `2N`) for odd `g`: Newton, 3 bits, then 6, 12, 24, 48.
#[inline(always)]
pub const fn inverse_galois(galois: u32) -> u32 {
    let mut x = galois;
    let mut step = 0;
    while step < 4 {
        x = x.wrapping_mul(2u32.wrapping_sub(galois.wrapping_mul(x)));
        step += 1;
    }
    x
}

/// Where `dst[k]` comes from, and whether it is negated; `inverse` is [`inverse_galois`].
#[inline(always)]
pub const fn coeff_source(k: u32, inverse: u32, log_n: u32) -> (u32, bool) {
    let at = k.wrapping_mul(inverse);
    (at & ((1 << log_n) - 1), at & (1 << log_n) != 0)
}

//! Randomness: where it comes from and the distributions that the scheme draws.
//!
//! Secret draws come from [`Randomness`] (ChaCha20 seeded by the operating system). Public uniform
//! polynomials, the `a` halves of keys and of seeded ciphertexts, are expanded from a 32-byte [`Seed`] by
//! ChaCha20 in counter mode: stream `tag << 32 | limb`, and coefficient `k` takes the `2 w` bits at offset
//! `2 w k`, `w` the bits of a word, reduced modulo q. So any limb, and any coefficient, can be expanded alone.
//! A residue's probability is off by a factor of at most `1 + 2^-34` (`2^-68` for 64-bit words), which over
//! 2^30 draws costs less than 2^-37 in Renyi divergence of order 2.

use super::modulus::Modulus;
use super::word::{Word, WordKind};
use crate::error::{Error, Result};
use rand::rngs::SysRng;
use rand::{Rng, SeedableRng, TryRng};
use rand_chacha::ChaCha20Rng;
use zeroize::{Zeroize, Zeroizing};

/// The seed of a public uniform expansion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub [u8; 32]);

/// A source of secret randomness. Its state is overwritten when it is dropped.
pub struct Randomness {
    rng: ChaCha20Rng,
    insecure: bool,
}

impl Drop for Randomness {
    fn drop(&mut self) {
        self.rng = ChaCha20Rng::from_seed([0; 32]);
        core::hint::black_box(&self.rng);
    }
}

impl Randomness {
    /// Seeded by the operating system.
    ///
    /// # Errors
    /// [`Error::Randomness`] when it gives none.
    pub fn from_os() -> Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        SysRng.try_fill_bytes(&mut *seed).map_err(|e| Error::Randomness(e.to_string()))?;
        Ok(Self { rng: ChaCha20Rng::from_seed(*seed), insecure: false })
    }

    /// The same draws each time. For tests and reproducible experiments: whoever knows the seed knows every
    /// key and every message.
    pub fn insecure_reproducible(seed: u64) -> Self {
        Self { rng: ChaCha20Rng::seed_from_u64(seed), insecure: true }
    }

    /// Whether the draws are reproducible and so not secret.
    pub fn is_insecure(&self) -> bool {
        self.insecure
    }

    /// 64 uniform bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// A fresh seed for a public expansion.
    pub fn seed(&mut self) -> Seed {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        Seed(seed)
    }

    /// A fresh public name of 16 bytes.
    pub fn id(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        self.rng.fill_bytes(&mut id);
        id
    }

    /// `n` independent uniform ternary values, exactly uniform by rejection: the secret's distribution and
    /// that of the ephemeral of public-key encryption.
    pub fn ternary(&mut self, n: usize) -> Zeroizing<Vec<i8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(n));
        while out.len() < n {
            let mut bits = self.rng.next_u64();
            for _ in 0..32 {
                let two = (bits & 3) as i8;
                bits >>= 2;
                if two != 3 && out.len() < n {
                    out.push(two - 1);
                }
            }
            bits.zeroize();
        }
        out
    }

    /// A ternary vector with exactly `weight` non-zero entries, uniform among those; `n` a power of two, `weight` at most `n`.
    pub fn sparse_ternary(&mut self, n: usize, weight: usize) -> Zeroizing<Vec<i8>> {
        let mut out = Zeroizing::new(vec![0i8; n]);
        let mut left = weight.min(n);
        while left > 0 {
            let mut bits = self.rng.next_u64();
            let at = (bits >> 1) as usize & (n - 1);
            if out[at] == 0 {
                out[at] = if bits & 1 == 0 { 1 } else { -1 };
                left -= 1;
            }
            bits.zeroize();
        }
        out
    }

    /// `n` independent errors: centred binomial of 42 coins, standard deviation sqrt(10.5) = 3.24 (the table
    /// of ePrint 2024/463 asks for at least 3.19), in `[-21, 21]`.
    pub fn error(&mut self, n: usize) -> Zeroizing<Vec<i8>> {
        const COINS: u64 = (1 << 21) - 1;
        let draw =
            |bits: u64| ((bits & COINS).count_ones() as i8) - ((bits >> 21 & COINS).count_ones() as i8);
        Zeroizing::new((0..n).map(|_| draw(self.rng.next_u64())).collect())
    }
}

/// Expands one limb of a uniform polynomial: `out[k]` in `[0, q)`. `tag` tells apart the polynomials of one
/// seed (the digit of a key).
pub fn expand_uniform<W: Word>(seed: &Seed, tag: u32, limb: u32, modulus: &Modulus<W>, out: &mut [W]) {
    let mut rng = ChaCha20Rng::from_seed(seed.0);
    rng.set_stream(u64::from(tag) << 32 | u64::from(limb));
    let q = modulus.value().to_u64();
    let mut block = [0u8; 4096];
    let bytes_each = 2 * W::KIND.bytes();
    for chunk in out.chunks_mut(block.len() / bytes_each) {
        let bytes = &mut block[..chunk.len() * bytes_each];
        rng.fill_bytes(bytes);
        for (x, word) in chunk.iter_mut().zip(bytes.chunks_exact(bytes_each)) {
            let low = little_endian(&word[..8]);
            *x = match W::KIND {
                WordKind::U32 => W::truncate(low % q),
                WordKind::U64 => {
                    let wide = u128::from(little_endian(&word[8..])) << 64 | u128::from(low);
                    W::truncate((wide % u128::from(q)) as u64)
                }
            };
        }
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |x, &b| x << 8 | u64::from(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ternary_and_error_have_their_moments() {
        let mut r = Randomness::insecure_reproducible(1);
        let n = 1 << 18;
        let t = r.ternary(n);
        for value in [-1i8, 0, 1] {
            let share = t.iter().filter(|&&x| x == value).count() as f64 / n as f64;
            assert!((share - 1.0 / 3.0).abs() < 0.005, "{value}: {share}");
        }
        let e = r.error(n);
        let mean = e.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
        let variance = e.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.05 && (variance - 10.5).abs() < 0.2, "{mean} {variance}");
    }

    #[test]
    fn sparse_ternary_has_its_weight_everywhere() {
        let mut r = Randomness::insecure_reproducible(2);
        let (mut sum, mut quarters) = (0i32, [0; 4]);
        for _ in 0..1000 {
            let t = r.sparse_ternary(256, 32);
            assert_eq!(t.iter().filter(|&&x| x != 0).count(), 32);
            sum += t.iter().map(|&x| i32::from(x)).sum::<i32>();
            t.chunks(64).zip(&mut quarters).for_each(|(c, q)| *q += c.iter().filter(|&&x| x != 0).count());
        }
        // Standard deviations of 179 and 73.
        assert!(sum.abs() < 900 && quarters.iter().all(|&q| (7600..8400).contains(&q)), "{sum} {quarters:?}");
    }

    #[test]
    fn expansion_is_uniform_and_any_limb_stands_alone() {
        fn chi_square<W: Word>(q: u64) {
            let m = Modulus::new(W::truncate(q));
            let mut a = vec![W::zeroed(); 1 << 16];
            expand_uniform(&Seed([7; 32]), 3, 5, &m, &mut a);
            let mut bins = [0f64; 64];
            a.iter().for_each(|x| bins[(u128::from(x.to_u64()) * 64 / u128::from(q)) as usize] += 1.0);
            let expected = a.len() as f64 / 64.0;
            let chi: f64 = bins.iter().map(|b| (b - expected).powi(2) / expected).sum();
            // 63 degrees of freedom: mean 63, standard deviation 11.2.
            assert!((20.0..130.0).contains(&chi), "{chi}");
            let mut prefix = vec![W::zeroed(); 100];
            expand_uniform(&Seed([7; 32]), 3, 5, &m, &mut prefix);
            assert_eq!(prefix, a[..100]);
            expand_uniform(&Seed([7; 32]), 4, 5, &m, &mut prefix);
            assert_ne!(prefix, a[..100]);
        }
        chi_square::<u32>(1_073_479_681);
        chi_square::<u64>(1_152_921_504_606_830_593);
    }

    #[test]
    fn the_os_gives_different_seeds() {
        assert_ne!(Randomness::from_os().unwrap().seed(), Randomness::from_os().unwrap().seed());
    }
}

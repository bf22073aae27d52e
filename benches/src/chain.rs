//! Parameters by name: presets, and a chain of the shape of a peer's.

use fhe_core::math::primes::descending;
use fhe_core::math::word::WordKind;
use fhe_core::params::{Level, Params, ParamsLiteral, Preset, Scales, Security, scale_primes};

/// Named parameters with the levels at which composites are measured.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The name in rows.
    pub name: String,
    /// The parameters.
    pub params: Params,
    /// The levels, highest first.
    pub levels: Vec<Level>,
}

impl Chain {
    /// A preset at its highest level, in the middle and at level 1.
    ///
    /// # Errors
    /// None in practice.
    pub fn preset(preset: Preset) -> crate::Result<Self> {
        let params = preset.params()?;
        let top = params.max_level().0;
        let mut levels = vec![Level(top), Level(top / 2), Level(1)];
        levels.dedup();
        Ok(Self { name: preset.name().to_owned(), params, levels })
    }

    /// The chain of the peer that is compared with at N = 2^16 (Cheddar's preset for a scale of 40 bits): 47 main and 12
    /// special primes, digits of 12, log QP below the 1747 of 128-bit security. The peer's rescales remove two
    /// primes at the upper levels, and so do these at all: level `l` has `2 l + 3` primes. Measured where the peer has as
    /// many: its levels 28, 24, 16, 8 and 1 have 47, 39, 23, 13 and 3.
    ///
    /// One prime a level would need a scale of one prime, 2^29; [`Params`] refuses chains with scales below 2^32, where the
    /// rounding of a level drop shows.
    ///
    /// # Errors
    /// None in practice.
    pub fn peer() -> crate::Result<Self> {
        const LOG_N: u32 = 16;
        const DEPTH: u32 = 22;
        const LOG_SCALE: u32 = 58;
        let mut large = descending(30, LOG_N + 1);
        let special_primes: Vec<u64> = large.by_ref().take(12).collect();
        let base = large.take(3);
        let main_primes = base.chain(scale_primes(LOG_SCALE, LOG_N + 1, DEPTH as usize, 2)).collect();
        let params = Params::new(ParamsLiteral {
            log_n: LOG_N,
            word: WordKind::U32,
            main_primes,
            special_primes,
            levels: (0..=DEPTH).map(|l| (0..2 * l + 3).collect()).collect(),
            digit_limbs: 12,
            log_scale: LOG_SCALE,
            scales: Scales::FromTop,
            security: Security::Bits128,
        })?;
        Ok(Self { name: "peer".to_owned(), params, levels: [22, 18, 10, 5, 1, 0].map(Level).to_vec() })
    }

    /// Every chain: presets in 32-bit words, the peer's, and presets in 64-bit words.
    ///
    /// # Errors
    /// None in practice.
    pub fn all() -> crate::Result<Vec<Self>> {
        let narrow = [Preset::N13, Preset::N14, Preset::N15, Preset::N16].map(Self::preset);
        let wide = [Preset::N13w, Preset::N14w, Preset::N15w].map(Self::preset);
        narrow.into_iter().chain([Self::peer()]).chain(wide).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_of_the_peer_has_its_shape() {
        let chain = Chain::peer().unwrap();
        let params = &chain.params;
        assert_eq!((params.n_main(), params.special().len(), params.digits().len()), (47, 12, 4));
        assert!(params.log_qp() < 1747.0 && params.primes().iter().all(|&q| q < 1 << 30));
        assert_eq!(params.security(), Security::Bits128);
        let limbs = chain.levels.iter().map(|&l| params.level(l).unwrap().basis.len()).collect::<Vec<_>>();
        assert_eq!(limbs, [47, 39, 23, 13, 5, 3]);
    }
}

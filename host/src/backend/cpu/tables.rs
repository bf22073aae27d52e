//! Twiddles of a ring, built once and shared by the plans of that ring while one of them is loaded.

use crate::error::{Error, Result};
use crate::memory::{AlignedBytes, Ledger, Reservation};
use kernels_gpu::body::tables::{PrimeConstants, PrimeTables, fill_twiddles};
use kernels_gpu::cpu::{CpuWord, LaneKind};
use rayon::prelude::*;
use scheduler::plan::Plan;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The tables of all primes of a ring.
#[derive(Debug)]
pub(super) struct Tables<W: CpuWord> {
    log_n: u32,
    primes: Vec<u64>,
    roots: Vec<u64>,
    constants: Vec<PrimeConstants<W>>,
    /// N words a prime.
    twiddles: AlignedBytes,
    _reservation: Reservation,
}

impl<W: CpuWord> Tables<W> {
    fn new(plan: &Plan, lanes: LaneKind, ledger: &Arc<Ledger>) -> Result<Self> {
        let (log_n, n_primes, row_bytes) = (plan.log_n, plan.primes.len(), plan.row_bytes());
        let what = "twiddles";
        let bytes = n_primes as u64 * row_bytes as u64;
        let reservation = ledger.reserve(what, bytes)?;
        let refused = || Error::NotNow { what: what.to_owned(), found: bytes, expected: 0 };
        let mut twiddles = AlignedBytes::zeroed(n_primes * row_bytes).ok_or_else(refused)?;
        let pairs: Vec<(W, W)> =
            plan.primes.iter().zip(&plan.roots).map(|(&q, &r)| (W::from_u64(q), W::from_u64(r))).collect();
        let constants: Vec<_> = pairs.iter().map(|&(q, psi)| PrimeConstants::new(q, psi, log_n)).collect();
        let log_lanes = W::log_lanes(lanes);
        let rows = twiddles.bytes_mut().par_chunks_exact_mut(row_bytes);
        rows.zip(constants.par_iter().zip(&pairs)).for_each(|(row, (c, &(_, psi)))| {
            // Rows are 64-byte aligned and whole, so the cast cannot fail.
            if let Ok(words) = bytemuck::try_cast_slice_mut(row) {
                fill_twiddles(c, psi, log_n, log_lanes, words);
            }
        });
        let (primes, roots) = (plan.primes.clone(), plan.roots.clone());
        Ok(Self { log_n, primes, roots, constants, twiddles, _reservation: reservation })
    }

    /// Bytes of the twiddles.
    pub(super) fn bytes(&self) -> u64 {
        self.twiddles.bytes().len() as u64
    }

    /// As the kernels take them.
    pub(super) fn primes(&self) -> Vec<PrimeTables<'_, W>> {
        let words: &[W] = bytemuck::try_cast_slice(self.twiddles.bytes()).unwrap_or_default();
        let rows = words.chunks_exact(1 << self.log_n);
        self.constants
            .iter()
            .zip(rows)
            .map(|(&constants, twiddles)| PrimeTables { constants, twiddles })
            .collect()
    }

    fn serves(&self, plan: &Plan) -> bool {
        self.log_n == plan.log_n && self.primes == plan.primes && self.roots == plan.roots
    }
}

/// The tables that some loaded plan uses.
#[derive(Debug)]
pub(super) struct TableCache<W: CpuWord>(Mutex<Vec<Weak<Tables<W>>>>);

impl<W: CpuWord> Default for TableCache<W> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<W: CpuWord> TableCache<W> {
    /// Bytes of a plan's tables, if they are not there yet.
    pub(super) fn missing_bytes(&self, plan: &Plan) -> u64 {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let there = cache.iter().filter_map(Weak::upgrade).any(|t| t.serves(plan));
        if there { 0 } else { plan.primes.len() as u64 * plan.row_bytes() as u64 }
    }

    /// The tables of a plan's ring; all lanes of one cache are the same.
    pub(super) fn get(&self, plan: &Plan, lanes: LaneKind, ledger: &Arc<Ledger>) -> Result<Arc<Tables<W>>> {
        // A list of weak references is valid whatever happened to who held it.
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.retain(|t| t.strong_count() > 0);
        if let Some(tables) = cache.iter().filter_map(Weak::upgrade).find(|t| t.serves(plan)) {
            return Ok(tables);
        }
        let tables = Arc::new(Tables::new(plan, lanes, ledger)?);
        cache.push(Arc::downgrade(&tables));
        Ok(tables)
    }
}

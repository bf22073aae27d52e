//! What peers took for the same on the same machine: the JSON that `benches/peers/run.sh` writes.

use crate::Result;
use crate::row::Row;
use anyhow::Context;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Names of the peers, and of their files.
const PEERS: [&str; 2] = ["openfhe", "tenseal"];

/// Microseconds by peer, operation, log N and threads.
#[derive(Debug, Default)]
pub struct Peers(BTreeMap<(&'static str, String, u64, u64), f64>);

impl Peers {
    /// Reads every peer's file in a folder.
    ///
    /// # Errors
    /// A file that is missing or is not what the scripts write.
    pub fn read(dir: &Path) -> Result<Self> {
        let mut peers = Self::default();
        for peer in PEERS {
            let path = dir.join(format!("{peer}.json"));
            let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            let value: Value = serde_json::from_slice(&text)?;
            let rows = value["rows"].as_array().with_context(|| format!("{}: no rows", path.display()))?;
            for row in rows {
                // TenSEAL wraps SEAL; the rows of SEAL itself are the ones to compare with.
                let api = row["api"].as_str().filter(|&api| api != "TenSEAL");
                let (op, log_n) = (row["op"].as_str(), row["log_n"].as_u64());
                let (threads, time) = (row["threads"].as_u64(), row["median_us"].as_f64());
                if let (Some(_), Some(op), Some(log_n), Some(threads), Some(time)) =
                    (api, op, log_n, threads, time)
                {
                    peers.0.insert((peer, op.to_owned(), log_n, threads), time);
                }
            }
        }
        Ok(peers)
    }

    /// Adds to a row of the highest level of a preset what peers took over what we took.
    pub fn compare(&self, row: &mut Row) {
        let Some(threads) = row.threads else { return };
        for peer in PEERS {
            let key = (peer, row.what.clone(), u64::from(row.log_n), threads as u64);
            if let Some(theirs) = self.0.get(&key) {
                row.peers.insert(peer.to_owned(), theirs / row.microseconds);
            }
        }
    }
}

//! Microbenchmarks with operations, bytes and roofs.
//!
//! [`ntt`] runs one transform of one row; [`composite`] runs compiled plans of one operation of the scheme;
//! [`WorkOf`] keeps what each row costs, so that the table (`--bin table`) can say how fast that is. Nothing here
//! checks results: the tests do.

pub mod composite;
pub mod ntt;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What every function here returns: a failure ends the bench with its words.
pub type Result<T> = anyhow::Result<T>;

/// The work of a row.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RowWork {
    /// Butterflies for transforms and what is made of them only; word products elsewhere.
    pub operations: u64,
    /// Bytes read and written, each operand once.
    pub bytes: u64,
}

/// The work of all rows, by the name that criterion gives them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WorkOf(pub BTreeMap<String, RowWork>);

/// The key of a row: `name/logN_threads`.
pub fn key(name: &str, log_n: u32, threads: usize) -> String {
    format!("{name}/{log_n}_{threads}t")
}

/// Where criterion keeps its figures: the target directory's `criterion`.
pub fn criterion_dir() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    workspace.join(target).join("criterion")
}

impl WorkOf {
    /// Adds a row.
    pub fn add(&mut self, name: &str, log_n: u32, threads: usize, operations: u64, bytes: u64) {
        self.0.insert(key(name, log_n, threads), RowWork { operations, bytes });
    }

    /// Writes `work.json` beside criterion's figures.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(&self) -> Result<()> {
        let dir = criterion_dir();
        std::fs::create_dir_all(&dir)?;
        Ok(std::fs::write(dir.join("work.json"), serde_json::to_vec_pretty(self)?)?)
    }
}

/// A pool of that many threads, for what runs on rayon's current pool.
///
/// # Errors
/// When the system gives no threads.
pub fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    Ok(rayon::ThreadPoolBuilder::new().num_threads(threads).build()?)
}

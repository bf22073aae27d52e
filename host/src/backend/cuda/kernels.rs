//! The functions and ring tables that a plan's launches need.

use crate::check::CheckedPlan;
use crate::driver::{DeviceMemory, Driver, DriverError, DriverResult, Function, Grid};
use kernels_gpu::abi::launch::{KernelArgs, LaunchContract, contract, n_entries, shared_bytes};
use kernels_gpu::abi::{KernelId, Launch};
use kernels_gpu::device_tables::{PrimeRoot, fill_image, image_bytes};
use kernels_gpu::{abi, ptx};
use scheduler::plan::{Plan, Step};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// Bytes of a word: PTX exists for these.
const WORD_BYTES: u32 = 4;

/// Loaded functions by kernel and entry, and the tables of the plan's ring.
#[derive(Debug)]
pub(super) struct Kernels {
    functions: BTreeMap<(KernelId, u32), (Function, LaunchContract)>,
    tables: DeviceMemory,
    log_n: u32,
}

impl Kernels {
    /// Bytes of the ring tables.
    pub(super) fn table_bytes(plan: &Plan) -> u64 {
        image_bytes::<u32>(plan.log_n, plan.primes.len()) as u64
    }

    /// Loads what the plan names, and no more.
    ///
    /// # Errors
    /// The driver's.
    pub(super) fn new(driver: &Arc<dyn Driver>, plan: &CheckedPlan) -> DriverResult<Self> {
        let plan = plan.plan();
        let mut functions = BTreeMap::new();
        for Step::Launch { launch, .. } in plan.segments.iter().flat_map(|s| &s.steps) {
            for entry_idx in 0..n_entries(launch.kernel) {
                if let Entry::Vacant(entry) = functions.entry((launch.kernel, entry_idx)) {
                    entry.insert(load(&**driver, launch.kernel, entry_idx, plan.log_n)?);
                }
            }
        }
        let bytes = image_bytes::<u32>(plan.log_n, plan.primes.len());
        let mut tables = DeviceMemory::new(driver, bytes as u64)?;
        let roots = plan.primes.iter().zip(&plan.roots);
        let ring: Vec<PrimeRoot<u32>> =
            roots.map(|(&q, &psi)| PrimeRoot { q: q as u32, psi: psi as u32 }).collect();
        let mut image = vec![0u64; bytes / 8];
        fill_image(tables.address(), plan.log_n, &ring, &mut image).map_err(|e| refused(e.to_string()))?;
        tables.write(0, bytemuck::cast_slice(&image))?;
        Ok(Self { functions, tables, log_n: plan.log_n })
    }

    /// Bytes of the tables.
    pub(super) fn bytes(&self) -> u64 {
        self.tables.bytes()
    }

    /// Submits the entries of a launch.
    ///
    /// # Safety
    /// `launch` is of a checked plan and segment; `pool` holds the plan's pool and `bindings` the address of the buffer
    /// of each slot, checked for the segment.
    ///
    /// # Errors
    /// The driver's.
    pub(super) unsafe fn launch(
        &self,
        driver: &dyn Driver,
        plan: &Plan,
        launch: &Launch,
        bindings: u64,
        pool: u64,
    ) -> DriverResult<()> {
        let (items_at, n_items) = (launch.items_at, launch.n_items);
        let primes = self.tables.address();
        let args = KernelArgs {
            bindings,
            pool,
            primes,
            items_at,
            n_items,
            log_n: self.log_n,
            row_bytes: WORD_BYTES << self.log_n,
        };
        for entry_idx in 0..n_entries(launch.kernel) {
            let Some((function, contract)) = self.functions.get(&(launch.kernel, entry_idx)) else {
                return Err(missing(launch.kernel, entry_idx, self.log_n));
            };
            let shared_bytes = shared_bytes(launch, &plan.pool, WORD_BYTES).unwrap_or(contract.shared_bytes);
            let blocks = contract.blocks(n_items, self.log_n);
            let grid = Grid { blocks, threads: contract.threads, shared_bytes };
            // SAFETY: the caller's promise, and a grid as the contract asks.
            unsafe { driver.launch(*function, grid, bytemuck::bytes_of(&args)) }?;
        }
        Ok(())
    }
}

fn refused(words: String) -> DriverError {
    DriverError { call: "load kernels", words, out_of_memory: false }
}

fn missing(kernel: KernelId, entry_idx: u32, log_n: u32) -> DriverError {
    refused(format!("no kernel `{}` (entry {entry_idx}) is compiled for log N = {log_n}", kernel.name()))
}

fn load(
    driver: &dyn Driver,
    kernel: KernelId,
    entry_idx: u32,
    log_n: u32,
) -> DriverResult<(Function, LaunchContract)> {
    let contract =
        contract(kernel, entry_idx, log_n, WORD_BYTES).ok_or_else(|| missing(kernel, entry_idx, log_n))?;
    let module = ptx::module(contract.module).ok_or_else(|| missing(kernel, entry_idx, log_n))?;
    check_abi(module)?;
    Ok((driver.function(module.text, contract.entry, contract.shared_bytes)?, contract))
}

/// Refuses kernels that were compiled for another ABI than this program's.
fn check_abi(module: &ptx::Module) -> DriverResult<()> {
    let (name, expected, found) = (module.name, abi::ABI_VERSION, module.abi_version());
    if found == Some(expected) {
        return Ok(());
    }
    let found = found.map_or_else(|| "none".to_owned(), |version| version.to_string());
    Err(refused(format!("module {name}: expected ABI version {expected}, found {found}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_of_another_abi_are_refused() {
        let check = |text| check_abi(&ptx::Module { name: "odd", text }).map_err(|e| e.to_string());
        let expected = abi::ABI_VERSION;
        let other = "// made by hand\n// abi_version: 999\n.version 8.0";
        let refused =
            |found| Err(format!("load kernels: module odd: expected ABI version {expected}, found {found}"));
        assert_eq!(check(other), refused("999"));
        assert_eq!(check(".version 8.0"), refused("none"));
        assert!(ptx::MODULES.iter().all(|module| check_abi(module).is_ok()));
    }
}

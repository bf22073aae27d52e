//! Times of launches as a machine has shown them, and what they predict.
//!
//! ```text
//! time of a launch = launch + bytes / 1024 * per_kib + stored / 1024 * per_kib_stored
//!                  + multiplications / 1024 * per_kilo_multiplication
//! time of a step's copies over one route = step + bytes / 1024 * per_kib
//! ```
//!
//! with bytes and multiplications as `host::work` counts them: rows of a launch that are read or written, products of two words.
//! Stored bytes are those among them of keys, constants and inputs, which a run reads once or seldom, so that they come from
//! memory, where others may be in a cache. A
//! [`CostTable`] holds the numbers for each kernel and route, in nanoseconds, and what they were measured on. It is data:
//! `cargo xtask cost-table` writes one.
//!
//! [`CostTable::fit`] finds, kernel by kernel, the numbers (none negative) that are best in the sum of squares of *relative* errors, so that small
//! launches count as much as large ones. With four unknowns every choice of which are zero is tried.

use std::collections::BTreeMap;

use kernels_gpu::abi::KernelId;
use serde::{Deserialize, Serialize};

use crate::plan::{CopyKind, Plan, RowCopy, Tier};

/// A launch that was timed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// The kernel.
    pub kernel: KernelId,
    /// Bytes read and written.
    pub bytes: u64,
    /// Those of keys, constants and inputs.
    pub stored: u64,
    /// Products of two words.
    pub multiplications: u64,
    /// Its time.
    pub nanoseconds: f64,
}

/// What a kernel takes, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KernelCost {
    /// A launch, whatever it does.
    pub launch: f64,
    /// 1024 bytes that are read or written.
    pub per_kib: f64,
    /// 1024 bytes of keys, constants and inputs, on top.
    pub per_kib_stored: f64,
    /// 1024 products of two words.
    pub per_kilo_multiplication: f64,
}

impl KernelCost {
    /// Nanoseconds of a launch.
    pub fn predict(&self, bytes: u64, stored: u64, multiplications: u64) -> f64 {
        let [a, b, c, d] = features(bytes, stored, multiplications);
        self.per_kib * a + self.per_kib_stored * b + self.per_kilo_multiplication * c + self.launch * d
    }
}

/// Between which memories a copy goes, and in which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyRoute {
    /// The direction.
    pub kind: CopyKind,
    /// The lower tier; the device's own for an exchange.
    pub tier: Tier,
}

impl CopyRoute {
    /// That of a copy; none where it is no copy of the plan.
    pub fn of(plan: &Plan, copy: &RowCopy) -> Option<Self> {
        let kind = plan.copy_kind(copy)?;
        let below = if kind == CopyKind::Fetch { copy.from } else { copy.to };
        Some(Self { kind, tier: plan.buffer(below.buffer)?.tier })
    }

    /// The name in tables: `fetch host`, `spill file`, `exchange`.
    pub fn name(self) -> String {
        match self.kind {
            CopyKind::Fetch => format!("fetch {}", self.tier.name()),
            CopyKind::Spill => format!("spill {}", self.tier.name()),
            CopyKind::Exchange => "exchange".to_owned(),
        }
    }

    /// Bytes by route of some copies.
    pub fn bytes(plan: &Plan, copies: &[RowCopy]) -> BTreeMap<Self, u64> {
        let mut bytes = BTreeMap::new();
        for copy in copies {
            if let Some(route) = Self::of(plan, copy) {
                *bytes.entry(route).or_default() += u64::from(copy.rows) * plan.row_bytes() as u64;
            }
        }
        bytes
    }
}

/// Copies of one step over one route that were timed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CopyObservation {
    /// The route.
    pub route: CopyRoute,
    /// Bytes copied.
    pub bytes: u64,
    /// Their time.
    pub nanoseconds: f64,
}

/// What copies take, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CopyCost {
    /// A step, whatever it copies.
    pub step: f64,
    /// 1024 bytes.
    pub per_kib: f64,
}

/// Costs of kernels on one machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CostTable {
    /// Backend, with what tells it from others of its kind.
    pub backend: String,
    /// Machine and day, in the words of who measured.
    pub note: String,
    /// The parameters that kernels were timed at.
    pub params: String,
    /// By kernel name, in nanoseconds.
    pub kernels: BTreeMap<String, KernelCost>,
    /// By [`CopyRoute::name`], in nanoseconds; routes that were not measured are not there.
    #[serde(default)]
    pub copies: BTreeMap<String, CopyCost>,
}

const N_FEATURES: usize = 4;

fn features(bytes: u64, stored: u64, multiplications: u64) -> [f64; N_FEATURES] {
    // In this order: of two that explain as much, what grows with the launch goes before what does not.
    [bytes as f64 / 1024.0, stored as f64 / 1024.0, multiplications as f64 / 1024.0, 1.0]
}

impl CostTable {
    /// The costs that explain what was observed best.
    pub fn fit(backend: &str, note: &str, params: &str, observed: &[Observation]) -> Self {
        let mut by_kernel: BTreeMap<KernelId, Vec<&Observation>> = BTreeMap::new();
        for observation in observed.iter().filter(|o| o.nanoseconds > 0.0) {
            by_kernel.entry(observation.kernel).or_default().push(observation);
        }
        let kernels =
            by_kernel.into_iter().map(|(kernel, of)| (kernel.name().to_owned(), fit(&of))).collect();
        let (backend, note, params) = (backend.to_owned(), note.to_owned(), params.to_owned());
        Self { backend, note, params, kernels, copies: BTreeMap::new() }
    }

    /// With the costs of routes that explain best what was observed of copies.
    #[must_use]
    pub fn with_copies(mut self, observed: &[CopyObservation]) -> Self {
        let mut by_route: BTreeMap<CopyRoute, Vec<Observation>> = BTreeMap::new();
        for &CopyObservation { route, bytes, nanoseconds } in observed.iter().filter(|o| o.nanoseconds > 0.0)
        {
            // The kernel is not looked at.
            let kernel = KernelId::AddScalar;
            let like = Observation { kernel, bytes, stored: 0, multiplications: 0, nanoseconds };
            by_route.entry(route).or_default().push(like);
        }
        for (route, of) in by_route {
            let KernelCost { launch: step, per_kib, .. } = fit(&of.iter().collect::<Vec<_>>());
            self.copies.insert(route.name(), CopyCost { step, per_kib });
        }
        self
    }

    /// Nanoseconds of a step's copies over a route; none for one that the table has not.
    pub fn predict_copy(&self, route: CopyRoute, bytes: u64) -> Option<f64> {
        let CopyCost { step, per_kib } = self.copies.get(&route.name())?;
        Some(step + per_kib * bytes as f64 / 1024.0)
    }

    /// Nanoseconds of a launch; none for a kernel that the table has not.
    pub fn predict(&self, kernel: KernelId, bytes: u64, stored: u64, multiplications: u64) -> Option<f64> {
        self.kernels.get(kernel.name()).map(|cost| cost.predict(bytes, stored, multiplications))
    }
}

/// The best of all choices of features.
fn fit(observed: &[&Observation]) -> KernelCost {
    let mut best = (f64::INFINITY, [0.0; N_FEATURES]);
    for used in 1u32..1 << N_FEATURES {
        let Some(numbers) = solve(observed, used) else { continue };
        if numbers.iter().any(|&x| x < 0.0) {
            continue;
        }
        let error = observed.iter().map(|o| {
            let predicted: f64 =
                features(o.bytes, o.stored, o.multiplications).iter().zip(numbers).map(|(f, x)| f * x).sum();
            (predicted / o.nanoseconds - 1.0).powi(2)
        });
        let error: f64 = error.sum();
        // A number more must explain something.
        if error < best.0 * (1.0 - 1e-9) - 1e-12 || best.0.is_infinite() {
            best = (error, numbers);
        }
    }
    let [per_kib, per_kib_stored, per_kilo_multiplication, launch] = best.1;
    KernelCost { launch, per_kib, per_kib_stored, per_kilo_multiplication }
}

/// Least squares of the relative errors over the features of a bit mask: the normal equations, by elimination. `None` where they
/// have no single solution.
fn solve(observed: &[&Observation], used: u32) -> Option<[f64; N_FEATURES]> {
    let columns: Vec<usize> = (0..N_FEATURES).filter(|i| used >> i & 1 == 1).collect();
    let n = columns.len();
    // Features by their largest value, so that "zero" means something.
    let row = |o: &Observation| features(o.bytes, o.stored, o.multiplications);
    let largest = |i: usize| observed.iter().map(|o| row(o)[i]).fold(0.0, f64::max);
    let scales: Vec<f64> = columns.iter().map(|&i| largest(i)).collect();
    if scales.contains(&0.0) {
        return None;
    }
    let mut system = vec![vec![0.0; n + 1]; n];
    for o in observed {
        let f: Vec<f64> =
            columns.iter().zip(&scales).map(|(&i, scale)| row(o)[i] / scale / o.nanoseconds).collect();
        for (equation, &a) in system.iter_mut().zip(&f) {
            equation.iter_mut().zip(f.iter().chain([&1.0])).for_each(|(x, b)| *x += a * b);
        }
    }
    for i in 0..n {
        let pivot = (i..n).max_by(|&a, &b| system[a][i].abs().total_cmp(&system[b][i].abs()))?;
        system.swap(i, pivot);
        let trace: f64 = (0..n).map(|j| system[j][j].abs()).sum();
        if system[i][i].abs() <= 1e-9 * trace {
            return None;
        }
        for j in (0..n).filter(|&j| j != i) {
            let factor = system[j][i] / system[i][i];
            let from = system[i].clone();
            system[j].iter_mut().zip(from).for_each(|(x, y)| *x -= factor * y);
        }
    }
    let mut numbers = [0.0; N_FEATURES];
    for (i, (&column, scale)) in columns.iter().zip(scales).enumerate() {
        numbers[column] = system[i][n] / system[i][i] / scale;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes, stored bytes, multiplications.
    fn observe(kernel: KernelId, cost: KernelCost, sizes: &[(u64, u64, u64)]) -> Vec<Observation> {
        let time = |&(bytes, stored, multiplications): &(u64, u64, u64)| {
            let nanoseconds = cost.predict(bytes, stored, multiplications);
            Observation { kernel, bytes, stored, multiplications, nanoseconds }
        };
        sizes.iter().map(time).collect()
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-6 * b.abs().max(1.0)
    }

    #[test]
    fn what_follows_the_model_is_found_again() {
        let convert =
            KernelCost { launch: 3000.0, per_kib: 0.5, per_kib_stored: 0.0, per_kilo_multiplication: 20.0 };
        let add = KernelCost { per_kib: 0.25, ..KernelCost::default() };
        let inner = KernelCost { per_kib: 0.25, per_kib_stored: 0.75, ..KernelCost::default() };
        let sizes = [(1 << 20, 0, 1 << 18), (1 << 22, 0, 1 << 21), (1 << 24, 0, 1 << 20), (1 << 12, 0, 9)];
        let mut all = observe(KernelId::ConvertBasis, convert, &sizes);
        all.extend(observe(KernelId::Add, add, &[(1 << 16, 0, 0), (1 << 20, 0, 0), (1 << 22, 0, 0)]));
        let sizes = [(1 << 16, 1 << 15, 7), (1 << 20, 1 << 18, 1 << 10), (1 << 22, 9, 1 << 19)];
        all.extend(observe(KernelId::InnerProduct, inner, &sizes));
        let table = CostTable::fit("test", "today", "toy", &all);
        for (kernel, expected) in
            [(KernelId::ConvertBasis, convert), (KernelId::Add, add), (KernelId::InnerProduct, inner)]
        {
            let found = table.kernels[kernel.name()];
            assert!(close(found.launch, expected.launch), "{found:?}");
            assert!(close(found.per_kib, expected.per_kib), "{found:?}");
            assert!(close(found.per_kib_stored, expected.per_kib_stored), "{found:?}");
            assert!(close(found.per_kilo_multiplication, expected.per_kilo_multiplication), "{found:?}");
        }
        assert_eq!(table.predict(KernelId::Ntt, 1, 0, 1), None);
    }

    #[test]
    fn copies_by_route() {
        let fetch = CopyRoute { kind: CopyKind::Fetch, tier: Tier::Host };
        let exchange = CopyRoute { kind: CopyKind::Exchange, tier: Tier::Device };
        let o = |route, bytes: u64, nanoseconds| CopyObservation { route, bytes, nanoseconds };
        let observed: Vec<CopyObservation> = [1u64, 4, 16, 64]
            .into_iter()
            .flat_map(|kib| {
                let times = [3000.0 + 20.0 * kib as f64, 3.5 * kib as f64];
                [o(fetch, kib << 10, times[0]), o(exchange, kib << 10, times[1])]
            })
            .collect();
        let table = CostTable::default().with_copies(&observed);
        assert_eq!(table.copies.keys().collect::<Vec<_>>(), ["exchange", "fetch host"]);
        assert!(close(table.predict_copy(fetch, 100 << 10).unwrap(), 5000.0));
        assert!(close(table.predict_copy(exchange, 100 << 10).unwrap(), 350.0));
        assert_eq!(table.predict_copy(CopyRoute { kind: CopyKind::Spill, ..fetch }, 1), None);
    }

    #[test]
    fn no_number_is_negative_and_one_size_is_enough() {
        // Twice the bytes in half the time: a line through both would cross zero the wrong way.
        let o = |bytes, nanoseconds| Observation {
            kernel: KernelId::Ntt,
            bytes,
            stored: 0,
            multiplications: bytes,
            nanoseconds,
        };
        let table = CostTable::fit("test", "", "", &[o(1 << 10, 1000.0), o(1 << 11, 500.0)]);
        let KernelCost { launch, per_kib, per_kib_stored, per_kilo_multiplication } = table.kernels["ntt"];
        assert!([launch, per_kib, per_kib_stored, per_kilo_multiplication].iter().all(|&x| x >= 0.0));
        let same = [o(1 << 20, 1000.0), o(1 << 20, 1000.0), o(1 << 20, 0.0)];
        let table = CostTable::fit("test", "", "", &same);
        assert!(close(table.predict(KernelId::Ntt, 1 << 21, 0, 1 << 21).unwrap(), 2000.0));
        assert!(close(table.predict(KernelId::Ntt, 1 << 20, 0, 1 << 20).unwrap(), 1000.0));
        assert_eq!(CostTable::fit("test", "", "", &[]).kernels.len(), 0);
    }
}

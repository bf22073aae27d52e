//! The rules of a segment's launches.

use super::broken;
use crate::error::Result;
use crate::work::Work;
use bytemuck::Pod;
use kernels_gpu::abi::matrix::{fill_matrix, matrix_pool_words, matrix_word};
use kernels_gpu::abi::{
    ARENA, AutomorphismItem, ConvertBasisItem, ConvertSource, ConvertTarget, EmbedInverseItem,
    InnerProductItem, ItemKind, KernelId, Launch, MAX_CONVERT_SOURCES, MAX_CONVERT_TARGETS, MAX_TERMS,
    RoundResiduesItem, RoundTarget, RowItem, RowRef, Term, is_begun,
};
use scheduler::plan::{Access, Plan, Segment, Step};

/// Checks every launch and counts its work.
pub(super) fn check_segment(plan: &Plan, segment: &Segment) -> Result<Vec<Work>> {
    if segment.slots.is_empty() {
        return Err(broken("rows", format!("segment `{}` has no slot {ARENA} for the arena", segment.name)));
    }
    let mut checker = Checker { plan, segment, step: 0, writes: Vec::new(), reads: Vec::new() };
    let steps = segment.steps.iter().enumerate();
    steps.map(|(i, Step::Launch { launch, .. })| checker.launch(i, launch)).collect()
}

struct Checker<'a> {
    plan: &'a Plan,
    segment: &'a Segment,
    step: usize,
    /// Rows that the launch writes, each with its item.
    writes: Vec<(RowRef, u32)>,
    /// Rows of slots that may be written, which the launch reads, each with its item.
    reads: Vec<(RowRef, u32)>,
}

impl<'a> Checker<'a> {
    fn fail<T>(&self, rule: &'static str, problem: String) -> Result<T> {
        Err(broken(rule, format!("segment `{}` step {}: {problem}", self.segment.name, self.step)))
    }

    /// A table of the pool.
    fn table<T: Pod>(&self, what: &str, at: u32, n: usize) -> Result<&'a [T]> {
        let words = n.saturating_mul(size_of::<T>() / 8);
        let end = (at as usize).saturating_add(words);
        let slice = self.plan.pool.get(at as usize..end).and_then(|s| bytemuck::try_cast_slice(s).ok());
        match slice {
            Some(table) => Ok(table),
            None => {
                let len = self.plan.pool.len();
                self.fail("pool", format!("{what} at {at}..{end}, expected within 0..{len}"))
            }
        }
    }

    fn prime(&self, prime: u32) -> Result<u64> {
        match self.plan.primes.get(prime as usize) {
            Some(&q) => Ok(q),
            None => self.fail("primes", format!("prime {prime}, expected one of {}", self.plan.primes.len())),
        }
    }

    fn canonical(&self, what: &str, found: u64, q: u64) -> Result<()> {
        if found < q {
            return Ok(());
        }
        self.fail("canonical", format!("{what} {found}, expected below {q}"))
    }

    fn row(&self, row: RowRef, forbidden: Access) -> Result<Access> {
        let slot = self.segment.slots.get(row.slot as usize);
        match slot {
            Some(slot) if row.row < slot.rows && slot.access != forbidden => Ok(slot.access),
            Some(slot) if row.row < slot.rows => {
                let how = if forbidden == Access::Read { "written" } else { "read" };
                self.fail("rows", format!("{row:?} is {how}, but its slot is {:?}", slot.access))
            }
            _ => self.fail("rows", format!("{row:?}, expected in {:?}", slot.map(|s| 0..s.rows))),
        }
    }

    fn read(&mut self, row: RowRef, item: u32) -> Result<()> {
        if self.row(row, Access::Write)? == Access::ReadWrite {
            self.reads.push((row, item));
        }
        Ok(())
    }

    fn write(&mut self, row: RowRef, item: u32) -> Result<()> {
        self.row(row, Access::Read)?;
        self.writes.push((row, item));
        Ok(())
    }

    fn launch(&mut self, step: usize, launch: &Launch) -> Result<Work> {
        self.step = step;
        self.writes.clear();
        self.reads.clear();
        let n_items = launch.n_items as usize;
        let mut work = Work::default();
        match launch.kernel.item() {
            ItemKind::Row => {
                let items: &[RowItem] = self.table("items", launch.items_at, n_items)?;
                for (i, item) in (0..).zip(items) {
                    self.row_item(launch.kernel, item, i)?;
                    work.row_item(
                        launch.kernel,
                        launch.kernel.reads_c() && item.c != RowRef::NONE,
                        self.plan.log_n,
                    );
                }
            }
            ItemKind::InnerProduct => {
                let items: &[InnerProductItem] = self.table("items", launch.items_at, n_items)?;
                for (i, item) in (0..).zip(items) {
                    self.inner_product(launch.kernel, item, i)?;
                    let terms: &[Term] = self.table("terms", item.terms_at, item.n_terms as usize)?;
                    work.inner_product(item, terms, self.plan.log_n, self.plan.row_bytes());
                }
            }
            ItemKind::ConvertBasis => {
                let items: &[ConvertBasisItem] = self.table("items", launch.items_at, n_items)?;
                for (i, item) in (0..).zip(items) {
                    self.convert_basis(item, i)?;
                    work.convert_basis(launch.kernel, item, self.plan.log_n);
                }
            }
            ItemKind::Automorphism => {
                let items: &[AutomorphismItem] = self.table("items", launch.items_at, n_items)?;
                for (i, item) in (0..).zip(items) {
                    self.automorphism(item, i)?;
                    work.row_item(launch.kernel, false, self.plan.log_n);
                }
            }
            ItemKind::EmbedInverse => {
                let items: &[EmbedInverseItem] = self.table("items", launch.items_at, n_items)?;
                for (i, item) in (0..).zip(items) {
                    self.embed_inverse(item, i)?;
                    work.embed_inverse(self.plan.log_n);
                }
            }
            ItemKind::RoundResidues => {
                let items: &[RoundResiduesItem] = self.table("items", launch.items_at, n_items)?;
                for (i, item) in (0..).zip(items) {
                    self.round_residues(item, i)?;
                    work.round_residues(item, self.plan.log_n);
                }
            }
        }
        self.hazards(launch.kernel.in_place())?;
        Ok(work.launch(self.plan.row_bytes()))
    }

    fn row_item(&mut self, kernel: KernelId, item: &RowItem, i: u32) -> Result<()> {
        let q = self.prime(item.prime)?;
        if kernel.reads_scalar() {
            self.canonical("scalar", item.scalar, q)?;
        }
        if kernel == KernelId::NttRows && item.dst != item.a {
            let problem = format!(
                "item {i} ends the transform of {:?} in {:?}, expected where it is",
                item.a, item.dst
            );
            return self.fail("begun", problem);
        }
        self.read(item.a, i)?;
        if kernel.reads_b() {
            self.read(item.b, i)?;
        }
        if kernel.reads_c() {
            self.galois(item.galois)?;
            if item.c != RowRef::NONE {
                self.read(item.c, i)?;
            }
        }
        self.write(item.dst, i)
    }

    fn galois(&self, found: u32) -> Result<()> {
        let two_n = 2u32 << self.plan.log_n;
        if found.is_multiple_of(2) || found >= two_n {
            return self.fail("canonical", format!("Galois element {found}, expected odd, below {two_n}"));
        }
        Ok(())
    }

    fn inner_product(&mut self, kernel: KernelId, item: &InnerProductItem, i: u32) -> Result<()> {
        if !(1..=MAX_TERMS as u32).contains(&item.n_terms) {
            let problem = format!("item {i} has {} terms, expected 1 to {MAX_TERMS}", item.n_terms);
            return self.fail("sizes", problem);
        }
        let may_begin = kernel.most_begun(item.n_terms as usize);
        if u64::from(item.begun) >> may_begin != 0 {
            let problem = format!("item {i} has begun terms {:#b}, expected among {may_begin}", item.begun);
            return self.fail("begun", problem);
        }
        self.galois(item.galois)?;
        let q = self.prime(item.prime)?;
        item.times.iter().try_for_each(|&times| self.canonical("factor of the addend", times, q))?;
        let terms: &[Term] = self.table("terms", item.terms_at, item.n_terms as usize)?;
        for (t, term) in (0..).zip(terms) {
            if !term.is_valid(self.plan.log_n, is_begun(item.begun, t)) {
                let (part, log_repeat) = (term.part, term.log_repeat);
                let problem = format!(
                    "item {i}, term {t} reads part {part} of runs of 2^{log_repeat} values, expected one of a row"
                );
                return self.fail("repeat", problem);
            }
        }
        for h in 0..item.n_sums() {
            let reads = |h: usize| {
                let factors = terms.iter().flat_map(move |term| [term.a, term.b[h]]);
                factors.chain(Some(item.init[h]).filter(|&row| row != RowRef::NONE))
            };
            reads(h).try_for_each(|row| self.read(row, i))?;
            // The other sum of the item: a backend may write this one before it reads for that one.
            if item.n_sums() == 2 && reads(1 - h).any(|row| row == item.dst[h]) {
                let problem =
                    format!("{:?} is written by a sum of item {i} and read by the other", item.dst[h]);
                return self.fail("hazards", problem);
            }
            // What a block of a backend writes another one may not have read.
            if item.galois != 1 && reads(h).any(|row| row == item.dst[h]) {
                let problem = format!("{:?} is read by item {i}, which permutes what it writes", item.dst[h]);
                return self.fail("hazards", problem);
            }
            self.write(item.dst[h], i)?;
        }
        Ok(())
    }

    fn convert_basis(&mut self, item: &ConvertBasisItem, i: u32) -> Result<()> {
        let (n_src, n_dst) = (item.n_src as usize, item.n_dst as usize);
        let sizes = (1..=MAX_CONVERT_SOURCES).contains(&n_src) && (1..=MAX_CONVERT_TARGETS).contains(&n_dst);
        if !sizes {
            return self.fail(
                "sizes",
                format!(
                    "item {i} has {n_src} sources and {n_dst} targets, expected 1 to {MAX_CONVERT_SOURCES} and 1 to \
                     {MAX_CONVERT_TARGETS}"
                ),
            );
        }
        let sources: &[ConvertSource] = self.table("sources", item.src_at, n_src)?;
        let targets: &[ConvertTarget] = self.table("targets", item.dst_at, n_dst)?;
        let word_bits = self.plan.word.bits();
        if !item.matrix_at.is_multiple_of(2) {
            return self.fail("pool", format!("matrix at {}, expected an even index", item.matrix_at));
        }
        let matrix: &[u64] =
            self.table("matrix", item.matrix_at, matrix_pool_words(n_src, n_dst, word_bits))?;
        let entry = |source, target| matrix_word(matrix, source, target, n_src, word_bits);
        for source in sources {
            let q = self.prime(source.prime)?;
            self.canonical("inverse", source.inv, q)?;
            // frac = floor(2^(F + w) / d) fits a word because d > 2^F.
            let word = 1u128 << self.plan.word.bits();
            if u128::from(source.frac) >= word {
                return self.fail("canonical", format!("fraction {}, expected below {word}", source.frac));
            }
            self.read(source.row, i)?;
        }
        let mut primes = Vec::with_capacity(n_dst);
        for (j, target) in targets.iter().enumerate() {
            let q = self.prime(target.prime)?;
            primes.push(q);
            self.canonical("modulus", target.big, q)?;
            (0..n_src).try_for_each(|s| self.canonical("matrix entry", entry(s, j), q))?;
            self.write(target.row, i)?;
        }
        // A GPU multiplies by the columns, a CPU by the words.
        let mut expected = vec![0; matrix.len()];
        fill_matrix(&mut expected, n_src, &primes, word_bits, entry);
        if expected != matrix {
            let at = item.matrix_at;
            return self.fail("columns", format!("matrix at {at}, expected the columns of its words"));
        }
        Ok(())
    }

    fn automorphism(&mut self, item: &AutomorphismItem, i: u32) -> Result<()> {
        self.prime(item.prime)?;
        self.galois(item.galois)?;
        self.read(item.a, i)?;
        self.write(item.dst, i)
    }

    fn embed_inverse(&mut self, item: &EmbedInverseItem, i: u32) -> Result<()> {
        for row in item.src.into_iter().chain(item.factors) {
            self.read(row, i)?;
        }
        item.dst.into_iter().try_for_each(|row| self.write(row, i))
    }

    fn round_residues(&mut self, item: &RoundResiduesItem, i: u32) -> Result<()> {
        if item.n_dst == 0 {
            return self.fail("sizes", format!("item {i} has 0 targets, expected at least 1"));
        }
        let scale = f64::from_bits(item.scale);
        if !scale.is_finite() || scale <= 0.0 {
            return self.fail("canonical", format!("scale {scale}, expected a positive number"));
        }
        let targets: &[RoundTarget] = self.table("targets", item.dst_at, item.n_dst as usize)?;
        for row in item.src {
            self.read(row, i)?;
        }
        for target in targets {
            self.prime(target.prime)?;
            self.write(target.row, i)?;
        }
        Ok(())
    }

    /// No row is written twice, or written by one item and read by another; by the same only if `in_place`.
    fn hazards(&mut self, in_place: bool) -> Result<()> {
        self.writes.sort_unstable();
        if let Some(pair) = self.writes.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let ((row, i), j) = (pair[0], pair[1].1);
            return self.fail("hazards", format!("{row:?} is written by items {i} and {j}"));
        }
        for &(row, reader) in &self.reads {
            let Ok(found) = self.writes.binary_search_by_key(&row, |w| w.0) else { continue };
            let writer = self.writes[found].1;
            if writer != reader || !in_place {
                let problem = format!("{row:?} is written by item {writer} and read by item {reader}");
                return self.fail("hazards", problem);
            }
        }
        Ok(())
    }
}

//! Which values make a launch, and in which order launches and calls come. A call ends a group.

use std::collections::{BTreeMap, BTreeSet};

use fhe_core::params::{GaloisElement, Level};
use kernels_gpu::abi::{KernelId, MAX_BEGUN_TERMS};

use super::{Batch, Lowering, Work};
use crate::ckks_ir::{self, CallIdx};
use crate::compile::Options;
use crate::poly_ir::{Domain, Op, PolyId};

impl Lowering<'_> {
    fn is_computed(&self, id: PolyId) -> bool {
        let names = &self.of[id.0 as usize];
        names.iter().any(|&r| self.rows[r].made_by == Some(id) && self.rows[r].needed)
    }

    /// Finds the transforms that end where they are read: each row is a first factor in the sums of one item, or what one division
    /// subtracts, and nothing else. What several items read, as hoisted rotations do, is transformed once and kept.
    pub(super) fn find_begun(&mut self) {
        let computed: Vec<PolyId> = self.function.ids().filter(|&id| self.is_computed(id)).collect();
        // By row its readers, and whether each only ends it: a square reads its operand whole as well.
        let mut readers: BTreeMap<usize, Vec<(PolyId, bool)>> = BTreeMap::new();
        for &id in &computed {
            let ended = self.ended(id);
            for position in self.needed_positions(id) {
                let ended: Vec<usize> = ended.iter().map(|a| self.of[a.0 as usize][position]).collect();
                let reads = self.operands(id, position);
                let times = |rows: &[usize], row| rows.iter().filter(|&&r| r == row).count();
                for &row in reads.iter().collect::<BTreeSet<_>>() {
                    let ends = times(&reads, row) == times(&ended, row);
                    readers.entry(row).or_default().push((id, ends));
                }
            }
        }
        let ends = |row: &usize| {
            let readers = readers.get(row).map(Vec::as_slice).unwrap_or_default();
            let together = match readers {
                [_] => true,
                [(one, _), (other, _)] => {
                    let galois = self.galois_of_product(*one);
                    galois.is_some()
                        && galois == self.galois_of_product(*other)
                        && self.ended(*one) == self.ended(*other)
                }
                _ => false,
            };
            self.rows[*row].place.is_none()
                && !self.rows[*row].passed
                && together
                && readers.iter().all(|&(_, ends)| ends)
        };
        let begun = computed.iter().filter(|&&id| {
            let mut rows = self.of[id.0 as usize].iter().filter(|&&row| self.rows[row].needed);
            matches!(self.function.value(id).op, Op::Ntt(_)) && rows.all(ends)
        });
        self.begun = begun.copied().collect();
        // A division ends all rows of what it subtracts, or none.
        for id in computed {
            let Op::SubMulScalar { b, .. } = self.function.value(id).op else { continue };
            let positions = self.needed_positions(id).into_iter();
            let rows: Vec<usize> = positions.map(|position| self.of[b.0 as usize][position]).collect();
            if !rows.iter().all(|&row| self.is_begun(row)) {
                for maker in rows.into_iter().filter_map(|row| self.rows[row].made_by) {
                    self.begun.remove(&maker);
                }
            }
        }
    }

    /// The Galois element of an inner product, 1 where nothing is permuted; none of anything else.
    pub(super) fn galois_of_product(&self, id: PolyId) -> Option<GaloisElement> {
        match self.function.value(id).op {
            Op::InnerProduct { galois, .. } => Some(galois),
            _ => None,
        }
    }

    /// What a value reads that it can end: the first factors of an inner product that is not too long, and what a division
    /// subtracts.
    fn ended(&self, id: PolyId) -> Vec<PolyId> {
        match &self.function.value(id).op {
            Op::InnerProduct { terms, .. } if terms.len() <= MAX_BEGUN_TERMS => {
                terms.iter().map(|term| term.0).collect()
            }
            Op::SubMulScalar { b, .. } => vec![*b],
            _ => Vec::new(),
        }
    }

    /// Whether a row is of a transform that is only begun.
    pub(super) fn is_begun(&self, row: usize) -> bool {
        self.rows[row].made_by.is_some_and(|id| self.begun.contains(&id))
    }

    /// The kernel of a value; none where nothing is computed.
    fn kernel(&self, id: PolyId) -> Option<KernelId> {
        let value = self.function.value(id);
        let ends = || {
            let mut positions = self.needed_positions(id).into_iter();
            positions.any(|position| self.operands(id, position).into_iter().any(|row| self.is_begun(row)))
        };
        Some(match kernel(&value.op, value.domain)? {
            KernelId::Ntt if self.begun.contains(&id) => KernelId::NttColumns,
            KernelId::InnerProduct if ends() => KernelId::NttRowsInnerProduct,
            KernelId::SubMulScalar if ends() => KernelId::NttRowsSubMulScalar,
            kernel => kernel,
        })
    }

    /// The launches and calls of the function, in order.
    pub(super) fn batches(&self, options: &Options) -> Vec<Work> {
        let n_devices = self.sharding.in_group() as usize;
        let mut work = Vec::new();
        let mut group: Vec<PolyId> = Vec::new();
        let mut size = 0;
        let mut of_origin = 0;
        let mut last: Option<(ckks_ir::ValueId, Level)> = None;
        let mut called: BTreeSet<CallIdx> = BTreeSet::new();
        for id in self.function.ids() {
            let value = self.function.value(id);
            if let Op::Result { call, .. } = value.op
                && called.insert(call)
            {
                self.close(&mut group, options, &mut work);
                work.push(Work::Call(call));
                (size, of_origin, last) = (0, 0, None);
            }
            if !self.is_computed(id) {
                continue;
            }
            let origin = value.origin;
            let here = (origin.value, origin.level);
            if last != Some(here) {
                let full = size + of_origin > options.batch_rows as usize * n_devices;
                if last.is_some_and(|(_, level)| level != origin.level) || full {
                    self.close(&mut group, options, &mut work);
                    size = 0;
                }
                of_origin = 0;
                last = Some(here);
            }
            size += value.basis.len();
            of_origin += value.basis.len();
            group.push(id);
        }
        self.close(&mut group, options, &mut work);
        work
    }

    /// Orders a group by depth and kernel.
    fn close(&self, group: &mut Vec<PolyId>, options: &Options, batches: &mut Vec<Work>) {
        let mut depth: BTreeMap<PolyId, u32> = BTreeMap::new();
        // By depth and kernel; what is rounded goes first, so that conversions stand next to their transforms.
        let mut stages: BTreeMap<(u32, bool, KernelId), Vec<PolyId>> = BTreeMap::new();
        let mut level = Level(0);
        for id in group.drain(..) {
            let names = &self.of[id.0 as usize];
            let operands = (0..names.len()).flat_map(|position| self.operands(id, position));
            let makers = operands.filter_map(|r| self.rows[r].made_by);
            let own = makers.filter_map(|maker| depth.get(&maker)).max().map_or(0, |d| d + 1);
            depth.insert(id, own);
            let value = self.function.value(id);
            level = value.origin.level;
            if let Some(kernel) = self.kernel(id) {
                let last = kernel != KernelId::RoundResidues;
                stages.entry((own, last, kernel)).or_default().push(id);
            }
        }
        let mut stages = stages.into_iter().map(|((.., kernel), values)| (kernel, values)).peekable();
        while let Some((kernel, values)) = stages.next() {
            let transforms = stages.next_if(|(next, _)| {
                kernel == KernelId::ConvertBasis && matches!(next, KernelId::Ntt | KernelId::NttColumns)
            });
            match transforms {
                Some((of, transforms)) => {
                    self.in_pieces(values, (of, &transforms), level, options, batches);
                }
                None => batches.push(Work::Launch(Batch { kernel, values, level })),
            }
        }
    }

    /// Conversions and transforms, a piece of [`Options::cache_bytes`] after the other.
    fn in_pieces(
        &self,
        mut conversions: Vec<PolyId>,
        (of, transforms): (KernelId, &[PolyId]),
        level: Level,
        options: &Options,
        batches: &mut Vec<Work>,
    ) {
        let row_bytes = u64::from(self.params.word().bits() / 8) << self.params.log_n();
        let limit = options.cache_bytes / row_bytes * u64::from(self.sharding.in_group());
        let mut rest = transforms;
        while let Some(first) = rest.first() {
            let mut rows = 0;
            let fits = rest.iter().take_while(|id| {
                rows += self.function.value(**id).basis.len() as u64;
                rows <= limit || *id == first
            });
            let (piece, after) = rest.split_at(fits.count());
            rest = after;
            let rows = |&id: &PolyId| {
                let n_rows = self.of[id.0 as usize].len();
                (0..n_rows).flat_map(move |position| self.operands(id, position))
            };
            let makers: BTreeSet<PolyId> =
                piece.iter().flat_map(rows).filter_map(|row| self.rows[row].made_by).collect();
            // What nobody transforms goes with the last piece.
            let needed = |id: &PolyId| rest.is_empty() || makers.contains(id);
            let (now, later): (Vec<_>, Vec<_>) = conversions.into_iter().partition(needed);
            conversions = later;
            for (kernel, values) in [(KernelId::ConvertBasis, now), (of, piece.to_vec())] {
                if !values.is_empty() {
                    batches.push(Work::Launch(Batch { kernel, values, level }));
                }
            }
        }
    }
}

/// The kernel of an operation; none where nothing is computed.
fn kernel(op: &Op, domain: Domain) -> Option<KernelId> {
    Some(match op {
        Op::Input { .. } | Op::Constant(_) | Op::Key { .. } => return None,
        Op::Slice(_) | Op::Concat(_) | Op::Result { .. } => return None,
        Op::EmbedInverse(_) => KernelId::EmbedInverse,
        Op::RoundResidues(_) => KernelId::RoundResidues,
        Op::Ntt(_) => KernelId::Ntt,
        Op::Intt(_) => KernelId::Intt,
        Op::ConvertBasis { .. } => KernelId::ConvertBasis,
        Op::Add(..) => KernelId::Add,
        Op::Sub(..) => KernelId::Sub,
        Op::Neg(_) => KernelId::Neg,
        Op::InnerProduct { .. } => KernelId::InnerProduct,
        Op::MulScalar(..) => KernelId::MulScalar,
        Op::AddScalar(..) => KernelId::AddScalar,
        Op::SubMulScalar { .. } => KernelId::SubMulScalar,
        Op::Automorphism(..) if domain == Domain::Eval => KernelId::AutomorphismEval,
        Op::Automorphism(..) => KernelId::AutomorphismCoeff,
    })
}

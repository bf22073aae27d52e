//! Which values make a launch, and in which order launches and calls come. A call ends a group.

use std::collections::{BTreeMap, BTreeSet};

use fhe_core::params::{GaloisElement, Level};
use kernels_gpu::abi::{KernelId, MAX_BEGUN_TERMS};

use super::{Batch, Columns, Lowering, Work};
use crate::ckks_ir::{self, CallIdx};
use crate::compile::Options;
use crate::poly_ir::{Domain, Op, PolyId};

impl Lowering<'_> {
    pub(super) fn is_computed(&self, id: PolyId) -> bool {
        let names = &self.of[id.0 as usize];
        names.iter().any(|&r| self.rows[r].made_by == Some(id) && self.rows[r].needed)
    }

    /// Finds the transforms that end where they are read: each row is a first factor in the sums of one item, or what one division
    /// subtracts, and nothing else. What several items read, as hoisted rotations do, is transformed once and kept.
    pub(super) fn find_begun(&mut self) {
        let computed: Vec<PolyId> = self.function.ids().filter(|&id| self.is_computed(id)).collect();
        let transformed = |row: usize| {
            let maker = self.rows[row].made_by;
            maker.is_some_and(|id| matches!(self.function.value(id).op, Op::Ntt(_)))
        };
        let mut readers = vec![Readers::None; self.rows.len()];
        let (mut reads, mut ended_rows) = (Vec::new(), Vec::new());
        for &id in &computed {
            let ended = self.ended(id);
            for position in self.needed_positions(id) {
                self.operands_into(id, position, &mut reads);
                reads.retain(|&row| transformed(row));
                reads.sort_unstable();
                ended_rows.clear();
                ended_rows.extend(ended.iter().map(|a| self.of[a.0 as usize][position]));
                ended_rows.sort_unstable();
                for same in reads.chunk_by(|a, b| a == b) {
                    let row = same[0];
                    let n_ended =
                        ended_rows.partition_point(|&r| r <= row) - ended_rows.partition_point(|&r| r < row);
                    // A square reads its operand whole as well.
                    readers[row].add(id, same.len() == n_ended);
                }
            }
        }
        let ends = |row: &usize| {
            let together = match readers[*row] {
                Readers::One(_) => true,
                Readers::Two(one, other) => {
                    let galois = self.galois_of_product(one);
                    galois.is_some()
                        && galois == self.galois_of_product(other)
                        && self.ended(one) == self.ended(other)
                }
                Readers::None | Readers::Others => false,
            };
            self.rows[*row].place.is_none() && !self.rows[*row].passed && together
        };
        let mut begun = vec![false; self.begun.len()];
        for &id in &computed {
            let mut rows = self.of[id.0 as usize].iter().filter(|&&row| self.rows[row].needed);
            begun[id.0 as usize] = matches!(self.function.value(id).op, Op::Ntt(_)) && rows.all(ends);
        }
        self.begun = begun;
        // A division ends all rows of what it subtracts, or none.
        for id in computed {
            let Op::SubMulScalar { b, .. } = self.function.value(id).op else { continue };
            let positions = self.needed_positions(id).into_iter();
            let rows: Vec<usize> = positions.map(|position| self.of[b.0 as usize][position]).collect();
            if !rows.iter().all(|&row| self.is_begun(row)) {
                for maker in rows.into_iter().filter_map(|row| self.rows[row].made_by) {
                    self.begun[maker.0 as usize] = false;
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
        self.rows[row].made_by.is_some_and(|id| self.begun[id.0 as usize])
    }

    /// The kernel of a value; none where nothing is computed.
    fn kernel(&self, id: PolyId) -> Option<KernelId> {
        let value = self.function.value(id);
        let ends = || {
            let (mut positions, mut rows) = (self.needed_positions(id).into_iter(), Vec::new());
            positions.any(|position| {
                self.operands_into(id, position, &mut rows);
                rows.iter().any(|&row| self.is_begun(row))
            })
        };
        Some(match kernel(&value.op, value.domain)? {
            KernelId::Intt if self.columns[id.0 as usize].is_some() => KernelId::InttRows,
            KernelId::ConvertBasis if self.columns[id.0 as usize].is_some() => KernelId::ConvertBasisColumns,
            KernelId::Ntt if self.begun[id.0 as usize] => KernelId::NttColumns,
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
        let mut depth = vec![None; self.function.values.len()];
        for id in self.function.ids() {
            let value = self.function.value(id);
            if let Op::Result { call, .. } = value.op
                && called.insert(call)
            {
                self.close(&mut group, &mut depth, options, &mut work);
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
                    self.close(&mut group, &mut depth, options, &mut work);
                    size = 0;
                }
                of_origin = 0;
                last = Some(here);
            }
            size += value.basis.len();
            of_origin += value.basis.len();
            group.push(id);
        }
        self.close(&mut group, &mut depth, options, &mut work);
        work
    }

    /// Orders a group by depth and kernel. `depth` has none of any value before and after.
    fn close(
        &self,
        group: &mut Vec<PolyId>,
        depth: &mut [Option<u32>],
        options: &Options,
        batches: &mut Vec<Work>,
    ) {
        // By depth and kernel; what is rounded goes first, so that conversions stand next to their transforms.
        let mut stages: BTreeMap<(u32, bool, KernelId), Vec<PolyId>> = BTreeMap::new();
        let mut level = Level(0);
        for &id in group.iter() {
            let makers = self.makers(id).into_iter();
            let own = makers.filter_map(|maker| depth[maker.0 as usize]).max().map_or(0, |d| d + 1);
            depth[id.0 as usize] = Some(own);
            let value = self.function.value(id);
            level = value.origin.level;
            if let Some(kernel) = self.kernel(id) {
                let last = kernel != KernelId::RoundResidues;
                stages.entry((own, last, kernel)).or_default().push(id);
            }
        }
        group.drain(..).for_each(|id| depth[id.0 as usize] = None);
        let mut push = |kernel, values: Vec<PolyId>| {
            if !values.is_empty() {
                batches.push(Work::Launch(Batch { kernel, values, level }));
            }
        };
        let mut stages = stages.into_iter().map(|((.., kernel), values)| (kernel, values)).peekable();
        while let Some((kernel, values)) = stages.next() {
            let transforms = stages.next_if(|(next, _)| {
                kernel == KernelId::ConvertBasis && matches!(next, KernelId::Ntt | KernelId::NttColumns)
            });
            match transforms {
                Some((of, transforms)) => {
                    for (conversions, transforms) in self.conversions_in_pieces(values, &transforms, options)
                    {
                        push(kernel, conversions);
                        push(of, transforms);
                    }
                }
                None if kernel == KernelId::ConvertBasisColumns => {
                    let is_kept = |id: &&PolyId| self.columns[id.0 as usize] == Some(Columns::Kept);
                    // Of one device only for what it transforms next: what several send one another arrives beside the piece before.
                    let together = self.sharding.in_group() == 1 && !values.iter().any(|id| is_kept(&id));
                    let pieces = if together { vec![&values[..]] } else { self.in_pieces(&values, options) };
                    for piece in pieces {
                        push(kernel, piece.to_vec());
                        push(KernelId::NttRows, piece.iter().filter(is_kept).copied().collect());
                    }
                }
                None => push(kernel, values),
            }
        }
    }

    /// Conversions with their transforms, a piece after the other.
    fn conversions_in_pieces(
        &self,
        mut conversions: Vec<PolyId>,
        transforms: &[PolyId],
        options: &Options,
    ) -> Vec<(Vec<PolyId>, Vec<PolyId>)> {
        let pieces = self.in_pieces(transforms, options);
        let last = pieces.len().saturating_sub(1);
        let with_conversions = |(i, piece): (usize, &[PolyId])| {
            let makers: BTreeSet<PolyId> = piece.iter().flat_map(|&id| self.makers(id)).collect();
            // What nobody transforms goes with the last piece.
            let needed = |id: &PolyId| i == last || makers.contains(id);
            let (now, later): (Vec<_>, Vec<_>) =
                core::mem::take(&mut conversions).into_iter().partition(needed);
            conversions = later;
            (now, piece.to_vec())
        };
        pieces.into_iter().enumerate().map(with_conversions).collect()
    }

    /// Transforms, a piece of up to [`Options::cache_bytes`] after the other, as few as can be and of about the same size.
    fn in_pieces<'a>(&self, values: &'a [PolyId], options: &Options) -> Vec<&'a [PolyId]> {
        let row_bytes = u64::from(self.params.word().bits() / 8) << self.params.log_n();
        let limit = (options.cache_bytes / row_bytes * u64::from(self.sharding.in_group())).max(1);
        let rows_of = |id: PolyId| self.function.value(id).basis.len() as u64;
        let (mut rest, mut pieces) = (values, Vec::new());
        while let Some(first) = rest.first() {
            let left: u64 = rest.iter().map(|&id| rows_of(id)).sum();
            let goal = left / left.div_ceil(limit).max(1);
            let mut rows = 0;
            let fits = rest.iter().take_while(|id| {
                let middle = rows + rows_of(**id) / 2;
                rows += rows_of(**id);
                (rows <= limit && middle <= goal) || *id == first
            });
            let (piece, after) = rest.split_at(fits.count());
            rest = after;
            pieces.push(piece);
        }
        pieces
    }
}

/// The values that read a row, as far as it matters.
#[derive(Clone, Copy)]
enum Readers {
    None,
    One(PolyId),
    Two(PolyId, PolyId),
    /// More than two, or one that reads it whole.
    Others,
}

impl Readers {
    fn add(&mut self, id: PolyId, ends: bool) {
        *self = match *self {
            Self::None if ends => Self::One(id),
            Self::One(other) if ends => Self::Two(other, id),
            _ => Self::Others,
        };
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

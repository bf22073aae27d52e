//! Which conversions stand between two transforms, so that the columns of both are done where they are
//! ([`KernelId::ConvertBasisColumns`](kernels_gpu::abi::KernelId::ConvertBasisColumns), docs/adr/0030).

use super::Lowering;
use crate::poly_ir::{Domain, Op, PolyId};

/// How a value stands at such a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Columns {
    /// It is the inverse transform of sources.
    Source,
    /// It is the conversion; who reads its transforms ends them.
    Ended,
    /// It is the conversion, and its transforms are ended where they are, before they are read.
    Kept,
}

/// What reads a row of coefficients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    None,
    One(PolyId),
    Many,
}

impl Lowering<'_> {
    /// Finds the conversions all of whose sources are inverse transforms that nothing else reads, and whose results are transformed and not
    /// read otherwise. From then on the rows of their transforms are those of the conversions.
    pub(super) fn find_columns(&mut self) {
        let readers = self.readers_of_coefficients();
        let transforms = self.transforms_of_conversions(&readers);
        let mut conversions: Vec<PolyId> =
            self.function.ids().filter(|id| transforms[id.0 as usize].is_some()).collect();
        loop {
            let mut is_conversion = vec![false; self.columns.len()];
            conversions.iter().for_each(|id| is_conversion[id.0 as usize] = true);
            let read_by_conversion = |row: usize| {
                let own = &self.rows[row];
                let one = matches!(readers[row], Reader::One(id) if is_conversion[id.0 as usize]);
                !own.needed || (one && own.place.is_none() && !own.passed)
            };
            let is_source = |&row: &usize| {
                let maker = self.rows[row].made_by.map(|id| (id, self.function.value(id)));
                maker.is_some_and(|(id, value)| {
                    matches!(value.op, Op::Intt(_))
                        && self.of[id.0 as usize].iter().all(|&row| read_by_conversion(row))
                })
            };
            let n_before = conversions.len();
            conversions.retain(|&id| self.operands(id, 0).iter().all(is_source));
            if conversions.len() == n_before {
                break;
            }
        }
        self.join(&conversions, &transforms);
    }

    /// By conversion the transform of its results, if nothing else reads them, each row that one has the other has too, and both are rows of
    /// the arena.
    fn transforms_of_conversions(&self, readers: &[Reader]) -> Vec<Option<PolyId>> {
        let mut found = vec![None; self.columns.len()];
        for n in self.function.ids() {
            let Op::Ntt(a) = self.function.value(n).op else { continue };
            let (from, to) = (&self.of[a.0 as usize], &self.of[n.0 as usize]);
            let Some(c) = from.first().and_then(|&row| self.rows[row].made_by) else { continue };
            let is_conversion = matches!(self.function.value(c).op, Op::ConvertBasis { .. });
            let inside = |row: usize| self.rows[row].place.is_none() && !self.rows[row].passed;
            let same = |(&from, &to): (&usize, &usize)| {
                let (a, b) = (&self.rows[from], &self.rows[to]);
                a.needed == b.needed && a.device == b.device && inside(from) && inside(to)
            };
            let any = to.iter().any(|&row| self.rows[row].needed);
            if is_conversion && any && *from == self.of[c.0 as usize] && from.iter().zip(to).all(same) {
                found[c.0 as usize] = Some(n);
            }
        }
        for (of, transform) in self.of.iter().zip(&mut found) {
            let only =
                |&row: &usize| !self.rows[row].needed || transform.map(Reader::One) == Some(readers[row]);
            if !of.iter().all(only) {
                *transform = None;
            }
        }
        found
    }

    /// By row of coefficients what reads it.
    fn readers_of_coefficients(&self) -> Vec<Reader> {
        let mut readers = vec![Reader::None; self.rows.len()];
        let mut reads = Vec::new();
        for id in self.function.ids() {
            let value = self.function.value(id);
            let reads_coefficients = value.domain == Domain::Coeff || matches!(value.op, Op::Ntt(_));
            if !reads_coefficients || !self.is_computed(id) {
                continue;
            }
            let mut positions = self.needed_positions(id);
            if matches!(value.op, Op::ConvertBasis { .. }) {
                // They all read the same.
                positions.truncate(1);
            }
            for position in positions {
                self.operands_into(id, position, &mut reads);
                for &row in &reads {
                    readers[row] = match readers[row] {
                        Reader::None => Reader::One(id),
                        Reader::One(other) if other == id => Reader::One(id),
                        _ => Reader::Many,
                    };
                }
            }
        }
        readers
    }

    /// Has the conversions begin their transforms, whose rows become theirs.
    fn join(&mut self, conversions: &[PolyId], transforms: &[Option<PolyId>]) {
        let mut joined: Vec<usize> = (0..self.rows.len()).collect();
        for &c in conversions {
            let Some(n) = transforms[c.0 as usize] else { continue };
            for row in self.operands(c, 0) {
                if let Some(source) = self.rows[row].made_by {
                    self.columns[source.0 as usize] = Some(Columns::Source);
                }
            }
            let begun = self.begun[n.0 as usize];
            self.begun[c.0 as usize] = begun;
            self.columns[c.0 as usize] = Some(if begun { Columns::Ended } else { Columns::Kept });
            for (&from, &to) in self.of[c.0 as usize].iter().zip(&self.of[n.0 as usize]) {
                joined[to] = from;
                self.rows[to].needed = false;
            }
        }
        for row in self.of.iter_mut().flatten() {
            *row = joined[*row];
        }
    }
}

//! A plan, row by row on `u64` words with `u128` products: a third witness, which shares only the transform
//! with the reference and no code with the kernels.

use std::collections::BTreeMap;

use fhe_core::ckks::{Ciphertext, Encoder, check_raw_slots};
use fhe_core::math::fft::SpecialFft;
use fhe_core::math::word::Word;
use fhe_core::params::{Level, LimbIdx};
use fhe_core::ring::RnsPoly;
use kernels_gpu::abi::{KernelId, RowRef, fraction_bits};

use super::Env;
use crate::ckks_ir::OutputIdx;
use crate::error::{Error, Result};
use crate::plan::{
    BufferId, CopyKind, DeviceIdx, HostStep, Item, Place, Plan, PlanStep, RowCopy, Step, pack, sums,
};

/// Sets a plan up and runs it once; outputs are given at `levels`, by output.
///
/// # Errors
/// [`Error::Interp`] when the plan leaves its buffers or something is missing; [`Error::Core`] of the
/// reference.
pub fn run<W: Word>(plan: &Plan, env: &Env<'_, W>, levels: &[Level]) -> Result<Vec<Ciphertext<W>>> {
    let mut machine = Machine::new(plan, env);
    for step in &plan.setup {
        machine.host(step)?;
    }
    machine.run(levels)
}

/// A plan with its memory.
#[derive(Debug)]
pub struct Machine<'a, W> {
    plan: &'a Plan,
    env: &'a Env<'a, W>,
    buffers: Vec<Vec<Option<Vec<u64>>>>,
}

impl<'a, W: Word> Machine<'a, W> {
    /// Empty buffers: reading a row that was not written is an error.
    pub fn new(plan: &'a Plan, env: &'a Env<'a, W>) -> Self {
        let buffers = plan.buffers.iter().map(|b| vec![None; b.rows as usize]).collect();
        Self { plan, env, buffers }
    }

    /// Executes the schedule.
    ///
    /// # Errors
    /// As [`run`].
    pub fn run(&mut self, levels: &[Level]) -> Result<Vec<Ciphertext<W>>> {
        let mut outputs: BTreeMap<OutputIdx, Vec<Option<Vec<u64>>>> = BTreeMap::new();
        let level_of = |output: OutputIdx| levels.get(output.0 as usize).copied().unwrap_or(Level(0));
        for step in &self.plan.schedule {
            match step {
                PlanStep::Call { segment, bindings } => {
                    let found = self.plan.segment(*segment);
                    let found = found.ok_or_else(|| Error::Interp(format!("no segment {}", segment.0)))?;
                    for Step::Launch { launch, .. } in &found.steps {
                        let items = self.plan.items(launch).map_err(Error::Interp)?;
                        for item in &items {
                            self.item(launch.kernel, item, bindings)?;
                        }
                    }
                }
                PlanStep::Host(HostStep::Download { buffer, output }) => {
                    let basis = &self.env.ring.params().level(level_of(*output))?.basis;
                    let rows = outputs.entry(*output).or_insert_with(|| vec![None; 2 * basis.len()]);
                    self.download(*buffer, basis, rows)?;
                }
                PlanStep::Host(step) => self.host(step)?,
                PlanStep::Copy(copies) => copies.iter().try_for_each(|copy| self.copy(copy))?,
                // In order, there is nothing to wait for.
                PlanStep::Record { .. } | PlanStep::Wait { .. } => {}
            }
        }
        outputs.into_iter().map(|(output, rows)| self.ciphertext(&rows, level_of(output))).collect()
    }

    /// Executes a step that writes a buffer.
    ///
    /// # Errors
    /// As [`run`].
    pub fn host(&mut self, step: &HostStep) -> Result<()> {
        let params = self.env.ring.params();
        // The object, and its basis if it is shared out by limbs.
        let (buffer, rows, basis): (BufferId, Vec<Vec<u64>>, Option<Vec<LimbIdx>>) = match *step {
            HostStep::Encode { encoded, buffer } => {
                let encoder = Encoder::new(self.env.ring);
                let plain = self.env.encode(&encoder, &encoded)?;
                if encoded.log_repeat > 0 {
                    let own = self.owned(buffer, limbs(&plain), plain.basis());
                    let own: Vec<&[u64]> = own.iter().map(Vec::as_slice).collect();
                    let packed = pack(&own, encoded.log_repeat)
                        .ok_or_else(|| Error::Interp(format!("`{step}`: its values are not in such runs")))?;
                    (buffer, packed.chunks(self.plan.row_words()).map(<[u64]>::to_vec).collect(), None)
                } else {
                    (buffer, limbs(&plain), Some(plain.basis().to_vec()))
                }
            }
            HostStep::LoadSlots { encoded, buffer } => {
                let slots = self.env.slots(encoded.constant)?;
                check_raw_slots(params, &slots, encoded.level, encoded.log_scale)?;
                (buffer, doubles(&slots), None)
            }
            HostStep::LoadFactors { buffer } => {
                (buffer, doubles(&SpecialFft::new(self.plan.row_words()).inverse_factors()), None)
            }
            HostStep::LoadKey { key, buffer } => (
                buffer,
                self.env.key_rows(key)?.into_iter().map(words).collect(),
                Some(self.plan.key_limbs(key)),
            ),
            HostStep::Upload { input, buffer } => {
                let input = self.env.input(input)?;
                let basis = params.level(input.level())?.basis.clone();
                (buffer, input.polys().iter().flat_map(limbs).collect(), Some(basis))
            }
            HostStep::Download { .. } => return Ok(()),
        };
        let rows = match basis {
            Some(basis) => self.owned(buffer, rows, &basis),
            None => rows,
        };
        let expected = self.plan.buffer(buffer).map(|b| b.rows as usize);
        if expected != Some(rows.len()) {
            return Err(Error::Interp(format!("`{step}`: {} rows, expected {expected:?}", rows.len())));
        }
        self.buffers[buffer.0 as usize] = rows.into_iter().map(Some).collect();
        Ok(())
    }

    fn device(&self, buffer: BufferId) -> DeviceIdx {
        self.plan.buffer(buffer).map_or(DeviceIdx(0), |b| b.device)
    }

    /// Of an object's rows those that a buffer's device owns.
    fn owned(&self, buffer: BufferId, mut rows: Vec<Vec<u64>>, basis: &[LimbIdx]) -> Vec<Vec<u64>> {
        let n_blocks = (rows.len() / basis.len().max(1)) as u32;
        let own = self.plan.sharding().rows(self.device(buffer), basis, n_blocks);
        own.into_iter().map(|row| core::mem::take(&mut rows[row as usize])).collect()
    }

    fn place(&mut self, place: Place, at: u32) -> Result<&mut Option<Vec<u64>>> {
        let buffer = self.buffers.get_mut(place.buffer.0 as usize);
        let row = buffer.and_then(|b| b.get_mut(place.row as usize + at as usize));
        row.ok_or_else(|| Error::Interp(format!("{place} + {at} is outside of its buffer")))
    }

    /// A spill leaves nothing of what it read, other copies do.
    fn copy(&mut self, copy: &RowCopy) -> Result<()> {
        let kind = self.plan.copy_kind(copy);
        let kind = kind.ok_or_else(|| Error::Interp(format!("`{copy}` is no copy that may be made")))?;
        for at in 0..copy.rows {
            let from = self.place(copy.from, at)?;
            let words = if kind == CopyKind::Spill { from.take() } else { from.clone() };
            let missing = || Error::Interp(format!("`{copy}` before row {at} is written"));
            *self.place(copy.to, at)? = Some(words.ok_or_else(missing)?);
        }
        Ok(())
    }

    /// A buffer's rows of a ciphertext.
    fn download(&self, buffer: BufferId, basis: &[LimbIdx], into: &mut [Option<Vec<u64>>]) -> Result<()> {
        let rows = self.buffers.get(buffer.0 as usize).map_or(&[][..], Vec::as_slice);
        let own = self.plan.sharding().rows(self.device(buffer), basis, 2);
        if rows.len() != own.len() {
            return Err(Error::Interp(format!("buffer {} has {} rows", buffer.0, rows.len())));
        }
        for (row, at) in rows.iter().zip(own) {
            into[at as usize].clone_from(row);
        }
        Ok(())
    }

    fn ciphertext(&self, rows: &[Option<Vec<u64>>], level: Level) -> Result<Ciphertext<W>> {
        let params = self.env.ring.params();
        let info = params.level(level)?;
        let poly = |rows: &[Option<Vec<u64>>]| -> Result<_> {
            let missing = || Error::Interp("an output is not all written".to_owned());
            let mut data: Vec<W> = Vec::new();
            for row in rows {
                data.extend(row.as_ref().ok_or_else(missing)?.iter().map(|&w| W::truncate(w)));
            }
            Ok(RnsPoly::from_words(self.env.ring, &info.basis, data)?)
        };
        let polys = rows.chunks(info.basis.len()).map(poly).collect::<Result<Vec<_>>>()?;
        Ok(Ciphertext::new(params, polys, level, info.log_scale)?)
    }

    fn read(&self, row: RowRef, bindings: &[BufferId]) -> Result<&[u64]> {
        let buffer = bindings.get(row.slot as usize).and_then(|b| self.buffers.get(b.0 as usize));
        let held = buffer.and_then(|b| b.get(row.row as usize));
        match held {
            Some(Some(words)) => Ok(words),
            Some(None) => Err(Error::Interp(format!("{row:?} is read before it is written"))),
            None => Err(Error::Interp(format!("{row:?} is outside of its buffer"))),
        }
    }

    fn write(&mut self, row: RowRef, bindings: &[BufferId], words: Vec<u64>) -> Result<()> {
        let buffer = bindings.get(row.slot as usize).and_then(|b| self.buffers.get_mut(b.0 as usize));
        let held = buffer.and_then(|b| b.get_mut(row.row as usize));
        *held.ok_or_else(|| Error::Interp(format!("{row:?} is outside of its buffer")))? = Some(words);
        Ok(())
    }

    fn transformed(&self, a: &[u64], prime: u32) -> Vec<u64> {
        let mut row: Vec<W> = a.iter().map(|&w| W::truncate(w)).collect();
        self.env.ring.ntt_table(LimbIdx(prime)).forward(&mut row);
        words(&row)
    }

    fn item(&mut self, kernel: KernelId, item: &Item, bindings: &[BufferId]) -> Result<()> {
        let prime = |p: u32| {
            let q = self.plan.primes.get(p as usize).copied();
            q.map(u128::from).ok_or_else(|| Error::Interp(format!("no prime {p}")))
        };
        match item {
            Item::Row(i) => {
                let q = prime(i.prime)?;
                let a = self.read(i.a, bindings)?;
                let s = u128::from(i.scalar);
                let unary = |f: &dyn Fn(u128) -> u128| -> Vec<u64> {
                    a.iter().map(|&x| (f(u128::from(x)) % q) as u64).collect()
                };
                let binary = |f: &dyn Fn(u128, u128) -> u128| -> Result<Vec<u64>> {
                    let pairs = a.iter().zip(self.read(i.b, bindings)?);
                    Ok(pairs.map(|(&x, &y)| (f(u128::from(x), u128::from(y)) % q) as u64).collect())
                };
                let out = match kernel {
                    // What is begun is ended here.
                    KernelId::Ntt | KernelId::NttColumns => self.transformed(a, i.prime),
                    KernelId::NttRows => a.to_vec(),
                    KernelId::Intt | KernelId::InttRows => {
                        let mut row: Vec<W> = a.iter().map(|&w| W::truncate(w)).collect();
                        self.env.ring.ntt_table(LimbIdx(i.prime)).inverse(&mut row);
                        words(&row)
                    }
                    KernelId::Add => binary(&|x, y| x + y)?,
                    KernelId::Sub => binary(&|x, y| x + q - y)?,
                    KernelId::SubMulScalar | KernelId::NttRowsSubMulScalar => {
                        let quotient = binary(&|x, y| (x + q - y) * s)?;
                        let sum = if i.c == RowRef::NONE {
                            quotient
                        } else {
                            let pairs = quotient.iter().zip(self.read(i.c, bindings)?);
                            pairs.map(|(&x, &c)| ((u128::from(x) + u128::from(c)) % q) as u64).collect()
                        };
                        permuted(&sum, i.galois)
                    }
                    KernelId::MulScalarAdd => binary(&|x, y| x * s + y)?,
                    KernelId::Neg => unary(&|x| q - x),
                    KernelId::MulScalar => unary(&|x| x * s),
                    KernelId::AddScalar => unary(&|x| x + s),
                    _ => return Err(Error::Interp(format!("{} of a row item", kernel.name()))),
                };
                self.write(i.dst, bindings, out)
            }
            Item::InnerProduct { dst, init, times, prime: p, terms, galois, .. } => {
                let q = prime(*p)?;
                for (h, dst) in sums(dst) {
                    let mut sum: Vec<u128> = if init[h] == RowRef::NONE {
                        vec![0; self.plan.row_words()]
                    } else {
                        let init = self.read(init[h], bindings)?.iter();
                        init.map(|&x| u128::from(x) * u128::from(times[h]) % q).collect()
                    };
                    for term in terms {
                        let (a, b) = (self.read(term.a, bindings)?, self.read(term.b[h], bindings)?);
                        let first = |i: usize| a[term.word_of_a(i as u32, self.plan.log_n) as usize];
                        for (i, (s, &y)) in sum.iter_mut().zip(b).enumerate() {
                            let x = first(i);
                            *s = (*s + u128::from(x) * u128::from(y)) % q;
                        }
                    }
                    let sum: Vec<u64> = sum.into_iter().map(|s| s as u64).collect();
                    self.write(dst, bindings, permuted(&sum, *galois))?;
                }
                Ok(())
            }
            Item::ConvertBasis { sources, targets, matrix } => {
                let w = self.plan.word.bits();
                let f = fraction_bits(w);
                let n = self.plan.row_words();
                let mut y: Vec<Vec<u128>> = Vec::with_capacity(sources.len());
                let mut fraction = vec![0u128; n];
                for s in sources {
                    let d = prime(s.prime)?;
                    let row = self.read(s.row, bindings)?;
                    let scaled: Vec<u128> =
                        row.iter().map(|&x| u128::from(x) * u128::from(s.inv) % d).collect();
                    for (sum, &y) in fraction.iter_mut().zip(&scaled) {
                        *sum += (y * u128::from(s.frac)) >> w;
                    }
                    y.push(scaled);
                }
                let v: Vec<u128> = fraction.iter().map(|s| (s + (1 << (f - 1))) >> f).collect();
                for (t, entries) in targets.iter().zip(matrix.chunks(sources.len())) {
                    let p = prime(t.prime)?;
                    let big = u128::from(t.big);
                    let out = (0..n).map(|k| {
                        let sum = y.iter().zip(entries).map(|(y, &m)| y[k] * u128::from(m) % p).sum::<u128>();
                        ((sum + (p - big) * v[k]) % p) as u64
                    });
                    let out: Vec<u64> = out.collect();
                    let begun = kernel == KernelId::ConvertBasisColumns;
                    let out = if begun { self.transformed(&out, t.prime) } else { out };
                    self.write(t.row, bindings, out)?;
                }
                Ok(())
            }
            Item::EmbedInverse(i) => {
                let parts = |rows: [RowRef; 2]| -> Result<Vec<[f64; 2]>> {
                    let [re, im] = rows;
                    let pairs = self.read(re, bindings)?.iter().zip(self.read(im, bindings)?);
                    Ok(pairs.map(|(&re, &im)| [f64::from_bits(re), f64::from_bits(im)]).collect())
                };
                let (mut values, factors) = (parts(i.src)?, parts(i.factors)?);
                let mut len = values.len();
                while len > 1 {
                    for block in values.chunks_mut(len) {
                        let (low, high) = block.split_at_mut(len / 2);
                        for ((x, y), w) in low.iter_mut().zip(high).zip(&factors[len / 2..]) {
                            let ([a, b], [c, d], [u, v]) = (*x, *y, *w);
                            *x = [a + c, b + d];
                            *y = [(a - c) * u - (b - d) * v, (a - c) * v + (b - d) * u];
                        }
                    }
                    len /= 2;
                }
                for (part, row) in i.dst.into_iter().enumerate() {
                    self.write(row, bindings, values.iter().map(|z| z[part].to_bits()).collect())?;
                }
                Ok(())
            }
            Item::RoundResidues { src, scale, targets } => {
                let [re, im] = [self.read(src[0], bindings)?, self.read(src[1], bindings)?];
                let (n, scale) = (re.len(), f64::from_bits(*scale));
                let reversed = |k: usize| k.reverse_bits() >> (usize::BITS - n.trailing_zeros());
                let integer = |row: &[u64], k: usize| {
                    let c = f64::from_bits(row[reversed(k)]) * (1.0 / n as f64) * scale;
                    c.round_ties_even() as i128
                };
                let all = (0..n).map(|k| integer(re, k)).chain((0..n).map(|k| integer(im, k)));
                let all: Vec<i128> = all.collect();
                for t in targets {
                    let q = prime(t.prime)? as i128;
                    let out = all.iter().map(|x| x.rem_euclid(q) as u64).collect();
                    self.write(t.row, bindings, out)?;
                }
                Ok(())
            }
            Item::Automorphism(i) => {
                let q = prime(i.prime)? as u64;
                let a = self.read(i.a, bindings)?;
                let (n, g) = (a.len(), i.galois as usize);
                let mut out = vec![0; n];
                if kernel == KernelId::AutomorphismEval {
                    out = permuted(a, i.galois);
                } else {
                    for (k, &x) in a.iter().enumerate() {
                        let e = k * g % (2 * n);
                        out[e % n] = if e < n || x == 0 { x } else { q - x };
                    }
                }
                self.write(i.dst, bindings, out)
            }
        }
    }
}

/// The values of `a(X^g)`: position i holds the value at psi^e, e = 2 brv(i) + 1; that of a(X^g) is a's at psi^(e g).
fn permuted(a: &[u64], galois: u32) -> Vec<u64> {
    let (n, g) = (a.len(), galois as usize);
    let reverse = |i: usize| i.reverse_bits() >> (usize::BITS - n.trailing_zeros());
    (0..n).map(|i| a[reverse((2 * reverse(i) + 1) * g % (2 * n) / 2)]).collect()
}

/// Two rows: the bits of real and of imaginary parts.
fn doubles(values: &[num_complex::Complex64]) -> Vec<Vec<u64>> {
    let (re, im) = values.iter().map(|z| (z.re.to_bits(), z.im.to_bits())).unzip();
    vec![re, im]
}

fn words<W: Word>(row: &[W]) -> Vec<u64> {
    row.iter().map(|w| w.to_u64()).collect()
}

fn limbs<W: Word, D: fhe_core::ring::Domain>(poly: &RnsPoly<W, D>) -> Vec<Vec<u64>> {
    (0..poly.basis().len()).map(|i| words(poly.limb(i))).collect()
}

//! The programs as one writes them against a library: every level, relinearization, rescale and level_drop in its place,
//! in the order of operations of the reference evaluator. Hoisting of the rotations of one value comes with the lowering.

use ferrocerium::fhe_core::Complex64;
use ferrocerium::fhe_core::params::Level;
use ferrocerium::scheduler::ckks_ir::verify::kind_of;
use ferrocerium::scheduler::ckks_ir::{
    ConstId, Constant, Function, Input, InputIdx, Kind, Op, Output, Scalar, Scale, ValueId,
};
use std::collections::BTreeMap;

/// A value with its kind.
#[derive(Clone, Copy)]
pub struct Ct(ValueId, Kind);

/// A placed function that is written down operation by operation.
pub struct Hand {
    function: Function,
}

type Result<T> = core::result::Result<T, String>;

impl Hand {
    pub fn new(name: &str) -> Self {
        Self { function: Function { name: name.to_owned(), ..Function::default() } }
    }

    pub fn finish(self) -> Function {
        self.function
    }

    pub fn input(&mut self, name: &str, period: u32, level: Level) -> Result<Ct> {
        self.function.inputs.push(Input { name: name.to_owned(), period, complex: false, at: None });
        let index = InputIdx(self.function.inputs.len() as u32 - 1);
        let kind = Kind { level, scale: Scale::Canonical, degree: 1, raised: false };
        self.push(Op::Input(index), kind, &[])
    }

    pub fn output(&mut self, name: &str, value: Ct, slots: u32) {
        self.function.outputs.push(Output { name: name.to_owned(), slots, value: value.0, at: None });
    }

    fn constant(&mut self, values: &[f64]) -> ConstId {
        let id = ConstId(self.function.constants.len() as u32);
        let values = values.iter().map(|&x| Complex64::new(x, 0.0)).collect();
        self.function.constants.push(Constant { name: format!("c{}", id.0), values, at: None });
        id
    }

    fn push(&mut self, op: Op, own: Kind, operands: &[Ct]) -> Result<Ct> {
        let kinds: Vec<Kind> = operands.iter().map(|ct| ct.1).collect();
        let kind = kind_of(&op, own, &kinds)?;
        Ok(Ct(self.function.push(op, Some(kind), None), kind))
    }

    fn unary(&mut self, op: Op, a: Ct) -> Result<Ct> {
        self.push(op, a.1, &[a])
    }

    pub fn rotate(&mut self, a: Ct, k: usize) -> Result<Ct> {
        if k == 0 { Ok(a) } else { self.unary(Op::Rotate(a.0, k as u32), a) }
    }

    pub fn mul_plain(&mut self, a: Ct, values: &[f64]) -> Result<Ct> {
        let c = self.constant(values);
        self.unary(Op::MulPlain(a.0, c), a)
    }

    pub fn add_plain(&mut self, a: Ct, values: &[f64]) -> Result<Ct> {
        let c = self.constant(values);
        self.unary(Op::AddPlain(a.0, c), a)
    }

    pub fn mul_scalar(&mut self, a: Ct, x: f64) -> Result<Ct> {
        self.unary(Op::MulScalar(a.0, Scalar::new(x)), a)
    }

    pub fn add_scalar(&mut self, a: Ct, x: f64) -> Result<Ct> {
        self.unary(Op::AddScalar(a.0, Scalar::new(x)), a)
    }

    /// `-a`.
    pub fn neg(&mut self, a: Ct) -> Result<Ct> {
        self.unary(Op::Neg(a.0), a)
    }

    pub fn rescale(&mut self, a: Ct) -> Result<Ct> {
        self.unary(Op::Rescale(a.0), a)
    }

    pub fn drop_to(&mut self, a: Ct, level: Level) -> Result<Ct> {
        if a.1.level == level { Ok(a) } else { self.unary(Op::LevelDrop(a.0, level), a) }
    }

    fn align(&mut self, a: Ct, b: Ct) -> Result<(Ct, Ct)> {
        let level = a.1.level.min(b.1.level);
        Ok((self.drop_to(a, level)?, self.drop_to(b, level)?))
    }

    pub fn add(&mut self, a: Ct, b: Ct) -> Result<Ct> {
        let (a, b) = self.align(a, b)?;
        self.push(Op::Add(a.0, b.0), a.1, &[a, b])
    }

    pub fn sub(&mut self, a: Ct, b: Ct) -> Result<Ct> {
        let (a, b) = self.align(a, b)?;
        self.push(Op::Sub(a.0, b.0), a.1, &[a, b])
    }

    /// A product, relinearized and rescaled.
    pub fn mul(&mut self, a: Ct, b: Ct) -> Result<Ct> {
        let (a, b) = self.align(a, b)?;
        let product = self.push(Op::Mul(a.0, b.0), a.1, &[a, b])?;
        let relinearized = self.unary(Op::Relinearize(product.0), product)?;
        self.rescale(relinearized)
    }

    /// The sum of slots `i + j` for `j < count`, by doubling.
    pub fn sum_slots(&mut self, a: Ct, stride: usize, count: usize) -> Result<Ct> {
        let (mut sum, mut step) = (a, 1);
        while step < count {
            let rotated = self.rotate(sum, step * stride)?;
            sum = self.add(sum, rotated)?;
            step *= 2;
        }
        Ok(sum)
    }

    /// `M x` by baby steps and giant steps over diagonals (Halevi and Shoup 2018): `sqrt(rows)` of each, one rescale a giant step.
    pub fn matvec(&mut self, x: Ct, period: usize, matrix: &[f64], rows: usize, cols: usize) -> Result<Ct> {
        let r = rows.next_power_of_two();
        let n1 = 1 << r.ilog2().div_ceil(2);
        let element =
            |row: usize, col: usize| if row < rows && col < cols { matrix[row * cols + col] } else { 0.0 };
        let babies = (0..n1.min(r)).map(|b| self.rotate(x, b)).collect::<Result<Vec<_>>>()?;
        let mut total: Option<Ct> = None;
        for giant in (0..r).step_by(n1) {
            let mut inner: Option<Ct> = None;
            for (b, &baby) in babies.iter().enumerate().take(r - giant) {
                let d = giant + b;
                let at = |i: usize| {
                    let i = (i + period - giant) % period;
                    element(i % r, (i + d) % period)
                };
                let diagonal: Vec<f64> = (0..period).map(at).collect();
                let term = self.mul_plain(baby, &diagonal)?;
                inner = Some(match inner {
                    Some(sum) => self.add(sum, term)?,
                    None => term,
                });
            }
            let Some(inner) = inner else { continue };
            let inner = self.rescale(inner)?;
            let turned = self.rotate(inner, giant)?;
            total = Some(match total {
                Some(sum) => self.add(sum, turned)?,
                None => turned,
            });
        }
        let total = total.ok_or("a matrix without rows")?;
        self.sum_slots(total, r, period / r)
    }

    /// `sum_n c_n T_n(u)` for `|u| <= 1`: Paterson and Stockmeyer in Chebyshev's basis as libraries do it (Chen, Chillotti and Song,
    /// ePrint 2018/1043), baby steps below `2^ceil(m / 2)` for a degree below `2^m`.
    pub fn chebyshev(&mut self, u: Ct, c: &[f64]) -> Result<Ct> {
        let m = c.len().next_power_of_two().ilog2();
        let k = 1usize << m.div_ceil(2);
        let mut members: BTreeMap<usize, Ct> = BTreeMap::from([(1, u)]);
        for n in (2..=k).chain((m.div_ceil(2) + 1..m).map(|i| 1 << i)) {
            // T_(a + b) = 2 T_a T_b - T_(a - b).
            let (a, b) = (n.div_ceil(2), n / 2);
            let product = self.mul(members[&a], members[&b])?;
            let twice = self.add(product, product)?;
            let next =
                if a == b { self.add_scalar(twice, -1.0)? } else { self.sub(twice, members[&(a - b)])? };
            members.insert(n, next);
        }
        self.split(c, k, &members)
    }

    fn split(&mut self, c: &[f64], k: usize, members: &BTreeMap<usize, Ct>) -> Result<Ct> {
        if c.len() <= k {
            return self.combination(c, members);
        }
        let g = c.len().next_power_of_two() / 2;
        // p = q T_g + r, with T_(g + n) = 2 T_g T_n - T_(g - n).
        let (mut r, mut q) = (c[..g].to_vec(), c[g..].to_vec());
        for n in 1..q.len() {
            r[g - n] -= q[n];
            q[n] *= 2.0;
        }
        let quotient = self.split(&q, k, members)?;
        let product = self.mul(quotient, members[&g])?;
        let rest = self.split(&r, k, members)?;
        self.add(product, rest)
    }

    /// Scalar products at the level of the lowest member, rescaled once.
    fn combination(&mut self, c: &[f64], members: &BTreeMap<usize, Ct>) -> Result<Ct> {
        let used = || (1..c.len()).filter(|n| c[*n] != 0.0);
        let lowest = used().map(|n| members[&n].1.level).min().ok_or("a constant polynomial")?;
        let mut sum: Option<Ct> = None;
        for n in used() {
            let member = self.drop_to(members[&n], lowest)?;
            let term = self.mul_scalar(member, c[n])?;
            sum = Some(match sum {
                Some(sum) => self.add(sum, term)?,
                None => term,
            });
        }
        let sum = self.rescale(sum.ok_or("a constant polynomial")?)?;
        self.add_scalar(sum, c[0])
    }

    /// A series on an interval: one level for the change of variable.
    pub fn series(&mut self, x: Ct, c: &[f64], interval: &std::ops::RangeInclusive<f64>) -> Result<Ct> {
        let (a, b) = (interval.start(), interval.end());
        if (*a, *b) == (-1.0, 1.0) {
            return self.chebyshev(x, c);
        }
        let scaled = self.mul_scalar(x, 2.0 / (b - a))?;
        let scaled = self.rescale(scaled)?;
        let u = self.add_scalar(scaled, -(a + b) / (b - a))?;
        self.chebyshev(u, c)
    }

    pub fn level(ct: Ct) -> Level {
        ct.1.level
    }
}

//! Local rewrites that save a level, an operation or a key. Each value is rewritten until no rule applies, operands first.
//!
//! ```text
//! x * 1 = x      x * -1 = -x      x * 2 = x + x      x + 0 = x      --x = x      x + -y = x - y      x - -y = x + y
//! i i            -1
//! constants      one number for all slots is a scalar; the others keep one period, the shortest
//! folding        (x * c) * d = x * (c d)      (x + c) + d = x + (c + d)      (x + c) - d = x + (c - d)
//! permutations   rotate(rotate(x, j), k) = rotate(x, j + k)      conjugate(conjugate x) = x
//! ```
//!
//! Of a callee all of this is so of every variant: a scalar is one number in all of them.
//!
//! Folding needs no second use to be gone: `x * c` may have others, the product of the two takes one level instead of two.
//! Two rotations become one only where the inner has no other use, for the sum may ask for a key that the program does not need otherwise.

use fhe_core::params::Params;
use num_complex::Complex64;

use crate::ckks_ir::{Bound, ConstId, Constant, Function, Op, Scalar, ValueId};

/// Rewrites a function without kinds.
pub fn simplify(function: &Function, params: &Params) -> Function {
    let mut uses: Vec<usize> = function.users().iter().map(Vec::len).collect();
    function.outputs.iter().for_each(|output| uses[output.value.0 as usize] += 1);
    let mut out = Function { values: Vec::with_capacity(function.values.len()), ..function.clone() };
    out.constants.iter_mut().for_each(|constant| shorten(&mut constant.values, function.variants));
    let mut simplifier = Simplifier { out, used_once: Vec::new(), n_slots: params.n_slots() as u32 };
    let mut new: Vec<ValueId> = Vec::with_capacity(function.values.len());
    for (value, uses) in function.values.iter().zip(uses) {
        let mut rewritten = Rewritten::Op(value.op.map(|a| new[a.0 as usize]));
        while let Rewritten::Op(op) = rewritten {
            match simplifier.rewrite(op) {
                Some(next) => rewritten = next,
                None => break,
            }
        }
        new.push(match rewritten {
            Rewritten::Value(id) => {
                // Its uses are added to those that it has.
                simplifier.used_once[id.0 as usize] = false;
                let kept = &mut simplifier.out.values[id.0 as usize];
                kept.bound = Bound::both(kept.bound, value.bound);
                id
            }
            Rewritten::Op(op) => {
                simplifier.used_once.push(uses == 1);
                simplifier.out.push_like(value, op, value.kind)
            }
        });
    }
    let mut out = simplifier.out;
    out.rename_ends(|id| new[id.0 as usize]);
    out
}

/// Cuts the vectors of all variants to their shortest common period.
fn shorten(values: &mut Vec<Complex64>, variants: u32) {
    let bits = |z: &Complex64| (z.re.to_bits(), z.im.to_bits());
    let halves_agree = |vector: &[Complex64]| {
        let (first, second) = vector.split_at(vector.len() / 2);
        first.iter().map(bits).eq(second.iter().map(bits))
    };
    loop {
        let period = values.len() / variants.max(1) as usize;
        if period < 2 || !period.is_multiple_of(2) || !values.chunks(period).all(halves_agree) {
            return;
        }
        *values = values.chunks(period).flat_map(|vector| &vector[..period / 2]).copied().collect();
    }
}

#[derive(Clone, Copy)]
enum Rewritten {
    /// Another operation, which may be rewritten again.
    Op(Op),
    /// A value that is there.
    Value(ValueId),
}

/// What multiplies or is added: a scalar or a vector.
#[derive(Clone, Copy)]
enum Factor {
    Scalar(Scalar),
    Plain(ConstId),
}

struct Simplifier {
    out: Function,
    /// Of the values made so far: they have one use.
    used_once: Vec<bool>,
    n_slots: u32,
}

impl Simplifier {
    fn rewrite(&mut self, op: Op) -> Option<Rewritten> {
        let of = |id: ValueId| self.out.value(id).op;
        let negated = |id: ValueId| match of(id) {
            Op::Neg(a) => Some(a),
            _ => None,
        };
        Some(match op {
            Op::MulScalar(a, s) if s.value() == 1.0 => Rewritten::Value(a),
            Op::MulScalar(a, s) if s.value() == -1.0 => Rewritten::Op(Op::Neg(a)),
            Op::MulScalar(a, s) if s.value() == 2.0 => Rewritten::Op(Op::Add(a, a)),
            Op::AddScalar(a, s) if s.value() == 0.0 => Rewritten::Value(a),
            Op::MulPlain(a, c) if self.uniform(c).is_some() => {
                Rewritten::Op(Op::MulScalar(a, self.uniform(c)?))
            }
            Op::AddPlain(a, c) if self.uniform(c).is_some() => {
                Rewritten::Op(Op::AddScalar(a, self.uniform(c)?))
            }
            Op::SubPlain(a, c) if self.uniform(c).is_some() => {
                Rewritten::Op(Op::AddScalar(a, Scalar::new(-self.uniform(c)?.value())))
            }
            Op::MulScalar(a, s) => self.fold_product(a, Factor::Scalar(s))?,
            Op::MulPlain(a, c) => self.fold_product(a, Factor::Plain(c))?,
            Op::AddScalar(a, s) => self.fold_sum(a, Factor::Scalar(s), 1.0)?,
            Op::AddPlain(a, c) => self.fold_sum(a, Factor::Plain(c), 1.0)?,
            Op::SubPlain(a, c) => self.fold_sum(a, Factor::Plain(c), -1.0)?,
            Op::Neg(a) => Rewritten::Value(negated(a)?),
            Op::Add(a, b) => Rewritten::Op(match (negated(a), negated(b)) {
                (_, Some(b)) => Op::Sub(a, b),
                (Some(a), None) => Op::Sub(b, a),
                (None, None) => return None,
            }),
            Op::Sub(a, b) => Rewritten::Op(Op::Add(a, negated(b)?)),
            Op::Rotate(a, k) => match of(a) {
                Op::Rotate(inner, j) if self.used_once[a.0 as usize] => match (j + k) % self.n_slots {
                    0 => Rewritten::Value(inner),
                    sum => Rewritten::Op(Op::Rotate(inner, sum)),
                },
                _ => return None,
            },
            Op::MulI(a, _) => match of(a) {
                Op::MulI(inner, _) => Rewritten::Op(Op::Neg(inner)),
                _ => return None,
            },
            Op::Conjugate(a) => match of(a) {
                Op::Conjugate(inner) => Rewritten::Value(inner),
                _ => return None,
            },
            _ => return None,
        })
    }

    /// The real number that a constant is in all slots of all variants.
    fn uniform(&self, c: ConstId) -> Option<Scalar> {
        let constant = self.out.constants.get(c.0 as usize)?;
        let (first, rest) = constant.values.split_first()?;
        let one = constant.period(self.out.variants) == 1 && rest.iter().all(|z| z == first);
        (one && first.im == 0.0).then(|| Scalar::new(first.re))
    }

    fn fold_product(&mut self, a: ValueId, outer: Factor) -> Option<Rewritten> {
        let (inner, factor) = match self.out.value(a).op {
            Op::MulScalar(inner, s) => (inner, Factor::Scalar(s)),
            Op::MulPlain(inner, c) => (inner, Factor::Plain(c)),
            _ => return None,
        };
        Some(Rewritten::Op(match self.combine(factor, outer, |x, y| x * y)? {
            Factor::Scalar(s) => Op::MulScalar(inner, s),
            Factor::Plain(c) => Op::MulPlain(inner, c),
        }))
    }

    fn fold_sum(&mut self, a: ValueId, outer: Factor, sign: f64) -> Option<Rewritten> {
        let (inner, factor, inner_sign) = match self.out.value(a).op {
            Op::AddScalar(inner, s) => (inner, Factor::Scalar(s), 1.0),
            Op::AddPlain(inner, c) => (inner, Factor::Plain(c), 1.0),
            Op::SubPlain(inner, c) => (inner, Factor::Plain(c), -1.0),
            _ => return None,
        };
        Some(Rewritten::Op(match self.combine(factor, outer, |x, y| x * inner_sign + y * sign)? {
            Factor::Scalar(s) => Op::AddScalar(inner, s),
            Factor::Plain(c) => Op::AddPlain(inner, c),
        }))
    }

    /// Slot by slot; `None` where a number is not finite then.
    fn combine(
        &mut self,
        a: Factor,
        b: Factor,
        f: impl Fn(Complex64, Complex64) -> Complex64,
    ) -> Option<Factor> {
        if let (Factor::Scalar(x), Factor::Scalar(y)) = (a, b) {
            let value = f(x.value().into(), y.value().into()).re;
            return value.is_finite().then(|| Factor::Scalar(Scalar::new(value)));
        }
        let constant = |factor: Factor| match factor {
            Factor::Scalar(s) => {
                let values = vec![Complex64::new(s.value(), 0.0); self.out.variants as usize];
                Some(Constant { name: String::new(), values, at: None })
            }
            Factor::Plain(c) => self.out.constants.get(c.0 as usize).cloned(),
        };
        let (x, y) = (constant(a)?, constant(b)?);
        let variants = self.out.variants;
        let period = x.period(variants).max(y.period(variants));
        let of_variant = |v: usize| {
            let (x, y) = (x.variant(v, variants), y.variant(v, variants));
            (0..period).map(|i| f(x[i % x.len()], y[i % y.len()])).collect::<Vec<_>>()
        };
        let mut values: Vec<Complex64> = (0..variants as usize).flat_map(of_variant).collect();
        if !values.iter().all(|z| z.is_finite()) {
            return None;
        }
        shorten(&mut values, variants);
        let names = [x.name, y.name];
        let names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
        self.out.constants.push(Constant { name: names.join(" "), values, at: x.at.or(y.at) });
        Some(Factor::Plain(ConstId(self.out.constants.len() as u32 - 1)))
    }
}

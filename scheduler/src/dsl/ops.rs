//! The operators: `+`, `-` and `*` of encrypted vectors, plaintext vectors and numbers, in any order.

use core::ops::{Add, Mul, Neg, Sub};

use super::{Encrypted, Plain};
use crate::ckks_ir::Op;

impl Neg for Encrypted<'_> {
    type Output = Self;
    #[track_caller]
    fn neg(self) -> Self {
        self.graph.push(Op::Neg(self.local()), self.period)
    }
}

impl Add for Encrypted<'_> {
    type Output = Self;
    #[track_caller]
    fn add(self, other: Self) -> Self {
        self.binary(other, Op::Add)
    }
}

impl Sub for Encrypted<'_> {
    type Output = Self;
    #[track_caller]
    fn sub(self, other: Self) -> Self {
        self.binary(other, Op::Sub)
    }
}

impl Mul for Encrypted<'_> {
    type Output = Self;
    #[track_caller]
    fn mul(self, other: Self) -> Self {
        self.binary(other, Op::Mul)
    }
}

impl<'g> Add<Plain<'g>> for Encrypted<'g> {
    type Output = Self;
    #[track_caller]
    fn add(self, plain: Plain<'g>) -> Self {
        self.with_plain(plain, Op::AddPlain)
    }
}

impl<'g> Sub<Plain<'g>> for Encrypted<'g> {
    type Output = Self;
    #[track_caller]
    fn sub(self, plain: Plain<'g>) -> Self {
        self.with_plain(plain, Op::SubPlain)
    }
}

impl<'g> Mul<Plain<'g>> for Encrypted<'g> {
    type Output = Self;
    #[track_caller]
    fn mul(self, plain: Plain<'g>) -> Self {
        self.with_plain(plain, Op::MulPlain)
    }
}

impl<'g> Add<Encrypted<'g>> for Plain<'g> {
    type Output = Encrypted<'g>;
    #[track_caller]
    fn add(self, x: Encrypted<'g>) -> Encrypted<'g> {
        x + self
    }
}

impl<'g> Sub<Encrypted<'g>> for Plain<'g> {
    type Output = Encrypted<'g>;
    #[track_caller]
    fn sub(self, x: Encrypted<'g>) -> Encrypted<'g> {
        -x + self
    }
}

impl<'g> Mul<Encrypted<'g>> for Plain<'g> {
    type Output = Encrypted<'g>;
    #[track_caller]
    fn mul(self, x: Encrypted<'g>) -> Encrypted<'g> {
        x * self
    }
}

impl Add<f64> for Encrypted<'_> {
    type Output = Self;
    #[track_caller]
    fn add(self, scalar: f64) -> Self {
        self.with_scalar(scalar, Op::AddScalar)
    }
}

impl Sub<f64> for Encrypted<'_> {
    type Output = Self;
    #[track_caller]
    fn sub(self, scalar: f64) -> Self {
        self + -scalar
    }
}

impl Mul<f64> for Encrypted<'_> {
    type Output = Self;
    #[track_caller]
    fn mul(self, scalar: f64) -> Self {
        self.with_scalar(scalar, Op::MulScalar)
    }
}

impl<'g> Add<Encrypted<'g>> for f64 {
    type Output = Encrypted<'g>;
    #[track_caller]
    fn add(self, x: Encrypted<'g>) -> Encrypted<'g> {
        x + self
    }
}

impl<'g> Sub<Encrypted<'g>> for f64 {
    type Output = Encrypted<'g>;
    #[track_caller]
    fn sub(self, x: Encrypted<'g>) -> Encrypted<'g> {
        -x + self
    }
}

impl<'g> Mul<Encrypted<'g>> for f64 {
    type Output = Encrypted<'g>;
    #[track_caller]
    fn mul(self, x: Encrypted<'g>) -> Encrypted<'g> {
        x * self
    }
}

//! Double-double numbers: an unevaluated sum `hi + lo`, about 106 bits.
//!
//! They carry the log2 of scales: a scale as a rational would double in size at each squaring, its log2 as
//! an `f64` would lose to rounding what [`crate::ckks`] must compare (2^-30) after long chains. Algorithms:
//! Dekker 1971; Hida, Li and Bailey, "Library for double-double and quad-double arithmetic", 2007.

use core::ops::{Add, Mul, Neg, Sub};

/// `hi + lo` with `|lo| <= ulp(hi) / 2`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Default)]
pub struct Double {
    hi: f64,
    lo: f64,
}

fn two_sum(a: f64, b: f64) -> Double {
    let s = a + b;
    let t = s - a;
    Double { hi: s, lo: (a - (s - t)) + (b - t) }
}

impl Double {
    /// From its parts, as on the wire.
    pub fn from_parts(hi: f64, lo: f64) -> Self {
        two_sum(hi, lo)
    }

    /// `(hi, lo)`.
    pub fn parts(self) -> (f64, f64) {
        (self.hi, self.lo)
    }

    /// The nearest `f64`.
    pub fn to_f64(self) -> f64 {
        self.hi
    }

    /// `self / other`, within some units of 2^-104.
    fn div(self, other: Self) -> Self {
        let q1 = self.hi / other.hi;
        let r = self - other * Self::from(q1);
        let q2 = r.hi / other.hi;
        let r = r - other * Self::from(q2);
        two_sum(q1, q2) + Self::from(r.hi / other.hi)
    }

    /// `ln(2)` to 106 bits.
    const LN_2: Self = Self { hi: core::f64::consts::LN_2, lo: 2.319_046_813_846_299_6e-17 };

    /// `log2(n)` for `n > 0`: with `n = 2^e m`, `m` in `[1/sqrt 2, sqrt 2]`, the series
    /// `ln m = 2 atanh((m - 1)/(m + 1))`. Absolute error below 2^-95.
    pub fn log2_of(n: u64) -> Self {
        let mut e = i32::try_from(63 - n.max(1).leading_zeros()).unwrap_or(0);
        let scaled = |e: i32| {
            let (high, low) = ((n >> 32) as f64 * 4_294_967_296.0, (n & 0xffff_ffff) as f64);
            let f = (-f64::from(e)).exp2();
            two_sum(high * f, low * f)
        };
        let mut m = scaled(e);
        if m.hi > core::f64::consts::SQRT_2 {
            e += 1;
            m = scaled(e);
        }
        let one = Self::from(1.0);
        let x = (m - one).div(m + one);
        let x2 = x * x;
        // |x| <= 0.1716, so the term of order 45 is below 2^-110.
        let mut sum = Self::default();
        for k in (0..=22).rev() {
            sum = sum * x2 + one.div(Self::from(f64::from(2 * k + 1)));
        }
        let ln = Self::from(2.0) * x * sum;
        Self::from(f64::from(e)) + ln.div(Self::LN_2)
    }

    /// `2^self` as `f64`, with the low part taken into account.
    pub fn exp2(self) -> f64 {
        self.hi.exp2() * self.lo.exp2()
    }
}

impl From<f64> for Double {
    fn from(hi: f64) -> Self {
        Self { hi, lo: 0.0 }
    }
}

impl Neg for Double {
    type Output = Self;
    fn neg(self) -> Self {
        Self { hi: -self.hi, lo: -self.lo }
    }
}

impl Add for Double {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let s = two_sum(self.hi, other.hi);
        let t = two_sum(self.lo, other.lo);
        let s = two_sum(s.hi, s.lo + t.hi);
        two_sum(s.hi, s.lo + t.lo)
    }
}

impl Sub for Double {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for Double {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let p = self.hi * other.hi;
        let e = self.hi.mul_add(other.hi, -p);
        two_sum(p, e + (self.hi * other.lo + self.lo * other.hi))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log2_is_exact_on_powers_and_additive_on_products() {
        for k in 0..64 {
            assert_eq!(Double::log2_of(1 << k).parts(), (f64::from(k), 0.0));
        }
        for (a, b) in [(3, 5), (1_073_479_681, 1_073_184_769), (4_294_967_291, 4_294_967_279)] {
            let error = Double::log2_of(a * b) - (Double::log2_of(a) + Double::log2_of(b));
            assert!(error.to_f64().abs() < 2f64.powi(-95), "{a} {b}: {error:?}");
        }
        // log2(3) to 100 bits: 1.58496250072115618145373894394781650875981440769248...
        let error =
            Double::log2_of(3) - Double::from_parts(1.584_962_500_721_156, 1.057_978_124_011_255_4e-16);
        assert!(error.to_f64().abs() < 1e-30, "{error:?}");
    }

    #[test]
    fn exp2_inverts_log2() {
        for n in [3u64, 1_073_479_681, 1 << 50] {
            let back = Double::log2_of(n).exp2();
            assert!((back / n as f64 - 1.0).abs() < 1e-14);
        }
    }
}

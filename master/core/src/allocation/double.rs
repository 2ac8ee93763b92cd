//! Shares as Mesos computes them: in doubles, here in integers, because two shares that are equal as fractions need not be
//! equal as doubles (0.15 / 3 is a little less than 0.05), and then who is served first is decided by it.
//!
//! A positive double's bits are ordered as the doubles are. Rounding is to the nearest, of two that are as near to the even.

/// A double that is not negative, by its bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Double(u64);

const MANTISSA_BITS: u32 = 52;
const HIDDEN: u64 = 1 << MANTISSA_BITS;
const BIAS: i32 = 1_023;

impl Double {
    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// An amount in thousandths: the whole part and the rest of a thousand, each as a double, added.
    pub(super) fn from_milli(milli: u64) -> Self {
        let (whole, rest) = (milli / 1_000, milli % 1_000);
        if rest == 0 {
            return Self::rounded(u128::from(whole), 0, false);
        }
        let (rest, exponent) = Self::quotient(rest, 1_000).parts();
        // The rest is rest * 2^exponent with an exponent below zero, so that the sum is exact as an integer.
        let shift = exponent.unsigned_abs();
        Self::rounded(
            (u128::from(whole) << shift) + u128::from(rest),
            exponent,
            false,
        )
    }

    /// The quotient of two doubles; of nothing, nothing.
    pub(super) fn over(self, divisor: Self) -> Self {
        if self.0 == 0 || divisor.0 == 0 {
            return Self(0);
        }
        let ((above, a), (below, b)) = (self.parts(), divisor.parts());
        let quotient = Self::quotient(above, below);
        // Amounts and weights are far from where exponents end.
        let exponent = i64::from(a) - i64::from(b);
        let shifted = i64::try_from(quotient.0).unwrap_or(0) + (exponent << MANTISSA_BITS);
        Self(u64::try_from(shifted).unwrap_or(0))
    }

    /// The quotient of two integers that are not zero.
    fn quotient(above: u64, below: u64) -> Self {
        // Enough bits that at least two stand below the last one that is kept.
        let shift = 55 + above.leading_zeros().saturating_sub(below.leading_zeros());
        let scaled = u128::from(above) << shift;
        let quotient = scaled / u128::from(below);
        let is_inexact = quotient * u128::from(below) != scaled;
        Self::rounded(quotient, -i32::try_from(shift).unwrap_or(0), is_inexact)
    }

    /// `integer * 2^exponent`, and a little more when it is inexact.
    fn rounded(integer: u128, exponent: i32, is_inexact: bool) -> Self {
        if integer == 0 {
            return Self(0);
        }
        let len = 128 - integer.leading_zeros();
        let (mut mantissa, mut exponent) = if len <= MANTISSA_BITS + 1 {
            let shift = MANTISSA_BITS + 1 - len;
            (
                integer << shift,
                exponent - i32::try_from(shift).unwrap_or(0),
            )
        } else {
            let shift = len - MANTISSA_BITS - 1;
            let (kept, half) = (integer >> shift, 1u128 << (shift - 1));
            let rest = integer & ((1 << shift) - 1);
            let is_up = rest > half || (rest == half && (is_inexact || kept & 1 == 1));
            (
                kept + u128::from(is_up),
                exponent + i32::try_from(shift).unwrap_or(0),
            )
        };
        if mantissa == u128::from(HIDDEN) << 1 {
            mantissa >>= 1;
            exponent += 1;
        }
        let biased = exponent + i32::try_from(MANTISSA_BITS).unwrap_or(0) + BIAS;
        let fraction = u64::try_from(mantissa).unwrap_or(0) & (HIDDEN - 1);
        Self((u64::try_from(biased).unwrap_or(0) << MANTISSA_BITS) | fraction)
    }

    /// Mantissa and exponent: the number is `mantissa * 2^exponent`.
    fn parts(self) -> (u64, i32) {
        let biased = i32::try_from(self.0 >> MANTISSA_BITS).unwrap_or(0);
        ((self.0 & (HIDDEN - 1)) | HIDDEN, biased - BIAS - 52)
    }
}

#[cfg(test)]
#[expect(
    clippy::float_arithmetic,
    reason = "what integers compute here is held against the processor's own doubles"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn double(milli: u64) -> f64 {
        (milli / 1_000) as f64 + (milli % 1_000) as f64 / 1_000.0
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn quotients_are_those_of_the_processor(
            a in 1u64..100_000_000_000_000_000,
            b in 1u64..100_000_000_000_000_000,
            shifts in (0u32..56, 0u32..56),
            weight in 1u64..5_000,
        ) {
            let (a, b) = ((a >> shifts.0).max(1), (b >> shifts.1).max(1));
            prop_assert_eq!(Double::from_milli(a).bits(), double(a).to_bits());
            let share = Double::from_milli(a).over(Double::from_milli(b));
            let expected = double(a) / double(b);
            prop_assert_eq!(share.bits(), expected.to_bits());
            let weighted = share.over(Double::from_milli(weight));
            prop_assert_eq!(weighted.bits(), (expected / double(weight)).to_bits());
        }
    }
}

//! Exact numbers: integers and decimals of up to 38 digits, at most 18 of them after the point.

use std::cmp::Ordering;
use std::fmt;

/// Most digits after the point; more are cut off in a division and rounded away in a product.
pub(super) const FRACTION_DIGITS_MAX: u32 = 18;

/// An exact number, `unscaled / 10^scale`, without trailing zeros after the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    unscaled: i128,
    scale: u32,
}

const fn power(exponent: u32) -> i128 {
    10_i128.pow(exponent)
}

impl Decimal {
    pub(super) const fn integer(value: i128) -> Self {
        Self { unscaled: value, scale: 0 }
    }

    const fn new(mut unscaled: i128, mut scale: u32) -> Self {
        while scale > 0 && unscaled % 10 == 0 {
            unscaled /= 10;
            scale -= 1;
        }
        Self { unscaled, scale }
    }

    /// Reads digits with at most one point; `None` when there are none, or more than fit.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let fraction = fraction.trim_end_matches('0');
        let digits = whole.bytes().chain(fraction.bytes());
        let mut unscaled = 0_i128;
        for digit in digits {
            let digit = digit.is_ascii_digit().then(|| i128::from(digit - b'0'))?;
            unscaled = unscaled.checked_mul(10)?.checked_add(digit)?;
        }
        let scale = u32::try_from(fraction.len()).ok().filter(|&scale| scale <= FRACTION_DIGITS_MAX)?;
        (text.len() > usize::from(text.contains('.'))).then_some(Self::new(unscaled, scale))
    }

    /// Returns both numbers at one scale.
    fn aligned(self, other: Self) -> Option<(i128, i128, u32)> {
        let scale = self.scale.max(other.scale);
        let left = self.unscaled.checked_mul(power(scale - self.scale))?;
        let right = other.unscaled.checked_mul(power(scale - other.scale))?;
        Some((left, right, scale))
    }

    pub(super) fn add(self, other: Self) -> Option<Self> {
        let (left, right, scale) = self.aligned(other)?;
        Some(Self::new(left.checked_add(right)?, scale))
    }

    pub(super) fn subtract(self, other: Self) -> Option<Self> {
        self.add(other.negate()?)
    }

    pub(super) fn negate(self) -> Option<Self> {
        Some(Self { unscaled: self.unscaled.checked_neg()?, scale: self.scale })
    }

    pub(super) fn multiply(self, other: Self) -> Option<Self> {
        let product = self.unscaled.checked_mul(other.unscaled)?;
        let scale = self.scale + other.scale;
        let over = scale.saturating_sub(FRACTION_DIGITS_MAX);
        let (cut, rest) = (product / power(over), product % power(over));
        let half = rest.checked_mul(2)?;
        let away = if half.abs() >= power(over) && over > 0 { rest.signum() } else { 0 };
        Some(Self::new(cut.checked_add(away)?, scale - over))
    }

    /// Divides, to 18 digits after the point. The divisor is not zero.
    pub(super) fn divide(self, divisor: Self) -> Option<Self> {
        let (left, right, _) = self.aligned(divisor)?;
        let mut quotient = left.checked_div(right)?;
        let mut rest = left.checked_rem(right)?;
        let mut scale = 0;
        while rest != 0 && scale < FRACTION_DIGITS_MAX {
            rest = rest.checked_mul(10)?;
            quotient = quotient.checked_mul(10)?.checked_add(rest / right)?;
            rest %= right;
            scale += 1;
        }
        Some(Self::new(quotient, scale))
    }

    /// Divides and drops what is after the point. The divisor is not zero.
    pub(super) fn divide_whole(self, divisor: Self) -> Option<Self> {
        let (left, right, _) = self.aligned(divisor)?;
        Some(Self::integer(left.checked_div(right)?))
    }

    /// Returns what [`Self::divide_whole`] leaves, with the sign of the dividend. The divisor is not zero.
    pub(super) fn remainder(self, divisor: Self) -> Option<Self> {
        let (left, right, scale) = self.aligned(divisor)?;
        Some(Self::new(left.checked_rem(right)?, scale))
    }

    pub(super) const fn is_zero(self) -> bool {
        self.unscaled == 0
    }

    /// Returns the nearest double.
    pub(super) fn to_double(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    /// Compares whole parts, then fractions, which fit at one scale where the numbers may not.
    fn cmp(&self, other: &Self) -> Ordering {
        let whole = |number: &Self| number.unscaled / power(number.scale);
        let fraction =
            |number: &Self| number.unscaled % power(number.scale) * power(FRACTION_DIGITS_MAX - number.scale);
        whole(self).cmp(&whole(other)).then_with(|| fraction(self).cmp(&fraction(other)))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scale == 0 {
            return write!(f, "{}", self.unscaled);
        }
        let (size, unit) = (self.unscaled.unsigned_abs(), power(self.scale).unsigned_abs());
        let sign = if self.unscaled < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{:0width$}", size / unit, size % unit, width = self.scale as usize)
    }
}

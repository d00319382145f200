//! Fractions without rounding, of bounded size.

/// A fraction in lowest terms, its denominator above 0, both below 2^127.
///
/// Every operation is exact or gives nothing: never a rounded value, never a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rational {
    numerator: i128,
    denominator: i128,
}

impl Rational {
    /// The fraction of two whole numbers; nothing when the second is 0, or when it is too large.
    pub(crate) fn new(numerator: i128, denominator: i128) -> Option<Self> {
        let divisor = i128::try_from(gcd(numerator.unsigned_abs(), denominator.unsigned_abs()));
        let divisor = divisor.ok().filter(|_| denominator != 0)?;
        let (numerator, denominator) = (numerator / divisor, denominator / divisor);
        let sign = denominator.signum();
        let (numerator, denominator) =
            (numerator.checked_mul(sign)?, denominator.checked_mul(sign)?);
        Some(Self { numerator, denominator })
    }

    /// A whole number.
    pub(crate) fn whole(value: i128) -> Self {
        Self { numerator: value, denominator: 1 }
    }

    pub(crate) fn add(self, other: Self) -> Option<Self> {
        let left = self.numerator.checked_mul(other.denominator)?;
        let right = other.numerator.checked_mul(self.denominator)?;
        Self::new(left.checked_add(right)?, self.denominator.checked_mul(other.denominator)?)
    }

    pub(crate) fn subtract(self, other: Self) -> Option<Self> {
        self.add(Self { numerator: other.numerator.checked_neg()?, ..other })
    }

    pub(crate) fn multiply(self, other: Self) -> Option<Self> {
        let numerator = self.numerator.checked_mul(other.numerator)?;
        Self::new(numerator, self.denominator.checked_mul(other.denominator)?)
    }

    /// The quotient; nothing when `other` is 0.
    pub(crate) fn divide(self, other: Self) -> Option<Self> {
        self.multiply(Self::new(other.denominator, other.numerator)?)
    }
}

/// The greatest common divisor, by Euclid; 0 of two zeros.
pub(crate) fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numerator: i128, denominator: i128) -> Rational {
        Rational::new(numerator, denominator).unwrap()
    }

    #[test]
    fn equal_fractions_are_equal() {
        assert_eq!(of(3, 6), of(-1, -2));
        assert_eq!(of(0, -5), Rational::whole(0));
        assert_ne!(of(1, 2), of(-1, 2));
    }

    #[test]
    fn operations_are_those_of_fractions() {
        let (third, half) = (of(1, 3), of(1, 2));
        assert_eq!(third.add(half), Some(of(5, 6)));
        assert_eq!(third.subtract(half), Some(of(-1, 6)));
        assert_eq!(third.multiply(half), Some(of(1, 6)));
        assert_eq!(third.divide(of(-1, 2)), Some(of(-2, 3)));
    }

    #[test]
    fn what_is_too_large_or_undefined_is_nothing() {
        let huge = Rational::whole(i128::MAX);
        assert_eq!(Rational::new(1, 0), None);
        assert_eq!(Rational::whole(1).divide(Rational::whole(0)), None);
        assert_eq!(huge.add(huge), None);
        assert_eq!(huge.multiply(huge), None);
        assert_eq!(Rational::new(i128::MIN, -1), None);
        assert_eq!(Rational::new(i128::MIN, i128::MIN), None);
        assert_eq!(Rational::whole(0).subtract(Rational::whole(i128::MIN)), None);
    }
}

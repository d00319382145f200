//! Expressions of whole numbers, read by recursive descent and computed without rounding.
//!
//! ```text
//! expression = term   { ("+" | "-") term }
//! term       = factor { ("*" | "/") factor }
//! factor     = digits | "(" expression ")"
//! ```
//!
//! Spaces may stand between signs. There is no sign in front of a number, no power, no equals sign.

use crate::rational::Rational;

/// The most bytes of an expression; six numbers and their signs are far below.
const MAX_BYTES: usize = 256;

/// The most brackets inside of each other.
const MAX_DEPTH: usize = 32;

/// What an expression comes to, and the numbers in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expression {
    pub(super) value: Rational,
    /// In the order in which they stand.
    pub(super) numbers: Vec<u64>,
}

impl Expression {
    /// Reads and computes an expression; nothing when it is none, divides by 0, or leaves the bounds.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = Some(text.trim()).filter(|text| text.len() <= MAX_BYTES)?;
        let mut reader = Reader { bytes: text.as_bytes(), at: 0, numbers: Vec::new() };
        let value = reader.expression(0)?;
        reader.peek().is_none().then_some(Self { value, numbers: reader.numbers })
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    numbers: Vec<u64>,
}

impl Reader<'_> {
    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        while self.bytes.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn expression(&mut self, depth: usize) -> Option<Rational> {
        let mut value = self.term(depth)?;
        while let Some(sign @ (b'+' | b'-')) = self.peek() {
            self.at += 1;
            let term = self.term(depth)?;
            value = if sign == b'+' { value.add(term) } else { value.subtract(term) }?;
        }
        Some(value)
    }

    fn term(&mut self, depth: usize) -> Option<Rational> {
        let mut value = self.factor(depth)?;
        while let Some(sign @ (b'*' | b'/')) = self.peek() {
            self.at += 1;
            let factor = self.factor(depth)?;
            value = if sign == b'*' { value.multiply(factor) } else { value.divide(factor) }?;
        }
        Some(value)
    }

    fn factor(&mut self, depth: usize) -> Option<Rational> {
        match self.peek()? {
            b'(' if depth < MAX_DEPTH => {
                self.at += 1;
                let value = self.expression(depth + 1)?;
                let closed = self.peek()? == b')';
                self.at += 1;
                closed.then_some(value)
            }
            b'0'..=b'9' => self.number(),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Rational> {
        let mut value = 0_u64;
        while let Some(digit @ b'0'..=b'9') = self.bytes.get(self.at).copied() {
            value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
            self.at += 1;
        }
        self.numbers.push(value);
        Some(Rational::whole(value.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<Rational> {
        Expression::read(text).map(|expression| expression.value)
    }

    #[test]
    fn products_bind_before_sums_and_both_from_the_left() {
        for (text, numerator, denominator) in [
            ("1+2*3", 7, 1),
            ("(1+2)*3", 9, 1),
            ("10-2-3", 5, 1),
            ("12/3/2", 2, 1),
            ("12/(3/2)", 8, 1),
            ("2/3*3", 2, 1),
            ("1/3 + 1/6", 1, 2),
            ("1-5", -4, 1),
            (" ( ( 7 ) ) ", 7, 1),
        ] {
            assert_eq!(value(text), Rational::new(numerator, denominator), "{text}");
        }
    }

    #[test]
    fn numbers_are_those_that_are_written() {
        assert_eq!(Expression::read("3*(4+3)/12").unwrap().numbers, [3, 4, 3, 12]);
    }

    #[test]
    fn what_is_no_expression_is_nothing() {
        for text in [
            "", " ", "+", "1+", "*2", "-3", "1 2", "(1", "1)", "()", "1+(2", "2**3", "2^3", "1=1",
            "1.5", "1,000", "x", "３", "1×2", "(1]", "1/0", "1/(2-2)", "1\n+2", "1+2 = 3", "--1",
        ] {
            assert_eq!(value(text), None, "{text:?}");
        }
    }

    #[test]
    fn depth_length_and_size_are_bounded() {
        let nested = |depth| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(value(&nested(MAX_DEPTH)), Some(Rational::whole(1)));
        assert_eq!(value(&nested(MAX_DEPTH + 1)), None);
        assert_eq!(value(&"(".repeat(1 << 20)), None);
        assert_eq!(value(&format!("1{}", "+1".repeat(127))), Some(Rational::whole(128)));
        assert_eq!(value(&format!("1{}", "+1".repeat(128))), None);
        assert_eq!(value("18446744073709551616"), None);
        assert_eq!(value(&["18446744073709551615"; 3].join("*")), None);
    }
}

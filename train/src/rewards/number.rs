//! Numbers as people write them, read without rounding.
//!
//! ```text
//! number   = [ "+" | "-" ] ( fraction | decimal )
//! fraction = whole "/" whole
//! decimal  = whole [ "." digits ] [ ( "e" | "E" ) [ "+" | "-" ] digits ]
//! whole    = digits, or groups of three behind commas, as in 12,345
//! ```

use crate::rational::Rational;

/// The most bytes of a number.
const MAX_BYTES: usize = 64;

/// The value of a number; nothing when the text is none, or when its numerator or denominator is 2^127
/// or more.
pub(super) fn read(text: &str) -> Option<Rational> {
    let text = Some(text.trim()).filter(|text| text.len() <= MAX_BYTES)?;
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let value = match unsigned.split_once('/') {
        Some((numerator, denominator)) => Rational::new(whole(numerator)?, whole(denominator)?)?,
        None => decimal(unsigned)?,
    };
    value.multiply(Rational::whole(sign))
}

fn decimal(text: &str) -> Option<Rational> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        None => (text, 0),
        Some((mantissa, exponent)) => {
            let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            let value = digits(unsigned)?;
            (mantissa, if exponent.starts_with('-') { -value } else { value })
        }
    };
    let (before, behind) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let fraction = Rational::new(digits(behind)?, power_of_ten(behind.len())?)?;
    let value = Rational::whole(whole(before)?).add(fraction)?;
    let power = Rational::whole(power_of_ten(usize::try_from(exponent.unsigned_abs()).ok()?)?);
    if exponent < 0 { value.divide(power) } else { value.multiply(power) }
}

fn whole(text: &str) -> Option<i128> {
    let mut groups = text.split(',');
    let first = groups.next()?;
    let grouped = text.len() > first.len();
    if grouped && (first.len() > 3 || groups.any(|group| group.len() != 3)) {
        return None;
    }
    digits(&text.replace(',', ""))
}

fn digits(text: &str) -> Option<i128> {
    // The standard parser would take a sign, too.
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn power_of_ten(exponent: usize) -> Option<i128> {
    10_i128.checked_pow(u32::try_from(exponent).ok()?)
}

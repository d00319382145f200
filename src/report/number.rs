//! Numbers as a report writes them: with as many digits as their spread supports.

use super::statistics::Sample;

/// What stands where there is no number.
pub(crate) const NONE: &str = "–";

/// The most decimals.
const MOST: usize = 4;

/// The mean of a sample and its standard deviation; the mean alone, with `decimals`, where there is
/// no spread.
pub(crate) fn mean(sample: &Sample, decimals: usize) -> String {
    with_spread(sample, decimals, fixed)
}

/// The mean of a sample and its standard deviation with so many decimals, whatever its spread supports.
pub(crate) fn mean_to(sample: &Sample, decimals: usize) -> String {
    let Some(mean) = sample.mean() else { return NONE.into() };
    let spread = sample.deviation().map(|spread| format!(" ± {}", fixed(spread, decimals)));
    fixed(mean, decimals) + &spread.unwrap_or_default()
}

/// The same as [`mean`] with a sign.
pub(crate) fn difference(sample: &Sample, decimals: usize) -> String {
    with_spread(sample, decimals, |value, decimals| {
        let text = fixed(value, decimals);
        if text.starts_with('−') || value == 0.0 { text } else { format!("+{text}") }
    })
}

fn with_spread(sample: &Sample, decimals: usize, write: impl Fn(f64, usize) -> String) -> String {
    let Some(mean) = sample.mean() else { return NONE.into() };
    match sample.deviation() {
        Some(deviation) => {
            let decimals = supported(deviation).unwrap_or(decimals);
            format!("{} ± {}", write(mean, decimals), fixed(deviation, decimals))
        }
        None => write(mean, decimals),
    }
}

/// The decimals that a spread supports: one digit of it, two where the first is a 1 or a 2. `None` for a
/// spread of 0.
fn supported(deviation: f64) -> Option<usize> {
    let (mut decimals, mut digits) = (0, deviation);
    if deviation <= 0.0 {
        return None;
    }
    while digits < 2.95 && decimals < MOST {
        decimals += 1;
        digits *= 10.0;
    }
    Some(decimals)
}

/// A number with so many decimals, and a minus as wide as a plus. Large ones as a power of ten.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return NONE.into();
    }
    let text = match value.abs() {
        large if large >= 1e7 => format!("{value:.2e}"),
        _ => format!("{value:.decimals$}"),
    };
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().any(|c| ('1'..='9').contains(&c)) => format!("−{rest}"),
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

/// A count in thousands or millions, with three digits: `12.3 k`.
pub(crate) fn count(value: f64) -> String {
    scaled(value, 1000.0, ["", "k", "M", "G", "T"])
}

/// A share in percent, with a sign: `+1.25 %`.
pub(crate) fn percent(share: f64) -> String {
    let text = fixed(100.0 * share, 2);
    let sign = if share >= 0.0 && share.is_finite() { "+" } else { "" };
    format!("{sign}{text} %")
}

/// A share in percent, in words: `1.25 % above`.
pub(crate) fn compared(share: f64) -> String {
    let side = if share < 0.0 { "below" } else { "above" };
    format!("{} % {side}", fixed(100.0 * share.abs(), 2))
}

/// Bytes in binary units, with three digits: `1.5 KiB`.
pub(crate) fn bytes(value: f64) -> String {
    scaled(value, 1024.0, ["B", "KiB", "MiB", "GiB", "TiB"])
}

fn scaled(value: f64, base: f64, units: [&str; 5]) -> String {
    if !value.is_finite() {
        return NONE.into();
    }
    let (mut value, mut unit) = (value, 0);
    // What would round to a whole larger unit is written in it.
    while value.abs() >= base - 0.5 && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let decimals = match value.abs() {
        tenth if tenth >= 99.95 => 0,
        one if one >= 9.995 => 1,
        _ => 2,
    };
    let text = fixed(value, decimals);
    let text = match text.contains('.') && !text.contains('e') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text} {}", units[unit]).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Sample {
        values.iter().copied().collect()
    }

    #[test]
    fn a_mean_has_the_digits_that_its_spread_supports() {
        assert_eq!(mean(&of(&[3.21, 3.25, 3.23]), 3), "3.230 ± 0.020");
        assert_eq!(mean(&of(&[3.1, 3.9, 3.2]), 3), "3.4 ± 0.4");
        assert_eq!(mean(&of(&[310.0, 390.0, 320.0]), 3), "340 ± 44");
        assert_eq!(mean(&of(&[1.5, 1.5]), 3), "1.500 ± 0.000");
        assert_eq!(mean(&of(&[1.0, 1.0 + 1e-9]), 3), "1.0000 ± 0.0000");
    }

    #[test]
    fn decimals_may_be_given_whatever_the_spread() {
        assert_eq!(mean_to(&of(&[40.21, 40.25]), 1), "40.2 ± 0.0");
        assert_eq!(mean_to(&of(&[40.21]), 1), "40.2");
        assert_eq!(mean_to(&of(&[f64::NAN]), 1), "–");
    }

    #[test]
    fn one_seed_shows_no_spread_and_none_shows_none() {
        assert_eq!(mean(&of(&[3.214_159]), 3), "3.214");
        assert_eq!(mean(&of(&[f64::NAN, f64::INFINITY]), 3), "–");
        assert_eq!(mean(&of(&[1e300]), 3), "1.00e300");
    }

    #[test]
    fn a_difference_has_a_sign() {
        assert_eq!(difference(&of(&[0.1, 0.2]), 3), "+0.15 ± 0.07");
        assert_eq!(difference(&of(&[-0.125]), 3), "−0.125");
        assert_eq!(difference(&of(&[0.0]), 3), "0.000");
        assert_eq!(fixed(-0.0001, 2), "0.00");
    }

    #[test]
    fn a_share_has_a_sign_and_two_decimals() {
        assert_eq!([0.0123, -0.5, f64::NAN].map(percent), ["+1.23 %", "−50.00 %", "– %"]);
        assert_eq!([0.0123, -0.5].map(compared), ["1.23 % above", "50.00 % below"]);
    }

    #[test]
    fn counts_and_bytes_have_units_of_people() {
        let counts = [0.0, 950.0, 999.7, 12_345.0, 999_960.0, 2.5e6, 3e20, f64::NAN];
        let want = ["0", "950", "1 k", "12.3 k", "1 M", "2.5 M", "3.00e8 T", "–"];
        assert_eq!(counts.map(count), want);
        assert_eq!([512.0, 1536.0, 70_272.0].map(bytes), ["512 B", "1.5 KiB", "68.6 KiB"]);
    }
}

//! Numbers for people.

/// `70_272` as `70,272`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// So many of a noun: `1 layer`, `1,000 layers`.
pub(crate) fn of(n: u64, noun: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(n))
}

/// Bytes in binary units: `9.0 GiB`.
pub(crate) fn bytes(n: u64) -> String {
    scaled(n, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

/// A count in decimal units: `671.0 B` for 671 milliard.
pub(crate) fn count(n: u64) -> String {
    scaled(n, 1000, ["", "k", "M", "B", "T", "P"]).trim_end().to_owned()
}

/// At three digits or one decimal, whichever is more.
fn scaled(n: u64, base: u64, units: [&str; 6]) -> String {
    let mut scale = 1_u64;
    let mut unit = units[0];
    for larger in &units[1..] {
        // What would round to a whole larger unit is written in it.
        if n as f64 / (scale as f64) < base as f64 - if scale == 1 { 0.0 } else { 0.05 } {
            break;
        }
        (scale, unit) = (scale * base, larger);
    }
    if scale == 1 {
        format!("{n} {unit}")
    } else {
        format!("{:.1} {unit}", n as f64 / scale as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (4_997_120, "4,997,120")];
        for (n, want) in cases {
            assert_eq!(grouped(n), want);
        }
    }

    #[test]
    fn one_is_singular() {
        assert_eq!([0, 1, 2000].map(|n| of(n, "file")), ["0 files", "1 file", "2,000 files"]);
    }

    #[test]
    fn units_change_where_the_rounded_number_does() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(bytes(70_272 << 17), "8.6 GiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
        assert_eq!(count(671_026_419_200), "671.0 B");
        assert_eq!(count(999_999), "1.0 M");
        assert_eq!(count(12), "12");
    }
}

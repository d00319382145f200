//! Claims for the terminal.

use std::fmt::Write;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};

use crate::claims::{Claim, Finding};

/// The width of a terminal.
const COLUMNS: usize = 100;

/// A claim with its finding and the table behind it.
pub(super) fn of(number: usize, claim: &Claim, finding: &Finding) -> String {
    let title = format!("{number}. {}", claim.statement);
    let verdict = finding.verdict.name();
    let gap = COLUMNS.saturating_sub(title.chars().count() + verdict.len());
    let mut text = format!("\n{title}{}{verdict}\n", " ".repeat(gap.max(1)));
    for (what, said) in
        [("published", claim.published), ("here", &finding.here), ("rule", claim.rule)]
    {
        let mut what = what;
        for line in wrapped(said, COLUMNS - 14) {
            let _ = writeln!(text, "   {what:<10} {line}");
            what = "";
        }
    }
    if let [header, rows @ ..] = finding.table.as_slice() {
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(97);
        table.set_header(header);
        table.add_rows(rows);
        for line in table.lines() {
            let _ = writeln!(text, "   {line}");
        }
    }
    text
}

/// How many claims came to which verdict.
pub(super) fn summary(found: &[(&Claim, Finding)]) -> String {
    let mut counts: Vec<(&str, Vec<&str>)> = Vec::new();
    for (claim, finding) in found {
        let verdict = finding.verdict.name();
        match counts.iter_mut().find(|(known, _)| *known == verdict) {
            Some((_, names)) => names.push(claim.name),
            None => counts.push((verdict, vec![claim.name])),
        }
    }
    let line = |(verdict, names): &(&str, Vec<&str>)| format!("{verdict:>8}: {}", names.join(", "));
    let lines: Vec<String> = counts.iter().map(line).collect();
    format!("\n{}\n", lines.join("\n"))
}

/// Words in lines of at most `width` characters; a longer word has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn lines_are_as_long_as_may_be() {
        assert_eq!(wrapped("a bc def ghij", 4), ["a bc", "def", "ghij"]);
        assert_eq!(wrapped("abcdefgh i", 4), ["abcdefgh", "i"]);
        assert!(wrapped(" ", 4).is_empty());
    }
}

//! Text from outside, as a page can show it.

/// `text` without what a page cannot hold or what would turn the text around it: control characters and
/// changes of direction.
pub(crate) fn plain(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// The same, with its breaks of lines.
pub(crate) fn plain_lines(text: &str) -> String {
    let lines = text.split('\n').map(|line| plain(line.strip_suffix('\r').unwrap_or(line)));
    lines.collect::<Vec<_>>().join("\n")
}

/// At most `limit` characters, the last a dot where some are gone.
pub(crate) fn short(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some(_) => text.chars().take(limit.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_page_can_hold_is_replaced() {
        assert_eq!(plain("a\0b\u{1b}[1m\u{202e}c\nd é"), "a\u{fffd}b\u{fffd}[1m\u{fffd}c d é");
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(plain_lines("a\tb\r\n\n\rc\0\n"), "a b\n\n\u{fffd}c\u{fffd}\n");
    }

    #[test]
    fn long_text_ends_in_a_dot() {
        assert_eq!(short("ééé", 3), "ééé");
        assert_eq!(short("éééé", 3), "éé…");
        assert_eq!(short("", 3), "");
    }
}

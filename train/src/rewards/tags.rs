//! The four tags, found in a text.

use std::fmt;

/// One of the four tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tag {
    /// `<think>`.
    OpenThink,
    /// `</think>`.
    CloseThink,
    /// `<answer>`.
    OpenAnswer,
    /// `</answer>`.
    CloseAnswer,
}

impl Tag {
    /// All of them, in the order of the form.
    pub const ALL: [Self; 4] =
        [Self::OpenThink, Self::CloseThink, Self::OpenAnswer, Self::CloseAnswer];

    /// The tag as it is written.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::OpenThink => "<think>",
            Self::CloseThink => "</think>",
            Self::OpenAnswer => "<answer>",
            Self::CloseAnswer => "</answer>",
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A tag at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Nothing for what is no tag but was meant for one: in another case, with spaces or attributes.
    pub(super) tag: Option<Tag>,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The most bytes of what may be meant for a tag: far behind a `<` no one means one.
const MAX_BYTES: usize = 64;

/// The tags of a text in order, and what was meant for one. It takes a time linear in the text.
pub(super) fn tags(text: &str) -> impl Iterator<Item = Found> {
    text.match_indices('<').filter_map(|(start, _)| {
        // It ends before the next `<`, so no byte is looked at for two of them.
        let rest = &text.as_bytes()[start + 1..];
        let rest = &rest[..rest.len().min(MAX_BYTES)];
        let length = rest.iter().position(|&b| b == b'>' || b == b'<')?;
        let end = start + length + 2;
        let whole = text.get(start..end)?.strip_suffix('>')?;
        let tag = Tag::ALL.into_iter().find(|tag| tag.text().strip_suffix('>') == Some(whole));
        (tag.is_some() || is_meant_for_one(&whole[1..])).then_some(Found { tag, start, end })
    })
}

/// Whether what stands between `<` and `>` names a tag.
fn is_meant_for_one(inside: &str) -> bool {
    let inside = inside.trim();
    let name = inside.strip_prefix('/').unwrap_or(inside).trim_start();
    ["think", "answer"].iter().any(|wanted| {
        let (Some(found), Some(rest)) = (name.get(..wanted.len()), name.get(wanted.len()..)) else {
            return false;
        };
        let ends = rest.chars().next().is_none_or(|c| c.is_whitespace() || c == '/');
        found.eq_ignore_ascii_case(wanted) && ends
    })
}

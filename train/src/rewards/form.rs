//! The form of a completion: thoughts between tags, then an answer between tags.
//!
//! ```text
//! completion = space "<think>" thoughts "</think>" space "<answer>" answer "</answer>" space
//! inside     =               thoughts "</think>" space "<answer>" answer "</answer>" space
//! ```
//!
//! `space` is white space of Unicode; `thoughts` and `answer` are any text in which nothing is a tag or
//! meant for one. `inside` is the form of a completion whose prompt ends with `<think>`.

use std::fmt;

use super::tags::{Tag, tags};

/// What is right or first found wrong with the form, in the order of the variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FormVerdict {
    /// The form is right.
    Correct,
    /// There is nothing but white space.
    Empty,
    /// Something is meant for a tag and is none: `<Think>`, `<think >`, `<answer id=1>`.
    Misspelt,
    /// A tag is there more than once.
    Repeated(Tag),
    /// A tag is absent.
    Missing(Tag),
    /// Each tag is there once, in another order.
    Order,
    /// There is text before, between or behind the two parts.
    Outside,
    /// There is nothing but white space between `<think>` and `</think>`, and there has to be more.
    NoThinking,
    /// There is nothing but white space between `<answer>` and `</answer>`.
    NoAnswer,
}

impl fmt::Display for FormVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Correct => "correct",
            Self::Empty => "empty",
            Self::Misspelt => "misspelt tag",
            Self::Repeated(tag) => return write!(f, "repeated {tag}"),
            Self::Missing(tag) => return write!(f, "missing {tag}"),
            Self::Order => "order of tags",
            Self::Outside => "text outside",
            Self::NoThinking => "no thinking",
            Self::NoAnswer => "no answer",
        })
    }
}

/// What the form may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// Whether the prompt ends with `<think>`.
    pub(super) begins_inside: bool,
    /// Whether nothing need be thought.
    pub(super) empty_thinking: bool,
}

/// A completion taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading<'a> {
    pub(super) verdict: FormVerdict,
    /// The text from the first `<think>`, or from the beginning where that stands in the prompt, to the
    /// first `</think>`, trimmed; empty where there is none.
    pub(super) thinking: &'a str,
    /// The text between `<answer>` and `</answer>`, trimmed, where each is there once and in order,
    /// whatever else is wrong.
    pub(super) answer: Option<&'a str>,
}

/// The first place of a tag, and how often it is there.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    start: usize,
    end: usize,
    count: usize,
}

impl Form {
    /// Takes a completion apart, in a time linear in its length.
    pub(super) fn read(self, text: &str) -> Reading<'_> {
        let mut seen = [Seen::default(); 4];
        let mut misspelt = false;
        for found in tags(text) {
            let Some(tag) = found.tag else {
                misspelt = true;
                continue;
            };
            let seen = &mut seen[tag as usize];
            if seen.count == 0 {
                (seen.start, seen.end) = (found.start, found.end);
            }
            seen.count += 1;
        }
        let [open_think, close_think, open_answer, close_answer] = seen;
        let thinks = close_think.count > 0 && (self.begins_inside || open_think.count > 0);
        let thinking = thinks.then(|| text.get(open_think.end..close_think.start)).flatten();
        let once = open_answer.count == 1 && close_answer.count == 1;
        let answer = once.then(|| text.get(open_answer.end..close_answer.start)).flatten();
        let thinking = thinking.unwrap_or_default().trim();
        let answer = answer.map(str::trim);
        let verdict = if misspelt {
            FormVerdict::Misspelt
        } else {
            self.verdict(text, &seen, thinking, answer)
        };
        Reading { verdict, thinking, answer }
    }

    fn verdict(
        self,
        text: &str,
        seen: &[Seen; 4],
        thinking: &str,
        answer: Option<&str>,
    ) -> FormVerdict {
        if text.trim().is_empty() {
            return FormVerdict::Empty;
        }
        for (tag, seen) in Tag::ALL.into_iter().zip(seen) {
            let given = usize::from(tag == Tag::OpenThink && self.begins_inside);
            if seen.count + given > 1 {
                return FormVerdict::Repeated(tag);
            }
        }
        for (tag, seen) in Tag::ALL.into_iter().zip(seen) {
            if seen.count == 0 && !(tag == Tag::OpenThink && self.begins_inside) {
                return FormVerdict::Missing(tag);
            }
        }
        if !seen.is_sorted_by_key(|seen| seen.end) {
            return FormVerdict::Order;
        }
        let [open_think, close_think, open_answer, close_answer] = seen;
        let outside = [
            &text[..open_think.start],
            &text[close_think.end..open_answer.start],
            &text[close_answer.end..],
        ];
        if outside.iter().any(|part| !part.trim().is_empty()) {
            FormVerdict::Outside
        } else if thinking.is_empty() && !self.empty_thinking {
            FormVerdict::NoThinking
        } else if answer.is_none_or(str::is_empty) {
            FormVerdict::NoAnswer
        } else {
            FormVerdict::Correct
        }
    }
}

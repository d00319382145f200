//! Keeping what users write apart from what a template writes.
//!
//! A template returns one string, in which a user's `<｜User｜>` looks like the template's own. To
//! tell them apart, the messages are rendered a second time with a sentinel, a character that
//! occurs in none of the inputs, at both ends of each content and inside of whatever looks like a
//! control token there. A control token that holds a sentinel is a user's. Sentinels go before the
//! text is split and merged, so that text without control tokens keeps the ids that it has in one
//! piece.
//!
//! A template that deletes characters inside of a content can still make a control token of it.

use serde_json::Value;

use crate::text::{TextError, Tokenizer};

/// A character that occurs in none of the inputs of one rendering.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sentinel(char);

impl Sentinel {
    /// The first character for private use that is in none of `inputs`, nor in a control token,
    /// and that the tokenizer's normalizer leaves alone.
    pub(crate) fn choose(tokenizer: &Tokenizer, inputs: &[&str]) -> Result<Self, TextError> {
        let mut taken = [false; 0x1900];
        let control = tokenizer.control_tokens().iter().map(String::as_str);
        for c in inputs.iter().copied().chain(control).flat_map(str::chars) {
            if let '\u{e000}'..'\u{f900}' = c {
                taken[u32::from(c) as usize - 0xe000] = true;
            }
        }
        let mut free = ('\u{e000}'..'\u{f900}').zip(taken).filter(|(_, taken)| !taken);
        free.find(|&(c, _)| tokenizer.keeps(c)).map(|(c, _)| Self(c)).ok_or_else(|| {
            let found = "every character for private use";
            TextError::argument("messages", found, "at least one of U+E000..=U+F8FF unused")
        })
    }

    /// The character.
    pub(crate) fn char(self) -> char {
        self.0
    }

    /// `text` without sentinels.
    pub(crate) fn strip(self, text: &str) -> String {
        text.replace(self.0, "")
    }

    /// A message's content, marked at both ends, inside of the white space that templates trim.
    pub(crate) fn wrap(self, tokenizer: &Tokenizer, content: &str) -> String {
        let inner = content.trim();
        let start = content.len() - content.trim_start().len();
        let (head, tail) = (&content[..start], &content[start + inner.len()..]);
        let (s, inner) = (self.0, self.split(tokenizer, inner));
        format!("{head}{s}{inner}{s}{tail}")
    }

    /// `text` with a sentinel after the first character of whatever looks like a control token;
    /// after every character where only the normalizer makes it look like one.
    pub(crate) fn split(self, tokenizer: &Tokenizer, text: &str) -> String {
        let mut marked = String::with_capacity(text.len());
        for (at, c) in text.char_indices() {
            marked.push(c);
            if tokenizer.control_token_at(&text[at..]) {
                marked.push(self.0);
            }
        }
        if tokenizer.control_ids(&marked).is_empty() {
            return marked;
        }
        text.chars().flat_map(|c| [c, self.0]).collect()
    }

    /// [`Self::split`] of every string in a JSON value.
    pub(crate) fn split_json(self, tokenizer: &Tokenizer, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.split(tokenizer, text)),
            Value::Array(all) => all.iter().map(|v| self.split_json(tokenizer, v)).collect(),
            Value::Object(all) => {
                let marked = |(k, v): (&String, &Value)| {
                    (self.split(tokenizer, k), self.split_json(tokenizer, v))
                };
                Value::Object(all.iter().map(marked).collect())
            }
            other => other.clone(),
        }
    }
}

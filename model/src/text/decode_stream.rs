//! Decoding token by token.

use crate::text::{TextError, Tokenizer};

/// Turns tokens into text as they come, and holds bytes back until they are whole characters.
///
/// The pieces together, with [`Self::finish`], are what [`Tokenizer::decode`] gives at once.
#[derive(Debug, Clone)]
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    held: Vec<u8>,
}

impl<'a> DecodeStream<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, held: Vec::new() }
    }

    /// The text that is known once `id` has come; empty inside a character. Bytes that can never
    /// become a character are given as U+FFFD.
    ///
    /// # Errors
    /// [`TextError::Id`] when the id names no token; the stream is as before then.
    pub fn push(&mut self, id: u32) -> Result<String, TextError> {
        self.held.extend(self.tokenizer.token_bytes(id)?);
        let open = self.held.len() - open_bytes(&self.held);
        let rest = self.held.split_off(open);
        let whole = std::mem::replace(&mut self.held, rest);
        Ok(String::from_utf8_lossy(&whole).into_owned())
    }

    /// What was held back, when no token follows: U+FFFD for a character cut short.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }
}

/// The number of bytes at the end that begin a character and may still become one.
fn open_bytes(bytes: &[u8]) -> usize {
    let open = |&n: &usize| {
        let tail = &bytes[bytes.len() - n..];
        std::str::from_utf8(tail).is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
    };
    (1..=bytes.len().min(3)).rev().find(open).unwrap_or(0)
}

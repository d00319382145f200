//! Where in a sequence a completion lies, and which rows of a model predict it.

use std::ops::Range;

use super::GrpoError;

/// A prompt and what was sampled behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span<'a> {
    /// The tokens of the prompt and of the completion.
    pub tokens: &'a [u32],
    /// Which of them are the completion: some, behind the first.
    pub completion: Range<usize>,
}

/// What a batch of sequences is to predict.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// `[token]`: the next token of each whose next one is part of a completion that counts.
    pub(super) of_rows: Vec<Option<u32>>,
    /// Which completion, and which token of it, each of these is, in their order.
    pub(super) places: Vec<(usize, usize)>,
}

impl Targets {
    /// The targets of the spans that `counts` says yes to.
    ///
    /// # Errors
    /// [`GrpoError::Empty`] and [`GrpoError::Range`] with the first completion that is no part of its
    /// tokens behind the first.
    pub(super) fn of(
        spans: &[Span<'_>],
        counts: impl Fn(usize) -> bool,
    ) -> Result<Self, GrpoError> {
        let mut targets = Self::default();
        for (completion, span) in spans.iter().enumerate() {
            let (Range { start, end }, tokens) = (span.completion.clone(), span.tokens.len());
            if start == end {
                return Err(GrpoError::Empty { completion });
            }
            if start == 0 || start > end || end > tokens {
                return Err(GrpoError::Range { completion, start, end, tokens });
            }
            let first = targets.of_rows.len();
            targets.of_rows.resize(first + tokens, None);
            if !counts(completion) {
                continue;
            }
            for (token, at) in (start..end).enumerate() {
                targets.of_rows[first + at - 1] = Some(span.tokens[at]);
                targets.places.push((completion, token));
            }
        }
        Ok(targets)
    }
}

//! When an answer is the known one.

use serde::{Deserialize, Serialize};

use super::number;

/// Who says whether an answer is right.
pub trait Scorer {
    /// Whether `answer`, without the tags around it, is right. It is text of a model: anything.
    fn matches(&self, answer: &str) -> bool;
}

/// When an answer is the known one. White space around either does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    /// When it has the same characters.
    Exact,
    /// When it is the same number, however it is written: `42`, `+42`, `042`, `42.0`, `4.2e1`, `84/2`;
    /// `1,000` and `1000`; `0.5`, `1/2` and `3/6`. Numbers are compared as fractions, without rounding.
    ///
    /// Digits stand on both sides of a point. There are no spaces inside, no units, and no signs but
    /// ASCII's. Where the known answer is no such number, [`Match::Exact`] decides; so it does for
    /// one of more than 64 characters, or whose numerator or denominator is 2^127 or more.
    Numeric,
}

impl Match {
    /// Whether `found` is `known`.
    ///
    /// ```
    /// use latent_train::rewards::Match;
    /// assert!(Match::Numeric.holds("1/2", "0.50"));
    /// assert!(!Match::Exact.holds("1/2", "0.50"));
    /// assert!(!Match::Numeric.holds("42", "41 or 42"));
    /// ```
    #[must_use]
    pub fn holds(self, known: &str, found: &str) -> bool {
        match self {
            Self::Numeric => match number::read(known) {
                Some(value) => number::read(found) == Some(value),
                None => Self::Exact.holds(known, found),
            },
            Self::Exact => known.trim() == found.trim(),
        }
    }
}

/// A known answer and when another is it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known<'a> {
    /// The answer.
    pub answer: &'a str,
    /// When another is it.
    pub rule: Match,
}

impl Scorer for Known<'_> {
    fn matches(&self, answer: &str) -> bool {
        self.rule.holds(self.answer, answer)
    }
}

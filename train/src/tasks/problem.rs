//! One problem, and who is right about it.

use rand_chacha::ChaCha8Rng;

use super::countdown::Countdown;
use crate::random::below_u128;
use crate::rewards::{Match, Scorer};

/// A question with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The task that it is of, as in [`KindConfig`](super::KindConfig).
    pub task: &'static str,
    /// What is asked.
    pub question: String,
    /// A right answer; there may be others.
    pub answer: String,
    pub(super) rule: Rule,
    pub(super) worked: Option<String>,
}

/// When an answer is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rule {
    /// When it matches the known one.
    Known(Match),
    /// When it is an expression that reaches the target.
    Countdown(Countdown),
}

impl Problem {
    /// A problem with a number for an answer.
    pub(super) fn numeric(
        task: &'static str,
        question: String,
        answer: u128,
        steps: &[String],
    ) -> Self {
        let rule = Rule::Known(Match::Numeric);
        Self { task, question, answer: answer.to_string(), rule, worked: Some(steps.join("\n")) }
    }

    /// Whether `answer` is right. White space around it does not count.
    ///
    /// Numbers are compared by [`Match::Numeric`]; of `countdown` every expression is right that uses
    /// the numbers as it should and has the target for its exact value.
    #[must_use]
    pub fn matches(&self, answer: &str) -> bool {
        match &self.rule {
            Rule::Known(rule) => rule.holds(&self.answer, answer),
            Rule::Countdown(countdown) => countdown.solved_by(answer),
        }
    }

    /// The solution in short, regular steps, one a line, the last of which ends with the value; of
    /// problems that were read from a file there is none.
    ///
    /// | task | steps of | |
    /// | --- | --- | --- |
    /// | `sum` | `3+4+2=?` | `3+4=7`, `7+2=9` |
    /// | `addition` | `478+85=?` | `8+5=13 write 3 carry 1`, `7+8+1=16 write 6 carry 1`, `4+0+1=5 write 5`, `478+85=563` |
    /// | `multiplication` | `47*36=?` | `47*6=282`, `47*30=1410`, `282+1410=1692` |
    /// | `gcd` | `gcd(48,18)=?` | `48=2*18+12`, `18=1*12+6`, `12=2*6+0`, `gcd(48,18)=6` |
    /// | `countdown` | `make 35 from 3 5 4` | `3+4=7`, `7*5=35`, `(3+4)*5=35` |
    #[must_use]
    pub fn worked(&self) -> Option<&str> {
        self.worked.as_deref()
    }

    /// An answer of one who does not work the problem through. It is right by chance alone.
    ///
    /// | the answer is | a guess is |
    /// | --- | --- |
    /// | a whole number `n` | a whole number from `n - w` (at least 1) to `n + w`, each as probable as the others, with `w = max(5, n / 4)` |
    /// | an expression | an expression of the given numbers that is drawn as the solution was, whatever it comes to |
    /// | anything else | nothing |
    pub(super) fn guess(&self, stream: &mut ChaCha8Rng) -> Option<String> {
        if let Rule::Countdown(countdown) = &self.rule {
            return Some(countdown.guess(stream));
        }
        let answer: u128 = self.answer.parse().ok()?;
        let width = (answer / 4).max(5);
        let (low, high) = (answer.saturating_sub(width).max(1), answer.checked_add(width)?);
        Some((low + below_u128(stream, high - low + 1)).to_string())
    }
}

impl Scorer for Problem {
    fn matches(&self, answer: &str) -> bool {
        Self::matches(self, answer)
    }
}

//! What answers are like on the whole.

use serde::{Deserialize, Serialize};

use super::{Answer, Group};
use crate::rewards::{FormVerdict, Parts};

/// Means over answers. Its fields are keys of `metrics.jsonl`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct AnswerStats {
    /// How many answers there are.
    pub answers: usize,
    /// The tokens of all of them.
    pub tokens: usize,
    /// The reward.
    pub reward: f64,
    /// Its parts.
    #[serde(rename = "reward_parts")]
    pub parts: Parts,
    /// The share that is right, and in the right form.
    pub accuracy: f64,
    /// The share in the right form.
    pub formed: f64,
    /// The tokens of an answer.
    pub length: f64,
    /// The characters of its thoughts.
    pub thinking: f64,
    /// The share that was cut off at its longest.
    pub clipped: f64,
}

impl AnswerStats {
    /// Those of all answers of some groups; zeros where there are none.
    #[must_use]
    pub fn of(groups: &[Group]) -> Self {
        let all: Vec<&Answer> = groups.iter().flat_map(|group| &group.answers).collect();
        let mean = |of: &dyn Fn(&Answer) -> f64| {
            all.iter().map(|answer| of(answer)).sum::<f64>() / all.len().max(1) as f64
        };
        let share =
            |holds: &dyn Fn(&Answer) -> bool| mean(&|answer| f64::from(u8::from(holds(answer))));
        Self {
            answers: all.len(),
            tokens: all.iter().map(|answer| answer.drawn.tokens.len()).sum(),
            reward: mean(&|answer| answer.reward),
            parts: Parts {
                form: mean(&|answer| answer.parts.form),
                matched: mean(&|answer| answer.parts.matched),
                language: mean(&|answer| answer.parts.language),
                length: mean(&|answer| answer.parts.length),
            },
            accuracy: share(&Answer::is_right),
            formed: share(&|answer| answer.form == FormVerdict::Correct),
            length: mean(&|answer| answer.drawn.tokens.len() as f64),
            thinking: mean(&|answer| answer.thinking as f64),
            clipped: share(&|answer| !answer.drawn.ended),
        }
    }
}

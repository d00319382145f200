//! What is known of completions before a step.

use super::{GrpoConfig, GrpoError};

/// How a completion was sampled, and what it is worth.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sampled {
    /// The log-probability of each of its tokens by the model that sampled them, in nats.
    pub old_logps: Vec<f64>,
    /// The same by the reference model. Without, there is no divergence from it.
    pub ref_logps: Option<Vec<f64>>,
    /// How much better it is than other answers to its question: see [`advantages`](super::advantages).
    pub advantage: f64,
    /// Whether it was cut off at its longest.
    pub truncated: bool,
}

impl Sampled {
    /// Whether its tokens count nothing.
    pub(super) fn is_masked(&self, config: &GrpoConfig) -> bool {
        config.mask_truncated_completions && self.truncated
    }

    /// Proves that what is known of a completion fits together.
    pub(super) fn check(&self, completion: usize, config: &GrpoConfig) -> Result<(), GrpoError> {
        let wanted = self.old_logps.len();
        if wanted == 0 {
            return Err(GrpoError::Empty { completion });
        }
        match &self.ref_logps {
            Some(of) if of.len() != wanted => {
                let (name, found) = ("ref_logps", of.len());
                return Err(GrpoError::Length { name, completion, found, wanted });
            }
            None if config.beta > 0.0 => {
                return Err(GrpoError::Missing { completion, beta: config.beta });
            }
            _ => {}
        }
        if !self.advantage.is_finite() {
            return Err(GrpoError::Advantage { completion, found: self.advantage });
        }
        Ok(())
    }
}

/// The size of a batch, where less than all of it is computed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Whole {
    /// How many completions there are, those that are masked among them.
    pub completions: usize,
    /// How many tokens the others have.
    pub tokens: usize,
}

impl Whole {
    /// The size of a batch.
    pub fn of<'a>(batch: impl IntoIterator<Item = &'a Sampled>, config: &GrpoConfig) -> Self {
        batch.into_iter().fold(Self::default(), |Self { completions, tokens }, sampled| {
            let more = if sampled.is_masked(config) { 0 } else { sampled.old_logps.len() };
            Self { completions: completions + 1, tokens: tokens + more }
        })
    }
}

//! What can go wrong between rewards and gradients, by cause.

use latent_model::ModelError;

/// An error of group relative policy optimisation. Completions are counted over the batch, from 0, and
/// tokens from the first of their completion, from 0.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrpoError {
    /// A setting is outside of its range.
    #[error("{field}: found {found}, want {wanted}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// Its value.
        found: String,
        /// What is wanted.
        wanted: String,
    },
    /// The rewards are not so many for each question.
    #[error("rewards: found {found}, want num_generations = {num_generations} for each question")]
    Rewards {
        /// How many there are.
        found: usize,
        /// How many belong to a question.
        num_generations: usize,
    },
    /// A reward cannot be computed with.
    #[error("reward of question {question}, answer {answer}: found {found}, want {wanted}")]
    Reward {
        /// The question, from 0.
        question: usize,
        /// The answer to it, from 0.
        answer: usize,
        /// The reward.
        found: f64,
        /// What is wanted.
        wanted: &'static str,
    },
    /// A completion is not part of its tokens, or nothing stands before it.
    #[error(
        "completion {completion}: found tokens {start}..{end} of {tokens}, want some of them behind \
         the first"
    )]
    Range {
        /// The completion.
        completion: usize,
        /// Where it begins.
        start: usize,
        /// Where it ends: the first token that is not part of it.
        end: usize,
        /// How many tokens there are, those of the prompt among them.
        tokens: usize,
    },
    /// Numbers of a completion are not as many as its tokens.
    #[error("{name} of completion {completion}: found {found}, want {wanted}, one for each token")]
    Length {
        /// Which numbers.
        name: &'static str,
        /// The completion.
        completion: usize,
        /// How many there are.
        found: usize,
        /// How many tokens there are.
        wanted: usize,
    },
    /// A divergence is asked for, and nothing is there to diverge from.
    #[error("ref_logps of completion {completion}: missing; beta = {beta} wants them")]
    Missing {
        /// The completion.
        completion: usize,
        /// The weight of the divergence.
        beta: f64,
    },
    /// A completion has no token.
    #[error("completion {completion}: found no tokens, want at least one")]
    Empty {
        /// The completion.
        completion: usize,
    },
    /// An advantage cannot be computed with.
    #[error("advantage of completion {completion}: found {found}, want a finite number")]
    Advantage {
        /// The completion.
        completion: usize,
        /// Its value.
        found: f64,
    },
    /// Something of a token is none that can be computed with.
    #[error("{name} of completion {completion}, token {token}: found {found}, want {wanted}")]
    Token {
        /// What it is.
        name: &'static str,
        /// The completion.
        completion: usize,
        /// The token.
        token: usize,
        /// Its value.
        found: f64,
        /// What is wanted.
        wanted: &'static str,
    },
    /// The model refused.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl GrpoError {
    /// A [`GrpoError::Setting`] from its parts.
    pub(super) fn setting(
        field: &'static str,
        found: impl ToString,
        wanted: impl Into<String>,
    ) -> Self {
        Self::Setting { field, found: found.to_string(), wanted: wanted.into() }
    }
}

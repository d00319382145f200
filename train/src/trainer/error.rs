//! What can go wrong in a step, by cause.

use latent_model::ModelError;

use crate::OptimError;
use crate::data::DataError;
use crate::grpo::GrpoError;

/// An error of one step of training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainStepError {
    /// A loss is NaN or infinite.
    #[error("{what} is {found}, want a finite number; a smaller learning rate may help")]
    Loss {
        /// Which.
        what: &'static str,
        /// Its value.
        found: f64,
    },
    /// A weight is NaN or infinite.
    #[error(
        "{tensor}: weight {index} is {found}, want a finite number; a smaller learning rate may help"
    )]
    Weight {
        /// The tensor.
        tensor: String,
        /// Where the first such element lies, row by row.
        index: usize,
        /// The element.
        found: f64,
    },
    /// A gradient is not usable, with its tensor.
    #[error(transparent)]
    Optimizer(#[from] OptimError),
    /// The model refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer does not know a token of the data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Rewards or completions cannot be learned from.
    #[error(transparent)]
    Grpo(#[from] GrpoError),
    /// The first update by a batch of answers finds other probabilities than they were drawn with: what draws
    /// and what learns are not the same model.
    #[error(
        "the ratio of new to old probabilities is off by {found:e} before the first update, want exactly 1 \
         for every token"
    )]
    Ratio {
        /// The largest distance from 1.
        found: f64,
    },
    /// The first update by a batch of answers sends tokens to other experts than they went to when they were
    /// drawn.
    #[error(
        "{tokens} tokens went to other experts than when they were drawn before the first update, want none"
    )]
    Routing {
        /// How many.
        tokens: usize,
    },
    /// A question leaves no room for an answer.
    #[error(
        "question {question:?}: found {tokens} tokens with its template, want at most {room}: \
         max_position_embeddings without grpo.max_completion_length"
    )]
    Question {
        /// The question.
        question: String,
        /// The tokens of its prompt.
        tokens: usize,
        /// How many there may be.
        room: usize,
    },
}

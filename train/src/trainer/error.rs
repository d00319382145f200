//! What can go wrong in a step, by cause.

use latent_model::ModelError;

use crate::OptimError;
use crate::data::DataError;

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
}

//! Training of small DeepSeek-style models.
//!
//! | you want | look at |
//! | --- | --- |
//! | all weights of a model, by their published names | [`Parameters`] |
//! | a loss and its gradient by every weight | [`gradients`], [`LossConfig`] |
//! | text to train on, as batches of tokens | [`data`] |

mod loss;
mod parameters;

pub mod data;

pub use latent_model as model;
pub use loss::{LossConfig, Losses, Sequence, gradients, has_gradient};
pub use parameters::{Array, Parameters};

//! Training of small DeepSeek-style models.
//!
//! | you want | look at |
//! | --- | --- |
//! | all weights of a model, by their published names | [`Parameters`] |
//! | text to train on, as batches of tokens | [`data`] |

pub mod data;
mod parameters;

pub use latent_model as model;
pub use parameters::{Array, Parameters};

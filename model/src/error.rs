//! What can go wrong between a folder and a token, by cause.

use latent_kernels::KernelError;
use latent_mla::MlaError;
use latent_moe::MoeError;

use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::perplexity::PerplexityError;
use crate::sampling::SamplingError;
use crate::text::TextError;

/// An error of the assembled model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// `config.json` is missing, malformed, or asks for what is not supported.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights' files are missing, malformed, or do not fit the config.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tokenizer or the chat template failed.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The next token could not be chosen.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// A text cannot be scored.
    #[error(transparent)]
    Perplexity(#[from] PerplexityError),
    /// Attention or its cache refused.
    #[error(transparent)]
    Attention(#[from] MlaError),
    /// The gate or the experts refused.
    #[error(transparent)]
    Experts(#[from] MoeError),
    /// A primitive refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A tensor of a checkpoint does not have the shape that the config wants.
    #[error("{name}: shape {found:?}, the config wants {wanted:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// The stored shape, `[rows, cols]`.
        found: Vec<usize>,
        /// The shape that follows from the config.
        wanted: Vec<usize>,
    },
    /// A tensor that the config wants was not given.
    #[error("{name}: not given, the config wants it")]
    Missing {
        /// The tensor.
        name: String,
    },
    /// A token id is not in the vocabulary.
    #[error("token id {id} is not below vocab_size {vocab_size}")]
    Token {
        /// The id.
        id: u32,
        /// The size of the vocabulary.
        vocab_size: usize,
    },
    /// A prompt or a batch has nothing in it.
    #[error("{0}: want at least one token")]
    Empty(&'static str),
    /// The model has no multi-token-prediction layer of this index.
    #[error("multi-token-prediction layer {found}: the model has {layers}")]
    NoSuchMtpLayer {
        /// The index asked for.
        found: usize,
        /// `num_nextn_predict_layers`.
        layers: usize,
    },
    /// An error inside of one layer.
    #[error("layer {layer}: {source}")]
    Layer {
        /// The layer, from 0.
        layer: usize,
        /// What went wrong in it.
        #[source]
        source: Box<ModelError>,
    },
}

impl ModelError {
    pub(crate) fn in_layer(self, layer: usize) -> Self {
        Self::Layer { layer, source: Box::new(self) }
    }
}

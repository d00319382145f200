//! Every tensor that a model wants from a checkpoint.

use latent_kernels::TensorSpec;

use crate::block::block_tensors;
use crate::config::ModelConfig;
use crate::mtp::mtp_tensors;

/// The embedding.
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";

/// The head, where it is not the embedding.
pub(crate) const HEAD: &str = "lm_head.weight";

/// The gain of the last norm.
pub(crate) const NORM: &str = "model.norm.weight";

/// What the names of a layer's tensors begin with.
pub(crate) fn layer_prefix(layer: usize) -> String {
    format!("model.layers.{layer}.")
}

impl ModelConfig {
    /// Every tensor that a checkpoint of this config must hold, by its published name.
    ///
    /// The block scales of FP8 weights are not listed: they belong to their weights.
    #[must_use]
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let matrix = [self.vocab_size, self.hidden_size];
        let mut specs =
            vec![TensorSpec::new(EMBEDDING, &matrix), TensorSpec::new(NORM, &[self.hidden_size])];
        if !self.tie_word_embeddings {
            specs.push(TensorSpec::new(HEAD, &matrix));
        }
        for layer in 0..self.num_hidden_layers + self.num_nextn_predict_layers {
            let of_layer = if layer < self.num_hidden_layers {
                block_tensors(self, layer)
            } else {
                mtp_tensors(self, layer)
            };
            let prefix = layer_prefix(layer);
            specs.extend(of_layer.into_iter().map(|t| t.under(&prefix)));
        }
        specs
    }

    /// Whether a tensor is one of a multi-token-prediction layer, by its published name.
    #[must_use]
    pub fn is_of_mtp(&self, tensor: &str) -> bool {
        let of_layer = tensor.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
        let layer = of_layer.and_then(|(layer, _)| layer.parse::<usize>().ok());
        layer.is_some_and(|layer| layer >= self.num_hidden_layers)
    }

    /// The names of tensors that files may repeat and that are not read: embedding and head of the
    /// multi-token-prediction layers, which are the main model's, and the head of a model whose
    /// head is the embedding.
    #[must_use]
    pub fn repeated_tensors(&self) -> Vec<String> {
        (self.num_hidden_layers..self.num_hidden_layers + self.num_nextn_predict_layers)
            .flat_map(|layer| {
                ["embed_tokens.weight", "shared_head.head.weight"]
                    .map(|name| format!("model.layers.{layer}.{name}"))
            })
            .chain(self.tie_word_embeddings.then(|| HEAD.into()))
            .collect()
    }
}

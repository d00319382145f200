//! What a run of an ablation is remembered by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Point, RoutingByKind};

/// All that a report says of a run: a line of `results.jsonl`.
///
/// Curves are means over at most 200 stretches of a run; their first number is the tokens that the
/// model was trained on at the end of the stretch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// The name of the variant.
    pub variant: String,
    /// The seed of first weights, order and split of the documents.
    pub seed: u64,
    /// Where the variant stands on each axis.
    pub point: Point,
    /// All parameters, without those of multi-token prediction.
    pub total_parameters: u64,
    /// Those that one token uses: see [`ModelConfig::active_parameters`](latent_model::config::ModelConfig::active_parameters).
    pub active_parameters: u64,
    /// What a token takes in the cache, all layers together, with elements of 16 bits.
    pub cache_bytes_per_token: u64,
    /// The steps taken.
    pub steps: u64,
    /// The tokens that the model was trained on.
    pub tokens: u64,
    /// The mean of `-ln p` over the validation documents, in nats a token.
    pub loss: f64,
    /// The same in bits a byte of text, which compares tokenizers: see
    /// [`Evaluation::bits_per_byte`](crate::Evaluation::bits_per_byte).
    pub bits_per_byte: Option<f64>,
    /// The loss of each kind of text, with the number of tokens.
    pub kinds: BTreeMap<String, (f64, usize)>,
    /// Tokens, and the cross-entropy of training.
    pub training: Vec<(u64, f64)>,
    /// Tokens, and the loss on validation documents.
    pub validation: Vec<(u64, f64)>,
    /// How even experts were; `None` for a dense model.
    pub balance: Option<BalanceResult>,
    /// Which experts took which kind of text; `None` for a dense model.
    pub routing: Option<RoutingResult>,
    /// The median speed of a step, forward and backward.
    pub tokens_per_second: f64,
    /// The threads that it had.
    pub threads: usize,
    /// Every setting that changes a bit of the weights.
    pub settings: Value,
}

/// How even experts were in training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BalanceResult {
    /// Tokens, and the mean over steps and layers of a step's
    /// [`max_vio`](latent_model::moe::balance::max_vio).
    pub max_vio_of_steps: Vec<(u64, f64)>,
    /// That of the loads of the last tenth of the steps, added: the largest of the layers. Noise of single
    /// batches is averaged out.
    pub max_vio: f64,
    /// For each layer with experts: tokens, and the share of each expert.
    pub loads: BTreeMap<usize, Vec<(u64, Vec<f64>)>>,
}

/// Which experts took which kind of text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoutingResult {
    /// By the trained model, on the validation documents.
    pub trained: RoutingByKind,
    /// Bits of [`mutual_information`](RoutingByKind::mutual_information) of the trained model, the mean over
    /// layers.
    pub mutual_information: f64,
    /// That of the first weights: the experts of a random router.
    pub untrained: f64,
    /// That of the trained model's choices dealt out again among the tokens: what the count of tokens
    /// alone would show.
    pub shuffled: f64,
}

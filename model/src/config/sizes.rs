//! What follows from the sizes alone: parameters, arithmetic per token, bytes of cache.
//!
//! Counts are of a [validated](ModelConfig::validate) configuration; block scales of quantised
//! weights are not parameters.

use latent_mla::{AttentionConfig, GqaConfig, MlaConfig};
use latent_moe::MoeConfig;

use super::ModelConfig;

/// How a token attends to the cached latents while decoding. Other attention has one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecodeForm {
    /// Scores and sums are taken in the latent space; each cached token costs
    /// `2 kv_lora_rank + qk_rope_head_dim` multiply-adds a head.
    Absorbed,
    /// Keys and values of every cached token are made again from its latent.
    Expanded,
}

impl ModelConfig {
    /// The number of parameters, without the layers for multi-token prediction.
    #[must_use]
    pub fn total_parameters(&self) -> u64 {
        to_u64(self.main_parameters())
    }

    /// The number of parameters that the layers for multi-token prediction add: a layer each, the
    /// projection that joins embedding and hidden state, and three norms. The embedding and the
    /// head, which released files repeat, are the main model's.
    #[must_use]
    pub fn mtp_parameters(&self) -> u64 {
        to_u64(self.prediction_parameters())
    }

    /// The number of parameters that one token meets: all but the experts it is not sent to, and
    /// the embedding, of which it reads one row. A tied embedding counts as the head.
    #[must_use]
    pub fn active_parameters(&self) -> u64 {
        let idle = self.moe.as_ref().map_or(0, |moe| {
            let gate = &moe.config.gate;
            let idle = gate.n_routed_experts.saturating_sub(gate.num_experts_per_tok);
            let layers = (0..self.num_hidden_layers).filter(|&i| self.is_moe(i)).count();
            wide(layers) * wide(idle) * expert(&moe.config)
        });
        let embedding = if self.tie_word_embeddings { 0 } else { self.embedding() };
        to_u64(self.main_parameters() - idle - embedding)
    }

    /// The number of floating-point operations that decode one token which attends to `context`
    /// keys, its own among them: two for each multiply-add of a matrix product. Norms, rotations,
    /// softmax and activations are left out.
    #[must_use]
    pub fn decode_flops(&self, context: usize, form: DecodeForm) -> u64 {
        let layers = wide(self.num_hidden_layers);
        let gains = layers * (2 * wide(self.hidden_size) + latent_gains(&self.attention));
        let vectors = gains + wide(self.hidden_size) + self.gate_biases();
        let products = u128::from(self.active_parameters()) - vectors;
        let context = wide(context.max(1));
        let attention = match (&self.attention, form) {
            (AttentionConfig::Latent(c), DecodeForm::Absorbed) => {
                let width = 2 * wide(c.kv_lora_rank) + wide(c.qk_rope_head_dim);
                context * wide(c.num_attention_heads) * width
            }
            (AttentionConfig::Latent(c), DecodeForm::Expanded) => {
                let width = wide(c.qk_head_dim() + c.v_head_dim);
                // The token's own key is already among the active parameters.
                context * wide(c.num_attention_heads) * width + (context - 1) * kv_b_proj(c)
            }
            (AttentionConfig::Grouped(c), _) => {
                context * 2 * wide(c.num_attention_heads) * wide(c.head_dim)
            }
        };
        to_u64(2 * (products + layers * attention))
    }

    /// The number of elements cached per token over all layers.
    #[must_use]
    pub fn cached_elements_per_token(&self) -> usize {
        self.num_hidden_layers * self.attention.cached_elements()
    }

    /// The bytes cached per token over all layers at `element_bytes` an element.
    #[must_use]
    pub fn cached_bytes_per_token(&self, element_bytes: usize) -> u64 {
        to_u64(wide(self.cached_elements_per_token()) * wide(element_bytes))
    }

    /// The bytes per token over all layers where latents are cached as FP8 e4m3 with one f32 scale
    /// per 128 and the rotated key, never quantised, as bf16; `None` for other attention.
    ///
    /// # Source
    /// The layout of `FlashMLA`: 512 + 4 x 4 + 64 x 2 = 656 bytes per layer in V3.
    #[must_use]
    pub fn cached_fp8_bytes_per_token(&self) -> Option<u64> {
        let AttentionConfig::Latent(c) = &self.attention else { return None };
        let scales = c.kv_lora_rank.div_ceil(128);
        let per_layer = c.kv_lora_rank + 4 * scales + 2 * c.qk_rope_head_dim;
        Some(to_u64(wide(self.num_hidden_layers) * wide(per_layer)))
    }

    /// All parameters, in a type that no sizes within their ranges overflow.
    pub(super) fn parameters(&self) -> u128 {
        self.main_parameters() + self.prediction_parameters()
    }

    fn main_parameters(&self) -> u128 {
        let layers: u128 = (0..self.num_hidden_layers).map(|i| self.layer(i)).sum();
        let heads = if self.tie_word_embeddings { 1 } else { 2 };
        heads * self.embedding() + layers + wide(self.hidden_size)
    }

    fn prediction_parameters(&self) -> u128 {
        let hidden = wide(self.hidden_size);
        let end = self.num_hidden_layers + self.num_nextn_predict_layers;
        let extra = 2 * hidden * hidden + 3 * hidden;
        (self.num_hidden_layers..end).map(|i| self.layer(i) + extra).sum()
    }

    fn embedding(&self) -> u128 {
        wide(self.vocab_size) * wide(self.hidden_size)
    }

    /// One layer: attention, feed-forward, two norms.
    fn layer(&self, layer: usize) -> u128 {
        let feed_forward = match &self.moe {
            Some(moe) if self.is_moe(layer) => mixture(&moe.config),
            _ => 3 * wide(self.hidden_size) * wide(self.intermediate_size),
        };
        attention(&self.attention) + feed_forward + 2 * wide(self.hidden_size)
    }

    fn gate_biases(&self) -> u128 {
        let moe = self.moe.as_ref().filter(|moe| moe.config.gate.has_bias());
        moe.map_or(0, |moe| {
            let layers = (0..self.num_hidden_layers).filter(|&i| self.is_moe(i)).count();
            wide(layers) * wide(moe.config.gate.n_routed_experts)
        })
    }
}

fn attention(config: &AttentionConfig) -> u128 {
    let matrices = match config {
        AttentionConfig::Latent(c) => latent(c),
        AttentionConfig::Grouped(c) => grouped(c),
    };
    matrices + latent_gains(config)
}

/// The gains of the norms of both latents.
fn latent_gains(config: &AttentionConfig) -> u128 {
    match config {
        AttentionConfig::Latent(c) => wide(c.kv_lora_rank) + wide(c.q_lora_rank.unwrap_or(0)),
        AttentionConfig::Grouped(_) => 0,
    }
}

fn latent(c: &MlaConfig) -> u128 {
    let (hidden, heads) = (wide(c.hidden_size), wide(c.num_attention_heads));
    let queries = heads * wide(c.qk_head_dim());
    let query = match c.q_lora_rank {
        Some(rank) => wide(rank) * (hidden + queries),
        None => hidden * queries,
    };
    let down = hidden * wide(c.kv_lora_rank + c.qk_rope_head_dim);
    query + down + kv_b_proj(c) + heads * wide(c.v_head_dim) * hidden
}

fn kv_b_proj(c: &MlaConfig) -> u128 {
    wide(c.kv_lora_rank) * wide(c.num_attention_heads) * wide(c.qk_nope_head_dim + c.v_head_dim)
}

fn grouped(c: &GqaConfig) -> u128 {
    let heads = 2 * wide(c.num_attention_heads) + 2 * wide(c.num_key_value_heads);
    wide(c.hidden_size) * heads * wide(c.head_dim)
}

/// The router and its bias, all routed experts, the shared ones.
fn mixture(c: &MoeConfig) -> u128 {
    let experts = wide(c.gate.n_routed_experts);
    let bias = if c.gate.has_bias() { experts } else { 0 };
    experts * wide(c.hidden_size) + bias + (experts + wide(c.n_shared_experts)) * expert(c)
}

fn expert(c: &MoeConfig) -> u128 {
    3 * wide(c.hidden_size) * wide(c.moe_intermediate_size)
}

fn wide(size: usize) -> u128 {
    size as u128
}

fn to_u64(count: u128) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

//! A model with one layer, of which one part is to be timed: what is beside it takes next to no time.

use latent_model::config::{ModelConfig, ModelType, MoeLayout};
use latent_model::mla::AttentionConfig;

/// The number of tokens.
pub(super) const VOCABULARY: u32 = 64;

/// The layer with this attention, and with these experts or a dense block of this width.
pub(super) fn one_layer(
    attention: AttentionConfig,
    moe: Option<MoeLayout>,
    intermediate_size: usize,
) -> ModelConfig {
    ModelConfig {
        model_type: match attention {
            AttentionConfig::Latent(_) => ModelType::DeepseekV3,
            AttentionConfig::Grouped(_) => ModelType::Deepseek,
        },
        vocab_size: VOCABULARY as usize,
        hidden_size: attention.hidden_size(),
        num_hidden_layers: 1,
        num_nextn_predict_layers: 0,
        intermediate_size,
        rms_norm_eps: 1e-6,
        max_position_embeddings: 1 << 20,
        tie_word_embeddings: false,
        dtype: None,
        quantization: None,
        attention,
        moe,
        bos_token_id: None,
        eos_token_id: Vec::new(),
    }
}

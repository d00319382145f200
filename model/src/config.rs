//! The sizes and settings of a model, from its published `config.json`.
//!
//! [`ModelConfig::from_dir`] and [`ModelConfig::from_json`] read the released style (`rope_theta`,
//! `rope_scaling`, `torch_dtype`) and the newer one (`rope_parameters`, `dtype`). Reading is
//! strict: a value that is out of range, contradicts another, or asks for something that this
//! crate does not compute is a [`ConfigError`]; a key nobody knows is a [`Warning`].
//!
//! # What an absent key means
//! Only what the published configuration classes say in one voice is filled in; everything else
//! that changes a number is a missing field.
//!
//! | key | `deepseek` | `deepseek_v2` | `deepseek_v3`, `kimi_k2` | `llama` |
//! | --- | --- | --- | --- | --- |
//! | `n_routed_experts` | a dense model | a dense model | a dense model | a dense model |
//! | `topk_method` | `greedy` | `greedy` | `noaux_tc` | |
//! | `scoring_func` | `softmax` | `softmax` | `sigmoid` | |
//! | `norm_topk_prob` | false | false | true | |
//! | `routed_scaling_factor` | 1 | 1 | 2.5 | |
//! | `moe_layer_freq` | 1 | 1 | 1 | |
//! | `rope_interleave` | false | true | true | false |
//! | `num_key_value_heads` | `num_attention_heads` | `num_attention_heads` | `num_attention_heads` | `num_attention_heads` |
//! | `head_dim` | `hidden_size / num_attention_heads` | | | `hidden_size / num_attention_heads` |
//! | `tie_word_embeddings` | false | false | false | false |
//! | `num_nextn_predict_layers` | 0 | 0 | 0 | 0 |
//! | YaRN's `beta_fast`, `beta_slow` | 32, 1 | 32, 1 | 32, 1 | 32, 1 |
//! | `bos_token_id`, `eos_token_id` | none | none | none | none |
//! | `hidden_act`, `attention_bias`, `mlp_bias` | `silu`, false, false | the same | the same | the same |

use std::fmt;

use latent_kernels::Dtype;
use latent_mla::AttentionConfig;
use latent_moe::MoeConfig;

mod error;
mod fields;
mod gate;
mod json;
mod keys;
mod limits;
mod parse;
mod published;
mod rope;
mod save;
mod sizes;
mod validate;

pub use error::{ConfigError, Warning};
pub use published::{PUBLISHED, published};
pub use sizes::DecodeForm;

/// Which published family a configuration belongs to, `model_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModelType {
    /// `DeepSeekMoE`: grouped attention, experts behind softmax gates. A dense one is a Llama, too.
    Deepseek,
    /// DeepSeek-V2, V2-Lite, V2.5: latent attention, softmax gates.
    DeepseekV2,
    /// DeepSeek-V3, R1, Moonlight: latent attention, sigmoid gates with a bias that balances.
    DeepseekV3,
    /// Kimi K2: as V3.
    KimiK2,
    /// Llama: grouped attention, dense feed-forward; the baseline.
    Llama,
}

impl ModelType {
    /// Every supported family.
    pub const ALL: [Self; 5] =
        [Self::Deepseek, Self::DeepseekV2, Self::DeepseekV3, Self::KimiK2, Self::Llama];

    /// The value of `model_type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deepseek => "deepseek",
            Self::DeepseekV2 => "deepseek_v2",
            Self::DeepseekV3 => "deepseek_v3",
            Self::KimiK2 => "kimi_k2",
            Self::Llama => "llama",
        }
    }

    /// Whether its attention caches keys and values of groups of heads, and no latent.
    #[must_use]
    pub fn has_grouped_attention(self) -> bool {
        matches!(self, Self::Deepseek | Self::Llama)
    }
}

impl fmt::Display for ModelType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the weights of linear layers are quantised, `quantization_config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quantization {
    /// FP8 e4m3 with one scale per block: the V3 release.
    Fp8 {
        /// Rows and columns of a block, `weight_block_size`.
        block: [usize; 2],
    },
}

/// Which layers are mixtures of experts, and what such a layer is.
#[derive(Debug, Clone, PartialEq)]
pub struct MoeLayout {
    /// The experts and their gate.
    pub config: MoeConfig,
    /// The number of layers at the start that stay dense.
    pub first_k_dense_replace: usize,
    /// Of the layers after those, the ones whose index this divides are mixtures.
    pub moe_layer_freq: usize,
}

/// The sizes and settings of a model. Fields are the keys of the published `config.json`.
///
/// Attention and feed-forward are independent: any [`AttentionConfig`] may be put into any model.
///
/// ```
/// use latent_model::config::published;
/// let (_, v3) = published().into_iter().find(|(name, _)| *name == "deepseek-v3").unwrap();
/// assert_eq!(v3.cached_bytes_per_token(2), 70_272);
/// assert!(!v3.is_moe(2) && v3.is_moe(3));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The published family.
    pub model_type: ModelType,
    /// The number of rows of the embedding and of the head.
    pub vocab_size: usize,
    /// The width of the residual stream.
    pub hidden_size: usize,
    /// The number of layers, without multi-token prediction.
    pub num_hidden_layers: usize,
    /// The number of layers for multi-token prediction, stored after the others.
    pub num_nextn_predict_layers: usize,
    /// The inner width of a dense feed-forward block.
    pub intermediate_size: usize,
    /// The eps of the norms of the residual stream.
    pub rms_norm_eps: f64,
    /// The longest sequence that the model was made for, in tokens.
    pub max_position_embeddings: usize,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// What the unquantised weights are said to be stored in; each tensor's own dtype decides.
    pub dtype: Option<Dtype>,
    /// How linear layers are quantised, if they are.
    pub quantization: Option<Quantization>,
    /// The attention of every layer.
    pub attention: AttentionConfig,
    /// The mixtures of experts, if there are any.
    pub moe: Option<MoeLayout>,
    /// The id that begins a text.
    pub bos_token_id: Option<u32>,
    /// The ids that end one.
    pub eos_token_id: Vec<u32>,
}

impl ModelConfig {
    /// Whether layer `layer` is a mixture of experts. A layer for multi-token prediction (an index
    /// from `num_hidden_layers` on) always is where the model has experts.
    #[must_use]
    pub fn is_moe(&self, layer: usize) -> bool {
        self.moe.as_ref().is_some_and(|moe| {
            layer >= self.num_hidden_layers
                || layer >= moe.first_k_dense_replace && layer.is_multiple_of(moe.moe_layer_freq)
        })
    }

    /// Proves that every id of a tokenizer has a row in the embedding.
    ///
    /// # Errors
    /// [`ConfigError::Tokenizer`] when `max_id` has none.
    pub fn check_tokenizer(&self, max_id: u32) -> Result<(), ConfigError> {
        if (max_id as usize) < self.vocab_size {
            return Ok(());
        }
        Err(ConfigError::Tokenizer { id: max_id, vocab_size: self.vocab_size })
    }
}

//! `[model]`: what is trained, in the words of a published `config.json`.

use latent_kernels::PairLayout;
use latent_model::config::{ModelConfig, ModelType};
use latent_model::mla::{AttentionConfig, GqaConfig, MlaConfig, RopeConfig};
use serde::{Deserialize, Serialize};

use super::error::want;
use super::{DataSection, ExpertsSection, TrainConfigError};

/// The sizes of a model, by the keys of a published `config.json`. The vocabulary's comes from the
/// tokenizer.
///
/// Latent attention makes a `deepseek_v3`; grouped attention makes a `deepseek` with experts and a
/// `llama` without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// Which attention.
    pub attention: AttentionKind,
    /// The width of the residual stream.
    pub hidden_size: usize,
    /// The number of layers, without multi-token prediction.
    pub num_hidden_layers: usize,
    /// The number of heads.
    pub num_attention_heads: usize,
    /// The inner width of a dense feed-forward block.
    pub intermediate_size: usize,
    /// Of `mla`: the width of the query's latent; absent, queries are projected in one step.
    #[serde(default)]
    pub q_lora_rank: Option<usize>,
    /// Of `mla`: the width of the latent of keys and values.
    #[serde(default)]
    pub kv_lora_rank: Option<usize>,
    /// Of `mla`: the part of a head that carries no position.
    #[serde(default)]
    pub qk_nope_head_dim: Option<usize>,
    /// Of `mla`: the rotated part.
    #[serde(default)]
    pub qk_rope_head_dim: Option<usize>,
    /// Of `mla`: the width of a head's value.
    #[serde(default)]
    pub v_head_dim: Option<usize>,
    /// Of `gqa`: the number of heads of keys and values.
    #[serde(default)]
    pub num_key_value_heads: Option<usize>,
    /// Of `mha`, `gqa` and `mqa`: the width of a head; absent, `hidden_size / num_attention_heads`.
    #[serde(default)]
    pub head_dim: Option<usize>,
    /// The number of layers for multi-token prediction.
    #[serde(default)]
    pub num_nextn_predict_layers: usize,
    /// The longest sequence that generation may make; absent, `data.seq_len`.
    #[serde(default)]
    pub max_position_embeddings: Option<usize>,
    /// The base of the rotation's frequencies.
    #[serde(default = "rope_theta")]
    pub rope_theta: f64,
    /// The eps of the norms.
    #[serde(default = "rms_norm_eps")]
    pub rms_norm_eps: f64,
    /// Whether the head is the embedding.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// The standard deviation of the first weights: V3's is 0.006.
    #[serde(default = "initializer_range")]
    pub initializer_range: f64,
    /// The size of the vocabulary is a multiple of this.
    #[serde(default = "vocab_multiple")]
    pub vocab_multiple: usize,
    /// The mixtures of experts; absent, the model is dense.
    #[serde(default)]
    pub experts: Option<ExpertsSection>,
}

fn rope_theta() -> f64 {
    10_000.0
}

fn rms_norm_eps() -> f64 {
    1e-6
}

fn initializer_range() -> f64 {
    0.006
}

fn vocab_multiple() -> usize {
    1
}

/// Which attention a model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttentionKind {
    /// Multi-head latent attention.
    Mla,
    /// Keys and values for each head.
    Mha,
    /// Keys and values for each group of heads.
    Gqa,
    /// Keys and values for all heads together.
    Mqa,
}

impl ModelSection {
    /// The model with this vocabulary, whose documents end with `end`, for sequences of `seq_len`
    /// tokens.
    ///
    /// # Errors
    /// [`TrainConfigError::Missing`] and [`TrainConfigError::NoMeaning`] when the sizes are not those
    /// of the attention, [`TrainConfigError::Model`] when a size is out of its range, or no
    /// `config.json` can say what the model is.
    pub fn to_config(
        &self,
        vocab_size: usize,
        end: u32,
        seq_len: usize,
    ) -> Result<ModelConfig, TrainConfigError> {
        let attention = self.attention()?;
        let model_type = match (&attention, &self.experts) {
            (AttentionConfig::Latent(_), _) => ModelType::DeepseekV3,
            (AttentionConfig::Grouped(_), Some(_)) => ModelType::Deepseek,
            (AttentionConfig::Grouped(_), None) => ModelType::Llama,
        };
        let config = ModelConfig {
            model_type,
            vocab_size,
            hidden_size: self.hidden_size,
            num_hidden_layers: self.num_hidden_layers,
            num_nextn_predict_layers: self.num_nextn_predict_layers,
            intermediate_size: self.intermediate_size,
            rms_norm_eps: self.rms_norm_eps,
            max_position_embeddings: self.max_position_embeddings.unwrap_or(seq_len),
            tie_word_embeddings: self.tie_word_embeddings,
            dtype: Some(latent_kernels::Dtype::F32),
            quantization: None,
            attention,
            moe: self.experts.as_ref().map(|experts| experts.layout(self.hidden_size)),
            bos_token_id: None,
            eos_token_id: vec![end],
        };
        // What is trained has to be saved.
        config.to_json()?;
        Ok(config)
    }

    fn attention(&self) -> Result<AttentionConfig, TrainConfigError> {
        self.check_meaning()?;
        let kind = format!("attention = {:?} wants it", self.attention.name());
        let wanted = |field, size: Option<usize>| {
            size.ok_or_else(|| TrainConfigError::Missing { field, because: kind.clone() })
        };
        let heads = self.num_attention_heads;
        let rope = |layout| RopeConfig { theta: self.rope_theta, yarn: None, layout };
        let num_key_value_heads = match self.attention {
            AttentionKind::Mla => {
                return Ok(AttentionConfig::Latent(MlaConfig {
                    hidden_size: self.hidden_size,
                    num_attention_heads: heads,
                    q_lora_rank: self.q_lora_rank,
                    kv_lora_rank: wanted("model.kv_lora_rank", self.kv_lora_rank)?,
                    qk_nope_head_dim: wanted("model.qk_nope_head_dim", self.qk_nope_head_dim)?,
                    qk_rope_head_dim: wanted("model.qk_rope_head_dim", self.qk_rope_head_dim)?,
                    v_head_dim: wanted("model.v_head_dim", self.v_head_dim)?,
                    rope: rope(PairLayout::Interleaved),
                }));
            }
            AttentionKind::Mha => heads,
            AttentionKind::Gqa => wanted("model.num_key_value_heads", self.num_key_value_heads)?,
            AttentionKind::Mqa => 1,
        };
        let head_dim = match self.head_dim {
            Some(head_dim) => head_dim,
            None => {
                let even = heads > 0 && self.hidden_size.is_multiple_of(heads);
                let range = format!(
                    "a divisor of hidden_size {} where head_dim is absent",
                    self.hidden_size
                );
                want(even, "model.num_attention_heads", heads, range)?;
                self.hidden_size / heads
            }
        };
        Ok(AttentionConfig::Grouped(GqaConfig {
            hidden_size: self.hidden_size,
            num_attention_heads: heads,
            num_key_value_heads,
            head_dim,
            rope: rope(PairLayout::HalfSplit),
        }))
    }

    /// Proves that no size of another attention is given.
    fn check_meaning(&self) -> Result<(), TrainConfigError> {
        let kind = self.attention;
        let (mla, gqa) = (kind == AttentionKind::Mla, kind == AttentionKind::Gqa);
        let each = [
            ("model.q_lora_rank", self.q_lora_rank, mla),
            ("model.kv_lora_rank", self.kv_lora_rank, mla),
            ("model.qk_nope_head_dim", self.qk_nope_head_dim, mla),
            ("model.qk_rope_head_dim", self.qk_rope_head_dim, mla),
            ("model.v_head_dim", self.v_head_dim, mla),
            ("model.num_key_value_heads", self.num_key_value_heads, gqa),
            ("model.head_dim", self.head_dim, !mla),
        ];
        match each.iter().find(|(_, size, meant)| size.is_some() && !meant) {
            None => Ok(()),
            Some((field, ..)) => {
                let because = format!("with attention = {:?}", kind.name());
                Err(TrainConfigError::NoMeaning { field, because })
            }
        }
    }

    pub(super) fn validate(&self, data: &DataSection) -> Result<(), TrainConfigError> {
        let spread = self.initializer_range;
        let holds = spread > 0.0 && spread <= 1.0;
        want(holds, "model.initializer_range", spread, "above 0, at most 1")?;
        let multiple = self.vocab_multiple;
        let holds = (1..=1 << 20).contains(&multiple);
        want(holds, "model.vocab_multiple", multiple, "from 1 to 2^20")?;
        if let Some(positions) = self.max_position_embeddings {
            let wanted = format!("at least data.seq_len {}", data.seq_len);
            let holds = positions >= data.seq_len;
            want(holds, "model.max_position_embeddings", positions, wanted)?;
        }
        // The vocabulary is known once there are tokens: what is refused here does not depend on it.
        self.to_config(1, 0, data.seq_len).map(|_| ())
    }
}

impl AttentionKind {
    fn name(self) -> &'static str {
        match self {
            Self::Mla => "mla",
            Self::Mha => "mha",
            Self::Gqa => "gqa",
            Self::Mqa => "mqa",
        }
    }
}

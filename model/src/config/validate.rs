//! What must hold of a configuration, wherever it came from.

use latent_mla::AttentionConfig;

use super::{ConfigError, ModelConfig, MoeLayout, Quantization, limits};

impl ModelConfig {
    /// Proves that the configuration is usable: every size in its range, every setting possible,
    /// the parts of one width. [`from_json`](Self::from_json) has done so already.
    ///
    /// # Errors
    /// [`ConfigError`] that names the field, its value, and what is wanted.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.check("config")
    }

    pub(super) fn check(&self, file: &str) -> Result<(), ConfigError> {
        let wrong = |field: &str, found: String, wanted: String| {
            Err(ConfigError::Value { file: file.into(), field: field.into(), found, wanted })
        };
        for (field, size) in self.sizes() {
            let range = limits::range(field);
            if !range.contains(&size) {
                let wanted = format!("{}..={}", range.start(), range.end());
                return wrong(field, size.to_string(), wanted);
            }
        }
        if !limits::RMS_NORM_EPS.contains(&self.rms_norm_eps) {
            let wanted = format!("{:e}..={:e}, above 0 in f32", f32::MIN_POSITIVE, f32::MAX);
            return wrong("rms_norm_eps", self.rms_norm_eps.to_string(), wanted);
        }
        let (field, rotated) = match &self.attention {
            AttentionConfig::Latent(c) => ("qk_rope_head_dim", c.qk_rope_head_dim),
            AttentionConfig::Grouped(c) => ("head_dim", c.head_dim),
        };
        if !rotated.is_multiple_of(2) {
            return wrong(field, rotated.to_string(), "even for RoPE".into());
        }
        self.attention
            .validate()
            .map_err(|source| ConfigError::Attention { file: file.into(), source })?;
        let mut widths = vec![("the attention's hidden_size", self.attention.hidden_size())];
        if let Some(moe) = &self.moe {
            moe.config
                .validate()
                .map_err(|source| ConfigError::Moe { file: file.into(), source })?;
            if moe.first_k_dense_replace > self.num_hidden_layers {
                let wanted = format!("at most num_hidden_layers {}", self.num_hidden_layers);
                return wrong(
                    "first_k_dense_replace",
                    moe.first_k_dense_replace.to_string(),
                    wanted,
                );
            }
            widths.push(("the experts' hidden_size", moe.config.hidden_size));
        }
        for (field, found) in widths {
            if found != self.hidden_size {
                let wanted = format!("hidden_size {}", self.hidden_size);
                return wrong(field, found.to_string(), wanted);
            }
        }
        let parameters = self.parameters();
        if parameters > limits::MAX_PARAMETERS {
            let wanted = format!("at most {}", limits::MAX_PARAMETERS);
            return wrong("the number of parameters", parameters.to_string(), wanted);
        }
        Ok(())
    }

    /// Every size by its key.
    fn sizes(&self) -> Vec<(&'static str, usize)> {
        let mut sizes = vec![
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_nextn_predict_layers", self.num_nextn_predict_layers),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        match &self.attention {
            AttentionConfig::Latent(c) => {
                sizes.extend(c.q_lora_rank.map(|rank| ("q_lora_rank", rank)));
                sizes.extend([
                    ("num_attention_heads", c.num_attention_heads),
                    ("kv_lora_rank", c.kv_lora_rank),
                    ("qk_nope_head_dim", c.qk_nope_head_dim),
                    ("qk_rope_head_dim", c.qk_rope_head_dim),
                    ("v_head_dim", c.v_head_dim),
                ]);
            }
            AttentionConfig::Grouped(c) => sizes.extend([
                ("num_attention_heads", c.num_attention_heads),
                ("num_key_value_heads", c.num_key_value_heads),
                ("head_dim", c.head_dim),
            ]),
        }
        if let Some(MoeLayout { config, first_k_dense_replace, moe_layer_freq }) = &self.moe {
            sizes.extend([
                ("moe_intermediate_size", config.moe_intermediate_size),
                ("n_shared_experts", config.n_shared_experts),
                ("n_routed_experts", config.gate.n_routed_experts),
                ("num_experts_per_tok", config.gate.num_experts_per_tok),
                ("first_k_dense_replace", *first_k_dense_replace),
                ("moe_layer_freq", *moe_layer_freq),
            ]);
        }
        if let Some(Quantization::Fp8 { block }) = self.quantization {
            sizes.extend(block.map(|side| ("weight_block_size", side)));
        }
        sizes
    }
}

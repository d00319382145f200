//! A [`ModelConfig`] as the text of a `config.json` in the released style.

use latent_kernels::PairLayout;
use latent_mla::{AttentionConfig, RopeConfig};
use latent_moe::{MoeConfig, ScoringFunc, TopkMethod};
use serde_json::{Map, Value, json};

use super::parse::DTYPES;
use super::{ConfigError, ModelConfig, ModelType, MoeLayout, Quantization, gate};

impl ModelConfig {
    /// The configuration in the released style: reading the text gives the same configuration.
    ///
    /// # Errors
    /// [`ConfigError::Unpublished`] when the family has no such mix of attention and feed-forward,
    /// and as [`validate`](Self::validate).
    pub fn to_json(&self) -> Result<String, ConfigError> {
        self.validate()?;
        self.check_published()?;
        let mut out = Map::new();
        let mut put = |key: &str, value: Value| {
            out.insert(key.into(), value);
        };
        let architecture = match self.model_type {
            ModelType::Deepseek => "DeepseekForCausalLM",
            ModelType::DeepseekV2 => "DeepseekV2ForCausalLM",
            ModelType::DeepseekV3 | ModelType::KimiK2 => "DeepseekV3ForCausalLM",
            ModelType::Llama => "LlamaForCausalLM",
        };
        put("architectures", json!([architecture]));
        put("model_type", json!(self.model_type.name()));
        put("vocab_size", json!(self.vocab_size));
        put("hidden_size", json!(self.hidden_size));
        put("num_hidden_layers", json!(self.num_hidden_layers));
        put("num_nextn_predict_layers", json!(self.num_nextn_predict_layers));
        put("intermediate_size", json!(self.intermediate_size));
        put("hidden_act", json!("silu"));
        put("rms_norm_eps", json!(self.rms_norm_eps));
        put("max_position_embeddings", json!(self.max_position_embeddings));
        put("tie_word_embeddings", json!(self.tie_word_embeddings));
        put("attention_bias", json!(false));
        put("bos_token_id", json!(self.bos_token_id));
        put(
            "eos_token_id",
            match self.eos_token_id.as_slice() {
                [] => Value::Null,
                [one] => json!(one),
                many => json!(many),
            },
        );
        let dtype = DTYPES.iter().find(|(_, dtype)| Some(*dtype) == self.dtype);
        put("torch_dtype", json!(dtype.map(|(name, _)| name)));
        if let Some(Quantization::Fp8 { block }) = self.quantization {
            let fp8 = json!({
                "activation_scheme": "dynamic",
                "fmt": "e4m3",
                "quant_method": "fp8",
                "weight_block_size": block,
            });
            put("quantization_config", fp8);
        }
        attention(&self.attention, &mut put);
        match &self.moe {
            None => put("n_routed_experts", Value::Null),
            Some(moe) => mixture(moe, &mut put),
        }
        Ok(format!("{:#}\n", Value::Object(out)))
    }

    /// Grouped attention belongs to `deepseek`, with or without experts, and to Llama, which is
    /// dense; latent attention to the other families, with or without experts.
    fn check_published(&self) -> Result<(), ConfigError> {
        let (attention, layout) = match &self.attention {
            AttentionConfig::Latent(c) => ("latent attention", c.rope.layout),
            AttentionConfig::Grouped(c) => ("grouped attention", c.rope.layout),
        };
        let grouped = matches!(self.attention, AttentionConfig::Grouped(_));
        let halves = layout == PairLayout::HalfSplit;
        let rotation_fits = match self.model_type {
            ModelType::Deepseek | ModelType::Llama => halves,
            ModelType::DeepseekV2 => !halves,
            ModelType::DeepseekV3 | ModelType::KimiK2 => true,
        };
        let dtype_fits = self.dtype.is_none_or(|d| DTYPES.iter().any(|(_, known)| *known == d));
        let experts = self.moe.is_some();
        let attention_fits = grouped == self.model_type.has_grouped_attention();
        let experts_fit = !(experts && self.model_type == ModelType::Llama);
        if attention_fits && experts_fit && rotation_fits && dtype_fits {
            return Ok(());
        }
        let mut mix = attention.to_owned();
        mix += if experts { " with a mixture of experts" } else { " with a dense feed-forward" };
        if !rotation_fits {
            mix += if halves { " and rotation in halves" } else { " and interleaved rotation" };
        }
        if !dtype_fits {
            mix += " in a dtype that models are not published in";
        }
        Err(ConfigError::Unpublished { mix, model_type: self.model_type.name() })
    }
}

fn attention(config: &AttentionConfig, put: &mut impl FnMut(&str, Value)) {
    match config {
        AttentionConfig::Latent(c) => {
            put("num_attention_heads", json!(c.num_attention_heads));
            put("num_key_value_heads", json!(c.num_attention_heads));
            put("q_lora_rank", json!(c.q_lora_rank));
            put("kv_lora_rank", json!(c.kv_lora_rank));
            put("qk_nope_head_dim", json!(c.qk_nope_head_dim));
            put("qk_rope_head_dim", json!(c.qk_rope_head_dim));
            put("v_head_dim", json!(c.v_head_dim));
            if c.rope.layout == PairLayout::HalfSplit {
                put("rope_interleave", json!(false));
            }
            rope(&c.rope, put);
        }
        AttentionConfig::Grouped(c) => {
            put("num_attention_heads", json!(c.num_attention_heads));
            put("num_key_value_heads", json!(c.num_key_value_heads));
            put("head_dim", json!(c.head_dim));
            rope(&c.rope, put);
        }
    }
}

fn rope(config: &RopeConfig, put: &mut impl FnMut(&str, Value)) {
    put("rope_theta", json!(config.theta));
    let scaling = config.yarn.map(|yarn| {
        json!({
            "type": "yarn",
            "factor": yarn.factor,
            "original_max_position_embeddings": yarn.original_max_position_embeddings,
            "beta_fast": yarn.beta_fast,
            "beta_slow": yarn.beta_slow,
            "mscale": yarn.mscale,
            "mscale_all_dim": yarn.mscale_all_dim,
        })
    });
    put("rope_scaling", json!(scaling));
}

fn mixture(moe: &MoeLayout, put: &mut impl FnMut(&str, Value)) {
    let MoeConfig { moe_intermediate_size, n_shared_experts, gate, .. } = &moe.config;
    put("moe_intermediate_size", json!(moe_intermediate_size));
    put("n_shared_experts", json!(n_shared_experts));
    put("n_routed_experts", json!(gate.n_routed_experts));
    put("num_experts_per_tok", json!(gate.num_experts_per_tok));
    put("first_k_dense_replace", json!(moe.first_k_dense_replace));
    put("moe_layer_freq", json!(moe.moe_layer_freq));
    put("norm_topk_prob", json!(gate.norm_topk_prob));
    put("routed_scaling_factor", json!(gate.routed_scaling_factor));
    put("scoring_func", json!(scoring_func(gate.scoring_func)));
    let (method, groups) = match gate.topk_method {
        TopkMethod::Greedy => ("greedy", None),
        TopkMethod::GroupLimitedGreedy { n_group, topk_group } => {
            ("group_limited_greedy", Some((n_group, topk_group)))
        }
        TopkMethod::NoauxTc { n_group, topk_group } => ("noaux_tc", Some((n_group, topk_group))),
    };
    put("topk_method", json!(method));
    let (n_group, topk_group) = groups.unwrap_or((1, 1));
    put("n_group", json!(n_group));
    put("topk_group", json!(topk_group));
}

fn scoring_func(function: ScoringFunc) -> Option<&'static str> {
    gate::SCORING_FUNCS.iter().find(|(_, f)| *f == function).map(|(name, _)| *name)
}

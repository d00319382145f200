//! Which keys a published `config.json` may have.

use super::fields::Fields;
use super::json::Json;
use super::{ConfigError, Warning};

/// Keys that are read.
const READ: &[&str] = &[
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "first_k_dense_replace",
    "head_dim",
    "hidden_size",
    "intermediate_size",
    "kv_lora_rank",
    "max_position_embeddings",
    "model_type",
    "moe_intermediate_size",
    "moe_layer_freq",
    "n_group",
    "n_routed_experts",
    "n_shared_experts",
    "norm_topk_prob",
    "num_attention_heads",
    "num_experts_per_tok",
    "num_hidden_layers",
    "num_key_value_heads",
    "num_nextn_predict_layers",
    "q_lora_rank",
    "qk_head_dim",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "quantization_config",
    "rms_norm_eps",
    "rope_interleave",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "routed_scaling_factor",
    "scoring_func",
    "tie_word_embeddings",
    "topk_group",
    "topk_method",
    "torch_dtype",
    "v_head_dim",
    "vocab_size",
];

/// Keys that change no number of a forward pass: training, deployment, bookkeeping.
const IGNORED: &[&str] = &[
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "auto_map",
    "aux_loss_alpha",
    "ep_size",
    "initializer_range",
    "is_llama_config",
    "output_router_logits",
    "pad_token_id",
    "pretraining_tp",
    "router_aux_loss_coef",
    "seq_aux",
    "transformers.js_config",
    "transformers_version",
    "use_cache",
];

/// Keys that would change what is computed, and the one value that is.
const FIXED: &[(&str, Fixed)] = &[
    ("attention_bias", Fixed::Bool(false)),
    ("hidden_act", Fixed::Text("silu")),
    ("mlp_bias", Fixed::Bool(false)),
    ("rope_interleaved", Fixed::Bool(false)),
    ("use_mla", Fixed::Bool(true)),
];

enum Fixed {
    Bool(bool),
    Text(&'static str),
}

/// Proves that no key asks for something that is not computed.
pub(super) fn check_fixed(fields: &Fields<'_>) -> Result<(), ConfigError> {
    for (key, fixed) in FIXED {
        let Some(value) = fields.object.get(*key) else { continue };
        let (same, only) = match fixed {
            Fixed::Bool(b) => (*value == Json::Bool(*b), b.to_string()),
            Fixed::Text(s) => (matches!(value, Json::Text(t) if t == s), format!("{s:?}")),
        };
        if !same {
            return Err(fields.unsupported(key, value, only));
        }
    }
    Ok(())
}

/// One warning for each key that is neither read nor known.
pub(super) fn unknown(fields: &Fields<'_>) -> Vec<Warning> {
    let known = |key: &str| {
        READ.contains(&key) || IGNORED.contains(&key) || FIXED.iter().any(|(k, _)| *k == key)
    };
    let unknown = fields.object.keys().filter(|key| !known(key));
    unknown.map(|key| Warning::UnknownKey { file: fields.file.into(), key: key.clone() }).collect()
}

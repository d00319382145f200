//! Small configurations, whole and with one value changed, and what reading them gives.

use std::path::PathBuf;

use latent_mla::{AttentionConfig, RopeConfig};
use latent_model::config::ModelConfig;
use serde_json::{Value, json};

/// A small model of V3's kind with everything on.
pub(super) fn v3() -> Value {
    let text = r#"{
        "model_type": "deepseek_v3", "vocab_size": 100, "hidden_size": 80,
        "intermediate_size": 112, "moe_intermediate_size": 28, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 4, "n_shared_experts": 1,
        "n_routed_experts": 16, "num_experts_per_tok": 4, "kv_lora_rank": 36, "q_lora_rank": 44,
        "qk_nope_head_dim": 24, "qk_rope_head_dim": 16, "v_head_dim": 20,
        "first_k_dense_replace": 2, "moe_layer_freq": 1, "hidden_act": "silu",
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "attention_bias": false,
        "tie_word_embeddings": false, "max_position_embeddings": 4096, "bos_token_id": 0,
        "eos_token_id": 1, "torch_dtype": "float32", "scoring_func": "sigmoid",
        "topk_method": "noaux_tc", "norm_topk_prob": true, "num_nextn_predict_layers": 0,
        "n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5,
        "rope_scaling": {
            "type": "yarn", "factor": 40, "mscale": 1.0, "mscale_all_dim": 0.5, "beta_fast": 32,
            "beta_slow": 1, "original_max_position_embeddings": 4096
        }
    }"#;
    serde_json::from_str(text).unwrap()
}

pub(super) fn llama() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 100, "hidden_size": 48, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5, "rope_theta": 10000, "max_position_embeddings": 256,
        "tie_word_embeddings": true, "rope_scaling": null
    })
}

/// A small model of the `DeepSeekMoE` kind, with the keys of the released file.
pub(super) fn deepseek() -> Value {
    json!({
        "model_type": "deepseek", "vocab_size": 100, "hidden_size": 48, "intermediate_size": 64,
        "moe_intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 4, "n_routed_experts": 8, "num_experts_per_tok": 3,
        "n_shared_experts": 2, "first_k_dense_replace": 1, "moe_layer_freq": 1,
        "scoring_func": "softmax", "norm_topk_prob": false, "aux_loss_alpha": 0.001, "seq_aux": true,
        "rms_norm_eps": 1e-6, "rope_theta": 10000, "rope_scaling": null,
        "max_position_embeddings": 256, "tie_word_embeddings": false, "torch_dtype": "bfloat16"
    })
}

/// `base` with the value at a path of keys replaced, or removed.
pub(super) fn with(mut base: Value, path: &str, value: Option<Value>) -> Value {
    let (parent, key) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = if parent.is_empty() { String::new() } else { format!("/{parent}") };
    let object = base.pointer_mut(&parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => object.insert(key.into(), value),
        None => object.remove(key),
    };
    base
}

pub(super) fn set(path: &str, value: Value) -> Value {
    with(v3(), path, Some(value))
}

pub(super) fn remove(path: &str) -> Value {
    with(v3(), path, None)
}

pub(super) fn read(value: &Value) -> ModelConfig {
    let (config, warnings) = ModelConfig::from_json(&value.to_string()).unwrap();
    assert_eq!(warnings, []);
    config
}

pub(super) fn error_of(text: &str) -> String {
    ModelConfig::from_json(text).unwrap_err().to_string()
}

#[track_caller]
pub(super) fn rejects(value: &Value, message: &str) {
    assert_eq!(error_of(&value.to_string()), format!("config.json: {message}"));
}

pub(super) fn latent_rope(config: &ModelConfig) -> RopeConfig {
    let AttentionConfig::Latent(c) = &config.attention else { panic!("want latent attention") };
    c.rope
}

/// The folder of every case of the conformance pack.
pub(super) fn conformance_cases() -> Vec<PathBuf> {
    let pack = concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance");
    let folders = std::fs::read_dir(pack).unwrap().map(|entry| entry.unwrap().path());
    folders.filter(|dir| dir.join("golden.json").exists()).collect()
}

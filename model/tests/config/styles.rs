//! The released and the newer style, and what absent keys mean.

use latent_kernels::{Dtype, PairLayout};
use latent_mla::{AttentionConfig, GqaConfig, RopeConfig};
use latent_model::config::{ModelConfig, ModelType};
use latent_moe::{GateConfig, ScoringFunc, TopkMethod};
use serde_json::{Value, json};

use crate::examples::{
    conformance_cases, deepseek, latent_rope, llama, read, rejects, remove, set, v3, with,
};

#[test]
fn both_styles_read_alike() {
    let mut newer = v3();
    let object = newer.as_object_mut().unwrap();
    let theta = object.remove("rope_theta").unwrap();
    let mut rope = object.remove("rope_scaling").unwrap();
    rope["rope_theta"] = theta;
    rope["rope_type"] = json!("yarn");
    let dtype = object.remove("torch_dtype").unwrap();
    object.extend([
        ("rope_parameters".into(), rope),
        ("dtype".into(), dtype),
        ("rope_interleave".into(), json!(true)),
        ("head_dim".into(), json!(16)),
        ("qk_head_dim".into(), json!(40)),
        ("pad_token_id".into(), Value::Null),
    ]);
    assert_eq!(read(&newer), read(&v3()));
    let both = with(newer, "rope_scaling", v3().get("rope_scaling").cloned());
    assert_eq!(read(&both), read(&v3()));
    let plain = set("rope_scaling", json!({"type": "default"}));
    assert_eq!(read(&plain), read(&set("rope_scaling", Value::Null)));
    let only_theta =
        with(remove("rope_scaling"), "rope_parameters", Some(json!({"rope_theta": 10000})));
    assert_eq!(read(&with(only_theta, "rope_theta", None)), read(&plain));
    let halves = read(&set("rope_interleave", json!(false)));
    assert_eq!(latent_rope(&halves).layout, PairLayout::HalfSplit);
}

/// Every case of the conformance pack, in both styles; the newer one of `v3_fp8` describes the
/// weights after they were widened.
#[test]
fn conformance_cases_read_alike_in_both_styles() {
    let mut compared = Vec::new();
    for dir in conformance_cases() {
        let (mut released, warnings) = ModelConfig::from_dir(&dir).unwrap();
        assert_eq!(warnings, [], "{}", dir.display());
        let Ok(newer) = std::fs::read_to_string(dir.join("config_v5.json")) else { continue };
        let (newer, warnings) = ModelConfig::from_json(&newer).unwrap();
        assert_eq!(warnings, [], "{}", dir.display());
        let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "v3_fp8" {
            (released.quantization, released.dtype) = (None, Some(Dtype::F32));
        }
        assert_eq!(newer, released, "{name}");
        compared.push(name);
    }
    for name in [
        "deepseek",
        "deepseek_gqa",
        "kimi_k2",
        "llama",
        "moonlight",
        "v2",
        "v2_lite",
        "v3",
        "v3_fp8",
        "v3_mtp",
    ] {
        assert!(compared.iter().any(|c| c == name), "{name} was not compared: {compared:?}");
    }
}

#[test]
fn absent_keys_follow_the_published_classes() {
    let gate_keys = ["scoring_func", "topk_method", "norm_topk_prob", "routed_scaling_factor"];
    let bare = gate_keys.iter().fold(v3(), |config, key| with(config, key, None));
    assert_eq!(read(&bare), read(&v3()));
    let v2 = with(bare, "model_type", Some(json!("deepseek_v2")));
    let gate = read(&v2).moe.unwrap().config.gate;
    assert_eq!(gate.scoring_func, ScoringFunc::Softmax);
    assert_eq!(gate.topk_method, TopkMethod::Greedy);
    assert!(!gate.norm_topk_prob && gate.routed_scaling_factor.to_bits() == 1.0_f64.to_bits());
    // The released `deepseek` file has no topk_method.
    let keys = ["scoring_func", "norm_topk_prob", "moe_layer_freq", "num_key_value_heads"];
    let bare = keys.iter().fold(deepseek(), |config, key| with(config, key, None));
    assert_eq!(read(&bare), read(&deepseek()));
    assert_eq!(
        read(&bare).moe.unwrap().config.gate,
        GateConfig { n_routed_experts: 8, num_experts_per_tok: 3, ..gate }
    );
    let others = [
        "moe_layer_freq",
        "num_nextn_predict_layers",
        "attention_bias",
        "hidden_act",
        "tie_word_embeddings",
        "num_key_value_heads",
    ];
    let bare = others.iter().fold(v3(), |config, key| with(config, key, None));
    assert_eq!(read(&bare), read(&v3()));
    let dense = read(&set("n_routed_experts", Value::Null));
    assert_eq!((dense.moe.clone(), dense.is_moe(3)), (None, false));
    assert_eq!(read(&remove("n_routed_experts")), dense);
}

#[test]
fn layers_of_experts_come_after_the_dense_ones_at_the_given_pace() {
    let config = read(&with(set("moe_layer_freq", json!(3)), "num_hidden_layers", Some(json!(8))));
    let layers: Vec<usize> = (0..8).filter(|&i| config.is_moe(i)).collect();
    assert_eq!(layers, [3, 6]);
}

#[test]
fn llama_derives_the_width_of_a_head() {
    let AttentionConfig::Grouped(c) = read(&llama()).attention else { panic!("llama is grouped") };
    assert_eq!((c.head_dim, c.num_key_value_heads), (8, 2));
    assert_eq!(c.rope.layout, PairLayout::HalfSplit);
    let uneven = with(llama(), "num_attention_heads", Some(json!(5)));
    rejects(
        &uneven,
        "num_attention_heads: must be a divisor of hidden_size 48 where head_dim is absent, got 5",
    );
    let groups = with(llama(), "num_key_value_heads", Some(json!(4)));
    rejects(&groups, "num_key_value_heads: must be a divisor of num_attention_heads 6, got 4");
}

#[test]
fn deepseek_has_grouped_attention_and_experts_or_none() {
    let config = read(&deepseek());
    let AttentionConfig::Grouped(c) = &config.attention else { panic!("deepseek is grouped") };
    assert_eq!((c.head_dim, c.num_key_value_heads, c.rope.layout), (12, 4, PairLayout::HalfSplit));
    assert_eq!((config.is_moe(0), config.is_moe(1)), (false, true));
    let names: Vec<String> = config.tensors().into_iter().map(|tensor| tensor.name).collect();
    for name in [
        "model.layers.0.mlp.gate_proj.weight",
        "model.layers.1.self_attn.k_proj.weight",
        "model.layers.1.mlp.gate.weight",
        "model.layers.1.mlp.experts.7.down_proj.weight",
        "model.layers.1.mlp.shared_experts.up_proj.weight",
    ] {
        assert!(names.iter().any(|n| n == name), "{name} is not in {names:?}");
    }
    let wide = read(&with(deepseek(), "head_dim", Some(json!(20))));
    let AttentionConfig::Grouped(c) = &wide.attention else { panic!("deepseek is grouped") };
    assert_eq!(c.head_dim, 20);
    let dense = read(&with(deepseek(), "n_routed_experts", Some(Value::Null)));
    assert_eq!(dense.moe, None);
    for written in [config, wide, dense] {
        let text = written.to_json().unwrap();
        assert!(
            text.contains("\"DeepseekForCausalLM\"") && text.contains("\"deepseek\""),
            "{text}"
        );
        assert_eq!(ModelConfig::from_json(&text).unwrap(), (written, Vec::new()));
    }
}

#[test]
fn a_mix_that_a_family_has_not_runs_and_is_not_written_as_one_of_it() {
    let mut config = read(&v3());
    let AttentionConfig::Latent(c) = config.attention.clone() else { panic!("v3 is latent") };
    config.attention = AttentionConfig::Grouped(GqaConfig {
        hidden_size: 80,
        num_attention_heads: 4,
        num_key_value_heads: 4,
        head_dim: 20,
        rope: RopeConfig { layout: PairLayout::HalfSplit, ..c.rope },
    });
    config.validate().unwrap();
    assert_eq!(config.cached_elements_per_token(), 4 * 160);
    let refused = |config: &ModelConfig| config.to_json().unwrap_err().to_string();
    let mix = "grouped attention with a mixture of experts is not in model_type";
    let why = "its config.json cannot say it";
    assert_eq!(refused(&config), format!("{mix} deepseek_v3: {why}"));
    config.model_type = ModelType::Llama;
    assert_eq!(refused(&config), format!("{mix} llama: {why}"));
    // V3's gate behind grouped attention is what `deepseek` can say, with layers that predict ahead.
    (config.model_type, config.num_nextn_predict_layers) = (ModelType::Deepseek, 1);
    assert_eq!(
        ModelConfig::from_json(&config.to_json().unwrap()).unwrap(),
        (config.clone(), vec![])
    );
    config.attention = AttentionConfig::Latent(c);
    let mix = "latent attention with a mixture of experts and interleaved rotation";
    assert_eq!(refused(&config), format!("{mix} is not in model_type deepseek: {why}"));
}

#[test]
fn parts_of_different_widths_are_rejected() {
    let mut config = read(&v3());
    config.hidden_size = 96;
    let error = config.validate().unwrap_err().to_string();
    assert_eq!(error, "config: the attention's hidden_size: must be hidden_size 96, got 80");
}

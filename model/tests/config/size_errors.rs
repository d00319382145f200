//! Rows C3 to C10 and C13: families, sizes, and sizes that do not fit together.

use latent_mla::AttentionConfig;
use serde_json::{Value, json};

use crate::examples::{error_of, llama, read, rejects, remove, set, v3, with};

#[test]
fn c3_an_unknown_model_type_names_the_supported_ones() {
    let supported = "supported: deepseek, deepseek_v2, deepseek_v3, kimi_k2, llama";
    let want = format!("unsupported model_type \"deepseek_v4\"; {supported}");
    rejects(&set("model_type", json!("deepseek_v4")), &want);
    rejects(&set("model_type", json!(3)), &format!("unsupported model_type 3; {supported}"));
    rejects(&remove("model_type"), "missing field model_type");
}

#[test]
fn c4_every_field_without_a_published_default_is_wanted() {
    for field in [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "moe_intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "n_shared_experts",
        "num_experts_per_tok",
        "kv_lora_rank",
        "q_lora_rank",
        "qk_nope_head_dim",
        "qk_rope_head_dim",
        "v_head_dim",
        "first_k_dense_replace",
        "rms_norm_eps",
        "rope_theta",
        "max_position_embeddings",
        "n_group",
        "topk_group",
    ] {
        rejects(&remove(field), &format!("missing field {field}"));
    }
}

#[test]
fn c5_a_size_outside_of_its_range_names_the_range() {
    for (value, got) in [
        (json!(0), "0"),
        (json!(-1), "-1"),
        (json!(1_048_577), "1048577"),
        (json!(1_000_000_000_000_u64), "1000000000000"),
        (json!(u64::MAX), "18446744073709551615"),
    ] {
        let want = format!("hidden_size: must be 1..=1048576, got {got}");
        rejects(&set("hidden_size", value), &want);
    }
}

#[test]
fn c5_a_size_is_an_integer() {
    for (value, got) in [
        ("80.0", "80.0"),
        ("1e2", "100.0"),
        ("\"80\"", "\"80\""),
        ("null", "null"),
        ("true", "true"),
        ("[80]", "an array of 1"),
        ("99999999999999999999", "1e20"),
    ] {
        let text =
            v3().to_string().replace("\"hidden_size\":80", &format!("\"hidden_size\":{value}"));
        let want = "config.json: hidden_size: must be an integer in 1..=1048576, got ";
        assert_eq!(error_of(&text), format!("{want}{got}"));
    }
}

#[test]
fn c5_every_size_has_a_limit() {
    let config = v3();
    let sizes = config.as_object().unwrap().iter().filter(|(key, value)| {
        value.is_u64() && !["bos_token_id", "eos_token_id"].contains(&key.as_str())
    });
    let mut count = 0;
    for (key, _) in sizes {
        let error = error_of(&set(key, json!(1_u64 << 40)).to_string());
        assert!(error.starts_with(&format!("config.json: {key}: must be ")), "{error}");
        count += 1;
    }
    assert_eq!(count, 21);
}

#[test]
fn c5_sizes_that_are_each_possible_may_be_too_much_together() {
    let mut config = v3();
    for (key, value) in [
        ("hidden_size", 1 << 20),
        ("num_hidden_layers", 4096),
        ("moe_intermediate_size", 1 << 22),
        ("n_routed_experts", 1 << 16),
        ("num_attention_heads", 1 << 16),
        ("v_head_dim", 1 << 16),
        ("num_key_value_heads", 1 << 16),
        ("kv_lora_rank", 1 << 20),
    ] {
        config = with(config, key, Some(json!(value)));
    }
    let error = error_of(&config.to_string());
    assert!(
        error.contains("the number of parameters: must be at most 1125899906842624"),
        "{error}"
    );
}

#[test]
fn c6_an_odd_rotated_part_is_rejected() {
    rejects(&set("qk_rope_head_dim", json!(15)), "qk_rope_head_dim: must be even for RoPE, got 15");
    let odd = with(llama(), "head_dim", Some(json!(7)));
    rejects(&odd, "head_dim: must be even for RoPE, got 7");
}

#[test]
fn c7_more_experts_per_token_than_experts_names_both() {
    let want = "num_experts_per_tok: must be at most n_routed_experts 16, got 17";
    rejects(&set("num_experts_per_tok", json!(17)), want);
}

#[test]
fn c8_groups_that_do_not_fit_are_rejected() {
    rejects(&set("n_group", json!(3)), "n_group: must be a divisor of n_routed_experts 16, got 3");
    rejects(&set("topk_group", json!(5)), "topk_group: must be at most n_group 4, got 5");
    let alone = "n_group: must be at most 8: noaux_tc sums the two best of each group of \
                 n_routed_experts 16, got 16";
    rejects(&set("n_group", json!(16)), alone);
    let few = with(set("topk_group", json!(1)), "num_experts_per_tok", Some(json!(5)));
    rejects(&few, "num_experts_per_tok: must be at most 4: 1 groups of 4, got 5");
}

#[test]
fn c9_no_query_compression_is_null_and_never_0() {
    let AttentionConfig::Latent(c) = read(&set("q_lora_rank", Value::Null)).attention else {
        panic!("deepseek_v3 is latent")
    };
    assert_eq!(c.q_lora_rank, None);
    rejects(&set("q_lora_rank", json!(0)), "q_lora_rank: must be 1..=1048576, got 0");
}

#[test]
fn c10_no_more_dense_layers_than_layers() {
    let want = "first_k_dense_replace: must be at most num_hidden_layers 4, got 5";
    rejects(&set("first_k_dense_replace", json!(5)), want);
    assert!(!read(&set("first_k_dense_replace", json!(4))).is_moe(3));
    rejects(&set("moe_layer_freq", json!(0)), "moe_layer_freq: must be 1..=4096, got 0");
}

#[test]
fn c13_every_token_has_a_row() {
    let config = read(&v3());
    config.check_tokenizer(99).unwrap();
    let error = config.check_tokenizer(128_821).unwrap_err();
    assert_eq!(error.to_string(), "tokenizer id 128821 >= vocab_size 100");
    assert!(config.check_tokenizer(100).is_err());
}

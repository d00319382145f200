//! Reading, checking and writing `config.json`.

use latent_kernels::{Dtype, PairLayout};
use latent_mla::{AttentionConfig, GqaConfig, RopeConfig};
use latent_model::config::{
    ConfigError, DecodeForm, ModelConfig, ModelType, PUBLISHED, Quantization, Warning, published,
};
use latent_moe::{ScoringFunc, TopkMethod};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;
use serde_json::{Value, json};

/// A small model of V3's kind with everything on.
fn v3() -> Value {
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

fn llama() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 100, "hidden_size": 48, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5, "rope_theta": 10000, "max_position_embeddings": 256,
        "tie_word_embeddings": true, "rope_scaling": null
    })
}

/// `base` with the value at a path of keys replaced, or removed.
fn with(mut base: Value, path: &str, value: Option<Value>) -> Value {
    let (parent, key) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = if parent.is_empty() { String::new() } else { format!("/{parent}") };
    let object = base.pointer_mut(&parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => object.insert(key.into(), value),
        None => object.remove(key),
    };
    base
}

fn set(path: &str, value: Value) -> Value {
    with(v3(), path, Some(value))
}

fn remove(path: &str) -> Value {
    with(v3(), path, None)
}

fn read(value: &Value) -> ModelConfig {
    let (config, warnings) = ModelConfig::from_json(&value.to_string()).unwrap();
    assert_eq!(warnings, []);
    config
}

fn error_of(text: &str) -> String {
    ModelConfig::from_json(text).unwrap_err().to_string()
}

#[track_caller]
fn rejects(value: &Value, message: &str) {
    assert_eq!(error_of(&value.to_string()), format!("config.json: {message}"));
}

#[test]
fn c1_a_missing_file_is_named_with_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let error = ModelConfig::from_dir(dir.path()).unwrap_err();
    let dir = dir.path().display();
    let want = format!("config.json not found in {dir} (looked for {dir}/config.json)");
    assert_eq!(error.to_string(), want);
}

#[test]
fn c1_what_is_not_a_regular_file_is_an_error_and_never_blocks() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("config.json")).unwrap();
    let error = ModelConfig::from_dir(dir.path()).unwrap_err();
    assert!(error.to_string().ends_with("config.json: not a regular file"), "{error}");
}

#[test]
fn c1_a_file_that_is_not_utf8_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), b"{\"model_type\": \"\xff\"}").unwrap();
    assert!(matches!(ModelConfig::from_dir(dir.path()), Err(ConfigError::Io { .. })));
}

#[test]
fn c2_invalid_json_is_placed() {
    let cases = [
        ("", "line 1 col 0: the file is empty"),
        (" \n", "line 1 col 0: the file is empty"),
        ("\u{feff}{}", "line 1 col 1: a byte order mark: save the file as UTF-8 without BOM"),
        ("{\n  \"a\": ?\n}", "line 2 col 8: expected value"),
        ("{\"a\": 1} {", "line 1 col 10: trailing characters"),
        ("{\"a\": 1,}", "line 1 col 9: trailing comma"),
    ];
    for (text, want) in cases {
        assert_eq!(error_of(text), format!("config.json: invalid JSON at {want}"));
    }
    assert_eq!(error_of("[]"), "config.json: the document: must be an object, got an array of 0");
}

#[test]
fn c2_deep_nesting_is_an_error_and_no_stack_overflow() {
    for bomb in ["[".repeat(200_000), "{\"a\":".repeat(200_000)] {
        assert!(error_of(&bomb).contains("recursion limit exceeded"));
    }
}

#[test]
fn c3_an_unknown_model_type_names_the_supported_ones() {
    let supported = "supported: deepseek_v2, deepseek_v3, kimi_k2, llama";
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
fn c11_an_unknown_rope_type_names_the_supported_ones() {
    for kind in ["linear", "dynamic", "llama3", "longrope"] {
        let want = format!("unsupported rope_scaling.type \"{kind}\"; supported: default, yarn");
        rejects(&set("rope_scaling/type", json!(kind)), &want);
    }
    rejects(&remove("rope_scaling/type"), "missing field rope_scaling.type");
    rejects(&set("rope_scaling", json!("yarn")), "rope_scaling: must be an object, got \"yarn\"");
}

#[test]
fn c11_a_stretch_is_above_0() {
    for (value, got) in [(json!(0), "0"), (json!(-40), "-40"), (json!(-0.5), "-0.5")] {
        let want = format!("rope_scaling.factor: must be a number above 0, got {got}");
        rejects(&set("rope_scaling/factor", value), &want);
    }
    let want = "rope_scaling.original_max_position_embeddings: must be 1..=1073741824, got 0";
    rejects(&set("rope_scaling/original_max_position_embeddings", json!(0)), want);
}

#[test]
fn c11_yarn_has_no_silent_default_for_what_changes_scores() {
    for key in ["factor", "original_max_position_embeddings", "mscale", "mscale_all_dim"] {
        let field = format!("rope_scaling.{key}");
        rejects(&remove(&format!("rope_scaling/{key}")), &format!("missing field {field}"));
    }
    let plain = remove("rope_scaling/beta_fast");
    assert_eq!(read(&with(plain, "rope_scaling/beta_slow", None)), read(&v3()));
}

#[test]
fn c11_null_and_0_leave_mscale_unset() {
    for value in [Value::Null, json!(0), json!(0.0)] {
        let rope = latent_rope(&read(&set("rope_scaling/mscale_all_dim", value)));
        assert_eq!(rope.yarn.unwrap().mscale_all_dim, None);
        assert_eq!(rope.yarn.unwrap().mscale, Some(1.0));
    }
    let yarn = with(
        llama(),
        "rope_scaling",
        Some(json!({
            "rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 64
        })),
    );
    let AttentionConfig::Grouped(c) = read(&yarn).attention else { panic!("llama is grouped") };
    assert_eq!(c.rope.yarn.unwrap().mscale, None);
}

#[test]
fn c12_unknown_gates_name_the_supported_ones() {
    let scores = "unsupported scoring_func \"tanh\"; supported: softmax, sigmoid, sqrtsoftplus";
    rejects(&set("scoring_func", json!("tanh")), scores);
    let methods = "unsupported topk_method \"gready\"; supported: greedy, group_limited_greedy, \
                   noaux_tc";
    rejects(&set("topk_method", json!("gready")), methods);
}

#[test]
fn c13_every_token_has_a_row() {
    let config = read(&v3());
    config.check_tokenizer(99).unwrap();
    let error = config.check_tokenizer(128_821).unwrap_err();
    assert_eq!(error.to_string(), "tokenizer id 128821 >= vocab_size 100");
    assert!(config.check_tokenizer(100).is_err());
}

#[test]
fn c14_unknown_storage_is_unsupported() {
    let want = "unsupported torch_dtype \"int4\"; supported: float64, float32, float16, bfloat16";
    rejects(&set("torch_dtype", json!("int4")), want);
    for (key, value, want) in [
        ("quant_method", json!("gptq"), "quant_method \"gptq\"; supported: fp8"),
        ("fmt", json!("e5m2"), "fmt \"e5m2\"; supported: e4m3"),
        ("activation_scheme", json!("static"), "activation_scheme \"static\"; supported: dynamic"),
    ] {
        let mut fp8 = json!({"quant_method": "fp8", "weight_block_size": [128, 128]});
        fp8[key] = value;
        let want = format!("unsupported quantization_config.{want}");
        rejects(&set("quantization_config", fp8), &want);
    }
    for (block, want) in [
        (None, "missing field quantization_config.weight_block_size"),
        (
            Some(json!([128])),
            "quantization_config.weight_block_size: must be two sizes, rows and columns, got an \
             array of 1",
        ),
        (Some(json!([128, 0])), "quantization_config.weight_block_size: must be 1..=65536, got 0"),
    ] {
        let fp8 = json!({"quant_method": "fp8", "fmt": "e4m3"});
        let config =
            with(set("quantization_config", fp8), "quantization_config/weight_block_size", block);
        rejects(&config, want);
    }
    rejects(
        &set("quantization_config", json!({})),
        "missing field quantization_config.quant_method",
    );
}

#[test]
fn c15_numbers_are_finite_and_eps_is_above_0() {
    for (value, got) in [(json!(0), "0"), (json!(0.0), "0"), (json!(-1e-6), "-0.000001")] {
        let want = format!("rms_norm_eps: must be a finite number above 0, got {got}");
        rejects(&set("rms_norm_eps", value), &want);
    }
    for key in ["rms_norm_eps\":1e-6", "rope_theta\":10000.0", "routed_scaling_factor\":2.5"] {
        let (name, _) = key.split_once(':').unwrap();
        for number in ["1e999", "-1e999"] {
            let text = v3().to_string();
            assert!(text.contains(key), "{text}");
            let error = error_of(&text.replace(key, &format!("{name}:{number}")));
            assert!(
                error.contains("invalid JSON") && error.ends_with("number out of range"),
                "{error}"
            );
        }
        let error = error_of(&v3().to_string().replace(key, &format!("{name}:NaN")));
        assert!(error.contains("invalid JSON at line 1"), "{error}");
    }
    rejects(
        &set("rms_norm_eps", json!("1e-6")),
        "rms_norm_eps: must be a finite number, got \"1e-6\"",
    );
    rejects(&set("rope_theta", json!(1)), "rope_theta: must be a number above 1, got 1");
    rejects(
        &set("routed_scaling_factor", json!(0)),
        "routed_scaling_factor: must be a finite number above 0, got 0",
    );
}

#[test]
fn c16_a_key_twice_is_rejected_at_any_depth() {
    let twice = v3().to_string().replacen('{', "{\"hidden_size\":80,", 1);
    assert!(error_of(&twice).ends_with("duplicate key \"hidden_size\""), "{}", error_of(&twice));
    let nested = v3().to_string().replace("\"beta_slow\":1", "\"beta_slow\":1,\"beta_slow\":2");
    assert!(error_of(&nested).ends_with("duplicate key \"beta_slow\""), "{}", error_of(&nested));
    let unread = "{\"a\": [{\"b\": {\"c\": 1, \"\\u0063\": 1}}]}";
    assert!(error_of(unread).ends_with("duplicate key \"c\""), "{}", error_of(unread));
}

#[test]
fn c16_an_unknown_key_is_warned_of_once() {
    let text = set("hiden_size", json!(1)).to_string();
    let (config, warnings) = ModelConfig::from_json(&text).unwrap();
    let key = "hiden_size".into();
    assert_eq!(warnings, [Warning::UnknownKey { file: "config.json".into(), key }]);
    assert_eq!(warnings[0].to_string(), "config.json: unknown key \"hiden_size\" is ignored");
    assert_eq!(config, read(&v3()));
}

#[test]
fn a_special_token_without_a_row_is_warned_of() {
    let text = set("eos_token_id", json!([1, 100])).to_string();
    let (config, warnings) = ModelConfig::from_json(&text).unwrap();
    assert_eq!(config.eos_token_id, [1, 100]);
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].to_string(), "config.json: eos_token_id 100 >= vocab_size 100");
    rejects(&set("eos_token_id", json!(-1)), "eos_token_id: must be a token id, got -1");
}

#[test]
fn what_is_not_computed_is_unsupported() {
    for (key, value, want) in [
        ("attention_bias", json!(true), "attention_bias true; supported: false"),
        ("mlp_bias", json!(true), "mlp_bias true; supported: false"),
        ("hidden_act", json!("gelu"), "hidden_act \"gelu\"; supported: \"silu\""),
        ("use_mla", json!(false), "use_mla false; supported: true"),
    ] {
        rejects(&set(key, value), &format!("unsupported {want}"));
    }
    let interleaved = with(llama(), "rope_interleave", Some(json!(true)));
    rejects(&interleaved, "unsupported rope_interleave true; supported: false in llama");
    rejects(
        &set("rope_scaling/attention_factor", json!(1.5)),
        "unsupported rope_scaling.attention_factor 1.5; supported: null",
    );
}

#[test]
fn contradictions_name_both_sides() {
    rejects(
        &set("num_key_value_heads", json!(2)),
        "num_key_value_heads is 2, but num_attention_heads is 4",
    );
    rejects(&set("dtype", json!("bfloat16")), "torch_dtype is F32, but dtype is BF16");
    rejects(
        &set("rope_scaling/rope_type", json!("default")),
        "rope_scaling.type is \"yarn\", but rope_scaling.rope_type is \"default\"",
    );
    rejects(
        &set("rope_parameters", json!({"rope_theta": 50000.0, "rope_type": "default"})),
        "rope_parameters.rope_theta is 50000, but rope_theta is 10000",
    );
    rejects(
        &set("rope_scaling/rope_theta", json!(5000)),
        "rope_scaling.rope_theta is 5000, but rope_theta is 10000",
    );
    let error = error_of(&set("rope_parameters", json!({"rope_type": "default"})).to_string());
    assert!(error.contains("rope_scaling is Some(Yarn"), "{error}");
}

fn latent_rope(config: &ModelConfig) -> RopeConfig {
    let AttentionConfig::Latent(c) = &config.attention else { panic!("want latent attention") };
    c.rope
}

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
    let pack = concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance");
    let mut compared = Vec::new();
    for entry in std::fs::read_dir(pack).unwrap() {
        let dir = entry.unwrap().path();
        if !dir.join("golden.json").exists() {
            continue;
        }
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
    for name in ["kimi_k2", "llama", "moonlight", "v2", "v2_lite", "v3", "v3_fp8", "v3_mtp"] {
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
fn a_mix_that_nobody_published_runs_and_has_no_config_json() {
    let mut config = read(&v3());
    let AttentionConfig::Latent(c) = &config.attention else { panic!("want latent attention") };
    config.attention = AttentionConfig::Grouped(GqaConfig {
        hidden_size: 80,
        num_attention_heads: 4,
        num_key_value_heads: 4,
        head_dim: 20,
        rope: RopeConfig { layout: PairLayout::HalfSplit, ..c.rope },
    });
    config.validate().unwrap();
    assert_eq!(config.cached_elements_per_token(), 4 * 160);
    let error = config.to_json().unwrap_err().to_string();
    let mix = "grouped attention with a mixture of experts has no published model_type";
    assert_eq!(error, format!("{mix}; it cannot be written as deepseek_v3"));
}

#[test]
fn parts_of_different_widths_are_rejected() {
    let mut config = read(&v3());
    config.hidden_size = 96;
    let error = config.validate().unwrap_err().to_string();
    assert_eq!(error, "config: the attention's hidden_size: must be hidden_size 96, got 80");
}

#[test]
fn published_configurations_read_without_a_warning() {
    for (name, text) in PUBLISHED {
        let (config, warnings) = ModelConfig::from_json(text).unwrap();
        assert_eq!(warnings, [], "{name}");
        config.validate().unwrap();
    }
    let get = |name| published().into_iter().find(|(n, _)| *n == name).unwrap().1;
    assert_eq!(get("deepseek-v3").quantization, Some(Quantization::Fp8 { block: [128, 128] }));
    assert_eq!(get("deepseek-v2").dtype, Some(Dtype::Bf16));
    assert_eq!(get("kimi-k2").model_type, ModelType::KimiK2);
    assert_eq!(get("deepseek-v3"), get("deepseek-r1"));
}

/// Total and active parameters in billions as published, to the digits published.
#[test]
fn parameters_are_the_published_ones() {
    let known = [
        ("deepseek-v2-lite", 15.7, 2.4, 0.06),
        ("deepseek-v2", 236.0, 21.0, 0.5),
        ("deepseek-v3", 671.0, 37.0, 0.6),
        ("deepseek-r1", 671.0, 37.0, 0.6),
        ("moonlight-16b-a3b", 16.0, 3.0, 0.5),
        ("kimi-k2", 1026.4, 32.0, 0.6),
        ("deepseek-67b", 67.0, 67.0, 0.9),
        ("smollm2-135m", 0.135, 0.135, 0.0005),
    ];
    let found = published();
    assert_eq!(found.len(), known.len());
    for ((name, config), (known_name, total, active, within)) in found.into_iter().zip(known) {
        assert_eq!(name, known_name);
        let total_found = config.total_parameters() as f64 / 1e9;
        let active_found = config.active_parameters() as f64 / 1e9;
        assert!((total_found - total).abs() <= within, "{name}: {total_found} total");
        assert!((active_found - active).abs() <= within, "{name}: {active_found} active");
    }
}

/// The elements of the released files, which count some things that are not parameters.
#[test]
fn parameters_are_those_of_the_released_files() {
    let get = |name| published().into_iter().find(|(n, _)| *n == name).unwrap().1;
    assert_eq!(get("smollm2-135m").total_parameters(), 134_515_008);
    assert_eq!(get("deepseek-v3").total_parameters(), 671_026_419_200);
    // Block scales of attention, the dense layer, and 385 experts in 60 layers; frequencies.
    let scales = 61 * (5 * 56 + 128 * 4 + 56 * 64 + 12 * 56 + 96 * 12)
        + 3 * 56 * 144
        + 60 * 385 * 3 * 56 * 16;
    let frequencies = 61 * 56;
    let files = 1_026_470_731_056;
    assert_eq!(get("kimi-k2").total_parameters(), files - scales - frequencies);
}

#[test]
fn cached_bytes_are_the_published_ones() {
    let get = |name| published().into_iter().find(|(n, _)| *n == name).unwrap().1;
    assert_eq!(get("deepseek-v2-lite").cached_bytes_per_token(2), 31_104);
    assert_eq!(get("deepseek-v2").cached_bytes_per_token(2), 69_120);
    assert_eq!(get("deepseek-v3").cached_bytes_per_token(2), 70_272);
    assert_eq!(get("deepseek-v3").cached_fp8_bytes_per_token(), Some(40_016));
    assert_eq!(get("deepseek-67b").cached_bytes_per_token(2), 2 * 2048 * 95);
    assert_eq!(get("deepseek-67b").cached_fp8_bytes_per_token(), None);
}

/// Multiply-adds of V3 per query, key and head: 1,088 absorbed, 320 expanded, and 131,072 to
/// expand a key.
#[test]
fn decode_flops_grow_by_the_known_cost_of_a_key() {
    let v3 = published().into_iter().find(|(n, _)| *n == "deepseek-v3").unwrap().1;
    let growth = |form| v3.decode_flops(4097, form) - v3.decode_flops(4096, form);
    assert_eq!(growth(DecodeForm::Absorbed), 2 * 61 * 128 * 1088);
    assert_eq!(growth(DecodeForm::Expanded), 2 * 61 * 128 * (320 + 131_072));
    let start = v3.decode_flops(1, DecodeForm::Absorbed) - 2 * 61 * 128 * 1088;
    assert_eq!(start, v3.decode_flops(1, DecodeForm::Expanded) - 2 * 61 * 128 * 320);
    let ratio = start as f64 / v3.active_parameters() as f64;
    assert!((1.9999..2.0).contains(&ratio), "{ratio} operations a parameter");
    let llama = published().into_iter().find(|(n, _)| *n == "deepseek-67b").unwrap().1;
    let growth =
        llama.decode_flops(2, DecodeForm::Absorbed) - llama.decode_flops(1, DecodeForm::Absorbed);
    assert_eq!(growth, 2 * 95 * 64 * 256);
}

fn persistent() -> ProptestConfig {
    let persistence = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig { failure_persistence: Some(Box::new(persistence)), ..ProptestConfig::default() }
}

/// Any configuration that a published family can say.
fn any_published() -> impl Strategy<Value = ModelConfig> {
    let yarn = prop::option::of((1.0..100.0, 1_usize..10_000, prop::option::of(0.1..2.0)));
    let family = prop::sample::select(PUBLISHED.map(|(_, text)| text).to_vec());
    let sizes = (1_usize..5, 1_usize..9, 1_usize..64, 2_usize..1000, prop::option::of(1_usize..64));
    let flags = any::<[bool; 4]>();
    let ids = (prop::option::of(0_u32..2), prop::collection::vec(0_u32..2, 0..3));
    let numbers = (1e-9..1e-2, 1.5..1e7, 0.1..20.0);
    (family, sizes, yarn, flags, ids, numbers).prop_map(
        |(text, (layers, heads, half, vocab, rank), yarn, flags, ids, (eps, theta, scale))| {
            let mut config = ModelConfig::from_json(text).unwrap().0;
            let [tied, normed, moe, fp8] = flags;
            let yarn = yarn.map(|(factor, context, mscale)| latent_kernels::Yarn {
                factor,
                original_max_position_embeddings: context,
                beta_fast: 32.0,
                beta_slow: 1.0,
                mscale,
                mscale_all_dim: mscale,
            });
            config.num_hidden_layers = layers + 3;
            config.vocab_size = vocab;
            config.rms_norm_eps = eps;
            config.tie_word_embeddings = tied;
            (config.bos_token_id, config.eos_token_id) = ids;
            config.quantization = fp8.then_some(Quantization::Fp8 { block: [half, 128] });
            match &mut config.attention {
                AttentionConfig::Latent(c) => {
                    c.num_attention_heads = heads;
                    c.q_lora_rank = rank;
                    c.qk_rope_head_dim = 2 * half;
                    (c.rope.theta, c.rope.yarn) = (theta, yarn);
                }
                AttentionConfig::Grouped(c) => {
                    c.num_attention_heads = heads * c.num_key_value_heads;
                    c.head_dim = 2 * half;
                    (c.rope.theta, c.rope.yarn) = (theta, yarn);
                }
            }
            if let Some(layout) = &mut config.moe {
                layout.moe_layer_freq = heads;
                layout.config.gate.norm_topk_prob = normed;
                layout.config.gate.routed_scaling_factor = scale;
            }
            config.moe = config.moe.filter(|_| moe);
            config
        },
    )
}

proptest! {
    #![proptest_config(persistent())]

    #[test]
    fn writing_then_reading_gives_the_same(config in any_published()) {
        let text = config.to_json().unwrap();
        let (read, warnings) = ModelConfig::from_json(&text).unwrap();
        prop_assert_eq!(read, config);
        prop_assert_eq!(warnings, []);
    }

    #[test]
    fn damaged_text_never_panics(
        text in prop::sample::select(PUBLISHED.map(|(_, text)| text).to_vec()),
        cuts in prop::collection::vec((any::<Index>(), any::<Index>(), ".{0,3}"), 1..4),
    ) {
        let mut chars: Vec<char> = text.chars().collect();
        for (a, b, insert) in cuts {
            let (a, b) = (a.index(chars.len() + 1), b.index(chars.len() + 1));
            let end = a.max(b).min(a.min(b) + 8);
            chars.splice(a.min(b)..end, insert.chars());
        }
        let _ = ModelConfig::from_json(&chars.into_iter().collect::<String>());
    }

    #[test]
    fn any_value_at_any_key_is_read_or_refused(
        text in prop::sample::select(PUBLISHED.map(|(_, text)| text).to_vec()),
        changes in prop::collection::vec((any::<Index>(), any_value()), 1..5),
    ) {
        let mut config: Value = serde_json::from_str(text).unwrap();
        let object = config.as_object_mut().unwrap();
        let keys: Vec<String> = object.keys().cloned().collect();
        for (key, value) in changes {
            object.insert(keys[key.index(keys.len())].clone(), value);
        }
        if let Ok((config, _)) = ModelConfig::from_json(&config.to_string()) {
            config.validate().unwrap();
            prop_assert!(config.active_parameters() <= config.total_parameters());
            let near = config.decode_flops(1, DecodeForm::Absorbed);
            prop_assert!(near < config.decode_flops(1 << 20, DecodeForm::Expanded));
        }
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0_u64..70).prop_map(Value::from),
        (0_u32..24).prop_map(|bits| Value::from(1_u64 << bits)),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec!["yarn", "noaux_tc", "greedy", "silu", "llama", "deepseek_v2"])
            .prop_map(Value::from),
        Just(json!([])),
        Just(json!([128, 128])),
        Just(json!({"rope_type": "yarn", "factor": 1e300, "mscale": 1e300, "mscale_all_dim": -1,
            "original_max_position_embeddings": 1})),
    ]
}

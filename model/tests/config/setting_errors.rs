//! Rows C11, C12, C14 and C15, and what contradicts itself or is not computed.

use std::cmp::Ordering::Equal;

use latent_mla::AttentionConfig;
use latent_model::config::ModelConfig;
use serde_json::{Value, json};

use crate::examples::{
    deepseek, error_of, latent_rope, llama, read, rejects, remove, set, v3, with,
};

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
    let tiny = f64::from(f32::MIN_POSITIVE);
    for value in [0.0, -0.0, -1e-6, tiny.next_down(), f64::from(f32::MAX).next_up(), f64::MAX] {
        let want = "rms_norm_eps: must be 1.1754944e-38..=3.4028235e38, above 0 in f32, got ";
        rejects(&set("rms_norm_eps", json!(value)), &format!("{want}{value}"));
    }
    assert!(error_of(&set("rms_norm_eps", json!(0)).to_string()).ends_with(", got 0"));
    assert_eq!(read(&set("rms_norm_eps", json!(tiny))).rms_norm_eps.total_cmp(&tiny), Equal);
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
    for (base, name) in [(llama(), "llama"), (deepseek(), "deepseek")] {
        let interleaved = with(base.clone(), "rope_interleave", Some(json!(true)));
        let want = format!("unsupported rope_interleave true; supported: false in {name}");
        rejects(&interleaved, &want);
        let latent = with(base, "kv_lora_rank", Some(json!(16)));
        rejects(&latent, &format!("unsupported kv_lora_rank 16; supported: null in {name}"));
    }
    rejects(
        &set("rope_scaling/attention_factor", json!(1.5)),
        "unsupported rope_scaling.attention_factor 1.5; supported: null",
    );
}

#[test]
fn experts_in_a_llama_are_refused_and_not_left_out() {
    let want = "unsupported n_routed_experts 8; supported: null in llama, which is dense; deepseek \
                has experts";
    rejects(&with(deepseek(), "model_type", Some(json!("llama"))), want);
    rejects(&with(llama(), "n_routed_experts", Some(json!(8))), want);
    assert_eq!(read(&with(llama(), "n_routed_experts", Some(Value::Null))), read(&llama()));
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

//! Sizes that are refused, and those that follow from published ones.

use latent_mla::kernels::{PairLayout, Yarn};
use latent_mla::{AttentionConfig, GqaConfig, MlaConfig, RopeConfig};

const ROPE: RopeConfig =
    RopeConfig { theta: 10_000.0, yarn: None, layout: PairLayout::Interleaved };

fn v3() -> MlaConfig {
    MlaConfig {
        hidden_size: 7168,
        num_attention_heads: 128,
        q_lora_rank: Some(1536),
        kv_lora_rank: 512,
        qk_nope_head_dim: 128,
        qk_rope_head_dim: 64,
        v_head_dim: 128,
        rope: ROPE,
    }
}

fn gqa() -> GqaConfig {
    GqaConfig {
        hidden_size: 8192,
        num_attention_heads: 64,
        num_key_value_heads: 8,
        head_dim: 128,
        rope: ROPE,
    }
}

#[test]
fn every_zero_is_refused_by_name() {
    type Set = fn(&mut MlaConfig);
    let fields: [(&str, Set); 7] = [
        ("hidden_size", |c| c.hidden_size = 0),
        ("num_attention_heads", |c| c.num_attention_heads = 0),
        ("q_lora_rank", |c| c.q_lora_rank = Some(0)),
        ("kv_lora_rank", |c| c.kv_lora_rank = 0),
        ("qk_nope_head_dim", |c| c.qk_nope_head_dim = 0),
        ("qk_rope_head_dim", |c| c.qk_rope_head_dim = 0),
        ("v_head_dim", |c| c.v_head_dim = 0),
    ];
    assert_eq!(v3().validate(), Ok(()));
    for (field, set) in fields {
        let mut config = v3();
        set(&mut config);
        let message = AttentionConfig::Latent(config).validate().unwrap_err().to_string();
        assert_eq!(message, format!("{field}: must be at least 1, got 0"));
    }
}

#[test]
fn every_zero_of_grouped_attention_is_refused_by_name() {
    type Set = fn(&mut GqaConfig);
    let fields: [(&str, Set); 4] = [
        ("hidden_size", |c| c.hidden_size = 0),
        ("num_attention_heads", |c| c.num_attention_heads = 0),
        ("num_key_value_heads", |c| c.num_key_value_heads = 0),
        ("head_dim", |c| c.head_dim = 0),
    ];
    assert_eq!(gqa().validate(), Ok(()));
    for (field, set) in fields {
        let mut config = gqa();
        set(&mut config);
        let message = AttentionConfig::Grouped(config).validate().unwrap_err().to_string();
        assert_eq!(message, format!("{field}: must be at least 1, got 0"));
    }
}

#[test]
fn an_odd_rotation_is_refused() {
    let message = MlaConfig { qk_rope_head_dim: 63, ..v3() }.validate().unwrap_err().to_string();
    assert_eq!(message, "qk_rope_head_dim: must be an even number: RoPE turns pairs, got 63");
}

#[test]
fn groups_that_do_not_divide_the_heads_are_refused() {
    let message = GqaConfig { num_key_value_heads: 7, ..gqa() }.validate().unwrap_err().to_string();
    let want = "num_key_value_heads: must be a divisor of num_attention_heads 64, got 7";
    assert_eq!(message, want);
}

#[test]
fn sizes_that_overflow_are_refused() {
    let huge = usize::MAX / 4 * 2; // even
    for config in [
        AttentionConfig::Latent(MlaConfig { num_attention_heads: huge, ..v3() }),
        AttentionConfig::Latent(MlaConfig { kv_lora_rank: huge, ..v3() }),
        AttentionConfig::Latent(MlaConfig { qk_nope_head_dim: usize::MAX, ..v3() }),
        AttentionConfig::Latent(MlaConfig { v_head_dim: usize::MAX, hidden_size: 1, ..v3() }),
        AttentionConfig::Grouped(GqaConfig { head_dim: huge, ..gqa() }),
        AttentionConfig::Grouped(GqaConfig { hidden_size: huge, ..gqa() }),
    ] {
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains("small enough for"), "{message}");
    }
}

#[test]
fn the_four_kinds_cache_their_published_bytes() {
    let kinds = [
        (AttentionConfig::Grouped(GqaConfig { num_key_value_heads: 64, ..gqa() }), 16_384),
        (AttentionConfig::Grouped(gqa()), 2048),
        (AttentionConfig::Grouped(GqaConfig { num_key_value_heads: 1, ..gqa() }), 256),
        (AttentionConfig::Latent(v3()), 576),
    ];
    for (config, elements) in kinds {
        assert_eq!(config.cached_elements(), elements);
        assert_eq!(config.bytes_per_token(2), 2 * elements);
    }
    assert_eq!(61 * AttentionConfig::Latent(v3()).bytes_per_token(2), 70_272);
}

#[test]
fn yarn_scales_scores_by_its_squared_magnitude() {
    let plain = v3().softmax_scale();
    assert!((plain - 192.0_f64.powf(-0.5)).abs() < 1e-15);
    let yarn = Yarn {
        factor: 40.0,
        original_max_position_embeddings: 4096,
        beta_fast: 32.0,
        beta_slow: 1.0,
        mscale: Some(1.0),
        mscale_all_dim: Some(1.0),
    };
    let scaled = |yarn| MlaConfig { rope: RopeConfig { yarn, ..ROPE }, ..v3() }.softmax_scale();
    let magnitude = 0.1 * 40.0_f64.ln() + 1.0;
    assert!((scaled(Some(yarn)) / plain - magnitude * magnitude).abs() < 1e-14);
    assert!((scaled(Some(Yarn { mscale_all_dim: None, ..yarn })) - plain).abs() < 1e-15);
}

//! Writing then reading, and text that nobody would write.

use latent_mla::AttentionConfig;
use latent_model::config::{DecodeForm, ModelConfig, PUBLISHED, Quantization};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;
use serde_json::{Value, json};

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
        prop::sample::select(vec![
            "yarn",
            "noaux_tc",
            "greedy",
            "silu",
            "llama",
            "deepseek",
            "deepseek_v2"
        ])
        .prop_map(Value::from),
        Just(json!([])),
        Just(json!([128, 128])),
        Just(json!({"rope_type": "yarn", "factor": 1e300, "mscale": 1e300, "mscale_all_dim": -1,
            "original_max_position_embeddings": 1})),
    ]
}

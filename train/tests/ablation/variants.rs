//! What a variant is.

use latent_train::ablation::{AblationConfig, Variant};
use latent_train::config::{AttentionKind, ScoringKind, TopkKind, TrainConfigError};
use latent_train::model::config::ModelConfig;

use crate::tiny::{MLA_MOE, Place};

/// Eight experts, the shared one counted, of which four are used.
fn experts(settings: &str) -> String {
    settings
        .replace("n_routed_experts = 4", "n_routed_experts = 7")
        .replace("num_experts_per_tok = 2", "num_experts_per_tok = 3")
        .replace("sequence_loss_alpha = 1e-3", "z_loss_alpha = 1e-3")
}

fn read(section: &str) -> Result<AblationConfig, TrainConfigError> {
    let settings = experts(&Place::new().here(MLA_MOE));
    AblationConfig::from_toml(&format!("{settings}\n{section}"), &[])
}

fn model(variant: &Variant) -> ModelConfig {
    variant.config.model.to_config(257, 0, 16).unwrap()
}

fn named<'a>(config: &'a AblationConfig, name: &str) -> &'a Variant {
    let found = config.variants.iter().find(|variant| variant.name == name);
    found.unwrap_or_else(|| panic!("{name}"))
}

#[test]
fn every_attention_is_as_large_as_the_settings() {
    let axes = r#"axes.attention = ["mla", "mla:16", "mha", "gqa:2", "mqa"]"#;
    for equal in ["total", "active"] {
        for feed_forward in ["dense", "moe"] {
            let section = format!(
                "[ablation]\nequal = {equal:?}\n{axes}\naxes.feed_forward = [{feed_forward:?}]"
            );
            let config = read(&section).unwrap();
            let base = config.base.model.to_config(257, 0, 16).unwrap();
            for variant in &config.variants {
                let model = model(variant);
                let (found, wanted) = match equal {
                    "total" => (model.total_parameters(), base.total_parameters()),
                    _ => (model.active_parameters(), base.active_parameters()),
                };
                // As near as one more or one less of the width can be.
                let experts = model.moe.as_ref().map_or(2, |moe| moe.config.gate.n_routed_experts);
                let step = 3 * 16 * (experts as u64 + 1);
                assert!(found.abs_diff(wanted) <= step / 2, "{}: {found}, {wanted}", variant.name);
            }
        }
    }
    let config = read(&format!("[ablation]\n{axes}")).unwrap();
    assert_eq!(named(&config, "mla").config, config.base, "the base is a variant of itself");
    let gqa = &named(&config, "gqa:2").config.model;
    assert_eq!(gqa.attention, AttentionKind::Gqa);
    assert_eq!((gqa.num_key_value_heads, gqa.head_dim), (Some(2), Some(4)));
    assert_eq!(named(&config, "mla:16").config.model.kv_lora_rank, Some(16));
    assert_eq!(model(named(&config, "mqa")).cached_elements_per_token(), 2 * 2 * 4);
    assert_eq!(model(named(&config, "mla")).cached_elements_per_token(), 2 * (8 + 4));
}

#[test]
fn latent_attention_follows_from_the_width_of_a_head() {
    let place = Place::new();
    let settings =
        place.here(&experts(MLA_MOE)).replace("attention = \"mla\"", "attention = \"mha\"");
    let latent =
        ["q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"];
    let lines = settings.lines().filter(|line| latent.iter().all(|key| !line.starts_with(key)));
    let settings: String = lines.map(|line| format!("{line}\n")).collect();
    let section = "[ablation]\nequal = \"none\"\naxes.attention = [\"mha\", \"mla\"]";
    let config = AblationConfig::from_toml(&format!("{settings}{section}"), &[]).unwrap();
    let mla = &named(&config, "mla").config.model;
    let widths = (mla.qk_nope_head_dim, mla.qk_rope_head_dim, mla.v_head_dim, mla.kv_lora_rank);
    assert_eq!(widths, (Some(8), Some(4), Some(8), Some(32)));
}

#[test]
fn experts_are_cut_without_a_change_of_size() {
    let section = "[ablation]\nequal = \"none\"\naxes.experts = [\"shared\", \"fine\", \"coarse:2\", \"coarse\"]";
    let config = read(section).unwrap();
    let counts = |name: &str| {
        let experts = named(&config, name).config.model.experts.clone().unwrap();
        let routed = (experts.n_routed_experts, experts.num_experts_per_tok);
        (routed, experts.moe_intermediate_size, experts.n_shared_experts)
    };
    assert_eq!(counts("shared"), ((7, 3), 8, 1));
    assert_eq!(counts("fine"), ((8, 4), 8, 0));
    assert_eq!(counts("coarse:2"), ((4, 2), 16, 0));
    assert_eq!(counts("coarse"), ((2, 1), 32, 0));
    // Routers have a row and a bias for each expert; nothing else differs.
    let without_router = |variant: &Variant| {
        let model = model(variant);
        let gate = model.moe.as_ref().unwrap().config.gate.n_routed_experts as u64 * (16 + 1);
        (model.total_parameters() - gate, model.active_parameters() - gate)
    };
    let first = without_router(&config.variants[0]);
    for variant in &config.variants {
        assert_eq!(without_router(variant), first, "{}", variant.name);
    }
}

#[test]
fn what_keeps_experts_even_is_what_the_word_says() {
    let section = r#"
        [ablation]
        axes.routing = ["none", "aux", "aux:0.5", "bias", "bias:0.25"]
        axes.feed_forward = ["moe", "dense"]
    "#;
    let config = read(section).unwrap();
    let names: Vec<&str> = config.variants.iter().map(|variant| variant.name.as_str()).collect();
    // A dense model has none, and is there once.
    let each = ["moe-none", "moe-aux", "moe-aux:0.5", "moe-bias", "moe-bias:0.25", "dense"];
    assert_eq!(names, each);
    let loss = |name: &str| {
        let config = &named(&config, name).config;
        let scoring = config.model.experts.as_ref().map(|e| (e.scoring_func, e.topk_method));
        (scoring, config.loss.aux_loss_alpha, config.loss.gamma_at(&config.model, 1))
    };
    let v2 = Some((ScoringKind::Softmax, TopkKind::Greedy));
    let v3 = Some((ScoringKind::Sigmoid, TopkKind::NoauxTc));
    assert_eq!(loss("moe-none"), (v3, 0.0, 0.0));
    assert_eq!(loss("moe-aux"), (v2, 0.003, 0.0));
    assert_eq!(loss("moe-aux:0.5"), (v2, 0.5, 0.0));
    assert_eq!(loss("moe-bias"), (v3, 0.0, 1e-3));
    assert_eq!(loss("moe-bias:0.25"), (v3, 0.0, 0.25));
    assert_eq!(loss("dense"), (None, 0.0, 0.0));
    assert_eq!(named(&config, "moe-none").config.loss.z_loss_alpha, 1e-3);
    assert_eq!(named(&config, "dense").config.loss.z_loss_alpha, 0.0);
}

#[test]
fn a_grid_is_every_mix_and_further_variants_come_behind_it() {
    let section = r#"
        [ablation]
        seeds = [7, 3]
        axes.mtp = [false, true]
        axes.set = [["optimizer.learning_rate=0.1"], ["optimizer.learning_rate=0.2", "schedule.kind=cosine"]]
        [[ablation.variants]]
        name = "wide/odd: <name>"
        equal = "none"
        set = ["model.experts.moe_intermediate_size=64"]
    "#;
    let config = read(section).unwrap();
    let names: Vec<&str> = config.variants.iter().map(|variant| variant.name.as_str()).collect();
    let two = "learning_rate=0.2-kind=cosine";
    assert_eq!(
        names,
        [
            "no-mtp-learning_rate=0.1",
            &format!("no-mtp-{two}"),
            "mtp-learning_rate=0.1",
            &format!("mtp-{two}"),
            "wide/odd: <name>"
        ]
    );
    assert_eq!(config.variants[2].config.model.num_nextn_predict_layers, 1);
    assert_eq!(config.variants[3].config.optimizer.learning_rate, 0.2);
    let width =
        |variant: &Variant| variant.config.model.experts.as_ref().unwrap().moe_intermediate_size;
    assert_eq!(width(&config.variants[4]), 64);
    let runs: Vec<_> =
        config.runs().map(|(variant, run)| (variant.name.clone(), run.run)).collect();
    assert_eq!(runs.len(), 10);
    assert_eq!((runs[0].1.seed, runs[9].1.seed), (7, 3));
    let folder = runs[4].1.out.strip_prefix(&config.base.run.out).unwrap().display().to_string();
    assert_eq!(folder, "wide_odd___name_/seed-7");
}

#[test]
fn alone_the_settings_are_the_only_variant() {
    let config = read("[ablation]").unwrap();
    assert_eq!((config.variants.len(), config.seeds.as_slice()), (1, &[0, 1, 2][..]));
    assert_eq!(config.variants[0].name, "base");
    assert_eq!(config.variants[0].config, config.base);
}

#[test]
fn wrong_sections_are_refused_by_name() {
    let cases = [
        ("", "ablation: missing; a section that says what is varied"),
        ("[ablation]\nseed = [1]", "ablation.seed: unknown key; did you mean ablation.seeds?"),
        (
            "[ablation]\naxes.atention = [\"mla\"]",
            "ablation.axes.atention: unknown key; did you mean ablation.axes.attention?",
        ),
        (
            "[[ablation.variants]]\nnam = \"x\"",
            "ablation.variants.nam: unknown key; did you mean ablation.variants.name?",
        ),
        ("[ablation]\nseeds = []", "ablation.seeds: found none, want at least one"),
        ("[ablation]\nseeds = [1, 1]", "ablation.seeds: found 1 twice, want each once"),
        (
            "[ablation]\nseeds = \"all\"",
            "ablation.seeds: invalid type: string \"all\", expected a sequence",
        ),
        (
            "[[ablation.variants]]\nname = \"a b\"\n[[ablation.variants]]\nname = \"a/b\"\nmtp = true",
            "ablation.variants: found a_b twice, want each once",
        ),
        (
            "[ablation]\naxes.attention = [\"mlb\"]",
            "ablation.axes.attention: ablation.attention: found \"mlb\", want mha, gqa, gqa:GROUPS, mqa, mla or mla:RANK",
        ),
        (
            "[ablation]\naxes.experts = [\"coarse:3\"]",
            "variant \"coarse:3\": ablation.experts: found coarse:3, of 8 experts, 4 for a token, want multiples of 3, the shared ones counted",
        ),
        (
            "[[ablation.variants]]\nfeed_forward = \"dense\"\nrouting = \"aux\"",
            "variant \"dense-aux\": ablation.routing: has no meaning without [model.experts]",
        ),
        (
            "[ablation]\naxes.attention = [\"gqa:3\"]",
            "variant \"gqa:3\": model: config: num_key_value_heads: must be a divisor of num_attention_heads 2",
        ),
        (
            "[ablation]\naxes.set = [[\"optimizer.learning_rat=1\"]]",
            "variant \"learning_rat=1\": optimizer.learning_rat: unknown key; did you mean optimizer.learning_rate?",
        ),
        (
            "[ablation]\naxes.attention = [\"mla:100000\"]",
            "variant \"mla:100000\": ablation.equal: found ",
        ),
    ];
    for (section, want) in cases {
        let error = read(section).unwrap_err().to_string();
        assert!(error.starts_with(want), "{section}\n found {error}\n want  {want}");
    }
}

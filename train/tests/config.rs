//! Settings of a run: what is refused, and in what words.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use latent_model::mla::AttentionConfig;
use latent_train::config::{Override, TrainConfig, TrainConfigError};
use latent_train::{Cooldown, Schedule};

#[path = "runs/tiny.rs"]
#[expect(dead_code, reason = "other tests train")]
mod tiny;

use tiny::{MLA_MOE, Place};

/// What is said of settings of which some are replaced.
#[track_caller]
fn refused(set: &[&str]) -> String {
    let error = Place::new().try_config(MLA_MOE, set).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

fn accepted(set: &[&str]) -> TrainConfig {
    Place::new().config(MLA_MOE, set)
}

/// What makes a model of grouped attention of one of latent attention.
const GROUPED: &str = r#"
[model]
attention = "KIND"
hidden_size = 16
num_hidden_layers = 2
num_attention_heads = 4
intermediate_size = 24
SIZES
[data]
files = ["TEXT"]
"#;

fn grouped(kind: &str, sizes: &str) -> Result<TrainConfig, TrainConfigError> {
    let settings = GROUPED.replace("KIND", kind).replace("SIZES", sizes);
    Place::new().try_config(&settings, &[])
}

#[test]
fn g1_numbers_out_of_range_are_named_with_what_is_wanted() {
    for (set, wanted) in [
        (
            "optimizer.learning_rate=nan",
            "optimizer.learning_rate: found NaN, want a finite number above 0",
        ),
        (
            "optimizer.learning_rate=-1e-3",
            "optimizer.learning_rate: found -0.001, want a finite number above 0",
        ),
        (
            "optimizer.learning_rate=0",
            "optimizer.learning_rate: found 0, want a finite number above 0",
        ),
        (
            "optimizer.learning_rate=inf",
            "optimizer.learning_rate: found inf, want a finite number above 0",
        ),
        ("optimizer.beta1=1", "optimizer.beta1: found 1, want at least 0 and below 1"),
        ("optimizer.beta2=1.5", "optimizer.beta2: found 1.5, want at least 0 and below 1"),
        ("optimizer.momentum=-0.1", "optimizer.momentum: found -0.1, want at least 0 and below 1"),
        ("optimizer.eps=0", "optimizer.eps: found 0, want from 1.2e-38 (the least in f32) to 1"),
        ("optimizer.eps=-1e-8", "optimizer.eps: found -0.00000001, want "),
        (
            "optimizer.weight_decay=nan",
            "optimizer.weight_decay: found NaN, want a finite number of at least 0",
        ),
        ("optimizer.max_grad_norm=0", "optimizer.max_grad_norm: found 0, want above 0"),
        ("schedule.floor=1.5", "schedule.floor: has no meaning with kind = \"constant\""),
        (
            "loss.sequence_loss_alpha=-1",
            "loss.sequence_loss_alpha: found -1, want a finite number of at least 0",
        ),
        (
            "loss.z_loss_alpha=nan",
            "loss.z_loss_alpha: found NaN, want a finite number of at least 0",
        ),
        (
            "loss.bias_update_speed=-1",
            "loss.bias_update_speed: found -1, want a finite number of at least 0",
        ),
        (
            "loss.mtp_weight=0.3",
            "loss.mtp_weight: has no meaning with model.num_nextn_predict_layers = 0",
        ),
        ("loss.logits_chunk=0", "loss.logits_chunk: found 0, want at least 1"),
        ("data.seq_len=0", "data.seq_len: found 0, want at least 1, below 2^24"),
        ("data.batch_size=0", "data.batch_size: found 0, want at least 1, below 2^24"),
        (
            "data.micro_batch_size=3",
            "data.micro_batch_size: found 3, want a divisor of batch_size 4",
        ),
        (
            "data.micro_batch_size=0",
            "data.micro_batch_size: found 0, want a divisor of batch_size 4",
        ),
        (
            "data.validation_fraction=1",
            "data.validation_fraction: found 1, want 0 or more, below 1",
        ),
        (
            "data.validation_fraction=nan",
            "data.validation_fraction: found NaN, want 0 or more, below 1",
        ),
        ("data.files=[]", "data.files: found none, want at least one file or folder"),
        ("data.tokenizer=bpe:256", "data.tokenizer: found bpe:256, want bpe:N with N from 257"),
        ("data.tokenizer=bpe:many", "data.tokenizer: found bpe:many, want bpe:N with N from 257"),
        ("run.steps=0", "run.steps: found 0, want at least 1"),
        ("run.keep=0", "run.keep: found 0, want at least 1"),
        ("run.checkpoint_every=0", "run.checkpoint_every: found 0, want at least 1"),
        ("run.eval_batches=0", "run.eval_batches: found 0, want at least 1"),
        ("model.initializer_range=0", "model.initializer_range: found 0, want above 0, at most 1"),
        ("model.vocab_multiple=0", "model.vocab_multiple: found 0, want from 1 to 2^20"),
        (
            "model.max_position_embeddings=8",
            "model.max_position_embeddings: found 8, want at least data.seq_len 16",
        ),
        ("model.hidden_size=0", "model: config: hidden_size: must be 1..=1048576, got 0"),
        (
            "model.qk_rope_head_dim=3",
            "model: config: qk_rope_head_dim: must be even for RoPE, got 3",
        ),
        ("model.experts.num_experts_per_tok=5", "num_experts_per_tok"),
        (
            "model.experts.first_k_dense_replace=3",
            "first_k_dense_replace: must be at most num_hidden_layers 2, got 3",
        ),
    ] {
        let error = refused(&[set]);
        assert!(error.contains(wanted), "{set}: {error}");
    }
}

#[test]
fn g5_an_unknown_key_is_named_with_the_one_that_may_be_meant() {
    for (set, wanted) in [
        (
            "optimizer.learing_rate=1",
            "optimizer.learing_rate: unknown key; did you mean optimizer.learning_rate?",
        ),
        ("model.kv_lora_rnk=1", "model.kv_lora_rnk: unknown key; did you mean model.kv_lora_rank?"),
        ("model.experts.n_routed_expert=1", "did you mean model.experts.n_routed_experts?"),
        ("optimzer.beta1=0.5", "optimzer: unknown key; did you mean optimizer?"),
        // A key of another section.
        (
            "run.learning_rate=1",
            "run.learning_rate: unknown key; did you mean optimizer.learning_rate?",
        ),
        ("batch_size=1", "batch_size: unknown key; did you mean data.batch_size?"),
        // In two sections: that of its own is meant.
        ("schedule.decai=1", "schedule.decai: unknown key; did you mean schedule.decay?"),
        ("optimizer.decai=1", "optimizer.decai: unknown key; did you mean optimizer.decay?"),
    ] {
        let error = refused(&[set]);
        assert!(error.ends_with(wanted), "{set}: {error}");
    }
    assert_eq!(refused(&["run.wings=2"]), "run.wings: unknown key");
}

#[test]
fn values_of_another_type_are_named() {
    for (set, wanted) in [
        ("run.seed=-1", "run.seed: invalid value: integer `-1`, expected u64"),
        ("run.steps=1.5", "run.steps: invalid type: floating point `1.5`, expected u64"),
        ("optimizer.beta1=high", "optimizer.beta1: invalid type: string \"high\", expected f64"),
        (
            "model.attention=gta",
            "model.attention: unknown variant `gta`, expected one of `mla`, `mha`, `gqa`, `mqa`",
        ),
        ("run.dtype=f16", "run.dtype: unknown variant `f16`, expected `f32` or `bf16`"),
        ("optimizer=3", "optimizer: "),
        ("optimizer.beta1.x=3", "optimizer.beta1: "),
    ] {
        let error = refused(&[set]);
        assert!(error.starts_with(wanted), "{set}: {error}");
    }
    let error = TrainConfig::from_toml("[model]\nattention = \"mla\"\n[data]\nfiles = []", &[]);
    assert_eq!(error.unwrap_err().to_string(), "model: missing field `hidden_size`");
}

#[test]
fn text_that_is_no_toml_is_named_with_its_place() {
    let error = TrainConfig::from_toml("[model]\nhidden_size = = 3\n", &[]).unwrap_err();
    assert!(error.to_string().starts_with("line 2, column 15: "), "{error}");
    let twice = TrainConfig::from_toml("[run]\nseed = 1\nseed = 2\n", &[]).unwrap_err();
    assert!(twice.to_string().starts_with("line 3, column 1: "), "{twice}");
}

#[test]
fn a_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    let error = TrainConfig::from_file(&path, &[]).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
    std::fs::write(&path, "[run]\nsteps = 0\n[mdel]\n").unwrap();
    let error = TrainConfig::from_file(&path, &[]).unwrap_err().to_string();
    assert_eq!(error, format!("{}: mdel: unknown key; did you mean model?", path.display()));
    let error = TrainConfig::from_file(folder.path(), &[]).unwrap_err().to_string();
    assert!(error.ends_with("not a regular file"), "{error}");
}

/// The file that help and documentation name, with the text that it names.
#[test]
fn the_example_is_a_run() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let config = TrainConfig::from_file(&root.join("train/tiny.toml"), &[]).unwrap();
    assert!(config.data.files.iter().all(|file| root.join(file).is_file()));
    assert!(config.model.experts.is_some());
}

#[test]
fn replacements_are_values_or_text() {
    let config = accepted(&["run.out=runs/a b", "optimizer.beta1 = 0.5", "run.recompute=true"]);
    assert_eq!(config.run.out, std::path::Path::new("runs/a b"));
    assert_eq!(config.optimizer.beta1.to_bits(), 0.5_f64.to_bits());
    assert!(config.run.recompute);
    for wrong in ["run.steps", "=3", "run..steps=3", ".steps=3"] {
        let error = wrong.parse::<Override>().unwrap_err().to_string();
        let wanted = format!("{wrong:?}: want KEY=VALUE, as in optimizer.learning_rate=1e-3");
        assert_eq!(error, wanted);
    }
    // What looks like two settings is one text.
    let error = refused(&["run.seed=1\nsteps = 3"]);
    assert!(error.starts_with("run.seed: invalid type: string"), "{error}");
}

#[test]
fn grouped_attention_becomes_a_llama_with_as_many_heads_of_keys() {
    for (kind, sizes, heads) in
        [("mha", "", 4), ("gqa", "num_key_value_heads = 2", 2), ("mqa", "head_dim = 6", 1)]
    {
        let config = grouped(kind, sizes).unwrap();
        let model = config.model.to_config(300, 256, 64).unwrap();
        let AttentionConfig::Grouped(attention) = &model.attention else { panic!("{model:?}") };
        assert_eq!(attention.num_key_value_heads, heads);
        assert_eq!(attention.head_dim, if kind == "mqa" { 6 } else { 4 });
        let (read, warnings) =
            latent_model::config::ModelConfig::from_json(&model.to_json().unwrap()).unwrap();
        assert_eq!((&read, warnings.len()), (&model, 0));
    }
}

#[test]
fn sizes_of_another_attention_are_refused_and_missing_ones_named() {
    let error = |kind, sizes| grouped(kind, sizes).unwrap_err().to_string();
    assert_eq!(
        error("gqa", "num_key_value_heads = 2\nkv_lora_rank = 8"),
        "model.kv_lora_rank: has no meaning with attention = \"gqa\""
    );
    assert_eq!(
        error("mha", "num_key_value_heads = 2"),
        "model.num_key_value_heads: has no meaning with attention = \"mha\""
    );
    assert_eq!(
        error("gqa", ""),
        "model.num_key_value_heads: missing; attention = \"gqa\" wants it"
    );
    assert_eq!(error("mla", ""), "model.kv_lora_rank: missing; attention = \"mla\" wants it");
    assert!(error("gqa", "num_key_value_heads = 3").contains("num_key_value_heads"));
    assert!(error("mqa", "head_dim = 5").contains("head_dim: must be even for RoPE, got 5"));
}

#[test]
fn experts_behind_grouped_attention_make_a_deepseek_and_none_a_llama() {
    let experts =
        "[model.experts]\nn_routed_experts = 4\nnum_experts_per_tok = 2\nmoe_intermediate_size = 8";
    for (kind, groups) in [("mha", ""), ("gqa", "num_key_value_heads = 2\n"), ("mqa", "")] {
        for (feed_forward, name) in [("", "llama"), (experts, "deepseek")] {
            let config = grouped(kind, &format!("{groups}{feed_forward}")).unwrap();
            let model = config.model.to_config(300, 0, config.data.seq_len).unwrap();
            assert_eq!(model.model_type.name(), name, "{kind}");
            assert_eq!(model.moe.is_some(), name == "deepseek", "{kind}");
        }
    }
}

#[test]
fn losses_and_rules_on_routers_want_routers() {
    let dense = "[loss]\n";
    for (key, wanted) in [
        ("aux_loss_alpha = 0.1", "loss.aux_loss_alpha: has no meaning without [model.experts]"),
        (
            "bias_update_speed = 0.1",
            "loss.bias_update_speed: has no meaning where no gate has biases",
        ),
        ("center_biases = true", "loss.center_biases: has no meaning where no gate has biases"),
    ] {
        let error = grouped("mha", &format!("{dense}{key}")).unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{error}");
    }
    let greedy = ["model.experts.topk_method=greedy", "loss.bias_update_speed=0.1"];
    assert!(refused(&greedy).starts_with("loss.bias_update_speed: has no meaning"));
    let config = accepted(&["model.experts.topk_method=greedy"]);
    assert_eq!(config.loss.gamma_at(&config.model, 1).to_bits(), 0);
    let config = accepted(&[]);
    assert_eq!(config.loss.gamma_at(&config.model, 1).to_bits(), 1e-3_f64.to_bits());
}

#[test]
fn a_weight_and_a_speed_change_once_after_the_step_that_is_named() {
    let set = [
        "model.num_nextn_predict_layers=1",
        "loss.mtp_weight_late={ after = 7, value = 0.1 }",
        "loss.bias_update_speed_late.after=9",
        "loss.bias_update_speed_late.value=0",
    ];
    let config = accepted(&set);
    let weight = |step| config.loss.mtp_weight_at(&config.model, step);
    let speed = |step| config.loss.gamma_at(&config.model, step);
    let found = [1, 7, 8, 1000].map(weight).map(f64::to_bits);
    assert_eq!(found, [0.3, 0.3, 0.1, 0.1].map(f64::to_bits));
    let found = [1, 9, 10, 1000].map(speed).map(f64::to_bits);
    assert_eq!(found, [1e-3, 1e-3, 0.0, 0.0].map(f64::to_bits));
}

#[test]
fn late_values_that_cannot_be_are_named() {
    let mtp = "model.num_nextn_predict_layers=1";
    for (set, wanted) in [
        (
            "loss.mtp_weight_late={ after = 0, value = 0.1 }",
            "loss.mtp_weight_late.after: found 0, want at least 1, below 2^53",
        ),
        (
            "loss.mtp_weight_late={ after = 5, value = -1 }",
            "loss.mtp_weight_late.value: found -1, want a finite number of at least 0",
        ),
        (
            "loss.bias_update_speed_late={ after = 5, value = nan }",
            "loss.bias_update_speed_late.value: found NaN, want a finite number of at least 0",
        ),
        (
            "loss.bias_update_speed_late={ affter = 5, value = 0 }",
            "loss.bias_update_speed_late.affter: unknown key; did you mean \
             loss.bias_update_speed_late.after?",
        ),
        ("loss.mtp_weight_late={ after = 5 }", "loss.mtp_weight_late: missing field `value`"),
    ] {
        assert_eq!(refused(&[mtp, set]), wanted);
    }
    let error = refused(&["loss.mtp_weight_late={ after = 5, value = 0.1 }"]);
    assert_eq!(
        error,
        "loss.mtp_weight_late: has no meaning with model.num_nextn_predict_layers = 0"
    );
    let greedy = "model.experts.topk_method=greedy";
    let error = refused(&[greedy, "loss.bias_update_speed_late={ after = 5, value = 0 }"]);
    assert!(
        error.starts_with("loss.bias_update_speed_late: has no meaning where no gate"),
        "{error}"
    );
}

#[test]
fn a_schedule_takes_its_length_from_the_run() {
    let resolve = |set: &[&str]| {
        let config = accepted(&[&["schedule.kind=cosine", "run.steps=100"], set].concat());
        config.schedule.resolve(config.run.steps).unwrap()
    };
    assert_eq!(
        resolve(&["schedule.warmup=5"]),
        Schedule::Cosine { warmup: 5, total: 100, floor: 0.1 }
    );
    assert_eq!(
        resolve(&["schedule.total=7"]),
        Schedule::Cosine { warmup: 0, total: 7, floor: 0.1 }
    );
    assert_eq!(resolve(&["schedule.kind=constant"]), Schedule::Constant);
    let (warmup, stable, decay) = (10, 70, 20);
    let wsd = ["schedule.kind=wsd", "schedule.warmup=10", "schedule.decay=20"];
    let cooldown = Cooldown::OneMinusSqrt;
    assert_eq!(resolve(&wsd), Schedule::Wsd { warmup, stable, decay, cooldown, floor: 0.0 });
    for (set, wanted) in [
        (
            &["schedule.kind=cosine", "schedule.warmup=6"][..],
            "schedule.warmup: found 6, want fewer than total, 6 steps",
        ),
        (
            &["schedule.kind=cosine", "schedule.floor=1.5"],
            "schedule.floor: found 1.5, want from 0 to 1",
        ),
        (
            &["schedule.kind=wsd"],
            "schedule.decay: missing; kind = \"wsd\" wants the steps of its decay",
        ),
        (
            &["schedule.kind=wsd", "schedule.decay=7"],
            "schedule.decay: found 7, want with warmup 0 at most the run's 6 steps",
        ),
        (&["schedule.warmup=3"], "schedule.warmup: has no meaning with kind = \"constant\""),
        (
            &["schedule.kind=cosine", "schedule.stable=3"],
            "schedule.stable: has no meaning with kind = \"cosine\"",
        ),
    ] {
        assert_eq!(refused(set), wanted);
    }
}

//! Small random models of any mix of attention and feed-forward.

use std::collections::BTreeMap;
use std::path::Path;

use latent_model::Model;
use latent_model::checkpoint::random::{RandomDtype, write};
use latent_model::checkpoint::{Checkpoint, OpenOptions};
use latent_model::config::ModelConfig;
use latent_model::kernels::{PairLayout, Reference, Scalar};
use latent_model::mla::{AttentionConfig, GqaConfig, RopeConfig};

/// The config of a case of the conformance pack.
pub(crate) fn config(case: &str) -> ModelConfig {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance").join(case);
    ModelConfig::from_dir(&dir).unwrap().0
}

/// The same model with MHA (as many key heads as heads), GQA or MQA (one) in place of its own
/// attention.
pub(crate) fn with_grouped_attention(
    mut config: ModelConfig,
    num_key_value_heads: usize,
) -> ModelConfig {
    let rope = RopeConfig { theta: 1e4, yarn: None, layout: PairLayout::HalfSplit };
    config.attention = AttentionConfig::Grouped(GqaConfig {
        hidden_size: config.hidden_size,
        num_attention_heads: 4,
        num_key_value_heads,
        head_dim: 10,
        rope,
    });
    config
}

/// Every kind of attention in models with and without experts.
pub(crate) fn zoo() -> Vec<(&'static str, ModelConfig)> {
    vec![
        ("mla, plain query, softmax gate", config("v2_lite")),
        ("mla, compressed query, groups", config("v2")),
        ("mla, sigmoid gate", config("v3")),
        ("mha with experts", with_grouped_attention(config("v3"), 4)),
        ("gqa with experts", with_grouped_attention(config("v2_lite"), 2)),
        ("mqa with experts", with_grouped_attention(config("moonlight"), 1)),
        ("gqa, dense, tied", config("llama")),
    ]
}

/// A model of random bf16 weights.
pub(crate) fn random_model<T: Scalar>(config: &ModelConfig, seed: u64) -> Model<Reference<T>> {
    let dir = tempfile::tempdir().unwrap();
    let tensors = config.tensors();
    write(dir.path(), &tensors, seed, RandomDtype::Bf16, u64::MAX).unwrap();
    let options = OpenOptions { mmap: false, ..OpenOptions::default() };
    let checkpoint = Checkpoint::open(dir.path(), options).unwrap();
    let shapes: BTreeMap<_, _> = tensors.into_iter().map(|t| (t.name, t.shape)).collect();
    let mut get = |name: &str| Ok(checkpoint.weight(name, &shapes[name])?);
    Model::new(Reference::new(), config.clone(), &mut get).unwrap()
}

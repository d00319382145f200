//! Layers of every kind with fixed random weights, and one way to run them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use latent_kernels::suite::Values;
use latent_kernels::{Dtype, PairLayout, Scalar, TensorSpec, Weight, Yarn};

use crate::{
    Attend, Attention, AttentionConfig, CacheFormat, Form, GqaConfig, MlaConfig, MlaError,
    PagedCache, RopeConfig, SequenceId,
};

/// The attention kinds that every property is held to, by name: MHA, GQA, MQA, and MLA with and
/// without a compressed query, with and without YaRN, with an FP8 `kv_b_proj`, at odd sizes.
#[must_use]
pub fn kinds() -> Vec<(&'static str, AttentionConfig)> {
    let plain = RopeConfig { theta: 10_000.0, yarn: None, layout: PairLayout::Interleaved };
    let yarn = Yarn {
        factor: 40.0,
        original_max_position_embeddings: 64,
        beta_fast: 32.0,
        beta_slow: 1.0,
        mscale: Some(0.7),
        mscale_all_dim: Some(0.8),
    };
    let stretched = RopeConfig { yarn: Some(yarn), ..plain };
    let halves = RopeConfig { layout: PairLayout::HalfSplit, ..plain };
    let grouped = |heads, groups, head_dim| {
        AttentionConfig::Grouped(GqaConfig {
            hidden_size: 20,
            num_attention_heads: heads,
            num_key_value_heads: groups,
            head_dim,
            rope: halves,
        })
    };
    let latent = |heads, q_lora_rank, kv_lora_rank, rope| {
        AttentionConfig::Latent(MlaConfig {
            hidden_size: 20,
            num_attention_heads: heads,
            q_lora_rank,
            kv_lora_rank,
            qk_nope_head_dim: 10,
            qk_rope_head_dim: 6,
            v_head_dim: 7,
            rope,
        })
    };
    vec![
        ("MHA", grouped(3, 3, 6)),
        ("GQA", grouped(4, 2, 18)),
        ("MQA", grouped(4, 1, 2)),
        ("MLA", latent(3, None, 36, plain)),
        ("MLA, one head", latent(1, None, 5, plain)),
        ("MLA, compressed query", latent(4, Some(11), 17, plain)),
        ("MLA, YaRN", latent(3, None, 36, stretched)),
        ("MLA, compressed query, YaRN", latent(1, Some(9), 36, stretched)),
    ]
}

/// Weights for `config`: bf16 matrices, an FP8 `kv_b_proj`, gains around 1.
fn weights(config: &AttentionConfig) -> Vec<(String, Weight)> {
    let weight = |(at, tensor): (u64, TensorSpec)| {
        let mut values = Values::new(at);
        let weight = match tensor.shape[..] {
            [n] => {
                let gain: Vec<f64> = values.draw::<f64>(n).iter().map(|v| 1.0 + 0.3 * v).collect();
                Weight::encode(Dtype::F32, [1, n], &gain)
            }
            [rows, cols] => {
                let scale = 1.5 * (3.0 / cols as f64).sqrt();
                let values: Vec<f64> =
                    values.draw::<f64>(rows * cols).iter().map(|v| scale * v).collect();
                if tensor.name == "kv_b_proj.weight" {
                    Weight::quantize_e4m3([rows, cols], &values, [16, 16])
                } else {
                    Weight::encode(Dtype::Bf16, [rows, cols], &values)
                }
            }
            _ => unreachable!("tensors have one axis or two"),
        };
        (tensor.name, weight.expect("values fit the shape"))
    };
    (1..).zip(config.tensors()).map(weight).collect()
}

/// A layer with random weights, and its backend.
#[derive(Debug)]
pub struct Fixture<'a, B: Attend> {
    /// The backend.
    pub backend: &'a B,
    /// The sizes of the layer.
    pub config: AttentionConfig,
    /// The layer.
    pub layer: Attention<B>,
}

impl<'a, B: Attend> Fixture<'a, B> {
    /// A layer of `config` with random weights.
    pub fn new(backend: &'a B, config: &AttentionConfig) -> Self {
        let weights = weights(config);
        let mut get = |name: &str| -> Result<Weight, MlaError> {
            let found = weights.iter().find(|(n, _)| n == name);
            Ok(found.expect("a listed tensor").1.clone())
        };
        let layer = Attention::new(backend, config, &mut get).expect("weights fit the config");
        Self { backend, config: config.clone(), layer }
    }

    /// The stored weights of the layer, by name.
    #[must_use]
    pub fn weights(&self) -> Vec<(String, Weight)> {
        weights(&self.config)
    }

    /// An empty cache for this layer alone, rows unrounded.
    #[must_use]
    pub fn cache(&self, max_tokens: usize) -> PagedCache<B> {
        self.cache_in(CacheFormat::Scalar, max_tokens)
    }

    /// An empty cache for this layer alone.
    #[must_use]
    pub fn cache_in(&self, format: CacheFormat, max_tokens: usize) -> PagedCache<B> {
        let configs = std::slice::from_ref(&self.config);
        PagedCache::with_format(self.backend.clone(), configs, max_tokens, format)
            .expect("a valid config")
    }

    /// The formats that the layer's rows can be stored in.
    #[must_use]
    pub fn formats(&self) -> &'static [CacheFormat] {
        match self.config {
            AttentionConfig::Latent(_) => {
                &[CacheFormat::Scalar, CacheFormat::Bf16, CacheFormat::Fp8]
            }
            AttentionConfig::Grouped(_) => &[CacheFormat::Scalar, CacheFormat::Bf16],
        }
    }

    /// The inputs of `tokens` tokens, `[token, hidden_size]`.
    #[must_use]
    pub fn tokens(&self, seed: u64, tokens: usize) -> Vec<B::Scalar> {
        Values::new(seed + 1000).draw(tokens * self.config.hidden_size())
    }

    /// The forms that differ for this layer.
    #[must_use]
    pub fn forms(&self) -> &'static [Form] {
        match self.config {
            AttentionConfig::Latent(_) => &[Form::Expanded, Form::Absorbed],
            AttentionConfig::Grouped(_) => &[Form::Expanded],
        }
    }

    /// Runs one step and commits it; gives the outputs of each sequence, all of them finite.
    pub fn step(
        &self,
        cache: &mut PagedCache<B>,
        batch: &[(SequenceId, &[B::Scalar])],
        form: Form,
    ) -> Vec<Vec<B::Scalar>> {
        let hidden = self.config.hidden_size();
        let plan: Vec<_> = batch.iter().map(|(id, x)| (*id, x.len() / hidden)).collect();
        let x: Vec<B::Scalar> = batch.iter().flat_map(|(_, x)| x.iter().copied()).collect();
        let step = cache.begin(&plan).expect("there is room");
        let x = self.backend.upload(&x, &[step.tokens(), hidden]).expect("tokens fit");
        let y = self.layer.forward(self.backend, &x, cache, &step, 0, form).expect("it fits");
        let y = self.backend.download(&y).expect("a result");
        assert!(y.iter().all(|v| v.as_f64().is_finite()), "an output is not finite");
        let outputs = step
            .spans()
            .iter()
            .map(|s| y[s.first * hidden..(s.first + s.tokens) * hidden].to_vec())
            .collect();
        cache.commit(step).expect("the step is open");
        outputs
    }

    /// The outputs of one sequence in a fresh cache, in one step.
    #[must_use]
    pub fn alone(&self, x: &[B::Scalar], form: Form) -> Vec<B::Scalar> {
        self.alone_in(CacheFormat::Scalar, x, form)
    }

    /// The same with rows stored in `format`.
    #[must_use]
    pub fn alone_in(&self, format: CacheFormat, x: &[B::Scalar], form: Form) -> Vec<B::Scalar> {
        let mut cache = self.cache_in(format, x.len() / self.config.hidden_size());
        let id = cache.new_sequence();
        self.step(&mut cache, &[(id, x)], form).swap_remove(0)
    }
}

/// Holds `property` for a layer of every kind.
pub(super) fn for_kinds<B: Attend>(backend: &B, property: impl Fn(&Fixture<'_, B>)) {
    for (name, config) in kinds() {
        named(name, || property(&Fixture::new(backend, &config)));
    }
}

/// Holds `property` for a layer of every kind, in each format of its cache.
pub(super) fn for_formats<B: Attend>(backend: &B, property: impl Fn(&Fixture<'_, B>, CacheFormat)) {
    for_kinds(backend, |f| {
        for &format in f.formats() {
            named(&format!("cache {format}"), || property(f, format));
        }
    });
}

/// Holds `property` for a layer of every kind, in each of its forms.
pub(super) fn for_forms<B: Attend>(backend: &B, property: impl Fn(&Fixture<'_, B>, Form)) {
    for_kinds(backend, |f| {
        for &form in f.forms() {
            named(&format!("{form:?}"), || property(f, form));
        }
    });
}

/// Panics with `name` where `property` panics, after its own message.
fn named(name: &str, property: impl FnOnce()) {
    let outcome = catch_unwind(AssertUnwindSafe(property));
    assert!(outcome.is_ok(), "does not hold: {name}");
}

//! Tiny models of every mix of attention, feed-forward, prediction depth and head.

use latent_kernels::suite::Values;
use latent_kernels::{PairLayout, Yarn};
use latent_model::Form;
use latent_model::config::{ModelConfig, ModelType, MoeLayout};
use latent_model::mla::{AttentionConfig, GqaConfig, MlaConfig, RopeConfig};
use latent_model::moe::{GateConfig, MoeConfig, ScoringFunc, TopkMethod};
use latent_train::{Array, Parameters};

const HIDDEN: usize = 8;
pub(crate) const VOCAB: usize = 11;

/// One value of each axis, by its place in the lists below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) attention: usize,
    pub(crate) feed_forward: usize,
    pub(crate) n_shared_experts: usize,
    pub(crate) mtp_layers: usize,
    pub(crate) tied: bool,
    pub(crate) absorbed: bool,
}

pub(crate) const ATTENTION: [&str; 6] =
    ["mha", "gqa", "mqa", "mla", "mla, compressed query", "mla, YaRN"];
pub(crate) const FEED_FORWARD: [&str; 5] = [
    "dense",
    "softmax, greedy",
    "softmax, group_limited_greedy",
    "sigmoid, noaux_tc, normalised",
    "sqrt-softplus, greedy, normalised",
];

impl Variant {
    /// Every mix in which each axis makes a difference.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for attention in 0..ATTENTION.len() {
            for feed_forward in 0..FEED_FORWARD.len() {
                for n_shared_experts in 0..if feed_forward == 0 { 1 } else { 2 } {
                    for mtp_layers in 0..3 {
                        for tied in [false, true] {
                            for absorbed in [false, true] {
                                let mix = Self {
                                    attention,
                                    feed_forward,
                                    n_shared_experts,
                                    mtp_layers,
                                    tied,
                                    absorbed,
                                };
                                all.extend((mix.is_latent() || !absorbed).then_some(mix));
                            }
                        }
                    }
                }
            }
        }
        all
    }

    /// So few of them that any two values of any two axes meet in one, where they can.
    pub(crate) fn pairs() -> Vec<Self> {
        let pairs = |mix: &Self| {
            let axes = mix.axes();
            let two = |(a, b): (usize, usize)| ((a, axes[a]), (b, axes[b]));
            (0..axes.len()).flat_map(|b| (0..b).map(move |a| (a, b))).map(two).collect::<Vec<_>>()
        };
        let (all, mut chosen, mut met) = (Self::all(), Vec::new(), Vec::new());
        loop {
            let new = |mix: &Self| pairs(mix).iter().filter(|pair| !met.contains(*pair)).count();
            let best = all.iter().rev().max_by_key(|mix| new(mix)).unwrap();
            if new(best) == 0 {
                return chosen;
            }
            met.extend(pairs(best));
            chosen.push(*best);
        }
    }

    fn axes(&self) -> [usize; 6] {
        let [tied, absorbed] = [self.tied, self.absorbed].map(usize::from);
        [self.attention, self.feed_forward, self.n_shared_experts, self.mtp_layers, tied, absorbed]
    }

    fn is_latent(&self) -> bool {
        self.attention >= 3
    }

    pub(crate) fn form(&self) -> Form {
        if self.absorbed { Form::Absorbed } else { Form::Expanded }
    }

    pub(crate) fn config(&self) -> ModelConfig {
        ModelConfig {
            model_type: ModelType::DeepseekV3,
            vocab_size: VOCAB,
            hidden_size: HIDDEN,
            num_hidden_layers: 2,
            num_nextn_predict_layers: self.mtp_layers,
            intermediate_size: 6,
            rms_norm_eps: 1e-2,
            max_position_embeddings: 64,
            tie_word_embeddings: self.tied,
            dtype: None,
            quantization: None,
            attention: self.attention(),
            moe: self.moe(),
            bos_token_id: None,
            eos_token_id: Vec::new(),
        }
    }

    fn attention(&self) -> AttentionConfig {
        let yarn = Yarn {
            factor: 8.0,
            original_max_position_embeddings: 16,
            beta_fast: 4.0,
            beta_slow: 1.0,
            mscale: Some(1.0),
            mscale_all_dim: Some(0.5),
        };
        let rope = |yarn, layout| RopeConfig { theta: 100.0, yarn, layout };
        if !self.is_latent() {
            return AttentionConfig::Grouped(GqaConfig {
                hidden_size: HIDDEN,
                num_attention_heads: 4,
                num_key_value_heads: [4, 2, 1][self.attention],
                head_dim: 4,
                rope: rope(None, PairLayout::HalfSplit),
            });
        }
        AttentionConfig::Latent(MlaConfig {
            hidden_size: HIDDEN,
            num_attention_heads: 2,
            q_lora_rank: (self.attention == 4).then_some(5),
            kv_lora_rank: 6,
            qk_nope_head_dim: 3,
            qk_rope_head_dim: 4,
            v_head_dim: 5,
            rope: rope((self.attention == 5).then_some(yarn), PairLayout::Interleaved),
        })
    }

    /// Experts in the second layer; the first is dense.
    fn moe(&self) -> Option<MoeLayout> {
        let groups = (3, 2);
        let (scoring_func, topk_method, norm_topk_prob) = match self.feed_forward {
            0 => return None,
            1 => (ScoringFunc::Softmax, TopkMethod::Greedy, false),
            2 => {
                let (n_group, topk_group) = groups;
                let method = TopkMethod::GroupLimitedGreedy { n_group, topk_group };
                (ScoringFunc::Softmax, method, false)
            }
            3 => {
                let (n_group, topk_group) = groups;
                (ScoringFunc::Sigmoid, TopkMethod::NoauxTc { n_group, topk_group }, true)
            }
            _ => (ScoringFunc::SqrtSoftplus, TopkMethod::Greedy, true),
        };
        let gate = GateConfig {
            n_routed_experts: 6,
            num_experts_per_tok: 2,
            scoring_func,
            topk_method,
            norm_topk_prob,
            routed_scaling_factor: 1.5,
        };
        let n_shared_experts = self.n_shared_experts;
        let config =
            MoeConfig { hidden_size: HIDDEN, moe_intermediate_size: 3, n_shared_experts, gate };
        Some(MoeLayout { config, first_k_dense_replace: 1, moe_layer_freq: 1 })
    }
}

/// Random weights, gains of norms around 1, and biases that leave the scores a say.
pub(crate) fn parameters(config: &ModelConfig, seed: u64) -> Parameters<f64> {
    let mut values = Values::new(seed);
    let mut all = Parameters::default();
    for spec in config.tensors() {
        let mut drawn: Vec<f64> = values.draw(spec.shape.iter().product());
        if spec.name.ends_with("norm.weight") {
            drawn.iter_mut().for_each(|v| *v = 1.0 + 0.3 * *v);
        }
        if spec.name.ends_with("bias") {
            drawn.iter_mut().for_each(|v| *v *= 0.2);
        }
        all.insert(spec.name, Array::new(&spec.shape, drawn).unwrap());
    }
    all
}

//! `[model.experts]`: the mixtures of experts, in the words of a published `config.json`.

use latent_model::config::MoeLayout;
use latent_model::moe::{GateConfig, MoeConfig, ScoringFunc, TopkMethod};
use serde::{Deserialize, Serialize};

/// The mixtures of experts, by the keys of a published `config.json`. What is absent is as in V3, but
/// for groups and the scaling factor: 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpertsSection {
    /// The number of routed experts.
    pub n_routed_experts: usize,
    /// The number of experts that a token is sent to.
    pub num_experts_per_tok: usize,
    /// The inner width of one routed expert.
    pub moe_intermediate_size: usize,
    /// The number of experts that every token passes; absent, none.
    #[serde(default)]
    pub n_shared_experts: usize,
    /// The number of layers at the start that stay dense; absent, none.
    #[serde(default)]
    pub first_k_dense_replace: usize,
    /// Of the layers after those, the ones whose index this divides are mixtures; absent, all.
    #[serde(default = "one")]
    pub moe_layer_freq: usize,
    /// How logits become scores.
    #[serde(default = "sigmoid")]
    pub scoring_func: ScoringKind,
    /// How experts are chosen.
    #[serde(default = "noaux_tc")]
    pub topk_method: TopkKind,
    /// The number of groups of experts.
    #[serde(default = "one")]
    pub n_group: usize,
    /// The number of groups that a token may use.
    #[serde(default = "one")]
    pub topk_group: usize,
    /// Whether the chosen scores are divided by their sum.
    #[serde(default = "yes")]
    pub norm_topk_prob: bool,
    /// What the weights of experts are multiplied by.
    #[serde(default = "one_times")]
    pub routed_scaling_factor: f64,
}

fn one() -> usize {
    1
}

fn one_times() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

fn sigmoid() -> ScoringKind {
    ScoringKind::Sigmoid
}

fn noaux_tc() -> TopkKind {
    TopkKind::NoauxTc
}

/// How logits become scores: see [`ScoringFunc`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoringKind {
    /// [`ScoringFunc::Softmax`].
    Softmax,
    /// [`ScoringFunc::Sigmoid`].
    Sigmoid,
    /// [`ScoringFunc::SqrtSoftplus`].
    SqrtSoftplus,
}

/// How experts are chosen: see [`TopkMethod`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopkKind {
    /// [`TopkMethod::Greedy`].
    Greedy,
    /// [`TopkMethod::GroupLimitedGreedy`].
    GroupLimitedGreedy,
    /// [`TopkMethod::NoauxTc`].
    NoauxTc,
}

impl ExpertsSection {
    pub(super) fn layout(&self, hidden_size: usize) -> MoeLayout {
        let (n_group, topk_group) = (self.n_group, self.topk_group);
        let gate = GateConfig {
            n_routed_experts: self.n_routed_experts,
            num_experts_per_tok: self.num_experts_per_tok,
            scoring_func: match self.scoring_func {
                ScoringKind::Softmax => ScoringFunc::Softmax,
                ScoringKind::Sigmoid => ScoringFunc::Sigmoid,
                ScoringKind::SqrtSoftplus => ScoringFunc::SqrtSoftplus,
            },
            topk_method: match self.topk_method {
                TopkKind::Greedy => TopkMethod::Greedy,
                TopkKind::GroupLimitedGreedy => {
                    TopkMethod::GroupLimitedGreedy { n_group, topk_group }
                }
                TopkKind::NoauxTc => TopkMethod::NoauxTc { n_group, topk_group },
            },
            norm_topk_prob: self.norm_topk_prob,
            routed_scaling_factor: self.routed_scaling_factor,
        };
        MoeLayout {
            config: MoeConfig {
                hidden_size,
                moe_intermediate_size: self.moe_intermediate_size,
                n_shared_experts: self.n_shared_experts,
                gate,
            },
            first_k_dense_replace: self.first_k_dense_replace,
            moe_layer_freq: self.moe_layer_freq,
        }
    }
}

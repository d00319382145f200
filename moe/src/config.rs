//! The settings of a mixture-of-experts layer, checked once.

use crate::MoeError;

/// How a router's logit becomes a score, `scoring_func`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScoringFunc {
    /// Softmax over all experts: V2.
    Softmax,
    /// The logistic function of each expert by itself: V3.
    Sigmoid,
    /// `sqrt(ln(1 + eˣ))`: V4.
    SqrtSoftplus,
}

/// How experts are chosen, `topk_method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopkMethod {
    /// The best `num_experts_per_tok` scores: V2-Lite.
    Greedy,
    /// The best scores within the `topk_group` groups that hold the best single scores: V2.
    GroupLimitedGreedy {
        /// The number of equal groups that the experts form.
        n_group: usize,
        /// The number of groups that a token may use.
        topk_group: usize,
    },
    /// The best biased scores within the `topk_group` groups with the largest sums of their two
    /// best biased scores; the bias chooses and never weighs: V3.
    NoauxTc {
        /// The number of equal groups that the experts form.
        n_group: usize,
        /// The number of groups that a token may use.
        topk_group: usize,
    },
}

/// The gate of a mixture-of-experts layer. Fields are the keys of the published `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct GateConfig {
    /// The number of routed experts.
    pub n_routed_experts: usize,
    /// The number of experts that a token is sent to.
    pub num_experts_per_tok: usize,
    /// How logits become scores.
    pub scoring_func: ScoringFunc,
    /// How experts are chosen by their scores.
    pub topk_method: TopkMethod,
    /// Whether the chosen scores are divided by their sum.
    pub norm_topk_prob: bool,
    /// What the weights are multiplied by in the end.
    pub routed_scaling_factor: f64,
}

/// A mixture-of-experts layer.
#[derive(Debug, Clone, PartialEq)]
pub struct MoeConfig {
    /// The width of the residual stream.
    pub hidden_size: usize,
    /// The inner width of one routed expert.
    pub moe_intermediate_size: usize,
    /// The number of experts that every token passes, as one block of their joint width.
    pub n_shared_experts: usize,
    /// The gate.
    pub gate: GateConfig,
}

impl GateConfig {
    /// Proves that the settings are usable.
    ///
    /// # Errors
    /// [`MoeError::Config`] that names the field, its value, and what is wanted.
    pub fn validate(&self) -> Result<(), MoeError> {
        let experts = self.n_routed_experts;
        at_least_one("n_routed_experts", experts)?;
        at_least_one("num_experts_per_tok", self.num_experts_per_tok)?;
        if self.num_experts_per_tok > experts {
            let wanted = format!("at most n_routed_experts {experts}");
            return Err(MoeError::config("num_experts_per_tok", self.num_experts_per_tok, wanted));
        }
        if !(self.routed_scaling_factor > 0.0 && self.routed_scaling_factor.is_finite()) {
            let found = self.routed_scaling_factor;
            return Err(MoeError::config(
                "routed_scaling_factor",
                found,
                "a finite number above 0",
            ));
        }
        let (n_group, topk_group, best_of) = match self.topk_method {
            TopkMethod::Greedy => return Ok(()),
            TopkMethod::GroupLimitedGreedy { n_group, topk_group } => (n_group, topk_group, 1),
            TopkMethod::NoauxTc { n_group, topk_group } => (n_group, topk_group, 2),
        };
        at_least_one("n_group", n_group)?;
        at_least_one("topk_group", topk_group)?;
        if !experts.is_multiple_of(n_group) {
            let wanted = format!("a divisor of n_routed_experts {experts}");
            return Err(MoeError::config("n_group", n_group, wanted));
        }
        if topk_group > n_group {
            return Err(MoeError::config(
                "topk_group",
                topk_group,
                format!("at most n_group {n_group}"),
            ));
        }
        let per_group = experts / n_group;
        // With one group the group score decides nothing.
        if n_group > 1 && per_group < best_of {
            let wanted = format!(
                "at most {}: noaux_tc sums the two best of each group of n_routed_experts {experts}",
                experts / best_of
            );
            return Err(MoeError::config("n_group", n_group, wanted));
        }
        if topk_group * per_group < self.num_experts_per_tok {
            let wanted =
                format!("at most {}: {topk_group} groups of {per_group}", topk_group * per_group);
            return Err(MoeError::config("num_experts_per_tok", self.num_experts_per_tok, wanted));
        }
        Ok(())
    }

    /// Whether the gate adds a bias to the scores that choose.
    #[must_use]
    pub fn has_bias(&self) -> bool {
        matches!(self.topk_method, TopkMethod::NoauxTc { .. })
    }
}

impl MoeConfig {
    /// Proves that the settings are usable.
    ///
    /// # Errors
    /// [`MoeError::Config`] that names the field, its value, and what is wanted.
    pub fn validate(&self) -> Result<(), MoeError> {
        at_least_one("hidden_size", self.hidden_size)?;
        at_least_one("moe_intermediate_size", self.moe_intermediate_size)?;
        if self.n_shared_experts.checked_mul(self.moe_intermediate_size).is_none() {
            let wanted = format!("below usize::MAX / {}", self.moe_intermediate_size);
            return Err(MoeError::config("n_shared_experts", self.n_shared_experts, wanted));
        }
        self.gate.validate()
    }

    /// The inner width of the shared experts, which are one block; 0 where there are none.
    ///
    /// ```
    /// # use latent_moe::{GateConfig, MoeConfig, ScoringFunc, TopkMethod};
    /// # let gate = GateConfig { n_routed_experts: 64, num_experts_per_tok: 6,
    /// #     scoring_func: ScoringFunc::Softmax, topk_method: TopkMethod::Greedy,
    /// #     norm_topk_prob: false, routed_scaling_factor: 1.0 };
    /// let v2_lite =
    ///     MoeConfig { hidden_size: 2048, moe_intermediate_size: 1408, n_shared_experts: 2, gate };
    /// assert_eq!(v2_lite.shared_intermediate_size(), 2816);
    /// ```
    #[must_use]
    pub fn shared_intermediate_size(&self) -> usize {
        self.n_shared_experts.saturating_mul(self.moe_intermediate_size)
    }
}

fn at_least_one(field: &'static str, found: usize) -> Result<(), MoeError> {
    if found == 0 { Err(MoeError::config(field, found, "at least 1")) } else { Ok(()) }
}

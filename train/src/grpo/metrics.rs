//! What is watched while a policy learns.

/// Means over the tokens that count, by the names of TRL's metrics where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Metrics {
    /// How many tokens count.
    pub tokens: usize,
    /// How many completions were masked.
    pub masked: usize,
    /// `kl`: the mean estimate of the divergence from the reference. `None` where a token that counts
    /// has no reference.
    pub kl: Option<f64>,
    /// `clip_ratio/low_mean`: the part of the tokens whose ratio is held from below.
    pub clip_low: f64,
    /// `clip_ratio/high_mean`: the part that is held from above.
    pub clip_high: f64,
    /// `clip_ratio/region_mean`: both.
    pub clip_region: f64,
    /// The mean ratio: near 1, or the tokens were sampled by another model than is thought.
    pub ratio: f64,
    /// The largest distance of a ratio from 1; exactly 0 in the first update by a rollout.
    pub max_ratio_deviation: f64,
    /// `entropy`: the mean entropy of the distributions that tokens were chosen from, in nats. `None`
    /// where it was not computed.
    pub entropy: Option<f64>,
}

impl Metrics {
    /// Those of two parts of a batch together.
    ///
    /// ```
    /// use latent_train::grpo::Metrics;
    /// let a = Metrics { tokens: 1, ratio: 1.0, kl: Some(0.5), ..Metrics::default() };
    /// let b = Metrics { tokens: 3, ratio: 2.0, kl: Some(0.1), ..Metrics::default() };
    /// let both = a.merge(&b);
    /// assert_eq!((both.tokens, both.ratio, both.kl), (4, 1.75, Some(0.2)));
    /// ```
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let tokens = self.tokens + other.tokens;
        let mean = |a: f64, b: f64| {
            let sum = a * self.tokens as f64 + b * other.tokens as f64;
            sum / tokens.max(1) as f64
        };
        let both = |a: Option<f64>, b: Option<f64>| match (self.tokens, other.tokens) {
            (0, _) => b,
            (_, 0) => a,
            _ => Some(mean(a?, b?)),
        };
        Self {
            tokens,
            masked: self.masked + other.masked,
            kl: both(self.kl, other.kl),
            clip_low: mean(self.clip_low, other.clip_low),
            clip_high: mean(self.clip_high, other.clip_high),
            clip_region: mean(self.clip_region, other.clip_region),
            ratio: mean(self.ratio, other.ratio),
            max_ratio_deviation: self.max_ratio_deviation.max(other.max_ratio_deviation),
            entropy: both(self.entropy, other.entropy),
        }
    }
}

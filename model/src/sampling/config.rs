//! How a token is chosen, checked once.

use crate::sampling::SamplingError;

/// The settings of a [`Sampler`](crate::sampling::Sampler). The default is greedy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingConfig {
    /// What logits are divided by, `0..=100`; 0 takes the largest logit.
    pub temperature: f64,
    /// Keeps this many of the largest logits; `None` keeps all.
    pub top_k: Option<usize>,
    /// Keeps the fewest largest probabilities that sum to this, `(0, 1]`; 1 keeps all.
    pub top_p: f64,
    /// Drops what is less probable than this share of the most probable, `[0, 1]`; 0 keeps all.
    pub min_p: f64,
    /// Divides positive logits of tokens seen before and multiplies negative ones,
    /// `[0.01, 100]`; 1 changes nothing.
    pub repetition_penalty: f64,
    /// What all draws follow from, together with the position.
    pub seed: u64,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 0,
        }
    }
}

impl SamplingConfig {
    /// Whether the largest logit as it is decides alone.
    #[must_use]
    #[expect(clippy::float_cmp, reason = "exactly the values that change nothing")]
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0 && self.repetition_penalty == 1.0
    }

    /// Whether a token is drawn from all tokens by their logits as they are.
    #[must_use]
    #[expect(clippy::float_cmp, reason = "exactly the values that change nothing")]
    pub fn is_unfiltered(&self) -> bool {
        self.temperature > 0.0
            && self.top_k.is_none()
            && self.top_p == 1.0
            && self.min_p == 0.0
            && self.repetition_penalty == 1.0
    }

    /// Proves that every setting is in its range. NaN is in none.
    ///
    /// # Errors
    /// [`SamplingError::Setting`] that names the setting, its value and the range.
    pub fn validate(&self) -> Result<(), SamplingError> {
        let error = |name, found: f64, wanted| Err(SamplingError::setting(name, found, wanted));
        if !(0.0..=100.0).contains(&self.temperature) {
            return error("temperature", self.temperature, "in [0, 100]");
        }
        if self.top_k == Some(0) {
            return Err(SamplingError::setting("top_k", 0, "at least 1, or absent to keep all"));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return error("top_p", self.top_p, "in (0, 1]");
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return error("min_p", self.min_p, "in [0, 1]");
        }
        if !(0.01..=100.0).contains(&self.repetition_penalty) {
            return error("repetition_penalty", self.repetition_penalty, "in [0.01, 100]");
        }
        Ok(())
    }
}

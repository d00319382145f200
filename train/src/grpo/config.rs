//! The settings of the objective, by the names that TRL's `GRPOConfig` gave them.

use serde::{Deserialize, Serialize};

use super::GrpoError;

/// How the terms of tokens are summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossType {
    /// The mean over the tokens of each completion, then over completions: DeepSeekMath's and R1's. A
    /// token of a long completion counts less.
    #[default]
    Grpo,
    /// The mean over the tokens of what is computed at once.
    Bnpo,
    /// The mean over the tokens of the whole batch: DAPO's (arXiv 2503.14476).
    Dapo,
    /// The sum over tokens by a constant, `max_completion_length`, and the mean over completions: Dr.
    /// GRPO's (arXiv 2503.20783).
    DrGrpo,
}

/// What the distance of a reward from its group's mean is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleRewards {
    /// The standard deviation of the group: DeepSeekMath's.
    #[default]
    Group,
    /// That of all rewards of the batch.
    Batch,
    /// Nothing: Dr. GRPO's.
    None,
}

/// The settings of group relative policy optimisation. Absent keys have R1-Zero's values where these are
/// published, else TRL's.
///
/// ```
/// use latent_train::grpo::{GrpoConfig, LossType};
/// let config: GrpoConfig = toml::from_str("loss_type = 'dapo'\nepsilon_high = 0.28")?;
/// config.validate()?;
/// assert_eq!((config.loss_type, config.num_generations), (LossType::Dapo, 16));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// DeepSeek-R1 (arXiv 2501.12948), section 2.1; DeepSeekMath (arXiv 2402.03300), equations 3 and 4; names:
/// TRL, `trl/trainer/grpo_config.py`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpoConfig {
    /// How many answers there are to a question: the size of a group.
    pub num_generations: usize,
    /// What logits are divided by, when answers are sampled and when they are learned from.
    pub temperature: f64,
    /// The weight of the divergence from the reference model. At 0 no reference is needed.
    pub beta: f64,
    /// After how many steps the reference becomes the model as it is then; 0 for never. R1-Zero has 400.
    pub ref_model_sync_steps: u64,
    /// How far a ratio may fall below 1, and rise above it where `epsilon_high` says nothing else. The
    /// first stage of R1 has 10: then nothing is clipped below.
    pub epsilon: f64,
    /// How far it may rise above 1; DAPO has 0.28 beside an `epsilon` of 0.2.
    pub epsilon_high: Option<f64>,
    /// How the terms of tokens are summed up.
    pub loss_type: LossType,
    /// What distances from the mean reward are divided by.
    pub scale_rewards: ScaleRewards,
    /// How many updates are made by the same answers.
    pub num_iterations: usize,
    /// Whether completions that were cut off at their longest teach nothing.
    pub mask_truncated_completions: bool,
    /// The most tokens that a completion may have: the divisor of [`LossType::DrGrpo`].
    pub max_completion_length: usize,
}

impl Default for GrpoConfig {
    fn default() -> Self {
        Self {
            num_generations: 16,
            temperature: 1.0,
            beta: 0.001,
            ref_model_sync_steps: 400,
            epsilon: 0.2,
            epsilon_high: None,
            loss_type: LossType::Grpo,
            scale_rewards: ScaleRewards::Group,
            num_iterations: 1,
            mask_truncated_completions: false,
            max_completion_length: 256,
        }
    }
}

impl GrpoConfig {
    /// Proves that every setting is in its range.
    ///
    /// # Errors
    /// [`GrpoError::Setting`] with the first that is not: fewer than two answers to a question, a
    /// temperature that is not above 0, a weight or a bound that is negative or no number.
    pub fn validate(&self) -> Result<(), GrpoError> {
        let at_least = |field, found: usize, least: usize| match found >= least {
            true => Ok(()),
            false => Err(GrpoError::setting(field, found, format!("at least {least}"))),
        };
        at_least("num_generations", self.num_generations, 2)?;
        at_least("num_iterations", self.num_iterations, 1)?;
        at_least("max_completion_length", self.max_completion_length, 1)?;
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return Err(GrpoError::setting("temperature", self.temperature, ABOVE_ZERO));
        }
        let bounds = [("beta", self.beta), ("epsilon", self.epsilon)];
        for (field, found) in bounds.into_iter().chain([("epsilon_high", self.high())]) {
            if !(found >= 0.0 && found.is_finite()) {
                return Err(GrpoError::setting(field, found, "a finite number of at least 0"));
            }
        }
        Ok(())
    }

    /// How far a ratio may rise above 1.
    pub(super) fn high(&self) -> f64 {
        self.epsilon_high.unwrap_or(self.epsilon)
    }
}

const ABOVE_ZERO: &str = "a finite number above 0";

//! How much better each answer is than the others to its question.

use super::{GrpoConfig, GrpoError, ScaleRewards};

/// What is added to a standard deviation, as in TRL: two rewards that hardly differ make no advantage
/// that is out of all proportion.
pub const STD_EPS: f64 = 1e-4;

/// The largest magnitude of a reward: squares of larger ones may have no sum.
const MAX_REWARD: f64 = 1e100;

/// The advantages of answers, and what their groups were like.
#[derive(Debug, Clone, PartialEq)]
pub struct Advantages {
    /// `[question, answer]`, the answers to one question side by side.
    pub values: Vec<f64>,
    /// The mean reward of each question's answers.
    pub means: Vec<f64>,
    /// The standard deviation of the rewards of each question's answers.
    pub stds: Vec<f64>,
    /// The questions whose answers all have the same reward: these teach nothing but the divergence from
    /// the reference. DAPO draws others in their place.
    pub equal: Vec<usize>,
}

impl Advantages {
    /// Which part of the questions has equal rewards: TRL's `frac_reward_zero_std`. 0 of none.
    #[must_use]
    pub fn frac_reward_zero_std(&self) -> f64 {
        self.equal.len() as f64 / self.means.len().max(1) as f64
    }
}

/// `A = (R - mean) / (std + 1e-4)` of each answer, in the group of the answers to its question:
/// [`ScaleRewards`] says of what the standard deviation is taken, or that there is none.
///
/// A standard deviation of `n` rewards divides by `n - 1`, as TRL's. Where all rewards of a group are
/// equal every advantage is exactly 0. Sums go over rewards in ascending order: another order of the
/// answers changes no bit of an advantage.
///
/// # Shapes
/// - `rewards`: `[question, answer]`, `num_generations` answers each
///
/// ```
/// use latent_train::grpo::{GrpoConfig, advantages};
/// let config = GrpoConfig { num_generations: 2, ..GrpoConfig::default() };
/// let of = advantages(&[1.0, 0.0, 1.0, 1.0], &config)?;
/// assert!((of.values[0] - 0.5 / (0.5_f64.sqrt() + 1e-4)).abs() < 1e-15);
/// assert_eq!(of.values[1], -of.values[0]);
/// assert_eq!((&of.values[2..], of.equal), (&[0.0, 0.0][..], vec![1]));
/// # Ok::<(), latent_train::grpo::GrpoError>(())
/// ```
///
/// # Errors
/// [`GrpoError::Setting`] of the config, [`GrpoError::Rewards`] where a group lacks answers,
/// [`GrpoError::Reward`] for NaN, an infinity, or a magnitude above 1e100.
///
/// # Source
/// DeepSeekMath (arXiv 2402.03300), section 4.1.2; without the deviation: arXiv 2503.20783, section 3.
pub fn advantages(rewards: &[f64], config: &GrpoConfig) -> Result<Advantages, GrpoError> {
    config.validate()?;
    let size = config.num_generations;
    if !rewards.len().is_multiple_of(size) {
        return Err(GrpoError::Rewards { found: rewards.len(), num_generations: size });
    }
    if let Some(at) = rewards.iter().position(|r| r.is_nan() || r.abs() > MAX_REWARD) {
        let (question, answer, found) = (at / size, at % size, rewards[at]);
        let wanted = "a number of magnitude 1e100 at most";
        return Err(GrpoError::Reward { question, answer, found, wanted });
    }
    let mut of = Advantages {
        values: Vec::with_capacity(rewards.len()),
        means: Vec::new(),
        stds: Vec::new(),
        equal: Vec::new(),
    };
    let (_, of_batch) = mean_and_std(rewards);
    for (question, group) in rewards.chunks(size).enumerate() {
        let (mean, std) = mean_and_std(group);
        of.means.push(mean);
        of.stds.push(std);
        if is_equal(group) {
            of.equal.push(question);
        }
        let divisor = match config.scale_rewards {
            ScaleRewards::Group => std + STD_EPS,
            ScaleRewards::Batch => of_batch + STD_EPS,
            ScaleRewards::None => 1.0,
        };
        of.values.extend(group.iter().map(|reward| (reward - mean) / divisor));
    }
    Ok(of)
}

#[expect(clippy::float_cmp, reason = "a reward is a verdict: the same one has the same bits")]
fn is_equal(rewards: &[f64]) -> bool {
    rewards.iter().all(|reward| *reward == rewards[0])
}

/// The mean, and the standard deviation with one less in its divisor; 0 of fewer than two.
fn mean_and_std(rewards: &[f64]) -> (f64, f64) {
    let mut ascending = rewards.to_vec();
    ascending.sort_by(f64::total_cmp);
    let mean = ascending.iter().sum::<f64>() / rewards.len().max(1) as f64;
    if rewards.len() < 2 || is_equal(rewards) {
        // A sum of equal numbers may be rounded: its mean would be off, and leave advantages.
        return (rewards.first().copied().unwrap_or(mean), 0.0);
    }
    let squares: f64 = ascending.iter().map(|reward| (reward - mean).powi(2)).sum();
    (mean, (squares / (rewards.len() - 1) as f64).sqrt())
}

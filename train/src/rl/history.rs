//! What a run was like, from the metrics in its folder.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{AnswerStats, RlEvaluation};

mod measures;
mod read;

pub use measures::Reached;
pub use read::{read_history, read_settings};

/// All steps and evaluations of a run, in their order. Every number is finite.
///
/// ```
/// use latent_train::rl::{RlHistory, read_history};
/// let folder = tempfile::tempdir()?;
/// let line = r#"{"step":0,"held_out":{"answers":2,"tokens":9,"reward":0.5,"accuracy":0.5,"formed":1,
///     "reward_parts":{"match":0.5,"form":0,"language":0,"length":0},
///     "length":4.5,"thinking":12,"clipped":0,"samples":[]}}"#;
/// std::fs::write(folder.path().join("metrics.jsonl"), line.replace('\n', ""))?;
/// let history: RlHistory = read_history(folder.path())?;
/// let (step, first) = &history.evaluations[0];
/// assert_eq!((*step, first.stats.accuracy), (0, 0.5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RlHistory {
    /// The steps: each has a larger number than the one before.
    pub steps: Vec<RlStepPoint>,
    /// The evaluations with the steps that were taken before them, each of more steps than the one before.
    pub evaluations: Vec<(u64, RlEvaluation)>,
}

/// What the metrics say of a step. Fields are as of [`RlStepReport`](super::RlStepReport).
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct RlStepPoint {
    /// The step, counted from 1.
    pub step: u64,
    /// The questions that were asked.
    pub questions: u64,
    /// What all answers to them are like.
    #[serde(flatten)]
    pub stats: AnswerStats,
    /// The mean over questions of the standard deviation of the rewards.
    pub reward_std: f64,
    /// The part of the questions whose answers all earn the same.
    pub frac_reward_zero_std: f64,
    /// The entropy of the distributions that tokens were drawn from, in nats; `None` where nothing was learned.
    pub entropy: Option<f64>,
    /// The divergence from the reference, in nats a token; `None` where there is no reference.
    pub kl: Option<f64>,
    /// The part of the tokens whose ratio was clipped from below.
    pub clip_low: f64,
    /// The part whose ratio was clipped from above.
    pub clip_high: f64,
    /// The norm of all gradients together, before clipping.
    pub grad_norm: f64,
    /// How long the step took.
    pub seconds: f64,
    /// How long answers were drawn and judged.
    pub rollout_seconds: f64,
    /// How long gradients were computed.
    pub training_seconds: f64,
    /// The largest load of an expert over the mean, less 1, for each layer with experts.
    pub max_vio: BTreeMap<usize, f64>,
}

//! How a model answers questions that it does not learn from.

use latent_model::Model;
use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::answers::answer;
use super::{Answer, AnswerStats, Group, RlPrepared};
use crate::TrainStepError;
use crate::random::{Use, stream};
use crate::rewards::FormVerdict;
use crate::rollout::RolloutConfig;
use crate::tasks::Part;

/// One answer to each question that is held out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RlEvaluation {
    /// What the answers are like.
    #[serde(flatten)]
    pub stats: AnswerStats,
    /// Some of them: in each evaluation to the same questions.
    pub samples: Vec<Sample>,
}

/// An answer, for people to read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The question.
    pub question: String,
    /// The known answer.
    pub answer: String,
    /// What the model wrote.
    pub text: String,
    /// What it earned.
    pub reward: f64,
    /// Whether the model ended it; if not, it was cut off.
    pub ended: bool,
    /// What the rules say of it.
    #[serde(default)]
    pub verdict: Verdict,
}

/// What the rules say of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Right, and in the right form.
    Right,
    /// In the right form, and wrong.
    Wrong,
    /// Not in the form that is asked for.
    Unformed,
    /// It was not noted.
    #[default]
    Unknown,
}

impl Verdict {
    fn of(answer: &Answer) -> Self {
        match (answer.is_right(), answer.form) {
            (true, _) => Self::Right,
            (false, FormVerdict::Correct) => Self::Wrong,
            (false, _) => Self::Unformed,
        }
    }
}

impl RlEvaluation {
    /// Asks all questions that are held out, each once. Draws are the same in every evaluation of a run.
    pub(super) fn of<B: AttendBackward + ExpertsBackward>(
        models: &[Model<B>],
        run: &RlPrepared,
    ) -> Result<Self, TrainStepError> {
        let count = run.task.count(Part::HeldOut) as u64;
        let problems = (0..count).map(|index| run.task.problem(index, Part::HeldOut)).collect();
        let rollout = &run.config.rollout;
        let config = RolloutConfig {
            num_generations: 1,
            temperature: rollout.eval_temperature.unwrap_or(run.config.grpo.temperature),
            seed: stream(run.config.run.seed, Use::Evaluation, 0_u32).next_u64(),
            ..run.rollout()
        };
        let groups = answer(models, run, problems, &config)?;
        let samples = groups.iter().take(rollout.samples).flat_map(samples).collect();
        Ok(Self { stats: AnswerStats::of(&groups), samples })
    }
}

fn samples(group: &Group) -> impl Iterator<Item = Sample> {
    group.answers.iter().map(|answer| Sample {
        question: group.problem.question.clone(),
        answer: group.problem.answer.clone(),
        text: answer.text.clone(),
        reward: answer.reward,
        ended: answer.drawn.ended,
        verdict: Verdict::of(answer),
    })
}

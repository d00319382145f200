//! How a model answers questions that it does not learn from.

use latent_model::Model;
use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::answers::answer;
use super::{AnswerStats, Group, RlPrepared};
use crate::TrainStepError;
use crate::random::{Use, stream};
use crate::rollout::RolloutConfig;
use crate::tasks::Part;

/// One answer to each question that is held out.
#[derive(Debug, Clone, PartialEq)]
pub struct RlEvaluation {
    /// What the answers are like.
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
    })
}

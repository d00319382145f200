//! The questions of a step and the answers to them.

use latent_model::Model;
use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;
use rand::Rng;

use super::answers::{answer, rewards};
use super::questions::Questions;
use super::{AnswerStats, Group, RlPrepared};
use crate::TrainStepError;
use crate::data::Cursor;
use crate::grpo::advantages;
use crate::random::{Use, stream};
use crate::rollout::RolloutConfig;

/// What a step learns from, and what all answers were like.
pub(super) struct Asked {
    /// What is learned from.
    pub(super) groups: Vec<Group>,
    /// How many questions were asked.
    pub(super) questions: usize,
    /// Where the next question is.
    pub(super) cursor: Cursor,
    pub(super) stats: AnswerStats,
    pub(super) frac_reward_zero_std: f64,
    pub(super) reward_std: f64,
}

impl Asked {
    /// Asks the questions of a step, and, where that is wanted, others in place of those whose answers all earn the
    /// same.
    pub(super) fn by<B: AttendBackward + ExpertsBackward>(
        models: &[Model<B>],
        run: &RlPrepared,
        cursor: Cursor,
        step: u64,
    ) -> Result<Self, TrainStepError> {
        let (seed, settings, grpo) = (run.config.run.seed, run.config.rollout, &run.loss.grpo);
        let mut questions = Questions::at(&run.task, seed, cursor);
        let mut all: Vec<Group> = Vec::new();
        let mut of_all = advantages(&[], grpo)?;
        for round in 0..=settings.dynamic_sampling {
            let missing = settings.questions - (all.len() - of_all.equal.len());
            let problems: Vec<_> = questions.by_ref().take(missing).collect();
            let index = u128::from(step) | (round as u128) << 64;
            let config = RolloutConfig {
                experts: true,
                seed: stream(seed, Use::Rollout, index).next_u64(),
                ..run.rollout()
            };
            all.extend(answer(models, run, problems, &config)?);
            of_all = advantages(&rewards(&all), grpo)?;
            if all.len() - of_all.equal.len() == settings.questions {
                break;
            }
        }
        let (asked, stats) = (all.len(), AnswerStats::of(&all));
        if settings.dynamic_sampling > 0 {
            let mut index = 0..;
            all.retain(|_| index.next().is_some_and(|i| !of_all.equal.contains(&i)));
        }
        Ok(Self {
            groups: all,
            questions: asked,
            cursor: questions.cursor(),
            stats,
            frac_reward_zero_std: of_all.frac_reward_zero_std(),
            reward_std: of_all.stds.iter().sum::<f64>() / asked.max(1) as f64,
        })
    }
}

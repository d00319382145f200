//! Reinforcement learning, step by step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use latent_kernels::Backend;
use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;
use latent_model::{Model, ModelError};

use super::answers::rewards;
use super::asked::Asked;
use super::update::{self, Update};
use super::{AnswerStats, Group, RlEvaluation, RlPrepared};
use crate::checkpoint::{Contents, Progress, Restored};
use crate::data::Cursor;
use crate::grpo::{GrpoReport, advantages};
use crate::{
    Loads, Optimizer, Parameters, TrainError, TrainStepError, clip_global_norm, update_biases,
};

/// A model that learns from rewards: its weights, what their optimiser remembers, the weights of its reference,
/// and the place among the questions.
///
/// Steps depend on [`RlPrepared`] and on what [`contents`](Self::contents) saves alone, bit for bit, whatever
/// the number of backends and of their threads.
#[derive(Debug)]
pub struct RlTrainer<B> {
    backends: Vec<B>,
    run: Arc<RlPrepared>,
    weights: Parameters<f32>,
    reference: Option<Parameters<f32>>,
    optimizer: Optimizer<f32>,
    progress: Progress,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq)]
pub struct RlStepReport {
    /// The step, counted from 1.
    pub step: u64,
    /// The questions that were asked.
    pub questions: usize,
    /// What all answers to them are like.
    pub stats: AnswerStats,
    /// The part of the questions whose answers all earn the same.
    pub frac_reward_zero_std: f64,
    /// The mean over questions of the standard deviation of the rewards.
    pub reward_std: f64,
    /// The last update by these answers; `None` where no question was left to learn from.
    pub update: Option<GrpoReport>,
    /// The largest distance from 1 of a ratio of the first update: exactly 0.
    pub first_ratio_deviation: f64,
    /// The tokens that the first update sent to other experts than those they went to when they were drawn: 0.
    pub first_rerouted: usize,
    /// The learning rate.
    pub learning_rate: f64,
    /// The norm of the policy's gradients of the last update together, before clipping.
    pub grad_norm: f64,
    /// The tokens that went through experts in the first update, for each layer with experts.
    pub loads: Loads,
    /// How long its parts took.
    pub times: RlTimes,
}

/// How long the parts of a step took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RlTimes {
    /// Drawing answers and judging them.
    pub rollout: Duration,
    /// Gradients, those of all updates, and what the reference says.
    pub training: Duration,
    /// All of the step.
    pub whole: Duration,
}

impl<B: AttendBackward + ExpertsBackward + Backend<Scalar = f32>> RlTrainer<B> {
    /// A run at its beginning. Each of `backends` works on a thread of its own, on different answers: one for
    /// each core where models are small, one with all threads where they are not.
    ///
    /// # Errors
    /// [`TrainError::Optimizer`] when a setting is out of its range.
    ///
    /// # Panics
    /// When there is no backend.
    pub fn new(backends: Vec<B>, run: Arc<RlPrepared>) -> Result<Self, TrainError> {
        assert!(!backends.is_empty(), "want at least one backend");
        let weights = run.base.clone();
        let optimizer = Optimizer::new(run.config.optimizer.to_config(), &weights)
            .map_err(TrainError::Optimizer)?;
        let reference = (run.loss.grpo.beta > 0.0).then(|| weights.clone());
        let (cursor, settings) = (Cursor::default(), run.settings(&backends[0]));
        let progress = Progress { step: 0, updates: 0, tokens: 0, cursor, settings };
        Ok(Self { backends, run, weights, reference, optimizer, progress })
    }

    /// A run that goes on from a checkpoint, bit for bit.
    ///
    /// # Errors
    /// [`TrainError::Snapshot`] when the optimiser's state is not that of the weights, or the reference is
    /// absent.
    ///
    /// # Panics
    /// When there is no backend.
    pub fn resume(
        backends: Vec<B>,
        run: Arc<RlPrepared>,
        from: Restored,
    ) -> Result<Self, TrainError> {
        assert!(!backends.is_empty(), "want at least one backend");
        let optimizer = from.optimizer(run.config.optimizer.to_config())?;
        let reference = match run.loss.grpo.beta > 0.0 {
            true => Some(from.reference()?.clone()),
            false => None,
        };
        let (weights, progress) = (from.weights, from.progress);
        Ok(Self { backends, run, weights, reference, optimizer, progress })
    }

    /// The steps taken.
    #[must_use]
    pub fn step_count(&self) -> u64 {
        self.progress.step
    }

    /// The weights.
    #[must_use]
    pub fn weights(&self) -> &Parameters<f32> {
        &self.weights
    }

    /// Takes a step.
    ///
    /// # Errors
    /// [`TrainError::Step`] with the step and what went wrong in it: among others [`TrainStepError::Ratio`]
    /// and [`TrainStepError::Routing`] where the model that learns is not the one that answered, a gradient
    /// that is not finite, with its tensor, a question that leaves no room for an answer. The place among the
    /// questions is as before then, and a checkpoint is what to go on from.
    pub fn step(&mut self) -> Result<RlStepReport, TrainError> {
        let step = self.progress.step + 1;
        self.take_step(step).map_err(|source| TrainError::Step { step, source: Box::new(source) })
    }

    /// How the model answers the questions that are held out.
    ///
    /// # Errors
    /// [`TrainError::Step`] with the step and an error of the model, the tokenizer or a question.
    pub fn evaluate(&self) -> Result<RlEvaluation, TrainError> {
        let found = self.models(&self.weights).map_err(TrainStepError::from);
        let found = found.and_then(|models| RlEvaluation::of(&models, &self.run));
        let step = self.progress.step;
        found.map_err(|source| TrainError::Step { step, source: Box::new(source) })
    }

    /// What a checkpoint is written of.
    ///
    /// # Errors
    /// [`TrainError::Step`] with the tensor when a weight is not finite: no good checkpoint is to be
    /// replaced by one that nothing can go on from.
    pub fn contents(&self) -> Result<Contents<'_>, TrainError> {
        if let Some((tensor, index, found)) = self.weights.not_finite() {
            let source = Box::new(TrainStepError::Weight { tensor: tensor.into(), index, found });
            return Err(TrainError::Step { step: self.progress.step, source });
        }
        Ok(Contents {
            model: &self.run.model,
            weights: &self.weights,
            reference: self.reference.as_ref(),
            optimizer: self.optimizer.state(),
            codec: &self.run.codec,
            progress: &self.progress,
        })
    }

    fn take_step(&mut self, step: u64) -> Result<RlStepReport, TrainStepError> {
        let start = Instant::now();
        let run = self.run.clone();
        let models = self.models(&self.weights)?;
        let Asked { groups, questions, cursor, stats, frac_reward_zero_std, reward_std } =
            Asked::by(&models, &run, self.progress.cursor, step)?;
        let rollout = start.elapsed();

        let learning_rate = run.schedule.lr(run.config.optimizer.learning_rate, step - 1);
        let mut report = RlStepReport {
            step,
            questions,
            stats,
            frac_reward_zero_std,
            reward_std,
            update: None,
            first_ratio_deviation: 0.0,
            first_rerouted: 0,
            learning_rate,
            grad_norm: 0.0,
            loads: Loads::default(),
            times: RlTimes::default(),
        };
        if !groups.is_empty() {
            self.learn(&run, models, &groups, &mut report)?;
        }
        self.progress.step = step;
        self.progress.tokens += stats.tokens as u64;
        self.progress.cursor = cursor;
        let sync = run.loss.grpo.ref_model_sync_steps;
        if self.reference.is_some() && sync > 0 && step.is_multiple_of(sync) {
            self.reference = Some(self.weights.clone());
        }
        let whole = start.elapsed();
        report.times = RlTimes { rollout, training: report.times.training, whole };
        Ok(report)
    }

    /// Moves the weights by what answers earned.
    fn learn(
        &mut self,
        run: &RlPrepared,
        mut models: Vec<Model<B>>,
        groups: &[Group],
        report: &mut RlStepReport,
    ) -> Result<(), TrainStepError> {
        let start = Instant::now();
        let advantages = advantages(&rewards(groups), &run.loss.grpo)?;
        let mut batch = update::completions(groups, &advantages.values);
        let experts = update::experts(groups);
        if let Some(reference) = &self.reference {
            update::refer(&self.models(reference)?, run, &mut batch)?;
        }
        for iteration in 0..run.loss.grpo.num_iterations {
            if iteration > 0 {
                models = self.models(&self.weights)?;
            }
            let Update { report: found, mut gradients, loads, rerouted } =
                update::of_batch(&models, run, &batch, &experts)?;
            let (loss, deviation) = (found.total(), found.metrics.max_ratio_deviation);
            if !loss.is_finite() {
                return Err(TrainStepError::Loss { what: "loss", found: loss });
            }
            if iteration == 0 {
                if deviation != 0.0 {
                    return Err(TrainStepError::Ratio { found: deviation });
                }
                if rerouted > 0 {
                    return Err(TrainStepError::Routing { tokens: rerouted });
                }
                (report.first_ratio_deviation, report.first_rerouted) = (deviation, rerouted);
                report.loads = loads;
            }
            let most = run.config.optimizer.max_grad_norm;
            let mut of_mtp = gradients.take(|name| run.model.is_of_mtp(name));
            report.grad_norm = clip_global_norm(&mut gradients, most)?;
            clip_global_norm(&mut of_mtp, most)?;
            gradients.put(of_mtp);
            let (backend, lr) = (&self.backends[0], report.learning_rate);
            self.optimizer.step(backend, &mut self.weights, &gradients, lr)?;
            self.progress.updates += 1;
            report.update = Some(found);
        }
        let center = run.config.balance.center_biases;
        update_biases(&mut self.weights, &report.loads, run.gamma, center)
            .map_err(ModelError::from)?;
        report.times.training = start.elapsed();
        Ok(())
    }

    /// A model of these weights on each backend, its matrices in what the run computes products in.
    fn models(&self, weights: &Parameters<f32>) -> Result<Vec<Model<B>>, ModelError> {
        let stored = self.run.config.run.stored();
        let model = |backend: &B| weights.model(backend.clone(), &self.run.model, stored);
        self.backends.iter().map(model).collect()
    }
}
